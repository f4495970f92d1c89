"""Films beside each other, and figures with a text for those who cannot see them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmaudit._errors import InputError, check_keywords
from mmaudit.data import AuditData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["film_strip", "show"]

_FILM_INCHES, _TITLE_INCHES = 2.2, 0.45
_OKABE_ITO = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")


@check_keywords
def film_strip(
    data: AuditData,
    sample_ids: Sequence[Any],
    *,
    titles: Sequence[str] | None = None,
    outline: Sequence[str] = (),
    columns: int = 5,
    max_side_px: int = 320,
) -> Figure:
    """Return a figure of films side by side, on black as radiographs are read.

    Parameters
    ----------
    data : AuditData
        With images.
    sample_ids : sequence
        The films to show, some of `data.sample_id`.
    titles : sequence of str, one a film, or None
        Words above each film. None: none.
    outline : sequence of str
        Findings and devices to outline where the image source knows where they are (a phantom does:
        `data.images.masks`), each in a colour that a legend names. Films without one are shown as they are.
    columns : int
        Films a row, at most.
    max_side_px : int
        Longer side of a film in the figure.

    Raises
    ------
    InputError
        No samples, titles of another number, or an outline where nothing knows of masks.
    ImageReadError
        An image that cannot be read.

    Examples
    --------
    >>> from mmaudit import datasets, report
    >>> data = datasets.load_phantom(2, image_size=64, cache=False)
    >>> len(report.film_strip(data, data.sample_id[:2], outline=["pleural effusion"]).axes)
    2
    """
    import matplotlib.pyplot  # noqa: F401  a notebook can show figures once pyplot has been imported
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    sample_ids = list(sample_ids)
    if not sample_ids:
        raise InputError("sample_ids", "at least one sample", "none", "Choose some of data.sample_id.")
    if titles is not None and len(titles) != len(sample_ids):
        raise InputError("titles", f"{len(sample_ids)} titles", f"{len(titles)}", "Give one a film, or leave them out.")
    if outline and not hasattr(data.images, "masks"):
        raise InputError("outline", "images that know of masks, such as a phantom's", "others", "Leave outline out.")
    n_columns = min(columns, len(sample_ids))
    n_rows = -(-len(sample_ids) // n_columns)
    height = n_rows * (_FILM_INCHES + _TITLE_INCHES * (titles is not None)) + 0.4 * bool(outline)
    figure = Figure(figsize=(_FILM_INCHES * n_columns, height), facecolor="black", layout="constrained")
    colours = {kind: _OKABE_ITO[i % len(_OKABE_ITO)] for i, kind in enumerate(outline)}
    for place, sample_id in enumerate(sample_ids):
        axes = figure.add_subplot(n_rows, n_columns, place + 1)
        pixels = data.image(sample_id, max_side_px=max_side_px)
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)
        axes.axis("off")
        if titles is not None:
            axes.set_title(titles[place], fontsize=9, color="white").set_parse_math(False)
        if outline:
            masks = data.images.masks(int(data.sample_id.get_loc(sample_id)))  # type: ignore[union-attr]
            for kind in outline:
                mask = masks.get(kind)
                if mask is not None and mask.any():
                    across = np.linspace(0, pixels.shape[1] - 1, mask.shape[1])
                    down = np.linspace(0, pixels.shape[0] - 1, mask.shape[0])
                    axes.contour(across, down, mask, levels=[0.5], colors=[colours[kind]], linewidths=1.2)
    if outline:
        lines = [Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()]
        figure.legend(handles=lines, loc="outside lower left", ncols=4, fontsize=8, frameon=False, labelcolor="white")
    return figure


def show(figure: Figure, *, alt: str, dpi: int = 90) -> None:
    """Display a figure in a notebook with a text for those who cannot see it.

    Parameters
    ----------
    figure : matplotlib Figure
        It is closed, so that the notebook does not show it twice.
    alt : str
        What is to be seen, in words.
    dpi : int
        Dots an inch.

    Notes
    -----
    `IPython.display.Image` takes an `alt` text, but JupyterLab does not pass it on to the page.
    """
    import matplotlib.pyplot as plt
    from IPython.display import HTML, display

    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi, bbox_inches="tight")
    plt.close(figure)
    encoded = base64.b64encode(picture.getvalue()).decode()
    display(HTML(f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{encoded}">'))
