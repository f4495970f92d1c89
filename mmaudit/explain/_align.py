"""Films laid over each other: the same exposure, size and place, so that they can be averaged pixel by pixel.

Libraries that register images (scikit-image, SimpleITK) take one pair at a time and are needed nowhere else here. A
shift and a scale along each axis are two products of small matrices an image, which NumPy does for a batch at once.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image
from scipy import ndimage
from sklearn.utils import check_random_state

from mmaudit._errors import AuditWarning, ImageReadError
from mmaudit.classifiers._images import as_images, check_int, square
from mmaudit.images import GrayImage, ImageSource, prepare_images
from mmaudit.images._stretch import stretch

__all__ = ["AlignedImages"]

CHUNK = 64  # images moved at a time
COARSE_PX, FINE_PX = 32, 64
SEARCH_PX = 16
SHIFTS = np.linspace(-0.18, 0.18, 7)  # shares of the side
SCALES = np.log([0.8, 1.0, 1.25])
N_TEMPLATE = 128  # images that the template is made of
ROUNDS = 3  # of aligning them to their mean
DETAIL = 1 / 6  # of the side: what changes more slowly is exposure, not anatomy
LEAST_CONTRAST = 0.03  # of grey values in [0, 1]; keeps the noise of an empty region small
STEPS = {COARSE_PX: 8, FINE_PX: 4}  # of Gauss and Newton
# A move of a tenth of the side, or a scale of a quarter, must gain 0.025 of correlation: noise is not moved far.
USUAL = np.array([0.1, 0.1, 0.22, 0.22])
PRIOR = 0.05
# The quarter, or else the tenth, that is least like the template is of a second kind if its images are this much more
# like each other.
OTHER_SHARES, OTHER_KIND = (0.25, 0.1), 0.1
# Of no kind: less than this share of the median likeness, and so many robust standard deviations below it.
OF_NO_KIND, UNLIKE = 0.5, 4.0


class AlignedImages:
    """Images as squares of one exposure, moved to lie over a common template; each is read when first asked for.

    Parameters
    ----------
    images : sequence of arrays, list of bytes, ImageSource or AuditData
        Arrays (height, width), uint8 or float in [0, 1]; or encoded pictures such as the thumbnails of an audit, None
        where there is none.
    side_px : int
        Side of the squares, 32 to 512.
    align : bool
        Whether images are moved. False: only made square and of one exposure.
    n_jobs : int or None
        Threads that read images. None: all cores.
    random_state : int, RandomState or None
        Which images the template is made of. None: others each time.

    Attributes
    ----------
    template : ndarray of shape (64, 64), float32
        Mean of most of the images, of the detail in them: mean 0, length 1.

    Notes
    -----
    Exposure: grey values are stretched between percentiles, and the image is padded to a square. Movement: a shift and
    a scale along each axis, no turn. What is compared is detail, with the contrast of each region made the same. The
    start is the best of 147 shifts and scales on 16 x 16 pixels; then the correlation with the template is raised by
    Gauss-Newton steps on 32 and 64 pixels [1]_, [2]_. The template is the mean of the more alike half of up to 128
    images, aligned to that mean three times.

    Some images are of another kind than most, such as lateral films among frontal ones; they cannot lie over the
    others, and `take` says which they are. They are told by what they look like: more like the mean of the least
    alike than like the template, or like neither. Where they are more than half, they are the kind that is kept; where
    they are fewer than a tenth, they may not be told apart.

    References
    ----------
    .. [1] B. D. Lucas and T. Kanade, "An Iterative Image Registration Technique with an Application to Stereo Vision",
       IJCAI 1981
    .. [2] G. D. Evangelidis and E. Z. Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient
       Maximization", IEEE TPAMI 30, 2008, doi:10.1109/TPAMI.2008.113. Their criterion; we add a small prior against
       large moves.
    """

    def __init__(
        self,
        images: Any,
        *,
        side_px: int = 128,
        align: bool = True,
        n_jobs: int | None = None,
        random_state: Any = 0,
    ) -> None:
        check_int("side_px", side_px, 32, 512)
        self.images = _as_source(images)
        self.side_px = int(side_px)
        self.align = bool(align)
        self.n_jobs = n_jobs
        self._moves = np.full((len(self.images), 4), np.nan)
        self._alike = np.zeros(len(self.images), dtype=bool)
        self._kept: dict[int, np.ndarray | None] = {}
        self._learn(check_random_state(random_state).permutation(len(self.images))[:N_TEMPLATE].tolist())

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return these images, aligned, and whether they are of the kind that most are.

        Returns
        -------
        pictures : ndarray of shape (n_rows, side_px, side_px), float32 in [0, 1]
            NaN where an image cannot be read.
        alike : ndarray of shape (n_rows,), bool
            False: of another kind, or it cannot be read.
        """
        rows = np.asarray(rows, dtype=np.intp)
        missing = [i for i in dict.fromkeys(rows.tolist()) if i not in self._kept]
        for start in range(0, len(missing), CHUNK):
            self._align(missing[start : start + CHUNK])
        pictures = np.full((len(rows), self.side_px, self.side_px), np.nan, dtype=np.float32)
        for k, i in enumerate(rows.tolist()):
            kept = self._kept[i]
            if kept is not None:
                pictures[k] = kept / np.float32(255)
        return pictures, self._alike[rows]

    def moved(self, index: int, picture: np.ndarray) -> np.ndarray:
        """Return another picture of the same place as image number `index`, such as a mask, moved as that image is.

        Parameters
        ----------
        index : int
        picture : ndarray of shape (height, width)
            Of any size, in the proportions of the image; numbers in [0, 1].

        Returns
        -------
        ndarray of shape (side_px, side_px), float32
        """
        self.take([index])
        squares = square(np.asarray(picture, dtype=np.float32), self.side_px)[None] / np.float32(255)
        return warp(squares, np.nan_to_num(self._moves[[index]]), self.side_px)[0]

    def _align(self, rows: list[int]) -> None:
        squares, readable = self._read(rows)
        for i in np.asarray(rows)[~readable]:
            self._kept[int(i)] = None
        there = np.asarray(rows)[readable]
        if not len(there):
            return
        moves, seen = self._fit(_detail(squares[readable]), self.template)
        self._moves[there], self._alike[there] = moves, self._is_alike(seen)
        moved = warp(squares[readable], moves, self.side_px)
        # As bytes: an audit keeps some thousand of them.
        for i, picture in zip(there.tolist(), np.rint(moved * 255).astype(np.uint8), strict=True):
            self._kept[i] = picture

    def _read(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return images as squares, float32 in [0, 1], and which of them can be read."""
        prepare_images(self.images.take(rows), n_jobs=self.n_jobs)
        read = Parallel(n_jobs=self.n_jobs or -1, prefer="threads")(
            delayed(_read_one)(self.images, int(i), self.side_px) for i in rows
        )
        readable = np.array([picture is not None for picture in read], dtype=bool)
        empty = np.zeros((self.side_px, self.side_px), dtype=np.uint8)
        squares = np.stack([empty if picture is None else picture for picture in read])
        return squares.astype(np.float32) / 255, readable

    def _learn(self, sample: list[int]) -> None:
        """Learn the template, that of a second kind where there is one, and how like it an image is at least."""
        blank = np.zeros((FINE_PX, FINE_PX), dtype=np.float32)
        self.template, self._other, self._least = blank, blank, -1.0
        if not sample:
            return
        squares, readable = self._read(sample)
        squares = squares[readable]
        if not len(squares):
            return
        detail = _detail(squares)
        template = _unit(_unit(detail).mean(axis=0))
        moves, seen = self._fit(detail, template)
        for _ in range(ROUNDS):
            # The half that is most alike: films of other kinds, fewer than half, are not to shape the template.
            likeness = _dot(seen, template)
            half = likeness >= np.median(likeness)
            if self.align:
                moves = moves - moves[half].mean(axis=0)  # or the template wanders off, round by round
            template = _unit(_unit(warp(detail[half], moves[half], FINE_PX)).mean(axis=0))
            moves, seen = self._fit(detail, template, moves)
        self.template = template
        likeness = _dot(seen, template)
        for share in OTHER_SHARES:
            least = seen[likeness <= np.quantile(likeness, share)]
            # Judged by images that are not in the mean: even noise is like its own mean.
            if len(least) > 1 and _dot(least[1::2], _unit(least[::2].mean(axis=0)) - template).mean() > OTHER_KIND:
                self._other = _unit(least.mean(axis=0))
                break
        median = np.median(likeness)
        spread = 1.4826 * np.median(np.abs(likeness - median))
        self._least = float(min(OF_NO_KIND * median, median - UNLIKE * spread))

    def _is_alike(self, seen: np.ndarray) -> np.ndarray:
        likeness = _dot(seen, self.template)
        alike = likeness >= self._least
        return alike & (likeness > _dot(seen, self._other)) if self._other.any() else alike

    def _fit(
        self, detail: np.ndarray, template: np.ndarray, start: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return how images are to be moved, (n, 4), and their detail then, (n, 64, 64) of mean 0 and length 1."""
        moves = np.zeros((len(detail), 4))
        if self.align:
            moves = _search(detail, template) if start is None else start
            for side_px in STEPS:
                # Blurred by a pixel, an image can be followed along its slopes.
                blurred = ndimage.gaussian_filter(resized(detail, side_px), (0, 1, 1))
                target = _unit(ndimage.gaussian_filter(resized(template[None], side_px)[0], 1))
                moves = _climb(blurred, target, moves)
        return moves, _unit(warp(detail, moves, FINE_PX))


class _Encoded:
    """Encoded pictures in memory as an image source."""

    def __init__(self, encoded: Sequence[bytes | None]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def take(self, indices: Sequence[int]) -> _Encoded:
        return _Encoded([self.encoded[int(i)] for i in indices])

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        encoded = self.encoded[index]
        if encoded is None:
            raise ImageReadError("images", "a picture", "none", "It could not be read before.", reason="missing")
        picture = Image.open(io.BytesIO(encoded)).convert("L")
        return GrayImage(np.asarray(picture, dtype=np.float32) / 255, picture.width, picture.height, 8)


def _as_source(images: Any) -> ImageSource:
    if isinstance(images, (list, tuple)) and any(isinstance(picture, bytes) for picture in images):
        return _Encoded(images)
    return as_images(images)


def _read_one(images: ImageSource, index: int, side_px: int) -> np.ndarray | None:
    """Return an image as a square of bytes, its grey values stretched, or None if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AuditWarning)  # high depth matters to an audit, not to a mean
            pixels = images.read(index, max_side_px=side_px).pixels
    except ImageReadError:
        return None
    return square(stretch(pixels, "percentiles"), side_px)


# --- Moves: (shift down, shift right) in shares of the side, and the logarithms of the scales along both axes ------


def warp(pictures: np.ndarray, moves: np.ndarray, side_px: int) -> np.ndarray:
    """Return pictures (n, height, width) seen through moves (n, 4): at each pixel what lies at shift + scale * pixel.

    Places are counted from the middle; beyond an edge, the edge goes on.
    """
    down, _ = _sampling(pictures.shape[1], side_px, moves[:, 0], moves[:, 2])
    right, _ = _sampling(pictures.shape[2], side_px, moves[:, 1], moves[:, 3])
    return down @ pictures @ right.transpose(0, 2, 1)


def resized(pictures: np.ndarray, side_px: int) -> np.ndarray:
    """Return square pictures (n, side, side) averaged to fewer pixels, or interpolated to more."""
    side = pictures.shape[1]
    if side == side_px:
        return pictures
    if side < side_px:
        return warp(pictures, np.zeros((len(pictures), 4)), side_px)
    # How much of each old pixel lies in each new one.
    edges = np.linspace(0, side, side_px + 1)
    old = np.arange(side)
    share = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    share = (np.clip(share, 0, None) * side_px / side).astype(np.float32)
    return share @ pictures @ share.T


def _sampling(n_from: int, n_to: int, shift: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices (n, n_to, n_from) of linear interpolation along one axis, and their derivatives by the shift."""
    middle = (np.arange(n_to) + 0.5) / n_to - 0.5
    place = (0.5 + shift[:, None] + np.exp(scale)[:, None] * middle) * n_from - 0.5
    inside = (place > 0) & (place < n_from - 1)
    place = np.clip(place, 0, n_from - 1)[..., None]
    left = np.minimum(np.floor(place), n_from - 2)
    pixel = np.arange(n_from)
    is_left, is_right = pixel == left, pixel == left + 1
    part = place - left
    value = is_left * (1 - part) + is_right * part
    slope = (is_right.astype(np.float32) - is_left) * inside[..., None] * n_from
    return value.astype(np.float32), slope.astype(np.float32)


def _search(small: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Return for each picture the best of a grid of shifts and scales."""
    seen = resized(small, SEARCH_PX)
    target = _unit(resized(template[None], SEARCH_PX)[0]).ravel()
    best = np.full(len(seen), -np.inf)
    moves = np.zeros((len(seen), 4))
    for scale in SCALES:
        matrix, _ = _sampling(SEARCH_PX, SEARCH_PX, SHIFTS, np.full(len(SHIFTS), scale))
        downs = matrix @ seen[:, None]
        for right, shift_right in zip(matrix, SHIFTS, strict=True):
            pictures = downs @ right.T  # (n, n_shifts, 16, 16)
            candidates = np.column_stack([SHIFTS, np.full(len(SHIFTS), shift_right), np.full((len(SHIFTS), 2), scale)])
            gain = _dot(_unit(pictures), target.reshape(SEARCH_PX, -1)) - PRIOR / 2 * _far(candidates)
            k = gain.argmax(axis=1)
            better = gain.max(axis=1) > best
            best[better] = gain.max(axis=1)[better]
            moves[better] = candidates[k[better]]
    return moves


def _climb(seen: np.ndarray, target: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return moves from which the correlation with the target cannot be raised, by damped Gauss-Newton steps.

    Minimised is the squared distance of unit vectors, 2 (1 - correlation), and the prior.
    """
    n, side_px = len(seen), seen.shape[1]
    middle = ((np.arange(side_px) + 0.5) / side_px - 0.5).astype(np.float32)
    goal = target.ravel()
    damping = np.full(n, 1e-3)
    weight = np.diag(PRIOR / USUAL**2)

    def height(moves: np.ndarray) -> np.ndarray:
        return _dot(_unit(warp(seen, moves, side_px)), target) - PRIOR / 2 * _far(moves)

    now = height(moves)
    for _ in range(STEPS[side_px]):
        down, down_slope = _sampling(side_px, side_px, moves[:, 0], moves[:, 2])
        right, right_slope = _sampling(side_px, side_px, moves[:, 1], moves[:, 3])
        across = seen @ right.transpose(0, 2, 1)
        picture, by_down = down @ across, down_slope @ across
        by_right = down @ seen @ right_slope.transpose(0, 2, 1)
        scale = np.exp(moves[:, 2:, None]).astype(np.float32)
        slopes = np.stack(
            [
                by_down,
                by_right,
                by_down * (scale[:, 0] * middle)[:, :, None],
                by_right * (scale[:, 1] * middle)[:, None, :],
            ],
            axis=1,
        ).reshape(n, 4, -1)
        centred = picture.reshape(n, -1) - picture.mean(axis=(1, 2))[:, None]
        length = np.linalg.norm(centred, axis=1)[:, None] + 1e-6
        unit = centred / length
        # How the unit vector changes: not along itself, nor by a constant.
        slopes = slopes - slopes.mean(axis=2, keepdims=True)
        slopes = (slopes - (slopes @ unit[..., None]) * unit[:, None]) / length[:, None]
        curvature = (slopes @ slopes.transpose(0, 2, 1)).astype(float) + weight
        pull = (slopes @ (goal - unit)[..., None])[..., 0].astype(float) - moves @ weight
        damped = curvature + damping[:, None, None] * np.einsum("nii->ni", curvature)[:, :, None] * np.eye(4)
        tried = moves + np.linalg.solve(damped, pull[..., None])[..., 0]
        tried = np.clip(tried, -0.4, 0.4)
        then = height(tried)
        better = then > now
        moves = np.where(better[:, None], tried, moves)
        now = np.where(better, then, now)
        damping = np.where(better, damping / 4, damping * 16)
    return moves


def _far(moves: np.ndarray) -> np.ndarray:
    """Return how far moves are from none, by what is usual."""
    return ((moves / USUAL) ** 2).sum(axis=-1)


def _unit(pictures: np.ndarray) -> np.ndarray:
    """Return pictures (..., height, width) with mean 0 and length 1; a blank one stays 0."""
    centred = pictures - pictures.mean(axis=(-2, -1), keepdims=True)
    return centred / (np.linalg.norm(centred, axis=(-2, -1), keepdims=True) + 1e-6)


def _detail(squares: np.ndarray) -> np.ndarray:
    """Return squares as (n, 64, 64) without what changes slowly across them, each region at the same contrast."""
    small = resized(squares, FINE_PX)
    detail = small - _blurred(small)
    return detail / (np.sqrt(np.clip(_blurred(detail**2), 0, None)) + LEAST_CONTRAST)


def _blurred(pictures: np.ndarray) -> np.ndarray:
    width = DETAIL * pictures.shape[1]
    return ndimage.gaussian_filter(pictures, (0, width, width), truncate=2.5)


def _dot(pictures: np.ndarray, picture: np.ndarray) -> np.ndarray:
    return np.einsum("...hw,hw->...", pictures, picture, optimize=True)
