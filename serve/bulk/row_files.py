"""Encode the rows of one shard as Parquet or NDJSON."""

from collections.abc import Sequence
from typing import Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from serve.bulk.scorer import FIRST_COLUMNS, Row, Scorer
from serve.schemas import DISCLAIMER

RowFormat = Literal["parquet", "ndjson"]


def encode_rows(rows: Sequence[Row], scorer: Scorer, format: RowFormat) -> bytes:
    """Return the content of a file with the rows; both formats have the same columns.

    The metadata of a Parquet file have model and disclaimer.
    """
    if format == "ndjson":
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)
    metadata = {"disclaimer": DISCLAIMER} | {key: str(value) for key, value in scorer.description.items()}
    schema = pa.schema([*FIRST_COLUMNS, *scorer.columns], metadata=metadata)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink, compression="zstd")
    return sink.getvalue().to_pybytes()
