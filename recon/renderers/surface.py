"""Volume rendering of a signed distance: a surface that is drawn as wide as the field says.

Laws that turn distance into optical depth of a step:
logistic  Wang et al., "NeuS", NeurIPS 2021, arXiv 2106.10689, eq. 13: alpha = 1 - Phi(f behind) / Phi(f before), Phi
          the sigmoid of f / width; unbiased to first order, so that depth is where f = 0
laplace   Yariv et al., "VolSDF", NeurIPS 2021, arXiv 2106.12052, eq. 2: density = Laplace distribution function of
          -f / width, divided by the width
Outside of the inner box, in the shell of everything that is far away, a field has a density as in ``march``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from recon.ops.march import composite, weights
from recon.ops.volume_rays import rays_of, sample_volume
from recon.renderers.rays import framed, mean_normals, ray_batch, whole_picture
from recon.types import Camera, Rays, Render
from recon.types.placement import sent

_LEAST_DEPTH, _MOST_DEPTH = 1e-9, 40.0  # optical, of a step


@dataclass
class SurfaceTrace:
    """What losses read. ``gradients`` [k, 3] of the distance at samples and at random points of the box; ``bends``
    [j, 3] how much the gradient changes over a voxel, at samples on the surface; ``misses`` [i] how far the distance is
    from that of a known surface, in voxels; counts as in ``MarchTrace``."""

    gradients: Tensor
    bends: Tensor
    misses: Tensor
    num_samples: int
    num_colours: int


@dataclass(frozen=True)
class SurfaceRenderer:
    """Marches rays through the cells near a field's surface.

    A field has ``volume()``, ``inner(u)``, ``signed_distance(u)``, ``outer_density(distance)``, ``radiance`` (with unit
    normals), ``known_distances``, ``width``, ``turn`` and ``voxel``.
    """

    # how distance becomes opacity
    law: Literal["logistic", "laplace"] = "logistic"
    # nothing nearer to the camera is seen, nor anything farther, in units of the normalised scene
    near: float = 0.05
    far: float = 100.0
    # samples that weigh less get no colour
    least_weight: float = 3e-3
    # a ray ends where less than this comes through
    least_transmittance: float = 1e-3
    # rays that are marched together in whole pictures
    chunk: int = 16_384

    on_cuda: ClassVar[tuple[str, ...]] = ("recon", "nerfacc")

    def render(self, field: Any, camera: Camera, *, background: Tensor | None = None,
               want: Collection[str] = ("rgb",)) -> Render:
        """A whole picture. See the Renderer protocol."""
        return whole_picture(self._marched, field, camera, self.chunk, background, want)

    def render_rays(self, field: Any, rays: Rays, *, background: Tensor | None = None,
                    want: Collection[str] = ("rgb",)) -> Render:
        """A batch of rays as a patch [height, width]; depth is along the rays, which begin within a step."""
        return ray_batch(self._marched, field, rays, background, want)

    def _marched(self, field: Any, rays: Rays, background: Tensor | None, want: Collection[str], z_of_t: Tensor,
                 offset: Tensor | None) -> Render:
        volume = field.volume()
        on = volume.cells.device
        behind = torch.zeros(3, device=on) if background is None else background.float()
        if offset is None:
            offset = torch.full((len(rays),), 0.5, device=on)
        found = sample_volume(volume, rays.origin, rays.direction, offset, near=self.near, far=self.far)
        ray = rays_of(found.offsets)
        with torch.no_grad():  # what lies behind the surface is looked at only once
            raw, _ = self._raw(field, found.position, rays.direction, ray)
            w = weights(raw, found.offsets, delta=1.0, shift=0.0, end=self.least_transmittance)
        seen = (w > 0).nonzero().squeeze(1)
        before = torch.nn.functional.pad((w > 0).cumsum(0), (1, 0))
        offsets = before[found.offsets.long()].to(torch.int32)
        u, t, ray = found.position[seen].contiguous(), found.t[seen].contiguous(), ray[seen].contiguous()
        raw, gradient = self._raw(field, u, rays.direction, ray) if torch.is_grad_enabled() else (
            raw[seen], field.signed_distance(u)[1])
        index = (w[seen] > self.least_weight).nonzero().squeeze(1)
        normals = normalize(gradient[index], dim=1)
        footprint = rays.footprint[ray[index].long()] * t[index]
        colour = field.radiance(u[index].contiguous(), footprint, rays.direction, ray[index].contiguous(), normals)
        out = composite(raw.contiguous(), colour, t, offsets, index.to(torch.int32), behind, delta=1.0, shift=0.0)
        normal = None
        if "normal" in want:
            normal = mean_normals(normals.detach(), w[seen][index], ray[index], rays)
        return framed(out, rays, z_of_t, want, normal,
                      self._trace(field, u, gradient, w[seen], rays.seed, want, len(index)))

    def _raw(self, field: Any, u: Tensor, direction: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        """What ``composite`` takes with delta 1 and shift 0, and the gradients of the distance."""
        volume, inner = field.volume(), field.inner(u)
        f, gradient = field.signed_distance(u)
        if self.law == "logistic":
            gx, gy, gz = gradient.unbind(1)
            dx, dy, dz = direction[ray.long()].unbind(1)
            cosine = gx * dx + gy * dy + gz * dz  # sums of torch depend on where threads divide the rows
            # A wall seen from behind counts nothing; early on, one seen from the side counts half (their code).
            slope = relu(0.5 - 0.5 * cosine) * (1 - field.turn) + relu(-cosine) * field.turn
            half = slope * (0.5 * volume.step)
            depth = softplus((half - f) / field.width) - softplus((-half - f) / field.width)
        else:
            small = torch.exp(-f.abs() / field.width) * 0.5
            depth = torch.where(f > 0, small, 1 - small) * (volume.step / field.width)
        if volume.margin > 0:
            outer = softplus(field.outer_density(f) + volume.shift) * volume.delta
            depth = torch.where(inner, depth, outer)
        depth = depth.clamp(_LEAST_DEPTH, _MOST_DEPTH)
        return depth + torch.log(-torch.expm1(-depth)), gradient  # softplus of it is the depth

    def _trace(self, field: Any, u: Tensor, gradient: Tensor, w: Tensor, seed: int, want: Collection[str],
               colours: int) -> SurfaceTrace:
        gradients = bends = gradient[:0]
        generator = torch.Generator().manual_seed(seed)
        if "gradient" in want:
            spread = 0.5 + (torch.rand(max(len(u) // 8, 256), 3, generator=generator) - 0.5) / (
                1 + field.volume().margin)
            spread = sent(spread, u.device)
            gradients = torch.cat([gradient[field.inner(u)], field.signed_distance(spread.contiguous())[1]])
        if "bend" in want:
            heavy = ((w > 0.02) & field.inner(u)).nonzero().squeeze(1)
            at = u[heavy]
            size = field.voxel / field.extent
            moved = at + sent(size * normalize(torch.randn(len(at), 3, generator=generator), dim=1), u.device)
            bends = field.signed_distance(moved.clamp(0, 1).contiguous())[1] - gradient[heavy]
        misses = u.new_empty(0)
        if "distance" in want:
            at, true = field.known_distances(max(len(u) // 4, 1024), generator)
            at, true = sent(at, u.device), sent(true, u.device)
            if len(at):
                misses = (field.signed_distance(at)[0] - true) / field.voxel
        return SurfaceTrace(gradients, bends, misses, len(u), colours)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)); that of torch depends on where threads divide the numbers."""
    return x.clamp_min(0) + torch.log1p(torch.exp(-x.abs()))
