"""Depth pictures of anything that can be rendered to a mesh: fusion into a TSDF, then marching cubes.

Source: Curless and Levoy, SIGGRAPH 1996; used for Gaussians by Huang et al., "2D Gaussian Splatting for Geometrically
Accurate Radiance Fields", SIGGRAPH 2024, arXiv 2403.17888. Where no view looked, the mesh stays open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon.errors import InputError
from recon.mesh.clean import part_sheets
from recon.mesh.grid import Grid
from recon.ops.marching_cubes import edge_crossings, marching_cubes_edges
from recon.ops.tsdf import Volume, fuse_depth_
from recon.types import Camera, Mesh, Render

BYTES_PER_POINT = 40  # volume and what marching cubes needs besides
RenderView = Callable[[Camera], Render]


@dataclass(frozen=True)
class TsdfSettings:
    """How depth pictures are fused."""

    # voxels along the longest side of the box
    resolution: int = 256
    # how far behind the surface a view is believed, in voxels
    truncation: float = 4.0
    # pixels less opaque than this say nothing
    opacity: float = 0.6
    # pixels less opaque than this are empty space; 0 where the background is part of the scene
    empty: float = 0.0
    # depth steps larger than this share of the depth are edges, whose pixels mix front and back and say nothing
    edge: float = 0.1
    # pixels whose depth is spread more widely along the ray than this share of it say nothing
    spread: float = 0.03
    # a point must have been seen by this many clear views in sum; unclear ones count little
    views: float = 1.5


def fuse(cameras: Iterable[Camera], render: RenderView, grid: Grid, settings: TsdfSettings) -> Volume:
    """The TSDF of all views. ``render(camera)`` must offer rgb, opacity and surface or depth; cameras are pinholes.

    Where it offers spread, pixels count the more the clearer they say where their surface is.
    """
    volume = Volume.empty(grid.shape, grid.origin, grid.steps)
    for camera in cameras:
        shown = render(camera)
        depth, opacity = _depth(shown), shown.channel("opacity")
        known = (opacity >= settings.opacity) & (depth > 0) & ~depth_edges(depth, settings.edge)
        told = torch.where(known, depth, torch.zeros(()))
        told = torch.where(opacity < settings.empty, torch.full((), math.inf), told)
        confidence = torch.where(known, opacity, torch.ones(()))
        if shown.spread is not None:
            unclear = (shown.spread > settings.spread * depth) & (opacity >= settings.empty)
            told = torch.where(unclear, torch.zeros(()), told)
            share = shown.spread / (settings.truncation * grid.spacing)
            confidence = torch.where(known, confidence / (1 + share.square()), confidence)
        fuse_depth_(volume, told, shown.rgb.clamp(0, 1).contiguous(), camera, confidence=confidence.contiguous(),
                    truncation=settings.truncation * grid.spacing)
    return volume


def _depth(shown: Render) -> Tensor:
    """The most trustworthy depth there is, [h, w]."""
    return shown.surface if shown.surface is not None else shown.channel("depth").contiguous()


def depth_edges(depth: Tensor, share: float) -> Tensor:
    """[h, w] bool: pixels where depth within the 3x3 neighbourhood spans more than ``share`` of it."""
    d = depth[None, None]
    high = torch.nn.functional.max_pool2d(d, 3, 1, 1)[0, 0]
    low = -torch.nn.functional.max_pool2d(-d, 3, 1, 1)[0, 0]
    return high - low > 2 * share * depth.clamp_min(1e-12)


def extract(volume: Volume, views: float = 1.5) -> Mesh:
    """The coloured surface of a fused volume, among points of a weight of ``views`` or more; manifold, perhaps open.

    Raises InputError where there is none.
    """
    known = (volume.weight >= views).to(torch.uint8)
    edges, faces = marching_cubes_edges(volume.distance, known=known)
    if not len(faces):
        raise InputError("the views show no surface in the box", fix="Make the box larger, or lower the resolution.")
    vertices, a, b, t = edge_crossings(volume.distance, edges, volume.origin, volume.spacing)
    weight = volume.colour_weight.reshape(-1)
    share_a, share_b = (1 - t) * (weight[a] > 0) + 1e-6 * weight[a], t * (weight[b] > 0) + 1e-6 * weight[b]
    flat = volume.colour.reshape(-1, 3)
    total = (share_a + share_b).clamp_min(1e-12)[:, None]
    colours = (flat[a] * share_a[:, None] + flat[b] * share_b[:, None]) / total
    return part_sheets(Mesh(vertices, faces, colours=colours.clamp(0, 1)))


def box_of_views(cameras: Sequence[Camera], render: RenderView, *, opacity: float = 0.6, percent: float = 0.3,
                 far: float = 1.6, views: int = 24) -> tuple[Tensor, Tensor]:
    """A box low, high [3] around what the views show: ``percent`` of the seen points lie beyond each of its sides.

    Each of up to ``views`` views is rendered small and its pixels are placed in space; those ``far`` times deeper than
    the median are background that would blow up the box. Raises InputError where nothing is seen.
    """
    seen, depths = [], []
    for camera in cameras[::max(1, len(cameras) // views)]:
        small = camera.scaled(max(8, camera.width // 8), max(8, camera.height // 8))
        shown = render(small)
        depth, solid = _depth(shown), shown.channel("opacity") >= opacity
        y, x = torch.nonzero(solid & (depth > 0), as_tuple=True)
        if not len(x):
            continue
        origin, direction = small.rays(torch.stack([x, y], dim=1).double() + 0.5)
        along = direction @ small.forward
        seen.append(origin + direction * (depth[y, x].double() / along)[:, None])
        depths.append(depth[y, x])
    if not seen:
        raise InputError("the views show nothing solid", fix="Check the run with: recon render RUN --channel opacity")
    points, depth = torch.cat(seen), torch.cat(depths)
    points = points[depth <= far * depth.median()]
    points = points[:: len(points) // 1_000_000 + 1]
    q = torch.quantile(points, torch.tensor([percent / 100, 1 - percent / 100], dtype=torch.float64), dim=0)
    margin = 0.03 * (q[1] - q[0]).max()
    return q[0] - margin, q[1] + margin


def fit_to_memory(settings: TsdfSettings, low: Tensor, high: Tensor, limit_bytes: float) -> TsdfSettings:
    """The settings, with the resolution lowered until the volume fits ``limit_bytes``."""
    while settings.resolution > 16:
        points = math.prod(Grid.around(low, high, settings.resolution).shape)
        if points * BYTES_PER_POINT <= limit_bytes:
            break
        settings = replace(settings, resolution=int(settings.resolution * 0.9))
    return settings
