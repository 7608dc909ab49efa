"""Start, memory, mixed load and stop of ``python -m serve`` on this machine.

Command: ``python -m bench.scenarios.mixed_workload``.

The clients send drawn photos to the lesion, batch and progress routes and compare each answer with the one
that the same request got alone.
"""

import asyncio
import io
import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import tyro
from PIL import Image

from samples.lesion import draw_lesion
from samples.series import draw_series

TOLERANCE = 1e-3
"""Largest difference of a probability between equal answers; batches of other sizes round differently."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure one server from start to stop."""

    clients: int = 20
    seconds: float = 60.0
    rest_s: float = 10.0
    """Pause after the start, before memory is read."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One request that is sent over and over."""

    name: str
    url: str
    files: list[tuple[str, tuple[str, bytes, str]]]


def main() -> None:
    """Start a server, measure it, stop it and print the figures as JSON."""
    settings = tyro.cli(Settings)
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    started = time.monotonic()
    server = subprocess.Popen([sys.executable, "-m", "serve", "--port", str(port)], start_new_session=True)
    try:
        wait_until_ready(url, server)
        shots = draw_shots()
        httpx.post(url + shots[0].url, files=shots[0].files, timeout=60).raise_for_status()
        figures: dict[str, Any] = {"start_to_first_answer_s": round(time.monotonic() - started, 1)}
        time.sleep(settings.rest_s)
        figures["memory_at_rest_gib"] = round(memory_bytes(server.pid) / 2**30, 2)
        figures |= asyncio.run(load(url, shots, settings))
        figures["memory_after_load_gib"] = round(memory_bytes(server.pid) / 2**30, 2)
    finally:
        stopping = time.monotonic()
        family = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
        server.send_signal(signal.SIGINT)
        server.wait(60)
    figures["stop_s"] = round(time.monotonic() - stopping, 1)
    figures["processes_left"] = sum(process.is_running() for process in family)
    print(json.dumps(figures, indent=2))


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return when ``/readyz`` says yes; leave if the server ends."""
    while True:
        if server.poll() is not None:
            raise SystemExit("the server ended before it was ready")
        try:
            if httpx.get(url + "/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)


def draw_shots() -> list[Shot]:
    """Draw the photos of the mix: small and phone-sized spots, a batch of spots, two series of faces."""
    spots = [_jpeg(draw_lesion(seed=seed)) for seed in range(4)]
    phone = _jpeg(draw_lesion(seed=9).resize((3000, 3000)))
    shots = [
        Shot(name="lesion", url="/v1/lesion", files=[("file", ("a.jpg", spot, "image/jpeg"))])
        for spot in spots
    ]
    shots.append(
        Shot(
            name="lesion 9 MP",
            url="/v1/lesion?explain=true",
            files=[("file", ("a.jpg", phone, "image/jpeg"))],
        )
    )
    many = [("files", ("a.jpg", spot, "image/jpeg")) for spot in spots * 2]
    shots.append(Shot(name="batch of 8 spots", url="/v1/lesion/batch", files=many))
    for improving in (True, False):
        faces = [_jpeg(face) for face in draw_series(improving=improving, num_photos=4, seed=3)]
        files = [("files", ("a.jpg", face, "image/jpeg")) for face in faces]
        shots.append(Shot(name="progress, 4 photos", url="/v1/progress", files=files))
    return shots


async def load(url: str, shots: list[Shot], settings: Settings) -> dict[str, Any]:
    """Let the clients send, each its next request after the answer to its last; count what came back."""
    outcomes: Counter[str] = Counter()
    seconds: dict[str, list[float]] = {shot.name: [] for shot in shots}
    limits = httpx.Limits(max_connections=settings.clients)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        alone = [_probabilities(await client.post(shot.url, files=shot.files)) for shot in shots]
        until = time.monotonic() + settings.seconds

        async def send(first: int) -> None:
            number = first
            while time.monotonic() < until:
                index = number % len(shots)
                number += 1
                shot, began = shots[index], time.monotonic()
                answer = await client.post(shot.url, files=shot.files)
                if answer.status_code == 503 and answer.json()["error"]["code"] == "overloaded":
                    outcomes["overloaded"] += 1
                    await asyncio.sleep(float(answer.headers["retry-after"]))
                elif answer.status_code != 200:
                    outcomes[f"error {answer.status_code}"] += 1
                else:
                    seconds[shot.name].append(time.monotonic() - began)
                    right = _same(_probabilities(answer), alone[index])
                    outcomes["right" if right else "wrong"] += 1

        await asyncio.gather(*(send(first) for first in range(settings.clients)))
    return {
        "clients": settings.clients,
        "seconds": settings.seconds,
        "outcomes": dict(outcomes),
        "answers_per_s": round(sum(map(len, seconds.values())) / settings.seconds, 1),
        "p50_s": {name: round(statistics.median(times), 2) for name, times in seconds.items() if times},
        "p95_s": {
            name: round(statistics.quantiles(times, n=20)[-1], 2)
            for name, times in seconds.items()
            if len(times) > 1
        },
    }


def memory_bytes(pid: int) -> int:
    """Return the proportional set size of a process and all that it started; shared pages count once."""
    process = psutil.Process(pid)
    return sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True)))


def _probabilities(response: httpx.Response) -> list[float]:
    if response.headers["content-type"] == "application/x-ndjson":
        lines = sorted(map(json.loads, response.text.splitlines()), key=lambda line: line["index"])
        return [line["result"]["malignant_probability"] for line in lines]
    answer = response.json()
    if "photos" in answer:
        found = [answer["improved_probability"]]
        return found + [photo["improved_probability_so_far"] or 0 for photo in answer["photos"]]
    return [answer["malignant_probability"], *(one["probability"] for one in answer["diagnoses"])]


def _same(found: list[float], expected: list[float]) -> bool:
    return len(found) == len(expected) and all(
        abs(one - other) < TOLERANCE for one, other in zip(found, expected, strict=True)
    )


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
