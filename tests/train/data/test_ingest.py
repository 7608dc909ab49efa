from collections.abc import Iterator
from pathlib import Path

import pytest

from models import storage
from tests.local_bucket import new_bucket, s3_server
from tests.photo_source import Make, maker_in, photo_bytes, put_photos
from tests.strict_s3 import strict_s3
from train.data.ingest.__main__ import main
from train.data.ingest.convert import Ingest, ingest
from train.data.ingest.report import RowReport
from train.data.ingest.tables import IngestError
from train.data.manifest import read_manifest


@pytest.fixture
def made(tmp_path: Path) -> Make:
    return maker_in(tmp_path)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str) -> Iterator[str]:
    with new_bucket("clinic") as address:
        yield address


@pytest.mark.parametrize(
    ("policy", "labels"),
    [
        ("skinsense", ["Actinic Keratosis", "AIMP", "Atypical Spitz Tumor", "Nevus"]),
        ("exclude", ["Nevus"]),
        (
            "malignant",
            ["Actinic Keratosis", "Atypical Melanocytic Proliferation", "Atypical Spitz Tumor", "Nevus"],
        ),
    ],
)
def test_indeterminate_diagnoses_follow_the_policy(made: Make, policy: str, labels: list[str]):
    melanocytic = "Indeterminate,Indeterminate melanocytic proliferations"
    rows, report = made(
        "isic_id,diagnosis_1,diagnosis_2,diagnosis_3\n"
        "ISIC_1,Indeterminate,Indeterminate epidermal proliferations,Solar or actinic keratosis\n"
        f"ISIC_2,{melanocytic},Atypical intraepithelial melanocytic proliferation\n"
        f"ISIC_3,{melanocytic},Atypical Spitz tumor\n"
        "ISIC_4,Benign,Benign melanocytic proliferations,Nevus\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 5)),
        indeterminate=policy,
    )

    assert [row.label for row in rows] == labels
    assert report.num_dropped == 4 - len(labels)
    assert ("left out by --indeterminate exclude: row 2" in report.text()) == (policy == "exclude")
    assert ("called Atypical Melanocytic Proliferation" in report.text()) == (policy == "malignant")


def test_an_indeterminate_nevus_cannot_be_malignant(made: Make):
    _, report = made(
        "isic_id,benign_malignant,diagnosis\nISIC_1,indeterminate/malignant,nevus\nISIC_2,benign,nevus\n",
        "ISIC_1.jpg",
        "ISIC_2.jpg",
        indeterminate="malignant",
    )

    assert (
        "Nevus is called indeterminate, and no malignant diagnosis of the taxonomy fits: row 2"
        in report.text()
    )


