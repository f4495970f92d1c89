"""Grey values without a display window, brought into [0, 1]."""

from __future__ import annotations

import numpy as np

__all__ = ["stretch"]

WINDOW_PERCENTILES = (0.5, 99.5)  # 16-bit films are stretched between these, since their range says little


def stretch(values: np.ndarray, window: str, full: tuple[float, float] | None = None) -> np.ndarray:
    """Return `values` as float32 in [0, 1]: black where they are not finite or all the same.

    `full` is the range of values that the file can hold; without one, the window "full" is the image's own range.
    """
    values = values.astype(np.float32, copy=False)
    known = np.isfinite(values)
    finite = values.ravel() if known.all() else values[known]
    if finite.size == 0:
        return np.zeros_like(values)
    if window == "full" and full is not None:
        low, high = full
    elif window == "percentiles":
        low, high = np.percentile(finite[:: max(1, finite.size // 250_000)], WINDOW_PERCENTILES)
    else:
        low = high = 0.0
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    if high <= low:
        return np.zeros_like(values)
    # In place, and float32 throughout: an image at the limit of pixels has 256 MB.
    low, high = float(low), float(high)
    shown = np.nan_to_num(values - np.float32(low), copy=False)
    shown /= np.float32(high - low)
    return np.clip(shown, 0, 1, out=shown)
