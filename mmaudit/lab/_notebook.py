"""The notebook that audits a table: short cells that a clinician can read, in code that a person would write.

Names of columns, values and files come from anywhere: they enter code as literals and text as code spans, and in no
other way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmaudit._errors import InputError
from mmaudit.lab._plan import Plan, keeping, labelling, literal
from mmaudit.lab._table import Table, text_of

__all__ = ["audit_cells", "code_span", "free_stem", "result_cells", "write_cells"]

Cell = tuple[str, str]  # its kind, "markdown" or "code", and its source
LINE_CHARS = 100
NAMED_CHARS = 80
RESULT_ENDING = ".mmaudit.json"


def code_span(text: str) -> str:
    """Return a text as a code span of Markdown that it cannot end: invisible letters as escapes, cut when long."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    shown = shown if len(shown) <= NAMED_CHARS else f"{shown[: NAMED_CHARS - 1]}…"
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    space = " " if not shown.strip() or shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{space}{shown}{space}{fence}"


def _call(function: str, arguments: Sequence[str]) -> str:
    """Return a call, in one line if it is short, else with a line for each argument."""
    short = f"{function}({', '.join(arguments)})"
    if len(short) <= LINE_CHARS and len(arguments) < 4:
        return short
    return f"{function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _keyword(name: str, value: Any) -> str:
    """Return an argument of a call; a long list in lines."""
    whole = f"{name}={literal(value)}"
    if len(whole) <= LINE_CHARS - 5 or not isinstance(value, list):
        return whole
    lines = [""]
    for one in value:
        text = f"{literal(one)}, "
        if lines[-1] and len(lines[-1]) + len(text) > LINE_CHARS - 8:
            lines.append("")
        lines[-1] += text
    return f"{name}=[\n" + "".join(f"        {line.rstrip()}\n" for line in lines) + "    ]"


# Cells


def audit_cells(plan: Plan, stem: str) -> list[Cell]:
    """Return the cells of a notebook that audits the cases of a table.

    Parameters
    ----------
    plan : Plan
        Checked before.
    stem : str
        Of the names of the files that the notebook writes.
    """
    cells = [("markdown", _title(plan)), ("code", _reading(plan))]
    cells += [("markdown", _roles_in_words(plan)), ("code", _cases(plan)), ("code", "data")]
    cells += _opening(plan)
    if plan.stand_in:
        cells += [("markdown", STAND_IN), ("code", _stand_in(plan))]
    cells += [("markdown", AUDIT), ("code", _audit(plan))]
    cells += [("markdown", FINDINGS), ("code", "result"), ("code", PLOT)]
    cells += [("markdown", EXPLORE), ("code", "result.explore()")]
    cells += [("markdown", SAVE), ("code", _saving(stem)), ("markdown", _next(plan))]
    return cells


def result_cells(name: str) -> list[Cell]:
    """Return the cells of a notebook that opens a saved result."""
    title = (
        f"# The audit in {code_span(name)}\n\n**The question.** Where does the classifier fail, and is it confirmed?"
    )
    loading = f"import mmaudit as mma\nfrom mmaudit.report import show\n\nresult = mma.load_result({literal(name)})"
    hint = "Films and reports are not in the file. With the data at hand, `result.explore(data=data)` shows them.\n\n"
    return [
        ("markdown", f"{title}\n\n*Not for clinical use.* {PRIVATE}"),
        ("code", loading),
        ("markdown", FINDINGS),
        ("code", "result"),
        ("code", PLOT),
        ("markdown", EXPLORE + "\n\n" + hint.strip()),
        ("code", "result.explore()"),
    ]


PRIVATE = "What the cells put out holds what the data hold: treat the notebook as you treat them."

STAND_IN = """\
## A stand-in for your classifier

No column of probabilities is chosen, so a plain model makes some: for each patient, by a model that saw only other \
patients. **What is found below are the failures of this stand-in, not of your classifier.** It shows how an audit \
goes. Put your classifier's probabilities in a column of the table and begin anew, or give them to \
`data.with_predictions`."""

AUDIT = """\
## Audit

The patients are split in two parts. On one, groups of cases with many errors are searched; on the other, which the \
search has not seen, each is tested. This can take some minutes."""

FINDINGS = """\
## What was found

Numbers are from patients that the search has not seen. A group whose interval lies above zero has more errors than \
other cases of the same label. It is *associated with* errors in these data, which is no cause."""

PLOT = """\
show(
    result.plot().figure,
    alt="Forest plot: how many more errors each group has than comparable cases, with its interval",
)"""

EXPLORE = """\
## Look at the cases

Choose a row to see its cases; Enter opens it. Accept a group, reject it, or ask for a radiologist, with the buttons."""

