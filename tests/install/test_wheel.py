"""The wheel: what is in it, and that it works in a fresh environment without any extra.

On the oldest and the newest other supported Python that is found, else on this one, in which all other tests run. pip
installs the dependencies, so these tests need a package index.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mmaudit

ROOT = Path(__file__).parents[2]
SUPPORTED = [(3, 10), (3, 11), (3, 12), (3, 13)]
SETTINGS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE")
pytestmark = pytest.mark.timeout(900)


def run(*command, cwd, check=True):
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=clean, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@functools.cache
def version_of(python):
    """Return (major, minor) of an interpreter, or None if it does not run: a shim may stand for nothing."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    return tuple(int(part) for part in done.stdout.split()) if done.returncode == 0 else None


def pythons():
    """Return the oldest and the newest other supported version that is installed, or this one if there is none."""
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED]
    found = [shutil.which(name) for name in names]
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    found += sorted(str(path) for path in pyenv.glob("versions/*/bin/python"))
    others = {version_of(python): python for python in found if python}
    others = {version: python for version, python in others.items() if version in SUPPORTED}
    others.pop(sys.version_info[:2], None)
    return list(dict.fromkeys(others[pick(others)] for pick in (min, max) if others)) or [sys.executable]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module", params=pythons(), ids=lambda python: "py" + "".join(map(str, version_of(python))))
def installed(request, wheel, tmp_path_factory):
    """Return the folder of commands of a fresh environment that holds the wheel and no extra."""
    folder = tmp_path_factory.mktemp("environment")
    run(request.param, "-m", "venv", folder, cwd=folder)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (commands / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-compile")
    run(*pip, wheel, cwd=folder)  # not compiled: most modules are never imported, and compiling takes half the time
    yield commands
    shutil.rmtree(folder)  # half a gigabyte each


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_whole_package(wheel):
    packaged = {name for name in names_in(wheel) if name.startswith("mmaudit/")}
    in_tree = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mmaudit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "_notebooks" not in path.parts
    }
    notebooks = {f"mmaudit/_notebooks/{path.name}" for path in (ROOT / "notebooks").iterdir() if path.is_file()}
    browser = {
        f"mmaudit/widgets/_browser/{path.relative_to(ROOT / 'widgets').as_posix()}"
        for path in (ROOT / "widgets").rglob("*")
        if path.is_file() and path.parent.name != "lab"  # which only JupyterLab loads, from its own place
    }
    assert "mmaudit/_notebooks/README.md" in notebooks
    assert "mmaudit/widgets/_browser/shared/store.js" in browser
    assert {"mmaudit/py.typed", "mmaudit/cli.py"} <= in_tree
    assert [name for name in in_tree if name.startswith("mmaudit/report/templates/")]
    assert in_tree | notebooks | browser <= packaged


