import re
from datetime import datetime
from typing import get_args

import pytest
from babel import Locale

from scripts.catalogues import PACKAGES, ROOT, extract, untranslated, update
from serve.lesion import reason_texts as lesion_texts
from serve.progress import reason_texts as progress_texts
from serve.runtime.languages import catalogue_path
from serve.schemas import DISCLAIMER, Reason, ReasonCode
from tests.ui.conftest import lesion_answer, loaded_models, not_usable_answer, progress_answer
from ui.dates import format_date
from ui.document import Document
from ui.rendering import exact_percent, percent
from ui.settings import PageSettings
from ui.tabs.about import about_models
from ui.tabs.lesion_result import lesion_fragment
from ui.tabs.progress_result import progress_card
from ui.tabs.verdict_errors import verdict_errors
from ui.translation import (
    LANGUAGES,
    direction,
    language_names,
    language_of,
    plural_samples,
    translations,
)

OTHERS = [language for language in LANGUAGES if language != "en"]
in_every_other_language = pytest.mark.parametrize("language", OTHERS)
_PLACES = re.compile(r"%\(\w+\)s|%%|\{\w+\}|</?b>")
_WORD = re.compile(r"[a-z]{4,}")
_COUNT = {"%(n)s", "{n}"}
of_every_package = pytest.mark.parametrize("package", PACKAGES)
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


def plural_messages() -> list[tuple[str, ...]]:
    return [m.id for package in PACKAGES for m in extract(package) if isinstance(m.id, tuple)]


def without_english_parts(html: str) -> str:
    return re.sub(r'<(\w+)[^>]* lang="en"[^>]*>.*?</\1>', "", html, flags=re.DOTALL)


@of_every_package
@in_every_other_language
def test_every_message_is_translated(package: str, language: str):
    messages = update(package, language)

    assert len(extract(package)) > {"serve": 60, "ui": 450}[package]
    assert untranslated(messages) == [], "run python -m scripts.catalogues and translate"


@of_every_package
@in_every_other_language
def test_a_catalogue_has_no_unused_message(package: str, language: str):
    text = catalogue_path(ROOT / package / "locales", language).read_text(encoding="utf-8")

    assert text.count("\nmsgid ") == len(extract(package)) + 1 and "#~" not in text and "fuzzy" not in text


@of_every_package
def test_there_are_catalogues_of_these_languages_only(package: str):
    assert sorted(path.name for path in (ROOT / package / "locales").iterdir()) == sorted(OTHERS)


def test_the_page_translates_the_messages_of_the_api_by_the_catalogue_of_the_api():
    both = {str(m.id) for m in extract("serve")} & {str(m.id) for m in extract("ui")}

    assert both == {""}
    assert translations("de").gettext("This photo is too dark") == "Dieses Foto ist zu dunkel"


@of_every_package
@in_every_other_language
def test_translations_have_the_places_of_the_message(package: str, language: str):
    for message in update(package, language):
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
    for one, several in plural_messages():
        for n in (*range(201), 1_000_000):
            assert t.ngettext(one, several, n) == t.ngettext(one, several, samples[category(n)])


def test_arabic_has_six_forms_and_english_two():
    assert sorted(plural_samples("ar")) == ["few", "many", "one", "other", "two", "zero"]
    assert plural_samples("en") == {"one": 1, "other": 2}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_template_renders_in_every_language_without_english(language: str):
    html = without_english_parts(Document(SETTINGS).html(language) + html_of_all_answers(language))
    sentences = [
        message.id
        for message in [*extract("ui"), *extract("serve")]
        if isinstance(message.id, str) and len(message.id.split()) > 3
    ]
    found = [text for text in sentences if not places(text) and text in html.replace("&#39;", "'")]

    assert (found == []) == (language != "en")
    assert DISCLAIMER in sentences


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


@in_every_other_language
def test_every_reason_has_a_text(language: str):
    of_series: list[ReasonCode] = ["times_missing", "different_people", "no_clear_change", "few_faces"]
    weak: tuple[ReasonCode, ...] = ("blurred", "several_lesions")
    lesions = [
        lesion_answer(malignant=0.3, benign_threshold=0.2, weaknesses=weak),
        *(not_usable_answer(code) for code in lesion_texts.NOT_USABLE),
    ]
    codes: list[ReasonCode] = [*of_series, "too_small", "too_dark", "overexposed", "blurred"]
    reasons = [Reason(code=code, message=f"photo 2: found {code}") for code in codes]
    light = "the face in photo 2 is 2.5 times as bright as that in photo 1, found; do something"
    reasons.append(Reason(code="light_differs", message=light))
    series = progress_answer(3).model_copy(update={"reasons": reasons})

    found = [
        reason for answer in lesions for reason in lesion_texts.translate_reasons(answer, language).reasons
    ]
    found += progress_texts.translate_reasons(series, language).reasons

    again = progress_texts.translate_reasons(
        series.model_copy(update={"reasons": [one for one in found if one.code == "light_differs"]}), "de"
    )
    assert again.reasons[0].message.startswith(
        "Das Gesicht auf Foto 2 ist 2,5-mal so hell wie das auf Foto 1."
    )
    assert {reason.code for reason in found} == set(get_args(ReasonCode))
    assert not [reason for reason in found if "found" in reason.message or "photo " in reason.message]
    if language in ("ar", "hi"):
        assert not [reason for reason in found if _WORD.search(reason.message)]


def test_a_translated_answer_can_be_translated_again():
    reason = Reason(code="too_dark", message="photo 2: the photo is black")
    answer = progress_answer(3).model_copy(update={"reasons": [reason]})

    arabic = progress_texts.translate_reasons(answer, "ar")

    (german,) = progress_texts.translate_reasons(arabic, "de").reasons
    assert german.message == "Foto 2 ist zu dunkel."
