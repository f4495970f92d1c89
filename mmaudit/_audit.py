"""The one place that joins the stages: split, encode, discover, confirm, describe."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits

from mmaudit import __version__
from mmaudit._checkpoints import Checkpoints
from mmaudit._engine import map_pieces
from mmaudit._errors import AuditWarning, InputError, check_keywords, nearest
from mmaudit._meter import Meter
from mmaudit.confirm import confirm, detectable_gaps, slice_metrics
from mmaudit.data import MODALITIES, NO_PATIENT_ID, AuditData, Target
from mmaudit.encoders import ClassifierEncoder, Features, ImageTable, encode
from mmaudit.explain import TraitFinder, describe, explain_slices, sentence
from mmaudit.metrics import Metric, as_metric
from mmaudit.result import DETECTABLE_COLUMNS, AuditResult, candidate_frame, sample_columns
from mmaudit.slicers import Portfolio, Slice
from mmaudit.slicers._scores import Scorer

__all__ = ["audit"]

logger = logging.getLogger(__name__)

MAX_SLICES = 15
MIN_PATIENTS_IN_ALL = 20
MANY_SAMPLES = 5_000  # of discovery, from which a refit is worth another process
ERROR_TYPES = {0: "false_positive", 1: "false_negative", None: "mixed"}


@check_keywords
def audit(
    data: AuditData,
    *,
    modalities: Sequence[str] | str = "auto",
    n_slices: int = 10,
    alpha: float = 0.05,
    threshold: float | Sequence[float] | Mapping[str, float] = 0.5,
    metric: str | Callable = "error_rate",
    encoders: Mapping[str, Any] | None = None,
    fraction: float = 0.4,
    n_refits: int = 20,
    n_permutations: int = 4999,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    checkpoints: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> AuditResult:
    """Return the slices where a classifier fails, discovered on some patients and confirmed on others.

    Patients are split in two parts. On the first, the discovery part, candidates are searched in images, reports and
    metadata. On the second, the confirmation part, each candidate's error rate is compared with that of the other
    samples of the same label. All candidates count in the correction for multiple testing. Several labels are audited
    together: all their candidates count in one correction. Of several classes, each is a question of its own, whether
    a case is of that class, as which the highest probability decides.

    Parameters
    ----------
    data : AuditData
        Cases with labels and predicted probabilities: one label, several, or one of several classes.
    modalities : "auto", or sequence of {"image", "report", "metadata"}
        What to search. "auto": all that the data have. Descriptions may draw on all of them in any case.
    n_slices : int in [1, 15]
        Candidates taken to confirmation at most.
    alpha : float in (0, 1)
        Level of the correction (Benjamini-Hochberg) and, as 1 - alpha, coverage of the intervals.
    threshold : float in (0, 1), sequence of them, or mapping of label name to float
        Probability from which the classifier says 1; several labels may have one each, as they are deployed. Not for
        classes.
    metric : str or callable
        What is compared in the confirmation part; see `mmaudit.metrics`. One that needs both labels, such as
        "auroc", is compared, and slices are searched, over both labels. Slices are searched for by their errors in
        any case.
    encoders : mapping of {"image", "report"} to an encoder, or None
        Encoders of `mmaudit.encoders` that run a network, such as {"image": OpenCLIPEncoder(...)}; what they give takes
        the place of the built-in embedding of that modality. None: the built-in ones, or the embeddings of the data.
    fraction : float in (0, 1)
        Share of patients in the discovery part. A strong failure is soon discovered; what limits small slices is how
        many of their patients are left to confirm them (0.4 was chosen over 0.5 on seeds 0 to 19 of
        tests/bench/simulated.py).
    n_refits : int
        Refits on two thirds of the discovery patients, for stability. 0: stability is NaN.
    n_permutations : int
        Permutations of patients for p-values.
    random_state : int, RandomState or None
        Seed; the same seed gives the same result. None: another each time.
    n_jobs : int or None
        Workers for large data, and threads for decoding images. None: those of `joblib.parallel_config`, without it
        all cores.
    checkpoints : path or None
        Folder in which what is finished is kept, so that an interrupted audit can go on: blocks of rows, refits, and
        stages. It holds numbers of each sample, thumbnails, and which terms its report has, no text; remove it when
        you have the result. None: nowhere.
    resume : bool
        Whether to go on from what `checkpoints` holds of these data and settings. Without, it is begun anew.
    progress : bool
        Show progress bars on standard error.

    Returns
    -------
    AuditResult

    Raises
    ------
    InputError
        Data without predictions, with fewer than 20 patients, without a modality asked for, or without patients of
        both labels in both parts; a value out of range; checkpoints of other data or settings.
    ImageReadError
        An image outside `image_root`, or more than 5 % of the images unreadable.
    LostWorkerError
        A worker process that was lost again and again.

    Notes
    -----
    What is found is associated with errors on this data set. It is not a cause, and another data set may differ.

    Images, reports, large embeddings and refits are worked on by processes of this machine where there are many, or by
    the engine that `joblib.parallel_config(backend="dask")` around the call names, "ray" likewise. Reports and
    embeddings of shards (`AuditData.from_shards`) are read by the workers. The result is the same.

    Image embeddings also bear witness in the triage of errors, where no report does. Embeddings that the audited
    classifier itself made know no better than it: give them as `ClassifierEncoder`, which is not heard, or do not rely
    on the verdicts.

    References
    ----------
    arXiv:2602.24183 (multimodal slice discovery); Domino, arXiv:2203.14960. Differences: modalities are searched
    one by one and together, rules and models of the errors take the place of the mixture, and candidates are tested
    on held-out patients.
    """
    modalities = check_arguments(
        data, modalities, n_slices, alpha, fraction, n_refits, n_permutations, random_state, n_jobs
    )
    data.targets(threshold)  # a threshold that does not fit is told before any work
    settings = Settings(
        modalities, n_slices, alpha, threshold, as_metric(metric), fraction, n_refits, n_permutations, n_jobs
    )
    names = _check_encoders(encoders or {}, data)
    # They learned nothing from these data, so discovery and confirmation share nothing through them.
    embeddings = {modality: encoder.encode(data, modality) for modality, encoder in (encoders or {}).items()}
    data = data.with_embeddings(embeddings) if embeddings else data
    by_image = (encoders or {}).get("image")
    joint = by_image if by_image is not None and "report" in by_image.modalities else None
    kept = _checkpoints(checkpoints, resume, data, settings, names, random_state)
    meter = Meter()
    with meter.watching() if kept is not None else nullcontext():
        return run(
            data,
            settings,
            random_state,
            encoders=names,
            joint=joint,
            checkpoints=kept,
            meter=meter,
            progress=progress,
        )


@dataclass(frozen=True)
class Proposed:
    """Candidates: their members among all samples, (n_samples, n_slices), and how stable they are."""

    slices: Sequence[Slice]
    membership: np.ndarray
    stability: np.ndarray
    n_tried: int
    words: Sequence[str] | None = None  # what each is called; None: what describes it best


@dataclass(frozen=True)
class Settings:
    """The arguments of an audit that a repetition has too."""

    modalities: tuple[str, ...]
    n_slices: int
    alpha: float
    threshold: float | Sequence[float] | Mapping[str, float]
    metric: Metric
    fraction: float
    n_refits: int
    n_permutations: int
    n_jobs: int | None
    explain: bool = True


def run(
    data: AuditData,
    how: Settings,
    random_state: int | np.random.RandomState | None,
    *,
    images: ImageTable | None = None,
    encoders: Mapping[str, str] | None = None,
    joint: Any = None,
    propose: Callable[..., Proposed] | None = None,
    counted_beside: np.ndarray | None = None,
    on_stage: Callable[[str], None] | None = None,
    warn: bool = True,
    checkpoints: Checkpoints | None = None,
    meter: Meter | None = None,
    progress: bool = False,
) -> AuditResult:
    """Return the audit; `images`, where they were described before, are not read again. `encoders` are their names.

    `joint` is the encoder of the images, where it has a space for texts too.
    `propose` gives the candidates, as `_discover` does; `counted_beside` are p-values of others in the correction.
    `on_stage` is called with the name of each stage when it is done; what it raises ends the audit.
    Without `warn`, what is to be warned about is in the result alone.
    """
    stages = _Stages(meter or Meter(), on_stage, checkpoints, warn)
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=6)
    targets = data.targets(how.threshold)
    with stages.settled():
        # Errors are shared out evenly. Which images, words and metadata go with them plays no part in the split, so
        # without a real failure the two parts say nothing about each other.
        wrong = np.any([target.error for target in targets], axis=0)
        discovery = data.split_mask(how.fraction, balance=wrong, random_state=seeds[0])
        targets = _of_both_labels(targets, discovery)
        min_count = _min_patients(data, discovery)
        features, images = encode(
            data,
            fit_on=discovery,
            min_count=min_count,
            images=images,
            random_state=seeds[1],
            n_jobs=how.n_jobs,
            checkpoints=checkpoints,
            progress=progress,
        )
        stages.mark("encode")
        proposed = (propose or _discover)(
            data, how, features, targets, discovery, min_count, seeds[2:4], stages, progress
        )
    slices, membership = proposed.slices, proposed.membership
    held_out = ~discovery
    comparisons = [(found.target, found.label) for found in slices]

    def confirmed() -> dict[str, Any]:
        numbers = confirm(
            membership[held_out] >= 0.5,
            comparisons,
            [target.take(held_out) for target in targets],
            data.patient_id[held_out],
            metric=how.metric,
            alpha=how.alpha,
            n_permutations=how.n_permutations,
            counted_beside=counted_beside,
            random_state=seeds[4],
        )
        return {"numbers": numbers}

    with stages.settled():
        numbers = stages.kept("confirm", confirmed)["numbers"]
    numbers["stability"] = proposed.stability
    stages.mark("confirm")
    explanations: list[dict] = []
    verdicts: list[pd.DataFrame] = []
    if how.explain:
        is_own = (encoders or {}).get("image", "").startswith(ClassifierEncoder.__name__)

        def explained() -> dict[str, Any]:
            explanations, verdicts = explain_slices(
                data,
                slices,
                targets,
                features,
                membership,
                discovery,
                numbers,
                metric=how.metric,
                alpha=how.alpha,
                min_count=min_count,
                n_permutations=how.n_permutations,
                counted_beside=counted_beside,
                joint=joint,
                witnesses=() if is_own else ("image",),
                random_state=seeds[5],
            )
            frames = {f"verdicts {k}": frame.reset_index(drop=True) for k, frame in enumerate(verdicts)}
            return {"explanations": explanations, "attrs": [frame.attrs for frame in verdicts], **frames}

        with stages.settled():
            found = stages.kept("explain", explained)
        explanations = found["explanations"]
        for k, attrs in enumerate(found["attrs"]):
            verdicts.append(found[f"verdicts {k}"].set_axis(data.sample_id.rename("sample_id")))
            verdicts[k].attrs = attrs
    stages.mark("explain")
    messages = stages.messages
    if not data.has_patient_id:  # said aloud when the data were made
        messages.insert(0, NO_PATIENT_ID)
    candidates, traits = _describe(data, targets, proposed, features, discovery, numbers, explanations, how.metric)
    if how.metric.name == "error_rate":
        detectable = _detectable(data.patient_id, held_out, targets, len(comparisons), how.alpha)
    else:
        detectable = pd.DataFrame([], columns=list(DETECTABLE_COLUMNS))
    stages.mark("describe")
    ids = data.sample_id.rename("sample_id")
    logger.info("audit took %s", stages.meter.seconds)

    def repeat(other: AuditData, seed: int) -> AuditResult:
        """Audit other predictions of the same cases, without refits."""
        return run(
            other,
            replace(how, n_refits=0, explain=False),
            seed,
            images=images,
            propose=propose,
            counted_beside=counted_beside,
            warn=False,  # it was said before
        )

    return AuditResult(
        candidates=candidates,
        membership=pd.DataFrame(membership, index=ids, columns=candidates["slice_id"].tolist()),
        samples=_samples(targets, discovery, ids),
        traits={k: [t.to_dict() for t in v] for k, v in traits.items()},
        rules={
            slice_id: found.rule.to_dict()
            for slice_id, found in zip(candidates["slice_id"], slices, strict=True)
            if found.rule is not None
        },
        explanations=dict(zip(candidates["slice_id"], explanations, strict=how.explain)),
        verdicts={target.name: frame for target, frame in zip(targets, verdicts, strict=how.explain)},
        detectable=detectable,
        quarantine=_quarantine(data, images),
        data_summary=_summarise(data, targets, discovery, how.modalities, encoders or {}),
        settings={
            "modalities": list(how.modalities),
            "n_slices": how.n_slices,
            "alpha": how.alpha,
            "threshold": _plain_threshold(how.threshold, data.label_names),
            "metric": how.metric.name,
            "greater_is_better": how.metric.greater_is_better,
            "fraction": how.fraction,
            "n_refits": how.n_refits,
            "n_permutations": how.n_permutations,
            "random_state": int(random_state) if isinstance(random_state, (int, np.integer)) else None,
            "n_tried_in_discovery": proposed.n_tried,
            "seconds": stages.meter.seconds,
            "peak_bytes": stages.meter.peak_bytes,
        },
        warnings=messages,
        thumbnails=None if images is None else images.thumbnails,
        images=images,
        repeat=repeat,
        data=data,
    )


def _discover(data, how, features, targets, discovery, min_count, seeds, stages, progress) -> Proposed:
    """Return the candidates that a search on the discovery samples finds."""
    portfolio = Portfolio(
        how.n_slices,
        modalities=how.modalities,
        labels=how.metric.labels,
        min_patients=min_count,
        random_state=seeds[0],
    )
    seen, patient = features.take(discovery), data.patient_id[discovery]
    seen_targets = [target.take(discovery) for target in targets]

    def searched() -> dict[str, Any]:
        search = clone(portfolio).fit(seen, seen_targets, groups=patient)
        return {
            "slices": [found.to_dict() for found in search.slices_],
            "membership": search.membership(features, targets),
            "n_tried": search.n_tried_,
        }

    found = stages.kept("discover", searched)
    slices = [Slice.from_dict(d) for d in found["slices"]]
    stages.mark("discover")
    stability = _stability(
        portfolio,
        slices,
        found["membership"][discovery] >= 0.5,
        seen,
        seen_targets,
        patient,
        how.n_refits,
        seeds[1],
        how.n_jobs,
        stages.checkpoints,
        progress,
    )
    stages.mark("stability")
    return Proposed(slices, found["membership"], stability, int(found["n_tried"]))


def check_arguments(
    data, modalities, n_slices, alpha, fraction, n_refits, n_permutations, random_state, n_jobs
) -> tuple[str, ...]:
    if not isinstance(data, AuditData):
        raise TypeError(
            f"data: expected AuditData, got {type(data).__name__}. Make it with AuditData.from_frame(df, label=…, …)."
        )
    if data.y_proba is None:
        raise InputError(
            "data", "data with predicted probabilities", "data without", "Add them: data.with_predictions(y_proba)."
        )
    for name, value, low, high in (("n_slices", n_slices, 1, MAX_SLICES), ("n_refits", n_refits, 0, 1000)):
        if not isinstance(value, (int, np.integer)) or not low <= value <= high:
            raise InputError(name, f"a whole number from {low} to {high}", f"{value!r}", "Choose one in that range.")
    if not isinstance(n_permutations, (int, np.integer)) or n_permutations < 99:
        raise InputError("n_permutations", "a whole number from 99 on", f"{n_permutations!r}", "Use 4999.")
    for name, value in (("alpha", alpha), ("fraction", fraction)):
        if not isinstance(value, (int, float, np.number)) or not 0 < value < 1:
            raise InputError(name, "a number between 0 and 1", f"{value!r}", "Choose one in that range.")
    if n_jobs is not None and (not isinstance(n_jobs, (int, np.integer)) or n_jobs == 0):
        raise InputError("n_jobs", "a whole number other than 0, or None", f"{n_jobs!r}", "Leave it out: all cores.")
    try:
        check_random_state(random_state)
    except ValueError:
        raise InputError(
            "random_state",
            "a whole number from 0 to 4294967295, a RandomState, or None",
            repr(random_state) if isinstance(random_state, (int, str)) else type(random_state).__name__,
            "Give a number such as 0.",
        ) from None
    if isinstance(modalities, str):
        modalities = data.modalities if modalities == "auto" else [modalities]
    if not isinstance(modalities, Collection):
        raise TypeError(
            f'modalities: expected "auto" or a list of names, got {type(modalities).__name__}. '
            'Write modalities=["image", "report"].'
        )
    modalities = tuple(modalities)
    for modality in modalities:
        if modality not in MODALITIES:
            raise InputError(
                "modalities",
                f"some of {', '.join(MODALITIES)}",
                f"{modality!r}",
                f"Correct the name.{nearest(str(modality), MODALITIES)}",
            )
        if modality not in data.modalities:
            raise InputError(
                "modalities",
                f"modalities that the data have ({', '.join(data.modalities) or 'none'})",
                f"{modality!r}",
                "Leave it out, or load the data with it.",
            )
    if not modalities:
        raise InputError("modalities", "at least one of image, report, metadata", "none", "Give the data one of them.")
    if data.n_patients < MIN_PATIENTS_IN_ALL:
        raise InputError(
            "data",
            f"at least {MIN_PATIENTS_IN_ALL} patients, to discover on some and confirm on others",
            f"{data.n_patients}",
            "Add patients: with so few, no finding could be told from chance.",
        )
    return tuple(m for m in MODALITIES if m in modalities)


def _check_encoders(encoders: Any, data: AuditData) -> dict[str, str]:
    """Return what the encoder of each modality is called, or raise before any of them works."""
    if not isinstance(encoders, Mapping):
        raise TypeError(
            f"encoders: expected a mapping such as {{'image': encoder}}, got {type(encoders).__name__}. "
            "Name the modality of each."
        )
    for modality, encoder in encoders.items():
        if modality not in ("image", "report"):
            raise InputError(
                "encoders", "the modalities image or report", repr(modality), "Metadata have a built-in encoder."
            )
        if (data.images if modality == "image" else data.reports) is None:
            raise InputError(
                f"encoders[{modality!r}]", f"data with {modality}s", "data without", "Leave the encoder out."
            )
        if not callable(getattr(encoder, "encode", None)):
            raise TypeError(
                f"encoders[{modality!r}]: expected an encoder of mmaudit.encoders, got {type(encoder).__name__}. "
                "Pass embeddings made elsewhere with data.with_embeddings(...)."
            )
        if modality not in encoder.modalities:
            raise InputError(
                f"encoders[{modality!r}]",
                f"an encoder of {modality}s",
                f"one of {' and '.join(encoder.modalities)}s",
                "Choose another.",
            )
    return {modality: str(encoder) for modality, encoder in encoders.items()}


def _of_both_labels(targets: list[Target], discovery: np.ndarray) -> list[Target]:
    """Return the targets that have cases of both labels in both parts; warn of the others, raise if none is left."""
    left, lacking = [], []
    for target in targets:
        parts = [
            name
            for name, part in (("discovery", discovery), ("confirmation", ~discovery))
            if not {0, 1} <= set(target.y_true[part].tolist())
        ]
        if parts:
            lacking.append((target.name, parts[0]))
        else:
            left.append(target)
    if not left:
        raise InputError(
            "data",
            "patients of both labels in both parts",
            f"a {lacking[0][1]} part with one label only",
            "Add patients of the rarer label, or change fraction or random_state.",
        )
    if lacking:
        warnings.warn(
            "label: expected patients with and without each label or class in both parts, got none of one kind for "
            f"{', '.join(name for name, _ in lacking)}. Not audited: add such patients, or change fraction or "
            "random_state.",
            AuditWarning,
            stacklevel=2,
        )
    return left


def _min_patients(data: AuditData, discovery: np.ndarray) -> int:
    """Return the discovery patients a candidate must have: 2 %, but 5 at least and 50 at most."""
    return int(np.clip(round(0.02 * len(pd.unique(data.patient_id[discovery]))), 5, 50))


def _stability(
    portfolio: Portfolio,
    slices: Sequence[Slice],
    inside: np.ndarray,
    features: Features,
    targets: Sequence[Target],
    patient: np.ndarray,
    n_refits: int,
    seed: int,
    n_jobs: int | None,
    checkpoints: Checkpoints | None,
    progress: bool,
) -> np.ndarray:
    """Return, for each candidate, the share of refits that find a slice with a Jaccard index of 0.5 or more with it.

    The slice found again is about the same target. The index is taken over the samples that the candidate is compared
    with: a refit that finds the same group over both labels, where the candidate is of one, has found it again.
    """
    if n_refits == 0 or not slices:
        return np.full(len(slices), np.nan)
    rng = check_random_state(seed)
    codes, patients = pd.factorize(patient)
    refits = []
    for _ in range(n_refits):
        kept = rng.permutation(len(patients))[: max(2, round(len(patients) * 2 / 3))]
        refits.append((kept.astype(np.int32), int(rng.randint(np.iinfo(np.int32).max))))
    work = map_pieces(
        _found_again,
        refits,
        portfolio,
        features,
        list(targets),
        patient,
        codes,
        inside,
        [(found.target, found.label) for found in slices],
        n_jobs=n_jobs,
        large=len(patient) >= MANY_SAMPLES or None,
        kept=None if checkpoints is None else checkpoints.stage("refits"),
        description="testing stability",
        unit="refit",
        progress=progress,
    )
    return np.sum([part["found"] for part in work], axis=0) / n_refits


def _found_again(refit: tuple[np.ndarray, int], portfolio, features, targets, patient, codes, inside, about) -> dict:
    """Return which candidates a search on some patients finds again."""
    patients, seed = refit
    chosen = np.zeros(codes.max() + 1, dtype=bool)
    chosen[patients] = True
    rows = chosen[codes]
    there = [t for t, target in enumerate(targets) if {0, 1} <= set(target.y_true[rows].tolist())]
    if not there:
        return {"found": np.zeros(len(about), dtype=bool)}
    search = clone(portfolio).set_params(random_state=seed)
    search.fit(features.take(rows), [targets[t].take(rows) for t in there], groups=patient[rows])
    again = (search.membership(features, [targets[t] for t in there]) >= 0.5).astype(np.float32)
    compared = np.stack([_compared(targets[of], label) for of, label in about]).astype(np.float32)
    both = inside.T.astype(np.float32) @ again
    either = inside.sum(axis=0, dtype=np.float32)[:, None] + compared @ again - both
    same_target = np.array([of for of, _ in about])[:, None] == np.array([there[s.target] for s in search.slices_])
    if not both.size:
        return {"found": np.zeros(len(about), dtype=bool)}
    return {"found": (same_target * both / np.maximum(either, 1)).max(axis=1) >= 0.5}


def _compared(target: Target, label: int | None) -> np.ndarray:
    """Return the samples that a slice within `label` and its outside are taken from."""
    return target.y_true >= 0 if label is None else target.y_true == label


def _describe(data, targets, proposed, features, discovery, numbers, explanations, metric):
    """Return the candidates, one row a slice, and the traits of each."""
    finder = TraitFinder(features.take(discovery).table, features.kinds)
    patient = np.unique(data.patient_id[discovery].astype(str), return_inverse=True)[1]
    seen = [target.take(discovery) for target in targets]
    # Held-out members of confirmed slices with better ranks. A wrong class is an error of two classes, the one missed
    # and the one said: the same failure, told once.
    told = np.zeros((1 if data.kind == "multiclass" else len(targets), int((~discovery).sum())), dtype=bool)
    rows, traits = [], {}
    membership = proposed.membership
    for k, found in enumerate(proposed.slices):
        slice_id = f"s{k + 1:02d}"
        target = targets[found.target]
        inside = membership[discovery, k] >= 0.5
        traits[slice_id] = finder.find(inside, _compared(seen[found.target], found.label))
        part = _numbers_of_part(inside, found.label, seen[found.target], patient, metric)
        description = proposed.words[k] if proposed.words else describe(found.rule, traits[slice_id], found.modality)
        in_confirmation = numbers.iloc[k].to_dict()
        held_out = membership[~discovery, k] >= 0.5
        wrong = held_out & target.error[~discovery]
        told_here = told[found.target % len(told)]
        in_confirmation["already_told"] = float(told_here[wrong].mean()) if wrong.any() else np.nan
        if in_confirmation["confirmed"]:
            told_here |= held_out
        judged = explanations[k]["triage"] if explanations else None
        noise = bool(judged and judged["label_noise"]["label_noise"] and in_confirmation["confirmed"])
        rows.append(
            {
                "slice_id": slice_id,
                "description": description,
                "rule": "" if found.rule is None else str(found.rule),
                "target": target.name,
                "label": "" if found.label is None else str(found.label),
                "error_type": "label_noise" if noise else ERROR_TYPES[found.label],
                "modality": found.modality,
                "slicer": found.slicer,
                "sentence": sentence(
                    description,
                    found.label,
                    target.name,
                    in_confirmation,
                    kind=data.kind,
                    metric=metric.name,
                    greater_is_better=metric.greater_is_better,
                    wrong_labels=judged["label_noise"]["share"] if judged and noise else None,
                ),
                **in_confirmation,
                **{f"discovery_{name}": value for name, value in part.items()},
            }
        )
    return candidate_frame(rows), traits


def _numbers_of_part(inside, label, target, patient, metric) -> dict:
    n_samples, n_patients, _, value_in, value_out, gap = slice_metrics(inside, label, target, patient, metric)
    return {
        "n_samples": n_samples,
        "n_patients": n_patients,
        "metric_inside": value_in,
        "metric_outside": value_out,
        "gap": gap,
    }


def _detectable(
    patient_id: np.ndarray, held_out: np.ndarray, targets: Sequence[Target], n_candidates: int, alpha: float
) -> pd.DataFrame:
    """Return the detectable gaps of each target within each label, where most slices are compared; label 1 first."""
    gaps = []
    for target in targets:
        for label in (1, 0):
            rows = held_out & (target.y_true == label)
            patients = patient_id[rows]
            within = target.take(rows)
            n_patients = len(pd.unique(patients))
            found = detectable_gaps(
                n_patients,
                float(within.error.mean()),
                rows.sum() / n_patients / Scorer.from_target(within, patients).design_effect,
                n_candidates=max(n_candidates, 1),
                alpha=alpha,
            )
            gaps.append(found.assign(target=target.name, label=label))
    return pd.concat(gaps, ignore_index=True)[list(DETECTABLE_COLUMNS)]


def _samples(targets: Sequence[Target], discovery: np.ndarray, ids: pd.Index) -> pd.DataFrame:
    columns = {"part": np.where(discovery, "discovery", "confirmation")}
    for target in targets:
        names = sample_columns(target.name if len(targets) > 1 else None)
        values = (target.y_true, target.y_proba, target.error)
        columns |= dict(zip(names.values(), values, strict=True))
    return pd.DataFrame(columns, index=ids)


def _plain_threshold(threshold, names: Sequence[str]) -> float | dict[str, float]:
    """Return one number, or that of each label."""
    if isinstance(threshold, Mapping):
        return {name: float(threshold.get(name, 0.5)) for name in names}
    if np.ndim(threshold):
        return dict(zip(names, map(float, threshold), strict=True))
    return float(threshold)


def _quarantine(data: AuditData, images: ImageTable | None) -> pd.DataFrame:
    rows: list[dict[str, Any]] = data.quarantine.to_dict("records")
    if images is not None:
        rows += [
            {"sample_id": sample, "reason": failure.reason}
            for sample, failure in zip(data.sample_id, images.errors, strict=True)
            if failure is not None
        ]
    return pd.DataFrame(rows, columns=["sample_id", "reason"])


def _summarise(
    data: AuditData,
    targets: Sequence[Target],
    discovery: np.ndarray,
    modalities: Sequence[str],
    encoders: Mapping[str, str],
) -> dict:
    """Return what the report says of the data; `error_rate` is the share of samples with any wrong answer."""
    by_target = [_errors_of(target) for target in targets]
    return {
        "name": data.name,
        "kind": data.kind,
        "label_name": data.label_name if len(targets) > 1 else targets[0].name,
        "n_samples": data.n_samples,
        "n_patients": data.n_patients,
        "has_patient_id": data.has_patient_id,
        "n_discovery_samples": int(discovery.sum()),
        "n_discovery_patients": len(pd.unique(data.patient_id[discovery])),
        "n_confirmation_samples": int((~discovery).sum()),
        "n_confirmation_patients": len(pd.unique(data.patient_id[~discovery])),
        "error_rate": float(np.any([target.error for target in targets], axis=0).mean()),
        **({} if len(targets) > 1 else {k: v for k, v in by_target[0].items() if k not in ("name", "error_rate")}),
        "targets": by_target,
        "modalities": list(modalities),
        "encoders": dict(encoders),
        "card": {str(k): str(v) for k, v in data.card.items()},
    }


def _errors_of(target: Target) -> dict:
    """Return counts and error rates among the samples whose truth is known."""
    known, positive, negative = target.y_true >= 0, target.y_true == 1, target.y_true == 0
    return {
        "name": target.name,
        "n_known": int(known.sum()),
        "n_positive": int(positive.sum()),
        "error_rate": float(target.error[known].mean()),
        "false_negative_rate": float(target.error[positive].mean()),
        "false_positive_rate": float(target.error[negative].mean()),
    }


def _checkpoints(folder, resume: bool, data: AuditData, how: Settings, encoders, random_state) -> Checkpoints | None:
    """Return where finished work is kept, or None; what it depends on is written there."""
    if folder is None:
        if resume:
            raise InputError("resume", "checkpoints beside it", "resume alone", "Name the folder: checkpoints=....")
        return None
    if not isinstance(random_state, (int, np.integer)):
        raise InputError(
            "random_state", "a whole number, beside checkpoints", f"{random_state!r}", "Another seed is another audit."
        )
    settings = {
        **{name: value for name, value in vars(how).items() if name not in ("n_jobs", "metric", "threshold")},
        "metric": how.metric.name,
        "threshold": _plain_threshold(how.threshold, data.label_names),
        "encoders": dict(encoders),
        "random_state": int(random_state),
    }
    return Checkpoints(folder, {"version": __version__, "data": data.digest(), **settings}, resume=resume)


class _Stages:
    """What the stages of an audit share: their seconds, their warnings, and their results where these are kept."""

    def __init__(
        self, meter: Meter, on_stage: Callable[[str], None] | None, checkpoints: Checkpoints | None, warn: bool
    ) -> None:
        self.meter, self.checkpoints = meter, checkpoints
        self.messages: list[str] = []
        self._on_stage, self._warn = on_stage, warn

    def mark(self, stage: str) -> None:
        """Say that a stage is done."""
        self.meter.mark(stage)
        if self._on_stage is not None:
            self._on_stage(stage)

    def kept(self, stage: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what `work` gives, or what it gave before; what it warned of is said again."""
        at = None if self.checkpoints is None else self.checkpoints.stage(stage)
        found = None if at is None else at.get(0)
        if found is None:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", AuditWarning)
                found = work()
            told = [str(w.message) for w in caught if issubclass(w.category, AuditWarning)]
            if at is not None:
                at.put(0, {**found, "warnings": told})
        else:
            caught, told = [], found.pop("warnings")
        for warning in caught:
            if not issubclass(warning.category, AuditWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        for text in told:
            warnings.warn(text, AuditWarning, stacklevel=2)
        return found

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Gather warnings, and let linear algebra use one thread.

        On several, sums are rounded in another order, and the same seed would not give the same slices on every
        machine. Handing work from thread to thread costs small fits more than they gain. Both settings are the whole
        process's, so an audit waits for one in another thread, such as that of a widget.
        """
        with _one_at_a_time, warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
            warnings.simplefilter("always", AuditWarning)
            yield
        for warning in caught:
            text = str(warning.message)
            if issubclass(warning.category, AuditWarning):
                if text not in self.messages:
                    self.messages.append(text)
                    if self._warn:
                        warnings.warn(text, AuditWarning, stacklevel=6)
            elif self._warn:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


_one_at_a_time = threading.RLock()
