"""Named, complete settings: ``python -m train.launch NAME`` starts from one of these."""

from train.config import LesionTraining, ProgressTraining

RECIPES = {
    "lesion": ("Lesion network from random weights: an hour and a half on two CPU cores.", LesionTraining()),
    "progress": ("Progress network on drawn sequences: half an hour on one CPU core.", ProgressTraining()),
}
