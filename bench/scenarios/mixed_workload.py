"""Start, memory, mixed workload and stop of a server: ``python -m bench.scenarios.mixed_workload``.

Clients send drawn photos to the lesion, batch and progress routes. Each response is compared with the
response of the same request from a single client.
"""

import json
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import psutil
import tyro
import uvloop

from bench.http_client import RequestTemplate, Response
from bench.load import LoadGenerator
from bench.photos import encode_jpeg, multipart_request
from bench.results import Metrics
from bench.servers import ROOT, RunningServer, free_port, wait_until_ready
from samples.lesion import draw_lesion
from samples.series import draw_series

TOLERANCE = 1e-3
"""Largest difference of a probability between equal responses; batch sizes round differently."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure one server from start to stop."""

    clients: int = 20
    seconds: float = 60.0
    idle_s: float = 10.0
    """Pause after the start, before memory is read."""


def main() -> None:
    """Start a server, measure it, stop it and print the metrics as JSON."""
    settings = tyro.cli(Settings)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    command = [sys.executable, "-m", "serve", "--port", str(port)]
    started = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    server = RunningServer(url=url, process=psutil.Process(started.pid))
    descendants: list[psutil.Process] = []
    try:
        wait_until_ready(f"{url}/readyz", lambda: started.poll() is None)
        requests = draw_requests()
        post(url, requests[0])
        metrics: Metrics = {"start_to_first_response_s": round(time.monotonic() - began, 1)}
        time.sleep(settings.idle_s)
        metrics["idle_memory_gib"] = round(server.memory_bytes() / 2**30, 2)
        metrics |= measure(url, requests, settings)
        metrics["memory_after_load_gib"] = round(server.memory_bytes() / 2**30, 2)
    finally:
        stopping = time.monotonic()
        if started.poll() is None:
            descendants = server.process.children(recursive=True)
            started.send_signal(signal.SIGINT)
        started.wait(60)
    metrics["stop_s"] = round(time.monotonic() - stopping, 1)
    metrics["processes_left"] = sum(process.is_running() for process in descendants)
    print(json.dumps(metrics, indent=2))


def draw_requests() -> list[RequestTemplate]:
    """Draw the photos of the mix: small and large lesions, a batch of lesions, two series of faces."""
    lesions = [encode_jpeg(draw_lesion(seed=seed)) for seed in range(4)]
    large = encode_jpeg(draw_lesion(seed=9).resize((3000, 3000)))
    requests = [multipart_request("lesion", "/v1/lesion", [lesion], field="file") for lesion in lesions]
    requests.append(multipart_request("lesion 9 MP", "/v1/lesion?explain=true", [large], field="file"))
    requests.append(multipart_request("batch of 8", "/v1/lesion/batch", lesions * 2, field="files"))
    for improving in (True, False):
        faces = [encode_jpeg(face) for face in draw_series(improving=improving, num_photos=4, seed=3)]
        requests.append(multipart_request("progress, 4 photos", "/v1/progress", faces, field="files"))
    return requests


def measure(url: str, requests: list[RequestTemplate], settings: Settings) -> Metrics:
    """Run the closed loop and compare each response with the one of a single client."""
    expected = {id(request): _probabilities(post(url, request)) for request in requests}
    outcomes: Counter[str] = Counter()
    latencies_s: defaultdict[str, list[float]] = defaultdict(list)

    def check(request: RequestTemplate, response: Response, latency_s: float) -> None:
        if response.status == 503 and json.loads(response.body)["error"]["code"] == "overloaded":
            outcomes["overloaded"] += 1
        elif response.status != 200:
            outcomes[f"error {response.status}"] += 1
        else:
            latencies_s[request.name].append(latency_s)
            equal = _are_close(_probabilities(response), expected[id(request)])
            outcomes["equal" if equal else "different"] += 1

    generator = LoadGenerator(url=url, templates=requests, timeout_s=120, on_response=check)
    result = uvloop.run(
        generator.closed_loop(clients=settings.clients, seconds=settings.seconds, honor_retry_after=True)
    )
    return {
        "clients": settings.clients,
        "seconds": settings.seconds,
        "outcomes": dict(outcomes + result.errors),
        "responses_per_s": round(result.rate(200), 1),
        "p50_s": {name: round(statistics.median(times), 2) for name, times in latencies_s.items()},
        "p95_s": {
            name: round(statistics.quantiles(times, n=20)[-1], 2)
            for name, times in latencies_s.items()
            if len(times) > 1
        },
    }


def post(url: str, request: RequestTemplate) -> Response:
    """Send one request and return its response."""
    response = httpx.post(
        url + request.path,
        content=request.body,
        headers={"content-type": request.content_type},
        timeout=120,
        trust_env=False,
    ).raise_for_status()
    headers: Mapping[str, str] = response.headers
    return Response(status=response.status_code, headers=headers, body=response.content)


def _probabilities(response: Response) -> list[float]:
    if response.headers["content-type"] == "application/x-ndjson":
        lines = sorted(map(json.loads, response.body.splitlines()), key=lambda line: line["index"])
        return [line["result"]["malignant_probability"] for line in lines]
    content = json.loads(response.body)
    if "photos" in content:
        so_far = [photo["improved_probability_so_far"] or 0 for photo in content["photos"]]
        return [content["improved_probability"], *so_far]
    return [content["malignant_probability"], *(one["probability"] for one in content["diagnoses"])]


def _are_close(values: list[float], expected: list[float]) -> bool:
    return len(values) == len(expected) and all(
        abs(one - other) < TOLERANCE for one, other in zip(values, expected, strict=True)
    )


if __name__ == "__main__":
    main()
