"""Labels for follow-up series: what the words of a doctor's note say about the course."""
