from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from train.data.labels.__main__ import main
from train.data.labels.audit import audit, kappa_of, read_hand
from train.data.labels.sentiment import LabelError
from train.data.manifest import Row, write_manifest


def rows_of(labels: list[float]) -> list[Row]:
    return [
        Row(image=f"/photos/{n}-{k}.jpg", label="", person=f"user_{n:012d}", improvement=p)
        for n, p in enumerate(labels)
        for k in range(2)
    ]


def test_kappa_is_scikit_learns_and_lies_in_its_interval() -> None:
    said = [1.0] * 20 + [0.0] * 20
    hand = {str(n): "improved" if n < 15 or n >= 35 else "worsened" for n in range(40)}

    agreement = audit(rows_of(said), hand)

    assert agreement.counts_22.tolist() == [[15, 5], [5, 15]]
    assert agreement.kappa == pytest.approx(0.5)
    assert 0.15 < agreement.low < 0.5 < agreement.high < 0.85


def test_the_formula_of_the_bootstrap_is_scikit_learns() -> None:
    counts_22 = np.array([[7, 2], [3, 5]])
    pairs = [(a, b) for a in range(2) for b in range(2) for _ in range(counts_22[a, b])]

    assert kappa_of(counts_22[None])[0] == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))
    assert np.isnan(kappa_of(np.array([[[4, 0], [0, 0]]]))[0])


def test_people_without_a_partner_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(rows_of([1, 0, 1, 0]), tmp_path / "m.parquet")
    (tmp_path / "hand.csv").write_text("person,label\n0,improved\nuser_000000000001,Worsened\n77,improved\n")

    assert main(["audit", str(tmp_path / "m.parquet"), str(tmp_path / "hand.csv")]) == 0

    said = capsys.readouterr().out
    assert "kappa 1.000" in said and "n = 2 people" in said
    assert "checked by hand, not in the manifest: 1 (77)" in said
    assert "in the manifest, not checked by hand: 2 (user_000000000002, user_000000000003)" in said


def test_nobody_in_common_is_refused() -> None:
    with pytest.raises(LabelError, match=r"none of the 1 people.*name them.*user_000000000000"):
        audit(rows_of([1, 0]), {"anna": "improved"})


def test_one_class_only_is_refused() -> None:
    with pytest.raises(LabelError, match=r"both say improved of all 2 people"):
        audit(rows_of([1, 1]), {"0": "improved", "1": "improved"})


def test_a_manifest_without_labels_is_refused() -> None:
    with pytest.raises(LabelError, match=r"no labelled people.*train.data.followup"):
        audit([Row(image="/a.jpg", label="Nevus")], {"0": "improved"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("user,label\n1,improved\n", "no column person; it needs person, label"),
        ("person,label\n1,better\n", "row 2: the label is 'better'"),
        (
            "person,label\n1,improved\nuser_000000000001,worsened\n",
            "row 3: this person was improved further up",
        ),
    ],
)
def test_a_wrong_hand_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "hand.csv").write_text(text)

    with pytest.raises(LabelError, match=complaint):
        read_hand(str(tmp_path / "hand.csv"))
