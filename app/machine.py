"""What this machine has: cores, instruction set, memory, versions. Read once, written into config.yaml."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from recon.errors import InputError

if TYPE_CHECKING:
    import torch

    from recon.fit.system import System

PACKAGES = ("torch", "numpy", "pillow", "pycolmap", "av", "tyro", "rich", "zstandard")


def cores() -> int:
    """Cores this process may use: affinity and container limits respected."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return max(1, count)


def memory_bytes() -> int:
    """Memory this process may use: the machine's, or its container's where that is less."""
    import psutil

    total = psutil.virtual_memory().total
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        total = min(total, int(limit)) if limit != "max" else total
    except (OSError, ValueError):
        pass
    return total


def default_memory() -> int:
    """The memory budget when none is given: half of what there is, between 1 and 4 GB."""
    return int(min(max(memory_bytes() / 2, 1e9), 4e9))


def isa() -> str:
    """The instruction set of the kernels in use, as people write it; "none" where they are not installed."""
    try:
        from recon.ops.native import native
    except ImportError:
        return "none"
    name = str(native.instruction_set)
    return {"avx512": "AVX-512", "avx2": "AVX2", "v2": "SSE4.2"}.get(name, name)


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    from recon import __version__

    out = {"recon": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def summary() -> dict[str, object]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "kernels": isa(),
    }


def use_threads(count: int) -> None:
    """Lets torch and the kernels use ``count`` threads."""
    import torch

    torch.set_num_threads(count)
    try:
        from recon.ops.native import native
    except ImportError:
        return
    native.set_threads(count)


def gpu_name() -> str:
    """What the first GPU calls itself."""
    import torch

    return str(torch.cuda.get_device_name(0))


def device_for(system: System, wanted: str | None) -> torch.device:
    """Where to fit: ``wanted`` is "cpu", "cuda", or "auto" or None = a GPU that can be used and knows this system.

    Raises InputError where CUDA was asked for and cannot be had, with what to do.
    """
    import torch

    from recon.fit.loop import refuse_what_is_not_on_cuda
    from recon.ops import cuda

    if wanted == "cpu":
        return torch.device("cpu")
    problem = cuda.problem()
    if wanted == "cuda":
        if problem is not None:
            raise InputError(f"--device cuda: {problem}", fix="Or fit on the processor: --device cpu.")
        refuse_what_is_not_on_cuda(system)
        return torch.device("cuda")
    if problem is not None:
        return torch.device("cpu")
    try:
        refuse_what_is_not_on_cuda(system)
    except InputError:
        return torch.device("cpu")
    return torch.device("cuda")


def unused_gpu(system: System, device: torch.device, wanted: str | None) -> str | None:
    """Of a GPU that is there and that a fit on ``device`` does not use: why; None where "cpu" was wanted."""
    import torch

    from recon.fit.loop import refuse_what_is_not_on_cuda
    from recon.ops import cuda

    if device.type == "cuda" or wanted == "cpu" or not torch.cuda.is_available():
        return None
    why = (cuda.problem() or "").partition(";")[0]
    try:
        refuse_what_is_not_on_cuda(system)
    except InputError as error:
        why = why or error.what
    return f"{gpu_name()} is not used: {why}; `recon doctor` says what to do"


def is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
