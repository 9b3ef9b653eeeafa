"""Surfaces drawn as volumes: where weights lie, what they add up to, and their derivatives, on a plane."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from recon.losses.curvature import Curvature
from recon.losses.eikonal import Eikonal
from recon.ops.chosen import Counted
from recon.ops.march import distances
from recon.renderers.surface import SurfaceRenderer
from recon.types import Camera, Observation, Rays, Volume

DEPTH = 2.3


@dataclass
class Plane:
    """Solid beyond z = ``at``, in the box 0..4; red."""

    at: Tensor
    width: float
    step: float = 0.01
    turn: float = 1.0
    voxel: float = 0.05
    extent: float = 4.0
    margin: float = 0.0

    def volume(self) -> Volume:
        cells = distances(torch.ones(4, 4, 4, dtype=torch.bool))
        return Volume((-2.0, -2.0, 0.0), (2.0, 2.0, 4.0), self.margin, cells, self.step, 1.0, 0.0)

    def inner(self, u: Tensor) -> Tensor:
        return torch.ones(len(u), dtype=torch.bool)

    def signed_distance(self, u: Tensor) -> tuple[Tensor, Tensor]:
        down = torch.tensor([0.0, 0.0, -1.0]).expand(len(u), 3)
        return self.at - u[:, 2] * 4, down

    def outer_density(self, distance: Tensor) -> Tensor:
        return distance

    def radiance(self, u: Tensor, footprint: Tensor, direction: Tensor, ray: Tensor, more: Tensor | None) -> Tensor:
        assert more is not None
        torch.testing.assert_close(more, torch.tensor([0.0, 0.0, -1.0]).expand(len(u), 3))
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(u), 3).contiguous()


def rays(count: int = 1) -> Rays:
    forward = torch.tensor([[0.0, 0.0, 1.0]]).repeat(count, 1)
    return Rays(torch.zeros(count, 3), forward, torch.full((count,), 1e-3), (count, 1), seed=3)


def profile(law: str, width: float, step: float) -> tuple[Tensor, Tensor]:
    """Distances behind the plane, and weights, of samples along a ray from the front."""
    field = Plane(torch.tensor(DEPTH), width, step)
    renderer = SurfaceRenderer(law=law)  # type: ignore[arg-type]
    z = torch.arange(step / 2, 4, step)
    u = torch.stack([torch.full_like(z, 0.5), torch.full_like(z, 0.5), z / 4], dim=1)
    raw, _ = renderer._raw(field, u, torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(len(z), dtype=torch.int32))
    depth = torch.nn.functional.softplus(raw.double())
    weight = torch.exp(-(depth.cumsum(0) - depth)) * -torch.expm1(-depth)
    return z.double() - DEPTH, weight


@pytest.mark.parametrize("s", [20, 64, 200])
def test_logistic_weights_peak_at_the_surface(s: int) -> None:
    z, w = profile("logistic", 1 / s, 0.004)
    assert abs(float(z[w.argmax()])) <= 0.004
    assert bool((w[1:int(w.argmax())] >= w[:int(w.argmax()) - 1] - 1e-9).all())
    assert float(w.sum()) == pytest.approx(1, abs=1e-3)
    assert abs(float((w * z).sum())) < 0.1 / s


@pytest.mark.parametrize("b", [0.01, 0.03, 0.1])
def test_laplace_weights_peak_a_quarter_width_behind(b: float) -> None:
    z, w = profile("laplace", b, b / 25)
    assert 0.2 * b < float(z[w.argmax()]) < 0.32 * b
    assert float(w.sum()) == pytest.approx(1, abs=1e-3)


def test_laplace_density_far_from_the_surface() -> None:
    renderer, b = SurfaceRenderer(law="laplace"), 0.05
    field = Plane(torch.tensor(2.0), b, step=0.01)
    z = torch.tensor([2 + 10 * b, 2.0, 2 - 10 * b])
    u = torch.stack([torch.full_like(z, 0.5), torch.full_like(z, 0.5), z / 4], dim=1)
    raw, _ = renderer._raw(field, u, torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(3, dtype=torch.int32))
    density = torch.nn.functional.softplus(raw) / 0.01
    torch.testing.assert_close(density[:2], torch.tensor([1 / b, 0.5 / b]), rtol=1e-3, atol=0)
    assert 0 < float(density[2]) < 1e-4 / b + 1e-3


def test_opacity_of_a_plane_in_closed_form() -> None:
    """Sections of a linear distance fit together, so that what comes through is Phi(end) / Phi(begin)."""
    width, step = 0.5, 0.1
    field = Plane(torch.tensor(DEPTH), width, step)
    want = ("rgb", "opacity", "depth", "normal")
    out = SurfaceRenderer(least_transmittance=0.0, least_weight=0.0).render_rays(field, rays(), want=want)
    offset = float(torch.rand(1, generator=torch.Generator().manual_seed(3)))
    first = 0.05 + offset * step
    count = math.ceil((4 - first) / step - 1e-6)

    def phi(z: float) -> float:
        return 1 / (1 + math.exp(-(DEPTH - z) / width))

    expected = 1 - phi(first + (count - 0.5) * step) / phi(first - 0.5 * step)
    assert out.opacity is not None
    assert out.normal is not None
    assert float(out.opacity) == pytest.approx(expected, abs=2e-4)
    assert float(out.rgb[0, 0, 0]) == pytest.approx(expected, abs=3e-4)
    torch.testing.assert_close(out.normal[0, 0], torch.tensor([0.0, 0.0, -1.0]))


@pytest.mark.parametrize("law", ["logistic", "laplace"])
def test_derivative_by_the_place_of_the_plane(law: str) -> None:
    def opacity(at: Tensor) -> Tensor:
        out = SurfaceRenderer(law=law, least_transmittance=0.0).render_rays(  # type: ignore[arg-type]
            Plane(at, 0.4, 0.05), rays(), background=torch.zeros(3), want=("rgb", "opacity"))
        assert out.opacity is not None
        return out.opacity.sum()

    at = torch.tensor(3.6, requires_grad=True)
    opacity(at).backward()
    with torch.no_grad():
        slope = (opacity(at + 0.02) - opacity(at - 0.02)) / 0.04
    assert at.grad is not None
    assert float(at.grad) == pytest.approx(float(slope), rel=0.02)


def test_depth_of_a_whole_picture_is_z_depth() -> None:
    pose = torch.eye(4, dtype=torch.float64)
    camera = Camera(9, 7, torch.tensor([8.0, 8.0, 4.5, 3.5]), pose)
    out = SurfaceRenderer(chunk=20).render(Plane(torch.tensor(DEPTH), 0.01, 0.005), camera, want=("rgb", "depth"))
    assert out.depth is not None
    assert out.depth.shape == (7, 9)
    torch.testing.assert_close(out.depth, torch.full((7, 9), DEPTH), atol=0.01, rtol=0)


def test_losses_read_the_trace() -> None:
    field = Plane(torch.tensor(DEPTH), 0.05, 0.02)
    want = {"rgb", *Eikonal().channels, *Curvature().channels}
    shown = SurfaceRenderer().render_rays(field, rays(4), want=want)
    seen = Observation(Camera(2, 2, torch.ones(4), torch.eye(4)), torch.zeros(3, 1, 4), None, torch.zeros(3), 0)
    assert float(Eikonal().value(shown, seen)) < 1e-10  # a plane's distance is exact
    assert float(Curvature().value(shown, seen)) < 1e-10
    (gradients,) = shown.trace.gradients
    shown.trace.gradients = (Counted(gradients.rows * 1.5),)
    assert float(Eikonal().value(shown, seen)) == pytest.approx(0.25, rel=1e-4)
    shown.trace.bends = Counted(shown.trace.bends.rows + torch.tensor([0.1, 0.0, 0.0]))
    assert float(Curvature().value(shown, seen)) == pytest.approx((0.1**2 + 0.01**2) ** 0.5 - 0.01, rel=1e-3)


def test_surfaces_bend_least_where_photos_are_overexposed() -> None:
    seen = Observation(Camera(2, 2, torch.ones(4), torch.eye(4)), torch.zeros(3, 1, 4), None, torch.zeros(3), 0)
    shown = SurfaceRenderer().render_rays(Plane(torch.tensor(DEPTH), 0.05, 0.02), rays(4), want=("rgb", "bend"))
    trace = shown.trace
    trace.bends = Counted(trace.bends.rows + (0.1 * (trace.bend_rays == 2)).float()[:, None])
    assert 0 < int((trace.bend_rays == 2).sum()) < len(trace.bend_rays)

    alpha: torch.Tensor | None = torch.full((1, 4), 255, dtype=torch.uint8)

    def value(of_ray_two: float, elsewhere: float) -> float:
        clipped = torch.full((1, 4), elsewhere)
        clipped[0, 2] = of_ray_two
        return float(Curvature(clipped=4.0).value(shown, replace(seen, clipped=clipped, alpha=alpha)))

    alike = float(Curvature().value(shown, seen))
    assert value(0.0, 1.0) == pytest.approx(alike, rel=1e-4), "no ray's overexposure counts for another"
    assert value(1.0, 0.0) == pytest.approx(4 * alike, rel=1e-4)
    assert value(0.25, 0.0) == pytest.approx(1.75 * alike, rel=1e-4)
    alpha = None
    assert value(1.0, 0.0) == pytest.approx(alike, rel=1e-4), "it may be the sky"
