"""The gateway: HTTP routes of all tasks, and their calls to the networks. It imports no PyTorch itself."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray.serve
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from ray.serve.handle import DeploymentHandle

from models.images import PhotoLimits
from models.registry import Registry
from serve import tasks
from serve.config import GatewayConfig
from serve.feedback import api as feedback
from serve.jobs import api as jobs_api
from serve.jobs.client import Jobs, connect_jobs
from serve.jobs.scorer import PartFailure, PartRequest, ScoredPart
from serve.open_inference import api as open_inference
from serve.open_inference.catalog import ServedModels
from serve.open_inference.error_format import OpenInferenceErrorMiddleware
from serve.open_inference.grpc_api.servicer import GrpcInferenceService
from serve.open_inference.statistics import ModelStatistics
from serve.runtime import openapi, root_files
from serve.runtime.admission import AdmissionControl, RequestIdMiddleware, publish_checks
from serve.runtime.audit_log import AuditMiddleware, open_audit_log
from serve.runtime.auth import AuthMiddleware, create_authorizer
from serve.runtime.autoscaling import CpuMeter, Load
from serve.runtime.canary_monitor import CanaryMonitor, Exchange, connect_monitor
from serve.runtime.conditional_json import conditional_json
from serve.runtime.decode_pool import DecodePool, return_large_buffers
from serve.runtime.errors import error_responses, register_error_handlers
from serve.runtime.forwarded_headers import ForwardedHeadersMiddleware, proxy_secrets
from serve.runtime.http_layers import HeadMiddleware, cors
from serve.runtime.leases import LeaseClient
from serve.runtime.limit_ledger import LimitLedger
from serve.runtime.model_traffic import ModelTraffic
from serve.runtime.rate_limit_actor import connect_limiter
from serve.runtime.rate_limits import RateLimitMiddleware, has_limits
from serve.runtime.readiness import Readiness
from serve.runtime.registry_follower import RegistryFollower, RegistryMiddleware
from serve.runtime.replica_client import LocalModelClient, ModelClient, ReplicaClient
from serve.runtime.security_headers import SecurityHeadersMiddleware
from serve.runtime.uploads import reject_unknown_parameters
from serve.schemas import Health, Models
from serve.task import GatewayContext, Service

Services = Mapping[str, Callable[[GatewayContext], Service]]
"""By name of the task."""

router = APIRouter(tags=["server"])


@ray.serve.deployment(
    max_ongoing_requests=1000,
    graceful_shutdown_timeout_s=75,
    health_check_period_s=5,
    health_check_timeout_s=60,
)
@ray.serve.ingress()
class Gateway(GrpcInferenceService):
    """Accept a bounded number of requests and answer them with the replicas of all tasks.

    Serve's limit on ongoing requests is far above those of ``serve.runtime.admission``, which reject in JSON.
    On shutdown a replica finishes its requests; the timeout is longer than the default deadline.
    """

    def __init__(
        self,
        config: GatewayConfig,
        services: Services,
        networks: Mapping[str, DeploymentHandle | Callable[[], Any]],
    ) -> None:
        self._config = config
        self._services = services
        self._cpu = CpuMeter()
        self._replicas = connect_networks(networks, config.retry_after_s)
        registry = config.registry
        self._exchange = connect_monitor(registry, config.canary) if registry is not None else None
        self._leases = LeaseClient(connect_limiter(config.quota_folder)) if has_limits(config) else None
        self._jobs = connect_jobs(config.jobs) if config.jobs is not None else None
        self._app: FastAPI | None = None
        self._has_failed = False

    async def check_health(self) -> None:
        """Raise if a network in this process has failed two or more checks in a row.

        HAProxy sends no more requests to a gateway after the first exception. Serve replaces it after three.
        """
        local = [one for one in self._replicas.values() if isinstance(one, LocalModelClient)]
        failed = self._has_failed
        self._has_failed = True  # also if Serve cancels the check
        errors = await asyncio.gather(*(one.check_health() for one in local), return_exceptions=True)
        error = next((one for one in errors if one is not None), None)
        self._has_failed = error is not None
        if error is not None:
            logging.getLogger("skinserve").error("a network has failed its health check: %s", error)
            if failed:
                raise error

    def record_autoscaling_stats(self) -> dict[Load, float]:
        """Return the CPU load of this replica for ``TargetLoadPolicy``."""
        return self._cpu()

    async def accept_parts(self) -> None:
        """Return once this gateway can score parts of jobs."""

    async def score_part(self, request: PartRequest) -> ScoredPart | PartFailure:
        """Score one part of a job; the actor of jobs calls this."""
        jobs = self._app.state.jobs if self._app is not None else None
        if jobs is None:
            return PartFailure(reason="gateway.jobs is not set any more")
        return await jobs.scorer.score(request)

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = self._app = create_app(
            self._config, self._services, self._replicas, self._leases, self._exchange, self._jobs
        )
        publish_checks(
            app.state.checks, self._config.allowed_origins, app.state.authorizer, app.state.audit_log
        )
        self.set_grpc_app(
            app,
            authorizer=app.state.authorizer,
            pool=app.state.open_inference.pool,
            local_only=self._config.grpc_local_only,
        )
        return app


def connect_networks(
    networks: Mapping[str, DeploymentHandle | Callable[[], Any]], retry_after_s: int
) -> dict[str, ModelClient]:
    """Return a client of each deployment, or load the networks into this process, side by side.

    Args:
        networks: handle of the deployment, or a callable that loads the network.
        retry_after_s: of rejections.
    """

    def connect(name: str) -> ModelClient:
        network = networks[name]
        if isinstance(network, DeploymentHandle):
            return ReplicaClient(name, network, retry_after_s=retry_after_s)
        return LocalModelClient(network(), retry_after_s=retry_after_s)

    with ThreadPoolExecutor(len(networks)) as threads:
        return dict(zip(networks, threads.map(connect, networks), strict=True))


def create_app(
    config: GatewayConfig,
    services: Services,
    replicas: Mapping[str, ModelClient],
    leases: LeaseClient | None = None,
    exchange: Exchange | None = None,
    jobs: Jobs | None = None,
) -> FastAPI:
    """Build the HTTP API; tests pass fake replicas.

    Args:
        leases: of limits; None: the limits are those of this gateway alone.
        exchange: with the monitor of canaries; None: they are compared by this gateway alone.
        jobs: the actor of jobs; None: no jobs.

    Raises:
        KeysFileError: the keys file cannot be used.
        ValueError: the secrets of the trusted proxy or of webhooks, or the audit log cannot be used.
    """
    traffic = ModelTraffic(config)
    if not config.networks_in_gateway:
        return_large_buffers()
    if leases is None and has_limits(config):
        leases = LeaseClient(LimitLedger().call)
    context = GatewayContext(
        config=config,
        photo_limits=PhotoLimits(max_bytes=config.max_photo_bytes, max_pixels=config.max_photo_pixels),
        decode_pool=DecodePool(config.num_decode_threads),
        replicas=replicas,
        traffic=traffic,
    )
    app = openapi.new_app(
        {task.name: task.description for task in tasks.TASKS}, needs_key=config.keys_file is not None
    )
    app.state.authorizer = create_authorizer(config)
    app.state.audit_log = open_audit_log(config)
    app.state.replicas = replicas
    app.state.traffic = traffic
    app.state.services = {name: create(context) for name, create in services.items()}
    app.state.checks = {
        path: limiter.check
        for service in app.state.services.values()
        for path, limiter in service.limiters.items()
    }
    app.state.feedback = feedback.create_service(
        context, {task.name: task.feedback for task in tasks.TASKS if task.feedback is not None}, leases
    )
    if app.state.feedback is not None:
        app.state.checks["/v1/feedback"] = app.state.feedback.limiter.check
    app.state.job_tasks = {task.name: task.jobs for task in tasks.TASKS if task.jobs is not None}
    app.state.jobs = jobs_api.create_service(context, app.state.job_tasks, app.state.services, jobs)
    if app.state.jobs is not None:
        app.state.checks["/v1/jobs"] = app.state.jobs.limiter.check
    app.state.catalogs = {name: service.catalog for name, service in app.state.services.items()}
    app.state.readiness = Readiness(replicas, ready_after_s=config.ready_after_s)
    app.state.open_inference = open_inference.OpenInferenceService(
        config=config,
        models=ServedModels(
            {task.name: task.open_inference for task in tasks.TASKS if task.open_inference is not None},
            app.state.catalogs,
        ),
        statistics=ModelStatistics(),
        pool=context.decode_pool,
        readiness=app.state.readiness,
    )
    routers = [task.router for task in tasks.TASKS]
    for routes in (*routers, feedback.router, jobs_api.router, open_inference.router):
        app.include_router(routes, dependencies=[Depends(reject_unknown_parameters)])
    app.include_router(router)
    app.include_router(root_files.router)
    openapi.add_docs(app)
    register_error_handlers(app)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(AdmissionControl, config=config, checks=app.state.checks)
    if config.registry is not None:
        follower = RegistryFollower(
            Registry(config.registry),
            app.state.services,
            replicas,
            traffic,
            exchange or CanaryMonitor(config.registry, config.canary).exchange,
            poll_s=config.registry_poll_s,
        )
        app.add_middleware(RegistryMiddleware, follower=follower)
    if app.state.jobs is not None:
        app.add_middleware(jobs_api.JobsLifespanMiddleware, jobs=app.state.jobs.jobs)
    if leases is not None:
        app.add_middleware(RateLimitMiddleware, leases=leases, client_limit=config.client_limit)
    if app.state.authorizer is not None:
        app.add_middleware(AuthMiddleware, authorizer=app.state.authorizer)
    if app.state.audit_log is not None:
        needs_key = app.state.authorizer is not None
        app.add_middleware(AuditMiddleware, log=app.state.audit_log, needs_key=needs_key)
    app.add_middleware(OpenInferenceErrorMiddleware)
    if config.allowed_origins:
        app.add_middleware(cors, allow_origins=config.allowed_origins)
    app.add_middleware(SecurityHeadersMiddleware, cacheable=openapi.CACHEABLE_PATHS)
    app.add_middleware(RequestIdMiddleware)
    app.add_middleware(ForwardedHeadersMiddleware, secrets=proxy_secrets(config.trusted_proxy))
    return app


@router.get(
    "/v1/models",
    response_model=Models,
    responses=error_responses("invalid_request", *openapi.ANY_ROUTE),
    dependencies=[Depends(reject_unknown_parameters)],
)
async def models(request: Request) -> Response:
    """List the networks with labels, thresholds, metrics, training data and licence.

    The first one of a task answers requests without `?model=`. Nothing is loaded for the list.
    """
    services: Mapping[str, Service] = request.app.state.services
    lists = await asyncio.gather(*(service.models() for service in services.values()))
    loaded = [model for models in lists for model in models]
    found = Models(models=loaded, feedback=request.app.state.feedback is not None)
    return conditional_json(request, found.model_dump_json(by_alias=True).encode())


@router.get("/healthz")
async def healthz() -> Health:
    """Return 200 while this process is up, whatever the state of the models."""
    return Health(status="ok")


@router.get(
    "/readyz",
    response_model=Health,
    responses={503: {"model": Health, "description": "the named models have not answered yet"}},
)
async def readyz(request: Request) -> JSONResponse:
    """Return 200 when every model is loaded and has answered a warm-up batch within the last minute."""
    readiness: Readiness = request.app.state.readiness
    health = await readiness.check()
    return JSONResponse(health.model_dump(), status_code=200 if health.status == "ok" else 503)


@router.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Redirect to the page, relative to the prefix of a proxy in front."""
    return RedirectResponse("ui/")
