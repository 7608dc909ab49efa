import re
from datetime import datetime
from typing import get_args

import pytest
from babel import Locale

from scripts.catalogues import extract, untranslated, update
from serve.schemas import DISCLAIMER, ErrorCode, Reason, ReasonCode
from tests.ui.conftest import lesion_answer, loaded_models, not_usable_answer, progress_answer
from ui.dates import format_date
from ui.document import Document
from ui.rendering import TEMPLATES, exact_percent, percent
from ui.settings import PageSettings
from ui.tabs.about import about_models
from ui.tabs.lesion_result import lesion_fragment
from ui.tabs.progress_result import progress_card
from ui.tabs.verdict_errors import verdict_errors
from ui.translation import (
    LANGUAGES,
    LOCALES,
    catalogue,
    direction,
    language_names,
    language_of,
    plural_samples,
    translations,
)

OTHERS = [language for language in LANGUAGES if language != "en"]
in_every_other_language = pytest.mark.parametrize("language", OTHERS)
_PLACES = re.compile(r"%\(\w+\)s|%%|\{\w+\}|</?b>")
_COUNT = {"%(n)s", "{n}"}
_ENGLISH_ONLY: set[ErrorCode] = {
    "invalid_request",
    "method_not_allowed",
    "not_acceptable",
    "not_found",
    "pdf_unavailable",
    "jobs_unavailable",
    "unreadable_archive",
}
"""A person with the page does not get these, or they are faults of the page."""
SETTINGS = PageSettings(
    api="v1/", needs_key=True, deadline_s=60, max_photo_bytes=20_000_000, max_request_bytes=90_000_000
)


def places(text: str) -> list[str]:
    return sorted(_PLACES.findall(text))


def html_of_all_answers(language: str) -> str:
    series = progress_answer(3, thresholds=(0.6, 0.6))
    people = [
        photo.model_copy(update={"same_person": index != 1}) for index, photo in enumerate(series.photos)
    ]
    reasons = [Reason(code=code, message=f"photo 1: found {code}") for code in get_args(ReasonCode)]
    lesion_reasons: list[ReasonCode] = ["blurred", "several_lesions"]
    models = loaded_models().models
    errors = verdict_errors(models[0])
    return "\n".join(
        [
            *(lesion_fragment(not_usable_answer(code), None, language) for code in _not_usable()),
            *(
                lesion_fragment(
                    lesion_answer(
                        malignant=malignant, benign_threshold=0.2, weaknesses=tuple(lesion_reasons)
                    ),
                    errors,
                    language,
                )
                for malignant in (0.005, 0.3, 0.8)
            ),
            *(
                progress_card(progress_answer(3, improved=improved), language)
                for improved in (0.1, 0.52, 0.9)
            ),
            progress_card(
                series.model_copy(update={"verdict": "inconclusive", "reasons": reasons, "photos": people}),
                language,
            ),
            about_models(models, language),
        ]
    )


def _not_usable() -> list[ReasonCode]:
    return ["too_small", "too_dark", "overexposed", "not_skin", "no_lesion", "lesion_too_small", "unfamiliar"]


def without_english_parts(html: str) -> str:
    return re.sub(r'<(\w+)[^>]* lang="en"[^>]*>.*?</\1>', "", html, flags=re.DOTALL)


@in_every_other_language
def test_every_message_of_the_page_is_translated(language: str):
    messages = update(catalogue(language), language)

    assert len(extract()) > 400
    assert untranslated(messages) == [], "run python -m scripts.catalogues and translate"


@in_every_other_language
def test_the_catalogue_has_no_message_that_the_page_does_not_use(language: str):
    text = catalogue(language).read_text(encoding="utf-8")

    assert text.count("\nmsgid ") == len(extract()) + 1 and "#~" not in text and "fuzzy" not in text


def test_there_are_catalogues_of_these_languages_only():
    assert sorted(path.name for path in LOCALES.iterdir()) == sorted(OTHERS)


@in_every_other_language
def test_translations_have_the_places_of_the_message(language: str):
    for message in update(catalogue(language), language):
        if not message.id:
            continue
        if isinstance(message.id, str):
            assert places(str(message.string)) == places(message.id), message.id
            continue
        for form in message.string or ():
            missing = set(places(message.id[1])) - set(places(form))
            assert set(places(form)) <= set(places(message.id[1])) and missing <= _COUNT, form


