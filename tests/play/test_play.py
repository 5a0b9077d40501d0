"""`sightline play`: the episodes of an evaluation, the video and the page that tell them, what cannot be seen."""

import json
import re
import shutil
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image
from tests.play.made_up_agent import trained

from sightline.cli import main
from sightline.envs import making
from sightline.play.command import Play, run
from sightline.play.episodes import Episode, Step, pixels_of
from sightline.play.gaze import Gaze
from sightline.play.page import write_page
from sightline.play.pictures import gaze_picture, shows_the_same, strongest
from sightline.play.thoughts import action_names, thoughts
from sightline.rl.policies.policy import make_policy
from sightline.rl.policies.settings import PolicySettings
from sightline.rl.runs.evaluate import evaluate
from sightline.rl.runs.loaded import load_agent

ATTENDS = PolicySettings(hidden=(8,), encoder="non-local")


@pytest.fixture(scope="module")
def catch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "catch", policy=ATTENDS)


def data_of(page: Path) -> dict:
    return json.loads(re.search(r'id="played">(.*?)</script>', page.read_text())[1])


@pytest.mark.parametrize("greedy", [True, False])
def test_the_episodes_are_those_of_an_evaluation(catch: Path, greedy: bool, tmp_path: Path) -> None:
    played = run(Play(catch, episodes=6, greedy=greedy, seed=3, gaze=False, out=tmp_path / "a.gif"))
    agent = load_agent(catch)
    told = evaluate(agent.acting(greedy=greedy), agent.make_envs(1), 6, seed=3)
    assert [one.total for one in played] == list(told.returns)
    assert [len(one.steps) for one in played] == list(told.lengths)


@pytest.mark.parametrize("greedy", [True, False])
def test_a_policy_with_a_memory_plays_as_it_is_evaluated(greedy: bool, tmp_path: Path) -> None:
    policy = PolicySettings(hidden=(8,), memory=6)
    folder = trained(tmp_path / "run", "sightline/Recall-v0", policy=policy, steps=6400)
    played = run(Play(folder, episodes=6, greedy=greedy, seed=3, out=tmp_path / "a.gif"))
    agent = load_agent(folder)
    told = evaluate(agent.acting(greedy=greedy), agent.make_envs(1), 6, seed=3)
    assert [one.total for one in played] == list(told.returns)


def test_a_run_becomes_a_video_and_a_page(catch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    played = run(Play(catch, episodes=2))
    said = capsys.readouterr().out
    assert said.endswith(f"wrote {catch / 'play.webp'} and {catch / 'play.html'}\n")
    assert "return" in said
    with Image.open(catch / "play.webp") as video:
        assert video.n_frames == 2 * 10  # nine decisions and the end
    told = data_of(catch / "play.html")
    assert [one["total"] for one in told["episodes"]] == [one.total for one in played]
    first, step = told["episodes"][0]["steps"][0], played[0].steps[0]
    assert first["action"] == step.action in ("left", "stay", "right")
    assert sum(bar["to"] for bar in first["bars"]) == pytest.approx(1, abs=1e-3)
    assert max(first["bars"], key=lambda bar: bar["to"])["chosen"]
    assert first["value"] == pytest.approx(step.value, rel=1e-3)
    assert all(len(one["pictures"]) == 10 and all(pair[1] for pair in one["pictures"]) for one in told["episodes"])
    text = (catch / "play.html").read_text()
    assert "the attention that each cell gets from the mean of all 50 positions in attention" in text
    assert "Half of its attention lies on" in text
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_a_network_that_no_agent_trained_is_played(catch: Path, tmp_path: Path) -> None:
    folder = tmp_path / "taught"
    shutil.copytree(catch, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "agent": "learned from a planner"}))
    run(Play(folder, episodes=1, gaze=False))
    text = (folder / "play.html").read_text()
    assert "A network that learned from a planner, trained for 64 steps, takes the most probable action" in text
    assert "is discounted by" not in text
    run(Play(catch, episodes=1, gaze=False, out=tmp_path / "b.webp"))
    assert "PPO, trained for 64 steps" in (tmp_path / "b.html").read_text()


