"""Echo in BentoML: ``bentoml serve bench.baselines.echo_bentoml:Echo``."""

from pathlib import Path

import bentoml  # pyright: ignore[reportMissingImports]


@bentoml.service(workers=1)
class Echo:
    """Return the size of an uploaded file."""

    @bentoml.api
    def echo(self, file: Path) -> dict[str, int]:
        """Return the size of the file."""
        return {"bytes": file.stat().st_size}
