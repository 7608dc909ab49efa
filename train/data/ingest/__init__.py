"""Convert data sets to the manifest that training reads: ``skinserve ingest --help``."""
