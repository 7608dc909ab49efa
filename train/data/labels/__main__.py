"""Command line: ``skinserve labels agreement MANIFEST HAND.csv``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from models.errors import EXIT_DONE, command
from train.data.labels.agreement import label_agreement, read_hand_labels
from train.data.manifest import read_manifest


@dataclass(frozen=True, kw_only=True)
class LabelAgreement:
    """Print Cohen's kappa of a manifest's labels and labels set by hand."""

    manifest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MANIFEST")]
    """Made by skinserve followup."""
    hand: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="CSV")]
    """CSV with the columns person (user_000000000012 or 12) and label (improved or worsened)."""


@command("skinserve labels")
def main(prog: str, arguments: Sequence[str] | None) -> int:
    """Print the agreement of two sets of labels."""
    settings = tyro.extras.subcommand_cli_from_dict({"agreement": LabelAgreement}, args=arguments, prog=prog)
    agreement = label_agreement(read_manifest(settings.manifest), read_hand_labels(settings.hand))
    print(agreement.text())
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
