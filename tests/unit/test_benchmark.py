"""The benchmark: which cases there are, what is simulated, how it is scored, and that runs go on where they were."""

import importlib.util
import pickle
import re
import sys
import warnings
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmaudit import benchmark, cli
from mmaudit._errors import InputError, MissingExtraError
from mmaudit.data import AuditData, Target
from mmaudit.datasets import load_phantom
from mmaudit.encoders import describe_images

METADATA = ("metadata",)
SCENARIOS_KNOWN = "expected some of rare, correlation, noisy, null"
SLICERS_KNOWN = "expected some of " + ", ".join(benchmark.SLICERS)
MODALITIES_KNOWN = "expected some of image, report, metadata"
SOURCES_KNOWN = "expected one of covid, openi, phantom"
CORRECT = "Correct the name."


def made_up(n_samples=400, *, seed=0, n_drawn=None):
    """Return a source of one's own: two films a patient, columns and words that can be planted on."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "y": rng.random(n_samples) < 0.4,
            "patient": [f"p{k // 2}" for k in range(n_samples)],
            "view": rng.choice(["PA", "AP"], n_samples, p=[0.7, 0.3]),
            "sex": rng.choice(["F", "M"], n_samples),
            "age": rng.integers(20, 90, n_samples).astype(float),
            "report": rng.choice(["Tube in place.", "Clear lungs.", "Old fracture."], n_samples),
        }
    )
    data = AuditData.from_frame(
        frame,
        label="y",
        patient_id="patient",
        report="report",
        metadata=["view", "sex", "age"],
        embeddings={"image": rng.normal(size=(n_samples, 6))},
    )
    attributes = [
        benchmark.Attribute("view = AP", "written", "metadata", (frame["view"] == "AP").to_numpy()),
        benchmark.Attribute("sex = F", "written", "metadata", (frame["sex"] == "F").to_numpy()),
        benchmark.Attribute("age > 60", "written", "metadata", (frame["age"] > 60).to_numpy()),
        benchmark.Attribute("report: tube", "written", "report", frame["report"].str.contains("Tube").to_numpy()),
        benchmark.Attribute("few", "picture", "picture", np.arange(n_samples) < 19),
        benchmark.Attribute("all", "picture", "picture", np.ones(n_samples, dtype=bool)),
    ]
    return benchmark.Simulated("made-up", data, attributes, n_drawn=n_drawn)


@pytest.fixture(scope="module")
def source():
    return made_up()


def case_of(scenario="rare", attribute="view = AP", seed=0, half="report", source="made-up"):
    return benchmark.Case(source, scenario, "" if scenario == "null" else attribute, seed, half)


# Cases


def test_the_halves_share_no_attribute_and_no_seed(source):
    made = {half: benchmark.make_cases([source], half=half, n_seeds=3) for half in ("tune", "report")}
    cases = {half: kept + left_out for half, (kept, left_out) in made.items()}
    planted = {half: {c.attribute for c in cases[half]} - {""} for half in cases}
    # By tag and kind: metadata go tune, report, tune; the first of the reports and of the pictures to tune again.
    assert planted == {"tune": {"view = AP", "age > 60", "report: tube", "few"}, "report": {"sex = F", "all"}}
    assert {c.seed for c in cases["report"]} == {0, 1, 2}
    assert {c.seed for c in cases["tune"]} == {100, 101, 102}


def test_every_scenario_attribute_and_seed_is_a_case_once(source):
    kept, left_out = benchmark.make_cases([source], half="tune", n_seeds=2)
    expected = [
        (s, a, n)
        for s in benchmark.SCENARIOS[:3]
        for a in ("view = AP", "age > 60", "report: tube", "few")
        for n in (100, 101)
    ]
    expected += [("null", "", 100), ("null", "", 101)]
    assert sorted((c.scenario, c.attribute, c.seed) for c in kept + left_out) == sorted(expected)
    assert len(set(kept + left_out)) == len(expected)


def test_cases_with_too_few_or_all_of_a_label_are_left_out(source):
    _, left_out = benchmark.make_cases([source], half="tune", n_seeds=1)
    assert {(c.scenario, c.attribute) for c in left_out} == {(s, "few") for s in ("rare", "correlation", "noisy")}
    _, left_out = benchmark.make_cases([source], half="report", n_seeds=1)
    assert {(c.scenario, c.attribute) for c in left_out} == {(s, "all") for s in ("rare", "correlation", "noisy")}
    first = np.unique(source.data.patient_id, return_index=True)[1]  # a sample of each patient
    by_patient = np.argsort(source.data.patient_id, kind="stable")
    for rows, is_kept in ((first[:20], True), (first[:19], False), (by_patient[:20], False)):  # the last: few patients
        inside = np.isin(np.arange(source.data.n_samples), rows)
        small = replace(source, attributes=[benchmark.Attribute("small", "picture", "picture", inside)])
        kept, left_out = benchmark.make_cases([small], scenarios=["noisy"], half="tune", n_seeds=1)
        assert (len(kept), len(left_out)) == (int(is_kept), int(not is_kept))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenarios": ["rar"]}, f"scenarios: {SCENARIOS_KNOWN}, got 'rar'. {CORRECT} Did you mean 'rare'?"),
        ({"scenarios": []}, f"scenarios: {SCENARIOS_KNOWN}, got nothing. Name one, or leave it out: all."),
        ({"half": "both"}, "half: expected some of tune, report, got 'both'. Correct the name."),
        ({"n_seeds": 0}, "n_seeds: expected a whole number from 1 on, got 0. Use 5."),
    ],
)
def test_wrong_settings_of_cases(source, options, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        benchmark.make_cases([source], **options)


# Simulated predictions


@pytest.fixture(scope="module")
def large():
    return made_up(40_000)


@pytest.mark.parametrize(
    ("scenario", "rates"),
    [  # (inside, label 1), (inside, label 0), (outside, label 1), (outside, label 0)
        ("rare", (0.2, 0.88, 0.88, 0.88)),
        ("correlation", (0.88, 0.2, 0.75, 0.88)),
        ("noisy", (0.5, 0.5, 0.88, 0.88)),
        ("null", (0.88, 0.88, 0.88, 0.88)),
    ],
)
def test_a_simulated_classifier_is_as_often_right_as_it_says(large, scenario, rates):
    trial = benchmark.simulate(large, case_of(scenario))
    y = trial.data.y_true == 1
    inside = (large.data.metadata["view"] == "AP").to_numpy()
    right = (trial.data.y_proba >= 0.5) == y
    cells = (inside & y, inside & ~y, ~inside & y, ~inside & ~y)
    for cell, rate in zip(cells, rates, strict=True):
        assert abs(right[cell].mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / cell.sum())
    planted = {"rare": inside & y, "correlation": inside & ~y, "noisy": inside, "null": np.zeros_like(inside)}
    np.testing.assert_array_equal(trial.planted, planted[scenario])


def test_sure_predictions_are_a_folded_beta(large):
    proba = benchmark.simulate(large, case_of("null")).data.y_proba
    sure = np.maximum(proba, 1 - proba)
    grid = np.random.default_rng(1).beta(6, 2, 200_000)
    assert np.quantile(sure, [0.1, 0.5, 0.9]) == pytest.approx(
        np.quantile(np.maximum(grid, 1 - grid), [0.1, 0.5, 0.9]), abs=0.01
    )


def test_predictions_are_those_of_the_case(source):
    proba = [
        benchmark.simulate(source, case).data.y_proba
        for case in (case_of(), case_of(), case_of(half="tune"), case_of(seed=1), case_of(attribute="sex = F"))
    ]
    np.testing.assert_array_equal(proba[0], proba[1])
    np.testing.assert_array_equal(proba[0], proba[2])
    assert (proba[0] != proba[3]).mean() > 0.9
    assert (proba[0] != proba[4]).mean() > 0.9


def test_samples_are_drawn_positives_first():
    source = made_up(n_drawn=250)
    trials = [benchmark.simulate(source, case_of(seed=seed)) for seed in (0, 1)]
    for trial in trials:
        assert len(trial.data) == len(trial.planted) == 250
        assert trial.data.y_true.sum() == source.data.y_true.sum()
    assert set(trials[0].data.sample_id) != set(trials[1].data.sample_id)
    view = trials[0].data.metadata["view"].to_numpy()
    np.testing.assert_array_equal(trials[0].planted, (view == "AP") & (trials[0].data.y_true == 1))
    fewer = made_up(n_drawn=50)  # less than there are positives
    assert benchmark.simulate(fewer, case_of()).data.y_true.all()


# Scores


def test_precision_counts_the_strongest_of_the_held_out_samples():
    planted = np.zeros(60, dtype=bool)
    planted[[0, 1, 2, 3, 40, 41]] = True
    held_out = np.arange(60) < 30
    strength = np.linspace(1, 0, 60)  # of the first 10: 4 planted; of the first 25: 4
    scores = benchmark.score(np.c_[strength], planted, held_out)
    assert scores["precision_at_10"] == 0.4
    assert scores["precision_at_25"] == 4 / 25
    assert scores["average_precision"] == 1  # the four planted come first
    assert scores["precision_at_10_all"] == 0.4
    backwards = benchmark.score(np.c_[-strength], planted, held_out)
    assert backwards["precision_at_10"] == 0
    assert backwards["precision_at_25"] == 0
    # The planted are samples 27 to 30 of 30: precision 1/27, 2/28, 3/29 and 4/30 at each.
    assert backwards["average_precision"] == pytest.approx(np.mean([1 / 27, 2 / 28, 3 / 29, 4 / 30]))
    assert backwards["precision_at_10_all"] == 0


def test_the_best_of_the_first_ten_candidates_counts():
    planted = np.arange(40) < 10
    everyone = np.ones(40, dtype=bool)
    bad, good = np.r_[np.zeros(10), np.ones(30)], planted.astype(float)
    assert benchmark.score(np.c_[bad, good], planted, everyone)["precision_at_10"] == 1
    eleventh = np.column_stack([bad] * 10 + [good])
    assert benchmark.score(eleventh, planted, everyone)["precision_at_10"] == 0
    assert benchmark.score(eleventh, planted, everyone)["average_precision"] < 0.3


def test_equal_memberships_are_drawn_not_taken_in_order():
    planted = np.arange(100) < 20
    everyone, same = np.ones(100, dtype=bool), np.ones((100, 1))
    drawn = [benchmark.score(same, planted, everyone, random_state=k)["precision_at_10"] for k in range(300)]
    assert drawn[0] == benchmark.score(same, planted, everyone, random_state=0)["precision_at_10"]
    # Hypergeometric: mean 0.2, variance 0.2 * 0.8 / 10 * 90 / 99.
    assert np.mean(drawn) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / 10 * 90 / 99 / 300))


def test_scores_without_candidates_or_without_a_planted_slice():
    planted, everyone = np.arange(40) < 10, np.ones(40, dtype=bool)
    assert set(benchmark.score(np.zeros((40, 0)), planted, everyone).values()) == {0.0}
    nothing = benchmark.score(np.ones((40, 2)), np.zeros(40, dtype=bool), everyone)
    assert all(np.isnan(value) for value in nothing.values())


def test_confirmation_says_whether_a_finding_is_what_was_planted():
    rng = np.random.default_rng(0)
    n = 400
    y = rng.integers(0, 2, n)
    planted = (np.arange(n) % 4 == 0) & (y == 1)
    error = np.where(planted, rng.random(n) < 0.8, rng.random(n) < 0.05)
    says = (y == 1) ^ error
    target = Target("sick", y.astype(np.int8), np.where(says, 0.9, 0.1), says)
    patients = np.arange(n).astype(str)
    held_out = np.arange(n) >= 100
    # The slice itself; it and as many others again, at a Jaccard index of about one half; another one.
    other = (np.arange(n) % 4 == 1) & (y == 1)
    candidates = benchmark.Candidates(np.c_[planted, other].astype(float), [1, 1])
    numbers = benchmark._confirmed(candidates, target, patients, planted, held_out, 0)
    assert numbers == {"n_findings": 1, "any_finding": 1.0, "recovered": 1.0}
    wide = planted | ((np.arange(n) % 4 != 0) & (y == 1) & (rng.random(n) < 0.6))
    numbers = benchmark._confirmed(
        benchmark.Candidates(np.c_[wide].astype(float), [1]), target, patients, planted, held_out, 0
    )
    assert numbers["n_findings"] == 1
    jaccard = (wide & planted)[held_out].sum() / (wide | planted)[held_out].sum()
    assert jaccard < 0.5
    assert numbers["recovered"] == 0
    none = benchmark._confirmed(benchmark.Candidates(np.zeros((n, 0)), []), target, patients, planted, held_out, 0)
    assert none == {"n_findings": 0, "any_finding": 0.0, "recovered": 0.0}
    null = benchmark._confirmed(candidates, target, patients, np.zeros(n, dtype=bool), held_out, 0)
    assert np.isnan(null["recovered"])


# Slicers


HAS_SLICELINE = importlib.util.find_spec("sliceline") is not None
SLICERS = [name for name in benchmark.SLICERS if name != "sliceline" or HAS_SLICELINE]


def ready(source, case):
    trial = benchmark.simulate(source, case)
    discovery, features = benchmark.split_and_encode(trial, case.seed)
    return trial, discovery, features, trial.data.targets(0.5)[0]


def search(slicer, features, subset, target, discovery, trial):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return benchmark.SLICERS[slicer](features, subset, target, discovery, trial.data.patient_id, 0)


@pytest.mark.parametrize("slicer", SLICERS)
@pytest.mark.parametrize("subset", [("image",), ("report", "metadata")])
def test_slicers_learn_from_the_discovery_samples_alone(source, slicer, subset):
    trial, discovery, features, target = ready(source, case_of())
    candidates = search(slicer, features, subset, target, discovery, trial)
    membership = candidates.membership
    assert membership.shape[0] == len(trial.data)
    assert membership.shape[1] <= 10
    assert ((membership >= 0) & (membership <= 1 + 1e-6)).all()
    # Other labels, predictions and embeddings of held-out samples change nothing for the discovery samples.
    held_out = ~discovery
    other = replace(
        target,
        y_true=np.where(held_out, 1 - target.y_true, target.y_true),
        y_proba=np.where(held_out, 0.3, target.y_proba),
        says=np.where(held_out, ~target.says, target.says),
    )
    rng = np.random.default_rng(5)
    embeddings = {
        k: np.where(held_out[:, None], rng.normal(size=v.shape), v).astype(v.dtype)
        for k, v in features.embeddings.items()
    }
    again = search(slicer, replace(features, embeddings=embeddings), subset, other, discovery, trial)
    np.testing.assert_allclose(again.membership[discovery], membership[discovery], atol=1e-6)


@pytest.mark.parametrize("slicer", SLICERS)
def test_what_is_written_in_the_metadata_is_found_better_than_by_chance(source, slicer):
    found, chance = [], []
    for seed in range(4):
        trial, discovery, features, target = ready(source, case_of("noisy", seed=seed))
        membership = search(slicer, features, METADATA, target, discovery, trial).membership
        found.append(benchmark.score(membership, trial.planted, ~discovery)["precision_at_10"])
        chance.append(trial.planted[~discovery].mean())
    assert np.mean(chance) < 0.4
    assert np.mean(found) > 0.75


def test_domino_takes_the_components_where_predictions_and_labels_part(source):
    trial, discovery, features, target = ready(source, case_of("noisy"))
    membership = search("domino", features, METADATA, target, discovery, trial).membership
    weights = membership[discovery] / membership[discovery].sum(axis=0)
    gap = np.abs(weights.T @ (target.y_proba - target.y_true)[discovery])
    assert gap[:3].min() > np.abs((target.y_proba - target.y_true)[discovery].mean())
    assert gap[:3].mean() > gap[-3:].mean()


def test_sliceline_gives_the_members_of_its_predicates(source):
    pytest.importorskip("sliceline")
    trial, discovery, features, target = ready(source, case_of("noisy"))
    first = search("sliceline", features, METADATA, target, discovery, trial).membership[:, 0] == 1
    in_view = (trial.data.metadata["view"] == "AP").to_numpy()
    assert in_view[first].all()


def test_an_error_names_the_package_that_sliceline_needs(monkeypatch, tmp_path, source):
    monkeypatch.setitem(sys.modules, "sliceline.slicefinder", None)
    with pytest.raises(
        MissingExtraError, match=r'the slicer sliceline needs the package sliceline.*"mmaudit\[bench\]"'
    ):
        benchmark.run([case_of()], sources=[source], out=tmp_path / "out", slicers=["sliceline"])
    assert not (tmp_path / "out").exists()


def test_numbers_are_cut_at_quartiles_of_the_discovery_samples():
    table = pd.DataFrame(
        {"age": [1.0, 2, 3, 4, 100, np.nan], "view": ["PA", None, "AP", "PA", "PA", "AP"], "t": [True] * 6}
    )
    binned = benchmark._binned(table, np.array([True, True, True, True, False, True]))
    # Quartiles of 1, 2, 3, 4 are 1.75, 2.5 and 3.25.
    assert binned["age"].tolist() == ["0", "1", "2", "3", "3", "missing"]
    assert binned["view"].tolist() == ["PA", "missing", "AP", "PA", "PA", "AP"]
    empty = benchmark._binned(pd.DataFrame({"age": [np.nan, np.nan, 1.0]}), np.array([True, True, False]))
    assert empty["age"].tolist() == ["missing", "missing", "0"]


# Runs


@pytest.fixture
def counted(monkeypatch):
    """Two quick slicers that count their calls: one like mmaudit, with labels to confirm, and one without."""
    calls = []

    def slicer(name, labels):
        def search(features, subset, target, discovery, patients, seed):
            calls.append((name, "+".join(subset), seed))
            in_view = (features.table["view"] == "AP").to_numpy()
            return benchmark.Candidates(np.c_[in_view].astype(np.float32), labels)

        return search

    monkeypatch.setitem(benchmark.SLICERS, "mmaudit", slicer("mmaudit", [None]))
    monkeypatch.setitem(benchmark.SLICERS, "kmeans", slicer("kmeans", None))
    return calls


def test_a_run_has_a_row_for_each_case_subset_and_slicer(source, counted, tmp_path):
    cases = [case_of(), case_of("null"), case_of("noisy", seed=1)]
    subsets = [("metadata", "report"), METADATA]
    frame = benchmark.run(cases, sources=[source], out=tmp_path, subsets=subsets, slicers=["mmaudit", "kmeans"])
    assert set(frame["modalities"]) == {"report+metadata", "metadata"}  # in the order of the paper, whatever was given
    assert len(frame) == 2 * 2 * 2 + 2  # nothing is planted in "null": only findings are counted there
    assert not frame.duplicated(["scenario", "attribute", "seed", "modalities", "slicer"]).any()
    null = frame[frame["scenario"] == "null"]
    assert set(null["slicer"]) == {"mmaudit"}
    assert null["precision_at_10"].isna().all()
    assert null["any_finding"].isin([0, 1]).all()
    planted = frame[frame["scenario"] != "null"]
    assert set(planted["tag"]) == {"written"}
    assert planted.loc[planted["scenario"] == "noisy", "precision_at_10"].eq(1).all()
    assert planted["any_finding"].isna().eq(planted["slicer"] != "mmaudit").all()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "benchmark.parquet"), frame)
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "## made-up, written" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["benchmark.parquet", "benchmark.png", "rows", "table.md"]


def test_candidates_need_not_be_confirmed(source, tmp_path):
    options = {"sources": [source], "out": tmp_path, "slicers": ["mmaudit"], "subsets": [METADATA]}
    quick = benchmark.run([case_of()], confirmed=False, **options)
    whole = benchmark.run([case_of()], **options)  # and what was left out is not taken for it
    assert quick[["n_findings", "any_finding", "recovered"]].isna().all(axis=None)
    assert whole[["n_findings", "any_finding", "recovered"]].notna().all(axis=None)
    assert quick["precision_at_10"].tolist() == whole["precision_at_10"].tolist()


def test_a_run_goes_on_where_it_was(source, counted, tmp_path, monkeypatch):
    options = {"sources": [source], "out": tmp_path, "subsets": [METADATA]}
    first = benchmark.run([case_of()], slicers=["kmeans"], **options)
    assert len(counted) == 1
    again = benchmark.run([case_of()], slicers=["kmeans"], **options)
    assert len(counted) == 1
    pd.testing.assert_frame_equal(first, again)
    more = benchmark.run([case_of(), case_of(seed=1)], slicers=["mmaudit", "kmeans"], **options)
    assert counted[1:] == [("mmaudit", "metadata", 0), ("mmaudit", "metadata", 1), ("kmeans", "metadata", 1)]
    assert len(more) == 4
    fewer = benchmark.run([case_of()], slicers=["kmeans"], **options)
    pd.testing.assert_frame_equal(first, fewer)
    assert len(counted) == 4
    monkeypatch.setattr(benchmark, "_code_key", lambda *below: "other code")
    benchmark.run([case_of()], slicers=["kmeans"], **options)
    assert len(counted) == 5


def test_an_interrupted_run_keeps_what_is_done_and_nothing_half(source, counted, tmp_path, monkeypatch):
    search = benchmark.SLICERS["kmeans"]

    def interrupted(*given):
        if given[-1] == 1:
            raise KeyboardInterrupt
        return search(*given)

    monkeypatch.setitem(benchmark.SLICERS, "kmeans", interrupted)
    options = {"sources": [source], "out": tmp_path, "subsets": [METADATA], "slicers": ["kmeans"]}
    with pytest.raises(KeyboardInterrupt):
        benchmark.run([case_of(seed=0), case_of(seed=1)], **options)
    assert [p.name for p in tmp_path.iterdir()] == ["rows"]
    (kept,) = (tmp_path / "rows").iterdir()
    assert pd.read_parquet(kept)["seed"].tolist() == [0]


def test_other_data_under_the_same_name_are_scored_anew(source, counted, tmp_path):
    options = {"out": tmp_path, "subsets": [METADATA], "slicers": ["kmeans"]}
    benchmark.run([case_of()], sources=[source], **options)
    benchmark.run([case_of()], sources=[made_up()], **options)
    assert len(counted) == 1  # made anew, but the same
    benchmark.run(
        [case_of()], sources=[replace(source, data=source.data.with_labels(1 - source.data.y_true))], **options
    )
    assert len(counted) == 2
    assert benchmark.Trained().fingerprint != benchmark.Trained(n_patients=60).fingerprint


def test_workers_give_the_same_as_one(source, tmp_path):
    cases = [case_of("noisy", seed=seed) for seed in (0, 1)]
    options = {"subsets": [METADATA], "slicers": ["kmeans", "domino"]}
    one = benchmark.run(cases, sources=[source], out=tmp_path / "one", **options)
    # Threads, which start at once; what processes need besides is that a source can be sent to them.
    sent = pickle.loads(pickle.dumps(source))
    with joblib.parallel_config(backend="threading"):
        two = benchmark.run(cases, sources=[sent], out=tmp_path / "two", n_jobs=2, **options)
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))


def test_subsets_that_a_source_lacks_are_left_out(counted, tmp_path):
    source = made_up()
    without = replace(
        source,
        data=AuditData.from_frame(
            source.data.metadata.assign(y=source.data.y_true, p=source.data.patient_id),
            label="y",
            patient_id="p",
            metadata=["view", "sex", "age"],
        ),
    )
    frame = benchmark.run([case_of()], sources=[without], out=tmp_path, slicers=["kmeans"])
    assert frame["modalities"].tolist() == ["metadata"]
    with pytest.raises(InputError, match=r"^subsets: expected modalities that the sources have, got none of them"):
        benchmark.run([case_of()], sources=[without], out=tmp_path, slicers=["kmeans"], subsets=[("image",)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slicers": ["domin"]}, f"slicers: {SLICERS_KNOWN}, got 'domin'. {CORRECT} Did you mean 'domino'?"),
        ({"subsets": [["image", "text"]]}, f"subsets: {MODALITIES_KNOWN}, got 'text'. {CORRECT}"),
        ({"subsets": []}, f"subsets: {MODALITIES_KNOWN}, got nothing. Name one, or leave it out: all."),
        ({"n_jobs": 0}, "n_jobs: expected a whole number other than 0, got 0. Use 1, or -1 for all cores."),
        ({"cases": []}, "cases: expected at least one case, got none. Take more scenarios, or another source."),
        ({"sources": []}, "sources: expected the source of every case, got none called 'made-up'. Give it too."),
    ],
)
def test_wrong_settings_of_a_run(source, tmp_path, options, message):
    given = {"cases": [case_of()], "sources": [source], "out": tmp_path / "out"} | options
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        benchmark.run(given.pop("cases"), **given)
    assert not (tmp_path / "out").exists()


# Tables and figure


def rows(values, *, attributes, slicer="kmeans", scenario="rare", seeds=None, **more):
    n = len(values)
    return pd.DataFrame(
        {
            "source": "made-up",
            "tag": "written",
            "scenario": scenario,
            "attribute": attributes,
            "seed": range(n) if seeds is None else seeds,
            "modalities": "report",
            "slicer": slicer,
            "chance": 0.1,
            "seconds": 2.0,
            **dict.fromkeys(benchmark.METRICS, np.nan),
            "precision_at_10": values,
        }
        | more
    )


def test_intervals_draw_whole_attributes():
    rng = np.random.default_rng(0)
    of_attribute = rng.normal(0.5, 0.1, 60)
    values = np.repeat(of_attribute, 5)  # five seeds that add nothing
    (row,) = benchmark.summarise(rows(values, attributes=np.repeat(np.arange(60), 5).astype(str))).to_dict("records")
    assert row["precision_at_10"] == pytest.approx(of_attribute.mean())
    half = 1.96 * of_attribute.std() / np.sqrt(60)  # five times as many rows must not make it narrower
    assert row["precision_at_10_low"] == pytest.approx(of_attribute.mean() - half, abs=0.1 * half)
    assert row["precision_at_10_high"] == pytest.approx(of_attribute.mean() + half, abs=0.1 * half)
    assert (row["n_cases"], row["n_attributes"], row["seconds"]) == (300, 60, 2.0)
    assert np.isnan(row["recovered_low"])


def test_with_one_attribute_intervals_draw_seeds():
    values = np.random.default_rng(1).normal(0.5, 0.1, 60)
    (row,) = benchmark.summarise(rows(values, attributes="view")).to_dict("records")
    half = 1.96 * values.std() / np.sqrt(60)
    assert row["precision_at_10_high"] - row["precision_at_10_low"] == pytest.approx(2 * half, rel=0.1)


def scored(modalities, values, **more):
    return rows(values, modalities=modalities, attributes=["a", "a", "b"], seeds=[0, 1, 0], **more)


def test_a_difference_is_that_of_the_same_cases():
    both = [scored("image", [0.2, 0.4, 0.9]), scored("image+report", [0.9, 0.3, 0.5]).iloc[::-1]]
    frame = pd.concat([*both, scored("report", [1.0, 1.0, 1.0])])
    alone = rows([0.7], modalities="image", attributes="c")  # of which there is no other
    table = benchmark.differences(pd.concat([frame, alone]), ["report", "image"], ["image"])
    assert table["scenario"].tolist() == ["rare", "all"]
    # Differences 0.7, -0.1, -0.4; drawn by attribute: both cases of a, or that of b, or all three.
    for row in table.itertuples():
        assert (row.source, row.slicer, row.n_cases, row.n_attributes) == ("made-up", "kmeans", 3, 2)
        assert row.difference == pytest.approx(0.2 / 3)
        assert (row.low, row.high) == (pytest.approx(-0.4), pytest.approx(0.3))


def test_differences_are_told_by_scenario_and_by_slicer():
    parts = [
        scored(modalities, [value] * 3, scenario=scenario, slicer=slicer)
        for scenario, of_scenario in (("noisy", 0.1), ("rare", 0.3), ("null", 0.9))
        for slicer in ("kmeans", "mmaudit")
        for modalities, value in (("image", 0.0), ("metadata", of_scenario + 0.4 * (slicer == "mmaudit")))
    ]
    table = benchmark.differences(pd.concat(parts), ["metadata"], ["image"]).set_index(["slicer", "scenario"])
    expected = {"rare": 0.3, "noisy": 0.1, "all": 0.2}
    for slicer, more in (("kmeans", 0), ("mmaudit", 0.4)):
        assert table.loc[slicer, "difference"].to_dict() == pytest.approx({k: v + more for k, v in expected.items()})


def test_differences_need_both_subsets():
    message = "frame: expected cases scored with report and with image, got none. Run both subsets."
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        benchmark.differences(scored("image", [0.1, 0.2, 0.3]), ["report"], ["image"])


def test_the_headings_of_a_source_without_a_tag_end_there():
    of_own = benchmark.summarise(rows([0.5, 0.6], attributes=["a", "b"], tag=""))
    assert "\n## made-up\n" in benchmark.to_markdown(of_own)
    assert benchmark.plot(of_own).axes[0].get_ylabel() == "made-up\nprecision at 10"


@pytest.fixture
def summary():
    frames = [
        rows([0.2, 0.4], attributes=["a", "b"], slicer="kmeans"),
        rows([0.8, 1.0], attributes=["a", "b"], slicer="mmaudit", any_finding=[1.0, 0.0], recovered=[1.0, 0.0]),
        rows([0.5, 0.5], attributes=["a", "b"], slicer="kmeans", scenario="noisy"),
        rows([np.nan] * 2, attributes="", slicer="mmaudit", scenario="null", any_finding=[0.0, 0.0], tag=""),
    ]
    return benchmark.summarise(pd.concat(frames, ignore_index=True))


def test_the_summary_has_all_tags_of_a_source_together_too():
    one = rows([0.2, 0.4], attributes=["a", "b"]).assign(tag="written")
    two = rows([0.9], attributes="c").assign(tag="picture")
    summary = benchmark.summarise(pd.concat([one, two], ignore_index=True)).set_index("tag")
    assert summary.index.tolist() == ["all", "written", "picture"]
    assert summary.loc["all", "precision_at_10"] == pytest.approx(0.5)
    assert summary.loc["all", "n_attributes"] == 3
    assert benchmark.summarise(one)["tag"].tolist() == ["written"]


def test_the_table_shows_every_number_where_it_belongs(summary):
    lines = benchmark.to_markdown(summary).splitlines()
    assert "| scenario | modalities | cases (attributes) | chance | mmaudit | kmeans |" in lines
    assert "| rare | report | 2 (2) | 0.10 | 0.90 (0.80 to 1.00) | 0.30 (0.20 to 0.40) |" in lines
    assert "| noisy | report | 2 (2) | 0.10 |  | 0.50 (0.50 to 0.50) |" in lines
    assert "| rare | report | 2 | 0.50 (0.00 to 1.00) | 0.50 (0.00 to 1.00) |" in lines
    assert "| null | report | 2 | 0.00 (0.00 to 0.00) |  |" in lines


def test_the_figure_has_a_panel_a_scenario_and_a_shape_a_slicer(summary):
    figure = benchmark.plot(summary)
    assert [axes.get_title() for axes in figure.axes] == ["rare", "noisy"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mmaudit", "kmeans", "chance"]
    lines = {c.get_label(): c.lines[0] for c in figure.axes[0].containers}
    assert lines["mmaudit"].get_ydata() == pytest.approx([0.9])
    assert lines["mmaudit"].get_marker() != lines["kmeans"].get_marker()
    assert lines["mmaudit"].get_color() != lines["kmeans"].get_color()
    assert set(benchmark.STYLES) == set(benchmark.SLICERS)
    assert len({shape for _, shape in benchmark.STYLES.values()}) == len(benchmark.STYLES)
    assert "precision at 10" in benchmark.ALT_TEXT


def test_a_run_of_null_cases_alone_has_a_table_and_a_figure(source, counted, tmp_path):
    benchmark.run([case_of("null")], sources=[source], out=tmp_path, slicers=["mmaudit"], subsets=[METADATA])
    assert "| null | metadata | 1 |" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "benchmark.png").is_file()


# Phantoms and their networks


class Network:
    """Stands for a trained network: the probability is the number of the patient's sample, so that it can be told."""

    n_trained = 0

    @classmethod
    def train(cls, data, *, random_state):
        cls.n_trained += 1
        cls.seen = set(data.patient_id)
        return cls()

    def predict(self, data):
        self.asked = set(data.patient_id)
        assert not self.asked & self.seen
        return data.with_predictions(np.linspace(0, 1, len(data)))


