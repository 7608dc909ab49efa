"""Metrics with confidence intervals, plots and HTML reports."""
