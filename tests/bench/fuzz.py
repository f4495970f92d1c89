"""Damaged files for all that reads files of strangers, by the ten thousand.

    python -m tests.bench.fuzz --reader all --n 10000 --seed 0
    python -m tests.bench.fuzz --reader png --only 417            # one input again, with the traceback
    python -m tests.bench.fuzz --reader report --atheris 60       # guided by coverage, 60 s; needs pip install atheris

Each input is whole files with one or two of them damaged (`fuzz_mutations`), given to a reader (`fuzz_readers`) in a
fresh folder. A reader may read them or raise one of the package's own errors. Anything else is unexpected: another
error; more than 5 seconds of processor time, or 60 on the clock; more than 1 GB of memory; the death of the process; a
file written or read outside the folder; a program started, a pickle's class looked up, a host asked; an error that
holds the mark which stands for a patient. Readers run in processes of their own, which are ended and replaced when they
take too much. Memory is the largest resident size that Linux counted, modules included, so it starts at 200 to 500 MB.

The table says how many inputs were accepted, refused and by which errors, and what was unexpected; up to three inputs
of each unexpected kind are kept in `--keep`. The exit status is 1 if there is any.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import hashlib
import inspect
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.fuzz_mutations import MARK
from tests.bench.fuzz_readers import READERS, Files, UnforeseenError, inputs, quietly, whole, write

LIMIT_S, CLOCK_S, LIMIT_MB = 5.0, 60.0, 1000.0
MOST_MAPPED = 12 * 2**30  # bytes of the process that starts the others
START_S = 120.0
MAKING_S = 60.0  # which an input may take that packs much
AT_ONCE = 50  # inputs between two looks at what lies around the folder
MOST_KEPT = 3
MOST_GUIDED, MOST_FILES = 50_000, 12  # bytes of a file that atheris begins with, and files beside it
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
)
READ_OUTSIDE = ("/etc/passwd", "/dev/zero")


class Outcome(NamedTuple):
    """What became of an input: "accepted", "refused" or "unexpected", by which error, and where."""

    index: int
    kind: str
    error: str = ""
    where: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0


class Watch:
    """What the reader does beside reading its folder, as Python's audit hooks tell."""

    def __init__(self) -> None:
        self.inside = self.around = ""
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event in FORBIDDEN:
            self.seen.append(event)
        elif event == "open" and isinstance(arguments[0], (str, bytes)):
            path, mode, flags = arguments
            with contextlib.suppress(ValueError):
                where = os.path.realpath(os.fsdecode(path))
                inside = (where + os.sep).startswith(self.inside) or where.startswith(f"{self.around}out{os.sep}")
                writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR)) or (
                    isinstance(mode, str) and set(mode) & set("wax+")
                )
                if inside or where == os.devnull or where.startswith("/dev/shm"):
                    return
                if writes or where.startswith(self.around) or where in READ_OUTSIDE:
                    self.seen.append(f"{'writes' if writes else 'reads'} outside")


def attempt(
    name: str, index: int, files: Files, rng: random.Random, sandbox: Path, watch: Watch | None = None
) -> Outcome:
    """Return what becomes of files; the sandbox gets the folder `in`, and `out` for what the test itself writes."""
    reader = READERS[name]
    folder = fresh(sandbox)
    write(folder, files)
    del files
    os.chdir(folder)
    _reset_peak()
    start = time.process_time()
    kind, error, where = "accepted", "", ""
    if watch is not None:
        watch.inside, watch.around = f"{os.path.realpath(folder)}{os.sep}", f"{os.path.realpath(sandbox)}{os.sep}"
        watch.seen, watch.on = [], True
    try:
        with quietly():
            reader.read(folder, rng)
    except reader.refusals as refused:
        kind, error = "refused", type(refused).__name__
        if MARK in str(refused):
            kind, error, where = "unexpected", "a patient in the message", place(refused)
    except Exception as unexpected:
        kind, error, where = "unexpected", type(unexpected).__name__, f"{place(unexpected)} {str(unexpected)[:120]!r}"
    finally:
        if watch is not None:
            watch.on = False
        os.chdir(sandbox)
    if watch is not None and watch.seen:
        kind, error, where = "unexpected", watch.seen[0], ""
    return Outcome(index, kind, error, where, time.process_time() - start)


