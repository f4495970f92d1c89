"""AuditData: what it accepts, what it refuses and in which words, and that no patient is on both sides of a split."""

import copy
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit._errors import AuditWarning, InputError, UnknownKeywordError
from mmaudit.data import NO_PATIENT_ID, check_binary, check_labels, check_proba
from mmaudit.images import GrayImage


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "label": [0, 1, 1, 0, 1, 0],
            "proba": [0.2, 0.9, 0.4, 0.1, 0.8, 0.6],
            "patient": ["a", "a", "b", "c", "d", "d"],
            "view": ["PA", "AP", "PA", None, "AP", "PA"],
            "age": [40, 41, 50, 60, 70, 71],
            "report": ["clear", "effusion", "small effusion", "clear lungs", "large", "clear"],
        },
        index=["s1", "s2", "s3", "s4", "s5", "s6"],
    )


@pytest.fixture
def data(frame):
    return make(
        frame, report="report", metadata=["view", "age"], embeddings={"image": np.eye(6)}, card={"licence": "CC0"}
    )


def make(frame, **keywords):
    return mma.AuditData.from_frame(frame, **{"label": "label", "y_proba": "proba", "patient_id": "patient"} | keywords)


def message_of(frame, **keywords):
    with pytest.raises(InputError) as caught:
        make(frame, **keywords)
    return str(caught.value)


# What it holds


def test_roles_are_read_from_the_columns(data, frame):
    assert (data.n_samples, len(data), data.n_patients) == (6, 6, 4)
    assert data.y_true.dtype == np.int8
    assert data.y_proba.dtype == np.float64
    np.testing.assert_array_equal(data.y_true, frame["label"])
    np.testing.assert_array_equal(data.y_proba, frame["proba"])
    assert data.patient_id.tolist() == ["a", "a", "b", "c", "d", "d"]
    assert data.sample_id.tolist() == frame.index.tolist()
    assert data.reports[2] == "small effusion"
    assert data.modalities == ("image", "report", "metadata")
    assert data.embeddings["image"].dtype == np.float32
    assert data.label_name == "label"
    assert data.card["licence"] == "CC0"


def test_repr_says_what_was_loaded(data):
    assert repr(data).splitlines() == [
        "AuditData: 6 samples of 4 patients",
        "  label        label: 3 of 6 are 1 (50 %)",
        "  probability  0.10 to 0.90; wrong at 0.5: 2 of 6 (33 %)",
        "  reports      median 1 words",
        "  metadata     view (2 values, 1 missing), age (numeric)",
        "  embedding    image: 6 dimensions",
    ]


def test_repr_shows_no_ids(frame):
    frame["patient"] = [f"patient-{k}" for k in range(6)]
    frame.index = [f"sample-{k}" for k in range(6)]
    text = repr(make(frame, name="ward 3"))
    assert text.startswith("AuditData 'ward 3': 6 samples")
    assert "patient-" not in text
    assert "sample-" not in text


def test_repr_without_predictions_says_how_to_add_them(frame):
    assert "probability  none yet; add it with .with_predictions(...)" in repr(make(frame, y_proba=None))


def test_sample_ids_come_from_a_column_if_one_is_named(frame):
    frame["dicom"] = list("uvwxyz")
    assert make(frame, sample_id="dicom").sample_id.tolist() == list("uvwxyz")


def test_a_single_metadata_column_may_be_a_string(frame):
    assert make(frame, metadata="view").metadata.columns.tolist() == ["view"]


@pytest.mark.parametrize(
    "values",
    [
        [False, True],
        np.array([0, 1], dtype=np.uint8),
        [0.0, 1.0],
        pd.Series([0, 1], dtype="Int64"),
        pd.Series([False, True], dtype="boolean"),
        pd.Series([0, 1], dtype=object),
        pd.Series([False, True], dtype=object),
        pd.Series([0, 1], dtype="category"),
    ],
)
def test_zero_and_one_are_taken_in_every_dtype(values):
    labels = check_labels(values)
    assert labels.dtype == np.int8
    assert labels.tolist() == [0, 1]


def test_metadata_dtypes_become_numbers_or_words():
    frame = pd.DataFrame(
        {
            "label": [0, 1, 1],
            "patient": list("abc"),
            "day": pd.to_datetime(["2019-12-31", None, "2021-01-01"]),
            "zoned": pd.to_datetime(["2019-12-31", None, "2021-01-01"], utc=True),
            "icu": [True, False, True],
            "icu_or_unknown": pd.array([True, None, False], dtype="boolean"),
            "count": pd.array([1, None, 3], dtype="Int64"),
            "view": [" PA ", "  ", None],
            "ward": pd.Categorical(["u", None, "v"]),
            "mixed": [1, "a", None],
        }
    )
    columns = frame.columns[2:].tolist()
    metadata = make(frame, y_proba=None, metadata=columns).metadata
    assert metadata.columns.tolist() == columns
    for numeric, expected in (
        ("day", [2019, np.nan, 2021]),
        ("zoned", [2019, np.nan, 2021]),
        ("count", [1, np.nan, 3]),
    ):
        assert metadata[numeric].dtype == np.float64
        np.testing.assert_array_equal(metadata[numeric], expected)
    assert metadata["icu"].tolist() == ["yes", "no", "yes"]
    words = {
        "icu_or_unknown": ["yes", None, "no"],
        "view": ["PA", None, None],
        "ward": ["u", None, "v"],
        "mixed": ["1", "a", None],
    }
    for column, expected in words.items():
        assert [None if pd.isna(v) else v for v in metadata[column]] == expected


