"""How fast the encoders are, beside a bare loop over the same network: decoding included, in one run.

The bare loop is what one writes without this package: open a file, apply the library's own transform, stack, run the
network, for the batch size that is best on this machine. Both sides run in one process with the same number of
PyTorch's threads, and take turns, so that what else the machine does hits both. Networks have the size of real ones and
random weights, on which time does not depend, so nothing is fetched. All is computed on the CPU.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from mmaudit._errors import InputError, MissingExtraError, check_keywords, nearest
from mmaudit.classifiers import load_classifier
from mmaudit.classifiers._classifier import Classifier
from mmaudit.classifiers._images import check_int, square
from mmaudit.classifiers._networks import build
from mmaudit.classifiers._torch import fast_layout, float_batch, need_torch, own_random, standardise
from mmaudit.datasets import load_phantom
from mmaudit.encoders._classifier import ClassifierEncoder
from mmaudit.encoders._open_clip import PHANTOM_CLIP, OpenCLIPEncoder
from mmaudit.encoders._pretrained import PretrainedEncoder
from mmaudit.encoders._transformers import TransformersEncoder, _own_progress
from mmaudit.encoders._xrv import XRVEncoder
from mmaudit.images import ImageFiles, read_image

__all__ = ["COLUMNS", "MODELS", "Model", "Throughput", "default_models", "measure_throughput"]

BATCH_SIZES = (1, 4, 16, 32)  # of the bare loop, from which its best is taken
N_TUNING = 16  # samples on which it is found, or one batch
N_WARM = 48  # samples that ours encodes before it is timed
N_HELD = 64  # samples that are encoded while memory is measured
# Largest difference between embeddings of the two sides. An untrained DenseNet gives numbers in the thousands, of which
# one step of float32 is 2e-4, and the last step depends on how many samples go through at a time.
ALIKE, ALIKE_SHARE = 1e-4, 1e-6
LOOK_EVERY_S = 0.03
SEED = 104_000  # of phantoms and weights
DRAWN_PX, N_DRAWN = 112, 16  # films are a few phantoms drawn small, enlarged, each with noise of its own
NOISE, JPEG_QUALITY = 6.0, 90
SEEN_PX, SEEN_SIDE_PX = 64, 32
COLUMNS = (
    *("model", "modality", "n_samples", "ours_per_s", "ours_one_job_per_s", "bare_per_s"),
    *("ratio", "ratio_low", "ratio_high", "batch_size", "bare_batch_size", "memory_mb", "bare_memory_mb"),
    "max_difference",
)


@dataclass(frozen=True)
class Model:
    """A network to time: `kind` says how it is made and run, `settings` how large it is, `packages` what it needs."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[tuple[str, str], ...] = ()  # (module, extra)

    @property
    def modality(self) -> str:
        """What it encodes: "image" or "report"."""
        return "report" if self.kind == "bert" else "image"


_CLIP, _HF, _XRV = ("open_clip", "clip"), ("transformers", "hf"), ("torchxrayvision", "xrv")

