"""Volume rendering of signed distances, on grids.

Yariv, Gu, Kasten, Lipman: "Volume Rendering of Neural Implicit Surfaces". NeurIPS 2021. arXiv 2106.12052
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs import neus
from recon.renderers.surface import SurfaceRenderer

_LAPLACE = SurfaceRenderer(law="laplace", far=10.0)
PRESETS = {name: replace(preset, renderer=_LAPLACE) for name, preset in neus.PRESETS.items()}
PRESET = "balanced"
