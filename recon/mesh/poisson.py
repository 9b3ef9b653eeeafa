"""A closed surface through oriented points, also where there are none: Poisson reconstruction on a grid.

Source: Kazhdan, "Reconstruction of Solid Models from Oriented Point Sets", SGP 2005, and Kazhdan, Bolitho, Hoppe,
"Poisson Surface Reconstruction", SGP 2006: the gradient of the indicator of a solid is its normals, spread over its
surface. Solved by Fourier transforms of a periodic grid, with the symbols of central differences.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recon.errors import InputError
from recon.mesh.grid import Grid, checked
from recon.mesh.measure import points_on, unit_normals
from recon.ops.marching_cubes import marching_cubes
from recon.types import Mesh

MARGIN = 0.15  # of the longest side, empty around the points: the grid is periodic
SMOOTH = 1.0  # cells, standard deviation of the filter
POINTS_PER_CELL = 6  # on a mesh, per squared cell of its surface


def indicator(points: Tensor, normals: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Values [nz, ny, nx], about 0 outside and 1 inside up to a constant, and those at the points [n].

    points [n, 3] in the grid; normals [n, 3] outward, as long as the area that a point stands for.
    """
    shape, h = grid.shape, grid.spacing
    field = torch.zeros(4, *shape)
    index, weight = _nodes(points, grid)
    for axis in range(3):
        flat = field[axis].view(-1)
        for k in range(8):
            flat.index_add_(0, index[:, k], weight[:, k] * normals[:, axis] / h**3)
    wave = [2 * math.pi * torch.fft.fftfreq(n) for n in shape]
    wave[2] = 2 * math.pi * torch.fft.rfftfreq(shape[2])
    kz, ky, kx = torch.meshgrid(*wave, indexing="ij")
    laplacian = (2 * (kx.cos() + ky.cos() + kz.cos()) - 6) / h**2
    laplacian[0, 0, 0] = 1.0
    divergence = sum((1j * k.sin() / h) * torch.fft.rfftn(field[axis]) for axis, k in enumerate((kx, ky, kz)))
    smooth = torch.exp(-0.5 * SMOOTH**2 * (kx**2 + ky**2 + kz**2))
    spectrum = -divergence * smooth / laplacian  # the indicator falls along the outward normal
    spectrum[0, 0, 0] = 0
    values = torch.fft.irfftn(spectrum, s=shape)
    at = sum(weight[:, k] * values.view(-1)[index[:, k]] for k in range(8))
    assert isinstance(at, Tensor)
    return values, at


def _nodes(points: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The eight grid points around every point [n, 8], and their trilinear weights."""
    nz, ny, nx = grid.shape
    g = (points - torch.tensor(grid.origin)) / grid.spacing
    size = torch.tensor([nx, ny, nz])
    low = g.floor().long().clamp_min(0).minimum(size - 2)
    t = (g - low).clamp(0, 1)
    index, weight = [], []
    for k in range(8):
        bit = torch.tensor([k & 1, k >> 1 & 1, k >> 2 & 1])
        node = low + bit
        index.append((node[:, 2] * ny + node[:, 1]) * nx + node[:, 0])
        weight.append(torch.where(bit == 1, t, 1 - t).prod(1))
    return torch.stack(index, 1), torch.stack(weight, 1)


def poisson(points: Tensor, normals: Tensor, resolution: int = 192) -> Mesh:
    """A watertight mesh near ``points`` [n, 3]; ``normals`` outward, as long as the area that a point stands for.

    ``resolution`` cells along the longest side of the points' box. Raises InputError without points or surface.
    """
    if not len(points) or not torch.isfinite(points).all() or not torch.isfinite(normals).all():
        raise InputError("there are no finite points to close a surface over", fix="Mesh another part of the scene.")
    low, high = points.amin(0), points.amax(0)
    grid = Grid.around(low, high, resolution, margin=round(MARGIN * resolution))
    values, at = indicator(points.float(), normals.float(), grid)
    area = normals.norm(dim=1)
    level = (at * area).sum() / area.sum().clamp_min(1e-30)
    found = checked(level - values)
    found = found.clone()
    for axis in range(3):  # closed in any case
        for end in (0, -1):
            found.select(axis, end).clamp_(min=1e-6)
    return Mesh(*marching_cubes(found.contiguous(), origin=grid.origin, spacing=grid.steps))


def closed_over(mesh: Mesh, resolution: int = 192, seed: int = 0) -> Mesh:
    """A watertight mesh over an open one: holes are spanned as smoothly as their borders allow. No colours."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    cell = float((high - low).max()) / resolution
    count = int(min(max(POINTS_PER_CELL * mesh.area / cell**2, 1000), 4_000_000))
    generator = torch.Generator().manual_seed(seed)
    x, face = points_on(mesh.corners, count, generator)
    return poisson(x, unit_normals(mesh.corners.double()).float()[face] * (mesh.area / count), resolution)
