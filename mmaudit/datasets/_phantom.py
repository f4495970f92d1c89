"""A phantom cohort: chest radiographs, reports and metadata that the package makes itself, with known failures.

No patient is behind it, so it can be shown to anybody, and since the failures of its simulated reader are planted,
what an audit finds can be checked against what is there. The parts, in order: the course of a patient (`_course`),
what the radiologist writes (`_report`), what the simulated reader answers (`_reader`), and the film (`_draw`), which
adds up path lengths through tissue. Each has a random stream of its own for each patient, so that a change to one
leaves the others as they are, and the first patients of a larger cohort are those of a smaller one.
"""

from __future__ import annotations

import functools
import math
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter
from scipy.special import expit, ndtri
from sklearn.utils import check_random_state
from tqdm import tqdm

from mmaudit._errors import InputError, check_keywords
from mmaudit.data import AuditData
from mmaudit.images import GrayImage

__all__ = ["PhantomImages", "load_phantom", "write_phantom"]

METADATA = ("view", "portable", "setting", "site", "scanner", "sex", "age")
LABEL_TERMS = ("effusion", "effusions", "pleural fluid", "hydrothorax")
ERROR_SUPINE, ERROR_TUBE, ERROR_ELSE = 0.55, 0.50, 0.04  # chances that the simulated reader is wrong
SIZES = {"small": 0.25, "moderate": 0.5, "large": 0.85}  # of an effusion, as a share of the lung's height
CARD = {
    "source": "made by mmaudit itself from random numbers; no patient is behind it",
    "licence": "BSD-3-Clause, as the package",
    "label": "pleural effusion as drawn in the image; the reports agree with it",
    "classifier": "simulated reader: y_proba is drawn from the label, the view and the devices, not computed from pixels",
    "planted failures": f"it misses {ERROR_SUPINE:.0%} of the effusions on AP supine films and calls an effusion on "
    f"{ERROR_TUBE:.0%} of the films with a chest tube and no effusion; elsewhere it is wrong on {ERROR_ELSE:.0%}",
    "known limits": "schematic anatomy; frequencies are plausible, not estimated from a hospital; one image a study; "
    "good for learning and for tests, never for a statement about patients or a real classifier",
}

_COURSE, _REPORT, _READER, _FILM = range(4)  # random streams


@dataclass(frozen=True)
class Scanner:
    """How a machine's films look: noise at unit signal, blur in units of the half-width, gamma, white border."""

    noise: float
    blur: float
    gamma: float
    border: bool = False


SCANNERS = {
    "Aster 500": Scanner(0.004, 0.0, 1.0),
    "Boreal DR": Scanner(0.006, 0.004, 0.85),
    "Cirrus CR": Scanner(0.010, 0.008, 1.15, True),
    "Mobile M1": Scanner(0.014, 0.006, 1.0),
    "Mobile M2": Scanner(0.018, 0.009, 0.8, True),
}
SITES = {  # share of the patients, fixed machine, mobile machine
    "North": (0.45, "Aster 500", "Mobile M1"),
    "Harbour": (0.35, "Boreal DR", "Mobile M1"),
    "Hill": (0.20, "Cirrus CR", "Mobile M2"),
}
SETTINGS = {  # share of the patients, shares of PA, AP and AP supine, chance of an effusion
    "outpatient": (0.42, (0.94, 0.06, 0.00), 0.20),
    "emergency": (0.26, (0.42, 0.44, 0.14), 0.32),
    "ICU": (0.32, (0.00, 0.42, 0.58), 0.50),
}
VIEWS = ("PA", "AP", "AP supine")
DEVICES = {  # chance in ICU, in emergency, elsewhere, and the words for it
    "tube": (0.36, 0.12, 0.01, ("chest tube", "thoracostomy tube", "pleural drain")),
    "ett": (0.50, 0.06, 0.00, ("endotracheal tube", "ET tube", "endotracheal tube")),
    "line": (0.55, 0.08, 0.03, ("central venous catheter", "central line", "internal jugular line")),
    "ecg": (0.80, 0.40, 0.00, ("ECG leads", "monitoring leads", "telemetry leads")),
}


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
    """All that `_draw` needs for one image."""

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


