"""Explainers: what sets a slice apart, in words; hypotheses, not causes."""

from mmaudit.explain._describe import SHARES, Trait, TraitFinder, describe, find_traits, metric_words, sentence

__all__ = ["SHARES", "Trait", "TraitFinder", "describe", "find_traits", "metric_words", "sentence"]
