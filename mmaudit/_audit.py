"""The one place that joins the stages: split, encode, discover, confirm, describe."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mmaudit._errors import AuditWarning, InputError, check_keywords, nearest
from mmaudit.confirm import confirm, detectable_gaps, slice_metrics
from mmaudit.data import MODALITIES, NO_PATIENT_ID, AuditData
from mmaudit.encoders import Features, ImageTable, encode
from mmaudit.explain import TraitFinder, describe, sentence
from mmaudit.result import DETECTABLE_COLUMNS, AuditResult, candidate_frame
from mmaudit.slicers import Portfolio
from mmaudit.slicers._scores import Scorer

__all__ = ["audit"]

logger = logging.getLogger(__name__)

MAX_SLICES = 15
SMALL_FIT = 5000  # discovery samples
MIN_PATIENTS_IN_ALL = 20
ERROR_TYPES = {0: "false_positive", 1: "false_negative", None: "mixed"}


@check_keywords
def audit(
    data: AuditData,
    *,
    modalities: Sequence[str] | str = "auto",
    n_slices: int = 10,
    alpha: float = 0.05,
    threshold: float = 0.5,
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
    samples of the same label. All candidates count in the correction for multiple testing.

    Parameters
    ----------
    data : AuditData
        Cases with labels and predicted probabilities.
    modalities : "auto", or sequence of {"image", "report", "metadata"}
        What to search. "auto": all that the data have. Descriptions may draw on all of them in any case.
    n_slices : int in [1, 15]
        Candidates taken to confirmation at most.
    alpha : float in (0, 1)
        Level of the correction (Benjamini-Hochberg) and, as 1 - alpha, coverage of the intervals.
    threshold : float in (0, 1)
        Probability from which the classifier says 1.
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
        Data without predictions, with fewer than 20 patients, or without a modality asked for; a value out of range.
    ImageReadError
        An image outside `image_root`, or more than 5 % of the images unreadable.

    Notes
    -----
    What is found is associated with errors on this data set. It is not a cause, and another data set may differ.

    References
    ----------
    arXiv:2602.24183 (multimodal slice discovery); Domino, arXiv:2203.14960. Differences: modalities are searched
    one by one and together, rules are searched beside the mixture, and candidates are tested on held-out patients.
    """
    modalities = _check_arguments(
        data, modalities, n_slices, alpha, threshold, fraction, n_refits, n_permutations, random_state, n_jobs
    )
    assert data.y_proba is not None
    seconds = _Seconds()
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=5)
    error = (data.y_proba >= threshold) != (data.y_true == 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AuditWarning)
        # Errors are shared out evenly. Which images, words and metadata go with them plays no part in the split, so
        # without a real failure the two parts say nothing about each other.
        discovery = data.split_mask(fraction, balance=error, random_state=seeds[0])
        _check_parts(data, discovery)
        min_count = _min_patients(data, discovery)
        features, images = encode(
            data, fit_on=discovery, min_count=min_count, random_state=seeds[1], n_jobs=n_jobs, progress=progress
        )
        seconds.mark("encode")
        portfolio = Portfolio(
            n_slices,
            modalities=modalities,
            min_patients=min_count,
            threshold=threshold,
            alpha=alpha,
            random_state=seeds[2],
        )
        seen = features.take(discovery)
        y, proba, patient = data.y_true[discovery], data.y_proba[discovery], data.patient_id[discovery]
        # Small fits lose more to handing work from thread to thread than they gain: ten times on a busy machine.
        with threadpool_limits(1 if len(y) < SMALL_FIT else None):
            portfolio.fit(seen, y, y_proba=proba, groups=patient)
            seconds.mark("discover")
            stability = _stability(portfolio, seen, y, proba, patient, n_refits, seeds[3], progress)
            seconds.mark("stability")
    messages = _retell(caught)
    if not data.has_patient_id:  # said aloud when the data were made
        messages.insert(0, NO_PATIENT_ID)

    membership = portfolio.membership(features, data.y_true)
    held_out = ~discovery
    labels = [found.label for found in portfolio.slices_]
    numbers = confirm(
        membership[held_out] >= 0.5,
        labels,
        data.y_true[held_out],
        error[held_out],
        data.patient_id[held_out],
        alpha=alpha,
        n_permutations=n_permutations,
        random_state=seeds[4],
    )
    numbers["stability"] = stability
    seconds.mark("confirm")
    candidates, traits = _describe(data, portfolio, features, discovery, membership, error, numbers)
    detectable = _detectable(data, held_out, error, threshold, len(labels), alpha)
    seconds.mark("describe")
    ids = data.sample_id.rename("sample_id")
    logger.info("audit took %s", seconds.by_stage)
    return AuditResult(
        candidates=candidates,
        membership=pd.DataFrame(membership, index=ids, columns=candidates["slice_id"].tolist()),
        samples=pd.DataFrame(
            {
                "part": np.where(discovery, "discovery", "confirmation"),
                "y_true": data.y_true,
                "y_proba": data.y_proba,
                "wrong": error,
            },
            index=ids,
        ),
        traits={k: [t.to_dict() for t in v] for k, v in traits.items()},
        rules={
            slice_id: found.rule.to_dict()
            for slice_id, found in zip(candidates["slice_id"], portfolio.slices_, strict=True)
            if found.rule is not None
        },
        detectable=detectable,
        quarantine=_quarantine(data, images),
        data_summary=_summarise(data, discovery, error, modalities),
        settings={
            "modalities": list(modalities),
            "n_slices": n_slices,
            "alpha": alpha,
            "threshold": threshold,
            "fraction": fraction,
            "n_refits": n_refits,
            "n_permutations": n_permutations,
            "random_state": int(random_state) if isinstance(random_state, (int, np.integer)) else None,
            "n_tried_in_discovery": portfolio.n_tried_,
            "seconds": seconds.by_stage,
        },
        warnings=messages,
        thumbnails=None if images is None else images.thumbnails,
    )


