"""A small CLIP of chest phantoms: trained on films and reports that the package makes, measured on held-out patients.

What is trained is a model of open_clip, after Radford et al. 2021, "Learning transferable visual models from natural
language supervision", arXiv:2103.00020. A few thousand pairs are too few, and two cores too slow, for contrast alone to
teach a network to see. Hence two stages:

1. The image tower learns which terms the report of a film has, negated ones apart, by a linear layer that is then put
   away.
2. The image tower is locked but for its last projection, and the text tower learns to match it by contrast of films
   with reports and sentences, as in LiT (Zhai et al. 2022, arXiv:2111.07991). What the locked layers give is computed
   once, so that batches can be large.

It differs from CLIP also in size, in words instead of word pieces, and in the loss: a sentence is right for each film
whose report has it, whichever film it was drawn for. A report is shown as the encoder shows it: in parts of whole
sentences, whose embeddings are averaged by their length.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from mmaudit._errors import InputError, MissingExtraError, check_keywords
from mmaudit.classifiers._file import read_file, to_bytes, write_file
from mmaudit.classifiers._images import check_data, check_int
from mmaudit.classifiers._torch import (
    choose_device,
    fast_layout,
    float_batch,
    need_torch,
    own_random,
    seed_device,
    seeds,
)
from mmaudit.data import AuditData
from mmaudit.datasets import load_phantom
from mmaudit.datasets.phantom import PhantomImages
from mmaudit.datasets.phantom._files import _whole, check_out
from mmaudit.encoders._open_clip import CONFIG, PACKAGED, VOCABULARY, OpenCLIPEncoder
from mmaudit.encoders._pretrained import PretrainedEncoder, split_text
from mmaudit.encoders._report import TermIndicator
from mmaudit.encoders._words import PAD, START, WordTokenizer

__all__ = ["PACKAGED", "PROMPTS", "evaluate_joint_space", "model_card", "train_clip"]

WEIGHTS, FIGURES, CARD = "open_clip_model.safetensors", "figures.json", "MODEL_CARD.md"
_FEATURE = "a CLIP model"

# Seeds of `load_phantom`: far from the small numbers that people choose, so that nobody's cohort was trained on.
SEEDS = {"training": 101_000, "validation": 102_000, "test": 106_000}
DRAWN_PX = (224, 112)  # patients take turns: a film drawn small has other noise than one made smaller
SIDE_PX = 128  # halved five times without a remainder: what is cut off at 112 is the bottom row, where effusions lie
EMBED_DIM = 128
VISION = {"layers": [1, 1, 1, 1], "width": 16, "head_width": 64, "image_size": SIDE_PX}
TEXT: dict[str, Any] = {"context_length": 24, "width": 128, "heads": 4, "layers": 2, "mlp_ratio": 2.0}
GREY_MEAN, GREY_STD = 0.38, 0.25
PREPROCESS = {
    "size": SIDE_PX,
    "mode": "RGB",
    "mean": [GREY_MEAN] * 3,
    "std": [GREY_STD] * 3,
    "interpolation": "bicubic",
    "resize_mode": "longest",  # nothing of a film is cut off
    "fill_color": 0,
}
FILMS_BATCH, TEXTS_BATCH = 64, 256
TEXTS_SHARE = 0.25  # epochs of the second stage for each of the first: more, and it learns its films by heart
FILMS_RATE, TEXTS_RATE = 2e-3, 2e-3  # highest learning rates
WEIGHT_DECAY, WARM_SHARE = 0.05, 0.1
LARGEST_SCALE = math.log(100)  # of similarities before the softmax, as in CLIP
# Augmentation: the greatest change, drawn evenly on both sides of none. Never mirrored: left and right are words.
TURN_DEGREES, SHIFT, ZOOM, LOG_GAMMA, CONTRAST, BRIGHTNESS = 6.0, 0.05, 0.08, 0.25, 0.2, 0.1
N_SHORT = 2  # sentences shown with a film, beside its report
DROPPED = 0.2  # of the parts of a report, each time it is shown
VIEW_SHARE = 0.15  # of the texts that name the view, or have a sentence that does
N_TERMS, TERM_MIN_COUNT = 400, 20
N_RESAMPLES = 1000

# Reports seldom name the view of a film: sentences as in a technique section, from the metadata.
VIEWS = {
    "lateral": ("Lateral view.", "Lateral view of the chest.", "Lateral chest radiograph.", "Lateral projection."),
    "PA": ("PA view.", "PA chest radiograph.", "Frontal view of the chest.", "Frontal chest radiograph."),
    "AP": ("AP view.", "AP chest radiograph.", "Frontal view.", "Frontal chest radiograph."),
    "AP supine": ("Supine AP view.", "Supine AP chest radiograph.", "Frontal view.", "Frontal chest radiograph."),
}

# What is said of films that have it, and of films that do not.
PROMPTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pleural effusion": (("pleural effusion", "there is a pleural effusion"), ("no pleural effusion", "no effusion")),
    "cardiomegaly": (("cardiomegaly", "the heart is enlarged"), ("normal heart size", "the heart is normal in size")),
    "atelectasis": (("atelectasis", "volume loss"), ("no atelectasis", "the lungs are clear")),
    "consolidation": (("consolidation", "airspace opacity"), ("no consolidation", "the lungs are clear")),
    "pneumothorax": (("pneumothorax", "there is a pneumothorax"), ("no pneumothorax",)),
    "edema": (("pulmonary edema", "interstitial edema"), ("no pulmonary edema", "normal pulmonary vascularity")),
    "nodule": (("nodule", "nodular opacity"), ("no nodule", "the lungs are clear")),
    "fracture": (("rib fracture", "displaced rib fractures"), ("no fracture", "no acute osseous abnormality")),
    "chest tube": (("chest tube", "chest drain"), ("no acute abnormality",)),
    "endotracheal tube": (("endotracheal tube",), ("no acute abnormality",)),
    "central line": (("central venous line", "central venous catheter"), ("no acute abnormality",)),
    "nasogastric tube": (("nasogastric tube",), ("no acute abnormality",)),
    "pacemaker": (("pacemaker", "pacemaker leads"), ("no acute abnormality",)),
    "sternal wires": (("sternal wires", "median sternotomy wires"), ("no acute abnormality",)),
    "ECG leads": (("ECG leads",), ("no acute abnormality",)),
    "surgical clips": (("surgical clips",), ("no acute abnormality",)),
    "lateral view": (("lateral view", "lateral chest radiograph"), ("frontal view", "frontal chest radiograph")),
}


@check_keywords
def evaluate_joint_space(encoder: PretrainedEncoder, data: AuditData) -> dict[str, dict[str, Any]]:
    """Return how well a model finds the report of a film, the film of a report, and findings by their names.

    Parameters
    ----------
    encoder : encoder of images and texts in one space
    data : AuditData of n_samples
        A phantom cohort that the model was not trained on.

    Returns
    -------
    dict
        "retrieval": `n_studies`, `chance`, and for "image to report" and "report to image" `recall_at_10` and `ci`.
        "zero-shot": for each key of `PROMPTS`, `auroc`, `ci`, `n_positive` and `n_samples`; None where the data have
        one class only. Intervals are 95 %, from resampled patients.

    Raises
    ------
    InputError
        Data that are no phantom cohort.
    TypeError
        No AuditData.

    Notes
    -----
    Retrieval takes the first film of each study and its whole report, so that each query has one right answer among
    n_studies, and the right answer is among ten drawn at random with probability 10 / n_studies. Films of the studies
    of one patient look alike and are told apart or not like all others. Zero-shot scores are the mean cosine of a film
    with the first prompts less that with the second; the truth is what was drawn, not what the report says.
    """
    check_data(data)
    if "study_id" not in data.attributes or data.reports is None:
        raise InputError("data", "a phantom cohort, with its ground truth", "other data", "Use load_phantom().")
    films = encoder.encode_images(data)
    codes, patients = pd.factorize(data.patient_id)
    draws = np.random.default_rng(0).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), N_RESAMPLES)
    counts = draws[:, codes]
    first = np.flatnonzero(~data.attributes["study_id"].duplicated().to_numpy())
    likeness = films[first] @ encoder.encode_texts([str(data.reports[i]) for i in first]).T
    found: dict[str, dict[str, Any]] = {
        "retrieval": {"n_studies": len(first), "n_patients": len(patients), "chance": min(10 / len(first), 1.0)},
        "zero-shot": {},
    }
    for name, of in (("image to report", likeness), ("report to image", likeness.T)):
        hits = _in_first(of, 10)
        resampled = counts[:, first] @ hits / counts[:, first].sum(axis=1)
        found["retrieval"][name] = {"recall_at_10": _rounded(hits.mean()), "ci": _interval(resampled)}
    for name, (for_it, against) in PROMPTS.items():
        is_view = name == "lateral view"
        truth = (data.metadata["view"] == "lateral" if is_view else data.attributes[name]).to_numpy(bool)
        score = films @ (encoder.encode_texts(for_it).mean(axis=0) - encoder.encode_texts(against).mean(axis=0))
        both = 0 < truth.sum() < len(truth)
        found["zero-shot"][name] = {
            "auroc": _rounded(_aurocs(truth, score, np.ones((1, len(truth))))[0]) if both else None,
            "ci": _interval(_aurocs(truth, score, counts)) if both else None,
            "n_positive": int(truth.sum()),
            "n_samples": len(truth),
        }
    return found


@check_keywords
def train_clip(
    out: str | Path,
    *,
    n_patients: int = 1500,
    n_held_out: int = 300,
    epochs: int = 20,
    random_state: int = 0,
    device: str = "auto",
    cache: bool | str | Path = True,
    n_jobs: int | None = None,
    progress: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train a small CLIP on films and reports of a phantom cohort, and write it with a model card.

    Parameters
    ----------
    out : path
        The folder to make. It may exist only if it is empty; the folder above it must exist.
    n_patients : int
        Patients to train on, at least 2; each has 2.7 studies, on average.
    n_held_out : int
        Patients of the validation cohort, and as many of the test cohort, at least 2.
    epochs : int
        Of the first stage, in which every film comes once; the second has a quarter as many.
    random_state : int >= 0
        Seed of the weights, the order, the texts and the augmentation. The cohorts are always those of `SEEDS`.
    device : {"auto", "cpu", "cuda", "mps"} or such as "cuda:1"
        "auto": a GPU where there is one.
    cache : bool or path
        Where films are drawn to; as in `load_phantom`, but False is not possible.
    n_jobs : int or None
        Processes that draw and read. None: as many as there are cores.
    progress : bool
        Show progress bars on standard error.
    on_epoch : callable or None
        Called after each epoch with `stage` ("films" or "texts"), `epoch` and `loss`. None: nobody.

    Returns
    -------
    dict
        What `figures.json` holds: "training", what was trained on and how; "validation" and "test", what
        `evaluate_joint_space` found.

    Raises
    ------
    InputError
        An argument out of range, a folder that is not empty, or a checkpoint of a training with other arguments.
    MissingExtraError
        open_clip or PyTorch is not installed.

    Notes
    -----
    A checkpoint beside `out` is written after each epoch and removed at the end: a run that was interrupted goes on,
    and ends as it would have ended. The folder appears whole at the end. The same arguments give the same bytes on the
    same machine with the same versions and number of PyTorch's threads.

    The last epoch is taken. Settings were chosen on the validation cohort; the test cohort chose nothing.
    """
    check_out(out)
    check_int("n_patients", n_patients, 2, 1_000_000)
    check_int("n_held_out", n_held_out, 2, 1_000_000)
    check_int("epochs", epochs, 1, 10_000)
    check_int("random_state", random_state, 0, 2**63 - 1)
    if cache is False:
        raise InputError("cache", "True or a folder", "False", "Films are read more than once; leave it out.")
    open_clip, torch = _need_open_clip()
    where = choose_device(torch, device)
    target = Path(out).resolve()
    checkpoint = target.with_name(f"{target.name}.checkpoint.safetensors")
    about: dict[str, Any] = {
        "n_patients": n_patients,
        "epochs": epochs,
        "random_state": random_state,
        "seeds": SEEDS,
        "versions": {"torch": torch.__version__, "open_clip": open_clip.__version__},
    }
    data: Any = load_phantom(n_patients, random_state=SEEDS["training"], cache=cache)
    tokenizer = WordTokenizer.learn(
        [*map(str, data.reports), *_view_sentences()], context_length=TEXT["context_length"]
    )
    texts = _Texts(data, tokenizer)
    pixels = _draw(data, n_jobs=n_jobs, progress=progress)
    config = {
        "model_cfg": {
            "embed_dim": EMBED_DIM,
            "vision_cfg": VISION,
            "text_cfg": {**TEXT, "vocab_size": tokenizer.vocab_size},
        },
        "preprocess_cfg": PREPROCESS,
    }
    with own_random(torch, where):
        seed_device(torch, where, seeds(random_state, 0)[1])
        model = open_clip.CLIP(**config["model_cfg"])
        run = _Run(torch, model.to(where), tokenizer, pixels, texts, about, where)
        if checkpoint.exists():
            run.restore(*read_file("out", checkpoint))
        run.fit(checkpoint, on_epoch=on_epoch, progress=progress)
    about |= {
        "n_studies": len(texts.parts),
        "n_films": data.n_samples,
        "n_words": len(tokenizer.words),
        "n_parameters": sum(p.numel() for p in model.parameters()),
        "loss": {stage: [_rounded(loss) for loss in losses] for stage, losses in run.losses.items()},
    }
    figures: dict[str, Any] = {"training": about}
    with _whole(target) as folder:
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / WEIGHTS).write_bytes(_half(model))
        tokenizer.save(folder / VOCABULARY)
        # Measured as it is read from the folder, rounded to 16 bits.
        encoder = OpenCLIPEncoder(folder, device=str(where), n_jobs=n_jobs, cache=False, progress=progress)
        for part in ("validation", "test"):
            held_out = load_phantom(n_held_out, random_state=SEEDS[part], cache=cache)
            figures[part] = evaluate_joint_space(encoder, held_out)
        (folder / FIGURES).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (folder / CARD).write_text(model_card(figures), encoding="utf-8")
    checkpoint.unlink(missing_ok=True)
    return figures


