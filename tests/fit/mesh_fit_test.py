"""A mesh fitted to photos of an object: it starts as the hull, and gets closer to the truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from tiny_capture import tiny_capture

from recon import data
from recon.app import mesh_capture
from recon.configs import flexicubes
from recon.export import write_mesh
from recon.fields.mesh_grid import MeshGridSettings
from recon.fit.loop import Fit
from recon.mesh.check import check
from recon.mesh.measure import f_score
from recon.ops.flexicubes import grid_points
from recon.ops.marching_cubes import marching_cubes
from recon.types import Mesh


def write_shape(path: Path) -> Mesh:
    """A rounded box with a dent."""
    x = grid_points((30,) * 3, (-1.5,) * 3, (3 / 29,) * 3)
    box = (x.abs() - torch.tensor([0.9, 0.6, 0.5])).clamp_min(0).norm(dim=-1) - 0.25
    dent = (x - torch.tensor([0.0, 0.0, 1.0])).norm(dim=-1) - 0.6
    mesh = Mesh(*marching_cubes(torch.maximum(box, -dent), origin=(-1.5,) * 3, spacing=(3 / 29,) * 3))
    write_mesh(path, mesh)
    return mesh


def test_a_mesh_gets_closer_to_the_truth(tmp_path: Path) -> None:
    true = write_shape(tmp_path / "shape.ply")
    found = mesh_capture.capture_of(tmp_path / "shape.ply")
    true = true.transformed(found.world_from_source)
    size = float((true.vertices.amax(0) - true.vertices.amin(0)).max())
    capture = data.prepare(found, size=(96, 96))
    capture = replace(capture, views=tuple(v for i, v in enumerate(capture.views) if i % 3 == 1))
    system = replace(flexicubes.PRESETS["fast"], steps=150,
                     field=MeshGridSettings(resolution=20, log2_slots=9, levels=4, finest=64))
    fit = Fit(capture, system)
    before = fit.field.mesh()
    assert check(before).watertight
    losses = [fit.advance()[0] for _ in range(150)]
    after = fit.field.mesh()
    report = check(after)
    assert report.manifold
    first, last = (f_score(m, true, 0.015 * size)[0] for m in (before, after))
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert last > first + 0.1, (first, last)


def test_without_masks_it_starts_as_a_ball() -> None:
    fit = Fit(tiny_capture(), replace(flexicubes.PRESETS["fast"], field=MeshGridSettings(resolution=12, log2_slots=8)))
    report = check(fit.field.mesh())
    assert report.watertight
    assert report.parts == 1
