"""Ray marching of fields with the Volumetric protocol.

Source: Mildenhall et al., "NeRF", ECCV 2020, arXiv 2003.08934, eq. 3; samples are taken in occupied cells only and
colours are computed where they weigh something (Sun et al., "Direct voxel grid optimization", arXiv 2111.11215).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.ops.march import Samples, composite, sample, weights
from recon.renderers.differenced import DifferencedPicture
from recon.types import Camera, Rays, Render


@dataclass
class MarchTrace:
    """What losses and strategies read: per ray ``distortion`` [rays]; counts of samples and of computed colours."""

    distortion: Tensor
    num_samples: int
    num_colours: int


@dataclass(frozen=True)
class MarchRenderer:
    """Marches rays through a field's occupied cells."""

    # nothing nearer to the camera is seen, nor anything farther, in units of the normalised scene
    near: float = 0.05
    far: float = 100.0
    # samples that weigh less get no colour
    least_weight: float = 1e-4
    # a ray ends where less than this comes through
    least_transmittance: float = 1e-3
    # rays that are marched together in whole pictures
    chunk: int = 16_384

    def render(self, field: Any, camera: Camera, *, background: Tensor | None = None,
               want: Collection[str] = ("rgb",)) -> Render:
        """A whole picture. See the Renderer protocol; ``field`` is Volumetric."""
        width, height = camera.size
        parts = []
        rows = max(self.chunk // width, 1)
        for top in range(0, height, rows):
            count = min(rows, height - top)
            y, x = torch.meshgrid(torch.arange(top, top + count), torch.arange(width), indexing="ij")
            origin, direction = camera.rays(torch.stack([x, y], dim=-1).reshape(-1, 2).double() + 0.5)
            footprint = torch.full((len(origin),), float((camera.intrinsics[0] * camera.intrinsics[1]) ** -0.5))
            rays = Rays(origin.float().contiguous(), direction.float().contiguous(), footprint, (width, count))
            forward = camera.forward.float()
            parts.append(self._marched(field, rays, background, want, (rays.direction * forward).sum(1), None))
        if len(parts) == 1:
            return parts[0]

        def joined(name: str) -> Tensor | None:
            pieces = [getattr(p, name) for p in parts]
            return None if pieces[0] is None else torch.cat(pieces)

        rgb = joined("rgb")
        assert rgb is not None
        return Render(rgb, joined("depth"), joined("normal"), joined("opacity"))

    def linearise(self, field: Any, camera: Camera, *, background: Tensor) -> DifferencedPicture:
        """The picture as a linear function of the parameters, for second-order optimizers."""
        def draw() -> Tensor:
            return self.render(field, camera, background=background).rgb.permute(2, 0, 1)

        return DifferencedPicture(draw, [t for _, t in field.params.items()])

    def render_rays(self, field: Any, rays: Rays, *, background: Tensor | None = None,
                    want: Collection[str] = ("rgb",)) -> Render:
        """A batch of rays as a patch [height, width]; depth is along the rays, which begin within a step."""
        offset = torch.rand(len(rays), generator=torch.Generator().manual_seed(rays.seed))
        return self._marched(field, rays, background, want, torch.ones(len(rays)), offset)

    def _marched(self, field: Any, rays: Rays, background: Tensor | None, want: Collection[str], z_of_t: Tensor,
                 offset: Tensor | None) -> Render:
        width, height = rays.size
        volume = field.volume()
        behind = torch.zeros(3) if background is None else background.float()
        if offset is None:
            offset = torch.full((len(rays),), 0.5)
        found = sample(rays.origin, rays.direction, offset, volume.box, volume.cells, near=self.near, far=self.far,
                       step=volume.step)
        counts = (found.offsets[1:] - found.offsets[:-1]).long()
        ray = torch.repeat_interleave(torch.arange(len(rays), dtype=torch.int32), counts)
        footprint = rays.footprint[ray] * found.t
        raw, more = field.density_and_more(found.position, footprint)
        constants = {"delta": volume.delta, "shift": volume.shift}
        w = weights(raw, found.offsets, end=self.least_transmittance, **constants)
        index = (w > self.least_weight).nonzero().squeeze(1)
        colour = field.radiance(found.position[index], footprint[index], rays.direction, ray[index],
                                None if more is None else more.index_select(0, index))
        # What lies behind the end of its ray is left out, so that nobody computes gradients for it.
        front = (w > 0).nonzero().squeeze(1)
        before = torch.zeros(len(w) + 1, dtype=torch.int32)  # samples in front of each
        torch.cumsum(w > 0, 0, dtype=torch.int32, out=before[1:])
        found = Samples(found.position[front], found.t[front], before[found.offsets])
        raw, w, index = raw.index_select(0, front), w[front], before[index]
        out = composite(raw, colour, found.t, found.offsets, index, behind, **constants)
        opacity = 1.0 - out.transmittance
        depth = normal = None
        if "depth" in want:
            z = out.depth.detach() / opacity.detach().clamp_min(1e-6) * z_of_t
            depth = torch.where(opacity.detach() > 1e-3, z, torch.zeros_like(z)).view(height, width)
        if "normal" in want:
            normal = self._normals(field, found.position, raw, w, found.offsets, rays).view(height, width, 3)
        return Render(
            rgb=out.rgb.view(height, width, 3), depth=depth, normal=normal,
            opacity=opacity.view(height, width) if "opacity" in want else None,
            trace=MarchTrace(out.distortion, len(ray), len(index)),
        )

    @staticmethod
    @torch.no_grad()
    def _normals(field: Any, u: Tensor, raw: Tensor, w: Tensor, offsets: Tensor, rays: Rays) -> Tensor:
        """Mean direction in which density falls, by differences over a cell, turned towards the camera."""
        volume = field.volume()
        extent = torch.tensor(volume.high) - torch.tensor(volume.low)
        heavy = (w > 1e-2).nonzero().squeeze(1)
        at, small = u[heavy], torch.zeros(len(heavy))
        gradient = torch.empty(len(heavy), 3)
        for axis in range(3):
            h = torch.zeros(3)
            h[axis] = 1.0 / volume.cells.shape[axis]
            up, down = (at + h).clamp(0, 1), (at - h).clamp(0, 1)
            gradient[:, axis] = (field.density(up.contiguous(), small) - field.density(down.contiguous(), small)
                                 ) / h[axis] / extent[axis]
        ray = torch.repeat_interleave(torch.arange(len(rays)), (offsets[1:] - offsets[:-1]).long())[heavy]
        outward = -torch.nn.functional.normalize(gradient, dim=1)
        total = torch.zeros(len(rays), 3).index_add_(0, ray, outward * w[heavy, None])
        total = torch.where((total * rays.direction).sum(1, keepdim=True) > 0, -total, total)
        length = total.norm(dim=1, keepdim=True)
        return torch.where(length > 1e-3, total / length.clamp_min(1e-6), torch.zeros_like(total))
