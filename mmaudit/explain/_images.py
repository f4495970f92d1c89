"""What the images of a slice look like: members to show, and how their mean differs from that of the others."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import ndimage
from sklearn.utils import check_random_state

from mmaudit._errors import InputError, check_keywords
from mmaudit.classifiers._images import check_int
from mmaudit.explain._align import AlignedImages, resized

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Difference", "mean_difference", "pick_members"]

MOST_TYPICAL = 2000  # members among which the typical ones are looked for: their distances are all worked out
ROWS_A_PART = 4096  # of embeddings that are read at a time
FEWEST = 5  # patients on each side
GRID_PX = 64  # side of the map that is tested
BLUR_PX = 1.0  # on that map
LEAST_SHARE = 0.1  # of the median standard error: a pixel that never varies is not divided by nothing
ALPHA = 0.05
NO_DIFFERENCE = "no difference beyond chance"

# Okabe and Ito's blue and vermillion, grey between them.
_DARKER, _EQUAL, _BRIGHTER = "#0072B2", "#D9D9D9", "#D55E00"
_INK, _MUTED = "#222222", "#5c6670"


# --- Members to show ----------------------------------------------------------------------------------------------


def pick_members(
    embedding: np.ndarray,
    strength: np.ndarray,
    inside: np.ndarray,
    compared: np.ndarray,
    wrong: np.ndarray,
    patient: np.ndarray,
    *,
    label: np.ndarray | None = None,
    most: int = 6,
) -> dict[str, Any]:
    """Return positions of the samples that show a slice best, no patient twice in one row.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_dimensions), float
        Where alike samples are near each other.
    strength : ndarray of shape (n_samples,), float in [0, 1]
        Membership.
    inside : ndarray of shape (n_samples,), bool
        Members.
    compared : ndarray of shape (n_samples,), bool
        Members and those they are compared with; samples elsewhere are not shown.
    wrong : ndarray of shape (n_samples,), bool
        Whether the classifier is wrong.
    patient : ndarray of shape (n_samples,)
        Patient of each sample.
    label : ndarray of shape (n_samples,), or None
        A counterexample has the label of its member. None: all that is compared has the same label.
    most : int
        Samples a row at most.

    Returns
    -------
    dict
        - "strongest", ndarray of int: members, those the classifier is wrong about first, then by membership.
        - "typical", ndarray of int: members near many others, each in a part of the slice that those before it leave
          out.
        - "counterexamples", list of (int, int): a typical member, and the sample most like it outside the slice that
          the classifier is right about, of another patient. The pair most alike comes first; a typical member may
          be left without one.

    Raises
    ------
    InputError
        Arrays of another length, or a number out of range.

    Notes
    -----
    Samples are as unlike as the angle between their embeddings: 1 - cosine. Most encoders are trained for it, and an
    embedding's dimensions are on a common scale; dividing each by its standard deviation would give those that hold
    only noise as much say as the others.

    Typical members are the medoids that the first phase of "partitioning around medoids" builds [1]_: the first has
    the least mean distance from all members, each further one lowers the mean distance to the nearest the most. Each
    patient counts once. Of more than 2,000 members, the 2,000 strongest are looked at. Cost: n_members² distances.

    References
    ----------
    .. [1] L. Kaufman and P. J. Rousseeuw, "Finding Groups in Data", 1990, chapter 2, doi:10.1002/9780470316801

    Examples
    --------
    >>> import numpy as np
    >>> embedding = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.8, 0.1]])
    >>> inside, compared = np.array([True, True, False, False]), np.ones(4, dtype=bool)
    >>> wrong = np.array([False, True, False, False])
    >>> shown = pick_members(embedding, np.array([0.9, 0.8, 0.0, 0.1]), inside, compared, wrong, np.arange(4))
    >>> shown["strongest"].tolist(), shown["counterexamples"][0]
    ([1, 0], (1, 3))
    """
    if not hasattr(embedding, "shape"):
        embedding = np.asarray(embedding)
    if len(embedding.shape) != 2:
        raise InputError("embedding", "shape (n_samples, n_dimensions)", f"{embedding.shape}", "Give a matrix.")
    check_int("most", most, 1, 1000)
    n = embedding.shape[0]
    strength = _of_length("strength", strength, n)
    inside, compared, wrong = (
        check_mask(name, given, n) for name, given in (("inside", inside), ("compared", compared), ("wrong", wrong))
    )
    patient = pd.factorize(_of_length("patient", patient, n), use_na_sentinel=False)[0]
    label = np.zeros(n) if label is None else _of_length("label", label, n)
    members = np.flatnonzero(inside & compared)
    members = members[np.lexsort((members, -strength[members]))]
    strongest = members[np.argsort(~wrong[members], kind="stable")]
    strongest = strongest[np.sort(np.unique(patient[strongest], return_index=True)[1])][:most]
    typical = _medoids(embedding, members[:MOST_TYPICAL], patient, most)
    right = np.flatnonzero(~inside & compared & ~wrong)
    return {
        "strongest": strongest,
        "typical": typical,
        "counterexamples": _nearest_pairs(embedding, typical, right, patient, label),
    }


def _unit(embedding: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return some rows, in any order, with length 1; they are read in ascending order."""
    ascending, place = np.unique(rows, return_inverse=True)
    x = np.asarray(embedding[ascending], dtype=np.float32)
    return (x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12))[place]


