"""How quick the widgets are with many cases, in a real JupyterLab; nothing is made smaller for them.

    python -m tests.bench.widgets [--n 50000] [--minutes 1] [--out table.md]

Cases are drawn, and their images are arrays in memory, so that what is measured is the widgets and not a disk. Times
are from the moment the cell is run (or the key pressed) until `data-ready` says that all pictures to be seen are drawn.
"Bytes" are all that the page's connection to the server received from running the cell until then. Memory is that of
the page's JavaScript and of all its elements, after a collection of garbage.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGS, DEBIAN, Lab, LabNotebook

SIDE_PX = 64
SETUP = """
import numpy as np
import pandas as pd
import mmaudit as mma
from mmaudit.classifiers._images import ArrayImages
n, random = {n}, np.random.default_rng(0)
y = np.arange(n) % 2
supine = random.random(n) < 0.2
proba = np.clip(0.2 + 0.6 * y + random.normal(0, 0.1, n), 0.01, 0.99)
proba = np.where((y == 1) & supine & (random.random(n) < 0.6), 0.1, proba)
frame = pd.DataFrame({{"label": y, "proba": proba, "patient": np.arange(n) // 2, "age": random.integers(18, 95, n),
                      "view": np.where(supine, "AP supine", "PA"), "site": random.integers(0, 8, n).astype(str)}})
pixels = random.integers(0, 255, (n, {side}, {side}), dtype=np.uint8)
vectors = random.normal(size=(n, 32)).astype(np.float32) + supine[:, None]
data = mma.AuditData.from_frame(frame, label="label", y_proba="proba", patient_id="patient",
    metadata=["age", "view", "site"], images=ArrayImages(pixels), embeddings={{"image": vectors}})
result = mma.audit(data, modalities=("metadata",), n_slices=5, n_refits=0, n_permutations=199, random_state=0)
"""
CELLS = {
    "grid": "grid = mma.widgets.SliceGrid(result, show='all')\ngrid",
    "explorer": "explorer = result.explore()\nexplorer",
}
READY = {"grid": ".mma-grid", "explorer": ".mma-explorer"}
# The first frame in which all parts that are to be seen say that they are drawn, on the page's own clock.
WATCH = """(parts) => { window.drawn = null; const started = performance.now();
  const look = () => {
    const found = parts.map((part) => document.querySelector(`.jp-OutputArea-output ${part}`));
    if (found.every((one) => one && one.dataset.ready === "1")) window.drawn = performance.now() - started;
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look); }"""
JUMP = """() => { const grid = document.querySelector('.jp-OutputArea-output .mma-grid [role=grid]');
  const root = grid.closest('.mma-grid'), started = performance.now();
  window.jumped = null;
  grid.scrollTop = grid.scrollHeight;
  const look = () => { if (root.dataset.ready === '1') window.jumped = performance.now() - started;
    else requestAnimationFrame(look); };
  requestAnimationFrame(() => requestAnimationFrame(look)); }"""


def main() -> None:
    """Print a table of what was measured, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--minutes", type=float, default=1.0, help="of scrolling")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("MMAUDIT_CACHE", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as base, sync_playwright() as playwright:
        lab = Lab(Path(base))
        lab.wait()
        path = os.environ.get("CHROMIUM") or (DEBIAN if Path(DEBIAN).exists() else None)
        browser = playwright.chromium.launch(args=ARGS, executable_path=path)
        try:
            rows = measured(browser, lab, options)
        finally:
            browser.close()
            lab.stop()
    table = "\n".join(["| what | measured | goal |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])
    print(f"{options.n:,} cases, images of {SIDE_PX} px in memory\n\n{table}")
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")


def measured(browser, lab, options):
    """Yield what was measured, in words, and the goal."""
    sources = [SETUP.format(n=options.n, side=SIDE_PX), *CELLS.values()]
    file = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in sources])
    file.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(file, lab.folder / "bench.ipynb")
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    received = [0]
    session.on("Network.webSocketFrameReceived", lambda frame: received.append(bytes_of(frame["response"])))
    notebook = LabNotebook(page, lab, "bench.ipynb")
    run(notebook, 0)
    notebook.wait("w.content.widgets[0].model.executionCount !== null && k.status === 'idle'", 600_000)
    failed = [one for cell in notebook.outputs() for one in cell if one["output_type"] == "error"]
    if failed:
        raise RuntimeError("\n".join(failed[0]["traceback"]))
    rows = []
    for number, (name, goal) in enumerate((("grid", "0.5 s"), ("explorer", "1 s")), 1):
        times, sizes = [], []
        for _ in range(options.repeats):
            page.evaluate("() => document.querySelectorAll('.jp-OutputArea-output').forEach((one) => one.remove())")
            notebook.evaluate(
                "(w.content.widgets.forEach(c => c.model.type === 'code' && c.model.clearExecution()), null)"
            )
            received[:] = [0]
            page.evaluate(WATCH, [READY[name], *([".mma-table", ".mma-grid"] if name == "explorer" else [])])
            run(notebook, number)
            page.wait_for_function("() => window.drawn !== null")
            times.append(page.evaluate("() => window.drawn") / 1000)
            sizes.append(sum(received))
            notebook.wait("k.status === 'idle'", 120_000)
        rows.append((f"{name}: cell run to first full screen", spread(times, "s"), f"≤ {goal}"))
        rows.append((f"{name}: bytes before the first scroll", spread([s / 1e6 for s in sizes], "MB"), "≤ 1 MB"))
        jumps = []
        for _ in range(options.repeats):
            page.evaluate(
                "() => { document.querySelector('.jp-OutputArea-output .mma-grid [role=grid]').scrollTop = 0; }"
            )
            page.wait_for_function(
                "() => document.querySelector('.jp-OutputArea-output .mma-grid').dataset.ready === '1'"
            )
            page.evaluate(JUMP)
            page.wait_for_function("() => window.jumped !== null")
            jumps.append(page.evaluate("() => window.jumped") / 1000)
        rows.append((f"{name}: jump to the end", spread(jumps, "s"), "≤ 0.3 s"))
        if name == "grid":
            rows.append(
                (f"grid: memory over {options.minutes:g} min of scrolling", scrolled(page, session, options), "flat")
            )
    rows.append(("saved notebook with an explorer", saved_size(options), "≤ 0.2 MB"))
    notebook.close()
    return rows


