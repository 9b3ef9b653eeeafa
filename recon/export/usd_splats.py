"""Gaussians in OpenUSD: a ParticleField3DGaussianSplat prim (UsdVol, since 26.03), as text.

Linear scales, unit quaternions w x y z, opacities, spherical harmonics grouped per splat with the constant first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.export.splat_file import arrays_to_write, sigmoid, unit_quaternions
from recon.types import Gaussians

_REACH = 3.0  # standard deviations, for the extent


def layer_of(gaussians: Gaussians, path: str | Path) -> tuple[bytes, tuple[str, ...]]:
    """The text of a layer, y up and metres, and what it cannot hold. Raises InputError where there is nothing."""
    arrays, warnings = arrays_to_write(gaussians)
    if not len(arrays):
        raise InputError("there are no splats to write", file=path, fix="A USD file cannot be empty; use .ply.")
    if arrays.antialiased:
        warnings += ("USD cannot say that the scene is anti-aliased",)
    scales = np.exp(arrays.log_scales.astype(np.float64))
    reach = _REACH * scales.max(1, keepdims=True)
    extent = np.stack([(arrays.means - reach).min(0), (arrays.means + reach).max(0)])
    coefficients = arrays.sh.shape[1]
    degree = round(coefficients**0.5) - 1
    text = "\n".join([
        "#usda 1.0",
        '(\n    defaultPrim = "Model"\n    metersPerUnit = 1\n    upAxis = "Y"\n    doc = "Recon"\n)',
        'def Xform "Model" (\n    kind = "component"\n)\n{',
        'def ParticleField3DGaussianSplat "Splats" (\n    prepend apiSchemas = ["ColorSpaceAPI"]\n)\n{',
        'uniform token colorSpace:name = "srgb_rec709_display"',
        'uniform token projectionModeHint = "perspective"',
        'uniform token sortingModeHint = "zDepth"',
        f"float3[] extent = [{_rows(extent)}]",
        f"point3f[] positions = [{_rows(arrays.means)}]",
        f"quatf[] orientations = [{_rows(unit_quaternions(arrays.quaternions))}]",
        f"float3[] scales = [{_rows(scales)}]",
        f"float[] opacities = [{', '.join(f'{v:.6g}' for v in sigmoid(arrays.logits).tolist())}]",
        f"uniform int radiance:sphericalHarmonicsDegree = {degree}",
        f"float3[] radiance:sphericalHarmonicsCoefficients = [{_rows(arrays.sh.reshape(-1, 3))}] (\n"
        f"    elementSize = {coefficients}\n)",
        "}", "}", "",
    ])
    return text.encode(), warnings


def _rows(rows: np.ndarray) -> str:
    return ", ".join("(" + ", ".join(f"{v:.6g}" for v in row) + ")" for row in rows.tolist())
