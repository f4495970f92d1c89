"""What each notebook takes, run as the tests run it: seconds, and the peak memory of its kernel with its workers.

    python -m tests.bench.notebooks [notebooks/00_quickstart.ipynb ...]

Prints a Markdown table. Films are drawn by the first notebook that needs them and kept for the others.
"""

import contextlib
import sys

import pytest


class Table:
    """Keeps what the root's conftest.py measured."""

    def __init__(self):
        self.costs = []

    def pytest_sessionfinish(self, session):
        self.costs = session.config.notebook_costs


def main(paths):
    table = Table()
    options = ["--nbmake", "-q", "-p", "no:cacheprovider", "-o", "notebook_timeout=600"]
    with contextlib.redirect_stdout(sys.stderr):  # what pytest says
        code = pytest.main([*options, *(paths or ["notebooks"])], plugins=[table])
    print("| Notebook | Seconds | Peak memory, MB |\n| --- | ---: | ---: |")
    for cost in table.costs:
        print(f"| {cost.name.removesuffix('.ipynb')} | {cost.seconds:.0f} | {cost.peak_mb:,.0f} |")
    if table.costs:
        seconds, most = sum(cost.seconds for cost in table.costs), max(cost.peak_mb for cost in table.costs)
        print(f"| all {len(table.costs)} | {seconds:.0f} | {most:,.0f} at most |")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
