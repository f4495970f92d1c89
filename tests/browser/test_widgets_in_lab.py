"""The widgets in JupyterLab: by mouse and by keyboard, with a kernel that is there, busy or gone."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from playwright.sync_api import expect

from tests.browser._axe import grave_findings

READY_MS, PICTURE_MS = 60_000, 20_000
SETUP = """
import logging
import numpy as np
import mmaudit as mma
logging.getLogger("mmaudit").addHandler(logging.StreamHandler())
data = mma.datasets.load_phantom(100, image_size=112, random_state=0)
random = np.random.default_rng(3)
proba = np.clip(0.2 + 0.6 * data.y_true + random.normal(0, 0.12, data.n_samples), 0.01, 0.99)
missed = (data.y_true == 1) & (data.metadata["view"] == "AP supine").to_numpy()
data = data.with_predictions(np.where(missed, 0.2, proba))
result = mma.audit(
    data, modalities=("report", "metadata"), n_slices=5, n_refits=2, n_permutations=499, random_state=0
)
"""
CELLS = {
    "setup": SETUP,
    "explorer": "explorer = result.explore()\nexplorer",
    "grid": "grid = mma.widgets.SliceGrid(result)\ndisplay(grid)\ndisplay(grid)",
    "table": "table = mma.widgets.ExplanationTable(result)\ntable",
    # Until the test says so
    "busy": """
import time
from pathlib import Path
for _ in range(600):
    if Path("stop").exists():
        break
    time.sleep(0.1)
