"""The command line; exit status 0 if every row was kept, 3 if some were dropped, 2 if nothing was written.

130 at Ctrl-C.
"""

import sys
from collections.abc import Sequence

import tyro

from models.storage import StorageError
from train.data.ingest.convert import Ingest, ingest
from train.data.ingest.tables import IngestError

EXIT_KEPT_ALL, EXIT_REFUSED, EXIT_DROPPED, EXIT_STOPPED = 0, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the manifest, print what became of the rows and return the exit status."""
    settings = tyro.cli(Ingest, args=arguments, prog="python -m train.data.ingest")
    try:
        report = ingest(settings)
    except (IngestError, StorageError) as error:
        print(f"train.data.ingest: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("train.data.ingest: stopped before the manifest was written", file=sys.stderr)
        return EXIT_STOPPED
    print(report.text())
    return EXIT_DROPPED if report.num_dropped and not settings.allow_dropped else EXIT_KEPT_ALL


if __name__ == "__main__":
    sys.exit(main())
