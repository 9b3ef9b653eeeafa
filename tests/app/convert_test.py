"""recon convert: Gaussians to a volume and back, with the photos gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from recon.app import mesh_capture
from recon.app.api import load
from recon.app.main import main
from recon.export import write_splats
from recon.protocols import Splats, Volumetric
from recon.types import Gaussians
from recon.types.gaussians import SH_C0


def test_there_and_back_without_photos(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(tiny_run, teacher)
    config = (teacher / "config.yaml").read_text()
    scene = next(line.split("path:")[1].strip() for line in config.splitlines() if "path:" in line)
    (teacher / "config.yaml").write_text(config.replace(scene, str(tmp_path / "gone")))
    volume = tmp_path / "volume"
    assert main(["convert", str(teacher), "--to", "dvgo", "--preset", "fast", "--steps", "20", "--out", str(volume),
                 "--quiet"]) == 0
    run = load(volume)
    assert isinstance(run.field, Volumetric)
    assert run.metrics["steps"] == 20
    camera = run.cameras[0]
    assert torch.isfinite(run.render(camera).rgb).all()
    torch.testing.assert_close(camera.world_from_camera, load(teacher).cameras[0].world_from_camera)
    capsys.readouterr()
    assert main(["eval", str(volume), "--json", *_split(run.metrics)]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] > 5

    second = tmp_path / "second"
    assert main(["convert", str(volume), "--to", "tensorf", "--preset", "fast", "--steps", "20", "--out", str(second),
                 "--quiet"]) == 0
    entries = [json.loads(line) for line in (second / "log.jsonl").read_text().splitlines()]
    assert entries[0]["step"] == 10  # half of the steps were made at points

    back = tmp_path / "back"
    assert main(["convert", str(volume), "--to", "gaussians", "--preset", "fast", "--steps", "10", "--out", str(back),
                 "--quiet"]) == 0
    assert isinstance(load(back).field, Splats)
    assert (back / "scene.ply").exists()


def test_from_a_splat_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A red ball of splats, far from the origin, becomes a volume of the same place, size and colour."""
    monkeypatch.setattr(mesh_capture, "VIEWS", 16)
    monkeypatch.setattr(mesh_capture, "SIDE", 48)
    generator = torch.Generator().manual_seed(0)
    shell = torch.nn.functional.normalize(torch.randn(800, 3, generator=generator), dim=1)
    centre = torch.tensor([30.0, -20.0, 10.0])
    red = ((torch.tensor([0.9, 0.1, 0.1]) - 0.5) / SH_C0).expand(800, 1, 3)
    write_splats(tmp_path / "ball.ply", Gaussians(
        centre + 5 * shell, torch.full((800, 3), -0.5), torch.tensor([1.0, 0, 0, 0]).expand(800, 4).contiguous(),
        torch.full((800,), 4.0), red.contiguous()))
    assert main(["convert", str(tmp_path / "ball.ply"), "--to", "dvgo", "--preset", "fast", "--steps", "60",
                 "--out", str(tmp_path / "volume"), "--quiet"]) == 0
    run = load(tmp_path / "volume")
    assert isinstance(run.field, Volumetric)
    assert run.metrics["psnr"] > 20
    camera = run.cameras[0]
    distance = float((camera.centre - centre).norm())
    assert 10 < distance < 20
    shown = run.render(camera, want=("rgb", "opacity", "depth"))
    middle = shown.rgb.shape[0] // 2
    assert float(shown.channel("opacity")[middle, middle]) > 0.9
    assert abs(float(shown.channel("depth")[middle, middle]) - (distance - 5)) < 2.5  # half of the ball's radius
    colour = shown.rgb[middle, middle]
    assert float(colour[0]) > 0.7
    assert float(colour[1:].max()) < 0.3
    assert main(["eval", str(tmp_path / "volume"), "--json"]) == 0


def _split(metrics: dict[str, object]) -> list[str]:
    return ["--split", str(metrics["split"])]


def test_wrong_input_is_told_in_a_line(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tmp_path / "none"), "--to", "dvgo"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert main(["convert", str(tiny_run), "--to", "dvgoo"]) == 2
    assert "dvgo" in capsys.readouterr().err
    assert main(["convert", str(tiny_run / "config.yaml"), "--to", "dvgo"]) == 2
    assert "not a run folder" in capsys.readouterr().err
    (tmp_path / "cut.ply").write_bytes((tiny_run / "scene.ply").read_bytes()[:200])
    assert main(["convert", str(tmp_path / "cut.ply"), "--to", "dvgo"]) == 2
    assert "cut.ply" in capsys.readouterr().err
    assert main(["convert", str(tiny_run), "--to", "dvgo", "--steps", "5", "--time", "1m"]) == 2
    assert "exclude" in capsys.readouterr().err
