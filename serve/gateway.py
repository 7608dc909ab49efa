"""The HTTP routes. They read, check and decode in threads, ask the stages, and put the answer together; no torch.

Axes: T photo of a series, H row, W column, C colour.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import ray.serve
from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, StreamingResponse
from ray.serve.handle import DeploymentHandle

from models.images import Photo, PhotoError, PhotoLimits, bound_array, decode_bounded, decode_square
from serve.arrays import check_number, read_frames
from serve.config import GatewayConfig
from serve.decoding import DecodingPool
from serve.docs import BATCH_BODY, LESION_BODY, PREDICT_BODY, PROGRESS_BODY, add_docs, new_app
from serve.errors import ApiError, detail_of, error_responses, handle_errors, internal_error
from serve.front import REQUEST_ID_HEADER, Admission, Front, Lease, lease_of
from serve.readiness import Readiness
from serve.reports import FaceReport, ProgressReport
from serve.schemas import (
    BatchLine,
    ErrorDetail,
    Health,
    LesionAnswer,
    Models,
    PredictAnswer,
    ProgressAnswer,
)
from serve.series import Order, SeriesPhoto, check_faces, progress_answer, put_in_order, read_times
from serve.spots import heatmap_png, lesion_answer
from serve.stages import ServeStages, Stages
from serve.uploads import FORM_OVERHEAD_BYTES, RAW_TYPES, FormShape, media_type, read_body, read_form

routes = APIRouter()


@dataclass(frozen=True, kw_only=True)
class Kitchen:
    """What every route works with."""

    config: GatewayConfig
    lesion_px: int
    stages: Stages
    pool: DecodingPool
    readiness: Readiness

    @property
    def limits(self) -> PhotoLimits:
        """What one photo may measure."""
        return PhotoLimits(max_bytes=self.config.max_photo_bytes, max_pixels=self.config.max_photo_pixels)

    async def lesion(self, file: bytes | PhotoError, *, explain: bool, top_k: int) -> LesionAnswer:
        """Answer about one file."""
        if isinstance(file, PhotoError):
            raise file
        photo = await self.pool.run(decode_square, file, side_px=self.lesion_px, limits=self.limits)
        report = await self.stages.classify_lesion(photo.image_HWC, explain=explain)
        heat = None if report.heat_HW is None else await self.pool.run(heatmap_png, report.heat_HW)
        return lesion_answer(report, top_k=top_k, heatmap_png=heat)