class _Texts:
    """Reports of studies as they are shown to the model: in parts of whole sentences, by sentence, with the view."""

    def __init__(self, data: Any, tokenizer: WordTokenizer) -> None:
        self.study, _ = pd.factorize(data.attributes["study_id"])
        first = np.flatnonzero(~data.attributes["study_id"].duplicated().to_numpy())
        reports = [str(data.reports[i]) for i in first]
        self.views = [VIEWS[view] for view in data.metadata["view"]]

        def n_tokens(text: str) -> int:
            return len(tokenizer.encode(text)) + 2

        self.parts = [split_text(report, n_tokens, tokenizer.context_length) for report in reports]
        self.sentences = [_sentences(report) or [report] for report in reports]
        self.said = [set(sentences) for sentences in self.sentences]
        texts = {text for group in (*self.parts, *self.sentences, *VIEWS.values()) for text in group}
        self.tokens = {text: tokenizer.encode(text)[: tokenizer.context_length - 2] for text in sorted(texts)}
        self.terms = self._terms(reports)

    def _terms(self, reports: Sequence[str]) -> np.ndarray:
        """Return which terms the report of each film has, or a sentence on its view: (n_films, n_terms), float32."""
        indicator = TermIndicator(min_count=TERM_MIN_COUNT, max_features=N_TERMS)
        indicator.fit([*reports, *_view_sentences()])
        # Sentence by sentence, so that no term is of words on both sides of a full stop.
        every = sorted({text for group in (*self.sentences, *VIEWS.values()) for text in group})
        row = {text: k for k, text in enumerate(every)}
        has = indicator.transform(every).toarray() > 0
        said = [[*self.sentences[study], *views] for study, views in zip(self.study, self.views, strict=True)]
        return np.array([has[[row[text] for text in texts]].any(axis=0) for texts in said], np.float32)

    def draw(self, film: int, rng: np.random.Generator) -> tuple[list[str], list[str]]:
        """Return the parts of a film's report, some left out, perhaps with its view; and `N_SHORT` sentences."""
        study, views = self.study[film], self.views[film]
        parts = [part for part in self.parts[study] if rng.random() >= DROPPED] or self.parts[study]
        if rng.random() < VIEW_SHARE:
            parts = [str(rng.choice(views)), *parts]
        sentences = self.sentences[study]
        return parts, [str(rng.choice(views if rng.random() < VIEW_SHARE else sentences)) for _ in range(N_SHORT)]

    def is_said_of(self, sentence: str, film: int) -> bool:
        """Return whether a sentence is in the report of a film or names its view."""
        return sentence in self.said[self.study[film]] or sentence in self.views[film]


