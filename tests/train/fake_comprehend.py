"""A local fake of AWS Comprehend: JSON 1.1 over HTTP."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session

Answer = dict[str, Any]
MODEL = botocore.session.get_session().get_service_model("comprehend")
WORDS = {"better": "POSITIVE", "worse": "NEGATIVE", "both": "MIXED"}
LANGUAGES = {"mejor": "es", "lepsza": "pl"}


class ApiError(Exception):
    """Error of the service with this code."""


class FakeComprehend:
    """Count calls and keep their arguments; reject invalid calls as the real service; fail on request.

    Attributes:
        throttled: this many next calls are throttled.
        flaky: texts that fail within a batch, and how many times more; -1 for ever.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.batches: list[Answer] = []
        self.throttled = 0
        self.denied = False
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
        if operation == "DetectDominantLanguage":
            return self._language(arguments["Text"])
        assert operation == "BatchDetectSentiment"
        return self._sentiments(arguments)

    def _language(self, text: str) -> Answer:
        if text == "...":
            return {"Languages": []}
        code = next((code for word, code in LANGUAGES.items() if word in text), "en")
        return {
            "Languages": [
                {"LanguageCode": "fr", "Score": 0.05},
                {"LanguageCode": code, "Score": 0.9},
            ]
        }

    def _sentiments(self, arguments: Answer) -> Answer:
        self.batches.append(arguments)
        texts = arguments["TextList"]
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
            try:
                self._send(200, answer(operation, arguments))
            except ApiError as error:
                self._send(400, {"__type": str(error), "message": "no"})

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
