"""What there is to be drawn and told: a patient's body, findings and devices, a study, a film.

Only records, no behaviour: `_cohort` makes them, `_film` draws them, `_report` writes about them. Coordinates are the
patient's, in cm: x to the patient's left, y towards the feet, z to the front, the origin in the middle of the chest at
the height of the carina plus 4 cm.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEVICES", "FINDINGS", "SITES", "VIEWS", "Body", "Device", "Film", "Finding", "Site", "Study"]

VIEWS = ("PA", "AP", "AP supine", "lateral")
# The order is that of the bits in a mask file: findings first, then devices.
FINDINGS = (
    *("pleural effusion", "cardiomegaly", "atelectasis", "consolidation"),
    *("pneumothorax", "edema", "nodule", "fracture"),
)
DEVICES = (
    *("chest tube", "endotracheal tube", "central line", "nasogastric tube"),
    *("pacemaker", "sternal wires", "ECG leads", "surgical clips"),
)


@dataclass(frozen=True)
class Site:
    """A hospital: its share of the patients, its fixed scanners, its mobile ones."""

    share: float
    fixed: tuple[str, ...]
    mobile: tuple[str, ...]


SITES = {
    "North": Site(0.45, ("Aster 500", "Aster 700"), ("Mobile M1",)),
    "Harbour": Site(0.35, ("Boreal DR",), ("Mobile M1", "Mobile M3")),
    "Hill": Site(0.20, ("Cirrus CR",), ("Mobile M2",)),
}


@dataclass(frozen=True)
class Body:
    """The anatomy of a patient. The last five are standard scores: 0 is usual for the sex, height and weight."""

    sex: str  # "F" or "M"
    age: float  # years, 18 to 95, at the first study
    height_cm: float
    bmi: float  # kg/m2, 16 to 45
    chest_width: float
    chest_depth: float
    lung_height: float
    heart_size: float
    rib_slope: float
    seed: tuple[int, ...]  # of vessels and other details that stay with the patient


@dataclass(frozen=True)
class Finding:
    """A finding of a study.

    `side` is the patient's: "left", "right" or "" (cardiomegaly and edema have none; a bilateral effusion is two
    findings). `size` in (0, 1]: below 0.33 small or mild, from 0.67 large or severe. `zone` is "upper", "middle",
    "lower" or "" where it means nothing (effusion, pneumothorax, cardiomegaly, edema). `spot`, three numbers in
    [-1, 1], places it within the zone (for a fracture the first chooses rib and place along it).
    """

    kind: str
    side: str
    size: float
    zone: str = ""
    spot: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Device:
    """A device in or on the patient: `side` "left", "right" or ""; `spot`, three numbers in [-1, 1], varies its course.

    `misplaced`: an endotracheal tube in the right main bronchus, a nasogastric tube that ends in the oesophagus, a
    central line that ends in the right atrium.
    """

    kind: str
    side: str = ""
    spot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    misplaced: bool = False


@dataclass(frozen=True)
class Study:
    """One examination of a patient."""

    body: Body
    number: int  # 0 for the patient's first
    day: int  # since the first study
    setting: str  # "outpatient", "emergency" or "ICU"
    site: str
    portable: bool
    views: tuple[str, ...]  # of its films, 1 to 3
    reason: str  # why it was asked for: one of _cohort.REASONS
    findings: tuple[Finding, ...]
    devices: tuple[Device, ...]
    previous: Study | None  # the patient's study before this one
    author: int  # who reports it


@dataclass(frozen=True)
class Film:
    """All that `draw_film` needs for one image."""

    body: Body
    view: str
    portable: bool
    site: str
    scanner: str
    findings: tuple[Finding, ...]
    devices: tuple[Device, ...]
    inspiration: float  # 0 expired to 1 full; 0.8 is usual upright
    yaw_deg: float  # the patient turned about the long axis
    tilt_deg: float  # the patient turned in the plane of the image
    shift_cm: tuple[float, float]  # off centre, right and down in the image
    exposure: float  # standard score: above 0 darker
    seed: tuple[int, ...]  # of the noise, the markers and the place of the ECG leads
