"""Numbers and words as every rendering shows them; a number that is not there is an en dash."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

DASH = "–"
NBSP = "\u00a0"
STABLE_FROM = 0.5

NOT_CLINICAL = "Not for clinical use."
LIMITS = (
    "A finding is associated with more errors on this data set. It does not say what causes them, and it need not "
    "hold at another site, on another scanner or in another period.",
    "A slice is described by what its members have more often than others. That is an association, and the phrase may "
    "stand for something that was not recorded.",
    "Subgroups that the images, reports and metadata say nothing about, or that are smaller than the sizes under "
    "“What could have been detected”, may fail unseen.",
    "Labels are taken as given. Where labels are wrong, a gap may be theirs and not the classifier's.",
    "No finding does not mean that the classifier is fit for use.",
)
SLICE_LIMITS = (LIMITS[0], LIMITS[1], LIMITS[3])  # those that one slice can be misread by

# Control and bidirectional-override characters could rewrite a terminal line or turn text around; surrogates cannot
# be written to a UTF-8 file. Tab and newline stay: each rendering treats them as it needs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class ErrorType(NamedTuple):
    """How one type of error is named and drawn: never by colour alone."""

    key: str
    name: str
    long_name: str
    metric: str
    shape: str
    marker: str
    colour: str


# Okabe-Ito colours, also set as variables in templates/report.css.
ERROR_TYPES = {
    "false_negative": ErrorType(
        "fn", "missed", "missed cases (false negatives)", "positives missed", "circle", "o", "#D55E00"
    ),
    "false_positive": ErrorType(
        "fp", "false alarms", "false alarms (false positives)", "negatives flagged", "square", "s", "#0072B2"
    ),
    "mixed": ErrorType("mixed", "both kinds", "errors of both kinds", "errors", "triangle", "^", "#000000"),
    "label_noise": ErrorType("noise", "label doubt", "doubtful labels", "errors", "diamond", "D", "#CC79A7"),
}


def error_type(name: Any) -> ErrorType:
    """Return how this error type is named and drawn; one that is not known is drawn as the mixed one."""
    if name in ERROR_TYPES:
        return ERROR_TYPES[name]
    words = clean(name).replace("_", " ") or "errors"
    return ERROR_TYPES["mixed"]._replace(name=words, long_name=words)


class Measure(NamedTuple):
    """What was compared inside and outside a slice, and how it is shown."""

    name: str
    greater_is_better: bool
    is_share: bool


def measure(summary: Mapping[str, Any]) -> Measure:
    """Return what the audit compared; the error rate unless its settings name another metric."""
    from mmaudit.explain import SHARES, metric_words  # loads scikit-learn, which reading a saved audit does not need

    settings = summary.get("settings") or {}
    name = clean(settings.get("metric") or "error_rate")
    return Measure(metric_words(name), bool(settings.get("greater_is_better")), name in SHARES)


def measured(value: Any, of: Measure) -> str:
    """Return a value of a metric: a share as a percentage, others with two decimals."""
    return percent(value) if of.is_share else probability(value)


def about(summary: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """Return the label or class that a slice is about, where the audit was of several; else ""."""
    return clean(row.get("target")) if len((summary.get("data") or {}).get("targets") or []) > 1 else ""


def detectable_of_several(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[tuple[str, list[Any]]]]:
    """Return slice sizes, as shares, and a row of detectable gaps by size for each label or class, with and without it.

    A cell is a row of `AuditResult.detectable`, or None where that size was too small to be confirmed.
    """
    shares = sorted({row["share"] for row in rows})
    groups: dict[str, dict[float, Any]] = {}
    for row in rows:
        who = f"{clean(row['target'])}, {'with it' if row['label'] == 1 else 'without it'}"
        groups.setdefault(who, {})[row["share"]] = row
    return shares, [(who, [by_share.get(share) for share in shares]) for who, by_share in groups.items()]


def clean(text: Any) -> str:
    """Return `text` as a string without control, direction-override and surrogate characters."""
    return "" if text is None else _UNPRINTABLE.sub("\ufffd", str(text))


def one_line(text: Any) -> str:
    """Return `text` cleaned and with every run of white space as one space."""
    return " ".join(clean(text).split())


def number(value: Any) -> float | None:
    """Return `value` as a finite float, or None for all that is not one."""
    if value is None or isinstance(value, (str, bytes, Mapping, Sequence)):
        return None
    try:
        value = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def count(value: Any) -> str:
    """Return a count with thousands separated.

    >>> count(12345), count(None)
    ('12,345', '–')
    """
    found = number(value)
    return DASH if found is None else f"{found:,.0f}"


def amount(value: Any, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun.

    >>> amount(1, "patient").replace(NBSP, " "), amount(2, "patient").replace(NBSP, " ")
    ('1 patient', '2 patients')
    """
    return f"{count(value)}{NBSP}{noun if number(value) == 1 else plural or noun + 's'}"


def percent(value: Any) -> str:
    """Return a proportion as a percentage.

    >>> percent(0.6).replace(NBSP, " "), percent(0.004).replace(NBSP, " "), percent(float("nan"))
    ('60 %', '0.4 %', '–')
    """
    found = number(value)
    if found is None:
        return DASH
    digits = 1 if 0 < abs(found) < 0.01 else 0
    return f"{100 * found:.{digits}f}{NBSP}%"


