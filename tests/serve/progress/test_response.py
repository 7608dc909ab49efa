from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from models.images import Photo
from models.photo_quality import Problem
from models.progress.verdict import VerdictThresholds
from serve.progress.messages import FaceReport, ProgressReport
from serve.progress.response import SeriesPhoto, photo_reasons, progress_answer
from serve.schemas import ModelName

NOW = datetime(2026, 3, 1)


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
    return ProgressReport(
        model=ModelName(name="fake", version="1"),
        thresholds=VerdictThresholds(improved=0.5),
        improved_T=improved,
    )


def test_boxes_are_in_pixels_of_the_original_photo_and_inside_it():
    answer = progress_answer(report_of(0.4, 0.6), series_of(face_of(-3, 48, 64, 500), face_of()), "upload")

    found = answer.photos[0].face
    assert found is not None
    assert found.box.model_dump() == {"left": 0, "top": 300, "right": 400, "bottom": 3000}
    assert found.confidence == 1


def test_eyes_are_in_pixels_of_the_original_photo():
    face = replace(face_of(), eyes=((64.0, 48.0), (128.0, 60.0)))

    answer = progress_answer(report_of(0.4, 0.6), series_of(face, face_of()), "upload")

    first, last = (photo.face for photo in answer.photos)
    assert first is not None and first.eyes is not None and last is not None
    assert first.eyes.model_dump() == {"left": {"x": 400, "y": 300}, "right": {"x": 800, "y": 375}}
    assert last.eyes is None, "as a face detector of an older version answers"


def test_the_probability_so_far_starts_with_the_second_face():
    answer = progress_answer(
        report_of(0.1, 0.2, 0.3, 0.4), series_of(None, face_of(), None, face_of()), "upload"
    )

    assert [photo.improved_probability_so_far for photo in answer.photos] == [None, None, None, 0.4]
    assert (answer.verdict, answer.improved_probability) == ("worsened", 0.4)
    assert (answer.improved_threshold, answer.worsened_threshold) == (0.5, None)


def test_missing_times_come_before_the_problems_of_photos():
    weak = photo_reasons(
        [[], [Problem(code="too_dark", message="black"), Problem(code="no_lesion", message="")]]
    )
    series = [
        replace(photo, taken_at=time)
        for photo, time in zip(series_of(face_of(), face_of()), (None, NOW), strict=True)
    ]

    answer = progress_answer(report_of(0.1, 0.5), series[::-1], "upload", weak)

    assert [reason.code for reason in answer.reasons] == ["times_missing", "too_dark"]
    assert answer.reasons[0].message.startswith("photo 1 records no capture time")
    assert answer.reasons[1].message == "photo 2: black"
    assert progress_answer(report_of(0.1, 0.5), series_of(face_of(), face_of()), "upload").reasons == []


@pytest.mark.parametrize(
    ("improved", "verdict"),
    [(0.7, "improved"), (0.69, "no_clear_change"), (0.41, "no_clear_change"), (0.4, "worsened")],
)
def test_between_the_thresholds_there_is_no_clear_change(improved: float, verdict: str):
    report = replace(report_of(0.5, improved), thresholds=VerdictThresholds(improved=0.7, worsened=0.6))

    answer = progress_answer(report, series_of(face_of(), face_of()), "upload")

    assert (answer.verdict, answer.improved_probability) == (verdict, improved)
    assert (answer.improved_threshold, answer.worsened_threshold) == (0.7, 0.6)
    reasons = [] if verdict != "no_clear_change" else ["no_clear_change"]
    assert [reason.code for reason in answer.reasons] == reasons


def test_faces_in_different_light_are_a_reason_beside_the_verdict():
    dark, bright = (replace(face_of(), crop_HWC=np.full((8, 8, 3), level, np.uint8)) for level in (100, 150))
    series = [replace(photo, index=2 - photo.index) for photo in series_of(bright, None, dark)]

    answer = progress_answer(report_of(0.5, 0.5, 0.9), series, "taken_at")
    alike = progress_answer(report_of(0.5, 0.9), series_of(dark, dark), "upload")
    alone = progress_answer(report_of(0.5, 0.9), series_of(None, dark), "upload")

    [reason] = answer.reasons
    assert (answer.verdict, reason.code) == ("improved", "light_differs")
    assert reason.message.startswith("the face in photo 3 is 2.4 times as bright as that in photo 1, ")
    assert alike.reasons == [] and [one.code for one in alone.reasons] == ["few_faces"]


def test_the_reason_of_few_faces_replaces_that_of_no_clear_change():
    report = replace(report_of(0.5, 0.5), thresholds=VerdictThresholds(improved=0.7, worsened=0.6))

    answer = progress_answer(report, series_of(None, face_of()), "upload")

    assert [reason.code for reason in answer.reasons] == ["few_faces"]


def test_the_verdict_is_improved_at_the_threshold():
    assert (
        progress_answer(report_of(0.1, 0.5), series_of(face_of(), face_of()), "upload").verdict == "improved"
    )
