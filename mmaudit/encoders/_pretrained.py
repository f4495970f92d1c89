"""What all encoders with a network share: the device, batches that fit, workers that decode, the cache, and progress.

An encoder of this kind is a subclass that says what makes its answers what they are (`_identity`, without loading
anything heavy) and loads the parts (`_load`): how one image becomes an array, how a text becomes windows of tokens, and
what the network makes of a batch of either.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import multiprocessing
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import cpu_count
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from tqdm import tqdm

from mmaudit._errors import AuditWarning, ImageReadError, InputError, MissingExtraError
from mmaudit.cache import DIGESTS, EMBEDDINGS, RowStore, TextStore, cache_dir
from mmaudit.classifiers._images import as_images, check_int, check_readable
from mmaudit.classifiers._torch import choose_device, choose_precision
from mmaudit.data import AuditData
from mmaudit.images import GrayImage, ImageSource, image_fingerprints, prepare_images, with_window

__all__ = ["ImagePart", "Parts", "PretrainedEncoder", "TextPart", "as_grey"]

FEW = 48  # images that are read sooner than worker processes start
MOST_PROCESSES = 8  # more read faster than a network computes
KEEP_EVERY_S = 5  # seconds of work that an interruption can lose
# On the CPU, of what is free at most a quarter; more images at a time than their caches hold make a network slower
# (`mmaudit benchmark encoders`). On a GPU at most 512, and half of what is free.
MOST_AT_ONCE = {"image": 16, "text": 32}
MOST_BYTES = {"image": 1 << 28, "text": 1 << 30}  # of activations
ACTIVATIONS_ALIVE = 8  # tensors as large as the largest answer of a layer; an attention layer holds about that many
MOST_SHOWN = 80  # letters of an argument
FLAT = 0.02  # standard deviation of grey values in [0, 1] below which a film shows nothing
MANY_UNKNOWN = 0.3  # share of words without an entry in the vocabulary
WITHOUT_EMBEDDING = "Their rows are the mean of the others."
_STRETCHED = {
    "percentiles": "between its own 0.5 and 99.5 percentiles",
    "minmax": "between its own smallest and largest value",
    "full": "over all that its bit depth can hold",
}
_SENTENCE = re.compile(r"(?<=[.;:!?])\s+|\n+")


class _Seen(NamedTuple):
    """What reading one image tells beside its pixels."""

    bit_depth: int
    side_px: int
    spread: float


@dataclass(frozen=True)
class ImagePart:
    """How images go through a network.

    Attributes
    ----------
    prepare : callable
        One `GrayImage` to the array that the network takes, without the first axis. Runs in threads or worker
        processes.
    apply : callable
        Array of n such to a tensor or array of shape (n, n_dimensions).
    side_px : int or None
        Side of the square that the network sees; a warning is given for images less than half as large. None: no such
        check.
    max_side_px : int or None
        What images may be reduced to while they are decoded. None: they are decoded whole.
    """

    prepare: Callable[[GrayImage], np.ndarray]
    apply: Callable[[np.ndarray], Any]
    side_px: int | None = None
    max_side_px: int | None = None


@dataclass(frozen=True)
class TextPart:
    """How texts go through a network.

    Attributes
    ----------
    apply : callable
        List of n texts, each at most `max_tokens` long, to a tensor or array of shape (n, n_dimensions).
    count : callable
        Text to its number of tokens, special ones included.
    max_tokens : int
    unknown_share : callable or None
        Text to the share of its words that the vocabulary does not have. None: it can spell any.
    """

    apply: Callable[[list[str]], Any]
    count: Callable[[str], int]
    max_tokens: int
    unknown_share: Callable[[str], float] | None = None


@dataclass(frozen=True)
class Parts:
    """A loaded network and its ways in: `image`, `text`, or both.

    By "image" and "text", `batch_sizes` holds how many samples go at a time, once that is worked out, and `most` the
    half of a number that did not fit when it was tried.
    """

    network: Any
    device: Any
    image: ImagePart | None = None
    text: TextPart | None = None
    batch_sizes: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)


class PretrainedEncoder(TransformerMixin, BaseEstimator):
    """Base of the encoders that run a network. A subclass stores its arguments and these."""

    # What every such encoder takes beside what names the model.
    device: str
    mixed_precision: bool | str
    batch_size: int | str
    n_jobs: int | None
    cache: bool | str | Path
    allow_download: bool
    progress: bool

    _loaded_parts: Parts
    _unit_length = False  # whether rows are scaled to length 1
    _window = "percentiles"  # how grey values of more than 8 bits become those the network was trained with

    def _identity(self) -> dict[str, Any]:
        """Return what, beside an image or a text, decides on its embedding; JSON, and quick to find out."""
        raise NotImplementedError

    def _load(self, torch: Any, device: Any) -> Parts:
        """Return the parts, loaded."""
        raise NotImplementedError

    @property
    def modalities(self) -> tuple[str, ...]:
        """What can be encoded: "image", "report", or both."""
        raise NotImplementedError

    def fit(self, X: Any = None, y: Any = None) -> PretrainedEncoder:
        """Do nothing: the network is trained already."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        """Return the class and the arguments that are not the default, on one line: it goes into messages and cards."""
        told = []
        for name, parameter in inspect.signature(type(self).__init__).parameters.items():
            value = getattr(self, name, parameter.default)
            if value is not parameter.default:
                text = " ".join(repr(str(value) if isinstance(value, Path) else value).split())
                told.append(f"{name}={text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + '...'}")
        return f"{type(self).__name__}({', '.join(told)})"

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if not k.startswith("_loaded")}

    def transform(self, X: Any) -> np.ndarray:
        """Return embeddings of images, or of texts.

        Parameters
        ----------
        X : ImageSource, arrays of shape (height, width), AuditData, or sequence of str
            Of AuditData, the images where the encoder can take images, else the reports.

        Returns
        -------
        ndarray of shape (n, n_dimensions), float32
        """
        if isinstance(X, AuditData):
            return self.encode(X, self.modalities[0])
        if isinstance(X, str) or (not isinstance(X, (ImageSource, np.ndarray)) and len(X) and _all_texts(X)):
            return self.encode_texts(X)
        if isinstance(X, np.ndarray) and X.dtype.kind in "OU":
            return self.encode_texts(X.tolist())
        return self.encode_images(X)

    def encode(self, data: AuditData, modality: str) -> np.ndarray:
        """Return embeddings of the images or of the reports of `data`, (n_samples, n_dimensions), float32.

        Parameters
        ----------
        data : AuditData
        modality : {"image", "report"}

        Raises
        ------
        InputError
            A modality that the data do not have or that the encoder cannot take.
        """
        if modality not in ("image", "report"):
            raise InputError("modality", "'image' or 'report'", repr(modality), "Metadata need no network.")
        if modality == "image":
            return self.encode_images(data)
        self._check_modality("report")
        if data.reports is None:
            raise InputError("data", "data with reports", "data without", "Load them with report=.")
        return self.encode_texts(list(data.reports))

    def encode_images(self, data_or_images: Any) -> np.ndarray:
        """Return the embeddings of images.

        Parameters
        ----------
        data_or_images : AuditData, ImageSource, or arrays
            Arrays: (n_images, height, width), or a list of (height, width); uint8, or float in [0, 1].

        Returns
        -------
        ndarray of shape (n_images, n_dimensions), float32
            Rows of unreadable images are the mean of the others.

        Raises
        ------
        InputError
            No images, an encoder of texts, a model that is not on this machine, or more than 5 % of the images
            unreadable.
        MissingExtraError
            A package that the encoder needs is not installed.

        Warns
        -----
        AuditWarning
            Of unreadable images, and of images that do not look like what the network takes: nearly without contrast,
            less than half as large as its input, or of more than 8 bits without a display window.
        """
        self._check_settings()
        self._check_modality("image")
        images = with_window(as_images(data_or_images), self._window)
        prepare_images(images, n_jobs=self.n_jobs, progress=self.progress)
        store = self._store("image")
        keys = self._keys(images, store)
        rows = _kept(store, [key for key in keys if not key.startswith("#")])
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        missing = sorted(i for key, i in first.items() if key not in rows)
        if missing:
            part: Any = self._parts().image
            errors: dict[str, ImageReadError] = {}
            seen: list[_Seen] = []
            unsaved: dict[str, np.ndarray] = {}
            batch_size = self._batch_size("image", images, missing)
            with (
                _Saving(store, unsaved) as save,
                tqdm(
                    total=len(missing), desc="encoding images", unit="image", disable=not self.progress, leave=False
                ) as bar,
            ):
                for indices, batch in self._decoded(images, missing, part, batch_size):
                    good = {}
                    for i, one in zip(indices, batch, strict=True):
                        if isinstance(one, ImageReadError):
                            errors[keys[i]] = one
                        else:
                            good[keys[i]] = one[0]
                            seen.append(one[1])
                    if good:
                        answers = self._run("image", np.stack(list(good.values())))
                        new = dict(zip(good, answers, strict=True))
                        rows |= new
                        unsaved.update({key: row for key, row in new.items() if not key.startswith("#")})
                        save()
                    bar.update(len(batch))
            _warn_of_images(seen, part.side_px, self._window)
            check_readable([errors.get(key) for key in keys], WITHOUT_EMBEDDING)
        return _in_order(keys, rows)

    def _keys(self, images: ImageSource, store: RowStore | None) -> list[str]:
        """Return a key for each image; those that begin with # say nothing of its content, and are not kept."""
        digests: Sequence[str | None] = [None] * len(images)
        folder = self._cache_folder()
        if store is not None and folder is not None:
            with contextlib.closing(TextStore(folder / DIGESTS)) as known:
                digests = image_fingerprints(images, known=known, n_jobs=self.n_jobs, progress=self.progress)
        # What has no digest cannot be read, or not twice alike.
        return [f"#{i}" if digest is None else digest for i, digest in enumerate(digests)]

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the embeddings of texts. Long ones are split between sentences, and the parts' embeddings averaged.

        Parameters
        ----------
        texts : sequence of str, or str
            Reports or phrases; one string is a sequence of one.

        Returns
        -------
        ndarray of shape (n_texts, n_dimensions), float32
            A text of more tokens than the network takes has the mean of its parts, each counting by its number of
            tokens.

        Raises
        ------
        InputError
            An encoder of images, or a model that is not on this machine.
        TypeError
            Something other than strings.
        MissingExtraError
            A package that the encoder needs is not installed.

        Warns
        -----
        AuditWarning
            Of texts that look like paths, and of texts with many words that the network does not know.
        """
        self._check_settings()
        self._check_modality("report")
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not _all_texts(texts):
            raise TypeError("texts: expected strings, got something else among them. Fill missing reports with ''.")
        _warn_of_paths(texts)
        keys = [hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=20).hexdigest() for text in texts]
        store = self._store("report")
        rows = _kept(store, keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        if missing:
            part: Any = self._parts().text
            _warn_of_words(list(missing.values()), part.unknown_share)
            rows |= self._encode_new(missing, part, store)
        return _in_order(keys, rows)

    def _encode_new(self, texts: Mapping[str, str], part: TextPart, store: RowStore | None) -> dict[str, np.ndarray]:
        """Return the embedding of each text by its key."""
        pieces = [
            (part.count(piece), key, piece)
            for key, text in texts.items()
            for piece in split_text(text, part.count, part.max_tokens)
        ]
        pieces.sort()  # of one length in one batch, so that little is padded
        left = Counter(key for _, key, _ in pieces)
        sums: dict[str, Any] = dict.fromkeys(texts, 0.0)
        weights = dict.fromkeys(texts, 0)
        rows: dict[str, np.ndarray] = {}
        unsaved: dict[str, np.ndarray] = {}
        unit_length, batch_size = self._unit_length, self._batch_size("text")
        with (
            _Saving(store, unsaved) as save,
            tqdm(total=len(texts), desc="encoding texts", unit="text", disable=not self.progress, leave=False) as bar,
        ):
            for start in range(0, len(pieces), batch_size):
                batch = pieces[start : start + batch_size]
                answers = self._run("text", [piece for _, _, piece in batch])
                for (n_tokens, key, _), row in zip(batch, answers, strict=True):
                    sums[key] = sums[key] + max(n_tokens, 1) * row.astype(np.float64)
                    weights[key] += max(n_tokens, 1)
                    left[key] -= 1
                    if left[key] == 0:
                        mean = sums.pop(key) / weights[key]
                        rows[key] = unsaved[key] = (_unit(mean) if unit_length else mean).astype(np.float32)
                        bar.update(1)
                save()
        return rows

    def _check_modality(self, modality: str) -> None:
        if modality not in self.modalities:
            takes = " and ".join({"image": "images", "report": "texts"}[m] for m in self.modalities)
            raise InputError(
                "modality",
                f"what {self!r} takes: {takes}",
                "images" if modality == "image" else "texts",
                "Choose an encoder for them.",
            )

    def _check_settings(self) -> None:
        if self.batch_size != "auto":
            check_int("batch_size", self.batch_size, 1, 100_000, "Use 'auto'.")
        if self.n_jobs is not None:
            check_int("n_jobs", self.n_jobs, -1, 1_000, "Use None for all cores.")
        if self.cache is not None and not isinstance(self.cache, (bool, str, Path)):
            raise InputError("cache", "True, False or a folder", repr(self.cache), "Use True.")
        for argument in ("allow_download", "progress"):
            if not isinstance(getattr(self, argument), bool):
                raise InputError(argument, "True or False", repr(getattr(self, argument)), "Use one of them.")

    # The model

    def _parts(self) -> Parts:
        """Return the loaded parts; they are loaded once, and again after a change of the settings."""
        torch = _need_torch(self)
        device = choose_device(torch, self.device)
        dtype = choose_precision(torch, self.mixed_precision, device)
        settings = (json.dumps(self._identity(), sort_keys=True), self.modalities, str(device), str(dtype))
        if getattr(self, "_loaded_with", None) != settings:
            self._loaded_parts = self._load(torch, device)
            self._loaded_with = settings
        return self._loaded_parts

    def _run(self, which: str, batch: Any) -> np.ndarray:
        """Return the rows of a batch, float32; where it does not fit a GPU's memory, it and later ones go in parts."""
        parts = self._loaded_parts
        found: list[np.ndarray] = []
        start = 0
        while start < len(batch):
            n = min(len(batch) - start, parts.most.get(which, len(batch)))
            rows = self._run_at_once(getattr(parts, which).apply, batch[start : start + n], last_try=n == 1)
            if rows is None:
                parts.most[which] = n // 2
            else:
                found.append(rows)
                start += n
        return np.concatenate(found)

    def _run_at_once(self, apply: Callable[[Any], Any], batch: Any, *, last_try: bool) -> np.ndarray | None:
        """Return the rows of a batch, float32, or None where it does not fit the memory of a GPU."""
        import torch

        device = self._loaded_parts.device
        dtype = choose_precision(torch, self.mixed_precision, device)
        half = contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)
        try:
            with torch.inference_mode(), half:
                answer = apply(batch)
        except torch.cuda.OutOfMemoryError:
            if last_try:
                raise
            torch.cuda.empty_cache()
            return None  # tried again outside of this clause, where nothing holds on to the tensors any more
        rows = answer.float().cpu().numpy() if isinstance(answer, torch.Tensor) else np.asarray(answer, np.float32)
        rows = rows.reshape(len(batch), -1)
        if not np.isfinite(rows).all():
            raise InputError(
                "mixed_precision" if dtype is not None else "model",
                "finite embeddings",
                "NaN or infinity",
                "Use mixed_precision=False." if dtype is not None else "Check the weights.",
            )
        return _unit(rows) if self._unit_length else rows

    def _batch_size(self, which: str, images: ImageSource | None = None, missing: Sequence[int] = ()) -> int:
        """Return how many samples go through the network at a time, so that their activations fit the memory."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        parts = self._loaded_parts
        part = getattr(parts, which)
        if which not in parts.batch_sizes:
            if images is None:
                one: Any = ["a " * part.max_tokens]  # it is cut to as many tokens as there can be
            else:
                readable = (_read(images, i, part) for i in missing[:20])
                found = next((row for row in readable if not isinstance(row, ImageReadError)), None)
                if found is None:
                    return 1
                one = found[0][None]
            parts.batch_sizes[which] = _fitting(
                which, ACTIVATIONS_ALIVE * self._largest_answer(which, one), parts.device
            )
        return parts.batch_sizes[which]

    def _largest_answer(self, which: str, one: Any) -> int:
        """Return the bytes of the largest tensor that a layer answers for one sample."""
        import torch

        largest = 0

        def note(_module: Any, _given: Any, answer: Any) -> None:
            nonlocal largest
            tensors = answer if isinstance(answer, (tuple, list)) else (answer,)
            for tensor in tensors:
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel() * tensor.element_size())

        hooks = [module.register_forward_hook(note) for module in self._loaded_parts.network.modules()]
        try:
            self._run(which, one)
        finally:
            for hook in hooks:
                hook.remove()
        return largest

    def _decoded(
        self, images: ImageSource, indices: Sequence[int], part: ImagePart, batch_size: int
    ) -> Iterator[tuple[Sequence[int], list[Any]]]:
        """Yield batches of what `_read` gives.

        For a GPU they are read in worker processes while the network is busy. A network on the CPU keeps all cores
        busy itself, and processes beside it make both slower: there, threads read (decoding releases the interpreter)
        and take turns with the network. Threads also read few images, and all where processes cannot be forked.
        Workers are forked, so that they start at once with all that is imported. Arrays come through a pipe: the shared
        memory of a container may hold less than one batch.
        """
        import torch

        batches = [indices[k : k + batch_size] for k in range(0, len(indices), batch_size)]
        n_jobs = self.n_jobs if self.n_jobs and self.n_jobs > 0 else min(cpu_count(), MOST_PROCESSES)
        forks = sys.platform == "linux" and not multiprocessing.current_process().daemon
        if not (_spares_the_cores(self._loaded_parts.device) and forks and len(indices) >= FEW):
            with ThreadPoolExecutor(n_jobs) as pool:
                for batch in batches:
                    yield batch, list(pool.map(lambda i: _read(images, i, part), batch))
            return
        loader: Any = torch.utils.data.DataLoader(
            _Batches(images, batches, part),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=min(n_jobs, len(batches)),
            prefetch_factor=2,
            multiprocessing_context="fork",
        )
        with warnings.catch_warnings():
            # Forking beside threads is what PyTorch's loaders do on Linux; the children only read and decode.
            warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
            decoded = iter(loader)
        yield from zip(batches, decoded, strict=True)

    # The cache

    def _cache_folder(self) -> Path | None:
        """Return where all that is kept lies, or None without a cache."""
        if self.cache is True:
            return cache_dir()
        return Path(self.cache).expanduser() if isinstance(self.cache, (str, Path)) else None

    def _store(self, modality: str) -> RowStore | None:
        """Return where embeddings of this modality are kept, or None without a cache."""
        folder = self._cache_folder()
        if folder is None:
            return None
        about = {
            "encoder": type(self).__name__,
            "modality": modality,
            "mixed_precision": str(self._precision_told()),
            **({"window": self._window} if modality == "image" else {"split": 1}),
            **self._identity(),
        }
        name = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=8).hexdigest()
        return RowStore(folder / EMBEDDINGS / f"{name}.sqlite", about)

    def _precision_told(self) -> Any:
        """Return False, or what autocast computes in, without loading torch where float32 is sure."""
        if self.mixed_precision is False:
            return False
        if self.mixed_precision == "auto" and (
            str(self.device) == "cpu" or (self.device == "auto" and _surely_no_gpu())
        ):
            return False
        torch = _need_torch(self)
        return choose_precision(torch, self.mixed_precision, choose_device(torch, self.device)) or False


class _Batches:
    """A data set of whole batches, for a loader that asks its workers for one after another."""

    def __init__(self, images: ImageSource, batches: Sequence[Sequence[int]], part: ImagePart) -> None:
        self.images, self.batches, self.part = images, batches, part

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, k: int) -> list[Any]:
        return [_read(self.images, i, self.part) for i in self.batches[k]]


def _read(images: ImageSource, index: int, part: ImagePart) -> tuple[np.ndarray, _Seen] | ImageReadError:
    try:
        image = images.read(index, max_side_px=part.max_side_px)
    except ImageReadError as error:
        return error
    some = image.pixels[::4, ::4]  # enough to tell whether anything is there
    seen = _Seen(image.bit_depth, max(image.width_px, image.height_px), float(some.std()))
    return part.prepare(image), seen


def _as_it_is(batch: list[Any]) -> list[Any]:
    return batch  # PyTorch's own would put arrays into shared memory


def as_grey(image: GrayImage) -> Image.Image:
    """Return grey values in [0, 1] as a PIL image of 8 bits; those of an 8-bit file are what they were in it."""
    grey = image.pixels * np.float32(255)
    np.rint(grey, out=grey)
    return Image.fromarray(grey.astype(np.uint8))


def has_words(tokenizer: Any) -> bool:
    """Return whether a tokenizer of transformers has a vocabulary; without its files some are made with none."""
    return len(tokenizer) > len(tokenizer.all_special_tokens)


def split_text(text: str, count: Callable[[str], int], max_tokens: int) -> list[str]:
    """Return the text, or parts of it of at most `max_tokens` tokens: whole sentences, or pieces of one too long."""
    if count(text) <= max_tokens:
        return [text]
    parts: list[str] = []
    for sentence in _SENTENCE.split(text):
        for piece in _halves(sentence.strip(), count, max_tokens):
            joined = f"{parts[-1]} {piece}" if parts else piece
            if parts and count(joined) <= max_tokens:
                parts[-1] = joined
            elif piece:
                parts.append(piece)
    return parts or [""]


def _halves(text: str, count: Callable[[str], int], max_tokens: int) -> list[str]:
    """Return the text, or halves of halves of it that are short enough, cut between words where there are any."""
    if len(text) < 2 or count(text) <= max_tokens:
        return [text]
    words, glue = (text.split(), " ") if len(text.split()) > 1 else (list(text), "")
    middle = len(words) // 2
    first, second = glue.join(words[:middle]), glue.join(words[middle:])
    return _halves(first, count, max_tokens) + _halves(second, count, max_tokens)


def _spares_the_cores(device: Any) -> bool:
    """Return whether a network on this device leaves the cores of the CPU to worker processes."""
    return device.type != "cpu"


def _fitting(which: str, n_bytes: int, device: Any) -> int:
    """Return the power of two of samples whose activations, `n_bytes` each, fit the memory of a device."""
    if device.type == "cuda":
        import torch

        budget, most = torch.cuda.mem_get_info(device)[0] // 2, 512
    elif device.type == "cpu":
        budget, most = min(MOST_BYTES[which], _free_bytes() // 4), MOST_AT_ONCE[which]
    else:
        budget, most = min(MOST_BYTES["text"], _free_bytes() // 4), 512
    return 2 ** int(np.log2(np.clip(budget / max(n_bytes, 1), 1, most)))


def _free_bytes() -> int:
    """Return the memory that programs can have, files kept in memory left out."""
    with contextlib.suppress(OSError, ValueError):
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text("utf-8"), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    return 4 * MOST_BYTES["text"]  # Windows and macOS do not say


def _kept(store: RowStore | None, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the rows that the store has; it is opened again when there are others to be kept."""
    if store is None:
        return {}
    with contextlib.closing(store):
        return store.get_many(keys)


