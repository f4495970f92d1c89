"""The notebook that JupyterLab makes of a table: it runs, says what it does, and no name breaks out of it."""

import ast
import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from PIL import Image

from mmaudit.lab import reply
from mmaudit.lab._check import check_roles
from mmaudit.lab._notebook import code_span
from mmaudit.lab._plan import literal
from mmaudit.lab._table import open_table
from tests.unit._lab_tables import HOSTILE, cases

REPO = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


BINARY = {"label": ["effusion"], "proba": ["p_effusion"], "patient_id": "PatientID", "metadata": ["sex", "age"]}


def made(path, roles, **more):
    """Return the notebook that is made of a table."""
    answered = reply({"ask": "notebook", "path": path, "roles": roles, **more})
    assert "ok" in answered, answered
    notebook = nbformat.read(answered["ok"]["path"], as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def data_of(notebook, upto="data = mma.AuditData"):
    """Return the cases that the cells up to that one make."""
    space: dict = {}
    for source in code(notebook):
        exec(source, space)
        if upto in source:
            return space
    raise AssertionError("no such cell")


def both_ways(path, roles):
    """Return the data that the notebook makes, which are as many as the check said."""
    data = data_of(made(path, roles))["data"]
    checked = check_roles(open_table(Path(path), lambda *_: None), roles, lambda *_: None)
    assert (len(data), data.n_patients) == (checked.n_samples, checked.n_patients)
    return data


def hurried(notebook):
    """Return the notebook with fewer repetitions in the audit; nothing else is changed."""
    for cell in notebook.cells:
        cell.source = cell.source.replace("random_state=0, progress=True", "n_refits=1, random_state=0")
    return notebook


# What is written


def test_the_notebook_is_short_and_says_what_it_is():
    cases().to_csv("my cases.csv", index=False)
    notebook = made("my cases.csv", BINARY)
    first = notebook.cells[0].source
    assert first.startswith("# Audit of `my cases.csv`")
    assert "Not for clinical use" in first
    assert "**The question.**" in first
    assert len(code(notebook)) <= 10
    assert notebook.metadata.kernelspec.name == "python3"
    source = "\n".join(code(notebook))
    assert "mmaudit.lab" not in source
    assert "mma.audit(data, random_state=0, progress=True)" in source
    assert 'result.save("my cases-audit.mmaudit.json")' in source
    assert 'result.to_html("my cases-audit.html")' in source
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_the_threshold_is_in_the_audit():
    cases().to_csv("t.csv", index=False)
    assert any("mma.audit(data, threshold=0.3," in cell for cell in code(made("t.csv", {**BINARY, "threshold": 0.3})))


def test_nothing_of_a_patient_is_in_the_notebook():
    frame = cases(report=[f"Mrs Example {k} has a large effusion at the left base of the lung" for k in range(200)])
    frame["site"] = ["Secret Hospital", "Hidden Clinic"] * 100
    frame.to_csv("t.csv", index=False)
    text = json.dumps(made("t.csv", {**BINARY, "metadata": ["site"], "report": "report"}))
    assert not [word for word in ("Example", "Secret", "Hidden", "0042") if word in text]


def test_no_notebook_is_replaced(here):
    cases().to_csv("t.csv", index=False)
    question = {"ask": "notebook", "path": "t.csv", "roles": BINARY}
    assert reply(question)["ok"]["path"] == "t-audit.ipynb"
    (here / "t-audit.ipynb").write_text("mine")
    (here / "t-audit-2.html").write_text("mine too")
    assert reply(question)["ok"]["path"] == "t-audit-3.ipynb"
    assert (here / "t-audit.ipynb").read_text() == "mine"
    assert reply({**question, "name": "first look.ipynb"})["ok"]["path"] == "first look.ipynb"
    assert reply({**question, "name": "first look"})["ok"]["path"] == "first look-2.ipynb"
    for name in ("../x", "a/b", ".x", "", "..", 3):
        assert reply({**question, "name": name})["error"].startswith("Name: expected")
    assert not list(here.glob(".*"))


def test_a_table_in_a_folder_has_its_notebook_beside_it(here):
    (here / "sub").mkdir()
    cases().to_csv("sub/t.csv", index=False)
    assert reply({"ask": "notebook", "path": "sub/t.csv", "roles": BINARY})["ok"]["path"] == "sub/t-audit.ipynb"
    notebook = nbformat.read("sub/t-audit.ipynb", as_version=4)
    assert any('pd.read_csv("t.csv"' in cell for cell in code(notebook))


def test_roles_that_do_not_pass_write_nothing(here):
    cases().to_csv("t.csv", index=False)
    assert "error" in reply({"ask": "notebook", "path": "t.csv", "roles": {**BINARY, "label": ["age"], "metadata": []}})
    assert [path.name for path in here.iterdir()] == ["t.csv"]


# Names from anywhere


@pytest.mark.parametrize("text", HOSTILE)
def test_a_literal_is_the_text_and_a_code_span_one_line(text):
    assert ast.literal_eval(literal(text)) == text
    assert literal(text).isprintable()
    assert "\n" not in code_span(text)
    assert code_span(text).isprintable()
    assert len(code_span(text)) < 100


@pytest.mark.parametrize(
    ("text", "span"),
    [("a", "`a`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("``x", "``` ``x ```"), ("", "`  `"), (" a", "`  a `")],
)
def test_code_spans_are_those_of_commonmark(text, span):
    assert code_span(text) == span


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name):
    frame = cases()
    frame["label"] = frame.pop("effusion").map({0: "no " + name, 1: name})
    frame = frame.rename(columns={"PatientID": f"id {name}", "label": f"label {name}", "sex": name, "p_effusion": "p"})
    frame.to_parquet("t.parquet")
    roles = {"label": [f"label {name}"], "positive": [name], "proba": ["p"], "patient_id": f"id {name}"}
    notebook = made("t.parquet", {**roles, "metadata": [name]})
    for source in code(notebook):  # as IPython reads it
        tree = ast.parse(TransformerManager().transform_cell(source))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import) and node.names[0].name == "os"]
        assert "get_ipython" not in TransformerManager().transform_cell(source)
    assert data_of(notebook)["data"].y_true.sum() == frame[f"label {name}"].eq(name).sum()


