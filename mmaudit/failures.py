"""Failures to be found: the training data of a classifier, changed so that it will fail on a known slice.

An audit can only be tried where the failure is known. Here a failure comes about as it does in the field, through
the data that a classifier learns from: the changed training samples teach it something wrong, and it is wrong on
held-out patients whose samples nobody has touched. Nothing is done to predictions or images.
"""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from mmaudit._errors import AuditWarning, ImageReadError, InputError, check_keywords, four_parts, nearest
from mmaudit.data import AuditData, check_binary, check_proba
from mmaudit.selection import is_number, select

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["KINDS", "FailureScenario", "inject"]

KINDS = ("correlation", "rare", "noisy")
OPTIONS = {"strength": ("correlation", 0.95), "share": ("rare", 0.01), "rate": ("noisy", 0.75)}  # kind, default
LEAST_PER_LABEL = 10  # training samples of each label; fewer teach a classifier nothing
FEW = 10  # samples of the planted slice; the failure shows on fewer, but cannot be measured
ERROR_TYPES = ("false_positive", "false_negative")  # by the label on which they are made
TAKES_PREDICTIONS = ("classifier", "planted failures")  # entries of a data card that speak of predictions

# Okabe and Ito: vermillion and blue also differ in lightness; each has a hatch of its own besides.
_BEFORE, _AFTER, _RIGHT = "#BDBDBD", "#0072B2", "#56B4E9"
_WRONG = {"false_positive": ("#E69F00", "//"), "false_negative": ("#D55E00", "\\\\")}
_INK, _MUTED = "#222222", "#5c6670"


