"""A subgroup that somebody names: by columns, by a pattern in the report, or sample by sample."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from mmaudit._errors import InputError, nearest
from mmaudit.data import AuditData

__all__ = ["is_number", "select"]

MOST_VALUES_SHOWN = 12  # of a metadata column; one with more may hold names


def select(data: AuditData, where: Any) -> tuple[np.ndarray, str]:
    """Return the samples of a subgroup that somebody names, and what it is in words.

    Parameters
    ----------
    data : AuditData
    where : mapping, str, or array of bool of shape (n_samples,)
        A mapping of columns of `data.metadata` (or, if not there, `data.attributes`) to a value, a list of values, or
        for numeric columns a tuple (low, high), both ends included, None for an open one; several entries must all
        hold, and samples with a missing value are outside. A str is a regular expression to be found in the report,
        in upper or lower case; negated mentions are found too. A mask selects samples one by one; a Series of bool is
        aligned by its index.

    Returns
    -------
    mask : ndarray of shape (n_samples,), bool
    words : str
        They go after "samples with".

    Raises
    ------
    InputError
        An unknown column, value or pattern, or a selection of no samples or of all of them.

    Examples
    --------
    >>> from mmaudit import datasets
    >>> mask, words = select(datasets.load_phantom(50), {"view": ["AP", "AP supine"], "age": (60, None)})
    >>> words
    '(view = AP or AP supine) and age from 60'
    """
    if isinstance(where, Mapping):
        chosen, words = _by_columns(data, where)
    elif isinstance(where, str):
        chosen, words = _by_report(data, where), f"a report that matches {where!r}"
    else:
        chosen, words = _by_mask(data, where), "a mark in the given mask"
    n = int(chosen.sum())
    if n in (0, data.n_samples):
        raise InputError(
            "where",
            "a subgroup of the samples",
            f"{'none' if n == 0 else 'all'} of the {data.n_samples:,} samples (with {words})",
            "Widen the selection." if n == 0 else "Narrow the selection: a failure everywhere is no slice.",
        )
    return chosen, words


def _by_columns(data: AuditData, where: Mapping[str, Any]) -> tuple[np.ndarray, str]:
    if not where:
        raise InputError("where", "at least one column", "an empty mapping", "Write where={'view': 'AP'}.")
    metadata, attributes = data.metadata, data.attributes
    chosen, words = np.ones(data.n_samples, dtype=bool), []
    for column, wanted in where.items():
        table = metadata if column in metadata.columns else attributes
        if column not in table.columns:
            known = [*metadata.columns, *(c for c in attributes.columns if c not in metadata.columns)]
            listed = ", ".join(map(str, known[:MOST_VALUES_SHOWN])) + (" ..." if len(known) > MOST_VALUES_SHOWN else "")
            raise InputError(
                "where",
                "columns of data.metadata or data.attributes",
                f"{column!r}, which neither has",
                f"They have: {listed or 'none'}.{nearest(str(column), map(str, known))}",
            )
        argument = f"where[{column!r}]"
        if isinstance(wanted, tuple):
            mask, phrase = _in_range(table[column], argument, wanted)
        else:
            mask, phrase = _among(table[column], argument, wanted, is_metadata=table is metadata)
        chosen &= mask
        bracket = len(where) > 1 and " or " in phrase
        words.append(f"({column} {phrase})" if bracket else f"{column} {phrase}")
    return chosen, " and ".join(words)


def _in_range(values: pd.Series, argument: str, wanted: tuple) -> tuple[np.ndarray, str]:
    if pandas_types.is_bool_dtype(values) or not pandas_types.is_numeric_dtype(values):
        raise InputError(
            argument, "a value or a list of values", "a tuple, for a column without numbers", "Write a list: [...]."
        )
    if len(wanted) != 2 or not all(end is None or is_number(end) for end in wanted) or wanted == (None, None):
        raise InputError(
            argument, "(low, high), numbers with None for an open end", f"{wanted!r}", "Write (60, None) or (18, 40)."
        )
    low, high = wanted
    if low is not None and high is not None and low > high:
        raise InputError(argument, "low up to high", f"{wanted!r}", "Change them round.")
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    mask = np.isfinite(numbers)
    if low is not None:
        mask &= numbers >= low
    if high is not None:
        mask &= numbers <= high
    if low is None:
        return mask, f"up to {high:g}"
    return mask, f"from {low:g}" + ("" if high is None else f" to {high:g}")


def _among(values: pd.Series, argument: str, wanted: Any, *, is_metadata: bool) -> tuple[np.ndarray, str]:
    if isinstance(wanted, (set, frozenset)):
        wanted = sorted(wanted, key=str)  # the same words in every run
    options = list(wanted) if isinstance(wanted, (list, np.ndarray, pd.Series, pd.Index)) else [wanted]
    if not options:
        raise InputError(argument, "a value or a list of values", "an empty list", "Name at least one.")
    for option in options:
        if not pandas_types.is_hashable(option) or pd.isna(option):
            got = "a missing value" if pandas_types.is_hashable(option) else f"a {type(option).__name__}"
            raise InputError(argument, "values such as 'AP' or 3", got, "Give a mask of bool for such a selection.")
    present = values.dropna()
    if not pandas_types.is_bool_dtype(values) and present.isin(["yes", "no"]).all():
        # Yes-or-no metadata were given as bool, and are asked for as bool.
        options = [{True: "yes", False: "no"}[bool(o)] if isinstance(o, (bool, np.bool_)) else o for o in options]
    for option in options:
        if not present.isin([option]).any():
            shown, hint = "See data.attributes for its values.", ""
            if is_metadata and pandas_types.is_numeric_dtype(values):
                shown = "See data.metadata for its values, or give a range (low, high)."
            elif is_metadata:
                kinds = sorted(map(str, present.unique()))
                many = len(kinds) > MOST_VALUES_SHOWN
                shown = f"It has {len(kinds):,} values." if many else f"It has: {', '.join(kinds)}."
                hint = "" if many else nearest(str(option), kinds)
            raise InputError(argument, "values that the column has", f"{option!r}, which never occurs", shown + hint)
    named = [("yes" if o else "no") if isinstance(o, (bool, np.bool_)) else str(o) for o in options]
    return values.isin(options).to_numpy(dtype=bool), f"= {' or '.join(named)}"


def _by_report(data: AuditData, where: str) -> np.ndarray:
    if data.reports is None:
        raise InputError("where", "a mapping or a mask for data without reports", "a str", "Write {'column': value}.")
    try:
        pattern = re.compile(where, re.IGNORECASE)
    except re.error as error:
        raise InputError(
            "where", "a regular expression", f"{where!r}: {error}", "Escape it with re.escape if it is plain text."
        ) from None
    return np.array([pattern.search(report) is not None for report in data.reports], dtype=bool)


def _by_mask(data: AuditData, where: Any) -> np.ndarray:
    if isinstance(where, pd.Series) and not where.index.equals(data.sample_id):
        if where.index.is_unique and len(where) == data.n_samples and where.index.isin(data.sample_id).all():
            where = where.loc[data.sample_id]
        elif not where.index.equals(pd.RangeIndex(len(where))):
            raise InputError(
                "where", "a Series indexed by data.sample_id", "another index", "Give where.to_numpy() if in order."
            )
    try:
        mask = np.asarray(where)
        if mask.dtype == object and mask.ndim == 1:
            mask = np.asarray(mask.tolist())  # bool kept as objects is bool again
        got = f"{mask.dtype}, shape {mask.shape}"
    except ValueError:  # lists of different lengths
        mask, got = np.empty(0), "other things than bool"
    if mask.dtype != bool or mask.shape != (data.n_samples,):
        raise InputError(
            "where",
            f"a mapping, a report pattern or a mask of bool of shape ({data.n_samples},)",
            f"{type(where).__name__} of {got}",
            "Write {'column': value}, or build the mask from data.metadata.",
        )
    return mask.copy()


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; a bool is none."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return number and math.isfinite(value)
