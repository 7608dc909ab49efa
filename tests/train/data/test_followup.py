import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from train.data.followup.__main__ import main
from train.data.followup.build import Rules, build_rows
from train.data.followup.source import person_name, user_number
from train.data.followup.times import time_of
from train.data.ingest.report import RowReport
from train.data.labels.offline import Vader
from train.data.manifest import ManifestError, Row, load_manifest, read_manifest

Entry = dict[str, Any]
BETTER, WORSE, DULL = "Much better, improved.", "Worse, it deteriorated.", "Use the cream."


def note(text: object, day: int | None = 28, user: object = None) -> Entry:
    when = None if day is None else f"2019-03-{day:02}T10:00:00Z"
    return {"entry_type": "DrMessage", "dr_note": text, "created_at": when, "userId": user}


def photo(path: str, day: int | None, user: object = None) -> Entry:
    when = None if day is None else f"2019-03-{day:02}T08:00:00Z"
    return {"entry_type": "Annotation", "image_path": path, "created_at": when, "userId": user}


def write_source(folder: Path, users: dict[int, list[Entry]], *, column: str = "user_id") -> Path:
    (folder / "followup_data").mkdir(parents=True)
    (folder / "images").mkdir()
    lines = [f"{column},num_messages", *(f"{user},3" for user in users)]
    (folder / "dr_msg_stats.csv").write_text("\n".join(lines) + "\n")
    for user, entries in users.items():
        (folder / f"followup_data/user_{user:012d}.json").write_text(json.dumps(entries))
        for entry in entries:
            path = str(entry.get("image_path", ""))
            if path.startswith("p"):
                Image.new("RGB", (40, 30), (user * 9 % 256, 90, 90)).save(folder / "images" / path)
    return folder


def build(source: Path, **rules: Any) -> tuple[list[Row], str]:
    report = RowReport()
    rows = build_rows(str(source), Vader(), Rules(**rules), report)
    return rows, report.text()


def names(rows: list[Row]) -> list[str]:
    return [row.name for row in rows]


def test_the_latest_note_labels_the_photos_in_order_of_time(tmp_path: Path) -> None:
    entries = [photo("p3.jpg", 20), note(BETTER, 27), photo("p1.jpg", 2), note(WORSE, 3), photo("p2.jpg", 9)]
    source = write_source(tmp_path, {12: entries})

    rows, text = build(source, licence="CC0", attribution="us")

    assert names(rows) == ["p1", "p2", "p3"]
    assert {(row.person, row.label, row.improvement) for row in rows} == {
        ("user_000000000012", "improved", 1.0)
    }
    assert {(row.labeller, row.licence, row.attribution) for row in rows} == {("vader", "CC0", "us")}
    assert json.loads(rows[0].label_scores)["verdict"] == "POSITIVE"
    assert rows[0].taken_at == "2019-03-02T08:00:00+00:00"
    assert rows[0].thumbnail and text.startswith("1 rows read, 1 kept, 0 dropped")


def test_neutral_notes_are_left_out_or_soft(tmp_path: Path) -> None:
    mild = "Improved here, worse there."
    users = {
        user: [note(text), photo(f"p{user}a.jpg", 1), photo(f"p{user}b.jpg", 2)]
        for user, text in ((1, BETTER), (2, DULL), (3, mild))
    }
    source = write_source(tmp_path, users)

    hard, text = build(source)
    soft, _ = build(source, neutral="soft")

    assert {row.person for row in hard} == {person_name(1)}
    assert "2 left out because their note is NEUTRAL: rows 3, 4" in text
    assert {row.person for row in soft} == {person_name(1), person_name(3)}
    assert 0.3 < (soft[-1].improvement or 0) < 0.7


def test_times_that_are_equal_or_missing_are_reported(tmp_path: Path) -> None:
    entries = [
        note(BETTER),
        photo("p2.jpg", 5),
        photo("p1.jpg", 5),
        photo("p0.jpg", None),
        photo("p3.jpg", 1),
    ]
    source = write_source(tmp_path, {1: entries})

    rows, text = build(source)

    assert names(rows) == ["p3", "p2", "p1"]
    assert "photos of the same time are in the order of the file: row 2" in text
    assert "a photo without a time is left out: row 2" in text


