"""The small CLIP: its words, its training, and what the model of the package knows of phantoms it has not seen."""

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from mmaudit._errors import InputError
from mmaudit.data import AuditData
from mmaudit.datasets import load_phantom
from mmaudit.encoders._words import WordTokenizer

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

from mmaudit.encoders import OpenCLIPEncoder  # noqa: E402
from mmaudit.encoders import _clip_training as training  # noqa: E402
from mmaudit.encoders._clip_training import PACKAGED, PROMPTS, SEEDS, model_card, train_clip  # noqa: E402

HELD_OUT_SEED = 7_031  # neither trained on, nor chosen on, nor in the card
TINY = {"n_patients": 5, "n_held_out": 2, "epochs": 5, "random_state": 1}


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    return tmp_path_factory.mktemp("films")


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer(["pleural", "effusion", "no", "5"], context_length=6)


@pytest.fixture(scope="module")
def clip():
    return OpenCLIPEncoder(device="cpu", cache=False)


@pytest.fixture(scope="module")
def network(clip):
    return clip._parts().network


@pytest.fixture(scope="module")
def words():
    return WordTokenizer.load(PACKAGED / "vocabulary.json")


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "clip"
    rows = []
    figures = train_clip(out, **TINY, cache=drawn, on_epoch=rows.append)
    return out, figures, rows


class TestWords:
    def test_numbers(self, tokenizer):
        assert tokenizer.encode("No LEFT pleural effusion, 5.") == [5, 2, 3, 4, 6]
        assert tokenizer.vocab_size == 8
        assert tokenizer("pleural").tolist() == [[1, 3, 7, 0, 0, 0]]

    def test_the_end_stays_where_a_text_is_cut(self, tokenizer):
        assert tokenizer(["no " * 9, ""]).tolist() == [[1, 5, 5, 5, 5, 7], [1, 7, 0, 0, 0, 0]]
        assert tokenizer(["no no no"], context_length=4).tolist() == [[1, 5, 5, 7]]

    def test_learn_takes_frequent_words_first(self):
        made = WordTokenizer.learn(["b a a", "a c. B 5.4", "(rare)"], min_count=1)
        assert made.words == ("a", "b", "4", "5", "c", "rare")
        assert WordTokenizer.learn(["b a a", "a c. B 5.4"], min_count=2).words == ("a", "b")

    def test_known_share(self, tokenizer):
        assert tokenizer.known_share("pleural plaques") == 0.5
        assert tokenizer.known_share("ossified costal cartilage") == 0
        assert tokenizer.known_share("...") == 0

    def test_round_trip(self, tokenizer, tmp_path):
        tokenizer.save(tmp_path / "v.json")
        back = WordTokenizer.load(tmp_path / "v.json")
        assert (back.words, back.context_length) == (tokenizer.words, 6)

    def test_errors(self, tmp_path):
        with pytest.raises(InputError, match="words: expected lower-case words, each once, got one that comes twice"):
            WordTokenizer(["a", "a"])
        with pytest.raises(InputError, match="words: expected lower-case words"):
            WordTokenizer(["Pleural"])
        with pytest.raises(InputError, match="context_length: expected a whole number from 3 up, got 2"):
            WordTokenizer(["a"], context_length=2)
        with pytest.raises(InputError, match="path: expected a file that can be read"):
            WordTokenizer.load(tmp_path / "none.json")
        (tmp_path / "other.json").write_text("[1]")
        with pytest.raises(InputError, match=r"path: expected a vocabulary that WordTokenizer.save wrote"):
            WordTokenizer.load(tmp_path / "other.json")


