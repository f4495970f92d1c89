"""Everything that slicers look at, made in one place: an embedding for each modality and a table for rules."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from sklearn.utils import check_random_state

from mmaudit._blocks import block_of, blocks_of
from mmaudit._checkpoints import Checkpoints
from mmaudit._engine import map_pieces
from mmaudit.data import MODALITIES, AuditData, check_image_share, warn_high_depth
from mmaudit.encoders._image import ImageClusters, ImageTable, describe_images
from mmaudit.encoders._metadata import MetadataEncoder
from mmaudit.encoders._report import ReportEncoder, TermIndicator
from mmaudit.text import CONCEPTS, label_terms, report_terms, restates_label

__all__ = ["Features", "encode"]

MOST_RAW_BYTES = 128 << 20  # of an embedding that is kept with all its columns
N_KEPT = 64  # components of a larger one
FIT_REPORTS = 50_000  # that choose terms and directions; a share of 1 % of them is known to 5 % of itself
MANY_REPORTS = 20_000  # worth other processes, which take seconds to start


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

    def __sizeof__(self) -> int:
        return sum(v.nbytes for v in self.embeddings.values()) + int(self.table.memory_usage().sum())

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
    checkpoints: Checkpoints | None = None,
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
        Threads for decoding, workers for reports and large embeddings. None: all cores, or as
        `joblib.parallel_config` says.
    checkpoints : Checkpoints or None
        Where finished blocks of rows are kept, and looked for. None: nowhere.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    ImageReadError
        An image outside `image_root`, or more than 5 % of the images unreadable.

    Notes
    -----
    What is large is worked on in blocks of rows, by as many workers as there are: a map that returns sums, or the few
    numbers a sample that are kept. Embeddings of more than 128 MB are replaced by their first 64 principal components,
    from the sums of squares and products of all discovery samples. Of more than 50,000 discovery reports, a random
    50,000 choose the terms and give their weights and directions.
    """
    if data.images is not None:
        if images is None:
            kept = None if checkpoints is None else checkpoints.stage("images")
            images = describe_images(data.images, n_jobs=n_jobs, kept=kept, progress=progress)
        check_image_share(images.errors)
        if images.n_high_depth:
            warn_high_depth(images.n_high_depth, len(data.images))
    whole = None if checkpoints is None else checkpoints.stage("features")
    found = None if whole is None else whole.get(0)
    if found is not None:
        return _features_from(found, data.metadata), images
    features = _features(data, fit_on, min_count, images, random_state, n_jobs, checkpoints, progress)
    if whole is not None:
        whole.put(0, _as_arrays(features, list(data.metadata.columns)))
    return features, images


def _features(data, fit_on, min_count, images, random_state, n_jobs, checkpoints, progress) -> Features:
    embeddings: dict[str, np.ndarray] = {
        m: _reduced(m, values, fit_on, n_jobs, checkpoints, progress) for m, values in data.embeddings.items()
    }
    tables: list[pd.DataFrame] = []
    kinds: dict[str, str] = {}
    metadata = data.metadata
    if metadata.shape[1]:
        tables.append(metadata.reset_index(drop=True))
        kinds |= dict.fromkeys(metadata.columns, "metadata")
        if "metadata" not in embeddings:
            embeddings["metadata"] = MetadataEncoder().fit(metadata[fit_on]).transform(metadata)
    if data.images is not None:
        # Where the metadata have a column of that name, theirs stays.
        statistics = images.statistics.drop(columns=list(kinds), errors="ignore")
        tables.append(statistics)
        kinds |= dict.fromkeys(statistics.columns, "image")
        if "image" not in embeddings:
            embeddings["image"] = _reduced("image", images.descriptors, fit_on, n_jobs, checkpoints, progress)
    if "image" in embeddings:
        clusters = ImageClusters(random_state=random_state).fit(embeddings["image"][fit_on])
        groups = clusters.transform(embeddings["image"]).drop(columns=list(kinds), errors="ignore")
        tables.append(groups)
        kinds |= dict.fromkeys(groups.columns, "image")
    if data.reports is not None:
        embedding, holds = _reports(
            data.reports, fit_on, min_count, "report" not in embeddings, random_state, n_jobs, checkpoints, progress
        )
        if embedding is not None:
            embeddings["report"] = embedding
        restating = sorted({w for name in data.label_names for w in label_terms(name, data.label_terms)})
        # Phrases first, then words, then concepts: of terms in the same reports, rules take the first one.
        terms = sorted(holds.columns, key=lambda t: (t.removeprefix("no ") in CONCEPTS, -t.count(" "), t))
        terms = [t for t in terms if f'"{t}"' not in kinds]
        tables.append(holds[terms].rename(columns=lambda term: f'"{term}"'))
        kinds |= {f'"{t}"': "label_term" if restates_label(t, restating) else "report" for t in terms}
    table = pd.concat(tables, axis=1) if tables else pd.DataFrame(index=range(data.n_samples))
    return Features({m: embeddings[m] for m in data.modalities if m in embeddings}, table, kinds)


