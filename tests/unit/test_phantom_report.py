"""Reports of the phantom: what they are said to say is in the text, and their errors come at the stated rates."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mmaudit.datasets.phantom import _report
from mmaudit.datasets.phantom._phrases import QUESTIONS, REASONS_SAID
from mmaudit.datasets.phantom._record import DEVICES, FINDINGS, Body, Device, Finding, Study
from mmaudit.datasets.phantom._report import (
    CHANGED,
    CONTRADICTED,
    DOUBTED,
    MISSED,
    N_AUTHORS,
    NAMED,
    REASONS,
    write_report,
)
from mmaudit.text import report_sections

PROSE = (0, 3, 5, 6, 7)
TERSE = (1, 2, 4)
# How a finding is called, and the set phrases that deny it without its name.
CALLED = {
    "pleural effusion": r"effusions?\b|pleural fluid",
    "cardiomegaly": r"cardiomegaly|enlarge",
    "atelectasis": r"atelecta|opacit|density",
    "consolidation": r"consolidation|opacit|infiltrate|air ?space|pneumonia",
    "pneumothorax": r"pneumothora|PTX",
    "edema": r"edema|congestion|markings|vasculature",
    "nodule": r"nodul",
    "fracture": r"fracture",
}
DENIED_BY = {
    "pleural effusion": r"pleural spaces are clear",
    "cardiomegaly": r"normal|upper limits|unremarkable",
    "consolidation": r"clear|free of",
    "pneumothorax": r"pleural spaces are clear",
    "edema": r"vascul\w+ (?:is )?(?:normal|unremarkable|within)|normal pulmonary vascul",
    "fracture": r"intact|no acute|unremarkable|reveal no|without acute",
}
NEGATION = re.compile(r"\b(?:no|not(?! excluded)|without|negative|free of|clear of|resolved|resolution|limits)\b")
DEVICE_CALLED = {
    "chest tube": r"chest tube|thoracostomy|pleural drain|chest drain|intercostal drain",
    "endotracheal tube": r"endotracheal|\bET tube|\bETT\b",
    "central line": r"central (?:venous )?(?:line|catheter)",
    "nasogastric tube": r"nasogastric|\bNG tube|enteric tube",
    "pacemaker": r"pacemaker|pacing",
    "sternal wires": r"wires",
    "ECG leads": r"(?:ECG|EKG|monitor) leads",
    "surgical clips": r"clips",
}


def _some_findings(rng):
    findings = []
    for kind in FINDINGS:
        if rng.random() < 0.25:
            sides = ("",) if kind in ("cardiomegaly", "edema") else ("left",) if rng.random() < 0.4 else ("right",)
            if kind in ("pleural effusion", "atelectasis") and rng.random() < 0.3:
                sides = ("left", "right")
            zoned = kind in ("atelectasis", "consolidation", "nodule", "fracture")
            zone = str(rng.choice(["upper", "middle", "lower"])) if zoned else ""
            findings += [Finding(kind, side, float(rng.uniform(0.1, 1.0)), zone) for side in sides]
    return tuple(findings)


def _some_devices(rng):
    chosen = [kind for kind in DEVICES if rng.random() < 0.3]
    sided = ("chest tube", "central line", "pacemaker", "surgical clips")
    can_lie_badly = ("endotracheal tube", "central line", "nasogastric tube")
    return tuple(
        Device(
            kind,
            str(rng.choice(["left", "right"])) if kind in sided else "",
            tuple(rng.uniform(-1, 1, 3).tolist()),
            kind in can_lie_badly and bool(rng.random() < 0.15),
        )
        for kind in chosen
    )


def _some_studies(n, rng):
    """Return n studies: some the first of a patient, some after one that has half of its findings and devices."""
    studies = []
    views = (("PA",), ("PA", "lateral"), ("AP",), ("AP supine",), ("AP", "AP"), ("AP", "lateral"), ("lateral",))
    while len(studies) < n:
        body = Body(
            "FM"[rng.integers(2)],
            float(rng.integers(18, 95)),
            170,
            float(rng.uniform(16, 45)),
            *rng.normal(size=5),
            (1,),
        )
        previous = None
        for number in range(int(rng.integers(1, 4))):
            findings, devices = _some_findings(rng), _some_devices(rng)
            if previous is not None:
                old = tuple(
                    replace(f, size=float(np.clip(f.size + rng.choice([-0.3, 0.0, 0.05, 0.3]), 0.1, 1.0)))
                    for f in previous.findings
                    if rng.random() < 0.6
                )
                findings = old + tuple(f for f in findings if f.kind not in {o.kind for o in old})
                kept = tuple(d for d in previous.devices if rng.random() < 0.6)
                devices = kept + tuple(d for d in devices if d.kind not in {k.kind for k in kept})
            previous = Study(
                body=body,
                number=number,
                day=0 if previous is None else previous.day + int(rng.integers(0, 400)),
                setting="ICU",
                site="North",
                portable=bool(rng.random() < 0.5),
                views=views[rng.integers(len(views))],
                reason=str(rng.choice(REASONS)),
                findings=findings,
                devices=devices,
                previous=previous,
                author=int(rng.integers(N_AUTHORS)),
            )
            studies.append(previous)
    return studies[:n]


def _written(studies, seed=0):
    return [(study, write_report(study, np.random.default_rng([seed, i]))) for i, study in enumerate(studies)]


@pytest.fixture(scope="module")
def reports():
    return _written(_some_studies(1_000, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def flawless():
    """The same without typing errors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_report, "_AUTHORS", tuple(replace(author, typos=0.0) for author in _report._AUTHORS))
        return _written(_some_studies(1_000, np.random.default_rng(0)))


