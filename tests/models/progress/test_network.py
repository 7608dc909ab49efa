import pytest
import torch
from torch import Tensor

from models.face.alignment import crop_coordinates
from models.preprocessing import normalize
from models.progress.network import (
    MaskedBatchNorm,
    PackedIndex,
    ProgressNet,
)
from models.progress.skin_constants import NUM_CELLS, skin_mask
from models.progress.skin_features import skin_features


@pytest.fixture(scope="module")
def net() -> ProgressNet:
    """A small network with batch-norm statistics, as after training."""
    torch.manual_seed(0)
    net = ProgressNet(input_px=40, hidden=8)
    net.train()
    for _ in range(3):
        net(torch.randn(4, 3, 3, 40, 40), torch.ones(4, 3, dtype=torch.bool))
    return net.eval()


def photos(num_series: int, num_photos: int, seed: int = 1) -> Tensor:
    return torch.randn(num_series, num_photos, 3, 40, 40, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_padding_at_the_end_changes_nothing(net: ProgressNet):
    photos_BTCHW = photos(2, 4)
    padded_BTCHW = torch.cat([photos_BTCHW, torch.full((2, 5, 3, 40, 40), torch.nan)], dim=1)
    present_BT = torch.arange(9).expand(2, 9) < 4

    plain = net(photos_BTCHW, torch.ones(2, 4, dtype=torch.bool))
    padded = net(padded_BTCHW, present_BT)

    torch.testing.assert_close(padded[:, :4], plain, atol=1e-5, rtol=0)
    assert (padded[:, 4:] == padded[:, 3:4]).all()


@torch.inference_mode()
def test_absent_photos_change_nothing_at_any_position(net: ProgressNet):
    present_T = torch.tensor([False, True, False, False, True, True, False])
    photos_BTCHW = photos(1, 7)
    other_BTCHW = torch.where(present_T[None, :, None, None, None], photos_BTCHW, 1e6)

    with_gaps = net(other_BTCHW, present_T[None])
    without = net(photos_BTCHW[:, present_T], torch.ones(1, 3, dtype=torch.bool))

    torch.testing.assert_close(with_gaps[:, present_T], without, atol=1e-5, rtol=0)
    assert (with_gaps[:, 0] == 0).all()
    assert (with_gaps[:, 2:4] == with_gaps[:, 1:2]).all()
    assert (with_gaps[:, 6] == with_gaps[:, 5]).all()


@torch.inference_mode()
def test_a_series_without_a_face_has_zero_logits(net: ProgressNet):
    logits_BTC = net(photos(1, 3), torch.zeros(1, 3, dtype=torch.bool))

    assert (logits_BTC == 0).all()


@torch.inference_mode()
def test_batch_of_one_equals_batch_of_many(net: ProgressNet):
    photos_BTCHW = photos(5, 6)
    present_BT = torch.rand(5, 6, generator=torch.Generator().manual_seed(2)) < 0.7

    many = net(photos_BTCHW, present_BT)
    ones = torch.cat([net(photos_BTCHW[b : b + 1], present_BT[b : b + 1]) for b in range(5)])

    torch.testing.assert_close(many, ones, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("num_photos", range(2, 31))
def test_any_length_from_2_to_30_has_logits_after_every_photo(net: ProgressNet, num_photos: int):
    logits_BTC = net(photos(1, num_photos), torch.ones(1, num_photos, dtype=torch.bool))

    assert logits_BTC.shape == (1, num_photos, 2)
    assert logits_BTC.isfinite().all()


@torch.inference_mode()
def test_logits_do_not_depend_on_later_photos(net: ProgressNet):
    photos_BTCHW, present_BT = photos(1, 6), torch.ones(1, 6, dtype=torch.bool)

    whole, first = net(photos_BTCHW, present_BT), net(photos_BTCHW[:, :3], present_BT[:, :3])

    torch.testing.assert_close(whole[:, :3], first, atol=1e-5, rtol=0)


def test_batch_norm_statistics_exclude_absent_photos():
    torch.manual_seed(0)
    masked, plain = MaskedBatchNorm(4).train(), torch.nn.BatchNorm2d(4).train()
    state_BTCHW = torch.randn(3, 5, 4, 6, 6)
    present_BT = torch.rand(3, 5) < 0.6
    present_N = present_BT.flatten().nonzero()[:, 0]

    output = masked(torch.where(present_BT[:, :, None, None, None], state_BTCHW, 1e6), present_N)

    torch.testing.assert_close(output[present_BT], plain(state_BTCHW[present_BT]))
    torch.testing.assert_close(masked.norm.running_mean, plain.running_mean)
    torch.testing.assert_close(masked.norm.running_var, plain.running_var)


def test_training_step_is_the_same_with_padding():
    gradients: list[Tensor] = []
    for padding in (0, 3):
        torch.manual_seed(0)
        net = ProgressNet(input_px=40, dropout=0.0).train()
        photos_BTCHW = torch.cat([photos(3, 4), torch.full((3, padding, 3, 40, 40), torch.nan)], dim=1)
        present_BT = torch.arange(4 + padding).expand(3, -1) < 4
        net(photos_BTCHW, present_BT)[:, -1, 1].sum().backward()
        gradients.append(
            torch.cat(
                [parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None]
            )
        )

    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)


def test_an_input_size_that_cannot_be_pooled_is_rejected():
    with pytest.raises(ValueError, match="input_px is 70, must be a multiple of 20"):
        ProgressNet(input_px=70)


def painted(*, background: int = 90, light: float = 1.0, lesion: bool = False) -> Tensor:
    """One normalised crop of 40 px: skin, a background around it, a red lesion on the left cheek."""
    x_HW, y_HW = crop_coordinates(40)
    photo_HWC = torch.full((40, 40, 3), float(background))
    photo_HWC[torch.from_numpy((x_HW / 1.05) ** 2 + ((y_HW - 0.45) / 1.35) ** 2 < 1)] = torch.tensor(
        [200.0, 150.0, 130.0]
    )
    if lesion:
        photo_HWC[torch.from_numpy((x_HW + 0.5) ** 2 + (y_HW - 0.7) ** 2 < 0.02)] = torch.tensor(
            [190.0, 70.0, 60.0]
        )
    return normalize((light * photo_HWC).to(torch.uint8)[None])


def test_skin_features_show_a_lesion_and_not_the_brightness():
    plain, dim, with_lesion = (
        skin_features(painted()),
        skin_features(painted(light=0.8)),
        skin_features(painted(lesion=True)),
    )

    torch.testing.assert_close(plain[:, 0], dim[:, 0], atol=0.15, rtol=0)
    change_HW = (with_lesion - plain)[0].abs().sum(0)
    y, x = divmod(int(change_HW.argmax()), NUM_CELLS)
    assert abs(x - 6) <= 1 and abs(y - 11.5) <= 1.5


def test_the_background_changes_little():
    cells, other = skin_features(painted(background=20)), skin_features(painted(background=240))

    inside_HW = torch.nn.functional.avg_pool2d(torch.from_numpy(skin_mask(40))[None], 2)[0] == 1
    torch.testing.assert_close(cells[..., inside_HW], other[..., inside_HW], atol=0.5, rtol=0)


@torch.inference_mode()
def test_the_packed_batch_gives_the_logits_of_the_padded_batch(net: ProgressNet):
    generator = torch.Generator().manual_seed(3)
    present_BT = torch.rand(6, 30, generator=generator) < torch.tensor([1, 0.8, 0, 0.3, 0.05, 0.5])[:, None]
    photos_BTCHW = photos(6, 30)

    padded = net(photos_BTCHW, present_BT)
    packed = net.packed(photos_BTCHW[present_BT], PackedIndex.of(present_BT))

    torch.testing.assert_close(packed, padded, atol=1e-4, rtol=0)
    assert (packed[2] == 0).all()


def test_a_batch_without_present_photos_has_zero_logits(net: ProgressNet):
    packed = net.packed(torch.zeros(0, 3, 40, 40), PackedIndex.of(torch.zeros(2, 3, dtype=torch.bool)))

    assert packed.shape == (2, 3, 2) and (packed == 0).all()


def test_only_present_photos_are_computed(net: ProgressNet):
    seen: list[int] = []
    watch = net.second.state_gates.register_forward_pre_hook(
        lambda _part, inputs: seen.append(len(inputs[0]))
    )
    present_BT = torch.tensor([[True, False, True, True, False], [False, True, False, False, False]])

    net.packed(photos(2, 5)[present_BT], PackedIndex.of(present_BT))
    watch.remove()

    assert seen == [1, 1]  # the second and third photo of the first series; the other series has one
