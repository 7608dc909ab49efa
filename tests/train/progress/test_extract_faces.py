import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.face.detector import MtcnnFaceDetector
from models.images import decode_bounded
from samples.face import draw_face
from train.data.manifest import ManifestError, Row, write_manifest
from train.progress.extract_faces import FaceExtraction, FaceExtractor, extract_faces
from train.progress.face_store import SCHEMA, FaceExtractionError, read_records, write_part
from train.progress.labelled_series import photos_by_person, read_series

PX = 4
FACE = bytes(range(PX * PX * 3))


def row(person: str, name: str, day: int | None, improvement: float | None = 1.0) -> Row:
    taken_at = "" if day is None else f"2019-03-{day:02}T08:00:00+00:00"
    return Row(image=f"/p/{name}.jpg", label="", person=person, taken_at=taken_at, improvement=improvement)


def write_faces(
    folder: Path, rows: list[Row], *, without: str = "", problem: str = "no_face", px: int = PX
) -> None:
    records = [
        {
            "person": each.person,
            "image": each.image,
            "face": None if each.name in without else FACE,
            "problem": problem if each.name in without else "",
        }
        for each in rows
    ]
    write_part(pa.Table.from_pylist(records, schema=SCHEMA), str(folder), size_px=px)


def test_series_are_in_order_of_time_with_gaps_where_no_face_is(tmp_path: Path) -> None:
    rows = [
        row("anna", "c", 9),
        row("anna", "a", 1),
        row("anna", "b", 5),
        row("ben", "d", 1),
        row("ben", "e", 2),
    ]
    write_faces(tmp_path, rows[:3], without="b")
    write_faces(tmp_path, rows[3:])

    anna, ben = read_series(tmp_path, rows)

    assert (anna.person, anna.improved) == ("anna", True)
    assert anna.present_T.tolist() == [True, False, True]
    assert anna.photos_THWC.shape == (3, PX, PX, 3) and not anna.photos_THWC[1].any()
    assert anna.photos_THWC[0].tobytes() == FACE
    assert anna.improvement_T.tolist() == [1, 1, 1] and anna.improvement_T.dtype == np.float32
    assert len(ben.present_T) == 2


def test_people_without_two_faces_or_a_label_are_skipped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row("anna", "a", 1), row("anna", "b", 2), row("ben", "c", 1, None), row("ben", "d", 2, None)]
    rows += [row("cleo", "e", 1), row("cleo", "f", 2)]
    write_faces(tmp_path, rows, without="b")

    assert [series.person for series in read_series(tmp_path, rows)] == ["cleo"]
    assert "1 of 3 people skipped, with fewer than 2 faces" in caplog.text
    assert "1 of 3 people skipped, without a label" in caplog.text


def test_long_series_keep_first_and_last(tmp_path: Path) -> None:
    rows = [
        Row(
            image=f"/p/{k}.jpg",
            label="",
            person="anna",
            taken_at=f"2019-01-01T00:{k:02}:00+00:00",
            improvement=0,
        )
        for k in range(50)
    ]
    write_faces(tmp_path, rows, without="0 49")  # names that are parts of the text: "0", "4", "9", "49"

    (series,) = read_series(tmp_path, rows)

    assert len(series.present_T) == 30
    assert not series.present_T[0] and not series.present_T[-1]


def test_photos_missing_in_the_folder_are_an_error(tmp_path: Path) -> None:
    rows = [row("anna", "a", 1), row("anna", "b", 2), row("anna", "c", 3)]
    write_faces(tmp_path, rows[:1])

    with pytest.raises(FaceExtractionError, match=r"2 photos are not in .*run skinserve extract-faces"):
        read_series(tmp_path, rows)


def test_a_photo_found_later_replaces_the_missing_one(tmp_path: Path) -> None:
    rows = [row("anna", "a", 1)]
    for _ in range(4):
        write_faces(tmp_path, rows, without="a", problem="missing")
    write_faces(tmp_path, rows)

    (record,) = read_records(str(tmp_path)).values()

    assert record["face"] == FACE


def test_damaged_parts_and_other_sizes_are_rejected(tmp_path: Path) -> None:
    write_faces(tmp_path, [row("anna", "a", 1)], px=80)

    with pytest.raises(FaceExtractionError, match=r"has faces of 80 px, not 64"):
        read_records(str(tmp_path), size_px=64)
    (tmp_path / "part-0.parquet").write_bytes(b"PAR1")
    with pytest.raises(FaceExtractionError, match=r"part-0.parquet is damaged or not a part of faces"):
        read_records(str(tmp_path))


