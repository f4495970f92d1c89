"""The experiment of arXiv:2602.24183, run by anyone: failures planted on purpose, and who finds them.

Scenarios x subsets of the modalities x slicers x seeds. A case is one planted failure: predictions drawn on real data
(`Simulated`), or those of a network trained on phantoms (`Trained`). Every slicer learns from the same discovery
patients and is scored on the others, which it never saw.

`mmaudit benchmark` does it from a shell. In Python: `load_source`, `make_cases`, `run`, `summarise`, `plot`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
import sklearn
from scipy.special import softmax
from scipy.stats import skew
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mmaudit import __version__, classifiers, datasets, failures
from mmaudit._errors import AuditWarning, InputError, MissingExtraError, nearest
from mmaudit._files import replacing
from mmaudit._tables import read_parquet
from mmaudit.classifiers._torch import need_torch
from mmaudit.confirm import confirm
from mmaudit.data import MODALITIES, AuditData, Target
from mmaudit.encoders import Features, ImageTable, describe_images, encode
from mmaudit.result import _write_text
from mmaudit.selection import select
from mmaudit.slicers import MixtureSlicer, Portfolio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "SCENARIOS",
    "SLICERS",
    "SUBSETS",
    "Attribute",
    "Candidates",
    "Case",
    "Simulated",
    "Trained",
    "Trial",
    "check_settings",
    "differences",
    "load_source",
    "make_cases",
    "plot",
    "run",
    "score",
    "simulate",
    "summarise",
    "to_markdown",
]

SCENARIOS = ("rare", "correlation", "noisy", "null")
HALVES = ("tune", "report")
DEFAULT_SLICERS = ("mmaudit", "mixture", "domino", "concatenated", "kmeans", "errors")  # sliceline needs a package
SOURCES = ("covid", "openi", "phantom")
SUBSETS = tuple(subset for size in (1, 2, 3) for subset in itertools.combinations(MODALITIES, size))
FIRST_SEED = {"report": 0, "tune": 100}
FRACTION = 0.4  # of the patients are for discovery, as in an audit
N_CANDIDATES = 10
AFTER_SCORES = (  # code that no score depends on
    *("cli.py", "_audit.py", "explain", "result.py", "null_control.py", "compare.py", "report", "widgets"),
)
LEAST_PLANTED, LEAST_PATIENTS = 20, 15  # samples and patients of the planted slice below which a case is left out

# How often a simulated classifier is right: everywhere, and on (attribute, label) in each scenario. Networks that are
# trained on planted failures err on 70 to 97 % of "rare" and "correlation" (tests/bench/planted_failures.py).
RIGHT = 0.88
RIGHT_IN = {
    "rare": {(True, 1): 0.2},
    "correlation": {(True, 0): 0.2, (False, 1): 0.75},
    "noisy": {(True, 0): 0.5, (True, 1): 0.5},
    "null": {},
}
PLANTED_LABEL = {"rare": 1, "correlation": 0, "noisy": None}

SCORES = ("precision_at_10", "precision_at_25", "average_precision", "precision_at_10_all")
METRICS = (*SCORES, "any_finding", "recovered")
N_BOOTSTRAPS = 2000

# What is planted for the networks, where a network's errors follow; tests/bench/planted_failures.py shows that.
PHANTOM_SETTINGS: dict[str, dict[str, Any]] = {
    "correlation": {"kind": "correlation", "where": {"view": ["AP", "AP supine"]}, "strength": 0.98},
    "rare": {"kind": "rare", "where": {"view": "lateral"}, "share": 0.01},
    "noisy": {"kind": "noisy", "where": {"site": "Hill"}, "rate": 0.8},
}
PHANTOM_PATIENTS, PHANTOM_PX = 500, 112

WORK_SIDE_PX = 256
ALL_TAGS = "all"
OPENI_LABEL, OPENI_SAMPLES = "Cardiomegaly", 1500

STYLES = {  # colours of Okabe and Ito, and a shape for each, so that nobody depends on colour
    "mmaudit": ("#0072B2", "o"),
    "domino": ("#D55E00", "s"),
    "concatenated": ("#009E73", "^"),
    "kmeans": ("#CC79A7", "D"),
    "sliceline": ("#E69F00", "v"),
    "mixture": ("#56B4E9", "P"),
    "errors": ("#000000", "x"),
    "blind": ("#999999", "p"),
}
ALT_TEXT = (
    "Dots with 95 % intervals: precision at 10 on held-out patients, by slicer. One column of panels for each planted "
    "failure (rare, correlation, noisy), one row for each source and kind of attribute; subsets of image, report and "
    "metadata from left to right. A dashed line shows what chance gives. table.md has the same numbers."
)


# Cases


@dataclass(frozen=True)
class Case:
    """One planted failure.

    Attributes
    ----------
    source : str
        Name of the data.
    scenario : {"rare", "correlation", "noisy", "null"}
    attribute : str
        Name of the attribute that the failure goes with; "" in the scenario "null".
    seed : int
        Seed of the predictions, of the split and of the slicers.
    half : {"tune", "report"}
        Settings are chosen on the half "tune", figures are reported on the other: no attribute, and no seed, is in
        both.
    """

    source: str
    scenario: str
    attribute: str
    seed: int
    half: str


@dataclass(frozen=True, eq=False)
class Attribute:
    """A yes-or-no property of samples that a failure can go with.

    Attributes
    ----------
    name : str
    tag : {"written", "picture", "picture-new"}
        Whether it stands in the metadata or the report; or is a property of the picture that stands nowhere, but is
        among the image statistics of `mmaudit.encoders`; or not even there.
    kind : {"metadata", "report", "picture"}
    mask : ndarray of shape (n_samples,), bool
    half : {"tune", "report", ""}
        On which half it is used. "": attributes of a tag and kind take turns.
    """

    name: str
    tag: str
    kind: str
    mask: np.ndarray
    half: str = ""


@dataclass(frozen=True, eq=False)
class Trial:
    """A case made ready: data with predictions, and the truth.

    Attributes
    ----------
    data : AuditData
        With predictions.
    planted : ndarray of shape (n_samples,), bool
    images : ImageTable or None
        What the images of `data` gave, if they were described before.
    """

    data: AuditData
    planted: np.ndarray
    images: ImageTable | None


@dataclass(frozen=True, eq=False)
class Simulated:
    """Real data on which predictions are drawn.

    Attributes
    ----------
    name : str
    data : AuditData
        Without predictions.
    attributes : sequence of Attribute
        In a fixed order: of each tag and kind the first is in the half "tune", the second in "report", and so on.
    images : ImageTable or None
    n_drawn : int or None
        Samples drawn by a case's seed, those with label 1 first. None: all.
    """

    name: str
    data: AuditData
    attributes: Sequence[Attribute]
    images: ImageTable | None = None
    n_drawn: int | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the data have."""
        return self.data.modalities

    @property
    def fingerprint(self) -> str:
        """A hash of the data, so that scores of other data are not taken for theirs."""
        data, images = self.data, None if self.images is None else self.images.descriptors
        known = (data.sample_id.to_numpy(), data.y_true, data.patient_id, data.reports, data.metadata)
        attributes = [(a.name, a.tag, a.kind, a.mask) for a in self.attributes]
        return joblib.hash((known, dict(data.embeddings), images, attributes, self.n_drawn))

    def tag(self, case: Case) -> str:
        """Return the tag of the case's attribute, "" without one."""
        return next((a.tag for a in self.attributes if a.name == case.attribute), "")

    def cases(self, scenario: str, half: str, seeds: Sequence[int]) -> list[Case]:
        """Return the cases of a scenario, whether or not enough samples are planted."""
        names = [""] if scenario == "null" else [a.name for a in self.attributes if self._half_of(a) == half]
        return [Case(self.name, scenario, name, seed, half) for name in names for seed in seeds]

    def is_large_enough(self, case: Case) -> bool:
        """Return whether 20 samples of 15 patients or more are planted, and some of each label are not."""
        if case.scenario == "null":
            return True
        rows = self._rows(case.seed)
        y, planted = self.data.y_true[rows], self._planted(case)[rows]
        n_patients = len(np.unique(self.data.patient_id[rows][planted].astype(str)))
        enough = planted.sum() >= LEAST_PLANTED and n_patients >= LEAST_PATIENTS
        return bool(enough and all((~planted[y == label]).any() for label in (0, 1)))

    def trial(self, case: Case, folder: Path | None = None) -> Trial:
        """Return the data with predictions drawn for this case. `folder` is not used."""
        rows = self._rows(case.seed)
        data = self.data if len(rows) == self.data.n_samples else self.data.subset(rows)
        inside = self._inside(case)[rows]
        # The predictions of a case are its own: another attribute gets other ones with the same seed.
        rng = np.random.default_rng(_digest(self.name, case.scenario, case.attribute, case.seed))
        right_rate = np.full(len(rows), RIGHT)
        for (is_inside, label), rate in RIGHT_IN[case.scenario].items():
            right_rate[(inside == is_inside) & (data.y_true == label)] = rate
        right = rng.random(len(rows)) < right_rate
        says_one = right == (data.y_true == 1)
        sure = rng.beta(6, 2, len(rows))
        sure = np.maximum(sure, 1 - sure)  # on the side of what is said, so that the rates above are exact
        proba = np.where(says_one, sure, 1 - sure)
        images = None if self.images is None else _take_images(self.images, rows)
        return Trial(data.with_predictions(proba), self._planted(case)[rows], images)

    def _half_of(self, attribute: Attribute) -> str:
        if attribute.half:
            return attribute.half
        alike = [a.name for a in self.attributes if (a.tag, a.kind) == (attribute.tag, attribute.kind)]
        return HALVES[alike.index(attribute.name) % 2]

    def _inside(self, case: Case) -> np.ndarray:
        if case.scenario == "null":
            return np.zeros(self.data.n_samples, dtype=bool)
        return next(a.mask for a in self.attributes if a.name == case.attribute)

    def _planted(self, case: Case) -> np.ndarray:
        inside, label = self._inside(case), PLANTED_LABEL.get(case.scenario)
        return inside if label is None else inside & (self.data.y_true == label)

    def _rows(self, seed: int) -> np.ndarray:
        n_samples = self.data.n_samples
        if self.n_drawn is None or self.n_drawn >= n_samples:
            return np.arange(n_samples)
        order = np.random.default_rng([seed, 11]).permutation(n_samples)
        order = order[np.argsort(-self.data.y_true[order], kind="stable")]
        return np.sort(order[: self.n_drawn])


