"""Whole episodes of one agent in one environment that draws, with what it thought and where it looked at every step.

Environment, actions and drawn noise are those of an evaluation of one environment with the same seed
(`rl/runs/evaluate.py`): the same episodes. Frames are kept as PNG files, which are small where games are drawn.

Left out: sounds, and several environments at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from sightline.play.gaze import Gaze, gaze_of
from sightline.play.thoughts import Bar, action_names, thoughts
from sightline.rl.acting import to_tensors
from sightline.rl.noise import NoiseStreams
from sightline.rl.policies.body import as_image
from sightline.rl.runs.loaded import LoadedAgent
from sightline.rl.trees import Arrays, map_arrays

DARK = 0.25  # a picture whose brightest byte is less is stretched
LARGEST = 640  # pixels of a frame's longer side, as it is kept


@dataclass(frozen=True)
class Step:
    """One decision, and what came of it."""

    frame: bytes  # PNG: what a person sees
    seen: bytes | None  # PNG: the image that the policy sees, the latest of a stack; kept with the gaze alone
    gaze: Gaze | None
    action: str
    bars: list[Bar]
    value: float
    reward: float


@dataclass(frozen=True)
class Episode:
    """From the reset to the end."""

    steps: tuple[Step, ...]
    last: bytes  # the frame after the last step
    ended: str  # "terminated", "truncated", or "cut off here"

    @property
    def total(self) -> float:
        """The undiscounted return."""
        return float(sum(step.reward for step in self.steps))


def play_episodes(
    agent: LoadedAgent,
    env: gymnasium.Env[Any, Any],
    episodes: int,
    *,
    greedy: bool,
    seed: int,
    gaze: bool,
    longest: int,
    show: Callable[[int, int, float], None] = lambda episode, step, total: None,
) -> list[Episode]:
    """Play.

    Args:
        agent: loaded.
        env: a single one, made with render_mode "rgb_array".
        episodes: how many.
        greedy: the most probable action, or a drawn one.
        seed: of the environment and of drawn actions.
        gaze: whether to ask where the policy looks.
        longest: steps after which an episode is cut off, 0 for never.
        show: told of every step: the episode's number from 0, steps in it, its return so far.

    Raises:
        ValueError: the environment draws nothing.
    """
    policy, names = agent.policy, action_names(env, env.action_space)
    noise = NoiseStreams(policy.fit.draw, 1, seed=seed)
    found = []
    for number in range(episodes):
        observation, _ = env.reset(seed=seed if number == 0 else None)
        past = policy.start(1)
        steps: list[Step] = []
        total, ended = 0.0, "cut off here"
        while longest == 0 or len(steps) < longest:
            rows = map_arrays(lambda one: np.asarray(one)[None], observation)
            rows = to_tensors(rows if agent.normaliser is None else agent.normaliser(rows), "cpu")
            drawn = torch.from_numpy(noise.ahead(1)[0])
            with torch.no_grad():
                features = policy.features(rows, past)
                distribution, value = policy.heads(features, rows)
                past = policy.after(features)
                raw = policy.mode(distribution) if greedy else policy.draw(distribution, drawn)
            look = gaze_of(policy.actor_body, rows) if gaze else None
            words, bars = thoughts(policy, distribution, raw, names)
            frame, seen = frame_of(env), None if look is None else _seen(agent, rows)
            observation, reward, terminated, truncated, _ = env.step(policy.to_space(raw.numpy())[0])
            total += float(reward)
            steps.append(Step(frame, seen, look, words, bars, float(value), float(reward)))
            show(number, len(steps), total)
            if terminated or truncated:
                ended = "terminated" if terminated else "truncated"
                break
        found.append(Episode(tuple(steps), frame_of(env), ended))
    return found


def frame_of(env: gymnasium.Env[Any, Any]) -> bytes:
    """The frame as a PNG file, made smaller where it is very large.

    Raises:
        ValueError: the environment gives none.
    """
    try:
        frame: Any = env.render()
    except NotImplementedError:
        frame = None
    if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8:
        raise ValueError(
            f"the environment draws no frame [h, w, 3] of uint8 with render_mode 'rgb_array', got "
            f"{type(frame).__name__}: it cannot be watched"
        )
    image = Image.fromarray(frame)
    image.thumbnail((LARGEST, LARGEST))
    return _png(image)


def pixels_of(png: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """What is in a PNG file."""
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, format="PNG", compress_level=3)
    return file.getvalue()


def _seen(agent: LoadedAgent, rows: Arrays) -> bytes:
    """The first image that the policy sees, the latest of a stack, as a picture."""
    path, space = agent.policy.actor_body.images[0]
    for key in path:
        rows = rows[key]
    image: Float[np.ndarray, "c h w"] = as_image(rows, space)[0].numpy()
    shape = tuple(space.shape or ())
    channels = len(image) // shape[0] if len(shape) == 4 else len(image)
    image = image[-channels:] if channels in (1, 3) else image[-1:]
    low, high = float(image.min()), float(image.max())
    if space.dtype != np.uint8 or high < DARK:  # numbers, or bytes that count kinds of things and are all but black
        image = (image - low) / max(high - low, 1e-12)
    picture = np.broadcast_to(
        np.clip(image * 255, 0, 255).round().astype(np.uint8).transpose(1, 2, 0), (*image.shape[1:], 3)
    )
    return _png(Image.fromarray(np.ascontiguousarray(picture)))
