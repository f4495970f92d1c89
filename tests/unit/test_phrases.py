"""Phrases that tell a slice's images from others, against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import mmaudit as mma
from mmaudit._errors import InputError
from mmaudit.classifiers._images import ArrayImages
from mmaudit.explain import rank_phrases

N = 120
PHRASES = ["bright", "dark", "nothing"]


class Brightness:
    """A space of two axes: how bright an image is, and one that says nothing."""

    modalities = ("image", "report")

    def encode_images(self, data):
        bright = np.array([data.images.read(i).pixels.mean() for i in range(data.n_samples)])
        return np.stack([bright, np.ones(len(bright))], axis=1).astype(np.float32)

    def encode_texts(self, texts):
        axes = {"bright": (1, 0), "dark": (-1, 0), "nothing": (0, 1)}
        return np.array([axes[text] for text in texts], dtype=np.float32)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    inside = rng.random(N) < 0.4
    pictures = [np.clip(rng.normal(0.55 if i else 0.45, 0.1) + np.zeros((8, 8)), 0, 1) for i in inside]
    frame = pd.DataFrame({"y": np.arange(N) % 2, "who": np.repeat(np.arange(N // 3), 3)})
    images = ArrayImages([picture.astype(np.float32) for picture in pictures])
    return mma.AuditData.from_frame(frame, label="y", patient_id="who", images=images), inside


def test_the_best_phrase_comes_first_with_its_auroc_and_direction(case):
    data, inside = case
    ranked = rank_phrases(Brightness(), data, inside, PHRASES)
    assert ranked["phrase"].tolist() == ["bright", "nothing", "dark"]
    bright = Brightness().encode_images(data)[:, 0]
    value = ranked.set_index("phrase")
    assert value.loc["bright", "auroc"] == pytest.approx(roc_auc_score(inside, bright), abs=1e-6)
    assert value.loc["dark", "auroc"] == pytest.approx(1 - value.loc["bright", "auroc"], abs=1e-6)
    assert value.loc["nothing", "auroc"] == 0.5  # all ties
    expected = bright[inside].mean() - bright[~inside].mean()
    assert value.loc["bright", "direction"] == pytest.approx(expected, abs=1e-6)
    assert (value["ci_low"] <= value["auroc"]).all()
    assert (value["auroc"] <= value["ci_high"]).all()
    assert value.loc["bright", "ci_high"] - value.loc["bright", "ci_low"] > 0.05


def test_only_those_named_outside_are_compared(case):
    data, inside = case
    outside = data.y_true == 1
    ranked = rank_phrases(Brightness(), data, inside, ["bright"], outside=outside)
    bright = Brightness().encode_images(data)[:, 0]
    kept = inside | outside
    assert ranked["auroc"].iloc[0] == pytest.approx(roc_auc_score(inside[kept], bright[kept]), abs=1e-6)


def test_intervals_are_over_patients_not_images():
    rng = np.random.default_rng(1)
    inside, shade = rng.random(40) < 0.5, rng.uniform(0.3, 0.7, 40)
    pictures = [np.full((8, 8), s, np.float32) for s in np.repeat(shade, 4)]  # four equal films a patient
    width = {}
    for who in ("patient", "image"):
        names = np.repeat(np.arange(40), 4) if who == "patient" else np.arange(160)
        frame = pd.DataFrame({"y": np.arange(160) % 2, "who": names})
        data = mma.AuditData.from_frame(frame, label="y", patient_id="who", images=ArrayImages(pictures))
        ranked = rank_phrases(Brightness(), data, np.repeat(inside, 4), ["bright"])
        width[who] = ranked["ci_high"].iloc[0] - ranked["ci_low"].iloc[0]
    assert 1.6 < width["patient"] / width["image"] < 2.4  # the root of four


def test_the_same_seed_gives_the_same_intervals(case):
    data, inside = case
    again = rank_phrases(Brightness(), data, inside, PHRASES)
    assert again.equals(rank_phrases(Brightness(), data, inside, PHRASES))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"inside": np.zeros(N, bool)}, "inside: expected members and others, got none of one kind"),
        ({"inside": np.zeros(3, bool)}, r"inside: expected a boolean mask of shape \(120,\), got bool of shape \(3,\)"),
        ({"inside": np.ones(N)}, "inside: expected a boolean mask .* got float64"),
        ({"phrases": []}, "phrases: expected at least one phrase, got none"),
        ({"encoder": object()}, "encoder: expected one of images and texts in one space"),
    ],
)
def test_what_does_not_fit(case, keywords, message):
    data, inside = case
    given = {"encoder": Brightness(), "data": data, "inside": inside, "phrases": PHRASES} | keywords
    with pytest.raises(InputError, match=message):
        rank_phrases(**given)


def test_members_are_compared_with_their_counterexamples(case):
    """The nearest of the right answers outside, found one by one by the angle."""
    data, inside = case
    right = data.y_true == 1
    ranked = rank_phrases(Brightness(), data, inside, ["bright"], right=right)
    space = Brightness().encode_images(data)
    unit = space / np.linalg.norm(space, axis=1, keepdims=True)
    may = np.flatnonzero(~inside & right)
    near = {int(may[np.argmax(unit[may] @ unit[i])]) for i in np.flatnonzero(inside)}
    kept = np.array([i for i in range(N) if inside[i] or i in near])
    assert len(kept) < N
    assert ranked["auroc"].iloc[0] == pytest.approx(roc_auc_score(inside[kept], space[kept, 0]), abs=1e-6)
    with pytest.raises(InputError, match="right: expected others that the classifier got right, got none"):
        rank_phrases(Brightness(), data, inside, ["bright"], right=inside)
