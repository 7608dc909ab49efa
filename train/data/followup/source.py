"""Read the app's data of each user: doctors' notes, and photos in order of time.

``dr_msg_stats.csv`` names the users, a row each; ``followup_data/user_%012d.json`` lists the entries of one
user, of which ``DrMessage`` has ``dr_note`` and ``Annotation`` has ``image_path``, a photo under ``images/``.

Source: https://github.com/tedyap/SkinCredible, ``model/get_data.py``.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from models import storage
from train.data.followup.times import time_of
from train.data.ingest.excel import damage_of
from train.data.ingest.report import RowReport
from train.data.ingest.tables import read_table
from train.data.manifest import ManifestError

STATS = "dr_msg_stats.csv"
USER_COLUMNS = ("userid", "user", "id")
"""Names of the column of user numbers, in lower case without underscores."""
NUM_READERS = 16
"""Threads; reads from a disk or S3 are slow."""
MIN_PHOTOS = 2


@dataclass(frozen=True, kw_only=True)
class FollowupPhoto:
    """One photo of a user."""

    image: str
    """Address of the photo."""
    taken_at: datetime


@dataclass(frozen=True, kw_only=True)
class FollowedPerson:
    """One user with a note and at least two photos."""

    person: str
    number: int
    """Row in ``dr_msg_stats.csv``; row 1 is the header."""
    note: str
    """The latest note that is not blank."""
    noted_at: datetime | None
    photos: tuple[FollowupPhoto, ...]
    """In order of time."""


def read_people(source: str, report: RowReport) -> list[FollowedPerson]:
    """Read all users; ``report`` gets the exclusions.

    Raises:
        ManifestError: ``dr_msg_stats.csv`` is missing or has no users.
        models.storage.StorageError: the folder or bucket cannot be read.
    """
    users = _users(source, report)
    people = []
    with ThreadPoolExecutor(NUM_READERS) as pool:
        contents = pool.map(lambda user: _entries_file(source, user), users.values())
        for (number, user), content in zip(users.items(), contents, strict=True):
            found = _person(source, number, user, content, report)
            if isinstance(found, FollowedPerson):
                people.append(found)
            else:
                report.drop(number, found)
    return people


def _users(source: str, report: RowReport) -> dict[int, int]:
    """Return the user numbers by row of the table."""
    address = storage.join(source, STATS)
    try:
        table = read_table(address)
    except storage.MissingError as error:
        raise ManifestError(f"{error}; {source} must hold {STATS}, followup_data/ and images/") from error
    names = {re.sub(r"[^a-z]", "", key): key for key in table.keys}
    column = next((names[each] for each in USER_COLUMNS if each in names), None)
    if column is None:
        raise ManifestError(
            f"{address} has the columns {', '.join(table.columns) or '(none)'}; one must be user_id"
        )
    number_of: dict[int, int] = {}
    for number, cells in enumerate(table.cells, start=2):
        if not any(cells.values()):
            continue
        user = user_number(cells[column])
        if damage := damage_of(cells[column]):
            raise ManifestError(
                f"{address}, row {number}: the user is {cells[column]!r}: {damage}, and the number is lost; "
                "export the table again and do not save it with Excel"
            )
        report.num_read += user not in number_of
        if user is None:
            report.drop(number, f"{column} is no whole number")
        elif user in number_of:
            report.change(number, "a user of an earlier row; read once")
        else:
            number_of[user] = number
    if not report.num_read:
        raise ManifestError(f"{address} has no users; it needs a row for each")
    return {number: user for user, number in number_of.items()}


def user_number(value: object) -> int | None:
    """Parse a user number such as 12, 12.0, "000000000012" or "user_000000000012"; None for other values."""
    found = re.fullmatch(r"(?:user_)?(\d{1,18})(?:\.0+)?", str(value).strip())
    return int(found[1]) if found else None


def person_name(user: int) -> str:
    """Return the name of a user's file and of the person in a manifest."""
    return f"user_{user:012d}"


def _entries_file(source: str, user: int) -> bytes | None:
    try:
        return storage.read_bytes(storage.join(source, f"followup_data/{person_name(user)}.json"))
    except storage.MissingError:
        return None


