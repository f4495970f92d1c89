"""Classifiers: trained on planted images, resumed after an interruption, saved and loaded, and wrapped models."""

import math
import pickle
import random
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from safetensors.torch import save_file
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import mmaudit as mma
from mmaudit._errors import AuditWarning, ImageReadError, InputError, MissingExtraError, UnknownKeywordError
from mmaudit.classifiers import Classifier, WrappedModel, load_classifier, train, wrap
from mmaudit.classifiers._file import read_file, to_bytes
from mmaudit.classifiers._images import square
from mmaudit.classifiers._networks import build
from mmaudit.classifiers._torch import standardise
from mmaudit.classifiers._train import _augment, _class_weights, _labels, _one_cycle, _Run, _Set, _validation
from mmaudit.images import GrayImage

QUICK = {"image_size": 32, "max_epochs": 3, "batch_size": 32, "n_jobs": 1}


class Pictures:
    """Images in memory; an exception in place of one is raised when it is read."""

    def __init__(self, pictures, bit_depth=8):
        self.pictures = list(pictures)
        self.bit_depth = bit_depth
        self.calls = []

    def __len__(self):
        return len(self.pictures)

    def take(self, indices):
        return Pictures([self.pictures[i] for i in indices], self.bit_depth)

    def prepare(self, *, n_jobs=None, progress=False):
        self.calls.append("prepare")

    def read(self, index, *, max_side_px=None):
        self.calls.append(index)
        picture = self.pictures[index]
        if isinstance(picture, BaseException):
            raise picture
        return GrayImage(picture, picture.shape[1], picture.shape[0], self.bit_depth)


def unreadable():
    return ImageReadError("image", "a file", "none", "Check the path.", reason="missing")


