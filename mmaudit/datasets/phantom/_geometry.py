"""Rays from the focus of the X-ray tube to the pixels of the detector, and how long they run inside solids.

A ray is the segment focus + t * (pixel - focus), t from 0 to 1. A convex solid is entered and left once, so it is a
pair of arrays (enter, leave) of t, with enter >= leave where it is missed; the overlap of two solids is the pair
(maximum of enter, minimum of leave), and inclusion and exclusion gives the length inside any combination of solids.
Thin things (ribs, vessels, catheters) are tubes along a path in space, projected and then drawn by their distance.

All is float64 and uses only +, -, *, / and square roots, which IEEE 754 rounds the same on every machine.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "Rays", "Vector", "bezier", "inside_both", "length", "rotation"]

Interval = tuple[np.ndarray, np.ndarray]
Vector = Sequence[float] | np.ndarray  # x, y, z
_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


@dataclass(frozen=True)
class Rays:
    """The rays of a film, or of a window of it.

    Attributes
    ----------
    focus : ndarray of shape (3,)
        The focus of the X-ray tube in the patient's coordinates, cm.
    corner, right, down : ndarray of shape (3,)
        Centre of the first pixel of the film, and the steps from a pixel to its neighbours, cm.
    columns, rows : ndarray of shape (1, width) and (height, 1), float64
        Numbers of the pixels of this window in the film.
    shape : (int, int)
        Height and width of the whole film, pixels.
    """

    focus: np.ndarray
    corner: np.ndarray
    right: np.ndarray
    down: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    shape: tuple[int, int]

    @property
    def at(self) -> tuple[slice, slice]:
        """Where this window lies in an array of the whole film."""
        top, left = int(self.rows[0, 0]), int(self.columns[0, 0])
        return np.s_[top : top + self.rows.shape[0], left : left + self.columns.shape[1]]

    @property
    def pixel_cm(self) -> float:
        """Distance of neighbouring pixels on the detector."""
        return float(math.sqrt(self.right @ self.right))

    def ray_cm(self) -> np.ndarray:
        """Return the length of each ray, the factor from t to cm."""
        return np.sqrt(self._quadratic(np.eye(3))[0])

    def directions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y and z of the rays from the focus to the pixels; a point of a ray is focus + t * direction."""
        base = self.corner - self.focus
        x, y, z = (
            float(base[i]) + (self.columns * float(self.right[i]) + self.rows * float(self.down[i])) for i in range(3)
        )
        return x, y, z

    def window(self, box: tuple[int, int, int, int]) -> Rays | None:
        """Return the rays of rows top to bottom and columns left to right (ends exclusive), None if there are none."""
        top, bottom, left, right = box
        y0, x0 = int(self.rows[0, 0]), int(self.columns[0, 0])
        top, left = max(top, y0), max(left, x0)
        bottom, right = min(bottom, y0 + self.rows.shape[0]), min(right, x0 + self.columns.shape[1])
        if top >= bottom or left >= right:
            return None
        rows, columns = self.rows[top - y0 : bottom - y0], self.columns[:, left - x0 : right - x0]
        return Rays(self.focus, self.corner, self.right, self.down, columns, rows, self.shape)

    def around(self, centre: Vector, reach_cm: float) -> Rays | None:
        """Return the window that holds the sphere of radius `reach_cm` about `centre`, None if it is off the film."""
        (column, row), magnification = self.project(np.array([centre], dtype=float))
        reach = 1.1 * reach_cm * magnification[0] / self.pixel_cm + 2
        c, r = float(column[0]), float(row[0])
        return self.window((math.floor(r - reach), math.ceil(r + reach), math.floor(c - reach), math.ceil(c + reach)))

    def holding(self, centre: Vector, radii: Vector, turn: np.ndarray | None = None) -> tuple[int, int, int, int]:
        """Return the first and last row and column (ends exclusive) of a box of pixels that holds an ellipsoid."""
        reach = np.minimum(np.asarray(radii, dtype=float), 60.0)
        half = reach if turn is None else np.sqrt((turn * turn) @ np.square(reach))
        (column, row), _ = self.project(np.asarray(centre, dtype=float) + _CORNERS * half)
        return (
            math.floor(row.min()) - 1,
            math.ceil(row.max()) + 2,
            math.floor(column.min()) - 1,
            math.ceil(column.max()) + 2,
        )

    def project(self, points: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Return ((columns, rows), magnification) of points of shape (n, 3) on the film."""
        (rx, ry, rz), (dx, dy, dz) = self.right.tolist(), self.down.tolist()
        normal = np.array([ry * dz - rz * dy, rz * dx - rx * dz, rx * dy - ry * dx])
        away = points - self.focus
        magnification = ((self.corner - self.focus) @ normal) / (away @ normal)
        on_film = self.focus + away * magnification[:, None] - self.corner
        step = self.pixel_cm**2
        return (on_film @ self.right / step, on_film @ self.down / step), magnification

    # Solids

    def ellipsoid(self, centre: Vector, radii: Vector, turn: np.ndarray | None = None) -> Interval:
        """Return where the rays enter and leave an ellipsoid.

        `radii` along its own axes, cm; `turn` (3, 3) turns its axes into the patient's, None leaves them.
        An infinite radius makes a cylinder along that axis.
        """
        scale = np.diag([0.0 if math.isinf(r) else 1.0 / r for r in radii])
        to_sphere = scale if turn is None else scale @ turn.T
        squared, linear, constant = self._quadratic(to_sphere, np.asarray(centre, dtype=float))
        root = linear * linear
        root -= (constant - 1.0) * squared
        np.maximum(root, 0.0, out=root)
        np.sqrt(root, out=root)
        root /= squared
        middle = linear / -squared
        return middle - root, middle + root

    def halfspace(self, normal: Vector, through: Vector) -> Interval:
        """Return the part of the rays on the far side of a plane: where (point - through) @ normal > 0."""
        n = np.asarray(normal, dtype=float)
        start = float((self.focus - np.asarray(through, dtype=float)) @ n)
        slope = (
            float((self.corner - self.focus) @ n)
            + self.columns * float(self.right @ n)
            + self.rows * float(self.down @ n)
        )
        slope = np.where(np.abs(slope) < 1e-9, 1e-9, slope)
        crossing = -start / slope
        return np.where(slope > 0, crossing, -1e9), np.where(slope > 0, 1e9, crossing)

    def _quadratic(self, matrix: np.ndarray, centre: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float]:
        """Return a, b, c of |matrix (focus + t ray - centre)|^2 = a t^2 + 2 b t + c."""
        base, across, along = matrix @ (self.corner - self.focus), matrix @ self.right, matrix @ self.down
        origin = matrix @ (self.focus - (self.focus if centre is None else centre))
        u, v = self.columns, self.rows
        in_row = float(base @ base) + u * (2 * float(base @ across) + u * float(across @ across))
        in_column = v * (2 * float(base @ along) + v * float(along @ along))
        squared = in_row + in_column
        both = 2 * float(across @ along)
        if both:
            squared = squared + (both * u) * v
        linear = (float(origin @ base) + u * float(origin @ across)) + v * float(origin @ along)
        return squared, linear, float(origin @ origin)

    # Tubes

    def tube(
        self, path: np.ndarray, radius_cm: np.ndarray | float, *, wall_cm: float | None = None
    ) -> tuple[Rays, np.ndarray] | None:
        """Return (window, cm of tube along each of its rays) for a tube along `path`, None if it is off the film.

        Parameters
        ----------
        path : ndarray of shape (n, 3), n >= 2
            Points in space, cm.
        radius_cm : float or ndarray of shape (n,)
            Outer radius at each point.
        wall_cm : float or None
            Thickness of the wall of a hollow tube. None: solid.

        Notes
        -----
        Where a ray meets several parts of one path, only the part with the longest way through it counts. Tubes
        thinner than a pixel are drawn a pixel wide with the same sum. A tube that runs along the ray is counted as at
        most three times as long as one across it.
        """
        path = np.asarray(path, dtype=float)
        radius = np.broadcast_to(np.asarray(radius_cm, dtype=float), (len(path),))
        (column, row), magnification = self.project(path)
        px_per_cm = magnification / self.pixel_cm
        thin = np.maximum(radius, 0.75 / px_per_cm)
        reach = float((thin * px_per_cm).max()) + 2
        window = self.window(
            (
                math.floor(row.min() - reach),
                math.ceil(row.max() + reach),
                math.floor(column.min() - reach),
                math.ceil(column.max() + reach),
            )
        )
        if window is None:
            return None
        n = len(path) - 1
        step_c, step_r = np.diff(column), np.diff(row)
        flat = step_c**2 + step_r**2
        length_cm = np.sqrt((np.diff(path, axis=0) ** 2).sum(axis=1))
        across = np.sqrt(flat) / (px_per_cm[:-1] * np.maximum(length_cm, 1e-9))  # sine of the angle to the ray
        stretch = 1 / np.clip(across, 1 / 3, 1)
        total = np.zeros((window.rows.shape[0], window.columns.shape[1]))
        hollow = None if wall_cm is None else np.zeros_like(total)
        for i in range(n):
            part = window.window(
                (
                    math.floor(min(row[i], row[i + 1]) - reach),
                    math.ceil(max(row[i], row[i + 1]) + reach),
                    math.floor(min(column[i], column[i + 1]) - reach),
                    math.ceil(max(column[i], column[i + 1]) + reach),
                )
            )
            if part is None:
                continue
            dc, dr = part.columns - column[i], part.rows - row[i]
            along = np.clip((dc * step_c[i] + dr * step_r[i]) / max(flat[i], 1e-12), 0, 1)
            off2 = (dc - along * step_c[i]) ** 2 + (dr - along * step_r[i]) ** 2
            scale = px_per_cm[i] + along * (px_per_cm[i + 1] - px_per_cm[i])
            off2 /= scale * scale
            outer = thin[i] + along * (thin[i + 1] - thin[i])
            real = radius[i] + along * (radius[i + 1] - radius[i])
            factor = 2 * stretch[i] * (real / outer) ** 2
            chord = factor * np.sqrt(np.maximum(outer * outer - off2, 0))
            y0, x0 = int(window.rows[0, 0]), int(window.columns[0, 0])
            top, left = int(part.rows[0, 0]) - y0, int(part.columns[0, 0]) - x0
            at = np.s_[top : top + chord.shape[0], left : left + chord.shape[1]]
            np.maximum(total[at], chord, out=total[at])
            if hollow is not None:
                # Inside and outside are joined on their own, or the wall would close at every point of the path.
                inner = np.maximum(outer - wall_cm * outer / real, 0)
                np.maximum(hollow[at], factor * np.sqrt(np.maximum(inner * inner - off2, 0)), out=hollow[at])
        if hollow is not None:
            total -= hollow
        return window, total


def inside_both(*solids: Interval) -> Interval:
    """Return the overlap of convex solids."""
    enter, leave = solids[0]
    for other in solids[1:]:
        enter, leave = np.maximum(enter, other[0]), np.minimum(leave, other[1])
    return enter, leave


def length(solid: Interval) -> np.ndarray:
    """Return how long the rays run inside, as a share of the ray; multiply by `Rays.ray_cm()`."""
    way = solid[1] - solid[0]
    return np.maximum(way, 0, out=way)


def rotation(axis: int, degrees: float) -> np.ndarray:
    """Return the (3, 3) matrix that turns by `degrees` about axis 0, 1 or 2."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.eye(3)
    a, b = [i for i in range(3) if i != axis]
    turn[a, a] = turn[b, b] = c
    turn[a, b], turn[b, a] = -s, s
    return turn


def bezier(points: Sequence[Vector], n: int = 16) -> np.ndarray:
    """Return n + 1 points, shape (n + 1, 3), of the Bezier curve with two to four control points in space."""
    t = np.linspace(0, 1, n + 1)[:, None]
    left = [np.asarray(p, dtype=float) * np.ones((n + 1, 1)) for p in points]
    while len(left) > 1:
        left = [(1 - t) * a + t * b for a, b in itertools.pairwise(left)]
    return left[0]
