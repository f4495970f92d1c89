"""Classifiers and checkpoints as safetensors files: tensors, and JSON in the header; nothing in them can run code."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmaudit._errors import InputError

__all__ = ["check_target", "from_bytes", "read_file", "to_bytes", "write_file"]

FORMAT = "1"
_KEY = "mmaudit_classifier"


def check_target(argument: str, path: Any) -> Path:
    """Return `path` if a classifier can be written there."""
    if not isinstance(path, (str, Path)):
        raise TypeError(f"{argument}: expected a path, got {type(path).__name__}. Give one such as 'x.safetensors'.")
    target = Path(path)
    if target.suffix != ".safetensors" or target.is_dir():
        raise InputError(argument, "the name of a file *.safetensors", "another", "Give one such as 'x.safetensors'.")
    if not target.parent.is_dir():
        raise InputError(argument, "a file in an existing folder", "one in a missing folder", "Make the folder first.")
    return target


def to_bytes(tensors: Mapping[str, Any], about: Mapping[str, Any]) -> bytes:
    """Return a safetensors file of `tensors` whose header holds `about` as JSON."""
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {_KEY: FORMAT, **{name: json.dumps(value) for name, value in about.items()}}
    return save(whole, metadata=header)


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to a temporary name, then rename: `path` is whole at any moment, or as it was."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_file(argument: str, path: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors and what the header says of the file at `path`."""
    if not isinstance(path, (str, Path)):
        raise TypeError(f"{argument}: expected a path, got {type(path).__name__}. Give one such as 'x.safetensors'.")
    try:
        content = Path(path).read_bytes()
    except OSError:
        raise InputError(
            argument, "a file that can be read", "a path at which there is none", "Check the path."
        ) from None
    return from_bytes(argument, content)


def from_bytes(argument: str, content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors and what the header says of a whole file; see `to_bytes`."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(content)  # checks that header and length agree
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, RecursionError):
        raise InputError(
            argument,
            "a whole safetensors file",
            "one that is truncated, damaged or of another format",
            "Copy or save it again.",
        ) from None
    if header.get(_KEY) != FORMAT:
        got = "one of another kind" if _KEY not in header else f"one of format {header[_KEY]}"
        raise InputError(
            argument,
            "a file that a classifier of mmaudit was saved to",
            got,
            "Use wrap() for other models, or update mmaudit.",
        )
    try:
        about = {name: json.loads(value) for name, value in header.items() if name != _KEY}
    except (ValueError, RecursionError):
        raise InputError(argument, "a header of JSON", "one that is damaged", "Save the classifier again.") from None
    return tensors, about
