"""Choose how a film is turned into numbers without torch: planted failures found from the image alone, by descriptor.

    python tests/bench/image_descriptors.py ../shared/data/covid-chestxray --half tune --seeds 2

The benchmark of the package on real films with the modality "image" only. Films are decoded once; each descriptor then
takes the place of the package's own, and everything after it stays as it is. Predictions, splits and seeds are the
same for all descriptors, so that their difference from the first one is paired; intervals are over attributes.

Choose on `--half tune`. The half "report" has other attributes and seeds, and is for one look after the choice. Of
twenty descriptors the best with one seed is ahead by luck: let it run with further seeds before it is believed.

"default" is the package's own; those that lost live here alone. Where several are joined ("hog+grey"), each is divided
by the square root of its variance over all films, so that none has more say for having more numbers; "hog+grey*0.5"
gives the second half the variance.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft
from sklearn.decomposition import PCA

from mmaudit import benchmark
from mmaudit.encoders import _image
from mmaudit.encoders._image import _resize

SLICERS = ("mmaudit", "blind", "domino")
CHOSEN_BY = ("mmaudit", "blind")
SCENARIOS = ("rare", "correlation", "noisy")
TAGS = ("written", "picture", "picture-new")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


# Descriptors: pixels (height, width) in [0, 1], longer side 256, to numbers


def raw(pixels: np.ndarray) -> np.ndarray:
    """Return a picture of 32 x 32 grey values."""
    return _resize(pixels, 32, 32).ravel() / 32


def picture(pixels: np.ndarray, side_px: int = 16) -> np.ndarray:
    """Return a small picture of mean 0 and standard deviation 1."""
    small = _resize(pixels, side_px, side_px)
    return ((small - small.mean()) / (small.std() + 1e-6)).ravel() / side_px


def level(pixels: np.ndarray) -> np.ndarray:
    """Return a picture of 16 x 16 grey values, brightness and contrast left in."""
    return _resize(pixels, 16, 16).ravel() / 16


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return the square roots of a histogram of grey values."""
    square = _resize(pixels, 64, 64)
    return np.sqrt(np.histogram(square, bins=16, range=(0, 1))[0] / square.size)


def hog(pixels: np.ndarray) -> np.ndarray:
    """Return edge directions in 8 x 8 cells, each of length 1, at 32, 64 and 128 pixels: doi:10.1109/CVPR.2005.177."""
    return np.concatenate([_of_length_1(_edges(_resize(pixels, side, side), 8)) for side in (32, 64, 128)])


def edges(pixels: np.ndarray) -> np.ndarray:
    """Return edge directions in 8 x 8 cells, each cell of length 1, at 64 pixels."""
    return _of_length_1(_edges(_resize(pixels, 64, 64), 8))


def coarse_hog(pixels: np.ndarray) -> np.ndarray:
    """Return edge directions in 4 x 4 cells at 32, 64 and 128 pixels."""
    return np.concatenate([_of_length_1(_edges(_resize(pixels, side, side), 4)) for side in (32, 64, 128)])


def edge_strength(pixels: np.ndarray) -> np.ndarray:
    """Return logarithms of edges' strength by direction in 4 x 4 cells at three scales: doi:10.1023/A:1011139631724."""
    cells = [_edges(_resize(pixels, side, side), 4) * (4 / side) ** 2 for side in (32, 64, 128)]
    return np.log10(np.concatenate(cells).ravel() + 1e-3) / 16


def _edges(square: np.ndarray, n_cells: int, n_directions: int = 8) -> np.ndarray:
    """Return the sums of gradients by cell and direction, shape (n_cells ** 2, n_directions)."""
    down, right = np.gradient(square)
    direction = np.floor((np.arctan2(down, right) % np.pi) / np.pi * n_directions).astype(int) % n_directions
    cell = np.arange(len(square)) * n_cells // len(square)
    where = (cell[:, None] * n_cells + cell[None, :]) * n_directions + direction
    sums = np.bincount(where.ravel(), weights=np.hypot(down, right).ravel(), minlength=n_cells**2 * n_directions)
    return sums.reshape(-1, n_directions)


