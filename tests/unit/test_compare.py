"""Compare: a second model in the slices of a first, against the binomial test, by hand, and with what cannot match."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

import mmaudit as mma
from mmaudit._errors import InputError
from mmaudit.compare import compare

RNG = np.random.default_rng(0)
N = 800
TRUTH = RNG.integers(0, 2, N)
VIEW = RNG.choice(["AP", "PA"], N, p=[0.3, 0.7])
SEX = RNG.choice(["F", "M"], N // 2)[np.arange(N) // 2]


def proba(*, wrong):
    return np.where(wrong != (TRUTH == 1), 0.8, 0.2)


BASE = RNG.random(N) < 0.08
FIRST = proba(wrong=BASE | ((VIEW == "AP") & (TRUTH == 1) & (RNG.random(N) < 0.6)))
SECOND = proba(wrong=BASE | ((SEX == "F") & (TRUTH == 0) & (RNG.random(N) < 0.6)))


def cases(p=FIRST, **changes):
    frame = pd.DataFrame({"y": TRUTH, "p": p, "who": np.arange(N) // 2, "view": VIEW, "sex": SEX}) if not changes else (
        pd.DataFrame({"y": TRUTH, "p": p, "who": np.arange(N) // 2, "view": VIEW, "sex": SEX} | changes)
    )  # fmt: skip
    return mma.AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", metadata=["view", "sex"])


@pytest.fixture(scope="module")
def result():
    return mma.audit(cases(), n_refits=0, n_permutations=499)


@pytest.fixture(scope="module")
def second():
    return mma.audit(cases(SECOND), n_refits=0, n_permutations=499, random_state=1)


def test_a_mended_slice_is_better_and_the_numbers_are_those_of_the_members(result):
    comparison = result.compare(SECOND)
    first = comparison.frame.iloc[0]
    assert result.candidates["label"][0] == "1"
    inside = ((result.samples["part"] == "confirmation") & (result.membership["s01"] >= 0.5)).to_numpy()
    inside = inside & (TRUTH == 1)
    wrong = [((p >= 0.5) != (TRUTH == 1))[inside].mean() for p in (FIRST, SECOND)]
    assert (first["metric_before"], first["metric_after"]) == pytest.approx(tuple(wrong))
    assert first["change"] == pytest.approx(wrong[1] - wrong[0])
    assert first["ci_low"] < first["change"] < first["ci_high"] < 0
    assert first["verdict"] == "better"
    assert (first["n_samples"], first["n_patients"]) == (inside.sum(), len(np.unique(np.flatnonzero(inside) // 2)))
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    assert comparison.overall["error_rate_after"] == pytest.approx(((SECOND >= 0.5) != (TRUTH == 1))[held_out].mean())
    assert comparison.sentences[1].startswith("s01 (")
    assert "is better: error rate" in comparison.sentences[1]


def test_data_array_and_audit_give_the_same_frame(result, second):
    as_array = result.compare(SECOND).frame
    pd.testing.assert_frame_equal(result.compare(cases(SECOND)).frame, as_array)
    pd.testing.assert_frame_equal(result.compare(second).frame, as_array)
    shuffled = np.random.default_rng(1).permutation(N)
    pd.testing.assert_frame_equal(result.compare(cases(SECOND).subset(shuffled)).frame, as_array)


def test_one_film_a_patient_is_the_exact_test_of_mcnemar():
    """Exchanging the models in whole patients: of the discordant ones, how many changed for the worse is binomial."""
    data = cases(who=np.arange(N))
    result = mma.audit(data, n_refits=0, n_permutations=199)
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    rng = np.random.default_rng(3)
    other = np.where(rng.random(N) < 0.05, 1 - FIRST, FIRST)
    comparison = compare(result, other, n_permutations=4999, n_bootstraps=99)
    for row in comparison.frame.itertuples():
        label = result.candidates.set_index("slice_id")["label"][row.slice_id]
        inside = held_out & (result.membership[row.slice_id].to_numpy() >= 0.5)
        inside &= (int(label) == TRUTH) if label else True
        wrong = [(p >= 0.5) != (TRUTH == 1) for p in (FIRST, other)]
        worse, better = ((wrong[1] & ~wrong[0])[inside].sum(), (wrong[0] & ~wrong[1])[inside].sum())
        expected = binomtest(worse, worse + better).pvalue if worse + better else 1.0
        assert row.p_value == pytest.approx(expected, abs=0.03)


def test_the_same_model_changes_nothing(result):
    comparison = result.compare(FIRST)
    tested = comparison.frame[comparison.frame["change"].notna()]
    assert (tested["change"] == 0).all()
    assert (tested["p_value"] == 1).all()
    assert set(comparison.frame["verdict"]) <= {"no clear change", "not tested"}
    # n patients of whom none changed: where this share does, 2.5 % of samples show none.
    np.testing.assert_allclose((1 - tested["ci_high"]) ** tested["n_patients"], 0.025)
    np.testing.assert_allclose(tested["ci_low"], -tested["ci_high"])


def test_how_far_an_unknown_metric_might_have_changed_is_not_told(result):
    frame = compare(result, FIRST, metric=lambda y, p, m: p[m].mean(), n_permutations=9, n_bootstraps=9).frame
    assert (frame["change"].dropna() == 0).all()
    assert frame["ci_low"].isna().all()


def test_only_samples_that_both_have_count(result):
    kept = np.arange(N) % 3 > 0
    frame = result.compare(cases(SECOND).subset(kept)).frame
    inside = ((result.samples["part"] == "confirmation") & (result.membership["s01"] >= 0.5)).to_numpy()
    assert frame["n_samples"][0] == (inside & kept & (TRUTH == 1)).sum()


def test_what_is_new_is_tested_where_neither_discovery_looked(result, second):
    result = mma.audit(cases(), n_slices=1, n_refits=0, n_permutations=499)  # the AP films alone
    new = result.compare(second).new
    assert len(new)
    assert (new["jaccard"] < 0.5).all()
    row = new.iloc[0]
    unseen = (result.samples["part"] == "confirmation") & (second.samples["part"] == "confirmation")
    inside = (unseen & (second.membership[row["slice_id"]] >= 0.5)).to_numpy()
    label = second.candidates.set_index("slice_id")["label"][row["slice_id"]]
    inside = inside & ((int(label) == TRUTH) if label else True)
    assert row["n_samples"] == inside.sum()
    assert row["metric_inside"] == pytest.approx(((SECOND >= 0.5) != (TRUTH == 1))[inside].mean())
    assert row["metric_before"] == pytest.approx(((FIRST >= 0.5) != (TRUTH == 1))[inside].mean())
    assert row["confirmed"]
    assert result.compare(result).new.empty


def test_loaded_audits_compare_as_the_audits_do(result, second, tmp_path):
    one = mma.load_result(result.save(tmp_path / "one.mmaudit.json"))
    two = mma.load_result(second.save(tmp_path / "two.mmaudit.json"))
    expected = result.compare(second)
    found = one.compare(two, data=cases())
    pd.testing.assert_frame_equal(found.frame, expected.frame)
    pd.testing.assert_frame_equal(found.new, expected.new)
    with pytest.raises(InputError, match=r"data: expected the audited cases, got a result that holds none"):
        one.compare(two)


def test_other_metrics_and_their_direction(result):
    frame = compare(result, SECOND, metric="sensitivity", n_permutations=199, n_bootstraps=199).frame
    assert frame["change"][0] > 0.2
    assert frame["verdict"][0] == "better"


def test_pictures_and_text(result, second):
    comparison = result.compare(second)
    ax = comparison.plot()
    assert ax.get_yticklabels()[0].get_text().startswith("s01")
    assert "second model, better" in [text.get_text() for text in ax.get_legend().get_texts()]
    page = comparison._repr_html_()
    assert page.startswith('<img alt="Of ') and "<script" not in page
    assert comparison.to_dict()["slices"][0]["verdict"] == "better"
    assert comparison.sentence.startswith("Of ")


def test_metrics_of_the_result(result):
    frame = result.metrics(["error_rate", "auroc"], n_permutations=99, n_bootstraps=99)
    rates = frame[frame["metric"] == "error_rate"].reset_index(drop=True)
    np.testing.assert_allclose(rates["inside"], result.candidates["metric_inside"])
    np.testing.assert_allclose(rates["ci_low"], result.candidates["ci_low"])
    within = result.candidates.set_index("slice_id")["label"].loc[frame["slice_id"]].to_numpy() != ""
    auroc = (frame["metric"] == "auroc").to_numpy()
    assert frame.loc[auroc & within, "inside"].isna().all()
    assert frame.loc[auroc & within, "note"].str.startswith("needs cases of both labels").all()


def test_what_cannot_be_compared_is_refused(result):
    with pytest.raises(InputError, match=r"other: expected the same labels of the same samples"):
        result.compare(cases(SECOND, y=1 - TRUTH))
    renamed = mma.AuditData.from_frame(
        pd.DataFrame({"z": TRUTH, "p": SECOND, "who": np.arange(N) // 2}), label="z", y_proba="p", patient_id="who"
    )
    with pytest.raises(InputError, match=r"other: expected the same label \(y\), got z"):
        result.compare(renamed)
    elsewhere = cases(SECOND).subset(np.arange(N))
    elsewhere.sample_id = pd.Index([f"x{k}" for k in range(N)])
    with pytest.raises(InputError, match=r"other: expected some of the audited samples, got none"):
        result.compare(elsewhere)
    seen = (result.samples["part"] == "discovery").to_numpy()
    with pytest.raises(InputError, match=r"other: expected some of the audit's confirmation samples, got none"):
        result.compare(cases(SECOND).subset(seen))
    with pytest.raises(InputError, match=r"other: expected an audit at the threshold 0.5, got one at 0.6"):
        result.compare(mma.audit(cases(SECOND), n_refits=0, n_permutations=99, threshold=0.6))
    with pytest.raises(InputError, match=r"y_proba: expected 800 values"):
        result.compare(SECOND[:10])
    with pytest.raises(TypeError, match=r"other: expected AuditData, an array.*got str"):
        result.compare("model")
