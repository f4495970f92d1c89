"""Encoders: what reports say and deny, what tables and images look like as numbers, and from whom that is learned."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import mmaudit as mma
from mmaudit._checkpoints import Checkpoints
from mmaudit._errors import AuditWarning, ImageReadError
from mmaudit.encoders import (
    ImageDescriptor,
    MetadataEncoder,
    ReportEncoder,
    TermIndicator,
    describe_images,
    encode,
    label_terms,
    report_terms,
)
from mmaudit.encoders._image import ImageClusters
from mmaudit.images import GrayImage
from mmaudit.text import restates_label


class Arrays:
    """Images in memory; an exception in place of one is raised when it is read."""

    def __init__(self, pictures, bit_depth=8):
        self.pictures = list(pictures)
        self.bit_depth = bit_depth
        self.n_reads = [0] * len(self.pictures)

    def __len__(self):
        return len(self.pictures)

    def read(self, index, *, max_side_px=None):
        self.n_reads[index] += 1
        picture = self.pictures[index]
        if isinstance(picture, BaseException):
            raise picture
        return GrayImage(picture, picture.shape[1], picture.shape[0], self.bit_depth)

    def take(self, indices):
        return Arrays([self.pictures[i] for i in indices], self.bit_depth)


def noise(n_images, side_px=32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((side_px, side_px)).astype(np.float32) for _ in range(n_images)]


def unreadable(reason="missing"):
    return ImageReadError("image", "a file", "none", "Check the path.", reason=reason)


# Reports: affirmed and denied


@pytest.mark.parametrize(
    ("text", "affirmed", "denied"),
    [
        ("Small pleural effusion.", {"small", "pleural", "effusion"}, set()),
        ("No effusion.", set(), {"effusion"}),
        # Lists: the denial reaches all of it
        ("No focal opacity, effusion, or pneumothorax.", set(), {"focal", "opacity", "effusion", "pneumothorax"}),
        ("No evidence of pneumonia or edema", set(), {"pneumonia", "edema"}),
        ("Negative for fracture.", set(), {"fracture"}),
        ("Lungs without edema.", {"lung"}, {"edema"}),
        ("Patient denies cough", set(), {"cough"}),
        ("Neither effusion nor edema", set(), {"effusion", "edema"}),
        # Denied afterwards
        ("A pleural effusion is not seen.", set(), {"pleural", "effusion"}),
        ("Effusion and pneumothorax are not seen.", set(), {"effusion", "pneumothorax"}),
        ("Effusion, opacity, and pneumothorax are not seen.", set(), {"effusion", "opacity", "pneumothorax"}),
        ("Chest tube has been removed.", set(), {"chest", "tube"}),
        ("Chest tube in place, pneumothorax is not seen.", {"chest", "tube"}, {"pneumothorax"}),
        ("A tube is seen but effusion is not seen.", {"tube"}, {"effusion"}),
        # Where it ends
        ("No effusion; chest tube in place.", {"chest", "tube"}, {"effusion"}),
        ("No effusion. Chest tube.", {"chest", "tube"}, {"effusion"}),
        ("No effusion\nChest tube", {"chest", "tube"}, {"effusion"}),
        ("No effusion but the tube remains.", {"tube", "remain"}, {"effusion"}),
        ("No effusion, however opacity persists.", {"opacity", "persist"}, {"effusion"}),
        ("No effusion, the heart is enlarged.", {"heart", "enlarged"}, {"effusion"}),
        ("No effusion and the heart is enlarged.", {"heart", "enlarged"}, {"effusion"}),
        ("Pneumothorax with no effusion", {"pneumothorax"}, {"effusion"}),
        # What looks like a denial and is none
        ("No change in effusion.", {"effusion"}, set()),
        ("No significant change in the small effusion.", {"small", "effusion"}, set()),
        ("Not only effusion.", {"effusion"}, set()),
        ("No interval change. No effusion.", set(), {"effusion"}),
        ("Nodule in the notch", {"nodule", "notch"}, set()),
        # Uncertain mentions count as affirmed
        ("Possible pneumonia.", {"possible", "pneumonia"}, set()),
        ("Effusion cannot be excluded", {"effusion", "excluded"}, set()),
        ("", set(), set()),
        ("1.2 x 3 .. ,", set(), set()),
    ],
)  # fmt: skip
def test_what_a_report_affirms_and_denies(text, affirmed, denied):
    words = [t for t in report_terms(text, max_words=1) if t not in DEVICE_CONCEPTS]
    assert {w for w in words if not w.startswith("no ")} == affirmed
    assert {w.removeprefix("no ") for w in words if w.startswith("no ")} == denied


DEVICE_CONCEPTS = {f"{no}{concept}" for no in ("", "no ") for concept in ("tube or line", "support device")}


def test_pairs_of_words_stay_within_a_clause_and_within_a_denial():
    terms = report_terms("Large effusion. Chest tube without pneumothorax.")
    assert {"large effusion", "chest tube"} <= set(terms)
    assert "effusion chest" not in terms
    assert "tube pneumothorax" not in terms
    assert report_terms("No pleural effusion.") == ["no pleural", "no effusion", "no pleural effusion"]


def test_plurals_and_capitals_are_folded():
    assert set(report_terms("MASSES and Opacities, nodules; lungs", max_words=1)) == {
        "mass",
        "opacity",
        "nodule",
        "lung",
    }
    assert {"pus", "viru", "diagnosis"} - set(report_terms("pus virus diagnosis", max_words=1)) == {"viru"}


def test_devices_stand_for_one_concept_unless_the_words_mean_something_else():
    assert {"tube or line", "support device"} <= set(report_terms("Right PICC."))
    assert "support device" in report_terms("Pacemaker leads")
    assert {"no tube or line", "no support device"} <= set(report_terms("No tubes."))
    assert "tube or line" not in report_terms("In line with earlier findings, pleural line is smooth.")


# Words that restate the label


@pytest.mark.parametrize(
    ("label", "restating", "other"),
    [
        ("Pleural Effusion", ["effusion", "no effusion", "pleural fluid", "small effusion"], ["pleural", "tube"]),
        ("pleural_effusion", ["effusion"], ["edema"]),
        ("PleuralEffusion", ["effusion"], ["edema"]),
        ("COVID-19", ["covid", "covid-19"], ["pneumonia"]),
        ("covid", ["covid-19", "coronavirus"], ["pneumonia"]),
        ("Lung Lesion", ["mass", "nodule"], ["massive"]),
        ("tuberculosis", ["tuberculosis"], ["tube"]),
    ],
)
def test_words_that_restate_a_label(label, restating, other):
    words = label_terms(label)
    assert all(restates_label(term, words) for term in restating)
    assert not any(restates_label(term, words) for term in other)


@pytest.mark.parametrize("label", ["y", "on", "ma", "label", "target", "massive bleeding", "class_1"])
def test_labels_that_only_share_letters_restate_nothing_else(label):
    assert set(label_terms(label)) <= {label.replace("_", " ")}


def test_the_user_can_add_words():
    assert restates_label("large collection", label_terms("Effusion", ["Collection"]))


# Reports as numbers

TEXTS = [
    f"{a} {b}. No {c}." for a in ("large", "small") for b in ("effusion", "opacity", "tube") for c in ("edema", "mass")
] * 3


def test_report_embeddings():
    encoder = ReportEncoder(8, random_state=0).fit(TEXTS)
    X = encoder.transform([*TEXTS, "", "words never seen before"])
    assert X.dtype == np.float32
    assert X.shape == (len(TEXTS) + 2, encoder.svd_.n_components)
    assert np.isfinite(X).all()
    np.testing.assert_array_equal(X[-2:], 0)
    again = clone(encoder).fit_transform(TEXTS)
    np.testing.assert_allclose(again, X[: len(TEXTS)], atol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(encoder)).transform(TEXTS), encoder.transform(TEXTS))


def test_a_denied_finding_has_another_embedding():
    X = ReportEncoder(8, random_state=0).fit(TEXTS).transform(["Effusion. No edema.", "Edema. No effusion."])
    assert np.linalg.norm(X[0] - X[1]) > 0.1


@pytest.mark.parametrize("texts", [["", ""], [f"word{chr(97 + k)}" for k in range(26)], ["..."] * 30])
def test_reports_without_shared_words_have_a_constant_embedding(texts):
    encoder = ReportEncoder(random_state=0)
    assert (encoder.fit_transform(texts) == 0).all()
    assert encoder.transform(["effusion"]).shape == (1, 1)
    terms = TermIndicator(min_count=2).fit(texts)
    assert terms.transform(texts).shape == (len(texts), 0)


def test_one_term_is_enough():
    assert np.isfinite(ReportEncoder(random_state=0).fit_transform(["effusion"] * 30)).all()


def test_term_indicator():
    indicator = TermIndicator(min_count=10).fit(TEXTS)
    assert {"effusion", "no edema", "tube", "tube or line"} <= set(indicator.terms_)
    assert "edema" not in indicator.terms_
    matrix = indicator.transform(["Effusion, effusion. No edema.", "", "zebra"]).toarray()
    held = dict(zip(indicator.terms_, matrix[0], strict=True))
    assert (held["effusion"], held["no edema"], held["tube"]) == (1, 1, 0)
    assert not matrix[1:].any()


@pytest.mark.parametrize("encoder", [ReportEncoder(), TermIndicator(), MetadataEncoder()])
def test_not_fitted(encoder):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        encoder.transform(pd.DataFrame({"a": [1.0]}) if isinstance(encoder, MetadataEncoder) else ["text"])


# Metadata as numbers


def test_metadata_embeddings_of_unseen_categories_and_missing_values(recwarn):
    known = pd.DataFrame(
        {
            "age": [20.0, 40, np.nan, 60] * 5,
            "view": pd.Series(["PA", "AP", None, "AP"] * 5, dtype=object),
            "empty": [np.nan] * 20,
            "never": pd.Series([None] * 20, dtype=object),
            "same": ["x"] * 20,
        }
    )
    new = pd.DataFrame(
        {
            "age": [np.nan, 1000.0],
            "view": pd.Series(["oblique", None], dtype=object),
            "empty": [5.0, np.nan],
            "never": pd.Series(["now", None], dtype=object),
            "same": pd.Series([None, "y"], dtype=object),
        }
    )
    encoder = MetadataEncoder().fit(known)
    X, Y = encoder.transform(known), encoder.transform(new)
    assert X.dtype == Y.dtype == np.float32
    assert X.shape[1] == Y.shape[1]
    assert np.isfinite(X).all()
    assert np.isfinite(Y).all()
    np.testing.assert_array_equal(X[0], X[4])
    assert np.linalg.norm(X[0] - X[1]) > 1
    assert np.linalg.norm(X[2] - X[1]) > 1  # a missing value is no median and no category
    assert [str(w.message) for w in recwarn] == []


def test_rare_categories_are_put_together():
    views = pd.DataFrame({"view": [f"v{k}" for k in range(50)] + ["PA"] * 50})
    X = MetadataEncoder(max_categories=5).fit(views).transform(views)
    assert X.shape[1] == 5
    assert len(np.unique(X[10:50], axis=0)) == 1


# Images as numbers


@pytest.mark.parametrize("shape", [(32, 32), (200, 50), (1, 1), (3, 500), (256, 256)])
def test_image_descriptor(shape):
    rng = np.random.default_rng(0)
    pictures = [rng.random(shape).astype(np.float32), np.zeros(shape, np.float32), np.ones(shape, np.float32)]
    table = describe_images(Arrays(pictures), n_jobs=1)
    assert table.descriptors.shape == (3, 784)
    assert table.descriptors.dtype == np.float32
    assert np.isfinite(table.descriptors).all()
    assert np.abs(table.descriptors).max() < 16  # a picture of standard values, divided by 16; the rest within 1
    assert np.isfinite(table.statistics).all(axis=None)
    statistics = table.statistics
    assert statistics["image brightness"].tolist()[1:] == [0, 1]
    assert statistics["image contrast"].tolist()[1:] == [0, 0]
    assert statistics["image black share"].tolist()[1:] == [1, 0]
    assert statistics["image aspect ratio"][0] == pytest.approx(shape[1] / shape[0])
    assert statistics["image height (px)"][0] == shape[0]
    assert all(t.startswith(b"\xff\xd8") for t in table.thumbnails)
    np.testing.assert_array_equal(ImageDescriptor(n_jobs=1).fit_transform(Arrays(pictures)), table.descriptors)


def test_image_statistics_by_hand():
    """Left half 0, right half 1: mean 0.5, standard deviation 0.5, half black."""
    half = np.zeros((64, 64), np.float32)
    half[:, 32:] = 1
    statistics = describe_images(Arrays([half, noise(1, 64)[0]]), n_jobs=1).statistics
    assert statistics.iloc[0, [0, 1, 3]].tolist() == [0.5, 0.5, 0.5]
    laplacian = np.zeros(64 * 64)
    laplacian[:64], laplacian[64:128] = 1, -1  # one column on each side of the edge
    assert statistics["image sharpness"][0] == pytest.approx(math.log10(laplacian.var()), abs=1e-4)
    assert statistics["image sharpness"][1] > statistics["image sharpness"][0]


def test_edges_of_another_direction_are_another_descriptor():
    stripes = (np.arange(64) // 4 % 2).astype(np.float32)
    upright, lying = np.tile(stripes, (64, 1)), np.tile(stripes[:, None], (1, 64))
    X = ImageDescriptor(n_jobs=1).fit_transform(Arrays([upright, upright, lying]))
    np.testing.assert_array_equal(X[0], X[1])
    assert np.linalg.norm(X[0, 256:768] - X[2, 256:768]) > 0.5


def test_image_descriptor_by_hand():
    """A ramp from left to right: one direction of edges everywhere; a picture of columns; four of each grey."""
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    picture, edges, greys = np.split(ImageDescriptor(n_jobs=1).fit_transform(Arrays([ramp]))[0], [256, 768])
    columns = np.arange(16) - 7.5
    np.testing.assert_allclose(picture.reshape(16, 16), np.tile(columns / columns.std() / 16, (16, 1)), atol=1e-5)
    # 64 pixels of a cell, each with a slope of 1/63; the length is damped by 0.05.
    strength = 64 / 63
    expected = np.zeros((64, 8))
    expected[:, 0] = 2 * strength / (strength + 0.05) / 8
    np.testing.assert_allclose(edges.reshape(64, 8), expected, atol=1e-5)
    np.testing.assert_allclose(greys, np.full(16, 0.25), atol=1e-6)  # the root of a sixteenth


def test_brightness_and_contrast_move_the_greys_alone():
    (film,) = noise(1, 64)
    X = ImageDescriptor(n_jobs=1).fit_transform(Arrays([film, 0.25 + 0.5 * film]))
    np.testing.assert_allclose(X[0, :256], X[1, :256], atol=1e-4)
    assert np.abs(X[0, 256:768] - X[1, 256:768]).max() < 0.01
    assert np.linalg.norm(X[0, 768:] - X[1, 768:]) > 0.5


def test_unreadable_images_are_kept_apart():
    source = Arrays([*noise(3), unreadable("truncated or damaged"), *noise(2, seed=1)])
    table = describe_images(source, n_jobs=2)
    assert source.n_reads == [1] * 6
    assert [None if e is None else e.reason for e in table.errors] == [None] * 3 + ["truncated or damaged"] + [None] * 2
    assert table.thumbnails[3] is None
    assert table.statistics.iloc[3].isna().all()
    np.testing.assert_allclose(table.descriptors[3], table.descriptors[[0, 1, 2, 4, 5]].mean(axis=0), atol=1e-6)
    with pytest.raises(ImageReadError, match=r"^image: expected a file, got none\. Check the path\.$"):
        ImageDescriptor(n_jobs=1).fit_transform(source)


def test_no_image_can_be_read():
    table = describe_images(Arrays([unreadable()] * 3), n_jobs=1)
    assert (table.descriptors == 0).all()
    assert table.n_high_depth == 0


def test_an_error_that_is_not_of_the_image_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        describe_images(Arrays([*noise(2), ZeroDivisionError()]), n_jobs=1)


def test_threads_change_nothing():
    one, four = (describe_images(Arrays(noise(20)), n_jobs=n) for n in (1, 4))
    assert one.descriptors.tobytes() == four.descriptors.tobytes()
    assert one.thumbnails == four.thumbnails


# Groups of images


def clumps(n_groups, n_each=30, n_columns=20, seed=0):
    """Return points around centres far apart, and the group of each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), n_each)
    centres = 10 * rng.normal(size=(n_groups, n_columns))
    return (centres[group] + rng.normal(size=(len(group), n_columns))).astype(np.float32), group


