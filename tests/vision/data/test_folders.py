"""Your own images: every layout finds its files and says what it did not find; masks mean what they should."""

import re

import numpy as np
import pytest
import torch
from tests.vision.data.made_up_folders import write_image, write_mask

from sightline.vision.data.check import check_examples
from sightline.vision.data.folders import FolderExamples, open_examples
from sightline.vision.drawing.palette import CITYSCAPES, VOC


def names(examples: FolderExamples) -> list[str]:
    return [examples.name(index) for index in range(len(examples))]


def targets(examples: FolderExamples) -> list[int]:
    return [int(examples[index].target) for index in range(len(examples))]


def segment(folder, split="train", **options) -> FolderExamples:
    examples = open_examples(folder, split, task="segment", **options)
    check_examples(examples)
    return examples


def classify(folder, split="train", **options) -> FolderExamples:
    examples = open_examples(folder, split, task="classify", **options)
    check_examples(examples)
    return examples


def test_images_and_masks_of_one_name(tmp_path) -> None:
    pixels = write_image(tmp_path / "images" / "train" / "b.jpg", quality=100)
    write_image(tmp_path / "images" / "train" / "deep" / "a.png")
    write_image(tmp_path / "images" / "val" / "c.webp")
    first = write_mask(tmp_path / "masks" / "train" / "b.png", [0, 1, 255], mode="P")
    write_mask(tmp_path / "masks" / "train" / "deep" / "a.png", [2])
    write_mask(tmp_path / "masks" / "val" / "c.png", [3])
    (tmp_path / "images" / "train" / ".DS_Store.png").write_text("hidden")
    (tmp_path / "images" / "notes.txt").write_text("no image")
    train, val = segment(tmp_path), segment(tmp_path, "val")
    assert train.layout == "folder"
    assert names(train) == ["images/train/b.jpg", "images/train/deep/a.png"]
    assert names(val) == ["images/val/c.webp"]
    assert train.classes == val.classes == ("0", "1", "2", "3"), "counted over all parts, without 255"
    assert np.array_equal(train[0].target.numpy(), first)
    assert (train[0].image.permute(1, 2, 0).int() - torch.from_numpy(pixels).int()).abs().double().mean() < 60
    assert train.findings == ()
    assert train.note == ""
    assert str(train) == f"2 images to segment in {tmp_path} (layout folder, part train), 4 classes: 0, 1, 2, 3"


def test_parts_may_hold_the_folders(tmp_path) -> None:
    for split, value in (("training", 0), ("validation", 1)):
        write_image(tmp_path / split / "images" / "a.png")
        write_mask(tmp_path / split / "masks" / "a.png", [value])
    assert names(segment(tmp_path)) == ["training/images/a.png"]
    assert names(segment(tmp_path, "val")) == ["validation/images/a.png"]
    assert segment(tmp_path).classes == ("0", "1")


def test_without_parts_every_fifth_is_for_validation_and_it_is_said(tmp_path) -> None:
    for letter in "kjihgfedcba":
        write_image(tmp_path / "images" / f"{letter}.png")
        write_mask(tmp_path / "masks" / f"{letter}.png", [0, 1])
    train, val = segment(tmp_path), segment(tmp_path, "val")
    assert names(val) == ["images/a.png", "images/f.png", "images/k.png"]
    assert names(train) == [f"images/{letter}.png" for letter in "bcdeghij"]
    assert "every fifth of its 11 images, in order of their names, is for validation and not trained on" in str(train)
    with pytest.raises(ValueError, match="unknown part of data that is not divided into parts 'trian': did you mean"):
        segment(tmp_path, "trian")


