"""Echo in LitServe: ``python -m bench.baselines.echo_litserve PORT``."""

import sys

import litserve  # pyright: ignore[reportMissingImports]
from fastapi import Request


class EchoAPI(litserve.LitAPI):
    """Return the size of an uploaded file."""

    def setup(self, device: str) -> None:
        """Load nothing."""

    def decode_request(self, request: Request) -> bytes:
        """Return the file of the form."""
        return request["file"].file.read()  # pyright: ignore[reportIndexIssue]

    def predict(self, x: bytes) -> int:
        """Return the size of the file."""
        return len(x)

    def encode_response(self, output: int) -> dict[str, int]:
        """Return the response."""
        return {"bytes": output}


if __name__ == "__main__":
    server = litserve.LitServer(EchoAPI(api_path="/echo"), accelerator="cpu", timeout=False)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
