"""What a widget knows of every case: arrays by position, and how they are packed for the page.

Positions are those of `result.samples`, or of the data where there is no result. They are what goes over the wire:
the page never needs the user's ids, and a saved notebook holds none.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError
from mmaudit.data import AuditData

if TYPE_CHECKING:
    from mmaudit.result import AuditResult

__all__ = ["Cases", "as_strength", "layout", "pack"]

MEMBER = 128  # strength in 0..255 from which a case is a member of a slice
UNKNOWN_PROBABILITY = 255
FIRST_SLICES = 24  # whose members are sent at once; of others when they are looked at


class Cases:
    """The cases behind a widget, in the order of their positions.

    Parameters
    ----------
    result : AuditResult or None
        None: cases that were not audited.
    data : AuditData or None
        None: what the result holds. Without either, there are no images and no reports to show.
    other : AuditData, array of probabilities in the order of `data`, or None
        A second model's predictions for the same cases.
    names : sequence of two str
        What the models are called.

    Attributes
    ----------
    ids : pandas Index of n user's ids
    rows : ndarray of shape (n,), int, or None
        Row of each case in `data`; None without data.
    targets : list of str
    """

    def __init__(
        self,
        result: AuditResult | None,
        data: AuditData | None,
        *,
        other: Any = None,
        names: Sequence[str] = ("model", "other model"),
    ) -> None:
        if result is None and data is None:
            raise InputError("data", "a result or data", "neither", "Give what mma.audit() returned.")
        self.result = result
        self.data = data if data is not None else result._data  # type: ignore[union-attr]
        self.ids = result.samples.index if result is not None else self.data.sample_id  # type: ignore[union-attr]
        self.n = len(self.ids)
        self.rows = self._rows()
        self._truth: list[np.ndarray] = []
        self._probability: list[list[np.ndarray]] = []
        self._wrong: list[list[np.ndarray]] = []
        self.targets: list[str] = []
        self._read_targets()
        self.models = [names[0]]
        if other is not None:
            self._read_other(other)
            self.models = list(names[:2])
        # Slices that the user made while looking: a strength for each case, by slice id.
        self.own: dict[str, np.ndarray] = {}
        self.own_target: dict[str, int] = {}

    def _rows(self) -> np.ndarray | None:
        if self.data is None:
            return None
        if self.data.sample_id.equals(self.ids):
            return np.arange(self.n)
        rows = self.data.sample_id.astype(str).get_indexer(self.ids.astype(str))
        if (rows < 0).any():
            raise InputError(
                "data", "the data that were audited", f"data without {int((rows < 0).sum()):,} of the samples",
                "Give those that the audit was given.",
            )  # fmt: skip
        return rows

    def _read_targets(self) -> None:
        if self.result is None:
            data: Any = self.data
            if data.y_proba is None:
                self.targets = list(data.label_names)
                self._truth = [np.asarray(y, np.int8) for y in data.truths()]
                self._probability = [[np.full(self.n, UNKNOWN_PROBABILITY, np.uint8)] for _ in self._truth]
                self._wrong = [[np.zeros(self.n, np.uint8)] for _ in self._truth]
                return
            for target in data.targets():
                self._add(target.name, target.y_true, target.y_proba, target.error)
            return
        from mmaudit.result import sample_columns

        samples = self.result.samples
        names = [target["name"] for target in self.result.data_summary.get("targets", [])]
        for name in names if len(names) > 1 else [None]:
            columns = sample_columns(name)
            label = name or (names[0] if names else self.result.data_summary.get("label_name", "label"))
            self._add(label, *(samples[columns[c]].to_numpy() for c in ("y_true", "y_proba", "wrong")))

    def _add(self, name: str, truth: np.ndarray, probability: np.ndarray, wrong: np.ndarray) -> None:
        self.targets.append(str(name))
        self._truth.append(np.asarray(truth, np.int8))
        self._probability.append([_as_bytes(probability)])
        self._wrong.append([np.asarray(wrong, np.uint8)])

    def _read_other(self, other: Any) -> None:
        data = self.data
        if data is None:
            raise InputError("other", "a second model beside data", "a result without data", "Give data= too.")
        if isinstance(other, AuditData):
            rows = other.sample_id.astype(str).get_indexer(data.sample_id.astype(str))
            if (rows < 0).any():
                raise InputError(
                    "other", "predictions for the same samples", f"none for {int((rows < 0).sum()):,} of them",
                    "Predict the same data.",
                )  # fmt: skip
            other = data.with_predictions(other.subset(rows).y_proba) if (rows != np.arange(len(rows))).any() else other
        else:
            other = data.with_predictions(other)
        threshold = 0.5 if self.result is None else self.result.settings.get("threshold", 0.5)
        by_name = {target.name: target for target in other.targets(threshold)}
        rows = self.rows
        for k, name in enumerate(self.targets):
            target = by_name.get(name) or list(by_name.values())[k]
            self._probability[k].append(_as_bytes(target.y_proba[rows]))
            self._wrong[k].append(np.asarray(target.error[rows], np.uint8))

    @functools.cached_property
    def _position(self) -> dict[Any, int]:
        """Positions by id, and by the words of ids; made when they are first needed."""
        found = {sample: i for i, sample in enumerate(self.ids)}
        for i, sample in enumerate(map(str, self.ids)):
            found.setdefault(sample, i)
        return found

    def positions(self, samples: Any) -> np.ndarray:
        """Return the positions of ids, uint32.

        Raises
        ------
        InputError
            An id that no case has.
        """
        samples = [samples] if isinstance(samples, str) else list(samples)
        missing = [s for s in samples if s not in self._position]
        if missing:
            raise InputError(
                "selected_ids", "ids of samples", f"{len(missing):,} that are none", "Take them from result.samples."
            )
        return np.array([self._position[s] for s in samples], dtype=np.uint32)

    def target_of(self, slice_id: str) -> int:
        """Return the number of the target that a slice is about."""
        if slice_id in self.own_target:
            return self.own_target[slice_id]
        if self.result is None or slice_id not in set(self.result.candidates["slice_id"]):
            return 0
        name = self.result.candidates.set_index("slice_id")["target"][slice_id]
        return self.targets.index(name) if name in self.targets else 0

    def truth(self, target: int) -> np.ndarray:
        """Return the labels of a target: 1, 0, or -1 where not known."""
        return self._truth[target]

    def wrong(self, target: int, model: int = 0) -> np.ndarray:
        """Return 1 where a model is wrong about a target."""
        return self._wrong[target][model]

    def strength(self, slice_id: str) -> np.ndarray:
        """Return the strength of membership of every case, uint8, from 128 on a member.

        Raises
        ------
        InputError
            No such slice.
        """
        if slice_id in self.own:
            return self.own[slice_id]
        if self.result is None or slice_id not in self.result.membership.columns:
            raise InputError("slice_id", "one of result.candidates['slice_id']", f"{slice_id!r}", "Check its spelling.")
        return as_strength(self.result.membership[slice_id].to_numpy())

    def frame(self, positions: np.ndarray) -> pd.DataFrame:
        """Return what is known of some cases: part, labels and predictions, metadata; indexed by sample id."""
        if self.result is not None:
            frame = self.result.samples.iloc[positions]
        else:
            columns: dict[str, Any] = {}
            for name, truth, wrong in zip(self.targets, self._truth, self._wrong, strict=True):
                behind = f":{name}" if len(self.targets) > 1 else ""
                columns |= {f"y_true{behind}": truth[positions], f"wrong{behind}": wrong[0][positions].astype(bool)}
            frame = pd.DataFrame(columns, index=self.ids[positions])
        if self.data is not None and self.rows is not None:
            metadata = self.data.metadata.iloc[self.rows[positions]]
            frame = frame.join(metadata.set_axis(frame.index)[[c for c in metadata if c not in frame]])
        return frame

    def arrays(self, slices: Iterable[str]) -> dict[str, np.ndarray]:
        """Return what the page knows of every case: by name, arrays of shape (n,), int8 or uint8.

        Parameters
        ----------
        slices : iterable of slice_id
            Whose members are among them.
        """
        arrays: dict[str, np.ndarray] = {}
        for t in range(len(self.targets)):
            arrays[f"truth:{t}"] = self._truth[t]
            for m in range(len(self.models)):
                arrays[f"probability:{t}:{m}"] = self._probability[t][m]
                arrays[f"wrong:{t}:{m}"] = self._wrong[t][m]
        if self.result is not None:
            arrays["confirmation"] = (self.result.samples["part"] == "confirmation").to_numpy(np.uint8)
        return arrays | {f"member:{slice_id}": self.strength(slice_id) for slice_id in slices}

    def start(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return what the page is told first, and the block of arrays that goes with it."""
        first = () if self.result is None else self.result.membership.columns[:FIRST_SLICES]
        sections, block = pack(self.arrays(first))
        content = {
            "n": self.n,
            "targets": self.targets,
            "models": self.models,
            "has_reports": self.data is not None and self.data.reports is not None,
            "sections": sections,
        }
        return content, [block]


