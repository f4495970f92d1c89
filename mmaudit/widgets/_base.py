"""What all widgets share: traits, answers to the page's questions, selection, verdicts, and the user's own slices.

What is of a patient (pictures, reports, ids, notes) goes to the page by message, when it is asked for. Traits hold the
rest: they are what a notebook that saves the state of its widgets keeps.
"""

from __future__ import annotations

import importlib
import logging
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import pandas as pd
import traitlets

from mmaudit._errors import InputError, nearest
from mmaudit.result import MOST_OF_A_NOTE, USER_VERDICTS
from mmaudit.widgets._bundle import styles
from mmaudit.widgets._cases import Cases
from mmaudit.widgets._hypotheses import Tested, show, tested_of, with_tested

if TYPE_CHECKING:
    from IPython.display import HTML

    from mmaudit.data import AuditData
    from mmaudit.result import AuditResult

__all__ = ["AuditWidget", "Job"]

THEME = ("theme.css",)
_log = logging.getLogger(__name__)
_of_result: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any]] = weakref.WeakKeyDictionary()

# Who answers which question of the page: a function of (widget, content, job) that returns what goes back, as a dict
# and a list of buffers. Those in LONG run in a thread of their own, tell their progress, and can be cancelled.
HANDLERS = {
    "start": "mmaudit.widgets._base:start",
    "members": "mmaudit.widgets._base:members",
    "notes": "mmaudit.widgets._base:notes",
    "note": "mmaudit.widgets._base:note",
    "thumbs": "mmaudit.widgets._pictures:thumbs",
    "film": "mmaudit.widgets._films:film",
    "case": "mmaudit.widgets._reports:case",
    "search": "mmaudit.widgets._reports:search",
    "counterexamples": "mmaudit.widgets._pictures:counterexamples",
    "card": "mmaudit.widgets._rows:card",
    "columns": "mmaudit.widgets._columns:columns",
    "test": "mmaudit.widgets._hypotheses:test",
}
LONG = ("case", "thumbs", "counterexamples", "film", "search", "columns", "test")

Answer = tuple[dict[str, Any], list[bytes]]


class Cancelled(Exception):  # noqa: N818  it is no error
    """The page no longer wants the answer."""