def planted(n_patients=60, seed=0, image_size=(36, 30), images=None, **columns):
    """Return data of two images a patient; those of label 1 have a bright square, those of `dark` a dark one."""
    rng = np.random.default_rng(seed)
    n = 2 * n_patients
    label, dark = rng.integers(0, 2, n), rng.integers(0, 2, n)
    label[:8] = [0, 1] * 4
    pictures = []
    for bright, black in zip(label, dark, strict=True):
        picture = rng.uniform(0.3, 0.5, image_size).astype(np.float32)
        for there, value in ((bright, 0.95), (black, 0.02)):
            top, left = rng.integers(2, image_size[0] - 11), rng.integers(2, image_size[1] - 11)
            if there:
                picture[top : top + 9, left : left + 9] = value
        pictures.append(picture)
    df = pd.DataFrame({"square": label, "patient": np.repeat(np.arange(n_patients), 2), "dark": dark, **columns})
    df.index = [f"s{i}" for i in range(n)]
    return mma.AuditData.from_frame(
        df,
        label="square",
        patient_id="patient",
        images=Pictures(pictures) if images is None else images,
        attributes=["dark"],
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute in one thread: on pictures this small, two wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data():
    return planted(100)


@pytest.fixture(scope="module")
def fresh():
    return planted(40, seed=7)


@pytest.fixture(scope="module")
def trained(data):
    return train(data, image_size=32, max_epochs=12, patience=12, batch_size=16, random_state=1)


@pytest.fixture(scope="module")
def quick(data):
    return train(data, **QUICK)


def without_seconds(classifier):
    return classifier.history.drop(columns="seconds")


# Training


def test_it_learns_what_is_planted(trained, fresh):
    predicted = trained.predict(fresh)
    assert roc_auc_score(fresh.y_true, predicted.y_proba) >= 0.95
    assert predicted.sample_id.equals(fresh.sample_id)
    assert fresh.y_proba is None


def test_history_has_a_row_an_epoch(trained):
    history = trained.history
    columns = ["epoch", "train_loss", "validation_loss", "validation_auroc", "learning_rate", "seconds"]
    assert list(history.columns) == columns
    assert list(history["epoch"]) == list(range(1, 13))
    assert history.loc[trained.config["best_epoch"] - 1, "validation_loss"] == history["validation_loss"].min()
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    history["epoch"] = 0
    assert trained.history["epoch"].iloc[0] == 1


def test_best_weights_are_those_that_predict(data):
    best_at = {}

    def watch(row):
        best_at[row["epoch"]] = row["validation_loss"]

    classifier = train(data, **QUICK | {"max_epochs": 6}, on_epoch=watch)
    held = data.subset(_validation(data, 0.2, 0))
    proba = classifier.predict_proba(held)[:, 0]
    weight = _class_weights(data.y_true[~_validation(data, 0.2, 0)][:, None].astype(float), True)[0]
    loss = -np.mean(np.where(held.y_true == 1, weight * np.log(proba), np.log1p(-proba)))
    assert loss == pytest.approx(min(best_at.values()), rel=1e-4)


def test_training_stops_when_the_validation_loss_no_longer_falls(data):
    coin = data.with_labels(np.random.default_rng(0).permutation(data.y_true))
    classifier = train(coin, **QUICK | {"max_epochs": 40, "patience": 2, "learning_rate": 0.02})
    n_epochs, best = len(classifier.history), classifier.config["best_epoch"]
    assert n_epochs < 40
    assert n_epochs == max(best, 10) + 2  # the first quarter does not count


def test_no_patient_is_on_both_sides(trained, data):
    said = trained.config["data"]
    assert said["n_train_patients"] + said["n_validation_patients"] == data.n_patients
    assert said["n_train"] + said["n_validation"] == data.n_samples
    assert said["n_validation_patients"] == 20
    held = _validation(data, 0.2, 1)
    assert not set(data.patient_id[held]) & set(data.patient_id[~held])


def test_the_same_seed_gives_the_same_classifier_and_another_seed_another(data, quick):
    again, other = train(data, **QUICK), train(data, **QUICK, random_state=5)
    pd.testing.assert_frame_equal(without_seconds(quick), without_seconds(again))
    assert np.array_equal(quick.predict_proba(data), again.predict_proba(data))
    assert not np.array_equal(quick.predict_proba(data), other.predict_proba(data))


def test_the_seed_counts_and_not_the_streams_of_the_caller(data, quick):
    torch.manual_seed(123)
    np.random.seed(4)  # noqa: NPY002
    random.seed(5)
    assert np.array_equal(train(data, **QUICK).predict_proba(data), quick.predict_proba(data))


def test_random_streams_and_threads_of_the_caller_stay_as_they_are(data):
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()  # noqa: NPY002
    train(data, **QUICK)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_a_source_is_prepared_before_it_is_read_once(fresh):
    images = Pictures(fresh.images.pictures)
    train(planted(40, seed=7, images=images), **QUICK)
    assert images.calls == ["prepare", *range(80)]


def test_images_of_different_shapes_are_trained_on_together(fresh):
    pictures = [p if i % 2 else p[:, :24].repeat(2, axis=0) for i, p in enumerate(fresh.images.pictures)]
    classifier = train(planted(40, seed=7, images=Pictures(pictures)), **QUICK)
    assert np.isfinite(classifier.predict_proba(pictures)).all()


def test_mixed_precision_computes_on_the_cpu_too(data, quick):
    mixed = train(data, **QUICK, mixed_precision=True)
    assert mixed.config["arguments"]["mixed_precision"] == "bfloat16"
    assert quick.config["arguments"]["mixed_precision"] is None
    assert np.isfinite(mixed.predict_proba(data)).all()


def test_progress_goes_to_stderr_and_only_when_asked_for(fresh, capsys):
    train(fresh, **QUICK).predict(fresh)
    assert capsys.readouterr() == ("", "")
    train(fresh, **QUICK, progress=True).predict(fresh, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert {"reading images", "training", "predicting"} <= {line.split(":")[0].strip() for line in err.split("\r")}


def test_repr_says_what_it_is_and_of_whom_it_learned(trained):
    lines = repr(trained).splitlines()
    assert lines[0] == "Classifier 'small_cnn' for square"
    assert lines[2].split() == ["training", "160", "samples", "of", "80", "patients"]
    assert lines[3].split() == ["validation", "40", "samples", "of", "20", "other", "patients"]
    assert lines[4].startswith(f"  best epoch  {trained.config['best_epoch']} of 12: validation loss 0.")


def test_history_is_drawn(trained):
    figure = trained.plot_history()
    left, right = figure.axes
    drawn = {line.get_label(): line for line in (*left.lines, *right.lines)}
    assert drawn["validation loss"].get_ydata() == pytest.approx(trained.history["validation_loss"])
    assert drawn["validation AUROC"].get_ydata() == pytest.approx(trained.history["validation_auroc"])
    plt.close(figure)


# Loss, schedule and augmentation, against numbers worked by hand


def run_on(labels, balance=True):
    labels = np.asarray(labels, dtype=float)
    arguments = {"learning_rate": 0.1, "weight_decay": 0.0, "batch_size": 2, "balance": balance, "max_epochs": 1}
    material = _Set(np.zeros((len(labels), 32, 32), np.uint8), labels, np.arange(len(labels)) < len(labels) - 1)
    network = build("small_cnn", labels.shape[1])
    return _Run(torch, network, material, {"arguments": arguments}, torch.device("cpu"), None)


def test_unknown_labels_add_nothing_to_the_loss():
    run = run_on([[1, 0], [0, 1], [0, math.nan], [0, 1]])  # the last row is for validation
    logits = torch.zeros((3, 2), requires_grad=True)
    losses = run._losses(logits, run.material.labels[:3])
    # A positive of the first label stands against two negatives, one of the second against one.
    expected = np.log(2) * np.array([[2, 1], [1, 1], [1, 0]])
    assert losses.detach().numpy() == pytest.approx(expected)
    losses.sum().backward()
    assert logits.grad[2, 1] == 0
    assert logits.grad[2, 0] != 0


@pytest.mark.parametrize(("balance", "weights"), [(True, [3.0, 100.0, 0.5]), (False, [1.0, 1.0, 1.0])])
def test_class_weights_are_negatives_over_positives_of_what_is_known(balance, weights):
    labels = np.zeros((400, 3))
    labels[:100, 0] = 1
    labels[:1, 1] = 1  # 399 to 1 is cut off at 100
    labels[:, 2] = np.nan
    labels[:3, 2] = [1, 1, 0]
    assert _class_weights(labels, balance).tolist() == weights


def test_the_learning_rate_rises_for_a_quarter_and_falls_to_nothing():
    rates = [_one_cycle(step, 100, 0.01) for step in range(100)]
    assert rates[0] == pytest.approx(0.01 / 25)
    assert int(np.argmax(rates)) == 24
    assert max(rates) == pytest.approx(0.01)
    assert rates[-1] == pytest.approx(0.01 / 25 / 1e5)
    assert [_one_cycle(step, 1, 0.01) for step in range(1)] == pytest.approx([0.01 / 25])


def test_augmentation_never_mirrors_and_follows_its_draws():
    images = torch.zeros((64, 1, 32, 32))
    images[:, :, 4:28, 18:28] = 1  # on the right
    seen = _augment(torch, images, torch.Generator().manual_seed(0))
    assert (seen[..., 16:].sum((1, 2, 3)) > seen[..., :16].sum((1, 2, 3))).all()
    assert torch.equal(seen, _augment(torch, images, torch.Generator().manual_seed(0)))
    assert not torch.equal(seen[0], seen[1])
    assert (seen - standardise(images)).abs().amax() > 0.1


def test_standardised_images_forget_their_exposure():
    image = torch.rand((1, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    first, second = standardise(image), standardise(image * 0.5 + 0.3)
    assert first.mean().item() == pytest.approx(0, abs=1e-6)
    assert torch.allclose(first, second, atol=0.2)
    assert (standardise(torch.zeros((1, 1, 8, 8))) == 0).all()


@pytest.mark.parametrize(
    ("shape", "fit", "bright"),
    [
        ((20, 10), "pad", (slice(None), slice(5, 15))),
        ((10, 20), "pad", (slice(5, 15), slice(None))),
        ((7, 7), "pad", (slice(None), slice(None))),
        ((400, 100), "pad", (slice(None), slice(7, 12))),
        ((20, 10), "crop", (slice(None), slice(None))),
        ((20, 10), "stretch", (slice(None), slice(None))),
        ((1, 900), "pad", (slice(9, 10), slice(None))),
    ],
)
def test_films_become_squares(shape, fit, bright):
    expected = np.zeros((20, 20), np.uint8)
    expected[bright] = 255
    made = square(np.ones(shape, np.float32), 20, fit)
    assert made.dtype == np.uint8
    assert np.array_equal(made, expected)


# Several labels


@pytest.fixture(scope="module")
def two_labels(data):
    labels = data.attributes[["dark"]].assign(square=data.y_true).astype(float)
    hidden = np.random.default_rng(3).random(labels.shape) < 0.3
    return labels.mask(hidden)


@pytest.fixture(scope="module")
def on_two(data, two_labels):
    return train(data, labels=two_labels, image_size=32, max_epochs=14, patience=14, batch_size=16)


def test_labels_with_unknown_values_are_learned_together(on_two, fresh):
    assert on_two.labels == ("dark", "square")
    proba = on_two.predict_proba(fresh)
    assert proba.shape == (80, 2)
    assert roc_auc_score(fresh.attributes["dark"], proba[:, 0]) >= 0.9
    assert roc_auc_score(fresh.y_true, proba[:, 1]) >= 0.9


def test_the_column_is_that_of_the_label_of_the_data(on_two, fresh):
    proba = on_two.predict_proba(fresh)
    assert np.array_equal(on_two.predict(fresh).y_proba, proba[:, 1])
    assert np.array_equal(on_two.predict(fresh, label="dark").y_proba, proba[:, 0])


def test_data_with_several_labels_get_a_column_each(on_two, fresh):
    frame = fresh.attributes[["dark"]].assign(square=fresh.y_true, patient=fresh.patient_id)
    both = mma.AuditData.from_frame(
        frame, label=["square", "dark"], patient_id="patient", images=fresh.images, metadata=[]
    )
    predicted = on_two.predict(both)
    np.testing.assert_array_equal(predicted.y_proba, on_two.predict_proba(fresh)[:, [1, 0]])
    assert (predicted.kind, predicted.label_names) == ("multilabel", ("square", "dark"))
    values, names = _labels(both, None)
    assert names == ["square", "dark"]
    np.testing.assert_array_equal(values, both.y_true)
    with pytest.raises(
        InputError, match="data: expected data with one label, 0 or 1, for the predictions of one label"
    ):
        on_two.predict(both, label="dark")


def test_data_of_classes_are_refused(on_two, fresh):
    frame = pd.DataFrame({"class": np.arange(80) % 3, "patient": fresh.patient_id})
    classes = mma.AuditData.from_frame(
        frame, label="class", label_name=["a", "b", "c"], patient_id="patient", images=fresh.images
    )
    with pytest.raises(InputError, match=r"data: expected data with one label, .* got data with 3 classes"):
        on_two.predict(classes)
    with pytest.raises(InputError, match="for training, which learns labels of 0 and 1, got data with 3 classes"):
        _labels(classes, None)


def test_a_single_label_serves_data_that_call_it_otherwise(quick, fresh):
    other = fresh.subset(np.arange(10))
    other.label_name = "Opacity"
    assert np.array_equal(quick.predict(other).y_proba, quick.predict_proba(other)[:, 0])


def test_a_label_that_it_does_not_have_is_named(on_two, fresh):
    other = fresh.subset(np.arange(10))
    other.label_name = "Dark"
    with pytest.raises(InputError, match=r"label: expected one .* got None\. They are: dark, square\. Did you .*dark'"):
        on_two.predict(other)
    with pytest.raises(InputError, match=r"label: expected one of this .* got 'squares'\. .* Did you mean 'square'\?"):
        on_two.predict(fresh, label="squares")


def test_arrays_of_labels_get_names(data):
    assert _labels(data, data.y_true)[1] == ["square"]
    assert _labels(data, np.zeros((200, 3)))[1] == ["label_0", "label_1", "label_2"]
    assert _labels(data, pd.Series(data.y_true, index=data.sample_id, name="x"))[1] == ["x"]
    values, names = _labels(data, None)
    assert (values[:, 0] == data.y_true).all()
    assert names == ["square"]


# Going on after an interruption


def interrupt_at(epoch):
    def hook(row):
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    return hook


def test_an_interrupted_training_ends_as_if_it_had_not_been(data, two_labels, tmp_path):
    arguments = QUICK | {"labels": two_labels, "max_epochs": 6}
    whole = train(data, **arguments)
    path = tmp_path / "run.safetensors"
    for epoch in (2, 3):  # twice
        with pytest.raises(KeyboardInterrupt):
            train(data, **arguments, checkpoint=path, on_epoch=interrupt_at(epoch))
        with pytest.raises(InputError, match=rf"path: expected a finished classifier, got a checkpoint after {epoch} "):
            load_classifier(path)
    epochs = []
    torch.manual_seed(99)
    resumed = train(data, **arguments, checkpoint=path, on_epoch=lambda row: epochs.append(row["epoch"]))
    assert epochs == [4, 5, 6]
    pd.testing.assert_frame_equal(without_seconds(resumed), without_seconds(whole))
    assert np.array_equal(resumed.predict_proba(data), whole.predict_proba(data))
    assert np.array_equal(load_classifier(path).predict_proba(data), whole.predict_proba(data))
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_finished_training_is_not_done_again(data, quick, tmp_path):
    path = tmp_path / "run.safetensors"
    train(data, **QUICK, checkpoint=path)
    again = train(data, **QUICK, checkpoint=path, on_epoch=interrupt_at(1))
    assert np.array_equal(again.predict_proba(data), quick.predict_proba(data))


def test_patience_at_its_end_is_remembered(data, tmp_path):
    coin = data.with_labels(np.random.default_rng(0).permutation(data.y_true))
    arguments = QUICK | {"max_epochs": 40, "patience": 2, "learning_rate": 0.02}
    whole = train(coin, **arguments)
    path = tmp_path / "run.safetensors"
    with pytest.raises(KeyboardInterrupt):  # after the last epoch, before the classifier is written
        train(coin, **arguments, checkpoint=path, on_epoch=interrupt_at(len(whole.history)))
    resumed = train(coin, **arguments, checkpoint=path, on_epoch=interrupt_at(len(whole.history) + 1))
    assert len(resumed.history) == len(whole.history)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"learning_rate": 0.001}, r"learning_rate \(0\.002 there, 0\.001 here\)\."),
        (
            {"max_epochs": 4, "augment": False},
            r"max_epochs \(3 there, 4 here\), augment \(True there, False here\)\.",
        ),
        ({"image_size": 40}, r"image_size \(32 there, 40 here\), data\."),
        ({"random_state": 2}, r"random_state \(0 there, 2 here\), data\."),  # another split
        ({"labels": "flipped"}, r"data\."),
        ({"architecture": "resnet18"}, r"architecture \('small_cnn' there, 'resnet18' here\)"),
    ],
)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "interrupted"])
def test_a_checkpoint_of_another_training_is_refused(data, tmp_path_factory, made, changed, said, finished):
    path = made[finished]
    before = path.read_bytes()
    if changed.get("labels") == "flipped":
        changed = {"labels": pd.DataFrame({"square": 1 - data.y_true}, index=data.sample_id)}
    with pytest.raises(
        InputError, match=r"checkpoint: expected a file of a training .* differs in .*" + said
    ) as caught:
        train(data, **QUICK | changed, checkpoint=path)
    assert "Choose another path" in str(caught.value)
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    train(data, **QUICK, checkpoint=folder / "finished.safetensors")
    with pytest.raises(KeyboardInterrupt):
        train(data, **QUICK, checkpoint=folder / "begun.safetensors", on_epoch=interrupt_at(1))
    return {True: folder / "finished.safetensors", False: folder / "begun.safetensors"}


