"""Write the photos of a new job in parts, the units of work."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from serve.jobs.archive_entry import Entry
from serve.jobs.cancellation import StopEvent
from serve.jobs.records import Part, PartItem
from serve.jobs.store import JobStore

MAX_PART_PHOTOS = 32
MAX_PART_BYTES = 16_000_000
"""Of uploaded photos; a larger photo has a part of its own."""
_WRITES_AT_ONCE = 8


class WrittenParts:
    """Count the photos and parts that are written."""

    def __init__(self) -> None:
        self.num_photos = 0
        self.num_parts = 0


def write_uploaded(store: JobStore, job: str, entries: Iterable[Entry]) -> WrittenParts:
    """Store the photos of an archive in parts.

    Raises:
        ApiError: of the archive.
        StorageError: a part cannot be written.
    """
    written = WrittenParts()
    for part, data in _uploaded_parts(entries):
        store.write_part(job, written.num_parts, part, data)
        written.num_parts += 1
        written.num_photos += len(part.items)
    return written


def write_listed(store: JobStore, job: str, items: Iterable[PartItem], stop: StopEvent) -> WrittenParts:
    """Store the addresses of photos in parts.

    Args:
        stop: ends the writing, and what was written is deleted; checked before each part.

    Raises:
        ApiError: of the source; ``deadline_exceeded``.
        StorageError: a part cannot be written.
    """

    def write(number: int) -> None:
        stop.check()
        store.write_part(job, number, parts[number])

    listed = list(items)
    parts = [
        Part(first_index=first, has_data=False, items=listed[first : first + MAX_PART_PHOTOS])
        for first in range(0, len(listed), MAX_PART_PHOTOS)
    ]
    try:
        with ThreadPoolExecutor(_WRITES_AT_ONCE) as threads:
            for _ in threads.map(write, range(len(parts))):
                pass
    finally:
        if stop.is_set():
            store.delete_photos(job)
    written = WrittenParts()
    written.num_photos, written.num_parts = len(listed), len(parts)
    return written


def _uploaded_parts(entries: Iterable[Entry]) -> Iterator[tuple[Part, bytes]]:
    first = index = num_bytes = 0
    items: list[PartItem] = []
    data: list[bytes] = []
    for entry in entries:
        is_full = len(items) == MAX_PART_PHOTOS or num_bytes + len(entry.data) > MAX_PART_BYTES
        if items and is_full:
            yield Part(first_index=first, has_data=num_bytes > 0, items=items), b"".join(data)
            first, num_bytes, items, data = index, 0, [], []
        items.append(PartItem(name=entry.name, offset=num_bytes, size=len(entry.data), error=entry.error))
        data.append(entry.data)
        num_bytes += len(entry.data)
        index += 1
    if items:
        yield Part(first_index=first, has_data=num_bytes > 0, items=items), b"".join(data)
