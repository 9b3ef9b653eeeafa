"""FlexiCubes: a differentiable mesh from values on a grid, by dual marching cubes with weights. Kernels: cuda/iso.

Source: Shen et al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", SIGGRAPH 2023, arXiv
2308.05371. Differences: raw weights are mapped to used ones inside the op and only where the surface is; where the
surface leaves the grid, vertices are doubled so that the open mesh stays manifold; tables follow from a rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from recon.ops.checks import expect_tensor, place_of
from recon.ops.flexicubes_cuda import kernels_of
from recon.ops.zeros import zeros_like

WEIGHTS = 21  # per cube: alpha of 8 corners, beta of 12 edges, gamma
REACH = 0.4999  # how far a grid point may move, in cells
_FLOAT = (torch.float32, torch.float64)


@dataclass(frozen=True)
class DualTopology:
    """What follows from the signs alone.

    cube [v] int32      the cube of each vertex, x fastest; ascending
    members [v] uint16  bit e is set for the crossed edges e of the cube that the vertex lies between
    quads [q, 4] int32  vertices, counter-clockwise as seen from outside

    Made in an open ``Room``, the lists have its capacity: cubes and vertices of quads at their end are -1.
    """

    cube: Tensor
    members: Tensor
    quads: Tensor

    def counted(self) -> Tensor | None:
        """[v] bool on a GPU: which vertices are there; None on the processor: all."""
        return None if self.cube.device.type != "cuda" else self.cube >= 0


@dataclass(frozen=True)
class FlexibleMesh:
    """A mesh that is differentiable in what made it.

    vertices [n, 3]  positions: first the dual vertices, then (split "centre") one per quad
    faces [f, 3]     int32, counter-clockwise as seen from outside
    deviation [v]    L_dev of every dual vertex: mean over its crossings z of | |v - z| - mean |v - z| |, scene units
    topology         where the vertices come from; behind its last vertex and quad there are vertices at 0 and faces
                     without area
    """

    vertices: Tensor
    faces: Tensor
    deviation: Tensor
    topology: DualTopology


def dual_topology(values: Tensor) -> DualTopology:
    """Dual vertices and quads of the surface between values < 0 (inside) and >= 0.

    values [nz, ny, nx] float32 or float64, finite, 2 or more along each axis. Manifold for every sign pattern; closed
    unless the surface leaves the grid (no cube of the outermost layer may then be crossed on the border). Of values on
    a GPU, which are not checked to be finite, the host waits for the numbers of vertices and quads.
    Raises ValueError or TypeError naming the argument.
    """
    _check_grid(values)
    return DualTopology(*kernels_of(values).dual_topology(values.detach()))


def flexicubes(
    values: Tensor, *, origin: Sequence[float] = (0.0, 0.0, 0.0), spacing: Sequence[float] = (1.0, 1.0, 1.0),
    deformation: Tensor | None = None, weights: Tensor | None = None,
    split: Literal["centre", "diagonal"] = "centre", topology: DualTopology | None = None,
) -> FlexibleMesh:
    """The mesh of values on a grid; differentiable in ``values``, ``deformation`` and ``weights``.

    values       [nz, ny, nx] float32 or float64, negative inside; x is the last axis
    origin       x, y, z of the first grid point; ``spacing`` the distance of neighbours along x, y, z
    deformation  [nz, ny, nx, 3] raw: a point moves by 0.4999 spacing tanh(raw); None = 0
    weights      [(nz-1) (ny-1) (nx-1), 21] raw: alpha 8 and beta 12 as 1 + 0.99 tanh(raw), gamma as 0.99 sigmoid(raw) +
                 0.005; None = 0
    split        "centre": four triangles around a vertex in the middle of each quad, differentiable in gamma (for
                 optimisation); "diagonal": two triangles along the diagonal with the larger product of gamma
    topology     of the same signs, when it is at hand

    Raises ValueError or TypeError naming the argument.
    """
    _check_grid(values)
    nz, ny, nx = values.shape
    if deformation is not None:
        expect_tensor("deformation", deformation, values.dtype, (nz, ny, nx, 3), on=place_of(values))
    if weights is not None:
        expect_tensor("weights", weights, values.dtype, ((nz - 1) * (ny - 1) * (nx - 1), WEIGHTS), on=place_of(values))
    if split not in ("centre", "diagonal"):
        raise ValueError(f'split must be "centre" or "diagonal", got "{split}"')
    place = (_numbers("origin", origin), _numbers("spacing", spacing))
    if min(place[1]) <= 0:
        raise ValueError(f"spacing must be positive, got {place[1]}")
    found = dual_topology(values) if topology is None else topology
    vertices, deviation = _Vertices.apply(values, deformation, weights, found, place, split == "centre")
    return FlexibleMesh(vertices, triangles(found, weights, split), deviation, found)


def triangles(topology: DualTopology, weights: Tensor | None, split: str) -> Tensor:
    """Faces [f, 3] int32 of the quads, see ``flexicubes``; those of quads that are not there have no area."""
    a, b, c, d = topology.quads.clamp_min(0).unbind(1)
    if split == "centre":
        middle = torch.arange(len(a), dtype=torch.int32, device=a.device) + len(topology.cube)
        if topology.cube.device.type == "cuda":  # each of its own vertex, so that no gradients meet at one of them
            a, b, c, d = torch.where(topology.quads < 0, middle[:, None], topology.quads).unbind(1)
        return torch.stack([a, b, middle, b, c, middle, c, d, middle, d, a, middle], dim=1).reshape(-1, 3)
    along_ac = torch.zeros(len(a), dtype=torch.bool, device=a.device)
    if weights is not None:
        gamma = 0.99 * weights.detach()[topology.cube.long(), 20].sigmoid() + 0.005
        along_ac = gamma[a.long()] * gamma[c.long()] > gamma[b.long()] * gamma[d.long()]
    return split_quads(topology.quads.clamp_min(0), along_ac)


def split_quads(quads: Tensor, along_ac: Tensor) -> Tensor:
    """Two triangles per quad [q, 4], along its diagonal 0-2 where ``along_ac`` [q] is true, else along 1-3."""
    a, b, c, d = quads.unbind(1)
    return torch.where(along_ac[:, None], torch.stack([a, b, c, a, c, d], dim=1),
                       torch.stack([a, b, d, b, c, d], dim=1)).reshape(-1, 3)


def sign_change_loss(values: Tensor) -> Tensor:
    """Scalar: mean over grid edges with a sign change of BCE(sigmoid(a), [b > 0]) + BCE(sigmoid(b), [a > 0]).

    Pulls values of opposite sign at neighbouring points together, which removes floaters that no view sees. values
    [nz, ny, nx], differentiable; 0 without a surface. Source: as above, and Munkberg et al., arXiv 2111.12503.
    """
    _check_grid(values)
    return _SignChange.apply(values)


class _Vertices(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, deformation: Tensor | None, weights: Tensor | None, topology: DualTopology,
                place: tuple[tuple[float, ...], tuple[float, ...]], centres: bool) -> tuple[Tensor, Tensor]:
        deformed = None
        if deformation is not None:
            deformed = torch.empty_like(deformation)
            kernels_of(values).deform_grid(deformation.detach(), *place, deformed)
        n, q = len(topology.cube), len(topology.quads)
        vertices, deviation = values.new_empty(n + (q if centres else 0), 3), values.new_empty(n)
        kernels_of(values).flexible_vertices(
            values.detach(), *place, deformed, _plain(weights), topology.cube, topology.members, topology.quads,
            vertices[:n], deviation, vertices[n:] if centres else None)
        ctx.save_for_backward(values, weights, deformed, vertices)
        ctx.topology, ctx.place, ctx.centres = topology, place, centres
        return vertices, deviation

    @staticmethod
    def backward(ctx: Any, g_vertices: Tensor | None, g_deviation: Tensor | None) -> tuple[Tensor | None, ...]:
        values, weights, deformed, vertices = ctx.saved_tensors
        n = len(ctx.topology.cube)
        g_all = torch.zeros_like(vertices) if g_vertices is None else g_vertices.contiguous()
        g_values = zeros_like(values)
        g_deformation = zeros_like(deformed) if ctx.needs_input_grad[1] else None
        g_weights = zeros_like(weights) if ctx.needs_input_grad[2] else None
        kernels = kernels_of(values)
        kernels.flexible_vertices_backward(
            values.detach(), *ctx.place, deformed, _plain(weights), ctx.topology.cube, ctx.topology.members,
            ctx.topology.quads, vertices.detach()[:n], g_all[:n].clone(),
            None if g_deviation is None else g_deviation.contiguous(), g_all[n:] if ctx.centres else None,
            g_values, g_deformation, g_weights)
        if g_deformation is not None:
            kernels.deform_grid_backward(deformed, *ctx.place, g_deformation)
        return g_values, g_deformation, g_weights, None, None, None


class _SignChange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        gradient = torch.empty_like(values)
        loss = kernels_of(values).sign_change(values.detach(), gradient)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, g_loss: Tensor) -> Tensor:
        return ctx.saved_tensors[0] * g_loss


def _plain(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(x) for x in values)
    if len(numbers) != 3 or not all(abs(x) < 1e30 for x in numbers):
        raise ValueError(f"{name} must be three finite numbers, got {numbers}")
    return numbers


def _check_grid(values: Tensor) -> None:
    expect_tensor("values", values, _FLOAT, ("nz", "ny", "nx"), on=place_of(values))
    if min(values.shape) < 2:
        raise ValueError(f"values must have 2 or more points along each axis, got {list(values.shape)}")
    if values.numel() >= 1 << 29:
        raise ValueError(f"values may have {1 << 29:,} points at most, got {list(values.shape)}")
    if values.device.type == "cuda":
        return
    if not torch.isfinite(values.detach().sum()) and not torch.isfinite(values.detach()).all():
        raise ValueError("values must be finite, got NaN or Inf")


# ---- the same in plain torch -----------------------------------------------------------------------------------------

def edge_corners() -> Tensor:
    """[12, 2] corners of a cube's edges; edge 4a + i + 2j runs along axis a at offsets i, j along axes a+1, a+2."""
    out = []
    for e in range(12):
        a = e // 4
        start = (e & 1) << (a + 1) % 3 | (e >> 1 & 1) << (a + 2) % 3
        out.append([start, start | 1 << a])
    return torch.tensor(out)


