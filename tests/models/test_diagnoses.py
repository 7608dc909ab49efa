import pytest

from models.diagnoses import CODES, DIAGNOSES, UnknownDiagnosisError, find_diagnosis, in_column_order


def test_the_order_of_the_diagnoses_is_frozen():
    names = [diagnosis.name for diagnosis in DIAGNOSES]

    assert names == [
        "Nevus",
        "Seborrheic Keratosis",
        "Pigmented Benign Keratosis",
        "Solar Lentigo",
        "Dermatofibroma",
        "Vascular Lesion",
        "Lentigo NOS",
        "Lichenoid Keratosis",
        "Lentigo Simplex",
        "AIMP",
        "Angioma",
        "Neurofibroma",
        "Scar",
        "Verruca",
        "Acrochordon",
        "Angiofibroma",
        "Fibrous Papule",
        "Café-au-lait Macule",
        "Angiokeratoma",
        "Clear Cell Acanthoma",
        "Melanoma",
        "Basal Cell Carcinoma",
        "Actinic Keratosis",
        "Squamous Cell Carcinoma",
        "Melanoma Metastasis",
        "Atypical Melanocytic Proliferation",
        "Atypical Spitz Tumor",
    ]


def test_twenty_diagnoses_are_benign_and_seven_malignant():
    groups = [diagnosis.group for diagnosis in DIAGNOSES]

    assert (groups.count("benign"), groups.count("malignant")) == (20, 7)


def test_every_code_stands_for_a_diagnosis_of_the_list():
    found = {code: find_diagnosis(code.upper()) for code in CODES}

    assert all(diagnosis in DIAGNOSES for diagnosis in found.values())
    assert {code for code, diagnosis in found.items() if diagnosis.group == "malignant"} == {
        "mel",
        "bcc",
        "akiec",
        "ak",
        "scc",
    }


def test_names_are_found_whatever_their_case():
    assert find_diagnosis(" basal cell CARCINOMA ").name == "Basal Cell Carcinoma"


def test_an_unknown_label_is_rejected_by_name():
    with pytest.raises(UnknownDiagnosisError, match="'freckle' is none of the 27 diagnoses"):
        find_diagnosis("freckle")


def test_columns_follow_the_taxonomy_not_the_data():
    assert in_column_order({"mel", "df", "nv", "Nevus"}) == ("Nevus", "Dermatofibroma", "Melanoma")