class _Run:
    """A training under way: everything that an epoch changes, and that a checkpoint therefore holds."""

    def __init__(
        self,
        torch: Any,
        model: Any,
        tokenizer: WordTokenizer,
        pixels: np.ndarray,
        texts: _Texts,
        about: Mapping[str, Any],
        device: Any,
    ) -> None:
        self.torch, self.device, self.about = torch, device, dict(about)
        self.model, self.tokenizer = fast_layout(torch, model, device), tokenizer
        self.pixels, self.texts = pixels, texts
        self.head = torch.nn.Linear(EMBED_DIM, texts.terms.shape[1])
        # Begin at how often each term is said, so that no epoch is spent on that.
        share = torch.from_numpy(texts.terms).mean(dim=0).clamp(1e-3, 1 - 1e-3)
        with torch.no_grad():
            self.head.bias.copy_(torch.logit(share))
        self.head.to(device)
        films = [*model.visual.parameters(), *self.head.parameters()]
        words = [p for name, p in model.named_parameters() if not name.startswith("visual.")]
        self.optimizers = {
            "films": self._optimizer(films),
            "texts": self._optimizer([*words, *model.visual.attnpool.c_proj.parameters()]),
        }
        self.epochs = {"films": about["epochs"], "texts": math.ceil(TEXTS_SHARE * about["epochs"])}
        self.losses: dict[str, list[float]] = {"films": [], "texts": []}

    def _optimizer(self, parameters: Sequence[Any]) -> Any:
        # Decay pulls scales of normalisation and offsets nowhere useful.
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        return self.torch.optim.AdamW(groups, lr=0.0)

    def fit(self, checkpoint: Path, *, on_epoch: Callable[[dict[str, Any]], None] | None, progress: bool) -> None:
        """Train until the last epoch of the last stage."""
        steps = {"films": self._films_epoch, "texts": self._texts_epoch}
        self.features: Any = None
        with tqdm(total=sum(self.epochs.values()), desc="training", unit="epoch", disable=not progress) as bar:
            bar.update(sum(map(len, self.losses.values())))
            for stage, losses in self.losses.items():
                for epoch in range(len(losses), self.epochs[stage]):
                    # Drawn on the CPU whatever the device, so that every machine sees the same in the same order.
                    order_seed, layer_seed = seeds(self.about["random_state"], 1000 * (stage == "texts") + epoch + 1)
                    seed_device(self.torch, self.device, layer_seed)
                    loss = steps[stage](epoch, np.random.default_rng(order_seed))
                    if not math.isfinite(loss):
                        raise InputError(
                            "random_state",
                            "a training whose loss stays finite",
                            f"one whose loss is not in epoch {epoch + 1} of {stage}",
                            "Choose another.",
                        )
                    losses.append(loss)
                    write_file(checkpoint, self.to_bytes())
                    bar.set_postfix({"stage": stage, "loss": f"{loss:.3f}"})
                    bar.update()
                    if on_epoch is not None:
                        on_epoch({"stage": stage, "epoch": epoch + 1, "loss": loss})

    def _films_epoch(self, epoch: int, rng: np.random.Generator) -> float:
        """Show every film once to the image tower, and return the mean loss."""
        torch, total = self.torch, 0.0
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        truth = torch.from_numpy(self.texts.terms)
        batches = np.array_split(rng.permutation(len(self.pixels)), math.ceil(len(self.pixels) / FILMS_BATCH))
        self.model.train()
        for step, films in enumerate(batches):
            self._set_rate("films", FILMS_RATE, epoch, step, len(batches))
            images = _augment(torch, float_batch(torch, self.pixels[films], self.device), draws)
            foretold = self.head(self.model.visual(fast_layout(torch, images, self.device)))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(foretold, truth[films].to(self.device))
            total += self._step("films", loss) * len(films)
        return total / len(self.pixels)

    def _texts_epoch(self, epoch: int, rng: np.random.Generator) -> float:
        """Show one film of every study, its report and sentences; learn what matches, and return the mean loss."""
        torch, texts = self.torch, self.texts
        if self.features is None:
            self.features = self._locked()
        by_study = pd.Series(np.arange(len(texts.study))).groupby(texts.study).agg(list).tolist()
        # A study comes once, so that no two films in a batch have the same report.
        batches = np.array_split(rng.permutation(len(by_study)), math.ceil(len(by_study) / TEXTS_BATCH))
        self.model.train()
        total = 0.0
        for step, studies in enumerate(batches):
            self._set_rate("texts", TEXTS_RATE, epoch, step, len(batches))
            films = np.array([rng.choice(by_study[study]) for study in studies])
            drawn = [texts.draw(film, rng) for film in films]
            short = list(dict.fromkeys(text for _, sentences in drawn for text in sentences))
            reports, phrases = self._embed([parts for parts, _ in drawn], short)
            seen = torch.nn.functional.normalize(self.model.visual.attnpool.c_proj(self.features[films]), dim=-1)
            scale = self.model.logit_scale.exp()
            right = np.array([[texts.is_said_of(text, film) for text in short] for film in films])
            loss = self._contrast(scale * seen @ reports.T, np.eye(len(films), dtype=bool))
            loss = loss + self._contrast(scale * seen @ phrases.T, right)
            total += self._step("texts", loss) * len(films)
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, LARGEST_SCALE)
        return total / len(by_study)

    def _set_rate(self, stage: str, highest: float, epoch: int, step: int, n_steps: int) -> None:
        for group in self.optimizers[stage].param_groups:
            group["lr"] = highest * _rate(epoch * n_steps + step, self.epochs[stage] * n_steps)

    def _step(self, stage: str, loss: Any) -> float:
        """Make one step down and return the loss."""
        self.optimizers[stage].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[stage].step()
        return float(loss.detach())

    def _locked(self) -> Any:
        """Return what the image tower gives before its last projection, for every film: (n_films, n_channels)."""
        torch, pool = self.torch, self.model.visual.attnpool
        projection, width = pool.c_proj, pool.c_proj.in_features
        pool.c_proj = torch.nn.Linear(width, width).to(self.device)
        self.model.eval()
        try:
            with torch.no_grad():
                pool.c_proj.weight.copy_(torch.eye(width))
                pool.c_proj.bias.zero_()
                rows = []
                for start in range(0, len(self.pixels), FILMS_BATCH):
                    images = float_batch(torch, self.pixels[start : start + FILMS_BATCH], self.device)
                    images = ((images - GREY_MEAN) / GREY_STD).repeat(1, 3, 1, 1)
                    rows.append(self.model.visual(fast_layout(torch, images, self.device)))
        finally:
            pool.c_proj = projection
        return torch.cat(rows)

    def _embed(self, reports: Sequence[Sequence[str]], phrases: Sequence[str]) -> tuple[Any, Any]:
        """Return embeddings of length 1 of reports, given by their parts, and of phrases; equal texts go in once."""
        torch = self.torch
        every = list(dict.fromkeys([part for parts in reports for part in parts] + list(phrases)))
        row = {text: k for k, text in enumerate(every)}
        numbers = [self.texts.tokens[text] for text in every]
        order = np.argsort([len(n) for n in numbers], kind="stable")
        groups = np.array_split(order, 8)  # of like length: short ones need less
        embedded = torch.cat([self._encode([numbers[k] for k in group]) for group in groups if len(group)])
        embedded = torch.nn.functional.normalize(embedded[np.argsort(order, kind="stable")], dim=-1)
        weights = torch.zeros((len(reports), len(every)), device=self.device)
        for k, parts in enumerate(reports):
            for part in parts:
                weights[k, row[part]] += len(self.texts.tokens[part]) + 2
        means = torch.nn.functional.normalize(weights @ embedded, dim=-1)
        return means, embedded[[row[text] for text in phrases]]

    def _encode(self, numbers: Sequence[Sequence[int]]) -> Any:
        tokens = self.torch.full((len(numbers), self.tokenizer.context_length), PAD, dtype=self.torch.long)
        for tokens_of, of in zip(tokens, numbers, strict=True):
            whole = [START, *of, self.tokenizer.end]
            tokens_of[: len(whole)] = self.torch.tensor(whole)
        return encode_shortened(self.model, tokens.to(self.device))

    def _contrast(self, likeness: Any, right: np.ndarray) -> Any:
        """Return the contrastive loss, both ways, of likenesses (n_images, n_texts) of which some are `right`."""
        target = self.torch.from_numpy(right).to(self.device).float()
        entropy = self.torch.nn.functional.cross_entropy
        to_text = entropy(likeness, target / target.sum(dim=1, keepdim=True))
        to_image = entropy(likeness.T, (target / target.sum(dim=0)).T)
        return (to_text + to_image) / 2

    def to_bytes(self) -> bytes:
        """Return a checkpoint. Order, draws and learning rate follow from the seed and the number of the epoch."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"head.{k}": v for k, v in self.head.state_dict().items()}
        for stage, optimizer in self.optimizers.items():
            for i, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{stage}.{i}.{k}": v for k, v in state.items()}
        return to_bytes(tensors, {"state": "CLIP", "about": self.about, "losses": self.losses})

    def restore(self, tensors: Mapping[str, Any], header: Mapping[str, Any]) -> None:
        """Go back to where a checkpoint was written."""
        if header.get("about") != self.about:
            raise InputError(
                "out",
                "beside it no checkpoint, or that of a training with the same arguments and versions",
                "that of another training",
                "Choose another folder, or delete the file *.checkpoint.safetensors to begin anew.",
            )
        for part, module in (("model.", self.model), ("head.", self.head)):
            module.load_state_dict({k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)})
        for stage, optimizer in self.optimizers.items():
            like = [p for group in optimizer.param_groups for p in group["params"]]
            state: dict[int, dict[str, Any]] = {}
            for name, tensor in tensors.items():
                if name.startswith(f"{stage}."):
                    _, number, key = name.split(".", 2)
                    parameter = like[int(number)]
                    if tensor.shape == parameter.shape and tensor.ndim:
                        # In the layout of its parameter: other strides may be added up in another order.
                        tensor = self.torch.empty_like(parameter).detach().copy_(tensor)
                    state.setdefault(int(number), {})[key] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        self.losses = {stage: list(losses) for stage, losses in header["losses"].items()}


def encode_shortened(model: Any, tokens: Any) -> Any:
    """Return what `model.encode_text(tokens)` returns, in less time: columns that are padding in all rows are left out.

    No word looks at those that follow it, so that padding after the end changes nothing.
    """
    length = int((tokens != PAD).sum(dim=1).max())
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    ends = tokens.argmax(dim=1)
    return model.ln_final(x)[range(len(tokens)), ends] @ model.text_projection


def model_card(figures: Mapping[str, Any]) -> str:
    """Return the model card, Markdown, that says what `figures` holds."""
    about = figures["training"]
    parts = [figures[part] for part in ("validation", "test")]
    ways = [
        f"| {way}, recall@10 | " + " | ".join(_shown(part["retrieval"][way], "recall_at_10") for part in parts) + " |"
        for way in ("image to report", "report to image")
    ]
    chance = " | ".join(f"{p['retrieval']['chance']:.3f} (10 of {p['retrieval']['n_studies']:,})" for p in parts)
    shots = [
        f"| {name} | " + " | ".join(_shown(part["zero-shot"][name], "auroc") for part in parts) + " |"
        for name in PROMPTS
    ]
    prompts = [
        f"| {name} | {'; '.join(with_it)} | {'; '.join(without)} |" for name, (with_it, without) in PROMPTS.items()
    ]
    n_validation, n_test = (part["retrieval"]["n_patients"] for part in parts)
    seeds_of, versions = about["seeds"], about["versions"]
    return f"""# Phantom CLIP

