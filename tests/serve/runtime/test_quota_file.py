import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from models import storage
from serve.runtime.limit_ledger import LimitLedger
from serve.runtime.quota_file import FILE_NAME, QuotaFile
from serve.runtime.token_bucket import DailyQuota

TODAY = date(2026, 11, 26)


def test_counts_are_kept_over_a_restart(tmp_path: Path):
    problem = QuotaFile(str(tmp_path / "new")).save({"key:a": DailyQuota("Europe/Berlin", day=TODAY, used=7)})

    quotas, load_problem = QuotaFile(str(tmp_path / "new")).load()

    assert (problem, load_problem) == ("", "")
    assert quotas["key:a"].left(10, datetime(2026, 11, 26, 12, tzinfo=UTC)) == 3
    assert quotas["key:a"].left(10, datetime(2026, 11, 26, 23, 30, tzinfo=UTC)) == 10


def test_only_the_owner_can_read_the_names_of_callers(tmp_path: Path):
    QuotaFile(str(tmp_path)).save({"jwt:a.b@clinic.example": DailyQuota("UTC", day=TODAY, used=7)})

    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_without_a_file_all_counts_start_at_0(tmp_path: Path):
    assert QuotaFile(str(tmp_path)).load() == ({}, "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b'{"format": 2, "quotas": {}}',
        b'{"format": 1, "quotas": {"key:a": {"day": "2026-11-26", "time_zone": "Mars/X", "used": 1}}}',
        b'{"format": 1, "quotas": {"key:a": {"day": "2026-11-26", "time_zone": "UTC", "used": -1}}}',
    ],
)
def test_an_invalid_file_is_reported_and_kept_as_a_copy(tmp_path: Path, content: bytes):
    (tmp_path / FILE_NAME).write_bytes(content)

    quotas, problem = QuotaFile(str(tmp_path)).load()

    assert quotas == {} and "photo counts start at 0" in problem and "\n" not in problem
    assert (tmp_path / f"{FILE_NAME}.invalid").read_bytes() == content


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(address: str, content: bytes, *, mode: int) -> None:
        raise storage.StorageError(f"no space is left on the disk for {address}")

    monkeypatch.setattr("serve.runtime.quota_file.write_bytes", fail)

    problem = QuotaFile(str(tmp_path)).save({})

    assert problem.startswith("photo counts are kept in memory only: no space is left on the disk")


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path):
    (tmp_path / "file").touch()

    assert "in memory only" in QuotaFile(str(tmp_path / "file")).save({})
    assert "not read" in QuotaFile(str(tmp_path / "file")).load()[1]


def test_addresses_of_clients_are_not_saved(tmp_path: Path):
    quotas = {"address:192.0.2.7": DailyQuota("UTC", used=1), "key:a": DailyQuota("UTC", used=2)}
    ledger = LimitLedger(quotas=quotas)

    QuotaFile(str(tmp_path)).save(ledger.saved_quotas())

    assert list(json.loads((tmp_path / FILE_NAME).read_text())["quotas"]) == ["key:a"]