MODELS: dict[str, Model] = {
    # The text tower is small: only images are encoded.
    "clip-vit-b-32": Model(
        "open_clip",
        {
            "embed_dim": 512,
            "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
            "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1},
        },
        (_CLIP,),
    ),
    "vit-small-16": Model(
        "vit",
        {
            **{"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536},
            **{"image_size": 224, "patch_size": 16},
        },
        (_HF,),
    ),
    "xrv-densenet121": Model("xrv", {}, (_XRV,)),
    "small-cnn": Model("small_cnn", {"image_size": 224}),
    "bert-4-layers": Model(
        "bert",
        {
            **{"hidden_size": 768, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 3072},
            "max_position_embeddings": 512,
        },
        (_HF,),
    ),
    PHANTOM_CLIP: Model("packaged", {}, (_CLIP,)),
}


@dataclass(frozen=True)
class Throughput:
    """What was measured.

    Attributes
    ----------
    table : DataFrame, one row a model
        Columns as in `COLUMNS`. Samples a second are medians over the repeats, with one job those of one pass; `ratio`
        is ours to the bare loop, the median over the repeats, with the least and the greatest; memory is in 10^6
        bytes, NaN where it cannot be told.
    n_seen : int
        Images that were encoded before.
    seen_s : float
        Seconds that encoding them again took, by a new encoder, from the cache.
    n_threads : int
        Threads of PyTorch, the same on both sides.
    n_repeats : int
    """

    table: pd.DataFrame
    n_seen: int
    seen_s: float
    n_threads: int
    n_repeats: int

    def to_markdown(self) -> str:
        """Return the table and what it means."""
        heads = (
            *("model", "samples", "ours, a second", "with n_jobs=1", "bare loop, a second", "ours : bare (range)"),
            *("batch: ours, bare", "memory, MB: ours, bare"),
        )
        lines = ["| " + " | ".join(heads) + " |", "| --- |" + " ---: |" * (len(heads) - 1)]
        for row in self.table.itertuples():
            kind = "films" if row.modality == "image" else "reports"
            cells = (
                *(row.model, f"{row.n_samples:,} {kind}", f"{row.ours_per_s:.1f}", f"{row.ours_one_job_per_s:.1f}"),
                *(f"{row.bare_per_s:.1f}", f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"),
                *(f"{row.batch_size}, {row.bare_batch_size}", f"{_shown(row.memory_mb)}, {_shown(row.bare_memory_mb)}"),
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        told = (
            f"On the CPU, {self.n_threads} threads of PyTorch on both sides; films are JPEG files, decoded by both. "
            f"Medians of {self.n_repeats} repeats, in which ours and the bare loop took turns; each ratio is within a "
            "repeat. With n_jobs=1 ours ran once. Loading, the choice of the batch size and a first pass are not "
            "counted on either side. Memory is the largest that encoding took beyond the loaded network, in a fresh "
            "process for each side. Embeddings of both sides differed by at most "
            f"{self.table['max_difference'].max():.0e} (at most 1e-4, or 1e-6 of the largest number)."
        )
        seen = (
            f"Encoding {self.n_seen:,} images of {SEEN_PX} pixels again, from the cache by a new encoder: "
            f"{self.seen_s:.1f} s."
        )
        return "\n".join([*lines, "", told, "", seen]) + "\n"


def default_models() -> dict[str, Model]:
    """Return those of `MODELS` whose packages are installed and that are there."""
    return {name: model for name, model in MODELS.items() if not _missing(model) and _is_there(model)}


@check_keywords
def measure_throughput(
    models: Mapping[str, Model] | None = None,
    *,
    n_images: int = 96,
    side_px: int = 1024,
    repeats: int = 3,
    images: str | Path | None = None,
    n_seen: int = 10_000,
    progress: bool = False,
) -> Throughput:
    """Time encoders beside bare loops over the same networks.

    Parameters
    ----------
    models : mapping of names to Model, or None
        None: `default_models()`.
    n_images : int
        Films, or reports for a model of text, that are encoded in each repeat, at least 8.
    side_px : int
        Width and height of the films, 64 to 4096.
    repeats : int
        How often each side encodes all of them.
    images : path or None
        A folder with grey JPEG files to use instead, at any depth; the first `n_images` by path. None: films are made.
    n_seen : int
        Images that are encoded twice, the second time from the cache, at least 8.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    InputError
        A number out of range, a folder with too few JPEG files, or sides whose embeddings differ by more than 1e-4, or
        by more than 1e-6 of the largest number.
    MissingExtraError
        A package that a model needs is not installed.

    Notes
    -----
    Memory is the peak, over looks every 0.03 s, of the summed proportional set sizes of a process and those it starts,
    less the same after loading: a page that several of them share counts once. It can be told on Linux only. Shorter
    peaks can be missed.
    """
    torch = need_torch("the benchmark of encoders")
    check_int("n_images", n_images, 8, 1_000_000)
    check_int("side_px", side_px, 64, 4096)
    check_int("repeats", repeats, 1, 1000)
    check_int("n_seen", n_seen, 8, 10_000_000)
    chosen = default_models() if models is None else dict(models)
    for model in chosen.values():
        for package, extra in _missing(model):
            raise MissingExtraError("this model of the benchmark", package, extra)
    given = None if images is None else _jpegs(Path(images).expanduser(), n_images)
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="mmaudit-") as temporary,
        _own_cache(Path(temporary, "cache")),
        tqdm(total=2 + len(chosen) * (4 + repeats), disable=not progress, leave=False, unit="step") as bar,
    ):
        folder = Path(temporary)

        def step(what: str) -> None:
            bar.update(1)
            bar.set_description(what)

        bar.set_description("making films")
        phantoms = load_phantom(n_images // 2 + 8, image_size=DRAWN_PX, random_state=SEED, cache=False)
        if given is None and any(model.modality == "image" for model in chosen.values()):
            given = _write_films(folder / "films", phantoms, n_images, side_px)
        reports = [str(text) for text in dict.fromkeys(np.asarray(phantoms.reports))][:n_images]
        for name, model in chosen.items():
            step(f"{name}: making the model")
            items: list[Any] = reports if model.modality == "report" else given or []
            where = folder / name
            with own_random(torch, torch.device("cpu")):
                torch.manual_seed(SEED)
                _MAKERS[model.kind](where, model.settings, reports)
            rows.append(
                {"model": name, "modality": model.modality, **_compare(model, where, items, repeats, name, step)}
            )
        step("encoding from the cache")
        seen_s = _seen_again(folder / "seen", phantoms, n_seen)
    return Throughput(pd.DataFrame(rows, columns=list(COLUMNS)), n_seen, seen_s, torch.get_num_threads(), repeats)


# The two sides


class Bare(NamedTuple):
    """The bare loop: `load` opens one item and prepares it, `apply` makes rows of a list of such."""

    load: Callable[[Any], Any]
    apply: Callable[[list[Any]], Any]

    def encode(self, items: Sequence[Any], batch_size: int) -> np.ndarray:
        """Return the embeddings of files or texts."""
        import torch

        rows = []
        with torch.inference_mode():
            for start in range(0, len(items), batch_size):
                batch = [self.load(item) for item in items[start : start + batch_size]]
                rows.append(self.apply(batch).float().numpy())
        return np.concatenate(rows)


def _compare(
    model: Model, folder: Path, items: Sequence[Any], repeats: int, name: str, step: Callable[[str], None]
) -> dict[str, Any]:
    """Return what the table says of one model."""
    step(f"{name}: choosing a batch size")
    encoder = _ENCODERS[model.kind](folder)
    bare = _bare(model, folder, encoder)
    _encode(encoder, items[:N_WARM])
    bare.encode(items[: BATCH_SIZES[-1]], BATCH_SIZES[-1])
    best = min(BATCH_SIZES, key=lambda size: _seconds_each(bare, items[: max(size, N_TUNING)], size))
    taken: dict[str, list[float]] = {"ours": [], "bare": []}
    for repeat in range(repeats):
        step(f"{name}: repeat {repeat + 1}")
        rows = {}
        for side in ("ours", "bare") if repeat % 2 == 0 else ("bare", "ours"):
            start = time.perf_counter()
            rows[side] = _encode(encoder, items) if side == "ours" else bare.encode(items, best)
            taken[side].append(time.perf_counter() - start)
        same_shape = rows["ours"].shape == rows["bare"].shape
        difference = float(np.abs(rows["ours"] - rows["bare"]).max()) if same_shape else np.inf
        allowed = max(ALIKE, ALIKE_SHARE * float(np.abs(rows["bare"]).max()))
        if not difference <= allowed:
            raise InputError(
                "models",
                f"embeddings of both sides that differ by at most {allowed:.2g}",
                f"{difference:.2g} for {name}",
                "The times would not compare. Of your own images use grey JPEG files of 8 bits.",
            )
    start = time.perf_counter()
    _encode(encoder.set_params(n_jobs=1), items)
    taken["one job"] = [time.perf_counter() - start]
    batch_size = encoder._parts().batch_sizes["text" if model.modality == "report" else "image"]
    step(f"{name}: memory")
    memory = _memory_mb(model, folder, items[:N_HELD], None)
    step(f"{name}: memory of the bare loop")
    bare_memory = _memory_mb(model, folder, items[:N_HELD], best)
    ratios = np.array(taken["bare"]) / np.array(taken["ours"])
    speed = {side: len(items) / float(np.median(seconds)) for side, seconds in taken.items()}
    return {
        "n_samples": len(items),
        "ours_per_s": speed["ours"],
        "ours_one_job_per_s": speed["one job"],
        "bare_per_s": speed["bare"],
        "ratio": float(np.median(ratios)),
        "ratio_low": ratios.min(),
        "ratio_high": ratios.max(),
        "batch_size": batch_size,
        "bare_batch_size": best,
        "memory_mb": memory,
        "bare_memory_mb": bare_memory,
        "max_difference": difference,
    }


def _encode(encoder: PretrainedEncoder, items: Sequence[Any]) -> np.ndarray:
    if items and isinstance(items[0], Path):
        return encoder.encode_images(ImageFiles([str(path) for path in items]))
    return encoder.encode_texts(list(items))


def _seconds_each(bare: Bare, items: Sequence[Any], batch_size: int) -> float:
    start = time.perf_counter()
    bare.encode(items, batch_size)
    return (time.perf_counter() - start) / len(items)


def _bare(model: Model, folder: Path, encoder: PretrainedEncoder) -> Bare:
    """Return the loop over the network that the encoder has loaded."""
    import torch

    network = encoder._parts().network
    if model.kind in ("open_clip", "packaged"):
        import open_clip

        settings = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(network))
        transform = open_clip.transform.image_transform_v2(settings, is_train=False)
        return Bare(
            lambda path: transform(Image.open(path)),
            lambda batch: network.encode_image(torch.stack(batch), normalize=True),
        )
    if model.kind == "vit":
        import transformers

        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        return Bare(
            lambda path: Image.open(path).convert("RGB"),
            lambda batch: network(**processor(images=batch, return_tensors="pt")).last_hidden_state[:, 0],
        )
    if model.kind == "xrv":
        import torchxrayvision as xrv

        crop, resize = xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224)

        def load(path: Path) -> Any:
            grey = np.asarray(Image.open(path).convert("L"))
            return torch.from_numpy(resize(crop(xrv.datasets.normalize(grey, 255)[None])))

        return Bare(load, lambda batch: network.features2(torch.stack(batch)))
    if model.kind == "small_cnn":
        side_px, cpu = model.settings["image_size"], torch.device("cpu")
        headless = copy.deepcopy(network).eval()
        headless.head = torch.nn.Identity()
        return Bare(
            lambda path: square(read_image(path, max_side_px=side_px).pixels, side_px),
            lambda batch: headless(fast_layout(torch, standardise(float_batch(torch, np.stack(batch), cpu)), cpu)),
        )
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def mean_of_tokens(texts: list[str]) -> Any:
        given = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        there = given["attention_mask"].unsqueeze(-1)
        return (network(**given).last_hidden_state * there).sum(1) / there.sum(1)

    return Bare(lambda text: text, mean_of_tokens)


