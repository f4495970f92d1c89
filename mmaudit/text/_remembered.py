"""What was worked out for texts that are said again and again, in limited memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Concatenate, ParamSpec, TypeVar, cast

__all__ = ["remembered"]

LONGEST = 150  # characters; what is longer is hardly said twice, and would make a full memory any size
P = ParamSpec("P")
Result = TypeVar("Result")


def remembered(
    maxsize: int,
) -> Callable[[Callable[Concatenate[str, P], Result]], Callable[Concatenate[str, P], Result]]:
    """Let a function of a text remember its last `maxsize` results, those of texts over 150 characters not.

    `functools.lru_cache` limits how many results are kept, and not how large they are: strangers' reports of long
    sentences would fill the memory.

    Examples
    --------
    >>> @remembered(maxsize=2)
    ... def shout(text):
    ...     print("working")
    ...     return text.upper()
    >>> shout("no effusion") == shout("no effusion")
    working
    True
    """

    def decorated(function: Callable[Concatenate[str, P], Result]) -> Callable[Concatenate[str, P], Result]:
        kept = cast(Callable[Concatenate[str, P], Result], lru_cache(maxsize)(function))

        @wraps(function)
        def answer(text: str, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            chosen = kept if len(text) <= LONGEST else function
            return chosen(text, *args, **kwargs)

        return answer

    return decorated
