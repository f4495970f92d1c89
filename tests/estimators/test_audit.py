"""The audit as a whole: its numbers worked again by hand, its honesty on null data, and its awkward inputs."""

import json
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import mmaudit as mma
from mmaudit._errors import AuditWarning, ImageReadError, InputError, UnknownKeywordError
from mmaudit.result import COLUMNS


@pytest.fixture(scope="module")
def planted(cohorts):
    """Errors on AP films of label 1; metadata, reports and a given image embedding."""
    frame = cohorts.table(700, seed=1)
    frame = cohorts.predict(frame, np.where((frame["view"] == "AP") & (frame["label"] == 1), 0.65, 0.1), shared=0.5)
    X = np.random.default_rng(0).normal(size=(700, 10))
    data = cohorts.data_of(frame, metadata=["view", "sex", "age"], report="report", embeddings={"image": X})
    return data, mma.audit(data, n_refits=5, n_permutations=999)


# Numbers


def test_the_planted_slice_is_found_is_stable_and_is_said(planted):
    data, result = planted
    assert list(result.candidates)[: len(COLUMNS)] == list(COLUMNS)
    first = result.findings.iloc[0]
    assert first["description"] == "view = AP"
    assert first["stability"] >= 0.8
    assert re.match(
        r"Where view = AP, the classifier misses label in \d+ % of cases that have it, against \d+ % elsewhere: "
        r"\d+ points worse \(interval \d+ to \d+\) in \d+ held-out patients; confirmed \(q = [\d.]+\)\.$",
        first["sentence"],
    )
    assert result.membership.columns.tolist() == result.candidates["slice_id"].tolist()
    assert result.membership.index.equals(data.sample_id)
    assert result.membership.index.name == "sample_id"
    json.dumps(result.summary(), allow_nan=False)


def test_discovery_and_confirmation_share_no_patient(cohorts):
    frame = cohorts.predict(cohorts.table(160), 0.2)
    data = cohorts.data_of(frame)
    for seed in range(25):
        for fraction in (0.3, 0.5, 0.7):
            error = (data.y_proba >= 0.5) != (data.y_true == 1)
            first = data.split_mask(fraction, balance=error, random_state=seed)
            assert not {*data.patient_id[first]} & {*data.patient_id[~first]}
    for seed in range(5):
        samples = mma.audit(data, n_refits=0, n_permutations=99, random_state=seed).samples
        parts = samples.groupby(data.patient_id)["part"].nunique()
        assert parts.max() == 1
        assert set(samples["part"]) == {"discovery", "confirmation"}


def test_numbers_of_the_candidates_come_from_confirmation_patients_only(planted):
    """Work each number again, sample by sample, from the membership and the samples."""
    data, result = planted
    samples = result.samples.assign(patient=data.patient_id)
    assert (samples["wrong"] == ((samples["y_proba"] >= 0.5) != (samples["y_true"] == 1))).all()
    for part, prefix in (("confirmation", ""), ("discovery", "discovery_")):
        rows = samples[samples["part"] == part]
        for _, found in result.candidates.iterrows():
            strength = result.membership.loc[rows.index, found["slice_id"]]
            compared = rows if found["label"] == "" else rows[rows["y_true"] == int(found["label"])]
            inside, outside = compared[strength[compared.index] >= 0.5], compared[strength[compared.index] < 0.5]
            assert found[f"{prefix}n_samples"] == len(inside)
            assert found[f"{prefix}n_patients"] == inside["patient"].nunique()
            if found["label"] == "":
                p_out = sum(
                    (inside["y_true"] == v).mean() * outside.loc[outside["y_true"] == v, "wrong"].mean() for v in (0, 1)
                )
            else:
                p_out = outside["wrong"].mean()
            if np.isfinite(found[f"{prefix}gap"]):
                assert found[f"{prefix}metric_inside"] == pytest.approx(inside["wrong"].mean())
                assert found[f"{prefix}metric_outside"] == pytest.approx(p_out)
                assert found[f"{prefix}gap"] == pytest.approx(inside["wrong"].mean() - p_out)
            else:
                assert min(inside["patient"].nunique(), outside["patient"].nunique()) < 5
    assert result.candidates["gap"].notna().sum() >= 3


