"""Planted slices come first, whatever modality they are in, and who belongs to one does not depend on predictions."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

import mmaudit as mma
from mmaudit.data import Target
from mmaudit.encoders import Features, encode
from mmaudit.slicers import Portfolio
from mmaudit.slicers._spaces import Spaces

SEEDS = range(2)


def features_of(n_samples=600, *, seed=0, n_terms=12, n_columns=4, modalities=("image", "report", "metadata")):
    """Return features of noise: embeddings, metadata columns, report terms and one image statistic."""
    rng = np.random.default_rng([seed, 1])
    embeddings, columns, kinds = {}, {}, {}
    if "image" in modalities:
        # A few directions have most of the variance, as in real embeddings.
        spread = np.r_[np.linspace(3, 1, 24), np.full(40, 0.3)]
        embeddings["image"] = (rng.normal(size=(n_samples, 64)) * spread).astype(np.float32)
        columns["image brightness"] = rng.random(n_samples)
        kinds["image brightness"] = "image"
    if "report" in modalities:
        terms = rng.random((n_samples, n_terms)) < rng.uniform(0.05, 0.5, n_terms)
        columns |= {f'"term{k}"': terms[:, k] for k in range(n_terms)}
        kinds |= {f'"term{k}"': "report" for k in range(n_terms)}
        embeddings["report"] = (terms @ rng.normal(size=(n_terms, 20))).astype(np.float32)
    if "metadata" in modalities:
        values = rng.normal(size=(n_samples, n_columns))
        columns |= {f"m{k}": values[:, k] for k in range(1, n_columns)}
        columns["view"] = pd.Categorical(rng.choice(["PA", "AP", "lateral"], n_samples, p=[0.5, 0.3, 0.2]))
        kinds |= dict.fromkeys([*(f"m{k}" for k in range(1, n_columns)), "view"], "metadata")
        embeddings["metadata"] = np.c_[values, columns["view"] == "AP", columns["view"] == "PA"].astype(np.float32)
    return Features(embeddings, pd.DataFrame(columns), kinds)


def target_of(rate, *, seed=0, y=None, name="label"):
    """Return a target whose answers are wrong at these rates, one a sample."""
    rng = np.random.default_rng([seed, 2])
    y = (rng.random(len(rate)) < 0.45).astype(np.int8) if y is None else y
    says = (rng.random(len(rate)) < rate) ^ (y == 1)
    return Target(name, y, np.where(says, 0.8, 0.2), says)


def labels(n_samples, seed=0):
    return (np.random.default_rng([seed, 3]).random(n_samples) < 0.45).astype(np.int8)


def jaccard(a, b):
    return (a & b).sum() / (a | b).sum()


# Planted slices


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("label", [0, 1, None])
def test_a_rule_of_metadata(seed, label):
    features, y = features_of(seed=seed), labels(600, seed)
    planted = (features.table["view"] == "AP").to_numpy() & ((y == label) if label is not None else True)
    portfolio = Portfolio(random_state=seed).fit(features, [target_of(np.where(planted, 0.55, 0.08), seed=seed, y=y)])
    found = next(s for s in portfolio.slices_[:3] if str(s.rule) == "view = AP")
    assert (found.slicer, found.modality, found.target) == ("rules", "metadata", 0)
    if label is not None:
        assert portfolio.slices_[0].label == label


@pytest.mark.parametrize("seed", SEEDS)
def test_a_term_of_the_report(seed):
    features, y = features_of(seed=seed), labels(600, seed)
    term = min((c for c in features.columns(["report"])), key=lambda c: abs(features.table[c].mean() - 0.25))
    planted = features.table[term].to_numpy() & (y == 1)
    portfolio = Portfolio(random_state=seed).fit(features, [target_of(np.where(planted, 0.65, 0.08), seed=seed, y=y)])
    first = portfolio.slices_[0]
    assert (first.slicer, first.modality, first.label) == ("rules", "report", 1)
    assert str(first.rule) == f"report mentions {term}"


def test_a_rule_over_two_modalities(seed=0):
    features, y = features_of(1400, seed=seed), labels(1400, seed)
    planted = (features.table["view"] == "AP").to_numpy() & (features.table["image brightness"] > 0.5).to_numpy()
    portfolio = Portfolio(random_state=seed).fit(features, [target_of(np.where(planted, 0.6, 0.05), seed=seed, y=y)])
    first = portfolio.slices_[0]
    assert (first.slicer, first.modality) == ("rules", "image+metadata")
    assert {p.column for p in first.rule.predicates} == {"view", "image brightness"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_property_of_the_picture_that_is_no_cluster(seed):
    """Errors grow along a direction oblique to all columns, with no gap between the worse and the better pictures."""
    features, y = features_of(900, seed=seed), labels(900, seed)
    along = features.embeddings["image"][:, :6] @ np.array([1, -1, 1, 1, -1, 1])
    along /= along.std()
    planted = (along > 0.8) & (y == 0)
    portfolio = Portfolio(random_state=seed).fit(features, [target_of(np.where(planted, 0.7, 0.1), seed=seed, y=y)])
    first = portfolio.slices_[0]
    assert (first.slicer, first.label, first.rule) == ("risk", 0, None)
    assert "image" in first.modality.split("+")
    new, new_y = features_of(900, seed=seed + 50), labels(900, seed + 50)
    along = new.embeddings["image"][:, :6] @ np.array([1, -1, 1, 1, -1, 1])
    members = portfolio.membership(new, [target_of(np.full(900, 0.1), y=new_y)])[:, 0] >= 0.5
    assert not members[new_y == 1].any()
    assert (along / along.std())[members].mean() > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_of_pictures(seed):
    features, y = features_of(900, seed=seed), labels(900, seed)
    cluster = np.random.default_rng([seed, 4]).random(900) < 0.2
    features.embeddings["image"][cluster, :6] += 5
    planted = cluster & (y == 1)
    portfolio = Portfolio(random_state=seed).fit(features, [target_of(np.where(planted, 0.6, 0.08), seed=seed, y=y)])
    target = target_of(np.full(900, 0.1), y=y)
    members = portfolio.membership(features, [target]) >= 0.5
    best = max(range(3), key=lambda k: jaccard(members[:, k], planted))
    found = portfolio.slices_[best]
    assert found.label == 1
    assert "image" in found.modality.split("+")
    assert jaccard(members[:, best], planted) > 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_in_other_modalities_does_not_push_a_failure_on_pictures_out(seed):
    """300 report terms and ten columns of metadata, none with errors, beside the picture."""
    features, y = features_of(700, seed=seed, n_terms=300, n_columns=10), labels(700, seed)
    planted = (features.embeddings["image"][:, 0] > 2.5) & (y == 1)
    target = target_of(np.where(planted, 0.5, 0.1), seed=seed, y=y)
    portfolio = Portfolio(random_state=seed, modalities=("image", "report", "metadata")).fit(features, [target])
    members = portfolio.membership(features, [target]) >= 0.5
    of_image = [k for k, s in enumerate(portfolio.slices_) if "image" in s.modality.split("+")]
    # A quarter of the label, where a fifth fails: 0.5 is far above the 0.13 of a quarter at random.
    assert max((jaccard(members[:, k], planted) for k in of_image), default=0) > 0.4


def test_a_mark_on_pictures_from_the_pixels_on(cohorts):
    """From pictures on: a dark band over a fifth of them is found, with the modality image."""
    frame = cohorts.table(500)
    marked = np.random.default_rng(6).random(500) < 0.2
    pictures = cohorts.pictures(500)
    for picture, dark in zip(pictures, marked, strict=True):
        if dark:
            picture[-8:] = 0
    frame = cohorts.predict(frame, np.where(marked, 0.55, 0.08))
    data = cohorts.data_of(frame, images=cohorts.Arrays(pictures), metadata=["view", "sex", "age"])
    features, _ = encode(data, fit_on=np.ones(500, dtype=bool), random_state=0, n_jobs=1)
    targets = data.targets(0.5)
    portfolio = Portfolio(random_state=0).fit(features, targets, groups=data.patient_id)
    first, members = portfolio.slices_[0], portfolio.membership(features, targets)[:, 0] >= 0.5
    compared = np.ones(500, dtype=bool) if first.label is None else data.y_true == first.label
    assert "image" in first.modality.split("+")
    assert jaccard(members, marked & compared) > 0.5


# Several targets


@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_one_of_several_targets(seed):
    features = features_of(seed=seed)
    y = [labels(600, seed + 10 * k) for k in range(3)]
    ap, dark = ((features.table["view"] == "AP").to_numpy(), (features.table["image brightness"] < 0.2).to_numpy())
    rates = [np.full(600, 0.1), np.where(ap & (y[1] == 1), 0.7, 0.08), np.where(dark & (y[2] == 0), 0.7, 0.08)]
    targets = [target_of(r, seed=seed + k, y=y[k], name=str(k)) for k, r in enumerate(rates)]
    portfolio = Portfolio(modalities=["image", "metadata"], random_state=seed).fit(features, targets)
    first = {}
    for found in portfolio.slices_:
        first.setdefault(found.target, found)
    assert {portfolio.slices_[0].target, portfolio.slices_[1].target} <= {1, 2}
    assert (str(first[1].rule), first[1].label) == ("view = AP", 1)
    assert (first[2].label, {p.column for p in first[2].rule.predicates}) == (0, {"image brightness"})
    # Groups of three targets were looked at, and each bound answers for all.
    alone = Portfolio(modalities=["image", "metadata"], random_state=seed).fit(features, targets[1:2])
    assert alone.slices_[0].rule == first[1].rule
    assert first[1].n_tried == 3 * alone.slices_[0].n_tried


def test_unknown_truth_takes_no_part():
    features, y = features_of(700), labels(700)
    planted = (features.table["view"] == "AP").to_numpy()
    target = target_of(np.where(planted, 0.5, 0.08), y=y)
    unknown = np.random.default_rng(9).random(700) < 0.3
    partly = Target("label", np.where(unknown, -1, y).astype(np.int8), target.y_proba, target.says)
    flipped = Target(
        "label", partly.y_true, np.where(unknown, 1 - target.y_proba, target.y_proba), target.says ^ unknown
    )
    one, two = (Portfolio(modalities=["metadata"], random_state=0).fit(features, [t]) for t in (partly, flipped))
    assert one.slices_ == two.slices_
    membership = one.membership(features, [partly])
    assert not membership[unknown].any()
    assert (membership[~unknown] >= 0.5).any(axis=0).all()
    # Their errors do not count in the rates either.
    first = next(found for found in one.slices_ if str(found.rule) == "view = AP")
    inside = ~unknown & planted if first.label is None else ~unknown & planted & (y == first.label)
    assert first.error_inside == pytest.approx(target.error[inside].mean(), abs=1e-6)


# Membership


@pytest.fixture(scope="module")
def mixed():
    """Two failures, one of rules and one of a direction, and what was found of them."""
    features, y = features_of(900, seed=5), labels(900, 5)
    ap = (features.table["view"] == "AP").to_numpy() & (y == 1)
    bright = (features.embeddings["image"][:, 1] > 2) & (y == 0)
    target = target_of(np.where(ap | bright, 0.6, 0.08), y=y)
    groups = np.arange(900) // 2
    portfolio = Portfolio(random_state=1).fit(features, [target], groups=groups)
    assert {found.slicer for found in portfolio.slices_} == {"rules", "risk"}
    return features, target, groups, portfolio


def test_predictions_order_members_and_make_none(mixed):
    features, target, _, portfolio = mixed
    flip = np.random.default_rng(3).random(900) < 0.5
    other = Target("label", target.y_true, np.where(flip, 1 - target.y_proba, target.y_proba), target.says ^ flip)
    before, after = (portfolio.membership(features, [t]) for t in (target, other))
    assert before.dtype == np.float32
    assert before.shape == (900, len(portfolio.slices_))
    assert ((before >= 0) & (before <= 1)).all()
    np.testing.assert_array_equal(before >= 0.5, after >= 0.5)
    for k, found in enumerate(portfolio.slices_):
        compared = np.ones(900, dtype=bool) if found.label is None else target.y_true == found.label
        assert not before[~compared, k].any()
        was_wrong, now_wrong = target.error & flip & compared, ~target.error & flip & compared
        assert (before[was_wrong, k] > after[was_wrong, k]).all()
        assert (before[now_wrong, k] < after[now_wrong, k]).all()
        np.testing.assert_array_equal(before[~flip, k], after[~flip, k])


def test_wrong_members_come_before_right_ones(mixed):
    features, target, _, portfolio = mixed
    membership = portfolio.membership(features, [target])
    for k, found in enumerate(portfolio.slices_):
        members = membership[:, k] >= 0.5
        wrong, right = membership[members & target.error, k], membership[members & ~target.error, k]
        if found.rule is not None:
            assert wrong.min() > right.max()
        else:
            assert np.median(wrong) > np.median(right)
    first = next(k for k, found in enumerate(portfolio.slices_) if found.rule is not None)
    found, members = portfolio.slices_[first], membership[:, first] >= 0.5
    # Bayes' rule by hand for a wrong member: 0.9 before, drawn in from the ends by a tenth, and both error rates.
    prior = 0.1 + 0.8 * 0.9
    inside = prior * found.error_inside
    posterior = inside / (inside + (1 - prior) * max(found.error_outside, 0.02))
    np.testing.assert_allclose(membership[members & target.error, first], 0.5 + 0.5 * posterior, atol=1e-6)


def test_membership_of_some_samples_is_that_among_all(mixed):
    features, target, _, portfolio = mixed
    rows = np.arange(900) % 3 == 0
    alone = portfolio.membership(features.take(rows), [target.take(rows)])
    whole = portfolio.membership(features, [target])[rows]
    np.testing.assert_array_equal(alone >= 0.5, whole >= 0.5)
    np.testing.assert_allclose(alone, whole, atol=1e-5)


@pytest.mark.parametrize("seed", range(5, 7))
def test_a_rule_stands_for_the_region_of_the_same_samples(seed):
    """Regions are the fewer and so have the better bounds; without words, they must not take a rule's place."""
    features, y = features_of(seed=seed), labels(600, seed)
    ap = (features.table["view"] == "AP").to_numpy()
    target = target_of(np.where(ap & (y == 0), 0.7, 0.08), seed=seed, y=y)
    portfolio = Portfolio(random_state=seed).fit(features, [target])
    members = portfolio.membership(features, [target]) >= 0.5
    assert "view = AP" in [str(found.rule) for found in portfolio.slices_[:2]]
    for k, found in enumerate(portfolio.slices_):
        if found.rule is None and found.label is not None:
            assert jaccard(members[:, k], ap & (y == found.label)) < 0.8