@check_keywords
def load_phantom(n_patients: int = 400, *, image_size: int = 224, random_state: Any = 0) -> AuditData:
    """Return a made-up cohort of chest radiographs with reports, metadata and a simulated reader's predictions.

    Each patient has 1 to 4 studies of one image each; the label is "Pleural effusion". Supine films are mostly
    taken in the ICU with a mobile machine, have less contrast and more devices. Devices are seen in the image and
    named in most reports; no metadata column tells of them.

    `y_proba` comes from a *simulated reader*, not from a classifier that looked at the images. It is wrong on about
    12 % of the films, by two planted failures: it misses 55 % of the effusions on AP supine films (4 % on others),
    and it calls an effusion on 50 % of the films with a chest tube and without effusion.

    Parameters
    ----------
    n_patients : int
        Number of patients, at least 2; about 2.3 times as many samples. The first has an effusion on the first
        film and the second has none there, so that both classes are present.
    image_size : int
        Width and height of the images in pixels, 64 to 2048.
    random_state : int >= 0, RandomState or None
        Seed; the same number gives the same data. None: new data each time.

    Returns
    -------
    AuditData
        With images (drawn when read), reports, metadata (`view`, `portable`, `setting`, `site`, `scanner`, `sex`,
        `age`) and `y_proba`.

    Raises
    ------
    InputError
        A number of patients, an image size or a seed outside its range.
    UnknownKeywordError
        A keyword this function does not have.

    Notes
    -----
    Takes about 0.3 ms a sample; drawing takes about 10 ms an image of 224 x 224 pixels and is done anew at each
    reading. What is found here says nothing about a real classifier or about patients.

    Examples
    --------
    >>> from mmaudit.datasets import load_phantom
    >>> data = load_phantom(20)
    >>> data.n_patients, data.modalities
    (20, ('image', 'report', 'metadata'))
    >>> data.image(data.sample_id[0]).shape
    (224, 224)
    """
    frame, films = _cohort(n_patients, image_size, random_state)
    return AuditData.from_frame(
        frame,
        label="effusion",
        y_proba="proba",
        patient_id="patient_id",
        sample_id="sample_id",
        images=PhantomImages(films, image_size),
        report="report",
        metadata=METADATA,
        label_name="Pleural effusion",
        label_terms=LABEL_TERMS,
        name="phantom",
        card=CARD,
    )


@check_keywords
def write_phantom(
    out: str | Path, n_patients: int = 400, *, image_size: int = 224, random_state: Any = 0, progress: bool = False
) -> Path:
    """Write the cohort of `load_phantom` as files: `images/*.png`, `table.csv` and `README.txt`.

    Parameters
    ----------
    out : path
        The folder to make. It may exist only if it is empty; the folder above it must exist.
    n_patients, image_size, random_state
        See `load_phantom`.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Path
        The folder. It appears when all is written; an interrupted run leaves nothing behind.

    Raises
    ------
    InputError
        If `out` is a file or a folder that is not empty, the folder above it is missing, or a number is out of range.
    UnknownKeywordError
        A keyword this function does not have.

    Examples
    --------
    >>> import tempfile
    >>> from mmaudit.datasets import write_phantom
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(p.name for p in write_phantom(folder, 2, image_size=64).iterdir())
    ['README.txt', 'images', 'table.csv']
    """
    target = Path(out).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        got = "one that is not empty" if target.is_dir() else "a file"
        raise InputError("out", "a new or an empty folder", got, "Choose another name, or remove it first.")
    if not target.parent.is_dir():
        raise InputError("out", "a folder inside one that exists", "one inside a missing folder", "Make that first.")
    frame, films = _cohort(n_patients, image_size, random_state)
    frame.insert(3, "path", [f"images/{name}.png" for name in frame["sample_id"]])
    images = PhantomImages(films, image_size)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        (partial / "images").mkdir(parents=True)
        for i, path in enumerate(tqdm(frame["path"], desc="Drawing", unit="image", disable=not progress)):
            pixels = np.rint(images.read(i).pixels * 255).astype(np.uint8)
            Image.fromarray(pixels).save(partial / path)
        frame.to_csv(partial / "table.csv", index=False)
        (partial / "README.txt").write_text(_readme(frame), encoding="utf-8")
        if target.exists():
            target.rmdir()  # empty; a rename onto an existing folder fails on Windows
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Path(out)