SAVE = """\
## Keep it

A file that `mma.load_result` reads, and a report to read in a browser. Both hold what the data hold."""

OPENING = """\
described = describe_images(data.images, progress=True)
is_readable = np.array([error is None for error in described.errors])
print(f"{(~is_readable).sum():,} of {len(data):,} images cannot be read; these cases are left out")
data = data.subset(is_readable)"""

FOLDS = """\
folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
proba = cross_val_predict(
    model, numbers, data.y_true, groups=data.patient_id, cv=folds, method="predict_proba"
)
data = data.with_predictions(proba[:, 1])
print(f"AUROC of the stand-in: {roc_auc_score(data.y_true, data.y_proba):.2f}")"""


def _title(plan: Plan) -> str:
    name = code_span(plan.table.path.name)
    return (
        f"# Audit of {name}\n\n**The question.** Which patients does the classifier fail, and is that confirmed on "
        f"patients that the search has not seen?\n\nRun all cells from top to bottom. *Not for clinical use.* {PRIVATE}"
    )


def _reading(plan: Plan) -> str:
    """Return the code that imports what is needed and reads the table."""
    standard = ["import os"] if plan.image is not None else []
    third = ["import numpy as np"] if plan.opens_images else []
    third.append("import pandas as pd")
    if plan.stand_in:
        third += ["from sklearn.linear_model import LogisticRegression", "from sklearn.metrics import roc_auc_score"]
        third += ["from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict"]
        third.append("from sklearn.pipeline import make_pipeline")
        if plan.stand_in == "image":
            third.append("from sklearn.preprocessing import StandardScaler")
    own = ["import mmaudit as mma"]
    if plan.opens_images:
        own.append("from mmaudit.encoders import describe_images")
    if plan.stand_in == "metadata":
        own.append("from mmaudit.encoders import MetadataEncoder")
    own.append("from mmaudit.report import show")
    blocks = ["\n".join(block) for block in (standard, third, own) if block]
    read = [*_read_table(plan.table, plan.texts), 'print(f"{len(table):,} rows, {table.shape[1]:,} columns")']
    return "\n\n".join([*blocks, "\n".join(read)])


def _read_table(table: Table, texts: Sequence[str]) -> list[str]:
    keywords = [f"{name}={literal(value)}" for name, value in table.read_keywords(texts).items()]
    function = "pd.read_parquet" if table.is_parquet else "pd.read_csv"
    index = ".reset_index()" if table.has_index else ""
    lines = [f"table = {_call(function, [literal(table.path.name), *keywords])}{index}"]
    if table.renamed:
        lines.append("table.columns = table.columns.map(str)")
    return lines


def _roles_in_words(plan: Plan) -> str:
    label = ", ".join(map(code_span, plan.label[:5])) + (" …" if len(plan.label) > 5 else "")
    lines = [f"- **label**: {label}"]
    if plan.ones:
        lines[0] += f"; {_values_in_words(plan.ones)} counts as 1, every other value as 0"
    if plan.undecided:
        said = _values_in_words(plan.undecided)
        one = f"; rows that say {said} are left out"
        lines[0] += one if len(plan.label) == 1 else f"; a label that says {said} counts as missing"
    if plan.by_position:
        pairs = ", ".join(f"{code_span(p)} of {v!r}" for v, p in zip(plan.classes, plan.proba, strict=True))
        lines.append(f"- **classes**, by the position of their columns: {pairs}")
    if plan.proba:
        shown = ", ".join(map(code_span, plan.proba[:5])) + (" …" if len(plan.proba) > 5 else "")
        lines.append(f"- **probability**: {shown}")
    for what, name in (("patient", plan.patient_id), ("image", plan.image), ("report", plan.report)):
        if name is not None:
            lines.append(f"- **{what}**: {code_span(name)}")
    if plan.metadata:
        shown = ", ".join(map(code_span, plan.metadata[:12])) + (" …" if len(plan.metadata) > 12 else "")
        lines.append(f"- **metadata**: {shown}")
    alone = (
        "\n\n**No patient is named**, so each row counts as one. If a patient can have several rows, add `patient_id=`."
    )
    return "## What is what\n\n" + "\n".join(lines) + ("" if plan.patient_id is not None else alone)


def _values_in_words(values: Sequence) -> str:
    return ", ".join(code_span(text_of(v)) for v in values[:10]) + (" …" if len(values) > 10 else "")


