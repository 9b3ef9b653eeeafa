"""Sparse tri-vector radiance fields: a cloud of small tensors around the surface.

Gao, Xu, Su, Neumann, Xu: "Strivec: Sparse Tri-Vector Radiance Fields".
ICCV 2023. arXiv 2307.13226
"""

from __future__ import annotations

from dataclasses import replace

from recon.fields.local_tensors import LocalTensorSettings
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

_VECTORS = Schedule(0.05, 5e-3)

_BASE = System(
    field=LocalTensorSettings(layers=1, step=0.7),
    renderer=MarchRenderer(least_weight=1e-3),
    sampler=RandomPixels(),
    losses={"colour": SquaredError(), "entropy": OpacityEntropy(1e-3), "distortion": Distortion(1e-2)},
    optimizer=TouchedAdamSettings(rates={
        "density": Schedule(0.5, 0.05), "features": Schedule(0.1, 0.02),
        "density_vectors": _VECTORS, "colour_vectors": _VECTORS,
        "decoder": Schedule(4e-3, 4e-4),
    }),
    strategies={"refine": Refine(), "occupancy": ShrinkOccupancy(begin=0.2)},
    steps=6_000,
)

PRESETS = {
    "fast": replace(_BASE, field=LocalTensorSettings(voxels=1_000_000, density_rank=(8, 8, 8), colour_rank=(16, 8, 8),
                                                  layers=1, step=0.7),
                    steps=2_000),
    "balanced": _BASE,
    "quality": replace(_BASE, field=LocalTensorSettings(voxels=16_000_000, density_rank=(32, 24, 16),
                                                        colour_rank=(48, 48, 48)), steps=30_000),
}
PRESET = "balanced"
