"""Archives for the tests of jobs, written and read in memory."""

import io
import tarfile
import warnings
import zipfile
from collections.abc import Iterable

import pytest

from serve.jobs.archive import read_entries
from serve.jobs.archive_entry import ArchiveLimits, Entry
from serve.runtime.errors import ApiError

LIMITS = ArchiveLimits(max_photos=20, max_photo_bytes=100_000)


def zip_of(photos: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive; pairs may have the same name twice."""
    pairs = photos.items() if isinstance(photos, dict) else photos
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings(action="ignore"):
        for name, content in pairs:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return file.getvalue()


def tar_of(
    photos: dict[str, bytes] | list[tuple[str, bytes]],
    extra: Iterable[tarfile.TarInfo] = (),
    mode: str = "w",
) -> bytes:
    """Return a tar archive with photos, then with entries that have no content."""
    pairs = photos.items() if isinstance(photos, dict) else photos
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, content in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return file.getvalue()


def read(archive: bytes, limits: ArchiveLimits = LIMITS) -> list[Entry]:
    return list(read_entries(io.BytesIO(archive), len(archive), limits))


def code_of(archive: bytes, limits: ArchiveLimits = LIMITS) -> str:
    with pytest.raises(ApiError) as caught:
        read(archive, limits)
    return caught.value.code
