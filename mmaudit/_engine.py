"""One way to do many pieces of work: in this process, in several, or on the cluster that joblib is told to use.

Work is written as a function of a piece, such as the rows of a shard, and of what all pieces share, such as fitted
parameters. `joblib.parallel_config(backend="loky" | "dask" | "ray")` around the call chooses the engine. Results come
in the order of the pieces whatever finishes first, so that what is summed over them does not depend on the engine.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mmaudit._errors import four_parts

__all__ = ["Kept", "LostWorkerError", "map_pieces", "n_workers"]

WORTH_S = 8.0  # work of one process that is worth others, which take some seconds to start
MOST_UNASKED = 4  # of these; each takes 200 MB, and stays for some minutes
AT_ONCE = 8  # pieces a worker that are waited for, where an engine gives no result before the last
MOST_LOSSES = 2  # times that a worker may be lost before the work is given up
_LOST = (
    "TerminatedWorkerError",
    "BrokenProcessPool",
    "KilledWorker",
    "WorkerCrashedError",
    "NodeDiedError",
    "FutureCancelledError",
    "CancelledError",
)

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class LostWorkerError(RuntimeError):
    """A worker process ended again and again, most often since it was given more than the memory holds."""


class Kept(Protocol):
    """Results that an earlier, interrupted run left, by the position of their piece."""

    def get(self, position: int) -> Any:
        """Return the result, or None where there is none."""

    def put(self, position: int, result: Any) -> None:
        """Keep a result."""


def map_pieces(
    function: Callable[..., Result],
    pieces: Sequence[Piece],
    *shared: Any,
    large: bool | None = True,
    n_jobs: int | None = None,
    kept: Kept | None = None,
    description: str = "",
    unit: str = "piece",
    progress: bool = False,
) -> Iterator[Result]:
    """Give `function(piece, *shared)` of each piece, in their order.

    Parameters
    ----------
    function : callable
        Of a module, so that another process can find it. What it returns should be small: parameters, sums, columns.
    pieces : sequence
        What each call is given by itself.
    *shared
        What all calls are given. It goes to each process once, large arrays as files that are mapped into memory.
    large : bool or None
        Whether the work is worth other processes, which take some seconds to start. If not, it is done here, unless
        an engine was chosen by `joblib.parallel_config` (other than ray, whose workers start anew for each call).
        None: the first piece is done here, and the time it takes tells.
    n_jobs : int or None
        Workers. None: those of `joblib.parallel_config`, where it was not used all cores.
    kept : Kept or None
        Where results are looked for before a piece is worked on, and kept as they come.
    description, unit : str
        What the progress bar says is done, and to what.
    progress : bool
        Show a progress bar, with the time that is left, on standard error.

    Raises
    ------
    LostWorkerError
        A worker was lost three times. What was finished before is kept.
    """
    found = set() if kept is None else {k for k in range(len(pieces)) if kept.get(k) is not None}
    left = [k for k in range(len(pieces)) if k not in found]
    work = _worked(function, pieces, left, shared, large, n_jobs)
    bar = tqdm(total=len(pieces), initial=len(found), desc=description, unit=unit, disable=not progress, leave=False)
    with bar, contextlib.closing(work):
        for k in range(len(pieces)):
            if k in found:
                result = kept.get(k) if kept is not None else None
            else:
                result = next(work)
                if kept is not None:
                    kept.put(k, result)
                bar.update()
            yield result  # type: ignore[misc]
        next(work, None)  # joblib's generator that is closed before its end ends the workers, for the next call too


def n_workers(n_jobs: int | None = None) -> int:
    """Return how many pieces `map_pieces` works on at once; 1 inside of a worker."""
    parallel, _ = _engine(n_jobs)
    return 1 if parallel.n_jobs == 1 else int(get_active_backend()[0].effective_n_jobs(parallel.n_jobs))


def _engine(n_jobs: int | None) -> tuple[Parallel, bool]:
    """Return joblib's engine, and whether the user chose it."""
    backend, configured = get_active_backend()
    if (backend.nesting_level or 0) > 0 or type(backend).__name__ == "SequentialBackend":
        return Parallel(n_jobs=1, return_as="generator"), False  # a worker does not start others
    local = type(backend).__name__ == "LokyBackend"
    if n_jobs is None and configured is None:
        n_jobs = -1
    # Ray's backend gives no result before the last, and starts its workers anew each time: too slow for small work.
    as_they_come = getattr(backend, "supports_return_generator", False)
    chosen = as_they_come and (not local or configured not in (None, 1))
    return_as = "generator" if as_they_come else "list"
    # Pieces are large: they are given out one at a time.
    return Parallel(n_jobs=n_jobs, batch_size=1, pre_dispatch="2*n_jobs", return_as=return_as), chosen