def test_no_two_slices_are_alike(mixed):
    features, target, _, portfolio = mixed
    members = portfolio.membership(features, [target]) >= 0.5
    assert members.shape[1] > 4
    for a in range(members.shape[1]):
        for b in range(a):
            assert jaccard(members[:, a], members[:, b]) < 0.5


def test_rates_are_those_of_the_members_and_of_unseen_patients(mixed):
    features, target, _, portfolio = mixed
    members = portfolio.membership(features, [target]) >= 0.5
    for k, found in enumerate(portfolio.slices_):
        assert found.gap == pytest.approx(found.error_inside - found.error_outside)
        assert found.gap > 0
        assert found.bound < found.gap
        in_sample = target.error[members[:, k]].mean()
        if found.rule is not None:
            assert found.error_inside == pytest.approx(in_sample, abs=1e-6)
    of_risk = [k for k, found in enumerate(portfolio.slices_) if found.rule is None]
    optimism = [target.error[members[:, k]].mean() - portfolio.slices_[k].error_inside for k in of_risk]
    assert np.mean(optimism) > 0.02  # of the very samples the model was fitted to


# What was asked for


@pytest.mark.parametrize("wanted", [(None,), (0,)])
def test_only_the_labels_asked_for(mixed, wanted):
    features, target, groups, _ = mixed
    portfolio = Portfolio(labels=wanted, modalities=["image", "metadata"], random_state=0).fit(
        features, [target], groups=groups
    )
    assert len(portfolio.slices_) > 0
    assert {found.label for found in portfolio.slices_} <= set(wanted)


