"""Checks of correctness, memory and speed on a GPU."""
