"""The networks that can be trained, each for grey images and any number of labels."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmaudit._errors import InputError, MissingExtraError, nearest
from mmaudit.classifiers._torch import need_torch

__all__ = ["ARCHITECTURES", "LARGEST_PX", "SMALLEST_PX", "build", "check_architecture", "load_weights", "weights_name"]

ARCHITECTURES = {"small_cnn": 112, "resnet18": 224, "densenet121": 224}  # and the side of their images
SMALLEST_PX, LARGEST_PX = 32, 1024  # that side may be
SMALL_CHANNELS = (16, 24, 48, 96, 128)
SMALL_DROPOUT = 0.2
# Where each architecture keeps its first convolution and its last layer.
_FIRST = {"small_cnn": "stem.0", "resnet18": "conv1", "densenet121": "features.conv0"}
_LAST = {"small_cnn": "head", "resnet18": "fc", "densenet121": "classifier"}


def check_architecture(architecture: Any) -> None:
    """Raise `InputError` with the nearest name unless `architecture` is known."""
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        raise InputError(
            "architecture",
            f"one of {', '.join(ARCHITECTURES)}",
            repr(architecture),
            f"Choose one of them, or use wrap() for a model of your own.{nearest(str(architecture), ARCHITECTURES)}",
        )


def build(architecture: str, n_labels: int, *, imagenet: bool = False) -> Any:
    """Return a network from (n, 1, side, side) to logits (n, n_labels); `imagenet` downloads torchvision's weights."""
    torch = need_torch("training a classifier")
    if architecture == "small_cnn":
        return _small_cnn()(n_labels)
    try:
        import torchvision
    except ImportError:
        raise MissingExtraError(f"the architecture {architecture}", "torchvision", "torch") from None
    network = getattr(torchvision.models, architecture)(weights="DEFAULT" if imagenet else None)
    old = network.get_submodule(_FIRST[architecture])
    first = torch.nn.Conv2d(1, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False)
    with torch.no_grad():
        # The same as a grey image in all three channels.
        first.weight.copy_(old.weight.sum(dim=1, keepdim=True))
    _replace(network, _FIRST[architecture], first)
    last = network.get_submodule(_LAST[architecture])
    _replace(network, _LAST[architecture], torch.nn.Linear(last.in_features, n_labels))
    return network


def load_weights(network: Any, architecture: str, path: str | Path) -> None:
    """Copy the state dict at `path` into `network`; a last layer of another shape is left as it is."""
    given = {key.removeprefix("model.").removeprefix("module."): value for key, value in _state_dict(path).items()}
    first, last = f"{_FIRST[architecture]}.weight", f"{_LAST[architecture]}."
    if first in given and given[first].ndim == 4 and given[first].shape[1] == 3:
        given[first] = given[first].sum(dim=1, keepdim=True)
    state = network.state_dict()
    fitting = {k: v for k, v in given.items() if k in state and v.shape == state[k].shape}
    lacking = [k for k in state if k not in fitting and not k.startswith(last)]
    # Counters of batches came late to BatchNorm and are not used.
    lacking = [k for k in lacking if not k.endswith("num_batches_tracked")]
    if lacking:
        raise InputError(
            "weights",
            f"a state dict of {architecture}",
            f"a file that lacks {len(lacking)} of its {len(state)} tensors, or has them in another shape",
            f"The first is {lacking[0]!r}. Check that the file belongs to this architecture.",
        )
    network.load_state_dict(fitting, strict=False)


def weights_name(weights: str | Path | None) -> str | None:
    """Return what a configuration says of `weights`: nothing, "imagenet", or the SHA-256 of the file; check them."""
    if weights is None or weights == "imagenet":
        return None if weights is None else "imagenet"
    if not isinstance(weights, (str, Path)):
        raise TypeError(
            f"weights: expected a path, 'imagenet' or None, got {type(weights).__name__}. Save the state dict to a "
            "file first."
        )
    path = Path(weights)
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise InputError(
            "weights",
            "'imagenet', or a file *.safetensors, *.pth or *.pt",
            "another name",
            f"Save the state dict in one of these formats.{nearest(str(weights), ['imagenet'])}",
        )
    if not path.is_file():
        raise InputError("weights", "an existing file", "a path at which there is none", "Check the path.")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _state_dict(path: str | Path) -> dict[str, Any]:
    torch = need_torch("training a classifier")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    state: Any
    try:
        if Path(path).suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch.load has no error of its own: a damaged file or one that wants to run code is any of five kinds.
        if not isinstance(error, (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError)) and (
            "Unpickling" not in type(error).__name__
        ):
            raise
        state = None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(
            "weights",
            "a state dict, names and tensors only",
            "a file that is damaged or holds something else",
            "Save it with safetensors.torch.save_file(model.state_dict(), path).",
        )
    return dict(state)


def _replace(network: Any, name: str, module: Any) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


@functools.lru_cache(maxsize=1)
def _small_cnn() -> Any:
    """Return the class, made here because its base class is PyTorch's."""
    torch = need_torch("training a classifier")
    nn: Any = torch.nn

    class Block(nn.Module):
        """Halve the image: two convolutions beside a shortcut (He et al. 2016, doi:10.1109/CVPR.2016.90)."""

        def __init__(self, n_in: int, n_out: int) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(inplace=True),
                nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(n_out),
            )
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(n_in, n_out, 1, bias=False),
                nn.BatchNorm2d(n_out),
            )

        def forward(self, x: Any) -> Any:
            return torch.relu(self.main(x) + self.shortcut(x))

    class SmallCNN(nn.Module):
        """Quick on a CPU. The pooled maximum keeps what fills a corner, such as a blunted angle at a lung base."""

        def __init__(self, n_labels: int) -> None:
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(1, SMALL_CHANNELS[0], 5, stride=2, padding=2, bias=False),
                nn.BatchNorm2d(SMALL_CHANNELS[0]),
                nn.ReLU(inplace=True),
            )
            self.blocks = nn.Sequential(*[Block(n_in, n_out) for n_in, n_out in itertools.pairwise(SMALL_CHANNELS)])
            self.dropout = nn.Dropout(SMALL_DROPOUT)
            self.head = nn.Linear(2 * SMALL_CHANNELS[-1], n_labels)

        def forward(self, x: Any) -> Any:
            features = self.blocks(self.stem(x))
            pooled = torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1)
            return self.head(self.dropout(pooled))

    return SmallCNN
