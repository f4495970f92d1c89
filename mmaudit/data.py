"""The cases of an audit: one table with roles, images opened when needed, embeddings by modality."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import joblib
import numpy as np
import pandas as pd
from pandas.api import types as pandas_types
from sklearn.utils import check_random_state

from mmaudit._errors import AuditWarning, ImageReadError, InputError, check_keywords, nearest
from mmaudit._tables import to_numbers
from mmaudit.images import ImageFiles, ImageSource
from mmaudit.shards import ShardedRows, ShardedTexts, scan_shards

__all__ = ["MODALITIES", "AuditData", "Target"]

MODALITIES = ("image", "report", "metadata")
MOST_VALUES_SHOWN = 5
LARGEST = 1e100  # of a number in the metadata; the variance of larger ones overflows

NO_PATIENT_ID = (
    "patient_id: expected a column that says which samples belong to one patient, got none. EVERY SAMPLE IS TREATED "
    "AS A PATIENT OF ITS OWN: if patients have several images, discovery and confirmation share patients, intervals "
    "are too narrow and findings may be false. Give patient_id if it can be known."
)


@dataclass(frozen=True, eq=False)
class Target:
    """One yes-or-no question, and what a classifier answers to it: what an audit looks for errors in.

    A binary classifier has one. One of several labels has one for each label; one of several classes has one for each
    class, "is it this class?", answered by the class of highest probability.

    Attributes
    ----------
    name : str
        What "yes" means.
    y_true : ndarray of shape (n_samples,), int8
        1 for yes, 0 for no, -1 where it is not known; such samples take no part.
    y_proba : ndarray of shape (n_samples,), float64 in [0, 1]
        Predicted probability of yes.
    says : ndarray of shape (n_samples,), bool
        The classifier's answer.
    """

    name: str
    y_true: np.ndarray
    y_proba: np.ndarray
    says: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Where the answer is wrong, shape (n_samples,), bool; False where the truth is not known."""
        return (self.says != (self.y_true == 1)) & (self.y_true >= 0)

    def take(self, rows: np.ndarray) -> Target:
        """Return some samples, a boolean mask or integer positions."""
        return Target(self.name, self.y_true[rows], self.y_proba[rows], self.says[rows])


class AuditData:
    """Cases to audit: images, reports and metadata, with labels and the probabilities that a classifier gave.

    Made by `AuditData.from_frame`, by `AuditData.from_shards` or by a loader of `mmaudit.datasets`. It does not change:
    `subset`, `split`, `with_predictions`, `with_labels` and `with_embeddings` return new objects.

    Attributes
    ----------
    sample_id : pandas.Index of shape (n_samples,)
        Unique names of the samples.
    y_true : ndarray
        Binary: shape (n_samples,), int8, 0 or 1. Several labels: (n_samples, n_labels), float32, 0, 1 or NaN where
        it is not known. Several classes: (n_samples,), int64, 0 to n_classes - 1.
    y_proba : ndarray of float64 in [0, 1], or None
        Probability of label 1, shape (n_samples,); of each label, (n_samples, n_labels); or of each class, (n_samples,
        n_classes), with rows that sum to 1. None until predictions are there.
    patient_id : ndarray of shape (n_samples,), object
        Patient of each sample; the sample's own id where no patient id was given.
    reports : ndarray of shape (n_samples,), str, or None
        Report texts; "" where a sample has none. From shards a `ShardedTexts`, which reads what it is indexed for.
    metadata : DataFrame of shape (n_samples, n_columns)
        Numeric or categorical columns; without columns where there is no metadata.
    attributes : DataFrame of shape (n_samples, n_columns)
        What is known of each sample and kept from the audit: ground truth, annotations. For planting failures and for
        checking what an audit says.
    images : ImageSource or None
        Images by position, opened when read.
    embeddings : mapping of str to ndarray of shape (n_samples, n_dimensions), float32
        Given embeddings, by modality. From shards each a `ShardedRows`, which reads what it is indexed for.
    quarantine : DataFrame with columns sample_id and reason
        Samples and shards that were left out when the data were read.
    label_name : str
        What label 1 means; the names of several labels or classes, joined.
    label_terms : tuple of str
        Words that restate a label in reports, besides the names of the labels or classes.
    card : mapping
        Where the data are from: source, licence, known limits.
    """

    def __init__(
        self,
        *,
        sample_id: pd.Index,
        y_true: np.ndarray,
        y_proba: np.ndarray | None,
        patient_id: np.ndarray,
        has_patient_id: bool,
        reports: np.ndarray | None,
        metadata: pd.DataFrame,
        images: ImageSource | None,
        embeddings: Mapping[str, np.ndarray],
        label_name: str | Sequence[str],
        attributes: pd.DataFrame | None = None,
        label_terms: Sequence[str] = (),
        name: str = "",
        card: Mapping[str, Any] | None = None,
        quarantine: pd.DataFrame | None = None,
        digest: str = "",
    ) -> None:
        self.sample_id = sample_id
        self.y_true = _frozen(y_true)
        self.y_proba = None if y_proba is None else _frozen(y_proba)
        self.patient_id = _frozen(patient_id)
        self.has_patient_id = has_patient_id
        self.reports = None if reports is None else _frozen(reports)
        self._metadata = metadata
        self._attributes = pd.DataFrame(index=sample_id) if attributes is None else attributes
        self.images = images
        self.embeddings = MappingProxyType({k: _frozen(v) for k, v in embeddings.items()})
        self.label_name = label_name if isinstance(label_name, str) else ", ".join(label_name)
        self._label_names = () if isinstance(label_name, str) else tuple(label_name)
        self.label_terms = tuple(label_terms)
        self.name = name
        self.card = MappingProxyType(dict(card or {}))
        self.quarantine = pd.DataFrame(columns=["sample_id", "reason"]) if quarantine is None else quarantine
        self._digest = digest

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "embeddings": dict(self.embeddings), "card": dict(self.card)}  # proxies do not pickle

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({k: _frozen(v) if isinstance(v, np.ndarray) else v for k, v in state.items()})
        self.embeddings = MappingProxyType({k: _frozen(v) for k, v in state["embeddings"].items()})
        self.card = MappingProxyType(state["card"])

    @classmethod
    @check_keywords
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        label: str | Sequence[str],
        y_proba: str | Sequence[str] | None = None,
        patient_id: str | None = None,
        sample_id: str | None = None,
        image: str | None = None,
        image_root: str | Path | None = None,
        images: ImageSource | None = None,
        report: str | None = None,
        metadata: Sequence[str] | str = (),
        attributes: Sequence[str] | str = (),
        embeddings: Mapping[str, Any] | None = None,
        label_name: str | Sequence[str] | None = None,
        label_terms: Sequence[str] | str = (),
        name: str = "",
        card: Mapping[str, Any] | None = None,
    ) -> AuditData:
        """Return the cases in a table, one row a sample, after checking them.

        Parameters
        ----------
        df : DataFrame of shape (n_samples, n_columns)
            One row a sample. Its index names the samples unless `sample_id` is given.
        label : str, or sequence of str
            Column of labels, 0 or 1 (or False and True); none may be missing. Several columns are several labels of
            the same cases; there NaN says that one is not known. One column of classes, 0 to n_classes - 1, is told
            by several columns of `y_proba`, or by several names in `label_name`.
        y_proba : str, sequence of str, or None
            Column of probabilities of label 1, in [0, 1]; with several labels one column each, in their order; with
            classes one each, in rows that sum to 1. None: predictions are added later, `with_predictions`.
        patient_id : str or None
            Column that says which samples belong to one patient. None: a warning, and each sample is a patient.
        sample_id : str or None
            Column of unique names. None: the index of `df`.
        image : str or None
            Column of paths or URLs of images. None: no images, unless `images` is given.
        image_root : path, str or None
            Folder, zip file or URL that every image must lie in; see `mmaudit.images.ImageFiles`. None: paths are
            taken as they are, those with "://" as URLs.
        images : ImageSource or None
            Images that are no files, in the order of `df`. None: `image` is used.
        report : str or None
            Column of report texts. None: no reports.
        metadata : sequence of str, or str
            Columns of metadata: numeric, boolean or categorical. None of them may have another role too.
        attributes : sequence of str, or str
            Columns that the audit must not see, such as ground truth or annotations; kept as they are.
        embeddings : mapping of {"image", "report", "metadata"} to array of shape (n_samples, n_dimensions), or None
            Embeddings made elsewhere; used instead of the built-in encoder of that modality. None: none.
        label_name : str, sequence of str, or None
            What label 1 means, in words; with several labels or classes a name each. None: the name of the column,
            for classes with their number behind it.
        label_terms : sequence of str, or str
            Further words that restate a label in reports. With several labels or classes, words that restate any of
            them are kept from the explanations of all: a report often names one beside the other.
        name : str
            A name for the data set.
        card : mapping or None
            Source, licence, known limits. None: unknown.

        Returns
        -------
        AuditData

        Raises
        ------
        InputError
            A missing column, or one with two roles; duplicate ids; labels other than 0 and 1 or only one of them;
            probabilities outside [0, 1] or missing, or of classes that do not sum to 1; names or columns of
            probabilities that are not as many as labels or classes; infinite metadata; embeddings of the wrong shape.
        TypeError
            No DataFrame, or names or embeddings of the wrong kind.
        UnknownKeywordError
            A keyword this function does not have.

        Examples
        --------
        >>> import pandas as pd, mmaudit as mma
        >>> df = pd.DataFrame({"y": [0, 1, 1], "p": [0.2, 0.9, 0.4], "who": list("abb"), "view": ["PA", "AP", "PA"]})
        >>> mma.AuditData.from_frame(df, label="y", y_proba="p", patient_id="who", metadata=["view"])
        AuditData: 3 samples of 2 patients
          label        y: 2 of 3 are 1 (67 %)
          probability  0.20 to 0.90; wrong at 0.5: 1 of 3 (33 %)
          metadata     view (2 values)

        Two labels of the same cases, audited together:

        >>> df = df.assign(z=[1, None, 0], q=[0.7, 0.2, 0.9])
        >>> both = mma.AuditData.from_frame(df, label=["y", "z"], y_proba=["p", "q"], patient_id="who")
        >>> both.kind, [target.error.tolist() for target in both.targets()]
        ('multilabel', [[False, False, True], [False, False, True]])
        """
        if not isinstance(df, pd.DataFrame):
            raise TypeError(
                f"df: expected a pandas DataFrame, got {type(df).__name__}. Convert it with pandas.DataFrame(...)."
            )
        metadata, attributes = _names("metadata", metadata), _names("attributes", attributes)
        labels, probas = _one_or_more(label), _one_or_more(y_proba)
        roles = _roles("label", labels) | _roles("y_proba", probas)
        roles |= {"patient_id": patient_id, "sample_id": sample_id, "image": image, "report": report}
        _check_columns(df, roles | {f"metadata[{i}]": c for i, c in enumerate(metadata)})
        _check_columns(df, {f"attributes[{i}]": c for i, c in enumerate(attributes)})
        _check_no_other_role(metadata, roles)
        if len(df) == 0:
            raise InputError("df", "at least one row", "an empty table", "Check the filter that made it.")
        if image is not None and images is not None:
            raise InputError("images", "either image or images", "both", "Leave one of them out.")
        if image_root is not None and image is None:
            raise InputError("image_root", "image beside it", "image_root alone", "Name the column of paths too.")
        if images is not None and len(images) != len(df):
            raise InputError("images", f"{len(df)} images", f"{len(images)}", "Give one image a row.")

        kind, names = _kind_and_names(labels, probas, label_name)
        named = df.index if sample_id is None else df[sample_id]
        ids = pd.Index(named.astype(float) if named.dtype == np.float16 else named)  # pandas has no index of float16
        if ids.hasnans:
            raise InputError("sample_id", "a name for each sample", "missing values", "Fill them in.")
        n_unwritable = sum(str(name) != _as_text(name) for name in ids) if ids.dtype == object else 0
        if n_unwritable:
            raise InputError(
                "sample_id",
                "names that UTF-8 can hold",
                f"{n_unwritable:,} with half of a surrogate pair",
                "Read the table in its own encoding, or rename them.",
            )
        n_repeated = int(ids.duplicated().sum())
        if n_repeated:
            raise InputError(
                "sample_id",
                "unique names" if sample_id else "a table with a unique index",
                f"{n_repeated} duplicate ids",
                "Drop repeated rows, or df.reset_index(drop=True).",
            )
        patients = ids.to_numpy() if patient_id is None else _patients(df[patient_id])
        if patient_id is None:
            warnings.warn(NO_PATIENT_ID, AuditWarning, stacklevel=3)
        reports = None if report is None else _texts(df[report])
        if image is not None:
            paths = [None if pd.isna(p) or str(p) == "" else str(p) for p in df[image]]
            images = ImageFiles(paths, image_root)
        return cls(
            sample_id=ids,
            y_true=_labels_of_kind(df[labels] if kind == "multilabel" else df[labels[0]], kind, names),
            y_proba=_proba_of_kind(df[probas], len(df), kind, names) if probas else None,
            patient_id=patients.astype(object),
            has_patient_id=patient_id is not None,
            reports=reports,
            metadata=_metadata_columns(df, metadata, ids),
            images=images,
            attributes=df[attributes].set_axis(ids),
            embeddings=_check_embeddings({} if embeddings is None else embeddings, df, len(df)),
            label_name=names if kind != "binary" else names[0],
            label_terms=_names("label_terms", label_terms),
            name=name,
            card=card,
        )

    @classmethod
    @check_keywords
    def from_shards(
        cls,
        folder: str | Path,
        *,
        label: str | Sequence[str],
        y_proba: str | Sequence[str] | None = None,
        patient_id: str | None = None,
        sample_id: str | None = None,
        image: str | None = None,
        image_root: str | Path | None = None,
        report: str | None = None,
        metadata: Sequence[str] | str = (),
        attributes: Sequence[str] | str = (),
        label_name: str | Sequence[str] | None = None,
        label_terms: Sequence[str] | str = (),
        name: str = "",
        card: Mapping[str, Any] | None = None,
        n_jobs: int | None = None,
        progress: bool = False,
    ) -> AuditData:
        """Return the cases in a folder of parquet tables, with arrays of embeddings beside them.

        Labels, probabilities, ids and metadata are held in memory, some 100 bytes a sample. Reports and embeddings
        stay in their files and are read, a shard at a time, by the process that works on them. All files are looked
        through once: samples without a label, a patient or a probability in [0, 1], or with embeddings that are not
        finite, and shards that cannot be read, are left out and listed in `quarantine`.

        Parameters
        ----------
        folder : path or str
            Holds tables that end in .parquet, in the order of their names. Beside `part.parquet` may lie
            `part.image.npy`, `part.report.npy` and `part.metadata.npy`: arrays of shape (rows of the table,
            n_dimensions). A path, or a URL of fsspec with "://". `mmaudit.shards.write_shards` writes such a folder.
        label, y_proba, patient_id, sample_id, image, image_root, report, metadata, attributes, label_name, label_terms
            As of `from_frame`. Without `sample_id`, samples are numbered through.
        name, card
            As of `from_frame`.
        n_jobs : int or None
            Workers. None: those of `joblib.parallel_config`, without it all cores.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        AuditData

        Raises
        ------
        InputError
            As `from_frame`; a folder without tables, tables without a column, embeddings that differ from shard to
            shard, or more than 5 % of the samples or shards that had to be left out.

        Examples
        --------
        >>> import tempfile, numpy as np, pandas as pd, mmaudit as mma
        >>> df = pd.DataFrame({"y": [0, 1, 1, 0], "p": [0.2, 0.9, 0.4, 0.7], "who": list("abcd")})
        >>> folder = tempfile.mkdtemp()
        >>> shards = mma.shards.write_shards(folder, df, embeddings={"image": np.eye(4)}, n_rows=2)
        >>> data = mma.AuditData.from_shards(folder, label="y", y_proba="p", patient_id="who")
        >>> data.n_samples, data.embeddings["image"].shape
        (4, (4, 4))
        """
        metadata, attributes = _names("metadata", metadata), _names("attributes", attributes)
        labels, probas = _one_or_more(label), _one_or_more(y_proba)
        _check_no_other_role(metadata, {"report": report})  # before the files are read; the others are checked below
        single = dict.fromkeys(labels, "label") if len(labels) == 1 else {}  # of several, some may be unknown
        single |= {patient_id: "patient id"} if patient_id is not None else {}
        roles = [*labels, *probas, patient_id, sample_id, image, *metadata, *attributes]
        scanned = scan_shards(
            folder,
            columns=list(dict.fromkeys(c for c in roles if c is not None)),
            text=report,
            needed=single,
            probabilities=probas,
            sample_id=sample_id,
            n_jobs=n_jobs,
            progress=progress,
        )
        data = cls.from_frame(
            scanned.frame,
            label=label,
            y_proba=y_proba,
            patient_id=patient_id,
            sample_id=sample_id,
            image=image,
            image_root=image_root,
            metadata=metadata,
            attributes=attributes,
            label_name=label_name,
            label_terms=label_terms,
            name=name,
            card=card,
        )
        if scanned.texts is not None:
            _check_not_empty(scanned.n_empty, data.n_samples, stacklevel=4)
        data.reports = scanned.texts
        data.embeddings = MappingProxyType(dict(scanned.embeddings))
        data.quarantine = scanned.quarantine
        data._digest = scanned.digest
        if len(scanned.quarantine):
            counts = scanned.quarantine["reason"].value_counts()
            warnings.warn(
                f"shards: expected every sample to be usable, got {len(scanned.quarantine):,} samples or shards that "
                f"are not ({', '.join(f'{n:,} {reason}' for reason, n in counts.items())}). They are left out, and "
                "listed in result.quarantine.",
                AuditWarning,
                stacklevel=3,
            )
        return data

    def digest(self) -> str:
        """Return what tells these data from others: a digest of all that an audit sees of them, 40 digits.

        Images are told by their number and, where they are files, by their paths; what is in them is not looked at.
        """
        seen = (self.sample_id, self.y_true, self.y_proba, self.patient_id, self._metadata, self.label_names)
        # Of what lies in files, `_digest` tells all but the name of the column.
        kept = self.reports.column if isinstance(self.reports, ShardedTexts) else self.reports
        arrays = {k: v for k, v in self.embeddings.items() if isinstance(v, np.ndarray)}
        images = None
        if self.images is not None:
            images = (
                (self.images.paths, str(self.images.root)) if isinstance(self.images, ImageFiles) else len(self.images)
            )
        return joblib.hash((seen, kept, arrays, images, self.label_terms, self._digest), hash_name="sha1")

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.sample_id)

    @property
    def n_patients(self) -> int:
        """Number of patients."""
        return len(pd.unique(self.patient_id))

    def __len__(self) -> int:
        return self.n_samples

    @property
    def kind(self) -> str:
        """One label, several, or one of several classes: "binary", "multilabel" or "multiclass"."""
        if self.y_true.ndim == 2:
            return "multilabel"
        return "multiclass" if self._label_names else "binary"

    @property
    def label_names(self) -> tuple[str, ...]:
        """Name of each label, or of each class."""
        return self._label_names or (self.label_name,)

    @property
    def metadata(self) -> pd.DataFrame:
        """A copy of the metadata columns, indexed by sample."""
        return self._metadata.copy()

    @property
    def attributes(self) -> pd.DataFrame:
        """A copy of the columns that are kept from the audit, indexed by sample."""
        return self._attributes.copy()

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that these data have, in the order image, report, metadata."""
        has = {
            "image": self.images is not None or "image" in self.embeddings,
            "report": self.reports is not None or "report" in self.embeddings,
            "metadata": self._metadata.shape[1] > 0 or "metadata" in self.embeddings,
        }
        return tuple(m for m in MODALITIES if has[m])

    def image(self, sample_id: Any, *, max_side_px: int | None = None) -> np.ndarray:
        """Return the image of one sample as grey values.

        Parameters
        ----------
        sample_id
            One of `self.sample_id`.
        max_side_px : int or None
            Longer side of the result. None: full size.

        Returns
        -------
        ndarray of shape (height, width), float32 in [0, 1]

        Raises
        ------
        InputError
            If there are no images or no such sample.
        ImageReadError
            If the image is missing, damaged, too large or outside `image_root`.
        """
        if self.images is None:
            raise InputError("image", "data with images", "data without", "Load the data with image=.")
        if sample_id not in self.sample_id:
            raise InputError("sample_id", "one of data.sample_id", "another value", "See data.sample_id.")
        read = self.images.read(int(self.sample_id.get_loc(sample_id)), max_side_px=max_side_px)
        if read.bit_depth > 8:
            warn_high_depth(1, 1)
        return read.pixels

    def subset(self, which: Any) -> AuditData:
        """Return some of the samples.

        Parameters
        ----------
        which : array of bool of shape (n_samples,), or array of int positions
            The samples to keep, in this order for positions.

        Raises
        ------
        InputError
            A mask of another length, or a position that does not exist.
        """
        which = np.asarray(which)
        if which.dtype == bool:
            if which.shape != (self.n_samples,):
                raise InputError(
                    "which", f"a mask of shape ({self.n_samples},)", f"one of shape {which.shape}", "Build it anew."
                )
            which = np.flatnonzero(which)
        elif which.size and not np.issubdtype(which.dtype, np.integer):
            raise InputError("which", "a boolean mask or integer positions", f"{which.dtype}", "Convert it.")
        if which.ndim != 1:
            raise InputError("which", "a list of positions", f"an array of shape {which.shape}", "Use [position].")
        if which.size and (which.min() < -self.n_samples or which.max() >= self.n_samples):
            raise InputError("which", f"positions below {self.n_samples}", "one outside", "Use a boolean mask.")
        which = which.astype(np.intp) % max(self.n_samples, 1)
        if len(np.unique(which)) != len(which):
            raise InputError("which", "each position once", "repeated positions", "Sample ids must stay unique.")
        return AuditData(
            sample_id=self.sample_id[which],
            y_true=self.y_true[which],
            y_proba=None if self.y_proba is None else self.y_proba[which],
            patient_id=self.patient_id[which],
            has_patient_id=self.has_patient_id,
            reports=None if self.reports is None else _rows_of(self.reports, which),
            metadata=self._metadata.iloc[which],
            attributes=self._attributes.iloc[which],
            images=None if self.images is None else self.images.take(which.tolist()),
            embeddings={k: _rows_of(v, which) for k, v in self.embeddings.items()},
            label_name=self._label_names or self.label_name,
            label_terms=self.label_terms,
            name=self.name,
            card=self.card,
            quarantine=self.quarantine,
            digest=self._digest,
        )

    def split(self, fraction: float = 0.5, *, random_state: Any = None) -> tuple[AuditData, AuditData]:
        """Return two parts that share no patient.

        Patients are drawn separately among those with and without a positive sample, so that both parts hold
        about the same share of label 1. With several labels or classes, among those with the same one, the rarest
        that a patient has.

        Parameters
        ----------
        fraction : float in (0, 1)
            Share of patients in the first part.
        random_state : int, RandomState or None
            Seed. None: a new split each time.

        Raises
        ------
        InputError
            A fraction outside (0, 1), or too few patients to leave two of them in each part.
        """
        first = self.split_mask(fraction, random_state=random_state)
        return self.subset(first), self.subset(~first)

    def split_mask(
        self, fraction: float = 0.5, *, balance: np.ndarray | None = None, random_state: Any = None
    ) -> np.ndarray:
        """Return the mask of shape (n_samples,) of the first part of `split`.

        Parameters
        ----------
        fraction : float in (0, 1)
            Share of patients in the first part.
        balance : ndarray of shape (n_samples,), bool, or None
            Patients with a marked sample are shared out evenly too. None: only those with a positive one.
        random_state : int, RandomState or None
            Seed. None: a new split each time.
        """
        if not 0 < fraction < 1:
            raise InputError("fraction", "a number between 0 and 1", f"{fraction}", "Use 0.5.")
        codes, patients = pd.factorize(self.patient_id)
        if len(patients) < 4:
            raise InputError(
                "patient_id",
                "at least 4 patients, to put two in each part",
                f"{len(patients)}",
                "Add patients: samples of one patient cannot be split.",
            )
        rng = check_random_state(random_state)
        has = np.stack([np.bincount(codes, weights=of_target == 1) > 0 for of_target in self.truths()], axis=1)
        commonest_first = np.argsort(np.argsort(-has.sum(axis=0), kind="stable")) + 1
        stratum = 2 * (has * commonest_first).max(axis=1)
        if balance is not None:
            stratum += np.bincount(codes, weights=np.asarray(balance, dtype=float)) > 0
        # Shuffle, then put patients of one stratum next to each other (stable), and deal them out evenly.
        order = rng.permutation(len(patients))
        order = order[np.argsort(-stratum[order], kind="stable")]
        position = np.arange(len(patients)) + rng.random()
        in_first = np.floor((position + 1) * fraction) > np.floor(position * fraction)
        if in_first.sum() < 2 or (~in_first).sum() < 2:
            raise InputError("fraction", "two patients or more in each part", "fewer", "Use a fraction nearer to 0.5.")
        chosen = np.zeros(len(patients), dtype=bool)
        chosen[order[in_first]] = True
        return chosen[codes]

    def with_predictions(self, y_proba: Any) -> AuditData:
        """Return the same cases with these probabilities.

        Parameters
        ----------
        y_proba : array of float in [0, 1]
            Of label 1, shape (n_samples,); of each label or class, (n_samples, n_labels) or (n_samples, n_classes), in
            the order of `label_names`. A DataFrame with these names as columns may have them in any order.

        Raises
        ------
        InputError
            Values that are missing or outside [0, 1], or another shape; classes that do not sum to 1.
        """
        new = self.subset(np.arange(self.n_samples))
        new.y_proba = _frozen(_proba_of_kind(y_proba, self.n_samples, self.kind, self.label_names))
        return new

    def with_embeddings(self, embeddings: Mapping[str, Any]) -> AuditData:
        """Return the same cases with these embeddings beside, or instead of, those that they have.

        Parameters
        ----------
        embeddings : mapping of {"image", "report", "metadata"} to array of shape (n_samples, n_dimensions)
            Finite numbers, such as an encoder of `mmaudit.encoders` gives; kept as float32.

        Raises
        ------
        InputError
            An unknown modality, another shape, or values that are not finite.
        """
        frame = pd.DataFrame(index=self.sample_id)
        checked = _check_embeddings(embeddings, frame, self.n_samples)
        new = self.subset(np.arange(self.n_samples))
        new.embeddings = MappingProxyType({**new.embeddings, **{k: _frozen(v) for k, v in checked.items()}})
        return new

    def with_labels(self, y_true: Any) -> AuditData:
        """Return the same cases with these labels.

        Parameters
        ----------
        y_true : array of shape (n_samples,), 0 or 1
            With several labels (n_samples, n_labels), 0, 1 or NaN; with classes (n_samples,), 0 to n_classes - 1.

        Raises
        ------
        InputError
            Values other than these, or another shape.
        """
        labels = _labels_of_kind(y_true, self.kind, self.label_names)
        if len(labels) != self.n_samples:
            raise InputError("y_true", f"{self.n_samples} labels", f"{len(labels)}", "Give one a sample, in order.")
        new = self.subset(np.arange(self.n_samples))
        new.y_true = _frozen(labels)
        return new

    def targets(self, threshold: float | Sequence[float] | Mapping[str, float] = 0.5) -> list[Target]:
        """Return the questions that the classifier answers: one, or one for each label or class.

        Parameters
        ----------
        threshold : float in (0, 1), sequence of them, or mapping of label name to float
            Probability from which the classifier says yes; several labels may have one each, and one that a mapping
            does not name has 0.5. Not for classes: there the highest probability decides.

        Raises
        ------
        InputError
            If there are no predictions, or for thresholds that do not fit the labels.
        """
        if self.y_proba is None:
            raise InputError(
                "data", "data with predicted probabilities", "data without", "Add them: data.with_predictions(y_proba)."
            )
        thresholds = self._thresholds(threshold)
        proba = self.y_proba.reshape(self.n_samples, -1)
        if self.kind == "multiclass":
            says = proba.argmax(axis=1)[:, None] == np.arange(proba.shape[1])
        else:
            says = proba >= thresholds
        parts = zip(self.label_names, self.truths(), proba.T, says.T, strict=True)
        return [Target(*map(_contiguous, part)) for part in parts]

    def truths(self) -> list[np.ndarray]:
        """Return the truth of each target, shape (n_samples,), int8, -1 where it is not known."""
        if self.kind == "binary":
            return [self.y_true]
        if self.kind == "multiclass":
            return [(self.y_true == c).astype(np.int8) for c in range(len(self.label_names))]
        return list(np.where(np.isnan(self.y_true), -1, self.y_true).astype(np.int8).T)

    def _thresholds(self, given: Any) -> np.ndarray:
        """Return the threshold of each label, shape (n_labels,), or raise `InputError`."""
        names = self.label_names
        if self.kind == "multiclass" and (not isinstance(given, (int, float, np.number)) or given != 0.5):
            raise InputError(
                "threshold",
                "none for classes, since the highest probability decides",
                f"{given!r}",
                "Leave it out.",
            )
        if isinstance(given, Mapping):
            unknown = [name for name in given if name not in names]
            if unknown:
                raise InputError(
                    "threshold",
                    f"labels among {_listed(names)}",
                    f"{unknown[0]!r}",
                    nearest(unknown[0], names).strip() or "Correct the name.",
                )
            values = [given.get(name, 0.5) for name in names]
        elif isinstance(given, (Sequence, np.ndarray)) and not isinstance(given, str):
            values = list(given)
            if len(values) != len(names):
                raise InputError(
                    "threshold", f"{len(names)}, one a label", f"{len(values)}", f"Their order is: {_listed(names)}."
                )
        else:
            values = [given] * len(names)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 < value < 1:
                raise InputError("threshold", "a number between 0 and 1", f"{value!r}", "Choose one in that range.")
        return np.array(values, dtype=float)

    def __repr__(self) -> str:
        title = f"AuditData {self.name!r}" if self.name else "AuditData"
        patients = f"{self.n_patients:,} patients" if self.has_patient_id else "unknown patients (each its own)"
        lines = [f"{title}: {self.n_samples:,} samples of {patients}", *self._label_lines()]
        if self.images is not None:
            lines.append(f"  images       {len(self.images):,}, opened when needed")
        if self.reports is not None and self.n_samples:
            if isinstance(self.reports, ShardedTexts):
                lines.append(f"  reports      {self.n_samples:,}, read when needed")
            else:
                words = np.array([len(r.split()) for r in self.reports])
                empty = int((words == 0).sum())
                lines.append(
                    f"  reports      median {int(np.median(words))} words" + (f", {empty:,} empty" if empty else "")
                )
        if self._metadata.shape[1]:
            lines.append(
                "  metadata     " + ", ".join(_column_summary(self._metadata[c]) for c in self._metadata.columns)
            )
        if self._attributes.shape[1]:
            lines.append(f"  attributes   {self._attributes.shape[1]} columns, kept from the audit")
        for modality, values in self.embeddings.items():
            lines.append(f"  embedding    {modality}: {values.shape[1]} dimensions")
        return "\n".join(lines)

    def _label_lines(self) -> list[str]:
        """Return what `repr` says of labels and probabilities."""
        truths = self.truths()
        n = max(self.n_samples, 1)
        none_yet = "  probability  none yet; add it with .with_predictions(...)"
        if self.kind == "binary":
            positive = int(self.y_true.sum())
            head = f"  label        {self.label_name}: {positive:,} of {self.n_samples:,} are 1"
            lines = [f"{head} ({100 * positive / n:.0f} %)"]
        elif self.kind == "multiclass":
            shares = [f"{name} ({100 * t.sum() / n:.0f} %)" for name, t in zip(self.label_names, truths, strict=True)]
            lines = [f"  classes      {_listed(shares)}"]
        else:
            shares = []
            for name, truth in zip(self.label_names, truths, strict=True):
                known, unknown = truth[truth >= 0], int((truth < 0).sum())
                share = f"{100 * known.mean():.0f} %" if len(known) else "none known"
                shares.append(f"{name} ({share}{f', {unknown:,} unknown' if unknown else ''})")
            lines = [f"  labels       {_listed(shares)}"]
        if self.y_proba is None:
            return [*lines, none_yet]
        if self.n_samples == 0:
            return lines
        head = f"  probability  {self.y_proba.min():.2f} to {self.y_proba.max():.2f}; wrong"
        if self.kind == "multilabel":
            errors = [f"{t.name} {100 * t.error.sum() / max((t.y_true >= 0).sum(), 1):.0f} %" for t in self.targets()]
            return [*lines, f"{head} at 0.5: {_listed(errors)}"]
        if self.kind == "multiclass":
            wrong = int((self.y_proba.argmax(axis=1) != self.y_true).sum())
        else:
            wrong, head = int(self.targets()[0].error.sum()), f"{head} at 0.5"
        return [*lines, f"{head}: {wrong:,} of {self.n_samples:,} ({100 * wrong / self.n_samples:.0f} %)"]


def check_binary(data: AuditData, what: str) -> None:
    """Raise `InputError` unless the data have one label of 0 and 1; `what` is what needs that."""
    if data.kind != "binary":
        several = "labels" if data.kind == "multilabel" else "classes"
        raise InputError(
            "data",
            f"data with one label, 0 or 1, for {what}",
            f"data with {len(data.label_names)} {several}",
            "Load them with one label: AuditData.from_frame(df, label=one_column, ...).",
        )


_STRETCHED = {
    "percentiles": "stretched between its own 0.5 and 99.5 percentiles",
    "minmax": "stretched between its own least and largest value",
    "full": "divided by the largest value of its depth",
}


def warn_high_depth(n_high: int, n_images: int, window: str = "percentiles") -> None:
    """Say that images of more than 8 bits were windowed without knowledge of the right window."""
    warnings.warn(
        f"image: expected images of 8 bits or with a display window, got {n_high:,} of {n_images:,} with more bits and "
        f"none. Each is {_STRETCHED[window]}; export with the display window to see what a reader saw.",
        AuditWarning,
        stacklevel=3,
    )


def check_image_share(errors: Sequence[ImageReadError | None], *, limit: float = 0.05) -> None:
    """Raise if any image lies outside `image_root` or more than `limit` cannot be read; else warn of those few."""
    failed = [e for e in errors if e is not None]
    if not failed:
        return
    outside = [e for e in failed if e.reason == "outside image_root"]
    if outside:
        raise outside[0]
    counts = pd.Series([e.reason for e in failed]).value_counts()
    summary = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
    if len(failed) > limit * len(errors):
        raise ImageReadError(
            "image",
            f"at least {1 - limit:.0%} of the images to be readable",
            f"{len(failed):,} of {len(errors):,} that are not ({summary})",
            f"The first says: {failed[0]}",
            reason=failed[0].reason,
        )
    warnings.warn(
        f"image: expected every image to be readable, got {len(failed):,} of {len(errors):,} that are not ({summary}). "
        "These samples take part without a picture; they are listed in result.quarantine.",
        AuditWarning,
        stacklevel=3,
    )


def check_labels(values: Any) -> np.ndarray:
    """Return labels as int8 of shape (n_samples,), or raise `InputError` if they are not 0 and 1 or all the same."""
    series = pd.Series(values)
    missing = int(series.isna().sum())
    if missing:
        raise InputError(
            "label",
            "0 or 1 for every sample",
            f"{missing:,} missing values (NaN)",
            "Leave these rows out, or decide what they mean: df = df.dropna(subset=[label]).",
        )
    if series.dtype == object or isinstance(series.dtype, pd.CategoricalDtype):
        with contextlib.suppress(UnicodeEncodeError):  # of half a surrogate pair: no label either
            series = pd.Series(series.tolist())  # numbers and booleans kept as objects are numbers and booleans again
    if pandas_types.is_bool_dtype(series):
        series = series.astype(int)
    numeric = pd.to_numeric(series, errors="coerce") if pandas_types.is_numeric_dtype(series) else None
    if numeric is None or not numeric.isin([0, 1]).all():
        n_kinds = series.nunique()
        # Many values, or as many as samples, are no classes: they may be ids, and those belong in no message.
        few = n_kinds <= min(MOST_VALUES_SHOWN, len(series) // 2)
        shown = ", ".join(repr(v) for v in sorted(series.unique().tolist(), key=str)) if few else ""
        raise InputError(
            "label",
            "the values 0 and 1",
            f"{n_kinds:,} different values: {shown}" if few else f"{n_kinds:,} different values",
            "Map them first, for example (df[label] == 'positive').astype(int)."
            if few
            else "Check that it is the label column.",
        )
    labels = numeric.to_numpy(dtype=np.int8, copy=True)  # the table stays the caller's, to change at will
    if labels.min() == labels.max():
        raise InputError(
            "label",
            "both classes, 0 and 1",
            f"one class only ({labels[0]})",
            "An audit compares errors within each class: add samples of the other, or check the label column.",
        )
    return labels


def check_several_labels(values: Any, names: Sequence[str]) -> np.ndarray:
    """Return labels as float32 of shape (n_samples, n_labels), NaN where unknown, or raise `InputError`."""
    frame = _by_name(values, names)
    if frame is None:
        raise InputError("label", f"{len(names)} columns, one a label", f"shape {np.shape(values)}", "Stack them.")
    columns = []
    for name, column in frame.items():
        column = pd.Series(column.tolist())
        if column.dtype == object:  # booleans with missing ones among them
            column = column.map(lambda v: float(v) if isinstance(v, (bool, np.bool_)) else v)
        numeric = to_numbers(column).astype(float)
        bad = column.notna() & ~numeric.isin([0, 1])
        if bad.any():
            minus_one = bool((numeric[bad] == -1).any())
            raise InputError(
                "label",
                "0, 1 or NaN where it is not known",
                f"{int(bad.sum()):,} other values in {name!r}" + (", -1 among them" if minus_one else ""),
                "Decide what they mean: -1 (uncertain, in CheXpert) may become NaN, 0 or 1."
                if minus_one
                else "Map them first, for example (df[label] == 'positive').astype(int).",
            )
        columns.append(numeric.to_numpy(dtype=np.float32))
    labels = np.stack(columns, axis=1)
    if not ((labels == 0).any(axis=0) & (labels == 1).any(axis=0)).any():
        raise InputError(
            "label",
            "both 0 and 1 in one label at least",
            f"{len(names)} labels with one value each",
            "An audit compares errors within each: add samples, or check the label columns.",
        )
    return labels


def check_classes(values: Any, names: Sequence[str]) -> np.ndarray:
    """Return classes as int64 of shape (n_samples,), 0 to n_classes - 1, or raise `InputError`."""
    series = pd.Series(values)
    missing = int(series.isna().sum())
    expected = f"a class for every sample, 0 to {len(names) - 1}"
    if missing:
        raise InputError("label", expected, f"{missing:,} missing values (NaN)", "Leave these rows out.")
    series = pd.Series(series.tolist())
    numeric = to_numbers(series)
    outside = int((~numeric.isin(range(len(names)))).sum())
    if outside:
        words = int(numeric.isna().sum())
        raise InputError(
            "label",
            expected,
            f"{words:,} values that are no numbers" if words else f"{outside:,} other values",
            "Map them first, for example df[label].map({'normal': 0, 'pneumonia': 1, ...}).",
        )
    classes = numeric.to_numpy(dtype=np.int64, copy=True)
    if classes.min() == classes.max():
        raise InputError("label", "two classes or more", f"one only ({classes[0]})", "Check the label column.")
    return classes


def check_class_proba(values: Any, n_samples: int, names: Sequence[str]) -> np.ndarray:
    """Return probabilities of classes as float64 of shape (n_samples, n_classes), or raise `InputError`."""
    proba = _check_columns_of_proba(values, n_samples, names, logits="scipy.special.softmax(logits, axis=1)")
    sums = proba.sum(axis=1)
    off = int((np.abs(sums - 1) > 1e-3).sum())
    if off:
        raise InputError(
            "y_proba",
            "rows that sum to 1, one probability a class",
            f"{off:,} of {n_samples:,} rows that do not (sums from {sums.min():.3g} to {sums.max():.3g})",
            "Apply softmax to the logits, not a sigmoid to each; or name every class's column. Labels that may "
            "hold together are several labels: label=[...], one column each.",
        )
    return proba


def check_proba(
    values: Any,
    n_samples: int,
    *,
    argument: str = "y_proba",
    logits: str = "the sigmoid: scipy.special.expit(logits)",
) -> np.ndarray:
    """Return probabilities as float64 of shape (n_samples,), or raise `InputError` with what they look like.

    `logits` is what to apply to them if that is what they look like.
    """
    try:
        proba = np.asarray(pd.to_numeric(pd.Series(np.asarray(values).ravel())), dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise InputError(
            argument, "numbers in [0, 1]", "values that are not numbers", "Convert the column to float."
        ) from None
    if proba.shape != (n_samples,):
        raise InputError(argument, f"{n_samples:,} values", f"{proba.size:,}", "Give one probability a sample.")
    missing = int((~np.isfinite(proba)).sum())
    if missing:
        raise InputError(
            argument,
            "a probability for every sample",
            f"{missing:,} missing values (NaN or infinite)",
            "Predict them again, or leave these rows out.",
        )
    low, high = proba.min(), proba.max()
    if low < -1e-6 or high > 1 + 1e-6:
        outside = int(((proba < 0) | (proba > 1)).sum())
        if low >= 0 and high <= 100 and np.median(proba) > 1:
            looks, action = "they look like percentages", "Divide them by 100."
        elif low < 0 and outside > 0.05 * n_samples:
            looks, action = "they look like logits", f"Apply {logits}."
        else:
            looks, action = "they are no probabilities", "Check the column; clip only if you know why."
        raise InputError(
            argument,
            "probabilities in [0, 1]",
            f"values from {low:.3g} to {high:.3g} with {outside:,} outside: {looks}",
            action,
        )
    return np.clip(proba, 0, 1)


def _check_columns_of_proba(values: Any, n_samples: int, names: Sequence[str], **keywords: str) -> np.ndarray:
    """Return probabilities as float64 of shape (n_samples, n_names), or raise `InputError`."""
    frame = _by_name(values, names)
    if frame is None or len(frame) != n_samples:
        raise InputError(
            "y_proba",
            f"shape ({n_samples}, {len(names)})",
            f"{np.shape(values)}",
            f"Give a row a sample and a column for each of {_listed(names)}, in this order.",
        )
    columns = [
        check_proba(column, n_samples, argument=f"y_proba[{j}]", **keywords)
        for j, (_, column) in enumerate(frame.items())
    ]
    return np.stack(columns, axis=1)


def _by_name(values: Any, names: Sequence[str]) -> pd.DataFrame | None:
    """Return a table with a column for each name; None if the values do not have as many columns.

    Columns of these names may come in any order; others are taken as they stand.
    """
    if isinstance(values, pd.DataFrame) and set(values.columns) == set(names):
        values = values[list(names)]
    table = pd.DataFrame(values if isinstance(values, pd.DataFrame) else np.asarray(values))
    return table.set_axis(list(names), axis=1) if table.shape[1] == len(names) else None


def _labels_of_kind(values: Any, kind: str, names: Sequence[str]) -> np.ndarray:
    if kind == "multilabel":
        return check_several_labels(values, names)
    return check_classes(values, names) if kind == "multiclass" else check_labels(values)


def _proba_of_kind(values: Any, n_samples: int, kind: str, names: Sequence[str]) -> np.ndarray:
    if kind == "multilabel":
        return _check_columns_of_proba(values, n_samples, names)
    return check_class_proba(values, n_samples, names) if kind == "multiclass" else check_proba(values, n_samples)


def _kind_and_names(labels: list, probas: list, given: Any) -> tuple[str, tuple[str, ...]]:
    """Return the kind of data that the columns make, and the name of each label or class."""
    names = None if given is None else tuple(map(str, _names("label_name", given)))
    if not labels:
        raise InputError("label", "a column, or several", "an empty list", "Name the columns of labels.")
    for argument, columns in (("label", labels), ("y_proba", probas), ("label_name", names or ())):
        twice = [c for c in columns if list(columns).count(c) > 1]
        if twice:
            raise InputError(argument, "each name once", f"{twice[0]!r} twice", "Leave one out.")
    if len(labels) > 1:
        if probas and len(probas) != len(labels):
            raise InputError(
                "y_proba", f"{len(labels)} columns, one a label", f"{len(probas)}", "Name them in the order of label."
            )
        kind, default = "multilabel", tuple(map(str, labels))
    else:
        n_classes = len(probas) if probas else len(names or ())
        if n_classes == 2:
            raise InputError(
                "y_proba" if probas else "label_name",
                "one, that of label 1, or one for each of three or more classes",
                "two",
                "Two classes are a label of 0 and 1: give what belongs to 1.",
            )
        kind = "multiclass" if n_classes > 2 else "binary"
        default = tuple(f"{labels[0]} {c}" for c in range(n_classes)) if n_classes > 2 else (str(labels[0]),)
    if names is not None and len(names) != len(default):
        what = {"binary": "one name, of label 1", "multilabel": f"{len(default)} names, one a label"}.get(
            kind, f"{len(default)} names, one a class"
        )
        raise InputError("label_name", what, f"{len(names)}", "Give them in the order of the columns.")
    return kind, default if names is None else names


def _one_or_more(given: Any) -> list:
    """Return the name of one column, or several, as a list."""
    if given is None:
        return []
    return list(given) if isinstance(given, (list, tuple, pd.Index, np.ndarray)) else [given]


def _roles(argument: str, columns: Sequence[Any]) -> dict[str, Any]:
    """Return what to call each column in a message."""
    return {argument if len(columns) == 1 else f"{argument}[{i}]": column for i, column in enumerate(columns)}


def _names(argument: str, given: Any) -> list:
    """Return one name or a sequence of names as a list."""
    if given is None or isinstance(given, str):
        return [] if given is None else [given]
    try:
        return list(given)
    except TypeError:
        raise TypeError(
            f"{argument}: expected a name or a list of names, got {type(given).__name__}. Write {argument}=[...]."
        ) from None


def _check_no_other_role(metadata: Sequence[str], roles: Mapping[str, Any]) -> None:
    """Raise `InputError` for metadata that are something else too.

    A rule that reads the prediction, or an id, would be found at once and say nothing.
    """
    for argument, column in roles.items():
        if column is not None and column in metadata:
            raise InputError(
                f"metadata[{list(metadata).index(column)}]",
                "a column with no other role",
                f"{column!r}, which is {argument}",
                "Leave it out of metadata.",
            )


def _check_columns(df: pd.DataFrame, roles: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first role whose column the table lacks or has twice."""
    for argument, column in roles.items():
        if column is None:
            continue
        if not pandas_types.is_hashable(column):
            raise InputError(
                argument, "the name of one column", f"a {type(column).__name__}", "Give the name, such as 'label'."
            )
        if column not in df.columns:
            raise InputError(
                argument,
                "the name of a column of the table",
                f"{column!r}, which it does not have",
                f"Its columns are: {_listed(df.columns)}.{nearest(column, df.columns)}",
            )
        if isinstance(df[column], pd.DataFrame):
            raise InputError(
                argument, "a column name that occurs once", f"{column!r} more than once", "Rename the columns."
            )
        if df[column].dtype == object and not df[column].map(pandas_types.is_hashable).all():
            raise InputError(
                argument,
                "a number or a text in each cell",
                f"lists or other objects in {column!r}",
                "Take the values out of them first.",
            )