@pytest.mark.parametrize("wanted", [("report",), ("metadata", "image")])
def test_only_the_modalities_asked_for(mixed, wanted):
    features, target, groups, _ = mixed
    portfolio = Portfolio(modalities=wanted, random_state=0).fit(features, [target], groups=groups)
    assert len(portfolio.slices_) > 0
    for found in portfolio.slices_:
        assert set(found.modality.split("+")) <= set(wanted)
        if found.rule is not None:
            assert {features.kinds[p.column] for p in found.rule.predicates} <= set(wanted)


def test_terms_of_the_label_are_not_searched():
    features, y = features_of(600, seed=1), labels(600, 1)
    term = '"term0"'
    kinds = dict(features.kinds) | {term: "label_term"}
    target = target_of(np.where(features.table[term], 0.7, 0.08), y=y)
    portfolio = Portfolio(modalities=["report"], random_state=0).fit(
        Features(features.embeddings, features.table, kinds), [target]
    )
    assert all(term != p.column for s in portfolio.slices_ if s.rule for p in s.rule.predicates)
    assert (
        str(Portfolio(modalities=["report"], random_state=0).fit(features, [target]).slices_[0].rule)
        == f"report mentions {term}"
    )


@pytest.mark.parametrize("modality", ["image", "report", "metadata"])
def test_data_of_one_modality(modality):
    features, y = features_of(500, modalities=(modality,)), labels(500)
    column = {"image": "image brightness", "report": '"term1"', "metadata": "m1"}[modality]
    value = features.table[column].astype(float)
    target = target_of(np.where(value > value.median(), 0.45, 0.08), y=y)
    portfolio, asked = (
        Portfolio(random_state=0, **how).fit(features, [target]) for how in ({}, {"modalities": [modality]})
    )
    assert {found.modality for found in portfolio.slices_} == {modality}
    assert any(s.rule and {p.column for p in s.rule.predicates} == {column} for s in portfolio.slices_[:3])
    # What is not there is not searched a second time, as "all modalities".
    assert portfolio.n_tried_ == asked.n_tried_


