"""Classifiers to audit: train one on the images of the data, or wrap a model that is already there.

PyTorch is imported when a classifier is trained or loaded, not before; `wrap` needs only what the model itself needs.
"""

from mmaudit.classifiers._classifier import Classifier, load_classifier
from mmaudit.classifiers._train import train
from mmaudit.classifiers._wrap import WrappedModel, wrap

__all__ = ["Classifier", "WrappedModel", "load_classifier", "train", "wrap"]
