"""Command line: ``skinserve score``, the rows of all photos of a folder or a bucket."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from cli.registry import model_address
from cli.score_progress import TerminalProgress
from models.errors import EXIT_DONE, SkinserveError, command, sigterm_as_interrupt
from models.lesion.runtimes import EngineName
from models.limits import DEFAULT_TOP_K, MAX_TOP_K
from serve.schemas import DISCLAIMER
from train.ray_cluster import ray_cluster, set_ray_environment

if TYPE_CHECKING:
    from serve.bulk.run import BulkOptions, Summary

_Source = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
_Out = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
RESUME = "finished shards are kept, the same command resumes"


@dataclass(frozen=True, kw_only=True)
class Score:
    """Classify all lesion photos below a folder or a bucket's prefix. The same command again resumes."""

    source: _Source
    """Folder or s3://bucket/prefix of the photos; other files are skipped and counted."""
    out: _Out
    """New folder or s3://bucket/prefix for the rows, or that of a run to be resumed."""
    model: Annotated[str, tyro.conf.arg(metavar="FOLDER|s3://…|NAME@VERSION")] = "weights/lesion"
    """Checkpoint, or a version of --registry."""
    registry: str | None = None
    """Address of the registry of --model NAME@VERSION."""
    format: Literal["parquet", "ndjson"] = "parquet"
    """File format of the rows."""
    top_k: int = DEFAULT_TOP_K
    """Number of diagnoses in a row."""
    engine: EngineName = "auto"
    """Inference engine; the values are those of lesion.engine in the settings of the server."""
    gpu: bool = False
    """Classify on GPUs; all CPUs decode."""
    workers: int | None = None
    """Processes with the model; default: one for each CPU of the cluster, with --gpu one for each GPU."""
    photos_per_shard: int = 500
    """Photos of one file, and the most that each worker repeats after a kill."""
    any_name: bool = False
    """Score files of every name, not only those with a suffix of photos such as .jpg."""
    check_source: bool = True
    """When a run is resumed, list the source again and compare it with the first listing."""
    ray_address: str = "local"
    """local starts Ray on this machine; auto or host:port joins a Ray cluster."""

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= MAX_TOP_K:
            raise ValueError(f"top_k is {self.top_k}, must be 1 to {MAX_TOP_K}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers is {self.workers}, must be at least 1")
        if not 1 <= self.photos_per_shard <= 10_000:
            raise ValueError(f"photos_per_shard is {self.photos_per_shard}, must be 1 to 10,000")


class ScoreError(SkinserveError):
    """Report a run that ended early and can be resumed."""


@command("skinserve score", when_stopped=f"stopped; {RESUME}")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Score the photos that have no row yet, and print the counts."""
    settings = tyro.cli(Score, args=arguments, prog=prog)
    with sigterm_as_interrupt():
        set_ray_environment(settings.ray_address)  # before the first import of Ray
        from serve.bulk.run import score

        run = _run(settings)
        with TerminalProgress() as progress:
            summary = score(run, progress, lambda: _cluster(settings.ray_address))
    print(_text(summary, run))
    return EXIT_DONE


def _run(settings: Score) -> "BulkOptions":
    from serve.bulk.run import BulkOptions
    from serve.lesion.bulk import lesion_scorer

    scorer = lesion_scorer(
        model_address(settings.model, settings.registry),
        device="cuda" if settings.gpu else "cpu",
        engine=settings.engine,
        top_k=settings.top_k,
    )
    return BulkOptions(
        source=settings.source,
        out=settings.out,
        scorer=scorer,
        format=settings.format,
        photos_per_shard=settings.photos_per_shard,
        any_name=settings.any_name,
        uses_gpu=settings.gpu,
        num_workers=settings.workers,
        checks_source=settings.check_source,
    )


@contextlib.contextmanager
def _cluster(address: str) -> Iterator[None]:
    """Join or start Ray; errors of the run say that it can be resumed."""
    with ray_cluster(address, option="--ray-address"), sigterm_as_interrupt():  # ray.init sets a handler
        try:
            yield
        except SkinserveError as error:
            raise ScoreError(f"{error}; {RESUME}") from error


def _text(summary: "Summary", run: "BulkOptions") -> str:
    listing = summary.listing
    counts = ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(summary.outcomes.items()))
    rate = f" in {summary.seconds:,.0f} s, {summary.photos_per_s:.1f} photos/s" if summary.seconds else ""
    lines = [
        f"{summary.num_scored:,} photos scored{rate}: {counts or 'none was left'}",
        f"{summary.num_before:,} were scored before, {listing.num_skipped:,} other files were skipped",
        f"rows: {run.out.rstrip('/')}/rows. {DISCLAIMER}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
