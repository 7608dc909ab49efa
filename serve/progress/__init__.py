"""Serve the progress task."""
