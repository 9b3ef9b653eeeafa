"""Ray marching of fields with the Volumetric protocol.

Source: Mildenhall et al., "NeRF", ECCV 2020, arXiv 2003.08934, eq. 3; samples are taken in occupied cells only and
colours are computed where they weigh something (Sun et al., "Direct voxel grid optimization", arXiv 2111.11215).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from recon.ops import room
from recon.ops.chosen import choose, places
from recon.ops.march import Samples, composite, weights
from recon.ops.volume_rays import footprints, rays_of, sample_volume
from recon.renderers.differenced import DifferencedPicture
from recon.renderers.rays import framed, mean_normals, ray_batch, whole_picture
from recon.types import Camera, Rays, Render
from recon.types.volume import world_gradient


@dataclass
class MarchTrace:
    """What losses and strategies read: per ray ``distortion`` [rays]; counts of samples and of computed colours (in a
    ``Room`` of those there is room for); ``samples`` [1] int32 as many as there are; of each sample, also where its ray
    has ended, ``position`` [n, 3] in unit coordinates and ``weight`` [n]."""

    distortion: Tensor
    samples: Tensor
    num_samples: int
    num_colours: int
    position: Tensor
    weight: Tensor


@dataclass(frozen=True)
class MarchRenderer:
    """Marches rays through a field's occupied cells."""

    # nothing nearer to the camera is seen, nor anything farther, in units of the normalised scene
    near: float = 0.05
    far: float = 20.0
    # samples that weigh less get no colour
    least_weight: float = 1e-4
    # a ray ends where less than this comes through
    least_transmittance: float = 1e-3
    # rays that are marched together in whole pictures
    chunk: int = 16_384

    on_cuda: ClassVar[tuple[str, ...]] = ("recon", "nerfacc")
    linear_on_cuda: ClassVar[bool] = True
    room_on_cuda: ClassVar[bool] = True

    def render(self, field: Any, camera: Camera, *, background: Tensor | None = None,
               want: Collection[str] = ("rgb",)) -> Render:
        """A whole picture. See the Renderer protocol; ``field`` is Volumetric."""
        return whole_picture(self._marched, field, camera, self.chunk, background, want)

    def linearise(self, field: Any, camera: Camera, *, background: Tensor) -> DifferencedPicture:
        """The picture as a linear function of the parameters, for second-order optimizers. Its lists are always made in
        the ``Room`` that is open now, if any."""
        taken = room.current()

        def draw() -> Tensor:
            with room.within(taken):
                return self.render(field, camera, background=background).rgb.permute(2, 0, 1)

        return DifferencedPicture(draw, [t for _, t in field.params.items()])

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
        marched = found.offsets[-1:]
        ray = rays_of(found.offsets, len(found.t))
        footprint = footprints(volume, rays.footprint.index_select(0, ray), found.t, found.position)
        raw, more = field.density_and_more(found.position, footprint)
        constants = {"delta": volume.delta, "shift": volume.shift}
        w = weights(raw, found.offsets, end=self.least_transmittance, **constants)
        heavy = choose(w > self.least_weight, "coloured samples")
        colour = field.radiance(heavy.of(found.position), heavy.of(footprint), rays.direction, heavy.of(ray),
                                None if more is None else heavy.of(more))
        trace = MarchTrace(w, marched, len(ray), len(heavy), found.position, w)
        # What lies behind the end of its ray is left out, so that nobody computes gradients for it.
        front = choose(w > 0, "samples in front")
        before = front.before()
        t, offsets, raw = front.of(found.t), before.index_select(0, found.offsets), front.of(raw)
        out = composite(raw, colour, t, offsets, places(heavy, front, before), behind, **constants)
        normal = None
        if "normal" in want:
            seen = Samples(front.of(found.position), t, offsets)
            normal = self._normals(field, seen, front.of(w), rays)
        return framed(out, rays, z_of_t, want, normal, replace(trace, distortion=out.distortion))

    @staticmethod
    @torch.no_grad()
    def _normals(field: Any, found: Samples, w: Tensor, rays: Rays) -> Tensor:
        """Mean direction in which density falls, by differences over a cell, turned towards the camera."""
        volume = field.volume()
        heavy = (w > 1e-2).nonzero().squeeze(1)
        at, small = found.position[heavy], w.new_zeros(len(heavy))
        slopes = w.new_empty(len(heavy), 3)  # by unit coordinates
        for axis in range(3):
            h = w.new_zeros(3)
            h[axis] = 1.0 / volume.cells.shape[axis]
            up, down = (at + h).clamp(0, 1), (at - h).clamp(0, 1)
            slopes[:, axis] = (field.density(up.contiguous(), small) - field.density(down.contiguous(), small)
                               ) / h[axis]
        ray = rays_of(found.offsets, len(w))[heavy]
        x = rays.origin[ray] + found.t[heavy, None] * rays.direction[ray]
        return mean_normals(-normalize(world_gradient(volume, x, slopes), dim=1), w[heavy], ray, rays)
