"""The folder in which Gradio keeps uploaded photos, and their way out of it."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class UploadGoneError(ValueError):
    """An upload is not there any more, or never was; the text is for people."""


class UploadFolder:
    """A private folder of one process: nothing in it outlives its answer, its age limit or the process."""

    def __init__(self, parent: Path, *, max_age_s: float) -> None:
        """Make the folder, and delete what processes that were killed have left in ``parent``.

        Args:
            parent: shared by all processes of this machine that serve the page.
            max_age_s: seconds after which an upload goes even if nobody asked about it.
        """
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._max_age_s = max_age_s
        _delete_older(parent, time.time() - max_age_s)
        self.path = Path(tempfile.mkdtemp(prefix="page-", dir=parent)).resolve()

    def read(self, upload: dict[str, Any]) -> bytes:
        """Read one upload, exactly as the browser sent it.

        Args:
            upload: what a Gradio component hands over unprocessed; its ``path`` comes from the browser.

        Raises:
            UploadGoneError: the path lies outside the folder, or nothing is there.
        """
        path = self._inside(upload)
        if path is None or not path.is_file():
            raise UploadGoneError(
                "A photo is no longer here: photos are deleted after a while. Add it again."
            )
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

    def delete_old(self) -> None:
        """Delete what is older than the age limit: answers nobody waited for, uploads cut off half way."""
        os.utime(
            self.path
        )  # so that another process that starts up does not take this folder for a dead one's
        _delete_older(self.path, time.time() - self._max_age_s)

    def delete_all(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _inside(self, upload: dict[str, Any]) -> Path | None:
        path = Path(str(upload.get("path") or "")).resolve()
        return path if path != self.path and path.is_relative_to(self.path) else None


def _delete_older(folder: Path, oldest_s: float) -> None:
    """Delete files last changed before ``oldest_s`` (seconds of the epoch), then folders left empty and old."""
    for path in sorted(folder.rglob("*"), key=lambda path: len(path.parts), reverse=True):
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
