"""``python -m train.data.labels audit MANIFEST HAND.csv``: how far labels agree with labels set by hand."""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from models.storage import StorageError
from train.data.labels.audit import audit, read_hand
from train.data.labels.sentiment import LabelError
from train.data.manifest import ManifestError, read_manifest

EXIT_REFUSED = 2


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Print Cohen's kappa of a manifest's labels against a hand-checked CSV, with its 95% interval."""

    manifest: Annotated[str, tyro.conf.Positional]
    """Made by python -m train.data.followup."""
    hand: Annotated[str, tyro.conf.Positional]
    """CSV with the columns person (user_000000000012 or 12) and label (improved or worsened)."""


def main() -> int:
    """Read the command line and print the agreement."""
    settings = tyro.extras.subcommand_cli_from_dict({"audit": Audit}, prog="python -m train.data.labels")
    try:
        agreement = audit(read_manifest(settings.manifest), read_hand(settings.hand))
    except (ManifestError, StorageError, LabelError) as error:
        print(f"train.data.labels: {error}", file=sys.stderr)
        return EXIT_REFUSED
    print(agreement.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
