"""Explainers: what sets a slice apart, in words; hypotheses, not causes."""

from mmaudit.explain._describe import Trait, TraitFinder, describe, find_traits, sentence

__all__ = ["Trait", "TraitFinder", "describe", "find_traits", "sentence"]
