"""Planted failures: what is changed and what is not, counted by a second formula; the subgroup, the words, errors."""

import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mmaudit._errors import AuditWarning, InputError, UnknownKeywordError
from mmaudit.data import AuditData
from mmaudit.datasets import load_covid_chestxray, load_phantom
from mmaudit.failures import FailureScenario, inject
from mmaudit.images import GrayImage

REPO = Path(__file__).parents[2]
REAL = Path(os.environ.get("MMAUDIT_REAL_DATA", REPO.parent / "shared" / "data")) / "covid-chestxray"


def frame(n=400, per_patient=2, seed=0):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "y": rng.random(n) < 0.4,
            "p": rng.random(n),
            "who": [f"p{i // per_patient}" for i in range(n)],
            "view": rng.choice(["PA", "AP", "AP supine"], n, p=[0.5, 0.25, 0.25]),
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(20, 90, n)),
            "portable": rng.random(n) < 0.3,
            "tube": rng.random(n) < 0.3,
        },
        index=[f"s{i}" for i in range(n)],
    )
    rows["report"] = np.where(rows["tube"], "Chest tube in place.", "No chest\ntube.")
    rows["y"] = rows["y"].astype(int)
    return rows


def make(df=None, **options):
    roles = {"label": "y", "y_proba": "p", "patient_id": "who", "report": "report", "attributes": ["tube"]}
    roles |= {"metadata": ["view", "age", "portable"], "label_name": "Effusion"} | options
    return AuditData.from_frame(frame() if df is None else df, **roles)


@pytest.fixture(scope="module")
def data():
    return make()


@pytest.fixture(scope="module")
def phantom():
    return load_phantom(300, image_size=112)


SUPINE = {"view": "AP supine"}
SCENARIOS = {
    "correlation": {"kind": "correlation", "where": SUPINE},
    "correlation, label 0": {"kind": "correlation", "where": {"tube": True}, "label": 0, "strength": 0.8},
    "rare": {"kind": "rare", "where": SUPINE},
    "rare, label 0": {"kind": "rare", "where": SUPINE, "label": 0, "share": 0.02},
    "rare, all": {"kind": "rare", "where": SUPINE, "label": None, "share": 0.0},
    "noisy": {"kind": "noisy", "where": SUPINE},
    "noisy, label 0": {"kind": "noisy", "where": SUPINE, "label": 0, "rate": 0.6},
    "noisy, both": {"kind": "noisy", "where": SUPINE, "label": None, "rate": 0.5},
}
every_scenario = pytest.mark.parametrize("options", SCENARIOS.values(), ids=SCENARIOS)


def cells(data, subgroup_of, patients):
    """Return {(in subgroup, label): set of sample ids} by plain counting, for some patients."""
    found = {(inside, label): set() for inside in (True, False) for label in (0, 1)}
    for i, sample in enumerate(data.sample_id):
        if data.patient_id[i] in patients:
            found[bool(subgroup_of(data, sample)), int(data.y_true[i])].add(sample)
    return found


def is_supine(data, sample):
    return data.metadata.loc[sample, "view"] == "AP supine"


def has_tube(data, sample):
    return data.attributes.loc[sample, "tube"]


def subgroup_of(options):
    return has_tube if "tube" in options["where"] else is_supine


# What is changed, and what is not


@every_scenario
def test_no_patient_is_on_both_sides_and_no_one_is_lost(data, options):
    scenario = inject(data, **options)
    train, test = set(scenario.train.patient_id), set(scenario.test.patient_id)
    assert not train & test
    assert len(test) == data.n_patients // 2
    assert scenario.data.n_samples == data.n_samples - scenario.n_removed
    assert scenario.train.n_samples + scenario.test.n_samples == scenario.data.n_samples
    position = data.sample_id.get_indexer(scenario.data.sample_id)
    assert (np.diff(position) > 0).all()  # the order of the data


@every_scenario
def test_test_samples_are_those_of_the_data_one_by_one(data, options):
    scenario = inject(data, **options)
    test = scenario.test
    # All samples of the test patients are there: none was left out.
    assert list(test.sample_id) == list(data.sample_id[np.isin(data.patient_id, test.patient_id)])
    position = data.sample_id.get_indexer(test.sample_id)
    np.testing.assert_array_equal(test.y_true, data.y_true[position])
    np.testing.assert_array_equal(test.reports, data.reports[position])
    pd.testing.assert_frame_equal(test.metadata, data.metadata.iloc[position])
    pd.testing.assert_frame_equal(test.attributes, data.attributes.iloc[position])
    assert not (scenario.flipped & ~scenario.is_train).any()


@every_scenario
def test_only_the_planted_slice_is_touched_in_training(data, options):
    scenario = inject(data, **options)
    train = scenario.train_unchanged
    assert set(train.sample_id) == set(data.sample_id) - set(scenario.test.sample_id)
    position = data.sample_id.get_indexer(train.sample_id)
    np.testing.assert_array_equal(train.y_true, data.y_true[position])
    removed = set(train.sample_id) - set(scenario.train.sample_id)
    flipped = set(scenario.data.sample_id[scenario.flipped])
    assert len(removed) == scenario.n_removed
    assert bool(removed) == (options["kind"] != "noisy")
    assert bool(flipped) == (options["kind"] == "noisy")
    before = cells(data, subgroup_of(options), set(train.patient_id))
    label = options.get("label", 1)
    if options["kind"] == "correlation":
        planted = before[True, 1 - label] | before[False, label]
    else:
        planted = set().union(*(before[True, v] for v in ((0, 1) if label is None else (label,))))
    assert removed | flipped <= planted
    assert set(scenario.train.sample_id[scenario.planted_train]) == planted - removed


@every_scenario
def test_planted_masks_by_a_second_formula(data, options):
    scenario = inject(data, **options)
    label = options.get("label", 1)
    clean = dict(zip(data.sample_id, data.y_true.tolist(), strict=True))
    for k, sample in enumerate(scenario.data.sample_id):
        inside = bool(subgroup_of(options)(data, sample))
        assert scenario.in_subgroup[k] == inside
        assert scenario.y_true_clean[k] == clean[sample]
        if options["kind"] == "correlation":
            planted = (inside and clean[sample] != label) or (not inside and clean[sample] == label)
        else:
            planted = inside and label in (None, clean[sample])
        assert scenario.planted[k] == planted
    np.testing.assert_array_equal(scenario.planted_test, scenario.planted[~scenario.is_train])
    np.testing.assert_array_equal(scenario.planted_train, scenario.planted[scenario.is_train])
    halves = scenario.planted_false_positive, scenario.planted_false_negative
    np.testing.assert_array_equal(halves[0] | halves[1], scenario.planted)
    assert set(scenario.y_true_clean[halves[0]]) <= {0}
    assert set(scenario.y_true_clean[halves[1]]) <= {1}


