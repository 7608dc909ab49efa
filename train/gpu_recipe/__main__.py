"""Command line: ``split``, ``pack`` and ``train``, in this order; see ``--help`` of each.

``train`` trains networks within a number of seconds: the localizer, teachers, the lesion network distilled
from them, the small one, and the networks of the leave-one-source-out tests. It writes each result as soon as
the network is trained.
"""

import argparse
import csv
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from models.lesion.network import LesionLogits, LesionNet
from models.lesion.small_network import SmallLesionNet
from train.gpu_recipe.lesion import LesionRecipe, LesionRun
from train.gpu_recipe.localizer import LocalizerRecipe, LocalizerRun
from train.gpu_recipe.measure import DIAGNOSES, lesion_summary, predictions
from train.gpu_recipe.optimize import Budget
from train.gpu_recipe.photos import MASK_STRIDE, SOURCES, PhotoSet, load, pack
from train.gpu_recipe.split import draw_split, read_rows, read_split, write_split

PART_BYTES = 15_500_000
SHARES = {
    "localizer": 0.13,
    "teacher_1": 0.22,
    "teacher_2": 0.22,
    "lesion": 0.40,
    "small": 0.20,
    "without_pad_ufes_20": 0.08,
    "without_isic_msk": 0.08,
}
"""Relative training time of each network."""
TEACHER_RATES = {"teacher_1": 6e-4, "teacher_2": 3e-4}
TEACHER_STAGES = ((160, 0.45), (224, 0.55))

