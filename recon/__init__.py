"""Recon: photos in, 3D scene out. `recon.fit(...)`, `recon.load(run)`; see README and docs/architecture.md.

Nothing heavy is imported here: names are looked up on first use, so that `recon --help` stays instant.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# Threads that wait for each other must not spin for long: on a busy machine spinning made steps several times slower.
# Read once by the OpenMP runtime that torch and the kernels share, so it has to be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

_LAZY = {
    "fit": "recon.app.api",
    "load": "recon.app.api",
    "run": "recon.app.api",
    "Run": "recon.app.api",
    "Camera": "recon.types",
    "Capture": "recon.types",
    "Gaussians": "recon.types",
    "Render": "recon.types",
    "InputError": "recon.errors",
}

__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'recon' has no attribute {name!r}")
