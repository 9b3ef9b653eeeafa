"""Distance function to mesh by marching cubes: the baseline mesher. See recon/ops/marching_cubes.py."""

from __future__ import annotations

from torch import Tensor

from recon.mesh.grid import DistanceFunction, Grid
from recon.ops.marching_cubes import marching_cubes
from recon.types import Mesh


def mesh_distance(distance: DistanceFunction, grid: Grid, values: Tensor | None = None) -> Mesh:
    """The surface where ``distance`` ([n, 3] -> [n], negative inside) is zero; ``values`` of it, when they are at hand.

    Closed and manifold where the inside does not reach the border of the grid. Raises InputError for values that are
    not finite and for an empty surface.
    """
    values = grid.sample(distance) if values is None else values
    vertices, faces = marching_cubes(values, origin=grid.origin, spacing=grid.steps)
    return Mesh(vertices, faces)
