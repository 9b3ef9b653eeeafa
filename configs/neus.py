"""Neural implicit surfaces, on grids.

Wang, Liu, Liu, Theobalt, Komura, Wang: "NeuS: Learning Neural Implicit Surfaces by Volume Rendering for Multi-view
Reconstruction". NeurIPS 2021. arXiv 2106.10689
"""

from __future__ import annotations

from dataclasses import replace

from recon.fields.distance_grid import DistanceGridSettings
from recon.fit.system import System
from recon.losses.absolute import AbsoluteError
from recon.losses.curvature import Curvature
from recon.losses.eikonal import Eikonal
from recon.losses.surface_points import SurfacePoints
from recon.losses.true_distance import TrueDistance
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.surface import SurfaceRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.refine import Refine
from recon.strategies.surface import NearSurface, Sharpen

_BASE = System(
    field=DistanceGridSettings(),
    renderer=SurfaceRenderer(law="logistic"),
    sampler=RandomPixels(rays=2048),
    losses={"colour": AbsoluteError(), "eikonal": Eikonal(), "curvature": Curvature(),
            "distance": TrueDistance(), "points": SurfacePoints()},
    optimizer=TouchedAdamSettings(eps=1e-9, rates={
        "distance": Schedule(2e-2, 1e-3),
        "table": Schedule(2e-2, 1e-3),
        "decoder": Schedule(4e-3, 4e-4),
    }),
    strategies={"sharpen": Sharpen(), "refine": Refine(at=(0.1, 0.25, 0.45)), "near": NearSurface()},
    background="random",
    masks="present",
    steps=4_000,
)

PRESETS = {
    "fast": replace(_BASE, field=DistanceGridSettings(voxels=2_000_000), steps=3_000, sampler=RandomPixels(rays=1024)),
    "balanced": _BASE,
    "quality": replace(_BASE, field=DistanceGridSettings(voxels=16_000_000, log2_slots=19), steps=20_000,
                       sampler=RandomPixels(rays=4096)),
}
PRESET = "balanced"
