"""Methods of the gRPC service: each is a request to the REST routes of the same gateway.

Ray Serve calls them past the ASGI middleware. As requests to the whole ASGI application they pass key, role,
limits, deadline, request id, audit log and error handling all the same. Decision:
docs/decisions/0040-open-inference-protocol.md.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import unquote

import grpc
from google.protobuf.message import Message
from starlette.types import ASGIApp, Scope
from starlette.types import Message as AsgiMessage

from serve.open_inference.grpc_api import open_inference_pb2 as pb
from serve.open_inference.grpc_api.rest_calls import (
    TRANSLATIONS,
    RestRequest,
    RestResponse,
    count_elements,
    inference_route,
)
from serve.runtime.auth import Authorizer
from serve.runtime.decode_pool import DecodePool
from serve.runtime.errors import ApiError

ADD_SERVICER = (
    "serve.open_inference.grpc_api.open_inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server"
)
"""For ``grpc_options.grpc_servicer_functions`` of Ray Serve."""
STATUS: Mapping[int, grpc.StatusCode] = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By HTTP status; the others are ``INVALID_ARGUMENT``."""
MAX_FAST_ELEMENTS = 10_000
"""Messages with more elements in ``contents`` are translated in a thread."""
_PASSED_ON = re.compile(
    r"authorization|x-api-key|x-request-id|x-request-timeout-seconds|x-forwarded-.*|x-skinserve-proxy-secret"
)
"""Metadata of a call that become headers; others could contradict the body."""
_RETURNED = re.compile(r"x-request-id|retry-after|ratelimit-.*|www-authenticate")
"""Headers of a response that become trailing metadata."""
_PEER = re.compile(r"(?:ipv4:([0-9.]+)|ipv6:\[(.+)\]):[0-9]+")


class CallContext(Protocol):
    """The part of ``ray.serve.grpc_util.RayServegRPCContext`` that is used."""

    def invocation_metadata(self) -> Sequence[tuple[str, Any]]:
        """Return the metadata of the call."""
        ...

    def peer(self) -> str:
        """Return the address of the caller, or of HAProxy."""
        ...

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status."""
        ...

    def set_details(self, details: str) -> None:
        """Set the message of an error."""
        ...

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        """Set metadata of the response."""
        ...


class GrpcInferenceService:
    """Answer the calls of the service with an ASGI application; base class of the gateway."""

    _grpc_app: ASGIApp | None = None
    _grpc_authorizer: Authorizer | None = None
    _grpc_pool: DecodePool
    _grpc_local_only = False

    def set_grpc_app(
        self, app: ASGIApp, *, authorizer: Authorizer | None, pool: DecodePool, local_only: bool
    ) -> None:
        """Set the application.

        Args:
            app: the whole HTTP application, with its middleware.
            authorizer: of the application.
            pool: translates large messages.
            local_only: reject calls from other machines that bypass HAProxy. Ray's gRPC servers in the
                replicas listen on all addresses.
        """
        self._grpc_app = app
        self._grpc_authorizer = authorizer
        self._grpc_pool = pool
        self._grpc_local_only = local_only

    async def ServerLive(self, request: pb.ServerLiveRequest, grpc_context: CallContext) -> Message:
        """Return whether the server answers."""
        return await self._answer("ServerLive", request, grpc_context)

    async def ServerReady(self, request: pb.ServerReadyRequest, grpc_context: CallContext) -> Message:
        """Return whether all models answer."""
        return await self._answer("ServerReady", request, grpc_context)

    async def ModelReady(self, request: pb.ModelReadyRequest, grpc_context: CallContext) -> Message:
        """Return whether a model answers."""
        return await self._answer("ModelReady", request, grpc_context)

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, grpc_context: CallContext) -> Message:
        """Return name, version and extensions of the server."""
        return await self._answer("ServerMetadata", request, grpc_context)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, grpc_context: CallContext) -> Message:
        """Return versions, inputs and outputs of a model."""
        return await self._answer("ModelMetadata", request, grpc_context)

    async def ModelInfer(self, request: pb.ModelInferRequest, grpc_context: CallContext) -> Message:
        """Compute the outputs of a model."""
        return await self._answer("ModelInfer", request, grpc_context)

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, grpc_context: CallContext) -> Message:
        """Return the statistics of a model, or of all."""
        return await self._answer("ModelStatistics", request, grpc_context)

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, grpc_context: CallContext) -> Message:
        """List all models."""
        return await self._answer("RepositoryIndex", request, grpc_context)

    async def _answer(self, method: str, request: Message, context: CallContext) -> Message:
        """Translate one call; an error is the status of the call, and never a traceback of Ray's."""
        translation = TRANSLATIONS[method]
        try:
            if self._grpc_local_only and not is_loopback(context.peer()):
                return _failed(
                    translation.response,
                    context,
                    grpc.StatusCode.PERMISSION_DENIED,
                    "forbidden: this port is for the proxy of the server; call the port of --grpc-port",
                )
            assert self._grpc_app is not None
            metadata = context.invocation_metadata()
            if isinstance(request, pb.ModelInferRequest):
                sent = await self._write_inference(request, metadata)
            else:
                sent = translation.write(request)
            answer = await call_app(self._grpc_app, sent, metadata)
            context.set_trailing_metadata(
                [(name, value) for name, value in answer.headers.items() if _RETURNED.fullmatch(name)]
            )
            if answer.status == 404 and not translation.is_missing_error:
                return translation.read(answer)
            if (error := answer.error) is not None:
                code = STATUS.get(answer.status, grpc.StatusCode.INVALID_ARGUMENT)
                return _failed(translation.response, context, code, error)
            return translation.read(answer)
        except Exception:
            logging.getLogger("skinserve").exception("the gRPC call %s failed", method)
            message = "internal: the server failed on this request"
            return _failed(translation.response, context, grpc.StatusCode.INTERNAL, message)

    async def _write_inference(
        self, request: pb.ModelInferRequest, metadata: Sequence[tuple[str, Any]]
    ) -> RestRequest:
        """Translate a message after a check of its key and its size; the application checks the key again."""
        route = inference_route(request)
        try:
            if self._grpc_authorizer is not None:
                await self._grpc_authorizer.caller(_scope(route, metadata))
            num_elements = count_elements(request)
        except ApiError as error:
            return replace(route, error=error)
        write = TRANSLATIONS["ModelInfer"].write
        if num_elements > MAX_FAST_ELEMENTS:
            return await self._grpc_pool.run(write, request)
        return write(request)


