"""What `sightline act` does: build the agent, open the run folder, train, evaluate, say how it went and where it lies.

Left out: the loop itself (`loop.py`).
"""

import json
from collections.abc import Mapping

import torch
from threadpoolctl import threadpool_limits

from sightline.rl.acting import Acting
from sightline.rl.runs.build import config_of, environment_of, make_envs, make_learner, updates
from sightline.rl.runs.evaluate import Evaluation, evaluate
from sightline.rl.runs.live import live
from sightline.rl.runs.loop import Every, Learns, fit, resume
from sightline.rl.runs.settings import Settings
from sightline.run.denormals import denormals_are_zero
from sightline.run.device import choose_device, seed_everything
from sightline.run.files import write_whole
from sightline.run.folder import open_run
from sightline.run.processes import by_the_first, local_device, open_processes, processes
from sightline.run.stop import stop_on_interrupt
from sightline.run.tensorboard import write_events

EVALUATION = "evaluation.json"
APART = 104_729  # added to the seed of environments that evaluate


def run_agent(settings: Settings) -> None:
    """Train as the settings say, in their run folder; alone or as one of the processes that torchrun started.

    Raises:
        ValueError: a setting, the environment or the run in the folder does not fit; one sentence says which.
        OSError: a file cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, once a checkpoint is written.
    """
    run = settings.run
    if run.steps < 1:
        raise ValueError(f"an agent takes 1 step or more, got --steps {run.steps}")
    if run.threads > 0:
        torch.set_num_threads(run.threads)
    with denormals_are_zero(), threadpool_limits(run.threads or None), open_processes() as me:
        try:
            learner, ended, evaluations = _train(settings)
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if not ended:
            if not me.writes:  # one process says it
                raise SystemExit(130)
            raise KeyboardInterrupt(
                f"stopped after step {learner.steps} of {run.steps}; the same command with --resume goes on from there"
            )
        if me.writes:
            _finish(settings, learner, evaluations)


def _train(settings: Settings) -> tuple[Learns, bool, dict[int, Evaluation]]:
    """The learner, whether the end was reached, and the evaluations on the way by their step."""
    run, me = settings.run, processes()
    device = choose_device(local_device(run.device))
    seed_everything(run.seed)
    learner = make_learner(settings, device)
    config = config_of(settings, learner.envs)
    by_the_first(lambda: open_run(run.out, config, resume=run.resume))
    note = resume(learner, run.out, seed=run.seed)
    if note is not None and me.writes:
        print(f"mind: {note}")
    evaluations: dict[int, Evaluation] = {}

    def evaluate_now() -> Mapping[str, float]:
        evaluations[learner.steps] = found = _evaluation(settings, learner)
        return {"evaluation_mean": found.mean, "evaluation_spread": found.spread}

    shown = live(run.steps)
    with stop_on_interrupt(repeated=me.count > 1) as stop, shown as show:
        ended = fit(
            learner,
            lambda: updates(learner, settings.agent, run.steps),
            run.out,
            steps=run.steps,
            every=Every(run.save_every, run.evaluate_every),
            evaluate=evaluate_now,
            stop=lambda: stop.requested,
            show=show if me.writes else lambda row: None,
        )
    learner.envs.close()
    return learner, ended, evaluations


def _evaluation(settings: Settings, learner: Learns) -> Evaluation:
    """Episodes in environments of their own."""
    run = settings.run
    count = max(n for n in range(1, run.envs + 1) if run.evaluation_episodes % n == 0)  # so many episodes, and no more
    envs = make_envs(environment_of(run), count, trust=run.trust)
    acting = Acting(learner.policy, learner.normaliser, greedy=not run.evaluation_sampled)
    try:
        return evaluate(acting, envs, run.evaluation_episodes, seed=run.seed + APART)
    finally:
        envs.close()


def _finish(settings: Settings, learner: Learns, evaluations: Mapping[int, Evaluation]) -> None:
    """The last evaluation, and where everything is."""
    run = settings.run
    if run.tensorboard:
        write_events(run.out)
    words = ""
    if run.evaluation_episodes:
        found = evaluations.get(learner.steps) or _evaluation(settings, learner)
        summary = {"steps": learner.steps, "sampled": run.evaluation_sampled, **found.summary()}
        write_whole(run.out / EVALUATION, json.dumps(summary, indent=2) + "\n")
        how = "drawn actions" if run.evaluation_sampled else "the most probable actions"
        words = f"return {found.mean:.4g} +- {found.spread:.3g} over {len(found.returns)} episodes with {how}; "
    print(f"{words}wrote {run.out}")