def _medoids(embedding: np.ndarray, members: np.ndarray, patient: np.ndarray, most: int) -> np.ndarray:
    """Return medoids of the members, the first one nearest to all, no patient twice."""
    if not len(members):
        return members
    unit = _unit(embedding, members)
    distance = 1 - unit @ unit.copy().T  # of one array with itself another routine is taken, which rounds otherwise
    _, codes, counts = np.unique(patient[members], return_inverse=True, return_counts=True)
    weight = 1 / counts[codes]
    nearest = np.full(len(members), np.inf)
    free = np.ones(len(members), dtype=bool)
    chosen: list[int] = []
    while free.any() and len(chosen) < most:
        cost = np.minimum(distance, nearest[:, None]).T @ weight
        best = int(np.where(free, cost, np.inf).argmin())
        chosen.append(best)
        nearest = np.minimum(nearest, distance[:, best])
        free &= codes != codes[best]
    return members[chosen]


def _nearest_pairs(
    embedding: np.ndarray, members: np.ndarray, others: np.ndarray, patient: np.ndarray, label: np.ndarray
) -> list[tuple[int, int]]:
    """Return each member with the other sample nearest to it, the nearest pair first, no patient of others twice."""
    unit, distance = _unit(embedding, members), np.empty((len(members), len(others)), dtype=np.float32)
    for first in range(0, len(others), ROWS_A_PART):
        part = slice(first, first + ROWS_A_PART)
        distance[:, part] = 1 - unit @ _unit(embedding, others[part]).T
    alike = (label[members][:, None] == label[others]) & (patient[members][:, None] != patient[others])
    distance[~alike] = np.inf
    pairs = []
    while distance.size and np.isfinite(distance.min()):
        i, j = np.unravel_index(distance.argmin(), distance.shape)
        pairs.append((int(members[i]), int(others[j])))
        distance[i] = np.inf
        distance[:, patient[others] == patient[others[j]]] = np.inf
    return pairs


