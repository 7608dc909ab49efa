"""Score shards over Ray Data.

On CPUs each actor reads, decodes and classifies whole shards on one core: no pixels travel between processes.
With GPUs, actors on all CPUs decode shards, and an actor on each GPU classifies them.
Measurements: docs/decisions/0041-bulk-scoring.md.
"""

import json
import logging
import pickle
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from models.errors import SkinserveError
from serve.bulk.row_files import RowFormat, encode_rows
from serve.bulk.run_folder import RunFolder
from serve.bulk.scorer import ERROR_CODE, Row, Scorer
from serve.bulk.scoring import finish_rows, prepare_photos, score_photos
from serve.bulk.source import BulkError, Source

MAX_CRASHES = 3
"""Restarts of workers by the same shard, after which the run stops."""
SHARD, RESULT, PREPARED = "shard", "result", "prepared"


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What a worker did with one shard."""

    shard: int
    num_photos: int = 0
    outcomes: dict[str, int]
    """Photos by error code, or by the outcome column of the scorer."""
    began_at: float = 0.0
    """By the clock of the worker, as ``ended_at``."""
    ended_at: float = 0.0
    error: str = ""
    """Why the shard is not finished; the run stops."""


@dataclass(frozen=True, kw_only=True)
class ShardWork:
    """The work on shards, without Ray; picklable."""

    folder: RunFolder
    source: Source
    scorer: Scorer
    format: RowFormat

    def score(self, shard: int) -> ShardResult:
        """Read, decode and classify the photos of a shard, and write its rows."""
        try:
            self.scorer.load()
            began_at = time.time()
            photos = self.folder.read_manifest(shard)
            return self._write(shard, score_photos(photos, self.source, self.scorer), began_at)
        except Exception as error:
            return _failed(shard, error)

    def prepare(self, shard: int) -> tuple[float, list[Any]] | ShardResult:
        """Read and decode the photos of a shard; return the time of the begin and the prepared photos."""
        began_at = time.time()
        try:
            photos = self.folder.read_manifest(shard)
            return began_at, list(prepare_photos(photos, self.source, self.scorer))
        except Exception as error:
            return _failed(shard, error)

    def finish(self, shard: int, prepared: tuple[float, list[Any]] | ShardResult) -> ShardResult:
        """Classify the prepared photos of a shard, and write its rows."""
        if isinstance(prepared, ShardResult):
            return prepared
        began_at, items = prepared
        try:
            photos = self.folder.read_manifest(shard)
            return self._write(shard, finish_rows(photos, items, self.scorer), began_at)
        except Exception as error:
            return _failed(shard, error)

    def count_crash(self, shard: int) -> ShardResult | None:
        """Count a shard that a restarted worker begins; return an error at ``MAX_CRASHES``."""
        try:
            number = self.folder.count_crash(shard)
        except SkinserveError as error:
            return _failed(shard, error)
        if number < MAX_CRASHES:
            return None
        message = (
            f"shard {shard} has ended its worker {number} times: one of its photos crashes the decoder or "
            f"needs too much memory; the photos are listed in {self.folder.manifest(shard)}"
        )
        return ShardResult(shard=shard, outcomes={}, error=message)

    def _write(self, shard: int, rows: Sequence[Row], began_at: float) -> ShardResult:
        self.folder.write_rows(shard, encode_rows(rows, self.scorer, self.format))
        column = self.scorer.outcome_column
        outcomes = Counter(
            f"error {row[ERROR_CODE]}" if row[ERROR_CODE] else str(row[column]) for row in rows
        )
        return ShardResult(
            shard=shard,
            num_photos=len(rows),
            outcomes=dict(outcomes),
            began_at=began_at,
            ended_at=time.time(),
        )


class _ShardActor:
    """Base of the actors of Ray Data; each call has a block with one shard."""

    def __init__(self, work: ShardWork) -> None:
        import ray

        self._work = work
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # in Ray's own code
            self._is_restarted = bool(ray.get_runtime_context().was_current_actor_reconstructed)

    def _failure(self, shard: int) -> ShardResult | None:
        """Return an error for a shard that has ended several workers; Ray Data would repeat it for ever."""
        return self._work.count_crash(shard) if self._is_restarted else None


class ScoreShard(_ShardActor):
    """Read, decode and classify on a CPU."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the result of one shard."""
        shard = block[SHARD][0].as_py()
        return _result_block(self._failure(shard) or self._work.score(shard))


