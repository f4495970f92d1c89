"""Files that strangers wrote, damaged or hostile: each reader reads them or says what is wrong, and nothing runs."""

import ast
import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmaudit
from mmaudit import _tables, load_result
from mmaudit._errors import ImageReadError, InputError
from mmaudit.classifiers import load_classifier
from mmaudit.cli import main, read_table
from mmaudit.data import AuditData
from mmaudit.datasets import load_openi
from mmaudit.encoders._spec import encoder_from
from mmaudit.encoders._transformers import _text_pooling
from mmaudit.images import ImageFiles, read_image
from mmaudit.result import _for_spreadsheets, _no_formula
from mmaudit.rules import load_rules
from mmaudit.workshop import contents
from tests.bench.fuzz import fresh, run_one
from tests.bench.fuzz_mutations import png_header
from tests.bench.fuzz_readers import READERS, REFUSALS, inputs, write

CORPUS = Path(__file__).parents[1] / "corpus"
PACKAGE = Path(mmaudit.__file__).parent
FEWER = {
    "classifier": 10,
    "mimic": 25,
    "image-zip": 30,
    "report": 50,
    "image-folder": 40,
    "lab-open": 30,
    "result": 40,
    "table": 40,
}


# Files with one thing wrong, which their names say; the reader is named by their folder.

READ_BY = {
    "images": read_image,
    "results": load_result,
    "rules": load_rules,
    "tables": read_table,
    "classifiers": load_classifier,
}
FILES = sorted(path for path in CORPUS.glob("*/*") if path.name != "membership.parquet" and path.suffix != ".pyc")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_damaged_file_is_refused_in_the_words_of_the_package(path):
    with pytest.raises(REFUSALS) as refusal:
        READ_BY[path.parent.name](path)
    assert "expected" in str(refusal.value)


def test_every_reader_of_the_corpus_has_files_and_they_are_small():
    assert {path.parent.name for path in FILES} == set(READ_BY)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000


# Seeded damage


@pytest.mark.parametrize("name", sorted(READERS))
def test_damage_by_chance_is_read_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMAUDIT_CACHE", str(tmp_path / "out" / "cache"))
    outcomes = [run_one(name, 7, index, tmp_path) for index in range(FEWER.get(name, 50))]
    assert [outcome for outcome in outcomes if outcome.kind == "unexpected"] == []
    # Damage that nothing refuses, or everything, would show a fuzzer that damages nothing, or all there is.
    if name not in ("cache", "report", "image-folder", "image-zip"):  # these refuse one file, not the input
        assert {outcome.kind for outcome in outcomes} >= {"refused"}
    assert (tmp_path / "secret.txt").read_bytes() == b"secret"


def test_the_same_numbers_make_the_same_damage():
    assert inputs("png", 3, 5)[0] == inputs("png", 3, 5)[0] != inputs("png", 3, 6)[0]


# What a small file may unpack to


def test_a_packed_table_that_unpacks_too_far_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_tables, "ANY_BYTES", 1_000_000)
    path = tmp_path / "cases.csv.gz"
    path.write_bytes(gzip.compress(b"y,p\n" + b"1,0\n" * 1_000_000))
    with pytest.raises(InputError, match="UnpacksTooFarError"):
        read_table(path)
    path.write_bytes(gzip.compress(b"y,p\n" + b"1,0\n" * 200_000))
    assert len(read_table(path)) == 200_000


def test_a_parquet_file_that_promises_too_many_cells_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "cases.parquet"
    pd.DataFrame({"y": np.zeros(2_000_000, np.int8)}).to_parquet(path)
    assert len(read_table(path)) == 2_000_000
    monkeypatch.setattr(_tables, "ANY_BYTES", 1_000_000)
    with pytest.raises(InputError, match="UnpacksTooFarError"):
        read_table(path)


