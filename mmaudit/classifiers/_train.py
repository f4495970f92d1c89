"""Training a classifier on the images of the data."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state
from tqdm import tqdm

from mmaudit import __version__
from mmaudit._errors import InputError, check_keywords
from mmaudit.classifiers._classifier import HISTORY, Classifier, restore
from mmaudit.classifiers._file import check_target, read_file, to_bytes, write_file
from mmaudit.classifiers._images import check_data, check_int, check_readable, read_squares
from mmaudit.classifiers._networks import (
    ARCHITECTURES,
    LARGEST_PX,
    SMALLEST_PX,
    build,
    check_architecture,
    load_weights,
    weights_name,
)
from mmaudit.classifiers._torch import (
    choose_device,
    choose_precision,
    fast_layout,
    float_batch,
    need_torch,
    own_random,
    seed_device,
    seeds,
    standardise,
)
from mmaudit.data import AuditData, check_binary

__all__ = ["train"]

LARGEST_CLASS_WEIGHT = 100.0
# One-cycle schedule (Smith and Topin 2018, arXiv:1708.07120), without its cycle of momentum.
WARM_SHARE, START_DIVISOR, END_DIVISOR = 0.25, 25.0, 1e5
# Augmentation: the greatest change, drawn evenly on both sides of none.
TURN_DEGREES, SHIFT, ZOOM, LOG_GAMMA, CONTRAST, BRIGHTNESS = 7.0, 0.06, 0.08, 0.25, 0.2, 0.1


class _Set(NamedTuple):
    """What is trained on: bytes of images, labels with NaN for unknown, and who belongs to the training part."""

    pixels: np.ndarray
    labels: np.ndarray
    in_training: np.ndarray


@check_keywords
def train(
    data: AuditData,
    *,
    architecture: str = "small_cnn",
    image_size: int | None = None,
    labels: Any = None,
    weights: str | Path | None = None,
    max_epochs: int = 20,
    patience: int = 8,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float = 0.01,
    validation_fraction: float = 0.2,
    augment: bool = True,
    balance: bool = True,
    device: str = "auto",
    mixed_precision: bool | str = "auto",
    checkpoint: str | Path | None = None,
    random_state: Any = 0,
    n_jobs: int | None = None,
    progress: bool = False,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> Classifier:
    """Return a classifier trained on the images of the data.

    Parameters
    ----------
    data : AuditData of n_samples, with images
        Give the training patients only: whoever is trained on cannot be audited.
    architecture : {"small_cnn", "resnet18", "densenet121"}
        "small_cnn" is quick without a GPU; the others are torchvision's, with a first convolution for grey images.
    image_size : int or None
        Width and height of the network's images in pixels, 32 to 1024; films keep their aspect, with black beside
        them. None: 112 for "small_cnn", 224 for the others.
    labels : None, array or DataFrame of shape (n_samples, n_labels), values 0, 1 and NaN
        What to learn; NaN is unknown and left out of the loss. A DataFrame has the index of `data.sample_id`, and its
        columns name the labels. None: `data.y_true`, one label or several, named as in `data.label_names`.
    weights : None, path or "imagenet"
        Where to start: a state dict (.safetensors, or .pth and .pt without code), whose last layer may be of another
        shape, or a file that a classifier was saved to. "imagenet" downloads torchvision's weights; nothing else uses
        the network. None: random weights.
    max_epochs, patience : int
        Training ends after `max_epochs`, or when the validation loss has not fallen for `patience` epochs, of which
        those of the first quarter, while the learning rate rises, do not count.
    batch_size : int >= 2, or None
        Images a step. None: 16 for "small_cnn", 32 for the others.
    learning_rate : float > 0, or None
        The highest of the one-cycle schedule. None: 0.002 for "small_cnn", 0.0005 for the others.
    weight_decay : float >= 0
        Of AdamW.
    validation_fraction : float in (0, 1)
        Share of the patients that choose the best epoch and train nothing.
    augment : bool
        Whether training images are shifted, turned, zoomed and re-exposed a little. Never mirrored: the side matters.
    balance : bool
        Whether positives weigh as much as negatives, label by label. Probabilities are then those of a population in
        which both are equally common, so that 0.5 is a fair threshold. False: as common as in the data.
    device : {"auto", "cpu", "cuda", "mps"} or such as "cuda:1"
        "auto": a GPU where there is one.
    mixed_precision : "auto", True or False
        Whether to compute in 16 bits where that is stable. "auto": on CUDA only. True on a CPU means bfloat16.
    checkpoint : path or None
        A file *.safetensors, written after each epoch. If it exists, training goes on from there, and ends as it
        would have ended uninterrupted; when all is done it holds the classifier. None: an interrupted run is lost.
    random_state : int >= 0, RandomState or None
        Seed of the split, the first weights and the order; with `checkpoint` a number. None: new draws each time.
    n_jobs : int or None
        Threads or processes that read images. None: all cores. PyTorch's own threads are left as they are.
    progress : bool
        Show progress bars on standard error.
    on_epoch : callable or None
        Called with each new row of `Classifier.history`, as a dict, after the checkpoint is written. None: nobody.

    Returns
    -------
    Classifier
        With the weights of the epoch that had the lowest validation loss.

    Raises
    ------
    InputError
        An argument out of range; data without images; labels of the wrong shape or kind; a label of which the
        training part holds one class only; more than 5 % of the images unreadable; a checkpoint of other arguments
        or data; a loss that is not finite.
    TypeError
        No AuditData.
    MissingExtraError
        PyTorch, torchvision or safetensors is not installed.

    Warns
    -----
    AuditWarning
        Of unreadable images, which are left out, and of images with more than 8 bits.

    Notes
    -----
    The best epoch is chosen by loss and not by AUROC, since the loss still moves when a small validation part is
    ranked without error, exists when it holds one class only, and cares for probabilities, which an audit uses.

    Images are read once and kept as bytes: n_samples x image_size². On two cores an epoch of "small_cnn" takes
    about 2 ms an image of 112 pixels; several times as long where other programs keep a core busy, since PyTorch's
    threads wait for each other.

    The same seed gives the same classifier on the same machine with the same versions and number of PyTorch's
    threads. Another machine, a GPU in place of a CPU, or other versions change the last digits, and with them
    sometimes the best epoch. On a GPU some operations add up in no fixed order, so that even there last digits differ.

    Each image is brought to mean 0 and standard deviation 1, since exposure tells of the machine, not of the disease.
    """
    images = check_data(data)
    check_architecture(architecture)
    image_size = ARCHITECTURES[architecture] if image_size is None else image_size
    check_int("image_size", image_size, SMALLEST_PX, LARGEST_PX)
    check_int("max_epochs", max_epochs, 1, 10_000)
    check_int("patience", patience, 1, 10_000, "To never stop early, give max_epochs.")
    small = architecture == "small_cnn"
    batch_size = (16 if small else 32) if batch_size is None else batch_size
    check_int("batch_size", batch_size, 2, 100_000)
    learning_rate = (0.002 if small else 0.0005) if learning_rate is None else learning_rate
    _check_number("learning_rate", learning_rate, above=0)
    _check_number("weight_decay", weight_decay, least=0)
    for argument, flag in (("augment", augment), ("balance", balance)):
        if not isinstance(flag, (bool, np.bool_)):
            raise InputError(argument, "True or False", f"{flag!r}", "Choose one of them.")
    seed = _seed(random_state, checkpoint)
    target = None if checkpoint is None else check_target("checkpoint", checkpoint)
    truth, names = _labels(data, labels)
    in_training = ~_validation(data, validation_fraction, seed)
    _check_classes(truth, names, in_training)
    weights_from = weights_name(weights)
    torch = need_torch("training a classifier")
    where = choose_device(torch, device)
    precision = choose_precision(torch, mixed_precision, where)
    found = None
    if target is not None and target.exists():
        found = read_file("checkpoint", target)

    pixels, errors = read_squares(images, image_size, n_jobs=n_jobs, progress=progress)
    check_readable(errors, "These samples are left out of the training.", stacklevel=3)
    readable = np.array([error is None for error in errors])
    material = _Set(pixels[readable], truth[readable], in_training[readable])
    if not readable.all():
        _check_classes(material.labels, names, material.in_training)
    patients = data.patient_id[readable]
    config = {
        "architecture": architecture,
        "image_size": int(image_size),
        "labels": names,
        "arguments": {
            "weights": weights_from,
            "max_epochs": int(max_epochs),
            "patience": int(patience),
            "batch_size": int(batch_size),
            "learning_rate": float(learning_rate),
            "weight_decay": float(weight_decay),
            "validation_fraction": float(validation_fraction),
            "augment": bool(augment),
            "balance": bool(balance),
            "device": where.type,
            "mixed_precision": None if precision is None else str(precision).removeprefix("torch."),
            "random_state": seed,
        },
        "data": {
            "name": data.name,
            "n_samples": len(material.pixels),
            "n_train": int(material.in_training.sum()),
            "n_validation": int((~material.in_training).sum()),
            "n_train_patients": len(pd.unique(patients[material.in_training])),
            "n_validation_patients": len(pd.unique(patients[~material.in_training])),
            "fingerprint": _fingerprint(material),
        },
        "versions": {"mmaudit": __version__, "torch": torch.__version__},
    }
    if found is not None:
        _check_same(config, found[1].get("config", {}))
        if found[1].get("state") == "finished":
            return restore("checkpoint", *found, where)
    with own_random(torch, where):
        seed_device(torch, where, seeds(seed, 0)[1])
        network = build(architecture, len(names), imagenet=weights == "imagenet" and found is None)
        if weights is not None and weights != "imagenet" and found is None:
            load_weights(network, architecture, weights)
        run = _Run(torch, network, material, config, where, precision)
        if found is not None:
            run.restore(*found)
        run.fit(target, on_epoch=on_epoch, progress=progress)
    config["best_epoch"] = run.best_epoch
    network.load_state_dict(run.best)
    classifier = Classifier(network, config=config, history=run.history, device=where)
    if target is not None:
        classifier.save(target)
    return classifier


class _Run:
    """A training under way: everything that an epoch changes, and that a checkpoint therefore holds."""

    def __init__(
        self, torch: Any, network: Any, material: _Set, config: Mapping[str, Any], device: Any, precision: Any
    ) -> None:
        self.torch, self.device, self.precision, self.config = torch, device, precision, config
        self.material = material
        self.arguments = config["arguments"]
        self.network = fast_layout(torch, network.to(device), device)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=self.arguments["learning_rate"], weight_decay=self.arguments["weight_decay"]
        )
        # Small gradients of float16 would vanish without a factor; PyTorch below 2.3 keeps the scaler elsewhere.
        scaler = getattr(torch.amp, "GradScaler", None) or torch.cuda.amp.GradScaler
        self.scaler = scaler(enabled=precision is torch.float16 and device.type == "cuda")
        self.train_at = np.flatnonzero(material.in_training)
        self.validate_at = np.flatnonzero(~material.in_training)
        self.class_weights = _class_weights(material.labels[self.train_at], self.arguments["balance"])
        self.n_steps = math.ceil(len(self.train_at) / self.arguments["batch_size"])
        self.history: list[list[float]] = []
        self.best: dict[str, Any] = {}
        self.best_epoch = 0

    def fit(self, target: Path | None, *, on_epoch: Callable[[dict[str, float]], None] | None, progress: bool) -> None:
        """Train until the last epoch, or until patience is at its end."""
        max_epochs, patience = self.arguments["max_epochs"], self.arguments["patience"]
        done = len(self.history)
        total, initial = max_epochs * self.n_steps, done * self.n_steps
        with tqdm(
            total=total, initial=initial, desc="training", unit="batch", disable=not progress, leave=False
        ) as bar:
            for epoch in range(done + 1, max_epochs + 1):
                # Until the learning rate has peaked, the loss goes up and down and says little.
                if epoch - 1 - max(self.best_epoch, math.ceil(WARM_SHARE * max_epochs)) >= patience:
                    break
                start = time.perf_counter()
                train_loss = self._train_epoch(epoch, bar)
                validation_loss, auroc = self._validate()
                if not math.isfinite(train_loss) or not math.isfinite(validation_loss):
                    raise InputError(
                        "learning_rate",
                        "a finite loss",
                        f"{train_loss:.3g} in training and {validation_loss:.3g} in validation at epoch {epoch}",
                        f"Lower learning_rate ({self.arguments['learning_rate']:g}), for example to a tenth.",
                    )
                rate = self.optimizer.param_groups[0]["lr"]
                seconds = time.perf_counter() - start
                self.history.append([epoch, train_loss, validation_loss, auroc, rate, seconds])
                if not self.best or validation_loss < self.history[self.best_epoch - 1][2]:
                    self.best_epoch = epoch
                    self.best = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
                if target is not None:
                    write_file(target, self.to_bytes())
                shown = {"epoch": f"{epoch}/{max_epochs}", "validation loss": f"{validation_loss:.3f}"}
                bar.set_postfix(shown if math.isnan(auroc) else {**shown, "AUROC": f"{auroc:.3f}"})
                if on_epoch is not None:
                    on_epoch(dict(zip(HISTORY, self.history[-1], strict=True)))

    def _train_epoch(self, epoch: int, bar: Any) -> float:
        torch = self.torch
        order_seed, layer_seed = seeds(self.arguments["random_state"], epoch)
        seed_device(torch, self.device, layer_seed)
        # Drawn on the CPU whatever the device, so that every machine sees the same images in the same order.
        draws = torch.Generator().manual_seed(order_seed)
        order = self.train_at[torch.randperm(len(self.train_at), generator=draws).numpy()]
        self.network.train()
        total, n_known = torch.zeros((), device=self.device), 0
        # Equal shares: a last batch of one image has no variance to normalise by.
        for step, batch in enumerate(np.array_split(order, self.n_steps)):
            for group in self.optimizer.param_groups:
                group["lr"] = _one_cycle(
                    (epoch - 1) * self.n_steps + step,
                    self.n_steps * self.arguments["max_epochs"],
                    self.arguments["learning_rate"],
                )
            images = float_batch(torch, self.material.pixels[batch], self.device)
            images = _augment(torch, images, draws) if self.arguments["augment"] else standardise(images)
            known = ~np.isnan(self.material.labels[batch])
            with self._autocast():
                logits = self.network(fast_layout(torch, images, self.device))
            losses = self._losses(logits.float(), self.material.labels[batch])
            self.optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(losses.sum() / max(int(known.sum()), 1)).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            total += losses.detach().sum()
            n_known += int(known.sum())
            bar.update()
        return float(total) / max(n_known, 1)

    def _validate(self) -> tuple[float, float]:
        """Return the loss of the validation part, and the AUROC (NaN if no label has both classes there)."""
        torch, size = self.torch, 2 * self.arguments["batch_size"]
        self.network.eval()
        logits, total = [], 0.0
        with torch.inference_mode():
            for start in range(0, len(self.validate_at), size):
                batch = self.validate_at[start : start + size]
                images = standardise(float_batch(torch, self.material.pixels[batch], self.device))
                with self._autocast():
                    answer = self.network(fast_layout(torch, images, self.device))
                total += float(self._losses(answer.float(), self.material.labels[batch]).sum())
                logits.append(answer.float().cpu().numpy())
        truth, answers = self.material.labels[self.validate_at], np.concatenate(logits)
        known = ~np.isnan(truth)
        loss = total / int(known.sum())
        aurocs = [
            roc_auc_score(truth[k, j], answers[k, j])
            for j, k in enumerate(known.T)
            if np.isfinite(answers[k, j]).all() and len(np.unique(truth[k, j])) == 2
        ]
        return loss, float(np.mean(aurocs)) if aurocs else math.nan

    def _losses(self, logits: Any, labels: np.ndarray) -> Any:
        """Return weighted cross-entropies of shape (n, n_labels), 0 where the label is unknown."""
        torch = self.torch
        known = torch.from_numpy(~np.isnan(labels)).to(self.device)
        truth = torch.from_numpy(np.nan_to_num(labels).astype(np.float32)).to(self.device)
        weights = torch.from_numpy(self.class_weights).to(self.device)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, truth, pos_weight=weights, reduction="none"
        )
        return losses * known

    def _autocast(self) -> Any:
        if self.precision is None:
            return nullcontext()  # autocast does not know every device, even where it is not enabled
        return self.torch.autocast(self.device.type, dtype=self.precision)

    def to_bytes(self) -> bytes:
        """Return a checkpoint. Order, draws and learning rate follow from the seed and the number of the epoch."""
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        about = {
            "state": "training",
            "config": self.config,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "scaler": self.scaler.state_dict(),
        }
        return to_bytes(tensors, about)

    def restore(self, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Go back to where a checkpoint was written."""
        torch = self.torch
        parts: dict[str, dict[str, Any]] = {"model": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.network.load_state_dict(parts["model"])
        self.best = parts["best"]
        state: dict[int, dict[str, Any]] = {}
        parameters = list(self.network.parameters())
        for name, tensor in parts["optimizer"].items():
            number, _, key = name.partition(".")
            like = parameters[int(number)]
            if tensor.shape == like.shape and tensor.ndim:
                # In the layout of its parameter: other strides may be added up in another order.
                tensor = torch.empty_like(like, memory_format=torch.preserve_format).detach().copy_(tensor)
            state.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.scaler.load_state_dict(about["scaler"])
        self.history = [list(row) for row in about["history"]]
        self.best_epoch = about["best_epoch"]


def _augment(torch: Any, images: Any, draws: Any) -> Any:
    """Return images (n, 1, side, side) in [0, 1] shifted, turned, zoomed and re-exposed, then standardised."""
    n = len(images)

    def even(most: float) -> Any:
        return ((torch.rand(n, generator=draws) * 2 - 1) * most).to(images.device)

    turn, zoom = even(math.radians(TURN_DEGREES)), 1 + even(ZOOM)
    cosine, sine = zoom * turn.cos(), zoom * turn.sin()
    rows = [cosine, -sine, even(SHIFT), sine, cosine, even(SHIFT)]
    maps = torch.cat([row[:, None] for row in rows], dim=1).view(n, 2, 3)
    grid = torch.nn.functional.affine_grid(maps, list(images.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(images, grid, padding_mode="zeros", align_corners=False)
    # A curve before and a line after standardising, which would undo a line.
    curved = standardise(moved.clamp(0, 1) ** even(LOG_GAMMA).exp().view(n, 1, 1, 1))
    return curved * (1 + even(CONTRAST)).view(n, 1, 1, 1) + even(BRIGHTNESS).view(n, 1, 1, 1)


def _one_cycle(step: int, n_steps: int, highest: float) -> float:
    """Return the learning rate of a step: up to `highest` and down to almost nothing, along half cosines."""
    peak = max(WARM_SHARE * n_steps - 1, 1.0)
    low = highest / START_DIVISOR
    if step <= peak:
        start, end, share = low, highest, step / peak
    else:
        start, end, share = highest, low / END_DIVISOR, (step - peak) / max(n_steps - 1 - peak, 1)
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1))) / 2


