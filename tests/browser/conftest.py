"""A Chromium for the browser tests, a page that notes all that goes wrong on it, and a JupyterLab of its own."""

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import cloudpickle
import filelock
import numpy as np
import pytest
from playwright.sync_api import expect

import mmaudit as mma

expect.set_options(timeout=20_000)  # other tests may run beside these

DEBIAN = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    """Name the browser: the one in CHROMIUM, else the system's, else the one that Playwright installs."""
    path = os.environ.get("CHROMIUM") or (DEBIAN if Path(DEBIAN).exists() else None)
    return {**browser_type_launch_args, "args": ARGS, **({"executable_path": path} if path else {})}


class Watch:
    """What happened on a page that should not have."""

    def __init__(self, page):
        self.errors, self.dialogs, self.requests = [], [], []
        page.on("websocket", lambda s: self.requests.append(s.url))
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self.requests.append(r.url))
        page.on("dialog", self._dismiss)

    def _dismiss(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    @property
    def network_requests(self):
        return [url for url in self.requests if not url.startswith(("file://", "data:"))]

    @property
    def requests_elsewhere(self):
        """Requests that left this machine."""
        local = (None, "127.0.0.1")  # None: data and blobs have no host
        return [url for url in self.requests if urlsplit(url).hostname not in local]


@pytest.fixture
def watch(page):
    return Watch(page)


@pytest.fixture(scope="session")
def watching():
    """Return `Watch`, for a page that outlives a test."""
    return Watch


# --- JupyterLab -------------------------------------------------------------------------------------------------------

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # all cells are in the page, seen or not
}
START_S = 60
OPEN_MS, RUN_MS = 60_000, 300_000
POLL_MS = 100  # else Playwright looks in every frame, which makes the page draw all the time
WIDGETS = Path(__file__).parents[2] / "widgets"
OLDER = "4.4.9"  # that of Binder's images


class Lab:
    """A JupyterLab server that reads and writes nothing of the user's.

    It keeps IPYTHONDIR, so that its kernels refuse the network as those of all notebooks under test do. Its extension
    is that of the checkout. `other`: a folder with another JupyterLab than that of the environment, which lends it the
    rest.
    """

    def __init__(self, base, other=None):
        self.folder = base / "notebooks"
        self.folder.mkdir()
        self.token = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = base / "config" / "labconfig" / "default_setting_overrides.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(SETTINGS))
        own = {
            "JUPYTER_CONFIG_DIR": base / "config",
            "JUPYTER_DATA_DIR": base / "data",
            "JUPYTER_RUNTIME_DIR": base / "runtime",
            "JUPYTERLAB_SETTINGS_DIR": base / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": base / "workspaces",
        }
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0"]
        command += [f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.folder}"]
        command += ["--ServerApp.terminals_enabled=False", "--LabApp.news_url=None"]
        command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        command += ["--LabApp.expose_app_in_browser=True"]  # the tests give JupyterLab its own commands
        command += [f"--LabApp.extra_labextensions_path={_extension_of_checkout(base)}"]
        if other is not None:
            own |= {"PYTHONPATH": other, "JUPYTERLAB_DIR": other / "share" / "jupyter" / "lab"}
        self.log = base / "lab.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=os.environ | {name: str(path) for name, path in own.items()},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self):
        """Wait until the server answers; its end, or silence, is an error."""
        for _ in range(10 * START_S):
            try:
                self.process.wait(0.1)
            except subprocess.TimeoutExpired:
                if self._answers():
                    return
            else:
                break
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text(errors='replace')[-4000:]}")

    def _answers(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/api/status", headers={"Authorization": f"token {self.token}"})
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def address(self):
        """Return the address of an empty workspace, which restores nothing of an earlier one."""
        return f"http://127.0.0.1:{self.port}/lab/workspaces/t{secrets.token_hex(4)}/?token={self.token}&reset"


def _extension_of_checkout(base):
    """Return a folder of extensions with ours, as it is now; the environment's copy is as old as its installation."""
    extension = base / "labextensions" / "mmaudit"
    extension.mkdir(parents=True)
    (extension / "static").symlink_to(WIDGETS)
    for name in ("package.json", "install.json"):
        (extension / name).symlink_to(WIDGETS / "lab" / name)
    return extension.parent


def go_to_lab(page, address):
    """Open JupyterLab, and wait until its layout is restored."""
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_function("() => window.jupyterapp && window.jupyterapp.shell", timeout=OPEN_MS, polling=POLL_MS)
    page.evaluate("() => jupyterapp.started.then(() => jupyterapp.restored)")
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=OPEN_MS)


