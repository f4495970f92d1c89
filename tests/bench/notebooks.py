"""What each notebook takes, run as the tests run it: seconds, and the peak memory of its kernel with its workers.

    python -m tests.bench.notebooks [notebooks/00_quickstart.ipynb ...]

Prints a Markdown table. Films are drawn by the first notebook that needs them and kept for the others.
"""

import contextlib
import sys

import pytest


class Table:
    """Keeps what the root's conftest.py measured: names, seconds, and peak memory in MB."""

    def __init__(self):
        self.costs = []

    def pytest_runtest_logreport(self, report):
        self.costs += [value for name, value in report.user_properties if name == "notebook" and report.when == "call"]


def main(paths):
    table = Table()
    options = ["--nbmake", "-q", "-p", "no:cacheprovider", "-o", "notebook_timeout=600"]
    with contextlib.redirect_stdout(sys.stderr):  # what pytest says
        code = pytest.main([*options, *(paths or ["notebooks"])], plugins=[table])
    print("| Notebook | Seconds | Peak memory, MB |\n| --- | ---: | ---: |")
    for name, seconds, peak_mb in table.costs:
        print(f"| {name.removesuffix('.ipynb')} | {seconds:.0f} | {peak_mb:,.0f} |")
    if table.costs:
        _, seconds, peaks_mb = zip(*table.costs, strict=True)
        print(f"| all {len(table.costs)} | {sum(seconds):.0f} | {max(peaks_mb):,.0f} at most |")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
