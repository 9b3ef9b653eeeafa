"""Values of a distance function on a grid, with errors a person can act on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from recon.errors import InputError
from recon.ops.flexicubes import grid_points

DistanceFunction = Callable[[Tensor], Tensor]
POINTS = 1 << 18  # evaluated at once
_STRIDE = 4  # of the points that are looked at first


@dataclass(frozen=True)
class Grid:
    """A box of cubes, all of one size.

    origin   x, y, z of the first point
    spacing  edge of a cube, scene units
    cubes    number along x, y, z
    """

    origin: tuple[float, float, float]
    spacing: float
    cubes: tuple[int, int, int]

    @staticmethod
    def around(low: Tensor, high: Tensor, resolution: int, margin: float = 1.0) -> Grid:
        """A grid over the box low..high [3] with ``resolution`` cubes along its longest side, and ``margin`` more
        cubes on every side, so that a surface within the box does not touch the border."""
        size = (high.double() - low.double()).clamp_min(0)
        if not torch.isfinite(size).all() or not float(size.max()) > 0:
            raise InputError("the box to be meshed has no size", fix="Check the bounds of the scene.")
        spacing = float(size.max()) / resolution
        cubes = [int(-(-float(s) // spacing)) + 2 * round(margin) for s in size]
        middle = (high.double() + low.double()) / 2
        origin = [float(m) - spacing * n / 2 for m, n in zip(middle, cubes)]
        return Grid((origin[0], origin[1], origin[2]), spacing, (max(cubes[0], 1), max(cubes[1], 1), max(cubes[2], 1)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points along z, y, x."""
        return self.cubes[2] + 1, self.cubes[1] + 1, self.cubes[0] + 1

    @property
    def steps(self) -> tuple[float, float, float]:
        return self.spacing, self.spacing, self.spacing

    def points(self) -> Tensor:
        """[nz, ny, nx, 3] float32."""
        return grid_points(self.shape, self.origin, self.steps)

    def sample(self, distance: DistanceFunction) -> Tensor:
        """The function's values [nz, ny, nx]; raises InputError where they are not finite or have no surface."""
        return checked(_evaluate(distance, self.points().reshape(-1, 3)).reshape(self.shape))

    def sample_distances(self, distance: DistanceFunction, slope: float = 1.0) -> Tensor:
        """``sample`` of a function that changes by no more than ``slope`` times the way gone, but for sudden changes
        of sign: exact up to three cells from the surface, and farther away the value at the nearest of every fourth
        point, which has the right sign."""
        points = self.points()
        nodes = [torch.tensor(sorted({*range(0, n, _STRIDE), n - 1})) for n in self.shape]
        coarse = points[torch.meshgrid(*nodes, indexing="ij")]
        found = _evaluate(distance, coarse.reshape(-1, 3).contiguous()).reshape(coarse.shape[:3])
        sign = (found < 0).float()[None, None]  # cut off at a border, it may change far from zero
        changes = (max_pool3d(sign, 3, 1, 1) + max_pool3d(-sign, 3, 1, 1))[0, 0] > 0
        nearest = torch.meshgrid(*((torch.arange(n)[:, None] - at).abs().argmin(1)
                                   for n, at in zip(self.shape, nodes)), indexing="ij")
        values = found[nearest]
        near = changes[nearest] | (values.abs() <= slope * (_STRIDE / 2 * 3**0.5 + 3) * self.spacing)
        values[near] = _evaluate(distance, points[near])
        return checked(values)


def _evaluate(distance: DistanceFunction, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([distance(part).detach().float().reshape(-1) for part in x.split(POINTS)])


def checked(values: Tensor) -> Tensor:
    """The values of a grid; raises InputError where they are not finite or have no surface."""
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise InputError(f"the field is not finite at {bad:,} of {values.numel():,} grid points",
                         fix="The fit has diverged; fit again, or mesh an earlier checkpoint.")
    inside = int((values < 0).sum())
    if inside in (0, values.numel()):
        where = "inside" if inside else "outside"
        raise InputError(f"there is no surface in the box: every grid point is {where}",
                         fix="Make the box larger, or the resolution higher.")
    return values


def border_crossed(values: Tensor) -> bool:
    """Whether the inside reaches the border of the grid, so that the mesh is open there."""
    return any(bool((values.select(axis, end) < 0).any()) for axis in range(3) for end in (0, -1))