@pytest.mark.parametrize("size", [(60_000, 60_000), (8_001, 8_000), (2**31 - 1, 1)])
def test_a_picture_that_promises_too_many_pixels_is_refused_before_it_is_decoded(size, tmp_path):
    (tmp_path / "film.png").write_bytes(png_header(*size))
    with pytest.raises(ImageReadError) as refusal:
        read_image(tmp_path / "film.png")
    assert refusal.value.reason == "too large"


def test_a_member_of_a_zip_is_read_only_to_the_size_it_says(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("film.png", b"\0" * 3_000_000)
    packed = bytearray(out.getvalue())
    at = packed.rfind(b"PK\x01\x02")
    packed[at + 24 : at + 28] = (100).to_bytes(4, "little")
    (tmp_path / "films.zip").write_bytes(packed)
    with pytest.raises(ImageReadError):
        ImageFiles(["film.png"], tmp_path / "films.zip").read(0)


def test_transparency_is_laid_on_black(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [[200, 200, 200, 255], [200, 200, 200, 0], [200, 200, 200, 128]]
    Image.fromarray(pixels).save(tmp_path / "film.png")
    assert read_image(tmp_path / "film.png").pixels[0] * 255 == pytest.approx([200, 0, 100], abs=1)


# Paths


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "file:///etc/passwd", "link.png", "up/secret.png", "a\0.png"]
)
def test_no_path_leads_out_of_the_folder_of_images(name, tmp_path):
    folder = fresh(tmp_path)
    (folder / "link.png").symlink_to("../secret.png")
    (folder / "up").symlink_to("..")
    with pytest.raises(ImageReadError) as refusal:
        ImageFiles([name], folder).read(0)
    assert refusal.value.reason in ("outside image_root", "missing")


def test_a_model_folder_names_no_file_elsewhere(tmp_path):
    folder = fresh(tmp_path)
    (tmp_path / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling", "path": ".."}]')
    with pytest.raises(InputError, match="leads elsewhere"):
        _text_pooling(folder)


@pytest.mark.parametrize("spec", ["x" * 5000, "a\0b", "~nobody-of-this-name/x", ""])
def test_a_text_that_is_no_path_names_no_encoder(spec):
    with pytest.raises(InputError):
        encoder_from(spec)


def test_a_link_or_a_device_in_an_archive_of_reports_is_passed_over(tmp_path):
    write(tmp_path / "in", {"NLMCXR_reports.tgz": b"\x1f\x8b" + b"\0" * 40})
    with pytest.raises(InputError, match="archive"):
        load_openi(tmp_path / "in")


# Cells and names


@pytest.mark.parametrize("role", ["y", "p", "who", "view", "id"])
def test_a_list_in_a_cell_is_refused(role):
    frame = pd.DataFrame({"y": [0, 1], "p": [0.1, 0.9], "who": ["a", "b"], "view": ["AP", "PA"], "id": ["1", "2"]})
    frame[role] = pd.Series([[1], [2]], dtype=object)
    with pytest.raises(InputError, match="lists or other objects"):
        AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", sample_id="id", metadata=["view"])


def test_half_of_a_surrogate_pair_becomes_a_question_mark():
    frame = pd.DataFrame({"y": [0, 1], "who": ["a", "b"], "view": pd.Series(["A\ud800", "PA"], dtype=object)})
    data = AuditData.from_frame(
        frame.assign(report=frame["view"]), label="y", patient_id="who", report="report", metadata=["view"]
    )
    assert data.metadata["view"].tolist() == ["A?", "PA"]
    assert data.reports.tolist() == ["A?", "PA"]


def test_a_damaged_notebook_is_named(tmp_path):
    (tmp_path / "1.ipynb").write_text('{"cells": [')
    with pytest.raises(InputError, match=r"1\.ipynb"):
        contents(tmp_path)


# Formulas in what is opened as a spreadsheet


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_a_formula_gets_an_apostrophe(text):
    assert _no_formula(text) == f"'{text}"


@pytest.mark.parametrize("value", [-5, "5", "view = AP", "", 3, None, 0.5])
def test_numbers_and_plain_texts_are_left_as_they_are(value):
    assert _no_formula(value) is value


def test_names_of_columns_are_no_formulas_either():
    assert list(_for_spreadsheets(pd.DataFrame({"=1+1": ["=2"]}), ["=1+1"]).columns) == ["'=1+1"]


def csv_cells(path):
    return [cell for row in pd.read_csv(path, header=None, dtype=str).fillna("").to_numpy() for cell in row]


def test_the_table_of_whom_rules_select_holds_no_formula(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"id": ["=cmd()", "-7", "b"], "view": ["AP", "PA", "AP"]}).to_csv("cases.csv", index=False)
    document = json.loads((CORPUS / "rules" / "version-2.json").read_text("utf-8")) | {"version": 1}
    document["rules"][0]["slice_id"] = "=HYPERLINK(1)"
    Path("rules.json").write_text(json.dumps(document))
    assert main(["apply-rules", "rules.json", "cases.csv", "--id", "id", "--out", "selected.csv"]) == 0
    cells = csv_cells("selected.csv")
    assert "'=cmd()" in cells and "'=HYPERLINK(1)" in cells and "'-7" in cells
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)


