"""What reads files that strangers may have written: whole files to damage, and what is promised of each reader."""

# ruff: noqa: E501  tables of values, and whole files to damage, are easier to read in long lines
from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import os
import random
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

import mmaudit as mma
from mmaudit._blocks import block_of, blocks_of
from mmaudit._errors import ImageReadError, InputError, MissingExtraError, UnknownKeywordError
from mmaudit.data import AuditData
from tests.bench.fuzz_mutations import HOSTILE, MARK, STRANGE_TEXTS, mutate, sealed, strange

__all__ = [
    "READERS",
    "REFUSALS",
    "Files",
    "Reader",
    "UnforeseenError",
    "damaged",
    "inputs",
    "quietly",
    "whole",
    "write",
]

REFUSALS = (InputError, ImageReadError, MissingExtraError, UnknownKeywordError)
SECRETS = ("../secret.txt", "../secret.png", "../secret.csv")  # beside the folder that a reader is given
Files = dict[str, bytes]


class UnforeseenError(Exception):
    """A reader took what it should have refused, or said what it should not."""


class Reader(NamedTuple):
    """A reader: whole inputs as files by name, what reads them in a folder, and which of them are damaged.

    `damage` is the beginning of the names of files that are damaged; "" for all. A reader that `makes` its inputs from
    a seed instead has no files but what `files` gives, and `read` gets the random numbers.
    """

    files: Callable[[], list[Files]]
    read: Callable[[Path, random.Random], Any]
    damage: str = ""
    refusals: tuple[type[Exception], ...] = REFUSALS


def need(holds: Any, what: str) -> None:
    if not holds:
        raise UnforeseenError(what)


# Saved audits


@functools.cache
def _audit_files() -> tuple[Files, ...]:
    import tempfile

    rng = np.random.default_rng(0)
    n = 48
    view, truth = np.where(np.arange(n) % 2, "AP", "PA"), rng.integers(0, 2, n)
    proba = np.where((view == "AP") & (truth == 1), 0.2, 0.1 + 0.8 * truth)
    frame = pd.DataFrame(
        {"y": truth, "p": proba, "who": [f"{MARK}-{i}" for i in range(n)], "view": view, "age": rng.integers(20, 90, n)}
    )
    frame["report"] = np.where(view == "AP", "Chest tube in place.", "Clear lungs.")
    found = []
    with tempfile.TemporaryDirectory() as name, quietly():
        data = AuditData.from_frame(
            frame, label="y", y_proba="p", patient_id="who", report="report", metadata=["view", "age"]
        )
        result = mma.audit(data, n_slices=3, random_state=0, n_refits=0)
        need(len(result.candidates), "the audit to be damaged found nothing")
        result.user_verdicts["slices"] = {result.candidates["slice_id"][0]: {"verdict": "accept", "note": "=1"}}
        result.to_folder(Path(name, "out"))
        result.save(Path(name, "inline.json"))
        folder = Path(name, "out")
        found = [
            {"result.json": (folder / "result.json").read_bytes(), "membership.parquet": (folder / "membership.parquet").read_bytes()},
            {"result.json": Path(name, "inline.json").read_bytes()},
            {"rules.json": (folder / "rules.json").read_bytes()},
        ]  # fmt: skip
    return tuple(found)


def _read_result(folder: Path, rng: random.Random) -> None:
    result = mma.load_result(folder / "result.json")
    page = folder.parent / "out" / "page.html"
    result.to_html(page)
    html = page.read_text("utf-8")
    need("<script>alert" not in html, "a script of the file is in the report")
    repr(result), result._repr_html_(), result.detectable_sentence, result.verdicts
    for slice_id in result.candidates["slice_id"]:
        result.members(slice_id)
    result.save(folder.parent / "out" / "again.json")
    mma.load_result(folder.parent / "out" / "again.json")


@functools.cache
def _cases() -> AuditData:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"y": [0, 1] * 6, "view": ["AP", "PA", None] * 4, "age": rng.integers(20, 90, 12)})
    frame["report"] = "Chest tube in place. No effusion."
    with quietly():
        return AuditData.from_frame(frame, label="y", report="report", metadata=["view", "age"])


def _rules_files() -> list[Files]:
    every = {
        "kind": "mmaudit.rules", "version": 1, "mmaudit_version": "0", "lexicon": "0", "label": "effusion",
        "columns": {"view": {"dtype": "text", "values": ["AP", "PA"]}, "age": {"dtype": "number", "range": [20, 90]},
                    "[chest tube]": {"dtype": "report concept"}, '"chest tube"': {"dtype": "report words"}},
        "rules": [
            {"slice_id": "s1", "label": 1, "confirmed": True, "evidence": {"gap": 0.2}, "terms": None,
             "rule": [{"column": "view", "operator": "in", "value": ["AP"]}, {"column": "age", "operator": ">", "value": 30}]},
            {"slice_id": "s2", "label": None, "confirmed": False, "rule": None,
             "terms": [{"term": "chest tube", "status": "affirmed"}]},
            {"slice_id": "s3", "label": 0, "confirmed": False, "terms": None,
             "rule": [{"column": '"chest tube"', "operator": "mentions", "value": None},
                      {"column": "view", "operator": "missing", "value": None}]},
        ],
    }  # fmt: skip
    return [_audit_files()[2], {"rules.json": json.dumps(every).encode()}]


