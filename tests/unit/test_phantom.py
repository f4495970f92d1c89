"""The phantom cohort: the same for the same seed, hanging together as a hospital's, written whole or not at all."""

import re

import numpy as np
import pandas as pd
import pytest

from mmaudit._errors import AuditWarning, InputError, UnknownKeywordError
from mmaudit.data import AuditData
from mmaudit.datasets import load_mimic_cxr, load_phantom, write_phantom
from mmaudit.datasets.phantom import DEVICES, FINDINGS, PhantomImages
from mmaudit.datasets.phantom._cohort import METADATA
from mmaudit.images import ImageSource
from mmaudit.text import findings_and_impression

FIRST_TWO = ["10000000", "10000001"]  # the patients that depend on the label


@pytest.fixture(scope="module")
def data():
    return load_phantom(800, image_size=64)


@pytest.fixture(scope="module")
def table(data):
    """Everything in one table, one row a sample."""
    return pd.concat([data.metadata, data.attributes], axis=1).assign(
        patient=data.patient_id,
        label=data.y_true,
        wrong=(data.y_proba >= 0.5) != data.y_true,
        report=data.reports,
    )


def same(one, other):
    pd.testing.assert_frame_equal(one.metadata, other.metadata)
    pd.testing.assert_frame_equal(one.attributes, other.attributes)
    assert one.sample_id.equals(other.sample_id)
    for name in ("y_true", "y_proba", "patient_id", "reports"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# The cohort


def test_same_seed_gives_the_same_table_and_images():
    one, other = (load_phantom(8, image_size=96, random_state=3, cache=False) for _ in range(2))
    same(one, other)
    for i in (5, 0, 5):
        assert one.images.read(i).pixels.tobytes() == other.images.read(i).pixels.tobytes()


def test_other_seed_gives_other_data():
    one, other = (load_phantom(8, image_size=96, random_state=seed) for seed in (3, 4))
    assert one.reports.tolist() != other.reports.tolist()
    assert not set(one.sample_id) & set(other.sample_id)
    assert not np.array_equal(one.images.read(0).pixels, other.images.read(0).pixels)


def test_first_patients_of_a_larger_cohort_are_the_smaller_one(data):
    small = load_phantom(12, image_size=64)
    same(small, data.subset(np.arange(len(small))))


def test_random_state_object_and_none_give_data():
    one, other = (load_phantom(5, random_state=np.random.RandomState(7)) for _ in range(2))
    same(one, other)
    assert load_phantom(5, random_state=None).n_patients == 5


@pytest.mark.parametrize("label", FINDINGS)
def test_two_patients_have_both_classes(label):
    for seed in range(3):
        data = load_phantom(2, random_state=seed, label=label)
        assert set(data.y_true) == {0, 1}
        np.testing.assert_array_equal(data.y_true, data.attributes[label])


def test_another_label_leaves_the_cohort_as_it_is(data):
    other = load_phantom(800, image_size=64, label="Pneumothorax")
    rest, other_rest = ~np.isin(data.patient_id, FIRST_TWO), ~np.isin(other.patient_id, FIRST_TWO)
    np.testing.assert_array_equal(other.reports[other_rest], data.reports[rest])
    assert rest.sum() > 2000
    assert other.label_name == "Pneumothorax"
    np.testing.assert_array_equal(other.y_true, other.attributes["pneumothorax"])


def test_roles_of_the_data(data):
    assert data.modalities == ("image", "report", "metadata")
    assert tuple(data.metadata.columns) == METADATA
    assert data.label_name == "Pleural effusion"
    assert "effusion" in data.label_terms
    assert isinstance(data.images, ImageSource)
    assert isinstance(data.images, PhantomImages)
    assert "simulated" in data.card["classifier"]
    assert "AP supine" in data.card["planted failures"]
    assert not set(data.metadata.columns) & set(data.attributes.columns)


def test_patients_have_1_to_8_studies_of_1_to_3_images(table):
    studies = table.groupby("patient")["study_id"].nunique()
    assert (studies.min(), studies.max()) == (1, 8)
    images = table.groupby("study_id").size()
    assert (images.min(), images.max()) == (1, 3)
    days = table.groupby("patient")["study_day"]
    assert (days.first() == 0).all()
    assert days.apply(lambda d: d.is_monotonic_increasing).all()
    assert table.groupby("study_id")["report"].nunique().max() == 1


def test_what_belongs_to_a_patient_stays(table):
    of_patient = table.groupby("patient")
    for column in ("sex", "site"):
        assert of_patient[column].nunique().max() == 1
    assert of_patient["bmi"].nunique().max() == 1
    assert 0.03 < table.groupby("patient")["bmi"].first().isna().mean() < 0.2
    years = of_patient["age"].agg(lambda a: a.max() - a.min())
    days = of_patient["study_day"].max()
    assert ((years - days / 365.25).abs() <= 1).all()
    for device in ("pacemaker", "sternal wires", "surgical clips"):
        assert of_patient[device].nunique().max() == 1


def test_supine_films_are_from_the_icu_portable_and_with_more_devices(table):
    supine = table["view"] == "AP supine"
    assert (table["setting"][supine] == "ICU").mean() > 0.7
    assert (table["setting"][~supine] == "ICU").mean() < 0.3
    assert (table["portable"][supine] == "yes").mean() > 0.8
    n_devices = table[list(DEVICES)].sum(axis=1)
    assert n_devices[supine].mean() > 2 * n_devices[~supine].mean()
    assert table["scanner"][table["portable"] == "yes"].str.startswith("Mobile").all()
    assert not table["scanner"][table["portable"] == "no"].str.startswith("Mobile").any()
    assert set(table["view"]) == {"PA", "AP", "AP supine", "lateral"}
    assert table["site"].nunique() == 3
    assert table["scanner"].nunique() == 7


@pytest.mark.parametrize(
    ("cause", "effect", "times"),
    [
        ("pneumothorax", "chest tube", 2.0),
        ("endotracheal tube", "nasogastric tube", 3.0),
        ("edema", "pleural effusion", 1.5),
        ("cardiomegaly", "edema", 1.5),
        ("fracture", "pneumothorax", 1.5),
        ("sternal wires", "surgical clips", 3.0),
    ],
)
def test_what_goes_together_does_so(table, cause, effect, times):
    with_it, without = table[effect][table[cause]].mean(), table[effect][~table[cause]].mean()
    assert with_it > times * without


def test_every_finding_and_device_occurs_and_none_is_common_to_all(table):
    share = table[[*FINDINGS, *DEVICES]].mean()
    assert share.min() > 0.03
    assert share.max() < 0.5
    assert 0.25 < table["label"].mean() < 0.4


def test_attributes_agree_with_the_films(data):
    attributes = data.attributes
    for i in range(0, 400):
        film = data.images.films[i]
        row = attributes.iloc[i]
        assert {k for k in FINDINGS if row[k]} == {f.kind for f in film.findings}
        assert {k for k in DEVICES if row[k]} == {d.kind for d in film.devices}
        sides = {f.side for f in film.findings if f.kind == "pleural effusion"}
        expected = {0: "", 1: next(iter(sides), ""), 2: "both"}[len(sides)]
        assert row["pleural effusion side"] == expected
        assert (row["pleural effusion size"] > 0) == bool(sides)


def test_planted_failures_are_in_the_predictions(table):
    supine, positive, wrong = table["view"] == "AP supine", table["label"] == 1, table["wrong"]
    tube = table["chest tube"]
    missed = wrong[supine & positive].mean()
    false_calls = wrong[tube & ~positive].mean()
    assert 0.45 < missed < 0.65
    assert missed > 3 * wrong[~supine & positive].mean()
    assert 0.40 < false_calls < 0.60
    assert false_calls > 3 * wrong[~tube & ~positive].mean()
    assert 0.08 < wrong.mean() < 0.15


# Files


def test_plain_layout_reads_back_as_the_same_data(tmp_path):
    out = write_phantom(tmp_path / "cohort", n_patients=5, image_size=64)
    assert out == tmp_path / "cohort"
    assert [p.name for p in tmp_path.iterdir()] == ["cohort"]
    table = pd.read_csv(out / "table.csv")
    roles = ["sample_id", "patient_id", "study_id", "path", "report", "pleural_effusion", "proba", *METADATA]
    assert table.columns.tolist() == roles
    truth = pd.read_csv(out / "truth.csv", keep_default_na=False)
    data = load_phantom(5, image_size=64)
    assert truth.columns.tolist() == ["sample_id", *data.attributes.columns]
    back = AuditData.from_frame(
        table,
        label="pleural_effusion",
        y_proba="proba",
        patient_id="patient_id",
        sample_id="sample_id",
        image="path",
        image_root=out,
        report="report",
        metadata=METADATA,
    )
    pd.testing.assert_frame_equal(data.metadata, back.metadata)
    for name in ("y_true", "y_proba", "patient_id", "reports"):
        np.testing.assert_array_equal(getattr(data, name), getattr(back, name))
    for i, sample_id in enumerate(data.sample_id):
        np.testing.assert_array_equal(back.image(sample_id), data.images.read(i).pixels)
        np.testing.assert_array_equal(
            truth.loc[i, list(FINDINGS)].tolist(), data.attributes.iloc[i][list(FINDINGS)].tolist()
        )
    readme = (out / "README.txt").read_text(encoding="utf-8")
    assert "mmaudit audit table.csv --label pleural_effusion --proba proba --patient patient_id" in readme
    assert "simulated" in readme
    assert "Not for clinical use" in readme


def test_written_masks_hold_a_bit_for_each_finding_and_device(tmp_path):
    from PIL import Image

    out = write_phantom(tmp_path / "cohort", n_patients=3, image_size=64)
    data = load_phantom(3, image_size=64)
    kinds = (*FINDINGS, *DEVICES)
    seen = set()
    for i, sample_id in enumerate(data.sample_id):
        packed = np.asarray(Image.open(out / "masks" / f"{sample_id}.png"), dtype=np.uint16)
        masks = data.images.masks(i)
        for bit, kind in enumerate(kinds):
            expected = masks.get(kind, np.zeros((64, 64), dtype=bool))
            np.testing.assert_array_equal(packed >> bit & 1, expected)
            seen |= {kind} if expected.any() else set()
    assert len(seen) > 3


@pytest.fixture(scope="module")
def mimic(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("x") / "mimic", n_patients=12, image_size=96, layout="mimic-cxr")


@pytest.mark.parametrize("label", ["Pleural Effusion", "Cardiomegaly", "Edema"])
def test_mimic_layout_reads_back_equal(mimic, label):
    with pytest.warns(AuditWarning, match="labels were read from the reports"):
        back = load_mimic_cxr(mimic, label=label)
    data = load_phantom(12, image_size=96, label=label)
    if label != "Pleural Effusion":  # the files were written for that label
        data, back = (each.subset(~np.isin(each.patient_id, FIRST_TWO)) for each in (data, back))
    assert back.sample_id.tolist() == data.sample_id.tolist()
    np.testing.assert_array_equal(back.patient_id, data.patient_id)
    np.testing.assert_array_equal(back.y_true, data.y_true)
    assert back.reports.tolist() == [findings_and_impression(text) for text in data.reports]
    one, other = data.metadata, back.metadata
    assert other["view"].tolist() == one["view"].map(lambda v: v.split()[0].upper()).tolist()
    assert other["orientation"].eq("Recumbent").tolist() == one["view"].eq("AP supine").tolist()
    assert other["sex"].tolist() == one["sex"].tolist()
    assert other["age"].tolist() == one["age"].tolist()
    assert other["hour"].tolist() == data.attributes["study_hour"].tolist()
    assert (other["height_px"] == 96).all()
    for i, sample_id in enumerate(data.sample_id):
        difference = np.abs(back.image(sample_id) - data.images.read(i).pixels)
        assert difference.mean() < 0.01  # JPEG
        assert difference.max() < 0.15


def test_mimic_layout_has_the_files_and_columns_of_mimic_cxr_jpg(mimic):
    names = {p.relative_to(mimic).as_posix() for p in mimic.iterdir()}
    tables = {f"mimic-cxr-2.0.0-{kind}.csv.gz" for kind in ("metadata", "chexpert", "negbio", "split")}
    assert names == tables | {"README", "files", "hosp", "phantom-truth"}
    columns = {kind: pd.read_csv(mimic / f"mimic-cxr-2.0.0-{kind}.csv.gz").columns.tolist() for kind in
               ("metadata", "chexpert", "negbio", "split")}  # fmt: skip
    assert columns["metadata"] == [
        *("dicom_id", "subject_id", "study_id", "PerformedProcedureStepDescription", "ViewPosition", "Rows"),
        *("Columns", "StudyDate", "StudyTime", "ProcedureCodeSequence_CodeMeaning", "ViewCodeSequence_CodeMeaning"),
        "PatientOrientationCodeSequence_CodeMeaning",
    ]
    assert (
        columns["chexpert"]
        == columns["negbio"]
        == [
            *("subject_id", "study_id", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema"),
            *(
                "Enlarged Cardiomediastinum",
                "Fracture",
                "Lung Lesion",
                "Lung Opacity",
                "No Finding",
                "Pleural Effusion",
            ),
            *("Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices"),
        ]
    )
    assert columns["split"] == ["dicom_id", "study_id", "subject_id", "split"]
    images = sorted(p.relative_to(mimic).as_posix() for p in mimic.glob("files/**/*.jpg"))
    pattern = re.compile(r"files/p10/p10\d{6}/s5\d{7}/[0-9a-f]{8}(-[0-9a-f]{8}){4}\.jpg")
    assert images
    assert all(pattern.fullmatch(path) for path in images)
    reports = sorted(mimic.glob("files/p10/p*/s*.txt"))
    assert len(reports) == len({p.rsplit("/", 1)[0] for p in images})
    assert reports[0].read_text(encoding="utf-8").lstrip().startswith("FINAL REPORT")


def test_mimic_labels_say_what_is_drawn_and_what_is_reported(tmp_path):
    out = write_phantom(tmp_path / "m", n_patients=40, image_size=64, layout="mimic-cxr")
    truth = pd.read_csv(out / "phantom-truth/truth.csv", keep_default_na=False).drop_duplicates("study_id")
    truth = truth.set_index(truth["study_id"].astype(int))
    drawn = pd.read_csv(out / "mimic-cxr-2.0.0-chexpert.csv.gz", index_col="study_id")
    said = pd.read_csv(out / "mimic-cxr-2.0.0-negbio.csv.gz", index_col="study_id")
    assert ((drawn["Pleural Effusion"] == 1) == truth["pleural effusion"]).all()
    value = {"present": 1.0, "absent": 0.0, "uncertain": -1.0}
    expected = truth["reported consolidation"].map(value)
    pd.testing.assert_series_equal(said["Consolidation"], expected, check_names=False)
    assert (said.drop(columns="subject_id") == -1).any(axis=None)
    nothing = truth[list(FINDINGS) + list(DEVICES)].eq(False).all(axis=1)
    assert nothing.any()
    assert (drawn["No Finding"] == 1).equals(nothing)


def test_an_empty_folder_may_be_written_into(tmp_path):
    assert (write_phantom(tmp_path, n_patients=2, image_size=64) / "table.csv").is_file()


def test_progress_goes_to_stderr(tmp_path, capsys):
    write_phantom(tmp_path / "quiet", n_patients=2, image_size=64)
    assert capsys.readouterr() == ("", "")
    write_phantom(tmp_path / "shown", n_patients=2, image_size=64, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Writing" in err


@pytest.mark.parametrize("layout", ["plain", "mimic-cxr"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [True, False])
def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, error, exists, layout):
    draw, calls = PhantomImages.draw, []

    def fails_at_the_third(self, index):
        calls.append(index)
        if len(calls) == 3:
            assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".partial")]
            raise error
        return draw(self, index)

    monkeypatch.setattr(PhantomImages, "draw", fails_at_the_third)
    target = tmp_path / "cohort"
    if exists:
        target.mkdir()
    with pytest.raises(type(error)):
        write_phantom(target, n_patients=5, image_size=64, layout=layout)
    assert len(calls) == 3
    assert [p.name for p in tmp_path.iterdir()] == (["cohort"] if exists else [])
    assert not exists or not any(target.iterdir())


def test_out_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"^out: expected a new or an empty folder, got one that is not empty"):
        write_phantom(tmp_path, n_patients=2)
    with pytest.raises(InputError, match=r"^out: expected a new or an empty folder, got a file"):
        write_phantom(tmp_path / "mine.txt", n_patients=2)
    with pytest.raises(InputError, match=r"^out: expected a folder inside one that exists, got one inside a missing"):
        write_phantom(tmp_path / "no" / "such", n_patients=2)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_patients": 1}, "n_patients: expected a number from 2 to 1000000, got 1. "),
        ({"n_patients": 2.5}, "n_patients: expected a whole number, got float. "),
        ({"n_patients": True}, "n_patients: expected a whole number, got bool. "),
        ({"image_size": 63}, "image_size: expected a number from 64 to 2048, got 63. "),
        ({"random_state": -1}, "random_state: expected a number from 0 to "),
        ({"random_state": "seven"}, "random_state: expected a whole number, a RandomState or None, got str. "),
        ({"bit_depth": 12}, "bit_depth: expected one of 8, 16, got 12. "),
        (
            {"label": "Effusion"},
            "label: expected a finding of the phantom, got 'Effusion'. They are: Pleural effusion, ",
        ),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        load_phantom(**options)


def test_choices_of_writing(tmp_path):
    with pytest.raises(InputError, match=r"^layout: expected one of 'plain', 'mimic-cxr', got 'mimic'.*Did you mean"):
        write_phantom(tmp_path, layout="mimic")
    with pytest.raises(InputError, match=r"^bit_depth: expected 8 with the layout mimic-cxr, got 16"):
        write_phantom(tmp_path, layout="mimic-cxr", bit_depth=16)


def test_unknown_keywords_get_a_hint():
    with pytest.raises(UnknownKeywordError, match="Did you mean 'image_size'"):
        load_phantom(5, imagesize=64)
    with pytest.raises(UnknownKeywordError, match="Did you mean 'n_patients'"):
        write_phantom("out", n_patient=5)
