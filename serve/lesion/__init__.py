"""Serve the lesion task."""
