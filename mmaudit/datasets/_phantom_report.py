"""What the radiologist writes about a phantom film: sections, negations and synonyms in the manner of three authors."""

from __future__ import annotations

import numpy as np

from mmaudit.datasets._phantom_film import ENLARGED_HEART, Film

__all__ = ["N_AUTHORS", "write_report"]

N_AUTHORS = 3
_SIDE = {-1: "right", 1: "left"}  # image left is the patient's right
_TECHNIQUE = {
    "PA": ("PA radiograph of the chest.", "CHEST, PA.", "Upright PA view of the chest."),
    "AP": ("{P}AP radiograph of the chest, semi-upright.", "CHEST, {P}AP.", "{P}frontal view, patient sitting."),
    "AP supine": ("{P}supine AP radiograph of the chest.", "CHEST, {P}SUPINE.", "{P}frontal view, patient supine."),
}
_PRESENT = {
    "up": (
        "There {is_a} {size} {side} pleural effusion{s} with blunting of the costophrenic angle{s}.",
        "Pleura: {size} effusion{s}, {side}.",
        "Meniscus at the {side} lung base{s} in keeping with {size} pleural fluid.",
    ),
    "supine": (
        "Hazy veiling of the {side} lung{s}, consistent with {a}{size} layering pleural effusion{s}.",
        "Pleura: {size} layering effusion{s}, {side}.",
        "Increased density of the {side} lung field{s}, likely {size} pleural fluid tracking posteriorly.",
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
    "tube": ("A {side} {name} is in place.", "{side} {name}.", "{side} {name} projects over the lung."),
    "ett": ("The {name} ends above the carina.", "{name}.", "Tip of the {name} is in satisfactory position."),
    "line": ("A right {name} ends in the superior vena cava.", "{name}, right.", "Right {name} with tip in the SVC."),
    "ecg": ("Overlying {name} are noted.", "{name}.", "{name} overlie the chest."),
}
_NAMES = {  # the first is the usual one
    "tube": ("chest tube", "thoracostomy tube", "pleural drain"),
    "ett": ("endotracheal tube", "ET tube", "breathing tube"),
    "line": ("central line", "central venous catheter", "jugular catheter"),
    "ecg": ("ECG leads", "monitoring leads", "telemetry leads"),
}
_MENTIONED = {"tube": 0.85, "ett": 0.9, "line": 0.8, "ecg": 0.4}  # chance that a device in place is named


def write_report(film: Film, *, author: int, days: int, rng: np.random.Generator) -> str:
    """Return the report of a film, true to it, with the sections FINDINGS and IMPRESSION and mostly TECHNIQUE.

    Parameters
    ----------
    film : Film
        What is there to be seen.
    author : int
        0 writes prose, 1 keywords, 2 a little of both and other synonyms.
    days : int
        Since the patient's film before this one; 0 for the first.
    rng : Generator
        Decides what is left out and which synonym is taken.
    """
    findings = []
    if days and rng.random() < 0.6:
        findings.append(f"Compared with the film of {days} day{'s' * (days > 1)} earlier.")
    named = [device for device in film.devices if rng.random() < _MENTIONED[device]]
    for device in named:
        name = str(rng.choice(_NAMES[device], p=(0.65, 0.25, 0.10)))
        words = _DEVICE[device][author].format(side=_SIDE[film.tube_side], name=name)
        findings.append(("Devices: " if author == 1 else "") + words)
    enlarged = film.body.heart > ENLARGED_HEART
    findings.append(_pleura(film, author, rng))
    if film.effusion:
        findings.append("No pneumothorax.")
    lungs = _OPACITY[author].format(side=_SIDE[1 if film.opacity[0] > 0 else -1]) if film.opacity else _CLEAR[author]
    findings += [lungs, _HEART[author][enlarged]]

    impression = []
    if film.effusion:
        n_sides, side, size = _effusion(film)
        noun = ("pleural effusion", "effusion", "pleural fluid")[author]
        impression.append(f"{size} {side} {noun}{'s' * (n_sides > 1 and author < 2)}.")
    if film.opacity:
        impression.append(("Possible pneumonia.", "Consolidation, query infection.", "Focal lung opacity.")[author])
    if enlarged:
        impression.append(("Cardiomegaly.", "Large heart.", "Enlarged heart.")[author])
    if not impression:
        quiet = ("No acute cardiopulmonary process.", "No acute finding.", "No acute abnormality.")[author]
        impression.append("Devices as described. " + quiet if named else quiet)
    technique = _TECHNIQUE[film.view][author].format(P=("PORTABLE " if author == 1 else "portable ") * film.portable)
    parts = [f"TECHNIQUE: {_sentence(technique)}"] if rng.random() < 0.8 else []
    parts.append("FINDINGS: " + " ".join(_sentence(f) for f in findings))
    parts.append("IMPRESSION: " + " ".join(_sentence(i) for i in impression))
    return "\n".join(parts)


def _pleura(film: Film, author: int, rng: np.random.Generator) -> str:
    wording = _ABSENT[int(rng.integers(len(_ABSENT)))][author]
    if not film.effusion:
        return wording
    n_sides, side, size = _effusion(film)
    plural = {"is_a": "are", "a": "", "s": "s"} if n_sides > 1 else {"is_a": "is a", "a": "a ", "s": ""}
    return _PRESENT["supine" if film.view == "AP supine" else "up"][author].format(size=size, side=side, **plural)


def _effusion(film: Film) -> tuple[int, str, str]:
    n_sides = len(film.effusion)
    side, size = film.effusion[0]
    return n_sides, "bilateral" if n_sides > 1 else _SIDE[side], size


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
