"""Each module imports only from layers to its left: the order of the design, walked import by import."""

import ast
from pathlib import Path
from typing import NamedTuple

import pytest

import mmaudit

PACKAGE = Path(mmaudit.__file__).parent
BELOW = ("_errors", "_files", "_tables", "_blocks", "_engine", "_checkpoints", "_meter", "shards")
BELOW += ("cache", "images", "text", "data", "selection")
FLOW = ("datasets", "failures", "classifiers", "encoders", "slicers", "metrics", "confirm", "explain", "rules")
WHOLE = ("null_control", "compare")  # what the methods of a result of those names do; neither imports the other
SHOW = ("report", "widgets")  # widgets say in a notebook what the report says
JOIN = ("_audit", "benchmark")  # the places that join the layers
TOP = ("__init__", "cli")  # nobody imports these
CONSTANT = "__version__"  # mmaudit/__init__.py itself loads nothing, and everybody may know the version
RANK = {name: rank for rank, name in enumerate((*BELOW, *FLOW))}
RANK |= dict.fromkeys(WHOLE, len(RANK))
RANK["result"] = len(RANK)
RANK |= {name: len(RANK) + k for k, name in enumerate(SHOW)}
RANK |= dict.fromkeys(JOIN, len(RANK))
RANK["_hypothesis"] = len(RANK)  # an audit of candidates that the user names
RANK["scale"] = len(RANK)  # a benchmark of audits
RANK["workshop"] = len(RANK)  # teaches all of it
RANK["lab"] = len(RANK)  # writes notebooks, and copies the workshop's
RANK |= dict.fromkeys(TOP, len(RANK) + 1)

# A loaded result no longer has the audit at hand that null_control repeats.
# result.to_html() and result.explore() are how a user reaches the two layers that show a result. The import lies
# inside the method: a result can be computed, saved and loaded without the code that draws it.
LAZY_ALLOWED = {("result", "report"), ("result", "widgets"), ("null_control", "report"), ("compare", "report")}
LAZY_ALLOWED |= {("result", "_audit")}
# "Test this selection" in a widget is a hypothesis of the user's.
LAZY_ALLOWED |= {("widgets", "_hypothesis")}


class Import(NamedTuple):
    layer: str
    line: int
    lazy: bool


def layers_imported(source, *, module, is_package, submodules):
    """Return every import of mmaudit in `source`, the code of the dotted `module`."""
    package = module if is_package else module.rpartition(".")[0]
    found = []

    def add(dotted, node, lazy):
        parts = dotted.split(".")
        if parts[0] == "mmaudit":
            found.append(Import(parts[1] if len(parts) > 1 else "__init__", node.lineno, lazy))

    def walk(node, lazy):
        if isinstance(node, ast.Import):
            for alias in node.names:
                add(alias.name, node, lazy)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                is_module = base == "mmaudit" and (alias.name in submodules or alias.name == CONSTANT)
                add(f"{base}.{alias.name}" if is_module else base, node, lazy)
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func) and node.args:
            # importlib.import_module("mmaudit.x") and the like
            given = node.args[0]
            if isinstance(given, ast.Constant) and isinstance(given.value, str):
                add(given.value, node, lazy)
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        inside = lazy or for_types or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            walk(child, inside)

    walk(ast.parse(source), False)
    return found


def forbidden(importer, imported):
    """Return whether a module in layer `importer` may not have this import."""
    if importer == imported.layer or importer in TOP or imported.layer == CONSTANT:
        return False
    if imported.lazy and (importer, imported.layer) in LAZY_ALLOWED:
        return False
    return imported.layer not in RANK or RANK[imported.layer] >= RANK[importer]


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        is_package = parts[-1] == "__init__" and len(parts) > 1
        layer = parts[0]
        dotted = ".".join(["mmaudit", *(parts[:-1] if parts[-1] == "__init__" else parts)])
        yield path, layer, dotted, is_package or parts == ("__init__",)


SUBMODULES = {p.stem for p in PACKAGE.glob("*.py")} | {p.name for p in PACKAGE.iterdir() if p.is_dir()}


def edges_of(path, dotted, is_package):
    return layers_imported(
        path.read_text(encoding="utf-8"), module=dotted, is_package=is_package, submodules=SUBMODULES
    )


def test_every_module_has_a_layer():
    without = {layer for _, layer, _, _ in modules() if layer not in RANK}
    assert not without, f"{sorted(without)}: not in the order of layers; put each where it belongs, in this file"


def test_no_import_goes_to_the_right():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{imported.line}: {layer} imports {imported.layer}"
        for path, layer, dotted, is_package in modules()
        for imported in edges_of(path, dotted, is_package)
        if forbidden(layer, imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_walk_sees_the_imports_that_are_there():
    seen = {
        (layer, imported.layer)
        for path, layer, dotted, is_package in modules()
        for imported in edges_of(path, dotted, is_package)
    }
    assert {("data", "_errors"), ("data", "images"), ("images", "_errors"), ("cli", "_errors")} <= seen


@pytest.mark.parametrize(
    ("module", "source", "layer"),
    [
        ("mmaudit.data", "from mmaudit.result import AuditResult", "result"),
        ("mmaudit.data", "import mmaudit.result as r", "result"),
        ("mmaudit.data", "from mmaudit import slicers", "slicers"),
        ("mmaudit.data", "from . import report", "report"),
        ("mmaudit.slicers._mixture", "from ..explain import rules", "explain"),
        ("mmaudit.slicers._mixture", "from ..explain._terms import words", "explain"),
        ("mmaudit.confirm", "def f():\n    from mmaudit.explain import words", "explain"),
        ("mmaudit.confirm", "import importlib\nimportlib.import_module('mmaudit.explain')", "explain"),
        ("mmaudit.confirm", "import mmaudit as mma", "__init__"),
        ("mmaudit.confirm", "from mmaudit import AuditData", "__init__"),
        ("mmaudit.encoders._image", "if True:\n    from mmaudit._audit import audit", "_audit"),
        ("mmaudit.result", "from mmaudit.report import to_html", "report"),
        ("mmaudit.report._html", "def f():\n    import mmaudit.widgets", "widgets"),
        ("mmaudit._audit", "from mmaudit.cli import main", "cli"),
        ("mmaudit.result", "from mmaudit.nowhere import thing", "nowhere"),
    ],
)
def test_a_bad_import_is_caught(module, source, layer):
    known = set(RANK) | {"nowhere"}
    (imported,) = layers_imported(source, module=module, is_package=False, submodules=known)
    assert imported.layer == layer
    assert forbidden(module.split(".")[1], imported)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mmaudit.result", "def to_html(self):\n    from mmaudit.report import render_html"),
        ("mmaudit.result", "def explore(self):\n    from mmaudit.widgets import SliceExplorer"),
        ("mmaudit.explain._terms", "from mmaudit.slicers import MixtureSlicer"),
        ("mmaudit.explain._terms", "from ._words import split"),
        ("mmaudit.report._html", "from mmaudit.result import AuditResult"),
        ("mmaudit._audit", "from mmaudit import confirm, encoders, explain, slicers"),
        ("mmaudit.result", "from mmaudit import __version__"),
        ("mmaudit.cli", "import mmaudit as mma"),
    ],
)
def test_a_good_import_is_let_through(module, source):
    found = layers_imported(source, module=module, is_package=False, submodules=set(RANK))
    assert found
    assert not [imported for imported in found if forbidden(module.split(".")[1], imported)]
