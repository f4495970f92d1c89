import io
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmaudit as mma
from mmaudit._errors import AuditWarning, ImageReadError, InputError, MissingExtraError
from mmaudit.classifiers._images import ArrayImages
from mmaudit.classifiers._networks import build
from mmaudit.explain._saliency import CELLS, pointing_game, saliency_map

torch = pytest.importorskip("torch")
nn = torch.nn

SIDE_PX = 56


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def as_data(pictures, label=None, patient=None):
    label = np.arange(len(pictures)) % 2 if label is None else label
    frame = pd.DataFrame({"mark": label, "patient": np.arange(len(pictures)) if patient is None else patient})
    images = pictures if hasattr(pictures, "take") and not isinstance(pictures, np.ndarray) else ArrayImages(pictures)
    return mma.AuditData.from_frame(frame, label="mark", patient_id="patient", images=images)


def noise(n=4, seed=0, side_px=SIDE_PX):
    return np.random.default_rng(seed).uniform(0.1, 0.6, (n, side_px, side_px)).astype(np.float32)


class Tiny(nn.Module):
    """Two convolutions and a linear layer on the mean over places: all of it can be worked out by hand."""

    def __init__(self, n_columns=1):
        super().__init__()
        self.first = nn.Conv2d(1, 2, 7, stride=7, bias=False)
        self.second = nn.Conv2d(2, 3, 1)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(3, n_columns)
        generator = torch.Generator().manual_seed(8)  # of which every map below has places of both signs
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)

    def forward(self, x):
        self.answer = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(self.dropout(self.answer.mean((2, 3))))


def answers_by_hand(net, picture):
    """Return the answers of the two layers, (2, 8, 8) and (3, 8, 8), with NumPy alone."""
    blocks = (np.rint(picture * 255) / 255).reshape(8, 7, 8, 7).transpose(0, 2, 1, 3)
    first = np.einsum("ijkl,ckl->cij", blocks, net.first.weight.detach().numpy()[:, 0])
    weight, bias = net.second.weight.detach().numpy()[:, :, 0, 0], net.second.bias.detach().numpy()
    return first, np.einsum("dc,cij->dij", weight, np.maximum(first, 0)) + bias[:, None, None]


# Gradients


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam"])
@pytest.mark.parametrize("target", [1, 0])
def test_maps_are_those_worked_out_by_hand(method, target):
    net, pictures = Tiny(), noise()
    found = saliency_map(
        mma.classifiers.wrap(net, image_size=SIDE_PX), as_data(pictures), [2], method=method, target=target
    )
    assert found.layer == "second" and found.maps.shape == (1, 8, 8)
    _, A = answers_by_hand(net, pictures[2])
    head = net.head.weight.detach().numpy()[0] * (1 if target else -1)
    G = head[:, None, None] / 64 * (A > 0)  # of the mean over 64 places, behind a rectifier
    if method == "grad_cam":
        by_hand = (G.mean(axis=(1, 2))[:, None, None] * A).sum(axis=0)
    else:
        by_hand = ((np.maximum(G, 0) if method == "layer_cam" else G) * A).sum(axis=0)
    assert np.maximum(by_hand, 0).max() > 0
    np.testing.assert_allclose(found.maps[0], np.maximum(by_hand, 0), rtol=1e-4, atol=1e-7)


def test_what_speaks_for_and_against_adds_up_to_the_logit():
    """HiResCAM of both targets: the positive parts of a map and of its negative; its sum is the logit less its bias."""
    net, data = Tiny(), as_data(noise())
    wrapped = mma.classifiers.wrap(net, image_size=SIDE_PX)
    both = [saliency_map(wrapped, data, range(4), method="hires_cam", target=t).maps for t in (1, 0)]
    logit = np.log(p := wrapped.predict_proba(data)[:, 0]) - np.log(1 - p)
    np.testing.assert_allclose((both[0] - both[1]).sum(axis=(1, 2)), logit - net.head.bias.item(), rtol=1e-4)