def sections(report):
    found = report_sections(report.text)
    return found.get("FINDINGS", ""), found.get("IMPRESSION", "")


def clauses(text):
    return [c for c in re.split(r"(?<=[.?]) |, and |, although |: ", text) if c]


def mentions(kind, text):
    """Return the clauses that name a finding: those that deny it and those that do not."""
    named = [(c, match) for c in clauses(text) if (match := re.search(CALLED[kind], c, re.I))]
    denying = [
        c
        for c, match in named
        if NEGATION.search(c[: match.start()].lower())
        or re.search(r"(?:has|have) resolved|no longer|not enlarged|has resolved", c)
    ]
    return denying, [c for c, _ in named if c not in denying]


# What is said


def test_what_is_said_to_be_present_is_in_the_findings(flawless):
    said = [(kind, r) for _, r in flawless for kind in FINDINGS if r.said[kind] in ("present", "uncertain")]
    there = [bool(mentions(kind, sections(r)[0])[1]) for kind, r in said]
    assert len(said) > 1_000
    assert np.mean(there) >= 0.995, [(k, r.text) for (k, r), ok in zip(said, there, strict=True) if not ok][:3]


def test_what_is_said_to_be_absent_is_denied_and_not_affirmed(flawless):
    said = [(kind, r) for _, r in flawless for kind in FINDINGS if r.said[kind] == "absent"]
    denied = [
        bool(mentions(kind, text)[0]) or bool(re.search(DENIED_BY.get(kind, "$^"), text, re.I))
        for kind, r in said
        for text in [sections(r)[0]]
    ]
    assert np.mean(denied) >= 0.995, [(k, r.text) for (k, r), ok in zip(said, denied, strict=True) if not ok][:3]
    # Atelectasis, consolidation and edema share words such as "opacity" with each other.
    for kind in ("pleural effusion", "pneumothorax", "nodule", "fracture", "cardiomegaly"):
        affirmed = [bool(mentions(kind, sections(r)[0])[1]) for k, r in said if k == kind]
        assert np.mean(affirmed) <= 0.01, kind


def test_what_is_not_said_is_not_named(flawless):
    for kind in ("pleural effusion", "pneumothorax", "nodule", "fracture"):
        silent = [mentions(kind, sections(r)[0])[1] for _, r in flawless if not r.said[kind]]
        assert np.mean([bool(found) for found in silent]) <= 0.01, (kind, [f for f in silent if f][:3])


def test_only_what_is_there_is_said_to_be_there(reports):
    for study, report in reports:
        there = {f.kind for f in study.findings}
        if there & {"consolidation", "atelectasis"}:
            there |= {"consolidation", "atelectasis"}  # one or the other
        assert {kind for kind, said in report.said.items() if said in ("present", "uncertain")} <= there
        assert set(report.said) == set(FINDINGS)
        assert set(report.said.values()) <= {"present", "uncertain", "absent", ""}


def test_sides_are_right_unless_recorded_as_wrong(flawless):
    for study, report in flawless:
        for kind in ("pleural effusion", "pneumothorax", "nodule", "fracture"):
            sides = {f.side for f in study.findings if f.kind == kind}
            if report.contradiction == kind or len(sides) != 1:
                continue
            if study.previous is not None and {f.side for f in study.previous.findings if f.kind == kind} - sides:
                continue  # the other side is there as what has resolved
            wrong = {"left": r"\bright\b|\bR\b", "right": r"\bleft\b|\bL\b|lingula|retrocardiac"}[sides.pop()]
            for text in sections(report):
                for clause in mentions(kind, text)[1]:
                    clause = clause.replace("right greater than left", "").replace("left greater than right", "")
                    # Said of the lung beside it in the same breath.
                    assert not re.search(wrong, clause.split(" with ")[0]), (kind, clause)


def test_impression_repeats_the_findings(flawless):
    large = [r for s, r in flawless if r.said["pneumothorax"] == "present" and not r.contradiction and sections(r)[1]]
    assert np.mean([bool(mentions("pneumothorax", sections(r)[1])[1]) for r in large]) >= 0.99


