"""What an audit costs from a thousand samples to a million, and what that says of a hundred million.

`mmaudit benchmark scale` does it from a shell. Cohorts are simulated, shard by shard. Each is audited by processes of
this machine and on a local dask cluster, in a fresh process each time, so that peaks of memory are its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import math
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import joblib
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mmaudit import __version__, _audit
from mmaudit._engine import n_workers
from mmaudit._errors import InputError, MissingExtraError, check_keywords, nearest
from mmaudit._files import replacing
from mmaudit._meter import Meter
from mmaudit._tables import DamagedTableError, read_parquet
from mmaudit.data import AuditData
from mmaudit.encoders import Features, encode
from mmaudit.encoders._features import MOST_RAW_BYTES, N_KEPT
from mmaudit.result import _write_text
from mmaudit.shards import find_shards, write_shards
from mmaudit.slicers import MixtureSlicer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ENGINES", "SIZES", "Scale", "measure_scale", "simulate_shards"]

SIZES = (1_000, 10_000, 100_000, 1_000_000)
ENGINES = ("local", "dask")
LEAST, MOST = 500, 100_000_000  # samples of a cohort
N_DIMENSIONS, N_ROWS = 512, 10_000
ENCODING_SIZE = 100_000
DASK_WORKERS = 2
QUICK = {"n_refits": 2, "n_permutations": 199}
FULL = {"n_refits": 20, "n_permutations": 4999}
DISCOVERY = 0.4  # share of the patients, as of an audit by default
MIN_COUNT = 50  # reports that hold a term, as of an audit of many
STORED_BYTES = 3_000  # of a sample with 512 dimensions, about, and what an audit of it keeps for a while
SETTINGS = "settings.json"  # of a benchmark
COHORT = "cohort.json"  # what a folder of simulated shards holds

# Goals of the project, of the images of MIMIC-CXR-JPG on 2 cores.
GOAL_SIZE, GOAL_MIXTURE_S, GOAL_AUDIT_S, GOAL_BYTES, GOAL_RATIO, GOAL_SPEEDUP = 377_110, 120, 900, 4e9, 1.3, 1.6
BASE = 10_000  # samples whose cost the others are compared with
# Of the extrapolation.
FAR, FAR_WORKERS, NODE_BYTES, STORAGE_GB_S = 100_000_000, 64, 256e9, 1
SPREAD, REFITS = ("read", "encode"), "stability"  # stages that workers share; the others are of one process
PASSES = 3  # over the stored bytes: one to check them, two to reduce the embeddings; reports are read in two of them

# Simulated cohorts

SAMPLES_PER_PATIENT = 377_110 / 65_379  # MIMIC-CXR-JPG 2.0.0, doi:10.13026/8360-t248
POSITIVE = 0.3
RIGHT, RIGHT_SUPINE, RIGHT_TUBE = 0.9, 0.35, 0.6  # how often the simulated classifier is
VIEWS, P_VIEWS = ("PA", "AP", "AP supine"), (0.5, 0.3, 0.2)
P_TUBE, P_NO_EXPOSURE = 0.03, 0.1
N_LATENT, NOISE, SUPINE_SHIFT = 60, 0.5, 2.0
METADATA = ("view", "sex", "age", "site", "exposure")
PLANTED = ("supine", "chest tube")

# Findings and an impression of some 98 words in the mean. Three sentences in ten have thousands of forms, so that the
# cost of a vocabulary is not understated.
BLANKS = {
    "much": ("", "mildly ", "slightly ", "moderately ", "markedly ", "again "),
    "lobe": ("left lower", "right lower", "left upper", "right upper", "right middle"),
    "how": ("mild", "moderate", "minimal", "stable", "new", "linear", "increased", "decreased"),
    "side": ("left", "right"),
}
# The first come up most often.
FINDINGS = (
    "The heart is {much}enlarged.",
    "Heart size is normal and the cardiomediastinal contours are unchanged.",
    "There is no focal consolidation in the {lobe} lobe.",
    "No pneumothorax is seen.",
    "{how} atelectasis at the {side} base, without evidence of pneumonia.",
    "The mediastinal and hilar contours are {much}prominent.",
    "Low lung volumes with {how} bronchovascular crowding.",
    "No evidence of pulmonary edema.",
    "There is {how} pulmonary vascular congestion.",
    "Degenerative changes of the thoracic spine with {how} scoliosis.",
    "A {side} picc line ends in the lower superior vena cava.",
    "The {side} hemidiaphragm is {much}elevated.",
    "A {how} opacity in the {lobe} lobe may represent aspiration.",
    "Calcified granuloma in the {lobe} lobe, unchanged from the prior study.",
    "Old healed {side} rib fractures, no acute fracture.",
    "The aorta is {much}tortuous and calcified.",
    "Median sternotomy wires are intact and aligned.",
    "A {side} pacemaker has leads in the right atrium and right ventricle.",
    "{how} interstitial markings in the {lobe} lobe, which may be chronic.",
    "Enteric tube courses below the diaphragm, its tip is not seen.",
    "The lungs are {much}hyperinflated with flattened diaphragms.",
    "A {how} nodule projects over the {lobe} lobe.",
    "No free air below the right hemidiaphragm.",
    "{side} apical pleural thickening is {much}increased.",
    "Surgical clips project over the {side} axilla.",
    "Cervical spinal hardware is partly imaged.",
)
IMPRESSIONS = (
    "No acute cardiopulmonary process.",
    "{how} atelectasis at the {side} base.",
    "No evidence of pneumonia.",
    "{how} cardiomegaly without edema.",
    "Opacity in the {lobe} lobe, recommend follow-up.",
    "Lines and tubes in standard position.",
)
SUPINE, UPRIGHT = "Portable supine film, endotracheal tube in place.", "Upright frontal and lateral views of the chest."
TUBE = "A chest tube remains in the {side} pleural space."
EFFUSION, NO_EFFUSION = "There is a pleural effusion.", "No pleural effusion is seen."
N_FINDINGS, N_IMPRESSIONS, P_SENTENCE = 5, 2, 0.85
SYLLABLES = ("ba", "cor", "da", "fel", "gi", "hu", "ju", "kor", "lem", "mi", "nor", "po", "ri", "sta", "tu", "ve")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


@check_keywords
def simulate_shards(
    folder: str | Path,
    n_samples: int,
    *,
    n_dimensions: int = N_DIMENSIONS,
    random_state: int = 0,
    n_rows: int = N_ROWS,
    progress: bool = False,
) -> None:
    """Write a simulated cohort as shards; those that are there and whole are left as they are.

    The label is effusion. A classifier gives its probability, right in 90 % of the samples. It is planted that it is
    right in 35 % of those with `view` "AP supine", a fifth, which reports tell and two columns of the embeddings show;
    and in 60 % of those whose reports speak of a chest tube, 3 %. Embeddings have 60 directions of falling variance,
    and noise.

    Parameters
    ----------
    folder : path
        New, empty, or with some of the same cohort.
    n_samples : int
        Of 5.77 a patient on average; the samples of a patient lie in one shard.
    n_dimensions : int
        Columns of the image embeddings, 2 at least.
    random_state : int
        Seed. Every shard is drawn from it and its own number, whatever else there is.
    n_rows : int
        Samples of a shard, and all that is in memory at a time.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    InputError
        Fewer than 2 dimensions, or a number of samples or rows that is not positive; another cohort in the folder.
    """
    for argument, number, least in (
        ("n_samples", n_samples, 1),
        ("n_dimensions", n_dimensions, 2),
        ("n_rows", n_rows, 1),
    ):
        if not _is_whole(number) or number < least:
            raise InputError(argument, f"a whole number from {least}", f"{number!r}", "Choose another.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"n_samples": n_samples, "n_dimensions": n_dimensions, "random_state": random_state, "n_rows": n_rows}
    if _settings_of(folder / COHORT, about, any(folder.iterdir())):
        raise InputError(
            "folder", "a new one, or with the same cohort", "one with something else", "Give another name."
        )
    starts = range(0, n_samples, n_rows)
    bar = tqdm(starts, desc=f"simulating {n_samples:,}", unit="shard", disable=not progress, leave=False)
    for number, start in enumerate(bar):
        n = min(n_rows, n_samples - start)
        if not _is_whole_shard(folder, number, (n, n_dimensions)):
            frame, embeddings = _simulated(n, n_dimensions, random_state, number)
            write_shards(folder, frame, embeddings={"image": embeddings}, n_rows=n, first=number)


def _is_whole_shard(folder: Path, number: int, shape: tuple[int, int]) -> bool:
    path = folder / f"part-{number:05d}.parquet"
    try:
        n_rows = len(read_parquet(path, columns=["effusion"]))
        array = np.load(path.with_suffix(".image.npy"), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, DamagedTableError):
        return False
    return n_rows == shape[0] and array.shape == shape


def _simulated(n: int, n_dimensions: int, seed: int, number: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table and the embeddings of one shard."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    n_patients = max(1, round(n / SAMPLES_PER_PATIENT))
    more = rng.multinomial(n - n_patients, rng.dirichlet(np.ones(n_patients)))
    patient = np.repeat(np.arange(n_patients), 1 + more)
    view = np.array(VIEWS, dtype=object)[rng.choice(len(VIEWS), n, p=P_VIEWS)]
    supine = view == "AP supine"
    tube = rng.random(n) < P_TUBE
    positive = rng.random(n) < POSITIVE
    right = rng.random(n) < np.where(supine, RIGHT_SUPINE, np.where(tube, RIGHT_TUBE, RIGHT))
    sureness = rng.beta(2, 2, n) / 2
    exposure = rng.gamma(3, 2, n)
    exposure[rng.random(n) < P_NO_EXPOSURE] = np.nan
    frame = pd.DataFrame(
        {
            "sample_id": [f"{number:05d}-{row:05d}" for row in range(n)],
            "patient_id": number * 10_000_000 + patient,
            "effusion": positive.astype(np.int8),
            "p": np.where(positive == right, 0.5 + sureness, 0.5 - sureness),
            "view": view,
            "sex": np.array(["F", "M"], dtype=object)[rng.integers(0, 2, n_patients)[patient]],
            "age": rng.integers(18, 95, n_patients)[patient],
            "site": np.array([f"site {k}" for k in range(8)], dtype=object)[rng.integers(0, 8, n_patients)[patient]],
            "exposure": exposure,
            "report": _reports(rng, supine, tube, positive),
        }
    )
    # The directions are those of the whole cohort. On one thread, sums are rounded alike everywhere.
    shared = np.random.default_rng(np.random.SeedSequence(seed))
    variance = np.arange(1, N_LATENT + 1) ** -1.4
    scale = np.sqrt((1 - NOISE**2) * variance / variance.sum())[:, None]
    directions = (scale * shared.standard_normal((N_LATENT, n_dimensions))).astype(np.float32)
    embeddings = np.float32(NOISE) * rng.standard_normal((n, n_dimensions), dtype=np.float32)
    with threadpool_limits(1):
        embeddings += rng.standard_normal((n, N_LATENT), dtype=np.float32) @ directions
    embeddings[supine, :2] += SUPINE_SHIFT
    return frame, embeddings


def _reports(rng: np.random.Generator, supine: np.ndarray, tube: np.ndarray, positive: np.ndarray) -> list[str]:
    n = len(supine)

    def one_of(words: Sequence[str]) -> np.ndarray:
        return np.array(words, dtype=object)[rng.integers(0, len(words), n)]

    def name() -> np.ndarray:
        return _names()[np.searchsorted(_zipf(), rng.random(n))]

    lobe, how = BLANKS["lobe"], BLANKS["how"]
    parts = [
        "FINDINGS:\n",
        np.where(supine, SUPINE, UPRIGHT),
        np.where(positive, EFFUSION, NO_EFFUSION),
        *_sentences(rng, FINDINGS, N_FINDINGS, n),
        *("A", one_of(how), name(), "device projects over the", one_of(lobe), "lobe."),
        *("A focus of", _size(rng, n), "cm with", name(), "margins is", one_of(how), "in the", one_of(lobe), "lobe."),
        *("Compared to the study of", one_of(MONTHS), one_of([f"{day}," for day in range(1, 29)])),
        *("the", name(), "appearance is", one_of(how) + "."),
        np.where(tube, one_of([TUBE.format(side=side) for side in BLANKS["side"]]), ""),
        "\n\nIMPRESSION:\n",
        *_sentences(rng, IMPRESSIONS, N_IMPRESSIONS, n),
        np.where(positive, EFFUSION, ""),
    ]
    columns = [np.full(n, part, dtype=object) if isinstance(part, str) else part for part in parts]
    return [" ".join(row) for row in np.stack(columns, axis=1).tolist()]


def _sentences(rng: np.random.Generator, patterns: tuple[str, ...], most: int, n: int) -> np.ndarray:
    """Return up to `most` different sentences for each of n reports, (most, n); where there is none, ""."""
    sentences, first, count = _filled(patterns)
    # The largest of sums with Gumbel noise are draws without replacement, by weights that fall with the rank.
    keys = rng.gumbel(size=(n, len(patterns))) - 0.7 * np.log(np.arange(1, len(patterns) + 1))
    chosen = np.argsort(-keys, axis=1)[:, :most].T
    found = sentences[first[chosen] + (rng.random(chosen.shape) * count[chosen]).astype(int)]
    found[rng.random(chosen.shape) > P_SENTENCE] = ""
    return found


@cache
def _filled(patterns: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all sentences that patterns give, and the first one and the number of those of each."""
    by_pattern = []
    for pattern in patterns:
        blanks = [blank for blank in BLANKS if f"{{{blank}}}" in pattern]
        filled = itertools.product(*(BLANKS[blank] for blank in blanks))
        texts = [pattern.format(**dict(zip(blanks, words, strict=True))) for words in filled]
        by_pattern.append([text[0].upper() + text[1:] for text in texts])
    count = np.array([len(texts) for texts in by_pattern])
    return np.array([*itertools.chain(*by_pattern)], dtype=object), np.cumsum(count) - count, count


