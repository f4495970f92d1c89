"""Cases in many files: what is read of them, what is left out, and what is refused."""

import contextlib
import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit import shards
from mmaudit._blocks import block_of, blocks_of
from mmaudit._errors import AuditWarning, InputError, MissingExtraError

ROLES = {"label": "label", "y_proba": "proba", "patient_id": "patient", "sample_id": "id", "report": "report"}
METADATA = ["view", "age", "portable", "when", "site"]
SIZES = (7, 3, 14)


def table(n=24):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [f"s{k}" for k in range(n)],
            "label": np.arange(n) % 2,
            "proba": rng.random(n).round(3),
            "patient": [f"p{k // 2}" for k in range(n)],
            "report": [None if k == 5 else f"Größe {k} — clear" for k in range(n)],
            "view": ["PA" if k % 3 else None for k in range(n)],
            "age": np.where(np.arange(n) % 5, 40.0 + np.arange(n), np.nan),
            "portable": np.arange(n) % 4 == 0,
            "when": pd.to_datetime("2020-01-01") + pd.to_timedelta(np.arange(n) * 100, unit="D"),
            "site": pd.Categorical(rng.choice(["a", "b"], n)),
        }
    )


def vectors(n=24, n_columns=5):
    return np.random.default_rng(1).normal(size=(n, n_columns)).astype(np.float32)


@pytest.fixture
def frame():
    return table()


@pytest.fixture
def folder(tmp_path, frame):
    """Return three shards of 7, 3 and 14 rows."""
    write(tmp_path / "shards", frame, vectors())
    return tmp_path / "shards"


def write(folder, frame, X):
    edges = np.r_[0, np.cumsum(SIZES)]
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        shards.write_shards(folder, frame[a:b], embeddings={"image": X[a:b]}, first=k)


def many(folder, n_shards=21, n_rows=10, damage=None):
    """Write 210 cases in 21 shards, so that one bad shard, or ten bad cases, are below the limit."""
    frame = pd.concat([table(n_rows).assign(id=lambda f, k=k: f["id"] + f"-{k}") for k in range(n_shards)])
    frame = frame.reset_index(drop=True)
    X = vectors(len(frame))
    if damage is not None:
        damage(frame, X)
    shards.write_shards(folder, frame, embeddings={"image": X}, n_rows=n_rows)
    return frame, X


def read(folder, **roles):
    return mma.AuditData.from_shards(folder, **(ROLES | {"metadata": METADATA, "n_jobs": 1} | roles))


def read_warned(folder, **roles):
    with pytest.warns(AuditWarning, match="left out, and listed in result.quarantine"):
        return read(folder, **roles)


# Writing and finding


def test_what_is_written_is_found_in_the_order_of_names(folder):
    found = shards.find_shards(folder)
    assert [shard.name for shard in found] == ["part-00000", "part-00001", "part-00002"]
    assert [len(pd.read_parquet(shard.table)) for shard in found] == list(SIZES)
    assert [modality for shard in found for modality, _ in shard.arrays] == ["image"] * 3
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_hidden_and_partial_files_are_no_shards(folder):
    for name in (".part-00003.parquet", "_metadata.parquet", ".mmaudit-0123", "_SUCCESS", "notes.txt", "other.npy"):
        (folder / name).write_bytes(b"no shard")
    assert [shard.name for shard in shards.find_shards(folder)] == ["part-00000", "part-00001", "part-00002"]


def test_a_folder_without_tables_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="got an empty folder, or none"):
            shards.find_shards(folder)
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="got none"):
        shards.find_shards(tmp_path)


def test_a_url_that_nothing_reads_is_refused():
    with pytest.raises(InputError, match="shards: expected a URL that fsspec can read, got 'nothing://x'"):
        shards.find_shards("nothing://x")


def test_a_url_without_fsspec_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtraError, match=r'pip install "mmaudit\[remote\]"'):
        shards.find_shards("memory://x")


