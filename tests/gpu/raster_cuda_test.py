"""CUDA driver of mesh rasterization on the executor: the same bits as on the CPU, in any order of threads."""

from __future__ import annotations

import os
from types import ModuleType

import pytest
import torch
from pretend import CUDA, Pretended, pretended_gpu
from torch import Tensor

from recon.ops import cuda
from recon.ops.antialias import antialias, silhouettes
from recon.ops.raster import Fragments, rasterize, reference
from recon.types import Camera

PRETENDED = pytest.mark.skipif(os.environ.get("RECON_TEST_DEVICE") == "cuda", reason="needs the executor")


def _camera(width: int, height: int) -> Camera:
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = -3.0
    return Camera(width, height, torch.tensor([1.1 * width, 1.2 * width, width / 2 + 0.3, height / 2]), pose)


def _soup(n: int, spread: float = 0.5) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(n)
    vertices = torch.randn(n, 3, generator=g) * spread
    return vertices, torch.randint(0, n, (2 * n, 3), generator=g, dtype=torch.int32)


def _square() -> tuple[Tensor, Tensor]:
    """Two faces that share a diagonal through pixel centres, and both once more: every pixel sees a tie."""
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    return vertices, faces.repeat(2, 1)


def _broken() -> tuple[Tensor, Tensor]:
    """Faces without area, behind the camera, far outside, and of numbers that are none."""
    vertices, faces = _soup(40, 2.0)
    vertices[0], vertices[1], vertices[2] = float("nan"), float("inf"), -1e30
    faces[5] = faces[5, 0]
    return vertices, faces


CASES = [(*_soup(3), 1, 1), (*_soup(20), 7, 9), (*_soup(50), 37, 29), (*_soup(60, 0.2), 33, 31),
         (*_soup(12, 0.8), 40, 30), (*_square(), 32, 32), (*_broken(), 21, 17), (_soup(5)[0], _soup(5)[1][:0], 6, 5)]


def _same(a: Fragments, b: Fragments) -> bool:
    return all(torch.equal(x, y) for x, y in ((a.face, b.face), (a.depth, b.depth), (a.shares, b.shares)))


@pytest.mark.parametrize("case", range(len(CASES)))
def test_fragments_are_those_of_the_cpu(executor: ModuleType, monkeypatch: pytest.MonkeyPatch, case: int) -> None:
    vertices, faces, width, height = CASES[case]
    at = _camera(width, height)
    cpu = rasterize(vertices, faces, at)
    monkeypatch.setattr(cuda, "kernels_for", lambda t: executor)
    for order in (0, 1, 5):
        executor.set_order(order)
        assert _same(rasterize(vertices, faces, at), cpu)
    if case in (1, 2, 3, 4):
        face, depth = reference(vertices, faces, at)
        assert torch.equal(cpu.face.long(), face)
        torch.testing.assert_close(cpu.depth.double(), depth, atol=1e-5, rtol=0)
        assert float((face >= 0).float().mean()) > 0.01
    if case == 5:
        assert set(cpu.face.unique().tolist()) == {-1, 0, 1}


@PRETENDED
@pytest.mark.usefixtures("gpu")
def test_silhouettes_work_on_a_gpu() -> None:
    vertices, faces = _soup(30)
    at = _camera(37, 29)

    def picture(v: Tensor, f: Tensor) -> Tensor:
        fragments = rasterize(v, f, at)
        shown = torch.cat([fragments.interpolate(v, f), fragments.depth[..., None]], dim=-1)
        return antialias(shown, silhouettes(fragments.face, fragments.depth, at.project(v)[0][f.long()]))

    leaf = vertices.clone().requires_grad_()
    cpu = picture(leaf, faces)
    (g_cpu,) = torch.autograd.grad(cpu.square().sum(), leaf)
    with pretended_gpu():
        there = vertices.to(CUDA).requires_grad_()
        ours = picture(there, faces.to(CUDA))
        assert isinstance(ours, Pretended)
        (g_ours,) = torch.autograd.grad(ours.square().sum(), there)
        assert torch.equal(ours.detach().cpu(), cpu.detach())
        torch.testing.assert_close(g_ours.cpu(), g_cpu)
    assert float(g_cpu.abs().sum()) > 0


@PRETENDED
@pytest.mark.usefixtures("gpu")
def test_wrong_arguments_are_refused(executor: ModuleType) -> None:
    vertices, faces = _soup(5)
    lens, depth, shares = (1.0,) * 4, torch.zeros(2, 3), torch.zeros(2, 3, 2)
    face = torch.zeros(2, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match="scratch"):
        executor.rasterize(vertices, faces, lens, 0.0, face, depth, shares, torch.zeros(8, dtype=torch.uint8), 0)
    with pytest.raises(ValueError, match="shares"):
        executor.rasterize(vertices, faces, lens, 0.0, face, depth, depth, torch.zeros(8, dtype=torch.uint8), 0)
    with pretended_gpu(), pytest.raises(ValueError, match="faces must be where vertices are"):
        rasterize(vertices.to(CUDA), faces, _camera(4, 4))
