"""S3-compatible store that, as older ones do, rejects the newer checksums of boto3."""

import contextlib
import email.utils
import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.local_bucket import environment_of


class StrictS3:
    """Store objects in memory.

    Attributes:
        objects: content by bucket and key, as decoded from the path of the request.
        rejected: headers for which a request was rejected.
        public: whether requests without a signature may read.
        wants_bucket_in_host: reject addresses with the bucket in the path, as some public clouds do.
        clock_offset_s: of the store's clock; signed requests are rejected above 15 minutes.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}
        self.rejected: list[str] = []
        self.public = False
        self.wants_bucket_in_host = False
        self.clock_offset_s = 0.0
        self.uploads: dict[str, dict[int, bytes]] = {}
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def listing(self, bucket: str, prefix: str) -> bytes:
        """Return the keys as they are: some stores ignore ``encoding-type=url``."""
        keys = sorted(key for name, key in self.objects if name == bucket and key.startswith(prefix))
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><ETag>&quot;1&quot;</ETag><Size>1</Size></Contents>"
            for key in keys
        )
        return (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
            f"<Name>{bucket}</Name><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
        ).encode()

    def rejection(self, method: str, headers: Any) -> str:
        """Return the code with which a request is rejected, or an empty text."""
        for name, value in headers.items():
            name = name.lower()
            newer = name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer"))
            if newer or "aws-chunked" in value or value.startswith("STREAMING-"):
                self.rejected.append(name)
                return "NotImplemented"
        if self.wants_bucket_in_host:
            return "SecondLevelDomainForbidden"
        if "authorization" not in headers:
            return "" if self.public and method in ("GET", "HEAD") else "AccessDenied"
        return "RequestTimeTooSkewed" if abs(self.clock_offset_s) > 900 else ""


@contextlib.contextmanager
def strict_s3(*, with_credentials: bool = True) -> Iterator[StrictS3]:
    """Run a store on a free port and configure boto3 for it."""
    store = StrictS3()
    try:
        with environment_of(store.url, with_credentials=with_credentials):
            yield store
    finally:
        store.stop()


class _Handler(http.server.BaseHTTPRequestHandler):
    store: StrictS3
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path[1:]).partition("/")
        query = parse_qs(address.query, keep_blank_values=True)
        if code := self.store.rejection(self.command, self.headers):
            self.error(501 if code == "NotImplemented" else 403, code)
        elif self.command == "POST":
            self.multipart(bucket, key, query)
        elif self.command == "PUT" and "partNumber" in query:
            self.store.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = body
            self.reply(200)
        elif self.command == "PUT":
            self.store.objects[bucket, key] = body
            self.reply(200)
        elif self.command == "DELETE":
            self.store.objects.pop((bucket, key), None)
            self.reply(204)
        elif not key:
            self.reply(200, self.store.listing(bucket, query.get("prefix", [""])[0]))
        elif (bucket, key) in self.store.objects:
            self.reply(200, self.store.objects[bucket, key])
        else:
            self.error(404, "NoSuchKey")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def multipart(self, bucket: str, key: str, query: dict[str, list[str]]) -> None:
        if "uploads" in query:
            self.store.uploads["1"] = {}
            self.reply(200, b"<R><UploadId>1</UploadId></R>")
            return
        parts = self.store.uploads.pop(query["uploadId"][0])
        self.store.objects[bucket, key] = b"".join(parts[number] for number in sorted(parts))
        self.reply(200, b"<R><ETag>1</ETag></R>")

    def error(self, status: int, code: str) -> None:
        self.reply(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())

    def reply(self, status: int, body: bytes = b"") -> None:
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(time.time() + self.store.clock_offset_s, usegmt=True))
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
