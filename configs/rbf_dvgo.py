"""Gaussian RBFNet on a voxel grid: colour by one layer of Gaussian kernels in feature space.

Bouzidi, Laga, Wannous: "Gaussian RBFNet", later "GNF: Gaussian Neural Fields".
Preprint 2025. arXiv 2503.06762
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon.configs.dvgo import PRESETS as BASE
from recon.fields.rbf import RbfSettings
from recon.fit.system import System
from recon.optim.schedule import Schedule

_KERNELS = Schedule(5e-3, 5e-4)


def _rbf(base: System) -> System:
    field: Any = base.field
    optimizer: Any = base.optimizer
    rates = optimizer.rates | dict.fromkeys(("centres", "sharpness", "weights", "bias", "view"), _KERNELS)
    return replace(base, field=RbfSettings(field), optimizer=replace(optimizer, rates=rates))


PRESETS = {name: _rbf(system) for name, system in BASE.items()}
PRESET = "balanced"