@dataclass(frozen=True, eq=False)
class Trained:
    """Phantoms, or data of one's own, and a classifier trained on those in which a failure was planted.

    Training takes most of the time, so the predictions are kept in the folder of a run.

    Attributes
    ----------
    name : str
    n_patients : int
        Of the phantom; not used with `data`.
    image_size : int
        Side of the phantom's films in pixels; not used with `data`.
    settings : mapping of scenario to keywords of `mmaudit.failures.inject`, or to a sequence of such, or None
        A case is made of each. None: those of `PHANTOM_SETTINGS`.
    train : callable (AuditData, random_state=) -> object with `predict(AuditData)`, or None
        None: `mmaudit.classifiers.train`, which needs the extra `torch`.
    data : AuditData or None
        What failures are planted in; a case's seed then divides it only. None: each seed draws a phantom.
    images : ImageTable or None
        What `mmaudit.encoders.describe_images` gave for the images of `data`, so that they are described once for all
        cases. None: they are described for each.
    """

    name: str = "phantom"
    n_patients: int = PHANTOM_PATIENTS
    image_size: int = PHANTOM_PX
    settings: Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]] | None = None
    train: Callable[..., Any] | None = None
    data: AuditData | None = None
    images: ImageTable | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the data have."""
        return MODALITIES if self.data is None else self.data.modalities

    @property
    def fingerprint(self) -> str:
        """A hash of the settings and of `data`, as far as failures and scores depend on them."""
        data = self.data
        if data is None:
            return joblib.hash((self.n_patients, self.image_size, self._settings))
        # By content: a pickle, which joblib hashes, also tells which texts are one object, and a worker has copies,
        # and maps of large arrays.
        settings = json.dumps(self._settings, default=joblib.hash)
        columns = {"id": data.sample_id, "y": data.y_true, "patient": data.patient_id, "report": data.reports}
        tables = (pd.DataFrame(columns), data.metadata, data.attributes)
        known = [pd.util.hash_pandas_object(table.astype(str), index=False).to_numpy() for table in tables]
        images = None if self.images is None else self.images.descriptors
        return joblib.hash((settings, known, list(data.embeddings.values()), images), coerce_mmap=True)

    def tag(self, case: Case) -> str:
        """Return "written", since the phantom's attributes stand in its metadata; "", not known, with `data`."""
        return "written" if self.data is None else ""

    def cases(self, scenario: str, half: str, seeds: Sequence[int]) -> list[Case]:
        """Return the cases of a scenario; none of "null", since no network is free of systematic errors."""
        return [Case(self.name, scenario, name, seed, half) for name in self._options(scenario) for seed in seeds]

    def is_large_enough(self, case: Case) -> bool:
        """Return True: the settings were chosen so."""
        return True

    def trial(self, case: Case, folder: Path | None = None) -> Trial:
        """Return the test samples with the predictions of a network, kept in `folder` / predictions if given."""
        scenario = self.scenario(case)
        path = None
        if folder is not None:
            key = _digest(asdict(case), self.fingerprint, _code_key("datasets", "failures.py", "classifiers"))
            path = folder / "predictions" / f"{key:032x}.parquet"
        kept = None if path is None else _kept_predictions(path, scenario.test)
        if kept is not None:
            test = kept
        else:
            train = self.train or classifiers.train
            test = train(scenario.train, random_state=case.seed).predict(scenario.test)
            if path is not None:
                kept = pd.DataFrame({"sample_id": test.sample_id, "y_proba": test.y_proba})
                _write_parquet(kept, path)
        planted = pd.Series(scenario.planted_test, index=scenario.test.sample_id)
        images = self.images
        if self.data is not None and images is not None:
            images = _take_images(images, self.data.sample_id.get_indexer(test.sample_id))
        return Trial(test, planted.loc[test.sample_id].to_numpy(), images)

    def scenario(self, case: Case) -> failures.FailureScenario:
        """Return what is planted for this case; its `evaluate` tells whether a classifier then fails there."""
        data = self.data
        if data is None:
            data = datasets.load_phantom(self.n_patients, image_size=self.image_size, random_state=case.seed)
        return failures.inject(data, **self._options(case.scenario)[case.attribute], random_state=case.seed)

    def _options(self, scenario: str) -> dict[str, Mapping[str, Any]]:
        """Return the keywords of `mmaudit.failures.inject`, by the words of what is planted on."""
        given = self._settings.get(scenario, ())
        each = [given] if isinstance(given, Mapping) else given
        return {self._words(options["where"]): options for options in each}

    def _words(self, where: Any) -> str:
        if self.data is not None:
            return select(self.data, where)[1]
        return ", ".join(
            f"{column} = {' or '.join([values] if isinstance(values, str) else map(str, values))}"
            for column, values in where.items()
        )

    @property
    def _settings(self) -> Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]]:
        return PHANTOM_SETTINGS if self.settings is None else self.settings


