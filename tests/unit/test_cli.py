"""The command line: what it reads, what it passes on, what it says when something is wrong, and its exit codes."""

import gzip
import json
import os
import re
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mmaudit
from mmaudit import cli, workshop
from mmaudit._errors import AuditWarning, InputError, MissingExtraError
from mmaudit.shards import write_shards
from mmaudit.workshop import _suite


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every command runs in an empty folder, so that nothing is read or written by accident."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "case": ["007", "008", "010", "011"],
            "who": ["001", "001", "002", "003"],
            "y": [0, 1, 1, 0],
            "p": [0.2, 0.9, 0.4, 0.1],
            "view": ["PA", "AP", "PA", "AP"],
            "text": ["clear", "effusion", "effusion", "clear"],
        }
    )


@pytest.fixture
def table(frame, tmp_path):
    path = tmp_path / "cases.csv"
    frame.to_csv(path, index=False)
    return path


class FakeResult:
    settings = {"seconds": {"encode": 1.0}, "peak_bytes": {"encode": 10**6}}  # noqa: RUF012

    def to_folder(self, out, *, overwrite, identifiers):
        self.written = (out, overwrite)
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.html").write_text("<html>", encoding="utf-8")

    def to_text(self):
        return "1 finding: view = AP, 40 points worse.\n"


@pytest.fixture
def audit(monkeypatch):
    """A stand-in for `mma.audit` that keeps what it was called with."""

    class FakeAudit:
        calls = ()
        does = staticmethod(lambda: None)

        def __call__(self, data, **options):
            self.calls = (*self.calls, (data, options))
            self.does()
            self.result = FakeResult()
            return self.result

    fake = FakeAudit()
    monkeypatch.setattr(mmaudit, "audit", fake)
    return fake


ROLES = ("--label", "y", "--proba", "p", "--patient", "who")


