"""Exercises of the notebook on planted failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmaudit.workshop._check import Hint, exercise


@exercise("injection.hidden")
def hidden(answer: Any, *, overall: float, share: float, elsewhere: float) -> str:
    """Whether the answer is the error rate in a slice, given that of all, that of the others, and its share."""
    answer = _rate(answer)
    if abs(answer - (overall - elsewhere)) < 0.005:
        raise Hint(
            "That is what the slice adds to the average of all. It does so with few films: on what share of its own?"
        )
    if answer <= overall:
        raise Hint("The others are better than the average, so the slice must be worse than it.")
    right = (overall - (1 - share) * elsewhere) / share
    if abs(answer - right) > 0.01:
        raise Hint("The average is a weighted one: share * slice + (1 - share) * others. Solve for the slice.")
    return f"An average of {overall:.0%} looks harmless, and the slice is wrong on most of its films."


@exercise("injection.whole_view")
def whole_view(answer: Any, *, data: Any, fitted: Callable[[Any], Any]) -> str:
    """Whether the answer is the change in the error rate on supine films when nearly all of them were left out."""
    from mmaudit import failures

    answer = _number(answer)
    scenario = failures.inject(data, kind="rare", where={"view": "AP supine"}, label=None, random_state=0)
    after, before = (
        scenario.evaluate(fitted(part).predict(scenario.test), n_bootstraps=100)["error_inside"]
        for part in (scenario.train, scenario.train_unchanged)
    )
    changes = after - before
    if abs(answer - changes["mixed"]) < 0.01:
        return "Compare it with the rare slice above: what differs is whether both labels were left out."
    if abs(answer + changes["mixed"]) < 0.01:
        raise Hint("Look at the sign: planted minus control.")
    for name in ("false_positive", "false_negative"):
        if abs(answer - changes[name]) < 0.01:
            raise Hint("That is one kind of error only. Take the row that holds both.")
    if abs(answer - after["mixed"]) < 0.01 or abs(answer - before["mixed"]) < 0.01:
        raise Hint("That is the error rate of one classifier. The change needs the other one too.")
    raise Hint("Plant with kind='rare', where={'view': 'AP supine'}, label=None, random_state=0, and evaluate both.")


@exercise("injection.planted_part")
def planted_part(answer: Any, *, damage: Any) -> str:
    """Whether the answer is what the shortcut added to the false alarms that the control gives as well."""
    answer = _rate(answer)
    row = damage.loc[("shortcut", "error, slice")]
    if abs(answer - row["change"]) < 0.015:
        return "The rest is there without any planting: bedside films are hard for this classifier."
    if abs(answer - row["planted"]) < 0.015:
        raise Hint("That is all of the false alarms. How many are there without the planting?")
    if abs(answer - row["control"]) < 0.015:
        raise Hint("That is what the control does, to which nothing was added. What did the planting add?")
    raise Hint("Compare the two classifiers on the slice of the shortcut, in the row of the error rate.")


def _number(answer: Any) -> float:
    try:
        return float(answer)
    except (TypeError, ValueError):
        raise Hint("The answer is one number.") from None


def _rate(answer: Any) -> float:
    answer = _number(answer)
    if not 0 <= answer <= 1:
        raise Hint("Give a share between 0 and 1, not a percentage.")
    return answer
