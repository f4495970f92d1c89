"""Encoders with a network: they give what their libraries give, ask no network for anything, and compute once."""

import contextlib
import importlib.util
import json
import logging
import multiprocessing
import os
import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone

import mmaudit as mma
from mmaudit import cache
from mmaudit._errors import AuditWarning, ImageReadError, InputError, MissingExtraError
from mmaudit.classifiers import train, wrap
from mmaudit.classifiers._torch import choose_precision
from mmaudit.encoders import ClassifierEncoder, OpenCLIPEncoder, TransformersEncoder, XRVEncoder, _pretrained
from mmaudit.encoders._hub import REVISIONS, digest_of, locate
from mmaudit.encoders._pretrained import split_text
from mmaudit.encoders._words import WordTokenizer
from mmaudit.encoders._xrv import digest_of_network
from mmaudit.images import GrayImage, ImageFiles

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")
xrv = pytest.importorskip("torchxrayvision")

_spec = importlib.util.spec_from_file_location("small_models", Path(__file__).with_name("small_models.py"))
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

ALIKE = 1e-4
SHORT = ["No pleural effusion.", "There is a large left pneumothorax, new since prior.", "", "Lung clear"]
# One token a word or sign, two special ones: 32 tokens fit.
AT_THE_LIMIT = " ".join(["lung"] * 30)
OVER_THE_LIMIT = " ".join(["lung"] * 31)
LONG = (
    "There is a large left pleural effusion. No right pneumothorax. The heart is normal.\nA catheter tube of the left "
    "chest is unchanged since prior study. Small opacity of the right base, new. The apex is clear; no effusion. " * 3
)
ENDLESS = "no effusion left right " * 30  # one sentence of 120 words
_asked: list[str] = []


def _note_connections(event, arguments):
    """Note every attempt to reach another machine, also those whose failure a library hides."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _asked.append(str(arguments[0]))
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        _asked.append(str(arguments[1][0]))


sys.addaudithook(_note_connections)


@pytest.fixture(autouse=True)
def nothing_is_asked_of_the_network():
    _asked.clear()
    yield
    assert _asked == []


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute in one thread: networks this small wait for a second one longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMAUDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return the folders of small models by name."""
    root = tmp_path_factory.mktemp("models")
    made = {
        name: Path(getattr(models, f"save_{name}")(root / name))
        for name in ("bert", "sentence_bert", "vit", "dinov2", "siglip", "resnet", "open_clip", "word_clip")
    }
    made["biomed_clip"] = Path(models.save_biomed_clip(root / "biomed_clip", root / "tower"))
    made["rad-dino"] = root / "rad-dino"
    shutil.copytree(made["dinov2"], made["rad-dino"])
    return made