def test_the_last_layer_that_is_fine_enough_is_looked_at():
    sizes = {"fine": 28, "enough": 14, "coarse": 7}
    net = nn.Sequential()
    for name in sizes:
        net.add_module(name, nn.Conv2d(1 if name == "fine" else 2, 2, 3, stride=2, padding=1))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("head", nn.Linear(2, 1))
    for side_px, layer in [(56, "enough"), (112, "coarse"), (24, "fine")]:
        wrapped = mma.classifiers.wrap(net, image_size=side_px)
        assert saliency_map(wrapped, as_data(noise(2, side_px=side_px)), [0]).layer == layer


def test_a_named_layer_is_looked_at():
    net, pictures = Tiny(), noise()
    found = saliency_map(
        mma.classifiers.wrap(net, image_size=SIDE_PX), as_data(pictures), [0, 3], layer="first", method="grad_cam"
    )
    assert found.layer == "first" and found.maps.shape == (2, 8, 8)
    # The gradient by the first layer, by finite differences.
    A1, _ = answers_by_hand(net, pictures[3])

    def logit(first):
        with torch.no_grad():
            second = torch.relu(net.second(torch.relu(torch.from_numpy(first[None]).float())))
            return net.head(second.mean((2, 3))).item()

    G = np.zeros_like(A1)
    for place in np.ndindex(A1.shape):
        step = np.zeros_like(A1)
        step[place] = 1e-2
        G[place] = (logit(A1 + step) - logit(A1 - step)) / 2e-2
    by_hand = np.maximum((G.mean(axis=(1, 2))[:, None, None] * A1).sum(axis=0), 0)
    np.testing.assert_allclose(found.maps[1], by_hand, rtol=0.02, atol=0.02 * by_hand.max())


def test_the_network_is_left_as_it_was():
    net = Tiny()
    net.train()
    net.second.eval()
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    wrapped, data = mma.classifiers.wrap(net, image_size=SIDE_PX), as_data(noise())
    first = saliency_map(wrapped, data, range(4), batch_size=3)
    again = saliency_map(wrapped, data, range(4), batch_size=1)
    np.testing.assert_allclose(first.maps, again.maps, atol=1e-6)  # no dropout while it was looked at
    assert net.training and net.dropout.training and not net.second.training
    assert all(not layer._forward_hooks and not layer._forward_pre_hooks for layer in net.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert all(torch.equal(weights[name], value) for name, value in net.state_dict().items())
    assert torch.is_grad_enabled()
    with torch.no_grad():
        saliency_map(wrapped, data, [0])
        assert not torch.is_grad_enabled()
    with pytest.raises(RuntimeError, match="broken"):
        net.head.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("broken")))
        saliency_map(wrapped, data, [0], layer="second")
    assert net.training and torch.is_grad_enabled() and not net.second._forward_hooks


def test_frozen_weights_and_layers_that_write_over_their_input_do_no_harm():
    net = nn.Sequential(nn.Conv2d(1, 4, 7, stride=7), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 1))
    data = as_data(noise())
    wrapped = mma.classifiers.wrap(net, image_size=SIDE_PX)
    free = saliency_map(wrapped, data, [1], layer="0", method="hires_cam")
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    frozen = saliency_map(wrapped, data, [1], layer="0", method="hires_cam")
    np.testing.assert_array_equal(free.maps, frozen.maps)
    # What is weighed is what the layer answered, not what the rectifier made of it.
    with torch.no_grad():
        A = net[0](torch.from_numpy(np.rint(noise()[1] * 255).astype(np.float32) / 255)[None, None])[0]
        G = net[3].weight[0].reshape(4, 8, 8) * (A > 0)
        by_hand = (G * A).sum(0).clamp(min=0)
    np.testing.assert_allclose(free.maps[0], by_hand, atol=1e-6)


def test_two_columns_are_the_second_less_the_first_unless_one_is_named():
    net, data = Tiny(2), as_data(noise())
    wrapped = mma.classifiers.wrap(net, image_size=SIDE_PX, activation="softmax")
    maps = {output: saliency_map(wrapped, data, [0], method="hires_cam", output=output).maps for output in (None, 0, 1)}
    one = Tiny(1)
    one.load_state_dict(
        net.state_dict()
        | {"head.weight": net.head.weight[1:] - net.head.weight[:1], "head.bias": net.head.bias[1:] - net.head.bias[:1]}
    )
    alone = saliency_map(mma.classifiers.wrap(one, image_size=SIDE_PX), data, [0], method="hires_cam").maps
    np.testing.assert_allclose(maps[None], alone, atol=1e-7)
    assert not np.allclose(maps[1], maps[None]) and not np.allclose(maps[0], maps[1])


