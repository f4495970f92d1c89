"""Exercises of the notebook that compares images, reports and metadata."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmaudit.benchmark import differences
from mmaudit.workshop._check import Hint, exercise


@exercise("modalities.came_about")
def came_about(answer: Any, *, errors: Any) -> str:
    """Whether the answer is the number of cases with at least twice the errors in the planted slice."""
    n_cases = int(answer)
    right = int((errors["ratio"] >= 2).sum())
    if n_cases == int((errors["ratio"] < 2).sum()) != right:
        raise Hint("These are the cases in which it did not.")
    if n_cases == int((errors["inside"] > errors["elsewhere"]).sum()) != right:
        raise Hint("These have more errors inside. Twice as many is asked for.")
    if n_cases != right:
        raise Hint("Count the rows of errors whose ratio is large enough. A table of True and False has a sum.")
    return "A search cannot be blamed for not finding what is not there."


@exercise("modalities.chance")
def chance(answer: Any, *, frame: Any) -> str:
    """Whether the answer is the scenario with the largest share planted among held-out samples."""
    means = frame.groupby("scenario")["chance"].mean()
    if answer not in means.index:
        raise Hint(f"The answer is the name of a scenario: one of {', '.join(sorted(means.index))}.")
    if answer == frame.groupby("scenario")["precision_at_10"].mean().idxmax() != means.idxmax():
        raise Hint("This one has the highest score. Chance is another column.")
    if answer != means.idxmax():
        raise Hint("Take the mean of the column chance in each scenario. Which planted slice is the largest?")
    return "Both sides of a correlation are planted, so that its slice is much larger."


@exercise("modalities.pair")
def pair(answer: Any, *, frame: Any) -> str:
    """Whether the answer is what reports and metadata gain on images with the mixture, and whether that may be 0."""
    difference, holds_zero = answer
    if not isinstance(holds_zero, (bool, np.bool_)):
        raise Hint("The second part is True or False: does the interval hold 0?")
    table = differences(frame, ["report", "metadata"], ["image"])
    right = {row.slicer: row for row in table[table["scenario"] == "all"].itertuples()}
    near = {slicer for slicer, row in right.items() if np.isclose(float(difference), row.difference, atol=0.005)}
    mixture = right["concatenated"]
    if "concatenated" not in near:
        if near:
            raise Hint("That is the difference of another slicer.")
        if np.isclose(float(difference), -mixture.difference, atol=0.005):
            raise Hint("The other way round: images are what is compared with.")
        raise Hint("Use benchmark.differences with the two subsets, and read the row of the scenario 'all'.")
    if bool(holds_zero) != (mixture.low <= 0 <= mixture.high):
        raise Hint("Look at low and high: on which side of 0 are they?")
    return "A mixture of embeddings joined end to end can lose by having more: the largest modality drowns the others."
