"""Rules that run elsewhere: what an audit found as one JSON file, and the same subgroups in other data.

A rule is plain data, columns and values to compare them with: nothing in a file is executed.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import math
import os
import secrets
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from mmaudit import __version__
from mmaudit._errors import AuditWarning, InputError, four_parts, nearest
from mmaudit.data import AuditData, check_image_share, warn_high_depth
from mmaudit.encoders import describe_images
from mmaudit.encoders._image import STATISTICS
from mmaudit.explain._describe import CLUSTER
from mmaudit.explain._tokens import tokens_of
from mmaudit.selection import is_number
from mmaudit.slicers import Rule
from mmaudit.slicers._predicates import IN_REPORT, LIMITS, OPERATORS
from mmaudit.text import report_terms

__all__ = [
    "apply_rules",
    "load_rules",
    "metadata_columns",
    "parse_rule",
    "rule_table",
    "rules_document",
    "rules_of",
    "save_rules",
]

KIND, VERSION = "mmaudit.rules", 1
MOST_BYTES = 20_000_000
MOST_RULES, MOST_PARTS, MOST_CHARACTERS = 10_000, 1000, 10_000
MOST_VALUES = 12  # of a column that are kept; one with more may hold names
LONGEST_TERM = 3  # words of a term that explains a slice
FIELDS = ("description", "sentence", "target", "status", "source")
EVIDENCE = ("gap", "ci_low", "ci_high", "q_value", "n_patients")
STATUSES = {"affirmed": "", "uncertain": "possible "}  # of a mention, and how a column of such mentions begins
NUMBER, TEXT, IMAGE, IN_CLUSTER, WORDS, CONCEPT = (
    "number", "text", "image statistic", "image cluster", "report words", "report concept",
)  # fmt: skip
NO_RULE = "a group of similar cases, which only the audit knows"
CLUSTERS = "it speaks of clusters of images, which only the audit knows"


def rules_document(
    slices: Iterable[Mapping[str, Any]], *, data: AuditData | None = None, label: str = ""
) -> dict[str, Any]:
    """Return slices as a document that `save_rules` writes.

    Parameters
    ----------
    slices : iterable of mapping
        Each has `slice_id` and what of these is known: `description`, `sentence`, `target`, `status`; `label`, 0 or 1
        where the slice is compared within that label; `rule`, column, operator and value of each predicate; `terms`,
        of which the report mentions any: as text, those it affirms, or as `{"term": ..., "status": "uncertain"}`;
        `confirmed`; `evidence`, numbers by name. With a rule and terms, both hold. `rules_of` makes them.
    data : AuditData or None
        The audited cases, whose values and ranges are noted for the columns that rules speak of. Of numbers the 1st
        and 99th percentile are, rounded outwards. None: only the kinds of columns are noted.
    label : str
        What label 1 means.

    Returns
    -------
    dict
        `rules`, one a slice. One that only the audit can tell, a group of similar cases, is in it with `runnable`
        False and the reason in `why`.

    Raises
    ------
    InputError
        A slice that is none.
    """
    rules = []
    for given in slices:
        rule = {"slice_id": given["slice_id"], **{name: str(given.get(name) or "") for name in FIELDS}}
        rule["label"] = {"0": 0, "1": 1}.get(str(given.get("label")))
        rule["rule"] = [dict(part) for part in given.get("rule") or ()] or None
        terms = given.get("terms") or ()
        rule["terms"] = [{"term": t, "status": "affirmed"} if isinstance(t, str) else dict(t) for t in terms] or None
        rule["confirmed"] = bool(given.get("confirmed", False))
        numbers = dict(given.get("evidence") or {})
        rule["evidence"] = {str(k): float(v) if is_number(v) else None for k, v in numbers.items()}
        rules.append(rule)
    metadata = pd.DataFrame() if data is None else data.metadata
    columns: dict[str, dict[str, Any]] = {}
    for part in [part for rule in rules for part in _parts(rule)]:
        described = _describe_column(part, metadata)
        if columns.setdefault(part["column"], described)["dtype"] is None:
            columns[part["column"]] = described
    return _checked(
        {
            "kind": KIND,
            "version": VERSION,
            "mmaudit_version": __version__,
            "lexicon": lexicon_digest(),
            "label": label,
            "columns": columns,
            "rules": rules,
        }
    )


def rules_of(
    candidates: pd.DataFrame, rules: Mapping[str, list[dict]], explanations: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the slices of an audit as `rules_document` takes them.

    A slice that was found as a rule is that rule (`source` "slice"). Another one is the best of its explanations in
    words that hold and can be said to any data (`source` "explanation"): it picks about the same samples, and its
    evidence is that of what it picks. A slice without either has neither rule nor terms.

    Parameters
    ----------
    candidates, rules, explanations
        As in `AuditResult`.
    """
    found = []
    for row in candidates.to_dict("records"):
        explanation = explanations.get(row["slice_id"], {})
        own = rules.get(row["slice_id"])
        entry = {
            **{name: row[name] for name in ("slice_id", "description", "sentence", "target", "label", "confirmed")},
            "status": explanation.get("status", ""),
            "rule": own,
            "source": "slice",
            "evidence": {name: row[name] for name in EVIDENCE},
        }
        held = [part for part in explanation.get("parts", ()) if part["holds"] and part.get("selector")]
        if held and (own is None or any(part["column"].startswith(CLUSTER) for part in own)):
            best = max(held, key=lambda part: part["confirmation"]["f1"])
            numbers = {name: best["confirmation"].get(name) for name in (*EVIDENCE, "f1")}
            selects = {"rule": None, **best["selector"]}
            entry |= {"source": "explanation", "description": best["text"], "evidence": numbers, **selects}
        found.append(entry)
    return found


