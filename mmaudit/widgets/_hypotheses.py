"""Groups that the user makes while looking: cases selected by hand, slices merged or split, tested as guesses are."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError
from mmaudit.metrics import METRICS, as_metric
from mmaudit.widgets._cases import MEMBER, as_strength

if TYPE_CHECKING:
    from mmaudit._hypothesis import Guess
    from mmaudit.data import AuditData
    from mmaudit.result import AuditResult
    from mmaudit.widgets._base import Answer, AuditWidget, Job
    from mmaudit.widgets._cases import Cases

__all__ = ["Tested", "test", "tested_of", "with_tested"]

LEAST_PATIENTS = 5  # held-out ones, inside and outside, without whom nothing can be tested
LONGEST_NAME = 80
WHY_CHOSEN = "Chosen by hand; a group that was chosen by looking at predictions has a gap by construction."
WHY = {
    "hypothesis": WHY_CHOSEN,
    "split": WHY_CHOSEN,
    "merge": "Merged by hand, after its results on the same patients were seen.",
}
# What is being done after the stage that is named
STAGES = {"encode": "testing on held-out patients", "confirm": "explaining", "explain": "describing", "describe": ""}


@dataclass(frozen=True)
class _Made:
    """One guess of the user: what is tested, how it came about, and the rows that tell of it."""

    guess: Guess
    name: str
    origin: str
    parents: tuple[str, ...]
    of: int  # number of the target
    ids: tuple[str, ...]


@dataclass
class Tested:
    """All that was tested beside an audit: every guess counts in the correction of the others, shown or not.

    It belongs to the result, and all its widgets show it: to look at the audit in a new widget does not count anew.

    Attributes
    ----------
    made : list of guesses, in the order in which they were tested
    result : AuditResult or None
        The last test, of all of them; None before the first.
    """

    made: list[_Made] = field(default_factory=list)
    result: AuditResult | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)

    def frame(self) -> pd.DataFrame:
        """Return the guesses as `AuditResult.candidates` has slices, with name, origin and parents."""
        if self.result is None:
            from mmaudit.result import candidate_frame

            return candidate_frame([]).assign(name="", origin="", parents="")
        frame = self.result.candidates.copy()
        of = [made for made in self.made for _ in made.ids]
        frame["slice_id"] = [slice_id for made in self.made for slice_id in made.ids]
        for name in ("name", "origin"):
            frame[name] = [getattr(made, name) for made in of]
        frame["parents"] = [", ".join(made.parents) for made in of]
        return frame


def tested_of(result: AuditResult | None) -> Tested:
    """Return what was tested beside an audit."""
    if result is None:
        return Tested()
    if result._tested is None:
        result._tested = Tested()
    return result._tested


def test(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Test a group, and add a row for it; answer with the ids of the new rows and of those hidden behind them.

    All guesses so far are tested again with it, so that each counts in the correction of all, beside
    the candidates of the audit. The patients are those that the audit held out. Guesses that were taken back or whose
    rows are hidden count all the same.

    Parameters
    ----------
    content : mapping
        `what`: "selection", the selected cases, within each label; "merge", the union of the `slices`, within their
        label; "split", one of the `slices` in those that are selected and those that are not. `name`: what the user
        calls it.

    Raises
    ------
    InputError
        Nothing to test, too few patients, no data, more guesses than one test takes, or a test that is running.
    """
    tested = widget.tested
    if not tested.busy.acquire(blocking=False):
        raise InputError(
            "test", "one test at a time", "another one while it runs", "Wait; a cancelled one ends with its next stage."
        )
    try:
        return _test(widget, tested, content, job)
    finally:
        tested.busy.release()


test.__test__ = False  # type: ignore[attr-defined]  # not one of pytest's


