"""MIMIC-CXR-JPG v2: chest X-rays of one emergency department and its hospital, with reports and MIMIC-IV patients."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit._tables import to_numbers
from mmaudit.data import AuditData
from mmaudit.datasets._shared import check_choice, existing_folder, label_terms, listed, read_table, warn
from mmaudit.text import findings_and_impression

__all__ = ["MIMIC_LABELS", "load_mimic_cxr"]

MIMIC_LABELS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum", "Fracture"),
    *("Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax"),
    "Support Devices",
)
_WHERE = "https://physionet.org/content/mimic-cxr-jpg/ (credentialed access)"
_WHERE_REPORTS = "https://physionet.org/content/mimic-cxr/ (credentialed access)"
_WHERE_PATIENTS = "https://physionet.org/content/mimiciv/ (credentialed access)"
_MAX_REPORT_BYTES = 1024**2  # the longest report is some 20 kB
_REPORTS_TRIED = 200  # studies looked for before a folder counts as one without reports
_ACQUISITION = {
    "ViewPosition": "view",
    "PerformedProcedureStepDescription": "procedure",
    "PatientOrientationCodeSequence_CodeMeaning": "orientation",
    "Rows": "height_px",
    "Columns": "width_px",
}


@check_keywords
def load_mimic_cxr(
    root: str | Path,
    *,
    label: str = "Pleural Effusion",
    labeler: str = "chexpert",
    uncertain: str = "exclude",
    blank: str = "negative",
    split: str | None = None,
    views: Sequence[str] | str | None = None,
    reports_root: str | Path | None = None,
    patients_root: str | Path | None = None,
) -> AuditData:
    """Return the images of MIMIC-CXR-JPG (versions 2.0.0 and 2.1.0), one sample an image.

    Parameters
    ----------
    root : path
        Folder that holds `mimic-cxr-2.0.0-metadata.csv.gz`, the label file and `files/p10/...`. Files may also be
        unpacked (`.csv`) or carry another version in their names.
    label : str
        One of the 14 labels, such as "Pleural Effusion", "Cardiomegaly", "No Finding".
    labeler : {"chexpert", "negbio"}
        The program whose labels are used.
    uncertain : {"exclude", "positive", "negative"}
        What becomes of studies with label -1, "the report is uncertain": left out, 1 or 0.
    blank : {"negative", "exclude"}
        What becomes of studies without a value, "the report does not mention it": 0 or left out. Most studies are
        of this kind. For "No Finding" a blank is the only form of 0.
    split : {"train", "validate", "test"} or None
        Part of the official split. None: all; the split file is not needed then.
    views : sequence of str, or str, or None
        Values of `ViewPosition` to keep, such as ("AP", "PA"), in any case. None: all images, laterals too.
    reports_root : path or None
        Folder with `files/p10/p10000032/s50414267.txt`, or the archive `mimic-cxr-reports.zip`. None: the reports
        are looked for in `root`, and as `mimic-cxr-reports` or `mimic-cxr-reports.zip` in it; without any, a warning.
    patients_root : path or None
        Folder with `patients.csv.gz` of MIMIC-IV, and `admissions.csv.gz` if wanted, or with a folder `hosp` that has
        them. None: they are looked for in `root` and `root/hosp`, and done without if absent.

    Returns
    -------
    AuditData
        Without `y_proba`. Sample ids are `dicom_id`, patients `subject_id`. Reports are FINDINGS and IMPRESSION as one
        line, or the last paragraph of reports that have neither. Metadata: view, procedure, orientation, height_px and
        width_px (of the original image), hour (of the study, 0 to 23); with MIMIC-IV sex (F, M), age (years at the
        study) and, for studies during an admission, admission_type, insurance, race.

    Raises
    ------
    InputError
        A missing folder or file (which one, and where it is obtained), an unknown label, view or other choice, a
        damaged table, or no image left.

    Warns
    -----
    AuditWarning
        Always, that the labels were read from the reports; that no reports or no images were found.

    Notes
    -----
    Images are not looked for here: the audit opens them and says which are missing. Studies that the labeler did not
    read have no label and are left out under every policy. An admission belongs to a study if its first and last day
    enclose the study's day; of several, the latest. Ages use the year only, `anchor_age + study year - anchor_year`;
    ages above 89 are grouped by MIMIC-IV at 91. Reading 227,835 reports takes minutes, the tables of 377,110 images
    seconds.

    References
    ----------
    Johnson et al., "MIMIC-CXR-JPG", 2019, arXiv:1901.07042. Johnson et al., "MIMIC-CXR", 2019, doi
    10.1038/s41597-019-0322-0. Johnson et al., "MIMIC-IV", 2023, doi 10.1038/s41597-022-01899-x. Irvin et al.,
    "CheXpert", 2019, arXiv:1901.07031. Peng et al., "NegBio", 2018, arXiv:1712.05898. Seyyed-Kalantari et al.,
    "Underdiagnosis bias of artificial intelligence algorithms applied to chest radiographs", 2021, doi
    10.1038/s41591-021-01595-0.
    """
    check_choice("labeler", labeler, ("chexpert", "negbio"))
    check_choice("uncertain", uncertain, ("exclude", "positive", "negative"))
    check_choice("blank", blank, ("negative", "exclude"))
    check_choice("split", split, (None, "train", "validate", "test"))
    if label not in MIMIC_LABELS:
        raise InputError(
            "label",
            "a label of MIMIC-CXR-JPG",
            f"{label!r}",
            f"They are: {', '.join(MIMIC_LABELS)}.{nearest(label, MIMIC_LABELS)}",
        )
    folder = existing_folder("root", root, "MIMIC-CXR-JPG", _WHERE)
    metadata_file = _versioned(folder, "metadata")
    labels_file = _versioned(folder, labeler)
    split_file = None if split is None else _versioned(folder, "split")

    wanted = {"dicom_id", "subject_id", "study_id", "StudyDate", "StudyTime", *_ACQUISITION}
    table = read_table(
        *("root", metadata_file),
        required=("dicom_id", "subject_id", "study_id"),
        usecols=lambda column: column in wanted,
        dtype={"dicom_id": str},
        low_memory=False,
    )
    # Paths to images and reports are made of these two.
    _check_ids("root", metadata_file, table, "subject_id", "study_id")
    if views is not None:
        table = table[_view_mask(table, [views] if isinstance(views, str) else list(views))]
    if split_file is not None:
        parts = read_table("root", split_file, required=("dicom_id", "split"), dtype={"dicom_id": str})
        table = table[table["dicom_id"].isin(parts.loc[parts["split"] == split, "dicom_id"])]

    values = read_table("root", labels_file, required=("study_id", label), usecols=["study_id", label])
    values = values.drop_duplicates("study_id").set_index("study_id")[label]
    strange = values.dropna()
    if not pd.api.types.is_numeric_dtype(strange) or not strange.isin([-1, 0, 1]).all():
        raise InputError(
            "label", f"1, 0, -1 or blank in {labels_file.name}", "other values", "Check that the file is the original."
        )
    labelled = table["study_id"].isin(values.index)
    n_unlabelled = int((~labelled).sum())
    table = table[labelled].reset_index(drop=True)
    value = table["study_id"].map(values).astype(float)
    n_uncertain, n_blank = int((value == -1).sum()), int(value.isna().sum())
    table["label"] = _apply_policies(value, uncertain, blank)
    table = table[table["label"].notna()].reset_index(drop=True)
    if table.empty:
        raise InputError(
            "root", "images that fit label, split and views", "none", "Loosen split, views, uncertain or blank."
        )

    metadata = _acquisition(table)
    patients = _patients(table, folder, patients_root)
    metadata = pd.concat([metadata, patients], axis=1)
    reports = _read_reports(table, folder, reports_root)
    has_images = (folder / "files").is_dir()
    if not has_images:
        warn(f"root: expected images in files/, got a folder without. The audit goes on without images; see {_WHERE}.")
    if reports is None:
        warn(
            "reports_root: expected reports such as files/p10/p10000032/s50414267.txt, got none in root. The audit "
            f"goes on without reports; they are part of MIMIC-CXR, {_WHERE_REPORTS}."
        )
    policy = (
        f"{label} by {labeler} from the report; of {len(value):,} images {n_blank:,} blank "
        f"({'counted as 0' if blank == 'negative' else 'left out'}), {n_uncertain:,} uncertain "
        f"({'left out' if uncertain == 'exclude' else 'counted as ' + str(int(uncertain == 'positive'))}), "
        f"and {n_unlabelled:,} more of studies without labels (left out)"
    )
    warn(
        f"mimic-cxr: labels were read from the reports by a program, not from the images: some are wrong, and report "
        f"words can restate them. {policy}."
    )
    frame = table[["dicom_id", "label"]].assign(
        patient=table["subject_id"].astype(str), image=_study_folders(table) + "/" + table["dicom_id"] + ".jpg"
    )
    if reports is not None:
        frame["report"] = reports
    metadata = metadata[[c for c in metadata.columns if metadata[c].notna().any()]]
    return AuditData.from_frame(
        pd.concat([frame, metadata], axis=1),
        label="label",
        patient_id="patient",
        sample_id="dicom_id",
        image="image" if has_images else None,
        image_root=folder if has_images else None,
        report=None if reports is None else "report",
        metadata=list(metadata.columns),
        label_name=label,
        label_terms=label_terms(label),
        name="mimic-cxr-jpg",
        card={
            "source": _WHERE,
            "reference": "arXiv:1901.07042, doi 10.1038/s41597-019-0322-0",
            "licence": "PhysioNet Credentialed Health Data License: no sharing, none of it to third-party services",
            "patients": "Beth Israel Deaconess Medical Center, Boston; emergency department and hospital, 2011 to 2016",
            "label": policy,
            "known limits": (
                "Labels come from reports by a program; blank means not mentioned, not absent. "
                "One hospital; portable AP films are of sicker patients than PA films. "
                "Dates are shifted per patient: years mean nothing, ages and hours do. "
                "Under-diagnosis differs by sex, age, race and insurance (10.1038/s41591-021-01595-0)."
            ),
        },
    )


def _versioned(folder: Path, kind: str) -> Path:
    """Return the newest `mimic-cxr-<version>-<kind>.csv[.gz]`, or raise `InputError` that names it."""
    pattern = re.compile(rf"mimic-cxr-(\d+(?:\.\d+)*)-{kind}\.csv(?:\.gz)?")
    found = []
    for path in folder.glob(f"mimic-cxr-*-{kind}.csv*"):
        matched = pattern.fullmatch(path.name)
        if matched:
            found.append((tuple(int(n) for n in matched[1].split(".")), path.name, path))
    if not found:
        raise InputError(
            "root",
            f"the file mimic-cxr-2.0.0-{kind}.csv.gz of MIMIC-CXR-JPG",
            "a folder without it",
            f"Get it from {_WHERE} and keep its name.",
        )
    return max(found)[2]


def _check_ids(argument: str, path: Path, table: pd.DataFrame, *columns: str) -> None:
    """Raise `InputError` unless these columns hold whole numbers."""
    if not all(pd.api.types.is_signed_integer_dtype(table[column]) for column in columns):
        raise InputError(
            argument, f"whole numbers as {' and '.join(columns)} in {path.name}", "others", "Get the file again."
        )


def _view_mask(table: pd.DataFrame, views: list[str]) -> pd.Series:
    if "ViewPosition" not in table.columns:
        raise InputError("views", "a metadata file with ViewPosition", "one without", "Leave views out.")
    column = table["ViewPosition"].astype("string").str.upper()
    known = sorted(column.dropna().unique())
    for view in views:
        if str(view).upper() not in known:
            raise InputError(
                "views", "views of these data", f"{view!r}", f"They are: {listed(known)}.{nearest(view, known)}"
            )
    return column.isin([str(view).upper() for view in views])


def _apply_policies(value: pd.Series, uncertain: str, blank: str) -> pd.Series:
    policy = {"exclude": np.nan, "positive": 1.0, "negative": 0.0}
    decided = value.where(value != -1, policy[uncertain])
    return decided.where(value.notna(), policy[blank])


def _acquisition(table: pd.DataFrame) -> pd.DataFrame:
    kept = {new: table[old] for old, new in _ACQUISITION.items() if old in table.columns}
    if "StudyTime" in table.columns:  # 213014.531 is 21:30:14
        kept["hour"] = np.floor(to_numbers(table["StudyTime"]) / 10_000)
    return pd.DataFrame(kept, index=table.index)


def _patients(table: pd.DataFrame, root: Path, patients_root: str | Path | None) -> pd.DataFrame:
    """Return sex and age, and what is known of the admission during which each study was made."""
    base = (
        root if patients_root is None else existing_folder("patients_root", patients_root, "MIMIC-IV", _WHERE_PATIENTS)
    )
    argument = "root" if patients_root is None else "patients_root"
    patients_file, admissions_file = _first_table(base, "patients"), _first_table(base, "admissions")
    if patients_file is None and patients_root is not None:
        raise InputError(
            "patients_root", "patients.csv.gz of MIMIC-IV", "a folder without it", f"Get it from {_WHERE_PATIENTS}."
        )
    kept: dict[str, pd.Series] = {}
    dates = _column(table, "StudyDate")
    dates = dates.where(dates.between(0, 99_999_999) & (dates % 1 == 0))
    day = pd.to_datetime(dates.astype("Int64").astype("string"), format="%Y%m%d", errors="coerce")
    if patients_file is not None:
        people = read_table(argument, patients_file, required=("subject_id", "gender", "anchor_age", "anchor_year"))
        _check_ids(argument, patients_file, people, "subject_id")
        people = people.drop_duplicates("subject_id").set_index("subject_id")
        subject = table["subject_id"]
        kept["sex"] = subject.map(people["gender"])
        kept["age"] = (
            subject.map(_column(people, "anchor_age")) + day.dt.year - subject.map(_column(people, "anchor_year"))
        )
    if admissions_file is not None:
        wanted = ("admission_type", "insurance", "race")
        stays = read_table(
            *(argument, admissions_file),
            required=("subject_id", "admittime", "dischtime"),
            usecols=lambda column: column in {"subject_id", "admittime", "dischtime", *wanted},
        )
        _check_ids(argument, admissions_file, stays, "subject_id")
        during = _admission_of(table["subject_id"], day, stays)
        kept |= {column: during[column] for column in wanted if column in during.columns}
    return pd.DataFrame(kept, index=table.index)


def _admission_of(subject: pd.Series, day: pd.Series, stays: pd.DataFrame) -> pd.DataFrame:
    """Return the row of `stays` that covers each study's day, blank where none does, in the order of `subject`."""
    first, last = (
        # UTC, since pandas takes no column in which some times have a zone; seconds, since these hold any year.
        pd.to_datetime(stays[name], errors="coerce", utc=True)
        .dt.tz_localize(None)
        .dt.normalize()
        .astype("datetime64[s]")
        for name in ("admittime", "dischtime")
    )
    stays = stays.assign(first=first, last=last).dropna(subset=["first", "last"]).sort_values(["first", "last"])
    studies = pd.DataFrame({"subject_id": subject, "day": day.astype("datetime64[s]")}).dropna().sort_values("day")
    matched = pd.merge_asof(
        studies, stays, left_on="day", right_on="first", by="subject_id", direction="backward"
    ).set_index(studies.index)
    return matched[matched["last"] >= matched["day"]].reindex(subject.index)


