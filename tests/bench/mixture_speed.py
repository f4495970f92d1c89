"""Time the mixture against Domino's on the same arrays, in one run; or on data of the size of MIMIC-CXR-JPG.

    python tests/bench/mixture_speed.py --domino ../domino
    python tests/bench/mixture_speed.py --samples 10000 --columns 512
    python tests/bench/mixture_speed.py --large
    python tests/bench/mixture_speed.py --lazy

Domino is its own code where `--domino` names a checkout of HazyResearch/domino (its imports of meerkat and tkinter are
bypassed), else the plain version of its equations in tests/estimators/_domino_reference.py. Both fit the same float32
array with 25 components from k-means until they come to rest (tol 1e-3). Ours is timed with Domino's settings and with
its own start by confusion cell; all have label weights of 1. Fits take turns, so that other work on the machine meets
all alike; the ratio is of total seconds. The likelihood is Domino's formula in float64 on all samples at the end.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor

from mmaudit._engine import n_workers
from mmaudit.slicers import MixtureSlicer

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "estimators"))
import _domino_reference as reference  # noqa: E402

N_COMPONENTS = 25
N_LARGE, N_COLUMNS = 377_110, 512  # images of MIMIC-CXR-JPG
BLOCK_ROWS = 10_000
DOMINO_SETTINGS = {"init": "kmeans", "prediction_term": "log_mean", "smoothing": 0}


class OnDisk:
    """A lazy array of float32: one .npy file for each block of rows, mapped by whoever reads it."""

    ndim, dtype = 2, np.dtype(np.float32)

    def __init__(self, folder: str, n_rows: int, n_columns: int) -> None:
        self.folder, self.shape = folder, (n_rows, n_columns)

    def __len__(self) -> int:
        return self.shape[0]

    def blocks(self) -> list[slice]:
        firsts = range(0, len(self), BLOCK_ROWS)
        return [slice(first, min(first + BLOCK_ROWS, len(self))) for first in firsts]

    def __setitem__(self, block: slice, rows: np.ndarray) -> None:
        np.save(self._file(block), rows)

    def __getitem__(self, rows) -> np.ndarray:
        if isinstance(rows, slice):
            return np.load(self._file(rows), mmap_mode="r")
        found = []
        for block in self.blocks():
            inside = rows[(rows >= block.start) & (rows < block.stop)] - block.start
            found.append(np.load(self._file(block), mmap_mode="r")[inside])
        return np.concatenate(found)

    def _file(self, block: slice) -> Path:
        return Path(self.folder, f"{block.start}.npy")


def make(n_samples: int, n_columns: int, kind: str, seed: int, into: OnDisk | None = None):
    """Return embeddings, labels and probabilities, wrong more often in 5 of 40 groups."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 40, n_samples)
    centres = rng.normal(size=(40, n_columns)).astype(np.float32)
    X = np.empty((n_samples, n_columns), dtype=np.float32) if into is None else into
    spectrum = np.arange(1, n_columns + 1, dtype=np.float32) ** -0.7  # of principal components, roughly
    for first in range(0, n_samples, BLOCK_ROWS):
        rows = slice(first, min(first + BLOCK_ROWS, n_samples))
        noise = rng.standard_normal((rows.stop - rows.start, n_columns), dtype=np.float32)
        if kind == "groups":
            X[rows] = 2 * noise + centres[group[rows]]
        else:
            X[rows] = (noise * rng.chisquare(5, (len(noise), 1)) ** 0.5 + centres[group[rows] % 8]) * spectrum
    y = (rng.random(n_samples) < 0.4).astype(int)
    wrong = rng.random(n_samples) < np.where(group < 5, 0.4, 0.1)
    return X, y, np.where(wrong, 1 - y, y) * 0.7 + 0.3 * rng.random(n_samples)


def their_mixture(root: Path):
    """Return the module with Domino's mixture, without the package around it."""
    setattr(np, "infty", np.inf)  # noqa: B010  gone since numpy 2
    sys.modules["tkinter"] = types.SimpleNamespace(Variable=object)
    package = types.ModuleType("domino_mixture")
    package.__path__ = [str(root / "domino" / "_slice" / "mixture")]
    sys.modules["domino_mixture"] = package
    return importlib.import_module("domino_mixture._generalized")


def fit_theirs(module, X, y, proba, seed: int):
    variables = [
        module.GaussianVariable("embeddings", 1, "diag"),
        module.CategoricalVariable("targets", 1),
        module.CategoricalVariable("pred_probs", 1),
    ]
    mixture = module.GeneralizedMixture(N_COMPONENTS, variables, random_state=seed, pbar=False)
    mixture.fit(embeddings=X, targets=y, pred_probs=proba)
    gauss, label, prediction = mixture.variables
    return (mixture.weights_, gauss.means_, gauss.covariances_, label.probs, prediction.probs), mixture.n_iter_


