"""Reading a table: how its file has to be read, what its columns hold."""

from __future__ import annotations

import codecs
import collections
import csv
import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from mmaudit._errors import InputError
from mmaudit._tables import error_name, first_rows, opened, read_csv, read_parquet

__all__ = ["Column", "Table", "describe_column", "open_table", "text_of"]

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
GUESS_ROWS = 20_000
MOST_BYTES = 2 * 2**30  # of a text table, unpacked
BLOCK_BYTES = 2**24
SNIFF_BYTES = 2**16
MIXED_FROM = 100_000  # cells from which pandas may decide a column's type piece by piece, unless told not to
MOST_VALUES = 30
MOST_VALUE_CHARS = 200
EXAMPLE_CHARS = 60
TELL_EVERY_BYTES = 2**27
DATE = re.compile(
    r"(?:\d{4}|\d{1,2}[-/. ]\d{1,2}[-/. ](?:\d{4}|\d{2})|\d{4}[-/. ]\d{1,2}([-/. ]\d{1,2})?"
    r"|(?:\d{1,2} )?[A-Za-z]{3,9}\.? ?(?:\d{1,2},? )?\d{4}|\d{1,2} [A-Za-z]{3,9},? \d{4})(?:[T ]\d{1,2}:\d{2}.*)?"
)


