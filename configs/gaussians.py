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
from recon.strategies.average import AverageSteps
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


def _rates(gain: float, means_last: float) -> AdamSettings:
    """Rates of short fits, which move faster than the paper's; measured in docs/performance.md."""
    return AdamSettings(rates={
        "means": Schedule(3.2e-4, means_last),
        "log_scales": Schedule(1e-2 * gain, 2.5e-3 * gain),
        "quaternions": Schedule(4e-3 * gain, 1e-3 * gain),
        "logits": Schedule(0.05 * gain, 0.0125 * gain),
        "sh0": Schedule(1e-2 * gain, 2.5e-3 * gain),
        "sh_rest": Schedule(1e-3 * gain, 2.5e-4 * gain),
    })


_SHORT = replace(PAPER, resolution=Resolution(start=2.0, until=0.4), dropout=Dropout(0.2), visits=150)

PRESETS = {
    "fast": replace(_SHORT, steps=2_000, optimizer=_rates(2.0, 1e-5), strategies={
        "sh_degree": RaiseShDegree(at=(0.2, 0.35, 0.5)),
        "densify": Densify(every=67, begin=0.05, until=0.6, reset_every=0.0, budget=60_000),
        "average": AverageSteps(begin=0.9),
    }),
    "balanced": replace(_SHORT, steps=7_000, optimizer=_rates(1.0, 3.2e-6), strategies={
        "sh_degree": RaiseShDegree(at=(0.1, 0.2, 0.3)),
        "densify": Densify(begin=0.05, until=0.6, reset_every=0.0, budget=120_000),
        "average": AverageSteps(begin=0.9),
    }),
    "quality": PAPER,
    # for `recon convert`: the first points lie on surfaces, and the pictures do not contradict each other
    "conversion": replace(_SHORT, steps=1_000, resolution=Resolution(), optimizer=_rates(3.0, 1e-5), strategies={
        "sh_degree": RaiseShDegree(at=(0.2, 0.35, 0.5)),
        "densify": Densify(every=34, begin=0.05, until=0.6, reset_every=0.0, budget=60_000),
        "average": AverageSteps(begin=0.9),
    }),
}
PRESET = "balanced"
