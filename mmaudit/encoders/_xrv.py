"""Networks of torchxrayvision, trained on chest radiographs of several hospitals, with their own normalisation."""

from __future__ import annotations

import copy
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mmaudit._errors import InputError, MissingExtraError, nearest
from mmaudit.encoders._hub import digest_of
from mmaudit.encoders._pretrained import ImagePart, Parts, PretrainedEncoder, package_version
from mmaudit.images import GrayImage

__all__ = ["XRVEncoder", "digest_of_network"]

SIDE_PX = {"densenet": 224, "resnet": 512}
RANGE = 1024.0  # torchxrayvision scales grey values to [-1024, 1024]


class XRVEncoder(PretrainedEncoder):
    """Embeddings of chest radiographs: what the last layer of a network of torchxrayvision sees.

    Parameters
    ----------
    weights : str, path, or torch.nn.Module
        "densenet121-res224-all", "resnet50-res512-all" or another name that torchxrayvision knows; a file with the
        state dict of its DenseNet-121; or a model of torchxrayvision that was built already.
    window : {"full", "percentiles", "minmax"}
        How grey values of images with more than 8 bits and no display window become [0, 1]; see
        `mmaudit.images.with_window`. torchxrayvision takes the full range of the depth.
    device : {"auto", "cpu", "cuda", "mps"} or such as "cuda:1"
        Where it computes. "auto": a GPU where there is one.
    mixed_precision : {"auto", True, False}
        Half precision. "auto": on a CUDA GPU.
    batch_size : int or "auto"
        Images that go through the network at a time. "auto": as many as fit the memory, on a CPU at most 16.
    n_jobs : int or None
        Threads that read images; for a GPU, processes. None: all cores, 8 at most.
    cache : bool or path
        Whether embeddings are kept, by model and by content of each image. True: in the folder that
        `mmaudit.cache.cache_dir()` names.
    allow_download : bool
        Whether weights that are not on this machine are fetched. False: an error says how to fetch them.
    progress : bool
        Show progress bars on standard error.

    Notes
    -----
    Images are prepared as torchxrayvision does it: scaled to [-1024, 1024], the longer side cut to a square, and
    resized by its `XRayResizer`. Its files of DenseNet weights are whole pickled modules, which can run code when they
    are opened: take them from torchxrayvision's own releases only. A file given by path is opened without running code.

    References
    ----------
    Cohen et al., "TorchXRayVision: a library of chest X-ray datasets and models", 2022, arXiv:2111.00595.
    """

    def __init__(
        self,
        weights: Any = "densenet121-res224-all",
        *,
        window: str = "full",
        device: str = "auto",
        mixed_precision: bool | str = "auto",
        batch_size: int | str = "auto",
        n_jobs: int | None = None,
        cache: bool | str | Path = True,
        allow_download: bool = False,
        progress: bool = False,
    ) -> None:
        self.weights = weights
        self.window = window
        self.device = device
        self.mixed_precision = mixed_precision
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.cache = cache
        self.allow_download = allow_download
        self.progress = progress

    @property
    def modalities(self) -> tuple[str, ...]:
        """Images."""
        return ("image",)

    @property
    def _window(self) -> str:  # type: ignore[override]
        return self.window

    def _file(self) -> Path | None:
        """Return the file that `weights` names, or None for a name of torchxrayvision or a model."""
        if not isinstance(self.weights, (str, Path)):
            return None
        path = Path(self.weights).expanduser()
        return path if path.is_file() else None

    def _identity(self) -> dict[str, Any]:
        file = self._file()
        if file is not None:
            told = {"model": file.name, "revision": digest_of([file], keep=self._cache_folder())}
        elif isinstance(self.weights, (str, Path)):
            told = {"model": str(self.weights), "revision": ""}
        else:
            told = {"model": repr(type(self.weights).__name__), "revision": digest_of_network(self.weights)}
        return told | {"libraries": f"torchxrayvision {package_version('torchxrayvision')}"}

    def _load(self, torch: Any, device: Any) -> Parts:
        xrv = _need_xrv()
        network = self._network(torch, xrv).to(device).eval()
        extract = network.features2 if hasattr(network, "features2") else network.features
        side_px = _side_px(network)
        crop, resize = xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(side_px)

        def prepare(image: GrayImage) -> np.ndarray:
            return resize(crop((2 * image.pixels[None] - 1) * RANGE)).astype(np.float32)

        def apply(batch: np.ndarray) -> Any:
            with warnings.catch_warnings():
                # It takes a batch of dark films for one that was not scaled.
                warnings.filterwarnings("ignore", message=".*not normalized correctly")
                return extract(torch.from_numpy(batch).to(device))

        return Parts(network, device, ImagePart(prepare, apply, side_px))

    def _network(self, torch: Any, xrv: Any) -> Any:
        file = self._file()
        if file is not None:
            return _from_file(torch, xrv, file)
        if isinstance(self.weights, torch.nn.Module):
            if not hasattr(self.weights, "features2") and not hasattr(self.weights, "features"):
                raise InputError(
                    "weights",
                    "a model of torchxrayvision",
                    f"a {type(self.weights).__name__} without features",
                    "Use ClassifierEncoder for other networks.",
                )
            return copy.deepcopy(self.weights)  # it is moved to a device and set to evaluation
        name = str(self.weights)
        known = xrv.models.model_urls
        if name not in known:
            raise InputError(
                "weights",
                "a name that torchxrayvision knows, a file, or a model",
                repr(name),
                f"Names: {', '.join(k for k in known if k.startswith(('densenet', 'resnet')))}.{nearest(name, known)}",
            )
        url = known[name]["weights_url"]
        target = Path(xrv.utils.get_cache_dir()) / Path(url).name
        if not target.is_file() and not self.allow_download:
            raise InputError(
                "weights",
                "weights that are on this machine",
                f"{name!r}, which torchxrayvision has not fetched",
                f"Pass allow_download=True, or fetch them with `wget {url} -P {target.parent}`.",
            )
        return xrv.models.get_model(name)


def _need_xrv() -> Any:
    try:
        import torchxrayvision
    except ImportError as error:
        raise MissingExtraError("XRVEncoder", error.name or "torchxrayvision", "xrv") from None
    return torchxrayvision


def _from_file(torch: Any, xrv: Any, file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        network = xrv.models.DenseNet(num_classes=len(state["classifier.weight"]))
        network.load_state_dict(state, strict=True)
    except Exception as error:  # pickles, tensors and keys can each be wrong in ways of their own
        raise InputError(
            "weights",
            "a file with the state dict of torchxrayvision's DenseNet-121",
            f"one that is not ({type(error).__name__})",
            "Save model.state_dict() with torch.save or safetensors, or pass the model itself.",
        ) from error
    return network


def _side_px(network: Any) -> int:
    told = getattr(network, "input_resolution", None)
    if told:
        return int(told)
    return SIDE_PX["resnet"] if "resnet" in type(network).__name__.lower() else SIDE_PX["densenet"]


def digest_of_network(network: Any) -> str:
    """Return a digest of a module's class, structure and tensors."""
    import torch

    structure = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(network))  # where a function lies differs between runs
    total = hashlib.blake2b(
        f"{type(network).__module__}.{type(network).__qualname__} {structure}".encode(), digest_size=16
    )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        total.update(f"{name} {tensor.dtype}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()
