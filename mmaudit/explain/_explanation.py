"""What an explanation is to who asks for it: tables to work with, and lines to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mmaudit._errors import InputError
from mmaudit.explain._tokens import STATUSES, TERM_COLUMNS

__all__ = ["Explanation"]

PART_COLUMNS = (
    *("kind", "text", "holds", "because", "precision", "recall", "f1", "f1_low", "f1_high", "n_samples", "n_patients"),
    *("gap", "ci_low", "ci_high", "p_value", "q_value", "discovery_precision", "discovery_recall", "discovery_f1"),
)


class Explanation:
    """What a slice is, in several ways, each measured on held-out patients. `AuditResult.explain` gives it.

    Parameters
    ----------
    slice_id : str
    content : mapping
        As in `AuditResult.explanations`.

    Attributes
    ----------
    slice_id : str
    status : {"explained", "not explained", "not confirmed"}
        "explained": the slice is a finding, and an explanation in words holds.
    sentence : str
        The best explanation in words that holds, beside the rule that the slice was found as; "" where none does.
    leakage : str
        A warning where the labels were made from the reports; else "".
    """

    def __init__(self, slice_id: str, content: Mapping[str, Any]) -> None:
        self.slice_id = slice_id
        self._content = dict(content)
        self.status: str = content.get("status", "not confirmed")
        self.sentence: str = content.get("sentence", "")
        self.leakage: str = content.get("leakage", "")

    @property
    def parts(self) -> pd.DataFrame:
        """Each explanation, one row, with how well it picks the slice and the gap in what it picks.

        Columns `kind` ("rule", "metadata", "terms", "phrase", "image"), `text`, `holds`, `because` (why not);
        `precision`, `recall`, `f1`, `n_samples`, `n_patients` and `gap` with intervals, on confirmation patients; and
        `discovery_precision`, `discovery_recall`, `discovery_f1`.
        """
        rows = []
        for part in self._content.get("parts", []):
            learned = {f"discovery_{name}": value for name, value in (part.get("discovery") or {}).items()}
            rows.append({**part, **(part.get("confirmation") or {}), **learned})
        frame = pd.DataFrame(rows, columns=list(PART_COLUMNS))
        numbers = [c for c in PART_COLUMNS if c not in ("kind", "text", "holds", "because")]
        return frame.astype({c: float for c in numbers if not c.startswith("n_")})

    def terms(self, *, status: str | None = None, show_label_terms: bool = False) -> pd.DataFrame:
        """Return the report terms that set the slice apart in discovery, as `contrast_terms` describes them.

        Parameters
        ----------
        status : {"affirmed", "uncertain", "negated"} or None
            Only mentions of that kind. None: affirmed and uncertain ones; negated mentions explain nothing.
        show_label_terms : bool
            Whether terms that restate the label are in it.

        Raises
        ------
        InputError
            A status that is not known.
        """
        if status is not None and status not in STATUSES:
            raise InputError("status", f"one of {', '.join(STATUSES)}, or None", f"{status!r}", "Leave it out.")
        frame = pd.DataFrame(self._content.get("terms", []), columns=list(TERM_COLUMNS))
        keep = frame["status"] == status if status else frame["status"] != "negated"
        if not show_label_terms:
            keep &= ~frame["label_term"].astype(bool)
        return frame[keep].reset_index(drop=True)

    @property
    def members(self) -> dict[str, list]:
        """Ids, as text: the `strongest` members, `typical` ones, and `counterexamples` as (member, other) pairs.

        A counterexample has the label of the member and looks or reads most like it, lies outside the slice, and the
        classifier got it right.
        """
        return {name: list(ids) for name, ids in self._content.get("members", {}).items()}

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as a JSON-able dict."""
        return dict(self._content)

    def __repr__(self) -> str:
        lines = [f"Explanation of {self.slice_id}: {self.status}"]
        for row in self.parts.to_dict("records"):
            mark = "" if row["holds"] else "[does not hold] "
            lines.append(f"  {mark}{row['kind']}: {row['text']} (F1 {row['f1']:.2f})")
            if not row["holds"]:
                lines.append(f"    {row['because']}")
        named = self.terms()
        named = named[named["explains"].astype(bool)]
        if len(named):
            told = [f"{t.term} ({100 * t.share_inside:.0f} % against {100 * t.share_outside:.0f} %)"
                    for t in named.head(3).itertuples()]  # fmt: skip
            lines.append(f"  more often in the reports: {', '.join(told)}")
        for text in (sampled_in_words(self._content.get("sampled")), self.leakage):
            if text:
                lines.append(f"  {text}")
        return "\n".join(lines)


def sampled_in_words(sampled: Any) -> str:
    """Return on how many of the cases an explanation was learned and measured; "" where that was all of them."""
    try:
        n, of, share = sampled["n_patients"], sampled["of_patients"], sampled["standard_error"]
        text = f"Learned and measured on {n:,} of {of:,} patients, drawn at random"
        text += f": a share among the held-out ones is off by {100 * share:.1f} points (standard error) at most."
        members = sampled["members"]
        n_in, of_in = members["n_patients"], members["of_patients"]
        few = f" Of held-out patients with members only {n_in:,} of {of_in:,} are there."
        return text + (few if members["few"] else "")
    except (TypeError, KeyError, ValueError, OverflowError):  # none, or one that was damaged
        return ""
