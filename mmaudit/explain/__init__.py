"""Explainers: what sets a slice apart, in words, terms and images; hypotheses that are tested, not causes."""

from mmaudit.explain._align import AlignedImages
from mmaudit.explain._describe import SHARES, Trait, TraitFinder, describe, find_traits, metric_words, sentence
from mmaudit.explain._explain import explain_slices
from mmaudit.explain._explanation import Explanation
from mmaudit.explain._images import Difference, mean_difference, pick_members
from mmaudit.explain._phrases import rank_phrases
from mmaudit.explain._saliency import Saliency, pointing_game, saliency_map
from mmaudit.explain._tokens import TermIndex, contrast_terms, index_terms
from mmaudit.explain._triage import label_noise, review_queue, triage, triage_shares

__all__ = [
    "SHARES",
    "AlignedImages",
    "Difference",
    "Explanation",
    "Saliency",
    "TermIndex",
    "Trait",
    "TraitFinder",
    "contrast_terms",
    "describe",
    "explain_slices",
    "find_traits",
    "index_terms",
    "label_noise",
    "mean_difference",
    "metric_words",
    "pick_members",
    "pointing_game",
    "rank_phrases",
    "review_queue",
    "saliency_map",
    "sentence",
    "triage",
    "triage_shares",
]
