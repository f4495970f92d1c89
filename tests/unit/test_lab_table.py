"""A table in JupyterLab: how it is read, which column may be what, and what a check of roles says."""

import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmaudit
from mmaudit.lab import MIME, _answer, answer, reply
from mmaudit.lab._guess import doubtful_name, tokens, training_rows
from mmaudit.lab._leaks import Predicted, auroc, leak, restates
from mmaudit.workshop import contents
from tests.unit._lab_tables import HOSTILE, cases

REPO = Path(__file__).parents[2]
REAL = Path(os.environ.get("MMAUDIT_REAL_DATA", REPO.parent / "shared" / "data")) / "covid-chestxray"


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ok(question):
    answered = reply(question)
    assert "error" not in answered, answered
    json.dumps(answered, allow_nan=False)
    return answered["ok"]


def error(question):
    answered = reply(question)
    assert set(answered) == {"error"}
    return answered["error"]


def look(frame, name="t.csv", **how):
    frame.to_csv(name, index=False, **how)
    return ok({"ask": "table", "path": name})


def roles_of(table):
    return {column["name"]: column["role"] for column in table["columns"]}


def check(frame, name="t.csv", **roles):
    frame.to_csv(name, index=False)
    return ok({"ask": "check", "path": name, "roles": roles})


def refused(frame, name="t.csv", **roles):
    frame.to_csv(name, index=False)
    return error({"ask": "check", "path": name, "roles": roles})


BINARY = {"label": ["effusion"], "proba": ["p_effusion"], "patient_id": "PatientID", "metadata": ["sex", "age"]}


# Questions


@pytest.fixture
def published(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: found.append(data[MIME]) if raw else None)
    return found


def test_the_answer_is_published_once(published):
    answer(json.dumps({"ask": "hello"}))
    (only,) = published
    assert only["ok"]["version"] == mmaudit.__version__


def test_progress_comes_before_the_answer(published):
    cases().to_csv("t.csv", index=False)
    answer(json.dumps({"ask": "check", "path": "t.csv", "roles": BINARY}))
    *before, last = published
    assert before
    assert all(set(one["progress"]) == {"done", "total", "text"} for one in before)
    assert last["ok"]["n_samples"] == 200


@pytest.mark.parametrize("text", ["{", "[]", '"hello"', "{}", '{"ask": ["hello"]}', '{"ask": "tables"}'])
def test_what_is_no_question_is_told(text, published):
    answer(text)
    assert published[0]["error"].startswith("ask: expected one of hello")


def test_an_unforeseen_error_does_not_quote_the_table(monkeypatch):
    def fails(question, step):
        raise KeyError("Mrs Example")

    monkeypatch.setitem(_answer._ANSWERS, "hello", fails)
    said = error({"ask": "hello"})
    assert "KeyError in" in said
    assert "Example" not in said


def test_import_is_light():
    code = "import sys, mmaudit.lab; assert not {'pandas', 'numpy', 'sklearn', 'IPython', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hello_says_what_is_installed():
    can = ok({"ask": "hello"})["can"]
    assert set(can.values()) <= {True, False}
    assert can["torch"] == (importlib.util.find_spec("torch") is not None)


@pytest.mark.parametrize(
    "path", ["../t.csv", "/etc/t.csv", "a/../../t.csv", "C:\\t.csv", "~/t.csv", "", None, 3, "a\0.csv"]
)
@pytest.mark.parametrize("ask", ["table", "check", "notebook", "open"])
def test_paths_stay_in_the_folder(ask, path):
    assert error({"ask": ask, "path": path, "roles": {}}).startswith("path: expected")


def test_the_contents_are_those_of_the_workshop():
    told = ok({"ask": "contents"})["notebooks"]
    assert [one["file"] for one in told] == [entry.file for entry in contents()]
    assert told[0]["minutes"] == 30
    assert all(one["question"] for one in told)


def test_notebooks_are_copied_and_what_is_there_is_kept(here):
    first = ok({"ask": "copy", "folder": "mine", "audience": "learner"})
    assert first["folder"] == "mine"
    assert first["kept"] == []
    assert [entry.file for entry in contents()] == first["files"]
    (here / "mine" / first["files"][0]).write_text("my answers")
    assert ok({"ask": "copy", "folder": "mine"})["kept"] == first["files"][:1]
    assert (here / "mine" / first["files"][0]).read_text() == "my answers"
    assert error({"ask": "copy", "folder": "../mine"}).startswith("folder: expected a path in the current folder")
    assert error({"ask": "copy", "folder": "mine", "audience": "x"}).startswith("audience: expected")


# Reading


@pytest.mark.parametrize(
    ("separator", "decimal", "encoding"),
    [(",", ".", "utf-8"), (";", ".", "utf-8"), (";", ",", "latin-1"), ("\t", ".", "utf-8-sig"), (",", ".", "latin-1")],
)
def test_separators_decimals_and_encodings_are_found(separator, decimal, encoding):
    frame = cases(site=["Zürich", "Genève"] * 100)
    table = look(frame, sep=separator, decimal=decimal, encoding=encoding)
    assert [column["name"] for column in table["columns"]] == list(frame.columns)
    assert table["n_rows"] == 200
    assert table["suggestion"]["proba"] == ["p_effusion"]
    assert {text for text, _ in table["columns"][-1]["values"]} == {"Zürich", "Genève"}
    checked = ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})
    assert (checked["n_samples"], checked["n_patients"]) == (200, 100)


