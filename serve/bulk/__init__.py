"""Bulk scoring over Ray Data: from a folder or a bucket of photos to rows. Independent of tasks."""
