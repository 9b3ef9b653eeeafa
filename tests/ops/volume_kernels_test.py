"""nerfacc and tiny-cuda-nn in the place of our CUDA kernels of volumes, against the CPU kernels.

On the CPU nerfacc's own functions run ray by ray (its scans over packed rays need a GPU), and tiny-cuda-nn is replaced
by its documented rule for one level; with a GPU and the packages the same comparisons run on them.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from volume_stand_ins import TINY, nerfacc_on_cpu

from recon.ops import cuda, grid, grid_sum, march, mlp
from recon.ops.grid_cuda import GridKernels
from recon.ops.march_cuda import MarchKernels
from recon.ops.mlp_cuda import MlpKernels
from recon.ops.substitutes import Substitutes

PLACES = ["cpu", "gpu"]


def _kernels(place: str, *, tiny: bool = False) -> tuple[Any, str]:
    if place == "cpu":
        return Substitutes(None, nerfacc_on_cpu(), TINY if tiny else None), "cpu"
    if not torch.cuda.is_available():
        pytest.skip("no GPU for nerfacc's kernels")
    for name in ("nerfacc.csrc", *(["tinycudann"] if tiny else [])):
        pytest.importorskip(name, reason=f"{name} is not installed")
    return Substitutes(None, importlib.import_module("nerfacc"),
                       importlib.import_module("tinycudann") if tiny else None), "cuda"


def _close(mine: Tensor, true: Tensor, most: float = 2e-5) -> None:
    assert float((mine.cpu() - true).norm()) <= most * float(true.norm()) + 1e-6


def _random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", range(5))
def test_rays_are_blended_as_by_ours(place: str, number: int) -> None:
    module, on = _kernels(place)
    kernels, e = MarchKernels(module), list(march.examples())[number]
    raw, colour = e["raw"].clone().requires_grad_(), e["colour"].clone().requires_grad_()
    out = march.composite(raw, colour, e["t"], e["offsets"], e["index"], e["background"], delta=0.5, shift=-1.0)
    rays = len(e["offsets"]) - 1
    g_rgb, g_through, g_distortion = _random(1, rays, 3), _random(2, rays), _random(3, rays)
    ((out.rgb * g_rgb).sum() + (out.transmittance * g_through).sum() + (out.distortion * g_distortion).sum()).backward()
    given = [e[n].to(on) for n in ("raw", "t", "offsets", "colour", "index", "background")]
    found = [torch.full(s, float("nan"), device=on) for s in ((rays, 3), (rays,), (rays,), (rays,))]
    kernels.march_composite(*given, 0.5, -1.0, *found)
    for mine, true in zip(found, out):
        _close(mine, true.detach())
    gradients = [torch.full_like(given[0], float("nan")), torch.full_like(given[3], float("nan"))]
    kernels.march_composite_backward(*given, 0.5, -1.0, g_rgb.to(on), g_through.to(on), g_distortion.to(on), *gradients)
    for mine, leaf in zip(gradients, (raw, colour)):
        assert leaf.grad is not None
        _close(mine, leaf.grad, 1e-4)
    weight = torch.empty_like(given[0])
    kernels.march_weights(given[0], given[2], 0.5, -1.0, 1e-3, weight)
    _close(weight, march.weights(e["raw"], e["offsets"], delta=0.5, shift=-1.0, end=1e-3), 2e-3)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("margin", [0.0, 0.6])
def test_rays_find_the_samples_that_ours_find(place: str, margin: float) -> None:
    module, on = _kernels(place)
    kernels = MarchKernels(module)
    generator = torch.Generator().manual_seed(3)
    cells = march.distances(torch.rand(12, 10, 14, generator=generator) < 0.08)
    away = (cells == 0).to(torch.uint8).to(on)
    kernels.march_distances(away)
    assert torch.equal(away.cpu(), cells)
    origin = torch.randn(40, 3, generator=generator) * 1.5
    direction = torch.nn.functional.normalize(-origin + 0.5 * torch.randn(40, 3, generator=generator), dim=1)
    offset = torch.rand(40, generator=generator)
    box = torch.tensor([-1.0, -1.2, -0.9, 1.0, 1.0, 1.1, margin])
    ours = march.sample(origin, direction, offset, box, cells, near=0.05, far=20.0, step=0.04)
    assert len(ours.t) > 150
    position, t, offsets = kernels.march_sample(origin.to(on), direction.to(on), offset.to(on), box, cells.to(on),
                                                0.05, 20.0, 0.04)
    # A jump over empty cells is a whole number of steps, so a rounding at its end may add or drop a sample.
    counts, true = ((o[1:] - o[:-1]).cpu() for o in (offsets, ours.offsets))
    same = counts == true
    assert int((~same).sum()) <= 2
    mine, theirs = (torch.repeat_interleave(same, c.long()) for c in (counts, true))
    torch.testing.assert_close(t.cpu()[mine], ours.t[theirs], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(position.cpu()[mine], ours.position[theirs], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("tiny", [False, True], ids=["torch", "tinycudann"])
def test_hash_grids_are_those_of_ours(place: str, tiny: bool) -> None:
    module, on = _kernels(place, tiny=tiny)
    nodes, table = [4, 7, 19], _random(1, 3, 512, 2)
    inside = torch.rand(200, 3, generator=torch.Generator().manual_seed(2))
    u = torch.cat([inside, torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])])
    out, g, leaf = torch.empty(len(u), 6, device=on), _random(4, len(u), 6), table.clone().requires_grad_()
    kernels = GridKernels(module)
    kernels.grid_hash(table.to(on), nodes, u.to(on), out)
    true = grid.hash_grid(leaf, nodes, u)
    _close(out, true.detach())
    (true * g).sum().backward()
    assert leaf.grad is not None
    into = torch.ones_like(table, device=on)
    kernels.grid_hash_backward(nodes, u.to(on), g.to(on), into)
    _close(into, leaf.grad + 1)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["trilinear", "vector_matrix", "tri_vector", "sum"])
def test_lookups_are_those_of_ours(place: str, name: str) -> None:
    module, on = _kernels(place)
    kernels, u = GridKernels(module), torch.rand(50, 3, generator=torch.Generator().manual_seed(2))
    shapes = {"trilinear": [(4, 5, 6, 3)], "vector_matrix": [(3, 6, 6, 2), (3, 6, 2)], "tri_vector": [(3, 7, 4)],
              "sum": [(grid_sum.node_count([3, 5]),)]}[name]
    values = [_random(i, *s) for i, s in enumerate(shapes)]
    leaves, there = [v.clone().requires_grad_() for v in values], [v.to(on) for v in values]
    into = [torch.ones_like(v) for v in there]
    if name == "sum":
        true = torch.cat([t.view(50, -1) for t in grid_sum.grid_sum(*leaves, [3, 5], u)], dim=1)
        value, gradient = torch.empty(50, device=on), torch.empty(50, 3, device=on)
        kernels.grid_sum(*there, [3, 5], u.to(on), value, gradient)
        out, g = torch.cat([value[:, None], gradient], dim=1), _random(9, 50, 4)
        kernels.grid_sum_backward([3, 5], u.to(on), g[:, 0].contiguous().to(on), g[:, 1:].contiguous().to(on), *into)
    else:
        true = getattr(grid, name)(*leaves, u)
        out, g = torch.empty(true.shape, device=on), _random(9, *true.shape)
        getattr(kernels, f"grid_{name}")(*there, u.to(on), out)
        given = [] if name == "trilinear" else there
        getattr(kernels, f"grid_{name}_backward")(*given, u.to(on), g.to(on), *into)
    _close(out, true.detach())
    (true * g).sum().backward()
    for mine, leaf in zip(into, leaves):
        assert leaf.grad is not None
        _close(mine, leaf.grad + 1)


@pytest.mark.parametrize("place", PLACES)
def test_networks_are_those_of_ours(place: str) -> None:
    module, on = _kernels(place)
    sizes = [7, 8, 3]
    parameters, x = mlp.initial(sizes, torch.Generator().manual_seed(1)), _random(2, 30, 4)
    shared, row = _random(3, 5, 3), torch.arange(30, dtype=torch.int32) % 5
    leaves = parameters.clone().requires_grad_(), x.clone().requires_grad_()
    true = mlp.mlp(leaves[0], sizes, leaves[1], shared, row, squash=True)
    g = _random(4, 30, 3)
    (true * g).sum().backward()
    kernels, out = MlpKernels(module), torch.empty(30, 3, device=on)
    given = sizes, parameters.to(on), x.to(on), shared.to(on), row.to(on), True
    kernels.mlp_forward(*given, out)
    _close(out, true.detach())
    into, g_x = torch.ones_like(given[1]), torch.full_like(given[2], float("nan"))
    kernels.mlp_backward(*given, g.to(on), g_x, into)
    assert leaves[0].grad is not None
    assert leaves[1].grad is not None
    _close(into, leaves[0].grad + 1)
    _close(g_x, leaves[1].grad)


def test_back_ends_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "module", lambda: None)
    monkeypatch.setattr(cuda, "_installed", lambda name: True)
    assert cuda.backends() == ("gsplat", "nerfacc", "tinycudann")
    monkeypatch.setenv("RECON_CUDA_BACKEND", "nerfacc, tinycudann")
    assert cuda.backends() == ("nerfacc", "tinycudann")
    monkeypatch.setenv("RECON_CUDA_BACKEND", "tinycudann")
    assert cuda.backends() == ()
    monkeypatch.setattr(cuda, "module", lambda: SimpleNamespace())
    monkeypatch.delenv("RECON_CUDA_BACKEND")
    assert cuda.backends() == ("recon",)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(cuda.CudaMissing, match="install nerfacc"):
        MarchKernels(Substitutes()).march_distances(torch.zeros(2, 2, 2, dtype=torch.uint8))
    with pytest.raises(cuda.CudaMissing, match="recon doctor"):
        _ = Substitutes().splat
    with pytest.raises(cuda.CudaMissing, match="Recon's own"):
        Substitutes(None, SimpleNamespace()).flexicubes_forward()
