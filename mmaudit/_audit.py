"""The one place that joins the stages: split, encode, discover, confirm, describe."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mmaudit._errors import AuditWarning, InputError, check_keywords, nearest
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
        Threads for decoding images. None: all cores.
    progress : bool
        Show progress bars on standard error.

    Returns
    -------
    AuditResult

    Raises
    ------
    InputError
        Data without predictions, with fewer than 20 patients, without a modality asked for, or without patients of
        both labels in both parts; a value out of range.
    ImageReadError
        An image outside `image_root`, or more than 5 % of the images unreadable.

    Notes
    -----
    What is found is associated with errors on this data set. It is not a cause, and another data set may differ.

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
    return run(data, settings, random_state, encoders=names, joint=joint, progress=progress)


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
    progress: bool = False,
) -> AuditResult:
    """Return the audit; `images`, where they were described before, are not read again. `encoders` are their names.

    `joint` is the encoder of the images, where it has a space for texts too.
    `propose` gives the candidates, as `_discover` does; `counted_beside` are p-values of others in the correction.
    `on_stage` is called with the name of each stage when it is done; what it raises ends the audit.
    Without `warn`, what is to be warned about is in the result alone.
    """
    seconds = _Seconds(on_stage)
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=6)
    targets = data.targets(how.threshold)
    with _settled() as caught:
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
            progress=progress,
        )
        seconds.mark("encode")
        proposed = (propose or _discover)(
            data, how, features, targets, discovery, min_count, seeds[2:4], seconds, progress
        )
    messages = _messages(caught, warn)
    if not data.has_patient_id:  # said aloud when the data were made
        messages.insert(0, NO_PATIENT_ID)

    slices, membership = proposed.slices, proposed.membership
    held_out = ~discovery
    comparisons = [(found.target, found.label) for found in slices]
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
    numbers["stability"] = proposed.stability
    seconds.mark("confirm")
    explanations: list[dict] = []
    verdicts: list[pd.DataFrame] = []
    if how.explain:
        is_own = (encoders or {}).get("image", "").startswith(ClassifierEncoder.__name__)
        with _settled() as caught:
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
        messages += [text for text in _messages(caught, warn) if text not in messages]
    seconds.mark("explain")
    candidates, traits = _describe(data, targets, proposed, features, discovery, numbers, explanations, how.metric)
    if how.metric.name == "error_rate":
        detectable = _detectable(data.patient_id, held_out, targets, len(comparisons), how.alpha)
    else:
        detectable = pd.DataFrame([], columns=list(DETECTABLE_COLUMNS))
    seconds.mark("describe")
    ids = data.sample_id.rename("sample_id")
    logger.info("audit took %s", seconds.by_stage)

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
            "seconds": seconds.by_stage,
        },
        warnings=messages,
        thumbnails=None if images is None else images.thumbnails,
        images=images,
        repeat=repeat,
        data=data,
    )


def _discover(data, how, features, targets, discovery, min_count, seeds, seconds, progress) -> Proposed:
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
    portfolio.fit(seen, seen_targets, groups=patient)
    seconds.mark("discover")
    stability = _stability(portfolio, seen, seen_targets, patient, how.n_refits, seeds[1], progress)
    seconds.mark("stability")
    return Proposed(portfolio.slices_, portfolio.membership(features, targets), stability, portfolio.n_tried_)


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
    portfolio,
    features: Features,
    targets: Sequence[Target],
    patient: np.ndarray,
    n_refits: int,
    seed: int,
    progress: bool,
) -> np.ndarray:
    """Return, for each candidate, the share of refits that find a slice with a Jaccard index of 0.5 or more with it.

    The slice found again is about the same target. The index is taken over the samples that the candidate is compared
    with: a refit that finds the same group over both labels, where the candidate is of one, has found it again.
    """
    n_slices = len(portfolio.slices_)
    if n_refits == 0 or n_slices == 0:
        return np.full(n_slices, np.nan)
    rng = check_random_state(seed)
    original = (portfolio.membership(features, targets) >= 0.5).astype(np.float32)
    compared = np.stack([_compared(targets[s.target], s.label) for s in portfolio.slices_], axis=1)
    of_target = np.array([s.target for s in portfolio.slices_])
    patients = pd.unique(patient)
    found = np.zeros(n_slices)
    for _ in tqdm(range(n_refits), desc="testing stability", unit="refit", disable=not progress, leave=False):
        kept = rng.permutation(patients)[: max(2, round(len(patients) * 2 / 3))]
        rows = np.isin(patient, kept)
        refit_seed = int(rng.randint(np.iinfo(np.int32).max))
        there = [t for t, target in enumerate(targets) if {0, 1} <= set(target.y_true[rows].tolist())]
        if not there:
            continue
        refit = clone(portfolio).set_params(random_state=refit_seed)
        refit.fit(features.take(rows), [targets[t].take(rows) for t in there], groups=patient[rows])
        again = (refit.membership(features, [targets[t] for t in there]) >= 0.5).astype(np.float32)
        same_target = of_target[:, None] == np.array([there[s.target] for s in refit.slices_])
        both = original.T @ again
        either = original.sum(axis=0)[:, None] + compared.T.astype(np.float32) @ again - both
        if both.size:
            found += (same_target * both / np.maximum(either, 1)).max(axis=1) >= 0.5
    return found / n_refits


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
    rows = []
    if images is not None:
        rows = [
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


_one_at_a_time = threading.RLock()


@contextmanager
def _settled() -> Iterator[list[warnings.WarningMessage]]:
    """Gather warnings, and let linear algebra use one thread.

    On several, sums are rounded in another order, and the same seed would not give the same slices on every machine.
    Fits are small; handing work from thread to thread costs more than it gains. Both settings are the whole process's,
    so an audit waits for one in another thread, such as that of a widget.
    """
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught, threadpool_limits(1):
        warnings.simplefilter("always", AuditWarning)
        yield caught


def _messages(caught: list[warnings.WarningMessage], warn: bool) -> list[str]:
    """Return the warnings of the audit as text, each once; and if wanted, give all that were caught to the caller."""
    messages: list[str] = []
    for warning in caught:
        text = str(warning.message)
        if issubclass(warning.category, AuditWarning):
            if text in messages:
                continue
            messages.append(text)
            if warn:
                warnings.warn(text, AuditWarning, stacklevel=5)
        elif warn:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return messages


class _Seconds:
    """Seconds by stage; `on_stage` hears of each that is done."""

    def __init__(self, on_stage: Callable[[str], None] | None = None) -> None:
        self.by_stage: dict[str, float] = {}
        self._last, self._on_stage = time.perf_counter(), on_stage

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.by_stage[stage] = round(now - self._last, 3)
        self._last = now
        if self._on_stage is not None:
            self._on_stage(stage)
