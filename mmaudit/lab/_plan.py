"""How the rows of a table become cases: the roles, and the code that a notebook shows and a check runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmaudit.lab._guess import fold
from mmaudit.lab._table import Table, text_of

__all__ = ["Plan", "keeping", "labelling", "literal"]


@dataclass(frozen=True)
class Plan:
    """Roles of columns that were checked.

    Attributes
    ----------
    kind : {"binary", "multilabel", "multiclass"}
    ones : tuple
        Values of the label that count as 1; empty where it is 0 and 1 already.
    undecided : tuple
        Values of the label that count as missing.
    classes : tuple
        Values of the label in the order of the columns of probabilities; empty where there are no classes.
    target : tuple of str
        Columns of labels that `AuditData` gets: those of the table, or a new one.
    by_position : bool
        Whether classes have their columns of probabilities by position, for want of names.
    lacking : frozenset of str
        What some rows lack and are left out for: "a label", "a probability".
    stand_in : {"image", "metadata"} or None
        What probabilities are made of where there are none.
    opens_images : bool
        Whether images that cannot be read are looked for before the audit.
    """

    table: Table
    kind: str
    label: tuple[str, ...]
    ones: tuple[Any, ...]
    undecided: tuple[Any, ...]
    classes: tuple[Any, ...]
    target: tuple[str, ...]
    proba: tuple[str, ...]
    patient_id: str | None
    sample_id: str | None
    image: str | None
    image_root: str | None
    report: str | None
    metadata: tuple[str, ...]
    threshold: float | None
    stand_in: str | None
    by_position: bool = False
    lacking: frozenset[str] = frozenset()
    opens_images: bool = False

    @property
    def texts(self) -> list[str]:
        """Columns that are read as text."""
        names = (self.patient_id, self.sample_id, self.image)
        return list(dict.fromkeys(name for name in names if name is not None))

    @property
    def label_name(self) -> str | list[str] | None:
        """What label 1 means, or the name of each class; None: the name of the column."""
        if self.classes:
            return [text_of(value) for value in self.classes]
        if self.kind == "binary" and self.ones:
            first = text_of(self.ones[0])
            return self.label[0] if fold(first) in _PLAIN or len(self.ones) > 3 else first
        return None

    @property
    def label_terms(self) -> list[str]:
        """Further values that count as 1, which restate the label in reports."""
        if self.kind != "binary" or self.label_name in (None, self.label[0]):
            return []
        return [text_of(value) for value in self.ones[1:]]

    def keywords(self) -> dict[str, Any]:
        """Return the keywords of `AuditData.from_frame`."""
        one = len(self.target) == 1
        given = {
            "label": self.target[0] if one else list(self.target),
            "y_proba": self.proba[0] if len(self.proba) == 1 else list(self.proba),
            "patient_id": self.patient_id,
            "sample_id": self.sample_id,
            "image": self.image,
            "image_root": self.image_root,
            "report": self.report,
            "metadata": list(self.metadata),
            "label_name": self.label_name,
            "label_terms": self.label_terms,
        }
        return {name: value for name, value in given.items() if value not in (None, [], ())}


_PLAIN = {"yes", "y", "true", "1", "positive", "pos", "present", "case", "t", ""}


# Code


def literal(value: Any) -> str:
    """Return a value as Python code; letters that cannot be seen, such as those that turn the direction, as escapes."""
    if isinstance(value, str):
        text = repr(value)
        return f'"{text[1:-1]}"' if text[0] == "'" and '"' not in text else text
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{literal(k)}: {literal(v)}' for k, v in value.items())}}}"
    if value is str:
        return "str"
    return repr(value)


def keeping(plan: Plan) -> list[tuple[str, str]]:
    """Return code that leaves out the `cases` that cannot take part, each with what those that are left have."""
    if plan.kind == "multiclass":
        has_label = f"cases[{literal(plan.label[0])}].isin({literal(plan.classes)})"
    elif plan.kind == "multilabel":
        known = _is_known(plan, literal(plan.label))
        has_label = f"({known}).any(axis=1)" if plan.undecided else f"{known}.any(axis=1)"
    else:
        has_label = _is_known(plan, literal(plan.label[0]))
    steps = [(f"cases = cases[{has_label}]", "a label")]
    if plan.proba:
        steps.append((f"cases = cases.dropna(subset={literal(plan.proba)})", "a probability"))
    return steps


def labelling(plan: Plan) -> str:
    """Return code that makes labels of values in a copy of `cases`; "" where they are labels already."""
    if plan.kind == "multilabel":
        if not plan.ones:
            return ""
        lines = ["cases = cases.copy()", f"labels = {literal(plan.label)}", f"is_known = {_is_known(plan, 'labels')}"]
        lines.append(f"cases[labels] = cases[labels].isin({literal(plan.ones)}).astype(float).where(is_known)")
        return "\n".join(lines)
    if plan.target == plan.label:
        return ""
    column, target = f"cases[{literal(plan.label[0])}]", f"cases[{literal(plan.target[0])}]"
    numbers = literal({value: k for k, value in enumerate(plan.classes)})
    made = f"{column}.map({numbers})" if plan.kind == "multiclass" else f"{column}.isin({literal(plan.ones)})"
    return f"cases = cases.copy()\n{target} = {made}.astype(int)"


def _is_known(plan: Plan, labels: str) -> str:
    known = f"cases[{labels}].notna()"
    return f"{known} & ~cases[{labels}].isin({literal(plan.undecided)})" if plan.undecided else known
