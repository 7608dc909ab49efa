"""Train the lesion network, the small one and the localizer on one GPU that holds all photos."""