def _of_length_1(cells: np.ndarray) -> np.ndarray:
    return (cells / (np.linalg.norm(cells, axis=1, keepdims=True) + 0.05)).ravel() / np.sqrt(len(cells))


def lbp(pixels: np.ndarray) -> np.ndarray:
    """Return uniform local binary patterns in 4 x 4 cells, at 64 and 128 pixels: doi:10.1109/TPAMI.2002.1017623."""
    rows = []
    for side in (64, 128):
        patterns = _uniform_patterns()[_patterns(_resize(pixels, side, side))]
        cell = np.arange(1, side - 1) * 4 // side
        where = (cell[:, None] * 4 + cell[None, :]) * 59 + patterns
        counts = np.bincount(where.ravel(), minlength=16 * 59).reshape(16, 59)
        rows.append(np.sqrt(counts / counts.sum(axis=1, keepdims=True)).ravel() / 4)
    return np.concatenate(rows)


def _patterns(square: np.ndarray) -> np.ndarray:
    """Return, for each pixel inside, which of its 8 neighbours are brighter, as bits in the order round it."""
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    n = len(square) - 2
    # Brighter by a grey level of 8 bits or so: a black frame has no pattern but the one.
    inside = square[1:-1, 1:-1] + 0.004
    bits = [(square[i : i + n, j : j + n] > inside).astype(np.uint8) << k for k, (i, j) in enumerate(around)]
    return np.bitwise_or.reduce(bits)


@cache
def _uniform_patterns() -> np.ndarray:
    """Return a number for each of the 58 patterns with at most two changes round the circle, and 58 for the others."""
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    uniform = (bits != np.roll(bits, 1, axis=1)).sum(axis=1) <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, 58)


def numbers(pixels: np.ndarray) -> np.ndarray:
    """Return greys by region, borders, a black frame, asymmetry, and how much there is in each frequency band."""
    square = _resize(pixels, 64, 64)
    thirds = [square[i : i + 22, j : j + 22] for i in (0, 21, 42) for j in (0, 21, 42)]
    regions = np.concatenate([np.quantile(part, QUANTILES) for part in thirds])
    sides = [np.rot90(square, turn) for turn in range(4)]
    borders = [value for side in sides for value in (side[:3].mean(), side[:3].std())]
    frames = [np.argmax(np.append(side.mean(axis=1), 1) > 0.05) / 64 for side in sides]
    centred = square - square.mean()
    across = [(centred * mirrored).mean() / (centred.var() + 1e-4) for mirrored in (centred[::-1], centred[:, ::-1])]
    bands, current = [], _resize(pixels, 256, 256)
    for side in (128, 64, 32, 16, 8):
        less = _resize(current, side, side)
        bands.append(np.log10((current - np.kron(less, np.ones((2, 2)))).std() + 1e-3))
        current = less
    parts = [regions, borders, frames, np.array(across) / 2, np.array(bands) / 2]
    return np.concatenate([np.asarray(part) / np.sqrt(len(part)) for part in parts])


def scattering(pixels: np.ndarray) -> np.ndarray:
    """Return logarithms of wavelet moduli, first and second order, in 4 x 4 cells: doi:10.1109/TPAMI.2012.230."""
    return _scattered(pixels, second=True)


def scattering1(pixels: np.ndarray) -> np.ndarray:
    """Return the first order alone."""
    return _scattered(pixels, second=False)


