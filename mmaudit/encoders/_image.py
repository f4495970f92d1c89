"""Images as numbers without torch: a small picture, edges by direction, grey values, and plain statistics.

Each image is opened and decoded once; the same pass makes its thumbnail.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from scipy import ndimage
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mmaudit._engine import Kept, map_pieces, n_workers
from mmaudit._errors import ImageReadError
from mmaudit.encoders._components import Components
from mmaudit.images import GrayImage, ImageSource, prepare_images

__all__ = ["ImageClusters", "ImageDescriptor", "ImageTable", "describe_images"]

WORK_SIDE_PX = 256
SQUARE_PX = 64
PICTURE_PX = 16
CELL_PX = 8
N_DIRECTIONS = 8
N_GREY_BINS = 16
THUMBNAIL_PX = 112
AT_ONCE = 64  # images of a piece of work
MANY_IMAGES = 20_000  # worth other processes
N_DIMENSIONS = PICTURE_PX**2 + (SQUARE_PX // CELL_PX) ** 2 * N_DIRECTIONS + N_GREY_BINS

STATISTICS = (
    "image brightness",
    "image contrast",
    "image sharpness",
    "image black share",
    "image aspect ratio",
    "image height (px)",
)


@dataclass(frozen=True)
class ImageTable:
    """What one pass over images gives.

    Attributes
    ----------
    descriptors : ndarray of shape (n_images, n_dimensions), float32
        Rows of unreadable images are the mean of the others.
    statistics : DataFrame of shape (n_images, 6)
        Brightness and contrast (mean and standard deviation of grey values in [0, 1]), sharpness (log10 of the
        variance of the Laplacian), share of black pixels, width / height, height in pixels; NaN where unreadable.
    thumbnails : list of bytes or None
        JPEG, longer side 112 px.
    errors : list of ImageReadError or None
        Why an image could not be read.
    n_high_depth : int
        Images with more than 8 bits.
    """

    descriptors: np.ndarray
    statistics: pd.DataFrame
    thumbnails: list[bytes | None]
    errors: list[ImageReadError | None]
    n_high_depth: int


def describe_images(
    images: ImageSource, *, n_jobs: int | None = None, kept: Kept | None = None, progress: bool = False
) -> ImageTable:
    """Return descriptors, statistics and thumbnails of images, each decoded once.

    Parameters
    ----------
    images : ImageSource of length n_images
    n_jobs : int or None
        Threads (decoding releases the interpreter); of 20,000 images or more, and on an engine that
        `joblib.parallel_config` names, workers. None: as many as there are cores.
    kept : Kept or None
        Where finished images are kept, 64 at a time, and looked for. None: nowhere.
    progress : bool
        Show a progress bar on standard error.
    """
    prepare_images(images, n_jobs=n_jobs, progress=progress)
    n = len(images)
    descriptors = np.full((n, N_DIMENSIONS), np.nan, dtype=np.float32)
    statistics = np.full((n, len(STATISTICS)), np.nan)
    thumbnails: list[bytes | None] = []
    errors: list[ImageReadError | None] = []
    n_high_depth = 0
    ranges = [range(first, min(first + AT_ONCE, n)) for first in range(0, n, AT_ONCE)]
    many = n >= MANY_IMAGES  # then a piece has its own images alone, since it is sent to a worker
    pieces = [(images.take(some), range(len(some))) if many else (images, some) for some in ranges]
    described = map_pieces(
        _describe_some,
        pieces,
        n_jobs,
        n_jobs=n_jobs,
        large=many,
        kept=kept,
        description="reading images",
        unit=f"{AT_ONCE} images",
        progress=progress,
    )
    for part in described:
        rows = slice(len(errors), len(errors) + len(part["descriptors"]))
        descriptors[rows], statistics[rows] = part["descriptors"], part["statistics"]
        ends = np.cumsum(part["thumbnail_bytes"])
        content = part["thumbnails"].tobytes()
        told = [None if error is None else ImageReadError.told(*error) for error in part["errors"]]
        errors += told
        thumbnails += [
            None if error is not None else content[end - size : end]
            for error, end, size in zip(told, ends.tolist(), part["thumbnail_bytes"].tolist(), strict=True)
        ]
        n_high_depth += int(part["n_high_depth"])
    bad = np.isnan(descriptors[:, 0])
    descriptors[bad] = descriptors[~bad].mean(axis=0) if (~bad).any() else 0
    return ImageTable(
        descriptors=descriptors,
        statistics=pd.DataFrame(statistics, columns=list(STATISTICS)),
        thumbnails=thumbnails,
        errors=errors,
        n_high_depth=n_high_depth,
    )


def _describe_some(piece: tuple[ImageSource, range], n_jobs: int | None) -> dict[str, Any]:
    """Return what a few images give, as numbers and texts: NaN, no thumbnail and an error where one is unreadable.

    In a worker on one thread; where there are no workers on several, since decoding releases the interpreter.
    """
    images, positions = piece
    n_threads = (n_jobs or -1) if n_workers(n_jobs) > 1 else 1
    rows = Parallel(n_jobs=n_threads, prefer="threads")(delayed(_describe_one)(images, i) for i in positions)
    bad = [isinstance(row, ImageReadError) for row in rows]
    missing = np.full(N_DIMENSIONS, np.nan), np.full(len(STATISTICS), np.nan), b"", 0
    found = [missing if is_bad else row for row, is_bad in zip(rows, bad, strict=True)]
    return {
        "descriptors": np.stack([row[0] for row in found]).astype(np.float32),
        "statistics": np.array([row[1] for row in found], dtype=float),
        "thumbnails": np.frombuffer(b"".join(row[2] for row in found), dtype=np.uint8),
        "thumbnail_bytes": np.array([len(row[2]) for row in found]),
        "errors": [row.parts() if is_bad else None for row, is_bad in zip(rows, bad, strict=True)],
        "n_high_depth": np.array(sum(row[3] > 8 for row in found)),
    }


class ImageDescriptor(TransformerMixin, BaseEstimator):
    """Image embeddings that need no training: a small picture, edge directions in cells, and grey values.

    In this order: 256 numbers of a 16 x 16 picture with mean 0 and one standard deviation; 512 numbers, how strong
    edges are in 8 directions in each of 8 x 8 cells; 16 numbers of a histogram of grey values.

    Parameters
    ----------
    n_jobs : int or None
        Threads. None: as many as there are cores.

    Notes
    -----
    The edge part is a plain histogram of oriented gradients [1]_ with each cell normalised by itself. Films are taken
    as they are: nothing is aligned, and one that is turned or mirrored is another one.

    `tests/bench/image_descriptors.py` puts others in its place and audits real films by the image alone: thumbnails
    with and without principal components, edges at several scales, local binary patterns [2]_, statistics of regions
    and borders, scattering [3]_, and several of these together. None was better by more than noise; 32 x 32 grey
    values did as well in the default search, and worse in Domino's mixture.

    References
    ----------
    .. [1] N. Dalal and B. Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005,
       doi:10.1109/CVPR.2005.177
    .. [2] T. Ojala, M. Pietikäinen and T. Mäenpää, "Multiresolution Gray-Scale and Rotation Invariant Texture
       Classification with Local Binary Patterns", IEEE TPAMI 24, 2002, doi:10.1109/TPAMI.2002.1017623
    .. [3] J. Bruna and S. Mallat, "Invariant Scattering Convolution Networks", IEEE TPAMI 35, 2013,
       doi:10.1109/TPAMI.2012.230
    """

    def __init__(self, *, n_jobs: int | None = None) -> None:
        self.n_jobs = n_jobs

    def fit(self, images: ImageSource, y=None) -> ImageDescriptor:
        """Do nothing: there is nothing to learn."""
        return self

    def transform(self, images: ImageSource) -> np.ndarray:
        """Return embeddings of shape (n_images, 784), float32; the first unreadable image raises."""
        table = describe_images(images, n_jobs=self.n_jobs)
        for error in table.errors:
            if error is not None:
                raise error
        return table.descriptors

    def __sklearn_is_fitted__(self) -> bool:
        return True


class ImageClusters(TransformerMixin, BaseEstimator):
    """Groups of similar images, by k-means on the first principal components, as columns that rules can speak of.

    Parameters
    ----------
    n_clusters : sequence of int
        One clustering for each: few large groups and more small ones.
    n_dimensions : int
        Principal components; see `Components`.
    random_state : int, RandomState or None
        Seed. None: another each time.
    """

    def __init__(self, n_clusters: Sequence[int] = (6, 12), *, n_dimensions: int = 16, random_state=None) -> None:
        self.n_clusters = n_clusters
        self.n_dimensions = n_dimensions
        self.random_state = random_state

    def fit(self, X, y=None) -> ImageClusters:
        """Learn the groups from embeddings of shape (n_images, n_dimensions)."""
        rng = check_random_state(self.random_state)
        X = np.asarray(X)
        self._components = Components(self.n_dimensions, random_state=rng).fit(X)
        Z = self._components.transform(X)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct images than clusters
            self.clusterings_ = [KMeans(min(k, len(X)), n_init=3, random_state=rng).fit(Z) for k in self.n_clusters]
        return self

    def transform(self, X) -> pd.DataFrame:
        """Return a categorical column for each clustering, shape (n_images, n_clusterings), numbers from "1" on."""
        check_is_fitted(self, "clusterings_")
        Z = self._components.transform(X)
        columns = {}
        for clusters in self.clusterings_:
            names = [str(k + 1) for k in range(clusters.n_clusters)]
            found = clusters.predict(Z)
            columns[f"image cluster of {clusters.n_clusters}"] = pd.Categorical.from_codes(found, names)
        return pd.DataFrame(columns)


def _describe_one(images: ImageSource, index: int):
    try:
        image = images.read(index, max_side_px=WORK_SIDE_PX)
    except ImageReadError as error:
        return error
    return _descriptor(image.pixels), _statistics(image), _thumbnail(image.pixels), image.bit_depth


def _resize(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    resized = Image.fromarray(pixels.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(resized, dtype=np.float32)


def _descriptor(pixels: np.ndarray) -> np.ndarray:
    square = _resize(pixels, SQUARE_PX, SQUARE_PX)
    return np.concatenate([_picture(square), _edges(square), _greys(square)]).astype(np.float32)


# Each part is divided by the root of its length, so that no part has more say for having more numbers.


def _picture(square: np.ndarray) -> np.ndarray:
    """Return a small picture of mean 0 and one standard deviation, whatever brightness and contrast are."""
    picture = square.reshape(PICTURE_PX, SQUARE_PX // PICTURE_PX, PICTURE_PX, -1).mean(axis=(1, 3))
    return ((picture - picture.mean()) / (picture.std() + 1e-6)).ravel() / PICTURE_PX


def _edges(square: np.ndarray) -> np.ndarray:
    """Return how much of each cell's edges runs in each direction."""
    down, right = np.gradient(square)
    strength = np.hypot(down, right)
    direction = np.floor((np.arctan2(down, right) % np.pi) / np.pi * N_DIRECTIONS).astype(int) % N_DIRECTIONS
    n_cells = SQUARE_PX // CELL_PX
    cell = np.arange(SQUARE_PX) // CELL_PX
    where = (cell[:, None] * n_cells + cell[None, :]) * N_DIRECTIONS + direction
    edges = np.bincount(where.ravel(), weights=strength.ravel(), minlength=n_cells**2 * N_DIRECTIONS)
    edges = edges.reshape(-1, N_DIRECTIONS)
    edges = edges / (np.linalg.norm(edges, axis=1, keepdims=True) + 0.05)
    return 2 * edges.ravel() / n_cells


def _greys(square: np.ndarray) -> np.ndarray:
    """Return the roots of the shares of grey values: distances between them are Hellinger's."""
    return np.sqrt(np.histogram(square, bins=N_GREY_BINS, range=(0, 1))[0] / square.size)


def _statistics(image: GrayImage) -> tuple[float, ...]:
    pixels = image.pixels
    return (
        float(pixels.mean()),
        float(pixels.std()),
        float(np.log10(ndimage.laplace(pixels).var() + 1e-8)),
        float((pixels < 0.02).mean()),
        image.width_px / image.height_px,
        float(image.height_px),
    )


def _thumbnail(pixels: np.ndarray) -> bytes:
    picture = Image.fromarray((pixels * 255).round().astype(np.uint8))
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=80)
    return stream.getvalue()
