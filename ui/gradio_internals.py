"""Undocumented interfaces of Gradio that the page uses; tried with Gradio 6.31.

``tests/ui/test_gradio_internals.py`` fails when Gradio changes any of it.
"""

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

QUEUE_PAUSE_S = 0.1
_STOPPED = "Server stopped unexpectedly."
_SERVER_STOPPED = f'data: {{"msg":"{_STOPPED}","message":"{_STOPPED}","success":false}}\n\n'


def lengthen_queue_pauses(blocks: gr.Blocks) -> None:
    """Make Gradio poll its queue every 0.1 s: its default, 1 ms, takes 4% of a core while idle."""
    blocks._queue.sleep_when_free = blocks._queue.progress_update_sleep_when_free = QUEUE_PAUSE_S


class RejectUnknownSessions:
    """End the stream of a session that another process holds, so that ``gradio_client`` raises an error.

    A call of ``gradio_client`` is two requests, which can reach two replicas of the page. Gradio would log a
    traceback, and the call would be cancelled without a message.
    """

    def __init__(self, app: ASGIApp, *, blocks: gr.Blocks) -> None:
        self._app = app
        self._sessions = blocks._queue.pending_messages_per_session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request."""
        if scope["type"] == "http" and scope["path"].endswith("/gradio_api/queue/data"):
            if Request(scope).query_params.get("session_hash", "") not in self._sessions:
                response = Response(_SERVER_STOPPED, media_type="text/event-stream")
                return await response(scope, receive, send)
        await self._app(scope, receive, send)
