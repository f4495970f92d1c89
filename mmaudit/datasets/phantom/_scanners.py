"""How X-ray machines turn what leaves the patient into a grey image, each in its own way.

The beam that reaches the detector, with the scatter of the patient around it, is counted with noise, blurred by the
detector, made logarithmic, evened out, sharpened and put through a tone curve whose window is set by what is found in
the body. All is float64 and without random order, so that the same film is the same to the last bit everywhere.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ["SCANNERS", "Scanner", "count", "develop", "lowpass"]


@dataclass(frozen=True)
class Scanner:
    """How a machine's films look.

    Attributes
    ----------
    dose : float
        Quanta that reach a cm2 of the detector without a patient, in units of 1e6.
    blur_cm, mottle_cm : float
        Standard deviation of the detector's blur, and of that of its noise.
    fixed_noise : float
        Noise that does not fall with the dose: of electronics or of the plate's grain.
    streaks : float
        Noise that a whole row has in common, from a laser that reads row by row.
    latitude : float
        Least range of the logarithm of the signal that the tone curve spreads over its steep part.
    gamma : float
        Exponent of the final curve; above 1 darker.
    evening : float
        Share of the coarse differences of the image that is taken away (dynamic range compression).
    edge, edge_cm : float
        Weight and standard deviation of an unsharp mask.
    grid_lines : float
        Lines per cm of a grid that stands still, which beat with the pixels; 0 without one.
    bits : int
        Of the detector.
    outline : str
        Of the image: "square", "round" or "cut" corners of black blades, "white" border, or "dead" rows at the edge.
    """

    dose: float
    blur_cm: float = 0.02
    mottle_cm: float = 0.02
    fixed_noise: float = 0.0
    streaks: float = 0.0
    latitude: float = 2.2
    gamma: float = 1.0
    evening: float = 0.25
    edge: float = 0.4
    edge_cm: float = 0.3
    grid_lines: float = 0.0
    bits: int = 14
    outline: str = "square"


SCANNERS = {
    "Aster 500": Scanner(dose=5.0, evening=0.24, edge=0.5, latitude=2.1),
    "Aster 700": Scanner(dose=8.0, evening=0.42, edge=0.9, edge_cm=0.28, latitude=1.9, gamma=1.05, outline="round"),
    "Boreal DR": Scanner(dose=4.0, blur_cm=0.05, evening=0.30, edge=0.15, latitude=2.4, gamma=0.9, grid_lines=41.3),
    "Cirrus CR": Scanner(
        dose=2.2,
        blur_cm=0.07,
        mottle_cm=0.06,
        fixed_noise=0.003,
        streaks=0.003,
        evening=0.12,
        edge=0.5,
        edge_cm=0.45,
        latitude=2.3,
        gamma=1.12,
        bits=12,
        outline="white",
    ),
    "Mobile M1": Scanner(dose=1.6, blur_cm=0.05, evening=0.20, edge=0.3, latitude=2.3, bits=12),
    "Mobile M2": Scanner(
        dose=0.5,
        blur_cm=0.06,
        mottle_cm=0.04,
        fixed_noise=0.005,
        evening=0.10,
        edge=0.2,
        latitude=2.5,
        gamma=0.88,
        grid_lines=38.6,
        bits=12,
        outline="dead",
    ),
    "Mobile M3": Scanner(dose=1.8, evening=0.45, edge=1.0, edge_cm=0.32, latitude=2.0, gamma=1.04, outline="cut"),
}


def count(
    scanner: Scanner, primary: np.ndarray, scatter: np.ndarray, pixel_cm: float, gain: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the signal that the detector counts from the direct and the scattered beam, both 1 without a patient.

    `gain`: of the exposure, 1 is usual.
    """
    signal = primary + scatter
    white = rng.standard_normal(signal.shape)
    mottle = scanner.mottle_cm / pixel_cm
    if mottle > 0.25:
        # Neighbours share quanta; what is lost in the blur is made up, so that the dose alone sets the strength.
        white = gaussian_filter(white, mottle, truncate=3.0)
        white *= 1 / math.sqrt(float(np.mean(white * white)))
    quanta = scanner.dose * 1e6 * gain * pixel_cm * pixel_cm
    noisy = np.sqrt(signal / quanta + (scanner.fixed_noise * signal) ** 2)
    noisy *= white
    noisy += signal
    if scanner.streaks:
        noisy *= 1 + scanner.streaks * rng.standard_normal((signal.shape[0], 1))
    if scanner.grid_lines:
        # The pattern that remains when lines are finer than pixels: it has the frequency that is left over.
        left_over = scanner.grid_lines * pixel_cm
        left_over -= round(left_over)
        columns = np.arange(signal.shape[1]) + 0.02 * np.arange(signal.shape[0])[:, None]
        noisy *= 1 + 0.006 * np.cos(2 * math.pi * left_over * columns)
    # The borders of what is drawn are sharper than a pixel: at least a little blur makes up for that.
    blur = max(scanner.blur_cm / pixel_cm, 0.38)
    noisy = gaussian_filter(noisy, blur, truncate=2.6)
    return np.maximum(noisy, 1e-5, out=noisy)


