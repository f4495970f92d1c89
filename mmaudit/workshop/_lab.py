"""What JupyterLab opens at the start of a workshop, with which kernel: files of its own, none of the user's."""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePosixPath

from mmaudit.workshop._suite import CONTENTS, FIRST

__all__ = ["KERNEL", "prepare_lab", "write_workspace"]

HIDDEN = ".jupyterlab"  # in the folder of the notebooks; JupyterLab does not list what begins with a dot
KERNEL = "python3"  # as the notebooks name it
SHARES = (0.68, 0.32)  # of the width: the notebook, the table of contents


def write_workspace(folder: Path, *, below: str = "") -> Path:
    """Write the layout with which JupyterLab begins: the first notebook, and beside it the table of contents.

    Parameters
    ----------
    folder : path
        Where the server keeps workspaces. A layout that is there is kept: it is where somebody went on.
    below : str
        The folder of the notebooks as the server sees it, with `/`. Empty: the server's root.

    Returns
    -------
    path
        The file, for JupyterLab's default workspace.
    """
    from jupyterlab_server.workspaces_handler import WORKSPACE_EXTENSION, WorkspacesManager, slugify

    path = folder / f"{slugify('default')}{WORKSPACE_EXTENSION}"
    if path.exists():
        return path
    first, contents = (str(PurePosixPath(below, name)) for name in (FIRST, CONTENTS))
    notebook, preview = f"notebook:{first}", f"markdownviewer-widget:{contents}"
    tabs = [{"type": "tab-area", "currentIndex": 0, "widgets": [widget]} for widget in (notebook, preview)]
    main = {"type": "split-area", "orientation": "horizontal", "sizes": list(SHARES), "children": tabs}
    data = {
        "layout-restorer:data": {"main": {"dock": main, "current": notebook}},
        notebook: {"data": {"path": first, "factory": "Notebook"}},
        preview: {"data": {"path": contents, "factory": "Markdown Preview"}},
    }
    workspace = {"data": data, "metadata": {"id": "default"}}
    return WorkspacesManager(str(folder)).save("default", json.dumps(workspace))


def prepare_lab(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return options and environment variables of a JupyterLab that serves the notebooks in a folder.

    Parameters
    ----------
    folder : path
        As `write_notebooks` fills it.

    Returns
    -------
    options : list of str
        For the command line of JupyterLab: its workspaces lie in the folder, and the user's own stay as they are.
    variables : dict of str
        To add to the environment: the first place where kernels are looked for is one in the folder, with a kernel of
        this Python. A kernel of the same name that a user has elsewhere would run the notebooks without this package.
    """
    own = folder.resolve() / HIDDEN
    write_workspace(own / "workspaces")
    kernel = own / "share" / "kernels" / KERNEL / "kernel.json"
    kernel.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python", "metadata": {"debugger": True}}
    kernel.write_text(json.dumps(spec, indent=1), encoding="utf-8")  # anew: the environment may be another one
    return [f"--LabApp.workspaces_dir={own / 'workspaces'}"], {"JUPYTER_PATH": str(own / "share")}
