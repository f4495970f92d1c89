"""The loader of MIMIC-CXR-JPG, on a tree with the real file and column names."""

import gzip
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmaudit._errors import AuditWarning, InputError
from mmaudit.datasets import load_mimic_cxr
from mmaudit.datasets._mimic import MIMIC_LABELS
from mmaudit.text import findings_and_impression, report_sections

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough.

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 There is no focal consolidation, pleural effusion or
 pneumothorax.

 IMPRESSION:

 No acute process.
"""
BARE = " FINAL REPORT\n CHEST RADIOGRAPH\n\n Comparison is made to prior.\n\n Small left\n effusion.\n"

# dicom_id, subject, study, procedure, view, rows, columns, date, time, orientation
IMAGES = [
    ("d1", 10000032, 50414267, "CHEST (PA AND LAT)", "PA", 3056, 2544, 21800506, 213014.531, "Erect"),
    ("d2", 10000032, 50414267, "CHEST (PA AND LAT)", "LATERAL", 3056, 2544, 21800506, 213014.531, "Erect"),
    ("d3", 10000032, 53189527, "CHEST (PA AND LAT)", "PA", 3056, 2544, 21800626, 165500.312, "Erect"),
    ("d4", 11000764, 57375967, "CHEST (PORTABLE AP)", "AP", 2544, 3056, 21310109, 90200.0, "Recumbent"),
    ("d5", 11000764, 58725901, "CHEST (PORTABLE AP)", "AP", 2544, 3056, 21310112, 500.0, None),
    ("d6", 12000935, 51178377, "CHEST (PA AND LAT)", None, 3056, 2544, 21870904, 120000.0, None),
    ("d7", 12000935, 59999999, "CHEST (PA AND LAT)", "PA", 3056, 2544, 21870905, 120000.0, None),  # no label row
]
# study: Pleural Effusion by chexpert
EFFUSION = {50414267: 1.0, 53189527: 0.0, 57375967: -1.0, 58725901: np.nan, 51178377: 1.0}
SPLIT = {"d1": "train", "d2": "train", "d3": "train", "d4": "test", "d5": "test", "d6": "validate", "d7": "train"}
SUBJECT = {study: subject for _, subject, study, *_ in IMAGES}


def study_folder(study):
    subject = SUBJECT[study]
    return f"files/p{str(subject)[:2]}/p{subject}/s{study}"


def write(root, *, reports="root", version="2.0.0", ending=".csv.gz", patients="root"):
    root.mkdir(parents=True, exist_ok=True)
    columns = ["dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows"]
    columns += ["Columns", "StudyDate", "StudyTime", "PatientOrientationCodeSequence_CodeMeaning"]
    metadata = pd.DataFrame(IMAGES, columns=columns)
    metadata["ProcedureCodeSequence_CodeMeaning"] = "CHEST"
    metadata["ViewCodeSequence_CodeMeaning"] = "postero-anterior"
    metadata.to_csv(root / f"mimic-cxr-{version}-metadata{ending}", index=False)
    labels = pd.DataFrame({"subject_id": [SUBJECT[s] for s in EFFUSION], "study_id": list(EFFUSION)})
    for name in MIMIC_LABELS:
        labels[name] = np.nan
    labels["Pleural Effusion"] = list(EFFUSION.values())
    labels["No Finding"] = [np.nan, 1.0, np.nan, np.nan, np.nan]
    labels.to_csv(root / f"mimic-cxr-{version}-chexpert{ending}", index=False)
    labels.assign(**{"Pleural Effusion": [0.0, 1.0, 0.0, 0.0, 0.0]}).to_csv(
        root / f"mimic-cxr-{version}-negbio{ending}", index=False
    )
    metadata[["dicom_id", "study_id", "subject_id"]].assign(split=metadata["dicom_id"].map(SPLIT)).to_csv(
        root / f"mimic-cxr-{version}-split{ending}", index=False
    )
    for dicom_id, _, study, *_ in IMAGES:
        (root / study_folder(study)).mkdir(parents=True, exist_ok=True)
        pixels = np.full((6, 4), 128, dtype=np.uint8)
        Image.fromarray(pixels).save(root / study_folder(study) / f"{dicom_id}.jpg")
    if reports is not None:
        write_reports(root if reports == "root" else reports)
    if patients is not None:
        write_patients(root if patients == "root" else patients)
    return root


def write_reports(base):
    for study, text in ((50414267, REPORT), (53189527, REPORT), (57375967, BARE), (51178377, BARE)):
        path = base / f"{study_folder(study)}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_patients(base):
    base.mkdir(parents=True, exist_ok=True)
    with gzip.open(base / "patients.csv.gz", "wt") as file:
        file.write("subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod\n")
        file.write("10000032,F,52,2180,2014 - 2016,2180-09-09\n11000764,M,60,2133,2014 - 2016,\n")
    with gzip.open(base / "admissions.csv.gz", "wt") as file:
        file.write("subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,insurance,language,race\n")
        file.write("10000032,1,2180-05-06 22:23:00,2180-05-07 17:15:00,,URGENT,Medicaid,English,WHITE\n")
        file.write("10000032,2,2180-06-27 18:27:00,2180-06-27 18:49:00,,EW EMER.,Medicaid,English,WHITE\n")
        file.write("11000764,3,2131-01-01 08:00:00,2131-01-10 08:00:00,,ELECTIVE,Medicare,English,ASIAN\n")
        file.write("11000764,4,2131-01-10 12:00:00,2131-01-20 08:00:00,,EW EMER.,Private,English,ASIAN\n")


def load(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        return load_mimic_cxr(root, **options)


def values(column):
    return [None if pd.isna(value) else value for value in column]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write(tmp_path_factory.mktemp("mimic") / "jpg")


@pytest.mark.parametrize(
    ("uncertain", "blank", "expected"),
    [
        ("exclude", "negative", {"d1": 1, "d2": 1, "d3": 0, "d5": 0, "d6": 1}),
        ("exclude", "exclude", {"d1": 1, "d2": 1, "d3": 0, "d6": 1}),
        ("positive", "exclude", {"d1": 1, "d2": 1, "d3": 0, "d4": 1, "d6": 1}),
        ("negative", "exclude", {"d1": 1, "d2": 1, "d3": 0, "d4": 0, "d6": 1}),
        ("positive", "negative", {"d1": 1, "d2": 1, "d3": 0, "d4": 1, "d5": 0, "d6": 1}),
        ("negative", "negative", {"d1": 1, "d2": 1, "d3": 0, "d4": 0, "d5": 0, "d6": 1}),
    ],
)
def test_every_policy_for_uncertain_and_blank(tree, uncertain, blank, expected):
    data = load(tree, uncertain=uncertain, blank=blank)
    assert dict(zip(data.sample_id, data.y_true.tolist(), strict=True)) == expected


def test_patients_images_and_card(tree):
    data = load(tree)
    assert data.patient_id.tolist() == ["10000032", "10000032", "10000032", "11000764", "12000935"]
    assert data.image("d1").shape == (6, 4)
    assert data.label_name == "Pleural Effusion"
    assert {"pleural effusion", "effusion", "effusions"} <= set(data.label_terms)
    assert data.card["label"] == (
        "Pleural Effusion by chexpert from the report; of 6 images 1 blank (counted as 0), 1 uncertain (left out), "
        "and 1 more of studies without labels (left out)"
    )


def test_metadata_of_the_image_the_patient_and_the_admission(tree):
    metadata = load(tree, uncertain="positive").metadata
    assert values(metadata["view"]) == ["PA", "LATERAL", "PA", "AP", "AP", None]
    assert metadata["hour"].tolist() == [21, 21, 16, 9, 0, 12]
    assert metadata["height_px"].tolist() == [3056, 3056, 3056, 2544, 2544, 3056]
    assert values(metadata["orientation"]) == ["Erect", "Erect", "Erect", "Recumbent", None, None]
    assert values(metadata["sex"]) == ["F", "F", "F", "M", "M", None]
    # 52 in 2180, studies of 2180; 60 in 2133, studies of 2131; the third patient is not in patients.csv.
    np.testing.assert_array_equal(metadata["age"], [52, 52, 52, 58, 58, np.nan])
    # d3 was made one day before the second admission; d4 on the ninth day of the first stay, d5 during the second.
    assert values(metadata["admission_type"]) == ["URGENT", "URGENT", None, "ELECTIVE", "EW EMER.", None]
    assert values(metadata["insurance"]) == ["Medicaid", "Medicaid", None, "Medicare", "Private", None]
    assert values(metadata["race"]) == ["WHITE", "WHITE", None, "ASIAN", "ASIAN", None]


def test_reports_hold_findings_and_impression_or_the_last_paragraph(tree):
    with pytest.warns(AuditWarning, match="got 1 of 6 empty reports"):
        data = load_mimic_cxr(tree, uncertain="positive")
    whole = "There is no focal consolidation, pleural effusion or pneumothorax. No acute process."
    assert data.reports.tolist() == [whole, whole, whole, "Small left effusion.", "", "Small left effusion."]


def test_the_labels_origin_is_warned_of(tree):
    with pytest.warns(AuditWarning, match=r"mimic-cxr: labels were read from the reports by a program.*1 uncertain"):
        load_mimic_cxr(tree)


def test_another_labeler(tree):
    data = load(tree, labeler="negbio")
    assert data.y_true.tolist() == [0, 0, 1, 0, 0, 0]


def test_no_finding_has_zeros_only_as_blanks(tree):
    assert load(tree, label="No Finding").y_true.tolist() == [0, 0, 1, 0, 0, 0]
    with pytest.raises(InputError, match=r"label: expected both classes, 0 and 1, got one class only \(1\)"):
        load(tree, label="No Finding", blank="exclude")


def test_split_and_views(tree):
    assert list(load(tree, split="train").sample_id) == ["d1", "d2", "d3"]
    assert list(load(tree, views=("PA", "ap")).sample_id) == ["d1", "d3", "d5"]
    assert list(load(tree, views="pa").sample_id) == ["d1", "d3"]
    with pytest.raises(InputError, match=r"views: expected views of these data, got 'LATERALS'.*mean 'LATERAL'\?"):
        load(tree, views="LATERALS")
    with pytest.raises(InputError, match=r"root: expected images that fit label, split and views, got none"):
        load(tree, split="validate", views="PA")


def test_version_2_1_unpacked_and_an_older_copy_beside_it(tmp_path):
    root = write(tmp_path / "jpg", version="2.1.0", ending=".csv")
    assert load(root).n_samples == 5
    (root / "mimic-cxr-2.0.0-metadata.csv.gz").write_bytes(b"not read, since 2.1.0 is there")
    assert load(root).n_samples == 5


def test_reports_beside_the_images_elsewhere_and_in_the_archive(tmp_path):
    root = write(tmp_path / "jpg", reports=None)
    with pytest.warns(AuditWarning, match=r"reports_root: expected reports such as .*, got none in root"):
        assert load_mimic_cxr(root).reports is None
    write_reports(tmp_path / "elsewhere")
    assert load(root, reports_root=tmp_path / "elsewhere").reports[0].startswith("There is no focal")
    with zipfile.ZipFile(tmp_path / "mimic-cxr-reports.zip", "w") as archive:
        for path in (tmp_path / "elsewhere").rglob("*.txt"):
            archive.write(path, path.relative_to(tmp_path / "elsewhere"))
    expected = load(root, reports_root=tmp_path / "elsewhere").reports.tolist()
    assert load(root, reports_root=tmp_path / "mimic-cxr-reports.zip").reports.tolist() == expected
    write_reports(root / "mimic-cxr-reports")
    assert load(root).reports.tolist() == expected
    with pytest.raises(InputError, match=r"reports_root: expected a folder or mimic-cxr-reports.zip, got a path at"):
        load(root, reports_root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"reports_root: expected reports such as files/p10.*got none of the first"):
        load(root, reports_root=tmp_path / "empty")
    (tmp_path / "broken.zip").write_bytes(b"PK no archive")
    with pytest.raises(InputError, match="reports_root: expected a whole zip archive, got a damaged one"):
        load(root, reports_root=tmp_path / "broken.zip")


def test_patients_in_hosp_elsewhere_or_absent(tmp_path):
    root = write(tmp_path / "jpg", patients=None)
    assert "sex" not in load(root).metadata
    write_patients(tmp_path / "iv" / "hosp")
    assert load(root, patients_root=tmp_path / "iv").metadata["sex"].tolist()[0] == "F"
    with pytest.raises(InputError, match=r"patients_root: expected patients.csv.gz of MIMIC-IV, got a folder without"):
        load(root, patients_root=tmp_path)


def test_without_image_files_the_rest_still_loads(tmp_path):
    root = write(tmp_path / "jpg", reports=tmp_path / "reports")
    (root / "files").rename(tmp_path / "moved")
    with pytest.warns(AuditWarning, match=r"root: expected images in files/, got a folder without"):
        data = load_mimic_cxr(root, reports_root=tmp_path / "reports")
    assert data.modalities == ("report", "metadata")


@pytest.mark.parametrize("kind", ["metadata", "chexpert", "split"])
def test_a_missing_file_is_named_with_its_source(tmp_path, kind):
    root = write(tmp_path / "jpg")
    (root / f"mimic-cxr-2.0.0-{kind}.csv.gz").unlink()
    message = rf"root: expected the file mimic-cxr-2.0.0-{kind}.csv.gz of MIMIC-CXR-JPG, got a folder without it. "
    with pytest.raises(InputError, match=message + "Get it from https://physionet.org/content/mimic-cxr-jpg/"):
        load(root, split="train")


def test_damaged_and_altered_tables(tmp_path):
    root = write(tmp_path / "jpg")
    path = root / "mimic-cxr-2.0.0-chexpert.csv.gz"
    whole = pd.read_csv(path)
    whole.assign(**{"Pleural Effusion": 2}).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"label: expected 1, 0, -1 or blank in mimic-cxr-2.0.0-chexpert.csv.gz"):
        load(root)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"root: expected a whole CSV file mimic-cxr-2.0.0-chexpert.csv.gz, got one"):
        load(root)
    images = root / "mimic-cxr-2.0.0-metadata.csv.gz"
    table = pd.read_csv(images)
    table.assign(study_id="../../secret").to_csv(images, index=False)
    with pytest.raises(InputError, match="root: expected whole numbers as subject_id and study_id"):
        load(root)
    table.drop(columns="dicom_id").to_csv(images, index=False)
    with pytest.raises(InputError, match=r"root: expected the column dicom_id in mimic-cxr-2.0.0-metadata.csv.gz"):
        load(root)


def test_a_table_without_a_header_is_refused_and_its_first_row_is_not_shown(tmp_path):
    root = write(tmp_path / "jpg", patients="root")
    path = root / "patients.csv.gz"
    rows = gzip.decompress(path.read_bytes()).partition(b"\n")[2]
    path.write_bytes(gzip.compress(rows))
    with pytest.raises(InputError, match=r"in patients.csv.gz, got a table of 6 columns without\. Check") as refusal:
        load(root)
    assert "10000032" not in str(refusal.value)


def test_numbers_beyond_what_is_counted_with(tmp_path):
    root = write(tmp_path / "jpg", patients="root")
    path = root / "patients.csv.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content.replace(b",2133,", b",1" + b"0" * 400 + b",")))
    with pytest.raises(InputError, match=r"expected finite numbers, .* got 1 values in 'age' that are infinite"):
        load(root)
    path.write_bytes(gzip.compress(content.replace(b"11000764,", b"18446744073709551615,")))
    with pytest.raises(InputError, match=r"root: expected whole numbers as subject_id in patients.csv.gz, got others"):
        load(root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "Pleural Efusion"}, r"label: expected a label of MIMIC-CXR-JPG.*Did you mean 'Pleural Effusion'\?"),
        ({"labeler": "chexbert"}, r"labeler: expected one of 'chexpert', 'negbio', got 'chexbert'"),
        ({"uncertain": "maybe"}, r"uncertain: expected one of 'exclude', 'positive', 'negative', got 'maybe'"),
        ({"blank": "positive"}, r"blank: expected one of 'negative', 'exclude', got 'positive'"),
        ({"split": "valid"}, r"split: expected one of None, 'train', 'validate', 'test', got 'valid'.*'validate'"),
    ],
)
def test_wrong_choices(tree, options, message):
    with pytest.raises(InputError, match=message):
        load(tree, **options)


def test_sections_by_header():
    assert report_sections(REPORT) == {
        "EXAMINATION": "CHEST (PA AND LAT)",
        "INDICATION": "___ year old woman with cough.",
        "TECHNIQUE": "Chest PA and lateral",
        "COMPARISON": "___",
        "FINDINGS": "There is no focal consolidation, pleural effusion or pneumothorax.",
        "IMPRESSION": "No acute process.",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Findings: Clear.\nImpression: Normal.", {"FINDINGS": "Clear.", "IMPRESSION": "Normal."}),
        ("REASON FOR EXAM: Fall.\nCONCLUSION: Normal.", {"INDICATION": "Fall.", "IMPRESSION": "Normal."}),
        ("FINDINGS: A.\n\nFINDINGS: B.", {"FINDINGS": "A. B."}),
        ("IMPRESSION:\n\n", {}),
        ("FINDINGS: Seen at 10:30, note: clear.", {"FINDINGS": "Seen at 10:30, note: clear."}),
        ("FINDINGS: Clear.\n\n PA AND LATERAL VIEWS: Two.", {"FINDINGS": "Clear.", "PA AND LATERAL VIEWS": "Two."}),
        ("", {}),
        ("No headers here.", {}),
    ],
)
def test_headers_of_other_forms(text, expected):
    assert report_sections(text) == expected


def test_the_last_paragraph_stands_in_for_missing_sections():
    assert findings_and_impression(BARE) == "Small left effusion."
    assert findings_and_impression(BARE.replace("\n", "\r\n")) == "Small left effusion."
    assert findings_and_impression("INDICATION: Cough.") == "INDICATION: Cough."
    assert findings_and_impression("") == ""
    assert findings_and_impression("IMPRESSION: Normal.\n\nFINDINGS: Clear.") == "Clear. Normal."
