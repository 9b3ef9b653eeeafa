"""Multiresolution hash grid, "Instant-NGP".

Müller, Evans, Schied, Keller: "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding".
SIGGRAPH 2022. arXiv 2201.05989
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs._volumes import DECODER, conversion, marched
from recon.fields.hash_grid import HashGridSettings
from recon.optim.schedule import Schedule
from recon.samplers.pixels import RandomPixels
from recon.strategies.occupancy import ShrinkOccupancy

_BASE = marched(
    HashGridSettings(start=1.0, layers=2, step=0.7),
    rates={"table": Schedule(5e-2, 3e-3), "network": DECODER},
    strategies={"occupancy": ShrinkOccupancy(every=100)},
    steps=10_000, losses={}, eps=1e-15,
)

PRESETS = {
    "fast": replace(_BASE, field=HashGridSettings(start=1.0, voxels=1_000_000, layers=1, step=0.7), steps=2_000),
    "balanced": _BASE,
    "quality": replace(_BASE, field=HashGridSettings(start=1.0, levels=12, log2_slots=19, finest=512, voxels=4_000_000),
                       steps=20_000, sampler=RandomPixels(rays=8192)),
    "conversion": conversion(_BASE, 4_400, {"table": Schedule(5e-2, 1e-2), "network": Schedule(8e-3, 2e-3)}),
}
PRESET = "balanced"
