"""JSON body of ``POST /predict``. Axes: H row, W column, C colour."""

import numpy as np
import orjson

from models.limits import MIN_SERIES_PHOTOS
from serve.runtime.errors import ApiError


def read_frames(body: bytes, *, max_frames: int) -> list[np.ndarray]:
    """Parse SkinCredible's JSON ``{"img": frames x height x width x 3 numbers}``, 0 to 255.

    Returns:
        Frames as uint8 (H, W, 3), in the order of the request; their sizes may differ.

    Raises:
        ApiError: ``invalid_request``, ``too_few_photos`` or ``too_many_photos``.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid(f"the body is not JSON ({error})") from error
    if not isinstance(content, dict) or set(content) != {"img"}:
        raise _invalid("the body is not an object with the one key 'img'")
    frames = content["img"]
    if not isinstance(frames, list):
        raise _invalid("'img' is not a list of frames")
    check_num_photos(len(frames), at_most=max_frames)
    arrays = [_frame(frames, index) for index in range(len(frames))]
    if all(array.dtype.kind == "f" for array in arrays) and 0 < max(array.max() for array in arrays) <= 1:
        raise _invalid("all values are from 0 to 1; multiply them by 255")
    return [array.round().astype(np.uint8) for array in arrays]


def check_num_photos(num_photos: int, *, at_most: int) -> None:
    """Reject a series that is too short or too long.

    Raises:
        ApiError: ``too_few_photos`` or ``too_many_photos``.
    """
    if num_photos < MIN_SERIES_PHOTOS:
        raise ApiError(
            "too_few_photos",
            f"{num_photos} {'photo was' if num_photos == 1 else 'photos were'} sent, at least "
            f"{MIN_SERIES_PHOTOS} are needed; add photos of the same face from other days",
        )
    if num_photos > at_most:
        raise ApiError("too_many_photos", f"{num_photos} photos were sent; send at most {at_most}")


def _frame(frames: list[object], index: int) -> np.ndarray:
    nested, frames[index] = frames[index], None  # frees the lists, which are large, one by one
    try:
        array = np.asarray(nested)
    except (ValueError, OverflowError) as error:
        raise _invalid(f"frame {index} is ragged or holds values that are no numbers") from error
    if array.dtype.kind not in "iuf":
        raise _invalid(f"frame {index} holds values that are no numbers")
    if array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise _invalid(f"frame {index} has the shape {array.shape}")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):
        raise _invalid(f"frame {index} has values from {low:g} to {high:g}")
    return array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.uint8)


def _invalid(found: str) -> ApiError:
    need = '{"img": frames x height x width x 3 numbers from 0 to 255}, each frame with rows of equal length'
    return ApiError("invalid_request", f"{found}; send {need}")