def _scattered(pixels: np.ndarray, second: bool, n_scales: int = 3, n_directions: int = 6) -> np.ndarray:
    square = _resize(pixels, 64, 64)
    bank = _morlets(64, n_scales, n_directions)
    # Mirrored half a period would cost four times as much; a mean of 0 keeps the jump at the rim small.
    first = np.abs(fft.ifft2(fft.fft2(square - square.mean()) * bank.reshape(-1, 64, 64)))
    orders = [first]
    if second:
        spectra = fft.fft2(first).reshape(n_scales, n_directions, 64, 64)
        for scale in range(n_scales - 1):
            # What is left of a modulus lies at lower frequencies than its own wavelet's.
            later = bank[scale + 1 :].reshape(-1, 64, 64)
            orders.append(np.abs(fft.ifft2(spectra[scale][:, None] * later)).reshape(-1, 64, 64))
    cells = [order.reshape(-1, 4, 16, 4, 16).mean(axis=(2, 4)) for order in orders]
    return np.concatenate([np.log10(cell.ravel() + 1e-3) / np.sqrt(cell.size) for cell in cells])


@cache
def _morlets(side_px: int, n_scales: int, n_directions: int) -> np.ndarray:
    """Return Morlet wavelets by frequency, shape (n_scales, n_directions, side_px, side_px)."""
    down, right = np.meshgrid(*[2 * np.pi * np.fft.fftfreq(side_px)] * 2, indexing="ij")
    bank = np.zeros((n_scales, n_directions, side_px, side_px), dtype=np.float32)
    for scale in range(n_scales):
        centre, width = 0.75 * np.pi / 2**scale, 0.4 * np.pi / 2**scale
        for k in range(n_directions):
            angle = np.pi * k / n_directions
            along = right * np.cos(angle) + down * np.sin(angle)
            aside = down * np.cos(angle) - right * np.sin(angle)
            bump = np.exp(-((along - centre) ** 2 + (aside * 1.5) ** 2) / (2 * width**2))
            low = np.exp(-(along**2 + (aside * 1.5) ** 2) / (2 * width**2))
            bank[scale, k] = bump - low * bump[0, 0]  # no answer to a grey that is the same everywhere
    return bank


def default(pixels: np.ndarray) -> np.ndarray:
    """Return the package's own."""
    return _image._descriptor(pixels)


PARTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "default": default,
    "raw": raw,
    "thumbnails": lambda pixels: picture(pixels, 32),  # under PCA: see `described`
    "picture": picture,
    "level": level,
    "grey": grey,
    "edges": edges,
    "hog": hog,
    "coarse_hog": coarse_hog,
    "edge_strength": edge_strength,
    "lbp": lbp,
    "numbers": numbers,
    "scattering": scattering,
    "scattering1": scattering1,
}
CANDIDATES = (
    *("default", "raw", "thumbnails", "hog", "coarse_hog", "edge_strength", "lbp", "numbers", "scattering"),
    *("scattering1", "default+numbers", "default+lbp", "default+scattering", "default+edge_strength"),
    *("picture+numbers", "picture+edges+grey", "picture+hog+grey", "picture+edge_strength+grey"),
    *("level+edge_strength+grey", "picture+edge_strength+edges+grey", "picture+lbp+numbers"),
)


