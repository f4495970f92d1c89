"""The phantom film: where tube and detector stand, how scanners and devices look, the same bytes on every platform.

After a change that is meant to alter what films look like, print the new sums for GOLDEN with

    python tests/unit/test_phantom_film.py
"""

import functools
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mmaudit._errors import InputError
from mmaudit.datasets.phantom._chest import chest_of
from mmaudit.datasets.phantom._devices import TUBE_ABOVE_CARINA_CM, draw_devices
from mmaudit.datasets.phantom._film import draw_film, film_masks, rays_of
from mmaudit.datasets.phantom._markers import _STROKES, ring, text_width, write
from mmaudit.datasets.phantom._record import DEVICES, SITES, VIEWS, Body, Device, Film, Finding
from mmaudit.datasets.phantom._scanners import SCANNERS, lowpass

HIM = Body("M", 63.0, 177.0, 26.5, 0.2, -0.1, 0.1, 0.3, -0.2, (11, 3))
HER = Body("F", 48.0, 164.0, 23.5, -0.3, 0.1, 0.0, -0.2, 0.1, (11, 4))
SPOT = (0.4, 0.2, -0.3)
SIDED = ("chest tube", "central line", "pacemaker", "surgical clips")
GOLDEN: dict[str, str] = {
    "PA": "9064ce1e675c1dc37faa55e2bec631f3",
    "PA, masks": "bb45a5dba7dffa6f90e08a3f06b40416",
    "PA 16": "bf934b267945806be1afa727eb68dc28",
    "PA 16, masks": "fb9899347cdc8f24bb065529b1a9cadf",
    "PA DR": "d3eb5881f274ee19db9ebfe4f858e8b6",
    "PA DR, masks": "c9e2d694bc0c41742e84eda02aed7485",
    "PA CR": "7bee6e7c73766d86ff20e90eb460394d",
    "PA CR, masks": "31ac786274b7e745bdf25c766e8243ba",
    "AP": "77711b5e57eef0fd27d40431e995606b",
    "AP, masks": "09c7cb8a69110aba9068eb8bed59482b",
    "AP M3": "cc7e14f829ebd1b1ce7b6e97b438ac85",
    "AP M3, masks": "1aa1e36f88001c0f90c6da557683dc80",
    "supine": "77b3b81fa366f2b2253db6f78383e9e5",
    "supine, masks": "7576789c96228ae35c169c771ce88fa1",
    "supine 16": "0b5337ed6b282c23fe4b8d91f678d83a",
    "supine 16, masks": "64f187dab03bbf4d8a1aa190ca487cbe",
    "lateral": "16e7a36bd4f4240dd50f6b031d0d6223",
    "lateral, masks": "3bfbc373378b9eb018c06a0e42dac4a7",
    "lateral 16": "cff21fb1a896177a7d1c960c7da7b6e8",
    "lateral 16, masks": "06670a3471dccfcc75c328f5ffaa1863",
}


def film(view="PA", *, body=HIM, site="North", scanner=None, findings=(), devices=(), seed=(5, 1), **changes):
    portable = view.startswith("AP")
    machine = scanner or (SITES[site].mobile if portable else SITES[site].fixed)[0]
    made = Film(body, view, portable, site, machine, tuple(findings), tuple(devices), 0.8, 0, 0, (0, 0), 0, seed)
    return replace(made, **changes)


