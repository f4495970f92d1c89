"""The lexicon: each phrase means one thing, and the words of real and of phantom reports are in it."""

import importlib.util
import re
from collections import Counter

import pytest

from mmaudit.datasets import load_openi
from mmaudit.datasets.phantom import _phrases
from mmaudit.text import canonical, category_of, label_terms, mentions
from mmaudit.text._lexicon import CATEGORIES, lexicon
from mmaudit.text._terms import STOP_WORDS

KNOWN = {concept.name for concept in lexicon()}


def words_of(phrase):
    return tuple(re.findall(r"[a-z0-9']+", phrase))


def test_there_are_concepts_of_each_category():
    counts = Counter(concept.category for concept in lexicon())
    assert set(counts) == set(CATEGORIES) - {"label-term"}
    assert len(KNOWN) == len(lexicon()) >= 250
    assert min(counts.values()) >= 40


def test_every_row_names_where_it_belongs():
    assert {concept.source for concept in lexicon()} == {"CheXpert", "Fleischner", "Open-i", "RadLex"}


def test_a_variant_belongs_to_one_concept():
    owners = Counter(words_of(variant) for concept in lexicon() for variant in (concept.name, *concept.variants))
    assert [words for words, n in owners.items() if n > 1] == []


def test_every_variant_is_folded_to_its_concept():
    wrong = {
        variant: canonical(variant)
        for concept in lexicon()
        for variant in (concept.name, *concept.variants)
        if canonical(variant) != concept.name
    }
    assert wrong == {}


def test_variants_are_written_in_small_letters():
    texts = [text for concept in lexicon() for text in (concept.name, *concept.variants)]
    assert [text for text in texts if not re.fullmatch(r"[a-z0-9][a-z0-9' /-]*", text)] == []


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("chest drains", "chest tube"),
        ("Chest Tubes", "chest tube"),
        ("intercostal drain", "chest tube"),
        ("thoracostomy tube", "chest tube"),
        ("left chest drain", "left chest tube"),
        ("ETT", "endotracheal tube"),
        ("ET tube", "endotracheal tube"),
        ("NG tubes", "nasogastric tube"),
        ("PICC line", "picc"),
        ("right internal jugular central venous catheter", "right central venous catheter"),
        ("median sternotomy wires", "sternotomy"),
        ("EKG leads", "ecg lead"),
        ("effusions", "pleural effusion"),
        ("pleural fluid", "pleural effusion"),
        ("pericardial effusion", "pericardial effusion"),
        ("joint effusion", "joint effusion"),
        ("right mainstem bronchus", "right main bronchus"),
        ("normal heart size", "normal heart size"),
        ("oedema", "edema"),
        ("pulmonary oedema", "edema"),
        ("pneumothoraces", "pneumothorax"),
        ("masses", "mass"),
        ("opacities", "opacity"),
        ("granulomas", "granuloma"),
        ("apices", "lung apex"),
        ("the heart is mildly enlarged", "cardiomegaly"),
        ("air-space opacities", "airspace disease"),
        ("chronic obstructive pulmonary disease", "copd"),
        ("low lung volumes", "low lung volumes"),
        ("Volumes low", "volume low"),
        ("x-rays", "radiograph"),
        ("semi-erect", "semi-upright"),
        ("right lung base", "right lung base"),
        ("RLL", "right lower lobe"),
        ("within normal limits", "normal"),
        ("no significant interval change", "unchanged"),
        ("patient's", ""),
        ("stripes and of spots", "stripe spot"),
        ("XXXX", ""),
        ("", ""),
    ],
)
def test_phrases_in_the_words_of_the_lexicon(phrase, expected):
    assert canonical(phrase) == expected


def test_a_phrase_ends_where_its_words_do():
    assert canonical("chest tubercle") == "chest tubercle"
    assert canonical("non-chest-tube") == "non-chest-tube"
    assert {m.term for m in mentions("Chest, tube.", max_words=1)} == {"chest", "tube"}


