"""3D Gaussian splatting: Adam until the structure has settled, then few Levenberg-Marquardt steps.

Höllein, Božič, Zollhöfer, Nießner: "3DGS-LM: Faster Gaussian-Splatting Optimization with Levenberg-Marquardt".
ICCV 2025. arXiv 2409.12892
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon.configs import gaussians
from recon.fit.system import System
from recon.optim.levenberg_marquardt import LevenbergMarquardtSettings

_HANDOVER = 2 / 3  # of a preset's steps; densification ends at 0.6


def _finished(base: System, steps: int) -> System:
    """The first two thirds of ``base`` as they are, followed by ``steps`` second-order steps in place of the rest."""
    first = round(base.steps * _HANDOVER)
    total = first + steps
    ratio = base.steps / total

    def same(share: float) -> float:
        return share * ratio  # the same step as in the whole of ``base``

    densify: Any = base.strategies["densify"]
    degree: Any = base.strategies["sh_degree"]
    return replace(
        base, steps=total,
        optimizer=LevenbergMarquardtSettings(base.optimizer, steps=steps, handover=_HANDOVER),  # type: ignore[arg-type]
        resolution=replace(base.resolution, until=same(base.resolution.until)),
        strategies={"sh_degree": replace(degree, at=tuple(same(a) for a in degree.at)),
                    "densify": replace(densify, begin=same(densify.begin), until=min(same(densify.until), 1.0),
                                       reset_every=same(densify.reset_every))},
    )


PRESETS = {
    "fast": _finished(gaussians.PRESETS["fast"], 6),
    "balanced": _finished(gaussians.PRESETS["balanced"], 6),
    "quality": _finished(gaussians.PRESETS["quality"], 6),
}
PRESET = "balanced"