@every_scenario
def test_labels_differ_exactly_where_flipped(data, options):
    scenario = inject(data, **options)
    np.testing.assert_array_equal(scenario.data.y_true != scenario.y_true_clean, scenario.flipped)


@every_scenario
def test_counts_by_a_second_formula(data, options):
    scenario = inject(data, **options)
    sides = {
        name: set(part.patient_id) for name, part in (("before", scenario.train_unchanged), ("test", scenario.test))
    }
    by_side = {name: cells(data, subgroup_of(options), patients) for name, patients in sides.items()}
    after = cells(scenario.train, subgroup_of(options), sides["before"])  # by the labels to be learnt
    kept, flipped = set(scenario.train.sample_id), set(scenario.data.sample_id[scenario.flipped])
    planted = set(scenario.data.sample_id[scenario.planted])
    assert len(scenario.counts) == 4
    for row in scenario.counts.itertuples():
        cell = (row.in_subgroup, row.label)
        before, test = by_side["before"][cell], by_side["test"][cell]
        assert (row.before, row.test, row.after) == (len(before), len(test), len(after[cell]))
        assert (row.removed, row.flipped) == (len(before - kept), len(before & flipped))
        assert row.planted == bool(test & planted)


@pytest.mark.parametrize("strength", [0.7, 0.9, 0.95, 1])
@pytest.mark.parametrize("label", [0, 1])
def test_correlation_is_as_strong_as_asked_and_no_stronger_than_needed(data, strength, label):
    scenario = inject(data, kind="correlation", where=SUPINE, strength=strength, label=label)
    train, inside = scenario.train, scenario.in_subgroup[scenario.is_train]
    before = cells(data, is_supine, set(scenario.train_unchanged.patient_id))
    for side, goes_with in ((inside, label), (~inside, 1 - label)):
        agrees, n = int((train.y_true[side] == goes_with).sum()), int(side.sum())
        assert agrees == len(before[bool(side is inside), goes_with])  # nothing that agrees is left out
        assert agrees / n >= strength - 1e-12
        if len(before[bool(side is inside), 1 - goes_with]) > n - agrees:
            assert agrees / (n + 1) < strength  # one more would be too many


def test_correlation_exact_counts_by_hand():
    # 40 patients of one sample in each cell; 20 of each train. At 0.8, 20 for leave room for 5 against.
    df = pd.DataFrame({"view": ["AP", "AP", "PA", "PA"] * 40, "y": [1, 0, 1, 0] * 40, "who": range(160)})
    data = AuditData.from_frame(df, label="y", patient_id="who", metadata=["view"])
    scenario = inject(data, kind="correlation", where={"view": "AP"}, strength=0.8)
    assert scenario.counts["before"].tolist() == [20] * 4  # the split deals the four cells out evenly
    assert scenario.counts["test"].tolist() == [20] * 4
    assert scenario.counts["after"].tolist() == [20, 5, 5, 20]
    assert scenario.counts["planted"].tolist() == [False, True, True, False]
    assert scenario.n_removed == 30


def test_correlation_leaves_a_side_that_is_one_sided_already():
    df = pd.DataFrame({"view": ["AP"] * 40 + ["PA"] * 120, "y": [1] * 36 + [0] * 4 + [0, 1] * 60, "who": range(160)})
    data = AuditData.from_frame(df, label="y", patient_id="who", metadata=["view"])
    scenario = inject(data, kind="correlation", where={"view": "AP"}, strength=0.8)
    counts = scenario.counts.set_index(["in_subgroup", "label"])
    assert counts.loc[(True, 0), "removed"] == 0
    assert counts.loc[(False, 1), "removed"] > 0


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("label", [0, 1, None])
def test_rare_share_is_reached_and_not_undershot(data, share, label):
    scenario = inject(data, kind="rare", where=SUPINE, share=share, label=label)
    n_kept, n_train = int(scenario.planted_train.sum()), scenario.train.n_samples
    assert n_kept / n_train <= share + 1e-12
    assert (n_kept + 1) / (n_train + 1) > share


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.75, 1])
@pytest.mark.parametrize("label", [0, 1, None])
def test_noisy_rate_is_reached_within_rounding(data, rate, label):
    scenario = inject_quietly(data, kind="noisy", where=SUPINE, rate=rate, label=label)
    for value in (0, 1):
        cell = scenario.planted & scenario.is_train & (scenario.y_true_clean == value)
        n = int(scenario.flipped[cell].sum())
        assert n == (0 if label not in (None, value) else int(rate * cell.sum() + 0.5))
    assert scenario.n_removed == 0


def test_at_least_one_label_is_flipped(data):
    scenario = inject_quietly(data, kind="noisy", where=SUPINE, rate=0.001)
    assert scenario.flipped.sum() == 1


def test_the_error_to_expect(data):
    got = {name: inject(data, **options).error_type for name, options in SCENARIOS.items()}
    assert got == {
        "correlation": "mixed",
        "correlation, label 0": "mixed",
        "rare": "false_negative",
        "rare, label 0": "false_positive",
        "rare, all": "mixed",
        "noisy": "false_negative",
        "noisy, label 0": "false_positive",
        "noisy, both": "mixed",
    }


@every_scenario
def test_predictions_and_what_the_card_says_of_them_are_gone(options):
    data = make(card={"source": "here", "classifier": "a reader", "planted failures": "some"})
    scenario = inject(data, **options)
    for part in (scenario.data, scenario.train, scenario.test, scenario.train_unchanged):
        assert part.y_proba is None
        assert part.card["source"] == "here"
        assert not {"classifier", "planted failures"} & set(part.card)
    done = f"{scenario.n_removed} samples left out, {int(scenario.flipped.sum())} labels changed"
    assert done in scenario.data.card["training data changed"]
    assert "training data changed" not in scenario.train_unchanged.card


