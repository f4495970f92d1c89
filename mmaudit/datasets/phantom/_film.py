"""A chest radiograph of the phantom: where tube and detector stand, and what comes out of them.

`draw_film` sets up the room, adds up what the beam meets (`_anatomy`, `_devices`), lets the scanner count and develop
it (`_scanners`), and puts markers and borders on it as the site does.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mmaudit._errors import InputError
from mmaudit.datasets.phantom._anatomy import Anatomy, Chest, chest_of, draw_anatomy
from mmaudit.datasets.phantom._devices import draw_devices
from mmaudit.datasets.phantom._geometry import Rays, rotation
from mmaudit.datasets.phantom._markers import ARROW, ring, text_width, write
from mmaudit.datasets.phantom._record import Film
from mmaudit.datasets.phantom._scanners import SCANNERS, Scanner, count, develop, lowpass

__all__ = ["draw_film", "film_masks", "rays_of"]

_POSE, _NOISE, _MARKS = 1, 2, 4  # streams of random numbers of a film; `_devices` has 3
FOCUS_CM = {"PA": 180.0, "AP": 115.0, "AP supine": 100.0, "lateral": 180.0}  # from the focus to the detector
GAP_CM = {"PA": 2.5, "AP": 3.5, "AP supine": 4.5, "lateral": 3.0}  # from the skin to the detector
# Scattered against direct radiation, times a patient of 20 cm: a grid stops most, bedside films are taken without.
SCATTER = {"PA": 0.16, "lateral": 0.20, "AP": 0.50, "AP supine": 0.72}
# A hard beam upright, a softer one from the small generator of a mobile machine, against the 60 keV of the anatomy.
HARDNESS = {"PA": 0.90, "lateral": 0.86, "AP": 0.97, "AP supine": 1.0}
CONTRAST = {"PA": 1.0, "lateral": 0.95, "AP": 0.9, "AP supine": 0.82}  # of the tone curve
FACES_LEFT = {"North": True, "Harbour": False, "Hill": True}  # how a site hangs lateral films


def rays_of(film: Film, size_px: int, chest: Chest | None = None) -> Rays:
    """Return the rays of a film of `size_px` by `size_px` pixels.

    Parameters
    ----------
    film : Film
        Its view, pose and machine.
    size_px : int
        Width and height.
    chest : Chest or None
        Of the film. None: it is worked out.
    """
    chest = chest_of(film) if chest is None else chest
    rng = np.random.default_rng([*film.seed, _POSE])
    wide = 2 * (chest.half_width + chest.wall_cm)
    field = min(max(1.10 * wide + 2.0, 33.5), 43.0)
    aim, angle = 1.2 * chest.scale, 0.0
    loose = rng.normal(0, 1, 3).clip(-2, 2)
    if film.portable:
        field *= 1 + 0.03 * float(loose[0])
        angle = 5.0 + 4.0 * float(loose[1])  # the tube of a mobile machine is seldom level
    distance, gap = FOCUS_CM[film.view], GAP_CM[film.view]
    if film.view == "AP":
        distance += 4.0 * float(loose[2])
    radii = chest.torso.radii
    away, turn_axis = (radii[0], 0) if film.view == "lateral" else (radii[2], 2)
    # Everything in the room first: the patient stands at the origin, unturned.
    right, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    if film.view == "PA":
        beam = np.array([0.0, 0.0, 1.0])
    elif film.view == "lateral":
        beam = np.array([1.0, 0.0, 0.0])
        right = np.array([0.0, 0.0, -1.0 if FACES_LEFT[film.site] else 1.0])
    else:
        beam = np.array([0.0, 0.0, -1.0])
    middle = (away + gap) * beam + np.array([0.0, aim, 0.0])
    # Aimed downwards from above, so that the middle of the film stays in its place.
    rise = math.tan(math.radians(angle)) * distance
    focus = middle - distance * beam - np.array([0.0, rise, 0.0])
    moved = film.shift_cm[0] * right + film.shift_cm[1] * down
    turn = rotation(turn_axis, film.tilt_deg) @ rotation(1, film.yaw_deg)
    pixel = field / size_px
    corner = middle + (0.5 - 0.5 * size_px) * pixel * (right + down)
    return Rays(
        focus=turn.T @ (focus - moved),
        corner=turn.T @ (corner - moved),
        right=turn.T @ right * pixel,
        down=turn.T @ down * pixel,
        columns=np.arange(size_px, dtype=float)[None, :],
        rows=np.arange(size_px, dtype=float)[:, None],
        shape=(size_px, size_px),
    )


def draw_film(film: Film, size_px: int, *, bit_depth: int = 8) -> np.ndarray:
    """Return a film as pixels, bright where dense.

    Parameters
    ----------
    film : Film
        What to draw.
    size_px : int
        Width and height in pixels.
    bit_depth : {8, 16}
        Of the pixels. 16 bits hold the 12 or 14 of the scanner's detector, spread over the whole range.

    Returns
    -------
    ndarray of shape (size_px, size_px), uint8 or uint16

    Raises
    ------
    InputError
        Another bit depth.
    """
    if bit_depth not in (8, 16):
        raise InputError("bit_depth", "8 or 16", str(bit_depth), "Choose one of them.")
    chest = chest_of(film)
    rays = rays_of(film, size_px, chest)
    anatomy = draw_anatomy(film, rays, chest)
    devices, _ = draw_devices(film, rays, chest)
    scanner = SCANNERS[film.scanner]
    shown = _exposed(film, rays, anatomy, devices, scanner)
    if bit_depth == 8:
        return np.rint(shown * 255).astype(np.uint8)
    top = 2**scanner.bits - 1
    level = np.rint(shown * top).astype(np.uint16)
    # The upper bits once more below: black stays 0 and white is 65,535.
    return (level << (16 - scanner.bits)) | (level >> (2 * scanner.bits - 16))


def film_masks(film: Film, size_px: int) -> dict[str, np.ndarray]:
    """Return where each finding and device of a film lies, by kind: bool of shape (size_px, size_px)."""
    chest = chest_of(film)
    rays = rays_of(film, size_px, chest)
    masks = dict(draw_anatomy(film, rays, chest).masks) if film.findings else {}
    if film.devices:
        masks |= draw_devices(film, rays, chest)[1]
    return masks


def _exposed(film: Film, rays: Rays, anatomy: Anatomy, devices: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return the image, float64 in [0, 1]."""
    size_px, pixel_cm = rays.shape[0], rays.pixel_cm
    rng = np.random.default_rng([*film.seed, _MARKS])
    seen, frame = _outline(film, scanner, size_px, rng)
    lead, ink, boxes = _marks(film, size_px, pixel_cm, rng)
    through = anatomy.attenuation * HARDNESS[film.view]
    through += devices
    primary = np.exp(-through)
    # The beam weakens with the square of the distance and on the side of the anode.
    far = rays.ray_cm()
    primary *= (far.min() / far) ** 3 * (1 - 0.06 * (rays.rows / size_px - 0.5))
    primary *= seen
    # Single scatter starts where the beam is absorbed but not yet gone, and spreads over several cm.
    source = primary * np.minimum(through, 6.0)
    thick = float(np.percentile(anatomy.body_cm[:: max(1, size_px // 64), :: max(1, size_px // 64)], 80))
    amount = SCATTER[film.view] * min(max(thick / 20, 0.6), 1.9)
    scatter = amount * (0.6 * lowpass(source, 2.6 / pixel_cm) + 0.4 * lowpass(source, 7.0 / pixel_cm))
    if lead is not None:  # on the detector's cover, so that scatter is stopped too
        stopped = np.exp(-5.0 * lead)
        primary *= stopped
        scatter *= stopped
    noise = np.random.default_rng([*film.seed, _NOISE])
    signal = count(scanner, primary, scatter, pixel_cm, 2 ** (0.35 * film.exposure), noise)
    looked_at = (anatomy.body_cm > 0.45 * thick) & (seen > 0.5)
    manual = 0.16 if film.portable else 0.07  # how much of the exposure the automatic window leaves
    shown = develop(
        scanner, signal, looked_at, seen, pixel_cm, brightness=-manual * film.exposure, contrast=CONTRAST[film.view]
    )
    shown = frame(shown)
    for (top, bottom, left, right), value in boxes:
        shown[top:bottom, left:right] = value
    if ink is not None:
        shown += ink * (0.97 - shown)
    return shown


# Borders


def _outline(
    film: Film, scanner: Scanner, size_px: int, rng: np.random.Generator
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return what the collimator lets through, (height, width) float64, and a function that borders the image."""
    luck = rng.random(9)
    margins = np.full(4, -0.05)  # left, right, top, bottom, as shares of the width; below 0 off the film
    if film.view == "lateral":
        if luck[0] < 0.75:
            margins[:2] = 0.04 + 0.08 * luck[1:3]
    elif luck[0] < (0.65 if film.portable else 0.35):
        margins = 0.05 * (luck[1:5] - 0.35)
        margins[3] -= 0.01
    if scanner.outline in ("round", "cut"):
        margins = np.maximum(margins, 0.004)
    tilt = math.radians((luck[5] - 0.5) * (3.5 if film.portable else 0.8))
    # Distance from the border of the field in pixels, positive inside.
    across = np.arange(size_px)[None, :] + 0.5 - size_px * (0.5 + 0.5 * (margins[0] - margins[1]))
    down = np.arange(size_px)[:, None] + 0.5 - size_px * (0.5 + 0.5 * (margins[2] - margins[3]))
    c, s = math.cos(tilt), math.sin(tilt)
    u, v = np.abs(c * across + s * down), np.abs(c * down - s * across)
    half_u, half_v = (0.5 * size_px * (1 - margins[i] - margins[i + 1]) for i in (0, 2))
    inside = np.minimum(half_u - u, half_v - v)
    if scanner.outline == "round":
        r = 0.05 * size_px
        corner_u, corner_v = np.maximum(u - half_u + r, 0), np.maximum(v - half_v + r, 0)
        inside = np.minimum(inside, r - np.sqrt(corner_u * corner_u + corner_v * corner_v))
    elif scanner.outline == "cut":
        inside = np.minimum(inside, (half_u + half_v - 0.09 * size_px - u - v) * math.sqrt(0.5))
    penumbra = max(0.004 * size_px, 1.0)
    seen = np.clip(inside / penumbra + 0.5, 0.0015, 1.0)

    def frame(shown: np.ndarray) -> np.ndarray:
        # What the collimator shades is made black, as all but old machines do.
        shown = shown * np.clip(inside / penumbra - 0.5, 0, 1)
        if scanner.outline == "white":
            # A printed film's frame with round corners.
            r, wide = 0.03 * size_px, 0.011 * size_px
            edge = np.minimum(np.arange(size_px), np.arange(size_px)[::-1]) + 0.5
            near = np.maximum(r + wide - edge, 0)
            border = np.minimum(edge[:, None], edge[None, :]) - wide
            border = np.minimum(border, r - np.sqrt(near[:, None] ** 2 + near[None, :] ** 2))
            shown += np.clip(0.5 - border, 0, 1) * (0.95 - shown)
        elif scanner.outline == "dead":
            wide = max(1, round(0.008 * size_px))
            shown[-2 * wide :] = 0.07
            shown[:, :wide] = 0.07
        return shown

    return seen, frame


# Markers

_INITIALS = ("JS", "MK", "AB", "TR", "DL", "CW", "PN")
_POSITION = {"AP supine": "SUPINE", "AP": "SEMI ERECT", "PA": "ERECT"}


def _marks(
    film: Film, size_px: int, pixel_cm: float, rng: np.random.Generator
) -> tuple[np.ndarray | None, np.ndarray | None, list[tuple[tuple[int, int, int, int], float]]]:
    """Return markers of lead in the beam, writing on the image, and boxes (edges, value) under the writing."""
    lead, ink = np.zeros((size_px, size_px)), np.zeros((size_px, size_px))
    boxes: list[tuple[tuple[int, int, int, int], float]] = []
    cm = 1 / pixel_cm
    with_side, with_words, with_more = rng.random(3) < (0.95, 0.8 if film.portable else 0.3, 0.6)
    jitter, turned = rng.uniform(-1, 1, 2), 5.0 * float(rng.standard_normal())
    initials = _INITIALS[int(rng.integers(len(_INITIALS)))]
    time = f"{int(rng.integers(0, 24)):02d}.{int(rng.integers(0, 60)):02d}"
    lateral = film.view == "lateral"
    # Beside a patient who stands sideways the collimator leaves no room for lead: the letter is put on afterwards.
    marker = ink if lateral else lead
    small = max(0.75 * cm, 5.0)

    def box(left: float, top: float, text: str, height: float, value: float) -> None:
        pad = 0.35 * height
        edges = (top - pad, top + height + pad, left - pad, left + text_width(text, height) + pad)
        t, b, a, z = (min(max(round(e), 0), size_px) for e in edges)
        boxes.append(((t, b, a, z), value))

    def right_of(text: str, height: float, margin: float) -> float:
        return size_px - margin - text_width(text, height)

    if film.site == "North":
        # Letters of lead taped to the cassette, in the upper corner of the patient's right.
        tall = max(1.5 * cm, 8.0)
        if with_side:
            x = (1.9 + 0.6 * jitter[0]) * cm
            write(
                marker, "L" if lateral else "R", x, (2.4 + 1.2 * jitter[1]) * cm, tall, weight=0.22, turn_deg=2 * turned
            )
        if with_words:
            lines = [w for w in ("PORTABLE" if film.portable else "", _POSITION.get(film.view, "LATERAL")) if w]
            for row, word in enumerate(lines[: 2 if with_more else 1]):
                write(ink, word, right_of(word, small, 1.2 * cm), (1.2 * cm) + row * 1.6 * small, small, weight=0.17)
    elif film.site == "Harbour":
        # A round marker with the radiographer's initials, words typed on a dark strip.
        tall = max(1.0 * cm, 6.0)
        if with_side:
            radius = 1.05 * tall
            centre = (size_px - (2.8 + 0.6 * jitter[0]) * cm, (3.7 + 1.3 * jitter[1]) * cm)
            ring(marker, centre, radius, 0.13 * tall)
            corner = (centre[0] - text_width("L", tall) / 2, centre[1] - tall / 2)
            write(marker, "L", *corner, tall, weight=0.14, turn_deg=turned)
            if with_more:
                low = 0.62 * tall
                write(marker, initials, centre[0] - text_width(initials, low) / 2, centre[1] + radius + low, low)
        if with_words:
            text = f"{'LAT' if lateral else film.view[:2]} {'MOBILE ' if film.portable else ''}"
            text = (text + (_POSITION.get(film.view, "") if with_more else "")).strip()
            text = text.replace("SEMI ERECT", "ERECT")
            box(1.2 * cm, 1.2 * cm, text, small, 0.03)
            write(ink, text, 1.2 * cm, 1.2 * cm, small, weight=0.14)
    else:
        # A plate with a large letter at the edge, an arrow for upright films, the time in the lower corner.
        tall = max(1.9 * cm, 9.0)
        if with_side:
            x, y = right_of("L", tall, (1.5 + 0.4 * jitter[0]) * cm), (5.0 + 3.0 * jitter[1]) * cm
            box(x, y, "L", tall, 0.58)
            write(ink, "L", x, y, tall, weight=0.2)
        if with_words:
            words = ("PORT", "SUPINE" if film.view == "AP supine" else "AP") if film.portable else (ARROW,)
            for row, word in enumerate(words):
                write(ink, word, 1.8 * cm, (1.8 * cm) + row * 1.6 * small, 1.1 * small, weight=0.2)
            if film.portable and with_more:
                write(ink, time, 1.8 * cm, size_px - 2.2 * cm - small, small, weight=0.15)
    return (lead if lead.any() else None), (ink if ink.any() else None), boxes
