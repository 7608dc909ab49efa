"""``skinserve labels audit MANIFEST HAND.csv``: how far labels agree with labels set by hand."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from models.errors import EXIT_DONE, command
from train.data.labels.audit import audit, read_hand
from train.data.manifest import read_manifest


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Print Cohen's kappa of a manifest's labels against a hand-checked CSV, with its 95% interval."""

    manifest: Annotated[str, tyro.conf.Positional]
    """Made by skinserve followup."""
    hand: Annotated[str, tyro.conf.Positional]
    """CSV with the columns person (user_000000000012 or 12) and label (improved or worsened)."""


@command("skinserve labels")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Print the agreement of two sets of labels."""
    settings = tyro.extras.subcommand_cli_from_dict({"audit": Audit}, args=arguments, prog=prog)
    agreement = audit(read_manifest(settings.manifest), read_hand(settings.hand))
    print(agreement.text())
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