def test_a_failed_write_leaves_the_earlier_file(quick, tmp_path, monkeypatch):
    path = quick.save(tmp_path / "a.safetensors")
    before = path.read_bytes()

    def full(descriptor):
        raise OSError("no space left on device")

    monkeypatch.setattr("mmaudit.classifiers._file.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        quick.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# Files


def test_a_loaded_classifier_predicts_the_same(quick, data, tmp_path):
    path = quick.save(tmp_path / "a.safetensors")
    loaded = load_classifier(str(path))
    assert np.array_equal(loaded.predict_proba(data), quick.predict_proba(data))
    assert loaded.config == quick.config
    pd.testing.assert_frame_equal(loaded.history, quick.history)
    assert repr(loaded) == repr(quick)


def test_a_pickled_classifier_predicts_the_same(quick, data):
    assert np.array_equal(pickle.loads(pickle.dumps(quick)).predict_proba(data), quick.predict_proba(data))


def test_files_name_no_sample_and_no_patient(tmp_path):
    ids = [f"PATIENT{i:04d}" for i in range(40)]
    secret = planted(20, name_of=ids)
    secret.patient_id = np.array(ids, dtype=object)
    content = train(secret, **QUICK).save(tmp_path / "a.safetensors").read_bytes()
    assert b"PATIENT" not in content
    assert b'"s1"' not in content


def test_config_is_a_copy(quick):
    quick.config["labels"].append("more")
    assert quick.labels == ("square",)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def garbage(path):
    path.write_bytes(b"\x80\x04garbage")


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    save_file({"x": torch.zeros(3)}, path)


def newer(path):
    save_file({"x": torch.zeros(3)}, path, metadata={"mmaudit_classifier": "7"})


def other_json(path):
    save_file({"x": torch.zeros(3)}, path, metadata={"mmaudit_classifier": "1", "state": "{"})


DAMAGED = r"expected a whole safetensors file, got one that is truncated, damaged or of another format\. Copy or"
FOREIGN = r"expected a file that a classifier of mmaudit was saved to, got one of"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, DAMAGED),
        (garbage, DAMAGED),
        (empty, DAMAGED),
        (foreign, rf"{FOREIGN} another kind\. Use wrap"),
        (newer, rf"{FOREIGN} format 7\. Use wrap\(\) for other models, or update"),
        (other_json, r"expected a header of JSON, got one that is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_file_is_told_as_what_it_is(quick, data, tmp_path, damage, said):
    path = quick.save(tmp_path / "a.safetensors")
    damage(path)
    with pytest.raises(InputError, match=f"path: {said}"):
        load_classifier(path)
    with pytest.raises(InputError, match=f"checkpoint: {said}"):
        train(data, **QUICK, checkpoint=path)


@pytest.mark.parametrize(
    "changes",
    [
        {"history": {}, "config": {"best_epoch": 0}},
        {"history": [[1, 10**400, 0.1, 0.9, 0.1, 1.0]], "config": {"best_epoch": 1}},
        {"history": [[2**63, 0.1, 0.1, 0.9, 0.1, 1.0]], "config": {"best_epoch": 1}},
        {"history": [[1, 0.1, 0.1, "0.9", 0.1, 1.0]], "config": {"best_epoch": 1}},
        {"state": "training", "history": 5},
    ],
)
def test_a_history_that_no_training_wrote_is_refused(quick, tmp_path, changes):
    tensors, about = read_file("path", quick.save(tmp_path / "a.safetensors"))
    about = {**about, **changes, "config": {**about["config"], **changes.get("config", {})}}
    (tmp_path / "b.safetensors").write_bytes(to_bytes(tensors, about))
    with pytest.raises(InputError, match=r"expected a (header that describes a|finished) classifier"):
        load_classifier(tmp_path / "b.safetensors")


def test_a_classifier_without_history_says_what_it_is(quick):
    lines = repr(Classifier(build("small_cnn", 1), config=quick.config, history=[], device=torch.device("cpu"))).split(
        "\n"
    )
    assert len(lines) == 2
    assert lines[1].startswith("  images ")


def test_tensors_of_another_network_are_refused(quick, tmp_path):
    path = quick.save(tmp_path / "a.safetensors")
    changed = path.read_bytes().replace(b"model.head.bias", b"model.head.bios")
    path.write_bytes(changed)
    with pytest.raises(InputError, match="path: expected the tensors of a small_cnn, got others"):
        load_classifier(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.pth", r"expected the name of a file \*\.safetensors, got another"),
        ("none/a.safetensors", "expected a file in an existing folder, got one in a missing folder"),
    ],
)
def test_a_bad_target_is_refused_before_any_work(quick, data, tmp_path, name, said):
    with pytest.raises(InputError, match=f"path: {said}"):
        quick.save(tmp_path / name)
    with pytest.raises(InputError, match=f"checkpoint: {said}"):
        train(data, **QUICK, checkpoint=tmp_path / name)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="path: expected a file that can be read, got a path at which there is none"):
        load_classifier(tmp_path / "a.safetensors")
    with pytest.raises(TypeError, match="path: expected a path, got int"):
        load_classifier(3)


# Errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"architecture": "resnet81"}, r"architecture: expected one of small_cnn, .* got 'resnet81'.*mean 'resnet18'"),
        ({"image_size": 16}, "image_size: expected a whole number from 32 to 1,024, got 16"),
        ({"image_size": 64.0}, "image_size: expected a whole number from 32 to 1,024, got 64.0"),
        ({"max_epochs": 0}, "max_epochs: expected a whole number from 1"),
        ({"patience": 0}, r"patience: expected .* got 0\. To never stop early, give max_epochs"),
        ({"batch_size": 1}, "batch_size: expected a whole number from 2"),
        ({"learning_rate": 0}, "learning_rate: expected a finite number above 0, got 0"),
        ({"learning_rate": math.nan}, "learning_rate: expected a finite number above 0, got nan"),
        ({"weight_decay": -1}, "weight_decay: expected a finite number of at least 0, got -1"),
        ({"validation_fraction": 1}, "validation_fraction: expected a number between 0 and 1, got 1"),
        ({"validation_fraction": 0.001}, "fraction: expected two patients or more in each part"),
        ({"augment": "yes"}, "augment: expected True or False, got 'yes'"),
        ({"device": "gpu"}, r"device: expected one of auto, cpu, cuda, mps, got 'gpu'\. Use device=\"auto\""),
        ({"device": "cuda:99"}, "device: expected a device that PyTorch finds here, got 'cuda:99'"),
        ({"mixed_precision": "float8"}, "mixed_precision: expected 'auto', True or False, got 'float8'"),
        ({"random_state": -1}, "random_state: expected a whole number from 0"),
        ({"random_state": "x"}, "random_state: expected a whole number, a RandomState or None, got str"),
        ({"random_state": None, "checkpoint": "x.safetensors"}, "random_state: expected a whole number beside checkpo"),
        ({"weights": "imagenett"}, r"weights: expected 'imagenet', or a file .* Did you mean 'imagenet'\?"),
        ({"weights": "none.pth"}, "weights: expected an existing file, got a path at which there is none"),
        ({"labels": np.zeros((5, 1))}, r"labels: expected shape \(200, n_labels\), got \(5, 1\)"),
        ({"labels": np.full(200, 2.0)}, r"labels: expected 0, 1 or NaN \(unknown\), got other values"),
        ({"labels": ["a"] * 200}, "labels: expected 0, 1 or NaN, got values that are no numbers"),
        ({"labels": pd.DataFrame({"x": [0, 1] * 100})}, r"labels: expected the index of data\.sample_id, got another"),
        ({"labels": np.zeros(200)}, r"labels: expected both classes, 0 and 1, of 'square' in the training .* only 0\."),
        (
            {"labels": np.c_[[0, 1] * 100, [np.nan] * 200]},
            r"labels: expected both classes, 0 and 1, of 'label_1' in the training part, got no known value",
        ),
    ],
)
def test_a_bad_argument_is_told_before_an_image_is_read(data, arguments, said):
    images = Pictures(data.images.pictures)
    unread = data.subset(np.arange(data.n_samples))
    unread.images = images
    with pytest.raises(InputError, match=said):
        train(unread, **QUICK | arguments)
    assert images.calls == []


