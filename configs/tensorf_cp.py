"""Tensorial radiance fields: products of three lines (CP).

Chen, Xu, Geiger, Yu, Su: "TensoRF: Tensorial Radiance Fields".
ECCV 2022. arXiv 2203.09517
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs.tensorf import PRESETS as PLANES
from recon.fields.vector_matrix import FactoredSettings

_RANKS = {  # of density and of colour; lines hold little each
    "fast": FactoredSettings(form="cp", voxels=1_000_000, density_rank=32, colour_rank=48, layers=1, step=0.7),
    "balanced": FactoredSettings(form="cp", density_rank=48, colour_rank=96, layers=1, step=0.7),
    "quality": FactoredSettings(form="cp", voxels=16_000_000, density_rank=96, colour_rank=288),
}

PRESETS = {name: replace(system, field=_RANKS.get(name, _RANKS["balanced"])) for name, system in PLANES.items()}
PRESET = "balanced"
