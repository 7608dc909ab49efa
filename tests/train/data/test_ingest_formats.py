from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.photo_source import Make, maker_in, put_photos
from train.data.duplicates import thumbnail_of
from train.data.ingest.tables import IngestError
from train.data.ingest.vocabulary import diagnosis_of
from train.data.manifest import load_manifest


@pytest.fixture
def made(tmp_path: Path) -> Make:
    return maker_in(tmp_path)


def test_ham10000_is_detected_by_its_columns(made: Make, tmp_path: Path):
    rows, report = made(
        "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
        "HAM_1,ISIC_1,akiec,histo,85,female,lower extremity,rosendahl\n"
        "HAM_2,ISIC_2,nv,follow_up,,unknown,unknown,vidir_molemax\n",
        "ISIC_1.jpg",
        "part_2/ISIC_2.jpg",
    )

    assert (report.num_read, report.num_kept, report.num_dropped) == (2, 2, 0)
    first, second = rows
    assert (first.label, first.lesion, first.age_years) == ("Actinic Keratosis", "HAM_1", 85)
    assert (first.sex, first.site, first.licence) == ("female", "lower extremity", "CC BY-NC 4.0")
    assert (second.label, second.age_years, second.sex, second.site) == ("Nevus", None, "", "")
    assert second.image == str(tmp_path / "photos" / "part_2" / "ISIC_2.jpg")
    with Image.open(second.image) as image:
        assert first.thumbnail != second.thumbnail == thumbnail_of(np.asarray(image.convert("RGB")))


def test_the_notes_of_the_manifest_describe_the_source(made: Make, tmp_path: Path):
    made("lesion_id,image_id,dx\nHAM_1,ISIC_1,nv\n", "ISIC_1.jpg", indeterminate="exclude")

    assert load_manifest(tmp_path / "out" / "manifest.parquet").notes == {
        "format": "ham10000",
        "indeterminate": "exclude",
        "licence": "CC BY-NC 4.0",
        "training_data": "HAM10000: 1 photos, 1 lesions, 1 diagnoses",
    }


def test_a_current_isic_export_is_read(made: Make):
    rows, report = made(
        "isic_id,attribution,copyright_license,age_approx,anatom_site_general,diagnosis_1,diagnosis_2,"
        "diagnosis_3,diagnosis_4,fitzpatrick_skin_type,image_type,lesion_id,patient_id,sex\n"
        "ISIC_1,\t=Hospital,CC-BY,85,Head/Neck,Benign,Benign melanocytic proliferations,Nevus,"
        '"Nevus, Atypical, Dysplastic, or Clark",III,dermoscopic,IL_1,IP_1,male\n'
        "ISIC_2,\t@Clinic,CC-0,40,,Malignant,Malignant melanocytic proliferations (Melanoma),"
        'Melanoma Invasive,"Melanoma Invasive, Nodular",,TBP tile: close-up,IL_2,IP_1,male\n'
        "ISIC_3,Clinic,CC-0,40,,Benign,Benign soft tissue proliferations - Vascular,Hemangioma,"
        '"Hemangioma, Cherry",,clinical: close-up,,IP_2,\n',
        "ISIC_1.jpg",
        "ISIC_2.jpg",
        "ISIC_3.jpg",
    )

    assert report.num_dropped == 0
    assert [row.label for row in rows] == ["Nevus", "Melanoma", "Angioma"]
    first = rows[0]
    assert (first.attribution, first.licence, first.skin_type) == ("=Hospital", "CC-BY", "III")
    assert (first.patient, first.lesion, first.site, first.age_years) == ("IP_1", "IL_1", "head/neck", 85)
    assert rows[1].attribution == "@Clinic"


