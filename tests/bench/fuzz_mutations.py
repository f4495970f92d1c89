"""Ways to damage a file: its bytes, or its text, cells, tree, members or header, by what kind of file it is."""

# ruff: noqa: E501  tables of values, and whole files to damage, are easier to read in long lines
from __future__ import annotations

import csv
import functools
import gzip
import io
import json
import os
import pickle
import random
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["MARK", "STRANGE_TEXTS", "mutate", "npy_header", "png_header", "sealed", "strange"]

MARK = "PATIENT-7739"  # stands for a patient: no message may hold it
STRANGE_TEXTS = (
    "", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "\ufeff", "\u202e", "é" * 300, "𝒳", "nan", "NaN", "inf", "-Infinity",
    "1e999", "-1e999", "0x1F", "1_000", "9" * 30, "9" * 5000, "-0", "1,5", "True", "null", "None", "#DIV/0!",
    "=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "../../secret.txt", "/etc/passwd", "C:\\x", "\\\\host\\share", "file:///etc/passwd",
    "http://127.0.0.1:9/x", "{{7*7}}", "%s%n", "<script>alert(1)</script>", "]]>", "&lt;", "'", '"', "`", "a" * 20_000,
    "1" * 400, "\n", "\r\n", "\t", ";", ",", "[", "[]", "{}", "__class__", "constructor", "2020-13-45", "0000-00-00",
)  # fmt: skip
STRANGE_NUMBERS = (
    0, -1, 1, 2, 255, 256, 65_535, 65_536, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**40,
    10**400, 0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf"), 60_000, 10**9,
)  # fmt: skip
MOST_BYTES, MOST_ROWS = 500_000, 10_000  # of a file, or a table, that is damaged once more
SIZES = (
    0,
    1,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    60_000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**63 - 1,
)


