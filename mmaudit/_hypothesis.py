"""A user's own guess, judged as a discovered slice is: on held-out patients, within a label, all guesses counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mmaudit._audit import Proposed, Settings, check_arguments, run
from mmaudit._errors import InputError, check_keywords
from mmaudit.data import MODALITIES, AuditData
from mmaudit.metrics import Metric, as_metric
from mmaudit.result import AuditResult
from mmaudit.rules import parse_rule, rule_table
from mmaudit.selection import select
from mmaudit.slicers import Rule, Slice, strength

__all__ = ["test_hypothesis"]

MOST_HYPOTHESES = 15


@check_keywords
def test_hypothesis(
    data: AuditData,
    hypothesis: Any,
    *,
    labels: Sequence[int | None] | int | str | None = "auto",
    beside: AuditResult | None = None,
    alpha: float = 0.05,
    threshold: float | Sequence[float] | Mapping[str, float] = 0.5,
    metric: Any = "error_rate",
    fraction: float = 0.4,
    n_permutations: int = 4999,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    progress: bool = False,
) -> AuditResult:
    """Return whether a classifier fails on a subgroup that you name, judged as an audit judges what it discovers.

    Parameters
    ----------
    data : AuditData
        Cases with labels and predicted probabilities.
    hypothesis : str, Rule, mapping, mask, or list of them
        The subgroup. A str is a rule in words, such as "report mentions chest tube" or "view = AP and age > 60"; a
        mapping of columns to values, and an array of bool of shape (n_samples,), are as `where` of
        `mmaudit.failures.inject`. A list holds several guesses, which are corrected together. A mask must not be made
        from the predictions: then it has a gap by construction.
    labels : "auto", sequence of {1, 0, None}, or one of them
        Within which labels to compare: 1 for missed cases, 0 for false alarms, None for both at the same mix of labels.
        Each counts in the correction. "auto": 1 and 0, or what the metric compares.
    beside : AuditResult or None
        An audit of the same data whose candidates count in the correction too. Give it if the audit gave you the idea.
        It must have held out the same patients.
    alpha, threshold, metric, fraction, n_permutations, random_state, n_jobs, progress
        As in `mmaudit.audit`. With the same fraction, threshold and random_state, the confirmation patients are those
        of the audit, so that a guess which came from looking at its discovery patients is tested on others.

    Returns
    -------
    AuditResult
        One candidate for each guess and label (and each label or class of the data, where there are several), in the
        order given; `findings` has those that are confirmed. Stability is NaN: nothing was searched.

    Raises
    ------
    InputError
        A guess that cannot be read, or that selects no sample or all of them; arguments out of range, as in
        `mmaudit.audit`; a `beside` of other data, or that held out other patients.
    UnknownKeywordError
        A keyword this function does not have.

    Notes
    -----
    Only confirmation patients are tested, although nothing was discovered: who has seen the data, or a result on them,
    has often chosen the guess by them. Try many guesses one call at a time, and one will be confirmed by chance; give
    them together.

    Examples
    --------
    >>> import mmaudit as mma
    >>> data = mma.datasets.load_phantom(60, image_size=112)
    >>> tested = mma.test_hypothesis(data, "view = AP supine", labels=1)
    >>> tested.candidates.loc[0, "description"]
    'view = AP supine'
    """
    guesses = _guesses(data, hypothesis)
    labels = labels_of(labels, as_metric(metric))
    if beside is not None and not isinstance(beside, AuditResult):
        raise TypeError(f"beside: expected an AuditResult, got {type(beside).__name__}. Give what audit() returned.")
    return test_guesses(
        data,
        guesses,
        labels,
        beside=beside,
        alpha=alpha,
        threshold=threshold,
        metric=metric,
        fraction=fraction,
        n_permutations=n_permutations,
        random_state=random_state,
        n_jobs=n_jobs,
        progress=progress,
    )


test_hypothesis.__test__ = False  # type: ignore[attr-defined]  # a test of the user's, not one of pytest's


@dataclass(frozen=True)
class Guess:
    """A subgroup that somebody named: in words, as a mask over the samples, and as a rule where it has one."""

    words: str
    mask: np.ndarray
    rule: Rule | None = None
    # Numbers of targets, and labels, within which it is compared; None: within all that are asked for
    within: Sequence[tuple[int, int | None]] | None = None


def test_guesses(
    data: AuditData,
    guesses: Sequence[Guess],
    labels: Sequence[int | None],
    *,
    beside: AuditResult | None,
    alpha: float,
    threshold: Any,
    metric: Any,
    fraction: float,
    n_permutations: int,
    random_state: Any,
    n_jobs: int | None = None,
    on_stage: Callable[[str], None] | None = None,
    warn: bool = True,
    progress: bool = False,
) -> AuditResult:
    """Return what `test_hypothesis` does, of guesses that were read before; `on_stage` and `warn` are as in `run`."""
    if beside is not None and not beside.samples.index.astype(str).equals(data.sample_id.astype(str)):
        raise InputError("beside", "an audit of the same data", "one of other samples", "Leave it out, or audit these.")
    modalities = check_arguments(data, "auto", 1, alpha, fraction, 0, n_permutations, random_state, n_jobs)
    data.targets(threshold)
    how = Settings(modalities, len(guesses), alpha, threshold, as_metric(metric), fraction, 0, n_permutations, n_jobs)

    def propose(data, how, features, targets, discovery, *_) -> Proposed:
        if beside is not None and (discovery != (beside.samples["part"] == "discovery").to_numpy()).any():
            raise InputError(
                "beside",
                "an audit that held out the same patients",
                "one that held out others",
                "Give the fraction, threshold and random_state of that audit.",
            )
        found, columns, names = [], [], []
        for guess in guesses:
            modality = _modality(guess.rule, features.kinds)
            for of, label in guess.within or [(of, label) for of in range(len(targets)) for label in labels]:
                slice_ = Slice("hypothesis", modality, of, label, guess.rule, 1)
                found.append(slice_)
                columns.append(strength(np.where(guess.mask, 0.9, 0.1), targets[of], slice_))
                names.append(guess.words)
        membership = np.stack(columns, axis=1).astype(np.float32)
        return Proposed(found, membership, np.full(len(found), np.nan), 0, names)

    # Images that the audit has described are not read again.
    described = None
    if beside is not None and beside._data is not None and beside._data.images is data.images:
        described = beside._images
    return run(
        data,
        how,
        random_state,
        images=described,
        propose=propose,
        counted_beside=None if beside is None else beside.candidates["p_value"].to_numpy(),
        on_stage=on_stage,
        warn=warn,
        progress=progress,
    )


test_guesses.__test__ = False  # type: ignore[attr-defined]


def _guesses(data: AuditData, given: Any) -> list[Guess]:
    if not isinstance(data, AuditData):
        raise TypeError(
            f"data: expected AuditData, got {type(data).__name__}. Make it with AuditData.from_frame(df, label=…, …)."
        )
    several = isinstance(given, (list, tuple)) and not (given and all(isinstance(g, (bool, np.bool_)) for g in given))
    each = list(given) if several else [given]
    if not 1 <= len(each) <= MOST_HYPOTHESES:
        raise InputError("hypothesis", f"1 to {MOST_HYPOTHESES} of them", f"{len(each)}", "Split the list.")
    guesses = [_guess(data, one) for one in each]
    masks = len([g for g in guesses if g.words == _MASK_WORDS])
    numbered = iter(range(1, masks + 1))
    return [
        replace(g, words=f"{g.words} {next(numbered)}") if masks > 1 and g.words == _MASK_WORDS else g for g in guesses
    ]


_MASK_WORDS = "a mask given by hand"


def _guess(data: AuditData, given: Any) -> Guess:
    if isinstance(given, str):
        try:
            given = parse_rule(given, data)
        except InputError as error:
            raise error.under("rule", "hypothesis") from None
    if isinstance(given, Rule):
        mask = given.holds(rule_table(data, [p.column for p in given.predicates]))
        if mask.all() or not mask.any():
            raise InputError(
                "hypothesis",
                "a subgroup of the samples",
                f"{'all' if mask.all() else 'none'} of the {data.n_samples:,} samples ({given})",
                "Narrow it." if mask.all() else "Widen it, or check how it is spelled in the data.",
            )
        return Guess(str(given), mask, given)
    try:
        mask, words = select(data, given)
    except InputError as error:
        raise error.under("where", "hypothesis") from None
    return Guess(words if isinstance(given, Mapping) else _MASK_WORDS, mask, None)


def labels_of(given: Any, metric: Metric) -> tuple[int | None, ...]:
    """Return the labels within which to compare; "auto" is 1 and 0, or what the metric compares."""
    comparable = metric.labels
    if isinstance(given, str) and given == "auto":
        return tuple(label for label in (1, 0) if label in comparable) or tuple(comparable)
    labels = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    if not labels or any(label not in (0, 1, None) for label in labels) or len(set(labels)) < len(labels):
        raise InputError("labels", "1, 0 or None, or several of them, each once", f"{given!r}", "Use (1, 0).")
    if not set(labels) <= set(comparable):
        raise InputError("labels", f"some of {comparable}, which the metric compares", f"{given!r}", "Leave it out.")
    return labels


def _modality(rule: Rule | None, kinds: Mapping[str, str]) -> str:
    if rule is None:
        return "given"
    of = {"report" if p.column.startswith(('"', "[")) else kinds.get(p.column, "metadata") for p in rule.predicates}
    return "+".join(m for m in MODALITIES if m in of)
