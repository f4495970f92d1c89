"""Write the damaged files of this folder: `python -m tests.corpus.make`. Their names say what is wrong."""

import copy
import json
import struct
from pathlib import Path

from tests.bench.fuzz_mutations import png_header
from tests.bench.fuzz_readers import _audit_files, _classifier_file, _dicom_files, _encoded, _rules_files, _table_files

HERE = Path(__file__).parent


def put(name: str, content: bytes) -> None:
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def images() -> None:
    import numpy as np

    grey = np.add.outer(np.arange(24), np.arange(20)).astype(np.uint8) * 5
    png, jpeg, tiff, bmp = (_encoded(grey, kind) for kind in ("png", "jpg", "tif", "bmp"))
    put("images/60000-by-60000.png", png_header(60_000, 60_000))
    put("images/cut-in-half.png", png[: len(png) // 2])
    put("images/cut-in-half.jpg", jpeg[: len(jpeg) // 2])
    put("images/empty.png", b"")
    put("images/text.png", b"<html></html>")
    put("images/header-alone.bmp", bmp[:54])
    put("images/bmp-60000-by-60000.bmp", bmp[:18] + struct.pack("<ii", 60_000, 60_000) + bmp[26:])
    at = struct.unpack_from("<I", tiff, 4)[0] + 2
    put("images/width-is-a-float.tif", tiff[: at + 2] + struct.pack("<H", 11) + tiff[at + 4 :])
    put("images/directory-beyond-the-end.tif", tiff[:4] + struct.pack("<I", 2**31) + tiff[8:])
    dicom = _dicom_files()[0]["image.dcm"]
    put("images/pixels-cut.dcm", dicom[:-300])
    at = dicom.index(struct.pack("<HH2sH", 0x28, 0x10, b"US", 2)) + 8
    put(
        "images/60000-rows-and-columns.dcm",
        dicom[:at]
        + struct.pack("<H", 60_000)
        + dicom[at + 2 :].replace(
            struct.pack("<HH2sHH", 0x28, 0x11, b"US", 2, 20), struct.pack("<HH2sHH", 0x28, 0x11, b"US", 2, 60_000)
        ),
    )
    put("images/no-pixels.dcm", dicom[: dicom.index(struct.pack("<HH", 0x7FE0, 0x10))])


def results() -> None:
    whole = json.loads(_audit_files()[1]["result.json"])

    def changed(name: str, change) -> None:
        document = copy.deepcopy(whole)
        change(document)
        document.pop("page", None)
        put(f"results/{name}.json", json.dumps(document, separators=(",", ":")).encode())

    kind = {"kind": "mmaudit.AuditResult", "schema": 2}
    put("results/version-99.json", json.dumps(kind | {"schema": 99}).encode())
    put("results/membership-elsewhere.json", json.dumps(kind | {"membership_file": "../secret.parquet"}).encode())
    changed("membership-infinite", lambda d: d["samples"].update({d["candidates"][0]["slice_id"]: [float("inf")] * 48}))
    changed("confirmed-is-a-word", lambda d: d["candidates"][0].update(confirmed="no"))
    changed("verdicts-lack-a-column", lambda d: [kept["rows"].pop("verdict") for kept in d["verdicts"].values()])
    put("results/nested-deep.json", b"[" * 50_000)
    put("results/cut.json", json.dumps(whole).encode()[:2000])
    put("results/a-list.json", b"[]")
    put("results/utf-16.json", json.dumps(whole)[:500].encode("utf-16"))


def rules() -> None:
    whole = json.loads(_rules_files()[1]["rules.json"])
    whole["columns"] = {"view": {"dtype": "text", "values": ["AP", "PA"]}}
    whole["rules"] = [
        {
            "slice_id": "s1",
            "label": None,
            "confirmed": True,
            "terms": None,
            "rule": [{"column": "view", "operator": "==", "value": "AP"}],
        }
    ]

    def changed(name: str, change) -> None:
        document = copy.deepcopy(whole)
        change(document)
        put(f"rules/{name}.json", json.dumps(document).encode())

    changed("version-2", lambda d: d.update(version=2))
    changed("operator-unknown", lambda d: d["rules"][0]["rule"][0].update(operator="__import__"))
    changed("value-nested", lambda d: d["rules"][0]["rule"][0].update(value=[["AP"]]))
    changed("limit-is-nan", lambda d: d["rules"][0].update(evidence={"gap": float("nan")}))
    changed("column-unknown", lambda d: d["columns"].clear())
    changed("slice-twice", lambda d: d["rules"].append(d["rules"][0]))
    put(
        "rules/number-of-5000-digits.json",
        json.dumps(whole).replace('"version": 1', '"version": ' + "1" * 5000).encode(),
    )
    put("rules/nested-deep.json", b'{"a":' * 20_000)


def tables() -> None:
    text, packed, parquet = (next(iter(files.values())) for files in _table_files())
    put("tables/packed-and-cut.csv.gz", packed[: len(packed) // 2])
    put("tables/packed-with-bits-turned.csv.gz", packed[:60] + bytes(b ^ 0x5A for b in packed[60:90]) + packed[90:])
    put("tables/not-packed.csv.gz", text)
    put("tables/empty.csv", b"")
    put("tables/utf-16.csv", text.decode().encode("utf-16"))
    put("tables/fields-missing-a-quote.csv", text + b'\n1,2,"3')
    put("tables/fields-too-many.csv", text + b"," * 30)
    put("tables/footer-promises-2-gb.parquet", parquet[:-8] + struct.pack("<I", 0x7FFFFFFF) + parquet[-4:])
    put("tables/footer-of-zeros.parquet", parquet[:-400] + b"\0" * 392 + parquet[-8:])
    put("tables/cut.parquet", parquet[:-9])
    at = parquet.index(b"\x15\x0c", len(parquet) - 8 - struct.unpack("<I", parquet[-8:-4])[0]) + 1  # type of a column
    put("tables/texts-said-to-be-numbers.parquet", parquet[:at] + b"\x04" + parquet[at + 1 :])


def classifiers() -> None:
    whole = _classifier_file()
    size = int.from_bytes(whole[:8], "little")
    tree = json.loads(whole[8 : 8 + size])

    def changed(name: str, change) -> None:
        told = {key: json.loads(value) for key, value in tree["__metadata__"].items() if key != "mmaudit_classifier"}
        change(told)
        header = {"__metadata__": {"mmaudit_classifier": "1", **{k: json.dumps(v) for k, v in told.items()}}}
        text = json.dumps(header).encode()
        put(f"classifiers/{name}.safetensors", struct.pack("<Q", len(text)) + text)

    changed("architecture-is-any-attribute", lambda d: d["config"].update(architecture="get_model"))
    changed("image-size-60000", lambda d: d["config"].update(image_size=60_000))
    changed("labels-are-a-number", lambda d: d["config"].update(labels=10**9))
    changed("history-lacks-columns", lambda d: d.update(history=[[1]]))
    changed("no-tensors", lambda d: None)
    put("classifiers/header-promises-2-gb.safetensors", struct.pack("<Q", 2**31) + whole[8:200])
    put("classifiers/a-pickle.safetensors", b"\x80\x04cos\nsystem\nX\x04\x00\x00\x00trueR.")


if __name__ == "__main__":
    for make in (images, results, rules, tables, classifiers):
        make()