few_to_learn_from = pytest.mark.filterwarnings("ignore:where. expected a subgroup large enough")


@pytest.fixture
def phantom(monkeypatch):
    monkeypatch.setattr(Network, "n_trained", 0)
    settings = {"noisy": {"kind": "noisy", "where": {"view": ["AP", "AP supine"]}, "rate": 0.8}}
    return benchmark.Trained(n_patients=60, image_size=64, settings=settings, train=Network.train)


@few_to_learn_from
def test_the_planted_slice_of_a_phantom_is_that_of_its_test_samples(phantom):
    (case,), left_out = benchmark.make_cases([phantom], n_seeds=1)
    assert not left_out
    assert (case.source, case.scenario, case.attribute, case.seed) == ("phantom", "noisy", "view = AP or AP supine", 0)
    trial = benchmark.simulate(phantom, case)
    view = trial.data.metadata["view"]
    # Labels of 1 are those recorded wrongly, unless `inject` is asked for others.
    expected = view.isin(["AP", "AP supine"]).to_numpy() & (trial.data.y_true == 1)
    np.testing.assert_array_equal(trial.planted, expected)
    assert 0 < trial.planted.sum() < len(trial.data)
    everyone = load_phantom(60, image_size=64, random_state=0)
    assert set(trial.data.sample_id) < set(everyone.sample_id)
    np.testing.assert_array_equal(
        trial.data.y_true, everyone.y_true[everyone.sample_id.get_indexer(trial.data.sample_id)]
    )


