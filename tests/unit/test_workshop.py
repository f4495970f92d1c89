"""The workshop: what learners and teachers get of a notebook, where it is written, and how answers are judged."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from jupyterlab_server.workspaces_handler import WorkspacesManager

from mmaudit._errors import InputError
from mmaudit.workshop import (
    _check,
    _suite,
    check,
    contents,
    exercises,
    for_audience,
    prepare_lab,
    write_notebooks,
    write_workspace,
)


def cell(kind, source, *tags):
    new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}[kind]
    return new(source, metadata={"tags": list(tags)} if tags else {})


@pytest.fixture
def notebook():
    cells = [
        cell("markdown", "# Look\n\n**The question.** *Where?*\n\nMore."),
        cell("code", "n = ...", "exercise"),
        cell("code", "n = 42", "solution"),
        cell("markdown", "It is there.", "solution"),
        cell("markdown", "## For who teaches", "instructor"),
    ]
    return json.loads(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))


@pytest.fixture
def packaged(monkeypatch, notebook, tmp_path):
    folder = tmp_path / "packaged"
    (folder / "data").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    for name in ("01_b.ipynb", "00_a.ipynb", ".ipynb_checkpoints/00_a.ipynb"):
        (folder / name).write_text(json.dumps(notebook), encoding="utf-8")
    (folder / "data" / "table.csv").write_text("a\n1\n")
    monkeypatch.setattr(_suite, "packaged", lambda: folder)
    return folder


# what each reader sees


def test_learners_open_solutions_by_a_click_and_see_no_notes(notebook):
    shown = for_audience(notebook, "learner")
    nbformat.validate(nbformat.from_dict(shown))
    assert shown["cells"][:2] == notebook["cells"][:2]
    code, words = (one["source"] for one in shown["cells"][2:])
    assert code == "<details><summary>Solution</summary>\n\n```python\nn = 42\n```\n\n</details>"
    assert words == "<details><summary>Solution</summary>\n\nIt is there.\n\n</details>"
    assert {one["cell_type"] for one in shown["cells"][2:]} == {"markdown"}
    assert shown["metadata"] == notebook["metadata"]


def test_who_teaches_sees_the_notebook_as_it_is(notebook):
    assert for_audience(notebook, "instructor") == notebook


def test_another_audience_is_an_error(notebook, tmp_path):
    with pytest.raises(InputError, match="expected learner or instructor, got 'learners'"):
        for_audience(notebook, "learners")
    with pytest.raises(InputError, match="expected learner or instructor, got 'x'"):
        write_notebooks(tmp_path / "none", audience="x")
    assert not (tmp_path / "none").exists()


def test_contents_tell_title_and_question_in_order(packaged):
    assert contents() == [("00_a.ipynb", "Look", "*Where?*"), ("01_b.ipynb", "Look", "*Where?*")]


def test_notebooks_and_what_they_need_are_written_and_nothing_hidden(packaged, tmp_path):
    assert write_notebooks(tmp_path / "mine") == []
    written = sorted(path.relative_to(tmp_path / "mine").as_posix() for path in (tmp_path / "mine").rglob("*.*"))
    assert written == ["00_a.ipynb", "01_b.ipynb", "data/table.csv"]
    assert "For who teaches" not in (tmp_path / "mine" / "00_a.ipynb").read_text(encoding="utf-8")


def test_files_that_are_there_are_kept_and_named_if_they_differ(packaged, tmp_path):
    mine = tmp_path / "mine"
    write_notebooks(mine)
    (mine / "00_a.ipynb").write_text("my answers")
    (mine / "01_b.ipynb").unlink()
    assert write_notebooks(mine) == [mine / "00_a.ipynb"]
    assert (mine / "00_a.ipynb").read_text() == "my answers"
    assert (mine / "01_b.ipynb").exists()
    kept = write_notebooks(mine, audience="instructor")  # the other version is no reason to lose answers
    assert kept == [mine / "00_a.ipynb", mine / "01_b.ipynb"]


# JupyterLab


def test_the_layout_opens_the_first_notebook_and_the_contents_beside_it(tmp_path):
    path = write_workspace(tmp_path, below="workshop")
    workspace = WorkspacesManager(str(tmp_path)).load("default")  # as the server does
    tabs = workspace["data"]["layout-restorer:data"]["main"]["dock"]["children"]
    shown = [workspace["data"][widget]["data"]["path"] for tab in tabs for widget in tab["widgets"]]
    assert shown == ["workshop/00_quickstart.ipynb", "workshop/README.md"]
    path.write_text(json.dumps({"data": {}, "metadata": {"id": "default"}}))
    assert write_workspace(tmp_path) == path
    assert json.loads(path.read_text())["data"] == {}  # where somebody went on


def test_the_kernel_of_the_notebooks_is_this_python(tmp_path):
    from jupyter_client.kernelspec import KernelSpecManager

    (option,), variables = prepare_lab(tmp_path)
    assert Path(option.partition("=")[2]).is_relative_to(tmp_path)
    assert option.startswith("--LabApp.workspaces_dir=")
    kernels = str(Path(variables["JUPYTER_PATH"], "kernels"))
    spec = KernelSpecManager(kernel_dirs=[kernels], ensure_native_kernel=False).get_kernel_spec("python3")
    assert spec.argv[0] == sys.executable
    assert {path.name for path in tmp_path.iterdir()} == {".jupyterlab"}


# answers


@pytest.fixture
def exercise(monkeypatch):
    """A function that keeps a check for this test only."""
    monkeypatch.setattr(_check, "_known", {})

    def keep(judge):
        _check.exercise("test.it")(judge)
        monkeypatch.setattr(_check, "exercises", lambda: ("test.it",))

    return keep


def test_a_right_answer_is_true_and_says_more(exercise):
    exercise(lambda answer, factor: "Well seen." if answer * factor == 42 else None)
    said = check("test.it", 21, factor=2)
    assert said
    assert repr(said) == "✓ Right. Well seen."


def test_a_wrong_answer_is_false_with_a_hint_and_raises_nothing(exercise):
    def judge(answer):
        raise _check.Hint("Look at <patients>.")

    exercise(judge)
    said = check("test.it", 1)
    assert not said
    assert repr(said) == "✗ Not yet. Look at <patients>."
    assert "&lt;patients&gt;" in said._repr_html_()


@pytest.mark.parametrize("answer", [..., (1, ...)])
def test_an_open_answer_is_neither(exercise, answer):
    exercise(lambda answer: pytest.fail("not to be judged"))
    said = check("test.it", answer)
    assert said.right is None
    assert not said


def test_an_answer_of_another_kind_is_told(exercise):
    exercise(lambda answer: answer.mean())
    assert repr(check("test.it", "many")) == (
        "✗ Not yet. The check could not read this answer, a str (AttributeError)."
    )


def test_an_unknown_exercise_is_an_error():
    name = exercises()[0]
    with pytest.raises(InputError, match=f"Did you mean '{name}'"):
        check(name + "x", 1)


def test_two_checks_of_one_name_are_an_error(exercise):
    exercise(lambda answer: None)
    with pytest.raises(ValueError, match=r"two checks of test\.it"):
        exercise(lambda answer: None)
