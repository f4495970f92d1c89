"""The loader of covid-chestxray: labels, what is left out, metadata, warnings, errors."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmaudit._errors import AuditWarning, InputError, UnknownKeywordError
from mmaudit.datasets import load_covid_chestxray

REPO = Path(__file__).parents[2]
REAL = Path(os.environ.get("MMAUDIT_REAL_DATA", REPO.parent / "shared" / "data")) / "covid-chestxray"

ROWS = [
    # patientid, finding, view, modality, filename, location, url, date, age, sex, clinical_notes, other_notes
    (
        *(
            "1",
            "COVID-19",
            "PA",
            "X-ray",
            "a.png",
            "Wuhan, China",
            "https://www.nejm.org/x",
            "January 22, 2020",
            "65",
            "m",
        ),
        *("Fever.\nPCR  positive.", "Credit to Somebody"),
    ),
    (
        *(
            "1",
            "COVID-19, ARDS",
            "AP Supine",
            "X-ray",
            "b.png",
            "Milan, Italy ",
            "https://radiopaedia.org/y",
            "03/16/20",
        ),
        *("65", "M", "", ""),
    ),
    ("2", "Pneumonia/Viral/COVID-19", "PA", "X-ray", "c.png", "Italy", "radiopaedia.org/z", "2020", "", "F", "", ""),
    (
        *(
            "3",
            "Pneumonia/Bacterial/Klebsiella",
            "PA",
            "X-ray",
            "d.png",
            "",
            "https://example.org",
            "January 12",
            "40",
            "F",
        ),
        *("Cough.", ""),
    ),
    ("4", "No Finding", "L", "X-ray", "e.png", "Hanover, Germany", "", "3/3/2014", "30", "", "", ""),
    ("5", "todo", "", "X-ray", "f.png", "", "", "", "", "", "", ""),
    ("6", "", "PA", "X-ray", "g.png", "", "", "", "", "", "", ""),
    ("7", "COVID-19", "Axial", "CT", "h.png", "", "", "", "", "", "", ""),
]
COLUMNS = ["patientid", "finding", "view", "modality", "filename", "location", "url", "date", "age", "sex"]
COLUMNS += ["clinical_notes", "other_notes"]


def write(root, rows=ROWS, columns=COLUMNS, rename=None, missing=()):
    (root / "images").mkdir(parents=True)
    table = pd.DataFrame(rows, columns=columns)
    for name in set(table["filename"]) - set(missing):
        Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save(root / "images" / name)
    table.rename(columns=rename or {}).to_csv(root / "metadata.csv", index=False)
    return root


def load(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        return load_covid_chestxray(root, **options)


def test_label_is_any_part_of_the_finding_and_undecided_rows_and_ct_stay_out(tmp_path):
    data = load(write(tmp_path / "set"))
    assert list(data.sample_id) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert data.y_true.tolist() == [1, 1, 1, 0, 0]
    assert data.patient_id.tolist() == ["1", "1", "2", "3", "4"]
    assert data.label_name == "COVID-19"
    assert {"covid-19", "sars-cov-2", "coronavirus", "ncov", "pcr"} <= set(data.label_terms)
    assert data.y_proba is None
    assert set(data.card) == {"source", "reference", "licence", "patients", "label", "known limits"}


def test_unknown_findings_can_count_as_negative(tmp_path):
    data = load(write(tmp_path / "set"), unknown="negative")
    assert data.y_true.tolist() == [1, 1, 1, 0, 0, 0, 0]


def test_a_label_in_another_case_and_a_part_in_the_middle_of_a_path(tmp_path):
    data = load(write(tmp_path / "set"), label="pneumonia")
    assert data.label_name == "Pneumonia"
    assert data.y_true.tolist() == [0, 0, 1, 1, 0]


def test_metadata_are_cleaned(tmp_path):
    metadata = load(write(tmp_path / "set")).metadata
    assert metadata["site"].tolist()[:3] == ["Wuhan, China", "Milan, Italy", "Italy"]
    assert metadata["country"].tolist()[:3] == ["China", "Italy", "Italy"]
    assert metadata["source"].tolist()[:4] == ["nejm.org", "radiopaedia.org", "radiopaedia.org", "example.org"]
    assert metadata["sex"].tolist()[:4] == ["M", "M", "F", "F"]
    np.testing.assert_array_equal(metadata["age"], [65, 65, np.nan, 40, 30])
    np.testing.assert_array_equal(metadata["year"], [2020, 2020, 2020, np.nan, 2014])
    assert metadata["view"].tolist() == ["PA", "AP Supine", "PA", "PA", "L"]


def test_reports_are_clinical_notes_and_other_notes_on_request(tmp_path):
    root = write(tmp_path / "set")
    assert load(root).reports.tolist() == ["Fever. PCR positive.", "", "", "Cough.", ""]
    assert load(root, other_notes=True).reports[0] == "Fever. PCR positive. Credit to Somebody"


def test_images_are_found_below_images(tmp_path):
    assert load(write(tmp_path / "set")).image("a.png").shape == (4, 6)


def test_the_shortcuts_are_warned_of(tmp_path):
    with pytest.warns(AuditWarning, match=r"DeGrave et al. 2021, doi 10.1038/s42256-021-00338-7"):
        load_covid_chestxray(write(tmp_path / "set"))


def test_rows_left_out_are_counted_in_a_warning(tmp_path):
    root = write(tmp_path / "set", missing=["d.png"])
    with pytest.warns(AuditWarning, match=r"left out 2 with a finding of 'todo'.*; 1 whose file is not in images/\."):
        data = load_covid_chestxray(root)
    assert list(data.sample_id) == ["a.png", "b.png", "c.png", "e.png"]


def test_repeated_file_names_keep_the_first_row_unless_the_label_differs(tmp_path):
    contradiction = ("8", "No Finding", *ROWS[1][2:])
    root = write(tmp_path / "set", rows=[*ROWS, ROWS[0], contradiction])
    with pytest.warns(AuditWarning, match="3 that repeat a file name or contradict a repetition"):
        data = load_covid_chestxray(root)
    assert list(data.sample_id) == ["a.png", "c.png", "d.png", "e.png"]


def test_older_column_names_and_absent_optional_columns(tmp_path):
    kept = ["patientid", "finding", "filename", "clinical_notes"]
    rows = [tuple(row[COLUMNS.index(c)] for c in kept) for row in ROWS[:5]]
    renamed = {"patientid": "Patientid", "clinical_notes": "clinical notes"}
    data = load(write(tmp_path / "set", rows=rows, columns=kept, rename=renamed))
    assert data.y_true.tolist() == [1, 1, 1, 0, 0]
    assert data.modalities == ("image", "report")
    assert data.reports[3] == "Cough."


def test_no_notes_at_all_means_no_reports(tmp_path):
    rows = [(*row[:10], "", "") for row in ROWS]
    assert load(write(tmp_path / "set", rows=rows)).reports is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "COVID19"}, r"label: expected one of the findings.*got 'COVID19'.*Did you mean 'COVID-19'\?"),
        ({"label": "todo"}, r"label: expected one of the findings in metadata.csv, got 'todo'"),
        ({"unknown": "positive"}, r"unknown: expected one of 'exclude', 'negative', got 'positive'"),
    ],
)
def test_wrong_choices(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        load(write(tmp_path / "set"), **options)


def test_an_unknown_keyword_is_named(tmp_path):
    with pytest.raises(UnknownKeywordError, match=r"labels: expected one of the keywords.*Did you mean 'label'"):
        load_covid_chestxray(tmp_path, labels="x")


def test_missing_folder_file_and_images(tmp_path):
    with pytest.raises(InputError, match="root: expected the folder of covid-chestxray-dataset, got a path at which"):
        load(tmp_path / "nowhere")
    with pytest.raises(
        InputError, match=r"root: expected a folder with metadata.csv and images/, got one without meta"
    ):
        load(tmp_path)
    root = write(tmp_path / "set", missing=[row[4] for row in ROWS])
    with pytest.raises(InputError, match=r"expected the images that metadata.csv names in images/, got none of 5"):
        load(root)
    (root / "metadata.csv").write_text("finding,filename\nCOVID-19,a.png\n")
    with pytest.raises(
        InputError, match=r"expected the columns patientid in metadata.csv, got a table of 2 columns wit"
    ):
        load(root)
    (root / "metadata.csv").write_text("")
    with pytest.raises(InputError, match=r"expected a whole CSV file metadata.csv, got one that cannot be read"):
        load(root)


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")
def test_the_real_collection():
    data = load(REAL)
    # Counted by hand in metadata.csv: 404 X-rays, 64 "todo" or "Unknown"; "COVID-19" 272 and "COVID-19, ARDS" 5.
    assert (data.n_samples, int(data.y_true.sum()), data.n_patients) == (404 - 64, 272 + 5, 205)
    assert data.modalities == ("image", "report", "metadata")
    assert not set(data.metadata["country"].dropna()) - set(data.metadata["country"].dropna().str.strip())
    assert data.metadata["source"].value_counts().index[0] == "radiopaedia.org"
    assert data.image(data.sample_id[0], max_side_px=64).max() <= 1
    assert load(REAL, unknown="negative").n_samples == 404