def test_q_values_count_every_candidate(planted):
    _, result = planted
    p = result.candidates["p_value"].to_numpy()
    assert len(p) >= 3
    order = np.argsort(p, kind="stable")
    q = np.minimum.accumulate((p[order] * len(p) / np.arange(1, len(p) + 1))[::-1])[::-1]
    expected = np.empty(len(p))
    expected[order] = np.minimum(q, 1)
    np.testing.assert_allclose(result.candidates["q_value"], expected, atol=1e-12)
    table = result.candidates
    confirmed = (table["q_value"] <= 0.05) & (table["gap"] > 0) & (table["ci_low"] > 0)
    assert table["confirmed"].tolist() == confirmed.tolist()
    assert result.findings["slice_id"].tolist() == table.loc[confirmed, "slice_id"].tolist()


def test_confirmation_labels_do_not_change_what_is_discovered(planted):
    """Turn over every prediction of the confirmation part: candidates and their discovery numbers stay."""
    data, result = planted
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    frame = pd.DataFrame({"label": data.y_true, "p": data.y_proba}, index=data.sample_id)
    # Only among held-out patients that have an error and keep one, so that the split is the same.
    wrong = result.samples["wrong"].to_numpy()
    n_wrong = pd.Series(wrong).groupby(data.patient_id).transform("sum").to_numpy()
    chosen = held_out & ~wrong & (n_wrong > 0)
    assert chosen.sum() > 20
    changed = data.with_predictions(np.where(chosen, 1 - frame["p"], frame["p"]))
    again = mma.audit(changed, n_refits=0, n_permutations=99)
    columns = ["description", "rule", "label", *(c for c in result.candidates if c.startswith("discovery_"))]
    pd.testing.assert_frame_equal(again.candidates[columns], result.candidates[columns])
    # Who is a member stays; how strong a member is follows the errors.
    pd.testing.assert_frame_equal(again.membership >= 0.5, result.membership >= 0.5)
    assert not again.candidates["metric_inside"].equals(result.candidates["metric_inside"])


def test_same_seed_same_answer_whatever_the_number_of_threads(cohorts):
    frame = cohorts.table(200)
    frame = cohorts.predict(frame, np.where(frame["view"] == "AP", 0.5, 0.1))
    results = []
    for seed, n_jobs in ((0, 1), (0, 1), (0, 4), (1, 1)):
        data = cohorts.data_of(
            frame, metadata=["view", "age"], report="report", images=cohorts.Arrays(cohorts.pictures(200))
        )
        results.append(mma.audit(data, n_refits=2, n_permutations=199, random_state=seed, n_jobs=n_jobs))
    one, two, threads, other = results
    for again in (two, threads):
        for name in ("candidates", "membership", "samples", "detectable", "quarantine"):
            pd.testing.assert_frame_equal(getattr(again, name), getattr(one, name))
        assert again.traits == one.traits
        assert again.rules == one.rules
        del again.settings["seconds"]
    del one.settings["seconds"]
    assert two.to_html() == threads.to_html() == one.to_html()
    assert not other.samples["part"].equals(one.samples["part"])


def test_a_random_state_object_and_numpy_integers_are_seeds_too(cohorts):
    data = cohorts.data_of(cohorts.predict(cohorts.table(120), 0.2))
    seeds = (5, np.int64(5), np.random.RandomState(5))
    results = [mma.audit(data, n_refits=0, n_permutations=99, random_state=seed) for seed in seeds]
    for again in results[1:]:
        pd.testing.assert_frame_equal(again.candidates, results[0].candidates)
    assert [r.settings["random_state"] for r in results] == [5, 5, None]


def test_the_table_and_the_data_are_not_changed(planted):
    data, _ = planted
    before = pickle.dumps(data)
    mma.audit(data, n_refits=0, n_permutations=99)
    assert pickle.dumps(data) == before


# Honesty


