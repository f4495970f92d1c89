"""Open-i: the chest X-ray collection of Indiana University, reports in XML with MeSH terms, images as PNG."""

from __future__ import annotations

import importlib.util
import re
import tarfile
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError, MissingExtraError, check_keywords, nearest
from mmaudit.data import AuditData
from mmaudit.datasets._shared import check_choice, existing_folder, label_terms, listed, read_table, warn

__all__ = ["load_openi"]

_WHERE = "https://openi.nlm.nih.gov/faq"
_ARCHIVE = "NLMCXR_reports.tgz"
_DICOM = "nlmcxr_dicom_metadata.csv.gz"
_MAX_REPORT_BYTES = 1024**2  # the longest of the collection has 9 kB
_MAX_REPORTS = 100_000  # the collection has 3,955
_SECTIONS = ("FINDINGS", "IMPRESSION", "INDICATION", "COMPARISON")
_NOT_INDEXED = "no indexing"
_FRONTAL = ("PA", "AP")

# How a label is said in MeSH headings and in the terms of the automatic indexer. Searched in every part of a heading
# such as "Opacity/lung/base/left" and in every automatic term, both in lower case.
_PATTERNS = {
    "Atelectasis": r"\batelectas[ei]s\b",
    "Calcified Granuloma": r"\bcalcified granulomas?\b",
    "Cardiomegaly": r"\bcardiomegaly\b",
    "Consolidation": r"\bconsolidations?\b",
    "Edema": r"\bedemas?\b",
    "Emphysema": r"^(?!subcutaneous|mediastinal).*\bemphysemas?\b",
    "Fibrosis": r"^(?!cystic).*\bfibros[ei]s\b",
    "Fracture": r"\bfractures?\b",
    "Granuloma": r"\bgranulomas?\b",
    "Hernia": r"\bhernias?\b",
    "Infiltrate": r"\binfiltrates?\b",
    "Mass": r"\bmass(es)?\b",
    "Nodule": r"\bnodules?\b",
    "Opacity": r"\bopacit(y|ies)\b",
    "Pleural Effusion": r"\bpleural effusions?\b|^(loculated )?effusions?$",
    "Pleural Thickening": r"\bpleural thickening\b",
    "Pneumonia": r"\bpneumonias?\b",
    "Pneumothorax": r"\b(hydro|hemo)?pneumothora(x|ces)\b",
    "normal": r"^normal$",
}
_ALIASES = {
    "effusion": "Pleural Effusion",
    "infiltration": "Infiltrate",
    "lung opacity": "Opacity",
    "no finding": "normal",
    "pleural_thickening": "Pleural Thickening",
    "pulmonary edema": "Edema",
}


