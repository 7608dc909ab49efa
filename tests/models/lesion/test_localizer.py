import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from scipy import ndimage

from models.checkpoint import LOCALIZER, CheckpointError
from models.lesion.localizer import (
    CROP_MARGIN,
    MIN_CROP_SHARE,
    Box,
    Localizer,
    crop_square,
    find_main_lesion,
)
from tests.models.lesion.drawn_photos import draw_spots
from tests.random_checkpoints import drawn_localizer, random_gate


def write_localizer(folder: Path, content: bytes) -> Localizer:
    (folder / LOCALIZER).write_bytes(content)
    return Localizer(folder, random_gate(localizer_sha256=hashlib.sha256(content).hexdigest()))


@pytest.fixture(scope="module")
def localizer(tmp_path_factory: pytest.TempPathFactory) -> Localizer:
    return write_localizer(tmp_path_factory.mktemp("localizer"), drawn_localizer())


@pytest.mark.parametrize("size", [(640, 480), (300, 900), (20, 16), (16, 16), (1000, 30)])
def test_the_box_surrounds_the_lesion_whatever_the_shape_of_the_photo(
    localizer: Localizer, size: tuple[int, int]
):
    drawn = Box(0.25, 0.5, 0.5, 0.75)

    found = localizer(np.asarray(draw_spots(size, [drawn])))

    assert found.box == pytest.approx(drawn, abs=0.05)
    assert found.skin > 0.9 and found.lesion > 0.9 and not found.several


def test_skin_without_a_lesion_has_no_box(localizer: Localizer):
    found = localizer(np.asarray(draw_spots((200, 200), [])))

    assert found.box is None and not found.several
    assert found.skin > 0.9 and found.lesion < 0.1


def test_grey_is_no_skin(localizer: Localizer):
    assert localizer(np.full((100, 100, 3), 160, np.uint8)).skin < 0.1


def test_the_central_one_of_two_equal_lesions_is_the_main_one(localizer: Localizer):
    central, other = Box(0.4, 0.4, 0.6, 0.6), Box(0.02, 0.02, 0.22, 0.22)

    found = localizer(np.asarray(draw_spots((400, 400), [other, central])))

    assert found.box == pytest.approx(central, abs=0.03) and found.several


def test_a_much_larger_lesion_outweighs_a_central_one(localizer: Localizer):
    large, central = Box(0.0, 0.0, 0.4, 0.4), Box(0.48, 0.48, 0.56, 0.56)

    found = localizer(np.asarray(draw_spots((400, 400), [large, central])))

    assert found.box == pytest.approx(large, abs=0.03)
    assert not found.several, "the other one has less than a quarter of its area"


def test_main_lesion_equals_scipy_on_random_maps():
    rng = np.random.default_rng(0)
    for _ in range(200):
        noise_HW = ndimage.gaussian_filter(rng.normal(0, 1, (64, 64)), rng.uniform(1, 6))
        map_HW = (noise_HW / noise_HW.std() * 0.2 + rng.uniform(0, 0.6)).clip(0, 1).astype(np.float32)

        found, expected = find_main_lesion(map_HW), main_lesion_by_scipy(map_HW)

        assert (found and (found.box, found.peak, found.several)) == expected


def main_lesion_by_scipy(map_HW: np.ndarray) -> tuple[tuple[float, ...], float, bool] | None:
    """The rule with the measurements of scipy, as the localizer was evaluated in training."""
    labels_HW, count = ndimage.label(map_HW > 0.5)  # pyright: ignore[reportGeneralTypeIssues]
    if not count:
        return None
    index = np.arange(1, count + 1)
    area = ndimage.sum_labels(np.ones_like(map_HW), labels_HW, index)
    centre = np.array(ndimage.center_of_mass(map_HW, labels_HW, index))
    best = int(np.argmax(area * (1.2 - np.hypot(*(centre / 64 - 0.5).T))))
    rows, columns = ndimage.find_objects((labels_HW == best + 1).astype(np.int8))[0]
    box = tuple(edge / 64 for edge in (columns.start, rows.start, columns.stop, rows.stop))
    others = np.delete(area, best)
    several = bool(len(others) and others.max() >= max(0.25 * area[best], 6))
    return box, float(map_HW[labels_HW == best + 1].max()), several


