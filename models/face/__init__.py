"""Find a face in a photo and crop it."""