class Job:
    """One question of the page: who asks tells how far it is, and whether it is still wanted."""

    def __init__(self, widget: AuditWidget, number: int) -> None:
        self._widget, self._number = widget, number
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Say that the answer is no longer wanted."""
        self._cancelled.set()

    def step(self, done: float, total: float, text: str = "") -> None:
        """Tell the page how far it is.

        Raises
        ------
        Cancelled
            The page has cancelled the question.
        """
        if self._cancelled.is_set():
            raise Cancelled
        self._widget.send({"id": self._number, "progress": {"done": done, "total": total, "text": text}})


def _as_bytes(value: Any, _widget: Any = None) -> bytes:
    """Return what came over the wire, a memoryview, as a trait of bytes takes it."""
    return bytes(value)


class AuditWidget(anywidget.AnyWidget):
    """Base of the widgets.

    Attributes
    ----------
    selected_slice : str
        Id of the slice that is looked at, "" for none.
    selected_ids : list
        Ids of the selected samples, the user's own.
    verdicts : dict of slice_id to dict
        What the user says of slices: {"verdict": "accept", "reject" or "radiologist", "note": str}. A plain str is
        taken as the verdict.
    image_verdicts : dict of sample id to dict
        The same, of samples.

    Each can be set, and be observed with `observe`.
    """

    selected_slice = traitlets.Unicode("").tag(sync=True)
    selected_ids: traitlets.List[Any] = traitlets.List()
    verdicts = traitlets.Dict()
    image_verdicts = traitlets.Dict()

    _selected = traitlets.Bytes(b"").tag(sync=True, from_json=_as_bytes)  # positions, uint32, little-endian
    # {"slices": {id: verdict}, "samples": {position as str: verdict}}; notes go by message
    _verdicts: traitlets.Dict[str, Any] = traitlets.Dict({"slices": {}, "samples": {}}).tag(sync=True)
    _rows: traitlets.List[Any] = traitlets.List().tag(sync=True)  # one dict a slice; see `_rows.py`
    _cards = traitlets.Dict().tag(sync=True)  # by slice id, of the first slices
    # what the user renamed and hid
    _edits: traitlets.Dict[str, Any] = traitlets.Dict({"names": {}, "hidden": []}).tag(sync=True)
    _table = traitlets.Dict(
        {"sort": "rank", "ascending": True, "text": "", "kinds": [], "confirmed": False, "hidden": False}
    ).tag(sync=True)
    # positions that the grid shows instead of all, as in `_selected`
    _given = traitlets.Bytes(b"").tag(sync=True, from_json=_as_bytes)
    # show: "members", "errors", "counterexamples" or "all"; beside: another slice; model: 0 or 1; models: side by side
    _grid = traitlets.Dict({"show": "members", "tile_px": 96, "beside": "", "model": 0, "models": False}).tag(sync=True)

    def __init__(
        self,
        result: AuditResult | None,
        data: AuditData | None,
        *,
        other: Any = None,
        names: Sequence[str] = ("model", "other model"),
        **traits: Any,
    ) -> None:
        from mmaudit.widgets._rows import CARDS_AT_ONCE, audited, cards, rows

        self.cases = Cases(result, data, other=other, names=names)
        self.lock = threading.RLock()
        self._jobs: dict[int, Job] = {}
        self._notes: dict[str, str] = {}  # by "slice:<id>" and "sample:<position>"
        self._syncing = False
        if result is not None:  # in the first message, or a page is told first that there are no slices
            shown = tested_of(result).result
            summary, slices = audited(self)
            first = cards(summary, slices, most=CARDS_AT_ONCE)
            own, first = with_tested(self.cases, rows(slices, self.cases), first)
            traits = {"_rows": own, "_cards": first, **traits}
        super().__init__(**traits)
        if result is not None:
            self._read_edits(result)
            self._read_verdicts(result)
            if tested_of(result).result is not shown:  # a test has ended meanwhile
                show(self)
        self.on_msg(self._receive)

    @property
    def result(self) -> AuditResult | None:
        """The audit that is shown."""
        return self.cases.result

    @property
    def data(self) -> AuditData | None:
        """The data that were audited, where they are at hand."""
        return self.cases.data

    @property
    def tested(self) -> Tested:
        """The groups that were tested beside the audit, in whichever of its widgets."""
        return tested_of(self.result)

    def others(self) -> list[AuditWidget]:
        """Return the other widgets of the same result."""
        return list(_of_result.get(self.result, set()) - {self}) if self.result is not None else []

    def selection(self) -> pd.DataFrame:
        """Return the selected samples: part, label, prediction and metadata, indexed by sample id."""
        return self.cases.frame(np.frombuffer(self._selected, "<u4").astype(int))

    def static(self, *, pictures: bool = False) -> HTML:
        """Return the slices as a table of ordinary HTML, for readers and places that show no widgets.

        A notebook that is saved keeps such a table beside each widget, without pictures.

        Parameters
        ----------
        pictures : bool
            Whether to show the 24 strongest members of the slice that is looked at, or of the first confirmed one;
            without slices, selected cases. They are pictures of patients, and stay in the notebook: only on purpose.

        Raises
        ------
        InputError
            Pictures are wanted, and there is no image.
        """
        from IPython.display import HTML

        from mmaudit.widgets._static import static_html

        return HTML(static_html(self, pictures=pictures))

    def _repr_mimebundle_(self, **keywords: Any) -> Any:
        """Return the widget, and for readers without widgets a table."""
        from mmaudit.widgets._static import static_html

        bundle: Any = super()._repr_mimebundle_(**keywords)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/html": static_html(self)}, metadata

    # Questions of the page

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Answer a message. JupyterLab may deliver it in another thread than the one that runs the cells."""
        if not isinstance(content, Mapping) or content.get("kind") in (None, "ping"):
            return
        number, kind = content.get("id", 0), content["kind"]
        if kind == "cancel":
            job = self._jobs.pop(number, None)
            if job is not None:
                job.cancel()
            return
        job = self._jobs[number] = Job(self, number)
        if kind in LONG:
            threading.Thread(target=self._answer, args=(number, kind, content, job), daemon=True).start()
        else:
            self._answer(number, kind, content, job)

    def _answer(self, number: int, kind: str, content: Mapping[str, Any], job: Job) -> None:
        try:
            answer, buffers = _handler(kind)(self, content, job)
        except Cancelled:
            return
        except InputError as error:
            answer, buffers = {"error": str(error)}, []
        except Exception as error:  # the page must hear of it, whatever it was
            # No message of the error: it may hold an id or a value, and what is logged may end in a saved notebook.
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
            _log.error("the widget could not answer %r: %s", kind, where)
            answer, buffers = {"error": f"{kind}: it failed ({where})."}, []
        finally:
            self._jobs.pop(number, None)
        self.send({**answer, "id": number}, buffers)

    def push(self, what: str, **content: Any) -> None:
        """Tell the page something that it did not ask for."""
        self.send({"pushed": what, **content})

    # Selection

    @traitlets.validate("selected_ids")
    def _check_selected(self, proposal: Any) -> list[Any]:
        positions = _unique(self.cases.positions(proposal["value"]))
        return self.cases.ids[positions.astype(int)].tolist()

    @traitlets.observe("selected_ids")
    def _send_selected(self, _change: Any) -> None:
        with self._once() as first:
            if first:
                self._selected = self.cases.positions(self.selected_ids).astype("<u4").tobytes()

    @traitlets.validate("_selected")
    def _check_positions(self, proposal: Any) -> bytes:
        positions = np.frombuffer(bytes(proposal["value"]), "<u4")
        return _unique(positions[positions < self.cases.n]).astype("<u4").tobytes()

    @traitlets.observe("_selected")
    def _take_selected(self, _change: Any) -> None:
        with self._once() as first:
            if first:
                positions = np.frombuffer(self._selected, "<u4").astype(int)
                self.selected_ids = self.cases.ids[positions].tolist()

    @traitlets.validate("selected_slice")
    def _check_slice(self, proposal: Any) -> str:
        known = ["", *(row["id"] for row in self._rows), *self.cases.own]
        if self.result is not None:
            known += self.result.candidates["slice_id"].tolist()
        if proposal["value"] not in known:
            raise InputError(
                "selected_slice", "a slice of this audit, or ''", f"{proposal['value']!r}",
                f"See result.candidates.{nearest(str(proposal['value']), known)}",
            )  # fmt: skip
        return proposal["value"]

    @traitlets.validate("_table")
    def _check_table(self, proposal: Any) -> dict[str, Any]:
        from mmaudit.widgets._rows import checked_table

        return checked_table(proposal["value"], list(dict.fromkeys(row["error_type"] for row in self._rows)))

    @traitlets.validate("_edits")
    def _check_edits(self, proposal: Any) -> dict[str, Any]:
        from mmaudit.widgets._rows import checked_edits

        return checked_edits(proposal["value"], [row["id"] for row in self._rows])

    @traitlets.observe("_edits")
    def _keep_edits(self, _change: Any = None) -> None:
        """Keep names and what is hidden in the result, and tell its other widgets.

        Groups made by hand are not saved. Nor is it kept that a slice is hidden behind such a group, or the next
        reader of the file would find neither.
        """
        result = self.result
        if result is None or self not in _of_result.get(result, ()):
            return
        before = result.user_edits.get("hidden", [])
        behind = self._behind_groups()
        kept = {
            "names": {key: name for key, name in self._edits["names"].items() if key in result.membership},
            "hidden": [
                key
                for key in self._edits["hidden"]
                if key in result.membership and (key in before or key not in behind)
            ],
        }
        if kept != result.user_edits:
            result.user_edits = kept
            for other in self.others():
                other._read_edits(result)

    def _read_edits(self, result: AuditResult) -> None:
        """Show the names that the result holds and hide what it hides, beside what this widget alone named and hid."""
        names, hidden = result.user_edits.get("names", {}), result.user_edits.get("hidden", [])
        behind = self._behind_groups()
        own = {key: name for key, name in self._edits["names"].items() if key not in result.membership}
        alone = [key for key in self._edits["hidden"] if key not in result.membership or key in behind]
        self._edits = {"names": {**own, **names}, "hidden": list(dict.fromkeys([*alone, *hidden]))}

    def _behind_groups(self) -> set[str]:
        """Return the slices that groups made by hand were merged or split from."""
        return {parent for made in self.tested.made for parent in made.parents}

    @traitlets.validate("_grid")
    def _check_grid(self, proposal: Any) -> dict[str, Any]:
        from mmaudit.widgets._grid import check_grid

        return check_grid(self, proposal["value"])

    # Verdicts: `verdicts` and `image_verdicts` are what the user sees, `_verdicts` and `_notes` what the page has

    @traitlets.validate("verdicts", "image_verdicts")
    def _check_verdicts(self, proposal: Any) -> dict[Any, dict[str, str]]:
        name, given = proposal["trait"].name, proposal["value"]
        checked = {}
        for key, value in given.items():
            said = {"verdict": value} if isinstance(value, str) else dict(value)
            if said.get("verdict", "") not in ("", *USER_VERDICTS):
                raise InputError(
                    name, f"verdicts of {', '.join(USER_VERDICTS)}", f"{said.get('verdict')!r}", "Correct the word."
                )
            if name == "image_verdicts":
                key = self.cases.ids[int(self.cases.positions([key])[0])]
            note = str(said.get("note", ""))[:MOST_OF_A_NOTE].encode("utf-8", "replace").decode()  # half a character
            checked[key] = {"verdict": said.get("verdict", ""), "note": note}
        return {key: said for key, said in checked.items() if said["verdict"] or said["note"]}

    @traitlets.observe("verdicts", "image_verdicts")
    def _send_verdicts(self, _change: Any) -> None:
        with self._once() as first:
            if first:
                samples = {int(self.cases.positions([key])[0]): said for key, said in self.image_verdicts.items()}
                both = {"slices": dict(self.verdicts), "samples": {str(k): said for k, said in samples.items()}}
                self._verdicts = {
                    part: {key: said["verdict"] for key, said in of.items() if said["verdict"]}
                    for part, of in both.items()
                }
                self._notes = {
                    f"{part[:-1]}:{key}": said["note"] for part, of in both.items() for key, said in of.items()
                    if said["note"]
                }  # fmt: skip
                self.push("notes", notes=self._notes)
        self._keep_verdicts()

    @traitlets.validate("_verdicts")
    def _check_page_verdicts(self, proposal: Any) -> dict[str, dict[str, str]]:
        """Keep what a page of this version can say."""
        slices, samples = (
            {key: code for key, code in (proposal["value"].get(part) or {}).items() if code in USER_VERDICTS}
            for part in ("slices", "samples")
        )
        return {
            "slices": slices,
            "samples": {key: code for key, code in samples.items() if key.isdecimal() and int(key) < self.cases.n},
        }

    @traitlets.observe("_verdicts")
    def _take_verdicts(self, _change: Any = None) -> None:
        with self._once() as first:
            if first:
                self._told_verdicts()

    def _told_verdicts(self) -> None:
        """Bring `verdicts` and `image_verdicts` up to what the page says."""
        found: dict[str, dict[Any, dict[str, str]]] = {"slice": {}, "sample": {}}
        for part, of in found.items():
            said = self._verdicts.get(f"{part}s", {})
            prefix = f"{part}:"
            noted = {key[len(prefix) :]: text for key, text in self._notes.items() if key.startswith(prefix)}
            for key in [*said, *(key for key in noted if key not in said)]:
                verdict = {"verdict": said.get(key, ""), "note": noted.get(key, "")}
                if part == "slice":
                    of[key] = verdict
                elif key.isdecimal() and int(key) < self.cases.n:
                    of[self.cases.ids[int(key)]] = verdict
        self.verdicts, self.image_verdicts = found["slice"], found["sample"]

    def _read_verdicts(self, result: AuditResult) -> None:
        """Show the verdicts that the result holds, now and when another widget of it changes them."""
        widgets = _of_result.setdefault(result, weakref.WeakSet())
        widgets.discard(self)  # what it has half read is not kept
        own = {key: said for key, said in self.verdicts.items() if key not in result.membership}
        self.verdicts = {**own, **result.user_verdicts.get("slices", {})}
        self.image_verdicts = dict(result.user_verdicts.get("samples", {}))
        widgets.add(self)

    def _keep_verdicts(self) -> None:
        """Keep verdicts in the result, but for slices that only this widget has, and tell the result's other widgets.

        Before the widget has read those of the result, it has none to keep.
        """
        result = self.result
        if result is None or self not in _of_result.get(result, ()):
            return
        slices = {key: said for key, said in self.verdicts.items() if key in result.membership}
        kept: dict[str, Any] = {"slices": slices, "samples": dict(self.image_verdicts)}
        if kept != result.user_verdicts:
            result.user_verdicts = kept
            for other in self.others():
                other._read_verdicts(result)

    def _once(self) -> _Once:
        return _Once(self)