def test_of_several_labels_that_of_the_data_is_meant_unless_one_is_named():
    torch.manual_seed(0)
    network, config = build("small_cnn", 2), {"labels": ["other", "mark"], "image_size": SIDE_PX}
    classifier = mma.classifiers.Classifier(network, config=config, history=[], device=torch.device("cpu"))
    data = as_data(noise())
    for method in ("hires_cam", "occlusion"):
        of_data, *named = (
            saliency_map(classifier, data, [1], method=method, output=output).maps
            for output in (None, "mark", 1, "other")
        )
        np.testing.assert_array_equal(of_data, named[0])
        np.testing.assert_array_equal(of_data, named[1])
        assert not np.allclose(of_data, named[2])
    config["labels"] = ["other", "more"]
    classifier = mma.classifiers.Classifier(network, config=config, history=[], device=torch.device("cpu"))
    with pytest.raises(
        InputError, match=r"output: expected one of this classifier's labels, got None\. They are: other, more"
    ):
        saliency_map(classifier, data, [1])


def test_each_patient_counts_once_in_the_mean():
    data = as_data(noise(4), patient=[0, 0, 0, 1])
    found = saliency_map(mma.classifiers.wrap(Tiny(), image_size=SIDE_PX), data, np.array([True, True, False, True]))
    assert found.rows.tolist() == [0, 1, 3]
    np.testing.assert_allclose(found.mean, (found.maps[:2].mean(axis=0) + found.maps[2]) / 2, rtol=1e-5)


# Covering


def test_covering_gives_the_falls_worked_out_by_hand():
    """A linear answer on a black film with one white cell: what is covered falls by its weight, less what fills it."""
    film = np.zeros((SIDE_PX, SIDE_PX), dtype=np.float32)
    film[20:24, 32:36] = 1  # the cell (5, 8) of 14 x 14
    weight = np.random.default_rng(0).uniform(0, 1, film.shape) / film.size

    def answer(images):
        return (images * weight).sum(axis=(1, 2))

    found = saliency_map(
        mma.classifiers.wrap(answer, image_size=SIDE_PX), as_data([film, film]), [0], method="occlusion"
    )
    assert found.maps.shape == (1, CELLS, CELLS) == (1, 14, 14) and found.layer == ""
    # The mean around each pixel, one by one: 16 x 16 pixels, from 8 before it to 7 after it.
    padded = np.pad(film, 8, mode="edge")
    around = np.array([[padded[i : i + 16, j : j + 16].mean() for j in range(SIDE_PX)] for i in range(SIDE_PX)])
    falls, covers = np.zeros((14, 14)), np.zeros((14, 14))
    for i in range(13):
        for j in range(13):
            covered = film.copy()
            covered[4 * i : 4 * i + 8, 4 * j : 4 * j + 8] = around[4 * i : 4 * i + 8, 4 * j : 4 * j + 8]
            fall = ((np.rint(film * 255) - np.rint(covered * 255)) / 255 * weight).sum()
            falls[i : i + 2, j : j + 2] += fall
            covers[i : i + 2, j : j + 2] += 1
    np.testing.assert_allclose(found.maps[0], falls / covers, atol=1e-7)
    assert np.unravel_index(found.maps[0].argmax(), (14, 14)) == (5, 8)
    absent = saliency_map(
        mma.classifiers.wrap(answer, image_size=SIDE_PX), as_data([film, film]), [0], method="occlusion", target=0
    )
    np.testing.assert_allclose(absent.maps, -found.maps, atol=1e-7)


def test_covering_asks_for_no_network_and_takes_a_bare_function():
    found = saliency_map(
        lambda images: images.mean(axis=(1, 2)), as_data(noise(2, side_px=224)), [0], method="occlusion"
    )
    assert (found.maps > -0.01).all() and found.fit == "stretch"


def test_a_film_that_is_not_square_is_covered_whole():
    """The map lies on the film: a mark in its lower right corner is in the lower right corner of the map."""
    film = np.full((40, 80), 0.2, dtype=np.float32)
    film[34:, 70:] = 1
    found = saliency_map(
        mma.classifiers.wrap(lambda images: images.max(axis=(1, 2)), image_size=80),
        *(as_data([film, film]), [0]),
        method="occlusion",
    )
    assert np.unravel_index(found.maps[0].argmax(), (14, 14)) == (13, 13)


# A mark that is learned


@pytest.fixture(scope="module")
def marked():
    """Noise with a bright square somewhere if the label is 1, and a network that was trained on it."""
    rng = np.random.default_rng(0)
    pictures, label, masks = noise(240, seed=1), np.arange(240) % 2, np.zeros((240, SIDE_PX, SIDE_PX), dtype=bool)
    for i in np.flatnonzero(label):
        top, left = rng.integers(4, SIDE_PX - 14, 2)
        masks[i, top : top + 10, left : left + 10] = True
    pictures[masks] = 0.95
    data = as_data(pictures, label)
    classifier = mma.classifiers.train(
        data.subset(np.arange(160)), image_size=SIDE_PX, max_epochs=8, batch_size=16, random_state=1
    )
    return classifier, data, masks


@pytest.mark.parametrize("method", ["hires_cam", "layer_cam", "occlusion"])
def test_a_learned_mark_is_pointed_at(marked, method):
    classifier, data, masks = marked
    rows = np.arange(161, 193 if method == "occlusion" else 240, 2)
    assert (classifier.predict_proba(data)[rows, 0] > 0.5).mean() > 0.9
    game = pointing_game(saliency_map(classifier, data, rows, method=method).maps, masks[rows])
    assert game.share >= 0.8
    assert game.chance_others < 0.35 and game.chance_anywhere < 0.35


def test_films_are_drawn_with_their_maps(marked):
    classifier, data, _ = marked
    found = saliency_map(classifier, data, [161, 163, 165])
    assert repr(found).startswith("Saliency(")
    figure = found.plot(data, 2)
    assert sum(bool(ax.images) for ax in figure.axes) >= 3
    film = figure.axes[1].images[0].get_array()
    assert film.shape == (SIDE_PX, SIDE_PX) and figure.axes[1].images[0].cmap.name == "gray"
    assert Image.open(io.BytesIO(found.to_png())).format == "PNG"


def test_unreadable_images_have_no_map():
    class Torn(ArrayImages):
        def read(self, index, *, max_side_px=None):
            if self.pictures[index].max() > 0.95:
                raise ImageReadError("image", "a file", "none", "Check the path.", reason="missing")
            return super().read(index, max_side_px=max_side_px)

        def take(self, indices):
            return Torn([self.pictures[int(i)] for i in indices])

    pictures = noise(40)
    pictures[7] = 1
    data = as_data(Torn(list(pictures)))
    with pytest.warns(AuditWarning, match=r"got 1 of 40 that are not .*Their maps are NaN"):
        found = saliency_map(mma.classifiers.wrap(Tiny(), image_size=SIDE_PX), data, range(40))
    assert np.isnan(found.maps[7]).all() and np.isfinite(np.delete(found.maps, 7, axis=0)).all()
    assert np.isfinite(found.mean).all()
    assert found.to_png(data).startswith(b"\x89PNG")


def test_a_bar_is_shown_only_when_asked_for(capsys):
    arguments = (mma.classifiers.wrap(Tiny(), image_size=SIDE_PX), as_data(noise()), range(4))
    saliency_map(*arguments)
    assert capsys.readouterr().err == ""
    saliency_map(*arguments, progress=True)
    assert "image" in capsys.readouterr().err


# What cannot be done is said


