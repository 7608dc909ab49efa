"""Manifests, splits, duplicates and the conversion of data sets."""
