from datetime import UTC, datetime

import pytest

from models.registry_index import (
    CorruptIndexError,
    Index,
    ModelVersion,
    RegistryError,
    Stage,
    VersionName,
    merged,
    parse_index,
    parse_version_name,
)

A, B, C = (VersionName("net", version) for version in "123")


def version(model: VersionName, **changes: object) -> ModelVersion:
    now = datetime.now(UTC)
    settings = {
        "name": model.name,
        "version": model.version,
        "weights_sha256": "0",
        "files": {"meta.json": model.version},
        "num_bytes": 1,
        "pushed_at": now,
        "changed_at": now,
    }
    return ModelVersion.model_validate(settings | changes)


@pytest.fixture
def index() -> Index:
    return Index(task="lesion", versions={str(model): version(model) for model in (A, B, C)})


def stages(index: Index) -> tuple[Stage, ...]:
    return tuple(index.versions[str(model)].stage for model in (A, B, C))


def test_a_promoted_version_replaces_the_one_in_production(index: Index):
    index = index.with_production(A).with_production(B, "better")

    assert stages(index) == ("candidate", "production", "candidate")
    assert index.production is not None and index.production.reason == "better"
    assert index.previous_productions == (str(A),)


def test_rollbacks_go_back_through_all_productions_to_the_settings(index: Index):
    index = index.with_production(A).with_production(B).with_production(C)

    index = index.without_production("called a nevus malignant")
    assert stages(index) == ("candidate", "production", "candidate")
    assert index.get(C).reason == "called a nevus malignant"
    index = index.without_production()
    assert stages(index) == ("production", "candidate", "candidate")
    index = index.without_production()
    assert index.production is None
    with pytest.raises(RegistryError, match="no lesion model of the registry is in production, so there is"):
        index.without_production()


def test_a_rollback_skips_retired_versions(index: Index):
    index = index.with_production(A).with_production(B).with_production(C).with_retired(B)

    assert index.rollback_target == index.get(A)
    assert stages(index.without_production()) == ("production", "retired", "candidate")


def test_a_new_canary_replaces_the_present_one(index: Index):
    index = index.with_production(A).with_canary(B, share=0.1).with_canary(C, shadow=True)

    assert stages(index) == ("production", "candidate", "canary")
    assert index.canary is not None and index.canary.shadow


def test_the_share_of_a_canary_changes(index: Index):
    index = index.with_canary(B, share=0.1).with_canary(B, share=0.5)

    assert index.canary is not None and index.canary.share == 0.5


def test_a_canary_becomes_production_or_a_candidate(index: Index):
    index = index.with_production(A).with_canary(B, share=0.1)

    assert stages(index.with_production(B)) == ("candidate", "production", "candidate")
    assert index.with_production(B).get(B).share is None
    assert stages(index.with_candidate(B, "errors")) == ("production", "candidate", "candidate")


def test_a_change_to_the_present_stage_changes_nothing(index: Index):
    index = index.with_production(A).with_canary(B, share=0.1)

    assert index.with_production(A) == index
    assert index.with_canary(B, share=0.1) == index
    assert index.with_candidate(C) == index


def test_production_is_neither_retired_nor_made_canary_or_candidate(index: Index):
    index = index.with_production(A)

    for change in (index.with_retired, index.with_candidate):
        with pytest.raises(
            RegistryError, match="net@1 is in production; promote another version, or run: sk"
        ):
            change(A)
    with pytest.raises(RegistryError, match="net@1 is in production already"):
        index.with_canary(A, share=0.1)


def test_a_retired_version_is_promoted_only_after_it_is_a_candidate(index: Index):
    index = index.with_retired(B, "wrong labels")

    with pytest.raises(RegistryError, match=r"net@2 is retired \(wrong labels\); make it a candidate first"):
        index.with_production(B)
    assert stages(index.with_candidate(B).with_production(B)) == ("candidate", "production", "candidate")


def test_an_unknown_version_is_an_error_that_names_the_known_ones(index: Index):
    with pytest.raises(RegistryError, match="no lesion model net@9; it has net@1, net@2, net@3; push it"):
        index.with_production(VersionName("net", "9"))


def test_the_events_record_every_change(index: Index):
    index = index.with_production(A).with_production(B, "better")

    told = [(event.model, event.before, event.after, event.reason) for event in index.events]
    assert told == [
        ("net@1", "candidate", "production", ""),
        ("net@1", "production", "candidate", "replaced by net@2"),
        ("net@2", "candidate", "production", "better"),
    ]


def test_an_index_survives_json(index: Index):
    index = index.with_production(A).with_canary(B, share=0.1)

    assert parse_index(index.model_dump_json().encode(), "lesion", "index.json") == index


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged .no JSON"),
        (b"{", "is damaged .no JSON"),
        (b"\xff", "is damaged .no JSON"),
        (b"[]", "is damaged"),
        (b'{"task": "lesion", "versions": {"a@1": {}}}', "is damaged .versions.a@1.name Field required"),
        (b'{"task": "progress"}', "is the index of the task 'progress', not 'lesion'; run: skinserve models"),
    ],
)
def test_a_damaged_index_is_rejected(content: bytes, message: str):
    with pytest.raises(CorruptIndexError, match=message) as raised:
        parse_index(content, "lesion", "r/lesion/index.json")

    assert "r/lesion/index.json" in str(raised.value) and "run: skinserve models restore" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_index_of_a_newer_format_names_both_versions():
    with pytest.raises(
        CorruptIndexError, match="has format version 2, this code needs 1; use the version of"
    ):
        parse_index(b'{"format_version": 2, "task": "lesion", "new": 1}', "lesion", "index.json")


def test_two_versions_in_production_are_damage(index: Index):
    two = {str(model): version(model, stage="production") for model in (A, B)}

    with pytest.raises(
        CorruptIndexError, match="2 versions have the stage production, needed is at most one"
    ):
        parse_index(index.model_copy(update={"versions": two}).model_dump_json().encode(), "lesion", "i")


@pytest.mark.parametrize("wrong", [{"stage": "canary"}, {"share": 0.1}, {"stage": "canary", "share": 1.5}])
def test_only_a_canary_has_a_share(wrong: dict[str, object]):
    with pytest.raises(ValueError):
        version(A, **wrong)


@pytest.mark.parametrize(
    "name", ["net", "net@", "@1", "../net@1", "a/b@1", "net@..", "net@1@2", ".@1", "nét@1"]
)
def test_a_name_that_is_no_folder_name_is_rejected(name: str):
    with pytest.raises(RegistryError, match="names no version; needed is NAME@VERSION"):
        parse_version_name(name)


def test_a_merge_keeps_the_stages_of_unchanged_versions(index: Index):
    known = index.with_production(A).with_production(B)
    found = {str(B): version(B), str(C): version(C, files={"meta.json": "other"})}

    index = merged(found, known.with_canary(C, share=0.1))

    assert {key: one.stage for key, one in index.versions.items()} == {
        "net@2": "production",
        "net@3": "candidate",
    }
    assert index.previous_productions == ()
