"""A mesh of a scene whose true surface is known: python tests/bench/surface_score.py MESH SCENE [TRUTH]

F score, precision and recall of Knapitsch et al., "Tanks and Temples", SIGGRAPH 2017, at shares of the longest side
of the true surface. What of the truth no photo for fitting shows counts as neither found nor missing. Of the mesh two
figures: all of it, as a user gets it (`recon mesh` cuts it to what photos see), and without the points that no photo
shows, which are then neither right nor wrong, as by the observation masks of Jensen et al., "Large Scale Multi-view
Stereopsis Evaluation" (DTU), CVPR 2014. TRUTH is SCENE/mesh.ply unless given; all in the coordinates of the source.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from recon import data
from recon.export import read_mesh
from recon.mesh.measure import points_on
from recon.ops.raster import rasterize
from recon.ops.triangles import Triangles
from recon.types import Camera, Mesh

POINTS = 400_000
BEHIND = 4.0  # fine pixels of depth by which a point may lie behind the surface that is drawn there
SHARES = (0.005, 0.01, 0.02)


def seen(points: Tensor, mesh: Mesh, cameras: list[Camera]) -> Tensor:
    """[n] bool: points of a mesh that at least one camera shows, at twice its resolution."""
    found = torch.zeros(len(points), dtype=torch.bool)
    for camera in cameras:
        fine = camera.scaled(2 * camera.width, 2 * camera.height)
        depth = rasterize(mesh.vertices.contiguous(), mesh.faces.contiguous(), fine).depth
        pixel, z = fine.project(points.double())
        x, y = pixel.floor().long().unbind(1)
        inside = (z > 0) & (x >= 0) & (y >= 0) & (x < fine.width) & (y < fine.height)
        shown = depth[y.clamp(0, fine.height - 1), x.clamp(0, fine.width - 1)]
        found |= inside & ((shown == 0) | (z.float() <= shown * (1 + BEHIND / float(fine.intrinsics[0]))))
    return found


def share_of(chosen: Tensor) -> float:
    return float(chosen.double().mean())


def f_score(precision: float, recall: float) -> float:
    return 2 * precision * recall / max(precision + recall, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mesh")
    parser.add_argument("scene")
    parser.add_argument("truth", nargs="?")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    capture = data.read(arguments.scene)
    to_source = capture.world_from_source.inverse()
    cameras = [to_source.camera(view.camera) for view in capture.train]
    mesh, true = read_mesh(arguments.mesh), read_mesh(arguments.truth or Path(arguments.scene) / "mesh.ply")
    size = float((true.vertices.amax(0) - true.vertices.amin(0)).max())
    generator = torch.Generator().manual_seed(0)
    y, _ = points_on(true.corners, POINTS, generator)
    known = seen(y, true, cameras)
    x, _ = points_on(mesh.corners, POINTS // 2, generator)
    off, missing = ((a - Triangles(b.vertices.contiguous(), b.faces.contiguous()).closest(a)[0]).norm(dim=1)
                    for a, b in ((x, true), (y, mesh)))
    shown = seen(x, mesh, cameras)
    print(f"{len(mesh):,} faces; seen are {share_of(known):.1%} of the truth and {share_of(shown):.1%} of the mesh")
    for share in SHARES:
        p, r, whole, q = (share_of(gap < share * size) for gap in (off, missing[known], missing, off[shown]))
        print(f"at {share:.1%}: precision {p:.3f}, recall {r:.3f}, F {f_score(p, r):.3f}; of what is seen of the mesh "
              f"precision {q:.3f}, F {f_score(q, r):.3f}; F on the whole {f_score(p, whole):.3f}")


if __name__ == "__main__":
    main()
