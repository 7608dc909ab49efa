"""Selfies to faces and progress probabilities, against facenet-pytorch at full size, in this process.

Command: ``python -m bench.scenarios.face_and_progress``.

skinserve decodes a reduced photo, detects the face in at most 640 px and crops it. The baseline decodes the
full photo, passes it to ``MTCNN`` and crops the largest face. Drawn faces can be replaced by a folder of
photos. Photos without a person measure false detections.
"""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import facenet_pytorch
import numpy as np
import torch
import tyro
from PIL import Image, ImageOps
from torch import Tensor

from bench import photos, results
from bench.results import Metrics
from bench.servers import ROOT
from models.checkpoint import load_weights, read_meta
from models.face.detector import MtcnnFaceDetector
from models.images import decode_bounded
from models.lesion.processor import num_cores
from models.preprocessing import normalize
from models.progress.engine import load_progress_engine
from models.progress.network import MaskedConvLSTM, ProgressNet

MEGAPIXELS = 12
SAME_FACE_IOU = 0.8
NUM_SERIES_PHOTOS, NUM_PADDED_STEPS = 8, 30
MIN_CONFIDENCE = 0.9
Box = Sequence[float]
"""Left, top, right, bottom in pixels of the original photo."""
Face = tuple[Box, np.ndarray]
"""Box and crop, uint8 (H, W, C)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure face detection and progress."""

    faces: Path | None = None
    """Folder of photos, each of one person; default: drawn ones."""
    no_person: Path | None = None
    """Folder of photos without a person; default: drawn lesions."""
    num: int = 4
    """Most photos of each kind; 0: all of the folder."""
    rounds: int = 3
    """For the series and for the ConvLSTM."""
    checkpoint: Path = ROOT / "weights" / "progress"
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure and write the results; a folder of photos has a file of its own."""
    load_before = results.busy_cores()
    torch.set_num_threads(num_cores())
    skinserve, baseline = Skinserve(settings.checkpoint), FullSizeBaseline(settings.checkpoint)
    faces = _read(settings.faces, settings.num) or photos.selfies((1280, 960), num=settings.num)
    no_person = _read(settings.no_person, settings.num) or photos.lesion_photos("2 MP", num=settings.num)
    faces_12_mp = [photos.resize_jpeg(photo, MEGAPIXELS) for photo in faces]
    metrics: Metrics = {
        "faces_12_mp": compare_faces(skinserve, baseline, faces_12_mp),
        "faces_original_size": compare_faces(skinserve, baseline, faces),
        "no_person": compare_faces(skinserve, baseline, no_person),
    }
    print(metrics, flush=True)
    series = [faces_12_mp[i % len(faces)] for i in range(NUM_SERIES_PHOTOS)]
    metrics["series"] = compare_times(
        lambda: skinserve.progress(series), lambda: baseline.progress(series), settings.rounds
    )
    metrics["convlstm"] = compare_convlstm(skinserve, baseline, settings.rounds)
    print(metrics["series"], metrics["convlstm"], flush=True)
    name = "face_and_progress_of_photos" if settings.faces else "face_and_progress"
    results.save(name, settings, metrics, load_before=load_before, folder=settings.out)


class Skinserve:
    """Face detector and progress engine of the server, called directly."""

    def __init__(self, checkpoint: Path) -> None:
        self._engine = load_progress_engine(checkpoint, num_threads=num_cores())
        self._detector = MtcnnFaceDetector(size_px=self._engine.meta.input_px, num_threads=num_cores())

    def detect(self, data: bytes) -> Face | None:
        """Return box and crop of the face."""
        photo = decode_bounded(data)
        (face,) = self._detector([photo.image_HWC])
        if face is None:
            return None
        scale = photo.width_px / photo.image_HWC.shape[1]
        return [scale * edge for edge in face.box], face.crop_HWC

    def progress(self, series: Sequence[bytes]) -> np.ndarray:
        """Return the probability of improved after each photo."""
        faces = self._detector([decode_bounded(data).image_HWC for data in series])
        return self.classify(np.stack([face.crop_HWC for face in faces if face is not None]))

    def classify(self, crop_THWC: np.ndarray) -> np.ndarray:
        """Return the probability of improved after each crop."""
        return self._engine(crop_THWC[None], np.ones((1, len(crop_THWC)), bool)).improved_BT[0]


class FullSizeBaseline:
    """facenet-pytorch as in its documentation, and a ConvLSTM step by step, padded to 30 steps."""

    def __init__(self, checkpoint: Path) -> None:
        self.meta = read_meta(checkpoint)
        self._mtcnn = facenet_pytorch.MTCNN(image_size=self.meta.input_px, keep_all=False)
        net = ProgressNet(**self.meta.architecture)
        net.load_state_dict(load_weights(checkpoint, self.meta))
        net.first, net.second = StepByStepConvLSTM(net.first), StepByStepConvLSTM(net.second)
        self._net = net.eval()

    def detect(self, data: bytes) -> Face | None:
        """Return box and crop of the largest face."""
        photo = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        boxes, confidences = self._mtcnn.detect(photo)[:2]
        if boxes is None or float(confidences[0]) < MIN_CONFIDENCE:
            return None
        box = [float(edge) for edge in boxes[0]]
        crop = photo.crop([round(edge) for edge in box])  # pyright: ignore[reportArgumentType]
        return box, np.asarray(crop.resize((self.meta.input_px, self.meta.input_px)))

    def progress(self, series: Sequence[bytes]) -> np.ndarray:
        """Return the probability of improved after each photo."""
        faces = [self.detect(data) for data in series]
        return self.classify(np.stack([face[1] for face in faces if face is not None]))

    @torch.inference_mode()
    def classify(self, crop_THWC: np.ndarray) -> np.ndarray:
        """Return the probability of improved after each crop; all 30 steps are computed."""
        num = len(crop_THWC)
        padded = np.zeros((NUM_PADDED_STEPS, *crop_THWC.shape[1:]), np.uint8)
        padded[:num] = crop_THWC
        present_BT = torch.arange(NUM_PADDED_STEPS)[None] < num
        image_TCHW = normalize(torch.from_numpy(padded), self.meta.mean, self.meta.std)
        logits_BTC = self._net(image_TCHW[None], present_BT)
        return logits_BTC.softmax(2)[0, :num, self.meta.labels.index("improved")].numpy()


class StepByStepConvLSTM(MaskedConvLSTM):
    """ConvLSTM layer that computes both convolutions of a photo within its time step."""

    def __init__(self, layer: MaskedConvLSTM) -> None:
        super().__init__(layer.input_gates.in_channels, layer.num_filters)
        self.load_state_dict(layer.state_dict())

    def forward(self, input_BTCHW: Tensor, present_BT: Tensor) -> Tensor:
        """Return the same hidden states as ``MaskedConvLSTM``."""
        hidden = input_BTCHW.new_zeros(len(input_BTCHW), self.num_filters, *input_BTCHW.shape[-2:])
        cell, states = hidden, []
        for t in range(input_BTCHW.shape[1]):
            gates = self.input_gates(input_BTCHW[:, t]) + self.state_gates(hidden)
            enter, keep, leave, new = gates.chunk(4, dim=1)
            next_cell = (keep + 1).sigmoid() * cell + enter.sigmoid() * new.tanh()
            present = present_BT[:, t, None, None, None]
            hidden = torch.where(present, leave.sigmoid() * next_cell.tanh(), hidden)
            cell = torch.where(present, next_cell, cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


def compare_faces(skinserve: Skinserve, baseline: FullSizeBaseline, faces: Sequence[bytes]) -> Metrics:
    """Detect the face of each photo with both, interleaved, and compare boxes and times."""
    skinserve.detect(faces[0])  # warm up
    skinserve_s: list[float] = []
    baseline_s: list[float] = []
    pairs: list[tuple[Face | None, Face | None]] = []
    for data in faces:
        face, seconds = _timed(lambda data=data: skinserve.detect(data))
        baseline_face, baseline_seconds = _timed(lambda data=data: baseline.detect(data))
        skinserve_s.append(seconds)
        baseline_s.append(baseline_seconds)
        pairs.append((face, baseline_face))
    overlaps = [iou(face[0], other[0]) for face, other in pairs if face and other]
    return {
        "photos": len(faces),
        "megabytes": round(sum(map(len, faces)) / len(faces) / 1e6, 2),
        **_time_metrics(skinserve_s, baseline_s),
        "found_by_skinserve": sum(face is not None for face, _ in pairs),
        "found_by_baseline": sum(other is not None for _, other in pairs),
        "missed": sum(face is None and other is not None for face, other in pairs),
        "same_face": sum(overlap >= SAME_FACE_IOU for overlap in overlaps),
        "iou": results.spread(overlaps) if overlaps else None,
    }


def compare_times(skinserve: Callable[[], object], baseline: Callable[[], object], rounds: int) -> Metrics:
    """Call both, interleaved, and compare their times."""
    skinserve()  # warm up
    times = [(_timed(skinserve)[1], _timed(baseline)[1]) for _ in range(rounds)]
    return _time_metrics([one for one, _ in times], [other for _, other in times])


def compare_convlstm(skinserve: Skinserve, baseline: FullSizeBaseline, rounds: int) -> Metrics:
    """Classify the same crops with both and compare probabilities and times."""
    side = baseline.meta.input_px
    crop_THWC = np.random.default_rng(0).integers(0, 256, (NUM_SERIES_PHOTOS, side, side, 3), np.uint8)
    difference = np.abs(skinserve.classify(crop_THWC) - baseline.classify(crop_THWC)).max()
    times = compare_times(lambda: skinserve.classify(crop_THWC), lambda: baseline.classify(crop_THWC), rounds)
    return {**times, "largest_difference": float(difference)}


def iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    intersection = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return intersection / (sum(areas) - intersection)


def _time_metrics(skinserve_s: list[float], baseline_s: list[float]) -> Metrics:
    return {
        "skinserve_s": results.spread(skinserve_s),
        "baseline_s": results.spread(baseline_s),
        "speedup": results.ratios(baseline_s, skinserve_s),
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _read(folder: Path | None, num: int) -> list[bytes]:
    if folder is None:
        return []
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise SystemExit(f"{folder} holds no .jpg, .jpeg or .png; name a folder of photos")
    return [file.read_bytes() for file in files[: num or None]]


if __name__ == "__main__":
    main(tyro.cli(Settings))