def test_the_wheel_holds_the_licence_and_nothing_else_of_the_repository(wheel):
    names = names_in(wheel)
    assert [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    tops = {name.partition("/")[0] for name in names}
    assert len(tops) == 3  # the package, what is known of it, and the extension of JupyterLab
    assert "mmaudit" in tops
    data = [name.partition(".data/")[2] for name in names if ".data/" in name]
    assert {name.startswith("data/share/jupyter/labextensions/mmaudit/") for name in data} == {True}
    assert not [name for name in names if "tests" in name.split("/") or "__pycache__" in name or ".ipynb_c" in name]


def test_the_extension_is_the_browser_code_and_has_the_version_of_the_package(wheel):
    widgets = ROOT / "widgets"
    package = json.loads((widgets / "lab" / "package.json").read_text("utf-8"))
    assert package["version"] == mmaudit.__version__
    loaded = widgets.joinpath(package["jupyterlab"]["_build"]["load"].removeprefix("static/"))
    assert loaded.is_file()
    with zipfile.ZipFile(wheel) as archive:
        inside = {name.partition("labextensions/mmaudit/")[2]: name for name in archive.namelist() if ".data/" in name}
        for path in (path for path in widgets.rglob("*") if path.is_file()):
            packed = archive.read(inside[f"static/{path.relative_to(widgets).as_posix()}"])
            assert packed == path.read_bytes(), path
        assert {"package.json", "install.json"} <= set(inside)


def test_the_extension_costs_no_more_than_150_kb_of_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        new = [i for i in archive.infolist() if "labextensions" in i.filename or i.filename.startswith("mmaudit/lab/")]
    assert len(new) > 20
    assert 10_000 < sum(i.compress_size for i in new) <= 150_000


def test_jupyterlab_finds_the_extension_after_pip_install(installed):
    """JupyterLab of this environment is told to look for extensions in the other one."""
    share = installed.parent / "share" / "jupyter"
    own = {"JUPYTER_PATH": str(share), "JUPYTER_PREFER_ENV_PATH": "0"}
    command = [sys.executable, "-m", "jupyter", "labextension", "list"]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True)
    lines = re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr).splitlines()
    (place,) = [k for k, line in enumerate(lines) if line.strip() == str(share / "labextensions")]
    wanted = ["mmaudit", f"v{mmaudit.__version__}", "enabled", "OK"]
    assert [line for line in lines[place:] if line.split()[:4] == wanted]


def test_the_wheel_requires_no_extra(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert required
    assert not [line for line in required if "torch" in line and "extra ==" not in line]
    assert "License-Expression: BSD-3-Clause" in metadata


def test_it_imports_with_its_version(installed, tmp_path):
    code = "import mmaudit, pathlib; print(mmaudit.__version__, pathlib.Path(mmaudit.__file__).parents[1].name)"
    version, folder = run(installed / "python", "-c", code, cwd=tmp_path).stdout.split()
    assert folder == "site-packages"
    assert run(installed / "mmaudit", "--version", cwd=tmp_path).stdout == f"mmaudit {version}\n"


def test_every_public_name_answers_without_extras(installed, tmp_path):
    code = "import mmaudit\nfor name in mmaudit.__all__: getattr(mmaudit, name)\nprint(len(mmaudit.__all__))"
    assert int(run(installed / "python", "-W", "error", "-c", code, cwd=tmp_path).stdout) > 5


def test_the_widgets_carry_their_code(installed, tmp_path):
    code = "from mmaudit.widgets import *\nfor kind in (ExplanationTable, SliceGrid, SliceExplorer): "
    code += "assert 'export default' in kind._esm and '.mma-root' in kind._css, kind\nprint('all three')"
    assert run(installed / "python", "-c", code, cwd=tmp_path).stdout == "all three\n"


def test_help_answers(installed, tmp_path):
    assert "mmaudit COMMAND --help" in run(installed / "mmaudit", "--help", cwd=tmp_path).stdout


def test_the_demo_runs_in_an_empty_folder(installed, tmp_path):
    done = run(installed / "mmaudit", "demo", "--patients", "60", "--out", "shown", cwd=tmp_path)
    assert "The report is shown" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"shown"}
    assert {path.name for path in (tmp_path / "shown").iterdir()} == {
        "candidates.csv",
        "findings.csv",
        "membership.parquet",
        "result.json",
        "rules.json",
        "report.html",
    }


def test_the_notebooks_are_copied(installed, tmp_path):
    run(installed / "mmaudit", "lab", "mine", "--copy-only", cwd=tmp_path)
    copied = {path.name for path in (tmp_path / "mine").glob("*.ipynb")}
    assert copied == {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}


def test_lab_without_jupyterlab_says_what_to_install(installed, tmp_path):
    done = run(installed / "mmaudit", "lab", cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        'mmaudit lab: mmaudit lab needs the package jupyterlab. Install it with: pip install "mmaudit[lab]"\n'
    )
    assert list(tmp_path.iterdir()) == []
