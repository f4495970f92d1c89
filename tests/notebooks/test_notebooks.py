"""The notebooks as committed: clean, short, readable by everybody. And how they run under test: offline, in time.

That they run to the end is tested by nbmake, with which pytest collects the notebooks themselves.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MOST_CODE_CELLS = 30
MOST_LINES_OF_A_FUNCTION = 15
MOST_CHARACTERS = 105  # what JupyterLab shows of a line of code in a window of 1280 px, beside its list of files
MAGICS = {"%matplotlib inline"}
ABSOLUTE = re.compile(r"(?<![\w.:/<])(?:~|/(?:home|Users|tmp|var|work|mnt|data|root|content)\b|[A-Za-z]:\\)")
DRAWS = {"figure", "subplots", "plot", "imshow", "hist", "bar", "barh", "scatter", "boxplot", "film_strip"}
TELLS_NOBODY = {"Image", "SVG"}  # the first takes an alt text, but JupyterLab does not pass it on


def read(path):
    return nbformat.read(path, as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def parsed(notebook):
    """Return the syntax tree of each code cell, magics turned to calls as IPython does."""
    return [ast.parse(TransformerManager().transform_cell(cell.source)) for cell in code(notebook)]


def called(node):
    """Return the last part of the name of what is called, or None."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "attr", getattr(node.func, "id", None))


def untold(trees):
    """Return the code that shows a picture to those only who can see it."""
    helpers = {
        alias.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "mmaudit.report"
        for alias in node.names
        if alias.name == "show"  # it asks for a text
    }
    found = []
    for tree in trees:
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {called(node) for node in calls}
        for node in calls:
            source = ast.unparse(node)
            alt = next((keyword.value for keyword in node.keywords if keyword.arg == "alt"), None)
            empty = alt is None or (isinstance(alt, ast.Constant) and not str(alt.value or "").strip())
            if (
                called(node) in TELLS_NOBODY
                or (called(node) in helpers and empty)
                or (called(node) == "HTML" and "<img" in source and "alt=" not in source)
            ):
                found.append(source)
        # A figure that is left open is shown by the notebook at the end of the cell, without a text.
        if "show" in names - helpers or (names & DRAWS and not names & ({"close"} | helpers)):
            found.append(ast.unparse(tree))
    return found


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestCommitted:
    def test_is_valid_and_starts_the_kernel_of_its_environment(self, path):
        notebook = read(path)
        nbformat.validate(notebook)
        assert notebook.metadata.kernelspec.name == "python3"

    def test_holds_nothing_of_a_run(self, path):
        notebook = read(path)
        assert "widgets" not in notebook.metadata
        for cell in notebook.cells:
            assert "execution" not in cell.metadata
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None
            assert not cell.get("attachments")

    def test_begins_with_its_question(self, path):
        first = read(path).cells[0]
        assert first.cell_type == "markdown"
        assert first.source.startswith("# ")
        assert "**The question.**" in first.source
        assert "?" in first.source
        assert "Not for clinical use" in first.source

    def test_is_short(self, path):
        assert len(code(read(path))) <= MOST_CODE_CELLS

    def test_is_read_without_scrolling_sideways(self, path):
        lines = [line for cell in code(read(path)) for line in cell.source.splitlines()]
        assert [line for line in lines if len(line) > MOST_CHARACTERS] == []

    def test_changes_nothing_outside_itself(self, path):
        lines = [line.strip() for cell in code(read(path)) for line in cell.source.splitlines()]
        assert {line for line in lines if line.startswith(("%", "!", "?"))} <= MAGICS
        assert not [line for line in lines if re.search(r"\bpip\b.*\binstall\b", line)]

    def test_names_no_place_on_a_machine(self, path):
        assert [cell.source for cell in read(path).cells if ABSOLUTE.search(cell.source)] == []

    def test_leaves_algorithms_to_the_package(self, path):
        long = [
            node.name
            for tree in parsed(read(path))
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
        ]
        assert long == []

    def test_tells_every_figure_in_words(self, path):
        assert untold(parsed(read(path))) == []


