"""recon fit --start: a mesh that a fit begins with, and what recon mesh makes of the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recon.app.main import main
from recon.export import read_mesh, write_mesh
from recon.mesh.grid import Grid
from recon.mesh.marching_cubes import mesh_distance
from recon.types import Mesh


@pytest.fixture
def start(tmp_path: Path) -> Path:
    low = torch.full((3,), -0.6)
    ball = mesh_distance(lambda x: x.norm(dim=1) - 0.4, Grid.around(low, -low, 8))
    colours = torch.full_like(ball.vertices, 0.6)
    write_mesh(tmp_path / "start.ply", Mesh(ball.vertices, ball.faces, colours=colours))
    return tmp_path / "start.ply"


def test_the_refined_mesh_of_a_run_is_its_start_moved_a_little(tiny_scene: Path, start: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out.ply"
    words = ["fit", str(tiny_scene), "--method", "sugar_bound", "--preset", "fast", "--out", str(run), "--quiet"]
    assert main([*words, "--steps", "6", "--start", str(start)]) == 0
    assert main(["mesh", str(run), str(out), "--up", "keep", "--smallest_part", "0"]) == 0
    before, after = read_mesh(start), read_mesh(out)
    assert len(after) == len(before)
    size = before.vertices.norm(dim=1).mean()
    moved = float((after.vertices.norm(dim=1).mean() - size).abs() / size)
    assert moved < 0.05  # in the coordinates of the source
    assert not torch.equal(after.vertices.sort(0).values, before.vertices.sort(0).values)
    again = tmp_path / "again"
    assert main(["fit", "--config", str(run / "config.yaml"), "--out", str(again), "--quiet"]) == 0
    assert (again / "scene.ply").read_bytes() == (run / "scene.ply").read_bytes()


def test_a_start_that_is_no_mesh_is_refused(tiny_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                            ) -> None:
    (tmp_path / "no.obj").write_text("v 0 0 0\n")
    words = ["fit", str(tiny_scene), "--method", "sugar_bound", "--out", str(tmp_path / "run"), "--quiet", "--start"]
    for path in (tmp_path / "no.obj", tmp_path / "missing.obj"):
        assert main([*words, str(path)]) == 2
        assert path.name in capsys.readouterr().err
    assert main(["fit", str(tiny_scene), "--out", str(tmp_path / "run"), "--start", str(tmp_path / "no.obj")]) == 2
    assert "does not begin with a mesh" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
