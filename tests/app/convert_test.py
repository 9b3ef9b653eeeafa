"""recon convert: Gaussians to a volume and back, with the photos gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from recon.app.api import load
from recon.app.main import main
from recon.protocols import Splats, Volumetric


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


def _split(metrics: dict[str, object]) -> list[str]:
    return ["--split", str(metrics["split"])]


def test_wrong_input_is_told_in_a_line(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tmp_path / "none"), "--to", "dvgo"]) == 2
    assert "no such run" in capsys.readouterr().err
    assert main(["convert", str(tiny_run), "--to", "dvgoo"]) == 2
    assert "dvgo" in capsys.readouterr().err
    assert main(["convert", str(tiny_run / "scene.ply"), "--to", "dvgo"]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert main(["convert", str(tiny_run), "--to", "dvgo", "--steps", "5", "--time", "1m"]) == 2
    assert "exclude" in capsys.readouterr().err
