"""Files that strangers wrote, damaged or hostile: each reader reads them or says what is wrong, and nothing runs."""

import ast
import collections
import contextlib
import gzip
import io
import json
import os
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from PIL import Image

import mmaudit
from mmaudit import _tables, load_result
from mmaudit._checkpoints import Checkpoints
from mmaudit._errors import AuditWarning, ImageReadError, InputError
from mmaudit.classifiers import load_classifier
from mmaudit.cli import main, read_table
from mmaudit.data import AuditData
from mmaudit.datasets import load_covid_chestxray, load_openi
from mmaudit.encoders._spec import encoder_from
from mmaudit.encoders._transformers import _text_pooling
from mmaudit.images import ImageFiles, read_image
from mmaudit.lab import reply
from mmaudit.result import _for_spreadsheets, _no_formula
from mmaudit.rules import load_rules
from mmaudit.shards import write_shards
from mmaudit.workshop import contents
from tests.bench.fuzz import attempt, fresh
from tests.bench.fuzz_mutations import npy_header, png_header
from tests.bench.fuzz_readers import READERS, REFUSALS, damaged, inputs, write

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
    "shards": 30,
    "checkpoints": 40,
}
UNFIT = list(HealthCheck)  # of tests that take milliseconds and draw little


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


# Damage that hypothesis chooses, and makes smaller where something is wrong


@pytest.mark.parametrize("name", sorted(READERS))
def test_damage_of_any_kind_is_read_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMAUDIT_CACHE", str(tmp_path / "out" / "cache"))
    kinds = collections.Counter()

    @settings(
        max_examples=FEWER.get(name, 50), deadline=None, derandomize=True, database=None, suppress_health_check=UNFIT
    )
    @given(strategies.randoms(use_true_random=False))
    def check(rng):
        outcome = attempt(name, 0, damaged(name, rng), rng, tmp_path)
        kinds[outcome.kind] += 1
        assert outcome.kind != "unexpected", outcome

    check()
    # Damage that nothing refuses, or everything, would show a fuzzer that damages nothing, or all there is.
    # These refuse one file, not the input.
    if name not in ("cache", "report", "image-folder", "image-zip", "checkpoints"):
        assert kinds["refused"]
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


LONG = pa.DictionaryArray.from_arrays(pa.array(np.zeros(6_000, np.int32)), pa.array(["a" * 100_000]))


@pytest.mark.parametrize(
    "column",
    [
        LONG,
        pa.ListArray.from_arrays(pa.array([0, 6_000], pa.int32()), LONG),
        pa.StructArray.from_arrays([LONG], ["a"]),
        pa.MapArray.from_arrays(pa.array([0, 6_000], pa.int32()), pa.array(["a"] * 6_000), LONG),
        pa.array(["a" * 80_000_000]),
    ],
    ids=["rows", "list", "struct", "map", "page"],
)
def test_a_parquet_file_with_texts_that_unpack_too_far_is_refused(column, tmp_path):
    path = tmp_path / "cases.parquet"
    table = pa.table({"a.b": column, "y": pa.nulls(len(column), pa.int8())})
    pq.write_table(table, path, compression="zstd", store_schema=False, write_statistics=False)
    assert path.stat().st_size < 10_000
    for columns in (None, ["a.b"]):
        with pytest.raises(_tables.UnpacksTooFarError):
            _tables.read_parquet(path, columns=columns)
    if len(column) > 1:  # one that is not asked for is not read
        assert len(_tables.read_parquet(path, columns=["y"])) == len(column)


def test_a_parquet_file_with_an_index_that_unpacks_too_far_is_refused(tmp_path):
    path = tmp_path / "cases.parquet"
    frame = pd.DataFrame({"y": 0}, index=pd.Index(["a" * 100_000] * 1_000, name="who"))
    frame.to_parquet(path)
    with pytest.raises(_tables.UnpacksTooFarError):
        _tables.read_parquet(path, columns=["y"])


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_an_ordinary_parquet_file_of_texts_is_read(compression, tmp_path):
    rng = np.random.default_rng(0)
    words = np.array([f"word-{k}" for k in range(5_000)])
    frame = pd.DataFrame({"report": [" ".join(rng.choice(words, 100)) for _ in range(5_000)]})
    frame["view"], frame["tags"] = rng.choice(["AP", "PA"], 5_000), [["one", "two"]] * 5_000
    frame.to_parquet(tmp_path / "cases.parquet", compression=compression)
    assert len(_tables.read_parquet(tmp_path / "cases.parquet")) == 5_000


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