def _class_weights(labels: np.ndarray, balance: bool) -> np.ndarray:
    """Return the weight of a positive for each label, float32; negatives weigh 1."""
    if not balance:
        return np.ones(labels.shape[1], dtype=np.float32)
    negative, positive = (labels == 0).sum(axis=0), (labels == 1).sum(axis=0)
    return np.clip(negative / positive, 1 / LARGEST_CLASS_WEIGHT, LARGEST_CLASS_WEIGHT).astype(np.float32)


def _labels(data: AuditData, labels: Any) -> tuple[np.ndarray, list[str]]:
    """Return labels as float64 (n_samples, n_labels) with NaN for unknown, and their names."""
    if labels is None:
        if data.kind == "multiclass":
            check_binary(data, "training, which learns labels of 0 and 1")
        return data.y_true.astype(np.float64).reshape(data.n_samples, -1), list(data.label_names)
    if isinstance(labels, pd.Series):
        labels = labels.to_frame(data.label_name if labels.name is None else labels.name)
    names = None
    if isinstance(labels, pd.DataFrame):
        names = [str(column) for column in labels.columns]
        if len(labels) == data.n_samples and not labels.index.equals(data.sample_id):
            raise InputError(
                "labels", "the index of data.sample_id", "another index", "Reindex it: labels.loc[data.sample_id]."
            )
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if repeated:
            raise InputError("labels", "a name for each column", f"{repeated[0]!r} twice", "Rename the columns.")
    try:
        values = np.asarray(labels, dtype=np.float64)
    except (ValueError, TypeError):
        raise InputError("labels", "0, 1 or NaN", "values that are no numbers", "Map them to 0 and 1.") from None
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[0] != data.n_samples or values.shape[1] == 0:
        raise InputError(
            "labels", f"shape ({data.n_samples}, n_labels)", f"{np.shape(labels)}", "Give one row a sample, in order."
        )
    if not (np.isnan(values) | np.isin(values, (0, 1))).all():
        raise InputError(
            "labels",
            "0, 1 or NaN (unknown)",
            "other values",
            "Map them first; CheXpert's -1 (uncertain) may become NaN.",
        )
    if names is None:
        single = values.shape[1] == 1
        names = [data.label_name] if single else [f"label_{j}" for j in range(values.shape[1])]
    return values, names


