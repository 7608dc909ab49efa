"""Public data sets to the one manifest that training reads: ``python -m train.ingest --help``."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from models.taxonomy import find_diagnosis
from train.data import COLUMNS, ManifestError


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """Write a manifest (image, label, group) from the metadata of a data set."""

    metadata: Annotated[Path, tyro.conf.Positional]
    """HAM10000_metadata.csv (lesion_id, image_id, dx), or people.csv (image, person)."""
    photos: Annotated[Path, tyro.conf.Positional]
    """Folder that holds the photos, directly or deeper."""
    manifest: Annotated[Path, tyro.conf.Positional]
    """CSV to write."""


def main() -> None:
    """Read the command line, write the manifest and say how many rows it has."""
    settings = tyro.cli(Ingest)
    try:
        num_rows = ingest(settings)
    except (ManifestError, ValueError) as error:
        raise SystemExit(f"train.ingest: {error}") from error
    print(f"wrote {num_rows} rows to {settings.manifest}")


def ingest(settings: Ingest) -> int:
    """Write the manifest and return its number of rows.

    Raises:
        ManifestError: the columns are of no known data set, or photos are missing.
    """
    if not settings.metadata.is_file():
        raise ManifestError(f"no file {settings.metadata}; name the metadata of the data set")
    paths = {path.stem: path for path in sorted(settings.photos.rglob("*")) if path.is_file()}
    with settings.metadata.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if columns >= {"lesion_id", "image_id", "dx"}:
            rows = [(r["image_id"], find_diagnosis(r["dx"]).name, r["lesion_id"]) for r in reader]
        elif columns >= {"image", "person"}:
            rows = [(Path(r["image"]).stem, "", r["person"]) for r in reader]
        else:
            raise ManifestError(
                f"{settings.metadata} has the columns {', '.join(sorted(columns))}; "
                "needed are lesion_id, image_id, dx (HAM10000) or image, person"
            )
    lost = [image for image, _, _ in rows if image not in paths]
    if lost:
        raise ManifestError(
            f"{len(lost)} of {len(rows)} photos are not under {settings.photos}, {lost[0]} first; "
            "nothing was written"
        )
    settings.manifest.parent.mkdir(parents=True, exist_ok=True)
    with settings.manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        folder = settings.manifest.parent
        writer.writerows(
            (os.path.relpath(paths[image], folder), label, group) for image, label, group in rows
        )
    return len(rows)


if __name__ == "__main__":
    main()
