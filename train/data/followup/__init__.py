"""SkinCredible's follow-up data to a manifest of labelled series: ``python -m train.data.followup --help``."""
