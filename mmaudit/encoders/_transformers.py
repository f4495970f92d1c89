"""Models of transformers: of text, of images, or of both in one space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmaudit._errors import InputError, MissingExtraError, nearest
from mmaudit.encoders._hub import Located, locate, offline, shown_name
from mmaudit.encoders._pretrained import (
    ImagePart,
    Parts,
    PretrainedEncoder,
    TextPart,
    as_grey,
    has_words,
    package_version,
)
from mmaudit.images import GrayImage

__all__ = ["TransformersEncoder"]

POOLINGS = ("auto", "cls", "mean", "max", "pooler")
MODALITIES = ("auto", "image", "report")
MIN_MAX = ("rad-dino",)  # models trained on films stretched from their least to their largest grey value
# Modules of sentence-transformers that are understood: the model, how its tokens are pooled, and unit length.
_SENTENCE_MODULES = ("Transformer", "Pooling", "Normalize")
_OLD_POOLINGS = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "max": "pooling_mode_max_tokens"}


class TransformersEncoder(PretrainedEncoder):
    """Embeddings by a model of transformers: a text model, a vision model, or one of both in a joint space.

    Parameters
    ----------
    model : str or path
        A folder, or a name on the Hugging Face hub. Text: "emilyalsentzer/Bio_ClinicalBERT",
        "microsoft/BiomedVLP-CXR-BERT-general", a folder of sentence-transformers. Vision: "microsoft/rad-dino",
        "facebook/dinov2-base". Both: "google/medsiglip-448", "google/siglip-base-patch16-224", CLIP.
    pooling : {"auto", "cls", "mean", "max", "pooler"}
        How the tokens of a text or the patches of an image become one row: "cls" takes the first token, "mean" and
        "max" all tokens of a text or all patches of an image, "pooler" the model's own pooled output. "auto": a folder
        of sentence-transformers as it says; other text models the mean; vision models the first token where they have
        one, else their own. Models of both always give their projection to the joint space.
    modality : {"auto", "image", "report"}
        Which tower of a model of both is meant where a method does not tell. "auto": both.
    window : {"auto", "percentiles", "minmax", "full"}
        How grey values of images with more than 8 bits and no display window become [0, 1]; see
        `mmaudit.images.with_window`. "auto": "minmax" for RAD-DINO, as it was trained; else "percentiles".
    trust_remote_code : bool
        Whether code from the model's repository may run; some models, such as
        "microsoft/BiomedVLP-CXR-BERT-specialized", need it. False: they raise.
    revision : str or None
        Commit on the hub. None: the one this package was written for where it knows one, else what is called main.
    device : {"auto", "cpu", "cuda", "mps"} or such as "cuda:1"
        Where it computes. "auto": a GPU where there is one.
    mixed_precision : {"auto", True, False}
        Half precision. "auto": on a CUDA GPU.
    batch_size : int or "auto"
        Samples that go through the network at a time. "auto": as many as fit the memory, on a CPU at most 16
        images or 32 texts.
    n_jobs : int or None
        Threads that read images; for a GPU, processes. None: all cores, 8 at most.
    cache : bool or path
        Whether embeddings are kept, by model and by content of each image or text. True: in the
        folder that `mmaudit.cache.cache_dir()` names.
    allow_download : bool
        Whether a model that is not on this machine is fetched. False: an error says how to fetch it.
    progress : bool
        Show progress bars on standard error.

    Notes
    -----
    Images are prepared by the model's own image processor, in three channels. A text of more tokens than the model
    takes is split between sentences, and the parts are averaged by their number of tokens. Rows of models of both, and
    of sentence-transformers that say so, have length 1.

    References
    ----------
    Wolf et al., "Transformers: state-of-the-art natural language processing", 2020, doi:10.18653/v1/2020.emnlp-demos.6.
    Reimers and Gurevych, Sentence-BERT, 2019, doi:10.18653/v1/D19-1410. Perez-Garcia et al., RAD-DINO, 2025,
    doi:10.1038/s42256-024-00965-w. Boecking et al., CXR-BERT, 2022, arXiv:2204.09817.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        pooling: str = "auto",
        modality: str = "auto",
        window: str = "auto",
        trust_remote_code: bool = False,
        revision: str | None = None,
        device: str = "auto",
        mixed_precision: bool | str = "auto",
        batch_size: int | str = "auto",
        n_jobs: int | None = None,
        cache: bool | str | Path = True,
        allow_download: bool = False,
        progress: bool = False,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.modality = modality
        self.window = window
        self.trust_remote_code = trust_remote_code
        self.revision = revision
        self.device = device
        self.mixed_precision = mixed_precision
        self.batch_size = batch_size
        self.n_jobs = n_jobs
        self.cache = cache
        self.allow_download = allow_download
        self.progress = progress

    @property
    def modalities(self) -> tuple[str, ...]:
        """What the model's configuration says: images, reports, or both."""
        towers = _towers(_config(self._where().folder))
        if self.modality == "auto":
            return towers
        if self.modality not in towers:
            raise InputError(
                "modality", f"what the model takes ({', '.join(towers)})", repr(self.modality), "Use 'auto'."
            )
        return (self.modality,)

    @property
    def _unit_length(self) -> bool:  # type: ignore[override]
        folder = self._where().folder
        return _is_joint(_config(folder)) or "Normalize" in _sentence_modules(folder)

    @property
    def _window(self) -> str:  # type: ignore[override]
        if self.window != "auto":
            return self.window
        return "minmax" if any(name in str(self.model).lower() for name in MIN_MAX) else "percentiles"

    def _where(self) -> Located:
        for argument, choices in (("pooling", POOLINGS), ("modality", MODALITIES)):
            value = getattr(self, argument)
            if value not in choices:
                raise InputError(
                    argument,
                    f"one of {', '.join(choices)}",
                    repr(value),
                    f"Use 'auto'.{nearest(str(value), choices)}",
                )
        settings = (str(self.model), self.revision, self.allow_download)
        if getattr(self, "_loaded_from", (None,))[0] != settings:
            self._loaded_from = (settings, self._locate())
        return self._loaded_from[1]

    def _locate(self) -> Located:
        keep = self._cache_folder()
        return locate("model", self.model, self.revision, allow_download=self.allow_download, extra="hf", keep=keep)

    def _identity(self) -> dict[str, Any]:
        return {
            "model": shown_name(self.model),
            "revision": self._locate().revision,  # a folder may hold other files than when it was first seen
            "pooling": self.pooling,
            "libraries": f"transformers {package_version('transformers')}",
        }

    def _load(self, torch: Any, device: Any) -> Parts:
        try:
            import transformers
        except ImportError:
            raise MissingExtraError("TransformersEncoder", "transformers", "hf") from None
        folder = self._where().folder
        how = {"local_files_only": True, "trust_remote_code": self.trust_remote_code}
        with offline(self.allow_download), _own_progress(transformers, self.progress):
            network = self._network(transformers, folder, how).to(device).eval()
            image = self._image_part(torch, transformers, network, folder, how) if "image" in self.modalities else None
            text = self._text_part(torch, transformers, network, folder, how) if "report" in self.modalities else None
        return Parts(network, device, image, text)

    def _network(self, transformers: Any, folder: Path, how: dict) -> Any:
        try:
            return transformers.AutoModel.from_pretrained(folder, **how).float()
        except Exception as error:  # configurations, tensors and code can each be wrong in ways of their own
            if "auto_map" in _config(folder) and not self.trust_remote_code:
                raise InputError(
                    "trust_remote_code",
                    "True for a model that comes with code of its own",
                    "False",
                    "Read that code, then pass trust_remote_code=True.",
                ) from error
            raise InputError(
                "model",
                "a model that transformers can load",
                f"one that it cannot ({type(error).__name__})",
                f"transformers says: {str(error)[:300]}",
            ) from error

    def _image_part(self, torch: Any, transformers: Any, network: Any, folder: Path, how: dict) -> ImagePart:
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(folder, **how)
        except Exception as error:
            raise InputError(
                "model",
                "a vision model with preprocessor_config.json",
                f"one whose image processor cannot be loaded ({type(error).__name__})",
                "Save the processor beside the model. It needs torchvision.",
            ) from error
        device = next(network.parameters()).device
        joint = _is_joint(_config(folder))

        def prepare(image: GrayImage) -> np.ndarray:
            rgb = as_grey(image).convert("RGB")
            return np.asarray(processor(images=rgb, return_tensors="pt")["pixel_values"][0], np.float32)

        def apply(batch: np.ndarray) -> Any:
            pixels = torch.from_numpy(batch).to(device)
            if joint:
                return _projection(network.get_image_features(pixel_values=pixels))
            return _pool_patches(network, network(pixel_values=pixels), self.pooling)

        size = _config(folder).get("image_size") or _config(folder).get("vision_config", {}).get("image_size")
        side_px = max(size) if isinstance(size, (list, tuple)) else size
        return ImagePart(prepare, apply, side_px)

    def _text_part(self, torch: Any, transformers: Any, network: Any, folder: Path, how: dict) -> TextPart:
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **how)
            problem = None if has_words(tokenizer) else "is empty"
        except Exception as error:
            problem = f"cannot be loaded ({type(error).__name__})"
        if problem is not None:
            raise InputError(
                "model",
                "a text model with its tokenizer",
                f"one whose tokenizer {problem}",
                "Save the tokenizer beside the model.",
            )
        device = next(network.parameters()).device
        config = _config(folder)
        joint = _is_joint(config)
        pooling = _text_pooling(folder) if self.pooling == "auto" else self.pooling
        max_tokens = _max_tokens(folder, config, tokenizer)
        # A joint model's tower was trained on texts padded to its whole length, often without a mask.
        padding = "max_length" if joint else True

        def apply(texts: list[str]) -> Any:
            given = tokenizer(texts, padding=padding, truncation=True, max_length=max_tokens, return_tensors="pt")
            given = given.to(device)
            if joint:
                return _projection(network.get_text_features(**given))
            return _pool_tokens(torch, network(**given), given["attention_mask"], pooling)

        return TextPart(
            apply, lambda text: len(tokenizer(text, verbose=False)["input_ids"]), max_tokens, _unknown_share(tokenizer)
        )