def test_null_data_give_no_finding(cohorts, unexplained):
    """40 audits of cases whose errors have nothing to do with anything; patients have one to four films.

    Positives are missed at 40 % and negatives misread at 5 %, there is more disease on AP films, and most of a film's
    luck is its patient's. A finding may be reported in 5 % of audits. If it is, Binomial(40, 0.05) is above 4 with
    probability 0.048; an audit that reports one in 20 % of cases would pass with probability 0.076 only.
    """
    n_audits, most = 40, 4
    assert binom.sf(most, n_audits, 0.05) < 0.05
    assert binom.cdf(most, n_audits, 0.2) < 0.08
    n_with_findings = 0
    for seed in range(n_audits):
        frame = cohorts.table(300, seed=1000 + seed)
        rng = np.random.default_rng(seed)
        more = rng.random(300) < 0.7
        frame["view"] = np.where(more, np.where(frame["label"] == 1, "AP", "PA"), frame["view"])
        frame = cohorts.predict(frame, np.where(frame["label"] == 1, 0.4, 0.05), seed=seed, shared=0.6)
        data = cohorts.data_of(
            frame,
            metadata=["view", "sex", "age"],
            report="report",
            embeddings={"image": rng.normal(size=(300, 8))},
        )
        result = cohorts.silently(mma.audit, data, n_refits=0, n_permutations=499, random_state=seed)
        assert len(result.candidates) > 0
        n_with_findings += len(result.findings) > 0
    assert n_with_findings <= most


def test_nothing_confirmed_says_what_could_have_been_found(cohorts):
    data = cohorts.data_of(cohorts.predict(cohorts.table(400), 0.15))
    result = cohorts.quick_audit(data)
    assert result.findings.empty
    assert result.headline.startswith("Nothing confirmed: none of")
    assert "points in a slice of" in result.detectable_sentence
    for _, gaps in result.detectable.groupby("label"):
        assert gaps["gap"].dropna().is_monotonic_decreasing
    assert "Nothing confirmed" in result.to_text()
    assert "Nothing confirmed" in result.to_html()


def test_a_perfect_classifier(cohorts):
    result = cohorts.quick_audit(cohorts.data_of(cohorts.predict(cohorts.table(300), 0.0), report="report"))
    assert result.candidates.empty
    assert result.findings.empty
    assert result.membership.shape == (300, 0)
    assert result.headline == "Nothing found: no group of discovery samples has more errors than the rest."
    assert result.detectable["gap"].min() > 0.02  # a gap of 0 would be no gap
    assert "Nothing found" in result.to_text()


def test_a_classifier_wrong_everywhere(cohorts):
    result = cohorts.quick_audit(cohorts.data_of(cohorts.predict(cohorts.table(300), 1.0), report="report"))
    assert result.candidates.empty
    assert result.data_summary["error_rate"] == 1
    assert (
        result.detectable_sentence == "On these held-out patients no slice could have been confirmed, whatever its gap."
    )


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.5])
def test_a_classifier_that_always_says_the_same(cohorts, constant):
    """All errors are of one label, so within a label all are alike."""
    frame = cohorts.table(300).assign(proba=constant)
    result = cohorts.quick_audit(cohorts.data_of(frame, metadata=["view", "age"], embeddings={"image": np.eye(300, 4)}))
    assert result.findings.empty
    assert np.isfinite(result.membership.to_numpy()).all()


# What the data have


@pytest.mark.parametrize("modality", ["image", "report", "metadata"])
def test_one_modality_is_enough(cohorts, modality):
    frame = cohorts.predict(cohorts.table(200), 0.2)
    roles = {
        "image": {"images": cohorts.Arrays(cohorts.pictures(200))},
        "report": {"report": "report"},
        "metadata": {"metadata": ["view", "age"]},
    }
    result = cohorts.quick_audit(cohorts.data_of(frame, **roles[modality]))
    assert set(result.candidates["modality"]) <= {modality}
    assert result.settings["modalities"] == [modality]


@pytest.mark.parametrize("given", [["image"], ["report"], ["metadata"], ["image", "report", "metadata"]])
def test_given_embeddings_only(cohorts, given):
    frame = cohorts.predict(cohorts.table(200), 0.2)
    rng = np.random.default_rng(0)
    result = cohorts.quick_audit(
        cohorts.data_of(frame, embeddings={name: rng.normal(size=(200, 6)).astype(np.float32) for name in given})
    )
    assert {m for joined in result.candidates["modality"] for m in joined.split("+")} <= set(given)
    without_rule = result.candidates[result.candidates["rule"] == ""]
    assert without_rule["description"].str.startswith("a group of similar").all()


