"""The folder in which Gradio stores uploaded photos; it deletes them after the answer or by age."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar


class UploadError(ValueError):
    """Report an upload that cannot be read; the message is for people."""

    code: ClassVar[str]


class UploadMissingError(UploadError):
    """Report a missing upload."""

    code = "gone"


class UploadTooLargeError(UploadError):
    """Report an upload above the size limit."""

    code = "too_large"


class UploadFolder:
    """Store the uploads of one process; none outlives its age limit or the process.

    Attributes:
        max_age_s: as given; the page shows it.
        max_photo_bytes: likewise.
    """

    def __init__(self, parent: Path, *, max_age_s: float, max_photo_bytes: int) -> None:
        """Create the folder and delete the files of killed processes in ``parent``.

        Args:
            parent: of the folders of all processes that serve the page on this machine.
            max_age_s: age at which an upload without an answer is deleted.
            max_photo_bytes: size limit of one photo.
        """
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.max_age_s = max_age_s
        self.max_photo_bytes = max_photo_bytes
        self._parent = parent
        _delete_older(parent, time.time() - max_age_s)
        self.path = Path(tempfile.mkdtemp(prefix="page-", dir=parent)).resolve()

    def read(self, upload: dict[str, Any], *, name: str = "The photo") -> bytes:
        """Read one upload, exactly as the browser sent it.

        Args:
            upload: unprocessed value of a Gradio component; its ``path`` comes from the browser.
            name: of the photo in error messages, at the start of a sentence.

        Raises:
            UploadMissingError: the path lies outside the folder, or no file is there.
            UploadTooLargeError: the API would reject it.
        """
        path = self._inside(upload)
        if path is None or not path.is_file():
            raise UploadMissingError(
                f"{name} is no longer on the server: photos are deleted after a while. Add it again."
            )
        found_mb, max_mb = path.stat().st_size / 1e6, self.max_photo_bytes / 1e6
        if found_mb > max_mb:
            found = f"{name} has {found_mb:.1f} MB; at most {max_mb:.0f} MB are allowed."
            raise UploadTooLargeError(f"{found} Choose a smaller version of it.")
        return path.read_bytes()

    def holds(self, upload: dict[str, Any]) -> bool:
        """Return whether the upload is in the folder."""
        path = self._inside(upload)
        return path is not None and path.is_file()

    def thumbnail_file(self, upload: dict[str, Any]) -> Path:
        """Return the path of the thumbnail of an upload that ``read`` has accepted."""
        return _thumbnail_file(Path(upload["path"]))

    def delete(self, uploads: Iterable[dict[str, Any]]) -> None:
        """Delete uploads, their thumbnails and the folders that Gradio created for them."""
        for upload in uploads:
            path = self._inside(upload)
            if path is None:
                continue
            path.unlink(missing_ok=True)
            _thumbnail_file(path).unlink(missing_ok=True)
            if path.parent != self.path and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def delete_old(self, *, within_s: float = 0) -> None:
        """Delete uploads past the age limit, also those of killed processes.

        Args:
            within_s: delete also uploads that reach the limit within this time, before the next call.
        """
        os.utime(self.path)  # marks the folder as in use for processes that start now
        _delete_older(self._parent, time.time() + within_s - self.max_age_s)

    def delete_all(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _inside(self, upload: dict[str, Any]) -> Path | None:
        path = Path(str(upload.get("path") or "") if isinstance(upload, dict) else "").resolve()
        return path if path != self.path and path.is_relative_to(self.path) else None


def _thumbnail_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.thumbnail")


def _delete_older(folder: Path, oldest_s: float) -> None:
    """Delete files last changed before ``oldest_s`` (seconds of the epoch), then empty folders as old."""
    deepest_first = sorted(folder.rglob("*"), key=lambda path: len(path.parts), reverse=True)
    for path in deepest_first:
        try:
            if path.lstat().st_mtime >= oldest_s:
                continue
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            else:
                path.unlink()
        except FileNotFoundError:  # deleted after its answer in the meantime
            continue
