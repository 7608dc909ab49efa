import base64
import io

import numpy as np
import pytest
from PIL import Image

from serve.lesion.response import heatmap_png, lesion_answer, named_diagnosis
from serve.schemas import DiagnosisScore
from tests.serve.fakes import lesion_report, score

MELANOMA, NEVUS = score("Melanoma", "malignant", 0.6), score("Nevus", "benign", 0.3)
CARCINOMA, WART = score("Basal cell carcinoma", "malignant", 0.06), score("Wart", "benign", 0.04)


@pytest.mark.parametrize(
    ("malignant", "scores", "expected"),
    [
        (0.2, [MELANOMA, NEVUS], NEVUS),  # the best of the other group does not compete
        (0.8, [MELANOMA, NEVUS], MELANOMA),
        (0.5, [MELANOMA, NEVUS], MELANOMA),  # malignant from the threshold on
        (0.8, [NEVUS, CARCINOMA], None),  # below 0.10: not sure enough
        (0.2, [MELANOMA, WART], None),
        (0.2, [MELANOMA, score("Wart", "benign", 0.1)], score("Wart", "benign", 0.1)),
        (0.2, [MELANOMA], None),  # the network knows none of that group
    ],
)
def test_only_diagnoses_of_the_verdicts_group_compete(
    malignant: float, scores: list[DiagnosisScore], expected: DiagnosisScore | None
):
    assert named_diagnosis(lesion_report(malignant, *scores)) == expected


def test_the_list_holds_both_groups_best_first():
    answer = lesion_answer(lesion_report(0.2, MELANOMA, NEVUS, CARCINOMA, WART), top_k=3)

    assert answer.diagnoses == [MELANOMA, NEVUS, CARCINOMA]
    assert (answer.verdict, answer.diagnosis) == ("benign", NEVUS)


def test_a_heat_map_is_denser_where_it_is_hotter():
    heat = np.zeros((4, 4))
    heat[0, 0] = 1

    png = np.asarray(Image.open(io.BytesIO(base64.b64decode(heatmap_png(heat)))))

    assert png.shape == (224, 224, 4)
    assert png[20, 20, 3] > 150
    assert png[200, 200, 3] == 0
    assert (png[..., 2] > 2 * png[..., :2].max(-1)).all()
