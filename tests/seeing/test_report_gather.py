"""What the page says is what the functions measure; one part may fail, and bad input is one sentence."""

import importlib.util
import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sightline.layers.criss_cross import CrissCross
from sightline.layers.multi_head import MultiHeadAttention
from sightline.ops.patterns import criss_cross, field
from sightline.seeing import effective
from sightline.seeing.attention import looks
from sightline.seeing.distance import uniform_distance
from sightline.seeing.receptive import receptive_fields
from sightline.seeing.report import gather as gathering
from sightline.seeing.report import see
from sightline.seeing.report.contents import HeadDistances, Missing, Neurons
from sightline.seeing.report.effect import DRAWS
from sightline.seeing.report.gather import Wanted, gather
from sightline.seeing.report.model import MEAN, STD
from sightline.seeing.report.photo import Photo, as_input, sample_photo
from sightline.seeing.report.sentences import answers
from sightline.seeing.report.theory import chosen_layer, lattice, main_layers, rows_of

SIZE = (24, 32)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    )  # fmt: skip


class Passes(nn.Module):
    """Patches, then the same criss-cross attention twice."""

    def __init__(self, recurrence=2):
        super().__init__()
        self.patches, self.cross, self.recurrence = nn.Conv2d(3, 8, 4, 4), CrissCross(8, 2), recurrence
        nn.init.ones_(self.cross.gamma)

    def forward(self, image):
        x = self.patches(image)
        for _ in range(self.recurrence):
            x = self.cross(x)
        return x


class Looking(nn.Module):
    """Patches, then attention with two heads."""

    def __init__(self):
        super().__init__()
        self.patches, self.look = nn.Conv2d(3, 8, 8, 8), MultiHeadAttention(8, 2)

    def forward(self, image):
        return self.look(self.patches(image).flatten(2).transpose(1, 2))


class Branching(nn.Module):
    """Asks a value of the image which way to go."""

    def __init__(self):
        super().__init__()
        self.bright, self.dark = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 1)

    def forward(self, image):
        return self.bright(image) if image.mean().item() > 0 else self.dark(image)


def gathered(network, *, layer=None, values=False, neurons=14, size=SIZE):
    torch.manual_seed(0)
    photo = sample_photo(size)
    wanted = Wanted(layer, None, values, False, neurons, MEAN, STD)
    image = as_input(photo.pixels, network, MEAN, STD)
    return gather(network, image, photo, "it", wanted, command="sightline see it"), image


def test_sets_heats_and_rows_are_those_of_the_functions():
    network = convolutions()
    report, image = gathered(network, neurons=3)
    fields = receptive_fields(network, image)
    neurons = report.neurons
    assert isinstance(neurons, Neurons)
    assert neurons.layer == "4"
    assert (neurons.rows, neurons.columns) == ((2, 6, 10), (2, 8, 13))
    places = [(row, column) for row in neurons.rows for column in neurons.columns]
    for n, place in enumerate(places):
        np.testing.assert_array_equal(neurons.sets[n], fields.set("4", place).numpy())
        # By hand: kernels 3, 3 (stride 2) and 3 (dilation 2): 5 + 2 * 4 = 13 pixels, stride 2, padding 1 + 1 + 2 * 2.
        top, left = -6 + 2 * place[0], -6 + 2 * place[1]
        assert neurons.boxes[n].tolist() == [top, left, top + 13, left + 13]
        assert neurons.centres[0][n // 3] == top + 6.5
        assert neurons.centres[1][n % 3] == left + 6.5
    network.eval()
    expected = effective.heats(network, image, "4", places, draws=DRAWS).numpy()
    np.testing.assert_allclose(neurons.heats, expected, rtol=1e-5)
    rows = {layer.name: layer for layer in report.layers}
    assert rows["4"].size == (13.0, 13.0)
    assert rows["4"].stride == (2.0, 2.0)
    assert rows["4"].padding == (6.0, 6.0)
    assert rows["4"].grid == (12, 16)
    assert report.main == ("0", "3", "4")  # the norm and the ReLU change nothing
    assert set(report.effects) == {"0", "3", "4"}
    effect = report.effects["4"]
    assert 0 < effect.half < effect.most <= 13 * 13 / (24 * 32)
    assert 0 < effect.within <= 1


def test_the_network_is_left_as_it_was():
    network = convolutions()
    network.train()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    gathered(network)
    assert [module.training for module in network] == [True, False, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in network.modules())


def test_attention_is_that_of_looks_and_of_distances():
    network = Looking()
    report, image = gathered(network)
    (look,) = report.looks
    assert look.heads == ("mean of the heads", "head 1", "head 2")
    assert (look.rows, look.columns) == ((0, 1, 2), (0, 1, 2, 3))
    network.eval()
    for n, (y, x) in enumerate((y, x) for y in look.centres[0] for x in look.centres[1]):
        (expected,) = looks(network, image, (y - 0.5, x - 0.5))
        np.testing.assert_allclose(look.weights[1:, n], expected.weights.numpy(), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(look.weights[0, n], expected.weights.mean(0).numpy(), rtol=1e-5, atol=1e-7)
    assert isinstance(report.distances, HeadDistances)
    assert report.distances.uniform == pytest.approx(uniform_distance((3, 4), SIZE))
    # The mean over all queries of the distances of single queries is the head's distance: all queries are followed.
    np.testing.assert_allclose(look.distances[1:].mean(1), report.distances.pixels[0], rtol=1e-4)
    assert max(report.distances.entropies[0]) <= math.log2(12) + 1e-6


def test_criss_cross_is_a_cross_and_two_passes_are_composed():
    report, image = gathered(Passes(1))
    neurons = report.neurons
    patch = field([criss_cross], (2, 3), (6, 8)).numpy().repeat(4, 0).repeat(4, 1)
    at = neurons.rows.index(2) * len(neurons.columns) + neurons.columns.index(3)
    np.testing.assert_array_equal(neurons.sets[at], patch)
    assert f"can see {100 * patch.mean():.1f}" in dict(answers(gathered(Passes(1), neurons=1)[0]))["What can it see?"]
    network = Passes(2)
    report, image = gathered(network, neurons=2)
    assert [look.layer for look in report.looks] == ["cross", "cross, call 2", "cross, 2 passes"]
    composed = report.looks[-1]
    network.eval()
    expected = next(one for one in looks(network, image, (5.5, 9.5)) if one.passes == 2)
    np.testing.assert_allclose(composed.weights[:, 0], expected.weights.numpy(), rtol=1e-5, atol=1e-7)


def test_value_aware_and_structural_are_two_answers():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1))
    with torch.no_grad():
        network[1].weight[..., 0] = 0  # the left column of taps lets nothing through
    structural, _ = gathered(network)
    aware, _ = gathered(network, values=True)
    assert (structural.kind, aware.kind) == ("structural", "value-aware")
    middle = 7 * 14 + 7
    assert structural.neurons.sets[middle].sum() == 25
    assert aware.neurons.sets[middle].sum() == 20
    assert "(value-aware)" in dict(answers(aware))["What can it see?"]


