"""Devices in and on the patient: tubes, lines, wires and clips along paths in space, so that all views agree.

`draw_devices` returns what they add to the attenuation, and where each kind shows. A catheter is a faint tube with a
dense stripe; metal is dense all through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from mmaudit.datasets.phantom._chest import SIDES, Chest
from mmaudit.datasets.phantom._geometry import Rays, bezier, inside_both, length, rotation
from mmaudit.datasets.phantom._record import Device, Film

__all__ = ["TUBE_ABOVE_CARINA_CM", "draw_devices"]

# Linear attenuation in 1/cm at 60 keV, that of tissue already subtracted. Plastic with a filler, silicone with barium
# sulphate, titanium with what is in a can, steel, a clip's titanium.
MU_PLASTIC, MU_FILLED, MU_STRIPE = 0.45, 2.6, 12.0
MU_CAN, MU_STEEL, MU_CONDUCTOR, MU_CLIP = 2.6, 11.0, 7.0, 8.0
VISIBLE = 0.05  # least attenuation that counts as seen, 5 % of the beam
TUBE_ABOVE_CARINA_CM = (4.0, 1.5)  # of an endotracheal tube: for spot[2] = 0, and for each unit of it
_LEADS = 3  # stream of a film's random numbers for the place of ECG leads


class _Drawing:
    """Attenuation of one device."""

    def __init__(self, film: Film, rays: Rays, chest: Chest) -> None:
        self.film, self.rays, self.chest = film, rays, chest
        self.total = np.zeros(rays.shape)

    def tube(self, path: np.ndarray, radius_cm: np.ndarray | float, mu: float, *, wall_cm: float | None = None) -> None:
        """Add a tube along a path."""
        drawn = self.rays.tube(path, radius_cm, wall_cm=wall_cm)
        if drawn is not None:
            window, way = drawn
            self.total[window.at] += mu * way

    def disc(
        self, centre: np.ndarray, radii: tuple[float, float], thick_cm: float, mu: float, turn: np.ndarray
    ) -> None:
        """Add a flat cylinder: `radii` of its ellipse, its axis the third one of `turn`."""
        window = self.rays.around(centre, max(*radii, thick_cm))
        if window is None:
            return
        axis = turn[:, 2]
        inside = inside_both(
            window.ellipsoid(centre, (*radii, math.inf), turn),
            window.halfspace(axis, centre - 0.5 * thick_cm * axis),
            window.halfspace(-axis, centre + 0.5 * thick_cm * axis),
        )
        self.total[window.at] += mu * length(inside) * window.ray_cm()

    def ball(self, centre: np.ndarray, radius_cm: float, mu: float) -> None:
        """Add a small ball."""
        self.tube(np.stack([centre, _off(centre, 0, 1e-3, 0)]), radius_cm, mu)


def draw_devices(film: Film, rays: Rays, chest: Chest) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return what the devices of a film add to the attenuation, and where each kind shows.

    Parameters
    ----------
    film : Film
        Its devices are drawn.
    rays : Rays
        Of the whole film.
    chest : Chest
        Of the film.

    Returns
    -------
    attenuation : ndarray of shape (height, width), float64
        To be added to that of the body, without unit.
    masks : dict of str to ndarray of shape (height, width), bool
        By kind of device.
    """
    attenuation = np.zeros(rays.shape)
    masks: dict[str, np.ndarray] = {}
    for device in film.devices:
        drawing = _Drawing(film, rays, chest)
        _DRAW[device.kind](drawing, device)
        attenuation += drawing.total
        seen = drawing.total > min(VISIBLE, 0.5 * float(drawing.total.max()))
        masks[device.kind] = masks[device.kind] | seen if device.kind in masks else seen
    return attenuation, masks


# Paths


def _off(point: np.ndarray, left: float, down: float, front: float) -> np.ndarray:
    """Return a point moved by so many cm."""
    return point + np.array([left, down, front])


def _smooth(points: Sequence[Sequence[float] | np.ndarray], n_between: int = 4) -> np.ndarray:
    """Return a smooth path (n, 3) through points in space: Catmull-Rom, so that it passes every one of them."""
    p = np.asarray(points, dtype=float)
    p = np.concatenate([[2 * p[0] - p[1]], p, [2 * p[-1] - p[-2]]])
    t = np.arange(n_between) / n_between
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    s = t[None, :, None]
    curve = b + 0.5 * s * (c - a + s * (2 * a - 5 * b + 4 * c - d + s * (3 * (b - c) + d - a)))
    return np.concatenate([curve.reshape(-1, 3), p[-2:-1]])


