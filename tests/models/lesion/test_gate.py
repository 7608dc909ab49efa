from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from models.checkpoint import CheckpointError, read_meta, save_gate
from models.lesion.gate import (
    LesionGate,
    find_problems_after,
    find_problems_before,
    find_weaknesses,
    gate_of,
    sharpness,
)
from models.lesion.localizer import Box, Localization, Localizer
from models.lesion.preparation import PreparedLesion, prepare_lesion
from models.photo_quality import Problem
from samples.lesion import draw_lesion
from tests.models.lesion.drawn_photos import draw_spots, encoded
from tests.random_checkpoints import drawn_localizer, random_gate, random_meta, write_lesion

NAN = float("nan")
GATE = random_gate(min_scope=0.3, min_box_px=40.0, min_sharpness=0.4)
FOUND = Localization(box=Box(0.4, 0.4, 0.6, 0.6), skin=0.9, lesion=0.9, several=False)
PREPARED = PreparedLesion(
    image_HWC=np.zeros((64, 64, 3), np.uint8),
    width_px=500,
    height_px=400,
    localization=FOUND,
    crop_box=Box(100, 50, 400, 350),
    lesion_box=Box(200, 160, 300, 240),
    is_box_given=False,
    sharpness=0.7,
    problems=[],
)


def prepared(*, found: dict[str, object] | None = None, **changes: object) -> PreparedLesion:
    """The photo that passes the gate, with some changes."""
    localization = replace(FOUND, **found or {})  # pyright: ignore[reportArgumentType]
    settings = {"localization": localization, **changes}
    return replace(PREPARED, **settings)  # pyright: ignore[reportArgumentType]


def codes(problems: list[Problem]) -> list[str]:
    return [problem.code for problem in problems]


def test_a_lesion_in_focus_passes():
    assert find_problems_before(PREPARED, GATE) == []
    assert find_problems_after(PREPARED, GATE, 0.3) == []
    assert find_weaknesses(PREPARED, GATE) == []


@pytest.mark.parametrize(
    ("skin", "lesion", "expected"),
    [(0.1, 0.9, "not_skin"), (0.9, 0.1, "no_lesion"), (0.9, 0.9, "no_lesion"), (NAN, 0.9, "not_skin")],
)
def test_a_photo_without_a_box_is_not_usable(skin: float, lesion: float, expected: str):
    one = prepared(found={"box": None, "skin": skin, "lesion": lesion}, lesion_box=None)

    assert codes(find_problems_before(one, GATE)) == [expected]


def test_rules_on_pixels_come_first_and_alone():
    dark = Problem(code="too_dark", message="the photo is black")
    one = prepared(found={"box": None, "skin": 0.0}, lesion_box=None, problems=[dark])

    assert find_problems_before(one, GATE) == [dark]


@pytest.mark.parametrize(("right", "expected"), [(239, ["lesion_too_small"]), (240, [])])
def test_the_longer_side_of_the_lesion_counts_in_pixels_of_the_original(right: float, expected: list[str]):
    one = prepared(lesion_box=Box(200, 160, right, 170))

    problems = find_problems_before(one, GATE)

    assert codes(problems) == expected
    if expected:
        assert problems[0].message.startswith(
            "what looks most like a lesion has 39 pixels in the photo, at least 40 are needed; "
        )


@pytest.mark.parametrize(
    ("skin", "lesion", "expected"),
    [(0.1, 0.1, "not_skin"), (0.9, 0.1, "no_lesion"), (0.9, 0.9, "unfamiliar"), (0.9, NAN, "no_lesion")],
)
@pytest.mark.parametrize("scope", [0.299, 0.0, NAN])
def test_a_low_scope_is_explained_by_the_localizer(scope: float, skin: float, lesion: float, expected: str):
    one = prepared(found={"skin": skin, "lesion": lesion})

    assert codes(find_problems_after(one, GATE, scope)) == [expected]


def test_the_outputs_of_the_localizer_alone_do_not_reject_a_photo_in_scope():
    one = prepared(found={"skin": 0.0, "lesion": 0.0})

    assert find_problems_before(one, GATE) == [] and find_problems_after(one, GATE, 0.9) == []


def test_a_missing_scope_passes_only_a_gate_without_a_scope_threshold():
    assert codes(find_problems_after(PREPARED, GATE, None)) == ["unfamiliar"]
    assert find_problems_after(PREPARED, random_gate(), None) == []
    assert codes(find_problems_after(PREPARED, random_gate(), NAN)) == ["unfamiliar"]


def test_with_a_given_box_only_scope_and_size_reject():
    one = prepared(found={"box": None, "skin": 0.9, "lesion": 0.0, "several": True}, is_box_given=True)

    assert find_problems_before(one, GATE) == []
    assert find_problems_after(one, GATE, 0.9) == []
    assert codes(find_problems_after(one, GATE, 0.1)) == ["unfamiliar"]
    assert find_weaknesses(one, GATE) == []
    assert codes(find_problems_before(replace(one, lesion_box=Box(0, 0, 5, 5)), GATE)) == ["lesion_too_small"]
    assert codes(find_problems_after(replace(one, localization=replace(FOUND, skin=0.1)), GATE, 0.1)) == [
        "not_skin"
    ]


def test_weaker_reasons_come_with_a_verdict():
    assert codes(find_weaknesses(prepared(found={"several": True}), GATE)) == ["several_lesions"]
    assert codes(find_weaknesses(prepared(sharpness=0.39), GATE)) == ["blurred"]
    assert codes(find_weaknesses(prepared(sharpness=NAN), GATE)) == ["blurred"]
    both = find_weaknesses(prepared(found={"several": True}, sharpness=0.1), GATE)
    assert codes(both) == ["several_lesions", "blurred"]
    assert "its sharpness is 0.10, at least 0.40 is needed" in both[1].message