# Features as checkpoints hold them


def _as_arrays(features: Features, metadata: Sequence[str]) -> dict[str, Any]:
    """Return features as arrays and what JSON can hold; metadata are not among them."""
    table = features.table.drop(columns=metadata)
    of_type = {
        "terms": [c for c in table.columns if table[c].dtype == bool],
        "groups": [c for c in table.columns if isinstance(table[c].dtype, pd.CategoricalDtype)],
    }
    of_type["numbers"] = [c for c in table.columns if c not in {*of_type["terms"], *of_type["groups"]}]
    n = len(table)
    return {
        "columns": of_type,
        "kinds": dict(features.kinds),
        "terms": np.packbits(table[of_type["terms"]].to_numpy(dtype=bool).reshape(n, -1).T, axis=1),
        "groups": np.array([table[c].cat.codes for c in of_type["groups"]], dtype=np.int16).reshape(-1, n),
        "names": [table[c].cat.categories.tolist() for c in of_type["groups"]],
        "numbers": table[of_type["numbers"]].to_numpy(dtype=float).reshape(n, -1),
        **{f"embedding {m}": values for m, values in features.embeddings.items()},
    }


def _features_from(arrays: Mapping[str, Any], metadata: pd.DataFrame) -> Features:
    columns, n = arrays["columns"], len(metadata)
    holds = np.unpackbits(arrays["terms"], axis=1, count=n).astype(bool)
    groups = {
        c: pd.Categorical.from_codes(codes, names)
        for c, codes, names in zip(columns["groups"], arrays["groups"], arrays["names"], strict=True)
    }
    table = pd.concat(
        [
            metadata.reset_index(drop=True),
            pd.DataFrame(arrays["numbers"], columns=columns["numbers"]),
            pd.DataFrame(groups, index=range(n)),
            pd.DataFrame(holds.T, columns=columns["terms"], copy=False),
        ],
        axis=1,
    )
    embeddings = {m: arrays[f"embedding {m}"] for m in MODALITIES if f"embedding {m}" in arrays}
    return Features(embeddings, table, arrays["kinds"])


# Embeddings