class PrepareShard(_ShardActor):
    """Read and decode on a CPU."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the prepared photos as one value, since Ray Data splits blocks of many rows."""
        shard = block[SHARD][0].as_py()
        prepared = pickle.dumps(self._failure(shard) or self._work.prepare(shard), protocol=5)
        return pa.table({SHARD: [shard], PREPARED: pa.array([prepared], pa.large_binary())})


class FinishShard(_ShardActor):
    """Classify prepared photos on a GPU."""

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the result of one shard."""
        shard, prepared = block[SHARD][0].as_py(), pickle.loads(block[PREPARED][0].as_buffer())
        return _result_block(self._failure(shard) or self._work.finish(shard, prepared))


def run_shards(
    work: ShardWork, shards: Sequence[int], *, num_workers: int | None, uses_gpu: bool
) -> Iterator[ShardResult]:
    """Score shards on the Ray cluster of this process; yield their results as they finish, in any order.

    Args:
        work: on each shard.
        shards: at least one.
        num_workers: actors with a model; None: one for each CPU of the cluster, or for each GPU.
        uses_gpu: classify on GPUs.

    Raises:
        BulkError: a worker reported an error, Ray failed, or the cluster has no GPU.
    """
    import ray.data  # after the caller has set the environment of Ray
    from ray.exceptions import RayError

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    num_cpus, num_gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
    if uses_gpu and not num_gpus:
        raise BulkError("the Ray cluster has no GPU; leave --gpu out, or join one that has")
    size = min(num_workers or (num_gpus if uses_gpu else num_cpus), len(shards))

    def actors(number: int, num_cpus_each: int = 1) -> dict[str, Any]:
        pool = ray.data.ActorPoolStrategy(size=number, max_tasks_in_flight_per_actor=2)
        options = {"batch_size": 1, "batch_format": "pyarrow", "fn_constructor_args": (work,)}
        return {"compute": pool, "num_cpus": num_cpus_each, **options}

    # one block for each shard, and so one task
    blocks = ray.data.from_items([{SHARD: shard} for shard in shards], override_num_blocks=len(shards))
    if uses_gpu:
        # the actors on GPUs count no CPU: with few CPUs both kinds would wait for each other
        prepared = blocks.map_batches(PrepareShard, **actors(max(1, min(num_cpus - size, len(shards)))))
        results = prepared.map_batches(FinishShard, num_gpus=1, **actors(size, num_cpus_each=0))
    else:
        results = blocks.map_batches(ScoreShard, **actors(size))
    try:
        for block in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for content in block[RESULT].to_pylist():  # pyright: ignore[reportAttributeAccessIssue]
                yield ShardResult(**json.loads(content))
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise BulkError(f"Ray failed ({type(error).__name__}: {reason})") from error


def _result_block(result: ShardResult) -> pa.Table:
    return pa.table({RESULT: [json.dumps(asdict(result))]})


def _failed(shard: int, error: Exception) -> ShardResult:
    """Return an error as data, since Ray wraps exceptions in tracebacks."""
    if isinstance(error, SkinserveError):
        return ShardResult(shard=shard, outcomes={}, error=str(error))
    logging.getLogger("skinserve").error("shard %d failed", shard, exc_info=error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return ShardResult(shard=shard, outcomes={}, error=f"a worker failed on shard {shard} ({what})")
