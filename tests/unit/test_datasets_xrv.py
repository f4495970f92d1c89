"""Data sets of torchxrayvision, by a small object with the same attributes."""

import numpy as np
import pandas as pd
import pytest

from mmaudit._errors import AuditWarning, ImageReadError, InputError
from mmaudit.datasets import from_torchxrayvision
from mmaudit.datasets._shared import label_terms
from mmaudit.images import ImageSource

NAN = np.nan


def values(column):
    return [None if pd.isna(value) else value for value in column]


class FakeDataset:
    """What torchxrayvision.datasets.Dataset promises: pathologies, labels, csv, items."""

    def __init__(self):
        self.pathologies = ["Atelectasis", "Effusion"]
        self.labels = np.array([[0, 1], [1, NAN], [0, 0], [NAN, 1], [1, 0]], dtype=np.float32)
        self.csv = pd.DataFrame(
            {
                "patientid": ["p1", "p1", "p2", "p3", "p4"],
                "age_years": [61.0, 61.0, NAN, 30.0, 45.0],
                "sex_male": [True, True, False, False, False],
                "sex_female": [False, False, True, True, False],
                "view": ["PA", "AP", "PA", "UNKNOWN", "AP"],
            },
            index=[7, 8, 11, 40, 41],  # filtered tables keep the index of the whole
        )
        self.transform = None
        self.data_aug = None
        self.read = []

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, idx):
        self.read.append(idx)
        image = np.full((1, 4, 8), -1024.0, dtype=np.float32)
        image[0, :, :4] = 1024.0
        image[0, 0, 0] = 512.0 * (idx - 2)  # tells which item was read
        return {"idx": idx, "lab": self.labels[idx], "img": image}


def test_labels_patients_and_metadata_without_reading_an_image():
    dataset = FakeDataset()
    with pytest.warns(AuditWarning, match="label: expected 0 or 1 for every sample, left out 1 of 5 whose 'Effusion'"):
        data = from_torchxrayvision(dataset, label="Effusion")
    assert dataset.read == []
    assert list(data.sample_id) == [0, 2, 3, 4]
    assert data.y_true.tolist() == [1, 0, 1, 0]
    assert data.patient_id.tolist() == ["p1", "p2", "p3", "p4"]
    assert values(data.metadata["view"]) == ["PA", "PA", None, "AP"]
    np.testing.assert_array_equal(data.metadata["age"], [61, NAN, 30, 45])
    assert values(data.metadata["sex"]) == ["M", "F", "F", None]
    assert data.reports is None
    assert data.y_proba is None
    assert data.name == "FakeDataset"
    assert {"effusion", "pleural effusion"} <= set(data.label_terms)