def golden_films():
    """Films that among them have all views, scanners, findings and devices."""
    findings = [
        Finding("pleural effusion", "left", 0.6),
        Finding("atelectasis", "left", 0.6, "lower", SPOT),
        Finding("consolidation", "right", 0.5, "upper", SPOT),
        Finding("edema", "", 0.6),
        Finding("cardiomegaly", "", 0.7),
        Finding("nodule", "right", 0.6, "middle", SPOT),
        Finding("fracture", "left", 0.5, "middle", SPOT),
    ]
    tubes = [Device(kind, "right" if kind in SIDED else "", SPOT) for kind in DEVICES[:4]]
    metal = [Device(kind, "left" if kind in SIDED else "", SPOT) for kind in DEVICES[4:]]
    posed = {"yaw_deg": 3.0, "tilt_deg": -2.0, "shift_cm": (0.8, -0.6), "exposure": 0.7}
    air = Finding("pneumothorax", "right", 0.5)
    return {
        "PA": (film(findings=findings[5:]), 8),
        "PA 16": (film(body=HER, scanner="Aster 700", findings=findings[:1]), 16),
        "PA DR": (film(site="Harbour", devices=metal, findings=findings[4:5]), 8),
        "PA CR": (film(site="Hill", findings=findings[2:3]), 8),
        "AP": (film("AP", body=HER, site="Hill", devices=tubes[:1], findings=[air], **posed), 8),
        "AP M3": (film("AP", site="Harbour", scanner="Mobile M3", findings=findings[3:4], devices=tubes[2:3]), 16),
        "supine": (film("AP supine", devices=[*tubes, metal[2]], findings=[findings[0], findings[1]], **posed), 8),
        "supine 16": (film("AP supine", body=HER, devices=metal, findings=[air, findings[4]]), 16),
        "lateral": (film("lateral", devices=metal, findings=findings[4:6]), 8),
        "lateral 16": (film("lateral", body=HER, site="Hill", findings=findings[:1], **posed), 16),
    }


def sums():
    """Return the first half of the SHA-256 sums of the pixels, little-endian, and of all masks."""
    found = {}
    for name, (given, bits) in golden_films().items():
        pixels = draw_film(given, 80, bit_depth=bits)
        found[name] = hashlib.sha256(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()).hexdigest()[:32]
        masks = film_masks(given, 80)
        bits = np.concatenate([masks[kind].ravel() for kind in sorted(masks)])
        found[f"{name}, masks"] = hashlib.sha256(np.packbits(bits).tobytes()).hexdigest()[:32]
    return found


# --- The same everywhere ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def here():
    return sums()


def test_films_are_those_of_every_other_platform(here):
    assert here == GOLDEN


def test_films_do_not_depend_on_the_processor(here):
    """numpy's and BLAS's code for older processors adds up in other orders and fuses no multiplications."""
    core = importlib.import_module("numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core")
    core = core._multiarray_umath
    switchable = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(switchable), "OMP_NUM_THREADS": "1"}
    if platform.machine() in ("x86_64", "AMD64"):
        environment["OPENBLAS_CORETYPE"] = "Prescott"
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == here


# --- Room -------------------------------------------------------------------------------------------------------


def place(rays, point):
    """Return column and row of a point in space."""
    (column, row), _ = rays.project(np.array([point], dtype=float))
    return float(column[0]), float(row[0])


@pytest.mark.parametrize("view", VIEWS)
def test_the_chest_lies_in_the_field(view):
    for body in (HIM, HER, replace(HIM, bmi=42.0, height_cm=190.0)):
        given = film(view, body=body)
        rays, chest = rays_of(given, 100), chest_of(given)
        for point in (chest.carina, chest.right_atrium, (0, chest.apex_y, 0), (0, chest.dome_y["left"], 0)):
            column, row = place(rays, point)
            assert 15 < column < 85
            assert 2 < row < 90


def test_the_patients_right_is_on_image_left():
    for view in ("PA", "AP", "AP supine"):
        rays, chest = rays_of(film(view), 100), chest_of(film(view))
        assert place(rays, chest.shoulder["right"])[0] < 20 < 80 < place(rays, chest.shoulder["left"])[0]
        tube = film(view, devices=[Device("chest tube", "right", SPOT)])
        columns = np.flatnonzero(film_masks(tube, 100)["chest tube"].any(axis=0))
        assert columns.max() < 50


