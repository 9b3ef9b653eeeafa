"""A first guess of the surface, for fields of signed distance: from the capture's points, or from masks.

Cameras see every point, so the way there is free: points drawn as discs into small depth pictures of the cameras, and
these averaged as truncated signed distances (Curless, Levoy, SIGGRAPH 1996). Masks carve (visual hull). A guess
good to a few voxels spares the fit the long way from a ball (Wang et al., arXiv 2106.10689, start with one).
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.ops.knn import nearest, nearest_squared
from recon.types import Camera, Capture

ENOUGH = 200  # points that make a start
_MOST = 20_000  # points looked at
_VIEWS = 50
_SIDE = 96  # pixels along the longer side of a depth picture
_WIDE = 0.8  # radius of a disc in distances to the eighth neighbour
_BAND = 3.0  # truncation in radii
_SKY = 0.5  # what a view counts that sees no point behind a place: either nothing is there or nothing that has points
_LEAST = 0.1  # of the views that look at a place, to be believed
_BEHIND = 1e9


class PointStart:
    """Signed distances from surface points [m, 3] of a capture (world), at least ``ENOUGH``.

    Where no camera sees a surface near, they are negative behind what most cameras see, and positive elsewhere.
    """

    def __init__(self, capture: Capture, points: Tensor) -> None:
        self.points = points[:: -(-len(points) // _MOST)].float().contiguous()
        radius = _WIDE * nearest_squared(self.points, 8)[:, -1].sqrt()
        self.band = _BAND * float(radius.median())
        radius = radius.clamp(max=3 * float(radius.median()))
        views = capture.train or capture.views
        self.pictures = []
        for view in views[:: -(-len(views) // _VIEWS)]:
            ratio = _SIDE / max(view.camera.size)
            camera = view.camera.scaled(*(max(round(side * ratio), 1) for side in view.camera.size))
            self.pictures.append((camera, _discs(camera, self.points, radius)))

    def distance(self, x: Tensor) -> Tensor:
        """[n] at x [n, 3]."""
        total, count, hidden = torch.zeros(len(x)), torch.zeros(len(x)), torch.zeros(len(x))
        band = self.band
        for camera, depth in self.pictures:
            pixel, z = camera.project(x.double())
            column, row = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
            inside = (z > 1e-6) & (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
            seen = depth[row.clamp(0, camera.height - 1), column.clamp(0, camera.width - 1)]
            ahead = seen - z.float()
            counted = inside & (ahead > -band) & (seen < _BEHIND)
            open_sky = inside & (seen >= _BEHIND)
            total += torch.where(counted, ahead.clamp(max=band), 0.0) + _SKY * band * open_sky
            count += counted + _SKY * open_sky
            hidden += torch.where(inside & ~counted & ~open_sky, 1.0, 0.0)
        mean = total / count.clamp_min(_SKY)
        known = count > _LEAST * (count + hidden)  # fewer look through gaps between the discs
        mean = torch.where(known, mean, torch.where(hidden > 0, -band, band))
        away = nearest(x.float().contiguous(), self.points)[0][:, 0].sqrt().clamp_min(band)
        return torch.where(mean.abs() < 0.9 * band, mean, mean.sign() * away)


def _discs(camera: Camera, points: Tensor, radius: Tensor) -> Tensor:
    """[height, width] depth of the nearest disc around a point, ``_BEHIND`` where there is none."""
    pixel, z = camera.project(points.double())
    ahead = z > 1e-6
    pixel, z, radius = pixel[ahead].float(), z[ahead].float(), radius[ahead]
    reach = (radius / z * float(camera.intrinsics[0])).clamp(0.5, 12.0)
    picture = torch.full((camera.height * camera.width,), _BEHIND)
    most = int(reach.max().ceil()) if len(reach) else 0
    for dy in range(-most, most + 1):
        for dx in range(-most, most + 1):
            column, row = pixel[:, 0].floor().long() + dx, pixel[:, 1].floor().long() + dy
            drawn = (dx * dx + dy * dy <= reach * reach) & (column >= 0) & (row >= 0)
            drawn &= (column < camera.width) & (row < camera.height)
            picture.scatter_reduce_(0, row[drawn] * camera.width + column[drawn], z[drawn], "amin")
    return picture.view(camera.height, camera.width)


def distance_from_cells(inside: Tensor, low: Tensor, high: Tensor, x: Tensor) -> Tensor:
    """Signed distances [n] at x [n, 3] from the border of cells [a, b, c] bool over the box low..high [3]; about half a
    cell exact."""
    size = torch.tensor(inside.shape)
    padded = torch.nn.functional.pad(inside[None, None].float(), (1,) * 6)
    eaten = -torch.nn.functional.max_pool3d(-padded, 3, 1)[0, 0] > 0  # cells whose neighbours are all inside
    border = (inside & ~eaten).nonzero()
    centres = low + (border + 0.5) / size * (high - low)
    away = nearest(x.float().contiguous(), centres.float().contiguous())[0][:, 0].sqrt()
    cell = ((x - low) / (high - low) * size).floor().long()
    held = ((cell >= 0) & (cell < size)).all(1)
    cell = cell.clamp_min(0).minimum(size - 1)
    return torch.where(held & inside[tuple(cell.T)], -away, away)
