"""The phantom cohort as `AuditData`, and as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit.data import AuditData
from mmaudit.datasets._shared import check_choice, label_terms
from mmaudit.datasets.phantom._cohort import (
    ATTRIBUTES,
    ERROR_ELSE,
    ERROR_SUPINE,
    ERROR_TUBE,
    METADATA,
    Case,
    cohort,
    table,
)
from mmaudit.datasets.phantom._files import LAYOUTS, check_out, write_mimic_cxr, write_plain
from mmaudit.datasets.phantom._images import PhantomImages, default_cache_dir
from mmaudit.datasets.phantom._record import FINDINGS

__all__ = ["load_phantom", "write_phantom"]

CARD = {
    "source": "made by mmaudit itself from random numbers; no patient is behind it",
    "licence": "BSD-3-Clause, as the package",
    "label": "the finding as drawn in the study's images; reports mostly agree with it",
    "classifier": "simulated reader: y_proba is drawn from the label, the view and the devices, not from pixels",
    "planted failures": f"the simulated reader misses {ERROR_SUPINE:.0%} of the labelled films that are AP supine and "
    f"calls the label on {ERROR_TUBE:.0%} of the films with a chest tube and without it; elsewhere it is wrong on "
    f"{ERROR_ELSE:.0%}",
    "known limits": "schematic anatomy; frequencies are plausible, not estimated from a hospital; good for learning "
    "and for tests, never for a statement about patients or a real classifier",
}


@check_keywords
def load_phantom(
    n_patients: int = 400,
    *,
    image_size: int = 224,
    random_state: Any = 0,
    label: str = "Pleural effusion",
    bit_depth: int = 8,
    cache: bool | str | Path = True,
) -> AuditData:
    """Return a made-up cohort of chest radiographs with reports, metadata, ground truth and a simulated reader.

    Each patient has 1 to 8 studies over time, each with 1 to 3 images and one report. Films are drawn from a body in
    three dimensions with its findings and devices. What goes together does so as in a hospital: supine films are taken
    in intensive care with a mobile machine, have less contrast and show more devices.

    `y_proba` comes from a *simulated reader*, not from a classifier that looked at the images. Its two failures are
    planted: it misses 55 % of the label on AP supine films (4 % on others), and it calls the label on 50 % of the films
    that have a chest tube and not the label. `mmaudit.classifiers.train` gives a real classifier instead.

    Parameters
    ----------
    n_patients : int
        Number of patients, at least 2; about 3.7 times as many samples. The first has the label on the first film
        and the second has not, so that both classes are present.
    image_size : int
        Width and height of the images in pixels, 64 to 2048.
    random_state : int >= 0, RandomState or None
        Seed; the same number gives the same data, images to the last bit, on every platform. None: new data each time.
    label : str
        What `y_true` is: one of "Pleural effusion", "Cardiomegaly", "Atelectasis", "Consolidation", "Pneumothorax",
        "Edema", "Nodule", "Fracture". The cohort is the same for all but its first two patients.
    bit_depth : {8, 16}
        Of the images.
    cache : bool or path
        Folder in which drawn images are kept, so that each is drawn once. True: `MMAUDIT_CACHE`, or the user's cache
        folder where that is not set. False: images are drawn at each reading.

    Returns
    -------
    AuditData
        With images, whole reports (INDICATION to IMPRESSION), metadata (`view`, `portable`, `setting`, `site`,
        `scanner`, `sex`, `age`, `bmi`), `y_proba`, and the ground truth in `attributes`, which the audit does not see:
        a column for each finding (with " side" and " size"), each device, what the report says of each finding
        ("reported ..."), its author and errors, the pose, the study's id and date. Masks of findings and devices:
        `data.images.masks(i)`.

    Raises
    ------
    InputError
        A number of patients, an image size, a seed or a choice outside its range.
    UnknownKeywordError
        A keyword this function does not have.

    Notes
    -----
    Images are drawn when first read; `data.images.prepare()` draws all of them in parallel. Rates at which reports
    leave out, misspell or contradict are constants in `mmaudit/datasets/phantom/_report.py`. What is found here says
    nothing about a real classifier or about patients.

    Examples
    --------
    >>> from mmaudit.datasets import load_phantom
    >>> data = load_phantom(20, cache=False)
    >>> data.n_patients, data.modalities
    (20, ('image', 'report', 'metadata'))
    >>> data.image(data.sample_id[0]).shape
    (224, 224)
    >>> list(data.images.masks(0))[:1]
    ['pleural effusion']
    """
    cases, frame = _make(n_patients, image_size, random_state, label, bit_depth)
    folder = default_cache_dir() if cache is True else None if cache is False else Path(cache)
    return AuditData.from_frame(
        frame,
        label="label",
        y_proba="proba",
        patient_id="patient_id",
        sample_id="sample_id",
        images=PhantomImages([case.film for case in cases], image_size, bit_depth=bit_depth, cache=folder),
        report="report",
        metadata=METADATA,
        attributes=ATTRIBUTES,
        label_name=_kind(label).capitalize(),
        label_terms=label_terms(label),
        name="phantom",
        card=CARD,
    )


@check_keywords
def write_phantom(
    out: str | Path,
    *,
    n_patients: int = 400,
    image_size: int = 224,
    random_state: Any = 0,
    label: str = "Pleural effusion",
    bit_depth: int = 8,
    layout: str = "plain",
    n_jobs: int | None = None,
    progress: bool = False,
) -> Path:
    """Write the cohort of `load_phantom` as files.

    Parameters
    ----------
    out : path
        The folder to make. It may exist only if it is empty; the folder above it must exist.
    n_patients, image_size, random_state, label, bit_depth
        See `load_phantom`.
    layout : {"plain", "mimic-cxr"}
        "plain": `images/*.png`, `masks/*.png`, `table.csv`, `truth.csv`, `README.txt`. "mimic-cxr": the tree of
        MIMIC-CXR-JPG 2.0.0 with the reports of MIMIC-CXR and the patients of MIMIC-IV, which `load_mimic_cxr` reads;
        the ground truth lies beside it in `phantom-truth/`. 8 bits only, since its images are JPEG.
    n_jobs : int or None
        Processes that draw. None: one a core.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    Path
        The folder. It appears when all is written; an interrupted run leaves nothing in its place, and the images that
        it drew are in the cache for the next.

    Raises
    ------
    InputError
        If `out` is a file or a folder that is not empty, the folder above it is missing, or a value is out of range.
    UnknownKeywordError
        A keyword this function does not have.

    Examples
    --------
    >>> import tempfile
    >>> from mmaudit.datasets import write_phantom
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(p.name for p in write_phantom(folder, n_patients=2, image_size=64).iterdir())
    ['README.txt', 'images', 'masks', 'table.csv', 'truth.csv']
    """
    check_choice("layout", layout, LAYOUTS)
    if layout == "mimic-cxr" and bit_depth == 16:
        raise InputError("bit_depth", "8 with the layout mimic-cxr", "16", "Its images are 8-bit JPEG; use plain.")
    check_out(out)
    cases, frame = _make(n_patients, image_size, random_state, label, bit_depth)
    images = PhantomImages([c.film for c in cases], image_size, bit_depth=bit_depth, cache=default_cache_dir())
    images.prepare(masks=True, n_jobs=n_jobs, progress=progress)
    if layout == "plain":
        return write_plain(Path(out), frame, images, label=_kind(label), card=CARD, progress=progress)
    return write_mimic_cxr(Path(out), frame, images, card=CARD, progress=progress)


def _make(
    n_patients: int, image_size: int, random_state: Any, label: str, bit_depth: int
) -> tuple[list[Case], pd.DataFrame]:
    """Return the films and the table of a cohort, one row a film, after checking what was asked for."""
    _check_int("n_patients", n_patients, 2, 1_000_000)
    _check_int("image_size", image_size, 64, 2048)
    check_choice("bit_depth", bit_depth, (8, 16))
    kind = _kind(label)
    if isinstance(random_state, (int, np.integer)):
        _check_int("random_state", random_state, 0, 2**63 - 1)
        seed = int(random_state)
    elif random_state is None or isinstance(random_state, np.random.RandomState):
        seed = int(check_random_state(random_state).randint(2**31 - 1))
    else:
        got = type(random_state).__name__
        raise InputError("random_state", "a whole number, a RandomState or None", got, "Give a number such as 0.")
    cases = list(cohort(n_patients, seed, kind))
    return cases, table(cases, seed, kind)


def _kind(label: str) -> str:
    """Return the kind of finding that `label` names, in any case."""
    kind = str(label).strip().lower()
    if kind not in FINDINGS:
        known = [f.capitalize() for f in FINDINGS]
        raise InputError(
            "label", "a finding of the phantom", f"{label!r}", f"They are: {', '.join(known)}.{nearest(label, known)}"
        )
    return kind


def _check_int(argument: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(argument, "a whole number", type(value).__name__, "Give an int.")
    if not low <= value <= high:
        raise InputError(argument, f"a number from {low} to {high}", str(value), "Choose one in that range.")