def _cases(plan: Plan) -> str:
    """Return the code that makes cases of the rows; the check runs the same."""
    blocks = []
    if plan.lacking or plan.image is not None:
        lines = ["# Rows that cannot take part are left out.", "cases = table"]
        for code, what in keeping(plan):
            if what in plan.lacking:
                lines += [code, *_said(what)]
        if plan.image is not None:
            lines += [f"is_file = [{_is_file(plan)} for name in cases[{literal(plan.image)}]]"]
            lines += ["cases = cases[is_file]", *_said("an image file")]
        blocks.append("\n".join(lines))
    else:
        blocks.append("cases = table")
    if labelling(plan):
        blocks.append(labelling(plan))
    keywords = [_keyword(name, value) for name, value in plan.keywords().items()]
    blocks.append(f"data = {_call('mma.AuditData.from_frame', ['cases', *keywords])}")
    return "\n\n".join(blocks)


def _said(what: str) -> list[str]:
    return [f'print(f"{{len(cases):,}} of {{len(table):,}} rows are left with {what}")']


def _is_file(plan: Plan) -> str:
    path = "str(name)" if plan.image_root is None else f"os.path.join({literal(plan.image_root)}, str(name))"
    return f"os.path.isfile({path})"


def _opening(plan: Plan) -> list[Cell]:
    if not plan.opens_images:
        return []
    return [("markdown", "## Open the images\n\nEach is opened once, to see that it can be."), ("code", OPENING)]


def _stand_in(plan: Plan) -> str:
    balanced = 'class_weight="balanced", max_iter=2000'
    if plan.stand_in == "image":
        numbers = "numbers = described.descriptors[is_readable]  # a small picture, edges, grey values"
        model = f"model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, {balanced}))"
    else:
        numbers = "numbers = data.metadata"
        model = f"model = make_pipeline(MetadataEncoder(), LogisticRegression({balanced}))"
    return f"{numbers}\n{model}\n{FOLDS}"


def _audit(plan: Plan) -> str:
    threshold = "" if plan.threshold is None else f"threshold={literal(plan.threshold)}, "
    return f"result = mma.audit(data, {threshold}random_state=0, progress=True)"


def _saving(stem: str) -> str:
    return f"result.save({literal(stem + RESULT_ENDING)})\nresult.to_html({literal(stem + '.html')});"


def _next(plan: Plan) -> str:
    lines = ["## What to do next\n"]
    if plan.stand_in:
        lines.append("- Put your classifier's probabilities in the place of the stand-in.")
    lines += [
        "- Read the cases of each confirmed group with somebody who knows the images: is there one reason?",
        "- Look at `result.warnings`, and at `result.detectable_sentence`: which failures could not be seen here?",
        "- Ask about a group of your own: `mma.test_hypothesis`.",
        "- A finding holds for these data. Confirm it on others before you act on it.",
    ]
    return "\n".join(lines)


# Files


def free_stem(path: Path, name: Any) -> Path:
    """Return where a notebook and what it writes go, without ending: beside the file, under names that are free.

    Parameters
    ----------
    path : path
        The table, or a saved result.
    name : str or None
        Of the notebook. None: that of the file, and "-audit" or "-result".
    """
    if name is None:
        is_result = path.name.endswith(RESULT_ENDING)
        base = re.sub(r"(\.mmaudit\.json|\.(csv|tsv|parquet)(\.gz)?|\.json)$", "", path.name, flags=re.IGNORECASE)
        base = f"{base}-result" if is_result else f"{base}-audit"
    else:
        base = name.removesuffix(".ipynb") if isinstance(name, str) else ""
        if not base.strip(". ") or re.search(r'[\\/\0<>:"|?*\n]', base) or base.startswith("."):
            raise InputError("Name", "a file name", "none, or one with / or the like", "Give a plain name.")
    for number in range(1, 10_000):
        stem = path.parent / (base if number == 1 else f"{base}-{number}")
        if not any(stem.with_name(stem.name + ending).exists() for ending in (".ipynb", RESULT_ENDING, ".html")):
            return stem
    raise InputError("Name", "a free name", "10,000 that are taken", "Clear the folder.")


def write_cells(stem: Path, cells: Sequence[Cell]) -> Path:
    """Write a notebook that is not there yet, whole or not at all, and return its path."""
    made = []
    for number, (kind, source) in enumerate(cells):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number:02}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append({**cell, "source": source.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    content = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    path = stem.with_name(f"{stem.name}.ipynb")
    unfinished = path.with_name(f".{path.name}.part")
    try:
        unfinished.write_text(content, encoding="utf-8")
        path.open("x").close()  # the name is ours now; nobody's notebook is replaced
        unfinished.replace(path)
    except FileExistsError:
        raise InputError("Name", "a free name", "one that was just taken", "Try again.") from None
    except OSError as error:
        got = f"one that cannot be ({type(error).__name__})"
        raise InputError("Name", "a folder that can be written", got, "Copy the table to a folder of yours.") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return path
