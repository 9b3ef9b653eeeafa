"""A mesh fitted to photos of an object with masks, by FlexiCubes and a differentiable rasterizer.

Shen, Munkberg, Hasselgren, Yin, Wang, Chen, Gojcic, Fidler, Sharp, Gao: "Flexible Isosurface Extraction for
Gradient-Based Mesh Optimization". SIGGRAPH 2023. arXiv 2308.05371
"""

from __future__ import annotations

from dataclasses import replace

from recon.fields.mesh_grid import MeshGridSettings
from recon.fit.system import System
from recon.losses.absolute import AbsoluteError
from recon.losses.mesh_regularity import MeshRegularity
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.mesh import MeshRenderer

_BASE = System(
    field=MeshGridSettings(),
    renderer=MeshRenderer(),
    losses={"colour": AbsoluteError(), "regularity": MeshRegularity(0.02)},
    optimizer=TouchedAdamSettings(beta2=0.999, rates={
        "values": Schedule(1e-1, 1e-2),
        "deformation": Schedule(1e-2, 1e-3),
        "weights": Schedule(1e-2, 1e-3),
        "table": Schedule(2e-2, 1e-3),
        "decoder": Schedule(4e-3, 4e-4),
    }),
    background="random",
    masks="present",
    steps=2_000,
)

PRESETS = {
    "fast": replace(_BASE, field=MeshGridSettings(resolution=48), steps=800),
    "balanced": _BASE,
    "quality": replace(_BASE, field=MeshGridSettings(resolution=96, log2_slots=18), steps=6_000),
}
PRESET = "balanced"
