"""Encoders: from images, reports and metadata to arrays.

The first ones need no download and no PyTorch; those that run a network load it when they are first used.
"""

from mmaudit.encoders._classifier import ClassifierEncoder
from mmaudit.encoders._clip_training import evaluate_joint_space, train_clip
from mmaudit.encoders._features import Features, encode
from mmaudit.encoders._image import ImageDescriptor, ImageTable, describe_images
from mmaudit.encoders._metadata import MetadataEncoder
from mmaudit.encoders._open_clip import OpenCLIPEncoder
from mmaudit.encoders._report import ReportEncoder, TermIndicator
from mmaudit.encoders._transformers import TransformersEncoder
from mmaudit.encoders._xrv import XRVEncoder
from mmaudit.text import label_terms, report_terms

__all__ = [
    "ClassifierEncoder",
    "Features",
    "ImageDescriptor",
    "ImageTable",
    "MetadataEncoder",
    "OpenCLIPEncoder",
    "ReportEncoder",
    "TermIndicator",
    "TransformersEncoder",
    "XRVEncoder",
    "describe_images",
    "encode",
    "evaluate_joint_space",
    "label_terms",
    "report_terms",
    "train_clip",
]