class _Saving:
    """Keep rows in the store every few seconds and at the end, an interruption included."""

    def __init__(self, store: RowStore | None, unsaved: dict[str, np.ndarray]) -> None:
        self.store, self.unsaved, self.last = store, unsaved, time.monotonic()

    def __enter__(self) -> Callable[[], None]:
        return lambda: self._save() if time.monotonic() - self.last > KEEP_EVERY_S else None

    def __exit__(self, *_: Any) -> None:
        self._save()
        if self.store is not None:
            self.store.close()

    def _save(self) -> None:
        if self.store is not None:
            self.store.put_many(self.unsaved)
        self.unsaved.clear()
        self.last = time.monotonic()


def _unit(rows: np.ndarray) -> np.ndarray:
    """Return rows scaled to length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def _in_order(keys: Sequence[str], rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return a row for each key; those that are not there are the mean of the others."""
    if not keys:
        return np.zeros((0, 0), dtype=np.float32)
    length = len(next(iter(rows.values()))) if rows else 0
    embeddings = np.full((len(keys), length), np.nan, dtype=np.float32)
    for i, key in enumerate(keys):
        if key in rows:
            embeddings[i] = rows[key]
    bad = np.array([key not in rows for key in keys])
    if bad.any() and not bad.all():
        embeddings[bad] = embeddings[~bad].mean(axis=0)
    return embeddings


