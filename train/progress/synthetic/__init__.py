"""Progress series drawn by code on photos of faces."""