log = logging.getLogger(__name__)


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(prog="python -m train.gpu_recipe", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("split", "pack"):
        command = commands.add_parser(name)
        command.add_argument("--lesions", type=Path, required=True, help="folder with lesions.csv and photos")
        command.add_argument("--faces", type=Path, help="folder with people/, people.csv and not_faces/")
        command.add_argument("--split", type=Path, required=True, help="CSV file: image, split")
    commands.choices["split"].add_argument("--duplicates", type=Path, help="CSV file of image pairs")
    commands.choices["pack"].add_argument("--out", type=Path, required=True)
    commands.choices["pack"].add_argument("--workers", type=int, default=1)
    commands.choices["pack"].add_argument("--every", type=int, default=1, help="pack every n-th photo only")
    train = commands.add_parser("train")
    train.add_argument("--packed", type=Path, required=True, help="folder written by pack")
    train.add_argument("--imagenet", type=Path, required=True, help="backbone of ResNet50, safetensors")
    train.add_argument("--imagenet-small", type=Path, help="EfficientNet-Lite0, safetensors; for small")
    train.add_argument("--localizer", type=Path, help="weights of a trained localizer, safetensors")
    train.add_argument("--networks", nargs="+", choices=tuple(SHARES), default=list(SHARES))
    train.add_argument("--out", type=Path, required=True)
    train.add_argument("--seconds", type=float, required=True, help="total time, loading included")
    train.add_argument("--device", default="cuda")
    train.add_argument("--small", action="store_true", help="tiny batches and images, for a test on a CPU")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    {"split": _split, "pack": _pack, "train": _train}[arguments.command](arguments)


def _split(arguments: argparse.Namespace) -> None:
    rows = read_rows(arguments.lesions, arguments.faces)
    pairs = []
    if arguments.duplicates is not None:
        with arguments.duplicates.open(newline="") as file:
            pairs = [(row[0], row[1]) for row in csv.reader(file)]
    write_split(arguments.split, draw_split(rows, pairs))


def _pack(arguments: argparse.Namespace) -> None:
    began = time.perf_counter()
    part_of = read_split(arguments.split)
    rows = [row for row in read_rows(arguments.lesions, arguments.faces) if row["image"] in part_of]
    rows = [row for row in rows[:: arguments.every] if Path(row["path"]).is_file()]
    pack(rows, part_of, arguments.lesions / "ham10000_masks", arguments.out, workers=arguments.workers)
    log.info("packed %d photos in %.1f s", len(rows), time.perf_counter() - began)


class _Session:
    """Train the networks one after the other and write their results."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.began = time.perf_counter()
        self.arguments = arguments
        self.out: Path = arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        torch.backends.cudnn.benchmark = True
        self.photos: PhotoSet = load(arguments.packed, arguments.device)
        self.localizer_recipe, self.recipe = LocalizerRecipe(), LesionRecipe()
        if arguments.small:
            self.localizer_recipe = replace(self.localizer_recipe, input_px=64, batch_size=24)
            self.recipe = replace(self.recipe, stages=((64, 0.6), (80, 0.4)), batch_size=8)
        self.truth_boxes = self.found_boxes = torch.zeros(
            len(self.photos.names), 4, device=self.photos.device
        )
        self.teachers: list[nn.Module] = []
        self.lesion_net: nn.Module | None = None
        log.info("%d photos on %s after %.1f s", len(self.photos.names), arguments.device, self.elapsed())
        self.available = arguments.seconds - self.elapsed()

    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    def budget(self, name: str) -> Budget:
        """Return the seconds of one network: its share, limited by the time left."""
        left = self.arguments.seconds - self.elapsed() - 2
        steps = 5 if self.arguments.small else 1_000_000
        trained = set(self.arguments.networks) - ({"localizer"} if self.arguments.localizer else set())
        share = SHARES[name] / sum(SHARES[network] for network in trained)
        return Budget(seconds=max(1.0, min(share * self.available, left)), max_steps=steps)

    def record(self, name: str) -> Callable[[dict[str, object]], None]:
        def write(entry: dict[str, object]) -> None:
            entry = {"run": name, "at_s": round(self.elapsed(), 1), **entry}
            with (self.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(entry) + "\n")
            log.info("%s", json.dumps({key: _short(value) for key, value in entry.items()}))

        return write

    def localizer(self) -> None:
        run = LocalizerRun(self.photos, self.localizer_recipe)
        if self.arguments.localizer is not None:
            run.mean_net.load_state_dict(load_file(self.arguments.localizer))
        else:
            net = run.train(self.budget("localizer"))
            _write_weights(self.out, "localizer", net, torch.float32)
            self.record("localizer")({"validation": run.evaluate()})
        self.found_boxes = run.boxes()
        self.truth_boxes = _mask_boxes(self.photos, self.found_boxes)

    def teach(self, name: str) -> None:
        stages = self.recipe.stages if self.arguments.small else TEACHER_STAGES
        rate, seed = TEACHER_RATES[name], 11 + len(self.teachers)
        recipe = replace(self.recipe, stages=stages, learning_rate=rate, seed=seed)
        self.teachers.append(self._run(name, self._resnet(), recipe))
        self._more_sides(name, _Mean(self.teachers))

    def lesion(self) -> None:
        net, teacher, recipe = self._resnet(), None, self.recipe
        if self.teachers:
            net.load_state_dict(self.teachers[0].state_dict())
            teacher = _Mean(self.teachers)
            teacher_px = self.recipe.stages[-1][0] if self.arguments.small else TEACHER_STAGES[-1][0]
            recipe = replace(recipe, teacher_px=teacher_px, learning_rate=recipe.learning_rate / 2)
        self.lesion_net = self._run("lesion", net, recipe, teacher=teacher)
        _write_weights(self.out, "lesion", self.lesion_net, torch.float16)
        self._more_sides("lesion", self.lesion_net)

    def small(self) -> None:
        if self.lesion_net is None:
            raise RuntimeError("the small network is distilled from the lesion network, which failed")
        net = SmallLesionNet(num_diagnoses=len(DIAGNOSES), input_px=self.recipe.stages[-1][0])
        net.load_imagenet(load_file(self.arguments.imagenet_small))
        recipe = replace(self.recipe, learning_rate=1e-3, seed=2, batch_size=2 * self.recipe.batch_size)
        trained = self._run("small", net, recipe, teacher=self.lesion_net)
        _write_weights(self.out, "small", trained, torch.float16)

    def without(self, source: str) -> None:
        recipe = replace(self.recipe, seed=3, evaluate_at=(), select=False, learning_rate=3e-4)
        recipe = replace(recipe, stages=((recipe.stages[0][0], 1.0),))
        name = f"without_{source}"
        net = self._run(name, self._resnet(), recipe, without=frozenset({source}))
        own = self.photos.where()
        own = own[(self.photos.source_N[own] == SOURCES.index(source)) & (self.photos.part_N[own] < 2)]
        label_N, source_N = self.photos.label_N[own].cpu().numpy(), self.photos.source_N[own].cpu().numpy()
        for view, boxes in (("frame", None), ("crop", self.found_boxes)):
            logits = predictions(net, self.photos, own, side_px=recipe.stages[0][0], box_N4=boxes)
            self.record(name)({"left_out": view, **lesion_summary(logits, label_N, source_N)})

    def _resnet(self) -> LesionNet:
        side_px = max(160, self.recipe.stages[-1][0])
        net = LesionNet(num_diagnoses=len(DIAGNOSES), input_px=side_px, scope_head=True)
        weights = load_file(self.arguments.imagenet)
        net.backbone.load_state_dict({key: _float32(value) for key, value in weights.items()})
        return net

    def _run(
        self,
        name: str,
        net: nn.Module,
        recipe: LesionRecipe,
        *,
        without: frozenset[str] = frozenset(),
        teacher: nn.Module | None = None,
    ) -> nn.Module:
        torch.manual_seed(recipe.seed)
        # cuDNN's search took 30 s a side for the depthwise convolutions of the small network, on an H200
        torch.backends.cudnn.benchmark = not isinstance(net, SmallLesionNet)
        net = net.to(self.photos.device).to(memory_format=torch.channels_last)
        run = LesionRun(
            net,
            self.photos,
            recipe,
            box_N4=self.truth_boxes,
            found_box_N4=self.found_boxes,
            log=self.record(name),
            without=without,
            teacher=teacher,
        )
        return run.train(self.budget(name))

    def _more_sides(self, name: str, net: nn.Module) -> None:
        """Log the validation metrics at other input sides."""
        own = self.photos.where(part=1)
        label_N, source_N = self.photos.label_N[own].cpu().numpy(), self.photos.source_N[own].cpu().numpy()
        for side_px in (160, 192, 224) if not self.arguments.small else (64,):
            logits = predictions(net, self.photos, own, side_px=side_px, box_N4=self.found_boxes)
            self.record(name)({"selected_at_px": side_px, "crop": lesion_summary(logits, label_N, source_N)})


class _Mean(nn.Module):
    """Average the logits of several networks."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, image_BCHW: Tensor) -> LesionLogits:
        """Classify normalised images, (B, 3, H, W)."""
        logits = [net(image_BCHW) for net in self.nets]
        return LesionLogits(
            torch.stack([one.risk_BR for one in logits]).mean(0),
            torch.stack([one.diagnosis_BK for one in logits]).mean(0),
        )


def _train(arguments: argparse.Namespace) -> None:
    session = _Session(arguments)
    steps: list[tuple[str, Callable[[], None]]] = [
        ("localizer", session.localizer),
        *((name, partial(session.teach, name)) for name in TEACHER_RATES),
        ("lesion", session.lesion),
        ("small", session.small),
        ("without_pad_ufes_20", lambda: session.without("pad_ufes_20")),
        ("without_isic_msk", lambda: session.without("isic_msk")),
    ]
    for name, step in steps:
        if name not in arguments.networks:
            continue
        if session.elapsed() > arguments.seconds - 6 and not arguments.small:
            log.info("no time is left for %s", name)
            continue
        try:
            step()
        except Exception:  # a failure must not lose the networks trained before
            log.exception("%s failed", name)
    log.info("done after %.1f s", session.elapsed())


def _mask_boxes(photos: PhotoSet, found_N4: Tensor) -> Tensor:
    """Return the boxes of the source's masks, and the localizer's for photos without a mask."""
    mask_NHW = photos.mask_NHW > 127
    given_N = (photos.source_N == SOURCES.index("ham10000")) & mask_NHW.any(2).any(1)
    bounds = []
    for dimension in (2, 1):
        seen_NX = mask_NHW.any(dimension)
        first = seen_NX.float().argmax(1)
        last = seen_NX.shape[1] - seen_NX.flip(1).float().argmax(1)
        bounds.append((first * MASK_STRIDE, last * MASK_STRIDE))
    (top, bottom), (left, right) = bounds
    box_N4 = torch.stack([(top + bottom) / 2, (left + right) / 2, bottom - top, right - left], dim=1)
    return torch.where(given_N[:, None], box_N4.float(), found_N4)


def _write_weights(out: Path, name: str, net: nn.Module, dtype: torch.dtype) -> None:
    """Write matrices in ``dtype`` and vectors in float32, as safetensors, in parts of limited size."""
    weights = {
        key: (value.to(dtype) if value.ndim > 1 and value.is_floating_point() else value).contiguous().cpu()
        for key, value in net.state_dict().items()
    }
    content = save(weights)
    for number, first in enumerate(range(0, len(content), PART_BYTES)):
        (out / f"{name}.safetensors.{number}").write_bytes(content[first : first + PART_BYTES])


def _float32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    return value


if __name__ == "__main__":
    main()
