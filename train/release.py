"""The last step of a run, its trained weights to a checkpoint folder: ``skinserve release RUN``."""

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from pydantic import TypeAdapter
from torch import nn

from models.errors import EXIT_DONE, command
from models.lesion.network import LesionNet
from models.progress.network import ProgressNet
from models.storage import is_remote, upload_folder
from train.config import LesionTraining, ProgressTraining, Training
from train.data.manifest import Row, read_manifest, read_manifest_notes
from train.data.split import Split, read_split
from train.lesion.release import FoldFigures, ReleaseError, release_ensemble, release_lesion
from train.loop import new_ema
from train.progress.evaluation import material_of
from train.progress.release import release_progress
from train.run_folder import RunFolder, best_epochs


@dataclass(frozen=True, kw_only=True)
class Release:
    """Write the checkpoint of a run, as skinserve train does at its end; also of a run that has not ended."""

    run: Annotated[str, tyro.conf.Positional]
    """Folder of the run, on this machine or on S3."""
    out: str = ""
    """Folder for the checkpoint; ``checkpoint`` in the run if not given."""
    manifest: str = ""
    """Where the manifest is now, if it was moved since the run."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run has learned so far."""

    config: Training
    net: nn.Module
    rows: list[Row]
    split: Split
    labels: tuple[str, ...]
    architecture: dict[str, Any]
    manifest_notes: dict[str, Any]


@command("skinserve release")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Release a run and print the address of its checkpoint."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("train").setLevel(logging.INFO)  # no other library's INFO
    settings = tyro.cli(Release, args=arguments, prog=prog)
    print(f"checkpoint in {release_run(settings.run, out=settings.out, manifest=settings.manifest)}")
    return EXIT_DONE


def release_run(run: str, *, out: str = "", manifest: str = "") -> str:
    """Release the weights that a run's settings ask for, last or best; return the checkpoint's address.

    Raises:
        ReleaseError: the folder holds no state, or the checkpoint does not answer as the network does.
        ManifestError: the manifest is not the one that was trained on.
        StorageError: something cannot be read or written.
    """
    trained = load_trained(run, manifest=manifest)
    address = out or RunFolder(address=run).checkpoint
    with _local(address) as folder:
        release = _release_lesion if isinstance(trained.config, LesionTraining) else _release_progress
        release(trained, folder)
    return address


def release_folds(runs: Sequence[str], out: str) -> tuple[str, list[FoldFigures]]:
    """Release the networks of all folds as one checkpoint; return its address and the figures of each fold.

    Raises:
        ReleaseError: a run holds no state, or the checkpoint does not answer as the networks do.
    """
    members = [load_trained(run) for run in runs]
    first = members[0]
    assert isinstance(first.config, LesionTraining)
    with _local(out) as folder:
        _, figures = release_ensemble(
            [member.net for member in members],
            first.config,
            [member.split for member in members],
            first.labels,
            first.architecture,
            first.manifest_notes,
            folder=folder,
        )
    return out, figures


def load_trained(run: str, *, manifest: str = "") -> Trained:
    """Load the running mean of the weights of a run's last or best epoch, and what it was trained on.

    Raises:
        ReleaseError: the folder holds no state.
        ManifestError: the manifest is not the one that was trained on.
    """
    folder = RunFolder(address=run)
    content = folder.latest()
    if content is None:
        raise ReleaseError(f"{run} holds no state of a run; name the folder given as --run to train.launch")
    notes = content["notes"]
    manifest = manifest or notes["manifest"]
    kind = LesionTraining if notes["kind"] == "lesion" else ProgressTraining
    places = {
        "manifest": manifest,
        "run": run,
        "faces": notes.get("faces", ""),
        "cache": notes.get("cache", ""),
        "batch_size": notes["batch_size"],
    }
    known = {name: value for name, value in places.items() if name in kind.__dataclass_fields__}
    settings = dict(content["settings"])
    fingerprint, examples_per_step = settings.pop("data_fingerprint"), settings.pop("examples_per_step")
    config: Training = TypeAdapter(kind).validate_python(settings | known)
    if config.release == "best":
        content = folder.state(best_epochs(content["history"])[0])
    net = (LesionNet if kind is LesionTraining else ProgressNet)(**notes["architecture"])
    ema = new_ema(net, config.ema_decay)
    ema.load_state_dict(content["ema"])
    rows = read_manifest(manifest)
    split = read_split(rows, folder.split)
    if split.fingerprint != fingerprint:
        raise ReleaseError(
            f"{folder.split} is not the split that {run} was trained with ( {split.fingerprint[:12]}, "
            f"then {fingerprint[:12]}); its figures would be of photos that were learned from"
        )
    return Trained(
        config=config,
        net=ema.module.eval(),
        rows=rows,
        split=split,
        labels=tuple(notes.get("labels", ())),
        architecture=notes["architecture"],
        manifest_notes=read_manifest_notes(manifest)
        | {"examples_per_step": examples_per_step, "start": notes.get("start", "")},
    )


def _release_lesion(trained: Trained, folder: Path) -> None:
    assert isinstance(trained.config, LesionTraining)
    release_lesion(
        trained.net,
        trained.config,
        trained.split,
        trained.labels,
        trained.architecture,
        trained.manifest_notes,
        folder=folder,
    )


def _release_progress(trained: Trained, folder: Path) -> None:
    config = trained.config
    assert isinstance(config, ProgressTraining)
    material = material_of(
        trained.split.val,
        trained.split.train,
        faces=config.faces,
        drawing=config.drawing,
        size_px=config.input_px,
        seed=config.seed,
        num_series=config.num_val_series,
        device=config.device,
    )
    release_progress(
        trained.net,
        config,
        trained.split,
        trained.architecture,
        material.judged,
        trained.manifest_notes,
        train_series=material.practised,
        steady_series=material.steady,
        folder=folder,
    )


@contextmanager
def _local(address: str) -> Iterator[Path]:
    """A folder to write into, which is then at ``address``."""
    if not is_remote(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "checkpoint")
        yield folder
        upload_folder(folder, address)


if __name__ == "__main__":
    sys.exit(main())
