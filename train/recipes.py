"""Named, complete settings: ``python -m train.launch NAME`` starts from one of these."""

from train.config import LesionTraining, ProgressTraining

RECIPES = {
    "lesion": (
        "Lesion network from random weights: an hour and a quarter on one CPU core.",
        LesionTraining(),
    ),
    "progress": (
        "Progress network on drawn sequences: a quarter of an hour on one CPU core.",
        ProgressTraining(),
    ),
}