def test_image_clusters_are_the_groups_that_are_there():
    X, group = clumps(6)
    found = ImageClusters(random_state=0).fit_transform(X)
    assert list(found) == ["image cluster of 6", "image cluster of 12"]
    six, twelve = found.iloc[:, 0], found.iloc[:, 1]
    assert list(six.cat.categories) == [str(k) for k in range(1, 7)]
    assert list(twelve.cat.categories) == [str(k) for k in range(1, 13)]
    # One cluster a group and one group a cluster, whatever the numbers; and smaller clusters within a group.
    assert (pd.crosstab(group, six) > 0).to_numpy().sum() == 6
    assert ((pd.crosstab(group, twelve) > 0).sum(axis=0) == 1).all()


def test_image_clusters_of_new_images_are_those_nearest():
    X, _ = clumps(4)
    clusters = ImageClusters([4], random_state=0).fit(X)
    known, new = clusters.transform(X), clusters.transform(X[::7] + 0.1)
    assert (new.to_numpy() == known.to_numpy()[::7]).all()
    assert new.iloc[:, 0].dtype == known.iloc[:, 0].dtype  # same categories, also where some are not met
    assert clusters.transform(X[:1]).shape == (1, 1)
    again = pickle.loads(pickle.dumps(clusters)).transform(X)
    pd.testing.assert_frame_equal(again, known)
    pd.testing.assert_frame_equal(clone(clusters).fit(X).transform(X), known)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_images", [2, 5, 40])
