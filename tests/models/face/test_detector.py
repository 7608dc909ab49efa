import numpy as np
import pytest
from PIL import Image

from models.face.alignment import FACE_LANDMARKS_52, FACE_SIDE, align, crop_coordinates
from models.face.detector import FaceLocation, MtcnnFaceDetector, crop_aligned
from models.face.mtcnn import FoundFaces
from samples.face import draw_face
from samples.series import draw_series


@pytest.fixture(scope="module")
def detector() -> MtcnnFaceDetector:
    return MtcnnFaceDetector(num_threads=1)


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return np.asarray(draw_face(num_lesions=10, redness=0.5, seed=1, size_px=320))


def test_a_drawn_face_is_detected_and_cropped_square(detector: MtcnnFaceDetector, drawn: np.ndarray):
    face = detector([drawn])[0]

    assert face is not None
    assert face.confidence > 0.9
    left, top, right, bottom = face.box
    assert 0.15 * 320 < left < 0.4 * 320 < 0.6 * 320 < right < 0.85 * 320
    assert 0 < top < 0.4 * 320 < 0.65 * 320 < bottom < 320
    assert (face.crop_HWC.shape, face.crop_HWC.dtype) == ((80, 80, 3), np.uint8)


def test_landmarks_lie_on_eyes_nose_and_mouth(detector: MtcnnFaceDetector, drawn: np.ndarray):
    found = detector.detect([drawn])[0]

    assert found is not None
    left_eye, right_eye, nose, left_corner, right_corner = np.array(found.landmarks) / 320
    assert left_eye[0] < nose[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_corner[1], right_corner[1])
    np.testing.assert_allclose([left_eye, right_eye], [[0.395, 0.44], [0.605, 0.44]], atol=0.04)


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_blank_photo_has_no_face(detector: MtcnnFaceDetector, grey: int):
    assert detector([np.full((200, 300, 3), grey, np.uint8)]) == [None]


def test_noise_and_tiny_photos_have_no_face(detector: MtcnnFaceDetector):
    random = np.random.default_rng(0)
    photos = [
        random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in ((120, 90), (1, 1), (39, 400))
    ]

    assert detector(photos) == [None, None, None]


def test_no_photos_give_no_faces(detector: MtcnnFaceDetector):
    assert detector([]) == []


def test_the_largest_of_two_faces_is_returned(detector: MtcnnFaceDetector):
    photo_HWC = np.full((360, 560, 3), 200, np.uint8)
    photo_HWC[:160, :160] = np.asarray(draw_face(num_lesions=0, redness=0, seed=2, size_px=160))
    photo_HWC[:, 200:] = np.asarray(draw_face(num_lesions=0, redness=0, seed=3, size_px=360))

    face = detector([photo_HWC])[0]

    assert face is not None
    assert face.box[0] > 200


def test_a_face_at_the_edge_is_padded_not_squeezed(detector: MtcnnFaceDetector, drawn: np.ndarray):
    cut_HWC = drawn[50:]

    whole, edge = detector([drawn])[0], detector([cut_HWC])[0]

    assert whole is not None and edge is not None
    assert edge.crop_HWC.shape == (80, 80, 3)
    difference = whole.crop_HWC[20:60, 25:60].astype(int) - edge.crop_HWC[20:60, 25:60]
    assert np.abs(difference).mean() < 12


def test_photos_of_different_sizes_return_faces_in_order(detector: MtcnnFaceDetector, drawn: np.ndarray):
    blank_HWC = np.full((100, 80, 3), 90, np.uint8)
    other_HWC = np.asarray(draw_face(num_lesions=0, redness=0, seed=4, size_px=240))

    together = detector([drawn, blank_HWC, other_HWC, drawn])
    alone = [detector([photo])[0] for photo in (drawn, blank_HWC, other_HWC, drawn)]

    assert together[1] is None and alone[1] is None
    for one, other in zip(together, alone, strict=True):
        if one is not None and other is not None:
            np.testing.assert_allclose(one.box, other.box, atol=0.01)
            np.testing.assert_allclose(one.crop_HWC.astype(int), other.crop_HWC, atol=1)
    assert sum(face is not None for face in together) == 3


