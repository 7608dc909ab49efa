"""Registry of the tasks: the only generic module that imports one. A third task adds its entry here."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import Field, create_model

from serve.config import ApiConfig
from serve.lesion.task import LESION_TASK
from serve.progress.task import PROGRESS_TASK
from serve.task import ServeTask

TASKS: tuple[ServeTask, ...] = (LESION_TASK, PROGRESS_TASK)


def read_config(arguments: Mapping[str, Any]) -> ApiConfig:
    """Validate the ``args`` of the API application: a section ``gateway`` and one named after each task.

    Raises:
        ValidationError: a section or a setting is unknown or out of range.
    """
    sections: dict[str, Any] = {
        task.name: (task.config, Field(default_factory=partial(task.config.model_validate, {})))
        for task in TASKS
    }
    return create_model("ApiConfig", __base__=ApiConfig, **sections).model_validate(arguments)