def fit_plain(X, y, proba, seed: int):
    Y, Q = reference.one_hot(y, 2), reference.two_columns(proba)
    parameters, bounds = reference.fit(X, Y, Q, N_COMPONENTS, seed=seed)
    return parameters, len(bounds)


def fit_ours(X, y, proba, seed: int, **settings):
    slicer = MixtureSlicer(N_COMPONENTS, label_weight=1, proba_weight=1, random_state=seed, **settings)
    slicer.fit(X, y, y_proba=proba)
    parameters = slicer.weights_, slicer.means_, slicer.covariances_, slicer.label_proba_, slicer.prediction_proba_
    return parameters, slicer.n_iter_


def compare(options) -> None:
    if options.domino:
        module = their_mixture(options.domino)
        first = ("Domino", lambda *data: fit_theirs(module, *data))
    else:
        first = ("Domino's equations", fit_plain)
    fits = [first, ("ours, as Domino", lambda *data: fit_ours(*data, **DOMINO_SETTINGS)), ("ours", fit_ours)]
    for kind in ("groups", "spectrum"):
        seconds, cpu, steps, likelihood = (np.zeros((len(fits), options.seeds)) for _ in range(4))
        for seed in range(options.seeds):
            X, y, proba = make(options.samples, options.columns, kind, seed)
            Y, Q = reference.one_hot(y, 2), reference.two_columns(proba)
            for k, (_, fit) in enumerate(fits):
                start, start_cpu = time.perf_counter(), time.process_time()
                parameters, steps[k, seed] = fit(X, y, proba, seed)
                seconds[k, seed], cpu[k, seed] = time.perf_counter() - start, time.process_time() - start_cpu
                likelihood[k, seed] = reference.expect(X.astype(float), Y, Q, parameters, 1, 1)[0]
        print(
            f"{kind}: {options.samples} x {options.columns} float32, {N_COMPONENTS} components, {options.seeds} seeds"
        )
        for k, (name, _) in enumerate(fits):
            ratio, cpu_ratio = seconds[0].sum() / seconds[k].sum(), cpu[0].sum() / cpu[k].sum()
            print(
                f"  {name:20} {seconds[k].mean():7.2f} s (1/{ratio:.1f}; of processor time 1/{cpu_ratio:.1f}), "
                f"{steps[k].mean():5.1f} steps on all samples, log likelihood {likelihood[k].mean():.4f}"
            )


def large(options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        X, y, proba = make(
            N_LARGE, N_COLUMNS, "groups", 0, OnDisk(folder, N_LARGE, N_COLUMNS) if options.lazy else None
        )
        n_bytes = 4 * N_LARGE * N_COLUMNS
        # What is loaded on first use is there before the memory is read.
        few = np.arange(2000)
        MixtureSlicer(3, random_state=0).fit(X[few], y[few], y_proba=proba[few])
        before = peak_bytes(resource.RUSAGE_SELF)
        start = time.perf_counter()
        slicer = MixtureSlicer(random_state=0, n_dimensions=options.dimensions).fit(X, y, y_proba=proba)
        seconds = time.perf_counter() - start
        print(
            f"{N_LARGE} x {N_COLUMNS} float32{', lazy' if options.lazy else ''}, n_dimensions={options.dimensions}: "
            f"{seconds:.1f} s, {slicer.n_iter_} steps on all samples (at rest: {slicer.converged_}), "
            f"peak memory of the process {peak_bytes(resource.RUSAGE_SELF) / n_bytes:.2f} of the array "
            f"({before / n_bytes:.2f} before the fit)"
        )
        if options.lazy:
            n_processes = n_workers()
            get_reusable_executor().shutdown(wait=True)  # memory of a process is known when it has ended
            print(
                f"  the largest of {n_processes} workers {peak_bytes(resource.RUSAGE_CHILDREN) / n_bytes:.2f} of the "
                "array, with the pages of files that it has mapped"
            )


def peak_bytes(whose: int) -> int:
    return resource.getrusage(whose).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domino", type=Path, help="checkout of HazyResearch/domino")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--columns", type=int, default=128, help="128 is what Domino reduces to")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--large", action="store_true", help="377,110 x 512, ours alone")
    parser.add_argument("--lazy", action="store_true", help="the same from blocks of rows on disk")
    parser.add_argument("--dimensions", type=int, help="with --large or --lazy: n_dimensions")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    large(options) if options.large or options.lazy else compare(options)


if __name__ == "__main__":
    main()
