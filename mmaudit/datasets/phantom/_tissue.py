"""Tools to add up tissue along rays: solids with parts carved out, batches of small solids, tubes of bone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from mmaudit.datasets.phantom._chest import Chest, Ellipsoid
from mmaudit.datasets.phantom._geometry import Interval, Rays, Vector, inside_both, length
from mmaudit.datasets.phantom._record import Film

__all__ = ["MU_BONE", "MU_FAT", "MU_LUNG", "MU_MARROW", "MU_SOFT", "Bone", "Carved", "Scene", "Shape", "box"]

# Linear attenuation at 60 keV in 1/cm: mass attenuation of ICRU-44 tissues, times their density (J. H. Hubbell and
# S. M. Seltzer, NIST Standard Reference Database 126): soft 0.2048 x 1.06, adipose 0.1974 x 0.95, lung 0.2053 x 0.26
# (inflated), cortical bone 0.3148 x 1.92. Marrow with its trabeculae lies between soft tissue and bone.
MU_SOFT, MU_FAT, MU_LUNG, MU_BONE, MU_MARROW = 0.217, 0.188, 0.053, 0.604, 0.27


Box = tuple[int, int, int, int]  # first and last row, first and last column of pixels, ends exclusive
Bone = tuple[np.ndarray, "np.ndarray | float", float]  # path, radius, thickness of the cortex
Shape = tuple[Vector, Vector, np.ndarray | None]  # centre, radii and turn of an ellipsoid


class Carved:
    """A convex solid with others carved out of it, along the rays of a window.

    Kept as terms of inclusion and exclusion: intervals with a sign, each in a box of pixels of its own, whose lengths
    add up to the length of what is left. A term that no ray meets is dropped, which keeps them few.
    """

    def __init__(self, rays: Rays, solid: Interval, cm: np.ndarray) -> None:
        self.rays, self.cm_per_t = rays, cm
        self.terms: list[tuple[int, Box, np.ndarray, np.ndarray]] = [(1, bounds(rays), *solid)]

    def carve(self, centre: Vector, radii: Vector, turn: np.ndarray | None = None) -> None:
        """Take away the part in an ellipsoid."""
        window = self.rays.window(self.rays.holding(centre, radii, turn))
        if window is not None:
            self.carve_solid(window, window.ellipsoid(centre, radii, turn))

    def carve_solid(self, window: Rays, solid: Interval) -> None:
        """Take away the part in a solid that only the rays of `window` meet."""
        more = []
        for sign, where, enter, leave in self._clipped(window, solid):
            if (leave > enter).any():
                more.append((-sign, where, enter, leave))
        self.terms += more

    def within(self, window: Rays, *solids: Interval) -> np.ndarray:
        """Return how many cm of the rays of `window` are in this and in all `solids`."""
        mine = bounds(window)
        total = np.zeros((mine[1] - mine[0], mine[3] - mine[2]))
        for sign, box, enter, leave in self._clipped(window, inside_both(*solids) if solids else None):
            at = inner(mine, box)
            if sign > 0:
                total[at] += length((enter, leave))
            else:
                total[at] -= length((enter, leave))
        np.maximum(total, 0.0, out=total)
        total *= self.cm_per_t[inner(bounds(self.rays), mine)]
        return total

    def only(self, solid: Interval) -> Carved:
        """Return the part of this in a solid."""
        part = Carved(self.rays, solid, self.cm_per_t)
        part.terms = [term for term in self._clipped(self.rays, solid) if (term[3] > term[2]).any()]
        return part

    def cm(self) -> np.ndarray:
        """Return how many cm of each ray are in this."""
        return self.within(self.rays)

    def _clipped(self, window: Rays, solid: Interval | None) -> list[tuple[int, Box, np.ndarray, np.ndarray]]:
        """Return the terms that overlap a window, cut to a solid there."""
        mine, found = bounds(window), []
        for sign, box, enter, leave in self.terms:
            common = (max(box[0], mine[0]), min(box[1], mine[1]), max(box[2], mine[2]), min(box[3], mine[3]))
            if common[0] >= common[1] or common[2] >= common[3]:
                continue
            if common != box:
                here = inner(box, common)
                enter, leave = enter[here], leave[here]
            if solid is not None:
                there = inner(mine, common)
                enter, leave = np.maximum(enter, solid[0][there]), np.minimum(leave, solid[1][there])
            found.append((sign, common, enter, leave))
        return found


def bounds(rays: Rays) -> Box:
    """Return the box of pixels of a window."""
    top, left = int(rays.rows[0, 0]), int(rays.columns[0, 0])
    return top, top + rays.rows.shape[0], left, left + rays.columns.shape[1]


def inner(outer: Box, box: Box) -> tuple[slice, slice]:
    """Return where a box lies in an array of an outer box."""
    return np.s_[box[0] - outer[0] : box[1] - outer[0], box[2] - outer[2] : box[3] - outer[2]]


class Scene:
    """A film while it is drawn: its rays, its chest, what has been added up so far."""

    def __init__(self, film: Film, rays: Rays, chest: Chest) -> None:
        self.film, self.rays, self.chest = film, rays, chest
        self.supine = film.view == "AP supine"
        self.cm = rays.ray_cm() + np.zeros(rays.shape)
        self.attenuation = np.zeros(rays.shape)
        self.solid_cm = np.zeros(rays.shape)  # of lung that is filled or without air
        self.lungs: dict[str, Carved | None] = {}
        self.lung_cm: dict[str, np.ndarray] = {}
        self.masks: dict[str, np.ndarray] = {}
        self.fractures = [f for f in film.findings if f.kind == "fracture"]
        self.courses: dict[tuple[str | float, ...], np.ndarray] = {}  # of broken ribs, by side and spot

    def mask(self, kind: str, window: Rays, where: np.ndarray) -> None:
        """Add pixels of a window to the mask of a kind of finding."""
        mask = self.masks.setdefault(kind, np.zeros(self.rays.shape, dtype=bool))
        mask[window.at] |= where

    def solid(self, shape: Ellipsoid, window: Rays | None = None) -> Interval:
        """Return where rays enter and leave an ellipsoid."""
        return (window or self.rays).ellipsoid(shape.centre, shape.radii, shape.turn if shape.tilt_deg else None)

    def part(self, shape: Shape) -> tuple[Rays, Interval] | None:
        """Return the window that holds an ellipsoid and where its rays meet it; None if it is off the film."""
        window = self.rays.window(self.rays.holding(*shape))
        return None if window is None else (window, window.ellipsoid(*shape))

    def bones(self, bones: Sequence[Bone], marrow: float) -> None:
        """Add long bones (path, radius, thickness of the cortex) that do not cross; `marrow` is extra per cm inside."""
        starts, ends = (np.concatenate([path[at] for path, _, _ in bones]) for at in (np.s_[:-1], np.s_[1:]))
        full = [np.broadcast_to(np.asarray(radius, dtype=float), (len(path),)) for path, radius, _ in bones]
        hollow = [np.maximum(r - wall, 0.0) for r, (_, _, wall) in zip(full, bones, strict=True)]
        whole, inside = np.zeros(self.rays.shape), np.zeros(self.rays.shape)
        outer0, outer1 = np.concatenate([r[:-1] for r in full]), np.concatenate([r[1:] for r in full])
        inner0, inner1 = np.concatenate([r[:-1] for r in hollow]), np.concatenate([r[1:] for r in hollow])
        self.twigs(whole, starts, ends, outer0, outer1, (inside, inner0, inner1))
        np.minimum(inside, whole, out=inside)
        self.attenuation += (MU_BONE - MU_SOFT) * whole
        self.attenuation -= (MU_BONE - MU_SOFT - marrow) * inside

    def plate(self, corners: Sequence[np.ndarray], thick_cm: float, mu: float) -> None:
        """Add a thin triangle of extra attenuation mu per cm."""
        a, b, c = corners
        middle = (a + b + c) / 3
        normal = np.cross(b - a, c - a)
        normal = normal / math.sqrt(float(normal @ normal))
        reach = max(math.sqrt(float((p - middle) @ (p - middle))) for p in corners)
        window = self.rays.around(middle, reach)
        if window is None:
            return
        planes = [
            window.halfspace(normal, middle - thick_cm / 2 * normal),
            window.halfspace(-normal, middle + thick_cm / 2 * normal),
        ]
        for p, q in ((a, b), (b, c), (c, a)):
            edge = np.cross(normal, q - p)
            planes.append(window.halfspace(edge if float((middle - p) @ edge) > 0 else -edge, p))
        self.attenuation[window.at] += mu * length(inside_both(*planes)) * self.cm[window.at]

    def ellipsoids(self, out: np.ndarray, centres: np.ndarray, radii: np.ndarray, weights: np.ndarray) -> None:
        """Add weight times cm inside each of many small ellipsoids, axes along the patient's, to `out`."""
        rays = self.rays
        (column, row), magnification = rays.project(centres)
        reach = 1.15 * radii.max(axis=1) * magnification / rays.pixel_cm + 1.5
        for some, corner_c, corner_r, wide in _batches(rays, column - reach, column + reach, row - reach, row + reach):
            scale = 1 / radii[some]
            base, across, along = ((rays.corner - rays.focus) * scale, rays.right * scale, rays.down * scale)
            origin = (rays.focus - centres[some]) * scale

            def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
                return (a * b).sum(axis=1)[:, None, None]

            steps = np.arange(wide, dtype=float)
            u, v = corner_c[:, None, None] + steps[None, None, :], corner_r[:, None, None] + steps[None, :, None]
            squared = dot(base, base) + u * (2 * dot(base, across) + u * dot(across, across))
            squared = squared + v * (2 * dot(base, along) + v * dot(along, along)) + 2 * dot(across, along) * u * v
            linear = dot(origin, base) + u * dot(origin, across) + v * dot(origin, along)
            way = np.sqrt(np.maximum(linear * linear - squared * (dot(origin, origin) - 1), 0)) * 2 / squared
            way *= weights[some][:, None, None]
            _spill(out, way, corner_c, corner_r, self.cm)

    def twigs(
        self,
        out: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        r0: np.ndarray,
        r1: np.ndarray,
        hollow: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    ) -> None:
        """Put the cm inside many short straight tubes into `out`, the largest where several meet a ray.

        `hollow`, an array to fill and smaller radii at both ends, does the same for the inside of hollow tubes.
        """
        rays = self.rays
        (c0, y0), m0 = rays.project(starts)
        (c1, y1), m1 = rays.project(ends)
        scale = 0.5 * (m0 + m1) / rays.pixel_cm
        layers = [(out, r0 * scale, r1 * scale)]
        if hollow is not None:
            layers.append((hollow[0], hollow[1] * scale, hollow[2] * scale))
        reach = np.maximum(np.maximum(layers[0][1], layers[0][2]), 0.75) + 1
        step_c, step_r = c1 - c0, y1 - y0
        flat = np.maximum(step_c**2 + step_r**2, 1e-9)
        long = np.sqrt(((ends - starts) ** 2).sum(axis=1)) * scale
        factor = 2 / scale / np.clip(np.sqrt(flat) / np.maximum(long, 1e-9), 0.6, 1)
        low_c, high_c = np.minimum(c0, c1) - reach, np.maximum(c0, c1) + reach
        low_r, high_r = np.minimum(y0, y1) - reach, np.maximum(y0, y1) + reach
        for some, corner_c, corner_r, wide in _batches(rays, low_c, high_c, low_r, high_r):
            steps = np.arange(wide, dtype=float)
            dc = steps[None, None, :] + (corner_c - c0[some])[:, None, None]
            dr = steps[None, :, None] + (corner_r - y0[some])[:, None, None]
            square = flat[some][:, None, None]
            shadow = dc * step_c[some][:, None, None] + dr * step_r[some][:, None, None]
            along = shadow / square
            np.maximum(along, 0, out=along)
            np.minimum(along, 1, out=along)
            # Square of the distance from the piece, |d - along step|^2.
            shadow *= 2
            shadow -= along * square
            shadow *= along
            off2 = dc * dc + dr * dr
            off2 -= shadow
            for to, a, b in layers:
                first, last = a[some][:, None, None], b[some][:, None, None]
                real = first + along * (last - first)
                thin = np.maximum(real, 0.75)  # not thinner than a pixel, but as much in all
                chord = thin * thin
                chord -= off2
                np.maximum(chord, 0, out=chord)
                np.sqrt(chord, out=chord)
                if float(first.min()) < 0.75 or float(last.min()) < 0.75:
                    real /= thin
                    real *= real
                    chord *= real
                chord *= factor[some][:, None, None]
                _spill(to, chord, corner_c, corner_r, None)