@pytest.mark.parametrize("name", ["t.tsv", "t.csv.gz", "t.tsv.gz", "T.CSV"])
def test_other_endings(name):
    sep = "\t" if ".tsv" in name else ","
    assert look(cases(), name, sep=sep)["suggestion"]["label"] == ["effusion"]


def test_parquet_with_an_index_and_numbers_for_names():
    cases().set_index("PatientID").to_parquet("a.parquet")
    table = ok({"ask": "table", "path": "a.parquet"})
    assert table["suggestion"]["patient_id"] == "PatientID"
    assert ok({"ask": "check", "path": "a.parquet", "roles": table["suggestion"]})["n_patients"] == 100
    cases().rename(columns={"effusion": 0, "p_effusion": 1}).to_parquet("b.parquet")
    table = ok({"ask": "table", "path": "b.parquet"})
    assert [c["name"] for c in table["columns"]] == ["PatientID", "0", "1", "sex", "age"]
    roles = {"label": ["0"], "proba": ["1"], "patient_id": "PatientID"}
    assert ok({"ask": "check", "path": "b.parquet", "roles": roles})["n_patients"] == 100


def test_parquet_with_lists_and_categories():
    frame = cases(box=[[1, 2]] * 200, view=pd.Categorical(["PA", "AP"] * 100), flag=pd.array([True, None] * 100))
    frame.to_parquet("a.parquet")
    table = ok({"ask": "table", "path": "a.parquet"})
    assert roles_of(table)["view"] == "metadata"
    assert roles_of(table)["box"] is None
    said = error({"ask": "check", "path": "a.parquet", "roles": {**BINARY, "metadata": ["box"]}})
    assert said.startswith("Metadata: expected numbers, texts or booleans")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Table: expected a header and rows, got an empty file"),
        (b"a,b\n", "Table: expected columns and at least one row"),
        (b"a,b\n1,2\n1,2,3\n4,5\n", "got another number in line 3"),
        (b"a,b\n1,2,3\n1,2,3\n", "got more fields in the rows"),
        ("a,b\n1,2\n".encode("utf-16"), "got another encoding, perhaps UTF-16"),
    ],
)
def test_broken_text_is_told(here, content, said):
    (here / "t.csv").write_bytes(content)
    assert said in error({"ask": "table", "path": "t.csv"})


def test_other_broken_files_are_told(here):
    (here / "t.parquet").write_bytes(b"PAR1 Mrs Example")
    (here / "t.csv.gz").write_bytes(b"no gzip")
    (here / "d.csv").mkdir()
    assert "one that cannot be read (ArrowInvalid)" in error({"ask": "table", "path": "t.parquet"})
    assert "one that cannot be read (BadGzipFile)" in error({"ask": "table", "path": "t.csv.gz"})
    assert "got a folder" in error({"ask": "table", "path": "d.csv"})
    assert "no such file" in error({"ask": "table", "path": "none.csv"})
    assert "another ending" in error({"ask": "table", "path": "t.xlsx"})


def test_a_text_table_that_is_too_large_is_told_and_unpacked_bytes_count(monkeypatch):
    monkeypatch.setattr("mmaudit.lab._table.MOST_BYTES", 2_000)
    Path("t.csv.gz").write_bytes(gzip.compress(cases().to_csv(index=False).encode()))
    assert "at most 2 GB" in error({"ask": "table", "path": "t.csv.gz"})


def test_a_large_table_is_judged_by_its_first_rows_and_counted_to_its_end(monkeypatch):
    monkeypatch.setattr("mmaudit.lab._table.GUESS_ROWS", 50)
    monkeypatch.setattr("mmaudit.lab._table.BLOCK_BYTES", 61)  # quotes that blocks cut in two
    table = look(cases(report=['He said "pain".\nThen, no more of it was found on the films'] * 200))
    assert table["n_rows"] == 200
    assert any("first 50 of about 200 rows" in note for note in table["notes"])
    assert ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})["n_samples"] == 200


def test_ids_stay_text():
    frame = cases()
    assert check(frame, **BINARY)["n_patients"] == 100
    frame["PatientID"] = ["7", "07", "007", "0007"] * 50
    assert "got 4" in refused(frame, **BINARY)


def test_names_that_occur_twice_are_told():
    Path("t.csv").write_text("a,a,b\n1,2,3\n4,5,6\n")
    assert any("'a' occurs more than once" in note for note in ok({"ask": "table", "path": "t.csv"})["notes"])


def test_1000_columns():
    frame = cases()
    wide = pd.DataFrame(np.random.default_rng(0).random((200, 1000)), columns=[f"f{k}" for k in range(1000)])
    table = look(pd.concat([frame, wide * 3], axis=1))
    assert len(table["columns"]) == 1005
    assert len(table["suggestion"]["metadata"]) == 30
    assert {"sex", "age"} <= set(table["suggestion"]["metadata"])


# Guessing


def test_the_words_of_a_name():
    assert tokens("PatientID") == tokens("patient_id") == tokens("Patient id") == ["patient", "id"]


