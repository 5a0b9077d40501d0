"""What a policy reads of an observation, number by number, against loops over single observations."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from sightline.rl.policies.body import Body, image_channels, is_image, make_mlp, mask_of, parts_of

FLOAT, BYTE = np.float32, np.uint8


def box(*shape: int, dtype: Any = FLOAT) -> spaces.Box:
    return spaces.Box(0, 255 if dtype == BYTE else 1, shape, dtype)


def batch(samples: list[Any]) -> Any:
    if isinstance(samples[0], dict):
        return {key: batch([one[key] for one in samples]) for key in samples[0]}
    if isinstance(samples[0], tuple):
        return tuple(batch(list(parts)) for parts in zip(*samples, strict=True))
    return torch.from_numpy(np.stack([np.asarray(one) for one in samples]))


def some(space: spaces.Space[Any], n: int = 5) -> tuple[list[Any], Any]:
    space.seed(3)
    samples = [space.sample() for _ in range(n)]
    return samples, batch(samples)


def numbers(space: spaces.Space[Any], sample: Any) -> list[float]:
    """The features of one observation without images."""
    if isinstance(space, spaces.Dict):
        return [x for key, part in space.spaces.items() for x in numbers(part, sample[key])]
    if isinstance(space, spaces.Tuple):
        return [x for part, one in zip(space.spaces, sample, strict=True) for x in numbers(part, one)]
    if isinstance(space, spaces.Discrete):
        return [float(space.start + choice == sample) for choice in range(int(space.n))]
    if isinstance(space, spaces.MultiDiscrete):
        return [
            float(space.start[place] + choice == sample[place])
            for place in np.ndindex(*space.shape)
            for choice in range(space.nvec[place])
        ]
    return [float(np.float32(sample[place])) for place in np.ndindex(*(space.shape or ()))]


class Through(nn.Module):
    """An encoder that gives what it is given."""

    stride = 1

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.shift = nn.Parameter(torch.zeros(()))
        self.strides: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[1] == self.channels
        self.strides.append(image.stride())
        return image + self.shift


class Summed(Through):
    def summary(self, image: Tensor) -> Tensor:
        return image.sum((2, 3))


NUMBERS = {
    "no axes": box(),
    "one axis": box(3),
    "two axes": box(2, 3),
    "float64": box(3, dtype=np.float64),
    "bytes": box(4, dtype=BYTE),
    "whole numbers": spaces.Box(-5, 5, (2, 2), np.int64),
    "choice": spaces.Discrete(4),
    "choice from -2": spaces.Discrete(4, start=-2),
    "choices": spaces.MultiDiscrete([3, 1, 2]),
    "table of choices": spaces.MultiDiscrete([[3, 2], [1, 4]], start=[[5, -1], [0, 2]]),
    "bits": spaces.MultiBinary(3),
    "table of bits": spaces.MultiBinary([2, 2]),
    "tuple": spaces.Tuple([spaces.Discrete(3, start=1), box(2)]),
    "nested": spaces.Dict(
        b=spaces.Tuple([box(2, dtype=np.float64), spaces.Dict(z=spaces.Discrete(2), a=spaces.MultiBinary(2))]),
        a=box(1),
    ),
}


@pytest.mark.parametrize("space", NUMBERS.values(), ids=NUMBERS.keys())
def test_numbers_are_read_as_they_are_and_choices_as_indicators(space: spaces.Space[Any]) -> None:
    samples, observation = some(space)
    body = Body(space, hidden=())
    features = body(observation)
    assert features.dtype == torch.float32
    np.testing.assert_array_equal(features.numpy(), np.array([numbers(space, one) for one in samples], FLOAT))
    assert body.width == features.shape[1]
    assert Body(space, hidden=(7, 5))(observation).shape == (5, 5)


def test_a_mask_of_actions_is_no_feature_but_one_deeper_down_is() -> None:
    inner = spaces.Dict(action_mask=spaces.MultiBinary(2), x=box(1))
    space = spaces.Dict(action_mask=spaces.MultiBinary(4), rest=inner)
    samples, observation = some(space)
    expected = np.array([numbers(inner, one["rest"]) for one in samples], FLOAT)
    np.testing.assert_array_equal(Body(space, hidden=())(observation).numpy(), expected)


def test_a_mask_that_forbids_everything_allows_everything() -> None:
    mask = torch.tensor([[[0, 1], [0, 0]], [[0, 0], [0, 0]]], dtype=torch.int8)
    found = mask_of({"action_mask": mask})
    assert found is not None
    assert found.tolist() == [[False, True, False, False], [True] * 4]
    assert mask_of({"x": mask}) is None
    assert mask_of(mask) is None


IMAGES = [  # shape, whether channels come last, channels of the encoder's image
    ((5, 4, 3), True, 3),
    ((3, 5, 4), False, 3),
    ((4, 7, 4), True, 4),  # equal outer axes: last
    ((6, 9, 1), True, 1),
    ((1, 6, 9), False, 1),
    ((2, 5, 4, 3), True, 6),
    ((2, 3, 5, 4), False, 6),
    ((4, 6, 6, 1), True, 4),
]


@pytest.mark.parametrize(("shape", "last", "channels"), IMAGES)
@pytest.mark.parametrize("dtype", [BYTE, FLOAT, np.float64])
def test_images_have_their_channels_first(shape: tuple[int, ...], last: bool, channels: int, dtype: Any) -> None:
    space = box(*shape, dtype=dtype)
    samples, observation = some(space)
    encoder = Through(channels)
    assert image_channels(space) == channels
    assert is_image(space)
    body = Body(space, hidden=(), encoder=encoder)
    height, width = (shape[-3], shape[-2]) if last else (shape[-2], shape[-1])
    frames = shape[0] if len(shape) == 4 else 1
    expected = np.zeros((5, channels, height, width))
    for n, sample in enumerate(samples):
        frame_list = sample if len(shape) == 4 else [sample]
        for k in range(frames):
            for c in range(channels // frames):
                for y in range(height):
                    for x in range(width):
                        value = frame_list[k][y, x, c] if last else frame_list[k][c, y, x]
                        expected[n, k * (channels // frames) + c, y, x] = value / 255 if dtype == BYTE else value
    found = body(observation).detach().numpy()
    np.testing.assert_allclose(found, expected.reshape(5, -1), rtol=1e-6)
    if len(shape) == 3 and last and channels > 1:
        assert encoder.strides[-1][1] == 1, "channels stay last in memory"


def test_an_image_beside_numbers_and_each_image_its_own_encoder() -> None:
    space = spaces.Dict(eye=box(3, 4, 2, dtype=BYTE), near=box(2), side=box(5, 4, 2))
    samples, observation = some(space)
    body = Body(space, hidden=(), encoder=Through(2))
    first, second = body.encoders
    assert first is not second
    with torch.no_grad():
        second.shift += 10
    expected = [
        [
            *one["near"],
            *(one["eye"].astype(FLOAT) / 255).transpose(2, 0, 1).ravel(),
            *(one["side"] + 10).transpose(2, 0, 1).ravel(),
        ]
        for one in samples
    ]
    np.testing.assert_allclose(body(observation).detach().numpy(), np.array(expected, FLOAT), rtol=1e-6)


def test_what_of_a_map_is_read() -> None:
    space = box(3, 5, 4)
    samples, observation = some(space)
    images = np.stack(samples)
    for pool, encoder, expected in [
        ("flatten", Through(3), images.reshape(5, -1)),
        ("max", Summed(3), images.max((2, 3))),
        ("mean", Summed(3), images.mean((2, 3))),
        ("summary", Summed(3), images.sum((2, 3))),
        ("summary", Through(3), images.mean((2, 3))),  # it has none: the mean stands for it
    ]:
        found = Body(space, hidden=(), encoder=encoder, pool=pool)(observation)
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-5)


def test_measuring_an_encoder_leaves_it_as_it_was() -> None:
    class Normed(Through):
        def __init__(self) -> None:
            super().__init__(3)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, image: Tensor) -> Tensor:
            return self.norm(image + 1)

    encoder = Normed()
    Body(box(3, 5, 4), encoder=encoder)
    assert encoder.training
    assert int(encoder.norm.num_batches_tracked) == 0


def test_layers_begin_orthogonal() -> None:
    mlp = make_mlp(6, (4, 8), "relu")
    assert [type(layer).__name__ for layer in mlp] == ["Linear", "ReLU", "Linear", "ReLU"]
    for layer in mlp[::2]:
        weight = layer.weight.detach()
        rows = weight if weight.shape[0] <= weight.shape[1] else weight.T
        torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(len(rows)))
        assert not layer.bias.any()
    kinds = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
    for name, kind in kinds.items():
        assert isinstance(make_mlp(2, (3,), name)[1], kind)


@pytest.mark.parametrize(
    ("space", "settings", "says"),
    [
        (spaces.Text(3), {}, r"^no policy reads the observation space Text.* Tuple of them are served; wrap the env"),
        (
            spaces.Dict(a=spaces.Tuple([box(1), spaces.Text(3)])),
            {},
            r"^no policy reads the observation space\['a'\]\[1\] Text",
        ),
        (box(2, 2, 2, 2, 2), {}, r"^no policy reads the observation space Box\(0.0, 1.0, \(2, 2, 2, 2, 2\)"),
        (box(0), {}, r"^no policy reads the observation space Box\(.*\(0,\)"),
        (spaces.Dict(action_mask=spaces.MultiBinary(3)), {}, r"^the observation space Dict.* holds nothing to read"),
        (box(5, 4, 3), {}, r"^the observation has an image, \(5, 4, 3\): give an encoder \(--encoder\)"),
        (box(3), {"encoder": Through(3)}, r"^an encoder reads images and the observation space Box.* has none: leave"),
        (box(3), {"pool": "maximum"}, r"^unknown pool 'maximum'"),
        (box(3), {"activation": "tan"}, r"^unknown activation 'tan': did you mean 'tanh'\?"),
        (box(3), {"hidden": (8, 0)}, r"^a hidden layer has 1 unit or more, got widths \[8, 0\]"),
    ],
)
def test_what_does_not_fit(space: spaces.Space[Any], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Body(space, **settings)


def test_parts_are_named_by_their_path() -> None:
    space = spaces.Dict(b=spaces.Tuple([box(1), spaces.Discrete(2)]), a=box(3, 3, 3))
    assert [path for path, _ in parts_of(space)] == [("b", 0), ("b", 1), ("a",)]


@pytest.mark.parametrize("shape", [(3, 9, 9), (9, 9, 3)])
def test_convolutions_compute_with_channels_last(shape: tuple[int, ...]) -> None:
    body = Body(spaces.Box(0, 255, shape, np.uint8), encoder=nn.Conv2d(3, 5, 3))
    (encoder,) = body.encoders
    assert encoder.weight.is_contiguous(memory_format=torch.channels_last)
    seen: list[Tensor] = []
    encoder.register_forward_hook(lambda module, inputs, out: seen.append(out))
    body(torch.zeros(2, *shape, dtype=torch.uint8))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_bytes_are_centred_if_asked_and_numbers_are_not() -> None:
    class Seen(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image

    rows = torch.tensor([[0, 51, 255]], dtype=torch.uint8).reshape(1, 1, 3, 1)
    for dtype, centred, wanted in (
        (BYTE, False, [0.0, 0.2, 1.0]),
        (BYTE, True, [-1.0, -0.6, 1.0]),
        (FLOAT, True, [0.0, 51.0, 255.0]),
    ):
        space = spaces.Box(0, 255, (1, 3, 1), dtype)
        body = Body(space, hidden=(), encoder=Seen(), centred=centred)
        torch.testing.assert_close(
            body(rows.to(torch.uint8 if dtype == BYTE else torch.float32)).flatten(), torch.tensor(wanted)
        )
