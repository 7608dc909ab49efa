import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.runtime.errors import ApiError
from serve.runtime.multipart import MAX_PREAMBLE_BYTES, Form, FormParser, FormSpec

SPEC = FormSpec(
    file_field="files", text_fields=("taken_at",), max_files=3, max_file_bytes=1_000_000, max_bytes=2_000_000
)
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n\r\n--bx --b\r\n'
    b'--b  \r\ncontent-disposition: form-data; name="taken_at"\r\n\r\n2026\r\n--b--\r\n'
)
EXPECTED = Form(files=[b"\r\n--bx --b"], fields={"taken_at": ["2026"]})
PREAMBLE = b"This is a message with multiple parts in MIME format.\r\n--bx\r\n --b\r\n"


def parse(*chunks: bytes, kind: str = "multipart/form-data; boundary=b") -> Form:
    parser = FormParser(SPEC, kind)
    for chunk in chunks:
        parser.write(chunk)
    return parser.finish()


def message_of(*chunks: bytes, kind: str = "multipart/form-data; boundary=b", code="invalid_request") -> str:
    with pytest.raises(ApiError) as rejection:
        parse(*chunks, kind=kind)
    assert rejection.value.code == code
    return str(rejection.value)


@given(
    preamble=st.sampled_from([b"", b"\r\n", b"\n", PREAMBLE]),
    epilogue=st.sampled_from([b"", b"epilogue\r\n--b\r\n"]),
    cuts=st.sets(st.integers(0, len(PREAMBLE + FORM) + 20)),
)
def test_any_split_of_a_body_into_chunks_gives_the_same_form(
    preamble: bytes, epilogue: bytes, cuts: set[int]
):
    body = preamble + FORM + epilogue
    ends = [0, *sorted(cuts), len(body)]

    assert parse(*(body[start:end] for start, end in itertools.pairwise(ends))) == EXPECTED


def test_a_preamble_is_limited():
    assert parse(b"x" * (MAX_PREAMBLE_BYTES - 2) + b"\r\n" + FORM) == EXPECTED
    assert "no line of the body is '--b'" in message_of(b"x" * MAX_PREAMBLE_BYTES + b"\r\n" + FORM)
    assert "no line of the body is '--b'" in message_of(*[b"x" * 1000] * 100)


@pytest.mark.parametrize("body", [b"", b"garbage", b"--other\r\n\r\n--other--", b"x --b\r\n"])
def test_a_body_without_its_boundary_is_rejected(body: bytes):
    assert "no line of the body is '--b', the boundary that the content type names" in message_of(body)


def test_line_ends_in_lf_are_rejected_by_name():
    assert "end in LF; end them in CR LF" in message_of(FORM.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize(
    "kind",
    [
        "Multipart/Form-Data; Boundary=b",
        'multipart/form-data; boundary="b"',
        "multipart/form-data;boundary=b; charset=utf-8",
        "multipart/form-data; charset=UTF-8; boundary=b",
    ],
)
def test_content_types_are_read_in_every_form(kind: str):
    assert parse(FORM, kind=kind) == EXPECTED


def test_a_quoted_boundary_may_hold_any_allowed_character():
    boundary = "a'()+_,-./:=? z"

    found = parse(
        FORM.replace(b"--b", f"--{boundary}".encode()), kind=f'multipart/form-data; boundary="{boundary}"'
    )

    assert len(found.files) == 1 and found.fields == EXPECTED.fields


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("multipart/form-data", "has no boundary"),
        ('multipart/form-data; boundary=""', "has no boundary"),
        ("multipart/form-data; boundary=" + "b" * 500, "too long"),
    ],
)
def test_an_invalid_boundary_is_rejected(kind: str, found: str):
    assert found in message_of(FORM, kind=kind)


@pytest.mark.parametrize("kind", ["", "multipart/mixed; boundary=b", "application/x-www-form-urlencoded"])
def test_another_content_type_is_rejected(kind: str):
    assert "send multipart/form-data with 'files'" in message_of(FORM, kind=kind, code="unsupported_type")
