"""What the loaders share: folders and tables that must be there, a choice among words, terms of a label."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmaudit._errors import AuditWarning, InputError, nearest
from mmaudit._tables import error_name, read_csv

__all__ = ["check_choice", "existing_folder", "label_terms", "listed", "read_table", "warn"]

# Words with which a report restates a label. Only restatements: signs of a disease ("blunted angle") are findings in
# their own right and stay visible to an explanation.
_TERMS = {
    "atelectasis": ("atelectases", "atelectatic", "collapse"),
    "cardiomegaly": ("enlarged heart", "enlarged cardiac silhouette", "heart is enlarged", "cardiac enlargement"),
    "consolidation": ("consolidations", "consolidative"),
    "covid-19": (
        *("covid", "covid19", "sars-cov-2", "sars-cov2", "sars cov 2", "sars-cov", "coronavirus"),
        *("2019-ncov", "ncov", "pcr", "rt-pcr", "swab"),
    ),
    "edema": ("oedema", "edematous", "pulmonary edema", "vascular congestion"),
    "enlarged cardiomediastinum": ("widened mediastinum", "mediastinal widening", "enlarged mediastinum"),
    "fracture": ("fractures", "fractured"),
    "infiltration": ("infiltrate", "infiltrates"),
    "lung lesion": ("lesion", "lesions", "nodule", "nodules", "mass", "masses"),
    "lung opacity": ("opacity", "opacities", "opacification"),
    "mass": ("masses",),
    "no finding": ("normal", "unremarkable", "no acute", "clear"),
    "nodule": ("nodules", "nodular"),
    "pleural effusion": ("effusion", "effusions", "pleural effusions", "pleural fluid", "hydrothorax"),
    "pleural other": ("pleural thickening", "pleural plaque", "pleural scarring"),
    "pleural thickening": ("pleural scarring", "thickened pleura"),
    "pneumonia": ("pneumonias", "pneumonic"),
    "pneumothorax": ("pneumothoraces", "hydropneumothorax"),
    "sars": ("sars-cov", "severe acute respiratory syndrome", "coronavirus"),
    "support devices": (
        *("tube", "catheter", "line", "pacemaker", "icd", "picc", "leads", "wires", "endotracheal", "nasogastric"),
    ),
}
_SAME_LABEL = {
    "effusion": "pleural effusion",
    "opacity": "lung opacity",
    "lesion": "lung lesion",
    "pulmonary edema": "edema",
    "infiltrate": "infiltration",
    "normal": "no finding",
}


def label_terms(label: str) -> tuple[str, ...]:
    """Return the words that restate `label` in a report, in lower case, its own name first."""
    name = label.strip().lower().replace("_", " ")
    known = _SAME_LABEL.get(name, name)
    return tuple(dict.fromkeys((name, known, *_TERMS.get(known, ()))))


def check_choice(argument: str, value: Any, choices: Sequence[Any]) -> None:
    """Raise `InputError` unless `value` is one of `choices`."""
    if value not in choices:
        hint = nearest(value, [c for c in choices if c is not None]) if isinstance(value, str) else ""
        raise InputError(
            argument, f"one of {', '.join(repr(c) for c in choices)}", f"{value!r}", f"Choose one of them.{hint}"
        )


def existing_folder(argument: str, path: str | Path, what: str, where: str) -> Path:
    """Return `path` if it is a folder, else raise `InputError` that says what belongs there and where to get it."""
    folder = Path(path)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "a path at which there is none"
        raise InputError(argument, f"the folder of {what}", got, f"Check the path; the data are at {where}")
    return folder


def read_table(argument: str, path: Path, *, required: Iterable[str] = (), **options: Any) -> pd.DataFrame:
    """Return the CSV file at `path` (gzip by its name), or raise `InputError` if it is damaged or lacks columns."""
    try:
        table = read_csv(path, encoding_errors="replace", **options)
    except (ValueError, OSError) as error:
        raise InputError(
            argument,
            f"a whole CSV file {path.name}",
            f"one that cannot be read ({error_name(error)})",
            "Get it again.",
        ) from None
    absent = [c for c in required if c not in table.columns]
    if absent:
        raise InputError(
            argument,
            f"the column{'s' if len(absent) > 1 else ''} {', '.join(absent)} in {path.name}",
            f"a table of {len(table.columns):,} columns without",
            "Check that the file is the original one.",
        )
    return table


def warn(message: str) -> None:
    """Warn in the name of whoever called the loader that calls this (loaders are wrapped by `check_keywords`)."""
    warnings.warn(message, AuditWarning, stacklevel=4)


def listed(words: Iterable[Any], most: int = 15) -> str:
    """Return words as one readable list, cut after `most`."""
    names = [str(w) for w in words]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