def test_errors_say_what_to_do(marked, monkeypatch):
    classifier, data, _ = marked
    wrapped = mma.classifiers.wrap(Tiny(), image_size=SIDE_PX)
    function = mma.classifiers.wrap(lambda images: images.mean(axis=(1, 2)))
    bare = mma.AuditData.from_frame(pd.DataFrame({"y": [0, 1], "patient": [0, 1]}), label="y", patient_id="patient")
    flat = nn.Sequential(nn.Flatten(), nn.Linear(SIDE_PX**2, 1))
    for expected, arguments, options in [
        (r"data: expected data with images, got data without", (wrapped, bare, [0]), {}),
        (r"rows: expected positions of samples, 0 to 239, .* got none", (wrapped, data, []), {}),
        (r"rows: expected positions of samples, 0 to 239, .* got others", (wrapped, data, [240]), {}),
        (r"rows: .* got none\. Use numpy", (wrapped, data, np.zeros(240, dtype=bool)), {}),
        (r"method: expected one of hires_cam, .* Did you mean 'grad_cam'", (wrapped, data, [0]), {"method": "gradcam"}),
        (
            r"layer: expected a layer of the network, got 'frist'.* Did you mean 'first'",
            (wrapped, data, [0]),
            {"layer": "frist"},
        ),
        (
            r"layer: expected a layer that answers pictures.* got 'head', which does not",
            (wrapped, data, [0]),
            {"layer": "head"},
        ),
        (
            r"classifier: expected one with a torch network, for 'grad_cam', got a function, .* Use method=.occlusion",
            (function, data, [0]),
            {"method": "grad_cam"},
        ),
        (
            r"layer: .* got a network without one\. Name another one, or use method=\"occlusion\"",
            (mma.classifiers.wrap(flat, image_size=SIDE_PX, channels=1), data, [0]),
            {},
        ),
        (r"target: expected 1 or 0, got 2\. Say which label by output", (wrapped, data, [0]), {"target": 2}),
        (
            r"output: expected one of this classifier's labels, got 'marc'.* Did you mean 'mark'",
            (classifier, data, [0]),
            {"output": "marc"},
        ),
        (
            r"output: expected the column that is the label, 0 to 2, got None",
            (mma.classifiers.wrap(Tiny(3), image_size=SIDE_PX, output=1), data, [0]),
            {},
        ),
    ]:
        with pytest.raises(InputError, match=expected):
            saliency_map(*arguments, **options)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"needs the package torch.*mmaudit\[torch\]"):
        saliency_map(wrapped, data, [0])


# The pointing game


def test_the_pointing_game_by_hand():
    maps, masks = np.zeros((3, 4, 4)), np.zeros((3, 40, 40), dtype=bool)
    maps[0, 0, 0] = maps[1, 0, 0] = 1  # both at pixel (5, 5)
    masks[0, :6, :6] = True  # hit
    masks[1, 30:, 30:] = True  # missed
    masks[2, 5, 15] = True  # 10 pixels away; the third map points nowhere
    game = pointing_game(maps, masks, tolerance=0)
    assert game.share == pytest.approx(1 / 3) and game.n_maps == 3
    # Of six pairs of a map and another's mask: map 1 on mask 0 alone.
    assert game.chance_others == pytest.approx(1 / 6)
    assert game.chance_anywhere == pytest.approx((36 + 100 + 1) / 3 / 1600)
    # With 10 of 40 pixels of tolerance maps 0 and 1 reach mask 2.
    assert pointing_game(maps, masks, tolerance=0.25).chance_others == pytest.approx(3 / 6)
    assert pointing_game(maps, masks, tolerance=0.24).chance_others == pytest.approx(1 / 6)


def test_random_maps_point_by_chance():
    rng = np.random.default_rng(0)
    masks = np.zeros((60, 64, 64), dtype=bool)
    masks[:, 20:40, 10:30] = True
    shares = [pointing_game(rng.uniform(size=(60, 16, 16)), masks) for _ in range(30)]
    assert np.mean([g.share for g in shares]) == pytest.approx(shares[0].chance_anywhere, abs=0.02)
    assert np.mean([g.chance_others for g in shares]) == pytest.approx(shares[0].chance_anywhere, abs=0.02)


def test_the_game_asks_for_masks():
    with pytest.raises(InputError, match="masks: expected one for each of 2 maps, at least one, got 1"):
        pointing_game(np.zeros((2, 4, 4)), np.ones((1, 8, 8), dtype=bool))
    with pytest.raises(InputError, match=r"masks: expected masks \(height, width\) of something, got an empty one"):
        pointing_game(np.zeros((1, 4, 4)), np.zeros((1, 8, 8), dtype=bool))
