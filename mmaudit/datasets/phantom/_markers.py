"""Letters on films: side markers of lead, words and arrows, drawn as strokes so that they are the same everywhere.

A letter is a few polylines on a grid of 4 by 6; its strokes have round ends and any weight, and their borders are
smoothed by how much of a pixel they cover.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

__all__ = ["ARROW", "ring", "text_width", "write"]

ARROW = "^"
_STROKES = {  # polylines, points as pairs of digits x, y with y downwards
    "A": "062046 1434",
    "B": "003041423303 334445360600",
    "C": "4130100105163645",
    "D": "00062644422000",
    "E": "40000646 0333",
    "F": "400006 0333",
    "G": "41301001051636454323",
    "H": "0006 4046 0343",
    "I": "2026",
    "J": "4045361605",
    "K": "0006 4003 1246",
    "L": "000646",
    "M": "0600234046",
    "N": "06004640",
    "O": "103041453616050110",
    "P": "06003041423303",
    "Q": "103041453616050110 2446",
    "R": "06003041423303 2346",
    "S": "413010010213334445361605",
    "T": "0040 2026",
    "U": "000516364540",
    "V": "002640",
    "W": "0016233640",
    "X": "0046 4006",
    "Y": "0023 4023 2326",
    "Z": "00400646",
    "0": "103041453616050110",
    "1": "112026",
    "2": "01103041420646",
    "3": "01103041423313 334445361605",
    "4": "36300444",
    "5": "400003334445361605",
    "6": "4130100105163645443304",
    "7": "004016",
    "8": "103041423313020110 133344453616050413",
    "9": "423313020110304145361605",
    "-": "0343",
    ".": "2526",
    "/": "0640",
    " ": "",
    ARROW: "2620 022042",
}
_ADVANCE = 5.8  # from one letter to the next, in the units of the grid


def text_width(text: str, height_px: float) -> float:
    """Return the width of a line of letters `height_px` tall, in pixels."""
    return max(0.0, (len(text) * _ADVANCE - (_ADVANCE - 4)) * height_px / 6)


def write(
    canvas: np.ndarray,
    text: str,
    left_px: float,
    top_px: float,
    height_px: float,
    *,
    weight: float = 0.15,
    turn_deg: float = 0.0,
) -> None:
    """Draw letters into `canvas`, (height, width) float64 in [0, 1], where the larger value stays.

    `left_px`, `top_px`: corner of the line of letters; `weight`: thickness of a stroke as a share of their height;
    `turn_deg`: turned clockwise about the middle.
    """
    pieces = _segments(text)
    if not len(pieces):
        return
    unit = height_px / 6
    middle = np.array([text_width(text, height_px) / 2, height_px / 2])
    ends = pieces * unit - middle
    c, s = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    ends = ends @ np.array([[c, s], [-s, c]]) + middle + np.array([left_px, top_px])
    _draw(canvas, ends, max(weight * height_px / 2, 0.45))


def ring(canvas: np.ndarray, centre_px: tuple[float, float], radius_px: float, weight_px: float) -> None:
    """Draw a circle around `centre_px` (column, row) into `canvas`."""
    turns = np.linspace(0, 2 * math.pi, 33)
    points = np.stack([np.cos(turns), np.sin(turns)], axis=1) * radius_px + np.array(centre_px)
    _draw(canvas, np.stack([points[:-1], points[1:]], axis=1), max(weight_px / 2, 0.45))


@functools.lru_cache(maxsize=64)
def _segments(text: str) -> np.ndarray:
    """Return the strokes of a line of letters, shape (n, 2, 2): two ends, column and row, in units of the grid."""
    found: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for place, letter in enumerate(text):
        for line in _STROKES[letter].split():
            points = [(int(line[i]) + place * _ADVANCE, float(line[i + 1])) for i in range(0, len(line), 2)]
            found += itertools.pairwise(points)
    return np.array(found, dtype=float).reshape(-1, 2, 2)


def _draw(canvas: np.ndarray, ends: np.ndarray, half_px: float) -> None:
    """Draw straight strokes with ends of shape (n, 2, 2), columns and rows, thickness twice `half_px`."""
    height, width = canvas.shape
    for (c0, r0), (c1, r1) in ends.tolist():
        reach = half_px + 1
        top, bottom = max(0, math.floor(min(r0, r1) - reach)), min(height, math.ceil(max(r0, r1) + reach) + 1)
        left, right = max(0, math.floor(min(c0, c1) - reach)), min(width, math.ceil(max(c0, c1) + reach) + 1)
        if top >= bottom or left >= right:
            continue
        dc = np.arange(left, right, dtype=float)[None, :] - c0
        dr = np.arange(top, bottom, dtype=float)[:, None] - r0
        step_c, step_r = c1 - c0, r1 - r0
        along = np.clip((dc * step_c + dr * step_r) / max(step_c * step_c + step_r * step_r, 1e-9), 0, 1)
        away = np.sqrt((dc - along * step_c) ** 2 + (dr - along * step_r) ** 2)
        here = canvas[top:bottom, left:right]
        np.maximum(here, np.clip(half_px + 0.5 - away, 0, 1), out=here)
