"""Surface alignment: zero for what it wants, and it makes a rough sheet of Gaussians flat."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from recon.losses.surface_alignment import SurfaceAlignment, alignment, rotations
from recon.params import Params


def test_one_flat_opaque_gaussian_is_what_it_wants() -> None:
    """Density on the normal axis of a flat Gaussian is exp(-t^2 / 2 s^2), which is the wanted one."""
    means = torch.tensor([[0.0, 0.0, 0.0]]).repeat(2, 1)
    means[1] += 1e3  # far away, does not count
    log_scales = torch.tensor([[1.0, 1.0, 0.01]]).log().repeat(2, 1)
    quaternions = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(2, 1)
    noise = torch.zeros(9, 3)
    noise[:, 2] = torch.linspace(-2, 2, 9)
    chosen = torch.zeros(9, dtype=torch.int64)
    density, normal = alignment(means, log_scales, quaternions, torch.ones(2), chosen, noise, 2)
    assert float(density) < 1e-6
    assert float(normal) < 1e-5


def test_rotations_are_those_of_quaternions() -> None:
    q = torch.tensor([[math.cos(0.3), 0.0, 0.0, math.sin(0.3)]]) * 2.5
    torch.testing.assert_close(rotations(q)[0] @ torch.tensor([1.0, 0.0, 0.0]),
                               torch.tensor([math.cos(0.6), math.sin(0.6), 0.0]))
    r = rotations(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(r @ r.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)


def test_derivatives() -> None:
    generator = torch.Generator().manual_seed(1)
    n = 30
    means = torch.randn(n, 3, generator=generator)
    parts = [torch.randn(n, 3, generator=generator) * 0.2 - 0.5, torch.randn(n, 4, generator=generator),
             torch.rand(n, generator=generator) * 0.8 + 0.1]
    chosen, noise = torch.randint(n, (40,), generator=generator), torch.randn(40, 3, generator=generator)
    # samples and normal weights are constants of a step, so only the opacities have a plain derivative
    parts[2].requires_grad_()
    density, _ = alignment(means, *parts, chosen, noise, 8)
    (slope,) = torch.autograd.grad(density, parts[2])
    h = 1e-2
    for i in range(0, n, 7):
        with torch.no_grad():
            moved = [parts[2].clone() for _ in range(2)]
            moved[0][i] += h
            moved[1][i] -= h
            up, down = (alignment(means, parts[0], parts[1], m, chosen, noise, 8)[0] for m in moved)
        assert abs(float((up - down) / (2 * h)) - float(slope[i])) < 2e-3


def test_a_rough_sheet_gets_flat() -> None:
    """400 Gaussians on a plane with normals 20 degrees off: the normals turn to it and the Gaussians get thin."""
    generator = torch.Generator().manual_seed(0)
    side = 20
    grid = torch.linspace(-1, 1, side)
    x, y = torch.meshgrid(grid, grid, indexing="ij")
    means = torch.stack([x.reshape(-1), y.reshape(-1), torch.zeros(side * side)], dim=1)
    means += 0.01 * torch.randn(means.shape, generator=generator)
    tilt = math.radians(20) / math.sqrt(2) * torch.randn(side * side, 2, generator=generator) / 2
    quaternions = torch.cat([torch.ones(side * side, 1), tilt, torch.zeros(side * side, 1)], dim=1)
    log_scales = torch.tensor([0.08, 0.08, 0.03]).log().repeat(side * side, 1)
    params = Params({"means": means, "log_scales": log_scales, "quaternions": quaternions,
                     "logits": torch.full((side * side,), 2.0)})
    field = SimpleNamespace(params=params)

    def off() -> float:
        normal = rotations(field.params["quaternions"].detach())[:, :, 2]
        return math.degrees(float(normal[:, 2].abs().clamp(max=1).arccos().mean()))

    before = off(), float(field.params["log_scales"][:, 2].detach().exp().mean())
    loss = SurfaceAlignment(begin=0.0, every=1, samples=1500)
    learned = [field.params[n].requires_grad_() for n in ("log_scales", "quaternions")]
    adam = torch.optim.Adam(learned, lr=5e-3)
    for step in range(150):
        adam.zero_grad()
        loss.of_field_at(field, step, 150, 0).backward()
        adam.step()
    after = off(), float(field.params["log_scales"][:, 2].detach().exp().mean())
    assert before[0] > 10
    assert after[0] < 5, (before, after)
    assert after[1] < before[1], (before, after)


def test_it_waits_for_its_time() -> None:
    field = SimpleNamespace(params=Params({"means": torch.randn(40, 3), "log_scales": torch.zeros(40, 3),
                                           "quaternions": torch.randn(40, 4), "logits": torch.zeros(40)}))
    loss = SurfaceAlignment(begin=0.5, every=5, samples=100)
    assert float(loss.of_field_at(field, 49, 100, 0)) == 0
    assert float(loss.of_field_at(field, 51, 100, 0)) == 0
    first = loss.of_field_at(field, 55, 100, 0)
    assert float(first.detach()) > 0
    assert torch.equal(first, loss.of_field_at(field, 55, 100, 0))
    assert not torch.equal(first, loss.of_field_at(field, 60, 100, 0))
