"""The table of rules, and how a custom operator gets one.

```python
from sightline.seeing.receptive import Same, register_rule

register_rule("mylib::my_relu", lambda call: [[(call["x"], call.same(call["x"]))]])
```

An operation without a rule counts as dense, and is named in the result.
"""

import torch

from sightline.seeing.receptive import rules_mixing, rules_movement, rules_windows
from sightline.seeing.receptive.call import Call, Rule
from sightline.seeing.receptive.rules_mixing import elementwise

_RULES: dict[str, Rule] = {**rules_windows.RULES, **rules_movement.RULES, **rules_mixing.RULES}


def register_rule(operator: str, rule: Rule) -> None:
    """Say how the outputs of a custom operator depend on its inputs.

    `operator` is its name in PyTorch, "namespace::name". `rule(call)` returns, for each output, a list of pairs of an
    input and its relation (`relations.py`), or None where it cannot tell. A later rule replaces an earlier one.

    Raises:
        ValueError: the name has no namespace.
    """
    if operator.count("::") != 1 or not all(operator.split("::")):
        raise ValueError(f'a rule belongs to an operator named "namespace::name", got {operator!r}')
    _RULES[operator] = rule


def rule_of(call: Call) -> Rule | None:
    """The rule of an operation: its own, that of its twin that writes nothing, or element by element."""
    name = call.name
    rule = _RULES.get(name)
    if rule is None and name.endswith("_") and call.mutates:
        rule = _RULES.get(name[:-1])
    if rule is None and torch.Tag.pointwise in call.function.tags:
        rule = elementwise
    return rule
