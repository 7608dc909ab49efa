import gzip
import tarfile
import time
import tracemalloc

import pytest

from serve.runtime.errors import ApiError
from tests.serve.jobs.archives import code_of, read, tar_of


def test_a_pax_header_of_any_size_is_not_read_into_memory():
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 50_000_000
    archive = gzip.compress(header.tobuf() + bytes(50_000_000))

    tracemalloc.start()
    code = code_of(archive)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert code == "unreadable_archive" and peak < 10_000_000


def test_a_pax_header_of_digits_takes_no_time_with_the_lock_of_the_interpreter():
    """CVE-2024-6232: ``tarfile`` of some Python versions reads it in quadratic time."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 900_000
    started = time.monotonic()

    code = code_of(header.tobuf() + b"1" * 900_000 + bytes(2048))

    assert code == "unreadable_archive" and time.monotonic() - started < 5


def test_a_chain_of_sparse_blocks_is_not_read_into_memory():
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[482] = 1  # more blocks follow
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = (b"00000000001\0" * 42)[:504] + b"\1" + bytes(7)
    archive = gzip.compress(bytes(header) + block * 20_000)

    tracemalloc.start()
    with pytest.raises(ApiError, match="header of more than"):
        read(archive)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 10_000_000


def test_global_headers_of_a_tar_are_limited():
    record = [f"{number}=b\n" for number in range(1000, 3000)]
    body = "".join(f"{len(one) + 3} {one}" for one in record).encode()
    header = tarfile.TarInfo("g")
    header.type = tarfile.XGLTYPE
    parts = [body[at : at + 2970] for at in range(0, len(body), 2970)]  # whole records of 11 bytes
    archive = b""
    for part in parts:
        header.size = len(part)
        archive += header.tobuf() + part.ljust(-(-len(part) // 512) * 512, b"\0")
        archive += tar_of({"a.jpg": b"a"})[:1024]

    with pytest.raises(ApiError, match="more than 100 global headers"):
        read(archive + bytes(1024))


def test_chained_headers_end_with_an_error():
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    archive = (header.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 3000

    assert code_of(archive) == "unreadable_archive"
