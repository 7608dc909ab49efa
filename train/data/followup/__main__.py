"""Command line: ``skinserve followup``."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from models.errors import EXIT_DONE, EXIT_ROWS_LEFT_OUT, SkinserveError, command
from train.data.followup.build import Rules, build_rows
from train.data.ingest.report import RowReport
from train.data.labels.cache import ResponseCache
from train.data.labels.comprehend import Comprehend, Language
from train.data.labels.offline import Vader
from train.data.labels.sentiment import Labeller
from train.data.manifest import write_manifest


@dataclass(frozen=True, kw_only=True)
class Followup:
    """Write a manifest of series, each labelled by its latest doctor's note.

    Exit code: 0 done; 3 some users were dropped, not counting those excluded by a setting; 1 nothing was
    written.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """Folder or s3:// address with dr_msg_stats.csv, followup_data/ and images/."""
    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Parquet file to write, local or s3://."""
    labeller: Literal["comprehend", "vader"]
    """comprehend: AWS Comprehend, paid, 12 languages. vader: local, English only."""
    rules: Annotated[Rules, tyro.conf.arg(name="")] = field(default_factory=Rules)
    cache: Path = Path("runs/comprehend.sqlite")
    """SQLite cache of Comprehend's responses; a second run costs nothing."""
    region: str | None = None
    """AWS region of Comprehend; by default that of the AWS configuration."""
    language: Language | None = None
    """Of all notes; by default Comprehend detects each, and short notes count as the main language."""
    allow_dropped: bool = False
    """Exit with 0 instead of 3 if users were dropped."""


@command("skinserve followup", when_stopped="stopped before the manifest was written")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Write the manifest and print the report."""
    settings = tyro.cli(Followup, args=arguments, prog=prog)
    report = RowReport()
    try:
        num_rows = followup(settings, report)
    except SkinserveError:
        if report.num_read:
            print(report.text())
        raise
    print(report.text())
    print(f"wrote {num_rows:,} photos of {report.num_kept:,} people to {settings.manifest}")
    return EXIT_ROWS_LEFT_OUT if report.num_dropped and not settings.allow_dropped else EXIT_DONE


def followup(settings: Followup, report: RowReport) -> int:
    """Write the manifest and return its number of rows.

    Raises:
        ManifestError: no person remains.
        models.storage.StorageError: source or target cannot be used.
        LabelError: the labeller cannot be used.
    """
    with _labeller(settings) as labeller:
        rows = build_rows(settings.source, labeller, settings.rules, report)
    notes = {
        "format": "skincredible",
        "licence": settings.rules.licence,
        "training_data": f"{report.num_kept} people with {len(rows)} follow-up photos, "
        f"labelled by {settings.labeller} from the latest doctor's note",
        "neutral": settings.rules.neutral,
        "after_note": settings.rules.after_note,
    }
    write_manifest(rows, settings.manifest, notes=notes)
    return len(rows)


@contextmanager
def _labeller(settings: Followup) -> Iterator[Labeller]:
    if settings.labeller == "vader":
        yield Vader()
        return
    with closing(ResponseCache(settings.cache)) as cache:
        yield Comprehend(cache, region=settings.region, language=settings.language)


if __name__ == "__main__":
    sys.exit(main())
