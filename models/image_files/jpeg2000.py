"""Read the coding style of a JPEG 2000 codestream without a C library."""

import re

_CODING_STYLE = re.compile(rb"\xff\x4f\xff\x51.{38,1000}?\xff\x52.{7}(.)", re.DOTALL)


def num_reductions(data: bytes) -> int:
    """Return how often the decoder can halve the photo."""
    found = _CODING_STYLE.search(data)
    return min(found[1][0], 32) if found else 0
