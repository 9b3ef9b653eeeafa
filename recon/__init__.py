"""Recon: photos in, 3D scene out. `recon.fit(...)`, `recon.load(run)`; see README and docs/architecture.md.

Nothing heavy is imported here: names are looked up on first use, so that `recon --help` stays instant.
"""

from __future__ import annotations

import importlib
import os
import types
from typing import Any

# Threads that wait for each other must not spin for long: on a busy machine spinning made steps several times slower.
# Read once by the OpenMP runtime that torch and the kernels share, so it has to be set before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

_LAZY = {
    "load": "recon.app.api",
    "run": "recon.app.api",
    "Run": "recon.app.api",
    "Camera": "recon.types",
    "Capture": "recon.types",
    "Gaussians": "recon.types",
    "Render": "recon.types",
    "InputError": "recon.errors",
}

__all__ = ["__version__", "fit", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'recon' has no attribute {name!r}")


class _CallablePackage(types.ModuleType):
    """``recon.fit(...)`` fits a scene; ``recon.fit.loop`` and the like are the engine's modules. One name for both."""

    def __call__(self, scene: Any, **options: Any) -> Any:
        """``recon.app.api.fit``."""
        return importlib.import_module("recon.app.api").fit(scene, **options)


fit: Any = importlib.import_module("recon.fit")  # an empty package; importing it sets recon.fit in any case
fit.__class__ = _CallablePackage
