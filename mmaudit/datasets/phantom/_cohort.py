"""The course of the phantom patients: who they are, what they fall ill with, how and where they are imaged.

Each patient has random streams of their own, so that a change to one stream leaves the others as they are, and the
first patients of a larger cohort are those of a smaller one. The frequencies are plausible, not estimated from a
hospital; what matters is which things go together: a supine film is one of a patient in intensive care, who has more
devices; heart failure brings a large heart, oedema and effusions on both sides; a pneumothorax brings a chest tube.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, ndtri

from mmaudit.datasets.phantom._record import DEVICES, FINDINGS, SITES, Body, Device, Film, Finding, Study
from mmaudit.datasets.phantom._report import Report, write_report

__all__ = ["ATTRIBUTES", "ERROR_ELSE", "ERROR_SUPINE", "ERROR_TUBE", "METADATA", "Case", "cohort", "table"]

METADATA = ("view", "portable", "setting", "site", "scanner", "sex", "age", "bmi")
ERROR_SUPINE, ERROR_TUBE, ERROR_ELSE = 0.55, 0.50, 0.04  # chances that the simulated reader is wrong

_BODY, _COURSE, _FILMS, _REPORT, _READER, _PIXELS = range(6)  # random streams


@dataclass(frozen=True)
class Setting:
    """A way of being a patient. Chances are per study, of a new onset where the finding was not there before."""

    share: float  # of the patients
    age: tuple[float, float]  # mean and standard deviation, years
    n_studies: tuple[float, ...]  # chances of 1, 2, ... 8
    days: tuple[int, int]  # between studies
    keeps: float  # chance that an acute finding of the last study is still there
    views: dict[tuple[str, ...], float]
    portable: float  # chance, where the film is no PA
    repeat: float  # chance that a film is taken once more
    onset: dict[str, float]
    edema_if_failing: float
    devices: dict[str, float]


SETTINGS = {
    "outpatient": Setting(
        share=0.40,
        age=(56, 17),
        n_studies=(0.42, 0.28, 0.14, 0.08, 0.04, 0.02, 0.01, 0.01),
        days=(40, 300),
        keeps=0.25,
        views={("PA", "lateral"): 0.78, ("PA",): 0.19, ("AP",): 0.03},
        portable=0.0,
        repeat=0.03,
        onset={"pleural effusion": 0.11, "atelectasis": 0.05, "consolidation": 0.06, "pneumothorax": 0.01,
               "edema": 0.01, "fracture": 0.01},
        edema_if_failing=0.12,
        devices={"ECG leads": 0.01, "central line": 0.03, "chest tube": 0.0, "endotracheal tube": 0.0},
    ),
    "emergency": Setting(
        share=0.27,
        age=(58, 19),
        n_studies=(0.32, 0.28, 0.18, 0.10, 0.06, 0.03, 0.02, 0.01),
        days=(4, 150),
        keeps=0.45,
        views={("PA", "lateral"): 0.36, ("PA",): 0.06, ("AP",): 0.36, ("AP supine",): 0.22},
        portable=0.65,
        repeat=0.06,
        onset={"pleural effusion": 0.17, "atelectasis": 0.10, "consolidation": 0.18, "pneumothorax": 0.05,
               "edema": 0.04, "fracture": 0.06},
        edema_if_failing=0.40,
        devices={"ECG leads": 0.45, "central line": 0.08, "chest tube": 0.04, "endotracheal tube": 0.07},
    ),
    "ICU": Setting(
        share=0.33,
        age=(65, 13),
        n_studies=(0.18, 0.20, 0.18, 0.15, 0.11, 0.08, 0.06, 0.04),
        days=(1, 4),
        keeps=0.78,
        views={("AP",): 0.42, ("AP supine",): 0.58},
        portable=0.98,
        repeat=0.10,
        onset={"pleural effusion": 0.30, "atelectasis": 0.28, "consolidation": 0.18, "pneumothorax": 0.06,
               "edema": 0.10, "fracture": 0.03},
        edema_if_failing=0.45,
        devices={"ECG leads": 0.78, "central line": 0.55, "chest tube": 0.20, "endotracheal tube": 0.45},
    ),
}  # fmt: skip
MISPLACED = {"endotracheal tube": 0.08, "nasogastric tube": 0.10, "central line": 0.06}
AUTHORS = {"North": (0, 1, 2, 6), "Harbour": (3, 4, 7), "Hill": (5,)}  # who reports where; others stand in
STANDS_IN = 0.15
_NO_BMI = 0.10  # share of the patients of whom no weight is recorded
# By view: inspiration (mean, standard deviation), and standard deviations of yaw, tilt (degrees), shift (cm), exposure.
_POSING = {
    "PA": (0.85, 0.08, 1.8, 0.9, 0.5, 0.5),
    "lateral": (0.85, 0.08, 2.5, 1.5, 0.7, 0.6),
    "AP": (0.66, 0.12, 4.5, 2.5, 1.2, 0.9),
    "AP supine": (0.52, 0.13, 5.0, 3.0, 1.5, 1.0),
}


@dataclass
class _State:
    """What a patient has now; sizes in (0, 1] by side."""

    effusion: dict[str, float] = field(default_factory=dict)
    pneumothorax: dict[str, float] = field(default_factory=dict)
    consolidation: tuple[Finding, ...] = ()
    atelectasis: tuple[Finding, ...] = ()
    edema: float = 0.0
    fracture: tuple[Finding, ...] = ()
    fracture_day: int = 0
    drained: str = ""  # the side of an effusion or a pneumothorax that is gone while the tube is still there


@dataclass(frozen=True)
class _Chronic:
    """What stays with a patient."""

    home: str
    site: str
    failing: bool  # heart failure
    tumour: bool
    heart: Finding | None
    nodule: Finding | None
    devices: tuple[Device, ...]


@dataclass(frozen=True)
class Case:
    """One film with all that belongs to it."""

    patient: int
    study: Study
    film: Film
    report: Report
    image_number: int  # within the study, from 1


def cohort(n_patients: int, seed: int, label: str) -> Iterator[Case]:
    """Yield the films of all patients, patient by patient, study by study.

    `label` matters for the first two patients only: the first film of patient 0 has that finding, the first of
    patient 1 has not, so that the smallest cohort has both classes.
    """
    for patient in range(n_patients):
        chronic, body = _patient(seed, patient)
        authors = np.random.default_rng([seed, patient, _REPORT])
        films = np.random.default_rng([seed, patient, _FILMS])
        forced = {0: True, 1: False}.get(patient)
        for study in _studies(seed, patient, chronic, body, label, forced):
            report = write_report(study, authors)
            scanners = SITES[study.site].mobile if study.portable else SITES[study.site].fixed
            scanner = str(films.choice(scanners))
            for number, view in enumerate(study.views):
                key = (seed, patient, _PIXELS, study.number, number)
                yield Case(patient, study, _film(study, view, scanner, key, films), report, number + 1)


def _film(study: Study, view: str, scanner: str, key: tuple[int, ...], rng: np.random.Generator) -> Film:
    mean, spread, yaw, tilt, shift, exposure = _POSING[view]
    luck = [float(v) for v in rng.standard_normal(6).clip(-2.5, 2.5)]
    return Film(
        body=study.body,
        view=view,
        portable=study.portable,
        site=study.site,
        scanner=scanner,
        findings=study.findings,
        devices=study.devices,
        inspiration=min(max(mean + spread * luck[0], 0.15), 1.0),
        yaw_deg=yaw * luck[1],
        tilt_deg=tilt * luck[2],
        shift_cm=(shift * luck[3], shift * luck[4]),
        exposure=exposure * luck[5],
        seed=key,
    )


# --- Patients ---------------------------------------------------------------------------------------------------


def _patient(seed: int, patient: int) -> tuple[_Chronic, Body]:
    rng = np.random.default_rng([seed, patient, _BODY])
    home = _pick(rng, {name: setting.share for name, setting in SETTINGS.items()})
    site = _pick(rng, {name: place.share for name, place in SITES.items()})
    female = rng.random() < 0.48
    mean, spread = SETTINGS[home].age
    age = float(np.clip(np.rint(rng.normal(mean, spread)), 18, 95))
    scores = [float(v) for v in rng.standard_normal(5).clip(-2.3, 2.3)]
    body = Body(
        sex="F" if female else "M",
        age=age,
        height_cm=round(float(rng.normal(163, 6.5) if female else rng.normal(176, 7)), 1),
        bmi=round(float(np.clip(18 + rng.gamma(3.2, 3.0), 16, 45)), 1),
        chest_width=scores[0],
        chest_depth=scores[1],
        lung_height=scores[2],
        heart_size=scores[3],
        rib_slope=scores[4],
        seed=(seed, patient, _PIXELS),
    )
    failing = rng.random() < expit(-3.0 + 0.05 * (age - 50) + 0.6 * (home == "ICU"))
    tumour = rng.random() < 0.07
    large = rng.random() < (0.75 if failing else 0.05 + 0.08 * (age > 75))
    heart = Finding("cardiomegaly", "", float(rng.uniform(0.2, 1.0))) if large else None
    lump = rng.random() < (0.6 if tumour else 0.045)
    nodule = Finding("nodule", _side(rng), float(rng.uniform(0.15, 0.7)), _zone(rng), _spot(rng)) if lump else None
    surgery = rng.random() < 0.02 + 0.10 * (age > 55) + 0.10 * failing
    devices = [Device("sternal wires", "", _spot(rng))] if surgery else []
    if rng.random() < (0.6 if surgery else 0.05 + 0.04 * female):
        devices.append(Device("surgical clips", "left" if surgery else _side(rng), _spot(rng)))
    if rng.random() < 0.01 + 0.06 * (age > 65) + 0.15 * failing:
        devices.append(Device("pacemaker", "left" if rng.random() < 0.8 else "right", _spot(rng)))
    return _Chronic(home, site, failing, tumour, heart, nodule, tuple(devices)), body


def _studies(
    seed: int, patient: int, chronic: _Chronic, body: Body, label: str, forced: bool | None
) -> Iterator[Study]:
    rng = np.random.default_rng([seed, patient, _COURSE])
    state, nodule = _State(), chronic.nodule
    previous: Study | None = None
    day = 0
    home = SETTINGS[chronic.home]
    n_studies = 1 + int(rng.choice(len(home.n_studies), p=home.n_studies))
    for number in range(n_studies):
        name = chronic.home if rng.random() < 0.82 else _pick(rng, {k: s.share for k, s in SETTINGS.items()})
        setting = SETTINGS[name]
        if number:
            day += int(rng.integers(home.days[0], home.days[1] + 1))
        _evolve(state, rng, setting, chronic, day, first=number == 0)
        if nodule is not None and number:
            nodule = replace(nodule, size=min(1.0, nodule.size * (1.0 + 0.06 * chronic.tumour * rng.random())))
        findings = _findings(state, chronic, nodule)
        if number == 0 and forced is not None:
            findings = _forced(findings, label, forced, rng, state)
        devices = _devices(state, rng, setting, chronic, previous)
        views = _views(rng, setting)
        upright_room = views[0] in ("PA", "lateral")
        study = Study(
            body=body,
            number=number,
            day=day,
            setting=name,
            site=chronic.site,
            portable=not upright_room and bool(rng.random() < setting.portable),
            views=views,
            reason=_reason(rng, name, state, devices, previous, chronic),
            findings=findings,
            devices=devices,
            previous=previous,
            author=_author(rng, chronic.site),
        )
        yield study
        previous = study


def _evolve(
    state: _State, rng: np.random.Generator, setting: Setting, chronic: _Chronic, day: int, *, first: bool
) -> None:
    """Let acute findings persist, change size or go, and new ones come."""
    state.drained = ""

    def stays(size: float) -> float:
        """Return the size of a finding at this study, 0 if it is gone."""
        if first or rng.random() >= setting.keeps:
            return 0.0
        return float(np.clip(size * rng.uniform(0.6, 1.5), 0.15, 1.0))

    for sides in (state.effusion, state.pneumothorax):
        for side in list(sides):
            size = stays(sides.pop(side))
            if size:
                sides[side] = size
            else:
                state.drained = side
    state.consolidation = tuple(replace(f, size=s) for f in state.consolidation if (s := stays(f.size)))
    state.atelectasis = tuple(replace(f, size=s) for f in state.atelectasis if (s := stays(f.size)))
    state.edema = stays(state.edema) if state.edema else 0.0
    if state.fracture and day - state.fracture_day > 90:
        state.fracture = ()  # healed

    onset = setting.onset
    if not state.edema and rng.random() < (setting.edema_if_failing if chronic.failing else onset["edema"]):
        state.edema = float(rng.uniform(0.2, 1.0))
    if not state.consolidation and rng.random() < onset["consolidation"]:
        n = 2 if rng.random() < 0.25 else 1
        state.consolidation = tuple(
            Finding("consolidation", _side(rng), float(rng.uniform(0.25, 1.0)), _zone(rng, low=True), _spot(rng))
            for _ in range(n)
        )
    chance = onset["pleural effusion"] + 0.25 * (state.edema > 0) + 0.15 * chronic.tumour
    if not state.effusion and rng.random() < min(chance, 0.8):
        both = rng.random() < (0.6 if state.edema else 0.2)
        size = float(np.clip(rng.beta(1.6, 2.0), 0.15, 1.0))
        state.effusion = {s: float(np.clip(size * rng.uniform(0.7, 1.3), 0.15, 1.0)) for s in ("left", "right")}
        if not both:
            state.effusion.pop(_side(rng))
    for f in state.consolidation:  # a pneumonia has an effusion beside it every fifth time
        if f.zone == "lower" and f.side not in state.effusion and rng.random() < 0.2:
            state.effusion[f.side] = float(rng.uniform(0.15, 0.45))
    if not state.atelectasis and rng.random() < onset["atelectasis"] + 0.10 * bool(state.effusion):
        state.atelectasis = (
            Finding(
                "atelectasis", _side(rng), float(rng.beta(1.3, 2.2)) * 0.95 + 0.05, _zone(rng, low=True), _spot(rng)
            ),
        )
    trauma = not state.fracture and rng.random() < onset["fracture"]
    if trauma:
        side = _side(rng)
        n = 1 + int(rng.integers(3))
        state.fracture = tuple(
            Finding("fracture", side, float(rng.uniform(0.3, 1.0)), str(rng.choice(["middle", "lower"])), _spot(rng))
            for _ in range(n)
        )
        state.fracture_day = day
    if not state.pneumothorax and rng.random() < onset["pneumothorax"] + 0.25 * trauma:
        side = state.fracture[0].side if trauma else _side(rng)
        state.pneumothorax = {side: float(np.clip(rng.beta(1.6, 2.6), 0.15, 1.0))}
    for side in state.pneumothorax:  # one or the other in a pleural space; both at once are not drawn
        state.effusion.pop(side, None)


def _findings(state: _State, chronic: _Chronic, nodule: Finding | None) -> tuple[Finding, ...]:
    found = [Finding("pleural effusion", side, size) for side, size in sorted(state.effusion.items())]
    found += [] if chronic.heart is None else [chronic.heart]
    found += [*state.atelectasis, *state.consolidation]
    found += [Finding("pneumothorax", side, size) for side, size in sorted(state.pneumothorax.items())]
    found += [Finding("edema", "", state.edema)] if state.edema else []
    found += [] if nodule is None else [nodule]
    return (*found, *state.fracture)


def _forced(
    findings: tuple[Finding, ...], label: str, present: bool, rng: np.random.Generator, state: _State
) -> tuple[Finding, ...]:
    """Return the findings with or without `label`, and keep the state in step where it is an effusion."""
    if any(f.kind == label for f in findings) == present:
        return findings
    if not present:
        state.effusion = {} if label == "pleural effusion" else state.effusion
        return tuple(f for f in findings if f.kind != label)
    side = "" if label in ("cardiomegaly", "edema") else _side(rng)
    zone = "lower" if label in ("atelectasis", "consolidation", "nodule", "fracture") else ""
    if label == "pneumothorax":
        findings = tuple(f for f in findings if f.kind != "pleural effusion")
    if label == "pleural effusion":
        state.effusion = {side: 0.5}
        findings = tuple(f for f in findings if f.kind != "pneumothorax")
        state.pneumothorax = {}
    order = {kind: i for i, kind in enumerate(FINDINGS)}
    return tuple(sorted((*findings, Finding(label, side, 0.5, zone)), key=lambda f: order[f.kind]))


def _devices(
    state: _State, rng: np.random.Generator, setting: Setting, chronic: _Chronic, previous: Study | None
) -> tuple[Device, ...]:
    had = {d.kind: d for d in previous.devices} if previous is not None else {}

    def device(kind: str, side: str) -> Device:
        old = had.get(kind)
        if old is not None and (side == "" or old.side == side):
            return old  # the same device stays where it is
        return Device(kind, side, _spot(rng), bool(rng.random() < MISPLACED.get(kind, 0.0)))

    placed = []
    p = dict(setting.devices)
    sick = p["endotracheal tube"] > 0
    drainable = [*state.pneumothorax, *(s for s, size in state.effusion.items() if size > 0.55)]
    tube_side = drainable[0] if drainable else state.drained or _side(rng)
    chance = p["chest tube"] + sick * (0.45 * bool(state.pneumothorax) + 0.15 * bool(drainable))
    chance += 0.40 * sick * (bool(state.drained) and "chest tube" in had)
    luck = rng.random(5)
    if luck[0] < chance:
        placed.append(device("chest tube", tube_side))
    tubed = luck[1] < p["endotracheal tube"]
    if tubed:
        placed.append(device("endotracheal tube", ""))
    if luck[2] < p["central line"] + 0.3 * tubed:
        old = had.get("central line")
        placed.append(device("central line", old.side if old else "right" if rng.random() < 0.75 else "left"))
    if luck[3] < (0.85 if tubed else 0.08 * sick):
        placed.append(device("nasogastric tube", ""))
    placed += [d for d in chronic.devices if d.kind in ("pacemaker", "sternal wires")]
    if luck[4] < p["ECG leads"]:
        placed.append(device("ECG leads", ""))
    placed += [d for d in chronic.devices if d.kind == "surgical clips"]
    return tuple(placed)


def _views(rng: np.random.Generator, setting: Setting) -> tuple[str, ...]:
    names = list(setting.views)
    views = names[int(rng.choice(len(names), p=list(setting.views.values())))]
    while len(views) < 3 and rng.random() < setting.repeat:
        views = (*views, views[int(rng.integers(len(views)))])
    return views


def _reason(
    rng: np.random.Generator,
    setting: str,
    state: _State,
    devices: tuple[Device, ...],
    previous: Study | None,
    chronic: _Chronic,
) -> str:
    """Return why the study was asked for: what the patient has makes some reasons likelier, none certain."""
    new = {d.kind for d in devices} - ({d.kind for d in previous.devices} if previous is not None else set())
    weights = {"shortness of breath": 1.0, "chest pain": 0.6, "cough and fever": 0.7, "routine": 0.4}
    if setting == "outpatient":
        weights |= {"routine": 1.2, "preoperative": 0.7}
    if setting == "ICU":
        weights = {"shortness of breath": 0.6, "cough and fever": 0.4, "routine": 1.0, "postoperative": 0.5}
    weights["cough and fever"] += 1.5 * bool(state.consolidation)
    if new & {"central line", "pacemaker"}:
        weights["line placement"] = 1.5
    if new & {"endotracheal tube", "nasogastric tube", "chest tube"}:
        weights["tube placement"] = 1.8
    if previous is not None and any(f.kind == "pleural effusion" for f in previous.findings):
        weights["follow-up effusion"] = 1.2
    if previous is not None and any(f.kind == "pneumothorax" for f in previous.findings):
        weights["follow-up pneumothorax"] = 2.0
    if chronic.failing:
        weights["heart failure"] = 0.8 + 1.2 * (state.edema > 0)
    if state.fracture and (previous is None or not any(f.kind == "fracture" for f in previous.findings)):
        weights["trauma"] = 6.0
    if setting == "emergency":
        weights["trauma"] = weights.get("trauma", 0.0) + 0.3
    if any(d.kind == "sternal wires" for d in chronic.devices) and setting == "ICU":
        weights["postoperative"] = 1.0
    total = sum(weights.values())
    return _pick(rng, {k: w / total for k, w in weights.items()})


def _author(rng: np.random.Generator, site: str) -> int:
    everybody = [a for authors in AUTHORS.values() for a in authors]
    return int(rng.choice(everybody if rng.random() < STANDS_IN else AUTHORS[site]))


def _pick(rng: np.random.Generator, chances: dict[str, float]) -> str:
    return str(rng.choice(list(chances), p=list(chances.values())))


def _side(rng: np.random.Generator) -> str:
    return "left" if rng.random() < 0.5 else "right"


def _zone(rng: np.random.Generator, *, low: bool = False) -> str:
    return str(rng.choice(["upper", "middle", "lower"], p=(0.15, 0.25, 0.60) if low else (0.45, 0.3, 0.25)))


def _spot(rng: np.random.Generator) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in rng.uniform(-1, 1, 3))
    return a, b, c


# --- The table --------------------------------------------------------------------------------------------------

ATTRIBUTES = (
    *FINDINGS,
    *(f"{kind} side" for kind in FINDINGS if kind not in ("cardiomegaly", "edema")),
    *(f"{kind} size" for kind in FINDINGS),
    *DEVICES,
    *(f"reported {kind}" for kind in FINDINGS),
    *("devices named", "typing errors", "contradiction", "author", "reason"),
    *("inspiration", "yaw_deg", "tilt_deg", "exposure", "study_id", "study_day", "study_date", "study_hour"),
)


def table(cases: list[Case], seed: int, label: str) -> pd.DataFrame:
    """Return one row a film: ids, report, label, the simulated reader's probability, metadata, attributes."""
    readers: dict[int, np.random.Generator] = {}
    rows = []
    for case in cases:
        film, study = case.film, case.study
        rng = readers.setdefault(case.patient, np.random.default_rng([seed, case.patient, _READER]))
        positive = any(f.kind == label for f in film.findings)
        ids = _ids(seed, case)
        moment = _date(seed, case.patient) + pd.Timedelta(days=study.day)
        rows.append(
            {
                **ids,
                "report": case.report.text,
                "label": int(positive),
                "proba": _reader(film, positive, rng),
                "view": film.view,
                "portable": "yes" if film.portable else "no",
                "setting": study.setting,
                "site": film.site,
                "scanner": film.scanner,
                "sex": study.body.sex,
                "age": study.body.age + moment.year - _date(seed, case.patient).year,
                "bmi": study.body.bmi if _hash(seed, case.patient, "bmi") % 1000 >= 1000 * _NO_BMI else np.nan,
                **_attributes(case),
                "study_date": moment.strftime("%Y-%m-%d"),
                "study_hour": _hash(seed, case.patient, study.number) % 24
                if study.setting != "outpatient"
                else 8 + _hash(seed, case.patient, study.number) % 9,
            }
        )
    return pd.DataFrame(rows)


