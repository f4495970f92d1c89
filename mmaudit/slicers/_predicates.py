"""Predicates on columns, such as "view = AP" or "age > 60", and rules, which join them by "and"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from mmaudit._errors import InputError, four_parts, nearest
from mmaudit.slicers._masks import PackedMasks
from mmaudit.text import canonical

__all__ = ["Predicate", "Rule", "make_predicates"]

_PHRASES = {
    "==": "{column} = {value}",
    "!=": "{column} is not {value}",
    "in": "{column} in {value}",
    "<=": "{column} ≤ {value}",
    "<": "{column} < {value}",
    ">=": "{column} ≥ {value}",
    ">": "{column} > {value}",
    "missing": "{column} is missing",
    "mentions": "report mentions {column}",
    "lacks": "report does not mention {column}",
}
MOST_SHOWN = 12  # names or values in a message
OPERATORS = tuple(_PHRASES)
NEGATIVE = ("!=", "lacks")
IN_REPORT = ("mentions", "lacks")
LIMITS: dict[str, Callable] = {"<=": np.less_equal, "<": np.less, ">=": np.greater_equal, ">": np.greater}
TURNED = {"<=": ">=", "<": ">", ">=": "<=", ">": "<"}  # "40 < age" is "age > 40"


@dataclass(frozen=True)
class Predicate:
    """A statement about one column that is true or false of each sample.

    Attributes
    ----------
    column : str
        Name of the column. Of what a report mentions, a boolean one: `"chest tube"`, in quotation marks, are these
        very words as `mmaudit.text.report_terms` finds them; `[chest tube]`, in brackets, is the concept, whatever it
        is called, as `mmaudit.text.mentions` finds it affirmed.
    operator : {"==", "!=", "in", "<=", "<", ">=", ">", "missing", "mentions", "lacks"}
        The last two are for boolean columns of report terms.
    value : str, float, tuple of them, or None
        What the column is compared with; a tuple for "in".
    """

    column: str
    operator: str
    value: Any = None

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Return the mask of shape (n_samples,) of the rows it is true of; a missing value is never ≤, > or =."""
        return self._holds_in(table[self.column])

    def _holds_in(self, column: pd.Series) -> np.ndarray:
        if self.operator in IN_REPORT:
            mentioned = column.to_numpy(dtype=bool)
            return mentioned if self.operator == "mentions" else ~mentioned
        if self.operator == "missing":
            return column.isna().to_numpy()
        if self.operator == "in":
            return column.isin(self.value).to_numpy(dtype=bool)
        if self.operator in ("==", "!="):
            equal = (column == self.value).fillna(False).to_numpy(dtype=bool)
            return equal if self.operator == "==" else ~equal & column.notna().to_numpy()
        with np.errstate(invalid="ignore"):
            return LIMITS[self.operator](column.to_numpy(dtype=float), self.value)

    @property
    def column_text(self) -> str:
        """The column as it is printed: in backticks where its name could be read as something else."""
        if self.operator in IN_REPORT and _WORDS.fullmatch(self.column):
            return self.column
        concept = _CONCEPT.fullmatch(self.column) if self.operator in IN_REPORT else None
        if concept:
            return self.column if _NAME_NEEDS_QUOTES.search(concept[1]) else concept[1]
        return _quoted(self.column, "`") if _NAME_NEEDS_QUOTES.search(self.column) else self.column

    @property
    def value_text(self) -> str:
        """The value as it is printed."""
        if isinstance(self.value, tuple):
            return ", ".join(_value_text(value, also=",") for value in self.value)
        return _value_text(self.value)

    def __str__(self) -> str:
        return _PHRASES[self.operator].format(column=self.column_text, value=self.value_text)