HELPER = "from mmaudit.report import show\n"


@pytest.mark.parametrize(
    ("source", "is_told"),
    [
        ("display(Image(data, alt='Two bars'))", False),
        ("display(SVG(data))", False),
        ("display(HTML('<img src=x>'))", False),
        ("display(HTML('<img alt=bars src=x>'))", True),
        ("fig, ax = plt.subplots()", False),
        ("result.plot()", False),
        ("fig, ax = plt.subplots()\nplt.show()\nplt.close(fig)", False),
        (HELPER + "show(result.plot().figure, alt='Two bars')", True),
        (HELPER + "show(result.plot().figure, alt=words)", True),
        (HELPER + "show(result.plot().figure, alt=' ')", False),
        (HELPER + "show(result.plot().figure)", False),
        ("film_strip(data, ids)", False),
    ],
)
def test_the_rule_for_figures(source, is_told):
    assert (untold([ast.parse(source)]) == []) == is_told


@pytest.mark.parametrize(
    ("source", "is_absolute"),
    [
        ("pd.read_csv('/home/me/cases.csv')", True),
        ("Path('~/cases')", True),
        (r"open('C:\cases.csv')", True),
        ("Path(folder, 'films.png')", False),
        ("[doi](https://doi.org/10.1145/3368555.3384468)", False),
        ("`mmaudit audit data/cases.csv`, and/or https://example.org/data/x", False),
    ],
)
def test_the_rule_for_places(source, is_absolute):
    assert bool(ABSOLUTE.search(source)) == is_absolute


# --- how notebooks run under test -------------------------------------------------------------------------------------

ATTEMPTS = [
    "import socket; socket.create_connection(('203.0.113.1', 80), timeout=60)",
    "import socket; socket.socket().connect_ex(('203.0.113.1', 80))",
    "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('203.0.113.1', 53))",
    "import socket; socket.getaddrinfo('example.org', 443)",
    "from urllib.request import urlopen; urlopen('http://203.0.113.1/', timeout=60)",
    "import asyncio; await asyncio.open_connection('203.0.113.1', 80)",
]


def executed(*sources):
    """Return what each cell put out, run in a kernel as the notebooks are."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=60, allow_errors=True).execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_kernel_refuses_the_network():
    for attempt, (error,) in zip(ATTEMPTS, executed(*ATTEMPTS), strict=True):
        assert (error.output_type, error.get("ename")) == ("error", "NetworkBlockedError"), attempt
        assert "notebooks run offline" in error.evalue


def test_a_kernel_reaches_itself_and_finds_no_name_it_did_not_make():
    here = "import socket as s; at = s.create_server(('127.0.0.1', 0)); s.create_connection(at.getsockname()).close()"
    names = "[n for n in ('sys', 'ipaddress', 'refuse_the_network', 'NetworkBlockedError') if n in globals()]"
    reached, (left,) = executed(here, names)
    assert reached == []
    assert left.data["text/plain"] == "[]"


def test_pytest_runs_notebooks_offline_and_in_limited_time(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ATTEMPTS[0])]), tmp_path / "online.ipynb")
    endless = nbformat.v4.new_code_cell("import threading; threading.Event().wait()")
    nbformat.write(nbformat.v4.new_notebook(cells=[endless]), tmp_path / "endless.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "--nbmake", "-o", "notebook_timeout=5", "--color=no"]
    clean = {name: value for name, value in os.environ.items() if name not in ("IPYTHONDIR", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "2 failed" in done.stdout, done.stdout + done.stderr
    assert re.search(r"FAILED online.ipynb.*NetworkBlockedError", done.stdout)
    assert "FAILED endless.ipynb" in done.stdout
    assert re.search(r"Timeout \(>5.0s\) from pytest-timeout", done.stdout)