def _attributes(case: Case) -> dict[str, Any]:
    film, report = case.film, case.report
    values: dict[str, Any] = {}
    for kind in FINDINGS:
        present = [f for f in film.findings if f.kind == kind]
        sides = {f.side for f in present}
        values[kind] = bool(present)
        if kind not in ("cardiomegaly", "edema"):
            values[f"{kind} side"] = "both" if len(sides) > 1 else next(iter(sides), "")
        values[f"{kind} size"] = max((f.size for f in present), default=0.0)
        values[f"reported {kind}"] = report.said[kind]
    kinds = {d.kind for d in film.devices}
    values |= {kind: kind in kinds for kind in DEVICES}
    return values | {
        "devices named": ", ".join(report.named),
        "typing errors": report.n_typos,
        "contradiction": report.contradiction,
        "author": case.study.author,
        "reason": case.study.reason,
        "inspiration": film.inspiration,
        "yaw_deg": film.yaw_deg,
        "tilt_deg": film.tilt_deg,
        "exposure": film.exposure,
        "study_day": case.study.day,
    }


def _ids(seed: int, case: Case) -> dict[str, str]:
    """Return ids in the manner of MIMIC-CXR-JPG: 8 digits for patient and study, 40 hexadecimal ones for the image."""
    name = hashlib.sha256(f"{seed} {case.patient} {case.study.number} {case.image_number}".encode()).hexdigest()
    return {
        "sample_id": "-".join(name[i : i + 8] for i in range(0, 40, 8)),
        "patient_id": str(10_000_000 + case.patient),
        "study_id": str(50_000_000 + 10 * case.patient + case.study.number),
    }


def _date(seed: int, patient: int) -> pd.Timestamp:
    """Return the day of a patient's first study, in a future that is nobody's."""
    return pd.Timestamp("2110-01-01") + pd.Timedelta(days=_hash(seed, patient, "date") % 30_000)


def _hash(*parts: Any) -> int:
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:4], "big")


def _reader(film: Film, positive: bool, rng: np.random.Generator) -> float:
    """Return the simulated reader's probability: right with a chance that the view and the devices decide."""
    wrong = ERROR_ELSE
    if positive and film.view == "AP supine":
        wrong = ERROR_SUPINE
    elif not positive and any(d.kind == "chest tube" for d in film.devices):
        wrong = ERROR_TUBE
    margin = 1.2 * (float(ndtri(1 - wrong)) + rng.standard_normal())
    return round(float(expit(margin if positive else -margin)), 4)
