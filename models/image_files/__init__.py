"""Formats and metadata of image files."""
