import pytest
from tqdm import tqdm

from train.distributed import RunStoppedError, Team


def test_a_refusal_stops_the_run_with_its_message():
    def refuse() -> None:
        raise ValueError("no such photo")

    with pytest.raises(RunStoppedError, match="no such photo"):
        Team().together(refuse, (ValueError,))


def test_one_process_agrees_with_itself():
    Team().agree("the epoch", 3)


def test_processes_that_differ_stop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Team, "_gathered", lambda self, value: [value, value + 1])

    with pytest.raises(RunStoppedError, match="the workers differ in the epoch: 3, 4"):
        Team(size=2).agree("the epoch", 3)


def test_a_fault_is_not_a_refusal():
    def fail() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        Team().together(fail, (ValueError,))


def test_order_is_shared_and_augmentation_is_not():
    first, second = Team(rank=0, size=2), Team(rank=1, size=2)

    assert first.seed_of(1, 4, shared=True) == second.seed_of(1, 4, shared=True)
    assert first.seed_of(1, 4, shared=False) != second.seed_of(1, 4, shared=False)
    assert first.seed_of(1, 4, shared=False) != first.seed_of(1, 5, shared=False)


def test_the_progress_bar_counts_every_batch(capsys: pytest.CaptureFixture[str]):
    assert list(Team(progress_bar=tqdm).watched([1, 2, 3], "epoch 1")) == [1, 2, 3]

    assert "3/3" in capsys.readouterr().err