def test_lateral_films_face_as_the_site_hangs_them():
    for site, sign in (("North", -1), ("Harbour", 1), ("Hill", -1)):
        given = film("lateral", site=site)
        rays, chest = rays_of(given, 100), chest_of(given)
        front, back = place(rays, chest.sternum[3])[0], place(rays, chest.vertebrae[8])[0]
        assert sign * (front - back) > 25


def test_the_heart_is_larger_from_the_front_than_from_behind():
    """It lies in front, so a tube in front and near magnifies it more."""
    width = {}
    for view in ("PA", "AP", "AP supine"):
        given = film(view)
        chest = chest_of(given)
        rays = rays_of(given, 200, chest)
        ends = [chest.left_ventricle + np.array([4, 0, 2]), chest.right_atrium + np.array([-3, 0, 2])]
        spans = [ends, [chest.vertebrae[8] + (5, 0, 0), chest.vertebrae[8] - (5, 0, 0)]]
        heart, spine = (abs(place(rays, a)[0] - place(rays, b)[0]) * rays.pixel_cm for a, b in spans)
        width[view] = heart / abs(ends[0][0] - ends[1][0])
        assert (heart / abs(ends[0][0] - ends[1][0]) > spine / 10) == (view != "PA")
    assert width["AP supine"] > width["AP"] > 1.07 * width["PA"]


def test_pose_moves_the_patient_in_the_image():
    given = film()
    chest = chest_of(given)

    def where(point, **pose):
        return np.array(place(rays_of(replace(given, **pose), 100), point))

    level, mark = where(chest.carina), chest.vertebrae[10]
    moved = where(chest.carina, shift_cm=(2.0, 1.0)) - level
    scale = 1.1 / rays_of(given, 100).pixel_cm
    np.testing.assert_allclose(moved, [2 * scale, 1 * scale], rtol=0.08)
    clockwise = where(mark, tilt_deg=5) - where(chest.vertebrae[0], tilt_deg=5)
    assert abs(clockwise[0]) > 5
    front, back = (where(p, yaw_deg=8)[0] - where(p)[0] for p in (chest.sternum[3], chest.vertebrae[6]))
    assert abs(front - back) > 4
    assert front * back < 0


# --- Image ------------------------------------------------------------------------------------------------------


def contrast(pixels):
    """Return the range of the middle of the image, lungs to mediastinum."""
    middle = pixels[20:80, 20:80] / np.iinfo(pixels.dtype).max
    low, high = np.percentile(middle, (10, 90))
    return high - low


@pytest.mark.parametrize("view", VIEWS)
def test_sixteen_bits_show_what_eight_show(view):
    given = film(view)
    eight, sixteen = (draw_film(given, 100, bit_depth=bits) for bits in (8, 16))
    assert (eight.dtype, sixteen.dtype, eight.shape, sixteen.shape) == (np.uint8, np.uint16, (100, 100), (100, 100))
    step = 0.5 / 255 + 0.6 / (2 ** SCANNERS[given.scanner].bits - 1)
    assert np.abs(eight / 255 - sixteen / 65535).max() <= step
    # As many grey values as the detector has, and none of those in use far from the next.
    assert len(np.unique(sixteen)) > 1500
    bright = sixteen[(sixteen > 6000) & (sixteen < 50000)]
    assert np.diff(np.unique(bright)).max() < 800


def test_other_bit_depths_are_refused():
    with pytest.raises(InputError, match="bit_depth: expected 8 or 16, got 12"):
        draw_film(film(), 64, bit_depth=12)


def test_supine_films_have_less_contrast():
    for body in (HIM, HER):
        values = {view: contrast(draw_film(film(view, body=body, scanner="Mobile M1"), 100)) for view in VIEWS}
        assert values["AP supine"] < 0.8 * values["PA"]
        assert values["AP supine"] < values["AP"] < values["PA"]


