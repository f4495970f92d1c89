"""Where the parts of a chest lie: the numbers that anatomy, findings and devices have in common.

All in cm and in the patient's coordinates. The body alone does not settle them: lying, breathing out or raising the
arms moves the diaphragm, the heart, the shoulders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmaudit.datasets.phantom._geometry import bezier, rotation
from mmaudit.datasets.phantom._record import Film

__all__ = ["SIDES", "Chest", "Ellipsoid", "chest_of", "dome", "lung_ellipsoid", "rib_reach"]

SIDES = {"left": 1, "right": -1}  # the sign of x
HILUM_Y = -1.6


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid in space: centre and radii in cm, `tilt_deg` its top tipped backwards."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    tilt_deg: float = 0.0

    @property
    def turn(self) -> np.ndarray:
        """The matrix that turns its axes into the patient's."""
        return rotation(0, self.tilt_deg)

    def grown(self, by_cm: float) -> Ellipsoid:
        """Return the ellipsoid with `by_cm` added to its radii."""
        x, y, z = self.radii
        return Ellipsoid(self.centre, (x + by_cm, y + by_cm, z + by_cm), self.tilt_deg)

    def depths(self, x: float, y: float) -> tuple[float, float]:
        """Return z of its back and of its front at (x, y), both of its middle where (x, y) misses it."""
        c, s = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        u, v = (x - self.centre[0]) / self.radii[0], y - self.centre[1]
        ry, rz = self.radii[1], self.radii[2]
        squared = (s / ry) ** 2 + (c / rz) ** 2
        linear = s * c * v * (1 / ry**2 - 1 / rz**2)
        constant = u * u + (c * v / ry) ** 2 + (s * v / rz) ** 2 - 1
        root = math.sqrt(max(linear * linear - squared * constant, 0.0))
        return self.centre[2] + (-linear - root) / squared, self.centre[2] + (-linear + root) / squared


