"""A mesh packed small for a web page: bytes that ``web/mesh.js`` turns back into triangles.

Vertices are sorted along a Morton curve, so that neighbours in memory are neighbours in space, and triangles by their
lowest vertex. Then differences are small numbers, which deflate packs well:

    position   3 x 16 bit between the lowest and the highest corner, each less the one before (mod 2^16)
    colour     3 x 8 bit sRGB, each less the one before (mod 2^8); left out where the mesh has none
    triangle   its lowest vertex a less that of the triangle before; b - a; c - a (all >= 0, winding kept)

Layout, little-endian, then zlib-deflated, all as planes of bytes (low byte first):

    uint8 position[3][2][v]   uint8 colour[3][v]   uint8 triangle[3][4][f]
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from recon.export.page_packing import morton_order
from recon.types import Mesh


@dataclass(frozen=True)
class PackedMesh:
    """``data`` is deflated; ``layout`` is what the page has to know to read it (plain JSON values)."""

    data: bytes
    layout: dict[str, Any]


def pack_mesh(mesh: Mesh) -> PackedMesh:
    """Packs a mesh of finite vertices with at least one face."""
    order = morton_order(mesh.vertices.numpy())
    vertices = mesh.vertices.numpy()[order].astype(np.float64)
    new_index = np.empty(len(order), np.int64)
    new_index[order] = np.arange(len(order))
    low, high = vertices.min(0), vertices.max(0)
    place = np.rint((vertices - low) / np.maximum(high - low, 1e-30) * 65535).astype(np.int64)
    planes = []
    for axis in place.T:
        step = np.diff(axis, prepend=0) & 0xFFFF
        planes += [step & 255, step >> 8]
    colours = vertex_colours(mesh)
    if colours is not None:
        bytes_ = np.rint(np.clip(colours[order], 0, 1) * 255).astype(np.int64)
        planes += [np.diff(channel, prepend=0) & 255 for channel in bytes_.T]
    faces = new_index[mesh.faces.numpy().astype(np.int64)]
    first = faces.argmin(1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, 1)
    faces = faces[np.argsort(faces[:, 0], kind="stable")]
    numbers = [np.diff(faces[:, 0], prepend=0), faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]]
    planes += [number >> (8 * i) & 255 for number in numbers for i in range(4)]
    squeeze = zlib.compressobj(6)
    parts = [squeeze.compress(plane.astype(np.uint8).tobytes()) for plane in planes]
    layout = {"vertices": len(vertices), "faces": len(faces), "low": low.tolist(), "high": high.tolist(),
              "coloured": colours is not None}
    return PackedMesh(b"".join([*parts, squeeze.flush()]), layout)


def vertex_colours(mesh: Mesh) -> np.ndarray | None:
    """[v, 3] sRGB in 0..1, from the texture where there is one (nearest texel), else None."""
    if mesh.colours is not None:
        return mesh.colours.numpy()
    if mesh.uvs is None or mesh.texture is None:
        return None
    texture, uvs = mesh.texture.numpy(), mesh.uvs.numpy()
    height, width = texture.shape[:2]
    x = np.clip(np.floor((uvs[:, 0] % 1.0) * width), 0, width - 1).astype(np.int64)
    y = np.clip(np.floor((1 - uvs[:, 1] % 1.0) * height), 0, height - 1).astype(np.int64)
    return texture[y, x, :3] / 255.0
