"""The gaze equals the attention that is computed by hand, for every encoder that attends, and none else has one."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from tests.play.made_up_agent import OwnEncoder

from sightline.layers.criss_cross import CrissCross
from sightline.play.gaze import gaze_of, gaze_of_encoder, half_cells
from sightline.rl.policies.body import Body, as_image
from sightline.rl.policies.encoders import build_encoder

BOARD = spaces.Box(0, 255, (10, 5, 1), np.uint8)


def body(encoder: torch.nn.Module, pool: str = "flatten", space: spaces.Space = BOARD) -> Body:
    return Body(space, hidden=(4,), encoder=encoder, pool=pool)


def board() -> torch.Tensor:
    return torch.randint(0, 256, (1, 10, 5, 1), dtype=torch.uint8)


def test_a_non_local_layer_gives_its_column_mean() -> None:
    made = body(build_encoder("non-local", BOARD, 1)).eval()
    seen = board()
    gaze = gaze_of(made, seen)
    assert gaze is not None
    network = made.encoders[0]
    with torch.no_grad():
        x = network.join(network.coordinates(network.stem(as_image(seen, BOARD))))
        rows = [network.attention.weights(x, (y, c))[0].reshape(-1, 50).mean(0) for y in range(10) for c in range(5)]
    np.testing.assert_allclose(gaze.weights, torch.stack(rows).mean(0).reshape(10, 5).numpy(), rtol=1e-4, atol=1e-7)
    assert gaze.weights.sum() == pytest.approx(1, abs=1e-5)
    assert gaze.even == 1 / 50
    assert (gaze.layer, gaze.asks) == ("attention", "the mean of all 50 positions")


def test_passes_of_criss_cross_count_as_one() -> None:
    made = body(build_encoder("criss-cross", BOARD, 1)).eval()
    seen = board()
    gaze = gaze_of(made, seen)
    assert gaze is not None
    network = made.encoders[0]
    (layer,) = [one for one in network.modules() if isinstance(one, CrissCross)]
    tables = []
    with torch.no_grad():
        x = network.join(network.coordinates(network.stem(as_image(seen, BOARD))))
        for _ in range(2):
            rows = [layer.weights(x, (y, c))[0].reshape(-1, 50).mean(0) for y in range(10) for c in range(5)]
            tables.append(torch.stack(rows))
            x = layer(x)
    whole = torch.full((50,), 1 / 50) @ tables[1] @ tables[0]
    np.testing.assert_allclose(gaze.weights.ravel(), whole.numpy(), rtol=1e-4, atol=1e-7)
    assert not np.allclose(gaze.weights.ravel(), tables[1].mean(0).numpy(), rtol=1e-3)


@pytest.mark.parametrize("pool", ["summary", "flatten"])
def test_a_summary_is_the_class_tokens_look(pool: str) -> None:
    made = body(build_encoder("vit", BOARD, 1), pool).eval()
    seen = board()
    gaze = gaze_of(made, seen)
    assert gaze is not None
    network = made.encoders[0]
    tables = []
    blocks = [one for one in network.modules() if type(one).__name__ == "MultiHeadAttention"]
    keep = blocks[-1].register_forward_pre_hook(
        lambda module, given: tables.append((module, given[0].detach().clone()))
    )
    with torch.no_grad():
        network(as_image(seen, BOARD))
        keep.remove()
        module, tokens = tables[-1]
        count = tokens.shape[1]
        whole = torch.stack([module.weights(tokens, query)[0].mean(0) for query in range(count)])
    prefix = network.prefix
    assert gaze.even == pytest.approx(1 / count)
    if pool == "summary" and prefix:
        expected = whole[0, prefix:]
        assert gaze.asks == "the class token"
    else:
        expected = whole[prefix:, prefix:].mean(0)
        assert gaze.asks == f"the mean of all {count - prefix} positions"
    np.testing.assert_allclose(gaze.weights.ravel(), expected.numpy(), rtol=1e-4, atol=1e-7)


def test_an_encoder_of_ones_own_is_found_by_watching_it() -> None:
    made = body(OwnEncoder()).eval()
    seen = board()
    gaze = gaze_of(made, seen)
    assert gaze is not None
    network = made.encoders[0]
    with torch.no_grad():
        tokens = network.join(as_image(seen, BOARD)).flatten(2).mT[0]
        table = (tokens @ network.key(tokens).T).softmax(-1)
    np.testing.assert_allclose(gaze.weights.ravel(), table.mean(0).numpy(), rtol=1e-4, atol=1e-7)


def test_who_does_not_attend_has_no_gaze() -> None:
    assert gaze_of(body(build_encoder("convolution", BOARD, 1)).eval(), board()) is None
    assert gaze_of(Body(spaces.Box(-1, 1, (3,), np.float32)), torch.zeros(1, 3)) is None


def test_half_of_the_attention() -> None:
    assert half_cells(np.full((2, 5), 0.1)) == 5
    assert half_cells(np.array([[0.5, 0.25], [0.25, 0.0]])) == 1
    assert half_cells(np.array([[0.1, 0.1], [0.06, 0.04]])) == 2  # of what lies on the image


def test_a_summary_that_is_no_method_is_not_asked() -> None:
    network = OwnEncoder()
    gaze = gaze_of_encoder(network, torch.rand(1, 1, 10, 5), summary=True)
    assert gaze is not None
    assert gaze.asks == "the mean of all 50 positions"