def _person(
    source: str, number: int, user: int, content: bytes | None, report: RowReport
) -> FollowedPerson | str:
    """Return a user with a note and photos, or the reason to drop the user."""
    if content is None:
        return "no file in followup_data"
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError):
        return "the file in followup_data is no JSON"
    if not isinstance(entries, list):
        return "the file in followup_data is no list of entries"
    own = [entry for entry in entries if isinstance(entry, dict) and _is_of(entry, user)]
    if len(own) < len(entries):
        report.change(number, "entries of another form, or of another user, are left out")
    latest = _latest_note(own, number, report)
    if latest is None:
        return "no doctor's note"
    photos = _photos(source, own, number, report)
    if len(photos) < MIN_PHOTOS:
        return f"fewer than {MIN_PHOTOS} photos with a time"
    note, noted_at = latest
    return FollowedPerson(
        person=person_name(user), number=number, note=note, noted_at=noted_at, photos=tuple(photos)
    )


def _is_of(entry: dict[str, Any], user: int) -> bool:
    stated = entry.get("userId")
    missing = stated is None or stated == "" or (isinstance(stated, float) and math.isnan(stated))
    return missing or user_number(stated) == user


def _kind(entry: dict[str, Any]) -> object:
    return entry.get("entry_type", entry.get("type"))


def _latest_note(
    entries: Sequence[dict[str, Any]], number: int, report: RowReport
) -> tuple[str, datetime | None] | None:
    notes = [
        (entry["dr_note"], time_of(entry.get("created_at")))
        for entry in entries
        if _kind(entry) == "DrMessage" and isinstance(entry.get("dr_note"), str) and entry["dr_note"].strip()
    ]
    dated = [(note, noted_at) for note, noted_at in notes if noted_at is not None]
    if len(dated) < len(notes) and len(notes) > 1:
        report.change(
            number,
            "a note without a time is ignored"
            if dated
            else "no note has a time; the last in the file counts as the latest",
        )
    if not dated:
        return notes[-1] if notes else None
    latest = max(noted_at for _, noted_at in dated)
    return next(each for each in reversed(dated) if each[1] == latest)


def _photos(
    source: str, entries: Sequence[dict[str, Any]], number: int, report: RowReport
) -> list[FollowupPhoto]:
    shots = [entry for entry in entries if _kind(entry) == "Annotation"]
    listed = sorted(_dated_images(source, shots, number, report), key=lambda each: each[1])
    photos: dict[str, FollowupPhoto] = {}
    for image, taken_at in listed:
        photos.setdefault(image, FollowupPhoto(image=image, taken_at=taken_at))
    if len(photos) < len(listed):
        report.change(number, "a photo that is listed more than once counts once, at its first time")
    if len({photo.taken_at for photo in photos.values()}) < len(photos):
        report.change(number, "photos of the same time are in the order of the file")
    return list(photos.values())


def _dated_images(
    source: str, shots: Sequence[dict[str, Any]], number: int, report: RowReport
) -> Iterator[tuple[str, datetime]]:
    problems = set()
    for shot in shots:
        image, taken_at = _address(source, shot.get("image_path")), time_of(shot.get("created_at"))
        if image is None:
            problems.add("a photo whose image_path is not under images/ is left out")
        elif taken_at is None:
            problems.add(
                "a photo whose time is ambiguous or not understood is left out; write it as 2019-03-14T10:00"
                if shot.get("created_at")
                else "a photo without a time is left out"
            )
        else:
            yield image, taken_at
    for problem in problems:
        report.change(number, problem)


def _address(source: str, image_path: object) -> str | None:
    """Return the address of a photo under ``images/``, or None for other paths."""
    if not isinstance(image_path, str) or not image_path.strip():
        return None
    path = PurePosixPath(image_path.strip())
    parts = path.parts[1:] if path.parts[:1] == ("images",) else path.parts
    if not parts or path.is_absolute() or ".." in parts or "\0" in image_path or "://" in image_path:
        return None
    return storage.join(source, str(PurePosixPath("images", *parts)))
