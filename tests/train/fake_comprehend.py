"""A local fake of AWS Comprehend: JSON 1.1 over HTTP."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session

Answer = dict[str, Any]
MODEL = botocore.session.get_session().get_service_model("comprehend")
SENTIMENT_LANGUAGES = ("en", "es", "fr", "de", "it", "pt", "ar", "hi", "ja", "ko", "zh", "zh-TW")
WORDS = {"better": "POSITIVE", "worse": "NEGATIVE", "both": "MIXED"}
LANGUAGES = {"mejor": "es", "lepsza": "pl"}


class ApiError(Exception):
    """Error of the service with this code."""


class FakeComprehend:
    """Count calls and keep their arguments; reject invalid calls as the real service; fail on request.

    Attributes:
        throttled: this many next calls are throttled.
        guesses: language and score of single texts, for wrong guesses.
        signature_expired: the clock of the service is an hour ahead.
        flaky: texts that fail within a batch, and how many times more; -1 for ever.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.batches: list[Answer] = []
        self.throttled = 0
        self.denied = False
        self.signature_expired = False
        self.guesses: dict[str, tuple[str, float]] = {}
        self.flaky: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.answer))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, operation: str, arguments: Answer) -> Answer:
        self.calls[operation] += 1
        if self.throttled:
            self.throttled -= 1
            raise ApiError("ThrottlingException")
        if self.denied:
            raise ApiError("AccessDeniedException")
        if self.signature_expired:
            raise ApiError("InvalidSignatureException")
        if operation == "DetectDominantLanguage":
            return self._language(arguments["Text"])
        assert operation == "BatchDetectSentiment"
        return self._sentiments(arguments)

    def _language(self, text: str) -> Answer:
        if text == "...":
            return {"Languages": []}
        if not text:
            raise ApiError("ValidationException")
        if len(text.encode()) > 100_000:
            raise ApiError("TextSizeLimitExceededException")
        code = next((code for word, code in LANGUAGES.items() if word in text), "en")
        code, score = self.guesses.get(text, (code, 0.9))
        return {
            "Languages": [
                {"LanguageCode": "fr", "Score": 0.05},
                {"LanguageCode": code, "Score": score},
            ]
        }

    def _sentiments(self, arguments: Answer) -> Answer:
        self.batches.append(arguments)
        texts = arguments["TextList"]
        if arguments["LanguageCode"] not in SENTIMENT_LANGUAGES or not texts or not all(texts):
            raise ApiError("ValidationException")
        if len(texts) > 25:
            raise ApiError("BatchSizeLimitExceededException")
        if any(len(text.encode()) > 5000 for text in texts):
            raise ApiError("TextSizeLimitExceededException")
        results, errors = [], []
        for index, text in enumerate(texts):
            if self.flaky.get(text, 0):
                self.flaky[text] -= 1
                errors.append({"Index": index, "ErrorCode": "INTERNAL_SERVER_ERROR", "ErrorMessage": "?"})
            else:
                results.append({"Index": index, **_sentiment(text)})
        return {"ResultList": results, "ErrorList": errors}


def _sentiment(text: str) -> Answer:
    verdict = next((verdict for word, verdict in WORDS.items() if word in text), "NEUTRAL")
    score = {"Positive": 0.09, "Negative": 0.01, "Neutral": 0.0, "Mixed": 0.0}
    score[verdict.capitalize()] += 0.9
    return {"Sentiment": verdict, "SentimentScore": score}


def _handler(answer: Callable[[str, Answer], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            operation = self.headers["X-Amz-Target"].rpartition(".")[2]
            arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.expired = False
            try:
                self._send(200, answer(operation, arguments))
            except ApiError as error:
                self.expired = str(error) == "InvalidSignatureException"
                self._send(400, {"__type": str(error), "message": "no"})

        def date_time_string(self, timestamp: float | None = None) -> str:
            now = time.time() if timestamp is None else timestamp
            return super().date_time_string(now + 3600 * self.expired)

        def _send(self, status: int, output: Answer) -> None:
            body = json.dumps(output).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
