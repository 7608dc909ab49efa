"""Public and private data sets to the one manifest that training reads: ``python -m train.data.ingest --help``."""
