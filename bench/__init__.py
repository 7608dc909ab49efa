"""Benchmarks: ``scenarios`` measure, ``baselines`` are servers to compare with, ``gpu`` checks a GPU."""