@pytest.mark.parametrize(
    ("term", "category"),
    [
        ("chest drain", "device"),
        ("left chest tube", "device"),
        ("pacemaker", "device"),
        ("ecg leads", "device"),
        ("sternotomy wires", "device"),
        ("pleural effusion", "finding"),
        ("small pleural effusion", "finding"),
        ("low lung volumes", "finding"),
        ("cardiomegaly", "finding"),
        ("portable", "acquisition"),
        ("supine", "acquisition"),
        ("rotated", "acquisition"),
        ("ap", "acquisition"),
        ("body habitus", "acquisition"),
        ("lateral view", "acquisition"),
        ("left", "anatomy"),
        ("costophrenic sulci", "anatomy"),
        ("right lower lobe", "anatomy"),
        ("again", "style"),
        ("stable", "style"),
        ("compared", "style"),
        ("unchanged", "style"),
        ("please", "style"),
        ("no interval change", "style"),
        ("effusion unchanged", "style"),
        ("zebra", "style"),
        ("zebra nodule", "finding"),
        ("", "style"),
    ],
)
def test_categories(term, category):
    assert category_of(term) == category


@pytest.mark.parametrize(
    ("term", "label"),
    [
        ("pleural effusion", "Pleural Effusion"),
        ("large pleural effusion", "Effusion"),
        ("edema", "Edema"),
        ("vascular congestion", "Edema"),
        ("infection", "Pneumonia"),  # "infectious process" restates it, and is this concept
        ("nodule", "Lung Lesion"),
        ("chest tube", "Support Devices"),
        ("picc", "Support Devices"),
        ("cardiomegaly", "Cardiomegaly"),
        ("normal", "No Finding"),
        ("airspace disease", "Lung Opacity"),  # "airspace opacity" is this concept
        ("aspiration pneumonia", "Pneumonia"),
    ],
)
def test_terms_that_restate_the_label_come_first(term, label):
    assert category_of(term, label_terms(label)) == "label-term"
    assert category_of(term) != "label-term"


def test_other_terms_do_not_restate_the_label():
    words = label_terms("Pleural Effusion")
    assert [category_of(term, words) for term in ("chest tube", "pleural thickening", "supine", "again")] == [
        "device",
        "finding",
        "acquisition",
        "style",
    ]


def test_the_users_own_words_of_a_label_are_folded_too():
    assert category_of("chest tube", ["thoracostomy tubes"]) == "label-term"


# Coverage: what a report can say has a category that is not a guess.


def phrases_of_the_phantom():
    """Return every text that the banks of the phantom hold, each slot filled with the parts written in it."""
    sides = ("left", "right", "bilateral")
    places = [
        p.replace("{side}", s) for zone in _phrases.PLACES.values() for g in zone.values() for p in g for s in sides
    ]
    sizes = [word for grades in _phrases.SIZES.values() for grade in grades for word in grade]
    said = [text for group in (_phrases.REASONS_SAID, _phrases.QUESTIONS) for texts in group.values() for text in texts]
    frames = [text for bank in _phrases.BANKS for texts in bank.values() for text in texts]
    return [*places, *sizes, *said, *frames, *_phrases.BRITISH.values()]


def test_every_word_of_the_phantoms_reports_is_known():
    endings = ({"{s}": "s", "{x}": "ces", "{y}": "ies"}, {"{s}": "", "{x}": "x", "{y}": "y"})
    unknown = Counter()
    for phrase in phrases_of_the_phantom():
        for ending in endings:
            text = phrase
            for slot, letters in ending.items():
                text = text.replace(slot, letters)
            text = re.sub(r"\{[a-z_]+\}", " ", text)  # names of slots are no words of a report
            for part in re.split(r"[{}|~]", text):
                unknown.update(m.term for m in mentions(part, max_words=1) if m.term not in KNOWN)
    assert unknown == {}


@pytest.fixture(scope="module")
def openi():
    if importlib.util.find_spec("torchxrayvision") is None:
        pytest.skip("the reports of Open-i come with torchxrayvision")
    with pytest.warns(UserWarning):
        return load_openi(sections=("FINDINGS", "IMPRESSION", "INDICATION", "COMPARISON")).reports


def test_every_frequent_word_of_openi_is_known(openi):
    counts = Counter(term for report in openi for term in {m.term for m in mentions(report, max_words=1)})
    frequent = {term for term, n in counts.items() if n >= 30}
    assert len(frequent) > 200
    assert frequent - KNOWN == set()


def test_nearly_all_that_openi_mentions_is_known(openi):
    terms = [m.term for report in openi for m in mentions(report, max_words=1)]
    assert sum(term in KNOWN for term in terms) / len(terms) >= 0.95


def test_stop_words_of_the_lexicon_are_wording():
    # The lexicon takes precedence over the stop words, which is meant for a few words of time and comparison.
    kept = {word for concept in lexicon() for word in (concept.name, *concept.variants) if word in STOP_WORDS}
    assert "again" in kept
    assert not kept & {"no", "not", "without", "the", "of", "seen", "noted"}
