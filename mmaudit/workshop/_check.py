"""Tell a learner whether an answer is right, without giving it away."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from mmaudit._errors import InputError, nearest

__all__ = ["Checked", "Hint", "as_share", "check", "exercise", "exercises"]


class Hint(Exception):  # noqa: N818  a wrong answer is no error
    """What a learner is told of a wrong answer: where to look, and not what is right."""


@dataclass(frozen=True)
class Checked:
    """Whether an answer is right, and what to do if not; shown in words at the end of a cell, and true if right.

    Attributes
    ----------
    right : bool or None
        None: not answered yet.
    words : str
    """

    right: bool | None
    words: str

    def __bool__(self) -> bool:
        return self.right is True

    @property
    def _mark(self) -> str:
        return {True: "✓ Right.", False: "✗ Not yet.", None: "… Not answered yet."}[self.right]

    def __repr__(self) -> str:
        return f"{self._mark} {self.words}".strip()

    def _repr_html_(self) -> str:
        colour = {True: "#009E73", False: "#D55E00", None: "#888888"}[self.right]
        style = f"border-left: 4px solid {colour}; padding: 0.3em 0.8em"
        return f'<p style="{style}" role="status"><b>{self._mark}</b> {escape(self.words)}</p>'


_known: dict[str, Callable[..., str | None]] = {}


def exercise(name: str) -> Callable[[Callable[..., str | None]], Callable[..., str | None]]:
    """Keep a function as the check of the exercise `name`, "notebook.exercise".

    The function takes the answer, and by keyword what the notebook hands over. It raises `Hint` with a hint where the
    answer is wrong, and returns None, or what else can be said of a right one.
    """

    def keep(judge: Callable[..., str | None]) -> Callable[..., str | None]:
        if name in _known:
            raise ValueError(f"there are two checks of {name}")
        _known[name] = judge
        return judge

    return keep


@functools.cache
def exercises() -> tuple[str, ...]:
    """Return the names of all exercises that have a check."""
    from mmaudit.workshop import answers

    for module in pkgutil.iter_modules(answers.__path__, answers.__name__ + "."):
        importlib.import_module(module.name)
    return tuple(sorted(_known))


def check(name: str, answer: Any, **known: Any) -> Checked:
    """Return whether the answer to an exercise is right, with a hint if not.

    Parameters
    ----------
    name : str
        Of the exercise, "notebook.exercise", as the notebook gives it.
    answer : object
        `...`, or a tuple that holds one: not answered yet.
    **known
        What the notebook hands over for the check, such as its data.

    Returns
    -------
    Checked
        A wrong answer is told of and raises nothing, so that a notebook with open exercises runs to its end.

    Raises
    ------
    InputError
        There is no such exercise.

    Examples
    --------
    >>> from mmaudit.workshop import check
    >>> check("quickstart.shrunk", ...)
    … Not answered yet. Replace the dots, and run the cell again.
    """
    if name not in exercises():
        raise InputError("name", "an exercise", f"{name!r}", f"See the notebook.{nearest(name, exercises())}")
    open_parts = answer if isinstance(answer, tuple) else (answer,)
    if any(part is Ellipsis for part in open_parts):
        return Checked(None, "Replace the dots, and run the cell again.")
    try:
        return Checked(True, _known[name](answer, **known) or "")
    except Hint as hint:
        return Checked(False, str(hint))
    except Exception as error:  # an answer can be anything
        return Checked(
            False, f"The check could not read this answer, a {type(answer).__name__} ({type(error).__name__})."
        )


def as_share(answer: Any) -> float:
    """Return an answer that is a share, or raise a hint."""
    if isinstance(answer, bool) or not isinstance(answer, (int, float, np.integer, np.floating)):
        raise Hint("The answer is one number, a share.")
    if not 0 <= answer <= 1:
        raise Hint("A share is between 0 and 1.")
    return float(answer)