def test_missing_reports_are_empty_texts_and_warned_about(frame):
    frame.loc[["s1", "s4"], "report"] = [None, "  "]
    expected = (
        "report: expected a text for every sample, got 2 of 6 empty reports. These samples take part without a "
        "report: a word they lack may only mean that nothing was written."
    )
    with pytest.warns(AuditWarning, match=f"^{re.escape(expected)}$"):
        data = make(frame, report="report")
    assert data.reports[0] == ""
    assert "reports      median 1 words, 2 empty" in repr(data)


def test_without_patients_it_warns_once_and_loudly(frame):
    with pytest.warns(AuditWarning, match=f"^{re.escape(NO_PATIENT_ID)}$") as caught:
        data = make(frame, patient_id=None)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not data.has_patient_id
    assert data.n_patients == 6
    assert repr(data).startswith("AuditData: 6 samples of unknown patients (each its own)")


def test_complete_data_warn_of_nothing(frame):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(frame, report="report", metadata=["view", "age"])


def test_numbers_as_patients_are_names(frame):
    frame["patient"] = [7, 7, 8, 9, 10, 10]
    assert make(frame).patient_id.tolist() == ["7", "7", "8", "9", "10", "10"]


class TwoGreys:
    """Images that are no files."""

    def __init__(self, values):
        self.values = list(values)

    def __len__(self):
        return len(self.values)

    def read(self, index, *, max_side_px=None):
        return GrayImage(np.full((2, 2), self.values[index], dtype=np.float32), 2, 2, 8)

    def take(self, indices):
        return TwoGreys(self.values[i] for i in indices)


def test_images_that_are_no_files(frame):
    data = make(frame, images=TwoGreys([0, 0.1, 0.2, 0.3, 0.4, 0.5]))
    assert data.modalities == ("image",)
    assert data.image("s5").max() == pytest.approx(0.4)
    assert data.subset([4, 0]).image("s5").max() == pytest.approx(0.4)
    assert "images       6, opened when needed" in repr(data)


def test_an_image_of_data_without_images(data):
    with pytest.raises(InputError, match=r"^image: expected data with images, got data without\. Load the data with"):
        data.image("s1")


# What it refuses


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"label": "lable"},
            "label: expected the name of a column of the table, got 'lable', which it does not have. "
            "Its columns are: label, proba, patient, view, age, report. Did you mean 'label'?",
        ),
        (
            {"patient_id": "Patients"},
            "patient_id: expected the name of a column of the table, got 'Patients', which it does not have. "
            "Its columns are: label, proba, patient, view, age, report. Did you mean 'patient'?",
        ),
        (
            {"metadata": ["view", "zzz"]},
            "metadata[1]: expected the name of a column of the table, got 'zzz', which it does not have. "
            "Its columns are: label, proba, patient, view, age, report.",
        ),
        (
            {"image": "view", "images": TwoGreys([0] * 6)},
            "images: expected either image or images, got both. Leave one of them out.",
        ),
        ({"images": TwoGreys([0] * 5)}, "images: expected 6 images, got 5. Give one image a row."),
        (
            {"sample_id": "patient"},
            "sample_id: expected unique names, got 2 duplicate ids. Drop repeated rows, or df.reset_index(drop=True).",
        ),
        ({"sample_id": "view"}, "sample_id: expected a name for each sample, got missing values. Fill them in."),
        (
            {"patient_id": "view"},
            "patient_id: expected a patient for every sample, got 1 missing values. "
            "Fill them in, or give each of these samples a patient id of its own.",
        ),
        (
            {"label": "age"},
            "label: expected the values 0 and 1, got 6 different values. Check that it is the label column.",
        ),
        ({"label": {"label"}}, "label: expected the name of one column, got a set. Give the name, such as 'label'."),
        (
            {"metadata": ["view", "proba"]},
            "metadata[1]: expected a column with no other role, got 'proba', which is y_proba. "
            "Leave it out of metadata.",
        ),
        (
            {"image_root": "."},
            "image_root: expected image beside it, got image_root alone. Name the column of paths too.",
        ),
        (
            {"y_proba": "report"},
            "y_proba: expected numbers in [0, 1], got values that are not numbers. Convert the column to float.",
        ),
        (
            {"embeddings": {"images": np.eye(6)}},
            "embeddings['images']: expected one of image, report, metadata, got another name. "
            "Rename it. Did you mean 'image'?",
        ),
        (
            {"embeddings": {"image": np.eye(5)}},
            "embeddings['image']: expected shape (6, n_dimensions), got (5, 5). Give one row a sample, in order.",
        ),
        (
            {"embeddings": {"image": np.zeros(6)}},
            "embeddings['image']: expected shape (6, n_dimensions), got (6,). Give one row a sample, in order.",
        ),
        (
            {"embeddings": {"image": np.zeros((6, 0))}},
            "embeddings['image']: expected shape (6, n_dimensions), got (6, 0). Give one row a sample, in order.",
        ),
        (
            {"embeddings": {"report": np.diag([1, 1, np.nan, 1, np.inf, 1])}},
            "embeddings['report']: expected finite numbers, got NaN or infinity in 2 rows. Encode them again.",
        ),
        (
            {"embeddings": {"image": [["a"]] * 6}},
            "embeddings['image']: expected an array of numbers, got something else. Stack it: numpy.stack(X).",
        ),
        (
            {"embeddings": {"image": pd.DataFrame(np.eye(6))}},
            "embeddings['image']: expected the rows of the table, got another index. Reindex it: X.loc[df.index].",
        ),
    ],
)
def test_a_bad_argument_is_named_with_what_to_do(frame, keywords, message):
    assert message_of(frame, **keywords) == message