@check_keywords
def load_openi(
    root: str | Path | None = None,
    *,
    label: str = "Pleural Effusion",
    terms: str = "either",
    sections: Sequence[str] = ("FINDINGS", "IMPRESSION"),
) -> AuditData:
    """Return the Open-i chest X-ray collection, one sample a report.

    Parameters
    ----------
    root : path or None
        Folder that holds the reports, as `ecgen-radiology/*.xml`, as `NLMCXR_reports.tgz` or as `*.xml`, and where
        present the images, as `NLMCXR_png/*.png`, `images/*.png` or `*.png`. None: the reports that the installed
        package torchxrayvision ships, without images; the package is found, not imported.
    label : str
        What label 1 means, in any case. Atelectasis, Calcified Granuloma, Cardiomegaly, Consolidation, Edema,
        Emphysema (not subcutaneous or mediastinal), Fibrosis (not cystic), Fracture, Granuloma, Hernia, Infiltrate,
        Mass, Nodule, Opacity, Pleural Effusion, Pleural Thickening, Pneumonia, Pneumothorax (with hydro- and
        hemopneumothorax) and normal are known with their plurals; effusion, infiltration, lung opacity, no finding
        and pulmonary edema are other names of these. Any other MeSH heading or term of the collection is matched as
        whole words.
    terms : {"either", "major", "automatic"}
        Where the label is looked for. "major": the headings given by trained readers of the reports. "automatic":
        the terms of a program, which also takes up uncertain mentions ("may represent small effusions").
    sections : sequence of {"FINDINGS", "IMPRESSION", "INDICATION", "COMPARISON"}
        Sections that make up the report text, in this order.

    Returns
    -------
    AuditData
        Without `y_proba`. Sample ids are report ids ("CXR1"); each is a patient of its own, since the collection
        has one study a patient. Metadata: n_images and, from `nlmcxr_dicom_metadata.csv.gz` in `root` or in
        torchxrayvision where there is one, of the image used: view (PA, AP, LL, LATERAL, RL; missing for a third),
        age (years, from dates that were shifted together), modality (CR, DX), system (the maker of the archive or
        detector, as its private DICOM tags tell) and photometric (whether black or white is 0 in the original). The
        image used is the first that the metadata call PA or AP, else the first.

    Raises
    ------
    MissingExtraError
        `root` is None and torchxrayvision is not installed.
    InputError
        No reports at `root`, an unknown label or other choice, a damaged archive, a report that is no well-formed
        XML, is larger than 1 MB or declares a document type or entities (refused, whatever they do).

    Warns
    -----
    AuditWarning
        Always, that labels were read from the reports; of reports without MeSH indexing, left out; of reports whose
        images are not there, left out where other images are.

    Notes
    -----
    Archives are read in memory and never unpacked to the disk. Words that were removed for privacy read "XXXX" in the
    reports. A fifth of the reports repeat the text of another.

    References
    ----------
    Demner-Fushman et al., "Preparing a collection of radiology examinations for distribution and retrieval", 2016,
    doi 10.1093/jamia/ocv080.
    """
    check_choice("terms", terms, ("either", "major", "automatic"))
    sections = [sections] if isinstance(sections, str) else list(sections)
    for section in sections:
        check_choice("sections", section, _SECTIONS)
    bundle = _bundle()
    if root is None:
        if bundle is None:
            raise MissingExtraError("load_openi without root", "torchxrayvision", "xrv")
        folder, contents = None, _from_archive(bundle / _ARCHIVE)
    else:
        folder = existing_folder("root", root, "Open-i", _WHERE)
        contents = _from_folder(folder)
    table = pd.DataFrame([_parse(text) for text in contents])
    table = table.sort_values("uid", key=lambda ids: ids.map(_natural)).reset_index(drop=True)
    n_read = len(table)

    indexed = table["major"].map(lambda headings: _NOT_INDEXED not in [h.lower() for h in headings])
    n_not_indexed = int((~indexed).sum())
    table = table[indexed].reset_index(drop=True)
    name, pattern = _resolve(label, table)
    where = {"either": ("major", "automatic"), "major": ("major",), "automatic": ("automatic",)}[terms]
    table["label"] = _matches(table, pattern, where).astype(int)
    if table["label"].nunique() < 2:
        raise InputError(
            "label",
            f"reports with and without {name!r} in the {terms} terms",
            f"{int(table['label'].sum()):,} of {len(table):,} with it",
            "Choose another label, or terms='either'.",
        )
    table["report"] = [" ".join(filter(None, (texts[s] for s in sections))) for texts in table["texts"]]

    dicom = _dicom_table(folder, bundle)
    pictures = None if folder is None else _pictures(folder)
    n_without_image = 0
    if pictures is not None:
        present = {path.stem for path in pictures}
        table["images"] = [[i for i in ids if i in present] for ids in table["images"]]
        with_image = table["images"].map(len) > 0
        n_without_image = int((~with_image).sum())
        if not with_image.any():
            raise InputError("root", "images that the reports name", "PNG files of other names", "Check the folder.")
        table = table[with_image].reset_index(drop=True)
    table["image_id"] = [_choose(ids, dicom) for ids in table["images"]]
    metadata = _metadata(table, dicom)

    left_out = []
    if n_not_indexed:
        left_out.append(f"{n_not_indexed:,} without MeSH indexing, whose label is unknown")
    if n_without_image:
        left_out.append(f"{n_without_image:,} of whose images none is there")
    if left_out:
        warn(f"openi: expected a label and images for all of {n_read:,} reports, left out {'; '.join(left_out)}.")
    warn(
        "openi: labels were read from the reports (MeSH terms of people and of a program), not from the images: "
        "uncertain mentions can count as 1, and report words restate the label."
    )
    frame = table[["uid", "label", "report"]]
    has_images = pictures is not None
    if has_images:
        frame = frame.assign(image=table["image_id"] + ".png")
    return AuditData.from_frame(
        pd.concat([frame, metadata], axis=1),
        label="label",
        patient_id="uid",
        sample_id="uid",
        image="image" if has_images else None,
        image_root=pictures[0].parent if pictures is not None else None,
        report="report" if (table["report"] != "").any() else None,
        metadata=list(metadata.columns),
        label_name=name,
        label_terms=label_terms(name),
        name="openi",
        card={
            "source": _WHERE,
            "reference": "doi 10.1093/jamia/ocv080",
            "licence": "CC BY-NC-ND 4.0, as stated in each report",
            "patients": "two hospital systems of the Indiana Network for Patient Care; one study a patient",
            "label": f"{name} among {terms} MeSH terms; {n_not_indexed:,} reports without indexing left out",
            "known limits": (
                "Labels come from reports; automatic terms take up uncertain mentions. "
                "One study a patient: nothing can be said about change. "
                "View positions are missing for a third of the images and partly wrong. "
                "Words removed for privacy read XXXX; a fifth of the reports repeat another's text."
            ),
        },
    )