@contextmanager
def _own_progress(transformers: Any, progress: bool) -> Iterator[None]:
    """Keep transformers from showing bars that nobody asked for."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    if not progress:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        if not isinstance(config, dict) or not isinstance(config.get("text_config", {}), dict):
            raise TypeError
        return config
    except FileNotFoundError:
        raise InputError(
            "model",
            "a model of transformers, with config.json",
            "a folder without that file",
            "For models of open_clip use OpenCLIPEncoder.",
        ) from None
    except (ValueError, OSError, TypeError, RecursionError):
        raise InputError("model", "a whole config.json", "one that is damaged", "Copy the model again.") from None


def _is_joint(config: dict[str, Any]) -> bool:
    return "vision_config" in config and "text_config" in config


def _towers(config: dict[str, Any]) -> tuple[str, ...]:
    if _is_joint(config):
        return ("image", "report")
    seen = "image_size" in config or "num_channels" in config or "vision" in str(config.get("model_type", ""))
    return ("image",) if seen else ("report",)


def _projection(answer: Any) -> Any:
    """Return the projected features, which newer versions of transformers give inside an output object."""
    return getattr(answer, "pooler_output", answer)


def _pool_patches(network: Any, answer: Any, pooling: str) -> Any:
    hidden = answer.last_hidden_state
    pooled = getattr(answer, "pooler_output", None)
    if hidden.ndim == 4:  # a convolutional network: (n, channels, height, width)
        if pooling == "cls":
            raise InputError("pooling", "'mean', 'max' or 'pooler' for this network", "'cls'", "Use 'auto'.")
        if pooling == "max":
            return hidden.amax((2, 3))
        return hidden.mean((2, 3)) if pooling == "mean" or pooled is None else pooled.flatten(1)
    n_first = int(_has_first_token(network)) and 1 + int(getattr(network.config, "num_register_tokens", 0) or 0)
    if pooling == "auto":
        pooling = "cls" if n_first else "mean" if pooled is None else "pooler"
    if pooling == "cls":
        if not n_first:
            raise InputError(
                "pooling", "'mean', 'max' or 'pooler' for a model without a first token", "'cls'", "Use 'auto'."
            )
        return hidden[:, 0]
    if pooling == "pooler":
        if pooled is None:
            raise InputError("pooling", "another than 'pooler' for a model without one", "'pooler'", "Use 'auto'.")
        return pooled
    patches = hidden[:, n_first:]
    return patches.mean(1) if pooling == "mean" else patches.amax(1)


def _has_first_token(network: Any) -> bool:
    return any(name.endswith(("cls_token", "class_embedding")) for name, _ in network.named_parameters())


def _pool_tokens(torch: Any, answer: Any, mask: Any, pooling: str) -> Any:
    hidden = answer.last_hidden_state
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "pooler":
        pooled = getattr(answer, "pooler_output", None)
        if pooled is None:
            raise InputError("pooling", "another than 'pooler' for a model without one", "'pooler'", "Use 'auto'.")
        return pooled
    there = mask.unsqueeze(-1).bool()
    if pooling == "max":
        return hidden.masked_fill(~there, -torch.inf).amax(1)
    return (hidden * there).sum(1) / there.sum(1).clamp(min=1)


def _sentence_modules(folder: Path) -> list[str]:
    """Return the kinds of modules of a folder of sentence-transformers; [] for any other."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    modules = [str(module.get("type")).rpartition(".")[2] for module in _objects(path)]
    strange = [module for module in modules if module not in _SENTENCE_MODULES]
    if strange:
        raise InputError(
            "model",
            f"sentence-transformers of {', '.join(_SENTENCE_MODULES)}",
            f"one with {strange[0]}",
            "Encode with that package and pass embeddings= to AuditData.from_frame.",
        )
    return modules


