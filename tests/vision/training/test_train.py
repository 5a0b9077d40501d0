"""Parts of a batch add up to the batch, states put back go on exactly, and mistakes are said in one sentence."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.vision.training.made_up_training import AUGMENTATION, EVERYTHING, Halves, Toy, recipe, toy
from torch import nn

from sightline.run import has_checkpoint, open_run, read_metrics
from sightline.run.checkpoint import read_state
from sightline.vision.augmentation.prepare import Preparation, prepare
from sightline.vision.data.examples import Example
from sightline.vision.measures.losses import cross_entropy, dice_loss
from sightline.vision.measures.metrics import confusion_matrix, mean_iou
from sightline.vision.training.batches import batches, places_of
from sightline.vision.training.loop import Data, Every, fit
from sightline.vision.training.memory import Need, what_fits
from sightline.vision.training.recipes import Losses, adamw_cosine
from sightline.vision.training.scores import evaluate
from sightline.vision.training.totals import Totals
from sightline.vision.training.train import Learner, train


def learner(network: nn.Module | None = None, rules: Any = None, **options: Any) -> Learner:
    rules = recipe() if rules is None else rules
    return Learner(toy() if network is None else network, rules, task="segment", classes=3, **options)


def after(made: Learner, **options: Any) -> dict[str, torch.Tensor]:
    for _ in train(made, Halves(), AUGMENTATION, **options):
        pass
    return made.network.state_dict()


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], most: float = 1e-12) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=most, atol=most)


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_parts_add_up_to_one_batch(parts: int) -> None:
    losses = Losses(smoothing=0.1, class_weights=(1.0, 3.0, 0.5))
    whole = after(learner(toy("group"), recipe(losses=losses)))
    assert_same(after(learner(toy("group"), recipe(losses=losses, accumulate=parts))), whole)


def test_hard_pixels_of_parts_are_the_cross_entropy_where_all_are_hard() -> None:
    plain = after(learner(toy("group"), recipe(losses=Losses(class_weights=(1.0, 3.0, 0.5)))))
    hard = Losses(class_weights=(1.0, 3.0, 0.5), ohem=True, ohem_threshold=1.0)
    assert_same(after(learner(toy("group"), recipe(losses=hard, accumulate=3))), plain)


def test_means_of_means_would_be_another_update() -> None:
    (parts,) = batches(Halves(), AUGMENTATION, batch=5, updates=range(1), accumulate=2)
    (first, second) = (int(part.counts.sum()) / part.target.numel() for part in parts)
    assert abs(first - second) > 0.05  # else the tests above say nothing


def test_one_update_is_the_sum_of_the_losses_as_they_are_defined() -> None:
    losses = dataclasses.replace(EVERYTHING, auxiliary=0.7, category=0.0)
    made = learner(toy("group"), recipe(1, 5, losses))
    before, ((batch,),) = toy("group"), batches(Halves(), AUGMENTATION, batch=5, updates=range(1))
    said, target, weight = (
        before.answers(made.images(batch.image)),
        batch.target.long(),
        torch.tensor([1.0, 3.0, 1.0]).double(),
    )
    parts = {
        "cross_entropy": cross_entropy(said.logits, target, weight=weight, smoothing=0.1),
        "auxiliary": 0.7 * F.cross_entropy(said.auxiliary, target, weight, ignore_index=255, label_smoothing=0.1),
        "dice": 0.5 * dice_loss(said.logits, target),
    }
    torch.stack(list(parts.values())).sum().backward()
    for update in train(made, Halves(), AUGMENTATION):
        assert update.losses.keys() == parts.keys()
        for name, part in parts.items():
            assert float(update.losses[name]) == pytest.approx(float(part.detach()), rel=1e-12)
        assert update.rate == 0.2
    for mine, its in zip(made.network.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(
            mine.detach(), (its - 0.2 * (its.grad + 5e-4 * its)).detach(), rtol=1e-12, atol=1e-14
        )


def test_gradients_are_clipped_as_a_whole() -> None:
    made = learner(toy("group"), recipe(1, clip=1e-3, weight_decay=0.0))
    before = torch.cat([parameter.flatten() for parameter in toy("group").parameters()]).detach()
    after(made)
    moved = torch.cat([parameter.flatten() for parameter in made.network.parameters()]).detach() - before
    assert float(moved.norm()) == pytest.approx(0.2 * 1e-3, rel=1e-3)


def test_a_batch_in_which_nothing_counts_teaches_nothing() -> None:
    @dataclasses.dataclass(frozen=True)
    class Blank(Halves):
        def __getitem__(self, index: int) -> Any:
            example = super().__getitem__(index)
            return example._replace(target=torch.full_like(example.target, 255))

    made = learner(toy("group"), recipe(1, losses=EVERYTHING, weight_decay=0.0))
    for update in train(made, Blank(), AUGMENTATION):
        assert all(float(loss) == 0 for loss in update.losses.values())
    assert_same(made.network.state_dict(), toy("group").state_dict(), 0)


def run(folder: Path, *, until: int | None = None, workers: int = 0, resume: bool = False, total: int = 9) -> Learner:
    """Nine updates of four of ten images, with a row every two and a checkpoint every four."""
    rules = recipe(total, 4, accumulate=2, average=0.9)
    made = learner(toy(dropout=0.3, dtype=torch.float32), rules, seed=3)
    open_run(folder, {"recipe": rules}, resume=resume)
    data = Data(Halves(), AUGMENTATION, Halves(3))
    asked = iter(range(total + 1))
    stop = (lambda: next(asked) >= until) if until is not None else (lambda: False)
    ended = fit(made, data, folder, every=Every(2, 3, 4), workers=workers, stop=stop)
    assert ended is (until is None)
    return made


def rows(folder: Path) -> list[dict[str, Any]]:
    clocks = ("seconds", "images_per_second")
    return [{key: value for key, value in row.items() if key not in clocks} for row in read_metrics(folder)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learner, Path]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return run(folder), folder


@pytest.mark.parametrize(("until", "workers"), [(0, 0), (3, 2), (4, 0)])
def test_stopped_in_an_epoch_and_resumed_is_never_stopped(
    until: int, workers: int, uninterrupted: tuple[Learner, Path], tmp_path: Path
) -> None:
    whole, there = uninterrupted
    stopped = run(tmp_path / "run", until=until, workers=workers)
    assert stopped.step == read_state(tmp_path / "run")["step"] == until + 1
    made = run(tmp_path / "run", resume=True, workers=workers)
    assert_same(made.network.state_dict(), whole.network.state_dict(), 0)
    assert_same(made.best.state_dict(), whole.best.state_dict(), 0)
    assert str(made.optimizer.state_dict()) == str(whole.optimizer.state_dict())
    assert rows(tmp_path / "run") == rows(there)
    weights = "checkpoint/weights.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (there / weights).read_bytes()


def test_a_caller_may_draw_random_numbers_between_updates() -> None:
    quiet, disturbed = (learner(toy(dropout=0.5), recipe(4)) for _ in range(2))
    after(quiet)
    for _ in train(disturbed, Halves(), AUGMENTATION):
        torch.rand(7)
    assert_same(disturbed.network.state_dict(), quiet.network.state_dict(), 0)
    close_not = learner(toy(dropout=0.5), recipe(4), seed=1)
    after(close_not)
    assert not torch.equal(close_not.network.first.weight, quiet.network.first.weight)


def test_totals_go_on_from_their_state() -> None:
    made = learner(toy(dtype=torch.float32), recipe(3))
    totals, resumed = Totals(made), Totals(made)
    updates = list(train(made, Halves(), AUGMENTATION))
    for update in updates[:2]:
        totals.add(update)
    assert totals.remember(0.7, 2) == 0.7
    resumed.restore(totals.state())
    for one in (totals, resumed):
        one.add(updates[2])
        assert one.remember(0.5, 3) == 0.7
    assert resumed.seconds >= totals.state()["seconds"] - 1
    clocks = {"images_per_second"}
    rows = [{k: v for k, v in one.row(updates[2], 10).items() if k not in clocks} for one in (totals, resumed)]
    assert rows[0] == rows[1]


def test_rows_say_what_happened(uninterrupted: tuple[Learner, Path]) -> None:
    found = read_metrics(uninterrupted[1])
    assert [row["step"] for row in found] == [2, 3, 4, 6, 8, 9]
    assert [row["epoch"] for row in found] == [0.8, 1.2, 1.6, 2.4, 3.2, 3.6]
    for row in found:
        assert row["loss"] == pytest.approx(row["cross_entropy"] + row["auxiliary"], rel=1e-12)
        assert row["learning_rate"] == pytest.approx(0.2 * (1 - (row["step"] - 1) / 9) ** 0.9)
    evaluated = [row for row in found if "mean_iou" in row]
    assert [row["step"] for row in evaluated] == [3, 6, 9]
    assert all(row["IoU/never"] is None for row in evaluated)  # in no mask, and never said, or there would be a number
    assert [row["best"] for row in evaluated] == [max(r["mean_iou"] for r in evaluated[: n + 1]) for n in range(3)]
    assert [row["seconds"] for row in found] == sorted(row["seconds"] for row in found)


def test_the_loss_of_a_row_is_the_mean_since_the_last_one(uninterrupted: tuple[Learner, Path]) -> None:
    made = learner(toy(dropout=0.3, dtype=torch.float32), recipe(9, 4, accumulate=2, average=0.9), seed=3)
    each = [float(sum(update.losses.values())) for update in train(made, Halves(), AUGMENTATION)]
    found = [row["loss"] for row in read_metrics(uninterrupted[1])]
    assert found == pytest.approx(
        [sum(each[a:b]) / (b - a) for a, b in ((0, 2), (2, 3), (3, 4), (4, 6), (6, 8), (8, 9))]
    )


class Sizes(Halves):
    """Of three heights."""

    def __getitem__(self, index: int) -> Any:
        image, target = super().__getitem__(index)
        return Example(image[:, : 6 + index % 3], target[: 6 + index % 3])


def test_scores_are_those_of_the_average_over_images_of_any_size() -> None:
    made = learner(rules=recipe(3, average=0.5))
    after(made)
    assert made.average is not None
    matrix, preparation, data = torch.zeros(3, 3, dtype=torch.int64), Preparation(multiple=4), Sizes()
    for index in range(len(data)):
        image, target = prepare(data[index], preparation)
        said = made.average.network(made.images(image[None])).argmax(1)[0]
        matrix += confusion_matrix(said, target, 3)
    for workers in (0, 1):
        scores = evaluate(made, data, preparation, batch=3, workers=workers)
        assert scores["mean_iou"] == float(mean_iou(matrix))
    assert set(scores) == {"mean_iou", "pixel_accuracy", "mean_accuracy", "IoU/dark", "IoU/bright", "IoU/never"}


def test_images_are_classified_and_mixed() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    data = Halves(task="classify")
    rules = adamw_cosine(4, 6, learning_rate=1e-3, mixup=0.8, cutmix=1.0, losses=Losses(smoothing=0.1))
    results = []
    for _ in range(2):
        made = Learner(nn.Sequential(*network), rules, task="classify", classes=3)
        found = [float(u.losses["cross_entropy"]) for u in train(made, data, AUGMENTATION)]
        assert all(0 < loss < 5 for loss in found)
        results.append(evaluate(made, data, Preparation()))
    assert set(results[0]) == {"top1", "accuracy/dark", "accuracy/bright", "accuracy/never"}
    with pytest.raises(ValueError, match="mixup and CutMix are for classification"):
        learner(rules=rules)
    weighed = dataclasses.replace(rules, losses=Losses(class_weights=(1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match="class weights are for unmixed targets"):
        Learner(network, weighed, task="classify", classes=3)


def test_mixed_precision() -> None:
    made = learner(toy("group", dtype=torch.float32), recipe(amp="bfloat16"))
    plain = after(learner(toy("group", dtype=torch.float32)))
    mixed = after(made)
    assert all(value.dtype == torch.float32 for value in mixed.values())
    assert any(not torch.equal(mixed[name], plain[name]) for name in plain)
    assert_same(mixed, plain, 0.05)
    with pytest.raises(ValueError, match="float16 was asked for on cpu: it is for CUDA, use bfloat16 or none"):
        learner(rules=recipe(amp="float16"))
    assert learner(rules=recipe(amp="auto")).precision is torch.bfloat16


def scaled(rules: Any) -> Learner:
    """As on CUDA in float16: gradients of a loss times 1024, unscaled before anything is done with them."""
    made = learner(toy("group", dtype=torch.float32), rules)
    made.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    return made


def test_a_gradient_scaler_changes_nothing_and_is_saved(tmp_path: Path) -> None:
    rules = recipe(4, clip=0.5, accumulate=2)
    plain = after(learner(toy("group", dtype=torch.float32), rules))
    made = scaled(rules)
    assert_same(after(made), plain, 0)  # powers of two round nothing
    assert made.scaler.get_scale() == 4096  # grown twice
    assert set(made.states) == {"optimizer", "scaler"}
    open_run(tmp_path, {})
    data, asked = Data(Halves(), AUGMENTATION), iter(range(9))
    assert not fit(scaled(rules), data, tmp_path, stop=lambda: next(asked) == 1)
    resumed = scaled(rules)
    assert fit(resumed, data, tmp_path)
    assert resumed.scaler.state_dict() == made.scaler.state_dict()
    assert_same(resumed.network.state_dict(), plain, 0)


def test_a_gradient_that_overflows_is_left_out() -> None:
    made = scaled(recipe(1))
    made.network.last.weight.register_hook(lambda gradient: gradient * float("inf"))
    assert_same(after(made), toy("group", dtype=torch.float32).state_dict(), 0)
    assert made.scaler.get_scale() == 512


class Exploding(Toy):
    """Its loss is no number at one update."""

    at, calls = 7, 0

    def answers(self, image: torch.Tensor) -> Any:
        self.calls += self.training
        said = super().answers(image)
        return said._replace(logits=said.logits * float("nan")) if self.training and self.calls == self.at else said


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    rules = recipe(9, 4)
    open_run(tmp_path, {})
    data = Data(Halves(), AUGMENTATION)
    with pytest.raises(
        ValueError, match=r"no number at step 7: use a learning rate lower than 0.2 .* the last checkpoint"
    ):
        fit(learner(Exploding(), rules), data, tmp_path, every=Every(20, 20, 2))
    assert has_checkpoint(tmp_path)
    made = learner(Exploding(), rules)
    made.network.at = 0
    assert fit(made, data, tmp_path, every=Every(20, 20, 2))
    assert all(value.isfinite().all() for value in made.network.parameters())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    open_run(tmp_path, {})
    made = learner(rules=recipe(2))

    def poison(step: int, row: object) -> None:
        if step == 1:
            nn.init.constant_(made.network.last.bias, float("inf"))

    with pytest.raises(ValueError, match=r"weights are no numbers after step 1: .*there is no checkpoint yet"):
        fit(made, Data(Halves(), AUGMENTATION), tmp_path, every=Every(9, 9, 1), show=poison)
    assert not has_checkpoint(tmp_path)


def test_a_full_memory_says_what_would_fit(tmp_path: Path) -> None:
    class Full(Toy):
        def answers(self, image: torch.Tensor) -> Any:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    made = learner(Full())
    with pytest.raises(
        ValueError, match=r"cpu is full with 5 images of 8 x 8 at once: about 2 would fit.*--accumulate 3"
    ):
        fit(made, Data(Halves(), AUGMENTATION), tmp_path)
    assert "or a batch of 3 instead of 5 (--batch)" in what_fits(made, (8, 8), lambda: Need(image=100, free=399))
    assert "about 4 would fit" in what_fits(made, (8, 8), lambda: Need(image=1, free=10**6))  # five did not
    assert "not even one fits: try a crop of 256 x 128" in what_fits(made, (512, 256), lambda: None)


def test_a_network_that_does_not_fit_is_said() -> None:
    with pytest.raises(
        ValueError, match=r"answers with shape \(5, 3, 4, 4\) where \(5, 3, 8, 8\) is needed to segment"
    ):
        after(learner(nn.Conv2d(3, 3, 3, 2, 1).double()))
    made = Learner(toy(), recipe(), task="classify", classes=3)
    with pytest.raises(ValueError, match=r"answers with shape .* where \(5, 3\) is needed to classify"):
        next(train(made, Halves(task="classify"), AUGMENTATION))
    with pytest.raises(ValueError, match="needs a head that says what its features are"):
        after(learner(nn.Conv2d(3, 3, 1).double(), recipe(losses=Losses(category=1.0))))
    with pytest.raises(ValueError, match="3 classes need as many class weights, got 2"):
        learner(rules=recipe(losses=Losses(class_weights=(1.0, 2.0))))
    with pytest.raises(ValueError, match="1 or more steps lie between one save and the next"):
        Every(save=0)


def test_the_order_of_an_epoch_is_used() -> None:
    seen: list[int] = []

    @dataclasses.dataclass(frozen=True)
    class Watched(Halves):
        def __getitem__(self, index: int) -> Any:
            seen.append(index)
            return super().__getitem__(index)

    made = learner(rules=recipe(3, 4), seed=6)
    for _ in train(made, Watched(), AUGMENTATION):
        pass
    assert seen == [index for update in range(3) for _, index in places_of(update, seed=6, count=10, batch=4)]


def test_the_example_of_the_page_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).parents[3] / "docs" / "training.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    exec(example, {})
    *rows, score = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == [str(step) for step in range(1, 21)]
    assert 0 < float(score) < 1
