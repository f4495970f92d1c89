"""What holds for every notebook that is run under test: no network, and limits on its time and on its memory.

Tests may run in several processes (pytest-xdist), each on one thread and one core, since those of two on the same cores
wait for each other. Notebooks run last, with all cores as for who reads them: two at a time, and then, one after the
other, those that use all cores for long.

pytest-socket guards the process of pytest only. A notebook runs in a kernel, a process of its own, which begins with
the startup files of the IPython profile. So its guard is such a file, in a profile that is made for the session.
"""

import inspect
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import ClassVar, NamedTuple

import psutil
import pytest

SAMPLED_EACH_S = 0.25
COST = "notebook cost"
# They use all cores for long, the last one most.
ALONE = ("09_ask_in_words.ipynb", "05_multimodal_or_not.ipynb")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")


def refuse_the_network():
    """Let every attempt of this process to reach another machine raise. Runs in the kernel: needs no name outside."""
    import ipaddress
    import sys

    class NetworkBlockedError(RuntimeError):
        pass

    def is_here(host):
        if not isinstance(host, str | bytes):
            return True  # None is this machine; numbers are no address of the internet
        host = host.decode() if isinstance(host, bytes) else host
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host in ("", "localhost")

    def hook(event, arguments):
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) and address else None  # else a Unix socket
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
            host = arguments[0]
        else:
            return
        if not is_here(host):
            # No OSError: code that has a way around a dead network would hide that it asked.
            raise NetworkBlockedError(
                f"a notebook under test asked for {host!r}, but notebooks run offline. "
                "Use what the package makes or brings, or let a folder be given."
            )

    sys.addaudithook(hook)


class Cost(NamedTuple):
    """What a notebook took."""

    name: str
    seconds: float
    peak_mb: float


class TooMuchMemoryError(Exception):
    """A notebook needs more memory than a small machine has."""


class Memory:
    """The peak memory of the processes that this one starts, and of those that they start, while it is watched.

    Of a process that was started here, a kernel, all counts that lies in memory; of what it starts itself only what is
    that process's own, since a forked worker shares most of its pages with the kernel, where they are counted already.
    """

    def __init__(self):
        self.peak_mb = 0.0
        self._here = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._others = {child.pid for child in self._here.children()}  # a browser of other tests, say
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.wait(SAMPLED_EACH_S):
            started = [child for child in self._here.children() if child.pid not in self._others]
            self.peak_mb = max(self.peak_mb, sum(self._tree(child) for child in started) / 1e6)

    def _tree(self, kernel):
        try:
            below = kernel.children(recursive=True)
            return self._bytes(kernel) + sum(self._bytes(process, own=True) for process in below)
        except psutil.NoSuchProcess:
            return 0

    @staticmethod
    def _bytes(process, own=False):
        try:
            return process.memory_full_info().uss if own else process.memory_info().rss
        except psutil.Error:  # it has ended, or is about to
            return 0


class Costs:
    """What the notebooks of this run took, in whichever process."""

    def __init__(self):
        self.found = []

    def pytest_runtest_logreport(self, report):
        self.found += [Cost(*cost) for kind, cost in report.user_properties if kind == COST and report.when == "call"]

    def pytest_terminal_summary(self, terminalreporter):
        if self.found:
            terminalreporter.section("notebooks: seconds and peak memory")
            for cost in self.found:
                terminalreporter.write_line(f"{cost.seconds:6.1f} s {cost.peak_mb:7,.0f} MB  {cost.name}")
            seconds = sum(cost.seconds for cost in self.found)
            terminalreporter.write_line(f"{seconds:6.1f} s             all {len(self.found)}")


def pytest_addoption(parser):
    parser.addini("notebook_timeout", "seconds in which a whole notebook must have run", default="120")
    parser.addini("notebook_memory_mb", "most memory of a notebook's kernel with its workers", default="1500")


def pytest_configure(config):
    config.pluginmanager.register(Costs(), COST)
    if hasattr(config, "workerinput"):  # the process that started this one did the rest for all
        return
    if config.getoption("numprocesses", None):
        os.environ.update(ONE_THREAD)
    folder = tempfile.TemporaryDirectory(prefix="mmaudit-ipython-")
    config.add_cleanup(folder.cleanup)
    # Drawn phantoms are kept for the session, and the user's cache is neither read nor filled.
    os.environ["MMAUDIT_CACHE"] = str(Path(folder.name, "cache"))
    startup = Path(folder.name, "profile_default", "startup")
    startup.mkdir(parents=True)
    # The file runs in the notebook's own namespace and leaves no name in it.
    name = refuse_the_network.__name__
    source = f"{inspect.getsource(refuse_the_network)}\n\n{name}()\ndel {name}\n"
    (startup / "00-no-network.py").write_text(source, encoding="utf-8")
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    environment.setenv("IPYTHONDIR", folder.name)


def pytest_collection_modifyitems(config, items):
    alone = {name: k for k, name in enumerate(ALONE, start=1)}
    items.sort(key=lambda item: (is_notebook(item), alone.get(item.path.name, 0)))
    limit = pytest.mark.timeout(float(config.getini("notebook_timeout")))
    for item in items:
        if is_notebook(item):
            item.add_marker(limit)


def is_notebook(item):
    """Whether nbmake runs it."""
    return bool(getattr(item, "nbmake", False))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class NotebooksInTwoLanes(LoadFileScheduling):
        lanes: ClassVar[dict[str, str]] = {}

        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            if not file.endswith(".ipynb"):
                return file
            if Path(file).name in ALONE:
                return "notebooks, one after the other"
            return self.lanes.setdefault(file, f"notebooks, lane {len(self.lanes) % 2}")

    return NotebooksInTwoLanes(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    if not is_notebook(item):
        return (yield)
    began = time.monotonic()
    try:
        with Memory() as memory, pytest.MonkeyPatch.context() as environment:
            for name in ONE_THREAD if hasattr(item.config, "workerinput") else ():
                environment.delenv(name, raising=False)
            done = yield
    finally:
        item.user_properties.append((COST, (item.name, time.monotonic() - began, memory.peak_mb)))
    most = float(item.config.getini("notebook_memory_mb"))
    if memory.peak_mb > most:
        raise TooMuchMemoryError(f"{item.name} took {memory.peak_mb:,.0f} MB, and {most:,.0f} MB is the limit")
    return done
