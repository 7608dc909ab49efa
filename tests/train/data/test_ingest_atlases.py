"""The layouts of public sets, with their real headers and drawn photos."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.photo_source import Make, maker_in, photo_bytes, put_photos
from train.data.ingest.convert import Ingest, ingest
from train.data.ingest.tables import IngestError
from train.data.manifest import read_manifest

ISIC_2024 = (
    "isic_id,target,patient_id,age_approx,sex,anatom_site_general,clin_size_long_diam_mm,image_type,"
    "tbp_tile_type,tbp_lv_A,attribution,copyright_license,lesion_id,iddx_full,iddx_1,iddx_2,iddx_3,iddx_4,"
    "iddx_5,mel_mitotic_index,mel_thick_mm,tbp_lv_dnn_lesion_confidence\n"
    "ISIC_0015670,0,IP_1235828,60.0,male,lower extremity,3.04,TBP tile: close-up,3D: white,20.2,"
    "Memorial Sloan Kettering Cancer Center,CC-BY,,Benign,Benign,,,,,,,97.5\n"
    "ISIC_0082829,1,IP_4382720,85.0,female,anterior torso,3.41,TBP tile: close-up,3D: XP,26.6,"
    "Memorial Sloan Kettering Cancer Center,CC-BY,IL_1429382,"
    "Malignant::Malignant melanocytic proliferations (Melanoma)::Melanoma in situ,Malignant,"
    "Malignant melanocytic proliferations (Melanoma),Melanoma in situ,,,,,99.8\n"
    "ISIC_0096034,0,IP_4382720,85.0,female,head/neck,2.9,TBP tile: close-up,3D: XP,21.8,"
    "Memorial Sloan Kettering Cancer Center,CC-BY-NC,IL_1,"
    "Benign::Benign melanocytic proliferations::Nevus::Nevus,Benign,Benign melanocytic proliferations,Nevus,"
    '"Nevus, Atypical, Dysplastic, or Clark",,,,80.1\n'
)


@pytest.fixture
def made(tmp_path: Path) -> Make:
    return maker_in(tmp_path)


def ingest_folder(folder: Path) -> tuple[list[tuple[str, str]], str]:
    """Return name and label of the photos in a folder, and the report."""
    report = ingest(Ingest(source=str(folder), manifest=str(folder / "out" / "m.parquet")))
    return [(row.name, row.label) for row in read_manifest(folder / "out" / "m.parquet")], report.text()


def test_isic_2024_is_grouped_by_patient(made: Make):
    rows, report = made(
        ISIC_2024, *(f"train-image/image/ISIC_{n}.jpg" for n in ("0015670", "0082829", "0096034"))
    )

    assert [(row.label, row.patient, row.lesion) for row in rows] == [
        ("Melanoma", "IP_4382720", "IL_1429382"),
        ("Nevus", "IP_4382720", "IL_1"),
    ]
    assert (rows[0].age_years, rows[0].site, rows[1].licence) == (85, "anterior torso", "CC-BY-NC")
    assert "1  no diagnosis, only 'benign': row 2" in report.text()


def test_photos_of_isic_2024_are_read_from_hdf5(tmp_path: Path):
    folder = tmp_path / "isic-2024-challenge"
    folder.mkdir()
    (folder / "train-metadata.csv").write_text(ISIC_2024)
    (folder / "sample_submission.csv").write_text("isic_id,target\nISIC_0015657,0.3\n")
    with h5py.File(folder / "train-image.hdf5", "w") as photos:
        photos["ISIC_0082829"] = np.bytes_(photo_bytes("0082829"))
        photos["ISIC_0096034"] = np.frombuffer(photo_bytes("0096034"), np.uint8)
        photos["ISIC_0015670"] = np.void(photo_bytes("0015670"))

    found, _ = ingest_folder(folder)

    assert found == [("ISIC_0082829", "Melanoma"), ("ISIC_0096034", "Nevus")]
    unpacked = folder / "out" / "unpacked_photos"
    assert (unpacked / "ISIC_0082829.jpg").read_bytes() == photo_bytes("0082829")
    assert sorted(path.name for path in unpacked.iterdir()) == ["ISIC_0082829.jpg", "ISIC_0096034.jpg"]


def test_an_hdf5_file_may_be_named_and_must_be_one(made: Make, tmp_path: Path):
    with h5py.File(tmp_path / "photos.h5", "w") as photos:
        photos["ISIC_1"] = np.void(photo_bytes("1"))
    rows, report = made("image,label\nISIC_1,nv\nISIC_2,nv\n../x,nv\n", photos=str(tmp_path / "photos.h5"))

    assert [row.name for row in rows] == ["ISIC_1"]
    assert "photo missing: rows 3, 4" in report.text()
    (tmp_path / "photos.h5").write_bytes(b"<html>")
    with pytest.raises(IngestError, match=r"photos\.h5 is no HDF5 file of photos; download it again"):
        made("image,label\nISIC_1,nv\n", photos=str(tmp_path / "photos.h5"))


def test_ph2_is_read_from_its_text_table(tmp_path: Path):
    (tmp_path / "PH2_dataset.txt").write_text(
        "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Pigment Network | "
        "Dots/Globules | Streaks | Regression Areas | Blue-Whitish Veil ||           Colors ||\n"
        "|| IMD003 ||                        ||         0          ||  0 | T | A | A | A | A || 4 ||\n"
        "|| IMD146 || Compound Nevus         ||         1          ||  1 | T | A | P | A | A || 2  3 ||\n"
        "|| IMD405 ||                        ||         2          ||  2 || AT || AT || P || P || P || 1 ||\n"
        "|| IMD406 ||                        ||         7          ||  2 | AT | AT | P | P | P || 1 ||\n"
        "\nLegends\n\nClinical Diagnosis:\n\n0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma.\n"
    )
    for name in ("IMD003", "IMD146", "IMD405", "IMD406"):
        folder = tmp_path / "PH2 Dataset images" / name
        for part in (f"{name}_Dermoscopic_Image/{name}.bmp", f"{name}_lesion/{name}_lesion.bmp"):
            (folder / part).parent.mkdir(parents=True)
            with Image.open(io.BytesIO(photo_bytes(part))) as photo:
                photo.save(folder / part)

    found, text = ingest_folder(tmp_path)

    assert found == [("IMD003", "Nevus"), ("IMD146", "Nevus"), ("IMD405", "Melanoma")]
    assert "1  diagnosis '7' is not in the taxonomy: row 5" in text


def test_derm7pt_has_two_photos_of_a_case(made: Make):
    rows, report = made(
        "case_num,diagnosis,seven_point_score,pigment_network,level_of_diagnostic_difficulty,elevation,"
        "location,sex,management,clinic,derm,case_id,notes\n"
        "1,basal cell carcinoma,0,absent,low,flat,abdomen,female,excision,NEL/NEL025.JPG,NEL/Nel026.jpg,,\n"
        "2,melanoma (in situ),0,absent,low,flat,back,male,excision,FCL/Fcl068.jpg,FCL/Fcl069.JPG,,\n"
        "3,clark nevus,0,absent,low,flat,back,male,excision,FCL/Fcl070.jpg,,,\n"
        "4,miscellaneous,0,absent,low,flat,back,male,excision,FCL/Fcl071.jpg,FCL/Fcl072.jpg,,\n",
        *("NEL/NEL025.JPG", "NEL/Nel026.jpg", "FCL/Fcl068.jpg", "FCL/fcl069.jpg", "FCL/Fcl070.jpg"),
        *("FCL/Fcl071.jpg", "FCL/Fcl072.jpg"),
    )

    assert [(row.name, row.label, row.lesion) for row in rows] == [
        ("NEL025", "Basal Cell Carcinoma", "Derm7pt_1"),
        ("Nel026", "Basal Cell Carcinoma", "Derm7pt_1"),
        ("Fcl068", "Melanoma", "Derm7pt_2"),
        ("fcl069", "Melanoma", "Derm7pt_2"),
        ("Fcl070", "Nevus", "Derm7pt_3"),
    ]
    assert (rows[0].site, rows[0].sex, rows[0].licence) == ("abdomen", "female", "research use only")
    assert "2  diagnosis 'miscellaneous' is not in the taxonomy: rows 5, 5" in report.text()
    assert "7 rows read, 5 kept, 2 dropped" in report.text() and "count as two rows" in report.text()


def test_med_node_is_read_from_its_two_folders(tmp_path: Path):
    put_photos(str(tmp_path / "complete_mednode_dataset"), "melanoma/1.jpg", "naevus/1.jpg", "naevus/2.jpg")
    (tmp_path / "complete_mednode_dataset" / "naevus" / "Thumbs.db").touch()

    found, text = ingest_folder(tmp_path)

    assert found == [("1", "Melanoma"), ("1", "Nevus"), ("2", "Nevus")]
    assert "3 rows read, 3 kept" in text


def test_fitzpatrick17k_keeps_the_diagnoses_of_the_taxonomy(made: Make):
    rows, report = made(
        "md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,three_partition_label,qc,"
        "url,url_alphanum\n"
        "5e82a45bc5d78bd24ae9202d194423f8,3,3,superficial spreading melanoma ssm,malignant melanoma,"
        "malignant,,https://a/b.jpg,b.jpg\n"
        "fa2911a9b13b6f8af79cb700937cc14f,-1,1,nevocytic nevus,benign melanocyte,benign,1 Diagnostic,"
        "https://a/c.jpg,c.jpg\n"
        "d2bac3c9e4499032ca8e9b07c7d3bc40,2,3,psoriasis,inflammatory,non-neoplastic,,https://a/d.jpg,d.jpg\n"
        "0a94359e7eaacd7178e06b2823777789,1,1,basal cell carcinoma,malignant epidermal,malignant,"
        "3 Wrongly labelled,https://a/e.jpg,e.jpg\n",
        "5e82a45bc5d78bd24ae9202d194423f8.jpg",
        "fa2911a9b13b6f8af79cb700937cc14f.jpg",
    )

    assert [(row.label, row.skin_type) for row in rows] == [("Melanoma", "III"), ("Nevus", "")]
    assert "1  diagnosis 'psoriasis' is not in the taxonomy: row 4" in report.text()
    assert "1  a dermatologist marked the label as wrong (column qc): row 5" in report.text()


def test_ddi_keeps_pairs_of_skin_types(made: Make):
    rows, report = made(
        ",DDI_ID,DDI_file,skin_tone,malignant,disease\n"
        "0,1,000001.png,56,True,melanoma-in-situ\n"
        "1,2,000002.png,12,False,melanocytic-nevi\n"
        "2,3,000003.png,34,True,mycosis-fungoides\n"
        "3,4,000004.png,34,False,actinic-keratosis\n"
        "4,5,000005.png,34,False,melanoma\n",
        *(f"{number:06}.png" for number in range(1, 6)),
    )

    assert [(row.label, row.skin_type) for row in rows] == [
        ("Melanoma", "V-VI"),
        ("Nevus", "I-II"),
        ("Actinic Keratosis", "III-IV"),
    ]
    assert "diagnosis 'mycosis fungoides' is not in the taxonomy: row 4" in report.text()
    assert "Melanoma is malignant, but the row says benign: row 6" in report.text()
