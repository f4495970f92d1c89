"""What a saved notebook keeps of widgets: little, and nothing of a patient. And how much code travels with each."""

import base64
import json
import re
import zlib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from mmaudit.widgets import ExplanationTable, SliceExplorer, SliceGrid
from mmaudit.widgets._base import HANDLERS
from tests.widgets._private import WORDS

ROOT = Path(__file__).parents[2]
MOST_BYTES = 200_000
MOST_CODE = 40_000
ZLIB = (b"x\x01", b"x\x9c", b"x\xda")  # how what zlib compressed begins

SETUP = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
import mmaudit as mma
from tests.widgets._private import private_audit, private_data
data = private_data()
result = private_audit(data)
"""
WIDGETS = {
    "explorer": "explorer = result.explore(); explorer",
    "grid": "grid = mma.widgets.SliceGrid(result); grid",
    "table": "table = mma.widgets.ExplanationTable(result); table",
}
# What a page and a person do: select, judge, ask every question.
USED = """
import time
slice_id = result.candidates["slice_id"][0]
explorer.selected_slice = slice_id
explorer.selected_ids = data.sample_id[:300].tolist()
explorer.verdicts = {slice_id: {"verdict": "accept", "note": "notetext0001q"}}
explorer.image_verdicts = {data.sample_id[7]: {"verdict": "radiologist", "note": "notetext0002q"}}
sent = []
for widget in (explorer, grid, table):
    send = widget.send
    def keep(content, buffers=None, send=send):
        sent.append((content, buffers))
        send(content, buffers)
    widget.send = keep
questions = {
    "start": {},
    "members": {"slice_id": slice_id},
    "thumbs": {"positions": [0, 1, 2], "side_px": 96},
    "counterexamples": {"slice_id": slice_id, "positions": [0, 1], "most": 5},
    "film": {"position": 1, "max_side_px": 1024},
    "case": {"position": 1, "slice_id": slice_id},
    "search": {"text": "pneumothorax"},
    "card": {"slice_id": slice_id},
    "columns": {},
    "notes": {},
    "test": {"what": "selection", "name": "by hand"},
}
for widget in (explorer, grid, table):
    for number, (kind, content) in enumerate(questions.items(), 1):
        widget._receive(widget, {"id": number, "kind": kind, **content}, [])
def answered():
    return sum("id" in content and "progress" not in content for content, _ in sent)
end = time.monotonic() + 60
while answered() < 3 * len(questions) and time.monotonic() < end:
    time.sleep(0.05)
failed = [content["error"] for content, _ in sent if "it failed" in content.get("error", "")]
(answered(), len(failed), sorted(failed))
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A notebook with all three widgets in it, used and saved with their state; the answers that the page got."""
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *WIDGETS.values(), USED)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    folder = tmp_path_factory.mktemp("saved")
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", store_widget_state=True, resources={"metadata": {"path": folder}}
    ).execute()
    return notebook


def states_of(notebook):
    return [
        model["state"]
        for model in notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"].values()
        if model["model_name"] == "AnyModel"
    ]


def everything(notebook):
    """Return outputs and metadata of a notebook as text, and each stretch of base64 in it, decoded and decompressed."""
    outputs = json.dumps([cell.get("outputs") for cell in notebook.cells]) + json.dumps(notebook.metadata)
    packed = [base64.b64decode(found + "==") for found in re.findall(r"[A-Za-z0-9+/]{40,}", outputs)]
    return outputs, [*packed, *(zlib.decompress(raw) for raw in packed if raw[:2] in ZLIB)]


def test_the_widgets_were_used(saved):
    n_answers, _, failed = eval(saved.cells[-1]["outputs"][-1]["data"]["text/plain"])
    assert failed == []
    assert n_answers == 3 * (len(HANDLERS) - 1)  # a note is taken, not asked for
    assert len(states_of(saved)) == 3


def test_a_saved_notebook_is_small(saved):
    whole = len(nbformat.writes(saved).encode())
    assert whole <= 3 * MOST_BYTES
    for state in states_of(saved):
        assert len(json.dumps(state).encode()) <= MOST_BYTES * 0.9  # the rest is for cells and other outputs


def test_a_saved_notebook_holds_nothing_of_a_patient(saved):
    outputs, packed = everything(saved)
    assert all(word + "0001q" not in outputs for word in WORDS)
    assert [word for word in WORDS if re.search(rf"{word}\d", outputs)] == []
    assert [word for word in WORDS for raw in packed if word.encode() in raw] == []
    assert "pneumothorax." not in outputs  # as reports end
    assert "/9j/" not in outputs  # a JPEG begins so
    assert "iVBORw0KGgo" not in outputs  # a PNG
    assert [raw for raw in packed if b"\xff\xd8\xff" in raw[:64] or b"\x89PNG" in raw[:64]] == []


def test_the_search_would_find_it(saved):
    leaking = nbformat.from_dict(json.loads(nbformat.writes(saved)))
    raw = base64.b64encode(zlib.compress(b"a text such as reporttext0007q in what is sent to the page")).decode()
    leaking.cells[0]["outputs"] = [nbformat.v4.new_output("display_data", {"text/plain": raw})]
    _, packed = everything(leaking)
    assert [word for word in WORDS for found in packed if word.encode() in found] == ["reporttext"]


def test_the_state_that_is_kept_shows_the_table_again(saved):
    for state in states_of(saved):
        assert [row["id"] for row in state["_rows"]][:1] == ["s01"]
        assert state["selected_slice"] in ["", *(row["id"] for row in state["_rows"])]


def test_the_fallback_stands_beside_each_widget(saved):
    for cell in saved.cells[1:4]:
        (output,) = cell["outputs"]
        assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(output["data"])
        assert "<table>" in output["data"]["text/html"]


@pytest.mark.parametrize("kind", [ExplanationTable, SliceGrid, SliceExplorer])
def test_the_code_of_a_widget_is_small(kind):
    assert len(str(kind._esm).encode()) <= MOST_CODE