@dataclass(frozen=True)
class Rule:
    """Predicates that must all hold.

    Attributes
    ----------
    predicates : tuple of Predicate
    """

    predicates: tuple[Predicate, ...]

    @classmethod
    def parse(
        cls, text: str, *, columns: pd.DataFrame | Iterable[str] | None = None, terms: Iterable[str] | None = None
    ) -> Rule:
        """Return the rule that a text says, as a rule is printed or as a person types it.

        Statements are joined by "and": "view = AP", "sex is not M", "site in A, B", "age > 60", "40 < age <= 60",
        "age is missing", "report mentions chest tube", "report does not mention chest tube".

        Parameters
        ----------
        text : str
            A name or a value that holds an operator or "and" stands in quotes: names in backticks, values in quotation
            marks, a quote inside doubled. A term in quotation marks is these very words; without, it is the concept,
            so that "chest drain" is a chest tube.
        columns : DataFrame, iterable of str, or None
            Columns that a rule may speak of. Of a table the values are looked up too: "site = 7" is text where the
            sites are. None: any; a value that reads as a number is one.
        terms : iterable of str, or None
            Terms that a rule may speak of. None: those of `columns`, or any if it has none.

        Returns
        -------
        Rule
            Names and values are those of `columns`, in upper or lower case whatever was typed.

        Raises
        ------
        InputError
            A part that is no statement, or an unknown column, value or term; the message names it.
        TypeError
            `text` is no text.

        Examples
        --------
        >>> rule = Rule.parse('40 < age <= 60 and VIEW is AP and report mentions "tube"', columns=["view", "age"])
        >>> str(rule)
        '40 < age ≤ 60 and view = AP and report mentions "tube"'
        >>> rule.predicates[0]
        Predicate(column='age', operator='>', value=40.0)
        """
        if not isinstance(text, str):
            raise TypeError(four_parts("rule", "a text", type(text).__name__, 'Write it as "view = AP and age > 60".'))
        reader = _Reader(columns, terms)
        return cls(tuple(predicate for part in _split(_AND, text)[0] for predicate in reader.read(part)))

    def holds(self, table: pd.DataFrame) -> np.ndarray:
        """Return the mask of shape (n_samples,) of the rows that all predicates are true of."""
        return np.logical_and.reduce([p.holds(table) for p in self.predicates])

    def to_dict(self) -> list[dict]:
        """Return the rule as JSON-able parts."""
        return [
            {
                "column": p.column,
                "operator": p.operator,
                "value": list(p.value) if isinstance(p.value, tuple) else p.value,
            }
            for p in self.predicates
        ]

    @classmethod
    def from_dict(cls, parts: list[Mapping]) -> Rule:
        """Return the rule made of such parts."""
        values = [tuple(p["value"]) if isinstance(p["value"], list) else p["value"] for p in parts]
        return cls(
            tuple(Predicate(str(p["column"]), str(p["operator"]), v) for p, v in zip(parts, values, strict=True))
        )

    def __str__(self) -> str:
        """Return the predicates joined by "and"; a lower and an upper limit of one column read as "40 < age ≤ 60"."""
        phrases: dict[str, None] = {}
        for p in self.predicates:
            limits = [q for q in self.predicates if q.column == p.column and q.operator in LIMITS]
            lower, upper = ([q for q in limits if q.operator[0] == sign] for sign in "><")
            if p in limits and len(lower) == len(upper) == 1:
                low = _PHRASES[TURNED[lower[0].operator]].format(column=lower[0].value_text, value="")
                phrases[f"{low}{upper[0]}"] = None  # once for both
            else:
                phrases[str(p)] = None
        return " and ".join(phrases)


def make_predicates(table: pd.DataFrame, *, n_bins: int, min_samples: int) -> tuple[list[Predicate], PackedMasks]:
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
    holds : PackedMasks of n_predicates and n_samples
    """
    found: list[tuple[Predicate, bytes]] = []
    for name, column in table.items():  # each is taken out once, which for a small table costs more than a comparison
        for predicate in _of_column(str(name), column, n_bins, min_samples):
            holds = predicate._holds_in(column)
            if min_samples <= np.count_nonzero(holds) <= len(table) - min_samples:
                found.append((predicate, np.packbits(holds).tobytes()))
    packed: dict[bytes, Predicate] = {}
    for predicate, bits_of in sorted(found, key=lambda f: f[0].operator in NEGATIVE):  # columns keep their order
        packed.setdefault(bits_of, predicate)
    bits = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), -(-len(table) // 8))
    return list(packed.values()), PackedMasks(bits, len(table))


def _of_column(name: str, column: pd.Series, n_bins: int, min_samples: int) -> list[Predicate]:
    categories = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else None
    if categories is None and pandas_types.is_bool_dtype(column.dtype):
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


# What is printed, and how it is read again


_QUOTED = re.compile(  # where an operand may begin and end, so that a 6" film is no quote
    r"""(?<![^\s=<>≤≥≠,])(?:"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\[\]]*\])(?![^\s=<>≤≥≠,])"""
)
_WORDS = re.compile(r'"([^"]*)"')
_CONCEPT = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
_COMMA = re.compile(",")
_SYMBOL = re.compile(r"<=|>=|==|!=|[=<>≤≥≠]")
_SYMBOLS = {"=": "==", "≠": "!=", "≤": "<=", "≥": ">="}
_WORD = re.compile(r"\s+(?:is\s+not|is|in)\s+", re.IGNORECASE)
_WORD_OPERATORS = {"is": "==", "is not": "!=", "in": "in"}
_REPORT = re.compile(r"(?:the\s+)?report\s+(mentions|does\s+not\s+mention)(?:\s+|$)", re.IGNORECASE)
_NEEDS_QUOTES = r'^$|^\s|\s$|[=<>≤≥≠"`]|(?:^|\s)and(?:\s|$)'
_VALUE_NEEDS_QUOTES = re.compile(rf"{_NEEDS_QUOTES}|^missing$", re.IGNORECASE)
_NAME_NEEDS_QUOTES = re.compile(rf"{_NEEDS_QUOTES}|\s(?:is|in)(?:\s|$)|^{_REPORT.pattern}", re.IGNORECASE)


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, 2 * mark) + mark