@in_every_other_language
def test_a_number_chooses_the_form_of_its_plural_category(language: str):
    t, category = translations(language), Locale.parse(language).plural_form
    samples = plural_samples(language)

    assert set(samples) == {*category.tags, "other"}
    for one, several in (message.id for message in extract() if isinstance(message.id, tuple)):
        for n in (*range(201), 1_000_000):
            assert t.ngettext(one, several, n) == t.ngettext(one, several, samples[category(n)])


def test_arabic_has_six_forms_and_english_two():
    assert sorted(plural_samples("ar")) == ["few", "many", "one", "other", "two", "zero"]
    assert plural_samples("en") == {"one": 1, "other": 2}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_template_renders_in_every_language_without_english(language: str):
    parts = Document(SETTINGS).parts(language)
    html = without_english_parts(parts.head + parts.body + html_of_all_answers(language))
    sentences = [
        message.id for message in extract() if isinstance(message.id, str) and len(message.id.split()) > 3
    ]
    found = [text for text in sentences if not places(text) and text in html.replace("&#39;", "'")]

    assert (found == []) == (language != "en")
    assert DISCLAIMER in sentences


@pytest.mark.parametrize("code", sorted(set(get_args(ErrorCode)) - _ENGLISH_ONLY))
def test_error_codes_of_the_api_have_texts_for_other_languages(code: ErrorCode):
    assert f'data-text="error_{code}"' in (TEMPLATES / "error_texts.html.jinja").read_text(encoding="utf-8")


def test_only_other_languages_replace_the_messages_of_the_api():
    document = Document(SETTINGS)

    assert 'data-text="error_too_large"' not in document.parts("en").head
    assert 'data-text="error_too_large"' in document.parts("de").head


@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [
        ("", "", "en"),
        ("", "de-AT,de;q=0.9,en;q=0.8", "de"),
        ("", "fr-CH, fr;q=0.9, pt-BR;q=0.8, en;q=0.5", "pt"),
        ("", "en;q=0.2, ar;q=0.9", "ar"),
        ("", "fr, it", "en"),
        ("", "de;q=0, es;q=0.1", "es"),
        ("", "hi;q=x,,;q=1,*", "en"),
        ("", "HI-in", "hi"),
        ("", "de" * 10_000, "en"),
        ("lang=es", "de", "es"),
        ("lang=DE", "", "de"),
        ("lang=pt-PT", "", "pt"),
        ("lang=<script>", "de", "de"),
        ("lang=../../x&lang=ar", "", "ar"),
        ("shared=1&lang=%ff", "", "en"),
    ],
)
def test_the_address_then_the_browser_choose_the_language(query: str, accepted: str, language: str):
    headers = [(b"accept-language", accepted.encode())] if accepted else []
    scope = {"type": "http", "query_string": query.encode(), "headers": headers}

    assert language_of(scope) == language


def test_languages_have_their_own_names_and_arabic_is_written_from_right_to_left():
    assert list(language_names()) == list(LANGUAGES)
    assert language_names()["de"] == "Deutsch" and language_names()["ar"] == "العربية"
    assert {language: direction(language) for language in LANGUAGES}.pop("ar") == "rtl"
    assert {direction(language) for language in OTHERS if language != "ar"} == {"ltr"}


def test_dates_and_percentages_follow_the_language():
    time = datetime(2026, 3, 9, 18, 30)

    assert [format_date(time, language=language) for language in ("en", "de", "ar")] == [
        "Mar 9, 2026",
        "9. März 2026",
        "9 مارس 2026",
    ]
    assert [format_date(time, style, "es") for style in ("month_day", "clock", "year")] == [
        "9 mar",
        "18:30",
        "2026",
    ]
    assert exact_percent(12.5, "de", decimals=1) == "12,5\u00a0%" and exact_percent(35, "pt") == "35%"
    assert percent(0.001, language="ar") == "\u2066<1%\u2069" and exact_percent(35, "ar") == "\u206635%\u2069"
    assert percent(0.001) == "<1%"