@few_to_learn_from
def test_trained_predictions_are_kept(phantom, tmp_path):
    case = benchmark.make_cases([phantom], n_seeds=1)[0][0]
    first = benchmark.simulate(phantom, case, folder=tmp_path)
    again = benchmark.simulate(phantom, case, folder=tmp_path)
    assert Network.n_trained == 1
    np.testing.assert_array_equal(first.data.y_proba, again.data.y_proba)
    np.testing.assert_array_equal(first.planted, again.planted)
    (kept,) = (tmp_path / "predictions").iterdir()
    assert pd.read_parquet(kept).columns.tolist() == ["sample_id", "y_proba"]
    benchmark.simulate(phantom, replace(case, seed=1), folder=tmp_path)
    assert Network.n_trained == 2


def test_a_run_on_phantoms_goes_through_all_modalities(phantom, tmp_path):
    cases = benchmark.make_cases([phantom], n_seeds=1)[0]
    frame = benchmark.run(cases, sources=[phantom], out=tmp_path, slicers=["kmeans"])
    assert frame["modalities"].tolist() == [
        *("image", "report", "metadata", "image+report", "image+metadata", "report+metadata"),
        "image+report+metadata",
    ]
    assert frame["tag"].eq("written").all()
    assert frame["precision_at_10"].between(0, 1).all()