def test_a_frame_shows_the_board_of_its_own_step(catch: Path, tmp_path: Path) -> None:
    """The end too, where a batch of environments would show the next episode's beginning."""
    (played,) = run(Play(catch, episodes=1, out=tmp_path / "a.webp"))
    frames = [pixels_of(step.frame) for step in played.steps] + [pixels_of(played.last)]
    balls = [np.argwhere((frame[::16, ::16] == (255, 160, 40)).all(-1)) for frame in frames]
    assert [int(one[0, 0]) for one in balls[:-1]] == list(range(9))
    assert played.ended == "terminated"
    assert (len(balls[-1]) == 0) == (played.total == 1)  # the paddle covers a ball that it has caught
    assert shows_the_same([played])


def test_no_gaze_where_nothing_attends(tmp_path: Path) -> None:
    folder = trained(tmp_path / "cart", "CartPole-v1", normalise_rewards=True)
    (played,) = run(Play(folder, episodes=1, longest=3))
    assert played.ended in ("cut off here", "terminated")
    told = data_of(folder / "play.html")
    assert all(pair[1] is None for pair in told["episodes"][0]["pictures"])
    text = (folder / "play.html").read_text()
    assert "Where does it look?" not in text
    assert "in the scale of the rewards that it learned from" in text
    with pytest.raises(ValueError, match="reads no image, so it looks nowhere: leave it out"):
        run(Play(folder, gaze=True))


def test_a_gaze_that_there_is_not(tmp_path: Path) -> None:
    folder = trained(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"no attention over the image was found .* \(--encoder non-local"):
        run(Play(folder, episodes=1, gaze=True))