def test_all_dropped_rows_are_reported(made: Make, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cut_off.jpg").write_bytes(photo_bytes("cut_off")[:400])
    (tmp_path / "photos" / "page.jpg").write_bytes(b"<html>not found</html>")
    (tmp_path / "photos" / "empty.jpg").touch()
    rows, report = made(
        "image_id,lesion_id,dx\n"
        "good,L1,nv\n"
        "missing,L2,nv\n"
        "cut_off,L3,nv\n"
        "page,L4,nv\n"
        "empty,L5,nv\n"
        "freckled,L6,freckle\n"
        "twice,L7,nv\n"
        "same_lesion,L7,mel\n"
        "good,L1,nv\n"
        "two_lives,L8,nv\n"
        "two_lives,L9,nv\n"
        "somewhere,L10,nv\n"
        ",L11,nv\n"
        ",,\n",
        *(f"{name}.jpg" for name in ("good", "freckled", "twice", "same_lesion", "two_lives")),
        *("a/somewhere.jpg", "b/somewhere.jpg"),
        report=str(tmp_path / "report.csv"),
    )

    assert [Path(row.image).stem for row in rows] == ["good"]
    assert (report.num_read, report.num_kept, report.num_dropped) == (13, 1, 12)
    text = report.text()
    for line in (
        "13 rows read, 1 kept, 12 dropped",
        "1  photo missing: row 3\n",
        "2  photo unreadable image: rows 4, 6\n",
        "1  photo unsupported type: row 5\n",
        "1  diagnosis 'freckle' is not in the taxonomy: row 7\n",
        "2  one lesion with two diagnoses: rows 8, 9\n",
        "1  photo listed before, with the same label: row 10\n",
        "2  photo listed more than once, with contradictions: rows 11, 12\n",
        "1  several photos have this name: row 13\n",
        "1  no photo is named: row 14\n",
    ):
        assert line in text
    listed = (tmp_path / "report.csv").read_text().splitlines()
    assert listed[:2] == ["row,outcome,reason", "3,dropped,photo missing"]
    assert len(listed) == 13


def test_a_lesion_of_two_patients_is_dropped_whole(made: Make):
    rows, report = made(
        "isic_id,diagnosis_3,lesion_id,patient_id\n"
        "ISIC_1,Nevus,IL_1,IP_1\n"
        "ISIC_2,Nevus,IL_1,IP_2\n"
        "ISIC_3,Nevus,IL_2,IP_1\n"
        "ISIC_4,Nevus,IL_2,\n"
        "ISIC_5,Nevus,,IP_1\n"
        "ISIC_6,Nevus,,IP_2\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 7)),
    )

    assert len(rows) == 4
    assert "2  one lesion of two patients: rows 2, 3" in report.text()


def test_unreadable_cells_are_left_empty_and_reported(made: Make):
    rows, report = made(
        "isic_id,diagnosis_3,age_approx,sex,fitzpatrick_skin_type\n"
        "ISIC_1,Nevus,85+,x,IX\nISIC_2,Nevus,old,f,iv\nISIC_3,Nevus,-3,M,\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 4)),
    )

    assert [(row.age_years, row.sex, row.skin_type) for row in rows] == [
        (85, "", ""),
        (None, "female", "IV"),
        (None, "male", ""),
    ]
    assert report.num_dropped == 0
    for line in ("sex 'x' not understood", "skin type 'IX' not", "age 'old' not", "age '-3' not"):
        assert line in report.text()


def test_photos_that_show_no_single_lesion_are_left_out(made: Make):
    rows, report = made(
        "isic_id,diagnosis_3,image_type\nISIC_1,Nevus,dermoscopic\nISIC_2,Nevus,RCM: mosaic\n"
        "ISIC_3,Nevus,clinical: overview\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 4)),
    )

    assert len(rows) == 1
    assert "image type 'RCM: mosaic' does not show one lesion closely: row 3" in report.text()


def test_few_row_numbers_of_many_are_printed():
    report = RowReport()
    for number in range(2, 1002):
        report.drop(number, "photo missing")

    assert report.text().endswith(
        "rows 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 and 980 more"
    )


@pytest.mark.parametrize(
    ("metadata", "settings", "message"),
    [
        ("name,colour\na,b\n", {}, "has the columns name, colour; needed are"),
        ("", {}, "is empty"),
        ("isic_id,sex\nISIC_1,male\n", {}, "has the columns isic_id, sex; needed are"),
        ("image_id,dx\na,nv\n", {"format": "ham10000"}, "has no column lesion_id, which HAM10000 needs"),
        ("isic_id,sex\na,\n", {"format": "isic-old"}, "no column benign_malignant or diagnosis"),
        (
            "image_id,lesion_id,dx\na,L1,nv\n",
            {},
            "no row of .* can be used, no manifest was written; 0 photos",
        ),
        ('image,label\n"a,nv\n', {}, "is no CSV: unexpected end of data"),
    ],
)
def test_a_source_of_an_unknown_format_is_rejected(
    made: Make, metadata: str, settings: dict[str, str], message: str
):
    with pytest.raises(IngestError, match=message):
        made(metadata, **settings)


def test_a_source_in_another_encoding_is_read_with_a_remark(made: Make, tmp_path: Path):
    put_photos(str(tmp_path), "ä.jpg")
    (tmp_path / "m.csv").write_bytes("image;label\nä.jpg;nv\n".encode("latin-1"))

    report = ingest(Ingest(source=str(tmp_path / "m.csv"), manifest=str(tmp_path / "out.parquet")))

    assert report.num_kept == 1
    assert "m.csv is not UTF-8 (byte 12) and is read as Windows-1252" in report.text()


def test_headers_in_another_case_and_decimal_commas_are_read(made: Make):
    rows, _ = made("sep=;\r\nImage_ID;Lesion_ID;DX;Age\r\nISIC_1;HAM_1;nv;55,0\r\n", "ISIC_1.jpg")

    assert [(row.label, row.lesion, row.age_years) for row in rows] == [("Nevus", "HAM_1", 55)]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            "image,label\na,nv\n1.23457E+12,nv\n",
            r"row 3: the photo is '1\.23457E\+12': Excel has rounded a long number, and the id is lost",
        ),
        (
            "image,label,group\na,nv,1-Mar\n",
            r"row 2: the patient is '1-Mar': Excel has turned an id .* into a date",
        ),
    ],
)
def test_ids_changed_by_excel_are_an_error(made: Make, metadata: str, message: str):
    with pytest.raises(IngestError, match=message):
        made(metadata, "a.jpg")


