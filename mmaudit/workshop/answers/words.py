"""Exercises of the notebook that asks films in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmaudit.workshop._check import Hint, as_share, exercise


@exercise("words.chance")
def chance(answer: Any, *, data: Any) -> str:
    """Whether the answer is how often ten studies drawn at random hold the right one."""
    share, n_studies = as_share(answer), data.attributes["study_id"].nunique()
    if np.isclose(share, 1 / n_studies, rtol=0.02):
        raise Hint("That is for one study drawn. Ten are.")
    if n_studies != data.n_samples and np.isclose(share, 10 / data.n_samples, rtol=0.02):
        raise Hint("That counts films. A study has one report and may have several films.")
    if not np.isclose(share, 10 / n_studies, rtol=0.02):
        raise Hint("How many studies are there, and how many of them are drawn?")
    return "That is what a recall at ten is held against."


@exercise("words.second")
def second(answer: Any, *, encoder: Any, result: Any, data: Any, phrases: Sequence[str]) -> str:
    """Whether the answer is the phrase that tells the members of the second finding best, on held-out films."""
    from mmaudit.explain import rank_phrases

    if answer not in phrases:
        raise Hint("The answer is one of the phrases, as it is spelled there.")
    row = result.findings.iloc[1]
    member = (result.membership[row["slice_id"]] >= 0.5).to_numpy()
    compared = (result.samples["part"] == "confirmation").to_numpy()
    if row["label"] != "":
        compared = compared & (data.y_true == int(row["label"]))
    ranked = rank_phrases(encoder, data, member & compared, phrases, outside=compared & ~member)["phrase"].tolist()
    if answer != ranked[0]:
        raise Hint("Another one comes first. Are members and others held-out films of the label that is compared?")
    return "A name to try: whether the classifier fails on all such films is a question for `test_hypothesis`."
