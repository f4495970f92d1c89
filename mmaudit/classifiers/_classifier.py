"""A trained classifier: what it predicts, how it was trained, and the file it lives in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit.classifiers._file import check_target, from_bytes, read_file, to_bytes, write_file
from mmaudit.classifiers._images import as_images, check_data, check_int, check_readable, in_batches, read_square
from mmaudit.classifiers._networks import ARCHITECTURES, LARGEST_PX, SMALLEST_PX, build
from mmaudit.classifiers._torch import choose_device, fast_layout, float_batch, need_torch, standardise
from mmaudit.data import AuditData, check_binary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["HISTORY", "Classifier", "Network", "load_classifier"]

HISTORY = ("epoch", "train_loss", "validation_loss", "validation_auroc", "learning_rate", "seconds")
MOST_LABELS = 1000
WITHOUT_PREDICTION = "They get no prediction."
LEFT_OUT = "These samples are left out of what is returned."


@dataclass(frozen=True)
class Network:
    """A torch module, and how images go through it; for what looks inside a classifier.

    Attributes
    ----------
    module : torch.nn.Module
    image_size : int
        Side of the squares it takes, in pixels.
    fit : {"pad", "crop", "stretch"}
        How images become square.
    forward : callable
        Squares of bytes, (n, image_size, image_size), to what the module answers; in evaluation mode.
    scaling : mapping
        What else decides how bytes become the module's input.
    """

    module: Any
    image_size: int
    fit: str
    forward: Callable[[Sequence[np.ndarray]], Any]
    scaling: Mapping[str, Any]


class Classifier:
    """A network trained by `train`, or read by `load_classifier`.

    Attributes
    ----------
    labels : tuple of str
        What the columns of `predict_proba` mean.
    history : DataFrame, one row an epoch
        Columns epoch (from 1), train_loss and validation_loss (binary cross-entropy with class weights, in nats),
        validation_auroc (mean over the labels that have both classes in the validation part, else NaN),
        learning_rate (at the end of the epoch) and seconds.
    config : dict
        Architecture, size of the images, arguments of `train`, numbers of samples and patients, best epoch. A copy.
    """

    def __init__(self, network: Any, *, config: Mapping[str, Any], history: Sequence[Sequence[float]], device: Any):
        torch = need_torch("a classifier")
        self._config = dict(config)
        self._history = [list(row) for row in history]
        self._device = device
        self._network = fast_layout(torch, network.to(device), device).eval()

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of `predict_proba` mean."""
        return tuple(self._config["labels"])

    @property
    def config(self) -> dict[str, Any]:
        """How it was trained: a copy."""
        return copy.deepcopy(self._config)

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch: a copy."""
        return pd.DataFrame(self._history, columns=list(HISTORY)).astype({"epoch": int})

    @property
    def device(self) -> str:
        """Where it computes, such as "cpu" or "cuda"."""
        return str(self._device)

    @check_keywords
    def predict_proba(
        self, data_or_images: Any, *, batch_size: int = 64, n_jobs: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Return the probability of each label for each image.

        Parameters
        ----------
        data_or_images : AuditData, ImageSource, or arrays
            Arrays: (n_samples, height, width), or a list of (height, width); uint8, or float in [0, 1].
        batch_size : int
            Images computed at a time. The last digits of a probability depend on it.
        n_jobs : int or None
            Threads that read images. None: all cores.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        ndarray of shape (n_samples, n_labels), float64 in [0, 1]
            Columns in the order of `labels`; rows of unreadable images are NaN.

        Raises
        ------
        InputError
            Data without images, arrays of another kind, or more than 5 % of the images unreadable.

        Warns
        -----
        AuditWarning
            Of unreadable images, and of images with more than 8 bits.
        """
        images = as_images(data_or_images)
        return self._predict(images, batch_size, n_jobs, progress, consequence=WITHOUT_PREDICTION)

    @check_keywords
    def predict(
        self,
        data: AuditData,
        *,
        label: str | None = None,
        batch_size: int = 64,
        n_jobs: int | None = None,
        progress: bool = False,
    ) -> AuditData:
        """Return the data with this classifier's probabilities as `y_proba`.

        Parameters
        ----------
        data : AuditData of n_samples, with images
        label : str or None
            Which of `labels`. None: the one called `data.label_name`, or the only one; for data with several labels,
            those of the same names.
        batch_size, n_jobs, progress
            See `predict_proba`.

        Returns
        -------
        AuditData
            Without the samples whose image cannot be read; a warning says how many.

        Raises
        ------
        InputError
            No such label, data of classes, or as in `predict_proba`.

        Notes
        -----
        Audit samples of patients that the classifier was not trained on: it fails less on those it was.
        """
        images = check_data(data)
        if data.kind == "multilabel" and label is None:
            column: Any = [self._column(name, name) for name in data.label_names]
        else:
            check_binary(data, "the predictions of one label")
            column = self._column(label, data.label_name)
        proba = self._predict(images, batch_size, n_jobs, progress, consequence=LEFT_OUT)[:, column]
        return with_readable(data, proba)

    def _predict(
        self, images: Any, batch_size: int, n_jobs: int | None, progress: bool, consequence: str
    ) -> np.ndarray:
        check_int("batch_size", batch_size, 1, 100_000)
        torch = need_torch("a classifier")
        side_px = self._config["image_size"]

        def apply(squares: list[np.ndarray]) -> np.ndarray:
            with torch.inference_mode():
                return torch.sigmoid(self._forward(squares)).cpu().double().numpy()

        proba, errors = in_batches(
            images,
            lambda source, i: read_square(source, i, side_px),
            apply,
            n_columns=len(self.labels),
            batch_size=batch_size,
            n_jobs=n_jobs,
            progress=progress,
        )
        check_readable(errors, consequence, stacklevel=4)
        return proba

    def _forward(self, squares: Sequence[np.ndarray]) -> Any:
        """Return the logits of squares of bytes."""
        torch = need_torch("a classifier")
        batch = standardise(float_batch(torch, np.stack(squares), self._device))
        return self._network(fast_layout(torch, batch, self._device))

    @property
    def network(self) -> Network:
        """How images go through the network."""
        return Network(self._network, self._config["image_size"], "pad", self._forward, {})

    def _column(self, label: str | None, label_name: str) -> int:
        if label is None:
            if label_name in self.labels:
                return self.labels.index(label_name)
            if len(self.labels) == 1:
                return 0
            raise InputError(
                "label",
                "one of this classifier's labels, since none is called as the label of the data",
                "None",
                f"They are: {', '.join(self.labels)}.{nearest(label_name, self.labels)}",
            )
        if label not in self.labels:
            raise InputError(
                "label",
                "one of this classifier's labels",
                f"{label!r}",
                f"They are: {', '.join(self.labels)}.{nearest(label, self.labels)}",
            )
        return self.labels.index(label)

    def plot_history(self, ax: Any = None) -> Figure:
        """Return a matplotlib figure of the losses and the validation AUROC by epoch.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Where to draw. None: a new figure.
        """
        import matplotlib.pyplot as plt

        history = self.history
        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
        # Okabe-Ito colours; line styles tell the curves apart without colour.
        ax.plot(history["epoch"], history["train_loss"], color="#0072B2", linestyle="--", label="training loss")
        ax.plot(history["epoch"], history["validation_loss"], color="#D55E00", marker="o", label="validation loss")
        best = self._config["best_epoch"]
        ax.axvline(best, color="#5c6670", linewidth=1, linestyle=":", label=f"best epoch ({best})")
        ax.set(xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))
        ax.xaxis.get_major_locator().set_params(integer=True)
        right = ax.twinx()
        right.plot(
            *(history["epoch"], history["validation_auroc"]),
            **{"color": "#009E73", "marker": "^", "linestyle": "-.", "label": "validation AUROC"},
        )
        right.set(ylabel="AUROC", ylim=(0.4, 1.02))
        handles = [*ax.get_legend_handles_labels()[0], *right.get_legend_handles_labels()[0]]
        right.legend(handles=handles, loc="center right", frameon=False, fontsize="small")
        return ax.figure

    @check_keywords
    def save(self, path: str | Path) -> Path:
        """Write the classifier to a safetensors file, which `load_classifier` reads.

        Parameters
        ----------
        path : path
            Such as "x.safetensors". Replaced if it exists; whole at any moment.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            Another kind of name, or a folder that does not exist.

        Notes
        -----
        The file holds weights, configuration and history; no image, id or label. A network can remember what it was
        trained on: where the data may not be passed on, ask whether the classifier may.
        """
        target = check_target("path", path)
        write_file(target, self._to_bytes())
        return target

    def _to_bytes(self) -> bytes:
        tensors = {f"model.{name}": tensor for name, tensor in self._network.state_dict().items()}
        return to_bytes(tensors, {"state": "finished", "config": self._config, "history": self._history})

    def __reduce__(self) -> Any:
        return _from_bytes, (self._to_bytes(), self.device)

    def __repr__(self) -> str:
        config = self._config
        shown = ", ".join(self.labels[:6]) + (f" and {len(self.labels) - 6} more" if len(self.labels) > 6 else "")
        lines = [
            f"Classifier {config['architecture']!r} for {shown}",
            f"  images      {config['image_size']} x {config['image_size']} pixels, grey, on {self.device}",
        ]
        if self._history:  # one that was made without `train` has none
            data, best = config["data"], config["best_epoch"]
            row = self._history[best - 1]
            auroc = "" if np.isnan(row[3]) else f", AUROC {row[3]:.3f}"
            lines += [
                f"  training    {data['n_train']:,} samples of {data['n_train_patients']:,} patients",
                f"  validation  {data['n_validation']:,} samples of {data['n_validation_patients']:,} other patients",
                f"  best epoch  {best} of {len(self._history)}: validation loss {row[2]:.3f}{auroc}",
            ]
        return "\n".join(lines)


