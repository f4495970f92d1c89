"""What is shown of a slice's explanation: one dict for every rendering, with label terms masked unless asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmaudit.explain._explanation import sampled_in_words
from mmaudit.report import _format as fmt

TERMS_SHOWN = 8
ABSENT_SHOWN = 4
PAIRS_SHOWN = 4

KINDS = {"rule": "rule", "metadata": "metadata", "terms": "report terms", "image": "image"}
CATEGORIES = {"label-term": "label term: restates the label, not an explanation"}
# In the order of the bar; each has a pattern of its own in templates/slice.css.
TRIAGE = {
    "model_error": "errors of the classifier",
    "label_error": "wrong labels",
    "ambiguous": "cannot be told",
}


def explained(summary: Mapping[str, Any], row: Mapping[str, Any], *, show_label_terms: bool = False) -> dict[str, Any]:
    """Return what is shown of a slice beside its numbers.

    Parameters
    ----------
    summary : dict
        What `AuditResult.summary()` returns.
    row : dict
        One of its slices. One without "explanation", or with a damaged one, gives what its traits say.
    show_label_terms : bool
        Whether terms that restate the label are among the terms and traits, marked; else they are only counted.

    Returns
    -------
    dict
        sentence, leakage (str), parts, terms, absent, traits (list of dict; terms that reports say are absent lie
        apart), left_out (str: how many label terms, and terms beyond the first, are not shown, and which share of the
        patients was looked at, where not all were), triage, difference
        (dict or None), pairs (list of dict: a member and, where there is one, its counterexample).
    """
    told = _mapping(row.get("explanation"))
    terms = [_term(term) for term in _mappings(told.get("terms"))]
    traits = _mappings(row.get("traits"))
    hidden = 0
    if not show_label_terms:
        hidden = sum(term["is_label"] for term in terms)
        terms = [term for term in terms if not term["is_label"]]
        if not told.get("terms"):
            hidden = sum(trait.get("kind") == "label_term" for trait in traits)
    if told.get("terms"):  # the terms say what traits of reports would say again
        traits = [trait for trait in traits if trait.get("kind") not in ("report", "label_term")]
    elif not show_label_terms:
        traits = [trait for trait in traits if trait.get("kind") != "label_term"]
    said = [term for term in terms if term.get("status") != "negated"]
    absent = [term for term in terms if term.get("status") == "negated"]
    not_shown = _left_out(max(0, len(said) - TERMS_SHOWN) + max(0, len(absent) - ABSENT_SHOWN), hidden)
    return {
        "sentence": fmt.clean(told.get("sentence")),
        "leakage": fmt.clean(told.get("leakage")),
        "parts": [_part(part) for part in _mappings(told.get("parts"))],
        "terms": said[:TERMS_SHOWN],
        "absent": absent[:ABSENT_SHOWN],
        "left_out": " ".join(filter(None, (not_shown, fmt.clean(sampled_in_words(told.get("sampled")))))),
        "traits": traits,
        "triage": _triage(_mapping(told.get("triage"))),
        "pairs": _pairs(summary, row, _mapping(told.get("members"))),
        "difference": _mapping(told.get("difference")) or None,
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    holds = part.get("holds") if isinstance(part.get("holds"), bool) else None
    return {
        "name": KINDS.get(fmt.clean(part.get("kind")), fmt.clean(part.get("kind")) or "explanation"),
        "text": fmt.one_line(part.get("text")),
        "holds": holds,
        "standing": _standing(holds, part.get("because")),
        "discovery": _mapping(part.get("discovery")),
        "confirmation": _mapping(part.get("confirmation")),
        "numbers": _numbers(_mapping(part.get("confirmation"))),
    }


def _numbers(c: Mapping[str, Any]) -> str:
    """Return how well an explanation picks the slice among confirmation patients, and the gap in what it picks."""

    def with_interval(value: str, interval: str) -> str:
        return value if interval == fmt.DASH else f"{value} ({interval})"

    f1 = with_interval(fmt.probability(c.get("f1")), fmt.share_interval(c.get("f1_low"), c.get("f1_high")))
    gap = with_interval(fmt.points(c.get("gap")), fmt.interval(c.get("ci_low"), c.get("ci_high")))
    return (
        f"precision {fmt.percent(c.get('precision'))}, recall {fmt.percent(c.get('recall'))}, F1 {f1}; gap in what it "
        f"picks {gap}, q {fmt.p_value(c.get('q_value'))}, {fmt.amount(c.get('n_patients'), 'confirmation patient')}"
    )


def _standing(holds: bool | None, because: Any) -> str:
    """Return in words whether an explanation held on the patients that it was not learned on."""
    if holds is None:
        return "not tested on held-out patients"
    if holds:
        return "held on held-out patients"
    reason = fmt.one_line(because).rstrip(".")
    return "did not hold on held-out patients" + (f": {reason}" if reason else "")


def _term(term: Mapping[str, Any]) -> dict[str, Any]:
    is_label = bool(term.get("label_term")) or term.get("category") == "label-term"
    category = "label-term" if is_label else fmt.clean(term.get("category"))
    tags = [CATEGORIES.get(category, category)] if category else []
    if term.get("status") == "uncertain":
        tags.append("said with doubt")
    # Of a negated term its heading says that it explains nothing, of a label term its tag.
    if term.get("explains") is False and not is_label and term.get("status") != "negated":
        tags.append("may be chance")
    sections = [fmt.one_line(name) for name in _list(term.get("sections"))]
    return {**term, "is_label": is_label, "tags": tags, "sections": [name for name in sections if name]}


def _left_out(n_more: int, n_hidden: int) -> str:
    texts = []
    if n_more:
        texts.append(f"{fmt.amount(n_more, 'more term')} not shown.")
    if n_hidden:
        they = "it restates" if n_hidden == 1 else "they restate"
        texts.append(f"{fmt.amount(n_hidden, 'label term')} hidden: {they} the label, which is no explanation.")
    return " ".join(texts)


def _triage(triage: Mapping[str, Any]) -> dict[str, Any] | None:
    n = fmt.number(triage.get("n"))
    shares = {key: fmt.number(triage.get(key)) for key in TRIAGE}
    if not n or all(share is None for share in shares.values()):
        return None
    rows = [
        {"key": key, "name": TRIAGE[key], "share": share, "n": None if share is None else share * n}
        for key, share in shares.items()
    ]
    return {"n": n, "part": fmt.clean(triage.get("part")), "rows": rows}


def _pairs(summary: Mapping[str, Any], row: Mapping[str, Any], members: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return members with the counterexample of each: typical ones first, and those without one last."""
    pictures = _mapping(summary.get("thumbnails"))
    known = {fmt.clean(m.get("sample_id")): m for m in _mappings(row.get("members"))}

    def sample(name: Any) -> dict[str, Any]:
        name = fmt.clean(name)
        found = known.get(name, {})
        return {**found, "sample_id": name, "thumbnail": pictures.get(name) or found.get("thumbnail")}

    beside: dict[str, Any] = {}
    for pair in _list(members.get("counterexamples")):
        if isinstance(pair, (list, tuple)) and len(pair) == 2:
            beside.setdefault(fmt.clean(pair[0]), pair[1])
    typical = [fmt.clean(name) for name in _list(members.get("typical")) if name is not None]
    names = list(dict.fromkeys([*(name for name in typical if name in beside), *beside, *typical]))
    return [
        {"member": sample(name), "other": sample(beside[name]) if name in beside else None}
        for name in names[:PAIRS_SHOWN]
    ]
