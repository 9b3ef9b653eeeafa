"""Tensorial radiance fields: products of three lines (CP).

Chen, Xu, Geiger, Yu, Su: "TensoRF: Tensorial Radiance Fields".
ECCV 2022. arXiv 2203.09517
"""

from __future__ import annotations

from dataclasses import replace

from recon.fields.vector_matrix import FactoredSettings
from recon.fit.system import System
from recon.losses.distortion import Distortion
from recon.losses.opacity import OpacityEntropy
from recon.losses.squared import SquaredError
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.occupancy import ShrinkOccupancy
from recon.strategies.refine import Refine

_FACTORS = Schedule(0.05, 5e-3)

_BASE = System(
    field=FactoredSettings(form="cp", density_rank=48, colour_rank=96, layers=1, step=0.7),
    renderer=MarchRenderer(least_weight=1e-3),
    sampler=RandomPixels(),
    losses={"colour": SquaredError(), "entropy": OpacityEntropy(1e-3), "distortion": Distortion(1e-2)},
    optimizer=TouchedAdamSettings(rates={
        "density_lines": _FACTORS, "colour_lines": _FACTORS,
        "decoder": Schedule(4e-3, 4e-4),
    }),
    strategies={"refine": Refine(), "occupancy": ShrinkOccupancy(begin=0.2)},
    steps=6_000,
)

PRESETS = {
    "fast": replace(_BASE, field=FactoredSettings(form="cp", voxels=1_000_000, density_rank=32, colour_rank=48,
                                              layers=1, step=0.7),
                    steps=2_000),
    "balanced": _BASE,
    "quality": replace(_BASE, field=FactoredSettings(form="cp", voxels=16_000_000, density_rank=96, colour_rank=288),
                       steps=30_000),
}
PRESET = "balanced"
