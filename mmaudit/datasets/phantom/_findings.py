"""How each finding changes the chest: what fills the lung, what it does to the vessels, lines, ribs.

Where a finding moves anatomy (a heart that is larger, a dome that is raised, a mediastinum pushed aside), `_chest` has
done so. Every function here adds to the attenuation of the scene and marks where it did in the finding's mask.
"""

from __future__ import annotations

import math

import numpy as np

from mmaudit.datasets.phantom._chest import SIDES, Chest, lung_ellipsoid
from mmaudit.datasets.phantom._geometry import Interval, bezier, inside_both, length
from mmaudit.datasets.phantom._record import Finding
from mmaudit.datasets.phantom._tissue import MU_LUNG, MU_SOFT, Carved, Scene

__all__ = ["break_ribs", "fill_lungs", "mark_fractures", "move_vessels"]

EXTRA = MU_SOFT - MU_LUNG  # of fluid or solid tissue in the place of air
# A mask holds the pixels whose ray runs this far, in cm, through what is meant; for haze: through solid tissue.
FLUID_CM, SOLID_CM, AIR_CM, HAZE_CM = 0.5, 0.4, 0.4, 0.35


def fill_lungs(scene: Scene) -> None:
    """Set how many cm of aerated lung each ray passes, by side, and add what lies in the pleural spaces else."""
    for side in SIDES:
        aerated = np.zeros(scene.rays.shape)
        scene.lung_cm[side] = aerated
        space = scene.lungs[side]
        if space is None:
            continue
        aerated[space.rays.at] = space.cm()
        here = [f for f in scene.film.findings if f.side == side]
        for finding in here:
            if finding.kind == "pneumothorax":
                scene.lungs[side] = _pneumothorax(scene, side, space, finding)
        for finding in here:
            if finding.kind == "pleural effusion":
                _effusion(scene, side, finding)
        for finding in here:
            if finding.kind == "consolidation":
                _consolidation(scene, side, finding)
            elif finding.kind == "atelectasis":
                _atelectasis(scene, side, finding)
            elif finding.kind == "nodule":
                _nodule(scene, side, finding)
        for finding in scene.film.findings:
            if finding.kind == "edema":
                _edema(scene, side, finding)
    if any(f.kind == "cardiomegaly" for f in scene.film.findings):
        _mark_heart(scene)


# Pleura


def _effusion(scene: Scene, side: str, finding: Finding) -> None:
    """Put fluid into the pleural space: at the bottom, higher along the wall; behind the lung of a lying patient."""
    chest, space = scene.chest, scene.lungs[side]
    assert space is not None
    window, sign, s = space.rays, SIDES[side], finding.size
    if scene.supine:
        # A wedge behind the lung, thicker towards the diaphragm.
        low, high = chest.dome_y[side] + 3.0, chest.apex_y
        back_low, back_high = chest.pleura_z(5.0 * sign, low)[0], chest.pleura_z(4.0 * sign, high + 2.0)[0]
        a = np.array([0.0, low, back_low + 0.7 + 5.6 * s])
        b = np.array([0.0, high, back_high - 0.8 + 2.8 * s])
        run = b - a
        fluid = space.within(
            window, window.halfspace((0.0, run[2], -run[1]) if run[1] > 0 else (0.0, -run[2], run[1]), a)
        )
    else:
        level = chest.dome_y[side] + 4.5 - 1.2 * math.sqrt(s) - 13.0 * s * math.sqrt(s)
        rise = 1.6 + 4.6 * s
        lung = lung_ellipsoid(chest, side)
        below = window.halfspace((0, 1, 0), (0, level - rise, 0))
        # The lung swims on the fluid; its lower end is round, so that the fluid climbs where lung and wall part.
        middle = (0.47 * chest.half_width * sign, level - rise, lung.centre[2] - 1.0)
        swims = window.ellipsoid(middle, (0.575 * chest.half_width, rise, 1.1 * chest.half_depth))
        fluid = space.within(window, below) - space.within(window, below, swims)
        fluid = np.maximum(fluid, 0.0)
    aerated = scene.lung_cm[side][window.at]
    np.subtract(aerated, fluid, out=aerated)
    np.maximum(aerated, 0.0, out=aerated)
    scene.mask("pleural effusion", window, fluid >= FLUID_CM)


