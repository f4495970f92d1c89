"""Exercises of the notebook on a model of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from mmaudit.workshop._check import Hint, exercise

_TOLERANCE = 0.005
_STAGES = {"encode": "features", "discover": "discover", "confirm": "confirm", "explain": "explain"}  # and folder


def _bedside(data: Any) -> np.ndarray:
    return (data.metadata["portable"] == "yes").to_numpy()


@exercise("own.misses")
def misses(answer: Any, *, data: Any) -> str:
    """Whether the answer is the kind of film on which more effusions are missed."""
    if answer not in ("bedside", "standing"):
        raise Hint("Answer with one of the two words.")
    bedside, ill, missed = _bedside(data), data.y_true == 1, data.y_proba < 0.5
    rates = {"bedside": missed[ill & bedside].mean(), "standing": missed[ill & ~bedside].mean()}
    if rates[answer] != max(rates.values()):
        raise Hint("If the kind of film speaks for an effusion, what does the other kind of film speak for?")
    return "A shortcut errs in two ways: false alarms where it says yes, and misses where it says no."


@exercise("own.within")
def within(answer: Any, *, data: Any) -> str:
    """Whether the answer holds the AUROC among bedside films and that among the others."""
    given = np.asarray(answer, dtype=float)
    if given.shape != (2,):
        raise Hint("Give two numbers: among bedside films, and among the others.")
    bedside, y, p = _bedside(data), data.y_true, data.y_proba
    right = np.array([roc_auc_score(y[group], p[group]) for group in (bedside, ~bedside)])
    if np.allclose(given, right, atol=_TOLERANCE):
        overall = roc_auc_score(y, p)
        both = "both lower than" if (right < overall - _TOLERANCE).all() else "beside"
        return f"They are {both} the {overall:.2f} of all films: the rest is telling the two kinds of film apart."
    if np.allclose(given, right[::-1], atol=_TOLERANCE):
        raise Hint("The two numbers are in the other order.")
    if np.allclose(given, roc_auc_score(y, p), atol=_TOLERANCE):
        raise Hint("This is the AUROC of all films, twice. Take the labels and the probabilities of one kind alone.")
    answers = [roc_auc_score(y[group], p[group] >= 0.5) for group in (bedside, ~bedside)]
    if np.allclose(given, answers, atol=_TOLERANCE):
        raise Hint("An AUROC is of probabilities; these are of answers, yes or no.")
    raise Hint("Use roc_auc_score on data.y_true and data.y_proba, with the same mask on both.")


@exercise("own.resumed")
def resumed(answer: Any, *, files: Any, n_refits: int) -> str:
    """Whether the answer names the stages of which, by what an interrupted audit has kept, nothing is left to do."""
    given = {answer} if isinstance(answer, str) else set(answer)
    if not given <= {*_STAGES, "stability"}:
        raise Hint("Answer with a list of names of stages, spelled as above.")
    right = {stage for stage, folder in _STAGES.items() if files.get(folder)}
    right |= {"stability"} if files.get("refits", 0) >= n_refits else set()
    if "stability" in given - right:
        raise Hint("Some refits are there, and are not made again. Are all of them there?")
    if given - right:
        raise Hint("You name a stage that has left no file. In which of them was the audit stopped?")
    if given != right:
        raise Hint("There is more. Look at each kind of file that is kept: which stage made it, and is it whole?")
    return "Of the refits, only those that are missing are made. All that comes after them is still to do."