def test_image_clusters_of_few_or_equal_images(n_images, dtype, recwarn):
    rng = np.random.default_rng(0)
    for X in (np.ones((n_images, 3), dtype), np.repeat(rng.random((1, 100)), n_images, axis=0).astype(dtype)):
        found = ImageClusters(random_state=0).fit_transform(X)
        assert len(found) == n_images
        assert found.notna().all(axis=None)
        assert (found == found.iloc[0]).all(axis=None)
    assert not [w for w in recwarn if issubclass(w.category, ConvergenceWarning)]


def test_image_clusters_not_fitted():
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        ImageClusters().transform(np.ones((3, 2)))


def test_image_clusters_are_columns_learned_from_the_discovery_samples():
    X, group = clumps(6, n_each=10)
    first = np.arange(60) % 2 == 0
    features, _ = encode(data_of(cases(), embeddings={"image": X}), fit_on=first, random_state=0)
    columns = [c for c in features.table if c.startswith("image cluster")]
    assert columns == ["image cluster of 6", "image cluster of 12"]
    assert {features.kinds[c] for c in columns} == {"image"}
    assert features.columns(["image"]) == columns
    assert (pd.crosstab(group, features.table[columns[0]]) > 0).to_numpy().sum() == 6
    moved = np.where(first[:, None], X, 100 + X[::-1])
    again, _ = encode(data_of(cases(), embeddings={"image": moved}), fit_on=first, random_state=0)
    pd.testing.assert_frame_equal(again.table[first], features.table[first])


