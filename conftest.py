"""What holds for every notebook that is run under test: no network, and a limit on the time of the whole file.

pytest-socket guards the process of pytest only. A notebook runs in a kernel, a process of its own, which begins with
the startup files of the IPython profile. So its guard is such a file, in a profile that is made for the session.
"""

import inspect
import os
import tempfile
from pathlib import Path

import pytest


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


def pytest_addoption(parser):
    parser.addini("notebook_timeout", "seconds in which a whole notebook must have run", default="120")


def pytest_configure(config):
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
    limit = pytest.mark.timeout(float(config.getini("notebook_timeout")))
    for item in items:
        if getattr(item, "nbmake", False):
            item.add_marker(limit)
