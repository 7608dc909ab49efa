"""Errors of photos; ``models.images`` exports them."""

from typing import ClassVar


class PhotoError(ValueError):
    """Report a photo that cannot be used; the message says what to do."""

    code: ClassVar[str]
    rejected: tuple[tuple[int, "PhotoError"], ...] = ()
    """Of a series: position and error of each photo that cannot be used; this error is that of the first."""


class UnreadableImageError(PhotoError):
    """Report an empty, truncated or damaged photo."""

    code = "unreadable_image"


class UnsupportedTypeError(PhotoError):
    """Report content in none of the accepted formats."""

    code = "unsupported_type"


class TooLargeError(PhotoError):
    """Report a photo over the limit of bytes."""

    code = "too_large"


class TooManyPixelsError(PhotoError):
    """Report a photo over the limit of pixels by its header, before decoding."""

    code = "too_many_pixels"