def _read_rules(folder: Path, rng: random.Random) -> None:
    from mmaudit.rules import apply_rules, load_rules

    selected = apply_rules(load_rules(folder / "rules.json"), _cases())
    need(selected.shape[0] == 12 and all(kind.kind == "b" for kind in selected.dtypes), "rules that select no cases")


# Images


def _image_files(kind: str) -> Callable[[], list[Files]]:
    def make() -> list[Files]:
        grey = np.add.outer(np.arange(24), np.arange(20)).astype(np.uint8) * 5
        pictures = {
            "png": [(grey, {}), (grey.astype(np.uint16) * 200, {}), (np.dstack([grey] * 4), {}), (grey > 50, {})],
            "jpg": [(grey, {}), (np.dstack([grey] * 3), {}), (np.dstack([grey] * 3), {"progressive": True})],
            "tif": [(grey, {}), (grey, {"compression": "tiff_lzw"}), (grey.astype(np.uint16), {"compression": "tiff_adobe_deflate"}),
                    (grey.astype(np.float32), {}), (grey, {"compression": "packbits"})],
            "bmp": [(grey, {}), (np.dstack([grey] * 3), {})],
        }[kind]  # fmt: skip
        return [{f"image.{kind}": _encoded(pixels, kind, **how)} for pixels, how in pictures]

    return make


def _encoded(pixels: np.ndarray, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()), **how)
    return out.getvalue()


def _dicom_files() -> list[Files]:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

    grey = np.add.outer(np.arange(24), np.arange(20)).astype(np.uint8) * 5
    found = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless):
        dataset, meta = Dataset(), FileMetaDataset()
        meta.TransferSyntaxUID = syntax
        meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2"
        dataset.file_meta = meta
        dataset.PatientName = MARK
        dataset.PatientID = MARK
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 24, 20, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        eight = syntax in (JPEGBaseline8Bit, RLELossless)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (8, 8, 7) if eight else (16, 12, 11)
        dataset.PixelRepresentation = 0
        if not eight:
            dataset.WindowCenter, dataset.WindowWidth = 500, 900
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        if syntax is JPEGBaseline8Bit:
            dataset.PixelData = encapsulate([_encoded(grey, "jpg")])
            dataset["PixelData"].VR = "OB"
        else:
            dataset.PixelData = (grey if eight else grey.astype(np.uint16) * 10).tobytes()
            dataset["PixelData"].VR = "OW"
        if syntax is RLELossless:
            dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            dataset.compress(RLELossless, grey)
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        found.append({"image.dcm": out.getvalue()})
    return found


def _check_picture(read: Any, most_px: int | None) -> None:
    pixels = read.pixels
    need(pixels.dtype == np.float32 and pixels.ndim == 2 and pixels.size, f"pixels {pixels.dtype} {pixels.shape}")
    need(np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1, "pixels outside [0, 1]")
    need(most_px is None or max(pixels.shape) <= most_px, "a picture larger than asked for")


def _read_image(folder: Path, rng: random.Random) -> None:
    from mmaudit.images import read_image

    (path,) = folder.iterdir()
    side = rng.choice((None, None, 8, 300))
    _check_picture(read_image(path, max_side_px=side, window=rng.choice(("percentiles", "minmax", "full"))), side)


PATHS = (
    "image.png", "deep/image.png", "link.png", "../secret.png", "./../secret.png", "deep/../../secret.png", "/etc/passwd",
    "folder.png", "pipe.png", "file:///etc/passwd", "FILE:///etc/passwd", "http://127.0.0.1:9/a.png", "image.png\0.jpg", "a" * 5000,
    "~/x.png", "loop.png", "..", ".", "", "%2e%2e/secret.png", "..\\secret.png", "C:\\secret.png", "\\\\host\\a.png", "//etc/passwd",
    "memory://a.png", "local:///etc/passwd", "zip://a.png::file:///etc/passwd", "\ud800", "\udcff.png", "deep/up/secret.png",
)  # fmt: skip


