"""The page as its own Serve application at ``/ui``; the only file of ``ui`` that imports Ray."""

import os

import ray.serve
from fastapi import FastAPI

from ui.config import UiConfig


@ray.serve.deployment(name="Page", max_ongoing_requests=1000)
@ray.serve.ingress()
class Page:
    """Serve the page; any number of replicas, since none keeps a state of its visitors."""

    def __init__(self, config: UiConfig) -> None:
        self._config = config

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the page in the process that serves it: it cannot be pickled."""
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        if self._config.page_access == "off":
            from ui.access import closed_site

            return closed_site()
        from ui.site import build_site

        return build_site(self._config)


def build_app(config: UiConfig) -> ray.serve.Application:
    """Bind the page to the parsed ``args`` of the YAML file."""
    return Page.bind(config)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
