import base64
import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mmaudit._errors import InputError
from mmaudit.explain._align import AlignedImages, resized, warp
from mmaudit.explain._images import mean_difference, pick_members, place_in_words

# Members to show


@pytest.fixture
def cohort():
    """200 samples of 100 patients around three places on a circle, 60 of them members of two places."""
    rng = np.random.default_rng(0)
    angle = np.repeat([0.0, 1.2, 2.5], [30, 30, 140]) + rng.normal(0, 0.1, 200)
    angle[60:100] = rng.uniform(0, 1.2, 40)  # others among the members
    shuffled = rng.permutation(200)
    return {
        "embedding": np.column_stack([np.cos(angle), np.sin(angle)])[shuffled] * rng.uniform(0.5, 2, (200, 1)),
        "strength": rng.uniform(size=200),
        "inside": (np.arange(200) < 60)[shuffled],
        "compared": rng.uniform(size=200) < 0.8,
        "wrong": rng.uniform(size=200) < 0.4,
        "patient": np.arange(200) // 2,
        "label": rng.integers(0, 2, 200),
    }


def test_the_strongest_are_wrong_ones_first_and_no_patient_comes_twice(cohort):
    shown = pick_members(**cohort, most=25)["strongest"]
    members = np.flatnonzero(cohort["inside"] & cohort["compared"])
    assert set(shown) <= set(members)
    assert len(set(cohort["patient"][shown])) == len(shown) == 25
    wrong = cohort["wrong"][shown]
    assert not wrong[np.argmin(wrong) :].any()
    for part in (shown[wrong], shown[~wrong]):
        assert (np.diff(cohort["strength"][part]) <= 0).all()
    # By hand: the wrong member with the greatest strength.
    assert shown[0] == max(members[cohort["wrong"][members]], key=lambda i: cohort["strength"][i])


def test_typical_members_are_medoids_and_spread(cohort):
    members = np.flatnonzero(cohort["inside"] & cohort["compared"])
    cohort["patient"] = np.arange(200)  # all weights the same
    shown = pick_members(**cohort, most=2)["typical"]
    angle = np.arctan2(*cohort["embedding"].T[::-1])
    cosine = np.cos(angle[members][:, None] - angle[members])
    assert shown[0] == members[cosine.sum(axis=1).argmax()]
    # Two places, one of each.
    assert sorted(np.abs(angle[shown] - 0.6) > 0.2) == [True, True]
    assert (angle[shown] < 0.6).sum() == 1


def test_each_patient_counts_once_among_typical_members():
    # One patient with nine images at one place, three patients at another: the medoid is at the second.
    embedding = np.array([[1.0, 0.0]] * 9 + [[0.0, 1.0]] * 3)
    patient = np.array([0] * 9 + [1, 2, 3])
    every = np.ones(12, dtype=bool)
    shown = pick_members(embedding, np.ones(12), every, every, every, patient)
    assert shown["typical"][0] >= 9
    assert sorted(patient[shown["typical"]]) == [0, 1, 2, 3]
    assert shown["counterexamples"] == []


def test_counterexamples_are_right_outside_of_the_same_label_and_of_another_patient(cohort):
    shown = pick_members(**cohort, most=8)
    pairs = shown["counterexamples"]
    assert len(pairs) == 8
    members, others = np.array(pairs).T
    assert sorted(members) == sorted(shown["typical"])
    assert len(set(others)) == len(set(cohort["patient"][others])) == 8
    assert not cohort["inside"][others].any() and cohort["compared"][others].all()
    assert not cohort["wrong"][others].any()
    assert (cohort["label"][members] == cohort["label"][others]).all()
    assert (cohort["patient"][members] != cohort["patient"][others]).all()
    # The first pair is the nearest of all that are allowed, found one by one.
    unit = cohort["embedding"] / np.linalg.norm(cohort["embedding"], axis=1, keepdims=True)
    allowed = [
        (float(unit[i] @ unit[j]), i, j)
        for i in shown["typical"]
        for j in np.flatnonzero(~cohort["inside"] & cohort["compared"] & ~cohort["wrong"])
        if cohort["label"][i] == cohort["label"][j] and cohort["patient"][i] != cohort["patient"][j]
    ]
    assert pairs[0] == max(allowed)[1:]


