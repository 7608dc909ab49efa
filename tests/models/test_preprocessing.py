import pytest
import torch

from models.normalization import MEAN, STD
from models.preprocessing import Augmentation, augment, normalize, sample_augmentation


def test_normalize_moves_the_colours_and_scales_them():
    image = torch.full((2, 4, 5, 3), 255, dtype=torch.uint8)

    normal = normalize(image)

    assert normal.shape == (2, 3, 4, 5)
    assert normal[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip(MEAN, STD, strict=True)], abs=1e-5
    )


def augmented(image_BHWC: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    numbers_BN = sample_augmentation(len(image_BHWC), Augmentation(), generator)
    return augment(image_BHWC, 32, Augmentation(), numbers_BN)


def test_augment_returns_pixels_of_the_asked_size():
    image = torch.randint(0, 256, (3, 50, 50, 3), dtype=torch.uint8)

    output = augmented(image, seed=1)

    assert output.shape == (3, 32, 32, 3) and output.dtype == torch.uint8


def test_augment_with_the_same_generator_state_is_the_same():
    image = torch.randint(0, 256, (3, 50, 50, 3), dtype=torch.uint8)

    first, second = (augmented(image, seed=7) for _ in range(2))

    assert torch.equal(first, second)


def test_augment_treats_every_photo_of_a_batch_in_its_own_way():
    image = torch.randint(0, 256, (1, 50, 50, 3), dtype=torch.uint8).expand(2, -1, -1, -1)

    output = augmented(image, seed=7)

    assert not torch.equal(output[0], output[1])


def test_augment_neither_brightens_nor_darkens_on_average():
    grey = torch.full((256, 40, 40, 3), 120, dtype=torch.uint8)

    output = augmented(grey, seed=7)

    assert output.float().mean().item() == pytest.approx(120, abs=4)


def test_a_seed_draws_the_numbers_that_it_always_drew():
    """A run resumed with newer code must see the photos that it would have seen."""
    generator = torch.Generator().manual_seed(7)

    numbers_BN = sample_augmentation(3, Augmentation(), generator)

    again = torch.Generator().manual_seed(7)
    angle, scale, shift_x, _ = torch.rand(4, 3, generator=again)
    mirror = 1 - 2 * torch.randint(2, (3,), generator=again)
    scale = 0.75 + 0.25 * scale
    sharpness = 0.5 * (2 * torch.rand(3, generator=again) - 1)
    spreads = torch.tensor([0.2] * 3 + [0.05] * 9 + [0.2] * 6)
    colours = 1 + spreads * (2 * torch.rand(18, generator=again) - 1)
    assert torch.equal(generator.get_state(), again.get_state())
    assert torch.equal(numbers_BN[:, 0], scale * (angle * 2 * torch.pi).cos() * mirror)
    assert torch.equal(numbers_BN[:, 2], (2 * shift_x - 1) * (1 - scale))
    assert torch.equal(numbers_BN[:, 6], sharpness)
    expected = [colours[:3], *colours[3:12].view(3, 3).T, colours[12:15], colours[15:]]
    assert torch.equal(numbers_BN[:, 7:], torch.stack(expected, dim=1))


def test_a_scale_of_zero_is_rejected():
    with pytest.raises(ValueError, match="min_scale is 0"):
        Augmentation(min_scale=0)
