"""A workshop as it begins: `mmaudit lab` in a terminal, then what JupyterLab shows before anybody has clicked."""

import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.browser.conftest import OPEN_MS, SETTINGS, Lab, LabNotebook

FIRST, CONTENTS = "00_quickstart.ipynb", "README.md"
CONTEXT = "[...jupyterapp.shell.widgets('main')].map(w => w.context).filter(c => c)"


class Workshop(Lab):
    """`mmaudit lab FOLDER`, for a user who has workspaces and a kernel `python3` of another Python."""

    def __init__(self, base):
        self.folder, self.user = base / "notebooks", base / "user"
        self.token, self.log = secrets.token_hex(16), base / "lab.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        for path, content in {
            "config/labconfig/default_setting_overrides.json": SETTINGS,
            "data/kernels/python3/kernel.json": {"argv": ["false"], "display_name": "Another", "language": "python"},
            "workspaces/default-37a8.jupyterlab-workspace": {"data": {}, "metadata": {"id": "default"}},
        }.items():
            (self.user / path).parent.mkdir(parents=True)
            (self.user / path).write_text(json.dumps(content))
        self.before = self.workspaces()
        variables = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        }
        own = {name: str(self.user / path) for name, path in variables.items()}
        own["JUPYTER_PREFER_ENV_PATH"] = "0"  # the user's kernels before those of the environment
        command = [sys.executable, "-m", "mmaudit.cli", "lab", self.folder, "--no-browser", "--"]
        command += ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={self.token}", "--LabApp.expose_app_in_browser=True"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=base, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT
            )

    def workspaces(self):
        """Return what the user has of them."""
        return {path.name: path.read_text() for path in (self.user / "workspaces").iterdir()}


class Shown(LabNotebook):
    """A notebook that JupyterLab has opened by itself."""

    def __init__(self, page, path):
        self.page, self.path = page, path
        self.wait("k && k.connectionStatus === 'connected' && k.status === 'idle'", OPEN_MS)


@pytest.fixture(scope="module")
def workshop(browser, browser_context_args, watching, tmp_path_factory, pytestconfig):
    """Return the page that `mmaudit lab` opens, when JupyterLab has put everything on it."""
    server = Workshop(tmp_path_factory.mktemp("workshop"))
    server.wait()
    context = browser.new_context(**browser_context_args, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    watch = watching(page)
    # What a browser opens; the address that is printed leads to the same workspace
    page.goto(f"http://127.0.0.1:{server.port}/lab/tree/{FIRST}?token={server.token}", wait_until="domcontentloaded")
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell", timeout=OPEN_MS, polling=100)
    page.evaluate("() => jupyterapp.started.then(() => jupyterapp.restored)")
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=OPEN_MS)
    page.locator(".jp-MarkdownViewer h1").wait_for(timeout=OPEN_MS)
    page.screenshot(path=Path(pytestconfig.getoption("--output"), "workshop.png"))
    yield SimpleNamespace(page=page, server=server, watch=watch)
    context.close()
    server.stop()


def test_the_first_notebook_and_the_contents_are_open_and_nothing_else(workshop):
    shown = workshop.page.evaluate(f"() => {CONTEXT}.map(c => c.path)")
    assert sorted(shown) == [FIRST, CONTENTS]
    contents = workshop.page.locator(".jp-MarkdownViewer")
    assert contents.is_visible()
    assert "Not for clinical use" in contents.inner_text()
    assert workshop.page.locator(".jp-Notebook").is_visible()
    assert workshop.page.evaluate("() => jupyterapp.shell.currentWidget.context.path") == FIRST
    assert workshop.page.locator(".jp-Dialog").count() == 0


def test_the_kernel_is_that_of_the_environment(workshop):
    notebook = Shown(workshop.page, FIRST)
    assert notebook.ask("import sys; print(sys.executable)") == sys.executable


def test_a_link_of_the_contents_opens_its_notebook(workshop):
    link = workshop.page.locator(".jp-MarkdownViewer td a").nth(1)
    name = link.get_attribute("href").rpartition("/")[2].partition("?")[0]
    assert (workshop.server.folder / name).is_file()
    link.click()
    workshop.page.wait_for_function(
        f"name => {CONTEXT}.some(c => c.path === name && c.isReady)", arg=name, timeout=OPEN_MS, polling=100
    )


def test_nothing_of_the_user_is_touched_and_nothing_left_the_machine(workshop):
    assert workshop.server.workspaces() == workshop.server.before
    assert workshop.watch.requests_elsewhere == []
    assert workshop.watch.dialogs == []
