"""Encoders by a short text, for the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmaudit._errors import InputError, nearest
from mmaudit.classifiers import load_classifier
from mmaudit.encoders._classifier import ClassifierEncoder
from mmaudit.encoders._open_clip import PHANTOM_CLIP, OpenCLIPEncoder
from mmaudit.encoders._pretrained import PretrainedEncoder
from mmaudit.encoders._transformers import TransformersEncoder
from mmaudit.encoders._xrv import XRVEncoder

__all__ = ["encoder_from"]

FORMS = (
    f"{PHANTOM_CLIP}, open_clip:NAME[:PRETRAINED], hf:NAME, xrv:WEIGHTS, a folder of a model, or the .safetensors file "
    "of a classifier"
)
_KINDS = ("open_clip", "hf", "xrv")


def encoder_from(spec: str | Path, *, allow_download: bool = False, progress: bool = False) -> PretrainedEncoder:
    """Return the encoder that a short text names. Its network is not loaded yet, except a classifier's.

    Parameters
    ----------
    spec : str or path
        - "phantom-clip": the model that comes with the package; an `OpenCLIPEncoder`.
        - "open_clip:NAME:PRETRAINED", such as "open_clip:ViT-B-32:openai", "open_clip:hf-hub:owner/name", or
          "open_clip:FOLDER".
        - "hf:NAME", such as "hf:microsoft/rad-dino", or "hf:FOLDER"; a `TransformersEncoder`.
        - "xrv:WEIGHTS", such as "xrv:densenet121-res224-all", or "xrv:FILE"; an `XRVEncoder`.
        - A folder: with open_clip_config.json an `OpenCLIPEncoder`, else with config.json a `TransformersEncoder`.
        - A file that ends in .safetensors, as `Classifier.save` writes it: a `ClassifierEncoder`.
    allow_download : bool
        Whether a model that is not on this machine is fetched when it is first needed.
    progress : bool
        Show progress bars on standard error while encoding.

    Raises
    ------
    InputError
        A text of another form, a folder without a model, or a file that is no classifier.
    MissingExtraError
        A classifier, without PyTorch.

    Examples
    --------
    >>> encoder_from("hf:microsoft/rad-dino")
    TransformersEncoder(model='microsoft/rad-dino')
    """
    text = str(spec)
    how: dict[str, Any] = {"allow_download": allow_download, "progress": progress}
    if text == PHANTOM_CLIP:
        return OpenCLIPEncoder(text, **how)
    path = _existing(text)
    if path is not None and path.is_dir():
        return _of_folder(path)(path, **how)
    if path is not None:
        if path.suffix != ".safetensors":
            raise InputError(
                "spec",
                "a folder, or a file that ends in .safetensors",
                f"a file that ends in {path.suffix!r}",
                "Weights of torchxrayvision are xrv:FILE, other models a folder.",
            )
        return ClassifierEncoder(load_classifier(path), progress=progress)
    kind, colon, name = text.partition(":")
    if not colon or kind not in _KINDS:
        raise InputError(
            "spec",
            FORMS,
            repr(text),
            f"Check the path or the word before the colon.{nearest(kind, [*_KINDS, PHANTOM_CLIP])}",
        )
    if not name:
        raise InputError("spec", f"a name behind {kind}:", "none", f"Forms: {FORMS}.")
    if kind == "hf":
        return TransformersEncoder(name, **how)
    if kind == "xrv":
        return XRVEncoder(name, **how)
    folder = _existing(name)
    if name.startswith("hf-hub:") or (folder is not None and folder.is_dir()):
        return OpenCLIPEncoder(name, **how)
    architecture, _, pretrained = name.partition(":")
    return OpenCLIPEncoder(architecture, pretrained=pretrained or None, **how)


def _existing(text: str) -> Path | None:
    """Return the file or folder at a path; None where there is none, or the text is no path."""
    try:
        path = Path(text).expanduser()
        return path if path.is_dir() or path.is_file() else None
    except (OSError, ValueError, RuntimeError):  # a name too long, a NUL in it, the home of an unknown user
        return None


def _of_folder(folder: Path) -> Callable[..., PretrainedEncoder]:
    for config, encoder in (("open_clip_config.json", OpenCLIPEncoder), ("config.json", TransformersEncoder)):
        if (folder / config).is_file():
            return encoder
    raise InputError(
        "spec",
        "a folder with open_clip_config.json or config.json",
        "a folder with neither",
        "Name the folder that holds the model itself.",
    )
