"""Whether the roles that were chosen make cases to audit, and how a notebook has to make them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types

from mmaudit._errors import AuditWarning, ImageReadError, InputError, MissingExtraError, nearest
from mmaudit._tables import to_numbers
from mmaudit.data import AuditData
from mmaudit.images import ImageFiles
from mmaudit.lab._guess import (
    doubtful_name,
    matched,
    pairs_by_name,
    plain_ids,
    training_rows,
    undecided_among,
    yes_value,
)
from mmaudit.lab._leaks import MOST_FEW, Predicted, auroc, leak
from mmaudit.lab._plan import Plan, keeping, labelling
from mmaudit.lab._table import Table, text_of

__all__ = ["Checked", "check_roles"]

BUILD_ROWS = 400_000
LOOK_FOR_FILES = 5_000
OPENED = 12  # images, to see whether they can be
MANY_OPENED = 60
FEW_PATIENTS, LEAST_PATIENTS = 50, 20
RARE_CASES = 20
FOLDS = 5
ONE_SIDED = 0.97
CLEARLY = 3  # standard errors below chance
BAD_SHARE = 0.05  # of unreadable images, beyond which an audit stops

# What the dialog calls each argument.
FIELDS = {
    "df": "Table",
    "label": "Label",
    "label_name": "Label",
    "y_proba": "Probability",
    "patient_id": "Patient",
    "sample_id": "Sample id",
    "image": "Image",
    "image_root": "Folder of the images",
    "report": "Report",
    "metadata": "Metadata",
    "threshold": "Threshold",
    "data": "Table",
}


@dataclass
class Checked:
    """What a check found."""

    plan: Plan
    summary: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    pairs: list[list[str]] = field(default_factory=list)
    n_samples: int = 0
    n_patients: int = 0

    def to_answer(self) -> dict[str, Any]:
        """Return it as the page gets it."""
        return {
            "summary": self.summary,
            "warnings": self.warnings,
            "pairs": self.pairs,
            "stand_in": self.plan.stand_in is not None,
            "image_root": self.plan.image_root,
            "n_samples": self.n_samples,
            "n_patients": self.n_patients,
        }


def check_roles(table: Table, roles: Mapping[str, Any], step: Callable[[int, int, str], None]) -> Checked:
    """Return how the notebook makes cases of a table, with what is to be said of them before.

    Raises
    ------
    InputError
        Under the name of a field of the dialog: columns that are missing or have two roles, and what
        `AuditData.from_frame` and an audit do not take.
    """
    given = _given_roles(table, roles)
    step(0, 3, "Reading the table")
    columns, texts = _to_read(given)
    splits = [name for name, values in table.first.items() if training_rows(name, values) is not None]
    frame = table.read([*columns, *splits], texts)
    plan = _plan(table, given, frame)
    step(1, 3, "Looking at the rows")
    cases, left_out, plan = _prepare(plan, frame)
    checked = Checked(plan)
    if plan.image is not None:
        step(2, 3, "Looking for the images")
        cases = _check_images(checked, cases, left_out)
    plan = checked.plan
    if cases.empty:
        reasons = ", ".join(f"{n:,} {why}" for n, why in left_out)
        raise InputError("Table", "rows that can take part", f"none ({reasons})", "Choose other columns.")
    checked.plan = plan = _with_sample_id(checked, cases)
    data = _build(plan, cases)
    _check_patients(checked, cases)
    _tell(checked, frame, cases, left_out)
    _warn(checked, cases)
    _warn_of_training(checked, cases[splits])
    _warn_of_leaks(checked, cases, data)
    return checked


# From the roles of the dialog to a plan

_COLUMN_ROLES = ("label", "proba", "patient_id", "sample_id", "image", "report", "metadata")


def _listed(given: Any) -> list:
    return given if isinstance(given, list) else [given]


def _given_roles(table: Table, roles: Mapping[str, Any]) -> dict[str, Any]:
    """Return the roles, each a list of columns, one or None, checked against the table and each other."""
    names = set(table.first.columns)
    given: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for role in _COLUMN_ROLES:
        field_ = FIELDS["y_proba" if role == "proba" else role]
        value = roles.get(role)
        several = role in ("label", "proba", "metadata")
        columns = [] if value in (None, "") else [value] if isinstance(value, str) else value
        if not isinstance(columns, (list, tuple)) or not all(isinstance(column, str) for column in columns):
            raise InputError(field_, "names of columns", "something else", "Choose again.")
        for column in columns:
            if column not in names:
                hint = nearest(column, names)
                raise InputError(field_, "a column of the table", f"{column!r}, which it does not have", f"Look.{hint}")
            before = taken.get(column)
            if before is not None and {before, field_} != {"Sample id", "Image"}:
                got = f"{column!r}, which is {before} too"
                raise InputError(field_, "a column with no other role", got, "Give it one role.")
            taken[column] = field_
        if not several and len(columns) > 1:
            raise InputError(field_, "one column", f"{len(columns)}", "Choose one.")
        given[role] = list(columns) if several else (columns[0] if columns else None)
    if not given["label"]:
        raise InputError("Label", "a column that says what is true", "none", "Choose one, or several.")
    given["positive"] = _given_positive(roles.get("positive"))
    given["image_root"] = _given_root(table, given["image"], roles.get("image_root"))
    given["threshold"] = _given_threshold(roles.get("threshold"))
    return given


def _given_positive(value: Any) -> list[str]:
    if value is not None and not (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        raise InputError("Counts as 1", "values of the label", "something else", "Choose again.")
    return list(value or [])


def _given_root(table: Table, image: str | None, root: Any) -> str | None:
    if image is None or root is None or not str(root).strip():
        return None
    root = str(root).strip()
    if "\0" in root or not (table.path.parent / root).is_dir():
        action = "Name the folder in which the images lie, as seen from the table."
        raise InputError("Folder of the images", "a folder", "a name where there is none", action)
    return root


def _given_threshold(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise InputError("Threshold", "a number between 0 and 1", f"{value!r}"[:40], "Leave it empty, or mend it.")
    return float(value)


def _to_read(given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the columns that have a role, and those of them that are text."""
    ids = [given[role] for role in ("patient_id", "sample_id", "image") if given[role] is not None]
    columns = [*given["label"], *given["proba"], *ids, *given["metadata"]]
    if given["report"] is not None:
        columns.append(given["report"])
    return columns, list(dict.fromkeys(ids))


