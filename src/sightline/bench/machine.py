"""What stands beside every number: command, commit, machine, versions, and how busy the machine was.

Left out: names of hosts and users.
"""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch


def provenance() -> dict[str, str]:
    """Command, commit, machine and versions, as text."""
    return {"command": command(), "commit": commit(), "machine": machine(), "load": load()}


def command() -> str:
    """The command line that is running, as a reader of the checkout would type it."""
    program = Path(sys.argv[0]).resolve()
    if program.name in ("sightline", "__main__.py"):
        words = ["sightline"]
    else:
        here = Path.cwd().resolve()
        words = ["python", str(program.relative_to(here) if program.is_relative_to(here) else program.name)]
    return shlex.join(words + sys.argv[1:])


def commit() -> str:
    """The commit of the checkout that sightline runs from, "with changes" if tracked files differ from it."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        from sightline import __version__

        return f"release {__version__}"
    try:
        name = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name} with changes" if changed else name


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def machine() -> str:
    """Processor, cores, threads in use, accelerator, PyTorch and Python."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads in use{device}, "
        f"{torch.backends.cpu.get_cpu_capability()}, PyTorch {torch.__version__}, Python {platform.python_version()}"
    )


def load() -> str:
    """How many processes wanted to run over the last minute; a time taken under load is only as good as its ratio."""
    return f"{os.getloadavg()[0]:.1f} processes" if hasattr(os, "getloadavg") else "not known"


def memory_available() -> int | None:
    """Bytes that a process could take now without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
