"""Pieces of work on each engine: order, what is kept, workers that are lost, and what an error looks like."""

import itertools
import os
import signal
import threading
import warnings

import joblib
import numpy as np
import pytest
from joblib.externals.loky import reusable_executor
from threadpoolctl import threadpool_info, threadpool_limits

from mmaudit import _engine
from mmaudit._engine import LostWorkerError, map_pieces, n_workers
from mmaudit._errors import InputError

ENGINES = [("sequential", 1), ("threading", 2), ("loky", 2)]


@pytest.fixture(params=ENGINES, ids=lambda param: param[0])
def engine(request):
    with joblib.parallel_config(request.param[0], n_jobs=request.param[1]):
        yield request.param[0]


@pytest.fixture
def loky():
    with joblib.parallel_config("loky", n_jobs=2):
        yield


# Functions that are made inside another travel to workers by value: a worker cannot import a test.


def squares():
    def square(piece, plus):
        return piece**2 + plus

    return square


def pids():
    def pid(piece):
        import os

        return os.getpid()

    return pid


class Shelf:
    """Keeps results, and counts."""

    def __init__(self, **kept):
        self.results = {int(key.lstrip("_")): value for key, value in kept.items()}
        self.put_at = []

    def get(self, position):
        return self.results.get(position)

    def put(self, position, result):
        self.put_at.append(position)
        self.results[position] = result


def test_results_come_in_the_order_of_the_pieces(engine):
    pieces = [np.arange(k) for k in (5, 0, 3, 1, 8, 2)]
    found = list(map_pieces(squares(), pieces, 1))
    assert [len(f) for f in found] == [5, 0, 3, 1, 8, 2]
    assert all((f == np.arange(len(f)) ** 2 + 1).all() for f in found)
    assert list(map_pieces(squares(), [], 1)) == []


def test_what_is_kept_is_not_done_again(engine):
    shelf = Shelf(_1=100, _3=300)
    assert list(map_pieces(squares(), range(5), 0, kept=shelf)) == [0, 100, 4, 300, 16]
    assert shelf.put_at == [0, 2, 4]

    def never(piece):
        raise AssertionError("done again")

    assert list(map_pieces(never, range(5), kept=shelf)) == [0, 100, 4, 300, 16]


def test_each_result_is_kept_before_the_next_is_asked_for():
    shelf = Shelf()
    work = map_pieces(squares(), range(5), 0, kept=shelf, large=False)
    assert shelf.put_at == []
    next(work)
    assert shelf.put_at == [0]
    work.close()
    assert list(map_pieces(squares(), range(5), 1, kept=shelf, large=False)) == [0, 2, 5, 10, 17]


def test_an_error_of_the_work_arrives_as_itself_and_what_was_done_is_kept(engine):
    def strict(piece):
        from mmaudit._errors import InputError

        if piece == 3:
            raise InputError("shards", "a whole file", "half of one", "Write it again.")
        return piece

    shelf = Shelf()
    with pytest.raises(
        InputError, match=r"^shards: expected a whole file, got half of one\. Write it again\.$"
    ) as caught:
        list(map_pieces(strict, range(6), kept=shelf))
    assert caught.value.argument == "shards"
    # On an engine, what was on its way beside the piece that failed may be done again.
    assert shelf.put_at == [0, 1, 2][: len(shelf.put_at) if engine != "sequential" else 3]