def _validation(data: AuditData, fraction: Any, seed: int) -> np.ndarray:
    if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 < fraction < 1:
        raise InputError("validation_fraction", "a number between 0 and 1", f"{fraction!r}", "Use 0.2.")
    return data.split_mask(float(fraction), random_state=seed % 2**32)


def _check_classes(labels: np.ndarray, names: list[str], in_training: np.ndarray) -> None:
    """Raise `InputError` for the first label that cannot be learned from the training part."""
    for name, column in zip(names, labels[in_training].T, strict=True):
        there = sorted({int(v) for v in column[~np.isnan(column)]})
        if len(there) < 2:
            raise InputError(
                "labels",
                f"both classes, 0 and 1, of {name!r} in the training part",
                f"only {there[0]}" if there else "no known value",
                "Add samples of the other, leave the label out, or lower validation_fraction.",
            )
    if np.isnan(labels[~in_training]).all():
        raise InputError(
            "labels",
            "a known value in the validation part",
            "only NaN",
            "Raise validation_fraction, or try another random_state.",
        )


def _seed(random_state: Any, checkpoint: Any) -> int:
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool):
        check_int("random_state", random_state, 0, 2**63 - 1)
        return int(random_state)
    if random_state is not None and not isinstance(random_state, np.random.RandomState):
        got = type(random_state).__name__
        raise InputError("random_state", "a whole number, a RandomState or None", got, "Give a number such as 0.")
    if checkpoint is not None:
        raise InputError(
            "random_state",
            "a whole number beside checkpoint, so that training can go on as it began",
            "None" if random_state is None else "a RandomState",
            "Give a number such as 0.",
        )
    return int(check_random_state(random_state).randint(2**31 - 1))