def test_a_shorter_table_over_a_longer_one_is_warned_of(tmp_path, frame):
    shards.write_shards(tmp_path, frame, n_rows=8)
    with pytest.warns(AuditWarning, match=r"no shards but these 2, got 1 more, from part-00002.parquet on"):
        shards.write_shards(tmp_path, frame[:16], n_rows=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shards.write_shards(tmp_path, frame[16:], n_rows=8, first=2)
        shards.write_shards(tmp_path, frame, n_rows=8)


def test_arrays_of_an_earlier_table_do_not_stay_beside_a_new_one(tmp_path, frame):
    shards.write_shards(tmp_path, frame, embeddings={"image": vectors(), "report": vectors()}, n_rows=24)
    shards.write_shards(tmp_path, frame[::-1], embeddings={"image": vectors()[::-1]}, n_rows=24)
    assert [modality for modality, _ in shards.find_shards(tmp_path)[0].arrays] == ["image"]


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        ({"picture": vectors()}, "one of image, report, metadata, got another name"),
        ({"image": vectors(23)}, r"shape \(24, n_dimensions\), got \(23, 5\)"),
        ({"image": np.zeros(24)}, r"shape \(24, n_dimensions\), got \(24,\)"),
    ],
)
def test_embeddings_that_do_not_fit_the_table_are_not_written(tmp_path, frame, embeddings, message):
    with pytest.raises(InputError, match=message):
        shards.write_shards(tmp_path / "out", frame, embeddings=embeddings)
    assert not (tmp_path / "out").exists()


# What behaves as an array


@pytest.fixture
def lazies(folder, frame):
    data = read(folder)
    texts = frame["report"].fillna("").to_numpy(dtype=object)
    return [(data.reports, texts), (data.embeddings["image"], vectors())]