def _read_place(folder: Path, rng: random.Random) -> None:
    from mmaudit.images import ImageFiles

    (folder / "deep").mkdir(exist_ok=True)
    links = {"link.png": "../secret.png", "loop.png": "loop.png", "deep/up": "../..", "null.png": "/dev/zero"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    given = [rng.choice((*PATHS, "null.png", *STRANGE_TEXTS)) for _ in range(3)]
    files = ImageFiles(given, folder)
    for i in range(len(given)):
        with contextlib.suppress(ImageReadError):
            files.read(i, max_side_px=8)
        with contextlib.suppress(ImageReadError):
            files.path(i)
    files.fingerprints(n_jobs=1)


def _zip_files() -> list[Files]:
    out, picture = io.BytesIO(), _encoded(np.arange(200, dtype=np.uint8).reshape(10, 20), "png")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("image.png", "deep/image.png"):
            archive.writestr(name, picture)
    return [{"films.zip": out.getvalue()}]


def _read_zip(folder: Path, rng: random.Random) -> None:
    from mmaudit.images import ImageFiles

    files = ImageFiles(["image.png", "bomb.png", "evil.png", rng.choice(PATHS)], folder / "films.zip")
    for i in range(len(files)):
        with contextlib.suppress(ImageReadError):
            _check_picture(files.read(i), None)
    files.fingerprints(n_jobs=1)


# Tables


def _table(n: int = 24) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": range(n), "who": [f"{MARK}-{i // 2}" for i in range(n)], "y": [0, 1] * (n // 2)})
    frame["p"] = rng.random(n).round(3)
    frame["image"] = [f"{i}.png" for i in range(n)]
    frame["report"] = ["No effusion, seen on the left.", "Chest tube."] * (n // 2)
    frame["view"], frame["age"] = ["AP", "PA", ""] * (n // 3), rng.integers(20, 90, n)
    frame["date"] = "2020-01-05"
    return frame


def _table_files(n: int = 24) -> list[Files]:
    text, out = _table(n).to_csv(index=False).encode(), io.BytesIO()
    _table(n).to_parquet(out)
    return [{"cases.csv": text}, {"cases.csv.gz": gzip.compress(text)}, {"cases.parquet": out.getvalue()}]


def _read_table(folder: Path, rng: random.Random) -> None:
    from mmaudit.cli import read_table

    (path,) = folder.iterdir()
    table = read_table(path, text_columns=("id", "who", "image", "report"))
    _audit_data(table, folder)


def _audit_data(table: pd.DataFrame, folder: Path) -> None:
    data = AuditData.from_frame(
        table, label="y", y_proba="p", patient_id="who", sample_id="id", image="image", image_root=folder, report="report",
        metadata=["view", "age", "date"],
    )  # fmt: skip
    repr(data)
    with contextlib.suppress(InputError):  # too few patients
        data.split(random_state=0)
    with contextlib.suppress(ImageReadError):
        data.images.read(0)  # type: ignore[union-attr]


def _read_frame(folder: Path, rng: random.Random) -> None:
    _audit_data(_strange_frame(rng), folder)


def _strange_frame(rng: random.Random) -> pd.DataFrame:
    frame = _table()
    for _ in range(rng.choice((1, 1, 2, 3))):
        if frame.columns.has_duplicates:
            break
        column, kind, n = rng.choice(list(frame.columns)), rng.randrange(14), len(frame)
        one = strange(rng)
        if kind < 4 and n:
            values = frame[column].astype(object).tolist()
            values[rng.randrange(n)] = one
            frame[column] = pd.Series(values, index=frame.index, dtype=object)
        elif kind < 6:
            frame[column] = pd.Series([one] * n, index=frame.index, dtype=object)
        elif kind == 6:
            dtype = rng.choice(
                (
                    "category",
                    "string",
                    "Int64",
                    "Float64",
                    "boolean",
                    "datetime64[ns]",
                    "timedelta64[ns]",
                    "complex",
                    "float16",
                )
            )
            with contextlib.suppress(Exception):
                frame[column] = frame[column].astype(dtype)
        elif kind == 7:
            frame = pd.concat([frame, frame[[column]]], axis=1)
        elif kind == 8:
            frame = frame.drop(columns=column)
        elif kind == 9:
            frame = frame.iloc[: rng.choice((0, 1, 2, 3))]
        elif kind == 10:
            frame.index = pd.MultiIndex.from_product([[0], range(n)])
        elif kind == 11:
            frame[column] = rng.choice((
                pd.Series(pd.date_range("2020", periods=n, tz="UTC")), pd.Series(pd.period_range("2020", periods=n, freq="D")),
                pd.Series(pd.interval_range(0, n, periods=n)) if n else None, pd.Series([np.nan] * n),
                pd.Series([np.arange(3)] * n), pd.Series([1 + 2j] * n), pd.Series([pd.NA] * n),
                pd.Series(pd.arrays.SparseArray([0] * n)), pd.Series([b"x"] * n),
            )).values if n else []  # fmt: skip
        elif kind == 12:
            frame.columns = [
                rng.choice((c, 7, None, ("a", "b"), float("nan"))) if c == column else c for c in frame.columns
            ]
        else:
            frame = pd.concat([frame] * rng.choice((2, 50)))
    return frame


# The page's questions


def _ask(question: Any) -> dict:
    from mmaudit.lab import reply

    answer = reply(question)
    need(set(answer) in ({"ok"}, {"error"}), "an answer that is neither")
    json.dumps(answer, allow_nan=False).encode()
    if "error" in answer:
        need(" failed (" not in answer["error"], answer["error"])
        raise InputError("question", "an answer", answer["error"], "")
    return answer["ok"]


def _read_lab(folder: Path, rng: random.Random) -> None:
    (path,) = folder.iterdir()
    told = _ask({"ask": "table", "path": path.name})
    roles = rng.choice(
        (
            ROLES,
            told.get("suggestion"),
            {**ROLES, "metadata": [c["name"] for c in told.get("columns", []) if "name" in c][:6]},
        )
    )
    _ask({"ask": "check", "path": path.name, "roles": roles})


ROLES = {
    "label": ["y"], "proba": ["p"], "patient_id": "who", "sample_id": "id", "report": "report", "metadata": ["view", "age"],
}  # fmt: skip


def _read_question(folder: Path, rng: random.Random) -> None:
    kind = rng.choice(("table", "check", "open", "notebook", "hello", strange(rng)))
    path = rng.choice(("cases.csv", *SECRETS, *PATHS, strange(rng)))
    roles = {key: value if rng.random() < 0.8 else strange(rng) for key, value in ROLES.items()}
    roles = rng.choice((roles, roles, strange(rng)))
    _ask(rng.choice(({"ask": kind, "path": path, "roles": roles, "name": strange(rng)},) * 6 + (strange(rng),)))


def _read_open(folder: Path, rng: random.Random) -> None:
    _ask({"ask": "open", "path": "result.json"})


# Data sets


def _mimic_files() -> list[Files]:
    rows = [("d1", 10000032, 50414267, "PA"), ("d2", 10000032, 53189527, "AP"), ("d3", 11000764, 57375967, "AP")]
    metadata = pd.DataFrame(rows, columns=["dicom_id", "subject_id", "study_id", "ViewPosition"])
    metadata = metadata.assign(StudyDate=21800506, StudyTime=213014.531, Rows=3056)
    labels = pd.DataFrame({"study_id": metadata["study_id"], "Pleural Effusion": [1.0, 0.0, -1.0]})
    people = pd.DataFrame(
        {"subject_id": [10000032, 11000764], "gender": ["F", "M"], "anchor_age": 60, "anchor_year": 2180}
    )
    stays = pd.DataFrame(
        {"subject_id": [10000032], "admittime": "2180-05-06 10:00:00", "dischtime": "2180-05-09", "race": "?"}
    )
    tables = {
        "mimic-cxr-2.0.0-metadata.csv": metadata, "mimic-cxr-2.0.0-chexpert.csv": labels, "hosp/patients.csv": people,
        "hosp/admissions.csv": stays,
    }  # fmt: skip
    plain = {name: table.to_csv(index=False).encode() for name, table in tables.items()}
    reports = {
        f"files/p{str(s)[:2]}/p{s}/s{t}.txt": f"FINAL REPORT\n FINDINGS: Effusion. {MARK}\n".encode()
        for _, s, t, _ in rows
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in reports.items():
            archive.writestr(name, text)
    packed = {f"{name}.gz": gzip.compress(text) for name, text in plain.items()}
    return [plain | reports, packed | {"mimic-cxr-reports.zip": out.getvalue()}]


def _read_mimic(folder: Path, rng: random.Random) -> None:
    from mmaudit.datasets import load_mimic_cxr

    repr(load_mimic_cxr(folder, label="Pleural Effusion"))


def _covid_files() -> list[Files]:
    n = 8
    frame = pd.DataFrame({"patientid": range(n), "finding": ["Pneumonia/Viral/COVID-19", "No Finding"] * (n // 2)})
    frame = frame.assign(sex="F", age=50, view="PA", modality="X-ray", date="January 22, 2020", location="A, Italy")
    frame["filename"], frame["url"] = [f"{i}.png" for i in range(n)], "https://www.a.org/x"
    frame["clinical_notes"], frame["offset"] = f"Cough {MARK}", 3
    picture = _encoded(np.zeros((4, 4), np.uint8), "png")
    return [{"metadata.csv": frame.to_csv(index=False).encode()} | {f"images/{i}.png": picture for i in range(n)}]


def _read_covid(folder: Path, rng: random.Random) -> None:
    from mmaudit.datasets import load_covid_chestxray

    data = load_covid_chestxray(folder)
    repr(data)
    for i in range(min(3, len(data.images))):  # type: ignore[arg-type]
        with contextlib.suppress(ImageReadError):
            data.images.read(i)  # type: ignore[union-attr]


def _openi_report(n: int, *terms: str) -> bytes:
    mesh = "".join(f"<major>{t}</major><automatic>{t.lower()}</automatic>" for t in terms)
    return (
        f'<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{n}"/><MedlineCitation><Article><Abstract>'
        f'<AbstractText Label="FINDINGS">Heart &lt; normal.</AbstractText><AbstractText Label="IMPRESSION">{MARK}'
        f'</AbstractText></Abstract></Article></MedlineCitation><MeSH>{mesh}</MeSH><parentImage id="CXR{n}_1"/></eCitation>'
    ).encode()


def _openi_files() -> list[Files]:
    terms = ("normal", "Pleural Effusion/left", "Cardiomegaly", "Thickening/pleura")
    reports = {f"{n}.xml": _openi_report(n, term) for n, term in enumerate(terms)}
    picture = _encoded(np.zeros((4, 4), np.uint8), "png")
    dicom = b"imageid,View Position,Modality,Study Date,Patient's Birth Date\nCXR1_1,PA,CR,20120101,19620102\nCXR2_1,LL,CR,x,\n"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, text in reports.items():
            info = tarfile.TarInfo(f"ecgen-radiology/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return [
        {f"ecgen-radiology/{name}": text for name, text in reports.items()},
        {"NLMCXR_reports.tgz": out.getvalue()},
        {"nlmcxr_dicom_metadata.csv.gz": gzip.compress(dicom), **reports, **{f"images/CXR{n}_1.png": picture for n in range(4)}},
    ]  # fmt: skip


def _read_openi(folder: Path, rng: random.Random) -> None:
    from mmaudit.datasets import load_openi

    repr(load_openi(folder))


# Shards


@functools.cache
def _shard_files() -> tuple[Files, ...]:
    """Return two or three shards of 24 cases, with embeddings and without, and 21 shards, of which one may fail."""
    import tempfile

    from mmaudit.shards import write_shards

    rng = np.random.default_rng(0)
    few, found = _table(), []
    many = pd.concat(
        [few.assign(id=few["id"] + 24 * k, who=few["who"] + f"-{k}") for k in range(4)], ignore_index=True
    )[:84]
    for frame, n_rows, widths in (
        (few, 8, {"image": 5}),
        (few, 12, {"image": 8, "report": 3}),
        (few, 8, {}),
        (many, 4, {"report": 3}),
    ):
        with tempfile.TemporaryDirectory() as name:
            embeddings = {m: rng.normal(size=(len(frame), width)) for m, width in widths.items()}
            write_shards(name, frame, embeddings=embeddings, n_rows=n_rows)
            found.append({path.name: path.read_bytes() for path in sorted(Path(name).iterdir())})
    return (*(found[:3] * 3), found[3])  # 21 shards are slow to read: one time in ten


def _strange_places(folder: Path, rng: random.Random) -> None:
    """Put a link, a pipe, a device or a folder in the place of a file, or another file of the same end beside it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        return
    path, kind = rng.choice(paths), rng.randrange(9)
    if kind == 0:  # a name that nobody expects
        name = rng.choice(("", "_", "part-00000.image.npy", "\n", "a b ", "é", "%2e%2e", "x" * 200, "..", "=1+1"))
        path.with_name(f"{name}{path.suffix}").write_bytes(path.read_bytes())
        return
    out = folder.parent / "out"
    if kind == 1 and path.parent != folder:  # the folder leads elsewhere
        path.parent.rename(out / "elsewhere")
        path.parent.symlink_to(out / "elsewhere")
        return
    path.rename(out / "other")
    if kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.mkdir()
    elif kind > 3:
        beside = os.path.relpath(rng.choice(paths), path.parent)
        path.symlink_to((out / "other", "/dev/zero", path.name, beside, "missing")[kind - 4])


def _read_shards(folder: Path, rng: random.Random) -> None:
    if rng.random() < 0.15:
        _strange_places(folder, rng)
    how = {"sample_id": rng.choice(("id", None)), "metadata": rng.choice((["view", "age", "date"], []))}
    data = AuditData.from_shards(folder, label="y", y_proba="p", patient_id="who", report="report", n_jobs=1, **how)
    repr(data), data.digest()
    if rng.random() < 0.1:  # while they are worked on
        path = rng.choice(sorted(path for path in folder.iterdir() if path.is_file()))
        path.write_bytes(mutate(path.name, path.read_bytes(), rng, (b"",)))
        _read_rows(data, rng, changed=True)
        return
    _check_against_files(folder, data, how["sample_id"], _read_rows(data, rng))


def _read_rows(data: AuditData, rng: random.Random, *, changed: bool = False) -> list[str]:
    """Return the reports, and read the embeddings, in blocks and as rows in any order."""
    n, proba = data.n_samples, data.y_proba
    need(n and set(np.unique(data.y_true)) <= {0, 1}, "labels that are not 0 and 1")
    need(np.isfinite(proba).all() and proba.min() >= 0 and proba.max() <= 1, "probabilities outside [0, 1]")
    texts = [text for rows in blocks_of(data.reports) for text in block_of(data.reports, rows)]
    need(len(texts) == n and all(type(text) is str for text in texts), "reports that are no texts, or too many")
    rows = np.array([rng.randrange(n) for _ in range(4)])
    need(data.reports[rows].tolist() == [texts[row] for row in rows], "reports of other rows")
    for modality, values in data.embeddings.items():
        read = np.concatenate([np.asarray(block_of(values, block)) for block in blocks_of(values)])
        need(
            read.shape == values.shape == (n, values.n_columns) and read.dtype == np.float32, f"{modality} {read.shape}"
        )
        need(changed or np.isfinite(read).all(), f"{modality} not finite")
        for some in (values[rows], values.take(rows)[:]):
            need(np.array_equal(some, read[rows], equal_nan=True), f"{modality} of other rows")
    with contextlib.suppress(InputError):  # too few patients
        need(len(data.split(random_state=0)[0].reports[:]), "a part without reports")
    return texts


def _check_against_files(folder: Path, data: AuditData, sample_id: str | None, texts: list[str]) -> None:
    """Compare what was kept with the files, read by pyarrow and NumPy one after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out, columns = data.quarantine, ["report", *([sample_id] if sample_id else [])]
    need(list(out.columns) == ["sample_id", "reason"] and out["reason"].map(type).eq(str).all(), "quarantine")
    bad = out.loc[out["reason"].str.startswith("unreadable ("), "sample_id"].tolist()
    paths = sorted((path for path in folder.glob("*.parquet") if path.name[0] not in "._"), key=lambda path: path.name)
    tables = {path: pq.ParquetFile(path).read(columns=columns) for path in paths if path.stem not in bad}
    need(len(paths) - len(tables) == len(bad) <= 0.05 * len(paths), "shards in quarantine")
    n = sum(table.num_rows for table in tables.values())
    need(n == data.n_samples + len(out) - len(bad), "rows that are neither kept nor in quarantine")
    need(n - data.n_samples <= 0.05 * n, "too many rows in quarantine")
    ids = [name for table in tables.values() for name in table[sample_id].to_pylist()] if sample_id else range(n)
    kept = np.flatnonzero(~pd.Index(ids).isin(out["sample_id"][len(bad) :]))
    need(len(kept) == data.n_samples, "kept, and in quarantine")
    if all(
        pa.types.is_string(t) or pa.types.is_large_string(t)
        for t in (table["report"].type for table in tables.values())
    ):
        written = [text or "" for table in tables.values() for text in table["report"].to_pylist()]
        need(texts == [written[row] for row in kept], "other reports")
    for modality, values in data.embeddings.items():
        arrays = [np.load(path.with_name(f"{path.stem}.{modality}.npy")).astype(np.float32) for path in tables]
        need(np.array_equal(values[:], np.concatenate(arrays)[kept]), "other embeddings")


# What an interrupted audit left

ABOUT = {"data": "0123", "settings": {"alpha": 0.05, "modalities": ["report"]}, "name": "Größe"}
ONCE_IN = 10  # inputs of an audit, that an audit goes on from


@functools.cache
def _small_audit() -> tuple[AuditData, dict[str, Any]]:
    rng = np.random.default_rng(0)
    n = 60
    view, truth = np.where(np.arange(n) % 2, "AP", "PA"), rng.integers(0, 2, n)
    proba = np.where((view == "AP") & (truth == 1), 0.2, 0.1 + 0.8 * truth)
    frame = pd.DataFrame({"y": truth, "p": proba, "who": [f"{MARK}-{i}" for i in range(n)], "view": view})
    frame["report"] = np.where(view == "AP", "Chest tube in place.", "Clear lungs.")
    with quietly():
        data = AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", report="report", metadata=["view"])
    return data, {"n_slices": 2, "n_refits": 3, "n_permutations": 99, "random_state": 0, "n_jobs": 1}


def _told(result: Any) -> str:
    """Return all that an audit found, as text, without the seconds that it took."""
    frames = {
        name: getattr(result, name) for name in ("candidates", "membership", "samples", "detectable", "quarantine")
    }
    frames |= {f"verdicts {name}": frame for name, frame in result._verdicts.items()}
    found: dict[str, Any] = {name: frame.reset_index().to_dict("list") for name, frame in frames.items()}
    found |= {name: getattr(result, name) for name in ("traits", "rules", "explanations", "data_summary", "warnings")}
    found["settings"] = {k: v for k, v in result.settings.items() if k not in ("seconds", "peak_bytes")}
    return json.dumps(found, default=str)


class _Run(NamedTuple):
    """A run that was interrupted: its files, what it is of, what its files hold, and what an audit of it finds."""

    files: Files
    about: dict[str, Any]
    pieces: dict[str, dict[str, tuple[str, bytes]]]
    told: str


@functools.cache
def _runs() -> dict[str, _Run]:
    import tempfile

    from mmaudit._checkpoints import Checkpoints, _written

    rng = np.random.default_rng(0)
    data, how = _small_audit()
    results: list[dict[str, Any]] = [
        {"embedding": rng.normal(size=(9, 4)).astype(np.float32), "terms": np.packbits(rng.random((3, 9)) < 0.5, axis=1), "n": np.array(5)},
        {"numbers": pd.DataFrame({"p": [0.5, None], "view": pd.Categorical(["AP", None]), "who": [MARK, ""]}), "told": {"a": [1, None]}},
        {"slices": [{"rule": {"view": ["AP"]}}], "membership": rng.random((9, 2)), "warnings": []},
    ]  # fmt: skip
    runs = {}
    for name in ("pieces", "audit"):
        with tempfile.TemporaryDirectory() as place, quietly():
            told = ""
            if name == "audit":
                told = _told(mma.audit(data, checkpoints=place, **how))
                about = json.loads(Path(place, "run.json").read_text("utf-8"))
            else:
                about = ABOUT
                run = Checkpoints(place, about)
                for k, result in enumerate(results):
                    for stage in ("first", "second"):
                        run.stage(stage).put(2 * k, {**result, "where": f"{stage} {k}"})
            files = {str(p.relative_to(place)): p.read_bytes() for p in sorted(Path(place).rglob("*")) if p.is_file()}
            run, pieces = Checkpoints(place, about, resume=True), {}
            for path in files.keys() - {"run.json"}:
                stage, _, position = path.removesuffix(".zip").partition("/")
                pieces[path] = {
                    key: _written(value) for key, value in (run.stage(stage).get(int(position)) or {}).items()
                }
            need(all(pieces.values()) and len(pieces) > 5, "a run that is not whole")
            runs[name] = _Run(files, about, pieces, told)
    return runs


def _checkpoint_files() -> list[Files]:
    pieces, audit = (run.files for run in _runs().values())
    half = {
        path: content
        for path, content in audit.items()
        if path not in ("confirm/000000.zip", "explain/000000.zip", "refits/000002.zip")
    }
    return [pieces, pieces, audit, half]


def _read_checkpoints(folder: Path, rng: random.Random) -> None:
    from mmaudit._checkpoints import Checkpoints, remove_checkpoints

    run = _runs()["audit" if any((folder / name).exists() for name in ("features", "refits", "discover")) else "pieces"]
    kind = rng.random()
    if kind < 0.1:  # by somebody who knows how they are sealed
        _seal(folder, run)
    # What holds other members with right sums was made on purpose, and nothing tells it from an honest one.
    forged = {
        path for path, content in run.files.items() if _sums(folder / path) not in (None, _sums(io.BytesIO(content)))
    }
    if 0.1 <= kind < 0.25:
        _strange_places(folder, rng)
    elif 0.25 <= kind < 0.3:  # one in the place of another
        path = rng.choice(sorted(run.pieces))
        forged -= {path}
        write(folder, {path: run.files[rng.choice(sorted(run.pieces))]})
    kept = Checkpoints(folder, run.about, resume=True)
    for path in run.pieces.keys() - forged:
        _check_piece(kept, path, run)
    if run.told and not forged and rng.random() < 1 / ONCE_IN:
        data, how = _small_audit()
        need(
            _told(mma.audit(data, checkpoints=folder, resume=True, **how)) == run.told,
            "an audit that went on to another end",
        )
        return
    path = rng.choice(sorted(run.pieces))
    stage, position = _stage_of(kept, path)
    stage.put(position, {"x": np.arange(3), "told": [path]})
    again = stage.get(position)
    need(
        again is not None and again["x"].tolist() == [0, 1, 2] and again["told"] == [path], "what was put in its place"
    )
    if rng.random() < 0.5:
        kept = Checkpoints(folder, {**run.about, "data": "other"})
        need(
            not any(_stage_of(kept, path)[0].get(_stage_of(kept, path)[1]) for path in run.pieces),
            "results of another run",
        )
    remove_checkpoints(folder)
    need(not (folder / "run.json").exists(), "a run that is still there")


def _seal(folder: Path, run: _Run) -> None:
    from mmaudit._checkpoints import Checkpoints

    kept = Checkpoints(folder.parent / "out" / "run", run.about)
    for path in run.pieces:
        stage, position = _stage_of(kept, path)
        with contextlib.suppress(OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
            write(
                folder,
                {path: sealed((folder / path).read_bytes(), lambda names, s=stage, k=position: s._mark(names, k))},
            )


def _stage_of(run: Any, path: str) -> tuple[Any, int]:
    name, _, position = path.removesuffix(".zip").partition("/")
    return run.stage(name), int(position)


def _check_piece(run: Any, path: str, of: _Run) -> None:
    """Need what a piece holds to be what was written, or nothing."""
    from mmaudit._checkpoints import _written

    stage, position = _stage_of(run, path)
    found = stage.get(position)
    if found is not None:
        need({key: _written(value) for key, value in found.items()} == of.pieces[path], f"{path} damaged and believed")


def _sums(file: Any) -> list[tuple[str, int]] | None:
    """Return name and checksum of each member of an archive; None where it is none."""
    try:
        with zipfile.ZipFile(file) as archive:
            return [(member.filename, member.CRC) for member in archive.infolist()]
    except Exception:  # zipfile has none for all that may be damaged
        return None


# Reports


def _report_files() -> list[Files]:
    report = (
        f"                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  {MARK}.\n\n"
        " FINDINGS:\n\n There is no focal consolidation, pleural effusion or\n pneumothorax. ?tube vs. line\n\n"
        " IMPRESSION: Cannot entirely be excluded.\n"
    ).encode()
    return [{"report.txt": report}, {"report.txt": b""}]


def _read_report(folder: Path, rng: random.Random) -> None:
    from mmaudit import text as texts
    from mmaudit.text import _places

    given = (folder / "report.txt").read_bytes().decode("utf-8", rng.choice(("replace", "surrogateescape", "ignore")))
    if rng.random() < 0.3:
        given = "".join(rng.choice(HOSTILE) for _ in range(3)) * rng.choice((1, 100, 10_000))
    given = given[:100_000]
    what = rng.randrange(5)
    if what == 0:
        texts.report_terms(given)
    elif what == 1:
        texts.mentions(given)
    elif what == 2:
        texts.findings_and_impression(given)
    elif what == 3:
        for start, end, *_ in _places.places(given) if hasattr(_places, "places") else ():
            need(0 <= start <= end <= len(given), "a place outside the text")
        _places.headers(given)
    else:
        texts.category_of(given[:20_000])


# Models, the cache, a benchmark, notebooks


@functools.cache
def _classifier_file() -> bytes:
    import torch

    from mmaudit.classifiers._file import to_bytes
    from mmaudit.classifiers._networks import build

    torch.manual_seed(0)
    network = build("small_cnn", 1)
    config = {
        "architecture": "small_cnn", "image_size": 32, "labels": ["effusion"], "best_epoch": 1, "versions": {"mmaudit": "0"},
        "arguments": {"weights": None, "max_epochs": 1, "random_state": 0},
        "data": {"name": "x", "n_samples": 4, "n_train": 2, "n_validation": 2, "n_train_patients": 2, "n_validation_patients": 2,
                 "fingerprint": "0"},
    }  # fmt: skip
    about = {"state": "finished", "config": config, "history": [[1, 0.5, 0.6, 0.7, 0.001, 2.0]]}
    return to_bytes({f"model.{k}": v for k, v in network.state_dict().items()}, about)


def _read_classifier(folder: Path, rng: random.Random) -> None:
    from mmaudit.classifiers import load_classifier

    classifier = load_classifier(folder / "model.safetensors", device="cpu")
    repr(classifier), classifier.history, classifier.config, classifier.labels
    proba = classifier.predict_proba(np.zeros((1, 8, 8), np.uint8), n_jobs=1)
    need(proba.shape == (1, len(classifier.labels)), "probabilities of another shape")


def _encoder_files() -> list[Files]:
    config = {
        "model_cfg": {
            "embed_dim": 8,
            "text_cfg": {"context_length": 8, "vocab_size": 9},
            "vision_cfg": {"image_size": 32},
        }
    }
    words = {"context_length": 8, "words": ["a", "b"]}
    sentence = {"model_type": "bert", "max_position_embeddings": 32}
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "x.Pooling", "path": "1_Pooling"},
    ]
    return [
        {"model/open_clip_config.json": json.dumps(config).encode()},
        {"model/config.json": json.dumps(sentence).encode(), "model/modules.json": json.dumps(modules).encode(),
         "model/1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}', "model/sentence_bert_config.json": b'{"max_seq_length": 9}'},
        {"words.json": json.dumps(words).encode()},
    ]  # fmt: skip


def _read_encoder(folder: Path, rng: random.Random) -> None:
    from mmaudit.encoders import _transformers
    from mmaudit.encoders._spec import encoder_from
    from mmaudit.encoders._words import WordTokenizer

    if (folder / "words.json").is_file():
        tokenizer = WordTokenizer.load(folder / "words.json")
        tokenizer(["chest tube a b"])
        return
    if rng.random() < 0.3:
        given = f"{rng.choice(('hf:', 'xrv:', 'open_clip:', '', 'phantom-clip'))}{rng.choice((*STRANGE_TEXTS, *PATHS))}"
        repr(encoder_from(given))
        return
    repr(encoder_from(folder / "model"))
    if (folder / "model" / "modules.json").is_file():
        config = _transformers._config(folder / "model")
        _transformers._towers(config)
        _transformers._text_pooling(folder / "model")
        _transformers._max_tokens(folder / "model", config, type("T", (), {"model_max_length": 512}))


@functools.cache
def _cache_files() -> tuple[Files, ...]:
    import tempfile

    from mmaudit.cache import RowStore, TextStore
    from mmaudit.datasets.phantom._images import _store

    with tempfile.TemporaryDirectory() as name:
        rows = RowStore(Path(name, "embeddings", "e.sqlite"), {"encoder": "x"})
        rows.put_many({f"k{i}": np.arange(8, dtype=np.float32) for i in range(5)})
        rows.close()
        texts = TextStore(Path(name, "digests.sqlite"))
        texts.put_many({"a": "b"})
        texts.close()
        _store(Path(name, "phantom", "film.png"), np.arange(64, dtype=np.uint8).reshape(8, 8))
        return ({str(p.relative_to(name)): p.read_bytes() for p in Path(name).rglob("*") if p.is_file()},)


def _read_cache(folder: Path, rng: random.Random) -> None:
    from mmaudit import cache
    from mmaudit.datasets.phantom._images import _load

    cache.entries(folder)
    rows = cache.RowStore(folder / "embeddings" / "e.sqlite")
    for row in rows.get_many([f"k{i}" for i in range(6)]).values():
        need(row.dtype == np.float32, "a row of other numbers")
    rows.put_many({"new": np.zeros(8, np.float32)})
    rows.close()
    texts = cache.TextStore(folder / "digests.sqlite")
    texts.get_many(["a"])
    texts.close()
    _load(folder / "phantom" / "film.png", (8, 8), np.dtype(np.uint8))
    cache.clear(folder=folder)


def _notebook_files() -> list[Files]:
    cell = {
        "cell_type": "markdown",
        "id": "a",
        "metadata": {"tags": ["solution"]},
        "source": ["# Title\n", "**The question.** Why?"],
    }
    return [
        {"01_a.ipynb": json.dumps({"cells": [cell, cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()}
    ]


def _read_notebook(folder: Path, rng: random.Random) -> None:
    from mmaudit.workshop import contents

    contents(folder)


@contextlib.contextmanager
def quietly() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


READERS = {
    "result": Reader(lambda: list(_audit_files()[:2]), _read_result),
    "rules": Reader(_rules_files, _read_rules),
    "png": Reader(_image_files("png"), _read_image),
    "jpeg": Reader(_image_files("jpg"), _read_image),
    "tiff": Reader(_image_files("tif"), _read_image),
    "bmp": Reader(_image_files("bmp"), _read_image),
    "dicom": Reader(_dicom_files, _read_image),
    "image-folder": Reader(lambda: [{"image.png": _zip_picture()}], _read_place),
    "image-zip": Reader(_zip_files, _read_zip),
    "table": Reader(_table_files, _read_table),
    "frame": Reader(lambda: [{}], _read_frame),
    "lab-table": Reader(lambda: _table_files(48), _read_lab),
    "lab-question": Reader(lambda: _table_files(48)[:1], _read_question),
    "lab-open": Reader(lambda: list(_audit_files()[:2]), _read_open),
    "covid": Reader(_covid_files, _read_covid, damage="metadata"),
    "mimic": Reader(_mimic_files, _read_mimic),
    "openi": Reader(_openi_files, _read_openi),
    "report": Reader(_report_files, _read_report, refusals=()),
    "classifier": Reader(lambda: [{"model.safetensors": _classifier_file()}], _read_classifier),
    "encoder": Reader(_encoder_files, _read_encoder),
    "cache": Reader(lambda: list(_cache_files()), _read_cache),
    "notebook": Reader(_notebook_files, _read_notebook),
    "shards": Reader(lambda: list(_shard_files()), _read_shards),
    "checkpoints": Reader(_checkpoint_files, _read_checkpoints),
}


def _zip_picture() -> bytes:
    return _encoded(np.arange(200, dtype=np.uint8).reshape(10, 20), "png")


# One damaged input


@functools.cache
def whole(name: str) -> tuple[Files, ...]:
    """Return the inputs of a reader before they are damaged."""
    with quietly():
        return tuple(READERS[name].files())


def inputs(name: str, seed: int, index: int) -> tuple[Files, random.Random]:
    """Return the files of one input, and the random numbers with which it is read; the same for the same numbers."""
    rng = random.Random(f"{name} {seed} {index}")
    return damaged(name, rng), rng


def damaged(name: str, rng: random.Random) -> Files:
    """Return the files of an input, damaged as the random numbers say."""
    seeds = whole(name)
    files = dict(rng.choice(seeds))
    candidates = [path for path in files if path.startswith(READERS[name].damage)]
    for path in rng.sample(candidates, min(len(candidates), rng.choice((1, 1, 1, 2)))):
        if len(files) > 1 and rng.random() < 0.02:
            del files[path]
            continue
        others = tuple(content for other in seeds for content in other.values())
        with quietly():
            files[path] = mutate(path, files[path], rng, others)
    return files


def write(folder: Path, files: Files | Iterable[tuple[str, bytes]]) -> None:
    """Write files into a folder."""
    for name, content in dict(files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
