"""Kill an audit of shards at random moments, go on with it, and compare the end with that of an undisturbed one.

    python tests/bench/kill_and_resume.py --runs 100
    python tests/bench/kill_and_resume.py --runs 20 --engine loky

Each run is killed (SIGKILL) one to three times: after a random part of the time that an undisturbed one takes, or just
before or after a file is put in its place. It goes on with resume=True until it ends. The saved result must be the
same byte for byte (but for seconds and memory), no finished piece may be done again (its file stays the one it was),
and nothing half-written may be left. Processes are forked after the imports, so a run takes a second or two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from PIL import Image

import mmaudit as mma
from mmaudit._checkpoints import remove_checkpoints
from mmaudit.encoders import _features, _image

N_SAMPLES = 300
N_ROWS = 50  # of a shard
WORDS = ("clear lungs.", "normal heart.", "old fracture.", "low volumes.", "a nodule.", "no effusion.", "a catheter.")


def lower_limits() -> None:
    """Let what is made for many cases work on a few; processes that are forked later inherit it."""
    _features.MOST_RAW_BYTES, _features.N_KEPT = 1000, 6
    _features.FIT_REPORTS = 80
    _image.AT_ONCE = 50


def write_cohort(folder: Path) -> None:
    """Write shards of cases with films, reports, metadata and embeddings; AP films of label 1 are often missed."""
    rng = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir()
    frame = pd.DataFrame(
        {
            "patient": [f"p{k // 2}" for k in range(N_SAMPLES)],
            "label": rng.integers(0, 2, N_SAMPLES),
            "view": rng.choice(["PA", "AP", "lateral"], N_SAMPLES),
            "age": rng.integers(20, 90, N_SAMPLES).astype(float),
            "report": [" ".join(rng.permutation(WORDS)[:3]) for _ in range(N_SAMPLES)],
            "image": [f"{k}.png" for k in range(N_SAMPLES)],
        }
    )
    missed = rng.random(N_SAMPLES) < np.where((frame["view"] == "AP") & (frame["label"] == 1), 0.7, 0.1)
    frame["proba"] = np.where(missed ^ (frame["label"] == 1), 0.8, 0.2)
    for k in range(N_SAMPLES):
        Image.fromarray(rng.integers(0, 255, (24, 24), dtype=np.uint8)).save(images / f"{k}.png")
    X = rng.normal(size=(N_SAMPLES, 12)) * np.arange(12, 0, -1)
    mma.shards.write_shards(folder / "shards", frame, embeddings={"image": X}, n_rows=N_ROWS)


def audit(folder: Path, out: Path, checkpoints: Path, engine: str) -> None:
    """Audit the shards, and write the result without what differs from run to run."""
    warnings.simplefilter("ignore")
    with joblib.parallel_config(engine, n_jobs=1 if engine == "sequential" else 2):
        data = mma.AuditData.from_shards(
            folder / "shards",
            label="label",
            y_proba="proba",
            patient_id="patient",
            report="report",
            metadata=["view", "age"],
            image="image",
            image_root=folder / "images",
        )
        result = mma.audit(data, n_slices=4, n_refits=3, n_permutations=199, checkpoints=checkpoints, resume=True)
    result.settings["seconds"] = result.settings["peak_bytes"] = {}
    result.save(out, thumbnails=True)


def forked(*arguments, at_write: int = 0) -> int:
    """Start an audit in another process, which kills itself at that write, and return its number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        if at_write:
            die_at(at_write)
        audit(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def die_at(n: int) -> None:
    """Kill this process before it puts a file in its place for the n-th time / 2, or, for odd n, after that."""
    replace, count = Path.replace, 0

    def counted(path: Path, target: Path) -> Path:
        nonlocal count
        for step in (lambda: None, lambda: replace(path, target)):
            step()
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)
        return target

    Path.replace = counted  # type: ignore[method-assign, assignment]


def ended(pid: int, after_s: float | None = None) -> bool:
    """Wait for a process, or kill it after some time; return whether it came to its end."""
    until = None if after_s is None else time.monotonic() + after_s
    while True:
        done, status = os.waitpid(pid, 0 if until is None else os.WNOHANG)
        if done:
            break
        if until is not None and time.monotonic() >= until:
            os.kill(pid, signal.SIGKILL)
            until = None
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        sys.exit("an audit ended with an error")
    return True


def finished(checkpoints: Path) -> dict[str, tuple[int, int]]:
    """Return which files of finished pieces there are: name, inode, time of change."""
    files = checkpoints.glob("*/*.zip")
    return {str(f.relative_to(checkpoints)): (f.stat().st_ino, f.stat().st_mtime_ns) for f in files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["sequential", "threading", "loky"], default="sequential")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    lower_limits()
    n_same = n_kills = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cohort(folder)
        out, checkpoints = folder / "result.json", folder / "checkpoints"
        ended(forked(folder, out, checkpoints, args.engine))
        expected, pieces = out.read_bytes(), set(finished(checkpoints))
        shutil.rmtree(checkpoints)
        begun = time.monotonic()
        ended(forked(folder, out, checkpoints, args.engine))
        took = time.monotonic() - begun
        assert out.read_bytes() == expected, "two undisturbed audits differ"
        remove_checkpoints(checkpoints)
        print(f"undisturbed: {took:.1f} s, {len(pieces)} pieces in {len({p.split('/')[0] for p in pieces})} stages")
        for run in range(args.runs):
            out.unlink()
            kept: dict[str, tuple[int, int]] = {}
            moments, again = [], 0
            for _ in range(rng.integers(1, 4)):
                left = max(1, 2 * (len(pieces) - len(kept)) + 4)
                if rng.random() < 0.5:
                    after, at_write = float(rng.uniform(0, took)), 0
                    moments.append(f"{after:.2f} s")
                else:
                    after, at_write = None, int(rng.integers(1, left))
                    moments.append(f"write {at_write / 2:.1f}")
                if ended(forked(folder, out, checkpoints, args.engine, at_write=at_write), after):
                    moments[-1] += " (at its end)"
                    break
                n_kills += 1
                again += sum(found != finished(checkpoints).get(path) for path, found in kept.items())
                kept = finished(checkpoints)
                moments[-1] += f" ({len(kept)} of {len(pieces)} done)"
            else:
                ended(forked(folder, out, checkpoints, args.engine))
            after_all = finished(checkpoints)
            again += sum(found != after_all.get(path) for path, found in kept.items())
            remove_checkpoints(checkpoints)
            partial = [path.name for path in folder.rglob(".mmaudit-*") if path.parent != folder]
            same = out.read_bytes() == expected and set(after_all) == pieces
            good = same and not again and not partial and not checkpoints.exists()
            n_same += good
            print(
                f"run {run + 1}: killed at {', then '.join(moments)}: "
                + ("the same" if good else f"same: {same}, done again: {again}, left behind: {partial}")
            )
    print(f"{n_same} of {args.runs} identical after {n_kills} kills, no piece done twice")
    return 0 if n_same == args.runs else 1


if __name__ == "__main__":
    sys.exit(main())