KEYS = [
    0,
    -1,
    np.int64(9),
    slice(None),
    slice(5, 12),
    slice(20, 2, -3),
    slice(-4, None),
    slice(3, 3),
    np.arange(24) % 3 == 0,
    np.zeros(24, dtype=bool),
    np.array([23, 0, 7, 7, -2]),
    [3, 1],
    np.array([], dtype=int),
    [],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_of_files_are_chosen_as_those_of_arrays(lazies, key):
    for lazy, array in lazies:
        expected = array[np.asarray(key, dtype=int) if key == [] else key] if isinstance(key, list) else array[key]
        np.testing.assert_array_equal(lazy[key], expected)
        assert type(lazy[key]) is type(expected)
        if np.ndim(expected) == array.ndim:
            part = lazy.take(key)
            assert (len(part), part.shape) == (len(expected), expected.shape)
            np.testing.assert_array_equal(np.asarray(part), expected)


def test_parts_of_parts_and_their_blocks_are_the_same_rows(lazies):
    rng = np.random.default_rng(2)
    for lazy, array in lazies:
        for first in (slice(2, 23), rng.permutation(24)[:15], np.arange(24) >= 7, np.array([8])):
            some, expected = lazy.take(first), array[first]
            nothing = np.array([], dtype=int)
            for second in (slice(None), slice(1, None, 2), rng.permutation(len(expected)), nothing):
                part = some.take(second)
                np.testing.assert_array_equal(np.asarray(part), expected[second])
                blocks = blocks_of(part)
                rows = np.concatenate([np.arange(len(part))[b] for b in blocks]) if blocks else np.array([], dtype=int)
                assert rows.tolist() == list(range(len(part)))
                for block in blocks:
                    np.testing.assert_array_equal(np.asarray(block_of(part, block)), expected[second][block])


def test_blocks_follow_the_files_and_shuffled_rows_do_not_fall_apart(lazies, monkeypatch):
    for lazy, _ in lazies:
        assert lazy.blocks() == [slice(0, 7), slice(7, 10), slice(10, 24)]
        assert lazy.take(slice(8, 12)).blocks() == [slice(0, 2), slice(2, 4)]
        assert lazy.take([]).blocks() == []
        shuffled = lazy.take(np.random.default_rng(0).permutation(24))
        assert len(shuffled.blocks()) <= 4
        monkeypatch.setattr(shards, "ROWS_AT_ONCE", 10)
        assert shuffled.blocks() == [slice(0, 10), slice(10, 20), slice(20, 24)]
        monkeypatch.undo()


def test_a_block_is_sent_as_the_name_of_its_file(folder):
    n_rows = [100_000] * 500
    for lazy in (
        shards.ShardedRows([f"{folder}/{k}.npy" for k in range(500)], n_rows, 8),
        shards.ShardedTexts([f"{folder}/{k}.parquet" for k in range(500)], n_rows, "report"),
    ):
        block = lazy.take(lazy.blocks()[7])
        assert len(block) == 100_000
        assert len(pickle.dumps(block)) < 1000
        assert block.paths == (lazy.paths[7],)


@pytest.mark.parametrize("key", [24, -25, [0, 24], np.ones(23, dtype=bool), [0.5]], ids=str)
def test_rows_that_are_not_there_are_refused(lazies, key):
    for lazy, _ in lazies:
        with pytest.raises(IndexError):
            lazy[key]


def test_a_shard_written_anew_is_read_anew(folder, frame):
    assert read(folder).reports[0] == "Größe 0 — clear"
    write(folder, frame.assign(report="another text"), vectors())
    assert set(read(folder).reports) == {"another text"}


def test_files_that_vanish_during_the_work_are_named(folder):
    data = read(folder)
    for path in (folder / "part-00001.parquet", folder / "part-00002.image.npy"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        InputError, match=r"part-00001.parquet, which cannot be read any more .* go on with resume=True"
    ):
        data.reports[8]
    with pytest.raises(InputError, match=r"part-00002.image.npy, which cannot be read any more"):
        data.embeddings["image"][23]
    assert data.embeddings["image"][0].shape == (5,)


# What is read is what a table in memory gives


def same(data, other):
    for name in ("sample_id", "y_true", "y_proba", "patient_id"):
        np.testing.assert_array_equal(getattr(data, name), getattr(other, name))
        assert getattr(data, name).dtype == getattr(other, name).dtype
    np.testing.assert_array_equal(np.asarray(data.reports), np.asarray(other.reports))
    pd.testing.assert_frame_equal(data.metadata, other.metadata)
    np.testing.assert_array_equal(np.asarray(data.embeddings["image"]), np.asarray(other.embeddings["image"]))


def in_memory(frame, X, **roles):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        return mma.AuditData.from_frame(frame, **(ROLES | {"metadata": METADATA, "embeddings": {"image": X}} | roles))


def test_shards_hold_what_the_table_holds(folder, frame):
    data = read(folder)
    same(data, in_memory(frame, vectors()))
    assert data.quarantine.empty
    assert "24, read when needed" in repr(data)
    which = np.array([20, 3, 9])
    same(data.subset(which), in_memory(frame, vectors()).subset(which))
    same(pickle.loads(pickle.dumps(data)), in_memory(frame, vectors()))


def test_columns_without_a_value_in_one_shard_keep_their_kind(tmp_path, frame):
    frame = frame.assign(
        age=frame["age"].where(frame.index >= 7),
        count=pd.Series([None] * 7 + list(range(17)), dtype=object),
        view=frame["view"].where(frame.index < 10),
        flag=pd.Series([None] * 7 + [True, False] * 8 + [None], dtype=object),
    )
    write(tmp_path, frame, vectors())
    names = ["view", "age", "count", "flag"]
    table_read = pd.concat([pd.read_parquet(s.table) for s in shards.find_shards(tmp_path)], ignore_index=True)
    assert table_read["count"].dropna().tolist() == list(range(17))
    data = read(tmp_path, metadata=names)
    expected = in_memory(frame.assign(count=frame["count"].astype(float)), vectors(), metadata=names)
    same(data, expected)


def test_a_shard_without_rows_changes_nothing(folder, frame):
    shards.write_shards(folder, frame[:1], embeddings={"image": vectors(1)}, first=3)
    empty = folder / "part-00003"
    frame[:0].to_parquet(f"{empty}.parquet")
    np.save(f"{empty}.image.npy", vectors(0))
    same(read(folder), in_memory(frame, vectors()))


def test_half_precision_and_other_byte_orders_are_read(folder, frame):
    X = vectors().astype(np.float16)
    np.save(folder / "part-00000.image.npy", X[:7])
    np.save(folder / "part-00001.image.npy", X[7:10].astype(">f8"))
    np.save(folder / "part-00002.image.npy", X[10:].astype(np.float32))
    np.testing.assert_array_equal(np.asarray(read(folder).embeddings["image"]), X.astype(np.float32))


def test_a_folder_behind_a_url_is_read_alike(folder, frame):
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    for path in folder.iterdir():
        fs.pipe_file(f"/shards-of-test/{path.name}", path.read_bytes())
    try:
        data = read("memory://shards-of-test")
        same(data, in_memory(frame, vectors()))
        assert data.digest() == read(folder).digest()
        np.testing.assert_array_equal(data.embeddings["image"][[20, 3, 9, 12]], vectors()[[20, 3, 9, 12]])
    finally:
        fs.rm("/shards-of-test", recursive=True)


def test_the_digest_tells_data_apart_and_stays(folder, frame):
    data = read(folder)
    before = data.digest()
    data.metadata.mean(numeric_only=True), repr(data), np.asarray(data.reports), data.subset(np.arange(5))
    assert data.digest() == before == read(folder).digest()
    others = [read(folder, metadata=METADATA[1:]), read(folder, metadata=METADATA[1:], report="view")]
    others += [read(folder, metadata=["view"]), data.subset(np.arange(20))]
    write(folder, frame, vectors() + 1)
    others.append(read(folder))
    write(folder, frame.assign(report="another text"), vectors())
    others.append(read(folder))
    assert len({before, *(other.digest() for other in others)}) == 7


# What is left out


def test_samples_that_cannot_be_used_are_left_out_and_named(tmp_path):
    def damage(frame, X):
        frame.loc[3, "label"] = np.nan
        frame.loc[20, "proba"] = np.nan
        frame.loc[21, "proba"] = 1.5
        frame.loc[100, "patient"] = "  "
        frame.loc[101, "patient"] = None
        X[142, 2] = np.nan
        X[209, 0] = np.inf

    frame, X = many(tmp_path, damage=damage)
    data = read_warned(tmp_path)
    bad = [3, 20, 21, 100, 101, 142, 209]
    kept = np.delete(np.arange(210), bad)
    same(data, in_memory(frame.iloc[kept].astype({"label": int}), X[kept]))
    assert data.quarantine["sample_id"].tolist() == frame["id"].iloc[bad].tolist()
    reasons = ["no label", *["no probability in [0, 1]"] * 2, *["no patient id"] * 2]
    assert data.quarantine["reason"].tolist() == [*reasons, *["image embedding not finite"] * 2]


def test_numbers_that_single_precision_cannot_hold_are_left_out(tmp_path):
    many(tmp_path)
    X = vectors(10).astype(float)
    X[4, 1] = 1e300
    np.save(tmp_path / "part-00002.image.npy", X)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", AuditWarning)
        assert read(tmp_path).quarantine["sample_id"].tolist() == ["s4-2"]


def cut(content):
    return content[: len(content) // 2]


DAMAGE = {
    "cut": cut,
    "empty": lambda content: b"",
    "garbage": lambda content: np.random.default_rng(0).bytes(len(content)),
    "text": lambda content: b"<html>not found</html>",
    "longer": lambda content: content + b"\0" * 20,
}


@pytest.mark.parametrize("which", ["parquet", "image.npy"])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_costs_its_shard_only(tmp_path, how, which):
    frame, X = many(tmp_path)
    path = tmp_path / f"part-00007.{which}"
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    data = read_warned(tmp_path)
    kept = np.delete(np.arange(210), np.arange(70, 80))
    same(data, in_memory(frame.iloc[kept], X[kept]))
    assert data.quarantine["sample_id"].tolist() == ["part-00007"]
    assert data.quarantine["reason"].iloc[0].startswith("unreadable (")


def an_array_of(shape, dtype="<f4", order=False, body=b""):
    header = f"{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


class Trap:
    """What a pickle would run."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


def pickled(tmp_path):
    np.save(tmp_path / "trap.npy", np.array([[Trap()]] * 25, dtype=object), allow_pickle=True)
    return (tmp_path / "trap.npy").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        pickled,
        lambda _: pickle.dumps([Trap()]),
        lambda _: an_array_of((25, 5), dtype="|O", body=pickle.dumps(Trap())),
        lambda _: an_array_of((25, 10**13)),
        lambda _: an_array_of((10**18, 5)),
        lambda _: an_array_of((25, -5), body=bytes(500)),
        lambda _: an_array_of((24, 5), body=bytes(480)),
        lambda _: an_array_of((25, 5, 1), body=bytes(500)),
        lambda _: an_array_of((125,), body=bytes(500)),
        lambda _: an_array_of((25, 0)),
        lambda _: an_array_of((25, 5), order=True, body=bytes(500)),
        lambda _: an_array_of((25, 5), dtype="<i4", body=bytes(500)),
        lambda _: an_array_of("(" * 60 + "25, 5"),
        lambda _: an_array_of("'''"),
        lambda _: an_array_of((25, 5), body=bytes(500)).replace(b"NUMPY\x01", b"NUMPY\x09"),
    ],
)
def test_an_array_that_is_no_rows_of_numbers_is_damage_and_nothing_of_it_is_run(tmp_path, content):
    path = tmp_path / "x.image.npy"
    path.write_bytes(content(tmp_path))
    shard = shards.Shard("x", str(tmp_path / "x.parquet"), (("image", str(path)),))
    table(25).to_parquet(shard.table)
    found = shards._scan(shard, shards._Wanted(("id",), None, (), (), "id"))
    assert found["damage"].startswith("unreadable (")
    assert "frame" not in found


def test_any_damaged_byte_of_an_array_is_damage_or_another_digest(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, vectors(3))
    whole = path.read_bytes()
    digest = shards._look_through(str(path), 3)[2]
    for at in range(len(whole)):
        for byte in {0, 40, 255, whole[at] ^ 1} - {whole[at]}:
            path.write_bytes(whole[:at] + bytes([byte]) + whole[at + 1 :])
            with contextlib.suppress(OSError, ValueError):
                width, _, other = shards._look_through(str(path), 3)
                assert width == 5
                assert other != digest or at < len(whole) - 60  # of the header, a blank or a byte order may differ


def test_too_many_bad_samples_are_refused(tmp_path):
    def damage(frame, X):
        frame.loc[:10, "proba"] = np.nan

    many(tmp_path, damage=damage)
    message = r"at least 95% of the samples to be usable, got 11 of 210 that are not \(11 no probability in \[0, 1\]\)"
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_too_many_bad_shards_are_refused(tmp_path):
    many(tmp_path)
    for k in (1, 2):
        (tmp_path / f"part-0000{k}.parquet").write_bytes(b"")
    with pytest.raises(InputError, match=r"got 2 of 21 that are not .*the first are part-00001, part-00002"):
        read(tmp_path)


def test_empty_reports_are_warned_of_as_of_a_table(tmp_path, frame):
    frame["report"] = ["  " if k in (3, 5) else f"text {k}" for k in range(24)]
    frame.loc[5, "label"] = None  # left out, so it counts among neither
    shards.write_shards(tmp_path, pd.concat([frame.assign(id=frame["id"] + f"-{k}") for k in range(2)]), n_rows=20)
    with pytest.warns(AuditWarning, match="got 2 of 46 empty reports"):
        read(tmp_path)
    for path in tmp_path.iterdir():
        pd.read_parquet(path).assign(report="").to_parquet(path)
    with pytest.raises(InputError, match="report: expected at least one report with text, got only empty ones"):
        read(tmp_path)


def test_the_report_is_no_metadata(folder):
    with pytest.raises(InputError, match=r"metadata\[1\]: expected a column with no other role, got 'report'"):
        read(folder, metadata=["view", "report"])


def test_a_column_that_one_table_lacks_is_named(folder):
    pd.read_parquet(folder / "part-00001.parquet").drop(columns="age").to_parquet(folder / "part-00001.parquet")
    with pytest.raises(InputError, match="the column 'age' in every table, got part-00001 without"):
        read(folder)


def test_shards_of_other_widths_are_refused(folder):
    np.save(folder / "part-00002.image.npy", vectors(14, 6))
    with pytest.raises(InputError, match=r"\(image: 5 dimensions\), got image: 6 dimensions beside part-00002"):
        read(folder)
    (folder / "part-00002.image.npy").unlink()
    with pytest.raises(InputError, match="got none beside part-00002"):
        read(folder)
