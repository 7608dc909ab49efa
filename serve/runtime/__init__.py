"""Generic parts of the server; nothing here imports a task."""
