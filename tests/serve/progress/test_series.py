from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.images import Photo
from serve.messages import FaceReport, ProgressReport
from serve.progress.series import SeriesPhoto, check_faces, progress_answer, put_in_order, read_times
from serve.runtime.errors import ApiError
from serve.schemas import ModelName

EARLY, LATE = datetime(2026, 1, 1), datetime(2026, 1, 2)


def photo_of(width_px: int = 4000, height_px: int = 3000) -> Photo:
    return Photo(
        image_HWC=np.zeros((480, 640, 3), np.uint8), width_px=width_px, height_px=height_px, taken_at=None
    )


def face_of(*box: float) -> FaceReport:
    left, top, right, bottom = box or (0.0, 0.0, 1.0, 1.0)
    return FaceReport(
        box=(left, top, right, bottom), confidence=1.0000001, crop_HWC=np.zeros((8, 8, 3), np.uint8)
    )


def series_of(*faces: FaceReport | None) -> list[SeriesPhoto]:
    return [
        SeriesPhoto(index=index, photo=photo_of(), taken_at=None, face=face)
        for index, face in enumerate(faces)
    ]


def report_of(*improved: float) -> ProgressReport:
    return ProgressReport(model=ModelName(name="fake", version="1"), threshold=0.5, improved_T=improved)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (["", " "], None),
        (["2026-01-01", "2026-01-02"], [EARLY, LATE]),
        (
            ["2026-01-01T00:00Z", "2026-01-02T00:00+00:00"],
            [EARLY.replace(tzinfo=UTC), LATE.replace(tzinfo=UTC)],
        ),
    ],
)
def test_times_are_iso_8601(texts: list[str], expected: list[datetime] | None):
    assert read_times(texts, 2) == expected


def test_sent_times_decide_over_exif():
    assert put_in_order([LATE, EARLY], [EARLY, LATE])[:2] == ("taken_at", [1, 0])


def test_times_with_zones_are_compared_as_moments():
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    sent = [datetime(2026, 1, 2, tzinfo=east), datetime(2026, 1, 1, tzinfo=west)]

    assert put_in_order(sent, [None, None])[1] == [0, 1]


def test_equal_times_keep_the_order_of_the_request():
    assert put_in_order([LATE, EARLY, EARLY], [None] * 3)[1] == [1, 2, 0]


def test_exif_with_and_without_zones_is_compared_by_the_clocks_of_the_cameras():
    order, positions, times = put_in_order(None, [LATE.replace(tzinfo=UTC), EARLY])

    assert (order, positions) == ("exif", [1, 0])
    assert times[0] == LATE.replace(tzinfo=UTC)


@given(st.lists(st.datetimes(timezones=st.timezones()), min_size=2, max_size=5))
def test_any_moments_can_be_ordered(times: list[datetime]):
    texts = [time.replace(tzinfo=timezone(time.utcoffset() or timedelta())).isoformat() for time in times]
    read = read_times(texts, len(times))

    assert read is not None
    positions = put_in_order(read, [None] * len(read))[1]
    assert sorted(positions) == list(range(len(read)))
    assert all(read[one] <= read[two] for one, two in pairwise(positions))


def test_boxes_are_given_in_pixels_of_the_photo_as_it_was_sent_and_inside_it():
    answer = progress_answer(report_of(0.4, 0.6), series_of(face_of(-3, 48, 64, 500), face_of()), "upload")

    found = answer.photos[0].face
    assert found is not None
    assert found.box.model_dump() == {"left": 0, "top": 300, "right": 400, "bottom": 3000}
    assert found.confidence == 1


def test_the_probability_so_far_starts_at_the_second_face():
    answer = progress_answer(
        report_of(0.1, 0.2, 0.3, 0.4), series_of(None, face_of(), None, face_of()), "upload"
    )

    assert [photo.improved_probability_so_far for photo in answer.photos] == [None, None, None, 0.4]
    assert (answer.verdict, answer.improved_probability) == ("worsened", 0.4)


def test_the_verdict_is_improved_from_the_threshold_on():
    assert (
        progress_answer(report_of(0.1, 0.5), series_of(face_of(), face_of()), "upload").verdict == "improved"
    )


@pytest.mark.parametrize(
    ("faces", "code"), [([None, None], "no_face"), ([None, face_of(), None], "too_few_photos")]
)
def test_too_few_faces_are_refused(faces: list[FaceReport | None], code: str):
    with pytest.raises(ApiError) as refusal:
        check_faces(faces)

    assert refusal.value.code == code
