"""The notebooks as web pages with all that they put out, to read without Jupyter and without a network.

nbconvert makes the body of each page. The page around it is our own: nbconvert's asks other hosts for MathJax, Mermaid
and the widgets' code. A widget is shown by the table that it leaves beside itself.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmaudit._errors import InputError, MissingExtraError
from mmaudit.workshop._suite import CONTENTS, Entry, contents, packaged

__all__ = ["write_site"]

INDEX = "index.html"
MARK = '<meta name="generator" content="mmaudit">'  # tells a site of ours from other folders
DISPLAYED = ["text/html", "text/markdown", "image/svg+xml", "text/latex", "image/png", "image/jpeg", "text/plain"]

# A solution is opened by a click, with what it puts out; a table that is too wide can be moved by the keyboard.
BODY = """\
{%- extends 'basic/index.html.j2' -%}
{% block any_cell %}
{%- set tags = cell.metadata.get('tags', []) -%}
{%- if 'instructor' in tags -%}
{%- elif 'solution' in tags -%}
<details class="solution"><summary>Solution</summary>{{ super() }}</details>
{%- else -%}
{{ super() }}
{%- endif -%}
{% endblock any_cell %}
{% block in_prompt %}{% endblock %}
{% block empty_in_prompt %}{% endblock %}
{% block output_area_prompt %}{% endblock %}
{% block data_html scoped %}
<div class="output_html" tabindex="0" role="group" aria-label="output">{{ output.data['text/html'] }}</div>
{% endblock %}
"""

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{mark}
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<nav aria-label="{place}">{links}</nav>
<main>
{body}
</main>
<nav aria-label="{place}, again">{links}</nav>
</body>
</html>
"""

STYLE = """\
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 0 1rem 3rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.55 system-ui, sans-serif; }
nav { display: flex; flex-wrap: wrap; gap: 0.3rem 1.5rem; justify-content: space-between; padding: 0.8rem 0;
  border-bottom: 1px solid #ccc; }
main + nav { border: 0; border-top: 1px solid #ccc; margin-top: 2rem; }
a { color: #00558c; }
h1, h2, h3 { line-height: 1.25; margin: 1.6em 0 0.5em; }
pre, code { font: 0.875rem/1.45 ui-monospace, monospace; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.input_area { background: #f5f5f5; border-left: 3px solid #bbb; padding: 0.5rem 0.8rem; margin: 0.8rem 0 0.4rem; }
.output_html { overflow-x: auto; }
.output_area { margin: 0.4rem 0 0.4rem 0.9rem; }
.output_stderr { background: #fdf0e6; }
img { max-width: 100%; height: auto; }
table:not(.mma-nb table) { border-collapse: collapse; font-size: 0.875rem; }
:is(td, th):not(.mma-nb *) { border: 1px solid #ccc; padding: 0.2rem 0.5rem; text-align: left; }
details.solution, .text_cell details { border-left: 3px solid #0072b2; padding: 0.2rem 0.8rem; margin: 0.8rem 0; }
summary { cursor: pointer; font-weight: 600; }
.anchor-link { display: none; }
.highlight :is(.k, .kn, .kc, .ow) { color: #00558c; font-weight: 600; }
.highlight :is(.c, .c1, .cm) { color: #5f5f5f; }
.highlight :is(.s, .s1, .s2, .sa, .si, .se) { color: #8a3b00; }
.highlight :is(.mi, .mf) { color: #6a1b9a; }
.ansi-red-fg { color: #b00020; }
"""