def test_classes_are_named_beside_the_data_or_by_hand(tmp_path) -> None:
    write_image(tmp_path / "images" / "train" / "a.png")
    stored = write_mask(tmp_path / "masks" / "train" / "a.png", [0, 255, 7])
    (tmp_path / "classes.txt").write_text("# stored, name\n0 ground\n255: crack\n7 = old repair\n\n")
    examples = segment(tmp_path)
    assert examples.classes == ("ground", "crack", "old repair")
    assert np.array_equal(examples[0].target.numpy(), np.select([stored == 0, stored == 255], [0, 1], 2))
    with pytest.raises(ValueError, match=r"a\.png has the value 255 at pixel y=0, x=1.*: masks hold 0 to 8 for the 9"):
        segment(tmp_path, classes=tuple("abcdefghi"), ignore=200)
    by_hand = segment(tmp_path, classes={0: "x", 7: "y"})
    assert by_hand.classes == ("x", "y")
    assert by_hand[0].target.unique().tolist() == [0, 1, 255]
    (tmp_path / "classes.txt").write_text("7 up\nfanta\n")
    assert open_examples(tmp_path, task="segment").classes == ("7 up", "fanta")
    for text, sentence in (
        ("# nothing\n", r"classes\.txt names no class: write one name a line"),
        ("a\nb\na\n", "the class 'a' is named twice"),
        ("1 a\n1 b\n", r"classes\.txt gives two names to one number"),
        ("1 a\n70000 b\n", "masks store numbers from 0 to 65535, got names for 1, 70000"),
    ):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(ValueError, match=sentence):
            open_examples(tmp_path, task="segment")
    with pytest.raises(ValueError, match="classes are a sequence of names, got 'abc'"):
        open_examples(tmp_path, task="segment", classes="abc")


def test_an_ignored_number_means_itself(tmp_path) -> None:
    write_image(tmp_path / "images" / "train" / "a.png")
    write_mask(tmp_path / "masks" / "train" / "a.png", [0, 1, 2])
    examples = segment(tmp_path, ignore=0)
    assert examples.classes == ("0", "1", "2")
    assert examples[0].target.unique().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="ignore=1, is also that of a class, 'y', once the masks' numbers are turned"):
        segment(tmp_path, classes={0: "x", 2: "y"}, ignore=1)
    with pytest.raises(ValueError, match="the number that does not count is from 0 to 65535, got ignore=-100"):
        segment(tmp_path, ignore=-100)


def test_masks_of_sixteen_bits(tmp_path) -> None:
    write_image(tmp_path / "images" / "train" / "a.png")
    stored = write_mask(tmp_path / "masks" / "train" / "a.png", [0, 300, 65535], mode="I;16")
    examples = segment(tmp_path, ignore=65535)
    assert len(examples.classes) == 301
    assert np.array_equal(examples[0].target.numpy(), stored)


def test_masks_of_0_and_255_are_a_known_mistake(tmp_path) -> None:
    write_image(tmp_path / "images" / "train" / "a.png")
    write_mask(tmp_path / "masks" / "train" / "a.png", [0, 255])
    with pytest.raises(
        ValueError,
        match=r"no other number than 0 beside 255.*: if 255 is a class, name the stored numbers in .*classes\.txt",
    ):
        segment(tmp_path)