def test_lungs_are_dark_and_bone_and_belly_bright():
    for view in ("PA", "AP", "AP supine"):
        pixels = draw_film(film(view), 100) / 255
        rays, chest = rays_of(film(view), 100), chest_of(film(view))

        def value(point, pixels=pixels, rays=rays):
            column, row = (round(v) for v in place(rays, point))
            return pixels[row - 2 : row + 3, column - 2 : column + 3].mean()

        lung = value((-0.55 * chest.half_width, -3.0, 0))
        assert 0.1 < lung < 0.55
        assert value(chest.vertebrae[11]) > lung + 0.2
        assert value((-6, chest.dome_y["right"] + 5, 0)) > lung + 0.2


def grain(pixels):
    """Return the noise of the belly: what differs from the mean of the pixels beside it, as a share of full scale."""
    part = pixels[-40:-10, 60:140] / 255
    return float(np.std(part[:, 1:-1] - 0.5 * (part[:, :-2] + part[:, 2:])))


def test_a_higher_exposure_is_darker_and_has_less_noise():
    dark, light = (draw_film(film("AP supine", exposure=e), 200) for e in (2.0, -2.0))
    assert dark.mean() < light.mean() - 10
    assert grain(dark) < grain(light)


def test_old_mobile_machines_are_noisier_than_new_fixed_ones():
    values = {name: grain(draw_film(film("AP", scanner=name), 200)) for name in ("Mobile M2", "Aster 500")}
    assert values["Mobile M2"] > 1.3 * values["Aster 500"]


def test_every_scanner_has_a_look_of_its_own():
    assert set(SCANNERS) == {name for site in SITES.values() for name in (*site.fixed, *site.mobile)}
    looks = {name: draw_film(film(scanner=name), 100) for name in SCANNERS}
    means = [looks[name][25:75, 25:75].mean() for name in SCANNERS]
    assert np.ptp(means) > 10
    assert len({image.tobytes() for image in looks.values()}) == len(SCANNERS)
    assert looks["Cirrus CR"][0].min() > 200  # its white frame
    for corner in (looks["Mobile M3"][0, 0], looks["Aster 700"][-1, -1]):
        assert corner < 10


def test_noise_is_other_for_another_film_of_the_same_patient():
    one, other = (draw_film(film(seed=(5, n)), 100) for n in (1, 2))
    assert not np.array_equal(one, other)
    assert np.array_equal(one, draw_film(film(seed=(5, 1)), 100))


def test_lowpass_keeps_the_sum_in_the_middle():
    spot = np.zeros((120, 120))
    spot[60, 60] = 1.0
    wide = lowpass(spot, 10.0)
    assert abs(wide.sum() - 1) < 0.02
    rows = np.arange(120) - 60
    spread = np.sqrt((wide.sum(axis=1) * rows**2).sum())
    assert 9.5 < spread < 11.5


# --- Markers ----------------------------------------------------------------------------------------------------


def test_letters_are_legible_and_of_the_size_asked_for():
    shapes = set()
    for letter in _STROKES:
        canvas = np.zeros((40, 40))
        write(canvas, letter, 10, 10, 18, weight=0.12)
        shapes.add(canvas.tobytes())
        if letter != " ":
            rows, columns = (np.flatnonzero((canvas > 0.5).any(axis=axis)) for axis in (1, 0))
            assert rows.min() >= 7
            assert rows.max() <= 31
            assert columns.max() <= 10 + text_width(letter, 18) + 3
    assert len(shapes) == len(_STROKES) - 1  # a nought is drawn as an O


def test_marks_may_lie_off_the_canvas():
    canvas = np.zeros((20, 20))
    write(canvas, "SUPINE", -15, 12, 12, turn_deg=20)
    ring(canvas, (19, 19), 6, 1)
    assert canvas.max() == 1


def test_most_frontal_films_have_a_marker_on_the_right_side():
    n_marked = 0
    for n in range(20):
        pixels = draw_film(film(seed=(9, n)), 64)
        bright = pixels[3:14] > 225
        n_marked += bool(bright[:, :16].sum() > 5)
    assert 14 <= n_marked <= 20