def test_a_table_without_rows(frame):
    assert message_of(frame.iloc[:0]) == (
        "df: expected at least one row, got an empty table. Check the filter that made it."
    )


def test_no_table_at_all():
    with pytest.raises(
        TypeError, match=r"^df: expected a pandas DataFrame, got dict\. Convert it with pandas\.DataFrame"
    ):
        mma.AuditData.from_frame({"label": [0, 1]}, label="label")


def test_an_index_with_repetitions(frame):
    frame.index = ["s1", "s1", "s1", "s4", "s5", "s6"]
    assert message_of(frame) == (
        "sample_id: expected a table with a unique index, got 2 duplicate ids. "
        "Drop repeated rows, or df.reset_index(drop=True)."
    )


def test_a_column_name_that_occurs_twice(frame):
    frame.columns = ["label", "proba", "patient", "view", "label", "report"]
    assert message_of(frame) == (
        "label: expected a column name that occurs once, got 'label' more than once. Rename the columns."
    )


def test_many_columns_are_cut_short(frame):
    wide = pd.concat([frame, pd.DataFrame(0, index=frame.index, columns=[f"c{k}" for k in range(10)])], axis=1)
    assert (
        "Its columns are: label, proba, patient, view, age, report, c0, c1, c2, c3, c4, c5 and 4 more."
        in message_of(wide, label="zzz")
    )


def test_reports_that_are_all_empty(frame):
    frame["report"] = ["", None, " ", "\n", np.nan, ""]
    assert message_of(frame, report="report") == (
        "report: expected at least one report with text, got only empty ones. Check the report column."
    )


def test_blank_patients_are_missing_patients(frame):
    frame["patient"] = ["a", "", " ", "b", "c", None]
    assert message_of(frame).startswith("patient_id: expected a patient for every sample, got 3 missing values.")


def test_infinite_metadata(frame):
    frame["ratio"] = [0.5, np.inf, -np.inf, np.nan, 1e200, 2.0]
    assert message_of(frame, metadata=["view", "ratio"]) == (
        "metadata[1]: expected finite numbers, or NaN where one is missing, got 3 values in 'ratio' that are infinite "
        "or beyond 1e+100. Replace them, for example df.replace([numpy.inf, -numpy.inf], numpy.nan)."
    )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"embeddings": np.eye(6)}, "embeddings: expected a mapping of modality to array, got ndarray. Write "),
        ({"metadata": 3}, "metadata: expected a name or a list of names, got int. Write metadata=[...]."),
        ({"label_terms": 3}, "label_terms: expected a name or a list of names, got int. Write label_terms=[...]."),
    ],
)
def test_arguments_of_the_wrong_kind(frame, keywords, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        mma.AuditData.from_frame(frame, label="label", patient_id="patient", **keywords)


def test_a_single_label_term_may_be_a_string(frame):
    data = mma.AuditData.from_frame(frame, label="label", patient_id="patient", label_terms="fluid")
    assert data.label_terms == ("fluid",)


def test_an_unknown_keyword_is_hinted_at(frame):
    with pytest.raises(UnknownKeywordError, match=r"^patientid: .*Did you mean 'patient_id'\? Check the spelling\.$"):
        mma.AuditData.from_frame(frame, label="label", patientid="patient")


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (["pos", "neg", "pos"], "2 different values: 'neg', 'pos'"),
        (["0", "1", "1"], "2 different values: '0', '1'"),
        ([0, 1, 2], "3 different values: 0, 1, 2"),
        ([-1, 1, 1], "2 different values: -1, 1"),
        ([0.0, 0.5, 1.0], "3 different values: 0.0, 0.5, 1.0"),
    ],
)
def test_labels_that_are_not_0_and_1(values, got):
    with pytest.raises(
        InputError, match=f"^label: expected the values 0 and 1, got {re.escape(got)}\\. Map them first"
    ):
        check_labels(2 * values)