class TestParts:
    def test_sentences_lose_the_names_of_sections_only(self):
        report = "EXAMINATION: CHEST, AP\n\nFINDINGS AND IMPRESSION: Tube 5.4 cm above the carina. No effusion."
        assert training._sentences(report) == ["CHEST, AP", "Tube 5.4 cm above the carina.", "No effusion."]

    def test_aurocs_of_resamples_with_ties(self):
        rng = np.random.default_rng(0)
        truth, score = rng.random(60) < 0.4, rng.integers(0, 8, 60) / 8
        counts = rng.integers(0, 3, (4, 60))
        expected = [roc_auc_score(np.repeat(truth, row), np.repeat(score, row)) for row in counts]
        np.testing.assert_allclose(training._aurocs(truth, score, counts), expected)
        assert np.isnan(training._aurocs(truth, score, truth[None].astype(int)))[0]

    def test_a_tie_with_the_right_answer_counts_against_it(self):
        likeness = np.array([[0.5, 0.5, 0.1], [0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
        assert training._in_first(likeness, 1).tolist() == [0, 0, 1]
        assert training._in_first(likeness, 2).tolist() == [1, 1, 1]

    def test_loss_shares_weight_between_right_answers(self):
        likeness = torch.tensor([[2.0, 1.0, 0.0], [0.5, 0.0, -1.0], [0.0, 0.3, 3.0]])
        run = training._Run.__new__(training._Run)
        run.torch, run.device = torch, torch.device("cpu")
        plain = open_clip.ClipLoss()(likeness, torch.eye(3), torch.tensor(1.0))
        assert float(run._contrast(likeness, np.eye(3, dtype=bool))) == pytest.approx(float(plain))
        # By hand: the first text is right for two images, the others for one.
        right = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]])
        x = likeness.numpy().astype(float)
        by_row = -(right / [[2], [1], [1]] * (x - np.log(np.exp(x).sum(axis=1, keepdims=True)))).sum(axis=1).mean()
        by_column = -(right / [2, 1, 1] * (x - np.log(np.exp(x).sum(axis=0)))).sum(axis=0).mean()
        assert float(run._contrast(likeness, right.astype(bool))) == pytest.approx((by_row + by_column) / 2)

    def test_texts_are_said_of_their_film(self, words):
        data = load_phantom(6, random_state=HELD_OUT_SEED, cache=False)
        texts, rng = training._Texts(data, words), np.random.default_rng(0)
        views = data.metadata["view"].to_numpy()
        for film in range(data.n_samples):
            parts, sentences = texts.draw(film, rng)
            assert len(sentences) == training.N_SHORT
            report = " ".join(data.reports[film].split())
            for text in (*parts, *sentences):
                assert " ".join(text.split()) in report or text in training.VIEWS[views[film]]
            assert all(texts.is_said_of(sentence, film) for sentence in sentences)
            assert texts.is_said_of("Lateral view.", film) == (views[film] == "lateral")
            assert not texts.is_said_of("Nobody wrote this.", film)

    def test_reports_are_shown_in_the_parts_that_the_encoder_makes_of_them(self, words, network, clip):
        data = load_phantom(6, random_state=HELD_OUT_SEED, cache=False)
        texts = training._Texts(data, words)
        assert max(map(len, texts.parts)) > 1
        run = training._Run.__new__(training._Run)
        run.torch, run.device, run.model, run.tokenizer, run.texts = torch, torch.device("cpu"), network, words, texts
        with torch.inference_mode():
            reports, phrases = run._embed(texts.parts, ["Lateral view.", "AP view."])
        first = np.flatnonzero(~data.attributes["study_id"].duplicated().to_numpy())
        np.testing.assert_allclose(reports, clip.encode_texts([data.reports[i] for i in first]), atol=1e-5)
        np.testing.assert_allclose(phrases, clip.encode_texts(["Lateral view.", "AP view."]), atol=1e-5)

    def test_terms_of_films_tell_views_and_negation_apart(self, words):
        data = load_phantom(60, random_state=HELD_OUT_SEED, cache=False)
        terms = training._Texts(data, words).terms > 0
        assert set(np.unique(terms)) == {False, True}
        lateral = (data.metadata["view"] == "lateral").to_numpy()
        # Some term is in the words on lateral views and in none of the others'.
        assert (terms[lateral].all(axis=0) & ~terms[~lateral].all(axis=0)).any()
        reported = data.attributes["reported pleural effusion"].astype(str).to_numpy()
        yes, no = reported == "present", reported == "absent"
        if yes.any() and no.any():
            assert np.abs(terms[yes].mean(axis=0) - terms[no].mean(axis=0)).max() > 0.6

    def test_locked_features_and_the_projection_make_the_image_embedding(self, words, network):
        films = load_phantom(2, image_size=128, random_state=HELD_OUT_SEED, cache=False).images
        run = training._Run.__new__(training._Run)
        run.torch, run.device, run.model = torch, torch.device("cpu"), network
        run.pixels = np.stack([training._small(films, i) for i in range(len(films))])
        projection = network.visual.attnpool.c_proj
        with torch.inference_mode():
            embedded = projection(run._locked())
            shown = (torch.from_numpy(run.pixels)[:, None].float() / 255 - training.GREY_MEAN) / training.GREY_STD
            expected = network.encode_image(shown.repeat(1, 3, 1, 1))
        assert network.visual.attnpool.c_proj is projection
        torch.testing.assert_close(embedded, expected, atol=1e-5, rtol=1e-4)

    def test_learning_rate_goes_up_then_down(self):
        rates = [training._rate(step, 100) for step in range(100)]
        assert 0 < rates[0] < rates[9] < rates[10] == 1
        assert all(b < a for a, b in itertools.pairwise(rates[10:]))
        assert rates[-1] < 0.001

    def test_augmentation_keeps_left_and_right(self):
        film = torch.zeros(64, 1, 32, 32)
        film[:, :, :, :12] = 1
        shown = training._augment(torch, film, torch.Generator().manual_seed(0))
        assert shown.shape == (64, 3, 32, 32)
        assert (shown[..., :16].mean((1, 2, 3)) > shown[..., 16:].mean((1, 2, 3))).all()