def _bundle() -> Path | None:
    """Return the data folder of the installed torchxrayvision without importing it, or None."""
    try:
        spec = importlib.util.find_spec("torchxrayvision")
    except (ImportError, ValueError):  # ValueError: hidden by None in sys.modules
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "data"


def _from_folder(folder: Path) -> Iterator[str]:
    if (folder / "ecgen-radiology").is_dir():
        files = sorted((folder / "ecgen-radiology").glob("*.xml"))
    elif (folder / _ARCHIVE).is_file():
        return _from_archive(folder / _ARCHIVE)
    else:
        files = sorted(folder.glob("*.xml"))
    if not files:
        raise InputError(
            "root",
            f"reports as ecgen-radiology/*.xml, {_ARCHIVE} or *.xml",
            "a folder without",
            f"Get them from {_WHERE}",
        )
    return (_decode(_head(file)) for file in files)


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_MAX_REPORT_BYTES + 1)


def _from_archive(path: Path) -> Iterator[str]:
    """Yield the XML members of a tar archive, read in memory; links and other members are passed over."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            n_reports = 0
            for member in archive:
                if not (member.isfile() and member.name.endswith(".xml")):
                    continue
                n_reports += 1
                if n_reports > _MAX_REPORTS:
                    raise InputError(
                        "root", f"at most {_MAX_REPORTS:,} reports", "more", "Check where the archive is from."
                    )
                opened = archive.extractfile(member)
                yield _decode(b"" if opened is None else opened.read(_MAX_REPORT_BYTES + 1))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(
            "root", f"a whole archive {_ARCHIVE}", f"none that can be read ({type(error).__name__})", "Get it again."
        ) from None
    if not n_reports:
        raise InputError("root", f"XML reports in {_ARCHIVE}", "an archive without", f"Get it from {_WHERE}")


def _decode(content: bytes) -> str:
    """Return the text of a report, or raise `InputError` for what no honest report has."""
    if len(content) > _MAX_REPORT_BYTES:
        raise InputError("root", "reports of at most 1 MB", "a larger one", "Check where the files are from.")
    try:
        # Decoded here, so that a declared encoding cannot hide a document type from the check that follows.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("root", "reports in UTF-8", "one in another encoding", "Convert it.") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(
            "root",
            "reports without document type and entities",
            "one that declares them, which can be an attack",
            "Check where the files are from; those of Open-i have none.",
        )
    return text


def _parse(text: str) -> dict[str, Any]:
    try:
        tree = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise InputError("root", "reports in well-formed XML", "one that is not", "Get the files again.") from None
    identifier = tree.find("uId")
    uid = None if identifier is None else identifier.get("id")
    if not uid:
        raise InputError("root", "an element uId with an id in every report", "one without", "Get the files again.")
    texts = dict.fromkeys(_SECTIONS, "")
    for node in tree.iter("AbstractText"):
        section = (node.get("Label") or "").upper()
        if section in texts:
            texts[section] = " ".join(f"{texts[section]} {''.join(node.itertext())}".split())
    return {
        "uid": uid,
        "major": _words(tree, "MeSH/major"),
        "automatic": _words(tree, "MeSH/automatic"),
        "texts": texts,
        "images": [node.get("id") for node in tree.iter("parentImage") if node.get("id")],
    }


def _words(tree: ElementTree.Element, path: str) -> list[str]:
    return [" ".join(node.text.split()) for node in tree.findall(path) if node.text and node.text.strip()]


def _natural(uid: str) -> tuple[int, str]:
    digits = re.search(r"[0-9]{1,18}", uid)  # of more digits Python makes no number
    return (int(digits[0]) if digits else 0, uid)


def _resolve(label: str, table: pd.DataFrame) -> tuple[str, re.Pattern]:
    """Return the label's name and the pattern that finds it, or raise `InputError` with what is nearest."""
    wanted = " ".join(str(label).lower().split())
    by_lower = {name.lower(): name for name in _PATTERNS} | _ALIASES
    if wanted in by_lower:
        return by_lower[wanted], re.compile(_PATTERNS[by_lower[wanted]])
    pattern = re.compile(rf"\b{re.escape(wanted)}\b")
    if wanted and _matches(table, pattern, ("major", "automatic")).any():
        return str(label), pattern
    headings = {heading.split("/")[0] for major in table["major"] for heading in major}
    raise InputError(
        "label",
        "a label of Open-i, or words of its MeSH terms",
        f"{label!r}",
        f"Common ones are: {listed(_PATTERNS, 40)}.{nearest(label, [*headings, *by_lower.values(), *_ALIASES])}",
    )