def _plan(table: Table, given: Mapping[str, Any], frame: pd.DataFrame) -> Plan:
    labels, probas = given["label"], given["proba"]
    for name in _to_read(given)[0]:
        some = frame[name].dropna().iloc[:20]
        is_label = name in labels
        if not all(isinstance(v, _PLAIN_TYPES) if is_label else pandas_types.is_hashable(v) for v in some):
            role = next(FIELDS["y_proba" if r == "proba" else r] for r in _COLUMN_ROLES if name in _listed(given[r]))
            raise InputError(role, "numbers, texts or booleans", f"another kind in {name!r}", "Choose another column.")
    classes: list[Any] = []
    ones: list[Any] = []
    undecided: list[Any] = []
    by_position = False
    if len(labels) > 1:
        kind = "multilabel"
        probas = _ordered(labels, probas)
        ones, undecided = _ones(frame, labels, given["positive"])
    elif len(probas) > 2:
        kind = "multiclass"
        if given["positive"]:
            got = f"{len(probas)} columns, and values that count as 1"
            action = "Choose one column of Probability, or no value that counts as 1."
            raise InputError("Probability", "one column, of label 1", got, action)
        classes, by_position = _classes(frame, labels[0], probas)
    else:
        kind = "binary"
        if len(probas) == 2:
            action = "Keep that of label 1."
            raise InputError("Probability", "one column, or one for each of three or more classes", "two", action)
        ones, undecided = _ones(frame, labels, given["positive"])
    return Plan(
        table=table,
        kind=kind,
        label=tuple(labels),
        ones=tuple(ones),
        undecided=tuple(undecided),
        classes=tuple(classes),
        target=_target(labels, kind, ones, classes, table.first.columns),
        proba=tuple(probas),
        stand_in=_stand_in(given, kind),
        **{role: given[role] for role in ("patient_id", "sample_id", "image", "image_root", "report", "threshold")},
        metadata=tuple(given["metadata"]),
        by_position=by_position,
    )