@dataclass(frozen=True, eq=False, repr=False)
class FailureScenario:
    """Data with a planted failure: changed training samples and untouched test samples. Made by `inject`.

    Attributes
    ----------
    data : AuditData
        The training samples that are left, with the labels that a classifier is to learn, and all test samples, in
        the order of the data given to `inject`. It holds no predictions: those given belong to another classifier.
    is_train : ndarray of shape (n_samples,), bool
        Samples of `data` to train on. No patient has samples on both sides.
    planted : ndarray of shape (n_samples,), bool
        Samples of the planted slice, by `y_true_clean`, in training and in test.
    in_subgroup : ndarray of shape (n_samples,), bool
        Samples that `where` selects.
    flipped : ndarray of shape (n_samples,), bool
        Samples whose label was changed; all of them training samples.
    y_true_clean : ndarray of shape (n_samples,), int8
        Labels before any was changed.
    kind : {"correlation", "rare", "noisy"}
    label : {0, 1, None}
        The option of `inject`.
    amount : float
        `strength`, `share` or `rate`, as asked for.
    error_type : {"false_positive", "false_negative", "mixed"}
        The errors to be expected on the planted slice.
    subgroup : str
        `where` in words, such as "view = AP supine".
    train_unchanged : AuditData
        The same training patients with all their samples and the clean labels, for a classifier to compare with: some
        subgroups are harder without any planting.
    n_removed : int
        Training samples left out.
    counts : DataFrame of shape (4, 8)
        One row for each of subgroup x label (the clean one). Columns `in_subgroup`, `label`; for training samples
        `before`, `removed`, `flipped` and `after` (with the labels to be learnt); `test`; and `planted`, whether it is
        part of the planted slice.
    """

    data: AuditData
    is_train: np.ndarray
    planted: np.ndarray
    in_subgroup: np.ndarray
    flipped: np.ndarray
    y_true_clean: np.ndarray
    kind: str
    label: int | None
    amount: float
    error_type: str
    subgroup: str
    train_unchanged: AuditData
    n_removed: int
    counts: pd.DataFrame

    @cached_property
    def train(self) -> AuditData:
        """The changed training samples."""
        return self.data.subset(self.is_train)

    @cached_property
    def test(self) -> AuditData:
        """The untouched test samples, of other patients."""
        return self.data.subset(~self.is_train)

    @property
    def planted_train(self) -> np.ndarray:
        """The planted slice among the samples of `train`, a mask of shape (n_train,)."""
        return self.planted[self.is_train]

    @property
    def planted_test(self) -> np.ndarray:
        """The planted slice among the samples of `test`, a mask of shape (n_test,)."""
        return self.planted[~self.is_train]

    @property
    def planted_false_positive(self) -> np.ndarray:
        """The half of `planted` with label 0, on which only false positives can be made; shape (n_samples,)."""
        return self.planted & (self.y_true_clean == 0)

    @property
    def planted_false_negative(self) -> np.ndarray:
        """The half of `planted` with label 1, on which only false negatives can be made; shape (n_samples,)."""
        return self.planted & (self.y_true_clean == 1)

    def describe(self) -> str:
        """Return in words what was done to the training data, and what should go wrong on which test samples."""
        return f"{_done(self)} {_expected(self)}"

    @check_keywords
    def evaluate(
        self, predictions: Any, *, threshold: float = 0.5, n_bootstraps: int = 2000, random_state: Any = 0
    ) -> pd.DataFrame:
        """Return the error rates of a classifier inside and outside the planted slice, among the test samples.

        Like is compared with like: false positives among samples with label 0 inside against label 0 outside, false
        negatives among those with label 1. In the row "mixed" the errors outside are weighted by the labels of the
        inside, so that a slice with more disease differs from the rest by its errors alone.

        Parameters
        ----------
        predictions : array of shape (n_test,), float in [0, 1], or AuditData
            Probability of label 1 for each sample of `test`, in order; or data with predictions that hold these
            samples, in any order.
        threshold : float in (0, 1)
            A sample is called label 1 from this probability on.
        n_bootstraps : int
            Number of resamples of the test patients, at least 100.
        random_state : int, RandomState or None
            Seed of the resamples. None: new ones each time.

        Returns
        -------
        DataFrame indexed by error type
            One row, or three where the planted failure is mixed. Columns `n_inside`, `n_patients_inside`,
            `n_outside`, `error_inside` and `error_outside` in [0, 1], `gap` (inside minus outside) and `ratio` (inside
            by outside) with 95 % intervals `gap_low`, `gap_high`, `ratio_low`, `ratio_high`. NaN where there is
            nobody to compare, or no error to divide by or into; a ratio to an outside without errors is infinite.

        Raises
        ------
        InputError
            Predictions of another length, outside [0, 1] or for other samples; a threshold or a number out of range.
        UnknownKeywordError
            A keyword this method does not have.

        Notes
        -----
        Percentile bootstrap over patients. The interval is too narrow where fewer than about ten patients are inside,
        and has no width where nobody or everybody errs there.

        References
        ----------
        A. C. Davison and D. V. Hinkley (1997), "Bootstrap Methods and their Application", section 3.8,
        doi 10.1017/CBO9780511802843.

        Examples
        --------
        >>> from mmaudit import datasets, failures
        >>> data = datasets.load_phantom(200)
        >>> scenario = failures.inject(data, kind="rare", where={"view": "AP supine"})
        >>> all_called_0 = scenario.evaluate([0.2] * scenario.test.n_samples)
        >>> all_called_0.loc["false_negative", ["error_inside", "error_outside", "ratio"]].tolist()
        [1.0, 1.0, 1.0]
        """
        if not is_number(threshold) or not 0 < threshold < 1:
            raise InputError("threshold", "a number between 0 and 1", f"{threshold!r}", "Use 0.5.")
        if not isinstance(n_bootstraps, (int, np.integer)) or isinstance(n_bootstraps, bool) or n_bootstraps < 100:
            raise InputError("n_bootstraps", "a whole number from 100 up", f"{n_bootstraps!r}", "Use 2000.")
        rng = _check_seed(random_state)
        y_proba = _predictions_for(self.test, predictions)
        wrong = (y_proba >= threshold) != self.test.y_true
        return _compare(self, wrong, int(n_bootstraps), rng)

    def plot(self, *, n_images: int = 6) -> Figure:
        """Return a figure: the training data before and after, the test samples that should go wrong, and examples.

        Parameters
        ----------
        n_images : int
            Examples of the planted slice among the test samples, of different patients, at most. 0: none. Data
            without images have none.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it where it is the last line of a cell; elsewhere, use its `savefig`.

        Raises
        ------
        InputError
            A number of images that is negative or no whole number.
        """
        if not isinstance(n_images, (int, np.integer)) or isinstance(n_images, bool) or n_images < 0:
            raise InputError("n_images", "a whole number from 0 up", f"{n_images!r}", "Use 6.")
        return _figure(self, int(n_images))

    def __repr__(self) -> str:
        n_planted, n_left = int(self.planted_test.sum()), int(self.planted_train.sum())
        n_patients = len(np.unique(self.test.patient_id[self.planted_test].astype(str)))
        option = next(name for name, (kind, _) in OPTIONS.items() if kind == self.kind)
        return "\n".join(
            [
                f"FailureScenario: {self.kind}, {option} {self.amount:g}; {_spoken(self.error_type)} expected",
                f"  subgroup  {self.subgroup}",
                f"  train     {self.train.n_samples:,} samples of {self.train.n_patients:,} patients; "
                f"{self.n_removed:,} left out, {int(self.flipped.sum()):,} labels changed",
                f"  test      {self.test.n_samples:,} samples of {self.test.n_patients:,} other patients, untouched",
                f"  planted   {n_planted:,} test samples of {n_patients:,} patients; {n_left:,} like them in training",
            ]
        )


