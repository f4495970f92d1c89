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


@exercise("quickstart.shrunk")
def shrunk(answer: Any, *, candidates: Any) -> str:
    """Whether the answer is the share of candidates with a smaller gap on confirmation patients than in discovery."""
    share = as_share(answer)
    known = candidates.dropna(subset=["gap", "discovery_gap"])
    smaller = (known["gap"] < known["discovery_gap"]).mean()
    if np.isclose(share, 1 - smaller, atol=0.005) and not np.isclose(share, smaller, atol=0.005):
        raise Hint("That is the share of those that are not smaller.")
    if not np.isclose(share, smaller, atol=0.005):
        raise Hint("Compare the two columns row by row, over all candidates and not the findings alone.")
    return "Chosen for looking bad, they look less bad on others: that is why findings quote the others."
