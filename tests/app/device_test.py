"""Where there is no GPU, everything that was asked to use one says so plainly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recon.app import machine
from recon.app.catalogue import load
from recon.app.commands import doctor
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


@pytest.mark.parametrize(("backends", "gaussians", "volumes"), [
    (("recon",), "cuda", "cuda"), (("gsplat",), "cuda", "cpu"), (("nerfacc", "tinycudann"), "cpu", "cuda"),
    (("gsplat", "nerfacc"), "cuda", "cuda"), ((), "cpu", "cpu")])
def test_a_gpu_is_used_for_what_it_has_kernels_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                                                   backends: tuple[str, ...], gaussians: str, volumes: str) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(cuda, "backends", lambda: backends)
    for method, expected in (("gaussians", gaussians), ("gaussians_mcmc", gaussians), ("dvgo", volumes),
                             ("neus", volumes)):
        assert machine.device_for(load(method, "fast"), None).type == expected, method
    for method in ("gaussians_lm", "flexicubes"):  # other packages have no kernels for these
        system = load(method, "fast")
        assert machine.device_for(system, None).type == ("cuda" if backends == ("recon",) else "cpu"), method
        if backends != ("recon",):
            with pytest.raises(InputError, match="kernels"):
                machine.device_for(system, "cuda")
    doctor._gpu()
    said = capsys.readouterr().out
    assert ("nvcc" in said) == (backends != ("recon",))
    assert all(name in said for name in backends if name != "recon")
