"""Train, evaluate and release lesion networks."""