# --- Devices ----------------------------------------------------------------------------------------------------


@functools.cache
def bare(view):
    return draw_film(film(view), 224).astype(float)


@pytest.mark.parametrize("view", ["AP", "lateral"])
@pytest.mark.parametrize("kind", DEVICES)
def test_a_device_shows_where_its_mask_lies(kind, view):
    device = Device(kind, "left" if kind in SIDED else "", SPOT)
    given = film(view, devices=[device])
    mask = film_masks(given, 224)[kind]
    assert 12 < mask.sum() < 0.1 * mask.size
    difference = np.abs(draw_film(given, 224) - bare(view))
    assert difference[mask].mean() > 4 * difference[~mask].mean()
    assert difference[mask].mean() > 5


@pytest.mark.parametrize("kind", DEVICES)
def test_devices_of_all_kinds_of_patients_are_seen(kind):
    rng = np.random.default_rng(0)
    for n in range(12):
        side = ("left", "right")[n % 2] if kind in SIDED else ""
        device = Device(kind, side, tuple(float(v) for v in rng.uniform(-1, 1, 3)), n % 3 == 0)
        body = (HIM, HER, replace(HIM, bmi=40.0), replace(HER, height_cm=148.0))[n % 4]
        given = film(VIEWS[n % 4], body=body, devices=[device], seed=(6, n))
        _, masks = draw_devices(given, rays_of(given, 224), chest_of(given))
        assert masks[kind].sum() >= 6, (n, given)


def lowest(given, kind):
    """Return column and row of the lowest pixel of a device."""
    rows, columns = np.nonzero(film_masks(given, 400)[kind])
    return columns[rows.argmax()], rows.max()


@pytest.mark.parametrize("height", [-1.0, 0.0, 1.0])
def test_the_endotracheal_tube_ends_as_far_above_the_carina_as_it_should(height):
    given = film("AP", devices=[Device("endotracheal tube", "", (0.0, 0.0, height))])
    chest = chest_of(given)
    mean, step = TUBE_ABOVE_CARINA_CM
    carina, top = np.array(chest.carina), np.array(chest.trachea_top)
    tip = carina + (top - carina) * (mean + step * height) / (carina - top)[1]
    column, row = lowest(given, "endotracheal tube")
    expected = place(rays_of(given, 400), tip)
    assert abs(row - expected[1]) < 8  # 0.8 cm
    assert abs(column - expected[0]) < 8


def test_misplaced_devices_end_where_they_should_not():
    def ends(kind, misplaced, side=""):
        given = film("AP", devices=[Device(kind, side, SPOT, misplaced)])
        rays = rays_of(given, 400)
        chest = chest_of(given)
        landmarks = {name: place(rays, getattr(chest, name)) for name in ("carina", "right_atrium", "stomach")}
        return lowest(given, kind), landmarks

    (column, row), marks = ends("endotracheal tube", True)
    assert row > marks["carina"][1] + 5
    assert column < marks["carina"][0] - 10  # the patient's right
    (_, row), marks = ends("nasogastric tube", True)
    assert row < marks["stomach"][1] - 40
    (_, row), marks = ends("nasogastric tube", False)
    assert row > marks["stomach"][1]
    (_, right), marks = ends("central line", False, "right")
    assert right < marks["right_atrium"][1]
    (_, deep), marks = ends("central line", True, "right")
    assert deep > marks["right_atrium"][1]


def test_sided_devices_lie_on_their_side():
    for kind in ("chest tube", "pacemaker"):
        for side, left_half in (("right", True), ("left", False)):
            mask = film_masks(film("AP supine", devices=[Device(kind, side, SPOT)]), 100)[kind]
            share = mask[:, :50].sum() / mask.sum()
            assert (share > 0.6) == left_half


if __name__ == "__main__":
    print(json.dumps(sums(), indent=4))
