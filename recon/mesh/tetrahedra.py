"""The inside of a FlexiCubes mesh as tetrahedra, whose outer faces are the faces of the mesh.

Source: Shen et al., "Flexible Isosurface Extraction for Gradient-Based Mesh Optimization", SIGGRAPH 2023, arXiv
2308.05371, section 4.4. Every inside grid point is joined with the surface around its crossed edges, and with the
middles of the cubes around the others. The middle of a cube that the surface cuts is its dual vertex. Where the surface
passes one inside part of a cube more than once, the part gets a middle of its own, and wedges between middle and dual
vertices close the gap; so the tetrahedra fit together for every sign pattern.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.ops.flexicubes import REACH, FlexibleMesh, corner_points, edge_corners, grid_points


@dataclass(frozen=True)
class TetrahedralMesh:
    """vertices [n, 3]: those of the surface first, differentiable; tetrahedra [t, 4] int64, of positive volume unless
    the grid is strongly deformed."""

    vertices: Tensor
    tetrahedra: Tensor

    @property
    def volumes(self) -> Tensor:
        """[t] signed."""
        a, b, c, d = self.vertices[self.tetrahedra].unbind(1)
        return (torch.linalg.cross(b - a, c - a) * (d - a)).sum(1) / 6


def tetrahedra(values: Tensor, found: FlexibleMesh, *, origin: Sequence[float] = (0.0, 0.0, 0.0),
               spacing: Sequence[float] = (1.0, 1.0, 1.0), deformation: Tensor | None = None) -> TetrahedralMesh:
    """What lies inside of ``found = flexicubes(values, origin=, spacing=, deformation=, ...)``, either split.

    Differentiable in what made the surface, and in ``deformation``. Raises ValueError where the inside reaches the
    border of the grid: the surface is open there.
    """
    inside = values.detach() < 0
    if any(bool(inside.select(axis, end).any()) for axis in range(3) for end in (0, -1)):
        raise ValueError("the inside reaches the border of the grid, where the surface is open")
    if not bool(inside.any()):
        return TetrahedralMesh(found.vertices, torch.zeros(0, 4, dtype=torch.int64))
    x = grid_points(values.shape, origin, spacing, values.dtype)
    if deformation is not None:
        x = x + REACH * torch.tensor(list(spacing), dtype=values.dtype) * deformation.tanh()
    x = x.reshape(-1, 3)
    cells = _Cells(inside, found)
    kept = inside.reshape(-1).nonzero().squeeze(1)
    first = len(found.vertices)
    number = torch.full((inside.numel(),), -1, dtype=torch.int64)
    number[kept] = first + torch.arange(len(kept))
    first += len(kept)
    middles = cells.middle_points(x, found.vertices)
    pieces = [*_on_faces(cells, found), *_around_edges(cells), *_wedges(cells)]
    rows = torch.cat(pieces)
    # grid points and middles are named apart until here
    rows = torch.where(rows >= _MIDDLE, rows - _MIDDLE + first, torch.where(
        rows >= _POINT, number[(rows - _POINT).clamp(0, len(number) - 1)], rows))
    return TetrahedralMesh(torch.cat([found.vertices, x[kept], middles]), rows)


_POINT, _MIDDLE = 1 << 40, 1 << 41  # names: vertices of the surface, grid points from here on, middles from here on


class _Cells:
    """The cubes, their dual vertices, and the vertex that stands for the middle of a cube as a corner sees it."""

    def __init__(self, inside: Tensor, found: FlexibleMesh) -> None:
        self.inside, self.flat = inside, inside.reshape(-1)
        self.shape = inside.shape
        nz, ny, nx = self.shape
        self.counts = (nx - 1, ny - 1, nz - 1)
        t = found.topology
        cube, members = t.cube.long(), (t.members.to(torch.int32)[:, None] >> torch.arange(12) & 1).bool()
        points = corner_points(torch.arange((nx - 1) * (ny - 1) * (nz - 1)), self.shape)
        touched = self.flat[points].any(1).nonzero().squeeze(1)
        self.cube = touched  # those with an inside corner
        row = torch.full((len(points),), -1, dtype=torch.int64)
        row[touched] = torch.arange(len(touched))
        self.row = row
        self.points = points[touched]
        # dual[r, e]: the vertex of the surface at a crossed edge of a cube
        self.dual = torch.full((len(touched), 12), -1, dtype=torch.int64)
        vertex, edge = members.nonzero(as_tuple=True)
        self.dual[row[cube[vertex]], edge] = vertex
        self._middles()

    def _middles(self) -> None:
        """``middle`` [r, 8]: names; corners joined by inside edges, or by a vertex of the surface, have the same."""
        solid = self.flat[self.points]
        ends = edge_corners()
        joined = torch.eye(8, dtype=torch.bool).repeat(len(solid), 1, 1)
        low, high = solid[:, ends[:, 0]], solid[:, ends[:, 1]]  # [r, 12]
        for e, (a, b) in enumerate(ends.tolist()):
            joined[:, a, b] |= low[:, e] & high[:, e]
            joined[:, b, a] |= low[:, e] & high[:, e]
        inner = torch.where(low, ends[:, 0], ends[:, 1])  # of a crossed edge, its inside corner
        for e in range(12):
            for f in range(e):
                same = ((self.dual[:, e] >= 0) & (self.dual[:, e] == self.dual[:, f])).nonzero().squeeze(1)
                joined[same, inner[same, e], inner[same, f]] = True
                joined[same, inner[same, f], inner[same, e]] = True
        for _ in range(3):
            joined = (joined.float() @ joined.float()) > 0
        label = joined.float().argmax(2)  # the lowest corner of the class
        least = torch.full((len(solid), 8), 1 << 60, dtype=torch.int64)
        most = torch.full((len(solid), 8), -1, dtype=torch.int64)
        for e in range(12):
            some = (self.dual[:, e] >= 0).nonzero().squeeze(1)
            of, v = label[some, inner[some, e]], self.dual[some, e]
            least[some, of] = torch.minimum(least[some, of], v)
            most[some, of] = torch.maximum(most[some, of], v)
        here = torch.arange(8)
        wanted = solid & (label == here) & (least != most)  # several vertices, or none
        self.made = wanted.nonzero()  # [m, 2] cube row and class
        own = torch.full((len(solid), 8), -1, dtype=torch.int64)
        own[wanted] = _MIDDLE + torch.arange(len(self.made))
        name = torch.where(least == most, least, own)
        self.middle = torch.where(solid, name.gather(1, label), -1)
        self.label = label

    def middle_points(self, x: Tensor, surface: Tensor) -> Tensor:
        """[m, 3] means of the inside corners and of the surface around them."""
        r, of = self.made.unbind(1)
        mine = (self.label[r] == of[:, None]) & self.flat[self.points[r]]  # [m, 8]
        ends = edge_corners()
        solid = self.flat[self.points[r]]
        inner = torch.where(solid[:, ends[:, 0]], ends[:, 0], ends[:, 1])
        dual = self.dual[r]
        touching = (dual >= 0) & (self.label[r].gather(1, inner) == of[:, None])
        weight = torch.cat([mine, touching], dim=1).to(x.dtype)
        places = torch.cat([x[self.points[r]], surface[dual.clamp_min(0)]], dim=1)
        return (places * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)

    def edges(self, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Grid edges along an axis within the grid: rows [n, 4] of the cubes around, counter-clockwise about the axis,
        the local number [4] of the edge in each, and the grid points [n, 2] at its ends."""
        nx, ny, nz = self.counts
        n = [nx, ny, nz]
        b, c = (axis + 1) % 3, (axis + 2) % 3
        ranges = [torch.arange(n[0]), torch.arange(n[1]), torch.arange(n[2])]
        ranges[b], ranges[c] = torch.arange(1, n[b]), torch.arange(1, n[c])
        at = torch.cartesian_prod(*ranges)
        if not len(at):
            at = at.view(0, 3)
        stride = torch.tensor([1, nx, nx * ny])
        flat = at @ stride
        around = torch.stack([flat, flat - stride[b], flat - stride[b] - stride[c], flat - stride[c]], dim=1)
        # in the cube at the edge's own place the edge has offset (0, 0); in the one before along b, (1, 0) ...
        local = 4 * axis + torch.tensor([0, 1, 3, 2])
        steps = torch.tensor([1, nx + 1, (nx + 1) * (ny + 1)])
        start = at @ steps
        return self.row[around], local, torch.stack([start, start + steps[axis]], dim=1)


