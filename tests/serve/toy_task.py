"""The serving part of a third task, the area of a wound: in ``serve`` it would be one folder."""

from functools import partial

import numpy as np
import ray.serve
from fastapi import APIRouter, Request

from models.checkpoint import load_weights, local_checkpoint, read_meta
from models.images import decode_square
from serve.config import TaskConfig
from serve.runtime.admission import AdaptiveLimiter, request_slot
from serve.runtime.loaded_model import loaded_model
from serve.runtime.model_cache import ModelRuntime
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog, read_entry
from serve.runtime.uploads import read_photo
from serve.schemas import LoadedModel
from serve.task import GatewayContext, NetworkDeployment, ServeTask, TaskApp

router = APIRouter(tags=["wound"])


@router.post("/v1/wound")
async def wound(request: Request) -> dict[str, float]:
    service: WoundService = request.app.state.services["wound"]
    pool = service.context.decode_pool
    file = await read_photo(request, request_slot(request), pool, max_bytes=1_000_000)
    with service.limiters["/v1/wound"].acquire():
        photo = await pool.decode(service.decoder, file)
        return {"area": await service.context.replicas["wound"].call("measure", photo.image_HWC)}


class WoundService:
    def __init__(self, catalog: ModelCatalog, context: GatewayContext) -> None:
        self.context = context
        self.catalog = catalog
        self.decoder = partial(decode_square, side_px=catalog.default.meta.input_px)
        self.limiters = {"/v1/wound": AdaptiveLimiter(8, "photos of wounds", retry_after_s=2)}

    async def prepare(self, entry: CatalogEntry) -> None: ...

    async def models(self) -> list[LoadedModel]:
        return [loaded_model(self.catalog.default, ModelRuntime(device="cpu", engine="numpy"))]


@ray.serve.deployment
class WoundRegressor:
    def __init__(self, checkpoint: str) -> None:
        folder = local_checkpoint(checkpoint)
        self._weights = load_weights(
            folder, read_meta(folder)
        )  # of a linear layer on the mean colour, 0 to 1

    async def measure(self, image_HWC: np.ndarray) -> float:
        weight, bias = self._weights["weight"].numpy(), self._weights["bias"].numpy()
        return float((weight @ image_HWC.mean((0, 1)) / 255 + bias)[0])

    async def check_health(self) -> None: ...


def build(config: TaskConfig) -> TaskApp:
    catalog = ModelCatalog("wound", [read_entry(config.checkpoints[0], "wound")], route="/v1/wound")
    regressor = NetworkDeployment(deployment=WoundRegressor, config=config.checkpoints[0])  # pyright: ignore[reportArgumentType]
    return TaskApp(networks={"wound": regressor}, create_service=partial(WoundService, catalog))


WOUND_TASK = ServeTask(
    name="wound",
    description="How large is it?",
    config=TaskConfig,
    router=router,
    build=build,
)
