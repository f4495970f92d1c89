"""Several labels, and several classes, through a whole audit: the right label and direction, one correction for all."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, false_discovery_control

import mmaudit as mma
from mmaudit._errors import AuditWarning, InputError

LABELS = ["effusion", "oedema", "nodule"]
CLASSES = ["normal", "pneumonia", "fracture"]


def with_labels(frame, rates, *, unknown=0.15, seed=0):
    """Add labels, some of them unknown, and probabilities that are wrong at the rates `rates(name, y)`."""
    rng = np.random.default_rng([seed, 7])
    n = len(frame)
    added = {}
    for name in LABELS:
        y = (rng.random(n) < 0.4).astype(float)
        says = (y == 1) ^ (rng.random(n) < rates(name, y))
        sure = 0.55 + 0.4 * rng.random(n)
        added[f"p_{name}"] = np.where(says, sure, 1 - sure)
        added[name] = np.where(rng.random(n) < unknown, np.nan, y)
    return frame.drop(columns="label").assign(**added)


def several(frame, **keywords):
    roles = {"label": LABELS, "y_proba": [f"p_{name}" for name in LABELS], "patient_id": "patient"}
    return mma.AuditData.from_frame(frame, **(roles | {"metadata": ["view", "sex", "age"]} | keywords))


@pytest.fixture(scope="module")
def multilabel(cohorts):
    """Effusion is missed on AP films, oedema is reported in women without it, nodules fail nowhere in particular."""
    frame = cohorts.table(900, seed=3)

    def rates(name, y):
        if name == "effusion":
            return np.where((y == 1) & (frame["view"] == "AP"), 0.65, 0.1)
        if name == "oedema":
            return np.where((y == 0) & (frame["sex"] == "F"), 0.5, 0.1)
        return 0.1

    data = several(with_labels(frame, rates), report="report")
    return data, cohorts.quick_audit(data)


@pytest.fixture(scope="module")
def multiclass(cohorts):
    """Fractures are missed on AP films; in men, cases of pneumonia are called normal."""
    frame = cohorts.table(900, seed=4)
    rng = np.random.default_rng(8)
    n = len(frame)
    y = rng.choice(3, n, p=[0.45, 0.3, 0.25])
    missed, called = (y == 2) & (frame["view"] == "AP"), (y == 1) & (frame["sex"] == "M")
    wrong = rng.random(n) < np.select([missed, called], [0.7, 0.6], 0.08)
    other = (y + 1 + rng.integers(0, 2, n)) % 3
    other = np.where(called, 0, np.where(missed, 1, other))
    said = np.where(wrong, other, y)
    proba = 0.4 * rng.dirichlet([1, 1, 1], n)
    proba[np.arange(n), said] += 0.6
    frame = frame.drop(columns="label").assign(diagnosis=y, **{f"p{k}": proba[:, k] for k in range(3)})
    data = mma.AuditData.from_frame(
        frame,
        label="diagnosis",
        y_proba=["p0", "p1", "p2"],
        label_name=CLASSES,
        patient_id="patient",
        metadata=["view", "sex", "age"],
    )
    return data, cohorts.quick_audit(data)


def holds(data, result, row, mask):
    """Return the Jaccard index of a slice and a mask, among held-out samples that the slice is compared with."""
    target = {t.name: t for t in data.targets()}[row["target"]]
    rows = (result.samples["part"] == "confirmation").to_numpy() & (target.y_true == int(row["label"]))
    inside = result.membership[row["slice_id"]].to_numpy()[rows] >= 0.5
    return (inside & mask[rows]).sum() / (inside | mask[rows]).sum()


def finding(data, result, target, label, mask):
    """Return the finding about a target, within a label, that is most like `mask`."""
    rows = result.findings[(result.findings["target"] == target) & (result.findings["label"] == label)]
    assert len(rows), f"no finding about {target} within {label!r}"
    return max((row for _, row in rows.iterrows()), key=lambda row: holds(data, result, row, mask))


# Several labels


def test_each_label_that_fails_is_found_where_it_fails(multilabel):
    data, result = multilabel
    films, women = (data.metadata["view"] == "AP").to_numpy(), (data.metadata["sex"] == "F").to_numpy()
    missed, reported = finding(data, result, "effusion", "1", films), finding(data, result, "oedema", "0", women)
    assert (missed["error_type"], reported["error_type"]) == ("false_negative", "false_positive")
    assert holds(data, result, missed, films) >= 0.7
    assert holds(data, result, reported, women) >= 0.7
    assert "nodule" not in set(result.findings["target"])
    assert re.search(r"the classifier misses effusion in \d+ % of cases that have it, against", missed["sentence"])
    assert re.search(r"the classifier reports oedema in \d+ % of cases without it, against", reported["sentence"])


def test_numbers_are_those_of_the_label_among_samples_where_it_is_known(multilabel):
    data, result = multilabel
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    targets = {t.name: t for t in data.targets()}
    for _, row in result.candidates.iterrows():
        target = targets[row["target"]]
        rows = held_out & ((target.y_true >= 0) if row["label"] == "" else (target.y_true == int(row["label"])))
        inside = rows & (result.membership[row["slice_id"]].to_numpy() >= 0.5)
        assert row["n_samples"] == inside.sum()
        assert row["n_patients"] == len(set(data.patient_id[inside]))
        assert row["metric_inside"] == pytest.approx(target.error[inside].mean())
        if row["label"] != "":
            assert row["metric_outside"] == pytest.approx(target.error[rows & ~inside].mean())
        assert not (result.membership[row["slice_id"]].to_numpy()[target.y_true < 0] >= 0.5).any()


@pytest.mark.parametrize("which", ["multilabel", "multiclass"])
def test_one_correction_counts_the_candidates_of_all(which, request):
    _, result = request.getfixturevalue(which)
    table = result.candidates
    assert len(set(table["target"])) > 1
    np.testing.assert_allclose(table["q_value"], false_discovery_control(table["p_value"]), atol=1e-12)


def test_null_data_of_several_labels_give_no_finding(cohorts, unexplained):
    """At alpha 0.05 a run with any finding has a chance of 0.05: more than 4 of 20 runs are beyond its 99 % point."""
    n_seeds, with_finding = 20, 0
    for seed in range(n_seeds):
        frame = cohorts.table(240, seed=100 + seed)
        data = several(with_labels(frame, lambda name, y: 0.25, seed=seed))
        result = cohorts.silently(cohorts.quick_audit, data, n_permutations=499, random_state=seed)
        with_finding += len(result.findings) > 0
    assert with_finding <= binom.ppf(0.99, n_seeds, 0.05)


def test_samples_and_members_are_of_the_label_of_a_slice(multilabel):
    data, result = multilabel
    assert list(result.samples) == ["part"] + [f"{c}:{name}" for name in LABELS for c in ("y_true", "y_proba", "wrong")]
    for target in data.targets():
        np.testing.assert_array_equal(result.samples[f"y_true:{target.name}"], target.y_true)
        np.testing.assert_array_equal(result.samples[f"wrong:{target.name}"], target.error)
    row = result.findings.query("target == 'oedema' and label == '0'").iloc[0]
    members = result.members(row["slice_id"])
    assert list(members) == ["membership", "part", "y_true", "y_proba", "wrong"]
    np.testing.assert_array_equal(members["y_proba"], result.samples.loc[members.index, "y_proba:oedema"])
    assert (members["y_true"] == 0).all()


@pytest.mark.parametrize("which", ["multilabel", "multiclass"])
def test_a_saved_audit_of_several_comes_back(which, request, tmp_path):
    _, result = request.getfixturevalue(which)
    again = mma.load_result(result.save(tmp_path / "x.mmaudit.json"))
    for name in ("candidates", "samples", "membership", "detectable"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name), check_index_type=False)
    assert json.dumps(again.summary(thumbnails=False)) == json.dumps(result.summary(thumbnails=False))
    first = result.candidates["slice_id"].iloc[0]
    pd.testing.assert_frame_equal(again.members(first), result.members(first))
    assert again.to_text() == result.to_text()


def test_each_label_has_its_rates_and_its_detectable_gaps(multilabel):
    data, result = multilabel
    said = {row["name"]: row for row in result.data_summary["targets"]}
    for target in data.targets():
        row = said[target.name]
        assert (row["n_known"], row["n_positive"]) == ((target.y_true >= 0).sum(), (target.y_true == 1).sum())
        assert row["false_negative_rate"] == pytest.approx((~target.says[target.y_true == 1]).mean())
        assert row["false_positive_rate"] == pytest.approx(target.says[target.y_true == 0].mean())
    assert result.data_summary["error_rate"] == pytest.approx(np.any([t.error for t in data.targets()], axis=0).mean())
    assert set(map(tuple, result.detectable[["target", "label"]].to_numpy())) == {
        (n, v) for n in LABELS for v in (0, 1)
    }
    gap = result.detectable.query("target == 'nodule' and label == 1 and share == 0.2")["gap"].item()
    assert f"nodule {100 * gap:.0f} points with it" in result.detectable_sentence


def test_a_label_that_a_part_lacks_is_left_out_with_a_warning(cohorts):
    frame = with_labels(cohorts.table(240, seed=5), lambda name, y: 0.2)
    frame["nodule"] = 0.0
    with pytest.warns(AuditWarning, match=r"label: expected patients with and without .* got none of .* for nodule\."):
        result = cohorts.quick_audit(several(frame))
    assert "nodule" not in set(result.candidates["target"])
    assert [row["name"] for row in result.data_summary["targets"]] == ["effusion", "oedema"]
    assert any("for nodule." in text for text in result.warnings)
    assert "y_true:nodule" not in result.samples


def test_one_label_that_is_left_is_audited_as_one(cohorts, tmp_path):
    frame = with_labels(cohorts.table(240, seed=5), lambda name, y: 0.2).assign(nodule=0.0, oedema=1.0)
    result = cohorts.silently(cohorts.quick_audit, several(frame))
    assert list(result.samples) == ["part", "y_true", "y_proba", "wrong"]
    assert set(result.candidates["target"]) <= {"effusion"}
    again = mma.load_result(result.save(tmp_path / "x.json"))
    assert again.summary(thumbnails=False) == result.summary(thumbnails=False)


def test_no_label_left_is_an_error(cohorts):
    frame = with_labels(cohorts.table(240, seed=5), lambda name, y: 0.2).assign(nodule=0.0, oedema=1.0, effusion=0.0)
    frame.loc[frame.index[0], "effusion"] = 1.0
    with pytest.raises(
        InputError, match=r"data: expected patients of both labels in both parts, got a .* part with one"
    ):
        cohorts.silently(cohorts.quick_audit, several(frame))


def test_a_threshold_each(cohorts):
    frame = with_labels(cohorts.table(240, seed=5), lambda name, y: 0.2)
    data = several(frame)
    result = cohorts.quick_audit(data, threshold={"oedema": 0.8})
    assert result.settings["threshold"] == {"effusion": 0.5, "oedema": 0.8, "nodule": 0.5}
    wrong = (frame["p_oedema"] >= 0.8) != (frame["oedema"] == 1)
    np.testing.assert_array_equal(result.samples["wrong:oedema"], wrong & frame["oedema"].notna())
    with pytest.raises(InputError, match=r"threshold: expected 3, one a label, got 2\."):
        cohorts.quick_audit(data, threshold=[0.5, 0.5])


def test_a_patient_is_in_one_part_and_errors_of_every_label_are_shared_out(multilabel):
    data, result = multilabel
    assert result.samples.groupby(data.patient_id)["part"].nunique().max() == 1


def test_words_of_any_label_are_no_explanation_of_another(cohorts):
    frame = with_labels(cohorts.table(300, seed=6), lambda name, y: 0.2)
    frame["report"] = np.where(frame["effusion"] == 1, "Pleural effusion on the left.", "Clear lungs and heart.")
    data = several(frame, report="report")
    discovery = np.ones(len(frame), dtype=bool)
    features, _ = mma.encoders.encode(data, fit_on=discovery)
    assert features.kinds['"effusion"'] == "label_term"
    assert features.kinds['"clear lung"'] == "report" if '"clear lung"' in features.kinds else True


# Several classes


def test_each_class_that_fails_is_found_where_it_fails(multiclass):
    data, result = multiclass
    films, men = (data.metadata["view"] == "AP").to_numpy(), (data.metadata["sex"] == "M").to_numpy()
    missed = finding(data, result, "fracture", "1", films)
    assert missed["error_type"] == "false_negative"
    assert holds(data, result, missed, films) >= 0.7
    assert re.search(r"misses fracture in \d+ % of cases of fracture, against \d+ % elsewhere", missed["sentence"])
    called = finding(data, result, "normal", "0", men)
    assert called["error_type"] == "false_positive"
    assert re.search(r"calls \d+ % of the cases of other classes normal, against \d+ % elsewhere", called["sentence"])
    assert holds(data, result, called, men) >= 0.7


def test_the_same_failure_seen_from_two_classes_is_told_as_the_same(multiclass):
    """Pneumonia missed in men is pneumonia called normal in men: whichever comes second says so."""
    _, result = multiclass
    pair = result.findings[
        ((result.findings["target"] == "pneumonia") & (result.findings["label"] == "1"))
        | ((result.findings["target"] == "normal") & (result.findings["label"] == "0"))
    ]
    assert len(pair) >= 2
    assert pair["already_told"].iloc[-1] >= 0.5
    assert "much the same failure" in pair["sentence"].iloc[-1]


def test_classes_are_decided_by_the_highest_probability(multiclass):
    data, result = multiclass
    wrong = data.y_proba.argmax(axis=1) != data.y_true
    assert result.data_summary["error_rate"] == pytest.approx(wrong.mean())
    for c, name in enumerate(CLASSES):
        expected = wrong & ((data.y_true == c) | (data.y_proba.argmax(axis=1) == c))
        np.testing.assert_array_equal(result.samples[f"wrong:{name}"], expected)
    with pytest.raises(InputError, match=r"threshold: expected none for classes"):
        mma.audit(data, threshold=0.4)


# What is shown


@pytest.mark.parametrize(("which", "word"), [("multilabel", "Label"), ("multiclass", "Class")])
def test_each_rendering_names_the_label_of_a_slice(which, word, request):
    _, result = request.getfixturevalue(which)
    page, card = result.to_html(), result.model_card()
    new = result.findings[~(result.findings["already_told"] >= 0.5)]
    assert len(new) >= 2
    for row in new.to_dict("records"):
        assert f'<span class="mma-about">{row["target"]}</span>' in page
        assert f"| {row['target']} | " in card
    assert f"| {word} | Slice | Kind of error |" in card
    for target in result.data_summary["targets"]:
        assert f'<tr><th scope="row">{word}</th><td>{target["name"]}: {target["n_positive"]:,} of' in page
        assert f"| {target['name']}, with it |" in card
    labels = [text.get_text().replace("\n", " ") for text in result.plot().get_yticklabels()]
    for label, target in zip(labels, result.candidates["target"], strict=True):
        assert label.startswith(f"{target}: ")


def test_one_label_is_shown_as_ever(cohorts):
    data = cohorts.data_of(cohorts.predict(cohorts.table(200), 0.25))
    result = cohorts.quick_audit(data)
    assert result.candidates["target"].eq("label").all()
    assert "mma-about" not in result.to_html().split("</style>")[1]
    assert "| Slice | Kind of error |" in result.model_card() or "Nothing found" in result.model_card()


# Another metric, other predictions


def test_a_metric_of_both_labels_is_compared_over_both(cohorts):
    frame = cohorts.predict(cohorts.table(900, seed=9), 0.1)
    scramble = (frame["view"] == "AP").to_numpy()
    frame.loc[scramble, "proba"] = np.random.default_rng(0).random(scramble.sum())
    result = cohorts.quick_audit(cohorts.data_of(frame), metric="auroc")
    assert (result.settings["metric"], result.settings["greater_is_better"]) == ("auroc", True)
    assert set(result.candidates["label"]) == {""}
    first = result.findings.iloc[0]
    assert first["gap"] < 0  # the metric inside is lower
    assert first["ci_high"] < 0
    said = re.search(
        r"the AUROC of label is (0\.\d\d), against (0\.\d\d) elsewhere: (0\.\d\d) worse "
        r"\(interval (0\.\d\d) to (0\.\d\d)\)",
        first["sentence"],
    )
    inside, outside, worse, low, high = map(float, said.groups())
    assert worse == pytest.approx(outside - inside, abs=0.011)
    assert low < worse < high
    assert "AUROC in the slice" in result.to_html()
    assert "← worse in the slice" in result.to_html()
    assert result.detectable.empty
    assert "What gap in AUROC would have been confirmed was not computed." in result.to_text()


def test_repeat_audits_other_predictions_with_the_same_settings(cohorts):
    frame = cohorts.predict(cohorts.table(200), 0.25)
    images = cohorts.Arrays(cohorts.pictures(200))
    data = cohorts.data_of(frame, images=images, metadata=["view"])
    result = mma.audit(data, n_refits=1, n_permutations=199, n_slices=4, n_jobs=1)
    reads = sum(images.n_reads)
    assert result._data is data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = result._repeat(data.with_predictions(data.y_proba[::-1]), 3)
    assert sum(images.n_reads) == reads  # pictures are not read again
    assert again.settings["n_refits"] == 0
    same = ("n_slices", "alpha", "threshold", "metric", "fraction", "n_permutations", "modalities")
    assert {k: again.settings[k] for k in same} == {k: result.settings[k] for k in same}
    np.testing.assert_array_equal(again.samples["y_proba"], data.y_proba[::-1])
