"""A phantom cohort: chest radiographs, reports and metadata that the package makes itself, with known failures.

No patient is behind it, so it can be shown to anybody, and since the failures of its simulated reader are planted,
what an audit finds can be checked against what is there. Here are the course of a patient (`_course`) and what the
simulated reader answers (`_reader`); the film is drawn in `_phantom_film`, the report written in `_phantom_report`.
Each has a random stream of its own for each patient, so that a change to one leaves the others as they are, and the
first patients of a larger cohort are those of a smaller one.
"""

from __future__ import annotations

import math
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.special import expit, ndtri
from sklearn.utils import check_random_state
from tqdm import tqdm

from mmaudit._errors import InputError, check_keywords
from mmaudit.data import AuditData
from mmaudit.datasets._phantom_film import SIZES, Body, Film, PhantomImages
from mmaudit.datasets._phantom_report import N_AUTHORS, write_report
from mmaudit.datasets._shared import label_terms

__all__ = ["PhantomImages", "load_phantom", "write_phantom"]

METADATA = ("view", "portable", "setting", "site", "scanner", "sex", "age")
ERROR_SUPINE, ERROR_TUBE, ERROR_ELSE = 0.55, 0.50, 0.04  # chances that the simulated reader is wrong
CARD = {
    "source": "made by mmaudit itself from random numbers; no patient is behind it",
    "licence": "BSD-3-Clause, as the package",
    "label": "pleural effusion as drawn in the image; the reports agree with it",
    "classifier": "simulated reader: y_proba is drawn from the label, the view and the devices, not from pixels",
    "planted failures": f"it misses {ERROR_SUPINE:.0%} of the effusions on AP supine films and calls an effusion on "
    f"{ERROR_TUBE:.0%} of the films with a chest tube and no effusion; elsewhere it is wrong on {ERROR_ELSE:.0%}",
    "known limits": "schematic anatomy; frequencies are plausible, not estimated from a hospital; one image a study; "
    "good for learning and for tests, never for a statement about patients or a real classifier",
}

_COURSE, _REPORT, _READER, _FILM = range(4)  # random streams


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
DEVICES = {"tube": (0.36, 0.12, 0.01), "ett": (0.5, 0.06, 0.0), "line": (0.55, 0.08, 0.03), "ecg": (0.8, 0.4, 0.0)}
DEVICE_SETTINGS = ("ICU", "emergency", "outpatient")  # order of the chances above


@check_keywords
def load_phantom(n_patients: int = 400, *, image_size: int = 224, random_state: Any = 0) -> AuditData:
    """Return a made-up cohort of chest radiographs with reports, metadata and a simulated reader's predictions.

    Each patient has 1 to 4 studies of one image each; the label is "Pleural effusion". Supine films are mostly
    taken in the ICU with a mobile machine, have less contrast and more devices. Devices are seen in the image and
    named in most reports; no metadata column tells of them.

    `y_proba` comes from a *simulated reader*, not from a classifier that looked at the images. It is wrong on about
    13 % of the films, by two planted failures: it misses 55 % of the effusions on AP supine films (4 % on others),
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
        label_terms=label_terms("Pleural effusion"),
        name="phantom",
        card=CARD,
    )


@check_keywords
def write_phantom(
    out: str | Path, *, n_patients: int = 400, image_size: int = 224, random_state: Any = 0, progress: bool = False
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
    ...     sorted(p.name for p in write_phantom(folder, n_patients=2, image_size=64).iterdir())
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


# --- The cohort -------------------------------------------------------------------------------------------------


def _cohort(n_patients: int, image_size: int, random_state: Any) -> tuple[pd.DataFrame, list[Film]]:
    """Return the table, one row a sample, and what to draw for each row."""
    _check_int("n_patients", n_patients, 2, 1_000_000)
    _check_int("image_size", image_size, 64, 2048)
    if isinstance(random_state, (int, np.integer)):
        _check_int("random_state", random_state, 0, 2**63 - 1)
        seed = int(random_state)
    elif random_state is None or isinstance(random_state, np.random.RandomState):
        seed = int(check_random_state(random_state).randint(2**31 - 1))
    else:
        got = type(random_state).__name__
        raise InputError("random_state", "a whole number, a RandomState or None", got, "Give a number such as 0.")
    rows, films = [], []
    for patient in range(n_patients):
        report_rng, reader_rng = (np.random.default_rng([seed, patient, stream]) for stream in (_REPORT, _READER))
        writes_here = report_rng.random() < 0.7  # else one of the other sites' authors stands in
        author = int(report_rng.integers(N_AUTHORS))
        for study, (row, film, days) in enumerate(_course(seed, patient)):
            names = {
                "sample_id": f"P{patient:05d}-S{study + 1}-I1",
                "patient_id": f"P{patient:05d}",
                "study_id": f"P{patient:05d}-S{study + 1}",
            }
            wrote = list(SITES).index(row["site"]) if writes_here else author
            report = write_report(film, author=wrote, days=days, rng=report_rng)
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
        place = DEVICE_SETTINGS.index(setting)
        luck = rng.random(len(DEVICES))
        chances = [values[place] for values in DEVICES.values()]
        chances[0] += 0.3 * (had and not effusion and setting != "outpatient")  # drained, and the tube is still there
        opacity = (int(rng.choice([-1, 1])) * rng.uniform(0.35, 0.6), rng.uniform(-0.3, 0.3))
        pose = rng.normal(0, (0.02, 0.02, 0.015, 0.02) if view == "PA" else (0.05, 0.05, 0.05, 0.04))
        film = Film(
            body=body,
            view=view,
            portable=bool(portable),
            scanner=str(SITES[site][2 if portable else 1]),
            devices=tuple(d for d, u, p in zip(DEVICES, luck, chances, strict=True) if u < p),
            tube_side=side,
            effusion=effusion,
            opacity=opacity if rng.random() < 0.18 else None,
            pose=(float(pose[0]), float(pose[1]), float(pose[2]), 1.06 + float(pose[3])),
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