class TestTraining:
    def test_the_folder_is_whole(self, trained):
        out, figures, rows = trained
        names = ["MODEL_CARD.md", "figures.json", "open_clip_config.json", "open_clip_model.safetensors"]
        assert sorted(p.name for p in out.iterdir()) == [*names, "vocabulary.json"]
        assert [p.name for p in out.parent.iterdir()] == ["clip"]  # no checkpoint is left
        assert json.loads((out / "figures.json").read_text()) == figures
        assert [(r["stage"], r["epoch"]) for r in rows] == [
            *(("films", k) for k in (1, 2, 3, 4, 5)),
            *(("texts", k) for k in (1, 2)),
        ]

    @pytest.mark.parametrize("after", [("films", 1), ("texts", 1)])
    def test_interrupted_or_not_the_bytes_are_the_same(self, trained, drawn, tmp_path, after):
        class StoppedError(Exception):
            pass

        def stop(row):
            if (row["stage"], row["epoch"]) == after:
                raise StoppedError

        out, resumed = tmp_path / "clip", []
        with pytest.raises(StoppedError):
            train_clip(out, **TINY, cache=drawn, on_epoch=stop)
        assert [p.name for p in tmp_path.iterdir()] == ["clip.checkpoint.safetensors"]
        with pytest.raises(InputError, match="out: expected beside it no checkpoint, or that of a training with"):
            train_clip(out, **{**TINY, "random_state": 2}, cache=drawn)
        train_clip(out, **TINY, cache=drawn, on_epoch=resumed.append)
        assert len(resumed) == (6 if after[0] == "films" else 1)
        for path in trained[0].iterdir():
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name

    def test_errors(self, tmp_path):
        with pytest.raises(InputError, match="epochs: expected a whole number from 1 to 10,000, got 0"):
            train_clip(tmp_path / "x", epochs=0)
        with pytest.raises(InputError, match="cache: expected True or a folder, got False"):
            train_clip(tmp_path / "x", cache=False)
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="out: expected a new or an empty folder, got one that is not empty"):
            train_clip(tmp_path)