A small model that puts chest films and sentences into one space, made by `mmaudit train-clip`. It is for learning and
for tests. **Not for clinical use**, and of no use for films of patients: it has seen none.

- Licence: BSD-3-Clause, as the package. No patient is behind it: films and reports are made by the package.
- Architecture: open_clip's CLIP; a ModifiedResNet of {SIDE_PX} x {SIDE_PX} pixels and a transformer of
  {TEXT["layers"]} layers over words, {about["n_parameters"]:,} parameters, {EMBED_DIM} dimensions. Trained in 32 bits,
  kept in 16.
- Words: {about["n_words"]:,}, learned from the training reports; others are one and the same `<unknown>`.

```python
model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = WordTokenizer.load("FOLDER/vocabulary.json")
```

## Data

| cohort | `load_phantom` | for |
| --- | --- | --- |
| training | {about["n_patients"]:,} patients, seed {seeds_of["training"]:,} | weights and vocabulary |
| validation | {n_validation:,} patients, seed {seeds_of["validation"]:,} | choice of settings and prompts |
| test | {n_test:,} patients, seed {seeds_of["test"]:,} | nothing but the figures below |

The training cohort has {about["n_studies"]:,} studies and {about["n_films"]:,} films. Half of the patients are drawn
at {DRAWN_PX[0]} and half at {DRAWN_PX[1]} pixels; all held-out films are drawn at {DRAWN_PX[0]} and made smaller.
First the image tower learned, in {about["epochs"]} epochs, which of {N_TERMS} terms the report of a film has, negated
ones apart. Then it was locked but for its last projection, and the text tower learned by contrast, in
{len(about["loss"]["texts"])} epochs, to match films with reports and with {N_SHORT} of their sentences.
{VIEW_SHARE:.0%} of these texts had, or were, a sentence that names the view as a technique section would
("{VIEWS["lateral"][2]}"); it comes from the metadata, since a report covers all films of its study.
The ground truth was used for measuring only. Reports leave out, misspell and now and then contradict, as those of the
phantom do.

