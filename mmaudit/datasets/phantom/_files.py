"""The phantom cohort as files: a plain folder, or the tree of MIMIC-CXR-JPG."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from mmaudit._errors import InputError
from mmaudit.datasets.phantom._cohort import ATTRIBUTES, METADATA
from mmaudit.datasets.phantom._images import PhantomImages
from mmaudit.datasets.phantom._record import DEVICES, FINDINGS

__all__ = ["LAYOUTS", "check_out", "write_mimic_cxr", "write_plain"]

LAYOUTS = ("plain", "mimic-cxr")
_JPEG_QUALITY = 95  # as MIMIC-CXR-JPG
_MASKS = "masks/*.png are 16-bit images: bit k of a pixel is set where the k-th of these lies (k from 0): " + ", ".join(
    (*FINDINGS, *DEVICES)
)
_CHEXPERT = {  # the labels of MIMIC-CXR-JPG, and the finding of the phantom that each stands for
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Enlarged Cardiomediastinum": None,
    "Fracture": "fracture",
    "Lung Lesion": "nodule",
    "Lung Opacity": None,
    "No Finding": None,
    "Pleural Effusion": "pleural effusion",
    "Pleural Other": None,
    "Pneumonia": None,
    "Pneumothorax": "pneumothorax",
    "Support Devices": None,
}
_OPACITIES = ("atelectasis", "consolidation", "edema", "nodule")
# ViewPosition, its code's meaning, the patient's orientation
_VIEWS = {
    "PA": ("PA", "postero-anterior", "Erect"),
    "AP": ("AP", "antero-posterior", "Erect"),
    "AP supine": ("AP", "antero-posterior", "Recumbent"),
    "lateral": ("LATERAL", "lateral", "Erect"),
}


def check_out(out: str | Path) -> None:
    """Raise `InputError` unless `out` is a new or an empty folder inside one that exists."""
    target = Path(out).resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        got = "one that is not empty" if target.is_dir() else "a file"
        raise InputError("out", "a new or an empty folder", got, "Choose another name, or remove it first.")
    if not target.parent.is_dir():
        raise InputError("out", "a folder inside one that exists", "one inside a missing folder", "Make that first.")


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `out` when all went well and is gone otherwise."""
    target = out.resolve()
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            target.rmdir()  # empty; a rename onto an existing folder fails on Windows
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_plain(
    out: Path, frame: pd.DataFrame, images: PhantomImages, *, label: str, card: Mapping[str, str], progress: bool
) -> Path:
    """Write images and masks as PNG, the table, the ground truth and a note."""
    column = label.replace(" ", "_")
    shown = frame[["sample_id", "patient_id", "study_id"]].assign(path="images/" + frame["sample_id"] + ".png")
    shown = pd.concat([shown, frame[["report", "label", "proba", *METADATA]].rename(columns={"label": column})], axis=1)
    with _whole(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for i, name in enumerate(tqdm(frame["sample_id"], desc="Writing", unit="image", disable=not progress)):
            Image.fromarray(images.draw(i)).save(folder / "images" / f"{name}.png")
            Image.fromarray(images.packed_masks(i)).save(folder / "masks" / f"{name}.png")
        shown.to_csv(folder / "table.csv", index=False)
        frame[["sample_id", *ATTRIBUTES]].to_csv(folder / "truth.csv", index=False)
        note = (
            f"{_title(frame)}\n\n{_lines(card)}\n\ntruth.csv holds what is drawn and what the reports say of it; an "
            f"audit must not see it. {_MASKS}.\n\nTo audit it, in this folder:\n\n"
            f"mmaudit audit table.csv --label {column} --proba proba --patient patient_id --id sample_id --image path "
            f"--image-root . --report report --metadata {','.join(METADATA)}\n"
        )
        (folder / "README.txt").write_text(note, encoding="utf-8")
    return out


def write_mimic_cxr(
    out: Path, frame: pd.DataFrame, images: PhantomImages, *, card: Mapping[str, str], progress: bool
) -> Path:
    """Write the tree of MIMIC-CXR-JPG 2.0.0, the reports of MIMIC-CXR and the patients of MIMIC-IV.

    The CheXpert file says what is drawn (1 present, 0 where the report denies it, blank where it is silent), the NegBio
    file what the reports say (-1 where they are uncertain): the difference of the two is the error of labels that
    were read from reports. Sex and age of a patient come from `hosp/patients.csv.gz`, as in MIMIC-IV.
    """
    subject, study = frame["patient_id"].astype(int), frame["study_id"].astype(int)
    folders = "files/p" + frame["patient_id"].str[:2] + "/p" + frame["patient_id"] + "/s" + frame["study_id"]
    with _whole(out) as folder:
        (folder / "phantom-truth/masks").mkdir(parents=True)
        names = zip(folders, frame["sample_id"], strict=True)
        for i, (study_folder, name) in enumerate(
            tqdm(names, total=len(frame), desc="Writing", unit="image", disable=not progress)
        ):
            (folder / study_folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.draw(i)).save(folder / study_folder / f"{name}.jpg", quality=_JPEG_QUALITY)
            Image.fromarray(images.packed_masks(i)).save(folder / f"phantom-truth/masks/{name}.png")
        once = ~frame["study_id"].duplicated()
        for path, text in zip(folders[once] + ".txt", frame.loc[once, "report"], strict=True):
            report = "".join(f" {line}\n" if line else "\n" for line in text.splitlines())
            (folder / path).write_text(f"{' ' * 33}FINAL REPORT\n{report}", encoding="utf-8")

        def save(table: pd.DataFrame, name: str) -> None:
            (folder / name).parent.mkdir(exist_ok=True)
            table.to_csv(folder / name, index=False, compression={"method": "gzip", "mtime": 0})

        save(_metadata(frame, images.image_size, subject, study), "mimic-cxr-2.0.0-metadata.csv.gz")
        studies = frame[once]
        for name, labels in (("chexpert", _drawn(studies)), ("negbio", _said(studies))):
            columns = _derived(labels, studies)
            values = pd.DataFrame({kind: columns[kind] for kind in _CHEXPERT}, dtype=float)
            numbers = pd.DataFrame({"subject_id": subject[once], "study_id": study[once]})
            save(pd.concat([numbers, values.set_axis(studies.index)], axis=1), f"mimic-cxr-2.0.0-{name}.csv.gz")
        parts = subject.map(lambda number: ("test", "validate")[number % 10] if number % 10 < 2 else "train")
        split = {"dicom_id": frame["sample_id"], "study_id": study, "subject_id": subject, "split": parts}
        save(pd.DataFrame(split), "mimic-cxr-2.0.0-split.csv.gz")
        save(_people(frame), "hosp/patients.csv.gz")
        truth = frame[["sample_id", *METADATA, "proba", *ATTRIBUTES]].rename(columns={"sample_id": "dicom_id"})
        truth.to_csv(folder / "phantom-truth/truth.csv", index=False)
        note = (
            f"{_title(frame)}\n\nThe files have the names and columns of MIMIC-CXR-JPG 2.0.0, MIMIC-CXR (reports) and "
            "MIMIC-IV (patients); nothing in them is from there. The chexpert file says what is drawn, the negbio file "
            f"what the reports say.\n\n{_lines(card)}\n\nphantom-truth/ holds what is drawn, which no such data set "
            f"has. {_MASKS}.\n\nIn Python: mmaudit.datasets.load_mimic_cxr(folder)\n"
        )
        (folder / "README").write_text(note, encoding="utf-8")
    return out


def _metadata(frame: pd.DataFrame, image_size: int, subject: pd.Series, study: pd.Series) -> pd.DataFrame:
    portable = frame["portable"] == "yes"
    lateral = frame.groupby("study_id")["view"].transform(lambda v: (v == "lateral").any())
    procedure = np.where(
        portable, "CHEST (PORTABLE AP)", np.where(lateral, "CHEST (PA AND LAT)", "CHEST (SINGLE VIEW)")
    )
    date = frame["study_date"].str.replace("-", "").astype(int)
    minute = pd.to_numeric(frame["study_id"]) * 7 % 60
    return pd.DataFrame(
        {
            "dicom_id": frame["sample_id"],
            "subject_id": subject,
            "study_id": study,
            "PerformedProcedureStepDescription": procedure,
            "ViewPosition": [_VIEWS[v][0] for v in frame["view"]],
            "Rows": image_size,
            "Columns": image_size,
            "StudyDate": date,
            "StudyTime": frame["study_hour"] * 10_000 + minute * 100 + 0.5,
            "ProcedureCodeSequence_CodeMeaning": procedure,
            "ViewCodeSequence_CodeMeaning": [_VIEWS[v][1] for v in frame["view"]],
            "PatientOrientationCodeSequence_CodeMeaning": [_VIEWS[v][2] for v in frame["view"]],
        }
    )


def _drawn(studies: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return 1 where a finding is drawn; where it is not, 0 if the report speaks of it and NaN if it does not."""
    return {
        kind: np.where(studies[kind], 1.0, np.where(studies[f"reported {kind}"] == "", np.nan, 0.0))
        for kind in FINDINGS
    }


def _said(studies: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return 1, 0, -1 or NaN: what the report says of each finding."""
    value = {"present": 1.0, "absent": 0.0, "uncertain": -1.0, "": np.nan}
    return {kind: studies[f"reported {kind}"].map(value).to_numpy() for kind in FINDINGS}


def _derived(labels: dict[str, np.ndarray], studies: pd.DataFrame) -> dict[str, Any]:
    """Return a column for each label of MIMIC-CXR-JPG that the phantom has an answer to."""
    columns: dict[str, Any] = {name: labels[kind] for name, kind in _CHEXPERT.items() if kind is not None}
    columns["Lung Opacity"] = np.where(np.any([labels[k] == 1 for k in _OPACITIES], axis=0), 1.0, np.nan)
    columns["Support Devices"] = np.where(studies[list(DEVICES)].any(axis=1), 1.0, np.nan)
    quiet = ~np.any([(labels[k] == 1) | (labels[k] == -1) for k in FINDINGS], axis=0)
    columns["No Finding"] = np.where(quiet & np.isnan(columns["Support Devices"]), 1.0, np.nan)
    return columns | {name: np.full(len(studies), np.nan) for name in _CHEXPERT if name not in columns}


def _people(frame: pd.DataFrame) -> pd.DataFrame:
    first = frame.drop_duplicates("patient_id")
    return pd.DataFrame(
        {
            "subject_id": first["patient_id"].astype(int),
            "gender": first["sex"],
            "anchor_age": first["age"].astype(int),
            "anchor_year": first["study_date"].str[:4].astype(int),
            "anchor_year_group": "",
            "dod": "",
        }
    )


def _title(frame: pd.DataFrame) -> str:
    n_patients = frame["patient_id"].nunique()
    return f"Phantom cohort: {len(frame):,} images of {n_patients:,} made-up patients. Not for clinical use."


def _lines(card: Mapping[str, str]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in card.items())