# Models of real size with random weights, saved as their libraries save them


def _make_open_clip(folder: Path, settings: Mapping[str, Any], reports: Sequence[str]) -> None:
    import json

    import open_clip
    from safetensors.torch import save_file

    folder.mkdir()
    side_px = settings["vision_cfg"]["image_size"]
    prepare: dict[str, Any] = {"size": [side_px, side_px], "mean": list(open_clip.OPENAI_DATASET_MEAN)}
    prepare |= {"std": list(open_clip.OPENAI_DATASET_STD), "interpolation": "bicubic"}
    told = {"model_cfg": dict(settings), "preprocess_cfg": prepare}
    (folder / "open_clip_config.json").write_text(json.dumps(told), encoding="utf-8")
    save_file(open_clip.model.CLIP(**settings).state_dict(), folder / "open_clip_model.safetensors")


def _make_vit(folder: Path, settings: Mapping[str, Any], reports: Sequence[str]) -> None:
    import transformers

    side_px = settings["image_size"]
    with _own_progress(transformers, False):
        transformers.ViTModel(transformers.ViTConfig(**settings)).save_pretrained(folder)
    transformers.BitImageProcessor(
        size={"shortest_edge": round(side_px * 256 / 224)},
        crop_size={"height": side_px, "width": side_px},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    ).save_pretrained(folder)


