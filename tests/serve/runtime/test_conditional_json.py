import gzip

from fastapi import Request, Response

from serve.runtime.conditional_json import conditional_json

BODY = b'{"models":[' + b"1," * 4000 + b"1]}"


def answered(body: bytes = BODY, **headers: str) -> Response:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return conditional_json(Request({"type": "http", "headers": raw}), body)


def test_a_client_that_has_the_body_gets_304_with_the_same_etag():
    first = answered()
    again = answered(if_none_match=f'"other", {first.headers["etag"]}')

    assert (first.status_code, first.body) == (200, BODY)
    assert (again.status_code, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == again.headers["cache-control"] == "private, no-cache"


def test_another_body_has_another_etag():
    etag = answered().headers["etag"]

    assert answered(b"{}", if_none_match=etag).status_code == 200


def test_the_body_is_compressed_for_clients_that_accept_gzip():
    plain, compressed = answered(), answered(accept_encoding="br, gzip")

    assert compressed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert gzip.decompress(bytes(compressed.body)) == BODY
    assert int(compressed.headers["content-length"]) == len(compressed.body) < len(BODY) / 10
    assert {one.headers["vary"] for one in (plain, compressed)} == {"Accept-Encoding"}
    assert compressed.headers["etag"] == plain.headers["etag"]