def described(name: str, films: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return what films are as numbers, shape (n_films, n_dimensions), and the microseconds for one."""
    parts = [part.partition("*") for part in name.split("+")]
    start = time.process_time()
    columns = [np.stack([PARTS[part](film) for film in films]).astype(np.float32) for part, _, _ in parts]
    seconds = time.process_time() - start
    if name == "thumbnails":
        columns = [PCA(32, whiten=True, random_state=0).fit_transform(columns[0])]
    if len(columns) > 1:
        shares = [float(share or 1) for _, _, share in parts]
        columns = [X * np.sqrt(share / X.var(axis=0).sum()) for X, share in zip(columns, shares, strict=True)]
    return np.concatenate(columns, axis=1), 1e6 * seconds / len(films)


# The benchmark, and what is printed


def scores(source: benchmark.Simulated, name: str, films, readable, cases, out: Path) -> tuple[pd.DataFrame, str]:
    """Return the benchmark's rows with this descriptor, and its costs in words."""
    X, microseconds = described(name, films)
    assert source.images is not None
    descriptors = np.tile(X.mean(axis=0), (len(source.images.errors), 1))
    descriptors[readable] = X
    changed = replace(source, images=replace(source.images, descriptors=descriptors))
    frame = benchmark.run(cases, sources=[changed], out=out, subsets=[("image",)], slicers=SLICERS)
    return frame, f"{X.shape[1]:5d} numbers, {microseconds:6.0f} us"


def by_attribute(frame: pd.DataFrame) -> pd.DataFrame:
    """Return precision at 10 as a table of attributes and scenarios: means over seeds and slicers."""
    return frame.pivot_table("precision_at_10", "attribute", "scenario").reindex(columns=list(SCENARIOS))


def mean_and_interval(table: pd.DataFrame, n_bootstraps: int = 2000) -> tuple[float, float, float]:
    """Return the mean over scenarios and the ends of its 95 % interval, attributes drawn again."""
    values = table.to_numpy()
    known = np.isfinite(values)
    drawn = np.random.default_rng(0).integers(len(values), size=(n_bootstraps, len(values)))
    sums, sizes = np.where(known, values, 0)[drawn].sum(axis=1), known[drawn].sum(axis=1)
    means = (sums / np.maximum(sizes, 1)).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.nanmean(values, axis=0).mean()), float(low), float(high)


def show(frames: dict[str, pd.DataFrame], costs: dict[str, str]) -> None:
    """Print precision at 10 by slicer and scenario; means, and their difference from the first descriptor."""
    for name, frame in frames.items():
        print(f"\n{name}: {costs[name]}")
        for slicer, rows in benchmark.summarise(frame.assign(tag="all")).groupby("slicer", sort=False):
            cells = rows.set_index("scenario").loc[list(SCENARIOS)]
            words = [f"{scenario} {benchmark._cell(row, 'precision_at_10')}" for scenario, row in cells.iterrows()]
            print(f"  {slicer:8s}", "  ".join(words))
    first = next(iter(frames.values()))
    print(f"\nMean over scenarios of {' and '.join(CHOSEN_BY)}, by kind of attribute too, and of each slicer")
    print(f"descriptor{'':24s}mean{'':21s}difference from the first  {'  '.join((*TAGS, *SLICERS))}")
    for name, frame in frames.items():
        chosen, before = (by_attribute(f[f["slicer"].isin(CHOSEN_BY)]) for f in (frame, first))
        groups = [frame[frame["slicer"].isin(CHOSEN_BY) & (frame["tag"] == tag)] for tag in TAGS]
        groups += [frame[frame["slicer"] == slicer] for slicer in SLICERS]
        print(
            f"{name:34s}{'{:.3f} ({:.3f} to {:.3f})'.format(*mean_and_interval(chosen))}",
            f"   {'{:+.3f} ({:+.3f} to {:+.3f})'.format(*mean_and_interval(chosen - before))}",
            "".join(f"  {mean_and_interval(by_attribute(group))[0]:.3f}" for group in groups),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--half", choices=benchmark.HALVES, default="tune")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--descriptors", default=",".join(CANDIDATES))
    parser.add_argument("--out", type=Path, help="where scores are kept, so that a run goes on where it was")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    source = benchmark.load_source("covid", arguments.root, n_jobs=1)
    assert isinstance(source, benchmark.Simulated) and source.images is not None
    images, readable = source.data.images, [i for i, error in enumerate(source.images.errors) if error is None]
    films = [images.read(i, max_side_px=_image.WORK_SIDE_PX).pixels for i in readable]
    cases, _ = benchmark.make_cases([source], scenarios=SCENARIOS, half=arguments.half, n_seeds=arguments.seeds)
    frames, costs = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.descriptors.split(","):
            out = (arguments.out or Path(folder)) / arguments.half / name
            frames[name], costs[name] = scores(source, name, films, readable, cases, out)
    print(f"\n{len(cases)} cases of the half {arguments.half!r}")
    show(frames, costs)


if __name__ == "__main__":
    main()
