from pathlib import Path

import numpy as np
import pytest
import torch

from serve.config import ProgressConfig
from serve.messages import ProgressReport, Series
from serve.progress.deployment import ProgressClassifier
from tests.random_checkpoints import write_progress
from tests.serve.fakes import plain


@pytest.fixture(scope="module")
def progress(tmp_path_factory: pytest.TempPathFactory):
    folder = write_progress(tmp_path_factory.mktemp("progress"))
    return plain(ProgressClassifier, ProgressConfig(checkpoint=str(folder)))


def series_of(*present: bool, seed: int = 0) -> Series:
    noise = np.random.default_rng(seed).integers(0, 256, (len(present), 80, 80, 3), np.uint8)
    return Series(crop_THWC=noise, present_T=np.array(present))


def test_progress_pads_series_of_different_lengths_without_changing_an_answer(progress):
    short, long = series_of(True, True), series_of(True, False, True, True, seed=1)

    together: list[ProgressReport] = progress._classify_batch([short, long])
    alone = [progress._classify_batch([one])[0] for one in (short, long)]

    assert [len(report.improved_T) for report in together] == [2, 4]
    for one, other in zip(together, alone, strict=True):
        assert one.improved_T == pytest.approx(other.improved_T, abs=1e-5)


async def test_progress_describes_what_it_loaded_and_is_healthy(progress):
    await progress.check_health()
    described = progress.describe()

    assert (described.kind, described.engine, described.device) == ("progress", "pytorch", "cpu")
    assert described.labels == list(progress.meta.labels)
    assert described.sha256 == progress.meta.weights_sha256
    assert described.model_card.startswith("# ")


async def test_threads_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", told.append)
    config = ProgressConfig(checkpoint=str(write_progress(tmp_path)), num_threads=3)

    await plain(ProgressClassifier, config).classify(series_of(True, True))

    assert set(told) == {3}
