from pathlib import Path

import ray.train
from ray.train.torch import TorchTrainer

from train.ray_cluster import lone_trainer


def test_a_lone_trainer_lacks_two_of_rays_callbacks_and_no_other(tmp_path: Path):
    names = [
        [
            type(one).__name__
            for one in kind(
                print, run_config=ray.train.RunConfig(storage_path=str(tmp_path))
            )._create_default_callbacks()
        ]
        for kind in (TorchTrainer, lone_trainer())
    ]

    usual, lone = names
    assert len(usual) > 3
    assert [name for name in usual if name not in lone] == [
        "PlacementGroupCleanerCallback",
        "DatasetsCallback",
    ]
    assert lone == [name for name in usual if name in lone]