def fresh(sandbox: Path) -> Path:
    """Return the empty folder `in` of a sandbox, among files that nobody may read or change."""
    folder = sandbox / "in"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(sandbox / "out", ignore_errors=True)
    folder.mkdir(parents=True)
    (sandbox / "out").mkdir()
    for name in ("secret.txt", "secret.png", "secret.csv", "secret.xml"):
        if not (sandbox / name).exists():
            (sandbox / name).write_bytes(b"secret")
    return folder


def place(error: BaseException) -> str:
    """Return the innermost line of the package that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}mmaudit{os.sep}" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def around(sandbox: Path) -> dict[str, str]:
    """Return a hash of each file of a sandbox that is neither in `in` nor in `out`."""
    found = {}
    for path in sorted(sandbox.rglob("*")):
        relative = path.relative_to(sandbox)
        if relative.parts[0] not in ("in", "out"):
            found[str(relative)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
    return found


# The process that reads


def work(name: str, seed: int, indices: list[int], sandbox: str, pipe: Any, now: Any) -> None:
    """Read inputs one after the other, and tell what becomes of each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**31, 2**31))
    os.nice(10)
    os.environ["MMAUDIT_CACHE"] = str(Path(sandbox, "out", "cache"))
    watch, place_ = Watch(), Path(sandbox)
    inputs(name, seed, 0)  # makes the whole files, and loads what that needs
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  libraries tell there what they think of damaged files
    os.dup2(sys.stderr.fileno(), 2)
    for files in whole(name)[:4]:  # loads what reading them needs, with the programs that this starts
        with contextlib.suppress(Exception):
            attempt(name, -1, files, random.Random(0), place_)
    before = around(place_)
    for done, index in enumerate(indices):
        with now.get_lock():
            now[0], now[1], now[2] = index, time.monotonic() + MAKING_S, time.process_time() + MAKING_S
        files, rng = inputs(name, seed, index)
        with now.get_lock():
            now[1], now[2] = time.monotonic(), time.process_time()
        outcome = attempt(name, index, files, rng, place_, watch)._replace(peak_mb=_peak_mb())
        del files
        if outcome.peak_mb > LIMIT_MB:
            outcome = outcome._replace(kind="unexpected", error=f"more than {LIMIT_MB:.0f} MB", where="")
        elif outcome.seconds > LIMIT_S:
            outcome = outcome._replace(kind="unexpected", error=f"more than {LIMIT_S:.0f} s", where="")
        if done % AT_ONCE == 0 or index == indices[-1]:
            after = around(place_)
            if after != before:
                outcome, before = outcome._replace(kind="unexpected", error="files outside changed"), after
        pipe.send(outcome)
    pipe.send(None)
    pipe.close()


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb(pid: int | str = "self") -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1000
    return 0.0


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def run(name: str, seed: int, n: int) -> list[Outcome]:
    """Return what became of each of `n` inputs of a reader, read by processes that are replaced when they die."""
    context = multiprocessing.get_context("spawn")
    left, outcomes = list(range(n)), []
    while left:
        with tempfile.TemporaryDirectory(prefix="mmaudit-fuzz-") as sandbox:
            theirs, ours = context.Pipe()
            now = context.Array("d", [-1.0, time.monotonic(), 0.0])
            process = context.Process(target=work, args=(name, seed, left, sandbox, ours, now))
            process.start()
            ours.close()
            told, why = _watched(process, theirs, now)
            outcomes += told
            if why is None:
                break
            index = int(now[0])
            if index < 0:
                raise RuntimeError(f"the process that reads {name} does not start: {why}")
            if not told or told[-1].index != index:
                seconds = time.monotonic() - now[1]
                outcomes.append(Outcome(index, "unexpected", why, "", seconds, _peak_mb(process.pid or 0)))
            left = [i for i in left if i > index]
            process.kill()
            process.join()
    return outcomes