def test_a_class_out_of_range_is_named_with_file_value_and_pixel(tmp_path) -> None:
    write_image(tmp_path / "images" / "train" / "a.png")
    path = tmp_path / "masks" / "train" / "a.png"
    stored = np.zeros((5, 7), np.uint8)
    stored[3, 4], stored[4, 1] = 9, 8
    write_mask(path, stored.ravel())
    examples = open_examples(tmp_path, task="segment", classes=("a", "b", "c"))
    sentence = (
        f"{path} has the value 9 at pixel y=3, x=4, the first of 2 such pixels: "
        "masks hold 0 to 2 for the 3 classes, 255 where none counts"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        examples[0]


def test_sizes_that_differ_are_both_said(tmp_path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / "images" / "train" / "a.png", exif=exif)
    write_mask(tmp_path / "masks" / "train" / "a.png", [0, 1])
    with pytest.raises(
        ValueError,
        match=r"a\.png is 7 x 5 pixels high and wide \(turned upright as its camera says\), and its mask .*a\.png is "
        "5 x 7: they must be of one size",
    ):
        open_examples(tmp_path, task="segment")[0]


def test_ade20k_counts_classes_from_one(tmp_path) -> None:
    for split, values in (("training", [0, 1, 150]), ("validation", [2])):
        write_image(tmp_path / "images" / split / "ADE_1.jpg")
        write_mask(tmp_path / "annotations" / split / "ADE_1.png", values)
    train = segment(tmp_path)
    assert train.layout == "ade20k"
    assert train[0].target[0, :3].tolist() == [255, 0, 149]
    assert segment(tmp_path, "val")[0].target.unique().tolist() == [1]
    assert train.classes[:2] == ("class 1", "class 2")
    rows = "".join(f"{n}\t0.1\t1\t1\t0\tname {n // 3}, other\n" for n in range(1, 151))
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n" + rows)
    assert segment(tmp_path).classes[:4] == ("name 0 1", "name 0 2", "name 1 3", "name 1 4")
    assert segment(tmp_path, classes=[str(n) for n in range(150)])[0].target[0, :3].tolist() == [255, 0, 149]
    write_mask(tmp_path / "annotations" / "training" / "ADE_1.png", [151])
    with pytest.raises(ValueError, match=r"the value 151 .*: masks hold 1 to 150 for the 150 classes, 0, 255 where"):
        open_examples(tmp_path, task="segment")[0]


def test_cityscapes_has_nineteen_of_its_numbers(tmp_path) -> None:
    for split in ("train", "val"):
        for number in (1, 2):
            write_image(tmp_path / "leftImg8bit" / split / "ulm" / f"ulm_{number}_leftImg8bit.png", (5, 8))
            mask = tmp_path / "gtFine" / split / "ulm" / f"ulm_{number}_gtFine_labelIds.png"
            write_mask(mask, range(34), (5, 8))
            write_image(mask.with_name(f"ulm_{number}_gtFine_color.png"))
    examples = segment(tmp_path, "val")
    assert examples.layout == "cityscapes"
    assert examples.classes == tuple(CITYSCAPES)
    assert names(examples) == [f"leftImg8bit/val/ulm/ulm_{n}_leftImg8bit.png" for n in (1, 2)]
    # cityscapesScripts' table: name of each number, and whether it counts in training
    counting = "road:7 sidewalk:8 building:11 wall:12 fence:13 pole:17 traffic light:19 traffic sign:20 vegetation:21 "
    counting += "terrain:22 sky:23 person:24 rider:25 car:26 truck:27 bus:28 train:31 motorcycle:32 bicycle:33"
    table = {int(number): name.strip() for name, number in re.findall(r"([a-z ]+):(\d+)", counting)}
    for number, found in enumerate(examples[0].target.flatten()[:34].tolist()):
        assert (examples.classes[found] if found != 255 else None) == table.get(number)
    write_mask(tmp_path / "gtFine" / "val" / "ulm" / "ulm_1_gtFine_labelTrainIds.png", [0, 18, 255], (5, 8))
    trained = segment(tmp_path, "val")
    assert trained[0].target[0, :3].tolist() == [0, 18, 255]
    assert len(trained) == 1
    assert re.search(
        r"ulm_2_leftImg8bit\.png has no mask: .*ulm_2_gtFine_labelTrainIds\.png is not there", trained.findings[0]
    )
    with pytest.raises(ValueError, match="Cityscapes has 19 classes, got the names of 2"):
        segment(tmp_path, classes=("a", "b"))


def test_voc_reads_its_lists(tmp_path) -> None:
    for name in ("2007_1", "2007_2", "2007_3"):
        write_image(tmp_path / "JPEGImages" / f"{name}.jpg")
        write_mask(tmp_path / "SegmentationClass" / f"{name}.png", [0, 20, 255], mode="P")
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_3\n2007_1\n")
    (lists / "val.txt").write_text("2007_2\n2007_9\n")
    train = segment(tmp_path)
    assert train.layout == "voc"
    assert train.classes == VOC
    assert names(train) == ["JPEGImages/2007_3.jpg", "JPEGImages/2007_1.jpg"]
    assert train[0].target.unique().tolist() == [0, 20, 255]
    val = segment(tmp_path, "val")
    assert len(val) == 1
    assert len(val.findings) == 2
    assert re.search(r"val\.txt names 2007_9, and .*2007_9\.jpg is not there", val.findings[0])
    with pytest.raises(ValueError, match=r"no list of the part 'trainval': .*trainval\.txt is not there, its folder"):
        segment(tmp_path, "trainval")


@pytest.mark.parametrize("mark", ["\t", ", ", "  "])
def test_lists_name_pairs(tmp_path, mark: str) -> None:
    space = "" if mark == "  " else " "
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"photo{space}s" / f"{name}.png")
        write_mask(tmp_path / "m" / f"{name}.png", [0, 1])
    lines = [f"photo{space}s/{name}.png{mark}m/{name}.png" for name in "abc"]
    (tmp_path / "train.txt").write_text(f"# pairs\n\n{lines[1]}\n{lines[0]}\n")
    (tmp_path / "val.txt").write_text(lines[2])
    assert names(segment(tmp_path)) == [f"photo{space}s/{name}.png" for name in "ba"]
    assert segment(tmp_path).layout == "list"
    assert names(segment(tmp_path / "train.txt", "val")) == [f"photo{space}s/c.png"]
    (tmp_path / "all.txt").write_text("\n".join(lines))
    assert names(segment(tmp_path / "all.txt")) == [f"photo{space}s/{name}.png" for name in "bc"]
    assert "every fifth of its 3 images" in segment(tmp_path / "all.txt", "val").note