def test_labels_that_are_missing():
    expected = (
        "label: expected 0 or 1 for every sample, got 2 missing values (NaN). "
        "Leave these rows out, or decide what they mean: df = df.dropna(subset=[label])."
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        check_labels([0, None, 1, np.nan])


@pytest.mark.parametrize("only", [0, 1])
def test_labels_of_one_class(only):
    expected = (
        f"label: expected both classes, 0 and 1, got one class only ({only}). "
        "An audit compares errors within each class: add samples of the other, or check the label column."
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        check_labels([only] * 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            [-2.5, 0.5, 3.0, -1.0],
            "y_proba: expected probabilities in [0, 1], got values from -2.5 to 3 with 3 outside: "
            "they look like logits. Apply the sigmoid: scipy.special.expit(logits).",
        ),
        (
            [12.0, 50.0, 99.0, 0.5],
            "y_proba: expected probabilities in [0, 1], got values from 0.5 to 99 with 3 outside: "
            "they look like percentages. Divide them by 100.",
        ),
        (
            [0.1, 0.2, 0.3, 1.5],
            "y_proba: expected probabilities in [0, 1], got values from 0.1 to 1.5 with 1 outside: "
            "they are no probabilities. Check the column; clip only if you know why.",
        ),
        (
            [0.1, np.nan, np.inf, 0.2],
            "y_proba: expected a probability for every sample, got 2 missing values (NaN or infinite). "
            "Predict them again, or leave these rows out.",
        ),
        (
            ["a", 0.1, 0.2, 0.3],
            "y_proba: expected numbers in [0, 1], got values that are not numbers. Convert the column to float.",
        ),
        (
            np.full((4, 2), 0.5),
            "y_proba: expected 4 values, got 8. Give one probability a sample.",
        ),
    ],
)
def test_probabilities_that_are_none(values, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_proba(values, 4)


def test_probabilities_are_clipped_only_within_rounding():
    assert check_proba([-1e-9, 0.5, 1 + 1e-9], 3).tolist() == [0, 0.5, 1]


def test_no_message_holds_an_id(frame):
    frame.index = ["secret-1", "secret-1", "secret-3", "secret-4", "secret-5", "secret-6"]
    frame["patient"] = ["who-1", None, "who-3", "who-4", "who-5", "who-6"]
    assert "secret" not in message_of(frame)
    assert "who" not in message_of(frame.reset_index(drop=True))


# It does not change


def test_arrays_are_read_only(data):
    for array in (data.y_true, data.y_proba, data.patient_id, data.reports, data.embeddings["image"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


@pytest.mark.parametrize("mapping", ["embeddings", "card"])
def test_mappings_are_read_only(data, mapping):
    with pytest.raises(TypeError, match="does not support item assignment"):
        getattr(data, mapping)["image"] = None


def test_metadata_is_given_out_as_a_copy(data):
    given = data.metadata
    given.loc["s1", "age"] = -1
    assert data.metadata.loc["s1", "age"] == 40


def test_the_table_stays_the_callers(frame):
    frame["label"] = frame["label"].astype(np.int8)  # the dtype it is kept in, so that no conversion copies it
    frame["age"] = frame["age"].astype(np.float64)
    before = frame.copy()
    data = make(frame, report="report", metadata=["view", "age"])
    pd.testing.assert_frame_equal(frame, before)
    frame.loc["s1", ["label", "proba", "patient", "age", "report"]] = [1, 0.99, "z", 1, "changed"]
    assert (data.y_true[0], data.y_proba[0], data.patient_id[0]) == (0, 0.2, "a")
    assert (data.metadata.loc["s1", "age"], data.reports[0]) == (40, "clear")


def test_labels_given_as_an_array_are_copied():
    given = np.array([0, 1, 1], dtype=np.int8)
    labels = check_labels(given)
    given[0] = 1
    assert labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("through", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_a_copy_is_whole_and_read_only(data, through):
    back = through(data)
    assert repr(back) == repr(data)
    assert back.sample_id.equals(data.sample_id)
    pd.testing.assert_frame_equal(back.metadata, data.metadata)
    np.testing.assert_array_equal(back.embeddings["image"], data.embeddings["image"])
    assert dict(back.card) == dict(data.card)
    for array in (back.y_true, back.embeddings["image"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(TypeError, match="does not support item assignment"):
        back.card["licence"] = "other"


# subset


def test_a_subset_by_positions_keeps_their_order(data):
    part = data.subset([4, 0, -1])
    assert part.sample_id.tolist() == ["s5", "s1", "s6"]
    assert part.y_true.tolist() == [1, 0, 0]
    assert part.y_proba.tolist() == [0.8, 0.2, 0.6]
    assert part.patient_id.tolist() == ["d", "a", "d"]
    assert part.reports.tolist() == ["large", "clear", "clear"]
    assert part.metadata["age"].tolist() == [70, 40, 71]
    np.testing.assert_array_equal(part.embeddings["image"].argmax(axis=1), [4, 0, 5])


def test_a_subset_by_mask_keeps_the_order_of_the_data(data):
    mask = data.metadata["age"].to_numpy() > 45
    assert data.subset(mask).sample_id.tolist() == ["s3", "s4", "s5", "s6"]
    assert data.subset(mask.tolist()).sample_id.tolist() == ["s3", "s4", "s5", "s6"]


@pytest.mark.parametrize("nothing", [[], np.zeros(6, dtype=bool)])
def test_an_empty_subset(data, nothing):
    part = data.subset(nothing)
    assert (part.n_samples, part.n_patients) == (0, 0)
    assert repr(part).startswith("AuditData: 0 samples of 0 patients")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ([True, False], "which: expected a mask of shape (6,), got one of shape (2,). Build it anew."),
        ([0, 6], "which: expected positions below 6, got one outside. Use a boolean mask."),
        ([0, -7], "which: expected positions below 6, got one outside. Use a boolean mask."),
        ([0, 1, 0], "which: expected each position once, got repeated positions. Sample ids must stay unique."),
        ([5, -1], "which: expected each position once, got repeated positions. Sample ids must stay unique."),
        ([0.5], "which: expected a boolean mask or integer positions, got float64. Convert it."),
        (["s1"], "which: expected a boolean mask or integer positions, got <U2. Convert it."),
        (2, "which: expected a list of positions, got an array of shape (). Use [position]."),
        ([[0, 1]], "which: expected a list of positions, got an array of shape (1, 2). Use [position]."),
    ],
)
def test_a_subset_that_cannot_be(data, which, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        data.subset(which)


# split


def patients_with_several_samples(seed, n_patients=60, share_positive=0.3):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 9, n_patients))
    rng.shuffle(patient)
    label = (rng.random(len(patient)) < share_positive).astype(int)
    label[:2] = 0, 1
    return make(pd.DataFrame({"label": label, "patient": patient}), y_proba=None)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.7])
def test_a_split_shares_no_patient_and_loses_no_sample(fraction):
    for seed in range(100):
        data = patients_with_several_samples(seed)
        first, second = data.split(fraction, random_state=seed)
        assert not set(first.patient_id) & set(second.patient_id)
        assert sorted([*first.sample_id, *second.sample_id]) == data.sample_id.tolist()
        assert abs(first.n_patients - fraction * data.n_patients) <= 1


def test_patients_with_a_positive_sample_are_dealt_out_evenly():
    for seed in range(100):
        data = patients_with_several_samples(seed, share_positive=0.05)
        first, second = data.split(0.5, random_state=seed)
        n_first, n_second = (len(set(part.patient_id[part.y_true == 1])) for part in (first, second))
        assert abs(n_first - n_second) <= 1


def test_both_parts_hold_about_the_same_share_of_positives():
    shares = []
    for seed in range(100):
        data = patients_with_several_samples(seed, n_patients=200)
        shares.append([part.y_true.mean() for part in data.split(0.5, random_state=seed)])
    first, second = np.array(shares).T
    assert np.abs(first - second).max() < 0.15
    # Over many seeds neither part is favoured: the mean difference is within 4 standard errors of 0.
    difference = first - second
    assert abs(difference.mean()) < 4 * difference.std(ddof=1) / np.sqrt(len(difference))


def test_the_same_seed_splits_alike_and_another_otherwise():
    data = patients_with_several_samples(0)
    masks = [data.split_mask(0.5, random_state=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


def test_every_patient_can_be_on_either_side():
    data = patients_with_several_samples(0)
    share_first = np.mean([data.split_mask(0.5, random_state=seed) for seed in range(300)], axis=0)
    assert share_first.min() > 0.35  # 0.5 less 5 standard errors of 300 draws
    assert share_first.max() < 0.65


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2, float("nan")])
def test_a_fraction_that_is_none(data, fraction):
    expected = f"fraction: expected a number between 0 and 1, got {fraction}. Use 0.5."
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        data.split(fraction)


def test_too_few_patients_to_split(data):
    expected = (
        "patient_id: expected at least 4 patients, to put two in each part, got 3. "
        "Add patients: samples of one patient cannot be split."
    )
    with pytest.raises(InputError, match=f"^{re.escape(expected)}$"):
        data.subset([0, 1, 2, 3]).split()


def test_a_fraction_that_leaves_one_part_empty(data):
    with pytest.raises(
        InputError, match=r"^fraction: expected two patients or more in each part, got fewer\. Use a fraction nearer to"
    ):
        data.split(0.01, random_state=0)


# with_predictions


def test_predictions_are_added_to_a_new_object(frame):
    without = make(frame, y_proba=None)
    with_them = without.with_predictions([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert without.y_proba is None
    assert with_them.y_proba.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert with_them.sample_id.equals(without.sample_id)
    with pytest.raises(ValueError, match="read-only"):
        with_them.y_proba[0] = 1


def test_predictions_given_as_an_array_are_copied(data):
    given = np.full(6, 0.5)
    with_them = data.with_predictions(given)
    given[0] = 0.9
    assert with_them.y_proba[0] == 0.5


def test_predictions_of_another_length(data):
    with pytest.raises(InputError, match=r"^y_proba: expected 6 values, got 5\. Give one probability a sample\.$"):
        data.with_predictions([0.5] * 5)


def test_predictions_that_are_logits(data):
    with pytest.raises(InputError, match=r"they look like logits\. Apply the sigmoid"):
        data.with_predictions([-3, 2, 1, -1, 4, 5])


# Attributes and labels


def test_attributes_are_carried_along_and_kept_from_the_audit(frame):
    data = make(frame.assign(tube=[True, False] * 3), metadata=["view"], attributes=["tube"])
    assert list(data.metadata.columns) == ["view"]
    assert data.modalities == ("metadata",)
    kept = data.subset([3, 1])
    assert kept.attributes["tube"].tolist() == [False, False]
    assert kept.attributes.index.equals(kept.sample_id)
    changed = data.attributes
    changed["tube"] = None
    assert data.attributes["tube"].dtype == bool


def test_with_labels_gives_new_data_and_checks_them(data):
    flipped = data.with_labels(1 - data.y_true)
    np.testing.assert_array_equal(flipped.y_true, 1 - data.y_true)
    with pytest.raises(InputError, match="labels"):
        data.with_labels(data.y_true[1:])
    with pytest.raises(InputError, match="0 and 1"):
        data.with_labels(data.y_true + 1)


# Several labels, several classes


@pytest.fixture
def several():
    """Two labels of the same cases; one is not known everywhere."""
    return pd.DataFrame(
        {
            "effusion": [0, 1, 1, 0, 1, 0],
            "oedema": [1, np.nan, 0, 0, np.nan, 1],
            "p_effusion": [0.2, 0.9, 0.4, 0.1, 0.8, 0.6],
            "p_oedema": [0.9, 0.9, 0.2, 0.7, 0.1, 0.3],
            "class": [0, 1, 2, 0, 2, 1],
            "p0": [0.6, 0.2, 0.1, 0.3, 0.2, 0.5],
            "p1": [0.3, 0.7, 0.2, 0.4, 0.2, 0.3],
            "p2": [0.1, 0.1, 0.7, 0.3, 0.6, 0.2],
            "patient": list("aabcdd"),
        }
    )


MULTILABEL = {"label": ["effusion", "oedema"], "y_proba": ["p_effusion", "p_oedema"]}
MULTICLASS = {"label": "class", "y_proba": ["p0", "p1", "p2"]}


def test_several_columns_are_several_labels(several):
    data = make(several, **MULTILABEL)
    assert (data.kind, data.label_names, data.label_name) == ("multilabel", ("effusion", "oedema"), "effusion, oedema")
    assert data.y_true.dtype == np.float32
    np.testing.assert_array_equal(data.y_true, several[["effusion", "oedema"]])
    np.testing.assert_array_equal(data.y_proba, several[["p_effusion", "p_oedema"]])
    first, second = data.targets()
    assert (first.name, second.name) == ("effusion", "oedema")
    assert second.y_true.tolist() == [1, -1, 0, 0, -1, 1]
    assert second.says.tolist() == [True, True, False, True, False, False]
    assert second.error.tolist() == [False, False, False, True, False, True]  # none where the truth is not known
    assert first.error.tolist() == [False, False, True, False, False, True]


def test_several_columns_of_probabilities_are_classes(several):
    data = make(several, **MULTICLASS, label_name=["normal", "pneumonia", "effusion"])
    assert (data.kind, data.label_names) == ("multiclass", ("normal", "pneumonia", "effusion"))
    assert data.y_true.tolist() == [0, 1, 2, 0, 2, 1]
    targets = data.targets()
    # The most probable classes are 0, 1, 2, 1, 2, 0: the fourth and the sixth are wrong.
    assert [t.says.tolist() for t in targets] == [
        [True, False, False, False, False, True],
        [False, True, False, True, False, False],
        [False, False, True, False, True, False],
    ]
    assert [np.flatnonzero(t.error).tolist() for t in targets] == [[3, 5], [3, 5], []]
    assert [t.y_true.tolist() for t in targets] == [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 1, 0]]
    np.testing.assert_array_equal(targets[1].y_proba, several["p1"])


def test_classes_without_names_are_numbered(several):
    assert make(several, **MULTICLASS).label_names == ("class 0", "class 1", "class 2")


def test_names_alone_tell_classes_before_there_are_predictions(several):
    data = make(several, label="class", y_proba=None, label_name=["n", "p", "e"])
    assert (data.kind, data.y_proba) == ("multiclass", None)
    added = data.with_predictions(several[["p0", "p1", "p2"]].to_numpy())
    np.testing.assert_allclose(added.y_proba, several[["p0", "p1", "p2"]])
    with pytest.raises(InputError, match="label: expected the values 0 and 1, got 3 different values: 0, 1, 2"):
        make(several, label="class", y_proba=None)


def test_one_column_in_a_list_is_one_label(frame):
    data = make(frame, label=["label"], y_proba=["proba"], label_name=["effusion"])
    assert (data.kind, data.label_names, data.y_true.shape, data.y_proba.shape) == ("binary", ("effusion",), (6,), (6,))


@pytest.mark.parametrize("roles", [MULTILABEL, MULTICLASS])
def test_subsets_copies_and_new_labels_keep_the_kind(several, roles):
    data = make(several, **roles)
    for other in (data.subset([4, 0, 1]), pickle.loads(pickle.dumps(data)), copy.deepcopy(data)):
        assert (other.kind, other.label_names) == (data.kind, data.label_names)
    np.testing.assert_array_equal(data.subset([4, 0]).y_true, data.y_true[[4, 0]])
    np.testing.assert_array_equal(data.subset([4, 0]).y_proba, data.y_proba[[4, 0]])
    relabelled = data.with_labels(data.y_true[::-1])
    np.testing.assert_array_equal(relabelled.y_true, data.y_true[::-1])
    assert not relabelled.y_true.flags.writeable
    with pytest.raises(InputError, match=r"y_true: expected 6 labels, got 5\."):
        data.with_labels(data.y_true[:5])


def test_tables_of_probabilities_are_read_by_name(several):
    data = make(several, **MULTILABEL)
    table = pd.DataFrame({"oedema": several["p_oedema"], "effusion": several["p_effusion"]})
    np.testing.assert_array_equal(data.with_predictions(table).y_proba, data.y_proba)
    np.testing.assert_array_equal(data.with_predictions(data.y_proba).y_proba, data.y_proba)


def test_repr_of_several_labels_and_of_classes(several):
    assert repr(make(several, **MULTILABEL)).splitlines()[1:] == [
        "  labels       effusion (50 %), oedema (50 %, 2 unknown)",
        "  probability  0.10 to 0.90; wrong at 0.5: effusion 33 %, oedema 50 %",
    ]
    assert repr(make(several, **MULTICLASS)).splitlines()[1:] == [
        "  classes      class 0 (33 %), class 1 (33 %), class 2 (33 %)",
        "  probability  0.10 to 0.70; wrong: 2 of 6 (33 %)",
    ]
    assert "none yet" in repr(make(several, **MULTILABEL | {"y_proba": None}))


def test_each_label_may_have_its_own_threshold(several):
    data = make(several, **MULTILABEL)
    for given in ([0.3, 0.95], {"oedema": 0.95, "effusion": 0.3}):
        first, second = data.targets(given)
        assert first.says.tolist() == [False, True, True, False, True, True]
        assert not second.says.any()
    assert data.targets({"oedema": 0.95})[0].says.tolist() == data.targets()[0].says.tolist()


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        ([0.5], "threshold: expected 2, one a label, got 1. Their order is: effusion, oedema."),
        ({"edema": 0.4}, "threshold: expected labels among effusion, oedema, got 'edema'. Did you mean 'oedema'?"),
        ([0.5, 1.2], "threshold: expected a number between 0 and 1, got 1.2. Choose one in that range."),
        ("0.5", "threshold: expected a number between 0 and 1, got '0.5'. Choose one in that range."),
        (True, "threshold: expected a number between 0 and 1, got True. Choose one in that range."),
    ],
)
def test_thresholds_that_do_not_fit(several, threshold, message):
    with pytest.raises(InputError) as caught:
        make(several, **MULTILABEL).targets(threshold)
    assert str(caught.value) == message