def run(notebook, number):
    """Run a cell, and do not wait for it."""
    notebook.run_cell(number)


def bytes_of(response):
    """Return the size of a frame: base64 where it is binary."""
    data = response["payloadData"]
    return len(data) * 3 // 4 if response["opcode"] == 2 else len(data.encode())


def spread(values, unit):
    """Return the median and the range."""
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f} to {max(values):.2f}, {len(values)} runs)"


def scrolled(page, session, options):
    """Scroll to and fro, and return memory at each quarter of the time."""
    found = []
    steps = page.evaluate("() => document.querySelector('.jp-OutputArea-output .mma-grid [role=grid]').scrollHeight")
    for quarter in range(5):
        end = time.monotonic() + 60 * options.minutes / 4 * (quarter > 0)
        at = 0
        while time.monotonic() < end:
            at = (at + 1700) % steps
            page.evaluate(
                "(to) => { document.querySelector('.jp-OutputArea-output .mma-grid [role=grid]').scrollTop = to; }", at
            )
            page.wait_for_timeout(30)
        session.send("HeapProfiler.collectGarbage")
        metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]} if found else {}
        if not metrics:
            session.send("Performance.enable")
            metrics = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
        found.append((metrics["JSHeapUsedSize"] / 1e6, int(metrics["Nodes"])))
    return "; ".join(f"{heap:.0f} MB, {nodes:,} nodes" for heap, nodes in found)


def saved_size(options):
    """Return the size of a notebook with an explorer that was executed and saved with the state of its widgets."""
    from nbclient import NotebookClient

    cells = [SETUP.format(n=options.n, side=SIDE_PX), CELLS["explorer"]]
    file = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source.strip()) for source in cells])
    NotebookClient(file, timeout=600, kernel_name="python3", store_widget_state=True).execute()
    return f"{len(json.dumps(file).encode()) / 1e6:.2f} MB"


if __name__ == "__main__":
    main()