def save_rules(path: str | Path, document: Mapping[str, Any]) -> Path:
    """Write a document of rules as JSON, which `load_rules` and `apply_rules` read.

    Parameters
    ----------
    path : path
        Such as "rules.json". Written to a temporary name first: if anything fails, an earlier file is as it was.
    document : mapping
        As `rules_document` gives it.

    Raises
    ------
    InputError
        If the folder does not exist, or the document is none of rules.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError("path", "a path in an existing folder", "one in none", "Make the folder first.")
    text = json.dumps(_checked(document), allow_nan=False, ensure_ascii=False, indent=1)
    partial = path.with_name(f".mmaudit-{secrets.token_hex(8)}")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_rules(path: str | Path) -> dict[str, Any]:
    """Return the document that `save_rules` wrote, checked.

    Raises
    ------
    InputError
        If the file is missing, too large, damaged, of another kind or of a later version.
    """
    path = Path(path)
    if not os.path.isfile(path):  # noqa: PTH113  a name too long is no file, where a Path raises
        raise InputError("rules", "a file of rules", "a path at which there is no file", "Check the path.")
    if path.stat().st_size > MOST_BYTES:
        raise InputError("rules", f"a file of at most {MOST_BYTES:,} bytes", "a larger one", "Save fewer rules.")
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (ValueError, OSError, RecursionError) as error:
        raise _damaged(error) from None
    return _checked(document)


def metadata_columns(document: Mapping[str, Any]) -> list[str]:
    """Return the columns of metadata that the rules of a document speak of."""
    return [name for name, about in document["columns"].items() if about["dtype"] in (NUMBER, TEXT, None)]


def apply_rules(rules: str | Path | Mapping[str, Any], data: AuditData) -> pd.DataFrame:
    """Return which samples each rule selects, in data that need not be those that were audited.

    Parameters
    ----------
    rules : path, or mapping
        A file of rules, or what `load_rules` gives.
    data : AuditData
        With the columns, images or reports that the rules speak of. Labels and predictions are not looked at.

    Returns
    -------
    DataFrame of bool, indexed by sample id
        One column a rule, named by its slice. `.attrs["rules"]` holds what the file says of each. Where that has a
        `label`, the slice is of samples with this label only; the rule selects both.

    Raises
    ------
    InputError
        A file that is none of rules; data without a column, images or reports that a rule needs, or with text where
        the audit had numbers. The message names the rule.

    Warns
    -----
    AuditWarning
        Rules that only the audit can tell are left out; a column has values that the audit had not seen; or the
        lexicon that finds concepts in reports is another one.

    Notes
    -----
    A missing value is inside no rule but one that says "is missing". A finding is associated with errors in the
    audited data; what a rule selects elsewhere may be another group of patients under the same name.
    """
    document = _checked(rules) if isinstance(rules, Mapping) else load_rules(rules)
    if not isinstance(data, AuditData):
        raise TypeError(four_parts("data", "AuditData", type(data).__name__, "Make it with AuditData.from_frame(...)."))
    runnable = [rule for rule in document["rules"] if rule["runnable"]]
    _warn_left_out(document["rules"])
    metadata = data.metadata
    needed: dict[str, str] = {}
    for rule in runnable:
        for part in _parts(rule):
            needed.setdefault(part["column"], rule["slice_id"])
    for column, slice_id in needed.items():
        _check_there(column, data, metadata, f"rule {slice_id}", document["columns"][column])
    _warn_of_other_values({c: document["columns"][c] for c in needed if c in metadata}, metadata)
    if any(document["columns"][c]["dtype"] == CONCEPT for c in needed) and document["lexicon"] != lexicon_digest():
        _warn("rules", "the lexicon that they were made with", "another one", "Some terms may be found differently.")
    table = rule_table(data, needed)
    selected = {rule["slice_id"]: _holds(rule, table) for rule in runnable}
    frame = pd.DataFrame(selected, index=data.sample_id.rename("sample_id"), columns=list(selected), dtype=bool)
    frame.attrs["rules"] = runnable
    return frame


def parse_rule(text: str, data: AuditData) -> Rule:
    """Return the rule that a text says about these data, whose columns and values it may name; see `Rule.parse`.

    Parameters
    ----------
    text : str
        Such as "view = AP and age > 60 and report mentions chest tube".
    data : AuditData

    Raises
    ------
    InputError
        A part that is no statement, or an unknown column or value.
    """
    columns = data.metadata
    if data.images is not None:
        columns = columns.assign(**{name: np.nan for name in STATISTICS if name not in columns})
    return Rule.parse(text, columns=columns)


def rule_table(data: AuditData, columns: Iterable[str]) -> pd.DataFrame:
    """Return the columns that rules speak of, made from other data as the audit made them; nothing is learned.

    Parameters
    ----------
    data : AuditData
    columns : iterable of str
        Names of metadata; image statistics, such as "image brightness"; words of reports in quotation marks,
        `"chest tube"`, as `report_terms` finds them; concepts in brackets, `[chest tube]`, which a report affirms by
        whatever name, or `[possible chest tube]`; the reason for an examination is `[indication: cough]`. Images are
        read only where a statistic is among them.

    Returns
    -------
    DataFrame of shape (n_samples, n_columns), indexed by sample id
        In the order of `columns`, each once.

    Raises
    ------
    InputError
        A column that the data do not have and that cannot be made from them.
    ImageReadError
        More than 5 % of the images unreadable.
    """
    metadata = data.metadata
    wanted = list(dict.fromkeys(columns))
    for column in wanted:
        _check_there(column, data, metadata, "the rule", None)
    made: dict[str, Any] = {column: metadata[column] for column in wanted if column in metadata}
    kinds = {column: _kind(column) for column in wanted if column not in made}
    if IMAGE in kinds.values() and data.images is not None:
        images = describe_images(data.images)
        check_image_share(images.errors)
        if images.n_high_depth:
            warn_high_depth(images.n_high_depth, len(data.images))
        made |= {c: images.statistics[c].to_numpy() for c, kind in kinds.items() if kind == IMAGE}
    words, concepts = ([c for c, kind in kinds.items() if kind == which] for which in (WORDS, CONCEPT))
    reports = () if data.reports is None else data.reports
    if words:
        found = [set(report_terms(report)) for report in reports]
        made |= {c: np.array([c[1:-1] in terms for terms in found], dtype=bool) for c in words}
    if concepts:
        longest = max(LONGEST_TERM, *(len(c.split()) for c in concepts))
        tokens = [_mentioned(report, longest) for report in reports]
        made |= {c: np.array([c[1:-1] in found for found in tokens], dtype=bool) for c in concepts}
    return pd.DataFrame({column: made[column] for column in wanted}, index=data.sample_id)


def lexicon_digest() -> str:
    """Return a digest of the lexicon by which concepts are found in reports."""
    return hashlib.sha256(importlib.resources.files("mmaudit.text").joinpath("lexicon.csv").read_bytes()).hexdigest()


def _parts(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the predicates of a rule, and one for each of its terms."""
    of_terms = [{"column": column, "operator": "mentions", "value": None} for column in _term_columns(rule)]
    return [*(rule["rule"] or ()), *of_terms]