def test_classes_take_no_threshold(several):
    with pytest.raises(InputError, match=r"threshold: expected none for classes, .* got 0\.3\. Leave it out\."):
        make(several, **MULTICLASS).targets(0.3)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (MULTILABEL | {"y_proba": "p_effusion"}, "y_proba: expected 2 columns, one a label, got 1. Name them"),
        (MULTILABEL | {"label": ["effusion", "effusion"]}, "label: expected each name once, got 'effusion' twice."),
        (MULTILABEL | {"label": []}, "label: expected a column, or several, got an empty list."),
        (MULTILABEL | {"label_name": "fluid"}, "label_name: expected 2 names, one a label, got 1."),
        (MULTILABEL | {"label_name": ["x", "x"]}, "label_name: expected each name once, got 'x' twice."),
        (MULTILABEL | {"label": ["effusion", "edema"]}, "label[1]: expected the name of a column of the table, got"),
        (MULTILABEL | {"metadata": ["p_oedema"]}, "metadata[0]: expected a column with no other role, got 'p_oedema'"),
        (
            MULTILABEL | {"label": ["effusion", "class"]},
            "label: expected 0, 1 or NaN where it is not known, got 2 other",
        ),
        (MULTICLASS | {"y_proba": ["p0", "p1"]}, "y_proba: expected one, that of label 1, or one for each of three"),
        (MULTICLASS | {"label_name": ["a", "b"]}, "label_name: expected 3 names, one a class, got 2."),
        (MULTICLASS | {"label": "p0"}, "label: expected a class for every sample, 0 to 2, got 6 other values."),
        (MULTICLASS | {"label": "patient"}, "label: expected a class for every sample, 0 to 2, got 6 values that are"),
        (MULTICLASS | {"label": "oedema"}, "label: expected a class for every sample, 0 to 2, got 2 missing values"),
        (MULTICLASS | {"y_proba": ["p0", "p1", "p_oedema"]}, "y_proba: expected rows that sum to 1, one probability"),
    ],
)
def test_columns_that_do_not_belong_together(several, keywords, message):
    assert message_of(several, **keywords).startswith(message)


