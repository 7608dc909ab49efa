"""LitServe with batching: ``python -m bench.baselines.lesion_litserve PORT``."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import litserve  # pyright: ignore[reportMissingImports]
from fastapi import Request

from bench.baselines.classifier import BATCH_WAIT_S, MAX_BATCH_SIZE, THREADS, WORKERS, Classifier


class LesionAPI(litserve.LitAPI):
    """Classify the uploaded photo of each request; the photos of a batch are prepared in parallel."""

    def setup(self, device: str) -> None:
        """Load the network, once per worker."""
        self.classifier = Classifier()
        self.threads = ThreadPoolExecutor(THREADS)

    def decode_request(self, request: Request) -> bytes:
        """Return the bytes of the photo."""
        return request["file"].file.read()

    def batch(self, inputs: list[bytes]) -> list[Any]:
        """Prepare the photos of a batch."""
        return list(self.threads.map(self.classifier.prepare, inputs))

    def predict(self, x: list[Any]) -> list[dict[str, Any]]:
        """Classify a batch."""
        return self.classifier(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the responses of a batch one by one."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return a response unchanged."""
        return output


if __name__ == "__main__":
    api = LesionAPI(max_batch_size=MAX_BATCH_SIZE, batch_timeout=BATCH_WAIT_S)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS, timeout=False)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
