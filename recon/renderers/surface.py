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

from recon.ops.chosen import Counted, choose
from recon.ops.march import composite, weights
from recon.ops.volume_rays import rays_of, sample_volume
from recon.renderers.rays import framed, mean_normals, ray_batch, whole_picture
from recon.types import Camera, Rays, Render
from recon.types.placement import sent

_LEAST_DEPTH, _MOST_DEPTH = 1e-9, 40.0  # optical, of a step
_BEND = 4.0  # voxels over which gradients are compared, at most: waves are longer than one


@dataclass
class SurfaceTrace:
    """What losses read. ``gradients`` [k, 3] of the distance at samples and at random points of the box (in a ``Room``
    as two parts); ``bends`` [j, 3] how much the gradient changes over one to four voxels, at samples on the surface,
    and ``bend_rays`` [j] whose; ``misses`` [i] how far the distance is from that of a known surface, in voxels; counts
    as in ``MarchTrace``."""

    gradients: tuple[Counted, ...]
    bends: Counted
    bend_rays: Tensor
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
    room_on_cuda: ClassVar[bool] = True

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
        ray = rays_of(found.offsets, len(found.t))
        with torch.no_grad():  # what lies behind the surface is looked at only once
            raw, _ = self._raw(field, found.position, rays.direction, ray)
            w = weights(raw, found.offsets, delta=1.0, shift=0.0, end=self.least_transmittance)
        seen = choose(w > 0, "samples in front")
        offsets = seen.before().index_select(0, found.offsets)
        u, t, ray, w = seen.of(found.position), seen.of(found.t), seen.of(ray), seen.of(w)
        counted = seen.counted()
        raw, gradient = self._raw(field, u, rays.direction, ray) if torch.is_grad_enabled() else (
            seen.of(raw), field.signed_distance(u)[1])
        heavy = choose(w > self.least_weight, "coloured samples")
        normals = normalize(heavy.of(gradient), dim=1)
        footprint = rays.footprint[heavy.of(ray).long()] * heavy.of(t)
        colour = field.radiance(heavy.of(u), footprint, rays.direction, heavy.of(ray), normals)
        out = composite(raw.contiguous(), colour, t, offsets, heavy.index.to(torch.int32), behind, delta=1.0, shift=0.0)
        normal = None
        if "normal" in want:
            normal = mean_normals(normals.detach(), heavy.of(w), heavy.of(ray), rays)
        return framed(out, rays, z_of_t, want, normal,
                      self._trace(field, u, gradient, w, ray, counted, rays, want, len(heavy)))

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

    def _trace(self, field: Any, u: Tensor, gradient: Tensor, w: Tensor, ray: Tensor, counted: Tensor | None,
               rays: Rays, want: Collection[str], colours: int) -> SurfaceTrace:
        trace = SurfaceTrace((Counted(gradient[:0]),), Counted(gradient[:0]), ray[:0], u.new_empty(0), len(u), colours)
        draws = _Draws(rays.seed, u.device)
        inner = field.inner(u) if {"gradient", "bend"} & set(want) else u.new_empty(0)
        if "gradient" in want:
            spread = 0.5 + (torch.rand(max(len(u) // 8, 256), 3, generator=draws.next()) - 0.5) / (
                1 + field.volume().margin)
            there = field.signed_distance(sent(spread, u.device).contiguous())[1]
            if counted is None:
                trace.gradients = (Counted(torch.cat([gradient[inner], there])),)
            else:
                drawn = torch.arange(len(there), device=u.device) < (counted.sum() // 8).clamp_min(256)
                trace.gradients = Counted(gradient, inner & counted), Counted(there, drawn)
        if "bend" in want:
            heavy = choose((w > 0.02) & inner, "samples on the surface")
            at = heavy.of(u)
            far = (field.voxel / field.extent) * _BEND ** torch.rand(len(at), 1, generator=draws.next())
            moved = at + sent(far * normalize(draws.normals(len(at)), dim=1), u.device)
            bends = field.signed_distance(moved.clamp(0, 1).contiguous())[1] - heavy.of(gradient)
            trace.bends, trace.bend_rays = Counted(bends, heavy.counted()), heavy.of(ray)
        if "distance" in want:
            points = max(4 * len(rays) if draws.apart else len(u) // 4, 1024)
            at, true = field.known_distances(points, draws.next())
            at, true = sent(at, u.device), sent(true, u.device)
            if len(at):
                trace.misses = (field.signed_distance(at)[0] - true) / field.voxel
        return trace


class _Draws:
    """Random numbers of one step. On a GPU those of one purpose do not depend on how many another one takes, nor the
    first ones on how many are taken."""

    where: ClassVar[tuple[str, ...]] = ("cuda",)

    def __init__(self, seed: int, on: torch.device) -> None:
        self.seed, self.apart, self.generator = seed, on.type in self.where, torch.Generator().manual_seed(seed)

    def next(self) -> torch.Generator:
        if self.apart:
            self.seed += 1 << 40
            self.generator = torch.Generator().manual_seed(self.seed)
        return self.generator

    def normals(self, rows: int) -> Tensor:
        """[rows, 3]; torch draws the last 16 numbers anew where they are not a multiple of 16."""
        spare = 6 if self.apart else 0
        return torch.randn(rows + spare, 3, generator=self.next())[:rows]


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)); that of torch depends on where threads divide the numbers."""
    return x.clamp_min(0) + torch.log1p(torch.exp(-x.abs()))
