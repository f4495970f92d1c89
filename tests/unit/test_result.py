"""AuditResult: what is kept, in which order, and that a saved audit comes back whole or not at all."""

import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmaudit.result as result_module
from mmaudit import AuditResult, load_result
from mmaudit._errors import InputError
from mmaudit.result import COLUMNS, candidate_frame

THUMBNAIL = b"\xff\xd8 not really a picture"


def row(number, **changes):
    return {
        "slice_id": f"s{number:02d}",
        "description": f"view = AP{number}",
        "rule": f"view = AP{number}" if number == 1 else "",
        "error_type": "false_negative",
        "modality": "metadata",
        "n_samples": 12,
        "n_patients": 9,
        "metric_inside": 0.5,
        "metric_outside": 1 / 3,
        "gap": 1 / 6,
        "ci_low": 0.01,
        "ci_high": 0.3,
        "p_value": 0.001,
        "q_value": 0.002,
        "stability": np.nan,
        "confirmed": number == 1,
        "target": "dot",
        "label": "1",
        "slicer": "rules",
        "sentence": f"Sentence {number} – ü.",
        "discovery_n_samples": 14,
        "discovery_n_patients": 11,
        "discovery_metric_inside": 0.6,
        "discovery_metric_outside": 0.3,
        "discovery_gap": 0.3,
    } | changes


def make(n_samples=40, n_slices=3, *, ids=None, **changes):
    rng = np.random.default_rng(0)
    ids = pd.Index([f"sample {k}" for k in range(n_samples)] if ids is None else ids, name="sample_id")
    nothing = dict.fromkeys(("metric_inside", "metric_outside", "gap", "ci_low", "ci_high"), np.nan)
    rows = [row(k + 1, **(nothing if k == 2 else {})) for k in range(n_slices)]
    names = [r["slice_id"] for r in rows]
    parts = {
        "candidates": candidate_frame(rows),
        "membership": pd.DataFrame(
            rng.random((n_samples, n_slices), dtype=np.float32), index=ids, columns=names
        ),
        "samples": pd.DataFrame(
            {
                "part": np.where(np.arange(n_samples) % 2, "discovery", "confirmation"),
                "y_true": (np.arange(n_samples) % 3 == 0).astype(np.int8),
                "y_proba": rng.random(n_samples),
                "wrong": rng.random(n_samples) < 0.3,
            },
            index=ids,
        ),
        "traits": {
            k: [{"phrase": "sex = F", "kind": "metadata", "share_inside": 0.7, "share_outside": 0.4}] for k in names
        },
        "rules": {"s01": [{"column": "age", "operator": ">", "value": 60.0}]} if n_slices else {},
        "detectable": pd.DataFrame(
            {"target": "dot", "label": [1, 1, 0], "n_patients": [6, 20, 9], "share": [0.05, 0.2, 0.1]}
        ).assign(gap=[np.nan, 0.31, np.nan]),
        "quarantine": pd.DataFrame({"sample_id": ["sample 3"], "reason": ["missing"]}),
        "data_summary": {"name": "toy", "n_confirmation_patients": 1234, "error_rate": np.float64(0.25)},
        "settings": {"alpha": 0.05, "modalities": ["metadata"], "random_state": np.int64(3)},
        "warnings": ["One warning."],
        "thumbnails": [THUMBNAIL] * n_samples,
    }  # fmt: skip
    return AuditResult(**(parts | changes))


def assert_same(one, two):
    for name in ("candidates", "findings", "membership", "samples", "detectable", "quarantine"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name), obj=name)
    for name in ("traits", "rules", "warnings"):
        assert getattr(one, name) == getattr(two, name)
    assert json.dumps(one.summary(thumbnails=False)) == json.dumps(two.summary(thumbnails=False))


# Frames