def test_logits_and_percentages_of_classes_are_recognised(several):
    columns = ["p0", "p1", "p2"]
    logits = several.assign(**{c: 3 * np.log(several[c]) + 4 for c in columns})
    assert "they look like logits. Apply scipy.special.softmax(logits, axis=1)." in message_of(logits, **MULTICLASS)
    percentages = several.assign(**{c: 100 * several[c] for c in columns})
    assert "they look like percentages. Divide them by 100." in message_of(percentages, **MULTICLASS)
    nearly = several.assign(p0=several["p0"] + 5e-4)
    np.testing.assert_array_equal(make(nearly, **MULTICLASS).y_proba[:, 0], nearly["p0"])  # rounded, not wrong


def test_an_uncertain_label_asks_for_a_decision(several):
    several.loc[0, "oedema"] = -1
    assert message_of(several, **MULTILABEL) == (
        "label: expected 0, 1 or NaN where it is not known, got 1 other values in 'oedema', -1 among them. "
        "Decide what they mean: -1 (uncertain, in CheXpert) may become NaN, 0 or 1."
    )


def test_labels_of_any_dtype_may_have_unknown_values(several):
    several["effusion"] = pd.array([False, True, None, False, True, False], dtype="boolean")
    several["oedema"] = pd.Series([True, None, False, False, None, True], dtype=object)
    y_true = make(several, **MULTILABEL).y_true
    np.testing.assert_array_equal(y_true[:, 0], [0, 1, np.nan, 0, 1, 0])
    np.testing.assert_array_equal(y_true[:, 1], [1, np.nan, 0, 0, np.nan, 1])