def test_entries_of_others_and_repeated_photos_are_left_out(tmp_path: Path) -> None:
    entries = [
        note(BETTER, user=1),
        note(WORSE, 28, user=2),
        photo("p1.jpg", 1, user="1"),
        photo("p1.jpg", 3, user=1.0),
        photo("p2.jpg", 2, user=float("nan")),
        photo("p3.jpg", 2, user=2),
    ]
    source = write_source(tmp_path, {1: entries})

    rows, text = build(source)

    assert names(rows) == ["p1", "p2"] and rows[0].label == "improved"
    assert "of another user" in text and "listed more than once" in text


def test_missing_and_damaged_photos_keep_their_place(tmp_path: Path) -> None:
    entries = [note(WORSE), *(photo(f"p{k}.jpg", 1 + k) for k in range(4))]
    source = write_source(tmp_path, {1: entries})
    (source / "images/p1.jpg").unlink()
    (source / "images/p2.jpg").write_bytes(b"\xff\xd8\xff damaged")

    rows, text = build(source)

    assert names(rows) == ["p0", "p1", "p2", "p3"]
    assert [bool(row.thumbnail) for row in rows] == [True, False, False, True]
    assert "a photo is missing; it keeps its place" in text
    assert "a photo cannot be used (unreadable_image)" in text


def test_dropped_users_are_reported_with_their_rows(tmp_path: Path) -> None:
    good = [note(BETTER), photo("p1.jpg", 1), photo("p2.jpg", 2)]
    users = {
        1: good,
        2: [note(" "), note(None), *good[1:]],
        3: [note(BETTER), photo("p1.jpg", 1)],
        4: good,
        5: good,
        6: [note(BETTER), photo("x1.jpg", 1), photo("x2.jpg", 2)],
        7: [note(BETTER), photo("../x.jpg", 1), photo("/etc/passwd", 2), photo("s3://b/k", 3)],
    }
    source = write_source(tmp_path, users)
    (source / "followup_data/user_000000000004.json").unlink()
    (source / "followup_data/user_000000000005.json").write_text("[{")
    with (source / "dr_msg_stats.csv").open("a") as stats:
        stats.write("anna,1\n1,3\n")

    rows, text = build(source)

    assert {row.person for row in rows} == {person_name(1)}
    assert text.startswith("8 rows read, 1 kept, 7 dropped")
    for line in (
        "no doctor's note: row 3",
        "fewer than 2 photos with a time: rows 4, 8",
        "no file in followup_data: row 5",
        "the file in followup_data is no JSON: row 6",
        "fewer than 2 photos can be read: row 7",
        "user_id is no whole number: row 9",
        "a user of an earlier row; read once: row 10",
        "image_path is not under images/ is left out: row 8",
    ):
        assert line in text


def test_photos_after_the_note_are_reported_or_left_out(tmp_path: Path) -> None:
    entries = [note(BETTER, 10), *(photo(f"p{day}.jpg", day) for day in (1, 5, 20))]
    source = write_source(tmp_path, {1: entries})

    kept, text = build(source)
    cut_off, _ = build(source, after_note="exclude")

    assert len(kept) == 3 and "photos were taken after the note that labels them: row 2" in text
    assert names(cut_off) == ["p1", "p5"]


def test_notes_with_a_time_take_precedence(tmp_path: Path) -> None:
    photos = [photo("p1.jpg", 1), photo("p2.jpg", 2)]
    users = {
        1: [note(BETTER, 5), note(WORSE, None), *photos],
        2: [note(WORSE, None), note(BETTER, None), *photos],
    }
    source = write_source(tmp_path, users)

    rows, text = build(source)

    assert {row.label for row in rows} == {"improved"}
    assert "a note without a time is ignored: row 2" in text
    assert "no note has a time; the last in the file counts as the latest: row 3" in text


