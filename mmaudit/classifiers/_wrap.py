"""Anybody's model behind the same two methods: a function, a torch module, scikit-learn, or a pipeline of transformers.

The kind is told by what the model can do, so that none of these packages is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image

from mmaudit._errors import InputError, check_keywords, nearest
from mmaudit.classifiers._classifier import LEFT_OUT, WITHOUT_PREDICTION, Classifier, Network, with_readable
from mmaudit.classifiers._images import FITS, as_images, check_data, check_int, check_readable, in_batches, read_square
from mmaudit.data import AuditData, check_binary

__all__ = ["WrappedModel", "wrap"]

IMAGE_SIZE = 224
ACTIVATIONS = ("sigmoid", "softmax", "none")
MANY = 100_000  # more labels than any pipeline has; it answers with all
# What each kind of model listens to, beside batch_size.
_LISTENS = {
    "a function": {"image_size", "fit", "output"},
    "a torch module": {"image_size", "fit", "channels", "mean", "std", "activation", "output"},
    "a scikit-learn estimator": {"image_size", "fit", "features", "positive_label"},
    "a transformers pipeline": {"positive_label"},
}
_TOLERANCE = 1e-6
Apply = Callable[[list[Any], str | None], Any]  # a batch and the label of the data give n probabilities


class WrappedModel:
    """A model that was made elsewhere, with the methods of a `Classifier`; made by `wrap`.

    Attributes
    ----------
    kind : str
        Such as "a torch module".
    network : Network or None
        Of a torch module, how images go through it. None for the other kinds.
    """

    def __init__(
        self,
        kind: str,
        read_one: Callable[[Any, int], tuple[Any, int]],
        apply: Apply,
        batch_size: int,
        network: Network | None = None,
    ) -> None:
        self.kind = kind
        self.network = network
        self._read_one = read_one
        self._apply = apply
        self._batch_size = batch_size

    def __repr__(self) -> str:
        return f"WrappedModel({self.kind})"

    @check_keywords
    def predict_proba(
        self, data_or_images: Any, *, batch_size: int | None = None, n_jobs: int | None = None, progress: bool = False
    ) -> np.ndarray:
        """Return the probability of label 1 for each image.

        Parameters
        ----------
        data_or_images : AuditData, ImageSource, or arrays
            Arrays: (n_samples, height, width), or a list of (height, width); uint8, or float in [0, 1].
        batch_size : int or None
            Images a call of the model. None: as `wrap` was told.
        n_jobs : int or None
            Threads that read images. None: all cores.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        ndarray of shape (n_samples, 1), float64 in [0, 1]
            Rows of unreadable images are NaN.

        Raises
        ------
        InputError
            Data without images, more than 5 % of the images unreadable, or answers of the model that are no
            probabilities, one an image.
        """
        images = as_images(data_or_images)
        return self._predict(images, batch_size, n_jobs, progress, None, WITHOUT_PREDICTION)[:, None]

    @check_keywords
    def predict(
        self, data: AuditData, *, batch_size: int | None = None, n_jobs: int | None = None, progress: bool = False
    ) -> AuditData:
        """Return the data with this model's probabilities as `y_proba`.

        Parameters
        ----------
        data : AuditData of n_samples, with images
        batch_size, n_jobs, progress
            See `predict_proba`.

        Returns
        -------
        AuditData
            Without the samples whose image cannot be read; a warning says how many.
        """
        images = check_data(data)
        check_binary(data, "a wrapped model, which gives one probability an image")
        return with_readable(data, self._predict(images, batch_size, n_jobs, progress, data.label_name, LEFT_OUT))

    def _predict(
        self,
        images: Any,
        batch_size: int | None,
        n_jobs: int | None,
        progress: bool,
        label_name: str | None,
        consequence: str,
    ) -> np.ndarray:
        batch_size = self._batch_size if batch_size is None else batch_size
        check_int("batch_size", batch_size, 1, 100_000)

        def apply(batch: list[Any]) -> np.ndarray:
            return _checked(self._apply(batch, label_name), len(batch))[:, None]

        proba, errors = in_batches(
            images,
            self._read_one,
            apply,
            n_columns=1,
            batch_size=batch_size,
            n_jobs=n_jobs,
            progress=progress,
        )
        check_readable(errors, consequence, stacklevel=4)
        return proba[:, 0]


@check_keywords
def wrap(
    model: Any,
    *,
    image_size: int | None = None,
    fit: str | None = None,
    channels: int | None = None,
    mean: Any = None,
    std: Any = None,
    activation: str | None = None,
    output: int | None = None,
    features: Callable[[np.ndarray], Any] | None = None,
    positive_label: Any = None,
    batch_size: int = 32,
) -> WrappedModel | Classifier:
    """Return any model with the methods `predict(data)` and `predict_proba(data)`.

    Parameters
    ----------
    model : callable, torch.nn.Module, scikit-learn estimator or transformers pipeline
        - A function: called with images (n, height, width), float32 in [0, 1]; answers n probabilities of label 1, or
          columns of them, of which `output` says which.
        - A torch module: called with (n, channels, height, width), in evaluation mode and without gradients, on its
          own device; afterwards every layer is in the mode it was in. An answer with `logits` is understood.
        - A fitted estimator or pipeline of scikit-learn with `predict_proba`: called with (n, height * width), or what
          `features` returns.
        - `transformers.pipeline("image-classification")`: called with whole images as PIL images in RGB; it resizes
          them itself.
        - A `Classifier` is returned as it is.
    image_size : int or None
        Width and height in pixels, 8 to 2048. None: 224.
    fit : {"pad", "crop", "stretch"} or None
        How images become square: "pad" puts black beside them, "crop" cuts the longer side, "stretch" changes the
        aspect. Take what the model was trained with. None: "pad".
    channels : {1, 3} or None
        Torch only. 3 repeats the grey image. None: as many as the module's first convolution has.
    mean, std : float, sequence of `channels` floats, or None
        Torch only: subtracted from grey values in [0, 1], then divided by. None: 0 and 1. ImageNet's are
        (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225); torchxrayvision's models take mean=0.5, std=0.5 / 1024.
    activation : {"sigmoid", "softmax", "none"} or None
        Torch only: what makes probabilities of the answer. None: "sigmoid".
    output : int or None
        Which column of the answer is label 1. None: the only one; with "softmax" and two columns, the second.
    features : callable or None
        scikit-learn only: called with images (n, height, width), float32 in [0, 1]; returns (n, n_features). None:
        the pixels.
    positive_label : str, int or None
        Which class is label 1, as in `classes_` of an estimator or as a pipeline names it. None: class 1 or True of
        an estimator; the pipeline's label that is called as the label of the data, upper and lower case alike.
    batch_size : int
        Images a call of the model.

    Returns
    -------
    WrappedModel

    Raises
    ------
    InputError
        An argument out of range or one that this kind of model does not use; an estimator without `predict_proba`.
    TypeError
        A model of none of these kinds.

    Notes
    -----
    Answers are checked at each call: as many as images, finite, in [0, 1]. Whether images are prepared as the model
    was trained with cannot be checked; compare its average with what is known of it before an audit.

    Examples
    --------
    >>> import mmaudit.classifiers
    >>> from mmaudit.datasets import load_phantom
    >>> reader = mmaudit.classifiers.wrap(lambda images: images.mean(axis=(1, 2)), image_size=32)
    >>> reader.predict_proba(load_phantom(2, image_size=64)).shape[1]
    1
    """
    if isinstance(model, (Classifier, WrappedModel)):
        return model
    kind = _kind(model)
    given = {"image_size": image_size, "fit": fit, "channels": channels, "mean": mean, "std": std}
    given |= {"activation": activation, "output": output, "features": features, "positive_label": positive_label}
    for argument, value in given.items():
        if value is not None and argument not in _LISTENS[kind]:
            raise InputError(
                argument,
                f"one of the arguments that {kind} uses ({', '.join(sorted(_LISTENS[kind]))})",
                "one that it does not",
                "Leave it out.",
            )
    side_px = IMAGE_SIZE if image_size is None else image_size
    check_int("image_size", side_px, 8, 2048)
    check_int("batch_size", batch_size, 1, 100_000)
    fit = "pad" if fit is None else fit
    _check_choice("fit", fit, FITS)
    if output is not None:
        check_int("output", output, 0, 1_000_000)

    def read_one(images: Any, index: int) -> tuple[np.ndarray, int]:
        return read_square(images, index, side_px, fit)

    if kind == "a transformers pipeline":
        return WrappedModel(kind, _read_whole, _pipeline(model, positive_label), batch_size)
    if kind == "a torch module":
        _check_choice("activation", "sigmoid" if activation is None else activation, ACTIVATIONS)
        forward = _forward(model, channels, mean, std)
        network = Network(model, side_px, fit, forward, {"mean": mean, "std": std})
        return WrappedModel(kind, read_one, _module(forward, activation, output), batch_size, network)
    if kind == "a scikit-learn estimator":
        apply = _estimator(model, features, positive_label)
    else:
        apply = _function(model, output)
    return WrappedModel(kind, read_one, apply, batch_size)


def _kind(model: Any) -> str:
    torch = sys.modules.get("torch")  # whoever has a module has imported it
    if torch is not None and isinstance(model, torch.nn.Module):
        return "a torch module"
    if getattr(model, "task", None) == "image-classification" and callable(model):
        return "a transformers pipeline"
    if isinstance(getattr(model, "task", None), str) and hasattr(model, "tokenizer"):
        raise InputError(
            "model",
            "a pipeline for image-classification",
            f"one for {model.task}",
            'Make it with transformers.pipeline("image-classification", ...).',
        )
    if isinstance(model, type):
        raise TypeError(f"model: expected a model, got the class {model.__name__}. Make an object of it and fit it.")
    if hasattr(model, "predict_proba"):
        return "a scikit-learn estimator"
    if hasattr(model, "decision_function"):
        raise InputError(
            "model",
            "an estimator with predict_proba",
            f"{type(model).__name__}, which has only decision_function",
            "Calibrate it first: sklearn.calibration.CalibratedClassifierCV(model).fit(X, y).",
        )
    if callable(model):
        return "a function"
    raise TypeError(
        f"model: expected a function, a torch module, a scikit-learn classifier or a transformers pipeline, got "
        f"{type(model).__name__}. Write a function from images (n, height, width) to n probabilities."
    )


def _grey(batch: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(batch).astype(np.float32) / 255


def _function(model: Any, output: int | None) -> Apply:
    def apply(batch: list[Any], label_name: str | None) -> Any:
        return _column(_as_array(model(_grey(batch))), len(batch), output)

    return apply


def _estimator(model: Any, features: Any, positive_label: Any) -> Apply:
    if features is not None and not callable(features):
        raise TypeError(
            f"features: expected a function from images to features, got {type(features).__name__}. Leave it out to "
            "give the pixels."
        )
    if hasattr(model, "classes_"):
        _class_column(model, positive_label)  # before any image is read

    def apply(batch: list[Any], label_name: str | None) -> Any:
        images = _grey(batch)
        X = images.reshape(len(images), -1) if features is None else features(images)
        answer = model.predict_proba(X)
        if isinstance(answer, list):
            raise InputError(
                "model", "one label", f"the answers of {len(answer)} labels", "Wrap one estimator a label."
            )
        return _column(_as_array(answer), len(batch), _class_column(model, positive_label))

    return apply


def _class_column(model: Any, positive_label: Any) -> int | None:
    if not hasattr(model, "classes_"):
        return 1
    classes = list(model.classes_)
    wanted = 1 if positive_label is None else positive_label
    if wanted not in classes:
        raise InputError(
            "positive_label",
            "the class that is label 1",
            "None, and no class is 1" if positive_label is None else repr(positive_label),
            f"The estimator's classes are: {', '.join(str(c) for c in classes[:12])}.",
        )
    if len(classes) < 2:
        raise InputError("model", "an estimator of two classes", "one of one class", "Fit it on both.")
    return classes.index(wanted)


def _pipeline(model: Any, positive_label: Any) -> Apply:
    def apply(batch: list[Any], label_name: str | None) -> Any:
        answers = model(batch, top_k=MANY)
        if not isinstance(answers, list) or len(answers) != len(batch):
            size = f" of {len(answers)}" if isinstance(answers, list) else ""
            raise InputError(
                "model",
                f"a list of {len(batch)} answers",
                f"a {type(answers).__name__}{size}",
                "Check the pipeline.",
            )
        return [_score(answer, positive_label, label_name) for answer in answers]

    return apply


def _score(answer: Any, positive_label: Any, label_name: str | None) -> float:
    try:
        scores = {str(row["label"]): float(row["score"]) for row in answer}
    except (TypeError, KeyError, ValueError):
        raise InputError(
            "model", 'lists of {"label": ..., "score": ...}', "other answers", "Check the pipeline."
        ) from None
    wanted = label_name if positive_label is None else str(positive_label)
    exact = [name for name in scores if name == wanted]
    alike = exact or [name for name in scores if wanted is not None and name.lower() == wanted.lower()]
    if not alike:
        raise InputError(
            "positive_label",
            "the pipeline's name of label 1",
            "None" if positive_label is None else repr(positive_label),
            f"Its labels are: {', '.join(list(scores)[:12])}.{nearest(wanted or '', scores)}",
        )
    return scores[alike[0]]


def _read_whole(images: Any, index: int) -> tuple[Image.Image, int]:
    image = images.read(index)
    grey = np.rint(np.clip(image.pixels, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB"), image.bit_depth


def _forward(model: Any, channels: int | None, mean: Any, std: Any) -> Callable[[Sequence[np.ndarray]], Any]:
    """Return the function from squares of bytes to what a torch module answers."""
    if channels is None:
        channels = next(
            (m.in_channels for m in model.modules() if "Conv2d" in type(m).__name__ and hasattr(m, "in_channels")), None
        )
    if channels not in (1, 3) or isinstance(channels, bool):
        raise InputError("channels", "1 or 3", repr(channels), "Give the number the module takes.")
    shift = _per_channel("mean", 0.0 if mean is None else mean, channels)
    scale = _per_channel("std", 1.0 if std is None else std, channels)
    if not (scale > 0).all():
        raise InputError("std", "numbers above 0", "0 or less", "Leave it out for 1.")

    def forward(batch: Sequence[np.ndarray]) -> Any:
        torch = sys.modules["torch"]
        images = ((_grey(batch)[:, None] - shift[:, None, None]) / scale[:, None, None]).astype(np.float32)
        sample = next((p for p in (*model.parameters(), *model.buffers()) if p.is_floating_point()), None)
        tensor = torch.from_numpy(images)
        if sample is not None:
            tensor = tensor.to(device=sample.device, dtype=sample.dtype)
        with evaluating(model), torch.no_grad():
            return model(tensor)

    return forward


def _module(forward: Callable[[Sequence[np.ndarray]], Any], activation: str | None, output: int | None) -> Apply:
    activation = "sigmoid" if activation is None else activation

    def apply(batch: list[Any], label_name: str | None) -> Any:
        torch = sys.modules["torch"]
        answer = forward(batch)
        if isinstance(answer, Mapping):
            answer = answer.get("logits", answer)
        answer = getattr(answer, "logits", answer)
        if not isinstance(answer, torch.Tensor):
            raise InputError(
                "model", "a module that answers a tensor", f"{type(answer).__name__}", "Wrap a function around it."
            )
        answer = answer.detach().float().cpu()
        if activation == "softmax":
            if answer.ndim != 2 or answer.shape[1] < 2:
                raise InputError(
                    "activation",
                    "'sigmoid' or 'none' for one column",
                    f"'softmax' of an answer of shape {tuple(answer.shape)}",
                    "Use 'sigmoid'.",
                )
            column = 1 if output is None and answer.shape[1] == 2 else output
            return _column(answer.double().softmax(dim=1).numpy(), len(batch), column)
        values = answer.double().sigmoid() if activation == "sigmoid" else answer
        return _column(values.numpy(), len(batch), output)

    return apply


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a module in evaluation mode, and each of its layers back in its own: some may be frozen on purpose."""
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def _per_channel(argument: str, value: Any, channels: int) -> np.ndarray:
    try:
        values = np.asarray(value, dtype=np.float64)
    except (ValueError, TypeError):
        values = np.array([np.nan])
    if values.shape not in ((), (1,), (channels,)) or not np.isfinite(values).all():
        raise InputError(
            argument, f"a number, or {channels} of them", f"{value!r}", "Give one for each channel of the module."
        )
    return np.broadcast_to(values, (channels,))


