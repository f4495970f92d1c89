"""The benchmark of encoders: what it makes, what it compares, and what it says. No time is asserted."""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmaudit._errors import InputError, MissingExtraError
from mmaudit.encoders import _throughput
from mmaudit.encoders._throughput import COLUMNS, MODELS, Model, Throughput, measure_throughput, models_named

torch = pytest.importorskip("torch")

TINY = {"tiny": Model("small_cnn", {"image_size": 32})}
HF, CLIP = (("transformers", "hf"),), (("open_clip", "clip"),)
OTHERS = {
    "clip": Model(
        "open_clip",
        {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 28, "layers": 1, "width": 64, "patch_size": 14},
            "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1},
        },
        CLIP,
    ),
    "vit": Model(
        "vit",
        {
            **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
            **{"image_size": 28, "patch_size": 14},
        },
        HF,
    ),
    "bert": Model(
        "bert",
        {
            **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
            "max_position_embeddings": 512,
        },
        HF,
    ),
    "xrv": Model("xrv", {}, (("torchxrayvision", "xrv"),)),
}


@pytest.fixture
def memory(monkeypatch):
    """Stand in for the measured process, which takes seconds to start."""
    asked = []

    def memory_mb(model, folder, items, batch_size):
        asked.append((model, len(items), batch_size))
        return 10.0

    monkeypatch.setattr(_throughput, "_memory_mb", memory_mb)
    return asked


def test_one_model_is_timed_and_its_memory_measured(monkeypatch):
    monkeypatch.setenv("MMAUDIT_CACHE", "untouched")
    measured = measure_throughput(TINY, n_images=8, side_px=64, repeats=2, n_seen=8)
    assert list(measured.table.columns) == list(COLUMNS)
    (row,) = measured.table.itertuples()
    assert (row.model, row.modality, row.n_samples) == ("tiny", "image", 8)
    assert min(row.ours_per_s, row.ours_one_job_per_s, row.bare_per_s) > 0
    assert row.ratio_low <= row.ratio <= row.ratio_high
    assert row.bare_batch_size in _throughput.BATCH_SIZES
    assert row.batch_size in {2**k for k in range(6)}
    assert row.max_difference <= 1e-4
    if sys.platform == "linux":
        assert row.memory_mb >= 0
        assert row.bare_memory_mb >= 0
    assert (measured.n_seen, measured.n_repeats) == (8, 2)
    assert measured.n_threads == torch.get_num_threads()
    assert os.environ["MMAUDIT_CACHE"] == "untouched"
    assert not Path("untouched").exists()


@pytest.mark.parametrize("name", OTHERS)
def test_both_sides_embed_alike(memory, name):
    model = OTHERS[name]
    pytest.importorskip(model.packages[0][0])
    measured = measure_throughput({name: model}, n_images=8, side_px=64, repeats=1, n_seen=8)
    (row,) = measured.table.itertuples()
    assert row.modality == ("report" if name == "bert" else "image")
    # An untrained torchxrayvision network gives numbers up to 2,834, where one step of float32 is 2.4e-4.
    assert row.max_difference <= (1e-3 if name == "xrv" else 1e-4)
    # Ours on its own choice, the bare loop at its best size.
    assert memory == [(model, 8, None), (model, 8, row.bare_batch_size)]


def test_the_best_batch_size_and_median_ratio_are_told(monkeypatch, memory):
    """With a clock of our own: what each pass takes is given."""
    now = [0.0]
    monkeypatch.setattr(_throughput.time, "perf_counter", lambda: now[0])
    passes = iter([(8.0, 4.0), (2.0, 4.0), (4.0, 4.0)])  # seconds of ours and of the bare loop in each repeat
    encode, bare_encode = _throughput._encode, _throughput.Bare.encode
    n_ours, n_bare, current = [0], [0], [None]

    def ours(encoder, items):
        n_ours[0] += 1
        if 1 < n_ours[0] <= 4:  # the first is not counted
            if n_ours[0] != 3:  # in the second repeat the bare loop begins
                current[0] = next(passes)
            now[0] += current[0][0]
        elif n_ours[0] == 5:
            now[0] += 16.0  # with one job
        return encode(encoder, items)

    def bare(self, items, batch_size):
        n_bare[0] += 1
        if 1 < n_bare[0] <= 5:  # four sizes are tried, after one pass that is not counted
            now[0] += {1: 9.0, 4: 1.0, 16: 5.0, 32: 9.0}[batch_size]
        elif n_bare[0] > 5:
            assert batch_size == 4
            if n_bare[0] == 7:
                current[0] = next(passes)
            now[0] += current[0][1]
        return bare_encode(self, items, batch_size)

    monkeypatch.setattr(_throughput, "_encode", ours)
    monkeypatch.setattr(_throughput.Bare, "encode", bare)
    measured = measure_throughput(TINY, n_images=8, side_px=64, repeats=3, n_seen=8)
    (row,) = measured.table.itertuples()
    assert row.bare_batch_size == 4
    assert (row.ratio_low, row.ratio, row.ratio_high) == (0.5, 1.0, 2.0)
    assert (row.ours_per_s, row.bare_per_s, row.ours_one_job_per_s) == (2.0, 2.0, 0.5)


