"""`import mmaudit` stays quick and loads nothing that is not needed yet."""

import json
import subprocess
import sys
import time

import pytest

BUDGET_S = 0.5  # design, section 7
HEAVY = {"torch", "torchvision", "transformers", "open_clip", "torchxrayvision", "anywidget", "ipywidgets"}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def packages_after(code):
    """Return the top-level packages, of no standard library, that `code` loads in a fresh interpreter."""
    show = "import json, sys; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    loaded = set(json.loads(run(f"{code}\n{show}").splitlines()[-1])) - set(json.loads(run(show)))
    return loaded - set(sys.stdlib_module_names)


def best_of_5_s(code):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run(code)
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("code", ["import mmaudit", "import mmaudit.cli"])
def test_import_loads_no_other_package(code):
    assert packages_after(code) == {"mmaudit"}


def test_help_loads_no_other_package():
    code = "import mmaudit.cli\ntry: mmaudit.cli.main(['audit', '--help'])\nexcept SystemExit: pass"
    assert packages_after(code) == {"mmaudit"}


def test_data_and_audit_load_no_heavy_package():
    loaded = packages_after("import mmaudit as mma\nmma.AuditData, mma.audit, mma.load_result, mma.datasets")
    assert {"numpy", "pandas"} <= loaded
    assert not loaded & HEAVY


def test_import_takes_less_than_its_budget():
    assert best_of_5_s("import mmaudit") - best_of_5_s("pass") <= BUDGET_S


def test_unknown_name_is_an_attribute_error():
    import mmaudit

    with pytest.raises(AttributeError, match="module 'mmaudit' has no attribute 'audits'"):
        mmaudit.audits


def test_public_names_are_listed():
    import mmaudit

    assert {"AuditData", "audit", "load_result", "datasets", "__version__"} <= set(dir(mmaudit))