def _as_array(answer: Any) -> np.ndarray:
    """Return what a model answered as an array of floats; tensors of any library come through `__array__`."""
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
    try:
        return np.asarray(answer, dtype=np.float64)
    except (ValueError, TypeError):
        raise InputError(
            "model", "numbers in [0, 1]", f"{type(answer).__name__} of something else", "Return an array of floats."
        ) from None


def _column(answer: np.ndarray, n: int, output: int | None) -> np.ndarray:
    """Return the column of an answer that is label 1."""
    if answer.ndim == 1 and output in (None, 0):
        return answer
    if answer.ndim != 2 or len(answer) != n:
        raise InputError(
            "model", f"one answer for each of {n} images", f"shape {answer.shape}", "Keep the batch first."
        )
    if output is None and answer.shape[1] == 1:
        return answer[:, 0]
    if output is None or output >= answer.shape[1]:
        raise InputError(
            "output",
            f"the column that is label 1, 0 to {answer.shape[1] - 1}",
            f"{output} for an answer of shape {answer.shape}",
            "Count from 0.",
        )
    return answer[:, output]


def _checked(answer: Any, n: int) -> np.ndarray:
    """Return n probabilities, or raise `InputError` that says what came instead."""
    proba = np.asarray(answer, dtype=np.float64)
    if proba.shape != (n,):
        raise InputError(
            "model", f"{n} probabilities for {n} images", f"an answer of shape {proba.shape}", "Return one an image."
        )
    bad = int((~np.isfinite(proba)).sum())
    if bad:
        raise InputError(
            "model",
            "finite probabilities",
            f"NaN or infinity for {bad} of {n} images",
            "Check how the images must be scaled for this model.",
        )
    low, high = proba.min(), proba.max()
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        percent = low >= 0 and high <= 100 and np.median(proba) > 1
        raise InputError(
            "model",
            "probabilities in [0, 1]",
            f"values from {low:.3g} to {high:.3g}{', perhaps percentages' if percent else ', perhaps logits'}",
            "Divide by 100." if percent else "Apply the sigmoid (for a torch module, activation='sigmoid').",
        )
    return np.clip(proba, 0, 1)


def _check_choice(argument: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(
            argument,
            f"one of {', '.join(choices)}",
            repr(value),
            f"Choose one of them.{nearest(str(value), choices)}",
        )