""",
}
CELL = {name: number for number, name in enumerate(CELLS)}


def notebook_file(folder, name, cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, folder / name)
    return name


@pytest.fixture(scope="module")
def book(browser, browser_context_args, lab, open_in_lab, watching, pytestconfig):
    """A notebook with all widgets, after Run All, on a page that all tests of this file share, in their order."""
    context = browser.new_context(**browser_context_args, viewport={"width": 1500, "height": 1000})
    context.set_default_timeout(PICTURE_MS)
    page = context.new_page()
    watch = watching(page)
    notebook = open_in_lab(page, notebook_file(lab.folder, "widgets.ipynb", CELLS.values()))
    watch.errors.clear()  # what JupyterLab itself says while it starts is not ours
    stop = lab.folder / "stop"
    stop.touch()
    notebook.run_all()
    yield SimpleNamespace(
        notebook=notebook, page=page, watch=watch, shown=Path(pytestconfig.getoption("--output")), ask=notebook.ask,
        stop=stop,
    )  # fmt: skip
    notebook.close()
    context.close()


@pytest.fixture(autouse=True)
def nothing_goes_wrong(book):
    yield
    errors, book.watch.errors[:] = list(book.watch.errors), []
    assert errors == []
    assert book.watch.dialogs == []
    assert book.watch.requests_elsewhere == []


def root(book, name, view=0):
    return book.notebook.cell(CELL[name]).locator(".mma-root").nth(view)


def ready(where, part, timeout=READY_MS):
    """Return the part of a widget, drawn."""
    found = where.locator(f"{part}[data-ready='1']").first
    found.wait_for(timeout=timeout)
    return found


def in_view(locator):
    locator.scroll_into_view_if_needed()
    return locator


# Shown


def test_run_all_shows_every_widget(book):
    outputs = book.notebook.outputs()
    assert [one for cell in outputs for one in cell if one["output_type"] == "error"] == []
    for name, part in (("explorer", ".mma-explorer"), ("grid", ".mma-grid"), ("table", ".mma-table")):
        ready(root(book, name), part)
    # The widget is shown, and not what stands for it elsewhere.
    assert book.page.locator(".mma-static").count() == 0
    assert "text/html" in outputs[CELL["table"]][0]["data"]


def test_the_grid_shows_pictures(book):
    grid = ready(in_view(root(book, "grid")), ".mma-grid")
    tiles = grid.locator("[role=gridcell]:visible img")
    assert tiles.count() >= 5
    assert set(tiles.evaluate_all("all => all.map(one => one.complete && one.naturalWidth > 0)")) == {True}
    assert book.ask("print(grid.selected_slice)") == book.ask("print(result.findings['slice_id'][0])")


# By mouse


def test_the_table_by_mouse(book):
    table = ready(in_view(root(book, "table")), ".mma-table")
    table.get_by_role("button", name="Gap").click()
    expect(table.locator("th[aria-sort=descending]")).to_have_count(1)
    gaps = book.ask("print(result.candidates.sort_values('gap', ascending=False)['slice_id'].tolist()[0])")
    first = table.locator("tbody tr[data-id]").first
    expect(first).to_have_attribute("data-id", gaps)
    first.locator("th").click()
    book.notebook.until(f"table.selected_slice == {gaps!r}")
    first.get_by_role("button", name="card: ").click()
    table.get_by_text("How it was tested").wait_for()
    table.locator(f"tr[data-id='{gaps}']").get_by_role("button", name="accept:").click()
    book.notebook.until(f"table.verdicts == {{{gaps!r}: {{'verdict': 'accept', 'note': ''}}}}")
    table.get_by_role("textbox", name="Note on").fill("seen by mouse")
    table.get_by_role("textbox", name="Note on").press("Tab")
    book.notebook.until("result.verdicts['note'].tolist() == ['seen by mouse']")


def test_the_grid_by_mouse(book):
    grid = ready(in_view(root(book, "grid")), ".mma-grid")
    tiles = grid.locator("[role=gridcell]:visible")
    tiles.nth(0).click()
    tiles.nth(3).click(modifiers=["Shift"])
    book.notebook.until("len(grid.selected_ids) == 4 == len(grid.selection())")
    expect(tiles.nth(3)).to_have_attribute("aria-selected", "true")
    tiles.nth(1).dblclick()
    reader = ready(root(book, "grid"), ".mma-reader")
    expect(reader).to_be_visible()
    reader.get_by_role("button", name="needs a radiologist").click()
    book.notebook.until("[v['verdict'] for v in grid.image_verdicts.values()] == ['radiologist']")
    reader.get_by_role("button", name="Close").click()
    reader.wait_for(state="hidden")
    assert book.ask("print(result.verdicts['of'].tolist())") == "['slice', 'sample']"


def test_two_views_show_the_same(book):
    one, two = (ready(root(book, "grid", view), ".mma-grid") for view in (0, 1))
    in_view(two).locator("[role=gridcell]:visible").nth(2).click()
    book.notebook.until("len(grid.selected_ids) == 1")
    for view in (one, two):
        selected = view.locator("[role=gridcell][aria-selected=true]:visible")
        expect(selected).to_have_count(1)
        expect(selected).to_have_attribute("data-index", "2")


def test_brush_the_map_and_test_what_is_selected(book):
    explorer = ready(in_view(root(book, "explorer")), ".mma-explorer")
    explorer.get_by_role("tab", name="Map").click()
    stage = in_view(ready(explorer, ".mma-map").get_by_role("application"))
    box = stage.bounding_box()
    book.page.mouse.move(box["x"] + 2, box["y"] + 2)
    book.page.mouse.down()
    book.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    book.page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] - 2, steps=4)
    book.page.mouse.up()
    book.notebook.until("0 < len(explorer.selected_ids) < data.n_samples")
    explorer.get_by_role("textbox", name="Name of the group").fill("left of the map")
    explorer.get_by_role("button", name="Test this selection").click()
    row = explorer.locator("tr[data-id='h01']")
    row.wait_for(timeout=READY_MS)
    assert "left of the map" in row.inner_text()
    assert book.ask("print(explorer.selected_slice, set(explorer.hypotheses['description']))").startswith("h01 ")


# By keyboard


def keys(page, *pressed):
    for key in pressed:
        page.keyboard.press(key)


def tab_until(page, expression, most=60):
    """Press Tab until an expression of `one`, the element that has the focus, holds."""
    for _ in range(most):
        if page.evaluate(f"() => {{ const one = document.activeElement; return Boolean({expression}); }}"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach it: {expression}")


def test_the_table_by_keyboard_alone(book):
    table = ready(in_view(root(book, "table")), ".mma-table")
    table.locator("input").first.focus()
    tab_until(book.page, "one.closest('tr[data-id]')")
    keys(book.page, "Home")
    first = table.locator("tbody tr[data-id]").first.get_attribute("data-id")
    book.ask(f"table.verdicts = {{{first!r}: 'accept'}}")
    table.locator(f"tr[data-id='{first}'] [aria-pressed=true]").first.wait_for()
    keys(book.page, "ArrowDown", "ArrowDown", "Home", "r")
    book.notebook.until(f"table.verdicts[{first!r}]['verdict'] == 'reject'")
    keys(book.page, "Control+z")
    book.notebook.until(f"table.verdicts[{first!r}]['verdict'] == 'accept'")
    keys(book.page, "ArrowDown", "Enter")
    second = book.page.evaluate("() => document.activeElement.dataset.id")
    assert second != first
    table.locator(f"tr[data-id='{second}'][aria-expanded=true]").wait_for()
    keys(book.page, "Enter", "Space")
    book.notebook.until(f"table.selected_slice == {second!r}")
    # JupyterLab's own keys, such as those that delete a cell, are out of reach.
    keys(book.page, "d", "d", "x", "b")
    assert book.notebook.evaluate("w.content.widgets.length") == len(CELLS)
    assert root(book, "table").is_visible()


def test_the_grid_by_keyboard_alone(book):
    grid = ready(in_view(root(book, "grid")), ".mma-grid")
    grid.locator("button, select, input").first.focus()
    tab_until(book.page, "one.getAttribute('role') === 'grid'")
    keys(book.page, "Escape", "Home", "Space", "Shift+ArrowRight", "Shift+ArrowRight")
    book.notebook.until("len(grid.selected_ids) == 3")
    keys(book.page, "End")
    ready(root(book, "grid"), ".mma-grid")
    active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))"
    assert book.page.evaluate(f"() => {active}.querySelector('img').naturalWidth") > 0
    keys(book.page, "a")
    book.notebook.until("list(grid.image_verdicts.values())[-1]['verdict'] == 'accept'")
    keys(book.page, "Enter")
    reader = ready(root(book, "grid"), ".mma-reader")
    assert reader.evaluate("one => one.contains(document.activeElement)")
    keys(book.page, "Escape")
    reader.wait_for(state="hidden")
    assert book.page.evaluate("() => document.activeElement.getAttribute('role')") == "grid"
    keys(book.page, "Escape")
    book.notebook.until("len(grid.selected_ids) == 0")


def test_the_explorer_by_keyboard_alone(book):
    explorer = ready(in_view(root(book, "explorer")), ".mma-explorer")
    explorer.locator("button:enabled, select, input").first.focus()
    tab_until(book.page, "one.getAttribute('role') === 'tab'")
    if "Metadata" in book.page.evaluate("() => document.activeElement.innerText"):
        keys(book.page, "ArrowRight")
    tab_until(book.page, "one.getAttribute('role') === 'application'")
    before = book.ask("print(len(explorer.selected_ids))")
    keys(book.page, "Escape", "ArrowRight", *["Shift+ArrowRight"] * 8, *["Shift+ArrowUp"] * 8, "Enter")
    book.notebook.until(f"len(explorer.selected_ids) not in (0, {before})")
    explorer.locator("button:enabled, select, input").first.focus()
    tab_until(book.page, "one.getAttribute('aria-label') === 'Name of the group'")
    book.page.keyboard.type("by keys")
    keys(book.page, "Enter")
    explorer.locator("tr[data-id]").filter(has_text="by keys").first.wait_for(timeout=READY_MS)


# Looks, and for everybody


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_in_each_theme_axe_finds_nothing_serious(book, theme):
    book.notebook.use_theme(theme)
    for name, part in (("explorer", ".mma-explorer"), ("grid", ".mma-grid"), ("table", ".mma-table")):
        widget = in_view(root(book, name))
        ready(widget, part)
        widget.screenshot(path=book.shown / f"widget-{name}-{theme.split()[-1].lower()}.png")
    assert grave_findings(book.page, ".mma-root") == []


# A kernel that is busy, and one that is gone


def test_a_busy_kernel_makes_pictures_wait_and_breaks_nothing(book):
    grid = ready(in_view(root(book, "grid")), ".mma-grid")
    grid.get_by_role("combobox", name="Show").select_option("all")
    ready(root(book, "grid"), ".mma-grid")
    n = int(book.ask("print(data.n_samples)"))
    book.stop.unlink()
    book.notebook.run_cell(CELL["busy"])
    # Not the status of the kernel: it says "idle" after each message that is answered while the cell runs.
    running = f"w.content.widgets[{CELL['busy']}].model.executionState === 'running'"
    book.notebook.wait(running, READY_MS)
    in_view(grid)
    grid.locator("[role=grid]").first.evaluate("one => { one.scrollTop = one.scrollHeight; }")
    last = grid.locator(f"[role=gridcell][data-index='{n - 1}']")
    last.wait_for()
    last.click()
    expect(last).to_have_attribute("aria-selected", "true")
    assert book.notebook.evaluate(running)
    book.stop.touch()
    ready(root(book, "grid"), ".mma-grid")
    assert last.locator("img").evaluate("one => one.complete && one.naturalWidth") > 0
    book.notebook.wait(f"!({running})", READY_MS)
    book.notebook.until("len(grid.selected_ids) == 1")


def test_without_its_kernel_what_is_there_still_works(book):
    table = ready(in_view(root(book, "table")), ".mma-table")
    book.notebook.evaluate("k.restart()")
    book.notebook.wait("k && k.connectionStatus === 'connected' && k.status === 'idle'", READY_MS)
    assert book.ask("print('result' in globals())") == "False"
    rows = table.locator("tbody tr[data-id]")
    before = rows.count()
    assert before >= 2
    table.get_by_role("button", name="Slice", exact=True).click()
    expect(table.locator("th[aria-sort=ascending]")).to_have_count(1)
    rows.nth(1).locator("th").click()
    table.locator("tr[aria-selected=true]").wait_for()
    expect(rows).to_have_count(before)
    grid = in_view(root(book, "grid"))
    grid.locator("[role=gridcell]:visible").first.click()
    expect(grid.locator("[role=gridcell][aria-selected=true]:visible")).to_have_count(1)
    # What JupyterLab itself says of a kernel that is restarted, and of what it was asked just then
    its_own = ("Connection lost, reconnecting", "Canceled future")
    book.watch.errors[:] = [text for text in book.watch.errors if not any(words in text for words in its_own)]


def test_after_the_kernel_is_back_all_can_be_run_again(book):
    book.notebook.evaluate("(w.content.widgets.forEach((one) => one.model.clearExecution?.()), null)")
    book.notebook.run_all()
    ready(in_view(root(book, "grid")), ".mma-grid")
    assert book.ask("print(grid.selected_ids)") == "[]"


# Elsewhere


def test_in_notebook_7(lab, browser, browser_context_args, watching, pytestconfig):
    """Shown, its cells run by the keyboard, and a verdict given."""
    name = notebook_file(lab.folder, "seven.ipynb", [CELLS["setup"], CELLS["explorer"]])
    context = browser.new_context(**browser_context_args, viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    watch = watching(page)
    page.goto(f"http://127.0.0.1:{lab.port}/notebooks/{name}?token={lab.token}", wait_until="domcontentloaded")
    page.get_by_text("Python 3 (ipykernel)").first.wait_for(timeout=READY_MS)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=READY_MS)
    watch.errors.clear()
    page.locator(".jp-Notebook .jp-Cell").first.locator(".cm-content").click()
    for _ in range(2):
        page.keyboard.press("Shift+Enter")
    widget = page.locator(".jp-OutputArea-output .mma-root")
    ready(widget, ".mma-explorer")
    ready(widget, ".mma-grid")
    row = widget.locator("tr[data-id]").first
    row.focus()
    page.keyboard.press("a")
    row.get_by_role("button", name="accept:", pressed=True).wait_for()
    page.screenshot(path=Path(pytestconfig.getoption("--output")) / "widget-notebook-7.png")
    assert [text for text in watch.errors if not text.startswith("[yjs")] == []  # Notebook's own
    assert watch.requests_elsewhere == []
    context.close()