@pytest.mark.parametrize("turn_deg", [-20, 15])
def test_a_rotated_face_is_cropped_upright_with_aligned_landmarks(
    detector: MtcnnFaceDetector, drawn: np.ndarray, turn_deg: int
):
    turned = np.asarray(Image.fromarray(drawn).rotate(turn_deg, Image.Resampling.BICUBIC, fillcolor=200))

    straight, upright = detector([drawn])[0], detector([turned])[0]

    assert straight is not None and upright is not None
    skin = (slice(15, 65), slice(20, 60))
    difference = straight.crop_HWC[skin].astype(int) - upright.crop_HWC[skin]
    assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_face_on_its_side_or_upside_down_is_located_and_cropped_upright(
    detector: MtcnnFaceDetector, quarter_turns: int
):
    upright_HWC = np.full((400, 560, 3), 205, np.uint8)
    upright_HWC[40:360, 200:520] = np.asarray(draw_face(num_lesions=10, redness=0.5, seed=1, size_px=320))

    upright = detector([upright_HWC])[0]
    lying = detector([np.rot90(upright_HWC, quarter_turns)])[0]

    assert upright is not None and lying is not None
    left, top, right, bottom = upright.box
    corners = {
        1: (top, 560 - right, bottom, 560 - left),
        2: (560 - right, 400 - bottom, 560 - left, 400 - top),
        3: (400 - bottom, left, 400 - top, right),
    }
    np.testing.assert_allclose(lying.box, corners[quarter_turns], atol=12)
    difference = upright.crop_HWC[15:65, 20:60].astype(int) - lying.crop_HWC[15:65, 20:60]
    assert np.abs(difference).mean() < 8


def test_only_photos_without_a_sure_face_are_searched_in_other_orientations(
    detector: MtcnnFaceDetector, monkeypatch: pytest.MonkeyPatch
):
    face_HWC = np.asarray(draw_face(num_lesions=0, redness=0, seed=3, size_px=320))
    searched: list[tuple[int, int]] = []
    run = detector._mtcnn  # pyright: ignore[reportPrivateUsage]

    def recorded(image_HWC: np.ndarray, min_face_px: int) -> FoundFaces:
        searched.append((int(image_HWC.mean()), min_face_px))
        return run(image_HWC, min_face_px)

    monkeypatch.setattr(detector, "_mtcnn", recorded)
    detector.detect([face_HWC, np.full_like(face_HWC, 90)])

    assert searched == [(int(face_HWC.mean()), 40), (90, 40), *[(90, 80)] * 3]


@pytest.mark.parametrize("seed", [25, 31])
def test_an_upright_face_is_not_replaced_by_wrong_landmarks_of_another_orientation(
    detector: MtcnnFaceDetector, seed: int
):
    photos = [np.asarray(photo) for photo in draw_series(improving=False, seed=seed)]

    faces = detector.detect(photos)

    units = [align(face.landmarks, face.box)[0] for face in faces if face is not None]
    assert len(units) == 5 and min(face.confidence for face in faces if face is not None) < 0.99
    assert np.abs(np.angle(units, deg=True)).max() < 10
    np.testing.assert_allclose(np.abs(units), np.median(np.abs(units)), rtol=0.1)


def location_of(unit: complex, centre: complex) -> FaceLocation:
    points_5 = centre + unit * (FACE_LANDMARKS_52 @ [1, 1j] - 0.4j)
    side = FACE_SIDE * abs(unit)
    return FaceLocation(
        box=(centre.real - side / 2, centre.imag - side / 2, centre.real + side / 2, centre.imag + side / 2),
        confidence=1.0,
        landmarks=tuple((point.real, point.imag) for point in points_5),
    )


@pytest.mark.parametrize("unit", [complex(20, 0), complex(17, 9), complex(-3, 55)])
def test_every_pixel_of_a_crop_has_its_position_on_the_face(unit: complex):
    y_HW, x_HW = np.mgrid[0:400, 0:500]
    ramp_HWC = np.stack([x_HW / 2, y_HW / 2, 0 * x_HW], axis=-1).astype(np.uint8)
    found = location_of(unit, 240 + 190j)

    crop_HWC = crop_aligned(ramp_HWC, found, size_px=40)

    assert align(found.landmarks, found.box)[0] == pytest.approx(unit)
    face_x_HW, face_y_HW = crop_coordinates(40)
    place_HW = 240 + 190j + unit * (face_x_HW + 1j * (face_y_HW - 0.4))
    np.testing.assert_allclose(crop_HWC[..., 0], (place_HW.real - 0.5) / 2, atol=2)
    np.testing.assert_allclose(crop_HWC[..., 1], (place_HW.imag - 0.5) / 2, atol=2)


def test_border_pixels_are_repeated_outside_the_photo():
    photo_HWC = np.zeros((100, 100, 3), np.uint8)
    photo_HWC[:, 50:] = 200

    crop_HWC = crop_aligned(photo_HWC, location_of(10 + 1j, 99 + 50j), size_px=20)

    assert crop_HWC.shape == (20, 20, 3)
    assert (crop_HWC[:, 5:] == 200).all()


def test_other_arrays_are_rejected(detector: MtcnnFaceDetector):
    with pytest.raises(ValueError, match=r"image 1 is float64 \(80, 80, 3\), need uint8"):
        detector([np.zeros((80, 80, 3), np.uint8), np.zeros((80, 80, 3))])


def test_ping_succeeds(detector: MtcnnFaceDetector):
    detector.ping()
