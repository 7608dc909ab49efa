"""The browser page, a client of the HTTP API."""
