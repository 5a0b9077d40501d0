"""A ResNet with non-local blocks (Wang et al., 2018, https://arxiv.org/abs/1711.07971, section 4), for images.

The blocks are kept beside the ResNet, not inside its stages, so that trained weights of the plain network load into
`resnet` unchanged; every new block starts as the identity, so that the network then begins as the one that was trained.

Left out: time. The paper's networks are for video (C2D, I3D); `NonLocal(dimensions=3)` is the block they use.
"""

from jaxtyping import Float
from torch import Tensor, nn

from sightline.layers.non_local import NonLocal
from sightline.models.resnet import ResNet


def placement(resnet: ResNet, count: int) -> list[tuple[int, int]]:
    """After which residual blocks the paper puts 1, 5 or 10 non-local blocks: `(stage, block)`, both from 0.

    One: before the last block of res4. Five: after every other block of res3 and res4. Ten: after every one of them.
    Five and ten are the paper's for a ResNet-50; for other depths give the places yourself.

    Raises:
        ValueError: another count, or a ResNet that has not as many such blocks.
    """
    sizes = {stage: len(resnet.stages[stage]) for stage in (1, 2)}
    if count == 1:
        return [(2, max(sizes[2] - 2, 0))]
    every = {5: 2, 10: 1}.get(count)
    places = [] if every is None else [(s, b) for s, n in sizes.items() for b in range(n) if b % every == every - 1]
    if len(places) != count:
        raise ValueError(
            f"the paper puts 1, 5 or 10 non-local blocks into a ResNet-50, asked for {count} where res3 and res4 have"
            f" {sizes[1]} and {sizes[2]} blocks: give the places as (stage, block)"
        )
    return places


class NonLocalNet(nn.Module):
    """A ResNet and the non-local blocks after some of its residual blocks: an encoder like the ResNet itself.

    Args:
        resnet: the network to put them into; it is used, not copied. Where it was built with `recompute`, the non-local
            blocks are run again in the backward pass, too.
        blocks: 1, 5 or 10 as in the paper, or the places `(stage, block)` after which to put one.
        pairwise: as in `layers.non_local.NonLocal`, and so are the others.
        subsample: as there; the paper's larger networks use 2.
        pool: as there.
        scale: as there.
        zero_initialised: as there; **with it a new block changes nothing yet**.
    """

    def __init__(
        self,
        resnet: ResNet,
        blocks: int | list[tuple[int, int]] = 1,
        *,
        pairwise: str = "embedded_gaussian",
        subsample: int = 1,
        pool: str = "after",
        scale: str = "none",
        zero_initialised: bool = True,
    ) -> None:
        super().__init__()
        self.resnet, self.channels, self.stride = resnet, resnet.channels, resnet.stride
        self.places = placement(resnet, blocks) if isinstance(blocks, int) else blocks
        self.non_local = nn.ModuleDict()
        for stage, block in self.places:
            if not (0 <= stage < 4 and 0 <= block < len(resnet.stages[stage])):
                raise ValueError(f"this ResNet has no block {block} in stage {stage}, counted from 0")
            self.non_local[f"layer{stage + 1}_{block}"] = NonLocal(
                resnet.widths[stage],
                pairwise,
                subsample=subsample,
                pool=pool,
                scale=scale,
                zero_initialised=zero_initialised,
            )

    def maps(self, image: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """The maps of the four stages."""
        return [x for x, _ in self._run(image)]

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels y x"]:
        """The map of the last stage."""
        return self.maps(image)[-1]

    def _run(self, image: Tensor) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """For every stage its map, and what entered each of its non-local blocks."""
        x, out = self.resnet.stem(image), []
        for stage, blocks in enumerate(self.resnet.stages, 1):
            entered = {}
            for i, block in enumerate(blocks):
                x = self.resnet.run(block, x)
                name = f"layer{stage}_{i}"
                if name in self.non_local:
                    entered[name] = x
                    x = self.resnet.run(self.non_local[name], x)
            out.append((x, entered))
        return out

    def weights(
        self, image: Float[Tensor, "b c h w"], query: tuple[int, int], *, block: int = -1
    ) -> Float[Tensor, "b y x"]:
        """Where one position of a non-local block's map looks; the blocks are counted as they are passed."""
        entered = {name: x for _, some in self._run(image) for name, x in some.items()}
        name = list(entered)[block]
        layer = self.non_local[name]
        assert isinstance(layer, NonLocal)
        return layer.weights(entered[name], query)
