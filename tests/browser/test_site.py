"""The site of notebooks: pages of executed notebooks that anybody can read, without Jupyter and without a network."""

import re

import nbformat
import pytest
from playwright.sync_api import expect

from mmaudit._errors import InputError
from mmaudit.workshop import _site, write_site
from tests.browser._axe import grave_findings

WIDGET = """\
class Linked:
    def _repr_mimebundle_(self, **_):
        view = {"version_major": 2, "version_minor": 0, "model_id": "0"}
        table = "<table><caption>Slices</caption><tr><th scope='col'>gap</th></tr><tr><td>0.31</td></tr></table>"
        return {"application/vnd.jupyter.widget-view+json": view, "text/html": table, "text/plain": "Linked()"}
Linked()"""
WIDE = "import pandas as pd\npd.DataFrame([['films ' * 9] * 40])"
FIGURE = """\
import matplotlib.pyplot as plt
from mmaudit.report import show
%matplotlib inline
fig, ax = plt.subplots(figsize=(2, 1))
show(fig, alt="An empty plot")"""


def cell(kind, source, *tags):
    new = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}[kind]
    return new(source, metadata={"tags": list(tags)})


def write(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


@pytest.fixture(scope="session")
def suite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suite")
    (folder / "README.md").write_text("# Two notebooks\n\n- [One](00_one.ipynb)\n- [Two](01_two.ipynb#End)\n")
    (folder / "table.csv").write_text("a\n7\n")
    write(
        folder / "00_one.ipynb",
        cell("markdown", "# Ask <one> thing\n\n**The question.** *Why?* See [the next](01_two.ipynb)."),
        cell("code", "# a comment\nprint(open('table.csv').read(), 'text', 1.5)"),
        cell("code", WIDGET),
        cell("code", WIDE),
        cell("code", FIGURE),
        cell("markdown", "### Your turn: count", "exercise"),
        cell("code", "n = ...", "exercise"),
        cell("code", "n = 40 + 2\nn", "solution"),
        cell("markdown", "Because it is so.", "solution"),
        cell("markdown", "## For who teaches", "instructor"),
    )
    write(folder / "01_two.ipynb", cell("markdown", "# Two"), cell("markdown", "## End"))
    return folder


@pytest.fixture(scope="session")
def site(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "pages"
    write_site(out, folder=suite)
    assert [path.name for path in out.parent.iterdir()] == ["pages"]
    return out


def test_it_holds_an_index_and_a_page_a_notebook(site):
    assert sorted(path.name for path in site.iterdir()) == ["00_one.html", "01_two.html", "index.html"]


def test_it_is_walked_from_page_to_page(page, watch, site):
    page.goto(f"file://{site}/index.html")
    page.get_by_role("link", name="One").click()
    assert page.title() == "Ask <one> thing"
    page.get_by_role("link", name="Next: Two").first.click()
    page.get_by_role("link", name="Before: Ask <one> thing").first.click()
    page.get_by_role("link", name="the next").click()
    assert page.title() == "Two"
    page.get_by_role("link", name="Contents").first.click()
    page.get_by_role("link", name="Two").click()
    assert page.url.endswith("01_two.html#End")
    assert watch.errors == []
    assert watch.network_requests == []


def test_it_shows_what_the_notebook_put_out(page, watch, site):
    page.goto(f"file://{site}/00_one.html")
    assert page.get_by_text("7", exact=False).first.is_visible()  # from a file beside the notebook
    assert page.get_by_alt_text("An empty plot").evaluate("one => one.complete && one.naturalWidth") > 50
    assert page.get_by_role("table", name="Slices").get_by_text("0.31").is_visible()  # in the widget's place
    assert page.locator("script").count() == 0
    assert watch.errors == []
    assert watch.network_requests == []


def test_solutions_are_folded_and_notes_left_out(page, site):
    page.goto(f"file://{site}/00_one.html")
    assert page.get_by_text("Your turn: count").is_visible()
    code, words = page.locator("details.solution").all()
    answer = code.locator(".output_area")
    assert not answer.is_visible()
    code.locator("summary").click()
    expect(answer).to_have_text(re.compile(r"^\s*42\s*$"))
    assert not words.get_by_text("Because it is so").is_visible()
    assert "For who teaches" not in page.content()


@pytest.mark.parametrize("name", ["index.html", "00_one.html"])
def test_everybody_can_read_it(page, site, name):
    page.goto(f"file://{site}/{name}")
    for summary in page.locator("summary").all():
        summary.click()
    assert grave_findings(page) == []


def test_a_notebook_that_fails_is_named_and_nothing_is_left(suite, site, tmp_path):
    folder, out = tmp_path / "failing", tmp_path / "out"
    folder.mkdir()
    (folder / "README.md").write_text("# One\n")
    write(folder / "00_x.ipynb", cell("markdown", "# X"), cell("code", "1 / 0"))
    with pytest.raises(InputError, match=r"got 00_x\.ipynb, cell '\w+': ZeroDivisionError: division by zero"):
        write_site(out, folder=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["failing"]


def test_an_interrupted_run_leaves_the_earlier_site(monkeypatch, suite, tmp_path):
    out = tmp_path / "out"
    write_site(out, folder=suite, execute=False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(before) == 3

    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(_site, "_executed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_site(out, folder=suite)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    write_site(out, folder=suite, execute=False)  # in place of the earlier one
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_no_other_folder_is_replaced(suite, tmp_path):
    (tmp_path / "index.html").write_text("<h1>Mine</h1>")
    with pytest.raises(InputError, match="a new or empty folder, or an earlier site"):
        write_site(tmp_path, folder=suite, execute=False)
    assert (tmp_path / "index.html").read_text() == "<h1>Mine</h1>"