def signed(value: Any) -> str:
    """Return a difference of proportions in points, with its sign and without the unit.

    >>> signed(0.48), signed(-0.051), signed(0.0)
    ('+48', '−5', '0')
    """
    found = number(value)
    if found is None:
        return DASH
    rounded = round(100 * found)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded)}"


def points(value: Any) -> str:
    """Return a difference of proportions in points, with sign and unit.

    >>> points(0.48).replace(NBSP, " "), points(-0.01).replace(NBSP, " "), points(None)
    ('+48 points', '−1 point', '–')
    """
    text = signed(value)
    return text if text == DASH else f"{text}{NBSP}{'point' if text[1:] == '1' else 'points'}"


def size_points(value: Any) -> str:
    """Return the size of a difference in points, without a sign.

    >>> size_points(0.34).replace(NBSP, " ")
    '34 points'
    """
    return points(value).lstrip("+−")


def interval(low: Any, high: Any) -> str:
    """Return an interval of a difference, in points.

    >>> interval(0.3, 0.63), interval(None, 0.63)
    ('+30 to +63', '–')
    """
    if number(low) is None or number(high) is None:
        return DASH
    return f"{signed(low)} to {signed(high)}"


def share_interval(low: Any, high: Any) -> str:
    """Return an interval of a score in [0, 1].

    >>> share_interval(0.7, 0.92), share_interval(None, 0.92)
    ('0.70 to 0.92', '–')
    """
    if number(low) is None or number(high) is None:
        return DASH
    return f"{probability(low)} to {probability(high)}"


def p_value(value: Any) -> str:
    """Return a p- or q-value with two figures at most.

    >>> p_value(0.0312), p_value(0.00002), p_value(0.5)
    ('0.031', '< 0.0001', '0.50')
    """
    found = number(value)
    if found is None:
        return DASH
    if found < 0.0001:
        return "< 0.0001"
    return f"{found:.2f}" if found >= 0.1 else f"{found:.2g}"


def probability(value: Any) -> str:
    """Return a predicted probability, or one for each class.

    >>> probability(0.2), probability([0.1, 0.9]), probability(None)
    ('0.20', '0.10 / 0.90', '–')
    """
    if isinstance(value, (list, tuple)):
        return " / ".join(probability(v) for v in value) or DASH
    found = number(value)
    return DASH if found is None else f"{found:.2f}"


def plain(value: Any) -> str:
    """Return any value of the settings or the data card as text.

    >>> plain(True), plain(["image", "report"]), plain(0.05), plain(None)
    ('yes', 'image, report', '0.05', '–')
    """
    if value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{clean(k)}: {plain(v)}" for k, v in value.items()) or DASH
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(v) for v in value) or DASH
    return f"{value:g}" if isinstance(value, float) else clean(value)


def absent(row: Mapping[str, Any]) -> bool:
    """Return whether a slice has no gap among the confirmation patients, because none of them is in it."""
    return number(row.get("gap")) is None


def explained_or_not(row: Mapping[str, Any]) -> str:
    """Return "explained", "not explained", or "" where no explanation was looked for or the slice is not confirmed."""
    told = row.get("explanation")
    status = told.get("status") if isinstance(told, Mapping) else None
    return status if status in ("explained", "not explained") else ""


def verdict(row: Mapping[str, Any], confirmed: bool) -> str:
    """Return what was concluded about a slice: whether it is confirmed, and explained where that was tried.

    >>> verdict({}, True), verdict({"explanation": {"status": "not explained"}}, True), verdict({}, False)
    ('Confirmed', 'Confirmed, not explained', 'Not confirmed')
    """
    if not confirmed:
        return "Not confirmed"
    words = {"explained": "Confirmed and explained", "not explained": "Confirmed, not explained"}
    return words.get(explained_or_not(row), "Confirmed")


def addition(row: Mapping[str, Any], confirmed: bool) -> str:
    """Return what is to be said after the sentence of a slice: its explanation, or that none holds, or nothing."""
    said = verdict(row, confirmed)
    if said == "Confirmed, not explained":
        return f"{said}."
    if said != "Confirmed and explained":
        return ""
    text = one_line(row["explanation"].get("sentence"))
    return "" if text in one_line(row.get("sentence")) else text


def unstable(row: Mapping[str, Any]) -> bool:
    """Return whether the slice came back in fewer than half of the resampled refits."""
    found = number(row.get("stability"))
    return found is not None and found < STABLE_FROM


def not_confirmed_because(row: Mapping[str, Any], alpha: Any, of: Measure | None = None) -> str:
    """Return, for a candidate that is no finding, what its confirmation numbers say; `of` None: of the error rate."""
    gap, q, level = number(row.get("gap")), number(row.get("q_value")), number(alpha)
    if gap is None:
        return "not enough confirmation patients to measure it"
    if of is not None and of.name != "error rate":
        if gap >= 0 if of.greater_is_better else gap <= 0:
            return f"no worse {of.name} than outside it among the confirmation patients"
    elif gap <= 0:
        return "no more errors than outside it among the confirmation patients"
    if q is not None and level is not None and q > level:
        return f"q = {p_value(q)}, above {level:g}"
    return "did not meet the rule for a finding"
