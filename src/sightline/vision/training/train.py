"""The training of a classifier or a segmenter: a learner, and a generator that takes one update after the other.

    learner = Learner(network, sgd_poly(steps=1000), task="segment", classes=len(examples.classes))
    for update in train(learner, examples, Augmentation(crop=(64, 64))):
        print(update.step, {name: float(loss) for name, loss in update.losses.items()})

Stopping, evaluating, writing and saving are the caller's (`loop.py` does it for the command). Whatever is random
in update n (order, crops, dropout, mixing) is a function of the seed, n and the process, which is why the global random
generators are seeded anew before every update: a learner whose states were put back goes on exactly from there, with
any number of loader processes. With several processes (`run/processes.py`) each has a share of every batch, gradients
are added up, and batch norms are over the joined batch.

Left out: schedules of anything but the rate, and communication while gradients are still being computed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from sightline.layers.synchronised_norm import synchronise_norms
from sightline.ops.arguments import choose
from sightline.run.checkpoint import Stateful
from sightline.run.device import choose_device, seed_everything
from sightline.run.processes import Processes, add_up, add_up_gradients, processes, spread
from sightline.vision.augmentation.augment import IMAGENET_MEAN, IMAGENET_STD, Augmentation, normalise
from sightline.vision.augmentation.mixing import mix
from sightline.vision.data.examples import IGNORE, Examples
from sightline.vision.training.average import WeightAverage
from sightline.vision.training.batches import Batch, batches, generator_of
from sightline.vision.training.objective import (
    Whole,
    amount_of,
    class_weights_of,
    cross_entropy_part,
    segmentation_parts,
)
from sightline.vision.training.recipes import Recipe, learning_rate_at, make_optimizer, set_rate

TASKS = ("segment", "classify")
Colour = tuple[float, float, float]


class Update(NamedTuple):
    """What one update did."""

    step: int  # updates done, this one included
    losses: dict[str, Tensor]  # by name, with their factors; this process's share of them, detached
    rate: float  # the learning rate
    stop: bool  # whether any process asked for an end


class Learner:
    """A network that learns, with all that changes while it does: optimiser, average and gradient scaler.

    The network is moved to the device; with several processes its batch norms are replaced by synchronised ones, and
    all start from the first one's weights.

    Args:
        network: Answers an image with logits, `[b, k, h, w]` or `[b, k]`. Where it has `answers(image)` with `logits`,
            `auxiliary` and `features`, as `Segmenter` has, that is asked in training.
        recipe: How.
        task: "segment" or "classify".
        classes: How many.
        ignore: The label that does not count.
        mean: Of red, green and blue, as `normalise` takes it.
        std: As well.
        device: Where.
        seed: Of all that is random in training. Weights are there already.
        channels_last: Whether channels lie beside each other in memory, which convolutions like best.

    Raises:
        ValueError: something that the device or the task cannot do.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        task: str,
        classes: int,
        ignore: int = IGNORE,
        mean: Colour = IMAGENET_MEAN,
        std: Colour = IMAGENET_STD,
        device: torch.device | str = "cpu",
        seed: int = 0,
        channels_last: bool = True,
    ) -> None:
        choose("task", task, TASKS)
        class_weights_of(recipe.losses, classes, torch.float64)
        if task == "segment" and recipe.mixes:
            raise ValueError("mixup and CutMix are for classification: masks are not mixed, leave them at 0")
        if recipe.mixes and recipe.losses.class_weights is not None:
            raise ValueError("class weights are for unmixed targets: leave out either them or mixup and CutMix")
        self.recipe, self.task, self.classes, self.ignore, self.seed = recipe, task, classes, ignore, seed
        self.mean, self.std, self.device = mean, std, torch.device(device)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.precision = precision_of(recipe.amp, self.device)
        if processes().count > 1:
            network = synchronise_norms(network)
        self.network = network.to(self.device, memory_format=self.format)  # type: ignore[call-overload]
        spread(self.network)
        self.optimizer = make_optimizer(self.network, recipe)
        self.average = None if recipe.average is None else WeightAverage(self.network, recipe.average)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)
        self.step = 0

    @property
    def best(self) -> nn.Module:
        """The network to be evaluated: the average where there is one."""
        return self.network if self.average is None else self.average.network

    @property
    def states(self) -> dict[str, Stateful]:
        """What a checkpoint holds beside the network's weights."""
        states: dict[str, Stateful] = {"optimizer": self.optimizer}
        if self.average is not None:
            states["average"] = self.average
        if self.scaler.is_enabled():
            states["scaler"] = self.scaler
        return states

    def images(self, image: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """What the network reads."""
        ready = normalise(image.to(self.device, non_blocking=True), self.mean, self.std)
        return ready.to(next(self.network.parameters()).dtype).contiguous(memory_format=self.format)

    def losses(self, batch: Batch, whole: Whole, mixing: torch.Generator) -> dict[str, Tensor]:
        """Forward: every loss of this part of a batch."""
        image = self.images(batch.image)
        target = batch.target.to(self.device, non_blocking=True).long()
        losses = self.recipe.losses
        if self.recipe.mixes:
            image, target = mix(
                image,
                target,
                classes=self.classes,
                mixup_alpha=self.recipe.mixup,
                cutmix_alpha=self.recipe.cutmix,
                generator=mixing,
            )
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            ask = getattr(self.network, "answers", None)
            answers = self.network(image) if ask is None or self.task == "classify" else ask(image)
        logits = answers if isinstance(answers, Tensor) else answers.logits
        self._check_logits(logits, target)
        if self.task == "classify":
            part = cross_entropy_part(logits, target, losses, whole, ignore=-1)  # no class of an image is left out
            return {"cross_entropy": part}
        return segmentation_parts(
            logits,
            None if isinstance(answers, Tensor) else answers.auxiliary,
            None if isinstance(answers, Tensor) else answers.features,
            target,
            losses,
            whole,
            ignore=self.ignore,
            align_corners=getattr(self.network, "align_corners", False),
        )

    def _check_logits(self, logits: Tensor, target: Tensor) -> None:
        pixels = tuple(target.shape[1:]) if self.task == "segment" else ()
        expected = (len(target), self.classes, *pixels)
        if tuple(logits.shape) != expected:
            raise ValueError(
                f"the network answers with shape {tuple(logits.shape)} where {expected} is needed to {self.task}"
            )


def precision_of(amp: str, device: torch.device) -> torch.dtype | None:
    """The type of automatic mixed precision on this device; None for none.

    Raises:
        ValueError: the device cannot train in it.
    """
    if amp == "none":
        return None
    if amp == "auto":
        return torch.float16 if device.type == "cuda" else torch.bfloat16
    if amp == "float16" and device.type != "cuda":
        raise ValueError(
            f"mixed precision in float16 was asked for on {device}: it is for CUDA, use bfloat16 or none (--amp)"
        )
    precision = torch.float16 if amp == "float16" else torch.bfloat16
    choose_device(str(device), precision)
    return precision


def train(
    learner: Learner,
    examples: Examples,
    augmentation: Augmentation,
    *,
    workers: int = 0,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Update]:
    """Update the learner from where it is to the end of its recipe; every row is one update.

    With several processes, all of them hear of a `stop` in the same update, and have it in their row.

    Raises:
        ValueError: broken data, a batch larger than the data, or a network that does not fit the task.
    """
    recipe, me = learner.recipe, processes()
    updates = range(learner.step, recipe.steps)
    read = batches(
        examples,
        augmentation,
        batch=recipe.batch,
        updates=updates,
        seed=learner.seed,
        accumulate=recipe.accumulate,
        processes=me,
        workers=workers,
        pin=learner.device.type == "cuda",
    )
    for update, parts in zip(updates, read, strict=True):
        learner.network.train()
        wholes, stopped = _agree(parts, recipe, me, stop())
        rate = learning_rate_at(recipe, update)
        set_rate(learner.optimizer, rate)
        learner.optimizer.zero_grad(set_to_none=True)
        mixing = generator_of(learner.seed, update, me.rank, 2)
        seed_everything(generator_of(learner.seed, update, me.rank, 3).initial_seed())
        sums: dict[str, Tensor] = {}
        for part, whole in zip(parts, wholes, strict=True):
            losses = learner.losses(part, whole, mixing)
            learner.scaler.scale(torch.stack(list(losses.values())).sum()).backward()
            sums = {name: loss.detach() + sums.get(name, 0.0) for name, loss in losses.items()}
        _take_step(learner)
        learner.step = update + 1
        yield Update(learner.step, sums, rate, stopped)


def _agree(parts: Sequence[Batch], recipe: Recipe, me: Processes, stop: bool) -> tuple[list[Whole], bool]:
    """What each part has to know of the whole batch; and whether any process wants to stop."""
    amounts = amount_of(torch.stack([part.counts for part in parts]), recipe.losses)
    told = add_up(torch.cat([amounts, amounts.new_tensor([float(stop)])])).tolist()
    amount = sum(told[:-1])
    shares = [one / amount if amount > 0 else 0.0 for one in told[:-1]]
    return [Whole(amount, each, recipe.accumulate, me.count) for each in shares], told[-1] > 0


def _take_step(learner: Learner) -> None:
    """One step of the optimiser with the gradients of all parts and processes, and the average behind it."""
    parameters = list(learner.network.parameters())
    add_up_gradients(parameters)
    learner.scaler.unscale_(learner.optimizer)
    if learner.recipe.clip is not None:
        torch.nn.utils.clip_grad_norm_(parameters, learner.recipe.clip)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    if learner.average is not None:
        learner.average.follow(learner.network)
