import numpy as np
import pytest
from fastapi.testclient import TestClient

from serve.progress.api import check_faces
from serve.progress.messages import FaceReport
from serve.runtime.errors import ApiError
from tests.serve.fakes import FakeModels, error_of, photo_without_face, picture, uploads

JPEG = {"content-type": "image/jpeg"}
FACE = FaceReport(box=(0.0, 0.0, 1.0, 1.0), confidence=1.0, crop_HWC=np.zeros((8, 8, 3), np.uint8))


def test_photos_without_times_keep_the_upload_order(client: TestClient):
    answer = client.post("/v1/progress", files=uploads(picture(), photo_without_face(), picture())).json()

    assert answer["order"] == "upload"
    assert answer["verdict"] == "improved"
    assert answer["improved_probability"] + answer["worsened_probability"] == pytest.approx(1)
    assert [photo["index"] for photo in answer["photos"]] == [0, 1, 2]
    assert [photo["face"] is None for photo in answer["photos"]] == [False, True, False]
    assert [photo["improved_probability_so_far"] for photo in answer["photos"]] == [None, None, 0.75]


def test_photos_are_sorted_by_taken_at(client: TestClient, models: FakeModels):
    photos = [picture(colour=(shade, 0, 0)) for shade in (30, 10, 20)]
    times = {"taken_at": ["2026-03-03", "2026-03-01T08:00:00", "2026-03-02T23:59"]}

    answer = client.post("/v1/progress", files=uploads(*photos), data=times).json()

    assert answer["order"] == "taken_at"
    assert [photo["index"] for photo in answer["photos"]] == [1, 2, 0]
    assert answer["photos"][0]["taken_at"] == "2026-03-01T08:00:00"
    shades = models.series[0].crop_THWC.mean((1, 2, 3))
    assert list(np.argsort(shades)) == [0, 1, 2]


def test_photos_are_sorted_by_exif_only_if_every_photo_has_it(client: TestClient):
    old, new = picture(taken="2025:01:01 10:00:00"), picture(taken="2025:06:01 10:00:00")

    all_dated = client.post("/v1/progress", files=uploads(new, old)).json()
    some_dated = client.post("/v1/progress", files=uploads(new, old, picture())).json()

    assert (all_dated["order"], [photo["index"] for photo in all_dated["photos"]]) == ("exif", [1, 0])
    assert (some_dated["order"], [photo["index"] for photo in some_dated["photos"]]) == ("upload", [0, 1, 2])
    assert some_dated["photos"][0]["taken_at"] == "2025-06-01T10:00:00"


def test_photos_with_and_without_times_give_a_reason(client: TestClient):
    old, new = picture(taken="2025/01/01 10:00:00"), picture(taken="2025-06-01T10:00:00")

    def reasons_of(*photos: bytes, **times: list[str]) -> list[dict[str, str]]:
        return client.post("/v1/progress", files=uploads(*photos), data=times).json()["reasons"]

    (missing,) = reasons_of(old, new, picture())
    (reversed_,) = reasons_of(new, picture(), old)

    assert (missing["code"], reversed_["code"]) == ("times_missing", "times_missing")
    assert missing["message"].startswith("photo 3 records no capture time")
    assert "photo 3 was taken before photo 1" in reversed_["message"]
    assert reasons_of(new, old) == reasons_of(picture(), picture()) == []
    assert reasons_of(old, picture(), taken_at=["2025-01-01", "2025-01-02"]) == []


def test_weak_photos_are_named_in_upload_order(client: TestClient):
    black, tiny = picture("PNG", colour=(1, 0, 0)), picture("PNG", size=(20, 20))
    times = {"taken_at": ["2025-01-03", "2025-01-01", "2025-01-02"]}

    answer = client.post("/v1/progress", files=uploads(picture(), black, tiny), data=times).json()
    predicted = client.post("/predict", json={"img": [[[[200, 10, 10]] * 40] * 40, [[[1, 0, 0]] * 40] * 40]})

    assert [reason["code"] for reason in answer["reasons"]] == ["too_dark", "too_small", "light_differs"]
    assert [reason["message"][:9] for reason in answer["reasons"][:2]] == ["photo 2: ", "photo 3: "]
    assert [reason["code"] for reason in predicted.json()["reasons"]] == ["too_dark", "light_differs"]
    assert predicted.json()["reasons"][0]["message"].startswith("photo 2: ")


@pytest.mark.parametrize(
    ("photos", "times", "code", "match"),
    [
        ([picture()], [], "too_few_photos", "1 photo was sent"),
        ([picture()] * 31, [], "too_many_photos", "30"),
        ([photo_without_face()] * 3, [], "no_face", "any of the 3 photos"),
        ([picture()] * 2, ["2026-01-01"], "bad_timestamp", "1 taken_at came with 2 photos"),
        ([picture()] * 2, ["2026-01-01", "monday"], "bad_timestamp", r"taken_at[1] is 'monday'"),
        ([picture()] * 2, ["2026-01-01", "2026-01-01T10:00Z"], "bad_timestamp", "time zone"),
        ([picture()] * 2, ["2026-01-01"] * 31, "invalid_request", "taken_at"),
    ],
)
def test_a_bad_series_is_rejected(
    client: TestClient, photos: list[bytes], times: list[str], code: str, match: str
):
    answer = client.post("/v1/progress", files=uploads(*photos), data={"taken_at": times})

    status, found, message = error_of(answer)
    assert (status, found) == (422, code)
    assert match in message


