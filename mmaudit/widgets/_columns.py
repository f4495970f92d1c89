"""What the page shows beside the images: metadata in bins, and a map on which like cases lie near each other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from mmaudit._errors import InputError
from mmaudit.widgets._cases import pack

if TYPE_CHECKING:
    from mmaudit.data import AuditData
    from mmaudit.widgets._base import Answer, AuditWidget, Job

__all__ = ["binned", "check_coordinates", "columns", "place", "places"]

MISSING = 255  # code of a case without a value
MOST_CATEGORIES = 30
MOST_BINS = 12
OTHER = "other"
FIT_ON = 10_000  # cases that the axes of the map are learned from
REPORTS_AT_ONCE = 2_000
WORD_BUCKETS = 2**14
TEXT_SHOWN = 80  # characters of a category


def columns(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with a code for each case and metadata column; with {"what": "map"}, with places of the cases.

    Both are made once for each widget.
    """
    of_map = content.get("what") == "map"
    made = widget.__dict__.setdefault("_made_columns", {})
    # A second view waits for the first instead of doing the same again.
    with widget.__dict__.setdefault("_column_locks", {of: threading.Lock() for of in (False, True)})[of_map]:
        if of_map not in made:
            made[of_map] = _map(widget, job) if of_map else _metadata(widget)
    return made[of_map]


def _metadata(widget: AuditWidget) -> Answer:
    data, rows = widget.data, widget.cases.rows
    told: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    if data is not None and rows is not None:
        for name, values in data.metadata.items():
            kind, categories, codes = binned(values)
            told.append({"name": str(name), "kind": kind, "categories": categories})
            arrays[f"column:{name}"] = codes[rows]
    sections, block = pack(arrays)
    return {"columns": told, "sections": sections}, [block]


def _map(widget: AuditWidget, job: Job) -> Answer:
    given = getattr(widget, "coordinates", None)
    if given is not None:
        xy, words = given, "Places as given."
    elif widget.data is None:
        xy, words = None, "There is no map without the data."
    else:
        xy, words = places(widget.data, job.step)
        xy = None if xy is None else xy[widget.cases.rows]
    axes = {} if xy is None else {"x": place(xy[:, 0]), "y": place(xy[:, 1])}
    sections, block = pack(axes)
    return {"sections": sections, "map_words": words}, [block]


def binned(values: pd.Series) -> tuple[str, list[str], np.ndarray]:
    """Return how a metadata column is shown: its kind, what each code means, and the codes.

    Parameters
    ----------
    values : Series of shape (n_samples,)
        Numbers, or anything else as categories; None and NaN are missing.

    Returns
    -------
    kind : {"number", "category"}
    categories : list of str
        At most 30, the most frequent first, the rest as "other"; of numbers at most 12 bins in ascending order, the
        first and last open where a few values lie far out.
    codes : ndarray of shape (n_samples,), uint8
        Positions in `categories`, 255 where there is no value.

    Examples
    --------
    >>> import pandas as pd
    >>> kind, categories, codes = binned(pd.Series(["PA", "AP", "PA", None]))
    >>> categories, codes.tolist()
    (['PA', 'AP'], [0, 1, 0, 255])
    """
    if pandas_types.is_numeric_dtype(values) and not pandas_types.is_bool_dtype(values):
        return "number", *_bins(values.to_numpy(float))
    known = values.notna().to_numpy()
    texts = values[known].map(str)
    counts = texts.value_counts(sort=False)
    order = sorted(counts.index, key=lambda text: (-counts[text], text))
    if len(order) > MOST_CATEGORIES:
        kept = order[: MOST_CATEGORIES - 1]
        categories = [*kept, f"{OTHER} ({len(order) - len(kept):,} values)"]
    else:
        kept = categories = order
    code = {text: k for k, text in enumerate(kept)}
    codes = np.full(len(values), MISSING, np.uint8)
    codes[known] = texts.map(code).fillna(len(kept)).to_numpy(np.uint8)
    return "category", [_short(text) for text in categories], codes