_PLAIN_TYPES = (str, bool, int, float, np.bool_, np.integer, np.floating)


def _ordered(labels: Sequence[str], probas: Sequence[str]) -> list[str]:
    """Return the columns of probabilities in the order of the labels: by their names, else as they were chosen."""
    if not probas:
        action = "Choose one for each label; or one label, for which the notebook can make a stand-in."
        raise InputError("Probability", f"{len(labels)} columns, one a label", "none", action)
    if len(probas) != len(labels):
        got, action = f"{len(probas)}", "Choose one for each label."
        raise InputError("Probability", f"{len(labels)} columns, one a label", got, action)
    pairs = pairs_by_name(labels, probas)
    if len(pairs) == len(labels) and len(set(pairs.values())) == len(labels):
        return [pairs[label] for label in labels]
    return list(probas)


def _by_text(frame: pd.DataFrame, columns: Sequence[str]) -> dict[str, Any]:
    """Return the values of columns by the text that the dialog shows of them."""
    found: dict[str, Any] = {}
    for column in columns:
        for value in frame[column].dropna().unique():
            found.setdefault(text_of(value), value.item() if isinstance(value, np.generic) else value)
    return found


def _values(known: Mapping[str, Any], label: str, chosen: Sequence[str]) -> list[Any]:
    """Return the values of these texts, whole numbers without a point."""
    absent = [text for text in chosen if text not in known]
    if absent:
        got = f"{len(absent)} that {label!r} does not have"
        raise InputError("Counts as 1", "values of the label", got, "Choose again.")
    return _whole([known[text] for text in chosen])


