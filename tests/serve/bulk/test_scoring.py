import os
from collections.abc import Sequence
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoint import CheckpointError
from serve.bulk.row_files import encode_rows
from serve.bulk.scorer import Row
from serve.bulk.scoring import printable, score_photos
from serve.bulk.source import Photo, Source
from tests.serve.bulk.fake_scorer import TextScorer


def write(folder: Path, *texts: str) -> tuple[Source, list[Photo]]:
    for number, text in enumerate(texts):
        (folder / f"{number}.jpg").write_text(text)
    return Source(address=str(folder)), [Photo(f"{number}.jpg", 1) for number in range(len(texts))]


def test_every_photo_has_one_row_in_order_and_a_bad_one_only_an_error(tmp_path: Path):
    source, photos = write(tmp_path, "ab", "bad", "final", "c", "defect", "def", "g")
    progress: list[int] = []

    rows = score_photos([*photos, Photo("none.jpg", 1)], source, TextScorer(), on_progress=progress.append)

    assert [row["name"] for row in rows] == [*(photo.name for photo in photos), "none.jpg"]
    assert [row["kind"] for row in rows] == ["a", None, "final", "c", None, "d", "g", None]
    codes = [row["error_code"] for row in rows]
    assert codes == [None, "unreadable_image", None, None, "internal", None, None, "missing"]
    assert rows[1]["error_message"] == "the photo is bad; send another" and rows[0]["error_message"] is None
    assert sum(progress) == len(rows)
    assert {frozenset(row) for row in rows} == {
        frozenset(("name", "error_code", "error_message", "kind", "length"))
    }


def test_an_error_of_the_model_is_not_an_error_of_the_photo(tmp_path: Path):
    class Broken(TextScorer):
        def prepare(self, data: bytes) -> str | Row:
            raise CheckpointError("no checkpoint")

    source, photos = write(tmp_path, "a")

    with pytest.raises(CheckpointError):
        score_photos(photos, source, Broken())


def test_both_formats_have_the_same_rows(tmp_path: Path):
    source, photos = write(tmp_path, "ab", "bad", "final")
    rows = score_photos(photos, source, TextScorer())

    table = pq.read_table(pa.BufferReader(encode_rows(rows, TextScorer(), "parquet")))
    lines = encode_rows(rows, TextScorer(), "ndjson").splitlines()

    assert table.to_pylist() == [orjson.loads(line) for line in lines] == rows
    metadata = table.schema.metadata or {}
    assert (metadata[b"task"], metadata[b"version"]) == (b"text", b"1")
    assert b"not a medical device" in metadata[b"disclaimer"]


def test_names_that_are_not_utf_8_become_printable():
    assert printable(os.fsdecode(b"caf\xe9.jpg")) == "caf\\xe9.jpg"
    assert printable("ü\n.jpg") == "ü\n.jpg"


@settings(max_examples=30)
@given(
    kinds=st.lists(st.sampled_from(["bad", "final", "x", "yz", "defect"]), max_size=12),
    size=st.integers(1, 5),
)
def test_rows_do_not_depend_on_the_batch_size(
    kinds: Sequence[str], size: int, tmp_path_factory: pytest.TempPathFactory
):
    source, photos = write(tmp_path_factory.mktemp("texts"), *kinds)

    rows = score_photos(photos, source, TextScorer(batch_size=size))

    lengths = [None if kind in ("bad", "defect") else len(kind) for kind in kinds]
    assert [row["length"] for row in rows] == lengths
