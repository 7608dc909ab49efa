"""Checklist items on training: step time, synchronizations, resuming on a CPU, several processes.

Each item yields results as soon as it has them, and raises ``CheckError`` if one is wrong.
"""

import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from bench.child_processes import location, receive, start
from bench.gpu.setup import CheckError, Result, Setup, check, relative_error
from models.lesion.network import LesionNet

NUM_DIAGNOSES = 3
"""Of the photos that ``train.lesion.drawn_lesions`` draws."""
MAX_STEP_ERROR = 0.02
"""Relative error of the change of the weights in a step. Convolutions compute in TF32 on a GPU."""


def training(setup: Setup) -> Iterator[Result]:
    """Train on random tensors and on drawn photos; count the synchronizations by location."""
    from train.loop import train_epoch

    size = setup.train_batch
    run = _new_run(setup, setup.device, setup.input_px, setup.train_steps, bf16=setup.on_gpu)
    image_BCHW = torch.rand(size, 3, setup.input_px, setup.input_px)
    random_batch = {
        "image": image_BCHW.contiguous(memory_format=torch.channels_last).to(setup.device),
        "risk": torch.eye(2)[[0] * size].to(setup.device),
        "diagnosis": torch.eye(NUM_DIAGNOSES)[[0] * size].to(setup.device),
    }

    def step_s(batches: Iterable[dict[str, Tensor]]) -> float:
        started = time.perf_counter()
        train_epoch(run.state, batches, run.task_setup.train_loss, max_grad_norm=1.0, bf16=setup.on_gpu)
        return (time.perf_counter() - started) / setup.train_steps

    random_batches = [random_batch] * setup.train_steps
    step_s(random_batches)  # cuDNN selects its kernels
    yield {"batch_size": size, "bf16": setup.on_gpu, "random_step_s": step_s(random_batches)}
    yield {"photo_step_s": [step_s(run.task_setup.train_batches) for _ in range(2)]}  # two epochs
    yield {"batches_without_network": _seconds_without_network(run.task_setup.train_batches, setup)}
    if not setup.on_gpu:
        return
    synchronizations: Counter[str] = Counter()

    def count(message: object, *_: object) -> None:
        if "synchronizing" in str(message):
            synchronizations[location(traceback.extract_stack()[:-1])] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = count  # pyright: ignore[reportAttributeAccessIssue]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step_s(run.task_setup.train_batches)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    total = synchronizations.total()
    yield {
        "num_steps": setup.train_steps,
        "num_synchronizations": total,
        "synchronizations": dict(synchronizations.most_common()),
    }
    check(total, setup.train_steps - 1, "synchronizations, fewer than one per step")


def _seconds_without_network(batches: Iterable[dict[str, Tensor]], setup: Setup) -> Result:
    """Measure the first batch of an epoch, each later one, and the end of the loader."""
    started = time.perf_counter()
    remaining = iter(batches)
    next(remaining)
    first_s, num = time.perf_counter() - started, 1
    while num < setup.train_steps:
        next(remaining)
        num += 1
    if setup.on_gpu:
        torch.cuda.synchronize(setup.device)
    last_s = time.perf_counter() - started
    for _ in remaining:
        raise CheckError(f"an epoch has more than {setup.train_steps} batches")
    end_s = time.perf_counter() - started
    return {
        "first_s": first_s,
        "later_s": (last_s - first_s) / max(1, num - 1),
        "end_s": end_s - last_s,
    }


def resume(setup: Setup) -> Iterator[Result]:
    """Resume a training checkpoint on a CPU and compare the next epoch with that of the device."""
    from train.run_folder import RunFolder

    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(address=scratch)
        first = _new_run(setup, setup.device, setup.resume_px, num_steps=2)
        losses = first.epoch()
        folder.save(first.state, {}, losses)
        saved = folder.latest_checkpoint()
        assert saved is not None
    trained = first.state.net.state_dict()
    same = all(torch.equal(saved["net"][name], tensor.cpu()) for name, tensor in trained.items())
    resumed: dict[str, list[float]] = {}
    for device in ("cpu", setup.device):
        run = _new_run(setup, device, setup.resume_px, num_steps=2)
        run.state.load_state_dict(deepcopy(saved))  # the optimizer updates the loaded tensors in place
        resumed[device] = run.epoch()
    yield {"saved_equals_trained": same, "losses": losses, "losses_after_resuming": resumed}
    if not same:
        raise CheckError("the saved weights differ from the trained ones")
    pairs = zip(resumed["cpu"], resumed[setup.device], strict=True)
    error = max(abs(on_cpu / on_device - 1) for on_cpu, on_device in pairs)
    check(error, MAX_STEP_ERROR, "relative difference of a loss after resuming")