def _readme(frame: pd.DataFrame) -> str:
    card = "\n".join(f"{key}: {value}" for key, value in CARD.items())
    return (
        f"Phantom cohort: {len(frame):,} images of {frame['patient_id'].nunique():,} made-up patients. "
        f"Not for clinical use.\n\n{card}\n\nTo audit it, in this folder:\n\n"
        "mmaudit audit table.csv --label effusion --proba proba --patient patient_id --id sample_id --image path "
        f"--image-root . --report report --metadata {','.join(METADATA)}\n"
    )


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
        pixels = _draw(self.films[index], self.image_size)
        if max_side_px is not None and max_side_px < self.image_size:
            small = Image.fromarray(pixels).resize((max_side_px, max_side_px), Image.Resampling.BOX)
            pixels = np.clip(np.asarray(small, dtype=np.float32), 0, 1)
        return GrayImage(pixels, self.image_size, self.image_size, 8)


# --- The cohort -------------------------------------------------------------------------------------------------


def _cohort(n_patients: int, image_size: int, random_state: Any) -> tuple[pd.DataFrame, list[Film]]:
    """Return the table, one row a sample, and what to draw for each row."""
    _check_int("n_patients", n_patients, 2, 1_000_000)
    _check_int("image_size", image_size, 64, 2048)
    if isinstance(random_state, (int, np.integer)):
        _check_int("random_state", random_state, 0, 2**63 - 1)
        seed = int(random_state)
    else:
        seed = int(check_random_state(random_state).randint(2**31 - 1))
    rows, films = [], []
    for patient in range(n_patients):
        report_rng, reader_rng = (np.random.default_rng([seed, patient, stream]) for stream in (_REPORT, _READER))
        author_luck = report_rng.random()
        for study, (row, film, days) in enumerate(_course(seed, patient)):
            names = {
                "sample_id": f"P{patient:05d}-S{study + 1}-I1",
                "patient_id": f"P{patient:05d}",
                "study_id": f"P{patient:05d}-S{study + 1}",
            }
            report = _report(film, row["site"], days, author_luck, report_rng)
            label = int(bool(film.effusion))
            rows.append({**names, "report": report, "effusion": label, "proba": _reader(film, reader_rng), **row})
            films.append(film)
    return pd.DataFrame(rows), films