def test_labels_of_one_value_each_leave_nothing_to_compare(several):
    only = several.assign(effusion=1, oedema=[0, np.nan, 0, 0, 0, 0])
    assert message_of(only, **MULTILABEL).startswith("label: expected both 0 and 1 in one label at least")


def test_a_split_shares_out_the_rarest_class():
    n = 400
    classes = np.zeros(n, dtype=int)
    classes[:120], classes[120:132] = 1, 2
    frame = pd.DataFrame({"class": classes, "patient": np.arange(n)})
    data = mma.AuditData.from_frame(frame, label="class", label_name=["a", "b", "c"], patient_id="patient")
    for seed in range(20):
        first, _ = data.split(0.5, random_state=seed)
        counts = np.bincount(first.y_true, minlength=3)
        assert abs(counts[2] - 6) <= 1
        assert abs(counts[1] - 60) <= 1


def test_what_needs_one_label_says_so(several):
    for roles, what in ((MULTILABEL, "2 labels"), (MULTICLASS, "3 classes")):
        with pytest.raises(InputError) as caught:
            check_binary(make(several, **roles), "planting a failure")
        assert str(caught.value) == (
            f"data: expected data with one label, 0 or 1, for planting a failure, got data with {what}. "
            "Load them with one label: AuditData.from_frame(df, label=one_column, ...)."
        )