def failed(capsys, *argv):
    """Run a command that must fail with code 2 and say nothing on standard output; return what it said instead."""
    assert cli.main([str(word) for word in argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err.rstrip("\n")


def refused(capsys, *argv):
    """Run a command that argparse must refuse; return the lines after the usage."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(word) for word in argv])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    return said[said.index("error: ") :].rstrip("\n")


# Help


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"mmaudit {mmaudit.__version__}\n"


COMMANDS = ("apply-rules", "audit", "benchmark", "benchmark encoders", "cache", "demo", "lab", "phantom", "train-clip")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_teaches(capsys, command):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"examples?:\n  mmaudit {command}", text)
    assert re.search(r"0 +done, whether or not anything was found\n +2 +bad input or a missing package", text)
    assert re.search(r"130 +interrupted", text)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_in_the_help_are_accepted(capsys, monkeypatch, command):
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    text = capsys.readouterr().out.replace("\\\n", " ")
    examples = re.findall(r"^  mmaudit (.*)$", text, flags=re.MULTILINE)
    assert examples
    ran = []
    monkeypatch.setattr(cli, f"_{re.sub('[ -]', '_', command)}", lambda args: ran.append(args) or 0)
    for example in examples:
        assert cli.main(example.split()) == 0
    assert len(ran) == len(examples)


def test_top_help_lists_the_commands_and_the_limits_of_use(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"\n    {command}\s", text)
    assert "Not for clinical use" in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["audit", "t.csv", "--lable", "y", "--proba", "p"],
            "error: the following arguments are required: --label\n"
            "mmaudit audit: --lable is not an option. Did you mean '--label'?",
        ),
        (
            ["audit", "t.csv", "--label", "y", "--proba", "p", "--meta=view"],
            "error: unrecognized arguments: --meta=view\n"
            "mmaudit audit: --meta is not an option. Did you mean '--metadata'?",
        ),
        (
            ["demo", "--zzz"],
            "error: unrecognized arguments: --zzz\nmmaudit demo: --zzz is not an option.",
        ),
        (
            ["--versoin"],
            "error: the following arguments are required: COMMAND\n"
            "mmaudit: --versoin is not an option. Did you mean '--version'?",
        ),
        ([], "error: the following arguments are required: COMMAND"),
        (["demo", "--patients", "many"], "error: argument --patients: invalid int value: 'many'"),
        (["demo", "--", "--port", "1"], "error: only 'mmaudit lab' passes on what follows '--', got: --port 1"),
    ],
)
def test_a_wrong_option_is_refused_with_the_nearest(capsys, argv, said):
    assert refused(capsys, *argv) == said


def test_options_are_not_guessed_from_abbreviations(capsys):
    assert "unrecognized arguments: --pat who" in refused(
        capsys, "audit", "t.csv", "--label", "y", "--proba", "p", "--pat", "who"
    )


# audit: what is read


def test_audit_passes_on_roles_and_options(capsys, audit, frame, table, empty_folder):
    frame.assign(site="North").to_csv(table, index=False)
    code = cli.main(
        [
            *("audit", str(table), *ROLES, "--id", "case", "--report", "text", "--metadata", "view, site"),
            *("--modalities", "report,metadata", "--n-slices", "5", "--alpha", "0.1", "--threshold", "0.4"),
            *("--metric", "auroc"),
            *("--random-state", "3", "--out", "results/first"),
        ]
    )
    assert code == 0
    ((data, options),) = audit.calls
    assert options == {
        "modalities": ("report", "metadata"),
        "n_slices": 5,
        "alpha": 0.1,
        "threshold": 0.4,
        "metric": "auroc",
        "random_state": 3,
        "encoders": None,
        "n_jobs": None,
        "checkpoints": None,
        "resume": False,
        "progress": True,
    }
    assert data.sample_id.tolist() == ["007", "008", "010", "011"]
    assert data.patient_id.tolist() == ["001", "001", "002", "003"]
    assert data.y_proba.tolist() == [0.2, 0.9, 0.4, 0.1]
    assert data.reports.tolist() == ["clear", "effusion", "effusion", "clear"]
    assert data.metadata.columns.tolist() == ["view", "site"]
    assert data.name == "cases"
    assert audit.result.written == (Path("results/first"), False)
    said = capsys.readouterr()
    assert said.out == (
        "1 finding: view = AP, 40 points worse.\n\n"
        f"The report is {Path('results/first/report.html')}; the tables lie beside it.\n"
    )
    assert said.err == ""


def test_audit_by_default(audit, table, empty_folder):
    assert cli.main(["audit", str(table), *ROLES, "--quiet"]) == 0
    ((data, options),) = audit.calls
    assert options == {
        "modalities": "auto",
        "n_slices": 10,
        "alpha": 0.05,
        "threshold": 0.5,
        "metric": "error_rate",
        "random_state": 0,
        "encoders": None,
        "n_jobs": None,
        "checkpoints": None,
        "resume": False,
        "progress": False,
    }
    assert data.modalities == ()
    assert (empty_folder / "mmaudit-audit" / "report.html").is_file()


def test_a_metric_that_is_not_known_is_told_before_the_table_is_read(capsys):
    assert cli.main(["audit", "no-such-table.csv", *ROLES, "--metric", "aurock"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "mmaudit audit: --metric: expected one of error_rate, sensitivity, specificity, auroc, brier"
    )
    assert said.endswith("got 'aurock'. Correct the name. Did you mean 'auroc'?\n")


def test_several_labels_and_classes_are_passed_on(audit, frame, tmp_path):
    path = tmp_path / "several.csv"
    frame.assign(z=[1, None, 0, 1], q=[0.3, 0.2, 0.6, 0.9], **{"a,b": [0, 0, 1, 1]}).to_csv(path, index=False)
    assert cli.main(["audit", str(path), "--label", "y, z", "--proba", "p,q", "--patient", "who"]) == 0
    data = audit.calls[-1][0]
    assert (data.kind, data.label_names) == ("multilabel", ("y", "z"))
    np.testing.assert_array_equal(data.y_true[:, 1], [1, np.nan, 0, 1])
    np.testing.assert_array_equal(data.y_proba[:, 1], [0.3, 0.2, 0.6, 0.9])
    # A column with a comma in its name is one column.
    argv = ["audit", str(path), "--label", "a,b", "--proba", "p", "--patient", "who", "--out", "second"]
    assert cli.main(argv) == 0
    assert audit.calls[-1][0].label_names == ("a,b",)


def test_classes_have_their_names(audit, frame, tmp_path):
    path = tmp_path / "classes.csv"
    frame.assign(dx=[0, 1, 2, 1], p0=[0.6, 0.1, 0.2, 0.2], p1=[0.2, 0.7, 0.2, 0.7], p2=[0.2, 0.2, 0.6, 0.1]).to_csv(
        path, index=False
    )
    argv = ["audit", str(path), "--label", "dx", "--proba", "p0,p1,p2", "--patient", "who"]
    assert cli.main([*argv, "--classes", "normal, pneumonia,nodule"]) == 0
    assert cli.main([*argv, "--out", "second"]) == 0
    assert [data.label_names for data, _ in audit.calls] == [
        ("normal", "pneumonia", "nodule"),
        ("dx 0", "dx 1", "dx 2"),
    ]
    assert audit.calls[0][0].kind == "multiclass"


def test_the_row_number_is_the_id_even_if_a_column_looks_like_one(audit, frame, tmp_path):
    path = tmp_path / "t.csv"
    frame.rename(columns={"case": "sample_id"}).to_csv(path, index=False)
    assert cli.main(["audit", str(path), *ROLES]) == 0
    assert audit.calls[0][0].sample_id.tolist() == [0, 1, 2, 3]


def test_images_are_looked_for_below_the_root(audit, frame, tmp_path):
    frame["path"] = ["a.png", "01", None, "c.png"]
    frame.to_csv(tmp_path / "t.csv", index=False)
    argv = ["audit", str(tmp_path / "t.csv"), *ROLES, "--image", "path", "--image-root", str(tmp_path)]
    assert cli.main(argv) == 0
    images = audit.calls[0][0].images
    assert images.paths == ["a.png", "01", None, "c.png"]
    assert images.root == tmp_path.resolve()


WRITERS = {
    "t.csv": lambda frame, path: frame.to_csv(path, index=False),
    "T.CSV": lambda frame, path: frame.to_csv(path, index=False),
    "t.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "t.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "t.tsv.gz": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "bom.csv": lambda frame, path: frame.to_csv(path, index=False, encoding="utf-8-sig"),
    "t.parquet": lambda frame, path: frame.to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_table_is_read_alike(frame, tmp_path, name):
    frame.loc[0, "text"] = 'quoted, "with"\na line break and é'
    WRITERS[name](frame, tmp_path / name)
    read = cli.read_table(tmp_path / name, text_columns=("case", "who", None))
    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert read["case"].tolist() == frame["case"].tolist()
    assert read.index.tolist() == [0, 1, 2, 3]


def test_a_named_index_of_a_parquet_file_is_a_column(frame, tmp_path):
    frame.set_index("case").to_parquet(tmp_path / "t.parquet")
    read = cli.read_table(tmp_path / "t.parquet")
    assert read["case"].tolist() == frame["case"].tolist()
    assert read.index.tolist() == [0, 1, 2, 3]


def test_a_missing_patient_is_missing_and_not_called_nan(capsys, audit, frame, tmp_path):
    frame.loc[1, "who"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    said = failed(capsys, "audit", tmp_path / "t.csv", *ROLES)
    assert said.startswith("mmaudit audit: --patient: expected a patient for every sample, got 1 missing values.")


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.xlsx",
            b"",
            "expected a file that ends in .csv, .csv.gz, .tsv, .tsv.gz or .parquet, got the name 't.xlsx'. "
            "Convert the table, for example with pandas: df.to_csv('cases.csv', index=False).",
        ),
        ("t.parquet.gz", b"", "expected a file that ends in .csv, .csv.gz, .tsv, .tsv.gz or .parquet, got the name"),
        ("t.csv", b"", "expected a header and rows, got an empty file. Export the table again."),
        ("t.csv", b"a,b\n1,\xff\n", "expected text in UTF-8, got bytes that are not. Save the table as UTF-8."),
        (
            "t.csv",
            b"a,b\n1,2\n1,2,3\n",
            "expected the same number of fields in every row, got a csv file that breaks this "
            "(Error tokenizing data. C error: Expected 2 fields in line 3, saw 3). "
            "Quote texts that hold the separator or a line break.",
        ),
        (
            "t.csv",
            b"y;p\n1;0,5\n",
            "expected fields separated by commas, got one column with semicolons in its name. "
            "Export it with commas, or with tabs and the ending .tsv.",
        ),
        (
            "t.csv.gz",
            b"no gzip",
            "expected a whole csv file, got one that cannot be read (BadGzipFile). Export it again.",
        ),
        (
            "t.csv.gz",
            gzip.compress(b"y,p,who\n" + os.urandom(9_999).hex().encode())[:999],
            "expected a whole csv file, got one that cannot be read (EOFError). Export it again.",
        ),
        (
            "t.parquet",
            b"PAR1 no",
            "expected a whole parquet file, got one that cannot be read (ArrowInvalid). Export it again.",
        ),
    ],
)
def test_a_table_that_cannot_be_read(capsys, audit, empty_folder, tmp_path, name, content, message):
    said = failed(capsys, "audit", write(tmp_path / name, content), *ROLES)
    assert said.startswith(f"mmaudit audit: TABLE: {message}")
    assert not audit.calls
    assert list(empty_folder.iterdir()) == []


def test_a_table_that_is_not_there(capsys, audit, empty_folder, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert failed(capsys, "audit", "none.csv", *ROLES) == (
        "mmaudit audit: TABLE: expected a file, got 'none.csv', where there is none. "
        "Check the path and the current folder."
    )
    assert failed(capsys, "audit", tmp_path / "folder.csv", *ROLES) == (
        "mmaudit audit: TABLE: expected a folder with tables that end in .parquet, got an empty folder, or none. "
        "Write them with mmaudit.shards.write_shards(folder, frame, embeddings=...)."
    )
    assert list(empty_folder.iterdir()) == []


def test_only_an_audit_of_shards_can_go_on(capsys, audit, table, empty_folder):
    assert failed(capsys, "audit", table, *ROLES, "--resume") == (
        "mmaudit audit: --resume: expected a folder of shards as TABLE, got one table. "
        "Audit it anew: nothing of it is kept."
    )
    assert not audit.calls


def test_a_folder_of_shards(audit, frame, empty_folder, tmp_path):
    write_shards(tmp_path / "shards", frame, n_rows=2)
    options = ["--id", "case", "--report", "text", "--jobs", "2", "--quiet", "--resume", "--out", "results/first"]
    assert cli.main(["audit", str(tmp_path / "shards"), *ROLES, *options]) == 0
    ((data, options),) = audit.calls
    assert data.sample_id.tolist() == ["007", "008", "010", "011"]
    assert list(data.reports) == ["clear", "effusion", "effusion", "clear"]
    assert options["checkpoints"] == Path("results/first.checkpoints")
    assert (options["n_jobs"], options["resume"]) == (2, True)


def test_a_dask_scheduler_that_does_not_answer(capsys, audit, table, monkeypatch):
    monkeypatch.setattr(cli, "DASK_PATIENCE_S", 1)
    said = failed(capsys, "audit", table, *ROLES, "--dask", "tcp://127.0.0.1:1")
    assert said.startswith("mmaudit audit: --dask: expected the address of a dask scheduler")
    assert not audit.calls


def test_a_table_without_rows(capsys, audit, tmp_path):
    said = failed(capsys, "audit", write(tmp_path / "t.csv", b"y,p,who\n"), *ROLES)
    assert said == (
        "mmaudit audit: TABLE: expected at least one row, got an empty table. Check the filter that made it."
    )


# audit: encoders


@pytest.fixture
def folders(tmp_path):
    """Folders that hold what tells a model from another, and no weights: nothing is loaded before an audit."""
    for name, config in {
        "vision": {"model_type": "vit", "image_size": 28},
        "text": {"model_type": "bert"},
        "clip": None,
    }.items():
        (tmp_path / name).mkdir()
        path = tmp_path / name / ("open_clip_config.json" if config is None else "config.json")
        path.write_text(json.dumps(config or {}), encoding="utf-8")
    return tmp_path


def test_encoders_are_passed_on(audit, table, folders):
    from mmaudit.encoders import OpenCLIPEncoder, TransformersEncoder

    images = ["--image", "view", "--image-encoder", f"{folders}/vision"]
    reports = ["--report", "text", "--report-encoder", f"open_clip:{folders}/clip"]
    assert cli.main(["audit", str(table), *ROLES, *images, *reports, "--quiet"]) == 0
    assert cli.main(["audit", str(table), *ROLES, *reports, "--allow-download", "--out", "second"]) == 0
    (_, first), (_, second) = audit.calls
    assert set(first["encoders"]) == {"image", "report"}
    image, report = first["encoders"]["image"], first["encoders"]["report"]
    assert (type(image), image.model) == (TransformersEncoder, folders / "vision")
    assert (type(report), report.model_name) == (OpenCLIPEncoder, f"{folders}/clip")
    assert (image.allow_download, image.progress) == (False, False)
    assert list(second["encoders"]) == ["report"]
    assert (second["encoders"]["report"].allow_download, second["encoders"]["report"].progress) == (True, True)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--image-encoder", "phantom-clip"],
            "--image-encoder: expected --image beside it, got none. Name the column of images too.",
        ),
        (
            ["--report", "text", "--report-encoder", "openclip:name"],
            "--report-encoder: expected phantom-clip, open_clip:NAME[:PRETRAINED], hf:NAME, xrv:WEIGHTS, a folder of a "
            "model, or the .safetensors file of a classifier, got 'openclip:name'. Check the path or the word before "
            "the colon. Did you mean 'open_clip'?",
        ),
        (
            ["--report", "text", "--report-encoder", "{folders}/vision"],
            "--report-encoder: expected an encoder of reports, got one of images. Choose another.",
        ),
        (
            ["--image", "view", "--image-encoder", "open_clip:ViT-B-32"],
            "--image-encoder: expected weights for the architecture 'ViT-B-32', got None. Give a tag or a file; or a "
            "folder, hf-hub:owner/name, or phantom-clip as model_name.",
        ),
        (
            ["--image", "view", "--image-encoder", "{folders}/text/config.json"],
            "--image-encoder: expected a folder, or a file that ends in .safetensors, got a file that ends in '.json'. "
            "Weights of torchxrayvision are xrv:FILE, other models a folder.",
        ),
    ],
)
def test_an_encoder_that_cannot_be_is_told_before_the_table_is_read(capsys, audit, folders, argv, message):
    argv = [word.format(folders=folders) for word in argv]
    assert failed(capsys, "audit", "no-such-table.csv", *ROLES, *argv) == f"mmaudit audit: {message}"
    assert not audit.calls


def test_a_network_that_is_not_there_is_not_fetched(capsys, audit, monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    argv = ("--report", "text", "--report-encoder", "hf:nobody/nothing")
    assert failed(capsys, "audit", "no-such-table.csv", *ROLES, *argv) == (
        "mmaudit audit: --report-encoder: expected a model that is on this machine, got 'nobody/nothing', of which "
        "files are missing in the cache of the hub. Fetch it with `hf download nobody/nothing`, or pass "
        "--allow-download."
    )


# audit: what is refused


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--label", "Y_", "--proba", "p"],
            "--label: expected the name of a column of the table, got 'Y_', which it does not have. "
            "Its columns are: case, who, y, p, view, text. Did you mean 'y'?",
        ),
        (
            ["--label", "y", "--proba", "view"],
            "--proba: expected numbers in [0, 1], got values that are not numbers. Convert the column to float.",
        ),
        (
            [*ROLES, "--metadata", "view,veiw"],
            "--metadata: expected the name of a column of the table, got 'veiw', which it does not have. "
            "Its columns are: case, who, y, p, view, text. Did you mean 'view'?",
        ),
        (
            [*ROLES, "--id", "who"],
            "--id: expected unique names, got 1 duplicate ids. Drop repeated rows, or df.reset_index(drop=True).",
        ),
        (
            [*ROLES, "--image-root", "."],
            "--image-root: expected --image beside it, got --image-root alone. Name the column of paths too.",
        ),
        (
            [*ROLES, "--image", "view", "--image-root", "nowhere"],
            "--image-root: expected an existing folder, got one that does not exist. Check the path.",
        ),
        (
            [*ROLES, "--modalities", "image,reports"],
            "--modalities: expected auto, or some of image, report, metadata, got 'reports'. "
            "Separate with commas. Did you mean 'report'?",
        ),
        (
            [*ROLES, "--modalities", ","],
            "--modalities: expected auto, or some of image, report, metadata, got nothing. Separate with commas.",
        ),
        (
            ["--label", "y", "--proba", ","],
            "--proba: expected a column, or several, got nothing. Separate with commas.",
        ),
        (
            ["--label", "y,Who", "--proba", "p,p"],
            "--label: expected the name of a column of the table, got 'Who', which it does not have. "
            "Its columns are: case, who, y, p, view, text. Did you mean 'who'?",
        ),
        (
            ["--label", "y,who", "--proba", "p"],
            "--proba: expected 2 columns, one a label, got 1. Name them in the order of label.",
        ),
        (
            [*ROLES, "--classes", "no,yes"],
            "--classes: expected one --label of classes, and a column of --proba for each, got 1 of --label and 1 of "
            "--proba. Leave --classes out, or name the column of each class.",
        ),
        (
            ["--label", "y", "--proba", "p,case,who", "--classes", "a,b"],
            "--classes: expected 3 names, one a class, got 2. Give them in the order of the columns.",
        ),
    ],
)
def test_bad_input_names_the_option_that_was_typed(capsys, audit, table, empty_folder, argv, message):
    if "--patient" not in argv:
        argv = [*argv, "--patient", "who"]
    assert failed(capsys, "audit", table, *argv) == f"mmaudit audit: {message}"
    assert not audit.calls
    assert list(empty_folder.iterdir()) == []


def test_an_out_that_holds_files_is_left_alone(capsys, audit, table, empty_folder):
    (empty_folder / "out").mkdir()
    (empty_folder / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    assert failed(capsys, "audit", table, *ROLES, "--out", "out") == (
        "mmaudit audit: --out: expected a new or empty folder, got 'out', which holds files. "
        "Give another name, or --overwrite."
    )
    assert not audit.calls
    assert [path.name for path in (empty_folder / "out").iterdir()] == ["mine.txt"]


def test_overwrite_is_passed_on(audit, table, empty_folder):
    (empty_folder / "out").mkdir()
    (empty_folder / "out" / "report.html").write_text("old", encoding="utf-8")
    assert cli.main(["audit", str(table), *ROLES, "--out", "out", "--overwrite"]) == 0
    assert audit.result.written == (Path("out"), True)


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_out_that_is_a_file_is_refused_before_any_work(capsys, audit, empty_folder, out):
    (empty_folder / "file").write_text("mine", encoding="utf-8")
    # The table does not exist either: --out is judged first.
    said = failed(capsys, "audit", "none.csv", *ROLES, "--out", out)
    assert said.startswith("mmaudit audit: --out: expected a folder")
    assert (empty_folder / "file").read_text(encoding="utf-8") == "mine"


def test_an_out_that_cannot_be_written_is_refused_before_any_work(capsys, audit, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    # Taking the permission away would not stop root, who runs tests in containers.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    said = failed(capsys, "audit", "none.csv", *ROLES, "--out", "deep/below")
    assert said.startswith(
        "mmaudit audit: --out: expected a folder that can be written, got one that cannot (Permission"
    )
    assert not Path("deep").exists()


# What goes wrong on the way


def test_warnings_are_one_line_each_and_said_once(capsys, audit, table):
    def warn():
        for _ in range(3):
            warnings.warn("image: expected 8-bit images,\n got 2 of 4 with more.", AuditWarning, stacklevel=1)

    audit.does = warn
    assert cli.main(["audit", str(table), "--label", "y", "--proba", "p"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: --patient: expected a column that says which samples belong to one patient")
    assert lines[1] == "warning: --image: expected 8-bit images, got 2 of 4 with more."


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            InputError("n_slices", "1 to 15", "99", "Use 10."),
            2,
            "mmaudit audit: --n-slices: expected 1 to 15, got 99. Use 10.",
        ),
        (
            MissingExtraError("reading DICOM files", "pydicom", "dicom"),
            2,
            "mmaudit audit: reading DICOM files needs the package pydicom. "
            'Install it with: pip install "mmaudit[dicom]"',
        ),
        (
            KeyboardInterrupt(),
            130,
            "mmaudit: interrupted. Nothing was left half-written: files appear only once they are complete.",
        ),
    ],
    ids=["input", "extra", "interrupt"],
)
def test_errors_become_a_line_and_a_code(capsys, audit, table, empty_folder, error, code, said):
    def fail():
        raise error

    audit.does = fail
    assert cli.main(["audit", str(table), *ROLES]) == code
    assert capsys.readouterr().err == f"{said}\n"
    assert list(empty_folder.iterdir()) == []


@pytest.fixture
def as_in_a_terminal():
    """Put back the handlers that a job in the background is started without: a shell lets it ignore SIGINT."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("as_in_a_terminal")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("as_import_error", [False, True])
def test_signals_become_a_line_and_a_code(capsys, audit, table, empty_folder, number, code, as_import_error):
    def interrupted():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if as_import_error:  # what a compiled module makes of it
                raise ImportError("initialization failed") from None
            raise

    before = signal.getsignal(number)
    audit.does = interrupted
    assert cli.main(["audit", str(table), *ROLES]) == code
    assert capsys.readouterr().err.startswith("mmaudit: interrupted. Nothing was left half-written")
    assert list(empty_folder.iterdir()) == []
    assert signal.getsignal(number) is before


def test_an_error_nobody_foresaw_keeps_its_traceback(audit, table):
    def fail():
        raise RuntimeError("a bug")

    audit.does = fail
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        cli.main(["audit", str(table), *ROLES])


def test_an_audit_from_table_to_folder(capsys, tmp_path, empty_folder):
    rng = np.random.default_rng(0)
    n = 300
    view = rng.choice(["PA", "AP"], n, p=[0.7, 0.3])
    y = rng.integers(0, 2, n)
    right = rng.random(n) < np.where(view == "AP", 0.3, 0.95)
    frame = pd.DataFrame({"y": y, "p": np.where(right, y, 1 - y) * 0.8 + 0.1, "who": np.arange(n) // 2, "view": view})
    frame.to_csv(tmp_path / "t.csv", index=False)
    argv = ["audit", str(tmp_path / "t.csv"), *ROLES, "--metadata", "view", "--quiet"]
    assert cli.main(argv) == 0
    said = capsys.readouterr()
    assert "view = AP" in said.out
    assert said.err == ""
    written = {path.name for path in (empty_folder / "mmaudit-audit").iterdir()}
    tables = {"candidates.csv", "findings.csv", "membership.parquet"}
    assert written == tables | {"result.json", "rules.json", "report.html"}
    assert "--out: expected a new or empty folder" in failed(capsys, *argv)
    assert cli.main([*argv, "--overwrite"]) == 0


# apply-rules


@pytest.fixture
def rules(tmp_path):
    from mmaudit.rules import rules_document, save_rules

    def part(column, operator, value):
        return [{"column": column, "operator": operator, "value": value}]

    slices = [
        {"slice_id": "s01", "description": "view = AP", "rule": part("view", "==", "AP"), "confirmed": True},
        {"slice_id": "s02", "description": "age > 60", "rule": part("age", ">", 60.0), "target": "y", "label": 1},
    ]
    return save_rules(tmp_path / "rules.json", rules_document(slices))


@pytest.fixture
def cases(tmp_path):
    """Return a table whose errors are easily counted: wrong at 0.5 on the second, fourth and sixth case."""
    frame = pd.DataFrame(
        {
            "case": ["007", "008", "010", "011", "012", "013"],
            "y": [1, 1, 1, 1, 0, 0],
            "p": [0.9, 0.4, 0.8, 0.3, 0.2, 0.6],
            "view": ["AP", "AP", "PA", "AP", "PA", "AP"],
            "age": [70, 71, 50, None, 80, 50],
            "notes": "a b",
        }
    )
    frame.to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


def test_rules_are_applied_to_cases_without_labels(capsys, rules, cases, empty_folder):
    assert cli.main(["apply-rules", str(rules), str(cases), "--id", "case"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == (
        "s01  4 of 6 samples: view = AP\n"
        "s02  3 of 6 samples: age > 60 (not confirmed)\n"
        "\nWhich samples each rule selects is in subgroups.csv, one column a rule.\n"
    )
    written = pd.read_csv("subgroups.csv", dtype={"sample_id": str})
    assert written.columns.tolist() == ["sample_id", "s01", "s02"]
    assert written["sample_id"].tolist() == ["007", "008", "010", "011", "012", "013"]
    assert written["s01"].tolist() == [1, 1, 0, 1, 0, 1]
    assert written["s02"].tolist() == [1, 1, 0, 0, 1, 0]
    assert [path.name for path in empty_folder.iterdir()] == ["subgroups.csv"]


def test_rules_are_applied_to_one_case(capsys, rules, cases, tmp_path):
    pd.read_csv(cases).head(1).to_csv(tmp_path / "one.csv", index=False)
    assert cli.main(["apply-rules", str(rules), str(tmp_path / "one.csv"), "--out", "deep/down/found.csv"]) == 0
    assert Path("deep/down/found.csv").read_text(encoding="utf-8") == "sample_id,s01,s02\n0,1,1\n"


def test_error_rates_where_rules_hold_are_printed(capsys, rules, cases):
    """s01: wrong on 1 of 1 without y, 2 of 3 with it; outside 0 of 1 and 0 of 1. s02, with y: 1 of 2; else 1 of 2."""
    assert cli.main(["apply-rules", str(rules), str(cases), "--label", "y", "--proba", "p"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(
        "s01  4 of 6 samples: view = AP\n"
        "     wrong on 75 % of its 4 samples, against 0 % of the others at the same mix of labels\n"
        "s02  3 of 6 samples: age > 60 (not confirmed)\n"
        "     wrong on 50 % of its 2 samples with y, against 50 % of the others\n"
    )
    argv = ["apply-rules", str(rules), str(cases), "--label", "y", "--proba", "p", "--threshold", "0.35", "--overwrite"]
    assert cli.main(argv) == 0
    assert "wrong on 0 % of its 2 samples with y, against 50 % of the others" in capsys.readouterr().out


def test_error_rates_with_nobody_to_compare(capsys, rules, cases, tmp_path):
    pd.read_csv(cases).assign(age=99).to_csv(tmp_path / "old.csv", index=False)
    argv = ["apply-rules", str(rules), str(tmp_path / "old.csv"), "--label", "y", "--proba", "p"]
    assert cli.main(argv) == 0
    assert "of the 4 samples with y or of the others there are too few to compare errors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--label", "y"), "--label: expected --label and --proba, or neither, got one of them"),
        (("--proba", "p"), "--label: expected --label and --proba, or neither, got one of them"),
        (
            ("--metadata", "view"),
            "--metadata: expected the column 'age', of which rule s02 speaks, got data without it",
        ),
        (("--report", "text"), "--report: expected the name of a column of the table, got 'text'"),
        (("--image-root", "films"), "--image-root: expected image beside it, got image_root alone"),
    ],
)
def test_what_apply_rules_refuses(capsys, rules, cases, empty_folder, argv, message):
    assert message in failed(capsys, "apply-rules", rules, cases, *argv)
    assert not list(empty_folder.iterdir())


def test_apply_rules_names_a_file_that_is_none_of_rules(capsys, cases, tmp_path):
    said = failed(capsys, "apply-rules", tmp_path / "none.json", cases)
    assert said.startswith("mmaudit apply-rules: RULES: expected a file of rules, got a path at which there is no file")
    assert "RULES: expected a whole file of rules, got a damaged one" in failed(capsys, "apply-rules", cases, cases)


def test_apply_rules_leaves_a_file_alone_unless_told(capsys, rules, cases, tmp_path):
    Path("subgroups.csv").write_text("mine", encoding="utf-8")
    said = failed(capsys, "apply-rules", rules, cases)
    assert "--out: expected the name of a new file, got 'subgroups.csv', which is there" in said
    assert Path("subgroups.csv").read_text(encoding="utf-8") == "mine"
    assert "which is a folder" in failed(capsys, "apply-rules", rules, cases, "--out", tmp_path, "--overwrite")
    assert cli.main(["apply-rules", str(rules), str(cases), "--overwrite"]) == 0
    assert Path("subgroups.csv").read_text(encoding="utf-8").startswith("sample_id,s01,s02")


# demo


@pytest.fixture
def phantom(monkeypatch, frame):
    calls = []

    def load_phantom(**options):
        calls.append(options)
        return mmaudit.AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", metadata=["view"])

    monkeypatch.setattr(mmaudit.datasets, "load_phantom", load_phantom, raising=False)
    return calls


def test_demo_shows_data_findings_and_report(capsys, audit, phantom):
    assert cli.main(["demo", "--out", "shown", "--patients", "50", "--random-state", "7"]) == 0
    assert phantom == [{"n_patients": 50, "image_size": cli.DEMO_IMAGE_PX, "random_state": 7}]
    ((_, options),) = audit.calls
    assert options["random_state"] == 7
    out = capsys.readouterr().out
    assert out.startswith("AuditData: 4 samples of 3 patients\n")
    assert "1 finding: view = AP" in out
    assert out.endswith(f"The report is {Path('shown/report.html')}; the tables lie beside it.\n")


def test_demo_replaces_its_own_folder_but_no_other(capsys, audit, phantom):
    assert cli.main(["demo"]) == 0
    assert cli.main(["demo"]) == 0
    assert audit.result.written == (Path("demo-audit"), True)
    capsys.readouterr()
    assert failed(capsys, "demo", "--out", "demo-audit") == (
        "mmaudit demo: --out: expected a new or empty folder, got 'demo-audit', which holds files. "
        "Give another name, or --overwrite."
    )
    assert cli.main(["demo", "--out", "demo-audit", "--overwrite"]) == 0


# lab


@pytest.fixture
def notebooks(monkeypatch, tmp_path):
    folder = tmp_path / "packaged"
    (folder / "data").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    for name in ("README.md", "data/table.csv", ".ipynb_checkpoints/x.ipynb"):
        (folder / name).write_text(f"packaged {name}", encoding="utf-8")
    for name in ("01_second.ipynb", "00_quickstart.ipynb"):
        cells = [("# Title", []), ("2", ["solution"]), ("## For who teaches", ["instructor"])]
        cells = [
            {"cell_type": "markdown", "id": f"c{k}", "metadata": {"tags": tags}, "source": source}
            for k, (source, tags) in enumerate(cells)
        ]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (folder / name).write_text(json.dumps(notebook), encoding="utf-8")
    monkeypatch.setattr(_suite, "packaged", lambda: folder)
    return folder


@pytest.fixture
def server(monkeypatch):
    started = []
    monkeypatch.setattr(cli, "_become", lambda *what: started.append(what) or 0)
    return started


def files_below(folder):
    relative = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in relative if path.parts[0] != ".jupyterlab")


def test_lab_copies_and_starts_on_the_first_notebook(capsys, notebooks, server):
    assert cli.main(["lab"]) == 0
    folder = Path("mmaudit-notebooks")
    assert files_below(folder) == ["00_quickstart.ipynb", "01_second.ipynb", "README.md", "data/table.csv"]
    assert (folder / "README.md").read_text(encoding="utf-8") == "packaged README.md"
    assert capsys.readouterr().out == "Notebooks are in mmaudit-notebooks; begin with 00_quickstart.ipynb.\n"
    ((command, started_in, variables),) = server
    assert command[:4] == [sys.executable, "-m", "jupyterlab", "00_quickstart.ipynb"]
    assert started_in == folder
    assert [Path(path).parent.name for path in variables.values()] == [".jupyterlab"]
    assert "--no-browser" not in command
    assert "--LabApp.news_url=None" in command


def test_lab_passes_on_what_follows_two_dashes(notebooks, server):
    assert cli.main(["lab", "mine", "--no-browser", "--", "--port", "9999", "--out"]) == 0
    ((command, folder, _),) = server
    assert folder == Path("mine")
    assert "--no-browser" in command
    assert command[-3:] == ["--port", "9999", "--out"]


def test_lab_keeps_what_a_learner_changed_and_says_so(capsys, notebooks, server):
    Path("mine").mkdir()
    Path("mine/01_second.ipynb").write_text("my answer", encoding="utf-8")
    assert cli.main(["lab", "mine", "--copy-only"]) == 0
    assert Path("mine/01_second.ipynb").read_text(encoding="utf-8") == "my answer"
    assert Path("mine/00_quickstart.ipynb").is_file()
    assert capsys.readouterr().err == (
        f"kept your {Path('mine/01_second.ipynb')}: it differs from the packaged one. "
        "To get that one, rename yours and run this again.\n"
    )
    assert not server


@pytest.mark.parametrize(("options", "teaches"), [([], False), (["--instructor"], True)])
def test_lab_writes_for_learners_or_for_who_teaches(notebooks, options, teaches):
    assert cli.main(["lab", "mine", "--copy-only", *options]) == 0
    text = Path("mine/00_quickstart.ipynb").read_text(encoding="utf-8")
    assert ("For who teaches" in text) == teaches
    assert ("<details>" in text) != teaches


def test_what_takes_the_place_of_the_process_finds_our_paths_first(monkeypatch, empty_folder):
    became = []
    monkeypatch.setattr(os, "execve", lambda *what: became.append(what))
    monkeypatch.setattr(cli.os, "name", "posix")
    monkeypatch.setattr(cli.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0))
    monkeypatch.setenv("JUPYTER_PATH", "theirs")
    cli._become(["lab"], empty_folder, {"JUPYTER_PATH": "ours"})
    ((path, command, environment),) = became
    assert (path, command) == ("lab", ["lab"])
    assert environment["JUPYTER_PATH"] == os.pathsep.join(["ours", "theirs"])
    assert os.environ["JUPYTER_PATH"] == "theirs"


def test_lab_again_says_nothing_of_unchanged_files(capsys, notebooks, server):
    assert cli.main(["lab", "mine", "--copy-only"]) == 0
    assert cli.main(["lab", "mine", "--copy-only"]) == 0
    assert capsys.readouterr().err == ""


def test_lab_without_jupyterlab(capsys, monkeypatch, notebooks, server, empty_folder):
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    assert failed(capsys, "lab") == (
        'mmaudit lab: mmaudit lab needs the package jupyterlab. Install it with: pip install "mmaudit[lab]"'
    )
    assert list(empty_folder.iterdir()) == []
    assert not server
    assert cli.main(["lab", "--copy-only"]) == 0


def test_lab_into_a_file(capsys, notebooks, server):
    Path("mine").write_text("mine", encoding="utf-8")
    assert failed(capsys, "lab", "mine") == (
        "mmaudit lab: FOLDER: expected a folder, got 'mine', which is a file. Give another name."
    )


# notebooks-html


@pytest.mark.parametrize(("options", "execute"), [([], True), (["--no-execute"], False)])
def test_notebooks_html_passes_on_its_options(capsys, monkeypatch, options, execute):
    calls = []
    monkeypatch.setattr(workshop, "write_site", lambda out, **how: calls.append((out, how)))
    assert cli.main(["notebooks-html", "pages", "--quiet", *options]) == 0
    assert calls == [(Path("pages"), {"execute": execute, "progress": False})]
    assert capsys.readouterr().out == f"The site is in pages; open {Path('pages/index.html')} in a browser.\n"


def test_notebooks_html_into_what_holds_files(capsys, notebooks):
    Path("mine").mkdir()
    Path("mine/file").touch()
    assert failed(capsys, "notebooks-html", "mine") == (
        "mmaudit notebooks-html: OUT: expected a new or empty folder, or an earlier site, "
        "got 'mine', which holds something else. Give another name."
    )


# phantom


@pytest.fixture
def write_phantom(monkeypatch):
    calls = []
    monkeypatch.setattr(
        mmaudit.datasets, "write_phantom", lambda out, **options: calls.append((out, options)), raising=False
    )
    return calls


def test_phantom_passes_on_its_options(capsys, write_phantom):
    argv = ["phantom", "cases", "--patients", "20", "--image-size", "64", "--random-state", "5", "--quiet"]
    assert cli.main(argv) == 0
    options = {"n_patients": 20, "image_size": 64, "random_state": 5, "progress": False}
    options |= {"label": "Pleural effusion", "bit_depth": 8, "layout": "plain"}
    assert write_phantom == [(Path("cases"), options)]
    assert capsys.readouterr().out == (
        f"Wrote the phantom cases to cases; {Path('cases/README.txt')} says what is in it.\n"
    )
    argv = ["phantom", "cases", "--layout", "mimic-cxr", "--label", "Edema", "--bit-depth", "16"]
    assert cli.main(argv) == 0
    assert write_phantom[1][1]["layout"] == "mimic-cxr"
    assert (write_phantom[1][1]["label"], write_phantom[1][1]["bit_depth"]) == ("Edema", 16)
    assert f"{Path('cases/README')} says what is in it" in capsys.readouterr().out


def test_phantom_into_what_holds_files(capsys):
    Path("mine").mkdir()
    Path("mine/file").touch()
    assert failed(capsys, "phantom", "mine", "--patients", "2") == (
        "mmaudit phantom: OUT: expected a new or an empty folder, got one that is not empty. "
        "Choose another name, or remove it first."
    )
    assert [path.name for path in Path("mine").iterdir()] == ["file"]


def test_the_command_in_the_phantoms_readme_works(capsys, monkeypatch):
    assert cli.main(["phantom", "cases", "--patients", "60", "--image-size", "64", "--quiet"]) == 0
    monkeypatch.chdir("cases")
    (command,) = [
        line for line in Path("README.txt").read_text(encoding="utf-8").splitlines() if line.startswith("mmaudit audit")
    ]
    capsys.readouterr()
    assert cli.main([*command.split()[1:], "--quiet", "--out", "audited"]) == 0
    assert "The report is" in capsys.readouterr().out
    assert Path("audited/report.html").is_file()


def test_phantom_below_a_file(capsys, write_phantom, empty_folder):
    Path("file").write_text("mine", encoding="utf-8")
    said = failed(capsys, "phantom", "file/below")
    assert said.startswith(
        "mmaudit phantom: OUT: expected a place that can be written to, got 'file/below', which cannot"
    )
    assert not write_phantom
    assert [path.name for path in empty_folder.iterdir()] == ["file"]


# benchmark encoders


@pytest.fixture
def throughput(monkeypatch):
    """A stand-in for the measurement that keeps what it was called with."""
    from mmaudit.encoders import _throughput

    calls = []

    def measure_throughput(models, **options):
        calls.append((models, options))
        row = dict.fromkeys(_throughput.COLUMNS, 1.0) | {"model": "net", "modality": "image"}
        row |= {"n_samples": 8, "batch_size": 4, "bare_batch_size": 4}
        return _throughput.Throughput(pd.DataFrame([row]), 10, 0.5, 2, 3)

    monkeypatch.setattr(_throughput, "measure_throughput", measure_throughput)
    return calls


def test_benchmark_of_encoders_by_default(capsys, throughput):
    assert cli.main(["benchmark", "encoders"]) == 0
    options = {"n_images": 96, "side_px": 1024, "repeats": 3, "images": None, "progress": True}
    assert throughput == [(None, options)]
    folder = Path("encoder-benchmark")
    assert files_below(folder) == ["encoders.csv", "encoders.md"]
    assert pd.read_csv(folder / "encoders.csv")["model"].tolist() == ["net"]
    told = (folder / "encoders.md").read_text(encoding="utf-8")
    assert told.startswith("| model |")
    assert capsys.readouterr().out == (
        f"{told}\nThe numbers are in {folder / 'encoders.csv'}; encoders.md beside it says what you see here.\n"
    )
    # A folder of an earlier one is written again.
    assert cli.main(["benchmark", "encoders"]) == 0


def test_benchmark_of_encoders_passes_on_its_options(throughput):
    argv = ["--models", "small-cnn, vit-small-16", "--n-images", "8", "--side", "64", "--repeats", "2"]
    assert cli.main(["benchmark", "encoders", "speed", *argv, "--images", "films", "--quiet"]) == 0
    ((models, options),) = throughput
    assert list(models) == ["small-cnn", "vit-small-16"]
    assert options == {"n_images": 8, "side_px": 64, "repeats": 2, "images": "films", "progress": False}
    assert files_below(Path("speed")) == ["encoders.csv", "encoders.md"]


def test_what_the_benchmark_of_encoders_refuses(capsys):
    said = failed(capsys, "benchmark", "encoders", "--models", "smal-cnn")
    assert said.startswith("mmaudit benchmark encoders: --models: expected some of clip-vit-b-32, vit-small-16, ")
    assert said.endswith(", got 'smal-cnn'. Choose one. Did you mean 'small-cnn'?")
    for option in ("--n-images", "--side", "--repeats"):
        said = failed(capsys, "benchmark", "encoders", option, "0")
        assert said.startswith(f"mmaudit benchmark encoders: {option}: expected")
    said = failed(capsys, "benchmark", "encoders", "--images", "none")
    assert said == (
        "mmaudit benchmark encoders: --images: expected an existing folder, got one that does not exist. "
        "Check the path."
    )
    Path("mine").mkdir()
    Path("mine/file").touch()
    assert failed(capsys, "benchmark", "encoders", "mine") == (
        "mmaudit benchmark encoders: OUT: expected a new or empty folder, or that of an earlier benchmark of encoders, "
        "got 'mine', which holds other files. Give another name."
    )
    assert failed(capsys, "benchmark", "encoders", "mine/file") == (
        "mmaudit benchmark encoders: OUT: expected a folder, got 'mine/file', which is a file. Give another name."
    )
    assert "mmaudit benchmark encoders: --seeds is not an option." in refused(
        capsys, "benchmark", "encoders", "--seeds", "1"
    )


def test_a_folder_called_encoders_is_for_the_benchmark_of_slicers(capsys, throughput):
    Path("encoders").mkdir()
    Path("encoders/file").touch()
    said = failed(capsys, "benchmark", "./encoders")
    assert said.startswith("mmaudit benchmark: OUT: expected a new or empty folder, or that of an earlier benchmark")
    assert not throughput


# cache


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """A cache folder with two entries, and a file of somebody else."""
    from mmaudit.cache import RowStore

    folder = tmp_path / "kept"
    monkeypatch.setenv("MMAUDIT_CACHE", str(folder))
    about = {"encoder": "XRVEncoder", "model": "densenet", "modality": "image"}
    store = RowStore(folder / "embeddings" / "0a1b.sqlite", about)
    store.put_many({str(k): np.zeros(4, np.float32) for k in range(1200)})
    store.close()
    (folder / "phantom").mkdir()
    (folder / "phantom" / "film.npy").write_bytes(b"0" * 250_000)
    (folder / "mine.txt").touch()
    return folder


def test_cache_lists_what_is_kept(capsys, cached):
    assert cli.main(["cache"]) == 0
    size = (cached / "embeddings" / "0a1b.sqlite").stat().st_size
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(cached)
    assert [line.split("  ") and line.split() for line in lines[2:4]] == [
        ["NAME", "NUMBER", "SIZE"],
        ["0a1b", "1,200", f"{size / 1e3:,.1f}", "kB", "embeddings:", "XRVEncoder,", "densenet,", "image"],
    ]
    assert lines[4].split() == ["phantom", "1", "0.2", "MB", "films", "of", "phantoms"]
    assert lines[5].split() == ["total", "1,201", f"{(size + 250_000) / 1e6:.1f}", "MB"]
    assert len({line.index("B", line.index(",") if "," in line else 0) for line in lines[3:5]}) == 1


def test_cache_removes_what_is_named(capsys, cached):
    assert cli.main(["cache", "--clear", "phantom"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"removed from {cached}:\n\nNAME")
    assert "films of phantoms" in said
    assert "0a1b" not in said
    assert not (cached / "phantom" / "film.npy").exists()
    assert (cached / "embeddings" / "0a1b.sqlite").exists()
    assert cli.main(["cache", "--clear"]) == 0
    assert "0a1b" in capsys.readouterr().out
    assert files_below(cached) == ["mine.txt"]
    assert cli.main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out == "The cache is empty.\n"
    assert cli.main(["cache"]) == 0
    assert capsys.readouterr().out == f"{cached}\n\nIt is empty.\n"


def test_cache_removes_nothing_if_a_name_is_wrong(capsys, cached):
    assert failed(capsys, "cache", "--clear", "0a1b", "phantoms") == (
        "mmaudit cache: --clear: expected entries of the cache (0a1b, phantom), got 'phantoms'. "
        "`mmaudit cache` lists them. Did you mean 'phantom'?"
    )
    assert files_below(cached) == [str(Path("embeddings/0a1b.sqlite")), "mine.txt", str(Path("phantom/film.npy"))]


# train-clip


def test_train_clip_passes_on_its_options_and_prints_the_figures(capsys, monkeypatch):
    from mmaudit.encoders import _clip_training

    calls = []
    test = {
        "retrieval": {
            **{"n_studies": 1800, "n_patients": 300, "chance": 0.0056},
            "image to report": {"recall_at_10": 0.5, "ci": [0.45, 0.551]},
            "report to image": {"recall_at_10": 0.6, "ci": [0.55, 0.65]},
        },
        "zero-shot": {
            "nodule": {"auroc": 0.7, "ci": [0.6, 0.8], "n_positive": 30, "n_samples": 2000},
            "fracture": {"auroc": None, "ci": None, "n_positive": 0, "n_samples": 2000},
        },
    }
    monkeypatch.setattr(
        _clip_training, "train_clip", lambda out, **options: calls.append((out, options)) or {"test": test}
    )
    assert cli.main(["train-clip", "mine"]) == 0
    assert cli.main(["train-clip", "mine", "--patients", "20", "--epochs", "2", "--random-state", "3", "--quiet"]) == 0
    assert calls == [
        (Path("mine"), {"random_state": 0, "progress": True}),
        (Path("mine"), {"n_patients": 20, "epochs": 2, "random_state": 3, "progress": False}),
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "On test patients, share of queries with 95 % interval (chance 0.006):",
        "  image to report: the right one of 1,800 among the first ten  0.50 [0.45, 0.55]",
        "  report to image: the right one of 1,800 among the first ten  0.60 [0.55, 0.65]",
        "AUROC, asked by name:",
        "  nodule                                                       0.70 [0.60, 0.80]",
        "  fracture                                                     -",
        "",
    ]
    assert lines[7] == "The model is in mine; MODEL_CARD.md there says what it was trained on."


@pytest.mark.parametrize("option", ["--patients", "--epochs"])
def test_train_clip_names_the_option_that_was_typed(capsys, option):
    said = failed(capsys, "train-clip", "mine", option, "0")
    assert said.startswith(f"mmaudit train-clip: {option}: expected")
    assert not Path("mine").exists()
