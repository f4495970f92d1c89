"""Opening images: as 8-bit-looking grey arrays in [0, 1], only when asked for, and only what is safe to open.

A table of cases comes from somewhere else: a path in it may point outside the place of the images, name a file that is
missing or cut short, or be a small file that unpacks to gigabytes. Each of these is an `ImageReadError` with a
reason; nothing is decoded before its header has been checked.
"""

from mmaudit.images._files import ImageFiles
from mmaudit.images._read import read_image
from mmaudit.images._source import (
    WINDOWS,
    GrayImage,
    ImageSource,
    KnownFingerprints,
    image_fingerprints,
    prepare_images,
    with_window,
)

__all__ = [
    "WINDOWS",
    "GrayImage",
    "ImageFiles",
    "ImageSource",
    "KnownFingerprints",
    "image_fingerprints",
    "prepare_images",
    "read_image",
    "with_window",
]
