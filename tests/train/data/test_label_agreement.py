from pathlib import Path

import pytest

from train.data.labels.__main__ import main
from train.data.labels.agreement import label_agreement, read_hand_labels
from train.data.labels.sentiment import LabelError
from train.data.manifest import Row, write_manifest


def rows_of(labels: list[float]) -> list[Row]:
    return [
        Row(image=f"/photos/{n}-{k}.jpg", label="", person=f"user_{n:012d}", improvement=p)
        for n, p in enumerate(labels)
        for k in range(2)
    ]


def test_kappa_lies_in_its_interval() -> None:
    labels = [1.0] * 20 + [0.0] * 20
    hand = {str(n): "improved" if n < 15 or n >= 35 else "worsened" for n in range(40)}

    agreement = label_agreement(rows_of(labels), hand)

    kappa = agreement.kappa
    assert agreement.counts_22.tolist() == [[15, 5], [5, 15]]
    assert kappa.value == pytest.approx(0.5)
    assert kappa.low is not None and kappa.high is not None
    assert 0.15 < kappa.low < 0.5 < kappa.high < 0.85


def test_people_with_one_label_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(rows_of([1, 0, 1, 0]), tmp_path / "m.parquet")
    (tmp_path / "hand.csv").write_text("person,label\n0,improved\nuser_000000000001,Worsened\n77,improved\n")

    assert main(["agreement", str(tmp_path / "m.parquet"), str(tmp_path / "hand.csv")]) == 0

    printed = capsys.readouterr().out
    assert "kappa 1.000" in printed and "n = 2 people" in printed
    assert "labelled by hand, not in the manifest: 1 (77)" in printed
    assert "in the manifest, not labelled by hand: 2 (user_000000000002, user_000000000003)" in printed


def test_labels_without_a_common_person_are_rejected() -> None:
    with pytest.raises(LabelError, match=r"none of the 1 people.*name them.*user_000000000000"):
        label_agreement(rows_of([1, 0]), {"anna": "improved"})


def test_labels_of_one_class_are_rejected() -> None:
    with pytest.raises(LabelError, match=r"both label all 2 people improved"):
        label_agreement(rows_of([1, 1]), {"0": "improved", "1": "improved"})


def test_a_manifest_without_labels_is_rejected() -> None:
    with pytest.raises(LabelError, match=r"no labelled people.*skinserve followup"):
        label_agreement([Row(image="/a.jpg", label="Nevus")], {"0": "improved"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,label\n1,improved\n", "no column person; it needs person, label"),
        ("person,label\n1,better\n", "row 2: the label is 'better'"),
        (
            "person,label\n1,improved\nuser_000000000001,worsened\n",
            "row 3: this person was improved in an earlier row",
        ),
    ],
)
def test_a_wrong_file_of_hand_labels_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "hand.csv").write_text(text)

    with pytest.raises(LabelError, match=message):
        read_hand_labels(str(tmp_path / "hand.csv"))
