"""FlexiCubes against marching cubes on reference meshes: `python tests/bench/meshing_bench.py MESH...`.

Four meshers of the exact signed distance of each mesh: marching cubes; plain dual marching cubes (FlexiCubes with its
default weights); FlexiCubes with vertices where tangent planes meet (no optimisation); FlexiCubes optimised: values,
deformation and weights by Adam, so that points of its surface lie on the true one and the other way round, with the
true normals, and L_dev.

Columns: share of the surface whose normal is off by > 5 degrees; Chamfer distance and edge Chamfer distance (mean of
both ways, longest side of the object = 1000); F1 of points on edges sharper than 30 degrees at 5 of these; triangles
with an angle < 10 degrees; pairs of faces that cut each other (- where not looked for); seconds of this process.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from true_surface import TrueSurface, on_triangles, sharp_edge_points

from recon.mesh import flexicubes as flexible_mesher
from recon.mesh import marching_cubes as marching_mesher
from recon.mesh.check import check
from recon.mesh.grid import Grid
from recon.ops.flexicubes import WEIGHTS, flexicubes, sign_change_loss
from recon.types import Mesh

UNIT = 1000 / 1.8


def measure(mesh: Mesh, true: TrueSurface, intersections: bool) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    vertices, faces = mesh.vertices.numpy().astype(np.float64), mesh.faces.numpy().astype(np.int64)
    corners = vertices[faces]
    x, face = on_triangles(corners, 60_000, rng)
    q, true_face = true.closest(x, 3)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    cosine = (normals[face] * true.face_normals[true_face]).sum(1)
    there = np.linalg.norm(x - q, axis=1).mean()
    back = cKDTree(x).query(true.points[::6])[0].mean()
    sides = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2)
    a, b, c = sides.T
    cosines = [(q * q + r * r - p * p) / np.maximum(2 * q * r, 1e-300) for p, q, r in ((a, b, c), (b, c, a), (c, a, b))]
    smallest = np.degrees(np.arccos(np.clip(np.max(cosines, axis=0), -1, 1)))
    edge = sharp_edge_points(vertices, faces, 20_000, rng)
    out = {"normals": float((cosine < np.cos(np.radians(5))).mean()), "chamfer": (there + back) / 2 * UNIT,
           "slivers": float((smallest < 10).mean()), "edge chamfer": np.nan, "edge F1": np.nan}
    if len(edge) and len(true.edge_points):
        precision, recall = cKDTree(true.edge_points).query(edge)[0], cKDTree(edge).query(true.edge_points)[0]
        p, r = (precision * UNIT < 5).mean(), (recall * UNIT < 5).mean()
        out |= {"edge chamfer": (precision.mean() + recall.mean()) / 2 * UNIT, "edge F1": 2 * p * r / max(p + r, 1e-9)}
    report = check(mesh, intersections=intersections)
    cuts = "-" if report.self_intersections is None else report.self_intersections
    return out | {"cuts": cuts, "watertight": report.watertight, "faces": len(mesh)}


def optimised(true: TrueSurface, grid: Grid, steps: int, points: int = 12_000) -> Mesh:
    values = grid.sample(true.distance)
    scale = grid.spacing
    s = (values / scale).clamp(-3, 3).requires_grad_()  # in cells
    deformation = torch.zeros(*grid.shape, 3, requires_grad=True)
    weights = torch.zeros(int(np.prod(grid.cubes)), WEIGHTS, requires_grad=True)
    adam = torch.optim.Adam([s, deformation, weights], lr=0.02)
    rng = np.random.default_rng(2)
    normals = torch.from_numpy(true.face_normals).float()
    options = {"origin": grid.origin, "spacing": grid.steps, "deformation": deformation, "weights": weights}
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 0.03 * 0.1 ** (step / steps)
        mesh = flexicubes(s, **options)
        corners = mesh.vertices[mesh.faces.long()]
        _, face = on_triangles(corners.detach().numpy().astype(np.float64), points, rng)
        face = torch.from_numpy(face)
        mix = torch.from_numpy(rng.dirichlet((1, 1, 1), points)).float()
        x = (corners[face] * mix[:, :, None]).sum(1)
        q, true_face = true.closest(x.detach().numpy().astype(np.float64), 2)
        n = normals[true_face]
        there = ((x - torch.from_numpy(q).float()) / scale).square().sum(1).mean()
        a, b, c = corners[face].unbind(1)
        turned = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
        tilt = (1 - (turned * n).sum(1)).mean()
        pick = rng.integers(0, len(true.points), points)
        near = torch.from_numpy(cKDTree(x.detach().numpy()).query(true.points[pick])[1])
        to_true = torch.from_numpy(true.points[pick]).float()
        m = normals[true.face_of_point[pick]]
        back = (((x[near] - to_true) * m).sum(1) / scale).square().mean()
        loss = there + back + 0.1 * tilt + 0.1 * mesh.deviation.mean() / scale + 0.01 * sign_change_loss(s)
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        mesh = flexicubes(s, split="diagonal", **options)
    return Mesh(mesh.vertices.detach(), mesh.faces)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("meshes", nargs="+", type=Path)
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--intersections", action="store_true")
    arguments = parser.parse_args()
    print(f"{'':36}normals  chamfer  edge ch.  edge F1  slivers   cuts  closed    faces  seconds")
    for path in arguments.meshes:
        true = TrueSurface(path)
        for size in arguments.sizes:
            grid = Grid.around(torch.full((3,), -0.95), torch.full((3,), 0.95), size - 2)

            def plain(grid: Grid = grid, true: TrueSurface = true) -> Mesh:
                found = flexicubes(grid.sample(true.distance), origin=grid.origin, spacing=grid.steps, split="diagonal")
                return Mesh(found.vertices, found.faces)

            meshers = {
                "marching cubes": lambda g=grid, t=true: marching_mesher.mesh_distance(t.distance, g),
                "dual, default weights": plain,
                "FlexiCubes, tangent planes": lambda g=grid, t=true: flexible_mesher.mesh_distance(t.distance, g),
                "FlexiCubes, optimised": lambda g=grid, t=true: optimised(t, g, arguments.steps),
            }
            for name, make in meshers.items():
                start = time.process_time()
                mesh = make()
                seconds = time.process_time() - start
                m = measure(mesh, true, arguments.intersections)
                closed = "yes" if m["watertight"] else "no"
                print(f"{path.stem[:9]:10}{size:4}  {name:26}{m['normals']:7.1%}{m['chamfer']:9.3f}"
                      f"{m['edge chamfer']:10.2f}{m['edge F1']:9.2f}{m['slivers']:9.1%}{m['cuts']:7}{closed:>8}"
                      f"{m['faces']:9,}{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
