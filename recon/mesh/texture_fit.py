"""A baked texture made to look like the pictures: the least squares of all pixels that see it.

Baking averages colours that were sampled where a texel falls in a picture, so it blurs twice and ghosts where the
surface is a little off. Here the textured mesh is drawn as every camera sees it and the differences are put back on the
texels that made them (SIRT: Gilbert, "Iterative methods for the three-dimensional reconstruction of an object from
projections", Journal of Theoretical Biology 1972; with the momentum of Nesterov, 1983).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from recon.mesh.texture import textured_texels
from recon.ops.one_thread import single_thread
from recon.ops.raster import rasterize
from recon.types import Camera, Mesh

Views = Callable[[], Iterable[tuple[Camera, Tensor, Tensor | None]]]
_SAMPLES = 2  # per pixel and axis: texels are mostly finer than pixels
_FACING = 0.1  # cosine below which a face is seen too flat
_STEP = 0.02  # of the depth within a pixel's neighbourhood: more is a silhouette, where colours mix


@dataclass(frozen=True)
class TextureFit:
    """How long, and how much texels that few pixels see stay as they were baked."""

    steps: int = 4
    # pixels that the baked colour of a texel counts for
    keep: float = 1.0


def fit_texture(mesh: Mesh, views: Views, settings: TextureFit | None = None) -> Mesh:
    """The mesh with its texture changed towards the pictures.

    ``views()`` gives cameras in the frame of the mesh, pictures [h, w, 3] in 0..1 and what pixels weigh [h, w] or None,
    the same every time. What no camera sees stays. The same bits on any number of threads.
    """
    settings = settings or TextureFit()
    assert mesh.texture is not None, "baking comes first"
    size = mesh.texture.shape[0]
    first = mesh.texture.reshape(-1, 3).float() / 255
    now, ahead = first.clone(), first.clone()
    momentum = 1.0
    with single_thread(), torch.no_grad():
        for _ in range(settings.steps):
            total, count = torch.zeros_like(first), torch.full((len(first),), settings.keep)
            total += settings.keep * (first - ahead)
            for camera, picture, weight in views():
                _put_back(mesh, size, ahead, camera, picture, weight, total, count)
            better = (ahead + total / count[:, None]).clamp(0, 1)
            following = (1 + (1 + 4 * momentum * momentum) ** 0.5) / 2
            ahead = better + (momentum - 1) / following * (better - now)
            now, momentum = better, following
    texture = (now.view(size, size, 3) * 255 + 0.5).to(torch.uint8)
    return replace(mesh, texture=texture)


def _put_back(mesh: Mesh, size: int, texels: Tensor, camera: Camera, picture: Tensor, weight: Tensor | None,
              total: Tensor, count: Tensor) -> None:
    """Adds the differences of one view to the texels [size^2, 3] that it is made of, and how much each was seen."""
    assert mesh.uvs is not None
    fine = camera.scaled(camera.width * _SAMPLES, camera.height * _SAMPLES)
    seen = rasterize(mesh.vertices, mesh.faces, fine)
    index, share = textured_texels(seen.interpolate(mesh.uvs, mesh.faces).reshape(-1, 2), size)
    shown = (texels[index] * share[..., None]).sum(1).view(fine.height, fine.width, 3)
    shown = avg_pool2d(shown.permute(2, 0, 1)[None], _SAMPLES)[0].permute(1, 2, 0)
    good = _plain(mesh, fine, seen.face, seen.depth)
    if weight is not None:
        good = good * weight.clamp(0, 1)
    use = good.repeat_interleave(_SAMPLES, 0).repeat_interleave(_SAMPLES, 1).reshape(-1) / _SAMPLES**2
    rest = (picture - shown).repeat_interleave(_SAMPLES, 0).repeat_interleave(_SAMPLES, 1).reshape(-1, 3)
    at = (use > 0).nonzero().squeeze(1)
    share = share[at] * use[at, None]
    index = index[at]
    for tap in range(4):
        total.index_add_(0, index[:, tap], rest[at] * share[:, tap, None])
        count.index_add_(0, index[:, tap], share[:, tap])


def _plain(mesh: Mesh, fine: Camera, face: Tensor, depth: Tensor) -> Tensor:
    """[h, w] 1 where a whole pixel and its surroundings see one surface, not too flat; else 0."""
    d = depth[None, None]
    high, low = max_pool2d(d, 5, 1, 2), -max_pool2d(-d, 5, 1, 2)
    normal = torch.nn.functional.normalize(mesh.face_normals, dim=1)[face.clamp_min(0).long()]
    y, x = torch.meshgrid(torch.arange(fine.height), torch.arange(fine.width), indexing="ij")
    _, direction = fine.rays(torch.stack([x, y], dim=-1).reshape(-1, 2).double() + 0.5)
    cosine = -(normal.reshape(-1, 3) * direction.float()).sum(1).view(face.shape)
    slope = fine.intrinsics[0].float().reciprocal() * 5 / cosine.clamp_min(_FACING)  # of a plane, in the same window
    one = (low > 0) & (high - low < (_STEP + slope) * depth) & (cosine > _FACING) & (face >= 0)
    return (avg_pool2d(one[0].float(), _SAMPLES)[0] > 0.99).float()