def _patients(column: pd.Series) -> np.ndarray:
    try:
        names = column.astype(str).to_numpy(dtype=object)
    except UnicodeError:  # bytes that are no text, or half a surrogate pair
        names = column.map(_as_text).to_numpy(dtype=object)
    blank = np.array([not str(name).strip() for name in names])  # one patient called "" would be many
    missing = int((column.isna().to_numpy() | blank).sum())
    if missing:
        raise InputError(
            "patient_id",
            "a patient for every sample",
            f"{missing:,} missing values",
            "Fill them in, or give each of these samples a patient id of its own.",
        )
    return names


def _texts(column: pd.Series) -> np.ndarray:
    texts = np.array(["" if pd.isna(t) else _as_text(t) for t in column], dtype=object)
    _check_not_empty(sum(not t.strip() for t in texts), len(texts), stacklevel=5)
    return texts


def _check_not_empty(n_empty: int, n: int, *, stacklevel: int) -> None:
    """Warn of empty reports; raise `InputError` where there are no others."""
    if n_empty == n:
        raise InputError("report", "at least one report with text", "only empty ones", "Check the report column.")
    if n_empty:
        warnings.warn(
            f"report: expected a text for every sample, got {n_empty:,} of {n:,} empty reports. These samples "
            "take part without a report: a word they lack may only mean that nothing was written.",
            AuditWarning,
            stacklevel=stacklevel,
        )


