"""Exercises of the notebook about real reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmaudit.text import mentions
from mmaudit.workshop._check import Hint, exercise

NEAR = 0.05


def _share(answer: Any) -> float:
    """Return the answer as a number, or say what a share is."""
    share = float(answer)
    if not 0 <= share <= 1:
        raise Hint("A share lies between 0 and 1.")
    return share


@exercise("reports.denied")
def denied(answer: Any, *, reports: Any) -> str:
    """Whether the answer is, within 0.05, the share of the reports that deny pneumothorax, of those that mention it."""
    guess = _share(answer)
    statuses = [{m.status for m in mentions(text, max_words=1) if m.term == "pneumothorax"} for text in reports]
    named = [found for found in statuses if found]
    right = np.mean(["negated" in found for found in named])
    if abs(guess - right) > NEAR:
        raise Hint(
            "Too low. Why does a radiologist name a pneumothorax when there is none?"
            if guess < right
            else "Too high. Some patients have one."
        )
    return "It is named so that the reader knows that it was looked for."


@exercise("reports.metadata_alone")
def metadata_alone(answer: Any, *, result: Any) -> str:
    """Whether the answer is an audit of metadata alone with the settings of `result`, and its number of findings."""
    audit, n_findings = answer
    if list(audit.settings["modalities"]) != ["metadata"]:
        raise Hint("This audit saw more than metadata. Give modalities=('metadata',).")
    if audit.settings["random_state"] != result.settings["random_state"]:
        raise Hint("Another seed divides the patients otherwise. Give the same settings.")
    if n_findings != len(audit.findings):
        raise Hint("Count the rows of alone.findings, not those of alone.candidates.")
    if n_findings:
        return "No column says it, so what is left is a larger group in which it is common."
    return "No column knows of lung volumes, so the failure is there and cannot be seen. Silence is not absence."


@exercise("reports.shared")
def shared(answer: Any, *, reports: Any, parts: Any) -> str:
    """Whether the answer is the share of the confirmation reports whose text is in discovery too."""
    share = _share(answer)
    texts, part = np.asarray(reports, dtype=object), np.asarray(parts)
    sides = {name: texts[part == name] for name in ("discovery", "confirmation")}
    known = {name: set(side) for name, side in sides.items()}
    rates = {
        name: np.mean([text in known[other] for text in sides[name]])
        for name, other in (("confirmation", "discovery"), ("discovery", "confirmation"))
    }
    if abs(share - rates["confirmation"]) > 0.005:
        if abs(share - rates["discovery"]) <= 0.005:
            raise Hint("The other way round: of the confirmation reports, those that discovery has too.")
        raise Hint("Take the texts of one part as a set, and look how many of the other part are in it.")
    return "For these the phrase was not new, only the patient was."
