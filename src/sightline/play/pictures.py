"""Pictures of the gaze, and a video of them.

A gaze is drawn on a picture in grey: the more of the attention lies on a cell, the more amber it is. Black and white
as they are means an even share or less; full amber is the largest share of the whole video, at least twice the even
one, so that a gaze that is almost even looks so. A white frame marks the cell with most
where it has half more than an even share.

Left out: mp4, whose encoders no wheel with a permissive licence brings: the video is an animated WebP, GIF or PNG.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from sightline.play.episodes import Episode, pixels_of
from sightline.run.files import write_whole

ENDINGS = (".webp", ".gif", ".png")
HEAT = np.array((255, 180, 0))
LUMINANCE = np.array((0.299, 0.587, 0.114))  # ITU-R BT.601
GREY, MOST = 0.62, 0.9  # brightness of the grey picture; the share of amber where the gaze is strongest
ALIKE = 0.8  # correlation from which a frame shows what the policy sees
LEAST = 2.0  # times the even share that full amber stands for, at least
MARKED = 1.5  # times the even share from which the cell with most is marked
GAP, MARGIN, LINE, NARROWEST = 8, 8, 18, 420  # pixels of the video
PAPER, INK, QUIET = (20, 23, 26), (237, 240, 243), (165, 174, 184)


def strongest(episodes: Sequence[Episode]) -> float:
    """The largest share of the attention on one cell, as a multiple of the even share; at least 2."""
    gazes = [step.gaze for episode in episodes for step in episode.steps if step.gaze is not None]
    return max([LEAST, *(float(one.weights.max()) / one.even for one in gazes)])


def shows_the_same(episodes: Sequence[Episode]) -> bool:
    """Whether frames show what the policy sees: made as small as its image, they correlate with it in brightness.

    A position of the gaze then lies at the same place of the frame. A view from above beside a view from within, a
    part of the scene or another form do not.
    """
    found = []
    for step in [step for episode in episodes for step in episode.steps if step.seen is not None][:40]:
        assert step.seen is not None
        seen = pixels_of(step.seen)
        small = Image.fromarray(pixels_of(step.frame)).resize((seen.shape[1], seen.shape[0]), Image.Resampling.BOX)
        one, other = (picture @ LUMINANCE for picture in (np.asarray(small), seen))
        if one.std() > 0 and other.std() > 0:
            found.append(float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
    return bool(found) and float(np.mean(found)) >= ALIKE


def gaze_picture(
    picture: UInt8[np.ndarray, "h w 3"], times: Float[np.ndarray, "y x"] | None, full: float
) -> UInt8[np.ndarray, "hh ww 3"]:
    """A picture in grey with the gaze on it, enlarged by a whole number where cells would be a few pixels.

    Args:
        picture: what is looked at.
        times: of every cell, the share of attention over the even share; None: nothing is drawn.
        full: what full amber stands for.
    """
    scale = max(1, 160 // max(picture.shape[:2]))
    large = picture.repeat(scale, 0).repeat(scale, 1)
    grey = np.repeat((large @ LUMINANCE)[..., None], 3, 2) * GREY
    if times is None:
        return grey.round().astype(np.uint8)
    h, w = grey.shape[:2]
    rows, columns = np.arange(h) * times.shape[0] // h, np.arange(w) * times.shape[1] // w
    share = np.clip((times - 1) / (full - 1), 0, 1)[rows][:, columns, None] * MOST
    lit = (grey * (1 - share) + HEAT * share).round().astype(np.uint8)
    y, x = np.unravel_index(int(times.argmax()), times.shape)
    ys, xs = np.flatnonzero(rows == y), np.flatnonzero(columns == x)
    if len(ys) and len(xs) and times.max() >= MARKED:
        lit[ys[0] : ys[-1] + 1, [xs[0], xs[-1]]] = 255
        lit[[ys[0], ys[-1]], xs[0] : xs[-1] + 1] = 255
    return lit


def views(episode: Episode, full: float, same: bool, gazes: bool) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Frame and gaze of every step, then of the end, where nothing is decided."""
    for step in episode.steps:
        frame = pixels_of(step.frame)
        if step.gaze is None or step.seen is None:
            yield frame, None
        else:
            on = frame if same else pixels_of(step.seen)
            yield frame, gaze_picture(on, step.gaze.weights / step.gaze.even, full)
    last = pixels_of(episode.last)
    yield last, gaze_picture(last, None, full) if gazes and same else None


