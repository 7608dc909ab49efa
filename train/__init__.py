"""Training: manifest, grouped split, loop, checkpoint."""
