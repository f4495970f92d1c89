"""What the beam meets in a chest: soft tissue, air and bone as solids in space, added up along the rays.

One set of solids serves every view, so a frontal and a lateral film of a patient agree and distances from tube and
detector magnify as they do in the X-ray room.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from mmaudit.datasets.phantom import _findings
from mmaudit.datasets.phantom._chest import SIDES, Chest, chest_of, dome, lung_ellipsoid, rib_reach
from mmaudit.datasets.phantom._geometry import Interval, Rays, bezier, inside_both, length, rotation
from mmaudit.datasets.phantom._record import Film
from mmaudit.datasets.phantom._tissue import (
    MU_BONE,
    MU_FAT,
    MU_LUNG,
    MU_MARROW,
    MU_SOFT,
    Bone,
    Carved,
    Scene,
    Shape,
    box,
)

__all__ = ["Anatomy", "Chest", "chest_of", "draw_anatomy"]


@dataclass(frozen=True)
class Anatomy:
    """What the beam meets on its way, without devices.

    Attributes
    ----------
    attenuation : ndarray of shape (height, width), float64
        Sum of linear attenuation times path, without unit.
    body_cm : ndarray of shape (height, width), float64
        Thickness of the body along the ray, 0 beside it.
    masks : dict of str to ndarray of shape (height, width), bool
        For each kind of finding of the film, where it alters the image.
    """

    attenuation: np.ndarray
    body_cm: np.ndarray
    masks: dict[str, np.ndarray]


def draw_anatomy(film: Film, rays: Rays, chest: Chest) -> Anatomy:
    """Return attenuation, thickness and masks of the body that `rays` pass through."""
    scene = Scene(film, rays, chest)
    body_cm = _soft_tissue(scene)
    for side in SIDES:
        scene.lungs[side] = _pleural_space(scene, side)
    _findings.fill_lungs(scene)
    lung_cm = scene.lung_cm["left"] + scene.lung_cm["right"]
    scene.attenuation -= (MU_SOFT - MU_LUNG) * lung_cm
    _vessels(scene, lung_cm)
    _airways(scene)
    _abdomen(scene)
    _ribs(scene)
    _findings.mark_fractures(scene)
    _spine(scene)
    _shoulders(scene)
    np.maximum(scene.attenuation, 0.0, out=scene.attenuation)
    return Anatomy(scene.attenuation, body_cm, scene.masks)


# Soft tissue


def _soft_tissue(scene: Scene) -> np.ndarray:
    """Add the body without its air and bones; return its thickness in cm."""
    chest, rays, cm = scene.chest, scene.rays, scene.cm
    s = chest.scale
    neck_r = 5.5 + 0.06 * (chest.bmi - 24)
    neck_x = neck_r * (0.88 if chest.female else 1)
    torso = scene.solid(chest.torso)
    known: list[tuple[Rays, Interval]] = []
    body = length(torso) * cm
    parts: list[Shape] = [
        (chest.belly.centre, chest.belly.radii, None),
        ((0, -27 * s, float(chest.vertebrae[0, 2]) + 1.8), (neck_x, 19 * s, neck_r), None),
        *(part for sign in (1, -1) for part in _shoulder_solids(chest, sign)),
    ]
    for part in parts:
        met = scene.part(part)
        if met is None:
            continue
        window, solid = met
        extra = Carved(window, solid, cm[window.at])
        extra.carve_solid(rays, torso)
        for where, other in known:
            extra.carve_solid(where, other)
        known.append(met)
        body[window.at] += extra.cm()
    fat = chest.fat_cm
    lean = scene.solid(chest.torso.grown(-fat))
    fat_part = length(torso) - length(lean)
    attenuation = MU_SOFT * body - (MU_SOFT - MU_FAT) * np.minimum(fat_part * cm, body)
    for sign in (1, -1):
        breast = _breast(chest, sign)
        if breast is None:
            continue
        met = scene.part(breast)
        if met is not None:
            extra = Carved(*met, cm[met[0].at])
            extra.carve_solid(rays, torso)
            added = extra.cm()
            body[met[0].at] += added
            attenuation[met[0].at] += 0.5 * (MU_SOFT + MU_FAT) * added
    scene.attenuation = attenuation
    return body


def _shoulder_solids(chest: Chest, sign: int) -> list[Shape]:
    """Return centre, radii and turn of the flesh of a shoulder, of the fold of the armpit, and of the arm."""
    s = chest.scale
    x, y, z = chest.shoulder["left"]
    thick = 4.2 + 0.10 * (chest.bmi - 24)
    # From the neck to the shoulder, sloping down, and the round of the shoulder itself.
    parts: list[Shape] = [
        (
            (sign * 0.48 * x, y + 1.3 * s, z - 0.8),
            (13.0 * s, 5.2 * s + 0.04 * (chest.bmi - 24), thick + 1.2),
            _turn_z(sign * 17),
        ),
        ((sign * (x - 0.8), y + 2.2 * s, z), (5.2 + 0.06 * (chest.bmi - 24), 5.8 * s, 5.0), None),
    ]
    fold = (sign * (chest.half_width + 1.0), -3.5 * s, -1.5)
    parts.append((fold, (2.6 + 0.5 * chest.wall_cm, 10.5 * s, thick + 0.6), _turn_z(sign * 14)))
    muscle = (sign * 0.52 * chest.half_width, -5.5 * s, chest.skin_z(0.52 * chest.half_width, -5.5 * s) - 1.6)
    parts.append(
        (muscle, (5.4 * s, 8.0 * s, 2.6 if chest.female else 3.2), rotation(1, -24.0 * sign) @ rotation(0, 14.0))
    )
    if chest.view == "PA":
        parts.append(((sign * (x + 3.2), y + 10.0, z + 1.0), (4.3, 15, 4.3), _turn_z(sign * -14)))
    elif chest.view == "lateral":
        parts = [((sign * 0.55 * x, y + 0.5 * s, z - 1.5), (6.5 * s, 3.6 * s, thick), _turn_z(sign * 2))]
        parts.append(((sign * (x - 6), y - 7.0, z + 3.5), (3.2, 12, 3.8), None))
    else:
        parts.append(((sign * (x + 1.4), y + 19.0, z), (4.6 + 0.1 * (chest.bmi - 24), 24, 5.0), _turn_z(sign * -3)))
    return parts


def _breast(chest: Chest, sign: int) -> Shape | None:
    size = max(0.0, (3.3 + 0.12 * (chest.bmi - 22)) if chest.female else 0.16 * (chest.bmi - 29))
    if size < 0.4:
        return None
    old = max(chest.age - 40, 0) / 50
    flat = {"AP supine": 0.55, "PA": 0.65}.get(chest.view, 0.9)
    y = 3.4 + 1.8 * old
    x = 0.55 * chest.half_width + (0.6 if chest.view == "AP supine" else 0.0)
    wide = 4.2 + 0.42 * size
    # Its top leans back into the chest, so that only the fold below it has an edge.
    centre = (sign * x, y - 1.4, chest.skin_z(x, y) - 1.3)
    return centre, (wide, wide + 2.2, flat * size + 0.8), rotation(1, -18.0 * sign) @ rotation(0, 24.0)


def _turn_z(degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


# Lungs


def _pleural_space(scene: Scene, side: str) -> Carved | None:
    """Return the space of a lung: in the cage, over the diaphragm, beside heart, vessels and spine."""
    chest, sign = scene.chest, SIDES[side]
    lung, floor = lung_ellipsoid(chest, side), dome(chest, side)
    low_x, high_x = sorted((0.0, sign * (chest.half_width + 0.3)))
    reach = chest.half_depth + 1.5
    window = box(scene.rays, (low_x, chest.apex_y - 1, -reach), (high_x, floor.centre[1] + 0.5, reach))
    if window is None:
        return None
    space = Carved(
        window,
        inside_both(
            scene.solid(lung, window),
            scene.solid(chest.cage, window),
            scene.solid(chest.cap, window),
            window.halfspace((0, -1, 0), (0, floor.centre[1], 0)),
            window.halfspace((sign, 0, 0), (0.9 * sign + 0.5 * chest.shift, 0, 0)),
        ),
        scene.cm[window.at],
    )
    k = chest.scale
    spine_z = chest.spine_z(2.0)
    space.carve(floor.centre, floor.radii, floor.turn)
    # Middle: between the lungs lie the great vessels, gullet and windpipe.
    # It is deepest in its middle: before and behind it the lungs nearly meet, so that its borders are soft.
    space.carve((0.7 * chest.shift, 0, -0.8), (2.45 * k, 24 * k, 0.62 * chest.half_depth))
    space.carve((0.8 * chest.shift + 0.2, chest.apex_y + 2.5, -1.2), (3.3 * k, 7.5 * k, 0.5 * chest.half_depth))
    space.carve((0, 2, spine_z - 0.2), (2.1 * k, math.inf, 1.9 * k))
    # The tendon on which the heart rests, liver and stomach below it.
    space.carve((0.8, chest.dome_y["right"] + 6.2, 1.0), (8.0 * k, 6.6, 7.0))
    heart = _findings.heart_solids(chest)
    if side == "left":
        for part in heart[:2]:
            space.carve(*part)
        # Aortic arch, pulmonary trunk with the left auricle, descending aorta.
        old = max(chest.age - 45, 0) / 40
        x, y, z = chest.aortic_knob
        space.carve((x - 0.9, y, z), (1.7 + 0.5 * old, 1.75 + 0.3 * old, 4.0))
        space.carve((chest.shift + 2.0, -0.2, 1.6), (2.2 * k, 4.4, 2.6))
        space.carve((1.9 + 0.3 * old, 4, spine_z + 2.6), (1.35, 15, 1.35))
    else:
        for part in heart[1:]:
            space.carve(*part)
        x, y, z = chest.svc[4]
        space.carve((x - 0.1, y, z), (0.95, 7.0, 0.95))
    return space


def _vessels(scene: Scene, lung_cm: np.ndarray) -> None:
    """Add the arteries and veins of the lungs."""
    vessel_cm = np.zeros_like(lung_cm)
    scene.twigs(vessel_cm, *vessel_tree(scene))
    # Over heart and liver they show as far as there is lung with them along the ray.
    scene.attenuation += 1.3 * (MU_SOFT - MU_LUNG) * vessel_cm * np.clip((lung_cm - scene.solid_cm) / 3.0, 0.0, 1.0)


def vessel_tree(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return starts, ends (n, 3) and radii at both (n,) of the pieces of the pulmonary vessels.

    Points are strewn in the lungs and halved again and again along their longest extent; a vessel runs from each
    group's fork towards the middles of its halves, so that the tree fills the lung as a real one does, and it is as
    thick as the number of points it feeds asks for (Murray's law).
    """
    chest = scene.chest
    n = 64
    trees = [(side, which) for side in SIDES for which in (0, 1)]
    points, roots = np.empty((4, n, 3)), np.empty((4, 3))
    for i, (side, which) in enumerate(trees):
        points[i] = _points_in_lung(chest, side, n, np.random.default_rng([*chest.seed, 11 + i]))
        hilum = np.asarray(chest.hilum[side])
        # Arteries leave the hilum; veins run to the left atrium, lower and nearer the middle.
        roots[i] = hilum if which == 0 else hilum + np.array((-0.5 * SIDES[side], 1.8, -0.6))
    starts, ends, thick_in, thick_out = [], [], [], []
    fork = roots[:, None, :]
    group = points[:, None]
    size = n
    while True:
        middle = group.mean(axis=2)
        share = 0.42 if size == n else 0.55 if size > 2 else 1.0
        to = fork + share * (middle - fork)
        radius = 0.16 * size ** (1 / 2.4)
        # Bent: a first half towards the side on which the parent came, then on.
        starts.append(fork.reshape(-1, 3))
        ends.append(to.reshape(-1, 3))
        count = to.shape[0] * to.shape[1]
        thick_in.append(np.full(count, radius))
        thick_out.append(np.full(count, 0.85 * radius if size > 2 else 0.05))
        if size == 2:  # beyond, they are too thin to be seen
            break
        spread = group.max(axis=2) - group.min(axis=2)
        axis = np.argmax(spread, axis=2)
        along = np.take_along_axis(group, axis[:, :, None, None], axis=3)[..., 0]
        order = np.argsort(along, axis=2, kind="stable")
        group = np.take_along_axis(group, order[..., None], axis=2)
        size //= 2
        group = group.reshape(4, -1, size, 3)
        fork = np.repeat(to, 2, axis=1)
    # The arteries' trunks: the right one runs down beside the heart, the left one arches over its bronchus.
    trunks = [
        (1, [(-2.0, -0.6, 1.0), (0.2, -1.0, 0.2), (0.9, 0.6, -0.8), (0.9, 2.6, -1.6)]),
        (-1, [(1.8, -0.2, 1.0), (-0.2, -0.3, 0.4), (-1.1, 1.6, -0.4), (-1.4, 4.2, -1.4)]),
    ]
    for sign, course in trunks:
        path = np.array(course) + np.asarray(chest.hilum["left" if sign > 0 else "right"])
        starts.append(path[:-1])
        ends.append(path[1:])
        thick_in.append(np.array([0.95, 0.95, 0.8]))
        thick_out.append(np.array([0.95, 0.8, 0.45]))
    pieces = np.concatenate(starts), np.concatenate(ends), np.concatenate(thick_in), np.concatenate(thick_out)
    # Where each piece belongs: trees are the slowest axis of every level.
    sides = np.concatenate(
        [np.repeat([1, 1, -1, -1], len(s) // 4) for s in starts[:-2]] + [np.array([1] * 3 + [-1] * 3)]
    )
    return _findings.move_vessels(scene, sides, *pieces)


def _points_in_lung(chest: Chest, side: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n points in a lung, shape (n, 3), fewer in the upper third: blood sinks."""
    sign = SIDES[side]
    low = np.array([0.1 * chest.half_width, chest.apex_y + 0.8, -0.95 * chest.half_depth])
    high = np.array([0.98 * chest.half_width, chest.dome_y[side] + 5.5, 0.9 * chest.half_depth])
    p = low + rng.random((12 * n, 3)) * (high - low)
    p[:, 0] *= sign
    keep = rng.random(12 * n) < np.interp(p[:, 1], [chest.apex_y, -2.0, 5.0], [0.35, 0.9, 1.0])
    for inside, solid in (
        (True, lung_ellipsoid(chest, side).grown(-0.5)),
        (True, chest.cage.grown(-0.5)),
        (False, dome(chest, side).grown(0.3)),
    ):
        unit = (p - np.asarray(solid.centre)) @ solid.turn / np.asarray(solid.radii)
        keep &= ((unit * unit).sum(axis=1) < 1) == inside
    for centre, radius in ((chest.left_ventricle, 4.6), (chest.right_ventricle, 3.6), (chest.right_atrium, 3.4)):
        away = p - np.asarray(centre)
        keep &= (away * away).sum(axis=1) > (radius * chest.heart) ** 2
    found = p[keep]
    return found[np.arange(n) % len(found)]


def _airways(scene: Scene) -> None:
    """Take away the air in the windpipe and the main bronchi."""
    chest = scene.chest
    radius = 0.85 if chest.female else 1.0
    pipe = np.array([chest.trachea_top, 0.5 * (np.asarray(chest.trachea_top) + np.asarray(chest.carina)), chest.carina])
    drawn = scene.rays.tube(pipe, radius)
    air = np.zeros(scene.rays.shape)
    if drawn is not None:
        air[drawn[0].at] = drawn[1]
    for side, thick in (("right", 0.75), ("left", 0.62)):
        path = chest.bronchi[side][::2]
        drawn = scene.rays.tube(path, np.linspace(thick, 0.7 * thick, len(path)))
        if drawn is not None:
            np.maximum(air[drawn[0].at], 0.8 * drawn[1], out=air[drawn[0].at])
    scene.attenuation -= MU_SOFT * air


def _abdomen(scene: Scene) -> None:
    """Take away the air in the stomach, which rises under the left dome of an upright patient, and in the bowel."""
    chest = scene.chest
    rng = np.random.default_rng([*chest.seed, 21])
    full = rng.random()
    if not scene.supine and full > 0.2:
        x, y, z = chest.stomach
        size = 1.0 + 0.9 * full
        met = scene.part(((x, y - 0.6, z), (1.55 * size, 1.15 * size, 2.0 * size), None))
        if met is not None:
            # Its lower border is the level of the fluid.
            solid = inside_both(met[1], met[0].halfspace((0, -1, 0), (0, y - 0.1 + 0.4 * size, 0)))
            scene.attenuation[met[0].at] -= MU_SOFT * length(solid) * scene.cm[met[0].at]
    for _ in range(3):
        x, y, r = rng.uniform(-9, 9), rng.uniform(15, 20), rng.uniform(0.7, 1.6)
        y += chest.dome_y["left"] - 10.5
        met = scene.part(((x, y, 4.0), (1.5 * r, r, r), None))
        if met is not None:
            scene.attenuation[met[0].at] -= MU_SOFT * 0.8 * length(met[1]) * scene.cm[met[0].at]


# Bones


def _ribs(scene: Scene) -> None:
    """Add the ribs: the parts of the wall of the cage that are near a rib's plane.

    The wall is the shell between two ellipsoids. A ray passes it twice, at the back and in front (at the right and
    the left on a lateral film); where it runs along the wall for long, five points of the way are looked at, else
    its middle.
    """
    chest = scene.chest
    outer, inner = chest.cage.grown(1.0), chest.cage.grown(0.2)
    top_out, top_in = chest.cap.grown(1.0), chest.cap.grown(0.2)
    reach = chest.half_width + 1.2
    window = box(scene.rays, (-reach, chest.apex_y - 2.5, -reach), (reach, 18 * chest.scale, reach))
    if window is None:
        return
    enter, leave = inside_both(scene.solid(outer, window), scene.solid(top_out, window))
    first, second = inside_both(scene.solid(inner, window), scene.solid(top_in, window))
    # A ray that misses the inside is halved where it comes nearest.
    missed = first >= second
    first = np.where(missed, 0.5 * (enter + leave), first)
    second = np.where(missed, first, second)
    cm = scene.cm[window.at]
    base = [np.broadcast_to(a, cm.shape).ravel() for a in window.directions()]
    total = np.zeros(cm.size)
    for start, stop in ((enter, first), (second, leave)):
        way = ((stop - start) * cm).ravel()
        start, step = start.ravel(), (stop - start).ravel()
        for long in (False, True):
            every = np.flatnonzero((way > 2.2) if long else (way > 1e-6) & (way <= 2.2))
            for at in (every[i : i + 6000] for i in range(0, len(every), 6000)):  # small enough for the cache
                direction = [d[at] for d in base]
                begin, run, density = start[at], step[at], np.zeros(len(at))
                for share in (0.1, 0.3, 0.5, 0.7, 0.9) if long else (0.5,):
                    t = begin + share * run
                    x, y, z = (float(f) + t * d for f, d in zip(window.focus, direction, strict=True))
                    density += _rib_density(scene, x, y, z)
                density *= way[at]
                total[at] += 0.15 * density if long else density
    scene.attenuation[window.at] += total.reshape(cm.shape)


def _rib_density(scene: Scene, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the attenuation per cm, above that of soft tissue, at points of the wall of the cage."""
    chest = scene.chest
    reach = rib_reach(chest, z)
    level = (y - 1.048 * reach) / (1 + 0.012 * reach)
    number = 5 + (np.sqrt(np.maximum(5.3824 + 0.16 * (level / chest.scale + 4.1), 0.01)) - 2.32) / 0.08
    weight = None
    if scene.fractures:
        number, weight = _findings.break_ribs(scene, number, x, z)
    nearest = np.rint(number)
    off = number - nearest
    off *= off
    off *= 1 / 0.255**2
    # Chord of the outer and of the inner ellipse of a cross-section, as shares of the thickness of the wall.
    marrow = np.sqrt(np.maximum(1 - 1.5 * off, 0))
    density = np.sqrt(np.maximum(1 - off, 0, out=off), out=off)
    density *= MU_BONE - MU_SOFT
    marrow *= 0.74 * (MU_BONE - MU_MARROW)
    density -= marrow
    # Bone ends in front where cartilage begins, farther from the middle for lower ribs; the last two float, and end
    # at the side and behind. The ribs are thickest behind.
    front = (np.abs(x) - 3.0 - 0.72 * nearest) * (1 / 1.4) + 0.5
    np.minimum(np.maximum(front, 0, out=front), 1, out=front)
    density *= np.where(z > 0.5, 0.85 * front, 1.1)
    last = np.minimum(nearest, 12) - 10
    floating = 30.0 - 28.5 * np.maximum(last, 0) + 22.5 * np.maximum(last - 1, 0) - z
    density *= np.minimum(np.maximum(floating, 0, out=floating), 1, out=floating)
    density *= (nearest >= 1) & (nearest <= 12) & (np.abs(x) > 1.4)
    return density if weight is None else density * weight


def _spine(scene: Scene) -> None:
    """Add the vertebrae: bodies with end plates, pedicles, spinous and transverse processes; and the breastbone."""
    chest, s = scene.chest, scene.chest.scale
    middles = chest.vertebrae
    rng = np.random.default_rng([*chest.seed, 31])
    solids, weights = [], []
    for i, (low, mid, high) in enumerate(zip(middles[:-2], middles[1:-1], middles[2:], strict=True)):
        along = (high - low) / math.sqrt(float((high - low) @ (high - low)))
        tall = math.sqrt(float((high - low) @ (high - low))) / 2
        wide, deep = (1.25 + 0.045 * i) * s, (0.95 + 0.062 * i) * s
        window = scene.rays.window(scene.rays.holding(mid, (wide, 0.5 * tall + 0.3 * deep, deep)))
        if window is not None:
            turn = np.array([[1.0, 0, 0], [0, along[1], along[2]], [0, -along[2], along[1]]]).T
            column = window.ellipsoid(mid, (wide, 4.5 * tall, deep), turn)
            rise = sum(d * float(a) for d, a in zip(window.directions(), along, strict=True))
            rise = np.where(np.abs(rise) < 1e-9, 1e-9, rise)
            level = float((mid - window.focus) @ along) / rise
            bone = np.zeros((window.rows.shape[0], window.columns.shape[1]))
            for half, mu in ((0.43, 0.2), (0.36, -0.1)):
                way = np.abs(half * tall / rise)
                bone += mu * length(inside_both(column, (level - way, level + way)))
            scene.attenuation[window.at] += bone * scene.cm[window.at]
        back = deep + 0.4
        lean = rng.normal(0, 0.08)
        for sign in (1, -1):
            solids.append((mid + np.array((sign * 0.78 * wide, -0.25 * tall, -back)), (0.34 * s, 0.52 * s, 0.55 * s)))
            weights.append(0.13)
            solids.append(
                (mid + np.array((sign * 1.45 * wide, -0.25 * tall, -back - 0.9)), (1.0 * s, 0.42 * s, 0.4 * s))
            )
            weights.append(0.07)
            solids.append(
                (mid + np.array((sign * 0.55 * wide, 0.45 * tall, -back - 1.0)), (0.55 * s, 0.8 * s, 0.35 * s))
            )
            weights.append(0.06)
        solids.append((mid + np.array((lean, 0.5 * tall, -back - 1.9)), (0.26 * s, 0.75 * s, 1.3 * s)))
        weights.append(0.09)
    for a, b in itertools.pairwise(chest.sternum):
        broad = 2.6 if a[1] < -5.5 * s else 1.7
        solids.append((0.5 * (a + b), (broad, 0.62 * (b[1] - a[1]), 0.55)))
        weights.append(0.14)
    scene.ellipsoids(
        scene.attenuation, np.array([c for c, _ in solids]), np.array([r for _, r in solids]), np.array(weights)
    )


def _shoulders(scene: Scene) -> None:
    """Add collar bones, shoulder blades and arms."""
    chest, s = scene.chest, scene.chest.scale
    ap = chest.view in ("AP", "AP supine")
    lateral = chest.view == "lateral"
    collars: list[Bone] = []
    blades: list[Bone] = []
    arms: list[Bone] = []
    for side, sign in SIDES.items():
        path = chest.clavicle[side][::2]
        collars.append((path, s * np.interp(np.arange(len(path)), [0, 1.5, 4, 7], [0.8, 0.6, 0.52, 0.62]), 0.15))
        joint = np.asarray(chest.shoulder[side])
        # The blade is turned about the long axis: rolled forwards it clears the lung and shows edge on.
        out = chest.half_width + (1.2 if ap else 2.6)
        if lateral:
            inner = np.array((sign * 9.5, joint[1] + 5.0, -8.6))
            tip = np.array((sign * 12.5, joint[1] + 12.0, -6.0))
        else:
            inner = np.array((sign * (out - (5.2 if ap else 3.0)), joint[1] + 1.4, -chest.half_depth - 0.3))
            tip = np.array(
                (sign * (out - (2.4 if ap else 0.2)), joint[1] + 14.0, -chest.half_depth + (0.3 if ap else 1.8))
            )
        glenoid = joint - np.array([sign * 2.3, -0.5, 0.6])
        edge = bezier([glenoid + np.array((0, 1.2, 0)), 0.5 * (glenoid + tip) + np.array((sign * -0.5, 1, 0)), tip], 5)
        blades.append((edge, 0.36, 0.12))
        blades.append((bezier([inner, 0.5 * (inner + tip) + np.array((-sign * 0.4, 0, 0)), tip], 4), 0.13, 0.13))
        ridge = joint + np.array((sign * -0.8, -2.6, -0.8))
        spine = bezier([inner + np.array((0, 1.8, -0.5)), 0.5 * (inner + ridge) + np.array((0, 0, -1)), ridge], 5)
        blades.append((spine, np.linspace(0.2, 0.45, 6), 0.1))
        scene.plate((inner, glenoid, tip), 0.28, 0.22)
        bend = (sign * 7.0, 14, 1.5) if chest.view == "PA" else (sign * 1.2, 32, 0) if ap else (-sign * 1, -14, 7)
        arm = joint + np.array([0, 0.15, 0.3, 0.5, 0.75, 1.0])[:, None] * np.array(bend)
        arms.append((arm, np.array([1.5, 1.3, 1.15, 1.1, 1.1, 1.1]) * s, 0.28))
        heads = np.array([joint, joint + np.array((-sign * 3.0, -0.4, 2.4))])
        radii = s * np.array([[2.3, 2.4, 2.3], [0.8, 0.9, 1.4]])
        scene.ellipsoids(scene.attenuation, heads, radii, np.array([0.10, 0.16]))
    scene.bones(collars + arms, 0.04)
    scene.bones(blades, 0.04)
    if chest.age > 62 and chest.seed and np.random.default_rng([*chest.seed, 41]).random() < (chest.age - 50) / 50:
        # A sickle of lime in the wall of the aortic arch.
        x, y, z = chest.aortic_knob
        turn = np.linspace(-0.9, 1.5, 7)
        arc = np.stack([x + 0.6 + 1.1 * np.cos(turn), y - 1.35 * np.sin(turn), np.full(7, z)], axis=1)
        drawn = scene.rays.tube(arc, 0.11)
        if drawn is not None:
            scene.attenuation[drawn[0].at] += 0.9 * drawn[1]
