"""Phrases for a slice, through a space that images and texts share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.utils import check_random_state

from mmaudit._errors import InputError
from mmaudit.data import AuditData
from mmaudit.explain._images import check_mask
from mmaudit.explain._selectors import Part, best_threshold, patient_weights

__all__ = ["PhraseSpace", "phrase_part", "rank_phrases"]

MOST_FROM_REPORTS = 300
N_TRIED = 10  # phrases nearest to the direction of a slice, of which the one that picks it best is taken

COVERAGE = 0.95


def rank_phrases(
    encoder: Any,
    data: AuditData,
    inside: np.ndarray,
    phrases: Sequence[str],
    *,
    outside: np.ndarray | None = None,
    right: np.ndarray | None = None,
    n_resamples: int = 500,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:
    """Return phrases in the order in which they tell the images of a slice from others.

    Parameters
    ----------
    encoder : encoder of images and texts in one space
        Such as `mmaudit.encoders.OpenCLIPEncoder`.
    data : AuditData of n_samples, with images
        To be told whether a phrase holds, give samples that the slice was not discovered on.
    inside : ndarray of shape (n_samples,), bool
        The members.
    phrases : sequence of str
        Candidates, such as "chest tube" or "lateral view".
    outside : ndarray of shape (n_samples,), bool, or None
        What the members are compared with, such as the other samples of the same label. None: all others.
    right : ndarray of shape (n_samples,), bool, or None
        What the classifier got right. Members are then compared with their counterexamples: for each the sample of
        `outside` whose image is nearest to it and that the classifier got right. None: with all of `outside`.
    n_resamples : int
        Resamplings of patients for the intervals.
    random_state : int, RandomState or None
        Seed. None: another each time.

    Returns
    -------
    DataFrame
        One row a phrase, the highest AUROC first. `phrase`; `direction`, the cosine of the phrase with the mean of the
        members less that with the mean of the others; `auroc` in [0, 1], how often a member is nearer to the phrase
        than another sample, 0.5 by chance; `ci_low` and `ci_high`, its 95 % percentile interval over patients.

    Raises
    ------
    InputError
        An encoder of one modality, masks that do not fit, no members or no others, or no phrases.

    Notes
    -----
    A phrase is a hypothesis: it is associated with the slice in this space. A space can join what is not the same, and
    one that does not know a thing cannot name it. Many phrases are compared: the best one is too good.

    References
    ----------
    The direction is that of Domino, Eyuboglu et al. 2022, arXiv:2203.14960; the AUROC is added here, since a direction
    has no scale of its own.
    """
    if not {"image", "report"} <= set(getattr(encoder, "modalities", ())):
        raise InputError(
            "encoder", "one of images and texts in one space", f"{encoder!r}", "Use OpenCLIPEncoder, for example."
        )
    members = check_mask("inside", inside, data.n_samples)
    others = ~members if outside is None else check_mask("outside", outside, data.n_samples) & ~members
    if not members.any() or not others.any():
        raise InputError("inside", "members and others", "none of one kind", "Check the masks.")
    phrases = list(phrases)
    if not phrases:
        raise InputError("phrases", "at least one phrase", "none", "Give some, such as ['lateral view'].")
    rows = np.flatnonzero(members | others)
    seen = data.subset(rows)
    texts, images = encoder.encode_texts(phrases), encoder.encode_images(seen)
    member = members[rows]
    patient = np.unique(seen.patient_id.astype(str), return_inverse=True)[1]
    if right is not None:
        may = np.flatnonzero(~member & check_mask("right", right, data.n_samples)[rows])
        if not len(may):
            raise InputError("right", "others that the classifier got right", "none", "Leave it out.")
        kept = np.flatnonzero(member | np.isin(np.arange(len(rows)), may[most_similar(images[member], images[may])]))
        images, member, patient = images[kept], member[kept], np.unique(patient[kept], return_inverse=True)[1]
    likeness = images @ texts.T
    by_patient = [np.flatnonzero(patient == k) for k in range(patient.max() + 1)]
    rng = check_random_state(random_state)
    drawn = []
    for _ in range(n_resamples):
        take = np.concatenate([by_patient[k] for k in rng.randint(len(by_patient), size=len(by_patient))])
        if 0 < member[take].sum() < len(take):
            drawn.append(_aurocs(likeness[take], member[take]))
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail), axis=0) if drawn else np.full((2, len(phrases)), np.nan)
    frame = pd.DataFrame(
        {
            "phrase": phrases,
            "direction": likeness[member].mean(axis=0) - likeness[~member].mean(axis=0),
            "auroc": _aurocs(likeness, member),
            "ci_low": low,
            "ci_high": high,
        }
    )
    return frame.sort_values("auroc", ascending=False, kind="stable", ignore_index=True)


@dataclass(frozen=True)
class PhraseSpace:
    """Images and phrases in one space.

    Attributes
    ----------
    images : ndarray of shape (n_samples, n_dimensions), of length 1
    phrases : sequence of str, of length n_phrases
    texts : ndarray of shape (n_phrases, n_dimensions), of length 1
    """

    images: np.ndarray
    phrases: Sequence[str]
    texts: np.ndarray

    @classmethod
    def of(cls, encoder: Any, images: np.ndarray, phrases: Sequence[str]) -> PhraseSpace:
        """Return the space of images that `encoder` has embedded, and phrases that it embeds now."""
        return cls(images, list(phrases), encoder.encode_texts(list(phrases)))


def phrase_part(
    space: PhraseSpace, inside: np.ndarray, right: np.ndarray, seen: np.ndarray, patient: np.ndarray
) -> Part | None:
    """Return the phrase that picks the members of a slice by their images, or None without members or others.

    Each member is set beside its counterexample: the image nearest to it that lies outside the slice and that the
    classifier got right. The ten phrases that lie most in the direction from counterexamples to members are tried as
    selectors, at the threshold of the highest F1.

    Parameters
    ----------
    space : PhraseSpace of n_samples
    inside, seen, patient
        As for `rule_part`.
    right : ndarray of shape (n_samples,), bool
        What the classifier got right.

    References
    ----------
    The direction from counterexamples: Eyuboglu et al. 2022 (Domino), arXiv:2203.14960; there it starts from the mean
    of a class.
    """
    members, others = np.flatnonzero(inside & seen), np.flatnonzero(~inside & seen & right)
    if len(members) == 0 or len(others) == 0 or len(space.phrases) == 0:
        return None
    near = others[most_similar(space.images[members], space.images[others])]
    weight = patient_weights(inside, seen, patient)[inside[seen]]
    direction = np.average(space.images[members] - space.images[near], axis=0, weights=weight)
    tried = np.argsort(-(space.texts @ direction), kind="stable")[:N_TRIED]
    at, weight = inside[seen], patient_weights(inside, seen, patient)
    best: tuple[float, str, np.ndarray] | None = None
    for k in tried:
        score = space.images @ space.texts[k]
        f1, threshold = best_threshold(score[seen], at, weight)
        if best is None or f1 > best[0]:
            best = (f1, f'the image is near to "{space.phrases[k]}"', score >= threshold)
    assert best is not None
    return Part("phrase", best[1], best[2], None)


def most_similar(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for each image the position of the most similar of the others, by the angle of their embeddings."""
    images, others = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (images, others))
    chunks = np.array_split(images, -(-len(images) // 1024))
    return np.concatenate([(chunk @ others.T).argmax(axis=1) for chunk in chunks])


def _aurocs(likeness: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Return the AUROC of each column, by the ranks of the members (Mann and Whitney)."""
    n_in = int(member.sum())
    ranks = rankdata(likeness, axis=0)[member].sum(axis=0)
    return (ranks - n_in * (n_in + 1) / 2) / (n_in * (len(member) - n_in))