def _make_xrv(folder: Path, settings: Mapping[str, Any], reports: Sequence[str]) -> None:
    import torchxrayvision
    from safetensors.torch import save_file

    folder.mkdir()
    save_file(torchxrayvision.models.DenseNet(num_classes=18).state_dict(), folder / "weights.safetensors")


def _make_small_cnn(folder: Path, settings: Mapping[str, Any], reports: Sequence[str]) -> None:
    import torch

    folder.mkdir()
    config = {"architecture": "small_cnn", "labels": ["label"], "image_size": settings["image_size"]}
    network = Classifier(build("small_cnn", 1), config=config, history=[], device=torch.device("cpu"))
    network.save(folder / "classifier.safetensors")


def _make_bert(folder: Path, settings: Mapping[str, Any], reports: Sequence[str]) -> None:
    import tokenizers
    import transformers

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.BertNormalizer()
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=5000, special_tokens=list(special.values()), show_progress=False
    )
    made.train_from_iterator(reports, trainer)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(word, made.token_to_id(word)) for word in ("[CLS]", "[SEP]")]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=settings["max_position_embeddings"], **special
    )
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(vocab_size=made.get_vocab_size(), pad_token_id=0, **settings)
    with _own_progress(transformers, False):
        transformers.BertModel(config).save_pretrained(folder)


