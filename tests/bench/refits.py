"""Compare refits in this process with refits on the processes that an audit starts unasked, on the phantom cohort.

    python tests/bench/refits.py --patients 320 --repeats 3

Printed are the seconds that an audit of reports and metadata takes for its stability, the first time that it starts
processes and later, when they are there; and whether all results are the same.
"""

from __future__ import annotations

import argparse

import mmaudit as mma
from mmaudit import _engine


def audited(data, worth_s: float):
    """Return the candidates, and the seconds of the refits, of an audit that starts processes from this work on."""
    _engine.WORTH_S = worth_s
    result = mma.audit(data, modalities=("report", "metadata"), random_state=0)
    return result.candidates, result.settings["seconds"]["stability"]


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--patients", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    usual = _engine.WORTH_S
    data = mma.datasets.load_phantom(n_patients=given.patients, image_size=112, random_state=0)
    first, started = audited(data, usual)
    print(f"{len(data):,} samples; with the start of processes {started:.1f} s")
    for _ in range(given.repeats):
        (alone, here), (again, there) = audited(data, float("inf")), audited(data, usual)
        same = first.equals(alone) and first.equals(again)
        print(f"one process {here:.1f} s, several {there:.1f} s: {there / here:.2f} of it; the same result: {same}")


if __name__ == "__main__":
    main()
