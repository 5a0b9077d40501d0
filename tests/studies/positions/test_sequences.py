"""Sequences by plain loops, and transformers whose places see nothing after themselves."""

import pytest
import torch

from sightline.studies.positions import sequences
from sightline.studies.positions.sequences import BACK, NONE, SCHEMES, SequenceNetwork


def test_answers_are_what_stood_before_and_what_came_first() -> None:
    drawn = sequences.draw(5, 9, torch.Generator().manual_seed(0))
    for b in range(5):
        for place in range(9):
            back, first = drawn.label[b, place].tolist()
            assert back == (drawn.token[b, place - BACK] if place >= BACK else NONE)
            assert first == drawn.token[b, 0]
    with pytest.raises(ValueError, match="more than 3 tokens, got 3"):
        sequences.draw(1, 3, torch.Generator())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_place_sees_what_comes_after_it(scheme: str) -> None:
    network = SequenceNetwork(scheme, 8).double().eval()
    for length in (8, 20):
        token = torch.randint(sequences.VOCABULARY, (1, length))
        other = token.clone()
        other[0, 5] = (token[0, 5] + 1) % sequences.VOCABULARY
        with torch.no_grad():
            one, two = network(token), network(other)
        assert one.shape == (1, length, 2, sequences.VOCABULARY)
        assert one[:, :5].equal(two[:, :5])
        assert ((one != two).any((2, 3))[0, 5:]).all()


def test_encodings_differ_in_what_they_add() -> None:
    token = torch.randint(sequences.VOCABULARY, (2, 12))
    outs = []
    for scheme in SCHEMES:
        torch.manual_seed(0)
        outs.append(SequenceNetwork(scheme, 12).eval()(token))
    for i, one in enumerate(outs):
        for other in outs[:i]:
            assert (one - other).abs().max() > 1e-6


def test_the_learned_table_is_stretched() -> None:
    network = SequenceNetwork("learned", 8)
    torch.testing.assert_close(network.positions(8), network.table)
    assert network.positions(32).shape == (32, sequences.WIDTH)
    assert SequenceNetwork("none", 8).positions(32) is None
    assert SequenceNetwork("rotary", 8).positions(32) is None