class LabPage:
    """A page on which JupyterLab is open, driven by its own commands."""

    def __init__(self, page, lab):
        self.page, self.lab, self.folder = page, lab, lab.folder
        self.address = lab.address()
        self.open(self.address)

    def open(self, address):
        go_to_lab(self.page, address)

    def reload(self):
        """Load the page again, as a user does: what was open is restored."""
        self.page.wait_for_timeout(1500)  # JupyterLab saves its layout a second after it has changed
        self.open(self.address.replace("&reset", ""))

    def command(self, name, **arguments):
        """Execute a command, and wait for its end."""
        self.page.evaluate(
            "([name, arguments]) => jupyterapp.commands.execute(name, arguments).then(() => null)", [name, arguments]
        )

    def start(self, name, **arguments):
        """Execute a command that waits for the user."""
        self.page.evaluate(
            "([name, arguments]) => { jupyterapp.commands.execute(name, arguments); }", [name, arguments]
        )

    def kernels(self):
        """Return how many kernels the server runs."""
        return self.page.evaluate(
            """async () => {
                const { kernels } = jupyterapp.serviceManager;
                await kernels.refreshRunning();
                return [...kernels.running()].length;
            }"""
        )

    def close_all(self):
        """Close all tabs and dialogs, shut all kernels down, and go back to the first folder; ask nobody."""
        self.page.evaluate(
            """async () => {
                for (const dialog of document.querySelectorAll('dialog')) dialog.close();
                for (const dialog of document.querySelectorAll('.jp-Dialog')) {
                    dialog.dispatchEvent(new KeyboardEvent('keydown', { keyCode: 27 }));
                }
                for (const widget of [...jupyterapp.shell.widgets('main')]) {
                    if (widget.context) widget.context.model.dirty = false;
                    widget.dispose();
                }
                await jupyterapp.serviceManager.sessions.shutdownAll();
                await jupyterapp.commands.execute('filebrowser:go-to-path', { path: '/' });
            }"""
        )


class LabNotebook:
    """A notebook that is open in JupyterLab, driven by JupyterLab's own commands and read from its own model."""

    # The widget of the notebook, and its kernel once there is one
    WIDGET = "[...jupyterapp.shell.widgets('main')].find(w => w.context && w.context.path === path)"
    KERNEL = "w && w.context.isReady && w.context.sessionContext.session && w.context.sessionContext.session.kernel"

    def __init__(self, page, lab, path):
        self.page, self.path = page, path
        go_to_lab(page, lab.address())
        self.command("docmanager:open", path=path, factory="Notebook")
        self.wait("k && k.connectionStatus === 'connected' && k.status === 'idle'", OPEN_MS)

    def command(self, name, **arguments):
        """Execute a command. Its result stays in the page: most are objects that cannot leave it."""
        self.page.evaluate(
            "([name, arguments]) => jupyterapp.commands.execute(name, arguments).then(() => null)", [name, arguments]
        )

    def _function(self, expression):
        return f"path => {{ const w = {self.WIDGET}, k = {self.KERNEL}; return {expression}; }}"

    def evaluate(self, expression):
        """Return a JavaScript expression of w, the notebook's widget, and k, its kernel."""
        return self.page.evaluate(self._function(expression), self.path)

    def wait(self, expression, timeout_ms):
        self.page.wait_for_function(self._function(expression), arg=self.path, timeout=timeout_ms, polling=POLL_MS)

    def run_all(self, timeout_ms=RUN_MS):
        """Run all cells until each has been counted and none runs, or one has failed, or the time is over."""
        # Not awaited: the promise of the command has no time limit.
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        cells = "w.content.widgets.filter(c => c.model.type === 'code' && c.model.sharedModel.getSource().trim())"
        done = "c.model.executionCount !== null && c.model.executionState !== 'running'"
        failed = "c.model.outputs.toJSON().some(o => o.output_type === 'error')"
        self.wait(
            f"k && k.status === 'idle' && ({cells}.every(c => {done}) || {cells}.some(c => {failed}))", timeout_ms
        )

    def run_cell(self, number):
        """Run one cell; do not wait for its end."""
        self.evaluate(f"(w.content.activeCellIndex = {number}, null)")
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-cell'); }")

    def ask(self, code):
        """Return what code prints in the kernel, outside any cell."""
        return self.page.evaluate(
            f"""async ([path, code]) => {{
                const w = {self.WIDGET}, k = {self.KERNEL}, said = [];
                const asked = k.requestExecute({{ code, store_history: false }});
                asked.onIOPub = (m) => {{
                    if (m.header.msg_type === 'stream') said.push(m.content.text);
                    if (m.header.msg_type === 'error') said.push(m.content.traceback.join('\\n'));
                }};
                await asked.done;
                return said.join('');
            }}""",
            [self.path, code],
        ).strip()

    def until(self, code, timeout_s=15):
        """Wait until an expression is true in the kernel."""
        end = time.monotonic() + timeout_s
        while (said := self.ask(f"print(bool({code}))")) != "True":
            assert time.monotonic() < end, f"never so: {code}; {said}"
            self.page.wait_for_timeout(20)

    def cell(self, number):
        """Return the outputs of a cell in the page."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number).locator(".jp-OutputArea-output")

    def outputs(self):
        """Return the outputs of each code cell, as they would be saved."""
        return self.evaluate(
            "w.content.widgets.filter(c => c.model.type === 'code').map(c => c.model.outputs.toJSON())"
        )

    def use_theme(self, name):
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name, timeout=OPEN_MS)

    def picture(self, path):
        """Write a picture of the whole notebook, not only of what fits the window."""
        size = self.page.viewport_size
        height = self.evaluate("w.content.widgets.reduce((sum, cell) => sum + cell.node.offsetHeight, 0)")
        self.page.set_viewport_size({"width": size["width"], "height": min(height + 400, 16_000)})
        self.evaluate("w.content.outerNode.scrollTo(0, 0)")
        self.page.locator(".jp-NotebookPanel").screenshot(path=path)
        self.page.set_viewport_size(size)

    def close(self):
        self.evaluate(
            "w && w.context.sessionContext.shutdown().then(() => { w.context.model.dirty = false; w.dispose(); })"
        )


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """One JupyterLab for all tests; the folder that it shows is `lab.folder`."""
    server = Lab(tmp_path_factory.mktemp("lab"))
    server.wait()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def older_lab(tmp_path_factory):
    """The oldest JupyterLab that is supported, with everything else as it is in this environment."""
    other = tmp_path_factory.mktemp("jupyterlab")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-compile", "--no-deps"]
    subprocess.run([*pip, "--target", other, f"jupyterlab=={OLDER}"], check=True)
    server = Lab(tmp_path_factory.mktemp("older-lab"), other)
    server.wait()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=["lab", "older_lab"], ids=["newest", OLDER])
def lab_page(request, browser, browser_context_args, watching):
    """A page of each JupyterLab, for the tests of all files; a test closes what it has opened."""
    server = request.getfixturevalue(request.param)
    context = browser.new_context(**browser_context_args, viewport={"width": 1500, "height": 1000})
    context.set_default_timeout(OPEN_MS)
    page = LabPage(context.new_page(), server)
    page.watch = watching(page.page)
    page.is_older = request.param == "older_lab"
    yield page
    context.close()


@pytest.fixture(scope="session")
def open_in_lab(lab):
    """Return a function that opens a notebook of the lab's folder on a page."""
    return lambda page, path: LabNotebook(page, lab, path)


