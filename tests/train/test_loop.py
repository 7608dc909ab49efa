import io
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from train.loop import (
    CHECK_EVERY,
    Batch,
    DivergedError,
    RunMismatchError,
    TrainingState,
    evaluate,
    new_ema,
    train_epoch,
)


def new_state(**settings: object) -> TrainingState:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = AdamW(net.parameters(), lr=0.01)
    schedule = OneCycleLR(optimizer, max_lr=0.01, total_steps=40)
    return TrainingState(
        net=net,
        optimizer=optimizer,
        schedule=schedule,
        ema=new_ema(net, 0.9),
        settings={"seed": 3, **settings},
    )


def batches_of(seed: int, sizes: tuple[int, ...] = (6,) * 5) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    points = [torch.randn(size, 4, generator=generator) for size in sizes]
    return [{"point": point, "target": point.sum(1, keepdim=True)} for point in points]


def squared_error(net: nn.Module, batch: Batch) -> torch.Tensor:
    return ((net(batch["point"]) - batch["target"]) ** 2)[:, 0]


def run(state: TrainingState, num_epochs: int) -> None:
    for _ in range(num_epochs):
        torch.manual_seed(state.epoch)
        losses = train_epoch(state, batches_of(state.epoch), squared_error, max_grad_norm=1.0)
        state.end_epoch({"train_loss": losses.mean, "val_loss": losses.mean})


def stored(state: TrainingState) -> dict[str, object]:
    """Return a state after it was written and read."""
    buffer = io.BytesIO()
    torch.save(state.state_dict(), buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def test_training_lowers_the_loss():
    state = new_state()
    held_out = batches_of(9)
    before = evaluate(state.net, held_out, squared_error)

    run(state, 8)

    assert evaluate(state.net, held_out, squared_error) < 0.8 * before


def test_resuming_equals_not_stopping():
    whole = new_state()
    run(whole, 4)
    stopped = new_state()
    run(stopped, 2)

    resumed = new_state()
    torch.rand(5)  # another random state than the one before the stop
    resumed.load_state_dict(stored(stopped))
    run(resumed, 2)

    assert resumed.history == whole.history
    for part in ("net", "ema"):
        for name, tensor in getattr(whole, part).state_dict().items():
            assert torch.equal(getattr(resumed, part).state_dict()[name], tensor), name


def test_a_run_with_other_settings_does_not_resume():
    with pytest.raises(
        RunMismatchError, match=r"differs in learning_rate, seed; .* another folder with --run"
    ):
        new_state(seed=4, learning_rate=0.1).load_state_dict(stored(new_state()))


def test_the_mean_loss_is_over_examples_not_batches():
    net = nn.Linear(4, 1)
    batches = batches_of(0, sizes=(9, 1))
    losses = torch.cat([squared_error(net, batch) for batch in batches])

    assert evaluate(net, batches, squared_error) == pytest.approx(losses.mean().item(), rel=1e-5)


def test_the_loss_of_every_step_is_returned():
    losses = train_epoch(new_state(), batches_of(0, sizes=(6, 3)), squared_error, max_grad_norm=1.0)

    assert len(losses.steps) == 2
    assert losses.mean == pytest.approx((6 * losses.steps[0] + 3 * losses.steps[1]) / 9)


def test_train_and_evaluate_set_their_own_mode():
    state = new_state()
    state.net.eval()
    train_epoch(state, batches_of(0), squared_error, max_grad_norm=1.0)
    assert state.net.training

    evaluate(state.net, batches_of(0), squared_error)

    assert not state.net.training


def test_frozen_batch_norm_keeps_its_statistics():
    state = new_state()
    before = state.net.get_buffer("1.running_mean").clone()

    train_epoch(state, batches_of(0), squared_error, max_grad_norm=1.0, freeze_batch_norm=True)

    assert torch.equal(state.net.get_buffer("1.running_mean"), before)


def test_a_plateau_lowers_the_rate_when_validation_stalls():
    state = new_state()
    state.schedule = ReduceLROnPlateau(state.optimizer, factor=0.1, patience=1)

    for val_loss in (1.0, 1.0, 1.0, 1.0):
        train_epoch(state, batches_of(0), squared_error, max_grad_norm=1.0)
        state.end_epoch({"val_loss": val_loss})

    assert state.optimizer.param_groups[0]["lr"] < 0.002


def test_the_average_of_a_short_run_differs_from_the_initial_weights():
    state = new_state()
    state.ema = new_ema(state.net, 0.999)
    before = state.net.get_parameter("0.weight").detach().clone()

    run(state, 4)

    now = state.net.get_parameter("0.weight")
    mean = state.ema.module.get_parameter("0.weight")
    assert (mean - now).norm() < 0.5 * (now - before).norm()


def test_the_moving_average_equals_that_of_pytorch_and_loads_its_state():
    def update(mean: Any, now: Any, num_averaged: Any) -> None:
        steps = int(num_averaged)
        get_ema_multi_avg_fn(min(0.9, (1 + steps) / (10 + steps)))(mean, now, num_averaged)

    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    reference = AveragedModel(net, multi_avg_fn=update, use_buffers=True)
    mean = new_ema(net, 0.9)
    for _ in range(3):
        for _ in range(4):
            net(torch.randn(6, 4))
            nn.init.normal_(net.get_parameter("0.weight"))
            mean.update_parameters(net)
            reference.update_parameters(net)
        assert mean.state_dict().keys() == reference.state_dict().keys()
        for name, tensor in reference.state_dict().items():
            assert torch.equal(mean.state_dict()[name], tensor), name
        mean = new_ema(net, 0.9)
        mean.load_state_dict(reference.state_dict())


@pytest.mark.parametrize("bad_step", [0, 3, CHECK_EVERY + 2])
def test_a_gradient_that_is_not_finite_stops_the_run(bad_step: int):
    state = new_state()
    batches = batches_of(0, sizes=(6,) * (CHECK_EVERY + 5))
    batches[bad_step]["point"] = torch.full((6, 4), torch.nan)

    with pytest.raises(DivergedError, match="gradient is not finite in epoch 1"):
        train_epoch(state, batches, squared_error, max_grad_norm=1.0)
