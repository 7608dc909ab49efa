import pytest

from models.checkpoint import CheckpointError
from serve.runtime.errors import ApiError
from serve.runtime.model_catalog import CatalogEntry, ModelCatalog, read_entry, resolve_model
from tests.random_checkpoints import random_meta, write_progress


def entry(name: str, version: str = "1", kind: str = "lesion") -> CatalogEntry:
    meta = random_meta(kind, name=name, version=version)
    return CatalogEntry(address=f"weights/{name}-{version}", meta=meta, model_card="")


@pytest.fixture
def catalog() -> ModelCatalog:
    entries = [entry("reference", "5"), entry("small"), entry("reference", "4")]
    return ModelCatalog("lesion", entries, route="/v1/lesion")


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        (None, "reference@5"),
        ("reference", "reference@5"),
        ("reference@4", "reference@4"),
        ("small", "small@1"),
    ],
)
def test_a_model_is_chosen_by_name_or_name_and_version(catalog: ModelCatalog, selector: str, found: str):
    assert catalog.resolve(selector).selector == found


@pytest.mark.parametrize("selector", ["", "large", "reference@6", "@5", "Small"])
def test_an_unknown_model_is_not_found_and_the_existing_ones_are_named(catalog: ModelCatalog, selector: str):
    with pytest.raises(ApiError, match="it has reference@5, small@1, reference@4") as raised:
        catalog.resolve(selector)

    assert raised.value.code == "not_found"


def test_a_model_of_another_task_is_not_found_and_its_route_is_named(catalog: ModelCatalog):
    progress = ModelCatalog("progress", [entry("face", kind="progress")], route="/v1/progress")

    with pytest.raises(ApiError, match="face@1 belongs to /v1/progress, not to /v1/lesion"):
        resolve_model({"lesion": catalog, "progress": progress}, "lesion", "face")


def test_two_models_of_one_name_and_version_are_rejected_and_the_old_list_stays(catalog: ModelCatalog):
    with pytest.raises(CheckpointError, match="weights/small-1 and weights/small-1 are both small@1"):
        catalog.replace([entry("small"), entry("small")])
    with pytest.raises(CheckpointError, match="no checkpoint"):
        catalog.replace([])

    assert len(catalog.entries) == 3


def test_a_checkpoint_of_another_task_is_rejected(tmp_path):
    with pytest.raises(CheckpointError, match=r"is a progress network.*list it under progress\.checkpoints"):
        read_entry(str(write_progress(tmp_path)), "lesion")