@check_keywords
def load_classifier(path: str | Path, *, device: str = "auto") -> Classifier:
    """Return the classifier that `Classifier.save`, or a finished `train(..., checkpoint=path)`, wrote.

    Parameters
    ----------
    path : path
        A safetensors file. Reading one runs no code from it.
    device : {"auto", "cpu", "cuda", "mps"} or such as "cuda:1"
        Where it computes. "auto": a GPU where there is one.

    Raises
    ------
    InputError
        No file, a damaged one, one of another kind, or a checkpoint of a training that has not finished.
    MissingExtraError
        PyTorch or safetensors is not installed.
    """
    torch = need_torch("loading a classifier")
    return restore("path", *read_file("path", path), choose_device(torch, device))


def restore(argument: str, tensors: Mapping[str, Any], about: Mapping[str, Any], device: Any) -> Classifier:
    """Return the classifier that a file holds."""
    if about.get("state") != "finished":
        history = about.get("history")
        n_epochs = len(history) if isinstance(history, list) else 0
        raise InputError(
            argument,
            "a finished classifier",
            f"a checkpoint after {n_epochs} epochs of a training that goes on",
            "Call train() with the same arguments and this checkpoint to finish it.",
        )
    config, history = _checked(argument, about)
    network = build(config["architecture"], len(config["labels"]))
    try:
        network.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items()})
    except RuntimeError:
        raise InputError(
            argument,
            f"the tensors of a {config['architecture']}",
            "others",
            "It was changed, or saved by another version.",
        ) from None
    return Classifier(network, config=config, history=history, device=device)


