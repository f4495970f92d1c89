"""Planted slices are found first, in each modality, and said in the words they were planted with."""

import numpy as np
import pytest

import mmaudit as mma
from mmaudit.encoders import encode
from mmaudit.slicers import Portfolio

SEEDS = range(2)
ERRORS = {"false_positive": 0, "false_negative": 1, "mixed": None}


def overlap(result, data, planted, label):
    """Return the Jaccard index of the first finding and the planted samples of its label."""
    compared = np.ones(len(planted), dtype=bool) if label is None else data.y_true == label
    members = result.membership[result.findings["slice_id"][0]].to_numpy() >= 0.5
    return (members & planted & compared).sum() / ((members | planted) & compared).sum()


def first_finding(result):
    assert len(result.findings) >= 1, result.headline
    first = result.findings.iloc[0]
    return first, result.rules.get(first["slice_id"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("label", [0, 1])
def test_a_metadata_value(cohorts, seed, label):
    frame = cohorts.table(900, seed=seed)
    planted = (frame["view"] == "AP").to_numpy()
    data = cohorts.data_of(
        cohorts.predict(frame, np.where(planted & (frame["label"] == label), 0.65, 0.1), seed=seed), report="report",
        metadata=["view", "sex", "age"],
    )  # fmt: skip
    result = cohorts.quick_audit(data)
    first, rule = first_finding(result)
    assert first["description"] == "view = AP"
    assert first["error_type"] == ("false_positive", "false_negative")[label]
    assert first["modality"] == "metadata"
    assert rule == [{"column": "view", "operator": "==", "value": "AP"}]
    assert overlap(result, data, planted, label) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_of_both_kinds_are_mixed(cohorts, seed):
    frame = cohorts.table(700, seed=seed)
    data = cohorts.data_of(cohorts.predict(frame, np.where(frame["view"] == "AP", 0.5, 0.08), seed=seed))
    first, _ = first_finding(cohorts.quick_audit(data))
    assert (first["description"], first["error_type"]) == ("view = AP", "mixed")


@pytest.mark.parametrize("seed", SEEDS)
def test_a_range_of_ages(cohorts, seed):
    frame = cohorts.table(700, seed=seed)
    data = cohorts.data_of(cohorts.predict(frame, np.where(frame["age"] > 62, 0.5, 0.06), seed=seed))
    _, rule = first_finding(cohorts.quick_audit(data))
    assert [(p["column"], p["operator"]) for p in rule] == [("age", ">")]
    assert 50 <= rule[0]["value"] <= 75


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pair_of_metadata_values(cohorts, seed):
    frame = cohorts.table(1400, seed=seed)
    planted = (frame["view"] == "AP") & (frame["sex"] == "F")
    data = cohorts.data_of(cohorts.predict(frame, np.where(planted, 0.6, 0.06), seed=seed))
    first, _ = first_finding(cohorts.quick_audit(data))
    assert first["description"] in ("view = AP and sex = F", "sex = F and view = AP")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("planted_on", ["tube", "no tube"])
@pytest.mark.parametrize("silent", [0.0, 0.4], ids=["all reports speak of it", "some do not"])
def test_a_report_term_where_reports_differ_only_by_no(cohorts, seed, planted_on, silent):
    """Errors on "tube" must not be told as "no tube", nor as a report that lacks "no tube"."""
    frame = cohorts.table(900, seed=seed)
    rng = np.random.default_rng([seed, 3])
    tube, mute = rng.random(900) < 0.3, rng.random(900) < silent
    said = np.where(tube, "Chest tube in place. ", "No chest tube in place. ")
    frame["report"] = np.where(mute, "", said) + frame["report"]
    planted = ~mute & (tube if planted_on == "tube" else ~tube)
    data = cohorts.data_of(cohorts.predict(frame, np.where(planted, 0.5, 0.06), seed=seed), report="report")
    result = cohorts.quick_audit(data)
    first, rule = first_finding(result)
    words = {"tube": '"chest tube"', "no tube": '"no chest tube"'}
    assert f"report mentions {words[planted_on]}" in first["description"]
    # Chance may add a second predicate; none may tell of tubes in another way.
    of_tubes = [p for p in rule if any(word in p["column"] for word in ("tube", "chest", "place", "device"))]
    assert of_tubes == [{"column": words[planted_on], "operator": "mentions", "value": None}]
    assert overlap(result, data, planted, ERRORS[first["error_type"]]) > 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_terms_of_the_label_are_no_description(cohorts, seed):
    """Errors are on cases whose report says "effusion"; the label is effusion, so that word explains nothing."""
    frame = cohorts.table(700, seed=seed)
    named = np.random.default_rng([seed, 4]).random(700) < 0.3
    frame["report"] = np.where(named, "Small effusion. ", "") + frame["report"]
    data = cohorts.data_of(
        cohorts.predict(frame, np.where(named, 0.6, 0.06), seed=seed), report="report", label_name="Effusion"
    )
    result = cohorts.quick_audit(data)
    assert not result.candidates["rule"].str.contains("effusion").any()
    assert not result.candidates["description"].str.contains("effusion").any()
    kinds = {t["kind"] for traits in result.traits.values() for t in traits if "effusion" in t["phrase"]}
    assert kinds <= {"label_term"}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("given", ["image", "report", "metadata"])
def test_a_shift_of_a_given_embedding(cohorts, seed, given):
    frame = cohorts.table(900, seed=seed)
    rng = np.random.default_rng([seed, 5])
    planted = rng.random(900) < 0.2
    X = rng.normal(size=(900, 20))
    X[planted, :3] += 4
    data = cohorts.data_of(
        cohorts.predict(frame, np.where(planted, 0.55, 0.08), seed=seed),
        embeddings={
            name: X if name == given else rng.normal(size=(900, 12)) for name in ("image", "report", "metadata")
        },
    )
    result = cohorts.quick_audit(data)
    first, rule = first_finding(result)
    assert given in first["modality"].split("+")
    assert first["slicer"] == "mixture"
    assert rule is None
    # A mixture may find the group in pieces, but each piece is of it: a fifth would be by chance.
    for slice_id in result.findings["slice_id"]:
        members = result.membership[slice_id].to_numpy() >= 0.5
        assert planted[members].mean() > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_images_that_differ(cohorts, seed):
    """A dark band over a fifth of the images, and errors with it."""
    frame = cohorts.table(600, seed=seed)
    planted = np.random.default_rng([seed, 6]).random(600) < 0.2
    pictures = cohorts.pictures(600, seed=seed)
    for picture, marked in zip(pictures, planted, strict=True):
        if marked:
            picture[-8:] = 0
    data = cohorts.data_of(
        cohorts.predict(frame, np.where(planted, 0.55, 0.08), seed=seed), images=cohorts.Arrays(pictures)
    )
    result = cohorts.quick_audit(data)
    first, _ = first_finding(result)
    assert first["modality"] == "image"
    assert overlap(result, data, planted, ERRORS[first["error_type"]]) > 0.8


def test_one_failure_does_not_fill_the_list(cohorts):
    """Three columns and a term say the same: the first finding covers it, the others add nothing."""
    frame = cohorts.table(900)
    marked = frame["view"] == "AP"
    frame["bed"], frame["ward"] = np.where(marked, "yes", "no"), np.where(marked, "ICU", "outpatient")
    frame["report"] = np.where(marked, "Portable film. ", "") + frame["report"]
    data = cohorts.data_of(
        cohorts.predict(frame, np.where(marked, 0.5, 0.05)), metadata=["view", "bed", "ward"], report="report"
    )
    result = cohorts.quick_audit(data)
    assert len(result.findings) == 1
    assert overlap(result, data, marked.to_numpy(), None) == 1


def test_membership_does_not_depend_on_predictions(cohorts):
    """Change every prediction of the confirmation part: the candidates there stay the same."""
    frame = cohorts.table(600)
    frame = cohorts.predict(frame, np.where(frame["view"] == "AP", 0.5, 0.08))
    data = cohorts.data_of(frame, metadata=["view", "sex", "age"], report="report")
    first = data.split_mask(random_state=0)
    features, _ = encode(data, fit_on=first, random_state=0)
    portfolio = Portfolio(random_state=0).fit(
        features.take(first), data.y_true[first], y_proba=data.y_proba[first], groups=data.patient_id[first]
    )
    membership = portfolio.membership(features, data.y_true)
    assert membership.dtype == np.float32
    assert membership.shape == (600, len(portfolio.slices_))
    assert ((membership >= 0) & (membership <= 1)).all()
    for k, found in enumerate(portfolio.slices_):
        if found.label is not None:
            assert not membership[data.y_true != found.label, k].any()
    alone = portfolio.membership(features.take(~first), data.y_true[~first])
    np.testing.assert_allclose(alone, membership[~first], atol=1e-6)


def test_the_search_is_repeatable_and_keeps_no_rows(cohorts):
    frame = cohorts.predict(cohorts.table(400), 0.2)
    data = cohorts.data_of(frame, metadata=["view", "sex", "age"], report="report")
    features, _ = encode(data, fit_on=np.ones(400, dtype=bool), random_state=0)
    one, two = (
        Portfolio(random_state=3).fit(features, data.y_true, y_proba=data.y_proba, groups=data.patient_id)
        for _ in range(2)
    )
    assert one.slices_ == two.slices_
    assert one.membership(features, data.y_true).tobytes() == two.membership(features, data.y_true).tobytes()
    assert not [name for name, value in vars(one).items() if 400 in np.shape(value)]
    assert one.n_tried_ > 100


def test_only_the_modalities_asked_for_are_searched(cohorts):
    frame = cohorts.table(600)
    frame = cohorts.predict(frame, np.where(frame["view"] == "AP", 0.5, 0.08))
    data = cohorts.data_of(frame, metadata=["view", "sex", "age"], report="report")
    result = mma.audit(data, modalities="report", n_refits=0, n_permutations=199)
    assert set(result.candidates["modality"]) == {"report"}
    assert not result.candidates["rule"].str.contains("view").any()
