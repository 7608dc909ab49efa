"""Checks of correctness, memory and speed on a GPU: ``python -m bench.gpu.checklist``."""
