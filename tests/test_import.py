"""`import sightline` is quick and quiet: nothing heavy, no warning, no device touched. Modules count, not seconds."""

import json
import subprocess
import sys

HEAVY = {
    "matplotlib",
    "sklearn",
    "scipy",
    "rich",
    "tyro",
    "jinja2",
    "PIL",
    "pandas",
    "tensorboard",
    "triton",
    "gymnasium",
}

SCRIPT = """
import json, sys, warnings
warnings.simplefilter("error")
import torch
torch_alone = set(sys.modules)
{what}
names = sorted(set(sys.modules) - torch_alone)
print(json.dumps([names, torch.cuda.is_initialized()]))
"""


def added(what: str) -> set[str]:
    """The top-level packages that `what` imports on top of PyTorch's own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(what=what)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    names, device_touched = json.loads(done.stdout.splitlines()[-1])
    assert not device_touched
    assert not {name for name in names if name.startswith(("torch._dynamo", "torch._inductor"))}, "compilers are heavy"
    return {name.split(".")[0] for name in names}


def test_import_is_light() -> None:
    assert not added("import sightline") & HEAVY


def test_rooms_that_everybody_imports_are_light_and_so_is_help() -> None:
    rooms = "sightline.ops, sightline.layers, sightline.models, sightline.run, sightline.bench.measure, sightline.cli"
    assert not added(f"import {rooms}\nsightline.cli.main(['--help'])") & HEAVY