def test_lists_name_classes(tmp_path) -> None:
    for name in "abcd":
        write_image(tmp_path / f"{name}.png")
    (tmp_path / "train.txt").write_text("a.png dog\nb.png cat\na.png cat\n")
    (tmp_path / "val.txt").write_text("c.png emu\n")
    train = open_examples(tmp_path, task="classify")
    assert train.classes == classify(tmp_path, "val").classes == ("cat", "dog", "emu")
    assert targets(train) == [1, 0, 0]
    assert [s.split(" is named more")[0] for s in train.findings] == [str(tmp_path / "a.png")]
    (tmp_path / "classes.txt").write_text("emu\ndog\ncat\n")
    assert targets(open_examples(tmp_path, task="classify")) == [1, 2, 2]
    (tmp_path / "train.txt").write_text("a.png 2\nb.png 0\n")
    assert targets(classify(tmp_path)) == [2, 0]
    (tmp_path / "train.txt").write_text("a.png 3\n")
    with pytest.raises(ValueError, match=r"a\.png is of the class '3', which is none of the 3 classes emu, dog, cat"):
        classify(tmp_path)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "val.txt").unlink()
    assert classify(tmp_path).classes == ("0", "1", "2", "3")
    (tmp_path / "train.txt").write_text("a.png 3\n\nb.png  big dog\n")
    with pytest.raises(ValueError, match=r"train\.txt, line 3 names 3 things: an image and its class are asked for"):
        classify(tmp_path)
    with pytest.raises(ValueError, match=r"there is no list of the part 'val': .*val\.txt is not there"):
        classify(tmp_path, "val")


