"""Results kept in files until a run is done: what comes back, what is made again, and what is never touched."""

import errno
import io
import json
import os
import pickle
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmaudit._checkpoints import MARK, RUN, Checkpoints, remove_checkpoints
from mmaudit._errors import InputError

ABOUT = {"data": "0123", "settings": {"alpha": 0.05, "modalities": ["image"]}, "name": "Größe"}


@pytest.fixture
def stage(tmp_path):
    return Checkpoints(tmp_path / "run", ABOUT).stage("encode")


def come_back(stage, result):
    stage.put(0, result)
    return stage.get(0)


# What comes back


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int8).reshape(2, 3),
        np.array([[np.nan, np.inf, -0.0], [1e-300, 1, 2]]),
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.array([True, False]),
        np.zeros((0, 7), dtype=np.float32),
        np.zeros(0, dtype=bool),
        np.array(5),
        np.array(["Größe", ""]),
        np.frombuffer(b"\xff\xd8", dtype=np.uint8),
        np.arange(3, dtype=">f8"),
    ],
    ids=lambda a: f"{a.dtype} {a.shape}",
)
def test_arrays_come_back(stage, array):
    found = come_back(stage, {"of errors, in all": array})["of errors, in all"]
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)


def test_tables_come_back(stage):
    frame = pd.DataFrame(
        {
            "view": pd.Categorical(["PA", None, "AP"], ["AP", "PA", "lateral"]),
            "text": ["Größe", None, ""],
            "number": [np.nan, 1.5, -np.inf],
            "count": np.array([1, 2, 3], dtype=np.int32),
            "flag": [True, False, True],
        }
    )
    for table in (frame, frame.drop(columns="view")[:0], pd.DataFrame({"x": np.zeros(3, np.float32)})):
        pd.testing.assert_frame_equal(come_back(stage, {"numbers": table})["numbers"], table)
    found = come_back(stage, {"a": frame, "b": frame[["flag"]]})
    assert list(found) == ["a", "b"]


def test_what_json_can_hold_comes_back(stage):
    told = {"name": "Größe ✓ 肺", "list": [1, None, 0.1 + 0.2, float("nan"), {"deep": [[], {}]}], "yes": True, "": ""}
    found = come_back(stage, {"told": told, "none": None, "numpy": [np.float64(0.1), np.int8(3), np.arange(2)]})
    assert json.dumps(found["told"]) == json.dumps(told)
    assert found["none"] is None
    assert found["numpy"] == [0.1, 3, [0, 1]]
    assert come_back(stage, {}) == {}


def test_what_would_need_a_pickle_is_not_kept(stage):
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        stage.put(0, {"array": np.array([{}, None], dtype=object)})
    with pytest.raises(TypeError, match="object is nothing that JSON can hold"):
        stage.put(0, {"thing": object()})
    assert stage.get(0) is None
    assert not list(stage.folder.iterdir())


# What is damaged is made again


def written(tmp_path):
    """Return a small result, and the path of its file."""
    stage = Checkpoints(tmp_path / "run", ABOUT).stage("s")
    stage.put(3, {"x": np.arange(4), "told": {"a": [1, None]}})
    return stage, stage.folder / "000003.zip"


def test_a_damaged_byte_anywhere_gives_the_result_or_none(tmp_path):
    stage, path = written(tmp_path)
    whole = path.read_bytes()
    n_none = 0
    for at in range(len(whole)):
        for byte in {0, 255, whole[at] ^ 1, whole[at] ^ 8} - {whole[at]}:
            path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
            found = stage.get(3)
            n_none += found is None
            assert found is None or (found["x"].tolist(), found["told"]) == ([0, 1, 2, 3], {"a": [1, None]})
    assert n_none > len(whole)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert stage.get(3) is None
    stage.put(3, {"x": 1})
    assert stage.get(3) == {"x": 1}


def test_a_table_that_is_damaged_gives_none(tmp_path):
    stage = Checkpoints(tmp_path, ABOUT).stage("s")
    stage.put(0, {"t": pd.DataFrame({"a": [1, 2]})})
    path = stage.folder / "000000.zip"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        found = stage.get(0)
        assert found is None or found["t"]["a"].tolist() == [1, 2]


