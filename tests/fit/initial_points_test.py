"""Where a fit starts: the points of the capture, and far points where pictures show something but no point lies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_capture import tiny_capture

from recon.fields.parts.initial_points import initial_points
from recon.types import Capture


def far_points(capture: Capture) -> torch.Tensor:
    assert capture.points is not None
    points, colours = initial_points(capture, 0, seed=3)
    assert points.shape == colours.shape
    assert 0 <= float(colours.min()) <= float(colours.max()) <= 1
    torch.testing.assert_close(points[: len(capture.points)], capture.points.positions.float())
    return points[len(capture.points):].double()


def test_what_lies_behind_starts_outside_the_ring_of_cameras() -> None:
    capture = tiny_capture()
    added = far_points(capture)
    middle = capture.centres.mean(0)
    ring = float((capture.centres - middle).norm(dim=1).max())
    assert len(added) > 100
    assert float((added - middle).norm(dim=1).min()) > ring


def test_each_far_point_is_seen_by_the_photo_it_was_drawn_from() -> None:
    capture = tiny_capture()
    one = replace(capture, views=tuple(replace(v, split="train" if i == 0 else "test")
                                       for i, v in enumerate(capture.views)))
    added = far_points(one)
    camera = one.train[0].camera
    pixel, depth = camera.project(added)
    assert bool((depth > 0).all())
    assert bool(((pixel > -1e-3) & (pixel < torch.tensor(camera.size) + 1e-3)).all())


def test_cameras_side_by_side_see_far_points_behind_the_scene() -> None:
    """Four cameras that look the same way: the sphere around them ends long before the points."""
    capture = tiny_capture(holdout=0)
    first = capture.views[0]
    views = []
    for i in range(4):
        pose = first.camera.world_from_camera.clone()
        pose[:3, 3] += 0.05 * i * pose[:3, 0]
        views.append(replace(first, camera=replace(first.camera, world_from_camera=pose)))
    capture = replace(capture, views=tuple(views))
    _, depth = views[0].camera.project(far_points(capture))
    _, found = views[0].camera.project(capture.points.positions)  # type: ignore[union-attr]
    assert float(depth.min()) > float(torch.quantile(found, 0.9))


def test_same_seed_same_points() -> None:
    capture = tiny_capture()
    assert torch.equal(far_points(capture), far_points(capture))


@pytest.mark.parametrize("count", [1, 99])
def test_too_few_points_are_joined_by_random_ones(count: int) -> None:
    capture = tiny_capture()
    assert capture.points is not None
    few = replace(capture.points, positions=capture.points.positions[:count], colours=capture.points.colours[:count])
    points, _ = initial_points(replace(capture, points=few), 500, seed=0)
    assert len(points) == 500 + count
