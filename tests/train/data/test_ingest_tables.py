from pathlib import Path

import pytest

from train.data.ingest.excel import damage_of
from train.data.ingest.tables import IngestError, read_table

PLAIN = "Image,Label\nnäher.jpg,nv\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("latin-1"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.replace("\n", "\r").encode(),
        b"sep=;\r\n" + PLAIN.replace(",", ";").encode(),
        b'"sep=;"\n' + PLAIN.replace(",", ";").encode(),
        b"\xef\xbb\xbfSEP=,\r\n" + PLAIN.encode(),
        b"sep=|\n" + PLAIN.replace(",", "|").encode(),
        b' IMAGE ,label\n"n\xc3\xa4her.jpg",nv \n',
    ],
)
def test_every_delimiter_and_encoding_gives_the_same_cells(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.csv").write_bytes(content)

    assert read_table(str(tmp_path / "m.csv")).cells == ({"image": "näher.jpg", "label": "nv"},)


def test_a_guessed_encoding_is_a_remark(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("image,label\n“ä”.jpg,nv\n".encode("cp1252"))

    table = read_table(str(tmp_path / "m.csv"))

    assert table.cells[0]["image"] == "“ä”.jpg"
    assert "m.csv is not UTF-8 (byte 12) and is read as Windows-1252" in table.remarks[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x14\x00", "is an Excel workbook; save the sheet as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an Excel workbook"),
        (b"image,label\n\x01\x02\xff\xfe", r"is not text \(character 12\)"),
        (b"", "is empty"),
        (b"sep=;\n", "is empty"),
    ],
)
def test_what_is_no_table_is_rejected(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.csv").write_bytes(content)

    with pytest.raises(IngestError, match=message):
        read_table(str(tmp_path / "m.csv"))


def test_measurements_of_isic_2024_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("isic_id,tbp_lv_A,target\nISIC_1,20.2,0\n")

    table = read_table(str(tmp_path / "m.csv"))

    assert table.cells == ({"isic_id": "ISIC_1", "target": "0"},)
    assert table.columns == ("isic_id", "tbp_lv_A", "target")


@pytest.mark.parametrize("text", ["1.23457E+12", "1,23457E+12", "5e+31", "1-Mar", "Mar-01", "03-Mar-2024"])
def test_ids_changed_by_excel_are_recognised(text: str) -> None:
    assert damage_of(text)


@pytest.mark.parametrize(
    "text", ["", "ISIC_0000001", "1234567890123", "5e31aa", "IP_1E+2", "1-Mar.jpg", "3-1"]
)
def test_other_ids_are_not(text: str) -> None:
    assert not damage_of(text)
