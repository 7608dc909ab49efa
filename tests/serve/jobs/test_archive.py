import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serve.jobs import archive
from serve.jobs.archive import MIN_UNPACKED_BYTES, read_entries
from serve.jobs.archive_entry import MAX_NAME_CHARS, ArchiveLimits, EntryChecker
from serve.jobs.cancellation import StopEvent
from serve.runtime.errors import ApiError
from tests.serve.jobs.archives import LIMITS, code_of, read, tar_of, zip_of

PHOTOS = {"a.jpg": b"A" * 1000, "case 1/ü.jpg": b"B" * 2000, "case 1/deep/er/c.jpg": b""}

Pack = Callable[[dict[str, bytes]], bytes]
PACKERS: list[Pack] = [
    zip_of,
    lambda photos: zip_of(photos, zipfile.ZIP_DEFLATED),
    tar_of,
    lambda photos: tar_of(photos, mode="w:gz"),
]


def errors_of(archive: bytes) -> list[str]:
    """Return the messages of the entries; empty for a photo."""
    return ["" if entry.error is None else entry.error.message for entry in read(archive)]


@pytest.mark.parametrize("pack", PACKERS)
def test_photos_are_read_in_order(pack: Pack):
    assert {entry.name: entry.data for entry in read(pack(PHOTOS))} == PHOTOS
    assert [entry.name for entry in read(pack(PHOTOS))] == list(PHOTOS)


@pytest.mark.parametrize("pack", PACKERS)
def test_folders_and_hidden_files_are_left_out(pack: Pack):
    hidden = {".DS_Store": b"a", "__MACOSX/._a.jpg": b"a", "b/.c/d.jpg": b"a", "b/Thumbs.db": b"a"}

    assert [entry.name for entry in read(pack({"./a.jpg": b"a", **hidden}))] == ["a.jpg"]


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/a.jpg", "a/../../b.jpg", "c:/a.jpg", "..\\a.jpg", "\\a.jpg"]
)
def test_a_path_out_of_the_archive_is_an_error_of_its_entry(pack: Pack, name: str):
    paths = errors_of(pack({"good.jpg": b"a", name: b"b"}))

    assert paths[0] == "" and "path leads out of the archive" in paths[1]


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_a_repeated_long_or_unprintable_name_is_an_error_of_its_entry(pack: Callable[..., bytes]):
    long = "n" * (MAX_NAME_CHARS + 1)
    entries = read(pack([("a.jpg", b"a"), ("a.jpg", b"b"), (long, b"c"), ("\u202ea.jpg", b"d")]))

    assert [entry.error is None for entry in entries] == [True, False, False, False]
    assert [entry.name for entry in entries] == ["a.jpg", "a.jpg", long[:-1], "\u202ea.jpg"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"S", b"Z"]
)
def test_links_and_special_files_of_a_tar_are_errors(kind: bytes):
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = kind, "/etc/passwd"

    entries = read(tar_of({"a.jpg": b"a"}, [link]))

    assert [entry.name for entry in entries] == ["a.jpg", "link.jpg"]
    assert kind == b"Z" or "link or a special file" in errors_of(tar_of({"a.jpg": b"a"}, [link]))[1]


def test_a_link_of_a_zip_is_an_error():
    link = zipfile.ZipInfo("link.jpg")
    link.external_attr = 0o120777 << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(link, "/etc/passwd")

    assert "link or a special file" in errors_of(file.getvalue())[0]


def test_encrypted_entries_and_other_methods_of_a_zip_are_errors():
    encrypted = bytearray(zip_of({"a.jpg": b"A" * 100}))
    for signature in (b"PK\x03\x04", b"PK\x01\x02"):
        at = encrypted.index(signature) + (6 if signature == b"PK\x03\x04" else 8)
        encrypted[at] |= 1

    assert "encrypted" in errors_of(bytes(encrypted))[0]
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "compression method" in errors_of(zip_of({"a.jpg": b"A" * 100}, method))[0]


@pytest.mark.parametrize("pack", PACKERS)
def test_a_photo_over_the_limit_is_an_error_of_its_entry(pack: Pack):
    errors = errors_of(pack({"a.jpg": b"a" * 100_001, "b.jpg": b"b" * 100_000}))

    assert "more than 0.1 MB" in errors[0] and errors[1] == ""


@pytest.mark.parametrize("pack", PACKERS)
def test_too_many_photos_are_rejected(pack: Pack):
    photos = {f"{number}.jpg": b"a" for number in range(21)}

    assert code_of(pack(photos)) == "too_many_photos"
    assert len(read(pack(dict(list(photos.items())[:20])))) == 20


@pytest.mark.parametrize("pack", PACKERS)
def test_too_many_folders_are_rejected(pack: Pack):
    assert code_of(pack({f"{number}/.a": b"" for number in range(LIMITS.max_files + 1)})) == "too_many_photos"