def test_a_folder_is_searched_for_its_one_source(tmp_path: Path):
    put_photos(str(tmp_path / "data" / "images"), "ISIC_1.jpg")
    (tmp_path / "data" / "readme.txt").write_text("Photos of lesions.\n")
    (tmp_path / "data" / "._metadata.csv").write_bytes(b"\x00\x05\x16\x07\xff")
    (tmp_path / "data" / "metadata.csv").write_text("\ufeffimage_id,lesion_id,dx\r\nISIC_1,L1,nv\r\n")
    settings = Ingest(source=str(tmp_path / "data"), manifest=str(tmp_path / "m.parquet"))

    assert ingest(settings).num_kept == 1

    (tmp_path / "data" / "people.csv").write_text("image,person\nISIC_1.jpg,p01\n")
    with pytest.raises(
        IngestError, match=r"several sources: metadata.csv \(ham10000\), people.csv \(people\)"
    ):
        ingest(settings)
    chosen = Ingest(source=str(tmp_path / "data"), manifest=str(tmp_path / "m.parquet"), format="people")
    assert ingest(chosen).num_kept == 1
    assert read_manifest(tmp_path / "m.parquet")[0].person == "p01"


def test_an_empty_folder_is_rejected(tmp_path: Path):
    with pytest.raises(IngestError, match=r"there is nothing at .*nowhere; name the CSV"):
        ingest(Ingest(source=str(tmp_path / "nowhere"), manifest="m"))
    put_photos(str(tmp_path), "a.jpg")
    with pytest.raises(IngestError, match="holds 1 files and no CSV"):
        ingest(Ingest(source=str(tmp_path), manifest="m"))


def test_source_photos_and_manifest_may_be_on_s3(bucket: str):
    put_photos(f"{bucket}/isic/images", *(f"ISIC_{number}.jpg" for number in range(20)))
    storage.write_bytes(
        f"{bucket}/isic/metadata.csv",
        b"isic_id,diagnosis_3\n" + b"".join(b"ISIC_%d,Nevus\n" % number for number in range(21)),
    )

    report = ingest(Ingest(source=f"{bucket}/isic", manifest=f"{bucket}/isic/manifest.parquet"))

    rows = read_manifest(f"{bucket}/isic/manifest.parquet")
    assert [row.image for row in rows] == [f"{bucket}/isic/images/ISIC_{number}.jpg" for number in range(20)]
    assert all(row.thumbnail for row in rows)
    assert "photo missing: row 22" in report.text()


def test_photos_may_be_on_s3_with_a_local_manifest(bucket: str, made: Make):
    put_photos(f"{bucket}/images", "1.jpg", "2.jpg")
    storage.write_bytes(f"{bucket}/images/broken.jpg", b"\xff\xd8\xff")

    rows, report = made(
        f"image,label\n1,nv\n{bucket}/images/2.jpg,mel\nbroken.jpg,nv\n{bucket}/images/3.jpg,nv\n",
        photos=f"{bucket}/images",
    )

    assert [row.image for row in rows] == [f"{bucket}/images/1.jpg", f"{bucket}/images/2.jpg"]
    assert "photo unreadable image: row 4" in report.text()
    assert "photo missing: row 5" in report.text()


