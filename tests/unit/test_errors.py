"""Errors have four parts, survive a process boundary, and hint at the nearest name."""

import pickle
import re

import pytest

from mmaudit._errors import (
    ImageReadError,
    InputError,
    MissingExtraError,
    UnknownKeywordError,
    check_keywords,
    nearest,
)


def test_an_input_error_says_argument_expected_got_action():
    error = InputError("alpha", "a number between 0 and 1", "2", "Use 0.05.")
    assert str(error) == "alpha: expected a number between 0 and 1, got 2. Use 0.05."
    assert error.argument == "alpha"
    assert isinstance(error, ValueError)


def test_an_image_error_has_a_reason_for_tables():
    assert ImageReadError("image", "a file", "none", "Check.").reason == "unreadable"
    assert ImageReadError("image", "a file", "none", "Check.", reason="missing").reason == "missing"


@pytest.mark.parametrize(
    "error",
    [
        InputError("alpha", "a number", "a word", "Use 0.05."),
        ImageReadError("image", "a file", "none", "Check the path.", reason="missing"),
        MissingExtraError("OpenCLIPEncoder", "open_clip_torch", "clip"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_through_a_process_boundary_whole(error):
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_a_missing_extra_names_feature_package_and_install_line():
    error = MissingExtraError("OpenCLIPEncoder", "open_clip_torch", "clip")
    assert isinstance(error, ImportError)
    assert (
        str(error) == 'OpenCLIPEncoder needs the package open_clip_torch. Install it with: pip install "mmaudit[clip]"'
    )


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("lable", " Did you mean 'label'?"),
        ("LABEL", " Did you mean 'label'?"),
        ("y_prob", " Did you mean 'y_proba'?"),
        ("zzz", ""),
    ],
)
def test_the_nearest_name_is_hinted_at(word, hint):
    assert nearest(word, ["label", "y_proba"]) == hint


def test_the_hint_is_spelt_as_the_name_is():
    assert nearest("patientid", ["PatientID"]) == " Did you mean 'PatientID'?"


def test_an_unknown_keyword_raises_with_the_nearest():
    @check_keywords
    def plot(data, *, colour="blue", size=3):
        return data, colour, size

    assert plot(1, size=4) == (1, "blue", 4)
    expected = (
        "color: expected one of the keywords of plot() (data, colour, size), got an unknown keyword. "
        "Did you mean 'colour'? Check the spelling."
    )
    with pytest.raises(UnknownKeywordError, match=f"^{re.escape(expected)}$"):
        plot(1, color="red")


def test_an_unknown_keyword_is_a_type_error_without_a_far_fetched_hint():
    @check_keywords
    def plot(data, *, colour="blue"):
        return data, colour

    with pytest.raises(TypeError, match=r"^zzz: .* got an unknown keyword\. Check the spelling\.$"):
        plot(1, zzz=0)