def _first_table(base: Path, name: str) -> Path | None:
    for folder in (base, base / "hosp"):
        for ending in (".csv.gz", ".csv"):
            if (folder / (name + ending)).is_file():
                return folder / (name + ending)
    return None


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    blank = pd.Series(np.nan, index=table.index)
    return to_numbers(table[name]) if name in table.columns else blank


def _study_folders(table: pd.DataFrame) -> pd.Series:
    subject, study = table["subject_id"].astype(str), table["study_id"].astype(str)
    return "files/p" + subject.str[:2] + "/p" + subject + "/s" + study


def _read_reports(table: pd.DataFrame, root: Path, reports_root: str | Path | None) -> pd.Series | None:
    """Return the report text of each image, or None if there are no reports at all."""
    base = root if reports_root is None else Path(reports_root)
    if reports_root is not None and not base.exists():
        raise InputError(
            "reports_root", "a folder or mimic-cxr-reports.zip", "a path at which there is none", "Check the path."
        )
    paths = (_study_folders(table) + ".txt").to_numpy()
    studies = pd.unique(paths)
    for place in (base, base / "mimic-cxr-reports", base / "mimic-cxr-reports.zip"):
        if place.is_dir():
            reader: _Folder | _Archive = _Folder(place)
        elif place.suffix == ".zip" and place.is_file():
            reader = _Archive(place)
        else:
            continue
        with reader:
            if any(reader.has(path) for path in studies[:_REPORTS_TRIED]):
                texts = {path: findings_and_impression(reader.read(path)) for path in studies}
                return pd.Series(paths, index=table.index).map(texts)
    if reports_root is not None:
        raise InputError(
            "reports_root",
            "reports such as files/p10/p10000032/s50414267.txt",
            "none of the first studies' reports",
            f"Get them from {_WHERE_REPORTS} and keep their folders.",
        )
    return None


class _Folder:
    """Reports as files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def has(self, path: str) -> bool:
        return (self.folder / path).is_file()

    def read(self, path: str) -> str:
        try:
            with (self.folder / path).open("rb") as file:
                return file.read(_MAX_REPORT_BYTES).decode("utf-8", errors="replace")
        except OSError:
            return ""


class _Archive:
    """Reports in a zip archive, read in memory."""

    def __init__(self, path: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            raise InputError("reports_root", "a whole zip archive", "a damaged one", "Get it again.") from None
        self.names = {name[name.find("files/") :]: name for name in self.archive.namelist() if name.endswith(".txt")}

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.archive.close()

    def has(self, path: str) -> bool:
        return path in self.names

    def read(self, path: str) -> str:
        if path not in self.names:
            return ""
        try:
            member = self.archive.getinfo(self.names[path])
            # The other methods can ask for gigabytes of memory before the first byte.
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                return ""
            with self.archive.open(member) as file:
                return file.read(_MAX_REPORT_BYTES).decode("utf-8", errors="replace")
        except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error):  # RuntimeError: encrypted
            return ""