def _cut(path: np.ndarray, start_cm: float, stop_cm: float) -> np.ndarray:
    """Return the part of a path between two distances from its end; at least two points."""
    steps = np.sqrt((np.diff(path, axis=0) ** 2).sum(axis=1))
    to_end = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
    stop_cm = min(stop_cm, float(to_end[0]))
    start_cm = min(start_cm, stop_cm - 1e-6)

    def at(distance: float) -> np.ndarray:
        return np.array([np.interp(-distance, -to_end, path[:, i]) for i in range(3)])

    inner = path[(to_end < stop_cm) & (to_end > start_cm)]
    return np.concatenate([[at(stop_cm)], inner, [at(start_cm)]])


def _beside(path: np.ndarray, by_cm: float) -> np.ndarray:
    """Return the path moved sideways in the frontal plane."""
    along = np.gradient(path, axis=0)
    aside = np.stack([-along[:, 1], along[:, 0], 0.6 * along[:, 0]], axis=1)
    size = np.sqrt((aside * aside).sum(axis=1, keepdims=True))
    return path + by_cm * aside / np.maximum(size, 1e-6)


# Catheters


def _chest_tube(drawing: _Drawing, device: Device) -> None:
    chest, sign = drawing.chest, SIDES[device.side]
    a, b, c = device.spot
    s = chest.scale
    enter_y = (3.4 + 1.6 * b) * s
    skin = chest.pleura_x(enter_y) + chest.wall_cm
    lift = 0.4 * chest.half_depth * a
    if a > -0.35:  # upwards, as for air
        tip = (sign * (0.50 + 0.10 * c) * chest.half_width, chest.apex_y + 3.2 + 1.4 * abs(b), 0.5 + lift)
        points = [
            (sign * (skin + 7), enter_y + 10.0, 0.0),
            (sign * (skin + 1.6), enter_y + 3.4, 0.5),
            (sign * (chest.pleura_x(enter_y - 1) - 0.7), enter_y - 1.6, 0.5),
            (sign * (chest.pleura_x(-2.5 * s) - 1.1), -2.5 * s, 0.5 + 0.4 * lift),
            (sign * (chest.pleura_x(-7.0 * s) - 1.6), -7.0 * s, 0.5 + 0.8 * lift),
            tip,
        ]
    else:  # backwards and down, as for fluid
        low = chest.dome_y[device.side]
        tip = (sign * (0.42 + 0.10 * c) * chest.half_width, low - 1.5 + 1.5 * b, -0.62 * chest.half_depth)
        points = [
            (sign * (skin + 7), enter_y + 7.0, 1.0),
            (sign * (skin + 1.0), enter_y + 1.6, 1.0),
            (sign * (chest.pleura_x(enter_y) - 1.0), enter_y - 0.4, -0.5),
            (sign * 0.72 * chest.half_width, 0.6 * enter_y + 0.4 * tip[1] - 1.2, -0.4 * chest.half_depth),
            tip,
        ]
    path = _smooth(points)
    drawing.tube(path, 0.46, MU_PLASTIC, wall_cm=0.13)
    stripe = _beside(path, 0.36 * sign)
    # The stripe has a gap at the last side hole, by which its place is read.
    drawing.tube(_cut(stripe, 5.6, 99), 0.085, MU_STRIPE)
    drawing.tube(_cut(stripe, 0.2, 4.7), 0.085, MU_STRIPE)


def _endotracheal_tube(drawing: _Drawing, device: Device) -> None:
    chest = drawing.chest
    carina, top = np.asarray(chest.carina), np.asarray(chest.trachea_top)
    pipe = [_off(top, 0.0, -9.0, 6.0), _off(top, 0.1, -3.0, 0.8), _off(top, 0.12 * device.spot[0], 2.0, 0.1)]
    if device.misplaced:
        bronchus = chest.bronchi["right"]
        pipe += [_off(carina, -0.15, -1.6, 0.0), *bronchus[2:5]]
    else:
        mean, step = TUBE_ABOVE_CARINA_CM
        share = (mean + step * device.spot[2]) / max(carina[1] - top[1], 1.0)
        tip = carina + share * (top - carina) + (0.18 * device.spot[1], 0.0, 0.15)
        pipe += [0.5 * (tip + pipe[-1]), tip]
    path = _smooth(pipe)
    drawing.tube(path, 0.50, MU_PLASTIC + 0.1, wall_cm=0.13)
    drawing.tube(_beside(path, 0.34), 0.075, MU_STRIPE)