def _ones(frame: pd.DataFrame, labels: Sequence[str], chosen: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Return the values that count as 1, none where labels are 0 and 1 already, and those that count as missing."""
    known = _by_text(frame, labels)
    undecided = [text for text in undecided_among(known) if text not in chosen]
    decided = [text for text in known if text not in undecided]
    plain = set(decided) <= _ZERO_ONE and all(isinstance(known[text], (bool, int, float)) for text in decided)
    if not chosen and not plain:
        yes = yes_value(decided)
        if yes is None:
            many = f"{len(decided):,} different values"
            if len(decided) > MOST_FEW:
                raise InputError("Label", "0 and 1, or few values", many, "Check that it is the label's column.")
            raise InputError("Counts as 1", "at least one value of the label", "none", "Tick the values that do.")
        chosen = [yes]
    elif not chosen and undecided and len(labels) > 1:
        chosen = [text for text in decided if text in ("1", "True")]  # the rest becomes 0, or missing
    if chosen and set(decided) <= set(chosen):
        raise InputError("Counts as 1", "some values of the label", "all of them", "Leave those that count as 0 open.")
    return _values(known, labels[0], chosen), _whole([known[text] for text in undecided])


_ZERO_ONE = {"0", "1", "True", "False"}


def _classes(frame: pd.DataFrame, label: str, probas: Sequence[str]) -> tuple[list[Any], bool]:
    """Return the value of the label that each column of probabilities belongs to, and whether by position."""
    known = _by_text(frame, [label])
    classes, by_position = matched(list(known), probas)
    if not classes:
        raise InputError(
            "Probability",
            f"columns named after the values of {label!r}, such as p_normal, one a class",
            f"{len(probas)} columns whose classes cannot be told",
            "Rename them in the table; or keep one, and choose which values count as 1.",
        )
    return _whole([known[text] for text in classes]), by_position


def _whole(values: Sequence[Any]) -> list[Any]:
    """Return whole numbers without a point: a missing value elsewhere in the column makes floats of them."""
    return [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]


def _target(labels: Sequence[str], kind: str, ones: Sequence, classes: Sequence, names: Any) -> tuple[str, ...]:
    """Return the columns of labels that the audit gets: new ones where the values change."""
    if kind == "multilabel" or (not ones and list(classes) == list(range(len(classes)))):
        return tuple(labels)
    new = "class_number" if classes else "is_positive"
    while new in names:
        new += "_"
    return (new,)


def _stand_in(given: Mapping[str, Any], kind: str) -> str | None:
    if given["proba"]:
        return None
    if given["image"] is not None:
        return "image"
    if given["metadata"]:
        return "metadata"
    action = "Choose the column of probabilities; or images or metadata, from which a stand-in can be made."
    raise InputError("Probability", "a column", "none, and neither images nor metadata", action)


# Rows to cases


def _prepare(plan: Plan, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[int, str]], Plan]:
    """Return the rows that take part, how many were left out for what, and the plan that says so.

    The code of the notebook is run, so that both do the same. Files of images are not looked for.
    """
    space: dict[str, Any] = {"cases": frame}
    left_out = {}
    for code, what in keeping(plan):
        before = len(space["cases"])
        exec(code, space)
        left_out[what] = before - len(space["cases"])
    exec(labelling(plan), space)
    plan = replace(plan, lacking=frozenset(what for what, n in left_out.items() if n))
    said = {"a label": f"without {_label_words(plan)}", "a probability": "without a probability"}
    return space["cases"], [(n, said[what]) for what, n in left_out.items() if n], plan


def _label_words(plan: Plan) -> str:
    if plan.classes:
        return "a class that has a column of probabilities"
    some = " or ".join(text_of(value) for value in plan.undecided)
    return f"a label, or that say {some}" if some else "a label"


def _check_images(checked: Checked, cases: pd.DataFrame, left_out: list[tuple[int, str]]) -> pd.DataFrame:
    """Return the cases whose image files are there, among at most 5,000 that were looked for."""
    plan = checked.plan
    paths = [None if pd.isna(p) or not str(p) else str(p) for p in cases[plan.image]]
    if any(path is not None and "://" in path for path in paths):
        raise InputError("Image", "paths of files", "web addresses", "Load the images to this machine first.")
    # Paths are seen from the table's folder, in which the notebook runs.
    root = plan.table.path.parent / plan.image_root if plan.image_root else plan.table.path.parent
    looked = _spread(len(paths), LOOK_FOR_FILES)
    files = ImageFiles(paths, root if plan.image_root else None)
    there = np.ones(len(paths), dtype=bool)
    for i in looked:
        there[i] = _is_file(files, paths[i], int(i), root)
    n_there = int(there[looked].sum())
    where = f" in {plan.image_root}" if plan.image_root else ""
    if not n_there and len(looked):
        action = "Name the folder in which they lie, or use no Image."
        name = "Folder of the images"
        raise InputError(name, f"the files that {plan.image!r} names", f"none of {len(looked):,}{where}", action)
    of = f"{len(looked):,}" + ("" if len(looked) == len(paths) else " looked for")
    checked.summary.append(f"Images: {n_there:,} of {of} are files{where}.")
    if n_there < len(looked):
        n = len(looked) - n_there
        if len(looked) == len(paths):
            left_out.append((n, "without an image file"))
        else:
            checked.warnings.append(f"Image: {n:,} of {of} are no files; such rows are left out in the notebook.")
    cases = cases[there]
    _open_some(checked, [paths[i] for i in np.flatnonzero(there)], root if plan.image_root else None)
    return cases


def _is_file(files: ImageFiles, path: str | None, index: int, root: Path) -> bool:
    if path is None:
        return False
    if files.root is None:
        return os.path.isfile(os.path.join(root, path))  # noqa: PTH113, PTH118  as in the notebook; it never raises
    try:
        files.path(index)
    except ImageReadError as error:
        if error.reason == "outside image_root":
            action = "Leave the folder empty, or name one that holds all of them."
            raise InputError("Folder of the images", "every image in it", "a path that leads outside", action) from None
        return False
    return True


def _open_some(checked: Checked, paths: list[str | None], root: Path | None) -> None:
    """Open a few images, so that a kind that cannot be read is told before the notebook is made."""
    plan = checked.plan
    if root is None:
        paths = [None if path is None else str(plan.table.path.parent / path) for path in paths]
    files = ImageFiles(paths, root)
    is_large = len(paths) > LOOK_FOR_FILES
    chosen = _spread(len(paths), MANY_OPENED if is_large else OPENED)
    failed = []
    for i in chosen:
        try:
            files.read(int(i), max_side_px=64)
        except ImageReadError as error:
            failed.append(error.reason)
        except MissingExtraError as error:
            raise InputError("Image", "images that can be read here", "a kind that cannot", str(error)) from None
    if failed and len(failed) == len(chosen):
        got = f"{len(chosen)} tried, each {failed[0]}"
        raise InputError("Image", "images that can be read", got, "Look at one of the files, or use no Image.")
    if failed:
        said = f"Image: {len(failed)} of {len(chosen)} tried cannot be read; such rows are left out in the notebook."
        checked.warnings.append(said)
    opens = bool(failed) or not is_large or plan.stand_in == "image"
    checked.plan = replace(plan, opens_images=opens)


def _spread(n: int, most: int) -> np.ndarray:
    """Return at most `most` positions, evenly spread over n."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).astype(int))


def _with_sample_id(checked: Checked, cases: pd.DataFrame) -> Plan:
    """Return the plan with a sample id that names each row, the path of its image if no other; or with none."""
    plan = checked.plan
    name = plan.sample_id or plan.image
    if name is None:
        return plan
    ids = cases[name]
    problem = f"{int(ids.duplicated().sum()):,} repeated values" if ids.duplicated().any() else ""
    problem = f"{int(ids.isna().sum()):,} missing values" if ids.isna().any() else problem
    if problem and plan.sample_id is not None:
        checked.warnings.append(f"Sample id: {name!r} has {problem} and is not used; rows are named by their number.")
    return replace(plan, sample_id=None if problem else name)


def _build(plan: Plan, cases: pd.DataFrame) -> AuditData:
    """Return the data that the notebook makes, of 400,000 rows at most; raise what it would, in words of the dialog."""
    _check_values(plan, cases)
    keywords = plan.keywords()
    if plan.image_root is not None:
        keywords["image_root"] = plan.table.path.parent / plan.image_root
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AuditWarning)
            data = AuditData.from_frame(cases.iloc[_spread(len(cases), BUILD_ROWS)], **keywords)
            if plan.threshold is not None and plan.proba:
                data.targets(plan.threshold)
    except InputError as error:
        raise _in_words(error, plan) from None
    return data


