"""The page of the receptive-field study: growth, 7 x 7 to 3 x 3, the repairs in theory and in effect, the kernels.

Left out: measuring anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sightline.studies import page
from sightline.studies.page import Section, Table
from sightline.studies.receptive_field import charts, pictures
from sightline.studies.receptive_field.first_layer import MOST_SPARSE
from sightline.studies.receptive_field.repairs import DEEP, DILATED, EVEN, HOLES, NAMES, PLAIN, POOLED, STRIDED, Sight

Row = Mapping[str, Any]
NOISE, PUBLISHED = "noise", "AlexNet"
LEARNED = 0.3  # a median of oriented kernels that nothing untrained comes near
FULL_COLOUR = 4.0  # of a common scale, in deviations of each set's weights
TITLES = {
    "sparse": "trained: sparse answers",
    "rotation": "trained: which way up?",
    "place": "trained: where in which photograph?",
    "denoising": "trained: take the noise off",
    PUBLISHED: "AlexNet's own, from the file",
    NOISE: "not trained: noise, no result",
}
WHAT = {
    STRIDED: "stride 2 at three of its layers",
    POOLED: "a pooling after three of its layers",
    DILATED: "dilations 1, 2, 4, 8 in turn",
    HOLES: "dilation 4 everywhere",
}


@dataclass(frozen=True)
class Shown:
    """What is drawn and is no number."""

    photo: UInt8[np.ndarray, "h w 3"]
    sights: Sequence[Sight]
    kernels: Mapping[str, Float[Tensor, "k 3 y x"]]  # by task, of the first seed; NOISE, and PUBLISHED where given


def write_page(out: Path, results: Row, shown: Shown) -> Path:
    """Draw the pictures beside the page and return the page's path."""
    sections = [growth_section(results), seven_section(out, results), *repair_sections(out, results, shown)]
    if results["kernels"]:
        sections.append(kernel_section(out, results, shown))
    return page.write_page(
        out,
        title="What does a stack of convolutions see?",
        question=(
            "A convolution sees little. Larger steps (stride, pooling, dilation) and more layers are the repairs: how "
            "far can a neuron then see, and how far does it see in effect?"
        ),
        answer=answer_of(results),
        sections=sections,
        tables=tables_of(results)[1:],  # growth stands above
        results=results,
        unfinished="It ran with --quick: the numbers show the page and mean nothing.",
    )


def last_of(results: Row, name: str) -> Row:
    """The last layer of a network."""
    return [row for row in results["repairs"] if row["network"] == name][-1]


def answer_of(results: Row) -> list[tuple[str, str]]:
    """The page's first lines."""
    side = results["settings"]["side"]
    plain, deep, holes = (last_of(results, name) for name in (PLAIN, DEEP, HOLES))
    repairs = [last_of(results, name) for name in (STRIDED, POOLED, DILATED)]
    sees, effects = ([f"{one[key]:.0f}" for one in repairs] for key in ("size", "effective"))
    lines = [
        (
            "Each layer adds (K - 1) x dilation x the product of the strides before it.",
            f"For all {len(results['growth'])} stacks below the formula says what the engine finds by watching them "
            "run. K - 1 for each layer is the case of stride 1 and dilation 1.",
        ),
        (
            f"{plain['layers']} plain layers of 3 x 3 can see {plain['size']} pixels, {deep['layers']} can see "
            f"{deep['size']}" + (", the whole image." if deep["size"] >= side else f" of the image's {side}."),
            f"In effect {deep['layers']} layers see a blot in the middle: 95 % of what moves the neuron lies in as "
            f"many pixels as a square of {deep['effective']:.0f} has, half in one of {deep['half']:.0f}. Theory grows "
            "as n, effect as the square root of n.",
        ),
        (
            "Larger steps widen both.",
            f"In {plain['layers']} layers, stride, pooling and dilation can see {_listed(sees)} pixels, and see "
            f"{_listed(effects)} in effect, still most of it in the middle. Stride and pooling pay with the map: one "
            f"position for each {repairs[0]['stride'] or side:.0f} pixels. Dilation by {EVEN} alone spans "
            f"{holes['size']} pixels and reads {holes['pixels']} of {side * side}: it has holes.",
        ),
    ]
    return lines + kernel_answer(results["kernels"])