def draw(rng, shape=(70, 60)):
    """Return a smooth picture in [0, 1] that differs from the next."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    a, b, c = rng.uniform(2, 9, 3)
    return np.clip(0.5 + 0.3 * np.sin(a * rows + c) + 0.3 * np.cos(b * columns) + rng.normal(0, 0.05, shape), 0, 1)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Return the paths of films as 8-bit PNG, JPEG and 16-bit PNG, of several shapes."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(3)
    paths = []
    for k in range(9):
        grey = draw(rng, (70 + 4 * k, 90 - 3 * k))
        kind = ("png", "jpg", "16.png")[k % 3]
        paths.append(folder / f"{k}.{kind}")
        # The values of 16-bit films lie in a part of the range, as in files without a display window.
        values = (3_000 + 20_000 * grey).astype(np.uint16) if kind == "16.png" else (255 * grey).astype(np.uint8)
        Image.fromarray(values).save(paths[-1])
    return paths


def files(paths):
    return ImageFiles([str(path) for path in paths])


def opened(path, window="percentiles"):
    """Return a film as a library of images would get it: grey values of 8 bits in three channels."""
    with Image.open(path) as image:
        if not image.mode.startswith("I"):
            return image.convert("L").convert("RGB")
        values = np.asarray(image, dtype=np.float64)
    low, high = {
        "percentiles": np.percentile(values, (0.5, 99.5)),
        "minmax": (values.min(), values.max()),
        "full": (0, 65_535),
    }[window]
    grey = np.clip((values - low) / (high - low), 0, 1)
    return Image.fromarray(np.rint(255 * grey).astype(np.uint8)).convert("RGB")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def one_by_one(items, apply):
    """Return the rows that `apply` gives for each item alone."""
    with torch.no_grad():
        return np.concatenate([apply(item).numpy() for item in items])


def quietly(function, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AuditWarning)
        return function(*given)


def refuse(*_, **__):
    raise AssertionError("the model was needed")


def use_processes(monkeypatch, few=1):
    """Let worker processes read films, as they do for a GPU."""
    monkeypatch.setattr(_pretrained, "_spares_the_cores", lambda device: True)
    monkeypatch.setattr(_pretrained, "FEW", few)


# What the libraries themselves answer, one sample at a time


def features_of(answer):
    return answer if isinstance(answer, torch.Tensor) else answer.pooler_output


def transformers_image(folder, take, window="percentiles"):
    network = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return lambda path: take(network, processor(images=opened(path, window), return_tensors="pt")["pixel_values"])


def transformers_text(folder, take, **how):
    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return lambda text: take(network, tokenizer([text], return_tensors="pt", **how))


def open_clip_image(folder):
    network, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    network.eval()
    return lambda path: network.encode_image(transform(opened(path))[None])


def open_clip_text(folder):
    network, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    network.eval()
    words = folder / "vocabulary.json"
    tokenizer = WordTokenizer.load(words) if words.exists() else open_clip.get_tokenizer(f"local-dir:{folder}")
    return lambda text: network.encode_text(tokenizer([text]))


IMAGES = {
    "open_clip": (OpenCLIPEncoder, {}, open_clip_image, unit),
    "biomed_clip": (OpenCLIPEncoder, {}, open_clip_image, unit),
    "vit": (
        TransformersEncoder,
        {},
        lambda folder: transformers_image(folder, lambda net, x: net(x).last_hidden_state[:, 0]),
        None,
    ),
    "vit mean": (
        TransformersEncoder,
        {"pooling": "mean"},
        lambda folder: transformers_image(folder, lambda net, x: net(x).last_hidden_state[:, 1:].mean(1)),
        None,
    ),
    "vit max": (
        TransformersEncoder,
        {"pooling": "max"},
        lambda folder: transformers_image(folder, lambda net, x: net(x).last_hidden_state[:, 1:].amax(1)),
        None,
    ),
    "vit pooler": (
        TransformersEncoder,
        {"pooling": "pooler"},
        lambda folder: transformers_image(folder, lambda net, x: net(x).pooler_output),
        None,
    ),
    # DINOv2's own pooled output is its first token.
    "dinov2": (
        TransformersEncoder,
        {},
        lambda folder: transformers_image(folder, lambda net, x: net(x).pooler_output),
        None,
    ),
    "rad-dino": (
        TransformersEncoder,
        {},
        lambda folder: transformers_image(folder, lambda net, x: net(x).pooler_output, "minmax"),
        None,
    ),
    "siglip": (
        TransformersEncoder,
        {},
        lambda folder: transformers_image(folder, lambda net, x: features_of(net.get_image_features(pixel_values=x))),
        unit,
    ),
    "resnet": (
        TransformersEncoder,
        {},
        lambda folder: transformers_image(folder, lambda net, x: net(x).pooler_output.flatten(1)),
        None,
    ),
    "resnet max": (
        TransformersEncoder,
        {"pooling": "max"},
        lambda folder: transformers_image(folder, lambda net, x: net(x).last_hidden_state.amax((2, 3))),
        None,
    ),
}
BERT_MEAN = lambda folder: transformers_text(folder, lambda net, given: net(**given).last_hidden_state.mean(1))  # noqa: E731
TEXTS = {
    "bert": (TransformersEncoder, {}, BERT_MEAN, None),
    "bert cls": (
        TransformersEncoder,
        {"pooling": "cls"},
        lambda folder: transformers_text(folder, lambda net, given: net(**given).last_hidden_state[:, 0]),
        None,
    ),
    "bert max": (
        TransformersEncoder,
        {"pooling": "max"},
        lambda folder: transformers_text(folder, lambda net, given: net(**given).last_hidden_state.amax(1)),
        None,
    ),
    "bert pooler": (
        TransformersEncoder,
        {"pooling": "pooler"},
        lambda folder: transformers_text(folder, lambda net, given: net(**given).pooler_output),
        None,
    ),
    "sentence_bert": (TransformersEncoder, {}, BERT_MEAN, unit),
    "siglip": (
        TransformersEncoder,
        {},
        lambda folder: transformers_text(
            folder,
            lambda net, given: features_of(net.get_text_features(**given)),
            padding="max_length",
            max_length=16,
        ),
        unit,
    ),
    "open_clip": (OpenCLIPEncoder, {}, open_clip_text, unit),
    "word_clip": (OpenCLIPEncoder, {}, open_clip_text, unit),
    "biomed_clip": (OpenCLIPEncoder, {}, open_clip_text, unit),
}


class TestImages:
    @pytest.mark.parametrize("name", IMAGES)
    def test_rows_are_those_of_the_library(self, folders, films, name, monkeypatch):
        kind, how, library, scale = IMAGES[name]
        folder = folders[name.partition(" ")[0]]
        expected = one_by_one(films, library(folder))
        expected = expected if scale is None else scale(expected)
        assert np.abs(expected[0] - expected[1]).max() > 100 * ALIKE  # films differ, so that a mix-up would show
        for batch_size, processes in ((1, False), (7, True), ("auto", False)):
            encoder = kind(folder, batch_size=batch_size, n_jobs=2, cache=False, **how)
            with (
                monkeypatch.context() as patched,
                pytest.warns(AuditWarning, match="got 3 of 9 with more and no display window"),
            ):
                if processes:
                    use_processes(patched)
                rows = encoder.encode_images(files(films))
            assert rows.dtype == np.float32
            np.testing.assert_allclose(rows, expected, atol=ALIKE)

    def test_the_window_is_the_one_that_is_asked_for(self, folders, films):
        high = films[2::3]
        found = {}
        for window in ("percentiles", "minmax", "full"):
            take = transformers_image(folders["dinov2"], lambda net, x: net(x).pooler_output, window)
            found[window] = quietly(
                TransformersEncoder(folders["dinov2"], window=window, cache=False).encode_images, files(high)
            )
            np.testing.assert_allclose(found[window], one_by_one(high, take), atol=ALIKE)
        assert np.abs(found["full"] - found["minmax"]).max() > 100 * ALIKE
        assert np.abs(found["percentiles"] - found["minmax"]).max() > ALIKE

    def test_forms_of_input_agree(self, folders, films):
        encoder = TransformersEncoder(folders["vit"], cache=False)
        paths = films[0::3]
        arrays = [np.asarray(Image.open(path)) for path in paths]
        expected = encoder.encode_images(files(paths))
        data = mma.AuditData.from_frame(
            pd.DataFrame({"label": [0, 1, 0], "path": [str(p) for p in paths], "report": "No."}),
            label="label",
            image="path",
            report="report",
            patient_id="label",
        )
        for rows in (
            encoder.encode_images(arrays),
            encoder.encode_images([array / 255 for array in arrays]),
            encoder.encode(data, "image"),
            encoder.transform(data),
            encoder.fit_transform(arrays),
        ):
            np.testing.assert_allclose(rows, expected, atol=1e-6)
        assert encoder.encode_images([]).shape[0] == 0

    def test_xrv_prepares_as_torchxrayvision_does(self, films, densenet, tmp_path):
        paths = [*films[:2], films[5]]

        def by_library(path):
            with Image.open(path) as image:
                values, most = np.asarray(image), 65_535 if image.mode.startswith("I") else 255
            grey = xrv.datasets.normalize(values, most)[None]
            prepared = xrv.datasets.XRayResizer(224)(xrv.datasets.XRayCenterCrop()(grey))
            return densenet.features2(torch.from_numpy(prepared)[None])

        expected = one_by_one(paths, by_library)
        assert expected.shape == (3, 1024)
        file = tmp_path / "densenet.pt"
        torch.save(densenet.state_dict(), file)
        for weights in (densenet, file):
            encoder = XRVEncoder(weights, cache=False)
            np.testing.assert_allclose(quietly(encoder.encode_images, files(paths)), expected, atol=ALIKE)

    def test_xrv_leaves_a_given_model_as_it_was(self, densenet):
        densenet.train()
        XRVEncoder(densenet, cache=False).encode_images([draw(np.random.default_rng(0), (224, 224))])
        assert densenet.training
        densenet.eval()

    def test_a_network_on_the_cpu_is_fed_by_threads(self, folders, tmp_path):
        at_once = threading.Barrier(2)
        readers = []

        class Noted(ImageFiles):
            def read(self, index, **how):
                readers.append((os.getpid(), threading.current_thread()))
                if index < 2:
                    at_once.wait(timeout=60)  # passes where two threads are here
                return super().read(index, **how)

            def with_window(self, window):
                return self

        Image.fromarray((255 * draw(np.random.default_rng(0))).astype(np.uint8)).save(tmp_path / "film.png")
        n = 2 * _pretrained.FEW
        encoder = TransformersEncoder(folders["vit"], device="cpu", cache=False, n_jobs=2, batch_size=8)
        encoder.encode_images(Noted([str(tmp_path / "film.png")] * n))
        assert len(readers) == n
        assert {pid for pid, _ in readers} == {os.getpid()}
        threads = {thread for _, thread in readers}
        assert len(threads) == 2
        assert threading.current_thread() not in threads
        assert not any(thread.is_alive() for thread in threads)

    def test_only_networks_on_the_cpu_keep_its_cores(self):
        assert not _pretrained._spares_the_cores(torch.device("cpu"))
        assert _pretrained._spares_the_cores(torch.device("cuda", 0))

    def test_many_films_for_another_device_are_read_by_other_processes(self, folders, tmp_path, monkeypatch):
        class Noted(ImageFiles):
            def read(self, index, **how):
                (tmp_path / f"{os.getpid()}-{index}").touch()
                return super().read(index, **how)

            def with_window(self, window):
                return self

        Image.fromarray((255 * draw(np.random.default_rng(0))).astype(np.uint8)).save(tmp_path / "film.png")
        use_processes(monkeypatch, few=_pretrained.FEW)
        encoder = TransformersEncoder(folders["vit"], cache=False, n_jobs=2, batch_size=8)
        for n in (_pretrained.FEW - 1, _pretrained.FEW):
            encoder.encode_images(Noted([str(tmp_path / "film.png")] * n))
            readers = Counter(path.name.partition("-")[0] for path in tmp_path.glob("[0-9]*"))
            for path in tmp_path.glob("[0-9]*"):
                path.unlink()
            assert sum(readers.values()) == n
            if n < _pretrained.FEW or sys.platform != "linux":
                assert set(readers) == {str(os.getpid())}
            else:
                assert len(readers) == 2
                assert str(os.getpid()) not in readers

    def test_networks_run_for_inference_alone(self):
        class Noting(torch.nn.Linear):
            def forward(self, images):
                assert torch.is_inference_mode_enabled()
                assert not self.training
                return super().forward(images.flatten(1))

        model = wrap(torch.nn.Sequential(Noting(256, 2)).train(), image_size=16, channels=1)
        films = np.random.default_rng(0).random((2, 16, 16))
        assert ClassifierEncoder(model, layer="0", cache=False).encode_images(films).shape == (2, 2)
        half = choose_precision(torch, "auto", torch.device("cuda"))
        assert (half, choose_precision(torch, "auto", torch.device("cpu"))) == (torch.float16, None)

    def test_lower_precision_is_near_and_kept_apart(self, folders, films, empty_cache):
        whole = TransformersEncoder(folders["vit"]).encode_images(files(films[:2]))
        lower = TransformersEncoder(folders["vit"], mixed_precision=True).encode_images(files(films[:2]))
        assert 0 < np.abs(whole - lower).max() < 0.1
        assert len(list((empty_cache / "embeddings").glob("*.sqlite"))) == 2


@pytest.fixture(scope="module")
def densenet():
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = xrv.models.DenseNet(num_classes=18).eval()
    made.features.conv0.weight.data /= 1024  # so that random weights answer numbers near 1
    return made


def words_of(text):
    return Counter(text.split())


class TestTexts:
    @pytest.mark.parametrize("name", TEXTS)
    def test_rows_are_those_of_the_library(self, folders, name):
        kind, how, library, scale = TEXTS[name]
        folder = folders[name.partition(" ")[0]]
        take = library(folder)
        expected = one_by_one(SHORT, take)
        expected = expected if scale is None else scale(expected)
        assert np.abs(expected[0] - expected[1]).max() > 100 * ALIKE
        for batch_size in (1, 3, "auto"):
            rows = kind(folder, batch_size=batch_size, cache=False, **how).encode_texts(SHORT)
            assert rows.dtype == np.float32
            np.testing.assert_allclose(rows, expected, atol=ALIKE)

    @pytest.mark.parametrize("name", TEXTS)
    @pytest.mark.parametrize(
        "text", [AT_THE_LIMIT, OVER_THE_LIMIT, LONG, ENDLESS], ids=["at", "over", "long", "endless"]
    )
    def test_long_ones_are_the_mean_of_their_parts(self, folders, name, text):
        kind, how, library, scale = TEXTS[name]
        folder = folders[name.partition(" ")[0]]
        encoder = kind(folder, batch_size=4, cache=False, **how)
        (row,) = encoder.encode_texts([text])
        part = encoder._parts().text
        assert part.max_tokens == {"sentence_bert": 16, "siglip": 16, "open_clip": 24, "word_clip": 24}.get(name, 32)
        pieces = split_text(text, part.count, part.max_tokens)
        if name.startswith("bert"):
            assert (len(pieces) == 1) == (text is AT_THE_LIMIT)
        lengths = np.array([part.count(piece) for piece in pieces])
        assert lengths.max() <= part.max_tokens
        assert sum(map(words_of, pieces), Counter()) == words_of(text)
        rows = one_by_one(pieces, library(folder))
        rows = rows if scale is None else scale(rows)
        expected = (lengths[:, None] * rows).sum(0) / lengths.sum()
        np.testing.assert_allclose(row, expected if scale is None else scale(expected), atol=ALIKE)

    def test_sentence_transformers_by_hand(self, folders):
        network = transformers.BertModel.from_pretrained(folders["sentence_bert"]).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folders["sentence_bert"])
        given = tokenizer(SHORT, padding=True, return_tensors="pt")
        with torch.no_grad():
            hidden = network(**given).last_hidden_state.double().numpy()
        expected = []
        for tokens, mask in zip(hidden, given["attention_mask"].numpy(), strict=True):
            mean = sum(token for token, there in zip(tokens, mask, strict=True) if there) / mask.sum()
            expected.append(mean / np.sqrt((mean**2).sum()))
        encoder = TransformersEncoder(folders["sentence_bert"], cache=False)
        np.testing.assert_allclose(encoder.encode_texts(SHORT), expected, atol=ALIKE)

    def test_pooling_of_sentence_transformers_is_read(self, folders, tmp_path):
        folder = tmp_path / "max"
        shutil.copytree(folders["sentence_bert"], folder)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "max"}))
        expected = TransformersEncoder(folders["sentence_bert"], pooling="max", cache=False).encode_texts(SHORT)
        np.testing.assert_allclose(TransformersEncoder(folder, cache=False).encode_texts(SHORT), expected, atol=1e-6)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "lasttoken"}))
        with pytest.raises(InputError, match=r"pooling: expected one of cls, mean, max in 1_Pooling/config\.json"):
            TransformersEncoder(folder, cache=False).encode_texts(SHORT)
        (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Dense"}]))
        with pytest.raises(InputError, match=r"model: expected sentence-transformers of Transformer, .* with Dense"):
            TransformersEncoder(folder, cache=False).encode_texts(SHORT)

    def test_forms_of_input_agree(self, folders):
        encoder = TransformersEncoder(folders["bert"], cache=False)
        expected = encoder.encode_texts(SHORT)
        assert encoder.encode_texts(SHORT[0]).shape == (1, 32)
        for given in (tuple(SHORT), np.array(SHORT), np.array(SHORT, dtype=object)):
            np.testing.assert_allclose(encoder.transform(given), expected, atol=1e-6)
        assert len(encoder.encode_texts([])) == 0
        with pytest.raises(TypeError, match="texts: expected strings, got something else among them"):
            encoder.encode_texts(["a", None])

    def test_roberta_has_fewer_positions_than_its_configuration_says(self, folders, tmp_path):
        torch.manual_seed(0)
        settings = models.text_settings(pad_token_id=0, max_position_embeddings=32)
        transformers.RobertaModel(transformers.RobertaConfig(**settings)).save_pretrained(tmp_path / "roberta")
        models.tokenizer(512).save_pretrained(tmp_path / "roberta")
        encoder = TransformersEncoder(tmp_path / "roberta", cache=False)
        assert np.isfinite(encoder.encode_texts([ENDLESS])).all()
        assert encoder._parts().text.max_tokens == 31  # the first position is the padding's


class TestSplitText:
    @staticmethod
    def count(text):
        return len(text.split()) + 2

    def test_by_hand(self):
        text = "One two three. Four five? Six\nseven eight nine ten; eleven."
        assert split_text(text, self.count, 99) == [text]
        assert split_text(text, self.count, 7) == ["One two three. Four five?", "Six seven eight nine ten;", "eleven."]
        # Seven words in parts of three: halves of 3 and 4, of which the second is halved once more.
        assert split_text("a b c d e f g. h i.", self.count, 5) == ["a b c", "d e", "f g.", "h i."]

    def test_a_word_without_spaces_is_cut_too(self):
        text = "肺野清晰未见异常" * 5
        parts = split_text(text, lambda piece: len(piece.replace(" ", "")) + 2, 12)
        assert all(len(part.replace(" ", "")) <= 10 for part in parts)
        assert "".join(parts).replace(" ", "") == text

    @pytest.mark.parametrize("max_tokens", [3, 4, 9, 30])
    def test_no_word_is_lost_or_moved(self, max_tokens):
        for text in (LONG, ENDLESS, AT_THE_LIMIT, " \n ".join("abc"), "a" * 50):
            parts = split_text(text, self.count, max_tokens)
            assert " ".join(parts).split() == text.split()
            assert all(self.count(part) <= max_tokens for part in parts)


class TestBothTowers:
    def test_similarity_is_the_cosine(self, folders, films):
        encoder = OpenCLIPEncoder(folders["open_clip"], cache=False)
        images, texts = quietly(encoder.encode_images, files(films)), encoder.encode_texts(SHORT)
        expected = [[i @ t / np.linalg.norm(i) / np.linalg.norm(t) for t in texts] for i in images]
        np.testing.assert_allclose(quietly(encoder.similarity, files(films), SHORT), expected, atol=1e-6)

    def test_the_modality_of_a_joint_model_can_be_chosen_and_changed(self, folders, films):
        encoder = TransformersEncoder(folders["siglip"], modality="image", cache=False)
        assert encoder.modalities == ("image",)
        assert encoder.encode_images(files(films[:1])).shape == (1, 32)
        with pytest.raises(
            InputError, match=r"modality: expected what TransformersEncoder\(.* takes: images, got texts"
        ):
            encoder.encode_texts(SHORT)
        assert encoder.set_params(modality="auto").encode_texts(SHORT).shape == (4, 32)
        with pytest.raises(InputError, match=r"modality: expected what the model takes \(report\), got 'image'"):
            TransformersEncoder(folders["bert"], modality="image").encode_texts(SHORT)

    def test_the_package_brings_a_model(self):
        encoder = OpenCLIPEncoder(cache=False)
        films = mma.datasets.load_phantom(2, image_size=64, random_state=5)
        similarity = quietly(encoder.similarity, films, ["pleural effusion", "no pleural effusion"])
        assert similarity.shape == (len(films), 2)
        assert np.abs(similarity).max() <= 1 + 1e-6

    def test_an_architecture_with_a_file_of_weights(self, films, monkeypatch, tmp_path):
        known = {**open_clip.factory._MODEL_CONFIGS, "tiny": models.open_clip_settings()}
        monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", known)
        torch.manual_seed(1)
        network = open_clip.create_model("tiny").eval()
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        transform = open_clip.image_transform(56, is_train=False)
        encoder = OpenCLIPEncoder("tiny", pretrained=tmp_path / "weights.pt", cache=False)
        expected = unit(one_by_one(films, lambda path: network.encode_image(transform(opened(path))[None])))
        np.testing.assert_allclose(quietly(encoder.encode_images, files(films)), expected, atol=ALIKE)
        tokenizer = open_clip.get_tokenizer("tiny")
        expected = unit(one_by_one(SHORT, lambda text: network.encode_text(tokenizer([text]))))
        np.testing.assert_allclose(encoder.encode_texts(SHORT), expected, atol=ALIKE)
        assert encoder._identity()["revision"] == digest_of([tmp_path / "weights.pt"])

    def test_logging_and_bars_of_the_program_are_left_alone(self, folders, monkeypatch, capfd):
        root = logging.getLogger()
        monkeypatch.setattr(root, "handlers", [])
        for kind, name in ((OpenCLIPEncoder, "open_clip"), (TransformersEncoder, "siglip")):
            kind(folders[name], cache=False).encode_texts(SHORT)
        assert (root.handlers, root.level) == ([], logging.WARNING)
        assert transformers.utils.logging.is_progress_bar_enabled()
        assert capfd.readouterr() == ("", "")


def counting(monkeypatch, kind, interrupt_after=None):
    """Let encoders of a kind note how many samples go through the network at a time."""
    sizes = []
    run = kind._run

    def noted(self, which, batch):
        if len(sizes) == interrupt_after:
            raise KeyboardInterrupt
        sizes.append(len(batch))
        return run(self, which, batch)

    monkeypatch.setattr(kind, "_run", noted)
    return sizes


def stores(folder):
    return sorted((folder / "embeddings").glob("*.sqlite"))


def about(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return json.loads(connection.execute("SELECT about FROM about").fetchone()[0])


NINE = [f"{word} effusion of the left lung" for word in models.WORDS.split()[:9]]


class TestCache:
    def test_what_was_seen_needs_no_model(self, folders, films, monkeypatch):
        for name, kind in (("bert", TransformersEncoder), ("vit", TransformersEncoder), ("open_clip", OpenCLIPEncoder)):
            encoder = kind(folders[name])
            for modality, seen in (("image", files(films)), ("report", [*SHORT, LONG])):
                if modality in encoder.modalities:
                    rows = quietly(encoder.transform, seen)
                    with monkeypatch.context() as patched:
                        patched.setattr(kind, "_load", refuse)
                        again = kind(folders[name], batch_size=3, n_jobs=1).transform(seen)
                        assert again.tobytes() == rows.tobytes()
                        assert (
                            kind(folders[name])
                            .transform(seen[:2] if modality == "report" else seen.take([0, 1]))[1]
                            .tobytes()
                            == rows[1].tobytes()
                        )

    def test_ten_thousand_come_back_in_order(self, folders, monkeypatch):
        made = {}

        def answer(self, which, batch):
            for text in batch:
                made.setdefault(text, np.random.default_rng(len(made)).normal(size=5).astype(np.float32))
            return np.stack([made[text] for text in batch])

        texts = [f"No effusion in film {k}." for k in range(10_000)]
        with monkeypatch.context() as patched:
            patched.setattr(TransformersEncoder, "_run", answer)
            patched.setattr(TransformersEncoder, "_batch_size", lambda *_: 500)
            quietly(TransformersEncoder(folders["bert"]).encode_texts, texts)
        monkeypatch.setattr(TransformersEncoder, "_load", refuse)
        rows = TransformersEncoder(folders["bert"]).encode_texts(texts[::-1])
        np.testing.assert_allclose(rows, np.stack([made[text] for text in texts[::-1]]), rtol=1e-6)

    def test_what_decides_on_an_embedding_decides_on_the_store(self, folders, films, empty_cache, tmp_path):
        other = tmp_path / "bert"
        shutil.copytree(folders["bert"], other)
        vit, siglip = folders["vit"], folders["siglip"]
        image = quietly(files(films[2:3]).take, [0])
        for k, (encoder, given) in enumerate(
            [
                (TransformersEncoder(folders["bert"]), SHORT),
                (TransformersEncoder(folders["bert"], pooling="cls"), SHORT),
                (TransformersEncoder(folders["bert"], mixed_precision=True), SHORT),
                (TransformersEncoder(folders["sentence_bert"]), SHORT),
                (TransformersEncoder(siglip, modality="report"), SHORT),
                (TransformersEncoder(siglip, modality="image"), image),
                (TransformersEncoder(vit), image),
                (TransformersEncoder(vit, window="minmax"), image),
                (OpenCLIPEncoder(folders["open_clip"]), SHORT),
            ],
            start=1,
        ):
            quietly(encoder.transform, given)
            assert len(stores(empty_cache)) == k
        (other / "README.md").write_text("another version")
        TransformersEncoder(other).encode_texts(SHORT)
        assert len(stores(empty_cache)) == k + 1
        # What only decides on how it is computed makes no other store; nor does where a folder lies.
        elsewhere = tmp_path / "elsewhere" / "bert"
        shutil.copytree(folders["bert"], elsewhere)
        for folder, how in (
            (elsewhere, {}),
            (folders["bert"], {"batch_size": 1, "n_jobs": 1, "device": "cpu", "mixed_precision": False}),
            (folders["bert"], {"window": "auto", "modality": "report", "allow_download": True}),
        ):
            TransformersEncoder(folder, **how).encode_texts(SHORT)
            assert len(stores(empty_cache)) == k + 1
        described = [entry.description for entry in cache.entries()]
        assert sum("embeddings: TransformersEncoder, bert, report" in text for text in described) == 4
        assert about(stores(empty_cache)[0])["libraries"].split()[0] in ("transformers", "open_clip")

    def test_new_weights_in_a_folder_are_noticed_by_an_encoder_in_use(self, tmp_path):
        models.save_bert(tmp_path / "bert")
        encoder = TransformersEncoder(tmp_path / "bert")
        before = encoder.encode_texts(SHORT)
        network = transformers.BertModel.from_pretrained(tmp_path / "bert")
        network.embeddings.word_embeddings.weight.data *= -1
        network.save_pretrained(tmp_path / "bert")
        after = encoder.encode_texts(SHORT)
        assert np.abs(before - after).max() > 0.01
        np.testing.assert_allclose(
            after, TransformersEncoder(tmp_path / "bert", cache=False).encode_texts(SHORT), atol=1e-6
        )

    def test_a_film_that_changed_is_encoded_again_and_a_copy_is_not(self, folders, films, tmp_path, monkeypatch):
        paths = [Path(shutil.copy(path, tmp_path)) for path in films[0::3]]
        encoder = TransformersEncoder(folders["vit"])
        before = encoder.encode_images(files(paths))
        sizes = counting(monkeypatch, TransformersEncoder)
        Image.fromarray(255 - np.asarray(Image.open(paths[1]))).save(paths[1])
        copy = shutil.copy(paths[0], tmp_path / "copy.png")
        after = encoder.encode_images(files([*paths, copy, paths[1]]))
        assert sizes == [1]
        assert after[[0, 2, 3]].tobytes() == before[[0, 2, 0]].tobytes()
        assert np.abs(after[1] - before[1]).max() > 0.01
        assert after[1].tobytes() == after[4].tobytes()
        fresh = TransformersEncoder(folders["vit"], cache=False).encode_images(files([*paths, copy, paths[1]]))
        np.testing.assert_allclose(after, fresh, atol=1e-5)

    def test_equal_texts_are_encoded_once(self, folders, monkeypatch):
        sizes = counting(monkeypatch, TransformersEncoder)
        for keep in (True, False):
            rows = TransformersEncoder(folders["bert"], batch_size=8, cache=keep).encode_texts(["no", "new", "no"] * 5)
            assert sizes.pop() == 2
            assert (rows[0::3] == rows[0]).all()
            assert (rows[2::3] == rows[0]).all()

    @pytest.mark.parametrize("damage", ["a row", "all rows", "the file"])
    def test_what_is_damaged_is_computed_again(self, folders, empty_cache, monkeypatch, damage):
        encoder = TransformersEncoder(folders["bert"], batch_size=50)
        rows = encoder.encode_texts(NINE)
        (path,) = stores(empty_cache)
        if damage == "the file":
            path.write_bytes(os.urandom(path.stat().st_size))
        else:
            with contextlib.closing(sqlite3.connect(path)) as connection, connection:
                some = "WHERE key = (SELECT MIN(key) FROM rows)" if damage == "a row" else ""
                connection.execute(f"UPDATE rows SET value = ? {some}", (os.urandom(128),))
        sizes = counting(monkeypatch, TransformersEncoder)
        np.testing.assert_allclose(
            TransformersEncoder(folders["bert"], batch_size=50).encode_texts(NINE), rows, atol=1e-5
        )
        assert sizes == [1 if damage == "a row" else 9]
        monkeypatch.setattr(TransformersEncoder, "_load", refuse)
        np.testing.assert_allclose(TransformersEncoder(folders["bert"]).encode_texts(NINE), rows, atol=1e-5)

    @pytest.mark.parametrize("processes", [True, False])
    def test_an_interrupted_run_goes_on_where_it_stopped(self, folders, films, monkeypatch, processes):
        if processes:
            use_processes(monkeypatch)
        for name, given, modality in (("bert", NINE, "report"), ("vit", files(films), "image")):
            expected = quietly(TransformersEncoder(folders[name], cache=False).transform, given)
            encoder = TransformersEncoder(folders[name], batch_size=2, n_jobs=2)
            with monkeypatch.context() as patched:
                counting(patched, TransformersEncoder, interrupt_after=3)
                with pytest.raises(KeyboardInterrupt):
                    quietly(encoder.transform, given)
            with monkeypatch.context() as patched:
                sizes = counting(patched, TransformersEncoder)
                np.testing.assert_allclose(quietly(encoder.transform, given), expected, atol=1e-5)
            assert sum(sizes) == 9 - 6, modality

    def test_rows_are_kept_while_it_runs(self, folders, empty_cache, monkeypatch):
        monkeypatch.setattr(_pretrained, "KEEP_EVERY_S", -1)
        kept = []
        run = TransformersEncoder._run

        def noted(self, which, batch):
            there = stores(empty_cache)
            kept.append(cache.entries()[0].n_items if there else 0)
            return run(self, which, batch)

        monkeypatch.setattr(TransformersEncoder, "_run", noted)
        TransformersEncoder(folders["bert"], batch_size=2).encode_texts(NINE)
        assert kept == [0, 2, 4, 6, 8]

    @pytest.mark.skipif(sys.platform != "linux", reason="processes are not forked")
    def test_two_processes_at_once(self, folders, films, monkeypatch):
        monkeypatch.setattr(_pretrained, "KEEP_EVERY_S", -1)
        use_processes(monkeypatch)
        encoders = [TransformersEncoder(folders[name], batch_size=1) for name in ("bert", "vit")]
        given = [NINE, files(films)]
        expected = [
            quietly(clone(e).set_params(cache=False).transform, x) for e, x in zip(encoders, given, strict=True)
        ]
        context = multiprocessing.get_context("fork")
        answers = context.Queue()

        def work():
            answers.put([quietly(encoder.transform, x) for encoder, x in zip(encoders, given, strict=True)])

        # A daemon may have no processes of its own: it reads films in threads.
        children = [context.Process(target=work, daemon=True) for _ in range(2)]
        for child in children:
            child.start()
        found = [answers.get(timeout=120) for _ in children]
        for child in children:
            child.join()
        monkeypatch.setattr(TransformersEncoder, "_load", refuse)
        found.append([encoder.transform(x) for encoder, x in zip(encoders, given, strict=True)])
        for rows in found:
            for one, right in zip(rows, expected, strict=True):
                np.testing.assert_allclose(one, right, atol=1e-5)

    def test_without_a_place_for_it_all_is_computed(self, folders, films, monkeypatch, tmp_path, caplog):
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("MMAUDIT_CACHE", str(tmp_path / "file" / "cache"))
        monkeypatch.setattr(cache, "_told", set())
        for name, given in (("bert", SHORT), ("vit", files(films))):
            expected = quietly(TransformersEncoder(folders[name], cache=False).transform, given)
            for _ in range(2):
                rows = quietly(TransformersEncoder(folders[name]).transform, given)
                np.testing.assert_allclose(rows, expected, atol=1e-5)
        assert len(caplog.messages) == len(set(caplog.messages)) == 3  # the digests, and a store of each
        assert all("nothing is kept" in message for message in caplog.messages)

    def test_no_cache_and_another_place(self, folders, empty_cache, tmp_path):
        TransformersEncoder(folders["bert"], cache=False).encode_texts(SHORT)
        assert not empty_cache.exists()
        for place in (tmp_path / "mine", str(tmp_path / "mine")):
            TransformersEncoder(folders["bert"], cache=place).encode_texts(SHORT)
        assert (empty_cache.exists(), len(stores(tmp_path / "mine"))) == (False, 1)

    def test_digests_of_model_files_lie_where_embeddings_do(
        self, folders, films, densenet, empty_cache, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", models.open_clip_settings())
        torch.save(open_clip.create_model("tiny").state_dict(), tmp_path / "clip.pt")
        torch.save(densenet.state_dict(), tmp_path / "densenet.pt")
        bert, vit, clip = (shutil.copytree(folders[name], tmp_path / name) for name in ("bert", "vit", "open_clip"))
        film = shutil.copy(films[0], tmp_path)
        before = time.time() - 60
        for path in tmp_path.rglob("*"):
            os.utime(path, (before, before))  # digests of files that have just changed are kept nowhere
        cases = (
            (TransformersEncoder, {"model": bert}, SHORT, bert),
            (TransformersEncoder, {"model": vit}, files([film]), vit),
            (OpenCLIPEncoder, {"model_name": clip}, SHORT, clip),
            (OpenCLIPEncoder, {"model_name": "tiny", "pretrained": tmp_path / "clip.pt"}, SHORT, None),
            (XRVEncoder, {"weights": tmp_path / "densenet.pt"}, files([film]), None),
        )
        for k, (kind, how, given, folder) in enumerate(cases):
            encoder = kind(**how, cache=False)
            rows = quietly(encoder.transform, given)
            with monkeypatch.context() as patched:
                patched.setattr(cache, "hashlib", None)  # no file can be read for its digest again
                np.testing.assert_allclose(quietly(encoder.transform, given), rows, atol=1e-6)
            place = tmp_path / f"kept {k}"
            np.testing.assert_allclose(quietly(kind(**how, cache=place).transform, given), rows, atol=1e-6)
            (digests,) = (entry for entry in cache.entries(place) if entry.name == "digests")
            n_files = 1 if folder is None else sum(path.is_file() for path in folder.rglob("*"))
            assert digests.n_items == n_files + (given is not SHORT)
        assert not empty_cache.exists()

    def test_a_cleared_cache_is_filled_again(self, folders, empty_cache):
        encoder = TransformersEncoder(folders["bert"])
        rows = encoder.encode_texts(SHORT)
        cache.clear()
        assert stores(empty_cache) == []
        np.testing.assert_allclose(encoder.encode_texts(SHORT), rows, atol=1e-6)
        assert len(stores(empty_cache)) == 1


class TestAsAnEstimator:
    def test_neither_making_one_nor_a_hit_loads_a_library(self, folders, films, densenet, tmp_path):
        torch.save(densenet.state_dict(), tmp_path / "densenet.pt")
        made = {
            "bert": TransformersEncoder(folders["bert"]).encode_texts(SHORT),
            "open_clip": quietly(OpenCLIPEncoder(folders["open_clip"]).encode_images, files(films)),
            "xrv": quietly(XRVEncoder(tmp_path / "densenet.pt").encode_images, files(films[:1])),
        }
        np.savez(tmp_path / "made.npz", **made)
        code = f"""
