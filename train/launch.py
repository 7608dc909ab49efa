"""The command line of training: ``python -m train.launch lesion --num-epochs 10``."""

import logging

import tyro

from train.config import LesionTraining
from train.data import ManifestError
from train.loop import DivergedError, OtherRunError
from train.recipes import RECIPES
from train.worker import run_lesion, run_progress


def main() -> None:
    """Train by the recipe that the command line names and print where the checkpoint is."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    config = tyro.extras.overridable_config_cli(RECIPES)
    try:
        folder = run_lesion(config) if isinstance(config, LesionTraining) else run_progress(config)
    except (ManifestError, DivergedError, OtherRunError) as error:
        raise SystemExit(f"train.launch: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the same command goes on from {config.run / 'state.pt'}") from None
    print(f"checkpoint in {folder}")


if __name__ == "__main__":
    main()
