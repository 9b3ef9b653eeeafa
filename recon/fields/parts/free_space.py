"""Space that points show to be free: what lies before the nearest points of a camera, as far as its picture reaches.

Source: Sun, Sun, Chen, "Direct voxel grid optimization", CVPR 2022, arXiv 2111.11215, released code: voxels within the
near distance of a camera are empty; here each camera has the near distance of its own points. What fills itself there
explains one photo and stands before the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.types import Capture

_ENOUGH = 50  # points in a picture that tell where it begins
_STRAY = 0.01  # share of the points of a picture that may lie nearer
_NEARER = 0.8  # only space before this share of the distance is free: surfaces without points lie between others


def before_points(capture: Capture, x_world: Tensor, reach: Tensor) -> Tensor:
    """[n] bool: balls around x [n, 3] float64 of radius ``reach`` [n] that lie before all that a fitted camera sees.

    All False where there are no points.
    """
    free = torch.zeros(len(x_world), dtype=torch.bool)
    if capture.points is None:
        return free
    points = capture.points.positions.double()
    for view in capture.train or capture.views:
        camera = view.camera
        size = torch.tensor(camera.size, dtype=torch.float64)
        pixel, depth = camera.project(points)
        depth = depth[(depth > 0) & (pixel >= 0).all(1) & (pixel < size).all(1)]
        if len(depth) < _ENOUGH:
            continue
        begins = _NEARER * float(depth.kthvalue(1 + int(_STRAY * len(depth))).values)
        pixel, depth = camera.project(x_world)
        free |= (depth > 0) & (depth + reach < begins) & (pixel >= 0).all(1) & (pixel < size).all(1)
    return free
