"""Layouts of folders for segmentation, each recognised by what lies there.

- "folder": images/ and masks/, of the same names (a.jpg, a.png), each with or without train/ and val/ in it; or
  train/images, train/masks, val/images, val/masks;
- "ade20k": images/{training,validation} and annotations/{training,validation}; 0 is "not labelled", and classes count
  from 1 (Zhou et al., 2017, http://sceneparsing.csail.mit.edu);
- "cityscapes": leftImg8bit/{train,val}/city/*_leftImg8bit.png and gtFine/{train,val}/city/*_gtFine_labelTrainIds.png,
  or *_labelIds.png, of whose numbers 19 count (Cordts et al., 2016, https://www.cityscapes-dataset.com);
- "voc": JPEGImages, SegmentationClass and the parts in ImageSets/Segmentation/*.txt; 255 does not count
  (Everingham et al., 2010, http://host.robots.ox.ac.uk/pascal/VOC);
- "list": text files (`list_files.py`).

Left out: polygons (Cityscapes' JSON, COCO, LabelMe), instances, coarse annotations, archives.
"""

from dataclasses import replace
from pathlib import Path

from sightline.vision.data.class_names import (
    ADE20K,
    CITYSCAPES_CLASSES,
    ade20k_names,
    ade20k_numbers,
    cityscapes_numbers,
)
from sightline.vision.data.list_files import find_list, read_list
from sightline.vision.data.listing import ALIASES, Listing, images_below, pair_up, part_of, shown, take_part
from sightline.vision.drawing.palette import VOC

LAYOUTS = ("folder", "ade20k", "cityscapes", "voc", "list")


def recognise(folder: Path) -> str:
    """The layout of a folder, or of a list.

    Raises:
        ValueError: it is none that is known.
    """
    if folder.is_file():
        return "list"
    has = {path.name for path in folder.iterdir() if path.is_dir()}
    if {"leftImg8bit", "gtFine"} <= has:
        return "cityscapes"
    if {"JPEGImages", "SegmentationClass"} <= has:
        return "voc"
    if {"images", "annotations"} <= has and (folder / "images" / "training").is_dir():
        return "ade20k"
    names = [name for names in ALIASES.values() for name in names]
    divided = any((folder / name / "images").is_dir() or (folder / "images" / name).is_dir() for name in names)
    if find_list(folder, "train") is not None and not divided:
        return "list"
    if {"images", "masks"} <= has or divided:
        return "folder"
    raise ValueError(
        f"{folder} is laid out in no known way, it holds {shown(folder.iterdir())}: put images into images/ and masks "
        "of the same names into masks/, or write a list (docs/data.md has the other layouts)"
    )


def find_masks(folder: Path, split: str, layout: str, ignore: int) -> Listing:
    """The images of a part and their masks.

    Raises:
        ValueError: what the layout asks for is not there; the sentence says what.
    """
    match layout:
        case "list":
            return read_list(folder, split, "segment")
        case "ade20k":
            return _ade20k(folder, split, ignore)
        case "cityscapes":
            return _cityscapes(folder, split, ignore)
        case "voc":
            return _voc(folder, split)
    return _folder(folder, split)


def _need(folder: Path, *names: str) -> None:
    for name in names:
        if not (folder / name).is_dir():
            raise ValueError(f"there is no folder {name} in {folder}, it holds {shown(folder.iterdir())}")


def _paired(layout: str, pairs: list[tuple[Path, Path]], findings: list[str], note: str = "") -> Listing:
    images, masks = tuple(image for image, _ in pairs), tuple(mask for _, mask in pairs)
    return Listing(layout, images, masks, tuple(findings), note, all_targets=masks)


