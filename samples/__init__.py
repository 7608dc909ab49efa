"""Pictures drawn by code, for the page, tests and benchmarks."""
