import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.image_files.capture_time import MAX_XMP_BYTES, capture_time
from models.images import decode_bounded
from tests.photo_files import encoded

EXIF_BLOCK, GPS_BLOCK = 0x8769, 0x8825
MAKE, DATE_TIME, ORIGINAL, DIGITIZED = 0x010F, 0x0132, 0x9003, 0x9004
OFFSET, OFFSET_ORIGINAL, OFFSET_DIGITIZED = 0x9010, 0x9011, 0x9012
SUBSECOND_ORIGINAL = 0x9291
GPS_TIME, GPS_DAY = 7, 29
TAKEN = datetime(2024, 3, 1, 10, 0, 0)
TEXT = "2024:03:01 10:00:00"
OTHER = "2023:07:08 09:10:11"


def photo(
    *, exif: Mapping[int, object] = {}, gps: Mapping[int, object] = {}, xmp: str = "", **options
) -> bytes:
    """Draw a photo with these EXIF tags, by default of the Exif block, GPS tags and XMP packet."""
    written = Image.Exif()
    written[MAKE] = "camera"  # Pillow writes no block without a tag beside it
    for tag, value in exif.items():
        (written if tag == DATE_TIME else written.get_ifd(EXIF_BLOCK))[tag] = value
    written.get_ifd(GPS_BLOCK).update(gps)
    if xmp:
        options["xmp"] = xmp.encode()
    drawn = Image.new("RGB", (16, 16), (200, 120, 100))
    return encoded(drawn, options.pop("kind", "JPEG"), exif=written.tobytes(), **options)


def time_of(data: bytes) -> datetime | None:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return capture_time(image)


def packet(properties: str, *, head: str = "") -> str:
    """An XMP packet with attributes of rdf:Description."""
    return (
        f'{head}<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" {properties}/></rdf:RDF></x:xmpmeta>'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TEXT, "2024-03-01T10:00:00"),
        ("2024/03/01 10:00:00", "2024-03-01T10:00:00"),
        ("2024-03-01T10:00:00", "2024-03-01T10:00:00"),
        ("2024-03-01 10:00:00", "2024-03-01T10:00:00"),
        ("2024.03.01 10.00.00", "2024-03-01T10:00:00"),
        ("2024:3:1 9:5:7", "2024-03-01T09:05:07"),
        ("2024:03:01 10:00", "2024-03-01T10:00:00"),
        ("2024:03:01", "2024-03-01T00:00:00"),
        ("2024:03:01 24:15:00", "2024-03-01T00:15:00"),
        ("2024:03:01 10:00:00.25", "2024-03-01T10:00:00.250000"),
        ("2024:03:01 10:00:00,123456789", "2024-03-01T10:00:00.123456"),
        ("2024-03-01T10:00:00Z", "2024-03-01T10:00:00+00:00"),
        ("2024-03-01T10:00:00.5-0330", "2024-03-01T10:00:00.500000-03:30"),
        ("2024:03:01 10:00:00+02:00", "2024-03-01T10:00:00+02:00"),
        ("  2024:03:01 10:00:00 \0rest", "2024-03-01T10:00:00"),
    ],
)
def test_every_written_form_of_a_time_is_understood(text: str, expected: str):
    assert time_of(photo(exif={ORIGINAL: text})) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "text",
    [
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "",
        "yesterday",
        "2024:02:30 10:00:00",
        "2024:03:01 10:61:00",
        "1970:01:01 00:00:00",
        "2567:03:01 10:00:00",
        "01/03/2024 10:00:00",
    ],
)
def test_impossible_and_implausible_times_are_missing(text: str):
    assert time_of(photo(exif={ORIGINAL: text})) is None
    assert time_of(photo(exif={ORIGINAL: text, DIGITIZED: TEXT})) == TAKEN


@pytest.mark.parametrize(("hours", "is_known"), [(20, True), (30, False)])
def test_a_time_of_more_than_a_day_in_the_future_is_missing(hours: int, is_known: bool):
    future = datetime.now(UTC) + timedelta(hours=hours)

    assert (time_of(photo(exif={ORIGINAL: f"{future:%Y:%m:%d %H:%M:%S}"})) is not None) == is_known


@pytest.mark.parametrize(
    ("zones", "hours"),
    [
        ({OFFSET_ORIGINAL: "+05:00", OFFSET_DIGITIZED: "+06:00", OFFSET: "+07:00"}, 5),
        ({OFFSET_DIGITIZED: "+06:00", OFFSET: "+07:00"}, 6),
        ({OFFSET_ORIGINAL: "   :  ", OFFSET: "-0700"}, -7),
        ({OFFSET: "Z"}, 0),
    ],
)
def test_the_time_zone_has_tags_of_its_own(zones: dict[int, object], hours: int):
    taken = time_of(photo(exif={ORIGINAL: TEXT} | zones))

    assert taken is not None
    assert taken.utcoffset() == timedelta(hours=hours)
    assert taken.replace(tzinfo=None) == TAKEN


