"""Distances to triangle meshes: nearest points, and signs by winding numbers. Kernel: cuda/sdf.

Signs come from generalized winding numbers (Jacobson et al., SIGGRAPH 2013; Barill et al., SIGGRAPH 2018), which are
defined for open, overlapping and badly connected meshes too: a hole is closed as smoothly as its border allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from recon.ops import cuda
from recon.ops.checks import expect_tensor, place_of
from recon.ops.native import native


class Triangles:
    """A mesh that can be asked for distances.

    vertices [v, 3] float32, finite; faces [f, 3] int32, counter-clockwise as seen from outside. Faces without area
    count as lines or points. Of a mesh on a GPU the tree is built on the processor, which waits for it, and then
    asked by points on the GPU. Raises ValueError or TypeError naming the argument.
    """

    def __init__(self, vertices: Tensor, faces: Tensor) -> None:
        self._on = place_of(vertices)
        expect_tensor("vertices", vertices, torch.float32, ("v", 3), on=self._on)
        expect_tensor("faces", faces, torch.int32, ("f", 3), on=self._on)
        if not torch.isfinite(vertices).all():
            raise ValueError("vertices must be finite, got NaN or Inf")
        if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= len(vertices)):
            raise ValueError(f"faces must name vertices 0..{len(vertices) - 1}")
        self.vertices, self.faces = vertices.detach(), faces.detach()
        self._tree = native.TriangleTree(self.vertices.cpu(), self.faces.cpu())
        self._module, self._parts = cuda.kernels_for(vertices), []
        if self._module is not None:
            self._parts = [torch.from_numpy(part).to(self._on) for part in self._tree.parts()]

    def closest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """For points [n, 3] float32: the nearest points of the surface [n, 3], and the face of each [n] int32.

        On an edge it is the face whose plane is farther from the point. Without faces: zeros and -1.
        """
        expect_tensor("points", points, torch.float32, ("n", 3), on=self._on)
        nearest, face = torch.empty_like(points), torch.empty(len(points), dtype=torch.int32, device=self._on)
        if self._module is None:
            self._tree.closest(points.detach(), nearest, face)
        else:
            self._module.triangles_closest(*self._parts, points.detach(), nearest, face, cuda.stream(self._on))
        return nearest, face

    def winding(self, points: Tensor) -> Tensor:
        """Winding numbers [n] float32 of points [n, 3]: 1 inside, 0 outside, to about 0.01."""
        expect_tensor("points", points, torch.float32, ("n", 3), on=self._on)
        number = torch.empty(len(points), device=self._on)
        if self._module is None:
            self._tree.winding(points.detach(), number)
        else:
            self._module.triangles_winding(*self._parts, points.detach(), number, cuda.stream(self._on))
        return number

    def distance(self, points: Tensor) -> Tensor:
        """Signed distances [n] float32 of points [n, 3], negative where the winding number is above 1/2."""
        nearest, _ = self.closest(points)
        unsigned = (points - nearest).norm(dim=1)
        return torch.where(self.winding(points) > 0.5, -unsigned, unsigned)


def reference_closest(vertices: Tensor, faces: Tensor, points: Tensor) -> Tensor:
    """Squared distances [n, f] of points to every face, in double precision, by minimising over the triangle."""
    a, b, c = vertices.double()[faces.long()].unbind(1)
    p = points.double()[:, None]
    out = []
    for x, y in ((a, b), (b, c), (c, a)):
        side = y - x
        t = ((p - x) * side).sum(-1) / side.square().sum(-1).clamp_min(1e-300)
        out.append((p - x - t.clamp(0, 1)[..., None] * side).square().sum(-1))
    n = torch.linalg.cross(b - a, c - a)
    flat = n.square().sum(-1) > 0
    height = ((p - a) * n).sum(-1) / n.norm(dim=-1).clamp_min(1e-300)
    foot = p - height[..., None] * torch.nn.functional.normalize(n, dim=-1, eps=1e-300)
    inside = flat.expand(len(points), -1).clone()
    for x, y in ((a, b), (b, c), (c, a)):
        inside &= (torch.linalg.cross((y - x).expand_as(foot), foot - x) * n).sum(-1) >= 0
    sides = torch.stack(out).amin(0)
    return torch.where(inside, height.square(), sides)


def reference_winding(vertices: Tensor, faces: Tensor, points: Tensor) -> Tensor:
    """Winding numbers [n] by the sum over all solid angles, in double precision."""
    a, b, c = (v[None] - points.double()[:, None] for v in vertices.double()[faces.long()].unbind(1))
    la, lb, lc = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
    sine = (a * torch.linalg.cross(b, c)).sum(-1)
    cosine = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    angle = torch.where(sine == 0, torch.zeros_like(sine), torch.atan2(sine, cosine))
    return angle.sum(1) / (2 * torch.pi)


def examples() -> Iterator[dict[str, Any]]:
    """Keyword arguments of ``Triangles``, with ``points``: nothing, one face, faces without area, soups."""
    generator = torch.Generator().manual_seed(0)
    for count in (0, 1, 3, 4, 5, 9, 200):
        vertices = torch.randn(max(count, 3), 3, generator=generator)
        faces = torch.randint(0, len(vertices), (count, 3), generator=generator).to(torch.int32)
        yield {"vertices": vertices, "faces": faces, "points": torch.randn(67, 3, generator=generator)}
