"""An audit of shards, on every engine, killed and resumed: the same result as of a table in memory."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest

import mmaudit as mma
from mmaudit import _audit
from mmaudit.encoders import _features

N_SAMPLES = 600
METADATA = ["view", "sex", "age"]
HOW = {"n_slices": 5, "n_refits": 2, "n_permutations": 199}
STAGES = ["encode", "discover", "stability", "confirm", "explain"]
KILLS = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")


@pytest.fixture(scope="module")
def cohort(cohorts):
    """Errors on AP films of label 1, with reports, metadata and embeddings of 16 columns."""
    frame = cohorts.table(N_SAMPLES, seed=1)
    frame = cohorts.predict(frame, np.where((frame["view"] == "AP") & (frame["label"] == 1), 0.65, 0.1), shared=0.5)
    X = np.random.default_rng(0).normal(size=(N_SAMPLES, 16)) * np.linspace(3, 0.5, 16)
    return frame, X.astype(np.float32)


@pytest.fixture(scope="module")
def folder(cohort, tmp_path_factory):
    """Return a function that gives the folder of so many shards."""
    made = {}

    def of(n_shards):
        if n_shards not in made:
            made[n_shards] = tmp_path_factory.mktemp("shards")
            n_rows = -(-N_SAMPLES // n_shards)
            mma.shards.write_shards(made[n_shards], cohort[0], embeddings={"image": cohort[1]}, n_rows=n_rows)
        return made[n_shards]

    return of


def read(folder, **keywords):
    roles = {"label": "label", "y_proba": "proba", "patient_id": "patient", "report": "report", "metadata": METADATA}
    return mma.AuditData.from_shards(folder, **roles, **keywords)


def audited(data, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mma.audit(data, **(HOW | keywords))


def saved(result, path):
    """Return what is saved of a result, without seconds and memory."""
    document = json.loads(result.save(path).read_text(encoding="utf-8"))
    for name in ("seconds", "peak_bytes"):
        document["summary"]["settings"].pop(name)
    return json.dumps(document)


def assert_same(result, expected):
    """Compare to 1e-5; texts, ranks and counts exactly."""
    assert list(result.candidates) == list(expected.candidates)
    for column in expected.candidates:
        found, known = result.candidates[column], expected.candidates[column]
        if known.dtype.kind == "f":
            np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-5, err_msg=column)
        else:
            assert found.tolist() == known.tolist(), column
    np.testing.assert_allclose(result.membership.to_numpy(), expected.membership.to_numpy(), atol=1e-5)
    assert len(result.candidates) >= 3
    assert result.traits == expected.traits


@pytest.fixture(scope="module")
def in_memory(cohort, cohorts):
    data = cohorts.data_of(cohort[0], metadata=METADATA, report="report", embeddings={"image": cohort[1]})
    return audited(data, n_jobs=1)


@pytest.fixture(scope="module")
def sharded(folder):
    return audited(read(folder(3), n_jobs=1), n_jobs=1)


@pytest.mark.parametrize("n_shards", [1, 7])
def test_the_number_of_shards_changes_nothing(folder, in_memory, n_shards):
    assert_same(audited(read(folder(n_shards), n_jobs=1), n_jobs=1), in_memory)


def test_threads_change_nothing(folder, in_memory, sharded, tmp_path):
    assert_same(sharded, in_memory)
    with joblib.parallel_config("threading", n_jobs=2):
        result = audited(read(folder(3)))
    assert saved(result, tmp_path / "a.json") == saved(sharded, tmp_path / "b.json")


def test_what_is_made_for_many_cases_gives_the_same_from_one_block_or_seven(cohort, cohorts, folder, monkeypatch):
    monkeypatch.setattr(_features, "MOST_RAW_BYTES", 1000)
    monkeypatch.setattr(_features, "N_KEPT", 6)
    monkeypatch.setattr(_features, "FIT_REPORTS", 100)
    monkeypatch.setattr(_features, "MANY_REPORTS", 10)
    monkeypatch.setattr(_audit, "MANY_SAMPLES", 10)
    data = cohorts.data_of(cohort[0], metadata=METADATA, report="report", embeddings={"image": cohort[1]})
    with joblib.parallel_config("threading", n_jobs=2):
        expected = audited(data)
        assert_same(audited(read(folder(7))), expected)
        assert_same(audited(read(folder(1))), expected)


def test_large_embeddings_become_their_principal_components(folder, cohort, monkeypatch):
    """Compare with a decomposition of all rows at once."""
    monkeypatch.setattr(_features, "MOST_RAW_BYTES", 1000)
    monkeypatch.setattr(_features, "N_KEPT", 6)
    X = cohort[1].astype(float)
    fit_on = np.random.default_rng(3).random(N_SAMPLES) < 0.4
    mean = X[fit_on].mean(axis=0)
    axes = np.linalg.svd(X[fit_on] - mean, full_matrices=False)[2][:6]
    axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    for values in (cohort[1], read(folder(7), n_jobs=1).embeddings["image"]):
        found = _features._reduced("image", values, fit_on, 1, None, False)
        np.testing.assert_allclose(found, (X - mean) @ axes.T, atol=2e-4)


# Interrupted


class PowerCut(BaseException):
    """Ends a stage from within."""


def test_a_run_that_ends_in_any_stage_goes_on_to_the_same_result(folder, sharded, tmp_path, monkeypatch):
    mark = _audit._Stages.mark
    encode, searched = _audit.encode, _audit.Portfolio.fit
    calls = []
    monkeypatch.setattr(_audit.Portfolio, "fit", lambda self, *a, **k: calls.append(1) or searched(self, *a, **k))
    for stage in STAGES:

        def cut(self, name, stage=stage):
            mark(self, name)
            if name == stage:
                raise PowerCut

        monkeypatch.setattr(_audit._Stages, "mark", cut)
        with pytest.raises(PowerCut):
            audited(read(folder(3), n_jobs=1), n_jobs=1, checkpoints=tmp_path / "run", resume=True)
    monkeypatch.setattr(_audit._Stages, "mark", mark)
    monkeypatch.setattr(_audit, "encode", encode)
    result = audited(read(folder(3), n_jobs=1), n_jobs=1, checkpoints=tmp_path / "run", resume=True)
    assert saved(result, tmp_path / "a.json") == saved(sharded, tmp_path / "b.json")
    assert len(calls) == 1 + HOW["n_refits"]  # one search and its repetitions, in all six runs together


def test_a_damaged_checkpoint_is_made_again(folder, sharded, tmp_path):
    again = {"n_jobs": 1, "checkpoints": tmp_path / "run", "resume": True}
    audited(read(folder(3), n_jobs=1), **again)
    files = sorted((tmp_path / "run").glob("*/*.zip"))
    for k, path in enumerate(files):
        content = path.read_bytes()
        path.write_bytes([content[: len(content) // 2], b"", content[::-1]][k % 3])
    result = audited(read(folder(3), n_jobs=1), **again)
    assert saved(result, tmp_path / "a.json") == saved(sharded, tmp_path / "b.json")
    assert files == sorted((tmp_path / "run").glob("*/*.zip"))


def test_checkpoints_of_other_data_or_settings_are_refused(folder, tmp_path):
    about = {"n_jobs": 1, "checkpoints": tmp_path / "run"}
    data = read(folder(3), n_jobs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_audit, "encode", lambda *a, **k: (_ for _ in ()).throw(PowerCut))
        with pytest.raises(PowerCut):
            audited(data, **about)
        with pytest.raises(
            mma.InputError, match="resume: expected the data and settings of the interrupted run, got o"
        ):
            audited(data, **about, resume=True, alpha=0.1)
        with pytest.raises(mma.InputError, match=r"got other data\. Give the same ones"):
            audited(read(folder(7), n_jobs=1), **about, resume=True)
        with pytest.raises(PowerCut):
            audited(data, **about, resume=True)


@KILLS
def test_an_audit_that_is_killed_goes_on_to_the_same_bytes():
    bench = Path(__file__).resolve().parents[1] / "bench" / "kill_and_resume.py"
    done = subprocess.run([sys.executable, bench, "--runs", "2"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^2 of 2 identical after [1-6] kills, no piece done twice$", done.stdout, re.MULTILINE)


# A cluster


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    how = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": logging.CRITICAL}
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        local = stack.enter_context(distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **how))
        stack.enter_context(distributed.Client(local))
        yield local


@KILLS
@pytest.mark.parametrize("backend", ["dask", "loky"])
def test_processes_change_nothing_and_one_that_is_killed_during_the_work_neither(
    request, folder, sharded, tmp_path, monkeypatch, backend
):
    if backend == "dask":
        request.getfixturevalue("cluster")
    marker, terms_of, here = str(tmp_path / "killed"), _features._terms_of, os.getpid()

    def deadly(texts):
        import os
        import signal
        from pathlib import Path

        with contextlib.suppress(FileExistsError):
            Path(marker).touch(exist_ok=False)
            assert os.getpid() != here
            os.kill(os.getpid(), signal.SIGKILL)
        return terms_of(texts)

    monkeypatch.setattr(_features, "_terms_of", deadly)
    with joblib.parallel_config(backend) if backend == "dask" else joblib.parallel_config(backend, n_jobs=2):
        result = audited(read(folder(3)), checkpoints=tmp_path / "run")
    assert Path(marker).exists()
    assert saved(result, tmp_path / "a.json") == saved(sharded, tmp_path / "b.json")


@pytest.mark.enable_socket  # ray speaks with itself by the address of the machine
def test_ray_gives_the_same_result(folder, sharded, tmp_path, monkeypatch):
    pytest.importorskip("ray.util.joblib")
    monkeypatch.setattr(_audit, "MANY_SAMPLES", 10)  # ray works on what is large only
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        with joblib.parallel_config("ray"):
            result = audited(read(folder(3)))
    finally:
        ray.shutdown()
    assert saved(result, tmp_path / "a.json") == saved(sharded, tmp_path / "b.json")


def test_spark_gives_the_same_result(folder, sharded, tmp_path, monkeypatch):
    backend = pytest.importorskip("joblibspark.backend")
    backend.register()
    from pyspark.sql import SparkSession

    given, give = [], backend.SparkDistributedBackend.apply_async
    monkeypatch.setattr(
        backend.SparkDistributedBackend, "apply_async", lambda self, *work: given.append(work) or give(self, *work)
    )
    monkeypatch.setattr(_audit, "MANY_SAMPLES", 10)
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    session = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        with joblib.parallel_config("spark", n_jobs=2):
            result = audited(read(folder(3)))
    finally:
        session.stop()
    assert len(given) >= 3  # a shard each at the least
    assert saved(result, tmp_path / "a.json") == saved(sharded, tmp_path / "b.json")


def test_audits_in_two_threads_do_not_disturb_each_other(folder, sharded, tmp_path):
    results = {}
    threads = [
        threading.Thread(target=lambda k=k: results.update({k: audited(read(folder(3), n_jobs=1), n_jobs=1)}))
        for k in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(2):
        assert_same(results[k], sharded)