def as_strength(membership: np.ndarray) -> np.ndarray:
    """Return memberships in [0, 1] as 0..255, uint8, from 128 on where they are 0.5 and above."""
    rounded = np.rint(255 * membership).astype(np.uint8)
    return np.where(membership >= 0.5, np.maximum(rounded, MEMBER), np.minimum(rounded, MEMBER - 1)).astype(np.uint8)


def _as_bytes(probability: np.ndarray) -> np.ndarray:
    """Return probabilities as 0..254, unknown ones as 255."""
    probability = np.asarray(probability, float)
    known = np.isfinite(probability)
    return np.where(known, np.rint(254 * np.where(known, probability, 0)), UNKNOWN_PROBABILITY).astype(np.uint8)


def pack(arrays: Mapping[str, np.ndarray]) -> tuple[list[dict[str, Any]], bytes]:
    """Return where each array lies, and all of them as one compressed block; `unpack` of cases.js reads it.

    Compression is zlib's quickest.
    """
    sections = layout(arrays)
    parts = (arrays[section["name"]] for section in sections)
    raw = b"".join(np.ascontiguousarray(part, dtype=part.dtype.newbyteorder("<")).tobytes() for part in parts)
    return sections, zlib.compress(raw, 1)


def layout(arrays: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return where each array lies in a block: wider types first, so that each begins at a multiple of its size."""
    sections, offset = [], 0
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].itemsize):
        sections.append({"name": name, "dtype": array.dtype.name, "offset": offset, "length": len(array)})
        offset += array.nbytes
    return sections
