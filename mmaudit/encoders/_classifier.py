"""The penultimate layer of the audited classifier: the space in which it tells images apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmaudit._errors import InputError, nearest
from mmaudit.classifiers import Classifier, WrappedModel, wrap
from mmaudit.classifiers._classifier import Network
from mmaudit.classifiers._images import square
from mmaudit.encoders._pretrained import ImagePart, Parts, PretrainedEncoder
from mmaudit.encoders._xrv import digest_of_network
from mmaudit.images import GrayImage

__all__ = ["ClassifierEncoder"]


class ClassifierEncoder(PretrainedEncoder):
    """Embeddings of images by a layer of a classifier: what its last layer sees, unless another is named.

    Parameters
    ----------
    classifier : Classifier, WrappedModel of a torch module, or torch.nn.Module
        What `train`, `load_classifier` or `wrap(module, ...)` returned: images are prepared as for its predictions.
        A bare module is wrapped with the defaults of `wrap`: 224 pixels, grey values in [0, 1].
    layer : str or None
        A layer as `classifier.network.module.named_modules()` names it, whose answer is taken. None: the input of the
        last linear or convolutional layer that runs.
    batch_size : int or "auto"
        Images that go through the network at a time. "auto": as many as fit the memory, on a CPU at most 16.
    n_jobs : int or None
        Threads that read images; for a GPU, processes. None: all cores, 8 at most.
    cache : bool or path
        Whether embeddings are kept, by the network's tensors and by content of each image. True: in
        `mmaudit.cache.cache_dir()`. What a module computes is known by its class, its structure and its tensors: after
        an edit of the code of its `forward` clear the cache.
    progress : bool
        Show progress bars on standard error.

    Notes
    -----
    It computes where the module is, in the module's precision. Positions of an image are averaged: of an answer
    (n, channels, height, width) over height and width, of (n, positions, channels) over positions.

    A slice found in this space is one that the classifier itself tells apart. It need not be one that a person sees,
    and a failure that the classifier is blind to may not show in it.
    """

    mixed_precision = False
    allow_download = False

    def __init__(
        self,
        classifier: Any,
        *,
        layer: str | None = None,
        batch_size: int | str = "auto",
        n_jobs: int | None = None,
        cache: bool | str | Path = True,
        progress: bool = False,
    ) -> None:
        self.classifier = classifier
        self.layer = layer
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.cache = cache
        self.progress = progress

    @property
    def modalities(self) -> tuple[str, ...]:
        """Images."""
        return ("image",)

    @property
    def device(self) -> str:  # type: ignore[override]
        """Where the classifier computes."""
        sample = next(self._network().module.parameters(), None)
        return "cpu" if sample is None else str(sample.device)

    def _network(self) -> Network:
        given = self.classifier
        if not isinstance(given, (Classifier, WrappedModel)):
            given = wrap(given)
        if given.network is None:
            raise InputError(
                "classifier",
                "a torch module, or a classifier made of one",
                f"{given.kind}, which has no layers",
                "Use another encoder, or wrap the module.",
            )
        module = given.network.module
        names = [name for name, _ in module.named_modules() if name]
        if self.layer is not None and self.layer not in names:
            raise InputError(
                "layer",
                "a layer of the module",
                repr(self.layer),
                f"Such as {', '.join(repr(n) for n in names[-6:])}.{nearest(str(self.layer), names)}",
            )
        return given.network

    def _identity(self) -> dict[str, Any]:
        network = self._network()
        return {
            "model": type(network.module).__name__,
            "revision": digest_of_network(network.module),
            "layer": self.layer or "",
            "preparation": f"{network.image_size} {network.fit} {dict(network.scaling)!r}",
        }

    def _load(self, torch: Any, device: Any) -> Parts:
        network = self._network()

        def prepare(image: GrayImage) -> np.ndarray:
            return square(image.pixels, network.image_size, network.fit)

        def apply(batch: np.ndarray) -> Any:
            return _positions_averaged(self._seen(torch, network, batch))

        # As for its predictions: a padded square needs no more pixels than its side.
        reduced = network.image_size if network.fit == "pad" else None
        return Parts(network.module, device, ImagePart(prepare, apply, network.image_size, reduced))

    def _seen(self, torch: Any, network: Network, batch: np.ndarray) -> Any:
        """Return what the layer answers, or what the last layer is given."""
        noted: list[Any] = []

        def note_answer(_module: Any, _given: Any, answer: Any) -> None:
            noted[:] = [answer[0] if isinstance(answer, (tuple, list)) else answer]

        def note_input(_module: Any, given: Any) -> None:
            if given and isinstance(given[0], torch.Tensor):
                noted[:] = [given[0]]

        if self.layer is None:
            heads = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
            last = [module for module in network.module.modules() if isinstance(module, heads)]
            hooks = [module.register_forward_pre_hook(note_input) for module in last]
        else:
            hooks = [network.module.get_submodule(self.layer).register_forward_hook(note_answer)]
        try:
            network.forward(list(batch))
        finally:
            for hook in hooks:
                hook.remove()
        if not noted or not isinstance(noted[0], torch.Tensor) or noted[0].shape[:1] != (len(batch),):
            raise InputError(
                "layer",
                "a layer that answers one row an image",
                "one that does not run or answers something else" if self.layer else "a module without such a layer",
                "Name a layer: layer=...",
            )
        return noted[0]


def _positions_averaged(seen: Any) -> Any:
    if seen.ndim == 4:
        return seen.mean((2, 3))
    return seen.mean(1) if seen.ndim == 3 else seen.reshape(len(seen), -1)
