"""Seconds and memory by stage, those of other processes included."""

import subprocess
import sys

import numpy as np
import pytest

from mmaudit._meter import Meter, memory_bytes

LARGE = 200_000_000


def test_a_peak_belongs_to_the_stage_in_which_it_was():
    meter = Meter()
    with meter.watching():
        meter.mark("before")
        held = np.ones(LARGE, dtype=np.uint8)
        meter.mark("large")
        del held
        meter.mark("between")  # holds what is left of the stage before
        meter.mark("after")
    assert meter.peak_bytes["large"] > meter.peak_bytes["before"] + 0.9 * LARGE
    assert meter.peak_bytes["after"] < meter.peak_bytes["before"] + 0.1 * LARGE


def test_a_stage_that_comes_again_adds_its_seconds_and_keeps_its_peak():
    meter = Meter()
    with meter.watching():
        held = np.ones(LARGE, dtype=np.uint8)
        meter.mark("search")
        first = dict(meter.seconds)
        peak = meter.peak_bytes["search"]
        del held
        meter.mark("other")
        sum(range(300_000))
        meter.mark("search")
    assert meter.seconds["search"] > first["search"]
    assert meter.peak_bytes["search"] == peak


def test_what_other_processes_hold_is_counted():
    before = memory_bytes()
    if not before:
        pytest.skip("the memory of processes cannot be told here")
    code = f"import sys; held = bytearray(b'x') * {LARGE}; print('ready', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"ready\n"
        assert memory_bytes() > before + 0.9 * LARGE
        assert memory_bytes(child.pid) > 0.9 * LARGE
    finally:
        child.communicate(timeout=30)
    assert memory_bytes() < before + 0.5 * LARGE


def test_without_a_watch_there_are_seconds_only():
    meter = Meter()
    meter.mark("all")
    assert list(meter.seconds) == ["all"] and meter.peak_bytes == {}
