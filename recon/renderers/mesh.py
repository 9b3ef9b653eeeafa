"""Meshes as pictures, differentiable: colours by what is seen, silhouettes by shares of pixels.

Source: Laine et al., SIGGRAPH Asia 2020, arXiv 2011.03277. Colours follow the surface along the rays: the hit point
moves with the plane of its face, and colour changes along the ray by a difference over half a cube.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from recon.ops.antialias import antialias, silhouettes
from recon.ops.chosen import Chosen, choose
from recon.ops.one_thread import one_thread, single_thread
from recon.ops.raster import rasterize
from recon.types import Camera, Render
from recon.types.placement import sent

_NEAR = 0.1  # cubes to both sides of the surface that tell how colour changes along a ray


@dataclass
class MeshTrace:
    """What losses read: ``deviation`` [v] of FlexiCubes in cubes, and which of it ``counted`` [v] (None: all);
    ``values`` of the grid."""

    deviation: Tensor
    counted: Tensor | None
    values: Tensor


@dataclass(frozen=True)
class MeshRenderer:
    """Draws a field's ``surface()`` with its ``colours``."""

    # whether colours also say how deep the surface lies, and not silhouettes alone; moves surfaces away from their
    # outlines while colours are still wrong
    shading: bool = False
    on_cuda: ClassVar[tuple[str, ...]] = ("recon",)
    room_on_cuda: ClassVar[bool] = True

    def render(self, field: Any, camera: Camera, *, background: Tensor | None = None,
               want: Collection[str] = ("rgb",)) -> Render:
        """A whole picture. See the Renderer protocol."""
        found = field.surface()
        on = found.vertices.device
        behind = torch.zeros(3, device=on) if background is None else sent(background.float(), on)
        faces = found.faces.long()
        fragments = rasterize(found.vertices, found.faces, camera)
        seen_at = (fragments.face >= 0).reshape(-1)
        rows = choose(seen_at, "pixels of a mesh") if len(faces) else Chosen(seen_at, faces.new_empty(0))
        hit = rows.index if rows.slot is None else rows.index.clamp_min(0)
        owner = faces[rows.of(fragments.face.reshape(-1)).long()]
        with single_thread(), torch.no_grad():
            pixel = torch.stack([hit % camera.width, hit // camera.width], dim=1).double() + 0.5
            origin, direction = (rays.float() for rays in camera.rays(pixel))
            t = _along(origin, direction, found.vertices.detach()[owner])
            x, move = origin + t[:, None] * direction, _NEAR * field.spacing * direction
        colour, slope = field.colours(x), torch.zeros_like(x)
        if self.shading and torch.is_grad_enabled():
            with torch.no_grad():
                slope = (field.colours(x + move) - field.colours(x - move)) / (2 * _NEAR * field.spacing)

        def drawn(vertices: Tensor, colour: Tensor) -> Tensor:
            deeper = _along(origin, direction, vertices[owner]) - t  # zero, with a derivative
            seen = torch.cat([colour + slope * deeper[:, None], torch.ones(len(hit), 1, device=on)], dim=1)
            empty = torch.cat([behind, behind.new_zeros(1)]).repeat(camera.width * camera.height, 1)
            flat = _placed(seen, rows, empty)
            shares = silhouettes(fragments.face, fragments.depth, camera.project(vertices)[0][faces])
            return antialias(flat.view(camera.height, camera.width, 4), shares)

        picture = one_thread(drawn, found.vertices, colour)
        normal = None
        if "normal" in want:
            a, b, c = found.vertices.detach()[owner].unbind(1)
            n = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
            n = torch.where((n * direction).sum(1, keepdim=True) > 0, -n, n)
            normal = _placed(n, rows, torch.zeros(camera.width * camera.height, 3, device=on))
            normal = normal.view(camera.height, camera.width, 3)
        return Render(
            rgb=picture[..., :3], depth=fragments.depth if {"depth", "surface"} & set(want) else None, normal=normal,
            opacity=picture[..., 3] if "opacity" in want else None,
            surface=fragments.depth if "surface" in want else None,
            trace=MeshTrace(found.deviation / field.spacing, found.topology.counted(), field.params["values"]))


def _placed(seen: Tensor, rows: Chosen, empty: Tensor) -> Tensor:
    """``empty`` [n, k] with rows [m, k] where they belong; differentiable."""
    if rows.slot is None:
        return empty.index_copy(0, rows.index, seen)
    return torch.where(rows.mask[:, None], rows.added_to(torch.zeros_like(empty), seen), empty)


def _along(origin: Tensor, direction: Tensor, corners: Tensor) -> Tensor:
    """Distances [n] along rays to the planes of triangles [n, 3, 3]; differentiable in the corners."""
    a, b, c = corners.unbind(1)
    n = torch.linalg.cross(b - a, c - a)
    across = (n * direction).sum(1)
    length = n.detach().norm(dim=1)
    steep = across.detach().abs() > 0.05 * length  # seen too flat, the place of the plane says nothing
    t = ((a - origin) * n).sum(1) / torch.where(steep, across, torch.ones_like(across))
    middle = ((corners.detach().mean(1) - origin) * direction).sum(1)
    return torch.where(steep & ((t.detach() - middle).abs() < 10 * length.sqrt()), t, middle)
