"""Data sets of torchxrayvision, taken by their shape alone: neither it nor torch is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from mmaudit._errors import ImageReadError, InputError, check_keywords, nearest
from mmaudit._tables import to_numbers
from mmaudit.data import AuditData, check_proba
from mmaudit.datasets._shared import label_terms, listed, warn
from mmaudit.images import GrayImage

__all__ = ["from_torchxrayvision"]

_RANGE = 1024.0  # torchxrayvision scales every image to [-1024, 1024]


@check_keywords
def from_torchxrayvision(dataset: Any, *, label: str, y_proba: Any = None) -> AuditData:
    """Return the samples of a torchxrayvision data set that have this label.

    Parameters
    ----------
    dataset : torchxrayvision.datasets.Dataset
        Any object with `pathologies` (list of str), `labels` (array of shape (n, n_pathologies), 1, 0 or NaN), where
        present `csv` (DataFrame of n rows), and `dataset[i]["img"]` (array of shape (1, height, width) in
        [-1024, 1024]). Merged, filtered and subset data sets too.
    label : str
        One of `dataset.pathologies`. Samples whose label is NaN are left out, with a warning that says how many.
    y_proba : array of shape (n,), float in [0, 1], or None
        Probability of `label` for every item of `dataset`, those with a NaN label included. None: added later.

    Returns
    -------
    AuditData
        Sample ids are positions in `dataset`. Patients are `csv.patientid`; without that column a warning, and
        each sample is a patient. Metadata, where `csv` has them: view, age (`age_years`), sex (F, M from `sex_male`
        and `sex_female`). Images are read through `dataset` when needed and scaled to [0, 1]; no reports.

    Raises
    ------
    InputError
        An object without `pathologies` and `labels`, labels of another shape, an unknown label, labels other than
        0 and 1, only one class, or `y_proba` of another length.

    Warns
    -----
    AuditWarning
        Of samples left out, of a missing `patientid`, and of `data_aug`, which changes images from one reading to
        the next.

    Notes
    -----
    Most data sets of torchxrayvision keep one image a patient unless built with unique_patients=False. Their labels
    mean different things: NaN can be "uncertain" or "not asked", and 0 can be "not mentioned".

    References
    ----------
    Cohen et al., "TorchXRayVision: a library of chest X-ray datasets and models", 2022, arXiv:2111.00595.
    """
    for attribute in ("pathologies", "labels", "__getitem__"):
        if not hasattr(dataset, attribute):
            raise InputError(
                "dataset",
                "a torchxrayvision data set with pathologies, labels and items",
                f"{type(dataset).__name__} without {attribute}",
                "Give an object of torchxrayvision.datasets, or use AuditData.from_frame.",
            )
    pathologies = [str(p) for p in dataset.pathologies]
    labels = np.asarray(dataset.labels, dtype=np.float64)
    if labels.ndim != 2 or labels.shape[1] != len(pathologies):
        raise InputError(
            "dataset",
            f"labels of shape (n, {len(pathologies)})",
            f"{labels.shape}",
            "Align them: torchxrayvision.datasets.relabel_dataset.",
        )
    if label not in pathologies:
        raise InputError(
            "label",
            "one of dataset.pathologies",
            f"{label!r}",
            f"They are: {listed(pathologies, 40)}.{nearest(label, pathologies)}",
        )
    values = labels[:, pathologies.index(label)]
    known = np.flatnonzero(~np.isnan(values))
    n_unknown = len(values) - len(known)
    if len(known) == 0:
        raise InputError(
            "label", f"labels of {label!r}", f"NaN for all {len(values):,} samples", "Choose another label or data set."
        )
    if n_unknown:
        warn(
            f"label: expected 0 or 1 for every sample, left out {n_unknown:,} of {len(values):,} whose {label!r} "
            "is NaN (uncertain or not asked)."
        )
    if getattr(dataset, "data_aug", None) is not None:
        warn("dataset: expected images that stay the same, got data_aug. Set it to None for an audit.")
    proba = None if y_proba is None else check_proba(y_proba, len(values))[known]

    frame = pd.DataFrame({"label": values[known]}, index=pd.Index(known, name="position"))
    table = getattr(dataset, "csv", None)
    has_patients = False
    metadata: list[str] = []
    if isinstance(table, pd.DataFrame):
        if len(table) != len(values):
            raise InputError("dataset", f"csv of {len(values):,} rows", f"{len(table):,}", "Build the data set anew.")
        table = table.iloc[known].set_axis(frame.index)
        has_patients = "patientid" in table.columns
        if has_patients:
            frame["patientid"] = table["patientid"]
        columns = {"view": _view(table), "age": _age(table), "sex": _sex(table)}
        for column, series in columns.items():
            if series is not None and series.notna().any():
                frame[column] = series
                metadata.append(column)
    name = type(dataset).__name__
    data = AuditData.from_frame(
        frame,
        label="label",
        patient_id="patientid" if has_patients else None,
        images=_XrvImages(dataset, known.tolist()),
        metadata=metadata,
        label_name=label,
        label_terms=label_terms(label),
        name=name,
        card={
            "source": f"torchxrayvision data set {name}; see its documentation",
            "reference": "arXiv:2111.00595",
            "licence": "that of the data set",
            "patients": "those of the data set",
            "label": f"{label}; {n_unknown:,} samples with NaN left out",
            "known limits": "Labels of most of these data sets were read from reports by programs.",
        },
    )
    return data if proba is None else data.with_predictions(proba)


class _XrvImages:
    """Images of a torchxrayvision data set by position, read when needed."""

    def __init__(self, dataset: Any, positions: Sequence[int]) -> None:
        self._dataset = dataset
        self._positions = list(positions)

    def __len__(self) -> int:
        return len(self._positions)

    def __repr__(self) -> str:
        return f"_XrvImages({len(self)} images of {type(self._dataset).__name__})"

    def take(self, indices: Sequence[int]) -> _XrvImages:
        """Return the images at these positions, still unopened."""
        return _XrvImages(self._dataset, [self._positions[int(i)] for i in indices])

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return image number `index`, scaled from [-1024, 1024] to [0, 1]."""
        try:
            raw = np.asarray(self._dataset[self._positions[index]]["img"], dtype=np.float32)
        except (OSError, ValueError, KeyError) as error:
            missing = isinstance(error, FileNotFoundError)
            raise ImageReadError(
                "image",
                "an image that the torchxrayvision data set can read",
                "a file that is missing" if missing else f"one that it cannot ({type(error).__name__})",
                "Check the data set's imgpath.",
                reason="missing" if missing else "truncated or damaged",
            ) from None
        raw = raw[0] if raw.ndim == 3 and raw.shape[0] == 1 else raw
        if raw.ndim != 2 or raw.size == 0:
            raise ImageReadError(
                "image", "an array of shape (1, height, width)", f"one of shape {raw.shape}", "Remove other transforms."
            )
        low, high = float(raw.min()), float(raw.max())
        if not (low >= -1.01 * _RANGE and high <= 1.01 * _RANGE) or (-1 <= low < high <= 1):
            raise ImageReadError(
                "image",
                "values in [-1024, 1024], as torchxrayvision makes them",
                "another range",
                "Remove normalising transforms from the data set.",
                reason="wrong range",
            )
        pixels = np.clip((raw + _RANGE) / (2 * _RANGE), 0, 1).astype(np.float32)
        height, width = pixels.shape
        if max_side_px is not None and max(height, width) > max_side_px:
            scale = max_side_px / max(height, width)
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            shrunk = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
            pixels = np.clip(np.asarray(shrunk, dtype=np.float32), 0, 1)
        return GrayImage(pixels, width, height, 8)


def _view(table: pd.DataFrame) -> pd.Series | None:
    if "view" not in table.columns:
        return None
    return table["view"].astype(object).where(table["view"] != "UNKNOWN", None)


def _age(table: pd.DataFrame) -> pd.Series | None:
    return to_numbers(table["age_years"]) if "age_years" in table.columns else None


def _sex(table: pd.DataFrame) -> pd.Series | None:
    sex = pd.Series(None, index=table.index, dtype=object)
    for column, letter in (("sex_male", "M"), ("sex_female", "F")):
        if column in table.columns:
            sex[table[column].fillna(False).astype(bool)] = letter
    return sex
