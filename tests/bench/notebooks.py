"""What each notebook takes, run as the tests run it: seconds, and the peak memory of its kernel with its workers.

    python -m tests.bench.notebooks [notebooks/00_quickstart.ipynb ...]

Prints a Markdown table. Films are drawn by the first notebook that needs them and kept for the others.
"""

import contextlib
import sys

import pytest

from conftest import Costs


def main(paths):
    costs = Costs()
    options = ["--nbmake", "-q", "-p", "no:cacheprovider", "-o", "notebook_timeout=600"]
    with contextlib.redirect_stdout(sys.stderr):  # what pytest says
        code = pytest.main([*options, *(paths or ["notebooks"])], plugins=[costs])
    print("| Notebook | Seconds | Peak memory, MB |\n| --- | ---: | ---: |")
    for cost in costs.found:
        print(f"| {cost.name.removesuffix('.ipynb')} | {cost.seconds:.0f} | {cost.peak_mb:,.0f} |")
    if costs.found:
        seconds, most = sum(cost.seconds for cost in costs.found), max(cost.peak_mb for cost in costs.found)
        print(f"| all {len(costs.found)} | {seconds:.0f} | {most:,.0f} at most |")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