class TestPackaged:
    def test_size(self):
        assert (PACKAGED / "open_clip_model.safetensors").stat().st_size <= 8_000_000

    def test_open_clip_loads_the_folder_by_itself(self, clip, words):
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{PACKAGED}")
        film = load_phantom(2, image_size=150, random_state=HELD_OUT_SEED, cache=False).images
        grey = Image.fromarray(np.rint(film.read(0).pixels * 255).astype(np.uint8))
        with torch.inference_mode():
            seen = model.eval().encode_image(preprocess(grey)[None], normalize=True)
            said = model.encode_text(words(["left pleural effusion", "lateral view"]), normalize=True)
        np.testing.assert_allclose(clip.encode_images(film.take([0])), seen.numpy(), atol=1e-6)
        np.testing.assert_allclose(
            clip.encode_texts(["left pleural effusion", "lateral view"]), said.numpy(), atol=1e-6
        )

    def test_training_and_loading_prepare_films_alike(self, clip):
        films = load_phantom(2, image_size=150, random_state=HELD_OUT_SEED, cache=False).images
        trained_on = training._small(films, 0).astype(np.float32) / 255
        loaded = clip._parts().image.prepare(films.read(0))
        assert loaded.shape == (3, training.SIDE_PX, training.SIDE_PX)
        for channel in loaded:
            np.testing.assert_allclose(
                channel, (trained_on - training.GREY_MEAN) / training.GREY_STD, rtol=1e-5, atol=1e-5
            )

    def test_shortened_texts_are_encoded_alike(self, network, words):
        tokens = words(["No pleural effusion.", "A left chest tube. Small left pneumothorax.", ""])
        with torch.inference_mode():
            expected = network.encode_text(tokens)
            np.testing.assert_allclose(training.encode_shortened(network, tokens), expected, atol=1e-5)

    def test_the_text_is_read_at_its_end(self, network, words):
        """What stands after the end must change nothing, and what stands before it must."""
        tokens = words(["left pleural effusion"])
        after, before = tokens.clone(), tokens.clone()
        after[0, 20] = words.encode("pneumothorax")[0]
        before[0, 3] = words.encode("pneumothorax")[0]
        with torch.inference_mode():
            at_end, with_after, with_before = (network.encode_text(t) for t in (tokens, after, before))
        torch.testing.assert_close(at_end, with_after)
        assert (at_end - with_before).abs().max() > 0.01

    def test_only_phantoms_can_be_measured_on(self, clip):
        films = load_phantom(2, random_state=HELD_OUT_SEED, cache=False).images
        frame = pd.DataFrame({"y": [0, 1], "p": [0.1, 0.9]})
        data = AuditData.from_frame(frame, label="y", y_proba="p", images=films.take([0, 1]))
        with pytest.raises(InputError, match="data: expected a phantom cohort, with its ground truth, got other data"):
            training.evaluate_joint_space(clip, data)

    def test_the_words_of_the_prompts_are_known(self, words):
        for both in PROMPTS.values():
            for prompt in (*both[0], *both[1]):
                assert words.known_share(prompt) == 1, prompt

    def test_card_and_figures_agree(self):
        figures = json.loads((PACKAGED / "figures.json").read_text(encoding="utf-8"))
        card = (PACKAGED / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert card == model_card(figures)
        assert figures["training"]["seeds"] == SEEDS
        shown = re.search(r"\| image to report, recall@10 \| .* \| ([\d.]+) \(", card)
        assert float(shown[1]) == pytest.approx(
            figures["test"]["retrieval"]["image to report"]["recall_at_10"], abs=5e-4
        )

    def test_figures_are_of_these_files(self, network, words):
        """What the card was written for is what lies beside it."""
        figures = json.loads((PACKAGED / "figures.json").read_text(encoding="utf-8"))["training"]
        assert figures["n_words"] == len(words.words)
        assert figures["n_parameters"] == sum(p.numel() for p in network.parameters())

    def test_held_out_phantoms(self, clip, drawn):
        data = load_phantom(80, image_size=112, random_state=HELD_OUT_SEED, cache=drawn)
        found = training.evaluate_joint_space(clip, data)
        # What the card says of the test cohort carries over to others.
        told = json.loads((PACKAGED / "figures.json").read_text(encoding="utf-8"))["test"]["zero-shot"]
        for name in ("pleural effusion", "cardiomegaly", "edema"):
            assert found["zero-shot"][name]["auroc"] > told[name]["ci"][0] - 0.05, name
        assert found["zero-shot"]["pleural effusion"]["auroc"] >= 0.85
        assert found["zero-shot"]["lateral view"]["auroc"] >= 0.85
        # A second formula, film by film and study by study.
        films = clip.encode_images(data)
        truth = data.attributes["pleural effusion"].to_numpy(bool)
        with_it, without = (clip.encode_texts(prompts) for prompts in PROMPTS["pleural effusion"])
        score = [np.mean([f @ t for t in with_it]) - np.mean([f @ t for t in without]) for f in films]
        assert found["zero-shot"]["pleural effusion"]["auroc"] == pytest.approx(roc_auc_score(truth, score), abs=1e-3)
        studies = pd.unique(data.attributes["study_id"])
        first = [int(np.flatnonzero(data.attributes["study_id"] == study)[0]) for study in studies]
        reports = clip.encode_texts([data.reports[i] for i in first])
        hits = [k in np.argsort(-(reports @ films[i]))[:10] for k, i in enumerate(first)]
        retrieval = found["retrieval"]
        assert retrieval["chance"] == 10 / len(studies)
        assert retrieval["image to report"]["recall_at_10"] == pytest.approx(np.mean(hits), abs=0.011)