# Shards, and what an interrupted audit left


ROLES = {"label": "y", "y_proba": "p", "patient_id": "who", "report": "report", "n_jobs": 1}


def shards_of(folder, **changed):
    """Write 21 shards of four cases with embeddings."""
    frame = pd.DataFrame({"y": [0, 1] * 42, "p": 0.3, "who": [f"p{k}" for k in range(84)], "report": "Clear."})
    write_shards(folder, frame.assign(**changed), embeddings={"image": np.ones((84, 3))}, n_rows=4)
    return folder


@pytest.mark.parametrize("name", ["part-00003.parquet", "part-00003.image.npy"])
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "itself"])
def test_what_is_no_plain_file_costs_its_shard_only(name, what, tmp_path):
    path = shards_of(tmp_path) / name
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if what == "device" else name)
    with pytest.warns(AuditWarning, match="left out"):
        data = AuditData.from_shards(tmp_path, **ROLES)
    assert data.n_samples == 80 and data.quarantine["sample_id"].tolist() == ["part-00003"]


def test_a_column_that_pandas_wrote_as_the_index_is_read(tmp_path):
    path = shards_of(tmp_path) / "part-00003.parquet"
    pd.read_parquet(path).set_index(["who", "report"]).to_parquet(path)
    data = AuditData.from_shards(tmp_path, **ROLES)
    assert data.patient_id.tolist() == [f"p{k}" for k in range(84)] and data.reports[12] == "Clear."


def test_lists_in_the_reports_of_a_shard_cost_this_shard_only(tmp_path):
    path = shards_of(tmp_path) / "part-00003.parquet"
    pd.read_parquet(path).assign(report=[["Clear."]] * 4).to_parquet(path)
    with pytest.warns(AuditWarning, match="lists or other objects in 'report'"):
        assert AuditData.from_shards(tmp_path, **ROLES).n_samples == 80


@pytest.mark.parametrize("rows", [0, 4])
def test_a_shard_of_no_rows_or_with_times_for_reports_is_read(rows, tmp_path):
    path = shards_of(tmp_path) / "part-00003.parquet"
    pd.read_parquet(path).assign(report=pd.Timestamp("2026-01-01"))[:rows].to_parquet(path)
    np.save(tmp_path / "part-00003.image.npy", np.ones((rows, 3)))
    assert AuditData.from_shards(tmp_path, **ROLES).n_samples == 80 + rows


def test_a_patient_whose_name_is_no_text_is_one(tmp_path):
    data = AuditData.from_shards(shards_of(tmp_path, who=b"\xff"), **ROLES)
    assert data.n_patients == 1


@pytest.mark.parametrize("header", [("(4, 3", "'<f4'"), ("(4, 1)", "'<f4'"), ("(4, 3)", "'|O'"), ("(10**9,)", "'<f4'")])
def test_an_array_that_changes_while_it_is_worked_on_is_named(header, tmp_path):
    data = AuditData.from_shards(shards_of(tmp_path), **ROLES)
    (tmp_path / "part-00003.image.npy").write_bytes(npy_header(*header) + bytes(48))
    assert data.embeddings["image"][:12].shape == (12, 3)
    with pytest.raises(InputError, match=r"part-00003\.image\.npy, which cannot be read any more"):
        data.embeddings["image"][10:14]


def test_a_result_in_the_place_of_another_is_not_believed(tmp_path):
    run = Checkpoints(tmp_path, {"data": "1"})
    for stage, position in (("s", 0), ("s", 1), ("t", 0)):
        run.stage(stage).put(position, {"x": [stage, position]})
    for place in ("s/000001.zip", "t/000000.zip"):
        shutil.copy(tmp_path / "s" / "000000.zip", tmp_path / place)
    run = Checkpoints(tmp_path, {"data": "1"}, resume=True)
    assert run.stage("s").get(0) == {"x": ["s", 0]}
    assert run.stage("s").get(1) is None and run.stage("t").get(0) is None