## Figures

In brackets 95 % intervals from resampled patients.

| retrieval | validation | test |
| --- | --- | --- |
{chr(10).join(ways)}
| chance | {chance} |

The first film of each study, its whole report, one right answer a query among all studies of the cohort.

| zero-shot AUROC | validation | test |
| --- | --- | --- |
{chr(10).join(shots)}

All films of the cohort; the truth is what was drawn, seen or not in that view, reported or not. The score is the mean
cosine with the first prompts less that with the second:

| for | with | without |
| --- | --- | --- |
{chr(10).join(prompts)}

## Limits

- The phantom's anatomy is schematic and its reports come from templates: the figures say how well this model knows
  them, and nothing about any model on films of patients.
- Small things are lost at {SIDE_PX} pixels.
- Two reports of normal films differ in style alone, which no film shows; this bounds retrieval for any model.
- A query made of words outside the vocabulary is answered as if it were empty; `WordTokenizer.known_share` tells.
- Likeness is association, not location: a finding can be told by what goes with it, as a supine film by its tubes.

Made with torch {versions["torch"]} and open_clip {versions["open_clip"]}, seed {about["random_state"]}.
"""


def _need_open_clip() -> tuple[Any, Any]:
    torch = need_torch(_FEATURE)
    try:
        import open_clip
    except ImportError:
        raise MissingExtraError(_FEATURE, "open_clip_torch", "clip") from None
    return open_clip, torch


def _sentences(report: str) -> list[str]:
    """Return the sentences of a report without the names of its sections."""
    parts = re.split(r"(?<=[.!?])\s+|\n+", re.sub(r"(?m)^[A-Z ]+:", "", report))
    return [part.strip() for part in parts if part.strip()]


def _view_sentences() -> list[str]:
    """Return each sentence on the view often enough for its words to enter a vocabulary."""
    return [sentence for sentences in VIEWS.values() for sentence in sentences] * TERM_MIN_COUNT


def _bytes(images: PhantomImages, index: int) -> np.ndarray:
    return np.rint(images.read(index).pixels * 255).astype(np.uint8)


def _draw(data: Any, *, n_jobs: int | None, progress: bool) -> np.ndarray:
    """Return the films of a phantom cohort as the model's preprocessing makes them, uint8 (n, SIDE_PX, SIDE_PX)."""
    pixels = np.zeros((data.n_samples, SIDE_PX, SIDE_PX), np.uint8)
    turn = pd.factorize(data.patient_id)[0] % len(DRAWN_PX)
    for k, side in enumerate(DRAWN_PX):
        at = np.flatnonzero(turn == k)
        films = PhantomImages([data.images.films[i] for i in at], side, cache=data.images.cache)
        films.prepare(n_jobs=n_jobs, progress=progress)
        work = Parallel(n_jobs=n_jobs or -1, prefer="threads")(delayed(_small)(films, i) for i in range(len(at)))
        pixels[at] = np.stack(work) if work else pixels[at]
    return pixels


