import pytest
from tqdm import tqdm

from models.errors import SkinserveError
from train.distributed import DistributedContext, RunStoppedError


def test_an_expected_error_stops_the_run_with_its_message():
    def fail() -> None:
        raise SkinserveError("no such photo")

    with pytest.raises(RunStoppedError, match="no such photo"):
        DistributedContext().run_on_all_ranks(fail)


def test_a_single_process_holds_equal_values():
    DistributedContext().assert_equal_across_ranks("the epoch", 3)


def test_processes_with_different_values_stop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(DistributedContext, "_all_gather", lambda self, value: [value, value + 1])

    with pytest.raises(RunStoppedError, match="the workers differ in the epoch: 3, 4"):
        DistributedContext(world_size=2).assert_equal_across_ranks("the epoch", 3)


def test_an_unexpected_error_is_raised():
    def fail() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        DistributedContext().run_on_all_ranks(fail)


def test_order_is_shared_and_augmentation_is_not():
    first, second = DistributedContext(rank=0, world_size=2), DistributedContext(rank=1, world_size=2)

    assert first.epoch_seed(1, 4, shared=True) == second.epoch_seed(1, 4, shared=True)
    assert first.epoch_seed(1, 4, shared=False) != second.epoch_seed(1, 4, shared=False)
    assert first.epoch_seed(1, 4, shared=False) != first.epoch_seed(1, 5, shared=False)


def test_the_progress_bar_counts_every_batch(capsys: pytest.CaptureFixture[str]):
    assert list(DistributedContext(progress_bar=tqdm).with_progress([1, 2, 3], "epoch 1")) == [1, 2, 3]

    assert "3/3" in capsys.readouterr().err