def test_columns_of_one_name_are_told(data):
    labels = pd.DataFrame(np.tile([0, 1], (200, 1)), index=data.sample_id, columns=["x", "x"])
    with pytest.raises(InputError, match="labels: expected a name for each column, got 'x' twice"):
        train(data, **QUICK, labels=labels)


def test_a_validation_part_without_known_labels_is_told(data):
    labels = np.where(_validation(data, 0.2, 0), np.nan, data.y_true)
    with pytest.raises(InputError, match="labels: expected a known value in the validation part, got only NaN"):
        train(data, **QUICK, labels=labels)


def test_a_validation_part_of_one_class_has_a_loss_and_no_auroc(data):
    labels = np.where(_validation(data, 0.2, 0) & (data.y_true == 0), np.nan, data.y_true)
    classifier = train(data, **QUICK, labels=labels)
    assert classifier.history["validation_auroc"].isna().all()
    assert classifier.history["validation_loss"].notna().all()
    assert "AUROC" not in repr(classifier)
    plt.close(classifier.plot_history())


def test_a_misspelt_keyword_has_a_hint(data):
    with pytest.raises(UnknownKeywordError, match="Did you mean 'max_epochs'"):
        train(data, epochs_max=3, max_epoch=3)


def test_only_data_with_images_are_trained_on(quick, data):
    without = data.subset(np.arange(data.n_samples))
    without.images = None
    for call in (lambda: train(without), lambda: quick.predict(without), lambda: quick.predict_proba(without)):
        with pytest.raises(InputError, match="data: expected data with images, got data without"):
            call()
    with pytest.raises(TypeError, match="data: expected AuditData, got DataFrame"):
        train(pd.DataFrame())


def test_a_loss_that_is_not_finite_asks_for_a_lower_learning_rate(data):
    with pytest.raises(InputError, match=r"learning_rate: expected a finite loss, .* Lower learning_rate \(1e\+30\)"):
        train(data, **QUICK, learning_rate=1e30)


def test_a_training_without_torch_names_the_extra(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    said = r'training a classifier needs the package torch\. Install it with: pip install "mmaudit\[torch\]"'
    with pytest.raises(MissingExtraError, match=said):
        train(data, **QUICK)
    with pytest.raises(MissingExtraError, match="loading a classifier needs the package torch"):
        load_classifier("a.safetensors")


def test_other_missing_packages_name_the_same_extra(data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "safetensors.torch", None)
        with pytest.raises(MissingExtraError, match=r"needs the package safetensors\. .*mmaudit\[torch\]"):
            train(data, **QUICK)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torchvision", None)
        said = r"the architecture resnet18 needs the package torchvision\. .*mmaudit\[torch\]"
        with pytest.raises(MissingExtraError, match=said):
            train(data, **QUICK, architecture="resnet18")


def test_importing_the_module_and_wrapping_a_function_load_no_torch():
    code = (
        "import sys, mmaudit.classifiers as c\n"
        "c.wrap(lambda x: x.mean(axis=(1, 2)), image_size=8).predict_proba([__import__('numpy').zeros((9, 9))])\n"
        "assert not {'torch', 'torchvision', 'safetensors', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Unreadable images


def with_holes(source, holes, seed=7):
    pictures = [unreadable() if i in holes else p for i, p in enumerate(source.images.pictures)]
    return planted(source.n_patients, seed=seed, images=Pictures(pictures))


def test_unreadable_images_are_left_out_with_a_warning(fresh):
    said = r"image: expected every image to be readable, got 2 of 80 that are not \(2 missing\)\. These samples are"
    with pytest.warns(AuditWarning, match=said):
        classifier = train(with_holes(fresh, {9, 30}), **QUICK)
    assert classifier.config["data"]["n_samples"] == 78
    with pytest.warns(AuditWarning, match=r"got 2 of 80 .* left out of what is returned\.") as caught:
        predicted = classifier.predict(with_holes(fresh, {9, 30}))
    assert [str(w.filename) for w in caught] == [__file__]
    assert predicted.n_samples == 78
    assert "s9" not in predicted.sample_id
    with pytest.warns(AuditWarning, match=r"got 2 of 80 .* They get no prediction\."):
        proba = classifier.predict_proba(with_holes(fresh, {9, 30}))
    assert np.flatnonzero(np.isnan(proba[:, 0])).tolist() == [9, 30]
    assert np.array_equal(predicted.y_proba, np.delete(proba[:, 0], [9, 30]))


def test_too_many_unreadable_images_are_an_error(quick, fresh):
    holes = with_holes(fresh, set(range(5)))
    with pytest.raises(ImageReadError, match="expected at least 95% of the images to be readable, got 5 of 80"):
        train(holes, **QUICK)
    with pytest.raises(ImageReadError, match="got 5 of 80"):
        quick.predict(holes)


def test_images_of_more_than_8_bits_are_warned_about(quick, fresh):
    deep = planted(40, seed=7, images=Pictures(fresh.images.pictures, bit_depth=16))
    with pytest.warns(AuditWarning, match="got 80 of 80 with more"):
        train(deep, **QUICK)
    with pytest.warns(AuditWarning, match="got 80 of 80 with more"):
        quick.predict(deep)


# What is predicted from


def test_arrays_give_what_the_data_give(quick, fresh):
    proba = quick.predict_proba(fresh)
    pictures = fresh.images.pictures
    assert np.array_equal(quick.predict_proba(pictures), proba)
    assert np.array_equal(quick.predict_proba(np.stack(pictures)), proba)
    assert np.array_equal(quick.predict_proba(Pictures(pictures)), proba)
    as_bytes = [np.rint(p * 255).astype(np.uint8) for p in pictures]
    assert quick.predict_proba(as_bytes) == pytest.approx(proba, abs=0.02)
    assert quick.predict_proba(fresh, batch_size=7) == pytest.approx(proba, abs=1e-5)
    assert quick.predict_proba(fresh.subset(np.arange(0))).shape == (0, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            [np.zeros((3, 4, 4))],
            r"expected grey images, arrays of shape \(height, width\), got an array of shape \(3, 4",
        ),
        (np.full((2, 4, 4), 200.0), r"expected grey values as uint8, or as float in \[0, 1\], got values outside"),
        (np.full((2, 4, 4), np.nan), r"got values outside \[0, 1\]"),
        (np.zeros((2, 4, 4), np.int64), "got int64"),
    ],
)
def test_arrays_that_are_no_grey_images_are_refused(quick, given, said):
    with pytest.raises(InputError, match=f"data_or_images: .*{said}"):
        quick.predict_proba(given)


