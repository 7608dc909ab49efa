import pytest

from train.data.labels.notes import script_of, truncate_to_bytes


@pytest.mark.parametrize(("max_bytes", "kept"), [(4, "aé"), (3, "aé"), (2, "a"), (6, "aé"), (7, "aé😀")])
def test_truncation_keeps_whole_characters(max_bytes: int, kept: str) -> None:
    assert truncate_to_bytes(" aé😀 ", max_bytes) == kept


def test_a_lone_surrogate_can_be_sent() -> None:
    assert truncate_to_bytes("better \ud83d", 5000) == "better ?"


def test_a_long_note_in_devanagari_is_cut_at_a_space() -> None:
    note = "त्वचा में सुधार हुआ है " * 200

    kept = truncate_to_bytes(note, 5000)

    assert 4950 < len(kept.encode()) <= 5000
    assert note.startswith(f"{kept} ")


@pytest.mark.parametrize(
    ("note", "max_bytes", "kept"),
    [
        ("कि" * 10, 9, "कि"),  # a vowel sign
        ("क्ष" * 10, 15, "क्ष"),  # two joined consonants
        ("e\u0301" * 10, 4, "e\u0301"),  # an accent
        ("👩🏽‍⚕️" * 2, 20, "👩🏽‍⚕️"),  # an emoji of five code points
    ],
)
def test_what_a_reader_sees_as_one_character_is_not_split(note: str, max_bytes: int, kept: str) -> None:
    assert truncate_to_bytes(note, max_bytes) == kept


@pytest.mark.parametrize(
    ("text", "script"),
    [("Fine, besser.", "LATIN"), ("बेहतर OK", "DEVANAGARI"), ("...", ""), ("좋아요", "HANGUL")],
)
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    assert script_of(text) == script
