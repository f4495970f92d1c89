"""Everything that slicers look at, made in one place: an embedding for each modality and a table for rules."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmaudit.data import AuditData, check_image_share, warn_high_depth
from mmaudit.encoders._image import ImageClusters, ImageTable, describe_images
from mmaudit.encoders._metadata import MetadataEncoder
from mmaudit.encoders._report import ReportEncoder, TermIndicator
from mmaudit.text import CONCEPTS, label_terms, report_terms, restates_label

__all__ = ["Features", "encode"]


@dataclass(frozen=True)
class Features:
    """Embeddings and a table of columns that rules can speak of, row by row the samples.

    Attributes
    ----------
    embeddings : mapping of modality to ndarray of shape (n_samples, n_dimensions), float32
    table : DataFrame of shape (n_samples, n_columns)
        Metadata, image statistics, clusters of images, and a boolean column for each report term.
    kinds : mapping of column name to {"metadata", "image", "report", "label_term"}
        Where a column is from; "label_term" restates the label and is shown, but never searched.
    """

    embeddings: Mapping[str, np.ndarray]
    table: pd.DataFrame
    kinds: Mapping[str, str]

    def take(self, rows: np.ndarray) -> Features:
        """Return some rows, a boolean mask or integer positions."""
        return Features({k: v[rows] for k, v in self.embeddings.items()}, self.table.iloc[_positions(rows)], self.kinds)

    def columns(self, modalities: Sequence[str]) -> list[str]:
        """Return the columns that belong to these modalities."""
        return [c for c in self.table.columns if self.kinds[c] in modalities]


def encode(
    data: AuditData,
    *,
    fit_on: np.ndarray,
    min_count: int = 10,
    images: ImageTable | None = None,
    random_state=None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> tuple[Features, ImageTable | None]:
    """Return the features of all samples, learned from the samples of `fit_on` alone, and what the images gave.

    Parameters
    ----------
    data : AuditData
    fit_on : ndarray of shape (n_samples,), bool
        The discovery samples: vocabularies, scales and categories are learned from them only.
    min_count : int
        Discovery reports that must hold a term before a rule may speak of it.
    images : ImageTable or None
        What `describe_images` gave for these images before. None: they are read.
    random_state : int, RandomState or None
        Seed of the truncated SVD.
    n_jobs : int or None
        Threads for decoding. None: all cores.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ImageReadError
        An image outside `image_root`, or more than 5 % of the images unreadable.
    """
    embeddings: dict[str, np.ndarray] = dict(data.embeddings)
    tables: list[pd.DataFrame] = []
    kinds: dict[str, str] = {}
    metadata = data.metadata
    if metadata.shape[1]:
        tables.append(metadata.reset_index(drop=True))
        kinds |= dict.fromkeys(metadata.columns, "metadata")
        if "metadata" not in embeddings:
            embeddings["metadata"] = MetadataEncoder().fit(metadata[fit_on]).transform(metadata)
    if data.images is not None:
        if images is None:
            images = describe_images(data.images, n_jobs=n_jobs, progress=progress)
        check_image_share(images.errors)
        if images.n_high_depth:
            warn_high_depth(images.n_high_depth, len(data.images))
        # Where the metadata have a column of that name, theirs stays.
        statistics = images.statistics.drop(columns=list(kinds), errors="ignore")
        tables.append(statistics)
        kinds |= dict.fromkeys(statistics.columns, "image")
        embeddings.setdefault("image", images.descriptors)
    if "image" in embeddings:
        clusters = ImageClusters(random_state=random_state).fit(embeddings["image"][fit_on])
        groups = clusters.transform(embeddings["image"]).drop(columns=list(kinds), errors="ignore")
        tables.append(groups)
        kinds |= dict.fromkeys(groups.columns, "image")
    if data.reports is not None:
        # Two encoders read the reports, each twice: words are taken from the text once, and equal ones kept once.
        reports = [tuple(map(sys.intern, report_terms(text))) for text in data.reports]
        chosen = [r for r, first in zip(reports, fit_on, strict=True) if first]
        if "report" not in embeddings:
            embeddings["report"] = ReportEncoder(random_state=random_state).fit(chosen).transform(reports)
        indicator = TermIndicator(min_count=min_count).fit(chosen)
        restating = sorted({w for name in data.label_names for w in label_terms(name, data.label_terms)})
        holds = pd.DataFrame(indicator.transform(reports).toarray().astype(bool), columns=indicator.terms_)
        # Phrases first, then words, then concepts: of terms in the same reports, rules take the first one.
        terms = sorted(map(str, indicator.terms_), key=lambda t: (t.removeprefix("no ") in CONCEPTS, -t.count(" "), t))
        terms = [t for t in terms if f'"{t}"' not in kinds]
        tables.append(holds[terms].rename(columns=lambda term: f'"{term}"'))
        kinds |= {f'"{t}"': "label_term" if restates_label(t, restating) else "report" for t in terms}
    table = pd.concat(tables, axis=1) if tables else pd.DataFrame(index=range(data.n_samples))
    ordered = {m: embeddings[m] for m in data.modalities if m in embeddings}
    return Features(ordered, table, kinds), images


def _positions(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows
