"""Everything that is known of the slices of an audit, linked in the browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmaudit._errors import check_keywords
from mmaudit.widgets._base import AuditWidget, sheet
from mmaudit.widgets._bundle import packed
from mmaudit.widgets._columns import check_coordinates

if TYPE_CHECKING:
    from mmaudit.data import AuditData
    from mmaudit.result import AuditResult

__all__ = ["SliceExplorer"]


class SliceExplorer(AuditWidget):
    """Slices, images, reports, metadata and a map, linked.

    Choose a slice, and the grid shows its images, the bars how its metadata differ from the rest, the map where it
    lies. Filter by metadata or words of the report, select on the map or among the images, and test the selection.
    All of it goes on in the page when the kernel is busy, but for pictures and reports that were not yet looked at.

    Parameters
    ----------
    result : AuditResult
    data : AuditData or None
        The data that were audited. None: those the result holds; a loaded one holds none, and shows its table alone.
    other : AuditData, array of probabilities in the order of `data`, or None
        A second model's predictions for the same cases, to be looked at beside the first. None: one model.
    names : sequence of two str
        What the models are called.
    coordinates : array of shape (n_samples, 2), or None
        Places of the cases on the map, rows in the order of `result.samples`, any unit. None: two principal components
        of the embeddings of the data, else of the words of the reports, else of the metadata; made when the map is
        first looked at, and the same for the same data.

    Attributes
    ----------
    selected_slice, selected_ids, verdicts, image_verdicts
        As in `ExplanationTable`.

    Raises
    ------
    InputError
        Data or coordinates of other samples.
    UnknownKeywordError
        A keyword this widget does not have.

    Notes
    -----
    "Test this selection" judges the selected cases as `test_hypothesis` judges a guess: on the patients that the audit
    held out, within each label that has at least five of them inside, and with all groups tested before on this result,
    in whichever widget, and all candidates of the audit, in the correction. At most 15 groups. A test that is taken
    back stays counted. The q-values of the audit's own slices stay those of the audit, which count no groups. The name
    of a group is kept in a saved notebook: name no patient in it. A group that was chosen by looking at predictions, by
    errors on the map say, has a gap by construction, and its p-value means nothing: choose by metadata, words or the
    look of the images, as you would choose before there were predictions. Groups live as long as the result in memory,
    and are not saved with it; keep `hypotheses`, or test them again with `test_hypothesis`.

    Examples
    --------
    >>> import mmaudit as mma
    >>> data = mma.datasets.load_phantom(60, image_size=112)
    >>> result = mma.audit(data, n_refits=0, n_permutations=99)
    >>> explorer = mma.widgets.SliceExplorer(result)
    >>> explorer.selected_slice = "s01"
    """

    _esm = packed("explorer.js")
    _css = sheet("table.css", "grid.css", "viewer.css", "explorer.css")

    @check_keywords
    def __init__(
        self,
        result: AuditResult,
        *,
        data: AuditData | None = None,
        other: Any = None,
        names: Sequence[str] = ("model", "other model"),
        coordinates: Any = None,
    ) -> None:
        super().__init__(result, data, other=other, names=names)
        self.coordinates = None if coordinates is None else check_coordinates(coordinates, self.cases.n)

    @property
    def hypotheses(self) -> pd.DataFrame:
        """The groups that were tested beside this audit, those taken back too: as `result.candidates`, one row a label.

        With columns `name`, `origin` ("hypothesis" for a selection, "merge", "split") and `parents` besides. Numbers
        and q-values are those of the last test, in which all groups were corrected together.
        """
        return self.tested.frame()

    def link(self, scatter: Any) -> Callable[[], None]:
        """Link the selection with that of a scatter plot of jupyter-scatter, both ways.

        Parameters
        ----------
        scatter : jscatter.Scatter
            Its points are the samples, in the order of `result.samples`.

        Returns
        -------
        callable
            Ends the link.

        Raises
        ------
        TypeError
            An object without the widget of a `jscatter.Scatter`.

        Notes
        -----
        The two widgets send their selections in different forms, so the link runs in the kernel, and waits while it is
        busy. The explorer's own map is linked in the browser.
        """
        widget = getattr(scatter, "widget", scatter)
        if not (hasattr(widget, "observe") and widget.has_trait("selection")):
            raise TypeError(
                f"scatter: expected a jscatter.Scatter, got {type(scatter).__name__}. Give the object that was plotted."
            )

        def here(change: Any) -> None:
            given = change["new"]
            positions = np.asarray([] if given is None else given).ravel()
            now = positions[(positions >= 0) & (positions < self.cases.n)].astype("<u4").tobytes()
            if set(np.frombuffer(self._selected, "<u4")) != set(np.frombuffer(now, "<u4")):
                self._selected = now

        def there(_change: Any = None) -> None:
            positions = np.frombuffer(self._selected, "<u4").astype(np.uint32)
            before = widget.selection
            if before is None or set(np.asarray(before).ravel().tolist()) != set(positions.tolist()):
                widget.selection = positions

        def end() -> None:
            widget.unobserve(here, "selection")
            self.unobserve(there, "_selected")

        if len(self._selected):
            there()
        widget.observe(here, "selection")
        self.observe(there, "_selected")
        return end
