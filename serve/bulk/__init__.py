"""Bulk scoring over Ray Data: a folder or a bucket of photos in, rows out. Knows no task."""
