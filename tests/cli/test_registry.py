import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from cli.verdict_changes import VerdictChange, changes_table
from models.checkpoint import META, save_checkpoint
from models.lesion.network import LesionNet
from models.registry import Registry
from models.registry_index import VersionName
from samples.lesion import draw_lesion
from tests.random_checkpoints import random_gate, random_meta, write_lesion, write_progress

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


@pytest.fixture
def run(address: str, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["models", *words, "--registry", address])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> str:
    meta = random_meta("lesion", name="net", version="1")
    folder = tmp_path_factory.mktemp("one")
    save_checkpoint(folder, LesionNet(num_diagnoses=2, input_px=64), meta, "# Card\n")
    return str(folder)


@pytest.fixture(scope="module")
def two(one: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return with_version(one, tmp_path_factory.mktemp("two") / "2", "2")


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    draw_lesion(seed=seed, size_px=200).save(file, "JPEG", quality=92)
    return file.getvalue()


def with_version(folder: str, to: Path, version: str, **changes: object) -> str:
    shutil.copytree(folder, to)
    meta = json.loads((to / META).read_text())
    (to / META).write_text(json.dumps(meta | {"version": version} | changes))
    return str(to)


def test_push_promote_and_rollback_print_the_served_models(run: Run, one: str, two: str):
    assert run("push", one)[1].startswith("lesion net@1 is a candidate (")
    assert run("push", one)[1] == "lesion net@1 is in the registry already, with stage candidate\n"
    run("push", two)

    out = run("promote", "net@1", "--stage", "production")[1]
    assert "lesion serves net@1, no canary; servers with this registry follow within 30 s\n" in out
    assert (
        "serves net@1, canary net@2 on 10%"
        in run("promote", "net@2", "--stage", "canary", "--share", "0.1")[1]
    )
    assert (
        "serves net@1, canary net@2 in shadow" in run("promote", "net@2", "--stage", "canary", "--shadow")[1]
    )
    assert run("rollback", "lesion", "--reason", "slow")[1].splitlines() == [
        "lesion net@2 is no longer the canary",
        "lesion serves net@1, no canary; servers with this registry follow within 30 s",
    ]
    run("promote", "net@2", "--stage", "production")
    back = ("rollback", "lesion", "--production")
    assert "lesion serves net@1, no canary" in run(*back)[1]
    assert "lesion serves the checkpoints of the servers' settings" in run(*back)[1]
    code, _, error = run(*back)
    assert code == 1 and "there is nothing to roll back" in error and error.count("\n") == 1


def test_a_rollback_never_takes_production_away_unless_asked_to(run: Run, address: str, one: str, two: str):
    run("push", one)
    run("push", two)
    assert "lesion has no canary to stop\n" in run("rollback", "lesion")[2]
    run("promote", "net@1", "--stage", "production")

    code, _, error = run("rollback", "lesion")

    assert code == 1 and "no canary to stop; add --production to take net@1 out of production" in error
    run("promote", "net@2", "--stage", "canary", "--share", "0.5")
    assert "net@2 is the canary of lesion; stop it first" in run("rollback", "lesion", "--production")[2]
    assert Registry(address).read("lesion").production is not None


def test_list_shows_stage_share_metrics_and_reason(run: Run, one: str, two: str):
    for folder in (one, two, str(ROOT / "weights/progress")):
        run("push", folder)
    run("promote", "net@1", "--stage", "production", "--reason", "first release")
    run("promote", "net@2", "--stage", "canary", "--share", "0.25")

    lines = run("list")[1].splitlines()

    assert [line.split()[:4] for line in lines] == [
        ["task", "name", "version", "stage"],
        ["lesion", "net", "1", "production"],
        ["lesion", "net", "2", "canary"],
        ["progress", "progress-reference", "3", "candidate"],
    ]
    assert "not measured" in lines[1] and lines[1].endswith("first release")
    assert "  25%  " in lines[2]
    assert "0.930 [0.879, 0.967]" in lines[3] and "  600  " in lines[3]
    assert len(run("list", "--task", "progress")[1].splitlines()) == 2


def test_list_marks_a_version_whose_files_are_gone(run: Run, address: str, one: str):
    run("push", one)
    shutil.rmtree(Path(address, "lesion/net/1"))

    code, out, _ = run("list")

    assert code == 0 and "not usable: its files are missing or damaged" in out


def test_the_message_of_an_empty_registry_names_the_push_command(run: Run, address: str):
    Path(address).mkdir()

    assert "add one: skinserve models push CHECKPOINT" in run("list")[1]


@pytest.mark.parametrize("command", [["list", "--task", "skin"], ["rollback", "skin"]])
def test_an_unknown_task_is_an_error_that_names_the_known_ones(run: Run, one: str, command: list[str]):
    run("push", one)

    code, _, error = run(*command)

    assert code == 1 and "has no task 'skin'; it has lesion" in error


def test_retire_and_back(run: Run, one: str):
    run("push", one)

    assert run("retire", "net@1", "--reason", "wrong labels")[1].startswith("lesion net@1 is retired\n")
    assert (
        "net@1 is retired (wrong labels); make it a candidate"
        in run("promote", "net@1", "--stage", "production")[2]
    )
    assert run("promote", "net@1", "--stage", "candidate")[1].startswith("lesion net@1 is a candidate\n")


def test_a_damaged_version_is_not_promoted(run: Run, address: str, one: str):
    run("push", one)
    Path(address, "lesion/net/1/weights.safetensors").write_bytes(b"damaged")

    code, _, error = run("promote", "net@1", "--stage", "production")

    assert code == 1 and "net@1 cannot be used" in error
    assert Registry(address).read("lesion").production is None


def test_a_rollback_to_a_damaged_version_is_rejected(run: Run, address: str, one: str, two: str):
    for folder, model in ((one, "net@1"), (two, "net@2")):
        run("push", folder)
        run("promote", model, "--stage", "production")
    Path(address, "lesion/net/1/weights.safetensors").unlink()

    code, _, error = run("rollback", "lesion", "--production")

    assert code == 1 and "net@1 cannot be used" in error
    production = Registry(address).read("lesion").production
    assert production is not None and production.id == VersionName("net", "2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["canary"], "a canary needs either --share or --shadow, such as"),
        (["canary", "--share", "0.1", "--shadow"], "a canary needs either --share or --shadow, such as"),
        (["production", "--share", "0.1"], "other stages neither"),
        (["canary", "--share", "0"], "--share is 0; it must be above 0 and at most 1"),
        (["canary", "--share", "10"], "--share is 10; it must be above 0 and at most 1"),
    ],
)
def test_wrong_options_of_promote_are_rejected(run: Run, one: str, options: list[str], message: str):
    run("push", one)

    code, _, error = run("promote", "net@1", "--stage", *options)

    assert code == 1 and message in error and error.count("\n") == 1