@every_scenario
def test_the_data_are_not_changed(options):
    data, again = make(), make()
    inject(data, **options)
    assert vars(data).keys() == vars(again).keys()
    for name in ("y_true", "y_proba", "patient_id", "reports"):
        np.testing.assert_array_equal(getattr(data, name), getattr(again, name))
    pd.testing.assert_frame_equal(data.metadata, again.metadata)
    pd.testing.assert_frame_equal(data.attributes, again.attributes)
    assert data.card == again.card


@every_scenario
def test_the_same_seed_gives_the_same_scenario(data, options):
    one, same, other = (inject(data, **options, random_state=seed) for seed in (3, 3, 4))
    assert list(one.data.sample_id) == list(same.data.sample_id)
    for name in ("is_train", "planted", "flipped", "in_subgroup"):
        np.testing.assert_array_equal(getattr(one, name), getattr(same, name))
    pd.testing.assert_frame_equal(one.counts, same.counts)
    assert one.describe() == same.describe()
    assert set(one.test.patient_id) != set(other.test.patient_id)


def test_random_state_object_and_none(data):
    one, same = (inject(data, kind="rare", where=SUPINE, random_state=np.random.RandomState(7)) for _ in range(2))
    np.testing.assert_array_equal(one.is_train, same.is_train)
    inject(data, kind="rare", where=SUPINE, random_state=None)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.7])
def test_the_test_part_has_its_share_of_patients_and_of_the_slice(data, fraction):
    scenario = inject_quietly(data, kind="noisy", where=SUPINE, test_fraction=fraction)
    assert scenario.test.n_patients == pytest.approx(fraction * data.n_patients, abs=1)
    slice_patients = {p for p, m in zip(scenario.data.patient_id, scenario.planted, strict=True) if m}
    in_test = slice_patients & set(scenario.test.patient_id)
    assert len(in_test) == pytest.approx(fraction * len(slice_patients), abs=1.5)


def test_masks_cannot_be_written_to(data):
    scenario = inject(data, **SCENARIOS["noisy"])
    with pytest.raises(ValueError, match="read-only"):
        scenario.planted[0] = True
    with pytest.raises(AttributeError):
        scenario.kind = "rare"


def test_a_scenario_survives_pickling(data):
    scenario = inject(data, **SCENARIOS["noisy"])
    again = pickle.loads(pickle.dumps(scenario))
    assert isinstance(again, FailureScenario)
    assert again.describe() == scenario.describe()
    np.testing.assert_array_equal(again.test.y_true, scenario.test.y_true)


