"""What goes wrong, said in four parts: the argument, what was expected, what was got, what to do next.

Never a patient id, a sample id or a pixel value in a message: logs travel further than data may.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TypeVar

__all__ = ["AuditWarning", "ImageReadError", "InputError", "MissingExtraError", "UnknownKeywordError", "check_keywords"]

F = TypeVar("F", bound=Callable)


def four_parts(argument: str, expected: str, got: str, action: str) -> str:
    """Return the message every deliberate error of this package has."""
    return f"{argument}: expected {expected}, got {got}. {action}"


class InputError(ValueError):
    """A value the audit cannot work with; the message says which argument, and what to do."""

    def __init__(self, argument: str, expected: str, got: str, action: str) -> None:
        super().__init__(four_parts(argument, expected, got, action))
        self.argument = argument

    def under(self, before: str, after: str) -> InputError:
        """Return the same error with the argument under the name that the caller knows."""
        argument = self.argument.replace(before, after, 1)
        return _rebuild(type(self), argument + str(self).removeprefix(self.argument), argument)

    def __reduce__(self):
        return _rebuild, (type(self), str(self), self.argument)


class ImageReadError(InputError):
    """An image that is missing, damaged, too large or outside its root; `reason` is a word for tables."""

    def __init__(self, argument: str, expected: str, got: str, action: str, *, reason: str = "unreadable") -> None:
        super().__init__(argument, expected, got, action)
        self.reason = reason

    def parts(self) -> tuple[str, str, str]:
        """Return message, argument and reason, from which `told` makes the error again."""
        return str(self), self.argument, self.reason

    @classmethod
    def told(cls, message: str, argument: str, reason: str) -> ImageReadError:
        """Return the error that has these `parts`."""
        return _rebuild(cls, message, argument, reason)  # type: ignore[return-value]

    def __reduce__(self):
        return _rebuild, (type(self), *self.parts())


def _rebuild(kind: type[InputError], message: str, argument: str, reason: str | None = None) -> InputError:
    error = kind.__new__(kind)
    ValueError.__init__(error, message)
    error.argument = argument
    if reason is not None:
        error.reason = reason  # type: ignore[attr-defined]
    return error


class UnknownKeywordError(TypeError):
    """A keyword that a function does not have, with the nearest one that it has."""


class MissingExtraError(ImportError):
    """An optional package is not installed; the message names the feature and the line that installs it."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(f'{feature} needs the package {package}. Install it with: pip install "mmaudit[{extra}]"')
        self._parts = (feature, package, extra)

    def __reduce__(self):
        return type(self), self._parts


class AuditWarning(UserWarning):
    """Something in the data or the set-up that weakens what the audit can say."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint such as " Did you mean 'label'?" for the known word nearest to `word`, or ""."""
    by_lower = {str(k).lower(): str(k) for k in known}
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1, cutoff=0.6)
    return f" Did you mean {by_lower[close[0]]!r}?" if close else ""


def check_keywords(function: F) -> F:
    """Decorate `function` so that an unknown keyword raises `UnknownKeywordError` with a spelling hint."""
    known = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name not in ("self", "cls")
    ]

    @functools.wraps(function)
    def checked(*args, **kwargs):
        for keyword in kwargs:
            if keyword not in known:
                raise UnknownKeywordError(
                    f"{keyword}: expected one of the keywords of {function.__name__}() ({', '.join(known)}), "
                    f"got an unknown keyword.{nearest(keyword, known)} Check the spelling."
                )
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]