def test_an_unknown_version_is_an_error_that_names_the_known_ones(run: Run, one: str):
    run("push", one)

    assert "has no net@7; it has lesion/net@1; correct" in run("promote", "net@7", "--stage", "production")[2]
    assert "'net' names no version; needed is NAME@" in run("promote", "net", "--stage", "production")[2]


def test_a_version_of_two_tasks_needs_the_task(run: Run, one: str, tmp_path: Path):
    progress = write_progress(tmp_path / "progress")
    run("push", one)
    run("push", with_version(str(progress), tmp_path / "renamed", "1", name="net"))

    assert "lesion and progress have net@1; write lesion/net@1" in run("retire", "net@1")[2]
    assert run("retire", "progress/net@1")[1].startswith("progress net@1 is retired")


def test_restore_repairs_a_damaged_index(run: Run, address: str, one: str):
    run("push", one)
    run("promote", "net@1", "--stage", "production")
    index = Path(address, "lesion/index.json")
    index.write_text(index.read_text()[:50])
    Path(address, "lesion/net/2").mkdir()
    Path(address, "lesion/net/2/weights.safetensors").touch()

    assert "run: skinserve models restore" in run("list")[2]
    code, out, _ = run("restore")

    assert code == 0
    assert "left out: " in out and "has no meta.json" in out
    assert "lesion: 1 versions\nlesion serves net@1, no canary" in out
    assert run("list")[0] == 0


