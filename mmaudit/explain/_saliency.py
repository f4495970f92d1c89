"""Where in an image a classifier finds what it answers: by its gradients, or by covering one place after another."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit.classifiers import Classifier, WrappedModel, wrap
from mmaudit.classifiers._classifier import Network
from mmaudit.classifiers._images import check_data, check_int, check_readable, in_batches, read_square
from mmaudit.classifiers._torch import need_torch
from mmaudit.classifiers._wrap import evaluating
from mmaudit.data import AuditData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Pointing", "Saliency", "pointing_game", "saliency_map"]

METHODS = ("hires_cam", "grad_cam", "layer_cam", "occlusion")
TOLERANCE = 15 / 224  # of the side: 15 pixels of the pointing game's images, as ImageNet's networks take them
CELLS = 14  # across an occlusion map, and at least across the layer that is looked at
COVERED = 2  # cells that a cover is wide
READ_PX = 512  # longer side of a film that is covered, where nothing says what its model takes
AT_A_TIME = 64  # covered films in memory

_FOR, _AGAINST = (0.835, 0.369, 0.0), (0.0, 0.447, 0.698)  # Okabe and Ito's vermillion and blue
_INK, _MUTED = "#222222", "#5c6670"


class Pointing(NamedTuple):
    """How often maps point at what they should; see `pointing_game`.

    Attributes
    ----------
    share : float in [0, 1]
        Of the maps whose highest point hits the mask.
    n_maps : int
    chance_others : float in [0, 1]
        The same points against the masks of the other images. NaN with one image.
    chance_anywhere : float in [0, 1]
        A point drawn anywhere in the image.
    """

    share: float
    n_maps: int
    chance_others: float
    chance_anywhere: float


@dataclass(frozen=True, eq=False)
class Saliency:
    """Where a classifier finds what it answers, image by image and on average; made by `saliency_map`.

    Attributes
    ----------
    maps : ndarray of shape (n_rows, height, width), float32
        One map a row, as coarse as the layer or the covers are: it covers the whole prepared image. Positive: speaks
        for the target. NaN where an image cannot be read.
    mean : ndarray of shape (height, width), float32
        Mean of the patients' means.
    rows : ndarray of shape (n_rows,), int
        Samples of the data.
    method : str
    layer : str
        Whose answer was weighed; "" for "occlusion".
    target : {0, 1}
    image_size : int
        Side of the squares that the maps lie on, in pixels.
    fit : {"pad", "crop", "stretch"}
        How images become these squares.
    """

    maps: np.ndarray
    mean: np.ndarray
    rows: np.ndarray
    method: str
    layer: str
    target: int
    image_size: int
    fit: str

    def __repr__(self) -> str:
        where = f" at {self.layer!r}" if self.layer else ""
        size = " x ".join(map(str, self.mean.shape))
        return f"Saliency({self.method}{where}, {len(self.rows):,} images, maps of {size})"

    def plot(self, data: AuditData | None = None, n: int = 6) -> Figure:
        """Return a figure: the mean map, and the maps of the first `n` rows over their films.

        Parameters
        ----------
        data : AuditData or None
            The data that the maps were made of. None: the mean map alone.
        n : int
            Films shown at most.

        Notes
        -----
        Vermillion speaks for the target, blue against it, and clear is nothing. Each map is shown relative to the
        largest number in it.
        """
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure

        images = None if data is None else check_data(data)
        shown = [] if images is None else [k for k in range(len(self.rows)) if np.isfinite(self.maps[k, 0, 0])][:n]
        n_columns = min(1 + len(shown), 4)
        n_lines = -(-(1 + len(shown)) // n_columns)
        figure = Figure(figsize=(2.1 * n_columns + 0.5, 2.2 * n_lines), layout="constrained")
        axes = figure.subplots(n_lines, n_columns, squeeze=False).ravel()
        extent = (0, self.image_size, self.image_size, 0)
        most = float(np.nanmax(np.abs(self.mean))) or 1.0 if np.isfinite(self.mean).any() else 1.0
        colours = LinearSegmentedColormap.from_list("against to for", [_AGAINST, (0.85, 0.85, 0.85), _FOR])
        drawn = axes[0].imshow(self.mean, cmap=colours, vmin=-most, vmax=most, extent=extent, interpolation="bilinear")
        axes[0].set_title(f"mean of {np.isfinite(self.maps[:, 0, 0]).sum():,} images", fontsize=8, color=_INK)
        bar = figure.colorbar(drawn, ax=axes[0], shrink=0.8)
        bar.ax.tick_params(labelsize=6, colors=_MUTED)
        for ax, k in zip(axes[1:], shown, strict=False):
            film = read_square(images, int(self.rows[k]), self.image_size, self.fit)[0]  # type: ignore[arg-type]
            ax.imshow(film, cmap="gray", vmin=0, vmax=255, extent=extent)
            relative = self.maps[k] / (np.abs(self.maps[k]).max() or 1.0)
            colour = np.where(relative[..., None] > 0, _FOR, _AGAINST)
            overlay = np.concatenate([colour, 0.6 * np.abs(relative)[..., None]], axis=2)
            ax.imshow(overlay, extent=extent, interpolation="bilinear")
        for ax in axes:
            ax.axis("off")
        return figure

    def to_png(self, data: AuditData | None = None, n: int = 6, *, dpi: int = 80) -> bytes:
        """Return `plot` as a PNG file; `dpi` is dots an inch."""
        stream = io.BytesIO()
        self.plot(data, n).savefig(stream, format="png", dpi=dpi)
        return stream.getvalue()


@check_keywords
def saliency_map(
    classifier: Any,
    data: AuditData,
    rows: Sequence[int] | np.ndarray,
    *,
    method: str = "hires_cam",
    layer: str | None = None,
    target: int = 1,
    output: int | str | None = None,
    batch_size: int = 32,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Saliency:
    """Return where in these images a classifier finds what speaks for the target.

    Parameters
    ----------
    classifier : Classifier, WrappedModel, torch.nn.Module, or for "occlusion" anything that `wrap` takes
        A bare module or function is wrapped with the defaults of `wrap`.
    data : AuditData of n_samples, with images
    rows : sequence of int, or boolean mask of shape (n_samples,)
        Which samples.
    method : {"hires_cam", "grad_cam", "layer_cam", "occlusion"}
        The first three weigh what a layer answers by the gradient of the target; they ask for a torch network.
        "occlusion" covers one place after another and sees how far the probability falls; it asks for nothing but
        predictions, and takes about 170 of them an image.
    layer : str or None
        A layer that answers pictures (n, channels, height, width), as `classifier.network.module.named_modules()`
        names it. None: the last one with at least 14 x 14 places, or the finest where none has so many: the very last
        one is too coarse to point at a small thing.
    target : {1, 0}
        What is spoken for: the label, or its absence.
    output : int, str or None
        Which column of the classifier's answer is the label, or its name. None: the label of the data, or the only
        one; of a module with two columns, the second less the first.
    batch_size : int
        Images computed at a time.
    n_jobs : int or None
        Threads that read images. None: all cores.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Saliency

    Raises
    ------
    InputError
        No images, no rows, no such method, layer or output, or a model without a network where one is needed.
    MissingExtraError
        PyTorch is not installed, and the method needs it.

    Notes
    -----
    With A the layer's answer and G the gradient of the target's logit by it, and the sum over channels: Grad-CAM [1]_
    is the positive part of the sum of A times the mean of G over places; HiResCAM [2]_ that of the sum of A times G;
    LayerCAM [3]_ that of the sum of A times the positive part of G. Where the rest of the network is linear, what
    HiResCAM cuts off and what it keeps add up to the logit less a constant. `tests/bench/pointing.py` plays the
    pointing game with all of them: at the layer taken here Grad-CAM is worst, since its mean over places is
    made for a layer whose places are averaged next.

    Occlusion [4]_: a cover of 1/7 of each side is laid at each of 13 x 13 places; under it each pixel becomes the mean
    around it. A cell of the map is the mean fall of the probability over the covers on it.

    The images go through the network's own preparation, in evaluation mode; no weight, gradient or mode of the network
    is changed. A map shows where the evidence lies, not what it is, and a network can use evidence that a map does not
    show [5]_.

    References
    ----------
    .. [1] R. R. Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv:1610.02391
    .. [2] R. L. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional
       neural networks", 2020, arXiv:2011.08891
    .. [3] P.-T. Jiang et al., "LayerCAM", IEEE TIP 30, 2021, doi:10.1109/TIP.2021.3089943
    .. [4] M. D. Zeiler and R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
       arXiv:1311.2901. They cover with grey and measure the probability too.
    .. [5] J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv:1810.03292
    """
    if method not in METHODS:
        hint = nearest(str(method), METHODS)
        raise InputError("method", f"one of {', '.join(METHODS)}", repr(method), f"Choose one of them.{hint}")
    if isinstance(target, bool) or target not in (0, 1):
        raise InputError("target", "1 or 0", repr(target), "Say which label by output=.")
    check_int("batch_size", batch_size, 1, 100_000)
    images = check_data(data)
    rows = _rows(rows, data.n_samples)
    if not isinstance(classifier, (Classifier, WrappedModel)):
        classifier = wrap(classifier)
    column = _column(classifier, data, output)
    if method == "occlusion":
        work = _occlusion(classifier, column, target)
    else:
        work = _gradients(classifier, method, layer, column, target)
    height, width = work.shape
    answers, errors = in_batches(
        images.take(rows.tolist()),
        work.read_one,
        lambda batch: work.apply(batch).reshape(len(batch), -1),
        n_columns=height * width,
        batch_size=batch_size,
        n_jobs=n_jobs,
        progress=progress,
    )
    check_readable(errors, "Their maps are NaN.", stacklevel=3)
    maps = answers.astype(np.float32).reshape(-1, height, width)
    mean = _mean_of_patients(maps, data.patient_id[rows])
    return Saliency(maps, mean, rows, method, work.layer, int(target), work.image_size, work.fit)


@check_keywords
def pointing_game(
    maps: np.ndarray | Sequence[np.ndarray], masks: Sequence[np.ndarray], *, tolerance: float = TOLERANCE
) -> Pointing:
    """Return how often the highest point of a map lies on what it should point at, and how often by chance.

    Parameters
    ----------
    maps : ndarray of shape (n, height, width), or sequence of n such maps
        The highest point is the middle of the highest cell. A map that is the same everywhere, or NaN, points nowhere
        and misses.
    masks : sequence of n ndarrays of shape (height, width), bool
        Where it lies, on the same square as the map, of any number of pixels.
    tolerance : float in [0, 1]
        How far from the mask a point may lie, as a share of the longer side of the mask.

    Returns
    -------
    Pointing

    Raises
    ------
    InputError
        Another number of masks, none at all, or an empty mask.

    Notes
    -----
    Two levels of chance: that of a point anywhere, and that of the same points against the masks of the other images.
    Only what is above the second shows that a map follows its own image: what always lies in one place is hit by a map
    that always points there.

    References
    ----------
    J. Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016, arXiv:1608.00507, with its 15 pixels of
    tolerance, here as a share of 224.

    Examples
    --------
    >>> import numpy as np
    >>> maps, masks = np.zeros((2, 4, 4)), np.zeros((2, 8, 8), dtype=bool)
    >>> maps[0, 0, 0] = maps[1, 3, 3] = 1
    >>> masks[0, :2, :2] = masks[1, 6:, 6:] = True
    >>> game = pointing_game(maps, masks)
    >>> game.share, game.chance_others
    (1.0, 0.0)
    """
    if len(maps) != len(masks) or not len(masks):
        raise InputError(
            "masks", f"one for each of {len(maps):,} maps, at least one", f"{len(masks):,}", "Leave out the others."
        )
    points = [_highest(np.asarray(each, dtype=float)) for each in maps]
    hits = np.zeros((len(masks), len(points)), dtype=bool)
    near = np.zeros(len(masks))
    for i, given in enumerate(masks):
        mask = np.asarray(given, dtype=bool)
        if mask.ndim != 2 or not mask.any():
            raise InputError("masks", "masks (height, width) of something", "an empty one", "Leave that image out.")
        reached = ndimage.distance_transform_edt(~mask) <= tolerance * max(mask.shape)
        near[i] = reached.mean()
        for j, point in enumerate(points):
            if point is not None:
                down, right = (int(share * n) for share, n in zip(point, mask.shape, strict=True))
                hits[i, j] = reached[down, right]
    n = len(masks)
    own = np.diag(hits)
    others = (hits.sum() - own.sum()) / (n * (n - 1)) if n > 1 else np.nan
    return Pointing(float(own.mean()), n, float(others), float(near.mean()))


def _highest(given: np.ndarray) -> tuple[float, float] | None:
    """Return the middle of the highest cell, in shares of the sides, or None if there is none."""
    if not np.isfinite(given).all() or given.max() <= given.min():
        return None
    down, right = np.unravel_index(given.argmax(), given.shape)
    return (down + 0.5) / given.shape[0], (right + 0.5) / given.shape[1]


def _mean_of_patients(maps: np.ndarray, patient: np.ndarray) -> np.ndarray:
    there = np.isfinite(maps[:, 0, 0])
    if not there.any():
        return np.full(maps.shape[1:], np.nan, dtype=np.float32)
    _, codes, counts = np.unique(patient[there].astype(str), return_inverse=True, return_counts=True)
    return np.average(maps[there], axis=0, weights=1 / counts[codes]).astype(np.float32)


# --- What is asked for --------------------------------------------------------------------------------------------


class _Work(NamedTuple):
    """How maps are made: how an image is read, what a batch of them answers, and what the maps lie on."""

    read_one: Callable[[Any, int], tuple[Any, int]]
    apply: Callable[[list[Any]], np.ndarray]
    shape: tuple[int, int]
    layer: str
    image_size: int
    fit: str


def _rows(given: Any, n_samples: int) -> np.ndarray:
    rows = np.asarray(given)
    if rows.dtype == bool and rows.shape == (n_samples,):
        rows = np.flatnonzero(rows)
    good = rows.ndim == 1 and len(rows) and np.issubdtype(rows.dtype, np.integer)
    if not good or rows.min() < 0 or rows.max() >= n_samples:
        raise InputError(
            "rows",
            f"positions of samples, 0 to {n_samples - 1:,}, or a mask with a member",
            "none" if not rows.size or (rows.dtype == bool and not rows.any()) else "others",
            "Use numpy.flatnonzero(mask).",
        )
    return rows


def _column(classifier: Classifier | WrappedModel, data: AuditData, output: int | str | None) -> int | None:
    """Return which column of the answer is meant; None where the model has to say."""
    if isinstance(classifier, WrappedModel):
        if output is None or (isinstance(output, (int, np.integer)) and not isinstance(output, bool) and output >= 0):
            return output
        raise InputError("output", "a column of the answer, from 0", repr(output), "Count from 0.")
    labels = classifier.labels
    name: Any = output
    if output is None:
        own = data.label_name if data.kind == "binary" else None
        name = own if own in labels else labels[0] if len(labels) == 1 else None
    elif isinstance(output, (int, np.integer)) and not isinstance(output, bool) and 0 <= output < len(labels):
        name = labels[output]
    if name not in labels:
        hint = nearest(str(output), labels)
        raise InputError(
            "output", "one of this classifier's labels", repr(output), f"They are: {', '.join(labels)}.{hint}"
        )
    return labels.index(name)


# --- By gradients -------------------------------------------------------------------------------------------------


def _gradients(
    classifier: Classifier | WrappedModel, method: str, layer: str | None, column: int | None, target: int
) -> _Work:
    torch = need_torch("a map by gradients")
    if classifier.network is None:
        raise InputError(
            "classifier",
            f"one with a torch network, for {method!r}",
            f"{classifier.kind}, which has no layers",
            'Use method="occlusion".',
        )
    network: Network = classifier.network
    layer, shape = _find_layer(torch, network, layer)

    def read_one(images: Any, index: int) -> tuple[np.ndarray, int]:
        return read_square(images, index, network.image_size, network.fit)

    def apply(batch: list[np.ndarray]) -> np.ndarray:
        with _from_layer(torch, network, layer) as noted:
            forward = network.forward(batch)
            answer = noted[0]
            with torch.enable_grad():
                logit = _logit(torch, forward, column)
                (gradient,) = torch.autograd.grad((logit if target else -logit).sum(), answer, allow_unused=True)
        if gradient is None:
            raise InputError("layer", "a layer that the answer depends on", repr(layer), "Name another one.")
        if method == "grad_cam":
            weighed = gradient.mean((2, 3), keepdim=True) * answer
        else:
            weighed = (gradient.clamp(min=0) if method == "layer_cam" else gradient) * answer
        return weighed.detach().sum(1).clamp(min=0).float().cpu().numpy()

    return _Work(read_one, apply, shape, layer, network.image_size, network.fit)


def _find_layer(torch: Any, network: Network, layer: str | None) -> tuple[str, tuple[int, int]]:
    """Return the name of a layer and the height and width of what it answers."""
    layers = {name: module for name, module in network.module.named_modules() if name}
    if layer is not None and layer not in layers:
        raise InputError(
            "layer",
            "a layer of the network",
            repr(layer),
            f"Such as {', '.join(repr(n) for n in list(layers)[-6:])}.{nearest(str(layer), layers)}",
        )
    seen: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Callable[..., None]:
        def noted(_module: Any, _given: Any, answer: Any) -> None:
            if isinstance(answer, torch.Tensor) and answer.ndim == 4 and min(answer.shape[2:]) > 1:
                seen.pop(name, None)  # the order is that of the last call
                seen[name] = (int(answer.shape[2]), int(answer.shape[3]))

        return noted

    hooks = [module.register_forward_hook(note(name)) for name, module in layers.items()]
    try:
        with evaluating(network.module), torch.no_grad():
            network.forward([np.zeros((network.image_size, network.image_size), dtype=np.uint8)])
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or (layer is not None and layer not in seen):
        raise InputError(
            "layer",
            "a layer that answers pictures, (n, channels, height, width) of more than one place",
            "a network without one" if layer is None else f"{layer!r}, which does not",
            'Name another one, or use method="occlusion".',
        )
    if layer is None:
        finest = min(CELLS, max(min(shape) for shape in seen.values()))
        layer = [name for name, shape in seen.items() if min(shape) >= finest][-1]
    return layer, seen[layer]


@contextmanager
def _from_layer(torch: Any, network: Network, layer: str) -> Iterator[list[Any]]:
    """Run the network without gradients up to a layer and with them from there on; what it answered is noted."""
    noted: list[Any] = []

    def cut(_module: Any, _given: Any, answer: Any) -> Any:
        # `forward` of a wrapped module runs without gradients; its own block gives the setting back at its end.
        torch.set_grad_enabled(True)
        noted[:] = [answer.detach().requires_grad_()]
        return noted[0].clone()  # what follows may write into what it is given

    hook = network.module.get_submodule(layer).register_forward_hook(cut)
    try:
        with evaluating(network.module), torch.no_grad():
            yield noted
    finally:
        hook.remove()


def _logit(torch: Any, answer: Any, column: int | None) -> Any:
    """Return the logit of the label for each image, of whatever a network answers."""
    if isinstance(answer, dict):
        answer = answer.get("logits", answer)
    answer = getattr(answer, "logits", answer)
    if not isinstance(answer, torch.Tensor) or answer.ndim not in (1, 2):
        raise InputError("classifier", "a network that answers logits", "another answer", 'Use method="occlusion".')
    if answer.ndim == 1:
        answer = answer[:, None]
    n_columns = answer.shape[1]
    if column is None and n_columns == 2:
        return answer[:, 1] - answer[:, 0]
    if n_columns > 1 if column is None else column >= n_columns:
        raise InputError("output", f"the column that is the label, 0 to {n_columns - 1}", repr(column), "Count from 0.")
    return answer[:, column or 0]


# --- By covering --------------------------------------------------------------------------------------------------


def _occlusion(classifier: Classifier | WrappedModel, column: int | None, target: int) -> _Work:
    network = classifier.network
    # A padded square needs no more pixels than its side; other fits, and models that prepare images themselves, do.
    reduced = network.image_size if network is not None and network.fit == "pad" else READ_PX

    def read_one(images: Any, index: int) -> tuple[np.ndarray, int]:
        image = images.read(index, max_side_px=reduced)
        return image.pixels, image.bit_depth

    def proba(films: Sequence[np.ndarray]) -> np.ndarray:
        answer = classifier.predict_proba(films, n_jobs=1)
        # A wrapped model was told its column by `wrap`.
        label = answer[:, (column or 0) if isinstance(classifier, Classifier) else 0]
        return label if target else 1 - label

    def apply(batch: list[np.ndarray]) -> np.ndarray:
        return np.stack([_covered_falls(film, proba) for film in batch])

    # The film itself is covered, whole, before it is prepared: the map lies on it whatever its proportions.
    return _Work(read_one, apply, (CELLS, CELLS), "", reduced, "stretch")


def _covered_falls(film: np.ndarray, proba: Callable[[Sequence[np.ndarray]], np.ndarray]) -> np.ndarray:
    """Return the mean fall of the probability over the covers that lie on each of the cells."""
    rows, columns = (np.rint(np.linspace(0, n, CELLS + 1)).astype(int) for n in film.shape)
    around = ndimage.uniform_filter(film, size=[max(1, 2 * COVERED * n // CELLS) for n in film.shape], mode="nearest")
    around = np.clip(around, 0, 1)  # a running sum of ones can be a last digit above 1
    places = [(i, j) for i in range(CELLS - COVERED + 1) for j in range(CELLS - COVERED + 1)]
    whole = float(proba([film])[0])
    falls, covers = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for start in range(0, len(places), AT_A_TIME):
        some = places[start : start + AT_A_TIME]
        films = np.repeat(film[None], len(some), axis=0)
        for k, (i, j) in enumerate(some):
            cell = np.s_[rows[i] : rows[i + COVERED], columns[j] : columns[j + COVERED]]
            films[k][cell] = around[cell]
        for (i, j), left in zip(some, proba(list(films)), strict=True):
            falls[i : i + COVERED, j : j + COVERED] += whole - left
            covers[i : i + COVERED, j : j + COVERED] += 1
    return falls / covers