@dataclass(frozen=True)
class _Run:
    task_setup: Any
    state: Any

    def epoch(self) -> list[float]:
        """Train one epoch in float32 and return the loss of each step."""
        from train.loop import train_epoch

        self.task_setup.train_batches.epoch = self.state.epoch
        losses = train_epoch(
            self.state, self.task_setup.train_batches, self.task_setup.train_loss, max_grad_norm=1.0
        )
        self.state.end_epoch({"epoch": self.state.epoch + 1, "val_loss": losses.mean})
        return losses.steps


def _new_run(setup: Setup, device: str, side_px: int, num_steps: int, *, bf16: bool = False) -> _Run:
    """Return a seeded run on drawn photos before its first step."""
    from train.data.split import Split
    from train.distributed import DistributedContext
    from train.lesion.config import LesionTraining
    from train.lesion.drawn_lesions import draw_lesion_photos
    from train.lesion.task import LesionTask
    from train.run import new_state

    config = LesionTraining(
        manifest="",
        input_px=side_px,
        start_px=side_px,
        batch_size=setup.train_batch,
        dropout=0,  # random numbers differ between devices
        bf16=bf16,
        device=device,
    )
    context = DistributedContext(device=device, progress_bar=None)
    num = setup.train_batch * num_steps
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        drawn = draw_lesion_photos(
            folder / "photos", folder / "photos.parquet", num_photos=min(num, 240), size_px=side_px
        )
        rows = [drawn[i % len(drawn)] for i in range(num)]
        split = Split(train=tuple(rows), val=tuple(rows[:3]), fingerprint="")
        task_setup = LesionTask().build(config, context, split)
    steps_per_epoch = len(task_setup.train_batches)
    return _Run(task_setup, new_state(task_setup.net, config, steps_per_epoch=steps_per_epoch, settings={}))


def ddp(setup: Setup) -> Iterator[Result]:
    """Compare two steps of several processes with the same steps of one process."""
    num = min(2, torch.cuda.device_count()) if setup.on_gpu else 2
    yield {"num_processes": num, "backend": "nccl" if setup.on_gpu else "gloo"}
    with tempfile.TemporaryDirectory() as scratch:
        pipes = [start(_ddp_rank, rank, num, setup, f"{scratch}/ranks")[1] for rank in range(num)]
        (losses, change), *_ = [receive(pipe) for pipe in pipes]
    expected_losses, expected = _two_steps(setup, setup.device)
    error = relative_error([change], [expected])
    yield {"losses": losses, "losses_of_one_process": expected_losses, "relative_error_of_change": error}
    check(error, MAX_STEP_ERROR, "relative error of the change of the weights")
    check(float(np.abs(np.subtract(losses, expected_losses)).max()), MAX_STEP_ERROR, "difference of a loss")


def _ddp_rank(pipe: Connection, rank: int, num: int, setup: Setup, file: str) -> None:
    device, backend = (f"cuda:{rank}", "nccl") if setup.on_gpu else ("cpu", "gloo")
    if setup.on_gpu:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    torch.distributed.init_process_group(backend, f"file://{file}", world_size=num, rank=rank)
    pipe.send(_two_steps(setup, device, rank, num))
    torch.distributed.destroy_process_group()


def _two_steps(setup: Setup, device: str, rank: int = 0, num: int = 1) -> tuple[list[float], np.ndarray]:
    """Train two steps on the share of one rank; return losses and change of the weights."""
    from train.lesion.loss import lesion_loss
    from train.loop import TrainingState, new_ema, train_epoch

    torch.manual_seed(0)
    net: nn.Module = LesionNet(num_diagnoses=NUM_DIAGNOSES, input_px=setup.resume_px, dropout=0)
    image = torch.randn(2, 8, 3, setup.resume_px, setup.resume_px)[:, rank::num].to(device)
    label = torch.randint(2, (2, 8))[:, rank::num]
    target = {"risk": torch.eye(2)[label].to(device), "diagnosis": torch.eye(NUM_DIAGNOSES)[label].to(device)}
    batches = [{"image": image[i], **{name: one[i] for name, one in target.items()}} for i in range(2)]
    before = nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
    net = net.to(device)
    if torch.distributed.is_initialized():
        net = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    state = TrainingState(net=net, optimizer=optimizer, schedule=schedule, ema=new_ema(net, 0.9), settings={})
    losses = train_epoch(
        state,
        batches,
        lambda net, batch: lesion_loss(net(batch["image"]), batch["risk"], batch["diagnosis"]),
        max_grad_norm=1e9,
        freeze_batch_norm=True,  # else each process would normalise by its own photos
    )
    after = nn.utils.parameters_to_vector(net.parameters()).detach().cpu().numpy()
    return losses.steps, after - before
