"""How the build finds nvcc and chooses architectures (cuda/nvcc.cmake), with scripts in the place of nvcc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CMAKE = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
SCRIPT = Path(__file__).resolve().parents[2] / "cuda" / "nvcc.cmake"
OURS = ("75", "80", "86", "89", "90", "100", "120")

pytestmark = pytest.mark.skipif(CMAKE is None, reason="needs cmake")


def _nvcc(folder: Path, known: tuple[str, ...] = OURS, complaint: str = "") -> Path:
    """A script that knows some architectures, and builds what it is given unless it has a complaint."""
    folder.mkdir(parents=True)
    path = folder / "nvcc"
    lines = "\n".join(f"compute_{a}" for a in known)
    path.write_text(f'#!/bin/sh\nif [ "$1" = --list-gpu-arch ]; then echo "{lines}"; exit 0; fi\n'
                    + (f'echo "{complaint}" >&2; exit 1\n' if complaint else ""))
    path.chmod(0o755)
    return path


def _ask(tmp_path: Path, path: Path | None = None, wheels: Path | None = None, **environment: str) -> dict[str, str]:
    """What the build makes of an nvcc on PATH in ``path`` and of a site-packages ``wheels``."""
    script = tmp_path / "ask.cmake"
    script.write_text(f"""
set(CMAKE_BINARY_DIR "{tmp_path}")
set(Python_EXECUTABLE "{sys.executable}")
include("{SCRIPT}")
recon_find_nvcc(nvcc why)
message("nvcc=${{nvcc}}")
message("why=${{why}}")
if(nvcc)
  recon_choose_architectures("${{nvcc}}" chosen)
  message("chosen=${{chosen}}")
endif()
""")
    env = {"PATH": f"{path}:/usr/bin:/bin" if path else "/usr/bin:/bin", "PYTHONPATH": str(wheels or ""), **environment}
    ran = subprocess.run([str(CMAKE), "-P", str(script)], capture_output=True, text=True, check=False, env=env)
    said = ran.stdout + ran.stderr
    return {"all": said} | {k: v for k, _, v in (line.partition("=") for line in said.splitlines())}


def test_nvcc_on_path_is_used_before_a_wheel(tmp_path: Path) -> None:
    wheel = _nvcc(tmp_path / "site" / "nvidia" / "cu13" / "bin")
    on_path = _nvcc(tmp_path / "bin")
    assert _ask(tmp_path, on_path.parent, tmp_path / "site")["nvcc"] == str(on_path)
    assert _ask(tmp_path, None, tmp_path / "site")["nvcc"] == str(wheel)
    assert _ask(tmp_path, on_path.parent, tmp_path / "site", CUDACXX=str(wheel))["nvcc"] == str(wheel)


@pytest.mark.skipif(any(Path(p, "nvcc").exists() for p in ("/usr/bin", "/bin")), reason="nvcc is always found")
def test_without_nvcc_it_is_said_where_one_was_looked_for(tmp_path: Path) -> None:
    found = _ask(tmp_path)
    assert found["nvcc"] == ""
    assert "PATH" in found["why"]
    assert "pip install nvidia-cuda-nvcc nvidia-cuda-cccl" in found["why"]


def test_an_nvcc_that_cannot_build_is_not_used(tmp_path: Path) -> None:
    no_cub = _nvcc(tmp_path / "a", complaint="probe.cu: fatal error: cub/version.cuh: No such file or directory")
    found = _ask(tmp_path, no_cub.parent)
    assert found["nvcc"] == ""
    assert "nvidia-cuda-cccl" in found["why"]
    no_host = _nvcc(tmp_path / "b", complaint="unsupported GNU version! gcc versions later than 14 are not supported!")
    found = _ask(tmp_path, no_host.parent)
    assert found["nvcc"] == ""
    assert "unsupported GNU version" in found["all"]


def test_all_architectures_are_built_that_nvcc_knows(tmp_path: Path) -> None:
    newer = _ask(tmp_path, _nvcc(tmp_path / "new").parent)
    assert newer["chosen"] == "75-real;80-real;86-real;89-real;90-real;100-real;120"
    older = _ask(tmp_path, _nvcc(tmp_path / "old", OURS[:5]).parent)
    assert older["chosen"] == "75-real;80-real;86-real;89-real;90"  # the newest also as what later GPUs translate
    assert "does not know sm_100;sm_120" in older["all"]
    ancient = _ask(tmp_path, _nvcc(tmp_path / "ancient", ("52", "60")).parent)
    assert "chosen" not in ancient
    assert "-DCMAKE_CUDA_ARCHITECTURES=" in ancient["all"]


def test_what_was_asked_for_is_built_or_refused(tmp_path: Path) -> None:
    nvcc = _nvcc(tmp_path / "bin", OURS[:5])
    assert _ask(tmp_path, nvcc.parent, CUDAARCHS="90-real;80")["chosen"] == "90-real;80"
    refused = _ask(tmp_path, nvcc.parent, CUDAARCHS="90;120")
    assert "chosen" not in refused
    assert "sm_120" in refused["all"]
    assert "sm_90" not in refused["all"]
