import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from serve.runtime.content_encoding import MAX_GZIP_MEMBERS, PIECE_BYTES, new_decoder
from serve.runtime.errors import ApiError


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODERS = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "Deflate": raw_deflate}


def decode(encoding: str, *chunks: bytes) -> bytes:
    headers = [(b"content-encoding", value.encode()) for value in encoding.split("|")]
    decoder = new_decoder(Request({"type": "http", "method": "POST", "headers": headers}))
    found = b"".join(piece for chunk in chunks for piece in decoder.decode(chunk))
    decoder.finish()
    return found


def message_of(encoding: str, *chunks: bytes, code: str = "invalid_request") -> str:
    with pytest.raises(ApiError) as rejection:
        decode(encoding, *chunks)
    assert rejection.value.code == code
    return str(rejection.value)


@pytest.mark.parametrize("encoding", ENCODERS)
@given(data=st.binary(max_size=300), step=st.integers(1, 50))
def test_a_body_is_decoded_in_chunks_of_any_size(encoding: str, data: bytes, step: int):
    body = ENCODERS[encoding](data)

    assert decode(encoding, *(body[at : at + step] for at in range(0, len(body), step))) == data


@pytest.mark.parametrize("encoding", ENCODERS)
def test_data_of_more_than_one_piece_is_decoded(encoding: str):
    for size in (PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES):
        assert decode(encoding, ENCODERS[encoding](bytes(size))) == bytes(size)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity , identity", "identity|identity"])
def test_a_body_without_encoding_is_passed_on(encoding: str):
    assert decode(encoding, b"ab", b"c") == b"abc"


def test_an_empty_body_has_no_encoding():
    assert decode("gzip", b"") == decode("deflate") == b""


def test_gzip_members_are_joined():
    assert decode("gzip", gzip.compress(b"ab") + gzip.compress(b""), gzip.compress(b"c")) == b"abc"


def test_gzip_members_are_limited():
    assert f"more than {MAX_GZIP_MEMBERS} members" in message_of(
        "gzip", gzip.compress(b"") * (MAX_GZIP_MEMBERS + 1)
    )


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip|br", "pack200-gzip"])
def test_unknown_and_stacked_encodings_are_rejected_by_name(encoding: str):
    message = message_of(encoding, b"x", code="unsupported_type")

    assert encoding.split("|")[-1] in message and "gzip and deflate" in message


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_truncated_body_is_rejected(encoding: str):
    body = ENCODERS[encoding](bytes(range(256)))

    for size in range(1, len(body)):
        assert "cut off" in message_of(encoding, body[:size])


def test_a_damaged_body_is_rejected():
    body = bytearray(gzip.compress(bytes(range(256))))
    body[-5] ^= 1  # of the checksum

    assert "damaged" in message_of("gzip", bytes(body))
    assert "damaged" in message_of("gzip", b"\xff\xd8\xff\xe0 a JPEG")
    assert "damaged" in message_of("gzip", gzip.compress(b"a") + b"garbage")
    assert "followed by other data" in message_of("deflate", zlib.compress(b"a") + b"garbage")


def test_a_bomb_is_decoded_in_small_pieces():
    bomb = gzip.compress(bytes(50_000_000))
    decoder = new_decoder(Request({"type": "http", "headers": [(b"content-encoding", b"gzip")]}))

    tracemalloc.start()
    longest = max(len(piece) for piece in decoder.decode(bomb))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert longest == PIECE_BYTES
    assert peak_bytes < 10 * PIECE_BYTES
