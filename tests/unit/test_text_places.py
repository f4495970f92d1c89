"""Where words stand in a report: what `mentions` says of it, with places."""

from itertools import pairwise

import pytest

import mmaudit as mma
from mmaudit.text import mentions
from mmaudit.text._places import headers, places

ODD = [
    "",
    "FINAL REPORT\r\n INDICATION: Cough.\r\n\r\n _____\r\n FINDINGS:  No\n effusion.Lungs clear. IMPRESSION: Tube",
    "The lungs are clear without any sign of a pleural\n  effusion, vs. a chest_drain; ? pneumonia or edema?",
    "İstanbul. No PLEURAL EFFUSIONS?! 😀 Chest drains in line with the port-a-cath.",
    "No effusion. No effusion. Effusion.",
]


@pytest.fixture(scope="module")
def reports():
    return [*mma.datasets.load_phantom(40, random_state=1).reports, *ODD]


def terms_of(report, max_words=3):
    """Join the words of each run, as terms are defined."""
    runs = {}
    for place in places(report):
        runs.setdefault(place.run, []).append(place)
    return sorted(
        (" ".join(place.word for place in run[i : i + n]), run[0].status, run[0].section)
        for run in runs.values()
        for n in range(1, max_words + 1)
        for i in range(len(run) - n + 1)
    )


def test_they_are_the_mentions(reports):
    for report in reports:
        assert terms_of(report) == sorted(tuple(mention) for mention in mentions(report))


def test_they_are_in_order_and_do_not_overlap(reports):
    for report in reports:
        found = places(report)
        assert all(a.end <= b.start for a, b in pairwise(found))
        assert all(report[p.start].isalnum() and report[p.end - 1].isalnum() for p in found)


def test_places_worked_by_hand():
    text = "FINAL REPORT\r\nFINDINGS: On this film there are no large pleural\r\neffusions.Chest drain."
    found = [(text[p.start : p.end], p.word, p.status, p.section) for p in places(text)]
    assert found[-2:] == [
        ("pleural\r\neffusions", "pleural effusion", "negated", "FINDINGS"),
        ("Chest drain", "chest tube", "affirmed", "FINDINGS"),
    ]
    assert [text[start:end] for start, end in headers(text)] == ["FINDINGS:"]
