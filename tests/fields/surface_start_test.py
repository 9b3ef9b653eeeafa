"""A first surface from points that cameras see, and from cells of a hull."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from tiny_capture import camera_at, tiny_capture

from recon.fields.distance_grid import DistanceGridField, DistanceGridSettings
from recon.fields.parts.surface_start import PointStart, distance_from_cells
from recon.losses.surface_points import SurfacePoints
from recon.types import Capture, PointCloud


def ball_of_points(count: int = 3000, radius: float = 0.6) -> torch.Tensor:
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return radius * torch.nn.functional.normalize(x, dim=1)


def capture_of(points: torch.Tensor) -> Capture:
    tiny = tiny_capture()
    views = tuple(replace(tiny.views[0], name=str(i), split="train", camera=camera_at(2 * math.pi * i / 16, height=h))
                  for h in (-1.2, 0.3, 1.5) for i in range(16))
    cloud = PointCloud(points, torch.zeros(len(points), 3, dtype=torch.uint8))
    return replace(tiny, views=views, points=cloud)


def test_points_seen_from_around_give_the_distance_of_a_ball() -> None:
    points = ball_of_points()
    start = PointStart(capture_of(points), points)
    generator = torch.Generator().manual_seed(1)
    x = torch.nn.functional.normalize(torch.randn(2000, 3, generator=generator), dim=1)
    x = x * (0.2 + 0.8 * torch.rand(2000, 1, generator=generator))
    x = x[x[:, 2] > -0.5]  # no camera looks at what is below
    true, found = x.norm(dim=1) - 0.6, start.distance(x)
    clear = true.abs() > 0.12
    assert float((found.sign() == true.sign())[clear].float().mean()) > 0.98
    near = true.abs() < 0.1
    assert float((found - true)[near].abs().mean()) < 0.05  # about the radius of a disc
    # where nothing is known, nothing is
    away = torch.tensor([[40.0, 0.0, 30.0]])
    assert float(start.distance(away)) > 0


def test_cells_give_the_distance_to_their_border() -> None:
    axis = (torch.arange(40) + 0.5) / 40 * 2 - 1
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    inside = (x * x + y * y + z * z).sqrt() < 0.7
    at = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 0.5
    found = distance_from_cells(inside, torch.tensor([-1.0] * 3), torch.tensor([1.0] * 3), at)
    assert float((found - (at.norm(dim=1) - 0.7)).abs().max()) < 2 * 0.05 * 3**0.5


def test_a_field_starts_at_the_points_and_is_held_there() -> None:
    points = ball_of_points()
    capture = capture_of(points)
    field = DistanceGridSettings(voxels=40_000, log2_slots=8).build()
    field.attach(capture)
    field.initialise(capture, 0)
    with torch.no_grad():
        at_points = field.distance(points.float())
        assert float(at_points.abs().mean()) < 0.06
        assert float(field.distance(torch.zeros(1, 3))) < -0.1
        corner = torch.tensor([field.region.high]) * 0.98
        assert float(field.distance(corner)) > 0.1
    loss = SurfacePoints()
    before = loss.of_points(field, torch.Generator().manual_seed(0))
    before.backward()
    grad = field.params["distance"].grad
    assert grad is not None
    with torch.no_grad():
        field.params["distance"] -= 1e-2 * grad.sign()
    assert float(loss.of_points(field, torch.Generator().manual_seed(0)).detach()) < float(before.detach())


def test_without_points_there_is_nothing_to_hold() -> None:
    field = DistanceGridField(DistanceGridSettings())
    assert float(SurfacePoints().of_points(field, torch.Generator())) == 0.0
    assert float(SurfacePoints().of_points(object(), torch.Generator())) == 0.0
