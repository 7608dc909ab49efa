"""The interface between the gateway and a task. ``serve.tasks`` registers every task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from fastapi import APIRouter
from ray.serve import Application, Deployment

from models.images import PhotoLimits
from serve.config import GatewayConfig, TaskConfig
from serve.feedback.schemas import FeedbackRules
from serve.jobs.scorer import JobTask
from serve.open_inference.messages import OpenInferenceTask
from serve.runtime.admission import AdaptiveLimiter
from serve.runtime.decode_pool import DecodePool
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog
from serve.runtime.model_traffic import ModelTraffic
from serve.runtime.replica_client import ModelClient
from serve.schemas import LoadedModel


@dataclass(frozen=True, kw_only=True)
class GatewayContext:
    """What the service of a task uses of its gateway."""

    config: GatewayConfig
    photo_limits: PhotoLimits
    decode_pool: DecodePool
    replicas: Mapping[str, ModelClient]
    """Of the networks of all tasks, by the names in ``TaskApp.networks``."""
    traffic: ModelTraffic
    """Measures the answers of each model."""


class Service(Protocol):
    """Answer the requests of one task in a gateway.

    Routes find it in ``app.state.services`` under the name of the task.
    """

    @property
    def limiters(self) -> Mapping[str, AdaptiveLimiter]:
        """Return, by path, the limiter that is checked before the body is read."""
        ...

    @property
    def catalog(self) -> ModelCatalog:
        """Return the models that clients can choose."""
        ...

    async def prepare(self, entry: CatalogEntry) -> None:
        """Prepare the gateway for requests for a model before it is in the catalog.

        Raises:
            ApiError: ``model_unavailable``.
        """
        ...

    async def models(self) -> list[LoadedModel]:
        """Describe all models for ``GET /v1/models``, the default one first, without loading one."""
        ...


@dataclass(frozen=True, kw_only=True)
class NetworkDeployment:
    """A deployment of a task and its argument, for replicas or for an instance in each gateway.

    All public methods of the deployment's class are coroutines.
    """

    deployment: Deployment
    config: Any
    """The argument of its class."""

    def bind(self, options: Mapping[str, Any] = {}) -> Application:
        """Bind the deployment to its argument, with options of the config."""
        return self.deployment.options(**options).bind(self.config)

    def loader(self) -> Callable[[], Any]:
        """Return a picklable callable that constructs the deployment's class."""
        assert not isinstance(self.deployment.func_or_class, str)
        return partial(self.deployment.func_or_class, self.config)


@dataclass(frozen=True, kw_only=True)
class TaskApp:
    """Networks and service of one task with its settings applied."""

    networks: Mapping[str, NetworkDeployment]
    """By the name in ``/readyz``; unique among all tasks."""
    create_service: Callable[[GatewayContext], Service]
    """Called in every gateway; must be picklable."""


@dataclass(frozen=True, kw_only=True)
class ServeTask:
    """One task of the server."""

    name: str
    """Section of the settings, tag of the routes, and kind of the checkpoint."""
    description: str
    """Of the tag in the OpenAPI document."""
    config: type[TaskConfig]
    router: APIRouter
    build: Callable[[Any], TaskApp]
    """Apply settings of the type ``config``; raises ``CheckpointError``."""
    feedback: FeedbackRules | None = None
    """None: no feedback about this task."""
    open_inference: OpenInferenceTask | None = None
    """None: the task is not served by the Open Inference Protocol."""
    jobs: JobTask | None = None
    """None: no jobs of this task."""