@pytest.mark.parametrize("stem", ['"); import os #', "a`b`<b>", "🫁 \u202etxt", "a'b\"c", "%ls"])
def test_hostile_file_names_stay_text(stem):
    cases().to_csv(f"{stem}.csv", index=False)
    notebook = made(f"{stem}.csv", BINARY)
    assert len(data_of(notebook)["data"]) == 200
    assert f"{code_span(stem + '.csv')}\n" in notebook.cells[0].source
    saving = next(source for source in code(notebook) if "result.save" in source)
    names = [node.value for node in ast.walk(ast.parse(saving)) if isinstance(node, ast.Constant)]
    assert f"{stem}-audit.mmaudit.json" in names


# What it makes


def test_zero_and_one_with_missing_values():
    frame = cases().astype({"effusion": object})
    frame.loc[:4, "effusion"] = None
    frame.loc[5:7, "p_effusion"] = np.nan
    frame.to_csv("t.csv", index=False)
    data = both_ways("t.csv", BINARY)
    assert len(data) == 192
    assert data.patient_id[0] == "004"


def test_semicolons_and_decimal_commas():
    frame = cases(site=["Zürich", "Genève"] * 100)
    frame.to_csv("t.csv", index=False, sep=";", decimal=",", encoding="latin-1")
    data = both_ways("t.csv", {**BINARY, "metadata": ["site"]})
    np.testing.assert_allclose(data.y_proba, frame["p_effusion"])
    assert set(data.metadata["site"]) == {"Zürich", "Genève"}