class Trap:
    """What a pickle would run."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


def crafted(stage, members, compression=zipfile.ZIP_STORED):
    """Write a file with these members, as somebody might who wishes us harm."""
    stage.folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(stage.folder / "000000.zip", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = stage._mark(list(members))


def npy(shape="(2,)", descr="<f8", body=b""):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


def test_no_pickle_is_read(stage):
    stream = io.BytesIO()
    np.save(stream, np.array([Trap()], dtype=object), allow_pickle=True)
    for content in (stream.getvalue(), pickle.dumps(Trap()), npy(descr="|O", body=pickle.dumps([Trap(), Trap()]))):
        for kind in ("npy", "parquet", "json", "pkl", ""):
            crafted(stage, {f"x.{kind}": content})
            assert stage.get(0) is None


@pytest.mark.parametrize(
    "members",
    [
        {"x.npy": npy("(10000000000000,)")},
        {"x.npy": npy("(300000000,)", body=bytes(64))},
        {"x.npy": npy("(3, -1)", body=bytes(64))},
        {"x.npy": npy("(" * 60)},
        {"x.npy": npy("'''")},
        {"x.json": b"[" * 100_000},
        {"x.json": b"\xff"},
        {"x.parquet": b"PAR1" + bytes(30) + b"\xff\xff\xff\x7fPAR1"},
    ],
)
def test_what_promises_more_than_it_holds_gives_none(stage, members):
    crafted(stage, members)
    tracemalloc.start()
    try:
        assert stage.get(0) is None
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_what_unpacks_is_not_unpacked(stage):
    crafted(stage, {"x.json": b'"' + bytes(50_000_000).replace(b"\0", b"a") + b'"'}, zipfile.ZIP_DEFLATED)
    assert (stage.folder / "000000.zip").stat().st_size < 100_000
    begun = time.perf_counter()
    assert stage.get(0) is None
    assert time.perf_counter() - begun < 1


# Which run a file is of


def test_resume_goes_on_and_without_it_an_earlier_run_is_removed(tmp_path):
    folder = tmp_path / "a" / "run"
    Checkpoints(folder, ABOUT).stage("s").put(0, {"x": 1})
    assert Checkpoints(folder, ABOUT, resume=True).stage("s").get(0) == {"x": 1}
    assert Checkpoints(folder, {**ABOUT, "data": "4"}).stage("s").get(0) is None
    assert Checkpoints(folder, ABOUT).stage("s").get(0) is None


def test_a_run_of_other_data_or_settings_is_refused_and_left(tmp_path):
    Checkpoints(tmp_path, ABOUT).stage("s").put(0, {"x": 1})
    with pytest.raises(
        InputError, match="resume: expected the data and settings of the interrupted run, got other data"
    ):
        Checkpoints(tmp_path, {**ABOUT, "data": "4"}, resume=True)
    with pytest.raises(InputError, match=r"got other more, settings\. Give the same ones, another folder"):
        Checkpoints(tmp_path, {**ABOUT, "settings": {}, "more": 1}, resume=True)
    assert Checkpoints(tmp_path, ABOUT, resume=True).stage("s").get(0) == {"x": 1}


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[1]", b'{"format": 3}', None])
def test_a_damaged_description_of_the_run_is_written_anew_and_no_results_are_mixed(tmp_path, damage):
    Checkpoints(tmp_path, ABOUT).stage("s").put(0, {"x": 1})
    for about, expected in (({**ABOUT, "data": "4"}, None), (ABOUT, {"x": 1})):
        if damage is None:
            (tmp_path / RUN).unlink()
        else:
            (tmp_path / RUN).write_bytes(damage)
        assert Checkpoints(tmp_path, about, resume=True).stage("s").get(0) == expected


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path):
    stage, path = written(tmp_path)
    for place in (stage.folder, stage.folder.parent):
        (place / ".mmaudit-0123456789abcdef").write_bytes(b"half")
    assert Checkpoints(tmp_path / "run", ABOUT, resume=True).stage("s").get(3) is not None
    assert sorted(p.name for p in (tmp_path / "run").rglob("*")) == [path.name, RUN, "s"]


# What is never touched


FOREIGN = [
    "notes.txt",
    "encode/notes.txt",
    "images/000001.zip",
    "images/2024.zip",
    "deep/er/000001.zip",
    "x/.mmauditrc",
]


def test_files_of_others_survive_whatever_happens_to_a_run(tmp_path):
    for name in FOREIGN:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"PK of somebody else")
    for resume in (False, True, False):
        run = Checkpoints(tmp_path, ABOUT, resume=resume)
        for name in ("encode", "images", "confirm"):
            run.stage(name).put(7, {"x": 1})
    remove_checkpoints(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(FOREIGN)
    remove_checkpoints(tmp_path)
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("content", [b'{"name": "another run"}', b"[]", b"no JSON at all"])
def test_a_description_of_something_else_is_refused_and_left(tmp_path, content):
    (tmp_path / RUN).write_bytes(content)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "000000.zip").write_bytes(b"PK of somebody else")
    for resume in (False, True):
        with pytest.raises(
            InputError, match=r"checkpoints: expected a folder for checkpoints alone, got one with a run"
        ):
            Checkpoints(tmp_path, ABOUT, resume=resume)
    remove_checkpoints(tmp_path)
    assert (tmp_path / RUN).read_bytes() == content
    assert (tmp_path / "s" / "000000.zip").exists()


def test_a_run_that_is_removed_leaves_nothing(tmp_path):
    stage, _ = written(tmp_path)
    (stage.folder / ".mmaudit-0123456789abcdef").write_bytes(b"half")
    remove_checkpoints(tmp_path / "run")
    assert not list(tmp_path.iterdir())
    remove_checkpoints(tmp_path / "run")


def test_the_file_says_whose_it_is(tmp_path):
    _, path = written(tmp_path)
    assert MARK in path.read_bytes()[-48:]


# A disk that is full


def full(*args, **keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["fsync", "zip", "mkdir"])
def test_a_full_disk_is_said_and_nothing_half_written_is_left(tmp_path, monkeypatch, where):
    stage, _ = written(tmp_path)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    target, name = {"fsync": (os, "fsync"), "zip": (zipfile.ZipFile, "writestr"), "mkdir": (Path, "mkdir")}[where]
    monkeypatch.setattr(target, name, full)
    with pytest.raises(InputError, match=r"room on the disk, got none left while 000004.zip was written.*resume"):
        stage.put(4, {"x": np.zeros(1000)})
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.rglob("*")) == before
    assert stage.get(3) is not None
    stage.put(4, {"x": 1})
    assert stage.get(4) == {"x": 1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is a thing of Linux")
def test_a_disk_that_is_really_full_is_said(tmp_path, monkeypatch):
    stage = Checkpoints(tmp_path, ABOUT).stage("s")
    monkeypatch.setattr("mmaudit._files.temporary_beside", lambda path: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda *args, **keywords: None)  # which would take /dev/full away
    with pytest.raises(InputError, match="room on the disk"):
        stage.put(0, {"x": np.zeros(100_000)})
    assert Path("/dev/full").exists()
