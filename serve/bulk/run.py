"""Score all photos of a source into an output folder; resume a run that was stopped or killed."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from models.storage import is_remote
from serve.bulk.pipeline import ShardResult, ShardWork, run_shards
from serve.bulk.row_files import RowFormat
from serve.bulk.run_folder import Lister, Listing, RunFolder, StoredSettings
from serve.bulk.scorer import Scorer
from serve.bulk.source import BulkError, Source, normalized
from serve.schemas import DISCLAIMER


class Progress(Protocol):
    """Show the progress of a run."""

    def listed(self, num_photos: int) -> None:
        """Show the number of photos listed so far."""
        ...

    def began(self, num_photos: int, num_done: int) -> None:
        """Show that scoring begins.

        Args:
            num_photos: of the source.
            num_done: of them by earlier runs.
        """
        ...

    def scored(self, num_photos: int) -> None:
        """Show that more photos have their rows."""
        ...


@dataclass(frozen=True, kw_only=True)
class BulkOptions:
    """Settings of one run.

    Args:
        source: folder or ``s3://bucket/prefix``.
        out: folder or ``s3://bucket/prefix``.
        scorer: of a task.
        num_workers: None: one for each CPU or GPU of the cluster.
        checks_source: list the source again when a run is resumed, and compare it.
    """

    source: str
    out: str
    scorer: Scorer
    format: RowFormat = "parquet"
    photos_per_shard: int = 500
    any_name: bool = False
    uses_gpu: bool = False
    num_workers: int | None = None
    checks_source: bool = True


@dataclass(kw_only=True)
class Summary:
    """Result of a run."""

    listing: Listing
    num_before: int
    """Photos of earlier runs into the same folder."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Photos of this run by outcome."""
    seconds: float = 0.0
    """Between begin and end of the work on shards; without the start of Ray and loading the models."""

    @property
    def num_scored(self) -> int:
        """Return the number of photos of this run."""
        return self.outcomes.total()

    @property
    def photos_per_s(self) -> float:
        """Return the rate of this run."""
        return self.num_scored / self.seconds if self.seconds else 0.0


def score(
    run: BulkOptions, progress: Progress, ray_cluster: Callable[[], AbstractContextManager[object]]
) -> Summary:
    """Score the photos that have no row yet.

    Args:
        run: settings.
        progress: of the listing and the scoring.
        ray_cluster: joins or starts Ray; not called if nothing is left to do.

    Raises:
        BulkError: the output belongs to another run, the source has no photos or has changed, or a worker
            failed.
        StorageError: source or output cannot be read or written.
    """
    source = Source(address=normalized(run.source), any_name=run.any_name)
    folder = RunFolder(normalized(run.out), run.format)
    settings = StoredSettings(
        source=source.address,
        any_name=run.any_name,
        photos_per_shard=run.photos_per_shard,
        format=run.format,
        scorer=dict(run.scorer.description),
    )
    with folder.open(settings):
        listing = _listing(folder, source, run, progress)
        finished = folder.finished_shards()
        missing = [shard for shard in range(listing.num_shards) if shard not in finished]
        num_missing = sum(listing.photos_of(shard, run.photos_per_shard) for shard in missing)
        summary = Summary(listing=listing, num_before=listing.num_photos - num_missing)
        if missing:
            progress.began(listing.num_photos, summary.num_before)
            folder.forget_crashes()
            work = ShardWork(folder=folder, source=source, scorer=run.scorer, format=run.format)
            with ray_cluster():
                results = run_shards(work, missing, num_workers=run.num_workers, uses_gpu=run.uses_gpu)
                _add_results(summary, results, progress)
            folder.write_summary(_summary_file(summary))
    return summary


def _listing(folder: RunFolder, source: Source, run: BulkOptions, progress: Progress) -> Listing:
    """List the source and write the manifest; compare the source with the manifest of an earlier run."""
    before = folder.read_listing()
    if before is not None and not run.checks_source:
        return before
    lister = Lister(source, run.photos_per_shard)
    for number, photos in enumerate(lister.shards()):
        if before is None:
            folder.write_manifest(number, photos)
        progress.listed(lister.num_photos)
    found = lister.listing()
    if not found.num_photos:
        if not is_remote(source.address) and not os.path.isdir(source.address):
            raise BulkError(f"there is no folder {source.address}; correct the address")
        others = f" ({found.num_skipped:,} other files)" if found.num_skipped else ""
        raise BulkError(
            f"there are no photos in {source.address}{others}; correct the address, or add --any-name if "
            "the names of the photos have no suffix such as .jpg"
        )
    if before is None:
        folder.write_listing(found)
    elif found.sha256 != before.sha256:
        raise BulkError(
            f"{source.address} has changed since {folder.address} was begun: {before.num_photos:,} photos "
            f"with {before.num_bytes:,} bytes then, {found.num_photos:,} with {found.num_bytes:,} now; "
            "restore it, name a new folder, or add --no-check-source to score the photos of the first listing"
        )
    return before or found


def _add_results(summary: Summary, results: Iterator[ShardResult], progress: Progress) -> None:
    began_at, ended_at = float("inf"), 0.0
    for result in results:
        if result.error:
            raise BulkError(result.error)
        summary.outcomes.update(result.outcomes)
        began_at, ended_at = min(began_at, result.began_at), max(ended_at, result.ended_at)
        summary.seconds = ended_at - began_at
        progress.scored(result.num_photos)


def _summary_file(summary: Summary) -> dict[str, object]:
    return {
        **summary.listing.model_dump(),
        "disclaimer": DISCLAIMER,
        "last_run": {
            "num_photos": summary.num_scored,
            "outcomes": dict(sorted(summary.outcomes.items())),
            "seconds": round(summary.seconds, 3),
            "photos_per_s": round(summary.photos_per_s, 2),
        },
    }
