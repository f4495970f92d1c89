"""One source, several readers: what each sees of a notebook is told by the tags of its cells.

====================  ====================================  ==================================================
tag                   learner                               instructor
====================  ====================================  ==================================================
none, ``exercise``    as it is                              as it is
``solution``          folded away, in words, not run        as it is, and run
``instructor``        left out                              as it is
====================  ====================================  ==================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmaudit._errors import InputError, nearest

__all__ = ["AUDIENCES", "Entry", "contents", "for_audience", "packaged", "write_notebooks"]

AUDIENCES = ("learner", "instructor")
FIRST = "00_quickstart.ipynb"
CONTENTS = "README.md"


class Entry(NamedTuple):
    """One notebook of the suite: file name, title, question."""

    file: str
    title: str
    question: str


def packaged() -> Path:
    """Return the folder of the notebooks: in a wheel, or in a checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "_notebooks", here.parent / "notebooks"):
        if any(folder.glob("*.ipynb")):
            return folder
    raise InputError("mmaudit", "notebooks in the package", "none", "Install mmaudit again.")


def contents(folder: Path | None = None) -> list[Entry]:
    """Return the table of contents, in the order in which the notebooks are read.

    Parameters
    ----------
    folder : path or None
        None: the notebooks of the package.

    Raises
    ------
    InputError
        A notebook that is damaged.
    """
    entries = []
    for path in sorted((folder or packaged()).glob("*.ipynb")):
        first = _first_text(path)
        title = first.partition("\n")[0].lstrip("# ").strip()
        question = re.search(r"\*\*The question\.\*\*\s*(.*)", first)
        entries.append(Entry(path.name, title, question[1].strip() if question else ""))
    return entries


def _first_text(path: Path) -> str:
    """Return the text of the first cell of a notebook."""
    try:
        return "".join(json.loads(path.read_text("utf-8"))["cells"][0]["source"])
    except (ValueError, LookupError, TypeError, RecursionError):
        raise InputError("folder", "whole notebooks", f"{path.name}, which is damaged", "Copy it again.") from None


def for_audience(notebook: Mapping[str, Any], audience: str) -> dict[str, Any]:
    """Return a notebook as learners or instructors see it.

    Parameters
    ----------
    notebook : mapping
        In the format 4 of Jupyter, with solutions and notes: one of the package.
    audience : {"learner", "instructor"}

    Raises
    ------
    InputError
        Another audience.
    """
    if audience not in AUDIENCES:
        raise InputError(
            "audience", " or ".join(AUDIENCES), f"{audience!r}", f"Choose one.{nearest(audience, AUDIENCES)}"
        )
    cells = []
    for cell in notebook["cells"]:
        tags = cell.get("metadata", {}).get("tags", [])
        if audience == "learner" and "instructor" in tags:
            continue
        if audience == "learner" and "solution" in tags:
            cell = _folded(cell)
        cells.append(cell)
    return {**notebook, "cells": cells}


def _folded(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Return a solution as text that is opened by a click."""
    source = "".join(cell["source"])
    inner = f"```python\n{source}\n```" if cell["cell_type"] == "code" else source
    folded = f"<details><summary>Solution</summary>\n\n{inner}\n\n</details>"
    return {"cell_type": "markdown", "id": cell["id"], "metadata": {"tags": ["solution"]}, "source": folded}


def write_notebooks(folder: Path, *, audience: str = "learner") -> list[Path]:
    """Write the notebooks of the package, and what they need, into a folder; return the files that stay as they are.

    Parameters
    ----------
    folder : path
        Made where it is missing. Files that it has already are kept.
    audience : {"learner", "instructor"}
        Learners get solutions folded away, and no teacher's notes.

    Returns
    -------
    list of paths
        Those that the folder has with other contents.

    Raises
    ------
    InputError
        Another audience.
    OSError
        The folder cannot be written.
    """
    for_audience({"cells": []}, audience)
    source, kept = packaged(), []
    for origin in sorted(path for path in source.rglob("*") if path.is_file()):
        relative = origin.relative_to(source)
        if any(part.startswith(".") or part == "__pycache__" for part in relative.parts):
            continue
        content = origin.read_bytes()
        if origin.suffix == ".ipynb":
            notebook = for_audience(json.loads(content), audience)
            content = (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()
        target = folder / relative
        if target.exists():
            if not target.is_file() or target.read_bytes() != content:
                kept.append(target)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.part")
        unfinished.write_bytes(content)
        unfinished.replace(target)
    return kept