# Rates


def within(count, n, rate, slack=0.0):
    """Whether a count is what a rate gives, within four standard errors."""
    error = 4 * np.sqrt(n * rate * (1 - rate)) + slack * n
    return abs(count - n * rate) <= error


@pytest.mark.parametrize("grade", [0, 1, 2])
def test_small_findings_are_overlooked_and_doubted_more_often(reports, grade):
    low, high = ((0, 0.33), (0.33, 0.67), (0.67, 1.01))[grade]
    seen, doubted, n = 0, 0, 0
    chance = 0.0
    for study, report in reports:
        for kind in ("pleural effusion", "pneumothorax", "nodule", "edema", "cardiomegaly"):
            found = [f for f in study.findings if f.kind == kind]
            if len(found) == 1 and low <= found[0].size < high:
                n += 1
                is_seen = report.said[kind] in ("present", "uncertain")
                seen += is_seen
                doubted += report.said[kind] == "uncertain"
                chance += is_seen * DOUBTED[grade] * _report._AUTHORS[study.author].doubts
    assert n > 250
    assert within(n - seen, n, MISSED[grade])
    assert within(doubted, seen, chance / seen)


def test_typing_errors_come_at_the_rates_of_the_authors(reports):
    expected, counted = [], []
    for number, author in enumerate(_report._AUTHORS):
        own = [r for s, r in reports if s.author == number]
        n_words = sum(len(re.findall(r"[A-Za-z]{5,}", text)) for r in own for text in sections(r))
        expected.append(n_words * author.typos)
        counted.append(sum(r.n_typos for r in own))
    # To swap two equal letters is no error, so that the rate is the most there can be.
    assert abs(sum(counted) - 0.96 * sum(expected)) < 4 * np.sqrt(sum(expected))
    assert np.corrcoef(expected, counted)[0, 1] > 0.8


def test_every_typing_error_is_counted_and_none_is_a_word(reports):
    known = _report._known_words()
    for _, report in reports:
        words = re.findall(r"[A-Za-z]{4,}", " ".join(sections(report)))
        assert sum(word.lower() not in known for word in words) == report.n_typos, report.text


def test_contradictions_are_rare_and_real(flawless):
    wrong = [(s, r) for s, r in flawless if r.contradiction]
    can_be = [r for s, r in flawless if sections(r)[1] and any(f.side for f in s.findings)]
    assert 0.5 * CONTRADICTED <= len(wrong) / len(can_be) <= 1.3 * CONTRADICTED
    for study, report in wrong:
        kind = report.contradiction
        impression = sections(report)[1]
        denying, affirming = mentions(kind, impression)
        sides = {f.side for f in study.findings if f.kind == kind}
        other = {"left": "right|R", "right": "left|L|lingular"}.get(next(iter(sides)), "$^")
        if len(sides) > 1:
            continue  # one of the two was overlooked: which, only FINDINGS tells
        turned = any(re.search(rf"\b(?:{other})\b", c, re.I) for c in affirming)
        assert bool(denying) or turned, report.text


def test_devices_are_named_at_their_rates(reports):
    for kind in ("ECG leads", "surgical clips", "sternal wires"):
        has = [(s, r) for s, r in reports if any(d.kind == kind for d in s.devices)]
        assert within(sum(kind in r.named for _, r in has), len(has), NAMED[kind])


# Devices and comparison


def test_devices_named_are_in_the_study_and_in_the_text(flawless):
    for study, report in flawless:
        there = {d.kind for d in study.devices}
        gone = set() if study.previous is None else {d.kind for d in study.previous.devices}
        assert set(report.named) <= there
        findings = sections(report)[0]
        kept = " ".join(c for c in clauses(findings) if "remov" not in c)
        for kind, called in DEVICE_CALLED.items():
            assert bool(re.search(called, kept, re.I)) == (kind in report.named), (kind, report.text)
            if re.search(called, findings, re.I):
                assert kind in there | gone


def test_a_misplaced_tube_is_called_out(flawless):
    for study, report in flawless:
        tube = next((d for d in study.devices if d.kind == "endotracheal tube"), None)
        if tube is not None and "endotracheal tube" in report.named:
            assert bool(re.search(r"right main(?:stem)? bronchus", sections(report)[0])) == tube.misplaced


COMPARING = (
    r"\b(?:[Uu]nchanged|[Nn]ew|[Ii]nterval|since|[Cc]ompared|comparison|no longer|again|[Pp]ersistent"
    r"|resolved|removed)\b"
)


def test_nothing_is_compared_where_there_is_nothing_before(reports):
    for study, report in reports:
        if study.previous is None:
            for text in sections(report):
                assert not re.search(COMPARING, text), text


