from train.data.manifest import Row
from train.lesion.ranking import ranking_weights

LABELS = ("Nevus", "Melanoma")


def rows_of(*labels: str) -> list[Row]:
    return [
        Row(image=f"{number}.jpg", label=label, lesion=str(number)) for number, label in enumerate(labels)
    ]


def test_ranking_weights_are_powers_of_the_training_shares():
    rows = rows_of("Nevus", "Nevus", "Nevus", "Nevus", "Melanoma")

    assert ranking_weights(rows, LABELS, 0.5) == {"Nevus": 1.0, "Melanoma": 2.0}


def test_codes_and_names_of_one_diagnosis_count_together():
    rows = rows_of("nv", "nv", "Nevus", "Nevus", "mel", "benign")

    assert ranking_weights(rows, LABELS, 0.5) == {"Nevus": 1.0, "Melanoma": 2.0}


def test_without_an_exponent_there_are_no_weights():
    assert ranking_weights(rows_of("Nevus"), LABELS, 0.0) == {}