@pytest.fixture
def own(monkeypatch):
    """Return data of one's own, in which each of two failures is planted in two places."""
    monkeypatch.setattr(Network, "n_trained", 0)
    data = load_phantom(60, image_size=64, random_state=0)
    bedside, women = {"view": ["AP", "AP supine"]}, (data.metadata["sex"] == "F").to_numpy()
    settings = {
        "noisy": [{"kind": "noisy", "where": place, "rate": 0.8} for place in (bedside, women)],
        "correlation": {"kind": "correlation", "where": bedside, "strength": 0.9},
    }
    images = describe_images(data.images)
    return benchmark.Trained("own", settings=settings, train=Network.train, data=data, images=images)


@few_to_learn_from
def test_failures_are_planted_in_data_of_ones_own(own):
    cases, _ = benchmark.make_cases([own], n_seeds=2)
    bedside, given = "view = AP or AP supine", "a mark in the given mask"
    assert [(c.scenario, c.attribute, c.seed) for c in cases] == [
        *(("correlation", bedside, seed) for seed in (0, 1)),
        *(("noisy", attribute, seed) for attribute in (bedside, given) for seed in (0, 1)),
    ]
    tests = []
    for case in cases[-2:]:
        trial = benchmark.simulate(own, case)
        expected = (trial.data.metadata["sex"] == "F").to_numpy() & (trial.data.y_true == 1)
        np.testing.assert_array_equal(trial.planted, expected)
        rows = own.data.sample_id.get_indexer(trial.data.sample_id)
        np.testing.assert_array_equal(trial.images.descriptors, own.images.descriptors[rows])
        assert own.tag(case) == ""
        scenario = own.scenario(case)
        assert set(scenario.test.sample_id) == set(trial.data.sample_id)
        assert set(scenario.train.patient_id).isdisjoint(trial.data.patient_id)
        tests.append(set(trial.data.patient_id))
    assert tests[0] != tests[1]  # the seed divides the patients


@few_to_learn_from
def test_images_that_were_described_are_not_read_for_each_case(own, monkeypatch, tmp_path):
    cases, _ = benchmark.make_cases([own], scenarios=["correlation"], n_seeds=1)
    monkeypatch.setattr(type(own.data.images), "read", None)
    frame = benchmark.run(cases, sources=[own], out=tmp_path, slicers=["kmeans"], subsets=[["image"]])
    assert len(frame) == 1


@few_to_learn_from
def test_what_a_worker_trained_is_used_again(own, tmp_path):
    copy = pickle.loads(pickle.dumps(own))
    # As joblib hands large arrays to workers.
    path = joblib.dump(own.images.descriptors, tmp_path / "descriptors")[0]
    copy = replace(copy, images=replace(copy.images, descriptors=joblib.load(path, mmap_mode="r")))
    assert copy.fingerprint == own.fingerprint
    case = benchmark.make_cases([own], n_seeds=1)[0][0]
    benchmark.simulate(copy, case, folder=tmp_path)
    benchmark.simulate(own, case, folder=tmp_path)
    assert Network.n_trained == 1


def test_other_data_and_settings_of_ones_own_are_told_apart(own):
    other = load_phantom(60, image_size=64, random_state=1)
    fewer = dict(list(own.settings.items())[:1])
    masks = {"noisy": [own.settings["noisy"][0], own.settings["noisy"][1] | {"where": own.data.y_true == 1}]}
    changed = [
        replace(own, data=other),
        replace(own, images=None),
        replace(own, data=own.data.with_labels(1 - own.data.y_true)),
        replace(own, settings=fewer),
        replace(own, settings=own.settings | masks),
    ]
    assert len({own.fingerprint, *(source.fingerprint for source in changed)}) == 6