def develop(
    scanner: Scanner,
    signal: np.ndarray,
    looked_at: np.ndarray,
    seen: np.ndarray,
    pixel_cm: float,
    *,
    brightness: float,
    contrast: float,
) -> np.ndarray:
    """Return the image, (height, width) float64 in [0, 1], bright where the signal is weak.

    Parameters
    ----------
    scanner : Scanner
        The machine.
    signal : ndarray of shape (height, width), float64
        From `count`.
    looked_at : ndarray of shape (height, width), bool
        Pixels with the chest, whose values set the window.
    seen : ndarray of shape (height, width), float64
        1 where the beam was let through to the detector.
    pixel_cm : float
        Size of a pixel.
    brightness, contrast : float
        Shift of the window, and what its steepness is multiplied by.
    """
    dense = -np.log(signal)
    step = max(1, signal.shape[0] // 64)
    values = dense[::step, ::step][looked_at[::step, ::step]]
    if values.size < 20:
        values = dense[::step, ::step].ravel()
    low, high = (float(v) for v in np.percentile(values, (6, 92)))
    # Air and metal do not pull their surroundings along.
    calm = np.clip(dense, low - 0.4, high + 0.4)
    coarse = lowpass(calm * seen, 2.4 / pixel_cm) / np.maximum(lowpass(seen, 2.4 / pixel_cm), 0.05)
    middle = 0.5 * (low + high)
    fine = dense - _blurred(calm, scanner.edge_cm / pixel_cm)
    dense -= scanner.evening * (coarse - middle)
    # Edges of the body and of metal are sharpened less than those in the lungs, or they would have halos.
    dense += scanner.edge * fine / (1 + 2.2 * np.abs(fine))
    width = max(high - low, scanner.latitude) * (1 - 0.5 * scanner.evening)
    tone = (dense - middle) * (3.4 * contrast / width) + brightness
    shown = 1 / (1 + np.exp(-tone))
    # A film's curve: nothing is quite black or white but what lies far outside the window.
    return np.clip((shown - 0.02) / 0.955, 0, 1) ** scanner.gamma


def _blurred(values: np.ndarray, sigma_px: float) -> np.ndarray:
    if sigma_px < 4:
        return gaussian_filter(values, sigma_px, truncate=2.6, mode="nearest")
    inside = np.ones_like(values)
    return lowpass(values, sigma_px) / lowpass(inside, sigma_px)


def lowpass(values: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return a square array blurred by a wide Gaussian, with nothing beyond its borders."""
    # In steps of a quarter of a pixel, since films differ in the size of theirs and the matrices are kept.
    up, down = _lowpass_matrices(values.shape[0], round(4 * sigma_px) / 4)
    return up @ (down @ values @ down.T) @ up.T


@functools.lru_cache(maxsize=128)
def _lowpass_matrices(size_px: int, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (up, down), (size, n) and (n, size): averages over nodes, blurred, and back to pixels between them."""
    n = max(4, math.ceil(2.5 * size_px / sigma_px))
    n = min(n, size_px)
    edges = np.linspace(0, size_px, n + 1)
    pixels = np.arange(size_px, dtype=float)
    share = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    average = np.clip(share, 0, None) * (n / size_px)
    nodes = 0.5 * (edges[1:] + edges[:-1])
    away = (nodes[:, None] - nodes[None, :]) / sigma_px
    kernel = np.exp(-0.5 * away * away)
    kernel *= (size_px / n) / (sigma_px * math.sqrt(2 * math.pi))
    step = size_px / n
    between = np.clip(1 - np.abs((pixels[:, None] + 0.5) - nodes[None, :]) / step, 0, None)
    between /= between.sum(axis=1, keepdims=True)
    return between, kernel @ average