# --- The mean inside against the mean outside ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Difference:
    """How the mean image of a slice differs from that of the others; made by `mean_difference`.

    Attributes
    ----------
    mean_inside, mean_outside : ndarray of shape (side_px, side_px), float32 in [0, 1]
        Mean of the patients' means, after exposure and place were made the same.
    z : ndarray of shape (64, 64), float32
        Mean inside minus mean outside by its standard error over patients, smoothed; positive where the slice is
        brighter. NaN if fewer than 5 patients are left on a side, or less than half of its images.
    limit : float
        The |z| that permuted patients exceed anywhere in 5 % of permutations. NaN as above.
    p_value : float in (0, 1]
        Share of the permutations of patients in which the greatest |z| is as great. NaN as above.
    n_inside, n_outside : int
        Patients compared.
    n_left_out : int
        Images left out: they cannot be read, or do not lie over the others.
    place : tuple of float (down, right) in [0, 1]
        Where |z| is greatest, from the upper left corner of the picture.
    text : str
        All this in words.
    """

    mean_inside: np.ndarray
    mean_outside: np.ndarray
    z: np.ndarray
    limit: float
    p_value: float
    n_inside: int
    n_outside: int
    n_left_out: int
    place: tuple[float, float]
    text: str

    @property
    def beyond_chance(self) -> bool:
        """Whether the greatest |z| is beyond what permuted patients give, at 5 %."""
        return bool(self.p_value <= ALPHA)

    def to_dict(self) -> dict[str, Any]:
        """Return what a report shows: image (base64 PNG), text, n_inside, n_outside."""
        return {
            "image": base64.b64encode(self.to_png()).decode(),
            "text": self.text,
            "n_inside": self.n_inside,
            "n_outside": self.n_outside,
        }

    def plot(self) -> Figure:
        """Return a figure: the mean inside, the mean outside, and z from blue (darker) to vermillion (brighter)."""
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.9, 2.5), layout="constrained")
        axes = figure.subplots(1, 3)
        for ax, mean, name, n in (
            (axes[0], self.mean_inside, "inside", self.n_inside),
            (axes[1], self.mean_outside, "outside", self.n_outside),
        ):
            ax.imshow(mean, cmap="gray", vmin=0, vmax=1)
            ax.set_title(f"mean {name}, {n:,} patients", fontsize=8, color=_INK)
        colours = LinearSegmentedColormap.from_list("darker to brighter", [_DARKER, _EQUAL, _BRIGHTER])
        known = np.isfinite(self.z).all()
        most = max(float(np.abs(self.z).max()), self.limit) if known else 1.0
        shown = axes[2].imshow(self.z, cmap=colours, vmin=-most, vmax=most)
        title = "difference" if self.beyond_chance else NO_DIFFERENCE if known else "not compared"
        axes[2].set_title(title, fontsize=8, color=_INK)
        if self.beyond_chance:
            beyond = np.abs(self.z) >= self.limit
            axes[2].contour(beyond, levels=[0.5], colors=[_INK], linewidths=0.8)
        bar = figure.colorbar(shown, ax=axes[2], shrink=0.9)
        bar.set_label("standard errors, inside minus outside", fontsize=6, color=_MUTED)
        bar.ax.tick_params(labelsize=6, colors=_MUTED)
        for ax in axes:
            ax.set_xticks([])
            ax.set_yticks([])
        return figure

    def to_png(self, *, dpi: int = 80) -> bytes:
        """Return `plot` as a PNG file; `dpi` is dots an inch."""
        stream = io.BytesIO()
        self.plot().savefig(stream, format="png", dpi=dpi)
        return stream.getvalue()


