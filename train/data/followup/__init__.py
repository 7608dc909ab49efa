"""Convert SkinCredible's follow-up data to a manifest of labelled series: ``skinserve followup --help``."""
