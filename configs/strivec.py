"""Sparse tri-vector radiance fields: a cloud of small tensors around the surface.

Gao, Xu, Su, Neumann, Xu: "Strivec: Sparse Tri-Vector Radiance Fields".
ICCV 2023. arXiv 2307.13226
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs._volumes import FACTORS, conversion, marched
from recon.fields.local_tensors import LocalTensorSettings
from recon.optim.schedule import Schedule
from recon.strategies.average import AverageSteps
from recon.strategies.occupancy import ShrinkOccupancy
from recon.strategies.refine import Refine

_BASE = marched(
    LocalTensorSettings(voxels=3_000_000, density_rank=(16, 16, 8), colour_rank=(32, 32, 16), layers=1, step=0.7),
    # the coarse grid finds the shape; later its wide voxels would shake what the tensors have learnt
    rates={"density": Schedule(0.5, 0.01, begin=0.05, until=0.4),
           "features": Schedule(0.1, 0.005, begin=0.05, until=0.4),
           "density_vectors": FACTORS, "colour_vectors": FACTORS},
    strategies={"refine": Refine(), "occupancy": ShrinkOccupancy(begin=0.2), "average": AverageSteps(begin=0.9)},
    steps=10_000,
)

PRESETS = {
    "fast": replace(_BASE, field=LocalTensorSettings(voxels=1_000_000, density_rank=(8, 8, 8), colour_rank=(16, 8, 8),
                                                     layers=1, step=0.7),
                    steps=2_000),
    "balanced": _BASE,
    "quality": replace(_BASE, field=LocalTensorSettings(voxels=16_000_000, density_rank=(32, 24, 16),
                                                        colour_rank=(48, 48, 48)), steps=30_000),
    "conversion": conversion(_BASE, 2_000, dict.fromkeys(("density_vectors", "colour_vectors"), Schedule(0.05, 0.01))),
}
PRESET = "balanced"
