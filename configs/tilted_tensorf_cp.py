"""TILTED on a factored grid (cp): factors in rotated frames that are learned with them.

Yi, Zeng, Buchanan, Ma: "Canonical Factors for Hybrid Neural Fields".
ICCV 2023. arXiv 2308.15461
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon.configs.tensorf_cp import PRESETS as BASE
from recon.fields.tilted import TiltedSettings
from recon.fit.system import System
from recon.optim.schedule import Schedule

_FRAMES = 4


def _tilted(base: System) -> System:
    """``base`` in four frames, each with a quarter of its components."""
    field: Any = base.field
    optimizer: Any = base.optimizer
    inner = replace(field, density_rank=field.density_rank // _FRAMES, colour_rank=field.colour_rank // _FRAMES)
    rates = optimizer.rates | {"rotation": Schedule(0.01, 0.0, begin=0.02, until=0.25)}
    return replace(base, field=TiltedSettings(inner, _FRAMES), optimizer=replace(optimizer, rates=rates))


PRESETS = {name: _tilted(system) for name, system in BASE.items()}
PRESET = "balanced"
