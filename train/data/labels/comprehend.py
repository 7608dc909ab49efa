"""Sentiment of notes by AWS Comprehend: first the language, then the sentiment.

Limits: https://docs.aws.amazon.com/comprehend/latest/dg/guidelines-and-limits.html
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

from tqdm import tqdm

from models.storage_errors import clock_skew
from train.data.labels.cache import ResponseCache
from train.data.labels.languages import Guess, languages_of
from train.data.labels.notes import clean, truncate_to_bytes
from train.data.labels.sentiment import LabelError, NoSentiment, Sentiment, parse_verdict

MAX_DOCUMENTS = 25
"""In one call of BatchDetectSentiment."""
MAX_BYTES = 5000
"""Of one document, in UTF-8."""
Language = Literal["en", "es", "fr", "de", "it", "pt", "ar", "hi", "ja", "ko", "zh", "zh-TW"]
LANGUAGES = get_args(Language)
"""Languages of Comprehend's sentiment; it recognises many more."""
MAX_ATTEMPTS = 10
"""For one call; back-off after throttling and service failures takes up to 20 s each."""
MAX_ROUNDS = 5
"""For documents that fail in a successful call."""
REJECTED_DOCUMENT = ("InvalidRequestException", "TextSizeLimitExceededException")
THROTTLED = ("ThrottlingException", "TooManyRequestsException", "Throttling", "RequestLimitExceeded")
OFFLINE = "or label offline with --labeller vader"


