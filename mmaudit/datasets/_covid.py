"""The COVID-19 image data collection (ieee8023/covid-chestxray-dataset): a public set with known shortcuts."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit.data import AuditData
from mmaudit.datasets._shared import check_choice, existing_folder, label_terms, listed, read_table, warn

__all__ = ["load_covid_chestxray"]

_WHERE = "https://github.com/ieee8023/covid-chestxray-dataset"
_UNDECIDED = {"", "todo", "unknown"}
_CT_VIEWS = {"axial", "coronal"}
# Whether PCR was positive restates the label and stays out; laboratory values are missing in nine of ten rows.
_CATEGORIES = (
    *("intubated", "intubation_present", "went_icu", "in_icu", "needed_supplemental_o2", "extubated", "survival"),
)

SHORTCUTS = (
    "covid-chestxray: images of the classes come from different sources, countries and years, and a classifier can "
    "tell them by markers, borders and view instead of disease (DeGrave et al. 2021, doi 10.1038/s42256-021-00338-7). "
    "Expect findings about `source`, `country`, `year` and `view`; do not take a good average on these data for skill."
)


@check_keywords
def load_covid_chestxray(
    root: str | Path, *, label: str = "COVID-19", unknown: str = "exclude", other_notes: bool = False
) -> AuditData:
    """Return the X-rays of the COVID-19 image data collection, one sample an image.

    Parameters
    ----------
    root : path
        Folder that holds `metadata.csv` and `images/`.
    label : str
        The finding that is label 1, in any case: a name of the list in column `finding`, or any part of a path such as
        "Pneumonia/Viral/COVID-19".
    unknown : {"exclude", "negative"}
        What becomes of images whose finding is blank, "todo" or "Unknown". "exclude" leaves them out, with a
        warning that says how many; "negative" gives them label 0, although some of them show the label's disease.
    other_notes : bool
        Whether column `other_notes` follows `clinical_notes` in the report. It mostly names authors, licences and
        web sites, which tell the source and not the patient.

    Returns
    -------
    AuditData
        Without `y_proba`. Sample ids are file names. Reports are the clinical notes, "" where there are none; they
        often name the disease, so `label_terms` should be masked in explanations. Metadata, where the file has
        them: sex (F, M), age (years), view (PA, AP, AP Supine, L), site, country (last part of the site), source
        (host of the web page), year, offset (days since onset or admission), and Y / N columns of the course:
        intubated, intubation_present, went_icu, in_icu, needed_supplemental_o2, extubated, survival.

    Raises
    ------
    InputError
        No such folder, no `metadata.csv` or `images/`, missing columns, an unknown label, no image found, or only
        one class left.

    Warns
    -----
    AuditWarning
        Always, of the shortcuts in these data; and of rows left out: undecided findings, missing files, repeated
        file names.

    Notes
    -----
    CT slices (`modality`, or an axial or coronal view) are left out. An image counts as 0 if its findings are known
    and the label is not among them: for COVID-19 that includes pneumonia of unstated cause. Older versions of the
    table have flat names ("Mycoplasma Bacterial Pneumonia"), newer ones paths ("Pneumonia/Bacterial/Mycoplasma"), so
    that label="Pneumonia" finds more in the newer. Ids such as "360a" and "360b" are different patients of one
    publication. Columns that a version lacks are skipped.

    References
    ----------
    Cohen, Morrison, Dao, Roth, Duong, Ghassemi, "COVID-19 image data collection: prospective predictions are the
    future", 2020, arXiv:2006.11988. DeGrave, Janizek, Lee, "AI for radiographic COVID-19 detection selects shortcuts
    over signal", 2021, doi 10.1038/s42256-021-00338-7. Roberts et al., "Common pitfalls and recommendations for using
    machine learning to detect and prognosticate for COVID-19", 2021, doi 10.1038/s42256-021-00307-0.
    """
    check_choice("unknown", unknown, ("exclude", "negative"))
    folder = existing_folder("root", root, "covid-chestxray-dataset", _WHERE)
    for needed, kind in (("metadata.csv", "is_file"), ("images", "is_dir")):
        if not getattr(folder / needed, kind)():
            raise InputError(
                "root",
                "a folder with metadata.csv and images/",
                f"one without {needed}",
                f"Point it at a copy of {_WHERE}",
            )
    table = read_table("root", folder / "metadata.csv", dtype=str)
    table.columns = [re.sub(r"\s+", "_", str(c).strip()).lower() for c in table.columns]
    absent = [c for c in ("patientid", "finding", "filename") if c not in table.columns]
    if absent:
        raise InputError(
            "root",
            f"the columns {', '.join(absent)} in metadata.csv",
            f"a table of {len(table.columns):,} columns without",
            f"Check that the file is the original one, {_WHERE}",
        )
    table = table.apply(lambda column: column.str.replace(r"\s+", " ", regex=True).str.strip())
    table = table[_is_xray(table) & table["filename"].notna()]

    findings = [_parts(text) for text in table["finding"]]
    names = {part.lower(): part for parts in findings for part in parts if part.lower() not in _UNDECIDED}
    wanted = str(label).strip().lower()
    if wanted not in names:
        if {"pneumonia", "no finding"} & names.keys():
            told = f"They are: {listed(sorted(names.values()), 60)}.{nearest(label, names.values())}"
        else:  # no column of findings, but perhaps of notes about a patient
            told = f"Check that the file is the original one, {_WHERE}"
        raise InputError("label", "one of the findings in metadata.csv", f"{label!r}", told)
    positive = [wanted in {part.lower() for part in parts} for parts in findings]
    decided = [any(part.lower() not in _UNDECIDED for part in parts) for parts in findings]
    table = table.assign(label=pd.Series(positive, index=table.index).astype(int), decided=decided)

    left_out = []
    undecided = int((~table["decided"]).sum())
    if unknown == "exclude":
        table = table[table["decided"]]
        if undecided:
            left_out.append(f"{undecided:,} with a finding of 'todo', 'Unknown' or none (unknown='exclude')")
    repeated = table["filename"].duplicated()
    if repeated.any():
        contradicts = table.groupby("filename")["label"].transform("nunique") > 1
        left_out.append(f"{int((repeated | contradicts).sum()):,} that repeat a file name or contradict a repetition")
        table = table[~repeated & ~contradicts]
    present = [_is_file(folder / "images" / name) for name in table["filename"]]
    n_missing = len(present) - sum(present)
    if n_missing == len(present):
        raise InputError(
            "root",
            "the images that metadata.csv names in images/",
            f"none of {len(present):,}",
            f"Copy the folder images/ of {_WHERE}",
        )
    if n_missing:
        table = table[present]
        left_out.append(f"{n_missing:,} whose file is not in images/")
    if left_out:
        warn(f"covid-chestxray: expected a usable row for every X-ray, left out {'; '.join(left_out)}.")
    warn(SHORTCUTS)

    table = table.assign(report=_reports(table, other_notes))
    metadata = _metadata(table)
    policy = {"exclude": "left out", "negative": "counted as 0"}[unknown]
    return AuditData.from_frame(
        pd.concat([table[["label", "patientid", "filename", "report"]], metadata], axis=1),
        label="label",
        patient_id="patientid",
        sample_id="filename",
        image="filename",
        image_root=folder / "images",
        report="report" if (table["report"] != "").any() else None,
        metadata=list(metadata.columns),
        label_name=names[wanted],
        label_terms=label_terms(names[wanted]),
        name="covid-chestxray",
        card={
            "source": _WHERE,
            "reference": "arXiv:2006.11988",
            "licence": "stated image by image in column license of metadata.csv (many CC BY-NC-SA); some unstated",
            "patients": "published case reports and teaching files of many hospitals and countries, mostly 2020",
            "label": f"column finding contains {names[wanted]!r}; {undecided:,} undecided images {policy}",
            "known limits": (
                "Sources, countries, years and views differ by class: shortcuts (10.1038/s42256-021-00338-7). "
                "Published cases are not a random sample: severe and typical courses are over-represented. "
                "Clinical notes often name the disease; who is ill cannot be told from them without a leak. "
                "Images are JPEG and PNG copies from articles: cropped, annotated, of differing resolution."
            ),
        },
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, a NUL in it
        return False


def _is_xray(table: pd.DataFrame) -> pd.Series:
    xray = pd.Series(True, index=table.index)
    if "modality" in table.columns:
        xray &= table["modality"].fillna("x-ray").str.lower().str.replace("-", "").str.contains("xray")
    if "view" in table.columns:
        xray &= ~table["view"].fillna("").str.lower().isin(_CT_VIEWS)
    return xray


def _parts(finding: str) -> list[str]:
    if pd.isna(finding):
        return []
    return [part.strip() for part in re.split(r"[,;/]", finding) if part.strip()]


def _reports(table: pd.DataFrame, other_notes: bool) -> pd.Series:
    text = pd.Series("", index=table.index, dtype=object)
    for column in ("clinical_notes", "other_notes") if other_notes else ("clinical_notes",):
        if column in table.columns:
            text = text + " " + table[column].fillna("").astype(object)
    return text.str.strip()


def _metadata(table: pd.DataFrame) -> pd.DataFrame:
    kept = {}
    if "sex" in table.columns:
        kept["sex"] = table["sex"].str.upper()
    if "age" in table.columns:
        kept["age"] = pd.to_numeric(table["age"], errors="coerce")
    if "view" in table.columns:
        kept["view"] = table["view"]
    if "location" in table.columns:
        kept["site"] = table["location"]
        kept["country"] = table["location"].map(lambda place: place.rpartition(",")[2].strip(), na_action="ignore")
    if "url" in table.columns:
        kept["source"] = table["url"].map(_host)
    if "date" in table.columns:
        kept["year"] = table["date"].map(_year).astype(float)
    if "offset" in table.columns:
        kept["offset"] = pd.to_numeric(table["offset"], errors="coerce")
    kept |= {c: table[c] for c in _CATEGORIES if c in table.columns}
    # A column without any value says nothing and would only be shown as missing.
    return pd.DataFrame({c: v for c, v in kept.items() if v.notna().any()}, index=table.index)


def _host(url: str) -> str | None:
    if pd.isna(url):
        return None
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname
    except ValueError:
        return None
    return host.removeprefix("www.") if host else None


def _year(date: str) -> float | None:
    """Return the year of "January 22, 2020", "3/3/2020" or "03/16/20"; None for "January 12" and blanks."""
    if pd.isna(date):
        return None
    found = re.search(r"(?:19|20)\d\d", date)
    if found:
        return float(found[0])
    short = re.fullmatch(r"\d{1,2}/\d{1,2}/(\d\d)", date)
    return 2000.0 + int(short[1]) if short else None
