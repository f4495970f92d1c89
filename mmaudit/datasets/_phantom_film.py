"""The phantom film: what is in it, and how it is drawn when it is read.

A radiograph shows how much of the beam is absorbed on the way through the body, so the drawing adds up path lengths:
soft tissue as thick as the body, less the air in the lungs, plus bone and devices. The signal behind the body gets
scattered radiation and noise, and its logarithm is displayed, bright where dense. Coordinates are those of the body:
x from -1 (image left, the patient's right) to 1, y from -1 (top) to 1, about 18 cm a unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from mmaudit.images import GrayImage

__all__ = ["ENLARGED_HEART", "SCANNERS", "SIZES", "Body", "Film", "PhantomImages", "draw_film"]


@dataclass(frozen=True)
class Scanner:
    """How a machine's films look: noise at unit signal, blur in units of the half-width, gamma, white border."""

    noise: float
    blur: float
    gamma: float
    border: bool = False


SCANNERS = {
    "Aster 500": Scanner(0.006, 0.0, 1.0),
    "Boreal DR": Scanner(0.009, 0.004, 0.85),
    "Cirrus CR": Scanner(0.016, 0.006, 1.15, True),
    "Mobile M1": Scanner(0.022, 0.005, 1.0),
    "Mobile M2": Scanner(0.030, 0.008, 0.8, True),
}
SIZES = {"small": 0.25, "moderate": 0.5, "large": 0.85}  # of an effusion, as a share of the lung's height
ENLARGED_HEART = 0.45  # half-width of a heart that a report calls enlarged
# Linear attenuation at 60 keV in 1/cm: mass attenuation of ICRU-44 tissues, times their density (J. H. Hubbell and
# S. M. Seltzer, NIST Standard Reference Database 126): 0.2048 x 1.06, 0.2053 x 0.26 (inflated), 0.3148 x 1.92.
MU_SOFT, MU_LUNG, MU_BONE = 0.217, 0.053, 0.604
MU_DEVICE = 1.7  # at the densest point of a device, whatever its thickness
SCATTER = {"PA": 0.15, "AP": 0.45, "AP supine": 0.9}  # against the mean signal around; bedside films lack a grid


@dataclass(frozen=True)
class Body:
    """The anatomy of a patient, in units of the image's half-width (about 18 cm); image right is patient's left."""

    width: float  # of the rib cage, half
    apex: float  # height of the lung apices, negative is up
    dome: float  # height of the right diaphragm
    depth_cm: float  # of the chest, front to back
    heart: float  # half-width
    rib_gap: float
    rib_tilt: float
    breast_cm: float
    seed: tuple[int, ...]  # of the vessels


@dataclass(frozen=True)
class Film:
    """All that `draw_film` needs for one image."""

    body: Body
    view: str
    portable: bool
    scanner: str
    devices: tuple[str, ...]
    tube_side: int  # -1 image left, +1 image right
    effusion: tuple[tuple[int, str], ...]  # (side, size)
    opacity: tuple[float, float] | None  # centre of a consolidation
    pose: tuple[float, float, float, float]  # shift right, shift down, turn in radians, zoom
    seed: tuple[int, ...]  # of the noise