def test_findings_are_the_confirmed_candidates():
    result = make()
    assert result.findings["slice_id"].tolist() == ["s01"]
    assert list(result.candidates)[: len(COLUMNS)] == list(COLUMNS)
    assert result.membership.columns.tolist() == result.candidates["slice_id"].tolist()


def test_frames_have_fixed_types_even_when_empty():
    full, empty = make().candidates.dtypes, make(n_slices=0).candidates.dtypes
    for kinds in (full, empty):
        assert kinds["n_samples"] == kinds["discovery_n_patients"] == np.int64
        assert kinds["gap"] == kinds["stability"] == kinds["discovery_gap"] == np.float64
        assert kinds["confirmed"] == np.bool_
    assert list(full.index) == list(empty.index)


def test_members_come_strongest_first_and_wrong_ones_before_right_ones():
    ids = list("abcdef")
    result = make(
        6,
        1,
        membership=pd.DataFrame({"s01": np.float32([0.9, 0.9, 0.901, 1.0, 0.5, 0.49])}, index=ids),
        samples=pd.DataFrame(
            {
                "part": "confirmation",
                "y_true": [1, 1, 1, 0, 0, 0],
                "y_proba": [0.4, 0.1, 0.9, 0.2, 0.9, 0.9],
                "wrong": [True, True, False, False, True, True],
            },
            index=ids,
        ),
        thumbnails=None,
    )
    # d is strongest; a, b and c are as strong as each other, b further off than a, c right; f is no member.
    assert result.members("s01").index.tolist() == ["d", "b", "a", "c", "e"]
    assert result.members("s01", most=2).index.tolist() == ["d", "b"]
    assert list(result.members("s01")) == ["membership", "part", "y_true", "y_proba", "wrong"]
    with pytest.raises(InputError, match=r"^slice_id: expected one of result\.candidates\['slice_id'\], got 's99'\."):
        result.members("s99")


def test_summary_is_strict_json():
    summary = make().summary()
    text = json.dumps(summary, allow_nan=False)
    assert json.loads(text) == summary
    assert summary["candidates"][2]["gap"] is None
    assert summary["detectable"][0]["gap"] is None
    assert [s["slice_id"] for s in summary["findings"]] == ["s01"]
    assert {s["traits_part"] for s in summary["candidates"]} == {"discovery"}
    assert summary["candidates"][0]["members"][0]["thumbnail"]
    assert not any(m["thumbnail"] for s in make().summary(thumbnails=False)["candidates"] for m in s["members"])
    assert all(len(s["members"]) <= 12 for s in summary["candidates"])


def test_headlines():
    unconfirmed = make().candidates.assign(confirmed=False)
    assert make().headline == "1 of 3 candidate slices is confirmed on 1,234 held-out patients."
    assert make(candidates=make().candidates.assign(confirmed=True)).headline.startswith("3 of 3 candidate slices are")
    assert make(candidates=unconfirmed).headline.startswith("Nothing confirmed: none of 3 candidate slices")
    assert make(n_slices=0).headline.startswith("Nothing found:")
    assert repr(make()) == f"AuditResult: {make().headline}\n  1. Sentence 1 – ü."


def test_what_could_have_been_detected_is_said():
    said = make(data_summary=make().data_summary | {"label_name": "effusion"}).detectable_sentence
    assert "among cases with effusion 31 points in a slice of 20 patients; among those without none" in said
    nothing = make(detectable=make().detectable.assign(gap=np.nan)).detectable_sentence
    assert nothing == "On these held-out patients no slice could have been confirmed, whatever its gap."
    assert make(detectable=make().detectable.iloc[:0]).detectable_sentence == nothing


# Saved and loaded


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("n_slices", [3, 0])
def test_a_saved_audit_comes_back(tmp_path, monkeypatch, large, n_slices):
    monkeypatch.setattr(result_module, "INLINE_CELLS", -1 if large else 10**9)
    result = make(n_slices=n_slices)
    path = result.save(tmp_path / "x.mmaudit.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.mmaudit.json"] + ["x.mmaudit.parquet"] * large
    again = load_result(path)
    assert_same(result, again)
    again.save(tmp_path / "again.json")
    assert_same(result, load_result(tmp_path / "again.json"))


