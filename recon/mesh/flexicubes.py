"""Distance function to mesh by FlexiCubes, with vertices where the tangent planes of the crossings meet.

Source: Shen et al., SIGGRAPH 2023, arXiv 2308.05371, section 4.5 (extraction from a known field); the quadric error of
Ju et al., "Dual Contouring of Hermite Data", SIGGRAPH 2002. Sharp edges are kept without any optimisation.
Differences: crossings are refined on their edge by the function itself, and vertices stay near their cube.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.mesh.grid import DistanceFunction, Grid
from recon.ops.flexicubes import corner_points, dual_topology, edge_corners, split_quads
from recon.types import Mesh

PULL = 1e-2  # of the vertex to the mean of its crossings, where planes leave it free
REACH = 0.25  # how far a vertex may leave its cube, in cells: corners need it, more of it makes faces cut each other


def mesh_distance(distance: DistanceFunction, grid: Grid, *, refine: int = 4, values: Tensor | None = None) -> Mesh:
    """The surface where ``distance`` ([n, 3] -> [n], negative inside) is zero.

    ``refine`` times each crossing is moved on its edge to where the function itself is zero (regula falsi), for
    functions that are not linear along it; ``values`` of the grid, when they are at hand. Manifold for every function;
    closed where the inside does not reach the border of the grid. Raises InputError for values that are not finite and
    for an empty surface.
    """
    values = grid.sample(distance) if values is None else values
    topology = dual_topology(values)
    points, a, b, member = _edges_of_vertices(topology.cube, topology.members, values)
    x = grid.points().reshape(-1, 3)
    crossing, normal = _crossings(distance, x[a], x[b], values.reshape(-1)[a], values.reshape(-1)[b], refine,
                                  grid.spacing)
    low = x[points[:, 0]]
    vertices = _minimise(crossing, normal, member, len(topology.cube), low, grid.spacing)
    # The diagonal whose ends agree better on the normal follows the surface better.
    n = torch.zeros(len(topology.cube), 3).index_add_(0, member, normal)
    n = torch.nn.functional.normalize(n, dim=1)[topology.quads.long()]
    along = (n[:, 0] * n[:, 2]).sum(1) > (n[:, 1] * n[:, 3]).sum(1)
    return Mesh(vertices, split_quads(topology.quads, along))


def _edges_of_vertices(cube: Tensor, members: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Corners [v, 8] of every vertex's cube, and for each of its crossed edges: both ends [m] and the vertex [m]."""
    points = corner_points(cube, values.shape)
    crossed = (members.to(torch.int32)[:, None] >> torch.arange(12) & 1).bool()
    vertex, edge = crossed.nonzero(as_tuple=True)
    ends = edge_corners()[edge]
    return points, points[vertex, ends[:, 0]], points[vertex, ends[:, 1]], vertex


def _crossings(distance: DistanceFunction, x_a: Tensor, x_b: Tensor, s_a: Tensor, s_b: Tensor, refine: int,
               spacing: float) -> tuple[Tensor, Tensor]:
    """Positions [m, 3] where edges cross the surface, and unit normals there by central differences."""
    low, high, f_low, f_high = torch.zeros_like(s_a), torch.ones_like(s_a), s_a.clone(), s_b.clone()
    t = s_a / (s_a - s_b)
    for _ in range(refine):
        f = _evaluate(distance, x_a + t[:, None] * (x_b - x_a))
        same = (f < 0) == (s_a < 0)
        # Illinois: the end that stays counts half, or it would stay for ever.
        f_high = torch.where(same, f_high / 2, f)
        f_low = torch.where(same, f, f_low / 2)
        low, high = torch.where(same, t, low), torch.where(same, high, t)
        width = f_low - f_high
        t = torch.where(width.abs() > 1e-30, low + (high - low) * f_low / width, (low + high) / 2)
        t = torch.minimum(torch.maximum(t, low), high)
    x = x_a + t[:, None] * (x_b - x_a)
    step = 0.02 * spacing
    slopes = []
    for axis in range(3):
        move = torch.zeros(3)
        move[axis] = step
        slopes.append(_evaluate(distance, x + move) - _evaluate(distance, x - move))
    normal = torch.stack(slopes, dim=1)
    return x, torch.nn.functional.normalize(normal, dim=1)


def _evaluate(distance: DistanceFunction, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([distance(p).detach().float().reshape(-1) for p in x.split(1 << 18)]) if len(x) else x[:, 0]


def _minimise(crossing: Tensor, normal: Tensor, vertex: Tensor, count: int, low: Tensor, spacing: float) -> Tensor:
    """Vertices [count, 3] nearest to the tangent planes of their crossings, kept near their cubes."""
    z, n = crossing.double(), normal.double()
    number = torch.zeros(count, dtype=torch.float64).index_add_(0, vertex, torch.ones(len(vertex), dtype=torch.float64))
    mean = torch.zeros(count, 3, dtype=torch.float64).index_add_(0, vertex, z) / number[:, None]
    offset = ((z - mean[vertex]) * n).sum(1)
    a = torch.zeros(count, 9, dtype=torch.float64).index_add_(0, vertex, (n[:, :, None] * n[:, None]).reshape(-1, 9))
    r = torch.zeros(count, 3, dtype=torch.float64).index_add_(0, vertex, n * offset[:, None])
    system = a.reshape(-1, 3, 3) + PULL * torch.eye(3, dtype=torch.float64)
    v = mean + torch.linalg.solve(system, r[..., None])[..., 0]
    corner = low.double() - REACH * spacing
    return torch.minimum(torch.maximum(v, corner), corner + (1 + 2 * REACH) * spacing).float()
