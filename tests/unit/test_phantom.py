"""The phantom cohort: the same for the same seed, with the failures it states, written whole or not at all."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmaudit._errors import InputError, UnknownKeywordError
from mmaudit.data import AuditData
from mmaudit.datasets import _phantom_film
from mmaudit.datasets._phantom import METADATA, PhantomImages, load_phantom, write_phantom
from mmaudit.images import ImageSource


@pytest.fixture(scope="module")
def data():
    return load_phantom(800, image_size=64)


@pytest.fixture(scope="module")
def masks(data):
    films = data.images.films
    return {
        "supine": (data.metadata["view"] == "AP supine").to_numpy(),
        "tube": np.array(["tube" in film.devices for film in films]),
        "positive": data.y_true == 1,
        "wrong": (data.y_proba >= 0.5) != data.y_true,
    }


def same(one, other):
    pd.testing.assert_frame_equal(one.metadata, other.metadata)
    assert one.sample_id.equals(other.sample_id)
    for name in ("y_true", "y_proba", "patient_id", "reports"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# The cohort


def test_same_seed_gives_the_same_table_and_images():
    one, other = (load_phantom(12, image_size=96, random_state=3) for _ in range(2))
    same(one, other)
    for i in (5, 0, 5):
        assert one.images.read(i).pixels.tobytes() == other.images.read(i).pixels.tobytes()


def test_other_seed_gives_other_data():
    one, other = (load_phantom(12, image_size=96, random_state=seed) for seed in (3, 4))
    assert one.reports.tolist() != other.reports.tolist()
    assert not np.array_equal(one.images.read(0).pixels, other.images.read(0).pixels)


def test_first_patients_of_a_larger_cohort_are_the_smaller_one(data):
    small = load_phantom(12, image_size=64)
    same(small, data.subset(np.arange(len(small))))


def test_random_state_object_and_none_give_data():
    one, other = (load_phantom(5, random_state=np.random.RandomState(7)) for _ in range(2))
    same(one, other)
    assert load_phantom(5, random_state=None).n_patients == 5


def test_two_patients_have_both_classes():
    for seed in range(5):
        assert set(load_phantom(2, random_state=seed).y_true) == {0, 1}


def test_roles_of_the_data(data):
    assert data.modalities == ("image", "report", "metadata")
    assert tuple(data.metadata.columns) == METADATA
    assert data.label_name == "Pleural effusion"
    assert "effusion" in data.label_terms
    assert isinstance(data.images, ImageSource)
    studies = pd.Series(data.patient_id).value_counts()
    assert data.n_patients == 800
    assert (studies.min(), studies.max()) == (1, 4)
    ages = data.metadata["age"]
    assert 0.01 < ages.isna().mean() < 0.15
    assert ages.min() >= 18
    assert set(data.metadata["site"]) == {"North", "Harbour", "Hill"}
    assert "simulated" in data.card["classifier"]
    assert "AP supine" in data.card["planted failures"]


def test_age_and_sex_belong_to_the_patient(data):
    table = data.metadata.groupby(data.patient_id)[["sex", "site", "age"]].nunique()
    assert (table[["sex", "site"]] == 1).all().all()
    assert (table["age"] <= 1).all()


def test_supine_films_are_from_the_icu_portable_and_with_more_devices(data, masks):
    supine, setting = masks["supine"], data.metadata["setting"]
    assert (setting[supine] == "ICU").mean() > 0.7
    assert (setting[~supine] == "ICU").mean() < 0.3
    assert (data.metadata["portable"][supine] == "yes").mean() > 0.8
    n_devices = np.array([len(film.devices) for film in data.images.films])
    assert n_devices[supine].mean() > 2 * n_devices[~supine].mean()
    assert set(data.metadata["scanner"][data.metadata["portable"] == "yes"]) == {"Mobile M1", "Mobile M2"}


def test_planted_failures_are_in_the_predictions(masks):
    supine, tube, positive, wrong = (masks[k] for k in ("supine", "tube", "positive", "wrong"))
    missed = wrong[supine & positive].mean()
    false_calls = wrong[tube & ~positive].mean()
    assert 0.45 < missed < 0.65
    assert missed > 3 * wrong[~supine & positive].mean()
    assert 0.40 < false_calls < 0.60
    assert false_calls > 3 * wrong[~tube & ~positive].mean()
    assert 0.09 < wrong.mean() < 0.15


# The reports


def test_reports_have_sections_negations_and_most_devices(data, masks):
    reports = pd.Series(data.reports)
    assert reports.str.contains("FINDINGS: ").all()
    assert reports.str.contains("IMPRESSION: ").all()
    assert reports.str.contains("No pneumothorax.", regex=False).mean() > 0.3
    assert reports[~masks["positive"]].str.contains(r"[Nn]o (?:pleural )?effusion").mean() > 0.2
    named = reports.str.contains("chest tube|thoracostomy|pleural drain", flags=re.I)
    assert not named[~masks["tube"]].any()
    assert 0.7 < named[masks["tube"]].mean() < 0.95
    technique = reports.str.contains("supine", flags=re.I)
    assert not technique[~masks["supine"]].any()
    assert technique[masks["supine"]].mean() > 0.7
    assert not reports.str.contains(r"[{}]|  |\ba bilateral").any()


def test_reports_call_an_effusion_exactly_where_there_is_one(data, masks):
    impressions = pd.Series([r.split("IMPRESSION: ")[1] for r in data.reports])
    np.testing.assert_array_equal(impressions.str.contains("effusion|pleural fluid"), masks["positive"])


# The images


def test_image_values_and_sizes():
    images = load_phantom(6, image_size=100).images
    for i in range(len(images)):
        full = images.read(i)
        assert (full.width_px, full.height_px, full.bit_depth) == (100, 100, 8)
        assert full.pixels.shape == (100, 100)
        assert full.pixels.dtype == np.float32
        assert full.pixels.min() >= 0
        assert full.pixels.max() <= 1
        assert full.pixels.std() > 0.1
        np.testing.assert_allclose(full.pixels * 255, np.rint(full.pixels * 255), atol=1e-4)
    small = images.read(0, max_side_px=40).pixels
    assert small.shape == (40, 40)
    assert abs(float(small.mean() - images.read(0).pixels.mean())) < 0.01
    assert images.read(0, max_side_px=400).pixels.shape == (100, 100)


def test_take_keeps_the_order_and_draws_the_same():
    images = load_phantom(6, image_size=64).images
    taken = images.take([3, 1])
    assert len(taken) == 2
    np.testing.assert_array_equal(taken.read(0).pixels, images.read(3).pixels)
    np.testing.assert_array_equal(taken.read(1).pixels, images.read(1).pixels)


def plain(film, **changes):
    kept = {"effusion": (), "devices": (), "opacity": None, "pose": (0.0, 0.0, 0.0, 1.06), "portable": False}
    return replace(film, **(kept | changes))


def drawn(*films):
    images = PhantomImages(films, 128)
    return [images.read(i).pixels for i in range(len(films))]


@pytest.mark.parametrize("view", ["PA", "AP", "AP supine"])
@pytest.mark.parametrize("side", [-1, 1])
def test_effusion_whitens_its_lower_lung(data, view, side):
    film = plain(data.images.films[0], view=view)
    without, with_it = drawn(film, replace(film, effusion=((side, "moderate"),)))
    columns = np.s_[18:40] if side < 0 else np.s_[88:110]
    other = np.s_[88:110] if side < 0 else np.s_[18:40]
    lower = np.s_[66:88]
    change = (with_it - without)[lower, columns].mean()
    assert change > 0.05
    assert change > 4 * abs((with_it - without)[lower, other].mean())


def test_larger_effusions_whiten_more(data):
    film = plain(data.images.films[0], view="PA")
    means = [p.mean() for p in drawn(film, *(replace(film, effusion=((1, s),)) for s in _phantom_film.SIZES))]
    assert means == sorted(means)
    assert len(set(means)) == 4


@pytest.mark.parametrize("device", ["tube", "ett", "line", "ecg"])
def test_devices_are_bright_lines(data, device):
    film = plain(data.images.films[0], view="PA")
    without, with_it = drawn(film, replace(film, devices=(device,)))
    changed = np.abs(with_it - without) > 0.03
    assert 0.001 < changed.mean() < 0.1
    assert (with_it - without)[changed].mean() > 0.03


def test_supine_films_have_less_contrast(data):
    film = plain(data.images.films[0])
    upright, supine = drawn(replace(film, view="PA"), replace(film, view="AP supine"))
    inner = np.s_[24:104, 16:112]
    assert supine[inner].std() < 0.9 * upright[inner].std()


# Files


def test_written_cohort_reads_back_as_the_same_data(tmp_path):
    out = write_phantom(tmp_path / "cohort", n_patients=6, image_size=64)
    assert out == tmp_path / "cohort"
    assert [p.name for p in tmp_path.iterdir()] == ["cohort"]
    table = pd.read_csv(out / "table.csv")
    expected = ["sample_id", "patient_id", "study_id", "path", "report", "effusion", "proba", *METADATA]
    assert table.columns.tolist() == expected
    back = AuditData.from_frame(
        table,
        label="effusion",
        y_proba="proba",
        patient_id="patient_id",
        sample_id="sample_id",
        image="path",
        image_root=out,
        report="report",
        metadata=METADATA,
    )
    data = load_phantom(6, image_size=64)
    same(data, back)
    for i, sample_id in enumerate(data.sample_id):
        np.testing.assert_array_equal(back.image(sample_id), data.images.read(i).pixels)
    np.testing.assert_array_equal(
        back.image(data.sample_id[0], max_side_px=32), data.image(data.sample_id[0], max_side_px=32)
    )
    readme = (out / "README.txt").read_text(encoding="utf-8")
    assert "mmaudit audit table.csv --label effusion --proba proba --patient patient_id" in readme
    assert "simulated" in readme
    assert "Not for clinical use" in readme


def test_an_empty_folder_may_be_written_into(tmp_path):
    assert (write_phantom(tmp_path, n_patients=2, image_size=64) / "table.csv").is_file()


def test_progress_goes_to_stderr(tmp_path, capsys):
    write_phantom(tmp_path / "quiet", n_patients=2, image_size=64)
    assert capsys.readouterr() == ("", "")
    write_phantom(tmp_path / "shown", n_patients=2, image_size=64, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Drawing" in err


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [True, False])
def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch, error, exists):
    draw, calls = _phantom_film.draw_film, []

    def fails_at_the_third(film, size_px):
        calls.append(film)
        if len(calls) == 3:
            assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".partial")]
            raise error
        return draw(film, size_px)

    monkeypatch.setattr(_phantom_film, "draw_film", fails_at_the_third)
    target = tmp_path / "cohort"
    if exists:
        target.mkdir()
    with pytest.raises(type(error)):
        write_phantom(target, n_patients=5, image_size=64)
    assert len(calls) == 3
    assert [p.name for p in tmp_path.iterdir()] == (["cohort"] if exists else [])
    assert not exists or not any(target.iterdir())


def test_out_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"^out: expected a new or an empty folder, got one that is not empty"):
        write_phantom(tmp_path, n_patients=2)
    with pytest.raises(InputError, match=r"^out: expected a new or an empty folder, got a file"):
        write_phantom(tmp_path / "mine.txt", n_patients=2)
    with pytest.raises(InputError, match=r"^out: expected a folder inside one that exists, got one inside a missing"):
        write_phantom(tmp_path / "no" / "such", n_patients=2)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_patients": 1}, "n_patients: expected a number from 2 to 1000000, got 1. "),
        ({"n_patients": 2.5}, "n_patients: expected a whole number, got float. "),
        ({"n_patients": True}, "n_patients: expected a whole number, got bool. "),
        ({"image_size": 63}, "image_size: expected a number from 64 to 2048, got 63. "),
        ({"random_state": -1}, "random_state: expected a number from 0 to "),
        ({"random_state": "seven"}, "random_state: expected a whole number, a RandomState or None, got str. "),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        load_phantom(**options)


def test_unknown_keywords_get_a_hint():
    with pytest.raises(UnknownKeywordError, match="Did you mean 'image_size'"):
        load_phantom(5, imagesize=64)
    with pytest.raises(UnknownKeywordError, match="Did you mean 'n_patients'"):
        write_phantom("out", n_patient=5)
