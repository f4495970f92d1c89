"""Exercises of the notebook on fixes and the audit after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmaudit.workshop._check import Hint, exercise


@exercise("fix.trade")
def trade(answer: Any, *, frames: Any) -> str:
    """Whether the answer is the fix with slices that became worse, and these slices."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Hint("The answer has two parts: the name of a fix, and a set of slice ids.")
    fix, slices = answer
    known = frames.index.get_level_values("fix")
    if fix not in set(known):
        raise Hint(f"There is no such fix. They are: {', '.join(dict.fromkeys(known))}.")
    worse = frames[frames["verdict"] == "worse"].reset_index().groupby("fix")["slice_id"].agg(set)
    if fix not in worse:
        raise Hint("No slice has this verdict under that fix. Select the rows of `frames` by their verdict.")
    given = {slices} if isinstance(slices, str) else set(slices)
    if given - worse[fix]:
        raise Hint("A slice among these is not clearly worse. A change above zero is not enough: see the verdict.")
    if given != worse[fix]:
        raise Hint("These are right, and there are more.")
    return "A fix of one slice can be paid for by another."


@exercise("fix.may_judge")
def may_judge(answer: Any, *, patients: Mapping[str, set], result: Any, data: Any) -> str:
    """Whether the answer is the patients who had no part in training, in the search, or in choosing a fix."""
    given = {str(patient) for patient in answer}
    groups = {name: {str(patient) for patient in members} for name, members in patients.items()}
    part = result.samples["part"].reindex(data.sample_id).to_numpy()
    seen = {name: {str(p) for p in data.patient_id[part == name]} for name in ("discovery", "confirmation")}
    if not given or given - set().union(*groups.values()):
        raise Hint("Give ids of patients, such as a set of `patients`, or several of them joined with |.")
    if given & groups["training"]:
        raise Hint("Some of these taught the classifier. It looks better on them than it is.")
    if given & seen["discovery"]:
        raise Hint("Some of these were searched for slices: the slice looks worse on them than it is before any fix.")
    if given & seen["confirmation"]:
        raise Hint("Some of these were looked at to compare the fixes. Who chose by them has taken their luck along.")
    if given != groups["fresh"]:
        raise Hint("All of these may judge, and more could.")
    return "Use them once: after a look and another choice they are no longer fresh."


@exercise("fix.second_round")
def second_round(answer: Any, *, train: Any, labels: Any, truth: Any, queue_of: Callable[[Any], Any]) -> str:
    """Whether the answer is the number of wrong labels in the queue that is made from the corrected labels."""
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise Hint("The answer is a whole number of films.")
    corrected = labels[train.sample_id]
    queue = queue_of(train.with_labels(corrected.to_numpy())).index
    found = int((corrected[queue] != truth[queue]).sum())
    if answer == found:
        return "What is easy to find is gone, and the opinion of a model of corrected labels is better."
    if answer == int((corrected != truth[train.sample_id]).sum()):
        raise Hint("These are all the wrong labels that are left. How many of them are in the new queue?")
    if answer == len(queue):
        raise Hint("That is the length of the queue. Compare its corrected labels with the truth.")
    raise Hint("Make the queue from the corrected labels, and count in it where they differ from the truth.")