Source = Simulated | Trained


def load_source(name: str, root: str | Path | None = None, *, n_jobs: int | None = None) -> Source:
    """Return data that cases can be made of.

    Parameters
    ----------
    name : {"covid", "openi", "phantom"}
        "covid": `load_covid_chestxray`. "openi": the reports that torchxrayvision ships, or those in `root`, with
        its images if they are there. "phantom": films that the package draws, and networks trained on them.
    root : path or None
        Folder of the data; "covid" needs one.
    n_jobs : int or None
        Threads for decoding images. None: all cores.

    Raises
    ------
    InputError
        An unknown name; a root that is missing, or given where none is used.
    MissingExtraError
        "openi" without root and without torchxrayvision; "phantom" without torch.
    """
    if name not in SOURCES:
        raise InputError(
            "source", f"one of {', '.join(SOURCES)}", f"{name!r}", f"Correct the name.{nearest(name, SOURCES)}"
        )
    if name == "phantom":
        if root is not None:
            raise InputError("source", "phantom without a folder", "one with", "Leave the folder out: films are drawn.")
        need_torch("the benchmark on phantoms")
        return Trained()
    if name == "covid" and root is None:
        raise InputError("source", "covid with its folder", "none", "Write covid:FOLDER.")
    with warnings.catch_warnings():
        # Known shortcuts and the like: a failure that is planted does not depend on them.
        warnings.simplefilter("ignore", AuditWarning)
        return _openi(root, n_jobs) if name == "openi" else _covid(root, n_jobs)


def _covid(root, n_jobs) -> Simulated:
    data = datasets.load_covid_chestxray(root, unknown="negative")
    images = _described(data, n_jobs)
    assert images is not None
    # The settings of the portfolio were chosen while these were looked at, all of them.
    seen: list[tuple[str, Any]] = [("view", v) for v in ("AP Supine", "AP", "PA")]
    seen += [("sex", "F"), ("age", 65), ("country", "Germany"), ("source", "radiopaedia.org")]
    seen += [("in_icu", "Y"), ("went_icu", "Y"), ("intubated", "Y")]
    seen_patterns = {
        "tube or line": r"\b(?:tubes?|lines?|catheters?)\b",
        "bilateral": r"\bbilateral",
        "fever": r"\b(?:fevers?|feverish|febrile)\b",
        "consolidation": r"\bconsolidat",
        "ground glass": r"\bground[- ]glass\b",
        "cough": r"\bcough",
        "lower lobe": r"\blower lobes?\b",
        "days": r"\bdays?\b",
    }
    # These were written down when all choices had been made.
    fresh: list[tuple[str, Any]] = [("country", "Italy"), ("country", "United Kingdom"), ("country", "Australia")]
    fresh += [("source", "eurorad.org"), ("survival", "Y"), ("year", 2020), ("offset", 0)]
    fresh += [("in_icu", "N"), ("intubation_present", "N")]
    fresh_patterns = {
        "opacity": r"\bopacit",
        "pneumonia": r"\bpneumonia",
        "dyspnea": r"\b(?:dyspn|shortness of breath)",
        "right": r"\bright\b",
        "pleural": r"\bpleural\b",
        "admitted": r"\b(?:admitted|admission)\b",
        "diffuse": r"\b(?:diffuse|multifocal)\b",
        "man": r"\b(?:man|male)\b",
    }
    attributes = [*_of_metadata(data, seen), *_of_reports(data, seen_patterns)]
    new = [*_of_metadata(data, fresh), *_of_reports(data, fresh_patterns)]
    for known_half, found in zip(HALVES, _of_pictures(data, images, n_jobs), strict=True):
        (attributes if known_half == "tune" else new).extend(found)
    return Simulated(
        "covid",
        data,
        [replace(a, half="tune") for a in attributes] + [replace(a, half="report") for a in new],
        images,
    )


def _openi(root, n_jobs) -> Simulated:
    data = datasets.load_openi(root, label=OPENI_LABEL)
    data = data.subset(data.reports != "")
    images = _described(data, n_jobs)
    metadata: list[tuple[str, Any]] = [("view", "PA"), ("view", "AP"), ("system", "MITRA OBJECT UTF8 ATTRIBUTES 1.0")]
    metadata += [("system", "SIEMENS MEDCOM OOG"), ("system", "Agfa ADC NX"), ("photometric", "MONOCHROME1")]
    metadata += [("age", 65), ("n_images", 1), ("n_images", 2)]
    patterns = {
        "granuloma": r"\bgranuloma",
        "degenerative": r"\bdegenerat",
        "tube or line": r"\b(?:tubes?|lines?|catheters?|picc)\b",
        "scoliosis": r"\bscolio",
        "atelectasis": r"\batelecta",
        "emphysema": r"\b(?:emphysem|hyperinflat|hyperexpan)",
        "clips or sternotomy": r"\b(?:surgical clips?|sternotomy)\b",
        "low lung volumes": r"\b(?:low (?:lung )?volumes?|hypoinflat)",
        "calcified": r"\bcalcifi",
        "tortuous aorta": r"\btortuous\b",
        "scarring": r"\bscar(?:s|ring)?\b",
        "fracture": r"\bfracture",
    }
    attributes = [*_of_metadata(data, metadata), *_of_reports(data, patterns)]
    return Simulated("openi", data, attributes, images, n_drawn=OPENI_SAMPLES)


def _described(data: AuditData, n_jobs) -> ImageTable | None:
    if data.images is None:
        return None
    images = describe_images(data.images, n_jobs=n_jobs)
    return replace(images, thumbnails=[None] * len(images.thumbnails))  # nobody looks at them, and they are sent around


def _of_metadata(data: AuditData, wanted: Sequence[tuple[str, Any]]) -> list[Attribute]:
    found = []
    for column, value in wanted:
        if column not in data.metadata.columns:
            continue
        if column == "age":
            name, mask = f"age > {value}", data.metadata[column] > value
        else:
            name, mask = f"{column} = {value}", data.metadata[column] == value
        found.append(Attribute(name, "written", "metadata", mask.fillna(False).to_numpy(dtype=bool)))
    return found


def _of_reports(data: AuditData, patterns: Mapping[str, str]) -> list[Attribute]:
    texts = pd.Series(data.reports)
    return [
        Attribute(f"report: {name}", "written", "report", texts.str.contains(pattern, case=False).to_numpy(dtype=bool))
        for name, pattern in patterns.items()
    ]


