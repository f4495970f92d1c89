"""Exercises of the notebook on explanations."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmaudit.text import mentions
from mmaudit.workshop._check import Hint, exercise

STATUSES = ("affirmed", "negated", "uncertain")


@exercise("explanation.status")
def status(answer: Any, *, report: str, terms: Any) -> str:
    """Whether the answer has the status of each term in the report."""
    if len(answer) != len(terms) or any(given not in STATUSES for given in answer):
        raise Hint(f"Give {len(terms)} words in the order asked for, each a status as the text above names them.")
    said = mentions(report, max_words=1)
    of = [{m.status for m in said if m.term == term} for term in terms]
    missed = [term for term, given, right in zip(terms, answer, of, strict=True) if {given} != right]
    if not missed:
        return "What was removed is not there any more, and what is possible is neither there nor absent."
    raise Hint(
        f"Look at the {missed[0]} again: which words of its sentence say whether it is there on this film, "
        "was there before, or may be there?"
    )


@exercise("explanation.fidelity")
def fidelity(answer: Any, *, picked: Any, inside: Any) -> str:
    """Whether the answer is the precision and the recall of what was picked."""
    given, chosen, members = np.asarray(answer, dtype=float), np.asarray(picked, bool), np.asarray(inside, bool)
    if given.shape != (2,):
        raise Hint("Two numbers: precision first, then recall.")
    both = (chosen & members).sum()
    right = both / chosen.sum(), both / members.sum()
    if np.allclose(given, right, atol=0.01):
        return "It picks part of the slice, and much beside it: close to the slice, and not what it is."
    if np.allclose(given, right[::-1], atol=0.01):
        raise Hint("These are the right numbers in the wrong order. Of which whole is precision a share?")
    if (given > 1).any() or (given < 0).any():
        raise Hint("Both are shares, between 0 and 1.")
    if abs(given[0] - right[0]) <= 0.01 or abs(given[1] - right[1]) <= 0.01:
        raise Hint("One of the two is right. Precision is a share of what was picked, recall one of the slice.")
    if np.allclose(given, both / len(chosen), atol=0.01) or np.allclose(given, (chosen == members).mean(), atol=0.01):
        raise Hint("These are shares of all films. Neither precision nor recall counts all films.")
    raise Hint("Count the films that are both picked and inside. Of what is that a share, for each of the two?")


@exercise("explanation.hypothesis")
def hypothesis(answer: Any) -> str:
    """Whether the answer is a test that confirmed false alarms in a group named by metadata alone."""
    table = getattr(answer, "candidates", None)
    if table is None or not len(table):
        raise Hint("Hand over what test_hypothesis returned.")
    if set(table["label"]) != {"0"}:
        raise Hint("False alarms are made on films without the finding. Within which label is that?")
    if set(table["modality"]) != {"metadata"}:
        raise Hint("This rule asks the report or the film. Name the group by columns of data.metadata alone.")
    if len(table) > 1:
        raise Hint("One guess was asked for. Of many, some hold by chance.")
    if not table["confirmed"].all():
        raise Hint("Not confirmed. Where do patients lie who have what the reports told of? Each more guess is a try.")
    return "It may be a shadow: is its gap as large as that of the group which the reports name?"