@check_keywords
def mean_difference(
    images: Any,
    inside: np.ndarray,
    outside: np.ndarray,
    *,
    patient: Sequence[Any] | np.ndarray | None = None,
    side_px: int = 128,
    align: bool = True,
    most: int = 400,
    n_permutations: int = 200,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> Difference:
    """Return how the mean image of a slice differs from that of others, and whether by more than chance.

    Parameters
    ----------
    images : AlignedImages, or what it takes: sequence of arrays or of encoded pictures, ImageSource, AuditData
        n_samples of them. To look at several slices, make `AlignedImages` once: it aligns each image once.
    inside : ndarray of shape (n_samples,), bool
        Members.
    outside : ndarray of shape (n_samples,), bool
        What they are compared with, such as the other samples of the same label.
    patient : array of shape (n_samples,), or None
        Patient of each sample. None: each sample is a patient.
    side_px, align
        See `AlignedImages`; not used where `images` is one.
    most : int
        Images a side at most: those of all patients in a drawn order, the first of each, then the second, and so on.
    n_permutations : int
        Permutations of patients.
    n_jobs : int or None
        Threads that read images. None: all cores.
    random_state : int, RandomState or None
        Seed. None: another each time.

    Returns
    -------
    Difference

    Raises
    ------
    InputError
        Masks that do not fit, or a side without a sample.

    Notes
    -----
    The images of a patient are averaged first, so that each patient counts once; one with images on both sides counts
    inside, by the images there. z is the difference of the two means by its standard error, from the variance over
    patients within the two sides, a tenth of the median error added. Whether it is beyond chance is asked of the whole
    map at once: the greatest |z| against the greatest |z| when patients change sides at random [1]_.

    Sides are those of the picture: on a usual frontal film the patient's left is on the picture's right. A difference
    goes with the slice in these images; it need not be what the classifier looks at.

    References
    ----------
    .. [1] T. E. Nichols and A. P. Holmes, "Nonparametric Permutation Tests for Functional Neuroimaging: A Primer with
       Examples", Human Brain Mapping 15, 2002, doi:10.1002/hbm.1058
    """
    check_int("most", most, 2 * FEWEST, 1_000_000)
    check_int("n_permutations", n_permutations, 20, 1_000_000)
    rng = check_random_state(random_state)
    if not isinstance(images, AlignedImages):
        images = AlignedImages(
            images, side_px=side_px, align=align, n_jobs=n_jobs, random_state=rng.randint(np.iinfo(np.int32).max)
        )
    n = len(images)
    inside, outside = check_mask("inside", inside, n), check_mask("outside", outside, n)
    codes = np.arange(n) if patient is None else _of_length("patient", patient, n)
    codes = np.unique(codes.astype(str), return_inverse=True)[1]
    for name, side in (("inside", inside), ("outside", outside)):
        if not side.any():
            raise InputError(name, "at least one sample", "none", "Check the mask.")
    outside = outside & ~np.isin(codes, codes[inside])
    order = rng.permutation(n)  # the same for every slice, so that they share the images of the others
    rows = np.concatenate([_few(side, codes, order, most) for side in (inside, outside)])
    pictures, alike = images.take(rows)
    n_left_out = int((~alike).sum())
    there = _enough(alike, inside[rows], codes[rows])
    used = alike if there else np.isfinite(pictures[:, 0, 0])
    means, is_inside = _patient_means(pictures[used], inside[rows][used], codes[rows][used])
    blank = np.full((1, *means.shape[1:]), np.nan, dtype=np.float32)
    mean_in, mean_out = ((means[side] if side.any() else blank).mean(axis=0) for side in (is_inside, ~is_inside))
    n_in, n_out = int(is_inside.sum()), int((~is_inside).sum())
    if not there:
        z, limit, p_value = np.full((GRID_PX, GRID_PX), np.nan, dtype=np.float32), np.nan, np.nan
        text = f"Not compared: fewer than {FEWEST} patients on a side."
        if n_left_out:
            text = (
                f"Not compared: {n_left_out:,} of {len(rows):,} films do not lie over the others or cannot be read, "
                "and on one side too few are left. It may be of another view."
            )
        return Difference(mean_in, mean_out, z, limit, p_value, n_in, n_out, n_left_out, (np.nan, np.nan), text)
    small = ndimage.gaussian_filter(resized(means, GRID_PX), (0, BLUR_PX, BLUR_PX))
    z, limit, p_value = _tested(small, is_inside, n_permutations, rng)
    place = np.unravel_index(np.abs(z).argmax(), z.shape)
    where = (float(place[0] + 0.5) / GRID_PX, float(place[1] + 0.5) / GRID_PX)
    text = _in_words(z[place], where, p_value, n_in, n_out, n_left_out)
    return Difference(mean_in, mean_out, z, limit, p_value, n_in, n_out, n_left_out, where, text)


def _few(side: np.ndarray, codes: np.ndarray, order: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many samples of a side: the first of each patient in this order, then the second, and so on."""
    rows = order[side[order]]
    by_patient = rows[np.argsort(codes[rows], kind="stable")]
    _, first, counts = np.unique(codes[by_patient], return_index=True, return_counts=True)
    turn = np.empty(len(codes), dtype=np.intp)
    turn[by_patient] = np.arange(len(rows)) - np.repeat(first, counts)
    return rows[np.argsort(turn[rows], kind="stable")][:most]


def _enough(alike: np.ndarray, inside: np.ndarray, codes: np.ndarray) -> bool:
    """Return whether both sides have enough patients, and most of their films lie over the others."""
    return all(
        len(np.unique(codes[alike & side])) >= FEWEST and alike[side].mean() >= 0.5 for side in (inside, ~inside)
    )


def _patient_means(pictures: np.ndarray, inside: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean picture of each patient, and which patients are inside; none is on both sides."""
    order = np.argsort(codes, kind="stable")
    _, first, counts = np.unique(codes[order], return_index=True, return_counts=True)
    totals = np.add.reduceat(pictures[order], first, axis=0) if len(first) else pictures
    return totals / counts[:, None, None].astype(np.float32), inside[order][first]


def _tested(
    pictures: np.ndarray, inside: np.ndarray, n_permutations: int, rng: np.random.RandomState
) -> tuple[np.ndarray, float, float]:
    """Return z of each pixel, the greatest |z| that chance gives at 5 %, and the p-value of the greatest one."""
    X = pictures.reshape(len(pictures), -1)
    X = X - X.mean(axis=0)
    n, n_in = len(X), int(inside.sum())
    sides = np.stack([inside, *(rng.permutation(inside) for _ in range(n_permutations))]).astype(np.float32)
    # All pixels are centred: the mean outside follows from that inside.
    total_in = sides @ X
    difference = total_in / n_in + total_in / (n - n_in)
    between = total_in**2 / n_in + total_in**2 / (n - n_in)
    variance = np.clip((X**2).sum(axis=0) - between, 0, None) / (n - 2)
    error = np.sqrt(variance * (1 / n_in + 1 / (n - n_in)))
    z = difference / (error + LEAST_SHARE * np.median(error, axis=1, keepdims=True) + 1e-9)
    greatest = np.abs(z).max(axis=1)
    p_value = (1 + int((greatest[1:] >= greatest[0]).sum())) / (1 + n_permutations)
    limit = float(np.quantile(greatest[1:], 1 - ALPHA))
    return z[0].reshape(pictures.shape[1:]).astype(np.float32), limit, p_value


def _in_words(z: float, where: tuple[float, float], p_value: float, n_in: int, n_out: int, n_left_out: int) -> str:
    who = f"{n_in:,} patients inside, {n_out:,} outside"
    if n_left_out:
        who += f"; {n_left_out:,} films left out that do not lie over the others or cannot be read"
    if p_value > ALPHA:
        return f"{NO_DIFFERENCE.capitalize()} ({who})."
    return (
        f"{'Brighter' if z > 0 else 'Darker'} inside, most at the {place_in_words(*where)} of the picture "
        f"(sides of the picture, not of the patient; {who}; p = {p_value:.2g} for the whole picture)."
    )


def place_in_words(down: float, right: float) -> str:
    """Return which third of a picture a place lies in, from shares of its height and width from the upper left."""
    row = ("upper", "", "lower")[min(int(down * 3), 2)]
    column = ("left", "middle", "right")[min(int(right * 3), 2)]
    return " ".join(word for word in (row, column) if word)


# --- Arguments ----------------------------------------------------------------------------------------------------


def _of_length(argument: str, given: Any, n_samples: int) -> np.ndarray:
    array = np.asarray(given)
    if array.shape != (n_samples,):
        raise InputError(argument, f"shape ({n_samples},)", f"{array.shape}", "Give one value a sample.")
    return array


def check_mask(argument: str, given: Any, n_samples: int) -> np.ndarray:
    """Return a boolean mask of n_samples, or raise `InputError`."""
    mask = np.asarray(given)
    if mask.shape != (n_samples,) or mask.dtype != bool:
        raise InputError(
            argument,
            f"a boolean mask of shape ({n_samples},)",
            f"{mask.dtype} of shape {mask.shape}",
            "Compare with a threshold: membership >= 0.5.",
        )
    return mask
