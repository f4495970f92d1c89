"""Encoders by a short text."""

import sys

import pytest

from mmaudit._errors import InputError, MissingExtraError
from mmaudit.encoders import ClassifierEncoder, OpenCLIPEncoder, TransformersEncoder, XRVEncoder
from mmaudit.encoders._spec import encoder_from


@pytest.mark.parametrize(
    ("spec", "kind", "settings"),
    [
        ("phantom-clip", OpenCLIPEncoder, {"model_name": "phantom-clip", "pretrained": None}),
        ("open_clip:ViT-B-32:openai", OpenCLIPEncoder, {"model_name": "ViT-B-32", "pretrained": "openai"}),
        ("open_clip:ViT-B-32", OpenCLIPEncoder, {"model_name": "ViT-B-32", "pretrained": None}),
        ("open_clip:hf-hub:owner/name", OpenCLIPEncoder, {"model_name": "hf-hub:owner/name", "pretrained": None}),
        # a file of weights may have a colon in its name, as below a drive of Windows
        ("open_clip:RN50:C:/weights.pt", OpenCLIPEncoder, {"model_name": "RN50", "pretrained": "C:/weights.pt"}),
        ("hf:microsoft/rad-dino", TransformersEncoder, {"model": "microsoft/rad-dino"}),
        ("xrv:densenet121-res224-all", XRVEncoder, {"weights": "densenet121-res224-all"}),
    ],
)
def test_a_name_becomes_an_encoder(spec, kind, settings):
    encoder = encoder_from(spec, allow_download=True, progress=True)
    assert type(encoder) is kind
    told = encoder.get_params()
    assert {name: told[name] for name in settings} == settings
    assert told["allow_download"] is True
    assert told["progress"] is True


def test_nothing_is_fetched_or_shown_unless_asked():
    told = encoder_from("hf:owner/name").get_params()
    assert told["allow_download"] is False
    assert told["progress"] is False


@pytest.mark.parametrize(
    ("files", "kind", "argument"),
    [
        (["open_clip_config.json"], OpenCLIPEncoder, "model_name"),
        (["config.json"], TransformersEncoder, "model"),
        # open_clip's folders of models with a text tower of transformers may hold both
        (["config.json", "open_clip_config.json"], OpenCLIPEncoder, "model_name"),
    ],
)
def test_a_folder_says_by_its_files_what_it_is(tmp_path, files, kind, argument):
    for name in files:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    encoder = encoder_from(str(tmp_path))
    assert type(encoder) is kind
    assert encoder.get_params()[argument] == tmp_path
    assert type(encoder_from(tmp_path)) is kind


def test_a_folder_behind_a_kind_is_of_that_kind(tmp_path):
    assert type(encoder_from(f"open_clip:{tmp_path}")) is OpenCLIPEncoder
    assert encoder_from(f"open_clip:{tmp_path}").pretrained is None
    assert encoder_from(f"hf:{tmp_path}").model == str(tmp_path)


def test_the_file_of_a_classifier(tmp_path):
    torch = pytest.importorskip("torch")
    from mmaudit.classifiers._classifier import Classifier
    from mmaudit.classifiers._networks import build

    config = {"architecture": "small_cnn", "labels": ["a"], "image_size": 32}
    network = build("small_cnn", 1)
    Classifier(network, config=config, history=[], device=torch.device("cpu")).save(tmp_path / "c.safetensors")
    encoder = encoder_from(tmp_path / "c.safetensors", progress=True)
    assert type(encoder) is ClassifierEncoder
    assert encoder.progress is True
    read = encoder.classifier.network.module.state_dict()
    assert all(torch.equal(read[name], tensor) for name, tensor in network.state_dict().items())


FORMS = (
    "expected phantom-clip, open_clip:NAME[:PRETRAINED], hf:NAME, xrv:WEIGHTS, a folder of a model, or the "
    ".safetensors file of a classifier"
)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "phantomclip",
            f"spec: {FORMS}, got 'phantomclip'. Check the path or the word before the colon. "
            "Did you mean 'phantom-clip'?",
        ),
        (
            "openclip:ViT-B-32",
            f"spec: {FORMS}, got 'openclip:ViT-B-32'. Check the path or the word before the colon. "
            "Did you mean 'open_clip'?",
        ),
        ("./models/none", f"spec: {FORMS}, got './models/none'. Check the path or the word before the colon."),
        ("hf:", "spec: expected a name behind hf:, got none. Forms: phantom-clip, "),
        (
            "{folder}",
            "spec: expected a folder with open_clip_config.json or config.json, got a folder with neither. "
            "Name the folder that holds the model itself.",
        ),
        (
            "{folder}/weights.pt",
            "spec: expected a folder, or a file that ends in .safetensors, got a file that ends in '.pt'. "
            "Weights of torchxrayvision are xrv:FILE, other models a folder.",
        ),
    ],
)
def test_what_names_no_encoder(tmp_path, spec, message):
    (tmp_path / "weights.pt").touch()
    with pytest.raises(InputError) as caught:
        encoder_from(spec.format(folder=tmp_path))
    assert str(caught.value).startswith(message)


def test_a_file_that_is_no_classifier(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"^path: expected "):
        encoder_from(tmp_path / "c.safetensors")


def test_a_classifier_without_torch(tmp_path, monkeypatch):
    (tmp_path / "c.safetensors").touch()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r'pip install "mmaudit\[torch\]"'):
        encoder_from(tmp_path / "c.safetensors")
