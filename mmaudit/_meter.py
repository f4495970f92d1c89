"""Seconds and peak memory of the stages of a run, workers on this machine included."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Meter", "memory_bytes"]

EVERY_S = 0.25


class Meter:
    """Seconds and peak memory by stage; as a context it looks at the memory four times a second.

    Attributes
    ----------
    seconds : dict of stage to float
    peak_bytes : dict of stage to int
        Of this process and those it started, memory that they share counted once; empty where it is not a context.
        Workers on other machines are not seen.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_bytes: dict[str, int] = {}
        self._last = time.perf_counter()
        self._peak = 0
        self._watching = False
        self._end = threading.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[Meter]:
        """Look at the memory until the end of the context."""
        self._watching = True
        self._end.clear()
        self._look()
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def mark(self, stage: str) -> None:
        """Say that a stage is done."""
        now = time.perf_counter()
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + now - self._last, 3)
        self._last = now
        if self._watching:
            self._look()
            self.peak_bytes[stage] = max(self._peak, self.peak_bytes.get(stage, 0))
            self._peak = 0

    def _watch(self) -> None:
        while not self._end.wait(EVERY_S):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, memory_bytes())


def memory_bytes(pid: int | None = None) -> int:
    """Return the memory that a process (None: this one) and all that it started hold; 0 where that cannot be told.

    Under Linux, memory that several share is divided among them (the proportional set size). Elsewhere it is the
    resident size by psutil, where it is installed, which counts what is shared several times.
    """
    pid = os.getpid() if pid is None else pid
    if Path("/proc/self/smaps_rollup").exists():
        return sum(_proportional(member) for member in _family(pid))
    try:
        import psutil
    except ImportError:
        return 0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)])
    return 0


def _family(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = Path(entry.path, "stat").read_text(errors="replace")
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0
