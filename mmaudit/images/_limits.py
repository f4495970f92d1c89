"""How large an image may be, and the errors that all ways of reading one share."""

from __future__ import annotations

from mmaudit._errors import ImageReadError

__all__ = ["MAX_FILE_BYTES", "MAX_PIXELS", "check_file_size", "damaged", "missing", "outside", "too_large"]

MAX_PIXELS = 64_000_000  # a 4,000 x 4,000 film has 16 million; 64 million decode to 256 MB as float32
MAX_FILE_BYTES = 512 * 1024**2


def check_file_size(n_bytes: int) -> None:
    """Raise if a file is too large to be opened."""
    if n_bytes > MAX_FILE_BYTES:
        raise too_large(f"a file of more than {MAX_FILE_BYTES // 1024**2} MB")


def too_large(got: str) -> ImageReadError:
    """Return the error of an image that would take too much memory."""
    return ImageReadError(
        "image",
        f"at most {MAX_PIXELS // 1_000_000} million pixels",
        got,
        "Make the image smaller before the audit.",
        reason="too large",
    )


def missing(action: str = "Check image_root and the image column.") -> ImageReadError:
    """Return the error of a path at which no file is."""
    return ImageReadError("image", "a file", "a path at which there is none", action, reason="missing")


def outside() -> ImageReadError:
    """Return the error of a path that leaves the place of the images."""
    return ImageReadError(
        "image",
        "a path inside image_root",
        "one that leads outside it",
        "Set image_root to a folder that holds all images.",
        reason="outside image_root",
    )


def damaged(error: Exception) -> ImageReadError:
    """Return the error of a file that cannot be read to its end; of `error` only the name of its class is told."""
    return ImageReadError(
        "image",
        "a whole image file",
        f"one that is truncated or damaged ({type(error).__name__})",
        "Copy the file again.",
        reason="truncated or damaged",
    )
