"""How good a slice chance alone gives: the whole audit again, on predictions that have nothing to do with the cases."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from tqdm import tqdm

from mmaudit._errors import AuditWarning, InputError
from mmaudit.confirm import PatientExchange

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mmaudit.data import AuditData

__all__ = ["NullControl", "exchange_predictions", "null_control"]


@dataclass(frozen=True, eq=False)
class NullControl:
    """What the audit gave on predictions that chance had dealt out.

    Attributes
    ----------
    frame : DataFrame, one row a run
        run, n_candidates, n_findings, lowest_q; and of the candidate that this run ranked first its description,
        discovery_gap and gap (on held-out patients). NaN in a run without candidates.
    observed : DataFrame, one row a candidate of the audit itself
        slice_id, description, discovery_gap, gap, q_value, confirmed.
    metric : str
    greater_is_better : bool
        A slice is worse where its gap is above 0, or below 0 if greater is better.
    """

    frame: pd.DataFrame
    observed: pd.DataFrame
    metric: str = "error_rate"
    greater_is_better: bool = False

    @property
    def n(self) -> int:
        """Number of runs."""
        return len(self.frame)

    @property
    def share_with_finding(self) -> float:
        """Share of the runs with any finding, in [0, 1]; all of these are false."""
        return float((self.frame["n_findings"] > 0).mean())

    @property
    def sentence(self) -> str:
        """What chance gave, beside what the audit gave, in words."""
        worse = -1 if self.greater_is_better else 1
        seen = self.frame.dropna(subset=["discovery_gap"])
        found = int((self.frame["n_findings"] > 0).sum())
        text = f"Predictions exchanged between patients at random, {self.n} times: "
        if len(seen):
            held_out = seen["gap"].dropna()
            text += f"the best candidate was {worse * seen['discovery_gap'].median():.2f} worse in discovery (median)"
            text += (
                f" and {round(worse * held_out.median(), 2) + 0.0:.2f} on held-out patients; "
                if len(held_out)
                else "; "
            )
        text += f"{found} of {self.n} runs had a finding."
        if len(self.observed):
            gap = worse * self.observed["discovery_gap"].iloc[0]
            as_good = int((worse * seen["discovery_gap"] >= gap).sum())
            text += (
                f" The audit itself: its best candidate was {gap:.2f} worse in discovery, which chance reached in "
                f"{as_good} of {self.n} runs; {int(self.observed['confirmed'].sum())} confirmed."
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as one dict of plain types, NaN as None."""
        return {
            "n": self.n,
            "metric": self.metric,
            "greater_is_better": self.greater_is_better,
            "share_with_finding": self.share_with_finding,
            "sentence": self.sentence,
            "runs": _records(self.frame),
            "observed": _records(self.observed),
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Return axes with the gap in discovery against the gap on held-out patients, of chance and of the audit.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Where to draw. None: a new figure.
        """
        from mmaudit.report import null_plot

        return null_plot(self.to_dict(), ax=ax)

    def __repr__(self) -> str:
        return f"NullControl: {self.sentence}"

    def _repr_html_(self) -> str:
        from mmaudit.report import picture

        return picture(self.plot(), self.sentence)


def null_control(
    result: Any,
    repeat: Callable[[AuditData, int], Any],
    data: AuditData,
    n: int = 20,
    *,
    random_state: int | np.random.RandomState | None = 0,
    progress: bool = False,
) -> NullControl:
    """Return what the same audit gives on predictions exchanged between patients, `n` times.

    Parameters
    ----------
    result : AuditResult
        The audit itself.
    repeat : callable (data, seed) -> AuditResult
        Audits other predictions of the same cases with the same settings.
    data : AuditData
        What was audited.
    n : int from 1 on
        Runs; each takes as long as the audit without its refits.
    random_state : int, RandomState or None
        Seed. None: another each time.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    InputError
        If n is no whole number from 1 on.

    Notes
    -----
    Whole patients exchange their predictions with others of the same labels and about as many samples. Error rates,
    the mix of labels and the likeness of errors within a patient stay, but nothing in images, reports or metadata goes
    with errors any more. Of several labels each is dealt out by itself (whether it is known counts too), so errors of
    two labels no longer go together. A patient with both answers on its films, where nobody else has both, keeps its
    predictions.
    """
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise InputError("n", "a whole number from 1 on", f"{n!r}", "Use 20.")
    rng = check_random_state(random_state)
    rows = []
    with tqdm(total=n, desc="auditing chance", unit="run", disable=not progress, leave=False) as bar:
        for run in range(n):
            chance = exchange_predictions(data, rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AuditWarning)  # the audit itself has said them
                again = repeat(chance, int(rng.randint(np.iinfo(np.int32).max)))
            rows.append({"run": run, **_best(again.candidates)})
            bar.update()
    columns = ["slice_id", "description", "discovery_gap", "gap", "q_value", "confirmed"]
    return NullControl(
        frame=pd.DataFrame(rows),
        observed=result.candidates[columns].copy(),
        metric=str(result.settings.get("metric", "error_rate")),
        greater_is_better=bool(result.settings.get("greater_is_better", False)),
    )


def exchange_predictions(data: AuditData, rng: np.random.RandomState) -> AuditData:
    """Return the same cases, with predictions exchanged between patients of the same labels.

    Of several labels each is dealt out by itself: few patients have all labels in common.
    """
    assert data.y_proba is not None
    patient = np.unique(data.patient_id.astype(str), return_inverse=True)[1]
    truth = 1 + np.nan_to_num(np.asarray(data.y_true, dtype=float), nan=-1).astype(int)  # 0 where unknown
    if truth.ndim == 1:
        return data.with_predictions(data.y_proba[PatientExchange(patient, truth, rng).draw()])
    columns = [data.y_proba[PatientExchange(patient, label, rng).draw(), j] for j, label in enumerate(truth.T)]
    return data.with_predictions(np.column_stack(columns))


def _best(candidates: pd.DataFrame) -> dict[str, Any]:
    first = candidates.iloc[0] if len(candidates) else {}
    return {
        "n_candidates": len(candidates),
        "n_findings": int(candidates["confirmed"].sum()),
        "lowest_q": float(candidates["q_value"].min()) if len(candidates) else np.nan,
        "description": first.get("description", ""),
        "discovery_gap": float(first.get("discovery_gap", np.nan)),
        "gap": float(first.get("gap", np.nan)),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.astype(object).where(frame.notna(), None).to_dict("records")