# --- Browser modules by themselves ------------------------------------------------------------------------------------

ORIGIN = "http://mmaudit.test"
TYPES = {".js": "text/javascript", ".css": "text/css"}


@pytest.fixture(scope="module")
def served(browser):
    """A page of ORIGIN, to which the browser modules are served as JupyterLab serves them, and nothing else."""
    page = browser.new_page()
    page.origin = ORIGIN

    def serve(route):
        name = route.request.url.removeprefix(ORIGIN).lstrip("/")
        if not name:
            sheets = "".join(f'<link rel="stylesheet" href="/{sheet}">' for sheet in ("theme.css", "lab/dialog.css"))
            html = f'<!doctype html><html lang="en"><title>modules</title>{sheets}<button id="before">before</button>'
            return route.fulfill(body=html, content_type="text/html")
        return route.fulfill(body=(WIDGETS / name).read_text("utf-8"), content_type=TYPES[Path(name).suffix])

    page.route("**/*", lambda route: route.abort())
    page.route(f"{ORIGIN}/**", serve)
    page.goto(ORIGIN)
    yield page
    page.close()


# --- Widgets without Jupyter ------------------------------------------------------------------------------------------


@pytest.fixture
def mount(page, watch):
    """Return a function that shows a widget of this process in a blank page; nothing may go wrong on it."""
    from tests.browser._bridge import Mounted

    page.goto("about:blank")
    page.set_content("<!doctype html><html lang='en'><title>widget</title><body style='margin:0'></body></html>")
    yield lambda factory, **how: Mounted(page, factory, **how)
    assert watch.errors == []
    assert watch.requests_elsewhere == []


@pytest.fixture
def small_audit(_small_audit):
    """Return an audit of phantoms with a planted failure: images, reports and metadata of 110 patients."""
    _small_audit._tested = None  # no group was tested beside it
    _small_audit.user_edits = {"names": {}, "hidden": []}
    return _small_audit


@pytest.fixture(scope="session")
def _small_audit(tmp_path_factory, worker_id):
    """Made by the process of the tests that comes first, for all."""
    if worker_id == "master":
        return _audit_of_phantoms()
    file = tmp_path_factory.getbasetemp().parent / "small-audit.pickle"
    with filelock.FileLock(f"{file}.lock"):
        if not file.exists():
            # Its attributes: a result that is pickled itself leaves its cases out.
            file.write_bytes(cloudpickle.dumps(vars(_audit_of_phantoms())))
    result = mma.AuditResult.__new__(mma.AuditResult)
    vars(result).update(cloudpickle.loads(file.read_bytes()))
    return result


def _audit_of_phantoms():
    data = mma.datasets.load_phantom(110, image_size=112, random_state=0)
    random = np.random.default_rng(3)
    proba = np.clip(0.2 + 0.6 * data.y_true + random.normal(0, 0.12, data.n_samples), 0.01, 0.99)
    missed = (data.y_true == 1) & (data.metadata["view"] == "AP supine").to_numpy()
    data = data.with_predictions(np.where(missed, 0.2, proba))
    return mma.audit(data, n_refits=2, n_permutations=499, random_state=0)