def corner_points(cube: Tensor, shape: Sequence[int]) -> Tensor:
    """[n, 8] flat indices of the corners (bit 0 = x, 1 = y, 2 = z) of cubes [n] of a grid [nz, ny, nx]."""
    _, ny, nx = shape
    cube = cube.long()
    x, y, z = cube % (nx - 1), cube // (nx - 1) % (ny - 1), cube // ((nx - 1) * (ny - 1))
    corner = torch.arange(8)
    return ((z[:, None] + (corner >> 2)) * ny + y[:, None] + (corner >> 1 & 1)) * nx + x[:, None] + (corner & 1)


def grid_points(shape: Sequence[int], origin: Sequence[float], spacing: Sequence[float],
                dtype: torch.dtype = torch.float32) -> Tensor:
    """Positions [nz, ny, nx, 3] (x, y, z) of the points of a grid."""
    axes = [origin[a] + spacing[a] * torch.arange(shape[2 - a], dtype=torch.float64) for a in range(3)]
    z, y, x = torch.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    return torch.stack([x, y, z], dim=-1).to(dtype)


def reference(
    values: Tensor, *, origin: Sequence[float] = (0.0, 0.0, 0.0), spacing: Sequence[float] = (1.0, 1.0, 1.0),
    deformation: Tensor | None = None, weights: Tensor | None = None, split: str = "centre",
    topology: DualTopology | None = None,
) -> FlexibleMesh:
    """``flexicubes`` in plain torch under autograd; the topology, which has no derivative, is the kernel's."""
    found = dual_topology(values) if topology is None else topology
    x = grid_points(values.shape, origin, spacing, values.dtype)
    if deformation is not None:
        x = x + REACH * torch.tensor(list(spacing), dtype=values.dtype) * deformation.tanh()
    points = corner_points(found.cube, values.shape)
    s, x = values.reshape(-1)[points], x.reshape(-1, 3)[points]  # [v, 8], [v, 8, 3]
    raw = values.new_zeros(len(points), WEIGHTS) if weights is None else weights[found.cube.long()]
    alpha, beta = 1 + 0.99 * raw[:, :8].tanh(), 1 + 0.99 * raw[:, 8:20].tanh()
    gamma = 0.99 * raw[:, 20].sigmoid() + 0.005
    member = (found.members.to(torch.int32)[:, None] >> torch.arange(12) & 1).bool()
    a, b = edge_corners().unbind(1)

    def crossings(s: Tensor) -> Tensor:
        # Chosen before dividing: edges without a crossing must not send NaN back.
        s_a, s_b = (torch.where(member, t, f) for t, f in ((s[:, a], -torch.ones(())), (s[:, b], torch.ones(()))))
        t = (s_a / (s_a - s_b))[..., None]
        return x[:, a] + t * (x[:, b] - x[:, a])

    u, z, counted = crossings(s * alpha), crossings(s), member.to(values.dtype)
    share = beta * counted
    v = (share[..., None] * u).sum(1) / share.sum(1, keepdim=True)
    distance = ((v[:, None] - z).square().sum(-1) + 1e-30).sqrt()
    count = counted.sum(1)
    mean = (distance * counted).sum(1) / count
    deviation = ((distance - mean[:, None]).abs() * counted).sum(1) / count
    vertices = v
    if split == "centre":
        q = found.quads.long()
        w_ac, w_bd = gamma[q[:, 0]] * gamma[q[:, 2]], gamma[q[:, 1]] * gamma[q[:, 3]]
        middle = (w_ac[:, None] * (v[q[:, 0]] + v[q[:, 2]]) + w_bd[:, None] * (v[q[:, 1]] + v[q[:, 3]])) / 2
        vertices = torch.cat([v, middle / (w_ac + w_bd)[:, None]])
    return FlexibleMesh(vertices, triangles(found, weights, split), deviation, found)


