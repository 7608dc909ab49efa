import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from serve.runtime.languages import LANGUAGES, accepted_language, accepted_tags


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr-CH, fr;q=0.9, pt-BR;q=0.8, en;q=0.5", "pt"),
        ("en;q=0.2, ar;q=0.9", "ar"),
        ("de;q=0, es;q=0.1", "es"),
        ("hi;q=x,,;q=1,*", "en"),
        ("HI-in", "hi"),
    ],
)
def test_the_first_preferred_language_with_messages_is_chosen(accepted: str, language: str):
    assert accepted_language(Headers({"accept-language": accepted})) == language


def test_without_the_header_messages_are_english():
    assert accepted_language(Headers({})) == "en"


@given(st.text(st.characters(max_codepoint=255), max_size=700))
def test_any_header_gives_one_of_the_languages(header: str):
    assert accepted_language(Headers(raw=[(b"accept-language", header.encode("latin-1"))])) in LANGUAGES


@given(st.lists(st.tuples(st.sampled_from(LANGUAGES), st.integers(1, 1000)), max_size=6))
def test_tags_are_sorted_by_weight_and_equal_weights_by_position(parts: list[tuple[str, int]]):
    header = ", ".join(f"{tag};q={weight / 1000:g}" for tag, weight in parts)

    assert accepted_tags(header) == [tag for tag, _ in sorted(parts, key=lambda part: -part[1])]
