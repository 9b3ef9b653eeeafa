"""3D Gaussian splatting.

Kerbl, Kopanas, Leimkühler, Drettakis: "3D Gaussian Splatting for Real-Time Radiance Field Rendering".
SIGGRAPH 2023. arXiv 2308.04079
"""

from __future__ import annotations

from dataclasses import replace

from recon.fields.gaussians import GaussianSettings
from recon.fit.system import Dropout, Resolution, System
from recon.losses.photometric import Photometric
from recon.optim.adam import AdamSettings
from recon.optim.schedule import Schedule
from recon.renderers.splat import SplatRenderer
from recon.strategies.densify import Densify
from recon.strategies.sh_degree import RaiseShDegree

# The plain recipe of the paper: 30,000 steps.
PAPER = System(
    field=GaussianSettings(),
    renderer=SplatRenderer(),
    losses={"photometric": Photometric()},
    optimizer=AdamSettings(
        rates={
            "means": Schedule(1.6e-4, 1.6e-6),
            "log_scales": Schedule(5e-3),
            "quaternions": Schedule(1e-3),
            "logits": Schedule(0.05),
            "sh0": Schedule(2.5e-3),
            "sh_rest": Schedule(1.25e-4),
        }
    ),
    strategies={"sh_degree": RaiseShDegree(), "densify": Densify()},
    steps=30_000,
)

# Shorter fits move faster, and are still moving at the end: measured on six scenes in docs/performance.md.
_SHORT = replace(
    PAPER,
    optimizer=AdamSettings(rates={
        "means": Schedule(3.2e-4, 1e-5),
        "log_scales": Schedule(2e-2, 5e-3),
        "quaternions": Schedule(8e-3, 2e-3),
        "logits": Schedule(0.1, 0.025),
        "sh0": Schedule(2e-2, 5e-3),
        "sh_rest": Schedule(2e-3, 5e-4),
    }),
    resolution=Resolution(start=2.0, until=0.4),
    dropout=Dropout(0.2),
    visits=150,
)

PRESETS = {
    "fast": replace(_SHORT, steps=2_000, strategies={
        "sh_degree": RaiseShDegree(at=(0.2, 0.35, 0.5)),
        "densify": Densify(every=67, begin=0.05, until=0.6, reset_every=0.0, budget=60_000),
    }),
    "balanced": replace(_SHORT, steps=7_000, strategies={
        "sh_degree": RaiseShDegree(at=(0.1, 0.2, 0.3)),
        "densify": Densify(begin=0.05, until=0.6, reset_every=0.0, budget=120_000),
    }),
    "quality": PAPER,
}
PRESET = "balanced"
