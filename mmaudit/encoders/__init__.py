"""Encoders: from images, reports and metadata to arrays, with no download and no torch."""

from mmaudit.encoders._features import Features, encode
from mmaudit.encoders._image import ImageDescriptor, ImageTable, describe_images
from mmaudit.encoders._metadata import MetadataEncoder
from mmaudit.encoders._report import ReportEncoder, TermIndicator, label_terms, report_terms

__all__ = [
    "Features",
    "ImageDescriptor",
    "ImageTable",
    "MetadataEncoder",
    "ReportEncoder",
    "TermIndicator",
    "describe_images",
    "encode",
    "label_terms",
    "report_terms",
]
