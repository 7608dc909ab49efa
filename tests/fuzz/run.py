"""Send mutated requests to a server and count what it does."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import get_args

import httpx

from serve.schemas import ErrorCode
from tests.fuzz.processes import ServerProcesses
from tests.fuzz.requests import FuzzRequest, body_request, file_request

CONCURRENCY = 4
TIMEOUT_S = 90
"""Longer than the deadline of the server."""
_OVERLOAD_PAUSE_S = 1
_FAULTS = ("internal", "deadline_exceeded")


@dataclass
class Report:
    """What happened."""

    requests: int = 0
    files: int = 0
    bodies: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    """Of photos: ``ok``, or the code of the error."""
    faults: list[str] = field(default_factory=list)
    """Answers of 5xx, answers in a wrong form, and requests without an answer; each with its saved input."""
    overloaded: int = 0
    """Answers of 503 with ``Retry-After``; the request is sent again."""
    slowest_s: float = 0
    slowest: str = ""
    restarted: list[str] = field(default_factory=list)
    """Replicas that were lost, by title."""
    helpers: set[int] = field(default_factory=set)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    """In MB, after a tenth of the requests and at the end, without requests in progress."""

    def lines(self) -> Iterator[str]:
        """Yield the report for people."""
        yield f"{self.requests} requests with {self.files} mutated files and {self.bodies} mutated bodies"
        yield f"statuses: {dict(sorted(self.statuses.items()))}; overloaded, sent again: {self.overloaded}"
        yield f"photos and errors by code: {dict(self.codes.most_common())}"
        yield f"slowest answer: {self.slowest_s:.2f} s, {self.slowest}"
        yield f"replicas restarted: {self.restarted or 'none'}; helpers seen: {len(self.helpers)}"
        yield f"memory in MB: {self.memory}"
        yield f"faults: {len(self.faults)}"
        yield from self.faults


class Fuzzer:
    """Send the requests of one seed with a few clients at a time.

    Args:
        folder: for the inputs of faults.
    """

    def __init__(self, url: str, *, seed: int, num_files: int, num_bodies: int, folder: Path) -> None:
        self._url = url
        self._seed = seed
        self._num_files = num_files
        self._num_bodies = num_bodies
        self._folder = folder
        self._processes = ServerProcesses(httpx.URL(url).port or 80)
        self._file_numbers, self._body_numbers = count(), count()
        self.report = Report()

    async def run(self, show: Callable[[str], object]) -> Report:
        """Send all requests; call ``show`` with the progress now and then."""
        before = self._processes.replicas()
        watch = asyncio.create_task(self._watch(show))
        async with httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT_S, trust_env=False) as http:
            for share in (0.1, 1.0):
                work = self._requests(share)
                await asyncio.gather(*(self._send_all(http, work) for _ in range(CONCURRENCY)))
                self.report.memory[f"{share:.0%}"] = self._processes.memory()
        watch.cancel()
        self.report.helpers |= self._processes.helpers()
        after = self._processes.replicas()
        self.report.restarted = [title for pid, title in before.items() if pid not in after]
        return self.report

    def _requests(self, share: float) -> Iterator[tuple[str, FuzzRequest]]:
        """Yield requests up to a share of all, files and bodies in proportion."""
        report, num_files, num_bodies = self.report, share * self._num_files, share * self._num_bodies
        while report.files < num_files or report.bodies < num_bodies:
            files_are_behind = report.files * num_bodies <= report.bodies * num_files
            if report.files < num_files and (files_are_behind or report.bodies >= num_bodies):
                number = next(self._file_numbers)
                request = file_request(self._seed, number)
                report.files += request.num_files
                yield f"files-{number}", request
            else:
                number = next(self._body_numbers)
                report.bodies += 1
                yield f"body-{number}", body_request(self._seed, number)

    async def _send_all(self, http: httpx.AsyncClient, work: Iterator[tuple[str, FuzzRequest]]) -> None:
        for name, request in work:
            await self._send(http, name, request)

    async def _send(self, http: httpx.AsyncClient, name: str, request: FuzzRequest) -> None:
        report = self.report
        while True:
            start = time.monotonic()
            report.requests += 1
            try:
                answer = await http.post(request.path, content=request.body, headers=request.headers)
            except httpx.HTTPError as error:
                self._record_fault(name, request, f"no answer ({type(error).__name__}: {error})")
                return
            seconds = time.monotonic() - start
            if seconds > report.slowest_s:
                report.slowest_s, report.slowest = seconds, f"{name} {request.path}"
            report.statuses[answer.status_code] += 1
            if answer.status_code != 503 or "retry-after" not in answer.headers:
                break
            report.overloaded += 1
            await asyncio.sleep(_OVERLOAD_PAUSE_S)
        fault = self._check(request, answer)
        if fault:
            self._record_fault(name, request, f"{answer.status_code} {fault}")

    def _check(self, request: FuzzRequest, answer: httpx.Response) -> str:
        """Count the codes of an answer; return what is wrong with it."""
        try:
            if answer.status_code == 200 and request.path.startswith("/v1/lesion/batch"):
                bodies = [json.loads(line) for line in answer.text.splitlines()]
            else:
                bodies = [answer.json()]
        except ValueError:
            return f"without JSON: {answer.text[:200]!r}"
        codes = [body["error"]["code"] if "error" in body else "ok" for body in bodies]
        self.report.codes.update(codes)
        if answer.status_code >= 500 or any(code in _FAULTS for code in codes):
            return answer.text[:200]
        if any(code not in ("ok", *get_args(ErrorCode)) for code in codes):
            return f"with an unknown code: {answer.text[:200]}"
        return "" if answer.status_code in (200, *range(400, 500)) else "unexpected"

    def _record_fault(self, name: str, request: FuzzRequest, what: str) -> None:
        """Save the input, with a file of curl's options beside it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        path.write_bytes(request.body)
        options = [f'header = "{key}: {value}"'.replace("\\", "") for key, value in request.headers.items()]
        lines = [f'url = "{self._url}{request.path}"', f'data-binary = "@{path}"', *options]
        path.with_name(f"{name}.curl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.report.faults.append(f"{what}; curl --config {path}.curl")

    async def _watch(self, show: Callable[[str], object]) -> None:
        while True:
            await asyncio.sleep(20)
            report = self.report
            report.helpers |= self._processes.helpers()
            show(
                f"{report.files} files, {report.bodies} bodies, {report.requests} requests, "
                f"{len(report.faults)} faults, memory in MB: {self._processes.memory()}"
            )