def _central_line(drawing: _Drawing, device: Device) -> None:
    chest, sign = drawing.chest, SIDES[device.side or "right"]
    side = "left" if sign > 0 else "right"
    vein = chest.brachiocephalic[side]
    a, b, c = device.spot
    s = chest.scale
    neck = a > -0.1
    if neck:
        joint = _off(vein[6], 0.4 * sign, 0, 0)
        skin = np.array([sign * (3.4 + 0.5 * b), -15.5 * s, joint[2] + 1.0])
        start = [skin, _off(0.55 * skin + 0.45 * joint, sign * 0.2, 0, 0.2), joint, *vein[8:]]
    else:
        front = float(chest.skin_z(sign * 9.5, -6.0 * s)) - 0.5
        skin = np.array([sign * (9.6 + b), (-6.6 + 0.6 * c) * s, front])
        start = [skin, 0.5 * (skin + vein[1]) + (sign * 0.4, -1.0, 0.6), vein[1], vein[4], vein[7], vein[-1]]
    cava = chest.svc[1:]
    atrium = np.asarray(chest.right_atrium)
    if device.misplaced:
        end = [
            *cava[1::3],
            cava[-1],
            _off(atrium, 0.2, 0.5 + 0.8 * c, 0.2),
            _off(atrium, 0.8 + 0.3 * b, 2.6 + 0.8 * c, 0.6),
        ]
    else:
        last = 6 if c < 0 else 7
        end = [*cava[1:last:2], cava[last]]
    path = _smooth([*start, *end], 3)
    drawing.tube(path, 0.125, MU_FILLED)
    # Outside: the hub on the skin and two thin tails with their clamps.
    hub = _off(skin, 0.3 * sign, -0.8 if neck else 0.5, 0.8)
    drawing.tube(np.stack([hub, skin]), np.array([0.38, 0.22]), 1.1)
    for turn in (0.0, 1.0):
        tail = _off(hub, sign * (2.0 + 1.2 * turn), (-2.6 if neck else 3.0) + turn, 0.4)
        middle = 0.5 * (hub + tail) + (0.0, (-1.0 if neck else 0.8) * (1 - turn), 0.3)
        drawing.tube(bezier([hub, middle, tail], 6), 0.11, 1.0)
        drawing.ball(tail, 0.26, 1.6)


def _nasogastric_tube(drawing: _Drawing, device: Device) -> None:
    chest = drawing.chest
    gullet, stomach = chest.oesophagus, np.asarray(chest.stomach)
    a, b, c = device.spot
    top = gullet[0]
    entry = [_off(top, 0.2, -8.0, 3.0), _off(top, 0.1, -3.0, 0.6)]
    wave = np.zeros((len(gullet), 3))
    wave[1:, 0] = 0.3 * a * np.sin(0.9 * np.arange(1, len(gullet)))
    way = gullet + wave
    if device.misplaced:
        keep = int(np.searchsorted(way[:15, 1], 0.5 + 3.0 * c))
        path = _smooth([*entry, *way[: max(keep, 6) : 2]], 3)
    else:
        bend = _off(stomach, -0.6 + 0.8 * b, 3.4, 0.8)
        tip = _off(stomach, -3.6 + 1.2 * a, 5.4 + 0.9 * c, 2.4)
        path = _smooth([*entry, *way[:18:3], way[-2], bend, tip], 4)
    drawing.tube(path, 0.24, MU_PLASTIC + 0.15, wall_cm=0.07)
    stripe = _beside(path, 0.15)
    drawing.tube(_cut(stripe, 5.5, 99), 0.06, MU_STRIPE)
    drawing.tube(_cut(stripe, 2.2, 4.9), 0.06, MU_STRIPE)
    drawing.tube(_cut(path, 0.0, 1.9), 0.23, 2.6)  # the weight


# Metal