def _term_columns(rule: Mapping[str, Any]) -> list[str]:
    return [f"[{STATUSES[term['status']]}{term['term']}]" for term in rule["terms"] or ()]


def _holds(rule: Mapping[str, Any], table: pd.DataFrame) -> np.ndarray:
    holds = np.ones(len(table), dtype=bool)
    if rule["rule"]:
        holds &= Rule.from_dict(rule["rule"]).holds(table)
    if rule["terms"]:
        holds &= table[_term_columns(rule)].to_numpy().any(axis=1)
    return holds


def _mentioned(report: str, max_words: int) -> set[str]:
    """Return the terms that a report affirms, and those it takes for possible with that word before them."""
    return {STATUSES[status] + term for term, status in tokens_of(report, max_words) if status in STATUSES}


def _kind(column: str) -> str | None:
    """Return what a column that is no metadata is made from; None if from nothing."""
    if column in STATISTICS:
        return IMAGE
    if column.startswith(CLUSTER):
        return IN_CLUSTER
    if len(column) > 2 and column[0] + column[-1] in ('""', "[]"):
        return WORDS if column[0] == '"' else CONCEPT
    return None


def _describe_column(part: Mapping[str, Any], metadata: pd.DataFrame) -> dict[str, Any]:
    """Return what a file says of a column: its kind, and what values the audit saw."""
    column = part["column"]
    if column not in metadata:
        kind = _kind(column)
        if kind is None and part["operator"] != "missing":
            values = part["value"] if isinstance(part["value"], (list, tuple)) else [part["value"]]
            kind = NUMBER if all(is_number(value) for value in values) else TEXT
        return {"dtype": kind}
    known = metadata[column].dropna()
    if pandas_types.is_numeric_dtype(known):
        low, high = known.quantile([0.01, 0.99]) if len(known) else (np.nan, np.nan)
        # Outwards, to two digits: a quantile is somebody's own value.
        return {"dtype": NUMBER, "range": [_outwards(low, -1), _outwards(high, 1)] if len(known) else None}
    values = sorted(map(str, known.unique()))
    return {"dtype": TEXT, "values": values if len(values) <= MOST_VALUES else None}