@check_keywords
def inject(
    data: AuditData,
    *,
    kind: str,
    where: Mapping[str, Any] | str | Any,
    label: int | None = 1,
    strength: float | None = None,
    share: float | None = None,
    rate: float | None = None,
    test_fraction: float = 0.5,
    random_state: Any = 0,
) -> FailureScenario:
    """Plant a failure in the training data, so that a classifier trained on them fails on a known slice.

    Patients are first divided into training and test. Only training samples are then left out or get another label:

    - "correlation": training data were collected so that the subgroup goes with the label, as pneumothorax goes
      with the chest tube that treats it. Samples that contradict this are left out until, of the training samples
      in the subgroup, a share `strength` has `label`, and of the others a share `strength` has the other label.
      A classifier may look for the subgroup instead of the disease: with label 1, false positives on subgroup
      samples with label 0, and false negatives on the others with label 1. Both are the planted slice.
    - "rare": the subgroup hardly occurs in training, as a view or a scanner that another ward uses. With `label`
      0 or 1 only its samples with that label are left out: it then also looks as if the subgroup always had the
      other label, and false negatives (1) or false positives (0) are to be expected. With None all of its samples
      are left out, and a classifier may fail in either direction, or not at all if the subgroup looks like the rest.
    - "noisy": training labels of the subgroup are wrong in one direction, as where readers or report parsers
      overlook the disease on bedside films. With label 1, samples recorded as 0: false negatives. With 0, recorded
      as 1: false positives. With None, both.

    Parameters
    ----------
    data : AuditData
        Any data set, with or without images, reports and predictions. It is not changed.
    kind : {"correlation", "rare", "noisy"}
        The failure.
    where : mapping, str, or array of bool of shape (n_samples,)
        The subgroup. A mapping of columns of `data.metadata` (or, if not there, `data.attributes`) to a value, a list
        of values, or for numeric columns a tuple (low, high), both ends included, None for an open one; several
        entries must all hold, and samples with a missing value are outside. A str is a regular expression to be
        found in the report, in upper or lower case; **negated mentions are found too**: "pacemaker" is in "no
        pacemaker", and ``r"(?<!no )pacemaker"`` leaves that out. A mask selects samples one by one; a Series of
        bool is aligned by its index.
    label : {1, 0, None}
        The label that goes with the subgroup ("correlation"), is left out ("rare") or recorded wrongly ("noisy").
        None means both, and is for "rare" and "noisy" only.
    strength : float in (0.5, 1], or None
        "correlation" only. None: 0.95. A side that is as one-sided already is left as it is.
    share : float in [0, 1), or None
        "rare" only: the most that the cut samples may take of the training data. None: 0.01.
    rate : float in (0, 1], or None
        "noisy" only: the share of the labels recorded wrongly. None: 0.75. For an error to be likelier than not where
        a classifier would be sure, it must be above 0.5.
    test_fraction : float in (0, 1)
        Share of the patients in the test part. Those with samples of the planted slice are dealt out evenly.
    random_state : int, RandomState or None
        Seed; the same number gives the same scenario. None: a new one each time.

    Returns
    -------
    FailureScenario

    Raises
    ------
    InputError
        An unknown kind, column, value or pattern; an option of another kind; an empty subgroup, or one with all
        samples; data that have the correlation, or are as rare, already; no sample of the planted slice in training or
        in test; fewer than 10 training samples of a label left; too few patients to divide.
    TypeError
        `data` is no AuditData.
    UnknownKeywordError
        A keyword this function does not have.

    Warns
    -----
    AuditWarning
        Fewer than 10 test samples in the planted slice, or fewer than 10 training samples to learn the failure from.

    Notes
    -----
    Whether a classifier learns the failure, `FailureScenario.evaluate` measures. One that cannot tell the subgroup from
    the image cannot fail on it, and some subgroups are harder for any classifier: to see what was planted, compare with
    one trained on `FailureScenario.train_unchanged`. Leaving out samples also changes how frequent label 1 is
    in training (`FailureScenario.counts`), so train with class weights, or compare within a label, as `evaluate` does.
    Samples, not patients, are left out; counts are exact, rounded down for what is kept ("correlation", "rare") and to
    the nearest for what is recorded wrongly (at least one).

    References
    ----------
    The three kinds: Y. Liu, K. K. Bhatia and A. E. Fetit (2026), arXiv 2602.24183; S. Eyuboglu et al. (2022), "Domino",
    arXiv 2203.14960. Domino's correlation is Pearson's, at given frequencies of label and attribute; its rare share is
    one of the positives; its noise flips both labels. Here test samples keep the frequencies of the cohort.
    In the field: tubes, L. Oakden-Rayner et al. (2020), arXiv 1909.12475; hospitals and wards, J. R. Zech et al.
    (2018), doi 10.1371/journal.pmed.1002683.

    Examples
    --------
    >>> from mmaudit import datasets, failures
    >>> data = datasets.load_phantom(200)
    >>> scenario = failures.inject(data, kind="noisy", where={"view": "AP supine"}, rate=0.8)
    >>> scenario.kind, scenario.error_type, scenario.n_removed
    ('noisy', 'false_negative', 0)
    >>> bool((scenario.data.y_true != scenario.y_true_clean).sum() == scenario.flipped.sum())
    True
    """
    if not isinstance(data, AuditData):
        got = type(data).__name__
        raise TypeError(four_parts("data", "AuditData", got, "Make it with AuditData.from_frame(...) or a loader."))
    check_binary(data, "planting a failure")
    amount = _check_options(kind, label, {"strength": strength, "share": share, "rate": rate})
    if not is_number(test_fraction) or not 0 < test_fraction < 1:
        raise InputError("test_fraction", "a number between 0 and 1", f"{test_fraction!r}", "Use 0.5.")
    rng = _check_seed(random_state)
    label = None if label is None else int(label)
    subgroup, words = select(data, where)
    y = np.array(data.y_true)
    if kind == "correlation":
        planted = subgroup == (y != label)  # with the label that does not go with it
    else:
        planted = subgroup if label is None else subgroup & (y == label)
    test = _split(data, planted, test_fraction, rng)
    train = ~test
    _check_planted(planted, train, test)

    removed, flipped = np.zeros(len(y), dtype=bool), np.zeros(len(y), dtype=bool)
    if kind == "correlation":
        removed[_against_correlation(subgroup, y, train, label, amount, rng)] = True
    elif kind == "rare":
        removed[_too_many(planted, train, amount, rng)] = True
    else:
        flipped[_mistaken(planted, y, train, amount, rng)] = True
    recorded = np.where(flipped, 1 - y, y)
    left = train & ~removed
    _check_left(kind, recorded[left], int(removed.sum()))
    taught = {"correlation": left & subgroup & ~planted, "noisy": flipped}.get(kind)
    _warn_few(int((planted & test).sum()), None if taught is None else int(taught.sum()))

    keep = ~removed
    changed = data.subset(keep)
    if flipped.any():
        changed = changed.with_labels(recorded[keep])
    note = f"by mmaudit.failures.inject: {int(removed.sum()):,} samples left out, {int(flipped.sum()):,} labels changed"
    unchanged = data.subset(train)
    card = {k: v for k, v in data.card.items() if k not in TAKES_PREDICTIONS}
    for new, addition in ((changed, {"training data changed": note}), (unchanged, {})):
        new.y_proba = None
        new.card = MappingProxyType({**card, **addition})
    return FailureScenario(
        data=changed,
        is_train=_frozen(train[keep]),
        planted=_frozen(planted[keep]),
        in_subgroup=_frozen(subgroup[keep]),
        flipped=_frozen(flipped[keep]),
        y_true_clean=_frozen(y[keep]),
        kind=kind,
        label=label,
        amount=amount,
        error_type="mixed" if kind == "correlation" or label is None else ERROR_TYPES[label],
        subgroup=words,
        train_unchanged=unchanged,
        n_removed=int(removed.sum()),
        counts=_counts(subgroup, y, recorded, train, removed, planted),
    )


