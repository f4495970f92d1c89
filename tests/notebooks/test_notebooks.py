"""The notebooks as committed: clean, short, readable by everybody. And how they run under test: offline, in time.

That they run to the end is tested by nbmake, with which pytest collects the notebooks themselves.
"""

import ast
import itertools
import os
import re
import subprocess
import symtable
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from mmaudit.workshop import contents, exercises, for_audience

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MOST_CODE_CELLS = 30
MOST_LINES_OF_A_FUNCTION = 15
MOST_CHARACTERS = 105  # what JupyterLab shows of a line of code in a window of 1280 px, beside its list of files
MAGICS = {"%matplotlib inline"}
ABSOLUTE = re.compile(r"(?<![\w.:/<])(?:~[/\\]|/(?:home|Users|tmp|var|work|mnt|data|root|content)\b|[A-Za-z]:\\)")
DRAWS = {"figure", "subplots", "plot", "imshow", "hist", "bar", "barh", "scatter", "boxplot", "film_strip"}
FEWEST_EXERCISES, FEWEST_CHECKS = 3, 2
SECTIONS = {"## What this does not show", "## The answer", "## On your own"}
QUICK = "06_real_reports"  # the one whose learner's version is run here; of the others the names are analysed
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


# --- the suite as a workshop ------------------------------------------------------------------------------------------


def tags(cell):
    return set(cell.metadata.get("tags", []))


def checks(cells):
    """Return the names of the exercises that the code checks, in order."""
    trees = [ast.parse(TransformerManager().transform_cell(cell.source)) for cell in cells if cell.cell_type == "code"]
    calls = [node for tree in trees for node in ast.walk(tree) if called(node) == "check"]
    return [call.args[0].value for call in calls]


def names(source):
    """Return the global names that code needs from elsewhere, those that it assigns, and those that it imports."""
    needs, assigns, imports = set(), set(), set()
    for statement in ast.parse(TransformerManager().transform_cell(source)).body:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        symbols = table.get_symbols()
        stored = {one.get_name() for one in symbols if one.is_assigned()}
        imported = {one.get_name() for one in symbols if one.is_imported()}
        loaded = {one.get_name() for one in symbols if one.is_referenced()}
        inner = list(table.get_children())
        while inner:
            scope = inner.pop()
            loaded |= {one.get_name() for one in scope.get_symbols() if one.is_global() and one.is_referenced()}
            inner += scope.get_children()
        if hasattr(statement, "body"):  # its head makes names that its body needs
            loaded -= stored | imported
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            loaded.add(statement.target.id)
        needs |= loaded - assigns - imports
        assigns |= stored - imported
        imports |= imported
    return needs, assigns, imports


def missing_for_learners(cells):
    """Return each use of a name that learners lack, or have only once they have solved an exercise.

    The story may use neither what a solution nor what an answer makes; an exercise not what only a solution makes.
    """
    answers, hidden, found = set(), set(), []
    for cell in cells:
        if cell.cell_type != "code":
            continue
        needs, assigns, imports = names(cell.source)
        if "solution" in tags(cell):
            hidden |= (assigns | imports) - answers
            answers |= assigns | imports
            continue
        asked = "exercise" in tags(cell)
        found += [(cell.get("id"), name) for name in sorted(needs & (hidden if asked else answers))]
        hidden -= assigns | imports
        answers = answers | assigns if asked else answers - assigns
        answers -= imports
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestLesson:
    def test_it_says_what_it_shows_and_what_not(self, path):
        lines = {line.strip() for cell in read(path).cells for line in cell.source.splitlines()}
        assert lines >= SECTIONS

    def test_it_asks_and_checks(self, path):
        cells = read(path).cells
        asked = [cell for cell in cells if cell.cell_type == "markdown" and "exercise" in tags(cell)]
        assert len(asked) >= FEWEST_EXERCISES
        assert len(set(checks(cells))) >= FEWEST_CHECKS
        assert set(checks(cells)) <= set(exercises())

    def test_each_solution_follows_its_exercise(self, path):
        cells = read(path).cells
        for before, cell in itertools.pairwise(cells):
            if "solution" in tags(cell):
                assert tags(before) & {"exercise", "solution"}, cell.source
            if cell.cell_type == "code" and "solution" in tags(cell):
                assert "exercise" in tags(before), cell.source
                assert before.cell_type != "code" or checks([before]) == checks([cell])

    def test_an_exercise_is_open_until_it_is_answered(self, path):
        stubs = [cell for cell in code(read(path)) if "exercise" in tags(cell) and checks([cell])]
        assert [cell.source for cell in stubs if "..." not in cell.source] == []

    def test_it_ends_with_notes_for_who_teaches(self, path):
        *others, last = read(path).cells
        assert tags(last) == {"instructor"}
        assert last.source.startswith("## For who teaches")
        assert [cell.id for cell in others if "instructor" in tags(cell)] == []

    def test_the_story_goes_on_without_solutions(self, path):
        assert missing_for_learners(read(path).cells) == []

    def test_what_learners_see(self, path):
        whole = read(path)
        learners = nbformat.from_dict(for_audience(whole, "learner"))
        nbformat.validate(learners)
        assert learners.cells[0] == whole.cells[0]
        assert [cell for cell in learners.cells if "instructor" in tags(cell)] == []
        solutions = [cell for cell in learners.cells if "solution" in tags(cell)]
        assert all(cell.cell_type == "markdown" and "<details>" in cell.source for cell in solutions)
        assert len(solutions) == sum("solution" in tags(cell) for cell in whole.cells)


