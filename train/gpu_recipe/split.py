"""Split all photos by group into training, validation and test set, stored as a CSV file.

Groups are lesions or patients. Groups that share near duplicates are merged first.
"""

import csv
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

PARTS = ("train", "val", "test")
VAL_SHARE = TEST_SHARE = 0.1
TEST_ONLY_SOURCES = frozenset({"isic2018_val"})
"""Used in training by no network, so that old and new ones can be compared on them."""
RESERVED_IDS = ((0, 556), (34524, 36064))
"""ISIC ids of the photos reserved for the final evaluation."""

LESION_CODES = ("nv", "bkl", "df", "vasc", "mel", "bcc", "akiec", "scc", "benign")


class ReservedPhotoError(ValueError):
    """Report a photo that is reserved for the final evaluation."""


def read_rows(lesions: Path, faces: Path | None = None) -> list[dict[str, str]]:
    """Read ``lesions.csv`` and list the photos without a lesion beside it.

    Args:
        lesions: folder with ``lesions.csv`` and the photos that it names; ``not_skin/`` is added.
        faces: folder with ``people/``, ``people.csv`` and ``not_faces/``; their label is ``no_lesion`` or
            ``not_skin``.

    Raises:
        ReservedPhotoError: a photo is reserved for the final evaluation; training must not use it.
    """
    with (lesions / "lesions.csv").open(newline="") as file:
        rows = [
            _row(row["image"], row["label"], row["group"], row["source"], lesions / row["image"])
            for row in csv.DictReader(file)
        ]
    for path in sorted((lesions / "not_skin").glob("*.jpg")):
        rows.append(_row(f"not_skin/{path.name}", "not_skin", path.stem, "not_skin", path))
    if faces is not None:
        with (faces / "people.csv").open(newline="") as file:
            person_of = {row["image"]: row["person"] for row in csv.DictReader(file)}
        for path in sorted((faces / "people").glob("*.jpg")):
            person = person_of.get(path.name, person_of.get(f"people/{path.name}", path.stem))
            rows.append(_row(f"faces/people/{path.name}", "no_lesion", f"person {person}", "faces", path))
        for path in sorted((faces / "not_faces").glob("*.jpg")):
            rows.append(_row(f"faces/not_faces/{path.name}", "not_skin", path.stem, "not_faces", path))
    for row in rows:
        found = re.search(r"ISIC_(\d{7})", row["image"])
        if found and any(low <= int(found[1]) <= high for low, high in RESERVED_IDS):
            raise ReservedPhotoError(f"{row['image']} is kept for the final measurement; leave it out")
    return rows


def draw_split(
    rows: Sequence[dict[str, str]], duplicates: Iterable[tuple[str, str]] = (), *, seed: int = 15
) -> dict[str, str]:
    """Assign each image to a part: about 80/10/10 for every source and label, by whole groups.

    Args:
        duplicates: pairs of images that show the same lesion; pairs within a group change nothing.
    """
    group_of = {row["image"]: f"{row['source']}/{row['group']}" for row in rows}
    parent = {group: group for group in group_of.values()}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group] = parent[parent[group]]
        return group

    for one, other in duplicates:
        parent[root(group_of[one])] = root(group_of[other])
    members: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        members[root(group_of[row["image"]])].append(row)

    part_of: dict[str, str] = {}
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for group, own in members.items():
        if any(row["source"] in TEST_ONLY_SOURCES for row in own):
            part_of |= {row["image"]: "test" for row in own}
        else:
            label = min((row["label"] for row in own), key=lambda code: (_rarity(code), code))
            strata[own[0]["source"], label].append(group)
    for stratum, groups in sorted(strata.items()):
        groups.sort(key=lambda group: hashlib.sha256(f"{seed} {stratum} {group}".encode()).digest())
        total = sum(len(members[group]) for group in groups)
        counts: Counter[str] = Counter()
        for group in groups:
            wanted = {"test": TEST_SHARE * total, "val": VAL_SHARE * total}
            part = next((name for name, share in wanted.items() if counts[name] < share), "train")
            counts[part] += len(members[group])
            part_of |= {row["image"]: part for row in members[group]}
    return part_of


def write_split(path: Path, part_of: dict[str, str]) -> None:
    """Write one line per image: ``image,split``."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "split"))
        writer.writerows(sorted(part_of.items()))


def read_split(path: Path) -> dict[str, str]:
    """Read a file of ``write_split``."""
    with path.open(newline="") as file:
        return {row["image"]: row["split"] for row in csv.DictReader(file)}


def _row(image: str, label: str, group: str, source: str, path: Path) -> dict[str, str]:
    return {"image": image, "label": label, "group": group, "source": source, "path": str(path)}


def _rarity(code: str) -> int:
    """Order labels from rare to common; a patient counts for the rarest lesion."""
    order = ("scc", "mel", "df", "vasc", "akiec", "bcc", "bkl", "nv", "benign")
    return order.index(code) if code in order else len(order)
