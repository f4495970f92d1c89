"""What each column of a table may be for an audit: guessed from its name and its values, with the reason in words."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmaudit.lab._leaks import MOST_FEW, Predicted, auroc, leak
from mmaudit.lab._table import GUESS_ROWS, Column, Table, describe_column, text_of

__all__ = [
    "describe_table",
    "doubtful_name",
    "fold",
    "matched",
    "pairs_by_name",
    "plain_ids",
    "training_rows",
    "undecided_among",
    "yes_value",
]

PERSON = {"patient", "pat", "subject", "person", "participant", "mrn", "ptid", "pid", "patientid", "subjectid"}
PERSON |= {"patients", "subjects", "personid", "participantid", "patientnumber", "patientno", "case"}
ID = {"id", "ids", "uid", "no", "nr", "num", "number", "key", "code", "mrn", "accession", "hash", "index", "uuid"}
ID |= {"imageid", "studyid", "dicomid", "sampleid", "filename", "file", "path", "sopinstanceuid", "fileid"}
AROUND_ID = PERSON | ID | {"anon", "anonymized", "anonymised", "deid", "pseudo", "hashed", "the", "source", "unique"}
LABEL = {"label", "labels", "target", "y", "true", "truth", "gt", "ground", "class", "outcome", "gold", "reference"}
LABEL |= {"ytrue", "groundtruth", "has", "is"}
READER = {"radiologist", "expert", "experts", "reader", "consensus", "annotator", "annotation", "rater", "pathologist"}
FINDING = {"finding", "findings", "diagnosis", "diagnoses", "dx", "disease", "pathology", "abnormality", "befund"}
DISEASE = {"cardiomegaly", "edema", "oedema", "consolidation", "pneumonia", "atelectasis", "pneumothorax", "effusion"}
DISEASE |= {"fracture", "nodule", "mass", "infiltration", "emphysema", "fibrosis", "hernia", "covid", "covid19"}
DISEASE |= {"tuberculosis", "tb", "cancer", "malignant", "malignancy", "lesion", "opacity", "tumor", "tumour", "sepsis"}
DISEASE |= {"melanoma", "stroke", "hemorrhage", "haemorrhage", "abnormal", "retinopathy", "glaucoma", "mortality"}
DISEASE |= {"cardiomediastinum", "pleural", "death", "died"}
ATTRIBUTE = {"has", "is", "history"}
DEVICE = {"device", "devices", "pacemaker", "tube", "tubes", "drain", "drains", "catheter", "line", "lines", "wire"}
DEVICE |= {"wires", "clip", "clips", "implant", "icd", "stent", "prosthesis", "ruler", "marker", "markers"}
PROBA = {"p", "prob", "probs", "proba", "probas", "probability", "probabilities", "score", "scores", "pred", "preds"}
PROBA |= {"predicted", "prediction", "predictions", "softmax", "sigmoid", "confidence", "conf", "yhat", "hat", "output"}
PROBA |= {"likelihood", "model", "ypred", "yprob", "yproba", "yscore", "logit", "logits", "wahrscheinlichkeit"}
MACHINE = {"ai", "cad", "algorithm", "classifier", "model", "pred", "preds", "predicted", "prediction", "ypred", "ki"}
MADE = {"correct", "correctly", "incorrect", "wrong", "error", "errors", "loss", "tp", "fp", "tn", "fn", "residual"}
MADE |= {"residuals", "uncertainty", "entropy", "decision", "flagged", "brier", "misclassified"}
KNOWN = {"sex", "gender", "age", "view", "viewposition", "position", "projection", "site", "hospital", "location"}
KNOWN |= {"center", "centre", "institution", "scanner", "manufacturer", "vendor", "device", "modality", "race"}
KNOWN |= {"ethnicity", "country", "region", "department", "ward", "portable", "year", "bmi", "height", "weight"}
KNOWN |= {"smoker", "smoking", "insurance", "language", "laterality", "orientation", "kvp", "bodypart", "split", "fold"}
KNOWN |= {"geschlecht", "alter"}
NEVER = {"url", "urls", "doi", "link", "license", "licence", "copyright", "credit", "date", "time", "datetime"}
NEVER |= {"timestamp", "birthdate", "dob", "unnamed", "folder", "directory", "dir"}
PERSONAL = {
    "surname",
    "firstname",
    "lastname",
    "forename",
    "fullname",
    "phone",
    "telephone",
    "mobile",
    "zip",
    "zipcode",
}
PERSONAL |= {"postcode", "postalcode", "plz", "address", "street", "email", "mail", "ssn", "fax", "initials"}
PERSONAL_ALONE = {"name", "birth"}  # beside a place or a measure they name no person
NAMED_THINGS = {"protocol", "series", "sequence", "study", "dataset", "drug", "class", "model", "file"}
REPORT = {"report", "reports", "impression", "findings", "text", "note", "notes", "narrative", "clinical", "history"}
IMAGE = {"image", "img", "images", "file", "filename", "filepath", "path", "dicom", "picture", "film"}
SUFFIX = re.compile(r"\.(?:png|jpe?g|tiff?|bmp|gif|webp|dcm|dicom)$", re.IGNORECASE)
# Both pass over a long text once.
NUMBER = re.compile(r"^[<>=~≤≥ ]*(?:\d+(?:[.,]\d+)?|[.,]\d+) ?%?$")
WEB = re.compile(r"(?:[a-z]://|www\.|10\.\d{4,}/)", re.IGNORECASE)

YES = {"yes", "y", "true", "t", "1", "positive", "pos", "+", "present", "abnormal", "malignant", "case", "ja", "oui"}
NO = {"no", "n", "false", "f", "0", "negative", "neg", "-", "absent", "normal", "benign", "control", "healthy", "nein"}
NO |= {"none", "no finding", "no findings", "nothing", "non", "clear"}
UNDECIDED = {"todo", "unknown", "tbd", "pending", "not known", "undecided", "n/a", "na", "?", "missing", "not read", ""}
UNDECIDED |= {"uncertain", "unclear", "indeterminate", "equivocal", "not mentioned", "unsure"}
TRAIN = {"train", "training", "trainset", "trainingset", "fit", "dev", "development", "derivation"}
HELD_OUT = {
    "test",
    "testset",
    "testing",
    "val",
    "valid",
    "validation",
    "holdout",
    "heldout",
    "eval",
    "evaluation",
    "tune",
}
SPLIT = {"split", "fold", "subset", "partition", "set", "phase", "dataset", "cohort"}

MOST_METADATA = 30
LONG_WORDS = 8
LOOKED_AT = 200  # of the paths of images
MOST_FOLDERS = 60
AGREES = 0.6  # AUROC of a probability for its label, below which the two do not seem to belong together
ROLES = ("label", "proba", "patient_id", "sample_id", "image", "report", "metadata")


@dataclass
class Guess:
    """What a column may be, and why."""

    role: str | None = None
    reason: str = ""
    confidence: str = "guess"


@dataclass
class _Table:
    """The columns of a table, and what has been said of each so far."""

    columns: list[Column]
    table: Table
    guesses: dict[str, Guess] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    suggestion: dict[str, Any] = field(default_factory=dict)

    def say(self, column: Column, role: str | None, reason: str, confidence: str = "likely") -> None:
        self.guesses.setdefault(column.name, Guess(role, reason, confidence))

    @property
    def folder(self) -> Path:
        """Where the table lies."""
        return self.table.path.parent

    @property
    def open(self) -> list[Column]:
        """Columns of which nothing was said yet."""
        return [column for column in self.columns if column.name not in self.guesses]


def describe_table(table: Table) -> dict[str, Any]:
    """Return what the dialog shows of a table: its columns, what each may be, and roles to begin with."""
    columns = [describe_column(str(name), values) for name, values in table.first.items()]
    known = _Table(columns, table, notes=list(table.notes))
    known.suggestion = {"label": [], "positive": None, "proba": [], "patient_id": None, "sample_id": None}
    known.suggestion |= {"image": None, "image_root": None, "report": None, "metadata": [], "threshold": None}
    _set_aside(known)
    _guess_patient(known)
    _guess_image(known)
    _guess_sample(known)
    _guess_label_and_proba(known)
    _guess_report(known)
    _guess_metadata(known)
    return {
        "path": table.path.as_posix(),
        "n_rows": table.n_rows,
        "n_bytes": table.n_bytes,
        "columns": [_told(column, known.guesses.get(column.name, Guess())) for column in columns],
        "suggestion": known.suggestion,
        "notes": known.notes,
    }


def _told(column: Column, guess: Guess) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": "text" if column.kind == "other" else column.kind,
        "n_missing": column.n_missing,
        "n_values": column.n_values,
        "examples": list(column.examples),
        "values": [[text, count] for text, count in (column.counts or {}).items()],
        "role": guess.role,
        "reason": guess.reason,
        "confidence": guess.confidence,
    }


# Names


def tokens(name: str) -> list[str]:
    """Return the words of a name in lower case: PatientID, patient_id and "patient id" give the same two."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def fold(text: str) -> str:
    """Return letters and digits alone, in lower case."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _says(column: Column, words: set[str]) -> str | None:
    """Return the word of the name that is among these, or None."""
    return next((word for word in [*tokens(column.name), fold(column.name)] if word in words), None)


def _stem(name: str, words: set[str]) -> str:
    """Return what a name says besides these words."""
    left = [word for word in tokens(name) if word not in words]
    return "".join(left) or ("" if tokens(name) else fold(name))


def pairs_by_name(labels: Sequence[str], probas: Sequence[str]) -> dict[str, str]:
    """Return the column of probabilities that belongs to each label, by what is left of their names."""
    of_proba: dict[str, list[str]] = {}
    for name in probas:
        of_proba.setdefault(_stem(name, PROBA | LABEL), []).append(name)
    stems = [_stem(name, LABEL | FINDING) or _stem(name, LABEL) for name in labels]
    found = zip(labels, (of_proba.get(stem, []) if stems.count(stem) == 1 else [] for stem in stems), strict=True)
    return {label: names[0] for label, names in found if len(names) == 1}


def matched(values: Sequence[str], probas: Sequence[str]) -> tuple[list[str], bool]:
    """Return the class that each column of probabilities belongs to, and whether by position as no name tells it.

    The list is empty where neither names nor positions tell.
    """
    found = [_class_of(values, name) for name in probas]
    named = [value for value in found if value is not None]
    if len(named) == len(found) == len(set(named)):
        return named, False
    numbers = [str(k) for k in range(len(probas))]
    return (numbers, True) if set(values) == set(numbers) else ([], False)


def _class_of(values: Sequence[str], name: str) -> str | None:
    """Return the value that a column of probabilities is named for: by what else it says, or by its end."""
    whole = {fold(value): value for value in values if fold(value)}
    ends = [value for folded, value in whole.items() if fold(name).endswith(folded)]
    return whole.get(fold(_stem(name, PROBA | LABEL))) or (max(ends, key=len) if ends else None)


def undecided_among(texts: Collection[str]) -> list[str]:
    """Return which values of a label say that there is none: words for it, and -1 beside 0, as in CheXpert."""
    return [text for text in texts if text.strip().lower() in UNDECIDED or (text == "-1" and "0" in texts)]


def _decided(texts: Collection[str]) -> list[str]:
    undecided = undecided_among(texts)
    return [text for text in texts if text not in undecided]


def doubtful_name(name: str) -> str | None:
    """Return why a column of this name is no metadata: made from the prediction, or naming persons; None if it may."""
    words = [*tokens(name), fold(name)]
    known = not (KNOWN | NAMED_THINGS | IMAGE | ID).isdisjoint(words)
    for word in words:
        if word in MADE | {"ai"} and KNOWN.isdisjoint(words):
            return f"name says {word}: made from the prediction?"
        if word in PERSONAL or (word in PERSONAL_ALONE and not known):
            return f"name says {word}: it may tell who a patient is"
    return None


def training_rows(name: str, values: pd.Series) -> np.ndarray | None:
    """Return the rows that a classifier was trained on, (n_rows,), bool; None for a column that does not tell them."""
    words = set(tokens(name))
    if pd.api.types.is_numeric_dtype(values):
        is_flag = words & {"train", "training"} and set(values.dropna().unique()) == {0, 1}
        return values.eq(1).fillna(False).to_numpy(dtype=bool) if is_flag else None
    distinct = {value for value in values if isinstance(value, str)}
    said = {value: fold(value) for value in distinct} if len(distinct) <= MOST_FEW else {}
    train = [value for value, folded in said.items() if folded in TRAIN]
    if not train or not (words & SPLIT or HELD_OUT & set(said.values())):
        return None
    return values.isin(train).to_numpy(dtype=bool)


def plain_ids(ids: pd.Series) -> pd.Series:
    """Return ids as text without what writes the same one in two ways: spaces around it, and .0 behind it."""
    return ids.dropna().astype(str).str.strip().str.removesuffix(".0")


def yes_value(texts: Sequence[str]) -> str | None:
    """Return which of two values means yes, such as "present" beside "absent"; None where that cannot be told."""
    yes = [text for text in texts if text.strip().lower() in YES]
    no = [text for text in texts if text.strip().lower() in NO]
    return yes[0] if len(texts) == 2 and len(yes) == len(no) == 1 else None


# What no role fits, persons, images, samples


def _set_aside(known: _Table) -> None:
    for column in known.columns:
        one = column.n_values == 1 and next(iter(column.counts or {}), "")
        if column.kind == "empty":
            known.say(column, None, "empty", "sure")
        elif column.kind == "other":
            known.say(column, None, "holds lists or bytes, which no role can use", "sure")
        elif one and column.n_missing == 0 and not SUFFIX.search(str(one)):
            known.say(column, None, "the same value in every row", "sure")
        elif column.name.startswith("Unnamed:") or (column.name == "index" and _is_unique(column)):
            known.say(column, None, "numbers of rows", "likely")
        elif column.kind == "text" and _share(column, WEB) > 0.5:
            known.say(column, None, "web addresses or DOIs", "sure")
        elif column.kind == "number" and np.isinf(column.values.to_numpy(dtype=float, na_value=np.nan)).any():
            known.say(column, None, "holds infinite values, which no role can use", "sure")
        elif training_rows(column.name, column.values) is not None:
            known.say(column, None, "says which rows are train: audit rows that the classifier has not seen", "sure")
            known.notes.append(
                f"{column.name!r} has rows that say train. Leave those out of the table that is audited."
            )
        elif not _says(column, {"ai"}) and doubtful_name(column.name) is not None:
            known.say(column, None, str(doubtful_name(column.name)))


def _share(column: Column, pattern: re.Pattern) -> float:
    some = [str(value).strip() for value in column.values.dropna().iloc[:LOOKED_AT]]
    return sum(pattern.search(text) is not None for text in some) / max(len(some), 1)


def _is_unique(column: Column) -> bool:
    return column.n_missing == 0 and column.n_values == column.n_rows


def _is_whole(column: Column) -> bool:
    """Return whether values can be names: text or whole numbers."""
    if column.kind == "number":
        return bool((column.values.dropna() % 1 == 0).all())
    return column.kind == "text"


def _guess_patient(known: _Table) -> None:
    found: list[tuple] = []
    for column in known.open:
        words = tokens(column.name)
        named = _says(column, PERSON)
        other = [word for word in words if word not in AROUND_ID and not word.isdigit()]
        if named and not other and _is_whole(column) and column.n_values >= 2 and column.words <= 3:
            found.append((named == "case", "id" not in words, column.n_missing, len(found), column))
    if not found:
        known.notes.append("No column looks like a patient id. Choose one if a patient can have several rows.")
        return
    column = min(found)[-1]
    word = _says(column, PERSON)
    is_text = known.table.is_parquet or column.kind == "text"
    ids = column.values if is_text else known.table.read([column.name], [column.name], GUESS_ROWS)[column.name]
    plain = plain_ids(ids)
    plain = plain[plain.ne("")]
    n_values, n_blank = int(plain.nunique()), len(ids) - len(plain)
    reason = f"name says {word}; {n_values:,} values, {len(plain) / max(n_values, 1):.1f} rows each"
    if n_blank:
        reason += f"; missing in {n_blank:,} rows"
        known.notes.append(f"{column.name!r} is empty in {n_blank:,} rows. Fill it in, or leave them out of the table.")
    if ids[plain.index].nunique() > n_values:
        reason += "; the same id is written in two ways"
        known.notes.append(f"{column.name!r} has the same id in two ways, with a space or .0. Write them alike.")
    known.say(column, "patient_id", reason, "sure" if word != "case" and not n_blank else "likely")
    known.suggestion["patient_id"] = column.name
    for *_, rest in found:
        known.say(rest, None, f"another patient id beside {column.name!r}")


def _guess_image(known: _Table) -> None:
    found: list[tuple] = []
    for column in known.open:
        if column.kind != "text" or column.n_values < 2:
            continue
        share = _share(column, SUFFIX)
        if share > 0.8:
            paths = [str(path) for path in column.values.dropna().unique()[:LOOKED_AT]]
            root, there = _image_root(known, paths)
            found.append((there / len(paths), _says(column, IMAGE) is not None, -len(found), column, root, len(paths)))
    for share, _, _, column, root, n in sorted(found, key=lambda one: one[:3], reverse=True):
        there, of = round(share * n), f"first {n}" if column.n_values > n else f"{n}"
        if known.suggestion["image"] is not None:
            known.say(column, None, f"more paths of images, beside {known.suggestion['image']!r}")
        elif not there:
            reason = f"paths of images, but none of the {of} lies in this folder or those in it"
            known.say(column, None, reason, "likely")
            known.notes.append(
                f"{column.name!r} holds paths of images that are not in this folder. Choose it as Image and tell their "
                "folder, if you have them."
            )
        else:
            place = "" if root is None else f" in {root}"
            known.say(column, "image", f"paths of images; {there} of the {of} are files{place}", "sure")
            known.suggestion |= {"image": column.name, "image_root": root}


def _image_root(known: _Table, paths: Sequence[str]) -> tuple[str | None, int]:
    """Return the folder in which most of these files lie, and how many do; None for the table's own."""
    found = [(_n_files(known.folder, root, paths), root) for root in _folders(known)]
    there, root = max(found, key=lambda one: one[0])
    return root, there