def test_the_suite_is_numbered_without_a_gap():
    assert [path.stem[:3] for path in NOTEBOOKS] == [f"{number:02d}_" for number in range(10)]


def test_every_check_is_asked_for():
    assert {name for path in NOTEBOOKS for name in checks(read(path).cells)} == set(exercises())


def test_the_contents_list_every_notebook_in_order_and_no_other():
    text = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(.+?)\]\((.+?)\) \| .+\? \| \d+ \|$", text, re.M)
    assert listed == [(entry.title, entry.file) for entry in contents()]
    linked = set(re.findall(r"\]\(([^)]+)\)", text))
    assert linked == {entry.file for entry in contents()}
    assert "Not for clinical use" in text


def test_a_learners_version_runs_to_its_end(tmp_path):
    (path,) = [path for path in NOTEBOOKS if path.stem == QUICK]
    learners = nbformat.from_dict(for_audience(read(path), "learner"))
    NotebookClient(learners, kernel_name="python3", timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    said = str([cell.outputs for cell in code(learners) if "exercise" in tags(cell)])
    assert said.count("Not answered yet") >= FEWEST_CHECKS


@pytest.mark.parametrize(
    ("kinds", "sources", "found"),
    [
        (" s ", ["a = 1", "b = a", "b"], ["b"]),
        (" s ", ["b = 1", "b = 2", "b"], ["b"]),  # the solution changes what the story goes on with
        (" s ", ["a = 1", "b = a", "b = 3\nb"], []),
        (" s ", ["a = 1", "b = a", "for b in 'x':\n    print(b)"], []),
        (" s ", ["a = 1", "b = a", "b += 1"], ["b"]),
        (" s ", ["a = 1", "b = a", "[b for b in 'x']"], []),
        (" s ", ["a = 1", "b = a", "[c + b for c in 'x']"], ["b"]),
        (" s ", ["a = 1", "import os", "os.name"], ["os"]),
        ("es ", ["b = ...", "b = 2", "b"], ["b"]),
        ("ese", ["b = ...", "b = 2", "c = b"], []),
        ("ese", ["b = ...", "c = 2", "c + b"], ["c"]),
        ("e  ", ["import os\nb = ...", "os.name", "def f():\n    return b"], ["b"]),
    ],
)
def test_the_rule_for_what_learners_lack(kinds, sources, found):
    words = {"s": ["solution"], "e": ["exercise"], " ": []}
    cells = [
        nbformat.v4.new_code_cell(source, metadata={"tags": words[kind]})
        for kind, source in zip(kinds, sources, strict=True)
    ]
    assert [name for _, name in missing_for_learners(cells)] == found


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
        ("wrong[effusion & ~supine].mean()", False),
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


def test_pytest_runs_notebooks_offline_and_in_limited_time_and_memory(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(ATTEMPTS[0])]), tmp_path / "online.ipynb")
    large = "held = bytes(range(256)) * 1_200_000; import time; time.sleep(0.5)"  # pages that are written are in memory
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(large)]), tmp_path / "large.ipynb")
    endless = nbformat.v4.new_code_cell("import threading; threading.Event().wait()")
    nbformat.write(nbformat.v4.new_notebook(cells=[endless]), tmp_path / "endless.ipynb")
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "--nbmake", "--color=no"]
    command += ["-o", "notebook_timeout=5", "-o", "notebook_memory_mb=300"]
    clean = {name: value for name, value in os.environ.items() if name not in ("IPYTHONDIR", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "3 failed" in done.stdout, done.stdout + done.stderr
    assert re.search(r"FAILED online.ipynb.*NetworkBlockedError", done.stdout)
    assert "FAILED endless.ipynb" in done.stdout
    assert re.search(r"Timeout \(>5.0s\) from pytest-timeout", done.stdout)
    assert re.search(r"large.ipynb took \d{3} MB, and 300 MB is the limit", done.stdout)
    assert re.search(r"\d\.\d s +\d{3} MB  large.ipynb\n(.*\n)* +\d+\.\d s +all 3\n", done.stdout)
