"""The batch of an update is a function of the seed and its number: every order, share and loader sees the same."""

import collections
import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from sightline.run.processes import Processes
from sightline.vision.augmentation.augment import Augmentation
from sightline.vision.augmentation.prepare import Preparation
from sightline.vision.data.examples import Example
from sightline.vision.training.batches import Batch, batches, check_batch, join, order_of, places_of, prepared, share

AUGMENTATION = Augmentation(crop=(6, 6))


@dataclasses.dataclass(frozen=True)
class Noise:
    """Images and masks of noise; at module level, as loader processes need it."""

    count: int = 7
    broken: int = -1
    label: int = -1
    task = "segment"
    classes = ("a", "b", "c")
    ignore = 255

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if index == self.broken:
            raise OSError(f"{self.name(index)} is truncated")
        generator = torch.Generator().manual_seed(index)
        mask = torch.randint(0, 3, (8, 9), generator=generator)
        mask[0, 0] = 255
        if index == self.label:
            mask[:] = 3
        return Example(torch.randint(0, 256, (3, 8, 9), generator=generator, dtype=torch.uint8), mask)

    def name(self, index: int) -> str:
        return f"noise-{index}.png"


def read(**changes: object) -> list[list[Batch]]:
    options: dict = {"batch": 3, "updates": range(5), "seed": 4} | changes
    return list(batches(Noise(), AUGMENTATION, **options))


def same(one: list[list[Batch]], other: list[list[Batch]]) -> bool:
    return all(
        torch.equal(x, y)
        for parts, others in zip(one, other, strict=True)
        for part, its in zip(parts, others, strict=True)
        for x, y in zip(part, its, strict=True)
    )


def whole(parts: Iterator[Batch]) -> Batch:
    images, targets, counts = zip(*parts, strict=True)
    return Batch(torch.cat(images), torch.cat(targets), torch.stack(counts).sum(0))


def test_epochs_follow_each_other_and_leave_nothing_out() -> None:
    places = [place for update in range(14) for place in places_of(update, seed=5, count=7, batch=3)]
    assert len(places) == 42
    for epoch in range(6):
        assert sorted(index for e, index in places if e == epoch) == list(range(7))
    assert [epoch for epoch, _ in places] == sorted(epoch for epoch, _ in places)
    assert len({order_of(5, epoch, 7) for epoch in range(6)}) > 1
    assert order_of(5, 0, 7) != order_of(6, 0, 7)


def test_equal_shares() -> None:
    assert [share(range(7), number, 3) for number in range(3)] == [range(3), range(3, 5), range(5, 7)]
    assert [share([1], number, 2) for number in range(2)] == [[1], []]


def test_loaders_and_a_later_start_change_nothing() -> None:
    alone = read()
    assert same(read(workers=2), alone)
    assert same(read(updates=range(3, 5)), alone[3:])  # in the middle of the second epoch
    assert not same(read(seed=5), alone)


def test_what_is_drawn_differs_from_epoch_to_epoch() -> None:
    seen = collections.defaultdict(list)
    for update in range(7):
        for (_, index), image in zip(
            places_of(update, seed=4, count=7, batch=3),
            read(updates=range(update, update + 1))[0][0].image,
            strict=True,
        ):
            seen[index].append(image)
    assert all(len(images) == 3 and not torch.equal(images[0], images[1]) for images in seen.values())


def test_parts_and_processes_share_one_batch() -> None:
    for (batch,), update in zip(read(batch=7), range(5), strict=True):
        for accumulate, count in ((2, 1), (1, 3), (2, 3)):
            shares = [
                read(
                    batch=7, updates=range(update, update + 1), accumulate=accumulate, processes=Processes(rank, count)
                )[0]
                for rank in range(count)
            ]
            joined = whole(shares[rank][part] for part in range(accumulate) for rank in range(count))
            assert all(torch.equal(x, y) for x, y in zip(joined, batch, strict=True))
            sizes = [len(part.image) for parts in shares for part in parts]
            assert max(sizes) - min(sizes) <= (1 if 1 in (accumulate, count) else 2)


def test_a_batch_counts_its_pixels_and_keeps_labels_small() -> None:
    for (batch,) in read():
        assert batch.target.dtype == torch.uint8
        assert batch.counts.tolist() == [int((batch.target == label).sum()) for label in range(3)]
    assert any((batch.target == 255).any() for (batch,) in read())  # and such pixels are not counted


def test_classes_of_images_all_count() -> None:
    class Many(Noise):
        task = "classify"
        classes = tuple(str(number) for number in range(300))

    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    joined = join([Example(image, torch.tensor(label)) for label in (255, 299)], Many(), [0, 1])
    assert joined.target.tolist() == [255, 299]
    assert joined.counts[255] == joined.counts[299] == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_example_is_one_sentence(workers: int) -> None:
    with pytest.raises(ValueError, match=r"^noise-2.png is truncated$"):
        list(batches(Noise(broken=2), AUGMENTATION, batch=3, updates=range(3), workers=workers))
    with pytest.raises(ValueError, match=r"^noise-3.png has the label 3, but classes go from 0 to 2"):
        list(batches(Noise(label=3), AUGMENTATION, batch=3, updates=range(3), workers=workers))


def test_examples_that_cannot_be_handed_over_are_said() -> None:
    class Local(Noise):
        pass

    with pytest.raises(ValueError, match=r"cannot be handed to loader processes .*--workers 0"):
        list(batches(Local(), AUGMENTATION, batch=3, updates=range(3), workers=1))


class Listening(Noise):
    """Says whether Ctrl-C reaches it."""

    def __getitem__(self, index: int) -> Example:
        blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())
        raise ValueError(f"blocked: {blocked}, ignored: {signal.getsignal(signal.SIGINT) == signal.SIG_IGN}")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system blocks no signals")
def test_ctrl_c_reaches_no_loader() -> None:
    with pytest.raises(ValueError, match="blocked: True, ignored: True"):
        list(batches(Listening(), AUGMENTATION, batch=3, updates=range(3), workers=1))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may start its background deaf
    try:
        with pytest.raises(ValueError, match="blocked: False, ignored: False"):
            list(batches(Listening(), AUGMENTATION, batch=3, updates=range(3)))
    finally:
        signal.signal(signal.SIGINT, before)


def test_sizes_that_cannot_be_are_said() -> None:
    with pytest.raises(ValueError, match="a batch of 8 was asked for, but there are 7 examples: make it 7 or smaller"):
        read(batch=8)
    with pytest.raises(ValueError, match="cannot be shared by 2 processes in 2 parts each: make it 4 or larger"):
        check_batch(Noise(), 3, 2, 2)
    with pytest.raises(ValueError, match="there is no example"):
        check_batch(Noise(0), 1, 1, 1)


def test_prepared_examples_come_in_order() -> None:
    alone = list(prepared(Noise(), Preparation(multiple=4), [0, 2, 4]))
    loaded = list(prepared(Noise(), Preparation(multiple=4), [0, 2, 4], workers=2))
    for one, other in zip(alone, loaded, strict=True):
        assert torch.equal(one.image, other.image)
        assert torch.equal(one.target, other.target)
    assert alone[1].image.shape == (3, 8, 12)
    assert torch.equal(alone[1].image[:, :, :9], Noise()[2].image)


def test_reading_draws_nothing_from_the_global_generators(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    read()
    assert torch.equal(torch.get_rng_state(), before)
