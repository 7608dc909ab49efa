"""Visitors of the page over HTTP: each opens it, sends a photo and gets the answer rendered."""

import asyncio
import re
import ssl
import time
from collections import Counter, defaultdict

import httpx

RETRY_AFTER_S = 1.0
"""A person presses "Try again"; a killed process takes a moment to close its port."""
MAX_TRIES = 5
TIMEOUT_S = 60
_LINKED = re.compile(r'(?:src|href)="([\w/.-]+\.(?:js|css|jpg|ico))"')
_API = re.compile(r'data-api="([^"]+)"')


class Visitors:
    """Run sessions, some at a time; a request that fails is repeated, as "Try again" of the page does.

    Args:
        url: of the page, with a slash at the end.
        photo: JPEG that each visitor sends.
        num_at_once: sessions at a time.

    Attributes:
        answered: sessions with a rendered verdict.
        failures: of requests that were repeated, by error.
        seconds: durations of all requests that succeeded, by kind.
    """

    def __init__(self, url: str, photo: bytes, *, num_at_once: int) -> None:
        self._url = httpx.URL(url)
        self._photo = photo
        self._tls = ssl.create_default_context()  # loaded once, it takes 20 ms
        self._places = asyncio.Semaphore(num_at_once)
        self.answered = 0
        self.failures: Counter[str] = Counter()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    async def come(self, num_sessions: int) -> None:
        """Run the sessions; raises an exception group if a request fails ``MAX_TRIES`` times."""
        async with asyncio.TaskGroup() as sessions:
            for _ in range(num_sessions):
                sessions.create_task(self._session())

    async def _session(self) -> None:
        async with self._places, self._client() as client:
            document = (await self._request(client, "first view", "GET", "")).text
            linked = sorted(set(_LINKED.findall(document)))
            await asyncio.gather(*(self._request(client, "first view", "GET", path) for path in linked))
            api = _API.findall(document)[0]
            files = {"file": ("lesion.jpg", self._photo, "image/jpeg")}
            answer = await self._request(client, "answer", "POST", f"{api}lesion", files=files)
            shown = await self._request(client, "rendering", "POST", "render/lesion", content=answer.content)
            if 'class="gauge"' not in shown.text:
                raise ValueError(f"the rendered answer has no probability: {shown.text[:200]}")
            self.answered += 1

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, verify=self._tls)

    async def _request(
        self, client: httpx.AsyncClient, kind: str, method: str, path: str, **content
    ) -> httpx.Response:
        for _ in range(MAX_TRIES):
            start = time.perf_counter()
            try:
                response = (await client.request(method, self._url.join(path), **content)).raise_for_status()
            except httpx.HTTPStatusError as error:
                self.failures[str(error.response.status_code)] += 1
            except httpx.TransportError as error:
                self.failures[type(error).__name__] += 1
            else:
                self.seconds[kind].append(time.perf_counter() - start)
                return response
            await asyncio.sleep(RETRY_AFTER_S)
        raise TimeoutError(
            f"{method} {path or 'of the page'} failed {MAX_TRIES} times: {dict(self.failures)}"
        )
