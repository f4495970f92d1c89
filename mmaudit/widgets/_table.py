"""Slices, ranked, one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit.result import AuditResult
from mmaudit.widgets._base import AuditWidget, sheet
from mmaudit.widgets._bundle import packed
from mmaudit.widgets._rows import SORTS, frame

if TYPE_CHECKING:
    from mmaudit.data import AuditData

__all__ = ["ExplanationTable"]


class ExplanationTable(AuditWidget):
    """Slices of an audit, one row each: sort, filter, read, rename, hide, merge and split them, and say what you think.

    Parameters
    ----------
    result : AuditResult
        What `audit` or `load_result` returned.
    data : AuditData or None
        The data that were audited, to test merged and split slices on. None: those that the result holds; a loaded
        one holds none.
    sort : {"rank", "gap", "size", "q", "stability"}
        What the rows are sorted by. "rank" is that of the search; "size" the number of confirmation patients.
    ascending : bool or None
        Whether the least comes first. None: what is most worth a look (best rank, largest gap, most patients, lowest
        q, highest stability).
    text : str
        Only rows in which each of these words occurs, in name, sentence, rule or terms, in lower or upper case.
    kinds : sequence of str
        Only rows of these types of error, such as ("false_negative",). Empty: all.
    confirmed : bool
        Only confirmed slices.

    Attributes
    ----------
    selected_slice : str
        Id of the row that is selected, "" for none. It can be set and observed, as those below.
    selected_ids : list
        Ids of selected samples, by which a slice can be split.
    verdicts : dict of slice_id to dict
        {"verdict": "accept", "reject" or "radiologist", "note": str}.

    Raises
    ------
    TypeError
        `result` is no AuditResult, or a keyword is not known.
    InputError
        A `sort` or a type of error that is not known.

    See Also
    --------
    SliceExplorer : the table, linked with images, reports and metadata.

    Notes
    -----
    All numbers of a row are of the confirmation patients, except stability. Sorting, names and verdicts change no
    number. What is merged or split is a guess of the user: it is tested on the confirmation patients, and counts in
    the correction with the slices of the audit and with all groups tested beside it before, taken back or not.

    Sentences, terms and names that the user gave are kept in a notebook that saves the state of its widgets. Notes,
    ids of samples, reports and pictures are not.

    Examples
    --------
    >>> import mmaudit as mma
    >>> from mmaudit.widgets import ExplanationTable
    >>> result = mma.audit(mma.datasets.load_phantom(200, image_size=64), n_refits=0)  # doctest: +SKIP
    >>> table = ExplanationTable(result, sort="gap", confirmed=True)  # doctest: +SKIP
    >>> table.frame()[["name", "gap", "verdict"]]  # doctest: +SKIP
    """

    _esm = packed("table.js")
    _css = sheet("table.css")

    @check_keywords
    def __init__(
        self,
        result: AuditResult,
        *,
        data: AuditData | None = None,
        sort: str = "rank",
        ascending: bool | None = None,
        text: str = "",
        kinds: Sequence[str] = (),
        confirmed: bool = False,
    ) -> None:
        if not isinstance(result, AuditResult):
            raise TypeError(
                f"result: expected an AuditResult, got {type(result).__name__}. Give what audit() returned."
            )
        if sort not in SORTS:
            raise InputError("sort", f"one of {', '.join(SORTS)}", f"{sort!r}", f"Correct it.{nearest(sort, SORTS)}")
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        known = sorted(set(result.candidates["error_type"]))
        unknown = [kind for kind in kinds if kind not in known]
        if unknown and known:
            raise InputError(
                "kinds", f"some of {', '.join(known)}, which the slices have", f"{unknown[0]!r}",
                f"Leave it out.{nearest(str(unknown[0]), known)}",
            )  # fmt: skip
        up = SORTS[sort][1] if ascending is None else bool(ascending)
        table = {"sort": sort, "ascending": up, "text": text, "kinds": kinds, "confirmed": bool(confirmed)}
        super().__init__(result, data, _table=table)

    def frame(self) -> pd.DataFrame:
        """Return what the table shows: its rows in their order, without those that are filtered out or hidden.

        Returns
        -------
        DataFrame
            `slice_id`; `name`, the user's where there is one; `description`; `origin` ("discovery", "merge" or
            "split"); `error_type`, `modality`, `n_patients`, `gap`, `ci_low`, `ci_high`, `q_value`, `stability`,
            `confirmed`, `repeats` as in `result.candidates`; `hidden`, True in hidden rows that are shown;
            `verdict`, `note`.
        """
        return frame(self)