@pytest.mark.parametrize(
    "columns",
    [
        {"report": ["1", "2"] * 100},  # no words at all
        {"report": ["clear"] * 200},
        {"report": [""] * 199 + ["effusion"]},
        {"view": ["PA"] * 200},
        {"view": [None] * 200, "age": [np.nan] * 200},
        {"age": [3.0] * 200},
        {"age": [np.nan] * 199 + [1.0]},
    ],
    ids=["no words", "same reports", "one report", "constant text", "all missing", "constant number", "one number"],
)
def test_reports_and_metadata_that_say_nothing(cohorts, columns):
    frame = cohorts.predict(cohorts.table(200), 0.2).assign(**columns)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing but what the audit itself has to say
        warnings.simplefilter("ignore", AuditWarning)
        result = cohorts.quick_audit(cohorts.data_of(frame, report="report", metadata=["view", "age"]))
        alone = cohorts.quick_audit(
            cohorts.data_of(frame, **({"report": "report"} if "report" in columns else {"metadata": list(columns)}))
        )
    for found in (result, alone):
        assert np.isfinite(found.membership.to_numpy()).all()


def test_constant_embeddings(cohorts):
    frame = cohorts.predict(cohorts.table(200), 0.2)
    result = cohorts.quick_audit(cohorts.data_of(frame, embeddings={"image": np.ones((200, 5))}))
    assert result.candidates.empty


# Refusals


def test_data_that_cannot_be_audited(cohorts):
    frame = cohorts.predict(cohorts.table(200), 0.2)
    small = frame[frame["patient"].isin(frame["patient"].unique()[:19])]
    with pytest.raises(InputError, match=r"^data: expected at least 20 patients, .*, got 19\. Add patients"):
        mma.audit(cohorts.data_of(small))
    with pytest.raises(InputError, match=r"^data: expected data with predicted probabilities, got data without\."):
        mma.audit(cohorts.data_of(frame, y_proba=None))
    with pytest.raises(
        TypeError, match=r"^data: expected AuditData, got DataFrame\. Make it with AuditData\.from_frame"
    ):
        mma.audit(frame)
    one_positive = frame.assign(label=(np.arange(200) == 3).astype(int))
    with pytest.raises(InputError, match=r"^data: expected patients of both labels in both parts, got a \w+ part with"):
        mma.audit(cohorts.data_of(one_positive))


def test_twenty_patients_are_enough_to_try(cohorts):
    frame = cohorts.predict(cohorts.table(200), 0.2)
    result = cohorts.quick_audit(cohorts.data_of(frame[frame["patient"].isin(frame["patient"].unique()[:20])]))
    assert result.data_summary["n_patients"] == 20


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"modalities": ["metdata"]}, r"^modalities: expected some of .*, got 'metdata'\. .*Did you mean 'metadata'\?"),
        ({"modalities": ["image"]}, r"^modalities: expected modalities that the data have \(metadata\), got 'image'\."),
        ({"modalities": []}, r"^modalities: expected at least one of image, report, metadata, got none\."),
        ({"n_slices": 0}, r"^n_slices: expected a whole number from 1 to 15, got 0\."),
        ({"n_slices": 16}, r"^n_slices: expected a whole number from 1 to 15, got 16\."),
        ({"n_refits": -1}, r"^n_refits: expected a whole number from 0 to 1000, got -1\."),
        ({"n_permutations": 10}, r"^n_permutations: expected a whole number from 99 on, got 10\."),
        ({"alpha": 0}, r"^alpha: expected a number between 0 and 1, got 0\."),
        ({"threshold": 1.5}, r"^threshold: expected a number between 0 and 1, got 1\.5\."),
        ({"fraction": 1.0}, r"^fraction: expected a number between 0 and 1, got 1\.0\."),
        ({"threshold": "0.5"}, r"^threshold: expected a number between 0 and 1, got '0\.5'\."),
        ({"random_state": -1}, r"^random_state: expected a whole number from 0 to 4294967295, .*, got -1\."),
        ({"random_state": np.random.default_rng(0)}, r"^random_state: .*, got Generator\. Give a number such as 0\."),
        ({"n_jobs": 0}, r"^n_jobs: expected a whole number other than 0, or None, got 0\. Leave it out: all cores\."),
    ],
)  # fmt: skip
def test_bad_arguments(cohorts, keywords, message):
    data = cohorts.data_of(cohorts.predict(cohorts.table(100), 0.2))
    with pytest.raises(InputError, match=message):
        mma.audit(data, **keywords)


