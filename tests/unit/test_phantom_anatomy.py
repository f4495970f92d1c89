"""The phantom's anatomy: measured as on a radiograph, and the same body from the front and from the side."""

import dataclasses

import numpy as np
import pytest

from mmaudit.datasets.phantom._anatomy import chest_of, draw_anatomy
from mmaudit.datasets.phantom._geometry import Rays
from mmaudit.datasets.phantom._record import FINDINGS, VIEWS, Body, Film, Finding

MAN = Body("M", 50.0, 177.0, 25.0, 0.0, 0.0, 0.0, 0.0, 0.0, (1, 2))
WOMAN = Body("F", 72.0, 160.0, 31.0, 0.5, -0.5, -1.0, 1.0, 0.5, (7, 3))
SOFT_LESS_LUNG = 0.217 - 0.053  # 1/cm


def film(view="PA", *findings, body=MAN):
    inspiration = {"PA": 0.8, "lateral": 0.8, "AP": 0.6, "AP supine": 0.5}[view]
    return Film(
        *(body, view, view.startswith("AP"), "North", "Aster 500", findings, ()),
        *(inspiration, 0.0, 0.0, (0.0, 0.0), 0.0, (3,)),
    )


def rays(view, size_px=112, far_cm=None):
    """Return a plain camera; `far_cm` moves the tube away, so that rays are parallel and areas are to scale."""
    px = 40.0 / size_px
    if view == "PA":
        focus, plane, right = (0, 0, -(far_cm or 166.0)), (0, 0, 14.0), (px, 0, 0)
    elif view == "lateral":
        focus, plane, right = (-(far_cm or 158.0), 0, 0), (22.0, 0, 0), (0, 0, px)
    else:
        focus, plane, right = (0, 0, far_cm or 100.0), (0, 0, -14.0), (px, 0, 0)
    right, down = np.array(right, float), np.array((0, px, 0))
    corner = np.array(plane) - (right + down) * (size_px - 1) / 2
    steps = np.arange(size_px, dtype=float)
    return Rays(np.array(focus, float), corner, right, down, steps[None], steps[:, None], (size_px, size_px))


def draw(what, size_px=112, far_cm=None):
    return draw_anatomy(what, rays(what.view, size_px, far_cm), chest_of(what))


def with_and_without(view, finding, body=MAN, size_px=112, far_cm=None):
    return draw(film(view, finding, body=body), size_px, far_cm), draw(film(view, body=body), size_px, far_cm)


def finding_of(kind, size, side="right", zone="middle", spot=(0.2, -0.3, 0.1)):
    return Finding(kind, "" if kind in ("cardiomegaly", "edema") else side, size, zone, spot)


def cardiothoracic_ratio(what):
    """Measure heart and chest as a reader does: where the brightness steps at their borders, above the diaphragm."""
    size_px, cm = 224, 40 / 224
    anatomy, chest, camera = draw(what, size_px), chest_of(what), rays("PA", size_px)
    levels = np.linspace(chest.dome_y["right"] - 9.0, chest.dome_y["right"] - 1.0, 5)
    (_, row), _ = camera.project(np.array([(0, y, 0) for y in levels]))
    x = (np.arange(size_px) - (size_px - 1) / 2) * cm
    borders = []
    for top, bottom in zip(row[:-1].astype(int), row[1:].astype(int), strict=True):
        line = np.median(anatomy.attenuation[top:bottom], axis=0)  # ribs cross the band, borders run along it
        step = np.zeros(size_px)
        step[3:-3] = line[6:] - line[:-6]
        heart, wall = np.abs(x) > 2.9, np.abs(x) > 0.97 * chest.half_width
        lung = heart & ~wall
        found = []
        for sign in (-1, 1):
            own = x * sign > 0
            found.append(x[np.argmin(np.where(lung & own, sign * step, np.inf))])
            found.append(x[np.argmax(np.where(wall & own & (np.abs(x) < 17), sign * step, -np.inf))])
        borders.append(found)
    right_heart, right_wall, left_heart, left_wall = np.array(borders).T
    return (left_heart.max() - right_heart.min()) / (left_wall.max() - right_wall.min())


