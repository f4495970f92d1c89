"""The images of a slice, or of any selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit.data import AuditData
from mmaudit.widgets._base import AuditWidget, sheet
from mmaudit.widgets._bundle import packed

if TYPE_CHECKING:
    from mmaudit.result import AuditResult

__all__ = ["SliceGrid", "check_grid"]

SHOW = ("members", "errors", "counterexamples", "all")
TILE_PX = (64, 384)


class SliceGrid(AuditWidget):
    """Images of a slice, or of any selection, as many as there are.

    Parameters
    ----------
    source : AuditResult or AuditData
        What an audit returned; or data, whose cases are then shown without slices.
    data : AuditData or None
        The data that were audited. None: those that the result still knows. A result that was loaded from a file knows
        none, and shows the few thumbnails that it keeps.
    slice_id : str
        The slice to begin with, one of `result.candidates["slice_id"]`. "": the first confirmed one, where there is
        one and no `ids` are given.
    ids : sequence of sample ids, or None
        Show these cases alone, in this order where no slice is chosen. None: all cases.
    show : {"members", "errors", "counterexamples", "all"}
        Members of the slice, the strongest first; those that the model is wrong about; each member beside the case
        most like it that is outside the slice, of another patient, and that the model is right about; or all cases.
        Without a slice, "members" and "counterexamples" are all cases.
    beside : str
        Id of a slice to show beside the first one. "": none.
    other : AuditData, array of probabilities in the order of `data`, or None
        Predictions of a second model for the same cases. The page can then show both, side by side, scrolled together.
    names : sequence of two str
        What the models are called.
    tile_px : int
        Side of a picture on the page, 64 to 384.

    Attributes
    ----------
    show, beside, tile_px, side_by_side
        As above, and whether both models are shown; each can be set while the widget is shown.
    selected_slice, selected_ids, verdicts, image_verdicts
        See `AuditWidget`; each can be set, and be observed with `observe`.

    Raises
    ------
    InputError
        No such slice, ids that no case has, a word that is none of `show`, a size out of range, a second model of
        other cases.
    TypeError
        An unknown keyword.

    Notes
    -----
    Only the pictures in the window travel to the page, as they are needed. Which cases are alike is told by the
    embeddings of the data; without any, the few pairs of the slice's explanation are shown.

    Every tile says in words, to those who listen, what it shows by shape: the label (a disc, full for 1), the
    probability, whether the model is wrong (a triangle), membership (a bar), the part (D or C), and your verdict.

    Examples
    --------
    >>> import mmaudit as mma
    >>> data = mma.datasets.load_phantom(4, image_size=64, cache=False)
    >>> grid = mma.widgets.SliceGrid(data, ids=data.sample_id[:3])
    >>> grid.tile_px = 128
    >>> grid.tile_px
    128
    """

    _esm = packed("grid.js")
    _css = sheet("grid.css", "viewer.css")

    @check_keywords
    def __init__(
        self,
        source: AuditResult | AuditData,
        *,
        data: AuditData | None = None,
        slice_id: str = "",
        ids: Sequence[Any] | None = None,
        show: str = "members",
        beside: str = "",
        other: Any = None,
        names: Sequence[str] = ("model", "other model"),
        tile_px: int = 96,
    ) -> None:
        result = None if isinstance(source, AuditData) else source
        if result is None and data is not None:
            raise InputError("data", "data once", "them twice", "Give them first, or give a result first.")
        super().__init__(result, source if isinstance(source, AuditData) else data, other=other, names=names)
        if ids is not None:
            self._given = self.cases.positions(ids).astype("<u4").tobytes()
        elif not slice_id and result is not None and len(result.findings):
            slice_id = result.findings["slice_id"].iloc[0]
        self.selected_slice = slice_id
        self._show(show=show, beside=beside, tile_px=tile_px)

    def _shown(self, name: str) -> Any:
        return self._grid[name]

    def _show(self, **values: Any) -> None:
        self._grid = {**self._grid, **values}

    @property
    def show(self) -> str:
        """Which cases are shown: "members", "errors", "counterexamples" or "all"."""
        return self._shown("show")

    @show.setter
    def show(self, value: str) -> None:
        self._show(show=value)

    @property
    def beside(self) -> str:
        """Id of the slice that is shown beside the first one, or ""."""
        return self._shown("beside")

    @beside.setter
    def beside(self, value: str) -> None:
        self._show(beside=value, models=False)

    @property
    def tile_px(self) -> int:
        """Side of a picture on the page, in pixels of the page."""
        return self._shown("tile_px")

    @tile_px.setter
    def tile_px(self, value: int) -> None:
        self._show(tile_px=value)

    @property
    def side_by_side(self) -> bool:
        """Whether both models are shown."""
        return self._shown("models")

    @side_by_side.setter
    def side_by_side(self, value: bool) -> None:
        self._show(models=bool(value), beside="")


def check_grid(widget: AuditWidget, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a grid is shown, or raise `InputError`."""
    show, tile_px, beside, model = (given.get(name) for name in ("show", "tile_px", "beside", "model"))
    if show not in SHOW:
        raise InputError("show", f"one of {', '.join(SHOW)}", f"{show!r}", f"Choose one.{nearest(str(show), SHOW)}")
    if isinstance(tile_px, bool) or not isinstance(tile_px, (int, float)) or not TILE_PX[0] <= tile_px <= TILE_PX[1]:
        raise InputError("tile_px", f"a number from {TILE_PX[0]} to {TILE_PX[1]}", f"{tile_px!r}", "Choose another.")
    if beside:
        known = [*(row["id"] for row in widget._rows), *widget.cases.own]
        if beside not in known:
            hint = nearest(str(beside), known)
            raise InputError("beside", "a slice of this audit, or ''", f"{beside!r}", f"See result.candidates.{hint}")
    n_models = len(widget.cases.models)
    if not isinstance(model, int) or model not in range(n_models) or (given.get("models") and n_models < 2):
        raise InputError("models", "two models", "one", "Give other=.")
    return {
        "show": show,
        "tile_px": int(tile_px),
        "beside": beside or "",
        "model": model,
        "models": bool(given.get("models")),
    }