def test_a_bucket_error_stops_the_command_without_a_manifest(
    bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "m.csv").write_text(f"image,label\n{bucket}/1.jpg,nv\n{bucket}/2.jpg,nv\n")

    with strict_s3(with_credentials=False):
        status = main([str(tmp_path / "m.csv"), str(tmp_path / "m.parquet")])

    assert status == 1
    assert "skinserve ingest: no AWS credentials for s3://clinic/" in capsys.readouterr().err
    assert not (tmp_path / "m.parquet").exists()


def test_the_exit_code_depends_on_dropped_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    put_photos(str(tmp_path), "1.jpg")
    source, target = str(tmp_path / "m.csv"), str(tmp_path / "m.parquet")

    Path(source).write_text("image,label\n1,nv\n")
    assert main([source, target]) == 0
    Path(source).write_text("image,label\n1,nv\n2,nv\n")
    assert main([source, target]) == 3
    assert "2 rows read, 1 kept, 1 dropped" in capsys.readouterr().out
    assert main([source, target, "--allow-dropped"]) == 0
    Path(source).write_text("image,label\n2,nv\n")
    assert main([source, target]) == 1
    assert "no row of" in capsys.readouterr().err


def test_rows_with_photos_are_kept_if_half_the_photos_are_missing(made: Make):
    rows, report = made(
        "image,label\n" + "".join(f"{number}.jpg,nv\n" for number in range(10)),
        *(f"{number}.jpg" for number in range(5)),
    )

    assert len(rows) == 5
    assert "5  photo missing: rows 7, 8, 9, 10, 11" in report.text()


def test_memory_holds_one_photo_per_thread(made: Make, monkeypatch: pytest.MonkeyPatch):
    read = storage.read_bytes
    now, most = 0, 0

    def counted(address: str) -> bytes:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return read(address)
        finally:
            now -= 1

    monkeypatch.setattr("train.data.ingest.photos.storage.read_bytes", counted)
    rows, _ = made(
        "image,label\n" + "".join(f"{number}.jpg,nv\n" for number in range(40)),
        *(f"{number}.jpg" for number in range(40)),
        num_threads=2,
    )

    assert len(rows) == 40
    assert most <= 2


def test_zero_threads_are_rejected():
    with pytest.raises(ValueError, match="num_threads is 0, must be at least 1"):
        Ingest(source="a", manifest="b", num_threads=0)


def test_the_public_data_sets_are_read_completely(request: pytest.FixtureRequest, tmp_path: Path):
    folder = request.config.getoption("--ham10000")
    if folder is None:
        pytest.skip("needs --ham10000 FOLDER")

    report = ingest(
        Ingest(
            source=str(folder / "HAM10000_metadata.csv"),
            photos=str(folder),
            manifest=str(tmp_path / "m.parquet"),
        )
    )

    assert report.num_kept == report.num_read > 0


def test_a_row_with_an_extra_delimiter_is_dropped(made: Make):
    rows, report = made("image,label\n1.jpg,nv\n2.jpg,nv,blue\n3.jpg,nv,\n", "1.jpg", "2.jpg", "3.jpg")

    assert len(rows) == 2
    assert "the row has more cells than the header: row 3" in report.text()


def test_a_photo_with_a_disk_error_is_one_dropped_row(made: Make, tmp_path: Path):
    rows, report = made(f"image,label\n1.jpg,nv\n{tmp_path},nv\n", "1.jpg")

    assert len(rows) == 1
    assert "photo cannot be read from the disk: row 3" in report.text()


def test_ctrl_c_ends_with_130_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def stop(_: Ingest) -> RowReport:
        raise KeyboardInterrupt

    monkeypatch.setattr("train.data.ingest.__main__.ingest", stop)

    assert main(["photos.csv", "manifest.parquet"]) == 130
    printed = capsys.readouterr().err
    assert printed.startswith("skinserve ingest: stopped") and printed.count("\n") == 1