def test_the_bar_is_off_unless_it_is_asked_for(capsys):
    list(map_pieces(squares(), range(3), 0, large=False, description="counting"))
    assert capsys.readouterr() == ("", "")
    list(map_pieces(squares(), range(3), 0, large=False, description="counting", unit="sheep", progress=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert "counting" in err


# Which engine


def test_small_work_is_done_here_unless_an_engine_is_chosen():
    here = os.getpid()
    assert set(map_pieces(pids(), range(3), large=False)) == {here}
    assert set(map_pieces(pids(), range(1))) == {here}
    assert set(map_pieces(pids(), range(3), n_jobs=1)) == {here}
    with joblib.parallel_config(n_jobs=1):
        assert set(map_pieces(pids(), range(3))) == {here}
    with joblib.parallel_config("loky", n_jobs=2):
        assert here not in set(map_pieces(pids(), range(1), large=False))


def test_large_work_is_done_by_processes_which_stay_for_the_next():
    first = set(map_pieces(pids(), range(6), n_jobs=2))
    assert os.getpid() not in first
    assert first <= set(reusable_executor._executor._processes)
    assert set(map_pieces(pids(), range(6), n_jobs=2)) <= set(reusable_executor._executor._processes)
    assert first <= set(reusable_executor._executor._processes)


def test_the_first_piece_tells_whether_other_processes_are_worth_it(monkeypatch):
    here = os.getpid()
    assert set(map_pieces(pids(), range(4), large=None, n_jobs=2)) == {here}
    monkeypatch.setattr(_engine, "WORTH_S", 0.0)
    first, *others = map_pieces(pids(), range(4), large=None, n_jobs=2)
    assert first == here
    assert len(others) == 3
    assert here not in others
    assert set(map_pieces(pids(), range(4), large=None, n_jobs=1)) == {here}
    assert set(map_pieces(pids(), range(1), large=None, n_jobs=2)) == {here}
    shelf = Shelf(_1=100)
    assert list(map_pieces(squares(), range(5), 0, kept=shelf, large=None, n_jobs=2)) == [0, 100, 4, 9, 16]
    assert shelf.put_at == [0, 2, 3, 4]


def test_few_processes_are_started_unasked(monkeypatch):
    monkeypatch.setattr(_engine, "WORTH_S", 0.0)
    monkeypatch.setattr(_engine, "MOST_UNASKED", 2)
    monkeypatch.setattr(_engine, "cpu_count", lambda: 64)
    assert os.getpid() in set(map_pieces(pids(), range(9), large=None))
    assert reusable_executor._executor._max_workers == 2
    monkeypatch.setattr(_engine, "cpu_count", lambda: 1)
    assert set(map_pieces(pids(), range(9), large=None)) == {os.getpid()}


def test_the_number_of_workers(monkeypatch):
    monkeypatch.setattr("joblib._parallel_backends.LokyBackend.effective_n_jobs", lambda self, n: 8 if n == -1 else n)
    assert (n_workers(), n_workers(1), n_workers(3)) == (8, 1, 3)
    for backend, n_jobs in (("loky", 2), ("threading", 3)):
        with joblib.parallel_config(backend, n_jobs=n_jobs):
            assert (n_workers(), n_workers(1)) == (n_jobs, 1)
    for backend, all_of_them in (("loky", 8), ("threading", joblib.cpu_count())):
        with joblib.parallel_config(backend):
            assert n_workers() == all_of_them
    with joblib.parallel_config(n_jobs=1):
        assert n_workers() == 1
    with joblib.parallel_config("sequential"):
        assert n_workers() == 1


def test_a_worker_starts_no_workers_and_uses_one_thread(engine):
    def within(piece):
        import os

        from threadpoolctl import threadpool_info

        from mmaudit._engine import map_pieces, n_workers

        nested = set(map_pieces(lambda inner: os.getpid(), range(3)))
        threads = [pool["num_threads"] for pool in threadpool_info()]
        return n_workers(), nested == {os.getpid()}, max(threads, default=1)

    import sklearn.cluster  # noqa: F401  which uses OpenMP

    with threadpool_limits(2 if engine != "sequential" else 1):
        assert set(map_pieces(within, range(4))) == {(1, True, 1)}


def test_threads_leave_linear_algebra_as_it_was():
    """Of threads that limit it each by itself, the last would leave the limit behind."""
    import sklearn.cluster  # noqa: F401  which uses OpenMP

    with threadpool_limits(2):
        before = [pool["num_threads"] for pool in threadpool_info()]
        barrier = threading.Barrier(2)

        def overlapping(piece):
            barrier.wait(10)  # both have begun
            return [pool["num_threads"] for pool in threadpool_info()]

        with joblib.parallel_config("threading", n_jobs=2):
            found = list(map_pieces(overlapping, range(2)))
        assert {n for pools in found for n in pools} == {1}
        assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_an_engine_that_gives_no_result_before_the_last_is_given_a_few_pieces_at_a_time(monkeypatch):
    from joblib._parallel_backends import ThreadingBackend

    class Late(ThreadingBackend):
        supports_return_generator = supports_sharedmem = False

    monkeypatch.setattr(_engine, "AT_ONCE", 3)
    shelf, seen = Shelf(), []

    def noted(piece):
        seen.append((piece, len(shelf.put_at)))
        return piece**2

    with joblib.parallel_config(Late(), n_jobs=2):
        assert list(map_pieces(noted, range(20), kept=shelf)) == [k**2 for k in range(20)]
    assert dict(seen) == {k: k // 6 * 6 for k in range(20)}


# Workers that are lost


def dies(marker, always=False):
    """Return a function whose third piece ends its process: the first time, or each time."""

    def deadly(piece):
        import os
        import signal
        from pathlib import Path

        with Path(f"{marker}-{piece}").open("a") as file:
            file.write("x")
        if piece == 2 and (always or len(Path(f"{marker}-{piece}").read_text()) == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return piece * 10

    return deadly


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_lost_worker_is_replaced_and_nothing_finished_is_done_twice(loky, tmp_path):
    shelf = Shelf()
    assert list(map_pieces(dies(tmp_path / "run"), range(8), kept=shelf)) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert shelf.put_at == list(range(8))
    assert (tmp_path / "run-2").read_text() == "xx"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_worker_that_is_lost_again_and_again_ends_the_work(loky, tmp_path):
    shelf = Shelf()
    message = r"workers: expected processes that go on to the end, got some that ended again and again \(\w+\)\. Most"
    with pytest.raises(LostWorkerError, match=message):
        list(map_pieces(dies(tmp_path / "run", always=True), range(8), kept=shelf))
    assert shelf.put_at == [0, 1][: len(shelf.put_at)]
    n_lost = len((tmp_path / "run-2").read_text())
    assert 0 < n_lost - _engine.MOST_LOSSES <= 1 + len(shelf.put_at)  # the count begins anew with each result
    assert list(map_pieces(squares(), range(8), 0)) == [k**2 for k in range(8)]


def test_work_that_is_left_early_stops(engine, tmp_path):
    def touched(piece, folder):
        from pathlib import Path

        Path(folder, str(piece)).touch()
        return piece

    for how in ("close", "interrupt"):
        (tmp_path / how).mkdir()
        work = map_pieces(touched, range(5000), str(tmp_path / how))
        assert list(itertools.islice(work, 2)) == [0, 1]
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # joblib tells how many results nobody took
            if how == "close":
                work.close()
            else:
                with pytest.raises(KeyboardInterrupt):
                    work.throw(KeyboardInterrupt)
        assert list(map_pieces(squares(), range(8), 0)) == [k**2 for k in range(8)]
        n_done = len(list((tmp_path / how).iterdir()))
        assert n_done < 4000
        assert list(map_pieces(squares(), range(8), 0)) == [k**2 for k in range(8)]
        assert len(list((tmp_path / how).iterdir())) == n_done
