"""recon bench meshing: a table of measures, and what it says to bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from recon.app.main import main
from recon.export import write_mesh
from recon.ops.flexicubes import grid_points
from recon.ops.marching_cubes import marching_cubes
from recon.types import Mesh


@pytest.fixture
def ball(tmp_path: Path) -> Path:
    x = grid_points((14,) * 3, (-1.3,) * 3, (0.2,) * 3)
    write_mesh(tmp_path / "ball.ply", Mesh(*marching_cubes(x.norm(dim=-1) - 1, origin=(-1.3,) * 3, spacing=(0.2,) * 3)))
    return tmp_path / "ball.ply"


def test_rows(ball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "meshing", str(ball), "--sizes", "12,16", "--steps", "3", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [r["size"] for r in rows] == [12] * 4 + [16] * 4
    assert all(r["watertight"] and r["faces"] > 100 and r["chamfer"] < 30 for r in rows)
    assert main(["bench", "meshing", str(ball), str(ball), "--sizes", "12", "--steps", "1"]) == 0
    shown = capsys.readouterr().out
    assert "mean" in shown
    assert "forward and backward at 12" in shown


@pytest.mark.parametrize(("words", "said"), [
    ([], "no mesh given"), (["missing.obj"], "does not exist"), (["BALL", "--sizes", "4"], "--sizes"),
    (["BALL", "--sizes", "32,x"], "--sizes"), (["BALL", "--steps", "0"], "--steps"), (["EMPTY"], "no surface"),
])
def test_bad_input(words: list[str], said: str, ball: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = ball.parent / "empty.obj"
    empty.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 2\n")
    names = {"BALL": str(ball), "EMPTY": str(empty)}
    assert main(["bench", "meshing", *(names.get(w, w) for w in words)]) == 2
    assert said in capsys.readouterr().err
    assert torch.is_grad_enabled()