def test_a_binary_table():
    table = look(cases(image_id=[f"i{k}" for k in range(200)], site=["A", "B"] * 100))
    assert roles_of(table) == {
        "PatientID": "patient_id",
        "effusion": "label",
        "p_effusion": "proba",
        "sex": "metadata",
        "age": "metadata",
        "image_id": "sample_id",
        "site": "metadata",
    }
    reasons = {column["name"]: column["reason"] for column in table["columns"]}
    assert reasons["PatientID"] == "name says patient; 100 values, 2.0 rows each"
    assert {column["confidence"] for column in table["columns"]} <= {"sure", "likely", "guess"}
    assert table["suggestion"]["positive"] is None


@pytest.mark.parametrize(
    ("label", "proba"),
    [
        ("label", "score"),
        ("y_true", "y_prob"),
        ("target", "pred"),
        ("gt", "model_output"),
        ("Pneumonia", "prob_Pneumonia"),
    ],
)
def test_common_names(label, proba):
    table = look(cases(y_pred=[0, 1] * 100).rename(columns={"effusion": label, "p_effusion": proba}))
    assert table["suggestion"]["label"] == [label]
    assert table["suggestion"]["proba"] == [proba]
    assert "y_pred" not in table["suggestion"]["metadata"]


@pytest.mark.parametrize(
    ("words", "positive"),
    [(("no", "yes"), "yes"), (("N", "Y"), "Y"), (("benign", "malignant"), "malignant"), (("normal", "TB"), "TB")],
)
def test_a_label_in_words(words, positive):
    frame = cases()
    frame["diagnosis"] = frame.pop("effusion").map(dict(enumerate(words)))
    table = look(frame)
    assert table["suggestion"]["label"] == ["diagnosis"]
    assert table["suggestion"]["positive"] == [positive]
    checked = ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})
    assert f"({positive})" in " ".join(checked["summary"])


def test_booleans_are_labels():
    frame = cases()
    frame["effusion"] = frame["effusion"] == 1
    table = look(frame)
    assert table["columns"][1]["type"] == "boolean"
    assert table["suggestion"]["label"] == ["effusion"]
    assert ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})["n_samples"] == 200


def several(n=200):
    rng = np.random.default_rng(1)
    edema = (rng.random(n) < 0.3).astype(float)
    frame = cases(n, edema=edema, prob_edema=np.clip(0.3 + 0.3 * edema + rng.normal(0, 0.1, n), 0, 1))
    frame.loc[:9, "edema"] = np.nan
    return frame


def test_several_labels_are_paired_by_name():
    table = look(several())
    assert table["suggestion"]["label"] == ["effusion", "edema"]
    assert table["suggestion"]["proba"] == ["p_effusion", "prob_edema"]
    turned = {**table["suggestion"], "proba": ["prob_edema", "p_effusion"]}
    checked = ok({"ask": "check", "path": "t.csv", "roles": turned})
    assert checked["pairs"] == [["effusion", "p_effusion"], ["edema", "prob_edema"]]
    assert checked["n_samples"] == 200  # a label that is not known leaves the others
    said = error({"ask": "check", "path": "t.csv", "roles": {**turned, "proba": ["prob_edema"]}})
    assert said.startswith("Probability: expected 2 columns, one a label, got 1")


def classes(n=240, names=("normal", "pneumonia", "tb")):
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, n)
    proba = rng.dirichlet([1, 1, 1], n) * 0.5 + 0.5 * np.eye(3)[truth]
    proba /= proba.sum(axis=1, keepdims=True)
    columns = {f"p_{names[k]}": proba[:, k] for k in (2, 0, 1)}  # in another order than the names
    return cases(n, diagnosis=np.array(names)[truth], **columns).drop(columns=["effusion", "p_effusion"])


@pytest.mark.parametrize("names", [("normal", "pneumonia", "tb"), ("0", "1", "2")])
def test_classes_are_matched_by_name(names):
    table = look(classes(names=names))
    assert table["suggestion"]["label"] == ["diagnosis"]
    assert len(table["suggestion"]["proba"]) == 3
    assert table["suggestion"]["positive"] is None
    checked = ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})
    assert sorted(map(tuple, checked["pairs"])) == [(name, f"p_{name}") for name in names]


def test_classes_that_cannot_be_told_are_an_error():
    frame = classes().rename(columns={"p_tb": "p_a", "p_normal": "p_b", "p_pneumonia": "p_c"})
    said = refused(frame, label=["diagnosis"], proba=["p_a", "p_b", "p_c"], patient_id="PatientID")
    assert said.startswith("Probability: expected columns named after the values of 'diagnosis'")


def test_images_are_looked_for_where_they_lie(here):
    (here / "films" / "a").mkdir(parents=True)
    for k in range(200):
        (here / "films" / "a" / f"{k}.png").touch()
    frame = cases(path=[f"{k}.png" for k in range(200)], folder=["films/a", "films/b"] * 100)
    suggestion = look(frame)["suggestion"]
    assert (suggestion["image"], suggestion["image_root"]) == ("path", "films/a")
    suggestion = look(cases(path=[f"a/{k}.png" for k in range(200)]))["suggestion"]
    assert (suggestion["image"], suggestion["image_root"]) == ("path", "films")
    table = look(cases(path=[f"films/a/{k}.png" for k in range(200)]))
    assert (table["suggestion"]["image"], table["suggestion"]["image_root"]) == ("path", None)
    table = look(cases(path=[f"other/{k}.png" for k in range(200)]))
    assert table["suggestion"]["image"] is None
    assert any("images that are not in this folder" in note for note in table["notes"])