def _of_pictures(data: AuditData, images: ImageTable, n_jobs) -> tuple[list[Attribute], list[Attribute]]:
    """Return the quarters of the pictures with the most, or the least, of something; those seen, and fresh ones."""
    statistics = images.statistics
    seen = {
        "bright": statistics["image brightness"],
        "blurred": -statistics["image sharpness"],
        "low contrast": -statistics["image contrast"],
        "wide": statistics["image aspect ratio"],
        "tall": statistics["image height (px)"],
        "black": statistics["image black share"],
    }
    fresh = {
        "dark": -statistics["image brightness"],
        "sharp": statistics["image sharpness"],
        "high contrast": statistics["image contrast"],
        "narrow": -statistics["image aspect ratio"],
    }
    assert data.images is not None
    rows = joblib.Parallel(n_jobs=n_jobs or -1, prefer="threads")(
        joblib.delayed(_unknown_statistics)(data.images.read(i, max_side_px=WORK_SIDE_PX).pixels)
        if error is None
        else joblib.delayed(tuple)([np.nan] * 8)
        for i, error in enumerate(images.errors)
    )
    unknown = pd.DataFrame(
        rows,
        columns=[
            *("left brighter than right", "bottom brighter than top", "bright corners", "skewed grey values"),
            *("dark centre", "upright edges", "bright upper left corner", "rows that differ"),
        ],
    )
    both = []
    for known, columns in ((seen, unknown.columns[:4]), (fresh, unknown.columns[4:])):
        values = [(n, "picture", v) for n, v in known.items()] + [(n, "picture-new", unknown[n]) for n in columns]
        both.append([Attribute(f"picture: {n}", tag, "picture", _top_quarter(v)) for n, tag, v in values])
    return both[0], both[1]


