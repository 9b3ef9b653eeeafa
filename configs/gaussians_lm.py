"""3D Gaussian splatting: Adam until the structure has settled, then few Levenberg-Marquardt steps.

Höllein, Božič, Zollhöfer, Nießner: "3DGS-LM: Faster Gaussian-Splatting Optimization with Levenberg-Marquardt".
ICCV 2025. arXiv 2409.12892
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon.configs import gaussians
from recon.configs._finished import HANDOVER, SHORTER, finished
from recon.fit.system import Dropout, Resolution, System
from recon.optim.adam import AdamSettings
from recon.optim.damping import PaperDamping, TrustRegion
from recon.optim.gauss_newton import GaussNewton
from recon.optim.levenberg_marquardt import LevenbergMarquardtSettings
from recon.optim.linear import ConjugateGradients
from recon.optim.local_newton import LocalNewtonSettings


def _with_lm(base: System, steps: int) -> System:
    adam: Any = base.optimizer
    return finished(base, steps, LevenbergMarquardtSettings(adam, steps=steps, handover=HANDOVER))


PRESETS = {
    "fast": _with_lm(gaussians.PRESETS["fast"], 6),
    "balanced": _with_lm(gaussians.PRESETS["balanced"], 6),
    "quality": _with_lm(gaussians.PRESETS["quality"], 6),
}
PRESET = "balanced"

# For `recon bench optimizers`: what is begun, and every way to finish it. The first is the reference.
STARTS = gaussians.PRESETS
_MOST_STEPS = 40  # more than a race has time for


def finishes(base: System) -> dict[str, System]:
    """Name -> system that goes on where ``base`` is after ``HANDOVER`` of its steps."""
    still = replace(base, strategies={}, resolution=Resolution(), dropout=Dropout())
    adam: Any = base.optimizer
    assert isinstance(adam, AdamSettings)

    short = max(round(SHORTER * (base.steps - round(base.steps * HANDOVER))), 1)
    light = GaussNewton(TrustRegion(start=1.0, least=0.03), ConjugateGradients(12), line_search=1)

    def second(step: GaussNewton, **options: Any) -> System:
        return replace(still, steps=_MOST_STEPS, optimizer=LevenbergMarquardtSettings(
            steps=_MOST_STEPS, step=step, **options))

    return {
        "Adam": still,
        "Adam with dropout": replace(still, dropout=base.dropout),
        "LM": second(LevenbergMarquardtSettings().step),
        "LM, light, paper damping": second(replace(light, damping=PaperDamping(start=1.0, least=0.03)), curved=20),
        "LM, light, blocks": second(replace(light, preconditioner="block"), curved=20),
        "local Newton, all views": second(GaussNewton(TrustRegion(start=1.0, least=0.03), ConjugateGradients(1),
                                                      "block")),
        "local Newton": replace(still, steps=short, optimizer=LocalNewtonSettings(share=1.0)),
    }
