"""What the radiologist writes about a study: sections, negations, doubts and errors in the manner of eight authors.

First it is decided what is seen and what is said of each finding, then it is put into words of the author's bank in
`_phrases`, at last come the slips of the keyboard. What is said is kept beside the text, as the truth about the report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from mmaudit.datasets.phantom._devices import TUBE_ABOVE_CARINA_CM
from mmaudit.datasets.phantom._phrases import BANKS, BRITISH, PLACES, PREPOSITIONS, QUESTIONS, REASONS_SAID, SIZES
from mmaudit.datasets.phantom._record import FINDINGS, Device, Finding, Study

__all__ = ["N_AUTHORS", "REASONS", "Report", "write_report"]

REASONS = tuple(REASONS_SAID)

# Rates of what goes wrong, by size: small, moderate, large.
MISSED = (0.15, 0.05, 0.01)  # a finding is overlooked
DOUBTED = (0.28, 0.12, 0.04)  # a finding that is seen is said with doubt, times the author's `doubts`
DIFFERENTIAL = 0.35  # a doubtful consolidation or atelectasis is said as "one or the other"
CONTRADICTED = 0.03  # the impression contradicts the findings, where they say something that can be
CHANGED = 0.12  # a finding has changed if its size has by more

# Chances that an absent finding is denied and a device in place is named, before the author's habits.
DENIED = {
    "pleural effusion": 0.94,
    "cardiomegaly": 0.86,
    "atelectasis": 0.03,
    "consolidation": 0.84,
    "pneumothorax": 0.92,
    "edema": 0.30,
    "nodule": 0.05,
    "fracture": 0.33,
}
DENIED_IN = {("fracture", "trauma"): 0.9, ("fracture", "chest pain"): 0.35, ("edema", "heart failure"): 0.75}
NAMED = {
    "chest tube": 0.94,
    "endotracheal tube": 0.96,
    "central line": 0.90,
    "nasogastric tube": 0.90,
    "pacemaker": 0.85,
    "sternal wires": 0.60,
    "ECG leads": 0.15,
    "surgical clips": 0.45,
}
SUPINE_SAID = 0.85  # a supine film is called supine under TECHNIQUE, where there is one

_SUPPORT = ("chest tube", "endotracheal tube", "central line", "nasogastric tube")
_PLURAL = ("sternal wires", "ECG leads", "surgical clips")
# Remarks that are left out where a sentence of the topic has one of these words: it says so or says the opposite.
_INSTEAD = {
    "low volumes": ("expanded", "inflated"),
    "hyperexpanded": ("expanded", "inflated", "olumes"),
    "mediastinum": ("ediastin",),
}
_CHRONIC = ("cardiomegaly", "nodule")
_CHANGES = ("new", "unchanged", "increased", "decreased", "resolved")
_TOPIC = {
    "pleural effusion": "pleura",
    "cardiomegaly": "heart",
    "atelectasis": "lungs",
    "consolidation": "lungs",
    "pneumothorax": "pleura",
    "edema": "lungs",
    "nodule": "lungs",
    "fracture": "bones",
}
_URGENCY = (
    *("pneumothorax", "pleural effusion", "consolidation", "edema"),
    *("nodule", "fracture", "atelectasis", "cardiomegaly"),
)
_HEADINGS = {"devices": "Lines/tubes", "lungs": "Lungs", "pleura": "Pleura", "heart": "Heart", "bones": "Bones"}
_USUAL = ("devices", "technical", "lungs", "pleura", "heart", "bones", "other")
_HEART_FIRST = ("devices", "technical", "heart", "lungs", "pleura", "bones", "other")


@dataclass(frozen=True)
class Report:
    """A report and the truth about it.

    Attributes
    ----------
    text : str
        The whole report, a section a line; the lines of a form are lines of their own.
    said : dict of str to str
        By kind of finding what the section FINDINGS says: "present", "uncertain", "absent" (also in set phrases such
        as "lungs are clear" for consolidation, "normal pulmonary vascularity" for edema and "has resolved") or "" if
        nothing.
    named : tuple of str
        Kinds of the devices in the study that are named.
    n_typos : int
        Typing errors.
    contradiction : str
        The kind of finding whose side or presence IMPRESSION contradicts, or "".
    """

    text: str
    said: dict[str, str]
    named: tuple[str, ...]
    n_typos: int
    contradiction: str


@dataclass(frozen=True)
class _Author:
    """The habits of one author; numbers without a unit are chances."""

    order: tuple[str, ...] = _HEART_FIRST
    form: bool = False  # fills in the lines of a form
    thorough: float = 1.0  # factor of the chances that something absent or harmless is said
    doubts: float = 1.0  # factor of `DOUBTED`
    typos: float = 0.002  # per word of five letters or more
    compares: float = 0.85  # with the study before
    opens: float = 0.15  # a comparison begins with what it is compared to
    technique: float = 0.8
    comparison: float = 0.85
    examination: float = 0.3
    indication: tuple[str, ...] = ("INDICATION",)
    merges: float = 0.0  # FINDINGS AND IMPRESSION are one
    wet_read: float = 0.0
    numbers: float = 0.0  # the items of the impression
    joins: float = 0.0  # two sentences become one
    british: bool = False


_AUTHORS = (
    _Author(),
    _Author(order=_USUAL, thorough=0.85, typos=0.004, technique=0.5, comparison=0.6, indication=("HISTORY",)),
    _Author(
        order=tuple(_HEADINGS), form=True, thorough=1.05, typos=0.001, technique=0.95, comparison=1.0, examination=0.9
    ),
    _Author(thorough=1.0, doubts=1.8, typos=0.006, opens=0.3, joins=0.5, examination=0.5, numbers=0.3),
    _Author(
        order=("lungs", "pleura", "heart", "devices", "bones", "other", "technical"),
        thorough=0.75,
        doubts=0.8,
        typos=0.010,
        compares=0.6,
        opens=0.05,
        technique=0.3,
        comparison=0.4,
        indication=("HISTORY", "REASON FOR EXAM"),
        merges=0.4,
        wet_read=0.3,
    ),
    _Author(order=_USUAL, thorough=0.9, technique=0.4, comparison=0.7, indication=("CLINICAL HISTORY",), british=True),
    _Author(order=_USUAL, thorough=0.8, compares=0.97, opens=0.8, technique=0.6, comparison=0.95, merges=0.1),
    _Author(thorough=1.1, numbers=0.7, examination=0.6, indication=("INDICATION", "CLINICAL INDICATION")),
)
N_AUTHORS = len(_AUTHORS)


def write_report(study: Study, rng: np.random.Generator) -> Report:
    """Return what the author of a study writes about it.

    Parameters
    ----------
    study : Study
        What there is to be seen; `study.previous` is what it is compared with.
    rng : Generator
        Decides what is overlooked, left out, doubted, misspelt and which words are taken; only its `random` is used.

    Notes
    -----
    Rates are the constants of this module. Remarks that the phantom has nothing to do with (degenerative changes of
    the spine, an old granuloma) are harmless: no finding depends on them.
    """
    return _Writer(study, rng).report()


# --- Templates --------------------------------------------------------------------------------------------------

_Part = str | tuple[str, Any]


@cache
def _parsed(template: str) -> tuple[_Part, ...]:
    """Return a template in parts: text, ("name", name) or ("any", templates)."""
    parts: list[_Part] = []
    at = 0
    while (start := template.find("{", at)) >= 0:
        if start > at:
            parts.append(template[at:start])
        choices, depth, at = [""], 1, start + 1
        while depth:
            mark = template[at]
            depth += (mark == "{") - (mark == "}")
            if mark == "|" and depth == 1:
                choices.append("")
            elif depth:
                choices[-1] += mark
            at += 1
        parts.append(("name", choices[0]) if len(choices) == 1 else ("any", tuple(choices)))
    return (*parts, template[at:]) if at < len(template) else tuple(parts)


# "A" before a vowel as it is spoken: an NG tube, an ECG lead, but no word of the banks begins with "eu" or "uni".
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouE]|NG\b)")
_BLANKS = re.compile(r"\s+(?=[.,?]|\s)")
_START = re.compile(r"(?:^|(?<=[.?] ))[a-z]")


def _tidy(text: str) -> str:
    """Return the text of a template with its blanks, articles and capitals put right."""
    text = _ARTICLE.sub(r"\1n ", _BLANKS.sub("", text).strip()).replace("?.", "?")
    return _START.sub(lambda start: start[0].upper(), text)


# Words that come from the facts, not from a bank.
_FACTS = (
    "left right bilateral sided angle angles sulcus sulci middle upper lower mildly moderately markedly marked "
    "greater than have same lobe retrocardiac infrahilar lingular year years month months week weeks day days "
    "axilla hilar region mediastinum apex base internal jugular subclavian earlier prior tubes pleura"
)


@cache
def _known_words() -> frozenset[str]:
    """Return all words that reports are made of, which no typing error may become."""
    places = [choices for zone in PLACES.values() for choices in zone.values()]
    words = [word for grades in SIZES.values() for choices in grades for word in choices]
    phrases = [
        _FACTS,
        *BRITISH.values(),
        *words,
        *(p for part in (*places, *(c for b in BANKS for c in b.values())) for p in part),
    ]
    endings = ({"{s}": "", "{x}": "x", "{y}": "y"}, {"{s}": "s", "{x}": "ces", "{y}": "ies"})
    known: set[str] = set()
    for phrase in phrases:
        for ending in endings:
            filled = re.sub(r"\{[sxy]\}", lambda slot, ending=ending: ending[slot[0]], phrase)  # type: ignore[misc]
            known.update(re.findall(r"[a-z]+", filled.lower()))
    return frozenset(known)


# --- What is said of one finding --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mention:
    """Findings of one kind that are said together."""

    kind: str
    side: str  # "left", "right", "both" or ""
    how: str  # "present", "uncertain", "differential", "new", "unchanged", "increased", "decreased" or "resolved"
    facts: Mapping[str, str]
    zones: tuple[str, ...]
    size: str = ""
    count: int = 1
    grade: int = 0


def _grade(size: float) -> int:
    return 0 if size < 0.33 else 1 if size < 0.67 else 2


def _places(findings: Iterable[Finding]) -> dict[tuple[str, str, str], float]:
    """Return the size of what there is, by kind, side and zone."""
    sizes: dict[tuple[str, str, str], float] = {}
    for f in findings:
        place = (f.kind, f.side, f.zone)
        sizes[place] = max(f.size, sizes.get(place, 0.0))
    return sizes


class _Writer:
    """Writes one report."""

    def __init__(self, study: Study, rng: np.random.Generator) -> None:
        number = study.author % N_AUTHORS
        self.study = study
        self.author = _AUTHORS[number]
        self.bank = BANKS[number]
        self.random = rng.random
        self.age = int(study.body.age + study.day / 365.25)
        self.frontal = [view for view in study.views if view != "lateral"]
        self.supine = bool(self.frontal) and all(view == "AP supine" for view in self.frontal)
        self.lateral = "lateral" in study.views
        self.portable = "portable" if study.portable else ""
        before = study.previous
        self.when = "" if before is None else _interval(study.day - before.day)
        self.before = before if before is not None and self.chance(self.author.compares) else None
        self.topics: dict[str, list[str]] = {topic: [] for topic in _USUAL}
        self.said = dict.fromkeys(FINDINGS, "")
        self.named: list[str] = []
        self.ill: list[str] = []  # what the impression repeats about misplaced devices
        self.opening = ""
        self.contradiction = ""
        self.n_typos = 0

    def report(self) -> Report:
        """Return the whole report."""
        if self.before is not None and self.chance(self.author.opens):
            self.opening = self.phrase("compared", when=self.when)
        self.devices()
        mentions = self.mentions()
        for mention in mentions:
            self.say(mention)
        self.denials(mentions)
        self.remarks()
        merged = self.chance(self.author.merges)
        found = self.findings()
        impression = "" if merged else self.impression(mentions)
        sections = [
            ("WET READ", impression if self.chance(self.author.wet_read) else ""),
            ("EXAMINATION", self.examination() if self.chance(self.author.examination) else ""),
            (self.any(self.author.indication), self.indication()),
            ("TECHNIQUE", self.technique() if self.chance(self.author.technique) else ""),
            ("COMPARISON", self.comparison() if self.chance(self.author.comparison) else ""),
            ("FINDINGS AND IMPRESSION" if merged else "FINDINGS", self.typed(found)),
            ("IMPRESSION", self.typed(impression)),
        ]
        text = "\n\n".join(f"{title}: {body}".replace(": \n", ":\n") for title, body in sections if body)
        if self.author.british:
            text = _britons(text)
        return Report(text, self.said, tuple(self.named), self.n_typos, self.contradiction)

    # Chance and words

    def chance(self, p: float) -> bool:
        return bool(self.random() < p)

    def any(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.random() * len(choices))]

    def fill(self, template: str, facts: Mapping[str, str]) -> str:
        """Return a template with its choices taken and its names filled in, not tidied."""
        text = ""
        for part in _parsed(template):
            if isinstance(part, str):
                text += part
            elif part[0] == "any":
                text += self.fill(self.any(part[1]), facts)
            else:
                fact = facts.get(part[1])
                text += self.fill(self.any(self.bank[part[1]]), facts) if fact is None else fact
        return text

    def phrase(self, entry: str, /, **facts: str) -> str:
        return _tidy(self.fill(self.any(self.bank[entry]), facts))

    def typed(self, text: str) -> str:
        """Return the text as it is typed: now and then two letters swapped, one left out or one twice."""
        rate = self.author.typos

        def slip(word: re.Match[str]) -> str:
            right = word[0]
            if self.random() >= rate:
                return right
            i = 1 + int(self.random() * (len(right) - 3))
            wrong = self.any(
                (
                    right[:i] + right[i + 1] + right[i] + right[i + 2 :],
                    right[:i] + right[i + 1 :],
                    right[: i + 1] + right[i:],
                )
            )
            if wrong == right or wrong.lower() in _known_words():
                return right
            self.n_typos += 1
            return wrong

        return re.sub(r"[A-Za-z]{5,}", slip, text)

    # Findings

    def mentions(self) -> list[_Mention]:
        """Return what is said of the findings that are seen, and of those that are gone."""
        sizes = _places(self.study.findings)
        seen = {place: size for place, size in sizes.items() if not self.chance(MISSED[_grade(size)])}
        old = None if self.before is None else _places(self.before.findings)
        mentions = [self.mention(*group, seen, old) for group in _together(seen, old)]
        if old is not None:
            now = {(kind, side) for kind, side, _ in sizes}
            gone = {p: s for p, s in old.items() if p[:2] not in now and p[0] not in (*_CHRONIC, "fracture")}
            for kind, side, zones in _together(gone, None):
                if self.chance(0.7):
                    facts = self.facts(side, zones, "", 1)
                    mentions.append(_Mention(kind, side, "resolved", facts, zones))
        return mentions

    def mention(
        self,
        kind: str,
        side: str,
        zones: tuple[str, ...],
        seen: Mapping[tuple[str, str, str], float],
        old: Mapping[tuple[str, str, str], float] | None,
    ) -> _Mention:
        """Return how one finding, or one on both sides, is said."""
        sides = ("left", "right") if side == "both" else (side,)
        places = [(kind, s, zone) for s in sides for zone in zones]
        known = [seen[place] for place in places]
        grades = sorted({_grade(size) for size in known})
        words = [self.any(SIZES[kind][grade]) for grade in grades]
        size = " to ".join(words) if all(words) and side == "both" else words[-1]
        count = sum((f.kind, f.side, f.zone) in places for f in self.study.findings)
        facts = self.facts(side, zones, size, count, grades[-1])
        if side == "both" and abs(known[0] - known[1]) > 0.1 and self.chance(0.5):
            facts["worse"] = f", {'left greater than right' if known[0] > known[1] else 'right greater than left'}"
        how = _change(places, known, old) if old is not None and self.chance(0.8) else "present"
        if self.chance(self.author.doubts * DOUBTED[grades[-1]]):
            how = "uncertain"
            either = kind in ("consolidation", "atelectasis") and "lower" in zones
            if either and self.chance(DIFFERENTIAL):
                how = "differential"
        return _Mention(kind, side, how, facts, zones, size, count, grades[-1])

    def facts(self, side: str, zones: tuple[str, ...], size: str, count: int, grade: int = 0) -> dict[str, str]:
        """Return the words that templates may ask for."""
        both = side == "both"
        side_said = "bilateral" if both else side
        several = both or count > 1
        level = " and ".join({"middle": "mid"}.get(zone, zone) for zone in zones)
        facts = {
            "side": side_said,
            "sided": "bilateral" if both else f"{side}-sided",
            "lr": side[0].upper() if side in ("left", "right") and self.chance(0.3) else side_said,
            "size": size if self.chance(0.85) else "",
            "s": "s" if several else "",
            "x": "ces" if several else "x",
            "y": "ies" if several else "y",
            "angle": self.any(("angles", "sulci") if both else ("angle", "sulcus")),
            "level": level,
            "ribs": f"{'' if several else 'one of '}the {side} {level} ribs",
            "mild": ("mild", "moderate", "marked")[grade],
            "mildly": ("mildly", "moderately", "markedly")[grade],
            "middle": "right middle lobe" if side == "right" else "lingular",
            "basal": "right infrahilar" if side == "right" else "left retrocardiac",
            "worse": "",
        }
        if zones[0]:
            number = "both" if both else "one"
            facts["adj"] = self.fill(self.any(PLACES[zones[0]][f"{number} adj"]), facts)
            facts["at"] = self.fill(self.any(PLACES[zones[0]][f"{number} at"]), facts)
        else:
            facts |= {"adj": side_said, "at": "in both lungs" if both else f"in the {side} lung"}
        facts["several"] = "s" if several else ""
        return facts

    def noun(self, mention: _Mention) -> dict[str, str]:
        """Return the facts of a mention with a noun phrase, bare and with its articles."""
        name = f"{mention.kind} supine"
        template = self.any(self.bank[name if self.supine and name in self.bank else mention.kind])
        phrase = _BLANKS.sub("", self.fill(template, mention.facts)).strip()
        counted = phrase.startswith("a~")
        phrase = phrase.removeprefix("a~").strip()
        several = counted and bool(mention.facts["several"])
        article = "a " if counted and not several else ""
        return {
            **mention.facts,
            "np": phrase,
            "a_np": article + phrase,
            "the_np": f"the {phrase}",
            "a_new": f"{article}new",
            "a_stable": f"{article}stable",
            "is": "are" if several else "is",
            "has": "have" if several else "has",
        }

    def say(self, mention: _Mention) -> None:
        """Put a mention into words under its topic."""
        kind, how = mention.kind, mention.how
        frames = self.bank[how]
        if self.chance(0.9 if self.author.form else 0.5):
            # A sentence that only this finding has, if there is one; best one of this kind of film.
            film = " supine" if self.supine else " lateral" if self.lateral and self.chance(0.5) else ""
            own = (self.bank.get(f"{kind}{variant} {how}") for variant in (film, ""))
            frames = next(filter(None, own), frames)
        sentence = _tidy(self.fill(self.any(frames), self.noun(mention)))
        if self.opening and how in _CHANGES and not _COMPARED.search(sentence):
            sentence, self.opening = f"{self.opening} {_lowered(sentence)}", ""
        self.topics[_TOPIC[kind]].append(sentence)
        self.count(kind, how)
        if how == "differential":
            self.count({"consolidation": "atelectasis", "atelectasis": "consolidation"}[kind], "uncertain")
        if kind == "pleural effusion" and mention.side in ("left", "right") and how != "resolved" and self.chance(0.12):
            other = {"left": "right", "right": "left"}[mention.side]
            if not any(f.kind == kind and f.side == other for f in self.study.findings):
                self.topics["pleura"].append(self.phrase("no other side", other=other))

    def count(self, kind: str, how: str) -> None:
        """Keep what is said of a kind of finding: the surest mention counts."""
        said = {"uncertain": "uncertain", "differential": "uncertain", "resolved": "absent"}.get(how, "present")
        rank = ("", "absent", "uncertain", "present")
        self.said[kind] = max(said, self.said[kind], key=rank.index)

    def denials(self, mentions: Sequence[_Mention]) -> None:
        """Say what is not there, alone and in lists."""
        reason, thorough = self.study.reason, self.author.thorough
        silent = [kind for kind in FINDINGS if not self.said[kind]]
        denied = {k for k in silent if self.chance(thorough * DENIED_IN.get((k, reason), DENIED[k]))}
        for kind in denied:
            self.said[kind] = "absent"
        topics = self.topics
        if "cardiomegaly" in denied:
            upper = self.study.body.heart_size > 1 and self.chance(0.5)
            topics["heart"].append(self.phrase("heart upper" if upper else "heart normal"))
        if "fracture" in denied:
            topics["bones"].append(self.phrase("bones normal"))
        if "edema" in denied and self.chance(0.5):
            denied.discard("edema")
            topics["lungs"].append(self.phrase("vessels normal"))
        lungs: list[str] = [k for k in ("consolidation", "edema", "nodule", "atelectasis") if k in denied]
        pleura: list[str] = [k for k in ("pleural effusion", "pneumothorax") if k in denied]
        clear = not any(_TOPIC[m.kind] == "lungs" and m.how != "resolved" for m in mentions)
        if not self.author.form and self.chance(0.55):
            lungs, pleura = [*lungs, *pleura], []
        if clear and "consolidation" in denied and self.chance(0.6):
            if len(lungs) > 1 and self.chance(0.5):
                topics["lungs"].append(self.phrase("lungs clear without", list=self.listed(lungs)))
                lungs = []
            else:
                topics["lungs"].append(self.phrase("lungs clear"))
                lungs.remove("consolidation")
        elif not clear and not self.said["consolidation"] and self.chance(0.3):
            topics["lungs"].append(self.phrase("otherwise clear"))
            self.said["consolidation"] = "absent"
        if len(pleura) == 2 and self.chance(0.06):
            topics["pleura"].append(self.phrase("pleura clear"))
            pleura = []
        for topic, kinds in (("lungs", lungs), ("pleura", pleura)):
            alone = [[kind] for kind in kinds] if len(kinds) < 3 and self.chance(0.35) else [kinds]
            topics[topic] += [self.phrase("no", list=self.listed(part)) for part in alone if part]

    def listed(self, kinds: Sequence[str]) -> str:
        """Return "one, two, or three" of absent findings in any order."""
        rest, items = list(kinds), []
        while rest:
            items.append(self.fill(self.any(self.bank[f"no {rest.pop(int(self.random() * len(rest)))}"]), {}))
        if len(items) < 3:
            return " or ".join(items)
        return ", ".join(items[:-1]) + ("" if self.author.british else ",") + f" or {items[-1]}"

    def remarks(self) -> None:
        """Say what real reports say beside the findings."""
        body, age, upright = self.study.body, self.age, "PA" in self.study.views
        nodule = any(f.kind == "nodule" for f in self.study.findings)
        for name, topic, p in (
            ("rotated", "technical", 0.01 if upright else 0.06),
            ("habitus", "technical", 0.3 * (body.bmi > 35)),
            ("supine limits", "technical", 0.12 * self.supine),
            ("portable limits", "technical", 0.05 * (self.study.portable and not self.supine)),
            (
                "low volumes",
                "lungs",
                0.03 + 0.15 * (not upright) + 0.15 * (body.lung_height < -1) + 0.1 * (body.bmi > 35),
            ),
            ("granuloma", "lungs", 0.05 * (not nodule)),
            ("scar", "lungs", 0.03 * (age > 50)),
            ("diaphragm", "lungs", 0.02),
            ("hyperexpanded", "lungs", 0.3 * upright * (body.lung_height > 1)),
            ("tuberculosis", "lungs", 0.08 * (self.study.reason in ("routine", "preoperative") and upright)),
            ("hernia", "lungs", 0.015),
            ("mediastinum", "heart", 0.5),
            ("heart failure", "heart", 0.3 * (self.study.reason == "heart failure" and self.said["edema"] == "absent")),
            ("trachea", "heart", 0.05),
            ("aorta", "heart", 0.02 + 0.3 * (age > 65)),
            ("spine", "bones", 0.05 + 0.35 * (age > 55)),
            ("osteopenia", "bones", 0.05 * (age > 70)),
            ("scoliosis", "bones", 0.02),
            ("abdomen", "other", 0.1),
            ("soft tissues", "other", 0.08),
        ):
            said = self.topics[topic]
            repeats = any(word in sentence for word in _INSTEAD.get(name, ()) for sentence in said)
            if self.chance(self.author.thorough * p) and not repeats:
                said.insert(0 if name == "low volumes" else len(said), self.phrase(name))

    # Devices

    def devices(self) -> None:
        """Say which devices are there, where they end, which are new and which are gone."""
        old = {} if self.before is None else {(d.kind, d.side): d for d in self.before.devices}
        now = {(d.kind, d.side) for d in self.study.devices}
        devices = [d for d in self.study.devices if self.chance(NAMED[d.kind])]
        as_before = [d for d in devices if (d.kind, d.side) in old and d.kind in _SUPPORT and not d.misplaced]
        said = self.topics["devices"]
        if len(as_before) > 1 and self.chance(0.3):
            said.append(self.phrase("devices unchanged"))
            devices = [d for d in devices if d not in as_before]
        for device in devices:
            known = None if self.before is None else (device.kind, device.side) in old
            said += self.device(device, known)
            if device.kind not in self.named:
                self.named.append(device.kind)
        for device in old.values():
            if (device.kind, device.side) not in now and device.kind in _SUPPORT and self.chance(0.6):
                said.append(self.phrase("device removed", **self.name(device)))
        if self.author.form and not said and not self.study.devices:
            said.append(self.phrase("no devices"))

    def device(self, device: Device, known: bool | None) -> list[str]:
        """Return the sentences about one device; `known` is None where nothing is compared."""
        kind, facts = device.kind, self.name(device)
        if device.misplaced:
            sentence = self.phrase(f"{kind} ill", **facts)
            if self.chance(0.85):
                self.ill.append(sentence)
            return [sentence]
        if known and self.chance(0.6):
            return [self.phrase("device unchanged", **facts)]
        where = self.phrase(f"{kind} well", **facts)
        if known is False and kind in (*_SUPPORT, "pacemaker") and self.chance(0.6):
            tip = kind in ("endotracheal tube", "central line", "nasogastric tube")
            return [self.phrase("device new", **facts), *([where] if tip and self.chance(0.7) else [])]
        return [where]

    def name(self, device: Device) -> dict[str, str]:
        """Return a device's name, bare and with its articles, and what else its templates ask for.

        What they tell of its course is what `_devices` draws.
        """
        kind, side, spot = device.kind, device.side, device.spot
        several = kind in _PLURAL
        name = self.any(self.bank[f"{kind} name"])
        if kind == "central line" and self.chance(0.4):
            name = f"{'internal jugular' if spot[0] > -0.1 else 'subclavian'} {name}"
        if side and kind != "surgical clips" and self.chance(0.8):
            name = f"{side}{self.any(('', '-sided'))} {name}"
        bypass = any(d.kind == "sternal wires" for d in self.study.devices)
        clips = "mediastinum" if bypass else f"{side} {'axilla' if self.study.body.sex == 'F' else 'hilar region'}"
        above, step = TUBE_ABOVE_CARINA_CM
        return {
            "name": name,
            "a_name": name if several else f"a {name}",
            "the_name": f"the {name}",
            "is": "are" if several else "is",
            "has": "have" if several else "has",
            "side": side,
            "cm": f"{above + step * spot[2]:.1f}",
            "end": "apex" if spot[0] > -0.35 else "base",
            "clips": clips,
        }

    # Sections

    def findings(self) -> str:
        """Return the text of FINDINGS."""
        author = self.author
        if author.form:
            self.topics["bones"] += self.topics["other"]
            self.topics["lungs"] = [*self.topics["technical"], *self.topics["lungs"]]
            lines = [f"{_HEADINGS[t]}: {' '.join(self.topics[t])}" for t in author.order if self.topics[t]]
            return "\n".join(["", *lines])
        return " ".join(sentence for topic in author.order for sentence in self.joined(self.topics[topic]))

    def joined(self, sentences: Sequence[str]) -> list[str]:
        """Return the sentences of a topic, some of them two in one."""
        joined: list[str] = []
        for sentence in sentences:
            if joined and ", and " not in joined[-1] and _JOINS.match(sentence) and self.chance(self.author.joins):
                joined[-1] = f"{joined[-1][:-1]}, and {_lowered(sentence)}"
            else:
                joined.append(sentence)
        return joined

    def impression(self, mentions: Sequence[_Mention]) -> str:
        """Return the text of IMPRESSION: what matters of the findings, the most urgent first."""
        ranked = sorted(mentions, key=lambda m: (m.how == "resolved", _URGENCY.index(m.kind)))
        ranked = [m for m in ranked if m.kind not in ("atelectasis", "cardiomegaly") or self.chance(0.75)]
        ranked = [m for m in ranked if m.how != "resolved" or self.chance(0.6)][:4]
        ranked, denied = self.contradicted(ranked, mentions)
        beside = self.beside(ranked)
        items = [*self.ill, *(self.repeated(m, beside) for m in ranked if m is not beside)]
        if denied:
            items.append(self.phrase("imp no", list=denied))
        quiet = all(m.how in ("unchanged", "resolved") or m.kind in _CHRONIC for m in ranked)
        if not items:
            items.append(self.phrase("imp normal"))
        elif quiet and not self.ill and not self.contradiction:
            if self.chance(0.6):
                items.append(self.phrase("imp same" if all(m.how == "unchanged" for m in ranked) else "imp otherwise"))
        elif self.said["pneumothorax"] == "absent" and self.chance(0.2):
            items.append(self.phrase("imp no", list="pneumothorax"))
        if any(m.kind == "nodule" and m.how != "unchanged" for m in ranked) and self.chance(0.5):
            items.append(self.phrase("advice nodule"))
        elif any(m.how in ("uncertain", "differential") for m in ranked) and self.chance(0.12):
            items.append(self.phrase("advice"))
        if len(items) > 1 and self.chance(self.author.numbers):
            items = [f"{i}. {item}" for i, item in enumerate(items, 1)]
        return " ".join(items)

    def beside(self, ranked: Sequence[_Mention]) -> _Mention | None:
        """Return an atelectasis that the impression says together with the effusion on its side, or None."""
        plain = {(m.kind, m.side): m for m in ranked if m.how == "present"}
        for (kind, side), mention in plain.items():
            if kind == "atelectasis" and ("pleural effusion", side) in plain and self.chance(0.7):
                return mention
        return None

    def repeated(self, mention: _Mention, beside: _Mention | None) -> str:
        """Return a mention as an item of the impression, an effusion with the atelectasis `beside` it."""
        facts = self.noun(mention)
        if beside is not None and mention.kind == "pleural effusion" and mention.side == beside.side:
            return self.phrase("imp with", **facts)
        if mention.how == "present" and mention.kind == "consolidation" and self.chance(0.5):
            return self.phrase("imp pneumonia", **facts)
        return self.phrase(f"imp {mention.how}", **facts)

    def contradicted(self, ranked: list[_Mention], mentions: Sequence[_Mention]) -> tuple[list[_Mention], str]:
        """Return the mentions for the impression, now and then with a wrong side or one denied instead."""
        can_be = []
        for m in ranked:
            alone = sum(other.kind == m.kind for other in mentions) == 1
            if alone and m.how != "resolved" and (m.side in ("left", "right") or m.kind == "pleural effusion"):
                can_be.append(m)
        if not can_be or not self.chance(CONTRADICTED):
            return ranked, ""
        wrong = self.any(can_be)
        self.contradiction = wrong.kind
        deniable = wrong.kind in ("pleural effusion", "pneumothorax")
        if wrong.side == "both" or (deniable and self.chance(0.4)):
            return [m for m in ranked if m is not wrong], self.listed([wrong.kind])
        side = {"left": "right", "right": "left"}[wrong.side]
        facts = self.facts(side, wrong.zones, wrong.size, wrong.count, wrong.grade)
        return [replace(m, side=side, facts=facts) if m is wrong else m for m in ranked], ""

    def indication(self) -> str:
        reason, female = self.study.reason, self.study.body.sex == "F"
        return self.phrase(
            "indication",
            age=str(self.age),
            sex=self.study.body.sex,
            woman=self.any(("woman", "female") if female else ("man", "male")),
            **{"with": PREPOSITIONS.get(reason, "with")},
            reason=self.any(REASONS_SAID.get(reason, (reason,))),
            question=self.any(QUESTIONS.get(reason, ("evaluate for acute process",))),
        )

    def examination(self) -> str:
        views = " ".join(filter(None, ("PORTABLE" if self.portable else "", self.views().upper())))
        return self.phrase("examination", views=views.replace(" AND LATERAL", " AND LAT"))

    def technique(self) -> str:
        if len(self.frontal) > 1 and not self.lateral:
            count = {2: "two", 3: "three"}.get(len(self.frontal), str(len(self.frontal)))
            return self.phrase("several", n=count, portable=self.lying())
        views = self.views()
        if views == "AP supine" and not self.chance(SUPINE_SAID):
            views = "AP"
        return self.phrase(views, portable=self.portable)

    def lying(self) -> str:
        return f"{self.portable} supine" if self.supine and self.chance(SUPINE_SAID) else self.portable

    def views(self) -> str:
        if not self.frontal:
            return "lateral"
        if self.lateral:
            return "PA and lateral" if "PA" in self.frontal else "AP and lateral"
        return "AP supine" if self.supine else "PA" if "PA" in self.frontal else "AP"

    def comparison(self) -> str:
        if self.before is None:
            # Who does not compare has not looked, or has nothing to look at.
            return self.phrase("comparison none") if self.study.previous is None or self.chance(0.5) else ""
        return self.phrase("comparison", when=self.when)


# --- Words ------------------------------------------------------------------------------------------------------

_COMPARED = re.compile(r"\b(?:since|compared|previous(?:ly)?)\b")
_JOINS = re.compile(r"(?:The|There|A|An|No|Heart|Mild|Minimal) ")
_BRITISH = re.compile(r"\b(?:" + "|".join(BRITISH) + r")\b", re.IGNORECASE)


def _together(
    sizes: Mapping[tuple[str, str, str], float], old: Mapping[tuple[str, str, str], float] | None
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return kind, side and zone of what is said together: both sides, where they are alike and changed alike."""
    groups: list[tuple[str, str, tuple[str, ...]]] = []
    for kind, side, zone in sizes:
        if kind == "fracture":
            levels = tuple(z for k, s, z in sizes if (k, s) == (kind, side))
            groups += [(kind, side, levels)] * ((kind, side, levels) not in groups)
            continue
        mirror = (kind, "left" if side == "right" else "right", zone)
        place = (kind, side, zone)
        alike = side and mirror in sizes
        if alike and old is not None:
            alike = _change([place], [sizes[place]], old) == _change([mirror], [sizes[mirror]], old)
        group = (kind, "both" if alike else side, (zone,))
        if group not in groups:
            groups.append(group)
    return groups