def test_images_that_were_described_are_not_read_again():
    images = Arrays(noise(60))
    data = data_of(cases(), images=images)
    everyone = np.ones(60, dtype=bool)
    features, table = encode(data, fit_on=everyone, random_state=0)
    again, same = encode(data, fit_on=everyone, images=table, random_state=0)
    assert same is table
    assert images.n_reads == [1] * 60
    pd.testing.assert_frame_equal(again.table, features.table)
    np.testing.assert_array_equal(again.embeddings["image"], features.embeddings["image"])


# All together


def cases(**changes):
    n = 60
    return pd.DataFrame(
        {
            "label": [0, 1] * 30,
            "proba": [0.2, 0.8] * 30,
            "patient": range(n),
            "view": ["PA", "AP", "lateral"] * 20,
            "report": ["No tube. Clear lungs."] * 30 + ["Tube in place. Zebra effusion."] * 30,
        }
    ).assign(**changes)


def data_of(frame, **keywords):
    return mma.AuditData.from_frame(frame, label="label", y_proba="proba", patient_id="patient", **keywords)


def test_vocabulary_and_categories_are_learned_from_the_discovery_samples_only():
    data = data_of(cases(view=["PA"] * 20 + ["AP"] * 10 + ["later"] * 30), report="report", metadata="view")
    first = np.arange(60) < 30
    features, _ = encode(data, fit_on=first, min_count=5, random_state=0)
    terms = {c for c in features.table if features.kinds[c] == "report"}
    assert '"no tube"' in terms
    assert not {'"tube"', '"zebra"', '"effusion"'} & terms
    assert features.embeddings["metadata"].shape == (60, 2)
    # What the other samples hold changes nothing for the first.
    changed = cases(view=["PA"] * 20 + ["AP"] * 10 + ["x"] * 30, report=["No tube. Clear lungs."] * 30 + ["y"] * 30)
    other = data_of(changed, report="report", metadata="view")
    again, _ = encode(other, fit_on=first, min_count=5, random_state=0)
    assert set(again.table) == set(features.table)
    for modality in ("report", "metadata"):
        np.testing.assert_array_equal(again.embeddings[modality][:30], features.embeddings[modality][:30])


