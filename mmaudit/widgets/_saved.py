"""What a saved audit holds for a page that shows it without a kernel: what a widget would send, made once."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmaudit.widgets._cases import Cases, layout, pack
from mmaudit.widgets._columns import (
    MISSING,
    MOST_CATEGORIES,
    TEXT_SHOWN,
    Column,
    binned_for_others,
    codes_of,
    told_of,
)
from mmaudit.widgets._rows import cards, rows, shown_of

if TYPE_CHECKING:
    from mmaudit.result import AuditResult

__all__ = ["MOST_CASES", "MOST_COLUMNS", "columns_of", "page_of"]

MOST_CASES = 100_000  # of more, a file holds no arrays
MOST_COLUMNS = 500  # of the metadata; more are left out


def page_of(result: AuditResult, *, summary: dict[str, Any] | None = None, metadata: bool = True) -> dict[str, Any]:
    """Return all that a page shows of a result without a kernel, of plain Python types.

    Parameters
    ----------
    result : AuditResult
    summary : dict or None
        Its summary without thumbnails, for who has made it already. None: it is made.
    metadata : bool
        Whether metadata are in it; see `binned_for_others` for what of them.

    Returns
    -------
    dict
        `rows` and `cards`, of all slices of the audit, as the traits `_rows` and `_cards` of a widget. `cases`: what
        `Cases.start` tells, `ids` (of the samples, text, by position), `columns` (as the answer to "columns"), and
        one `block` for all arrays, base64 of what `pack` made; None above 100,000 samples. Groups that were tested
        by hand are not in it.
    """
    cases = Cases(result, None)
    summary, shown = shown_of(result, summary)
    page = {"rows": rows(shown, cases), "cards": cards(summary, shown), "cases": None}
    if cases.n > MOST_CASES:
        return page
    columns = _columns(cases) if metadata else []
    arrays = _arrays(cases, columns)
    _, block = pack(arrays)
    return {**page, "cases": {**_told(cases, columns, arrays), "block": base64.b64encode(block).decode()}}


def columns_of(page: Any, result: AuditResult) -> list[Column]:
    """Return the metadata columns of a saved page.

    Parameters
    ----------
    page : Any
        What `page_of` returned, from a file that anybody may have written.
    result : AuditResult
        What the rest of the file says.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError
        A page that is not of this result, or that `page_of` cannot have returned.

    Notes
    -----
    No size in the file is trusted: the block is read only to the length that the samples, slices and columns give.
    What the rows and cards of the page say is not compared with the result: Python makes its own.
    """
    slices = result.candidates["slice_id"].tolist()
    _check([row["id"] for row in page["rows"]] == slices and list(page["cards"]) == slices)
    _check(all(isinstance(part, dict) for part in (*page["rows"], *page["cards"].values())))
    given = page["cases"]
    if given is None:
        return []
    cases = Cases(result, None)
    _check(cases.n <= MOST_CASES and len(given["columns"]) <= MOST_COLUMNS)
    columns = [_column(one, cases.n) for one in given["columns"]]
    _check(len({column.name for column in columns}) == len(columns))
    expected = _told(cases, columns, _arrays(cases, columns))
    _check(all(given[key] == value for key, value in expected.items()))
    arrays = _unpacked(base64.b64decode(given["block"], validate=True), expected["sections"])
    found = [column._replace(codes=arrays[name]) for name, column in zip(codes_of(columns), columns, strict=True)]
    for column in found:
        known = column.codes[column.codes != MISSING]
        _check(bool((known < len(column.categories)).all()))
    return found


def _columns(cases: Cases) -> list[Column]:
    """Return the metadata as others may see it; of a result without data, what was saved with it."""
    if cases.data is None or cases.rows is None:
        return list(cases.result._saved_columns)  # type: ignore[union-attr]
    patients = cases.data.patient_id[cases.rows]
    metadata = cases.data.metadata.iloc[cases.rows, :MOST_COLUMNS]
    found = [Column(str(name), *binned_for_others(values, patients)) for name, values in metadata.items()]
    return [column for column in found if column.categories]


def _arrays(cases: Cases, columns: list[Column]) -> dict[str, np.ndarray]:
    return cases.arrays(cases.result.membership.columns) | codes_of(columns)  # type: ignore[union-attr]


def _told(cases: Cases, columns: list[Column], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return all that is said of the cases beside the block."""
    return {
        "n": cases.n,
        "targets": cases.targets,
        "models": cases.models,
        "ids": cases.ids.astype(str).tolist(),
        "columns": told_of(columns),
        "sections": layout(arrays),
    }


def _column(told: Mapping[str, Any], n: int) -> Column:
    """Return a column that the file tells of, without its codes."""
    name, kind, categories = told["name"], told["kind"], told["categories"]
    _check(isinstance(name, str) and kind in ("number", "category"))
    _check(isinstance(categories, list) and len(categories) <= MOST_CATEGORIES)
    _check(all(isinstance(text, str) and len(text) <= TEXT_SHOWN for text in categories))
    return Column(name, kind, categories, np.zeros(n, np.uint8))


def _unpacked(block: bytes, sections: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return the arrays of a block, of which nothing is known yet, as sections that are known to be right say."""
    n_bytes = sum(section["length"] * np.dtype(section["dtype"]).itemsize for section in sections)
    reader = zlib.decompressobj()
    try:
        raw = reader.decompress(block, n_bytes + 1)
    except zlib.error as error:
        raise ValueError from error
    _check(len(raw) == n_bytes and reader.eof and not reader.unused_data)
    return {
        section["name"]: np.frombuffer(raw, section["dtype"], section["length"], section["offset"])
        for section in sections
    }


def _check(fits: bool) -> None:
    if not fits:
        raise ValueError