def write_video(
    file: Path, episodes: Sequence[Episode], *, full: float, same: bool, caption: str, scale: int, rate: float
) -> None:
    """Write the video: frame, gaze beside it, and below what was done and expected.

    Args:
        file: ends in .webp, .gif or .png.
        episodes: at least one.
        full: what full amber stands for, from `strongest`.
        same: from `shows_the_same`.
        caption: one sentence about the gaze; empty where there is none.
        scale: pixels for each pixel of a frame, 0 for as many as make it about 320 high or wide.
        rate: frames a second.

    Raises:
        OSError: it cannot be written.
    """
    height, width = pixels_of(episodes[0].last).shape[:2]
    side = scale if scale > 0 else max(1, round(320 / max(height, width)))
    size = (width * side, height * side)
    pictures, times = [], []
    for number, episode in enumerate(episodes):
        total = 0.0
        for at, (frame, gaze) in enumerate(views(episode, full, same, bool(caption))):
            over = at == len(episode.steps)
            where = f"episode {number + 1} of {len(episodes)}, step {at}, return {total:.4g}"
            if over:
                words = [where, f"{episode.ended} after {at} steps"]
            else:
                step = episode.steps[at]
                best = next((f" ({bar.text})" for bar in step.bars if bar.chosen and bar.at is None), "")
                words = [where, f"{step.action}{best}, expects {step.value:.3g}"]
                total += step.reward
            pictures.append(_compose(frame, gaze, size, words, caption))
            times.append(1200 if over else max(20, round(1000 / rate)))
    file.parent.mkdir(parents=True, exist_ok=True)
    data = BytesIO()
    kind = {".webp": "WEBP", ".gif": "GIF", ".png": "PNG"}[file.suffix.lower()]
    options = {"lossless": side > 1, "quality": 80, "method": 3} if kind == "WEBP" else {}
    pictures[0].save(data, format=kind, save_all=True, append_images=pictures[1:], duration=times, loop=0, **options)
    write_whole(file, data.getvalue())


def _compose(
    frame: np.ndarray, gaze: np.ndarray | None, size: tuple[int, int], words: Sequence[str], caption: str
) -> Image.Image:
    tiles = 2 if caption else 1
    width = max(NARROWEST, tiles * size[0] + (tiles - 1) * GAP + 2 * MARGIN)
    font, small = ImageFont.load_default(14), ImageFont.load_default(12)
    lines = _wrapped(caption, small, width - 2 * MARGIN)
    height = size[1] + 2 * MARGIN + LINE * (len(words) + len(lines)) + MARGIN
    page = Image.new("RGB", (width + width % 2, height + height % 2), PAPER)
    left = (width - tiles * size[0] - (tiles - 1) * GAP) // 2
    for place, picture in enumerate([frame, gaze][:tiles]):
        if picture is None:
            continue
        image = Image.fromarray(picture)
        factor = min(size[0] / image.width, size[1] / image.height)
        fitted = image.resize(
            (max(1, round(image.width * factor)), max(1, round(image.height * factor))),
            Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.BOX,
        )
        page.paste(fitted, (left + place * (size[0] + GAP), MARGIN))
    pen, y = ImageDraw.Draw(page), size[1] + 2 * MARGIN
    for line in words:
        pen.text((MARGIN, y), line, INK, font)
        y += LINE
    for line in lines:
        pen.text((MARGIN, y), line, QUIET, small)
        y += LINE
    return page


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