def _watched(process: Any, pipe: Any, now: Any) -> tuple[list[Outcome], str | None]:
    """Return what a process told, and why it had to be ended; None where it came to its end."""
    told: list[Outcome] = []
    why = "the process died"
    while True:
        try:
            while pipe.poll(0.05):
                outcome = pipe.recv()
                if outcome is None:
                    process.join()
                    return told, None
                told.append(outcome)
        except (EOFError, OSError):
            break
        index, began, cpu = now[0], now[1], now[2]
        if not process.is_alive():
            break
        waited = time.monotonic() - began
        if index < 0:
            late = waited > START_S
        else:
            late = waited > CLOCK_S or (waited > LIMIT_S and _cpu_s(process.pid) - cpu > LIMIT_S)
        if late and now[0] == index and now[1] == began:
            why = f"more than {LIMIT_S:.0f} s"
            break
        if index >= 0 and _rss_mb(process.pid) > 2 * LIMIT_MB:
            why = f"more than {LIMIT_MB:.0f} MB"
            break
    process.kill()
    process.join()
    return told, why


def _rss_mb(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


# What it says


def keep(name: str, seed: int, outcomes: list[Outcome], folder: Path) -> None:
    """Write up to three inputs of each unexpected kind into a folder, to be looked at."""
    kinds: collections.Counter = collections.Counter()
    for outcome in outcomes:
        kind = (outcome.error, outcome.where.split(" ")[0])
        if outcome.kind != "unexpected" or kinds[kind] >= MOST_KEPT:
            continue
        kinds[kind] += 1
        print(f"  {name} {outcome.index}: {outcome.error} {outcome.where}", flush=True)
        with contextlib.suppress(MemoryError):
            files, _ = inputs(name, seed, outcome.index)
            write(folder / f"{name}-{outcome.index}", files)


def row(name: str, outcomes: list[Outcome], seconds: float) -> str:
    """Return a row of the table."""
    refused = collections.Counter(o.error for o in outcomes if o.kind == "refused")
    unexpected = sum(o.kind == "unexpected" for o in outcomes)
    outside = sum("outside" in o.error for o in outcomes)
    by = ", ".join(f"{count:,} {error}" for error, count in refused.most_common()) or "0"
    accepted = sum(o.kind == "accepted" for o in outcomes)
    slowest, peak = max((o.seconds for o in outcomes), default=0), max((o.peak_mb for o in outcomes), default=0)
    return (
        f"| {name} | {len(outcomes):,} | {accepted:,} | {by} | {unexpected} | {slowest:.2f} | {peak:.0f} | {outside} | "
        f"{seconds:.0f} |"
    )


HEAD = (
    "| reader | inputs | accepted | refused | unexpected | slowest s | peak MB | files outside | seconds |\n"
    "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
)


# Guided by coverage


def guided(name: str, seconds: int, kept: Path) -> int:
    """Let atheris change the files of a reader, guided by the branches of the package that it reaches.

    It ends at the first input that is unexpected, which is then kept. The first byte of what atheris makes says which
    file of which whole input the rest takes the place of, and gives the random numbers that the reader is given.
    """
    with tempfile.TemporaryDirectory(prefix="mmaudit-fuzz-") as place:
        for folder in ("corpus", "found", "sandbox"):
            Path(place, folder).mkdir()
        process = multiprocessing.get_context("spawn").Process(target=_guide, args=(name, seconds, place))
        process.start()
        process.join()
        found = sorted(Path(place, "found").iterdir())
        for path in found:
            write(kept / f"{name}-{path.name}", _chosen(name, path.read_bytes())[0])
            print(f"  {name}: {kept / f'{name}-{path.name}'}", flush=True)
    return int(bool(found) or process.exitcode != 0)


def _chosen(name: str, content: bytes) -> tuple[Files, random.Random]:
    """Return the files, and the random numbers, that a text of atheris stands for."""
    places = _places(name)
    first = content[0] if content else 0
    files, path = places[first % len(places)]
    return {**files, path: content[1:]}, random.Random(first)


def _places(name: str) -> list[tuple[Files, str]]:
    """Return whole inputs of few files, and a file of each that may be damaged; no more than a byte can count."""
    different = {id(files): files for files in whole(name) if len(files) <= MOST_FILES}.values()
    return [(files, path) for files in different for path in files if path.startswith(READERS[name].damage)][:256]


def _guide(name: str, seconds: int, place: str) -> None:
    import atheris

    corpus, sandbox, watch = Path(place, "corpus"), Path(place, "sandbox"), Watch()
    os.environ["MMAUDIT_CACHE"] = str(sandbox / "out" / "cache")
    for first, (files, path) in enumerate(_places(name)):
        (corpus / f"whole-{first}").write_bytes(bytes([first]) + files[path])
    for index in range(60):
        files, _ = inputs(name, 0, index)
        for first, (before, path) in enumerate(_places(name)):
            is_of_it = before.keys() == files.keys() and sum(before[k] != files[k] for k in files) < 3
            if is_of_it and before[path] != files[path] and len(files[path]) < MOST_GUIDED:
                (corpus / f"damaged-{index}").write_bytes(bytes([first]) + files[path])

    def one(content: bytes) -> None:
        outcome = attempt(name, -1, *_chosen(name, content), sandbox, watch)
        if outcome.kind == "unexpected":
            raise UnforeseenError(f"{outcome.error} {outcome.where}")

    for files in whole(name)[:4]:  # loads the package, which is then instrumented
        attempt(name, -1, files, random.Random(0), sandbox)
    functions = _functions()
    for function in functions:
        with contextlib.suppress(Exception):  # of what atheris cannot change
            atheris.instrument_func(function)
    print(f"{len(functions)} functions instrumented, {len(list(corpus.iterdir()))} inputs to begin with", flush=True)
    settings = [
        f"-max_total_time={seconds}",
        f"-timeout={int(LIMIT_S)}",
        f"-rss_limit_mb={2 * int(LIMIT_MB)}",
        f"-artifact_prefix={place}/found/",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *settings, str(corpus)], one)
    atheris.Fuzz()


