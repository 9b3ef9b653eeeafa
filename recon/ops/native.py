"""Loads the compiled kernels that suit this processor.

One module per instruction set is installed; `RECON_ISA=v2|avx2|avx512` forces one (for tests and comparisons).
"""

from __future__ import annotations

import importlib
import os
import platform
from types import ModuleType

_ORDER = ("avx512", "avx2", "v2", "portable")


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    flags = {"avx2", "fma", "bmi2"} if capability in ("AVX2", "AVX512") else set()
    return flags | ({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} if capability == "AVX512" else set())


def supported() -> tuple[str, ...]:
    """Instruction sets this processor runs, best first."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ("portable",)
    flags = _cpu_flags()
    out = []
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"} <= flags:
        out.append("avx512")
    if {"avx2", "fma", "bmi2"} <= flags:
        out.append("avx2")
    return (*out, "v2")


def load(isa: str) -> ModuleType:
    """The kernels compiled for one instruction set."""
    return importlib.import_module(f"recon._native_{isa}")


def _choose() -> ModuleType:
    wanted = os.environ.get("RECON_ISA")
    failures = []
    for isa in (wanted,) if wanted else supported():
        try:
            return load(isa)
        except ImportError as error:
            failures.append(f"{isa}: {error}")
    tried = "; ".join(failures)
    raise ImportError(f"Recon's compiled kernels are missing: reinstall with `pip install .` ({tried})")


native = _choose()
