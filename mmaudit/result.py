"""What an audit found: frames to work with, one file to keep, and pictures made from one summary."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError
from mmaudit._files import replacing, temporary_beside
from mmaudit._tables import read_parquet
from mmaudit.compare import Comparison, audited_data, compare, comparisons_of
from mmaudit.confirm import MIN_PATIENTS, metric_frame
from mmaudit.null_control import NullControl, null_control

if TYPE_CHECKING:
    from mmaudit.data import AuditData
    from mmaudit.explain import Difference, Explanation
    from mmaudit.report import SliceCard
    from mmaudit.widgets import SliceExplorer

__all__ = ["COLUMNS", "AuditResult", "candidate_frame", "load_result"]

COLUMNS = (
    "slice_id",
    "description",
    "rule",
    "error_type",
    "modality",
    "n_samples",
    "n_patients",
    "metric_inside",
    "metric_outside",
    "gap",
    "ci_low",
    "ci_high",
    "p_value",
    "q_value",
    "stability",
    "confirmed",
)
MORE_COLUMNS = (
    "target",
    "label",
    "slicer",
    "sentence",
    "already_told",
    "discovery_n_samples",
    "discovery_n_patients",
    "discovery_metric_inside",
    "discovery_metric_outside",
    "discovery_gap",
)
_TEXT_COLUMNS = (*COLUMNS[: COLUMNS.index("n_samples")], "target", "label", "slicer", "sentence")
DETECTABLE_COLUMNS = ("target", "label", "n_patients", "share", "gap")
SAMPLE_COLUMNS = ("y_true", "y_proba", "wrong")
SCHEMA = 2
INLINE_CELLS = 20_000  # a larger membership goes to a parquet file beside the JSON
MEMBERS_SHOWN = 12
MOST_VERDICTS = 20_000  # of samples with a doubtful label or a wrong answer, that a saved result keeps
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
REPEATS = 0.5  # share of its errors in slices above, from which a finding says the same in other words
TARGETS_SAID = 6  # in one sentence; tables have them all
USER_VERDICTS = {"accept": "accept", "reject": "reject", "radiologist": "needs a radiologist"}  # codes, and their words
MOST_OF_A_NOTE, MOST_OF_A_NAME = 10_000, 200  # characters


class AuditResult:
    """The slices of an audit.

    Attributes
    ----------
    candidates : DataFrame, one row a slice
        All slices taken to confirmation, ranked on discovery samples. The columns n_samples to q_value, and
        confirmed, are of the confirmation samples; those of the discovery samples start with "discovery_".
        `already_told`: share of the errors in the slice, on confirmation samples, that lie in confirmed slices with
        better ranks; a slice with most of them there is the same failure in other words. `target`: the label or class
        that the classifier is wrong about; `label`: "1" where slices are compared among cases that have it, "0" among
        those without, "" among both.
    findings : DataFrame
        The confirmed candidates, in the same order.
    membership : DataFrame of shape (n_samples, n_candidates), float32 in [0, 1]
        Strength of membership, columns in the order of `candidates`; 0.5 and above is a member.
    samples : DataFrame of n_samples rows
        Part ("discovery" or "confirmation"), y_true, y_proba, wrong; like `membership`, indexed by sample id. With
        several labels or classes the last three for each, in columns such as "y_true:effusion"; there a y_true of -1
        is not known.
    traits : dict of slice_id to list of dict
        What sets each slice apart on discovery samples: phrase, kind, share_inside, share_outside.
    rules : dict of slice_id to list of dict
        Rules as column, operator and value, for slices that have one.
    explanations : dict of slice_id to dict
        What each slice is, and how well that holds on confirmation patients; see `explain`.
    detectable : DataFrame with columns target, label, n_patients, share, gap
        Smallest gap that would have been confirmed with 80 % power, by slice size, among cases with the label or class
        `target` (1) and without it (0). Empty where another metric than the error rate was compared.
    quarantine : DataFrame with columns sample_id, reason
        Images that could not be read; of data from shards also shards and samples that were left out.
    warnings : list of str
        What weakens the audit.
    settings, data_summary : dict
    user_verdicts : dict
        What you said in a widget: {"slices": {slice_id: {"verdict": ..., "note": ...}}, "samples": {sample id: the
        same}}. `verdicts` shows it as a frame.
    user_edits : dict
        What you called slices in a widget, and which you hid: {"names": {slice_id: name of at most 200 characters},
        "hidden": [slice_id, ...]}. Groups that were tested by hand are not in it, and a slice that is hidden only
        behind such a group is not either.
    """

    def __init__(
        self,
        *,
        candidates: pd.DataFrame,
        membership: pd.DataFrame,
        samples: pd.DataFrame,
        traits: Mapping[str, list[dict]],
        rules: Mapping[str, list[dict]],
        detectable: pd.DataFrame,
        quarantine: pd.DataFrame,
        data_summary: Mapping[str, Any],
        settings: Mapping[str, Any],
        warnings: Sequence[str],
        explanations: Mapping[str, dict] | None = None,
        verdicts: Mapping[str, pd.DataFrame] | None = None,
        user_verdicts: Mapping[str, Mapping[Any, Mapping[str, str]]] | None = None,
        user_edits: Mapping[str, Any] | None = None,
        thumbnails: Sequence[bytes | None] | None = None,
        images: Any = None,  # what was read of them, for audits of the same data
        repeat: Callable[[AuditData, int], AuditResult] | None = None,
        data: AuditData | None = None,
    ) -> None:
        self.candidates = candidates
        self.membership = membership
        self.samples = samples
        self.traits = dict(traits)
        self.rules = dict(rules)
        self.explanations = dict(explanations or {})
        self._verdicts = dict(verdicts or {})
        self.user_verdicts = {"slices": {}, "samples": {}, **(user_verdicts or {})}
        self.user_edits = {"names": {}, "hidden": [], **(user_edits or {})}
        self.detectable = detectable
        self.quarantine = quarantine
        self.data_summary = dict(data_summary)
        self.settings = dict(settings)
        self.warnings = list(warnings)
        self._thumbnails = self._keep_thumbnails(thumbnails)
        self._repeat = repeat
        self._data = data
        self._images = images
        self._saved_columns: list[Any] = []  # metadata in bins, of a result without data; see widgets/_saved.py
        self._tested: Any = None  # groups that were tested in its widgets; see widgets/_hypotheses.py

    def __getstate__(self) -> dict[str, Any]:
        # A copy in another process has the findings, as a saved file has, but not the cases.
        return {**vars(self), "_repeat": None, "_data": None, "_images": None, "_tested": None}

    @property
    def findings(self) -> pd.DataFrame:
        """The confirmed candidates; every number is of the confirmation samples unless its name says discovery."""
        return self.candidates[self.candidates["confirmed"]].reset_index(drop=True)

    @property
    def verdicts(self) -> pd.DataFrame:
        """What you said in a widget of slices, and of samples: columns of, id, verdict, note; one row each.

        `of` is "slice" or "sample", `verdict` "accept", "reject", "radiologist" (it needs one), or "" for a note alone.
        """
        rows = [
            {"of": part, "id": key, **said}
            for part in ("slice", "sample")
            for key, said in self.user_verdicts.get(f"{part}s", {}).items()
        ]
        return pd.DataFrame(rows, columns=["of", "id", "verdict", "note"], dtype=object)

    @property
    def headline(self) -> str:
        """One sentence: how many candidates were confirmed, on how many patients."""
        n, found = len(self.candidates), int(self.candidates["confirmed"].sum())
        on = f"{self.data_summary['n_confirmation_patients']:,} held-out patients"
        if n == 0:
            return "Nothing found: no group of discovery samples has more errors than the rest."
        if found == 0:
            return f"Nothing confirmed: none of {n} candidate slices holds on {on}."
        n_repeats = int(_repeats(self.candidates).sum())
        new = found - n_repeats
        text = f"{new} of {n} candidate slices {'is' if new == 1 else 'are'} confirmed on {on}"
        if n_repeats:
            text += f", and {n_repeats} more {'that says' if n_repeats == 1 else 'that say'} the same in other words"
        return f"{text}."

    @property
    def detectable_sentence(self) -> str:
        """What this audit could have found, and hence what "nothing found" does not rule out."""
        if self.detectable.empty and self.settings.get("metric", "error_rate") != "error_rate":
            from mmaudit.explain import metric_words

            return f"What gap in {metric_words(self.settings['metric'])} would have been confirmed was not computed."
        if self.detectable["gap"].isna().all():
            return "On these held-out patients no slice could have been confirmed, whatever its gap."
        if len(self.data_summary.get("targets", [])) > 1:
            return self._detectable_of_several()
        name = self.data_summary.get("label_name", "label 1")
        parts = []
        for label, who in ((1, f"among cases with {name}"), (0, "among those without")):
            known = self.detectable[self.detectable["label"] == label].dropna()
            gaps = [f"{100 * r.gap:.0f} points in a slice of {r.n_patients:.0f} patients" for r in known.itertuples()]
            parts.append(f"{who} " + (", ".join(gaps[::2]) if gaps else "none, whatever its size"))
        return (
            "Smallest gaps in the error rate that this audit would have confirmed with 80 % power: "
            + "; ".join(parts)
            + ". Smaller ones can be there unseen."
        )

    def members(self, slice_id: str, *, most: int | None = None) -> pd.DataFrame:
        """Return the members of a slice, strongest first, wrong ones before right ones at equal strength.

        Parameters
        ----------
        slice_id : str
            One of `candidates["slice_id"]`.
        most : int or None
            Rows at most. None: all.

        Returns
        -------
        DataFrame with columns membership, part, y_true, y_proba, wrong, indexed by sample id

        Raises
        ------
        InputError
            If there is no such slice.
        """
        self._check_slice(slice_id)
        strength = self.membership[slice_id].to_numpy()
        inside = np.flatnonzero(strength >= 0.5)
        table = self._samples_of(slice_id).iloc[inside].assign(membership=strength[inside])
        distance = np.abs(table["y_proba"] - table["y_true"]).to_numpy()
        order = np.lexsort((-distance, ~table["wrong"].to_numpy(dtype=bool), -strength[inside].round(2)))[:most]
        return table.iloc[order][["membership", "part", "y_true", "y_proba", "wrong"]]

    def explain(self, slice_id: str) -> Explanation:
        """Return what a slice is, in rules, report terms and members to look at, and whether that holds.

        Each explanation was learned on discovery patients and is measured on the others: how well what it says picks
        the slice, and whether the classifier is worse there.

        Parameters
        ----------
        slice_id : str
            One of `candidates["slice_id"]`.

        Raises
        ------
        InputError
            If there is no such slice, or it was not explained (a result of an earlier version, or of a null control).
        """
        from mmaudit.explain import Explanation

        self._check_slice(slice_id)
        if "parts" not in self.explanations.get(slice_id, {}):
            raise InputError("slice_id", "a slice that was explained", "one that was not", "Audit the data again.")
        return Explanation(slice_id, self.explanations[slice_id])

    def triage(self, slice_id: str) -> pd.DataFrame:
        """Return the members of a slice with a doubtful label or a wrong answer, the most doubtful label first.

        Parameters
        ----------
        slice_id : str
            One of `candidates["slice_id"]`.

        Returns
        -------
        DataFrame indexed by sample id
            `part`, and what `mmaudit.explain.triage` says: `verdict` ("label_error", "model_error", "ambiguous"),
            `score`, `because` and the evidence.

        Raises
        ------
        InputError
            If there is no such slice, or the result holds no verdicts.

        Notes
        -----
        A saved result keeps the 20,000 most doubtful samples of each label.
        """
        self._check_slice(slice_id)
        frame = self._verdict_frame(self.candidates.loc[self.candidates["slice_id"] == slice_id, "target"].iloc[0])
        members = self.membership.index[self.membership[slice_id] >= 0.5]
        frame = frame[frame.index.isin(members) & (frame["verdict"] != "")]
        part = self.samples["part"].reindex(frame.index)
        return frame.assign(part=part)[["part", *frame.columns]].sort_values("score", ascending=False, kind="stable")

    def review_queue(self, *, target: str | None = None, most: int = 50, one_per_patient: bool = True) -> pd.DataFrame:
        """Return the samples that a reader should look at, the one whose label is most likely wrong first.

        Parameters
        ----------
        target : str or None
            One of the labels or classes. None: the only one, or the first.
        most : int
            Samples at most.
        one_per_patient : bool
            Only the first sample of each patient.

        Returns
        -------
        DataFrame indexed by sample id
            See `mmaudit.explain.review_queue`.

        Raises
        ------
        InputError
            An unknown target, or a result that holds no verdicts.
        """
        from mmaudit.explain import review_queue

        return review_queue(self._verdict_frame(target), most=most, one_per_patient=one_per_patient)

    def explore(
        self,
        *,
        data: AuditData | None = None,
        other: Any = None,
        names: Sequence[str] = ("model", "other model"),
        coordinates: Any = None,
    ) -> SliceExplorer:
        """Return a widget of the slices, their images and reports, the metadata and a map, linked.

        Verdicts that you give in it, names that you give to slices and which you hide are kept in this result.

        Parameters
        ----------
        data : AuditData or None
            What was audited. None: what this result holds; a loaded one holds nothing, and shows no images then, and
            of the metadata what was saved.
        other, names, coordinates
            A second model, what the models are called, and where cases lie on the map: see
            `mmaudit.widgets.SliceExplorer`.
        """
        from mmaudit.widgets import SliceExplorer

        return SliceExplorer(self, data=data, other=other, names=names, coordinates=coordinates)

    def save_rules(self, path: str | Path) -> Path:
        """Write the slices that can be said as rules or report terms, as JSON that `mmaudit.apply_rules` runs.

        Parameters
        ----------
        path : path
            Such as "rules.json".

        Raises
        ------
        InputError
            If the folder it is to lie in does not exist.
        """
        from mmaudit.rules import save_rules

        return save_rules(path, self._rules_document())

    def _rules_document(self) -> dict[str, Any]:
        from mmaudit.rules import rules_document, rules_of

        return rules_document(
            rules_of(self.candidates, self.rules, self.explanations),
            data=self._data,
            label=str(self.data_summary.get("label_name", "")),
        )

    def _verdict_frame(self, target: str | None) -> pd.DataFrame:
        if not self._verdicts:
            raise InputError("result", "one with verdicts on its samples", "one without", "Audit the data again.")
        name = next(iter(self._verdicts)) if target is None else target
        if name not in self._verdicts:
            raise InputError("target", f"one of {', '.join(self._verdicts)}", f"{target!r}", "Correct the name.")
        return self._verdicts[name]

    def difference_image(self, slice_id: str, *, data: AuditData | None = None) -> Difference:
        """Return how the mean image of a slice differs from that of the cases it is compared with.

        Images of confirmation patients are laid over each other and averaged, each patient once. The card and the
        report show it from then on.

        Parameters
        ----------
        slice_id : str
            One of `candidates["slice_id"]`.
        data : AuditData or None
            What was audited. None: what this result holds; a loaded one holds nothing.

        Raises
        ------
        InputError
            If there is no such slice, no data, no images, or fewer than 5 held-out patients are in it or outside it:
            the mean of few shows who they are.

        See Also
        --------
        mmaudit.explain.mean_difference
        """
        from mmaudit.explain import mean_difference

        self._check_slice(slice_id)
        data = audited_data(self, data)
        if data.images is None:
            raise InputError("data", "data with images", "data without", "Audit data with images.")
        inside, compared = self._sides(slice_id, data)
        for side in (inside & compared, ~inside & compared):
            if len(pd.unique(data.patient_id[side])) < MIN_PATIENTS:
                raise InputError(
                    "slice_id",
                    f"{MIN_PATIENTS} held-out patients or more in the slice and outside it",
                    "fewer",
                    "Choose a larger slice.",
                )
        found = mean_difference(data, inside & compared, ~inside & compared, patient=data.patient_id)
        self.explanations.setdefault(slice_id, {})["difference"] = found.to_dict()
        return found

    def phrases(
        self, slice_id: str, encoder: Any, phrases: Sequence[str] | None = None, *, data: AuditData | None = None
    ) -> pd.DataFrame:
        """Return phrases in the order in which they tell the images of a slice from their counterexamples.

        Images are those of confirmation patients. A counterexample is the most similar image outside the slice, of the
        same label, that the classifier got right.

        Parameters
        ----------
        slice_id : str
            One of `candidates["slice_id"]`.
        encoder : encoder of images and texts in one space
            Such as `mmaudit.encoders.OpenCLIPEncoder`.
        phrases : sequence of str or None
            Candidates. None: the terms that set the slice apart in the reports.
        data : AuditData or None
            What was audited. None: what this result holds; a loaded one holds nothing.

        Raises
        ------
        InputError
            If there is no such slice, no data, or there are no phrases.

        See Also
        --------
        mmaudit.explain.rank_phrases
        """
        from mmaudit.explain import rank_phrases
        from mmaudit.explain._tokens import IN_REASON

        self._check_slice(slice_id)
        if phrases is None:
            terms = self.explain(slice_id).terms(status="affirmed")["term"]
            phrases = [term for term in terms if not term.startswith(IN_REASON)]
        data = audited_data(self, data)
        inside, compared = self._sides(slice_id, data)
        k = self.candidates["slice_id"].tolist().index(slice_id)
        target = data.targets(self.settings.get("threshold", 0.5))[comparisons_of(self, data)[k][0]]
        return rank_phrases(encoder, data, inside & compared, phrases, outside=~inside & compared, right=~target.error)

    def _sides(self, slice_id: str, data: AuditData) -> tuple[np.ndarray, np.ndarray]:
        """Return which samples of `data` are members, and which are compared on the confirmation part."""
        k = self.candidates["slice_id"].tolist().index(slice_id)
        of, label = comparisons_of(self, data)[k]
        y = data.targets(self.settings.get("threshold", 0.5))[of].y_true
        place = self.samples.index.astype(str).get_indexer(data.sample_id.astype(str))
        held_out = (self.samples["part"] == "confirmation").to_numpy()[place]
        inside = (self.membership[slice_id] >= 0.5).to_numpy()[place]
        return inside, held_out & (y >= 0 if label is None else y == label)

    def card(self, slice_id: str, *, show_label_terms: bool = False, identifiers: bool = False) -> SliceCard:
        """Return the card of a slice: one sentence, then the facts, as text, HTML and Markdown.

        Parameters
        ----------
        slice_id : str
            One of `candidates["slice_id"]`.
        show_label_terms : bool
            Whether report terms that restate the label are shown, marked, with a warning where the labels were made
            from the reports.
        identifiers : bool
            Whether members have their sample ids; else they are numbered, see `summary`.

        Raises
        ------
        InputError
            If there is no such slice.

        Notes
        -----
        Of a slice whose images were compared with `difference_image`, it shows the difference. It holds thumbnails of
        members: treat it as you treat the data.
        """
        from mmaudit.report import SliceCard

        self._check_slice(slice_id)
        return SliceCard(self.summary(identifiers=identifiers), slice_id, show_label_terms=show_label_terms)

    def summary(self, *, thumbnails: bool = True, identifiers: bool = True) -> dict:
        """Return everything that is shown, as one JSON-able dict: HTML, Markdown, text and JSON are made from it.

        Parameters
        ----------
        thumbnails : bool
            Whether the pictures of the strongest members are in it, as base64 JPEG.
        identifiers : bool
            Whether samples have their ids. Else the k-th of `samples`, counted from 1, is "case k", and who was left
            out before the audit has no name.
        """
        from mmaudit import __version__

        name_of = str if identifiers else self._number_of()
        repeats = _repeats(self.candidates)
        slices = [
            self._slice(row, thumbnails, name_of) | {"repeats": bool(again)}
            for row, again in zip(self.candidates.to_dict("records"), repeats, strict=True)
        ]
        name = self.data_summary.get("name")
        return _plain(
            {
                "schema": SCHEMA,
                "mmaudit_version": __version__,
                "title": f"Audit of {name}" if name else "Audit",
                "headline": self.headline,
                "identifiers": identifiers,
                "findings": [s for s in slices if s["confirmed"] and not s["repeats"]],
                "repeats": [s for s in slices if s["repeats"]],
                "candidates": slices,
                "detectable": self.detectable.to_dict("records"),
                "detectable_sentence": self.detectable_sentence,
                "warnings": self.warnings,
                "quarantine": self.quarantine.assign(
                    sample_id=[name_of(sample) for sample in self.quarantine["sample_id"]]
                ).to_dict("records"),
                "data": self.data_summary,
                "settings": self.settings,
                "thumbnails": {
                    name_of(k): base64.b64encode(v).decode()
                    for k, v in (self._thumbnails if thumbnails else {}).items()
                },
            }
        )

    def to_html(
        self, path: str | Path | None = None, *, show_label_terms: bool = False, identifiers: bool = False
    ) -> str:
        """Return the report as one self-contained HTML page, and write it to `path` if given.

        Report terms that restate the label are left out unless asked for, and marked then. The page holds thumbnails
        of the strongest members: treat it as you treat the data. Sample ids are in it only with `identifiers`; else
        samples are numbered in the order of the data, see `summary`.
        """
        from mmaudit.report import render_html

        page = render_html(self.summary(identifiers=identifiers), show_label_terms=show_label_terms)
        if path is not None:
            _write_text(Path(path), page)
        return page

    def to_text(self) -> str:
        """Return the findings as sentences, for a terminal."""
        from mmaudit.report import render_text

        return render_text(self.summary(thumbnails=False, identifiers=False))

    def model_card(self, path: str | Path | None = None) -> str:
        """Return a section for a model card in Markdown, and write it to `path` if given."""
        from mmaudit.report import render_markdown_card

        card = render_markdown_card(self.summary(thumbnails=False, identifiers=False))
        if path is not None:
            _write_text(Path(path), card)
        return card

    def plot(self, ax=None):
        """Return matplotlib axes with the gap of every candidate and its interval (a forest plot).

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Where to draw. None: a new figure.
        """
        from mmaudit.report import forest_plot

        return forest_plot(self.summary(thumbnails=False), ax=ax)

    def metrics(
        self,
        metrics: Sequence[Any] | str = ("error_rate", "sensitivity", "specificity", "auroc", "brier"),
        *,
        data: AuditData | None = None,
        n_permutations: int = 4999,
        n_bootstraps: int = 1000,
        random_state: Any = 0,
    ) -> pd.DataFrame:
        """Return metrics inside and outside each candidate on the confirmation samples, one row a slice and metric.

        Parameters
        ----------
        metrics : sequence of str, Metric or callable (y_true, y_proba, mask) -> float, or one of them
            Names: "error_rate", "sensitivity", "specificity", "auroc", "brier", "calibration_error". Functions are
            described in `mmaudit.metrics`.
        data : AuditData or None
            What was audited. None: what this result holds; a loaded one holds nothing.
        n_permutations, n_bootstraps : int
            Resamples; at most 999 and 1,000 for metrics that are no means over samples.
        random_state : int, RandomState or None
            Seed. None: another each time.

        Returns
        -------
        DataFrame
            Columns slice_id, metric, inside, outside, gap (inside minus outside), ci_low, ci_high, p_value (of "not
            worse inside"), q_value (Benjamini-Hochberg over all rows), note. All members of a slice within one label
            have that label, so AUROC and calibration error are NaN there, and the note says so.

        Raises
        ------
        InputError
            A name that is not known, or no data.
        """
        data = audited_data(self, data)
        threshold = self.settings.get("threshold", 0.5)
        place = self.samples.index.astype(str).get_indexer(data.sample_id.astype(str))
        held_out = (self.samples["part"] == "confirmation").to_numpy()[place]
        return metric_frame(
            self.membership.to_numpy()[place][held_out] >= 0.5,
            comparisons_of(self, data),
            [target.take(held_out) for target in data.targets(threshold)],
            data.patient_id[held_out],
            slice_ids=self.candidates["slice_id"].tolist(),
            metrics=metrics if isinstance(metrics, Sequence) and not isinstance(metrics, str) else [metrics],
            alpha=self.settings.get("alpha", 0.05),
            n_permutations=n_permutations,
            n_bootstraps=n_bootstraps,
            random_state=random_state,
        )

    def null_control(
        self, n: int = 20, *, data: AuditData | None = None, random_state: Any = 0, progress: bool = False
    ) -> NullControl:
        """Return what the same audit gives where predictions have nothing to do with the cases, `n` times.

        Parameters
        ----------
        n : int from 1 on
            Runs; each takes as long as the audit without its refits.
        data : AuditData or None
            What was audited. None: what this result holds; a loaded one holds nothing.
        random_state : int, RandomState or None
            Seed. None: another each time.
        progress : bool
            Show a progress bar on standard error.

        Raises
        ------
        InputError
            No data, or n below 1.

        See Also
        --------
        mmaudit.null_control.null_control
        """
        data = audited_data(self, data)
        return null_control(
            self, self._repeat or _audit_again(self), data, n, random_state=random_state, progress=progress
        )

    def compare(self, other: Any, *, data: AuditData | None = None, random_state: Any = 0) -> Comparison:
        """Return how a second model does in these slices, paired by patient, on the confirmation samples.

        Parameters
        ----------
        other : AuditData, array of probabilities in the order of the samples, or AuditResult
            The second model's predictions.
        data : AuditData or None
            What was audited. None: what this result holds; a loaded one holds nothing.
        random_state : int, RandomState or None
            Seed. None: another each time.

        Raises
        ------
        InputError
            No data, other labels or another threshold, or no shared confirmation samples.

        See Also
        --------
        mmaudit.compare.compare
        """
        return compare(self, other, data=data, random_state=random_state)

    def save(self, path: str | Path, *, thumbnails: bool = False, metadata: bool = True) -> Path:
        """Write the result as JSON, which `load_result` reads; a large membership goes to a parquet file beside it.

        Parameters
        ----------
        path : path
            Such as "x.mmaudit.json".
        thumbnails : bool
            Whether to save pictures of members too. They are pictures of patients: only on purpose.
        metadata : bool
            Whether to save the first 500 metadata columns, in at most 12 bins or 30 categories each. A
            category that fewer than five patients have is saved as "other", and a bin that fewer than five patients
            are in is joined with its neighbour. What bin or category each sample is in is saved beside its id.

        Returns
        -------
        path of the JSON file

        Raises
        ------
        InputError
            If the folder it is to lie in does not exist.

        Notes
        -----
        Written to temporary names first: if anything fails, an earlier file of that name is as it was. Sample ids are
        saved as text.

        The file also holds, under "page", what a page shows of the audit without a kernel: rows, cards, and, of up to
        100,000 samples, labels, predictions, members and metadata. `load_result` reads only the metadata of it.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise InputError("path", "a path in an existing folder", "one in none", "Make the folder first.")
        large = self.membership.size > INLINE_CELLS
        name = path.name.removesuffix(".json") + ".parquet" if large else None
        self._save(path, name, thumbnails=thumbnails, metadata=metadata)
        return path

    def to_folder(
        self, out: str | Path, *, overwrite: bool = False, metadata: bool = True, identifiers: bool = False
    ) -> Path:
        """Write candidates.csv, findings.csv, membership.parquet, result.json, rules.json and report.html to a folder.

        And verdicts.csv where you gave any, with the ids of samples that you gave one on. All are written to a
        temporary folder first: if anything fails, `out` is as it was.

        Parameters
        ----------
        out : path
            A folder that does not exist or is empty.
        overwrite : bool
            Whether files of an earlier audit in `out` may be replaced.
        metadata : bool
            Whether result.json holds the metadata in bins and categories; see `save`.
        identifiers : bool
            Whether report.html has sample ids; see `to_html`. Of the other files, membership.parquet and result.json
            have them always, since no sample could be found again without.

        Raises
        ------
        InputError
            If `out` cannot be written, or is not empty and `overwrite` is False.
        """
        out = check_folder(out, overwrite=overwrite)
        made = [folder for folder in out.parents if not folder.exists()]
        existed = out.exists()
        staging = temporary_beside(out / "audit" if existed else out)
        try:
            staging.mkdir(parents=True)
            _for_spreadsheets(self.candidates).to_csv(staging / "candidates.csv", index=False)
            _for_spreadsheets(self.findings).to_csv(staging / "findings.csv", index=False)
            if len(self.verdicts):
                _for_spreadsheets(self.verdicts, self.verdicts.columns).to_csv(staging / "verdicts.csv", index=False)
            self._save(staging / "result.json", "membership.parquet", thumbnails=False, metadata=metadata)
            self.save_rules(staging / "rules.json")
            self.to_html(staging / "report.html", identifiers=identifiers)
            if existed:
                for file in sorted(staging.iterdir()):
                    file.replace(out / file.name)
                if self.verdicts.empty:
                    (out / "verdicts.csv").unlink(missing_ok=True)  # those of an earlier audit
            else:
                staging.replace(out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            for folder in made:  # the innermost first; one that is not empty stays
                with contextlib.suppress(OSError):
                    folder.rmdir()
        return out

    def __repr__(self) -> str:
        from mmaudit.report._format import one_line

        new = self.candidates["confirmed"] & ~_repeats(self.candidates)
        return f"AuditResult: {self.headline}\n" + "\n".join(
            f"  {k}. {one_line(text)}" for k, text in enumerate(self.candidates["sentence"][new], start=1)
        )

    def _repr_html_(self) -> str:
        from mmaudit.report import render_notebook

        return render_notebook(self.summary(thumbnails=False, identifiers=False))

    def _samples_of(self, slice_id: str) -> pd.DataFrame:
        """Return part, y_true, y_proba and wrong of the label or class that a slice is about."""
        if "y_true" in self.samples:
            return self.samples
        target = self.candidates.loc[self.candidates["slice_id"] == slice_id, "target"].iloc[0]
        names = {name: of for of, name in sample_columns(target).items()}
        return self.samples[["part", *names]].rename(columns=names)

    def _detectable_of_several(self) -> str:
        """Return the detectable gaps of several labels or classes, at one slice size."""
        share = 0.2
        parts = []
        for target, rows in self.detectable.groupby("target", sort=False):
            words = []
            for label, who in ((1, "with it"), (0, "without")):
                gap = rows.loc[(rows["label"] == label) & np.isclose(rows["share"], share), "gap"].dropna()
                words.append(f"{100 * gap.iloc[0]:.0f} points {who}" if len(gap) else f"none {who}")
            parts.append(f"{target} {', '.join(words)}")
        more = len(parts) - TARGETS_SAID
        said = "; ".join(parts[:TARGETS_SAID]) + (f"; and {more} more" if more > 0 else "")
        return (
            f"Smallest gaps in the error rate that this audit would have confirmed with 80 % power, in a slice of "
            f"{100 * share:.0f} % of the patients with a label or class, or of those without: {said}. Smaller ones can "
            "be there unseen."
        )

    def _number_of(self) -> Callable[[Any], str]:
        """Return what names a sample by its place among the samples, counted from 1."""
        place = {name: k for k, name in enumerate(self.samples.index.astype(str), start=1)}
        return lambda sample: f"case {place[str(sample)]}" if str(sample) in place else ""

    def _slice(self, row: dict, thumbnails: bool, name_of: Callable[[Any], str]) -> dict:
        slice_id = row["slice_id"]
        shown = self.members(slice_id, most=MEMBERS_SHOWN)
        pictures = self._thumbnails if thumbnails else {}
        members = [
            {
                "sample_id": name_of(sample),
                "y_true": m["y_true"],
                "y_proba": m["y_proba"],
                "wrong": m["wrong"],
                "part": m["part"],
                "membership": m["membership"],
                "thumbnail": base64.b64encode(pictures[sample]).decode() if pictures.get(sample) else None,
            }
            for sample, m in zip(shown.index, shown.to_dict("records"), strict=True)
        ]
        return row | {
            "traits": self.traits.get(slice_id, []),
            "traits_part": "discovery",
            "explanation": self._explanation(slice_id, thumbnails, name_of),
            "members": members,
            "user_verdict": self._user_verdict(slice_id),
        }

    def _user_verdict(self, slice_id: str) -> dict[str, str] | None:
        """Return what the user said of a slice, in words."""
        said = self.user_verdicts.get("slices", {}).get(slice_id)
        if said is None:
            return None
        return {"words": USER_VERDICTS.get(said["verdict"], ""), "note": said["note"]}

    def _keep_thumbnails(self, thumbnails) -> dict[Any, bytes]:
        if thumbnails is None:
            return {}
        position = pd.Series(np.arange(len(self.samples)), index=self.samples.index)
        kept = {}
        for slice_id in self.candidates["slice_id"]:
            for sample in [*self.members(slice_id, most=MEMBERS_SHOWN).index, *self._named(slice_id)]:
                picture = thumbnails[int(position[sample])]
                if picture is not None:
                    kept[sample] = picture
        return kept

    def _explanation(self, slice_id: str, pictures: bool, name_of: Callable[[Any], str]) -> dict | None:
        content = self.explanations.get(slice_id)
        if content is None:
            return None
        shown = {name: value for name, value in content.items() if pictures or name != "difference"}
        if "members" in shown:
            shown["members"] = {
                kind: [[name_of(i) for i in one] if isinstance(one, (list, tuple)) else name_of(one) for one in ids]
                for kind, ids in shown["members"].items()
            }
        return shown

    def _check_slice(self, slice_id: Any) -> None:
        if slice_id not in self.membership.columns:
            raise InputError("slice_id", "one of result.candidates['slice_id']", f"{slice_id!r}", "Check its spelling.")

    def _named(self, slice_id: str) -> list[Any]:
        """Return the ids that the explanation of a slice names, as they are in the data."""
        members = self.explanations.get(slice_id, {}).get("members", {})
        pairs = [i for pair in members.get("counterexamples", []) for i in pair]
        own = {str(i): i for i in self.samples.index}
        return [own[i] for i in dict.fromkeys([*members.get("typical", []), *pairs]) if i in own]

    def _save(self, path: Path, membership_name: str | None, *, thumbnails: bool, metadata: bool) -> None:
        from mmaudit.widgets._saved import page_of

        table = self.samples.join(self.membership)
        table.index = table.index.astype(str)
        table.index.name = "sample_id"
        table = table.reset_index()
        summary = self.summary(thumbnails=False)
        document = {
            "schema": SCHEMA,
            "kind": "mmaudit.AuditResult",
            "summary": summary,
            "candidates": self.candidates.to_dict("records"),
            "candidate_columns": self.candidates.columns.tolist(),
            "rules": self.rules,
            "verdicts": {name: _doubtful(frame) for name, frame in self._verdicts.items()},
            "user_verdicts": self.user_verdicts,
            "user_edits": self.user_edits,
            "thumbnails": {str(k): base64.b64encode(v).decode() for k, v in self._thumbnails.items()}
            if thumbnails
            else {},
        }
        if membership_name is None:
            document["samples"] = table.to_dict("list")
        else:
            document["membership_file"] = membership_name
        document = _plain(document) | {"page": page_of(self, summary=summary, metadata=metadata)}
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        with contextlib.ExitStack() as written:  # both files take their names only when both are whole
            if membership_name is not None:
                partial = written.enter_context(replacing(path.with_name(membership_name)))
                table.to_parquet(partial, index=False)
            written.enter_context(replacing(path)).write_text(text, encoding="utf-8")


def sample_columns(target: str | None) -> dict[str, str]:
    """Return the columns of `AuditResult.samples` that y_true, y_proba and wrong of a target are in.

    Parameters
    ----------
    target : str or None
        Name of one of several labels or classes. None: there is only one.
    """
    return {name: name if target is None else f"{name}:{target}" for name in SAMPLE_COLUMNS}


def _audit_again(result: AuditResult) -> Callable[[AuditData, int], AuditResult]:
    """Return what `null_control` needs of a loaded result: the audit with the settings that were saved."""
    from mmaudit._audit import audit
    from mmaudit.metrics import METRICS

    names = ("modalities", "n_slices", "alpha", "threshold", "metric", "fraction", "n_permutations")
    settings = {name: result.settings[name] for name in names if name in result.settings}
    if settings.get("metric", "error_rate") not in METRICS:
        raise InputError(
            "result",
            "an audit whose metric has a name",
            "a loaded one that compared a function",
            "Audit the data again.",
        )
    embedded = sorted(result.data_summary.get("encoders") or {})

    def again(data: AuditData, seed: int) -> AuditResult:
        missing = [modality for modality in embedded if modality not in data.embeddings]
        if missing:
            raise InputError(
                "data",
                f"the embeddings that the audit had of {' and '.join(missing)}s",
                "data without",
                "Encode them again: data.with_embeddings({...: encoder.encode(data, ...)}).",
            )
        return audit(data, **settings, n_refits=0, random_state=seed)

    return again


def _repeats(candidates: pd.DataFrame) -> pd.Series:
    """Return which candidates are confirmed, but have most of their errors in confirmed ones with better ranks."""
    return candidates["confirmed"] & (candidates["already_told"] >= REPEATS)


def candidate_frame(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = (*COLUMNS, *MORE_COLUMNS)
) -> pd.DataFrame:
    """Return candidates as a frame of fixed types: counts int64, other numbers float64, `confirmed` bool, text.

    Parameters
    ----------
    rows : sequence of mapping
        One a slice; None stands for NaN.
    columns : sequence of str
        Columns in their order.
    """
    frame = pd.DataFrame(list(rows), columns=list(columns))
    kinds = {
        c: "bool" if c == "confirmed" else "int64" if c.endswith(("n_samples", "n_patients")) else "float64"
        for c in frame.columns
        if c not in _TEXT_COLUMNS
    }
    return frame.astype(kinds)


def load_result(path: str | Path) -> AuditResult:
    """Return the result that `AuditResult.save` or `mmaudit audit` wrote.

    Parameters
    ----------
    path : path
        The JSON file; a membership file that it names must lie beside it.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another kind or version, or names a membership file that is missing or
        lies elsewhere. Nothing in it is executed.

    Notes
    -----
    Sample ids are text in the loaded result, whatever they were before. Metadata that were saved are shown by
    `explore()`, and saved again.
    """
    path = Path(path)
    if not os.path.isfile(path):  # noqa: PTH113  a name too long is no file, where a Path raises
        raise InputError("path", "a saved audit", "a path at which there is no file", "Check the path.")
    try:
        document = _json_of(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or document.get("kind") != "mmaudit.AuditResult":
            raise InputError("path", "a saved audit", "a file of another kind", "Give the file that save() wrote.")
        schema = document.get("schema")
        if isinstance(schema, int) and schema < SCHEMA:
            raise InputError("path", f"a file of version {SCHEMA}", f"version {schema}", "Run the audit again.")
        if schema != SCHEMA:
            raise InputError("path", f"a file of version {SCHEMA}", "another version", "Install a later mmaudit.")
        table = _load_samples(path, document)
        summary = document["summary"]
        columns = document["candidate_columns"]
        candidates = candidate_frame(document["candidates"], columns)
        texts = candidates[list(_TEXT_COLUMNS)]  # one that is missing is missed here
        if len(set(columns)) < len(columns) or not texts.map(lambda text: isinstance(text, str)).all(axis=None):
            raise ValueError
        ids = texts["slice_id"].tolist()
        table = table.set_index("sample_id")
        targets = [target["name"] for target in summary["data"].get("targets", [])]
        several = len(targets) > 1
        kinds: dict[str, Any] = {}
        for target in targets if several else [None]:
            kinds |= dict(zip(sample_columns(target).values(), (np.int8, np.float64, bool), strict=True))
        result = AuditResult(
            candidates=candidates,
            membership=pd.DataFrame(table[ids].to_numpy(np.float32), index=table.index, columns=ids),
            samples=table[["part", *kinds]].astype(kinds),
            traits={s["slice_id"]: s["traits"] for s in summary["candidates"]},
            rules=document["rules"],
            explanations={s["slice_id"]: s["explanation"] for s in summary["candidates"] if s.get("explanation")},
            verdicts={name: _verdicts_of(kept) for name, kept in document.get("verdicts", {}).items()},
            user_verdicts=_checked_verdicts(document.get("user_verdicts", {}), slices=ids, samples=table.index),
            user_edits=_checked_edits(document.get("user_edits", {}), ids),
            detectable=pd.DataFrame(summary["detectable"], columns=list(DETECTABLE_COLUMNS)).astype(
                {"n_patients": np.int64, "share": np.float64, "gap": np.float64}
            ),
            quarantine=pd.DataFrame(
                [{"sample_id": str(q["sample_id"]), "reason": q["reason"]} for q in summary["quarantine"]],
                columns=["sample_id", "reason"],
            ),
            data_summary=summary["data"],
            settings=summary["settings"],
            warnings=summary["warnings"],
        )
        result._thumbnails = {k: base64.b64decode(v, validate=True) for k, v in document["thumbnails"].items()}
        if not all(isinstance(row["confirmed"], bool) for row in document["candidates"]):
            raise ValueError  # "no" would count as true
        if len(set(ids)) < len(ids) or not ((result.membership >= 0) & (result.membership <= 1)).all(axis=None):
            raise ValueError
        truths = result.samples[[column for column in kinds if column.startswith("y_true")]]
        may_be_unknown = summary["data"].get("kind") == "multilabel"
        if not truths.isin((-1, 0, 1) if may_be_unknown else (0, 1)).all(axis=None):
            raise ValueError
        result.summary()  # what is missing is missed here, not when it is to be shown
        if "page" in document:
            from mmaudit.widgets._saved import columns_of

            result._saved_columns = columns_of(document["page"], result)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError) as error:
        raise InputError(
            "path", "a whole saved audit", f"a damaged file ({type(error).__name__})", "Save the audit again."
        ) from None
    return result


def _json_of(text: str) -> Any:
    """Return what a text of JSON says; half a character, which no file can hold, becomes "?"."""
    document = json.loads(text)
    if "\\u" not in text:  # as `save` writes it
        return document
    return json.loads(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))


def check_folder(out: str | Path, *, overwrite: bool) -> Path:
    """Return the folder as a path if an audit can be written there, before any work is done; else raise InputError."""
    out = Path(out).expanduser().absolute()
    if out.exists() and not out.is_dir():
        raise InputError("out", "a folder", "a file of that name", "Choose another folder.")
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(
            "out", "a new or empty folder", "one with files in it", "Choose another, or allow overwriting."
        )
    there = out
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(
            "out", "a folder that can be written", f"one that cannot ({error.strerror})", "Choose another folder."
        ) from None
    return out


def _load_samples(path: Path, document: dict) -> pd.DataFrame:
    if "membership_file" not in document:
        return pd.DataFrame(document["samples"])
    name = str(document["membership_file"])
    if Path(name).name != name or not name.endswith(".parquet"):
        raise InputError(
            "path", "a membership file beside it", "a name that leads elsewhere", "Do not trust this file."
        )
    if not path.with_name(name).is_file():
        raise InputError("path", f"the file {name} beside it", "none", "Copy both files together.")
    return read_parquet(path.with_name(name))


def _for_spreadsheets(frame: pd.DataFrame, columns: Iterable[str] = _TEXT_COLUMNS) -> pd.DataFrame:
    """Return the frame with an apostrophe before each text and name that a spreadsheet would run as a formula.

    Texts begin with names of columns and words of reports, which somebody else may have chosen.
    """
    return frame.assign(**{c: frame[c].map(_no_formula) for c in columns if c in frame}).rename(columns=_no_formula)


def _no_formula(text: Any) -> Any:
    """Return a text with an apostrophe before it if a spreadsheet would run it.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{text}" if isinstance(text, str) and text.startswith(FORMULA_MARKS) else text


def _doubtful(frame: pd.DataFrame) -> dict[str, Any]:
    """Return what is kept of the verdicts on samples: the doubtful ones."""
    kept = frame[frame["verdict"] != ""].sort_values("score", ascending=False, kind="stable").head(MOST_VERDICTS)
    # Which samples are of one patient is needed, who that is is not.
    kept = kept.assign(sample_id=kept.index.astype(str), patient_id=pd.factorize(kept["patient_id"])[0])
    return {"attrs": dict(frame.attrs), "rows": kept.to_dict("list")}


def _verdicts_of(kept: Mapping[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame(kept["rows"]).set_index("sample_id")
    if not frame["patient_id"].map(lambda patient: isinstance(patient, int)).all():
        raise ValueError
    numbers = {"score": float, "second_opinion": float, "y_proba": float, "wrong": bool}
    frame = frame.astype({"verdict": object, "patient_id": object, **numbers})
    frame.attrs = dict(kept["attrs"])
    return frame


def _checked_verdicts(given: Any, **known: Iterable[str]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the user's verdicts of a saved result; what no widget can have written is a ValueError."""
    if not set(given) <= set(known):
        raise ValueError
    checked: dict[str, dict[str, dict[str, str]]] = {}
    for part, keys in known.items():
        there = set(keys)
        checked[part] = {}
        for key, said in given.get(part, {}).items():
            verdict, note = said["verdict"], said["note"]
            fits = isinstance(note, str) and len(note) <= MOST_OF_A_NOTE and verdict in ("", *USER_VERDICTS)
            if key not in there or not fits:
                raise ValueError
            checked[part][key] = {"verdict": verdict, "note": note}
    return checked


def _checked_edits(given: Any, slices: Iterable[str]) -> dict[str, Any]:
    """Return the user's names and hidden slices of a saved result; what no widget can have written is a ValueError."""
    if not set(given) <= {"names", "hidden"}:
        raise ValueError
    names, hidden, there = dict(given.get("names", {})), given.get("hidden", []), set(slices)
    named = all(isinstance(name, str) and 0 < len(name) <= MOST_OF_A_NAME for name in names.values())
    if not named or not isinstance(hidden, list) or len(set(hidden)) < len(hidden) or not {*names, *hidden} <= there:
        raise ValueError
    return {"names": names, "hidden": hidden}


def _plain(value: Any) -> Any:
    """Return the value with plain Python types only, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
