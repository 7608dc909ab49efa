"""Mutate bytes at random; equal seeds give equal results.

A mutator takes the random generator, the data and a second input, and returns the mutated data.
"""

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

Mutator = Callable[[random.Random, bytes, bytes], bytes]

MAX_BYTES = 60_000
"""Longer results are cut off."""
_NUM_MUTATIONS = (1, 1, 1, 1, 2, 4)
_HEAD_BYTES = 256
_NEAR_BYTES = 64
_TOKENS = (
    b"\xff\xd8 \xff\xd9 \xff\xda \xff\xc0 \xff\xc2 \xff\xc4 \xff\xdb \xff\xdd \xff\xe1 \xff\xe2 Exif\0\0 "
    b"ICC_PROFILE\0 http://ns.adobe.com/xap/1.0/\0 Adobe MPF\0 IHDR PLTE tRNS IDAT IEND iCCP eXIf iTXt acTL "
    b"fcTL fdAT RIFF WEBP VP8X VP8L VP8 ALPH ANIM ANMF EXIF XMP ftyp meta hdlr pitm iinf infe iloc "
    b"iref iprp ipco ipma ispe pixi irot imir clap colr auxC hvcC av1C mdat idat moov trak II*\0 MM\0* jp2c "
    b"jp2h ihdr cdef pclr cmap \xff\x4f \xff\x51 \xff\x52 \xff\x5c \xff\x90 \xff\x93 GIF87a GIF89a "
    b"NETSCAPE2.0 \x21\xff \x21\xf9 BM acsp RGB GRAY CMYK XYZ A2B0 <x:xmpmeta <rdf:RDF DateTimeOriginal "
    b"2026:01:01"
).split(b" ")
_INTEGERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


class Part(NamedTuple):
    """A segment, chunk or box of a file."""

    start: int
    end: int
    length_at: int
    length_format: str
    """Of ``struct``."""


def mutate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Apply one to four mutators; repair the checksums of most PNGs.

    Args:
        other: a second input, for splicing.
    """
    for _ in range(rng.choice(_NUM_MUTATIONS)):
        data = rng.choice(MUTATORS)(rng, data, other)
    data = data[:MAX_BYTES]
    return repair_png(data) if rng.random() < 0.8 else data


def find_parts(data: bytes) -> list[Part]:
    """Return the segments of a JPEG, chunks of a PNG or RIFF file, or boxes of an ISO media file."""
    if data[:2] == b"\xff\xd8":
        return _walk(data, 2, length_at=2, length_format=">H", overhead=2)
    if data[:4] == b"\x89PNG":
        return _walk(data, 8, length_at=0, length_format=">I", overhead=12)
    if data[:4] == b"RIFF":
        return _walk(data, 12, length_at=4, length_format="<I", overhead=8)
    boxes = _walk(data, 0, length_at=0, length_format=">I", overhead=0)
    inner = [box for box in boxes if data[box.start + 4 : box.start + 8] == b"meta"]
    for box in inner:
        boxes += _walk(data[: box.end], box.start + 12, length_at=0, length_format=">I", overhead=0)
    return boxes


def repair_png(data: bytes) -> bytes:
    """Return a PNG with correct checksums, so that a decoder reads the mutated chunks; others as they are."""
    if data[:4] != b"\x89PNG":
        return data
    repaired = bytearray(data)
    for part in find_parts(data):
        if part.end - part.start >= 12:
            checksum = zlib.crc32(data[part.start + 4 : part.end - 4])
            repaired[part.end - 4 : part.end] = struct.pack(">I", checksum)
    return bytes(repaired)


def _flip_bits(rng: random.Random, data: bytes, other: bytes) -> bytes:
    mutated = bytearray(data)
    for _ in range(min(len(data), rng.choice((1, 1, 2, 8, 32)))):
        mutated[_position(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(mutated)


def _overwrite_run(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, length = _run(rng, data)
    fill = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
    return data[:start] + fill + data[start + length :]


def _insert_run(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, length = _run(rng, data)
    return data[:start] + rng.choice((rng.randbytes(length), data[start : start + length])) + data[start:]


def _delete_run(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, length = _run(rng, data)
    return data[:start] + data[start + length :]


def _truncate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.choice((_position(rng, data), max(0, len(data) - rng.randint(1, 64))))]


def _splice(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: _position(rng, data)] + other[_position(rng, other) :]


def _edit_integer(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return _with_integer(rng, data, _position(rng, data), rng.choice("<>") + rng.choice("BHIQ"))


def _write_token(rng: random.Random, data: bytes, other: bytes) -> bytes:
    start, token = _position(rng, data), rng.choice(_TOKENS)
    return data[:start] + token + data[start + rng.choice((0, len(token))) :]


def _edit_length(rng: random.Random, data: bytes, other: bytes) -> bytes:
    parts = find_parts(data)
    if not parts:
        return _edit_integer(rng, data, other)
    part = rng.choice(parts)
    return _with_integer(rng, data, part.length_at, part.length_format)


def _rearrange_parts(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Swap two parts, duplicate one, delete one, or insert one of the other file."""
    parts = find_parts(data)
    if not parts:
        return _insert_run(rng, data, other)
    one, two = sorted((rng.choice(parts), rng.choice(parts)))
    first, second = data[one.start : one.end], data[two.start : two.end]
    action = rng.randrange(4)
    if action == 0 and one.end <= two.start:
        return data[: one.start] + second + data[one.end : two.start] + first + data[two.end :]
    if action == 1:
        return data[: one.start] + first * rng.choice((2, 3, 100)) + data[one.end :]
    if action == 2:
        return data[: one.start] + data[one.end :]
    foreign = find_parts(other)
    inserted = rng.choice(foreign) if foreign else Part(0, 0, 0, "")
    return data[: two.start] + other[inserted.start : inserted.end] + data[two.start :]


