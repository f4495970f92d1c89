"""Joint image-text spaces through open_clip: the package's own small one, BiomedCLIP, or any other."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmaudit._errors import InputError, MissingExtraError, nearest
from mmaudit.encoders._hub import Located, digest_of, locate, offline, shown_name
from mmaudit.encoders._pretrained import (
    ImagePart,
    Parts,
    PretrainedEncoder,
    TextPart,
    as_grey,
    has_words,
    package_version,
)
from mmaudit.encoders._words import WordTokenizer
from mmaudit.images import GrayImage

__all__ = ["CONFIG", "PACKAGED", "PHANTOM_CLIP", "VOCABULARY", "OpenCLIPEncoder"]

PHANTOM_CLIP = "phantom-clip"
CONFIG, VOCABULARY = "open_clip_config.json", "vocabulary.json"
PACKAGED = Path(__file__).parent / "phantom_clip"


class OpenCLIPEncoder(PretrainedEncoder):
    """Embeddings of images and of texts in one space, by a model of open_clip.

    Parameters
    ----------
    model_name : str or path
        - "phantom-clip": the small model that comes with this package, trained on phantoms alone. Nothing is fetched.
        - "hf-hub:owner/name", such as "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224".
        - A folder with open_clip_config.json and weights.
        - An architecture that open_clip knows, such as "ViT-B-32"; its weights are `pretrained`.
    pretrained : str, path or None
        With an architecture: a tag that open_clip knows, such as "openai", or a file of weights. None: with an
        architecture an error, since untrained weights say nothing; of no use with the others.
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
    Embeddings have length 1: the product of two is their cosine. A text of more tokens than the model takes is split
    between sentences; see `encode_texts`. Weights are read without running code from them.

    References
    ----------
    Radford et al., "Learning transferable visual models from natural language supervision", 2021, arXiv:2103.00020.
    Ilharco et al., OpenCLIP, 2021, doi:10.5281/zenodo.5143773. Zhang et al., BiomedCLIP, 2023, arXiv:2303.00915.
    """

    _unit_length = True

    def __init__(
        self,
        model_name: str | Path = PHANTOM_CLIP,
        *,
        pretrained: str | Path | None = None,
        revision: str | None = None,
        device: str = "auto",
        mixed_precision: bool | str = "auto",
        batch_size: int | str = "auto",
        n_jobs: int | None = None,
        cache: bool | str | Path = True,
        allow_download: bool = False,
        progress: bool = False,
    ) -> None:
        self.model_name = model_name
        self.pretrained = pretrained
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
        """Images and reports."""
        return ("image", "report")

    @property
    def card(self) -> str:
        """The model card of a folder or of the hub, Markdown; "" where there is none."""
        kind, found = self._where()
        if kind == "architecture":
            return ""
        cards = (found.folder / name for name in ("MODEL_CARD.md", "README.md"))
        return next((path.read_text("utf-8") for path in cards if path.is_file()), "")

    def similarity(self, data_or_images: Any, texts: Sequence[str]) -> np.ndarray:
        """Return how near each image is to each text.

        Parameters
        ----------
        data_or_images : AuditData, ImageSource, or arrays
            See `encode_images`.
        texts : sequence of str

        Returns
        -------
        ndarray of shape (n_images, n_texts), float32 in [-1, 1]
            Cosines. Only differences mean something: between images for one text, or between texts for one image.
        """
        return self.encode_images(data_or_images) @ self.encode_texts(texts).T

    def _where(self) -> tuple[str, Located]:
        """Return ("folder" or "architecture", where its files are)."""
        name = str(self.model_name)
        is_folder = Path(name).expanduser().is_dir()
        if name == PHANTOM_CLIP or name.startswith("hf-hub:") or is_folder:
            if self.pretrained is not None:
                raise InputError(
                    "pretrained", "None beside a model with weights", repr(str(self.pretrained)), "Leave it out."
                )
            found = locate(
                "model_name",
                PACKAGED if name == PHANTOM_CLIP else name,
                self.revision,
                allow_download=self.allow_download,
                extra="clip",
                keep=self._cache_folder(),
            )
            if not (found.folder / CONFIG).is_file():
                raise InputError(
                    "model_name",
                    f"a model of open_clip, with {CONFIG}",
                    "a folder without that file",
                    "For models of transformers use TransformersEncoder.",
                )
            return "folder", found
        if self.revision is not None:
            raise InputError(
                "revision", "None beside an architecture", repr(self.revision), "Name the weights instead."
            )
        if self.pretrained is None:
            raise InputError(
                "pretrained",
                f"weights for the architecture {name!r}",
                "None",
                "Give a tag or a file; or a folder, hf-hub:owner/name, or phantom-clip as model_name.",
            )
        weights = Path(str(self.pretrained)).expanduser()
        if weights.is_file():
            return "architecture", Located(weights, digest_of([weights], keep=self._cache_folder()))
        return "architecture", Located(Path(str(self.pretrained)), "")

    def _identity(self) -> dict[str, Any]:
        kind, found = self._where()
        told = {"model": shown_name(self.model_name), "revision": found.revision}
        if kind == "architecture":
            told["pretrained"] = shown_name(str(self.pretrained))
        return told | {"libraries": f"open_clip {package_version('open_clip_torch')}"}

    def _load(self, torch: Any, device: Any) -> Parts:
        open_clip = _need_open_clip()
        kind, found = self._where()
        with _QuietRootLogger(), offline(self.allow_download):
            if kind == "folder":
                network, tokenizer = _from_folder(open_clip, found.folder, self.allow_download)
            else:
                network, tokenizer = _from_architecture(
                    open_clip, str(self.model_name), str(self.pretrained), self.allow_download
                )
        network = network.to(device).eval()
        settings = open_clip.get_model_preprocess_cfg(network)
        transform = open_clip.transform.image_transform_v2(
            open_clip.transform.PreprocessCfg(**settings), is_train=False
        )

        def prepare(image: GrayImage) -> np.ndarray:
            return transform(as_grey(image)).numpy()  # it makes three channels of one after resizing

        def apply_images(batch: np.ndarray) -> Any:
            return network.encode_image(torch.from_numpy(batch).to(device), normalize=True)

        def apply_texts(texts: list[str]) -> Any:
            return network.encode_text(tokenizer(texts).to(device), normalize=True)

        size = settings["size"]
        side_px = max(size) if isinstance(size, (tuple, list)) else int(size)
        count, unknown_share = _token_counter(tokenizer)
        context = int(getattr(tokenizer, "context_length", None) or network.context_length)
        return Parts(
            network,
            device,
            ImagePart(prepare, apply_images, side_px),
            TextPart(apply_texts, count, context, unknown_share),
        )


def _need_open_clip() -> Any:
    try:
        import open_clip
        import open_clip.transform
    except ImportError:
        raise MissingExtraError("OpenCLIPEncoder", "open_clip_torch", "clip") from None
    return open_clip


def _from_folder(open_clip: Any, folder: Path, allow_download: bool) -> tuple[Any, Any]:
    """Return the network and the tokenizer of a folder; what it names on the hub is looked up beforehand."""
    try:
        text_cfg = dict(json.loads((folder / CONFIG).read_text("utf-8"))["model_cfg"]["text_cfg"])
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        raise InputError("model_name", f"a whole {CONFIG}", "one that is damaged", "Copy the model again.") from None
    changed: dict[str, Any] = {}
    tower = text_cfg.get("hf_model_name")
    if tower:  # the text tower's configuration lies in a repository of its own; its weights are in this one
        beside = folder / tower
        where = beside if beside.is_dir() else tower
        found = locate("model_name", where, None, allow_download=allow_download, extra="clip", weights=False)
        changed["text_cfg"] = {**text_cfg, "hf_model_name": str(found.folder), "hf_model_pretrained": False}
    name = f"local-dir:{folder}"
    try:
        network = open_clip.create_model(name, require_pretrained=True, **changed)
        if (folder / VOCABULARY).is_file():
            return network, WordTokenizer.load(folder / VOCABULARY)
        tokenizer = open_clip.get_tokenizer(name)
    except ImportError as error:
        raise MissingExtraError("this model's text tower", error.name or "transformers", "hf") from error
    except Exception as error:  # configurations, tensors and vocabularies can each be wrong in ways of their own
        raise InputError(
            "model_name",
            "a model that open_clip can load",
            f"one that it cannot ({type(error).__name__})",
            f"open_clip says: {str(error)[:300]}",
        ) from error
    if hasattr(tokenizer, "tokenizer") and not has_words(tokenizer.tokenizer):
        raise InputError("model_name", "a folder with the model's tokenizer", "one without", "Copy the model again.")
    return network, tokenizer


def _from_architecture(open_clip: Any, name: str, pretrained: str, allow_download: bool) -> tuple[Any, Any]:
    if name not in open_clip.list_models():
        raise InputError(
            "model_name",
            "phantom-clip, hf-hub:owner/name, a folder, or an architecture of open_clip",
            repr(name),
            f"open_clip.list_models() lists them.{nearest(name, open_clip.list_models())}",
        )
    weights = Path(pretrained).expanduser()
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not weights.is_file() and pretrained not in tags:
        raise InputError(
            "pretrained",
            f"a file, or a tag of {name}",
            repr(pretrained),
            f"Its tags are: {', '.join(tags) or 'none'}.{nearest(pretrained, tags)}",
        )
    if not weights.is_file() and not allow_download:
        _check_fetched(open_clip, name, pretrained)
    try:
        network = open_clip.create_model(name, pretrained=str(weights) if weights.is_file() else pretrained)
        return network, open_clip.get_tokenizer(name)
    except Exception as error:
        raise InputError(
            "pretrained",
            f"weights of {name} that are on this machine",
            f"{pretrained!r}, which cannot be loaded ({type(error).__name__})",
            f"Pass allow_download=True to fetch a tag. open_clip says: {str(error)[:300]}",
        ) from error


def _check_fetched(open_clip: Any, name: str, tag: str) -> None:
    """Raise unless the weights of a tag are on this machine; then with the command that fetches them."""
    told = open_clip.get_pretrained_cfg(name, tag)
    if told.get("hf_hub"):
        locate("pretrained", told["hf_hub"].rpartition("/")[0], None, allow_download=False, extra="clip")
        return
    target = Path("~/.cache/clip").expanduser()
    if not (target / Path(told.get("url", "")).name).is_file():
        raise InputError(
            "pretrained",
            "weights that are on this machine",
            f"{tag!r}, which open_clip has not fetched",
            f"Fetch them with `wget {told.get('url')} -P {target}`, or pass allow_download=True.",
        )


def _token_counter(tokenizer: Any) -> tuple[Any, Any]:
    """Return the functions from a text to its number of tokens and to its share of unknown words (None: it has all)."""
    if isinstance(tokenizer, WordTokenizer):
        return lambda text: len(tokenizer.encode(text)) + 2, lambda text: 1 - tokenizer.known_share(text)
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None:  # a tokenizer of transformers
        return lambda text: len(inner(text, verbose=False)["input_ids"]), None
    return lambda text: len(tokenizer.encode(text)) + 2, None


class _QuietRootLogger:
    """Keep open_clip, which logs to the root logger, from setting that up for the whole program."""

    def __enter__(self) -> None:
        self.root = logging.getLogger()
        self.handlers, self.level = list(self.root.handlers), self.root.level
        if not self.root.handlers:
            self.root.addHandler(logging.NullHandler())
        self.root.setLevel(max(self.level, logging.ERROR))

    def __exit__(self, *_: Any) -> None:
        self.root.handlers[:] = self.handlers
        self.root.setLevel(self.level)
