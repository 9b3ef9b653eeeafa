"""3D Gaussian splatting, the last steps by Levenberg-Marquardt.

Höllein, Božič, Zollhöfer, Nießner: "3DGS-LM: Faster Gaussian-Splatting Optimization with Levenberg-Marquardt".
ICCV 2025. arXiv 2409.12892
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs import gaussians
from recon.fit.system import System
from recon.optim.gauss_newton import GaussNewton
from recon.optim.levenberg_marquardt import LevenbergMarquardtSettings
from recon.optim.linear import ConjugateGradients


def _finished(base: System, steps: int) -> System:
    """``base``, followed by ``steps`` second-order steps over all photos."""
    optimizer = LevenbergMarquardtSettings(base.optimizer, steps=steps, step=GaussNewton(  # type: ignore[arg-type]
        solver=ConjugateGradients(8)))
    return replace(base, optimizer=optimizer, steps=base.steps + steps)


# Not faster than Adam for the same quality on a CPU, see docs/performance.md.
PRESETS = {
    "fast": _finished(gaussians.PRESETS["fast"], 3),
    "balanced": _finished(gaussians.PRESETS["balanced"], 3),
    "quality": _finished(gaussians.PRESETS["quality"], 5),
}
PRESET = "balanced"