def test_an_isic_export_of_few_columns_is_read(made: Make, tmp_path: Path):
    rows, _ = made(
        "isic_id,attribution,copyright_license,diagnosis_1,diagnosis_2,diagnosis_3\n"
        "ISIC_1,A,CC-BY,Malignant,Malignant epidermal proliferations,Squamous cell carcinoma in situ\n"
        "ISIC_2,A,CC-0,Malignant,Malignant epidermal proliferations,Squamous cell carcinoma in situ\n",
        "ISIC_1.jpg",
        "ISIC_2.jpg",
    )

    assert [(row.label, row.patient, row.sex) for row in rows] == [("Squamous Cell Carcinoma", "", "")] * 2
    notes = load_manifest(tmp_path / "out" / "manifest.parquet").notes
    assert notes["licence"] == "CC-BY (1 photos), CC-0 (1 photos)"


def test_an_older_isic_export_is_read(made: Make):
    rows, report = made(
        "isic_id,attribution,copyright_license,age_approx,benign_malignant,diagnosis,sex\n"
        "ISIC_1,A,CC-BY,55.0,benign,nevus,female\n"
        "ISIC_2,A,CC-BY,,benign,cafe-au-lait macule,\n"
        "ISIC_3,A,CC-BY,,indeterminate,atypical melanocytic proliferation,\n"
        "ISIC_4,A,CC-BY,,malignant,melanoma metastasis,\n"
        "ISIC_5,A,CC-BY,,benign,angiofibroma or fibrous papule,\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 6)),
    )

    assert report.num_dropped == 0
    assert [row.label for row in rows] == [
        "Nevus",
        "Café-au-lait Macule",
        "Atypical Melanocytic Proliferation",
        "Melanoma Metastasis",
        "Angiofibroma",
    ]


def test_isic_2018_is_joined_with_its_lesions(made: Make, tmp_path: Path):
    (tmp_path / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\nISIC_1,HAM_1,histopathology\nISIC_2,HAM_1,histopathology\n"
    )
    rows, report = made(
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
        "ISIC_1,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n"
        "ISIC_2,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n"
        "ISIC_3,0.0,0.0,0.0,0.0,0.0,0.0,1.0\n"
        "ISIC_4,1.0,1.0,0.0,0.0,0.0,0.0,0.0\n"
        "ISIC_5,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 6)),
    )

    assert [(row.label, row.lesion) for row in rows] == [
        ("Nevus", "HAM_1"),
        ("Nevus", "HAM_1"),
        ("Vascular Lesion", ""),
    ]
    assert "2 diagnoses at once: row 5" in report.text()
    assert "no diagnosis: row 6" in report.text()
    assert "no row of its own in ISIC2018_Task3_Training_LesionGroupings.csv: rows 4, 5, 6" in report.text()


def test_isic_2018_without_its_lesions_warns(made: Make):
    _, report = made("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_1,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n", "ISIC_1.jpg")

    assert "every photo counts as a lesion of its own" in report.text()


def test_isic_2019_is_joined_with_the_metadata_of_its_photos(made: Make, tmp_path: Path):
    header = "image,age_approx,anatom_site_general,lesion_id,sex\n"
    (tmp_path / "a_test_metadata.csv").write_text(f"{header}ISIC_9,30,,,male\n")
    (tmp_path / "training_metadata.csv").write_text(
        f"{header}ISIC_1,85.0,anterior torso,MSK4_1,female\nISIC_2_downsampled,,,,\n"
    )
    rows, report = made(
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\n"
        "ISIC_1,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0\n"
        "ISIC_2_downsampled,0.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n"
        "ISIC_3,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0\n",
        "ISIC_1.jpg",
        "ISIC_2_downsampled.jpg",
        "ISIC_3.jpg",
    )

    assert [(row.label, row.lesion, row.age_years) for row in rows] == [
        ("Squamous Cell Carcinoma", "MSK4_1", 85),
        ("Actinic Keratosis", "", None),
    ]
    assert (rows[0].site, rows[0].sex) == ("anterior torso", "female")
    assert "no diagnosis: row 4" in report.text()


def test_a_companion_can_be_named_and_must_be_one(made: Make, tmp_path: Path):
    truth = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_1,0,1,0,0,0,0,0\n"
    groups = tmp_path / "elsewhere" / "groups.csv"
    groups.parent.mkdir()
    groups.write_text("image,lesion_id\nISIC_1,HAM_7\n")

    rows, _ = made(truth, "ISIC_1.jpg", companion=str(groups))

    assert rows[0].lesion == "HAM_7"
    groups.write_text("name,lesion\n")
    with pytest.raises(IngestError, match="has the columns name, lesion; needed are image and lesion_id"):
        made(truth, companion=str(groups))