def test_what_is_no_image_at_all_is_a_type_error(quick):
    with pytest.raises(TypeError, match="data_or_images: expected AuditData, an image source or arrays, got str"):
        quick.predict_proba("image.png")
    with pytest.raises(TypeError, match="data: expected AuditData, got list"):
        quick.predict([np.zeros((4, 4))])


# Architectures and weights


@pytest.mark.parametrize("architecture", ["small_cnn", "resnet18", "densenet121"])
def test_every_architecture_answers_a_logit_a_label(architecture):
    network = build(architecture, 3).eval()
    with torch.no_grad():
        assert network(torch.zeros((2, 1, 64, 64))).shape == (2, 3)


@pytest.mark.parametrize("image_size", [32, 50, 57, 75])
def test_the_small_network_takes_any_size(image_size):
    assert build("small_cnn", 1)(torch.zeros((2, 1, image_size, image_size))).shape == (2, 1)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_for_colour_images_are_adapted_to_grey(fresh, tmp_path, suffix):
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=7).eval()
    path = tmp_path / f"weights{suffix}"
    save_file(theirs.state_dict(), path) if suffix == ".safetensors" else torch.save(theirs.state_dict(), path)
    arguments = {"architecture": "resnet18", "image_size": 32, "max_epochs": 1, "learning_rate": 1e-30}
    classifier = train(fresh, **arguments, weight_decay=0, weights=path)
    ours = classifier._network
    image = torch.rand((2, 1, 32, 32))
    with torch.no_grad():
        expected = theirs.conv1(image.expand(-1, 3, -1, -1))
        assert torch.allclose(ours.conv1(image), expected, atol=1e-5)
    assert torch.allclose(ours.layer4[0].conv1.weight, theirs.layer4[0].conv1.weight)
    assert ours.fc.out_features == 1
    assert classifier.config["arguments"]["weights"].startswith("sha256:")


def test_a_saved_classifier_is_a_place_to_start(quick, data, two_labels, tmp_path):
    path = quick.save(tmp_path / "a.safetensors")
    further = train(data, **QUICK | {"max_epochs": 1, "learning_rate": 1e-30}, weights=path, labels=two_labels)
    assert torch.allclose(further._network.blocks[1].main[0].weight, quick._network.blocks[1].main[0].weight)
    assert len(further.labels) == 2


def test_weights_of_another_architecture_are_refused(quick, data, tmp_path):
    path = quick.save(tmp_path / "a.safetensors")
    said = r"weights: expected a state dict of resnet18, got a file that lacks \d+ of its \d+ tensors.* 'conv1\.weight'"
    with pytest.raises(InputError, match=said):
        train(data, **QUICK, architecture="resnet18", weights=path)


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


@pytest.mark.parametrize("content", ["code", "garbage", "no tensors"])
def test_a_file_of_weights_cannot_run_code(data, tmp_path, content):
    path = tmp_path / "weights.pth"
    if content == "garbage":
        path.write_bytes(b"\x00" * 50)
    else:
        torch.save(Malicious() if content == "code" else {"epoch": 3}, path)
    with pytest.raises(InputError, match="weights: expected a state dict, names and tensors only, got a file that is"):
        train(data, **QUICK, weights=path)


# Models made elsewhere


def brightness(images):
    return images.mean(axis=(1, 2))


def test_a_function_gets_images_in_batches_and_its_answer_is_the_prediction(fresh):
    seen = []

    def model(images):
        seen.append((images.shape, images.dtype, float(images.min()), float(images.max())))
        return brightness(images)

    wrapped = wrap(model, image_size=16, batch_size=32)
    predicted = wrapped.predict(fresh)
    assert [shape for shape, *_ in seen] == [(32, 16, 16), (32, 16, 16), (16, 16, 16)]
    assert all(dtype == np.float32 and low >= 0 and high <= 1 for _, dtype, low, high in seen)
    expected = [square(p, 16).mean() / 255 for p in fresh.images.pictures]
    assert predicted.y_proba == pytest.approx(expected)
    assert wrapped.predict_proba(fresh).shape == (80, 1)
    assert repr(wrapped) == "WrappedModel(a function)"


def test_unreadable_images_are_not_shown_to_a_wrapped_model(fresh):
    with pytest.warns(AuditWarning, match="got 1 of 80"):
        assert wrap(brightness, image_size=8).predict(with_holes(fresh, {4})).n_samples == 79