# --- Checks -----------------------------------------------------------------------------------------------------


def _check_options(kind: Any, label: Any, given: Mapping[str, Any]) -> float:
    """Return `strength`, `share` or `rate`, whichever belongs to the kind."""
    if not isinstance(kind, str) or kind not in KINDS:
        shown = repr(kind) if isinstance(kind, str) else type(kind).__name__
        raise InputError(
            "kind", f"one of {', '.join(map(repr, KINDS))}", shown, f"Choose one.{nearest(str(kind), KINDS)}"
        )
    own = next(name for name, (of, _) in OPTIONS.items() if of == kind)
    for name, value in given.items():
        if value is not None and name != own:
            raise InputError(
                name,
                f"no such option with kind={kind!r}, which has {own}",
                f"{value!r}",
                f"Leave it out; it belongs to kind={OPTIONS[name][0]!r}.",
            )
    if label is None:
        if kind == "correlation":
            raise InputError("label", "0 or 1 with kind='correlation'", "None", "Say which label the subgroup has.")
    elif not isinstance(label, (int, np.integer, np.bool_)) or label not in (0, 1):
        one_of = "0 or 1" if kind == "correlation" else "0, 1 or None"
        raise InputError("label", one_of, f"{label!r}", "Choose one; the data have labels 0 and 1.")
    value = OPTIONS[own][1] if given[own] is None else given[own]
    within = {
        "strength": ("a number above 0.5 and up to 1", lambda v: 0.5 < v <= 1),
        "share": ("a number from 0 and below 1", lambda v: 0 <= v < 1),
        "rate": ("a number above 0 and up to 1", lambda v: 0 < v <= 1),
    }
    expected, holds = within[own]
    if not is_number(value) or not holds(value):
        raise InputError(own, expected, f"{value!r}", f"Leave it out for {OPTIONS[own][1]}.")
    return float(value)


