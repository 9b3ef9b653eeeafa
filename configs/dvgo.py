"""Direct voxel grid optimization.

Sun, Sun, Chen: "Direct Voxel Grid Optimization: Super-fast Convergence for Radiance Fields Reconstruction".
CVPR 2022. arXiv 2111.11215
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs._volumes import conversion, marched
from recon.fields.dense_grid import DenseGridSettings
from recon.optim.schedule import Schedule
from recon.samplers.pixels import RandomPixels
from recon.strategies.hold_samples import HoldSamples
from recon.strategies.occupancy import ShrinkOccupancy
from recon.strategies.refine import Refine
from recon.strategies.view_counts import ViewCounts

_BASE = marched(
    DenseGridSettings(voxels=3_000_000, channels=16, layers=2, step=0.7),
    rates={"density": Schedule(0.5, 0.05), "features": Schedule(0.2, 0.02)},
    strategies={"refine": Refine(), "occupancy": ShrinkOccupancy(), "view_counts": ViewCounts(),
                "rays": HoldSamples(262_144)},  # its lookups are cheap
    steps=16_000,
)

PRESETS = {
    "fast": replace(_BASE, steps=3_000,
                    field=DenseGridSettings(voxels=1_000_000, channels=16, layers=1, step=0.7)),
    "balanced": _BASE,
    "quality": replace(_BASE, field=DenseGridSettings(voxels=4_000_000, hidden=128), steps=20_000,
                       sampler=RandomPixels(rays=8192)),
    "conversion": conversion(_BASE, 4_000, {"density": Schedule(0.5, 0.1), "features": Schedule(0.3, 0.06)}),
}
PRESET = "balanced"
