"""Command line: ``skinserve ingest``."""

import sys
from collections.abc import Sequence

import tyro

from models.errors import EXIT_DONE, EXIT_ROWS_LEFT_OUT, command
from train.data.ingest.convert import Ingest, ingest


@command("skinserve ingest", when_stopped="stopped before the manifest was written")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Write the manifest and print the numbers of kept and dropped rows."""
    settings = tyro.cli(Ingest, args=arguments, prog=prog)
    report = ingest(settings)
    print(report.text())
    return EXIT_ROWS_LEFT_OUT if report.num_dropped and not settings.allow_dropped else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