def _check_values(plan: Plan, cases: pd.DataFrame) -> None:
    """Raise for what some rows only would show."""
    for column in plan.proba:
        values = to_numbers(cases[column])
        if values.isna().any():
            got = f"{int(values.isna().sum()):,} values of {column!r} that are none"
            raise InputError("Probability", "numbers", got, "Choose another column, or mend the table.")
        outside = int(((values < -1e-6) | (values > 1 + 1e-6) | ~np.isfinite(values.astype(float))).sum())
        if outside:
            low, high = float(values.min()), float(values.max())
            looks = "They look like percentages: divide by 100." if low >= 0 and high <= 100 and high > 1 else ""
            looks = "They look like logits: apply the sigmoid." if low < 0 else looks
            got = f"{outside:,} of {column!r} outside, from {low:.3g} to {high:.3g}"
            raise InputError("Probability", "numbers in [0, 1]", got, looks or "Choose another column.")
    if plan.patient_id is not None:
        patients = cases[plan.patient_id]
        missing = int((patients.isna() | patients.astype(str).str.strip().eq("")).sum())
        if missing:
            action = "Fill them in, leave these rows out of the table, or use no Patient."
            raise InputError("Patient", "a patient in each row", f"{missing:,} rows without", action)
        twice = patients.nunique() - plain_ids(patients).nunique()
        if twice:
            action = "Write them alike in the table: `.str.strip().str.removesuffix('.0')`."
            got = f"{twice:,} more ids, the same id written in two ways, with a space or .0"
            raise InputError("Patient", "one way to write each patient's id", got, action)