def _functions() -> set[Any]:
    """Return the functions and methods of the package that are loaded."""
    found = set()
    for name, module in list(sys.modules.items()):
        own = vars(module).values() if name.partition(".")[0] == "mmaudit" else ()
        for value in [value for value in own if getattr(value, "__module__", None) == name]:
            for one in list(vars(value).values()) if isinstance(value, type) else [value]:
                one = getattr(one, "fget", None) or getattr(one, "func", None) or getattr(one, "__func__", one)
                found.add(inspect.unwrap(one) if callable(one) else None)
    return {one for one in found if inspect.isfunction(one)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reader", default="all", help=f"all, or of {', '.join(READERS)}; commas between several")
    parser.add_argument("--n", type=int, default=10_000, help="inputs of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="read this input alone, here, and show the traceback")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for unexpected inputs")
    parser.add_argument("--atheris", type=int, metavar="SECONDS", help="let atheris guide it, for so long a reader")
    args = parser.parse_args()
    names = list(READERS) if args.reader == "all" else args.reader.split(",")
    if args.atheris:
        return max(guided(name, args.atheris, args.keep) for name in names)
    if args.only is not None:
        with tempfile.TemporaryDirectory() as sandbox:
            files, rng = inputs(names[0], args.seed, args.only)
            folder = fresh(Path(sandbox))
            write(folder, files)
            print({name: len(content) for name, content in files.items()})
            os.chdir(folder)
            try:
                READERS[names[0]].read(folder, rng)
            finally:
                os.chdir(sandbox)
        return 0
    rows, failed = [], False
    # Inputs to be kept are made again in this process, which nobody watches.
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MAPPED, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for name in names:
        start = time.monotonic()
        outcomes = run(name, args.seed, args.n)
        seconds = time.monotonic() - start
        keep(name, args.seed, outcomes, args.keep)
        rows.append(row(name, outcomes, seconds))
        failed |= any(o.kind == "unexpected" for o in outcomes)
        print(rows[-1], flush=True)
    print(f"\n{HEAD}\n" + "\n".join(rows))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