@pytest.mark.parametrize("body", [MAN, dataclasses.replace(WOMAN, bmi=23.0, heart_size=0.0)], ids=["man", "woman"])
def test_heart_takes_less_than_half_of_the_chest_unless_it_is_enlarged(body):
    assert 0.36 < cardiothoracic_ratio(film("PA", body=body)) < 0.5
    mild = cardiothoracic_ratio(film("PA", finding_of("cardiomegaly", 0.2), body=body))
    severe = cardiothoracic_ratio(film("PA", finding_of("cardiomegaly", 1.0), body=body))
    assert 0.5 < mild < severe < 0.78


def test_lungs_are_as_large_and_as_high_as_in_people():
    chest = chest_of(film())
    assert 20 < chest.dome_y["right"] - chest.apex_y < 27  # cm
    assert 0.5 < chest.dome_y["left"] - chest.dome_y["right"] < 2.5
    assert 24 < 2 * chest.half_width < 31
    assert chest.half_depth < chest.half_width
    assert chest.apex_y < chest.carina[1] < chest.hilum["right"][1] < chest.dome_y["right"]
    expired = chest_of(dataclasses.replace(film(), inspiration=0.2))
    supine = chest_of(film("AP supine"))
    assert expired.dome_y["right"] < chest.dome_y["right"] - 2
    assert supine.dome_y["right"] < chest.dome_y["right"] - 2


