"""Label people and build the rows of their manifest."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from models.images import PhotoError, decode_bounded
from models.storage import MissingError, read_bytes
from train.data.duplicates import thumbnail_of
from train.data.followup.source import MIN_PHOTOS, NUM_READERS, FollowedPerson, read_people
from train.data.ingest.report import NUM_SHOWN, RowReport
from train.data.labels.sentiment import Labeller, NoSentiment, Sentiment, improvement_of, label_of
from train.data.manifest import ManifestError, Row

THUMBNAIL_FROM_PX = 128
"""Long side of the decoded photo; JPEGs are decoded at a reduced scale."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Rules for the series and metadata of their rows."""

    neutral: Literal["exclude", "soft"] = "exclude"
    """Of NEUTRAL and MIXED notes: exclude the people, or label them P+ / (P+ + P-)."""
    after_note: Literal["keep", "exclude"] = "keep"
    """Of photos taken after the note, which the doctor had not seen; SkinCredible keeps them."""
    licence: str = ""
    """Of the photos, for every row."""
    attribution: str = ""
    """Of the photos, for every row."""


def build_rows(source: str, labeller: Labeller, rules: Rules, report: RowReport) -> list[Row]:
    """Read and label people and check their photos; ``report`` gets the exclusions.

    Raises:
        ManifestError: no person remains.
        models.storage.StorageError: the folder or bucket cannot be read.
        train.data.labels.sentiment.LabelError: the labeller cannot be used.
    """
    people = [_until_note(person, rules, report) for person in read_people(source, report)]
    people = [person for person in people if person is not None]
    sentiments = labeller([person.note for person in people])
    rows: list[Row] = []
    left_out: defaultdict[str, list[int]] = defaultdict(list)
    for person, sentiment in zip(people, sentiments, strict=True):
        if isinstance(sentiment, NoSentiment):
            report.drop(person.number, sentiment.reason)
            continue
        improvement = improvement_of(sentiment, soft=rules.neutral == "soft")
        if improvement is None:
            left_out[sentiment.verdict].append(person.number)
            continue
        report.num_kept += 1
        rows += _rows_of(person, sentiment, improvement, labeller.name, rules)
    report.remarks += [
        f"{len(numbers):,} left out because their note is {verdict}: {_listed(numbers)}"
        for verdict, numbers in sorted(left_out.items())
    ]
    report.remarks += labeller.remarks()
    if not rows:
        raise ManifestError(f"{source} has no person with a label and two photos")
    return _with_thumbnails(rows, {person.person: person.number for person in people}, report)


def _until_note(person: FollowedPerson, rules: Rules, report: RowReport) -> FollowedPerson | None:
    """Drop the photos that the rules exclude; return None if too few remain."""
    noted_at = person.noted_at
    before = tuple(photo for photo in person.photos if noted_at is None or photo.taken_at <= noted_at)
    if len(before) == len(person.photos):
        return person
    if rules.after_note == "keep":
        report.change(person.number, "photos were taken after the note that labels them")
        return person
    if len(before) < MIN_PHOTOS:
        report.drop(person.number, f"fewer than {MIN_PHOTOS} photos until the latest note")
        return None
    report.change(person.number, "photos taken after the latest note are left out")
    return replace(person, photos=before)


def _rows_of(
    person: FollowedPerson, sentiment: Sentiment, improvement: float, labeller: str, rules: Rules
) -> list[Row]:
    return [
        Row(
            image=photo.image,
            label=label_of(improvement),
            person=person.person,
            taken_at=photo.taken_at.isoformat(),
            improvement=improvement,
            labeller=labeller,
            label_scores=sentiment.to_json(),
            licence=rules.licence,
            attribution=rules.attribution,
        )
        for photo in person.photos
    ]


def _with_thumbnails(rows: Sequence[Row], number_of: dict[str, int], report: RowReport) -> list[Row]:
    """Add the thumbnails; a missing or damaged photo keeps its place in the series."""
    with ThreadPoolExecutor(NUM_READERS) as pool:
        thumbnails = list(pool.map(_thumbnail, [row.image for row in rows]))
    checked = []
    num_seen: defaultdict[str, int] = defaultdict(int)
    problems: dict[tuple[int, str], None] = {}
    for row, thumbnail in zip(rows, thumbnails, strict=True):
        if isinstance(thumbnail, str):
            problems[number_of[row.person], thumbnail] = None
            thumbnail = b""
        num_seen[row.person] += bool(thumbnail)
        checked.append(replace(row, thumbnail=thumbnail))
    for number, problem in problems:
        report.change(number, f"{problem}; it keeps its place in the series, without a face")
    unreadable = {person for person, num in num_seen.items() if num < MIN_PHOTOS}
    for person in sorted(unreadable):
        report.drop(number_of[person], f"fewer than {MIN_PHOTOS} photos can be read")
    report.num_kept -= len(unreadable)
    if len(unreadable) == len(num_seen):
        raise ManifestError("no person has two photos that can be read; check images/")
    return [row for row in checked if row.person not in unreadable]


def _listed(numbers: Sequence[int]) -> str:
    more = len(numbers) - NUM_SHOWN
    return f"rows {', '.join(map(str, numbers[:NUM_SHOWN]))}" + (f" and {more:,} more" if more > 0 else "")


def _thumbnail(image: str) -> bytes | str:
    try:
        content = read_bytes(image)
    except MissingError:
        return "a photo is missing"
    try:
        return thumbnail_of(decode_bounded(content, max_side_px=THUMBNAIL_FROM_PX).image_HWC)
    except PhotoError as error:
        return f"a photo cannot be used ({error.code})"
