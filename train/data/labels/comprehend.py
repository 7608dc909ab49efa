"""AWS Comprehend reads doctors' notes: which language, then how they sound.

Limits: https://docs.aws.amazon.com/comprehend/latest/dg/guidelines-and-limits.html
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tqdm import tqdm

from train.data.labels.cache import AnswerCache
from train.data.labels.sentiment import LabelError, Refusal, Sentiment, verdict_of

MAX_DOCUMENTS = 25
"""Of one call of BatchDetectSentiment."""
MAX_BYTES = 5000
"""Of one document, in UTF-8."""
LANGUAGES = ("en", "es", "fr", "de", "it", "pt", "ar", "hi", "ja", "ko", "zh", "zh-TW")
"""In which Comprehend reads sentiment; it recognises many more."""
MAX_ATTEMPTS = 10
"""Of one call; throttling and failures of the service are backed off from, up to 20 s at a time."""
MAX_ROUNDS = 5
"""For documents that fail within a call that works."""
REFUSED_DOCUMENT = ("InvalidRequestException", "TextSizeLimitExceededException")
THROTTLED = ("ThrottlingException", "TooManyRequestsException", "Throttling", "RequestLimitExceeded")
OFFLINE = "or label offline with --labeller vader"


class Comprehend:
    """Asks Comprehend about every text once; later runs are answered from the cache.

    Args:
        cache: where answers are kept.
        region: of AWS; none: as the AWS configuration of this machine says.
        sleep: waits between rounds.
    """

    name = "comprehend"

    def __init__(
        self, cache: AnswerCache, *, region: str | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._cache = cache
        self._region = region
        self._sleep = sleep
        self._opened: Any = None
        self._num_calls = self._num_cached = self._num_cut = 0

    def __call__(self, notes: Sequence[str]) -> list[Sentiment | Refusal]:
        """Return one answer for each note; languages that Comprehend does not read are refused.

        Raises:
            LabelError: no credentials, no region, no permission, or the service stays away.
        """
        texts = [cut_to_bytes(note, MAX_BYTES) for note in notes]
        self._num_cut += sum(text != clean(note) for text, note in zip(texts, notes, strict=True))
        answers: dict[str, Sentiment | Refusal] = {}
        texts_of: defaultdict[str, list[str]] = defaultdict(list)
        for text, language in self._languages(list(dict.fromkeys(texts))):
            if language in LANGUAGES:
                texts_of[language].append(text)
            else:
                answers[text] = Refusal(
                    reason=f"Comprehend reads no sentiment in this language: {language}"
                    if language
                    else "Comprehend recognised no language"
                )
        for language, group in texts_of.items():
            answers |= self._sentiments(group, language)
        return [answers[text] for text in texts]

    def remarks(self) -> list[str]:
        """Return how many calls were made, what the cache answered, and what was cut."""
        lines = [
            f"Comprehend was called {self._num_calls} times; {self._num_cached} answers were in the cache"
        ]
        if self._num_cut:
            lines.append(f"{self._num_cut} notes are longer than {MAX_BYTES} bytes; their beginning was read")
        return lines

    def _languages(self, texts: list[str]) -> Iterator[tuple[str, str]]:
        """Yield each text with its language; "" where Comprehend saw none."""
        for text in tqdm(texts, desc="languages", unit="note", disable=None, leave=False):
            language = self._cache.find("language", text)
            self._num_cached += language is not None
            if language is None:
                language = self._language(text)
                self._cache.keep("language", [(text, language)])
            yield text, language

    def _language(self, text: str) -> str:
        found = self._ask("detect_dominant_language", Text=text)["Languages"]
        return max(found, key=lambda each: each["Score"])["LanguageCode"] if found else ""

    def _sentiments(self, texts: list[str], language: str) -> dict[str, Sentiment | Refusal]:
        answers: dict[str, Sentiment | Refusal] = {}
        for text in texts:
            kept = self._cache.find("sentiment", text)
            if kept is not None:
                answers[text] = Sentiment(**kept)
        self._num_cached += len(answers)
        waiting = [text for text in texts if text not in answers]
        errors: dict[str, str] = {}
        for round_ in range(MAX_ROUNDS):
            errors = {}
            for start in range(0, len(waiting), MAX_DOCUMENTS):
                batch = waiting[start : start + MAX_DOCUMENTS]
                found, failed = self._batch(batch, language)
                answers |= found
                errors |= failed
            waiting = list(errors)
            if not waiting:
                break
            if round_ + 1 < MAX_ROUNDS:
                self._sleep(random.uniform(0.5, 1) * 2**round_)
        for text, code in errors.items():
            answers[text] = Refusal(reason=f"Comprehend failed on it {MAX_ROUNDS} times: {code}")
        return answers

    def _batch(self, texts: list[str], language: str) -> tuple[dict[str, Sentiment], dict[str, str]]:
        """Ask about 25 texts at most; return the answers, and the error codes of the others."""
        reply = self._ask("batch_detect_sentiment", TextList=texts, LanguageCode=language)
        found = {
            texts[result["Index"]]: _sentiment(result, language) for result in reply.get("ResultList", ())
        }
        self._cache.keep("sentiment", [(text, vars(sentiment)) for text, sentiment in found.items()])
        codes = {texts[error["Index"]]: str(error.get("ErrorCode")) for error in reply.get("ErrorList", ())}
        return found, {text: codes.get(text, "no answer") for text in texts if text not in found}

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._opened is None:
                self._opened = _open_client(self._region)
            self._num_calls += 1
            return getattr(self._opened, operation)(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if operation == "detect_dominant_language" and code in REFUSED_DOCUMENT:
                return {"Languages": []}
            raise LabelError(_explained(code)) from error
        except BotoCoreError as error:
            raise LabelError(_unreachable(error)) from error


def clean(note: str) -> str:
    """Return a note as it can be written in UTF-8, without blanks around it."""
    return note.strip().encode(errors="replace").decode()  # JSON may hold halves of surrogate pairs


def cut_to_bytes(note: str, max_bytes: int) -> str:
    """Return as much of a note's beginning as fits into ``max_bytes`` of UTF-8, cut between characters."""
    return clean(note).encode()[:max_bytes].decode(errors="ignore")


def _open_client(region: str | None) -> Any:
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": MAX_ATTEMPTS}
    config = Config(retries=retries)  # pyright: ignore[reportArgumentType]
    return boto3.Session().client("comprehend", region_name=region, config=config)


def _sentiment(result: dict[str, Any], language: str) -> Sentiment:
    score = result["SentimentScore"]
    return Sentiment(
        verdict=verdict_of(result["Sentiment"]),
        positive=score["Positive"],
        negative=score["Negative"],
        neutral=score["Neutral"],
        mixed=score["Mixed"],
        language=language,
    )


def _explained(code: str) -> str:
    if code in THROTTLED:
        return (
            f"Comprehend still says {code} after {MAX_ATTEMPTS} attempts; the answers so far are kept: "
            "run the same command again later"
        )
    return (
        f"Comprehend refused the call: {code}; give valid AWS credentials that allow "
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
        f"Comprehend cannot be reached ({type(error).__name__}); look at the network and AWS_ENDPOINT_URL "
        f"and run the same command again, the answers so far are kept; {OFFLINE}"
    )
