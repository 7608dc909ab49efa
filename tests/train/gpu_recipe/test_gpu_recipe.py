import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from models.lesion.localizer import Box, crop_square
from models.lesion.small_network import SmallLesionNet
from tests.train.gpu_recipe.drawn_lesions import draw_folder, packed
from train.gpu_recipe.augment import Degradation, degrade, draw_overlays, jpeg
from train.gpu_recipe.geometry import Draw, Window, central_square, read_mask, read_window, whole_frame
from train.gpu_recipe.lesion import LesionRecipe, LesionRun
from train.gpu_recipe.localizer import LocalizerRecipe, LocalizerRun
from train.gpu_recipe.measure import DIAGNOSES, boxes_of_maps, crop_window
from train.gpu_recipe.networks import LesionLocalizer
from train.gpu_recipe.optimize import Budget
from train.gpu_recipe.photos import PhotoSet
from train.gpu_recipe.split import ReservedPhotoError, draw_split, read_rows, read_split


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoSet:
    folder = tmp_path_factory.mktemp("drawn")
    return packed(draw_folder(folder / "photos"), folder / "packed")


def _rows(*photos: tuple[str, str, str]) -> list[dict[str, str]]:
    return [{"image": image, "label": label, "group": group, "source": "s"} for image, label, group in photos]


def test_groups_and_their_duplicates_stay_in_one_part() -> None:
    rows = _rows(*((f"{number}.jpg", "nv", f"g{number // 2}") for number in range(200)))
    part_of = draw_split(rows, [("0.jpg", "199.jpg")])
    assert all(part_of[f"{number}.jpg"] == part_of[f"{number + 1}.jpg"] for number in range(0, 200, 2))
    assert part_of["0.jpg"] == part_of["199.jpg"]
    assert [list(part_of.values()).count(part) for part in ("train", "val", "test")] == [160, 20, 20]


def test_reserved_photos_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "lesions.csv").write_text("image,label,group,source\nx/ISIC_0034600.jpg,nv,g,ham10000\n")
    with pytest.raises(ReservedPhotoError, match="ISIC_0034600"):
        read_rows(tmp_path)


def test_stored_split_holds_no_reserved_photo() -> None:
    path = Path("train/gpu_recipe/split.csv")
    part_of = read_split(path)
    numbers = [int(name[-11:-4]) for name in part_of if "/ISIC_" in name]
    assert numbers and not any(number <= 556 or 34524 <= number <= 36064 for number in numbers)
    with path.open(newline="") as file:
        assert {row["split"] for row in csv.DictReader(file)} == {"train", "val", "test"}


def test_whole_frame_and_mask_lie_over_each_other(photos: PhotoSet) -> None:
    place = photos.has_mask_N.nonzero()[:4, 0]
    window = whole_frame(photos.size_N2[place])
    image_BCHW, depth_BHW = read_window(photos, place, window, 64)
    mask_BHW = read_mask(photos, place, window, 64)
    is_dark = image_BCHW.mean(1) < 0.4
    assert ((mask_BHW > 0.5) == is_dark).float().mean() > 0.99
    assert depth_BHW.min() > 0


def test_beyond_the_edge_a_window_shows_the_mirror_image(photos: PhotoSet) -> None:
    place = torch.tensor([0])
    size = photos.size_N2[place]
    inside = read_window(photos, place, Window.upright(size * torch.tensor([0.25, 0.5]), size / 4), 32)[0]
    outside = read_window(photos, place, Window.upright(size * torch.tensor([-0.25, 0.5]), size / 4), 32)[0]
    assert torch.allclose(inside, outside.flip(2), atol=0.02)


def test_degradation_keeps_shape_and_range() -> None:
    draw = Draw(torch.device("cpu"), 1)
    image_BCHW = draw.uniform(0, 1, 12, 3, 48, 48)
    found = degrade(image_BCHW, Degradation(), draw, draw_overlays(4, 48, 1))
    assert found.shape == image_BCHW.shape
    assert found.isfinite().all() and found.min() >= -0.01 and found.max() <= 1.01


def test_jpeg_loses_less_at_higher_quality() -> None:
    draw = Draw(torch.device("cpu"), 1)
    image_BCHW = torch.nn.functional.avg_pool2d(draw.uniform(0, 1, 2, 3, 80, 80), 5, 1, 2)
    losses = [
        (jpeg(image_BCHW, torch.full((2,), quality)) - image_BCHW).abs().mean()
        for quality in (5.0, 40.0, 95.0)
    ]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.03


