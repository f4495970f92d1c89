"""Explanations from end to end: what an audit says of a planted failure, of nothing, and of a user's own guess."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit._errors import InputError
from mmaudit.explain import Explanation, _explain

pytestmark = pytest.mark.filterwarnings("ignore::mmaudit.AuditWarning")

FILLER = ("Heart size is normal.", "Lungs are clear.", "Degenerative change of the spine.", "Aorta is tortuous.")
FAST = {"n_refits": 0, "n_permutations": 999}


def cohort(*, n=1200, seed=0, said=("There is a chest tube.", ""), wrong_in=(0.6, 0.08), flipped=0.0, card=None):
    """Return data with more false alarms where a report says the first sentence than where it says the second."""
    rng = np.random.default_rng(seed)
    tube = rng.random(n) < 0.25
    y = rng.integers(0, 2, n)
    wrong = rng.random(n) < np.where(tube & (y == 0), wrong_in[0], wrong_in[1])
    texts = ("Pleural effusion.", "No pleural effusion.")
    frame = pd.DataFrame(
        {
            "y_proba": np.clip(np.where(wrong, 1 - y, y) * 0.7 + 0.15 + rng.normal(0, 0.04, n), 0.01, 0.99),
            "report": [
                f"FINDINGS: {FILLER[rng.integers(4)]} {said[0] if t else said[1]} {texts[0] if v else texts[1]}"
                for t, v in zip(tube, y, strict=True)
            ],
            "view": np.where(rng.random(n) < 0.5, "AP", "PA"),
            "age": rng.integers(20, 90, n).astype(float),
            "patient": [f"PID-{k // 2}" for k in range(n)],
        }
    )
    flips = rng.random(n) < np.where(tube & (y == 0), flipped, 0.0)
    frame["label"] = np.where(flips, 1 - y, y)
    data = mma.AuditData.from_frame(
        frame,
        label="label",
        y_proba="y_proba",
        patient_id="patient",
        report="report",
        metadata=["view", "age"],
        label_name="Pleural Effusion",
        card=card,
    )
    return data, tube, flips


@pytest.fixture(scope="module")
def audited():
    data, tube, _ = cohort()
    return data, tube, mma.audit(data, **FAST)


class TestPlanted:
    def test_the_first_finding_is_explained_by_its_term(self, audited):
        _, _, result = audited
        told = result.explain(result.findings.loc[0, "slice_id"])
        assert isinstance(told, Explanation)
        assert told.status == "explained"
        assert told.terms().loc[0, ["term", "category", "explains"]].tolist() == ["chest tube", "device", True]
        parts = told.parts.set_index("kind")
        assert parts.loc["terms", "text"] == "the report mentions chest tube"
        assert parts.loc["terms", "f1"] > 0.95
        assert parts.loc["terms", "holds"]
        assert parts.loc["terms", "gap"] > 0.3
        assert "chest tube" in told.sentence

    def test_label_terms_are_masked(self, audited):
        _, _, result = audited
        for slice_id in result.candidates["slice_id"]:
            told = result.explain(slice_id)
            assert not told.terms()["label_term"].any()
            assert not told.terms()["term"].str.contains("effusion").any()
            every = told.terms(show_label_terms=True)
            assert every[every["term"].str.contains("effusion")]["label_term"].all()

    def test_fidelity_is_of_the_confirmation_patients(self, audited):
        """Counted again by hand."""
        data, _, result = audited
        slice_id = result.findings.loc[0, "slice_id"]
        held_out = (result.samples["part"] == "confirmation").to_numpy() & (data.y_true == 0)
        inside = (result.membership[slice_id] >= 0.5).to_numpy()[held_out]
        says = np.array(["chest tube" in r for r in data.reports])[held_out]
        patient = data.patient_id[held_out]
        weight = 1 / pd.Series(1, index=range(len(says))).groupby([patient, inside]).transform("sum").to_numpy()
        precision = (weight * (says & inside)).sum() / (weight * says).sum()
        part = result.explain(slice_id).parts.set_index("kind").loc["terms"]
        assert part["precision"] == pytest.approx(precision)
        assert part["n_samples"] == says.sum()
        rate = np.asarray((data.y_proba >= 0.5) != data.y_true)[held_out]
        assert part["gap"] == pytest.approx(rate[says].mean() - rate[~says].mean())

    def test_members_and_counterexamples(self, audited):
        data, _, result = audited
        slice_id = result.findings.loc[0, "slice_id"]
        members = result.explain(slice_id).members
        place = pd.Series(np.arange(data.n_samples), index=data.sample_id.astype(str))
        inside = (result.membership[slice_id] >= 0.5).to_numpy()
        wrong = (data.y_proba >= 0.5) != data.y_true
        assert inside[place[members["typical"]]].all()
        assert len(members["counterexamples"])
        for member, other in members["counterexamples"]:
            m, o = place[member], place[other]
            assert inside[m] and not inside[o] and not wrong[o]
            assert data.y_true[m] == data.y_true[o]
            assert data.patient_id[m] != data.patient_id[o]

    def test_saved_and_loaded(self, audited, tmp_path):
        _, _, result = audited
        loaded = mma.load_result(result.save(tmp_path / "x.mmaudit.json"))
        for slice_id in result.candidates["slice_id"]:
            before, after = result.explain(slice_id), loaded.explain(slice_id)
            assert (before.status, before.sentence, before.members) == (after.status, after.sentence, after.members)
            pd.testing.assert_frame_equal(before.terms(show_label_terms=True), after.terms(show_label_terms=True))
            pd.testing.assert_frame_equal(before.parts, after.parts, check_dtype=False)
            assert str(result.card(slice_id)) == str(loaded.card(slice_id))
        assert loaded.review_queue(most=5)["because"].tolist() == result.review_queue(most=5)["because"].tolist()
        assert "PID-" not in (tmp_path / "x.mmaudit.json").read_text(encoding="utf-8")

    def test_rules_run_on_other_patients(self, audited, tmp_path):
        data, _, result = audited
        path = result.save_rules(tmp_path / "rules.json")
        other, other_tube, _ = cohort(seed=5)
        first = result.findings.loc[0, "slice_id"]
        assert (mma.apply_rules(path, other)[first].to_numpy() == other_tube).all()
        same = mma.apply_rules(path, data)
        for slice_id in same.columns:
            label = result.candidates.set_index("slice_id").loc[slice_id, "label"]
            compared = np.ones(len(data), bool) if label == "" else data.y_true == int(label)
            if result.rules.get(slice_id):
                members = (result.membership[slice_id] >= 0.5).to_numpy()
                assert (same[slice_id].to_numpy()[compared] == members[compared]).all()

    def test_nothing_holds_of_a_candidate_that_is_not_confirmed(self, audited):
        _, _, result = audited
        for slice_id in result.candidates.loc[~result.candidates["confirmed"], "slice_id"]:
            told = result.explain(slice_id)
            assert (told.status, told.sentence) == ("not confirmed", "")
            assert not told.parts["holds"].any()

    def test_the_rule_of_a_slice_has_the_numbers_of_the_slice(self, audited):
        _, _, result = audited
        rows = result.candidates.set_index("slice_id")
        for slice_id in result.rules:
            part = result.explain(slice_id).parts.set_index("kind").loc["rule"]
            for name in ("gap", "p_value", "q_value"):
                assert part[name] == pytest.approx(rows.loc[slice_id, name], nan_ok=True)

    def test_triage_of_a_slice(self, audited, tmp_path):
        _, _, result = audited
        slice_id = result.findings.loc[0, "slice_id"]
        frame = result.triage(slice_id)
        wrong = result.members(slice_id).query("wrong").index
        assert set(wrong) <= set(frame.index)
        assert (frame["verdict"] != "").all()
        loaded = mma.load_result(result.save(tmp_path / "x.mmaudit.json")).triage(slice_id)
        assert loaded.index.tolist() == frame.index.astype(str).tolist()

    def test_unknown_slice(self, audited):
        _, _, result = audited
        for call in (result.explain, result.card, result.triage, result.difference_image):
            with pytest.raises(InputError, match=r"slice_id: expected one of result.candidates"):
                call("s99")
        with pytest.raises(InputError, match="data: expected data with images"):
            result.difference_image("s01")
        with pytest.raises(InputError, match="status: expected one of affirmed, uncertain, negated"):
            result.explain("s01").terms(status="maybe")


@pytest.mark.parametrize("denied", [False, True])
def test_reports_that_differ_only_in_no(denied):
    """Where the failing reports deny a tube, neither the tube nor its denial explains the slice."""
    yes, no = "There is a chest tube.", "There is no chest tube."
    data, _, _ = cohort(said=(no, yes) if denied else (yes, no))
    result = mma.audit(data, **FAST)
    assert len(result.findings)
    for slice_id in result.findings["slice_id"]:
        told = result.explain(slice_id)
        explaining = told.terms()[told.terms()["explains"]]
        assert (explaining["status"] != "negated").all()
        for part in told.parts[told.parts["holds"]]["text"]:
            assert "no chest tube" not in part
        if denied:
            assert "chest tube" not in set(explaining["term"])
    first = result.explain(result.findings.loc[0, "slice_id"])
    assert first.status == "explained"
    said = first.parts[first.parts["holds"]]["text"].tolist()
    assert any(("does not mention" in text) == denied and "chest tube" in text for text in said)


class TestNothing:
    def test_explanations_of_a_slice_drawn_at_random_do_not_hold(self):
        data, _, _ = cohort()
        held = []
        for k in range(10):
            drawn = np.random.default_rng(k).random(data.n_samples) < 0.3
            result = mma.test_hypothesis(data, drawn, labels=None, **{"n_permutations": 999, "random_state": k})
            held += result.explain("s01").parts["holds"].tolist()
        assert sum(held) <= 1

    def test_confirmed_but_not_explained(self):
        """Errors on samples that nothing recorded tells apart: the slice is real, and has no name."""
        data, _, _ = cohort(wrong_in=(0.1, 0.1))
        drawn = np.random.default_rng(3).random(data.n_samples) < 0.3
        y = data.y_true
        wrong = np.random.default_rng(4).random(len(y)) < np.where(drawn, 0.6, 0.1)
        result = mma.test_hypothesis(data.with_predictions(np.where(wrong, 1 - y, y) * 0.8 + 0.1), drawn, labels=None)
        assert result.findings["slice_id"].tolist() == ["s01"]
        told = result.explain("s01")
        assert (told.status, told.sentence) == ("not explained", "")
        assert "not explained" in str(result.card("s01")).lower()


class TestLabelNoise:
    def test_flipped_labels_are_found_and_named(self):
        data, _, flips = cohort(wrong_in=(0.05, 0.05), flipped=0.6)
        result = mma.audit(data, **FAST)
        queue = result.review_queue(most=50, one_per_patient=False)
        place = data.sample_id.get_indexer(queue.index)
        assert flips[place].mean() >= 0.8
        first = result.findings.iloc[0]
        assert first["error_type"] == "label_noise"
        assert "look like wrong labels" in first["sentence"]
        triage = result.explanations[first["slice_id"]]["triage"]
        assert triage["label_error"] > 0.5
        assert triage["label_error"] + triage["model_error"] + triage["ambiguous"] == pytest.approx(1)

    def test_model_errors_are_not_called_label_noise(self, audited):
        _, _, result = audited
        assert set(result.findings["error_type"]) <= {"false_positive", "false_negative", "mixed"}

    def test_labels_from_reports_warn_of_leakage(self):
        data, _, _ = cohort(card={"label": "labels were made from reports by a program"})
        result = mma.audit(data, **FAST)
        assert "made from" in result.explain(result.candidates.loc[0, "slice_id"]).leakage


class TestHypothesis:
    def test_as_an_audit_judges_the_same_rule(self, audited):
        """The discovered rule, given as a guess with the same seed, has the numbers of the audit."""
        data, _, result = audited
        row = result.candidates[result.candidates["rule"].str.fullmatch('report mentions "chest tube"')].iloc[0]
        label = None if row["label"] == "" else int(row["label"])
        tested = mma.test_hypothesis(data, "report mentions chest tube", labels=label, n_permutations=999)
        got = tested.candidates.iloc[0]
        for name in ("n_samples", "n_patients", "metric_inside", "metric_outside", "gap", "ci_low", "ci_high"):
            assert got[name] == pytest.approx(row[name]), name
        assert got["confirmed"]
        assert np.isnan(got["stability"])

    def test_rule_mapping_and_mask_are_one_subgroup(self):
        data, _, _ = cohort()
        mask = (data.metadata["view"] == "AP").to_numpy()
        tested = mma.test_hypothesis(data, ["view = AP", {"view": "AP"}, mask], labels=1, n_permutations=999)
        assert len(set(tested.candidates["gap"])) == 1
        assert tested.candidates["description"].tolist() == ["view = AP", "view = AP", "a mask given by hand"]

    def test_all_guesses_count(self):
        data, _, _ = cohort(wrong_in=(0.16, 0.08))
        alone = mma.test_hypothesis(data, "report mentions chest tube", labels=0).candidates.iloc[0]
        others = [f"age > {a}" for a in range(25, 85, 5)]
        among = mma.test_hypothesis(data, ["report mentions chest tube", *others], labels=0).candidates.iloc[0]
        assert among["p_value"] == pytest.approx(alone["p_value"], abs=0.01)
        assert among["q_value"] > alone["q_value"]

    def test_candidates_of_the_audit_count_beside_it(self, audited):
        data, _, result = audited
        alone = mma.test_hypothesis(data, "age > 50", labels=0, n_permutations=999)
        beside = mma.test_hypothesis(data, "age > 50", labels=0, n_permutations=999, beside=result)
        from scipy.stats import false_discovery_control

        p = np.r_[alone.candidates["p_value"], result.candidates["p_value"]]
        assert beside.candidates.loc[0, "q_value"] == pytest.approx(false_discovery_control(p)[0])
        with pytest.raises(InputError, match="beside: expected an audit of the same data"):
            mma.test_hypothesis(cohort(n=400)[0], "age > 50", beside=result)
        with pytest.raises(InputError, match="beside: expected an audit that held out the same patients"):
            mma.test_hypothesis(data, "age > 50", beside=result, random_state=1)

    def test_a_metric_of_both_labels(self):
        data, _, _ = cohort()
        tested = mma.test_hypothesis(data, "report mentions chest tube", metric="auroc", n_permutations=99)
        assert tested.candidates["label"].tolist() == [""]
        with pytest.raises(InputError, match=r"labels: expected some of \(None,\), which the metric compares, got 1"):
            mma.test_hypothesis(data, "view = AP", metric="auroc", labels=1)

    def test_nothing_is_confirmed_by_chance(self, unexplained):
        """Of 40 tests where predictions have nothing to do with the guess, at most 5 % and three standard errors."""
        confirmed = 0
        for k in range(40):
            data, _, _ = cohort(n=300, seed=100 + k, wrong_in=(0.2, 0.2))
            guess = ["report mentions chest tube", "view = AP", "age > 60"]
            confirmed += len(mma.test_hypothesis(data, guess, n_permutations=999, random_state=k).findings) > 0
        assert confirmed <= 6

    @pytest.mark.parametrize(
        ("guess", "message"),
        [
            ("veiw = AP", r"hypothesis: expected a column of the data .* Did you mean 'view'"),
            ("age > 500", r"hypothesis: expected a subgroup of the samples, got none of the"),
            ({"view": "XX"}, r"hypothesis\['view'\]: expected values that the column has"),
            ([], r"hypothesis: expected 1 to 15 of them, got 0"),
            (np.ones(3, dtype=bool), r"hypothesis: expected a mapping, a report pattern or a mask"),
        ],
    )
    def test_bad_guesses(self, guess, message):
        data, _, _ = cohort(n=200)
        with pytest.raises(InputError, match=message):
            mma.test_hypothesis(data, guess)

    def test_bad_labels(self):
        data, _, _ = cohort(n=200)
        with pytest.raises(InputError, match="labels: expected 1, 0 or None"):
            mma.test_hypothesis(data, "view = AP", labels=(1, 2))


def test_the_same_seed_gives_the_same_explanations(audited):
    data, _, result = audited
    again = mma.audit(data, **FAST)
    assert again.explanations == result.explanations


@pytest.fixture(scope="module")
def sampled():
    data, _, _ = cohort()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_explain, "MOST_EXPLAINED", 700)
        return data, [mma.audit(data, **FAST, random_state=0) for _ in range(2)]


class TestSample:
    """Of many samples, those of some patients are looked at; here of more than 700."""

    def test_all_samples_are_looked_at_where_there_are_few(self, audited):
        assert all(told["sampled"] is None for told in audited[2].explanations.values())

    def test_it_is_stated(self, sampled):
        data, (result, _) = sampled
        discovery = (result.samples["part"] == "discovery").to_numpy()
        for told in result.explanations.values():
            stated = told["sampled"]
            assert stated["of_samples"] == data.n_samples
            assert stated["n_samples"] == 2 * stated["n_patients"] == pytest.approx(700, abs=3)  # two films a patient
            assert stated["of_patients"] == data.n_patients
            of = len(set(data.patient_id[~discovery]))
            n = round(of * 700 / 1200)
            assert stated["standard_error"] == pytest.approx(np.sqrt(0.25 / n * (of - n) / (of - 1)), rel=0.01)
            members = stated["members"]
            assert members["n_patients"] <= members["of_patients"]
            assert members["few"] == (members["n_patients"] < 50)
            json.dumps(stated, allow_nan=False)

    def test_it_is_the_same_again(self, sampled):
        _, (one, other) = sampled
        assert one.explanations == other.explanations

    def test_the_failure_is_found_and_every_sample_has_its_verdict(self, sampled):
        data, (result, _) = sampled
        told = result.explain(result.findings.loc[0, "slice_id"])
        parts = told.parts.set_index("kind")
        assert parts.loc["terms", "text"] == "the report mentions chest tube"
        assert parts.loc["terms", "f1"] > 0.95
        assert parts.loc["terms", "n_samples"] < 0.75 * data.n_samples / 2 * 0.25
        (verdicts,) = result._verdicts.values()
        assert len(verdicts) == data.n_samples
        assert verdicts["second_opinion"].notna().all()

    def test_a_slice_with_few_held_out_patients_is_said_to_be(self):
        truth, patient = np.zeros(400, dtype=int), np.arange(400)
        discovery = patient % 2 == 0
        target = mma.data.Target("x", truth, np.zeros(400), np.zeros(400, dtype=bool))
        data = SimpleNamespace(n_samples=400, patient_id=patient.astype(str), reports=None)
        features = SimpleNamespace(table=pd.DataFrame(index=range(400)), kinds={}, embeddings={})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_explain, "MOST_EXPLAINED", 200)
            cases = _explain._Cases.drawn(
                data, [target], features, np.zeros((400, 1)), discovery, patient, np.random.RandomState(0)
            )
        assert cases.discovery.sum() == (~cases.discovery).sum() == 100
        for last, few in ((40, True), (400, False), (0, True)):
            members = _explain._sampled(cases, patient, discovery, patient < last)["members"]
            drawn = int(((cases.patient < last) & ~cases.discovery).sum())
            assert (members["n_patients"], members["few"]) == (drawn, few)
            assert members["of_patients"] == last // 2
            assert (members["standard_error"] is None) == (last == 0)
