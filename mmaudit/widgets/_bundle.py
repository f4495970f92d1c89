"""Browser modules joined into the one text that a widget carries.

A widget's code travels with the widget and is loaded from a blob, where an import of another file cannot work. So the
modules that an entry module imports are put before it, as they are but for comments and indentation: no build step, no
Node, and the code read is the code run. One form of import is known, and anything else is an error.

That text travels to the page, and into notebooks that save the state of their widgets, once for each widget. So it goes
compressed, behind a few lines that unpack it: a third of the size. Minifying would need Node, and save less.
"""

from __future__ import annotations

import base64
import functools
import re
import zlib
from pathlib import Path, PurePosixPath

from mmaudit._errors import InputError

__all__ = ["bundle", "packed", "styles"]

_LOADER = """\
// Browser modules of mmaudit, joined and compressed; in its source they are in the folder widgets.
const packed = "%s";
const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
const { default: widget } = await import(url);
URL.revokeObjectURL(url);
export default widget;
"""
_IMPORT = re.compile(r'^import \{([^}]*)\} from "(\.{1,2}/[\w./-]+\.js)";[ \t]*$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function\b|class\b|const\b|let\b)", re.MULTILINE)
_NAME = re.compile(r"^(export )?(?:async )?(?:function\*?|class|const|let|var) (\w+)", re.MULTILINE)
_OTHER = re.compile(r"^\s*(?:import\b|export\b(?! default))|\bimport\s*\(|\brequire\s*\(", re.MULTILINE)
_BLOCK_COMMENT = re.compile(r"^[ \t]*/\*.*?\*/[ \t]*\n", re.MULTILINE | re.DOTALL)
_LINE_COMMENT = re.compile(r"^[ \t]*//.*\n", re.MULTILINE)
_SPACE = re.compile(r"^[ \t]+|\n(?=\n)", re.MULTILINE)


def folder() -> Path:
    """Return the folder of the browser code: in a wheel, or in a checkout."""
    here = Path(__file__).parent
    for place in (here / "_browser", here.parents[1] / "widgets"):
        if place.is_dir():
            return place
    raise InputError("mmaudit", "the browser code of its widgets", "none", "Install mmaudit again.")


@functools.cache
def bundle(entry: str, root: Path | None = None) -> str:
    """Return an entry module and all that it imports, each once, as one module.

    Parameters
    ----------
    entry : str
        Name of the module, such as "grid.js".
    root : path or None
        Where the modules are. None: those of this package.

    Raises
    ------
    ValueError
        An import or export of a form other than `import { a, b } from "./x.js";` and `export function a`, a name that
        the other module does not export, or one that two modules have.
    """
    root = folder() if root is None else root
    done: dict[str, set[str]] = {}
    owner: dict[str, str] = {}
    parts: list[str] = []

    def add(name: str, is_entry: bool) -> set[str]:
        if name in done:
            return done[name]
        done[name] = set()
        source = (root / name).read_text("utf-8")
        source = _LINE_COMMENT.sub("", _BLOCK_COMMENT.sub("", source))
        for wanted, other in _IMPORT.findall(source):
            path = _joined(PurePosixPath(name).parent, other)
            there = add(path, False)
            missing = {word.strip() for word in wanted.split(",") if word.strip()} - there
            if missing:
                raise ValueError(f"{name}: {path} does not export {', '.join(sorted(missing))}")
        source = _IMPORT.sub("", source)
        for exported, own in _NAME.findall(source):
            if own in owner:
                raise ValueError(f"{name}: {own} is a name of {owner[own]} too")
            owner[own] = name
            if exported:
                done[name].add(own)
        source = _EXPORT.sub("", source)
        other_form = _OTHER.search(source) or (not is_entry and re.search(r"^export default\b", source, re.MULTILINE))
        if other_form:
            raise ValueError(
                f"{name}: cannot join {other_form[0].strip()!r}; see the top of mmaudit/widgets/_bundle.py"
            )
        parts.append(_SPACE.sub("", source).strip("\n"))
        return done[name]

    add(entry, True)
    return "\n".join(parts) + "\n"


@functools.cache
def packed(entry: str) -> str:
    """Return `bundle(entry)` as a module that unpacks itself."""
    return _LOADER % base64.b64encode(zlib.compress(bundle(entry).encode(), 9)).decode()


def _joined(base: PurePosixPath, other: str) -> str:
    parts: list[str] = []
    for part in (base / other).parts:
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


@functools.cache
def styles(*names: str) -> str:
    """Return style sheets as one."""
    sheets = (_BLOCK_COMMENT.sub("", (folder() / name).read_text("utf-8")) for name in names)
    return "\n".join(_SPACE.sub("", sheet).strip("\n") for sheet in sheets) + "\n"