def _on_faces(cells: _Cells, found: FlexibleMesh) -> Iterator[Tensor]:
    """Faces of the surface with the inside point of the edge that they lie around."""
    t = found.topology
    fan = len(found.faces) // max(len(t.quads), 1)
    # the edge of a quad is the one that its first and third cubes share: they meet nowhere else
    first, third = t.quads[:, 0].long(), t.quads[:, 2].long()
    ends = edge_corners()

    def edges_of(vertex: Tensor) -> tuple[Tensor, Tensor]:
        row = cells.row[t.cube.long()[vertex]]
        member = (t.members.to(torch.int32)[vertex][:, None] >> torch.arange(12) & 1).bool()
        a, b = cells.points[row][:, ends[:, 0]], cells.points[row][:, ends[:, 1]]
        return a * len(cells.flat) + b, torch.where(member, torch.where(cells.flat[a], a, b), -1)

    name, point = edges_of(first)
    other, valid = edges_of(third)
    same = (name[:, :, None] == other[:, None, :]) & (point >= 0)[:, :, None] & (valid >= 0)[:, None, :]
    at = same.any(2).float().argmax(1)
    corner = point.gather(1, at[:, None]).squeeze(1).repeat_interleave(fan)
    yield torch.cat([_POINT + corner[:, None], found.faces.long()], dim=1)


