"""Does a data set keep the contract (`examples.py`)? If not, one sentence says where it does not.

Left out: whether the files are whole and the labels in range everywhere; `inspect` reads all of them.
"""

import pickle

import torch
from torch import Tensor

from sightline.ops.arguments import choose
from sightline.vision.data.examples import Example, Examples


def check_examples(examples: Examples, most: int = 16) -> None:
    """Look at some examples, twice, and at a pickled copy.

    Args:
        examples: any object.
        most: how many examples to look at, spread over all.

    Raises:
        TypeError: something is missing, or of another type than the contract says.
        ValueError: an example is not what the contract says; the sentence names it.
    """
    for name in ("task", "classes", "ignore", "name", "__len__", "__getitem__"):
        if not hasattr(examples, name):
            raise TypeError(f"a data set has {name}, and this {type(examples).__name__} has not")
    choose("task", examples.task, ("segment", "classify"))
    classes = examples.classes
    if not isinstance(classes, tuple) or not classes or not all(isinstance(name, str) for name in classes):
        raise TypeError(f"classes are a tuple of names, got {classes!r}")
    if len(set(classes)) < len(classes):
        raise ValueError(f"every class has a name of its own, got {', '.join(classes)}")
    if not isinstance(examples.ignore, int):
        raise TypeError(f"ignore is the label of what does not count, a whole number, got {examples.ignore!r}")
    count = len(examples)
    if count < 1:
        raise ValueError("there is no example")
    _check_end(examples, count)
    spread = sorted({round(step * (count - 1) / max(most - 1, 1)) for step in range(most)})
    copy = _copied(examples)
    names: dict[str, int] = {}
    for index in spread:
        example = examples[index]
        _check_example(examples, example, index)
        name = examples.name(index)
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name of example {index} is text, got {name!r}")
        if names.setdefault(name, index) != index:
            raise ValueError(f"examples {names[name]} and {index} have one name, '{name}': give each its own")
        if not _same(example, examples[index]):
            raise ValueError(f"example {index} differs from one look to the next: draw what is random from its number")
        if not _same(example, copy[index]):
            raise ValueError(f"example {index} differs in a pickled copy: what it depends on must travel with it")


def _check_end(examples: Examples, count: int) -> None:
    try:
        examples[count]
    except IndexError:
        return
    raise ValueError(f"there are {count} examples, and number {count} raises no IndexError: a loop would never end")


def _copied(examples: Examples) -> Examples:
    try:
        return pickle.loads(pickle.dumps(examples))
    except Exception as error:  # whatever an object's own pickling raises
        raise TypeError(f"the data set cannot be pickled, so no other process can read it: {error}") from error


def _check_example(examples: Examples, example: object, index: int) -> None:
    if not isinstance(example, Example):
        raise TypeError(f"example {index} is an Example(image, target), got a {type(example).__name__}")
    image, target = example
    for what, tensor, dtype in (("image", image, torch.uint8), ("target", target, torch.int64)):
        if not isinstance(tensor, Tensor) or tensor.dtype != dtype:
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"the {what} of example {index} is a tensor of {dtype}, got {got}")
    if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        raise ValueError(f"the image of example {index} is [3, h, w], got {tuple(image.shape)}")
    shape = image.shape[1:] if examples.task == "segment" else ()
    if target.shape != shape:
        raise ValueError(
            f"the target of example {index} is {list(shape)} to {examples.task}, got {list(target.shape)}"
            + (" for an image of another size" if examples.task == "segment" and target.ndim == 2 else "")
        )
    labelled = target[target != examples.ignore] if examples.task == "segment" else target.reshape(1)
    if len(labelled) and (int(labelled.min()) < 0 or int(labelled.max()) >= len(examples.classes)):
        raise ValueError(
            f"example {index} has classes from {int(labelled.min())} to {int(labelled.max())}, "
            f"and there are {len(examples.classes)}, numbered from 0"
        )


def _same(one: Example, other: Example) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.target, other.target)