def test_every_table_of_an_audit_goes_through_the_guard_against_formulas():
    """A new call of to_csv has to decide: guarded, or a data set that is written to be read by programs."""
    unguarded = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr == "to_csv":
                unguarded |= {(path.name, ast.unparse(called.value))} - {
                    (path.name, text) for text in [ast.unparse(called.value)] if text.startswith("_for_spreadsheets(")
                }
    own_phantoms = {value for name, value in unguarded if name == "_files.py"}
    assert unguarded == {("cli.py", "written.astype(int)")} | {("_files.py", value) for value in own_phantoms}


# Nothing in the package can run what a file holds

NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "cPickle", "cloudpickle", "yaml", "xmlrpc"}
NEVER_CALLED = {
    "eval", "exec", "os.system", "os.popen", "joblib.load", "yaml.load", "tempfile.mktemp", "pd.read_pickle",
    "pandas.read_pickle", "pd.eval", "np.fromfile",
}  # fmt: skip
# The dialog runs the lines that it writes into the notebook; columns and values stand in them as literals.
OWN_CODE = {"lab/_check.py": ["exec", "exec"]}
NEVER_A_METHOD = {"extractall", "extract", "read_pickle", "mktemp"}


def dangers(source):
    """Return what in a piece of code can run or unpack what a file holds."""
    found = []
    unsafe = dict.fromkeys(("np.load", "numpy.load"), ("allow_pickle", "False"))
    unsafe["torch.load"] = ("weights_only", "True")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.partition(".")[0] in NEVER_IMPORTED]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in NEVER_IMPORTED:
            found.append(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            told = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if name in NEVER_CALLED or (isinstance(node.func, ast.Attribute) and node.func.attr in NEVER_A_METHOD):
                found.append(name)
            found += [name for wanted, given in unsafe.items() if name == wanted and told.get(given[0]) != given[1]]
            if name.startswith("subprocess.") and told.get("shell", "False") != "False":
                found.append(name)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_runs_what_a_file_holds(path):
    assert dangers(path.read_text("utf-8")) == OWN_CODE.get(path.relative_to(PACKAGE).as_posix(), [])


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from marshal import loads", "eval(x)", "exec(x)", "os.system(x)", "np.load(p)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)", "joblib.load(p)", "subprocess.run(x, shell=True)", "archive.extractall()",
        "tempfile.mktemp()", "yaml.load(x)", "np.load(p, allow_pickle=True)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(code):
    assert dangers(code)


def test_the_search_lets_safe_calls_pass():
    safe = "torch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\nmodel.eval()\nsubprocess.run([x])"
    assert dangers(safe) == []
