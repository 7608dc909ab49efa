"""Ray Serve: the HTTP API and one deployment for each network."""
