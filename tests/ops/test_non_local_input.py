"""Bad input to non-local attention is said in one sentence, and each sentence says what to do."""

import re
from collections.abc import Iterator

import jaxtyping
import pytest
import torch
from torch import Tensor

from sightline.ops.non_local import BACKENDS, non_local_attention, why_not


@pytest.fixture(autouse=True)
def _as_users_run_it() -> Iterator[None]:
    """The shape checks of the tests would complain first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def given(**changed: object) -> dict:
    return {
        "query": torch.randn(2, 3, 4, 5),
        "key": torch.randn(2, 3, 2, 2),
        "value": torch.randn(2, 6, 2, 2),
        **changed,
    }


def of(*size: int) -> Tensor:
    return torch.zeros(*size)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"query": of(2, 3)}, r"one to three axes.*query \(2, 3\).*reshape"),
        ({"query": of(2, 3, 4)}, r"all of one rank.*query \(2, 3, 4\), key \(2, 3, 2, 2\)"),
        ({"value": of(1, 6, 2, 2)}, r"one batch size.*value \(1, 6, 2, 2\): expand"),
        ({"query": of(2, 4, 4, 5)}, r"equally many channels.*query \(2, 4, 4, 5\).*project"),
        ({"value": of(2, 6, 4, 5)}, r"same positions.*sub-sample both"),
        ({"mask": torch.ones(2, 4, 5, dtype=torch.bool)}, r"bool and of shape \(2, 2, 2\).*got torch.bool \(2, 4, 5\)"),
        ({"mask": of(2, 2, 2)}, r"bool and of shape \(2, 2, 2\).*got torch.float32"),
        ({"pairwise": "dotproduct"}, "unknown pairwise function 'dotproduct': did you mean 'dot_product'"),
        ({"pairwise": "concatenation"}, "one channel, the a and b.*project each"),
        ({"backend": "torc"}, "unknown backend 'torc': did you mean 'torch'"),
        ({"query": torch.zeros(2, 3, 4, 5, dtype=torch.long)}, "floating-point maps, got query torch.int64.*convert"),
        ({"query": of(2, 3, 4, 5).to("meta")}, "one device, got query on meta, key on cpu.*move them"),
    ],
)
def test_one_sentence(changed: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        non_local_attention(**given(**changed))
    assert "\n" not in str(caught.value)


def test_concatenation_has_no_scale() -> None:
    with pytest.raises(ValueError, match=r"no scale, got 0.5: leave it at 1.0"):
        non_local_attention(of(1, 1, 3), of(1, 1, 3), of(1, 2, 3), pairwise="concatenation", scale=0.5)


def test_a_backend_that_cannot_serve_says_why() -> None:
    small = [of(1, 1, 3).to(torch.float8_e5m2) for _ in range(3)]
    assert why_not("torch", "softmax", of(1, 1, 3), of(1, 2, 3)) is None
    with pytest.raises(ValueError, match=r"backend 'torch' cannot serve non_local_attention: .* got torch.float8_e5m2"):
        non_local_attention(*small, backend="torch")


@pytest.mark.parametrize(
    ("pairwise", "query", "value", "words"),
    [
        ("softmax", of(1, 3, 4), of(1, 3, 4), None),
        ("softmax", of(1, 3, 4), of(1, 6, 4), "on cpu .* one width, got 3 and 6"),
        ("dot_product", of(1, 3, 4), of(1, 3, 4), "softmax alone, got pairwise function 'dot_product'"),
        ("softmax", of(1, 3, 4).to(torch.float8_e5m2), of(1, 3, 4), "on cpu it computes in .*got torch.float8_e5m2"),
        ("softmax", of(1, 3, 4).to("meta"), of(1, 3, 4).to("meta"), "kernels for cpu and cuda, got tensors on meta"),
    ],
)
def test_why_the_fused_kernels_cannot_serve(pairwise: str, query: Tensor, value: Tensor, words: str | None) -> None:
    reason = why_not("fused", pairwise, query, value)
    if words is None:
        assert reason is None
        return
    assert re.search(words, str(reason))
    key = torch.zeros_like(query)
    if value.dtype == query.dtype:
        with pytest.raises(ValueError, match=f"backend 'fused' cannot serve non_local_attention: .*{words}") as caught:
            non_local_attention(query, key, value, pairwise=pairwise, backend="fused")
        assert "\n" not in str(caught.value)


def test_where_fused_cannot_serve_auto_does() -> None:
    maps = given()
    torch.testing.assert_close(non_local_attention(**maps), non_local_attention(**maps, backend="reference"))


@pytest.mark.parametrize("pairwise", ["softmax", "dot_product"])
def test_every_backend_answers_alike(pairwise: str) -> None:
    maps = given(value=torch.randn(2, 3, 2, 2))
    able = [name for name in BACKENDS if why_not(name, pairwise, maps["query"], maps["value"]) is None]
    assert len(able) == (3 if pairwise == "softmax" else 2)
    results = [non_local_attention(**maps, pairwise=pairwise, backend=backend) for backend in ("auto", *able)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0])