def _small(films: PhantomImages, index: int) -> np.ndarray:
    return np.asarray(Image.fromarray(_bytes(films, index)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))


def _augment(torch: Any, images: Any, draws: Any) -> Any:
    """Return images (n, 1, side, side) in [0, 1] shifted, turned, zoomed and re-exposed, as (n, 3, side, side)."""
    n = len(images)

    def even(most: float) -> Any:
        return ((torch.rand(n, generator=draws) * 2 - 1) * most).to(images.device)

    turn, zoom = even(math.radians(TURN_DEGREES)), 1 + even(ZOOM)
    cosine, sine = zoom * turn.cos(), zoom * turn.sin()
    rows = [cosine, -sine, even(SHIFT), sine, cosine, even(SHIFT)]
    maps = torch.cat([row[:, None] for row in rows], dim=1).view(n, 2, 3)
    grid = torch.nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False).clamp(0, 1)
    curved = moved ** even(LOG_GAMMA).exp().view(n, 1, 1, 1)
    exposed = (curved * (1 + even(CONTRAST)).view(n, 1, 1, 1) + even(BRIGHTNESS).view(n, 1, 1, 1)).clamp(0, 1)
    return ((exposed - GREY_MEAN) / GREY_STD).repeat(1, 3, 1, 1)