def kernel_answer(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What was learned, or that nothing was."""
    trained = [row for row in rows if row["task"] not in (NOISE, PUBLISHED)]
    if not trained:
        return []
    best = max(trained, key=lambda row: row["oriented_median"])
    noise = next(row for row in rows if row["task"] == NOISE)
    lead = "A trained first layer looks for edges, stripes and pairs of colours."
    if best["oriented_median"] < LEARNED:
        lead = "These first layers have not learned: they were trained for too few steps."
    said = (
        f"Of {len(trained)} tasks on two photographs, '{best['task']}' makes the most oriented kernels: "
        f"{best['oriented_median']:.2f} in the median, from 0 to 1. The noise that each began with has "
        f"{noise['oriented_median']:.2f}."
    )
    return [(lead, said)]


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def growth_section(results: Row) -> Section:
    """The formula beside the engine."""
    table = growth_table(results)
    return Section(
        "Growth for each layer",
        "A layer is written as its kernel, / stride, d dilation; what a layer adds stands in the same order. The last "
        "column counts K - 1 for each layer: right where no layer strides before the last or dilates.",
        page.table_markup(table.head, table.rows, "Growth of stacks", names=table.names),
    )


def growth_table(results: Row) -> Table:
    """Every stack, by formula and engine."""
    head = ["Stack", "Layers", "Each adds", "Formula", "Engine", "Pixels read", "Stride", "Padding", "By K - 1"]
    rows = [
        [
            row["stack"],
            ", ".join(row["layers"]),
            " + ".join(str(added) for added in row["adds"]),
            str(row["formula"]["size"]),
            str(row["engine"]["size"]),
            str(row["pixels"]),
            str(row["engine"]["stride"]),
            str(row["engine"]["padding"]),
            str(row["by_kernels_alone"]),
        ]
        for row in results["growth"]
    ]
    return Table("Growth", head, rows, names=3)


def seven_section(out: Path, results: Row) -> Section:
    """7 x 7 becomes 3 x 3."""
    seven = results["seven"]
    (out / "seven.png").write_bytes(pictures.draw_seven(seven))
    left, right = pictures.draw_seven_apart(seven)
    read = sorted({count for line in seven["read"] for count in line})
    said = "; ".join(
        f"output {place + 1} sees rows {box[0]} to {box[1]}, columns {box[2]} to {box[3]}"
        for place, box in enumerate(seven["boxes"])
    )
    figures = [
        page.picture(
            left,
            f"The input with nine outlined fields: {said}",
            title=f"Input, {seven['side']} x {seven['side']}",
            caption=f"The darker a pixel, the more outputs read it: {_listed([str(count) for count in read])}.",
        ),
        page.picture(
            right,
            "The output, nine positions numbered as their fields",
            title=f"Output, {seven['grid'][0]} x {seven['grid'][1]}",
            caption="Number and colour are those of the field.",
        ),
    ]
    return Section(
        "A stride makes the step larger: 7 x 7 becomes 3 x 3",
        f"Kernel {seven['kernel']}, stride {seven['stride']}, no padding. Each output sees {seven['kernel']} x "
        f"{seven['kernel']} pixels, and the next one begins {seven['stride']} further, so that neighbours share a line "
        "of pixels. From here on a layer's step is two pixels of the image.",
        page.side_by_side(figures),
    )


def repair_sections(out: Path, results: Row, shown: Shown) -> list[Section]:
    """Fields and heats on the photograph; sizes over depth; the law."""
    settings = results["settings"]
    rows = [last_of(results, sight.name) for sight in shown.sights]
    words = [f"can see {row['size']}, in effect {row['effective']:.0f} px" for row in rows]
    (out / "sights.png").write_bytes(pictures.draw_sights(shown.photo, shown.sights, words))
    fields, heats = [], []
    for sight, row, said in zip(shown.sights, rows, words, strict=True):
        field, heat = pictures.draw_alone(shown.photo, sight)
        what = f"{row['layers']} layers" + (f", {WHAT[sight.name]}" if sight.name in WHAT else "")
        alt = f"Field of {sight.name}: {said}"
        fields.append(page.picture(field, alt, title=sight.name, caption=f"{what}; {said}"))
        heats.append(page.picture(heat, f"Heat of {sight.name}", title=sight.name))
    seeds = _counted(settings["seeds"], "seed")
    line = f"{seeds} of random weights"
    return [
        Section(
            "What the repairs can see, and what they see in effect",
            f"One neuron in the middle of an image of {settings['side']} x {settings['side']} pixels. First line: "
            "bright pixels can reach it, dim ones cannot, exactly. 95 % of what moves it lies within the yellow line, "
            "50 % within the red one (drawn on the heat smoothed by a pixel or two, and by the dilation where it has "
            f"holes). Second line: the heat itself, by its root, of {line} over crops of two photographs.",
            page.side_by_side(fields, kind="strip") + page.side_by_side(heats, kind="strip"),
        ),
        Section(
            "Size over depth",
            "Sides in pixels; both axes are logarithmic. In effect: the side of the square with as many pixels as hold "
            "95 % of the heat, the mean over seeds. Such a square counts pixels, so a field with holes is small.",
            page.charts([("In theory and in effect", charts.sizes(results["repairs"], settings["side"]))])
            + charts.marks(),
        ),
        Section(
            "The law of the root",
            "Plain layers of 3 x 3. Uniform kernels follow the closed form, deviation = sqrt(n (K\N{SUPERSCRIPT TWO} "
            "- 1) / 12), to rounding. For random ones the square of the gradient does, in the mean; the gradient "
            "itself, the heat, is \N{SQUARE ROOT}2 wider. Either way the share of the theoretical field falls as 1 / "
            f"sqrt(n). Lines of random kernels are means over {seeds}, whose spread is too narrow to "
            "be drawn and stands in the table.",
            page.charts(
                [
                    ("Deviation of the heat, in pixels", charts.deviations(results["law"])),
                    ("Effective side over theoretical side", charts.shares(results["law"])),
                ]
            ),
        ),
    ]


def kernel_section(out: Path, results: Row, shown: Shown) -> Section:
    """Every set of kernels on one common scale, noise last and named so."""
    figures, sets = [], []
    for name in sorted(shown.kernels, key=list(TITLES).index):
        kernels = common(shown.kernels[name])
        row = next(row for row in results["kernels"] if row["task"] == name)
        png = pictures.draw_kernels(kernels, FULL_COLOUR)
        said = f"oriented {row['oriented_median']:.2f}, {_percent(row['opposed'])} oppose colours"
        sets.append((f"{TITLES[name]}\n{said}", kernels))
        figures.append(page.picture(png, f"{TITLES[name]}: {said}", title=TITLES[name], caption=said, pixels=True))
    (out / "kernels.png").write_bytes(pictures.draw_sets(sets, FULL_COLOUR))
    first = shown.kernels[NOISE]
    steps = _counted(results["settings"]["steps"], "step")
    return Section(
        "What the first layer looks for",
        f"{len(first)} kernels of {first.shape[2]} x {first.shape[3]}, as AlexNet has, trained for {steps} on "
        "scikit-learn's two photographs, without labels; beside them the noise that every task began with. One common "
        "scale: each set's weights are divided by their deviation, grey is zero, full colour is "
        f"{FULL_COLOUR:g} deviations. Oriented: 1 if all of a kernel's power runs in one direction, 0 if in all alike; "
        "the median. A kernel opposes colours where it is one shape in one colour against its complement. "
        f"The pictures are of the first seed, the numbers means over all; 'sparse' takes {MOST_SPARSE} steps at most.",
        page.side_by_side(figures),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def tables_of(results: Row) -> list[Table]:
    """Growth; the repairs' last layers; the law; the kernels; then every layer."""
    found = [growth_table(results)]
    head = ["Network", "Layers", "Can see", "Stride", "Pixels read", "In effect", "Lowest to highest", "Half within"]
    last = [row for name in NAMES for row in results["repairs"] if row["network"] == name]
    found.append(Table("Repairs", [*head, "Deviation"], [_repair(last_of(results, name)) for name in NAMES]))
    law = [
        [
            str(row["layers"]),
            str(row["size"]),
            f"{row['closed_form']:.3f}",
            f"{row['uniform']:.3f}",
            f"{row['linear']:.2f}",
            f"{row['linear_low']:.2f} to {row['linear_high']:.2f}",
            f"{row['relu']:.2f}",
            f"{row['relu_low']:.2f} to {row['relu_high']:.2f}",
            f"{row['relu_of_squares']:.2f}",
            f"{row['uniform_side'] / row['size']:.2f}",
            f"{row['relu_side'] / row['size']:.2f}",
        ]
        for row in results["law"]
    ]
    spread = "Lowest to highest"
    deviations = ["Closed form", "Uniform", "Random", spread, "With ReLU", spread, "Its squares"]
    found.append(
        Table("The law of the root", ["Layers", "Theory", *deviations, "Share, uniform", "Share, with ReLU"], law)
    )
    if results["kernels"]:
        found.append(kernel_table(results))
    found.append(Table("Every layer", [*head, "Deviation"], [_repair(row) for row in last]))
    return found


def _repair(row: Row) -> list[str]:
    return [
        row["network"],
        str(row["layers"]),
        str(row["size"]),
        "-" if row["stride"] is None else f"{row['stride']:g}",
        f"{row['pixels']} ({100 * row['share_of_image']:.0f} %)",
        f"{row['effective']:.1f}",
        f"{row['effective_low']:.1f} to {row['effective_high']:.1f}",
        f"{row['half']:.1f}",
        f"{row['deviation']:.2f}",
    ]


def kernel_table(results: Row) -> Table:
    """What every task made of the same noise, means over seeds."""
    head = ["Kernels", "Seeds", "Oriented, median", "Lowest to highest", "Above 0.5", "Oppose colours"]
    rows = []
    for row in results["kernels"]:
        score = "-" if row["score"] is None else f"{row['score']:.2f}"
        chance = "-" if row["chance"] is None else f"{row['chance']:.2f}"
        rows.append(
            [
                row["task"] if row["task"] != NOISE else "noise (not trained)",
                str(row["seeds"]),
                f"{row['oriented_median']:.2f}",
                f"{row['oriented_median_low']:.2f} to {row['oriented_median_high']:.2f}",
                _percent(row["oriented"]),
                _percent(row["opposed"]),
                f"{row['cycles_median']:.2f}",
                score,
                chance,
                "-" if row["seconds"] is None else f"{row['seconds']:.0f} s",
            ]
        )
    return Table("Kernels", [*head, "Cycles per pixel", "Score", "Without a task", "Training"], rows)


def common(kernels: Float[Tensor, "k 3 h w"]) -> Float[Tensor, "k 3 h w"]:
    """On the scale that all sets share: divided by the deviation of the set."""
    return kernels / kernels.square().mean().sqrt().clamp_min(torch.finfo(kernels.dtype).tiny)
