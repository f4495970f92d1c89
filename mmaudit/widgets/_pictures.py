"""Small pictures for the grid, as many as its window shows; and cases to hold beside members of a slice."""

from __future__ import annotations

import functools
import io
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mmaudit._errors import ImageReadError, InputError, MissingExtraError

if TYPE_CHECKING:
    from mmaudit.widgets._base import Answer, AuditWidget, Job
    from mmaudit.widgets._cases import Cases

__all__ = ["Pictures", "counterexamples", "thumbs"]

MOST_ASKED = 200
SIDES_PX = (96, 192, 384)  # few, so that pictures are found again after the tiles have changed their size
ANSWER_S = 0.15  # what is not read by then comes with a later answer: a slow image holds up no other, and no scrolling
KEPT_BYTES = 64 * 2**20
QUALITY = 80
MOST_PAIRS = 300
CHUNK = 8192
NO_IMAGE = "no image"
_THREADS = min(8, os.cpu_count() or 1)


class Pictures:
    """JPEG files of the cases of a widget, the last used ones kept.

    Parameters
    ----------
    cases : Cases
        Where there are no data, the few thumbnails that a result keeps are shown.
    kept_bytes : int
        Memory that they may take.

    Notes
    -----
    It may be asked by several threads at once.
    """

    def __init__(self, cases: Cases, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._cases, self._most = cases, kept_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], bytes | str] = OrderedDict()
        self._making: dict[tuple[int, int], Future] = {}
        self.n_bytes = 0

    def get(self, positions: Sequence[int], side_px: int, *, wait_s: float) -> dict[int, bytes | str]:
        """Return grey JPEG files by position, or in a word why there is none, of those that are made in that time."""
        with self._lock:
            futures = {
                position: self._ask((position, side_px))
                for position in positions
                if (position, side_px) not in self._kept
            }
        wait(futures.values(), wait_s)
        with self._lock:
            for position, future in futures.items():
                if future.cancel():  # those that are being made will be there when they are asked for again
                    self._making.pop((position, side_px), None)
            found = {position: self._kept.get((position, side_px)) for position in positions}
            for position, made in found.items():
                if made is not None:
                    self._kept.move_to_end((position, side_px))
            while self.n_bytes > self._most:
                self.n_bytes -= len(self._kept.popitem(last=False)[1])
        return {position: made for position, made in found.items() if made is not None}

    def _ask(self, key: tuple[int, int]) -> Future:
        if key not in self._making:
            self._making[key] = _pool().submit(self._keep, key)
        return self._making[key]

    def _keep(self, key: tuple[int, int]) -> None:
        made = self._made(*key)
        with self._lock:
            self._kept[key] = made
            self.n_bytes += len(made)
            self._making.pop(key, None)

    def _made(self, position: int, side_px: int) -> bytes | str:
        cases = self._cases
        if cases.data is None or cases.rows is None or cases.data.images is None:
            thumbnail = None if cases.result is None else cases.result._thumbnails.get(cases.ids[position])
            return NO_IMAGE if thumbnail is None else thumbnail
        try:
            read = cases.data.images.read(int(cases.rows[position]), max_side_px=side_px)
            return _jpeg(read.pixels, side_px)
        except ImageReadError as error:
            return error.reason
        except MissingExtraError as error:
            return str(error)
        except Exception as error:  # a source of images is anybody's code: one that fails is one tile that says so
            return f"unreadable ({type(error).__name__})"


def _jpeg(pixels: np.ndarray, side_px: int) -> bytes:
    picture = Image.fromarray(np.rint(255 * np.clip(np.nan_to_num(pixels), 0, 1)).astype(np.uint8))
    picture.thumbnail((side_px, side_px))  # a source may give more than it was asked for
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=QUALITY)
    return stream.getvalue()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="mmaudit-pictures")


def pictures_of(widget: AuditWidget) -> Pictures:
    """Return the pictures of a widget, made when they are first asked for."""
    with widget.lock:
        if not hasattr(widget, "_pictures"):
            widget._pictures = Pictures(widget.cases)
        return widget._pictures


