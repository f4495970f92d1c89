"""A widget of this process, seen in a page: its comm is replaced by one that the page polls. No kernel, no server."""

import base64
import threading
import time
from pathlib import Path

import comm
from comm.base_comm import BaseComm

HOST = Path(__file__).with_name("host.js").read_text("utf-8")
POLL_MS, LOOK_MS = 50, 10  # the page asks for news after each message that it sends, too
OPEN = """async ([host, opened, how]) => {
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
  const { open } = await load(host);
  globalThis.queue = Promise.resolve();
  const poll = async () => {
    const messages = globalThis.model ? await pyPoll() : [];
    if (messages.length) model.deliver(messages);
  };
  const widget = await open(opened, (message) => { queue = queue.then(() => pySend(message)).then(poll); });
  globalThis.model = widget.model;
  globalThis.widget = widget;
  globalThis.views = [];
  for (let k = 0; k < how.views; k += 1) {
    const el = document.createElement('div');
    el.className = 'view'; el.style.width = how.width + 'px';
    document.body.append(el);
    views.push({ el, close: await widget.view(el) });
  }
  setInterval(poll, how.poll);
  return null;
}"""


class BridgeComm(BaseComm):
    """Keeps what a widget says until the page asks for it."""

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        with self.__dict__.setdefault("guard", threading.Lock()):
            message = {"type": msg_type, "data": data or {}, "buffers": [bytes(b) for b in buffers or []]}
            self.__dict__.setdefault("outbox", []).append(message)

    def take(self):
        with self.__dict__.setdefault("guard", threading.Lock()):
            found, self.__dict__["outbox"] = self.__dict__.get("outbox", []), []
        return [{**m, "buffers": [base64.b64encode(b).decode() for b in m["buffers"]]} for m in found]


class Mounted:
    """A widget and its views in a page.

    Attributes
    ----------
    widget : the Python widget
    page : the Playwright page; `model` and `views` are globals of it
    paused : bool
        True: the kernel is busy. Messages to and from it wait.
    """

    def __init__(self, page, factory, *, views=1, width=1200):
        self.page, self.paused, self.held = page, False, []
        before = comm.create_comm
        comm.create_comm = BridgeComm
        try:
            self.widget = factory()
        finally:
            comm.create_comm = before
        opened, *rest = self.widget.comm.take()
        assert opened["type"] == "comm_open"
        self._waiting = rest
        page.expose_binding("pySend", lambda _source, message: self._receive(message))
        page.expose_binding("pyPoll", lambda _source: self._poll())
        page.evaluate(OPEN, [HOST, opened, {"views": views, "width": width, "poll": POLL_MS}])

    @property
    def view(self):
        """The first view."""
        return self.page.locator(".view").first

    def _receive(self, message):
        if self.paused:
            self.held.append(message)
            return
        data, buffers = message["data"], [memoryview(base64.b64decode(b)) for b in message["buffers"]]
        self.widget.comm.handle_msg({"content": {"data": {"buffer_paths": [], **data}}, "buffers": buffers})
        if data["method"] == "update":
            self.widget.comm.publish_msg("status", {"method": "idle"})

    def _poll(self):
        if self.paused:
            return []
        waiting, self._waiting = self._waiting, []
        return [*waiting, *self.widget.comm.take()]

    def go_on(self):
        """The kernel is free again."""
        self.paused = False
        held, self.held = self.held, []
        for message in held:
            self._receive(message)

    def until(self, condition, timeout_s=10.0):
        """Wait until something is so on the Python side."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, "it did not become so"
            self.page.wait_for_timeout(LOOK_MS)