def test_nothing_is_null_on_phantoms():
    assert benchmark.make_cases([benchmark.Trained()], scenarios=["null"]) == ([], [])
    assert {c.scenario for c in benchmark.make_cases([benchmark.Trained()])[0]} == {"rare", "correlation", "noisy"}


# Sources


@pytest.fixture(scope="module")
def covid_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("covid")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for k in range(24):
        pixels = rng.integers(0, 40 + 8 * k, (40 + k % 3, 50))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / f"{k}.png")
        finding = "Pneumonia/Viral/COVID-19" if k % 2 else "No Finding"
        notes = ["Fever for 3 days.", "Tubes in place, bilateral.", "Cough."][k % 3]
        lines.append(
            {
                "patientid": k,
                "finding": finding,
                "filename": f"{k}.png",
                "view": ["PA", "AP"][k % 2],
                "sex": "F",
                "age": 30 + 3 * k,
                "modality": "X-ray",
                "clinical_notes": notes,
            }
        )
    pd.DataFrame(lines).to_csv(folder / "metadata.csv", index=False)
    return folder


def test_the_attributes_of_covid_are_what_they_are_called(covid_folder):
    source = benchmark.load_source("covid", covid_folder, n_jobs=1)
    by_name = {a.name: a for a in source.attributes}
    assert len(by_name) == len(source.attributes)
    assert "country = Germany" not in by_name  # a column that this copy lacks
    np.testing.assert_array_equal(by_name["view = AP"].mask, np.arange(24) % 2 == 1)
    np.testing.assert_array_equal(by_name["age > 65"].mask, 30 + 3 * np.arange(24) > 65)
    np.testing.assert_array_equal(by_name["report: fever"].mask, np.arange(24) % 3 == 0)
    np.testing.assert_array_equal(by_name["report: tube or line"].mask, np.arange(24) % 3 == 1)
    brightness = [source.data.images.read(k).pixels.mean() for k in range(24)]
    np.testing.assert_array_equal(by_name["picture: bright"].mask, brightness > np.quantile(brightness, 0.75))
    tags = pd.Series([a.tag for a in source.attributes]).value_counts()
    assert tags["picture"] == 10
    assert tags["picture-new"] == 8
    # What was looked at while choices were made is for tuning only.
    halves = {half: {a.name for a in source.attributes if a.half == half} for half in ("tune", "report")}
    assert len(halves["tune"]) + len(halves["report"]) == len(source.attributes)
    assert {"view = AP", "report: fever", "picture: bright", "picture: bright corners"} <= halves["tune"]
    assert {"report: opacity", "picture: dark", "picture: dark centre"} <= halves["report"]
    for half, names in halves.items():
        kept, left_out = benchmark.make_cases([source], scenarios=["noisy"], half=half, n_seeds=1)
        assert {case.attribute for case in kept + left_out} == names
    assert set(source.images.thumbnails) == {None}
    # Tagged "picture-new": not among the columns that an audit sees.
    assert source.images.statistics.shape[1] == 6