def _unknown_statistics(pixels: np.ndarray) -> tuple[float, ...]:
    """Return what `mmaudit.encoders` does not.

    Differences of halves and thirds, corners, skewness; rim against centre, upright against level edges, the upper
    left corner, the spread of the means of rows.
    """
    height, width = pixels.shape
    third, edge_down, edge_right = max(1, height // 3), max(1, height // 10), max(1, width // 10)
    corners = [
        pixels[down, right]
        for down in (slice(None, edge_down), slice(-edge_down, None))
        for right in (slice(None, edge_right), slice(-edge_right, None))
    ]
    centre = pixels[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return (
        float(pixels[:, : width // 2].mean() - pixels[:, width - width // 2 :].mean()) if width > 1 else 0.0,
        float(pixels[-third:].mean() - pixels[:third].mean()),
        float(np.mean([corner.mean() for corner in corners])),
        float(np.nan_to_num(skew(pixels, axis=None))),
        float(pixels.mean() - centre.mean()),
        float(np.abs(np.diff(pixels, axis=1)).sum() - np.abs(np.diff(pixels, axis=0)).sum()) / pixels.size,
        float(corners[0].mean()),
        float(pixels.mean(axis=1).std()),
    )


def _top_quarter(values: pd.Series) -> np.ndarray:
    return (values > values.quantile(0.75)).to_numpy(dtype=bool)


def _take_images(images: ImageTable, rows: np.ndarray) -> ImageTable:
    if len(rows) == len(images.descriptors):
        return images
    return ImageTable(
        images.descriptors[rows],
        images.statistics.iloc[rows].reset_index(drop=True),
        [images.thumbnails[i] for i in rows],
        [images.errors[i] for i in rows],
        images.n_high_depth,
    )


def check_settings(
    *,
    scenarios: Sequence[str] = SCENARIOS,
    half: str = "report",
    n_seeds: int = 5,
    subsets: Sequence[Sequence[str]] = SUBSETS,
    slicers: Sequence[str] = DEFAULT_SLICERS,
    n_jobs: int = 1,
) -> None:
    """Raise for the first setting that `make_cases` or `run` could not work with; no data are needed.

    Raises
    ------
    InputError
        An unknown scenario, half, modality or slicer; none of them; fewer than one seed; n_jobs 0.
    MissingExtraError
        The slicer "sliceline" without that package.
    """
    chosen: list[tuple[str, Sequence[str], Sequence[str]]] = [
        ("scenarios", scenarios, SCENARIOS),
        ("half", [half], HALVES),
        ("slicers", slicers, tuple(SLICERS)),
        *(("subsets", subset, MODALITIES) for subset in subsets or [()]),
    ]
    for argument, given, known in chosen:
        unknown = [word for word in given if word not in known]
        if unknown or not given:
            raise InputError(
                argument,
                f"some of {', '.join(known)}",
                repr(unknown[0]) if unknown else "nothing",
                f"Correct the name.{nearest(str(unknown[0]), known)}" if unknown else "Name one, or leave it out: all.",
            )
    if not isinstance(n_seeds, (int, np.integer)) or n_seeds < 1:
        raise InputError("n_seeds", "a whole number from 1 on", f"{n_seeds!r}", "Use 5.")
    if not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0:
        raise InputError("n_jobs", "a whole number other than 0", f"{n_jobs!r}", "Use 1, or -1 for all cores.")
    if "sliceline" in slicers:
        _need_sliceline()


def make_cases(
    sources: Sequence[Source],
    *,
    scenarios: Sequence[str] = SCENARIOS,
    half: str = "report",
    n_seeds: int = 5,
) -> tuple[list[Case], list[Case]]:
    """Return the cases of these sources, and those left out: too few samples planted, or all of a label.

    Parameters
    ----------
    sources : sequence of Simulated or Trained
    scenarios : sequence of {"rare", "correlation", "noisy", "null"}
    half : {"tune", "report"}
        Which attributes, and which seeds: from 0 on for "report", from 100 on for "tune".
    n_seeds : int

    Returns
    -------
    kept : list of Case
    left_out : list of Case
        Fewer than 20 samples or 15 patients would be planted, or none of a label would be left outside.

    Raises
    ------
    InputError
        An unknown scenario or half, or fewer than one seed.
    """
    check_settings(scenarios=scenarios, half=half, n_seeds=n_seeds)
    seeds = range(FIRST_SEED[half], FIRST_SEED[half] + n_seeds)
    cases = [(s, case) for s in sources for scenario in scenarios for case in s.cases(scenario, half, seeds)]
    large = [source.is_large_enough(case) for source, case in cases]
    kept = [case for (_, case), is_large in zip(cases, large, strict=True) if is_large]
    left_out = [case for (_, case), is_large in zip(cases, large, strict=True) if not is_large]
    return kept, left_out


def simulate(source: Source, case: Case, *, folder: Path | None = None) -> Trial:
    """Return the data of a case with predictions, and what is planted.

    Parameters
    ----------
    source : Simulated or Trained
        The one that the case was made from.
    case : Case
    folder : path or None
        Where predictions of trained networks are kept. None: nowhere.

    Notes
    -----
    A simulated classifier is right with probability 0.88. In "rare" it is right with 0.2 on samples with the
    attribute and label 1; in "correlation" with 0.2 on those with the attribute and label 0, and with 0.75 on those
    without it and label 1, as if it took the attribute for the disease; in "noisy" with 0.5 on all with the
    attribute. The planted slice is attribute and label 1, attribute and label 0, attribute. The probability of what
    it says is Beta(6, 2), folded to [0.5, 1].
    """
    return source.trial(case, folder)


# Discovery


class Candidates(NamedTuple):
    """What a slicer gives: membership of all samples, best candidate first.

    `labels` is the label within which each candidate is to be confirmed; None for slicers without confirmation.
    """

    membership: np.ndarray
    labels: list[int | None] | None = None


def min_patients(patients: np.ndarray) -> int:
    """Return the patients a candidate must have, as in `mmaudit.audit`: 2 % of those given, 5 to 50."""
    return int(np.clip(round(0.02 * len(pd.unique(patients))), 5, 50))


def split_and_encode(trial: Trial, seed: int) -> tuple[np.ndarray, Features]:
    """Return the mask of the discovery samples, and features learned from them, as `mmaudit.audit` does."""
    (target,) = trial.data.targets(0.5)
    discovery = trial.data.split_mask(FRACTION, balance=target.error, random_state=seed)
    features, _ = encode(
        trial.data,
        fit_on=discovery,
        min_count=min_patients(trial.data.patient_id[discovery]),
        images=trial.images,
        random_state=seed,
        n_jobs=1,
    )
    return discovery, features


def _searched(features, subset, target, discovery, patients, seed) -> Portfolio:
    portfolio = Portfolio(
        N_CANDIDATES, modalities=subset, min_patients=min_patients(patients[discovery]), random_state=seed
    )
    return portfolio.fit(features.take(discovery), [target.take(discovery)], groups=patients[discovery])


def _portfolio(features, subset, target, discovery, patients, seed) -> Candidates:
    """Search as `mmaudit.audit` does."""
    portfolio = _searched(features, subset, target, discovery, patients, seed)
    return Candidates(portfolio.membership(features, [target]), [found.label for found in portfolio.slices_])


def _blind(features, subset, target, discovery, patients, seed) -> Candidates:
    """Search alike, but order members as if every answer were right: what is known of the group, without its errors."""
    portfolio = _searched(features, subset, target, discovery, patients, seed)
    return Candidates(portfolio.membership(features, [replace(target, says=target.y_true == 1)]))


def _domino(features, subset, target, discovery, patients, seed) -> Candidates:
    """Fit Domino's mixture with its settings (arXiv:2203.14960) to the embeddings joined end to end.

    128 principal components, 25 components, weights of 10 for label and prediction, started from the confusion
    matrix; first come the components whose mean prediction is farthest from their mean label. Membership knows the
    label and the prediction too, also of the samples that are scored.
    """
    # float64 as there: more of the many memberships next to 1 can be told apart.
    X, y, proba = _joined(features, subset).astype(np.float64), target.y_true, target.y_proba
    mixture = MixtureSlicer(
        25,
        label_weight=10,
        proba_weight=10,
        n_dimensions=128,
        init="domino",
        prediction_term="log_mean",
        smoothing=0,
        random_state=seed,
    )
    mixture.fit(X[discovery], y[discovery], y_proba=proba[discovery])
    difference = np.abs(mixture.prediction_proba_ - mixture.label_proba_).max(axis=1)
    first = np.argsort(-difference, kind="stable")[:N_CANDIDATES]
    return Candidates(mixture.posterior(X, y, proba)[:, first])


def _mixture(features, subset, target, discovery, patients, seed) -> Candidates:
    """Fit the error-aware mixture with a likelihood term of its own for each modality, reduced by itself."""
    names = [m for m in subset if m in features.embeddings]
    mixture = MixtureSlicer(
        N_CANDIDATES, blocks={m: features.embeddings[m].shape[1] for m in names}, n_dimensions=16, random_state=seed
    )
    X = _joined(features, subset).astype(np.float64)
    mixture.fit(X[discovery], target.y_true[discovery], y_proba=target.y_proba[discovery])
    return Candidates(_by_error_rate(mixture.posterior(X, target.y_true, target.y_proba), target.error, discovery))


def _errors(features, subset, target, discovery, patients, seed) -> Candidates:
    """Name no group at all: the false positives and the false negatives, without a look at images, words or metadata.

    What a slicer scores above this, it knows of the group; membership that counts errors in scores as much for them.
    """
    return Candidates(np.stack([target.error & (target.y_true == label) for label in (0, 1)], axis=1).astype(float))


def _concatenated(features, subset, target, discovery, patients, seed) -> Candidates:
    """Fit the error-aware mixture to the embeddings, each standardised as a whole, joined end to end."""
    X = _joined(features, subset, standardise_on=discovery)
    mixture = MixtureSlicer(N_CANDIDATES, label_weight=10, proba_weight=10, random_state=seed)
    mixture.fit(X[discovery], target.y_true[discovery], y_proba=target.y_proba[discovery])
    return Candidates(_by_error_rate(mixture.transform(X), target.error, discovery))


def _kmeans(features, subset, target, discovery, patients, seed) -> Candidates:
    """Cluster the embeddings, each standardised as a whole; membership is the softmax of the negative distance."""
    X = _joined(features, subset, standardise_on=discovery)
    clusters = KMeans(N_CANDIDATES, n_init=10, random_state=seed).fit(X[discovery])
    return Candidates(_by_error_rate(softmax(-clusters.transform(X), axis=1), target.error, discovery))


def _sliceline(features, subset, target, discovery, patients, seed) -> Candidates:
    """Search conjunctions of predicates with the package sliceline (doi:10.1145/3448016.3457323).

    On the columns that rules may speak of, numbers cut at their quartiles, and with images a column that says which
    of 10 clusters of image embeddings a sample is nearest to.
    """
    Slicefinder = _need_sliceline()
    table = _binned(features.table[features.columns(subset)], discovery)
    if "image" in subset:
        X = _joined(features, ["image"], standardise_on=discovery)
        table["image cluster"] = KMeans(N_CANDIDATES, n_init=10, random_state=seed).fit(X[discovery]).predict(X)
    values = np.column_stack([pd.factorize(table[c])[0] + 1 for c in table.columns])
    finder = Slicefinder(alpha=0.95, k=N_CANDIDATES, max_l=2, min_sup=min_patients(patients[discovery]), verbose=False)
    finder.fit(values[discovery], target.error[discovery].astype(float))
    chosen = finder.top_slices_[:N_CANDIDATES]
    masks = [
        np.logical_and.reduce([values[:, j] == value for j, value in enumerate(found) if value is not None])
        for found in chosen
    ]
    return Candidates(np.array(masks, dtype=np.float32).reshape(len(chosen), len(values)).T)


def _need_sliceline() -> Any:
    try:
        from sliceline.slicefinder import Slicefinder
    except ImportError:
        raise MissingExtraError("the slicer sliceline", "sliceline", "bench") from None
    return Slicefinder


SLICERS: Mapping[str, Callable[..., Candidates]] = {
    "mmaudit": _portfolio,
    "blind": _blind,
    "mixture": _mixture,
    "domino": _domino,
    "concatenated": _concatenated,
    "kmeans": _kmeans,
    "sliceline": _sliceline,
    "errors": _errors,
}


def _joined(features: Features, subset: Sequence[str], *, standardise_on: np.ndarray | None = None) -> np.ndarray:
    """Return the embeddings of a subset end to end; each centred and divided by one number, if asked."""
    parts = []
    for modality in subset:
        X = features.embeddings[modality]
        if standardise_on is not None:
            X = X - X[standardise_on].mean(axis=0)
            X = X / max(float(X[standardise_on].std()), 1e-9)
        parts.append(X)
    return np.concatenate(parts, axis=1)


def _by_error_rate(membership: np.ndarray, error: np.ndarray, discovery: np.ndarray) -> np.ndarray:
    nearest_to = membership[discovery].argmax(axis=1)
    rates = [
        error[discovery][nearest_to == k].mean() if (nearest_to == k).any() else -1 for k in range(membership.shape[1])
    ]
    return membership[:, np.argsort(-np.array(rates), kind="stable")]


def _binned(table: pd.DataFrame, discovery: np.ndarray) -> pd.DataFrame:
    """Return categories: numbers cut at their quartiles in discovery; what is missing is a category of its own."""
    columns = {}
    for name in table.columns:
        values = table[name]
        if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
            edges = np.unique(values[discovery].quantile([0.25, 0.5, 0.75]))
            codes = np.searchsorted(edges, values.to_numpy(dtype=float)).astype(object)
            codes[values.isna().to_numpy()] = "missing"
            columns[name] = codes.astype(str)
        else:
            columns[name] = values.astype(object).where(values.notna(), "missing").astype(str).to_numpy()
    return pd.DataFrame(columns)


# Scores


def score(
    membership: np.ndarray, planted: np.ndarray, held_out: np.ndarray, *, random_state: int = 0
) -> dict[str, float]:
    """Return how well the best of the first ten candidates matches what was planted.

    Parameters
    ----------
    membership : ndarray of shape (n_samples, n_candidates), float
        Best candidate first.
    planted : ndarray of shape (n_samples,), bool
    held_out : ndarray of shape (n_samples,), bool
        Samples that discovery did not see.
    random_state : int
        Seed of the order of samples with equal membership.

    Returns
    -------
    dict of str to float in [0, 1]
        `precision_at_10` and `precision_at_25`: share planted among the 10 or 25 held-out samples with the strongest
        membership. `average_precision`: area under precision against recall, held-out. `precision_at_10_all`: among
        all samples. Each is that of its best candidate; 0 without candidates, NaN where nothing is planted.

    Notes
    -----
    Which candidate is best is known from the truth, as in arXiv:2203.14960: a score says that a matching slice is
    among the ten, not that a user would pick it. Where fewer than 10 or 25 samples are planted, 1 cannot be reached.

    Examples
    --------
    >>> import numpy as np
    >>> planted = np.arange(40) < 10
    >>> score(planted[:, None].astype(float), planted, np.ones(40, dtype=bool))["precision_at_25"]
    0.4
    """
    everyone = np.ones(len(planted), dtype=bool)
    return {
        "precision_at_10": _best_precision(membership, planted, held_out, 10, random_state),
        "precision_at_25": _best_precision(membership, planted, held_out, 25, random_state),
        "average_precision": _best_average_precision(membership[held_out], planted[held_out]),
        "precision_at_10_all": _best_precision(membership, planted, everyone, 10, random_state),
    }


def _best_precision(membership, planted, rows, k: int, random_state: int) -> float:
    planted = planted[rows]
    if not planted.any():
        return np.nan
    drawn = np.random.default_rng([random_state, 13]).permutation(len(planted))
    best = 0.0
    for strength in membership[rows][:, :N_CANDIDATES].T:
        top = np.lexsort((drawn, -strength))[:k]
        best = max(best, float(planted[top].mean()))
    return best


def _best_average_precision(membership, planted) -> float:
    if not planted.any():
        return np.nan
    return max((float(average_precision_score(planted, m)) for m in membership[:, :N_CANDIDATES].T), default=0.0)


def _confirmed(candidates: Candidates, target: Target, patients, planted, held_out, seed: int) -> dict[str, Any]:
    """Return what confirmation on the held-out patients leaves: findings, and whether one is what was planted."""
    assert candidates.labels is not None
    inside = candidates.membership[held_out] >= 0.5
    comparisons = [(0, label) for label in candidates.labels]
    numbers = confirm(inside, comparisons, [target.take(held_out)], patients[held_out], random_state=seed)
    found = inside[:, numbers["confirmed"].to_numpy(dtype=bool)]
    truth = planted[held_out]
    either = (found | truth[:, None]).sum(axis=0)
    match = (found & truth[:, None]).sum(axis=0) / np.maximum(either, 1)
    return {
        "n_findings": found.shape[1],
        "any_finding": float(found.shape[1] > 0),
        "recovered": float((match >= 0.5).any()) if truth.any() else np.nan,
    }


# Runs


def run(
    cases: Sequence[Case],
    *,
    sources: Sequence[Source],
    out: str | Path,
    subsets: Sequence[Sequence[str]] = SUBSETS,
    slicers: Sequence[str] = DEFAULT_SLICERS,
    confirmed: bool = True,
    n_jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Return the scores of all slicers on all cases, one row a case, subset and slicer; kept in `out` as they come.

    Parameters
    ----------
    cases : sequence of Case
    sources : sequence of Simulated or Trained
        Those the cases were made from.
    out : path
        Folder, made if it is not there. `rows` holds a file for each case, written when the case is done: run again
        with the same code and data, only what is missing is computed. `benchmark.parquet`, `table.md` and
        `benchmark.png` are written at the end.
    subsets : sequence of sequence of {"image", "report", "metadata"}
        Those that a source lacks are left out for its cases.
    slicers : sequence of {"mmaudit", "blind", "mixture", "domino", "concatenated", "kmeans", "sliceline", "errors"}
    confirmed : bool
        Confirm the candidates of "mmaudit" as an audit does. False: `n_findings`, `any_finding` and `recovered` stay
        NaN, which takes about two thirds of the time.
    n_jobs : int
        Processes; each uses one thread.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    DataFrame
        Columns: those of `Case`; `tag`; `modalities`, joined by "+"; `slicer`; those of `score`; `chance`, the share
        planted of the held-out samples; `n_planted`, held-out; `n_candidates`; `seconds` of the fit; and for the
        slicer "mmaudit" `n_findings`, `any_finding` and `recovered`: whether a confirmed finding's held-out members
        have a Jaccard index of 0.5 or more with the planted held-out samples. Cases of the scenario "null" have rows
        for that slicer only.

    Notes
    -----
    Slicers differ in what their membership knows of a held-out sample, each as it is meant to be used. That of
    "mmaudit" knows its label, since candidates are compared within a label; that of "domino" its label and its
    prediction; the others neither. Knowing the label helps where what is planted is within one.

    Raises
    ------
    InputError
        No cases; an unknown slicer or modality; a case whose source is not given.
    MissingExtraError
        The slicer "sliceline" without that package.
    """
    by_name = {source.name: source for source in sources}
    check_settings(slicers=slicers, subsets=subsets, n_jobs=n_jobs)
    subsets = [tuple(m for m in MODALITIES if m in subset) for subset in subsets]
    if not cases:
        raise InputError("cases", "at least one case", "none", "Take more scenarios, or another source.")
    absent = sorted({case.source for case in cases} - set(by_name))
    if absent:
        raise InputError("sources", "the source of every case", f"none called {absent[0]!r}", "Give it too.")
    out = Path(out)
    (out / "rows").mkdir(parents=True, exist_ok=True)
    asked = "" if confirmed else " not confirmed"
    keys = {source.name: f"{_code_key()} {source.fingerprint}{asked}" for source in sources}
    work = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(
        joblib.delayed(_run_case)(by_name[case.source], case, subsets, slicers, confirmed, out, keys[case.source])
        for case in cases
    )
    bar = tqdm(work, total=len(cases), desc="benchmark", unit="case", disable=not progress, leave=False)
    frames = [frame for frame in bar if len(frame)]
    if not frames:
        raise InputError("subsets", "modalities that the sources have", "none of them", "Take other subsets.")
    frame = pd.concat(frames, ignore_index=True)
    _write_parquet(frame, out / "benchmark.parquet")
    summary = summarise(frame)
    _write_text(out / "table.md", to_markdown(summary))
    with replacing(out / "benchmark.png") as partial:
        plot(summary).savefig(partial, format="png", dpi=150)
    return frame


def _run_case(source: Source, case: Case, subsets, slicers, confirmed: bool, out: Path, key: str) -> pd.DataFrame:
    """Return the rows of a case, read where they are there and computed where they are not."""
    wanted = [
        (slicer, subset)
        for subset in subsets
        for slicer in slicers
        if set(subset) <= set(source.modalities) and (case.scenario != "null" or slicer == "mmaudit")
    ]
    path = out / "rows" / f"{_digest(asdict(case), key):032x}.parquet"
    try:
        kept = read_parquet(path).to_dict("records")
        rows = {(row["slicer"], row["modalities"]): row for row in kept}
    except (OSError, ValueError, KeyError):  # not there, or damaged: computed anew
        rows = {}
    missing = [(slicer, subset) for slicer, subset in wanted if (slicer, "+".join(subset)) not in rows]
    if missing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AuditWarning)
            warnings.simplefilter("ignore", ConvergenceWarning)
            for row in _compute(source, case, missing, confirmed, out):
                rows[row["slicer"], row["modalities"]] = row
        _write_parquet(pd.DataFrame(rows.values()), path)
    return pd.DataFrame([rows[slicer, "+".join(subset)] for slicer, subset in wanted])


def _compute(source: Source, case: Case, wanted, confirmed: bool, out: Path) -> list[dict[str, Any]]:
    trial = simulate(source, case, folder=out)
    # Small fits lose more to handing work from thread to thread than they gain; training, above, does not.
    with threadpool_limits(1):
        return _score_all(trial, case, source.tag(case), wanted, confirmed)


def _score_all(trial: Trial, case: Case, tag: str, wanted, confirmed: bool) -> list[dict[str, Any]]:
    discovery, features = split_and_encode(trial, case.seed)
    (target,) = trial.data.targets(0.5)
    patients, held_out = trial.data.patient_id, ~discovery
    rows = []
    for slicer, subset in wanted:
        start = time.perf_counter()
        candidates = SLICERS[slicer](features, subset, target, discovery, patients, case.seed)
        seconds = time.perf_counter() - start
        row = asdict(case) | {"tag": tag, "modalities": "+".join(subset), "slicer": slicer}
        row |= score(candidates.membership, trial.planted, held_out, random_state=case.seed)
        row |= {
            "chance": float(trial.planted[held_out].mean()),
            "n_planted": int(trial.planted[held_out].sum()),
            "n_candidates": candidates.membership.shape[1],
            "seconds": seconds,
            "n_findings": np.nan,
            "any_finding": np.nan,
            "recovered": np.nan,
        }
        if confirmed and candidates.labels is not None:
            row |= _confirmed(candidates, target, patients, trial.planted, held_out, case.seed)
        rows.append(row)
    return rows


# Tables and figure


def summarise(frame: pd.DataFrame, *, random_state: int = 0) -> pd.DataFrame:
    """Return means and 95 % intervals over cases, one row a source, tag, scenario, subset and slicer.

    Parameters
    ----------
    frame : DataFrame
        What `run` returns.
    random_state : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        Columns `source`, `tag`, `scenario`, `modalities`, `slicer`, `n_cases`, `n_attributes`, `chance`, `seconds`
        (means), and of each score its mean and the ends of its interval, such as `precision_at_10_low`. NaN where a
        score does not apply. A source of several tags has rows of all together too, with the tag "all".

    Notes
    -----
    Percentile bootstrap. Whole attributes are drawn, with all of their cases, since the cases of one attribute are
    alike; where there is one attribute only, single cases are, and the interval says nothing of other attributes.
    """
    order = ["source", "tag", "scenario", "modalities", "slicer"]
    ranks = {
        "scenario": SCENARIOS,
        "modalities": ["+".join(subset) for subset in SUBSETS],
        "slicer": list(SLICERS),
        "tag": [ALL_TAGS, "written", "picture", "picture-new", ""],
    }
    planted = frame[frame["scenario"] != "null"]
    several = planted.groupby("source")["tag"].transform("nunique") > 1
    frame = pd.concat([planted[several].assign(tag=ALL_TAGS), frame])
    rows = []
    for names, group in frame.groupby(order, sort=True):
        row = dict(zip(order, names, strict=True))
        row |= {"n_cases": len(group), "n_attributes": group["attribute"].nunique()}
        row |= {"chance": group["chance"].mean(), "seconds": group["seconds"].mean()}
        clusters = group["attribute"] if row["n_attributes"] > 1 else group["seed"]
        for metric in METRICS:
            low, high = _interval(group[metric].to_numpy(dtype=float), clusters.to_numpy(), random_state)
            row |= {metric: group[metric].mean(), f"{metric}_low": low, f"{metric}_high": high}
        rows.append(row)
    return (
        pd.DataFrame(rows)
        .sort_values(order, key=lambda c: c.map({v: i for i, v in enumerate(ranks[c.name])}) if c.name in ranks else c)
        .reset_index(drop=True)
    )


def differences(
    frame: pd.DataFrame,
    first: Sequence[str],
    second: Sequence[str],
    *,
    metric: str = "precision_at_10",
    random_state: int = 0,
) -> pd.DataFrame:
    """Return how much better one subset of the modalities does than another on the same cases.

    Parameters
    ----------
    frame : DataFrame
        What `run` returns, with rows of both subsets.
    first, second : sequence of {"image", "report", "metadata"}
        The score of the second is taken from that of the first, case by case.
    metric : str
        A column of scores.
    random_state : int
        Seed of the resamples.

    Returns
    -------
    DataFrame
        One row a source, slicer and scenario, and one with the scenario "all" over all that are planted: `n_cases`,
        `n_attributes`, `difference` (mean), `low` and `high`, its 95 % interval, drawn as in `summarise`.

    Raises
    ------
    InputError
        No case has the metric with both subsets.

    Examples
    --------
    >>> import pandas as pd
    >>> from mmaudit.benchmark import differences
    >>> rows = [("image", 0.5), ("report", 0.7)]
    >>> frame = pd.DataFrame(rows, columns=["modalities", "precision_at_10"])
    >>> frame[["source", "slicer", "scenario", "attribute", "seed"]] = ["mine", "mmaudit", "rare", "view = AP", 0]
    >>> differences(frame, ["report"], ["image"])["difference"].round(2).tolist()
    [0.2, 0.2]
    """
    case = ["source", "slicer", "scenario", "attribute", "seed"]
    names = ["+".join(m for m in MODALITIES if m in subset) for subset in (first, second)]
    of_first, of_second = (frame[frame["modalities"] == name].set_index(case)[metric] for name in names)
    apart = (of_first - of_second).dropna().rename("difference").reset_index()
    apart = apart[apart["scenario"] != "null"]
    if apart.empty:
        raise InputError("frame", f"cases scored with {names[0]} and with {names[1]}", "none", "Run both subsets.")
    apart = pd.concat([apart, apart.assign(scenario="all")])
    order = {name: rank for rank, name in enumerate((*SCENARIOS, "all"))}
    rows = []
    for (source, slicer, scenario), group in apart.groupby(case[:3], sort=False):
        values, n_attributes = group["difference"].to_numpy(), group["attribute"].nunique()
        low, high = _interval(values, group["attribute" if n_attributes > 1 else "seed"].to_numpy(), random_state)
        row = {"source": source, "slicer": slicer, "scenario": scenario, "n_cases": len(group)}
        rows.append(row | {"n_attributes": n_attributes, "difference": values.mean(), "low": low, "high": high})
    by = ["source", "slicer", "scenario"]
    table = pd.DataFrame(rows).sort_values(by, key=lambda c: c.map(order) if c.name == "scenario" else c)
    return table.reset_index(drop=True)


def _interval(values: np.ndarray, clusters: np.ndarray, random_state: int) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % points of the mean of `values` when whole clusters are drawn again."""
    known = np.isfinite(values)
    if not known.any():
        return np.nan, np.nan
    codes = np.unique(clusters[known].astype(str), return_inverse=True)[1]
    sums, sizes = np.bincount(codes, weights=values[known]), np.bincount(codes)
    drawn = np.random.default_rng([random_state, 17]).integers(len(sums), size=(N_BOOTSTRAPS, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def to_markdown(summary: pd.DataFrame) -> str:
    """Return a summary as Markdown: for each source and tag a table of precision at 10, and what was confirmed.

    Parameters
    ----------
    summary : DataFrame
        What `summarise` returns.
    """
    lines = [
        "# Benchmark",
        "",
        "Precision at 10 on held-out patients, the best of ten candidates: mean over cases and 95 % interval over",
        "attributes (over seeds where there is one attribute). Chance: the share of held-out samples that is planted.",
        "How strong a member is depends on label and prediction in mmaudit, mixture and domino; errors is nothing but",
        "the wrong ones, without a look at the group; concatenated, kmeans and sliceline know neither, blind (mmaudit",
        "without the predictions of the samples that are scored) the label only.",
    ]
    for (source, tag), part in summary.groupby(["source", "tag"], sort=False):
        planted = part[part["scenario"] != "null"]
        if len(planted):
            slicers = list(dict.fromkeys(planted["slicer"]))
            lines += ["", f"## {source}{', ' if tag else ''}{tag}", ""]
            rows = []
            for (scenario, modalities), group in planted.groupby(["scenario", "modalities"], sort=False):
                cells = group.set_index("slicer")
                numbers = [_cell(cells.loc[name], "precision_at_10") if name in cells.index else "" for name in slicers]
                first = group.iloc[0]
                n = f"{first['n_cases']} ({first['n_attributes']})"
                rows.append([scenario, modalities, n, f"{first['chance']:.2f}", *numbers])
            lines += _table(["scenario", "modalities", "cases (attributes)", "chance", *slicers], rows)
        confirmed = part[part["any_finding"].notna()]
        if len(confirmed):
            lines += ["", f"## {source}{', ' if tag else ''}{tag}: after confirmation", ""]
            rows = [
                [r["scenario"], r["modalities"], str(r["n_cases"]), _cell(r, "any_finding"), _cell(r, "recovered")]
                for _, r in confirmed.iterrows()
            ]
            lines += _table(["scenario", "modalities", "cases", "audits with a finding", "planted slice found"], rows)
    return "\n".join(lines) + "\n"


def _cell(row: pd.Series, metric: str) -> str:
    if not np.isfinite(row[metric]):
        return ""
    return f"{row[metric]:.2f} ({row[metric + '_low']:.2f} to {row[metric + '_high']:.2f})"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def plot(summary: pd.DataFrame) -> Figure:
    """Return a figure of precision at 10: a column of panels for each scenario, a row for each source and tag.

    Parameters
    ----------
    summary : DataFrame
        What `summarise` returns. `ALT_TEXT` says in words what the figure shows.
    """
    from matplotlib.figure import Figure

    planted = summary[summary["scenario"] != "null"]
    columns = [name for name in SCENARIOS if (planted["scenario"] == name).any()] or ["rare"]
    rows = list(dict.fromkeys(zip(planted["source"], planted["tag"], strict=True))) or [("", "")]
    names = ["+".join(s) for s in SUBSETS if (planted["modalities"] == "+".join(s)).any()]
    slicers = [name for name in SLICERS if (planted["slicer"] == name).any()]
    figure = Figure(
        figsize=(1.5 + 0.55 * max(4, len(names)) * len(columns), 1.6 + 2.3 * len(rows)), layout="constrained"
    )
    grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    for down, (source, tag) in enumerate(rows):
        for across, scenario in enumerate(columns):
            axes = grid[down, across]
            of_panel = planted[
                (planted["source"] == source) & (planted["tag"] == tag) & (planted["scenario"] == scenario)
            ]
            _draw_panel(axes, of_panel, names, slicers)
            if down == 0:
                axes.set_title(scenario, fontsize="medium")
            if across == 0:
                axes.set_ylabel(
                    f"{source}{', ' if tag else ''}{tag}\nprecision at 10" if source else "precision at 10",
                    fontsize="small",
                )
    handles = {
        label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    shown = [name for name in (*slicers, "chance") if name in handles]
    if shown:
        figure.legend(
            [handles[name] for name in shown],
            shown,
            loc="outside lower center",
            ncols=6,
            frameon=False,
            fontsize="small",
        )
    return figure


def _draw_panel(axes: Axes, rows: pd.DataFrame, names: list[str], slicers: list[str]) -> None:
    for k, slicer in enumerate(slicers):
        own = rows[rows["slicer"] == slicer]
        colour, marker = STYLES[slicer]
        mean = own["precision_at_10"]
        axes.errorbar(
            [names.index(m) + 0.13 * (k - (len(slicers) - 1) / 2) for m in own["modalities"]],
            mean,
            # A mean may lie beyond its percentile interval by rounding alone.
            yerr=np.maximum([mean - own["precision_at_10_low"], own["precision_at_10_high"] - mean], 0),
            fmt=marker,
            color=colour,
            markersize=5,
            linewidth=1.4,
            label=slicer,
        )
    if len(rows):
        axes.axhline(rows["chance"].mean(), color="#5c6670", linewidth=1, linestyle="--", label="chance", zorder=1)
    axes.set_ylim(0, 1.02)
    axes.set_xticks(range(len(names)), [name.replace("+", "\n+ ") for name in names])
    axes.tick_params(labelsize="x-small")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.yaxis.grid(True, color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)


# Small things


def _digest(*parts: Any) -> int:
    text = json.dumps(parts, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


@cache
def _code_key(*below: str) -> str:
    """Return a hash of versions and source: of some modules and folders of the package, or of all that scores need."""
    here = Path(__file__).parent
    roots = [here / name for name in below] or [path for path in here.iterdir() if path.name not in AFTER_SCORES]
    files = {path for root in roots for path in (root.rglob("*.py") if root.is_dir() else [root])}
    known = hashlib.sha256(f"{__version__} {np.__version__} {sklearn.__version__}".encode())
    for path in sorted(files):
        if path.suffix == ".py":
            known.update(path.read_bytes())
    return known.hexdigest()


def _kept_predictions(path: Path, test: AuditData) -> AuditData | None:
    """Return the data with the predictions of an earlier run; None where there are none, or the file is damaged."""
    try:
        kept = read_parquet(path).set_index("sample_id")["y_proba"]
        return test.with_predictions(kept.loc[test.sample_id].to_numpy())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        frame.to_parquet(partial, index=False)
