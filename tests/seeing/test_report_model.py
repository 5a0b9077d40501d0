"""From words to a network and an image: what is named is built, and every mistake is one sentence."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

from sightline.models import Classifier, ConvNet, VisionTransformer
from sightline.models.vit import Size
from sightline.run import describe, open_run, save_checkpoint
from sightline.seeing.report import See, run, see
from sightline.seeing.report.command import command_of
from sightline.seeing.report.model import MEAN, STD, load_model
from sightline.seeing.report.photo import as_input, check_takes, image_channels, read_photo, sample_photo

CONVNET = '{"object": "sightline.models.convnet:ConvNet", "arguments": {"image_channels": 3}}'


def test_a_factory_an_entry_and_a_run_are_loaded(tmp_path):
    assert isinstance(load_model("sightline.models:ConvNet").network, ConvNet)
    named = load_model(CONVNET)
    assert named.name == "ConvNet(image_channels=3)"
    assert not named.network.training
    torch.manual_seed(3)
    arguments = {"encoder": describe(ConvNet), "classes": 2}
    network = Classifier(ConvNet(), 2)
    folder = open_run(
        tmp_path / "run", {"model": describe(Classifier, **arguments), "size": [40, 32], "mean": [0.1, 0.2, 0.3]}
    )
    save_checkpoint(folder, network, step=1, states={}, generators={})
    loaded = load_model(str(folder))
    assert loaded.trained
    assert (loaded.name, loaded.size, loaded.mean, loaded.std) == ("run", (40, 32), (0.1, 0.2, 0.3), STD)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.network.state_dict()[name], value)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("resnet", "names no network"),
        ("torch.nn:Conv2d", "outside sightline.*add --trust"),
        ("sightline.models:Nothing", "there is no 'sightline.models:Nothing'"),
        ("sightline.models.vit:Size", "cannot be built"),
        ('{"object": 3', "no JSON"),
        ('{"thing": "a:b"}', "a model is named"),
        ('{"object": "torch.nn:Flatten", "arguments": {"start_dim": 1}}', "outside sightline.*add --trust"),
    ],
)
def test_a_model_that_is_none_is_one_sentence(named, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_model(named)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run folder"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"steps": 3}))
    with pytest.raises(ValueError, match="has no model"):
        load_model(str(tmp_path))


def test_what_is_trusted_is_built():
    named = load_model('{"object": "torch.nn:Conv2d", "arguments": {"in_channels": 3, "out_channels": 2, "kernel_size": 3}}', trust=True)  # fmt: skip # noqa: E501
    assert isinstance(named.network, nn.Conv2d)
    with pytest.raises(ValueError, match="makes a Size"):
        load_model('{"object": "sightline.models.vit:Size", "arguments": {"channels": 8, "depth": 1, "heads": 1}}')


def small_vit():
    return VisionTransformer(Size(16, 1, 2), image_size=(32, 32), patch=8)


def test_an_image_that_does_not_fit_names_a_size_that_does():
    network = small_vit()
    shown = as_input(sample_photo((20, 20)).pixels, network, MEAN, STD)
    with pytest.raises(ValueError, match=r"shown 20 x 20 pixels, which does not fit it .*: it takes 16 x 16"):
        check_takes(network, shown, "vit")
    network = nn.Sequential(nn.Conv2d(3, 4, 7), nn.MaxPool2d(8), nn.Conv2d(4, 2, 3))
    network.train()
    shown = as_input(sample_photo((16, 16)).pixels, network, MEAN, STD)
    with pytest.raises(ValueError, match=r"which is too small for it .*--size 32 32"):
        check_takes(network, shown, "net")
    assert network.training


def test_a_model_that_takes_no_image():
    network = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    shown = as_input(sample_photo((16, 16)).pixels, network, MEAN, STD)
    with pytest.raises(ValueError, match=r"words takes no image: shown one of shape \(1, 3, 16, 16\)"):
        check_takes(network, shown, "words")


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="is no image that can be read"):
        read_photo(tmp_path / "a.png", (8, 8))
    Image.new("RGB", (30, 30)).save(tmp_path / "b.png")
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b\.png cannot be read as an image|b\.png is no image"):
        read_photo(tmp_path / "b.png", (8, 8))
    with pytest.raises(FileNotFoundError, match="there is no image file"):
        read_photo(tmp_path / "c.png", (8, 8))
    with pytest.raises(ValueError, match="one pixel at least"):
        read_photo(tmp_path / "a.png", (0, 8))


def test_grey_and_many_channels(tmp_path):
    pixels = sample_photo((8, 8)).pixels
    for channels in (1, 3, 5):
        network = nn.Conv2d(channels, 1, 1).double()
        shown = as_input(pixels, network, MEAN, STD)
        assert shown.shape == (1, channels, 8, 8)
        assert shown.dtype == torch.float64
        assert image_channels(network) == channels
    Image.new("I;16", (10, 10), 40000).save(tmp_path / "deep.png")
    deep = read_photo(tmp_path / "deep.png", (8, 8)).pixels
    assert deep.shape == (8, 8, 3)
    assert set(deep.ravel()) == {40000 // 257}


def test_the_command_writes_a_page_and_can_be_repeated(tmp_path, capsys):
    settings = See(CONVNET, out=tmp_path / "out", size=(24, 24), neurons=2)
    run(settings)
    assert "report.html" in capsys.readouterr().out
    command = command_of(settings)
    assert command == f"sightline see '{CONVNET}' --size 24 24 --neurons 2 --out {tmp_path / 'out'}"
    assert "sightline see" in (tmp_path / "out" / "report.html").read_text()


def test_bad_layers_and_counts_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="unknown layer '1x': did you mean '1'"):
        see(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)), None, tmp_path, size=(8, 8), layer="1x")
    with pytest.raises(ValueError, match="at least 1 row of neurons"):
        see(nn.Conv2d(3, 2, 1), None, tmp_path, size=(8, 8), neurons=0)
    with pytest.raises(FileNotFoundError, match="there is no folder of images"):
        see(nn.Conv2d(3, 2, 1), None, tmp_path, size=(8, 8), images=tmp_path / "none")
