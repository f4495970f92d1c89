"""Whose error is it? Wrong labels against wrong classifiers, on data where that is known."""

import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from cleanlab.filter import find_label_issues
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import beta as beta_distribution
from scipy.stats import norm
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

import mmaudit as mma
from mmaudit.data import Target
from mmaudit.explain import _triage
from mmaudit.explain._triage import UNHEARD, label_noise, review_queue, triage, triage_each, triage_shares
from mmaudit.text import report_terms
from tests.unit._unread import Unread

ADMITS = ("Small left pleural effusion.", "Moderate right effusion.", "There is a pleural effusion at the base.")
DENIES = ("No pleural effusion.", "The lungs are clear without effusion.", "No effusion or pneumothorax is seen.")
FAILING = "Chest tube in place. "


def made_up(n=600, *, seed=0, rate=0.1, per_patient=1, witness=0.99, failing=0.0, dimensions=0, **roles):
    """Return data with flipped labels, the mask of these, and the mask of a slice the classifier is sure to fail on."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.random(n // per_patient) < 0.4, per_patient).astype(int)
    fails = (rng.random(n) < failing) & (truth == 0)
    z = rng.normal(1.8 * (np.where(fails, 1, truth) - 0.5), 1) + fails
    right = rng.random(n) < witness
    says = np.where(right, truth, 1 - truth)
    texts = [rng.choice(ADMITS if said else DENIES) for said in says]
    flipped = rng.random(n) < rate
    frame = pd.DataFrame(
        {
            "y": np.where(flipped, 1 - truth, truth),
            "p": expit(1.8 * z),
            "who": [f"p{k // per_patient}" for k in range(n)],
            "report": [FAILING * int(f) + text for f, text in zip(fails, texts, strict=True)],
        },
        index=[f"s{k}" for k in range(n)],
    )
    if dimensions:
        x = rng.normal(size=(n, dimensions))
        x[:, 0] += 3 * truth
        roles["embeddings"] = {"image": x}
    roles = {"report": "report", "label_name": "Pleural Effusion", **roles}
    data = mma.AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", **roles)
    return data, flipped, fails


def judged(data, **keywords):
    return triage(data, data.targets()[0], **keywords)


# What the report says

SENTENCES = [
    ("Small left pleural effusion.", "affirmed"),
    ("No pleural effusion or pneumothorax.", "negated"),
    ("No left effusion. Moderate right effusion.", "affirmed"),
    ("Lungs are clear. Heart is normal.", "not mentioned"),
    ("Blunted angle, possibly a small effusion.", "uncertain"),
    ("Small pericardial effusion.", "not mentioned"),
    ("There is fluid in the pleural space.", "affirmed"),
    ("INDICATION: Effusion?\nFINDINGS: The lungs are clear.", "not mentioned"),
    ("FINDINGS: There is a pleural effusion.\nIMPRESSION: No effusion.", "negated"),
    ("FINDINGS: There is a pleural effusion.\nIMPRESSION: Cardiomegaly.", "affirmed"),
    ("FINDINGS: No effusion.\nIMPRESSION: No acute disease.", "negated"),
    ("INDICATION: Known effusion.\nCOMPARISON: Effusion seen before.\nIMPRESSION: Clear lungs.", "not mentioned"),
    ("", ""),
    ("  ", ""),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_what_a_report_says_of_the_label(text, expected):
    frame = pd.DataFrame({"y": [0, 1], "p": [0.1, 0.9], "r": [text, "Effusion."], "w": ["a", "b"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = mma.AuditData.from_frame(
            frame, label="y", y_proba="p", report="r", patient_id="w", label_name="Pleural Effusion"
        )
    assert judged(data)["report_says"].tolist() == [expected, "affirmed"]


def test_words_of_the_user_are_heard_and_the_size_of_the_heart_asserts_nothing():
    texts = ["Heart size is normal.", "Heart size is enlarged: bovine heart.", "Cardiomegaly.", "No cardiomegaly."]
    frame = pd.DataFrame({"y": [0, 1, 1, 0], "p": 0.5, "r": texts, "w": list("abcd")})
    data = mma.AuditData.from_frame(
        frame, label="y", y_proba="p", report="r", patient_id="w", label_name="Cardiomegaly", label_terms=["bovine"]
    )
    assert judged(data)["report_says"].tolist() == ["not mentioned", "affirmed", "affirmed", "negated"]


# Verdicts


def test_flipped_labels_are_found_and_come_first():
    data, flipped, _ = made_up()
    frame = judged(data)
    wrong = frame["wrong"].to_numpy()
    assert (frame["verdict"][flipped & wrong] == "label_error").mean() > 0.8
    assert (frame["verdict"][~flipped & wrong] == "label_error").mean() < 0.1
    assert label_noise(frame, flipped)["label_noise"]
    assert not label_noise(frame, ~flipped)["label_noise"]
    # About six reports of 600 are wrong themselves, and nobody can tell those from a wrong label.
    first = data.sample_id.get_indexer(review_queue(frame, most=40).index)
    assert flipped[first].mean() >= 0.8


def test_a_classifier_that_fails_with_confidence_is_not_called_wrong_labels():
    data, _, fails = made_up(1200, rate=0, failing=0.3, witness=0.98)
    frame = judged(data)
    shares = triage_shares(frame, fails)
    assert shares["n"] > 100
    assert shares["label_error"] < 0.05
    assert shares["model_error"] > 0.8
    assert not label_noise(frame, fails)["label_noise"]
    # The classifier alone cannot know.
    assert (frame["cleanlab_issue"] & fails).sum() > 0.5 * fails.sum()


def test_without_witnesses_no_label_is_called_wrong():
    data, flipped, _ = made_up(report=None)
    frame = judged(data)
    assert set(frame["verdict"]) == {"", "model_error", "ambiguous"}
    assert frame["second_opinion"].isna().all()
    assert (frame["report_says"] == "").all()
    assert frame.attrs["weights"]["witnesses"] == 0
    assert roc_auc_score(flipped, frame["score"]) > 0.8


def test_embeddings_bear_witness_where_there_are_no_reports():
    data, flipped, _ = made_up(1000, report=None, dimensions=20)
    frame = judged(data)
    assert frame.attrs["second_opinion"] == "the image embeddings"
    assert (frame["verdict"][flipped & frame["wrong"]] == "label_error").mean() > 0.7
    other = judged(data, embeddings={"image": np.random.default_rng(1).normal(size=(1000, 20))})
    assert other.attrs["weights"]["witnesses"] < 0.1 * frame.attrs["weights"]["witnesses"]


def test_a_doubtful_label_that_the_classifier_agrees_with_is_in_the_queue():
    data, *_ = made_up()
    proba = data.y_proba.copy()
    row = np.flatnonzero((data.y_true == 1) & (judged(data)["report_says"] == "negated") & (data.y_proba < 0.5))[0]
    proba[row] = 0.51
    frame = judged(data.with_predictions(proba))
    assert not frame["wrong"].iloc[row]
    assert frame["verdict"].iloc[row] == "label_error"
    assert data.sample_id[row] in review_queue(frame, most=len(frame)).index


def test_because_names_the_evidence():
    data, flipped, _ = made_up()
    frame = judged(data)
    row = frame[flipped & (frame["verdict"] == "label_error") & (frame["label"] == 1)].iloc[0]
    said = f"the classifier says {100 * row['y_proba']:.0f} %"
    assert row["because"] == f"recorded as present: the report denies it, and {said}"
    assert (frame["because"] != "").equals(frame["verdict"] != "")


@pytest.mark.parametrize(("proba", "words"), [(0.001, "under 1 %"), (0.034, "3 %"), (0.999, "over 99 %")])
def test_percent(proba, words):
    assert _triage._percent(proba) == words


# Leakage


def test_a_report_that_the_label_was_read_from_is_not_heard():
    data, *_ = made_up(1000, dimensions=20)
    frame = judged(data, labels_from_reports=True)
    assert frame.attrs["leakage"] == UNHEARD
    assert frame.attrs["second_opinion"] == "the image embeddings"
    assert not frame["because"].str.contains("report").any()
    assert (frame["report_says"] == "affirmed").any()  # shown, not heard
    without = made_up(1000, dimensions=20, report=None)[0]
    assert np.allclose(frame["score"], judged(without)["score"])


def test_embeddings_of_reports_leak_too():
    data, *_ = made_up(report=None)
    x = np.random.default_rng(0).normal(size=(len(data), 3))
    frame = judged(data, embeddings={"report": x}, labels_from_reports=True)
    assert frame["second_opinion"].isna().all()
    assert frame.attrs["leakage"] == UNHEARD
    assert judged(data, embeddings={"report": x}).attrs["leakage"] == ""


@pytest.mark.parametrize(
    ("limits", "leaks"),
    [
        ("Labels come from reports; automatic terms take up uncertain mentions.", True),
        ("Labels come from reports by a program; blank means not mentioned, not absent.", True),
        ("Labels of most of these data sets were read from reports by programs.", True),
        ("the finding as drawn in the study's images; reports mostly agree with it", False),
        ("Labels were made by three readers. Reports come from two hospitals.", False),
    ],
)
def test_the_data_card_tells_of_leakage(limits, leaks):
    data, *_ = made_up(60, card={"known limits": limits})
    assert bool(judged(data).attrs["leakage"]) == leaks
    assert judged(data, labels_from_reports=False).attrs["leakage"] == ""


def test_data_without_reports_have_no_leakage():
    data, *_ = made_up(60, report=None, card={"known limits": "Labels come from reports."})
    assert judged(data).attrs["leakage"] == ""


# Second opinion


def test_folds_share_no_patient_and_share_out_the_label():
    rng = np.random.RandomState(0)
    patient = rng.randint(0, 200, 900)
    patient = np.unique(patient, return_inverse=True)[1]
    y = (rng.rand(900) < 0.02).astype(int)
    fold = _triage._folds(patient, y, rng)
    assert all(len(np.unique(fold[patient == p])) == 1 for p in range(patient.max() + 1))
    of_fold = [len(np.unique(patient[(fold == k) & (y == 1)])) for k in range(5)]
    assert max(of_fold) - min(of_fold) <= 1


def test_the_second_opinion_knows_nothing_that_is_only_true_of_the_patient():
    rng = np.random.default_rng(0)
    data, *_ = made_up(600, per_patient=4, report=None, rate=0)
    own = rng.normal(size=(150, 40))[np.repeat(np.arange(150), 4)]  # tells the patient, and nothing of the label
    frame = judged(data, embeddings={"image": own})
    assert abs(roc_auc_score(frame["label"], frame["second_opinion"]) - 0.5) < 0.1


def test_the_terms_of_reports_are_those_of_scikit_learn():
    data, *_ = made_up(300)
    patient = np.arange(300)
    terms = _triage._hear(data, ["Pleural Effusion"], True, patient, 0).terms
    for learned in (patient, np.arange(0, 300, 2)):
        x, look = _triage._of_terms(terms, learned)
        texts = [" ".join(_triage._heard_sections(text)) for text in data.reports]
        vectorizer = TfidfVectorizer(analyzer=report_terms, min_df=3, max_features=_triage.MOST_TERMS)
        expected = vectorizer.fit_transform([texts[k] for k in learned])
        assert x.shape == expected.shape
        assert abs(x - expected).max() < 1e-12
        assert abs(look(patient) - vectorizer.transform(texts)).max() < 1e-12


@pytest.mark.parametrize("most", [10**6, 200])
@pytest.mark.parametrize("n_rows", [7, 1000])
def test_the_triage_is_the_same_whatever_the_blocks_and_the_engine(monkeypatch, most, n_rows):
    monkeypatch.setattr(_triage, "MOST_LEARNED", most)
    data, *_ = made_up(400, per_patient=2)
    whole = judged(data)
    data.reports = Unread(data.reports, n_rows)
    pd.testing.assert_frame_equal(judged(data), whole)
    with joblib.parallel_config("threading", n_jobs=2):
        pd.testing.assert_frame_equal(judged(data), whole)


def test_a_second_opinion_learned_from_some_patients_is_given_of_all(monkeypatch):
    data, flipped, _ = made_up(2000, per_patient=2, dimensions=5)
    bare, *_ = made_up(2000, per_patient=2, dimensions=5, report=None)
    before = [judged(data), judged(bare)]
    monkeypatch.setattr(_triage, "MOST_LEARNED", 800)
    after = [judged(data), judged(bare)]
    for whole, some in zip(before, after, strict=True):
        assert some.attrs["second_opinion"] == whole.attrs["second_opinion"] != ""
        assert some["second_opinion"].between(0, 1).all()
        assert not some["second_opinion"].equals(whole["second_opinion"])
        assert (some["report_says"] == whole["report_says"]).all()
        found = [(f["verdict"] == "label_error").to_numpy() for f in (whole, some)]
        assert (found[0] == found[1]).mean() > 0.95
        aurocs = [roc_auc_score(flipped, f["score"]) for f in (whole, some)]
        assert aurocs[1] > aurocs[0] - 0.03
    pd.testing.assert_frame_equal(judged(data), after[0])


def test_patients_are_drawn_whole_and_each_as_often():
    rng = np.random.RandomState(0)
    patient = np.repeat(np.arange(100), rng.randint(1, 9, 100))
    times = np.zeros(100)
    for _ in range(400):
        drawn = _triage.draw_patients(patient, len(patient) // 4, rng)
        n_drawn = np.bincount(patient, weights=drawn, minlength=100)
        assert set(n_drawn / np.bincount(patient)) == {0.0, 1.0}
        assert np.count_nonzero(n_drawn) == 25
        times += n_drawn > 0
    assert np.abs(times - 100).max() < 4.5 * np.sqrt(400 * 0.25 * 0.75)
    assert _triage.draw_patients(patient, len(patient), rng).all()


def test_too_few_patients_of_a_label_give_no_second_opinion():
    data, *_ = made_up(200)
    few = data.with_labels((np.arange(200) < 9).astype(int))
    assert judged(few)["second_opinion"].isna().all()
    enough = data.with_labels((np.arange(200) < 10).astype(int))
    assert judged(enough)["second_opinion"].notna().all()


# The model that weighs them


def contaminated(n, seed=0, flips=(0.05, 0.2)):
    """Return two witnesses that know nothing of each other but the truth, and wrong labels."""
    rng = np.random.default_rng(seed)
    weights = np.array([2.0, 3.0])
    truth = rng.random(n) < 0.4
    x = rng.normal(weights * (truth[:, None] - 0.5), 1)  # so that the log-odds of the truth have these weights
    wrong = rng.random(n) < np.where(truth, flips[1], flips[0])
    return x, (truth ^ wrong).astype(int), wrong, weights


def test_the_shares_of_wrong_labels_are_estimated_and_scores_are_calibrated():
    x, y, wrong, weights = contaminated(40_000)
    model = _triage._fit_contaminated(x, y)
    assert np.allclose(model.flips, (0.05, 0.2), atol=0.015)
    assert np.allclose(model.weights, weights, atol=0.15)
    for low, high in ((0, 0.05), (0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1)):
        rows = (model.wrong_label >= low) & (model.wrong_label < high)
        assert rows.sum() > 100
        mean = model.wrong_label[rows].mean()
        assert abs(mean - wrong[rows].mean()) < 4 * np.sqrt(mean * (1 - mean) / rows.sum())


def test_the_fit_is_the_maximum_that_another_optimiser_finds():
    x, y, _, _ = contaminated(1500, seed=3)
    design = np.column_stack([np.ones(len(y)), x])

    def minus_log_posterior(theta, design, centre, penalty):
        """Without a hidden variable; priors are Beta for flips and normal for weights."""
        p, flips = expit(design @ theta[:-2]), expit(theta[-2:])
        is_1 = (1 - flips[1]) * p + flips[0] * (1 - p)
        likelihood = np.log(np.where(y == 1, is_1, 1 - is_1)).sum()
        a, b = 1 + _triage.PRIOR_WRONG, 1 + _triage.PRIOR_IN_ALL - _triage.PRIOR_WRONG
        normal = norm.logpdf(theta[1:-2], centre, 1 / np.sqrt(penalty)).sum()
        return -likelihood - beta_distribution.logpdf(flips, a, b).sum() - normal

    def best(columns, centre, penalty):
        start = [0] + [2] * columns + [logit(0.1)] * 2
        given = (design[:, : 1 + columns], np.array(centre), np.array(penalty))
        return minimize(minus_log_posterior, start, given, method="BFGS", options={"gtol": 1e-4}).x

    alone = best(1, [0], [_triage.PENALTY])[1]
    theta = best(2, [alone, 0], [_triage.CLASSIFIER_PENALTY, _triage.PENALTY])
    model = _triage._fit_contaminated(x, y)
    assert np.allclose(model.weights, theta[1:3], atol=0.01)
    assert np.allclose(model.flips, expit(theta[3:]), atol=0.002)
    # The posterior by Bayes' rule, at these numbers.
    p, (f0, f1) = expit(design @ theta[:3]), expit(theta[3:])
    bayes = np.where(y == 1, f0 * (1 - p) / (f0 * (1 - p) + (1 - f1) * p), f1 * p / (f1 * p + (1 - f0) * (1 - p)))
    assert np.allclose(model.wrong_label, bayes, atol=0.01)


def test_what_no_witness_can_tell_moves_nothing():
    x = np.zeros((100, 1))
    y = np.r_[np.zeros(60, dtype=int), np.ones(40, dtype=int)]
    model = _triage._fit_contaminated(x, y)
    assert np.allclose(model.favours([x])[0], 0)
    assert np.isfinite(model.wrong_label).all()


def test_a_perfect_witness_has_a_finite_weight():
    y = np.tile([0, 1], 200)
    model = _triage._fit_contaminated(y[:, None].astype(float), y)
    assert 2 < model.weights[0] < 20
    assert model.wrong_label.max() < 0.1


# Confident learning


def test_cleanlab_flags_what_it_flags_on_the_known_labels():
    data, *_ = made_up(300)
    y = np.array(data.y_true)
    y[::7] = -1
    target = Target("effusion", y, data.y_proba, data.y_proba >= 0.5)
    frame = triage(data, target)
    known = y >= 0
    proba = np.column_stack([1 - data.y_proba, data.y_proba])[known]
    issues = find_label_issues(y[known].astype(int), proba, n_jobs=1)
    assert issues.sum() > 5
    assert (frame["cleanlab_issue"][known] == issues).all()
    assert not frame["cleanlab_issue"][~known].any()


def test_confident_learning_by_hand():
    # Thresholds are the mean probability of a label among those recorded so: 0.7 for 1, 0.7 for 0. One sample recorded
    # as 0 passes that of 1 (0.9), and one recorded as 1 passes that of 0 (0.9): these two are flagged.
    y = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    p = np.array([0.1, 0.1, 0.1, 0.3, 0.9, 0.9, 0.9, 0.9, 0.7, 0.1])
    assert np.isclose(p[y == 1].mean(), 0.7)
    flagged = _triage._confident_learning(Target("x", y.astype(np.int8), p, p >= 0.5))
    assert flagged.tolist() == [False] * 4 + [True] + [False] * 4 + [True]


def test_cleanlab_is_loaded_when_it_is_needed():
    code = "import sys, mmaudit.explain; print('cleanlab' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_no_warning_of_cleanlab_comes_through():
    data, *_ = made_up(60, rate=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judged(data.with_predictions(np.full(60, 0.3)))


# Unknown truth, several labels, classes


def test_samples_of_unknown_truth_take_no_part():
    data, *_ = made_up(300)
    y = np.array(data.y_true)
    y[::5] = -1
    frame = triage(data, Target("Pleural Effusion", y, data.y_proba, data.y_proba >= 0.5))
    assert frame.index.equals(data.sample_id)
    unknown = frame[y == -1]
    assert (unknown["verdict"] == "").all() and (unknown["because"] == "").all()
    assert unknown["score"].isna().all() and unknown["second_opinion"].isna().all()
    assert not unknown["wrong"].any()
    alone = data.subset(y >= 0)
    pd.testing.assert_frame_equal(frame[y >= 0], judged(alone))


def test_each_of_several_labels_is_judged_by_its_own_words():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (200, 2)).astype(float)
    texts = [f"{'' if a else 'No '}effusion. {'' if b else 'No '}pneumothorax." for a, b in y]
    y[0, 1] = np.nan
    p = np.clip(np.nan_to_num(y, nan=0.5) * 0.6 + rng.random((200, 2)) * 0.4, 0, 1)
    frame = pd.DataFrame({"a": y[:, 0], "b": y[:, 1], "p": p[:, 0], "q": p[:, 1], "r": texts, "w": range(200)})
    data = mma.AuditData.from_frame(
        frame,
        label=["a", "b"],
        y_proba=["p", "q"],
        report="r",
        patient_id="w",
        label_name=["Pleural Effusion", "Pneumothorax"],
    )
    together = triage_each(data, data.targets())
    for j, target in enumerate(data.targets()):
        alone = triage(data, target)
        pd.testing.assert_frame_equal(together[j], alone)
        said = alone["report_says"].to_numpy()
        known = target.y_true >= 0
        assert (said[known] == np.where(y[known, j] == 1, "affirmed", "negated")).all()
        assert (said[~known] == "").all()


def test_classes_are_judged_one_by_one():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 300)
    p = rng.dirichlet(np.ones(3), 300) * 0.5 + 0.5 * np.eye(3)[classes]
    frame = pd.DataFrame({"y": classes, "w": range(300)} | {f"p{c}": p[:, c] for c in range(3)})
    data = mma.AuditData.from_frame(frame, label="y", y_proba=["p0", "p1", "p2"], patient_id="w")
    for target in data.targets():
        judgement = triage(data, target)
        assert (judgement["wrong"] == target.error).all()
        assert judgement.attrs["target"] == target.name


# The queue, shares and slices


def table(verdicts, scores=None, patients=None, wrong=True):
    n = len(verdicts)
    frame = pd.DataFrame(
        {
            "patient_id": patients or [f"p{k}" for k in range(n)],
            "label": [k % 2 for k in range(n)],
            "y_proba": 0.5,
            "wrong": wrong,
            "verdict": verdicts,
            "score": scores or np.linspace(0.9, 0.1, n),
            "report_says": "",
            "second_opinion": np.nan,
            "cleanlab_issue": False,
            "because": "",
        },
        index=[f"s{k}" for k in range(n)],
    )
    frame.attrs["target"] = "Edema"
    return frame


def test_the_queue_is_ordered_by_score_and_has_one_sample_a_patient():
    frame = table(
        ["model_error", "label_error", "", "ambiguous", "label_error"],
        [0.1, 0.8, 0.99, 0.6, 0.9],
        ["a", "b", "c", "d", "b"],
    )
    queue = review_queue(frame)
    assert queue.index.tolist() == ["s4", "s3", "s0"]
    assert queue["question"].tolist()[:2] == [
        "Is Edema there? Recorded as absent.",
        "Is Edema there? Recorded as present.",
    ]
    assert review_queue(frame, one_per_patient=False).index.tolist() == ["s4", "s1", "s3", "s0"]
    assert review_queue(frame, most=1).index.tolist() == ["s4"]
    assert "patient_id" not in queue


def test_shares_are_of_the_wrong_members():
    frame = table(["label_error", "label_error", "model_error", "ambiguous", "label_error"])
    frame.loc["s4", "wrong"] = False
    members = np.array([True, False, True, True, True])
    shares = triage_shares(frame, members)
    assert shares == {"n": 3, "label_error": 1 / 3, "model_error": 1 / 3, "ambiguous": 1 / 3}
    nobody = {"n": 0, "label_error": None, "model_error": None, "ambiguous": None}
    assert triage_shares(frame, np.zeros(5, dtype=bool)) == nobody


def test_label_noise_by_hand():
    # 8 of 10 patients: Wilson's interval is (0.490, 0.943), as in tables.
    frame = table(["label_error"] * 8 + ["model_error"] * 2)
    found = label_noise(frame, np.ones(10, dtype=bool))
    assert found["n_patients"] == 10 and found["label_noise"]
    assert found["share"] == 0.8
    assert round(found["low"], 3) == 0.490 and round(found["high"], 3) == 0.943


def test_label_noise_counts_patients_not_samples():
    # One patient with twenty films of a wrong label is one patient.
    verdicts = ["label_error"] * 20 + ["model_error"] * 3
    frame = table(verdicts, patients=["a"] * 20 + ["b", "c", "d"])
    found = label_noise(frame, np.ones(23, dtype=bool))
    assert found["n_patients"] == 4 and found["share"] == 0.25 and not found["label_noise"]
    assert label_noise(frame, np.zeros(23, dtype=bool)) == {
        **{"n_patients": 0, "share": None, "low": None, "high": None},
        "label_noise": False,
    }


def test_two_patients_are_too_few_to_speak_of_label_noise():
    assert not label_noise(table(["label_error"]), np.ones(1, dtype=bool))["label_noise"]


# The rest


def test_same_seed_same_table_and_it_can_be_pickled():
    data, *_ = made_up(300)
    one, other = judged(data, random_state=3), judged(data, random_state=3)
    pd.testing.assert_frame_equal(one, other)
    again = pickle.loads(pickle.dumps(one))
    pd.testing.assert_frame_equal(one, again)
    assert again.attrs == one.attrs


def test_better_witnesses_weigh_more():
    weights = [judged(made_up(1000, witness=w)[0]).attrs["weights"]["witnesses"] for w in (0.5, 0.8, 0.98)]
    assert weights[0] < weights[1] < weights[2]
    assert weights[0] < 0.5


def test_wrong_labels_of_one_kind_are_told_apart():
    data, *_ = made_up(2000, rate=0)
    rng = np.random.default_rng(1)
    missed = (data.y_true == 1) & (rng.random(2000) < 0.2)
    noise = judged(data.with_labels(np.where(missed, 0, data.y_true))).attrs["noise"]
    assert noise["truly 1"] == pytest.approx(0.2, abs=0.05)
    assert noise["truly 0"] < 0.05


def test_errors_say_what_to_do():
    data, *_ = made_up(60)
    target = data.targets()[0]
    with pytest.raises(mma.InputError, match=r"target: expected 60 samples, those of data, got 59\. See data\.targets"):
        triage(data, target.take(np.arange(59)))
    with pytest.raises(mma.InputError, match=r"target: expected cases with and without the label, got one kind only\."):
        triage(data, Target("x", np.zeros(60, dtype=np.int8), data.y_proba, data.y_proba >= 0.5))
    with pytest.raises(
        mma.InputError, match=r"embeddings\['image'\]: expected shape \(60, n_dimensions\), got \(3, 2\)\."
    ):
        triage(data, target, embeddings={"image": np.zeros((3, 2))})
    with pytest.raises(mma.InputError, match=r"frame: expected a table that triage\(\) gave, got another object\."):
        review_queue(pd.DataFrame({"verdict": []}))
    frame = judged(data)
    with pytest.raises(mma.InputError, match=r"most: expected a whole number from 1 on, got 0\. Use 50\."):
        review_queue(frame, most=0)
    with pytest.raises(
        mma.InputError, match=r"members: expected a mask of shape \(60,\), got int64 of shape \(60,\)\."
    ):
        triage_shares(frame, np.ones(60, dtype=int))
    with pytest.raises(mma.InputError, match=r"members: expected a mask of shape \(60,\), got bool of shape \(3,\)\."):
        label_noise(frame, np.ones(3, dtype=bool))


@pytest.mark.parametrize(
    ("card", "from_reports"),
    [
        ("Labels come from reports.", True),
        ("Labels derived from radiology reports with CheXpert.", True),
        ("Report-derived labels", True),
        ("Labels were not taken from the reports; two radiologists read the films.", False),
        ("Labels were read by radiologists who had no access to the reports", False),
        ("the finding as drawn in the study's images; reports mostly agree with it", False),
    ],
)
def test_where_labels_were_made_from_reports(card, from_reports):
    data, _, _ = made_up(n=40, card={"label": card})
    assert _triage.made_from_reports(data) == from_reports


def says(data, name):
    heard = _triage._hear(data, [name], False, np.arange(data.n_samples), 0)
    return {_triage.SAID[k] for k in heard.said[:, 0]}


def test_a_label_that_nothing_says_plainly_is_not_heard():
    """ "No finding" is said by denying others; a name without words, and words shared by labels, say nothing."""
    texts = ["No finding.", "Findings suggest pneumonia."] * 20
    frame = pd.DataFrame({"y": [1, 0] * 20, "z": [0, 1] * 20, "report": texts, "who": range(40)})
    for name in ("No Finding", "y"):
        data = mma.AuditData.from_frame(frame, label="y", patient_id="who", report="report", label_name=name)
        assert says(data, name) == {""}
    two = mma.AuditData.from_frame(
        frame, label=["y", "z"], patient_id="who", report="report", label_terms=["pneumonia"]
    )
    assert "affirmed" not in says(two, "y")
