"""The benchmark of scale: what it simulates, how it goes on, and its arithmetic. No time is asserted."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmaudit import cli, scale
from mmaudit._errors import InputError, MissingExtraError
from mmaudit.scale import Scale, measure_scale, simulate_shards


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def failed(capsys, *argv):
    assert cli.main([*argv]) == 2
    return capsys.readouterr().err.rstrip("\n")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Simulated cohorts


@pytest.fixture(scope="module")
def simulated():
    return scale._simulated(10_000, 64, 0, 0)


def test_shards_do_not_depend_on_what_is_there(tmp_path):
    size = {"n_dimensions": 8, "n_rows": 40}
    simulate_shards(tmp_path / "once", 100, **size)
    names = [f"part-{k:05d}{ending}" for k in range(3) for ending in (".image.npy", ".parquet")]
    once = content(tmp_path / "once")
    assert list(once) == ["cohort.json", *names]
    # Of another run that was interrupted, one shard is missing and one damaged.
    simulate_shards(tmp_path / "again", 100, **size)
    (tmp_path / "again" / names[1]).unlink()
    (tmp_path / "again" / names[4]).write_bytes(once[names[4]][:100])
    kept = (tmp_path / "again" / names[3]).stat().st_mtime_ns
    simulate_shards(tmp_path / "again", 100, **size)
    assert content(tmp_path / "again") == once
    assert (tmp_path / "again" / names[3]).stat().st_mtime_ns == kept
    # The shards of a larger cohort begin with the same.
    simulate_shards(tmp_path / "larger", 200, **size)
    larger = content(tmp_path / "larger")
    assert [larger[name] for name in names[:4]] == [once[name] for name in names[:4]]
    simulate_shards(tmp_path / "other", 100, **size, random_state=1)
    assert content(tmp_path / "other")[names[1]] != once[names[1]]


def test_a_folder_with_something_else_is_refused(tmp_path):
    simulate_shards(tmp_path / "cohort", 100, n_dimensions=8)
    with pytest.raises(InputError, match=r"^folder: expected a new one, or with the same cohort, got one with some"):
        simulate_shards(tmp_path / "cohort", 101, n_dimensions=8)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(InputError, match=r"^folder: expected a new one"):
        simulate_shards(tmp_path / "mine", 100, n_dimensions=8)
    for argument, wrong in (("n_samples", 0), ("n_rows", 1.5), ("n_dimensions", 1)):
        with pytest.raises(InputError, match=rf"^{argument}: expected a whole number from \d, got {wrong}\. Choose"):
            simulate_shards(tmp_path / "new", **({"n_samples": 10} | {argument: wrong}))
    assert not (tmp_path / "new").exists()


def test_patients_and_classifier_are_as_said(simulated):
    frame, _ = simulated
    assert frame["sample_id"].is_unique
    assert 10_000 / frame["patient_id"].nunique() == pytest.approx(377_110 / 65_379, rel=0.01)
    of_patient = ["patient_id", "sex", "age", "site"]
    assert len(frame[of_patient].drop_duplicates()) == frame["patient_id"].nunique()
    assert frame["p"].between(0, 1).all()
    assert frame["exposure"].isna().mean() == pytest.approx(0.1, abs=0.01)
    assert frame["effusion"].mean() == pytest.approx(0.3, abs=0.02)
    wrong = (frame["p"] >= 0.5) != (frame["effusion"] == 1)
    supine, tube = frame["view"] == "AP supine", frame["report"].str.contains("chest tube")
    assert (supine.mean(), tube.mean()) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.03, abs=0.006))
    assert wrong[supine].mean() == pytest.approx(0.65, abs=0.04)
    assert wrong[tube & ~supine].mean() == pytest.approx(0.4, abs=0.12)
    assert wrong[~tube & ~supine].mean() == pytest.approx(0.1, abs=0.02)


def test_reports_are_long_and_varied(simulated):
    frame, _ = simulated
    words = frame["report"].str.split().str.len()
    assert 90 < words.mean() < 105
    assert words.std() > 5
    assert frame["report"].str.fullmatch(r"(?s)FINDINGS:\n.*\n\nIMPRESSION:\n.*").all()
    assert frame["report"].is_unique
    assert (frame["report"].str.contains("supine") == (frame["view"] == "AP supine")).all()
    assert (frame["report"].str.contains("There is a pleural effusion") == (frame["effusion"] == 1)).all()
    assert not frame["report"].str.contains(r"[{}]|nan").any()
    counts = frame["report"].str.findall(r"(\w+) device").explode().value_counts()
    assert len(counts) > 1500
    # Zipf: the first of 4,096 names has 1 / (1 + 1/2 + ... + 1/4096) of the mentions, the tenth a tenth of that.
    first = 1 / np.sum(1 / np.arange(1, 4097))
    assert counts[scale._names()[0]] / 1e4 == pytest.approx(first, rel=0.1)
    assert counts[scale._names()[9]] / 1e4 == pytest.approx(first / 10, rel=0.35)


def test_embeddings_have_directions_and_show_what_is_planted(simulated):
    frame, embeddings = simulated
    supine = (frame["view"] == "AP supine").to_numpy()
    assert (embeddings.shape, embeddings.dtype) == ((10_000, 64), np.float32)
    shift = embeddings[supine].mean(axis=0) - embeddings[~supine].mean(axis=0)
    assert shift[:2] == pytest.approx([2, 2], abs=0.1)
    assert np.abs(shift[2:]).max() < 0.15
    assert embeddings[~supine].var(axis=0).mean() == pytest.approx(1, abs=0.15)
    variance = np.linalg.eigvalsh(np.cov(embeddings[~supine].T))[::-1]
    assert variance[:10].sum() > 0.6 * variance.sum()


# The benchmark


def made(name, n, seconds, peak, **more):
    return {
        "name": name,
        "n_samples": n,
        "n_workers": 2,
        "n_refits": 20,
        "seconds": seconds,
        "peak_bytes": {"read": peak // 2, "encode": peak},
        "n_findings": 3,
        "found": {"supine": True, "chest tube": n > 10_000},
        "held_bytes": {"embeddings": 512 * n, "table": 300 * n, "roles": 100 * n},
        "stored_bytes": {"tables": 400 * n, "embeddings": 2048 * n},
        **more,
    }


@pytest.fixture
def measured():
    runs = [
        made("local", 10_000, {"read": 1.0, "encode": 9.0}, 1_000_000_000),
        made("local", 1_000_000, {"read": 60.0, "encode": 1140.0}, 5_000_000_000),
        made("dask", 10_000, {"read": 4.0, "encode": 11.0, "stability": 5.0, "explain": 5.0}, 1_100_000_000),
        made("dask", 1_000_000, {"read": 64.0, "encode": 640.0, "stability": 80.5, "explain": 215.5}, 2_090_000_000),
        {"name": "mixture", "n_samples": 377_110, "seconds": {"fit": 119.4}, "peak_bytes": {"fit": 10**9}},
    ]
    encoding = {
        "n_samples": 100_000,
        "seconds": {"1": [30.0, 34.0, 32.0], "2": [20.0, 16.0, 19.0]},
        **{"identical": True, "difference": 0.0},
    }
    return Scale(runs, encoding, "2 cores", False)


def test_the_tables_read_well(measured):
    text = measured.to_markdown()
    lines = text.splitlines()
    assert lines[0].startswith("| engine | samples | seconds | read | encode | stability | explain | peak, GB |")
    assert (
        lines[3]
        == "| local | 1,000,000 | 1,200.0 | 60.0 | 1,140.0 | - | - | 5.00 | 1.2 | 1.20 | 3 | supine, chest tube |"
    )
    assert lines[4] == "| dask | 10,000 | 25.0 | 4.0 | 11.0 | 5.0 | 5.0 | 1.10 | 2.5 | 1.00 | 3 | supine |"
    assert "| 377,110 | 119.4 | 1.00 | 0.317 | - |" in lines
    assert (
        "Encoding 100,000 samples on dask: 32.0 s with 1 worker, 19.0 s with 2, 1.68 times as fast (medians of 3, "
        "taking turns). The features are identical." in lines
    )
    assert "Quick" not in text


def test_the_goals_are_judged_by_what_was_measured(measured):
    goals = {goal: (here, reached) for goal, here, reached in measured._goals()}
    share = (377_110 - 10_000) / 990_000  # between the two sizes
    assert goals == {
        "mixture of 377,110 samples in 120 s": ("119 s", "yes"),
        "local: audit of 377,110 samples in 15 min": (f"{(10 + share * 1190) / 60:.1f} min", "yes"),
        "local: in 4 GB": (f"{1 + share * 4:.1f} GB", "yes"),
        "local: cost of a sample at 1,000,000 to that at 10,000 at most 1.3": ("1.20", "yes"),
        "dask: audit of 377,110 samples in 15 min": (f"{(25 + share * 975) / 60:.1f} min", "yes"),
        "dask: in 4 GB": (f"{1.1 + share * 0.99:.1f} GB", "yes"),
        "dask: cost of a sample at 1,000,000 to that at 10,000 at most 1.3": ("0.40", "yes"),
        "encoding 1.6 times as fast on 2 workers as on 1": ("1.68", "yes"),
    }
    slow = Scale([made("local", 1_000, {"read": 1.0}, 10**9)], measured.encoding | {"identical": False}, "", True)
    slow.encoding["seconds"] = {"1": [3.0], "2": [2.0]}
    slow.encoding["difference"] = 3e-7
    goals = {goal: (here, reached) for goal, here, reached in slow._goals()}
    assert goals["local: in 4 GB"] == ("not measured", "")
    assert goals["encoding 1.6 times as fast on 2 workers as on 1"] == ("1.50", "no")
    assert "The features are up to 3e-07 different." in slow.to_markdown()
    assert "Quick: fewer refits" in slow.to_markdown()


def test_the_arithmetic_of_the_extrapolation_is_right(measured):
    lines = measured.extrapolation()
    assert lines[0] == "measured: dask, 1,000,000 samples, 2 workers"
    assert "  encode: 640.000 s x 2 workers / 1,000,000 samples x 100,000,000 samples / 64 workers = 2,000 s" in lines
    assert "  stability: 80.500 s x 2 workers / 1,000,000 samples x 100,000,000 samples / 20 workers = 805 s" in lines
    assert "  (2,090,000,000 - 1,100,000,000 bytes) / (1,000,000 - 10,000 samples) = 1,000 bytes a sample" in lines
    assert "  0.4 x 812 bytes x 100,000,000 samples = 32 GB" in lines
    n_checked = 0
    for line in lines:
        if " = " in line:
            left, right = line.rsplit(" = ", 1)
            formula = re.sub(
                r"[^\d.()x/+-]", "", re.sub(r"\(assumed.*?\)|GB/s|^ *[a-z ]+: ", "", left.replace(",", ""))
            )
            formula = formula.replace("x", "*")
            value = float(re.match(r"[\d,.]+", right)[0].replace(",", ""))
            unit = 1e9 if right.endswith("GB") and "bytes" in left else 1
            assert value == pytest.approx(eval(formula) / unit, rel=0.01, abs=0.51), line
            n_checked += 1
    assert n_checked == 13
    # 100 GB by the peaks, more than the 91 GB by what is held.
    assert "What fits: the machine that leads holds up to 100 GB; a large one has 256 GB." in lines


def test_what_does_not_fit_is_said(measured):
    run = made(
        "local",
        1_000,
        {"read": 1.0, "describe": 3.6},
        10**9,
        held_bytes={"embeddings": 2_368_000, "table": 439_000, "roles": 135_000},
    )
    lines = Scale([run], None, "", False).extrapolation()
    assert "  (too many: so few samples keep all 512 columns, many keep 64)" in lines
    assert "What does not fit: the machine that leads holds up to 294 GB; a large one has 256 GB." in lines
    assert "  112 GB, and 100.0 hours of one process gain from no worker." in lines
    assert "too many" not in "\n".join(measured.extrapolation())


def test_the_table_for_spreadsheets_and_the_figure(measured):
    table = measured.table
    stages = ["total_s", "read_s", "encode_s", "stability_s", "explain_s", "fit_s"]
    columns = ["peak_gb", "ms_per_sample", "ratio_to_10000", "n_findings", "found_supine", "found_chest_tube"]
    assert list(table.columns) == ["engine", "n_samples", *stages, *columns]
    assert table["ratio_to_10000"].round(3).tolist()[:4] == [1.0, 1.2, 1.0, 0.4]
    (axes,) = measured.plot().axes
    assert [line.get_label() for line in axes.lines] == ["audit, local", "audit, dask", "mixture alone"]
    assert axes.lines[0].get_ydata() == pytest.approx([1.0, 1.2])


@pytest.fixture
def children(monkeypatch):
    """Stand in for the fresh processes."""
    asked = []

    def in_fresh_process(task, n, at):
        asked.append((task["name"], n))
        assert len(list(Path(task["shards"]).glob("*.parquet"))) == 1
        if task["name"] == "encoding":
            run = {"n_samples": n, "seconds": {"1": [2.0], "2": [1.0]}, "identical": True, "difference": 0.0}
        else:
            run = made(task["name"], n, {"read": 1.0}, 10**9)
        at.write_text(json.dumps(run))

    monkeypatch.setattr(scale, "_in_fresh_process", in_fresh_process)
    return asked


def test_an_interrupted_benchmark_goes_on(here, children, monkeypatch):
    pytest.importorskip("distributed")
    stand_in = scale._in_fresh_process

    def interrupted(task, n, at):
        if task["name"] == "mixture":
            raise KeyboardInterrupt
        stand_in(task, n, at)

    options = {"folder": "out", "encoding_size": 500, "repeats": 1}
    monkeypatch.setattr(scale, "_in_fresh_process", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_scale([600, 500], **options)
    assert children == [("local", 500), ("dask", 500)]
    monkeypatch.setattr(scale, "_in_fresh_process", stand_in)
    found = measure_scale([600, 500], **options)
    assert children[2:] == [
        ("mixture", 500),
        *((name, 600) for name in ("local", "dask", "mixture")),
        ("encoding", 500),
    ]
    assert [(run["name"], run["n_samples"]) for run in found.runs] == [*children[:3], *children[3:6]]
    assert scale._speedup(found.encoding) == 2
    measure_scale([600, 500], **options)
    assert len(children) == 7
    with pytest.raises(
        InputError, match=r"^out: expected a new folder, or that of a bench.*, got one with other quick, random_state\."
    ):
        measure_scale([500], **options, quick=True, random_state=1)


def test_a_process_that_ends_early_is_an_error(tmp_path, capfd):
    at = tmp_path / "local-500.json"
    with pytest.raises(InputError, match=r"^sizes: expected audits that this .* got local, 500 samples, which ended w"):
        scale._in_fresh_process({"name": "local", "shards": "none"}, 500, at)
    assert list(tmp_path.iterdir()) == []
    assert "shards: expected a folder with tables" in capfd.readouterr().err


def test_full_disks_are_told_before(here, children, monkeypatch):
    monkeypatch.setattr(scale.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(
        InputError, match=r"^out: expected room for 10,000 samples \(0\.0 GB\), got 0\.0 GB on that disk"
    ):
        measure_scale([10_000], ["local"], folder="out")
    assert not Path("out").exists()
    assert not children


def test_bad_options(capsys, here, children, monkeypatch):
    def said(*argv):
        return failed(capsys, "benchmark", "scale", *argv)

    name = "mmaudit benchmark scale: "
    assert said("--sizes", "1e3,many") == (
        f"{name}--sizes: expected numbers such as 1e3,1e4, got '1e3,many'. Separate with commas."
    )
    whole = "expected whole numbers from 500 to 100,000,000"
    assert said("--sizes", "1e2") == f"{name}--sizes: {whole}, got 100.0. Choose others, such as 1e4."
    assert said("--sizes", "") == f"{name}--sizes: {whole}, got nothing. Choose others, such as 1e4."
    assert said("--sizes", "1e3,1000") == f"{name}--sizes: expected each once, got one of them twice. Leave one out."
    assert said("--sizes", "nan") == f"{name}--sizes: {whole}, got nan. Choose others, such as 1e4."
    assert said("--encoding-size", "1e9").startswith(f"{name}--encoding-size: {whole}, got 1000000000.0.")
    assert said("--engines", "dusk") == (
        f"{name}--engines: expected some of local, dask, got 'dusk'. Choose one, or both. Did you mean 'dask'?"
    )
    assert said("--repeats", "0") == f"{name}--repeats: expected a whole number from 1, got 0. Choose another."
    assert said("--random-state", "-1").startswith(f"{name}--random-state: expected a whole number from 0, got -1.")
    Path("mine").mkdir()
    Path("mine/file").touch()
    assert said("--out", "mine") == (
        f"{name}--out: expected a new or empty folder, or that of an earlier benchmark of scale, got 'mine', which "
        "holds other files. Give another name."
    )
    assert said("--out", "mine/file") == (
        f"{name}--out: expected a folder, got 'mine/file', which is a file. Give another name."
    )
    find = scale.importlib.util.find_spec
    monkeypatch.setattr(scale.importlib.util, "find_spec", lambda name: None if name == "distributed" else find(name))
    with pytest.raises(MissingExtraError, match=r'distributed\. Install it with: pip install "mmaudit\[scale\]"'):
        measure_scale([500], folder="out")
    assert said("--sizes", "1e3").startswith(f"{name}The engine dask needs the package distributed.")
    assert [path.name for path in here.iterdir()] == ["mine"]
    assert not children


def test_help_and_a_folder_called_scale(capsys, here):
    with pytest.raises(SystemExit) as caught:
        cli.main(["benchmark", "scale", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for example in re.findall(r"^  mmaudit (.*)$", text, flags=re.MULTILINE):
        words = example.split()
        cli._parser(words).parse_args([" ".join(words[:2]), *words[2:]])
    assert re.search(r"130 +interrupted", text)
    Path("scale").mkdir()
    Path("scale/file").touch()
    assert failed(capsys, "benchmark", "./scale").startswith("mmaudit benchmark: OUT: expected a new or empty folder")


def test_one_size_from_end_to_end(capsys, here):
    argv = ["benchmark", "scale", "--out", "out", "--sizes", "1e3", "--engines", "local", "--quick", "--quiet"]
    assert cli.main(argv) == 0
    first = capsys.readouterr().out
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("cohorts", "runs", "scale.csv", "scale.md", "scale.png", "settings.json")
    ]
    assert sorted(path.name for path in Path("out/runs").iterdir()) == ["local-1000.json", "mixture-1000.json"]
    assert first.startswith(Path("out/scale.md").read_text(encoding="utf-8").rstrip())
    audited, mixture = pd.read_csv("out/scale.csv").to_dict("records")
    assert (audited["engine"], audited["n_samples"], mixture["engine"]) == ("local", 1000, "mixture")
    stages = [f"{stage}_s" for stage in ("read", "encode", "discover", "stability", "confirm", "explain", "describe")]
    assert audited["total_s"] == pytest.approx(sum(audited[stage] for stage in stages))
    assert audited["ms_per_sample"] == pytest.approx(audited["total_s"])
    assert 0.05 < audited["peak_gb"] < 4
    assert audited["found_supine"]
    run = json.loads(Path("out/runs/local-1000.json").read_text(encoding="utf-8"))
    assert 512 * 4 * 1000 < run["held_bytes"]["embeddings"] < 1000 * 1000 * 4
    assert run["stored_bytes"]["embeddings"] == 512 * 4 * 1000 + 128  # and a header
    # Nothing is measured again.
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == first


def test_one_worker_of_dask_and_two_encode_alike(tmp_path):
    pytest.importorskip("distributed")
    simulate_shards(tmp_path / "cohort", 600, n_dimensions=16, n_rows=200)
    at = tmp_path / "encoding.json"
    task = {"name": "encoding", "shards": str(tmp_path / "cohort"), "repeats": 1, "random_state": 0}
    scale._in_fresh_process(task, 600, at)
    found = json.loads(at.read_text(encoding="utf-8"))
    assert (found["name"], found["n_samples"], found["identical"], found["difference"]) == ("encoding", 600, True, 0.0)
    assert [len(seconds) for seconds in found["seconds"].values()] == [1, 1]