def _checked(argument: str, about: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[float]]]:
    """Return configuration and history of a header, or raise before anything is built that it asks for."""
    config: Any = about.get("config")
    history: Any = about.get("history")
    try:
        labels, size = config["labels"], config["image_size"]
        data = config["data"] if history else {}  # one that was made without `train` has neither
        counts = [data[f"n_{part}{who}"] for part in ("train", "validation") for who in ("", "_patients") if history]
        fits = config["architecture"] in ARCHITECTURES and all(type(n) is int for n in (size, *counts))
        fits = fits and SMALLEST_PX <= size <= LARGEST_PX
        fits = fits and isinstance(labels, list) and 0 < len(set(labels)) == len(labels) <= MOST_LABELS
        fits = fits and all(isinstance(label, str) for label in labels)
        fits = fits and all(len(row) == len(HISTORY) and type(row[0]) is int for row in history)
        fits = fits and all(type(n) is float or (type(n) is int and abs(n) < 2**53) for row in history for n in row)
        best = config["best_epoch"] if history else 0
        fits = fits and isinstance(history, list) and type(best) is int and min(1, len(history)) <= best <= len(history)
    except (KeyError, TypeError, IndexError):
        fits = False
    if not fits:
        raise InputError(
            argument, "a header that describes a classifier", "one that does not", "Save the classifier again."
        )
    return config, history


def with_readable(data: AuditData, proba: np.ndarray) -> AuditData:
    """Return the data with these probabilities, without the samples that have none."""
    there = ~np.isnan(proba.reshape(len(proba), -1)).any(axis=1)
    return (data if there.all() else data.subset(there)).with_predictions(proba[there])


def _from_bytes(content: bytes, device: str) -> Classifier:
    torch = need_torch("a classifier")
    kind = device.partition(":")[0]
    there = kind == "cpu" or (kind == "cuda" and torch.cuda.is_available())
    return restore("classifier", *from_bytes("classifier", content), choose_device(torch, device if there else "auto"))