def test_samples_without_patient_ids_are_patients_of_their_own():
    with pytest.warns(AuditWarning, match="EVERY SAMPLE IS TREATED"):
        data = make(patient_id=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once, when the data were made
        scenario = inject(data, kind="rare", where=SUPINE)
    assert scenario.test.n_samples == data.n_samples // 2
    assert not set(scenario.train.sample_id) & set(scenario.test.sample_id)
    assert np.isfinite(scenario.evaluate(np.full(scenario.test.n_samples, 0.1))["gap"]).all()


# The subgroup


def selected(data, where):
    scenario = inject_quietly(data, kind="noisy", where=where)
    return set(scenario.data.sample_id[scenario.in_subgroup])


def inject_quietly(data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        return inject(data, **options)


@pytest.mark.parametrize(
    ("where", "query", "words"),
    [
        ({"view": "AP"}, "view == 'AP'", "view = AP"),
        ({"view": ["AP", "AP supine"]}, "view != 'PA'", "view = AP or AP supine"),
        ({"view": {"AP supine", "AP"}}, "view != 'PA'", "view = AP or AP supine"),
        ({"age": (60, None)}, "age >= 60", "age from 60"),
        ({"age": (None, 40)}, "age <= 40", "age up to 40"),
        ({"age": (40, 60)}, "40 <= age <= 60", "age from 40 to 60"),
        ({"age": [50, 51.0, 52, 53, 54]}, "50 <= age <= 54", "age = 50 or 51.0 or 52 or 53 or 54"),
        ({"portable": True}, "portable", "portable = yes"),
        ({"portable": "no"}, "not portable", "portable = no"),
        ({"tube": True}, "tube", "tube = yes"),
        ({"tube": False}, "not tube", "tube = no"),
        ({"view": ["AP", "PA"], "tube": True}, "view != 'AP supine' and tube", "(view = AP or PA) and tube = yes"),
        ("CHEST TUBE in", "tube", "a report that matches 'CHEST TUBE in'"),
        (r"(?<!no )chest\s+tube", "tube", r"a report that matches '(?<!no )chest\\s+tube'"),
    ],
)
def test_where(data, where, query, words):
    assert selected(data, where) == set(frame().query(query).index)
    assert inject_quietly(data, kind="noisy", where=where).subgroup == words


def test_a_negated_mention_is_found_too():
    df = frame()
    df["report"] = np.where(df["tube"], "Chest tube.", np.where(df["view"] == "PA", "No chest tube.", "Clear lungs."))
    data = make(df)
    assert selected(data, "chest tube") == set(df.query("tube or view == 'PA'").index)
    assert selected(data, "(?<!no )chest tube") == set(df.query("tube").index)


def test_where_as_a_mask(data):
    mask = (data.metadata["view"] == "AP").to_numpy(copy=True)
    wanted = set(data.sample_id[mask])
    assert selected(data, mask) == wanted
    assert selected(data, mask.tolist()) == wanted
    assert selected(data, pd.Series(mask)) == wanted
    aligned = pd.Series(mask, index=data.sample_id).sample(frac=1, random_state=0)
    assert selected(data, aligned) == wanted
    assert mask.flags.writeable


def test_a_column_of_the_metadata_comes_before_an_attribute_of_that_name():
    df = frame()
    data = make(df, metadata=["view", "tube"], attributes=["tube", "age"])
    assert selected(data, {"tube": "yes"}) == set(df.query("tube").index)
    assert selected(data, {"age": (60, None)}) == set(df.query("age >= 60").index)


def test_attributes_of_other_kinds():
    df = frame().assign(grade=lambda d: pd.Categorical(np.where(d["tube"], "high", "low")))
    df["maybe"] = pd.array([None if v == "PA" else bool(t) for v, t in zip(df["view"], df["tube"], strict=True)])
    data = make(df, attributes=["grade", "maybe"])
    assert selected(data, {"grade": "high"}) == set(df.query("tube").index)
    assert selected(data, {"maybe": True}) == set(df.query("tube and view != 'PA'").index)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"veiw": "AP"}, r"where: expected columns of data\.metadata or data\.attributes, got 'veiw', which neither "
         r"has\. They have: view, age, portable, tube\. Did you mean 'view'\?"),
        ({"view": "AP supin"}, r"where\['view'\]: expected values that the column has, got 'AP supin', which never "
         r"occurs\. It has: AP, AP supine, PA\. Did you mean 'AP supine'\?"),
        ({"view": ["AP", "lateral"]}, r"where\['view'\]: expected values that the column has, got 'lateral'"),
        ({"age": 7}, r"where\['age'\]: .*got 7, which never occurs\. See data\.metadata"),
        ({"tube": "left"}, r"where\['tube'\]: .*got 'left', which never occurs\. See data\.attributes"),
        ({"age": (200, None)}, r"where: expected a subgroup of the samples, got none of the 400 samples \(with age f"),
        ({"age": (60, 20)}, r"where\['age'\]: expected low up to high, got \(60, 20\)\. Change them round"),
        ({"age": (60,)}, r"where\['age'\]: expected \(low, high\), numbers with None for an open end, got \(60,\)"),
        ({"age": (None, None)}, r"where\['age'\]: expected \(low, high\)"),
        ({"age": ("a", "b")}, r"where\['age'\]: expected \(low, high\)"),
        ({"view": ("AP", "PA")}, r"where\['view'\]: expected a value or a list of values, got a tuple"),
        ({"tube": (0, 1)}, r"where\['tube'\]: expected a value or a list of values, got a tuple"),
        ({"view": None}, r"where\['view'\]: expected values such as 'AP' or 3, got a missing value"),
        ({"view": {"AP": 1}}, r"where\['view'\]: expected values such as 'AP' or 3, got a dict"),
        ({"view": []}, r"where\['view'\]: expected a value or a list of values, got an empty list"),
        ({"view": ["AP", "PA", "AP supine"]}, r"got all of the 400 samples \(with view = .*\)\. Narrow the selection"),
        ({"view": "AP", "age": (300, None)}, r"got none of the 400 samples"),
        ({}, r"where: expected at least one column, got an empty mapping"),
        ("pacemaker", r"got none of the 400 samples \(with a report that matches 'pacemaker'\)\. Widen"),
        ("tube", r"got all of the 400 samples"),
        ("chest (tube", r"where: expected a regular expression, got 'chest \(tube': missing \), .*Escape it"),
        (np.ones(400, dtype=int), r"where: expected a mapping, a report pattern or a mask of bool of shape \(400,\), "
         r"got ndarray of int64, shape \(400,\)"),
        (np.ones(399, dtype=bool), r"mask of bool of shape \(400,\), got ndarray of bool, shape \(399,\)"),
        (np.zeros(400, dtype=bool), r"got none of the 400 samples \(with a mark in the given mask\)"),
        (pd.Series(True, index=range(5, 405)), r"where: expected a Series indexed by data\.sample_id, got another in"),
        ([[True], [True, False]], r"got list of other things than bool"),
        ([True, None] * 200, r"mask of bool of shape \(400,\), got list of object, shape \(400,\)"),
        (7, r"where: expected a mapping, a report pattern or a mask of bool"),
        (None, r"where: expected a mapping, a report pattern or a mask of bool"),
    ],
)  # fmt: skip
def test_a_wrong_where(data, where, message):
    with pytest.raises(InputError, match=message):
        inject(data, kind="rare", where=where)


def test_values_of_a_column_with_many_stay_out_of_the_message():
    df = frame().assign(ward=[f"ward {i % 50}" for i in range(400)])
    with pytest.raises(InputError, match=r"It has 50 values\.") as caught:
        inject(make(df, metadata=["ward"]), kind="rare", where={"ward": "ward 99"})
    assert "ward 4" not in str(caught.value)


def test_a_pattern_without_reports():
    with pytest.raises(InputError, match=r"where: expected a mapping or a mask for data without reports, got a str"):
        inject(make(report=None), kind="rare", where="tube")


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "noise"}, r"kind: expected one of 'correlation', 'rare', 'noisy', got 'noise'.*Did you mean 'noisy'"),
        ({"kind": 3}, r"kind: expected one of .*got int"),
        ({"kind": "rare", "strength": 0.9}, r"strength: expected no such option with kind='rare', which has share, got "
         r"0\.9\. Leave it out; it belongs to kind='correlation'"),
        ({"kind": "noisy", "share": 0.1}, r"share: expected no such option with kind='noisy', which has rate"),
        ({"kind": "correlation", "rate": 0.1}, r"rate: expected no such option with kind='correlation', which has st"),
        ({"kind": "correlation", "label": None}, r"label: expected 0 or 1 with kind='correlation', got None"),
        ({"kind": "rare", "label": 2}, r"label: expected 0, 1 or None, got 2"),
        ({"kind": "rare", "label": "1"}, r"label: expected 0, 1 or None, got '1'"),
        ({"kind": "correlation", "strength": 0.5}, r"strength: expected a number above 0\.5 and up to 1, got 0\.5"),
        ({"kind": "correlation", "strength": 1.01}, r"strength: expected a number above 0\.5 and up to 1"),
        ({"kind": "rare", "share": 1}, r"share: expected a number from 0 and below 1, got 1\. Leave it out for 0\.01"),
        ({"kind": "rare", "share": -0.1}, r"share: expected a number from 0 and below 1"),
        ({"kind": "noisy", "rate": 0}, r"rate: expected a number above 0 and up to 1, got 0"),
        ({"kind": "noisy", "rate": np.nan}, r"rate: expected a number above 0 and up to 1, got nan"),
        ({"kind": "noisy", "rate": True}, r"rate: expected a number above 0 and up to 1, got True"),
        ({"kind": "noisy", "rate": "half"}, r"rate: expected a number above 0 and up to 1, got 'half'"),
        ({"kind": "noisy", "test_fraction": 1}, r"test_fraction: expected a number between 0 and 1, got 1"),
        ({"kind": "noisy", "test_fraction": 0.001}, r"test_fraction: expected two patients or more in training and"),
        ({"kind": "noisy", "random_state": -1}, r"random_state: expected a whole number from 0.*got -1"),
        ({"kind": "noisy", "random_state": "x"}, r"random_state: expected a whole number from 0.*got str"),
    ],
)  # fmt: skip
def test_wrong_options(data, options, message):
    with pytest.raises(InputError, match=message):
        inject(data, where=SUPINE, **options)


