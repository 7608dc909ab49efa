"""The page as its own Serve application at ``/ui``; the only file of ``ui`` that imports Ray."""

import os

import ray.serve
from fastapi import FastAPI

from ui.config import UiConfig
from ui.uploads import UploadFolder


@ray.serve.deployment(name="Page", num_replicas=1, max_ongoing_requests=1000)
@ray.serve.ingress()
class Page:
    """Serve the page from one process: Gradio keeps its queue and its files in one."""

    def __init__(self, config: UiConfig) -> None:
        self._config = config
        self._uploads = UploadFolder(
            config.uploads_folder,
            max_age_s=config.max_upload_age_s,
            max_photo_bytes=config.max_photo_bytes,
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the page in the process that serves it: Gradio pages cannot be pickled."""
        os.environ["GRADIO_TEMP_DIR"] = str(self._uploads.path)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        if self._config.page_access == "off":
            from ui.access import closed_site

            return closed_site()
        from ui.site import build_site  # imports Gradio, which reads both variables

        return build_site(self._config, self._uploads)


def build_app(config: UiConfig) -> ray.serve.Application:
    """Bind the page to the parsed ``args`` of the YAML file."""
    return Page.bind(config)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
