"""Titles of the tabs by kind of model; a kind without a tab has none."""

TITLES = {"lesion": "Is this lesion harmful?", "progress": "Is my face getting better?"}