def test_numbers_come_back_to_the_last_bit(tmp_path):
    result = make(2000)
    again = load_result(result.save(tmp_path / "x.json"))
    assert again.membership.to_numpy().tobytes() == result.membership.to_numpy().tobytes()
    assert again.samples["y_proba"].to_numpy().tobytes() == result.samples["y_proba"].to_numpy().tobytes()


@pytest.mark.parametrize("large", [False, True])
def test_whole_numbers_as_sample_ids_are_text_after_loading(tmp_path, monkeypatch, large):
    monkeypatch.setattr(result_module, "INLINE_CELLS", -1 if large else 10**9)
    result = make(ids=range(100, 140), quarantine=pd.DataFrame({"sample_id": [103], "reason": ["missing"]}))
    again = load_result(result.save(tmp_path / "x.json", thumbnails=True))
    assert again.samples.index.tolist() == [str(k) for k in range(100, 140)]
    assert again.quarantine["sample_id"].tolist() == ["103"]
    assert again.summary()["candidates"][0]["members"][0]["thumbnail"]
    assert "Sample ids are text" in load_result.__doc__


def test_pictures_are_saved_on_purpose_only(tmp_path):
    result = make()
    without, with_them = result.save(tmp_path / "a.json"), result.save(tmp_path / "b.json", thumbnails=True)
    encoded = json.loads(with_them.read_text())["thumbnails"]
    assert 12 <= len(encoded) <= 36
    assert not json.loads(without.read_text())["thumbnails"]
    assert next(iter(encoded.values())) not in without.read_text()
    assert load_result(with_them).summary()["findings"][0]["members"][0]["thumbnail"] == next(iter(encoded.values()))
    assert load_result(without).summary()["findings"][0]["members"][0]["thumbnail"] is None


def test_nothing_is_pickled(tmp_path, monkeypatch):
    def refuse(*args, **keywords):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(result_module, "INLINE_CELLS", -1)
    load_result(make().save(tmp_path / "x.json"))
    for file in tmp_path.iterdir():
        assert not file.read_bytes().startswith(b"\x80")


