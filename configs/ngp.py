"""Multiresolution hash grid, "Instant-NGP".

Müller, Evans, Schied, Keller: "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding".
SIGGRAPH 2022. arXiv 2201.05989
"""

from __future__ import annotations

from dataclasses import replace

from recon.fields.hash_grid import HashGridSettings
from recon.fit.system import System
from recon.losses.distortion import Distortion
from recon.losses.opacity import OpacityEntropy
from recon.losses.squared import SquaredError
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.occupancy import ShrinkOccupancy

_BASE = System(
    field=HashGridSettings(start=1.0, layers=1, step=0.7),
    renderer=MarchRenderer(least_weight=1e-3),
    sampler=RandomPixels(),
    losses={"colour": SquaredError(), "entropy": OpacityEntropy(1e-3), "distortion": Distortion(1e-2)},
    optimizer=TouchedAdamSettings(eps=1e-15, rates={
        "table": Schedule(5e-2, 3e-3),
        "network": Schedule(4e-3, 4e-4),
        "decoder": Schedule(4e-3, 4e-4),
    }),
    strategies={"occupancy": ShrinkOccupancy(every=100)},
    steps=6_000,
)

PRESETS = {
    "fast": replace(_BASE, field=HashGridSettings(start=1.0, voxels=1_000_000, layers=1, step=0.7), steps=2_000),
    "balanced": _BASE,
    "quality": replace(_BASE, field=HashGridSettings(start=1.0, levels=12, log2_slots=19, finest=512, voxels=4_000_000),
                       steps=20_000, sampler=RandomPixels(rays=8192)),
}
PRESET = "balanced"