def _change(
    places: Sequence[tuple[str, str, str]], sizes: Sequence[float], old: Mapping[tuple[str, str, str], float]
) -> str:
    """Return what became of findings since the study before; those on both sides are alike in that."""
    kind = places[0][0]
    if places[0] not in old:
        # A part of a lung that is not affected any more and another that is: no word for it.
        elsewhere = any(k == kind and side == places[0][1] for k, side, _ in old)
        return "present" if elsewhere or kind in _CHRONIC else "new"
    growth = sizes[0] - old[places[0]]
    if abs(growth) <= CHANGED or kind in ("fracture", "cardiomegaly"):
        return "unchanged"
    return "increased" if growth > 0 else "decreased"


def _interval(days: int) -> str:
    """Return how long ago a study was."""
    if days < 1:
        return "earlier the same day"
    for length, unit in ((365, "year"), (30, "month"), (7, "week"), (1, "day")):
        if days >= (2 * length if length > 1 else 1):
            count = round(days / length)
            return f"{count} {unit}{'s' * (count > 1)} {'prior' if unit in ('day', 'week') else 'ago'}"
    return ""


def _lowered(sentence: str) -> str:
    """Return a sentence without its capital, but for abbreviations."""
    first = sentence.split(" ", 1)[0]
    return sentence if first.isupper() and first != "A" else sentence[0].lower() + sentence[1:]


def _britons(text: str) -> str:
    def spell(word: re.Match[str]) -> str:
        british = BRITISH[word[0] if word[0] in BRITISH else word[0].lower()]
        return british.capitalize() if word[0].istitle() else british

    return _BRITISH.sub(spell, text)