def test_the_longest_texts_are_the_report_and_what_is_no_metadata_is_left_out():
    text = "there is a large effusion at the left base, unchanged since the last film"
    table = look(
        cases(
            findings=[f"{text} {k}" for k in range(200)],
            study_date=["2020-01-03", "2021-02-04"] * 100,
            url=[f"https://example.org/{k % 7}" for k in range(200)],
            licence=["CC BY", "CC0"] * 100,
            modality="DX",
            nothing=np.nan,
            accession=[str(10_000 + 7 * k) for k in range(200)],
            severity=["none", "large"] * 100,
        ).assign(severity=lambda df: np.where(df["effusion"] == 1, "large", "none"))
    )
    assert table["suggestion"]["report"] == "findings"
    assert table["suggestion"]["metadata"] == ["sex", "age"]
    reasons = {column["name"]: column["reason"] for column in table["columns"]}
    assert reasons["severity"].startswith("restates the label?")
    assert any("'severity' tells the label" in note for note in table["notes"])


def test_what_restates_a_label():
    rng = np.random.default_rng(0)
    y = (rng.random(400) < 0.3).astype(float)
    assert restates(pd.Series(y + 10), y)
    assert restates(pd.Series(y * 5 + rng.random(400)), y)
    assert restates(pd.Series(np.where(y == 1, "x", None)), y)
    assert not restates(pd.Series(rng.random(400)), y)
    assert not restates(pd.Series(rng.choice(["F", "M"], 400)), y)
    assert not restates(pd.Series([str(k) for k in range(400)]), y)  # ids tell everything and nothing


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_keep_their_roles(name):
    frame = cases().rename(columns={"sex": name})
    frame.to_parquet("t.parquet")
    table = ok({"ask": "table", "path": "t.parquet"})
    assert roles_of(table)[name] == "metadata"
    assert ok({"ask": "check", "path": "t.parquet", "roles": table["suggestion"]})["n_samples"] == 200


def test_examples_are_short_and_values_whole():
    table = look(cases(note=["a very long line of text " * 20] * 100 + ["b"] * 100))
    (column,) = [c for c in table["columns"] if c["name"] == "note"]
    assert len(column["examples"]) <= 3
    assert max(map(len, column["examples"])) <= 60
    assert column["values"] == []  # cut ones could not be found again
    assert table["columns"][3]["values"][0][1] >= table["columns"][3]["values"][1][1]


# Checking


def test_a_good_table_passes():
    checked = check(cases(), **BINARY)
    assert checked["stand_in"] is False
    assert checked["pairs"] == [["effusion", "p_effusion"]]
    assert checked["warnings"] == []
    assert checked["summary"][0] == "200 of 200 rows take part, of 100 patients."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": []}, "Label: expected a column that says what is true, got none"),
        ({"label": ["efusion"]}, "Label: expected a column of the table, got 'efusion'"),
        (
            {"metadata": ["effusion"]},
            "Metadata: expected a column with no other role, got 'effusion', which is Label too",
        ),
        ({"label": ["age"], "metadata": []}, "Label: expected 0 and 1, or few values"),
        ({"label": ["sex"], "metadata": []}, "Counts as 1: expected at least one value of the label, got none"),
        ({"label": ["sex"], "metadata": [], "positive": ["F", "M"]}, "Counts as 1: expected some values of the label"),
        ({"label": ["sex"], "metadata": [], "positive": ["X"]}, "Counts as 1: expected values of the label"),
        ({"proba": ["age"], "metadata": []}, "Probability: expected numbers in [0, 1], got 200 of 'age' outside"),
        ({"proba": ["sex"], "metadata": []}, "Probability: expected numbers, got 200 values of 'sex'"),
        ({"proba": [], "metadata": []}, "Probability: expected a column, got none, and neither images nor metadata"),
        ({"proba": ["p_effusion", "age"], "metadata": []}, "Probability: expected one column"),
        ({"threshold": 2}, "Threshold: expected a number between 0 and 1"),
        ({"threshold": "x"}, "Threshold: expected a number between 0 and 1"),
        ({"image": "sex", "metadata": []}, "Folder of the images: expected the files that 'sex' names, got none"),
        ({"image": "sex", "metadata": [], "image_root": "nowhere"}, "Folder of the images: expected a folder"),
        ({"label": "effusion", "proba": [3]}, "Probability: expected names of columns"),
    ],
)
def test_what_is_wrong_names_the_field(change, said):
    assert refused(cases(), **{**BINARY, **change}).startswith(said)


def test_missing_values_are_left_out_and_counted_and_patients_must_be_there():
    frame = cases().astype({"effusion": object})
    frame.loc[:4, "effusion"] = None
    frame.loc[5:7, "p_effusion"] = np.nan
    checked = check(frame, **BINARY)
    assert checked["n_samples"] == 192
    assert "Left out: 5 rows without a label." in checked["summary"]
    assert "Left out: 3 rows without a probability." in checked["summary"]
    frame.loc[20:21, "PatientID"] = None
    assert refused(frame, **BINARY).startswith("Patient: expected a patient in each row, got 2 rows without. Fill")