def _around_edges(cells: _Cells) -> Iterator[Tensor]:
    """Inside edges with the middles of each two cubes around that share a face."""
    ends = edge_corners()
    for axis in range(3):
        row, local, point = cells.edges(axis)
        whole = (cells.flat[point[:, 0]] & cells.flat[point[:, 1]]).nonzero().squeeze(1)
        row, point = row[whole], point[whole]
        middle = cells.middle[row, ends[local, 0]]
        for i in range(4):
            yield torch.stack([_POINT + point[:, 0], _POINT + point[:, 1], middle[:, i], middle[:, (i + 1) % 4]], dim=1)


def _wedges(cells: _Cells) -> Iterator[Tensor]:
    """Between what two edges of an inside point see of the cubes on both sides of a grid face, where that differs."""
    nx, ny, nz = cells.counts
    n, stride = (nx, ny, nz), (1, nx, nx * ny)
    for axis in range(3):
        b, c = (axis + 1) % 3, (axis + 2) % 3
        ranges = [torch.arange(k) for k in n]
        ranges[axis] = torch.arange(1, n[axis])
        at = torch.cartesian_prod(*ranges)
        if not len(at):
            continue
        after = at @ torch.tensor(stride)
        rows = torch.stack([cells.row[after - stride[axis]], cells.row[after]], dim=1)  # before, after
        rows = rows[(rows >= 0).all(1)]
        for i in (0, 1):
            for j in (0, 1):
                corner = torch.tensor([(i << b) | (j << c) | (1 << axis), (i << b) | (j << c)])
                point = cells.points[rows[:, 1], corner[1]]
                here = cells.flat[point].nonzero().squeeze(1)
                r, p = rows[here], point[here]
                centre = cells.middle[r, corner]
                # edges along b: offset j along c, then along axis; edges along c: offset along axis, then along b
                along_b = 4 * b + j + 2 * torch.tensor([1, 0])
                along_c = 4 * c + torch.tensor([1, 0]) + 2 * i
                seen = [torch.where(d >= 0, d, centre) for d in (cells.dual[r, along_b], cells.dual[r, along_c])]
                differ = (seen[0] != seen[1]).any(1)
                # edges leave p towards +b where i is 0, towards +c where j is 0: the turn of (b edge, c edge, axis)
                turn = i == j
                for k in (0, 1):
                    d, swapped = seen[k], turn == (k == 0)
                    for row in ((d[:, 0], d[:, 1], centre[:, 1]), (d[:, 0], centre[:, 1], centre[:, 0])):
                        use = differ & (row[0] != row[1]) & (row[1] != row[2]) & (row[0] != row[2])
                        one, two, three = (q[use] for q in row)
                        yield torch.stack([_POINT + p[use], two, one, three] if swapped
                                          else [_POINT + p[use], one, two, three], dim=1)
