"""Where there is no GPU, everything that was asked to use one says so plainly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recon.app import machine
from recon.app.main import main
from recon.configs.gaussians import PRESETS
from recon.errors import InputError
from recon.ops import cuda

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_fit_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = Path(__file__).parents[2] / "data" / "sample"
    assert main(["fit", str(sample), "--device", "cuda", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert "--device cuda" in said.err + said.out
    assert "--device cpu" in said.err + said.out
    assert not (tmp_path / "run").exists()


def test_bench_gpu_says_that_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu"]) == 2
    said = capsys.readouterr()
    assert "nothing to measure" in said.err + said.out


def test_auto_is_the_processor() -> None:
    system = PRESETS["fast"]
    assert machine.device_for(system, None).type == machine.device_for(system, "auto").type == "cpu"
    with pytest.raises(InputError, match="cuda"):
        machine.device_for(system, "cuda")


def test_kernels_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "module", lambda: None)
    monkeypatch.setenv("RECON_CUDA_BACKEND", "recon")  # gsplat may be installed, and would do
    assert "nvcc" in str(cuda.problem())
