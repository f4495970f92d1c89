"""What the page shows beside the images: metadata in bins, and a map on which like cases lie near each other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from mmaudit._errors import InputError
from mmaudit.widgets._cases import pack

if TYPE_CHECKING:
    from mmaudit.data import AuditData
    from mmaudit.widgets._base import Answer, AuditWidget, Job

__all__ = [
    "Column",
    "binned",
    "binned_for_others",
    "check_coordinates",
    "codes_of",
    "columns",
    "place",
    "places",
    "told_of",
]

MISSING = 255  # code of a case without a value
MOST_CATEGORIES = 30
MOST_BINS = 12
LEAST_PATIENTS = 5  # whom a value has that leaves the user's machine in a file
OTHER = "other"
FIT_ON = 10_000  # cases that the axes of the map are learned from
REPORTS_AT_ONCE = 2_000
WORD_BUCKETS = 2**14
TEXT_SHOWN = 80  # characters of a category


class Column(NamedTuple):
    """A metadata column as the page has it; the fields after `name` are as `binned` returns them."""

    name: str
    kind: str
    categories: list[str]
    codes: np.ndarray


def told_of(columns: Iterable[Column]) -> list[dict[str, Any]]:
    """Return what the page is told of columns beside their codes."""
    return [{"name": one.name, "kind": one.kind, "categories": one.categories} for one in columns]


def codes_of(columns: Iterable[Column]) -> dict[str, np.ndarray]:
    """Return the codes of columns under the names that the page knows."""
    return {f"column:{one.name}": one.codes for one in columns}


def columns(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with a code for each case and metadata column; with {"what": "map"}, with places of the cases.

    Both are made once for each widget. Without data, the columns are those that were saved with the result.
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
    found: list[Column] = []
    if data is not None and rows is not None:
        for name, values in data.metadata.items():
            kind, categories, codes = binned(values)
            found.append(Column(str(name), kind, categories, codes[rows]))
    elif widget.result is not None:
        found = widget.result._saved_columns
    sections, block = pack(codes_of(found))
    return {"columns": told_of(found), "sections": sections}, [block]


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
    if _is_number(values):
        return "number", *_bins(values.to_numpy(float), None)
    known = values.notna().to_numpy()
    categories, codes, _ = _categories(values[known].map(str), known, None)
    return "category", categories, codes


def binned_for_others(values: pd.Series, patients: np.ndarray) -> tuple[str, list[str], np.ndarray]:
    """Return a metadata column as `binned` does, without what only a few patients have: for a file that is shared.

    Parameters
    ----------
    values : Series of shape (n_samples,)
    patients : ndarray of shape (n_samples,)
        Whose the samples are.

    Returns
    -------
    kind, categories, codes
        As of `binned`, but a category that fewer than five patients have goes to "other", and a bin that fewer than
        five patients are in is joined with its neighbour. A joined bin at either end is open, so that its name does
        not tell how far out a value lies. Where "other" is of fewer than five patients, they count as missing; where
        those are too few as well, nothing of the column is told: no categories, all missing.

    Notes
    -----
    That a value is missing is told, of however few patients.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> view = pd.Series(["PA"] * 6 + ["AP"] * 3 + ["lateral"] * 2)
    >>> kind, categories, codes = binned_for_others(view, np.arange(11))
    >>> categories, codes.tolist()
    (['PA', 'other (2 values)'], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    if _is_number(values):
        return "number", *_bins(values.to_numpy(float), patients)
    known = values.notna().to_numpy()
    texts = values[known].map(str)
    n_patients = pd.Series(patients[known], index=texts.index).groupby(texts.to_numpy()).nunique()
    often = set(n_patients.index[n_patients >= LEAST_PATIENTS])
    categories, codes, n_other = _categories(texts, known, often)
    is_other = codes == len(categories) - 1
    if n_other and _few(patients[is_other]):
        if _few(patients[is_other | (codes == MISSING)]):
            return "category", [], np.full(len(codes), MISSING, np.uint8)
        codes[is_other] = MISSING
        categories = categories[:-1]
    return "category", categories, codes


def _few(patients: np.ndarray) -> bool:
    return len(pd.unique(patients)) < LEAST_PATIENTS


def _is_number(values: pd.Series) -> bool:
    return pandas_types.is_numeric_dtype(values) and not pandas_types.is_bool_dtype(values)


def _categories(
    texts: pd.Series, known: np.ndarray, allowed: Container[str] | None
) -> tuple[list[str], np.ndarray, int]:
    """Return the texts that are shown, a code for each sample, and how many texts are "other", the last of those shown.

    Texts that are not allowed are "other"; None allows all.
    """
    counts = texts.value_counts(sort=False)
    order = sorted(counts.index, key=lambda text: (-counts[text], text))
    kept = categories = [text for text in order if allowed is None or text in allowed]
    n_other = 0
    if len(kept) < len(order) or len(order) > MOST_CATEGORIES:
        kept = kept[: MOST_CATEGORIES - 1]
        n_other = len(order) - len(kept)
        categories = [*kept, f"{OTHER} ({n_other:,} {'value' if n_other == 1 else 'values'})"]
    code = {text: k for k, text in enumerate(kept)}
    codes = np.full(len(known), MISSING, np.uint8)
    codes[known] = texts.map(code).fillna(len(kept)).to_numpy(np.uint8)
    return [_short(text) for text in categories], codes, n_other


def _short(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"{text[: TEXT_SHOWN - 1]}…"


def _bins(values: np.ndarray, patients: np.ndarray | None) -> tuple[list[str], np.ndarray]:
    """Return names of bins and a code for each sample; with patients, at least five of them are in each bin."""
    known = np.isfinite(values)
    codes = np.full(len(values), MISSING, np.uint8)
    if not known.any():
        return [], codes
    names, codes[known] = _bins_of(values[known], None if patients is None else patients[known])
    return names, codes


def _bins_of(seen: np.ndarray, patients: np.ndarray | None) -> tuple[list[str], np.ndarray]:
    different, codes = np.unique(seen, return_inverse=True)
    if len(different) <= MOST_BINS:
        own = np.r_[different, np.inf]
        if patients is None or np.array_equal(_joined(own, codes, patients), own):
            return [f"{value:g}" for value in different], codes
        # Edges at values would tell them: round ones do not.
    outside = 0.01 if patients is None else float(np.clip((LEAST_PATIENTS - 1) / len(seen), 0.01, 0.25))
    edges, step = _edges(seen, different, outside)
    if patients is not None:
        edges = _joined(edges, np.digitize(seen, edges[1:-1]), patients)
    whole = bool((seen == np.rint(seen)).all())
    names = [_bin_name(low, high, step, whole) for low, high in itertools.pairwise(edges)]
    return names, np.digitize(seen, edges[1:-1])


def _edges(seen: np.ndarray, different: np.ndarray, outside: float) -> tuple[np.ndarray, float]:
    """Return round edges of at most 12 bins, infinite where values lie farther out, and how far apart they are.

    That share of the values, `outside`, may lie farther out at either end.
    """
    if len(different) == 1:
        return np.array([-np.inf, np.inf]), 1.0
    low, high = np.quantile(seen, [outside, 1 - outside])
    if low == high:  # all but a few values are the same
        low, high = different[0], different[-1]
    step = _step((high - low) / (MOST_BINS - 3), bool((seen == np.rint(seen)).all()))
    edges = step * np.arange(np.floor(low / step), np.floor(high / step) + 2)
    if different[0] < edges[0]:
        edges[0] = -np.inf
    if different[-1] >= edges[-1]:
        edges[-1] = np.inf
    return edges, step


def _joined(edges: np.ndarray, codes: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return edges of bins of at least five patients each: neighbours are joined, and open at the ends.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,)
    codes, patients : ndarray of shape (n_known,)
        Bin and patient of each sample.
    """
    n_bins = len(edges) - 1
    ends: list[int] = []
    inside: set[Any] = set()
    for k in range(n_bins):
        inside.update(patients[codes == k])
        if len(inside) >= LEAST_PATIENTS:
            ends.append(k + 1)
            inside = set()
    if not ends:
        return np.array([-np.inf, np.inf])
    bounds = [0, *ends[:-1], n_bins]  # what is left over joins the last
    joined = edges[bounds]
    if bounds[1] > 1:
        joined[0] = -np.inf
    if n_bins - bounds[-2] > 1:
        joined[-1] = np.inf
    return joined


def _bin_name(low: float, high: float, step: float, whole: bool) -> str:
    digits = next((d for d in range(6) if np.isclose(round(step, d), step)), 6)
    if np.isinf(low):
        return "any number" if np.isinf(high) else f"< {_number(high, digits)}"
    if np.isinf(high):
        return f"≥ {_number(low, digits)}"
    if whole:
        return _number(low, 0) if high - low == 1 else f"{_number(low, 0)} to {_number(high - 1, 0)}"
    return f"{_number(low, digits)} to {_number(high, digits)}"


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
    except (TypeError, ValueError, OverflowError):
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