@dataclass(frozen=True)
class Table:
    """A file with a table, and how it is read.

    Attributes
    ----------
    path : path
        Relative to the current folder.
    keywords : dict
        Of `pandas.read_csv`; empty for parquet.
    first : DataFrame
        The first rows, at most 20,000.
    n_rows, n_bytes : int
        Of the whole file.
    has_index : bool
        Whether an index that was stored becomes a column.
    renamed : bool
        Whether names of columns that were no text became text.
    notes : tuple of str
        What a reader should know.
    """

    path: Path
    keywords: dict[str, Any]
    first: pd.DataFrame
    n_rows: int
    n_bytes: int
    has_index: bool = False
    renamed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def is_parquet(self) -> bool:
        """Whether the file is parquet, else text."""
        return self.path.suffix.lower() == ".parquet"

    def read_keywords(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the keywords of `pandas.read_csv` with which these columns stay text: 007 is no 7."""
        if self.is_parquet:
            return {}
        keywords = dict(self.keywords)
        if texts:
            keywords["dtype"] = dict.fromkeys(texts, str)
        if self.n_rows * self.first.shape[1] > MIXED_FROM:
            keywords["low_memory"] = False
        return keywords

    def read(self, columns: Sequence[str], texts: Sequence[str], n_rows: int | None = None) -> pd.DataFrame:
        """Return all rows of some columns, or the first of a text table, as the call in the notebook reads them."""
        columns = list(dict.fromkeys(columns))
        with _read_errors():
            if not self.is_parquet:
                return read_csv(self.path, usecols=columns, nrows=n_rows, **self.read_keywords(texts))[columns]
            partly = None if self.has_index or self.renamed else columns
            frame = read_parquet(self.path, columns=partly)
        return self._as_plain(frame)[columns]

    def _as_plain(self, frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.reset_index() if self.has_index else frame.reset_index(drop=True)
        return frame.set_axis(frame.columns.map(str), axis=1) if self.renamed else frame


def open_table(path: Path, step: Callable[[int, int, str], None]) -> Table:
    """Return the table in a file, with its first rows read.

    Raises
    ------
    InputError
        Another kind of file, one that cannot be read, a CSV file of more than 2 GB, or columns without distinct names.
    """
    if not path.name.lower().endswith(ENDINGS):
        raise InputError(
            "Table", f"a file that ends in {', '.join(ENDINGS)}", "another ending", "Save it as CSV or parquet."
        )
    if not path.is_file():
        raise InputError("Table", "a file", "a folder" if path.is_dir() else "no such file", "Look at its name.")
    with _read_errors():
        table = _open_parquet(path) if path.suffix.lower() == ".parquet" else _open_text(path, step)
    twice = table.first.columns[table.first.columns.duplicated()]
    if len(twice):
        raise InputError("Table", "each column's name once", f"{twice[0]!r} twice", "Rename one of them.")
    if table.first.shape[1] == 0 or table.n_rows == 0:
        raise InputError("Table", "columns and at least one row", "an empty table", "Export it again.")
    return table


class _read_errors:  # noqa: N801  used like a function
    """Say what is wrong with a file in words; what the readers say may quote it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is None or isinstance(error, InputError) or not isinstance(error, Exception):
            return
        import pyarrow as pa

        again = "Export it again."
        if isinstance(error, PermissionError):
            raise InputError("Table", "a file you may read", "one you may not", "Change its permissions.") from None
        if isinstance(error, pd.errors.EmptyDataError):
            raise InputError("Table", "a header and rows", "an empty file", again) from None
        if isinstance(error, pd.errors.ParserError):
            number = re.search(r"line (\d+)", str(error))
            got = f"another number in line {number[1]}" if number else "rows that break this"
            quote = "Quote texts that hold the separator or a line break."
            raise InputError("Table", "as many fields in each row as names in the first", got, quote) from None
        if isinstance(error, (OSError, ValueError, EOFError, zlib.error, pa.ArrowException)):
            got = f"one that cannot be read ({error_name(error)})"
            raise InputError("Table", "a whole file of its kind", got, again) from None


def _open_parquet(path: Path) -> Table:
    frame, names, n_rows = first_rows(path, GUESS_ROWS)
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise InputError("Table", "each column's name once", f"{twice[0]!r} twice", "Rename one of them.")
    table = Table(
        path,
        {},
        frame,
        n_rows,
        path.stat().st_size,
        has_index=frame.index.names != [None],
        renamed=not all(isinstance(name, str) for name in frame.columns),
        notes=_part_note(n_rows),
    )
    return Table(**{**vars(table), "first": table._as_plain(frame)})


def _open_text(path: Path, step: Callable[[int, int, str], None]) -> Table:
    n_lines, is_utf8 = _scan(path, step)
    with opened(path) as file:
        head = file.read(SNIFF_BYTES)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head:
        raise InputError("Table", "text in UTF-8", "another encoding, perhaps UTF-16", "Save it as CSV UTF-8.")
    encoding = ("utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8") if is_utf8 else "latin-1"
    text = head.decode(encoding, errors="ignore")
    separator = "\t" if ".tsv" in path.name.lower()[-7:] else _separator(text)
    fields = _fields(text, separator)
    keywords: dict[str, Any] = {} if separator == "," else {"sep": separator}
    if encoding != "utf-8":
        keywords["encoding"] = encoding
    if separator != "," and _has_decimal_commas(fields[1:]):
        keywords["decimal"] = ","
    first = read_csv(path, nrows=GUESS_ROWS, low_memory=False, **keywords)
    if not isinstance(first.index, pd.RangeIndex):  # pandas took the first column for names of rows
        got = "more fields in the rows"
        action = "Give the first column a name, or remove separators at the ends of lines."
        raise InputError("Table", "as many names in the first row as fields in the others", got, action)
    n_rows = len(first) if len(first) < GUESS_ROWS else max(len(first), n_lines - 1)
    notes = list(_part_note(n_rows))
    if encoding == "latin-1":
        notes.append("The file is not UTF-8; it is read as Latin-1. Look whether accents are right.")
    names = [name for name in fields[0] if name] if fields else []
    twice = sorted({name for name in names if names.count(name) > 1}) if len(names) < 10_000 else []
    if twice:
        notes.append(f"The column name {twice[0]!r} occurs more than once; pandas numbers them.")
    if names and sum(re.fullmatch(r"-?\d+([.,]\d+)?", name) is not None for name in names) > len(names) / 2:
        notes.append("Most names of columns are numbers: does the first row hold the names?")
    return Table(path, keywords, first, n_rows, path.stat().st_size, notes=tuple(notes))


def _part_note(n_rows: int) -> tuple[str, ...]:
    said = f"The table is large: its columns were judged by the first {GUESS_ROWS:,} of about {n_rows:,} rows."
    return (said,) if n_rows > GUESS_ROWS else ()


def _scan(path: Path, step: Callable[[int, int, str], None]) -> tuple[int, bool]:
    """Return the number of lines, those inside quotes not counted, and whether the bytes are UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    n_lines, inside, is_utf8, seen, last, told = 0, 0, True, 0, b"\n", 0
    for block in _blocks(path):
        seen += len(block)
        if seen > MOST_BYTES:
            action = "Save it as parquet, or with the columns and rows that the audit needs."
            raise InputError("Table", "a text table of at most 2 GB", "a larger one", action)
        if is_utf8:
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                is_utf8 = False
        if b'"' in block:
            letters = np.frombuffer(block, dtype=np.uint8)
            quotes = inside + np.cumsum(letters == ord('"'), dtype=np.int64)
            n_lines += int(((letters == ord("\n")) & (quotes % 2 == 0)).sum())
            inside = int(quotes[-1] % 2)
        elif not inside:
            n_lines += block.count(b"\n")
        last = block[-1:]
        if seen - told > TELL_EVERY_BYTES:
            told = seen
            step(min(seen, path.stat().st_size), path.stat().st_size, "Reading the table")
    return n_lines + (last != b"\n"), is_utf8


def _blocks(path: Path) -> Iterator[bytes]:
    with opened(path) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _fields(text: str, separator: str) -> list[list[str]]:
    """Return the fields of the first rows; the last row, which may be cut short, is left out where there are others."""
    rows = []
    try:
        for row in csv.reader(io.StringIO(text), delimiter=separator):
            rows.append(row)
            if len(rows) == 50:
                break
    except csv.Error:
        pass
    return rows[:-1] if 1 < len(rows) < 50 and not text.endswith("\n") else rows


def _separator(text: str) -> str:
    """Return the separator that gives most columns, in rows that agree with the first."""

    def merit(separator: str) -> float:
        rows = [row for row in _fields(text, separator) if row]
        if not rows or len(rows[0]) < 2:
            return 0
        return len(rows[0]) * float(np.mean([len(row) == len(rows[0]) for row in rows])) ** 2

    return max((",", ";", "\t"), key=merit)


def _has_decimal_commas(rows: Sequence[Sequence[str]]) -> bool:
    cells = [cell.strip() for row in rows for cell in row]
    commas = sum(re.fullmatch(r"-?\d+,\d+", cell) is not None for cell in cells)
    points = sum(re.fullmatch(r"-?\d+\.\d+", cell) is not None for cell in cells)
    return commas > points


@dataclass(frozen=True, eq=False)
class Column:
    """What a column holds.

    Attributes
    ----------
    kind : {"number", "text", "date", "boolean", "empty", "other"}
    n_values : int
        Distinct values.
    counts : dict of str to int, or None
        How often each value occurs, commonest first; None where there are more than 30, or long ones.
    words : float
        Words of a value, on average; 0 for numbers.
    """

    name: str
    kind: str
    n_rows: int
    n_missing: int
    n_values: int
    examples: tuple[str, ...]
    counts: dict[str, int] | None
    words: float
    values: pd.Series

    @property
    def n_known(self) -> int:
        """Number of rows with a value."""
        return self.n_rows - self.n_missing


def describe_column(name: str, values: pd.Series) -> Column:
    """Return what a column holds."""
    n_missing = int(values.isna().sum())
    known = values.dropna()
    if known.empty:
        return Column(name, "empty", len(values), n_missing, 0, (), {}, 0.0, values)
    if not all(pandas_types.is_hashable(value) and not isinstance(value, bytes) for value in known.iloc[:20]):
        return Column(name, "other", len(values), n_missing, len(known), (), None, 0.0, values)  # lists, pictures
    counted = known.value_counts()
    n_values = int((counted > 0).sum())
    kind = _kind(known, counted.index)
    texts = [text_of(value) for value in counted.index[:MOST_VALUES]]
    few = n_values <= MOST_VALUES and all(len(text) <= MOST_VALUE_CHARS for text in texts)
    counts = {text: int(n) for text, n in zip(texts, counted, strict=False) if n} if few else None
    words = 0.0
    if kind == "text":
        words = float(np.mean([len(str(value).split()) for value in known.iloc[:500]]))
    examples = tuple(_short(text) for text in texts[:3])
    return Column(name, kind, len(values), n_missing, n_values, examples, counts, words, values)


def _kind(known: pd.Series, distinct: pd.Index) -> str:
    if pandas_types.is_bool_dtype(known) or set(map(type, distinct[:5])) <= {bool, np.bool_}:
        return "boolean"
    if pandas_types.is_datetime64_any_dtype(known):
        return "date"
    if pandas_types.is_numeric_dtype(known) and not isinstance(known.dtype, pd.CategoricalDtype):
        return "number"
    some = [str(value).strip() for value in distinct[:100]]
    dates = [text for text in some if DATE.fullmatch(text)]
    # Four digits alone may be a year, or an id.
    return "date" if len(dates) >= 0.8 * len(some) and any(len(text) > 4 for text in dates) else "text"


def text_of(value: Any) -> str:
    """Return a value as the page shows it, and as it comes back: 1.0 as 1."""
    value = value.item() if isinstance(value, np.generic) else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= EXAMPLE_CHARS else f"{text[: EXAMPLE_CHARS - 1]}…"