def test_images_are_decoded_once_for_all_cases(covid_folder, tmp_path, monkeypatch):
    source = benchmark.load_source("covid", covid_folder, n_jobs=1)
    monkeypatch.setattr(type(source.data.images), "read", lambda *given, **options: pytest.fail("an image was read"))
    case = case_of("noisy", "picture: bright", source="covid")
    discovery, features = benchmark.split_and_encode(benchmark.simulate(source, case), 0)
    assert discovery.any()
    np.testing.assert_array_equal(features.embeddings["image"], source.images.descriptors)
    drawn = replace(source, n_drawn=16)
    trial = benchmark.simulate(drawn, case)
    _, features = benchmark.split_and_encode(trial, 0)
    position = source.data.sample_id.get_indexer(trial.data.sample_id)
    np.testing.assert_array_equal(features.embeddings["image"], source.images.descriptors[position])


def test_pictures_in_numbers_that_the_encoders_lack():
    pixels = np.zeros((30, 40), dtype=np.float32)
    pixels[:, :20] = 0.5  # left half
    pixels[20:, :] += 0.25  # lowest third
    left, down, corners, skewness, centre, upright, corner, rows = benchmark._unknown_statistics(pixels)
    assert left == pytest.approx(0.5)
    assert down == pytest.approx(0.25)
    assert corners == pytest.approx((0.5 + 0 + 0.75 + 0.25) / 4)
    centred = pixels - pixels.mean()
    assert skewness == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5, rel=1e-4)
    assert centre == pytest.approx((0.25 + 0.25 / 3) - (0.25 + 0.25 * 3 / 16))  # three of its sixteen rows are brighter
    assert upright == pytest.approx((30 * 0.5 - 40 * 0.25) / 1200)
    assert corner == pytest.approx(0.5)
    assert rows == pytest.approx(0.25 * np.sqrt(2 / 9))
    assert benchmark._unknown_statistics(np.full((1, 1), 0.5))[3:] == (0, 0, 0, 0.5, 0)


