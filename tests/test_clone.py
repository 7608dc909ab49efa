"""A clone on a machine that converts line ends."""

import subprocess
from pathlib import Path

import pytest

from models.checkpoint import load_int8_ranges, load_weights, read_meta

ROOT = Path(__file__).parents[1]
FILES = ("Makefile", "requirements.lock", "models/face/detector.py", "weights/lesion", "weights/progress")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_a_clone_with_autocrlf_keeps_the_bytes_of_checkpoints_and_scripts(tmp_path: Path):
    def git(*arguments: str) -> bytes:
        return subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True).stdout

    git("clone", "--quiet", "--shared", "--no-checkout", "--config", "core.autocrlf=true", str(ROOT), ".")
    git("checkout", "--quiet", "HEAD", "--", ".gitattributes", *FILES)

    for name in git("ls-files", *FILES).decode().splitlines():
        assert (tmp_path / name).read_bytes() == git("show", f"HEAD:{name}"), name
    lesion, progress = tmp_path / "weights/lesion", tmp_path / "weights/progress"
    assert load_int8_ranges(lesion, read_meta(lesion))
    assert load_weights(progress, read_meta(progress))
