"""A lesion checkpoint for int8, with random weights whose outputs differ between photos."""

from pathlib import Path

import numpy as np
import torch

from models.checkpoint import load_int8_ranges, load_weights, read_meta, save_checkpoint
from models.lesion.network import LesionNet
from models.lesion.runtimes import INT8_RUNTIMES
from models.preprocessing import normalize
from tests.random_checkpoints import int8_accepted, random_meta
from train.lesion.calibration_ranges import measure_ranges

INT8_ACCEPTED = int8_accepted(dict.fromkeys(INT8_RUNTIMES, True))


def noise_images(num: int, side_px: int = 64) -> np.ndarray:
    """Return images of random pixels, uint8 (num, side_px, side_px, 3)."""
    return np.random.default_rng(1).integers(0, 256, (num, side_px, side_px, 3), np.uint8)


def patch_images(num: int) -> np.ndarray:
    """Return images of 16 random colour squares, uint8 (num, 64, 64, 3); noise images are too alike."""
    colours = np.random.default_rng(4).integers(0, 256, (num, 4, 4, 3), np.uint8)
    return colours.repeat(16, axis=1).repeat(16, axis=2)


class PatchPhotos:
    """A data set of ``patch_images`` for calibration."""

    def __len__(self) -> int:
        return 16

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        return {"image": torch.from_numpy(patch_images(16))[indices]}


def write_int8(folder: Path, *, scope_head: bool = False) -> Path:
    """Write a checkpoint with calibration ranges; returns the folder.

    A new network has zeros at the end of each block, which hides the residual branches, hence the batch-norm
    weights and statistics set here.
    """
    torch.manual_seed(0)
    net = LesionNet(num_diagnoses=2, input_px=64, scope_head=scope_head).eval()
    for name, part in net.named_modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 1
            torch.nn.init.constant_(part.weight, 0.2 if name.endswith("bn3") else 1)
    net.train()
    with torch.no_grad():
        net(normalize(torch.from_numpy(patch_images(16))))  # sets the batch-norm statistics
        net.diagnosis_head[-1].get_parameter("weight").mul_(3)
        if net.scope_head is not None:
            net.scope_head.weight.mul_(5)
            net.eval()
            scope_B = net(normalize(torch.from_numpy(patch_images(16)))).scope_B
            net.scope_head.bias.sub_(scope_B.mean() - 1)
    net.eval()
    ranges = measure_ranges(net, PatchPhotos())  # pyright: ignore[reportArgumentType]
    architecture = {"num_diagnoses": 2, "input_px": 64} | ({"scope_head": True} if scope_head else {})
    meta = random_meta("lesion", architecture=architecture, metrics=INT8_ACCEPTED)
    save_checkpoint(folder, net, meta, "", int8_ranges=ranges)
    return folder


def save_variant(int8_folder: Path, folder: Path, ranges: dict[str, object], **changes: object) -> Path:
    """Save the network of ``int8_folder`` with some other ranges or another meta; returns ``folder``."""
    net = LesionNet(num_diagnoses=2, input_px=64)
    before = read_meta(int8_folder)
    net.load_state_dict(load_weights(int8_folder, before))
    meta = random_meta("lesion", **{"metrics": INT8_ACCEPTED} | changes)
    found = {**(load_int8_ranges(int8_folder, before) or {}), **ranges}
    save_checkpoint(folder, net, meta, "", int8_ranges=found)  # pyright: ignore[reportArgumentType]
    return folder
