"""A Chromium for the browser tests, and a page that notes all that goes wrong on it."""

import os
from pathlib import Path

import pytest

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


@pytest.fixture
def watch(page):
    return Watch(page)
