"""BentoML: a file in a form in, its length out: ``bentoml serve bench.baselines.echo_bentoml:Echo``."""

from pathlib import Path

import bentoml  # pyright: ignore[reportMissingImports]


@bentoml.service(workers=1)
class Echo:
    """Counts bytes."""

    @bentoml.api
    def echo(self, file: Path) -> dict[str, int]:
        """Return the length of a file."""
        return {"bytes": file.stat().st_size}
