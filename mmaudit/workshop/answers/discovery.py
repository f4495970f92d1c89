"""Exercises of the notebook on discovery."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmaudit.workshop._check import Hint, exercise


@exercise("discovery.component_errors")
def component_errors(answer: Any, *, r: Any, wrong: Any) -> str:
    """Whether the answer holds the error rate of each component, weighted by shares."""
    given, shares, errors = np.asarray(answer, dtype=float), np.asarray(r, dtype=float), np.asarray(wrong, dtype=float)
    n_components = shares.shape[1]
    if given.shape != (n_components,):
        raise Hint(
            f"There should be one number for each of the {n_components} components; this has shape {given.shape}."
        )
    counts = shares.T @ errors
    right = counts / shares.sum(axis=0)
    if np.allclose(given, right, atol=0.005):
        return "The components began as the cells of the confusion matrix, and most still are nearly pure."
    if np.allclose(given, counts, atol=0.5):
        raise Hint("These are counts of errors. By how many films, counted by their shares, must each be divided?")
    if np.allclose(given, counts / len(shares), atol=0.005):
        raise Hint("These are shares of all films. The errors of a component are to be held against its own size.")
    if np.allclose(given, 1 - right, atol=0.005):
        raise Hint("These are the shares that are right. The errors are asked for.")
    if ((given < 0) | (given > 1)).any():
        raise Hint("An error rate lies between 0 and 1.")
    raise Hint("Weigh each film's error by its share in the component, and divide by the sum of the shares.")


@exercise("discovery.weights")
def weights(answer: Any, *, table: Any) -> str:
    """Whether the answer names the column that grows most from the lowest weight to the highest."""
    columns = list(table.columns)
    if answer not in columns:
        raise Hint("Answer with the name of one of the columns, spelled as it is in `columns`.")
    growth = table.iloc[-1] - table.iloc[0]
    if answer != growth.idxmax():
        if "held out" in answer:
            raise Hint("The weight is used in fitting. Who of the held-out patients tells `transform` of an error?")
        raise Hint("`transform` is shown the embedding alone. What may the other way look at as well?")
    return "It is shown the errors, so it can gather them. What is left of that without them is the use of it."


@exercise("discovery.correction")
def correction(answer: Any, *, p_values: Any, alpha: float = 0.05) -> str:
    """Whether the answer is the number of p-values that Benjamini and Hochberg's procedure confirms."""
    if isinstance(answer, bool) or not isinstance(answer, (int, np.integer)):
        raise Hint("The answer is a whole number of candidates.")
    ordered = np.sort(np.asarray(p_values, dtype=float))
    n = len(ordered)
    passes = ordered <= np.arange(1, n + 1) / n * alpha
    right = int(np.flatnonzero(passes).max()) + 1 if passes.any() else 0
    if answer == right:
        return "A p-value above its own line is confirmed where a later one lies below its line."
    if answer == int((ordered <= alpha).sum()):
        raise Hint("That is how many would be confirmed if each were the only one. All that were tried count.")
    if answer == int(passes.sum()):
        raise Hint("These lie below their own line. One that lies above its line may be confirmed too: by which?")
    if answer == int(passes.argmin()):
        raise Hint("You stopped at the first one above its line. Go on: is a later one below its line?")
    if answer == int((ordered <= alpha / n).sum()):
        raise Hint("That holds all of them against the strictest line (Bonferroni). Each k has a line of its own.")
    raise Hint("Write the sorted p-values beside k / n times alpha, and look for the last one that is not above.")