@pytest.mark.parametrize("missing", ["embeddings", "columns"])
def test_a_modality_with_half_of_what_is_searched(missing):
    features, y = features_of(500), labels(500)
    if missing == "embeddings":
        features = Features({}, features.table, features.kinds)
    else:
        features = Features(features.embeddings, features.table[[]], {})
    portfolio = Portfolio(random_state=0).fit(features, [target_of(np.full(500, 0.3), y=y)])
    assert {s.slicer for s in portfolio.slices_} <= {"rules" if missing == "embeddings" else "risk"}
    assert portfolio.n_tried_ > 0


def test_min_patients_inside_and_outside(mixed):
    features, target, _, _ = mixed
    groups = np.arange(900) // 30  # 30 patients of 30 samples
    portfolio = Portfolio(modalities=["metadata"], min_patients=12, random_state=0).fit(
        features, [target], groups=groups
    )
    for found in portfolio.slices_:
        if found.rule is not None:
            inside = found.rule.holds(features.table)
            compared = np.ones(900, dtype=bool) if found.label is None else target.y_true == found.label
            assert len(np.unique(groups[inside & compared])) >= 12
            assert len(np.unique(groups[~inside & compared])) >= 12
    assert (
        Portfolio(modalities=["metadata"], min_patients=31, random_state=0)
        .fit(features, [target], groups=groups)
        .slices_
        == []
    )


