"""Checklist items under Ray: the server on a shared GPU, a whole training run, and bulk scoring.

Each item starts the program that users start, yields results as soon as it has them, and raises
``CheckError`` if one is wrong. They need Ray and all packages of the server and of the command line.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import yaml

from bench.gpu.inference import MAX_BF16_DIFFERENCE
from bench.gpu.setup import ROOT, CheckError, Result, Setup, check
from bench.random_checkpoint import write_random_checkpoint
from models.errors import EXIT_DONE, EXIT_STOPPED

SERVER_REPLICAS = 2
"""Of the lesion network, on one GPU."""
NUM_EPOCHS = 12
RUN_TIMEOUT_S = 300
"""Of a training or scoring command."""
CTRL_C_TIMEOUT_S = 30


def server_config(setup: Setup, checkpoints: list[str]) -> dict[str, Any]:
    """Return ``serve/gpu.yaml`` for one machine with one GPU: no autoscaling, no page, fixed replicas.

    Two lesion replicas share what the config gives to one. On a CPU no replica asks for a GPU.
    """
    config = yaml.safe_load((ROOT / "serve" / "gpu.yaml").read_text(encoding="utf-8"))
    api = config["applications"][0]
    config["applications"] = [api]
    cores = os.cpu_count() or 1
    api["args"]["lesion"] |= {"device": setup.device, "checkpoints": checkpoints}
    api["args"]["progress"]["device"] = setup.device
    if not setup.on_gpu:
        api["args"]["lesion"]["engine"] = "onnxruntime"  # auto is int8, which the limits are not for
    num_replicas = {"Gateway": max(1, cores // 2), "LesionClassifier": SERVER_REPLICAS}
    shares = {
        "LesionClassifier": setup.lesion_share / SERVER_REPLICAS,
        "ProgressClassifier": setup.progress_share,
    }
    for deployment in api["deployments"]:
        name = deployment["name"]
        del deployment["autoscaling_config"]
        deployment.pop("max_replicas_per_node", None)
        deployment["num_replicas"] = num_replicas.get(name, 1)
        options = deployment["ray_actor_options"] = {"num_cpus": 0.2}
        if setup.on_gpu and name in shares:
            options["num_gpus"] = shares[name]
    return config


def serving(setup: Setup) -> Iterator[Result]:
    """Serve both networks on one GPU: answers against a CPU, photos per second, a killed replica."""
    import ray  # noqa: F401, without it this item is skipped

    from bench.photos import lesion_photos, multipart_request, raw_request, selfies
    from bench.pipeline import Pipeline
    from bench.scenarios.replica_failures import SETTLE_S, both_replicas
    from bench.servers import run_server, skinserve_server
    from models.images import decode_square
    from models.lesion.engine_loader import load_lesion_engine
    from models.lesion.processor import num_cores as cores

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = write_random_checkpoint(folder / "random", setup.input_px)
        weights = [ROOT / "weights" / name for name in ("lesion", "lesion-small")]
        released = [str(one) for one in weights if (one / "meta.json").is_file()]
        config = server_config(setup, [str(checkpoint), *released])
        photos = lesion_photos("224 px", num=min(16, setup.num_photos))
        reference = load_lesion_engine(checkpoint, engine="pytorch")
        pixels = [decode_square(one, side_px=setup.input_px).image_HWC for one in photos]
        expected = reference(np.stack(pixels)).malignant_B
        began = time.monotonic()
        with (
            run_server(skinserve_server(config, folder)) as server,
            httpx.Client(base_url=server.url, timeout=60, trust_env=False) as http,
        ):
            yield {"seconds_to_ready": round(time.monotonic() - began, 1)}
            models = http.get("/v1/models").json()["models"]
            runtimes = [
                {name: one.get(name) for name in ("name", "device", "engine", "cuda_graphs")}
                for one in models
            ]
            yield {"models": runtimes}
            for one in runtimes:
                if one["device"] not in (None, setup.device):
                    raise CheckError(f"{one['name']} computes on {one['device']}")
            if setup.on_gpu and not runtimes[0]["cuda_graphs"]:
                raise CheckError("the lesion network runs without CUDA graphs; its log gives the reason")
            answers = [http.post("/v1/lesion", content=one).raise_for_status().json() for one in photos]
            found = np.array([one["malignant_probability"] for one in answers])
            largest = float(np.abs(found - expected).max())
            yield {"num_photos": len(photos), "largest_difference_to_float32_on_cpu": largest}
            check(largest, MAX_BF16_DIFFERENCE, "difference of a probability over HTTP")
            # unlike those of random weights, their probabilities differ between photos
            for address in released:
                pipeline = Pipeline(Path(address), num_threads=cores(), engine="pytorch")
                probabilities = pipeline.classify([pipeline.prepare(one) for one in photos])[0]
                name = pipeline.meta.name
                answers = [
                    http.post("/v1/lesion", params={"model": name}, content=one).raise_for_status().json()
                    for one in photos
                ]
                found = np.array([one["malignant_probability"] for one in answers])
                largest = float(np.abs(found - probabilities).max())
                yield {f"largest_difference_of_{name}": largest, f"spread_of_{name}": float(np.ptp(found))}
                check(largest, MAX_BF16_DIFFERENCE, f"difference of a probability of {name} over HTTP")
            series = multipart_request("series", "/v1/progress", selfies((640, 480), num=3), field="files")
            answer = http.post(
                "/v1/progress", content=series.body, headers={"Content-Type": series.content_type}
            )
            yield {"progress": answer.raise_for_status().json()["verdict"]}
            templates = [raw_request("lesion", "/v1/lesion", one) for one in photos]
            yield {"photos_per_s": _rate(server.url, templates, clients=64, seconds=3 * setup.measure_s)}
            batch = multipart_request("batch", "/v1/lesion/batch", photos, field="files")
            batches = _rate(server.url, [batch], clients=16, seconds=3 * setup.measure_s)
            yield {"photos_per_s_in_batches": round(batches * len(photos), 1)}
            if setup.on_gpu:
                yield {"gpu_memory_mib": _gpu_memory_mib()}

            async def kill() -> Result:
                replica = (await both_replicas(server, "LesionClassifier"))[0]
                load = asyncio.create_task(
                    _load(server.url, templates[:4], clients=8, seconds=2 + setup.measure_s)
                )
                await asyncio.sleep(1)
                replica.kill()
                killed_at = time.monotonic()
                outcomes = await load
                await both_replicas(server, "LesionClassifier", without=replica.pid)
                seconds = time.monotonic() - killed_at - SETTLE_S  # both_replicas waits so long at its end
                return {"responses": outcomes, "seconds_to_replace": round(seconds, 1)}

            killed = asyncio.run(kill())
            yield {"killed_replica": killed}
            failed = sum(number for status, number in killed["responses"].items() if status != "200")
            check(failed, 0, "failed requests after a replica was killed")
            again = http.post("/v1/lesion", content=photos[0]).raise_for_status().json()
            check(
                abs(again["malignant_probability"] - float(expected[0])),
                MAX_BF16_DIFFERENCE,
                "difference of a probability after a replica was killed",
            )


def _rate(url: str, templates: list[Any], *, clients: int, seconds: float) -> float:
    """Return the responses with 200 per second of a closed loop; the load generator takes one core."""
    began = time.monotonic()
    outcomes = asyncio.run(_load(url, templates, clients=clients, seconds=seconds))
    return round(outcomes["200"] / (time.monotonic() - began), 1)


async def _load(url: str, templates: list[Any], *, clients: int, seconds: float) -> Counter[str]:
    from bench.load import LoadGenerator

    result = await LoadGenerator(url=url, templates=templates).closed_loop(clients=clients, seconds=seconds)
    return Counter({str(status): len(times) for status, times in result.latencies_s.items()}) + result.errors


def _gpu_memory_mib() -> list[int]:
    query = ["nvidia-smi", "--query-compute-apps=used_memory", "--format=csv,noheader,nounits"]
    lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    return [int(one) for one in lines if one.isdigit()]


def training_run(setup: Setup) -> Iterator[Result]:
    """Run ``skinserve train lesion --gpu``: kill its worker, stop it by Ctrl-C, resume, release, load."""
    import ray  # noqa: F401, without it this item is skipped

    from models.lesion.engine_loader import load_lesion_engine
    from train.lesion.drawn_lesions import draw_lesion_photos

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        num = max(24, 20 * setup.train_batch)
        draw_lesion_photos(
            folder / "photos", folder / "manifest.parquet", num_photos=num, size_px=setup.input_px
        )
        run = folder / "run"
        command = [sys.executable, "-m", "train.launch", "lesion", "--workers", "1"]
        command += ["--gpu"] if setup.on_gpu else []
        command += ["--manifest", str(folder / "manifest.parquet"), "--run", str(run), "--init", "random"]
        command += ["--cache", str(folder / "cache"), "--num-epochs", str(NUM_EPOCHS), "--mix-share", "0"]
        command += ["--input-px", str(setup.input_px), "--start-px", str(setup.input_px)]
        command += ["--batch-size", str(setup.train_batch)]
        log = run / "log.jsonl"
        yield {"num_photos": num}

        with _started(command, folder / "first.txt") as first:
            _wait_for_epochs(log, 1, first)
            worker = _train_worker(first)
            worker.kill()
            _wait_for_epochs(log, _epochs(log) + 2, first)
            yield {"epochs_after_a_killed_worker": _epochs(log)}
            first.send_signal(signal.SIGINT)
            code = first.wait(CTRL_C_TIMEOUT_S)
        yield {"exit_code_of_ctrl_c": code, "epochs_at_ctrl_c": _epochs(log)}
        if code != EXIT_STOPPED:
            raise CheckError(f"Ctrl-C ended the training with {code}: {_end(folder / 'first.txt')}")
        before = _epochs(log)
        _run(command, folder / "second.txt", EXIT_DONE)
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        yield {
            "epochs": [one["epoch"] for one in entries],
            "epochs_before_resuming": before,
            "log": [
                {name: one[name] for name in ("epoch", "seconds", "train_loss", "val_loss") if name in one}
                for one in entries
            ],
        }
        if [one["epoch"] for one in entries] != list(range(1, NUM_EPOCHS + 1)):
            raise CheckError("an epoch is missing or was logged twice")
        engine = load_lesion_engine(run / "checkpoint", engine="pytorch")
        if engine.meta.input_px != setup.input_px:
            raise CheckError(f"the release is for {engine.meta.input_px} px, trained at {setup.input_px} px")


def scoring(setup: Setup) -> Iterator[Result]:
    """Run ``skinserve score --gpu`` and compare its rows with those of a CPU in float32."""
    import pyarrow.parquet
    import ray  # noqa: F401, without it this item is skipped

    from bench.photos import lesion_photos

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = write_random_checkpoint(folder / "random", setup.input_px)
        photos = folder / "photos"
        photos.mkdir()
        drawn = lesion_photos("224 px", num=min(64, setup.num_photos))
        num = 16 * len(drawn)
        for number in range(num):
            (photos / f"{number:05d}.jpg").write_bytes(drawn[number % len(drawn)])
        (photos / "broken.jpg").write_bytes(drawn[0][:200])
        tables: list[Any] = []
        for place, options in (
            ("device", ["--gpu"] if setup.on_gpu else []),
            ("cpu", ["--engine", "pytorch"]),
        ):
            out = folder / place
            command = [sys.executable, "-m", "cli.score", str(photos), str(out)]
            command += ["--model", str(checkpoint), "--photos-per-shard", "64", *options]
            began = time.monotonic()
            output = _run(command, folder / f"{place}.txt", EXIT_DONE)
            rate = re.search(r"([\d.,]+) photos/s", output)
            yield {
                f"seconds_{place}": round(time.monotonic() - began, 1),
                f"photos_per_s_{place}": float(rate[1].replace(",", "")) if rate else None,
            }
            tables.append(pyarrow.parquet.read_table(out / "rows").sort_by("name"))
        on_device, on_cpu = tables
        errors = [sum(one is not None for one in table["error_code"].to_pylist()) for table in tables]
        if errors != [1, 1]:
            raise CheckError(f"{errors} error rows on the device and on the CPU, for one damaged photo")
        if on_device["name"] != on_cpu["name"] or len(on_device) != num + 1:
            raise CheckError(f"{len(on_device)} and {len(on_cpu)} rows for {num + 1} photos")
        found, expected = (
            np.array([one for one in table["malignant_probability"].to_pylist() if one is not None])
            for table in tables
        )
        largest = float(np.abs(found - expected).max())
        yield {"num_rows": len(on_device), "num_errors": errors, "largest_difference": largest}
        check(largest, MAX_BF16_DIFFERENCE, "difference of a probability")


@contextmanager
def _started(command: list[str], output: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a command of skinserve; what is left of it is killed at the end."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=output.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        process.kill()
        process.wait()


def _run(command: list[str], output: Path, exit_code: int) -> str:
    """Run a command of skinserve and return what it printed; raise CheckError for another exit code."""
    with _started(command, output) as process:
        code = process.wait(RUN_TIMEOUT_S)
    if code != exit_code:
        raise CheckError(f"{' '.join(command[1:4])} ended with {code}: {_end(output)}")
    return output.read_text(encoding="utf-8")


def _epochs(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.is_file() else 0


def _wait_for_epochs(log: Path, number: int, running: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + RUN_TIMEOUT_S
    while _epochs(log) < number:
        if running.poll() is not None:
            output = log.parents[1] / "first.txt"
            raise CheckError(f"the training ended with {running.returncode}: {_end(output)}")
        if time.monotonic() > until:
            raise CheckError(f"{_epochs(log)} of {number} epochs after {RUN_TIMEOUT_S} s")
        time.sleep(0.1)


def _train_worker(running: "subprocess.Popen[bytes]") -> psutil.Process:
    """Return the process of the Ray Train worker."""
    for process in psutil.Process(running.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in process.name():
                return process
    raise CheckError("no process is a Ray Train worker")


def _end(output: Path) -> str:
    return " ".join(output.read_text(encoding="utf-8", errors="replace")[-800:].split())
