"""The one place that imports PyTorch, and what depends on the machine: device, precision, random streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmaudit._errors import InputError, MissingExtraError, nearest

__all__ = [
    "choose_device",
    "choose_precision",
    "fast_layout",
    "float_batch",
    "need_torch",
    "own_random",
    "seed_device",
    "seeds",
    "standardise",
]

DEVICES = ("auto", "cpu", "cuda", "mps")
LEAST_SPREAD = 0.01  # of grey values in [0, 1]; keeps the noise of an empty image small


def need_torch(feature: str) -> Any:
    """Return the module torch, or raise `MissingExtraError`; safetensors comes with it in the same extra."""
    try:
        import torch
    except ImportError:
        raise MissingExtraError(feature, "torch", "torch") from None
    try:
        import safetensors.torch  # noqa: F401
    except ImportError:
        raise MissingExtraError(feature, "safetensors", "torch") from None
    return torch


def choose_device(torch: Any, device: Any) -> Any:
    """Return the torch.device called `device`; "auto" takes a GPU where there is one."""
    name = str(device)
    kind = name.partition(":")[0]
    if kind not in DEVICES or (kind in ("auto", "cpu") and ":" in name):
        raise InputError(
            "device", f"one of {', '.join(DEVICES)}", repr(name), f'Use device="auto".{nearest(name, DEVICES)}'
        )
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((found for found, is_there in has.items() if is_there), "cpu"))
    try:
        chosen = torch.device(name)
        there = has.get(kind, True) and not (kind == "cuda" and (chosen.index or 0) >= torch.cuda.device_count())
    except RuntimeError:  # a number that is none
        there = False
    if not there:
        raise InputError("device", "a device that PyTorch finds here", repr(name), 'Use device="auto" or "cpu".')
    return chosen


def choose_precision(torch: Any, mixed_precision: Any, device: Any) -> Any:
    """Return the type that autocast computes in, or None for float32 throughout."""
    if mixed_precision not in ("auto", True, False) or not isinstance(mixed_precision, (str, bool)):
        raise InputError("mixed_precision", "'auto', True or False", repr(mixed_precision), "Use 'auto'.")
    if mixed_precision is False or (mixed_precision == "auto" and device.type != "cuda"):
        return None
    return torch.bfloat16 if device.type == "cpu" else torch.float16


def seeds(random_state: int, epoch: int) -> tuple[int, int]:
    """Return two seeds that belong to this epoch alone, so that a resumed run needs no memory of earlier draws."""
    first, second = np.random.SeedSequence([random_state, epoch]).generate_state(2, np.uint64) >> np.uint64(1)
    return int(first), int(second)


def seed_device(torch: Any, device: Any, seed: int) -> None:
    """Seed the streams that layers such as dropout draw from: those of the CPU and of `device`, no other GPU's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def own_random(torch: Any, device: Any) -> Iterator[None]:
    """Give the caller's random streams and cuDNN settings back at the end; inside, cuDNN is deterministic."""
    cudnn = torch.backends.cudnn
    settings = cudnn.deterministic, cudnn.benchmark
    on_cpu = torch.get_rng_state()
    on_device = None
    if device.type == "cuda":
        on_device = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        on_device = torch.mps.get_rng_state()
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = settings
        torch.set_rng_state(on_cpu)
        if device.type == "cuda":
            torch.cuda.set_rng_state(on_device, device)
        elif device.type == "mps":
            torch.mps.set_rng_state(on_device)


def float_batch(torch: Any, pixels: np.ndarray, device: Any) -> Any:
    """Return uint8 images (n, side, side) as a float32 tensor (n, 1, side, side) in [0, 1] on `device`."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).unsqueeze(1).float().div_(255)


def standardise(images: Any) -> Any:
    """Return images (n, 1, side, side) with mean 0 and standard deviation 1 each: exposure is not the disease."""
    centred = images - images.mean((2, 3), keepdim=True)
    return centred / (centred.square().mean((2, 3), keepdim=True).sqrt() + LEAST_SPREAD)


def fast_layout(torch: Any, tensor_or_module: Any, device: Any) -> Any:
    """Return a tensor or module with channels last, which convolutions on CPUs and CUDA are quickest with."""
    if device.type == "mps":
        return tensor_or_module
    return tensor_or_module.to(memory_format=torch.channels_last)