def _size(rng: np.random.Generator, n: int) -> np.ndarray:
    long, wide = rng.integers(10, 60, n), rng.integers(5, 40, n)
    return np.array([f"{a / 10} x {b / 10}" for a, b in zip(long.tolist(), wide.tolist(), strict=True)], dtype=object)


@cache
def _names() -> np.ndarray:
    """Return 4,096 made-up words, the first of which come up most often."""
    return np.array(["".join(parts) for parts in itertools.product(SYLLABLES, repeat=3)], dtype=object)


@cache
def _zipf() -> np.ndarray:
    weights = 1 / np.arange(1, len(_names()) + 1)
    edges = np.cumsum(weights / weights.sum())
    edges[-1] = 1
    return edges


# What is measured


@check_keywords
def measure_scale(
    sizes: Sequence[float] = SIZES,
    engines: Sequence[str] = ENGINES,
    *,
    folder: str | Path,
    encoding_size: float = ENCODING_SIZE,
    repeats: int = 3,
    random_state: int = 0,
    quick: bool = False,
    progress: bool = False,
) -> Scale:
    """Return what audits of simulated cohorts cost, each measured in a fresh process.

    Parameters
    ----------
    sizes : sequence of int from 500 to 100,000,000
        Samples of each cohort, of 512 dimensions, with reports.
    engines : sequence of {"local", "dask"}
        "local": processes of this machine, as without `joblib.parallel_config`. "dask": a cluster of 2 workers of one
        thread here; with it, encoding is also timed on 1 worker and on 2, taking turns.
    folder : path
        Keeps the cohorts, about 2.5 kB a sample, and each measurement once it is made: begun again with the same
        settings, a benchmark goes on where it was.
    encoding_size : int
        Samples that are encoded on 1 worker and on 2.
    repeats : int
        Times that each of these two is done.
    random_state : int ≥ 0
        Seed of cohorts and audits.
    quick : bool
        Audit with 2 refits and 199 permutations, to see that all works; that is not what an audit costs.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    InputError
        A value out of range; a folder with a benchmark of other settings; no room on the disk; an audit that did not
        come to its end.
    MissingExtraError
        The engine "dask" without the package distributed.
    """
    cohorts = _check(sizes, engines, encoding_size, repeats, random_state)
    folder = Path(folder)
    about: dict[str, Any] = {
        "version": __version__,
        "random_state": int(random_state),
        "quick": bool(quick),
        "machine": f"{joblib.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    tasks = [(name, n) for n in cohorts for name in (*engines, "mixture")]
    tasks += [("encoding", int(encoding_size))] if "dask" in engines else []
    files = {
        (name, n): folder / "runs" / f"{name}-{n}{f'-{repeats}' if name == 'encoding' else ''}.json"
        for name, n in tasks
    }
    _make_folder(folder, about, {n for (_, n), at in files.items() if not at.exists()})
    found = {}
    with tqdm(total=len(tasks), desc="scale", unit="run", disable=not progress, leave=False) as bar:
        for (name, n), at in files.items():
            bar.set_postfix_str(f"{name}, {n:,} samples")
            if not at.exists():
                shards = folder / "cohorts" / str(n)
                simulate_shards(shards, n, random_state=random_state, progress=progress)
                settings = {"random_state": int(random_state), **(QUICK if quick else FULL)}
                _in_fresh_process({"name": name, "shards": str(shards), "repeats": int(repeats), **settings}, n, at)
            found[name, n] = json.loads(at.read_text(encoding="utf-8"))
            bar.update()
    encoding = found.pop(("encoding", int(encoding_size)), None)
    return Scale(list(found.values()), encoding, about["machine"], quick)


def _check(sizes, engines, encoding_size, repeats, random_state) -> list[int]:
    """Return the sizes in order, once all arguments are known to be good."""
    for argument, numbers in (("sizes", sizes), ("encoding_size", [encoding_size])):
        bad = [number for number in numbers if not _is_whole(number) or not LEAST <= number <= MOST]
        if bad or not numbers:
            got = f"{bad[0]!r}" if bad else "nothing"
            raise InputError(argument, f"whole numbers from {LEAST} to {MOST:,}", got, "Choose others, such as 1e4.")
    unknown = [name for name in engines if name not in ENGINES]
    if unknown or not engines:
        got = repr(unknown[0]) if unknown else "nothing"
        hint = nearest(unknown[0], ENGINES) if unknown else ""
        raise InputError("engines", f"some of {', '.join(ENGINES)}", got, f"Choose one, or both.{hint}")
    for argument, names in (("sizes", sizes), ("engines", engines)):
        if len(set(names)) < len(names):
            raise InputError(argument, "each once", "one of them twice", "Leave one out.")
    for argument, number, least in (("repeats", repeats, 1), ("random_state", random_state, 0)):
        if not _is_whole(number) or number < least:
            raise InputError(argument, f"a whole number from {least}", f"{number!r}", "Choose another.")
    if "dask" in engines and importlib.util.find_spec("distributed") is None:
        raise MissingExtraError("The engine dask", "distributed", "scale")
    return sorted(int(size) for size in sizes)


def _is_whole(number: Any) -> bool:
    return isinstance(number, (int, float, np.number)) and math.isfinite(number) and number == int(number)


def _make_folder(folder: Path, about: dict[str, Any], cohorts: set[int]) -> None:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    missing = sum(n for n in cohorts if not (folder / "cohorts" / str(n) / COHORT).exists())
    free = shutil.disk_usage(there).free
    if missing * STORED_BYTES > free:
        raise InputError(
            "out",
            f"room for {missing:,} samples ({missing * STORED_BYTES / 1e9:.1f} GB)",
            f"{free / 1e9:.1f} GB on that disk",
            "Free some, give a folder elsewhere, or leave the largest size out.",
        )
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    differ = _settings_of(folder / SETTINGS, about, any((folder / "runs").iterdir()))
    if differ:
        raise InputError(
            "out",
            "a new folder, or that of a benchmark of the same settings",
            f"one with other {', '.join(differ)}",
            "Give another name: times of both do not belong in one table.",
        )


def _settings_of(path: Path, about: dict[str, Any], begun: bool) -> list[str]:
    """Return in what `about` differs from the file; where nothing has begun, the file is written."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before is None and not begun:
        _write_text(path, json.dumps(about, indent=1))
        return []
    before = before if isinstance(before, dict) else {}
    return sorted(key for key in {*before, *about} if before.get(key) != about.get(key))


def _in_fresh_process(task: dict[str, Any], n: int, at: Path) -> None:
    run = [sys.executable, "-c", "from mmaudit.scale import _run; _run()"]
    with replacing(at) as partial, tempfile.TemporaryDirectory(prefix=".checkpoints-", dir=at.parent) as checkpoints:
        code = subprocess.run([*run, json.dumps(task | {"checkpoints": checkpoints}), partial], check=False).returncode
        if code:
            raise InputError(
                "sizes",
                "audits that this machine can do",
                f"{task['name']}, {n:,} samples, which ended with code {code}",
                "Where the memory was full, leave that size out; what was measured is kept.",
            )


# What the fresh process does


def _run() -> None:
    task, at = json.loads(sys.argv[1]), Path(sys.argv[2])
    found = {"mixture": _mixture, "encoding": _encoding}.get(task["name"], _audited)(task)
    at.write_text(json.dumps({"name": task["name"], **found}, indent=1), encoding="utf-8")


def _read(task: dict[str, Any]) -> AuditData:
    return AuditData.from_shards(
        task["shards"],
        label="effusion",
        y_proba="p",
        patient_id="patient_id",
        sample_id="sample_id",
        report="report",
        metadata=list(METADATA),
    )


def _audited(task: dict[str, Any]) -> dict[str, Any]:
    """Return what reading and auditing a cohort takes, what it finds, and how much it keeps in memory."""
    seen: list[Features] = []

    def encode_and_note(*args: Any, **how: Any) -> Any:
        features, images = encode(*args, **how)
        seen.append(features)
        return features, images

    with _cluster(DASK_WORKERS) if task["name"] == "dask" else contextlib.nullcontext():
        workers = n_workers()
        with Meter().watching() as meter:
            data = _read(task)
            meter.mark("read")
        how = {name: task[name] for name in ("checkpoints", "random_state", "n_refits", "n_permutations")}
        with mock.patch.object(_audit, "encode", encode_and_note):
            result = _audit.audit(data, **how)
    descriptions = result.findings["description"].str.lower()
    return {
        "n_samples": data.n_samples,
        "n_workers": workers,
        "n_refits": task["n_refits"],
        "seconds": meter.seconds | result.settings["seconds"],
        "peak_bytes": meter.peak_bytes | result.settings["peak_bytes"],
        "n_findings": len(descriptions),
        "found": {what: bool(descriptions.str.contains(what, regex=False).any()) for what in PLANTED},
        "held_bytes": _held(data, seen[0]),
        "stored_bytes": _stored(task["shards"]),
    }


def _held(data: AuditData, features: Features) -> dict[str, int]:
    """Return the bytes that the process which leads an audit holds from its beginning to its end."""
    roles = (data.sample_id, data.y_true, data.y_proba, data.patient_id)
    return {
        "embeddings": sum(values.nbytes for values in features.embeddings.values()),
        "table": sum(_bytes_of(column) for _, column in features.table.items()),
        "roles": sum(map(_bytes_of, roles)) + sum(_bytes_of(column) for _, column in data.metadata.items()),
    }


def _bytes_of(values: Any) -> int:
    if values.dtype != object:
        return int(values.nbytes)
    return 8 * len(values) + sum({id(value): sys.getsizeof(value) for value in values}.values())


def _stored(folder: str) -> dict[str, int]:
    shards = find_shards(folder)
    return {
        "tables": sum(Path(shard.table).stat().st_size for shard in shards),
        "embeddings": sum(Path(path).stat().st_size for shard in shards for _, path in shard.arrays),
    }


def _mixture(task: dict[str, Any]) -> dict[str, Any]:
    """Return what fitting the mixture to the embeddings of a cohort takes."""
    data = _read(task)
    slicer = MixtureSlicer(25, random_state=task["random_state"])
    with Meter().watching() as meter:
        slicer.fit(data.embeddings["image"], data.y_true, y_proba=data.y_proba)
        meter.mark("fit")
    return {"n_samples": data.n_samples, "seconds": meter.seconds, "peak_bytes": meter.peak_bytes}


def _encoding(task: dict[str, Any]) -> dict[str, Any]:
    """Return what encoding takes on one worker and on two, taking turns, and by how much the features differ."""
    data = _read(task)
    discovery = data.split_mask(DISCOVERY, random_state=task["random_state"])
    seconds: dict[str, list[float]] = {"1": [], "2": []}
    first, identical, difference = None, True, 0.0
    for repeat in range(task["repeats"]):
        for n in (1, 2) if repeat % 2 == 0 else (2, 1):
            with _cluster(n), threadpool_limits(1):  # as an audit does
                start = time.perf_counter()
                features, _ = encode(data, fit_on=discovery, min_count=MIN_COUNT, random_state=task["random_state"])
                seconds[str(n)].append(round(time.perf_counter() - start, 3))
            if first is None:
                first = features
            of_embeddings = [(first.embeddings[m], features.embeddings[m]) for m in first.embeddings]
            identical &= features.table.equals(first.table) and all(np.array_equal(a, b) for a, b in of_embeddings)
            difference = max(difference, *(float(np.abs(a - b).max()) for a, b in of_embeddings))
    return {"n_samples": data.n_samples, "seconds": seconds, "identical": identical, "difference": difference}


@contextlib.contextmanager
def _cluster(n: int) -> Iterator[None]:
    """Give work to a dask cluster of `n` worker processes that have imported what it needs."""
    from distributed import Client, LocalCluster

    how: dict[str, Any] = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with (
        LocalCluster(n_workers=n, silence_logs="ERROR", **how) as cluster,
        Client(cluster) as client,
        joblib.parallel_config("dask"),
    ):
        client.run(_imported)
        yield


def _imported() -> None:
    """Be found in this module, which a worker imports for it."""


# What it says


@dataclass(frozen=True)
class Scale:
    """What was measured.

    Attributes
    ----------
    runs : list of dict
        One a cohort and engine, or "mixture": seconds and peak bytes by stage, findings, bytes held and stored.
    encoding : dict or None
        Seconds on 1 worker and on 2. None: not measured.
    machine : str
    quick : bool
        Whether audits had fewer refits and permutations than by default.
    """

    runs: list[dict[str, Any]]
    encoding: dict[str, Any] | None
    machine: str
    quick: bool

    @property
    def table(self) -> pd.DataFrame:
        """One row a run: engine, samples, seconds in all and by stage, peak in GB, cost, and its ratio to 10,000's."""
        base = {run["name"]: _cost_ms(run) for run in self.runs if run["n_samples"] == BASE}
        rows = [
            {
                "engine": run["name"],
                "n_samples": run["n_samples"],
                "total_s": _total_s(run),
                **{f"{stage}_s": seconds for stage, seconds in run["seconds"].items()},
                "peak_gb": _peak(run) / 1e9,
                "ms_per_sample": _cost_ms(run),
                "ratio_to_10000": _cost_ms(run) / base[run["name"]] if run["name"] in base else np.nan,
                "n_findings": run.get("n_findings", np.nan),
                **{f"found_{what.replace(' ', '_')}": run.get("found", {}).get(what, "") for what in PLANTED},
            }
            for run in self.runs
        ]
        frame = pd.DataFrame(rows)
        stages = [column for column in frame if column.endswith("_s")]
        return frame[
            ["engine", "n_samples", *stages, *(column for column in frame.columns[2:] if column not in stages)]
        ]

    def to_markdown(self) -> str:
        """Return the tables, the goals, and the extrapolation with its arithmetic."""
        audits = [run for run in self.runs if run["name"] != "mixture"]
        stages = list(dict.fromkeys(stage for run in audits for stage in run["seconds"]))
        heads = ("engine", "samples", "seconds", *stages, "peak, GB", "ms a sample", "to 10,000", "findings", "planted")
        audited = [
            (
                run["name"],
                *(f"{run['n_samples']:,}", _seconds(_total_s(run))),
                *(_seconds(run["seconds"].get(stage)) for stage in stages),
                *_cost_cells(run, self.runs),
                str(run["n_findings"]),
                ", ".join(what for what, found in run["found"].items() if found) or "none",
            )
            for run in audits
        ]
        mixture = [
            (f"{run['n_samples']:,}", _seconds(_total_s(run)), *_cost_cells(run, self.runs))
            for run in self.runs
            if run["name"] == "mixture"
        ]
        parts = [
            _markdown(heads, audited),
            f"Simulated samples of {N_DIMENSIONS} dimensions with reports of about 98 words; seconds of a whole audit, "
            f"reading included, and of its stages. {self.machine}; dask: {DASK_WORKERS} worker processes of one thread "
            "that were started before. Peak: of the process and all that it started, shared memory counted once. "
            f"Planted: which of {' and '.join(PLANTED)} are among the findings."
            + (" Quick: fewer refits and permutations than an audit has." if self.quick else ""),
            f"Fit of MixtureSlicer(25) to the {N_DIMENSIONS} dimensions:",
            _markdown(("samples", "seconds", "peak, GB", "ms a sample", "to 10,000"), mixture),
            *([self._encoding_in_words()] if self.encoding else []),
            "Goals:",
            _markdown(("goal", "here", "reached"), self._goals()),
            f"From there to {FAR:,} samples on a cluster of {FAR_WORKERS} workers:",
            "```text\n" + "\n".join(self.extrapolation()) + "\n```",
        ]
        return "\n\n".join(parts) + "\n"

    def _encoding_in_words(self) -> str:
        assert self.encoding is not None
        one, two = (float(np.median(self.encoding["seconds"][n])) for n in ("1", "2"))
        same = "identical" if self.encoding["identical"] else f"up to {self.encoding['difference']:.1g} different"
        return (
            f"Encoding {self.encoding['n_samples']:,} samples on dask: {one:.1f} s with 1 worker, {two:.1f} s with 2, "
            f"{_speedup(self.encoding):.2f} times as fast (medians of {len(self.encoding['seconds']['1'])}, taking "
            f"turns). The features are {same}."
        )

    def _goals(self) -> list[tuple[str, str, str]]:
        rows = []

        def add(goal: str, value: float | None, most: float, words: Callable[[float], str], at_least: bool = False):
            reached = value is not None and (value >= most if at_least else value <= most)
            rows.append(
                (goal, *(("not measured", "") if value is None else (words(value), "yes" if reached else "no")))
            )

        def minutes(seconds: float) -> str:
            return f"{seconds / 60:.1f} min"

        of = f"{GOAL_SIZE:,} samples"
        seconds = _at(GOAL_SIZE, self._of("mixture"), _total_s)
        add(f"mixture of {of} in {GOAL_MIXTURE_S} s", seconds, GOAL_MIXTURE_S, lambda s: f"{s:.0f} s")
        for engine in ENGINES:
            runs = self._of(engine)
            if runs:
                in_minutes, in_gb = GOAL_AUDIT_S // 60, GOAL_BYTES / 1e9
                add(
                    f"{engine}: audit of {of} in {in_minutes} min",
                    _at(GOAL_SIZE, runs, _total_s),
                    GOAL_AUDIT_S,
                    minutes,
                )
                peak = _at(GOAL_SIZE, runs, _peak)
                add(f"{engine}: in {in_gb:.0f} GB", peak, GOAL_BYTES, lambda b: f"{b / 1e9:.1f} GB")
                costs = {run["n_samples"]: _cost_ms(run) for run in runs}
                ratio = costs[SIZES[-1]] / costs[BASE] if {BASE, SIZES[-1]} <= set(costs) else None
                goal = f"{engine}: cost of a sample at {SIZES[-1]:,} to that at {BASE:,} at most {GOAL_RATIO}"
                add(goal, ratio, GOAL_RATIO, lambda r: f"{r:.2f}")
        faster = None if self.encoding is None else _speedup(self.encoding)
        goal = f"encoding {GOAL_SPEEDUP} times as fast on 2 workers as on 1"
        add(goal, faster, GOAL_SPEEDUP, lambda r: f"{r:.2f}", at_least=True)
        return rows

    def _of(self, name: str) -> list[dict[str, Any]]:
        return sorted((run for run in self.runs if run["name"] == name), key=lambda run: run["n_samples"])

    def extrapolation(self) -> list[str]:
        """Return the arithmetic from the largest run, on dask if it was used, to 1e8 samples, line by line.

        It assumes that what is linear up to there stays so. What it leaves out, it says.
        """
        runs = self._of("dask") or self._of("local")
        alone, in_time = _far_times(runs[-1])
        of_refit, needed, in_memory = _far_memory(runs)
        fits = "fits" if needed <= NODE_BYTES else "does not fit"
        return [
            f"measured: {runs[-1]['name']}, {runs[-1]['n_samples']:,} samples, {runs[-1]['n_workers']} workers",
            *("", *in_time),
            *("", *_far_storage(runs[-1])),
            *("", *in_memory),
            "",
            "What works as it is: reading and encoding gain from every worker.",
            f"What {fits}: the machine that leads holds up to {needed / 1e9:,.0f} GB; a large one has"
            f" {NODE_BYTES / 1e9:,.0f} GB.",
            "What does not scale: a worker with a refit is sent the features of the discovery samples,",
            f"  {of_refit / 1e9:,.0f} GB, and {_hours(alone)} of one process gain from no worker.",
            "It would take a search on a random part of the discovery patients, and tests that read their columns",
            "block by block. Neither is built.",
        ]

    def plot(self) -> Figure:
        """Return a figure of the cost of a sample against the number of samples."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator

        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        styles = {"local": ("audit, local", "#0072b2", "o"), "dask": ("audit, dask", "#d55e00", "s")}
        styles |= {"mixture": ("mixture alone", "#009e73", "^")}
        for name, (label, colour, marker) in styles.items():
            runs = self._of(name)
            if runs:
                sizes = [run["n_samples"] for run in runs]
                axes.plot(sizes, [_cost_ms(run) for run in runs], marker=marker, color=colour, label=label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.set_xlabel("samples")
        axes.set_ylabel("ms a sample")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.yaxis.grid(True, color="#e3e6ea", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize="small")
        return figure


def _far_times(run: dict[str, Any]) -> tuple[float, list[str]]:
    """Return the seconds of one process alone at 1e8 samples, and the lines with all times."""
    n, workers, n_refits = run["n_samples"], run["n_workers"], run["n_refits"]
    shared, alone = 0.0, 0.0
    of_workers, of_one = ["shared by the workers:"], ["by the one process that leads the audit:"]
    for stage, seconds in run["seconds"].items():
        each = f"  {stage}: {seconds:,.3f} s"
        if stage in (*SPREAD, REFITS):
            busy = min(FAR_WORKERS, n_refits) if stage == REFITS else FAR_WORKERS
            far = seconds * workers / n * FAR / busy
            shared += far
            per = f"{each} x {workers} workers / {n:,} samples x {FAR:,} samples / {busy} workers"
            of_workers.append(f"{per} = {far:,.0f} s")
        else:
            far = seconds / n * FAR
            alone += far
            of_one.append(f"{each} / {n:,} samples x {FAR:,} samples = {far:,.0f} s")
    of_workers.append(f"  ({REFITS} has {n_refits} refits: no more workers than that have work)")
    total = f"in all: {shared:,.0f} s + {alone:,.0f} s = {shared + alone:,.0f} s ({_hours(shared + alone)})"
    return alone, [*of_workers, "", *of_one, "", total]


def _far_storage(run: dict[str, Any]) -> list[str]:
    embeddings, tables = (round(run["stored_bytes"][what] / run["n_samples"]) for what in ("embeddings", "tables"))
    far = (embeddings + tables) * FAR / 1e9
    seconds = far * PASSES / STORAGE_GB_S
    return [
        "stored, and read by the workers:",
        f"  embeddings {embeddings:,} + reports and columns {tables:,} = {embeddings + tables:,} bytes a sample",
        f"  {embeddings + tables:,} bytes x {FAR:,} samples = {far:,.0f} GB",
        f"  {far:,.0f} GB x {PASSES} passes / {STORAGE_GB_S} GB/s (assumed of the storage) = {seconds:,.0f} s",
    ]


def _far_memory(runs: list[dict[str, Any]]) -> tuple[float, float, list[str]]:
    """Return the bytes at 1e8 samples of what a refit is sent, and of the leading machine, and the lines with both."""
    run, n = runs[-1], runs[-1]["n_samples"]
    held = {what: round(n_bytes / n) for what, n_bytes in run["held_bytes"].items()}
    each = sum(held.values())
    features = held["embeddings"] + held["table"]
    of_refit, needed = DISCOVERY * features * FAR, float(each * FAR)
    lines = [
        "in the memory of the process that leads the audit, all the time:",
        "  " + " + ".join(f"{what} {n_bytes:,}" for what, n_bytes in held.items()) + f" = {each:,} bytes a sample",
        f"  {each:,} bytes x {FAR:,} samples = {needed / 1e9:,.0f} GB",
    ]
    if n * N_DIMENSIONS * 4 <= MOST_RAW_BYTES:
        lines.append(f"  (too many: so few samples keep all {N_DIMENSIONS} columns, many keep {N_KEPT})")
    lines += [
        "of which a refit is sent the features of the discovery samples:",
        f"  {DISCOVERY} x {features:,} bytes x {FAR:,} samples = {of_refit / 1e9:,.0f} GB",
    ]
    if len(runs) > 1:
        peak, less, n_less = round(_peak(run)), round(_peak(runs[-2])), runs[-2]["n_samples"]
        slope = round((peak - less) / (n - n_less))
        needed = max(needed, float(slope * FAR))
        lines += [
            "at the peak, workers included, by what the last samples added:",
            f"  ({peak:,} - {less:,} bytes) / ({n:,} - {n_less:,} samples) = {slope:,} bytes a sample",
            f"  {slope:,} bytes x {FAR:,} samples = {slope * FAR / 1e9:,.0f} GB",
        ]
    return of_refit, needed, lines


def _total_s(run: dict[str, Any]) -> float:
    return float(sum(run["seconds"].values()))


def _peak(run: dict[str, Any]) -> float:
    return float(max(run["peak_bytes"].values()))


def _cost_ms(run: dict[str, Any]) -> float:
    return 1000 * _total_s(run) / run["n_samples"]


def _speedup(encoding: dict[str, Any]) -> float:
    return float(np.median(encoding["seconds"]["1"]) / np.median(encoding["seconds"]["2"]))


def _at(n: int, runs: list[dict[str, Any]], what: Callable[[dict[str, Any]], float]) -> float | None:
    """Return a number at n samples, on the line between the sizes beside it; None beyond what was measured."""
    sizes = [run["n_samples"] for run in runs]
    return float(np.interp(n, sizes, [what(run) for run in runs])) if sizes and sizes[0] <= n <= sizes[-1] else None


def _cost_cells(run: dict[str, Any], runs: list[dict[str, Any]]) -> tuple[str, str, str]:
    base = [_cost_ms(other) for other in runs if (other["name"], other["n_samples"]) == (run["name"], BASE)]
    cost = _cost_ms(run)
    return f"{_peak(run) / 1e9:.2f}", f"{cost:.3g}", f"{cost / base[0]:.2f}" if base else "-"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:,.1f}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