def test_compare_shows_thresholds_metrics_gate_and_data(run: Run, one: str):
    run("push", one)
    reference = str(ROOT / "weights/lesion-small")

    out = run("compare", "net@1", reference)[1]

    lines = {line[:30].strip(): line for line in out.splitlines()}
    assert "net@1" in lines["model"] and "lesion-small@3" in lines["model"]
    assert "malignant 0.5" in lines["thresholds"] and "malignant 0.322" in lines["thresholds"]
    assert "none" in lines["gate"] and "yes" in lines["gate"]
    assert "64 px" in lines["input"] and "128 px" in lines["input"]
    assert "not measured" in lines["AUROC"] and "0.889 [0.864, 0.912], n = 1,428" in lines["AUROC"]
    assert "Their data and splits differ" in out


def test_compare_of_two_tasks_is_rejected(run: Run, one: str, tmp_path: Path):
    progress = str(write_progress(tmp_path / "progress"))

    assert "compare two of one task" in run("compare", one, progress)[2]
    assert "--photos compares lesion" in run("compare", progress, progress, "--photos", str(tmp_path))[2]


def test_compare_without_a_registry_needs_folders(capsys: pytest.CaptureFixture[str], one: str):
    assert main(["models", "compare", one, one]) == 0
    assert main(["models", "compare", one, "net@1"]) == 1

    assert "net@1 is a version of a registry; give --registry, or name a folder" in capsys.readouterr().err


def test_compare_counts_changed_verdicts_on_photos(run: Run, tmp_path: Path):
    always = {"malignant": 0.0, "benign": 0.0}, {"malignant": 1.0, "benign": 1.0}
    malignant, benign = (
        str(write_lesion(tmp_path / name, thresholds=thresholds | {"name_diagnosis": 0.1}))
        for name, thresholds in zip(("malignant", "benign"), always, strict=True)
    )
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(2):
        (photos / f"{seed}.jpg").write_bytes(jpeg(seed))
    (photos / "notes.txt").write_text("no photo")

    out = run("compare", malignant, benign, "--photos", str(photos))[1]

    assert out.endswith("2 of 3 verdicts differ.\n0.jpg: malignant -> benign\n1.jpg: malignant -> benign\n")


def test_compare_with_a_gate_shows_photos_that_are_not_usable(run: Run, tmp_path: Path):
    gated = str(write_lesion(tmp_path / "gated", gate=random_gate(min_box_px=9_999.0)))
    open_ = str(write_lesion(tmp_path / "open"))
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg(0))

    assert "a.jpg: not usable -> " in run("compare", gated, open_, "--photos", str(photos))[1]
    assert (
        "has no files; name a folder" in run("compare", gated, open_, "--photos", str(tmp_path / "none"))[2]
    )


def test_many_changed_photos_are_counted():
    changes = [VerdictChange(name=str(number), before="benign", after="malignant") for number in range(60)]

    lines = changes_table(changes).splitlines()

    assert "60 of 60 verdicts differ." in lines
    assert lines[-1] == "... and 10 more"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        (
            "weights/face-descriptor",
            "is a face_descriptor checkpoint; a registry holds checkpoints of the tasks",
        ),
        ("weights/localizer", "has no format_version; name a folder made by skinserve release"),
    ],
)
def test_networks_that_are_no_model_of_a_task_are_not_pushed(run: Run, folder: str, message: str):
    code, _, errors = run("push", folder)

    assert code == 1 and message in errors