def test_n_slices_cuts_the_list(mixed):
    features, target, groups, portfolio = mixed
    few = Portfolio(3, random_state=1).fit(features, [target], groups=groups)
    assert len(few.slices_) == 3
    best = sorted(portfolio.slices_, key=lambda found: -found.bound)[:3]
    assert {(s.modality, s.label) for s in few.slices_} == {(s.modality, s.label) for s in best}


def test_what_is_new_comes_before_the_same_in_other_words():
    """Two failures, each with an echo: a column that says nearly the same, with a higher bound than the other one."""
    features, y = features_of(900, seed=4), labels(900, 4)
    rng = np.random.default_rng(4)
    strong = (features.table["view"] == "AP").to_numpy()
    weak = (features.table["m1"] > 0).to_numpy() & ~strong
    echo = np.where(rng.random(900) < 0.3, rng.random(900) < 0.5, strong)
    table = features.table.assign(echo=np.where(echo, "yes", "no"))
    features = replace(features, table=table, kinds={**features.kinds, "echo": "metadata"})
    target = target_of(np.select([strong, weak], [0.8, 0.35], 0.05), seed=4, y=y)
    slices = Portfolio(5, modalities=["metadata"], random_state=0).fit(features, [target]).slices_
    columns = [{p.column for p in found.rule.predicates} if found.rule else set() for found in slices]
    assert columns[0] == {"view"}
    of_echo = [k for k, names in enumerate(columns) if "echo" in names]
    of_weak = [k for k, names in enumerate(columns) if "m1" in names]
    assert of_weak
    assert not of_echo or min(of_weak) < min(of_echo)


# Repeatable, and without errors to find


def test_the_same_seed_gives_the_same_slices_whatever_the_threads(mixed):
    features, target, groups, portfolio = mixed
    membership = portfolio.membership(features, [target])
    # On fewer samples: where cores are busy, small matrix products are slow on several threads.
    few, there = np.arange(300), []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            fitted = Portfolio(modalities=["image"], random_state=0).fit(features.take(few), [target.take(few)])
            there.append((fitted.membership(features, [target]), [(s.label, s.rule, s.model) for s in fitted.slices_]))
    assert there[0][1] == there[1][1]
    np.testing.assert_array_equal(there[0][0] >= 0.5, there[1][0] >= 0.5)
    np.testing.assert_allclose(there[0][0], there[1][0], atol=1e-5)
    once_more = clone(portfolio).fit(features, [target], groups=groups)
    assert once_more.slices_ == portfolio.slices_
    assert once_more.membership(features, [target]).tobytes() == membership.tobytes()
    loaded = pickle.loads(pickle.dumps(portfolio))
    assert loaded.membership(features, [target]).tobytes() == membership.tobytes()


