"""Requests and responses of the Open Inference Protocol, independent of JSON, binary data and gRPC."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastapi import Request

from serve.runtime.model_catalog import CatalogEntry

BYTES = "BYTES"
NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "INT32": np.dtype("<i4"),
    "FP32": np.dtype("<f4"),
}
"""By datatype of the protocol, in the byte order of binary tensor data; ``BYTES`` is a list of bytes."""
BYTES_LENGTH = 4
"""Bytes of the length before each element of a binary ``BYTES`` tensor, little-endian."""

Data = Sequence[bytes] | np.ndarray
"""Elements of a tensor: of ``BYTES`` one ``bytes`` each, else an array with the shape of the tensor."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """Describe an input or output of a model."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """-1: any size."""
    is_default: bool = True
    """Of an output: whether it is returned to a request that lists no outputs."""
    is_text: bool = False
    """Of a ``BYTES`` input: elements in JSON are strings, not base64."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """In the metadata of the model, such as labels."""


@dataclass(frozen=True, kw_only=True)
class InferenceRequest:
    """One decoded request."""

    id: str
    """Empty: none."""
    parameters: Mapping[str, bool | int | float | str]
    inputs: Mapping[str, Data]
    """By name, checked against their ``TensorSpec``."""
    outputs: Mapping[str, bool]
    """Requested outputs by name, in order: whether as binary data."""


@dataclass(frozen=True, kw_only=True)
class InferenceResult:
    """Answer of a task to one request."""

    entry: CatalogEntry
    """Model that answered; with a canary another one than the default."""
    num_photos: int
    outputs: Mapping[str, Data]
    """At least the requested ones, by name."""


Infer = Callable[[Request, str | None, InferenceRequest], Awaitable[InferenceResult]]
"""Answer a request with the model of a selector ``name`` or ``name@version``; None: the default model."""


@dataclass(frozen=True, kw_only=True)
class OpenInferenceTask:
    """Registration of a task for the protocol."""

    deployments: tuple[str, ...]
    """Names of its deployments in ``/readyz``; the models are ready when all of them are."""
    inputs: tuple[TensorSpec, ...]
    outputs: Callable[[CatalogEntry], tuple[TensorSpec, ...]]
    parameters: tuple[str, ...]
    """Names of the parameters of a request."""
    infer: Infer