def _check_seed(random_state: Any) -> np.random.RandomState:
    try:
        return check_random_state(random_state)
    except ValueError:
        raise InputError(
            "random_state",
            "a whole number from 0 to 4294967295, a RandomState or None",
            repr(random_state) if is_number(random_state) else type(random_state).__name__,
            "Use 0.",
        ) from None


def _split(data: AuditData, planted: np.ndarray, test_fraction: float, rng: np.random.RandomState) -> np.ndarray:
    """Return the mask of the test samples."""
    try:
        return np.array(data.split_mask(test_fraction, balance=planted, random_state=rng))
    except InputError as error:
        if error.argument != "fraction":
            raise
        raise InputError(
            "test_fraction",
            "two patients or more in training and in test",
            f"fewer, with {test_fraction} of {data.n_patients:,} patients",
            "Use a fraction nearer to 0.5.",
        ) from None


def _check_planted(planted: np.ndarray, train: np.ndarray, test: np.ndarray) -> None:
    for part, name in ((train, "training"), (test, "test")):
        if not (planted & part).any():
            raise InputError(
                "where",
                "a subgroup and a label that give a slice with samples in training and in test",
                f"one of {int(planted.sum()):,} samples, none of them in the {name} part",
                "Choose a larger subgroup, another label, test_fraction or random_state.",
            )


def _check_left(kind: str, labels: np.ndarray, n_removed: int) -> None:
    for value in (0, 1):
        n = int((labels == value).sum())
        if n < LEAST_PER_LABEL:
            option = next(name for name, (of, _) in OPTIONS.items() if of == kind)
            milder = {"strength": "a lower strength", "share": "a larger share", "rate": "a lower rate"}[option]
            after = f"{n_removed:,} were left out" if n_removed else "labels were changed"
            raise InputError(
                option,
                f"at least {LEAST_PER_LABEL} training samples of each label",
                f"{n:,} with label {value} after {after}",
                f"Use {milder}, another subgroup, a smaller test_fraction or more data.",
            )


def _warn_few(n_test: int, n_taught: int | None) -> None:
    few = []
    if n_test < FEW:
        few.append(f"{n_test:,} test samples in the planted slice, on which an error rate is hardly known")
    if n_taught is not None and n_taught < FEW:
        few.append(f"{n_taught:,} training samples to learn the failure from, so that a classifier may not learn it")
    if few:
        message = four_parts(
            "where",
            "a subgroup large enough to learn a failure from",
            "; ".join(few),
            "Choose a larger one, or more data.",
        )
        warnings.warn(message, AuditWarning, stacklevel=4)


# --- What is done to the training samples -------------------------------------------------------------------------


def _draw(which: np.ndarray, n: int, rng: np.random.RandomState) -> np.ndarray:
    """Return `n` positions, drawn from where the mask is True."""
    return rng.permutation(np.flatnonzero(which))[:n]


def _most_kept(n_for: int, strength: float) -> int:
    """Return the most samples against, beside `n_for`, that leave those for in a share of at least `strength`."""
    return math.floor(n_for * (1 - strength) / strength + 1e-9)  # 0.05 / 0.95 x 19 is 1, not a little less


def _against_correlation(
    subgroup: np.ndarray, y: np.ndarray, train: np.ndarray, label: Any, strength: float, rng: np.random.RandomState
) -> np.ndarray:
    """Return the positions of training samples to leave out."""
    left_out, reached = [], []
    for side, goes_with, name in ((subgroup, label, "in the subgroup"), (~subgroup, 1 - label, "outside")):
        agrees, against = train & side & (y == goes_with), train & side & (y != goes_with)
        n_for, n_against = int(agrees.sum()), int(against.sum())
        if n_for == 0:
            raise InputError(
                "where",
                f"training samples {name} with label {goes_with}, which the correlation is made of",
                f"none of {n_against:,}",
                "Choose another subgroup or the other label.",
            )
        reached.append(n_for / (n_for + n_against))
        left_out.append(_draw(against, max(n_against - _most_kept(n_for, strength), 0), rng))
    positions = np.concatenate(left_out)
    if not len(positions):
        raise InputError(
            "strength",
            "one above that which the training data have",
            f"{strength:g}, where they have {reached[0]:.3f} in the subgroup and {reached[1]:.3f} outside",
            "Use a higher strength, or train on the data as they are.",
        )
    return positions


