"""What the presets share that finish a fit of Gaussians with another optimizer than Adam.

No method of its own: files that begin with "_" are not listed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon.fit.system import System
from recon.protocols import OptimizerSettings

HANDOVER = 2 / 3  # of a preset's steps; densification ends at 0.6
SHORTER = 0.5  # local Newton steps for a step of Adam in the rest


def finished(base: System, steps: int, optimizer: OptimizerSettings) -> System:
    """The first two thirds of ``base`` as they are, followed by ``steps`` of ``optimizer`` in place of the rest."""
    first = round(base.steps * HANDOVER)
    total = first + steps
    ratio = base.steps / total

    def same(share: float) -> float:
        return share * ratio  # the same step as in the whole of ``base``

    densify: Any = base.strategies["densify"]
    degree: Any = base.strategies["sh_degree"]
    return replace(
        base, steps=total,
        optimizer=optimizer,
        resolution=replace(base.resolution, until=same(base.resolution.until)),
        dropout=replace(base.dropout, share=base.dropout.share / ratio, until=first / total),
        strategies={"sh_degree": replace(degree, at=tuple(same(a) for a in degree.at)),
                    "densify": replace(densify, begin=same(densify.begin), until=min(same(densify.until), 1.0),
                                       reset_every=same(densify.reset_every))},
    )
