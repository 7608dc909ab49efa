"""The services that the handlers of every tab share."""

from dataclasses import dataclass

import gradio as gr

from serve.runtime.forwarded_headers import CLIENT_ADDRESS
from ui.client import ApiClient
from ui.uploads import UploadFolder


@dataclass(frozen=True, kw_only=True)
class Services:
    """Hold the API client and the folder of uploads."""

    api: ApiClient
    uploads: UploadFolder

    def api_for(self, request: gr.Request | None) -> ApiClient:
        """Return the client for the visitor of a request.

        Visitors without an address share one limit.
        """
        scope = request.request.scope if request is not None and request.request is not None else {}
        return self.api.for_visitor(scope.get(CLIENT_ADDRESS))
