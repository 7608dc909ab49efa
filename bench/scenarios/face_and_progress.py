"""Selfies to faces and progress answers, against facenet-pytorch at full size.

Command: ``python -m bench.scenarios.face_and_progress``.

Ours decodes reduced, finds the face in at most 640 px and cuts it out; theirs decodes everything, gives it to
``MTCNN`` and cuts the largest face out. The drawn faces can be replaced by a folder of photos; photos without
a person show how many faces are found that are none. Everything in this process, on the cores it may use.
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
from bench.servers import ROOT, num_cores
from models.checkpoint import load_weights, read_meta
from models.face.detector import MtcnnFaceDetector
from models.images import decode_bounded
from models.preprocessing import normalize
from models.progress.engine import load_progress_engine
from models.progress.network import MaskedConvLSTM, ProgressNet

MEGAPIXELS = 12
SAME_FACE_IOU = 0.8
NUM_SERIES_PHOTOS, NUM_PADDED_STEPS = 8, 30
MIN_CONFIDENCE = 0.9
Box = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure selfies."""

    faces: Path | None = None
    """Folder of photos, each of one person; else drawn ones."""
    others: Path | None = None
    """Folder of photos without a person; else drawn spots."""
    num: int = 4
    """Photos of each kind at most, 12 MP and own size; 0: all of the folder."""
    rounds: int = 3
    """Of the series and of the ConvLSTM."""
    checkpoint: Path = ROOT / "weights" / "progress"
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure and write the results; a folder of photos has a file of its own."""
    load_before = results.load_now()
    torch.set_num_threads(num_cores())
    ours, theirs = Ours(settings.checkpoint), Theirs(settings.checkpoint)
    faces = _read(settings.faces, settings.num) or photos.selfies((1280, 960), num=settings.num)
    others = _read(settings.others, settings.num) or photos.spots("2 MP", num=settings.num)
    figures = {
        "faces_12_mp": compare(ours, theirs, [photos.enlarged(photo, MEGAPIXELS) for photo in faces]),
        "faces_own_size": compare(ours, theirs, faces),
        "others": compare(ours, theirs, others),
    }
    print(figures, flush=True)
    series = [photos.enlarged(faces[i % len(faces)], MEGAPIXELS) for i in range(NUM_SERIES_PHOTOS)]
    figures["series"] = compare_times(
        lambda: ours.progress(series), lambda: theirs.progress(series), settings
    )
    figures["convlstm"] = compare_convlstm(ours, theirs, settings)
    print(figures["series"], figures["convlstm"], flush=True)
    name = "face_and_progress_of_photos" if settings.faces else "face_and_progress"
    results.save(name, settings, figures, load_before=load_before, folder=settings.out)


class Ours:
    """The stages of the server, called directly."""

    def __init__(self, checkpoint: Path) -> None:
        self._engine = load_progress_engine(checkpoint, num_threads=num_cores())
        self._detector = MtcnnFaceDetector(size_px=self._engine.meta.input_px)

    def face(self, data: bytes) -> tuple[Box | None, np.ndarray | None]:
        """Return the box in the original photo, and the crop."""
        photo = decode_bounded(data)
        (found,) = self._detector([photo.image_HWC])
        if found is None:
            return None, None
        scale = photo.width_px / photo.image_HWC.shape[1]
        return [scale * side for side in found.box], found.crop_HWC

    def progress(self, series: Sequence[bytes]) -> np.ndarray:
        """Return the probability of improved after each photo."""
        found = self._detector([decode_bounded(data).image_HWC for data in series])
        crop_THWC = np.stack([face.crop_HWC for face in found if face is not None])
        return self.answer(crop_THWC)

    def answer(self, crop_THWC: np.ndarray) -> np.ndarray:
        """Return the probability of improved after each crop."""
        return self._engine(crop_THWC[None], np.ones((1, len(crop_THWC)), bool)).improved_BT[0]


class Theirs:
    """facenet-pytorch as its documentation shows, and the ConvLSTM photo by photo, padded to 30."""

    def __init__(self, checkpoint: Path) -> None:
        self.meta = read_meta(checkpoint)
        self._mtcnn = facenet_pytorch.MTCNN(image_size=self.meta.input_px, keep_all=False)
        net = ProgressNet(**self.meta.architecture)
        net.load_state_dict(load_weights(checkpoint, self.meta))
        net.first, net.second = StepByStep(net.first), StepByStep(net.second)
        self._net = net.eval()

    def face(self, data: bytes) -> tuple[Box | None, np.ndarray | None]:
        """Return the box in the photo, and the crop."""
        photo = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        boxes, confidences = self._mtcnn.detect(photo)[:2]
        if boxes is None or float(confidences[0]) < MIN_CONFIDENCE:
            return None, None
        box = [float(side) for side in boxes[0]]
        side = self.meta.input_px
        crop = photo.crop([round(side) for side in box]).resize((side, side))  # pyright: ignore[reportArgumentType]
        return box, np.asarray(crop)

    def progress(self, series: Sequence[bytes]) -> np.ndarray:
        """Return the probability of improved after each photo."""
        crops = [self.face(data)[1] for data in series]
        return self.answer(np.stack([crop for crop in crops if crop is not None]))

    @torch.inference_mode()
    def answer(self, crop_THWC: np.ndarray) -> np.ndarray:
        """Return the probability of improved after each crop; 30 steps are computed, whatever there is."""
        num = len(crop_THWC)
        padded = np.zeros((NUM_PADDED_STEPS, *crop_THWC.shape[1:]), np.uint8)
        padded[:num] = crop_THWC
        present_BT = torch.arange(NUM_PADDED_STEPS)[None] < num
        image_TCHW = normalize(torch.from_numpy(padded), self.meta.mean, self.meta.std)
        logits_BTC = self._net(image_TCHW[None], present_BT)
        return logits_BTC.softmax(2)[0, :num, self.meta.labels.index("improved")].numpy()


class StepByStep(MaskedConvLSTM):
    """A ConvLSTM layer as textbooks write it: both convolutions of a photo when its turn comes."""

    def __init__(self, layer: MaskedConvLSTM) -> None:
        super().__init__(layer.input_gates.in_channels, layer.num_filters)
        self.load_state_dict(layer.state_dict())

    def forward(self, input_BTCHW: Tensor, present_BT: Tensor) -> Tensor:
        """Return what the layer returns."""
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


def compare(ours: Ours, theirs: Theirs, series: Sequence[bytes]) -> dict[str, Any]:
    """Find the faces of photos one by one, ours and theirs by turns, and compare boxes and times."""
    ours.face(series[0])  # warm
    rows: list[dict[str, Any]] = []
    for data in series:
        (our_box, _), our_s = _timed(lambda data=data: ours.face(data))
        (their_box, _), their_s = _timed(lambda data=data: theirs.face(data))
        rows.append(
            {
                "our_s": our_s,
                "their_s": their_s,
                "ours": our_box is not None,
                "theirs": their_box is not None,
                "iou": iou(our_box, their_box) if our_box and their_box else None,
            }
        )
    shared = [row["iou"] for row in rows if row["iou"] is not None]
    return {
        "photos": len(rows),
        "megabytes": round(sum(map(len, series)) / len(series) / 1e6, 2),
        "our_s": results.spread([row["our_s"] for row in rows]),
        "their_s": results.spread([row["their_s"] for row in rows]),
        "times_faster": results.spread([row["their_s"] / row["our_s"] for row in rows]),
        "found_by_us": sum(row["ours"] for row in rows),
        "found_by_them": sum(row["theirs"] for row in rows),
        "lost": sum(row["theirs"] and not row["ours"] for row in rows),
        "same_face": sum(one >= SAME_FACE_IOU for one in shared),
        "iou": results.spread(shared) if shared else None,
    }


def compare_times(
    our: Callable[[], object], their: Callable[[], object], settings: Settings
) -> dict[str, Any]:
    """Call both by turns."""
    our()
    pairs = [(_timed(our)[1], _timed(their)[1]) for _ in range(settings.rounds)]
    return {
        "our_s": results.spread([pair[0] for pair in pairs]),
        "their_s": results.spread([pair[1] for pair in pairs]),
        "times_faster": results.spread([pair[1] / pair[0] for pair in pairs]),
    }


def compare_convlstm(ours: Ours, theirs: Theirs, settings: Settings) -> dict[str, Any]:
    """Give the same crops to both networks."""
    side = theirs.meta.input_px
    crop_THWC = np.random.default_rng(0).integers(0, 256, (NUM_SERIES_PHOTOS, side, side, 3), np.uint8)
    difference = np.abs(ours.answer(crop_THWC) - theirs.answer(crop_THWC)).max()
    times = compare_times(lambda: ours.answer(crop_THWC), lambda: theirs.answer(crop_THWC), settings)
    return {**times, "largest_difference": float(difference)}


def iou(one: Box, other: Box) -> float:
    """Return intersection over union of two boxes: left, top, right, bottom."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


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
