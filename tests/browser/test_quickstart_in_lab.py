"""The first notebook as a learner meets it: copied by `mmaudit lab`, opened in JupyterLab, all cells run."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

NAME = "00_quickstart.ipynb"
ENOUGH = 4.5  # contrast of text, WCAG 2.2 level AA

# For each element of the result that holds text of its own: the text, and its colour with those behind it, front first.
COLOURS = """root => {
  const behind = e => e ? [getComputedStyle(e).backgroundColor, ...behind(e.parentElement)] : [];
  return [root, ...root.querySelectorAll('*:not(style)')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim()))
    .map(e => [e.textContent.trim(), [getComputedStyle(e).color, ...behind(e)]]);
}"""


@pytest.fixture(scope="module")
def quickstart(browser, browser_context_args, lab, open_in_lab, watching, pytestconfig):
    """Return the notebook after Run All, and what happened on its page."""
    command = [sys.executable, "-m", "mmaudit.cli", "lab", str(lab.folder), "--copy-only"]
    subprocess.run(command, check=True, capture_output=True)
    context = browser.new_context(**browser_context_args, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    watch = watching(page)
    notebook = open_in_lab(page, NAME)
    watch.errors.clear()  # what JupyterLab itself says while it starts is not about our output
    notebook.run_all()
    shown = Path(pytestconfig.getoption("--output"))
    notebook.picture(shown / "quickstart-light.png")
    yield SimpleNamespace(notebook=notebook, page=page, watch=watch, shown=shown)
    notebook.close()
    context.close()


def over(colours):
    """Return red, green and blue in [0, 255] of CSS colours that lie on each other, front first, on white paper."""
    seen = (255.0, 255.0, 255.0)
    for colour in reversed(colours):
        numbers = [float(number) for number in re.fullmatch(r"rgba?\((.+)\)", colour)[1].split(",")]
        *rgb, alpha = numbers if len(numbers) == 4 else [*numbers, 1.0]
        seen = tuple(alpha * new + (1 - alpha) * old for new, old in zip(rgb, seen, strict=True))
    return seen


def luminance(rgb):
    """Return the relative luminance as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (n / 255 for n in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colours):
    """Return the contrast of the first colour with what lies behind it, from 1 to 21."""
    dark, light = sorted((luminance(over(colours)), luminance(over(colours[1:]))))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_standard():
    white, grey, nothing = "rgb(255, 255, 255)", "rgb(118, 118, 118)", "rgba(0, 0, 0, 0)"
    assert contrast(["rgb(0, 0, 0)", white]) == pytest.approx(21)
    assert contrast([grey, nothing, white, "rgb(0, 0, 0)"]) == pytest.approx(4.54, abs=0.005)
    assert over(["rgba(0, 0, 0, 0.5)", nothing, white]) == (127.5, 127.5, 127.5)


def test_every_cell_ran_without_an_error_or_a_warning(quickstart):
    outputs = quickstart.notebook.outputs()
    assert len(outputs) > 5
    assert [one for cell in outputs for one in cell if one["output_type"] == "error"] == []
    assert [one["text"] for cell in outputs for one in cell if one.get("name") == "stderr"] == []


def test_the_result_is_shown(quickstart):
    view = quickstart.page.locator(".jp-OutputArea-output .mma-nb")
    assert view.count() == 1
    headline = view.locator(".mma-nb-headline")
    assert headline.is_visible()
    assert re.search(r"\d+ of \d+ candidate slices", headline.inner_text())
    assert view.locator("table tbody tr").count() >= 2


def test_the_table_of_findings_is_shown(quickstart):
    table = quickstart.page.locator(".jp-OutputArea-output table.dataframe", has_text="q_value")
    assert table.count() == 1
    assert table.is_visible()
    # The view tells the findings; the table also holds those that say the same in other words.
    told = quickstart.page.locator(".jp-OutputArea-output .mma-nb table tbody tr").count()
    headline = quickstart.page.locator(".jp-OutputArea-output .mma-nb .mma-nb-headline").inner_text()
    again = re.search(r"and (\d+) more", headline)
    assert table.locator("tbody tr").count() == told + (int(again[1]) if again else 0)


def test_every_figure_is_shown_and_told(quickstart):
    figures = quickstart.page.locator(".jp-OutputArea-output img:not(.mma-root img)")  # the grid tells of its tiles
    assert figures.count() >= 3
    for figure in figures.all():
        assert figure.evaluate("one => one.complete && one.naturalWidth") > 100
        assert len(figure.get_attribute("alt")) > 20


def test_the_worst_slice_is_found_looked_at_read_and_judged(quickstart):
    quickstart.page.set_viewport_size({"width": 1440, "height": 1500})  # the whole explorer is in its pictures
    explorer = quickstart.page.locator(".jp-OutputArea-output .mma-explorer")
    explorer.scroll_into_view_if_needed()
    row = explorer.locator("tr[data-id]").first
    expect(row).to_contain_text("AP supine")
    expect(row).to_contain_text("confirmed")
    row.click()
    explorer.locator(".mma-grid[data-ready='1']").wait_for()
    tiles = explorer.locator(".mma-grid [role=gridcell] img")
    assert tiles.count() >= 8
    assert all(tile.evaluate("one => one.complete && one.naturalWidth > 0") for tile in tiles.all()[:4])
    explorer.locator(".mma-grid [role=gridcell]").nth(4).click()
    explorer.locator(".mma-case[data-ready='1']").first.wait_for()
    explorer.screenshot(path=quickstart.shown / "explorer.png")  # the README shows such pictures
    row.focus()
    quickstart.page.keyboard.press("Enter")
    explorer.locator(".mma-slice-card").get_by_text("held on held-out patients").first.wait_for()
    explorer.locator(".mma-grid [role=gridcell]").first.dblclick()
    reader = explorer.locator(".mma-reader[data-ready='1']")
    reader.wait_for()
    expect(reader).to_contain_text("FINDINGS")
    reader.screenshot(path=quickstart.shown / "reader.png")
    quickstart.page.keyboard.press("Escape")
    reader.wait_for(state="hidden")
    row.focus()
    quickstart.page.keyboard.press("r")
    quickstart.notebook.until("result.verdicts['verdict'].tolist() == ['reject']")
    quickstart.page.keyboard.press("Control+z")
    quickstart.notebook.until("result.verdicts['verdict'].tolist() == ['accept']")
    quickstart.page.set_viewport_size({"width": 1280, "height": 900})


def test_nothing_went_wrong_on_the_page_and_nothing_left_the_machine(quickstart):
    assert quickstart.watch.errors == []
    assert quickstart.watch.dialogs == []
    assert any(url.startswith("ws://127.0.0.1") for url in quickstart.watch.requests)
    assert quickstart.watch.requests_elsewhere == []


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"])
def test_the_result_is_readable_in_every_theme(quickstart, theme):
    quickstart.notebook.use_theme(theme)
    quickstart.notebook.picture(quickstart.shown / f"quickstart-{theme.lower().replace(' ', '-')}.png")
    texts = quickstart.page.locator(".jp-OutputArea-output .mma-nb").evaluate(COLOURS)
    assert len(texts) > 10
    assert [text for text, colours in texts if contrast(colours) < ENOUGH] == []