def test_no_result_is_read_or_written_where_a_link_leads(tmp_path):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    Checkpoints(folder, {"data": "1"}).stage("s").put(0, {"x": 1})
    (folder / "s").rename(elsewhere)
    (folder / "s").symlink_to(elsewhere)
    (elsewhere / ".mmaudit-0").write_text("of another")
    stage = Checkpoints(folder, {"data": "1"}, resume=True).stage("s")
    assert stage.get(0) is None
    with pytest.raises(InputError, match="folder in which files and folders can be made"):
        stage.put(1, {"x": 1})
    Checkpoints(folder, {"data": "1"})
    assert sorted(path.name for path in elsewhere.iterdir()) == [".mmaudit-0", "000000.zip"]


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_a_result_that_is_no_plain_file_is_none(what, tmp_path):
    stage = Checkpoints(tmp_path, {"data": "1"}).stage("s")
    stage.put(0, {"x": 1})
    for path in (tmp_path / "s" / "000000.zip", tmp_path / "run.json"):
        path.unlink()
        if what == "device":
            path.symlink_to("/dev/zero")
        else:
            os.mkfifo(path) if what == "pipe" else path.mkdir()
    assert stage.get(0) is None
    with pytest.raises(InputError) if what == "folder" else contextlib.nullcontext():
        stage.put(0, {"x": 2})
        assert stage.get(0) == {"x": 2}
    with pytest.raises(InputError) if what == "folder" else contextlib.nullcontext():
        assert Checkpoints(tmp_path, {"data": "1"}, resume=True).stage("s").get(0) == {"x": 2}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(InputError, match="checkpoints: expected a folder in which"):
        Checkpoints(tmp_path / "run", {"data": "1"})


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


@pytest.mark.parametrize(
    ("role", "message"),
    [("y", "label: expected the values 0 and 1"), ("id", "sample_id: expected names that UTF-8 can")],
)
def test_half_of_a_surrogate_pair_is_no_label_and_no_sample_id(role, message):
    frame = pd.DataFrame({"y": [0, 1, 0], "who": ["a", "b", "c"], "id": ["1", "2", "3"]}, dtype=object)
    frame[role] = pd.Series([0, 1, "\ud800"], dtype=object)
    with pytest.raises(InputError, match=message):
        AuditData.from_frame(frame, label="y", patient_id="who", sample_id="id")


def test_a_message_shows_no_labels_that_may_be_ids_and_no_row_in_a_column_name():
    frame = pd.DataFrame({"y": ["Mrs Miller", "b", "b"], "who": ["a", "b", "c"]})
    with pytest.raises(InputError, match="2 different values\\.") as refusal:
        AuditData.from_frame(frame, label="y", patient_id="who")
    assert "Miller" not in str(refusal.value)
    with pytest.raises(InputError, match="Its columns are: y, who") as refusal:
        AuditData.from_frame(frame.rename(columns={"who": "who\0\0Miller"}), label="y", patient_id="who")
    assert "Miller" not in str(refusal.value)


def test_patients_may_have_half_of_a_surrogate_pair_in_their_names():
    frame = pd.DataFrame({"y": [0, 1, 1], "who": pd.Series(["a\ud800", "b", "a\ud800"], dtype=object)})
    assert AuditData.from_frame(frame, label="y", patient_id="who").patient_id.tolist() == ["a?", "b", "a?"]


def test_numbers_of_half_precision_name_samples():
    frame = pd.DataFrame({"y": [0, 1], "who": ["a", "b"], "id": np.array([1, 2], dtype=np.float16)})
    assert AuditData.from_frame(frame, label="y", patient_id="who", sample_id="id").sample_id.tolist() == [1.0, 2.0]


def test_a_damaged_notebook_is_named(tmp_path):
    (tmp_path / "1.ipynb").write_text('{"cells": [')
    with pytest.raises(InputError, match=r"1\.ipynb"):
        contents(tmp_path)


def test_long_texts_in_a_table_are_looked_at_in_seconds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"y": [0, 1] * 30, "of_ai": "9" * 20_000 + "x", "age": "a" * 20_000}).to_csv("cases.csv", index=False)
    begun = time.process_time()
    assert "ok" in reply({"ask": "table", "path": "cases.csv"})
    assert time.process_time() - begun < 4


def test_a_table_of_other_columns_does_not_say_what_is_in_them(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "metadata.csv").write_text("patientid,finding,filename\n1,Cough of Mrs Miller,a.png\n")
    with pytest.raises(InputError, match="expected one of the findings") as refusal:
        load_covid_chestxray(tmp_path)
    assert "Miller" not in str(refusal.value)


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