def _outwards(value: float, sign: int) -> float:
    """Return a number rounded to two digits, down (`sign` -1) or up (1)."""
    if value == 0 or not np.isfinite(value):
        return float(value)
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{sign * math.ceil(round(sign * value / step, 9)) * step:.12g}")


# What a file may hold


def _checked(document: Any) -> dict[str, Any]:
    """Return a document whose parts have the right types and sizes, `runnable` and `why` worked out anew."""
    if not isinstance(document, Mapping) or document.get("kind") != KIND:
        raise InputError("rules", "a file of rules", "one of another kind", "Give the file that save_rules wrote.")
    version = document.get("version")
    if isinstance(version, int) and version > VERSION:
        raise InputError("rules", f"version {VERSION}", f"version {version}", "Install a later mmaudit.")
    try:
        _need(version == VERSION and type(version) is int)
        _need(len(document["columns"]) <= MOST_RULES)
        columns = {_text(name): _checked_column(about) for name, about in document["columns"].items()}
        _need(isinstance(document["rules"], Sequence) and len(document["rules"]) <= MOST_RULES)
        rules = [_checked_rule(rule, columns) for rule in document["rules"]]
        _need(len({rule["slice_id"] for rule in rules}) == len(rules))
        names = ("mmaudit_version", "lexicon", "label")
        about = {name: _text(document[name]) for name in names}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise _damaged(error) from None
    return {"kind": KIND, "version": VERSION, **about, "columns": columns, "rules": rules}


def _checked_column(about: Mapping[str, Any]) -> dict[str, Any]:
    _need(about["dtype"] in (NUMBER, TEXT, IMAGE, IN_CLUSTER, WORDS, CONCEPT, None))
    checked = {"dtype": about["dtype"]}
    if about.get("values") is not None:
        checked["values"] = [_text(value) for value in _some(about["values"])]
    if about.get("range") is not None:
        low, high = about["range"]
        _need(is_number(low) and is_number(high))
        checked["range"] = [low, high]
    return checked


