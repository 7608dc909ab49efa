"""Pictures drawn by code, for the page, tests and benchmarks; they show no person and no patient."""