def test_terms_of_the_label_are_kept_apart():
    data = data_of(cases(), report="report", label_name="Effusion", label_terms=["zebra"])
    features, _ = encode(data, fit_on=np.ones(60, dtype=bool), min_count=5)
    kinds = features.kinds
    assert {kinds['"effusion"'], kinds['"zebra"'], kinds['"zebra effusion"']} == {"label_term"}
    assert kinds['"tube"'] == "report"
    assert '"effusion"' not in features.columns(["report", "metadata"])


def test_phrases_come_before_words_and_words_before_concepts():
    features, _ = encode(data_of(cases(report=["Chest tube."] * 60), report="report"), fit_on=np.ones(60, dtype=bool))
    names = ['"chest tube"', '"chest"', '"tube"', '"tube or line"', '"support device"']
    assert list(features.table) == names


def test_given_embeddings_are_used_and_images_are_read_for_their_statistics():
    images = Arrays(noise(60))
    X = np.random.default_rng(0).normal(size=(60, 3))
    features, table = encode(data_of(cases(), images=images, embeddings={"image": X}), fit_on=np.ones(60, dtype=bool))
    np.testing.assert_allclose(features.embeddings["image"], X, rtol=1e-6)
    assert "image brightness" in features.table
    assert images.n_reads == [1] * 60
    assert len(table.thumbnails) == 60