@pytest.mark.parametrize("pack", PACKERS[:2])
def test_a_damaged_entry_of_a_zip_spoils_only_itself(pack: Pack):
    archive = bytearray(pack({"a.jpg": b"A" * 1000, "b.jpg": b"B" * 1000}))
    archive[35] ^= 0xFF
    archive[36] ^= 0xFF

    errors = errors_of(bytes(archive))

    assert "damaged" in errors[0] and errors[1] == ""


@pytest.mark.parametrize("pack", PACKERS)
def test_a_truncated_archive_is_rejected_whole(pack: Pack):
    archive = pack({"a.jpg": bytes(range(250)) * 40, "b.jpg": bytes(range(250)) * 40})

    lengths = [len(archive) // 4, len(archive) // 2, len(archive) - 30]
    if pack is tar_of:
        lengths[-1] = len(archive.rstrip(b"\0")) - 30
    assert {code_of(archive[:length]) for length in lengths} == {"unreadable_archive"}


def test_a_tar_without_an_end_or_with_a_damaged_header_is_rejected():
    archive = tar_of({"a.jpg": b"A" * 512, "b.jpg": b"B" * 512, "c.jpg": b"C" * 512})
    damaged = bytearray(archive)
    damaged[1024 + 148] ^= 0xFF  # checksum of the second header

    assert code_of(bytes(damaged)) == "unreadable_archive"
    assert code_of(archive[: 2 * 1024]) == "unreadable_archive"  # cut between two entries


@pytest.mark.parametrize(
    "archive", [b"<html>", b"", b"\x89PNG\r\n\x1a\n" + bytes(600), b"Rar!\x1a\x07" + bytes(600)]
)
def test_other_files_are_no_archives(archive: bytes):
    assert code_of(archive) == "unsupported_type"


def test_an_empty_archive_has_no_photos():
    assert read(zip_of({})) == []
    assert read(tar_of({".hidden": b""})) == []


def test_a_gzip_bomb_is_rejected_without_its_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MIN_UNPACKED_BYTES", 10_000_000)
    member = tarfile.TarInfo("big.jpg")
    member.size = 40_000_000
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = packer.compress(member.tobuf())
    for _ in range(4):
        bomb += packer.compress(bytes(10_000_000))
    bomb += packer.flush()

    tracemalloc.start()
    code = code_of(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert code == "too_large" and len(bomb) < 1_000_000 and peak < 5_000_000


class CountedFile(io.BytesIO):
    """Count reads; end the request in the last of ``reads_until_stop``."""

    def __init__(self, content: bytes, reads_until_stop: int = 0) -> None:
        super().__init__(content)
        self.num_reads = 0
        self.stop = StopEvent()
        self._reads_until_stop = reads_until_stop

    def read(self, size: int | None = -1, /) -> bytes:
        self.num_reads += 1
        if self.num_reads == self._reads_until_stop:
            self.stop.set()
        return super().read(size)


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("name", [".hidden", "large.jpg"])
def test_reading_ends_with_the_request(pack: Pack, name: str):
    noise = random.Random(0).randbytes(3_000_000)
    packed = pack({"a.jpg": noise[:90_000], name: noise, "b.jpg": noise[:90_000]})
    file = CountedFile(packed, reads_until_stop=4)

    with pytest.raises(ApiError) as caught:
        list(read_entries(file, len(packed), LIMITS, file.stop))

    assert caught.value.code == "deadline_exceeded" and file.num_reads == 4


def test_a_name_in_a_gzip_header_is_skipped_in_large_reads():
    packed = gzip.compress(tar_of(PHOTOS))
    file = CountedFile(packed[:3] + b"\x08" + packed[4:10] + b"n" * 1_000_000 + b"\0" + packed[10:])

    assert [entry.name for entry in read_entries(file, 1_000_000, LIMITS)] == list(PHOTOS)
    assert file.num_reads < 30


def test_members_of_gzip_are_limited_and_padding_is_ignored():
    content = tar_of(PHOTOS)
    halves = gzip.compress(content[:1000]) + bytes(100_000) + gzip.compress(content[1000:])

    assert [entry.name for entry in read(halves + bytes(1000))] == list(PHOTOS)
    with pytest.raises(ApiError, match="more than 10000 gzip members"):
        read(gzip.compress(b"") * 10_001)


def test_a_wrong_checksum_of_gzip_is_damage():
    packed = bytearray(gzip.compress(tar_of(PHOTOS)))
    packed[-8] ^= 0xFF

    assert code_of(bytes(packed)) == "unreadable_archive"


def test_long_names_are_not_kept():
    names = EntryChecker(LIMITS)

    errors = [names.check("a" * 8000 + str(number)) for number in range(10)]

    assert all(error is not None and "8001 characters" in error.message for error in errors)
    assert not names._names


def test_a_zip_directory_of_any_size_is_not_read_into_memory():
    size = 40_000_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 4, 0)
    archive = b"PK\x03\x04" + bytes(size) + end

    assert code_of(archive) == "unreadable_archive"


def test_a_zip_bomb_is_an_error_of_its_entry():
    limits = ArchiveLimits(max_photos=20, max_photo_bytes=20_000_000)

    (bomb,) = read(zip_of({"a.bmp": bytes(19_000_000)}, zipfile.ZIP_DEFLATED), limits)

    assert bomb.error is not None and "compressed more than 200 times" in bomb.error.message


def test_many_entries_that_unpack_to_too_much_are_rejected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MIN_UNPACKED_BYTES", 5_000_000)
    limits = ArchiveLimits(max_photos=20, max_photo_bytes=20_000_000)
    drawn = bytes(range(256)) * 1000 + random.Random(0).randbytes(10_000) + bytes(1_600_000)
    packed = zip_of({f"{number}.bmp": drawn for number in range(8)}, zipfile.ZIP_DEFLATED)

    assert len(packed) < 200_000 and code_of(packed, limits) == "too_large"


def test_damaged_entries_count_to_the_unpacked_bytes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MIN_UNPACKED_BYTES", 5_000_000)
    limits = ArchiveLimits(max_photos=20, max_photo_bytes=20_000_000)
    packed = bytearray(zip_of({f"{number}.bmp": bytes(900_000) for number in range(8)}, zipfile.ZIP_DEFLATED))
    at = 0
    while (at := packed.find(b"PK\x01\x02", at + 1)) >= 0:
        packed[at + 16] ^= 0xFF  # checksum

    assert len(packed) < 20_000 and code_of(bytes(packed), limits) == "too_large"


def test_a_zip_entry_that_lies_about_its_size_is_read_to_the_limit_only():
    archive = bytearray(zip_of({"a.jpg": bytes(90_000)}, zipfile.ZIP_DEFLATED))
    at = archive.index(b"PK\x01\x02") + 24
    archive[at : at + 4] = struct.pack("<L", 10)

    (entry,) = read(bytes(archive))

    assert len(entry.data) <= 10 and (entry.error is not None or len(entry.data) == 10)


def test_overlapping_entries_are_bounded():
    """Entries that share their data: a small archive unpacks to the square of its size."""
    limits = ArchiveLimits(max_photos=1000, max_photo_bytes=20_000_000)
    noise = zlib.compress(bytes(range(256)) * 8) * 2000  # barely compressible
    archive = bytearray(zip_of({f"{number:03}.jpg": noise if number == 0 else b"" for number in range(300)}))
    first = archive.index(b"PK\x01\x02")
    central = bytes(archive[first : first + 46])
    at = first
    while (at := archive.find(b"PK\x01\x02", at)) >= 0:
        archive[at + 16 : at + 28] = central[16:28]  # CRC and sizes of the first
        archive[at + 42 : at + 46] = central[42:46]  # its offset
        at += 46

    try:
        entries = read(bytes(archive), limits)
    except ApiError as error:
        assert error.code == "too_large"
    else:  # zipfile compares the names of both headers
        assert sum(entry.error is None for entry in entries) == 1


MUTATED = [zip_of(PHOTOS), zip_of(PHOTOS, zipfile.ZIP_DEFLATED), tar_of(PHOTOS), tar_of(PHOTOS, mode="w:gz")]
PAX = tar_of({"ü" * 120: b"a", "b.jpg": b"b"})


@given(
    archive=st.sampled_from([*MUTATED, PAX]),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 12_000),
)
@example(archive=PAX, changes=[], cut=12_000)
@settings(max_examples=400)
def test_mutated_archives_are_read_or_rejected(archive: bytes, changes: list[tuple[int, int]], cut: int):
    mutated = bytearray(archive)
    for position, value in changes:
        mutated[position % len(mutated)] = value
    data = bytes(mutated[:cut])

    try:
        entries = read(data)
    except ApiError as error:
        assert error.code in ("unreadable_archive", "unsupported_type", "too_large", "too_many_photos")
        assert "\n" not in str(error)
    else:
        assert sum(len(entry.data) for entry in entries) <= MIN_UNPACKED_BYTES
        assert all(len(entry.name) <= MAX_NAME_CHARS for entry in entries)


@given(
    data=st.binary(max_size=2000),
    start=st.sampled_from([b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"", b"PK\x05\x06"]),
)
@settings(max_examples=300)
def test_any_bytes_are_read_or_rejected(data: bytes, start: bytes):
    block = (start + data).ljust(600, b"\0")

    for mutated in (start + data, block[:257] + b"ustar\x0000" + block[265:]):
        try:
            read(mutated)
        except ApiError as error:
            assert error.code in ("unreadable_archive", "unsupported_type", "too_large", "too_many_photos")
