"""The command line, ``skinserve``."""