def test_a_column_is_chosen_where_there_are_several(fresh):
    def both(images):
        return np.c_[1 - brightness(images), brightness(images)]

    expected = wrap(brightness).predict_proba(fresh)
    assert wrap(both, output=1).predict_proba(fresh) == pytest.approx(expected)
    assert wrap(lambda images: brightness(images)[:, None]).predict_proba(fresh) == pytest.approx(expected)
    assert wrap(lambda images: torch.tensor(brightness(images))).predict_proba(fresh) == pytest.approx(expected)
    with pytest.raises(InputError, match="output: expected the column that is label 1, 0 to 1, got None for an answer"):
        wrap(both).predict_proba(fresh)
    with pytest.raises(InputError, match="output: expected the column that is label 1, 0 to 1, got 2 for an answer"):
        wrap(both, output=2).predict_proba(fresh)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: np.full(len(x), np.nan), "expected finite probabilities, got NaN or infinity for 32 of 32 images"),
        (lambda x: np.linspace(-4, 4, len(x)), r"in \[0, 1\], got values from -4 to 4, perhaps logits\. Apply the sig"),
        (lambda x: np.linspace(0, 90, len(x)), r"got values from 0 to 90, perhaps percentages\. Divide by 100"),
        (lambda x: np.zeros(3), r"expected 32 probabilities for 32 images, got an answer of shape \(3,\)"),
        (lambda x: 0.5, r"expected one answer for each of 32 images, got shape \(\)"),
        (lambda x: np.zeros((3, 2)), r"expected one answer for each of 32 images, got shape \(3, 2\)"),
        (lambda x: ["a"] * len(x), r"expected numbers in \[0, 1\], got list of something else"),
        (lambda x: None, r"model: expected"),
    ],
)
def test_answers_that_are_no_probabilities_are_told(fresh, answer, said):
    with pytest.raises(InputError, match=f"model: .*{said}" if not said.startswith("model") else said):
        wrap(answer, image_size=8).predict(fresh)


class Net(torch.nn.Module):
    def __init__(self, channels=3, n_outputs=1, as_object=False):
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, 4, 3)
        self.frozen = torch.nn.BatchNorm2d(4).eval()
        self.dropout = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(4, n_outputs)
        self.as_object = as_object
        self.seen = None

    def forward(self, x):
        self.seen = x, self.training, self.dropout.training, torch.is_grad_enabled()
        logits = self.head(self.dropout(self.frozen(self.conv(x)).mean((2, 3))))
        if self.as_object:
            return type("Output", (), {"logits": logits})()
        return logits


def test_a_torch_module_is_evaluated_and_left_in_its_modes(fresh):
    net = Net().train()
    net.frozen.eval()
    weights = {k: v.clone() for k, v in net.state_dict().items()}
    proba = wrap(net, image_size=24, mean=(0.4, 0.5, 0.6), std=0.25).predict_proba(fresh)
    x, training, dropping, grad = net.seen
    assert (training, dropping, grad) == (False, False, False)
    assert x.shape == (16, 3, 24, 24)
    assert (net.training, net.dropout.training, net.frozen.training) == (True, True, False)
    assert all(torch.equal(v, weights[k]) for k, v in net.state_dict().items())
    image = square(fresh.images.pictures[-1], 24).astype(np.float32) / 255
    assert x[-1, 2].numpy() == pytest.approx((image - 0.6) / 0.25, abs=1e-5)
    assert np.array_equal(proba, wrap(net, image_size=24, mean=(0.4, 0.5, 0.6), std=0.25).predict_proba(fresh))


def test_the_modes_come_back_after_a_failure_too(fresh):
    net = Net(channels=3).train()
    with pytest.raises(RuntimeError, match="channels"):
        wrap(net, channels=1).predict_proba(fresh)
    assert net.dropout.training


def test_the_network_of_a_classifier_answers_as_it_predicts(quick, fresh):
    network = quick.network
    assert (network.image_size, network.fit, network.module.training) == (32, "pad", False)
    squares = [square(fresh.images.read(i).pixels, network.image_size, network.fit) for i in range(5)]
    with torch.no_grad():
        logits = network.forward(squares).double().numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), quick.predict_proba(fresh)[:5], atol=1e-5)
    assert torch.isfinite(network.module(torch.zeros(1, 1, 32, 32))).all()


def test_the_network_of_a_wrapped_module_is_given_what_it_is_trained_on():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Flatten(), torch.nn.Linear(3 * 64, 2)).train()
    network = wrap(module, image_size=8, fit="crop", channels=3, mean=(0.1, 0.2, 0.3), std=0.5).network
    assert network.module is module
    assert (network.image_size, network.fit) == (8, "crop")
    assert network.scaling == {"mean": (0.1, 0.2, 0.3), "std": 0.5}
    squares = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    given = np.stack([(squares / 255 - mean) / 0.5 for mean in (0.1, 0.2, 0.3)], axis=1)
    weight, bias = (p.detach().double().numpy() for p in module[2].parameters())
    np.testing.assert_allclose(network.forward(squares), given.reshape(4, -1) @ weight.T + bias, atol=1e-5)
    assert module.training


def test_other_models_have_no_network(data):
    assert wrap(lambda images: images.mean((1, 2))).network is None
    assert wrap(DummyClassifier().fit([[0], [1]], [0, 1])).network is None


def test_activations_make_probabilities(fresh):
    def logits_of(net):
        images = torch.from_numpy(np.stack([square(p, 24) for p in fresh.images.pictures])).float()[:, None] / 255
        modes = net.training
        with torch.no_grad():
            answer = net.eval()(images.expand(-1, 3, -1, -1))
        net.train(modes)
        return answer.double()

    one, two = Net(n_outputs=1), Net(n_outputs=2)
    arguments = {"image_size": 24, "batch_size": 80}
    assert wrap(one, **arguments).predict_proba(fresh) == pytest.approx(logits_of(one).sigmoid().numpy(), abs=1e-6)
    softmax = logits_of(two).softmax(dim=1).numpy()
    assert wrap(two, activation="softmax", **arguments).predict_proba(fresh)[:, 0] == pytest.approx(softmax[:, 1])
    first = wrap(two, activation="softmax", output=0, **arguments).predict_proba(fresh)[:, 0]
    assert first == pytest.approx(softmax[:, 0])
    done = torch.nn.Sequential(one, torch.nn.Sigmoid())
    again = wrap(done, activation="none", **arguments).predict_proba(fresh)
    assert again == pytest.approx(logits_of(one).sigmoid().numpy(), abs=1e-6)
    with pytest.raises(InputError, match="output: expected the column that is label 1"):
        wrap(two, **arguments).predict_proba(fresh)
    with pytest.raises(InputError, match=r"activation: expected 'sigmoid' or 'none' for one column, got 'softmax' of"):
        wrap(one, activation="softmax", **arguments).predict_proba(fresh)


def test_an_answer_with_logits_and_half_precision_are_understood(fresh):
    assert wrap(Net(as_object=True)).predict_proba(fresh).shape == (80, 1)
    net = Net(channels=1).to(torch.bfloat16)
    assert wrap(net, image_size=16).predict_proba(fresh).shape == (80, 1)
    assert net.seen[0].dtype == torch.bfloat16


def test_a_module_that_answers_no_tensor_is_told(fresh):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return [x]

    with pytest.raises(InputError, match="channels: expected 1 or 3, got None"):
        wrap(Odd())
    with pytest.raises(InputError, match="model: expected a module that answers a tensor, got list"):
        wrap(Odd(), channels=1).predict_proba(fresh)


def pixels(data, size):
    return np.stack([square(p, size) for p in data.images.pictures]).reshape(data.n_samples, -1) / 255