def test_sides_that_differ_are_an_error(monkeypatch, memory):
    encode = _throughput.Bare.encode
    monkeypatch.setattr(_throughput.Bare, "encode", lambda self, *given: encode(self, *given) + 2e-4)
    with pytest.raises(
        InputError, match=r"^models: expected embeddings of both sides .* by at most 0.0001, got 0.0002"
    ):
        measure_throughput(TINY, n_images=8, side_px=64, repeats=1, n_seen=8)


def test_films_of_a_folder(tmp_path, memory):
    random = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for k in range(9):
        Image.fromarray(random.integers(0, 256, (40, 50), np.uint8)).save(tmp_path / "a" / f"{k}.jpg")
    (tmp_path / "note.txt").touch()
    measured = measure_throughput(TINY, images=tmp_path, repeats=1, n_seen=8)
    assert measured.table["n_samples"].tolist() == [9]
    for k in range(2):
        (tmp_path / "a" / f"{k}.jpg").unlink()
    with pytest.raises(InputError, match=r"^images: expected a folder with at least 8 JPEG files, got 7\. Choose"):
        measure_throughput(TINY, images=tmp_path)
    with pytest.raises(InputError, match=r"^images: expected an existing folder, got one that does not exist\. Check"):
        measure_throughput(TINY, images=tmp_path / "none")


def test_made_films_are_grey_jpeg_files_that_all_differ(tmp_path):
    from mmaudit.datasets import load_phantom

    phantoms = load_phantom(4, image_size=64, cache=False)
    paths = _throughput._write_films(tmp_path / "films", phantoms, 20, 100)
    opened = [Image.open(path) for path in paths]
    assert {(film.format, film.mode, film.size) for film in opened} == {("JPEG", "L", (100, 100))}
    assert len({film.tobytes() for film in opened}) == 20


@pytest.mark.parametrize("argument", ["n_images", "side_px", "repeats", "n_seen"])
def test_numbers_out_of_range(argument):
    with pytest.raises(InputError, match=rf"^{argument}: expected"):
        measure_throughput(TINY, **{argument: 0})


def test_models_by_name():
    assert list(models_named(["small-cnn", "vit-small-16"])) == ["small-cnn", "vit-small-16"]
    with pytest.raises(
        InputError, match=r"^models: expected some of clip-vit-b-32, .*, got 'small_cnn'\. Choose one\."
    ):
        models_named(["small_cnn"])


def test_models_whose_package_is_missing_are_left_out_or_refused(monkeypatch):
    find = _throughput.importlib.util.find_spec
    monkeypatch.setattr(
        _throughput.importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name)
    )
    left = _throughput.default_models()
    assert "small-cnn" in left
    assert not [name for name, model in left.items() if ("transformers", "hf") in model.packages]
    with pytest.raises(MissingExtraError, match=r'transformers\. Install it with: pip install "mmaudit\[hf\]"'):
        measure_throughput({"vit-small-16": MODELS["vit-small-16"]})


@pytest.mark.skipif(sys.platform != "linux", reason="sizes of processes are read from /proc")
def test_memory_of_a_process_counts_what_it_and_its_children_hold():
    import multiprocessing

    before = _throughput._held_bytes(os.getpid())
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    child = fork.Process(target=_fill, args=(theirs,))
    child.start()
    ours.recv()
    held = _throughput._held_bytes(os.getpid()) - before
    ours.send("end")
    child.join()
    assert 95e6 < held < 150e6
    assert _throughput._held_bytes(child.pid) == 0


def _fill(pipe):
    filled = np.ones(100_000_000, np.uint8)
    pipe.send(int(filled[-1]))
    pipe.recv()


def test_the_table_reads_well():
    row = dict.fromkeys(COLUMNS, 1.0) | {
        **{"model": "net", "modality": "image", "n_samples": 1096, "ours_per_s": 20.04, "ours_one_job_per_s": 15.0},
        **{"bare_per_s": 18.0, "ratio": 1.113, "ratio_low": 1.05, "ratio_high": 1.2},
        **{"batch_size": 32, "bare_batch_size": 16, "memory_mb": 1234.5, "bare_memory_mb": float("nan")},
        "max_difference": 2e-6,
    }
    text = Throughput(pd.DataFrame([row]), 10_000, 1.25, 2, 3).to_markdown()
    lines = text.splitlines()
    assert lines[2] == "| net | 1,096 films | 20.0 | 15.0 | 18.0 | 1.11 (1.05 to 1.20) | 32, 16 | 1,234, ? |"
    assert len({line.count("|") for line in lines[:3]}) == 1
    assert "2 threads of PyTorch on both sides" in text
    assert "Medians of 3 repeats" in text
    assert "differed by at most 2e-06 (" in text
    assert text.endswith("Encoding 10,000 images of 64 pixels again, from the cache by a new encoder: 1.2 s.\n")
