import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from models import storage
from models.checkpoint import META, WEIGHTS, CheckpointError, save_checkpoint
from models.lesion.small_network import SmallLesionNet
from models.registry import BACKUP, Registry
from models.registry_index import CorruptIndexError, RegistryError, VersionName
from models.s3_client import s3_client
from models.storage import StorageError
from tests.local_bucket import new_bucket, s3_server
from tests.random_checkpoints import SMALL_ARCHITECTURE, random_meta, write_face_descriptor, write_progress

ONE, TWO = VersionName("net", "1"), VersionName("net", "2")
WriteVersion = Callable[[VersionName], Path]

PROMOTE = """
import sys
from models.registry import Registry
from models.registry_index import parse_version_name

registry = Registry(sys.argv[1])
for number in range(5):
    for model in sys.argv[2:]:
        registry.change("lesion", lambda index: index.with_production(parse_version_name(model)))
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str) -> Iterator[str]:
    with new_bucket("models") as address:
        yield f"{address}/registry"


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.slow)])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    local = request.param == "folder"
    return Registry(str(tmp_path / "registry") if local else request.getfixturevalue("bucket"))


@pytest.fixture
def folder_registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "registry"))


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> WriteVersion:
    net = SmallLesionNet(num_diagnoses=2, input_px=64)

    def write(model: VersionName) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"{model}"
        if not folder.exists():
            save_checkpoint(
                folder,
                net,
                random_meta(
                    "lesion", name=model.name, version=model.version, architecture=SMALL_ARCHITECTURE
                ),
                "# Card\n",
            )
        return folder

    return write


def changed_copy(folder: Path, to: Path) -> Path:
    """Copy a checkpoint with another threshold, which does not change the weights."""
    shutil.copytree(folder, to)
    meta = json.loads((to / META).read_text())
    meta["thresholds"]["malignant"] = 0.9
    (to / META).write_text(json.dumps(meta))
    return to


def test_a_pushed_version_is_a_candidate_with_all_its_files(registry: Registry, nets: WriteVersion):
    pushed = registry.push(str(nets(ONE)), reason="trial")

    assert (pushed.task, pushed.is_new, pushed.version.stage) == ("lesion", True, "candidate")
    assert registry.tasks() == ["lesion"]
    assert registry.read("lesion").versions == {"net@1": pushed.version}
    files = storage.list_files(registry.version_address("lesion", ONE))
    assert {file.rpartition("/")[2] for file in files} == {META, WEIGHTS, "MODEL_CARD.md"}
    assert pushed.version.num_bytes == sum(file.stat().st_size for file in nets(ONE).iterdir())


def test_the_same_push_again_changes_nothing(registry: Registry, nets: WriteVersion):
    registry.push(str(nets(ONE)))
    before = registry.read("lesion")

    again = registry.push(str(nets(ONE)))

    assert not again.is_new and not again.is_repaired
    assert registry.read("lesion") == before


def test_a_push_of_other_content_under_the_same_version_is_rejected(
    registry: Registry, nets: WriteVersion, tmp_path: Path
):
    registry.push(str(nets(ONE)))
    before = registry.read("lesion")

    with pytest.raises(RegistryError, match=r"net@1 is in the registry with other content .*another version"):
        registry.push(str(changed_copy(nets(ONE), tmp_path / "changed")))

    assert registry.read("lesion") == before
    registry.verify("lesion", before.versions["net@1"])


def test_a_push_over_a_folder_that_is_not_in_the_index_says_what_to_do(
    registry: Registry, nets: WriteVersion, tmp_path: Path
):
    registry.push(str(nets(TWO)))
    storage.upload_folder(nets(ONE), registry.version_address("lesion", ONE))
    changed = tmp_path / "changed"
    shutil.copytree(nets(ONE), changed)
    (changed / "MODEL_CARD.md").write_text("# Another card\n")

    with pytest.raises(RegistryError, match="is not in the index; delete that folder and push again"):
        registry.push(str(changed))


def test_a_push_completes_an_interrupted_one(registry: Registry, nets: WriteVersion):
    target = registry.version_address("lesion", ONE)
    storage.write_bytes(f"{target}/{WEIGHTS}", b"half")
    storage.write_bytes(f"{target}/int8.json", b"of other content")
    storage.write_bytes(f"{registry.address}/lesion/index.json", b'{"task": "lesion"}')

    pushed = registry.push(str(nets(ONE)))

    registry.verify("lesion", pushed.version)
    assert not storage.exists(f"{target}/int8.json")


def test_a_push_repairs_a_damaged_version(registry: Registry, nets: WriteVersion):
    pushed = registry.push(str(nets(ONE)))
    storage.write_bytes(f"{registry.version_address('lesion', ONE)}/{WEIGHTS}", b"damaged")

    again = registry.push(str(nets(ONE)))

    assert again.is_repaired and not again.is_new
    registry.verify("lesion", pushed.version)


def test_a_push_killed_at_any_file_leaves_no_version(
    folder_registry: Registry, nets: WriteVersion, tmp_path: Path
):
    code = (
        "import os, signal, sys, models.registry_files as files\n"
        "upload = files.upload_file\n"
        "def killed(path, address):\n"
        "    if path.name == sys.argv[3]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    upload(path, address)\n"
        "files.upload_file = killed\n"
        "from models.registry import Registry\n"
        "Registry(sys.argv[1]).push(sys.argv[2])"
    )
    for name in ("MODEL_CARD.md", WEIGHTS, META):
        arguments = [folder_registry.address, str(nets(ONE)), name]
        assert subprocess.run([sys.executable, "-c", code, *arguments]).returncode == -signal.SIGKILL
        assert folder_registry.read("lesion").versions == {}
        assert folder_registry.restore("lesion").index.versions == {}

    pushed = folder_registry.push(str(nets(ONE)))
    folder_registry.verify("lesion", pushed.version)


def test_a_killed_push_process_does_not_block_the_next_one(folder_registry: Registry, nets: WriteVersion):
    code = "import sys; from models.registry import Registry; Registry(sys.argv[1]).push(sys.argv[2])"
    process = subprocess.Popen([sys.executable, "-c", code, folder_registry.address, str(nets(ONE))])
    deadline = time.monotonic() + 30
    while not Path(folder_registry.address).exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()

    folder_registry.push(str(nets(ONE)))

    assert list(folder_registry.read("lesion").versions) == ["net@1"]


def test_damaged_weights_are_not_pushed(registry: Registry, nets: WriteVersion, tmp_path: Path):
    folder = tmp_path / "damaged"
    shutil.copytree(nets(ONE), folder)
    (folder / WEIGHTS).write_bytes(b"damaged")

    with pytest.raises(CheckpointError, match=r"weights.safetensors has sha256 .* meta.json says"):
        registry.push(str(folder))

    assert storage.list_files(registry.address) == []


def test_a_checkpoint_without_a_card_is_not_pushed(
    folder_registry: Registry, nets: WriteVersion, tmp_path: Path
):
    folder = tmp_path / "no-card"
    shutil.copytree(nets(ONE), folder)
    (folder / "MODEL_CARD.md").unlink()

    with pytest.raises(CheckpointError, match=r"has no MODEL_CARD.md"):
        folder_registry.push(str(folder))


def test_checkpoints_of_other_tasks_have_an_index_of_their_own(
    registry: Registry, nets: WriteVersion, tmp_path: Path
):
    registry.push(str(nets(ONE)))
    registry.push(str(write_progress(tmp_path / "progress")))
    registry.push(str(write_face_descriptor(tmp_path / "faces")))

    assert registry.tasks() == ["face_descriptor", "lesion", "progress"]
    assert list(registry.read("progress").versions) == ["progress-random@0"]


def test_a_full_disk_leaves_no_version(
    folder_registry: Registry, nets: WriteVersion, monkeypatch: pytest.MonkeyPatch
):
    folder_registry.push(str(nets(ONE)))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("models.storage.os.fsync", full)
        with pytest.raises(StorageError, match=r"no space is left on the disk for .*; free some"):
            folder_registry.push(str(nets(TWO)))

    assert list(folder_registry.read("lesion").versions) == ["net@1"]
    assert folder_registry.push(str(nets(TWO))).is_new


def test_a_denied_bucket_is_an_error_and_leaves_no_version(
    bucket: str, nets: WriteVersion, monkeypatch: pytest.MonkeyPatch
):
    registry = Registry(bucket)
    registry.push(str(nets(ONE)))

    def denied(*arguments: object, **settings: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")

    with monkeypatch.context() as patch:
        patch.setattr(s3_client(), "upload_file", denied)
        with pytest.raises(StorageError, match=r"access to s3://models/.* is denied"):
            registry.push(str(nets(TWO)))

    assert list(registry.read("lesion").versions) == ["net@1"]


def test_a_version_with_a_missing_or_changed_file_is_not_verified(registry: Registry, nets: WriteVersion):
    pushed = registry.push(str(nets(ONE)))
    address = registry.version_address("lesion", ONE)

    storage.write_bytes(f"{address}/{WEIGHTS}", b"other")
    with pytest.raises(RegistryError, match=r"net@1 cannot be used: .*weights.safetensors has another hash"):
        registry.verify("lesion", pushed.version)
    storage.delete(f"{address}/{WEIGHTS}")
    with pytest.raises(RegistryError, match=r"weights.safetensors is missing; push the checkpoint again"):
        registry.verify("lesion", pushed.version)


def test_an_index_of_nothing_is_empty(registry: Registry):
    storage.write_bytes(f"{registry.address}/README", b"")

    assert registry.read("lesion").versions == {}
    assert registry.tasks() == []


def test_a_missing_registry_is_an_error(tmp_path: Path, endpoint: str):
    with pytest.raises(
        RegistryError, match=r"there is no registry .*/nothing; correct the path, or create it"
    ):
        Registry(str(tmp_path / "nothing")).read("lesion")
    with pytest.raises(StorageError, match="there is no bucket nothing"):
        Registry("s3://nothing/registry").read("lesion")


def test_a_lost_index_is_an_error_and_a_push_does_not_replace_it(registry: Registry, nets: WriteVersion):
    registry.push(str(nets(ONE)))
    storage.delete(f"{registry.address}/lesion/index.json")

    with pytest.raises(CorruptIndexError, match=r"is missing, but there are 1 versions.*models restore"):
        registry.read("lesion")
    with pytest.raises(CorruptIndexError, match=r"is missing, but there are 1 versions"):
        registry.push(str(nets(TWO)))


@pytest.mark.parametrize("index", [b"{", None])
def test_a_restore_takes_the_stages_of_the_backup_copy(
    registry: Registry, nets: WriteVersion, index: bytes | None
):
    for model in (ONE, TWO):
        registry.push(str(nets(model)))
        registry.change("lesion", lambda index, model=model: index.with_production(model))
    before = registry.read("lesion")
    address = f"{registry.address}/lesion/index.json"
    storage.delete(address) if index is None else storage.write_bytes(address, index)

    restored = registry.restore("lesion")

    assert restored.index == registry.read("lesion") == before
    assert restored.rejected == {}


def test_a_restore_from_folders_alone_makes_candidates(registry: Registry, nets: WriteVersion):
    for model in (ONE, TWO):
        registry.push(str(nets(model)))
    registry.change("lesion", lambda index: index.with_production(ONE))
    for name in ("index.json", BACKUP):
        storage.delete(f"{registry.address}/lesion/{name}")

    restored = registry.restore("lesion")

    assert {key: one.stage for key, one in restored.index.versions.items()} == {
        "net@1": "candidate",
        "net@2": "candidate",
    }


def test_a_restore_adds_copied_folders_and_rejects_broken_ones(
    registry: Registry, nets: WriteVersion, tmp_path: Path
):
    registry.push(str(nets(ONE)))
    registry.change("lesion", lambda index: index.with_canary(ONE, share=0.2))
    root = f"{registry.address}/lesion"
    storage.upload_folder(nets(TWO), f"{root}/net/2")
    storage.upload_folder(nets(TWO), f"{root}/net/3")
    storage.upload_folder(write_progress(tmp_path / "progress"), f"{root}/progress-random/0")
    storage.write_bytes(f"{root}/net/4/{WEIGHTS}", b"half")

    restored = registry.restore("lesion")

    assert set(restored.index.versions) == {"net@1", "net@2"}
    assert restored.index.canary is not None and restored.index.canary.share == 0.2
    why = {address.removeprefix(f"{root}/"): reason for address, reason in restored.rejected.items()}
    assert "holds the lesion checkpoint net@2; move it to lesion/net/2" in why["net/3"]
    assert "holds the progress checkpoint progress-random@0" in why["progress-random/0"]
    assert "is no checkpoint: it has no meta.json" in why["net/4"]


def test_concurrent_promotions_of_two_processes_leave_one_production(
    folder_registry: Registry, nets: WriteVersion
):
    for model in (ONE, TWO):
        folder_registry.push(str(nets(model)))
    command = [sys.executable, "-c", PROMOTE, folder_registry.address]

    processes = [subprocess.Popen([*command, *models]) for models in (("net@1", "net@2"), ("net@2", "net@1"))]

    assert [process.wait(60) for process in processes] == [0, 0]
    index = folder_registry.read("lesion")
    assert index.production is not None
    assert len(index.previous_productions) == sum(event.after == "production" for event in index.events) - 1