def test_isic_2020_keeps_rows_with_a_diagnosis(made: Make):
    rows, report = made(
        "image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
        "ISIC_1,IP_1,male,45.0,head/neck,unknown,benign,0\n"
        "ISIC_2,IP_1,female,90,torso,melanoma,malignant,1\n"
        "ISIC_3,IP_2,female,,torso,seborrheic keratosis,benign,0\n"
        "ISIC_4,IP_2,female,,torso,nevus,benign,1\n"
        "ISIC_5,IP_2,female,,torso,nevus,malignant,1\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 6)),
    )

    assert [(row.label, row.patient, row.age_years) for row in rows] == [
        ("Melanoma", "IP_1", 85),
        ("Seborrheic Keratosis", "IP_2", None),
    ]
    assert "1  no diagnosis, only 'benign': row 2" in report.text()
    assert "1  target and benign_malignant contradict each other: row 5" in report.text()
    assert "1  Nevus is benign, but the row says malignant: row 6" in report.text()


def test_pad_ufes_20_is_read(made: Make):
    rows, report = made(
        "patient_id,lesion_id,smoke,age,gender,fitspatrick,region,diagnostic,img_id,biopsed\n"
        "PAT_1516,1765,,8,,,ARM,NEV,PAT_1516_1765_530.png,False\n"
        "PAT_46,881,False,94,FEMALE,3.0,NECK,BCC,PAT_46_881_939.png,True\n"
        "PAT_9,12,False,60,MALE,2,NOSE,ACK,PAT_9_12_1.png,False\n"
        "PAT_9,13,False,60,MALE,2,NOSE,SEK,PAT_9_13_1.png,False\n",
        *("PAT_1516_1765_530.png", "PAT_46_881_939.png", "PAT_9_12_1.png", "PAT_9_13_1.png"),
    )

    assert report.num_dropped == 0
    assert [row.label for row in rows] == [
        "Nevus",
        "Basal Cell Carcinoma",
        "Actinic Keratosis",
        "Seborrheic Keratosis",
    ]
    second = rows[1]
    assert (second.patient, second.lesion, second.age_years) == ("PAT_46", "881", 85)
    assert (second.sex, second.site, second.skin_type, second.licence) == (
        "female",
        "neck",
        "III",
        "CC BY 4.0",
    )


def test_a_plain_list_is_read_with_photos_in_any_folder(made: Make, tmp_path: Path):
    put_photos(str(tmp_path.parent / "beside"), "c.jpg")
    rows, report = made(
        "image;label;group\n"
        "photos/a/1.jpg;nv;p1\n"
        f"{tmp_path}/photos/b/1.jpg;Melanoma;p1\n"
        "../beside/c.jpg;bcc;p2\n"
        "photos\\b\\2.jpg;df;\n",
        "a/1.jpg",
        "b/1.jpg",
        "b/2.jpg",
        licence="ours",
        attribution="Clinic",
    )

    assert [(row.label, row.patient) for row in rows] == [
        ("Nevus", "p1"),
        ("Melanoma", "p1"),
        ("Basal Cell Carcinoma", "p2"),
        ("Dermatofibroma", ""),
    ]
    assert {(row.licence, row.attribution) for row in rows} == {("ours", "Clinic")}
    assert rows[2].image == str(tmp_path.parent / "beside" / "c.jpg")
    assert "4 photos, 2 groups, 4 diagnoses" in report.text()


def test_people_have_no_diagnosis(made: Make):
    rows, report = made("image,person\n1.jpg,p01\n2.jpg,p02\n3.jpg,\n", "1.jpg", "2.jpg", "3.jpg")

    assert [(row.label, row.person) for row in rows] == [("", "p01"), ("", "p02")]
    assert "no person is named: row 4" in report.text()