def _all_texts(given: Any) -> bool:
    return all(isinstance(text, str) for text in given)


def _surely_no_gpu() -> bool:
    """Return whether no GPU can be there, without asking torch, which takes seconds to load."""
    return sys.platform == "linux" and not any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg"))


def _need_torch(encoder: Any) -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError(type(encoder).__name__, "torch", "torch") from None
    return torch


def _warn_of_images(seen: Sequence[_Seen], side_px: int | None, window: str) -> None:
    n = len(seen)
    n_high = sum(one.bit_depth > 8 for one in seen)
    if n_high:
        _warn(
            f"image: expected 8-bit images, got {n_high:,} of {n:,} with more and no display window. Each is stretched "
            f"{_STRETCHED[window]}; export with the display window to encode what a reader saw."
        )
    n_flat = sum(one.spread < FLAT for one in seen)
    if n and n_flat > n / 10:
        _warn(
            f"image: expected grey values over most of their range, got {n_flat:,} of {n:,} images nearly without "
            "contrast. Look at some: they may be empty, or scaled by a larger depth than theirs."
        )
    n_small = 0 if side_px is None else sum(one.side_px * 2 < side_px for one in seen)
    if n and n_small > n / 10:
        _warn(
            f"image: expected images of about {side_px} pixels or more, which the network takes, got {n_small:,} of "
            f"{n:,} less than half as large. They are enlarged: fine detail that the network looks for is not there."
        )


def _warn_of_paths(texts: Sequence[str]) -> None:
    some = [text for text in texts[:200] if text]
    n_paths = sum(bool(re.fullmatch(r"\S+\.(png|jpe?g|dcm|dicom|tiff?|txt)", text, re.IGNORECASE)) for text in some)
    if some and n_paths > len(some) / 2:
        _warn("texts: expected reports or phrases, got what looks like paths of files. Give the texts themselves.")


def _warn_of_words(texts: Sequence[str], unknown_share: Callable[[str], float] | None) -> None:
    if unknown_share is None:
        return
    shares = [unknown_share(text) for text in texts if text.strip()]
    n_strange = sum(share > MANY_UNKNOWN for share in shares)
    if shares and n_strange > len(shares) / 10:
        _warn(
            f"texts: expected words that the network was trained on, got {n_strange:,} of {len(shares):,} texts with "
            f"more than {MANY_UNKNOWN:.0%} unknown words. Their embeddings mean little; use an encoder for such texts."
        )


def _warn(text: str) -> None:
    warnings.warn(text, AuditWarning, stacklevel=4)


@functools.lru_cache(maxsize=64)
def package_version(name: str) -> str:
    """Return the version of an installed package without importing it, or ""."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