def test_a_map_of_nan_has_no_lesion():
    assert find_main_lesion(np.full((64, 64), np.nan, np.float32)) is None


shares = st.floats(0, 1)


@given(st.tuples(shares, shares, shares, shares), st.integers(1, 9000), st.integers(1, 9000))
def test_the_crop_is_a_square_inside_the_photo(edges: tuple[float, ...], width: int, height: int):
    (left, right), (top, bottom) = sorted(edges[:2]), sorted(edges[2:])
    box = Box(left, top, right, bottom)

    crop = crop_square(box, width, height)

    side, short = crop.right - crop.left, min(width, height)
    assert side == pytest.approx(crop.bottom - crop.top, rel=1e-9)
    assert crop.left >= 0 and crop.top >= 0
    assert crop.right <= width * (1 + 1e-12) and crop.bottom <= height * (1 + 1e-12)
    wanted = CROP_MARGIN * box.scaled(width, height).longer_side
    assert side == pytest.approx(min(short, max(MIN_CROP_SHARE * short, wanted)), rel=1e-9)


@given(st.tuples(shares, shares, shares, shares), st.integers(16, 5000), st.integers(16, 5000))
def test_the_crop_contains_a_lesion_that_fits_it(edges: tuple[float, ...], width: int, height: int):
    (left, right), (top, bottom) = sorted(edges[:2]), sorted(edges[2:])
    lesion = Box(left, top, right, bottom).scaled(width, height)

    crop = crop_square(Box(left, top, right, bottom), width, height)

    if lesion.longer_side <= crop.longer_side:
        assert crop.left <= lesion.left + 1e-6 and lesion.right <= crop.right + 1e-6
        assert crop.top <= lesion.top + 1e-6 and lesion.bottom <= crop.bottom + 1e-6


@pytest.mark.parametrize(
    ("size", "expected"),
    [((300, 200), (50, 0, 250, 200)), ((200, 301), (0, 50, 200, 250)), ((7, 7), (0, 0, 7, 7))],
)
def test_without_a_box_the_crop_is_the_central_square_of_whole_pixels(
    size: tuple[int, int], expected: tuple[int, ...]
):
    assert crop_square(None, *size) == expected


def test_a_localizer_with_another_hash_or_without_file_is_rejected(tmp_path: Path):
    gate = random_gate(localizer_sha256="0" * 64)
    with pytest.raises(CheckpointError, match=r"has no localizer.onnx; fetch the folder again"):
        Localizer(tmp_path, gate)

    (tmp_path / LOCALIZER).write_bytes(drawn_localizer())
    with pytest.raises(CheckpointError, match=r"localizer.onnx has sha256 .* fetch it again"):
        Localizer(tmp_path, gate)


def test_a_file_that_is_no_localizer_is_rejected(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"cannot be run as a localizer .* export it again"):
        write_localizer(tmp_path, b"no ONNX")

    renamed = onnx.load_from_string(drawn_localizer())
    renamed.graph.input[0].name = "photo"
    renamed.graph.node[0].input[0] = "photo"
    with pytest.raises(CheckpointError, match=r"cannot be run as a localizer .* export it again"):
        write_localizer(tmp_path, renamed.SerializeToString())


def test_a_localizer_that_returns_nan_is_rejected(tmp_path: Path):
    graph = onnx.load_from_string(drawn_localizer())
    graph.graph.node[-1].output[0] = "probability_BG"
    graph.graph.node.extend(
        [
            helper.make_node("Sub", ["dark", "dark"], ["zero"]),
            helper.make_node("Div", ["zero", "zero"], ["nan"]),
            helper.make_node("Add", ["probability_BG", "nan"], ["gate_BG"]),
        ]
    )
    with pytest.raises(CheckpointError, match="returns nan and nan, probabilities are needed"):
        write_localizer(tmp_path, graph.SerializeToString())


def test_one_thread_is_configured(localizer: Localizer):
    assert localizer._session.get_session_options().intra_op_num_threads == 1