def _batches(
    rays: Rays, left: np.ndarray, right: np.ndarray, top: np.ndarray, bottom: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Return (which, first column, first row, side) of squares of pixels that hold small things, few sides in all."""
    left, top = np.floor(left), np.floor(top)
    side = np.maximum(np.ceil(right) - left, np.ceil(bottom) - top) + 1
    height, width = rays.shape
    seen = (left < width) & (left + side > 0) & (top < height) & (top + side > 0) & (side <= 512)
    batches = []
    for below, above in itertools.pairwise((0, 7, 11, 16, 23, 32, 46, 64, 91, 128, 182, 256, 512)):
        some = np.flatnonzero(seen & (side > below) & (side <= above))
        count = max(1, 10_000 // above**2)  # so few that what is computed stays in the cache
        batches += [
            (part, left[part], top[part], above) for part in (some[i : i + count] for i in range(0, len(some), count))
        ]
    return batches


def _spill(out: np.ndarray, patches: np.ndarray, left: np.ndarray, top: np.ndarray, cm: np.ndarray | None) -> None:
    """Add square patches, times `cm`, to `out` at their places; without `cm` take the maximum."""
    height, width = out.shape
    side = patches.shape[1]
    for patch, x, y in zip(patches, left.astype(int).tolist(), top.astype(int).tolist(), strict=True):
        if x < 0 or y < 0 or x + side > width or y + side > height:
            patch = patch[max(-y, 0) : height - y, max(-x, 0) : width - x]
            x, y = max(x, 0), max(y, 0)
            if not patch.size:
                continue
        at = np.s_[y : y + patch.shape[0], x : x + patch.shape[1]]
        if cm is None:
            np.maximum(out[at], patch, out=out[at])
        else:
            out[at] += patch * cm[at]


def box(rays: Rays, low: Sequence[float], high: Sequence[float]) -> Rays | None:
    """Return the window that holds a box between two corners in space, None if it is off the film."""
    corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
    (column, row), _ = rays.project(corners)
    return rays.window(
        (math.floor(row.min()), math.ceil(row.max()) + 1, math.floor(column.min()), math.ceil(column.max()) + 1)
    )
