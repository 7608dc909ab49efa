"""Feedback on answers, stored with consent: routes, fields and store. ``skinserve feedback`` reads it."""