def test_words_numbers_and_booleans_as_labels():
    frame = cases()
    y = frame.pop("effusion")
    frame["words"] = y.map({0: "clear", 1: "Effusion, small"}).where(y.index > 20, "todo")
    frame["grade"] = (2 * y).where(y.index > 5)
    frame["flag"] = y == 1
    frame.to_csv("t.csv", index=False)
    words = both_ways("t.csv", {**BINARY, "label": ["words"], "positive": ["Effusion, small"]})
    assert (len(words), words.label_name) == (179, "Effusion, small")
    assert len(both_ways("t.csv", {**BINARY, "label": ["grade"], "positive": ["2"]})) == 194
    flags = both_ways("t.csv", {**BINARY, "label": ["flag"]})
    np.testing.assert_array_equal(flags.y_true, y)


def test_several_labels_with_gaps():
    rng = np.random.default_rng(1)
    frame = cases(edema=rng.choice(["yes", "no", None], 200), p_edema=rng.random(200))
    frame["effusion"] = frame["effusion"].map({0: "no", 1: "yes"})
    frame.loc[:3, ["effusion", "edema"]] = None
    frame.to_csv("t.csv", index=False)
    roles = {**BINARY, "label": ["effusion", "edema"], "positive": ["yes"], "proba": ["p_edema", "p_effusion"]}
    data = both_ways("t.csv", roles)
    assert data.kind == "multilabel"
    assert len(data) == 196
    np.testing.assert_allclose(data.y_proba[:, 1], frame["p_edema"][4:])
    np.testing.assert_array_equal(np.isnan(data.y_true[:, 1]), frame["edema"][4:].isna())


def test_uncertain_labels_are_missing_and_the_notebook_says_so():
    rng = np.random.default_rng(1)
    frame = cases(edema=rng.choice([0, 1, -1], 200), p_edema=rng.random(200))
    frame.loc[:3, ["effusion", "edema"]] = -1
    frame.to_csv("t.csv", index=False)
    roles = {**BINARY, "label": ["effusion", "edema"], "proba": ["p_effusion", "p_edema"]}
    data = both_ways("t.csv", roles)
    assert len(data) == 196
    expected = frame[["effusion", "edema"]][4:].astype(float).replace(-1, np.nan)
    np.testing.assert_array_equal(data.y_true, expected)
    assert any("a label that says `-1` counts as missing" in cell.source for cell in made("t.csv", roles).cells)
    one = {**BINARY, "label": ["edema"], "proba": ["p_edema"]}
    np.testing.assert_array_equal(both_ways("t.csv", one).y_true, frame["edema"][frame["edema"] >= 0])
    assert any("rows that say `-1` are left out" in cell.source for cell in made("t.csv", one).cells)
    ticked = both_ways("t.csv", {**roles, "positive": ["1", "-1"]})
    np.testing.assert_array_equal(ticked.y_true[:, 1], frame["edema"] != 0)


def test_classes_by_position_are_said():
    rng = np.random.default_rng(2)
    proba = pd.DataFrame(rng.dirichlet([1, 1, 1], 200), columns=["p_a", "p_b", "p_c"])
    pd.concat([cases(dx=rng.integers(0, 3, 200)), proba], axis=1).to_csv("t.csv", index=False)
    roles = {"label": ["dx"], "proba": list(proba), "patient_id": "PatientID"}
    words = "\n".join(cell.source for cell in made("t.csv", roles).cells)
    assert "by the position of their columns: `p_a` of 0, `p_b` of 1, `p_c` of 2" in words


