"""Registry of the tasks; the only module of generic training code that imports them."""

from collections.abc import Mapping
from typing import Any

from train.config import Training
from train.lesion.task import LesionTask
from train.progress.task import ProgressTask
from train.task import Recipe, Task

TASKS: Mapping[str, Task[Any]] = {task.name: task for task in (LesionTask(), ProgressTask())}
RECIPES: Mapping[str, Recipe] = {
    name: recipe for task in TASKS.values() for name, recipe in task.recipes.items()
}


def task_of(config: Training) -> Task[Any]:
    """Return the task of these settings."""
    return next(task for task in TASKS.values() if task.config is type(config))
