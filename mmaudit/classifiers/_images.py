"""Images as a network takes them: squares of one size, read once, in memory as bytes."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from mmaudit._errors import AuditWarning, ImageReadError, InputError
from mmaudit.data import AuditData, check_image_share, warn_high_depth
from mmaudit.images import GrayImage, ImageSource, KnownFingerprints, prepare_images

__all__ = [
    "ArrayImages",
    "as_images",
    "check_data",
    "check_int",
    "check_readable",
    "in_batches",
    "read_squares",
    "square",
]

FITS = ("pad", "crop", "stretch")
CHUNK = 512  # images held at a time while predicting


class ArrayImages:
    """Images that are arrays already: a sequence of (height, width), uint8, or float in [0, 1]."""

    def __init__(self, pictures: Sequence[np.ndarray]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, indices: Sequence[int]) -> ArrayImages:
        """Return the images at these positions."""
        return ArrayImages([self.pictures[int(i)] for i in indices])

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return image number `index` as grey values, its longer side at most `max_side_px`."""
        picture = np.asarray(self.pictures[index])
        pixels = picture.astype(np.float32) / (255 if picture.dtype == np.uint8 else 1)
        height, width = pixels.shape
        if max_side_px is not None and max(height, width) > max_side_px:
            scale = max_side_px / max(height, width)
            pixels = _resize(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
        return GrayImage(pixels, width, height, 8)

    def fingerprints(
        self, *, known: KnownFingerprints | None = None, n_jobs: int | None = None, progress: bool = False
    ) -> list[str | None]:
        """Return a hash of each array's type, shape and values; see `mmaudit.images.image_fingerprints`."""
        return [_fingerprint(np.asarray(picture)) for picture in self.pictures]


def check_data(data: Any) -> ImageSource:
    """Return the images of `data`, or raise if it is no `AuditData` or has none."""
    if not isinstance(data, AuditData):
        raise TypeError(
            f"data: expected AuditData, got {type(data).__name__}. Make it with mmaudit.AuditData.from_frame(...)."
        )
    if data.images is None:
        raise InputError("data", "data with images", "data without", "Load them with image= or images=.")
    return data.images


def as_images(given: Any) -> ImageSource:
    """Return the images of AuditData, an image source, or arrays of shape (height, width)."""
    if isinstance(given, AuditData):
        return check_data(given)
    if isinstance(given, ImageSource):
        return given
    if not isinstance(given, (np.ndarray, list, tuple)):
        raise TypeError(
            f"data_or_images: expected AuditData, an image source or arrays, got {type(given).__name__}. "
            "Give arrays of shape (height, width)."
        )
    pictures = [np.asarray(picture) for picture in given]
    for picture in pictures:
        if picture.ndim != 2 or not picture.size:
            raise InputError(
                "data_or_images",
                "grey images, arrays of shape (height, width)",
                f"an array of shape {picture.shape}",
                "Give an array of shape (n, height, width), or a list of images.",
            )
        bad_kind = picture.dtype != np.uint8 and not np.issubdtype(picture.dtype, np.floating)
        # A NaN fails both comparisons.
        if bad_kind or (picture.dtype != np.uint8 and not (picture.min() >= 0 and picture.max() <= 1)):
            raise InputError(
                "data_or_images",
                "grey values as uint8, or as float in [0, 1]",
                f"{picture.dtype}" if bad_kind else "values outside [0, 1]",
                "Divide by the largest grey value the images can have.",
            )
    return ArrayImages(pictures)


def square(pixels: np.ndarray, side_px: int, fit: str = "pad") -> np.ndarray:
    """Return grey values in [0, 1] as (side_px, side_px), uint8.

    "pad" keeps the whole image and its aspect, black around it; "crop" keeps the aspect and cuts the longer side;
    "stretch" keeps all and changes the aspect.
    """
    height, width = pixels.shape
    if fit == "stretch":
        new_width, new_height = side_px, side_px
    else:
        scale = side_px / (max(height, width) if fit == "pad" else min(height, width))
        new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    resized = _resize(pixels, new_width, new_height)
    if fit == "crop":
        top, left = (new_height - side_px) // 2, (new_width - side_px) // 2
        resized = resized[top : top + side_px, left : left + side_px]
    grey = np.rint(np.clip(resized, 0, 1) * 255).astype(np.uint8)
    if grey.shape == (side_px, side_px):
        return grey
    padded = np.zeros((side_px, side_px), dtype=np.uint8)
    top, left = (side_px - grey.shape[0]) // 2, (side_px - grey.shape[1]) // 2
    padded[top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    return padded


def read_square(images: ImageSource, index: int, side_px: int, fit: str = "pad") -> tuple[np.ndarray, int]:
    """Return one image as a square of bytes, and its bit depth."""
    # Other fits need more pixels than those left when the longer side has shrunk.
    image = images.read(index, max_side_px=side_px if fit == "pad" else None)
    return square(image.pixels, side_px, fit), image.bit_depth


def read_squares(
    images: ImageSource, side_px: int, *, n_jobs: int | None, progress: bool
) -> tuple[np.ndarray, list[ImageReadError | None]]:
    """Return all images as uint8 of shape (n_images, side_px, side_px), black where unreadable, and why they were."""
    prepare_images(images, n_jobs=n_jobs, progress=progress)
    pixels = np.zeros((len(images), side_px, side_px), dtype=np.uint8)
    errors: list[ImageReadError | None] = [None] * len(images)
    n_high = 0
    work = Parallel(n_jobs=n_jobs or -1, prefer="threads", return_as="generator")(
        delayed(_or_error)(read_square, images, i, side_px) for i in range(len(images))
    )
    bar = tqdm(work, total=len(images), desc="reading images", unit="image", disable=not progress, leave=False)
    for i, row in enumerate(bar):
        if isinstance(row, ImageReadError):
            errors[i] = row
        else:
            pixels[i] = row[0]
            n_high += row[1] > 8
    if n_high:
        warn_high_depth(n_high, len(images))
    return pixels, errors


def in_batches(
    images: ImageSource,
    read_one: Callable[[ImageSource, int], tuple[Any, int]],
    apply: Callable[[list[Any]], np.ndarray],
    *,
    n_columns: int,
    batch_size: int,
    n_jobs: int | None,
    progress: bool,
) -> tuple[np.ndarray, list[ImageReadError | None]]:
    """Return what `apply` answers for each image, (n_images, n_columns), NaN where unreadable, and why it was.

    Only `CHUNK` images, or one batch, are held at a time.
    """
    prepare_images(images, n_jobs=n_jobs, progress=progress)
    answers = np.full((len(images), n_columns), np.nan)
    errors: list[ImageReadError | None] = [None] * len(images)
    n_high = 0
    chunk = batch_size * max(1, CHUNK // batch_size)
    with (
        Parallel(n_jobs=n_jobs or -1, prefer="threads") as pool,
        tqdm(total=len(images), desc="predicting", unit="image", disable=not progress, leave=False) as bar,
    ):
        for start in range(0, len(images), chunk):
            indices = range(start, min(start + chunk, len(images)))
            rows = dict(zip(indices, pool(delayed(_or_error)(read_one, images, i) for i in indices), strict=True))
            readable = [i for i, row in rows.items() if not isinstance(row, ImageReadError)]
            for i, row in rows.items():
                errors[i] = row if isinstance(row, ImageReadError) else None
            n_high += sum(rows[i][1] > 8 for i in readable)
            for first in range(0, len(readable), batch_size):
                batch = readable[first : first + batch_size]
                answers[batch] = apply([rows[i][0] for i in batch])
                bar.update(len(batch))
    if n_high:
        warn_high_depth(n_high, len(images))
    return answers, errors


def check_readable(errors: Sequence[ImageReadError | None], consequence: str, *, stacklevel: int = 2) -> None:
    """Raise as an audit does if too many images are unreadable; else warn of those few with their `consequence`."""
    failed = [error for error in errors if error is not None]
    if not failed:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)  # what it says of these samples holds for an audit only
        check_image_share(errors)
    reasons = [error.reason for error in failed]
    summary = ", ".join(f"{reasons.count(reason):,} {reason}" for reason in dict.fromkeys(reasons))
    warnings.warn(
        f"image: expected every image to be readable, got {len(failed):,} of {len(errors):,} that are not ({summary}). "
        f"{consequence}",
        AuditWarning,
        stacklevel=stacklevel + 1,
    )


def check_int(argument: str, value: Any, low: int, high: int, action: str = "Choose one in that range.") -> None:
    """Raise `InputError` unless `value` is a whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise InputError(argument, f"a whole number from {low:,} to {high:,}", f"{value!r}", action)


def _fingerprint(picture: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{picture.dtype.str} {picture.shape}".encode(), digest_size=20)
    digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


def _or_error(read_one: Callable[..., Any], *given: Any) -> Any:
    try:
        return read_one(*given)
    except ImageReadError as error:
        return error


def _resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    if pixels.shape == (height, width):
        return pixels
    shrinks = height <= pixels.shape[0] and width <= pixels.shape[1]
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32)).resize((width, height), how))
