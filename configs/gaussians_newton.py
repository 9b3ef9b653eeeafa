"""3D Gaussian splatting: Adam until the structure has settled, then each Gaussian moves by its own curvature.

Lan, Shao, Lu, Zhang, Jiang, Yang: "3DGS^2: Near Second-order Converging 3D Gaussian Splatting". 2025. arXiv 2501.13975.
Only the idea of local Newton steps; ``recon.optim.local_newton`` says what differs.
"""

from __future__ import annotations

from typing import Any

from recon.configs import gaussians
from recon.configs._finished import HANDOVER, SHORTER, finished
from recon.fit.system import System
from recon.optim.local_newton import LocalNewtonSettings


def _finished(base: System) -> System:
    """Local Newton steps in the place of the last third of ``base``, which needs more of them."""
    adam: Any = base.optimizer
    steps = round(SHORTER * (base.steps - round(base.steps * HANDOVER)))
    share = steps / (round(base.steps * HANDOVER) + steps)
    return finished(base, steps, LocalNewtonSettings(adam, share=share, handover=HANDOVER))


PRESETS = {
    "fast": _finished(gaussians.PRESETS["fast"]),
    "balanced": _finished(gaussians.PRESETS["balanced"]),
    "quality": _finished(gaussians.PRESETS["quality"]),
}
PRESET = "balanced"