def test_unknown_keyword(cohorts):
    data = cohorts.data_of(cohorts.predict(cohorts.table(100), 0.2))
    with pytest.raises(UnknownKeywordError, match=r"n_slice: expected one of the keywords of audit\(\).*'n_slices'"):
        mma.audit(data, n_slice=3)


# Warnings and images


def unreadable(reason="missing"):
    return ImageReadError("image", "a file", "a path at which there is none", "Check image_root.", reason=reason)


def with_unreadable(cohorts, n_bad, n=50, reason="missing"):
    frame = cohorts.predict(cohorts.table(n, most_per_patient=2), 0.3)
    pictures = cohorts.pictures(n)
    for k in range(n_bad):
        pictures[3 + k] = unreadable(reason)
    return cohorts.data_of(frame, images=cohorts.Arrays(pictures), metadata=["view"])


def test_warnings_are_kept_and_given_once(cohorts):
    data = with_unreadable(cohorts, 1)
    with pytest.warns(AuditWarning) as caught:
        result = cohorts.quick_audit(data)
    texts = [str(w.message) for w in caught]
    assert texts == result.warnings
    assert len(texts) == 1
    assert texts[0].startswith("image: expected every image to be readable, got 1 of 50 that are not (1 missing).")
    assert caught[0].filename == __file__ or caught[0].filename.endswith("conftest.py")  # points at the caller
    assert result.quarantine.to_dict("records") == [{"sample_id": "s3", "reason": "missing"}]
    assert "s3" in result.membership.index


def test_without_patient_ids_the_result_says_so(cohorts):
    frame = cohorts.predict(cohorts.table(100), 0.2)
    with pytest.warns(AuditWarning, match="EVERY SAMPLE IS TREATED AS A PATIENT OF ITS OWN"):
        data = cohorts.data_of(frame, patient_id=None)
    result = cohorts.silently(cohorts.quick_audit, data)
    assert sum("EVERY SAMPLE" in text for text in result.warnings) == 1
    assert result.data_summary["n_patients"] == 100
    assert not result.data_summary["has_patient_id"]


def test_too_many_unreadable_images(cohorts):
    with pytest.raises(ImageReadError, match=r"^image: expected at least 95% of the images .* got 10 of 50") as caught:
        cohorts.quick_audit(with_unreadable(cohorts, 10))
    assert caught.value.reason == "missing"


def test_an_image_outside_its_root(cohorts, tmp_path):
    with pytest.raises(ImageReadError, match="a path at which there is none"):
        cohorts.quick_audit(with_unreadable(cohorts, 1, reason="outside image_root"))
    (tmp_path / "root").mkdir()
    (tmp_path / "outside.png").write_bytes(b"")
    frame = cohorts.predict(cohorts.table(60, most_per_patient=1), 0.3).assign(path="../outside.png")
    data = cohorts.data_of(frame, image="path", image_root=tmp_path / "root", metadata="view")
    with pytest.raises(ImageReadError, match="got one that leads outside it"):
        cohorts.quick_audit(data)


def test_each_image_is_decoded_once(cohorts):
    images = cohorts.Arrays(cohorts.pictures(120))
    data = cohorts.data_of(cohorts.predict(cohorts.table(120), 0.3), images=images, metadata=["view"])
    result = mma.audit(data, n_refits=2, n_permutations=99, n_jobs=3)
    result.to_html()
    result.summary()
    assert images.n_reads == [1] * 120


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interrupted_audit_writes_nothing(cohorts, tmp_path, n_jobs):
    pictures = cohorts.pictures(60)
    pictures[30] = KeyboardInterrupt()
    frame = cohorts.predict(cohorts.table(60, most_per_patient=1), 0.3)
    data = cohorts.data_of(frame, images=cohorts.Arrays(pictures))
    with pytest.raises(KeyboardInterrupt):
        mma.audit(data, n_refits=0, n_permutations=99, n_jobs=n_jobs).to_folder(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