def _objects(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON file, which holds a list of them or one."""
    try:
        told = json.loads(path.read_text("utf-8"))
        objects = told if isinstance(told, list) else [told]
        if not objects or not all(isinstance(each, dict) for each in objects):
            raise TypeError
        return objects
    except (ValueError, OSError, TypeError, RecursionError):
        raise InputError("model", f"a whole {path.name}", "one that is damaged", "Copy the model again.") from None


def _whole(number: Any) -> int | None:
    """Return a whole number that a configuration gives; None where it gives none."""
    return number if type(number) is int else None


def _text_pooling(folder: Path) -> str:
    if "Pooling" not in _sentence_modules(folder):
        return "mean"
    where = next(str(m.get("path")) for m in _objects(folder / "modules.json") if "Pooling" in str(m.get("type")))
    if Path(where).name != where or where == "..":
        raise InputError("model", "modules in folders of its own", "a name that leads elsewhere", "Do not trust it.")
    told = _objects(folder / where / "config.json")[0]
    mode = told.get("pooling_mode")
    chosen = [mode] if isinstance(mode, str) else [name for name, key in _OLD_POOLINGS.items() if told.get(key)]
    if len(chosen) != 1 or chosen[0] not in _OLD_POOLINGS:
        raise InputError("pooling", "one of cls, mean, max in 1_Pooling/config.json", f"{chosen}", "Name the pooling.")
    return chosen[0]


def _max_tokens(folder: Path, config: dict[str, Any], tokenizer: Any) -> int:
    """Return the most tokens that a text may have, special ones included."""
    text = config.get("text_config", config)
    limits = [int(tokenizer.model_max_length)]
    positions = _whole(text.get("max_position_embeddings"))
    if positions:
        # RoBERTa and its kind number positions from behind the padding's.
        offset = (_whole(text.get("pad_token_id", 1)) or 0) + 1 if "roberta" in str(text.get("model_type", "")) else 0
        limits.append(int(positions) - offset)
    told = folder / "sentence_bert_config.json"
    if told.is_file():
        limits.append(_whole(_objects(told)[0].get("max_seq_length")) or limits[0])
    longest = min(limits)
    return longest if longest < 100_000 else 512


def _unknown_share(tokenizer: Any) -> Any:
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return None

    def share(text: str) -> float:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids.count(unknown) / max(len(ids), 1)

    return share
