"""Exercises of the first notebook."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmaudit.workshop._check import Hint, as_share, exercise


@exercise("quickstart.average")
def average(answer: Any, *, average: float) -> str:
    """Whether the answer is the error rate of a fifth of the films that are wrong five times as often as the rest."""
    share = as_share(answer)
    if np.isclose(share, 5 * average, atol=0.005):
        raise Hint("That is five times the average. But the average has those films in it: five times the others.")
    if not np.isclose(share, 5 * average / 1.8, atol=0.005):
        raise Hint("Call the rate on the other films r. What are a fifth at 5 r and the rest at r, together?")
    return "More than a third, and the average would still look good."


@exercise("quickstart.metadata_only")
def metadata_only(answer: Any, *, result: Any, alone: Any) -> str:
    """Whether the answer is the error type whose finding is a shadow when reports are left out."""
    if answer not in ("false_positive", "false_negative"):
        raise Hint("The answer is an error type, one of the two in the column error_type of the findings.")
    if alone is Ellipsis or list(alone.settings["modalities"]) != ["metadata"]:
        raise Hint("First make the audit that sees nothing but metadata.")
    first, before = _first_gaps(alone), _first_gaps(result)
    if answer != max(before, key=lambda kind: before[kind] - first.get(kind, 0.0)):
        raise Hint("Compare the gap of the first finding of each error type, before and now. Which one shrank more?")
    return "No column of the metadata says it, so what is left is a larger group in which it is common."


def _first_gaps(audit: Any) -> dict[str, float]:
    """Return the gap of the first finding of each error type."""
    return {kind: float(rows["gap"].iloc[0]) for kind, rows in audit.findings.groupby("error_type", sort=False)}
