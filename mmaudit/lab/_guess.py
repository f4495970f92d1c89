"""What each column of a table may be for an audit: guessed from its name and its values, with the reason in words."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmaudit.lab._table import Column, Table, describe_column

__all__ = ["describe_table", "fold", "is_undecided", "matched", "pairs_by_name", "restates", "yes_value"]

PERSON = {"patient", "pat", "subject", "person", "participant", "mrn", "ptid", "pid", "patientid", "subjectid"}
PERSON |= {"patients", "subjects", "personid", "participantid", "patientnumber", "patientno", "case"}
ID = {"id", "ids", "uid", "no", "nr", "num", "number", "key", "code", "mrn", "accession", "hash", "index", "uuid"}
ID |= {"imageid", "studyid", "dicomid", "sampleid", "filename", "file", "path", "sopinstanceuid", "fileid"}
AROUND_ID = PERSON | ID | {"anon", "anonymized", "anonymised", "deid", "pseudo", "hashed", "the", "source", "unique"}
LABEL = {"label", "labels", "target", "y", "true", "truth", "gt", "ground", "class", "outcome", "gold", "reference"}
LABEL |= {"ytrue", "groundtruth", "has", "is"}
FINDING = {"finding", "findings", "diagnosis", "diagnoses", "dx", "disease", "pathology", "abnormality"}
DISEASE = {"cardiomegaly", "edema", "oedema", "consolidation", "pneumonia", "atelectasis", "pneumothorax", "effusion"}
DISEASE |= {"fracture", "nodule", "mass", "infiltration", "emphysema", "fibrosis", "hernia", "covid", "covid19"}
DISEASE |= {"tuberculosis", "tb", "cancer", "malignant", "malignancy", "lesion", "opacity", "tumor", "tumour", "sepsis"}
DISEASE |= {"melanoma", "stroke", "hemorrhage", "haemorrhage", "abnormal", "retinopathy", "glaucoma"}
PROBA = {"p", "prob", "probs", "proba", "probas", "probability", "probabilities", "score", "scores", "pred", "preds"}
PROBA |= {"predicted", "prediction", "predictions", "softmax", "sigmoid", "confidence", "conf", "yhat", "hat", "output"}
PROBA |= {"likelihood", "model", "ypred", "yprob", "yproba", "yscore", "logit", "logits"}
KNOWN = {"sex", "gender", "age", "view", "viewposition", "position", "projection", "site", "hospital", "location"}
KNOWN |= {"center", "centre", "institution", "scanner", "manufacturer", "vendor", "device", "modality", "race"}
KNOWN |= {"ethnicity", "country", "region", "department", "ward", "portable", "year", "bmi", "height", "weight"}
KNOWN |= {"smoker", "smoking", "insurance", "language", "laterality", "orientation", "kvp", "bodypart", "split", "fold"}
NEVER = {"url", "urls", "doi", "link", "license", "licence", "copyright", "credit", "date", "time", "datetime"}
NEVER |= {"timestamp", "birthdate", "dob", "unnamed", "folder", "directory", "dir"}
REPORT = {"report", "reports", "impression", "findings", "text", "note", "notes", "narrative", "clinical", "history"}
IMAGE = {"image", "img", "images", "file", "filename", "filepath", "path", "dicom", "picture", "film"}
SUFFIX = re.compile(r"\.(?:png|jpe?g|tiff?|bmp|gif|webp|dcm|dicom)$", re.IGNORECASE)
WEB = re.compile(r"(?:[a-z]+://|www\.|10\.\d{4,}/)", re.IGNORECASE)

YES = {"yes", "y", "true", "t", "1", "positive", "pos", "+", "present", "abnormal", "malignant", "case", "ja", "oui"}
NO = {"no", "n", "false", "f", "0", "negative", "neg", "-", "absent", "normal", "benign", "control", "healthy", "nein"}
NO |= {"none", "no finding", "no findings", "nothing", "non", "clear"}
UNDECIDED = {"todo", "unknown", "tbd", "pending", "not known", "undecided", "n/a", "na", "?", "missing", "not read", ""}

MOST_METADATA = 30
LONG_WORDS = 8
LOOKED_AT = 200  # of the paths of images
MOST_FOLDERS = 60
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
    folder: Path
    guesses: dict[str, Guess] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    suggestion: dict[str, Any] = field(default_factory=dict)

    def say(self, column: Column, role: str | None, reason: str, confidence: str = "likely") -> None:
        self.guesses.setdefault(column.name, Guess(role, reason, confidence))

    @property
    def open(self) -> list[Column]:
        """Columns of which nothing was said yet."""
        return [column for column in self.columns if column.name not in self.guesses]


def describe_table(table: Table) -> dict[str, Any]:
    """Return what the dialog shows of a table: its columns, what each may be, and roles to begin with."""
    columns = [describe_column(str(name), values) for name, values in table.first.items()]
    known = _Table(columns, table.path.parent, notes=list(table.notes))
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


def matched(values: Sequence[str], probas: Sequence[str]) -> list[str] | None:
    """Return the class that each column of probabilities belongs to, by its name; None where that cannot be told."""
    whole = {fold(value): value for value in values}
    found = []
    for name in probas:
        stem = fold(_stem(name, PROBA | LABEL))
        ends = [value for folded, value in whole.items() if folded and fold(name).endswith(folded)]
        value = whole.get(stem) or (max(ends, key=len) if ends else None)
        found.append(value)
    if None not in found and len(set(found)) == len(found):
        return found  # type: ignore[return-value]
    numbers = [str(k) for k in range(len(probas))]
    return numbers if set(values) == set(numbers) else None


def is_undecided(text: str) -> bool:
    """Return whether a label says that there is none yet."""
    return text.strip().lower() in UNDECIDED


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
    each = column.n_known / column.n_values
    reason = f"name says {word}; {column.n_values:,} values, {each:.1f} rows each"
    if column.n_missing:
        reason += f"; missing in {column.n_missing:,} rows"
    known.say(column, "patient_id", reason, "sure" if word != "case" and not column.n_missing else "likely")
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
            reason = f"paths of images, but none of the {of} lies in this folder or below it"
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
    few = list(itertools.islice(paths, 0, None, max(len(paths) // 10, 1)))
    best: tuple[int, str | None] = (0, None)
    for root in _folders(known):
        if _n_files(known.folder, root, few) > best[0] * len(few) / max(len(paths), 1):
            best = max(best, (_n_files(known.folder, root, paths), root), key=lambda one: one[0])
            if best[0] == len(paths):
                break
    return best[1], best[0]


def _n_files(folder: Path, root: str | None, paths: Sequence[str]) -> int:
    base = os.path.join(folder, root or "")  # noqa: PTH118  a Path costs more than the look
    return sum(os.path.isfile(os.path.join(base, path)) for path in paths if "\0" not in path)  # noqa: PTH113, PTH118


def _folders(known: _Table) -> Iterator[str | None]:
    """Yield where images may lie: beside the table, in folders that a column names, and in those below."""
    yield None
    for column in known.columns:
        if {"folder", "dir", "directory"} & set(tokens(column.name)):
            yield from (text for text in column.counts or {} if _is_below(known.folder, text))
    level = [known.folder]
    n_yielded = 0
    for _ in range(2):
        below = [child for parent in level for child in _children(parent)]
        for child in below:
            n_yielded += 1
            if n_yielded > MOST_FOLDERS:
                return
            yield child.relative_to(known.folder).as_posix()
        level = below[:MOST_FOLDERS]


def _is_below(folder: Path, text: str) -> bool:
    path = Path(text)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in text and (folder / path).is_dir()


def _children(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith((".", "_")))
    except OSError:
        return []
    return [folder / name for name in names[:MOST_FOLDERS]]


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
        if column.kind == "number" and _named_proba(column) and not _in_unit(column) and column.n_values > 2:
            highest = float(column.values.max())
            looks = "percentages: divide by 100" if 1 < highest <= 100 and column.values.min() >= 0 else "logits"
            if not _says(column, KNOWN) and not probas and _says(column, PROBA - {"model", "p", "score", "scores"}):
                known.notes.append(
                    f"{column.name!r} is named like a probability but is not in [0, 1], perhaps {looks}."
                )
            if not _says(column, KNOWN) and _says(column, PROBA - {"model", "p"}):
                known.say(column, None, f"named like a probability, but values go up to {highest:.3g}")
    labels = [c for c in known.open if c not in probas and _score(c, probas) >= 2]
    if _guess_classes(known, labels, probas) or _guess_several(known, labels, probas):
        return
    _guess_one(known, labels, probas)


def _score(column: Column, probas: Sequence[Column]) -> float:
    """Return how much speaks for a column being the label."""
    if _says(column, KNOWN | NEVER) or column.n_values < 2 or column.counts is None or column.kind == "date":
        return 0
    if column.n_missing > 0.9 * column.n_rows or (column.kind == "number" and not _is_whole(column)):
        return 0
    score = 0.0
    score += 4 * bool(_says(column, LABEL - {"has", "is", "reference"}))
    score += 3 * bool(_says(column, FINDING | DISEASE)) * (score == 0)
    score += 5 * bool(pairs_by_name([column.name], [c.name for c in probas]))
    score += 2 * _is_binary(column) + (yes_value(list(column.counts)) is not None and not _is_binary(column))
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
    if len(probas) < 3 or not _sums_to_one(probas):
        return False
    for column in sorted(labels, key=lambda c: -_score(c, probas)):
        texts = [text for text in column.counts or {} if not is_undecided(text)]
        classes = matched(texts, [c.name for c in probas])
        if classes is None or len(texts) < 2:
            continue
        n = sum(text in classes for text in texts)
        known.say(column, "label", f"{n} of its values are the names of the columns of probabilities", "sure")
        for proba, text in zip(probas, classes, strict=True):
            known.say(proba, "proba", f"probability of {text!r}; the {len(probas)} columns sum to 1", "sure")
        known.suggestion |= {"label": [column.name], "proba": [c.name for c in probas]}
        return True
    return False


def _guess_several(known: _Table, labels: list[Column], probas: list[Column]) -> bool:
    binary = [c for c in labels if _is_binary(c)]
    pairs = pairs_by_name([c.name for c in binary], [c.name for c in probas])
    if len(pairs) < 2:
        return False
    by_name = {c.name: c for c in known.columns}
    for label, proba in pairs.items():
        known.say(by_name[label], "label", f"0 and 1; its probability is {proba!r}", "sure")
        known.say(by_name[proba], "proba", f"in [0, 1]; belongs to {label!r} by name", "sure")
    known.suggestion |= {"label": list(pairs), "proba": list(pairs.values())}
    if any("-1" in (by_name[label].counts or {}) for label in pairs):
        known.notes.append("Some labels are -1, in CheXpert 'uncertain'. Make them 0, 1 or empty in the table first.")
    _leave_out_predictions(known, probas)
    return True


def _guess_one(known: _Table, labels: list[Column], probas: list[Column]) -> None:
    if not labels:
        known.notes.append("No column looks like a label. Choose the one that says what is true.")
        _leave_out_predictions(known, probas)
        return
    agree = {c.name: _agreement(c, probas[0]) for c in labels} if len(probas) == 1 else {}
    label = max(labels, key=lambda c: (_score(c, probas), agree.get(c.name, 0), -c.n_missing))
    positive = _positives(label)
    score = _score(label, probas)
    word = _says(label, LABEL | FINDING | DISEASE)
    said = [f"name says {word}"] if word else []
    said.append("0 and 1" if _is_binary(label) else f"{label.n_values} values")
    if positive:
        shown = ", ".join(positive[:3]) + (" …" if len(positive) > 3 else "")
        said.append(f"{shown} counts as 1")
    if label.n_missing:
        said.append(f"missing in {label.n_missing:,} rows")
    sure = "sure" if score >= 5 else "likely" if score >= 3 and _is_binary(label) else "guess"
    known.say(label, "label", "; ".join(said), sure)
    known.suggestion |= {"label": [label.name], "positive": positive}
    proba = _best_proba(label, positive, probas)
    if proba is not None:
        continuous = "in [0, 1]" if not _is_binary(proba) else "0 and 1: decisions; probabilities would tell more"
        named = f"name says {_says(proba, PROBA) or 'probability'}; {continuous}"
        known.say(proba, "proba", named, "guess" if _is_binary(proba) else "sure" if len(probas) == 1 else "likely")
        known.suggestion["proba"] = [proba.name]
    else:
        unnamed = [c for c in known.open if _in_unit(c) and c.n_values > 20 and not _says(c, KNOWN)]
        if len(unnamed) == 1 and _agreement(label, unnamed[0], positive) > 0.6:
            known.say(unnamed[0], "proba", "in [0, 1], and higher where the label is 1", "guess")
            known.suggestion["proba"] = [unnamed[0].name]
    _leave_out_predictions(known, probas)
    for column in labels:
        if _says(column, LABEL | DISEASE | FINDING):
            known.say(column, None, f"may be another label, beside {label.name!r}")


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


def _positives(column: Column) -> list[str] | None:
    """Return the values that may count as 1; None for columns that are 0 and 1 already."""
    if _is_binary(column):
        return None
    texts = list(column.counts or {})
    yes = yes_value(texts)
    if yes is not None:
        return [yes]
    if column.kind == "number":
        return [max(texts, key=float)]
    telling = [t for t in texts if not is_undecided(t) and t.strip().lower() not in NO]
    if not telling:
        return texts[:1]
    first = telling[0]  # the commonest
    holds = [t for t in telling if first.strip().lower() in {p.strip().lower() for p in re.split(r"[,;/|+]", t)}]
    return holds or [first]


def as_binary(column: Column, positive: Sequence[str] | None) -> np.ndarray:
    """Return 1, 0 or NaN for each row."""
    from mmaudit.lab._table import text_of

    texts = column.values.map(text_of, na_action="ignore").astype(object)
    chosen = set(positive) if positive else {"1", "True"}
    unknown = texts.isna() | texts.map(lambda text: isinstance(text, str) and is_undecided(text))
    return np.where(unknown, np.nan, texts.isin(chosen).astype(float))


def _agreement(label: Column, proba: Column, positive: Sequence[str] | None = None) -> float:
    """Return the AUROC of a column for a label; 0.5 where it cannot be told."""
    y = as_binary(label, positive or _positives(label))
    p = proba.values.to_numpy(dtype=float, na_value=np.nan)
    known = np.isfinite(y) & np.isfinite(p)
    n_pos, n_neg = int((y[known] == 1).sum()), int((y[known] == 0).sum())
    if not n_pos or not n_neg:
        return 0.5
    ranks = pd.Series(p[known]).rank().to_numpy()
    return float((ranks[y[known] == 1].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


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
    y = _truth(known)
    chosen = []
    for column in known.open:
        why_not = _no_metadata(column)
        if why_not:
            known.say(column, None, why_not)
        elif y is not None and restates(column.values, y):
            known.say(column, None, "restates the label? Its values tell the label nearly without error", "likely")
            known.notes.append(f"{column.name!r} tells the label nearly without error and is left out of the metadata.")
        else:
            chosen.append(column)
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


MOST_FEW = 30


def _truth(known: _Table) -> np.ndarray | None:
    """Return the label chosen, (n_rows,), 0, 1 or NaN; None without one, or with several."""
    by_name = {c.name: c for c in known.columns}
    labels = known.suggestion["label"]
    if len(labels) != 1:
        return None
    column = by_name[labels[0]]
    if len(known.suggestion["proba"]) > 1:
        return pd.factorize(column.values)[0].astype(float)
    return as_binary(column, known.suggestion["positive"])


def restates(values: pd.Series, y: np.ndarray) -> bool:
    """Return whether a column tells the label nearly without error: 19 in 20 of the rarer cases, or more.

    Parameters
    ----------
    values : Series of shape (n_rows,)
        Numbers of many values are put in 20 bins; a missing value is a value.
    y : ndarray of shape (n_rows,)
        Label or class; NaN where it is not known.
    """
    known = np.isfinite(y)
    codes, classes = _codes(values[known]), pd.factorize(y[known])[0]
    if not len(classes):
        return False
    n_values, n_classes = int(codes.max()) + 1, int(classes.max()) + 1
    table = np.bincount(codes * n_classes + classes, minlength=n_values * n_classes).reshape(n_values, n_classes)
    rarer = len(classes) - table.sum(axis=0).max()
    left = len(classes) - table.max(axis=1).sum()
    return bool(rarer >= 5 and (table.sum(axis=1) > 0).sum() < len(classes) / 3 and left <= 0.05 * rarer)


def _codes(values: pd.Series) -> np.ndarray:
    """Return a whole number for each value, or bin of values; 0 where it is missing."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return pd.factorize(values)[0] + 1
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    is_known = np.isfinite(numbers)
    distinct, codes = np.unique(numbers[is_known], return_inverse=True)
    if len(distinct) > MOST_FEW:
        codes = np.searchsorted(np.quantile(numbers[is_known], np.linspace(0, 1, 21)[1:-1]), numbers[is_known])
    found = np.zeros(len(numbers), dtype=int)
    found[is_known] = codes + 1
    return found