def _check_int(argument: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(argument, "a whole number", type(value).__name__, "Give an int.")
    if not low <= value <= high:
        raise InputError(argument, f"a number from {low} to {high}", str(value), "Choose one in that range.")


def _course(seed: int, patient: int) -> Iterator[tuple[dict[str, Any], Film, int]]:
    """Yield, study by study, the metadata, the film and the days since the film before it (0 for the first)."""
    rng = np.random.default_rng([seed, patient, _COURSE])
    female = rng.random() < 0.48
    age = float(np.clip(np.rint(rng.normal(62, 16)), 18, 95))
    site = _pick(rng, SITES)
    home = _pick(rng, SETTINGS)
    body = Body(
        width=rng.uniform(0.80, 0.90) - 0.04 * female,
        apex=rng.uniform(-0.86, -0.78),
        dome=rng.uniform(0.42, 0.56),
        depth_cm=float(np.clip(rng.normal(21, 2.2), 16, 27)),
        heart=rng.uniform(0.36, 0.44) + (0.10 if rng.random() < 0.25 else 0),
        rib_gap=rng.uniform(0.150, 0.175),
        rib_tilt=rng.uniform(0.26, 0.38),
        breast_cm=rng.uniform(1.0, 3.5) if female else 0.0,
        seed=(seed, patient, _FILM),
    )
    side, both = int(rng.choice([-1, 1])), rng.random() < 0.3
    effusion: tuple[tuple[int, str], ...] = ()
    for study in range(int(rng.choice(4, p=(0.28, 0.32, 0.24, 0.16))) + 1):
        days = 0 if study == 0 else int(rng.integers(1, 6) if home == "ICU" else rng.integers(20, 200))
        setting = home if rng.random() < 0.8 else _pick(rng, SETTINGS)
        _, views, chance = SETTINGS[setting]
        view = VIEWS[int(rng.choice(3, p=views))]
        portable = view != "PA" and rng.random() < {"ICU": 0.97, "emergency": 0.6}.get(setting, 0.0)
        had = bool(effusion)
        if study == 0 or rng.random() < 0.35:
            present = rng.random() < chance if study or patient > 1 else patient == 0
            size = str(rng.choice(list(SIZES), p=(0.45, 0.38, 0.17)))
            effusion = tuple((s, size) for s in ((-1, 1) if both else (side,))) if present else ()
        place = ("ICU", "emergency").index(setting) if setting != "outpatient" else 2
        luck = rng.random(len(DEVICES))
        chances = [values[place] for values in DEVICES.values()]
        chances[0] += 0.3 * (had and not effusion and place < 2)  # drained, and the tube is still there
        opacity = (int(rng.choice([-1, 1])) * rng.uniform(0.35, 0.6), rng.uniform(-0.3, 0.3))
        pose = rng.normal(0, (0.02, 0.02, 0.015, 0.02) if view == "PA" else (0.05, 0.05, 0.05, 0.04))
        film = Film(
            body=body,
            view=view,
            portable=bool(portable),
            scanner=SITES[site][2 if portable else 1],
            devices=tuple(d for d, u, p in zip(DEVICES, luck, chances, strict=True) if u < p),
            tube_side=side,
            effusion=effusion,
            opacity=opacity if rng.random() < 0.18 else None,
            pose=(float(pose[0]), float(pose[1]), float(pose[2]), 1 + float(pose[3])),
            seed=(seed, patient, _FILM, study),
        )
        yield (
            {
                "view": view,
                "portable": "yes" if portable else "no",
                "setting": setting,
                "site": site,
                "scanner": film.scanner,
                "sex": "F" if female else "M",
                "age": age if rng.random() > (0.15 if setting == "emergency" else 0.04) else math.nan,
            },
            film,
            days,
        )


def _pick(rng: np.random.Generator, table: dict[str, Any]) -> str:
    """Return a key of `table`, whose values begin with the chance of it."""
    return str(rng.choice(list(table), p=[values[0] for values in table.values()]))


def _reader(film: Film, rng: np.random.Generator) -> float:
    """Return the simulated reader's probability: right with a chance that the view and the devices decide."""
    wrong = ERROR_ELSE
    if film.effusion and film.view == "AP supine":
        wrong = ERROR_SUPINE
    elif not film.effusion and "tube" in film.devices:
        wrong = ERROR_TUBE
    margin = 1.2 * (float(ndtri(1 - wrong)) + rng.standard_normal())
    return round(float(expit(margin if film.effusion else -margin)), 4)


# --- The report -------------------------------------------------------------------------------------------------

_SIDE = {-1: "right", 1: "left"}  # image left is the patient's right
_TECHNIQUE = {
    "PA": ("PA radiograph of the chest.", "CHEST, PA.", "Upright PA view of the chest."),
    "AP": ("{P}AP radiograph of the chest, semi-upright.", "CHEST, {P}AP.", "{P}frontal view, patient sitting."),
    "AP supine": ("{P}supine AP radiograph of the chest.", "CHEST, {P}SUPINE.", "{P}frontal view, patient supine."),
}
_PRESENT = {
    "up": (
        "There is a {size} {side} pleural effusion with blunting of the costophrenic angle.",
        "Pleura: {size} effusion, {side}.",
        "Meniscus at the {side} base in keeping with {size} pleural fluid.",
    ),
    "supine": (
        "Hazy veiling of the {side} lung, consistent with a {size} layering pleural effusion.",
        "Pleura: {size} layering effusion, {side}.",
        "Increased density of the {side} hemithorax, likely {size} pleural fluid tracking posteriorly.",
    ),
}
_ABSENT = (
    ("No pleural effusion or pneumothorax.", "Pleura: no effusion. No pneumothorax.", "Costophrenic angles are clear."),
    (
        "No pneumothorax. The pleural spaces are clear.",
        "Pleura: clear.",
        "No evidence of pleural fluid or pneumothorax.",
    ),
)
_OPACITY = (
    "Patchy {side} airspace opacity, which may represent pneumonia.",
    "Lungs: {side} consolidation.",
    "Focal opacity in the {side} lung, infection not excluded.",
)
_CLEAR = ("The lungs are clear without focal consolidation.", "Lungs: no consolidation.", "No focal airspace disease.")
_HEART = (
    ("The cardiac silhouette is normal in size.", "The heart is enlarged."),
    ("Heart: normal.", "Heart: cardiomegaly."),
    ("Heart size is within normal limits.", "The cardiac silhouette is enlarged."),
)
_DEVICE = {
    "tube": ("A {side} {name} is in place.", "{side} {name}.", "{side} {name} projects over the hemithorax."),
    "ett": ("The {name} ends above the carina.", "{name}.", "Tip of the {name} is in satisfactory position."),
    "line": ("A right {name} ends in the superior vena cava.", "{name}, right.", "Right {name} with tip in the SVC."),
    "ecg": ("Overlying {name} are noted.", "{name}.", "{name} overlie the chest."),
}


def _report(film: Film, site: str, days: int, author_luck: float, rng: np.random.Generator) -> str:
    """Return the report in the manner of one of three authors, of whom each site has one who writes most of them."""
    author = list(SITES).index(site) if author_luck < 0.7 else int(author_luck * 1000) % 3
    supine = film.view == "AP supine"
    side = "bilateral" if len(film.effusion) > 1 else _SIDE[film.effusion[0][0]] if film.effusion else ""
    size = film.effusion[0][1] if film.effusion else ""
    technique = _TECHNIQUE[film.view][author].format(P=("Portable " if author != 1 else "PORTABLE ") * film.portable)
    findings = []
    for device in film.devices:
        if rng.random() < (0.4 if device == "ecg" else 0.85):
            words = _DEVICE[device][author].format(side=_SIDE[film.tube_side], name=DEVICES[device][3][author])
            findings.append(("Devices: " if author == 1 else "") + words)
    if film.effusion:
        findings.append(_PRESENT["supine" if supine else "up"][author].format(size=size, side=side))
        findings.append("No pneumothorax.")
    else:
        findings.append(_ABSENT[int(rng.integers(len(_ABSENT)))][author])
    lungs = _OPACITY[author].format(side=_SIDE[1 if film.opacity[0] > 0 else -1]) if film.opacity else _CLEAR[author]
    findings += [lungs, _HEART[author][film.body.heart > 0.45]]
    if days and rng.random() < 0.6:
        findings.insert(0, f"Compared with the film of {days} day{'s' * (days > 1)} earlier.")
    if film.effusion:
        noun = ("pleural effusion", "effusion", "pleural fluid")[author]
        impression = [f"{size} {side} {noun}{'s' * (side == 'bilateral' and author < 2)}."]
    else:
        impression = [("No pleural effusion.", "No effusion.", "No pleural fluid.")[author]]
    if film.opacity:
        impression.append(("Possible pneumonia.", "Consolidation, query infection.", "Focal lung opacity.")[author])
    elif not film.effusion:
        impression = [("No acute cardiopulmonary process.", "Normal.", "No acute abnormality.")[author]]
        impression = ["No acute change; devices as above."] if film.devices else impression
    parts = [f"TECHNIQUE: {_sentence(technique)}"] if rng.random() < 0.8 else []
    parts.append("FINDINGS: " + " ".join(_sentence(f) for f in findings))
    parts.append("IMPRESSION: " + " ".join(_sentence(i) for i in impression))
    return "\n".join(parts)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