def _reduced(modality: str, values: Any, fit_on: np.ndarray, n_jobs, checkpoints, progress: bool) -> np.ndarray:
    """Return embeddings, in place of large ones their first principal components, (n_samples, 64), float32."""
    n_columns = values.shape[1]
    if len(values) * n_columns * 4 <= MOST_RAW_BYTES or n_columns <= N_KEPT:
        return np.asarray(values, dtype=np.float32)
    pieces = [(block_of(values, rows), fit_on[rows]) for rows in blocks_of(values)]
    begin = np.asarray(values[np.flatnonzero(fit_on)[:1000]], dtype=np.float64).mean(axis=0)
    how: dict[str, Any] = {"n_jobs": n_jobs, "unit": "block", "progress": progress}
    moments = map_pieces(
        _moments,
        pieces,
        begin,
        kept=None if checkpoints is None else checkpoints.stage(f"{modality} moments"),
        description=f"{modality} embeddings: components",
        **how,
    )
    total, scatter, n = np.zeros(n_columns), np.zeros((n_columns, n_columns)), 0
    for part in moments:
        total, scatter, n = total + part["sum"], scatter + part["scatter"], n + int(part["n"])
    mean = total / n
    axes = eigh(scatter / n - np.outer(mean, mean), subset_by_index=(n_columns - N_KEPT, n_columns - 1))[1][:, ::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    axes = (axes * np.sign(largest)).astype(np.float32)
    out = np.empty((len(values), N_KEPT), dtype=np.float32)
    projected = map_pieces(
        _projected,
        [block for block, _ in pieces],
        (begin + mean).astype(np.float32),
        axes,
        kept=None if checkpoints is None else checkpoints.stage(f"{modality} components"),
        description=f"{modality} embeddings",
        **how,
    )
    for rows, part in zip(blocks_of(values), projected, strict=True):
        out[rows] = part["embedding"]
    return out


def _moments(piece: tuple[Any, np.ndarray], begin: np.ndarray) -> dict[str, Any]:
    """Return number, sum, and sums of squares and products about `begin` of the rows of a block that are marked."""
    block, marked = piece
    X = np.asarray(block)[marked].astype(np.float32) - begin.astype(np.float32)
    return {"n": np.array(len(X)), "sum": X.sum(axis=0, dtype=float), "scatter": (X.T @ X).astype(float)}


def _projected(block: Any, mean: np.ndarray, axes: np.ndarray) -> dict[str, np.ndarray]:
    return {"embedding": (np.asarray(block, dtype=np.float32) - mean) @ axes}


# Reports


def _reports(
    reports: Any, fit_on: np.ndarray, min_count: int, embed: bool, random_state, n_jobs, checkpoints, progress: bool
) -> tuple[np.ndarray | None, pd.DataFrame]:
    """Return embeddings of reports, if they are wanted, and a boolean column for each term."""
    n = len(reports)
    how: dict[str, Any] = {"n_jobs": n_jobs, "large": n >= MANY_REPORTS, "progress": progress}
    fitted = np.flatnonzero(fit_on)
    if len(fitted) > FIT_REPORTS:
        fitted = np.sort(check_random_state(random_state).choice(fitted, FIT_REPORTS, replace=False))
    few = n <= FIT_REPORTS
    # Two encoders read the reports, and where there are few, what they learn from is what they are then applied to:
    # words are taken from a text once.
    source = reports if few else reports[fitted]
    read: list[tuple[str, ...]] = []
    pieces = [block_of(source, rows) for rows in blocks_of(source)]
    for terms in map_pieces(_terms_of, pieces, unit="block", description="words of reports", **how):
        read += terms
    chosen = [read[k] for k in fitted] if few else read
    encoder = ReportEncoder(random_state=random_state).fit(chosen) if embed else None
    indicator = TermIndicator(min_count=min_count).fit(chosen)
    del chosen
    if few:
        parts: Iterator[dict[str, Any]] = iter([_encoded(read, encoder, indicator)])
        ranges = [slice(0, n)]
    else:
        del read
        ranges = blocks_of(reports)
        parts = map_pieces(
            _encoded,
            [block_of(reports, rows) for rows in ranges],
            encoder,
            indicator,
            kept=None if checkpoints is None else checkpoints.stage("reports"),
            description="reports",
            unit="block",
            **how,
        )
    names = [str(term) for term in indicator.terms_]
    holds = np.empty((len(names), n), dtype=bool)  # one term behind the other, as a table of columns keeps them
    embedding = None
    for rows, part in zip(ranges, parts, strict=True):
        n_rows = rows.stop - rows.start
        holds[:, rows] = np.unpackbits(part["terms"], axis=1, count=n_rows).astype(bool)
        if encoder is not None:
            if embedding is None:
                embedding = np.empty((n, part["embedding"].shape[1]), dtype=np.float32)
            embedding[rows] = part["embedding"]
    return embedding, pd.DataFrame(holds.T, columns=names, copy=False)


def _terms_of(texts: Any) -> list[tuple[str, ...]]:
    """Return the terms of each text; equal ones are the same object."""
    return [tuple(map(sys.intern, report_terms(text))) for text in np.asarray(texts, dtype=object)]


def _encoded(texts: Any, encoder: ReportEncoder | None, indicator: TermIndicator) -> dict[str, Any]:
    """Return embeddings, and which reports hold each term, as bits of shape (n_terms, n_reports / 8)."""
    terms = texts if isinstance(texts, list) else _terms_of(texts)
    holds = indicator.transform(terms).toarray().astype(bool)
    found: dict[str, Any] = {"terms": np.packbits(holds.T, axis=1)}
    if encoder is not None:
        found["embedding"] = encoder.transform(terms)
    return found


def _positions(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows
