"""A mesh as a scene: what its cameras see, and the fit of a distance to it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recon.app import mesh_capture
from recon.app.main import main
from recon.errors import InputError
from recon.export import read_mesh, write_mesh
from recon.mesh.check import check
from recon.mesh.measure import f_score
from recon.ops.flexicubes import grid_points
from recon.ops.marching_cubes import marching_cubes
from recon.types import Mesh


def write_ball(path: Path) -> Mesh:
    """Radius 2 around (5, 0, 1)."""
    x = grid_points((18,) * 3, (-1.3,) * 3, (2.6 / 17,) * 3)
    vertices, faces = marching_cubes(x.norm(dim=-1) - 1, origin=(-1.3,) * 3, spacing=(2.6 / 17,) * 3)
    mesh = Mesh(vertices * 2 + torch.tensor([5.0, 0.0, 1.0]), faces)
    write_mesh(path, mesh)
    return mesh


def test_cameras_see_the_surface(tmp_path: Path) -> None:
    write_ball(tmp_path / "ball.ply")
    capture = mesh_capture.capture_of(tmp_path / "ball.ply")
    assert (len(capture.views), len(capture.test)) == (64, 8)
    assert capture.has_alpha
    for view in capture.views[::13]:
        camera = view.camera.scaled(100, 100)
        photo = view.source.read(camera)
        assert photo.alpha is not None
        # a ball in the middle of the picture, facing the camera: its normal points at us
        rows, columns = (photo.alpha > 127).nonzero().double().mean(0).tolist()
        assert abs(rows - 49.5) < 1
        assert abs(columns - 49.5) < 1
        normal = photo.rgb[:, 50, 50].double() / 255 * 2 - 1
        assert float(normal @ -camera.forward) > 0.98
        side = (photo.alpha[50] > 127).sum()
        assert 75 < int(side) < 90
    surface = capture.surface
    assert surface is not None
    x = capture.world_from_source.points(torch.tensor([[5.0, 0.0, 1.0], [9.0, 0.0, 1.0]]))
    inverse = capture.world_from_source.inverse()
    torch.testing.assert_close(surface.distance(x) * inverse.scale, torch.tensor([-2.0, 2.0]), atol=0.03, rtol=0)


def test_holes_are_said_and_nonsense_refused(tmp_path: Path) -> None:
    whole = write_ball(tmp_path / "ball.ply")
    write_mesh(tmp_path / "open.ply", whole.select(whole.corners.mean(1)[:, 2] < 2.5))
    assert "not closed" in mesh_capture.capture_of(tmp_path / "open.ply").warnings[0]
    (tmp_path / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 2\n")
    with pytest.raises(InputError, match="no surface"):
        mesh_capture.capture_of(tmp_path / "flat.obj")


def test_a_mesh_is_fitted_and_meshed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    true = write_ball(tmp_path / "ball.ply")
    run = tmp_path / "run"
    words = ["fit", str(tmp_path / "ball.ply"), "--method", "neus", "--preset", "fast", "--steps", "200", "--threads",
             "1", "--resolution", "64x64", "--out", str(run), "--field.voxels", "30000", "--field.log2_slots", "10",
             "--sampler.rays", "256", "--quiet"]
    assert main(words) == 0, capsys.readouterr().err
    assert main(["mesh", str(run), str(tmp_path / "out.ply"), "--resolution", "40"]) == 0, capsys.readouterr().err
    assert "watertight" in capsys.readouterr().out
    found = read_mesh(tmp_path / "out.ply")
    assert check(found).watertight
    score, precision, recall = f_score(found, true, 0.04)  # 1 % of its size
    assert score > 0.9, (precision, recall)
    by_cubes = ["--resolution", "40", "--mesher", "marching_cubes"]
    assert main(["mesh", str(run), str(tmp_path / "cubes.ply"), *by_cubes]) == 0
    assert f_score(read_mesh(tmp_path / "cubes.ply"), true, 0.04)[0] > 0.9