def test_a_folder_per_class(tmp_path) -> None:
    for path in ("train/dog/1.jpg", "train/cat/2.png", "train/cat/deep/0.png", "val/dog/3.png", "val/emu/4.png"):
        write_image(tmp_path / path)
    write_image(tmp_path / "train" / "beside.png")
    train, val = classify(tmp_path), classify(tmp_path, "val")
    assert train.classes == val.classes == ("cat", "dog", "emu")
    assert names(train) == ["train/cat/2.png", "train/cat/deep/0.png", "train/dog/1.jpg"]
    assert targets(train) == [0, 0, 1]
    assert targets(val) == [1, 2]
    assert re.search(r"beside\.png lies beside the folders of classes, so its class is not known", train.findings[0])
    (tmp_path / "classes.txt").write_text("emu\ndog\ncat\n")
    assert targets(classify(tmp_path)) == [2, 2, 1]
    with pytest.raises(ValueError, match=r"2\.png is of the class 'cat', which is none of the 1 classes dog"):
        classify(tmp_path, classes=["dog"])
    with pytest.raises(ValueError, match=r"there is no part 'test' in .*: it has train and val"):
        classify(tmp_path, "test")


def test_a_folder_per_class_without_parts(tmp_path) -> None:
    for name in ("cat", "dog"):
        for number in range(6):
            write_image(tmp_path / name / f"{number}.png")
    train, val = classify(tmp_path), classify(tmp_path, "val")
    assert names(val) == ["cat/0.png", "cat/5.png", "dog/0.png", "dog/5.png"]
    assert targets(train) == [0] * 4 + [1] * 4
    assert "every fifth image of each class is for validation" in train.note


def test_what_belongs_to_nothing_is_found(tmp_path) -> None:
    for name in ("a.png", "b.png", "b.jpg", "c.png"):
        write_image(tmp_path / "images" / "train" / name)
    for name in ("b.png", "c.png", "d.png"):
        write_mask(tmp_path / "masks" / "train" / name, [0, 1])
    findings = "\n".join(segment(tmp_path).findings)
    assert re.search(r"images/train/b\.jpg and .*images/train/b\.png share one name", findings)
    assert re.search(r"images/train/a\.png has no mask: .*masks/train/a\.png is not there", findings)
    assert re.search(r"masks/train/d\.png has no image: nothing named d is in .*images/train", findings)
    assert findings.count("\n") == 2
    assert names(segment(tmp_path)) == ["images/train/b.jpg", "images/train/c.png"]


def test_what_is_not_there_is_said(tmp_path) -> None:
    def fails(sentence: str, folder=tmp_path, split="train", task="segment", **options) -> None:
        with pytest.raises(ValueError, match=sentence):
            open_examples(folder, split, task=task, **options)

    fails("there is no folder or list .*nowhere", tmp_path / "nowhere")
    fails("unknown task 'segmentation': did you mean 'segment'", task="segmentation")
    fails("unknown layout 'cityscape': did you mean 'cityscapes'", layout="cityscape")
    fails("unknown layout 'voc': it is one of auto, folder, list", task="classify", layout="voc")
    fails("is laid out in no known way, it holds nothing: put images into images/ and masks")
    fails("there are no folders of classes in .*, it holds nothing: put the images of each class", task="classify")
    fails("there is no folder JPEGImages in .*, it holds nothing", layout="voc")
    fails("there is no folder leftImg8bit in", layout="cityscapes")
    fails(r"there is no list of the part 'train': .*train\.txt is not there", layout="list")
    (tmp_path / "images" / "train").mkdir(parents=True)
    fails("there is no folder masks in .*, it holds images/", layout="folder")
    (tmp_path / "masks").mkdir()
    fails("images/train has no masks: there is no folder .*masks/train")
    (tmp_path / "masks" / "train").mkdir()
    fails("there is no image with its target in the part 'train' of")
    write_image(tmp_path / "images" / "train" / "a.png")
    fails(
        r"no image with its target in the part 'train' of .*: .*a\.png has no mask: .*masks/train/a\.png is not there"
    )
    fails("there is no part 'val' in .*images: it has train", split="val")
    (tmp_path / "list.txt").write_text("")
    fails("there is no image with its target in the part", tmp_path / "list.txt")
    fails("list.txt is a file, and the layout 'folder' is of a folder", tmp_path / "list.txt", layout="folder")
    (tmp_path / "annotations").mkdir()
    fails("images/train has no masks: there is no folder .*annotations/train", layout="ade20k")
