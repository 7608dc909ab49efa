import asyncio
import tempfile
from collections.abc import Iterable

import httpx
import pytest
from starlette.requests import Request

from models.images import TooLargeError
from serve.config import GatewayConfig
from serve.runtime.admission import AdaptiveLimiter, InFlight, RequestSlot
from serve.runtime.errors import ApiError
from serve.runtime.multipart import Form, FormSpec
from serve.runtime.uploads import read_body, read_form
from tests.serve.fakes import uploads

SPEC = FormSpec(
    file_field="files", text_fields=("taken_at",), max_files=3, max_file_bytes=2_000_000, max_bytes=5_000_000
)


def request_of(chunks: Iterable[bytes], **headers: str) -> tuple[Request, list[int]]:
    """A request whose body comes in chunks; the list grows by one for each chunk read."""
    left, read = list(chunks), []

    async def receive() -> dict[str, object]:
        read.append(1)
        return {"type": "http.request", "body": left.pop(0) if left else b"", "more_body": bool(left)}

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive), read


def new_slot(**settings: int) -> RequestSlot:
    return RequestSlot(GatewayConfig.model_validate(settings), InFlight(), 0, counts=True)


def encoded(files: list[tuple[str, tuple[str, bytes, str]]], times: list[str]) -> tuple[bytes, str]:
    request = httpx.Request("POST", "http://server", files=files, data={"taken_at": times})
    return request.read(), request.headers["content-type"]


async def read(body: bytes, kind: str, *, step: int = 65536, spec: FormSpec = SPEC) -> Form:
    chunks = [body[start : start + step] for start in range(0, len(body), step)]
    return await read_form(request_of(chunks, content_type=kind)[0], new_slot(), spec)


@pytest.mark.parametrize("step", [1, 7, 1000, 10**9])
async def test_a_form_is_read_in_chunks_of_any_size(step: int):
    body, kind = encoded(uploads(b"\r\n--x\r\n" * 50, b"", b"abc"), ["2026-01-01", "", "é"])

    form = await read(body, kind, step=step)

    assert form.files == [b"\r\n--x\r\n" * 50, b"", b"abc"]
    assert form.fields == {"taken_at": ["2026-01-01", "", "é"]}


async def test_a_large_form_is_not_written_to_a_disk(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, fail)
    body, kind = encoded(uploads(bytes(1_900_000), bytes(1_900_000)), [])

    form = await read(body, kind)

    assert [len(file) for file in form.files if isinstance(file, bytes)] == [1_900_000] * 2


async def test_a_file_over_its_limit_is_replaced_by_an_error():
    body, kind = encoded(uploads(b"a", bytes(2_000_001), b"c"), [])

    form = await read(body, kind)

    assert (form.files[0], form.files[2]) == (b"a", b"c")
    assert isinstance(form.files[1], TooLargeError)


@pytest.mark.parametrize(
    ("files", "times", "code"),
    [
        (uploads(b"1", b"2", b"3", b"4"), [], "too_many_photos"),
        (uploads(b"1", field_name="photo"), [], "invalid_request"),
        (uploads(b"1"), ["x"] * 4, "invalid_request"),
        (uploads(b"1"), ["x" * 1001], "invalid_request"),
    ],
)
async def test_a_form_with_other_fields_or_sizes_is_rejected(files, times: list[str], code: str):
    with pytest.raises(ApiError) as rejection:
        await read(*encoded(files, times))

    assert rejection.value.code == code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\nabc',
        b"--b\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\nabc\r\n--b--\r\n",
        b"--b\r\n" + b"X: y\r\n" * 1000 + b"\r\nabc\r\n--b--\r\n",
        b"--b\r\n\r\nno name\r\n--b--\r\n",
    ],
)
async def test_a_malformed_form_is_rejected(body: bytes):
    with pytest.raises(ApiError) as rejection:
        await read(body, "multipart/form-data; boundary=b")

    assert rejection.value.code == "invalid_request"


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 500])
async def test_an_invalid_boundary_is_rejected(kind: str):
    with pytest.raises(ApiError) as rejection:
        await read(b"--b--\r\n", kind)

    assert rejection.value.code == "invalid_request"


async def test_a_body_with_a_large_content_length_is_rejected_before_reading():
    request, read = request_of([bytes(100)], content_length="101")

    with pytest.raises(ApiError, match=r"at most 0\.0001 MB") as rejection:
        await read_body(request, new_slot(), max_bytes=100)

    assert rejection.value.code == "too_large"
    assert not read


async def test_a_body_without_content_length_is_rejected_when_it_exceeds_the_limit():
    request, read = request_of([bytes(60)] * 100)

    with pytest.raises(ApiError) as rejection:
        await read_body(request, new_slot(), max_bytes=100)

    assert rejection.value.code == "too_large"
    assert len(read) == 2


async def test_bytes_are_reserved_with_and_without_content_length():
    for headers in ({"content_length": "120"}, {}):
        with pytest.raises(ApiError) as rejection:
            await read_body(
                request_of([bytes(60)] * 2, **headers)[0], new_slot(max_bytes_in_flight=100), max_bytes=200
            )

        assert rejection.value.code == "overloaded"


async def test_a_request_slot_releases_everything():
    in_flight = InFlight()
    limiter = AdaptiveLimiter(1, "batches", retry_after_s=1)

    with RequestSlot(GatewayConfig(), in_flight, 0, counts=True) as one:
        one.reserve_bytes(10)
        one.enter_context(limiter.acquire())
        assert in_flight == InFlight(num_requests=1, num_bytes=10)
        with pytest.raises(ApiError):
            limiter.check()
    assert in_flight == InFlight()
    limiter.check()


async def test_a_slow_body_is_rejected_and_a_steady_one_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("serve.runtime.uploads.MAX_UPLOAD_PAUSE_S", 0.2)
    monkeypatch.setattr("serve.runtime.uploads.MIN_UPLOAD_BYTES_PER_S", 1000)

    async def read(chunk: bytes) -> bytes:
        left = [chunk] * 40

        async def receive() -> dict[str, object]:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        return await read_body(request, new_slot(), max_bytes=100_000)

    with pytest.raises(ApiError, match="bytes of the body arrived in 0 s; send at least 1000") as rejection:
        await read(b"x")

    assert rejection.value.code == "deadline_exceeded"
    assert len(await read(bytes(1000))) == 40_000