def _unquoted(text: str, mark: str) -> str | None:
    """Return what stands in quotes; None if the text does not."""
    whole = len(text) > 1 and text[0] == text[-1] == mark and _QUOTED.fullmatch(text)
    return text[1:-1].replace(2 * mark, mark) if whole else None


def _value_text(value: Any, *, also: str = "") -> str:
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(float(value)).removesuffix(".0")
    text = str(value)
    quotes = isinstance(value, str) and (_VALUE_NEEDS_QUOTES.search(text) or any(mark in text for mark in also))
    return _quoted(text, '"') if quotes else text


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _split(pattern: re.Pattern, text: str, most: int | None = None) -> tuple[list[str], list[str]]:
    """Return the parts of a text around a pattern, which is not looked for in quotes, and what was found between."""
    hidden = _QUOTED.sub(lambda quoted: "\0" * len(quoted.group()), text)
    found = list(pattern.finditer(hidden))[:most]
    starts, ends = [0, *(m.end() for m in found)], [*(m.start() for m in found), len(text)]
    return [text[a:b].strip() for a, b in zip(starts, ends, strict=True)], [m.group().strip() for m in found]


class _Reader:
    """Reads statements, given the columns and terms that they may speak of."""

    def __init__(self, columns: pd.DataFrame | Iterable[str] | None, terms: Iterable[str] | None) -> None:
        self.table = columns if isinstance(columns, pd.DataFrame) else None
        self.columns = None if columns is None else [str(column) for column in columns]
        of_columns = [c for c in self.columns or () if _WORDS.fullmatch(c) or _CONCEPT.fullmatch(c)]
        # Without brackets or quotes, terms are words.
        given = None if terms is None else [t if _CONCEPT.fullmatch(t) else f'"{t.strip(chr(34))}"' for t in terms]
        self.terms = of_columns or None if given is None else given

    def read(self, text: str) -> list[Predicate]:
        """Return the predicates that one statement makes: two of a range, else one."""
        report = _REPORT.match(text)
        if report:
            operator = "mentions" if report[1].lower() == "mentions" else "lacks"
            return [Predicate(self._term(text[report.end() :].strip()), operator)]
        sides, symbols = _split(_SYMBOL, text)
        operators = [_SYMBOLS.get(symbol, symbol) for symbol in symbols]
        if len(operators) == 2 and {operator[0] for operator in operators} in ({"<"}, {">"}):
            low, name, high = sides
            return [
                self._compared(name, TURNED[operators[0]], low, text),
                self._compared(name, operators[1], high, text),
            ]
        if len(operators) == 1:
            name, value = sides
            operator = operators[0]
            if operator in LIMITS and _number(name) is not None and _number(value) is None:
                name, value, operator = value, name, TURNED[operator]
            return [self._compared(name, operator, value, text)]
        sides, words = _split(_WORD, text, 1)
        if operators or not words:
            raise _not_understood(text)
        operator = _WORD_OPERATORS[" ".join(words[0].lower().split())]
        name, value = sides
        if value.lower() == "missing" and operator == "==":
            return [Predicate(self._column(name, text), "missing")]
        if value.lower() == "missing" and operator == "!=":
            raise InputError(
                "rule",
                'a value after "is not"',
                f"{text!r}",
                "Say which values it has: column in A, B; or give a mask.",
            )
        return [self._compared(name, operator, value, text)]

    def _compared(self, name: str, operator: str, value: str, text: str) -> Predicate:
        column = self._column(name, text)
        if operator in LIMITS:
            is_text = self.table is not None and not _holds_numbers(self.table[column])
            number = _number(value)
            if number is None or is_text:
                got = f"{column!r}, which holds none" if is_text else f"{value!r}"
                raise InputError("rule", f"a number in {text!r}", got, 'Compare with a value: "column = value".')
            return Predicate(column, operator, number)
        if operator == "in":
            return Predicate(column, operator, tuple(self._value(column, v, text) for v in _split(_COMMA, value)[0]))
        return Predicate(column, operator, self._value(column, value, text))

    def _column(self, name: str, text: str) -> str:
        """Return the name of the column that is meant: the same, or the same but for upper and lower case."""
        plain = _unquoted(name, "`")
        plain = name if plain is None else plain
        if not name:
            raise _not_understood(text)
        if self.columns is None or plain in self.columns:
            return plain
        alike = [c for c in self.columns if c.casefold() in (plain.casefold(), str(_unquoted(name, '"')).casefold())]
        if len(alike) == 1:
            return alike[0]
        known = [c for c in self.columns if not _WORDS.fullmatch(c) and not _CONCEPT.fullmatch(c)]
        if alike:
            raise InputError(
                "rule", f"one column in {text!r}", f"{plain!r}, which may be {_listed(alike)}", "Say which."
            )
        raise InputError(
            "rule",
            f"a column of the data in {text!r}",
            f"{plain!r}",
            f"There are: {_listed(known)}.{nearest(plain, known)}",
        )

    def _value(self, column: str, value: str, text: str) -> Any:
        """Return the value that is meant, of the type that the column has."""
        quoted = _unquoted(value, '"')
        plain = value if quoted is None else quoted
        if not value:
            raise InputError("rule", f"a value in {text!r}", "none", "Name one.")
        if self.table is None:
            number = _number(value)
            return plain if number is None else number
        if _holds_numbers(self.table[column]):
            number = _number(plain)
            if number is None:
                raise InputError("rule", f"a number in {text!r}", f"{plain!r}", f"{column!r} holds numbers.")
            return number
        known = {_plain_text(v): v for v in self.table[column].dropna().unique()}
        alike = [v for v in known if v.casefold() == plain.casefold()]
        if plain not in known and len(alike) != 1:
            few = len(known) <= MOST_SHOWN  # a column with more may hold names
            shown = f"It has: {_listed(known)}.{nearest(plain, known)}" if few else f"It has {len(known):,} values."
            raise InputError(
                "rule",
                f"a value of {column!r} in {text!r}",
                f"{plain!r}, which never occurs",
                shown,
            )
        found = known[plain if plain in known else alike[0]]
        return found.item() if isinstance(found, np.generic) else found

    def _term(self, given: str) -> str:
        """Return the column of a term: `"very words"`, `[a concept]`, or a boolean column of the table."""
        folded = canonical(given)
        if not folded:
            got = repr(given) if given else "none"
            raise InputError("rule", "a term that the report mentions", got, 'Write "report mentions chest tube".')
        name, words, concept = _unquoted(given, "`"), _unquoted(given, '"'), _CONCEPT.fullmatch(given)
        if name is not None:
            return self._column(given, given)
        if words is not None:
            possible = [f'"{words}"', f'"{words.lower()}"']
        elif concept:
            possible = [given]
        else:
            possible = [f"[{folded}]", f'"{given.lower()}"', f'"{folded}"']
            if self.table is not None and given in self.table and pandas_types.is_bool_dtype(self.table[given]):
                return given
        if self.terms is None:
            return possible[0]
        for term in possible:
            if term in self.terms:
                return term
        known = [term[1:-1] for term in self.terms]
        raise InputError(
            "rule",
            "a term that enough reports mention",
            f"{given!r}",
            f"There are {len(known):,}, such as {_listed(known)}.{nearest(given, known)}",
        )


def _not_understood(text: str) -> InputError:
    return InputError(
        "rule",
        'statements such as "view = AP", "age > 60" or "report mentions chest tube", joined by "and"',
        repr(text) if text else "nothing",
        "A name that holds an operator or the word and stands in `backticks`, such a value in quotation marks.",
    )


def _holds_numbers(column: pd.Series) -> bool:
    return pandas_types.is_numeric_dtype(column) and not pandas_types.is_bool_dtype(column)


def _plain_text(value: Any) -> str:
    return value if isinstance(value, str) else _value_text(value)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MOST_SHOWN]) + (" ..." if len(names) > MOST_SHOWN else "") or "none"
