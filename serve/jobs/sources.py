"""Photo sources that clients may name: folders and buckets that the operator allows."""

import os
from collections.abc import Iterator, Sequence

from models.storage import is_remote
from models.storage_errors import MissingError, StorageError
from models.storage_folders import iter_regular_files
from serve.jobs.archive_entry import (
    ArchiveLimits,
    entry_error,
    photo_too_large,
    short_name,
    too_many_photos,
)
from serve.jobs.cancellation import StopEvent
from serve.jobs.records import PartItem
from serve.runtime.errors import ApiError


def check_source(source: str, allowed: Sequence[str]) -> str:
    """Return the address of a source without a slash at its end; a local one without links.

    Raises:
        ApiError: ``forbidden``: it is in no allowed source. The answer does not depend on whether it exists.
    """
    address = source.rstrip("/")
    if not is_remote(address):
        address = os.path.realpath(address) if os.path.isabs(address) else ""
    for one in allowed:
        folder = one.rstrip("/") if is_remote(one) else os.path.realpath(one)
        is_inside = address == folder or address.startswith(f"{folder}/")
        if is_inside and ".." not in address.split("/"):
            return address
    if not allowed:
        need = "this server reads no sources; send an archive, or ask the operator for gateway.jobs.sources"
        raise ApiError("forbidden", need)
    found = f"the source {source[:100]!r} is not allowed on this server"
    raise ApiError("forbidden", f"{found}; name another one, or ask the operator for gateway.jobs.sources")


def list_photos(address: str, limits: ArchiveLimits, stop: StopEvent) -> Iterator[PartItem]:
    """Yield every file below a source; hidden files are left out.

    Args:
        stop: ends the listing; checked for each file.

    Raises:
        ApiError: ``invalid_request``: there is no file, or the source cannot be read; ``too_many_photos``,
            ``deadline_exceeded``.
    """
    num_files = num_photos = 0
    try:
        for file, size in iter_regular_files(address):
            stop.check()
            num_files += 1
            if num_files > limits.max_files:
                raise ApiError(
                    "too_many_photos",
                    f"the source has more than {limits.max_files} files, hidden ones included; name a folder "
                    "with fewer",
                )
            name = file.removeprefix(address).lstrip("/")
            if any(part.startswith(".") for part in name.split("/")):
                continue
            num_photos += 1
            if num_photos > limits.max_photos:
                raise too_many_photos(limits.max_photos)
            error = None
            if size > limits.max_photo_bytes:
                error = photo_too_large(limits.max_photo_bytes)
            elif not is_remote(file) and os.path.realpath(file) != file:
                error = entry_error("invalid_request", "the file is a link; name the photo itself")
            elif _plain(file) != file:
                error = entry_error("invalid_request", "the name of the file is not UTF-8; rename the file")
            yield PartItem(
                name=short_name(_plain(name)), address=None if error else file, size=size, error=error
            )
    except MissingError as error:
        raise ApiError("invalid_request", "there is no such source; correct the address") from error
    except StorageError as error:
        raise ApiError("jobs_unavailable", "the source cannot be read now; try again later") from error


def _plain(name: str) -> str:
    """Return a name in valid Unicode; a local one may have any bytes."""
    return name.encode("utf-8", "replace").decode("utf-8")
