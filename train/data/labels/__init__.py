"""Labels of follow-up series from the sentiment of doctors' notes."""