def saved(tmp_path, **changes):
    path = make().save(tmp_path / "x.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def message_of(path):
    with pytest.raises(InputError) as caught:
        load_result(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "null and more", '{"kind": "mmaudit.AuditResult", "schema": 2}', "\x00", "[" * 200_000]
)
def test_damaged_files(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert message_of(path).startswith("path: expected a whole saved audit, got a damaged file (")


def test_a_file_cut_short_and_bytes_that_are_no_text(tmp_path):
    path = make().save(tmp_path / "x.json")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"\xff\xfe" + whole):
        path.write_bytes(damaged)
        assert "a damaged file" in message_of(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "something"}, "expected a saved audit, got a file of another kind"),
        ({"schema": 1}, "expected a file of version 2, got version 1. Run the audit again."),
        ({"schema": 3}, "expected a file of version 2, got another version. Install a later mmaudit."),
        ({"candidates": [{"slice_id": "s01"}]}, "a damaged file"),
        ({"candidates": 5}, "a damaged file"),
        ({"summary": {}}, "a damaged file"),
        ({"samples": {"sample_id": ["a"], "part": []}}, "a damaged file"),
        ({"samples": {"sample_id": ["a"]}}, "a damaged file"),
        ({"thumbnails": {"a": "!!"}}, "a damaged file"),
        ({"thumbnails": []}, "a damaged file"),
        ({"membership_file": "../x.parquet"}, "got a name that leads elsewhere. Do not trust this file."),
        ({"membership_file": "/etc/x.parquet"}, "got a name that leads elsewhere"),
        ({"membership_file": "a/b.parquet"}, "got a name that leads elsewhere"),
        ({"membership_file": "x.pkl"}, "got a name that leads elsewhere"),
        ({"membership_file": ".."}, "got a name that leads elsewhere"),
        ({"membership_file": "y.parquet"}, "the file y.parquet beside it, got none. Copy both files together."),
        ({"membership_file": "\x00.parquet"}, "path: expected"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_they_should_be(tmp_path, changes, message):
    assert message in message_of(saved(tmp_path, **changes))


# Of a patient with a list for a name.
VERDICTS = {"sample_id": ["a"], "verdict": ["doubtful"], "patient_id": [[0]], "wrong": [True]}
VERDICTS |= {"score": [0.5], "second_opinion": [0.5], "y_proba": [0.5]}
VERDICTS = {"attrs": {}, "rows": VERDICTS}


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["candidates"][0].update(confirmed="no"),
        lambda d: d["candidates"][1].update(slice_id="s01"),
        lambda d: d["samples"].update(s01=[5.0] * 40),
        lambda d: d["samples"].update(y_true=[7] * 40),
        lambda d: d["summary"].update(data={}),
        lambda d: d["candidates"][0].update(n_patients=10**39),
        lambda d: d["candidates"][0].update(error_type=["mixed"]),
        lambda d: d["candidate_columns"].append("target"),
        lambda d: d["verdicts"].update(y=VERDICTS),
    ],
    ids=["confirmed", "slice_id", "membership", "y_true", "data", "digits", "error_type", "columns", "patient"],
)
def test_values_that_an_audit_cannot_have(tmp_path, change):
    path = saved(tmp_path)
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    assert "a damaged file" in message_of(path)