_MAKERS: dict[str, Callable[[Path, Mapping[str, Any], Sequence[str]], None]] = {
    "open_clip": _make_open_clip,
    "packaged": lambda folder, settings, reports: None,
    "vit": _make_vit,
    "xrv": _make_xrv,
    "small_cnn": _make_small_cnn,
    "bert": _make_bert,
}
_PLAIN: dict[str, Any] = {"cache": False, "device": "cpu", "mixed_precision": False}
_ENCODERS: dict[str, Callable[[Path], PretrainedEncoder]] = {
    "open_clip": lambda folder: OpenCLIPEncoder(folder, **_PLAIN),
    "packaged": lambda folder: OpenCLIPEncoder(PHANTOM_CLIP, **_PLAIN),
    "vit": lambda folder: TransformersEncoder(folder, **_PLAIN),
    "xrv": lambda folder: XRVEncoder(folder / "weights.safetensors", **_PLAIN),
    "small_cnn": lambda folder: ClassifierEncoder(
        load_classifier(folder / "classifier.safetensors", device="cpu"), cache=False
    ),
    "bert": lambda folder: TransformersEncoder(folder, **_PLAIN),
}


def _missing(model: Model) -> list[tuple[str, str]]:
    return [(package, extra) for package, extra in model.packages if importlib.util.find_spec(package) is None]


def _is_there(model: Model) -> bool:
    return model.kind != "packaged" or any(Path(__file__).with_name("phantom_clip").glob("*.safetensors"))


def models_named(names: Sequence[str]) -> dict[str, Model]:
    """Return models of `MODELS` by their names."""
    for name in names:
        if name not in MODELS or not _is_there(MODELS[name]):
            there = [known for known, model in MODELS.items() if _is_there(model)]
            raise InputError("models", f"some of {', '.join(there)}", repr(name), f"Choose one.{nearest(name, there)}")
    return {name: MODELS[name] for name in names}


# What is encoded


def _jpegs(folder: Path, n: int) -> list[Path]:
    if not folder.is_dir():
        raise InputError("images", "an existing folder", "one that does not exist", "Check the path.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg") and p.is_file())
    if len(found) < 8:
        raise InputError("images", "a folder with at least 8 JPEG files", f"{len(found)}", "Choose another folder.")
    return found[:n]


