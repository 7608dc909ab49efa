"""Servers to compare with, each written as its documentation recommends; they run in ``.venv-baselines``."""