def test_names_of_patients_do_not_matter(mixed):
    features, target, groups, portfolio = mixed
    portfolio = clone(portfolio).set_params(modalities=["image", "metadata"])
    named = clone(portfolio).fit(features, [target], groups=[f"patient {k:04d}" for k in groups])
    numbered = clone(portfolio).fit(features, [target], groups=[f"{k:04d}" for k in groups])
    assert named.slices_ == numbered.slices_


@pytest.mark.parametrize("wrong_label", [None, 0, 1])
def test_no_error_in_a_label(wrong_label):
    features, y = features_of(400, modalities=("image", "metadata")), labels(400)
    rate = np.where(y == wrong_label, 0.3, 0.0) if wrong_label is not None else np.zeros(400)
    target = target_of(rate, y=y)
    portfolio = Portfolio(random_state=0).fit(features, [target])
    assert {found.label for found in portfolio.slices_} <= ({wrong_label, None} if wrong_label is not None else set())
    assert portfolio.membership(features, [target]).shape == (400, len(portfolio.slices_))


def test_constant_embeddings_are_harmless(recwarn):
    features, y = features_of(400), labels(400)
    constant = Features(
        {m: np.full_like(X, 0.1) for m, X in features.embeddings.items()}, features.table, features.kinds
    )
    planted = (features.table["view"] == "AP").to_numpy()
    target = target_of(np.where(planted, 0.6, 0.05), y=y)
    portfolio = Portfolio(random_state=0).fit(constant, [target])
    assert str(portfolio.slices_[0].rule) == "view = AP"
    assert np.isfinite(portfolio.membership(features, [target])).all()
    assert [str(w.message) for w in recwarn] == []


def test_not_fitted():
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        Portfolio().membership(features_of(20), [])


# Spaces


def test_spaces_weigh_modalities_alike():
    """A modality of 60 columns and large numbers has no more variance in the joint space than one of five."""
    features = features_of(500)
    features.embeddings["image"][:] *= 1000
    spaces = Spaces(features, ("image", "report", "metadata"), 16, np.random.RandomState(0))
    X = spaces.transform(features)
    assert list(X) == spaces.names == ["image", "report", "metadata", "image+report+metadata"]
    total = {name: values.var(axis=0, ddof=1).sum() for name, values in X.items()}
    for name, values in X.items():
        assert total[name] / values.shape[1] == pytest.approx(1, abs=0.02)
    joint = X["image+report+metadata"].var(axis=0, ddof=1)
    widths = np.cumsum([X[m].shape[1] for m in ("image", "report", "metadata")])
    shares = [part.sum() for part in np.split(joint, widths)[:3]]
    np.testing.assert_allclose(shares, joint.sum() / 3, rtol=0.02)
    # The components of the image first, then its statistics, as ranks: 17 columns of 16 components and one statistic.
    brightness = features.table["image brightness"]
    expected = (brightness.rank() - 0.5) / 500 - 0.5
    np.testing.assert_allclose(X["image"][:, 16], expected * np.sqrt(12), atol=1e-9)


def test_ties_and_missing_values_are_ranked_in_the_middle():
    features = features_of(500)
    brightness = np.repeat([0.2, np.nan, 0.2, 0.9, 0.2], 100)
    features.table["image brightness"] = brightness
    X = Spaces(features, ("image",), 4, np.random.RandomState(0)).transform(features)["image"][:, -1]
    np.testing.assert_allclose(X[np.isnan(brightness)], 0)
    np.testing.assert_allclose(X[brightness == 0.2], (3 / 8 - 0.5) * np.sqrt(12))
    np.testing.assert_allclose(X[brightness == 0.9], (7 / 8 - 0.5) * np.sqrt(12))
    assert X.mean() == pytest.approx(0)


def test_an_audit_searches_only_the_modalities_asked_for(cohorts):
    frame = cohorts.table(500)
    frame = cohorts.predict(frame, np.where(frame["view"] == "AP", 0.5, 0.08))
    data = cohorts.data_of(frame, metadata=["view", "sex", "age"], report="report")
    result = mma.audit(data, modalities="report", n_refits=0, n_permutations=99)
    assert set(result.candidates["modality"]) == {"report"}
    assert not result.candidates["rule"].str.contains("view").any()
