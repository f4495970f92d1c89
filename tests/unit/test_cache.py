"""The cache: rows come back as they were put in, and whatever happens to the file only costs their computing again."""

import hashlib
import logging
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mmaudit import cache
from mmaudit._errors import InputError
from mmaudit.cache import RowStore, TextStore, cache_dir, clear, entries, file_digest


@pytest.fixture(autouse=True)
def nothing_said_before(monkeypatch):
    monkeypatch.setattr(cache, "_told", set())


@pytest.fixture
def store(tmp_path):
    made = RowStore(tmp_path / "embeddings" / "one.sqlite", {"encoder": "E", "model": "m", "modality": "image"})
    yield made
    made.close()


def some_rows(n, n_columns=8, seed=0):
    values = np.random.default_rng(seed).normal(size=(n, n_columns)).astype(np.float32)
    return {f"k{i}": row for i, row in enumerate(values)}


def assert_same(found, rows):
    assert found.keys() == rows.keys()
    for key, row in rows.items():
        assert found[key].dtype == np.float32
        assert found[key].tobytes() == row.tobytes()


class TestCacheDir:
    def test_the_variable_comes_first(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MMAUDIT_CACHE", str(tmp_path / "given"))
        assert cache_dir() == tmp_path / "given"
        assert not cache_dir().exists()
        monkeypatch.setenv("MMAUDIT_CACHE", "~/given")
        assert cache_dir() == Path.home() / "given"

    @pytest.mark.parametrize(
        ("platform", "variable", "expected"),
        [
            ("linux", "XDG_CACHE_HOME", "base/mmaudit"),
            ("linux", None, "home/.cache/mmaudit"),
            ("darwin", "XDG_CACHE_HOME", "home/Library/Caches/mmaudit"),
            ("win32", "LOCALAPPDATA", "base/mmaudit"),
            ("win32", None, "home/AppData/Local/mmaudit"),
        ],
    )
    def test_else_that_of_the_system(self, monkeypatch, tmp_path, platform, variable, expected):
        for name in ("MMAUDIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
        monkeypatch.setattr(sys, "platform", platform)
        if variable:
            monkeypatch.setenv(variable, str(tmp_path / "base"))
        assert cache_dir() == tmp_path / expected


class TestRows:
    def test_ten_thousand_come_back(self, store):
        rows = some_rows(10_000)
        store.put_many(rows)
        assert_same(store.get_many(list(rows)), rows)

    def test_those_that_are_not_there_are_left_out(self, store):
        assert store.get_many(["k0"]) == {}
        assert not store.path.parent.exists()  # reading makes nothing
        store.put_many(some_rows(3))
        assert_same(store.get_many(["k1", "other", "k1"]), {"k1": some_rows(3)["k1"]})
        assert store.get_many([]) == {}

    def test_a_row_that_comes_again_replaces_the_earlier(self, store):
        store.put_many(some_rows(3))
        store.put_many({"k1": np.ones(8)})
        assert_same(store.get_many(["k1"]), {"k1": np.ones(8, np.float32)})

    def test_a_pickle_holds_no_rows_and_opens_the_same_file(self, store):
        store.put_many(some_rows(50))
        pickled = pickle.dumps(store)
        assert len(pickled) < 500
        again = pickle.loads(pickled)
        assert_same(again.get_many(["k7"]), {"k7": some_rows(50)["k7"]})
        assert again.about == store.about
        again.close()
        assert repr(store) == "RowStore('one.sqlite')"

    def test_a_thread_has_a_connection_of_its_own(self, store):
        store.put_many(some_rows(3))
        found = []

        def read():
            found.append(store.get_many(["k0"]))
            store.close()

        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        assert_same(found[0], {"k0": some_rows(3)["k0"]})

    @pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked")
    def test_a_forked_process_has_one_too(self, store):
        store.put_many(some_rows(3))

        def work():
            store.put_many({"child": np.zeros(8)})
            assert store._local.connection[0] == os.getpid()

        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert store.get_many(["child", "k1"]).keys() == {"child", "k1"}

    def test_texts(self, tmp_path):
        texts = TextStore(tmp_path / "t.sqlite")
        texts.put_many({"a": "näher", "b": ""})
        assert texts.get_many(["a", "b", "c"]) == {"a": "näher", "b": ""}
        texts.close()


class TestWhatCanGoWrong:
    def test_a_damaged_row_is_as_if_not_there(self, store, caplog):
        rows = some_rows(4)
        store.put_many(rows)
        with sqlite3.connect(store.path) as connection:
            connection.execute("UPDATE rows SET value = ? WHERE key = 'k1'", (rows["k0"].tobytes(),))
            connection.execute("UPDATE rows SET value = NULL WHERE key = 'k2'")
        connection.close()
        with caplog.at_level(logging.WARNING):
            assert_same(store.get_many(list(rows)), {key: rows[key] for key in ("k0", "k3")})
        assert "does not agree with its checksum" in caplog.text
        store.put_many({"k1": rows["k1"]})
        assert_same(store.get_many(["k1"]), {"k1": rows["k1"]})

    @pytest.mark.parametrize("opened_before", [False, True])
    @pytest.mark.parametrize("damage", ["garbage", "zeros inside", "cut short"])
    def test_a_damaged_file_is_begun_anew(self, tmp_path, caplog, damage, opened_before):
        path = tmp_path / "one.sqlite"
        writer = RowStore(path)
        writer.put_many(some_rows(2_000))
        if not opened_before:
            writer.close()
        content = path.read_bytes()
        path.write_bytes(
            {
                "garbage": b"no database at all " * 999,
                "zeros inside": content[:2048] + bytes(len(content) - 2048),
                "cut short": content[: len(content) // 2],
            }[damage]
        )
        store = RowStore(path)
        wanted = list(some_rows(2_000))
        right = some_rows(2_000)
        with caplog.at_level(logging.WARNING):
            for key, row in store.get_many(wanted).items():
                assert row.tobytes() == right[key].tobytes()
            store.put_many(right)
            assert_same(store.get_many(wanted), right)
        assert "it is begun anew" in caplog.text
        store.close()
        writer.close()

    def test_a_table_of_other_columns_is_begun_anew(self, store, caplog):
        store.put_many(some_rows(2))
        with sqlite3.connect(store.path) as connection:
            connection.execute("ALTER TABLE rows ADD COLUMN more TEXT")
        connection.close()
        store.close()
        with caplog.at_level(logging.WARNING):
            assert store.get_many(["k0"]) == {}
            store.put_many(some_rows(2))
        assert_same(store.get_many(["k0"]), {"k0": some_rows(2)["k0"]})
        assert "the table has other columns" in caplog.text

    def test_a_file_that_was_removed_is_made_again(self, store):
        store.put_many(some_rows(3))
        store.path.unlink()
        assert store.get_many(["k0"]) == {}
        store.put_many(some_rows(2))
        assert store.get_many(["k0", "k1", "k2"]).keys() == {"k0", "k1"}

    def test_without_a_folder_nothing_is_kept_and_that_is_said_once(self, tmp_path, caplog):
        (tmp_path / "file").write_text("in the way")
        store = RowStore(tmp_path / "file" / "one.sqlite")
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                store.put_many(some_rows(3))
                assert store.get_many(["k0"]) == {}
        assert [record.message for record in caplog.records if "nothing is kept" in record.message] == caplog.messages
        assert len(caplog.messages) == 1

    def test_a_file_that_can_only_be_read_is_read(self, store, caplog, monkeypatch):
        rows = some_rows(3)
        store.put_many(rows)
        store.close()
        connect = sqlite3.connect
        monkeypatch.setattr(
            sqlite3, "connect", lambda path, **how: connect(f"{Path(path).as_uri()}?mode=ro", uri=True, **how)
        )
        with caplog.at_level(logging.WARNING):
            assert_same(store.get_many(list(rows)), rows)
            assert not caplog.messages
            store.put_many({"more": np.zeros(8)})
            assert "readonly" in caplog.text
        assert_same(store.get_many([*rows, "more"]), rows)

    def test_a_long_lock_costs_only_the_keeping(self, store, monkeypatch, caplog):
        store.put_many(some_rows(3))
        store.close()
        monkeypatch.setattr(cache, "PATIENCE_S", 0.05)
        other = sqlite3.connect(store.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with caplog.at_level(logging.WARNING):
            store.put_many({"more": np.zeros(8)})
        other.execute("COMMIT")
        other.close()
        assert "locked" in caplog.text
        assert store.get_many(["k0", "more"]).keys() == {"k0"}

    def test_rows_are_kept_all_or_none(self, store):
        store.put_many(some_rows(2))

        def rows():
            yield "k5", b"1234"
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store._write(rows())
        assert store.get_many(["k0", "k5"]).keys() == {"k0"}


def test_processes_share_a_file(tmp_path):
    path = tmp_path / "folder" / "one.sqlite"
    code = """
import sys
import numpy as np
from mmaudit.cache import RowStore
path, k = sys.argv[1], int(sys.argv[2])
store = RowStore(path)
for i in range(60):
    store.put_many({f"{k}-{i}": np.full(16, 100 * k + i), f"both-{i}": np.full(16, i)})
    rows = store.get_many([f"{k}-{j}" for j in range(i + 1)])
    assert len(rows) == i + 1, len(rows)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(k)], stderr=subprocess.PIPE, text=True)
        for k in range(3)
    ]
    for process in processes:
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert "cache" not in said  # nothing was lost to a lock
    store = RowStore(path)
    rows = store.get_many([f"{k}-{i}" for k in range(3) for i in range(60)])
    assert len(rows) == 180
    assert all((row == 100 * int(key[0]) + int(key[2:])).all() for key, row in rows.items())
    assert len(store.get_many([f"both-{i}" for i in range(60)])) == 60
    store.close()


class TestFileDigest:
    @staticmethod
    def aged(path, seconds=60):
        then = time.time() - seconds
        os.utime(path, (then, then))
        return path

    def test_it_is_that_of_the_content(self, tmp_path):
        content = os.urandom(3_000_000)
        (tmp_path / "a").write_bytes(content)
        assert file_digest(tmp_path / "a") == hashlib.blake2b(content, digest_size=20).hexdigest()
        with pytest.raises(FileNotFoundError):
            file_digest(tmp_path / "b")

    def test_a_known_file_is_not_read_again_until_it_changes(self, tmp_path):
        known = TextStore(tmp_path / "known.sqlite")
        path = tmp_path / "a"
        path.write_bytes(b"one")
        self.aged(path)
        first = file_digest(path, known=known)
        with sqlite3.connect(known.path) as connection:
            ((key, value),) = connection.execute("SELECT key, value FROM rows").fetchall()
        connection.close()
        assert value.decode() == first
        known.put_many({key: "what is kept"})
        assert file_digest(path, known=known) == "what is kept"
        path.write_bytes(b"two")
        self.aged(path, 50)
        assert file_digest(path, known=known) == hashlib.blake2b(b"two", digest_size=20).hexdigest()
        known.close()

    def test_a_file_changed_just_now_is_not_kept(self, tmp_path):
        known = TextStore(tmp_path / "known.sqlite")
        (tmp_path / "a").write_bytes(b"one")
        file_digest(tmp_path / "a", known=known)
        assert not known.path.exists()


class TestEntries:
    @pytest.fixture
    def folder(self, tmp_path):
        about = {"encoder": "XRVEncoder", "model": "w", "modality": "image", "revision": "abc"}
        for store, rows in (
            (RowStore(tmp_path / "embeddings" / "one.sqlite", about), some_rows(5)),
            (TextStore(tmp_path / "digests.sqlite"), {"a": "b"}),
        ):
            store.put_many(rows)
            store.close()
        (tmp_path / "embeddings" / "two.sqlite").write_bytes(b"no database " * 99)
        for name in ("ab/film.png", "cd/film.png"):
            (tmp_path / "phantom" / name).parent.mkdir(parents=True)
            (tmp_path / "phantom" / name).write_bytes(b"1234")
        (tmp_path / "mine.txt").write_text("of the user")
        return tmp_path

    def test_they_say_what_is_there(self, folder):
        found = {entry.name: entry for entry in entries(folder)}
        assert list(found) == ["one", "two", "digests", "phantom"]
        assert found["one"].description == "embeddings: XRVEncoder, w, image, abc"
        assert (found["one"].n_items, found["two"].n_items, found["digests"].n_items) == (5, 0, 1)
        assert found["one"].n_bytes == (folder / "embeddings" / "one.sqlite").stat().st_size
        assert found["two"].description == "embeddings: unreadable"
        assert (found["phantom"].n_items, found["phantom"].n_bytes) == (2, 8)
        assert entries(folder / "none") == []

    def test_clear_removes_what_is_named(self, folder):
        journal = folder / "embeddings" / "one.sqlite-journal"
        journal.write_bytes(b"of an interrupted writing")  # it would be played back into the next file of that name
        removed = clear(["one", "two", "one"], folder)
        assert not journal.exists()
        assert [entry.name for entry in removed] == ["one", "two"]
        assert [entry.name for entry in entries(folder)] == ["digests", "phantom"]

    def test_clear_removes_all_and_nothing_else(self, folder):
        assert len(clear(folder=folder)) == 4
        assert entries(folder) == []
        assert (folder / "mine.txt").exists()

    def test_an_unknown_name_removes_nothing(self, folder):
        said = r"names: expected entries of the cache \(one, two.*Did you mean 'phantom'"
        with pytest.raises(InputError, match=said):
            clear(["one", "phantoms"], folder)
        assert len(entries(folder)) == 4

    def test_the_folder_is_that_of_the_cache(self, folder, monkeypatch):
        monkeypatch.setenv("MMAUDIT_CACHE", str(folder))
        assert entries() == entries(folder)
        clear(["digests"])
        assert not (folder / "digests.sqlite").exists()