def _checked_rule(rule: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {
        "slice_id": _text(rule["slice_id"]),
        **{name: _text(rule.get(name, "")) for name in FIELDS},
    }
    _need(checked["slice_id"] != "" and isinstance(rule["confirmed"], bool))
    _need(rule["label"] is None or (type(rule["label"]) is int and rule["label"] in (0, 1)))
    checked |= {"label": rule["label"], "confirmed": rule["confirmed"]}
    for name, check in (("rule", _checked_part), ("terms", _checked_term)):
        given = rule.get(name)
        checked[name] = None if given is None else [check(part) for part in _some(given)]
        _need(checked[name] != [])
    evidence = rule.get("evidence") or {}
    _need(len(evidence) <= MOST_PARTS and all(value is None or is_number(value) for value in evidence.values()))
    checked["evidence"] = {_text(name): value for name, value in evidence.items()}
    used = [(part["operator"], columns[part["column"]]["dtype"]) for part in _parts(checked)]
    _need(all(kind in (NUMBER, IMAGE) for operator, kind in used if operator in LIMITS))
    _need(all((operator in IN_REPORT) == (kind in (WORDS, CONCEPT)) for operator, kind in used))
    why = NO_RULE if not used else CLUSTERS if any(kind == IN_CLUSTER for _, kind in used) else ""
    return checked | {"runnable": not why, "why": why}


def _checked_part(part: Mapping[str, Any]) -> dict[str, Any]:
    operator, value = part["operator"], part["value"]
    _need(operator in OPERATORS)
    if operator == "in":
        value = [_checked_value(one) for one in _some(value)]
    elif operator in LIMITS:
        _need(is_number(value))
    elif operator in (*IN_REPORT, "missing"):
        _need(value is None)
    else:
        value = _checked_value(value)
    return {"column": _text(part["column"]), "operator": operator, "value": value}


def _checked_term(term: Mapping[str, Any]) -> dict[str, str]:
    _need(term["status"] in STATUSES and _text(term["term"]) != "")
    return {"term": term["term"], "status": term["status"]}


def _checked_value(value: Any) -> Any:
    if is_number(value) or isinstance(value, bool):
        _need(not isinstance(value, int) or abs(value) < 2**63)  # beyond, texts cannot be asked for it
        return value
    return _text(value)


def _text(value: Any) -> str:
    _need(isinstance(value, str) and len(value) <= MOST_CHARACTERS)
    value.encode()  # half of a surrogate pair raises a ValueError
    return value


def _some(values: Any) -> Sequence[Any]:
    _need(isinstance(values, (list, tuple)) and len(values) <= MOST_PARTS)
    return values


def _need(holds: bool) -> None:
    if not holds:
        raise ValueError


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and infinity are no JSON


def _damaged(error: Exception) -> InputError:
    return InputError("rules", "a whole file of rules", f"a damaged one ({type(error).__name__})", "Save them again.")


# What the data must have


def _check_there(
    column: str, data: AuditData, metadata: pd.DataFrame, speaker: str, about: Mapping[str, Any] | None
) -> None:
    """Raise unless the data have the column, or what it is made from; `about` is what a file says of it."""
    kind = None if about is None else about["dtype"]
    if column in metadata:
        is_text = not pandas_types.is_numeric_dtype(metadata[column])
        if kind in (NUMBER, TEXT) and metadata[column].notna().any() and is_text != (kind == TEXT):
            raise InputError(
                "metadata",
                f"{'text' if kind == TEXT else 'numbers'} in the column {column!r}, of which {speaker} speaks",
                "text" if is_text else "numbers",
                "Convert the column, for example with df[column].astype(str)."
                if kind == TEXT
                else "Convert the column, for example with pandas.to_numeric(df[column]).",
            )
        return
    made = _kind(column) if kind in (None, IMAGE, WORDS, CONCEPT) else None
    if made in (WORDS, CONCEPT):
        if data.reports is None:
            raise InputError(
                "report", f"reports, of which {speaker} speaks ({column})", "none", "Name the column of reports."
            )
    elif made == IMAGE:
        if data.images is None:
            raise InputError(
                "image", f"images, of which {speaker} speaks ({column})", "none", "Name the column of image paths."
            )
    else:
        raise InputError(
            "metadata",
            f"the column {column!r}, of which {speaker} speaks",
            "data without it",
            f"Add it to the metadata.{nearest(column, metadata.columns)}",
        )


def _warn_left_out(rules: Sequence[Mapping[str, Any]]) -> None:
    left_out = [f"{rule['slice_id']} ({rule['why']})" for rule in rules if not rule["runnable"]]
    if left_out:
        _warn(
            "rules", "rules that run on any data", f"{len(left_out)} that do not", f"Left out: {'; '.join(left_out)}."
        )


def _warn_of_other_values(columns: Mapping[str, Mapping[str, Any]], metadata: pd.DataFrame) -> None:
    """Warn once of columns whose values the audit had not seen, or that may be in another unit."""
    other = []
    for column, about in columns.items():
        known = metadata[column].dropna()
        if about.get("values") is not None:
            n_new = int((~known.isin(about["values"])).sum())
            if n_new:
                other.append(f"{n_new:,} other values in {column!r}")
        elif about.get("range") is not None and len(known):
            low, high = about["range"]
            if not low <= known.median() <= high:
                other.append(f"a median of {known.median():g} in {column!r}, where most were {low:g} to {high:g}")
    if other:
        _warn("metadata", "values that the audit had seen", "; ".join(other), "Check that they mean the same.")


def _warn(argument: str, expected: str, got: str, action: str) -> None:
    warnings.warn(four_parts(argument, expected, got, action), AuditWarning, stacklevel=4)
