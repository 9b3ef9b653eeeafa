"""The examples run: on the sample scene, for a few steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "data" / "sample"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_are_numbered_and_say_how_to_run_them() -> None:
    files = sorted((ROOT / "examples").glob("*.py"))
    assert [int(f.name[:2]) for f in files] == list(range(1, len(files) + 1))
    for file in files:
        assert f"python examples/{file.name}" in (example(file.stem).__doc__ or "")


@pytest.mark.skipif(not (SAMPLE / "transforms_train.json").exists(), reason="the sample scene is not in this checkout")
def test_fit_the_sample_and_render_an_orbit(tmp_path: Path) -> None:
    picture = example("01_fit_sample").main(SAMPLE, steps=20, out=tmp_path / "run")
    assert picture.stat().st_size > 1000
    assert (tmp_path / "run" / "scene.spz").stat().st_size > 0
    orbit = example("02_render_orbit").main(tmp_path / "run", seconds=0.2, out=tmp_path / "orbit.mp4")
    assert orbit.stat().st_size > 1000