def _in_words(error: InputError, plan: Plan) -> InputError:
    """Return an error with the name of the field instead of the argument, and the column where there are several."""
    argument, number = re.fullmatch(r"(\w+)(?:\[(\d+)\])?.*", error.argument).groups()  # type: ignore[union-attr]
    columns = {"y_proba": plan.proba, "label": plan.label, "metadata": plan.metadata}.get(argument, ())
    field_ = FIELDS.get(argument, argument)
    said = str(error).removeprefix(error.argument).removeprefix(": ")
    which = f"{columns[int(number)]!r}: " if number is not None and int(number) < len(columns) else ""
    new = InputError(field_, "", "", "")
    new.args = (f"{field_}: {which}{said}",)
    return new


# What is said of it


def _patients(plan: Plan, cases: pd.DataFrame) -> pd.Series:
    return pd.Series(cases.index, cases.index) if plan.patient_id is None else cases[plan.patient_id]


def _check_patients(checked: Checked, cases: pd.DataFrame) -> None:
    plan = checked.plan
    patients = _patients(plan, cases)
    checked.n_samples, checked.n_patients = len(cases), int(patients.nunique())
    if checked.n_patients < LEAST_PATIENTS:
        got = f"{checked.n_patients}"
        action = "With so few, no finding could be told from chance: add patients."
        what = f"at least {LEAST_PATIENTS} patients, to discover on some and confirm on others"
        raise InputError("Table" if plan.patient_id is None else "Patient", what, got, action)
    if plan.kind != "binary":
        return
    y = cases[plan.target[0]].astype(float)
    fewest = min(int(patients[y == label].nunique()) for label in (0, 1))
    least = FOLDS if plan.stand_in else 2
    if fewest < least:
        what = f"at least {least} patients of each label"
        raise InputError("Label", what, f"{fewest} of the rarer one", "Add patients, or choose another label.")


def _tell(checked: Checked, frame: pd.DataFrame, cases: pd.DataFrame, left_out: list[tuple[int, str]]) -> None:
    plan = checked.plan
    of = "patients" if plan.patient_id is not None else "patients (each row its own)"
    lines = [f"{len(cases):,} of {len(frame):,} rows take part, of {checked.n_patients:,} {of}."]
    lines += [f"Left out: {n:,} rows {why}." for n, why in left_out]
    if plan.kind == "binary":
        y = cases[plan.target[0]].astype(float)
        shown = ", ".join(text_of(v) for v in plan.ones[:5]) + (" …" if len(plan.ones) > 5 else "")
        means = f" ({shown})" if plan.ones else ""
        lines.append(f"Label {plan.label[0]!r}: {int(y.sum()):,} cases are 1{means}, {100 * y.mean():.0f} %.")
    elif plan.kind == "multiclass":
        counts = cases[plan.label[0]].value_counts()
        shares = ", ".join(f"{text_of(v)} {int(counts.get(v, 0)):,}" for v in plan.classes)
        lines.append(f"Classes of {plan.label[0]!r}: {shares}.")
    else:
        shares = ", ".join(f"{name} {100 * cases[name].mean():.0f} %" for name in plan.label)
        lines.append(f"{len(plan.label)} labels: {shares}.")
        for value in plan.undecided:
            n = int(frame[list(plan.label)].isin([value]).sum().sum())
            lines.append(f"{n:,} labels say {text_of(value)}, which counts as missing.")
    if plan.stand_in:
        what = {"image": "the images", "metadata": "the metadata"}[plan.stand_in]
        lines.append(
            f"No probabilities: the notebook makes a stand-in from {what}, to be replaced by your classifier's own."
        )
    if plan.sample_id is not None:
        lines.append(f"Each case is named by {plan.sample_id!r}.")
    checked.summary = lines + checked.summary
    if plan.proba:
        names = [text_of(v) for v in plan.classes] if plan.classes else plan.label
        checked.pairs = [[str(name), proba] for name, proba in zip(names, plan.proba, strict=True)]
    if plan.kind == "multilabel" and len(pairs_by_name(plan.label, plan.proba)) < len(plan.label):
        checked.warnings.append(
            "Probability: names do not tell which belongs to which label; they are paired in the order of the columns."
        )
    if plan.by_position:
        pairs = ", ".join(f"{proba!r} is of {name!r}" for name, proba in checked.pairs)
        checked.warnings.append(f"Probability: names do not tell the classes; they are paired by position: {pairs}.")


