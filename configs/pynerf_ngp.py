"""PyNeRF on ngp: a pyramid of resolutions, chosen by the size of the pixel at each sample.

Turki, Zollhöfer, Richardt, Ramanan: "PyNeRF: Pyramidal Neural Radiance Fields".
NeurIPS 2023. arXiv 2312.00252
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon.configs.ngp import PRESETS as BASE
from recon.fields.pyramid import PyramidSettings
from recon.fit.system import System


def _pyramid(base: System) -> System:
    """``base`` as a pyramid of about the same size: its coarser levels add tables, so each has a quarter fewer."""
    field: Any = base.field
    return replace(base, field=PyramidSettings(replace(field, levels=field.levels * 3 // 4)))


PRESETS = {name: _pyramid(system) for name, system in BASE.items()}
PRESET = "balanced"
