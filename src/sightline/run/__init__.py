"""One training run: seed, device, run folder, metrics, checkpoint and exact resume.

A run folder holds `config.json` (what was built, objects as `package.module:object` with their arguments),
`metrics.jsonl` (one row per line) and `checkpoint/` (weights, optimiser, every random state). A run that was stopped,
killed or crashed and then resumed equals one that never stopped, bit for bit, on the same device with as many threads.

    folder = open_run("runs/mine", {"model": describe(CrissCross, channels=8), "steps": 100}, resume=True)
    model = load(folder)["model"]
    states, generators = {"optimizer": optimizer, "schedule": schedule}, {"order": order}
    first = load_checkpoint(folder, model, states=states, generators=generators).step if has_checkpoint(folder) else 0
    with stop_on_interrupt() as stop:
        for step in range(first, 100):
            ...
            append_metrics(folder, {"step": step, "loss": loss})
            if stop.requested or step == 99:
                save_checkpoint(folder, model, step=step + 1, states=states, generators=generators)
                break

Left out: several processes that write one folder, and remote storage.
"""

from sightline.run.checkpoint import Checkpoint, has_checkpoint, load_checkpoint, save_checkpoint
from sightline.run.config import describe, read_config, resolve
from sightline.run.device import choose_device, seed_everything
from sightline.run.files import write_whole
from sightline.run.folder import append_metrics, load, open_run, read_metrics
from sightline.run.stop import Stop, keep_interrupts_back, stop_on_interrupt

__all__ = [
    "Checkpoint",
    "Stop",
    "append_metrics",
    "choose_device",
    "describe",
    "has_checkpoint",
    "keep_interrupts_back",
    "load",
    "load_checkpoint",
    "open_run",
    "read_config",
    "read_metrics",
    "resolve",
    "save_checkpoint",
    "seed_everything",
    "stop_on_interrupt",
    "write_whole",
]