@pytest.mark.parametrize(("written", "expected"), [("042", 42_000), ("5", 500_000), ("x", 0), ("  ", 0)])
def test_subseconds_have_a_tag_of_their_own(written: str, expected: int):
    taken = time_of(photo(exif={ORIGINAL: TEXT, SUBSECOND_ORIGINAL: written}))

    assert taken == TAKEN.replace(microsecond=expected)


def test_the_best_source_decides():
    gps = {GPS_DAY: "2022:02:03", GPS_TIME: (4.0, 5.0, 6.5)}
    xmp = packet('xmp:CreateDate="2021-01-02T03:04:05+01:00"')
    modified = {DATE_TIME: "2025:01:01 12:00:00"}

    assert time_of(photo(exif={ORIGINAL: TEXT, DIGITIZED: OTHER} | modified, gps=gps, xmp=xmp)) == TAKEN
    assert time_of(photo(exif={DIGITIZED: TEXT} | modified, gps=gps, xmp=xmp)) == TAKEN
    assert time_of(photo(exif=modified, gps=gps, xmp=xmp)) == datetime.fromisoformat("2021-01-02T02:04:05Z")
    assert time_of(photo(exif=modified, gps=gps)) == datetime(2022, 2, 3, 4, 5, 6, 500_000, UTC)
    assert time_of(photo(exif=modified)) == datetime(2025, 1, 1, 12)
    assert time_of(photo()) is None


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ('exif:DateTimeOriginal="2024-03-01T10:00:00"', "2024-03-01T10:00:00"),
        ('photoshop:DateCreated="2024-03-01"', "2024-03-01T00:00:00"),
        ('xmp:CreateDate="2024-03-01T10:00Z"', "2024-03-01T10:00:00+00:00"),
        (
            'xmp:CreateDate="2024-03-02T10:00" exif:DateTimeOriginal="2024-03-01T10:00:00.5"',
            "2024-03-01T10:00:00.500000",
        ),
        (
            "><xmp:CreateDate>2024-03-01T10:00:00</xmp:CreateDate></rdf:Description><rdf:Description",
            "2024-03-01T10:00:00",
        ),
    ],
)
def test_xmp_alone_is_understood(properties: str, expected: str):
    assert time_of(photo(xmp=packet(properties))) == datetime.fromisoformat(expected)


def test_a_damaged_a_large_and_an_expanding_xmp_packet_is_ignored():
    bomb = "<!DOCTYPE x [" + "".join(
        f'<!ENTITY e{level} "{f"&e{level - 1};" * 10 if level else "2024"}">' for level in range(9)
    )
    good = packet('xmp:CreateDate="2024-03-01T10:00:00"')
    packets = [
        packet('xmp:CreateDate="&e8;"', head=bomb + "]>"),
        good + " " * MAX_XMP_BYTES,
        good[:-20],
        "<a>" * 10_000 + "</a>" * 10_000,
        "<?xpacket?>",
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">text</x:xmpmeta>',
    ]

    assert [time_of(photo(kind="WEBP", xmp=text)) for text in packets] == [None] * len(packets)
    assert time_of(photo(kind="WEBP", xmp=good)) == TAKEN


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "HEIC", "MPO"])
def test_a_decoded_photo_of_every_format_has_its_time(kind: str):
    data = photo(kind=kind, exif={ORIGINAL: TEXT, OFFSET_ORIGINAL: "+01:00"})

    assert decode_bounded(data).taken_at == TAKEN.replace(tzinfo=UTC) - timedelta(hours=1)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "HEIC"])
def test_a_decoded_photo_has_its_time_by_xmp(kind: str):
    assert decode_bounded(photo(kind=kind, xmp=packet('xmp:CreateDate="2024-03-01T10:00"'))).taken_at == TAKEN


def test_a_png_carries_exif_as_text():
    from PIL.PngImagePlugin import PngInfo

    written = Image.Exif()
    written.get_ifd(EXIF_BLOCK)[ORIGINAL] = TEXT
    content = written.tobytes()
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(content):8}\n{content.hex()}\n")
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG", pnginfo=text)

    assert time_of(file.getvalue()) == TAKEN


@pytest.mark.filterwarnings("ignore:(Possibly c|C)orrupt EXIF data")
@given(st.binary(max_size=80))
def test_damaged_exif_never_rejects_a_photo(tail: bytes):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + tail)

    assert decode_bounded(file.getvalue()).width_px == 16


@given(st.text(max_size=30))
def test_any_text_of_a_time_is_read_or_missing(text: str):
    assert time_of(photo(xmp=packet("") + text)) is None
    decode_bounded(photo(exif={ORIGINAL: text.encode()}))