def test_faces_of_another_detector_version_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_faces(tmp_path, [row("anna", "a", 1)])
    read_records(str(tmp_path))
    assert not caplog.text

    monkeypatch.setattr("train.progress.face_store.detector_version", lambda: "new")
    read_records(str(tmp_path))

    assert "faces of another version of models/face/detector.py" in caplog.text


def test_photos_without_a_time_come_last_and_equal_times_stay() -> None:
    rows = [
        row("anna", "x", None),
        row("anna", "b", 5),
        row("anna", "a", 5),
        row("anna", "c", 1),
        row("", "n", 1),
    ]

    assert {who: [each.name for each in own] for who, own in photos_by_person(rows).items()} == {
        "anna": ["c", "b", "a", "x"]
    }


def test_a_manifest_without_people_is_rejected(tmp_path: Path) -> None:
    write_manifest([row("", "a", 1)], tmp_path / "m.parquet")

    with pytest.raises(ManifestError, match=r"names no person"):
        extract_faces(FaceExtraction(manifest=str(tmp_path / "m.parquet"), folder=str(tmp_path / "faces")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face, no face, a damaged file; a fourth is missing and a fifth comes later."""
    folder = tmp_path_factory.mktemp("photos")
    draw_face(num_lesions=3, redness=0.3, seed=1, size_px=800).save(folder / "face.jpg")
    draw_face(num_lesions=3, redness=0.3, seed=2, size_px=200).crop((0, 0, 30, 30)).resize((200, 200)).save(
        folder / "wall.png"
    )
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def part_of(photos: Path, *names: str) -> pa.Table:
    return pa.Table.from_pylist(
        [{"person": "anna", "image": str(photos / name)} for name in names], schema=SCHEMA
    )


def test_faces_equal_those_of_serving(photos: Path) -> None:
    photo = decode_bounded((photos / "face.jpg").read_bytes(), max_side_px=640).image_HWC
    (served,) = MtcnnFaceDetector(size_px=80)([photo])
    assert served is not None

    filled = FaceExtractor(80)(part_of(photos, "damaged.jpg", "face.jpg", "wall.png", "lost.jpg"))

    first, face, *others = filled["face"].to_pylist()
    difference = np.frombuffer(face, np.uint8) - served.crop_HWC.ravel().astype(int)
    assert [first, *others] == [None] * 3
    assert np.abs(difference).max() <= 1  # torch rounds differently on another number of threads
    assert filled["problem"].to_pylist() == ["unreadable_image", "", "no_face", "missing"]


@pytest.fixture
def ray_of_one_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_of_one_cpu")
@pytest.mark.slow
def test_ray_extracts_only_missing_faces(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("face.jpg", "wall.png", "damaged.jpg", "lost.jpg")
    rows = [
        Row(
            image=str(photos / name),
            label="",
            person="anna",
            taken_at="2019-03-01T08:00:00+00:00",
            improvement=1,
        )
        for name in names
    ]
    write_manifest(rows, tmp_path / "m.parquet")
    settings = FaceExtraction(
        manifest=str(tmp_path / "m.parquet"), folder=str(tmp_path / "faces"), photos_per_part=2
    )
    caplog.set_level(logging.WARNING, "train.progress.extract_faces")

    first = extract_faces(settings)
    again = extract_faces(settings)
    (photos / "lost.jpg").write_bytes((photos / "face.jpg").read_bytes())
    of_first_two = next(
        p for p in (tmp_path / "faces").iterdir() if "face" in pq.read_table(p)["name"].to_pylist()
    )
    of_first_two.unlink()
    restarted = extract_faces(settings)

    assert first == {"": 1, "no_face": 1, "unreadable_image": 1, "missing": 1}
    assert again.total() == 0
    assert restarted == {"": 2, "no_face": 1}
    (series,) = read_series(tmp_path / "faces", rows)
    assert series.present_T.tolist() == [True, False, False, True]
    assert "1 of 1 people have photos of the same time" in caplog.text
    (photos / "lost.jpg").unlink()

    (photos / "folder.jpg").mkdir()
    write_manifest(
        [row("ben", "x", 1), Row(image=str(photos / "folder.jpg"), label="", person="ben")],
        tmp_path / "m.parquet",
    )
    with pytest.raises(FaceExtractionError, match=r"folder.jpg cannot be read.*the same command resumes"):
        extract_faces(settings)
