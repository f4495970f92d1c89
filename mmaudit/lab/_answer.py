"""Questions of the page and who answers them. pandas and the rest are loaded by the questions that need them."""

from __future__ import annotations

import importlib.util
import json
import platform
import re
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmaudit import __version__
from mmaudit._errors import InputError, MissingExtraError, UnknownKeywordError, nearest

__all__ = ["MIME", "answer", "reply"]

MIME = "application/vnd.mmaudit.answer+json"
OPTIONAL = ("torch", "open_clip", "transformers", "torchxrayvision", "pydicom", "jupyterlab")
Step = Callable[[int, int, str], None]


def answer(text: str) -> None:
    """Publish the answer to a question as output of the cell that asks it, of the type `MIME`.

    Parameters
    ----------
    text : str
        A question as JSON, see `reply`. Answers that hold "progress" may come before the final one.
    """
    from IPython.display import display

    def step(done: int, total: int, said: str) -> None:
        display({MIME: {"progress": {"done": done, "total": total, "text": said}}}, raw=True)

    try:
        question = json.loads(text)
    except ValueError:
        question = None
    display({MIME: reply(question, step)}, raw=True)


def reply(question: Any, step: Step | None = None) -> dict[str, Any]:
    """Return the answer to a question.

    Parameters
    ----------
    question : dict
        With the key "ask": "hello", "table", "check", "notebook", "contents", "copy" or "open", and what it needs.
        Paths are relative to the current folder and stay in it.
    step : callable of (done, total, text), or None
        Called as work that takes long goes on. None: nobody is told.

    Returns
    -------
    dict
        {"ok": what was asked for} or {"error": message}. The message of an error that was not foreseen is left out:
        it may hold a value of the table.

    Examples
    --------
    >>> from mmaudit.lab import reply
    >>> reply({"ask": "hello"})["ok"]["can"]["torch"] in (True, False)
    True
    >>> reply({"ask": "helo"})["error"][:30]
    'ask: expected one of hello, ta'
    """
    kind = question.get("ask") if isinstance(question, Mapping) else None
    try:
        if not isinstance(kind, str) or kind not in _ANSWERS:
            known = ", ".join(_ANSWERS)
            hint = nearest(str(kind), _ANSWERS)
            raise InputError("ask", f"one of {known}", "another question", f"Update mmaudit and this page.{hint}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is in the answer; the rest may quote values
            return {"ok": _ANSWERS[kind](question, step or (lambda *_: None))}
    except (InputError, MissingExtraError, UnknownKeywordError) as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": _unforeseen(kind, error)}


def _unforeseen(kind: Any, error: Exception) -> str:
    """Return where an error came from, without its text."""
    own = Path(__file__).resolve().parents[1]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if own in Path(frame.filename).resolve().parents] or frames
    place = f"{Path(ours[-1].filename).name}, line {ours[-1].lineno}"
    return f"The answer to {kind!r} failed ({type(error).__name__} in {place})."


def _hello(question: Mapping, step: Step) -> dict:
    can = {name: importlib.util.find_spec(name) is not None for name in OPTIONAL}
    return {"version": __version__, "python": platform.python_version(), "can": can}


def _table(question: Mapping, step: Step) -> dict:
    from mmaudit.lab._guess import describe_table
    from mmaudit.lab._table import open_table

    return describe_table(open_table(_path(question), step))


def _check(question: Mapping, step: Step) -> dict:
    from mmaudit.lab._check import check_roles
    from mmaudit.lab._table import open_table

    return check_roles(open_table(_path(question), step), _roles(question), step).to_answer()


def _notebook(question: Mapping, step: Step) -> dict:
    from mmaudit.lab._check import check_roles
    from mmaudit.lab._notebook import audit_cells, free_stem, write_cells
    from mmaudit.lab._table import open_table

    table = open_table(_path(question), step)
    checked = check_roles(table, _roles(question), step)
    stem = free_stem(table.path, question.get("name"))
    return {"path": write_cells(stem, audit_cells(checked.plan, stem.name)).as_posix()}


def _open(question: Mapping, step: Step) -> dict:
    from mmaudit.lab._notebook import free_stem, result_cells, write_cells
    from mmaudit.result import load_result

    path = _path(question)
    load_result(path)  # what it cannot read, the notebook could not either
    stem = free_stem(path, None)
    return {"path": write_cells(stem, result_cells(path.name)).as_posix()}


def _contents(question: Mapping, step: Step) -> dict:
    from mmaudit.workshop import contents
    from mmaudit.workshop._suite import packaged

    folder = packaged()
    found = []
    for entry in contents(folder):
        minutes = _minutes(json.loads((folder / entry.file).read_text("utf-8")))
        found.append({**entry._asdict(), **({} if minutes is None else {"minutes": minutes})})
    return {"notebooks": found}


def _minutes(notebook: Mapping) -> int | None:
    """Return the minutes that a notebook says it takes, reading, computing and exercises together."""
    given = notebook.get("metadata", {}).get("minutes")
    if isinstance(given, (int, float)):
        return round(given)
    for cell in notebook["cells"]:
        told = re.search(r"\*\*(?:Minutes|Time)\.\*\*([^.;\n]*)", "".join(cell["source"]))
        if told and cell["cell_type"] == "markdown":
            return sum(map(int, re.findall(r"\d+", re.sub(r"\(.*?\)", "", told[1])))) or None
    return None


def _copy(question: Mapping, step: Step) -> dict:
    from mmaudit.workshop import write_notebooks

    folder = relative_path(question.get("folder", "mmaudit-workshop"), "folder")
    try:
        kept = write_notebooks(folder, audience=question.get("audience", "learner"))
    except OSError as error:
        got = f"one that cannot be ({type(error).__name__})"
        raise InputError("folder", "a folder that can be written", got, "Choose another.") from None
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.ipynb"))
    return {
        "folder": folder.as_posix(),
        "files": [name for name in files if not name.startswith(".") and "/." not in name],
        "kept": [path.relative_to(folder).as_posix() for path in kept],
    }


_ANSWERS: dict[str, Callable[[Mapping, Step], dict]] = {
    "hello": _hello,
    "table": _table,
    "check": _check,
    "notebook": _notebook,
    "contents": _contents,
    "copy": _copy,
    "open": _open,
}


def _path(question: Mapping) -> Path:
    return relative_path(question.get("path"), "path")


def _roles(question: Mapping) -> Mapping:
    roles = question.get("roles")
    if not isinstance(roles, Mapping):
        raise InputError("roles", "a column for each role", "something else", "Reload the page.")
    return roles


def relative_path(given: Any, argument: str) -> Path:
    """Return a path that stays in the current folder, or raise `InputError`."""
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise InputError(argument, "a path", "none", "Choose a file in this folder.")
    path = Path(given)
    # A backslash and a drive mean something on Windows only; they are refused there and here.
    if path.is_absolute() or path.drive or ".." in path.parts or re.match(r"[A-Za-z]:|[\\/~]", given):
        raise InputError(argument, "a path in the current folder", "one outside", "Choose a file in this folder.")
    return path