class _Once:
    """Tell the first of two traits that follow each other from the second."""

    def __init__(self, widget: AuditWidget) -> None:
        self.widget = widget

    def __enter__(self) -> bool:
        self.widget.lock.acquire()  # the page's messages may come in another thread than the one that runs the cells
        self.first = not self.widget._syncing
        self.widget._syncing = True
        return self.first

    def __exit__(self, *_: Any) -> None:
        if self.first:
            self.widget._syncing = False
        self.widget.lock.release()


def _unique(positions: np.ndarray) -> np.ndarray:
    """Return positions, each once, in their order."""
    return positions[np.sort(np.unique(positions, return_index=True)[1])]


def _handler(kind: str) -> Callable[[AuditWidget, Mapping[str, Any], Job], Answer]:
    if kind not in HANDLERS:
        raise InputError("kind", f"one of {', '.join(HANDLERS)}", f"{kind!r}", "The page and the package differ.")
    module, _, name = HANDLERS[kind].partition(":")
    return getattr(importlib.import_module(module), name)


def start(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with all that the page needs of every case."""
    answer, buffers = widget.cases.start()
    return answer, buffers


def members(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with the strengths of one slice."""
    from mmaudit.widgets._cases import pack

    slice_id = str(content.get("slice_id", ""))
    sections, block = pack({f"member:{slice_id}": widget.cases.strength(slice_id)})
    return {"sections": sections}, [block]


def notes(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with the user's notes."""
    return {"notes": widget._notes}, []


def note(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Take one note that the user wrote, and tell all pages."""
    of, text = str(content.get("of", "")), str(content.get("text", ""))
    with widget.lock:
        others = {key: kept for key, kept in widget._notes.items() if key != of}
        widget._notes = {**others, of: text} if text else others
        with widget._once():
            widget._told_verdicts()
        widget.push("notes", notes=widget._notes)
    return {}, []


def sheet(*names: str) -> str:
    """Return the theme and the style sheets of a widget."""
    return styles(*THEME, *names)