def strange(rng: random.Random, depth: int = 0) -> Any:
    """Return a value that no reader expects, as JSON can write it."""
    kind = rng.randrange(9)
    if kind < 3:
        return rng.choice(STRANGE_TEXTS)
    if kind < 6:
        return rng.choice(STRANGE_NUMBERS)
    if kind == 6 or depth > 2:
        return rng.choice((None, True, False, [], {}, [[]], [None], {"": None}))
    if kind == 7:
        return [strange(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(rng.choice(STRANGE_TEXTS)): strange(rng, depth + 1) for _ in range(rng.randrange(3))}


def mutate(name: str, content: bytes, rng: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return a file damaged once or a few times, in the way of its kind or, one time in three, byte by byte."""
    kind = "piece" if _PIECE.search(name) else next((known for known in _KINDS if name.endswith(known)), None)
    for damaged in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if damaged and len(content) > MOST_BYTES:
            return content
        if kind is None or rng.random() < 1 / 3:
            content = of_bytes(content, rng, others)
            continue
        try:
            content = _KINDS[kind](content, rng)
        except Exception:  # it is too damaged for its kind already
            content = of_bytes(content, rng, others)
    return content


def of_bytes(content: bytes, rng: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return bytes with bits turned, parts cut, copied, moved or taken from another file, or a size overwritten."""
    data = bytearray(content)
    if not data:
        return rng.randbytes(rng.choice((0, 1, 8, 200)))
    at, end = rng.randrange(len(data)), rng.randrange(len(data) + 1)
    low, high = min(at, end), max(at, end)
    kind = rng.randrange(11)
    if kind < 2:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del data[rng.choice((at, len(data) - 1, len(data) // 2)) :]
    elif kind == 3:
        del data[low : min(high, low + rng.choice((1, 4, 100)))]
    elif kind == 4:
        data[at:at] = data[low:high][:2000] * rng.choice((1, 2, 40))
    elif kind == 5:
        data[at:at] = rng.randbytes(rng.choice((1, 4, 300)))
    elif kind == 6 and others:
        other = rng.choice(others)
        data[at:] = other[rng.randrange(len(other) + 1) :]
    elif kind in (7, 8):  # where sizes are: more often near the ends
        field, value = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")), rng.choice(SIZES)
        size = struct.calcsize(field)
        near = rng.choice((at, rng.randrange(min(len(data), 200)), max(0, len(data) - rng.randrange(1, 64))))
        data[near : near + size] = struct.pack(field, value & ((1 << 8 * size) - 1))
    elif kind == 9:
        data[low : low + 32] = bytes([rng.choice((0, 255, 0x80, 10, 34))]) * 32
    else:
        numbers = list(re.finditer(rb"\d+", content))
        if numbers:
            found = rng.choice(numbers)
            data[found.start() : found.end()] = rng.choice(
                (b"-1", b"0", b"9" * 30, b"9" * 5000, b"1e999", b"NaN", b"x")
            )
    return bytes(data)


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Return JSON with a part replaced, removed, renamed, repeated or nested deep."""
    if rng.random() < 0.08:
        text = content.decode()
        return rng.choice((
            lambda: ("[" * 100_000 + "]" * 100_000),
            lambda: text.replace(":", ":" + '{"a":' * 3000, 1) + "}" * 3000,
            lambda: text[:-1] + ', "kind": 3}',
            lambda: text.replace("1", "1" * 5000, 1),
            lambda: text.encode("utf-16").decode("latin-1"),
        ))().encode("utf-8", "surrogatepass")  # fmt: skip
    tree = json.loads(content)
    places = list(_places(tree))
    holder, key = rng.choice(places) if places else (None, None)
    if holder is None:
        return json.dumps(strange(rng)).encode()
    kind = rng.randrange(8)
    if kind < 4:
        holder[key] = strange(rng)
    elif kind == 4:
        del holder[key]
    elif kind == 5 and isinstance(holder, dict):
        holder[str(rng.choice((*STRANGE_TEXTS, *map(str, holder))))] = holder.pop(key)
    elif kind == 6:
        other, place = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[place])) if place in other or isinstance(other, list) else None
    elif isinstance(holder, list):
        holder.insert(0, holder[key])
    else:
        holder[key] = [holder[key]]
    return json.dumps(tree).encode()


def _places(tree: Any) -> Any:
    """Yield each place of a tree, as what holds it and its key."""
    stack = [tree]
    while stack:
        node = stack.pop()
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items):
            yield node, key
            stack.append(value)


def of_csv(content: bytes, rng: random.Random) -> bytes:
    """Return a table with a strange cell, name, row or column, or other marks between its fields."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
    row, kind = rng.choice(rows), rng.randrange(12)
    column = rng.randrange(len(rows[0]))
    text = str(rng.choice((*STRANGE_TEXTS, *map(str, STRANGE_NUMBERS))))
    if kind < 4:
        row[rng.randrange(len(row))] = text
    elif kind == 4:
        rows[0][column] = rng.choice((text, rows[0][0], ""))
    elif kind == 5:
        for one in rows[1:]:
            one[column % len(one)] = text
    elif kind == 6:
        rows = [[*one, *one[: column + 1]] for one in rows]
    elif kind == 7:
        rows = [one[:column] + one[column + 1 :] for one in rows]
    elif kind == 8:
        rows += [rng.choice(rows)[: rng.randrange(len(rows[0]) + 1)] * rng.choice((1, 3)) for _ in range(20)]
    elif kind == 9:
        rows = rows[: rng.randrange(len(rows))]
    elif kind == 10:
        rng.shuffle(rows[0])
    out = io.StringIO()
    if kind == 11:
        mark = rng.choice((";", "\t", "\0", "|", " "))
        out.write("\n".join(mark.join(one) for one in rows) + rng.choice(("", '"', '"' + "x" * 50_000, "\x1a")))
    else:
        csv.writer(out).writerows(rows)
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return out.getvalue().encode(encoding, "replace" if encoding == "latin-1" else "surrogatepass")


def of_gzip(content: bytes, rng: random.Random) -> bytes:
    """Return a gzip file of a damaged table, one that says other sizes, or one that unpacks to far more."""
    if rng.random() < 0.02:
        return _bomb(rng.randrange(4))
    with gzip.open(io.BytesIO(content)) as file:
        inner = file.read(MOST_BYTES)
    inner = of_csv(inner, rng)
    packed = gzip.compress(inner, 1)
    return rng.choice((packed, packed + b"rest", packed + packed, packed[:-4], packed[:10] + packed))


@functools.cache
def _bomb(which: int) -> bytes:
    """Return a small gzip file that unpacks to 400 MB of rows, of zeros or of one quoted text."""
    row = (b"a,b\n", b"1,2\n", b"\0\0\0\0", b"aaaa")[which]
    packer = zlib.compressobj(6, wbits=31)
    head = b'who,y\n"' if which == 3 else b"who,y\n"
    return b"".join([packer.compress(head), *(packer.compress(row * 250_000) for _ in range(400)), packer.flush()])


def of_xml(content: bytes, rng: random.Random) -> bytes:
    """Return XML with a tag, a text or a declaration changed."""
    text, kind = content.decode(), rng.randrange(8)
    tokens = re.split(r"(<[^>]*>)", text)
    at = rng.randrange(len(tokens))
    if kind < 3:
        tokens[at] = rng.choice(STRANGE_TEXTS)
    elif kind == 3:
        tokens[at] = "<a>" * 20_000 + "</a>" * 20_000
    elif kind == 4:
        tokens.insert(0, '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>')
    elif kind == 5:
        tokens.insert(0, '<!DOCTYPE x SYSTEM "file:///etc/passwd">')
    elif kind == 6:
        tokens[at] = rng.choice(tokens)
    else:
        return "".join(tokens).encode(rng.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")), "replace")
    return "".join(tokens).encode("utf-8", "surrogatepass")


def of_text(content: bytes, rng: random.Random) -> bytes:
    """Return a text with strange letters, or with a part of it repeated very often."""
    text = content.decode("utf-8", "replace")
    at = rng.randrange(len(text) + 1)
    piece = rng.choice((*STRANGE_TEXTS, text[at : at + 20], *HOSTILE))
    times = rng.choice((1, 1, 10, max(1, 100_000 // max(1, len(piece)))))
    return (text[:at] + piece * times + text[at:]).encode("utf-8", "surrogatepass")


HOSTILE = (
    ".", ". ", "\n", " ", "\t", "?", "? ", ",", ", ", "a", "A", "A ", "A:", "\nA:", "\n" + "A" * 50, "no ", "no, ", "not ", "is ",
    "is not ", "has been ", "cannot be ", "entirely be ", "also now since ", "and ", "or ", "-", "--", "_", "____", "=", "'", "s'",
    "chest ", "chest tube ", "left ", "tube-", "in line with ", "first-line ", "XXXX ", "no new ", "(", ")", "no definite ",
    "FINDINGS:", "findings ", " FINAL REPORT\n", "possible ", "without evidence of ", "\r", "\r\n", "x\n", "a.B", "limits.The", "0",
    "vs.", "İ", "ß", "ﬁ", "A,", "A /", "\nA,A,A ", "________________________________________\n", "versus ", "unlikely ", "the ",
)  # fmt: skip


def of_zip(content: bytes, rng: random.Random) -> bytes:
    """Return an archive with strange names, links, repeated members, wrong sizes, or one that unpacks to far more."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    kind = rng.randrange(9)
    name, data = rng.choice(members)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        if kind == 0:
            members.append(
                (rng.choice(("../evil.png", "/evil.png", "a/../../evil.png", "C:\\evil.png", "", "\0")), data)
            )
        elif kind == 1:
            members.append((name, b"other"))
        elif kind == 2:
            members = [(n, of_bytes(d, rng)) for n, d in members]
        elif kind == 3 and rng.random() < 0.1:  # packing it takes a second
            members.append((rng.choice((name, "bomb.png")), b"\0" * 60_000_000))
        for one, content_of_it in members:
            info = zipfile.ZipInfo(one)
            info.compress_type = rng.choice(
                (zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
            )
            if kind == 4:
                info.external_attr, content_of_it = 0o120777 << 16, b"../secret.png"  # a link
            archive.writestr(info, content_of_it)
    packed = out.getvalue()
    if kind == 5:  # the directory says another size than the member has
        at = packed.rfind(b"PK\x01\x02")
        packed = (
            packed[: at + 20]
            + struct.pack("<II", rng.choice(SIZES) & 0xFFFFFFFF, rng.choice(SIZES) & 0xFFFFFFFF)
            + packed[at + 28 :]
        )
    elif kind == 6:  # encrypted, or a method that is none
        at = packed.rfind(b"PK\x01\x02")
        packed = (
            packed[: at + 8]
            + struct.pack("<HH", rng.choice((1, 8, 0x800)), rng.choice((0, 8, 9, 12, 14, 93, 99)))
            + packed[at + 12 :]
        )
    elif kind == 7:
        packed = b"#!/bin/sh\n" * 50 + packed
    return packed


def of_tar(content: bytes, rng: random.Random) -> bytes:
    """Return a tar archive with links, devices, strange names or damaged members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        members = [(m, b"" if (f := archive.extractfile(m)) is None else f.read()) for m in archive]
    at, kind = rng.randrange(len(members)), rng.randrange(7)
    with tarfile.open(fileobj=out, mode=rng.choice(("w", "w:gz", "w:bz2", "w:xz"))) as archive:
        for i, (info, data) in enumerate(members):
            if i == at:
                if kind == 0:
                    info.type, info.linkname = tarfile.SYMTYPE, "../../secret.txt"
                elif kind == 1:
                    info.type, info.linkname = tarfile.LNKTYPE, "/etc/passwd"
                elif kind == 2:
                    info.type = rng.choice((tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE))
                elif kind == 3:
                    info.name = rng.choice(("../evil.xml", "/evil.xml", "a\0.xml", "x" * 300 + ".xml"))
                elif kind == 4:
                    data = of_xml(data, rng)
                elif kind == 5:
                    data = data + b" " * 3_000_000
                else:
                    data = of_bytes(data, rng)
            info.size = len(data) if info.isfile() else 0
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def of_png(content: bytes, rng: random.Random) -> bytes:
    """Return a PNG with a header or a chunk changed, its sums made right."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        chunks.append([kind, content[at + 8 : at + 8 + size]])
        at += 12 + size
    what, chunk = rng.randrange(7), rng.choice(chunks)
    if what < 3:
        sides = [rng.choice((0, 1, 3, 7_999, 8_000, 60_000, 2**31 - 1, 2**32 - 1)) for _ in range(2)]
        depth = rng.choice((1, 2, 4, 8, 8, 16, 16, 32)), rng.choice((0, 0, 2, 3, 4, 6, 7))
        chunks[0][1] = struct.pack(">II5B", *sides, *depth, 0, 0, rng.choice((0, 0, 1)))
    elif what == 3:
        chunk[1] = of_bytes(chunk[1], rng)
    elif what == 4:
        known = rng.choice(
            (b"tRNS", b"PLTE", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"gAMA", b"acTL", b"fcTL", b"fdAT", b"pHYs")
        )
        packed = b"k\0\0" + zlib.compress(b"\0" * rng.choice((10, 5_000_000, 100_000_000)), 1)
        chunks.insert(rng.randrange(1, len(chunks)), [known, rng.choice((rng.randbytes(20), packed, b""))])
    elif what == 5:
        chunks.insert(rng.randrange(len(chunks)), list(chunk))
    else:
        chunks[-2][1] = zlib.compress(b"\0" * rng.choice((0, 100, 80_000_000)), 1)
    return content[:8] + b"".join(_chunk(kind, data) for kind, data in chunks)


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that promises a size and holds nothing."""
    header = _chunk(b"IHDR", struct.pack(">II5B", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(b"\0" * 100)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def of_tiff(content: bytes, rng: random.Random) -> bytes:
    """Return a little-endian TIFF with an entry of its first directory changed."""
    data = bytearray(content)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    at = start + 2 + 12 * rng.randrange(count)
    kind = rng.randrange(4)
    if kind == 0:
        struct.pack_into("<H", data, at + 2, rng.randrange(14))
    elif kind == 1:
        struct.pack_into("<I", data, at + 4, rng.choice(SIZES) & 0xFFFFFFFF)
    elif kind == 2:
        struct.pack_into(
            "<H", data, at, rng.choice((256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 317, 320, 322, 338))
        )
    else:
        struct.pack_into("<I", data, at + 8, rng.choice((*SIZES, 5, 7, 32773, 34712, start)) & 0xFFFFFFFF)
    return bytes(data)


def of_dicom(content: bytes, rng: random.Random) -> bytes:
    """Return a DICOM file with the value of an element changed, or one put in or taken out."""
    import pydicom
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    dataset = pydicom.dcmread(io.BytesIO(content))
    kind = rng.randrange(8)
    if kind < 4:
        name = rng.choice(
            ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation")
        )
        dataset[name] = DataElement(
            pydicom.datadict.tag_for_keyword(name),
            "US",
            rng.choice((0, 1, 3, 8, 12, 16, 17, 32, 64, 8_000, 60_000, 65_535)),
        )
    elif kind == 4:
        name = rng.choice(("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "NumberOfFrames"))
        vr = "IS" if name == "NumberOfFrames" else "DS"
        value = rng.choice(("0", "-1", "1e99", "nan", "inf", "x", "1\\2\\3", "", "99999999999"))
        dataset[name] = DataElement(pydicom.datadict.tag_for_keyword(name), vr, value, already_converted=True)
    elif kind == 5:
        dataset.PhotometricInterpretation = rng.choice(
            ("MONOCHROME1", "RGB", "YBR_FULL", "PALETTE COLOR", "", "X" * 20)
        )
    elif kind == 6:
        item = Dataset()
        item.add_new(0x00283002, "US", [rng.choice((0, 4, 65_535)), rng.choice((0, 4)), rng.choice((0, 8, 16, 65_535))])
        item.add_new(0x00283006, "US", [rng.randrange(65_536) for _ in range(rng.choice((0, 1, 4)))] or 1)
        setattr(dataset, rng.choice(("VOILUTSequence", "ModalityLUTSequence")), [item])
    else:
        del dataset[rng.choice([element.tag for element in dataset])]
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=False)
    return out.getvalue()


def of_parquet(content: bytes, rng: random.Random) -> bytes:
    """Return a parquet file with a strange column, or with another size of its footer."""
    import pandas as pd

    from mmaudit._tables import read_parquet

    if rng.random() < 0.03:
        return _parquet_bomb(content, rng.randrange(4), rng.randrange(20))
    if rng.random() < 0.4:
        if rng.random() < 0.5:
            return content[:-8] + struct.pack("<I", rng.choice(SIZES) & 0xFFFFFFFF) + content[-4:]
        foot = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
        return content[:foot] + of_bytes(content[foot:], rng)
    frame = read_parquet(io.BytesIO(content))  # which stops where it would be too much
    if len(frame) > MOST_ROWS:
        return of_bytes(content, rng)
    column, kind = rng.choice(list(frame.columns)), rng.randrange(8)
    if kind == 0:
        frame = frame.drop(columns=column)
    elif kind == 1:
        frame = frame.iloc[: rng.randrange(len(frame))]
    elif kind == 2:
        frame[column] = [[1, 2]] * len(frame)
    elif kind == 3:
        frame[column] = [{"a": 1, "b": [b"\0"]}] * len(frame)
    elif kind == 4:
        frame[column] = rng.choice(
            (pd.Timestamp("2020-01-01", tz="UTC"), b"\xff", "=x", None, float("inf"), 2**62, pd.Timedelta(1))
        )
    elif kind == 5:
        frame = frame.rename(columns={column: rng.choice([t for t in STRANGE_TEXTS if t.isprintable()])})
    elif kind == 6:
        frame = frame.set_index(column)
    else:
        frame = pd.concat([frame] * rng.choice((2, 3000)), ignore_index=True)
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


@functools.lru_cache(maxsize=16)
def _parquet_bomb(content: bytes, which: int, column: int) -> bytes:
    """Return a small parquet file of the same columns in which one holds far more than the file is long."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = pq.read_schema(io.BytesIO(content)).names
    n = (1, 1, 6_000, 2_000_000)[which]
    if which == 0:  # one text that is long
        bomb = pa.array(["a" * 80_000_000])
    elif which == 3:  # one number again and again
        bomb = pa.array(np.zeros(n, np.int8))
    else:  # one text again and again, in a list or in rows
        bomb = pa.DictionaryArray.from_arrays(pa.array(np.zeros(6_000, np.int32)), pa.array(["a" * 100_000]))
        bomb = pa.ListArray.from_arrays(pa.array([0, 6_000], pa.int32()), bomb) if which == 1 else bomb
    columns = [bomb if k == column % len(names) else pa.nulls(n, pa.int8()) for k in range(len(names))]
    out = io.BytesIO()
    how: dict[str, Any] = {"use_dictionary": which in (1, 2), "write_statistics": False, "store_schema": False}
    pq.write_table(pa.table(columns, names=names), out, compression="zstd", **how)
    pa.default_memory_pool().release_unused()
    return out.getvalue()


class _Trap:
    """What a pickle of a stranger would call: harmless, but seen where it is looked up."""

    def __reduce__(self) -> Any:
        return os.getcwd, ()


def of_npy(content: bytes, rng: random.Random) -> bytes:
    """Return an array file with another header, other numbers, or a pickle in it."""
    values = np.load(io.BytesIO(content), allow_pickle=False)
    if values.size > len(content):  # of elements without bytes; NumPy would take hours to write them
        raise ValueError
    kind, out, n = rng.randrange(8), io.BytesIO(), len(np.atleast_1d(values))
    if kind < 2:  # a header that promises something else
        shape: Any = rng.choice((
            (10**13, 5), (10**18, 10**18), (2**63, 1), (-1, 5), (n, -5), (n, 0), (0, 0), (), (n,), (n + 1, *values.shape[1:]),
            (*values.shape, 1), (1,) * 40, values.shape[::-1], (True, 5), (2.0, 5), None, "(" * 90, "'''", f"({'9' * 5000}, 5)",
            "__import__('os').getcwd()", "1 or 2", "(5, 5", "\0", "'\\ud800'", values.shape, values.shape,
        ))  # fmt: skip
        dtype = rng.choice((
            "<f4", "<f4", values.dtype.str, "|O", ">f2", "<f16", "<c16", "<i8", "<U9", "<U400000000", "|V0", "|b1", "<M8[ns]",
            "x" * 900, [("a", "<f4")], [("a", "<f4", (10**9,))], "f4,f4", ("<f4", (5,)), "<f4" * 100, "", None,
            {"names": ["a"], "formats": ["O"]},
        ))  # fmt: skip
        by_column, version = rng.choice((False, False, True, 3)), rng.choice((1, 1, 1, 2, 3, 9))
        header = npy_header(str(shape), repr(dtype), by_column, version)
        return header + values.tobytes()
    if kind == 2:
        np.save(out, np.full(values.shape, _Trap(), dtype=object), allow_pickle=True)
    elif kind == 3:
        return rng.choice((b"", content[:128])) + pickle.dumps([_Trap()] * n)
    else:
        if kind == 4 and values.size and values.dtype.kind == "f":
            values.flat[rng.randrange(values.size)] = rng.choice((np.nan, np.inf, -np.inf, 3e38, 1e-45))
        elif kind == 5:
            values = values.astype(rng.choice((">f4", "<f8", "<f2", "<i8", "<c8", "bool", "<U3")))
            values = values * 1e300 if values.dtype == "<f8" else values
        elif kind == 6:
            values = rng.choice((values[:-1], np.concatenate([values, values]), values.T, values[None], values.ravel()))
        else:
            values = values[..., : rng.choice((0, 1, 2))]
        np.save(out, values, allow_pickle=False)
    return out.getvalue()


def npy_header(shape: str, dtype: str, by_column: Any = False, version: int = 1) -> bytes:
    """Return the beginning of an array file that says this."""
    text = f"{{'descr': {dtype}, 'fortran_order': {by_column}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text


_PIECE = re.compile(r"(^|/)\d{6}\.zip$")  # of a run that was interrupted
_LEADS_AWAY = ("../x.npy", "/x.npy", "a/../../x.json", "C:\\x.npy", ".", "x", "x.pkl", ".npy", "x.npy/", "..", "a" * 60_000)  # fmt: skip


def of_piece(content: bytes, rng: random.Random) -> bytes:
    """Return a file of a checkpoint with a member damaged, renamed, repeated or packed; its sums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        comment, members = archive.comment, [(info.filename, archive.read(info)) for info in archive.infolist()]
    kind, at, out = rng.randrange(8), rng.randrange(len(members)), io.BytesIO()
    name, data = members[at]
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)) if kind > 4 else zipfile.ZIP_STORED
    if kind < 3:
        members[at] = name, mutate(name, data, rng, tuple(other for _, other in members))
    elif kind == 3:
        members[at] = rng.choice(_LEADS_AWAY), data
    elif kind == 4:
        members.insert(rng.randrange(len(members) + 1), rng.choice(((name, b"1"), (rng.choice(_LEADS_AWAY), data))))
    elif kind == 5:
        bomb = b'"' + b"a" * (20_000_000 if packing == zipfile.ZIP_DEFLATED else 1_000_000) + b'"'
        members[at] = name, rng.choice((bomb, b"[" * 100_000, b"\x93NUMPY", b"PAR1", b"", b"null"))
    elif kind == 6:
        rng.shuffle(members)
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packing, compresslevel=1) as archive:
        warnings.simplefilter("ignore")  # of names that are twice in it
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = rng.choice((comment, comment, comment, b"", comment[:-1], comment + b" "))
    return out.getvalue()


def sealed(content: bytes, mark: Callable[[list[str]], bytes]) -> bytes:
    """Return a file of a checkpoint with the comment that `mark` gives for the names in it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names, comment = archive.namelist(), archive.comment
    told = mark(names)
    return content[: len(content) - len(comment) - 2] + struct.pack("<H", len(told)) + told


def of_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Return a safetensors file with its header changed, the length of the header made right or not."""
    size = int.from_bytes(content[:8], "little")
    tree = json.loads(content[8 : 8 + size])
    told = tree["__metadata__"]
    kind = rng.randrange(4)
    if kind < 2:  # what the header says, itself JSON in text
        name = rng.choice(list(told))
        told[name] = of_json(told[name].encode(), rng).decode("utf-8", "replace")
        header = json.dumps(tree).encode()
    elif kind == 2:
        header = of_json(content[8 : 8 + size], rng)
    else:
        tensor = rng.choice([name for name in tree if name != "__metadata__"])
        tree[tensor]["shape"] = rng.choice(([], [0], [2**40], [1] * 70, [3, 3], tree[tensor]["shape"][::-1]))
        header = json.dumps(tree).encode()
    length = len(header) if rng.random() < 0.9 else rng.choice(SIZES)
    return struct.pack("<Q", length & (2**64 - 1)) + header + content[8 + size :]


_KINDS = {
    ".json": of_json, ".ipynb": of_json, ".csv.gz": of_gzip, ".csv": of_csv, ".xml": of_xml, ".txt": of_text, ".zip": of_zip,
    ".tgz": of_tar, ".png": of_png, ".tif": of_tiff, ".dcm": of_dicom, ".parquet": of_parquet, ".safetensors": of_safetensors,
    ".npy": of_npy, "piece": of_piece,
}  # fmt: skip