def reference_sign_change_loss(values: Tensor) -> Tensor:
    """``sign_change_loss`` in plain torch."""
    pairs = [(values.narrow(a, 0, values.shape[a] - 1), values.narrow(a, 1, values.shape[a] - 1)) for a in range(3)]
    a = torch.cat([p.reshape(-1) for p, _ in pairs])
    b = torch.cat([p.reshape(-1) for _, p in pairs])
    changed = (a < 0) != (b < 0)
    if not changed.any():
        return (values * 0).sum()
    a, b = a[changed], b[changed]
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    return bce(a, (b >= 0).to(a.dtype)) + bce(b, (a >= 0).to(a.dtype))


def examples(dtype: torch.dtype = torch.float32) -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``flexicubes``: empty and full grids, spheres, noise, with and without weights."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    yield {"values": torch.ones(2, 2, 2, dtype=dtype)}
    yield {"values": -torch.ones(3, 4, 2, dtype=dtype)}
    yield {"values": noise(2, 2, 2)}
    for nz, ny, nx in ((4, 5, 6), (9, 8, 7), (6, 3, 17)):
        cubes = (nz - 1) * (ny - 1) * (nx - 1)
        yield {"values": noise(nz, ny, nx), "split": "diagonal"}
        yield {"values": noise(nz, ny, nx), "deformation": noise(nz, ny, nx, 3), "weights": noise(cubes, WEIGHTS),
               "origin": (-1.0, 0.5, 2.0), "spacing": (0.5, 0.25, 1.5)}
    x = grid_points((12, 12, 12), (-1.1,) * 3, (0.2,) * 3, dtype)
    yield {"values": x.norm(dim=-1) - 0.7, "weights": 0.3 * noise(11**3, WEIGHTS), "origin": (-1.1,) * 3,
           "spacing": (0.2,) * 3}
