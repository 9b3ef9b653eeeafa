"""recon doctor: what this machine has, what will be used, what is missing."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recon.app import command_line, machine

# package -> (what it is for, the one command that gets it)
_PACKAGES = {
    "torch": ("tensors", "pip install torch"),
    "pycolmap": ("camera poses from plain photos", "pip install pycolmap"),
    "av": ("videos, in and out", "pip install av"),
    "PIL": ("images", "pip install pillow"),
    "zstandard": (".spz version 4", "pip install zstandard"),
    "psutil": ("memory limits", "pip install psutil"),
}
_OPTIONAL = {
    "pillow_heif": ("HEIC photos", "pip install 'recon-scene[heic]'"),
    "lpips": ("LPIPS in metrics.json, with AlexNet's weights in torch's hub folder", "pip install lpips torchvision"),
    "gsplat": ("for comparisons; a wheel with its kernels also for GPUs where there is no nvcc", "pip install gsplat"),
}


@dataclass(frozen=True)
class Arguments:
    """Say what this machine has, what will be used, and what is missing.

    Example:
      recon doctor
    """


def run(argv: Sequence[str]) -> int:
    command_line.parse(Arguments, argv, prog="recon doctor")
    from recon import __version__
    from recon.app.sizes import format_bytes

    wrong: list[str] = []
    cores = machine.cores()
    _row("Recon", f"{__version__} in {Path(__file__).resolve().parents[2]}, Python {sys.version.split()[0]}")
    _row("Processor", f"{machine.processor()}, {cores} core{'s' if cores > 1 else ''} usable")
    _row("Memory", f"{format_bytes(machine.memory_bytes())}; a fit uses at most "
                   f"{format_bytes(machine.default_memory())} unless --memory says otherwise")
    free = shutil.disk_usage(Path.cwd()).free
    _row("Disk", f"{format_bytes(free)} free here")
    if free < 500e6:
        wrong.append("little disk space: a run needs up to 500 MB")
    _kernels(wrong)
    _gpu()
    for name, (purpose, command) in _PACKAGES.items():
        if importlib.util.find_spec(name) is None:
            _row(name, f"missing ({purpose})")
            wrong.append(f"{name} is missing ({purpose}): {command}")
    known = machine.versions()
    _row("Packages", ", ".join(f"{n} {v}" for n, v in known.items() if n not in ("recon", "python")))
    for name, (purpose, command) in _OPTIONAL.items():
        state = "installed" if importlib.util.find_spec(name) else f"not installed: {command}"
        _row("Optional", f"{name}, {purpose}: {state}")
    print()
    for problem in wrong:
        print(f"To mend     {problem}")
    print("Ready: recon fit SCENE" if not wrong else f"{len(wrong)} thing{'s' if len(wrong) > 1 else ''} to mend.")
    return 0 if not wrong else 2


def _row(label: str, text: str) -> None:
    print(f"{label:<12}{text}")


def _kernels(wrong: list[str]) -> None:
    names = {"avx512": "AVX-512", "avx2": "AVX2", "v2": "SSE4.2", "portable": "portable C++"}
    try:
        from recon.ops import native
    except ImportError as error:
        _row("Kernels", f"missing: {error}")
        wrong.append("the compiled kernels are missing: pip install --force-reinstall recon-scene")
        return
    usable = ", ".join(names.get(isa, isa) for isa in native.supported())
    installed = [isa for isa in native.supported() if importlib.util.find_spec(f"recon._native_{isa}")]
    _row("Kernels", f"{machine.isa()} in use; this processor runs {usable}; installed here: "
                    f"{', '.join(names.get(isa, isa) for isa in installed)}")


def _gpu() -> None:
    import torch

    from recon.ops import cuda

    problem, name = cuda.problem(), torch.cuda.get_device_name(0) if torch.cuda.is_available() else ""
    if problem is None:
        names = cuda.backends()
        used = {"gsplat": "Gaussians", "nerfacc": "volumes", "recon": "Gaussians and volumes"}
        what = " and ".join(used[n] for n in names if n in used)
        whose = "" if names == ("recon",) else f"; by {' and '.join(names)}"
        _row("GPU", f"{name}, used by fits of {what} (--device cpu: not){whose}")
        if names != ("recon",):
            problem = cuda.missing() or "Recon's own kernels are left out by RECON_CUDA_BACKEND"
    elif name or shutil.which("nvidia-smi"):
        _row("GPU", f"{name or 'there is one'}, not used: fits run on the processor")
    else:
        _row("GPU", "none found, none needed")
        return
    for part in (problem or "").split("; "):
        if part:
            _row("", part[0].upper() + part[1:])