def test_a_pipeline_of_scikit_learn_gets_pixels(data, fresh):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(pixels(data, 16), data.y_true)
    expected = model.predict_proba(pixels(fresh, 16).astype(np.float32))[:, 1]
    assert wrap(model, image_size=16).predict(fresh).y_proba == pytest.approx(expected, abs=1e-5)


def test_an_estimator_gets_features_and_classes_may_have_names(data, fresh):
    def features(images):
        return np.c_[images.max(axis=(1, 2)), images.mean(axis=(1, 2))]

    images = pixels(data, 16).reshape(-1, 16, 16)
    words = np.where(data.y_true == 1, "bright", "plain")
    model = LogisticRegression().fit(features(images), words)
    proba = wrap(model, image_size=16, features=features, positive_label="bright").predict(fresh).y_proba
    assert roc_auc_score(fresh.y_true, proba) > 0.9
    with pytest.raises(
        InputError, match=r"positive_label: .* got None, and no class is 1\. .* classes are: bright, plain"
    ):
        wrap(model, features=features)
    with pytest.raises(InputError, match="positive_label: expected the class that is label 1, got 'dim'"):
        wrap(model, features=features, positive_label="dim")
    with pytest.raises(TypeError, match="features: expected a function from images to features, got str"):
        wrap(model, features="mean", positive_label="bright")


def test_estimators_that_give_no_probability_are_told(data, fresh):
    said = (
        r"model: expected an estimator with predict_proba, got LinearSVC.* Calibrate it first: .*CalibratedClassifierCV"
    )
    with pytest.raises(InputError, match=said):
        wrap(LinearSVC())
    one = DummyClassifier().fit(pixels(data, 8), np.ones(200))
    with pytest.raises(InputError, match="model: expected an estimator of two classes, got one of one class"):
        wrap(one, image_size=8)


class FakePipeline:
    """Answers as transformers.pipeline("image-classification"): a list a picture, best score first, cut at top_k."""

    task = "image-classification"

    def __init__(self, labels=("NORMAL", "Square")):
        self.labels = labels
        self.seen = []

    def __call__(self, inputs, top_k=5, **more):
        assert isinstance(inputs, list)
        self.seen += [(image.size, image.mode) for image in inputs]
        answers = []
        for image in inputs:
            score = np.asarray(image).mean() / 255
            scores = [1 - score, score, *[0.0] * (len(self.labels) - 2)]
            rows = [{"label": label, "score": s} for label, s in zip(self.labels, scores, strict=True)]
            answers.append(sorted(rows, key=lambda row: -row["score"])[:top_k])
        return answers


def test_a_pipeline_of_transformers_gets_whole_pictures(fresh):
    pipeline = FakePipeline()
    wrapped = wrap(pipeline, batch_size=30)
    expected = [np.rint(p * 255).mean() / 255 for p in fresh.images.pictures]
    assert wrapped.predict(fresh).y_proba == pytest.approx(expected)  # "Square" is the label "square" of the data
    assert set(pipeline.seen) == {((30, 36), "RGB")}
    many = FakePipeline(labels=("a", "z", *"bcdefgh"))
    assert wrap(many, positive_label="z").predict_proba(fresh)[:, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pipeline", "arguments", "said"),
    [
        (
            FakePipeline(("a", "b")),
            {},
            r"positive_label: expected the pipeline's name of label 1, got None\. .*: b, a|a, b",
        ),
        (FakePipeline(("a", "b")), {"positive_label": "c"}, r"positive_label: .* got 'c'\. Its labels are: "),
        (
            FakePipeline(),
            {"image_size": 64},
            r"image_size: expected one of the arguments that a transformers pipeline uses",
        ),
    ],
)
def test_what_a_pipeline_lacks_is_told(fresh, pipeline, arguments, said):
    with pytest.raises(InputError, match=said):
        wrap(pipeline, **arguments).predict(fresh)


def test_answers_of_another_pipeline_are_told(fresh):
    class Odd(FakePipeline):
        def __call__(self, inputs, top_k=5):
            return [["a"] for _ in inputs]

    class Short(FakePipeline):
        def __call__(self, inputs, top_k=5):
            return super().__call__(inputs[:1], top_k)

    with pytest.raises(InputError, match=r'model: expected lists of \{"label": ..., "score": ...\}, got other answers'):
        wrap(Odd()).predict(fresh)
    with pytest.raises(InputError, match="model: expected a list of 32 answers, got a list of 1"):
        wrap(Short()).predict(fresh)
    text = type("Text", (), {"task": "text-classification", "tokenizer": None, "__call__": lambda self, x: x})()
    with pytest.raises(InputError, match="model: expected a pipeline for image-classification, got one for text-class"):
        wrap(text)


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (
            brightness,
            {"activation": "softmax"},
            r"activation: expected one of the arguments that a function uses \(fit",
        ),
        (brightness, {"image_size": 4}, "image_size: expected a whole number from 8 to 2,048, got 4"),
        (brightness, {"fit": "padd"}, r"fit: expected one of pad, crop, stretch, got 'padd'\. .* Did you mean 'pad'\?"),
        (brightness, {"output": -1}, "output: expected a whole number from 0"),
        (brightness, {"batch_size": 0}, "batch_size: expected a whole number from 1"),
        (Net(), {"activation": "relu"}, "activation: expected one of sigmoid, softmax, none, got 'relu'"),
        (Net(), {"channels": 2}, "channels: expected 1 or 3, got 2"),
        (Net(), {"mean": (0.1, 0.2)}, r"mean: expected a number, or 3 of them, got \(0\.1, 0\.2\)"),
        (Net(), {"std": 0}, "std: expected numbers above 0, got 0 or less"),
        (Net(), {"features": brightness}, "features: expected one of the arguments that a torch module uses"),
    ],
)
def test_a_bad_argument_of_wrap_is_told(model, arguments, said):
    with pytest.raises(InputError, match=said):
        wrap(model, **arguments)


def test_what_is_no_model_is_a_type_error(quick):
    with pytest.raises(TypeError, match=r"model: expected a function, a torch module, .* got str"):
        wrap("model.pth")
    with pytest.raises(TypeError, match="model: expected a model, got the class LogisticRegression"):
        wrap(LogisticRegression)
    with pytest.raises(UnknownKeywordError, match="Did you mean 'image_size'"):
        wrap(brightness, image_siz=3)
    assert wrap(quick) is quick
    assert isinstance(quick, Classifier)
    assert isinstance(wrap(wrap(brightness)), WrappedModel)


def test_a_wrapped_model_can_be_audited(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = wrap(brightness, image_size=16).predict(data)
    assert predicted.y_proba.shape == (200,)
    assert "probability" in repr(predicted)
