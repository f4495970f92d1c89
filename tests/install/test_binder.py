"""What Binder builds from binder/: judged with the classes of repo2docker, which Binder runs, and without Docker.

repo2docker does not notice a requirement that pip cannot read, a root package that nobody installs, or a script without
`#!`: these are looked for here.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BINDER = ROOT / "binder"
FIRST = "00_quickstart.ipynb"
LABS_SCHEMAS = Path(sys.prefix, "share", "jupyter", "lab", "schemas")


def lines(name):
    text = (BINDER / name).read_text(encoding="utf-8")
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


@pytest.fixture
def pack(monkeypatch):
    """Return the buildpack that repo2docker chooses for this repository."""
    app = pytest.importorskip("repo2docker.app", reason="needs jupyter-repo2docker: pip install 'mmaudit[test]'")
    monkeypatch.chdir(ROOT)
    for kind in app.Repo2Docker().buildpacks:
        pack = kind(base_image="docker.io/library/buildpack-deps:24.04")
        if pack.detect():
            pack.platform = "linux/amd64"
            return pack
    raise AssertionError("no buildpack")


def test_repo2docker_takes_these_files(pack):
    assert type(pack).__name__ == "PythonBuildPack"
    assert pack.binder_dir == "binder"
    assert pack.python_version == "3.11"
    dockerfile = pack.render({})
    assert re.search(r"pip install --no-cache-dir -r \"?binder/requirements.txt", dockerfile)
    assert "binder/postBuild" in dockerfile


def test_the_package_is_installed_once_the_repository_is_there(pack):
    before = " ".join(script for _, script in pack.get_preassemble_scripts())
    after = " ".join(script for _, script in pack.get_assemble_scripts())
    assert "binder/requirements.txt" not in before  # "." would not be there yet
    assert "binder/requirements.txt" in after


def test_binder_holds_only_files_that_are_read():
    assert {path.name for path in BINDER.iterdir()} == {"requirements.txt", "runtime.txt", "postBuild"}
    assert not (ROOT / ".binder").exists()  # two folders are an error


def test_pytorch_is_pinned_to_builds_for_the_cpu_and_pypi_is_kept():
    options = [line for line in lines("requirements.txt") if line.startswith("-")]
    assert options == ["--extra-index-url https://download.pytorch.org/whl/cpu"]
    torch = [Requirement(line) for line in lines("requirements.txt") if line.startswith("torch")]
    assert [one.name for one in torch] == ["torch", "torchvision"]
    assert all(re.fullmatch(r"==\d+\.\d+\.\d+\+cpu", str(one.specifier)) for one in torch)


def test_the_package_comes_with_what_the_notebooks_need_and_the_lab_is_binders():
    (own,) = [line for line in lines("requirements.txt") if line.startswith(".")]
    extras = set(re.fullmatch(r"\.\[([\w,]+)\]", own)[1].split(","))
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 brings it")
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert extras <= set(known)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert extras | {"lab"} == set(re.search(r"^EXTRAS \?= (.*)$", makefile, re.M)[1].split(","))


def test_the_script_after_the_build_prepares_the_workshop(tmp_path):
    script = BINDER / "postBuild"
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
    assert os.access(script, os.X_OK)
    assert b"\r" not in script.read_bytes()
    home, repository = tmp_path / "home", tmp_path / "repository"
    home.mkdir()
    repository.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "MPL", "XDG"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(script)], cwd=repository, env={**kept, "HOME": str(home), "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [one.name for one in repository.iterdir()] == ["workshop"]
    written = {one.name for one in (repository / "workshop").iterdir()}
    assert written == {one.name for one in (ROOT / "notebooks").iterdir() if one.is_file()}
    assert "For who teaches" not in (repository / "workshop" / FIRST).read_text("utf-8")

    (workspace,) = (home / ".jupyter" / "lab" / "workspaces").iterdir()
    data = json.loads(workspace.read_text("utf-8"))["data"]
    opened = {entry["data"]["path"] for entry in data.values() if "data" in entry}
    assert opened == {f"workshop/{FIRST}", "workshop/README.md"}

    overrides = json.loads((home / ".jupyter" / "labconfig" / "default_setting_overrides.json").read_text("utf-8"))
    for plugin, settings in overrides.items():
        package, _, name = plugin.partition(":")
        schema = json.loads((LABS_SCHEMAS / package / f"{name}.json").read_text("utf-8"))
        assert set(settings) <= set(schema["properties"])
    assert list(Path(os.environ["MMAUDIT_CACHE"], "phantom").iterdir())
    assert list(home.rglob("fontlist*.json"))


def test_the_films_drawn_beforehand_are_those_of_the_first_notebook():
    call = re.compile(r"load_phantom\(n_patients=(\d+), (.*?)\)")
    drawn, needed = (
        call.search(path.read_text("utf-8")) for path in (BINDER / "postBuild", ROOT / "notebooks" / FIRST)
    )
    assert drawn[2] == needed[2]
    assert int(drawn[1]) >= int(needed[1])  # the first patients of a larger cohort are those of a smaller one
