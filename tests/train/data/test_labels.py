from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.fake_comprehend import MODEL, FakeComprehend
from train.data.labels.cache import ResponseCache
from train.data.labels.comprehend import LANGUAGES, MAX_ROUNDS, Comprehend
from train.data.labels.offline import COURTESY, Vader
from train.data.labels.sentiment import LabelError, NoSentiment, Sentiment, improvement_of, label_of


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeComprehend]:
    server = FakeComprehend()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    yield server
    server.stop()


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    cache = ResponseCache(tmp_path / "answers.sqlite")
    yield cache
    cache.close()


def labeller_on(cache: ResponseCache) -> Comprehend:
    return Comprehend(cache, region="us-east-1", sleep=lambda seconds: None)


def verdicts(answers: list[Sentiment | NoSentiment]) -> list[str]:
    return [answer.verdict if isinstance(answer, Sentiment) else answer.reason for answer in answers]


def test_the_languages_are_those_of_the_service() -> None:
    shape = MODEL.operation_model("BatchDetectSentiment").input_shape.members["LanguageCode"]  # pyright: ignore[reportAttributeAccessIssue]

    assert sorted(LANGUAGES) == sorted(shape.enum)


def test_one_call_has_25_notes_of_one_language(fake: FakeComprehend, cache: ResponseCache) -> None:
    notes = [f"better {i}" for i in range(30)] + [f"mejor, worse {i}" for i in range(3)]

    answers = labeller_on(cache)(notes)

    assert verdicts(answers) == ["POSITIVE"] * 30 + ["NEGATIVE"] * 3
    assert [(call["LanguageCode"], len(call["TextList"])) for call in fake.batches] == [
        ("en", 25),
        ("en", 5),
        ("es", 3),
    ]
    assert isinstance(answers[32], Sentiment) and answers[32].language == "es"