import sys
import numpy as np
from mmaudit.encoders import ClassifierEncoder, OpenCLIPEncoder, TransformersEncoder, XRVEncoder
from mmaudit.images import GrayImage, ImageFiles
heavy = ("torch", "transformers", "open_clip", "torchxrayvision", "huggingface_hub", "timm")
encoders = [ClassifierEncoder(lambda images: images), OpenCLIPEncoder("ViT-B-32", pretrained="openai"), XRVEncoder()]
encoders += [OpenCLIPEncoder(), OpenCLIPEncoder("hf-hub:owner/name"), TransformersEncoder("owner/name")]
assert all(repr(encoder) for encoder in encoders)
assert not set(heavy) & set(sys.modules), set(heavy) & set(sys.modules)
sys.modules.update(dict.fromkeys(heavy))  # from here on they cannot be imported
made = np.load({str(tmp_path / "made.npz")!r})
films = {[str(path) for path in films]!r}
rows = TransformersEncoder({str(folders["bert"])!r}).encode_texts({SHORT!r})
assert rows.tobytes() == made["bert"].tobytes()
rows = OpenCLIPEncoder({str(folders["open_clip"])!r}).encode_images(ImageFiles(films))
assert rows.tobytes() == made["open_clip"].tobytes()
rows = XRVEncoder({str(tmp_path / "densenet.pt")!r}).encode_images(ImageFiles(films[:1]))
assert rows.tobytes() == made["xrv"].tobytes()
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

    def test_copies_hold_settings_and_no_weights(self, folders):
        encoder = TransformersEncoder(folders["bert"], pooling="cls", cache=False)
        rows = encoder.encode_texts(SHORT)
        pickled = pickle.dumps(encoder)
        assert len(pickled) < 1_000
        for again in (pickle.loads(pickled), clone(encoder)):
            assert again.get_params() == encoder.get_params()
            np.testing.assert_allclose(again.encode_texts(SHORT), rows, atol=1e-6)
        encoder.set_params(pooling="mean")
        assert np.abs(encoder.encode_texts(SHORT) - rows).max() > 0.01
        assert encoder.fit(SHORT) is encoder

    def test_repr_is_one_short_line(self, folders, densenet):
        assert repr(TransformersEncoder("microsoft/rad-dino")) == "TransformersEncoder(model='microsoft/rad-dino')"
        assert repr(OpenCLIPEncoder()) == "OpenCLIPEncoder()"
        path = Path("some") / "folder"
        assert repr(OpenCLIPEncoder(path, cache=False, batch_size=4)) == (
            "OpenCLIPEncoder(model_name='some/folder', batch_size=4, cache=False)"
        )
        encoder = ClassifierEncoder(torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(50)]), layer="7")
        assert "\n" not in repr(encoder)
        assert len(repr(encoder)) < 150

    def test_progress_is_shown_on_stderr_and_only_when_asked_for(self, folders, films, capfd):
        for progress in (False, True):
            encoder = TransformersEncoder(folders["siglip"], cache=False, progress=progress)
            encoder.encode_texts(SHORT)
            quietly(encoder.encode_images, files(films))
            out, err = capfd.readouterr()
            assert out == ""
            assert ("encoding texts" in err, "encoding images" in err) == (progress, progress)
            assert progress or err == ""

    def test_workers_after_a_tokenizer_say_nothing(self, folders, films, capfd, monkeypatch):
        use_processes(monkeypatch)
        encoder = OpenCLIPEncoder(folders["biomed_clip"], cache=False, n_jobs=2, batch_size=2)
        encoder.encode_texts(NINE)
        quietly(encoder.encode_images, files(films))
        assert capfd.readouterr() == ("", "")


