"""Release a training run as a checkpoint folder: ``skinserve release RUN``."""

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

from models.errors import EXIT_DONE, command
from models.storage import is_remote, upload_folder
from train.config import Training, stored_settings
from train.data.manifest import Manifest, load_manifest
from train.data.split import Split, read_split
from train.loop import new_ema
from train.run_folder import RunFolder, best_epochs
from train.task import FoldMetrics, ReleaseError, Task, TrainedRun
from train.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Release:
    """Write the checkpoint of a training run, finished or not; skinserve train does so at its end."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of the run, local or on S3."""
    out: str = ""
    """Folder for the checkpoint; empty: ``checkpoint`` in the run folder."""
    manifest: str = ""
    """Present address of the manifest, if it has moved since the run."""


@command("skinserve release")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Release a run and print the address of its checkpoint."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("train").setLevel(logging.INFO)  # no other library's INFO
    settings = tyro.cli(Release, args=arguments, prog=prog)
    print(f"checkpoint in {release_run(settings.run, out=settings.out, manifest=settings.manifest)}")
    return EXIT_DONE


def release_run(run: str, *, out: str = "", manifest: str = "", data: Manifest | None = None) -> str:
    """Release the last or best weights of a run; return the checkpoint's address.

    Args:
        run: address of the run folder.
        out: address of the checkpoint; empty: in the run folder.
        manifest: its address; empty: that of the run.
        data: the manifest, where it has been read already.

    Raises:
        ReleaseError: the run has no training checkpoint, or the released checkpoint differs from the network.
        ManifestError: the manifest is not that of the run.
        StorageError: a file cannot be read or written.
    """
    task, trained = load_trained_run(run, manifest=manifest, data=data)
    address = out or RunFolder(address=run).artifact
    with _local_folder(address) as folder:
        task.release([trained], folder)
    return address


def release_folds(runs: Sequence[str], out: str, data: Manifest) -> list[FoldMetrics]:
    """Release the networks of all folds as one checkpoint; return the metrics of each fold.

    Raises:
        ReleaseError: a run has no training checkpoint, or the released checkpoint differs from the networks.
    """
    loaded = [load_trained_run(run, data=data) for run in runs]
    task = loaded[0][0]
    with _local_folder(out) as folder:
        return task.release([trained for _, trained in loaded], folder)


def load_trained_run(
    run: str, *, manifest: str = "", data: Manifest | None = None
) -> tuple[Task[Any], TrainedRun]:
    """Load the averaged weights of a run's last or best epoch, its settings and its split.

    Raises:
        ReleaseError: the run has no training checkpoint, or one of another version of this code.
        ManifestError: the manifest is not that of the run.
    """
    folder = RunFolder(address=run)
    content = folder.latest_checkpoint()
    if content is None:
        raise ReleaseError(
            f"{run} has no training checkpoint; name the folder given as --run to skinserve train"
        )
    notes = content["notes"]
    task = TASKS[notes["kind"]]
    data = data or load_manifest(manifest or notes["manifest"])
    config = _config_of(task, run, content)
    if config.release == "best":
        content = folder.load_checkpoint(best_epochs(content["history"])[0])
    net = task.network(**notes["architecture"])
    ema = new_ema(net, config.ema_decay)
    ema.load_state_dict(content["ema"])
    settings = content["settings"]
    return task, TrainedRun(
        config=config,
        net=ema.module.eval(),
        split=_split_of(folder, data, settings["data_fingerprint"]),
        architecture=notes["architecture"],
        labels=tuple(notes.get("labels", ())),
        notes={
            **data.notes,
            "examples_per_step": settings["examples_per_step"],
            "start": notes.get("start", ""),
        },
    )


def _config_of(task: Task[Any], run: str, content: dict[str, Any]) -> Training:
    """Rebuild the settings of a run from its training checkpoint."""
    notes, stored = content["notes"], dict(content["settings"])
    del stored["data_fingerprint"], stored["examples_per_step"]
    paths = {name: notes[name] for name in task.config.PATHS if name in notes}
    settings = stored | paths | {"run": run, "batch_size": notes["batch_size"]}
    config: Any = TypeAdapter(task.config).validate_python(settings)
    known = stored_settings(config)
    changed = sorted(name for name in stored if known.get(name) != stored[name])
    if changed:
        raise ReleaseError(
            f"{run} was trained by another version of skinserve, with other settings for "
            f"{', '.join(changed)}; release it with that version, or train again"
        )
    return config


def _split_of(folder: RunFolder, data: Manifest, fingerprint: str) -> Split:
    split = read_split(data.rows, folder.split)
    if split.fingerprint != fingerprint:
        raise ReleaseError(
            f"{folder.split} is not the split that {folder.address} was trained with "
            f"({split.fingerprint[:12]}, then {fingerprint[:12]}); its validation set may hold training data"
        )
    return split


@contextmanager
def _local_folder(address: str) -> Iterator[Path]:
    """Yield a local folder to write into; upload it afterwards if ``address`` is on S3."""
    if not is_remote(address):
        yield Path(address)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "checkpoint")
        yield folder
        upload_folder(folder, address)


if __name__ == "__main__":
    sys.exit(main())
