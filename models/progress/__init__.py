"""The progress network and its inference engine."""