def test_a_second_run_needs_no_call_and_no_account(
    fake: FakeComprehend, cache: ResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = ["better", "worse", "lepsza", "better"]
    first = labeller_on(cache)(notes)
    calls = fake.calls.total()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    labeller = labeller_on(cache)
    again = labeller(notes)

    assert again == first
    assert fake.calls.total() == calls == 4
    assert labeller.remarks() == ["Comprehend was called 0 times; 5 responses were in the cache"]


def test_the_cache_holds_no_note(fake: FakeComprehend, cache: ResponseCache, tmp_path: Path) -> None:
    labeller_on(cache)(["a secret that got better"])

    assert b"secret" not in (tmp_path / "answers.sqlite").read_bytes()


def test_failed_documents_of_a_batch_are_retried(fake: FakeComprehend, cache: ResponseCache) -> None:
    fake.flaky = {"worse 1": 2}

    answers = labeller_on(cache)(["better 0", "worse 1", "better 2"])

    assert verdicts(answers) == ["POSITIVE", "NEGATIVE", "POSITIVE"]
    assert [call["TextList"] for call in fake.batches[1:]] == [["worse 1"], ["worse 1"]]


def test_a_document_that_always_fails_has_no_sentiment_and_is_not_cached(
    fake: FakeComprehend, cache: ResponseCache
) -> None:
    fake.flaky = {"worse": MAX_ROUNDS}

    failed = labeller_on(cache)(["worse"])

    assert verdicts(failed) == ["Comprehend failed on it 5 times: INTERNAL_SERVER_ERROR"]
    assert verdicts(labeller_on(cache)(["worse"])) == ["NEGATIVE"]


def test_throttled_calls_are_retried(fake: FakeComprehend, cache: ResponseCache) -> None:
    fake.throttled = 4

    assert verdicts(labeller_on(cache)(["better"])) == ["POSITIVE"]


def test_endless_throttling_ends_with_what_to_do(fake: FakeComprehend, cache: ResponseCache) -> None:
    fake.throttled = 1000

    with pytest.raises(LabelError, match=r"Throttl.* in 10 attempts.*run the same command again"):
        labeller_on(cache)(["better"])


def test_a_rejected_call_names_the_needed_permissions(fake: FakeComprehend, cache: ResponseCache) -> None:
    fake.denied = True

    with pytest.raises(LabelError, match=r"AccessDeniedException.*comprehend:BatchDetectSentiment.*vader"):
        labeller_on(cache)(["better"])


def test_languages_without_sentiment_are_named(fake: FakeComprehend, cache: ResponseCache) -> None:
    answers = labeller_on(cache)(["lepsza", "...", "worse"])

    assert verdicts(answers) == [
        "Comprehend has no sentiment for language pl",
        "Comprehend recognised no language",
        "NEGATIVE",
    ]
    assert [batch["TextList"] for batch in fake.batches] == [["worse"]]


def test_long_notes_are_truncated_and_counted(fake: FakeComprehend, cache: ResponseCache) -> None:
    labeller = labeller_on(cache)

    labeller(["better " + "é" * 4000])

    (sent,) = fake.batches[0]["TextList"]
    assert len(sent.encode()) == 4999
    assert "1 notes were truncated to 5000 bytes" in labeller.remarks()


def test_short_notes_are_sent_in_the_main_language_and_counted(
    fake: FakeComprehend, cache: ResponseCache
) -> None:
    fake.guesses = {"better!": ("nl", 0.8), "worse now": ("no", 0.99)}
    labeller = labeller_on(cache)

    answers = labeller(["better!", "worse now", "Your skin looks better than in March."])

    assert verdicts(answers) == ["POSITIVE", "NEGATIVE", "POSITIVE"]
    assert {batch["LanguageCode"] for batch in fake.batches} == {"en"}
    assert (
        "1 notes too short to recognise count as en, the main language of the others, instead of no"
        in labeller.remarks()
    )


def test_a_language_for_all_notes_is_not_detected(fake: FakeComprehend, cache: ResponseCache) -> None:
    labeller = Comprehend(cache, region="us-east-1", language="hi")

    assert verdicts(labeller(["better", "lepsza"])) == ["POSITIVE", "NEUTRAL"]
    assert fake.calls == {"BatchDetectSentiment": 1}
    assert fake.batches[0]["LanguageCode"] == "hi"


def test_a_sentiment_of_another_language_is_not_reused(fake: FakeComprehend, cache: ResponseCache) -> None:
    Comprehend(cache, region="us-east-1", language="de")(["better"])

    (answer,) = Comprehend(cache, region="us-east-1", language="en")(["better"])

    assert isinstance(answer, Sentiment) and answer.language == "en"


def test_notes_in_devanagari_are_sent_within_the_limit(fake: FakeComprehend, cache: ResponseCache) -> None:
    note = "त्वचा better " * 300

    assert verdicts(labeller_on(cache)([note])) == ["POSITIVE"]
    (sent,) = fake.batches[0]["TextList"]
    assert 4900 < len(sent.encode()) <= 5000 and note.startswith(sent)


def test_a_wrong_clock_is_reported_as_such(fake: FakeComprehend, cache: ResponseCache) -> None:
    fake.signature_expired = True

    with pytest.raises(LabelError, match="because this machine's clock is 60 minutes behind; set it"):
        labeller_on(cache)(["better"])


@pytest.mark.usefixtures("no_aws")
def test_without_credentials_the_message_names_vader(cache: ResponseCache) -> None:
    with pytest.raises(LabelError, match=r"no AWS credentials.*--labeller vader"):
        labeller_on(cache)(["better"])


@pytest.mark.usefixtures("no_aws")
def test_without_a_region_the_message_names_vader(cache: ResponseCache) -> None:
    with pytest.raises(LabelError, match=r"no AWS region.*--labeller vader"):
        Comprehend(cache)(["better"])


def test_a_cache_file_of_another_kind_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but long enough to be looked at as one" * 10)

    with pytest.raises(LabelError, match=r"cannot store responses in .*notes.txt.*--cache"):
        ResponseCache(file)


@pytest.mark.parametrize(
    ("note", "verdict"),
    [
        ("Your skin has improved a lot, the acne is clearing.", "POSITIVE"),
        ("Scars are fading, redness subsided.", "POSITIVE"),
        ("Worse than before, new breakouts.", "NEGATIVE"),
        ("The condition deteriorated.", "NEGATIVE"),
        ("No improvement, still inflamed.", "NEGATIVE"),
        ("Please continue the cream twice a day.", "NEUTRAL"),
        ("Hello dear, thanks for the photos, take care", "NEUTRAL"),
    ],
)
def test_vader_scores_skin_words_and_not_polite_words(note: str, verdict: str) -> None:
    (answer,) = Vader()([note])

    assert isinstance(answer, Sentiment) and answer.verdict == verdict


def test_polite_words_are_in_vaders_list() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    assert set(COURTESY) <= SentimentIntensityAnalyzer().lexicon.keys()


@pytest.mark.parametrize(
    ("verdict", "soft", "improvement"),
    [
        ("POSITIVE", False, 1.0),
        ("NEGATIVE", True, 0.0),
        ("NEUTRAL", False, None),
        ("MIXED", False, None),
        ("NEUTRAL", True, 0.75),
        ("MIXED", True, 0.75),
    ],
)
def test_soft_labels_are_for_neutral_and_mixed_notes(
    verdict: str, soft: bool, improvement: float | None
) -> None:
    sentiment = Sentiment(
        verdict=verdict,  # pyright: ignore[reportArgumentType]
        positive=0.3,
        negative=0.1,
        neutral=0.6,
        mixed=0,
        language="en",
    )

    found = improvement_of(sentiment, soft=soft)

    assert found == (None if improvement is None else pytest.approx(improvement))


def test_a_note_without_positive_or_negative_score_has_no_soft_label() -> None:
    (answer,) = Vader()(["the cream"])

    assert isinstance(answer, Sentiment) and improvement_of(answer, soft=True) is None


def test_the_more_probable_class_names_the_label() -> None:
    assert [label_of(p) for p in (0, 0.49, 0.5, 1)] == ["worsened", "worsened", "improved", "improved"]