def write_site(out: Path, *, folder: Path | None = None, execute: bool = True, progress: bool = False) -> None:
    """Write each notebook as a page, and an index of them: the table of contents.

    Parameters
    ----------
    out : path
        The site: a new or empty folder, or an earlier site, which is replaced once the new one is whole.
    folder : path or None
        Where the notebooks lie, with a README.md as table of contents. None: those of the package.
    execute : bool
        Whether to run the notebooks, each in a fresh kernel of this Python; otherwise as they are.
    progress : bool
        Whether to show which notebook runs.

    Raises
    ------
    InputError
        `out` holds something else, or a notebook does not run to its end; the message names it.
    MissingExtraError
        JupyterLab, which brings what runs and converts notebooks, is not installed.
    """
    try:
        from nbconvert import HTMLExporter
        from nbconvert.filters import markdown2html
    except ImportError:
        raise MissingExtraError("a site of notebooks", "nbconvert", "lab") from None

    _check_site(out)
    folder = packaged() if folder is None else folder
    entries = contents(folder)
    exporter = HTMLExporter(raw_template=BODY, exclude_anchor_links=True)
    exporter.config.NbConvertBase.display_data_priority = DISPLAYED
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as work:
        pages, copies = Path(work, "pages"), Path(work, "notebooks")
        pages.mkdir()
        shutil.copytree(folder, copies, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        bar = tqdm(entries, unit="notebook", disable=not progress, leave=False)
        for number, entry in enumerate(bar):
            bar.set_description(entry.file)
            notebook = _executed(copies / entry.file) if execute else _read(copies / entry.file)
            body, _ = exporter.from_notebook_node(notebook)
            page = _page(body, title=entry.title, links=_links(entries, number))
            (pages / _address(entry.file)).write_text(page, encoding="utf-8")
        text = (folder / CONTENTS).read_text("utf-8")
        title = text.lstrip("# ").splitlines()[0]
        page = _page(markdown2html(text), title=title, links=[f'<a href="{_address(entries[0].file)}">Begin</a>'])
        (pages / INDEX).write_text(page, encoding="utf-8")
        if out.exists():
            out.rename(Path(work, "earlier"))
        pages.rename(out)


def _check_site(out: Path) -> None:
    """Raise where something else than a site of ours would be lost."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    index = out / INDEX
    if not (index.is_file() and MARK in index.read_text("utf-8", errors="replace")):
        raise InputError(
            "out",
            "a new or empty folder, or an earlier site",
            f"{str(out)!r}, which holds something else",
            "Give another name.",
        )


def _read(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


def _executed(path: Path) -> Any:
    """Return the notebook with what its cells put out."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    class OwnKernel(AsyncKernelManager):
        """A kernel of this Python, whatever kernel a user has of the name that the notebooks give."""

        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3", language="python")

    notebook = _read(path)
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, resources=where, kernel_manager_class=OwnKernel, timeout=None)
    client.reset_execution_trackers()
    with client.setup_kernel():  # not `execute`, which takes the handling of Ctrl-C for itself
        for number, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, number)
            except (CellExecutionError, DeadKernelError) as error:
                what = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else "its kernel died"
                got = f"{path.name}, cell {cell.get('id', number)!r}: {what}"
                raise InputError(
                    "notebooks", "notebooks that run to their end", got, "Open it in JupyterLab and run it there."
                ) from None
    return notebook


def _address(file: str) -> str:
    return str(Path(file).with_suffix(".html"))


def _links(entries: list[Entry], number: int) -> list[str]:
    """Return the links of a page: to the one before, to the contents, to the next one."""
    before = entries[number - 1] if number else None
    after = entries[number + 1] if number + 1 < len(entries) else None
    links = [f'<a href="{INDEX}">Contents</a>']
    if before:
        links.insert(0, f'<a rel="prev" href="{_address(before.file)}">Before: {escape(before.title)}</a>')
    if after:
        links.append(f'<a rel="next" href="{_address(after.file)}">Next: {escape(after.title)}</a>')
    return links


def _page(body: str, *, title: str, links: list[str]) -> str:
    """Return a whole page; links to notebooks become links to their pages."""
    body = re.sub(r'(href="[\w./-]*)\.ipynb(?=["#])', r"\1.html", body)
    return PAGE.format(
        mark=MARK, title=escape(title), style=STYLE, body=body, links=" ".join(links), place="Between notebooks"
    )