def _worked(function, pieces, left: list[int], shared, large: bool | None, n_jobs: int | None) -> Generator:
    if not left:
        return
    parallel, chosen = _engine(n_jobs)
    if large is None and not chosen and len(left) > 1 and parallel.n_jobs != 1:
        began = time.perf_counter()
        first = _alone(function, pieces[left[0]], *shared)  # rounded as the others are, wherever they are done
        seconds_left = (time.perf_counter() - began) * (len(left) - 1)
        yield first
        n_jobs = n_jobs or min(cpu_count(), MOST_UNASKED)
        if n_jobs != 1 and seconds_left >= WORTH_S:
            yield from _worked(function, pieces, left[1:], shared, True, n_jobs)
        else:
            yield from (_alone(function, pieces[k], *shared) for k in left[1:])
        return
    if not chosen and (not large or len(left) == 1 or parallel.n_jobs == 1):
        for k in left:
            yield function(pieces[k], *shared)
        return
    n_done = n_lost = 0
    while n_done < len(left):
        work = _on_dask if hasattr(parallel._backend, "client") else _on_joblib
        results = work(parallel, function, [pieces[k] for k in left[n_done:]], shared)
        try:
            with _closed(results):
                for result in _renewed_in_silence(results):
                    n_done, n_lost = n_done + 1, 0
                    yield result
        except Exception as error:
            if type(error).__name__ not in _LOST:
                raise
            n_lost += 1
            if n_lost > MOST_LOSSES or type(error).__name__ == "KilledWorker":  # dask has tried several times
                raise LostWorkerError(
                    four_parts(
                        "workers",
                        "processes that go on to the end",
                        f"some that ended again and again ({type(error).__name__})",
                        "Most often the memory was full: use fewer workers or smaller shards, and go on from there.",
                    )
                ) from error
            parallel, _ = _engine(n_jobs)


@contextlib.contextmanager
def _closed(results: Generator) -> Iterator[None]:
    """Close a generator at the end; what joblib says of results that nobody took is no concern of the user's."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _renewed_in_silence(results: Generator) -> Iterator:
    """Give the results; loky renews a process that holds much memory, and warns of it, which is no fault."""
    while True:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            try:
                result = next(results)
            except StopIteration:
                return
        yield result


def _on_joblib(parallel: Parallel, function, pieces, shared) -> Generator:
    if not parallel.return_generator:
        at_once = AT_ONCE * max(1, parallel._backend.effective_n_jobs(parallel.n_jobs))
        with parallel:  # the same workers for all
            for first in range(0, len(pieces), at_once):
                some = pieces[first : first + at_once]
                yield from parallel(delayed(_alone)(function, piece, *shared) for piece in some)
        return
    if not getattr(parallel._backend, "supports_sharedmem", False):
        yield from parallel(delayed(_alone)(function, piece, *shared) for piece in pieces)
        return
    # Threads share one limit of linear algebra. The caller sets it: one that overlapping threads set and lift stays
    # behind, and one that OpenBLAS is given by any but the main thread has no effect (0.3.31).
    with threadpool_limits(1):
        yield from parallel(delayed(_in_thread)(function, piece, *shared) for piece in pieces)


def _alone(function, piece, *shared):
    """Return `function(piece, *shared)`, computed on one thread, so that sums are rounded alike everywhere."""
    with threadpool_limits(1), parallel_config("sequential"):
        return function(piece, *shared)


def _in_thread(function, piece, *shared):
    with threadpool_limits(1, user_api="openmp"), parallel_config("sequential"):  # whose limit is each thread's own
        return function(piece, *shared)


def _on_dask(parallel: Parallel, function, pieces, shared) -> Generator:
    """Give the results of the cluster whose client joblib was given.

    joblib's own loop waits for ever for a task whose worker dies each time (as of joblib 1.6).
    """
    client = parallel._backend.client
    sent = [client.scatter([value], hash=False, broadcast=True)[0] for value in shared]
    ahead = 2 * max(sum(client.ncores().values()), 1)
    waiting: deque = deque()
    left = iter(pieces)
    try:
        while True:
            for piece in islice(left, ahead - len(waiting)):
                waiting.append(client.submit(_alone, function, piece, *sent, pure=False))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        client.cancel(list(waiting))