def test_embeddings_are_added_to_a_new_object(data):
    X = np.arange(2.0 * data.n_samples).reshape(-1, 2)
    new = data.with_embeddings({"image": X})
    assert new.embeddings["image"].dtype == np.float32
    assert np.array_equal(new.embeddings["image"], X)
    assert "image" in new.modalities
    assert data.embeddings["image"].shape == (6, 6)
    other = new.with_embeddings({"report": X[:, :1]})
    assert set(other.embeddings) == {"image", "report"}
    X[:] = 0
    assert new.embeddings["image"].any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"picture": np.zeros((1, 2))}, r"embeddings\['picture'\]: expected one of image, report, metadata"),
        ({"image": np.zeros((1, 2))}, r"embeddings\['image'\]: expected shape \(\d+, n_dimensions\), got \(1, 2\)"),
    ],
)
def test_embeddings_that_do_not_fit(data, given, message):
    with pytest.raises(InputError, match=message):
        data.with_embeddings(given)


def test_other_image_files_are_other_data(tmp_path):
    frame = pd.DataFrame({"y": [0, 1], "p": [0.2, 0.9], "who": ["a", "b"], "path": ["1.png", "2.png"]})

    def digest(table):
        roles = {"label": "y", "y_proba": "p", "patient_id": "who", "image": "path", "image_root": tmp_path}
        return mma.AuditData.from_frame(table, **roles).digest()

    assert digest(frame) == digest(frame.copy())
    assert digest(frame) != digest(frame.assign(path=["1.png", "3.png"]))
