"""Inference engine of the lesion network through ONNX Runtime on a CPU; importable without torch.

Axes: B photo, H row, W column, C channel.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime

from models.checkpoint import CheckpointError, CheckpointMeta
from models.lesion.engine import LesionEngine, LesionOutput, has_scope
from models.lesion.onnx_graph import lesion_graph
from models.lesion.processor import num_cores
from models.lesion.quantization.int8 import CalibrationRanges
from models.lesion.runtimes import Runtime
from models.lesion.shapes import from_stored
from models.onnx_session import cpu_session


class OnnxLesionEngine(LesionEngine):
    """Compute through ONNX Runtime on a CPU, in float32 or, with calibration ranges, in int8.

    Args:
        stored: weights of the checkpoint.
        ranges: calibration ranges.
        num_threads: of one call; None: one for each core.

    Raises:
        CheckpointError: the weights do not fit the architecture.
    """

    supports_concurrent_calls = False

    def __init__(
        self,
        meta: CheckpointMeta,
        stored: Mapping[str, np.ndarray],
        ranges: CalibrationRanges | None,
        num_threads: int | None,
    ) -> None:
        super().__init__(meta, "cpu")
        self._options = onnxruntime.RunOptions()
        self._options.only_execute_path_to_fetches = True  # Grad-CAM only on request
        self.runtime: Runtime = "onnxruntime" if ranges is None else "onnxruntime-int8"
        try:
            graph = lesion_graph(from_stored(stored), meta, ranges).SerializeToString()
            self._session = cpu_session(graph, num_threads or num_cores(), keep_memory=True)
            self.ping()  # ONNX Runtime checks some shapes when it computes
        except Exception as error:  # a weight is missing, unknown or has another shape
            raise CheckpointError(
                f"the checkpoint {meta.name} {meta.version} does not fit its architecture "
                f"{meta.architecture} ({error!r}); release it again with this code"
            ) from error

    def _classify(self, image_BHWC: np.ndarray, features: bool, explain: Sequence[int]) -> LesionOutput:
        names = ["malignant_B", "diagnosis_BK"]
        names += ["scope_B"] if has_scope(self.meta) else []
        names += ["features_BCHW"] if features else []
        names += ["grad_cam_BRHW"] if explain else []
        results = map(np.asarray, self._session.run(names, {"image_BHWC": image_BHWC}, self._options))
        found = dict(zip(names, results, strict=True))
        return LesionOutput(
            malignant_B=found["malignant_B"],
            diagnosis_BK=found["diagnosis_BK"],
            scope_B=found.get("scope_B"),
            features_BCHW=found.get("features_BCHW"),
            grad_cam_RHW={index: found["grad_cam_BRHW"][index] for index in explain},
        )
