"""Affirmed, negated or uncertain: sentences with what a radiologist means by them."""

import re

import pytest

from mmaudit.text import mentions
from mmaudit.text._context import CONTEXT, NEGEX

# Sentence, terms that are affirmed, negated, uncertain. A term that is named must have that status and no other.
# Sentences marked (Open-i) are turns of phrase of that collection, the words that were removed from it filled in.
SENTENCES = [
    # Plain
    ("Small left pleural effusion.", "pleural effusion; small; left", "", ""),
    ("There is a large right pneumothorax.", "pneumothorax; large; right", "", ""),
    ("Chest tube in place.", "chest tube", "", ""),
    ("Stable cardiomegaly.", "cardiomegaly; stable", "", ""),
    ("Again seen is a calcified granuloma.", "granuloma; again", "", ""),
    ("Consolidation consistent with pneumonia.", "consolidation; pneumonia", "", ""),
    ("Blunting compatible with a small effusion.", "blunting; pleural effusion", "", ""),
    ("History of pneumonia.", "pneumonia", "", ""),
    # Denied before
    ("No effusion.", "", "pleural effusion", ""),
    ("No pleural effusion or pneumothorax.", "", "pleural effusion; pneumothorax", ""),
    ("No focal consolidation, effusion, or pneumothorax.", "", "consolidation; pleural effusion; pneumothorax", ""),
    ("There is no evidence of pneumothorax.", "", "pneumothorax", ""),
    ("There is no convincing evidence of pneumonia.", "", "pneumonia", ""),
    ("No definite pneumothorax.", "", "pneumothorax", ""),
    ("No radiographic evidence of tuberculosis.", "", "tuberculosis", ""),
    ("Without evidence of edema.", "", "edema", ""),
    ("Negative for focal consolidation, pneumothorax or large pleural effusion. (Open-i)",
     "", "consolidation; pneumothorax; pleural effusion", ""),
    ("Both lungs are free of acute infiltrates and expanded. (Open-i)", "lung", "infiltrate", ""),
    ("The lungs are clear of consolidation.", "lung", "consolidation", ""),
    ("The patient denies chest pain.", "", "chest pain", ""),
    ("Neither effusion nor pneumothorax.", "", "pleural effusion; pneumothorax", ""),
    ("Absence of pleural effusion.", "", "pleural effusion", ""),
    ("Emphysematous change without acute radiographic cardiopulmonary process. (Open-i)",
     "emphysema", "cardiopulmonary abnormality", ""),
    ("Mild cardiomegaly without heart failure. (Open-i)", "cardiomegaly", "heart failure", ""),
    ("The heart is not enlarged.", "heart", "enlargement", ""),
    ("No cavitary lesion to suggest tuberculosis.", "", "cavity; tuberculosis", ""),
    ("No findings suspicious for pneumonia.", "", "pneumonia", ""),
    ("No opacity concerning for infection.", "", "opacity; infection", ""),
    ("Nothing to suggest edema.", "", "edema", ""),
    ("No suspicious pulmonary nodules.", "", "nodule", ""),
    ("The film fails to show a fracture.", "", "fracture", ""),
    ("The lungs are clear w/o consolidation.", "clear", "consolidation", ""),
    ("There are no acute, displaced rib fractures.", "", "rib fracture", ""),
    ("The opacity represents atelectasis rather than pneumonia.", "opacity; atelectasis", "pneumonia", ""),
    ("Lungs clear, no pneumothorax.", "clear", "pneumothorax", ""),
    ("No large effusion, pneumothorax, or consolidation is seen.", "",
     "pleural effusion; pneumothorax; consolidation", ""),
    ("No displaced rib fractures, pneumothorax, or pleural effusion identified. (Open-i)", "",
     "rib fracture; pneumothorax; pleural effusion", ""),
    ("There isn't any effusion.", "", "pleural effusion", ""),
    ("The opacity does not represent pneumonia.", "opacity", "pneumonia", ""),
    ("Findings are not consistent with edema.", "", "edema", ""),
    # Denied after
    ("Pleural effusion is not seen.", "", "pleural effusion", ""),
    ("The right pneumothorax is not appreciated. (Open-i)", "", "pneumothorax", ""),
    ("Effusion, opacity, and pneumothorax are not seen.", "", "pleural effusion; opacity; pneumothorax", ""),
    ("Effusion and pneumothorax are not identified.", "", "pleural effusion; pneumothorax", ""),
    ("A pneumothorax is no longer seen.", "", "pneumothorax", ""),
    ("The effusion has resolved.", "", "pleural effusion", ""),
    ("The previously noted right effusion has resolved since the prior study.", "", "pleural effusion", ""),
    ("Pneumonia has been ruled out.", "", "pneumonia", ""),
    ("The chest tube has been removed.", "", "chest tube", ""),
    ("Endotracheal tube and NG tube have been removed. (Open-i)", "", "endotracheal tube; nasogastric tube", ""),
    ("NG tube removed.", "", "nasogastric tube", ""),
    ("Chest tube in place, pneumothorax is not seen.", "chest tube", "pneumothorax", ""),
    ("Chest tube is in place and effusion is not seen.", "chest tube", "pleural effusion", ""),
    ("Pneumothorax is absent.", "", "pneumothorax", ""),
    ("A discrete nodule cannot be identified.", "", "nodule", ""),
    ("The nodule is not definitely identified on the lateral view. (Open-i)", "lateral", "nodule", ""),
    ("Focal consolidation is not clearly visualised.", "", "consolidation", ""),
    ("Pneumonia is unlikely.", "", "pneumonia", ""),
    ("Unlikely to represent pneumonia.", "", "pneumonia", ""),
    # Gone
    ("Interval resolution of the left effusion.", "", "pleural effusion", ""),
    ("Interval removal of the endotracheal tube.", "", "endotracheal tube", ""),
    ("Resolved pneumothorax.", "", "pneumothorax", ""),
    ("Status post chest tube removal.", "", "chest tube", ""),
    ("The opacities have cleared.", "", "opacity", ""),
    # Still there, whatever is denied
    ("The effusion has not resolved.", "pleural effusion", "", ""),
    ("Partially resolved pneumothorax.", "pneumothorax", "", ""),
    ("Near complete resolution of the pneumonia.", "pneumonia", "", ""),
    ("Resolving pulmonary interstitial edema. (Open-i)", "edema", "", ""),
    ("The tube should be removed.", "tube", "", ""),
    ("No change in the effusion.", "pleural effusion; unchanged", "", ""),
    ("No significant interval change in cardiomegaly.", "cardiomegaly; unchanged", "", ""),
    ("Left effusion, not significantly changed.", "pleural effusion; unchanged", "", ""),
    ("Opacity with atelectasis without significant change. (Open-i)", "opacity; atelectasis; unchanged", "", ""),
    ("No increase in the effusion.", "pleural effusion", "", ""),
    ("No further effusion drained.", "pleural effusion", "", ""),
    ("Not only effusion but pneumothorax.", "pleural effusion; pneumothorax", "", ""),
    ("The lungs are not without consolidation.", "lung; consolidation", "", ""),
    ("The nodule is not well seen on this film.", "nodule", "", ""),
    ("The left costophrenic angle is not included.", "costophrenic angle", "", ""),
    ("Left midlung opacity noted, not visualized on prior. (Open-i)", "opacity", "", ""),
    ("A nodule not seen on prior exams. (Open-i)", "nodule", "", ""),
    ("The previously seen effusion is not seen.", "", "pleural effusion", ""),
    ("Followup is suggested following treatment to confirm clearing of the opacities. (Open-i)", "opacity", "", ""),
    ("Specifically, no radiographically apparent etiology for hemoptysis. (Open-i)", "hemoptysis", "", ""),
    ("Low lung volumes.", "low lung volumes", "", ""),
    ("Nonspecific opacity in the notch.", "opacity", "", ""),
    # Where a denial ends
    ("No effusion but consolidation.", "consolidation", "pleural effusion", ""),
    ("No effusion; chest tube in place.", "chest tube", "pleural effusion", ""),
    ("No effusion. Chest tube.", "chest tube", "pleural effusion", ""),
    ("No effusion\nChest tube", "chest tube", "pleural effusion", ""),
    ("No pneumothorax, however opacity persists.", "opacity", "pneumothorax", ""),
    ("No effusion, the heart is enlarged.", "cardiomegaly", "pleural effusion", ""),
    ("No effusion, heart size is normal.", "heart size; normal", "pleural effusion", ""),
    ("No pneumothorax, heart size normal.", "heart size; normal", "pneumothorax", ""),
    ("No effusion and there is atelectasis.", "atelectasis", "pleural effusion", ""),
    ("No effusion, stable cardiomegaly.", "cardiomegaly", "pleural effusion", ""),
    ("No pneumothorax, small left effusion.", "pleural effusion", "pneumothorax", ""),
    ("No pneumothorax, moderate or large effusion.", "", "pneumothorax; pleural effusion", ""),
    ("The lungs are clear of focal airspace disease, pneumothorax, pleural effusion. (Open-i)",
     "", "airspace disease; pneumothorax; pleural effusion", ""),
    ("No consolidation, lungs clear.", "clear", "consolidation", ""),
    ("No abnormality other than cardiomegaly.", "cardiomegaly", "abnormality", ""),
    ("No acute disease except for atelectasis.", "atelectasis", "acute disease", ""),
    ("No pneumothorax following chest tube placement.", "chest tube", "pneumothorax", ""),
    ("No effusion is seen on this supine film.", "supine", "pleural effusion", ""),
    ("No pneumothorax on the portable film.", "portable", "pneumothorax", ""),
    ("No change compared with the prior portable film.", "portable; unchanged", "", ""),
    ("Limited study but no acute pulmonary disease identified. (Open-i)", "limited", "acute disease", ""),
    ("Pneumothorax with no effusion.", "pneumothorax", "pleural effusion", ""),
    ("No effusion, which was seen before, and a new nodule.", "nodule", "pleural effusion", ""),
    ("Although the heart is not enlarged, this is concerning for pulmonary hypertension. (Open-i)",
     "heart", "enlargement", "pulmonary hypertension"),
    ("CT with or without contrast.", "ct; contrast", "", ""),
    ("Clear lungs (no consolidation) with cardiomegaly.", "clear; cardiomegaly", "consolidation", ""),
    ("No pneumothorax - stable effusion.", "pleural effusion", "pneumothorax", ""),
    # In doubt before
    ("Possible pneumonia.", "", "", "pneumonia"),
    ("Probable small effusion.", "", "", "pleural effusion"),
    ("Questionable nodule at the left apex.", "", "", "nodule"),
    ("There may be a small effusion.", "", "", "pleural effusion"),
    ("Opacity may represent atelectasis.", "opacity", "", "atelectasis"),
    ("This may represent scarring or atelectasis. (Open-i)", "", "", "scarring; atelectasis"),
    ("Opacity which could represent pneumonia.", "opacity", "", "pneumonia"),
    ("There is likely atelectasis.", "", "", "atelectasis"),
    ("Patchy left lower lobe airspace disease, concerning for pneumonia. (Open-i)",
     "airspace disease", "", "pneumonia"),
    ("Indistinct margins may be secondary to crowding.", "indistinct", "", "bronchovascular crowding"),
    ("This may be due to chronic pulmonary embolism. (Open-i)", "", "", "pulmonary embolism"),
    ("Opacity suspicious for malignancy.", "opacity", "", "malignancy"),
    ("Hyperexpanded lungs with flattened hemidiaphragm suggesting COPD. (Open-i)",
     "hyperinflation; flattened diaphragm", "", "copd"),
    ("Findings suggestive of emphysema. (Open-i)", "", "", "emphysema"),
    ("Findings are worrisome for malignancy.", "", "", "malignancy"),
    ("Cardiomegaly, question small bilateral pleural effusions. (Open-i)", "cardiomegaly", "", "pleural effusion"),
    ("Question mild pulmonary vascular congestion in a patient with prosthetic aortic valve. (Open-i)",
     "prosthetic valve", "", "vascular congestion"),
    ("Cannot exclude a right lower lobe cavity. (Open-i)", "", "", "cavity"),
    ("Cannot rule out pneumonia.", "", "", "pneumonia"),
    ("Probably scarring in the left apex, although difficult to exclude a cavitary lesion. (Open-i)",
     "", "", "scarring; cavity"),
    ("Suspected rib fracture.", "", "", "rib fracture"),
    ("Concern for aspiration.", "", "", "aspiration"),
    ("Opacity is favored to represent atelectasis.", "opacity", "", "atelectasis"),
    ("Perihilar opacities, possibly edema.", "opacity", "", "edema"),
    ("Pulmonary vascular congestion, possibly with edema.", "vascular congestion", "", "edema"),
    ("Differential diagnosis includes edema and infection.", "", "", "edema; infection"),
    ("Borderline cardiomegaly.", "", "", "cardiomegaly"),
    ("Opacity is presumably atelectasis.", "opacity", "", "atelectasis"),
    ("Not necessarily pneumonia.", "", "", "pneumonia"),
    ("It is not certain if there is a pneumothorax.", "", "", "pneumothorax"),
    ("No new consolidation.", "", "", "consolidation"),
    # In doubt after
    ("Pneumonia cannot be excluded.", "", "", "pneumonia"),
    ("Definite infiltrate is not excluded. (Open-i)", "", "", "infiltrate"),
    ("Upper lobe airspace disease or pulmonary nodule is not entirely excluded. (Open-i)",
     "", "", "airspace disease; nodule"),
    ("A small effusion would be difficult to exclude on this supine examination.", "supine", "", "pleural effusion"),
    ("Opacity at the left base, pneumonia or atelectasis not excluded.", "opacity", "", "pneumonia; atelectasis"),
    ("A small pneumothorax is possible.", "", "", "pneumothorax"),
    ("Left effusion is suspected.", "", "", "pleural effusion"),
    ("Aspiration or edema are also possible but less likely. (Open-i)", "", "", "aspiration; edema"),
    ("Lingular atelectasis or infiltrate cannot be ruled out. (Open-i)", "", "", "atelectasis; infiltrate"),
    ("Pneumonia is less likely.", "", "", "pneumonia"),
    ("Atelectasis is likely.", "", "", "atelectasis"),
    ("Possibility of tuberculosis should be excluded. (Open-i)", "", "", "tuberculosis"),
    ("Additional fractures cannot entirely be excluded. (Open-i)", "", "", "fracture"),
    ("The aorta is tortuous, and cannot exclude ascending aortic aneurysm. (Open-i)", "tortuosity", "", "aneurysm"),
    ("These were not present on the prior study and may represent sequela of infection. (Open-i)",
     "", "", "infection"),
    # One or the other
    ("Streaky right lower lobe infiltrate versus atelectasis. (Open-i)", "", "", "infiltrate; atelectasis"),
    ("Basilar opacities, atelectasis vs. pneumonia.", "opacity", "", "atelectasis; pneumonia"),
    ("Left base opacity, atelectasis and/or scar.", "opacity", "", "atelectasis; scarring"),
    ("Bibasilar opacities, which may represent atelectasis, infection, or aspiration.",
     "opacity", "", "atelectasis; infection; aspiration"),
    ("Atelectasis or pneumonia at the left base.", "", "", "atelectasis; pneumonia"),
    # Questions
    ("?pneumonia", "", "", "pneumonia"),
    ("Cough, ? pneumonia", "cough", "", "pneumonia"),
    ("Edema or pneumonia?", "", "", "edema; pneumonia"),
    ("Question edema or atypical infection? (Open-i)", "", "", "edema; infection"),
    ("Pneumothorax, resolved?", "", "", "pneumothorax"),
    ("Rule out pneumonia.", "", "", "pneumonia"),
    ("Cough and fever, r/o pneumonia.", "cough; fever", "", "pneumonia"),
    ("Trauma, evaluate for fracture.", "trauma", "", "fracture"),
    ("Assess for effusion.", "", "", "pleural effusion"),
    ("CT recommended to rule-out underlying pulmonary nodule. (Open-i)", "ct", "", "nodule"),
    ("Supine technique limits evaluation for pleural effusion.", "supine", "", "pleural effusion"),
    ("Follow up to resolution recommended to rule out malignancy. (Open-i)", "", "", "malignancy"),
    ("The lower ribs are not adequately imaged to rule out fracture. (Open-i)", "rib", "", "fracture"),
    ("If there is clinical concern for rib fracture, dedicated films would be helpful.", "", "", "rib fracture"),
    # Doubt beside denial
    ("Possible pneumonia, no effusion.", "", "pleural effusion", "pneumonia"),
    ("No effusion, possible pneumonia.", "", "pleural effusion", "pneumonia"),
    ("No effusion or pneumothorax, possible nodule.", "", "pleural effusion; pneumothorax", "nodule"),
    ("Possible pneumonia, stable cardiomegaly.", "cardiomegaly", "", "pneumonia"),
    ("Possible COPD but no acute pulmonary disease. (Open-i)", "", "acute disease", "copd"),
    ("Probable atelectasis without effusion.", "", "pleural effusion", "atelectasis"),
    ("No effusion is suspected.", "", "pleural effusion", ""),
    ("There is no pneumothorax, although a skin fold is possible.", "", "pneumothorax", "skin fold"),
]  # fmt: skip


def of_status(text, status):
    return {m.term for m in mentions(text, max_words=1) if m.status == status}


@pytest.mark.parametrize(("text", "affirmed", "negated", "uncertain"), SENTENCES, ids=[s[0] for s in SENTENCES])
def test_what_a_sentence_says(text, affirmed, negated, uncertain):
    text = text.replace(" (Open-i)", "")
    expected = {"affirmed": affirmed, "negated": negated, "uncertain": uncertain}
    expected = {status: set(filter(None, terms.split("; "))) for status, terms in expected.items()}
    found = {status: of_status(text, status) for status in expected}
    named = set().union(*expected.values())
    assert {status: terms & named for status, terms in found.items()} == expected


def test_there_are_enough_sentences():
    assert len({s[0] for s in SENTENCES}) == len(SENTENCES) >= 120


@pytest.mark.parametrize("table", [CONTEXT, NEGEX], ids=["context", "negex"])
def test_no_group_of_words_repeats_without_end(table):
    """Else a report of one such word, thousands of times, is read to its end from each of them."""
    assert "(?:" in table.pattern
    assert not re.search(r"\)(?:[*+]|\{\d*,\})", table.pattern)