def test_a_list_in_place_of_the_audit(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[1, 2]")
    assert "got a file of another kind" in message_of(path)


def test_a_damaged_membership_file(tmp_path, monkeypatch):
    monkeypatch.setattr(result_module, "INLINE_CELLS", -1)
    path = make().save(tmp_path / "x.json")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and then nothing")
    assert "a damaged file" in message_of(path)
    make(n_slices=1).save(tmp_path / "other.json")
    (tmp_path / "other.parquet").replace(tmp_path / "x.parquet")
    assert "a damaged file" in message_of(path)  # another audit's membership lacks a slice


def test_no_file(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        assert message_of(path) == "path: expected a saved audit, got a path at which there is no file. Check the path."
    with pytest.raises(InputError, match=r"^path: expected a path in an existing folder, got one in none\."):
        make().save(tmp_path / "none" / "x.json")


# Whole or not at all


def fail(*args, **keywords):
    raise OSError("No space left on device")


@pytest.mark.parametrize("broken", ["write_text", "to_parquet"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_failing_save_leaves_what_was_there(tmp_path, monkeypatch, broken, earlier):
    monkeypatch.setattr(result_module, "INLINE_CELLS", -1)
    path = tmp_path / "x.json"
    if earlier:
        make(n_slices=1).save(path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert len(before) == 2 * earlier
    monkeypatch.setattr(*((Path, "write_text") if broken == "write_text" else (pd.DataFrame, "to_parquet")), fail)
    with pytest.raises(OSError, match="No space left"):
        make(n_slices=3).save(path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_files_are_as_private_as_the_user_asks(tmp_path, monkeypatch):
    monkeypatch.setattr(result_module, "INLINE_CELLS", -1)
    for mask, expected in ((0o077, 0o600), (0o022, 0o644)):
        earlier = os.umask(mask)
        try:
            make().save(tmp_path / "x.json")
            out = make().to_folder(tmp_path / f"out{mask}")
        finally:
            os.umask(earlier)
        for file in (tmp_path / "x.json", tmp_path / "x.parquet", *out.iterdir()):
            assert stat.S_IMODE(file.stat().st_mode) == expected
        assert stat.S_IMODE(out.stat().st_mode) == 0o777 & ~mask


SIX = ["candidates.csv", "findings.csv", "membership.parquet", "report.html", "result.json", "rules.json"]


@pytest.mark.parametrize("exists", [True, False])
def test_to_folder_writes_five_files(tmp_path, exists):
    out = tmp_path / "deep" / "audit"
    if exists:
        out.mkdir(parents=True)
    result = make()
    assert result.to_folder(out) == out
    assert sorted(p.name for p in out.iterdir()) == SIX
    assert sorted(p.name for p in out.parent.iterdir()) == ["audit"]
    assert_same(result, load_result(out / "result.json"))
    table = pd.read_csv(out / "candidates.csv")
    assert table["slice_id"].tolist() == ["s01", "s02", "s03"]
    assert pd.read_csv(out / "findings.csv")["slice_id"].tolist() == ["s01"]
    assert pd.read_parquet(out / "membership.parquet")["sample_id"].tolist() == result.samples.index.tolist()
    assert not json.loads((out / "result.json").read_text())["thumbnails"]


def test_to_folder_refuses_a_folder_with_files_unless_told(tmp_path):
    out = tmp_path / "audit"
    make(n_slices=1).to_folder(out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"^out: expected a new or empty folder, got one with files in it\."):
        make().to_folder(out)
    assert len(load_result(out / "result.json").candidates) == 1
    make().to_folder(out, overwrite=True)
    assert len(load_result(out / "result.json").candidates) == 3
    assert sorted(p.name for p in out.iterdir()) == sorted([*SIX, "notes.txt"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["audit"]


def test_to_folder_where_nothing_can_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match=r"^out: expected a folder, got a file of that name\."):
        make().to_folder(file)
    with pytest.raises(InputError, match=r"^out: expected a folder that can be written, got one that cannot \("):
        make().to_folder(file / "below" / "it")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("broken", ["to_csv", "to_parquet", "to_html"])
@pytest.mark.parametrize("stop", [OSError("No space left on device"), KeyboardInterrupt()])
def test_to_folder_stopped_midway_leaves_nothing(tmp_path, monkeypatch, broken, stop):
    def interrupted(*args, **keywords):
        raise stop

    monkeypatch.setattr(AuditResult if broken == "to_html" else pd.DataFrame, broken, interrupted)
    with pytest.raises(type(stop)):
        make().to_folder(tmp_path / "new" / "audit")
    assert list(tmp_path.iterdir()) == []


def test_to_folder_writes_no_formula_into_a_table(tmp_path):
    rows = [row(1, description="=cmd|x = AP", rule="@site = 3"), row(2, description="view = AP", rule="-1")]
    result = make(n_slices=2, candidates=candidate_frame(rows))
    read = pd.read_csv(result.to_folder(tmp_path / "audit") / "candidates.csv")
    assert read["description"].tolist() == ["'=cmd|x = AP", "view = AP"]
    assert read["rule"].tolist() == ["'@site = 3", "'-1"]
    assert read["gap"].tolist() == result.candidates["gap"].tolist()
    assert load_result(tmp_path / "audit" / "result.json").candidates["rule"].tolist() == ["@site = 3", "-1"]


def test_repr_shows_no_control_characters():
    rows = [row(1, sentence="Where view = \x1b[31mAP\n\u202e, worse.", confirmed=True)]
    assert repr(make(n_slices=1, candidates=candidate_frame(rows))).endswith("Where view = \ufffd[31mAP \ufffd, worse.")


def test_to_folder_stopped_midway_leaves_an_earlier_audit(tmp_path, monkeypatch):
    out = make(n_slices=1).to_folder(tmp_path / "audit")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    monkeypatch.setattr(AuditResult, "to_html", fail)
    with pytest.raises(OSError, match="No space left"):
        make().to_folder(out, overwrite=True)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
