"""CPU time of a request with one photo: Open Inference Protocol v2 against ``/v1``, interleaved in turns.

Command: ``python -m bench.scenarios.open_inference``.

One server answers both. The ratio is that of the CPU seconds of all its processes for each response, turn by
turn. The probabilities of both must be equal to ``TOLERANCE``.
"""

import json
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import tyro
import uvloop

from bench import results
from bench.http_client import RequestTemplate
from bench.load import LoadGenerator
from bench.random_checkpoint import write_random_checkpoint
from bench.scenarios.in_process import write_photos
from bench.scenarios.interleaved import WARM_UP_S
from bench.scenarios.keys_and_limits import summarize
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
    seconds: float = 3.0
    """Per turn."""
    turns: int = 20
    """Of each protocol."""
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
            turns = [
                {
                    path: _cpu_ms(running, requests[path], settings)
                    for path in results.rotated([V1, V2], number)
                }
                for number in range(settings.turns)
            ]
    v1_ms, v2_ms = ([one[path] for one in turns] for path in (V1, V2))
    ratio = {
        name.replace("off_", "v1_").replace("on_", "v2_"): one
        for name, one in summarize(v1_ms, v2_ms).items()
    }
    summary = {**ratio, "largest_probability_difference": difference}
    print(summary, flush=True)
    metrics = {"cpu_ms_per_request": turns, "summary": summary}
    results.save("open_inference", settings, metrics, load_before=load_before, folder=settings.out)


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


def _cpu_ms(server: RunningServer, requests: Sequence[RequestTemplate], settings: Settings) -> float:
    """Return the CPU milliseconds of all processes for each response in one turn."""
    generator = LoadGenerator(url=server.url, templates=requests, timeout_s=300)
    uvloop.run(generator.closed_loop(clients=settings.clients, seconds=WARM_UP_S))
    before = sum(server.cpu_s().values())
    load = uvloop.run(generator.closed_loop(clients=settings.clients, seconds=settings.seconds))
    spent = sum(server.cpu_s().values()) - before
    return 1000 * spent / results.successful(load, server.url)["responses"]


if __name__ == "__main__":
    main(tyro.cli(Settings))
