"""Explainers: what sets a slice apart, in words; hypotheses, not causes."""

from mmaudit.explain._describe import SHARES, Trait, TraitFinder, describe, find_traits, metric_words, sentence
from mmaudit.explain._phrases import rank_phrases

__all__ = ["SHARES", "Trait", "TraitFinder", "describe", "find_traits", "metric_words", "rank_phrases", "sentence"]