def _test(widget: AuditWidget, tested: Tested, content: Mapping[str, Any], job: Job) -> Answer:
    from mmaudit._hypothesis import MOST_HYPOTHESES, test_guesses

    data, settings = _audited(widget)
    first = 1 + sum(len(made.ids) for made in tested.made)
    new = _guesses(widget, content, first)
    every = [*tested.made, *new]
    if len(every) > MOST_HYPOTHESES:
        raise InputError(
            "test", f"at most {MOST_HYPOTHESES} groups tested beside one audit", f"{len(every)}",
            "Those taken back count, too. Audit the data again, or test on new patients.",
        )  # fmt: skip

    names = list(STAGES)

    def on_stage(stage: str) -> None:
        if stage in STAGES:
            job.step(1 + names.index(stage), len(names), STAGES[stage])

    job.step(0, len(names), "reading the cases")
    result = test_guesses(
        data, [made.guess for made in every], (1, 0), beside=widget.result, on_stage=on_stage, warn=False, **settings
    )
    tested.made, tested.result = every, result
    ids = [slice_id for made in new for slice_id in made.ids]
    hidden = list(dict.fromkeys(parent for made in new for parent in made.parents))
    with widget.lock, widget.hold_sync():
        show(widget)
        known = widget._edits.get("hidden", [])
        widget._edits = {**widget._edits, "hidden": list(dict.fromkeys([*known, *hidden]))}
        widget.selected_slice = ids[0]
    for other in widget.others():
        with other.lock, other.hold_sync():
            show(other)
    return {"ids": ids, "hidden": hidden, "n_tested": len(every), "most": MOST_HYPOTHESES}, []


def _audited(widget: AuditWidget) -> tuple[AuditData, dict[str, Any]]:
    """Return the data in the order of the cases, and the settings that hold out the same patients."""
    result, data = widget.result, widget.data
    if result is None or data is None or data.y_proba is None:
        raise InputError(
            "data", "an audit and its data, to test on", "a result alone" if data is None else "data alone",
            "Give data= too." if data is None else "Show the result of an audit.",
        )  # fmt: skip
    known = result.settings
    if not isinstance(known.get("random_state"), int) or known.get("metric") not in METRICS:
        raise InputError(
            "result", "an audit with a number as random_state and a metric that has a name", "another one",
            "Audit again with random_state=0, so that the same patients can be held out.",
        )  # fmt: skip
    rows = widget.cases.rows
    if rows is not None and (len(rows) != data.n_samples or (rows != np.arange(len(rows))).any()):
        data = data.subset(rows)
    names = ("alpha", "threshold", "metric", "fraction", "n_permutations", "random_state")
    return data, {name: known[name] for name in names}


def _guesses(widget: AuditWidget, content: Mapping[str, Any], first: int) -> list[_Made]:
    what, cases = content.get("what"), widget.cases
    name = "".join(c for c in str(content.get("name") or "") if c.isprintable()).strip()[:LONGEST_NAME]
    slices = list(dict.fromkeys(str(one) for one in content.get("slices") or ()))
    members = [cases.strength(one) >= MEMBER for one in slices]
    selected = np.zeros(cases.n, dtype=bool)
    selected[_positions(widget, content)] = True
    if what == "selection":
        within = _within(widget, selected, str(content.get("slice", widget.selected_slice)))
        number = 1 + sum(made.origin == "hypothesis" for made in widget.tested.made)
        parts = [(name or f"selection {number}", "a group chosen by hand", selected, within)]
        origin, parents = "hypothesis", []
    elif what == "merge":
        if len(slices) < 2:
            raise InputError("slices", "two or more to merge", f"{len(slices)}", "Mark the rows to merge.")
        together = np.any(members, axis=0)
        parts = [(name or " or ".join(slices), "a group merged by hand", together, _common(widget, slices))]
        origin, parents = "merge", slices
    elif what == "split":
        if len(slices) != 1:
            raise InputError("slices", "one slice to split", f"{len(slices)}", "Choose one.")
        within, inside = _common(widget, slices), members[0]
        if not (inside & selected).any() or not (inside & ~selected).any():
            raise InputError(
                "selection", "some of the members of the slice, not all", "none or all of them", "Select some of them."
            )
        name = name or f"{slices[0]}, selected"
        parts = [
            (name, "a group split by hand", inside & selected, within),
            (
                f"rest of {slices[0]}, without {name}"[:LONGEST_NAME],
                "a group split by hand",
                inside & ~selected,
                within,
            ),
        ]
        origin, parents = "split", slices
    else:
        raise InputError("what", "selection, merge or split", f"{str(what)[:20]!r}", "The page and the package differ.")

    from mmaudit._hypothesis import Guess

    made, number = [], first
    for called, words, mask, within in parts:
        ids = tuple(f"h{number + k:02d}" for k in range(len(within)))
        number += len(within)
        guess = Guess(f"{words} ({called})", mask, None, tuple(within))
        made.append(_Made(guess, called, origin, tuple(parents), within[0][0], ids))
    return made


