"""From a right click on a real table to its audit, in JupyterLab: nobody writes a line of Python."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import expect

import mmaudit as mma

REAL = Path(os.environ.get("MMAUDIT_REAL_DATA", Path(__file__).parents[3] / "shared" / "data")) / "covid-chestxray"
KERNEL_MS, RUN_MS = 60_000, 240_000
PATIENTS = 60  # of the table in the older JupyterLab, so that the test takes no longer than it must
CELLS = """path => {
  const book = [...jupyterapp.shell.widgets('main')].find((one) => one.context?.path === path);
  return book.content.widgets.filter(({ model }) => model.type === 'code')
    .map(({ model }) => [model.executionCount, model.outputs.toJSON().map((one) => one.ename ?? 'shown')]);
}"""


@pytest.fixture
def table(lab_page):
    """A folder with the table of the real set, and its images where the table says that they are."""
    lab_page.close_all()
    folder = lab_page.folder / "covid"
    folder.mkdir()
    frame = pd.read_csv(REAL / "metadata.csv", dtype=str)
    if lab_page.is_older:
        frame = frame[frame["patientid"].isin(frame["patientid"].unique()[:PATIENTS])]
    frame.to_csv(folder / "metadata.csv", index=False)
    (folder / "images").symlink_to(REAL / "images")
    yield lab_page
    lab_page.close_all()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real radiographs are not there")
@pytest.mark.timeout(900)
def test_a_right_click_on_the_real_table_becomes_an_audit(table):
    page = table.page
    table.command("filebrowser:open-path", path="covid")
    page.locator(".jp-DirListing-item", has_text="metadata.csv").click(button="right")
    page.get_by_role("menuitem", name="Audit with mmaudit").click()
    roles = {"finding": "label", "patientid": "patient_id", "clinical_notes": "report", "view": "metadata"}
    for name, value in roles.items():
        role = page.get_by_role("combobox", name=f"Role of {name}", exact=True)
        expect(role).to_have_value(value, timeout=KERNEL_MS)
    run = page.get_by_role("button", name="Make notebook and run it")
    expect(run).to_have_attribute("aria-disabled", "false", timeout=KERNEL_MS)
    run.click()
    folder, path = table.folder / "covid", "covid/metadata-audit.ipynb"
    expect(page.get_by_role("tab", name="metadata-audit.ipynb")).to_be_visible(timeout=KERNEL_MS)
    failed = f"({CELLS})(path).flat(2).some((one) => one !== 'shown' && typeof one === 'string')"
    ended = f"path => ({CELLS})(path).every(([count]) => count) || {failed}"
    page.wait_for_function(ended, arg=path, timeout=RUN_MS, polling=200)
    cells = page.evaluate(CELLS, path)
    assert len(cells) > 6
    assert {kind for _, kinds in cells for kind in kinds} == {"shown"}
    # The explorer of the notebook, and what was saved, show one audit.
    page.locator(".jp-OutputArea-output .mma-table[data-ready='1'] tr[data-id]").first.wait_for(timeout=KERNEL_MS)
    for _ in range(200):
        if (folder / "metadata-audit.html").exists():
            break
        page.wait_for_timeout(100)
    result = mma.load_result(folder / "metadata-audit.mmaudit.json")
    assert result.data_summary["n_samples"] > 50
    assert json.loads((folder / "metadata-audit.mmaudit.json").read_text("utf-8"))["page"]["cases"]["columns"]
    table.command("docmanager:open", path="covid/metadata-audit.mmaudit.json")
    rows = page.locator(".mma-saved[data-ready='1'] .mma-table tr[data-id]")
    rows.first.wait_for()
    shown = rows.evaluate_all("rows => rows.map((row) => row.dataset.id)")
    assert shown == result.candidates["slice_id"].tolist()
    assert table.watch.requests_elsewhere == []


def test_a_saved_audit_is_explored_in_a_notebook(lab_page, _small_audit):
    if lab_page.is_older:
        pytest.skip("the same code, and a kernel takes its time")
    lab_page.close_all()
    _small_audit.save(lab_page.folder / "small.mmaudit.json")
    lab_page.command("mmaudit:explore", path="small.mmaudit.json")
    expect(lab_page.page.get_by_role("tab", name="small-result.ipynb")).to_be_visible(timeout=KERNEL_MS)
    assert "load_result" in (lab_page.folder / "small-result.ipynb").read_text("utf-8")
    lab_page.close_all()
