"""A texture for a mesh: unwrapping with xatlas (MIT, optional), and colours baked from pictures of many cameras.

Where a point of the surface is seen by several cameras, those that look at it squarely and from near count most; the
weights vary smoothly over the surface, so there are no seams between pictures. Visibility comes from depth pictures of
the mesh itself. Sharpening by powers of the weight: as in Buehler et al., "Unstructured Lumigraph Rendering",
SIGGRAPH 2001, with fixed weights per texel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d, normalize

from recon.errors import InputError
from recon.ops.raster import Fragments, rasterize
from recon.types import Camera, Mesh

NEEDED = "Install it with: pip install 'recon-scene[mesh]', or leave out the texture: vertices have colours."
PADDING = 4  # texels between charts
PACKED = 1024  # texels along a side that charts are laid out for at most: more takes long and gains little


@dataclass(frozen=True)
class Baking:
    """How colours are baked.

    size         texels along a side
    sharpness    power of the weights: many takes the best picture alone
    tolerance    share of the depth by which a point may lie behind the mesh and still be seen
    """

    size: int = 2048
    sharpness: float = 1.0
    tolerance: float = 0.005


def unwrap(mesh: Mesh, size: int = PACKED) -> Mesh:
    """The mesh with texture coordinates for a texture of ``size`` texels along a side; vertices on seams are doubled.

    Raises InputError where xatlas is missing or refuses the mesh, and where its charts do not fit on such a texture.
    """
    try:
        import xatlas
    except ImportError:
        raise InputError("a texture needs the package xatlas", fix=NEEDED) from None
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 1
    packing.padding = PADDING
    packing.resolution = min(size, PACKED)
    packing.bilinear = True
    atlas = xatlas.Atlas()
    normals = mesh.with_normals().normals
    assert normals is not None
    # xatlas takes lengths below about 1e-6 for nothing
    longest = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())
    unit = (mesh.vertices - mesh.vertices.mean(0)) / (longest or 1.0)
    atlas.add_mesh(unit.numpy().astype(np.float32), mesh.faces.numpy().astype(np.uint32), normals.numpy())
    atlas.generate(charts, packing)
    taken = max(atlas.width, atlas.height) / packing.resolution  # xatlas makes the texture larger where it must
    if atlas.atlas_count > 1 or taken > PADDING:  # shrunk to size, charts would not be a texel apart
        raise InputError(f"the surface falls into {atlas.chart_count:,} charts, which do not fit on a texture of "
                         f"{size} texels along a side",
                         fix="Give a larger --texture, fewer --faces, or --smallest_part 0.01.")
    source, faces, uvs = atlas.get_mesh(0)
    if not len(faces) or not np.isfinite(uvs).all() or uvs.min() < -1e-4 or uvs.max() > 1 + 1e-4:
        raise InputError("the mesh could not be unwrapped", fix="Ask for fewer faces, or leave out the texture.")
    rows = torch.from_numpy(source.astype(np.int64))

    def at(t: Tensor | None) -> Tensor | None:
        return None if t is None else t[rows]

    return replace(mesh, vertices=mesh.vertices[rows], faces=torch.from_numpy(faces.astype(np.int32)),
                   normals=at(mesh.normals), colours=at(mesh.colours), texture=None,
                   uvs=torch.from_numpy(np.clip(uvs, 0, 1).astype(np.float32)))


def texels(mesh: Mesh, size: int) -> Fragments:
    """Which face every texel [size, size] lies on; the first row is the top of the picture."""
    assert mesh.uvs is not None, "unwrap comes first"
    flat = torch.stack([mesh.uvs[:, 0] * size, (1 - mesh.uvs[:, 1]) * size, torch.ones(len(mesh.uvs))], dim=1)
    board = Camera(size, size, torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.eye(4, dtype=torch.float64))
    return rasterize(flat, mesh.faces, board)


def bake(mesh: Mesh, views: Iterable[tuple[Camera, Tensor, Tensor | None]], baking: Baking | None = None) -> Mesh:
    """The unwrapped mesh with a texture made of ``views``.

    A view is a camera, its picture [h, w, 3] in 0..1, and what its pixels weigh [h, w] or None. Cameras are pinholes in
    the frame of the mesh. What no view sees keeps the vertex colours (grey without them).
    """
    baking = baking or Baking()
    where = texels(mesh, baking.size)
    hit = where.face >= 0
    chosen = Fragments(where.face[hit][None], where.depth[hit][None], where.shares[hit][None])
    colours = torch.full_like(mesh.vertices, 0.5) if mesh.colours is None else mesh.colours
    points = chosen.interpolate(mesh.vertices, mesh.faces)[0]
    normals = normalize(mesh.face_normals, dim=1)[chosen.face[0].long()]
    total, weights = torch.zeros(len(points), 3), torch.zeros(len(points))
    for camera, picture, weight in views:
        share = _seen(mesh, camera, points, normals, baking)
        pixels, _ = camera.project(points)
        sampled = _sample(picture if weight is None else torch.cat([picture, weight[..., None]], dim=-1), pixels)
        if weight is not None:
            share = share * sampled[:, 3].clamp(0, 1)
        share = share.pow(baking.sharpness)
        total += sampled[:, :3] * share[:, None]
        weights += share
    plain = chosen.interpolate(colours, mesh.faces)[0]
    seen = weights > 1e-8
    baked = torch.where(seen[:, None], total / weights.clamp_min(1e-8)[:, None], plain)
    picture = torch.zeros(baking.size, baking.size, 3)
    picture[hit] = baked.clamp(0, 1)
    return replace(mesh, texture=(_padded(picture, hit) * 255 + 0.5).to(torch.uint8))


def _seen(mesh: Mesh, camera: Camera, points: Tensor, normals: Tensor, baking: Baking) -> Tensor:
    """[n] 0..1: how well a camera sees points of the mesh; 0 where it does not."""
    depth = rasterize(mesh.vertices, mesh.faces, camera).depth
    # Near silhouettes a pixel mixes front and back: points behind them are seen only if their neighbours show them too.
    front = torch.where(depth > 0, depth, torch.full((), float(depth.max()) + 1))
    nearest = -max_pool2d(-front[None, None], 3, 1, 1)[0, 0]
    pixels, z = camera.project(points)
    size = torch.tensor([camera.width, camera.height])
    inside = (pixels > 0.5).all(1) & (pixels < size - 0.5).all(1) & (z > 0)
    x = pixels[:, 0].nan_to_num(0).clamp(0, camera.width - 1).long()
    y = pixels[:, 1].nan_to_num(0).clamp(0, camera.height - 1).long()
    towards = normalize(camera.centre.float() - points, dim=1)
    # A slope moves the depth by that much within the neighbourhood.
    cosine = (normals * towards).sum(1)
    slack = baking.tolerance + 2.0 / float(camera.intrinsics[:2].min()) / cosine.clamp_min(0.1)
    visible = inside & (z <= nearest[y, x] * (1 + slack)) & (cosine > 0.05)
    border = torch.minimum(pixels / size, 1 - pixels / size).amin(1)
    near = float(front.min()) / z.clamp_min(1e-9)
    return torch.where(visible, cosine * near.clamp(0, 1) * (border * 20).clamp(0, 1), 0.0)


def _sample(picture: Tensor, pixels: Tensor) -> Tensor:
    """[n, k] bilinear values of picture [h, w, k] at pixels [n, 2], pixel centres at +0.5."""
    height, width = picture.shape[:2]
    at = pixels / torch.tensor([width, height]) * 2 - 1
    at = at.nan_to_num(0).clamp(-2, 2).float()
    values = grid_sample(picture.permute(2, 0, 1)[None].float(), at[None, None], align_corners=False,
                         padding_mode="border")
    return values[0, :, 0].T


def _padded(picture: Tensor, known: Tensor, times: int = 8) -> Tensor:
    """Texels around charts take the mean of their known neighbours, so that filtering does not bleed black in."""
    kernel = torch.ones(1, 1, 3, 3)
    known = known[None, None].float()
    rgb = picture.permute(2, 0, 1)[:, None]
    for _ in range(times):
        count = torch.nn.functional.conv2d(known, kernel, padding=1)
        mean = torch.nn.functional.conv2d(rgb * known, kernel, padding=1) / count.clamp_min(1)
        rgb = torch.where(known > 0, rgb, mean)
        known = (count > 0).float()
    middle = rgb[:, 0][:, known[0, 0] > 0].mean(1)
    rgb = torch.where(known > 0, rgb, middle[:, None, None, None])
    return rgb[:, 0].permute(1, 2, 0)


def textured_texels(uv: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The four texels [n, 4] (flat, of a texture of ``size`` along a side) around coordinates uv [n, 2], and their
    shares of the bilinear mean [n, 4]; as ``textured_picture`` mixes them."""
    at = torch.stack([uv[:, 0], 1 - uv[:, 1]], dim=1) * size - 0.5
    low = at.floor()
    t = at - low
    x, y = (low.long()[:, i, None] + torch.tensor([0, 1]) for i in (0, 1))
    x, y = x.clamp(0, size - 1), y.clamp(0, size - 1)
    index = (y[:, :, None] * size + x[:, None, :]).reshape(-1, 4)
    wide, tall = (torch.stack([1 - t[:, i], t[:, i]], dim=1) for i in (0, 1))
    return index, (tall[:, :, None] * wide[:, None, :]).reshape(-1, 4)


def textured_picture(mesh: Mesh, camera: Camera, background: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The mesh as a camera sees it, unlit: rgb [h, w, 3] in 0..1 and which pixels it covers [h, w] bool."""
    seen = rasterize(mesh.vertices, mesh.faces, camera)
    hit = seen.face >= 0
    if mesh.uvs is not None and mesh.texture is not None:
        uv = seen.interpolate(mesh.uvs, mesh.faces)
        size = torch.tensor([mesh.texture.shape[1], mesh.texture.shape[0]])
        pixels = torch.stack([uv[..., 0], 1 - uv[..., 1]], dim=-1) * size
        rgb = _sample(mesh.texture.float() / 255, pixels.reshape(-1, 2)).reshape(*hit.shape, 3)
    else:
        rgb = seen.interpolate(mesh.colours if mesh.colours is not None else torch.full_like(mesh.vertices, 0.7),
                               mesh.faces)
    background = torch.zeros(3) if background is None else background
    return torch.where(hit[..., None], rgb, background), hit
