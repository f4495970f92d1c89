"""What the table shows of each slice, the card behind a row, and the order and names that the user gave them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError
from mmaudit.report import SliceCard
from mmaudit.report import _format as fmt
from mmaudit.report._html import rows_in_order
from mmaudit.result import MOST_OF_A_NAME
from mmaudit.widgets._cases import MEMBER

if TYPE_CHECKING:
    from mmaudit.result import AuditResult
    from mmaudit.widgets._base import Answer, AuditWidget, Job
    from mmaudit.widgets._cases import Cases

__all__ = [
    "SORTS",
    "audited",
    "card",
    "cards",
    "checked_edits",
    "checked_table",
    "frame",
    "order",
    "overlaps",
    "row_of",
    "rows",
]

CARDS_AT_ONCE = 24
TERMS_SHOWN = 8
TRAITS_BEFORE_TERMS = 2
LEAST_OVERLAP, MOST_OVERLAPS = 0.05, 10
# Numbers of a row, and what they are called in a result.
SAME = ("n_samples", "n_patients", "metric_inside", "metric_outside", "gap", "ci_low", "ci_high", "stability")
NUMBERS = {**{key: key for key in SAME}, "p": "p_value", "q": "q_value"}
STATUS_WORDS = {"negated": "said to be absent", "uncertain": "said with doubt"}
LONGEST_FILTER = 500
# What the table can be sorted by: the key of a row, and whether the least comes first unless turned round.
SORTS = {
    "rank": ("rank", True),
    "gap": ("gap", False),
    "size": ("n_patients", False),
    "q": ("q", True),
    "stability": ("stability", False),
}


def rows(shown: Sequence[Mapping[str, Any]], cases: Cases) -> list[dict[str, Any]]:
    """Return one dict a slice of the audit, in ranked order; `shown` is the second of `shown_of(result)`."""
    target_of = cases.target_of
    found = [row_of(row, rank=k, target_index=target_of(row["slice_id"])) for k, row in enumerate(shown)]
    return with_overlaps(found, cases)


def with_overlaps(rows: Sequence[Mapping[str, Any]], cases: Cases) -> list[dict[str, Any]]:
    """Return the rows with how much each shares with the others."""
    beside = overlaps({row["id"]: cases.strength(row["id"]) for row in rows})
    return [{**row, "overlap": beside[row["id"]]} for row in rows]


def shown_of(result: AuditResult, summary: dict[str, Any] | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the summary of a result, and its candidates in their order as `row_of` and `card_of` take them.

    Parameters
    ----------
    result : AuditResult
    summary : dict or None
        Its summary without thumbnails, for who has made it already. None: it is made, and names no sample.
    """
    summary = result.summary(thumbnails=False, identifiers=False) if summary is None else summary
    return summary, rows_in_order(summary)