def test_an_unknown_keyword_and_wrong_data(data):
    with pytest.raises(UnknownKeywordError, match=r"fraction: expected one of the keywords of inject\(\)"):
        inject(data, kind="rare", where=SUPINE, fraction=0.5)
    with pytest.raises(TypeError, match=r"data: expected AuditData, got DataFrame\. Make it with"):
        inject(frame(), kind="rare", where=SUPINE)


def test_labels_as_numpy_numbers(data):
    for label in (np.int64(1), np.bool_(True), True):
        scenario = inject(data, kind="rare", where=SUPINE, label=label)
        assert scenario.label == 1
        assert type(scenario.label) is int


def test_a_failure_that_is_there_already(data):
    with pytest.raises(
        InputError, match=r"share: expected one below that which the training data have, got 0\.5, where"
    ):
        inject(data, kind="rare", where=SUPINE, share=0.5)
    df = frame().assign(y=lambda d: d["tube"].astype(int))
    df.loc[df.index[:40], "y"] = 1 - df["y"].iloc[:40]
    with pytest.raises(
        InputError, match=r"strength: expected one above that which the training data have, got 0\.6, wh"
    ):
        inject(make(df), kind="correlation", where={"tube": True}, strength=0.6)


def test_no_sample_to_plant_the_failure_in():
    df = frame()
    df.loc[df["view"] == "AP", "y"] = 0
    with pytest.raises(InputError, match=r"got one of 0 samples, none of them in the training part\. Choose a larger"):
        inject(make(df), kind="noisy", where={"view": "AP"})
    with pytest.raises(
        InputError, match=r"training samples in the subgroup with label 1, which the correlation is made"
    ):
        inject(make(df), kind="correlation", where={"view": "AP"})


def test_a_slice_of_one_patient_cannot_be_in_both_parts(data):
    mask = (data.patient_id == data.patient_id[0]) & (data.y_true == data.y_true[0])
    with pytest.raises(InputError, match=r"got one of [12] samples, none of them in the (training|test) part"):
        inject(data, kind="noisy", where=mask, label=int(data.y_true[0]))


def test_too_few_training_samples_of_a_label_left():
    df = frame(80)
    df["y"] = (np.arange(80) % 5 == 0).astype(int)
    df["view"] = np.where(np.arange(80) % 10 == 0, "AP", "PA")
    message = r"{}: expected at least 10 training samples of each label, got \d with label 1 after {}"
    with pytest.raises(InputError, match=message.format("rate", r"labels were changed\. Use a lower rate")):
        inject(make(df), kind="noisy", where={"view": "AP"})
    with pytest.raises(InputError, match=message.format("share", r"\d were left out\. Use a larger share")):
        inject(make(df), kind="rare", where={"view": "AP"}, share=0.001)
    with pytest.raises(InputError, match=message.format("strength", r"\d+ were left out\. Use a lower strength")):
        inject(make(df), kind="correlation", where={"view": "AP"})


def test_few_samples_are_warned_of(data):
    some = np.zeros(data.n_samples, dtype=bool)
    some[np.flatnonzero(data.y_true == 1)[:12]] = True
    expected = r"where: expected a subgroup large enough .*, got \d test samples in the planted slice"
    with pytest.warns(AuditWarning, match=expected + r".*; \d training samples to learn the failure from") as caught:
        inject(data, kind="noisy", where=some)
    assert caught[0].filename == __file__


# In words


def test_describe_rare(data):
    scenario = inject(data, **SCENARIOS["rare"])
    before = cells(data, is_supine, set(scenario.train_unchanged.patient_id))[True, 1]
    n_left, n_train = int(scenario.planted_train.sum()), scenario.train.n_samples
    assert scenario.describe() == (
        f"Of the {len(before)} training samples with view = AP supine and label 1 (Effusion), "
        f"{len(before) - n_left} were left out: {n_left} remain, {100 * n_left / n_train:.1f} % of the {n_train} "
        f"training samples. A classifier trained on these data is expected to miss label 1 on the "
        f"{scenario.planted_test.sum()} test samples with view = AP supine and label 1 (false negatives)."
    )


def test_describe_correlation(data):
    scenario = inject(data, **SCENARIOS["correlation, label 0"])
    count = {
        name: {cell: len(ids) for cell, ids in cells(part, has_tube, set(part.patient_id)).items()}
        for name, part in (("before", scenario.train_unchanged), ("after", scenario.train), ("test", scenario.test))
    }
    before, n, test = count["before"], count["after"], count["test"]
    inside, outside = n[True, 0] + n[True, 1], n[False, 0] + n[False, 1]
    assert scenario.describe() == (
        f"From the training data, {before[True, 1] - n[True, 1]} of {before[True, 1]} samples with tube = yes and "
        f"label 1 (Effusion) were left out, and {before[False, 0] - n[False, 0]} of {before[False, 0]} of the others "
        f"with label 0: of the {inside} with it, {n[True, 0]} ({100 * n[True, 0] / inside:.1f} %) now have label 0, "
        f"and of the {outside} others {n[False, 1]} ({100 * n[False, 1] / outside:.1f} %) have label 1 (Effusion). A "
        f"classifier trained on these data is expected to miss label 1 on the {test[True, 1]} test samples with tube = "
        f"yes and label 1 (false negatives) and to call label 1 on the {test[False, 0]} test samples without it and "
        "with label 0 (false positives)."
    )