def test_values_that_say_nothing_are_no_label():
    frame = cases()
    frame["diagnosis"] = np.where(frame.index < 20, "todo", np.where(frame.pop("effusion") == 1, "TB", "normal"))
    roles = {**BINARY, "label": ["diagnosis"], "positive": ["TB"]}
    assert check(frame, **roles)["n_samples"] == 180
    assert check(frame, **{**roles, "positive": ["TB", "todo"]})["n_samples"] == 200  # unless they are chosen


def test_sample_ids_that_repeat_are_not_used():
    checked = check(cases(image_id=["a", "b"] * 100), **BINARY, sample_id="image_id")
    assert any(line.startswith("Sample id: 'image_id' has 198 repeated values") for line in checked["warnings"])


def test_weak_data_are_warned_of():
    frame = cases(60)
    frame["p_effusion"] = 0.3
    warned = "\n".join(check(frame, **{**BINARY, "patient_id": None})["warnings"])
    assert "Patient: none is chosen" in warned
    assert "Probability: 'p_effusion' is the same in every row" in warned
    assert "Threshold: 0.5 calls 100 % of the cases 0" in warned
    warned = "\n".join(
        check(cases(60).assign(severity=lambda df: df["effusion"] * 2), **{**BINARY, "metadata": ["severity"]})[
            "warnings"
        ]
    )
    assert "Patient: 30 patients are few" in warned
    assert "Metadata: 'severity' restates the label?" in warned
    frame = cases()
    frame["effusion"] = (frame.index % 20 == 0).astype(int)
    assert any("10 cases of the rarer kind" in line for line in check(frame, **BINARY)["warnings"])


def test_a_low_probability_of_a_rare_label_gets_a_threshold():
    frame = cases(400)
    frame["effusion"] = (frame.index % 10 == 0).astype(int)
    frame["p_effusion"] = 0.05 + 0.2 * frame["effusion"]
    frame.loc[:2, "p_effusion"] = 0.25
    assert any("try 0.1, the share of label 1" in line for line in check(frame, **BINARY)["warnings"])
    assert not check(frame, **BINARY, threshold=0.1)["warnings"]


def test_too_few_patients_are_an_error():
    assert refused(cases(30), **BINARY).startswith("Patient: expected at least 20 patients")
    frame = cases()
    frame["effusion"] = (frame.index < 4).astype(int)
    assert refused(frame, **{**BINARY, "proba": []}).startswith("Label: expected at least 5 patients of each label")


def test_a_rare_label_at_the_end_of_a_large_table_is_seen():
    frame = cases(30_000)
    frame["effusion"] = (frame.index > 29_900).astype(int)
    assert check(frame, **BINARY)["n_samples"] == 30_000


def test_a_huge_table_is_built_of_rows_from_all_over_it(monkeypatch):
    monkeypatch.setattr("mmaudit.lab._check.BUILD_ROWS", 100)
    frame = cases(4000)
    frame["sex"] = frame["effusion"].astype(str)
    checked = check(frame, **BINARY)
    assert (checked["n_samples"], checked["n_patients"]) == (4000, 2000)
    assert any("'sex' restates the label?" in line for line in checked["warnings"])


def test_minus_one_is_told():
    frame = several()
    frame.loc[:4, "effusion"] = -1
    roles = {"label": ["effusion", "edema"], "proba": ["p_effusion", "prob_edema"], "patient_id": "PatientID"}
    checked = check(frame, **roles)
    assert checked["n_samples"] == 195  # edema is not known of the first ten
    assert "Left out: 5 rows without a label, or that say -1." in checked["summary"]
    assert "5 labels say -1, which counts as missing." in checked["summary"]
    assert check(frame, **roles, positive=["1", "-1"])["n_samples"] == 200
    table = look(frame)
    assert table["columns"][1]["reason"] == "0, 1 and -1, which counts as missing; its probability is 'p_effusion'"
    assert any("they count as missing unless you tick -1" in note for note in table["notes"])


def films(folder, n, broken=()):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(n):
        if k in broken:
            (folder / f"{k}.png").write_bytes(b"no image")
        else:
            Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(folder / f"{k}.png")


def test_missing_and_unreadable_images_are_counted(here):
    films(here / "films", 120, broken=range(0, 120, 2))
    frame = cases(path=[f"{k}.png" for k in range(200)])
    roles = {**BINARY, "proba": [], "image": "path", "image_root": "films"}
    checked = check(frame, **roles)
    assert checked["stand_in"] is True
    assert checked["n_samples"] == 120
    assert "Left out: 80 rows without an image file." in checked["summary"]
    assert any("tried cannot be read" in line for line in checked["warnings"])
    for path in (here / "films").iterdir():
        path.write_bytes(b"no image")
    assert refused(frame, **roles).startswith("Image: expected images that can be read")


def test_images_outside_their_folder_are_told(here):
    films(here / "films", 200)
    (here / "other").mkdir()
    frame = cases(path=[f"../films/{k}.png" for k in range(200)])
    said = refused(frame, **BINARY, image="path", image_root="other")
    assert said.startswith("Folder of the images: expected every image in it, got a path that leads outside")


# What was made from the label or the prediction, and what does not fit


