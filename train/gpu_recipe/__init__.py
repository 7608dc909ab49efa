"""Lesion network, small lesion network and localizer, trained in minutes on one GPU that holds all photos."""