def test_describe_noisy_and_both_directions(data):
    scenario = inject(data, **SCENARIOS["noisy, label 0"])
    n_before, n_flipped = int(scenario.planted_train.sum()), int(scenario.flipped.sum())
    assert scenario.describe() == (
        f"Of the {n_before} training samples with view = AP supine and label 0, {n_flipped} "
        f"({100 * n_flipped / n_before:.1f} %) are recorded with label 1 (Effusion). A classifier trained on these "
        f"data is expected to call label 1 on the {scenario.planted_test.sum()} test samples with view = AP supine and "
        "label 0 (false positives)."
    )
    scenario = inject(data, **SCENARIOS["rare, all"])
    positive = int(scenario.test.y_true[scenario.planted_test].sum())
    negative = int(scenario.planted_test.sum()) - positive
    assert scenario.describe() == (
        f"Of the {scenario.n_removed} training samples with view = AP supine, {scenario.n_removed} were left out: 0 "
        f"remain, 0.0 % of the {scenario.train.n_samples} training samples. A classifier trained on the rest may call "
        f"label 1 on the {negative} test samples with view = AP supine and label 0 (false positives) and miss label 1 "
        f"on the {positive} test samples with view = AP supine and label 1 (false negatives)."
    )


@every_scenario
def test_repr_has_the_counts(data, options):
    scenario = inject(data, **options)
    text = repr(scenario)
    assert text.startswith(f"FailureScenario: {options['kind']}, ")
    assert f"{scenario.n_removed} left out, {scenario.flipped.sum()} labels changed" in text
    assert f"{scenario.planted_test.sum()} test samples of " in text
    assert f"subgroup  {scenario.subgroup}" in text
    assert not re.search(r"\b[sp]\d+\b", text)  # no ids


# How it went


def small(error_type, n=30):
    """Return a scenario with `n` test samples in each cell that it compares, for rates worked out by hand."""
    # Each patient has one sample, each cell subgroup x label 2 n of them.
    df = pd.DataFrame({"view": ["AP", "AP", "PA", "PA"] * 2 * n, "y": [1, 0, 1, 0] * 2 * n, "who": range(8 * n)})
    data = AuditData.from_frame(df, label="y", patient_id="who", metadata=["view"])
    options = {
        "false_negative": {"kind": "noisy"},
        "false_positive": {"kind": "noisy", "label": 0},
        "mixed": {"kind": "noisy", "label": None, "rate": 0.5},
        "correlation": {"kind": "correlation"},
    }[error_type]
    return inject(data, where={"view": "AP"}, **options)


def predict(scenario, wrong, n=30):
    """Return probabilities that are wrong on the first `wrong[in subgroup, label]` test samples of each cell."""
    test = scenario.test
    proba = np.where(test.y_true == 1, 0.9, 0.1)
    view = test.metadata["view"].to_numpy()
    for (inside, label), n_wrong in wrong.items():
        cell = np.flatnonzero(((view == "AP") == inside) & (test.y_true == label))
        assert len(cell) == n
        proba[cell[:n_wrong]] = 1 - proba[cell[:n_wrong]]
    return proba


MISSED, CALLED = {(True, 1): 24, (False, 1): 6}, {(True, 0): 12, (False, 0): 3}


def test_evaluate_false_negatives_within_label_1():
    scenario = small("false_negative")
    got = scenario.evaluate(predict(scenario, MISSED))
    assert list(got.index) == ["false_negative"]
    row = got.iloc[0]
    assert (row["n_inside"], row["n_patients_inside"], row["n_outside"]) == (30, 30, 30)
    assert row["error_inside"] == pytest.approx(24 / 30)
    assert row["error_outside"] == pytest.approx(6 / 30)
    assert row["gap"] == pytest.approx(18 / 30)
    assert row["ratio"] == pytest.approx(4)


def test_intervals_are_those_of_the_textbook_where_there_are_many():
    scenario = small("false_negative", 300)
    row = scenario.evaluate(predict(scenario, {(True, 1): 240, (False, 1): 60}, 300)).iloc[0]
    # Two proportions, normal approximation: 0.6 +- 1.96 sqrt(0.8 x 0.2 / 300 + 0.2 x 0.8 / 300).
    half = 1.96 * np.sqrt(2 * 0.16 / 300)
    assert row["gap_low"] == pytest.approx(0.6 - half, abs=0.01)
    assert row["gap_high"] == pytest.approx(0.6 + half, abs=0.01)
    # Log of the ratio (Katz et al. 1978): ln 4 +- 1.96 sqrt(0.2 / (0.8 x 300) + 0.8 / (0.2 x 300)).
    low, high = 4 * np.exp(np.array([-1.96, 1.96]) * np.sqrt(0.2 / 240 + 0.8 / 60))
    assert row["ratio_low"] == pytest.approx(low, rel=0.05)
    assert row["ratio_high"] == pytest.approx(high, rel=0.05)


def test_evaluate_false_positives_within_label_0():
    scenario = small("false_positive")
    row = scenario.evaluate(predict(scenario, CALLED)).loc["false_positive"]
    assert (row["error_inside"], row["error_outside"]) == (pytest.approx(0.4), pytest.approx(0.1))
    assert row["ratio"] == pytest.approx(4)


def test_evaluate_mixed_has_both_and_their_mean():
    scenario = small("mixed")
    got = scenario.evaluate(predict(scenario, MISSED | CALLED))
    assert list(got.index) == ["false_positive", "false_negative", "mixed"]
    np.testing.assert_allclose(got["error_inside"], [0.4, 0.8, 36 / 60])
    np.testing.assert_allclose(got["error_outside"], [0.1, 0.2, 9 / 60])
    np.testing.assert_allclose(got["ratio"], [4, 4, 4])


def test_evaluate_correlation_compares_across_the_subgroup():
    scenario = small("correlation")
    got = scenario.evaluate(predict(scenario, {(True, 0): 15, (False, 1): 9, (False, 0): 3, (True, 1): 3}))
    # Planted: AP with label 0, against PA with label 0; PA with label 1, against AP with label 1.
    np.testing.assert_allclose(got["error_inside"], [15 / 30, 9 / 30, 24 / 60])
    np.testing.assert_allclose(got["error_outside"], [0.1, 0.1, 0.1])
    assert got["n_inside"].tolist() == [30, 30, 60]


def test_evaluate_is_the_same_for_more_disease_in_the_slice():
    """Prevalence alone makes no gap: every positive is missed, inside and outside, and no negative called."""
    df = pd.DataFrame({"view": ["AP"] * 80 + ["PA"] * 160, "y": [1] * 60 + [0] * 20 + [1, 0, 0, 0] * 40})
    data = AuditData.from_frame(df.assign(who=range(240)), label="y", patient_id="who", metadata=["view"])
    scenario = inject(data, kind="noisy", where={"view": "AP"}, label=None)
    got = scenario.evaluate(np.zeros(scenario.test.n_samples))
    np.testing.assert_allclose(got["gap"], 0, atol=1e-12)


