"""`recon export RUN scene.html`: the page gets the run's own cameras, limits and background."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from recon.app.api import load
from recon.app.main import main


def scene_of(page: Path) -> dict:
    """What the page knows besides its splats."""
    return json.loads(re.search(r'id="scene">(.*?)</script>', page.read_text("utf-8"), re.S)[1])


def test_a_run_as_a_page(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["export", str(tiny_run), str(out)]) == 0
    scene, run = scene_of(out), load(tiny_run)
    assert scene["title"] == tiny_run.name
    assert len(scene["cameras"]) == len(run.cameras) > 0
    assert scene["start"] == scene["cameras"][0]
    pose = run.cameras[0].world_from_camera[:3].numpy()  # of the source, like the splats
    np.testing.assert_allclose(scene["start"]["world_from_camera"], pose, atol=1e-6)
    assert scene["near"] == pytest.approx(run.renderer.near / run.saved.world_from_source.scale)
    assert scene["background"] == run.background.tolist()
    assert scene["degree"] == run.gaussians.sh_degree


def test_a_file_as_a_page(tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["export", str(tiny_run / "scene.ply"), str(out)]) == 0
    scene = scene_of(out)
    assert scene["cameras"] == []
    assert scene["title"] == "scene"
    assert np.linalg.norm(scene["up"]) == pytest.approx(1)
