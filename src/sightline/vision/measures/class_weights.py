"""What a pixel of each class weighs in a loss, from how often the class is in the data.

Losses divide by the sum of the weights, so only ratios matter. Left out: weights by the effective number of samples.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from sightline.ops.arguments import choose


def class_weights(
    counts: Int[Tensor, "k"] | Int[Tensor, "images k"],
    how: str = "enet",
    *,
    absent: float | None = None,
    names: Sequence[str] | None = None,
) -> Float[Tensor, "k"]:
    """A weight for each class, the larger the rarer it is.

    With n_c pixels of class c among n:

    - "inverse": n / (k n_c), scikit-learn's "balanced";
    - "median_frequency": median(f) / f_c, f_c being n_c over all pixels of the images that have the class (Eigen and
      Fergus, 2015, https://arxiv.org/abs/1411.4734); it needs the counts per image;
    - "enet": 1 / ln(1.02 + n_c / n) (Paszke et al., 2016, https://arxiv.org/abs/1606.02147), from 1.4 to 50.5.

    Args:
        counts: Pixels of each class, in all or per image.
        how: One of the three.
        absent: The weight of a class that has no pixel, for which the formulas have none.
        names: The classes' names, for the message.

    Raises:
        ValueError: an unknown way, counts of the wrong kind, or a class without pixels and no `absent`.
    """
    choose("way to weigh classes", how, ("inverse", "median_frequency", "enet"))
    pixels = (counts.sum(0) if counts.ndim == 2 else counts).double()
    there = pixels > 0
    if absent is None and not there.all():
        missing = ", ".join(names[c] if names else str(c) for c in (~there).nonzero()[:, 0].tolist())
        raise ValueError(
            f"a weight was asked for every class, but no pixel of the data is of class {missing}: leave such classes "
            f"out, or give their weight as absent= (0: they teach nothing)"
        )
    if how == "inverse":
        weight = pixels.sum() / (len(pixels) * pixels)
    elif how == "enet":
        weight = 1 / (1.02 + pixels / pixels.sum()).log()
    elif counts.ndim == 1:
        raise ValueError(
            f"median_frequency needs the pixels of each class in each image, [images, classes], got one count for "
            f"each of {len(counts)} classes: count per image, or ask for 'inverse' or 'enet'"
        )
    else:
        frequency = pixels / (counts.sum(1, keepdim=True) * (counts > 0)).sum(0)
        # The mean of the middle two where there are as many above as below, which PyTorch's median is not.
        weight = frequency[there].quantile(0.5) / frequency if there.any() else frequency
    return weight.where(there, 0.0 if absent is None else absent).float()
