"""CPU time of a request with one photo: Open Inference Protocol v2 against ``/v1``, interleaved in turns.

Command: ``python -m bench.scenarios.open_inference``.

One server answers both. The ratio is that of the CPU seconds of all its processes for each response, turn by
turn. The probabilities of both must be equal to ``TOLERANCE``.
"""

import json
import statistics
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import tyro
import uvloop
from scipy.stats import t

from bench import results
from bench.http_client import RequestTemplate
from bench.load import LoadGenerator, LoadResult
from bench.random_checkpoint import write_random_checkpoint
from bench.scenarios.in_process import write_photos
from bench.scenarios.interleaved import WARM_UP_S
from bench.scenarios.lesion_http import skinserve_for_clients
from bench.servers import RunningServer, run_server

V1, V2 = "/v1/lesion", "/v2/models/lesion/infer"
HEADER_LENGTH = "Inference-Header-Content-Length"
OUTPUTS = ("verdict", "reasons", "malignant_probability", "diagnosis", "diagnoses", "lesion_box")
TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure lesion photos over /v1, raw body, and over /v2, binary tensor data."""

    size: str = "224 px"
    clients: int = 8
    seconds: float = 0.5
    """Per slice; the protocols alternate."""
    slices: int = 6
    """Of each protocol in a turn."""
    turns: int = 20
    out: Path = results.FOLDER


def main(settings: Settings) -> None:
    """Measure, and write ``open_inference.json``."""
    load_before = results.busy_cores()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        checkpoint = write_random_checkpoint(folder / "lesion")
        photos = write_photos(settings.size, folder / "photos")
        server = skinserve_for_clients(checkpoint, folder, engine="auto", clients=settings.clients)
        requests = {V1: [v1_request(one) for one in photos], V2: [v2_request(one) for one in photos]}
        with run_server(server) as running:
            difference = _largest_difference(running.url, requests)
            _load(running, requests[V1], settings, WARM_UP_S)
            turns = [_measure_turn(running, requests, settings, number) for number in range(settings.turns)]
    v1_ms, v2_ms = ([one[path] for one in turns] for path in (V1, V2))
    summary = {**summarize(v1_ms, v2_ms), "largest_probability_difference": difference}
    print(summary, flush=True)
    metrics = {"cpu_ms_per_request": turns, "summary": summary}
    results.save("open_inference", settings, metrics, load_before=load_before, folder=settings.out)


def summarize(v1_ms: Sequence[float], v2_ms: Sequence[float]) -> dict[str, float]:
    """Return the median cost of both, and the ratio v1 / v2 with the lower bound of its 95% interval.

    The ratio is the geometric mean over the turns; the interval is Student's, of the logarithms.
    """
    log_ratio = np.log(np.asarray(v1_ms) / np.asarray(v2_ms))
    error = log_ratio.std(ddof=1) / len(log_ratio) ** 0.5
    lower = log_ratio.mean() - t.ppf(0.975, len(log_ratio) - 1) * error
    return {
        "v1_cpu_ms": round(statistics.median(v1_ms), 3),
        "v2_cpu_ms": round(statistics.median(v2_ms), 3),
        "ratio": round(float(np.exp(log_ratio.mean())), 4),
        "ratio_lower_95": round(float(np.exp(lower)), 4),
    }


def v1_request(photo: bytes) -> RequestTemplate:
    """Return the request that sends a photo as raw body."""
    return RequestTemplate(name="v1", path=V1, body=photo, content_type="image/jpeg")


def v2_request(photo: bytes) -> RequestTemplate:
    """Return the request that sends a photo as binary tensor data, and wants binary outputs."""
    data = struct.pack("<I", len(photo)) + photo
    size = {"binary_data_size": len(data)}
    content = {
        "inputs": [{"name": "photo", "datatype": "BYTES", "shape": [1], "parameters": size}],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS],
    }
    header = json.dumps(content).encode()
    return RequestTemplate(
        name="v2",
        path=V2,
        body=header + data,
        content_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(header))},
    )


def read_probability(body: bytes, header_length: int) -> float:
    """Return ``malignant_probability`` of a binary response of /v2."""
    start = header_length
    for output in json.loads(body[:header_length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        if output["name"] == "malignant_probability":
            return float(np.frombuffer(body[start : start + size], "<f4")[0])
        start += size
    raise ValueError("the response has no malignant_probability")


def _largest_difference(url: str, requests: Mapping[str, Sequence[RequestTemplate]]) -> float:
    """Send each photo to both routes and compare the probabilities.

    Raises:
        ValueError: they differ by more than ``TOLERANCE``.
    """
    differences: list[float] = []
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for one, two in zip(requests[V1], requests[V2], strict=True):
            expected = client.post(one.path, content=one.body).json()["malignant_probability"]
            answer = client.post(two.path, content=two.body, headers=dict(two.headers))
            length = int(answer.headers[HEADER_LENGTH])
            differences.append(abs(read_probability(answer.content, length) - expected))
    if not max(differences) <= TOLERANCE:
        raise ValueError(f"probabilities of {V1} and {V2} differ by {max(differences)}")
    return max(differences)


def _measure_turn(
    server: RunningServer, requests: Mapping[str, Sequence[RequestTemplate]], settings: Settings, number: int
) -> dict[str, float]:
    """Return the CPU milliseconds of all processes for each response, by path."""
    cpu_s, responses = dict.fromkeys(requests, 0.0), dict.fromkeys(requests, 0)
    for part in range(settings.slices):
        for path in results.rotated([V1, V2], number + part):
            before = sum(server.cpu_s().values())
            load = _load(server, requests[path], settings, settings.seconds)
            cpu_s[path] += sum(server.cpu_s().values()) - before
            responses[path] += results.successful(load, server.url)["responses"]
    return {path: 1000 * cpu_s[path] / responses[path] for path in requests}


def _load(
    server: RunningServer, requests: Sequence[RequestTemplate], settings: Settings, seconds: float
) -> LoadResult:
    generator = LoadGenerator(url=server.url, templates=requests, timeout_s=300)
    return uvloop.run(generator.closed_loop(clients=settings.clients, seconds=seconds))


if __name__ == "__main__":
    main(tyro.cli(Settings))
