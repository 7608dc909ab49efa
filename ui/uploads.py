"""The folder in which Gradio keeps uploaded photos, and their way out of it."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar


class UploadError(ValueError):
    """An upload cannot be read; the text is for people."""

    code: ClassVar[str]


class UploadGoneError(UploadError):
    """It is not there any more, or never was."""

    code = "gone"


class UploadTooLargeError(UploadError):
    """It has more bytes than a photo may have."""

    code = "too_large"


class UploadFolder:
    """A private folder of one process: nothing in it outlives its age limit or the process.

    Attributes:
        max_age_s: as given; the texts of the page name it.
        max_photo_bytes: likewise.
    """

    def __init__(self, parent: Path, *, max_age_s: float, max_photo_bytes: int) -> None:
        """Make the folder, and delete what processes that were killed have left in ``parent``.

        Args:
            parent: shared by all processes of this machine that serve the page.
            max_age_s: seconds after which an upload goes even if nobody asked about it.
            max_photo_bytes: largest photo that is read.
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
            upload: what a Gradio component hands over unprocessed; its ``path`` comes from the browser.
            name: what an error calls it, at the start of a sentence.

        Raises:
            UploadGoneError: the path lies outside the folder, or nothing is there.
            UploadTooLargeError: the API would refuse it.
        """
        path = self._inside(upload)
        if path is None or not path.is_file():
            raise UploadGoneError(f"{name} is no longer here: photos go after a while. Add it again.")
        found_mb, most_mb = path.stat().st_size / 1e6, self.max_photo_bytes / 1e6
        if found_mb > most_mb:
            found = f"{name} has {found_mb:.1f} MB; at most {most_mb:.0f} MB are allowed."
            raise UploadTooLargeError(f"{found} Choose a smaller version of it.")
        return path.read_bytes()

    def delete(self, uploads: Iterable[dict[str, Any]]) -> None:
        """Delete uploads from disk, with the folders that Gradio made for them."""
        for upload in uploads:
            path = self._inside(upload)
            if path is None:
                continue
            path.unlink(missing_ok=True)
            if path.parent != self.path and path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def delete_old(self, *, within_s: float = 0) -> None:
        """Delete what is past the age limit: photos nobody asked about, and what killed processes have left.

        Args:
            within_s: delete already what passes the limit within this time, that is, before the next call.
        """
        os.utime(self.path)  # a process that starts meanwhile must not take this folder for a dead one's
        _delete_older(self._parent, time.time() + within_s - self.max_age_s)

    def delete_all(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _inside(self, upload: dict[str, Any]) -> Path | None:
        path = Path(str(upload.get("path") or "") if isinstance(upload, dict) else "").resolve()
        return path if path != self.path and path.is_relative_to(self.path) else None


def _delete_older(folder: Path, oldest_s: float) -> None:
    """Delete files last changed before ``oldest_s``, seconds of the epoch, then folders as old and empty."""
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
        except FileNotFoundError:  # its answer came in the meantime
            continue
