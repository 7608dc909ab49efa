"""Score a list of photos in this process; plain functions, no Ray."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from models.errors import SkinserveError
from models.images import PhotoError
from serve.bulk.scorer import ERROR_CODE, ERROR_MESSAGE, NAME, Row, Scorer
from serve.bulk.source import Failure, Photo, Source

Prepared = Any
"""A ``Failure``, a finished ``Row``, or an input of ``Scorer.classify``."""


def score_photos(
    photos: Sequence[Photo],
    source: Source,
    scorer: Scorer,
    *,
    on_progress: Callable[[int], object] = lambda _: None,
) -> list[Row]:
    """Read, decode and classify photos; return one row a photo, in the same order.

    Args:
        photos: of the source.
        source: folder or bucket.
        scorer: of a task.
        on_progress: called with the number of photos that got their row since the last call.

    Raises:
        SkinserveError: the source or the model cannot be read.
    """
    return finish_rows(photos, prepare_photos(photos, source, scorer), scorer, on_progress=on_progress)


def prepare_photos(photos: Sequence[Photo], source: Source, scorer: Scorer) -> Iterator[Prepared]:
    """Read and decode photos one by one, in order; the next ones are read meanwhile.

    Raises:
        SkinserveError: the source or the model cannot be read.
    """
    for content in source.read_ahead(photos):
        yield content if isinstance(content, Failure) else _prepare(content, scorer)


def finish_rows(
    photos: Sequence[Photo],
    prepared: Iterable[Prepared],
    scorer: Scorer,
    *,
    on_progress: Callable[[int], object] = lambda _: None,
) -> list[Row]:
    """Classify prepared photos in batches; return one row a photo, in the same order.

    Args:
        photos: names of the rows.
        prepared: of ``prepare_photos``, as many.
        scorer: of a task.
        on_progress: called with the number of photos that got their row since the last call.

    Raises:
        SkinserveError: the model cannot be loaded.
    """
    rows: list[Row] = [{} for _ in photos]
    empty = dict.fromkeys(column.name for column in scorer.columns)
    waiting: list[tuple[int, Any]] = []

    def classify() -> None:
        results = scorer.classify([one for _, one in waiting]) if waiting else []
        for (index, _), values in zip(waiting, results, strict=True):
            rows[index] = _row(photos[index], values)
        on_progress(len(waiting))
        waiting.clear()

    for index, one in enumerate(prepared):
        if isinstance(one, Failure):
            rows[index] = _row(photos[index], empty, one)
            on_progress(1)
        elif isinstance(one, dict):
            rows[index] = _row(photos[index], one)
            on_progress(1)
        else:
            waiting.append((index, one))
            if len(waiting) == scorer.batch_size:
                classify()
    classify()
    return rows


def printable(name: str) -> str:
    r"""Return a name as valid UTF-8; bytes that are not UTF-8 become ``\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _prepare(data: bytes, scorer: Scorer) -> Prepared:
    try:
        return scorer.prepare(data)
    except PhotoError as error:
        return Failure(error.code, str(error))
    except SkinserveError:
        raise
    except Exception as error:  # a defect of ours on one photo must not stop the others
        logging.getLogger("skinserve").exception("a photo could not be prepared")
        kind = type(error).__name__
        return Failure("internal", f"the photo could not be prepared ({kind}); report it with the photo")


def _row(photo: Photo, values: Row, failure: Failure | None = None) -> Row:
    code, message = (failure.code, failure.message) if failure else (None, None)
    return {NAME: printable(photo.name), ERROR_CODE: code, ERROR_MESSAGE: message, **values}
