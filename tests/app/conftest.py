"""Fixtures: a tiny posed scene, one finished run of it, and the program as a subprocess."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_scene import command, write_tiny_scene


@pytest.fixture
def tiny_scene(tmp_path: Path) -> Path:
    return write_tiny_scene(tmp_path / "tiny")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny scene, made once."""
    from recon.app.main import main

    base = tmp_path_factory.mktemp("shared")
    scene, out = write_tiny_scene(base / "tiny"), base / "run"
    code = main(["fit", str(scene), "--steps", "12", "--field.random_points", "300", "--out", str(out), "--quiet"])
    assert code == 0
    return out


@pytest.fixture
def recon(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the program in a process of its own, in an empty folder."""

    def call(*words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*words), cwd=tmp_path, capture_output=True, text=True, timeout=timeout,
                              env=os.environ | {"COLUMNS": "100"})

    return call