def test_words_of_change_agree_with_the_study_before(flawless):
    counts = dict.fromkeys(("new", "unchanged", "increased", "decreased", "resolved"), 0)
    words = {
        "new": r"\b[Nn]ew\b|development",
        "unchanged": r"[Uu]nchanged|[Ss]table|[Pp]ersistent|again|no change|not \w+ changed",
        "increased": r"(?:[Ii]ncreas(?:ed?|ing)|[Ww]orsen(?:ed|ing))\b(?! density)",
        "decreased": r"[Dd]ecreas|[Ii]mprov|smaller",
        "resolved": r"[Rr]esol|no longer",
    }
    for study, report in flawless:
        if study.previous is None:
            continue
        for kind in ("pleural effusion", "pneumothorax"):
            now, before = ({f.side: f.size for f in s.findings if f.kind == kind} for s in (study, study.previous))
            if len(now) > 1 or len(before) > 1 or (now and before and set(now) != set(before)):
                continue
            growth = next(iter(now.values()), 0) - next(iter(before.values()), 0)
            truth = (
                "new" if not before
                else "resolved" if not now
                else "unchanged" if abs(growth) <= CHANGED
                else "increased" if growth > 0
                else "decreased"
            )  # fmt: skip
            for clause in mentions(kind, sections(report)[0])[1 if now else 0]:
                clause = re.sub(r".*\b(?:[Cc]ompared|comparison)\b[^,]*,", "", clause)
                said = [word for word, pattern in words.items() if re.search(pattern, clause)]
                assert set(said) <= {truth}, (truth, clause)
                counts.update({word: counts[word] + 1 for word in said})
    assert min(counts.values()) >= 10, counts


# Form


def test_sections_are_there_and_no_template_is_left(reports):
    for _, report in reports:
        found = report_sections(report.text)
        assert "FINDINGS" in found and "INDICATION" in found
        assert "IMPRESSION" in found or "FINDINGS AND IMPRESSION:" in report.text
        assert not re.search(
            r"[{}~|]|None\b(?! available)(?!\.)| [.,]|\.\.|  |\ba [aeio]\w|\ban [bcdfgjklmpqrstvwxyz]", report.text
        ), report.text


def test_prose_is_in_sentences(reports):
    for study, report in reports:
        for text in sections(report):
            if text and study.author in PROSE:
                for sentence in re.split(r"(?<=[.?]) ", text):
                    assert re.match(r"[A-Z\d]", sentence) and sentence[-1] in ".?", sentence


def test_technique_tells_the_views(reports):
    lateral = [r for s, r in reports if s.views == ("PA", "lateral")]
    texts = [t for r in lateral if (t := report_sections(r.text).get("TECHNIQUE"))]
    assert len(texts) > 50
    assert all(re.search(r"PA and lateral|[Ff]rontal and lateral|2 views", t) for t in texts)
    supine = [t for s, r in reports if s.views == ("AP supine",) and (t := report_sections(r.text).get("TECHNIQUE"))]
    assert within(sum("upine" in t for t in supine), len(supine), _report.SUPINE_SAID)


def test_authors_differ():
    studies = _some_studies(100, np.random.default_rng(1))
    lengths, words = [], []
    for author in range(N_AUTHORS):
        texts = [r.text for _, r in _written([replace(s, author=author) for s in studies])]
        lengths.append(np.median([len(t.split()) for t in texts]))
        words.append(sum(bool(re.search(r"\b(?:The|There|is|are)\b", s)) for t in texts for s in clauses(t)))
    assert N_AUTHORS >= 6
    assert max(lengths) > 1.8 * min(lengths)
    assert max(words[a] for a in TERSE) < 0.5 * min(words[a] for a in PROSE)


def test_the_briton_spells_as_in_britain(flawless):
    texts = " ".join(r.text for s, r in flawless if s.author == 5)
    assert "oedema" in texts and "chest drain" in texts
    assert not re.search(r"\b[Ee]dema|\b[Ee]sophagus", texts)


def test_reasons_have_words_and_others_are_taken_as_they_are():
    assert set(REASONS) == set(REASONS_SAID) == set(QUESTIONS)
    study = replace(_some_studies(1, np.random.default_rng(2))[0], reason="smoke inhalation")
    assert "smoke inhalation" in write_report(study, np.random.default_rng(0)).text.lower()


def test_same_seed_same_report(reports):
    again = _written(_some_studies(200, np.random.default_rng(0)))
    assert [r for _, r in again] == [r for _, r in reports[:200]]
    other = _written(_some_studies(200, np.random.default_rng(0)), seed=1)
    assert np.mean([a.text != b.text for (_, a), (_, b) in zip(again, other, strict=True)]) > 0.95


def test_reports_are_distinct(reports):
    assert len({r.text for _, r in reports[:1_000]}) >= 900