class Comprehend:
    """Call Comprehend once for every text; later runs use the cache.

    Args:
        cache: of the responses.
        region: of AWS; by default that of the AWS configuration.
        language: of all notes; by default each is detected.
        sleep: waits between rounds; tests replace it.
    """

    name = "comprehend"

    def __init__(
        self,
        cache: ResponseCache,
        *,
        region: str | None = None,
        language: Language | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = cache
        self._region = region
        self._language = language
        self._sleep = sleep
        self._corrected: Counter[tuple[str, str]] = Counter()
        self._opened: Any = None
        self._num_calls = self._num_cached = self._num_truncated = 0

    def __call__(self, notes: Sequence[str]) -> list[Sentiment | NoSentiment]:
        """Return one result for each note; unsupported languages have no sentiment.

        Raises:
            LabelError: credentials, region or permission are missing, or the service is unavailable.
        """
        texts = [truncate_to_bytes(note, MAX_BYTES) for note in notes]
        self._num_truncated += sum(text != clean(note) for text, note in zip(texts, notes, strict=True))
        results: dict[str, Sentiment | NoSentiment] = {}
        texts_of: defaultdict[str, list[str]] = defaultdict(list)
        for text, language in self._languages(list(dict.fromkeys(texts))).items():
            if language in LANGUAGES:
                texts_of[language].append(text)
            else:
                results[text] = NoSentiment(
                    reason=f"Comprehend has no sentiment for language {language}"
                    if language
                    else "Comprehend recognised no language"
                )
        for language, group in texts_of.items():
            results |= self._sentiments(group, language)
        return [results[text] for text in texts]

    def remarks(self) -> list[str]:
        """Return the numbers of calls, cache hits and truncated notes."""
        lines = [
            f"Comprehend was called {self._num_calls} times; {self._num_cached} responses were in the cache"
        ]
        if self._num_truncated:
            lines.append(f"{self._num_truncated} notes were truncated to {MAX_BYTES} bytes")
        lines += [
            f"{num} notes too short to recognise count as {language}, the main language of the others, "
            f"instead of {guessed}"
            for (guessed, language), num in self._corrected.most_common()
        ]
        return lines

    def _languages(self, texts: list[str]) -> dict[str, str]:
        """Return the language of each text, empty if Comprehend recognised none."""
        if self._language:
            return dict.fromkeys(texts, self._language)
        guesses = {}
        for text in tqdm(texts, desc="languages", unit="note", disable=None, leave=False):
            stored = self._cache.get("dominant language", text)
            if stored is None:
                guesses[text] = self._guess(text)
                self._cache.put("dominant language", [(text, guesses[text])])
            else:
                guesses[text] = Guess(*stored)
                self._num_cached += 1
        languages = languages_of(guesses)
        self._corrected.update(
            (guesses[text].language or "none", language)
            for text, language in languages.items()
            if language != guesses[text].language
        )
        return languages

    def _guess(self, text: str) -> Guess:
        found = self._call("detect_dominant_language", Text=text)["Languages"]
        if not found:
            return Guess("", 0.0)
        best = max(found, key=lambda each: each["Score"])
        return Guess(best["LanguageCode"], best["Score"])

    def _sentiments(self, texts: list[str], language: str) -> dict[str, Sentiment | NoSentiment]:
        results: dict[str, Sentiment | NoSentiment] = {}
        for text in texts:
            stored = self._cache.get("sentiment", text)
            if stored is not None and stored["language"] == language:
                results[text] = Sentiment(**stored)
        self._num_cached += len(results)
        waiting = [text for text in texts if text not in results]
        errors: dict[str, str] = {}
        for round_ in range(MAX_ROUNDS):
            errors = {}
            for start in range(0, len(waiting), MAX_DOCUMENTS):
                batch = waiting[start : start + MAX_DOCUMENTS]
                found, failed = self._batch(batch, language)
                results |= found
                errors |= failed
            waiting = list(errors)
            if not waiting:
                break
            if round_ + 1 < MAX_ROUNDS:
                self._sleep(random.uniform(0.5, 1) * 2**round_)
        for text, code in errors.items():
            results[text] = NoSentiment(reason=f"Comprehend failed on it {MAX_ROUNDS} times: {code}")
        return results

    def _batch(self, texts: list[str], language: str) -> tuple[dict[str, Sentiment], dict[str, str]]:
        """Request at most 25 texts; return their sentiments, and the error codes of the others."""
        reply = self._call("batch_detect_sentiment", TextList=texts, LanguageCode=language)
        found = {
            texts[result["Index"]]: _sentiment(result, language) for result in reply.get("ResultList", ())
        }
        self._cache.put("sentiment", [(text, vars(sentiment)) for text, sentiment in found.items()])
        codes = {texts[error["Index"]]: str(error.get("ErrorCode")) for error in reply.get("ErrorList", ())}
        return found, {text: codes.get(text, "no response") for text in texts if text not in found}

    def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._opened is None:
                self._opened = _open_client(self._region)
            self._num_calls += 1
            return getattr(self._opened, operation)(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if operation == "detect_dominant_language" and code in REJECTED_DOCUMENT:
                return {"Languages": []}
            raise LabelError(_explained(code, clock_skew(error))) from error
        except BotoCoreError as error:
            raise LabelError(_unreachable(error)) from error


def _open_client(region: str | None) -> Any:
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": MAX_ATTEMPTS}
    config = Config(retries=retries)  # pyright: ignore[reportArgumentType]
    return boto3.Session().client("comprehend", region_name=region, config=config)


def _sentiment(result: dict[str, Any], language: str) -> Sentiment:
    score = result["SentimentScore"]
    return Sentiment(
        verdict=parse_verdict(result["Sentiment"]),
        positive=score["Positive"],
        negative=score["Negative"],
        neutral=score["Neutral"],
        mixed=score["Mixed"],
        language=language,
    )


def _explained(code: str, skew: str) -> str:
    if skew:
        return f"Comprehend rejected the call ({code}) because {skew}"
    if code in THROTTLED:
        return (
            f"Comprehend returned {code} in {MAX_ATTEMPTS} attempts; the responses so far are stored: "
            "run the same command again later"
        )
    return (
        f"Comprehend rejected the call: {code}; give valid AWS credentials that allow "
        f"comprehend:DetectDominantLanguage and comprehend:BatchDetectSentiment, {OFFLINE}"
    )


def _unreachable(error: Exception) -> str:
    from botocore import exceptions

    if isinstance(error, exceptions.NoRegionError):
        return f"there is no AWS region for Comprehend; give one by --region or AWS_DEFAULT_REGION, {OFFLINE}"
    if isinstance(
        error,
        exceptions.NoCredentialsError
        | exceptions.PartialCredentialsError
        | exceptions.CredentialRetrievalError
        | exceptions.ProfileNotFound,
    ):
        return (
            "there are no AWS credentials for Comprehend; give them by aws configure, by a role, or by "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, {OFFLINE}"
        )
    return (
        f"Comprehend cannot be reached ({type(error).__name__}); check the network and AWS_ENDPOINT_URL "
        f"and run the same command again, the responses so far are stored; {OFFLINE}"
    )