def predicted(n=400, seed=0, **more):
    """Return cases with enough errors of both kinds."""
    rng = np.random.default_rng(seed)
    frame = cases(n, seed, **more)
    frame["p_effusion"] = np.clip(0.35 + 0.3 * frame["effusion"] + rng.normal(0, 0.2, n), 0.01, 0.99).round(4)
    return frame


def made_from(y, p):
    """Return columns that a table of predictions often holds, under names that say nothing."""
    call = p >= 0.5
    columns = {
        "a": call == y,
        "b": np.where(call, "yes", "no"),
        "c": np.where(y == 1, -np.log(p), -np.log(1 - p)),
        "d": (y == 1) & call,
        "e": (y == 0) & call,
        "f": p * (1 - p),
        "g": np.where(p > 0.7, "high", "low"),
        "h": (p * 0.9).round(3),
        "i": np.where(call != y, np.where(y == 1, "FN", "FP"), "fine"),
    }
    return pd.DataFrame(columns)


def test_columns_made_from_the_prediction_are_no_metadata():
    frame = predicted()
    made = made_from(frame["effusion"], frame["p_effusion"])
    table = look(pd.concat([frame, made], axis=1))
    assert table["suggestion"]["metadata"] == ["sex", "age"]
    reasons = {column["name"]: column["reason"] for column in table["columns"]}
    assert all(reasons[name].startswith("made from the prediction?") for name in made)
    assert any("'g' tells the prediction nearly without error" in note for note in table["notes"])
    warned = check(pd.concat([frame, made], axis=1), **{**BINARY, "metadata": ["sex", *made]})["warnings"]
    assert [name for name in made if not any(f"'{name}' made from the prediction?" in line for line in warned)] == []
    assert not any("'sex'" in line for line in warned)


def test_columns_made_from_one_of_several_predictions_are_no_metadata():
    frame = several(400)
    frame["right"] = (frame["prob_edema"] >= 0.5) == (frame["edema"] == 1)
    frame["either"] = np.where(frame["effusion"] == 1, "x", "y")
    frame["No Finding"] = [0, 1] * 200
    table = look(frame)
    assert table["suggestion"]["label"] == ["effusion", "edema"]
    assert table["suggestion"]["metadata"] == ["sex", "age"]
    roles = {**table["suggestion"], "metadata": ["right", "either"]}
    warned = ok({"ask": "check", "path": "t.csv", "roles": roles})["warnings"]
    assert any("'right' made from the prediction?" in line for line in warned)
    assert any("'either' restates the label?" in line for line in warned)


def test_columns_made_from_classes_are_no_metadata():
    frame = classes(400)
    proba = frame[["p_normal", "p_pneumonia", "p_tb"]]
    said = proba.idxmax(axis=1)
    frame["said"] = said.map({"p_normal": "x", "p_pneumonia": "y", "p_tb": "z"})
    frame["hit"] = said.str.removeprefix("p_") == frame["diagnosis"]
    table = look(frame)
    assert len(table["suggestion"]["proba"]) == 3
    assert table["suggestion"]["metadata"] == ["sex", "age"]


def test_an_honest_column_is_no_leak():
    rng = np.random.default_rng(4)
    frame = predicted(600)
    y, p = frame["effusion"].to_numpy(), frame["p_effusion"].to_numpy()
    one = Predicted(y, p, p >= 0.5)
    harder = np.where((p >= 0.5) != y, rng.random(600) < 0.7, rng.random(600) < 0.2)  # a group with many errors
    nearer = p + rng.normal(0, 0.2, 600)
    for values in (harder, nearer, rng.choice(["F", "M"], 600), rng.integers(20, 90, 600), np.full(600, np.nan)):
        assert leak(pd.Series(values), [y], [one]) is None
    same = Predicted(y, np.full(600, 0.3), np.zeros(600, dtype=bool))
    assert leak(pd.Series(np.repeat(["A", "B"], 300)), [y], [same]) is None  # a sorted table


@pytest.mark.parametrize(
    ("name", "word"),
    [("is_correct", "correct"), ("TP", "tp"), ("val_loss", "loss"), ("ai_triage", "ai"), ("brierScore", "brier")],
)
def test_names_of_what_is_made_from_predictions(name, word):
    assert doubtful_name(name) == f"name says {word}: made from the prediction?"
    frame = predicted()
    frame[name] = np.random.default_rng(9).choice(["u", "v"], 400)
    assert look(frame)["suggestion"]["metadata"] == ["sex", "age"]
    warned = check(frame, **{**BINARY, "metadata": [name]})["warnings"]
    assert f"Metadata: {name!r} name says {word}: made from the prediction?" in warned


def test_names_of_persons_are_no_metadata():
    telling = ["PatientName", "surname", "zip", "phone_number", "e-mail address", "SSN", "BirthPlace", "first name"]
    assert [name for name in telling if doubtful_name(name) is None] == []
    fine = ["hospital_name", "ScannerName", "site", "birth_weight", "weight_loss", "age", "BodyPart", "protocol name"]
    assert [name for name in fine if doubtful_name(name) is not None] == []
    table = look(cases(zip=[1000 + k % 7 for k in range(200)], hospital_name=["St A", "St B"] * 100))
    assert table["suggestion"]["metadata"] == ["sex", "age", "hospital_name"]
    warned = check(cases(zip=[1000 + k % 7 for k in range(200)]), **{**BINARY, "metadata": ["zip"]})["warnings"]
    assert warned == ["Metadata: 'zip' name says zip: it may tell who a patient is."]