def test_mistakes_are_one_sentence(
    catch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", str(catch), "--out", str(tmp_path / "a.mp4")]) == 2
    assert "a video ends in .webp, .gif, .png, got --out" in capsys.readouterr().err
    assert main(["play", str(catch), "--episodes", "0"]) == 2
    assert "1 episode or more" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text('{"kind": "act"}')
    assert main(["play", str(tmp_path / "empty")]) == 2
    assert "has no checkpoint yet" in capsys.readouterr().err
    cart = trained(tmp_path / "cart", "CartPole-v1")
    find = making.importlib.util.find_spec
    monkeypatch.setattr(making.importlib.util, "find_spec", lambda name: None if name == "pygame" else find(name))
    assert main(["play", str(cart)]) == 2
    assert "pip install 'sightline[play]'" in capsys.readouterr().err
    assert main(["export", str(catch), "--normalise"]) == 2
    assert "leave out --format, --normalise and --size" in capsys.readouterr().err


class Blind(gymnasium.Env):
    """Draws nothing."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, True, False, {}


def test_an_environment_that_draws_nothing(tmp_path: Path) -> None:
    folder = trained(tmp_path / "blind", "tests.play.test_play:Blind", trust=True)
    with pytest.raises(ValueError, match=r"draws no frame .* got NoneType: it cannot be watched"):
        run(Play(folder, trust=True))


def gazed(frame: np.ndarray, seen: np.ndarray, weights: np.ndarray) -> Episode:
    from sightline.play.episodes import _png

    png = [_png(Image.fromarray(one)) for one in (frame, seen)]
    gaze = Gaze(weights, 1 / weights.size, "attention", "all")
    return Episode((Step(png[0], png[1], gaze, "0", [], 0.0, 0.0),), png[0], "truncated")


def test_a_gaze_lies_on_a_frame_only_if_it_shows_the_same() -> None:
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    weights = np.full((3, 4), 1 / 12)
    assert shows_the_same([gazed(seen.repeat(5, 0).repeat(7, 1), seen, weights)])
    assert not shows_the_same([gazed(seen[::-1, ::-1].repeat(5, 0).repeat(5, 1), seen, weights)])
    assert not shows_the_same([gazed(np.zeros((6, 8, 3), np.uint8), seen, weights)])
    assert strongest([gazed(seen, seen, weights)]) == 2  # even, and so it stays grey
    weights = np.zeros((3, 4))
    weights[1, 2] = 0.5
    assert strongest([gazed(seen, seen, weights)]) == 6


def test_a_gaze_is_drawn_where_it_lies() -> None:
    black = np.zeros((160, 160, 3), np.uint8)
    times = np.array([[0.0, 1.0], [2.0, 3.0]])
    drawn = gaze_picture(black, times, 3.0)
    assert drawn[40, 40].tolist() == drawn[40, 120].tolist() == [0, 0, 0]
    assert drawn[120, 120].tolist() == [230, 162, 0]
    assert drawn[120, 40].tolist() == [115, 81, 0]
    frame = np.argwhere((drawn == 255).all(-1))
    assert frame.min(0).tolist() == [80, 80]
    assert frame.max(0).tolist() == [159, 159]
    assert not (gaze_picture(black, np.full((2, 2), 1.2), 3.0) == 255).any()


def test_a_page_that_would_be_too_large_shows_fewer_frames(catch: Path, tmp_path: Path) -> None:
    played = run(Play(catch, episodes=1, out=tmp_path / "a.gif"))
    page = write_page(
        tmp_path / "small.html", load_agent(catch), played,
        greedy=True, caption="", full=2.0, same=True, rate=5.0, command="", budget=1200,
    )  # fmt: skip
    told = data_of(page)
    assert told["every"] > 1
    assert len(told["episodes"][0]["pictures"]) < 10
    assert len(told["episodes"][0]["steps"]) == 9
    assert f"one frame in {told['every']}" in page.read_text()


@pytest.mark.parametrize(
    ("space", "words", "labels"),
    [
        (spaces.Discrete(3, start=4), "5", ["4", "5", "6"]),
        (spaces.MultiDiscrete([2, 3]), "1, 1", [f"choice {i}: {j}" for i, n in ((0, 2), (1, 3)) for j in range(n)]),
        (spaces.MultiBinary(2), "11", ["bit 0", "bit 1"]),
        (spaces.Box(-2, 2, (2,), np.float32), "1.00, 1.00", ["number 0", "number 1"]),
    ],
)
def test_every_kind_of_action_is_told(space: spaces.Space, words: str, labels: list[str]) -> None:
    observed = spaces.Box(-1, 1, (2,), np.float32)
    policy = make_policy(observed, space).eval()
    env = type("Env", (), {"unwrapped": None, "spec": None})()
    with torch.no_grad():
        distribution = policy.distribution(torch.zeros(1, 2))
        raw = torch.ones_like(policy.mode(distribution))
        said, bars = thoughts(policy, distribution, raw, action_names(env, space))
    assert said == words
    assert [bar.label for bar in bars] == labels
    if isinstance(space, spaces.Box):
        assert [(bar.start, bar.to, bar.at) for bar in bars] == [pytest.approx((0.25, 0.75, 0.75), abs=0.01)] * 2
    else:
        chosen = [bar.label for bar in bars if bar.chosen]
        assert len(chosen) == {"Discrete": 1, "MultiDiscrete": 2, "MultiBinary": 2}[type(space).__name__]


def test_actions_have_the_names_that_their_environment_gives_them() -> None:
    from sightline.envs.catch import LEFT, RIGHT, STAY

    env = gymnasium.make("sightline.envs:sightline/Catch-v0")
    names = action_names(env, env.action_space)
    assert (names[LEFT], names[STAY], names[RIGHT]) == ("left", "stay", "right")
    pytest.importorskip("minigrid")
    grid = making.make_environment("MiniGrid-Empty-5x5-v0", {})
    assert action_names(grid, grid.action_space)[:3] == ("left", "right", "forward")
