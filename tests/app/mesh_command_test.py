"""recon mesh: from a run to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
import torch

from recon.app.main import main
from recon.app.meshing import Meshing, _closed, quarter_turn, surface
from recon.export import read_mesh
from recon.mesh.check import check
from recon.ops.flexicubes import grid_points
from recon.ops.marching_cubes import marching_cubes
from recon.types import Camera, Mesh, Similarity


def test_a_run_becomes_a_mesh(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.glb"
    words = ["mesh", str(tiny_run), str(out), "--resolution", "24", "--smallest_part", "0", "--fill_holes", "0"]
    code = main(words)
    said = capsys.readouterr()
    if code == 2:  # a dozen steps may leave nothing solid; then that is said
        assert "nothing solid" in said.err or "no surface" in said.err
        return
    assert code == 0
    assert "manifold" in said.out or "watertight" in said.out
    mesh = read_mesh(out)
    assert len(mesh) > 0
    assert mesh.colours is not None
    assert main(words) == 2
    assert "already exists" in capsys.readouterr().err
    ply = tmp_path / "m.ply"
    assert main([*words[:2], str(ply), *words[3:]]) == 0
    raw = read_mesh(ply)  # source axes, z up; the glb has y up
    turned = torch.stack([raw.vertices[:, 0], raw.vertices[:, 2], -raw.vertices[:, 1]], dim=1)
    torch.testing.assert_close(turned, mesh.vertices, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("words", "message"), [
    (["m.fbx"], "not a mesh format"), (["m.glb", "--resolution", "4"], "out of range"),
    (["m.glb", "--box", "1,2,3"], "not a box"), (["m.glb", "--box", "1,1,1,0,0,0"], "not a box"),
    (["m.glb", "--scale", "0"], "out of range"), (["m.glb", "--smallest_part", "7"], "out of range"),
])  # fmt: skip
def test_bad_words(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(["mesh", str(tmp_path / "none"), str(tmp_path / words[0]), *words[1:]]) == 2
    assert message in capsys.readouterr().err


def test_turns_are_rotations() -> None:
    axes = [sign * torch.eye(3, dtype=torch.float64)[i] for i in range(3) for sign in (1, -1)]
    for a in axes:
        for b in axes:
            turn = quarter_turn(a, b)
            torch.testing.assert_close(turn @ a, b)
            torch.testing.assert_close(turn @ turn.T, torch.eye(3, dtype=torch.float64))
            assert float(torch.linalg.det(turn)) == pytest.approx(1)


def test_an_open_surface_is_closed_and_the_guess_is_said() -> None:
    x = grid_points((20,) * 3, (-1.3,) * 3, (2.6 / 19,) * 3)
    whole = Mesh(*marching_cubes(x.norm(dim=-1) - 1, origin=(-1.3,) * 3, spacing=(2.6 / 19,) * 3))
    opened = whole.select(whole.corners.mean(1)[:, 2] < 0.8)
    opened = Mesh(opened.vertices, opened.faces, colours=opened.vertices.clamp(0, 1))
    closed, notes = _closed(opened, Meshing(resolution=40))
    assert check(closed).watertight
    assert "guessed" in notes[0]
    assert closed.colours is not None
    near = closed.vertices[:, 2] < 0.5
    assert float((closed.colours - closed.vertices.clamp(0, 1))[near].abs().max()) < 0.2
    same, notes = _closed(whole, Meshing(resolution=40))
    assert same is whole
    assert not notes


def test_a_mesher_that_the_run_does_not_allow(tiny_run: Path, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mesh", str(tiny_run), str(tmp_path / "m.ply"), "--mesher", "flexicubes"]) == 2
    assert "needs a run with a distance" in capsys.readouterr().err


class Ball:
    """A field with the distance from a ball of radius one."""

    surface_box = torch.tensor([[-1.3] * 3, [1.3] * 3])

    def distance(self, x_world: torch.Tensor) -> torch.Tensor:
        return x_world.norm(dim=1) - 1

    def normal(self, x_world: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x_world, dim=1)

    def colour(self, x_world: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x_world, 0.5)


def test_a_masked_object_stays_closed_where_no_photo_looks() -> None:
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = -4.0  # looks along z
    cameras = [Camera(80, 60, torch.tensor([90.0, 90.0, 40.0, 30.0]), pose)] * 2

    def meshed(masked: bool, unseen: Literal["auto", "keep", "drop"] = "auto", watertight: bool = False
               ) -> tuple[Mesh, str]:
        how = Meshing(resolution=24, fill_holes=0, unseen=unseen, watertight=watertight)
        same = Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
        mesh, notes = surface(lambda _: pytest.fail("not drawn"), cameras, same, has_alpha=masked, meshing=how,
                              field=Ball())
        return mesh, " ".join(notes)

    closed, said = meshed(True)
    assert check(closed).watertight
    assert "smoothed" in said
    opened, said = meshed(False)
    assert check(opened).border_edges > 0
    assert "dropped" in said
    assert check(meshed(True, "drop")[0]).border_edges > 0
    kept, said = meshed(False, "keep")
    assert check(kept).watertight
    assert not said
    assert check(meshed(False, watertight=True)[0]).watertight


def test_fewer_faces_leave_no_crumbs_and_no_slits(monkeypatch: pytest.MonkeyPatch) -> None:
    from recon.mesh import simplify

    def torn(mesh: Mesh, faces: int) -> Mesh:  # as decimation does where tunnels collapse
        crumb = torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [0, 0.01, 0]]) + 5
        more = torch.tensor([[0, 1, 2]], dtype=torch.int32) + len(mesh.vertices)
        return Mesh(torch.cat([mesh.vertices, crumb]), torch.cat([mesh.faces[1:], more]))

    monkeypatch.setattr(simplify, "simplify", torn)
    same = Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    mesh, _ = surface(lambda _: pytest.fail("not drawn"), [], same, has_alpha=True,
                      meshing=Meshing(resolution=24, faces=100), field=Ball())
    report = check(mesh)
    assert report.watertight
    assert report.parts == 1