def test_ribs_run_down_and_forward_on_the_wall():
    chest = chest_of(film())
    for side, sign in (("left", 1), ("right", -1)):
        for number in (3, 6, 9):
            rib = chest.rib(side, number)
            assert (rib[:, 0] * sign > 0).all()
            assert rib[-1, 2] > 2 > -5 > rib[0, 2]
            assert rib[-1, 1] - rib[0, 1] > 4  # cm lower in front
            assert (np.diff(rib[:, 1]) > -1e-6).all()
            widest = np.abs(rib[:, 0]).max()
            assert widest == pytest.approx(chest.pleura_x(rib[len(rib) // 2, 1]) + 0.55, abs=1.0)


@pytest.mark.parametrize("view", ["PA", "AP"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_upright_effusion_darkens_the_base_of_its_side_only(view, side):
    ill, well = with_and_without(view, finding_of("pleural effusion", 0.4, side))
    more = ill.attenuation - well.attenuation
    (column, row), _ = rays(view).project(np.array([(0, 0, 0), (0, chest_of(film(view)).dome_y["right"] - 6, 0)]))
    middle, height = round(column[0]), round(row[1])
    own, other = more[:, middle:], more[:, :middle]
    if side == "right":
        own, other = other, own
    assert own[height:].max() > 0.5
    assert (own[:height] > 0.05).mean() < 0.01
    assert np.abs(other).max() < 0.02


def test_supine_effusion_is_a_haze_over_the_whole_lung_through_which_vessels_show():
    ill, well = with_and_without("AP supine", finding_of("pleural effusion", 0.7))
    more = ill.attenuation - well.attenuation
    chest = chest_of(film("AP supine"))
    points = np.array([(-6.0, y, -3.0) for y in np.linspace(chest.apex_y + 4, chest.dome_y["right"] - 1, 12)])
    (column, row), _ = rays("AP supine").project(points)
    along = more[row.round().astype(int), column.round().astype(int)]
    assert (along > 0.1).all()
    assert along[-3:].mean() > along[:3].mean()  # thicker towards the base


def test_effusion_has_the_same_volume_from_the_front_and_from_the_side():
    finding, volumes = finding_of("pleural effusion", 0.6), {}
    for view in ("PA", "lateral"):
        ill, well = with_and_without(view, finding, far_cm=20_000.0)
        # The fluid stands where lung was, so the sum over the film is its volume, less vessels it hides.
        volumes[view] = (ill.attenuation - well.attenuation).sum() / SOFT_LESS_LUNG * (40 / 112) ** 2
    assert 400 < volumes["PA"] < 4000  # cm3
    assert volumes["lateral"] == pytest.approx(volumes["PA"], rel=0.05)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", FINDINGS)
@pytest.mark.parametrize("body", [MAN, WOMAN], ids=["man", "woman"])
def test_mask_holds_most_of_what_a_finding_changes(kind, view, body):
    ill, well = with_and_without(view, finding_of(kind, 0.4), body, 84)
    mask, change = ill.masks[kind], np.abs(ill.attenuation - well.attenuation)
    assert set(ill.masks) == {kind}
    assert mask.dtype == bool
    assert mask.shape == change.shape
    assert mask.any()
    assert well.masks == {}
    share = change[mask].sum() / change.sum()
    # Also outside: an enlarged heart pushes vessels away; air in front of a lung that is not beyond its edge.
    assert share > {"cardiomegaly": 0.6, "pneumothorax": 0.25}.get(kind, 0.7)
    assert change[mask].mean() > 5 * change[~mask].mean()


@pytest.mark.parametrize("view", ["PA", "AP supine", "lateral"])
@pytest.mark.parametrize("kind", FINDINGS)
@pytest.mark.parametrize(("side", "zone"), [("right", "middle"), ("left", "lower")])
def test_larger_findings_have_larger_masks(kind, view, zone, side):
    areas = [draw(film(view, finding_of(kind, s, side, zone)), 64).masks[kind].sum() for s in (0.15, 0.4, 0.95)]
    assert 0 < areas[0] < areas[-1]
    if kind != "atelectasis":  # bands become a lobe
        assert areas[0] <= areas[1] <= areas[2]


@pytest.mark.parametrize("kind", [k for k in FINDINGS if k not in ("cardiomegaly", "edema")])
@pytest.mark.parametrize("view", ["PA", "AP supine"])
def test_findings_are_on_their_side(kind, view):
    middle = 56
    for side, own in (("left", np.s_[:, middle:]), ("right", np.s_[:, :middle])):
        mask = draw(film(view, finding_of(kind, 0.5, side))).masks[kind]
        # From the tube's side a patient who faces it has his left at the right; a mirrored film is the camera's work.
        assert mask[own].sum() > 0.95 * mask.sum()


def test_zones_are_one_below_the_other():
    heights = []
    for zone in ("upper", "middle", "lower"):
        mask = draw(film("PA", finding_of("nodule", 0.5, "left", zone))).masks["nodule"]
        heights.append(np.flatnonzero(mask.any(axis=1)).mean())
    assert heights[0] + 10 < heights[1] < heights[2] - 10


def test_body_shows_in_the_film():
    def thick(body):
        return draw(film(body=body)).body_cm

    assert thick(dataclasses.replace(MAN, bmi=38.0)).max() > thick(MAN).max() + 3
    wide, narrow = (chest_of(film(body=dataclasses.replace(MAN, chest_width=w))).half_width for w in (2.0, -2.0))
    assert wide > narrow + 1
    low, high = (chest_of(film(body=dataclasses.replace(MAN, lung_height=h))).dome_y["left"] for h in (2.0, -2.0))
    assert low > high + 1
    big, small = (cardiothoracic_ratio(film(body=dataclasses.replace(MAN, heart_size=h))) for h in (1.5, -1.5))
    assert big > small + 0.02
    breasts = thick(dataclasses.replace(MAN, sex="F", bmi=30.0, height_cm=177.0)) - thick(
        dataclasses.replace(MAN, bmi=30.0)
    )
    assert breasts[50:75, 30:50].max() > 0.5


def test_drawing_is_repeatable_and_does_not_depend_on_what_was_drawn_before():
    what = film("lateral", finding_of("consolidation", 0.6), finding_of("edema", 0.5))
    first = draw(what)
    draw(film("AP", body=WOMAN))
    again = draw(what)
    assert first.attenuation.dtype == np.float64
    assert np.array_equal(first.attenuation, again.attenuation)
    assert all(np.array_equal(first.masks[kind], again.masks[kind]) for kind in first.masks)


def test_attenuation_is_finite_and_only_where_there_is_a_body():
    for view in VIEWS:
        findings = [finding_of(kind, 0.9, side) for kind in FINDINGS for side in ("left", "right")]
        anatomy = draw(film(view, *findings, body=WOMAN))
        assert np.isfinite(anatomy.attenuation).all()
        assert (anatomy.attenuation >= 0).all()
        assert set(anatomy.masks) == set(FINDINGS)
        assert (anatomy.attenuation[anatomy.body_cm == 0] < 0.5).all()  # bones of an arm that leaves the field
