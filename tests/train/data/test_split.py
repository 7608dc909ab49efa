import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.manifest import ManifestError, Row
from train.data.split import fold_rows, groups_of, read_split, split_people, split_rows, write_split

LABELS = ("Nevus", "Melanoma", "Basal Cell Carcinoma")


def rows_of(num_lesions: int, per_lesion: int = 2) -> list[Row]:
    """Rows of lesions with three labels in turn; every fourth patient has two lesions."""
    return [
        Row(
            image=f"/photos/{lesion}_{i}.jpg",
            label=LABELS[lesion % 3],
            lesion=f"lesion {lesion}",
            patient=f"patient {lesion - 3 if lesion % 4 == 3 else lesion}",
        )
        for lesion in range(num_lesions)
        for i in range(per_lesion)
    ]


def picture(number: int) -> bytes:
    return np.random.default_rng(number).integers(0, 256, 1024, np.uint8).tobytes()


def names(rows: tuple[Row, ...]) -> set[str]:
    return {row.name for row in rows}


@settings(max_examples=30)
@given(num_lesions=st.integers(40, 90), per_lesion=st.integers(1, 4), seed=st.integers(0, 99))
def test_no_group_is_in_both_sets_and_no_row_is_lost(num_lesions: int, per_lesion: int, seed: int):
    rows = rows_of(num_lesions, per_lesion)

    split = split_rows(rows, val_fraction=0.15, seed=seed)

    assert not {row.patient for row in split.train} & {row.patient for row in split.val}
    assert not {row.lesion for row in split.train} & {row.lesion for row in split.val}
    assert Counter(split.train + split.val) == Counter(rows)


@settings(max_examples=30)
@given(num_lesions=st.integers(40, 70), num_folds=st.integers(2, 6), seed=st.integers(0, 99))
def test_every_row_is_in_the_validation_set_of_one_fold(num_lesions: int, num_folds: int, seed: int):
    rows = rows_of(num_lesions)

    folds = fold_rows(rows, num_folds=num_folds, seed=seed)

    assert len(folds) == num_folds
    assert Counter(row for fold in folds for row in fold.val) == Counter(rows)
    assert all(Counter(fold.train + fold.val) == Counter(rows) for fold in folds)