def thumbs(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with the pictures of some positions: those that are there within a moment; the page asks for the rest.

    The answer has `positions`, `offsets` into its one buffer (one more than positions) and `errors`, words by position.
    """
    positions = check_positions(widget, content.get("positions"))
    asked_px = content.get("side_px")
    side_px = next((s for s in SIDES_PX if isinstance(asked_px, (int, float)) and s >= asked_px), SIDES_PX[-1])
    found = pictures_of(widget).get(positions, side_px, wait_s=ANSWER_S)
    there = {position: made for position, made in found.items() if isinstance(made, bytes)}
    offsets = np.cumsum([0, *(len(made) for made in there.values())]).tolist()
    answer = {
        "positions": list(there),
        "offsets": offsets,
        "errors": {str(position): made for position, made in found.items() if isinstance(made, str)},
    }
    return answer, [b"".join(there.values())]


def check_positions(widget: AuditWidget, given: Any) -> list[int]:
    """Return positions of cases that a page asks for.

    Raises
    ------
    InputError
        Something else than at most 200 positions.
    """
    if not isinstance(given, list) or len(given) > MOST_ASKED or any(type(p) is not int for p in given):
        raise InputError("positions", f"a list of at most {MOST_ASKED} positions", "another", "Ask for fewer.")
    if any(not 0 <= position < widget.cases.n for position in given):
        raise InputError("positions", f"positions below {widget.cases.n}", "one outside", "Load the page again.")
    return list(dict.fromkeys(given))


def counterexamples(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with pairs of positions, uint32: a member of a slice, and the case most like it that is no member.

    That case has the member's label, is of another patient, and the model that is looked at is right about it. Members
    come by strength, 300 at most; no case stands beside two of them. Alike is what lies near in the embeddings of the
    data (the cosine, over all modalities that have embeddings); without any, the few pairs of the slice's explanation
    are all there are. `words` say which.

    Raises
    ------
    InputError
        No such slice, or nothing that says which cases are alike.
    """
    slice_id = str(content.get("slice_id", ""))
    cases = widget.cases
    strength = cases.strength(slice_id)
    if cases.data is not None and cases.data.embeddings:
        model = int(content.get("model") == 1 and len(cases.models) > 1)
        pairs = _nearest(cases, slice_id, strength, model)
        words = f"alike by the embeddings of {', '.join(cases.data.embeddings)}"
    else:
        pairs, words = np.array(_explained(cases, slice_id), int), "a few typical members, from the slice's explanation"
        if not len(pairs):
            raise InputError(
                "embeddings", "data with embeddings, to know which cases are alike", "data without",
                "Give data.with_embeddings({'image': X}) as data=.",
            )  # fmt: skip
    return {"words": words}, [np.asarray(pairs, "<u4").tobytes()]


def _nearest(cases: Cases, slice_id: str, strength: np.ndarray, model: int = 0) -> np.ndarray:
    from mmaudit.widgets._cases import MEMBER

    data, rows = cases.data, cases.rows
    assert data is not None and rows is not None
    target = cases.target_of(slice_id)
    truth, wrong = cases.truth(target), cases.wrong(target, model)
    members = np.flatnonzero((strength >= MEMBER) & (truth >= 0))
    members = members[np.argsort(-strength[members].astype(int), kind="stable")][:MOST_PAIRS]
    others = np.flatnonzero((strength < MEMBER) & (truth >= 0) & (wrong == 0))
    if not len(members) or not len(others):
        return np.empty((0, 2), int)
    likeness = np.concatenate(
        [_cosine(data, rows[members], rows[others[i : i + CHUNK]]) for i in range(0, len(others), CHUNK)], axis=1
    )
    patient = np.unique(data.patient_id[rows].astype(str), return_inverse=True)[1]
    unlike = truth[members][:, None] != truth[others]
    unlike |= patient[members][:, None] == patient[others]
    likeness[unlike] = -np.inf
    pairs = []
    for member, row in zip(members, likeness, strict=True):
        best = int(row.argmax())
        if np.isfinite(row[best]):
            pairs.append((member, others[best]))
            likeness[:, best] = -np.inf
    return np.array(pairs, int).reshape(-1, 2)


def _cosine(data: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean over modalities of the cosine between rows a and rows b."""
    total = np.zeros((len(a), len(b)), np.float32)
    for values in data.embeddings.values():
        unit_a, unit_b = (v / (np.linalg.norm(v, axis=1, keepdims=True) + 1e-12) for v in (values[a], values[b]))
        total += unit_a @ unit_b.T
    return total / len(data.embeddings)


def _explained(cases: Cases, slice_id: str) -> list[tuple[int, int]]:
    known = {} if cases.result is None else cases.result.explanations.get(slice_id, {})
    pairs = known.get("members", {}).get("counterexamples", [])
    return [tuple(cases.positions(pair).tolist()) for pair in pairs]
