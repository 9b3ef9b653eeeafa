"""Volume rendering of signed distances, on grids.

Yariv, Gu, Kasten, Lipman: "Volume Rendering of Neural Implicit Surfaces". NeurIPS 2021. arXiv 2106.12052
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs import neus
from recon.fit.system import System
from recon.renderers.surface import SurfaceRenderer

_LAPLACE = SurfaceRenderer(law="laplace", far=10.0)


def _of(preset: System) -> System:
    """With its law. Rays that graze a surface cross it many times its width, and Laplace's law dims them four widths
    outside: drawn as wide as in NeuS at the end, things shrink at their outlines and sockets stay shallow."""
    sharpen = replace(preset.strategies["sharpen"], end=0.15)
    return replace(preset, renderer=_LAPLACE, strategies={**preset.strategies, "sharpen": sharpen})


PRESETS = {name: _of(preset) for name, preset in neus.PRESETS.items()}
PRESET = "balanced"