def _check_number(argument: str, value: Any, *, above: float | None = None, least: float | None = None) -> None:
    limit = f"above {above:g}" if above is not None else f"of at least {least:g}"
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    fits = is_number and math.isfinite(value) and (value > above if above is not None else value >= least)
    if not fits:
        raise InputError(argument, f"a finite number {limit}", f"{value!r}", "Leave it out for the default.")


def _fingerprint(material: _Set) -> str:
    digest = hashlib.sha256(str(material.pixels.shape).encode())
    for part in material:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _check_same(config: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Raise `InputError` that says in what a checkpoint was made otherwise."""

    def flat(of: Mapping[str, Any]) -> dict[str, Any]:
        # The numbers of samples follow from the data; their name and the versions change no result that is promised.
        data = {"data": (of.get("data") or {}).get("fingerprint")}
        chosen = {k: of.get(k) for k in ("architecture", "image_size", "labels")}
        return {**chosen, **(of.get("arguments") or {}), **data}

    now, then = flat(config), flat(stored)
    differs = [k for k in now if now[k] != then.get(k)]
    if not differs:
        return
    hidden = ("data", "weights")  # fingerprints, which say nothing to a reader
    said = ", ".join(k if k in hidden else f"{k} ({then.get(k)!r} there, {now[k]!r} here)" for k in differs)
    raise InputError(
        "checkpoint",
        "a file of a training with the same arguments and data",
        f"one that differs in {said}",
        "Choose another path, or delete the file to begin anew.",
    )
