"""Names of the inference runtimes of the lesion network; importable without torch."""

from typing import Literal

Runtime = Literal["pytorch", "pytorch-bf16", "onnxruntime", "onnxruntime-int8", "onednn-int8"]
EngineName = Literal["auto", "pytorch", "pytorch-bf16", "onnxruntime", "onnxruntime-int8", "onednn-int8"]
"""A runtime, or ``auto`` for the fastest one that the release accepted and the machine supports."""
INT8_RUNTIMES: tuple[Runtime, ...] = ("onednn-int8", "onnxruntime-int8")
"""The fastest first."""
