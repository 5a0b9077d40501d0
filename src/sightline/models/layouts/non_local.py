"""Non-local blocks: AlexHex7's, whose names are ours, and mmcv's.

    AlexHex7:  g[.0] theta phi[.0] W.0 W.1 | W  concat_project.0.weight      (".0" where sub-sampled)
    mmcv:      g[.0].conv theta.conv phi[.0].conv conv_out.conv [conv_out.bn] concat_project.conv.weight

mmcv divides the scores of the embedded Gaussian by the square root of their width (`use_scale`, on unless its config
says otherwise), AlexHex7 does not. Neither file says whether it is an embedded Gaussian or a dot product.

Left out: the authors' Caffe2 files.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sightline.models.layouts.draft import Draft, Translation


def is_alexhex7_non_local(names: Mapping[str, Tensor]) -> bool:
    """Whether these are AlexHex7's names of one block."""
    return ("g.weight" in names or "g.0.weight" in names) and ("W.weight" in names or "W.0.weight" in names)


def is_mmcv_non_local(names: Mapping[str, Tensor]) -> bool:
    """Whether these are mmcv's names of one block."""
    return ("g.conv.weight" in names or "g.0.conv.weight" in names) and "conv_out.conv.weight" in names


def from_alexhex7_non_local(state: Mapping[str, Tensor]) -> Translation:
    """A block of AlexHex7/Non-local_pytorch."""
    needs = {**_needs(state), "scale": "none", "pool": "after", "norm": "batch" if "W.1.weight" in state else "none"}
    return Draft(state).finish("AlexHex7's non-local block", "non_local", needs=needs)


def from_mmcv_non_local(state: Mapping[str, Tensor]) -> Translation:
    """A block of mmcv."""
    draft, norm = Draft(state), "conv_out.bn.weight" in state
    for name in state:
        here = re.sub(r"^conv_out\.conv\.", "W.0." if norm else "W.", name)
        here = re.sub(r"^conv_out\.bn\.", "W.1.", here)
        here = re.sub(r"^concat_project\.conv\.", "concat_project.0.", here)
        draft.move(name, re.sub(r"^(g|theta|phi)((?:\.0)?)\.conv\.", r"\1\2.", here))
    if norm and "W.0.bias" not in draft.state:
        weight = draft.state["W.0.weight"]
        draft.put("W.0.bias", weight.new_zeros(len(weight)), done="zeros: no bias stands before the file's norm")
    needs = {**_needs(draft.state), "pool": "after", "norm": "batch" if norm else "none"}
    # The only pairwise function that mmcv scales; which of two this is the network says, see `needs`.
    scaled = "embedded_gaussian" in needs["pairwise"] and not isinstance(needs["pairwise"], str)
    needs["scale"] = {"embedded_gaussian": "inverse_sqrt", "dot_product": "none"} if scaled else "none"
    return draft.finish("mmcv's non-local block", "non_local", needs=needs)


def _needs(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the names themselves say, in the manner of AlexHex7."""
    pairwise: Any = ("embedded_gaussian", "dot_product")
    if "concat_project.0.weight" in state:
        pairwise = "concatenation"
    elif not any(name.startswith("theta") for name in state):
        pairwise = "gaussian"
    dimensions = state["g.0.weight" if "g.0.weight" in state else "g.weight"].dim() - 2
    return {"pairwise": pairwise, "dimensions": dimensions, "subsample": 2 if "g.0.weight" in state else 1}
