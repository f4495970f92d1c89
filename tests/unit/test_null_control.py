"""Null control: what is exchanged, what is kept of each run, and that a real failure stands out from chance."""

import warnings

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit._errors import InputError
from mmaudit.null_control import NullControl, exchange_predictions, null_control


def cases(seed=0, n_patients=200, gap=0.6):
    """Two films a patient; positives on AP films are missed."""
    rng = np.random.default_rng(seed)
    n = 2 * n_patients
    who = np.arange(n) // 2
    y = rng.integers(0, 2, n)
    view = rng.choice(["AP", "PA"], n, p=[0.3, 0.7])
    right = rng.random(n) < np.where((view == "AP") & (y == 1), 0.9 - gap, 0.9)
    proba = np.where(right == (y == 1), 0.5 + rng.random(n) / 2, rng.random(n) / 2)
    frame = pd.DataFrame({"y": y, "p": proba, "who": who, "view": view, "age": rng.normal(60, 10, n)})
    return mma.AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", metadata=["view", "age"])


@pytest.fixture(scope="module")
def result():
    return mma.audit(cases(), n_refits=0, n_permutations=499)


@pytest.fixture(scope="module")
def control(result):
    return result.null_control(6)


def test_labels_stay_and_predictions_move_with_whole_patients():
    data = cases()
    other = exchange_predictions(data, np.random.RandomState(0))
    assert (other.y_true == data.y_true).all()
    assert list(other.sample_id) == list(data.sample_id)
    owner = dict(zip(data.y_proba, data.patient_id, strict=True))
    label = dict(zip(data.y_proba, data.y_true, strict=True))
    lenders = pd.Series([owner[p] for p in other.y_proba]).groupby(np.asarray(data.patient_id)).nunique()
    assert (lenders == 1).all()
    assert [label[p] for p in other.y_proba] == data.y_true.tolist()
    moved = np.array([owner[p] for p in other.y_proba]) != data.patient_id
    assert moved.mean() > 0.9


