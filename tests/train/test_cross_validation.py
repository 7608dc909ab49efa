from dataclasses import replace
from pathlib import Path

import pytest

from models.lesion.engine_loader import load_lesion_engine
from models.lesion.metrics import LesionMetrics
from train.config import Scale
from train.cross_validation import format_table, run_folds
from train.data.manifest import Manifest, ManifestError, load_manifest, read_manifest
from train.data.split import read_split
from train.lesion.config import LesionTraining
from train.lesion.drawn_lesions import draw_lesion_photos
from train.lesion.task import LesionTask
from train.progress.config import ProgressTraining
from train.progress.task import ProgressTask
from train.run_folder import RunFolder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LesionTraining:
    folder = tmp_path_factory.mktemp("folds")
    draw_lesion_photos(folder / "photos", folder / "manifest.parquet", num_photos=24)
    return LesionTraining(
        manifest=str(folder / "manifest.parquet"),
        run=str(folder / "run"),
        cache=str(folder / "cache"),
        input_px=32,
        start_px=32,
        num_epochs=1,
        batch_size=8,
        keep_checkpoints=0,
        bf16=False,
    )


@pytest.mark.slow
def test_the_metrics_of_folds_are_printed_and_one_ensemble_is_released(
    config: LesionTraining, capsys: pytest.CaptureFixture[str]
):
    address = run_folds(LesionTask(), config, Scale(workers=0, folds=2), load_manifest(config.manifest))

    engine = load_lesion_engine(Path(address))
    assert engine.meta.architecture["num_members"] == 2
    assert isinstance(engine.meta.metrics, LesionMetrics)
    assert engine.meta.metrics.n == 24
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()] == ["fold", "1", "2", "mean", "sd"]
    rows = read_manifest(config.manifest)
    val_sets = [read_split(rows, RunFolder(address=f"{config.run}/fold-{k}").split).val for k in (1, 2)]
    assert sorted(row.name for fold in val_sets for row in fold) == sorted(row.name for row in rows)


def test_more_folds_than_groups_are_rejected(config: LesionTraining):
    with pytest.raises(ManifestError, match="30 folds"):
        run_folds(LesionTask(), config, Scale(workers=0, folds=30), load_manifest(config.manifest))


def test_the_progress_network_has_no_folds(tmp_path: Path):
    with pytest.raises(ManifestError, match="--folds is for the lesion network"):
        run_folds(
            ProgressTask(),
            ProgressTraining(run=str(tmp_path)),
            Scale(workers=0, folds=3),
            Manifest(rows=[], notes={}),
        )


def test_mean_and_standard_deviation_are_over_the_folds():
    table = format_table([{"balanced_accuracy": 0.5}, {"balanced_accuracy": 0.7}])

    assert "mean              0.6000" in table
    assert "sd                0.1414" in table


def test_one_fold_is_rejected():
    with pytest.raises(ValueError, match="folds is 1"):
        replace(Scale(), folds=1)
