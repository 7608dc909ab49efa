"""Public and private data sets to the one manifest that training reads: ``skinserve ingest --help``."""
