"""Shards over Ray Data, with a scorer without a network and one Ray for all tests."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models import storage
from serve.bulk.run import BulkOptions, Summary, score
from serve.bulk.source import BulkError
from tests.local_bucket import new_bucket, s3_server
from tests.serve.bulk.fake_scorer import TextScorer
from tests.serve.bulk.test_run import Recorder
from train.ray_cluster import ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Start Ray with two CPUs and the resource of a GPU, and a bucket for its workers."""
    import ray

    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]))
        ray.init(
            num_cpus=2,
            num_gpus=1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=30,
        )
        try:
            yield url
        finally:
            ray.shutdown()


def start(run: BulkOptions) -> Summary:
    return score(run, Recorder(), lambda: ray_cluster("local"))


def write(root: str, *texts: str) -> str:
    for number, text in enumerate(texts):
        storage.write_bytes(f"{root}/photos/{number}.jpg", text.encode())
    return f"{root}/photos"


def test_all_shards_are_scored_on_cpus_and_on_gpus(cluster: str, tmp_path: Path):
    source = write(str(tmp_path), "ab", "bad", "final", "c", "defect", "def", "g")
    tables = []
    for uses_gpu in (False, True):
        run = BulkOptions(
            source=source,
            out=str(tmp_path / f"out-{uses_gpu}"),
            scorer=TextScorer(),
            photos_per_shard=2,
            uses_gpu=uses_gpu,
        )
        summary = start(run)

        assert (summary.num_scored, summary.num_before) == (7, 0)
        assert summary.outcomes["error unreadable_image"] == summary.outcomes["error internal"] == 1
        assert summary.seconds > 0
        tables.append(pq.read_table(f"{run.out}/rows").to_pylist())

    assert tables[0] == tables[1] and [row["name"] for row in tables[0]] == [f"{n}.jpg" for n in range(7)]


def test_a_bucket_that_goes_away_stops_the_run_which_is_resumed_when_it_is_back(cluster: str, tmp_path: Path):
    with new_bucket("clinic") as bucket, new_bucket("results") as results:
        texts = [f"{number}" for number in range(12)]
        source = write(bucket, *texts)
        scorer = TextScorer(seconds=0.3)
        run = BulkOptions(
            source=source, out=f"{results}/out", scorer=scorer, photos_per_shard=2, num_workers=1
        )

        class Deletes(Recorder):
            def scored(self, num_photos: int) -> None:
                for number in range(12):
                    storage.delete(f"{source}/{number}.jpg")

        with pytest.raises(BulkError, match=r"s3://clinic/photos has no files any more; mount or restore it"):
            score(run, Deletes(), lambda: contextlib.nullcontext())
        num_done = 2 * len(storage.list_files(f"{run.out}/rows"))
        write(bucket, *texts)
        summary = start(run)

        assert 0 < num_done < 12 and summary.num_scored == 12 - num_done


def test_a_photo_that_kills_its_worker_stops_the_run_with_its_shard(cluster: str, tmp_path: Path):
    source = write(str(tmp_path), "a", "b", "crash", "d")
    run = BulkOptions(source=source, out=str(tmp_path / "out"), scorer=TextScorer(), photos_per_shard=1)

    with pytest.raises(BulkError, match=r"shard 2 has ended its worker 3 times: one of its photos crashes"):
        start(run)
    (tmp_path / "photos" / "2.jpg").write_text("c")
    with pytest.raises(BulkError, match="has changed since"):
        start(run)


def test_a_cluster_without_gpus_is_rejected(tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    run = BulkOptions(
        source=write(str(tmp_path), "a"), out=str(tmp_path / "out"), scorer=TextScorer(), uses_gpu=True
    )

    with pytest.raises(BulkError, match="the Ray cluster has no GPU; leave --gpu out, or join one that has"):
        start(run)
