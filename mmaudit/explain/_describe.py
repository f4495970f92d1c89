"""Words for slices: their rule, or the metadata, terms and image statistics that set them apart in discovery data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from mmaudit.slicers import Rule
from mmaudit.slicers._predicates import NEGATIVE, make_predicates
from mmaudit.slicers._scores import gap_lower_bound

__all__ = ["SHARES", "Trait", "TraitFinder", "describe", "find_traits", "metric_words", "sentence"]

Z_TRAIT = 3.0  # a trait must be more frequent inside at three standard errors
MIN_CONTRAST = 0.05
CLUSTER = "image cluster"  # how names of columns of clusters begin
SHARES = ("error_rate", "sensitivity", "specificity")  # metrics that are shares of samples, said in percent


@dataclass(frozen=True)
class Trait:
    """A statement that is true of more members of a slice than of the samples it is compared with.

    Attributes
    ----------
    phrase : str
    kind : {"metadata", "report", "image", "label_term"}
        "label_term": a report term that restates the label.
    share_inside, share_outside : float in [0, 1]
        Share of discovery samples it is true of, in the slice and outside it within the same label.
    """

    phrase: str
    kind: str
    share_inside: float
    share_outside: float

    def to_dict(self) -> dict:
        """Return the trait as a JSON-able dict."""
        return asdict(self)


class TraitFinder:
    """Predicates of a table, evaluated once, to be compared with many slices."""

    def __init__(self, table: pd.DataFrame, kinds: Mapping[str, str], *, min_samples: int = 8) -> None:
        # That a slice is rich in some cluster says nothing to a reader; what the cluster is rich in does.
        table = table.select_dtypes(exclude="category")
        predicates, holds = make_predicates(table, n_bins=4, min_samples=min_samples)
        # "is not" and "does not mention" set little apart: they are left to rules.
        positive = [i for i, p in enumerate(predicates) if p.operator not in NEGATIVE]
        self.predicates = [predicates[i] for i in positive]
        self.holds = holds.take(positive)
        self.kinds = kinds

    def find(self, inside: np.ndarray, compared: np.ndarray, *, most: int = 6) -> list[Trait]:
        """Return the traits of one slice, the strongest contrast first; see `find_traits`."""
        inside, outside = inside & compared, ~inside & compared
        n_in, n_out = int(inside.sum()), int(outside.sum())
        if min(n_in, n_out) == 0 or not self.predicates:
            return []
        share_in, share_out = self.holds.count(inside) / n_in, self.holds.count(outside) / n_out
        bound = gap_lower_bound(share_in, n_in, share_out, n_out, Z_TRAIT)
        traits: list[Trait] = []
        taken: list[np.ndarray] = []
        for k in np.argsort(-bound, kind="stable"):
            if bound[k] < MIN_CONTRAST or len(traits) >= most:
                break
            mask = self.holds[k] & compared
            if any((mask & other).sum() >= 0.7 * (mask | other).sum() for other in taken):
                continue
            taken.append(mask)
            predicate = self.predicates[k]
            kind = self.kinds.get(predicate.column, "metadata")
            traits.append(Trait(str(predicate), kind, float(share_in[k]), float(share_out[k])))
        return traits


def find_traits(
    inside: np.ndarray, compared: np.ndarray, table: pd.DataFrame, kinds: Mapping[str, str], *, most: int = 6
) -> list[Trait]:
    """Return what sets a slice apart from the samples it is compared with, on the samples given.

    Parameters
    ----------
    inside : ndarray of shape (n_samples,), bool
        Members.
    compared : ndarray of shape (n_samples,), bool
        Members and those they are compared with (the samples of the same label).
    table : DataFrame of shape (n_samples, n_columns)
        Metadata, image statistics and report terms, as in `Features.table`.
    kinds : mapping of column name to kind
    most : int
        Traits returned at most.

    Returns
    -------
    list of Trait
        At least 5 points more frequent inside at three standard errors (Newcombe's bound), no two about the same
        samples. What is found is associated with the slice on these data; it need not be why the classifier errs.
    """
    return TraitFinder(table, kinds).find(inside, compared, most=most)


def describe(rule: Rule | None, traits: list[Trait], modality: str) -> str:
    """Return a phrase for a slice: its rule, and up to three traits that do not restate the label where it needs them.

    A rule in words needs none; a group of cases that look alike, or a cluster of images in a rule, says nothing
    without.
    """
    if rule is not None and not any(p.column.startswith(CLUSTER) for p in rule.predicates):
        return str(rule)
    alike = {"image": "images", "report": "reports", "metadata": "metadata"}.get(modality, "cases")
    named = [t for t in traits if t.kind != "label_term"][:3]
    words = "; ".join(f"{t.phrase} ({100 * t.share_inside:.0f} % against {100 * t.share_outside:.0f} %)" for t in named)
    if rule is not None:
        return f"{rule}, more often: {words}" if named else str(rule)
    if not named:
        return f"a group of similar {alike}, without words that set it apart"
    return f"a group of similar {alike}, more often: {words}"


def sentence(
    description: str,
    label: int | None,
    label_name: str,
    numbers: Mapping,
    *,
    kind: str = "binary",
    metric: str = "error_rate",
    greater_is_better: bool = False,
    wrong_labels: float | None = None,
) -> str:
    """Return one plain sentence about a candidate: who, how many, how much worse, interval, confirmed or not.

    Parameters
    ----------
    description : str
        What the slice is.
    label : {0, 1, None}
        Label within which it is compared.
    label_name : str
        What label 1 means, or the name of one of several labels or classes.
    numbers : mapping
        A row of the candidates: n_patients, metric_inside, metric_outside, gap, ci_low, ci_high, q_value, stability
        and confirmed, all of the confirmation part; `already_told`, the share of its errors in slices above, if known.
    kind : {"binary", "multilabel", "multiclass"}
        What `label_name` is one of.
    metric : str
        What metric_inside and metric_outside are.
    greater_is_better : bool
        Whether a larger metric is better; an error rate is not.
    wrong_labels : float in [0, 1] or None
        Share of the errors that look like wrong labels, where these are most of them.
    """
    description = re.sub(r"\breport (?=mentions|does not mention)", "the report ", description)
    who = f"Where {description}" if not description.startswith("a group") else f"In {description}"
    if not np.isfinite(numbers["gap"]):
        return (
            f"{who}: not tested, since only {numbers['n_patients']:.0f} held-out patients are members "
            "or too few are left to compare with."
        )
    share = metric in SHARES
    if metric == "error_rate":
        what = _errors_in_words(label, label_name, kind, 100 * numbers["metric_inside"])
        what += f", against {100 * numbers['metric_outside']:.0f} %" + (" at the same mix of labels" * (label is None))
    else:
        among = {1: f" among cases of {label_name}", 0: f" among cases without {label_name}", None: ""}[label]
        of = f" of {label_name}" if label is None else ""
        value_in, value_out = (
            f"{100 * value:.0f} %" if share else f"{value:.2f}"
            for value in (numbers["metric_inside"], numbers["metric_outside"])
        )
        what = f"the {metric_words(metric)}{of}{among} is {value_in}, against {value_out}"
    # Said as how much worse, whichever way the metric runs.
    gap, low, high = numbers["gap"], numbers["ci_low"], numbers["ci_high"]
    if greater_is_better:
        gap, low, high = -gap, -high, -low
    worse = "worse" if gap >= 0 else "better"
    by = f"{abs(100 * gap):.0f} points" if share else f"{abs(gap):.2f}"
    text = f"{who}, {what} elsewhere: {by} {worse}"
    if np.isfinite(low):
        text += f" (interval {100 * low:.0f} to {100 * high:.0f})" if share else f" (interval {low:.2f} to {high:.2f})"
    text += f" in {numbers['n_patients']:.0f} held-out patients; "
    text += "confirmed" if numbers["confirmed"] else "not confirmed"
    text += f" (q = {numbers['q_value']:.2g})"
    if np.isfinite(numbers["stability"]) and numbers["stability"] < 0.5:
        text += ", unstable: most refits do not find it again"
    if numbers["confirmed"] and numbers.get("already_told", 0) >= 0.5:
        text += f". Of its errors, {100 * numbers['already_told']:.0f} % lie in the slices above: much the same failure"
    if wrong_labels is not None:
        text += f". Of its errors, {100 * wrong_labels:.0f} % look like wrong labels: check the records first"
    return text + "."


def metric_words(metric: str) -> str:
    """Return what a metric is called in a sentence."""
    return {"auroc": "AUROC", "brier": "Brier score"}.get(metric, metric.replace("_", " "))


def _errors_in_words(label: int | None, name: str, kind: str, percent: float) -> str:
    """Return what a classifier does wrong in this share of the cases of a label or class."""
    share = f"{percent:.0f} %"
    if kind == "multiclass":
        if label is None:
            return f"the classifier is wrong about {name} in {share} of cases"
        if label == 0:
            return f"the classifier calls {share} of the cases of other classes {name}"
        return f"the classifier misses {name} in {share} of cases of {name}"
    if label is None:
        return f"the classifier is wrong {f'about {name} ' if kind == 'multilabel' else ''}on {share} of cases"
    if label == 0:
        return f"the classifier reports {name} in {share} of cases without it"
    return f"the classifier misses {name} in {share} of cases that have it"