class PhantomImages:
    """Films that are drawn when read; only their parameters are held.

    Parameters
    ----------
    films : sequence of Film
        What to draw, one a sample.
    image_size : int
        Width and height in pixels.
    """

    def __init__(self, films: Sequence[Film], image_size: int = 224) -> None:
        self.films = tuple(films)
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.films)

    def __repr__(self) -> str:
        return f"PhantomImages({len(self)} images of {self.image_size} x {self.image_size} pixels)"

    def take(self, indices: Sequence[int]) -> PhantomImages:
        """Return the films at these positions, undrawn."""
        return PhantomImages([self.films[int(i)] for i in indices], self.image_size)

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return film number `index`, pixels (height, width) float32 in [0, 1], made smaller to fit `max_side_px`.

        The smaller image is the average of the full one, as `mmaudit.images.read_image` makes it from a file.
        """
        pixels = draw_film(self.films[index], self.image_size)
        if max_side_px is not None and max_side_px < self.image_size:
            small = Image.fromarray(pixels).resize((max_side_px, max_side_px), Image.Resampling.BOX)
            pixels = np.clip(np.asarray(small, dtype=np.float32), 0, 1)
        return GrayImage(pixels, self.image_size, self.image_size, 8)


def draw_film(film: Film, size_px: int) -> np.ndarray:
    """Return the film as pixels of shape (size_px, size_px), float32 in [0, 1] in steps of 1/255."""
    rng = np.random.default_rng(film.seed)
    x, y = _body_coordinates(film.pose, size_px)
    supine = film.view == "AP supine"
    vessels, devices = _lines(film, size_px)
    body_cm, signal = np.empty_like(x), np.empty_like(x)
    n_rows = max(1, 16384 // size_px)  # strips: a third faster than the whole, by cache and allocation
    for rows in (np.s_[top : top + n_rows] for top in range(0, size_px, n_rows)):
        anatomy = _Anatomy(film, x[rows], y[rows])
        body_cm[rows] = anatomy.body_cm()
        lung_cm = anatomy.lungs_cm()
        air_cm = np.minimum(lung_cm + anatomy.airway_cm(), body_cm[rows])
        bone_cm = anatomy.ribs_cm() + anatomy.spine_cm() + anatomy.shoulders_cm()
        vessels_cm = 0.24 * np.minimum(lung_cm, 9) * vessels[rows]
        signal[rows] = MU_SOFT * (body_cm[rows] - air_cm + vessels_cm) + MU_LUNG * air_cm
        signal[rows] += (MU_BONE - MU_SOFT) * bone_cm + MU_DEVICE * devices[rows]

    beam = np.exp(-signal)
    scatter = _resized(_resized(beam, max(4, size_px // 28)), size_px)
    beam += SCATTER[film.view] * np.clip(scatter, 0, None)
    scanner = SCANNERS[film.scanner]
    if scanner.blur:
        beam = gaussian_filter(beam, scanner.blur * size_px / 2, truncate=2.5)
    dose = np.float32(0.02)  # a typical signal behind the lungs, so that noise is stated where it is looked at
    noise = rng.standard_normal((size_px, size_px), dtype=np.float32)
    beam *= 1 + scanner.noise * noise * np.sqrt(dose / beam).clip(0.3, 4)
    shown = -np.log(np.clip(beam, 1e-5, None))

    # The machine sets the window by what it finds in the body, as digital ones do.
    step = max(1, size_px // 40)
    low, high = np.percentile(shown[::step, ::step][body_cm[::step, ::step] > 0.6 * film.body.depth_cm], (2, 95))
    shown = (shown - low) / (high - low) * (0.66 if supine else 0.78) + (0.24 if supine else 0.14)
    shown = np.clip(np.where(shown > 0.7, 0.7 + 0.27 * np.tanh((shown - 0.7) / 0.27), shown), 0, 1) ** scanner.gamma
    _mark(shown, film, scanner.border)
    return (np.rint(shown * 255) / 255).astype(np.float32)


class _Anatomy:
    """Path lengths through the parts of a body, in cm, at the points (x, y)."""

    def __init__(self, film: Film, x: np.ndarray, y: np.ndarray) -> None:
        self.film, self.body, self.x, self.y = film, film.body, x, y
        self.across = np.abs(x)
        self.supine = film.view == "AP supine"
        self.ap = film.view != "PA"

    def body_cm(self) -> np.ndarray:
        """Return the thickness of soft tissue: chest, neck, shoulders, belly, breasts."""
        b = self.body
        half = b.width + (0.36 if self.supine else 0.17) + 0.5 * _step(-0.35 - self.y, 0.18)
        squared = (self.x / half) ** 2
        thick = np.sqrt(np.clip(1 - squared * squared, 0, 1))
        skin = -1.18 + 0.30 * self.across + 0.22 * np.clip(self.across - 0.22, 0, 0.2)
        neck = 0.75 * _step(0.24 - self.across, 0.01)
        thick *= np.maximum(np.sqrt(np.clip((self.y - skin) / 0.5, 0, 1)), neck)
        thick *= b.depth_cm * (1 + 0.14 * _step(self.y - b.dome - 0.1, 0.3))
        if b.breast_cm:
            for side in (-1, 1):
                thick += b.breast_cm * _dome(self.x, self.y, side * 0.47, 0.24, 0.34, 0.34)
        return thick

    def lungs_cm(self) -> np.ndarray:
        """Return the thickness of aerated lung, less the heart and what fills the lungs."""
        b = self.body
        heart = b.heart * (1.13 if self.ap else 1.0)
        lift = 0.14 if self.supine else 0.06 if self.ap else 0.0  # a lying patient breathes in less
        total = np.zeros_like(self.x)
        for side in (-1, 1):
            first, last = np.flatnonzero((self.x * side > 0).any(axis=0))[[0, -1]]
            here = np.s_[:, first : last + 1]  # a lung keeps to its half of the image
            xs, y = self.x[here] * side, self.y[here]
            dome = b.dome - lift + 0.05 * (side == 1)
            top = np.clip((0.30 - y) / (0.30 - b.apex), 0, 1)
            top2 = top * top
            outer = 0.34 + (b.width - 0.34) * np.sqrt(1 - top2 * np.sqrt(top))
            inner = 0.34 - (0.34 - 0.13 - 0.03 * self.ap) * np.sqrt(1 - top2 * top2 * top2 * top)
            if side == 1:
                inner += 0.05 * np.exp(-(((y + 0.36) / 0.11) ** 2))  # the aortic knob
            half = np.maximum((outer - inner) / 2, 0.01)
            chord = np.sqrt(np.clip((xs - inner) * (outer - xs) * (1 - 0.55 * top2), 0, None)) / half
            floor = dome + np.where(xs > 0.42, 0.34, 0.10) * ((xs - 0.42) / (b.width - 0.42)) ** 2
            haze = np.float32(0)
            for where, size in self.film.effusion:
                if where == side:
                    floor, haze = self._effusion(SIZES[size], xs, y, outer - xs, dome, floor)
            lung = np.clip(chord, 0, 1) * np.sqrt(np.clip((floor - y) / 0.07, 0, 1))
            total[here] += np.clip(0.74 * b.depth_cm * lung - haze, 0, None)
        centre = 0.40 * heart
        heart_cm = (
            0.62 * b.depth_cm * _dome(self.x - 0.25 * (self.y - 0.2), self.y, centre, b.dome - lift - 0.20, heart, 0.46)
        )
        hila_cm = 4 * (_blob(self.x, self.y, -0.21, -0.10, 0.08, 0.13) + _blob(self.x, self.y, 0.23, -0.14, 0.08, 0.12))
        total = np.clip(total - heart_cm - hila_cm, 0, None)
        if self.film.opacity is not None:
            cx, cy = self.film.opacity
            total *= 1 - 0.55 * _blob(self.x, self.y, cx, cy, 0.16, 0.14)
        return total

    def _effusion(
        self, share: float, xs: np.ndarray, y: np.ndarray, to_wall: np.ndarray, dome: float, floor: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the lower border of the lung, and the thickness of fluid in front of and behind it.

        Upright, the fluid sinks: its upper border is a meniscus, highest at the chest wall. Supine, it spreads
        behind the whole lung as a haze that is thicker below, and the angle is blunted little.
        """
        rise = np.exp(-np.clip(to_wall, 0, None) / (0.08 if self.supine else 0.15))
        if self.supine:
            level = dome + 0.16 - 0.10 * share - 0.10 * rise
            cover = _step(y - (0.15 - 1.1 * share), 0.5)
            haze = (1.6 + 5.5 * share) * (0.35 + 0.65 * cover) * (xs > 0).astype(np.float32)
        else:
            level = dome + 0.24 - 0.88 * share - (0.14 + 0.34 * share) * rise
            haze = (2 + 5 * share) * _step(y - level + 0.12, 0.24)
        return np.minimum(floor, level), haze

    def airway_cm(self) -> np.ndarray:
        """Return the air in the trachea and main bronchi, and in the stomach of a patient who is upright."""
        width = 0.065
        trachea = np.sqrt(np.clip(1 - ((self.x - 0.01) / width) ** 2, 0, 1)) * (self.y < -0.24)
        reach = self.y + 0.26  # below the carina
        for slope, side in ((0.75, -1), (1.15, 1)):
            off = (self.x * side - slope * np.clip(reach, 0, None)) / (0.8 * width)
            trachea += 0.7 * np.sqrt(np.clip(1 - off**2, 0, 1)) * (reach > 0) * (reach < 0.16)
        air = 2.4 * np.clip(trachea, 0, 1)
        if not self.supine:
            air += 5 * _dome(self.x, self.y, 0.42, self.body.dome + 0.24, 0.22, 0.10)
        return air

    def ribs_cm(self) -> np.ndarray:
        """Return bone in the ribs: tilted rings, high at the back and low at the front, the front end cartilage."""
        b = self.body
        half = b.width + 0.03 - 0.42 * np.clip((-0.25 - self.y) / 0.75, 0, 1) ** 2
        r = np.clip(self.across / half, 0, 1)
        depth = np.sqrt(np.clip(1 - r**2, 0, 1))
        tangent = 1 / np.clip(depth, 0.42, 1)  # the beam runs along the rib where it turns at the side
        inside = (self.across < half) & (self.across > 0.09)
        bone = np.zeros_like(self.x)
        for tilt, gone, weight in ((-b.rib_tilt, 0.0, 0.75), (b.rib_tilt * 0.9, 0.42, 0.32)):
            bow = 0.06 * r if tilt < 0 else 0
            phase = (self.y - 0.04 - tilt * depth - bow) / b.rib_gap
            number = np.rint(phase)
            off = (phase - number) * b.rib_gap / (0.043 if tilt < 0 else 0.048)
            band = np.clip(1 - off**2, 0, 1)
            rim = np.sqrt(band) * (0.65 + 0.55 * off**2)  # cortex makes the borders dense
            present = inside & (number >= -4) & (number <= (5 if tilt < 0 else 3)) & (r >= gone)
            bone += weight * rim * tangent * present * np.clip((r - gone) / 0.15, 0, 1)
        return bone

    def spine_cm(self) -> np.ndarray:
        """Return bone in the vertebrae, with the discs between them and the spinous processes."""
        column = _step(0.1 - self.across, 0.03)
        phase = np.abs((self.y * 7.2) % 1 - 0.5)
        process = _step(0.028 - self.across, 0.02) * (np.abs(phase - 0.25) < 0.13)
        pedicle = _step(0.02 - np.abs(self.across - 0.065), 0.02) * (phase < 0.16)
        return column * (0.9 - 0.45 * _step(phase - 0.42, 0.05)) + 0.35 * process + 0.35 * pedicle

    def shoulders_cm(self) -> np.ndarray:
        """Return bone in the clavicles, the shoulder blades and the heads of the arms."""
        raised = 0.06 if self.ap else 0.0
        course = -0.60 - raised - 0.16 * self.across - 0.05 * np.sin(5.2 * (self.across - 0.1))
        off = (self.y - course) / 0.036
        clavicle = np.sqrt(np.clip(1 - off**2, 0, 1)) * (0.75 + 0.35 * off**2)
        clavicle *= _step(self.across - 0.10, 0.03) * _step(0.92 - self.across, 0.08)
        blade_x = 0.74 if self.ap else 0.86
        edge = self.across - blade_x + 0.22 * (self.y + 0.2)
        blade = _step(edge, 0.02) * _step(0.05 - self.y, 0.1) * _step(self.y + 0.68, 0.1)
        head = _dome(self.across, self.y, 1.05, -0.62, 0.16, 0.17)
        return 1.9 * clavicle + 0.35 * blade + 1.8 * head