async def call_app(app: ASGIApp, request: RestRequest, metadata: Sequence[tuple[str, Any]]) -> RestResponse:
    """Send a request to an ASGI application in this process.

    Args:
        app: the application.
        request: the request.
        metadata: of the gRPC call; keys and other known ones become headers.
    """
    parts = list(request.body) or [b""]
    messages = iter(
        {"type": "http.request", "body": part, "more_body": index < len(parts)}
        for index, part in enumerate(parts, start=1)
    )
    start: AsgiMessage = {}
    body: list[bytes] = []

    async def receive() -> AsgiMessage:
        if request.error is not None:
            raise request.error
        for message in messages:
            return message
        await asyncio.Future()  # the client stays connected until the call is cancelled
        raise AssertionError

    async def send(message: AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            body.append(message.get("body", b""))

    await app(_scope(request, metadata), receive, send)
    return RestResponse(
        status=start["status"],
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]},
        body=b"".join(body),
    )


def _scope(request: RestRequest, metadata: Sequence[tuple[str, Any]]) -> Scope:
    size = str(sum(map(len, request.body)))
    sent = {**request.headers, "content-type": "application/octet-stream", "content-length": size}
    passed = [(key, value) for key, value in metadata if isinstance(value, str) and _PASSED_ON.fullmatch(key)]
    headers = [(key.lower().encode(), value.encode("latin-1")) for key, value in (*sent.items(), *passed)]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": request.method,
        "scheme": "http",
        "path": unquote(request.path),
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
    }


def is_loopback(peer: str) -> bool:
    """Return whether the address of gRPC, such as ``ipv4:127.0.0.1:5``, is of this machine's loopback."""
    match = _PEER.fullmatch(unquote(peer))
    if match is None:
        return False
    try:
        address = ipaddress.ip_address(match[1] or match[2])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _failed(response: type[Message], context: CallContext, code: grpc.StatusCode, details: str) -> Message:
    """Set the status of a call; an exception would write a traceback into Ray's log."""
    context.set_code(code)
    context.set_details(details)
    return response()
