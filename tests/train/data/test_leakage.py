from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samples.lesion import draw_lesion
from tests.photo_copies import random_copy
from train.data.duplicates import thumbnail_of
from train.data.leakage import check_leakage, main
from train.data.manifest import Row, fingerprint_of, write_manifest
from train.data.split import Split, split_rows, write_split

NUM_COPIES = 500
LABELS = ("Nevus", "Melanoma")


def lesion(seed: int, size_px: int = 64) -> Image.Image:
    return draw_lesion(seed=seed, size_px=size_px)


def split_of(train: list[Row], val: list[Row]) -> Split:
    return Split(train=tuple(train), val=tuple(val), fingerprint=fingerprint_of(train, val))


def photos_and_copies(photos: list[Image.Image]) -> tuple[list[Row], list[Row]]:
    """Rows of the photos, and of changed copies with other names and lesions."""
    random = np.random.default_rng(0)
    copies = [random_copy(photo, random) for photo in photos[:NUM_COPIES]]
    return rows_of("photo", photos), rows_of("copy", copies)


def rows_of(name: str, images: list[Image.Image]) -> list[Row]:
    return [
        Row(
            image=f"/{name}{number}.jpg",
            label=LABELS[number % 2],
            lesion=f"{name}{number}",
            thumbnail=thumbnail_of(np.asarray(image.convert("RGB"))),
        )
        for number, image in enumerate(images)
    ]


@pytest.fixture(scope="module")
def drawn_rows() -> tuple[list[Row], list[Row]]:
    return photos_and_copies([lesion(seed, size_px=96) for seed in range(NUM_COPIES + 100)])


@pytest.fixture(scope="module", params=["drawn", "real"])
def rows(request: pytest.FixtureRequest) -> tuple[list[Row], list[Row]]:
    if request.param == "drawn":
        return request.getfixturevalue("drawn_rows")
    folder: Path | None = request.config.getoption("--ham10000")
    if folder is None:
        pytest.skip("needs --ham10000")
    paths = sorted(folder.rglob("*.jpg"))
    chosen = np.random.default_rng(0).choice(len(paths), 2 * NUM_COPIES, replace=False)
    return photos_and_copies([Image.open(paths[place]) for place in chosen])


def test_all_injected_duplicates_in_both_sets_are_found(rows: tuple[list[Row], list[Row]]):
    photos, copies = rows

    found = check_leakage(split_of(photos, copies))

    injected = {(f"photo{number}", f"copy{number}") for number in range(NUM_COPIES)}
    assert injected <= set(found.leaking_duplicates)
    assert len(set(found.leaking_duplicates) - injected) <= 2
    assert len(found.leaking_groups) >= NUM_COPIES - 2


def test_no_injected_duplicate_is_in_both_sets_of_a_new_split(rows: tuple[list[Row], list[Row]]):
    photos, copies = rows

    split = split_rows([*photos, *copies], val_fraction=0.15, seed=1)

    val = {row.name for row in split.val}
    assert all((f"photo{number}" in val) == (f"copy{number}" in val) for number in range(NUM_COPIES))
    assert not check_leakage(split).leaks
    assert 0.1 < len(split.val) / len([*photos, *copies]) < 0.2


def small() -> list[Row]:
    return rows_of("photo", [lesion(seed) for seed in range(20)])


def test_a_manifest_alone_is_checked_with_a_new_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_manifest([*small(), Row(image="/x.jpg", label="Nevus")], tmp_path / "manifest.parquet")

    status = main([str(tmp_path / "manifest.parquet"), "--val-fraction", "0.2"])

    printed = capsys.readouterr().out
    assert status == 0
    for part in (
        "rows               21: ",
        "groups             21",
        "found   0 pairs",
        "not compared       1 rows",
    ):
        assert part in printed
    assert "Melanoma                 8       2\n" in printed
    assert "no leak" in printed


def test_a_leak_ends_with_status_1_and_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    photos = small()
    copy = rows_of("copy", [random_copy(lesion(3, 224), np.random.default_rng(0))])
    same_lesion = Row(image="/again.jpg", label="Nevus", lesion="photo5")
    rows = [*photos, *copy, same_lesion]
    write_manifest(rows, tmp_path / "manifest.parquet")
    write_split(split_of(photos, [*copy, same_lesion]), tmp_path / "split.parquet")

    status = main([str(tmp_path / "manifest.parquet"), "--split", str(tmp_path / "split.parquet")])

    printed = capsys.readouterr().out
    assert status == 1
    assert "LEAK: 2 groups and 1 pairs" in printed
    assert "group lesion:copy0\n" in printed and "group lesion:photo5\n" in printed
    assert "pair photo3 copy0" in printed


def test_the_same_row_in_both_sets_is_a_leak():
    photos = small()

    assert check_leakage(split_of(photos, photos[:1])).leaking_groups == ["lesion:photo0"]


def test_photos_of_people_are_checked_by_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [Row(image=f"/{n}.jpg", label="", person=str(n // 3)) for n in range(30)]
    write_manifest(rows, tmp_path / "manifest.parquet")

    assert main([str(tmp_path / "manifest.parquet"), "--val-fraction", "0.2"]) == 0
    assert "groups             10" in capsys.readouterr().out


def test_a_missing_manifest_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "manifest.parquet")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("skinserve check-leakage: no manifest at") and printed.err.count("\n") == 1