def _pacemaker(drawing: _Drawing, device: Device) -> None:
    chest, sign = drawing.chest, SIDES[device.side or "left"]
    side = "left" if sign > 0 else "right"
    a, b, c = device.spot
    s = chest.scale
    x, y = sign * (0.66 + 0.05 * a) * chest.half_width, (-6.4 + 0.9 * b) * s
    centre = np.array([x, y, float(chest.skin_z(x, y)) - 1.0])
    turn = rotation(1, -sign * 24.0) @ rotation(0, 14.0) @ rotation(2, 16.0 * c + 8.0 * sign)
    drawing.disc(centre, (2.35, 2.15), 0.75, 1.5, turn)
    drawing.disc(centre, (2.18, 1.98), 0.62, MU_CAN - 1.5, turn)
    drawing.disc(centre + turn @ (0.0, 0.75, 0.0), (1.75, 1.05), 0.6, 2.6, turn)  # the battery
    drawing.disc(centre + turn @ (-0.55, -0.75, 0.0), (0.85, 0.45), 0.3, 3.0, turn)  # its circuits
    drawing.disc(centre + turn @ (0.0, -2.05, 0.0), (1.55, 0.62), 0.6, 0.5, turn)  # the header, of resin
    for across in (-0.45, 0.45):
        block = centre + turn @ (across, -2.0, 0.0)
        drawing.tube(np.stack([block, block + turn @ (0.5, 0.0, 0.0)]), 0.17, 3.0)
    vein = chest.brachiocephalic[side]
    cava, atrium = chest.svc, np.asarray(chest.right_atrium)
    ventricle, tall = np.asarray(chest.right_ventricle), chest.heart
    apex = np.asarray(chest.left_ventricle) * (1.0, 1.0, 0.0) + (1.0 * tall, 2.6 * tall, ventricle[2] - 0.2)
    header = centre + turn @ (1.4 * sign, -2.1, 0.0)
    for which in (0, 1):
        # Spare lead is coiled behind the can before it enters the vein.
        loop = [_off(header, sign * (1.0 + 0.4 * which), 0.9 + 0.6 * which, -0.4)]
        start = [_off(header, 0, 0.35 * which, 0), *loop, _off(vein[0], sign * 1.2, 1.5, 0.8), vein[1]]
        aside = np.array([0.16 * (1 - 2 * which), 0.12 * which, 0.0])
        course = [p + aside for p in (*vein[4::3], *cava[2::3])]
        if which == 0:  # into the appendage of the atrium: down and up again
            end = [_off(atrium, -0.6, -0.4, 0.0), _off(atrium, 0.4, 1.0, 1.3), _off(atrium, 1.2, -0.9, 2.6)]
        else:
            end = [
                _off(atrium, -0.9, 0.6, 0.2),
                _off(atrium, 0.6, 3.0 + 0.3 * b, 1.0),
                0.5 * (ventricle + apex) + (-0.8, 2.0, 0.4),
                apex,
            ]
        path = _smooth([*start, *course, *end], 3)
        drawing.tube(path, 0.095, MU_CONDUCTOR - 2.0)
        drawing.tube(_cut(path, 0.0, 0.35), 0.13, MU_CONDUCTOR)
        drawing.tube(_cut(path, 1.0, 1.3), 0.13, MU_CONDUCTOR)
        if which == 1 and a > 0.3:  # a defibrillator's coil
            drawing.tube(_cut(path, 2.2, 7.2), 0.16, MU_CONDUCTOR)


def _sternal_wires(drawing: _Drawing, device: Device) -> None:
    chest = drawing.chest
    rng = np.random.default_rng([*chest.seed, 51])
    n = 5 + (device.spot[0] > 0)
    s = chest.scale
    bone = chest.sternum
    turns = np.linspace(0, 2 * math.pi, 15)
    for y in np.linspace(-7.6, 6.2, n) * s + rng.normal(0, 0.25, n):
        z = float(np.interp(y, bone[:, 1], bone[:, 2]))
        wide, tall = 1.25 + 0.2 * float(rng.random()), 0.42 + 0.18 * float(rng.random())
        lean, x = float(rng.normal(0, 0.22)), 0.2 * device.spot[1] + float(rng.normal(0, 0.12))
        ring_x = wide * np.cos(turns)
        # Around the bone, the front lower than the back.
        ring = np.stack([x + ring_x, y + tall * np.sin(turns) + lean * ring_x, z + 0.8 * np.sin(turns)], axis=1)
        drawing.tube(ring, 0.06, MU_STEEL)
        knot = np.array([x + float(rng.normal(0, 0.3)), y + tall, z + 0.85])
        drawing.tube(
            np.stack([knot, _off(knot, 0.25 * device.spot[2] + float(rng.normal(0, 0.25)), 0.75, 0.1)]), 0.09, 9.0
        )


