import pytest
import torch

from models.transforms import MEAN, STD, Augmentation, augment, normalize


def test_normalize_moves_the_colours_and_scales_them():
    image = torch.full((2, 4, 5, 3), 255, dtype=torch.uint8)

    normal = normalize(image)

    assert normal.shape == (2, 3, 4, 5)
    assert normal[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip(MEAN, STD, strict=True)], abs=1e-5
    )


def test_augment_returns_pixels_of_the_asked_size():
    image = torch.randint(0, 256, (3, 50, 50, 3), dtype=torch.uint8)

    cut = augment(image, 32, Augmentation(), torch.Generator().manual_seed(1))

    assert cut.shape == (3, 32, 32, 3) and cut.dtype == torch.uint8


def test_augment_with_the_same_generator_state_is_the_same():
    image = torch.randint(0, 256, (3, 50, 50, 3), dtype=torch.uint8)

    first, second = (augment(image, 32, Augmentation(), torch.Generator().manual_seed(7)) for _ in range(2))

    assert torch.equal(first, second)


def test_augment_treats_every_photo_of_a_batch_in_its_own_way():
    image = torch.randint(0, 256, (1, 50, 50, 3), dtype=torch.uint8).expand(2, -1, -1, -1)

    cut = augment(image, 32, Augmentation(), torch.Generator().manual_seed(7))

    assert not torch.equal(cut[0], cut[1])


def test_augment_neither_brightens_nor_darkens_on_average():
    grey = torch.full((256, 40, 40, 3), 120, dtype=torch.uint8)

    cut = augment(grey, 32, Augmentation(), torch.Generator().manual_seed(7))

    assert cut.float().mean().item() == pytest.approx(120, abs=4)


def test_a_scale_of_zero_is_refused():
    with pytest.raises(ValueError, match="min_scale is 0"):
        Augmentation(min_scale=0)