def test_evaluate_without_errors_outside_or_anywhere():
    scenario = small("false_negative")
    row = scenario.evaluate(predict(scenario, {(True, 1): 10})).iloc[0]
    assert row["ratio"] == row["ratio_low"] == row["ratio_high"] == np.inf
    row = scenario.evaluate(predict(scenario, {})).iloc[0]
    assert np.isnan([row["ratio"], row["ratio_low"], row["ratio_high"]]).all()
    assert (row["gap"], row["gap_low"], row["gap_high"]) == (0, 0, 0)


def test_evaluate_with_nobody_inside_of_a_label():
    df = pd.DataFrame({"view": ["AP"] * 80 + ["PA"] * 160, "y": [1] * 80 + [1, 0] * 80, "who": range(240)})
    data = AuditData.from_frame(df, label="y", patient_id="who", metadata=["view"])
    scenario = inject(data, kind="rare", where={"view": "AP"}, label=None)
    got = scenario.evaluate(np.full(scenario.test.n_samples, 0.2))
    assert got.loc["false_positive", "n_inside"] == 0
    assert np.isnan(got.loc["false_positive", ["error_inside", "error_outside", "gap", "gap_low"]].astype(float)).all()
    assert got.loc["mixed", "error_inside"] == got.loc["mixed", "error_outside"] == 1


def test_intervals_resample_patients_not_samples():
    """Eight equal samples a patient are worth one: the interval is as wide as with one each."""
    one = pd.DataFrame({"view": ["AP", "AP", "PA", "PA"] * 60, "y": [1, 0, 1, 0] * 60, "who": range(240)})
    widths = []
    for df in (one, one.loc[one.index.repeat(8)].reset_index(drop=True)):
        data = AuditData.from_frame(df, label="y", patient_id="who", metadata=["view"])
        scenario = inject(data, kind="noisy", where={"view": "AP"})
        who = scenario.test.patient_id.astype(int)
        row = scenario.evaluate(np.where(who % 3 == 0, 0.1, 0.9)).iloc[0]
        widths.append(row["gap_high"] - row["gap_low"])
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_predictions_as_data_in_any_order_or_of_more_samples():
    scenario = small("false_negative")
    proba = predict(scenario, MISSED)
    expected = scenario.evaluate(proba)
    test = scenario.test.with_predictions(proba)
    pd.testing.assert_frame_equal(scenario.evaluate(test), expected)
    pd.testing.assert_frame_equal(scenario.evaluate(test.subset(np.arange(test.n_samples)[::-1])), expected)
    everything = np.full(scenario.data.n_samples, 0.5)
    everything[~scenario.is_train] = proba
    pd.testing.assert_frame_equal(scenario.evaluate(scenario.data.with_predictions(everything)), expected)