@settings(max_examples=30)
@given(seed=st.integers(0, 99), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(seed: int, shuffle: random.Random):
    rows = rows_of(50)
    other = shuffle.sample(rows, len(rows))

    one, two = (split_rows(each, val_fraction=0.2, seed=seed) for each in (rows, other))

    assert names(one.val) == names(two.val)
    assert one.fingerprint == two.fingerprint
    assert dict(zip(rows, groups_of(rows), strict=True)) == dict(zip(other, groups_of(other), strict=True))


@settings(max_examples=20)
@given(seed=st.integers(0, 99), copies=st.lists(st.tuples(*[st.integers(0, 59)] * 2), max_size=12))
def test_duplicates_are_in_one_set_and_other_photos_keep_theirs(seed: int, copies: list[tuple[int, int]]):
    shows = list(range(60))
    for one, other in copies:
        shows[other] = shows[one]
    plain = [
        Row(image=f"{n}.jpg", label=LABELS[n % 3], lesion=f"{n:02}", thumbnail=picture(n)) for n in range(60)
    ]
    rows = [Row(**{**vars(row), "thumbnail": picture(shows[n])}) for n, row in enumerate(plain)]
    before, split = (split_rows(each, val_fraction=0.2, seed=seed) for each in (plain, rows))

    val = names(split.val)

    for n, shown in enumerate(shows):
        assert (str(n) in val) == (str(shows.index(shown)) in val)
        if shows.count(shown) == 1:
            assert (str(n) in val) == (str(n) in names(before.val))


def test_groups_are_joined_by_any_shared_key():
    rows = [
        Row(image="a.jpg", label="", patient="1", lesion="x"),
        Row(image="b.jpg", label="", lesion="x", thumbnail=picture(0)),
        Row(image="c.jpg", label="", person="1", thumbnail=picture(0)),
        Row(image="d.jpg", label="", person="1"),
        Row(image="e.jpg", label="", lesion="1"),
        Row(image="f.jpg", label="Nevus"),
    ]

    assert groups_of(rows) == ["patient:1"] * 4 + ["lesion:1", "photo:f:Nevus"]


def test_every_label_has_its_share_in_both_sets():
    split = split_rows(rows_of(60), val_fraction=0.2, seed=0)

    count = Counter(row.label for row in split.val)
    assert set(count) == set(LABELS)
    assert all(6 <= of_label <= 10 for of_label in count.values())


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (split_rows(rows_of(60), val_fraction=0.2, seed=seed) for seed in (1, 1, 2))

    assert first == again
    assert first.fingerprint != other.fingerprint
    assert first == fold_rows(rows_of(60), num_folds=5, seed=1)[0]


@pytest.mark.parametrize(
    ("rows", "num_folds", "message"),
    [
        ([], 5, "the manifest is empty"),
        (rows_of(30), 1, "1 folds are requested, at least 2"),
        ([*rows_of(60), Row(image="x.jpg", label="Scar")], 5, r"need 5 groups of every label.*Scar \(1\)"),
        ([*rows_of(60), Row(image="x.jpg", label="")], 5, "1 of 121 rows have no label, first row 121"),
        ([Row(image=f"{n}", label="Nevus", patient="p") for n in range(9)], 3, "one group, patient:p"),
        (rows_of(4), 10, r"10 folds need as many groups, the manifest has 3"),
    ],
)
def test_rows_that_cannot_be_split_are_rejected_in_one_line(rows: list[Row], num_folds: int, message: str):
    with pytest.raises(ManifestError, match=message) as refused:
        fold_rows(rows, num_folds=num_folds, seed=0)

    assert "\n" not in str(refused.value)


def people(num_people: int, label: str = "") -> list[Row]:
    return [
        Row(image=f"{label}{n}_{i}.jpg", label=label, person=f"{label}{n}")
        for n in range(num_people)
        for i in range(1 + n % 2 * 9)
    ]


def test_whole_people_are_split_and_stratified():
    rows = people(20)

    split = split_people(rows, val_fraction=0.2, seed=0)

    count = Counter(row.person for row in split.val)
    assert not {row.person for row in split.train} & set(count)
    assert sorted(count.values()) == [1, 1, 10, 10]
    assert Counter(split.train + split.val) == Counter(rows)


def test_labelled_people_are_stratified_by_label():
    split = split_people([*people(16, "improved"), *people(4, "worsened")], val_fraction=0.25, seed=0)

    kinds = Counter(label for label, _ in {(row.label, row.person) for row in split.val})
    assert kinds == {"improved": 4, "worsened": 1}


def test_three_people_are_rejected():
    with pytest.raises(ManifestError, match="has 3 people, 4 are needed"):
        split_people(people(3), val_fraction=0.3, seed=0)


def test_a_stored_split_is_read_back_in_any_order(tmp_path: Path):
    rows = rows_of(40)
    split = split_rows(rows, val_fraction=0.2, seed=3)
    write_split(split, tmp_path / "split.parquet")

    again = read_split(rows, tmp_path / "split.parquet")
    reordered = read_split(rows[::-1], tmp_path / "split.parquet")

    assert again == split
    assert names(reordered.val) == names(split.val)


def test_photos_of_the_same_name_keep_their_sets(tmp_path: Path):
    rows = [
        Row(image=f"/{n}/front.jpg", label=LABELS[n % 2], patient=f"{n:02}")
        for n in range(20)
        for _ in (0, 1)
    ]
    split = split_rows(rows, val_fraction=0.2, seed=3)
    write_split(split, tmp_path / "split.parquet")

    assert read_split(rows, tmp_path / "split.parquet") == split


def test_a_split_of_other_rows_is_rejected(tmp_path: Path):
    rows = rows_of(40)
    path = tmp_path / "split.parquet"
    write_split(split_rows(rows, val_fraction=0.2, seed=3), path)

    with pytest.raises(ManifestError, match=r"of 80 rows, the manifest has 79 \(1 names differ\)"):
        read_split(rows[1:], path)
    with pytest.raises(ManifestError, match=r"labels or groups of the manifest have changed"):
        read_split([Row(**{**vars(rows[0]), "lesion": "other"}), *rows[1:]], path)
    with pytest.raises(ManifestError, match=r"no split at .*none\.parquet"):
        read_split(rows, tmp_path / "none.parquet")
    path.write_bytes(b"no Parquet")
    with pytest.raises(ManifestError, match="is not a split"):
        read_split(rows, path)