def test_a_member_without_a_counterexample_has_none():
    every = np.ones(3, dtype=bool)
    inside = np.array([True, True, False])
    shown = pick_members(np.eye(3), np.ones(3), inside, every, inside, np.array([0, 1, 0]))
    assert shown["counterexamples"] == [(1, 2)]  # sample 2 is of the same patient as member 0


class InRowOrder:
    """Rows that can only be read in ascending order."""

    def __init__(self, array):
        self.array, self.shape, self.most = array, array.shape, 0

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        self.most = max(self.most, len(self.array[rows]))
        return self.array[rows]


def test_members_are_read_in_row_order_and_few_at_a_time():
    rng = np.random.default_rng(0)
    n = 20_000
    embedding, every = rng.normal(size=(n, 8)).astype(np.float32), np.ones(n, dtype=bool)
    inside, wrong, patient = rng.random(n) < 0.2, rng.random(n) < 0.3, rng.integers(0, 5000, n)
    rows = InRowOrder(embedding)
    shown, whole = (pick_members(of, np.ones(n), inside, every, wrong, patient) for of in (rows, embedding))
    assert rows.most <= 4096
    for row in ("strongest", "typical", "counterexamples"):
        np.testing.assert_array_equal(shown[row], whole[row])
    # The nearest pair, found in one piece.
    unit = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    right = np.flatnonzero(~inside & ~wrong)
    cosine = unit[whole["typical"]] @ unit[right].T
    cosine[patient[whole["typical"]][:, None] == patient[right]] = -1
    i, j = np.unravel_index(cosine.argmax(), cosine.shape)
    assert shown["counterexamples"][0] == (whole["typical"][i], right[j])


def test_members_are_asked_for_with_arrays_that_fit(cohort):
    with pytest.raises(InputError, match=r"inside: expected a boolean mask of shape \(200,\), got int64"):
        pick_members(**cohort | {"inside": cohort["inside"].astype(int)})
    with pytest.raises(InputError, match=r"patient: expected shape \(200,\), got \(3,\)"):
        pick_members(**cohort | {"patient": [1, 2, 3]})
    with pytest.raises(InputError, match=r"embedding: expected shape \(n_samples, n_dimensions\)"):
        pick_members(**cohort | {"embedding": np.zeros(200)})


# Alignment