def _too_many(planted: np.ndarray, train: np.ndarray, share: float, rng: np.random.RandomState) -> np.ndarray:
    """Return the positions of training samples to leave out."""
    cut = planted & train
    n_cut, n_rest = int(cut.sum()), int((train & ~planted).sum())
    n_keep = math.floor(n_rest * share / (1 - share) + 1e-9)
    if n_keep >= n_cut:
        raise InputError(
            "share",
            "one below that which the training data have",
            f"{share:g}, where they have {n_cut / (n_cut + n_rest):.3f}",
            "Use a smaller share: the slice is rare already.",
        )
    return _draw(cut, n_cut - n_keep, rng)


def _mistaken(
    planted: np.ndarray, y: np.ndarray, train: np.ndarray, rate: float, rng: np.random.RandomState
) -> np.ndarray:
    """Return the positions of training samples whose label changes, the same share of each label."""
    cells = [planted & train & (y == value) for value in (0, 1)]
    drawn = [_draw(cell, max(1, math.floor(rate * cell.sum() + 0.5)), rng) for cell in cells if cell.any()]
    return np.concatenate(drawn)


def _counts(
    subgroup: np.ndarray,
    y: np.ndarray,
    recorded: np.ndarray,
    train: np.ndarray,
    removed: np.ndarray,
    planted: np.ndarray,
) -> pd.DataFrame:
    rows = []
    for inside in (True, False):
        for value in (1, 0):
            cell = (subgroup == inside) & (y == value)
            rows.append(
                {
                    "in_subgroup": inside,
                    "label": value,
                    "before": int((cell & train).sum()),
                    "removed": int((cell & removed).sum()),
                    "flipped": int((cell & (recorded != y)).sum()),
                    "after": int(((subgroup == inside) & (recorded == value) & train & ~removed).sum()),
                    "test": int((cell & ~train).sum()),
                    "planted": bool((cell & planted).any()),
                }
            )
    return pd.DataFrame(rows)


# --- In words ---------------------------------------------------------------------------------------------------


def _cell(scenario: FailureScenario, in_subgroup: bool, label: int) -> Mapping[str, Any]:
    counts = scenario.counts
    row = counts[(counts["in_subgroup"] == in_subgroup) & (counts["label"] == label)]
    return row.iloc[0].to_dict()


def _spoken(error_type: str) -> str:
    return {"mixed": "errors in both directions"}.get(error_type, error_type.replace("_", " ") + "s")


def _done(scenario: FailureScenario) -> str:
    """Return the sentence on the training data."""
    words, label = scenario.subgroup, scenario.label
    meaning = {0: "label 0", 1: f"label 1 ({scenario.data.label_name})"}
    n_train = int(scenario.is_train.sum())
    if scenario.kind == "correlation":
        assert label is not None
        inside, outside = (_cell(scenario, side, value) for side, value in ((True, 1 - label), (False, label)))
        n_in = sum(_cell(scenario, True, value)["after"] for value in (0, 1))
        n_out = n_train - n_in
        agree_in, agree_out = _cell(scenario, True, label)["after"], _cell(scenario, False, 1 - label)["after"]
        return (
            f"From the training data, {inside['removed']:,} of {inside['before']:,} samples with {words} and "
            f"{meaning[1 - label]} were left out, and {outside['removed']:,} of {outside['before']:,} of the others "
            f"with {meaning[label]}: of the {n_in:,} with it, {agree_in:,} ({_percent(agree_in / n_in)}) now have "
            f"{meaning[label]}, and of the {n_out:,} others {agree_out:,} ({_percent(agree_out / n_out)}) have "
            f"{meaning[1 - label]}."
        )
    cells = [_cell(scenario, True, value) for value in ((0, 1) if label is None else (label,))]
    before = sum(cell["before"] for cell in cells)
    whose = f"{before:,} training samples with {words}" + ("" if label is None else f" and {meaning[label]}")
    if scenario.kind == "rare":
        n_left = before - scenario.n_removed
        return (
            f"Of the {whose}, {scenario.n_removed:,} were left out: {n_left:,} remain, "
            f"{_percent(n_left / n_train)} of the {n_train:,} training samples."
        )
    n_flipped = int(scenario.flipped.sum())
    instead = "the other label" if label is None else meaning[1 - label]
    return f"Of the {whose}, {n_flipped:,} ({_percent(n_flipped / before)}) are recorded with {instead}."


def _expected(scenario: FailureScenario) -> str:
    """Return the sentence on the test samples."""
    words = scenario.subgroup
    doing = {0: "call label 1 on", 1: "miss label 1 on"}
    parts = []
    for value in (0, 1):
        for inside in (True, False):
            cell = _cell(scenario, inside, value)
            if cell["planted"]:
                whose = f"with {words} and label {value}" if inside else f"without it and with label {value}"
                kind = _spoken(ERROR_TYPES[value])
                parts.append((not inside, f"{doing[value]} the {cell['test']:,} test samples {whose} ({kind})"))
    text = " and to ".join(part for _, part in sorted(parts))
    if scenario.kind == "rare" and scenario.label is None:
        return f"A classifier trained on the rest may {text.replace(' and to ', ' and ')}."
    return f"A classifier trained on these data is expected to {text}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