@dataclass(frozen=True)
class Chest:
    """The chest of one film.

    Attributes
    ----------
    view : str
        As the film's.
    scale : float
        Size of the skeleton, 1 for 170 cm.
    half_width, half_depth : float
        Of the inside of the rib cage at its widest.
    cage, cap, torso, belly : Ellipsoid
        The inside of the rib cage is where cage and cap overlap; the skin of chest and of abdomen.
    apex_y : float
        Top of the lungs.
    dome_y : dict of str to float
        Top of the diaphragm, by side.
    wall_cm, fat_cm : float
        From the pleura to the skin at the side of the chest, and how much of it is fat.
    carina, trachea_top : tuple of float
        Ends of the trachea.
    bronchi : dict of str to ndarray of shape (n, 3)
        Main bronchi from the carina to the hilum, by side.
    hilum : dict of str to tuple of float
        Where vessels and bronchi enter the lung, by side.
    svc : ndarray of shape (n, 3)
        Superior vena cava, from the confluence of the brachiocephalic veins to the right atrium.
    brachiocephalic : dict of str to ndarray of shape (n, 3)
        Veins from behind the middle of the clavicle (subclavian vein) to the confluence, by side.
    right_atrium, right_ventricle, left_ventricle, aortic_knob, stomach : tuple of float
        Their middles; of the stomach that of the fundus.
    oesophagus : ndarray of shape (n, 3)
        From the neck to the stomach.
    clavicle : dict of str to ndarray of shape (n, 3)
        From the sternum to the shoulder, by side.
    sternum : ndarray of shape (n, 3)
        From the notch to the xiphoid, its middle layer.
    shoulder : dict of str to tuple of float
        Middle of the head of the humerus, by side.
    vertebrae : ndarray of shape (n, 3)
        Middles of the bodies of C6, C7, T1 to T12, L1, L2.
    rib_slope : float
        How far a rib sinks on each cm from back to front.
    heart, shift : float
        Size of the heart, 1 is usual at 170 cm; how far the mediastinum is pushed to the patient's left, cm.
    age, female, bmi, seed
        Of the body.
    """

    view: str
    scale: float
    half_width: float
    half_depth: float
    cage: Ellipsoid
    cap: Ellipsoid
    torso: Ellipsoid
    belly: Ellipsoid
    apex_y: float
    dome_y: dict[str, float]
    wall_cm: float
    fat_cm: float
    carina: tuple[float, float, float]
    trachea_top: tuple[float, float, float]
    bronchi: dict[str, np.ndarray]
    hilum: dict[str, tuple[float, float, float]]
    svc: np.ndarray
    brachiocephalic: dict[str, np.ndarray]
    right_atrium: tuple[float, float, float]
    right_ventricle: tuple[float, float, float]
    left_ventricle: tuple[float, float, float]
    aortic_knob: tuple[float, float, float]
    stomach: tuple[float, float, float]
    oesophagus: np.ndarray
    clavicle: dict[str, np.ndarray]
    sternum: np.ndarray
    shoulder: dict[str, tuple[float, float, float]]
    vertebrae: np.ndarray
    rib_slope: float
    heart: float
    shift: float
    age: float
    female: bool
    bmi: float
    seed: tuple[int, ...]

    def skin_z(self, x: float, y: float) -> float:
        """Return z of the skin in front at (x, y), without the breasts; of the middle beside the body."""
        return max(self.torso.depths(x, y)[1], self.belly.depths(x, y)[1])

    def pleura_z(self, x: float, y: float) -> tuple[float, float]:
        """Return z of the inside of the rib cage at (x, y), at the back and in front."""
        a, b = self.cage.depths(x, y), self.cap.depths(x, y)
        return max(a[0], b[0]), min(a[1], b[1])

    def pleura_x(self, y: float, z: float = 0.0) -> float:
        """Return the distance of the inside of the rib cage from the middle at height y and depth z."""
        widths = []
        for solid in (self.cage, self.cap):
            unit = solid.turn.T @ (np.array([0.0, y, z]) - np.asarray(solid.centre)) / np.asarray(solid.radii)
            widths.append(solid.radii[0] * math.sqrt(max(1 - float(unit @ unit), 0.0)))
        return min(widths)

    def spine_z(self, y: float) -> float:
        """Return z of the middle of the vertebral bodies at height y."""
        return float(np.interp(y, self.vertebrae[:, 1], self.vertebrae[:, 2]))

    def rib(self, side: str, number: float, n: int = 24) -> np.ndarray:
        """Return the course of a rib (or, between whole numbers, of the space below it), shape (n + 1, 3).

        From the spine around the side to where its cartilage begins.
        """
        sign, path = SIDES[side], []
        end = 148 if number <= 10 else 68 if number <= 11 else 44
        for angle in np.radians(np.linspace(8, end, n + 1)):
            c, d = float(np.cos(angle)), float(np.sin(angle))
            out = self.half_depth
            for _ in range(8):  # along this direction from the middle, to the wall at the height the rib has there
                z = -out * c
                y = rib_height(self, number, z)
                back, front = self.pleura_z(0.0, y)
                wide = self.pleura_x(y, (back + front) / 2) + 0.55
                middle, deep = (back + front) / 2, (front - back) / 2 + 0.55
                # The wall is the ellipse (x / wide)^2 + ((z - middle) / deep)^2 = 1 at this height.
                squared = (d / wide) ** 2 + (c / deep) ** 2
                linear = c * middle / deep**2
                out = (-linear + math.sqrt(max(linear**2 - squared * ((middle / deep) ** 2 - 1), 0.0))) / squared
            path.append((sign * out * d, rib_height(self, number, -out * c), -out * c))
        return np.array(path)


def rib_height(chest: Chest, number: float, z: float) -> float:
    """Return y of a rib at depth z: it leaves the spine at its vertebra and sinks towards the front, ever steeper."""
    place = number - 5.0
    at_spine = chest.scale * (-4.1 + 2.32 * place + 0.04 * place * place)
    reach = rib_reach(chest, z)
    return float(at_spine + reach * (1 + 0.012 * (at_spine + 4)))


def rib_reach(chest: Chest, z: np.ndarray | float) -> np.ndarray | float:
    """Return how far a rib of the carina's height has sunk at depth z, cm."""
    forward = z + chest.half_depth
    return chest.rib_slope * forward * (0.5 + (0.25 / chest.half_depth) * forward)