def card_of(summary: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card of a slice as the page has it, one of `shown_of`."""
    return SliceCard.of_row(summary, shown).to_dict()


def row_of(
    shown: Mapping[str, Any],
    *,
    slice_id: str | None = None,
    name: str | None = None,
    rank: int = 0,
    target_index: int = 0,
    origin: str = "discovery",
    parents: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the row of one slice: numbers and words, nothing of a single case; `with_overlaps` adds what it shares.

    Parameters
    ----------
    shown : dict
        One of the second of `shown_of(result)`.
    slice_id, name : str or None
        None: as in `shown`.
    rank, target_index : int
    origin : {"discovery", "hypothesis", "merge", "split"}
    parents : sequence of str
        Ids of the slices that it was made from.
    """
    view, kind = shown["view"], fmt.error_type(shown.get("error_type"))
    description = fmt.one_line(shown.get("description"))
    traits = [
        _term(trait.get("phrase"), trait.get("kind"), "affirmed")
        for trait in view["traits"]
        if trait.get("kind") != "label_term" and fmt.one_line(trait.get("phrase")) != description
    ]
    terms = [
        _term(term.get("term"), term.get("category"), term.get("status"))
        # those that may be chance after those that are not
        for term in (*sorted(view["terms"], key=lambda term: term.get("explains") is False), *view["absent"])
        if not term["is_label"]
    ]
    n_traits = max(TRAITS_BEFORE_TERMS, TERMS_SHOWN - len(terms))
    row = {
        "id": str(shown["slice_id"] if slice_id is None else slice_id),
        "name": description if name is None else fmt.one_line(name),
        "sentence": fmt.one_line(shown.get("sentence")),
        "rule": fmt.one_line(shown.get("rule")),
        "error_type": fmt.clean(shown.get("error_type")),
        "error_name": kind.name,
        "modality": fmt.one_line(shown.get("modality")),
        "target": fmt.one_line(shown.get("target")),
        "target_index": int(target_index),
        "label": fmt.clean(shown.get("label")),
        **{key: _finite(shown.get(column)) for key, column in NUMBERS.items()},
        "unstable": fmt.unstable(shown),
        "confirmed": shown["place"] != "others",
        "repeats": shown["place"] == "repeats",
        "rank": int(rank),
        "origin": origin,
        "parents": [str(parent) for parent in parents],
        "terms": [*traits[:n_traits], *terms][:TERMS_SHOWN],
        "overlap": {},
    }
    return {**row, "words": {**_words(row), "about": fmt.one_line(shown.get("about"))}}


def _term(text: Any, category: Any, status: Any) -> dict[str, str]:
    category, status = fmt.clean(category), fmt.clean(status)
    said = [category.replace("_", " "), STATUS_WORDS.get(status, "")]
    return {
        "text": fmt.one_line(text),
        "category": category,
        "status": status,
        "said": ", ".join(word for word in said if word),
    }


def _words(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the cells of a row as they are shown, and the row as it is read aloud."""
    between = fmt.interval(row["ci_low"], row["ci_high"])
    gap = "not measured" if row["gap"] is None else fmt.signed(row["gap"])
    gap += "" if row["gap"] is None or between == fmt.DASH else f" ({between})"
    standing = "confirmed" if row["confirmed"] else "candidate"
    repeats = ", in other words" if row["repeats"] else ""
    parents = f" of {', '.join(row['parents'])}" if row["parents"] else ""
    origin = {"discovery": "", "hypothesis": "chosen by hand"}.get(row["origin"], f"{row['origin']}{parents}, by hand")
    stability = fmt.percent(row["stability"]) + (", unstable" if row["unstable"] else "")
    q = fmt.p_value(row["q"])
    patients = fmt.amount(row["n_patients"], "patient")
    said = [standing + repeats, origin, row["error_name"], f"gap {gap} points", patients, f"q {q}"]
    words = {
        "standing": f"{'≡' if repeats else '✓' if row['confirmed'] else '–'} {standing}{repeats}",
        "origin": origin,
        "kind": row["error_name"],
        "gap": gap,
        "q": q,
        "stability": stability,
        "said": ", ".join(word for word in said if word),
    }
    return {key: text.replace(fmt.NBSP, " ") for key, text in words.items()}


def overlaps(strengths: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return, of each slice, the Jaccard index with each other that shares more than a few members with it.

    Parameters
    ----------
    strengths : dict of slice_id to ndarray of shape (n,), uint8
        From 128 on a member.

    Returns
    -------
    dict of slice_id to dict of slice_id to float in (0.05, 1], rounded to 3 decimals
        The ten largest of each.

    Notes
    -----
    Cost is n · k² for k slices: one product of the membership matrix with itself.
    """
    if not strengths:
        return {}
    names = list(strengths)
    members = np.stack([np.asarray(strengths[name]) >= MEMBER for name in names]).astype(np.float32)
    both = members @ members.T
    sizes = np.diag(both)
    either = sizes[:, None] + sizes[None, :] - both
    jaccard = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    np.fill_diagonal(jaccard, 0)
    largest = np.argsort(-jaccard, axis=1, kind="stable")[:, :MOST_OVERLAPS]
    return {
        name: {names[j]: round(float(jaccard[i, j]), 3) for j in largest[i] if jaccard[i, j] > LEAST_OVERLAP}
        for i, name in enumerate(names)
    }


def cards(summary: Mapping[str, Any], shown: Sequence[Mapping[str, Any]], *, most: int | None = None) -> dict[str, Any]:
    """Return the cards of the first `most` slices by their ids, or of all; the others are `shown_of(result)`."""
    return {row["slice_id"]: card_of(summary, row) for row in shown[:most]}


def card(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with the card of a slice.

    Raises
    ------
    InputError
        No such slice.
    """
    slice_id = str(content.get("slice_id", ""))
    found = widget._cards.get(slice_id)
    if found is None:
        summary, shown = audited(widget)
        row = next((row for row in shown if row["slice_id"] == slice_id), None)
        if row is None:
            raise InputError("slice_id", "a slice of this audit", f"{slice_id[:40]!r}", "Take one of the table.")
        found = card_of(summary, row)
    return {"card": found}, []


def audited(widget: AuditWidget) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return `shown_of` the audit, made once: of 200 slices or 50,000 cases it takes a while."""
    found = widget.__dict__.get("_shown_of_audit")
    if found is None:
        found = ({}, []) if widget.result is None else shown_of(widget.result)
        widget.__dict__["_shown_of_audit"] = found
    return found


def _finite(value: Any) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    value = float(value)
    return value if math.isfinite(value) else None


# What the user did: the page may say anything, and only what is known is kept


def checked_table(given: Mapping[str, Any], kinds: Sequence[str]) -> dict[str, Any]:
    """Return how the table is sorted and filtered, with whatever is unknown as it is at first.

    Parameters
    ----------
    given : dict
        What the page says.
    kinds : sequence of str
        The types of error there are.
    """
    sort = given.get("sort")
    sort = sort if isinstance(sort, str) and sort in SORTS else "rank"
    ascending, wanted = given.get("ascending"), given.get("kinds")
    return {
        "sort": sort,
        "ascending": ascending if isinstance(ascending, bool) else SORTS[sort][1],
        "text": str(given.get("text") or "")[:LONGEST_FILTER],
        "kinds": [kind for kind in kinds if kind in wanted] if isinstance(wanted, (list, tuple)) else [],
        "confirmed": given.get("confirmed") is True,
        "hidden": given.get("hidden") is True,
    }


def checked_edits(given: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """Return what the user renamed and hid, of slices that there are."""
    names, hidden = given.get("names"), given.get("hidden")
    names = names if isinstance(names, Mapping) else {}
    hidden = hidden if isinstance(hidden, (list, tuple)) else []
    cleaned = {key: fmt.one_line(names[key])[:MOST_OF_A_NAME] for key in ids if isinstance(names.get(key), str)}
    return {
        "names": {key: name for key, name in cleaned.items() if name},
        "hidden": [key for key in ids if key in hidden],
    }


def order(rows: Sequence[Mapping[str, Any]], table: Mapping[str, Any], edits: Mapping[str, Any]) -> list[int]:
    """Return the places, in `rows`, of those that the table shows, in its order; slices.js does the same.

    Ties go by rank; a slice without the number that is sorted by comes last, whichever way.
    """
    column, _ = SORTS[table["sort"]]
    sign = 1 if table["ascending"] else -1
    words = table["text"].lower().split()

    def text(row: Mapping[str, Any]) -> str:
        own = edits["names"].get(row["id"], "")
        said = [row["id"], own, row["name"], row["sentence"], row["rule"], row["target"], row["modality"]]
        return " ".join([*said, *(term["text"] for term in row["terms"])]).lower()

    def shown(row: Mapping[str, Any]) -> bool:
        return (
            (not table["kinds"] or row["error_type"] in table["kinds"])
            and (row["confirmed"] or not table["confirmed"])
            and (table["hidden"] or row["id"] not in edits["hidden"])
            and (not words or all(word in text(row) for word in words))
        )

    def key(k: int) -> tuple[bool, float, int]:
        value = rows[k][column]
        return value is None, 0 if value is None else sign * value, rows[k]["rank"]

    return sorted((k for k, row in enumerate(rows) if shown(row)), key=key)


def frame(widget: AuditWidget) -> pd.DataFrame:
    """Return the slices that the table shows, in its order, under the names that the user gave them."""
    edits: Any = widget._edits
    verdicts: Any = widget.verdicts
    shown = [widget._rows[k] for k in order(widget._rows, widget._table, edits)]
    found = []
    for row in shown:
        said = verdicts.get(row["id"], {})
        found.append(
            {
                "slice_id": row["id"],
                "name": edits["names"].get(row["id"], row["name"]),
                "description": row["name"],
                "origin": row["origin"],
                **{key: row[key] for key in ("error_type", "modality", "n_patients", "gap", "ci_low", "ci_high")},
                "q_value": row["q"],
                "stability": row["stability"],
                "confirmed": row["confirmed"],
                "repeats": row["repeats"],
                "hidden": row["id"] in edits["hidden"],
                "verdict": said.get("verdict", ""),
                "note": said.get("note", ""),
            }
        )
    columns = ["slice_id", "name", "description", "origin", "error_type", "modality", "n_patients", "gap", "ci_low"]
    columns += ["ci_high", "q_value", "stability", "confirmed", "repeats", "hidden", "verdict", "note"]
    numbers = dict.fromkeys(("gap", "ci_low", "ci_high", "q_value", "stability"), float)
    return pd.DataFrame(found, columns=columns).astype(numbers)