def _check_arguments(
    data, modalities, n_slices, alpha, threshold, fraction, n_refits, n_permutations, random_state, n_jobs
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
    for name, value in (("alpha", alpha), ("threshold", threshold), ("fraction", fraction)):
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


def _check_parts(data: AuditData, discovery: np.ndarray) -> None:
    for part, mask in (("discovery", discovery), ("confirmation", ~discovery)):
        if len(np.unique(data.y_true[mask])) < 2:
            raise InputError(
                "data",
                "patients of both labels in both parts",
                f"a {part} part with one label only",
                "Add patients of the rarer label, or change fraction or random_state.",
            )


def _min_patients(data: AuditData, discovery: np.ndarray) -> int:
    """Return the discovery patients a candidate must have: 2 %, but 5 at least and 50 at most."""
    return int(np.clip(round(0.02 * len(pd.unique(data.patient_id[discovery]))), 5, 50))


def _stability(
    portfolio, features: Features, y, proba, patient, n_refits: int, seed: int, progress: bool
) -> np.ndarray:
    """Return, for each candidate, the share of refits that find a slice with a Jaccard index of 0.5 or more with it.

    The index is taken over the samples that the candidate is compared with: a refit that finds the same group over
    both labels, where the candidate is of one, has found it again.
    """
    n_slices = len(portfolio.slices_)
    if n_refits == 0 or n_slices == 0:
        return np.full(n_slices, np.nan)
    rng = check_random_state(seed)
    original = (portfolio.membership(features, y) >= 0.5).astype(np.float32)
    compared = np.stack([(y == s.label) if s.label is not None else y >= 0 for s in portfolio.slices_], axis=1)
    patients = pd.unique(patient)
    found = np.zeros(n_slices)
    for _ in tqdm(range(n_refits), desc="testing stability", unit="refit", disable=not progress, leave=False):
        kept = rng.permutation(patients)[: max(2, round(len(patients) * 2 / 3))]
        rows = np.isin(patient, kept)
        refit_seed = int(rng.randint(np.iinfo(np.int32).max))
        if len(np.unique(y[rows])) < 2:
            continue
        refit = clone(portfolio).set_params(random_state=refit_seed)
        refit.fit(features.take(rows), y[rows], y_proba=proba[rows], groups=patient[rows])
        again = (refit.membership(features, y) >= 0.5).astype(np.float32)
        both = original.T @ again
        either = original.sum(axis=0)[:, None] + compared.T.astype(np.float32) @ again - both
        if both.size:
            found += (both / np.maximum(either, 1)).max(axis=1) >= 0.5
    return found / n_refits


def _describe(data, portfolio, features, discovery, membership, error, numbers):
    """Return the candidates, one row a slice, and the traits of each."""
    y = data.y_true[discovery]
    seen = features.take(discovery)
    finder = TraitFinder(seen.table, features.kinds)
    patient = np.unique(data.patient_id[discovery].astype(str), return_inverse=True)[1]
    told = np.zeros(int((~discovery).sum()), dtype=bool)  # held-out members of confirmed slices with better ranks
    rows, traits = [], {}
    for k, found in enumerate(portfolio.slices_):
        slice_id = f"s{k + 1:02d}"
        inside = membership[discovery, k] >= 0.5
        compared = np.ones(len(y), dtype=bool) if found.label is None else y == found.label
        traits[slice_id] = finder.find(inside, compared)
        description = describe(found.rule, traits[slice_id], found.modality)
        in_confirmation = numbers.iloc[k].to_dict()
        part = _numbers_of_part(inside, found.label, y, error[discovery], patient)
        held_out = membership[~discovery, k] >= 0.5
        wrong = held_out & error[~discovery].astype(bool)
        in_confirmation["already_told"] = float(told[wrong].mean()) if wrong.any() else np.nan
        if in_confirmation["confirmed"]:
            told |= held_out
        rows.append(
            {
                "slice_id": slice_id,
                "description": description,
                "rule": "" if found.rule is None else str(found.rule),
                "label": "" if found.label is None else str(found.label),
                "error_type": ERROR_TYPES[found.label],
                "modality": found.modality,
                "slicer": found.slicer,
                "sentence": sentence(description, found.label, data.label_name, in_confirmation),
                **in_confirmation,
                **{f"discovery_{name}": value for name, value in part.items()},
            }
        )
    return candidate_frame(rows), traits


def _numbers_of_part(inside, label, y, error, patient) -> dict:
    n_samples, n_patients, _, p_in, p_out, gap = slice_metrics(inside, label, y, error, patient)
    return {
        "n_samples": n_samples,
        "n_patients": n_patients,
        "metric_inside": p_in,
        "metric_outside": p_out,
        "gap": gap,
    }


def _detectable(data, held_out, error, threshold, n_candidates, alpha) -> pd.DataFrame:
    """Return the detectable gaps within each label, where most slices are compared; label 1 first."""
    by_label = []
    for label in (1, 0):
        rows = held_out & (data.y_true == label)
        patients = data.patient_id[rows]
        scorer = Scorer.from_predictions(data.y_true[rows], data.y_proba[rows], patients, threshold)
        n_patients = len(pd.unique(patients))
        gaps = detectable_gaps(
            n_patients,
            float(error[rows].mean()),
            rows.sum() / n_patients / scorer.design_effect,
            n_candidates=max(n_candidates, 1),
            alpha=alpha,
        )
        by_label.append(gaps.assign(label=label))
    return pd.concat(by_label, ignore_index=True)[list(DETECTABLE_COLUMNS)]


def _quarantine(data: AuditData, images: ImageTable | None) -> pd.DataFrame:
    rows = []
    if images is not None:
        rows = [
            {"sample_id": sample, "reason": failure.reason}
            for sample, failure in zip(data.sample_id, images.errors, strict=True)
            if failure is not None
        ]
    return pd.DataFrame(rows, columns=["sample_id", "reason"])


def _summarise(data: AuditData, discovery: np.ndarray, error: np.ndarray, modalities: Sequence[str]) -> dict:
    positive = data.y_true == 1
    return {
        "name": data.name,
        "label_name": data.label_name,
        "n_samples": data.n_samples,
        "n_patients": data.n_patients,
        "has_patient_id": data.has_patient_id,
        "n_discovery_samples": int(discovery.sum()),
        "n_discovery_patients": len(pd.unique(data.patient_id[discovery])),
        "n_confirmation_samples": int((~discovery).sum()),
        "n_confirmation_patients": len(pd.unique(data.patient_id[~discovery])),
        "n_positive": int(positive.sum()),
        "error_rate": float(error.mean()),
        "false_negative_rate": float(error[positive].mean()),
        "false_positive_rate": float(error[~positive].mean()),
        "modalities": list(modalities),
        "card": {str(k): str(v) for k, v in data.card.items()},
    }


def _retell(caught: list[warnings.WarningMessage]) -> list[str]:
    """Give the warnings that were caught to the caller, each once, and return those of the audit as text."""
    messages: list[str] = []
    for warning in caught:
        text = str(warning.message)
        if issubclass(warning.category, AuditWarning):
            if text in messages:
                continue
            messages.append(text)
            warnings.warn(text, AuditWarning, stacklevel=4)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return messages


class _Seconds:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.by_stage: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.by_stage[stage] = round(now - self._last, 3)
        self._last = now