@pytest.mark.parametrize("column", ["user_id", "userId", "USER", " id"])
def test_the_column_of_users_may_have_other_names(tmp_path: Path, column: str) -> None:
    source = write_source(
        tmp_path, {1: [note(BETTER), photo("p1.jpg", 1), photo("images/p2.jpg", 2)]}, column=column
    )
    Image.new("RGB", (9, 9)).save(source / "images/p2.jpg")

    rows, _ = build(source)

    assert names(rows) == ["p1", "p2"] and Path(rows[1].image).is_file()


def test_the_command_writes_a_manifest_and_exits_with_3_for_dropped_users(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_source(
        tmp_path / "s", {1: [note(BETTER), photo("p1.jpg", 1), photo("p2.jpg", 2)], 2: [note(BETTER)]}
    )
    manifest = tmp_path / "out/manifest.parquet"
    arguments = [str(source), str(manifest), "--labeller", "vader"]

    assert main(arguments) == 3
    assert main([*arguments, "--allow-dropped"]) == 0

    assert f"wrote 2 photos of 1 people to {manifest}" in capsys.readouterr().out
    rows = read_manifest(manifest)
    assert names(rows) == ["p1", "p2"] and Path(rows[0].image).is_file()
    assert load_manifest(manifest).notes["format"] == "skincredible"


def test_a_source_without_its_table_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path / "m.parquet"), "--labeller", "vader"]) == 1

    assert "must hold dr_msg_stats.csv, followup_data/ and images/" in capsys.readouterr().err
    assert not (tmp_path / "m.parquet").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [("name,n\nanna,1\n", "has the columns name, n; one must be user_id"), ("user_id\n", "has no users")],
)
def test_a_table_without_users_is_rejected(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "dr_msg_stats.csv").write_text(table)

    with pytest.raises(ManifestError, match=message):
        build(tmp_path)


def test_a_source_without_labelled_people_is_rejected(tmp_path: Path) -> None:
    source = write_source(tmp_path, {1: [note(DULL), photo("p1.jpg", 1), photo("p2.jpg", 2)]})

    with pytest.raises(ManifestError, match=r"no person with a label"):
        build(source)


@pytest.mark.parametrize(
    "value",
    [
        "2019-03-01T10:00:00Z",
        "2019-03-01 10:00:00",
        "2019-03-01T12:00:00+02:00",
        1551434400,
        1551434400000,
        "1551434400000",
        {"$date": "2019-03-01T10:00:00.000Z"},
        43525.416666667,
        "43525,41666667",
        "1.3.2019 10:00",
        "01-Mar-2019 10:00",
        "Mar 1, 2019 10:00 AM",
        "2019/3/1 10:00:00",
    ],
)
def test_all_formats_of_times_are_parsed(value: object) -> None:
    assert time_of(value) == datetime(2019, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "day"),
    [("14/03/2019", 14), ("3/14/2019", 14), ("3/3/2019 2:05 PM", 3), ("14-03-2019", 14), ("3/4/2019", None)],
)
def test_a_date_with_day_and_month_in_doubt_is_none(value: str, day: int | None) -> None:
    found = time_of(value)

    assert (found and (found.day, found.month)) == (day and (day, 3))


@pytest.mark.parametrize(
    "value", [None, "", "yesterday", float("nan"), 1e30, True, {}, [2019], "0001-01-01T00:00:00+10:00"]
)
def test_invalid_times_are_none(value: object) -> None:
    assert time_of(value) is None


@pytest.mark.parametrize(
    ("value", "number"), [("12", 12), (12.0, 12), ("user_000000000012", 12), ("x", None), (-1, None)]
)
def test_all_formats_of_user_numbers_are_parsed(value: object, number: int | None) -> None:
    assert user_number(value) == number


def test_ctrl_c_ends_with_130_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.data.followup.__main__.followup", stop)

    assert main(["source", "m.parquet", "--labeller", "vader"]) == 130
    printed = capsys.readouterr().err
    assert printed.startswith("skinserve followup: stopped") and printed.count("\n") == 1
