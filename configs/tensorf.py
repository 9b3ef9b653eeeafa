"""Tensorial radiance fields: planes times lines (VM).

Chen, Xu, Geiger, Yu, Su: "TensoRF: Tensorial Radiance Fields".
ECCV 2022. arXiv 2203.09517
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs._volumes import FACTORS, conversion, marched
from recon.fields.vector_matrix import FactoredSettings
from recon.optim.schedule import Schedule
from recon.strategies.average import AverageSteps
from recon.strategies.occupancy import ShrinkOccupancy
from recon.strategies.refine import Refine

_FACTORS = ("density_lines", "density_planes", "colour_lines", "colour_planes")
_BASE = marched(
    FactoredSettings(voxels=3_000_000, density_rank=16, colour_rank=48, layers=1, step=0.7),
    rates=dict.fromkeys(_FACTORS, FACTORS),
    strategies={"refine": Refine(), "occupancy": ShrinkOccupancy(begin=0.2), "average": AverageSteps(begin=0.9)},
    steps=10_000,
)

PRESETS = {
    "fast": replace(_BASE, field=FactoredSettings(voxels=1_000_000, colour_rank=16, layers=1, step=0.7), steps=2_000),
    "balanced": _BASE,
    "quality": replace(_BASE, field=FactoredSettings(voxels=16_000_000, density_rank=16, colour_rank=48),
                       steps=30_000),
    "conversion": conversion(_BASE, 1_750, dict.fromkeys(_FACTORS, Schedule(0.05, 0.01))),
}
PRESET = "balanced"
