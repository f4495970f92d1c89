"""Phantom films as an image source: drawn when first read, kept in a folder, with masks of all that is in them."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import joblib
import numpy as np
from joblib.externals import loky
from PIL import Image, PngImagePlugin
from tqdm import tqdm

from mmaudit._errors import InputError
from mmaudit.cache import PHANTOMS, cache_dir
from mmaudit.datasets.phantom._film import draw_film, film_masks
from mmaudit.datasets.phantom._record import DEVICES, FINDINGS, Film
from mmaudit.images import GrayImage, KnownFingerprints

__all__ = ["PhantomImages", "default_cache_dir"]

_KINDS = (*FINDINGS, *DEVICES)
# What decides how a film looks: an edit of any of these makes other names of files, so no stale image is ever read.
_DRAWING = (
    *("_record", "_geometry", "_chest", "_tissue", "_anatomy", "_findings"),
    *("_devices", "_markers", "_scanners", "_film"),
)
_FEW = 24  # images that are drawn sooner than worker processes start
_log = logging.getLogger(__name__)
_told: set[Path] = set()  # folders that cannot be written to, each said once


def default_cache_dir() -> Path:
    """Return the folder in which drawn films are kept unless another is given, in `mmaudit.cache.cache_dir()`."""
    return cache_dir() / PHANTOMS


class PhantomImages:
    """Phantom films that are drawn when read; only their records are held.

    Parameters
    ----------
    films : sequence of Film
        What to draw, one a sample.
    image_size : int
        Width and height in pixels, at least 32.
    bit_depth : {8, 16}
        Of the pixels. Unlike the 16 bits of a detector these are already windowed, as 8 bits are.
    cache : path or None
        Folder in which drawn images and masks are kept as PNG files; made when needed. Many processes may share it,
        and it may be removed at any time. None: everything is drawn anew at each reading.

    Raises
    ------
    InputError
        A size or a bit depth out of range.

    Notes
    -----
    Drawing takes 50 to 80 ms for 224 x 224 pixels and grows with their number; a reading from the cache 1 ms. The name
    of a file is a hash of the film, the size, the depth and the code that draws.
    """

    def __init__(
        self,
        films: Sequence[Film],
        image_size: int = 224,
        *,
        bit_depth: int = 8,
        cache: str | Path | None = None,
    ) -> None:
        if isinstance(image_size, bool) or not isinstance(image_size, (int, np.integer)) or image_size < 32:
            raise InputError("image_size", "a whole number of pixels from 32 up", repr(image_size), "Use 224.")
        if bit_depth not in (8, 16):
            raise InputError("bit_depth", "8 or 16", repr(bit_depth), "Choose one of them.")
        self.films = tuple(films)
        self.image_size = int(image_size)
        self.bit_depth = int(bit_depth)
        self.cache = None if cache is None else Path(cache).expanduser()

    def __len__(self) -> int:
        return len(self.films)

    def __repr__(self) -> str:
        size = f"{self.image_size} x {self.image_size} pixels"
        return f"PhantomImages({len(self)} images of {size}, {self.bit_depth} bits)"

    def take(self, indices: Sequence[int]) -> PhantomImages:
        """Return the films at these positions, undrawn."""
        films = [self.films[int(i)] for i in indices]
        return PhantomImages(films, self.image_size, bit_depth=self.bit_depth, cache=self.cache)

    def draw(self, index: int) -> np.ndarray:
        """Return film number `index` as it is drawn, (height, width) uint8 or, of 16 bits, uint16."""
        film = self.films[index]
        dtype = np.dtype(np.uint8 if self.bit_depth == 8 else np.uint16)
        return self._kept(
            self._path(film, str(self.bit_depth)),
            dtype,
            lambda: draw_film(film, self.image_size, bit_depth=self.bit_depth),
        )

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return film number `index`, pixels (height, width) float32 in [0, 1], made smaller to fit `max_side_px`.

        The smaller image is the average of the full one, as `mmaudit.images.read_image` makes it from a file.
        """
        full = 255.0 if self.bit_depth == 8 else 65535.0
        pixels = (self.draw(index) / full).astype(np.float32)
        if max_side_px is not None and max_side_px < self.image_size:
            small = Image.fromarray(pixels).resize((max_side_px, max_side_px), Image.Resampling.BOX)
            pixels = np.clip(np.asarray(small, dtype=np.float32), 0, 1)
        return GrayImage(pixels, self.image_size, self.image_size, 8)  # windowed, whatever the depth

    def masks(self, index: int) -> dict[str, np.ndarray]:
        """Return where each finding and device of film number `index` lies.

        Returns
        -------
        dict of str to ndarray of shape (height, width), bool
            A mask for each kind that is present, findings first, in the order of `FINDINGS` and `DEVICES`. It may be
            empty where a device lies off the film.
        """
        film = self.films[index]
        present = {finding.kind for finding in film.findings} | {device.kind for device in film.devices}
        packed = self.packed_masks(index)
        return {kind: (packed >> bit & 1).astype(bool) for bit, kind in enumerate(_KINDS) if kind in present}

    def packed_masks(self, index: int) -> np.ndarray:
        """Return all masks of film number `index` in one array, (height, width) uint16.

        Bit k is set where the k-th of `FINDINGS + DEVICES` lies.
        """
        film = self.films[index]
        return self._kept(
            self._path(film, "masks"),
            np.dtype(np.uint16),
            lambda: _packed(film_masks(film, self.image_size), self.image_size),
        )

    def prepare(self, *, masks: bool = False, n_jobs: int | None = None, progress: bool = False) -> None:
        """Draw all images that are not in the cache yet, in several processes.

        Parameters
        ----------
        masks : bool
            Work out the masks too.
        n_jobs : int or None
            Processes; negative counts from the number of cores, as in joblib. None: one a core. A few images are
            drawn by this process alone.
        progress : bool
            Show a progress bar on standard error.

        Notes
        -----
        Each image is kept as soon as it is drawn, so a run that was interrupted goes on where it stopped. Without a
        cache, or with one that cannot be written to, nothing is done: each reading will draw.
        """
        if self.cache is None:
            return
        missing: dict[Path, tuple[Film, str]] = {}
        for what in (str(self.bit_depth), *(["masks"] if masks else [])):
            for film in self.films:
                path = self._path(film, what)
                if path is not None and path not in missing and not path.is_file():
                    missing[path] = (film, what)
        todo = list(missing.values())
        with tqdm(total=len(todo), desc="Drawing", unit="image", disable=not progress or not todo) as bar:
            for n_done in _drawn(self, todo, n_jobs):
                bar.update(n_done)

    def fingerprints(
        self, *, known: KnownFingerprints | None = None, n_jobs: int | None = None, progress: bool = False
    ) -> list[str | None]:
        """Return a hash of each film, the size, the depth and the code that draws; nothing is drawn.

        See `mmaudit.images.image_fingerprints`.
        """
        return [self._name(film, str(self.bit_depth)) for film in self.films]

    # The cache

    def _path(self, film: Film, what: str) -> Path | None:
        """Return where the cache keeps `what` ("8", "16" or "masks") of a film, None without a cache."""
        if self.cache is None:
            return None
        name = self._name(film, what)
        return self.cache / name[:2] / f"{name}.png"

    def _name(self, film: Film, what: str) -> str:
        """Return a hash of all that decides how `what` of a film looks."""
        key = repr((film, self.image_size, what, _code_digest()))
        return hashlib.sha256(key.encode()).hexdigest()

    def _kept(self, path: Path | None, dtype: np.dtype, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what the cache has at `path`, else what `make` returns, which is put there."""
        if path is not None:
            found = _load(path, (self.image_size, self.image_size), dtype)
            if found is not None:
                return found
        made = make()
        if path is not None:
            _store(path, made)
        return made


def _packed(masks: dict[str, np.ndarray], size_px: int) -> np.ndarray:
    packed = np.zeros((size_px, size_px), dtype=np.uint16)
    for kind, mask in masks.items():
        packed |= mask.astype(np.uint16) << np.uint16(_KINDS.index(kind))
    return packed


def _drawn(images: PhantomImages, todo: list[tuple[Film, str]], n_jobs: int | None) -> Iterator[int]:
    """Draw films, or their masks, into the cache; yield how many more are done."""
    if not todo:
        return
    empty = images.take([])
    # The first one tells whether the cache keeps what is drawn.
    if not _fill(empty, todo[:1]):
        return
    yield 1
    rest = todo[1:]
    n_workers = joblib.effective_n_jobs(-1 if n_jobs is None else n_jobs)
    if len(rest) < _FEW or n_workers == 1:
        for one in rest:
            yield _fill(empty, [one])
        return
    batch = min(16, max(1, len(rest) // (4 * n_workers)))
    # Processes, since drawing holds the interpreter's lock most of the time; and of our own, since those of
    # `joblib.Parallel` stay for five minutes, with a hundred megabytes each.
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with loky.ProcessPoolExecutor(n_workers, env=one_thread) as workers:
        try:
            jobs = [workers.submit(_fill, empty, rest[i : i + batch]) for i in range(0, len(rest), batch)]
            for job in loky.as_completed(jobs):
                yield job.result()
        except BaseException:  # interrupted, too: what has begun is not waited for
            workers.shutdown(kill_workers=True)
            raise


def _fill(images: PhantomImages, todo: Sequence[tuple[Film, str]]) -> int:
    """Draw films, or their masks, into the cache of `images`; return how many were kept."""
    n_kept = 0
    for film, what in todo:
        path = images._path(film, what)
        if path is None:
            continue
        if what == "masks":
            values = _packed(film_masks(film, images.image_size), images.image_size)
        else:
            values = draw_film(film, images.image_size, bit_depth=images.bit_depth)
        n_kept += _store(path, values)
    return n_kept


@functools.cache
def _code_digest() -> str:
    """Return a hash of the source text of all that draws."""
    text = hashlib.sha256()
    for name in _DRAWING:
        module = importlib.import_module(f"mmaudit.datasets.phantom.{name}")
        text.update(inspect.getsource(module).encode())
    return text.hexdigest()


def _load(path: Path, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray | None:
    """Return the array in a file of the cache; None if there is none or it is damaged."""
    try:
        with Image.open(path, formats=("PNG",)) as opened:
            if opened.size != (shape[1], shape[0]) or (opened.mode == "L") != (dtype == np.uint8):
                return None
            expected = opened.info.get("sha256")
            values = np.ascontiguousarray(np.asarray(opened), dtype=dtype)
    except FileNotFoundError:
        return None
    except Exception:  # Pillow has no error of its own for what is damaged
        return None
    # A decoder may pass over a wrong bit; the sum does not.
    return values if expected == _sum(values) else None


def _store(path: Path, values: np.ndarray) -> bool:
    """Put an array into the cache, whole or not at all; return whether it is there."""
    note = PngImagePlugin.PngInfo()
    note.add_text("sha256", _sum(values))
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                Image.fromarray(values).save(file, format="PNG", compress_level=3, pnginfo=note)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        folder = path.parent.parent
        if folder not in _told:
            _told.add(folder)
            _log.warning("%s cannot keep drawn images (%s); they are drawn anew each time", folder, error.strerror)
        return False
    return True


def _sum(values: np.ndarray) -> str:
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()).hexdigest()
