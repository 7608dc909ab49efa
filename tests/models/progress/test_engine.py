from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import CheckpointError, save_checkpoint
from models.progress.engine import OnnxProgressEngine, ProgressEngine, load_progress_engine
from models.progress.network import ProgressNet
from models.progress.pytorch_engine import PyTorchProgressEngine
from tests.random_checkpoints import random_meta

Engines = tuple[ProgressEngine, ProgressEngine]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """One network, with batch-norm statistics, in ONNX Runtime and in PyTorch."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("trained")
    net = ProgressNet(input_px=40, filters=(6, 4), hidden=8).train()
    for _ in range(3):
        net(torch.randn(4, 3, 3, 40, 40), torch.ones(4, 3, dtype=torch.bool))
    architecture = {"input_px": 40, "filters": (6, 4), "hidden": 8}
    own_colours = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    meta = random_meta("progress", input_px=40, architecture=architecture, **own_colours)
    meta = save_checkpoint(folder, net, meta, "")
    onnx_engine = load_progress_engine(folder)
    assert isinstance(onnx_engine, OnnxProgressEngine)
    net.load_state_dict(
        {name: one.half().float() if one.ndim > 1 else one for name, one in net.state_dict().items()}
    )
    return onnx_engine, PyTorchProgressEngine(meta, net, "cpu")


@settings(max_examples=25)
@given(
    present=st.integers(1, 4).flatmap(
        lambda length: st.lists(
            st.lists(st.booleans(), min_size=length, max_size=length), min_size=1, max_size=4
        )
    ),
    seed=st.integers(0, 9),
)
def test_onnx_runtime_gives_the_probabilities_of_pytorch(
    engines: Engines, present: list[list[bool]], seed: int
):
    present_BT = np.array(present)
    shape = (*present_BT.shape, 40, 40, 3)
    coarse = np.random.default_rng(seed).integers(0, 256, (*shape[:2], 5, 5, 3), np.uint8)
    photos_BTHWC = coarse.repeat(8, axis=2).repeat(8, axis=3)

    found, expected = (engine(photos_BTHWC, present_BT).improved_BT for engine in engines)

    assert found.dtype == np.float32 and found.shape == present_BT.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def with_more_weights(net: ProgressNet) -> ProgressNet:
    net.more = torch.nn.Linear(2, 2)
    return net


def with_another_last_layer(net: ProgressNet) -> ProgressNet:
    net.head[-1] = torch.nn.Linear(9, 2)
    return net


@pytest.mark.parametrize(
    ("net", "architecture", "problem"),
    [
        (torch.nn.Linear(2, 2), {}, "state_gates"),
        (ProgressNet(), {"layers": 3}, "unknown architecture layers"),
        (with_more_weights(ProgressNet()), {}, "unknown weights more.bias"),
        (with_another_last_layer(ProgressNet()), {}, "head.4"),
    ],
)
def test_weights_of_another_network_are_rejected(
    tmp_path: Path, net: torch.nn.Module, architecture: dict[str, int], problem: str
):
    save_checkpoint(tmp_path, net, random_meta("progress", architecture=architecture), "")

    with pytest.raises(CheckpointError, match=rf"(?s)does not fit the progress network .*{problem}"):
        load_progress_engine(tmp_path)


def test_series_of_different_lengths_share_a_batch(progress_folder: Path):
    engine = load_progress_engine(progress_folder)
    photos = np.random.default_rng(2).integers(0, 256, (2, 4, 80, 80, 3), np.uint8)
    present = np.array([[True] * 4, [True, True, False, False]])

    together = engine(photos, present).improved_BT
    short = engine(photos[1:, :2], present[1:, :2]).improved_BT

    assert together.shape == (2, 4)
    assert together[1, -1] == pytest.approx(short[0, -1], abs=1e-5)


def test_a_series_may_be_a_view_with_negative_strides(progress_folder: Path):
    engine = load_progress_engine(progress_folder)
    side = engine.meta.input_px
    photos = np.random.default_rng(2).integers(0, 256, (1, 4, side, side, 3), dtype=np.uint8)
    present = np.array([[True, False, True, True]])

    view = engine(photos[:, ::-1], present[:, ::-1]).improved_BT
    copy = engine(photos[:, ::-1].copy(), present[:, ::-1].copy()).improved_BT

    np.testing.assert_array_equal(view, copy)
