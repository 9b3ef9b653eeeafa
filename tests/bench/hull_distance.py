"""A mesh of an object with masks against what is known without a scan: python tests/bench/hull_distance.py MESH SCENE

The visual hull of the masks holds the object, so what of the mesh lies outside of it is wrong, and where the hull is
farther than the mesh the photos know better than silhouettes. The triangulated points lie on the surface, but for noise
and outliers. All lengths in thousandths of the hull's longest side; the mesh is in the coordinates of the source.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from recon import data
from recon.export import read_mesh
from recon.fields.parts.region import region_of
from recon.mesh.clean import drop_small_parts
from recon.mesh.grid import Grid
from recon.mesh.marching_cubes import mesh_distance
from recon.mesh.measure import points_on
from recon.ops.triangles import Triangles
from recon.types import Capture, Mesh

SAMPLES = 50_000


def visual_hull(capture: Capture, cells: int) -> Mesh:
    """The surface around all that no mask rules out, in the world."""
    masks = []
    for view in capture.views:
        mask = view.photo().mask
        if mask is not None:
            masks.append((view.camera, mask.float()[None, None] / 255))

    def outside(x: Tensor) -> Tensor:
        least, views = torch.ones(len(x)), torch.zeros(len(x))
        for camera, mask in masks:
            pixel, z = camera.project(x.double())
            at = (pixel / torch.tensor(camera.size) * 2 - 1).float()
            share = torch.nn.functional.grid_sample(mask, at[None, None], align_corners=False)[0, 0, 0]
            seen = (z > 0) & (at.abs() < 1).all(1)  # what a photo does not show, it does not rule out
            least = torch.minimum(least, torch.where(seen, share, torch.ones(())))
            views += seen
        return torch.where(views > 0.3 * len(masks), 0.5 - least, 0.5)  # the object is in most photos

    region = region_of(capture, 64, 0.0)
    low, high = torch.tensor(region.low), torch.tensor(region.high)
    hull = Mesh(low[None], torch.zeros(0, 3, dtype=torch.int32))
    for fineness in (64, cells):  # the first look finds where it is
        hull = drop_small_parts(mesh_distance(outside, Grid.around(low, high, fineness)), 0.05)[0]
        room = 0.05 * (hull.vertices.amax(0) - hull.vertices.amin(0)).max()
        low, high = hull.vertices.amin(0) - room, hull.vertices.amax(0) + room
    return hull


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mesh")
    parser.add_argument("scene")
    parser.add_argument("--cells", type=int, default=128)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    capture = data.read(arguments.scene)
    mesh = read_mesh(arguments.mesh).transformed(capture.world_from_source)
    hull = visual_hull(capture, arguments.cells)
    size = float((hull.vertices.amax(0) - hull.vertices.amin(0)).max())
    generator = torch.Generator().manual_seed(0)
    found, known = (Triangles(m.vertices.contiguous(), m.faces.contiguous()) for m in (mesh, hull))
    on_mesh, on_hull = (points_on(m.corners, SAMPLES, generator)[0] for m in (mesh, hull))

    def away(x: Tensor, triangles: Triangles) -> Tensor:
        return 1000 * (x - triangles.closest(x)[0]).norm(dim=1) / size

    there, back = away(on_mesh, known), away(on_hull, found)
    out = known.distance(on_mesh.contiguous()) * 1000 / size
    print(f"hull: {len(hull):,} faces; mesh: {len(mesh):,} faces, {mesh.area / hull.area:.2f} of the hull's area")
    print(f"mesh to hull: mean {float(there.mean()):.2f}, hull to mesh: mean {float(back.mean()):.2f}, "
          f"Chamfer {float(there.mean() + back.mean()) / 2:.2f}")
    print(f"of the mesh outside of the hull by more than 5: {float((out > 5).float().mean()):.1%}")
    if capture.points is not None:
        x = capture.points.positions.float().contiguous()
        x = x[known.distance(x) * 1000 / size < 5]
        d = away(x, found)
        print(f"{len(x):,} triangulated points in the hull to the mesh: median {float(d.median()):.2f}, "
              f"mean {float(d.mean()):.2f}, within 10: {float((d < 10).float().mean()):.1%}")


if __name__ == "__main__":
    main()
