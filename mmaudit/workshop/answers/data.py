"""Exercises of the notebook on data."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmaudit.data import AuditData
from mmaudit.workshop._check import Hint, exercise

# Of the columns that the notebook offers, those that are written when the film has already been read.
_WRITTEN_LATER = ("length_of_stay", "drain_within_24h", "discharge_code")


@exercise("data.mend")
def mend(answer: Any, *, data: Any) -> str:
    """Whether the answer holds the cases of the table, without a name among the metadata."""
    if not isinstance(answer, AuditData):
        raise Hint("The answer is what AuditData.from_frame returns.")
    if not answer.has_patient_id:
        raise Hint("Nobody knows which films belong together. Which role is missing?")
    if answer.n_samples != data.n_samples:
        raise Hint("Rows went missing. Every fault of this table can be mended without dropping a row.")
    if not np.array_equal(answer.patient_id, data.patient_id):
        raise Hint("The patients are others than before, or in another order.")
    if np.array_equal(answer.y_true, 1 - data.y_true):
        raise Hint("The label is turned round: what does 1 mean?")
    if not np.array_equal(answer.y_true, data.y_true):
        raise Hint("The labels are others than before.")
    if answer.y_proba is None:
        raise Hint("The classifier's probabilities have got lost.")
    if not np.allclose(answer.y_proba, data.y_proba):
        raise Hint("The probabilities are others than before. In which unit do they come, and was anything cut off?")
    if "study" in answer.metadata.columns:
        raise Hint("One column of the metadata is a name, not a trait: what could a rule on it say of a new patient?")
    return "A rule on a name would fit these cases and no others."


@exercise("data.coin")
def coin(answer: Any) -> str:
    """Whether the answer is chance for patients, and more than chance for films."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Hint("The answer has two parts: a number, and a word.")
    patients, films = answer
    if isinstance(patients, bool) or not isinstance(patients, (int, float, np.number)) or not 0 <= patients <= 1:
        raise Hint("An AUROC is a number from 0 to 1.")
    if abs(patients - 0.5) > 0.02:
        raise Hint("Patients: what does the film of a stranger tell of how a coin fell for them?")
    if films not in ("above", "below", "the same"):
        raise Hint("Films: choose one of the three.")
    if films != "above":
        raise Hint("Films: of whom may the most similar film in the other four fifths be?")
    return "The next cell shows by how much."


@exercise("data.in_time")
def in_time(answer: Any, *, offered: Any) -> str:
    """Whether the answer holds the columns that were known when the film was read, and all of them."""
    if isinstance(answer, str) or not isinstance(answer, (list, tuple, set)):
        raise Hint("The answer is a list of names.")
    unknown = [name for name in answer if name not in offered]
    if unknown:
        raise Hint(f"There is no column {unknown[0]!r} on offer.")
    late = [name for name in answer if name in _WRITTEN_LATER]
    if late:
        raise Hint(f"{len(late)} of these cannot be known yet when the film comes in. What was written afterwards?")
    if len(set(answer)) < len(offered) - len(_WRITTEN_LATER):
        raise Hint("None of these is written too late, but more of them are known in time. Which did you leave out?")
    return "The drain and the code may follow from the diagnosis itself: they know more than anybody did at the time."
