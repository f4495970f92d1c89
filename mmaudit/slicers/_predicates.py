"""Predicates on columns, such as "view = AP" or "age > 60", and rules, which join them by "and"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

__all__ = ["Predicate", "Rule", "make_predicates"]

_PHRASES = {
    "==": "{column} = {value}",
    "!=": "{column} is not {value}",
    "<=": "{column} ≤ {value}",
    ">": "{column} > {value}",
    "missing": "{column} is missing",
    "mentions": "report mentions {column}",
    "lacks": "report does not mention {column}",
}


NEGATIVE = ("!=", "lacks")
LIMITS = ("<=", ">")


@dataclass(frozen=True)
class Predicate:
    """A statement about one column that is true or false of each sample.

    Attributes
    ----------
    column : str
        Name of the column.
    operator : {"==", "!=", "<=", ">", "missing", "mentions", "lacks"}
        The last two are for boolean columns of report terms.
    value : str, float or None
        What the column is compared with.
    """

    column: str
    operator: str
    value: Any = None

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Return the mask of shape (n_samples,) of the rows it is true of; a missing value is never ≤, > or =."""
        column = table[self.column]
        if self.operator in ("mentions", "lacks"):
            mentioned = column.to_numpy(dtype=bool)
            return mentioned if self.operator == "mentions" else ~mentioned
        if self.operator == "missing":
            return column.isna().to_numpy()
        if self.operator in ("==", "!="):
            equal = (column == self.value).fillna(False).to_numpy(dtype=bool)
            return equal if self.operator == "==" else ~equal & column.notna().to_numpy()
        values = column.to_numpy(dtype=float)
        with np.errstate(invalid="ignore"):
            return values <= self.value if self.operator == "<=" else values > self.value

    @property
    def value_text(self) -> str:
        """The value as it is printed."""
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)

    def __str__(self) -> str:
        return _PHRASES[self.operator].format(column=self.column, value=self.value_text)


@dataclass(frozen=True)
class Rule:
    """Predicates that must all hold.

    Attributes
    ----------
    predicates : tuple of Predicate
    """

    predicates: tuple[Predicate, ...]

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Return the mask of shape (n_samples,) of the rows that all predicates are true of."""
        return np.logical_and.reduce([p.holds(table) for p in self.predicates])

    def to_dict(self) -> list[dict]:
        """Return the rule as JSON-able parts."""
        return [{"column": p.column, "operator": p.operator, "value": p.value} for p in self.predicates]

    @classmethod
    def from_dict(cls, parts: list[Mapping]) -> Rule:
        """Return the rule made of such parts."""
        return cls(tuple(Predicate(str(p["column"]), str(p["operator"]), p["value"]) for p in parts))

    def __str__(self) -> str:
        """Return the predicates joined by "and"; a lower and an upper limit of one column read as "40 < age ≤ 60"."""
        phrases: dict[str, None] = {}
        for p in self.predicates:
            limits = [q for q in self.predicates if q.column == p.column and q.operator in LIMITS]
            limits.sort(key=lambda q: q.operator, reverse=True)
            if p in limits and [q.operator for q in limits] == [">", "<="]:
                low, high = (q.value_text for q in limits)
                phrases[f"{low} < {p.column} ≤ {high}"] = None  # once for both
            else:
                phrases[str(p)] = None
        return " and ".join(phrases)


def make_predicates(table: pd.DataFrame, *, n_bins: int, min_samples: int) -> tuple[list[Predicate], np.ndarray]:
    """Return the predicates that a table allows, and which rows they hold for.

    Numeric columns are cut at their quantiles, rounded to what a person would say; text is taken as "is" and "is
    not"; boolean columns as "mentions" and "lacks"; columns of pandas' categorical dtype, such as clusters of images,
    as "is" only, since being outside one cluster says little. Of predicates that hold for the same rows the plainest
    one is kept: what is there before what is not, so that "mentions tube" does not become "does not mention no tube".

    Parameters
    ----------
    table : DataFrame of shape (n_samples, n_columns)
    n_bins : int
        Numeric columns give n_bins - 1 cut points, each as ≤ and as >.
    min_samples : int
        Rows that must lie inside, and outside, for a predicate to be kept.

    Returns
    -------
    predicates : list of Predicate
    holds : ndarray of shape (n_predicates, n_samples), bool
    """
    possible = [p for name in table.columns for p in _of_column(name, table[name], n_bins, min_samples)]
    possible.sort(key=lambda p: p.operator in NEGATIVE)  # stable: columns keep their order
    predicates: list[Predicate] = []
    rows: list[np.ndarray] = []
    seen: set[bytes] = set()
    for predicate in possible:
        holds = predicate.holds(table)
        n_inside = int(holds.sum())
        key = np.packbits(holds).tobytes()
        if min_samples <= n_inside <= len(table) - min_samples and key not in seen:
            seen.add(key)
            predicates.append(predicate)
            rows.append(holds)
    return predicates, np.array(rows, dtype=bool).reshape(len(rows), len(table))


def _of_column(name: str, column: pd.Series, n_bins: int, min_samples: int) -> list[Predicate]:
    categories = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else None
    if categories is None and pandas_types.is_bool_dtype(column):
        return [Predicate(name, "mentions"), Predicate(name, "lacks")]
    known = column.dropna()
    found = [Predicate(name, "missing")] if column.isna().any() else []
    if len(known) == 0:
        return found
    is_number = pandas_types.is_numeric_dtype(column if categories is None else categories)
    if categories is None and is_number and known.nunique() > 2:
        for cut in _cut_points(known.to_numpy(dtype=float), n_bins):
            found += [Predicate(name, "<=", cut), Predicate(name, ">", cut)]
        return found
    counts = known.value_counts()
    for value in counts.index[counts >= min_samples]:
        value = float(value) if is_number else value
        found.append(Predicate(name, "==", value))
        if categories is None and len(counts) > 2:
            found.append(Predicate(name, "!=", value))
    return found


def _cut_points(values: np.ndarray, n_bins: int) -> list[float]:
    """Return quantiles with as few digits as keep them apart, at least two."""
    # Values that occur, not means of two: a count is cut at 2, never at 2.5.
    quantiles = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    spread = np.quantile(values, 0.9) - np.quantile(values, 0.1)
    if spread > 0:
        digits = int(np.ceil(-np.log10(spread / 50)))
        rounded = np.unique(np.round(quantiles, digits))
        quantiles = rounded if len(rounded) == len(quantiles) else quantiles
    return [float(q) for q in quantiles if q < values.max()]