def _surgical_clips(drawing: _Drawing, device: Device) -> None:
    chest, sign = drawing.chest, SIDES[device.side or "left"]
    rng = np.random.default_rng([*chest.seed, 52])
    n = 3 + int(rng.integers(6))
    s = chest.scale
    bypass = any(d.kind == "sternal wires" for d in drawing.film.devices)
    for place in rng.normal(0, 1, (n, 3)).clip(-1.8, 1.8):
        if bypass:  # of branches of the artery behind the sternum's edge
            y = (-1.5 + 4.0 * place[1]) * s
            z = float(np.interp(y, chest.sternum[:, 1], chest.sternum[:, 2])) - 1.2
            at = np.array([sign * (2.3 + 0.35 * place[0]), y, z])
        elif chest.female:  # the armpit, after its nodes were taken
            at = np.array(
                [sign * (chest.half_width + 0.8 + 0.9 * place[0]), (-3.5 + 2.0 * place[1]) * s, 1.0 + place[2]]
            )
        else:
            hilum = np.asarray(chest.hilum["left" if sign > 0 else "right"])
            at = hilum + np.array([0.9, 1.3, 0.8]) * place
        turn, leg = float(rng.uniform(0, math.pi)), 0.34
        way = leg * np.array([math.cos(turn), math.sin(turn), 0.5 * float(place[0])])
        drawing.tube(np.stack([at - way, at + way]), 0.07, MU_CLIP)
        drawing.tube(np.stack([at - way, _off(at + way, 0.12, 0.10, 0.0)]), 0.06, MU_CLIP)


def _ecg_leads(drawing: _Drawing, device: Device) -> None:
    """Add discs with clips on the skin, and wires that leave the film together."""
    chest = drawing.chest
    rng = np.random.default_rng([*drawing.film.seed, _LEADS])
    w, s = chest.half_width, chest.scale
    places = [(-0.72, -8.0), (0.72, -8.0), (0.80, 9.0), (-0.80, 9.0), (0.22, 3.0)]
    n = 3 + int(rng.integers(3))
    kept = sorted(rng.permutation(5)[:n].tolist()) if n > 3 else [0, 1, 2]
    to_left = device.spot[0] > -0.4
    out = 1.0 if to_left else -1.0
    # Wires run to a box at the patient's side, or up to the shoulder.
    goal_y = 15.0 + 6.0 * float(rng.random()) if rng.random() < 0.7 else -20.0
    for number in kept:
        x, y = places[number][0] * w + float(rng.normal(0, 0.9)), places[number][1] * s + float(rng.normal(0, 1.0))
        z = float(chest.skin_z(x, y)) + 0.1
        at, slant = np.array([x, y, z]), float(np.clip(-2.2 * x, -35, 35))
        turn = rotation(1, -slant)
        drawing.disc(at, (1.6, 1.6), 0.2, 0.35, turn)  # foam and gel
        drawing.disc(at, (0.46, 0.46), 0.22, 6.0, turn)  # the stud
        away = np.array([out * (0.5 + 0.5 * float(rng.random())), 0.9 if goal_y > 0 else -0.9, 0.0])
        away /= math.sqrt(float(away @ away))
        clip = _off(at + 1.7 * away, 0, 0, 0.3)
        drawing.tube(np.stack([_off(at, 0, 0, 0.3), clip]), np.array([0.34, 0.24]), 1.3)
        drawing.tube(np.stack([_off(at + 0.5 * away, 0, 0, 0.4), clip]), 0.09, 7.0)
        goal = np.array([out * (w + 9.0 + float(rng.normal(0, 1.0))), goal_y + float(rng.normal(0, 1.2)), 2.0])
        # Slack: the wire lies on the skin in bends.
        way = goal - clip
        aside = np.array([-way[1], way[0], 0.0])
        bends = [float(v) for v in rng.normal(0, 0.13, 3)]
        course = [clip, clip + 2.0 * away]
        for share, bend in zip((0.3, 0.55, 0.8), bends, strict=True):
            point = clip + share * way + bend * aside
            point[2] = max(float(chest.skin_z(point[0], point[1])), 0.0) + 0.3
            course.append(point)
        drawing.tube(_smooth([*course, goal], 4), 0.11, 2.6)


_DRAW: dict[str, Callable[[_Drawing, Device], None]] = {
    "chest tube": _chest_tube,
    "endotracheal tube": _endotracheal_tube,
    "central line": _central_line,
    "nasogastric tube": _nasogastric_tube,
    "pacemaker": _pacemaker,
    "sternal wires": _sternal_wires,
    "ECG leads": _ecg_leads,
    "surgical clips": _surgical_clips,
}