def test_a_branch_that_depends_on_the_image_is_said_and_the_rest_written(tmp_path):
    page = see(Branching(), sample_photo((16, 16)), tmp_path, name="branching").read_text()
    assert "only the branch that ran for this image is analysed." in page
    assert 'id="picker"' in page


def test_no_convolution_and_no_map_leave_sentences(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    page = see(network, sample_photo((16, 16)), tmp_path).read_text()
    for words in ("No layer&#39;s output lies over the image", "no attention layer", "Command"):
        assert words in page
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert {"neurons", "looks", "distances", "features"} <= set(numbers["missing"])


@pytest.mark.parametrize("name", ["receptive_fields", "kernels_of", "looks_of", "measure", "steps_of", "features_of"])
def test_one_part_that_breaks_leaves_the_others(name, monkeypatch, tmp_path):
    def broken(*_, **__):
        raise RuntimeError(f"{name} fell over")

    monkeypatch.setattr(gathering, name, broken)
    page = see(convolutions(), sample_photo((16, 16)), tmp_path).read_text()
    assert f"{name} fell over." in page
    assert ("64 filters" in page or "4 filters of 3" in page) == (name != "kernels_of")


def test_a_gradient_that_is_cut_is_said(tmp_path):
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, image):
            return self.last(image.round().detach())

    page = see(Cut(), sample_photo((16, 16)), tmp_path).read_text()
    assert "no gradient leads from" in page
    assert 'id="picker"' in page


def test_main_layers_of_nested_modules_and_many():
    blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()) for _ in range(30)))
    network = nn.Sequential(blocks, nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    layers = rows_of(receptive_fields(network, (16, 16)))
    main = main_layers(network, layers)
    assert len(main) == 14
    assert (main[0], main[-1]) == ("0.0", "2")
    assert chosen_layer(layers, main, None) == "2"
    assert chosen_layer(layers, main, "0.3.0") == "0.3.0"
    with pytest.raises(ValueError, match=r"unknown layer '0\.3\.7': did you mean '0\.3"):
        chosen_layer(layers, main, "0.3.7")


def test_lattice_is_even_and_inside():
    assert lattice(5, 14) == (0, 1, 2, 3, 4)
    assert lattice(56, 14) == tuple(range(2, 56, 4))
    assert lattice(7, 1) == (3,)
    for count in (15, 28, 97):
        steps = np.diff(lattice(count, 14))
        assert steps.max() - steps.min() <= 1


def test_a_layer_without_a_map_cannot_be_pointed_at():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"layer '3' has shape \(1, 2\) and does not lie over the image"):
        gathered(network, layer="3")


def test_a_photo_given_as_a_file_is_cut_not_stretched(tmp_path):
    Image.new("RGB", (80, 40), (200, 30, 30)).save(tmp_path / "red.png")
    page = see(convolutions(), tmp_path / "red.png", tmp_path / "out", size=(16, 16))
    numbers = json.loads((page.parent / "numbers.json").read_text())
    assert numbers["image"] == "red.png"
    assert numbers["size"] == [16, 16]
    assert isinstance(sample_photo((8, 12)), Photo)
    assert gathered(convolutions())[0].features == Missing(
        "No feature was asked for: --features makes inputs that excite this layer's channels, --images FOLDER looks for"
        " their favourite patches."
    )


def test_features_of_a_folder_are_drawn(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(2):
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (20, 20, 3), np.uint8)).save(folder / f"{n}.png")
    page = see(convolutions(), sample_photo((16, 16)), tmp_path / "out", images=folder)
    assert (tmp_path / "out" / "features.png").stat().st_size > 1000
    assert "Channels of 4" in page.read_text()


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
def test_an_unmodified_network_of_hugging_face_gets_the_whole_page(tmp_path):
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    network = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8), add_pooling_layer=False)
    page = see(network, sample_photo((32, 32)), tmp_path, neurons=2)
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert page.exists()
    assert numbers["distances"], "its attention heads were not measured"
    assert {one["name"] for one in numbers["layers"]} >= {"embeddings.patch_embeddings.projection", "layernorm"}
    assert not any(one["dense"] for one in numbers["layers"])
