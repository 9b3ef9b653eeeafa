"""Neural implicit surfaces, on grids.

Wang, Liu, Liu, Theobalt, Komura, Wang: "NeuS: Learning Neural Implicit Surfaces by Volume Rendering for Multi-view
Reconstruction". NeurIPS 2021. arXiv 2106.10689
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon.fields.distance_grid import DistanceGridSettings
from recon.fit.system import System
from recon.losses.absolute import AbsoluteError
from recon.losses.curvature import Curvature
from recon.losses.eikonal import Eikonal
from recon.losses.empty_space import EmptySpace
from recon.losses.silhouette import Silhouette
from recon.losses.surface_points import SurfacePoints
from recon.losses.true_distance import TrueDistance
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.surface import SurfaceRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.refine import Refine
from recon.strategies.surface import NearSurface, Sharpen


def _strategies(start: float) -> dict[str, Any]:
    """``start``: first width of the surface in voxels of the finest grid, about 0.04 scene units in all presets."""
    return {"sharpen": Sharpen(start=start), "refine": Refine(at=(0.05, 0.15, 0.3)),
            "near": NearSurface(every=25, begin=0.0)}


_BASE = System(
    field=DistanceGridSettings(),
    renderer=SurfaceRenderer(law="logistic", far=10.0),
    sampler=RandomPixels(rays=2048),
    losses={"colour": AbsoluteError(), "silhouette": Silhouette(), "eikonal": Eikonal(0.3), "curvature": Curvature(),
            "distance": TrueDistance(), "points": SurfacePoints(), "empty": EmptySpace()},
    optimizer=TouchedAdamSettings(eps=1e-9, rates={
        "distance": Schedule(2e-2, 1e-3),
        "table": Schedule(2e-2, 1e-3),
        "decoder": Schedule(4e-3, 4e-4),
    }),
    strategies=_strategies(7.0),
    background="random",
    masks="present",
    steps=4_000,
)

PRESETS = {
    "fast": replace(_BASE, field=DistanceGridSettings(voxels=1_500_000), steps=2_000, sampler=RandomPixels(rays=1024),
                    strategies=_strategies(4.5)),
    "balanced": _BASE,
    "quality": replace(_BASE, field=DistanceGridSettings(voxels=16_000_000, log2_slots=19), steps=20_000,
                       sampler=RandomPixels(rays=4096), strategies=_strategies(10.0)),
}
PRESET = "balanced"