def _as_text(value: Any) -> str:
    """Return a cell as text that can be written: half of a surrogate pair, which UTF-8 lacks, becomes "?"."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _metadata_columns(df: pd.DataFrame, columns: Sequence[str], ids: pd.Index) -> pd.DataFrame:
    kept = {}
    for i, column in enumerate(columns):
        values = df[column]
        if pandas_types.is_datetime64_any_dtype(values):
            values = values.dt.year.astype(float)
        elif pandas_types.is_bool_dtype(values):
            values = values.map({True: "yes", False: "no"}).astype(object)
        elif pandas_types.is_numeric_dtype(values):
            values = values.astype(np.float64)
            beyond = int((values.abs() > LARGEST).sum())
            if beyond:
                raise InputError(
                    f"metadata[{i}]",
                    "finite numbers, or NaN where one is missing",
                    f"{beyond:,} values in {column!r} that are infinite or beyond {LARGEST:g}",
                    "Replace them, for example df.replace([numpy.inf, -numpy.inf], numpy.nan).",
                )
        else:
            values = values.astype(object).map(lambda v: None if pd.isna(v) else _as_text(v).strip() or None)
        kept[str(column)] = pd.Series(values.to_numpy(), index=ids, dtype=values.dtype)
    return pd.DataFrame(kept, index=ids)


def _check_embeddings(given: Mapping[str, Any], df: pd.DataFrame, n_samples: int) -> dict[str, np.ndarray]:
    if not isinstance(given, Mapping):
        raise TypeError(
            f"embeddings: expected a mapping of modality to array, got {type(given).__name__}. "
            "Write embeddings={'image': X}."
        )
    checked = {}
    for modality, values in given.items():
        argument = f"embeddings[{modality!r}]"
        if modality not in MODALITIES:
            raise InputError(
                argument,
                f"one of {', '.join(MODALITIES)}",
                "another name",
                f"Rename it.{nearest(modality, MODALITIES)}",
            )
        if isinstance(values, pd.DataFrame) and not values.index.equals(df.index):
            raise InputError(argument, "the rows of the table", "another index", "Reindex it: X.loc[df.index].")
        try:
            array = np.asarray(values, dtype=np.float32)
        except (ValueError, TypeError):
            raise InputError(argument, "an array of numbers", "something else", "Stack it: numpy.stack(X).") from None
        if array.ndim != 2 or array.shape[0] != n_samples or array.shape[1] == 0:
            raise InputError(
                argument, f"shape ({n_samples}, n_dimensions)", f"{array.shape}", "Give one row a sample, in order."
            )
        if not np.isfinite(array).all():
            n_bad = int((~np.isfinite(array)).any(axis=1).sum())
            raise InputError(argument, "finite numbers", f"NaN or infinity in {n_bad:,} rows", "Encode them again.")
        checked[str(modality)] = array
    return checked


def _column_summary(column: pd.Series) -> str:
    missing = int(column.isna().sum())
    kind = "numeric" if pandas_types.is_numeric_dtype(column) else f"{column.nunique()} values"
    return f"{column.name} ({kind}{f', {missing:,} missing' if missing else ''})"


def _listed(columns: Sequence[Any], most: int = 12) -> str:
    # Behind a control character, in a damaged table, is what was written in its rows.
    names = [re.split(r"[\x00-\x1f\x7f-\x9f]", str(c))[0] for c in columns]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _contiguous(values: Any) -> Any:
    return np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values


def _rows_of(values: Any, which: np.ndarray) -> Any:
    """Return some rows; of what lies in files, still unread."""
    return values.take(which) if isinstance(values, (ShardedRows, ShardedTexts)) else values[which]


def _frozen(array: Any) -> Any:
    if isinstance(array, (ShardedRows, ShardedTexts)):
        return array
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