def _short(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"{text[: TEXT_SHOWN - 1]}…"


def _bins(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    known = np.isfinite(values)
    seen = values[known]
    codes = np.full(len(values), MISSING, np.uint8)
    if not len(seen):
        return [], codes
    different = np.unique(seen)
    if len(different) <= MOST_BINS:
        codes[known] = np.searchsorted(different, seen)
        return [f"{value:g}" for value in different], codes
    low, high = np.quantile(seen, [0.01, 0.99])
    if low == high:  # all but a few values are the same
        low, high = different[0], different[-1]
    whole = bool((seen == np.rint(seen)).all())
    step = _step((high - low) / (MOST_BINS - 3), whole)
    first, last = np.floor(low / step), np.floor(high / step) + 1
    edges = step * np.arange(first, last + 1)
    inner = edges[1:-1]
    codes[known] = np.digitize(seen, inner)
    digits = next((d for d in range(6) if np.isclose(round(step, d), step)), 6)
    names = []
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        if k == 0 and different[0] < a:
            names.append(f"< {_number(b, digits)}")
        elif k == len(inner) and different[-1] >= b:
            names.append(f"≥ {_number(a, digits)}")
        elif whole:
            names.append(_number(a, 0) if step == 1 else f"{_number(a, 0)} to {_number(b - 1, 0)}")
        else:
            names.append(f"{_number(a, digits)} to {_number(b, digits)}")
    return names, codes


def _step(least: float, whole: bool) -> float:
    """Return the smallest of 1, 2, 5, 10, ... times a power of ten that is not below `least`."""
    power = 10.0 ** np.floor(np.log10(least))
    step = next(float(m * power) for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))
    return max(step, 1.0) if whole else step


def _number(value: float, digits: int) -> str:
    value += 0.0  # no "-0"
    return f"{value:.{digits}f}" if digits < 6 and abs(value) < 1e6 else f"{value:g}"


def check_coordinates(given: Any, n: int) -> np.ndarray:
    """Return coordinates as an array of shape (n, 2), float64.

    Raises
    ------
    InputError
        Another shape, or values that are not finite numbers.
    """
    try:
        xy = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        xy = np.empty(0)
    if xy.shape != (n, 2) or not np.isfinite(xy).all():
        raise InputError(
            "coordinates", f"finite numbers of shape ({n}, 2), a row for each sample in their order",
            f"an array of shape {xy.shape}" if xy.shape != (n, 2) else "values that are not finite",
            "Leave it out: the map is then made from the data.",
        )  # fmt: skip
    return xy


def places(data: AuditData, step: Callable[[float, float, str], None]) -> tuple[np.ndarray | None, str]:
    """Return a place for each case, shape (n_samples, 2), and in words what the places are made from.

    The first two principal components of the embeddings of the data, each modality with the same variance; without
    embeddings, of the words of the reports; without reports, of the metadata. The same data give the same map.

    Parameters
    ----------
    data : AuditData
    step : callable of (done, total, text)
        Told how far it is.

    Returns
    -------
    xy : ndarray of shape (n_samples, 2), float64, or None
        None where there is nothing to make a map from.
    words : str
    """
    if data.embeddings:
        step(0, 1, "placing cases on the map")
        blocks = [_scaled(block) for block in data.embeddings.values()]
        of = " and ".join(f"{name}s" if name != "metadata" else name for name in data.embeddings)
        return _components(np.hstack(blocks)), f"Two principal components of the embeddings of {of}."
    if data.reports is not None and any(data.reports):
        return _of_reports(data.reports, step), "Two principal components of the words of the reports."
    if data.metadata.shape[1]:
        from mmaudit.encoders import MetadataEncoder

        step(0, 1, "placing cases on the map")
        encoded = MetadataEncoder().fit_transform(data.metadata)
        return _components(_scaled(encoded)), "Two principal components of the metadata."
    return None, "There is no map: the data have no embeddings, reports or metadata."


def _of_reports(reports: np.ndarray, step: Callable[[float, float, str], None]) -> np.ndarray:
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashing = HashingVectorizer(n_features=WORD_BUCKETS, alternate_sign=False, norm=None, dtype=np.float32)
    counts = []
    for start in range(0, len(reports), REPORTS_AT_ONCE):
        step(start, len(reports), "reading reports for the map")
        counts.append(hashing.transform(reports[start : start + REPORTS_AT_ONCE]))
    step(len(reports), len(reports), "placing cases on the map")
    words = TfidfTransformer(sublinear_tf=True).fit_transform(sparse.vstack(counts))
    if len(reports) < 3:
        return _components(words.toarray())
    # Not centred, so the first of them is what all reports share: a few are taken, and centred after.
    few = TruncatedSVD(min(8, len(reports) - 1), random_state=0).fit_transform(words)
    return _components(few)


def _scaled(block: np.ndarray) -> np.ndarray:
    """Return a block centred and of total variance 1, so that no modality counts for its number of columns."""
    centred = np.nan_to_num(np.asarray(block, dtype=np.float32))
    centred -= centred.mean(axis=0)
    return centred / (np.linalg.norm(centred) / np.sqrt(len(centred)) or np.float32(1))


def _components(table: np.ndarray) -> np.ndarray:
    """Return the first two principal components, zeros where there are fewer."""
    from sklearn.decomposition import PCA

    found = np.zeros((len(table), 2))
    n_components = min(2, *table.shape)
    if len(table) < 2 or (table == table[0]).all():
        return found
    seen = table
    if len(table) > FIT_ON:
        seen = table[np.random.RandomState(0).permutation(len(table))[:FIT_ON]]
    solver = "randomized" if table.shape[1] > 64 and min(seen.shape) > n_components else "full"
    found[:, :n_components] = PCA(n_components, svd_solver=solver, random_state=0).fit(seen).transform(table)
    return found


def place(values: np.ndarray) -> np.ndarray:
    """Return values on an axis of 0 to 65535, uint16; the outermost in a thousand go to its ends."""
    low, high = np.quantile(values, [0.001, 0.999]) if len(values) else (0.0, 0.0)
    if not high > low:
        low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    if not high > low:
        return np.full(len(values), 32_768, np.uint16)
    return np.rint(65_535 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint16)