def chest_of(film: Film) -> Chest:
    """Return where the parts of this body lie in this film."""
    body, view = film.body, film.view
    female, supine = body.sex == "F", view == "AP supine"
    usual = 164.0 if female else 177.0
    scale = (body.height_cm / 170.0) ** 0.8
    old = max(body.age - 55, 0.0) / 30
    fat = 0.5 + 0.14 * max(body.bmi - 18, 0.0) + (0.3 if female else 0.0)
    wall = 1.7 + 0.62 * fat + (0.0 if female else 0.5)

    breath = film.inspiration - 0.8
    width = (12.15 if female else 13.5) * (body.height_cm / usual) ** 0.6
    width *= (1 + 0.04 * body.chest_width) * (1 + 0.05 * breath)
    depth = (8.0 if female else 9.0) * (1 + 0.06 * body.chest_depth + 0.05 * old + 0.08 * breath)
    depth *= 1 + 0.006 * (body.bmi - 25)
    if supine:
        depth, width = 0.96 * depth, 1.02 * width
    apex = -13.0 * scale * (1 + 0.02 * body.lung_height)
    lift = {"PA": 0.0, "lateral": 0.0, "AP": 1.0, "AP supine": 2.4}[view] + 0.09 * max(body.bmi - 26, 0.0)
    dome = 9.6 * scale * (1 + 0.06 * body.lung_height) + 6.5 * breath - lift
    domes = {"right": dome, "left": dome + 1.2 * scale}

    middle_y = 5.0 * scale
    cage = Ellipsoid((0.0, middle_y, 0.2), (width, 26.0 * scale, depth), 8.0)
    cap = Ellipsoid((0.0, apex - 1.5 + 34 * scale, 2.9), (1.62 * width, 34 * scale, 1.62 * depth), 8.0)
    torso = Ellipsoid((0.0, 10 * scale, 0.0), (width + wall, 29.5 * scale, depth + 0.85 * wall + 0.6), 5.0)
    girth = 0.32 * (body.bmi - 24)
    belly = Ellipsoid(
        (0.0, 24 * scale, 0.4 + 0.25 * girth),
        (width + wall - 0.6 + 0.4 * girth, 22 * scale, depth + 0.8 * wall + 0.55 * girth),
    )

    heights = _vertebra_heights(scale)
    bend = np.where(heights < 2, (2.9 + 1.8 * old) * ((2 - heights) / 15) ** 2, 1.6 * ((heights - 2) / 14) ** 2)
    spine = np.stack([np.zeros_like(heights), heights, -depth + 3.2 - 0.7 * old + bend], axis=1)

    shift, raise_ = 0.0, {"left": 0.0, "right": 0.0}
    for finding in film.findings:
        sign, excess = SIDES.get(finding.side, 0), max(finding.size - 0.4, 0.0)
        if finding.kind in ("pleural effusion", "pneumothorax"):
            shift -= (1.6 if finding.kind == "pneumothorax" else 2.2) * sign * excess
            if finding.kind == "pneumothorax":
                raise_[finding.side] -= (2.4 if supine else 1.0) * finding.size
        elif finding.kind == "atelectasis":
            shift += 2.4 * sign * excess
            raise_[finding.side] += 4.5 * excess
    shift = min(max(shift, -1.6), 1.6)
    domes = {side: y - raise_[side] for side, y in domes.items()}

    carina = (-0.2 + 0.8 * shift, -4.0, -1.6)
    hilum = {"right": (shift - 3.7, HILUM_Y + 0.5, -0.8), "left": (shift + 3.9, HILUM_Y - 0.6, -1.0)}
    right = [carina, (shift - 1.2, -3.0, -1.5), (shift - 2.3, -1.9, -1.2), (shift - 3.2, -0.4, -1.2)]
    left = [carina, (shift + 1.2, -3.2, -1.8), (shift + 2.6, -2.6, -1.9), (shift + 4.2, -1.5, -1.8)]
    bronchi = {"right": bezier(right, 6), "left": bezier(left, 6)}
    heart = (1 + 0.045 * body.heart_size) * scale * (1.04 if view.startswith("AP") else 1.0)
    enlarged = 0.0
    for finding in film.findings:
        if finding.kind == "cardiomegaly":
            enlarged = 0.15 + 0.33 * finding.size
    heart *= 1 + enlarged
    # The heart rests on the diaphragm: enlarged it grows up and to the left; lying it is pushed up.
    heart_y = dome - 4.2 * scale - 2.0 * enlarged
    left_ventricle = (shift + 3.1 * heart, heart_y + 0.2, 1.6)
    right_atrium = (shift - 1.6 * heart, heart_y - 0.3, 0.8)
    top = cage.depths(0, -9.0 * scale)[1]
    sternum = np.array(
        [(0.0, y, cage.depths(0, y)[1] + 0.75) for y in scale * np.array([-9.0, -6.5, -4.3, -1.5, 1.5, 4.5, 7.0])]
    )
    broad = 16.6 if female else 18.4
    raised = {"PA": 0.0, "AP": -0.9, "AP supine": -1.5, "lateral": -2.0}[view]
    forward = {"PA": 2.0, "AP": -0.5, "AP supine": -0.5, "lateral": 2.5}[view]
    shoulder, clavicle, veins = {}, {}, {}
    confluence = np.array((shift - 2.0, -8.0 * scale, 2.6))
    for side, sign in SIDES.items():
        shoulder[side] = (sign * broad * scale, -11.6 * scale + 0.6 * raised, -2.5 + forward)
        clavicle[side] = bezier(
            [
                (sign * 1.7, -8.6 * scale + 0.2 * raised, top + 0.5),
                (sign * 6.5, -9.2 * scale + 0.6 * raised, top + 3.2),
                (sign * 9.5, -12.3 * scale + raised, -4.0 + forward),
                (sign * (broad - 2.2) * scale, -13.0 * scale + raised, -3.2 + forward),
            ],
            14,
        )
        start = clavicle[side][6] + np.array((0, 0.9, -0.9))
        over = (sign * 3.6, -9.6 * scale, top - 0.6)
        veins[side] = bezier([start, over, confluence + np.array((sign * 0.8, -0.9, 0.2)), confluence], 10)
    gullet = [(0.1, -19 * scale, spine[0, 2] + 2.4), (0.2, -9.0, -2.4), (-0.1, -2.0, -4.2), (0.6, 6.0, -3.9)]
    stomach = (0.46 * width, domes["left"] + 3.0, -1.0)
    return Chest(
        view=view,
        scale=scale,
        half_width=width,
        half_depth=depth,
        cage=cage,
        cap=cap,
        torso=torso,
        belly=belly,
        apex_y=apex,
        dome_y=domes,
        wall_cm=wall,
        fat_cm=fat,
        carina=carina,
        trachea_top=(0.3 * shift, -19.0 * scale, float(spine[0, 2]) + 4.2),
        bronchi=bronchi,
        hilum=hilum,
        svc=bezier([confluence, (shift - 2.4, -5.0, 1.8), (shift - 2.3, heart_y - 3.5, 1.2)], 8),
        brachiocephalic=veins,
        right_atrium=right_atrium,
        right_ventricle=(shift + 1.4 * heart, heart_y + 1.2, 3.6),
        left_ventricle=left_ventricle,
        aortic_knob=(shift + 2.7, -5.6, -1.9),
        stomach=stomach,
        oesophagus=np.concatenate([bezier(gullet, 14), bezier([gullet[-1], (1.6, dome + 1.5, -3.0), stomach], 6)[1:]]),
        clavicle=clavicle,
        sternum=sternum,
        shoulder=shoulder,
        vertebrae=spine,
        rib_slope=0.56 * (1 + 0.10 * body.rib_slope) * (0.92 + 0.10 * film.inspiration if not supine else 0.9),
        heart=heart,
        shift=shift,
        age=body.age,
        female=female,
        bmi=body.bmi,
        seed=tuple(body.seed),
    )


def lung_ellipsoid(chest: Chest, side: str) -> Ellipsoid:
    """Return the solid that, cut to the rib cage and less what is in the middle, is the pleural space."""
    tall = 28 * chest.scale
    middle = (SIDES[side] * 0.43 * chest.half_width, chest.apex_y + tall, 1.2)
    return Ellipsoid(middle, (0.72 * chest.half_width, tall, 1.3 * chest.half_depth), 8.0)


def dome(chest: Chest, side: str) -> Ellipsoid:
    """Return the half of the diaphragm of a side with what is under it."""
    height = 7.6 * chest.scale
    middle = (SIDES[side] * 0.46 * chest.half_width, chest.dome_y[side] + height, 0.9)
    return Ellipsoid(middle, (0.58 * chest.half_width, height, 1.12 * chest.half_depth), 9.0)


def _vertebra_heights(scale: float) -> np.ndarray:
    """Return y of C6, C7, T1 to T12, L1, L2, shape (16,): T5 is at the carina, lower ones are taller."""
    place = np.arange(-1.0, 15.0) - 5.0
    return scale * (-3.4 + 2.30 * place + 0.045 * place * place)
