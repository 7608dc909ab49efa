"""Detection and alignment of faces."""