@pytest.mark.filterwarnings("ignore::mmaudit._errors.AuditWarning")
def test_images_are_scaled_to_0_1_and_follow_the_samples():
    dataset = FakeDataset()
    data = from_torchxrayvision(dataset, label="Effusion")
    assert isinstance(data.images, ImageSource)
    image = data.image(3)
    assert image.shape == (4, 8)
    assert image.dtype == np.float32
    assert image[0, 0] == 0.75  # item 3 has 512: (512 + 1024) / 2048
    assert image[1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert data.subset([3]).image(4)[0, 0] == 1.0
    assert dataset.read == [3, 4]
    small = data.images.read(0, max_side_px=4)
    assert small.pixels.shape == (2, 4)
    assert (small.width_px, small.height_px, small.bit_depth) == (8, 4, 8)
    assert small.pixels[1].tolist() == [1, 1, 0, 0]


@pytest.mark.filterwarnings("ignore::mmaudit._errors.AuditWarning")
def test_probabilities_are_given_for_the_whole_data_set():
    data = from_torchxrayvision(FakeDataset(), label="Effusion", y_proba=[0.9, 0.8, 0.1, 0.7, 0.2])
    assert data.y_proba.tolist() == [0.9, 0.1, 0.7, 0.2]
    with pytest.raises(InputError, match="y_proba: expected 5 values, got 4"):
        from_torchxrayvision(FakeDataset(), label="Effusion", y_proba=[0.9, 0.1, 0.7, 0.2])


@pytest.mark.filterwarnings("ignore:label")
def test_without_patients_and_without_a_table():
    dataset = FakeDataset()
    del dataset.csv["patientid"]
    with pytest.warns(AuditWarning, match="EVERY SAMPLE IS TREATED AS A PATIENT"):
        assert not from_torchxrayvision(dataset, label="Effusion").has_patient_id
    del dataset.csv
    with pytest.warns(AuditWarning, match="EVERY SAMPLE IS TREATED AS A PATIENT"):
        assert from_torchxrayvision(dataset, label="Effusion").metadata.shape == (4, 0)


@pytest.mark.filterwarnings("ignore:label")
def test_augmentation_is_warned_of():
    dataset = FakeDataset()
    dataset.data_aug = lambda image: image
    with pytest.warns(AuditWarning, match="dataset: expected images that stay the same, got data_aug"):
        from_torchxrayvision(dataset, label="Effusion")


@pytest.mark.filterwarnings("ignore::mmaudit._errors.AuditWarning")
@pytest.mark.parametrize(
    ("item", "reason", "message"),
    [
        (FileNotFoundError(), "missing", "got a file that is missing"),
        (ValueError(), "truncated or damaged", r"got one that it cannot \(ValueError\)"),
        (np.linspace(0, 1, 8).reshape(1, 2, 4), "wrong range", r"expected values in \[-1024, 1024\]"),
        (np.full((1, 2, 2), 4000.0), "wrong range", r"expected values in \[-1024, 1024\]"),
        (np.full((1, 2, 2), NAN), "wrong range", r"expected values in \[-1024, 1024\]"),
        (np.zeros((3, 2, 2)), "unreadable", r"expected an array of shape \(1, height, width\), got one of shape"),
    ],
)
def test_images_that_cannot_be_used(monkeypatch, item, reason, message):
    def get(self, idx):
        if isinstance(item, Exception):
            raise item
        return {"img": item}

    data = from_torchxrayvision(FakeDataset(), label="Effusion")
    monkeypatch.setattr(FakeDataset, "__getitem__", get)
    with pytest.raises(ImageReadError, match=message) as caught:
        data.image(0)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("change", "label", "message"),
    [
        ({}, "Pleural Effusion", r"label: expected one of dataset.pathologies.*Did you mean 'Effusion'\?"),
        ({"labels": np.zeros((5, 3))}, "Effusion", r"dataset: expected labels of shape \(n, 2\), got \(5, 3\)"),
        (
            {"labels": np.full((5, 2), NAN)},
            "Effusion",
            "label: expected labels of 'Effusion', got NaN for all 5 samples",
        ),
        ({"csv": pd.DataFrame({"view": ["PA"]})}, "Effusion", "dataset: expected csv of 5 rows, got 1"),
        ({"labels": np.full((5, 2), 2.0)}, "Effusion", "label: expected the values 0 and 1"),
    ],
)
@pytest.mark.filterwarnings("ignore::mmaudit._errors.AuditWarning")
def test_wrong_data_sets(change, label, message):
    dataset = FakeDataset()
    for name, value in change.items():
        setattr(dataset, name, value)
    with pytest.raises(InputError, match=message):
        from_torchxrayvision(dataset, label=label)


def test_something_else_than_a_data_set():
    with pytest.raises(
        InputError, match=r"dataset: expected a torchxrayvision data set .*, got list without pathologies"
    ):
        from_torchxrayvision([1, 2], label="Effusion")


def test_terms_of_a_label_start_with_its_name():
    assert label_terms("Effusion")[:2] == ("effusion", "pleural effusion")
    assert label_terms("Something Rare") == ("something rare",)
    assert label_terms("Pleural_Thickening")[0] == "pleural thickening"