def test_every_message_says_what_to_do():
    nothing = prepared(found={"box": None}, lesion_box=None)
    small = prepared(lesion_box=Box(0, 0, 5, 5))
    problems = [
        *find_problems_before(nothing, GATE),
        *find_problems_before(small, GATE),
        *find_problems_after(prepared(found={"skin": 0.0}), GATE, 0.1),
        *find_problems_after(PREPARED, GATE, 0.1),
        *find_weaknesses(prepared(found={"several": True}, sharpness=0.1), GATE),
    ]

    assert len(set(codes(problems))) == 6
    for problem in problems:
        finding, _, advice = problem.message.rpartition("; ")
        assert finding and any(word in advice for word in ("take", "move")), problem.message


def test_drawn_photos_of_each_kind(tmp_path: Path):
    folder = write_lesion(tmp_path, gate=random_gate(min_box_px=20.0))
    gate = gate_of(read_meta(folder))
    assert gate is not None
    localizer = Localizer(folder, gate)
    lesion = Box(0.4, 0.4, 0.6, 0.6)
    two = [Box(0.1, 0.1, 0.3, 0.3), lesion]

    def found(photo: Image.Image) -> list[str]:
        one = prepare_lesion(encoded(photo), localizer=localizer, side_px=64)
        return codes(find_problems_before(one, gate) or find_weaknesses(one, gate))

    assert found(draw_lesion(seed=1)) == []
    assert found(draw_spots((300, 300), two)) == ["several_lesions"]
    assert found(draw_spots((300, 300), [])) == ["no_lesion"]
    grey = Image.linear_gradient("L").point([128 + value // 2 for value in range(256)])
    assert found(grey) == ["not_skin"]
    assert found(draw_spots((80, 80), [lesion])) == ["lesion_too_small"]
    assert found(Image.new("RGB", (300, 300))) == ["too_dark"]


def test_a_checkpoint_without_a_gate_has_none(lesion_folder: Path):
    assert gate_of(read_meta(lesion_folder)) is None
    assert '"gate"' not in (lesion_folder / "meta.json").read_text(), "older code reads it"


def test_a_gate_of_other_weights_is_rejected():
    meta = random_meta(
        "lesion", weights_sha256="1" * 64, gate=random_gate(network_sha256="2" * 64).model_dump()
    )

    with pytest.raises(
        CheckpointError, match=r"fitted to the network 222222222222…, the weights are 111.*; cal"
    ):
        gate_of(meta)


def test_a_gate_with_a_scope_threshold_needs_a_network_with_scope_head():
    gate = random_gate(network_sha256="1" * 64, min_scope=0.2).model_dump()
    architecture = {"num_diagnoses": 2, "input_px": 64}

    with pytest.raises(CheckpointError, match=r"has min_scope 0.2, but the network has no scope head"):
        gate_of(random_meta("lesion", weights_sha256="1" * 64, gate=gate))
    with_head = random_meta(
        "lesion", weights_sha256="1" * 64, gate=gate, architecture=architecture | {"scope_head": True}
    )
    assert gate_of(with_head) == LesionGate.model_validate(gate)


@pytest.mark.parametrize(
    "changes",
    [
        {"min_scope": 1.5},
        {"min_scope": NAN},
        {"min_distance": 3.0},
        {"min_box_px": "many"},
        {"min_box_px": float("inf")},
        {"min_skin": None},
    ],
)
def test_a_gate_with_unknown_or_wrong_fields_is_rejected(changes: dict[str, object]):
    gate = random_gate(network_sha256="1" * 64).model_dump() | changes

    with pytest.raises(CheckpointError, match=r"does not fit this code: .*; calibrate the gate again"):
        gate_of(random_meta("lesion", weights_sha256="1" * 64, gate=gate))


def test_saving_a_gate_fills_in_its_hashes(tmp_path: Path):
    folder = write_lesion(tmp_path)
    before = (folder / "weights.safetensors").read_bytes()

    meta = save_gate(folder, random_gate().model_dump(), drawn_localizer())

    gate = gate_of(read_meta(folder))
    assert gate is not None and gate.network_sha256 == meta.weights_sha256
    assert (folder / "weights.safetensors").read_bytes() == before
    assert Localizer(folder, gate)(np.zeros((64, 64, 3), np.uint8)).box is not None


def test_sharpness_falls_with_blur_and_not_with_contrast():
    lesion = draw_lesion(seed=3, size_px=160)

    blurred = [
        sharpness(np.asarray(lesion.filter(ImageFilter.GaussianBlur(sigma)))) for sigma in (0, 1, 2, 4)
    ]

    assert blurred == sorted(blurred, reverse=True) and blurred[0] > 2 * blurred[-1]
    faint = Image.blend(Image.new("RGB", lesion.size, (180, 150, 130)), lesion, 0.5)
    assert sharpness(np.asarray(faint)) == pytest.approx(blurred[0], abs=0.05)


def test_sharpness_is_that_of_the_less_sharp_direction():
    stripes_HWC = np.zeros((64, 64, 3), np.uint8)
    stripes_HWC[:, ::8] = 255

    assert sharpness(stripes_HWC) == 0, "no variation along the columns"
    assert sharpness(np.zeros((64, 64, 3), np.uint8)) == 0