def chests(n, seed=0, side_px=96, moves=None, noise=0.03):
    """Return pictures with two dark lungs, a bright spine and a heart on one side, moved, with noise of their own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side_px, :side_px] / side_px - 0.5
    picture = (
        0.75
        - 0.6 * (((x + 0.2) / 0.15) ** 2 + (y / 0.3) ** 2 < 1)
        - 0.6 * (((x - 0.2) / 0.15) ** 2 + (y / 0.3) ** 2 < 1)
    )
    picture += 0.4 * (((x - 0.08) / 0.12) ** 2 + ((y - 0.12) / 0.1) ** 2 < 1)
    picture += 0.15 * np.sin(40 * y) * (np.abs(x) < 0.4)
    picture = ndimage.gaussian_filter(np.clip(picture, 0, 1), 1).astype(np.float32)
    moves = np.zeros((n, 4)) if moves is None else moves
    pictures = warp(np.repeat(picture[None], n, axis=0), moves, side_px)
    return np.clip(pictures + rng.normal(0, noise, pictures.shape), 0, 1).astype(np.float32)


def test_a_move_is_what_it_says():
    picture = np.zeros((1, 64, 64), dtype=np.float32)
    picture[0, 20:24, 30:34] = 1  # its middle is at (22, 32)
    # A pixel at p of the new picture shows what lies at shift + scale * p from the middle of the old one.
    moved = warp(picture, np.array([[0.125, 0.0, 0.0, 0.0]]), 64)[0]
    np.testing.assert_allclose(moved, np.roll(picture[0], -8, axis=0), atol=1e-5)
    half = warp(picture, np.array([[0.0, 0.0, np.log(2), np.log(2)]]), 64)[0]
    down, right = (np.average(grid, weights=half) + 0.5 for grid in np.mgrid[:64, :64])
    assert (down, right) == (pytest.approx(32 - 10 / 2, abs=0.1), pytest.approx(32, abs=0.1))
    # Against SciPy, where both stay inside.
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.uniform(size=(64, 64)), 2).astype(np.float32)
    t, s = np.array([0.02, -0.03]), np.array([0.9, 0.8])
    offset = (0.5 + t + s * (0.5 / 64 - 0.5)) * 64 - 0.5
    other = ndimage.affine_transform(smooth, s, offset, order=1)
    np.testing.assert_allclose(warp(smooth[None], np.array([[*t, *np.log(s)]]), 64)[0], other, atol=1e-5)


def test_pictures_become_smaller_by_averaging():
    pictures = np.arange(2 * 36, dtype=np.float32).reshape(2, 6, 6)
    np.testing.assert_allclose(resized(pictures, 3), pictures.reshape(2, 3, 2, 3, 2).mean(axis=(2, 4)))
    assert resized(pictures, 4).mean() == pytest.approx(pictures.mean())  # no pixel counts more than another
    assert resized(pictures, 6) is pictures


def test_alignment_recovers_known_shifts_and_scales():
    rng = np.random.default_rng(1)
    moves = np.column_stack([rng.uniform(-0.1, 0.1, (60, 2)), rng.uniform(-0.2, 0.2, (60, 2))])
    aligned = AlignedImages(chests(60, moves=moves), side_px=96)
    pictures, alike = aligned.take(range(60))
    assert alike.all()
    # A picture p(x) = c(t + s x) of the same chest, seen at t' + s' x: all are the same if t + s t' and s s' are.
    shift = moves[:, :2] + np.exp(moves[:, 2:]) * aligned._moves[:, :2]
    scale = moves[:, 2:] + aligned._moves[:, 2:]
    assert moves[:, :2].std(axis=0).min() > 0.05 and moves[:, 2:].std(axis=0).min() > 0.1
    assert shift.std(axis=0).max() < 0.01
    assert scale.std(axis=0).max() < 0.03
    unmoved = AlignedImages(chests(60, moves=moves), side_px=96, align=False).take(range(60))[0]
    assert pictures.std(axis=0).mean() < 0.6 * unmoved.std(axis=0).mean()


def test_what_lies_on_an_image_is_moved_with_it():
    moves = np.zeros((40, 4))
    moves[:20, 0] = 0.08
    aligned = AlignedImages(chests(40, moves=moves), side_px=96)
    marks = []
    for i in (0, 30):
        mark = np.zeros((96, 96), dtype=np.float32)
        top = 40 - round(96 * moves[i, 0])  # the same place of the chest
        mark[top : top + 6, 40:46] = 1
        marks.append(ndimage.center_of_mass(aligned.moved(i, mark)))
    np.testing.assert_allclose(*marks, atol=1)


@pytest.mark.parametrize("every", [3, 8])
def test_images_of_another_kind_are_told_apart(every):
    pictures = chests(64)
    rng = np.random.default_rng(2)
    other = ndimage.gaussian_filter(rng.uniform(size=(96, 96)), 6)
    other = (other - other.min()) / np.ptp(other)
    kind = np.arange(64) % every == 0
    pictures[kind] = np.clip(other + rng.normal(0, 0.03, (kind.sum(), 96, 96)), 0, 1)
    assert (AlignedImages(pictures, side_px=64).take(range(64))[1] == ~kind).all()


def test_an_exposure_is_not_a_difference():
    pictures = chests(2, noise=0)
    pictures[1] = 0.2 + 0.3 * pictures[1]
    seen = AlignedImages(pictures, side_px=96, align=False).take([0, 1])[0]
    np.testing.assert_allclose(seen[0], seen[1], atol=0.01)


def test_encoded_pictures_are_taken_and_missing_ones_left_out():
    def jpeg(picture):
        stream = io.BytesIO()
        Image.fromarray((picture * 255).astype(np.uint8)).save(stream, format="JPEG", quality=95)
        return stream.getvalue()

    pictures = chests(12)
    encoded = [jpeg(picture) for picture in pictures]
    encoded[3] = None
    seen, alike = AlignedImages(encoded, side_px=96, align=False).take(range(12))
    assert np.isnan(seen[3]).all() and not alike[3] and alike[[0, 1, 2, *range(4, 12)]].all()
    plain = AlignedImages(pictures, side_px=96, align=False).take([5])[0]
    assert np.abs(seen[5] - plain).mean() < 0.03


# Difference


def planted(seed=0, n=75, place=(10, 60), bright=0.25, **options):
    pictures = chests(n, seed, **options)
    inside = np.arange(n) % 3 == 0
    pictures[inside, place[0] : place[0] + 10, place[1] : place[1] + 10] += bright
    return np.clip(pictures, 0, 1), inside


@pytest.mark.parametrize("align", [True, False])
def test_a_planted_square_is_found(align):
    moves = np.random.default_rng(3).uniform(-0.03, 0.03, (75, 4)) * align
    pictures, inside = planted(place=(10, 74), moves=moves)
    found = mean_difference(pictures, inside, ~inside, align=align, side_px=96)
    assert found.beyond_chance and found.p_value == pytest.approx(1 / 201)
    assert found.z[int(found.place[0] * 64), int(found.place[1] * 64)] == np.abs(found.z).max() > found.limit
    assert found.place[0] * 96 == pytest.approx(15, abs=8) and found.place[1] * 96 == pytest.approx(79, abs=8)
    assert "Brighter inside, most at the upper right of the picture" in found.text
    assert "sides of the picture, not of the patient; 25 patients inside, 50 outside" in found.text


def test_a_dark_square_is_darker():
    pictures, inside = planted(place=(75, 5), bright=-0.3)
    found = mean_difference(pictures, inside, ~inside, align=False)
    assert "Darker inside, most at the lower left of the picture" in found.text


def test_a_square_in_noise_is_found():
    rng = np.random.default_rng(5)
    pictures = rng.uniform(0, 0.8, (90, 48, 48))
    inside = np.arange(90) < 30
    pictures[:30, 20:28, 20:28] = 0.9
    found = mean_difference(pictures, inside, ~inside, align=False)
    assert found.beyond_chance and place_in_words(*found.place) == "middle"


def test_images_that_do_not_differ_give_no_difference():
    silent = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pictures = chests(24, seed=seed, moves=rng.normal(0, 0.03, (24, 4)), side_px=48, noise=0.1)
        inside = np.arange(24) % 3 == 0
        found = mean_difference(pictures, inside, ~inside, side_px=48, random_state=seed, n_jobs=1)
        silent += found.text.startswith("No difference beyond chance")
    assert silent >= 18


def test_images_of_one_patient_are_no_evidence():
    """One patient of 30 has a mark, on 40 images; with images for patients, that would be a clear difference."""
    rng = np.random.default_rng(7)
    pictures = rng.uniform(0, 0.5, (150, 32, 32))
    patient = np.concatenate([np.zeros(40, dtype=int), np.arange(1, 111)])
    inside = np.arange(150) < 70
    pictures[:40, 10:14, 10:14] = 0.9
    told = mean_difference(pictures, inside, ~inside, patient=patient, align=False, side_px=32)
    naive = mean_difference(pictures, inside, ~inside, align=False, side_px=32)
    assert naive.beyond_chance and not told.beyond_chance
    assert (told.n_inside, told.n_outside) == (31, 80)


def test_means_are_those_of_the_patients_and_nobody_is_on_both_sides():
    values = np.linspace(0.1, 0.9, 16)
    pictures = np.zeros((16, 32, 32))
    pictures[:, :, 16:] = 1
    pictures[:, 8:24, 8:16] = values[:, None, None]  # exposure stays the same: there is a black and a white part
    patient = np.array([0, 0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 0, 11])
    inside = np.arange(16) < 7
    found = mean_difference(pictures, inside, ~inside, patient=patient, align=False, side_px=32)
    assert (found.n_inside, found.n_outside) == (5, 7)  # the patient 0, on both sides, counts inside alone
    expected = np.mean([values[:3].mean(), *values[3:7]])
    assert found.mean_inside[16, 12] == pytest.approx(expected, abs=0.005)
    outside = np.mean([values[7:9].mean(), *values[9:14], values[15]])
    assert found.mean_outside[16, 12] == pytest.approx(outside, abs=0.005)


def test_z_is_the_difference_by_its_standard_error():
    rng = np.random.default_rng(11)
    pictures = rng.uniform(0, 1, (40, 64, 64)).astype(np.float32)
    inside = np.arange(40) < 12
    found = mean_difference(pictures, inside, ~inside, align=False, side_px=64)
    seen = AlignedImages(pictures, side_px=64, align=False).take(range(40))[0]
    blurred = np.stack([ndimage.gaussian_filter(picture, 1.0) for picture in seen])
    from scipy.stats import ttest_ind

    t = ttest_ind(blurred[inside], blurred[~inside]).statistic
    error = (blurred[inside].mean(axis=0) - blurred[~inside].mean(axis=0)) / t
    np.testing.assert_allclose(found.z, t * error / (error + 0.1 * np.median(error)), rtol=1e-3, atol=1e-3)


def test_a_slice_of_another_view_is_not_compared():
    pictures = chests(60)
    pictures[:15] = np.random.default_rng(0).uniform(size=(96, 96)) * 0.9 + chests(15, noise=0.02) * 0.05
    inside = np.arange(60) < 15
    found = mean_difference(pictures, inside, ~inside)
    assert not found.beyond_chance and np.isnan(found.z).all()
    assert "15 of 60 films do not lie over the others" in found.text
    assert (found.n_inside, found.n_left_out) == (15, 15)
    assert found.to_png().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((0.1, 0.1), "upper left"),
        ((0.1, 0.5), "upper middle"),
        ((0.5, 0.9), "right"),
        ((0.5, 0.5), "middle"),
        ((1.0, 0.0), "lower left"),
        ((0.34, 0.33), "left"),
    ],
)
def test_places_in_words(place, words):
    assert place_in_words(*place) == words


def test_the_figure_is_a_small_picture_with_symmetric_limits():
    pictures, inside = planted()
    found = mean_difference(pictures, inside, ~inside, align=False)
    shown = found.to_dict()
    assert set(shown) == {"image", "text", "n_inside", "n_outside"}
    picture = Image.open(io.BytesIO(base64.b64decode(shown["image"])))
    assert picture.format == "PNG" and len(shown["image"]) < 120_000
    drawn = found.plot().axes[2].images[0]
    assert drawn.norm.vmin == -drawn.norm.vmax
    np.testing.assert_allclose(drawn.cmap(0.5)[:3], np.array([0xD9] * 3) / 255, atol=0.01)


def test_the_same_images_are_aligned_once_for_all_slices():
    pictures, inside = planted()

    class Counted:
        def __init__(self, pictures):
            self.pictures, self.n_read = pictures, 0

        def __len__(self):
            return len(self.pictures)

        def take(self, indices):
            return Counted(self.pictures[np.asarray(indices)])

        def read(self, index, *, max_side_px=None):
            from mmaudit.images import GrayImage

            self.n_read += 1
            return GrayImage(self.pictures[index], 96, 96, 8)

    source = Counted(pictures)
    aligned = AlignedImages(source, side_px=64, n_jobs=1)
    first = mean_difference(aligned, inside, ~inside)
    n_read = source.n_read
    again = mean_difference(aligned, inside, ~inside)
    assert source.n_read == n_read
    np.testing.assert_array_equal(first.z, again.z)


def test_few_images_a_side_are_those_of_many_patients():
    pictures, inside = planted(n=120)
    patient = np.arange(120) // 6  # the sides of the slice fall on the same patients
    inside = patient < 8
    found = mean_difference(pictures, inside, ~inside, patient=patient, most=12, align=False)
    assert (found.n_inside, found.n_outside) == (8, 12)


def test_masks_must_fit():
    pictures, inside = planted(n=12)
    with pytest.raises(
        InputError, match=r"outside: expected a boolean mask of shape \(12,\), got bool of shape \(3,\)"
    ):
        mean_difference(pictures, inside, np.ones(3, dtype=bool))
    with pytest.raises(InputError, match=r"inside: expected at least one sample, got none\. Check the mask"):
        mean_difference(pictures, np.zeros(12, dtype=bool), ~inside)
    with pytest.raises(InputError, match="side_px: expected a whole number from 32 to 512, got 8"):
        mean_difference(pictures, inside, ~inside, side_px=8)