def test_threshold_and_seed():
    scenario = small("false_negative")
    proba = predict(scenario, MISSED)
    assert scenario.evaluate(proba, threshold=0.05).iloc[0]["error_inside"] == 0
    assert scenario.evaluate(np.full(len(proba), 0.5)).iloc[0]["error_inside"] == 0  # 0.5 is called label 1
    one, same, other = (scenario.evaluate(proba, random_state=seed, n_bootstraps=300) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert one["gap_low"].iloc[0] != other["gap_low"].iloc[0]


@pytest.mark.parametrize(
    ("predictions", "options", "message"),
    [
        ([0.1] * 7, {}, r"predictions: expected an array of shape \(120,\), a probability for each sample.*\(7,\)"),
        (np.full((120, 2), 0.5), {}, r"got shape \(120, 2\)\. Predict scenario\.test; of two columns give the second"),
        ([3.0] * 120, {}, r"y_proba: expected probabilities in \[0, 1\]"),
        ([np.nan] * 120, {}, r"y_proba: expected a probability for every sample, got 120 missing"),
        ([0.5] * 120, {"threshold": 1}, r"threshold: expected a number between 0 and 1, got 1"),
        ([0.5] * 120, {"n_bootstraps": 10}, r"n_bootstraps: expected a whole number from 100 up, got 10"),
        ([0.5] * 120, {"random_state": -3}, r"random_state: expected a whole number"),
    ],
)  # fmt: skip
def test_wrong_predictions(predictions, options, message):
    with pytest.raises(InputError, match=message):
        small("false_negative").evaluate(predictions, **options)


def test_data_without_predictions_or_of_other_samples():
    scenario = small("false_negative")
    with pytest.raises(InputError, match=r"predictions: expected data with predictions, got data without"):
        scenario.evaluate(scenario.test)
    part = scenario.test.subset(np.arange(100))
    with pytest.raises(InputError, match=r"got data that lack 20 of 120 of them\. Predict scenario\.test"):
        scenario.evaluate(part.with_predictions(np.full(100, 0.5)))
    with pytest.raises(UnknownKeywordError, match=r"treshold: .*Did you mean 'threshold'"):
        scenario.evaluate(np.full(120, 0.5), treshold=0.4)


# The figure


def texts(figure):
    figure.canvas.draw()
    return [t.get_text() for axes in figure.axes for t in axes.texts] + [figure.get_suptitle()]


@every_scenario
def test_plot_of_a_table_has_the_counts(data, options):
    scenario = inject(data, **options)
    figure = scenario.plot()
    assert isinstance(figure, Figure)
    training, test = figure.axes
    bars = [patch.get_width() for patch in training.patches]
    assert bars == [*scenario.counts["before"], *scenario.counts["after"]]
    assert [patch.get_width() for patch in test.patches] == scenario.counts["test"].tolist()
    hatched = [bool(patch.get_hatch()) for patch in test.patches]
    assert hatched == scenario.counts["planted"].tolist()  # not by colour alone
    shown = " ".join(texts(figure))
    assert scenario.subgroup in shown
    assert ("false negatives" in shown) == (scenario.error_type != "false_positive")
    assert ("false positives" in shown) == (scenario.error_type != "false_negative")


def test_plot_keeps_out_of_pyplot_and_takes_dollar_signs():
    import matplotlib.pyplot as plt

    df = frame().replace({"view": {"AP supine": "a_{$^"}})
    n_open = len(plt.get_fignums())
    figure = inject(make(df), kind="rare", where={"view": "a_{$^"}).plot()
    assert "a_{$^" in " ".join(texts(figure))
    assert len(plt.get_fignums()) == n_open


def test_plot_shows_examples_of_the_planted_slice(phantom):
    scenario = inject_quietly(phantom, kind="correlation", where=SUPINE, strength=0.85)
    figure = scenario.plot(n_images=4)
    stamps = figure.axes[2:]
    assert len(stamps) == 4
    assert [axes.get_xlabel() for axes in stamps] == ["label 0: false positive?"] * 2 + ["label 1: false negative?"] * 2
    shown = [np.asarray(axes.images[0].get_array()) for axes in stamps]
    test = scenario.test
    planted = {
        label: [test.image(s) for s in test.sample_id[scenario.planted_test & (test.y_true == label)]]
        for label in (0, 1)
    }
    for label, pixels in zip((0, 0, 1, 1), shown, strict=True):
        assert any(np.array_equal(pixels, image) for image in planted[label])
    assert len(scenario.plot(n_images=0).axes) == 2
    with pytest.raises(InputError, match=r"n_images: expected a whole number from 0 up, got -1"):
        scenario.plot(n_images=-1)


class Broken:
    """Images of which every second cannot be read."""

    def __init__(self, readable):
        self.readable = readable

    def __len__(self):
        return len(self.readable)

    def take(self, indices):
        return Broken([self.readable[i] for i in indices])

    def read(self, index, *, max_side_px=None):
        from mmaudit._errors import ImageReadError

        if not self.readable[index]:
            raise ImageReadError("image", "an image", "none", "Look for it.")
        return GrayImage(np.zeros((4, 4), dtype=np.float32), 4, 4, 16)


def test_plot_passes_over_images_that_cannot_be_read():
    df = frame()
    data = make(df, images=Broken([i % 4 == 0 for i in range(len(df))]))
    scenario = inject(data, **SCENARIOS["noisy"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(scenario.plot().axes) > 2
    none = make(df, images=Broken([False] * len(df)))
    assert len(inject(none, **SCENARIOS["noisy"]).plot().axes) == 2


# Whole cohorts


@pytest.mark.parametrize("kind", ["correlation", "rare", "noisy"])
def test_the_phantom(phantom, kind):
    scenario = inject_quietly(phantom, kind=kind, where=SUPINE, **({"strength": 0.85} if kind == "correlation" else {}))
    assert scenario.data.images is not None
    assert scenario.data.y_proba is None
    test = scenario.test
    position = phantom.sample_id.get_loc(test.sample_id[0])
    np.testing.assert_array_equal(test.image(test.sample_id[0]), phantom.images.read(position).pixels)
    supine = test.metadata["view"].to_numpy() == "AP supine"
    if kind == "correlation":
        np.testing.assert_array_equal(scenario.planted_test, supine == (test.y_true == 0))
    else:
        np.testing.assert_array_equal(scenario.planted_test, supine & (test.y_true == 1))


@pytest.mark.parametrize(
    ("options", "least_ratio"),
    [
        ({"kind": "noisy", "where": {"view": "AP"}}, 3),
        ({"kind": "rare", "where": {"view": "AP"}}, 3),
        ({"kind": "correlation", "where": {"view": "AP"}}, 3),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_classifier_learns_the_failure_and_not_from_the_unchanged_data(options, least_ratio):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    n = 1600
    df = pd.DataFrame({"y": rng.integers(0, 2, n), "who": np.arange(n) // 2, "view": rng.choice(["AP", "PA"], n)})
    # What a network could see: the disease, the view, and the disease as it looks in this view.
    seen = np.column_stack([df["y"], df["view"] == "AP", df["y"] * (df["view"] == "AP")])
    seen = seen + rng.normal(0, 0.4, seen.shape)
    data = AuditData.from_frame(df, label="y", patient_id="who", metadata=["view"], embeddings={"image": seen})
    scenario = inject(data, **options)
    ratio = {}
    for name, train in (("planted", scenario.train), ("unchanged", scenario.train_unchanged)):
        model = LogisticRegression().fit(train.embeddings["image"], train.y_true)
        proba = model.predict_proba(scenario.test.embeddings["image"])[:, 1]
        ratio[name] = scenario.evaluate(proba).iloc[-1]
    assert ratio["planted"]["ratio"] > least_ratio
    assert ratio["planted"]["gap_low"] > 0.1
    assert ratio["unchanged"]["ratio"] < 1.7


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not here")
def test_the_real_collection():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        data = load_covid_chestxray(REAL)
    supine = (data.metadata["view"] == "AP Supine").to_numpy()
    scenario = inject(data, kind="noisy", where={"view": "AP Supine"})
    assert scenario.error_type == "false_negative"
    assert int(scenario.planted.sum()) == int((supine & (data.y_true == 1)).sum())
    n_train = int(scenario.planted_train.sum())
    assert scenario.flipped.sum() == int(0.75 * n_train + 0.5)
    assert not set(scenario.train.patient_id) & set(scenario.test.patient_id)
    assert len(scenario.plot(n_images=3).axes) == 5
    rare = inject(data, kind="rare", where="fever", share=0.02)
    assert rare.planted_train.sum() / rare.train.n_samples <= 0.02
    found = np.array(["fever" in report.lower() for report in data.reports])
    position = data.sample_id.get_indexer(rare.data.sample_id)
    np.testing.assert_array_equal(rare.in_subgroup, found[position])
    shortcut = inject_quietly(data, kind="correlation", where={"age": (60, None)}, strength=0.9, random_state=1)
    inside = shortcut.in_subgroup[shortcut.is_train]
    assert shortcut.train.y_true[inside].mean() >= 0.9
    assert shortcut.train.y_true[~inside].mean() <= 0.1


def test_failures_are_planted_in_one_label_alone():
    several = make(frame().assign(z=lambda t: t["y"]), label=["y", "z"], y_proba=None, label_name=None)
    with pytest.raises(InputError, match="for planting a failure, got data with 2 labels"):
        inject(several, kind="noisy", where=SUPINE)