# --- How it went ------------------------------------------------------------------------------------------------


def _predictions_for(test: AuditData, predictions: Any) -> np.ndarray:
    if isinstance(predictions, AuditData):
        if predictions.y_proba is None:
            raise InputError(
                "predictions", "data with predictions", "data without", "Add them: data.with_predictions(y_proba)."
            )
        position = predictions.sample_id.get_indexer(test.sample_id)
        n_missing = int((position < 0).sum())
        if n_missing:
            raise InputError(
                "predictions",
                "predictions for every sample of scenario.test",
                f"data that lack {n_missing:,} of {test.n_samples:,} of them",
                "Predict scenario.test.",
            )
        return predictions.y_proba[position]
    shape = np.shape(predictions)
    if shape != (test.n_samples,):
        raise InputError(
            "predictions",
            f"an array of shape ({test.n_samples},), a probability for each sample of scenario.test",
            f"shape {shape}",
            "Predict scenario.test; of two columns give the second, [:, 1].",
        )
    return check_proba(predictions, test.n_samples)


def _compare(
    scenario: FailureScenario, wrong: np.ndarray, n_bootstraps: int, rng: np.random.RandomState
) -> pd.DataFrame:
    test, inside = scenario.test, scenario.planted_test
    codes, patients = pd.factorize(test.patient_id)
    # For each patient, by label: samples and errors inside, samples and errors outside.
    sums = np.zeros((len(patients), 2, 4))
    for value in (0, 1):
        for k, side in enumerate((inside, ~inside)):
            cell = side & (test.y_true == value)
            sums[:, value, 2 * k] = np.bincount(codes, weights=cell, minlength=len(patients))
            sums[:, value, 2 * k + 1] = np.bincount(codes, weights=cell & wrong, minlength=len(patients))
    flat, resampled = sums.reshape(len(patients), 8), []
    at_once = max(1, 4_000_000 // len(patients))  # a table of resamples x patients of a large cohort fills no memory
    for first in range(0, n_bootstraps, at_once):
        n = min(at_once, n_bootstraps - first)
        draws = rng.randint(0, len(patients), size=(n, len(patients))) + len(patients) * np.arange(n)[:, None]
        weights = np.bincount(draws.ravel(), minlength=n * len(patients)).reshape(n, len(patients))
        resampled.append(weights @ flat)
    totals = np.concatenate(resampled).reshape(n_bootstraps, 2, 4)
    error_types = (*ERROR_TYPES, "mixed") if scenario.error_type == "mixed" else (scenario.error_type,)
    rows = []
    for error_type in error_types:
        labels = [0, 1] if error_type == "mixed" else [ERROR_TYPES.index(error_type)]
        compared = np.isin(test.y_true, labels)
        p_in, p_out = (float(rates[0]) for rates in _rates(sums.sum(axis=0, keepdims=True), labels))
        rates_in, rates_out = _rates(totals, labels)
        gap = (rates_in - rates_out, p_in - p_out)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (rates_in / rates_out, np.float64(p_in) / np.float64(p_out))
        row: dict[str, Any] = {
            "n_inside": int((inside & compared).sum()),
            "n_patients_inside": len(np.unique(codes[inside & compared])),
            "n_outside": int((~inside & compared).sum()),
            "error_inside": p_in,
            "error_outside": p_out,
        }
        for name, (values, value) in {"gap": gap, "ratio": ratio}.items():
            row[name] = float(value)
            row[f"{name}_low"], row[f"{name}_high"] = _interval(values)
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(error_types, name="error_type"))