def _folder(folder: Path, split: str) -> Listing:
    if not (folder / "images").is_dir():
        part = part_of(folder, split)
        if part is None:
            _need(folder, "images", "masks")
        assert part is not None
        _need(part, "images", "masks")
        parts = [folder / name for names in ALIASES.values() for name in names if (folder / name / "masks").is_dir()]
        listing = _paired("folder", *pair_up(part / "images", part / "masks"))
        return replace(listing, all_targets=_first([part / "masks" for part in parts]))
    _need(folder, "images", "masks")
    images, masks = part_of(folder / "images", split), part_of(folder / "masks", split)
    if images is not None:
        masks = folder / "masks" / images.name if masks is None else masks
        if not masks.is_dir():
            raise ValueError(f"{images} has no masks: there is no folder {masks}")
        listing = _paired("folder", *pair_up(images, masks))
        return replace(listing, all_targets=_first([folder / "masks"]))
    pairs, findings = pair_up(folder / "images", folder / "masks")
    kept, note = take_part(pairs, split)
    return replace(_paired("folder", kept, findings, note), all_targets=_first([folder / "masks"]))


def _first(folders: list[Path]) -> tuple[Path, ...]:
    return tuple(paths[0] for folder in folders for paths in images_below(folder).values())


def _ade20k(folder: Path, split: str, ignore: int) -> Listing:
    _need(folder, "images", "annotations")
    images = part_of(folder / "images", split)
    if images is None:
        raise ValueError(f"there is no folder training in {folder / 'images'}")
    masks = folder / "annotations" / images.name
    if not masks.is_dir():
        raise ValueError(f"{images} has no masks: there is no folder {masks}")
    listing = _paired("ade20k", *pair_up(images, masks))
    return replace(listing, names=ade20k_names(folder), stored=ade20k_numbers(ADE20K, ignore))


def _cityscapes(folder: Path, split: str, ignore: int) -> Listing:
    _need(folder, "leftImg8bit", "gtFine")
    images, masks = part_of(folder / "leftImg8bit", split), part_of(folder / "gtFine", split)
    if images is None or masks is None:
        raise ValueError(f"there is no folder {split} in {folder / ('gtFine' if images else 'leftImg8bit')}")
    ours = _stems(images, "_leftImg8bit.png")
    theirs, ending = _stems(masks, "_gtFine_labelTrainIds.png"), "_gtFine_labelTrainIds.png"
    stored = tuple((number, number) for number in range(len(CITYSCAPES_CLASSES)))
    if not theirs:
        theirs, ending = _stems(masks, "_gtFine_labelIds.png"), "_gtFine_labelIds.png"
        stored = cityscapes_numbers(ignore)
    findings = [f"{ours[name]} has no mask: {masks / name}{ending} is not there" for name in ours if name not in theirs]
    findings += [
        f"{theirs[name]} has no image: {images / name}_leftImg8bit.png is not there"
        for name in theirs
        if name not in ours
    ]
    listing = _paired("cityscapes", [(ours[name], theirs[name]) for name in ours if name in theirs], findings)
    return replace(listing, names=CITYSCAPES_CLASSES, stored=stored)


def _stems(folder: Path, ending: str) -> dict[str, Path]:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob(f"*{ending}"))
    return {name[: -len(ending)]: folder / name for name in names}


def _voc(folder: Path, split: str) -> Listing:
    _need(folder, "JPEGImages", "SegmentationClass")
    lists = folder / "ImageSets" / "Segmentation"
    part = lists / f"{split}.txt"
    if not part.is_file():
        there = shown(lists.glob("*.txt")) if lists.is_dir() else "nothing"
        raise ValueError(f"there is no list of the part '{split}': {part} is not there, its folder holds {there}")
    names = [line.strip() for line in part.read_text().splitlines() if line.strip()]
    pairs, findings = [], []
    for name in names:
        image, mask = folder / "JPEGImages" / f"{name}.jpg", folder / "SegmentationClass" / f"{name}.png"
        gone = [path for path in (image, mask) if not path.is_file()]
        findings += [f"{part} names {name}, and {path} is not there" for path in gone]
        if not gone:
            pairs.append((image, mask))
    return replace(
        _paired("voc", pairs, findings), names=VOC, stored=tuple((number, number) for number in range(len(VOC)))
    )