def _write_films(folder: Path, phantoms: Any, n: int, side_px: int) -> list[Path]:
    """Write grey JPEG films: phantoms enlarged, each with noise of its own, as large as real ones to decode."""
    folder.mkdir()
    random = np.random.default_rng(SEED)
    chosen = np.linspace(0, phantoms.n_samples - 1, min(N_DRAWN, n)).astype(int)
    drawn = [Image.fromarray(np.rint(255 * phantoms.images.read(i).pixels).astype(np.uint8)) for i in chosen]
    enlarged = [np.asarray(film.resize((side_px, side_px), Image.Resampling.BICUBIC), np.float32) for film in drawn]
    paths = [folder / f"{k:06d}.jpg" for k in range(n)]
    for k, path in enumerate(paths):
        noise = random.standard_normal((side_px, side_px), dtype=np.float32)
        pixels = np.clip(enlarged[k % len(enlarged)] + NOISE * noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=JPEG_QUALITY)
    return paths


def _seen_again(folder: Path, phantoms: Any, n: int) -> float:
    """Return the seconds for n small images that were encoded before, by an encoder that is loaded anew."""
    folder.mkdir()
    files = _write_films(folder / "films", phantoms, n, SEEN_PX)
    _make_small_cnn(folder / "model", {"image_size": SEEN_SIDE_PX}, ())
    before = time.time() - 60
    for path in files:
        os.utime(path, (before, before))  # digests of files changed in the last 2 seconds are not kept
    images = ImageFiles([str(path) for path in files])
    rows = []
    for _ in range(2):
        classifier = load_classifier(folder / "model" / "classifier.safetensors", device="cpu")
        encoder = ClassifierEncoder(classifier, cache=folder / "kept")
        start = time.perf_counter()
        embeddings = encoder.encode_images(images)
        seconds = time.perf_counter() - start
        rows.append(embeddings)
    if not np.array_equal(rows[0], rows[1]):
        raise RuntimeError("embeddings from the cache are not those that were kept")
    return seconds


@contextlib.contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Leave the user's cache alone."""
    before = os.environ.get("MMAUDIT_CACHE")
    os.environ["MMAUDIT_CACHE"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MMAUDIT_CACHE"]
        else:
            os.environ["MMAUDIT_CACHE"] = before


# Memory


def _memory_mb(model: Model, folder: Path, items: Sequence[Any], batch_size: int | None) -> float:
    """Return the memory that encoding takes beyond the loaded network; `batch_size` is the bare loop's, None: ours."""
    if sys.platform != "linux":
        return float("nan")
    fresh = multiprocessing.get_context("spawn")
    ours, theirs = fresh.Pipe()
    process = fresh.Process(target=_hold, args=(theirs, model, folder, items, batch_size))
    process.start()
    theirs.close()
    try:
        ours.recv()  # loaded
        assert process.pid is not None
        loaded = peak = _held_bytes(process.pid)
        ours.send("begin")
        while not ours.poll(LOOK_EVERY_S):
            peak = max(peak, _held_bytes(process.pid))
        ours.recv()  # done
        ours.send("end")
        process.join()
    except EOFError:
        raise RuntimeError("the process whose memory is measured ended early") from None
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
        ours.close()
    return (peak - loaded) / 1e6


def _hold(pipe: Any, model: Model, folder: Path, items: Sequence[Any], batch_size: int | None) -> None:
    """Load, say so, encode when told, say so: what the measured process does."""
    encoder = _ENCODERS[model.kind](folder)
    bare = _bare(model, folder, encoder)
    pipe.send("loaded")
    pipe.recv()
    if batch_size is None:
        _encode(encoder, items)
    else:
        bare.encode(items, batch_size)
    pipe.send("done")
    pipe.recv()


def _held_bytes(pid: int) -> int:
    """Return the proportional set size of a process and all below it; 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
        held = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
        below = [
            child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except (OSError, StopIteration):
        return 0
    return held + sum(_held_bytes(int(child)) for child in below)


def _shown(megabytes: float) -> str:
    return "?" if np.isnan(megabytes) else f"{megabytes:,.0f}"
