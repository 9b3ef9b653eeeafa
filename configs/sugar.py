"""Gaussians aligned with surfaces.

Guédon, Lepetit: "SuGaR: Surface-Aligned Gaussian Splatting for Efficient 3D Mesh Reconstruction and High-Quality Mesh
Rendering". CVPR 2024. arXiv 2311.12775
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs import gaussians
from recon.losses.photometric import Photometric
from recon.losses.surface_alignment import SurfaceAlignment

PRESETS = {
    name: replace(preset, losses={"photometric": Photometric(), "alignment": SurfaceAlignment(begin=0.6)})
    for name, preset in gaussians.PRESETS.items()
}
PRESET = "balanced"
