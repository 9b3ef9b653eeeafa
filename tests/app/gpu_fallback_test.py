"""A machine with a GPU where Recon was installed without nvcc, or with one that does not suit it: what it uses and
says. The GPU is pretended; other packages are empty ones with and without kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_scene import write_tiny_scene

from recon.app import machine
from recon.app.catalogue import load
from recon.app.commands import doctor
from recon.app.main import main
from recon.errors import InputError
from recon.ops import cuda

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts packages in the place of those installed here: ``install("gsplat")`` is one without compiled kernels."""
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    monkeypatch.setattr(cuda, "module", lambda: None)
    monkeypatch.delenv("RECON_CUDA_BACKEND", raising=False)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def loaded(names: set[str]) -> list[str]:
        return [m for m in sys.modules if m.partition(".")[0] in names]

    def put(name: str, kernels: str | None = None) -> None:
        for known in loaded({name}):
            monkeypatch.delitem(sys.modules, known)
        (site / name).mkdir()
        (site / name / "__init__.py").touch()
        if kernels is not None:
            (site / name / f"{kernels}.py").touch()
        cuda._installed.cache_clear()

    cuda.refusal.cache_clear()
    yield put
    for known in loaded({p.name for p in site.iterdir()}):
        del sys.modules[known]
    cuda.refusal.cache_clear()
    cuda._installed.cache_clear()


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    """What `recon doctor` says of the GPU, on one line."""
    capsys.readouterr()
    doctor._gpu()
    return " ".join(capsys.readouterr().out.split())


def _devices() -> tuple[str, str]:
    return tuple(machine.device_for(load(method, "fast"), None).type for method in ("gaussians", "dvgo"))  # type: ignore


def test_with_nothing_installed_fits_run_on_the_processor(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("gsplat", "nerfacc"):  # as on PyPI: kernels would be compiled at first use, for which there is no nvcc
        install(name)
    assert cuda.backends() == ()
    assert _devices() == ("cpu", "cpu")
    said = _said(capsys)
    assert "NVIDIA H200, not used" in said
    for what in ("nvcc", "pip install nvidia-cuda-nvcc nvidia-cuda-cccl", "RECON_CUDA=ON", "gsplat", "nerfacc"):
        assert what in said, what
    with pytest.raises(InputError, match="pip install nvidia-cuda-nvcc nvidia-cuda-cccl"):
        machine.device_for(load("gaussians", "fast"), "cuda")


@pytest.mark.parametrize(("name", "devices"), [("gsplat", ("cuda", "cpu")), ("nerfacc", ("cpu", "cuda"))])
def test_another_package_with_kernels_is_used_and_named(install: Install, name: str, devices: tuple[str, str],
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    for other in ("gsplat", "nerfacc"):
        install(other, "csrc" if other == name else None)
    assert cuda.problem() is None
    assert _devices() == devices
    said = _said(capsys)
    assert f"by {name}" in said
    assert "RECON_CUDA=ON" in said
    other = "dvgo" if name == "gsplat" else "gaussians"
    with pytest.raises(InputError, match=f"(?s){name}.*recon doctor"):
        machine.device_for(load(other, "fast"), "cuda")


def test_kernels_that_do_not_run_here_are_not_used(install: Install, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    words = "CUDA driver version is insufficient for CUDA runtime version"
    monkeypatch.setattr(cuda, "module", lambda: SimpleNamespace(problem=lambda device: words, version=13000))
    install("nerfacc")
    install("gsplat")
    assert _devices() == ("cpu", "cpu")
    said = _said(capsys)
    assert words in said
    assert "built with CUDA 13.0" in said
    assert "Update the driver" in said
    (Path(sys.path[0]) / "gsplat" / "csrc.py").touch()
    cuda._installed.cache_clear()
    assert _devices() == ("cuda", "cpu")
    assert words in _said(capsys)
    cuda.refusal.cache_clear()
    monkeypatch.setattr(cuda, "module", lambda: SimpleNamespace(problem=lambda device: "", version=13000))
    assert cuda.backends() == ("recon",)
    assert _said(capsys) == "GPU NVIDIA H200, used by fits of Gaussians and volumes (--device cpu: not)"


def test_a_name_that_is_not_installed_is_said(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("gsplat")
    monkeypatch.setattr(cuda, "module", lambda: SimpleNamespace(problem=lambda device: ""))
    monkeypatch.setenv("RECON_CUDA_BACKEND", "gsplat")
    assert "RECON_CUDA_BACKEND=gsplat" in str(cuda.problem())


@pytest.mark.slow
def test_a_whole_fit_falls_back_to_the_processor(install: Install, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    install("gsplat")
    install("nerfacc")
    scene, run = write_tiny_scene(tmp_path / "scene"), tmp_path / "run"
    assert main(["fit", str(scene), "--preset", "fast", "--steps", "20", "--out", str(run),
                 "--field.random_points", "300"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "NVIDIA H200 is not used" in said
    assert "recon doctor" in said
    assert (run / "scene.ply").stat().st_size > 0


def test_calls_for_another_gpu_are_made_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    current = [0]

    class Entered:
        def __init__(self, device: torch.device) -> None:
            self.device, self.before = device, current[0]

        def __enter__(self) -> None:
            current[0] = self.device.index

        def __exit__(self, *_: object) -> None:
            current[0] = self.before

    kernels = SimpleNamespace(where=lambda: current[0], size=3)
    monkeypatch.setattr(torch.cuda, "device", Entered)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[0])
    monkeypatch.setattr(cuda, "module", lambda: kernels)
    monkeypatch.setattr(cuda, "backends", lambda: ("recon",))
    found = [cuda.kernels_for(SimpleNamespace(device=torch.device("cuda", i))) for i in (0, 1)]  # type: ignore[arg-type]
    assert found[0] is kernels
    assert [k.where() for k in found] == [0, 1]
    assert found[1].size == 3
    assert current == [0]