@pytest.mark.parametrize(
    ("branch", "name"),
    [
        ("Benign:Benign soft tissue proliferations - Fibro-histiocytic:Angiofibroma", "Angiofibroma"),
        (
            "Benign:Benign soft tissue proliferations - Fibro-histiocytic:Angiofibroma:Angiofibroma, Facial",
            "Fibrous Papule",
        ),
        ("Benign:Benign soft tissue proliferations - Fibro-histiocytic:Fibroepithelial polyp", "Acrochordon"),
        ("Benign:Benign soft tissue proliferations - Fibro-histiocytic:Scar:Scar, Keloid", "Scar"),
        ("Benign:Benign soft tissue proliferations - Vascular:Angiokeratoma", "Angiokeratoma"),
        ("Benign:Benign soft tissue proliferations - Vascular:Pyogenic granuloma", "Vascular Lesion"),
        ("Benign:Benign melanocytic proliferations:Nevus:Blue nevus:Blue nevus, Cellular", "Nevus"),
        ("Benign:Benign melanocytic proliferations", None),
        ("Benign:Benign melanocytic proliferations:Dermal melanocytosis:Nevus of Ota", None),
        ("Benign:Benign epidermal proliferations:Epidermal nevus", None),
        ("Benign:Benign epidermal proliferations:Lichen planus like keratosis", "Lichenoid Keratosis"),
        (
            "Benign:Flat melanotic pigmentations - not melanocytic nevus:Cafe au lait macule or patch",
            "Café-au-lait Macule",
        ),
        ("Benign:Inflammatory or infectious diseases:Verruca", "Verruca"),
        (
            "Indeterminate:Indeterminate epidermal proliferations:Solar or actinic keratosis:"
            "Actinic keratosis, Bowenoid",
            "Actinic Keratosis",
        ),
        (
            "Indeterminate:Indeterminate melanocytic proliferations:Atypical Spitz tumor:"
            "Atypical Spitz tumor, Dermal",
            "Atypical Spitz Tumor",
        ),
        (
            "Indeterminate:Indeterminate melanocytic proliferations:"
            "Melanocytic tumor of uncertain malignant potential",
            "Atypical Melanocytic Proliferation",
        ),
        (
            "Malignant:Malignant adnexal epithelial proliferations - Follicular:Basal cell carcinoma:"
            "Basal cell carcinoma, Nodular",
            "Basal Cell Carcinoma",
        ),
        ("Malignant:Malignant adnexal epithelial proliferations - Sebaceous:Sebaceous carcinoma", None),
        ("Malignant:Malignant epidermal proliferations:Keratoacanthoma", "Squamous Cell Carcinoma"),
        (
            "Malignant:Malignant melanocytic proliferations (Melanoma):Melanoma metastasis",
            "Melanoma Metastasis",
        ),
        ("Malignant:Malignant melanocytic proliferations (Melanoma)", "Melanoma"),
        ("Malignant:Collision - At least one malignant proliferation", None),
    ],
)
def test_a_branch_of_the_archives_tree_is_the_nearest_diagnosis_above_it(branch: str, name: str | None):
    levels = branch.split(":")

    found = diagnosis_of(reversed(levels))

    assert (found and found.name) == name
    assert found is None or levels[0] in ("Indeterminate", found.group.capitalize())


def test_contradicting_columns_of_an_isic_export_are_dropped(made: Make):
    rows, report = made(
        "isic_id,benign_malignant,diagnosis_1,diagnosis_3\n"
        "ISIC_1,benign,Malignant,Nevus\nISIC_2,benign,Malignant,Basal cell carcinoma\n"
        "ISIC_3,,Benign,Basal cell carcinoma\nISIC_4,malignant,Malignant,Basal cell carcinoma\n",
        *(f"ISIC_{number}.jpg" for number in range(1, 5)),
    )

    assert [row.label for row in rows] == ["Basal Cell Carcinoma"]
    assert "diagnosis_1 and benign_malignant contradict each other: rows 2, 3" in report.text()
    assert "Basal Cell Carcinoma is malignant, but the row says benign: row 4" in report.text()
