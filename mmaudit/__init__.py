"""Find the patients a medical image classifier fails on, confirm it on held-out patients, say it in words.

Names are loaded when first used, so that `import mmaudit` stays quick and needs none of the optional packages.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "AuditData": "mmaudit.data",
    "AuditResult": "mmaudit.result",
    "AuditWarning": "mmaudit._errors",
    "InputError": "mmaudit._errors",
    "MissingExtraError": "mmaudit._errors",
    "apply_rules": "mmaudit.rules",
    "audit": "mmaudit._audit",
    "load_result": "mmaudit.result",
    "test_hypothesis": "mmaudit._hypothesis",
}
_MODULES = ("classifiers", "confirm", "datasets", "encoders", "explain", "failures", "shards", "slicers", "widgets")

if TYPE_CHECKING:
    from mmaudit import classifiers, confirm, datasets, encoders, explain, failures, shards, slicers, widgets
    from mmaudit._audit import audit
    from mmaudit._errors import AuditWarning, InputError, MissingExtraError
    from mmaudit._hypothesis import test_hypothesis
    from mmaudit.data import AuditData
    from mmaudit.result import AuditResult, load_result
    from mmaudit.rules import apply_rules

__all__ = [
    "AuditData",
    "AuditResult",
    "AuditWarning",
    "InputError",
    "MissingExtraError",
    "__version__",
    "apply_rules",
    "audit",
    "classifiers",
    "confirm",
    "datasets",
    "encoders",
    "explain",
    "failures",
    "load_result",
    "shards",
    "slicers",
    "test_hypothesis",
    "widgets",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"mmaudit.{name}")
    else:
        raise AttributeError(f"module 'mmaudit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