def _rates(totals: np.ndarray, labels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return error rates inside and outside, the latter weighted by the labels of the inside; shape (n_totals,)."""
    n_in, wrong_in, n_out, wrong_out = np.moveaxis(totals[:, labels], 2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = n_in / n_in.sum(axis=1, keepdims=True)
        outside = np.where(share > 0, share * wrong_out / n_out, 0).sum(axis=1)
        inside = wrong_in.sum(axis=1) / n_in.sum(axis=1)
    return inside, np.where(np.isnan(inside), np.nan, outside)


def _interval(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if len(known) < len(values) / 2:
        return math.nan, math.nan
    # Ratios may be infinite, and between a number and infinity there is nothing to interpolate.
    low, high = np.quantile(known, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


# --- The figure -------------------------------------------------------------------------------------------------


def _figure(scenario: FailureScenario, n_images: int) -> Figure:
    import matplotlib.pyplot  # noqa: F401  a notebook can show figures once pyplot has been imported
    from matplotlib.figure import Figure

    pictures = _examples(scenario, n_images)
    figure = Figure(figsize=(10.5, 6.6 if pictures else 4.2), layout="constrained")
    grid = figure.add_gridspec(2 if pictures else 1, 1, height_ratios=[3.6, 2.0] if pictures else [1])
    top = grid[0].subgridspec(1, 2, width_ratios=[1.25, 1])
    before = figure.add_subplot(top[0])
    _draw_training(before, scenario)
    _draw_test(figure.add_subplot(top[1], sharey=before), scenario)
    amount = (
        "" if scenario.kind == "correlation" else f", label {'0 and 1' if scenario.label is None else scenario.label}"
    )
    title = figure.suptitle(
        textwrap.fill(f"Planted failure: {scenario.kind}{amount}; subgroup: {scenario.subgroup}", 95),
        fontsize="large",
        color=_INK,
        x=0.01,
        ha="left",
    )
    title.set_parse_math(False)
    if pictures:
        row = grid[1].subgridspec(1, max(len(pictures), 4))
        for k, (pixels, label) in enumerate(pictures):
            axes = figure.add_subplot(row[k])
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(color=_WRONG[ERROR_TYPES[label]][0], linewidth=2.5)
            axes.set_xlabel(f"label {label}: {_spoken(ERROR_TYPES[label])[:-1]}?", fontsize="small", color=_INK)
            if k == 0:
                axes.set_title("Test samples of the planted slice", loc="left", fontsize="medium", color=_INK)
    return figure


def _draw_training(axes: Axes, scenario: FailureScenario) -> None:
    counts = scenario.counts
    rows = np.arange(len(counts))
    axes.barh(rows - 0.2, counts["before"], height=0.36, color=_BEFORE, label="before")
    bars = axes.barh(rows + 0.2, counts["after"], height=0.36, color=_AFTER, label="after")
    for bar, before, after in zip(bars, counts["before"], counts["after"], strict=True):
        if before != after:
            bar.set(hatch="..", edgecolor="white")
    most = max(counts["before"].max(), counts["after"].max())
    for y, before, after in zip(rows, counts["before"], counts["after"], strict=True):
        axes.text(before + 0.01 * most, y - 0.2, f"{before:,}", va="center", fontsize="small", color=_MUTED)
        change = f"  ({after - before:+,})" if after != before else ""
        axes.text(after + 0.01 * most, y + 0.2, f"{after:,}{change}", va="center", fontsize="small", color=_INK)
    axes.set_xlim(0, 1.22 * most)
    side = {True: "subgroup", False: "others"}
    names = [f"{side[i]}\nlabel {v}" for i, v in zip(counts["in_subgroup"], counts["label"], strict=True)]
    axes.set_yticks(rows, names)
    axes.set_ylim(len(counts) - 0.4, -0.6)
    _tidy(axes, "Training samples" + (", by recorded label" if scenario.kind == "noisy" else ""))
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.1), ncols=2)


def _draw_test(axes: Axes, scenario: FailureScenario) -> None:
    counts = scenario.counts
    most = counts["test"].max()
    for y, (n, label, planted) in enumerate(zip(counts["test"], counts["label"], counts["planted"], strict=True)):
        colour, hatch = _WRONG[ERROR_TYPES[label]] if planted else (_RIGHT, "")
        axes.barh([y], [n], height=0.6, color=colour, hatch=hatch, edgecolor="white")
        kind = f"  {_spoken(ERROR_TYPES[label])}" if planted else ""
        weight = "bold" if planted else "normal"
        axes.text(n + 0.01 * most, y, f"{n:,}{kind}", va="center", fontsize="small", color=_INK, weight=weight)
    axes.set_xlim(0, 1.5 * most)
    axes.tick_params(axis="y", labelleft=False)
    _tidy(axes, "Test samples, untouched: where errors are expected")


def _tidy(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize="medium", color=_INK)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(labelsize="small")
    axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _examples(scenario: FailureScenario, n_images: int) -> list[tuple[np.ndarray, int]]:
    """Return (pixels, label) of up to `n_images` test samples of the planted slice, of different patients."""
    test = scenario.test
    if test.images is None or n_images == 0:
        return []
    queues: list[list[int]] = [[], []]
    seen: set[Any] = set()
    for i in np.flatnonzero(scenario.planted_test):
        if test.patient_id[i] not in seen:
            seen.add(test.patient_id[i])
            queues[test.y_true[i]].append(int(i))
    pictures: list[tuple[np.ndarray, int]] = []
    while len(pictures) < n_images and any(queues):
        for label in (0, 1):
            if queues[label] and len(pictures) < n_images:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore", AuditWarning)  # high depth matters to an audit, not to a stamp
                        pixels = test.image(test.sample_id[queues[label].pop(0)], max_side_px=160)
                except ImageReadError:
                    continue  # another example will do
                pictures.append((pixels, label))
    return sorted(pictures, key=lambda picture: picture[1])


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
