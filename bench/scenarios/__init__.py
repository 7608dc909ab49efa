"""Measurements, one command each; results go to ``bench/results``."""
