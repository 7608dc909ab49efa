"""The answer about one spot. Axes: H row, W column."""

import base64
import io

import numpy as np
from PIL import Image

from serve.messages import LesionReport
from serve.schemas import DiagnosisScore, LesionAnswer

HEATMAP_PX = 224
_BLUE = (20, 60, 255)  # skin and lesions are red and brown
_MAX_ALPHA = 150


def lesion_answer(report: LesionReport, *, top_k: int, heatmap_png: str | None = None) -> LesionAnswer:
    """Put together the answer about one photo."""
    return LesionAnswer(
        model=report.model,
        malignant_probability=report.malignant_probability,
        verdict=report.verdict,
        threshold=report.threshold,
        diagnosis=named_diagnosis(report),
        diagnoses=list(report.diagnoses[:top_k]),
        heatmap_png=heatmap_png,
    )


def named_diagnosis(report: LesionReport) -> DiagnosisScore | None:
    """Name the diagnosis, or None when it is not sure enough.

    Only diagnoses of the verdict's group compete, so that "benign" never stands beside "Melanoma", and the
    best of them must reach the naming threshold.
    """
    rivals = [score for score in report.diagnoses if score.group == report.verdict]
    best = max(rivals, key=lambda score: score.probability, default=None)
    return best if best is not None and best.probability >= report.naming_threshold else None


def heatmap_png(heat_HW: np.ndarray) -> str:
    """Draw a heat map to lay over the central square of the photo.

    Args:
        heat_HW: 0 to 1, of any size.

    Returns:
        Base64 of an RGBA PNG, 224 x 224: blue, and the denser the hotter.
    """
    alpha = Image.fromarray((heat_HW.clip(0, 1) * _MAX_ALPHA).round().astype(np.uint8))
    picture = Image.new("RGBA", (HEATMAP_PX, HEATMAP_PX), _BLUE)
    picture.putalpha(alpha.resize((HEATMAP_PX, HEATMAP_PX), Image.Resampling.BICUBIC))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return base64.b64encode(file.getvalue()).decode("ascii")
