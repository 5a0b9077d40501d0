"""Exact receptive fields of any network, by watching the operations that run."""

from sightline.seeing.receptive.call import Call
from sightline.seeing.receptive.fields import Fields, LayerField, receptive_fields
from sightline.seeing.receptive.relations import Every, Same, Whole, Windows
from sightline.seeing.receptive.rules import register_rule

__all__ = ["Call", "Every", "Fields", "LayerField", "Same", "Whole", "Windows", "receptive_fields", "register_rule"]
