from collections.abc import Callable

import httpx
import pytest

import ui.client
from ui.client import ApiClient, ApiError


def client_with(answer: Callable[[httpx.Request], httpx.Response]) -> ApiClient:
    return ApiClient("http://api", deadline_s=7, transport=httpx.MockTransport(answer))


async def test_a_photo_is_sent_unchanged_and_without_its_name(client, fake_api):
    answer = await client.lesion(b"\xff\xd8 every byte \x00 as it was")

    assert answer == fake_api.lesion
    assert fake_api.photos == [b"\xff\xd8 every byte \x00 as it was"]
    assert fake_api.names == ["photo-0"]


async def test_a_request_carries_its_deadline_and_requests_a_grad_cam_map(client, fake_api):
    await client.lesion(b"photo", top_k=3)

    assert fake_api.headers["x-request-timeout-seconds"] == "60"
    assert fake_api.query == {"explain": "true", "top_k": "3"}
    await client.lesion(b"photo")
    assert fake_api.query["top_k"] == "27", "all diagnoses; the server rejects more"


async def test_the_box_of_a_lesion_is_sent_in_pixels(client, fake_api):
    await client.lesion(b"photo", box=(120, 80, 360, 300))

    assert fake_api.query["box"] == "120,80,360,300"


async def test_a_series_is_sent_in_the_order_in_which_it_was_added(client, fake_api):
    answer = await client.progress([b"one", b"two", b"three"])

    assert fake_api.photos == [b"one", b"two", b"three"]
    assert fake_api.taken_at == []
    assert len(answer.photos) == 3


async def test_the_times_of_a_series_are_sent_in_the_order_of_its_photos(client, fake_api):
    await client.progress([b"one", b"two"], taken_at=["2026-03-09T18:30:00", "2026-03-01T12:00:00"])

    assert fake_api.taken_at == ["2026-03-09T18:30:00", "2026-03-01T12:00:00"]


async def test_models_are_typed(client):
    answer = await client.models()

    assert [model.kind for model in answer.models] == ["lesion", "progress"]


async def test_an_error_of_the_api_becomes_a_sentence_with_its_code(client, fake_api):
    fake_api.fail(422, "no_face", "no face was found in any of the 3 photos; send others")

    with pytest.raises(
        ApiError, match=r"^No face was found in any of the 3 photos; send others\.$"
    ) as caught:
        await client.progress([b"one", b"two", b"three"])

    assert caught.value.code == "no_face"


@pytest.mark.parametrize(
    ("status", "code"),
    [(408, "deadline_exceeded"), (413, "too_large"), (502, "unreachable"), (418, "unexpected")],
)
async def test_the_plain_text_of_a_proxy_becomes_a_sentence(status, code):
    client = client_with(lambda request: httpx.Response(status, text="<html>Bad</html>"))

    with pytest.raises(ApiError, match=r"(Try again|Choose smaller).*\.$") as caught:
        await client.lesion(b"photo")

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (httpx.ConnectError("refused"), "unreachable", "does not answer"),
        (httpx.ConnectTimeout("slow"), "unreachable", "does not answer"),
        (httpx.ReadTimeout("slow"), "deadline_exceeded", "within 7 s"),
        (httpx.RemoteProtocolError("cut off"), "unreachable", "was lost"),
    ],
)
async def test_a_failing_connection_becomes_a_sentence(failure, code, words):
    def fail(request: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(ApiError, match=words) as caught:
        await client_with(fail).lesion(b"photo")

    assert caught.value.code == code


async def test_a_response_of_another_version_becomes_a_sentence():
    client = client_with(lambda request: httpx.Response(200, json={"verdict": "fine"}))

    with pytest.raises(ApiError, match="Restart both") as caught:
        await client.lesion(b"photo")

    assert caught.value.code == "unexpected"


async def test_a_request_is_retried_after_a_short_overload(monkeypatch, fake_api):
    monkeypatch.setattr(ui.client, "_RETRY_AFTER_S", (0, 0))
    answers = [
        httpx.Response(503, text="busy"),
        httpx.Response(200, content=fake_api.lesion.model_dump_json()),
    ]
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return answers.pop(0)

    found = await client_with(answer).lesion(b"photo")

    assert found == fake_api.lesion
    assert b"photo" in bodies[1] and bodies[0] == bodies[1]


async def test_a_request_is_not_retried_for_ever(monkeypatch):
    monkeypatch.setattr(ui.client, "_RETRY_AFTER_S", (0, 0))
    num_requests = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal num_requests
        num_requests += 1
        return httpx.Response(503, text="busy")

    with pytest.raises(ApiError, match="busy") as caught:
        await client_with(answer).lesion(b"photo")

    assert caught.value.code == "overloaded"
    assert num_requests == 3


async def test_requests_for_a_visitor_carry_the_address_and_the_secret_of_the_proxy():
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(429)

    client = ApiClient("http://api", proxy_secret="secret", transport=httpx.MockTransport(answer))
    without_secret = client_with(answer)

    for one in (
        client.for_visitor("192.0.2.7"),
        client.for_visitor(None),
        without_secret.for_visitor("192.0.2.7"),
    ):
        with pytest.raises(ApiError):
            await one.lesion(b"photo")
        with pytest.raises(ApiError):
            await one.models()

    names = ("x-forwarded-for", "x-skinserve-proxy-secret")
    assert [tuple(map(headers.get, names)) for headers in seen] == [
        *[("192.0.2.7", "secret")] * 2,
        *[(None, None)] * 4,
    ]