def several_labels(seed=0, n_patients=300):
    """Two films a patient, three labels, a sixth of them unknown: label a is missed on AP films."""
    rng = np.random.default_rng(seed)
    n = 2 * n_patients
    frame = pd.DataFrame({"who": np.arange(n) // 2, "view": rng.choice(["AP", "PA"], n), "age": rng.normal(60, 10, n)})
    for name in "abc":
        y = rng.integers(0, 2, n)
        missed = (frame["view"] == "AP") & (y == 1) & (name == "a")
        right = rng.random(n) < np.where(missed, 0.3, 0.9)
        frame[f"p_{name}"] = np.where(right == (y == 1), 0.5 + rng.random(n) / 2, rng.random(n) / 2)
        frame[name] = np.where(rng.random(n) < 1 / 6, np.nan, y)
    return mma.AuditData.from_frame(
        frame, label=list("abc"), y_proba=["p_a", "p_b", "p_c"], patient_id="who", metadata=["view", "age"]
    )


def several_classes(seed=0, n_patients=300):
    """Two films a patient, three classes: the third is called the first on AP films."""
    rng = np.random.default_rng(seed)
    n = 2 * n_patients
    frame = pd.DataFrame({"who": np.arange(n) // 2, "view": rng.choice(["AP", "PA"], n), "age": rng.normal(60, 10, n)})
    y = rng.integers(0, 3, n)
    wrong = rng.random(n) < np.where((frame["view"] == "AP") & (y == 2), 0.7, 0.1)
    said = np.where(wrong, (y + 1) % 3, y)
    proba = 0.4 * rng.dirichlet([1, 1, 1], n) + 0.6 * np.eye(3)[said]
    frame = frame.assign(y=y, **{f"p{k}": proba[:, k] for k in range(3)})
    return mma.AuditData.from_frame(
        frame, label="y", y_proba=["p0", "p1", "p2"], patient_id="who", metadata=["view", "age"]
    )


def planted_gap(data, k, label=1):
    """Return the error rate on AP films less that on others, of one target within one label."""
    target = data.targets()[k]
    of, ap = target.y_true == label, np.asarray(data.metadata["view"] == "AP")
    return target.error[of & ap].mean() - target.error[of & ~ap].mean()


def test_each_of_several_labels_is_dealt_out_by_itself_to_patients_with_the_same_answers():
    data = several_labels()
    other = exchange_predictions(data, np.random.RandomState(0))
    lenders = []
    for given, dealt, label in zip(data.y_proba.T, other.y_proba.T, data.y_true.T, strict=True):
        place = {p: i for i, p in enumerate(given)}
        lender = np.array([place[p] for p in dealt])
        np.testing.assert_array_equal(label[lender], label)  # the same label, or unknown as well
        lenders.append(data.patient_id[lender])
        assert pd.Series(lenders[-1]).groupby(np.asarray(data.patient_id)).nunique().max() == 1
        assert (lenders[-1] != data.patient_id).mean() > 0.9
    assert (lenders[0] != lenders[1]).mean() > 0.9


@pytest.mark.parametrize(("make", "k"), [(several_labels, 0), (several_classes, 2)])
def test_a_planted_failure_of_one_label_or_class_is_gone_after_the_exchange(make, k):
    """Of the label there are about 125 films of each view, of the class 100: a standard error of 0.06, 0.02 for ten."""
    data, rng = make(), np.random.RandomState(0)
    assert planted_gap(data, k) > 0.45
    dealt = [exchange_predictions(data, rng) for _ in range(10)]
    assert abs(np.mean([planted_gap(d, k) for d in dealt])) < 0.06
    for d in dealt:  # and nobody's error rate has changed
        for before, after in zip(data.targets(), d.targets(), strict=True):
            for label in (0, 1):
                rates = [t.error[t.y_true == label].mean() for t in (before, after)]
                assert rates[0] == pytest.approx(rates[1], abs=0.05)


@pytest.mark.parametrize("make", [several_labels, several_classes])
def test_chance_rarely_has_a_finding_with_several_labels_or_classes(make):
    """Ten runs; two or more findings would have a probability of 0.03 at the 0.025 a run that the level says."""
    audit = mma.audit(make(n_patients=200), n_refits=0, n_permutations=499)
    assert len(audit.findings) >= 1
    control = audit.null_control(10)
    assert (control.frame["n_findings"] > 0).sum() <= 1
    assert control.observed["discovery_gap"].max() > control.frame["discovery_gap"].max()
    assert control.frame["gap"].abs().median() < 0.15


def test_a_real_failure_stands_out_from_chance(result, control):
    assert len(result.findings) >= 1
    frame = control.frame
    assert frame["run"].tolist() == list(range(6))
    assert (frame["discovery_gap"] > 0).all()  # discovery always promises something
    assert frame["gap"].abs().median() < 0.15
    assert control.observed["discovery_gap"][0] > frame["discovery_gap"].max()
    assert control.share_with_finding == (frame["n_findings"] > 0).mean() <= 1 / 3
    assert ((frame["lowest_q"] <= 0.05) | (frame["n_findings"] == 0)).all()


def test_same_seed_same_runs(result, control):
    pd.testing.assert_frame_equal(result.null_control(2).frame, control.frame.iloc[:2])


def test_the_sentence_counts():
    frame = pd.DataFrame(
        {
            "run": [0, 1, 2, 3],
            "n_candidates": [3, 3, 0, 2],
            "n_findings": [0, 1, 0, 0],
            "lowest_q": [0.4, 0.01, np.nan, 0.3],
            "description": ["a", "b", "", "c"],
            "discovery_gap": [-0.1, -0.3, np.nan, -0.2],
            "gap": [0.02, -0.2, np.nan, 0.0],
        }
    )
    observed = pd.DataFrame(
        {
            "slice_id": ["s01"], "description": ["x"], "discovery_gap": [-0.25], "gap": [-0.2], "q_value": [0.01],
            "confirmed": [True],
        }
    )  # fmt: skip
    control = NullControl(frame, observed, "auroc", True)
    assert control.share_with_finding == 0.25
    assert "4 times: the best candidate was 0.20 worse in discovery (median) and 0.00 on held-out" in control.sentence
    assert "1 of 4 runs had a finding." in control.sentence
    assert "0.25 worse in discovery, which chance reached in 1 of 4 runs; 1 confirmed" in control.sentence
    assert control.to_dict()["runs"][2]["gap"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = control.plot()
        assert "4 runs" in ax.get_legend().get_texts()[0].get_text()
        page = control._repr_html_()
    assert page.startswith('<img alt="Predictions exchanged') and "data:image/png;base64," in page
    # 3 runs have a candidate: worse is to the right and up, whichever way the metric goes.
    assert ax.collections[0].get_offsets()[:, 0].tolist() == pytest.approx([0.1, 0.3, 0.2])


def test_no_candidates_at_all():
    empty = {"slice_id": [], "description": [], "discovery_gap": [], "gap": [], "q_value": [], "confirmed": []}
    frame = pd.DataFrame(
        {"run": [0], "n_findings": [0], "lowest_q": [np.nan], "discovery_gap": [np.nan], "gap": [np.nan]}
    )
    control = NullControl(frame, pd.DataFrame(empty))
    assert control.sentence.endswith("0 of 1 runs had a finding.")
    control.plot()


def test_a_loaded_result_needs_the_data(result, control, tmp_path):
    loaded = mma.load_result(result.save(tmp_path / "x.mmaudit.json"))
    with pytest.raises(InputError, match=r"data: expected the audited cases, got a result that holds none"):
        loaded.null_control(2)
    again = loaded.null_control(2, data=cases())
    pd.testing.assert_frame_equal(again.frame, control.frame.iloc[:2])
    with pytest.raises(InputError, match=r"data: expected the audited samples"):
        loaded.null_control(2, data=cases(n_patients=100))


def test_n_is_a_whole_number(result):
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(InputError, match=r"n: expected a whole number from 1 on"):
            result.null_control(wrong)


def test_an_interruption_passes_through(result):
    def interrupted(data, seed):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        null_control(result, interrupted, cases(), 3)
