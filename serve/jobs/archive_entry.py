"""One file of an archive, and the checks that zip and tar share."""

from dataclasses import dataclass

from serve.runtime.errors import ApiError
from serve.schemas import ErrorCode, ErrorDetail

MAX_NAME_CHARS = 500


@dataclass(frozen=True, kw_only=True)
class ArchiveLimits:
    """Bounds of an archive.

    Attributes:
        max_photos: of all photos, those with an error included.
        max_photo_bytes: of one photo.
    """

    max_photos: int
    max_photo_bytes: int

    @property
    def max_files(self) -> int:
        """Return the bound of all entries, folders and hidden files included."""
        return 3 * self.max_photos + 1000


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One photo, or the error in place of it."""

    name: str
    data: bytes = b""
    error: ErrorDetail | None = None


class EntryChecker:
    """Check the names of all entries of one archive, and count them."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._num_files = self._num_photos = 0
        self._names: set[str] = set()

    def count_file(self) -> None:
        """Count any entry; raise ``too_many_photos``."""
        self._num_files += 1
        if self._num_files > self._limits.max_files:
            raise ApiError(
                "too_many_photos",
                f"the archive has more than {self._limits.max_files} entries; send several archives",
            )

    def check(self, name: str) -> ErrorDetail | None:
        """Count a photo; return the error of its name, if it has one.

        Raises:
            ApiError: ``too_many_photos``.
        """
        self._num_photos += 1
        if self._num_photos > self._limits.max_photos:
            raise too_many_photos(self._limits.max_photos)
        if not name or len(name) > MAX_NAME_CHARS:
            return entry_error(
                "invalid_request",
                f"the name has {len(name)} characters; it needs 1 to {MAX_NAME_CHARS}",
            )
        if name in self._names:
            return entry_error("invalid_request", "the archive has this name twice; rename one of the photos")
        self._names.add(name)
        parts = name.replace("\\", "/").split("/")
        if ".." in parts or not parts[0] or parts[0].endswith(":"):
            return entry_error(
                "invalid_request", "the path leads out of the archive; pack the photos with relative paths"
            )
        if any(not character.isprintable() for character in name):
            return entry_error("invalid_request", "the name has control characters; rename the photo")
        return None


def is_hidden(name: str) -> bool:
    """Return whether a file is left out: a hidden one, or in a hidden folder."""
    parts = name.replace("\\", "/").split("/")
    return (
        any(part.startswith(".") and part not in (".", "..") for part in parts)
        or parts[0] == "__MACOSX"
        or parts[-1] in ("Thumbs.db", "desktop.ini")
    )


def plain_name(name: str) -> str:
    """Return a name without ``./`` at its start, as ``tar c .`` writes it, and in valid Unicode."""
    return name.encode("utf-8", "replace").decode("utf-8").removeprefix("./")


def short_name(name: str) -> str:
    """Return a name that fits into a row."""
    return name[:MAX_NAME_CHARS]


def entry_error(code: ErrorCode, message: str) -> ErrorDetail:
    """Return the error of one entry."""
    return ErrorDetail(code=code, message=message)


def photo_too_large(max_bytes: int) -> ErrorDetail:
    """Return the error of an entry that exceeds the size of a photo."""
    return entry_error(
        "too_large",
        f"the photo has more than {max_bytes / 1e6:g} MB when unpacked; send a smaller or more compressed "
        "one",
    )


def too_many_photos(max_photos: int) -> ApiError:
    """Return the error of a job with too many photos."""
    return ApiError(
        "too_many_photos",
        f"the job has more than {max_photos} photos; split it into jobs of at most that many",
    )


def damaged(reason: str) -> ApiError:
    """Return the error of an archive that cannot be read to its end."""
    return ApiError(
        "unreadable_archive",
        f"the archive is damaged or truncated ({reason[:100]}), and nothing of it is stored; pack and send "
        "it again",
    )