def test_the_auroc_and_its_error():
    y = np.array([0, 0, 1, 1, np.nan])
    area, _ = auroc(y, np.array([0.1, 0.4, 0.35, 0.8, 0.9]))
    assert area == 0.75  # three of four pairs are in order
    shuffled = np.random.default_rng(0).random((2_000, 60))
    truth = np.arange(60) % 3 == 0
    areas = [auroc(truth.astype(float), p)[0] for p in shuffled]
    assert auroc(truth.astype(float), shuffled[0])[1] == pytest.approx(np.std(areas), rel=0.1)
    assert auroc(np.zeros(5), y) == (0.5, float("inf"))


def test_a_probability_of_the_other_class_is_told():
    frame = predicted()
    frame["p_effusion"] = 1 - frame["p_effusion"]
    table = look(frame)
    assert "lower where the label is 1" in table["columns"][2]["reason"]
    assert {table["columns"][k]["confidence"] for k in (1, 2)} == {"guess"}
    warned = check(frame, **BINARY)["warnings"]
    assert any("'p_effusion' is lower where the label is 1" in line for line in warned)
    frame["p_effusion"] = np.random.default_rng(7).random(400)
    assert check(frame, **BINARY)["warnings"] == []  # chance alone is no reason


def test_a_label_that_is_the_decision_is_told():
    frame = predicted()
    frame["effusion"] = (frame["p_effusion"] >= 0.5).astype(int)
    assert any("may be the classifier's own decision" in line for line in check(frame, **BINARY)["warnings"])


@pytest.mark.parametrize(("named", "positive"), [("prob_normal", "normal"), ("prob_pneumonia", "pneumonia")])
def test_the_value_that_a_probability_is_named_for_counts_as_1(named, positive):
    frame = predicted()
    y = frame.pop("effusion")
    frame["diagnosis"] = y.map({0: "normal", 1: "pneumonia"})
    frame[named] = frame.pop("p_effusion") if positive == "pneumonia" else 1 - frame.pop("p_effusion")
    suggestion = look(frame)["suggestion"]
    assert (suggestion["label"], suggestion["positive"], suggestion["proba"]) == (["diagnosis"], [positive], [named])
    assert ok({"ask": "check", "path": "t.csv", "roles": suggestion})["warnings"] == []


@pytest.mark.parametrize("label", ["expert", "radiologist", "label"])
def test_what_an_ai_says_is_not_the_label(label):
    frame = predicted().rename(columns={"effusion": label, "p_effusion": "ai_score"})
    frame.insert(0, "ai_label", (frame["ai_score"] >= 0.5).astype(int))
    table = look(frame)
    assert table["suggestion"]["label"] == [label]
    assert table["columns"][0]["reason"] == "name says ai: the classifier's own decision?"


def test_a_further_probability_beside_those_of_the_classes():
    frame = classes()
    frame["confidence"] = frame[["p_normal", "p_pneumonia", "p_tb"]].max(axis=1)
    table = look(frame)
    assert sorted(table["suggestion"]["proba"]) == ["p_normal", "p_pneumonia", "p_tb"]
    assert roles_of(table)["confidence"] is None


def test_classes_paired_by_position_are_told():
    frame = classes(names=("0", "1", "2")).rename(columns={"p_2": "p_tb", "p_0": "p_normal", "p_1": "p_viral"})
    table = look(frame)
    (label,) = [column for column in table["columns"] if column["role"] == "label"]
    assert label["reason"] == "paired with the columns of probabilities by position: is that right?"
    assert label["confidence"] == "guess"
    checked = ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})
    assert any("paired by position: 'p_tb' is of '0', 'p_normal' is of '1'" in line for line in checked["warnings"])


@pytest.mark.parametrize(
    ("name", "values", "n"),
    [
        ("split", ["train", "test", "train", "val"], 100),
        ("cohort", ["Development", "external", "x", "y"], 50),
        ("in_train", [1, 0, 0, 0], 50),
        ("set", ["training set", "holdout", "holdout", "holdout"], 50),
    ],
)
def test_training_rows_are_told(name, values, n):
    if name == "set":
        values = ["training", *values[1:]]
    frame = cases(**{name: values * 50})
    table = look(frame)
    assert roles_of(table)[name] is None
    assert any("rows that say train" in note for note in table["notes"])
    said = f"Table: {n} rows say train in {name!r}: audit rows that the classifier has not seen."
    assert check(frame, **BINARY)["warnings"] == [said]
    assert said in check(frame, **{**BINARY, "metadata": [name]})["warnings"]


def test_other_splits_are_no_training_rows():
    for name, values in {
        "fold": [0, 1, 2, 3],
        "fitness": ["fit", "unfit"],
        "split": ["val", "test"],
        "x": [None],
    }.items():
        assert training_rows(name, pd.Series(values)) is None


@pytest.mark.parametrize("word", ["uncertain", "Unknown", "-1", "not mentioned"])
def test_labels_that_say_they_are_uncertain_count_as_missing(word):
    frame = cases().astype({"effusion": object})
    frame.loc[:9, "effusion"] = word
    table = look(frame)
    assert table["suggestion"]["label"] == ["effusion"]
    assert "0 and 1" not in table["columns"][1]["reason"]
    checked = ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})
    assert checked["n_samples"] == 190
    assert f"Left out: 10 rows without a label, or that say {word}." in checked["summary"]
    ticked = {**table["suggestion"], "positive": ["1", word]}
    assert ok({"ask": "check", "path": "t.csv", "roles": ticked})["n_samples"] == 200


