import re
from pathlib import Path

import pytest

from models import limits
from serve import tasks

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"


def rows() -> dict[str, str]:
    """Default by setting, as the table in docs/operations.md says."""
    section = OPERATIONS.read_text(encoding="utf-8").partition("## Admission")[2].partition("\n## ")[0]
    cells = [line.split("|")[3:5] for line in section.splitlines() if line.startswith("|")]
    return {setting.strip(): default.strip() for setting, default in cells}


def defaults() -> dict[str, str]:
    sections = dict(tasks.read_config({}))
    gateway, lesion, progress = sections["gateway"], sections["lesion"], sections["progress"]
    deadlines = f"{gateway.default_deadline_s:g} s, at most {gateway.max_deadline_s:g} s"
    return {
        "`gateway.default_deadline_s`, `max_deadline_s`": deadlines,
        "`gateway.max_requests`": f"{gateway.max_requests}",
        "`gateway.max_bytes_in_flight`": f"{gateway.max_bytes_in_flight / 1e6:g} MB",
        "`gateway.max_photo_bytes`, `max_photo_pixels`": f"{gateway.max_photo_bytes / 1e6:g} MB, "
        f"{gateway.max_photo_pixels / 1e6:g} megapixels",
        "`gateway.max_request_bytes`": f"{gateway.max_request_bytes / 1e6:g} MB",
        "`progress.max_json_bytes`": f"{progress.max_json_bytes / 1e6:g} MB",
        "`lesion.max_batch_photos`, `progress.max_series_photos`": f"{lesion.max_batch_photos}, "
        f"{progress.max_series_photos}",
        "`lesion.max_batch_requests`": f"{lesion.max_batch_requests}",
        "`lesion.max_reports`": f"{lesion.max_reports}",
    }


@pytest.mark.parametrize("setting", defaults())
def test_the_table_has_the_default_of_each_setting(setting: str):
    assert rows()[setting] == defaults()[setting]


def test_the_table_has_the_fixed_limits_of_uploads():
    section = OPERATIONS.read_text(encoding="utf-8")

    rate = f"{limits.MIN_UPLOAD_BYTES_PER_S / 1e3:g} kB/s after {limits.MAX_UPLOAD_PAUSE_S:g} s"
    assert f"| `models/limits.py` | {rate} |" in section
    assert f"| `models/limits.py` | {limits.MAX_JPEG_SCANS} |" in section


def test_every_setting_of_the_table_exists():
    sections = dict(tasks.read_config({}))
    settings = re.findall(r"`(gateway|lesion|progress)\.(\w+)`", " ".join(rows()))

    assert len(settings) >= 12
    for section, name in settings:
        assert name in type(sections[section]).model_fields