class TestMemory:
    @pytest.fixture
    def wide(self):
        """Return a module whose largest answer takes 16 x 64 x 64 x 4 = 256 KiB an image."""
        torch.manual_seed(0)
        layers = (torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))
        return wrap(torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(16, 1)), image_size=64)

    @pytest.mark.parametrize(
        ("most_mib", "free_mib", "size"), [(8, 1_000, 4), (1_000, 16, 2), (1, 1, 1), (1_000, 999, 16)]
    )
    def test_batches_fit(self, wide, monkeypatch, most_mib, free_mib, size):
        monkeypatch.setitem(_pretrained.MOST_BYTES, "image", most_mib << 20)
        monkeypatch.setattr(_pretrained, "_free_bytes", lambda: free_mib << 20)
        assert _pretrained.ACTIVATIONS_ALIVE == 8  # 8 x 256 KiB are 2 MiB an image
        sizes = counting(monkeypatch, ClassifierEncoder)
        films = np.random.default_rng(0).random((33, 64, 64))
        ClassifierEncoder(wide, cache=False).encode_images(films)
        assert sizes[0] == 1  # the trial
        assert sizes[1:] == [size] * (33 // size) + [33 % size] * (33 % size > 0)

    def test_batches_of_texts_are_as_long_texts_need_them(self, folders, monkeypatch):
        # The largest answer is that of a layer within the feed-forward part: 32 tokens x 48 x 4 bytes, 8 times.
        monkeypatch.setitem(_pretrained.MOST_BYTES, "text", 3 * 8 * 32 * 48 * 4)
        sizes = counting(monkeypatch, TransformersEncoder)
        TransformersEncoder(folders["bert"], cache=False).encode_texts(NINE)
        assert sizes == [1, 2, 2, 2, 2, 1]

    def test_no_more_at_once_than_is_fast(self, monkeypatch):
        monkeypatch.setattr(_pretrained, "_free_bytes", lambda: 1 << 40)
        found = {
            (kind, device): _pretrained._fitting(kind, 1, torch.device(device))
            for kind in ("image", "text")
            for device in ("cpu", "mps")
        }
        assert found == {("image", "cpu"): 16, ("text", "cpu"): 32, ("image", "mps"): 512, ("text", "mps"): 512}

    def test_free_memory_is_what_the_system_says(self):
        assert 1 << 20 < _pretrained._free_bytes() < 1 << 50

    def test_what_does_not_fit_a_gpu_goes_in_parts(self):
        torch.manual_seed(0)

        class Small(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.last = torch.nn.Linear(16 * 16, 3)
                self.tried = []

            def forward(self, images):
                self.tried.append(len(images))
                if len(images) > 3:
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
                return self.last(images.flatten(1))

        module = Small()
        films = np.random.default_rng(0).random((20, 16, 16))
        encoder = ClassifierEncoder(wrap(module, image_size=16, channels=1), layer="last", batch_size=10, cache=False)
        rows = encoder.encode_images(films)
        assert module.tried == [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
        with torch.no_grad():
            expected = module.last(torch.from_numpy(np.rint(films * 255) / 255).float().flatten(1)).numpy()
        np.testing.assert_allclose(rows, expected, atol=1e-5)


@pytest.fixture(scope="module")
def data(cohorts):
    frame = cohorts.table(40, seed=1)
    return cohorts.data_of(cohorts.predict(frame, 0.2), images=cohorts.Arrays(cohorts.pictures(40, side_px=32)))


@pytest.fixture(scope="module")
def trained(data):
    return quietly(lambda: train(data, image_size=32, max_epochs=2, batch_size=16, n_jobs=1))


class TestClassifier:
    @staticmethod
    def logit(proba):
        return np.log(proba / (1 - proba))

    def test_the_last_layer_makes_the_prediction_of_it(self, trained, data):
        rows = ClassifierEncoder(trained).encode(data, "image")
        last = [m for m in trained.network.module.modules() if isinstance(m, torch.nn.Linear)][-1]
        assert rows.shape == (40, last.in_features)
        logits = rows @ last.weight.detach().numpy().T + last.bias.detach().numpy()
        np.testing.assert_allclose(logits, self.logit(trained.predict_proba(data)), atol=ALIKE)

    @pytest.mark.parametrize("arguments", [{}, {"fit": "crop", "mean": 0.4, "std": 0.2}, {"channels": 3}])
    def test_a_module_is_given_what_its_predictions_are_given(self, films, arguments):
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Conv2d(arguments.get("channels", 1), 6, 3),
            torch.nn.Dropout(0.5),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Linear(6, 1),
        ).train()
        model = wrap(module, image_size=48, **arguments) if arguments else module
        rows = quietly(ClassifierEncoder(model).encode_images, files(films))
        logits = rows @ module[-1].weight.detach().numpy().T + module[-1].bias.detach().numpy()
        predicted = quietly(wrap(model).predict_proba, files(films))
        np.testing.assert_allclose(logits, self.logit(predicted), atol=ALIKE)
        assert module.training

    def test_a_convolution_can_be_the_last_layer(self, films):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5, stride=4), torch.nn.ReLU(), torch.nn.Conv2d(6, 1, 1))
        pooled = torch.nn.Sequential(module, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        rows = quietly(ClassifierEncoder(pooled).encode_images, files(films))
        assert rows.shape == (9, 6)
        logits = rows @ module[-1].weight.detach().numpy()[:, :, 0, 0].T + module[-1].bias.detach().numpy()
        np.testing.assert_allclose(logits, self.logit(quietly(wrap(pooled).predict_proba, files(films))), atol=ALIKE)

    def test_a_named_layer(self, trained, data):
        module = trained.network.module
        name, layer = [(n, m) for n, m in module.named_modules() if isinstance(m, torch.nn.Conv2d)][1]
        answers = []
        hook = layer.register_forward_hook(lambda _module, _given, answer: answers.append(answer))
        trained.predict_proba(data)
        hook.remove()
        expected = torch.cat(answers).mean((2, 3)).numpy()
        rows = ClassifierEncoder(trained, layer=name).encode_images(data)
        np.testing.assert_allclose(rows, expected, atol=ALIKE)

    def test_tokens_are_averaged_and_other_shapes_flattened(self):
        class Tokens(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.tokens, self.one = torch.nn.Identity(), torch.nn.Identity()

            def forward(self, images):
                self.tokens(images.reshape(len(images), 32, 8))
                return self.one(images.sum((1, 2, 3)))

        films = np.random.default_rng(0).integers(0, 255, (3, 16, 16), dtype=np.uint8)
        model = wrap(Tokens(), image_size=16, channels=1)
        rows = ClassifierEncoder(model, layer="tokens", cache=False).encode_images(films)
        np.testing.assert_allclose(rows, films.reshape(3, 32, 8).mean(1) / 255, atol=1e-6)
        rows = ClassifierEncoder(model, layer="one", cache=False).encode_images(films)
        np.testing.assert_allclose(rows, films.sum((1, 2))[:, None] / 255, rtol=1e-5)

    def test_further_training_is_noticed(self, films):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 4), torch.nn.Linear(4, 1))
        encoder = ClassifierEncoder(wrap(module, image_size=16, channels=1))
        before = quietly(encoder.encode_images, files(films))
        module[1].weight.data += 0.1
        assert np.abs(quietly(encoder.encode_images, files(films)) - before).max() > 0.01

    @pytest.mark.parametrize("change", ["a parameter", "a buffer", "a precision", "a layer"])
    def test_the_digest_is_that_of_what_it_computes(self, change):
        def made():
            torch.manual_seed(0)
            module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU())
            module.register_buffer("shift", torch.zeros(3), persistent=False)
            return module

        other = made()
        assert digest_of_network(other) == digest_of_network(made())
        if change == "a parameter":
            other[0].bias.data[1] += 1e-6
        elif change == "a buffer":
            other.shift[2] = 1
        elif change == "a precision":
            other.bfloat16()
        else:
            other[1] = torch.nn.ReLU()
        assert digest_of_network(other) != digest_of_network(made())

    def test_where_a_function_lies_is_not_in_the_digest(self):
        class Odd(torch.nn.Module):
            def extra_repr(self):
                return f"<function f at 0x{np.random.default_rng().integers(1 << 40):x}>"

        assert digest_of_network(Odd()) == digest_of_network(Odd())

    def test_what_it_cannot_look_into_is_told(self, trained, data):
        with pytest.raises(
            InputError, match=r"classifier: expected a torch module.* got a function, which has no layers"
        ):
            ClassifierEncoder(lambda images: images.mean((1, 2))).encode_images(data)
        name = next(n for n, m in trained.network.module.named_modules() if isinstance(m, torch.nn.Linear))
        with pytest.raises(InputError, match=f"layer: expected a layer of the module, .* Did you mean '{name}'"):
            ClassifierEncoder(trained, layer=name + "x").encode_images(data)
        with pytest.raises(InputError, match=r"layer: expected a layer that .* got a module without such a layer"):
            ClassifierEncoder(wrap(torch.nn.Flatten(), image_size=16, channels=1)).encode_images(data)

        class Unused(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.unused, self.whole = torch.nn.Linear(2, 2), torch.nn.Flatten(0)

            def forward(self, images):
                return self.whole(images)

        for layer in ("unused", "whole"):
            with pytest.raises(InputError, match=r"layer: .* one that does not run or answers something else"):
                ClassifierEncoder(wrap(Unused(), image_size=16, channels=1), layer=layer).encode_images(data)
        with pytest.raises(InputError, match=r"modality: expected what ClassifierEncoder\(.* takes: images, got texts"):
            ClassifierEncoder(trained).encode_texts(SHORT)
        with pytest.raises(TypeError, match="model"):
            ClassifierEncoder("resnet").encode_images(data)


class TestWhatIsOddInTheData:
    @pytest.fixture
    def thirty(self, tmp_path):
        rng = np.random.default_rng(0)
        paths = [tmp_path / f"{k}.png" for k in range(30)]
        for path in paths:
            Image.fromarray((255 * draw(rng)).astype(np.uint8)).save(path)
        return paths

    @pytest.fixture(params=[True, False], ids=["cache", "no cache"])
    def encoder(self, request, folders):
        return TransformersEncoder(folders["vit"], cache=request.param)

    def test_a_few_unreadable_films_have_the_mean_of_the_others(self, encoder, thirty):
        whole = encoder.encode_images(files(thirty))
        thirty[4].write_bytes(thirty[4].read_bytes()[:100])
        for _ in range(2):  # the second time all others come from the cache
            with pytest.warns(AuditWarning, match=r"got 1 of 30 that are not \(1 .*Their rows are the mean") as said:
                rows = encoder.encode_images(files(thirty))
            assert said[0].filename == __file__
            others = np.delete(whole, 4, axis=0)
            np.testing.assert_allclose(np.delete(rows, 4, axis=0), others, atol=1e-6)
            np.testing.assert_allclose(rows[4], others.mean(0), atol=1e-5)
        thirty[4].unlink()
        with pytest.warns(AuditWarning, match="got 1 of 30 that are not"):
            np.testing.assert_allclose(encoder.encode_images(files(thirty)), rows, atol=1e-5)

    def test_many_are_an_error_equal_ones_and_missing_ones_alike(self, encoder, thirty):
        for path in thirty[:2]:
            path.write_bytes(b"the same damage")
        with pytest.raises(ImageReadError, match=r"at least 95% of the images to be readable, got 2 of 30"):
            encoder.encode_images(files(thirty))
        for path in thirty:
            path.unlink(missing_ok=True)
        with pytest.raises(ImageReadError, match=r"got 30 of 30 that are not \(30 missing\)"):
            encoder.encode_images(files(thirty))

    def test_what_does_not_look_like_films_is_warned_about(self, folders):
        encoder = TransformersEncoder(folders["vit"], cache=False)
        grey = draw(np.random.default_rng(0))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder.encode_images([grey] * 3)
        with pytest.warns(AuditWarning, match="got 1 of 3 images nearly without contrast") as said:
            encoder.encode_images([grey, grey * 0.01, grey])
        assert said[0].filename == __file__
        with pytest.warns(
            AuditWarning, match="images of about 56 pixels or more, .* got 2 of 3 less than half as large"
        ):
            encoder.encode_images([grey, grey[:20, :27], grey[:27, :20]])
        with pytest.warns(AuditWarning, match="all that its bit depth can hold"):
            encoder = TransformersEncoder(folders["vit"], window="full", cache=False)
            encoder.encode_images(_Deep([grey]))

    def test_what_does_not_look_like_reports_is_warned_about(self, folders):
        encoder = TransformersEncoder(folders["bert"], cache=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encoder.encode_texts([*SHORT, LONG])
        with (
            pytest.warns(AuditWarning, match="texts: expected words that the network was trained on"),
            pytest.warns(AuditWarning, match="texts: expected reports or phrases, got what looks like paths") as said,
        ):
            encoder.encode_texts(["left.png", "right.PNG", "No effusion"])
        assert {warning.filename for warning in said} == {__file__}
        with pytest.warns(AuditWarning, match="got 2 of 4 texts with more than 30% unknown words"):
            encoder.encode_texts(["kein Erguss rechts", "clear", "normaler Befund", "no effusion"])
        with pytest.warns(AuditWarning, match="got 1 of 1 texts with more than 30% unknown words"):
            OpenCLIPEncoder(folders["word_clip"], cache=False).encode_texts("Schrittmacher Kabel liegt")


class _Deep:
    """Images in memory of 12 bits."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def take(self, indices):
        return _Deep([self.pictures[i] for i in indices])

    def read(self, index, *, max_side_px=None):
        grey = self.pictures[index].astype(np.float32)
        return GrayImage(grey, grey.shape[1], grey.shape[0], 12)


def hub_cache(folder, repo, source, commit, ref="main"):
    """Lay a folder out as the hub's library keeps what it has fetched."""
    root = folder / f"models--{repo.replace('/', '--')}"
    shutil.copytree(source, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / ref).write_text(commit)


class TestTheHub:
    @pytest.fixture(autouse=True)
    def fetched(self, tmp_path, monkeypatch):
        import huggingface_hub

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        return tmp_path / "hub"

    def test_what_was_fetched_is_found_and_its_commit_told(self, folders, fetched):
        commit = "0123456789" * 4
        hub_cache(fetched, "owner/bert", folders["bert"], commit)
        hub_cache(fetched, "owner/clip", folders["open_clip"], commit)
        expected = TransformersEncoder(folders["bert"], cache=False).encode_texts(SHORT)
        for how in ({}, {"revision": "main"}, {"revision": commit}, {"allow_download": True}):
            encoder = TransformersEncoder("owner/bert", cache=False, **how)
            np.testing.assert_allclose(encoder.encode_texts(SHORT), expected, atol=1e-6)
            assert encoder._identity()["revision"] == commit
        expected = OpenCLIPEncoder(folders["open_clip"], cache=False).encode_texts(SHORT)
        encoder = OpenCLIPEncoder("hf-hub:owner/clip", cache=False)
        np.testing.assert_allclose(encoder.encode_texts(SHORT), expected, atol=1e-6)

    @pytest.mark.parametrize("repo", REVISIONS)
    def test_what_was_not_is_told_with_the_command(self, repo, folders, fetched):
        hub_cache(fetched, repo, folders["bert"], "0" * 40)  # another commit does not do
        command = f"Fetch it with `hf download {repo} --revision {REVISIONS[repo]}`, or pass allow_download=True."
        with pytest.raises(InputError, match=re.escape(command)):
            TransformersEncoder(repo).encode_texts(SHORT)
        with pytest.raises(InputError, match="model_name: expected a model that is on this machine, got 'owner/none'"):
            OpenCLIPEncoder("hf-hub:owner/none").encode_texts(SHORT)

    def test_a_model_without_its_weights_is_not_there(self, folders, fetched, tmp_path):
        shutil.copytree(folders["bert"], tmp_path / "bert", ignore=shutil.ignore_patterns("*.safetensors"))
        hub_cache(fetched, "owner/bert", tmp_path / "bert", "1" * 40)
        with pytest.raises(InputError, match=r"of which files are missing .* `hf download owner/bert --revision v1`"):
            TransformersEncoder("owner/bert", revision="v1").encode_texts(SHORT)
        with pytest.raises(InputError, match=r"of which files are missing .* `hf download owner/bert`"):
            TransformersEncoder("owner/bert").encode_texts(SHORT)
        assert locate("model", "owner/bert", None, allow_download=False, extra="hf", weights=False).revision == "1" * 40

    def test_a_text_tower_may_lie_elsewhere(self, folders, fetched, tmp_path):
        folder, tower = tmp_path / "clip", "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract"
        shutil.copytree(folders["biomed_clip"], folder)
        config = json.loads((folder / "open_clip_config.json").read_text())
        for key in ("hf_model_name", "hf_tokenizer_name"):
            config["model_cfg"]["text_cfg"][key] = tower
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        command = f"`hf download {tower} --revision {REVISIONS[tower]} --include '*.json' --include '*.txt'"
        with pytest.raises(InputError, match=re.escape(command)):
            OpenCLIPEncoder(folder).encode_texts(SHORT)
        only_words = shutil.ignore_patterns("*.safetensors")
        expected = OpenCLIPEncoder(folders["biomed_clip"], cache=False).encode_texts(SHORT)
        shutil.copytree(folders["bert"], folder / tower, ignore=only_words)  # beside the model
        np.testing.assert_allclose(OpenCLIPEncoder(folder, cache=False).encode_texts(SHORT), expected, atol=1e-6)
        shutil.move(folder / tower, tmp_path / "words")
        hub_cache(fetched, tower, tmp_path / "words", REVISIONS[tower])
        np.testing.assert_allclose(OpenCLIPEncoder(folder, cache=False).encode_texts(SHORT), expected, atol=1e-6)

    def test_fetching_without_a_network_is_told(self, monkeypatch):
        import huggingface_hub

        def fail(repo, **how):
            if how["local_files_only"]:
                raise huggingface_hub.errors.LocalEntryNotFoundError("not there")
            raise ConnectionError("no network")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(InputError, match=r"model: expected a model that can be fetched, .*\(ConnectionError\)"):
            TransformersEncoder("owner/none", allow_download=True).encode_texts(SHORT)

    def test_what_an_architecture_names_on_the_hub_is_not_asked_for(self, folders, monkeypatch):
        settings = models.open_clip_settings()
        settings["text_cfg"] |= {"hf_model_name": "owner/none", "hf_tokenizer_name": "owner/none"}
        monkeypatch.setattr(
            open_clip.factory, "_MODEL_CONFIGS", {"tower": settings, **open_clip.factory._MODEL_CONFIGS}
        )
        with pytest.raises(
            InputError, match=r"pretrained: expected weights of tower that are on this machine, .*cannot"
        ):
            OpenCLIPEncoder("tower", pretrained=folders["open_clip"] / "open_clip_model.safetensors").encode_texts(
                SHORT
            )

    @pytest.mark.parametrize("name", ["nowhere", "a/b/c", "./owner", "../x", "owner/na me", "C:\\m", "a//b", "o/a..b"])
    def test_what_is_neither_folder_nor_name_is_told(self, name):
        with pytest.raises(InputError, match=r"model: expected a folder that exists, or owner/name on the hub"):
            TransformersEncoder(name).encode_texts(SHORT)

    def test_weights_of_other_places(self, monkeypatch, tmp_path):
        monkeypatch.setattr(xrv.utils, "get_cache_dir", lambda: str(tmp_path / "xrv"))
        url = xrv.models.model_urls["densenet121-res224-all"]["weights_url"]
        with pytest.raises(InputError, match=re.escape(f"`wget {url} -P {tmp_path / 'xrv'}`")):
            XRVEncoder().encode_images([draw(np.random.default_rng(0))])
        with pytest.raises(InputError, match=r"`hf download timm/vit_base_patch32_clip_224\.openai`"):
            OpenCLIPEncoder("ViT-B-32", pretrained="openai").encode_texts(SHORT)


class TestErrors:
    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (
                lambda f: TransformersEncoder(f["bert"], pooling="men"),
                "pooling: expected one of .* Did you mean 'mean'",
            ),
            (
                lambda f: TransformersEncoder(f["bert"], modality="text"),
                "modality: expected one of auto, image, report",
            ),
            (lambda f: TransformersEncoder(f["bert"], revision="x"), "revision: expected None for a folder"),
            (lambda f: TransformersEncoder(f["bert"], device="gpu"), "device: expected one of auto"),
            (
                lambda f: TransformersEncoder(f["bert"], mixed_precision="half"),
                "mixed_precision: expected 'auto', True",
            ),
            (lambda f: TransformersEncoder(f["bert"], batch_size=0), "batch_size: expected a whole number from 1"),
            (lambda f: TransformersEncoder(f["bert"], n_jobs="2"), "n_jobs: expected a whole number from -1"),
            (lambda f: TransformersEncoder(f["bert"], cache=3), "cache: expected True, False or a folder, got 3"),
            (lambda f: TransformersEncoder(f["bert"], allow_download="no"), "allow_download: expected True or False"),
            (lambda f: TransformersEncoder(f["open_clip"]), "model: .* with config.json, got a folder without"),
            (lambda f: OpenCLIPEncoder(f["bert"]), "model_name: .* with open_clip_config.json, got a folder without"),
            (lambda f: OpenCLIPEncoder("ViT-B-32"), "pretrained: expected weights for the architecture 'ViT-B-32'"),
            (
                lambda f: OpenCLIPEncoder("ViT-B-23", pretrained="openai"),
                "model_name: .* got 'ViT-B-23'.*Did you mean 'ViT-B",
            ),
            (
                lambda f: OpenCLIPEncoder("ViT-B-32", pretrained="opnai"),
                "pretrained: .* got 'opnai'.*Did you mean 'openai'",
            ),
            (
                lambda f: OpenCLIPEncoder("ViT-B-32", pretrained="openai", revision="x"),
                "revision: expected None beside",
            ),
            (
                lambda f: OpenCLIPEncoder("phantom-clip", pretrained="x"),
                "pretrained: expected None beside a model with",
            ),
            (lambda f: TransformersEncoder(f["vit"]), "modality: expected what .* takes: images, got texts"),
        ],
    )
    def test_a_bad_argument_is_told(self, folders, make, said):
        with pytest.raises(InputError, match=said):
            make(folders).encode_texts(SHORT)

    @pytest.mark.parametrize(
        ("make", "said"),
        [
            (
                lambda f: TransformersEncoder(f["vit"], window="max"),
                "window: expected one of percentiles, minmax, full",
            ),
            (lambda f: TransformersEncoder(f["bert"]), "modality: expected what .* takes: texts, got images"),
            (lambda f: TransformersEncoder(f["resnet"], pooling="cls"), "pooling: expected 'mean', 'max' or 'pooler'"),
            (lambda f: XRVEncoder("densenet121-res224-al"), "weights: .* Did you mean 'densenet121-res224-all'"),
            (lambda f: XRVEncoder(f["vit"] / "config.json"), "weights: expected a file with the state dict of torchx"),
            (lambda f: XRVEncoder(torch.nn.Linear(2, 2)), "weights: expected a model of torchxrayvision, got a Linear"),
        ],
    )
    def test_a_bad_argument_for_images_is_told(self, folders, make, said):
        with pytest.raises(InputError, match=said):
            make(folders).encode_images([draw(np.random.default_rng(0), (224, 224))])

    def test_data_without_what_is_asked_for(self, folders, cohorts):
        data = cohorts.data_of(cohorts.predict(cohorts.table(20), 0.2))
        with pytest.raises(InputError, match="data: expected data with reports, got data without"):
            TransformersEncoder(folders["bert"]).encode(data, "report")
        with pytest.raises(InputError, match="data: expected data with images, got data without"):
            TransformersEncoder(folders["vit"]).encode(data, "image")
        with pytest.raises(InputError, match="modality: expected 'image' or 'report', got 'metadata'"):
            TransformersEncoder(folders["vit"]).encode(data, "metadata")

    @pytest.mark.parametrize("name", ["bert", "vit", "open_clip"])
    def test_damaged_files_are_told(self, folders, tmp_path, name):
        kind = OpenCLIPEncoder if name == "open_clip" else TransformersEncoder
        given = [draw(np.random.default_rng(0))] if name == "vit" else SHORT
        weights, config = (
            ("open_clip_model.safetensors", "open_clip_config.json")
            if kind is OpenCLIPEncoder
            else (
                "model.safetensors",
                "config.json",
            )
        )
        shutil.copytree(folders[name], tmp_path / name)
        whole = (tmp_path / name / weights).read_bytes()
        (tmp_path / name / weights).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(
            InputError, match=r"model(_name)?: expected a model that .* can load, got one that it cannot"
        ):
            kind(tmp_path / name).transform(given)
        (tmp_path / name / weights).unlink()
        with pytest.raises(
            InputError, match=r"model(_name)?: expected a model that .* can load, got one that it cannot"
        ):
            kind(tmp_path / name).transform(given)
        (tmp_path / name / config).write_text("{")
        with pytest.raises(
            InputError, match=r"model(_name)?: expected a whole .*config\.json, got one that is damaged"
        ):
            kind(tmp_path / name).transform(given)

    @pytest.mark.parametrize(
        ("name", "file", "said"),
        [
            ("bert", "tokenizer", "model: expected a text model with its tokenizer, got one whose tokenizer"),
            ("vit", "preprocessor", r"model: expected a vision model with preprocessor_config\.json"),
            ("biomed_clip", "tokenizer", "model_name: expected a"),
        ],
    )
    def test_a_model_without_its_way_in_is_told(self, folders, tmp_path, name, file, said):
        shutil.copytree(folders[name], tmp_path / name, ignore=shutil.ignore_patterns(f"{file}*"))
        kind, given = TransformersEncoder, SHORT
        if name == "vit":
            given = [draw(np.random.default_rng(0))]
        if name == "biomed_clip":
            kind = OpenCLIPEncoder
        with pytest.raises(InputError, match=said):
            kind(tmp_path / name).transform(given)

    def test_code_of_a_model_runs_only_when_allowed(self, folders, tmp_path):
        shutil.copytree(folders["bert"], tmp_path / "bert")
        config = json.loads((tmp_path / "bert" / "config.json").read_text())
        config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
        (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
        (tmp_path / "bert" / "own.py").write_text("raise SystemExit('it ran')")
        with pytest.raises(InputError, match="trust_remote_code: expected True for a model that comes with code"):
            TransformersEncoder(tmp_path / "bert").encode_texts(SHORT)

    def test_weights_that_answer_nothing_finite_are_told(self):
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2), torch.nn.Linear(2, 1))
        module[1].weight.data[:] = torch.nan
        with pytest.raises(InputError, match="model: expected finite embeddings, got NaN or infinity"):
            ClassifierEncoder(wrap(module, image_size=16, channels=1)).encode_images(np.ones((2, 16, 16)))

    @pytest.mark.parametrize(
        ("make", "package", "extra"),
        [
            (lambda f: TransformersEncoder(f["siglip"]), "transformers", "hf"),
            (lambda f: TransformersEncoder("owner/name"), "huggingface_hub", "hf"),
            (lambda f: OpenCLIPEncoder("hf-hub:owner/name"), "huggingface_hub", "clip"),
            (lambda f: OpenCLIPEncoder(f["open_clip"]), "open_clip", "clip"),
            (lambda f: OpenCLIPEncoder(f["open_clip"]), "torch", "torch"),
            (lambda f: XRVEncoder(), "torchxrayvision", "xrv"),
            (lambda f: XRVEncoder(), "torch", "torch"),
        ],
    )
    def test_a_missing_package_names_its_extra(self, folders, monkeypatch, make, package, extra):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf'pip install "mmaudit\[{extra}\]"') as told:
            make(folders).encode_images([draw(np.random.default_rng(0))])
        assert package in str(told.value)