def _common(widget: AuditWidget, slices: Sequence[str]) -> list[tuple[int, int | None]]:
    """Return the target and label that slices have in common."""
    rows = {row["id"]: row for row in widget._rows}
    found = {(int(rows[one]["target_index"]), str(rows[one]["label"])) for one in slices}
    if len(found) > 1:
        raise InputError("slices", "slices of one label", "slices compared within several", "Merge those alike.")
    of, label = found.pop()
    return [(of, int(label) if label else None)]


def _positions(widget: AuditWidget, content: Mapping[str, Any]) -> np.ndarray:
    """Return the selected positions: as they were when the page asked, whatever has been selected since."""
    given = content.get("positions")
    if given is None:
        return np.frombuffer(widget._selected, "<u4").astype(int)
    if not isinstance(given, list) or any(type(p) is not int or not 0 <= p < widget.cases.n for p in given):
        raise InputError("positions", f"positions below {widget.cases.n}", "others", "Load the page again.")
    return np.array(given, dtype=int)


def _within(widget: AuditWidget, selected: np.ndarray, slice_id: str) -> list[tuple[int, int | None]]:
    """Return the labels within which a selection has patients enough to be tested; of the slice's target."""
    from mmaudit._hypothesis import labels_of

    result: Any = widget.result
    data: Any = widget.data
    cases = widget.cases
    if not selected.any() or selected.all():
        raise InputError(
            "selection", "some of the cases", "all of them" if selected.any() else "none", "Select cases first."
        )
    of = cases.target_of(slice_id)
    truth = cases.truth(of)
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    patient = data.patient_id[cases.rows].astype(str)
    found = []
    for label in labels_of("auto", as_metric(result.settings["metric"])):
        compared = held_out & (truth >= 0 if label is None else truth == label)
        counts = [len(np.unique(patient[compared & side])) for side in (selected, ~selected)]
        if min(counts) >= LEAST_PATIENTS:
            found.append((of, label))
    if not found:
        raise InputError(
            "selection",
            f"at least {LEAST_PATIENTS} held-out patients of one label inside, and as many outside", "fewer",
            "Select more cases; nothing was tested, and nothing counts.",
        )  # fmt: skip
    return found


def show(widget: AuditWidget) -> None:
    """Bring rows, cards and members up to the last test."""
    old = [row for row in widget._rows if row["origin"] == "discovery"]
    own = [row["id"] for row in widget._rows if row["origin"] != "discovery"]
    cards = {slice_id: card for slice_id, card in widget._cards.items() if slice_id not in own}
    widget._rows, widget._cards = with_tested(widget.cases, old, cards)


def with_tested(
    cases: Cases, old: Sequence[Mapping[str, Any]], cards: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return rows and cards of an audit, and after them those of the groups tested beside it, which `cases` take in."""
    from mmaudit.widgets._rows import card_of, row_of, shown_of, with_overlaps

    tested = tested_of(cases.result)
    if tested.result is None:
        return [dict(row) for row in old], dict(cards)
    result = tested.result
    summary, candidates = shown_of(result)
    shown = {row["slice_id"]: row for row in candidates}
    rows: list[dict[str, Any]] = []
    cards = dict(cards)
    of = [(made, slice_id) for made in tested.made for slice_id in made.ids]
    for own, (made, slice_id) in zip(result.candidates["slice_id"], of, strict=True):
        cases.own_target[slice_id] = made.of
        cases.own[slice_id] = as_strength(result.membership[own].to_numpy())
        row = row_of(
            shown[own],
            slice_id=slice_id,
            name=made.name,
            rank=len(old) + len(rows),
            target_index=made.of,
            origin=made.origin,
            parents=made.parents,
        )
        row["sentence"] += f" {WHY[made.origin]} {_counted(tested, len(old))}"
        rows.append(row)
        cards[slice_id] = card_of(summary, shown[own]) | {"sentence": row["sentence"]}
    return with_overlaps([*old, *rows], cases), cards


def _counted(tested: Tested, n_audited: int) -> str:
    """Say what the q-value of a group counts, since those of the audit's own slices count the audit alone."""
    n = sum(len(made.ids) for made in tested.made)
    slices, groups = ("slice" if n_audited == 1 else "slices"), ("comparison" if n == 1 else "comparisons")
    return f"Its q counts the audit's {n_audited} {slices} and {n} {groups} of groups made by hand."
