"""The lesion network and its inference engines."""