MUTATORS: Sequence[Mutator] = (
    _flip_bits,
    _overwrite_run,
    _insert_run,
    _delete_run,
    _truncate,
    _splice,
    _edit_integer,
    _write_token,
    _edit_length,
    _rearrange_parts,
)


def _position(rng: random.Random, data: bytes) -> int:
    """Return a position: anywhere, in the head, or behind a token of the formats."""
    if not data:
        return 0
    place = rng.random()
    if place < 0.3:
        return rng.randrange(min(len(data), _HEAD_BYTES))
    if place < 0.6:
        found = data.find(rng.choice(_TOKENS))
        if found >= 0:
            return min(len(data) - 1, found + rng.randrange(_NEAR_BYTES))
    return rng.randrange(len(data))


def _run(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = _position(rng, data)
    return start, min(len(data) - start, rng.choice((1, 2, 4, 16, 64, 512)))


def _with_integer(rng: random.Random, data: bytes, at: int, format: str) -> bytes:
    """Overwrite an integer by a limit of some type, or by one that is a little larger or smaller."""
    size = struct.calcsize(format)
    if at + size > len(data):
        return data
    (found,) = struct.unpack_from(format, data, at)
    wanted = rng.choice(
        (rng.choice(_INTEGERS), found + rng.randint(-8, 8), found * 2, rng.getrandbits(8 * size))
    )
    return data[:at] + struct.pack(format, wanted % (1 << 8 * size)) + data[at + size :]


def _walk(data: bytes, start: int, *, length_at: int, length_format: str, overhead: int) -> list[Part]:
    """Follow length fields to the end of the data, or to the first that is invalid."""
    parts = []
    while start + length_at + struct.calcsize(length_format) <= len(data):
        (length,) = struct.unpack_from(length_format, data, start + length_at)
        end = start + length + overhead + (length % 2 if length_format == "<I" else 0)
        if length + overhead < 2 or end > len(data):
            break
        parts.append(Part(start, end, start + length_at, length_format))
        start = end
    return parts
