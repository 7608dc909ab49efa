"""Inputs, outputs and parameters of a model, for the tests of the codecs."""

from serve.open_inference.messages import TensorSpec

INPUTS = (
    TensorSpec(name="photo", datatype="BYTES", shape=(-1,)),
    TensorSpec(name="image", datatype="UINT8", shape=(-1, -1, -1, 3)),
    TensorSpec(name="taken_at", datatype="BYTES", shape=(-1,), is_text=True),
)
OUTPUTS = (
    TensorSpec(name="verdict", datatype="BYTES", shape=(-1,)),
    TensorSpec(name="score", datatype="FP32", shape=(-1,)),
    TensorSpec(name="answer", datatype="BYTES", shape=(-1,), is_default=False),
)
PARAMETERS = ("explain",)