def _collapse(scene: Scene, side: str, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the point in space to which a lung shrinks, and by what factor along each axis."""
    chest, sign = scene.chest, SIDES[side]
    if scene.supine:  # air rises to the front and the base
        factor = 1 - 0.06 - 0.40 * size
        return np.array([3.0 * sign, -5.0, -0.6 * chest.half_depth]), np.array([factor, factor, factor])
    factor = 1 - 0.035 - 0.45 * size  # it rises to the apex
    return np.array([3.2 * sign, chest.dome_y[side] - 1.0, -1.0]), np.array([factor, factor, 0.65 + 0.35 * factor])


def _pneumothorax(scene: Scene, side: str, space: Carved, finding: Finding) -> Carved:
    """Let a lung shrink and leave air between it and the wall; return the space that it still fills."""
    chest, window = scene.chest, space.rays
    to, factor = _collapse(scene, side, finding.size)

    def shrunk(by: float) -> Interval:
        parts = []
        for solid in (lung_ellipsoid(chest, side), chest.cage, chest.cap):
            middle = to + factor * (np.asarray(solid.centre) - to)
            radii = np.asarray(solid.radii) * factor + by  # along its own axes, which are tilted by a few degrees
            parts.append(window.ellipsoid(tuple(middle), tuple(radii), solid.turn))
        return inside_both(*parts)

    kept = space.only(shrunk(0.0))
    lung = kept.cm()
    pleura = np.maximum(space.within(window, shrunk(0.18)) - lung, 0.0)
    air = np.maximum(scene.lung_cm[side][window.at] - lung, 0.0)
    # Air instead of lung; the collapsed lung holds as much tissue in less room.
    volume = float(factor.prod())
    dense = MU_LUNG * (min(1 / math.sqrt(volume), 2.4) - 1)
    scene.attenuation[window.at] += dense * lung + MU_SOFT * 0.65 * pleura - MU_LUNG * np.maximum(air - pleura, 0)
    scene.attenuation[window.at] -= EXTRA * (air - pleura).clip(0)
    scene.lung_cm[side][window.at] = lung
    scene.mask("pneumothorax", window, (air - pleura >= AIR_CM) & (air > lung))
    return kept


# Lung


def _place(chest: Chest, side: str, finding: Finding) -> np.ndarray:
    """Return where in its lung and zone a finding lies: between heart and wall, at the height of the zone."""
    a, b, c = finding.spot
    share = {"upper": 0.24, "middle": 0.52, "lower": 0.80}.get(finding.zone, 0.55) + 0.07 * b
    y = chest.apex_y + share * (chest.dome_y[side] - chest.apex_y)
    z = c * 0.42 * chest.half_depth - 0.5
    wall = chest.pleura_x(y, z)
    heart = (
        chest.left_ventricle[0] + 4.6 * chest.heart if side == "left" else -chest.right_atrium[0] + 2.2 * chest.heart
    )
    medial = 3.6 if y < 0 else 0.5 * (3.6 + heart)
    medial = min(medial, wall - 4.0)
    return np.array([SIDES[side] * (medial + (0.5 + 0.4 * a) * (wall - 1.4 - medial)), y, z])


def _rng(scene: Scene, finding: Finding) -> np.random.Generator:
    spot = [int(1000 * (1 + v)) for v in finding.spot]
    return np.random.default_rng([*scene.chest.seed, 51, *spot])


def _solidify(
    scene: Scene, side: str, blobs: list[tuple], shares: list[float], kind: str, threshold: float
) -> np.ndarray:
    """Fill ellipsoids (centre, radii, turn) of a lung with tissue, each by its share; return the cm filled."""
    space, total = scene.lungs[side], np.zeros(scene.rays.shape)
    assert space is not None
    for (centre, radii, turn), share in zip(blobs, shares, strict=True):
        window = space.rays.window(space.rays.holding(centre, radii, turn))
        if window is not None:
            total[window.at] += share * space.within(window, window.ellipsoid(centre, radii, turn))
    np.minimum(total, 0.92 * scene.lung_cm[side], out=total)
    scene.attenuation += EXTRA * total
    scene.solid_cm += total
    scene.mask(kind, scene.rays, total >= threshold)
    return total


def _consolidation(scene: Scene, side: str, finding: Finding) -> None:
    """Fill a patch of lung with exudate: soft lobules about a middle, bronchi in it still full of air."""
    chest, rng = scene.chest, _rng(scene, finding)
    middle = _place(chest, side, finding)
    size = 1.8 + 4.4 * finding.size
    blobs: list[tuple] = [(middle, (f * size, 0.85 * f * size, f * size), None) for f in (0.55, 0.8, 1.0)]
    shares = [0.36, 0.26, 0.16]
    for _ in range(14):
        away = rng.normal(0, 1, 3)
        away *= rng.uniform(0.3, 0.95) * size / math.sqrt(float(away @ away))
        r = size * rng.uniform(0.2, 0.45)
        blobs.append((middle + away, tuple(r * rng.uniform(0.8, 1.2, 3)), None))
        shares.append(0.3)
    filled = _solidify(scene, side, blobs, shares, "consolidation", 0.8)
    start = np.asarray(chest.hilum[side])
    air = np.zeros(scene.rays.shape)
    for _ in range(3):
        to = middle + rng.normal(0, 0.4 * size, 3)
        path = bezier([start + 0.3 * (to - start), 0.5 * (start + to) + rng.normal(0, 0.4, 3), to], 5)
        drawn = scene.rays.tube(path, np.linspace(0.24, 0.13, 6))
        if drawn is not None:
            np.maximum(air[drawn[0].at], drawn[1], out=air[drawn[0].at])
    scene.attenuation -= MU_SOFT * np.minimum(air, 0.25 * filled)


def _nodule(scene: Scene, side: str, finding: Finding) -> None:
    """Put a round solid lump with a slightly uneven edge into the lung."""
    rng, r = _rng(scene, finding), 0.4 + 1.6 * finding.size
    middle = _place(scene.chest, side, finding)
    space = scene.lungs[side]
    assert space is not None
    window = space.rays.around(middle, 1.5 * r)
    if window is None:
        return
    enter = leave = None
    for i in range(5):
        away = rng.normal(0, 0.13 * r, 3) if i else np.zeros(3)
        solid = window.ellipsoid(middle + away, tuple(r * rng.uniform(0.84, 1.0, 3)))
        # Pieces so close together are one along every ray.
        met = solid[1] > solid[0]
        first, last = np.where(met, solid[0], 1e9), np.where(met, solid[1], -1e9)
        enter = first if enter is None else np.minimum(enter, first)
        leave = last if leave is None else np.maximum(leave, last)
    assert enter is not None and leave is not None
    way = space.within(window, (enter, leave))
    scene.attenuation[window.at] += 1.15 * EXTRA * way
    scene.solid_cm[window.at] += way
    scene.mask("nodule", window, way >= 0.3)


def _atelectasis(scene: Scene, side: str, finding: Finding) -> None:
    """Let a part of a lung lose its air: plates if small; else a lobe, a wedge from the hilum."""
    chest, rng, s = scene.chest, _rng(scene, finding), finding.size
    sign, middle = SIDES[side], _place(scene.chest, side, finding)
    if s < 0.45:
        blobs, shares = [], []
        for i in range(1 + int(5 * s)):
            at = middle + np.array(
                [sign * rng.normal(0, 0.6), (0.2 if finding.zone != "lower" else 1.2) + 1.3 * i, rng.normal(0, 1.0)]
            )
            long = 1.8 + 3.2 * s + rng.uniform(0, 0.6)
            turn = _turn(sign * rng.uniform(-22, 12))
            blobs.append((at, (long, 0.16 + 0.22 * s, 0.75 * long), turn))
            shares.append(0.9)
        _solidify(scene, side, blobs, shares, "atelectasis", 0.3)
        return
    space = scene.lungs[side]
    assert space is not None
    window = space.rays
    hilum = np.asarray(chest.hilum[side]) + np.array((0.0, 1.0, 0.0))
    grow = (s - 0.45) / 0.55
    if finding.zone == "upper":  # above a plane that rises to the side
        solid = [window.halfspace((-0.35 * sign, -1, 0.25), hilum + np.array((sign * 1.0, -4.5 + 2.5 * grow, 0)))]
    elif finding.zone == "middle":  # between two planes that meet at the hilum's far side, at the heart's border
        far = hilum + np.array((sign * (5.0 + 2.5 * grow), 2.5, 1.0))
        solid = [
            window.halfspace((-0.25 * sign, 1, 0.15), far - np.array((0, 0.5 + 0.5 * grow, 0))),
            window.halfspace((-0.75 * sign, -1, 0.2), far + np.array((0, 0.5 + 0.5 * grow, 0))),
            window.halfspace((0, 0, 1), (0, 0, -2.0)),
        ]
    else:  # a triangle behind the heart, from the hilum to the diaphragm
        at = (sign * (2.0 + 1.2 * grow) + chest.shift, chest.dome_y[side] - 2.0, -0.45 * chest.half_depth)
        solid = [window.ellipsoid(at, (3.2 + 2.4 * grow, 10.5, 4.5 + 2.5 * grow), _turn(-15 * sign))]
    filled = np.minimum(0.85 * space.within(window, *solid), 0.9 * scene.lung_cm[side][window.at])
    scene.attenuation[window.at] += EXTRA * filled
    scene.solid_cm[window.at] += filled
    scene.mask("atelectasis", window, filled >= SOLID_CM)


def _turn(degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _edema(scene: Scene, side: str, finding: Finding) -> None:
    """Haze the lung about its hilum, as bats' wings, and line its base."""
    chest, sign, s = scene.chest, SIDES[side], finding.size
    rng = np.random.default_rng([*chest.seed, 61])
    x, y, z = chest.hilum[side]
    blobs: list[tuple] = [
        (np.array((x + sign * 0.8, y + 1.0, z)), (3.2 + 1.2 * s, 4.2 + 1.5 * s, 3.6), None),
        (np.array((x + sign * 1.8, y + 2.0, z)), (4.2 + 1.8 * s, 6.0 + 2.0 * s, 5.0), None),
        (np.array((x + sign * 3.0, y + 4.5, z - 1)), (5.0 + 2.0 * s, 6.5 + 2.0 * s, 6.5), None),
    ]
    shares = [0.07 + 0.16 * s, 0.03 + 0.13 * s, 0.015 + 0.10 * s]
    for _ in range(8):
        at = np.array((x, y, z)) + np.array((sign * rng.uniform(0.5, 5.5), rng.uniform(-4, 7), rng.uniform(-4, 4)))
        r = rng.uniform(1.2, 2.6)
        blobs.append((at, (r, r, 1.2 * r), None))
        shares.append(0.02 + 0.20 * s * rng.random())
    _solidify(scene, side, blobs, shares, "edema", HAZE_CM)
    lines = np.zeros(scene.rays.shape)
    for i in range(7):
        height = chest.dome_y[side] - 0.5 - 0.95 * i + rng.uniform(-0.2, 0.2)
        depth = rng.uniform(-4, 3)
        wall = sign * (chest.pleura_x(height, depth) - 0.1)
        end = (wall - sign * rng.uniform(1.0, 1.9), height + rng.uniform(-0.15, 0.25), depth)
        drawn = scene.rays.tube(np.array([(wall, height, depth), end]), 0.055 + 0.03 * s)
        if drawn is not None:
            lines[drawn[0].at] += drawn[1]
    scene.attenuation += EXTRA * (1.5 + s) * lines


def move_vessels(
    scene: Scene, sides: np.ndarray, starts: np.ndarray, ends: np.ndarray, r0: np.ndarray, r1: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the vessels where findings have moved them: with a lung that shrank; engorged, most so above."""
    for finding in scene.film.findings:
        if finding.kind == "pneumothorax":
            mine = sides == SIDES[finding.side]
            to, factor = _collapse(scene, finding.side, finding.size)
            starts, ends = (np.where(mine[:, None], to + factor * (p - to), p) for p in (starts, ends))
            r0, r1 = (np.where(mine, max(float(factor[0]), 0.7) * r, r) for r in (r0, r1))
        elif finding.kind == "edema":
            above = np.clip((2.0 - 0.5 * (starts[:, 1] + ends[:, 1])) / 6, 0, 1)
            thicker = 1 + finding.size * (0.25 + 0.45 * above)
            r0, r1 = r0 * thicker, r1 * thicker
    return starts, ends, r0, r1


def _mark_heart(scene: Scene) -> None:
    """Mark the heart as the place of an enlarged heart."""
    for solid in heart_solids(scene.chest):
        met = scene.part(solid)
        if met is not None:
            scene.mask("cardiomegaly", met[0], length(met[1]) * scene.cm[met[0].at] >= FLUID_CM)


def heart_solids(chest: Chest) -> list[tuple]:
    """Return centre, radii and turn of left ventricle, right ventricle and right atrium."""
    h = chest.heart
    return [
        (chest.left_ventricle, (6.0 * h, 3.9 * h, 4.2 * h), _turn(50)),
        (chest.right_ventricle, (4.2 * h, 3.3 * h, 3.0 * h), _turn(20)),
        (chest.right_atrium, (2.8 * h, 5.4 * h, 3.8 * h), None),
    ]


# Bone


def _fracture_at(scene: Scene, finding: Finding) -> tuple[int, float, np.ndarray]:
    """Return the rib that is broken, how far in cm its ends are off, and where."""
    key = (finding.side, *finding.spot)
    a, b, _ = finding.spot
    number = 4 + min(int(2.5 * (a + 1)), 4)
    if key not in scene.courses:
        scene.courses[key] = scene.chest.rib(finding.side, number, 24)
    course = scene.courses[key]
    # Behind or in front of the side, where the rib is seen from its face in one of the views.
    return number, 0.25 + 0.5 * finding.size, course[round(8 + 3 * b if b < 0 else 15 + 3 * b)]


def break_ribs(scene: Scene, number: np.ndarray, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers and the weights of points of ribs with a step and a gap where ribs are broken."""
    weight = np.ones_like(number)
    for finding in scene.fractures:
        rib, step, at = _fracture_at(scene, finding)
        mine = (np.abs(number - rib) < 0.5) & (x * SIDES[finding.side] > 0)
        # Along the rib, front to back: the part in front of the break is displaced downwards.
        ahead = z - at[2]
        side = np.abs(x - at[0])
        near = mine & (side < 4)
        number = np.where(near & (ahead > 0) & (ahead < 2.6), number - 0.42 * step * (1 - ahead.clip(0) / 2.6), number)
        gap = 0.16 + 0.22 * finding.size
        weight = np.where(near & (np.abs(ahead) < gap), 0.0, weight)
        weight = np.where(near & (np.abs(ahead) >= gap) & (np.abs(ahead) < gap + 0.7), 1.45, weight)
    return number, weight


def mark_fractures(scene: Scene) -> None:
    """Mark where ribs are broken."""
    for finding in scene.fractures:
        _, _, at = _fracture_at(scene, finding)
        reach = 1.6 + 1.2 * finding.size
        met = scene.part((at, (reach, reach, reach), None))
        if met is not None:
            scene.mask("fracture", met[0], met[1][1] > met[1][0])