def test_minus_one_beside_one_alone_is_the_other_label():
    frame = cases().rename(columns={"effusion": "label"})
    frame["label"] = 2 * frame["label"] - 1
    table = look(frame)
    assert table["suggestion"]["positive"] == ["1"]
    assert ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})["n_samples"] == 200


@pytest.mark.parametrize("other", [" {}", "{} ", "{}.0"])
def test_the_same_patient_written_in_two_ways_is_told(other):
    ids = [str(1000 + k // 2) for k in range(200)]
    frame = cases(PatientID=[other.format(one) if k % 2 else one for k, one in enumerate(ids)])
    table = look(frame)
    assert table["columns"][0]["reason"] == (
        "name says patient; 100 values, 2.0 rows each; the same id is written in two ways"
    )
    said = error({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})
    assert said.startswith("Patient: expected one way to write each patient's id, got 100 more ids")
    assert look(cases(PatientID=[f"{one}.0" for one in ids]))["columns"][0]["reason"].endswith("2.0 rows each")


def test_patients_are_counted_alike_and_blank_ones_told():
    table = look(cases(PatientID=["7", "07", "8", "08"] * 50))
    assert table["columns"][0]["reason"] == "name says patient; 4 values, 50.0 rows each"
    frame = cases()
    frame.loc[:4, "PatientID"] = "  "
    table = look(frame)
    assert table["columns"][0]["reason"].endswith("missing in 5 rows")
    assert any("'PatientID' is empty in 5 rows" in note for note in table["notes"])


def test_devices_and_what_a_patient_has_are_metadata():
    rng = np.random.default_rng(5)
    names = ["has_pacemaker", "chest_tube", "history_of_cancer", "is_inpatient", "Support Devices"]
    frame = cases(**{name: rng.integers(0, 2, 200) for name in names}, is_positive=0)
    frame["is_positive"] = frame["effusion"]
    table = look(frame)
    assert table["suggestion"]["label"] == ["effusion"]
    assert set(table["suggestion"]["metadata"]) == {"sex", "age", *names}
    frame = frame.rename(columns={"effusion": "mortality_28d", "p_effusion": "risk_score"}).drop(columns="is_positive")
    assert look(frame)["suggestion"]["label"] == ["mortality_28d"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (lambda p: (100 * p).round(1), "divide by 100 in the table"),
        (lambda p: [f"{100 * one:.0f}%" for one in p], "percentages as text: remove the sign and divide by 100"),
        (lambda p: [">0.9" if one > 0.9 else f"{one:.2f}" for one in p], "make numbers in [0, 1] of them in the table"),
    ],
)
def test_probabilities_in_another_form_are_told(values, said):
    frame = predicted()
    frame["probability"] = values(np.append(frame.pop("p_effusion")[:-1], 0.95))
    table = look(frame)
    assert table["suggestion"]["proba"] == []
    assert roles_of(table)["probability"] is None
    assert [note for note in table["notes"] if "'probability'" in note and said in note]


def test_infinite_values_are_no_metadata():
    frame = cases(ratio=np.arange(200) % 5 * 1.0)
    frame.loc[3, "ratio"] = np.inf
    table = look(frame)
    assert roles_of(table)["ratio"] is None
    assert ok({"ask": "check", "path": "t.csv", "roles": table["suggestion"]})["n_samples"] == 200


def test_a_german_table():
    frame = cases(Geschlecht=["m", "w"] * 100).drop(columns="sex")
    frame["effusion"] = frame["effusion"].map({0: "nein", 1: "ja"})
    names = {"PatientID": "Patient", "effusion": "Befund", "p_effusion": "Wahrscheinlichkeit", "age": "Alter"}
    found = look(frame.rename(columns=names), sep=";", decimal=",")["suggestion"]
    assert (found["patient_id"], found["label"], found["positive"]) == ("Patient", ["Befund"], ["ja"])
    assert (found["proba"], found["metadata"]) == (["Wahrscheinlichkeit"], ["Alter", "Geschlecht"])


# The real table


@pytest.mark.skipif(not REAL.is_dir(), reason="the COVID-19 image data collection is not here")
def test_the_real_table(here):
    shutil.copy(REAL / "metadata.csv", here)
    (here / "images").symlink_to(REAL / "images")
    table = ok({"ask": "table", "path": "metadata.csv"})
    found = table["suggestion"]
    assert found["label"] == ["finding"]
    assert "COVID-19" in found["positive"]
    assert "todo" not in found["positive"]
    assert (found["patient_id"], found["sample_id"], found["image"]) == ("patientid", "filename", "filename")
    assert (found["image_root"], found["report"], found["proba"]) == ("images", "clinical_notes", [])
    assert {"view", "sex", "age", "location"} <= set(found["metadata"])
    assert not {"date", "url", "doi", "license", "other_notes", "modality"} & set(found["metadata"])
    checked = ok({"ask": "check", "path": "metadata.csv", "roles": found})
    assert checked["stand_in"] is True
    assert checked["n_samples"] > 300
