from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from train.loop import Batch, DivergedError, OtherRunError, TrainingState, evaluate, new_ema, train_epoch


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
        generator=torch.Generator().manual_seed(3),
        settings={"seed": 3, **settings},
    )


def batches_of(generator: torch.Generator, sizes: tuple[int, ...] = (6,) * 5) -> list[Batch]:
    points = [torch.randn(size, 4, generator=generator) for size in sizes]
    return [{"point": point, "target": point.sum(1, keepdim=True)} for point in points]


def squared_error(net: nn.Module, batch: Batch) -> torch.Tensor:
    return ((net(batch["point"]) - batch["target"]) ** 2)[:, 0]


def run(state: TrainingState, num_epochs: int) -> None:
    for _ in range(num_epochs):
        train_epoch(state, batches_of(state.generator), squared_error, max_grad_norm=1.0)


def test_training_lowers_the_loss():
    state = new_state()
    held_out = batches_of(torch.Generator().manual_seed(9))
    before = evaluate(state.net, held_out, squared_error)

    run(state, 8)

    assert evaluate(state.net, held_out, squared_error) < 0.8 * before


def test_resuming_equals_not_stopping(tmp_path: Path):
    whole = new_state()
    run(whole, 4)
    stopped = new_state()
    run(stopped, 2)
    stopped.save(tmp_path / "state.pt")

    resumed = new_state()
    torch.rand(5)  # another random state than the one that was saved
    assert resumed.resume_if_any(tmp_path / "state.pt")
    run(resumed, 2)

    assert resumed.epoch == whole.epoch == 4
    for part in ("net", "ema"):
        for name, tensor in getattr(whole, part).state_dict().items():
            assert torch.equal(getattr(resumed, part).state_dict()[name], tensor), name


def test_there_is_nothing_to_resume_at_first(tmp_path: Path):
    assert not new_state().resume_if_any(tmp_path / "state.pt")


def test_a_run_with_other_settings_does_not_resume(tmp_path: Path):
    new_state().save(tmp_path / "state.pt")

    with pytest.raises(OtherRunError, match=r"differs in learning_rate, seed; .* another folder with --run"):
        new_state(seed=4, learning_rate=0.1).resume_if_any(tmp_path / "state.pt")


def test_a_mean_loss_counts_examples_not_batches():
    net = nn.Linear(4, 1)
    batches = batches_of(torch.Generator().manual_seed(0), sizes=(9, 1))
    losses = torch.cat([squared_error(net, batch) for batch in batches])

    assert evaluate(net, batches, squared_error) == pytest.approx(losses.mean().item(), rel=1e-5)


def test_train_and_evaluate_set_their_own_mode():
    state = new_state()
    state.net.eval()
    train_epoch(state, batches_of(state.generator), squared_error, max_grad_norm=1.0)
    assert state.net.training

    evaluate(state.net, batches_of(state.generator), squared_error)

    assert not state.net.training


def test_a_gradient_that_is_no_number_stops_the_run():
    state = new_state()
    batch = {"point": torch.full((6, 4), torch.nan), "target": torch.zeros(6, 1)}

    with pytest.raises(DivergedError, match="the gradient is nan in epoch 1"):
        train_epoch(state, [batch], squared_error, max_grad_norm=1.0)
