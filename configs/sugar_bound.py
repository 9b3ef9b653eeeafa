"""A mesh with Gaussians on its triangles, refined against photos: the second half of SuGaR.

Guédon, Lepetit: "SuGaR: Surface-Aligned Gaussian Splatting for Efficient 3D Mesh Reconstruction and High-Quality Mesh
Rendering". CVPR 2024. arXiv 2311.12775
"""

from __future__ import annotations

from dataclasses import replace

from recon.fields.bound_gaussians import BoundGaussiansSettings
from recon.fit.system import System
from recon.losses.normal_consistency import NormalConsistency
from recon.losses.photometric import Photometric
from recon.optim.adam import AdamSettings
from recon.optim.schedule import Schedule
from recon.renderers.splat import SplatRenderer

_BASE = System(
    field=BoundGaussiansSettings(),
    renderer=SplatRenderer(),
    losses={"photometric": Photometric(), "normals": NormalConsistency()},
    optimizer=AdamSettings(sparse=False, in_scene_units=("vertices",), rates={
        "vertices": Schedule(1e-4, 1e-5),
        "turn": Schedule(1e-2, 2e-3),
        "log_scales": Schedule(1e-2, 2e-3),
        "logits": Schedule(0.05, 0.01),
        "sh0": Schedule(1e-2, 2.5e-3),
        "sh_more": Schedule(2e-3, 5e-4),
    }),
    steps=2_000,
)

PRESETS = {
    "fast": replace(_BASE, steps=600),
    "balanced": _BASE,
    "quality": replace(_BASE, field=BoundGaussiansSettings(per_face=3, sh_degree=3), steps=7_000),
}
PRESET = "balanced"