def test_an_error_names_the_bad_photo(client: TestClient):
    answer = client.post("/v1/progress", files=uploads(picture(), b"<html>", picture()))

    assert error_of(answer)[:2] == (415, "unsupported_type")
    assert error_of(answer)[2].startswith("photo 2: ")


def test_an_error_lists_all_bad_photos_in_the_language_of_the_request(client: TestClient):
    files = uploads(picture(), b"<html>", picture(), picture()[:200])

    english = client.post("/v1/progress", files=files).json()["error"]
    german = client.post("/v1/progress", files=files, headers={"accept-language": "de"}).json()["error"]

    assert english["code"] == "unsupported_type" and english["message"].startswith("photo 2: ")
    for error in (english, german):
        found = [(photo["index"], photo["code"]) for photo in error["photos"]]
        assert found == [(1, "unsupported_type"), (3, "unreadable_image")]
    assert english["message"] == f"photo 2: {english['photos'][0]['message']}"
    assert german["message"].startswith("Foto 2: Dateien dieses Typs")
    assert german["photos"][1]["message"].startswith("Diese Datei kann nicht")


def test_other_errors_list_no_photos(client: TestClient):
    error = client.post("/v1/progress", files=uploads(picture())).json()["error"]

    assert set(error) == {"code", "message"}


def test_a_raw_photo_is_rejected(client: TestClient):
    assert error_of(client.post("/v1/progress", content=picture(), headers=JPEG))[1] == "unsupported_type"


def test_a_skincredible_request_is_answered(client: TestClient):
    red = [[[200, 10, 10]] * 30] * 20
    mixed = [[[200.4, 10.0, 10.0]] * 15] * 40

    answer = client.post("/predict", json={"img": [red, mixed]})

    assert answer.status_code == 200
    assert answer.json()["prob_class"] == 1
    assert answer.json()["positive_prob"] == pytest.approx(2 / 3)
    assert answer.json()["negative_prob"] + answer.json()["positive_prob"] == pytest.approx(1)


def test_frames_without_enough_faces_are_rejected(client: TestClient):
    green, red = [[[0, 200, 0]] * 4] * 4, [[[200, 0, 0]] * 4] * 4

    assert error_of(client.post("/predict", json={"img": [green, green]}))[1] == "no_face"
    assert error_of(client.post("/predict", json={"img": [green, red]}))[1] == "too_few_photos"
    assert error_of(client.post("/predict", json={"img": [red]}))[1] == "too_few_photos"
    assert error_of(client.post("/predict", json={"img": [red] * 31}))[1] == "too_many_photos"


def test_another_type_and_a_body_over_the_limit_are_rejected(client: TestClient):
    wrong = client.post("/predict", content=picture(), headers=JPEG)
    large = client.post("/predict", content=bytes(50_000_001), headers={"content-type": "application/json"})

    assert error_of(wrong)[:2] == (415, "unsupported_type")
    assert error_of(large)[:2] == (413, "too_large")


def test_a_series_without_a_face_is_rejected_and_one_face_is_not():
    check_faces([None, FACE, None])

    with pytest.raises(ApiError) as error:
        check_faces([None, None])

    assert error.value.code == "no_face"


def test_one_face_is_inconclusive(client: TestClient):
    answer = client.post("/v1/progress", files=uploads(photo_without_face(), picture())).json()

    assert (answer["verdict"], answer["improved_probability"]) == ("inconclusive", 0.5)
    (reason,) = answer["reasons"]
    assert reason["code"] == "few_faces" and "of 2 photos only one shows a face" in reason["message"]
    assert [photo["improved_probability_so_far"] for photo in answer["photos"]] == [None, None]


def test_photos_of_two_people_are_inconclusive_and_named_in_upload_order(
    client: TestClient, models: FakeModels
):
    models.descriptor_of_red = {100: np.eye(4)[0], 200: np.eye(4)[1]}
    ann, ben = picture(colour=(100, 0, 0)), picture(colour=(200, 0, 0))
    times = {"taken_at": ["2025-01-03", "2025-01-04", "2025-01-01", "2025-01-02"]}

    answer = client.post(
        "/v1/progress", files=uploads(ann, ben, ann, photo_without_face()), data=times
    ).json()
    same = client.post("/v1/progress", files=uploads(ann, ann)).json()

    assert (answer["verdict"], answer["improved_probability"]) == ("inconclusive", 0.5)
    assert answer["reasons"][0]["code"] == "different_people"
    assert answer["reasons"][0]["message"].startswith(
        "photo 2 seems to show another person than photos 1 and 3"
    )
    assert [(photo["index"], photo["same_person"]) for photo in answer["photos"]] == [
        (2, True),
        (3, None),
        (0, True),
        (1, False),
    ]
    assert "descriptor" not in str(answer)
    assert same["verdict"] == "improved" and [p["same_person"] for p in same["photos"]] == [True, True]


def test_a_skincredible_answer_names_different_people_and_keeps_two_classes(
    client: TestClient, models: FakeModels
):
    models.descriptor_of_red = {200: np.eye(4)[0], 100: np.eye(4)[1]}

    answer = client.post("/predict", json={"img": [[[[200, 0, 0]] * 40] * 40, [[[100, 0, 0]] * 40] * 40]})

    assert answer.json()["prob_class"] in (0, 1)
    assert [reason["code"] for reason in answer.json()["reasons"]] == ["different_people"]