@pytest.mark.parametrize(
    ("name", "root", "message"),
    [
        ("covd", None, f"source: {SOURCES_KNOWN}, got 'covd'. {CORRECT} Did you mean 'covid'?"),
        ("covid", None, "source: expected covid with its folder, got none. Write covid:FOLDER."),
        (
            "phantom",
            "x",
            "source: expected phantom without a folder, got one with. Leave the folder out: films are drawn.",
        ),
    ],
)
def test_sources_that_cannot_be_loaded(name, root, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        benchmark.load_source(name, root)


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("openi", "torchxrayvision", "xrv"), ("phantom", "torch", "torch")]
)
def test_sources_whose_package_is_missing(monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf'needs the package {package}.*"mmaudit\[{extra}\]"'):
        benchmark.load_source(name)


# The command


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failed(capsys, *argv):
    assert cli.main(["benchmark", *argv]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.strip()


def test_the_command_runs_and_prints_the_table(capsys, here, monkeypatch, counted):
    loaded = []
    (here / "out/predictions").mkdir(parents=True)  # of a run that was interrupted before its first case was done
    monkeypatch.setattr(benchmark, "load_source", lambda *given: loaded.append(given) or made_up())
    argv = ["benchmark", "out", "--source", "covid:some/folder", "--half", "tune", "--seeds", "1", "--quiet"]
    argv += ["--slicer", "mmaudit", "--slicer", "kmeans", "--modalities", "metadata", "--modalities", "report,metadata"]
    argv += ["--scenario", "rare", "--scenario", "noisy"]
    assert cli.main(argv) == 0
    assert loaded == [("covid", "some/folder")]
    said = capsys.readouterr()
    assert said.out.startswith((here / "out/table.md").read_text(encoding="utf-8").rstrip())
    assert "The figure is" in said.out
    assert said.err.strip() == (
        "left out 2 of 8 cases: fewer than 20 samples or 15 patients would be planted, or all of one label"
    )
    frame = pd.read_parquet(here / "out/benchmark.parquet")
    assert len(frame) == 3 * 2 * 2 * 2
    assert set(frame["modalities"]) == {"metadata", "report+metadata"}
    n_searched = len(counted)
    assert cli.main(argv) == 0
    assert len(counted) == n_searched


def test_by_default_everything_runs_on_phantoms(here, monkeypatch):
    ran = []

    def run(cases, **options):
        ran.append((cases, options))
        (here / "out").mkdir()
        (here / "out/table.md").write_text("# Benchmark\n", encoding="utf-8")

    monkeypatch.setattr(benchmark, "load_source", lambda name, root: benchmark.Trained(name))
    monkeypatch.setattr(benchmark, "run", run)
    assert cli.main(["benchmark", "out"]) == 0
    ((cases, options),) = ran
    assert {(c.source, c.scenario) for c in cases} == {("phantom", s) for s in ("rare", "correlation", "noisy")}
    assert {c.seed for c in cases} == set(range(5))
    assert options["subsets"] == benchmark.SUBSETS
    assert options["slicers"] == benchmark.DEFAULT_SLICERS
    assert options["progress"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--source", "covd:x"], f"--source: {SOURCES_KNOWN}, got 'covd'. {CORRECT} Did you mean 'covid'?"),
        (["--source", "covid"], "--source: expected covid with its folder, got none. Write covid:FOLDER."),
        (
            ["--source", "covid:x", "--source", "covid:y"],
            "--source: expected each source once, got one of them twice. Leave one out.",
        ),
        (["--half", "whole"], "--half: expected some of tune, report, got 'whole'. Correct the name."),
        (["--seeds", "0"], "--seeds: expected a whole number from 1 on, got 0. Use 5."),
        (["--slicer", "kmean"], f"--slicer: {SLICERS_KNOWN}, got 'kmean'. {CORRECT} Did you mean 'kmeans'?"),
        (
            ["--modalities", "images"],
            f"--modalities: {MODALITIES_KNOWN}, got 'images'. {CORRECT} Did you mean 'image'?",
        ),
        (["--scenario", "nois"], f"--scenario: {SCENARIOS_KNOWN}, got 'nois'. {CORRECT} Did you mean 'noisy'?"),
        (["--jobs", "0"], "--jobs: expected a whole number other than 0, got 0. Use 1, or -1 for all cores."),
    ],
)
def test_the_command_refuses_before_any_work(capsys, here, argv, message):
    assert failed(capsys, "out", *argv) == f"mmaudit benchmark: {message}"
    assert not (here / "out").exists()


def test_the_command_leaves_other_folders_alone(capsys, here):
    (here / "mine").mkdir()
    (here / "mine/notes.txt").write_text("mine", encoding="utf-8")
    assert failed(capsys, "mine") == (
        "mmaudit benchmark: OUT: expected a new or empty folder, or that of an earlier benchmark, "
        "got 'mine', which holds other files. Give another name."
    )
    assert failed(capsys, "mine/notes.txt") == (
        "mmaudit benchmark: OUT: expected a folder, got 'mine/notes.txt', which is a file. Give another name."
    )
    assert [p.name for p in (here / "mine").iterdir()] == ["notes.txt"]


def test_the_help_teaches_and_its_examples_are_accepted(capsys, monkeypatch):
    with pytest.raises(SystemExit) as caught:
        cli.main(["benchmark", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert re.search(r"130 +interrupted", text)
    examples = re.findall(r"^  mmaudit (.*)$", text, flags=re.MULTILINE)
    assert len(examples) == 3
    ran = []
    monkeypatch.setattr(cli, "_benchmark", lambda args: ran.append(args) or 0)
    for example in examples:
        assert cli.main(example.split()) == 0
    assert len(ran) == 3
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert re.search(r"\n    benchmark\s+plant failures", capsys.readouterr().out)
