"""Space before the nearest points of a camera is free; beside its picture, behind it and near points it is not."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_capture import camera_at, tiny_capture

from recon.fields.distance_grid import DistanceGridSettings
from recon.fields.parts.free_space import before_points
from recon.fields.parts.region import around, without_free_space
from recon.types import Capture, PointCloud, Volume
from recon.types.volume import unit_from_world


def _one_camera(points: int) -> Capture:
    """A camera at (2, 0, 0.5) and points around the origin, at depths from about 1.9 to 2.3."""
    generator = torch.Generator().manual_seed(0)
    positions = (torch.rand(points, 3, generator=generator) - 0.5) * 0.2
    cloud = PointCloud(positions.double(), torch.zeros(points, 3, dtype=torch.uint8))
    capture = tiny_capture()
    return replace(capture, views=(replace(capture.train[0], camera=camera_at(0.0)),), points=cloud)


def test_only_what_lies_before_all_points_of_a_picture_is_free() -> None:
    capture = _one_camera(500)
    camera = capture.views[0].camera
    depths = torch.tensor([0.1, 1.0, 1.5, 1.75, 2.0, 3.0, -0.5], dtype=torch.float64)
    along = camera.centre.double() + depths[:, None] * camera.forward.double()
    small = torch.full((len(along),), 1e-3, dtype=torch.float64)
    assert before_points(capture, along, small).tolist() == [True, True, True, False, False, False, False]
    assert not bool(before_points(capture, along, small + 2).any()), "balls count as a whole"
    right = camera.world_from_camera[:3, 0].double()
    beside = camera.centre.double() + camera.forward.double() + torch.stack([0.4 * right, 0.5 * right])
    assert before_points(capture, beside, small[:2]).tolist() == [True, False]  # the picture ends at 24 / 55


def test_few_points_tell_nothing() -> None:
    capture = _one_camera(40)
    at = capture.centres + 0.5 * capture.views[0].camera.forward
    assert not bool(before_points(capture, at.double(), torch.zeros(1, dtype=torch.float64)).any())
    assert not bool(before_points(replace(capture, points=None), at.double(), torch.zeros(1).double()).any())


def test_a_region_keeps_the_cells_of_all_points() -> None:
    generator = torch.Generator().manual_seed(1)
    positions = (torch.rand(2000, 3, generator=generator, dtype=torch.float64) - 0.5) * 1.2
    capture = replace(tiny_capture(), points=PointCloud(positions, torch.zeros(2000, 3, dtype=torch.uint8)))
    region = without_free_space(capture, around(capture, 24, 0.5))
    volume = Volume(region.low, region.high, region.margin, region.occupied, 1.0, 1.0, 0.0)
    cell = (unit_from_world(volume, positions.float()) * torch.tensor(region.occupied.shape)).long()
    assert bool(region.occupied[tuple(cell.T)].all())
    assert 0.5 < float(region.occupied.float().mean()) < 1.0


def test_a_surface_starts_from_its_points_not_from_free_space() -> None:
    """A grid of distances takes empty cells for the outside of an object's outlines."""
    generator = torch.Generator().manual_seed(1)
    positions = (torch.rand(2000, 3, generator=generator, dtype=torch.float64) - 0.5) * 1.2
    capture = replace(tiny_capture(), points=PointCloud(positions, torch.zeros(2000, 3, dtype=torch.uint8)))
    field = DistanceGridSettings(voxels=20_000, start=1_000.0, margin=0.5).build()
    assert bool(field.find_region(capture, 24).occupied.all())
