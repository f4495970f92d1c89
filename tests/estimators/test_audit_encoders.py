"""An audit in the space of an encoder that the user brings: found there, named in the card, checked before any work."""

import numpy as np
import pytest

import mmaudit as mma
from mmaudit._errors import InputError


class Given:
    """An encoder that gives an array, and counts how often it is asked."""

    def __init__(self, rows, modalities=("image",)):
        self.rows, self.modalities, self.asked = rows, modalities, 0

    def encode(self, data, modality):
        self.asked += 1
        return self.rows

    def __repr__(self):
        return "Given('a space')"


@pytest.fixture(scope="module")
def hidden(cohorts):
    """Errors where a direction of a space says so, and nothing else does."""
    n = 700
    rng = np.random.default_rng(5)
    frame = cohorts.table(n, seed=3)
    inside = rng.random(n) < 0.25
    X = rng.normal(size=(n, 12)).astype(np.float32)
    X[:, 0] += 6 * inside
    frame = cohorts.predict(frame, np.where(inside, 0.6, 0.08))
    data = cohorts.data_of(frame, metadata=["sex"], images=cohorts.Arrays(cohorts.pictures(n)))
    return data, inside, X


def test_the_slice_is_found_in_the_space_of_the_encoder_alone(cohorts, hidden):
    data, inside, X = hidden
    encoder = Given(X)
    result = cohorts.quick_audit(data, encoders={"image": encoder})
    assert encoder.asked == 1
    assert len(result.findings)
    members = result.membership[result.findings["slice_id"].iloc[0]] >= 0.5
    assert (members & inside).sum() / (members | inside).sum() > 0.3
    assert inside[members].mean() > 0.8
    assert cohorts.quick_audit(data).findings.empty
    assert result.data_summary["encoders"] == {"image": "Given('a space')"}
    assert "Images embedded by" in result.model_card()


def test_it_is_what_the_same_embeddings_given_with_the_data_give(cohorts, hidden):
    data, _, X = hidden
    with_encoder = cohorts.quick_audit(data, encoders={"image": Given(X)})
    with_embeddings = cohorts.quick_audit(data.with_embeddings({"image": X}))
    assert with_encoder.candidates.equals(with_embeddings.candidates)


def test_a_control_uses_the_same_space_and_a_loaded_result_asks_for_it(cohorts, hidden, tmp_path):
    data, _, X = hidden
    encoder = Given(X)
    result = cohorts.quick_audit(data, encoders={"image": encoder})
    assert result.null_control(2).n == 2
    assert encoder.asked == 1
    loaded = mma.load_result(result.save(tmp_path / "x.mmaudit.json"))
    with pytest.raises(InputError, match="the embeddings that the audit had of images"):
        loaded.null_control(1, data=data)
    assert loaded.null_control(1, data=data.with_embeddings({"image": X})).n == 1


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ({"metadata": Given(None)}, "encoders: expected the modalities image or report, got 'metadata'"),
        ({"report": Given(None, ("report",))}, r"encoders\['report'\]: expected data with reports, got data without"),
        (
            {"image": Given(None, ("report",))},
            r"encoders\['image'\]: expected an encoder of images, got one of reports",
        ),
    ],
)
def test_an_encoder_that_does_not_fit(hidden, encoders, message):
    data, _, _ = hidden
    with pytest.raises(InputError, match=message):
        mma.audit(data, encoders=encoders)
    assert all(encoder.asked == 0 for encoder in encoders.values())


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ([Given(None)], "encoders: expected a mapping such as .*, got list"),
        ({"image": np.zeros((3, 3))}, r"encoders\['image'\]: expected an encoder of mmaudit.encoders, got ndarray"),
    ],
)
def test_what_is_no_encoder(hidden, encoders, message):
    with pytest.raises(TypeError, match=message):
        mma.audit(hidden[0], encoders=encoders)