def test_boxes_are_in_pixels_of_the_photo() -> None:
    map_NHW = np.zeros((2, 64, 64), np.float32)
    map_NHW[0, 20:40, 24:36] = 0.9

    box_N4 = boxes_of_maps(map_NHW, np.array([[128, 640], [128, 640]]))

    assert box_N4.tolist() == [[60, 300, 40, 120], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(0.3, 0.4, 0.5, 0.7), (600, 450)),
        (Box(0.9, 0.0, 1.0, 0.1), (300, 400)),
        (Box(0.5, 0.5, 0.51, 0.51), (300, 300)),
        (None, (224, 298)),
    ],
)
def test_training_reads_the_crop_that_serving_reads(box: Box | None, size: tuple[int, int]) -> None:
    left, top, right, bottom = (0.0,) * 4 if box is None else box.scaled(*size)
    box_B4 = torch.tensor([[(top + bottom) / 2, (left + right) / 2, bottom - top, right - left]])

    window = crop_window(box_B4, torch.tensor([size[::-1]], dtype=torch.float32))

    served = crop_square(box, *size)
    corner, side = (window.centre_B2 - window.half_B2)[0], 2 * window.half_B2[0]
    assert corner.tolist() == pytest.approx([served.top, served.left], abs=1e-3)
    assert side.tolist() == pytest.approx([served.longer_side] * 2, abs=1e-3)


def test_crop_without_a_box_is_the_central_square() -> None:
    size = torch.tensor([[224.0, 298.0]])
    window = crop_window(torch.zeros(1, 4), size)
    assert torch.equal(window.half_B2, central_square(size).half_B2)
    near_edge = crop_window(torch.tensor([[5.0, 290.0, 60.0, 60.0]]), size)
    assert (near_edge.centre_B2 - near_edge.half_B2).min() >= 0
    assert (near_edge.centre_B2 + near_edge.half_B2 <= size).all()


def test_small_network_takes_the_names_of_its_package() -> None:
    net = SmallLesionNet(num_diagnoses=8, input_px=64)
    names = {"stem.0": "_conv_stem", "stem.1": "_bn0", "top.0": "_conv_head", "top.1": "_bn1"}
    layers = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
    weights = {}
    for name, value in net.state_dict().items():
        layer, _, array = name.rpartition(".")
        if "head" in layer:
            continue
        if layer.startswith("blocks."):
            _, block, _, place = layer.split(".")
            order = [0, 1, 3, 4, 6, 7] if block != "0" else [None, None, 0, 1, 3, 4]
            layer = f"_blocks.{block}.{layers[order.index(int(place))]}"
        else:
            layer = names[layer]
        weights[f"{layer}.{array}"] = value + 1
    net.load_imagenet(weights)
    assert torch.equal(net.state_dict()["blocks.3.layers.4.weight"], weights["_blocks.3._bn1.weight"])
    del weights["_conv_stem.weight"]
    with pytest.raises(ValueError, match=r"stem\.0\.weight"):
        net.load_imagenet(weights)


def test_localizer_trains_and_adopts_masks_for_phone_photos(photos: PhotoSet) -> None:
    run = LocalizerRun(photos, LocalizerRecipe(input_px=64, batch_size=24))
    made = run.compose()
    assert made.image_BCHW.shape[1:] == (3, 64, 64) and made.mask_BHW.shape[1:] == (32, 32)
    assert made.has_lesion_B.any() and not made.is_skin_B.all()
    net = run.train(Budget(seconds=60, max_steps=3))
    assert isinstance(net, LesionLocalizer) and not net.training
    assert 0 <= run.evaluate()["iou"] <= 1
    assert run.boxes().shape == (len(photos.names), 4)


def test_lesion_run_leaves_a_source_out_and_keeps_the_best_weights(photos: PhotoSet) -> None:
    recipe = LesionRecipe(stages=((48, 0.5), (64, 0.5)), batch_size=6, evaluate_at=(0.5,))
    boxes = torch.zeros(len(photos.names), 4)
    entries: list[dict[str, object]] = []
    run = LesionRun(
        SmallLesionNet(num_diagnoses=len(DIAGNOSES), input_px=64),
        photos,
        recipe,
        box_N4=boxes,
        found_box_N4=boxes,
        log=entries.append,
        without=frozenset({"pad_ufes_20"}),
        teacher=SmallLesionNet(num_diagnoses=len(DIAGNOSES), input_px=64).eval(),
    )
    phone = photos.names.index(next(name for name in photos.names if name.startswith("pad")))
    left_out = photos.source_N[run.places] == photos.source_N[phone]
    assert left_out.any() and run.weight_N[left_out].sum() == 0
    net = run.train(Budget(seconds=60, max_steps=4))
    assert not net.training
    assert run.best is not None
    assert [entry["steps"] for entry in entries if "side_px" in entry] == [2, 4]
