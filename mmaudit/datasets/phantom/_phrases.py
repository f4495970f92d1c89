"""What radiologists say: the phrases that `_report` puts together, as data.

A phrase is a template. `{a|b|}` is one of its parts, each as likely as the others; `{name}` is a fact of the study or
an entry of the bank. Templates nest. A noun phrase of a finding starts with "a~" where it takes an article and a
plural ("a~small left effusion"), with nothing where it takes neither ("mild edema"); frames use it as `{np}` (bare),
`{a_np}` (with the indefinite article) or `{the_np}`, and agree with it by `{is}`, `{has}`.

Phrases are common ones of the trade, as in the reports of Open-i (doi 10.1093/jamia/ocv080) and MIMIC-CXR (doi
10.1038/s41597-019-0322-0); no report is copied.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BANKS", "BRITISH", "PLACES", "PREPOSITIONS", "QUESTIONS", "REASONS_SAID", "SIZES"]

Bank = Mapping[str, tuple[str, ...]]

# --- Sizes and places -------------------------------------------------------------------------------------------

_VOLUME = (
    ("small", "small", "small", "small", "trace", "tiny", "minimal"),
    ("moderate",),
    ("large",),
)
_DEGREE = (("mild", "mild", "mild", "minimal"), ("moderate", "moderate", ""), ("severe", "marked"))
# By kind of finding: words for small, moderate and large.
SIZES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "pleural effusion": _VOLUME,
    "pneumothorax": _VOLUME,
    "cardiomegaly": _DEGREE,
    "edema": _DEGREE,
    "atelectasis": (("mild", "minimal", "minimal", "subsegmental"), ("", "mild", "moderate"), ("extensive", "marked")),
    "consolidation": (("small", "subtle", "mild", "minimal"), ("", "patchy", "focal"), ("extensive", "dense", "large")),
    "nodule": (("small",), ("", ""), ("large", "")),
    "fracture": (("nondisplaced", "minimally displaced"), ("", "acute"), ("displaced", "acute displaced")),
}

# By zone: adjectives and places, for one side and for both.
PLACES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "lower": {
        "one adj": ("{side} lower lobe", "{side} lower lobe", "{side} basilar", "{side} base", "{basal}"),
        "one at": ("in the {side} lower lobe", "at the {side} lung base", "at the {side} base", "in the {side} base"),
        "both adj": ("bibasilar", "bibasilar", "bilateral lower lobe"),
        "both at": ("at both lung bases", "in the lung bases bilaterally", "in both lower lobes"),
    },
    "middle": {
        "one adj": ("{side} midlung", "{side} midlung", "{middle}", "{side} perihilar"),
        "one at": ("in the {side} midlung", "in the {side} midlung zone", "in the {side} mid lung"),
        "both adj": ("bilateral midlung", "bilateral perihilar"),
        "both at": ("in both midlungs", "in the midlung zones bilaterally"),
    },
    "upper": {
        "one adj": ("{side} upper lobe", "{side} upper lobe", "{side} upper lung"),
        "one at": ("in the {side} upper lobe", "in the {side} upper lung"),
        "both adj": ("bilateral upper lobe",),
        "both at": ("in both upper lobes", "in the upper lobes bilaterally"),
    },
}

# --- Why the study was asked for --------------------------------------------------------------------------------

# What the patient has, after "year-old woman with".
REASONS_SAID: Mapping[str, tuple[str, ...]] = {
    "cough and fever": ("cough and fever", "fever and productive cough", "cough, fever", "fever, cough for one week"),
    "shortness of breath": ("shortness of breath", "dyspnea", "SOB", "increasing shortness of breath", "hypoxia"),
    "chest pain": ("chest pain", "left-sided chest pain", "chest pain on inspiration", "chest tightness"),
    "trauma": ("trauma", "fall and chest wall pain", "motor vehicle accident", "rib pain after a fall"),
    "line placement": ("line placement", "new line", "status post line placement", "recent line placement"),
    "tube placement": ("tube placement", "new tube", "status post tube placement", "tube repositioning"),
    "preoperative": (
        "preoperative evaluation",
        "preoperative clearance",
        "preop evaluation",
        "preoperative assessment",
    ),
    "follow-up effusion": ("pleural effusion", "known pleural effusion", "history of effusion", "recent effusion"),
    "follow-up pneumothorax": ("pneumothorax", "recent pneumothorax", "known pneumothorax", "history of pneumothorax"),
    "heart failure": ("heart failure", "CHF", "congestive heart failure", "CHF exacerbation", "leg swelling, CHF"),
    "postoperative": ("recent surgery", "postoperative course", "recent surgery, now extubated", "status post surgery"),
    "routine": ("daily assessment", "routine evaluation", "routine examination", "interval evaluation"),
}
# What stands before these reasons after "year-old woman"; before the others "with".
PREPOSITIONS: Mapping[str, str] = {"preoperative": "for", "routine": "for"}
# What the referrer asks.
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "cough and fever": ("evaluate for pneumonia", "pneumonia?", "assess for infiltrate", "rule out pneumonia"),
    "shortness of breath": ("evaluate for acute process", "edema or pneumonia?", "assess for effusion", "rule out CHF"),
    "chest pain": ("evaluate for acute process", "assess for pneumothorax", "rule out pneumonia", "acute process?"),
    "trauma": ("evaluate for fracture", "rule out pneumothorax", "rib fracture?", "assess for injury"),
    "line placement": ("confirm line position", "check position", "rule out pneumothorax", "evaluate line position"),
    "tube placement": ("confirm tube position", "check position", "evaluate tube position", "assess position"),
    "preoperative": ("evaluate for acute process", "preoperative baseline", "any active disease?"),
    "follow-up effusion": ("interval change", "evaluate effusion", "assess for reaccumulation", "resolved?"),
    "follow-up pneumothorax": ("interval change", "evaluate pneumothorax", "assess for change", "resolved?"),
    "heart failure": ("evaluate for edema", "assess volume status", "pulmonary edema?", "evaluate for effusion"),
    "postoperative": ("interval change", "evaluate for acute process", "assess for atelectasis", "effusion?"),
    "routine": ("interval change", "evaluate for acute process", "any change?", "assess cardiopulmonary status"),
}

# --- Prose: the bank that all others are made from --------------------------------------------------------------

_PROSE: Bank = {
    # Noun phrases by finding.
    "pleural effusion": (
        "a~{size} {side} pleural effusion{s}",
        "a~{size} {side} pleural effusion{s}",
        "a~{size} {sided} pleural effusion{s}",
        "a~{size} {side} effusion{s}",
    ),
    "pleural effusion supine": (
        "a~{size} {side} pleural effusion{s}",
        "a~{size} {side} layering pleural effusion{s}",
        "a~{size} layering {side} effusion{s}",
    ),
    "pneumothorax": (
        "a~{size} {side} pneumothora{x}",
        "a~{size} {sided} pneumothora{x}",
        "a~{size} {side} {apical|} pneumothora{x}",
    ),
    "pneumothorax supine": ("a~{size} {side} pneumothora{x}", "a~{size} {sided} pneumothora{x}"),
    "consolidation": (
        "{size} {adj} consolidation",
        "{size} consolidation {at}",
        "a~{size} {adj} {airspace|} opacit{y}",
        "a~{size} {airspace|} opacit{y} {at}",
        "{size} {adj} airspace disease",
        "a~{size} {adj} infiltrate{s}",
    ),
    "atelectasis": (
        "{size} {adj} atelectasis",
        "{size} {adj} atelectasis",
        "{size} atelectasis {at}",
        "{size} {streaky|bandlike} atelectasis {at}",
    ),
    "cardiomegaly": ("{size} cardiomegaly", "{size} cardiomegaly", "{size} enlargement of the cardiac silhouette"),
    "edema": (
        "{size} pulmonary edema",
        "{size} {interstitial|} pulmonary edema",
        "{size} interstitial edema",
        "{size} pulmonary vascular congestion and edema",
    ),
    "nodule": (
        "a~{size} {adj} nodule{s}",
        "a~{size} {adj} pulmonary nodule{s}",
        "a~{size} nodular opacit{y} {at}",
        "a~{size} nodule{s} {at}",
    ),
    "fracture": (
        "a~{size} {side} {level} rib fracture{s}",
        "a~{size} fracture{s} of {ribs}",
        "a~{size} {sided} rib fracture{s}",
    ),
    # Frames.
    "present": (
        "There {is} {a_np}{worse}.",
        "There {is} {a_np}{worse}.",
        "{a_np} {is} {present|seen|noted|identified}.",
        "{np}{worse}.",
    ),
    "uncertain": (
        "There may be {a_np}.",
        "{a_np} cannot be excluded.",
        "{a_np} {is} {possible|suspected|not excluded}.",
        "{Possible|Probable|Questionable} {np}.",
        "There {is} {likely|probably} {a_np}{worse}.",
        "Findings {are suggestive of|suggest|are concerning for|may represent} {a_np}.",
    ),
    "new": (
        "There {is} {a_new} {np}{worse}.",
        "{a_np} {is} new {since|compared to|from} the {prior} {study}.",
        "There has been interval development of {a_np}.",
        "New {np}{worse}.",
    ),
    "unchanged": (
        "{the_np} {is} {unchanged|stable|grossly unchanged|not significantly changed}{| since the {prior} {study}}.",
        "{Stable|Unchanged|Persistent} {np}{worse}.",
        "There {is} {a_stable} {np}{worse}.",
        "{the_np} {is} again {seen|noted|demonstrated}{ and unchanged|, without significant change|}.",
    ),
    "increased": (
        "{the_np} {has} {increased|increased in size|worsened}{| since the {prior} {study}}.",
        "Interval increase in {the_np}.",
        "{Increasing|Worsening|Increased} {np}.",
    ),
    "decreased": (
        "{the_np} {has} {decreased|improved|decreased in size}{| since the {prior} {study}}.",
        "Interval {decrease|improvement} in {the_np}.",
        "{Decreasing|Improving|Decreased} {np}.",
    ),
    "resolved": (
        "{the_np} {has} resolved{| in the interval| since the {prior} {study}}.",
        "Interval resolution of {the_np}.",
        "The previously {seen|noted|described} {np} {has} resolved.",
        "The {np} {is} no longer {seen|identified|present}.",
    ),
    # Sentences of their own, taken now and then instead of a frame.
    "pleural effusion present": (
        "Blunting of the {side} costophrenic {angle} is {consistent|compatible} with {a_np}.",
        "There is blunting of the {side} costophrenic {angle}, {compatible with|representing} {a_np}.",
        "Opacity at the {side} lung base{s} represents {a_np}.",
    ),
    "pleural effusion lateral present": (
        "There is blunting of the posterior costophrenic {angle} on the lateral view, consistent with {a_np}.",
        "{a_np} {is} {seen|noted}, best appreciated on the lateral view.",
        "{np} in the posterior costophrenic {angle}.",
    ),
    "pleural effusion supine present": (
        "Hazy opacity over the {side} hemithora{x} is {consistent|compatible} with {a_np}.",
        "There is increased density over the {side} lung{s}, consistent with {a_np}.",
        "Diffuse hazy opacity of the {side} lung{s} represents {a_np}.",
    ),
    "pleural effusion uncertain": (
        "There is blunting of the {side} costophrenic {angle}, which may represent {a_np} or pleural thickening.",
        "Minimal blunting of the {side} costophrenic {angle}, possibly {a_np}.",
        "Slight blunting of the {side} costophrenic {angle} may represent pleural thickening or {a_np}.",
    ),
    "pleural effusion supine uncertain": (
        "Hazy opacity over the {side} lung base{s} may represent {a_np}.",
        "{a_np} would be difficult to exclude on this supine examination.",
    ),
    "pneumothorax present": (
        "There {is} {a_np}{, without evidence of tension|, without mediastinal shift|}.",
        "A pleural line is visible at the {side} apex, consistent with {a_np}.",
    ),
    "pneumothorax uncertain": (
        "Lucency at the {side} apex may represent {a_np} or a skin fold.",
        "{a_np} {is} difficult to exclude.",
    ),
    "cardiomegaly present": (
        "The heart is {mildly} enlarged.",
        "The cardiac silhouette is {mildly} enlarged.",
        "Heart size is {mildly} enlarged.",
        "There is {mild} enlargement of the cardiac silhouette.",
    ),
    "cardiomegaly uncertain": (
        "Heart size is borderline enlarged.",
        "The heart may be {mildly} enlarged, although this is accentuated by {technique|projection}.",
        "The cardiac silhouette appears {mildly} enlarged, possibly due to technique.",
    ),
    "edema present": (
        "The pulmonary vasculature is indistinct, consistent with {np}.",
        "Increased interstitial markings {are consistent with|represent|suggest} {np}.",
        "Pulmonary vascular engorgement and perihilar opacities are compatible with {np}.",
    ),
    "edema uncertain": (
        "Prominent interstitial markings may represent {np}.",
        "Pulmonary vascular congestion, possibly with {np}.",
        "There is prominence of the central pulmonary vasculature, suggesting {np}.",
    ),
    "consolidation present": (
        "There is {a_np}, {compatible|consistent} with pneumonia.",
        "{a_np} {is} {seen|noted}, {concerning for pneumonia|compatible with pneumonia|suspicious for infection}.",
    ),
    "consolidation uncertain": (
        "Opacity {at} {may represent pneumonia|may represent infection|could represent early pneumonia}.",
        "Subtle {adj} opacity, possibly early consolidation.",
        "There is questionable opacity {at}, pneumonia {cannot be|is not} excluded.",
    ),
    "atelectasis uncertain": (
        "{Streaky|Minimal|Linear} opacit{y} {at} {may represent|probably represents|likely reflects} atelectasis.",
        "{adj} opacit{y}, {likely|probably|possibly} atelectasis.",
        "{adj} density, atelectasis versus scarring.",
    ),
    "atelectasis present": (
        "There {is} {streaky|bandlike} opacit{y} {at}, {consistent|compatible} with {subsegmental|} atelectasis.",
        "There is {mild} volume loss {at} with atelectasis.",
    ),
    "nodule present": ("{a_np} {is} seen, {further evaluation with CT is recommended|CT is recommended}.",),
    "nodule uncertain": (
        "Vague nodular density {at} may represent a nodule or overlapping vessels.",
        "Questionable nodular opacity {at}{, CT could be considered|}.",
    ),
    "fracture uncertain": (
        "{Questionable|Possible} {sided} rib fracture.",
        "There is irregularity of {ribs}, which may represent a fracture.",
    ),
    "differential": (
        "There {is} {adj} opacit{y}, which may represent {atelectasis or pneumonia|pneumonia versus atelectasis}.",
        "{adj} opacit{y}, {atelectasis versus infiltrate|atelectasis versus pneumonia|atelectasis and/or infiltrate}.",
        "Opacit{y} {at} may represent atelectasis, although {infection|pneumonia} cannot be excluded.",
    ),
    # What is not there.
    "no": (
        "No {list}.",
        "No {list}.",
        "There is no {list}.",
        "There is no {list}.",
        "No {list} is {seen|identified}.",
        "There is no evidence of {list}.",
        "No evidence of {list}.",
    ),
    "no other side": ("No {other} pleural effusion.", "There is no {other} effusion."),
    "no pleural effusion": (
        *["pleural effusion"] * 4,
        "pleural effusions",
        "effusion",
        "{large|definite|significant} pleural effusion",
        "visible pleural fluid",
    ),
    "no pneumothorax": (*["pneumothorax"] * 5, "visible pneumothorax"),
    "no consolidation": (
        "focal consolidation",
        "focal consolidation",
        "focal airspace disease",
        "focal airspace consolidation",
        "consolidation",
        "infiltrate",
        "acute infiltrate",
        "focal air space opacity",
        "focal alveolar consolidation",
        "lobar consolidation",
        "airspace disease",
    ),
    "no edema": ("pulmonary edema", "edema", "overt edema", "overt pulmonary edema"),
    "no atelectasis": ("atelectasis",),
    "no nodule": ("suspicious nodule", "pulmonary nodules", "suspicious pulmonary nodule"),
    "no fracture": ("displaced rib fracture", "acute fracture", "rib fracture"),
    "no cardiomegaly": ("cardiomegaly",),
    "lungs clear": (
        "The lungs are clear.",
        "The lungs are clear bilaterally.",
        "Lungs are clear.",
        "The lungs appear clear.",
        "Both lungs are clear and expanded.",
        "Lungs are grossly clear.",
        "The lungs are grossly clear.",
        "Lungs are clear bilaterally.",
    ),
    "pleura clear": (
        "The pleural spaces are clear.",
        "Pleural spaces are clear.",
        "The costophrenic angles and pleural spaces are clear.",
    ),
    "lungs clear without": (
        "The lungs are clear without {list}.",
        "The lungs are clear, without evidence of {list}.",
        "Lungs are clear without {list}.",
        "The lungs are free of {list}.",
    ),
    "otherwise clear": ("The lungs are otherwise clear.", "Lungs are otherwise grossly clear."),
    "heart normal": (
        "Heart size is normal.",
        "The heart is normal in size.",
        "Heart size is within normal limits.",
        "The heart size is normal.",
        "The cardiac silhouette is within normal limits.",
        "The cardiomediastinal silhouette is {normal|within normal limits|normal in size and contour|unremarkable}.",
        "Heart size and mediastinal contours are {normal|within normal limits}.",
        "Cardiac and mediastinal contours are within normal limits.",
        "The cardiac contours are normal.",
        "Heart and mediastinum of normal size and contour.",
        "The heart, mediastinum and pulmonary structures are within normal limits.",
    ),
    "heart upper": ("Heart size is at the upper limits of normal.", "Heart size is upper limits of normal."),
    "vessels normal": (
        "Pulmonary vascularity is {normal|within normal limits}.",
        "Pulmonary vasculature is {normal|unremarkable}.",
        "The pulmonary vasculature is within normal limits.",
    ),
    "bones normal": (
        "No acute {bony|osseous} abnormality.",
        "The {visualized|} osseous structures are intact.",
        "Bony structures are intact.",
        "No displaced rib fracture is identified.",
        "There are no acute bony findings.",
        "The visualized bony structures reveal no acute abnormalities.",
        "Visualized osseous structures of the thorax are without acute abnormality.",
        "No acute, displaced rib fractures.",
        "Skeletal structures are intact.",
    ),
    # What makes no difference to the findings.
    "mediastinum": (
        "Mediastinal contours are {normal|unremarkable|within normal limits}.",
        "The mediastinum is unremarkable.",
        "The hilar {contours|structures} are {normal|unremarkable}.",
        "The mediastinal and hilar contours are {unremarkable|normal}.",
        "No mediastinal widening.",
        "No hilar or mediastinal adenopathy.",
        "Mediastinal configuration is normal.",
    ),
    "soft tissues": (
        "Soft tissues are {unremarkable|within normal limits}.",
        "The soft tissues are {unremarkable|within normal limits}.",
        "Visualized soft tissues and upper abdomen are unremarkable.",
    ),
    "hernia": ("{Small|Moderate|} hiatal hernia.", "There is a {small|moderate} hiatal hernia."),
    "hyperexpanded": (
        "The lungs are {hyperexpanded|hyperinflated}.",
        "The lungs are {mildly|} hyperinflated with flattening of the diaphragms.",
        "Hyperexpanded lungs, {suggesting|consistent with} COPD.",
        "Hyperinflation, compatible with emphysema.",
        "Emphysematous changes are {noted|seen}.",
    ),
    "tuberculosis": (
        "No evidence of active tuberculosis.",
        "Specifically, no radiographic evidence of tuberculosis.",
        "No cavitary lesion.",
    ),
    "heart failure": ("No overt findings of heart failure.", "No radiographic evidence of heart failure."),
    "trachea": ("The trachea is midline.", "Trachea is midline."),
    "abdomen": (
        "There is no free intraperitoneal air.",
        "No free air under the diaphragm.",
        "Upper abdomen is unremarkable.",
        "There is no free air below the diaphragm.",
    ),
    "spine": (
        "{Mild|} degenerative changes of the thoracic spine.",
        "There are {mild|} degenerative changes in the {thoracic|} spine.",
        "Degenerative changes are {seen|noted} in the spine.",
        "Thoracic spondylosis.",
        "Multilevel degenerative {disc disease|changes} of the thoracic spine.",
        "{Mild|Multilevel|} degenerative endplate changes of the spine.",
        "Arthritic changes of the {skeletal structures|shoulders|spine}.",
        "There are {mild|anterior|multilevel} osteophytes of the thoracic spine.",
        "Mild kyphosis of the thoracic spine.",
        "Degenerative changes of the {shoulders|spine and shoulders|right shoulder|left shoulder}.",
        "{Mild|} midthoracic spondylosis.",
    ),
    "osteopenia": (
        "The bones are osteopenic.",
        "Diffuse osteopenia.",
        "Osteopenia of the visualized skeletal structures.",
    ),
    "aorta": (
        "The aorta is {calcified|tortuous|mildly tortuous}.",
        "The thoracic aorta is {tortuous|calcified and tortuous}.",
        "Atherosclerotic calcification of the thoracic aorta.",
        "Calcification of the {aorta|aortic arch} is noted.",
        "{Mild|} tortuosity of the thoracic aorta.",
        "{Ectatic|Unfolded|Mildly ectatic} thoracic aorta.",
        "The {descending|} aorta is {mildly|} ectatic and tortuous.",
        "Atherosclerotic changes of the aorta.",
    ),
    "granuloma": (
        "Calcified granuloma in the {left|right} {upper lobe|lung base|midlung}.",
        "Evidence of prior granulomatous disease.",
        "Scattered calcified granulomas.",
        "Sequela of old granulomatous disease.",
        "There are calcified {mediastinal|hilar} lymph nodes.",
        "Calcified {right|left} hilar lymph nodes.",
        "Calcified hilar lymph nodes, consistent with prior granulomatous disease.",
    ),
    "scoliosis": (
        "Mild scoliosis of the thoracic spine.",
        "Mild {dextroscoliosis|levoscoliosis|curvature} of the thoracic spine.",
        "Mild thoracolumbar scoliosis.",
    ),
    "diaphragm": (
        "Mild elevation of the right hemidiaphragm.",
        "The right hemidiaphragm is mildly elevated.",
        "Eventration of the right hemidiaphragm.",
    ),
    "scar": (
        "Minimal biapical scarring.",
        "Mild biapical pleural thickening.",
        "Biapical scarring.",
        "Chronic {appearing|} scarring in the {left|right} lung apex.",
        "Mild chronic interstitial changes.",
        "Minimal {pleural-parenchymal|} scarring.",
    ),
    "low volumes": (
        "Low lung volumes{ with bronchovascular crowding|}.",
        "Lung volumes are low.",
        "There are low lung volumes{, which accentuate the cardiac silhouette|}.",
        "The lungs are hypoinflated.",
    ),
    "rotated": ("The patient is {slightly|mildly} rotated.", "Patient is rotated."),
    "habitus": (
        "Evaluation is limited by body habitus.",
        "Exam is limited secondary to patient body habitus.",
        "Limited study due to body habitus.",
    ),
    "supine limits": (
        "Supine technique limits evaluation for pleural effusion and pneumothorax.",
        "Evaluation is limited by supine positioning.",
        "Heart size is accentuated by supine AP technique.",
    ),
    "portable limits": ("Heart size is accentuated by AP technique.", "Limited portable study."),
    # Devices: name, then what is said where it lies well, lies badly, is new, is as before, is gone.
    "chest tube name": (*["chest tube"] * 4, "thoracostomy tube", "pleural drain"),
    "endotracheal tube name": (*["endotracheal tube"] * 4, "ET tube", "ETT"),
    "central line name": ("central venous catheter", "central venous line", "central line"),
    "nasogastric tube name": ("nasogastric tube", "NG tube", "enteric tube", "nasogastric tube"),
    "pacemaker name": ("pacemaker", "pacemaker", "cardiac pacemaker", "pacing device"),
    "sternal wires name": ("median sternotomy wires", "sternal wires", "sternotomy wires"),
    "ECG leads name": ("ECG leads", "EKG leads", "monitor leads", "external cardiac monitor leads"),
    "surgical clips name": ("surgical clips",),
    "chest tube well": (
        "{a_name} {is in place|projects over the {side} hemithorax|is present}.",
        "{a_name} is noted.",
        "{a_name} with tip {at|near|projecting over} the {side} {end}.",
    ),
    "endotracheal tube well": (
        "{the_name} {terminates|ends} {cm} cm above the carina.",
        "The tip of {the_name} is {approximately|} {cm} cm above the carina.",
        "{the_name} {tip|} is {in satisfactory position|in appropriate position}.",
    ),
    "endotracheal tube ill": (
        "{the_name} {terminates|ends} in the right {mainstem|main} bronchus.",
        "The tip of {the_name} is in the right {mainstem|main} bronchus and should be {retracted|withdrawn}.",
    ),
    "central line well": (
        "{a_name} {terminates|ends} in the {SVC|mid SVC|superior vena cava}.",
        "{a_name} with tip in the {SVC|mid SVC|lower SVC}.",
        "{a_name} tip projects over the SVC.",
    ),
    "central line ill": (
        "{a_name} {terminates|ends} in the right atrium{, and could be withdrawn|}.",
        "The tip of {the_name} is in the right atrium.",
    ),
    "nasogastric tube well": (
        "{the_name} {terminates|ends} in the stomach.",
        "{a_name} {extends|courses} below the diaphragm{, tip not included on this film|}.",
        "The tip of {the_name} is in the stomach.",
    ),
    "nasogastric tube ill": (
        "{the_name} ends in the distal esophagus{ and should be advanced|}.",
        "The tip of {the_name} is above the gastroesophageal junction and should be advanced.",
    ),
    "pacemaker well": (
        "{a_name} is {present|noted|in place}.",
        "{a_name} with leads {in expected position|projecting over the right atrium and right ventricle}.",
    ),
    "sternal wires well": (
        "{name} are {intact|noted|present}.",
        "The patient is status post sternotomy with intact {name}.",
    ),
    "ECG leads well": ("{name} overlie the chest.", "Overlying {name} are noted."),
    "surgical clips well": (
        "{name} are {noted|present|seen}.",
        "{name} in the {clips}.",
        "{name} are {noted|seen} in the {clips}.",
    ),
    "device new": (
        "There has been interval placement of {a_name}.",
        "Interval placement of {a_name}.",
        "New {name} is {seen|in place}.",
    ),
    "device unchanged": (
        "{the_name} {is} {unchanged|stable|in unchanged position|unchanged in position}.",
        "{the_name} {is} again {seen|noted}{ in stable position|}.",
        "Stable position of {the_name}.",
    ),
    "device removed": (
        "{the_name} {has} been removed.",
        "Interval removal of {the_name}.",
        "There has been interval removal of {the_name}.",
    ),
    "devices unchanged": (
        "Support devices are in unchanged position.",
        "Lines and tubes are unchanged.",
        "Stable support lines and tubes.",
    ),
    "no devices": ("None.",),
    # Impression.
    "imp present": ("{np}{worse}.",),
    "imp uncertain": (
        "{Possible|Probable} {np}.",
        "{Possible|Probable} {np}.",
        "{np} cannot be excluded.",
        "Findings suggestive of {np}.",
    ),
    "imp new": ("New {np}{worse}.", "Interval development of {np}."),
    "imp unchanged": ("{Stable|Unchanged|Persistent} {np}{worse}.",),
    "imp increased": ("{Increasing|Increased|Worsening} {np}.", "Interval increase in {np}."),
    "imp decreased": ("{Decreasing|Decreased|Improving} {np}.", "Interval {decrease|improvement} in {np}."),
    "imp resolved": ("Interval resolution of {np}.", "{np} {has} resolved."),
    "imp with": (
        "{np} with {associated|adjacent|underlying|} atelectasis.",
        "{np} and {associated|adjacent|} atelectasis.",
    ),
    "imp differential": ("{adj} opacit{y}, {atelectasis versus pneumonia|may represent pneumonia or atelectasis}.",),
    "imp pneumonia": (
        "{adj} {pneumonia|consolidation, compatible with pneumonia|opacit{y}, {suspicious|concerning} for pneumonia}.",
    ),
    "imp no": ("No {list}.", "No evidence of {list}."),
    "imp normal": (
        "No acute cardiopulmonary {process|abnormality|disease|findings}.",
        "No acute cardiopulmonary {process|abnormality|abnormalities|disease}.",
        "No acute {disease|findings|abnormality}.",
        "No evidence of acute cardiopulmonary {process|disease}.",
        "No acute radiographic cardiopulmonary process.",
        "No acute intrathoracic abnormality.",
        "No evidence of active disease.",
        "Negative for acute cardiopulmonary {abnormality|findings}.",
    ),
    "imp same": (
        "No significant interval change.",
        "Otherwise stable appearance of the chest.",
        "Overall, no significant change.",
        "Stable chest.",
    ),
    "imp otherwise": (
        "Otherwise no acute cardiopulmonary {process|disease|abnormality}.",
        "No acute {disease|findings}.",
    ),
    "advice": (
        "Followup radiograph is recommended to document resolution.",
        "Recommend clinical correlation.",
        "Followup is recommended.",
    ),
    "advice nodule": (
        "CT of the chest is recommended for further evaluation.",
        "Recommend further evaluation with CT.",
    ),
    # Words.
    "prior": ("prior", "prior", "previous"),
    "study": ("study", "examination", "exam", "radiograph"),
    "compared": ("Compared to the {prior} {study}{| from {when}|, {when}},", "In comparison with the {prior} {study},"),
    # Other sections.
    "indication": (
        "{age}-year-old {woman} {with} {reason}.",
        "{age}-year-old {woman} {with} {reason}, {question}.",
        "{reason}.",
        "{reason}, {question}.",
    ),
    "examination": ("CHEST ({views})", "Chest radiograph, {views}", "CHEST, {views}"),
    "PA": ("Single PA view of the chest.", "PA view of the chest.", "Upright PA radiograph of the chest."),
    "PA and lateral": (
        "PA and lateral views of the chest.",
        "PA and lateral views of the chest were obtained.",
        "Chest PA and lateral.",
        "Frontal and lateral views of the chest.",
    ),
    "AP": (
        "Single {portable} AP view of the chest.",
        "{portable} {upright|semi-upright} AP view of the chest.",
        "{portable} AP radiograph of the chest.",
    ),
    "AP supine": (
        "Single {portable} supine AP view of the chest.",
        "{portable} supine radiograph of the chest.",
        "Supine {portable} AP view of the chest.",
    ),
    "AP and lateral": ("AP and lateral views of the chest.", "Frontal and lateral views of the chest."),
    "lateral": ("Lateral view of the chest.", "Single lateral view of the chest."),
    "several": ("{n} {portable} frontal views of the chest.", "{n} {portable} radiographs of the chest."),
    "comparison": ("Chest radiograph {when}.", "{prior} chest radiograph, {when}.", "Chest radiograph from {when}."),
    "comparison none": ("None.", "None.", "None available.", "No prior study available."),
}

# --- Keywords: no verbs, no articles ----------------------------------------------------------------------------

_TERSE: Bank = {
    **_PROSE,
    "pleural effusion": ("a~{size} {side} pleural effusion{s}", "a~{size} {side} effusion{s}"),
    "pneumothorax": ("a~{size} {side} pneumothora{x}", "a~{size} {side} {apical|} pneumothora{x}"),
    "consolidation": (
        "{size} {adj} consolidation",
        "a~{size} {adj} opacit{y}",
        "a~{size} {adj} infiltrate{s}",
        "{size} {adj} airspace disease",
    ),
    "atelectasis": ("{size} {adj} atelectasis",),
    "cardiomegaly": ("{size} cardiomegaly",),
    "edema": ("{size} pulmonary edema", "{size} interstitial edema", "{size} edema"),
    "nodule": ("a~{size} {adj} nodule{s}", "a~{size} nodular opacit{y} {at}"),
    "fracture": ("a~{size} {side} rib fracture{s}", "a~{size} {side} {level} rib fracture{s}"),
    "present": ("{np}{worse}.", "{np} {seen|present}."),
    "uncertain": ("{Possible|Probable|Questionable} {np}.", "{np} not excluded.", "{np} suspected."),
    "new": ("New {np}{worse}.", "{np}, new."),
    "unchanged": ("{Stable|Unchanged} {np}{worse}.", "{np}, {unchanged|stable|no change}."),
    "increased": ("{Increased|Increasing|Worsening} {np}.", "{np}, increased."),
    "decreased": ("{Decreased|Decreasing|Improving} {np}.", "{np}, {decreased|improved|smaller}."),
    "resolved": ("Resolved {np}.", "{np} {has} resolved.", "Interval resolution of {np}."),
    "pleural effusion present": (
        "{side} costophrenic {angle} blunted, {np}.",
        "Blunting {side} costophrenic {angle}, {np}.",
    ),
    "pleural effusion supine present": ("Hazy opacity {side} lung{s}, {np}.",),
    "pleural effusion uncertain": ("Blunted {side} costophrenic {angle}, {np} versus pleural thickening.",),
    "pleural effusion supine uncertain": ("Hazy opacity {side} lung base{s}, possible effusion.",),
    "pneumothorax present": ("{np}, no {mediastinal shift|tension}.",),
    "pneumothorax uncertain": ("Possible {np} versus skin fold.",),
    "cardiomegaly present": (
        "Heart {mildly} enlarged.",
        "Heart size {mildly} enlarged.",
        "Enlarged cardiac silhouette.",
    ),
    "cardiomegaly uncertain": ("Heart borderline enlarged.", "Borderline cardiomegaly."),
    "edema present": ("Vascular congestion and interstitial edema.", "Increased interstitial markings, {np}."),
    "edema uncertain": (
        "Vascular congestion, {possible|probable} edema.",
        "Prominent interstitial markings, possible edema.",
    ),
    "consolidation present": ("{adj} pneumonia.", "{adj} consolidation, pneumonia."),
    "consolidation uncertain": (
        "{adj} opacit{y}, {possible pneumonia|question infiltrate|early pneumonia not excluded}.",
    ),
    "atelectasis present": ("{Streaky|Bandlike|Focal} {adj} atelectasis.",),
    "atelectasis uncertain": ("{adj} opacit{y}, {probable|likely|possible} atelectasis.",),
    "nodule present": ("{np}, CT recommended.",),
    "nodule uncertain": ("Questionable nodule {at}.",),
    "fracture uncertain": ("{Questionable|Possible} {side} rib fracture.",),
    "differential": (
        "{adj} opacit{y}, {atelectasis versus infiltrate|atelectasis versus pneumonia|atelectasis or infiltrate}.",
    ),
    "no": ("No {list}.", "No {list}.", "No {list}.", "Negative for {list}.", "No evidence of {list}."),
    "no other side": ("No {other} effusion.",),
    "lungs clear": ("Lungs clear.", "Clear lungs.", "Lungs are clear.", "Lungs clear bilaterally."),
    "lungs clear without": ("Lungs clear without {list}.", "Lungs clear, no {list}."),
    "otherwise clear": ("Lungs otherwise clear.",),
    "heart normal": (
        "Heart size normal.",
        "Normal heart size.",
        "Heart size within normal limits.",
        "Heart and mediastinum normal.",
        "Normal cardiomediastinal silhouette.",
    ),
    "heart upper": ("Heart size upper limits of normal.",),
    "vessels normal": ("Normal pulmonary vascularity.", "Pulmonary vascularity normal."),
    "bones normal": (
        "No acute bony abnormality.",
        "Bony structures intact.",
        "Osseous structures intact.",
        "No rib fracture.",
    ),
    "mediastinum": ("Mediastinal contours normal.", "Mediastinum unremarkable.", "Normal mediastinal contours."),
    "trachea": ("Trachea midline.",),
    "abdomen": ("No free air.", "No free intraperitoneal air."),
    "spine": ("Degenerative changes of the spine.", "Degenerative change thoracic spine.", "Thoracic spondylosis."),
    "osteopenia": ("Osteopenia.",),
    "aorta": ("Tortuous aorta.", "Calcified aorta.", "Aortic calcification."),
    "granuloma": ("Calcified granuloma {left|right} {upper lobe|lung base}.", "Old granulomatous disease."),
    "scoliosis": ("Mild scoliosis.",),
    "diaphragm": ("Elevated right hemidiaphragm.",),
    "scar": ("Biapical scarring.",),
    "low volumes": ("Low lung volumes.", "Low volumes.", "Hypoinflated lungs."),
    "rotated": ("Patient rotated.", "Rotated film."),
    "habitus": ("Limited by body habitus.",),
    "supine limits": ("Limited supine film.", "Supine film."),
    "portable limits": ("Limited portable study.",),
    "chest tube well": ("{name} {in place|noted}.", "{name}.", "{name}, tip at {end}."),
    "endotracheal tube well": (
        "{name} {cm} cm above carina.",
        "{name} tip {cm} cm above the carina.",
        "{name} in satisfactory position.",
    ),
    "endotracheal tube ill": (
        "{name} in right mainstem bronchus.",
        "{name} tip in right main bronchus, needs to be retracted.",
    ),
    "central line well": ("{name} tip in SVC.", "{name}, tip in SVC.", "{name} tip mid SVC."),
    "central line ill": ("{name} tip in right atrium.",),
    "nasogastric tube well": ("{name} tip in stomach.", "{name} in stomach.", "{name} below diaphragm."),
    "nasogastric tube ill": ("{name} tip in distal esophagus.", "{name} in distal esophagus, needs to be advanced."),
    "pacemaker well": ("{name}.", "{name} in place.", "{name} noted."),
    "sternal wires well": ("{name}.", "{name} intact."),
    "ECG leads well": ("Overlying {name}.", "{name}."),
    "surgical clips well": ("{name}.", "{name} in {clips}."),
    "device new": ("New {name}.", "Interval {name} placement."),
    "device unchanged": ("{name} {unchanged|stable}.", "{name} in {stable|unchanged} position."),
    "device removed": ("{name} removed.", "Interval removal of {name}."),
    "devices unchanged": ("Lines and tubes unchanged.", "Support devices unchanged."),
    "imp with": ("{np} with atelectasis.", "{np} and {adjacent|} atelectasis."),
    "imp normal": (
        "No acute disease.",
        "No acute findings.",
        "No acute cardiopulmonary disease.",
        "No active disease.",
        "No acute process.",
    ),
    "imp same": ("No interval change.", "No change.", "Stable chest."),
    "imp otherwise": ("Otherwise negative.", "No acute disease."),
    "advice": ("Followup recommended.", "Clinical correlation."),
    "advice nodule": ("CT recommended.",),
    "compared": ("Compared to {prior} {study},",),
    "indication": ("{reason}.", "{reason}, {question}.", "{age} {sex}, {reason}."),
    "examination": ("CHEST, {views}", "CHEST {views}"),
    "PA": ("PA chest.", "Chest, PA."),
    "PA and lateral": ("PA and lateral chest.", "Chest, PA and lateral.", "2 views of the chest."),
    "AP": ("{portable} AP chest.", "AP {portable} chest."),
    "AP supine": ("{portable} supine AP chest.", "Supine {portable} chest."),
    "AP and lateral": ("AP and lateral chest.",),
    "lateral": ("Lateral chest.",),
    "comparison": ("{when}.", "{prior} film, {when}."),
    "comparison none": ("None.",),
}

# --- The other authors, by what they say otherwise --------------------------------------------------------------

_TEMPLATE: Bank = {  # fills in the lines of a form
    **_TERSE,
    "lungs clear": ("Clear.", "Clear.", "Clear bilaterally.", "Normally inflated and clear."),
    "lungs clear without": ("Clear. No {list}.", "Clear, without {list}."),
    "otherwise clear": ("Otherwise clear.",),
    "heart normal": (
        "Normal in size.",
        "Normal size.",
        "Normal heart size.",
        "Normal cardiomediastinal silhouette.",
        "Within normal limits.",
    ),
    "heart upper": ("Upper limits of normal in size.",),
    "cardiomegaly present": ("{mildly} enlarged.", "{mild} cardiomegaly."),
    "cardiomegaly uncertain": ("Borderline enlarged.",),
    "bones normal": (
        "No acute abnormality.",
        "Intact.",
        "No acute fracture.",
        "No acute osseous abnormality.",
        "Unremarkable.",
    ),
    "indication": ("{reason}.", "{reason}. {question}.", "{age} years, {reason}."),
}

_RESIDENT: Bank = {  # long and careful
    **_PROSE,
    "present": (
        "There {is} {a_np}{worse} {seen|noted} on the current {study}.",
        "{a_np} {is} {identified|demonstrated} on this {study}.",
        "There {is} {a_np}{worse} on this {study}.",
    ),
    "uncertain": (
        "There are findings which {may|could} represent {a_np}, although evaluation is limited.",
        "There are findings suspicious for {a_np}.",
        "There {is} {likely|probably|possibly} {a_np}, although this {may be due to technique|is not definite}.",
        "{a_np} {is} suspected, clinical correlation is recommended.",
        "{a_np} cannot be {entirely|completely} excluded on the basis of this {study}.",
    ),
    "cardiomegaly present": (
        "The cardiac silhouette appears {mildly} enlarged, allowing for technique.",
        "The heart is {mildly} enlarged.",
    ),
    "no": (
        "There is no evidence of {list}.",
        "There is no {definite|convincing|} evidence of {list}.",
        "No {list} is {seen|identified} on this {study}.",
        "There is no {list}.",
    ),
    "heart normal": (
        "The heart size and mediastinal contours are within normal limits.",
        "The cardiomediastinal silhouette is within normal limits for size and contour.",
        "The cardiac and mediastinal silhouettes appear within normal limits.",
        "The heart is normal in size and contour.",
    ),
    "lungs clear": ("The lungs appear clear bilaterally.", "The lungs are well expanded and clear."),
    "lungs clear without": (
        "The lungs are well expanded and clear without evidence of {list}.",
        "The lungs appear clear without {list}.",
    ),
    "imp present": ("{np}{worse}.", "Findings {consistent|compatible} with {np}."),
    "imp uncertain": (
        "Findings {suggestive of|concerning for|which may represent} {np}, clinical correlation is recommended.",
        "{Possible|Probable} {np}, although evaluation is limited.",
        "{np} cannot be excluded.",
    ),
    "imp normal": (
        "No {radiographic|definite|} evidence of acute cardiopulmonary {process|disease}.",
        "No acute cardiopulmonary {abnormality|process} identified.",
        "No acute cardiopulmonary findings identified on this {study}.",
    ),
    "compared": ("As compared to the {prior} {study}{| from {when}},", "When compared to the {prior} {study},"),
}

_EMERGENCY: Bank = {  # short, as long as it is said at once
    **_TERSE,
    "pleural effusion": ("a~{size} {lr} pleural effusion{s}", "a~{size} {lr} effusion{s}"),
    "pneumothorax": ("a~{size} {lr} pneumothora{x}", "a~{size} {lr} pneumothora{x}", "a~{size} {lr} PTX"),
    "imp normal": ("No acute process.", "No acute findings.", "No acute cardiopulmonary process.", "Negative."),
    "no pneumothorax": ("pneumothorax", "pneumothorax", "pneumothorax", "PTX"),
    "no pleural effusion": ("effusion", "effusion", "pleural effusion", "large effusion"),
    "no consolidation": ("focal consolidation", "infiltrate", "consolidation", "pneumonia"),
    "heart normal": (
        "Heart normal.",
        "Normal heart.",
        "Heart size normal.",
        "Normal heart size.",
        "Cardiac silhouette normal.",
    ),
    "indication": ("{age}{sex} {with} {reason}.", "{age} {sex} {reason}.", "{reason}. {question}."),
}

_BRITON: Bank = {
    **_PROSE,
    "lungs clear": ("The lungs are clear.", "Lungs are clear.", "The lung fields are clear."),
    "heart normal": (
        "Heart size is normal.",
        "The heart is not enlarged.",
        "Normal heart size.",
        "Cardiothoracic ratio is within normal limits.",
        "Normal cardiac contours.",
        "The heart and mediastinum are normal.",
    ),
    "mediastinum": (
        "Normal mediastinal and hilar contours.",
        "The mediastinum is central.",
        "The hilar contours are normal.",
    ),
    "no": ("No {list}.", "There is no {list}.", "No {list} {seen|demonstrated|shown}."),
    "chest tube name": ("chest drain", "intercostal drain", "chest drain", "chest tube"),
    "central line name": ("central line", "central venous line", "central venous catheter"),
    "nasogastric tube name": ("NG tube", "nasogastric tube"),
    "imp normal": (
        "No acute abnormality.",
        "No active lung disease.",
        "No acute cardiopulmonary abnormality.",
        "No acute findings.",
    ),
    "study": ("film", "radiograph", "examination"),
    "prior": ("previous", "previous", "prior"),
    "advice": ("Followup film in 6 weeks is recommended.", "Clinical correlation is recommended."),
    "advice nodule": ("CT is recommended.",),
    "indication": ("{reason}.", "{reason}. {question}.", "{age} year old {woman}, {reason}."),
}

_COMPARER: Bank = {  # says first what has changed since the last film, in intensive care
    **_PROSE,
    "unchanged": (
        "{the_np} {is} {unchanged|stable|not substantially changed}.",
        "Unchanged {np}{worse}.",
        "Unchanged appearance of {the_np}.",
    ),
    "devices unchanged": (
        "Monitoring and support devices are in unchanged position.",
        "Monitoring and support devices are unchanged.",
    ),
    "compared": ("As compared to the previous {study}{|, {when}},", "In comparison with the study from {when},"),
    "heart normal": (
        "Normal size of the cardiac silhouette.",
        "Unremarkable cardiac silhouette.",
        "Heart size is normal.",
    ),
    "lungs clear": ("Well-expanded and clear lungs.", "The lungs are clear.", "Clear lungs."),
    "no": ("No {list}.", "No evidence of {list}.", "There is no {list}."),
    "prior": ("previous",),
}

_LISTER: Bank = {  # numbers what matters, in set phrases
    **_PROSE,
    "lungs clear": (
        "The lungs are free of focal airspace disease.",
        "Lungs are clear.",
        "The lungs are clear bilaterally.",
    ),
    "lungs clear without": (
        "The lungs are clear of {list}.",
        "The lungs are free of {list}.",
        "The lungs are normally inflated without evidence of {list}.",
    ),
    "heart normal": (
        "The heart size and mediastinal contours appear within normal limits.",
        "Heart size and mediastinal contour are within normal limits.",
        "Cardiomediastinal silhouette is within normal limits.",
        "Normal heart size and mediastinal contours.",
    ),
    "no": ("No {list} is seen.", "No {list} identified.", "Negative for {list}.", "No {list}.", "There is no {list}."),
    "bones normal": (
        "Visualized osseous structures are without acute abnormality.",
        "Osseous structures are intact.",
        "No acute bony abnormality.",
    ),
}

# In the order of the authors of `_report`.
BANKS: tuple[Bank, ...] = (_PROSE, _TERSE, _TEMPLATE, _RESIDENT, _EMERGENCY, _BRITON, _COMPARER, _LISTER)

# Spelling in Britain, whole words.
BRITISH: Mapping[str, str] = {
    "edema": "oedema",
    "esophagus": "oesophagus",
    "gastroesophageal": "gastro-oesophageal",
    "dyspnea": "dyspnoea",
    "visualized": "visualised",
    "center": "centre",
    "centered": "centred",
    "hypoinflated": "underinflated",
    "EKG": "ECG",
}