@pytest.mark.parametrize("names", [("normal", "pneumonia", "tb"), ("0", "1", "2"), ("1", "2", "3")])
def test_classes(names):
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 240)
    proba = 0.5 * rng.dirichlet([1, 1, 1], 240) + 0.5 * np.eye(3)[truth]
    frame = cases(240, dx=np.array(names)[truth], **{f"p_{names[k]}": proba[:, k] for k in (2, 0, 1)})
    frame["dx"] = frame["dx"].where(frame.index > 10)
    frame.to_csv("t.csv", index=False)
    roles = {"label": ["dx"], "proba": [f"p_{name}" for name in (names[2], *names[:2])], "patient_id": "PatientID"}
    data = both_ways("t.csv", {**roles, "metadata": ["sex"]})
    assert data.kind == "multiclass"
    assert len(data) == 229
    named = np.array(data.label_names)[data.y_true]
    if names[0] == "0":
        named = np.array([name.split()[-1] for name in named])
    assert named.tolist() == np.array(names)[truth][11:].tolist()
    assert (data.y_proba.argmax(axis=1) == data.y_true).mean() > 0.9


def test_parquet_with_an_index_and_numbers_for_names():
    cases().set_index("PatientID").to_parquet("a.parquet")
    assert both_ways("a.parquet", BINARY).n_patients == 100
    cases().rename(columns={"effusion": 0, "p_effusion": 1}).to_parquet("b.parquet")
    both_ways("b.parquet", {**BINARY, "label": ["0"], "proba": ["1"]})


def test_a_new_column_takes_nobodys_name():
    frame = cases(is_positive="x")
    frame["effusion"] = frame["effusion"].map({0: "no", 1: "yes"})
    frame.to_csv("t.csv", index=False)
    made_of = data_of(made("t.csv", BINARY))
    assert set(made_of["cases"]["is_positive"]) == {"x"}


# Running it


def films(folder, n):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(n):
        Image.fromarray(rng.integers(0, 255, (24, 24), dtype=np.uint8)).save(folder / f"{k}.png")


def test_a_stand_in_from_images_some_of_which_are_missing_or_broken(here):
    films(here / "films", 180)
    for k in range(0, 40, 2):
        (here / "films" / f"{k}.png").write_bytes(b"no image")
    frame = cases(path=[f"{k}.png" for k in range(200)])
    frame.to_csv("t.csv", index=False)
    roles = {**BINARY, "proba": [], "image": "path", "image_root": "films"}
    data = data_of(made("t.csv", roles), upto="cross_val_predict(\n")["data"]
    assert len(data) == 160
    assert data.y_proba.min() > 0
    assert data.sample_id[0] == "1.png"


def test_a_stand_in_from_metadata_finds_what_is_in_them():
    frame = cases(400)
    frame["age"] = frame["age"] + 40 * frame["effusion"]
    frame["bmi"] = np.nan
    frame.loc[:200, "bmi"] = 20.0
    frame.to_csv("t.csv", index=False)
    roles = {**BINARY, "proba": [], "metadata": ["sex", "age", "bmi"]}
    notebook = made("t.csv", roles)
    assert any("stand-in" in cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    data = data_of(notebook, upto="cross_val_predict(\n")["data"]
    assert data.y_proba[data.y_true == 1].mean() > data.y_proba[data.y_true == 0].mean() + 0.2


def test_the_result_is_found_and_opened_again(here):
    rng = np.random.default_rng(3)
    frame = cases(400)
    fails = (frame["sex"] == "M") & (frame["effusion"] == 1) & (rng.random(400) < 0.8)
    frame["p_effusion"] = frame["p_effusion"].where(~fails, 0.1)
    frame.to_csv("t.csv", index=False)
    audited = data_of(hurried(made("t.csv", BINARY)), upto="to_html")["result"]
    assert "sex = M" in audited.findings["rule"].tolist()
    assert (here / "t-audit.html").stat().st_size > 1000
    opened = reply({"ask": "open", "path": "t-audit.mmaudit.json"})["ok"]["path"]
    assert opened == "t-audit-result.ipynb"
    notebook = nbformat.read(opened, as_version=4)
    nbformat.validate(notebook)
    pd.testing.assert_frame_equal(data_of(notebook, upto="explore")["result"].findings, audited.findings)
    (here / "x.mmaudit.json").write_text("{}")
    assert "error" in reply({"ask": "open", "path": "x.mmaudit.json"})