def _n_files(folder: Path, root: str | None, paths: Sequence[str]) -> int:
    base = os.path.join(folder, root or "")  # noqa: PTH118  a Path costs more than the look
    return sum(os.path.isfile(os.path.join(base, path)) for path in paths if "\0" not in path)  # noqa: PTH113, PTH118


def _folders(known: _Table) -> Iterator[str | None]:
    """Yield where images may lie: beside the table, in folders that a column names, and in those beside the table."""
    yield None
    for column in known.columns:
        if {"folder", "dir", "directory"} & set(tokens(column.name)):
            yield from (text for text in column.counts or {} if _is_below(known.folder, text))
    try:
        below = sorted(path.name for path in known.folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    except OSError:
        return
    yield from below[:MOST_FOLDERS]


def _is_below(folder: Path, text: str) -> bool:
    path = Path(text)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in text and (folder / path).is_dir()


def _guess_sample(known: _Table) -> None:
    image = known.suggestion["image"]
    named = [c for c in known.open if _says(c, ID) and _is_whole(c) and c.words <= 2]
    unique = [c for c in known.columns if (c in named or c.name == image) and _is_unique(c)]
    if unique:
        own = [c for c in unique if c.name != image]
        column = (own or unique)[0]
        known.suggestion["sample_id"] = column.name
        known.say(column, "sample_id", f"name says {_says(column, ID)}; a different value in every row", "sure")
    for column in known.open:
        if column in named and column.n_values > 0.2 * column.n_known and column.n_values > 30:
            repeated = f"an id, {column.n_values:,} values in {column.n_rows:,} rows"
            known.say(column, None, repeated)


# Labels and probabilities


def _in_unit(column: Column) -> bool:
    if column.kind != "number" or column.n_values < 2:
        return False
    values = column.values.dropna()
    return float(values.min()) >= 0 and float(values.max()) <= 1


def _is_binary(column: Column) -> bool:
    if column.kind == "boolean":
        return column.n_values == 2
    return set(column.counts or {}) in ({"0", "1"}, {"0", "1", "-1"})


def _named_proba(column: Column) -> bool:
    folded = fold(column.name)
    ends = folded.startswith("prob") or folded.endswith(("prob", "proba", "score", "probability"))
    return bool(ends or _says(column, PROBA))


def _guess_label_and_proba(known: _Table) -> None:
    probas = [c for c in known.open if _in_unit(c) and _named_proba(c) and not _is_binary(c)]
    if not probas:
        probas = [c for c in known.open if _in_unit(c) and _named_proba(c) and _score(c, []) < 3]  # decisions, 0 or 1
    for column in known.open:
        if _named_proba(column) and not _says(column, KNOWN):
            _tell_of_other_numbers(known, column, probas)
    labels = [c for c in known.open if c not in probas and _score(c, probas) >= 2]
    others = [c for c in labels if not _is_of_machine(c)]
    for column in labels if others else []:
        if column not in others:
            known.say(column, None, f"name says {_says(column, MACHINE)}: the classifier's own decision?")
    labels = others or labels
    if _guess_classes(known, labels, probas) or _guess_several(known, labels, probas):
        return
    _guess_one(known, labels, probas)


def _tell_of_other_numbers(known: _Table, column: Column, probas: list[Column]) -> None:
    """Say what a column is that is named like a probability, but holds texts or other numbers."""
    if column.kind == "number" and not _in_unit(column) and column.n_values > 2:
        highest, lowest = float(column.values.max()), float(column.values.min())
        is_percent = 1 < highest <= 100 and lowest >= 0
        if not probas and _says(column, PROBA - {"model", "p", "score", "scores"}):
            looks = (
                "percentages: divide by 100 in the table" if is_percent else "logits: apply the sigmoid in the table"
            )
            known.notes.append(f"{column.name!r} is named like a probability but is not in [0, 1], perhaps {looks}.")
        if _says(column, PROBA - {"model", "p"}):
            known.say(column, None, f"named like a probability, but values go up to {highest:.3g}")
    elif column.kind == "text" and _says(column, PROBA - {"model"}) and _share(column, NUMBER) > 0.8:
        with_sign = _share(column, re.compile("%")) > 0.5
        holds = "percentages as text" if with_sign else "numbers as text, some with a sign such as >"
        action = "remove the sign and divide by 100" if with_sign else "make numbers in [0, 1] of them"
        known.say(column, None, f"named like a probability, but holds {holds}")
        known.notes.append(f"{column.name!r} is named like a probability but holds {holds}: {action} in the table.")


def _is_of_machine(column: Column) -> bool:
    return _says(column, MACHINE) is not None and not _says(column, {"true", "truth"})


def _is_attribute(column: Column) -> bool:
    """Return whether a name tells of a patient or a device, as has_pacemaker does, and of no finding."""
    if _says(column, DEVICE | {"history"}):
        return True
    return _says(column, ATTRIBUTE) is not None and not _says(column, LABEL - ATTRIBUTE | FINDING | DISEASE)


def _score(column: Column, probas: Sequence[Column]) -> float:
    """Return how much speaks for a column being the label."""
    if _says(column, KNOWN | NEVER) or column.n_values < 2 or column.counts is None or column.kind == "date":
        return 0
    paired = bool(pairs_by_name([column.name], [c.name for c in probas]))
    if _is_attribute(column) and not paired:
        return 0
    if column.n_missing > 0.9 * column.n_rows or (column.kind == "number" and not _is_whole(column)):
        return 0
    score = 0.0
    score += 4 * bool(_says(column, LABEL - {"has", "is", "reference"}))
    score += 3 * bool(_says(column, FINDING | DISEASE)) * (score == 0)
    score += 5 * paired
    has_yes = yes_value(_decided(column.counts)) is not None
    score += 3 * bool(_says(column, READER)) * (score == 0 and (_is_binary(column) or has_yes))
    score += 2 * _is_binary(column) + (has_yes and not _is_binary(column))
    if _says(column, PROBA) and not _says(column, {"true", "truth", "label"}):
        score -= 4
    if column.kind == "number" and not _is_binary(column) and not _says(column, LABEL | FINDING):
        score = 0
    return score if column.words <= 6 else 0


def _sums_to_one(probas: Sequence[Column]) -> bool:
    if len(probas) < 2:
        return False
    sums = pd.concat([c.values for c in probas], axis=1).dropna().sum(axis=1)
    return bool(len(sums) and (np.abs(sums - 1) <= 1e-2).mean() > 0.98)


def _guess_classes(known: _Table, labels: list[Column], probas: list[Column]) -> bool:
    for column in sorted(labels, key=lambda c: -_score(c, probas)):
        texts = _decided(column.counts or {})
        # A further column, such as the confidence, is none of the classes.
        named = [c for c in probas if _class_of(texts, c.name) is not None]
        ours = named if len(named) > 2 else probas
        classes, by_position = matched(texts, [c.name for c in ours])
        if len(classes) < 3 or not _sums_to_one(ours):
            continue
        n = sum(text in classes for text in texts)
        how = "paired with the columns of probabilities by position: is that right?"
        how = how if by_position else f"{n} of its values are the names of the columns of probabilities"
        sure = "guess" if by_position else "sure"
        known.say(column, "label", how, sure)
        for proba, text in zip(ours, classes, strict=True):
            why = f"by position {text!r}" if by_position else f"probability of {text!r}"
            known.say(proba, "proba", f"{why}; the {len(ours)} columns sum to 1", sure)
        known.suggestion |= {"label": [column.name], "proba": [c.name for c in ours]}
        _leave_out_predictions(known, probas)
        _leave_out_labels(known, labels)
        return True
    return False


def _guess_several(known: _Table, labels: list[Column], probas: list[Column]) -> bool:
    binary = [c for c in labels if _is_binary(c)]
    pairs = pairs_by_name([c.name for c in binary], [c.name for c in probas])
    if len(pairs) < 2:
        return False
    by_name = {c.name: c for c in known.columns}
    for label, proba in pairs.items():
        agreement = _agreement(by_name[label], by_name[proba])
        sure, doubt = ("sure", "") if agreement >= AGREES else ("guess", f"; hardly higher where {label!r} is 1")
        known.say(by_name[label], "label", f"{_values_in_words(by_name[label])}; its probability is {proba!r}", sure)
        known.say(by_name[proba], "proba", f"in [0, 1]; belongs to {label!r} by name{doubt}", sure)
    known.suggestion |= {"label": list(pairs), "proba": list(pairs.values())}
    if any("-1" in (by_name[label].counts or {}) for label in pairs):
        known.notes.append("Some labels are -1, in CheXpert 'uncertain': they count as missing unless you tick -1.")
    _leave_out_predictions(known, probas)
    _leave_out_labels(known, labels)
    return True


def _values_in_words(column: Column) -> str:
    if not _is_binary(column):
        return f"{column.n_values} values"
    return "0, 1 and -1, which counts as missing" if "-1" in (column.counts or {}) else "0 and 1"


def _leave_out_labels(known: _Table, labels: list[Column]) -> None:
    label = known.suggestion["label"][0]
    for column in labels:
        if _says(column, LABEL | DISEASE | FINDING | READER):
            known.say(column, None, f"may be another label, beside {label!r}")


def _guess_one(known: _Table, labels: list[Column], probas: list[Column]) -> None:
    if not labels:
        known.notes.append("No column looks like a label. Choose the one that says what is true.")
        _leave_out_predictions(known, probas)
        return
    agree = {c.name: _agreement(c, probas[0]) for c in labels} if len(probas) == 1 else {}
    label = max(labels, key=lambda c: (_score(c, probas), agree.get(c.name, 0), -c.n_missing))
    positive = _positives(label, probas)
    score = _score(label, probas)
    word = _says(label, LABEL | FINDING | DISEASE)
    said = [f"name says {word}"] if word else []
    said.append(_values_in_words(label))
    if positive:
        shown = ", ".join(positive[:3]) + (" …" if len(positive) > 3 else "")
        said.append(f"{shown} counts as 1")
    if label.n_missing:
        said.append(f"missing in {label.n_missing:,} rows")
    proba = _best_proba(label, positive, probas)
    agreement = 1.0 if proba is None else _agreement(label, proba, positive)
    sure = "sure" if score >= 5 else "likely" if score >= 3 and _is_binary(label) else "guess"
    known.say(label, "label", "; ".join(said), sure if agreement >= AGREES else "guess")
    known.suggestion |= {"label": [label.name], "positive": positive}
    if proba is not None:
        continuous = "in [0, 1]" if not _is_binary(proba) else "0 and 1: decisions; probabilities would tell more"
        named = f"name says {_says(proba, PROBA) or 'probability'}; {continuous}"
        if agreement < AGREES:
            named += f"; {'lower' if agreement < 1 - AGREES else 'hardly higher'} where the label is 1"
        is_guess = _is_binary(proba) or agreement < AGREES
        known.say(proba, "proba", named, "guess" if is_guess else "sure" if len(probas) == 1 else "likely")
        known.suggestion["proba"] = [proba.name]
    else:
        unnamed = [c for c in known.open if _in_unit(c) and c.n_values > 20 and not _says(c, KNOWN)]
        if len(unnamed) == 1 and _agreement(label, unnamed[0], positive) > AGREES:
            known.say(unnamed[0], "proba", "in [0, 1], and higher where the label is 1", "guess")
            known.suggestion["proba"] = [unnamed[0].name]
    _leave_out_predictions(known, probas)
    _leave_out_labels(known, labels)


def _leave_out_predictions(known: _Table, probas: list[Column]) -> None:
    for column in known.open:
        if column in probas or (column.counts is not None and _says(column, PROBA - {"model", "p", "output", "conf"})):
            known.say(column, None, "looks like a prediction: rules about it would say nothing")


def _best_proba(label: Column, positive: list[str] | None, probas: list[Column]) -> Column | None:
    if not probas:
        return None
    stems = {fold(text) for text in positive or ["1"]} | {"1", "pos", "positive", fold(label.name)}
    paired = pairs_by_name([label.name], [c.name for c in probas]).get(label.name)

    def merit(column: Column) -> tuple:
        own = _stem(column.name, PROBA | LABEL)
        says = own in stems or column.name == paired
        return says, not _is_binary(column), _agreement(label, column, positive), -column.n_missing

    return max(probas, key=merit)


def _positives(column: Column, probas: Sequence[Column] = ()) -> list[str] | None:
    """Return the values that may count as 1, best one that a probability is named for; None for 0 and 1."""
    if _is_binary(column):
        return None
    texts = _decided(column.counts or {})
    positive = _telling_values(column, texts)
    stems = {fold(_stem(c.name, PROBA | LABEL)) for c in probas} - {""}
    named = [text for text in texts if fold(text) in stems]
    return named[:1] if named and not set(named) & set(positive) else positive


def _telling_values(column: Column, texts: Sequence[str]) -> list[str]:
    yes = yes_value(texts)
    if yes is not None:
        return [yes]
    if column.kind == "number":
        return [max(texts, key=float)]
    telling = [t for t in texts if t.strip().lower() not in NO]
    if not telling:
        return list(column.counts or {})[:1]
    first = telling[0]  # the commonest
    holds = [t for t in telling if first.strip().lower() in {p.strip().lower() for p in re.split(r"[,;/|+]", t)}]
    return holds or [first]


def as_binary(column: Column, positive: Sequence[str] | None) -> np.ndarray:
    """Return 1, 0 or NaN for each row."""
    texts = column.values.map(text_of, na_action="ignore").astype(object)
    unknown = texts.isna() | texts.isin(undecided_among(column.counts or {}))
    return np.where(unknown, np.nan, texts.isin(positive or ["1", "True"]).astype(float))


def _agreement(label: Column, proba: Column, positive: Sequence[str] | None = None) -> float:
    """Return the AUROC of a column for a label; 0.5 where it cannot be told."""
    y = as_binary(label, positive or _positives(label))
    return auroc(y, proba.values.to_numpy(dtype=float, na_value=np.nan))[0]


# Reports and metadata


def _guess_report(known: _Table) -> None:
    found: list[tuple] = []
    for column in known.open:
        named = _says(column, REPORT)
        if column.kind != "text" or column.n_values < 2 or _says(column, {"license", "licence", "url", "credit"}):
            continue
        if column.words >= (4 if named else LONG_WORDS) and (named or column.n_values > 0.3 * column.n_known):
            told = column.words * column.n_known / column.n_rows * (2 if named else 1)
            if {"other", "comment", "comments"} & set(tokens(column.name)):
                told /= 2
            found.append((told, column))
    for _, column in sorted(found, key=lambda one: -one[0]):
        named = _says(column, REPORT)
        words = f"{column.words:.0f} words a value"
        if known.suggestion["report"] is not None:
            known.say(column, None, f"free text, {words}; {known.suggestion['report']!r} is taken as the report")
            continue
        known.suggestion["report"] = column.name
        reason = f"name says {named}; {words}" if named else f"free text, {words}"
        known.say(column, "report", reason, "sure" if named else "likely")


def _guess_metadata(known: _Table) -> None:
    truths, predicted = _truths(known)
    chosen = []
    for column in known.open:
        why_not = _no_metadata(column) or doubtful_name(column.name)
        told = None if why_not else leak(column.values, truths, predicted)
        if why_not or told:
            known.say(column, None, why_not or str(told))
        else:
            chosen.append(column)
        if told:
            what = "label" if told.startswith("restates") else "prediction"
            known.notes.append(
                f"{column.name!r} tells the {what} nearly without error and is left out of the metadata."
            )
    chosen.sort(key=lambda c: _says(c, KNOWN) is None)  # stable: else in the order of the table
    for column in chosen[:MOST_METADATA]:
        word = _says(column, KNOWN)
        what = "numbers" if column.kind == "number" and column.n_values > 10 else f"{column.n_values} values"
        missing = f"; missing in {100 * column.n_missing / column.n_rows:.0f} %" if column.n_missing else ""
        reason = f"name says {word}; {what}{missing}" if word else f"{what}{missing}"
        known.say(column, "metadata", reason, "sure" if word else "likely")
    for column in chosen[MOST_METADATA:]:
        known.say(column, None, f"could be metadata; {MOST_METADATA} columns are chosen already", "guess")
    if len(chosen) > MOST_METADATA:
        known.notes.append(f"{len(chosen):,} columns could be metadata; {MOST_METADATA} of them are chosen.")
    taken = {c.name for c in chosen[:MOST_METADATA]}
    known.suggestion["metadata"] = [c.name for c in known.columns if c.name in taken]


def _no_metadata(column: Column) -> str | None:
    """Return why a column is no metadata, or None if it may be."""
    word = _says(column, NEVER)
    if column.kind == "date" or (word and word in {"date", "time", "datetime", "timestamp", "dob", "birthdate"}):
        return "dates: make a year or an age of them to use them"
    if word:
        return f"name says {word}"
    if column.n_values == 1:
        return "one value, else missing"
    if column.n_missing > 0.8 * column.n_rows:
        return f"missing in {100 * column.n_missing / column.n_rows:.0f} % of the rows"
    known_word = _says(column, KNOWN)
    each = column.n_known / column.n_values
    if column.kind == "number":
        names = _says(column, ID - {"code", "no", "num", "number"}) or (_is_unique(column) and _is_whole(column))
        return "numbers that look like ids" if names and each < 2 and column.n_values > 30 else None
    if column.words > LONG_WORDS:
        return f"free text, {column.words:.0f} words a value"
    if column.n_values > MOST_FEW and (each < 3 or known_word is None):
        return f"{column.n_values:,} different texts" + (", nearly one a row" if each < 1.5 else "")
    if each < 1.5 and column.n_values > 5:
        return "nearly a different text in every row"
    return None


def _truths(known: _Table) -> tuple[list[np.ndarray], list[Predicted]]:
    """Return each label or class, 0, 1 or NaN, and the same with its prediction, for rows judged."""
    by_name = {c.name: c for c in known.columns}
    labels = [by_name[name] for name in known.suggestion["label"]]
    probas = [by_name[name].values.to_numpy(dtype=float, na_value=np.nan) for name in known.suggestion["proba"]]
    truths = [as_binary(column, known.suggestion["positive"]) for column in labels]
    says = [p >= 0.5 for p in probas]
    if len(labels) < len(probas):  # classes
        classes, _ = matched(_decided(labels[0].counts or {}), known.suggestion["proba"])
        truths = [as_binary(labels[0], [text]) for text in classes]
        says = list(np.argmax(np.nan_to_num(probas), axis=0) == np.arange(len(probas))[:, None])
    parts = zip(truths, probas, says, strict=True) if probas else ()
    return truths, [Predicted(*part) for part in parts]