def _matches(table: pd.DataFrame, pattern: re.Pattern, columns: Sequence[str]) -> np.ndarray:
    found = np.zeros(len(table), dtype=bool)
    thickened_pleura = pattern.pattern == _PATTERNS["Pleural Thickening"]
    for column in columns:
        for i, words in enumerate(table[column]):
            for term in words:
                parts = [part.strip() for part in term.lower().split("/")]
                # The one label whose heading names its place only among the qualifiers: "Thickening/pleura/apex".
                special = thickened_pleura and parts[0] == "thickening" and "pleura" in parts
                found[i] |= special or any(pattern.search(part) for part in parts)
    return found


def _dicom_table(folder: Path | None, bundle: Path | None) -> pd.DataFrame | None:
    """Return what is known of each image, indexed by its id, or None."""
    places = [place / _DICOM for place in (folder, bundle) if place is not None]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        return None
    wanted = {
        *("imageid", "View Position", "Modality", "Private Creator", "Photometric Interpretation"),
        *("Study Date", "Patient's Birth Date"),
    }
    table = read_table("root", path, required=("imageid",), usecols=lambda c: c in wanted, dtype=str)
    return table.drop_duplicates("imageid").set_index("imageid")


def _pictures(folder: Path) -> list[Path] | None:
    for place in (folder / "NLMCXR_png", folder / "images", folder):
        found = sorted(place.glob("*.png")) if place.is_dir() else []
        if found:
            return found
    return None


def _choose(ids: Sequence[str], dicom: pd.DataFrame | None) -> str | None:
    if not ids:
        return None
    if dicom is not None and "View Position" in dicom.columns:
        views = dicom["View Position"]
        for image_id in ids:
            if image_id in views.index and views[image_id] in _FRONTAL:
                return image_id
    return ids[0]


def _metadata(table: pd.DataFrame, dicom: pd.DataFrame | None) -> pd.DataFrame:
    kept = {"n_images": table["images"].map(len).astype(float)}
    if dicom is not None:
        of_image = dicom.reindex(table["image_id"]).set_axis(table.index)
        for column, name in (
            ("View Position", "view"),
            ("Modality", "modality"),
            ("Private Creator", "system"),
            ("Photometric Interpretation", "photometric"),
        ):
            if column in of_image.columns:
                kept[name] = of_image[column]
        if {"Study Date", "Patient's Birth Date"} <= set(of_image.columns):
            study, birth = (
                pd.to_datetime(of_image[c], format="%Y%m%d", errors="coerce")
                for c in ("Study Date", "Patient's Birth Date")
            )
            age = np.floor((study - birth).dt.days / 365.25)
            kept["age"] = age.where(age.between(0, 120))
    return pd.DataFrame({c: v for c, v in kept.items() if v.notna().any()}, index=table.index)
