"""Manifests, splits, duplicates and conversion of data sets."""
