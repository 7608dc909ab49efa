"""Commands of docs/training.md, and drawn data to run them on."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from models import storage
from samples.series import draw_series
from train.lesion.drawn_lesions import draw_lesion_photos

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
TIMEOUT_S = 480
Environment = Mapping[str, str]
NOTHING: Environment = {}
ONE_THREAD: Environment = {"OMP_NUM_THREADS": "1"}
"""Small tensors are slower on two threads, on a busy machine several times."""

PEOPLE = range(1, 9)
VERDICTS = ("worsened", "improved")


def printed_commands() -> set[str]:
    """Return every command of the guide that can be copied: indented, or between backticks with arguments."""
    blocks = re.findall(r"^    ((?:skinserve|python -m) [^#\n]+)", GUIDE, re.MULTILINE)
    inline = re.findall(r"`((?:skinserve|python -m) [^\s`]+ [^`\n]+)`", GUIDE)
    return {command.strip() for command in (*blocks, *inline) if "COMMAND" not in command}


def printed(start: str) -> str:
    """Return the one command of the guide that equals ``start`` or begins with it."""
    commands = printed_commands()
    found = [start] if start in commands else [each for each in commands if each.startswith(start)]
    assert len(found) == 1, f"the guide prints {found or 'nothing'} for {start!r}"
    return found[0]


def executable(*words: str) -> list[str]:
    """Return the command with this environment's interpreter or console script."""
    if words[0] == "skinserve":
        return [str(Path(sys.executable).with_name("skinserve")), *words[1:]]
    return [sys.executable, *words[1:]]


@dataclass
class Guide:
    """Runs commands of the guide in a folder of its own.

    Attributes:
        due: commands that the test must still run.
    """

    folder: Path
    due: list[str] = field(default_factory=list)

    def run_printed(
        self, start: str, *more: str, run: str = "RUN", status: int = 0, environment: Environment = NOTHING
    ) -> str:
        """Run a command of the guide and return its output.

        Args:
            start: first words of the command, which must be due.
            more: options that override the printed ones.
            run: replaces the guide's RUN.
            status: expected exit code.
            environment: added to the environment of this process.
        """
        command = printed(start)
        self.due.remove(command)
        words = [run if word == "RUN" else word for word in command.split()]
        return self.run(*words, *more, status=status, environment=environment)

    def run(self, *words: str, status: int = 0, environment: Environment = NOTHING) -> str:
        """Run ``skinserve`` or ``python -m`` with these arguments and return the output."""
        done = subprocess.run(
            executable(*words),
            cwd=self.folder,
            env={**os.environ, **ONE_THREAD, **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, output
        return output

    @contextlib.contextmanager
    def running(self, start: str, *more: str, until: str) -> Iterator[None]:
        """Start a server command, wait for ``until`` in its output, and send SIGINT at the end."""
        command = printed(start)
        self.due.remove(command)
        output = self.folder / "output.txt"
        with output.open("w") as file:
            process = subprocess.Popen(
                executable(*command.split(), *more),
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while until not in output.read_text():
                assert process.poll() is None and time.monotonic() < deadline, output.read_text()
                time.sleep(0.2)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def draw_ham10000(folder: Path, *, num_photos: int) -> None:
    """Draw photos in HAM10000's layout, with ``data/ham10000/manifest.parquet`` beside them."""
    rows = draw_lesion_photos(
        folder / "HAM10000_images", folder / "data/ham10000/manifest.parquet", num_photos=num_photos
    )
    codes = {"Nevus": "nv", "Melanoma": "mel", "Vascular Lesion": "vasc"}
    with (folder / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"])
        for row in rows:
            name = Path(row.image).stem
            writer.writerow([row.lesion, name, codes[row.label], "histo", row.age_years, row.sex, row.site])


def put_isic(folder: Path, address: str, *, num_photos: int) -> None:
    """Draw an export of the ISIC archive and put it into a bucket."""
    rows = draw_lesion_photos(folder / "isic/images", folder / "unused.parquet", num_photos=num_photos)
    names = {
        "Nevus": ("Benign", "Nevus"),
        "Melanoma": ("Malignant", "Melanoma, NOS"),
        "Vascular Lesion": ("Malignant", "Basal cell carcinoma"),
    }
    with (folder / "isic/metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["isic_id", "copyright_license", "diagnosis_1", "diagnosis_3", "lesion_id"])
        for row in rows:
            writer.writerow([Path(row.image).stem, "CC-0", *names[row.label], row.lesion])
    storage.upload_folder(folder / "isic", address)


def put_followup(folder: Path, address: str) -> None:
    """Put SkinCredible's layout into a bucket: two photos of each person and a doctor's note."""
    for name in ("followup_data", "images"):
        (folder / name).mkdir(parents=True)
    (folder / "dr_msg_stats.csv").write_text("user_id\n" + "".join(f"{person}\n" for person in PEOPLE))
    for person in PEOPLE:
        improving = VERDICTS[person % 2] == "improved"
        entries: list[dict[str, object]] = []
        for day, photo in enumerate(draw_series(improving=improving, num_photos=2, seed=person), start=1):
            room = np.random.default_rng(person).integers(40, 220, (4, 4, 3)).astype(np.uint8)
            scene = Image.fromarray(room).resize((900, 900))  # else drawn people are near duplicates
            scene.paste(photo.resize((560, 560)), (40 * person, 340 - 40 * person))
            scene.save(folder / "images" / f"{person}-{day}.jpg")
            when = f"2019-03-0{day}T08:00:00Z"
            entries.append(
                {"entry_type": "Annotation", "image_path": f"{person}-{day}.jpg", "created_at": when}
            )
        note = "Much better, it improved." if improving else "It is worse, it deteriorated."
        entries.append({"entry_type": "DrMessage", "dr_note": note, "created_at": "2019-03-09T10:00:00Z"})
        (folder / f"followup_data/user_{person:012d}.json").write_text(json.dumps(entries))
    storage.upload_folder(folder, address)