def _rate(step: int, n_steps: int) -> float:
    """Return the share of the highest learning rate: a line up, then half a cosine down to 0."""
    warm = max(WARM_SHARE * n_steps, 1.0)
    if step < warm:
        return (step + 1) / (warm + 1)
    return (1 + math.cos(math.pi * (step - warm) / max(n_steps - warm, 1.0))) / 2


def _half(model: Any) -> bytes:
    from safetensors.torch import save

    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    return save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, metadata={"format": "pt"})


def _in_first(likeness: np.ndarray, k: int) -> np.ndarray:
    """Return whether the right answer of each row, on the diagonal, is among its `k` highest; ties count in full."""
    return ((likeness >= np.diagonal(likeness)[:, None]).sum(axis=1) <= k).astype(float)


def _aurocs(truth: np.ndarray, score: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the AUROC of each resample, where `counts` (n_resamples, n_samples) says how often each sample is in it.

    NaN where a resample holds one class only.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    there = [np.add.reduceat((counts * part)[:, order].astype(float), starts, axis=1) for part in (truth, ~truth)]
    positive, negative = there
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return (positive * below).sum(axis=1) / pairs


def _interval(values: np.ndarray) -> list[float]:
    return [_rounded(v) for v in np.nanquantile(values, (0.025, 0.975))]


def _rounded(value: Any) -> float:
    return round(float(value), 4)


def _shown(figure: Mapping[str, Any], key: str) -> str:
    if figure[key] is None:
        return "one class only"
    return f"{figure[key]:.3f} ({figure['ci'][0]:.3f} to {figure['ci'][1]:.3f})"