def _warn(checked: Checked, cases: pd.DataFrame) -> None:
    plan, say = checked.plan, checked.warnings.append
    if plan.patient_id is None:
        say("Patient: none is chosen, so each row counts as a patient. If patients have several rows, choose theirs.")
    if checked.n_patients < FEW_PATIENTS:
        say(f"Patient: {checked.n_patients} patients are few; only large differences can be confirmed.")
    for name, column in zip(_label_texts(plan), _truths(plan, cases), strict=True):
        n = int(min((column == 1).sum(), (column == 0).sum()))
        if n < RARE_CASES:
            say(f"Label: {n} cases of the rarer kind of {name!r}; fewer than {RARE_CASES} say little.")
    for column in plan.proba:
        if cases[column].min() == cases[column].max():
            say(f"Probability: {column!r} is the same in every row.")
    if plan.kind == "binary" and plan.proba:
        _warn_of_threshold(checked, cases[plan.proba[0]].astype(float), float(cases[plan.target[0]].mean()))
    if plan.stand_in and plan.threshold is not None:
        say("Threshold: it is meant for your probabilities, and is applied to the stand-in too.")


def _warn_of_training(checked: Checked, splits: pd.DataFrame) -> None:
    for name, values in splits.items():
        rows = training_rows(str(name), values)
        if rows is not None and rows.any():
            said = f"{int(rows.sum()):,} rows say train in {name!r}: audit rows that the classifier has not seen."
            checked.warnings.append(f"Table: {said}")


def _warn_of_leaks(checked: Checked, cases: pd.DataFrame, data: AuditData) -> None:
    """Warn of probabilities that do not fit their label, and of metadata made from either."""
    plan, say = checked.plan, checked.warnings.append
    targets = data.targets(plan.threshold or 0.5) if plan.proba else []
    for column, target in zip(plan.proba, targets, strict=True):
        area, error = auroc(target.y_true, target.y_proba)
        if area < 0.5 - CLEARLY * error:
            say(f"Probability: {column!r} is lower where the label is 1 (AUROC {area:.2f}): is it of the other class?")
        elif area > 0.999:
            say(f"Label: {column!r} tells it without error; the label may be the classifier's own decision.")
    predicted = [Predicted(target.y_true, target.y_proba, target.says) for target in targets]
    rows = cases.iloc[_spread(len(cases), BUILD_ROWS)]
    for column in plan.metadata:
        told = leak(rows[column], data.truths(), predicted) or doubtful_name(column)
        if told:
            say(f"Metadata: {column!r} {told}" + ("." if told[-1].isalpha() else ""))


def _label_texts(plan: Plan) -> list[str]:
    return [text_of(v) for v in plan.classes] or list(plan.label)


def _truths(plan: Plan, cases: pd.DataFrame) -> list[pd.Series]:
    if plan.classes:
        return [(cases[plan.label[0]] == value).astype(int) for value in plan.classes]
    return [cases[name].astype(float) for name in plan.target]


def _warn_of_threshold(checked: Checked, proba: pd.Series, prevalence: float) -> None:
    threshold = checked.plan.threshold or 0.5
    share = float((proba >= threshold).mean())
    called, there = min(share, 1 - share), min(prevalence, 1 - prevalence)
    if max(share, 1 - share) < ONE_SIDED or called > there / 3:
        return
    what = "1" if share > 0.5 else "0"
    shown = round(prevalence, 2) or 0.01
    checked.warnings.append(
        f"Threshold: {threshold:g} calls {100 * max(share, 1 - share):.0f} % of the cases {what}, while "
        f"{100 * prevalence:.0f} % are 1. If no other is in use, try {shown:g}, the share of label 1."
    )
