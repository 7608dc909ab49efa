"""Registry of the metrics types of all tasks."""

from pydantic import ValidationError

from models.face.metrics import SamePersonMetrics
from models.lesion.metrics import LesionMetrics
from models.metrics import TaskMetrics
from models.progress.metrics import ProgressMetrics

METRICS_OF_TASK: dict[str, type[TaskMetrics]] = {
    "lesion": LesionMetrics,
    "progress": ProgressMetrics,
    "face_descriptor": SamePersonMetrics,
}


def parse_metrics(task: str, content: object) -> TaskMetrics:
    """Parse the metrics of a task's checkpoint; return ``TaskMetrics`` if it has none.

    Raises:
        ValueError: a metric is missing or of another type; one line.
    """
    if isinstance(content, TaskMetrics):
        return content
    try:
        return METRICS_OF_TASK.get(task, TaskMetrics).model_validate(content) if content else TaskMetrics()
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