def test_a_metadata_column_named_like_a_statistic_stays():
    frame = cases()
    frame["image brightness"] = np.arange(60.0)
    data = data_of(frame, images=Arrays(noise(60)), metadata=["image brightness"])
    features, _ = encode(data, fit_on=np.ones(60, dtype=bool))
    assert features.table["image brightness"].tolist() == list(range(60))
    assert features.kinds["image brightness"] == "metadata"
    assert features.table.columns.is_unique


def test_rows_are_taken_by_mask_and_by_position():
    features, _ = encode(data_of(cases(), metadata="view", report="report"), fit_on=np.ones(60, dtype=bool))
    mask = np.arange(60) % 7 == 0
    one, two = features.take(mask), features.take(np.flatnonzero(mask))
    pd.testing.assert_frame_equal(one.table, two.table)
    np.testing.assert_array_equal(one.embeddings["report"], two.embeddings["report"])
    assert len(one.table) == mask.sum()


def test_features_are_found_again_in_checkpoints(tmp_path):
    data = data_of(cases(view=["PA", "AP"] * 30), metadata="view", report="report", images=Arrays(noise(60)))
    half = np.arange(60) < 30
    plain, _ = encode(data, fit_on=half, random_state=0)
    encode(data, fit_on=half, random_state=0, checkpoints=Checkpoints(tmp_path / "run", {}))
    # Learned from others, they would differ: they are not made anew.
    found, _ = encode(data, fit_on=~half, random_state=1, checkpoints=Checkpoints(tmp_path / "run", {}, resume=True))
    pd.testing.assert_frame_equal(found.table, plain.table)
    assert list(found.kinds.items()) == list(plain.kinds.items())
    assert list(found.embeddings) == list(plain.embeddings)
    for modality, values in plain.embeddings.items():
        np.testing.assert_array_equal(found.embeddings[modality], values)


def test_deep_images_are_warned_of():
    with pytest.warns(AuditWarning, match=r"image: expected images of 8 bits or with a display window, got 60 of 60"):
        encode(data_of(cases(), images=Arrays(noise(60), bit_depth=16)), fit_on=np.ones(60, dtype=bool))


def test_terms_taken_before_encode_as_the_texts_do():
    texts = ["No effusion. Chest tube in place.", "Large effusion.", "Clear lungs, no effusion."] * 4
    terms = [report_terms(text) for text in texts]
    for encoder in (ReportEncoder(3, random_state=0), TermIndicator(min_count=2)):
        whole, taken = encoder.fit(texts).transform(texts), encoder.fit(terms).transform(terms)
        assert (whole != taken).sum() == 0


def test_a_long_row_of_dots_is_read_at_once():
    # Once quadratic: minutes for this text.
    assert report_terms("Clear." + "." * 200_000 + "x Tube.")[:1] == ["clear"]


def test_a_column_called_like_a_report_term_stays_the_only_one():
    texts = np.resize(["Chest tube.", "Clear lungs."], 40)
    frame = pd.DataFrame({"y": np.arange(40) % 2, "who": np.arange(40), "text": texts, '"tube"': np.arange(40.0)})
    data = mma.AuditData.from_frame(frame, label="y", patient_id="who", report="text", metadata=['"tube"'])
    features, _ = encode(data, fit_on=np.ones(40, dtype=bool))
    assert features.table.columns.is_unique
    assert features.kinds['"tube"'] == "metadata"
