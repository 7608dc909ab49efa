"""The page as its own Serve application at ``/ui``; the only file of ``ui`` that imports Ray."""

import os
from collections.abc import Mapping
from typing import Any

import ray.serve
from fastapi import FastAPI

from serve.runtime.applications import DeploymentOptions, check_names
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


def build_app(arguments: dict[str, Any]) -> ray.serve.Application:
    """Build the page; ``serve deploy`` calls this with the ``args`` of its config.

    Raises:
        ValidationError: a setting is wrong.
    """
    return build_app_with_options(arguments, {})


def build_app_with_options(arguments: Mapping[str, Any], options: DeploymentOptions) -> ray.serve.Application:
    """Build the page with options of its deployment; raise also ValueError for an unknown deployment."""
    page: Any = Page
    check_names(options, [page])
    return page.options(**options.get(page.name, {})).bind(UiConfig.model_validate(arguments))