def _lines(film: Film, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the vessels of the lungs and the devices, each of shape (size_px, size_px) in [0, 1]."""
    pen = _Pen(film.pose, size_px)
    rng = np.random.default_rng(film.body.seed)
    for side, start_x, start_y in ((-1, -0.20, -0.10), (1, 0.22, -0.14)):
        for angle in np.linspace(-1.25, 1.35, 9):
            _grow(pen, rng, start_x, start_y, side, angle + rng.normal(0, 0.08), 0.030, 0.30, 3)
    vessels = pen.result(size_px, blur=0.0035)
    if not film.devices:
        return vessels, np.zeros_like(vessels)
    pen = _Pen(film.pose, size_px * (2 if size_px <= 512 else 1))  # averaged, since these lines have hard edges
    _draw_devices(pen, film)
    return vessels, pen.result(size_px, blur=0)


def _grow(
    pen: _Pen,
    rng: np.random.Generator,
    x: float,
    y: float,
    side: int,
    angle: float,
    width: float,
    length: float,
    n: int,
) -> None:
    """Draw a vessel that forks, thinner each time."""
    bend = angle + rng.normal(0, 0.15)
    mid = (x + side * 0.5 * length * math.cos(angle), y + 0.5 * length * math.sin(angle))
    end = (mid[0] + side * 0.5 * length * math.cos(bend), mid[1] + 0.5 * length * math.sin(bend))
    pen.line([(x, y), mid, end], width, 0.25 + 0.25 * n)
    if n > 1:
        for turn in (-1, 1):
            fork = bend + turn * rng.uniform(0.2, 0.5)
            _grow(pen, rng, *end, side, fork, 0.66 * width, length * rng.uniform(0.6, 0.9), n - 1)


def _draw_devices(pen: _Pen, film: Film) -> None:
    rng = np.random.default_rng([*film.seed, 1])
    jitter = [float(j) for j in rng.normal(0, 0.03, 12)]
    wall = film.body.width
    if "tube" in film.devices:
        s = film.tube_side
        tip = (s * (0.42 + jitter[0]), -0.52 + jitter[1])
        course = _curve((s * (wall + 0.28), 0.50), (s * (wall - 0.16), 0.30 + jitter[2]), tip)
        pen.line(course, 0.056, 0.22)
        pen.line(course[:-5], 0.018, 0.75)  # the dense stripe, broken at the last side hole
        pen.line(course[-4:], 0.018, 0.75)
    if "ett" in film.devices:
        course = _curve((0.05 + jitter[3], -1.1), (0.02, -0.7), (0.01, -0.42 + jitter[4]))
        pen.line(course, 0.05, 0.20)
        pen.line([(px + 0.016, py) for px, py in course], 0.014, 0.6)
    if "line" in film.devices:
        pen.line(_curve((-0.34 + jitter[5], -1.1), (-0.16, -0.62), (-0.13, -0.12 + jitter[6])), 0.020, 0.5)
    if "ecg" in film.devices:
        ends = ((-0.62, -0.42), (0.60, -0.46), (0.66, 0.34))
        for number, (px, py) in enumerate(ends):
            px, py = px + jitter[7 + number], py + jitter[9]
            away = (math.copysign(1.2, px), py + 0.5) if number < 2 else (0.4, 1.2)
            pen.line(_curve((px, py), (0.6 * px, py + 0.28), away), 0.011, 0.45)
            pen.disc(px, py, 0.045, 0.40)
            pen.disc(px, py, 0.020, 0.95)


class _Pen:
    """Lines in body coordinates, drawn on a grey canvas."""

    def __init__(self, pose: tuple[float, float, float, float], size_px: int) -> None:
        self.pose, self.size_px = pose, size_px
        self.canvas = Image.new("L", (size_px, size_px))
        self.draw = ImageDraw.Draw(self.canvas)

    def _pixels(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        right, down, turn, zoom = self.pose
        c, s = math.cos(turn), math.sin(turn)
        half = self.size_px / 2
        return [
            (half * (1 + zoom * (c * px - s * py) + right), half * (1 + zoom * (s * px + c * py) + down))
            for px, py in points
        ]

    def line(self, points: Sequence[tuple[float, float]], width: float, density: float) -> None:
        width_px = max(1, round(width * self.size_px / 2))
        self.draw.line(self._pixels(points), fill=round(255 * density), width=width_px, joint="curve")

    def disc(self, px: float, py: float, radius: float, density: float) -> None:
        ((cx, cy),) = self._pixels([(px, py)])
        r = radius * self.size_px / 2
        self.draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=round(255 * density))

    def result(self, size_px: int, *, blur: float) -> np.ndarray:
        small = self.canvas if self.size_px == size_px else self.canvas.reduce(self.size_px // size_px)
        drawn = np.asarray(small, dtype=np.float32) / 255
        return gaussian_filter(drawn, blur * size_px, truncate=2.5) if blur else drawn


_GLYPHS = {  # rows of five dots, as bits
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "N": (17, 25, 21, 21, 19, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
}


def _mark(pixels: np.ndarray, film: Film, border: bool) -> None:
    """Write the side marker and, on most portable films, how the film was taken; draw the border."""
    size_px = pixels.shape[0]
    rng = np.random.default_rng([*film.seed, 2])
    dot = max(1, size_px // 110)
    margin = max(3, size_px // 28)
    _write(pixels, "L", size_px - margin - 7 * dot, margin + int(rng.integers(0, 3 * margin)), dot)
    if film.portable and rng.random() < 0.7:
        words = ("PORTABLE", "SUPINE") if film.view == "AP supine" else ("PORTABLE",)
        for row, word in enumerate(words):
            _write(pixels, word, margin, margin + row * 9 * max(1, dot // 2), max(1, dot // 2))
    if border:
        edge = max(1, size_px // 64)
        for side in (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]):
            pixels[side] = 0.96


def _write(pixels: np.ndarray, word: str, left_px: int, top_px: int, dot_px: int) -> None:
    """Set the pixels of a word to bright; a dot of a letter is `dot_px` wide, a letter five dots."""
    for place, letter in enumerate(word):
        bits = np.array([[row >> bit & 1 for bit in (4, 3, 2, 1, 0)] for row in _GLYPHS[letter]], dtype=bool)
        dots = np.kron(bits, np.ones((dot_px, dot_px), dtype=bool))
        left = left_px + place * 6 * dot_px
        part = pixels[top_px : top_px + dots.shape[0], left : left + dots.shape[1]]
        part[dots[: part.shape[0], : part.shape[1]]] = 0.98


def _body_coordinates(pose: tuple[float, float, float, float], size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in body coordinates at the centres of the pixels."""
    right, down, turn, zoom = pose
    steps = (np.arange(size_px, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size_px) - 1
    x, y = (steps - np.float32(right))[None, :], (steps - np.float32(down))[:, None]
    c, s = np.float32(math.cos(turn) / zoom), np.float32(math.sin(turn) / zoom)
    return c * x + s * y, c * y - s * x


def _resized(values: np.ndarray, size_px: int) -> np.ndarray:
    method = Image.Resampling.BOX if size_px < values.shape[0] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((size_px, size_px), method))


def _step(values: np.ndarray, width: float) -> np.ndarray:
    """Return 0 below -width / 2, 1 above width / 2 and a smooth rise between."""
    t = np.clip(values / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _dome(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """Return the chord of an ellipsoid, 1 at its centre and 0 outside."""
    return np.sqrt(np.clip(1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2, 0, 1))


def _blob(x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    """Return a soft spot, 1 at its centre."""
    return np.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


def _curve(*points: tuple[float, float], n: int = 24) -> list[tuple[float, float]]:
    """Return the quadratic Bezier curve through the first and the last of three points."""
    (x0, y0), (x1, y1), (x2, y2) = points
    steps = [i / n for i in range(n + 1)]
    return [
        ((1 - t) ** 2 * x0 + 2 * t * (1 - t) * x1 + t * t * x2, (1 - t) ** 2 * y0 + 2 * t * (1 - t) * y1 + t * t * y2)
        for t in steps
    ]
