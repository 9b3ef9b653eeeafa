"""Orbit and spiral: they look at the scene, upright, from where the photos were, and close on themselves."""

from __future__ import annotations

import math

import pytest
import torch

from recon.app import camera_paths
from recon.errors import InputError
from recon.types import Camera

CENTRE = torch.tensor([4.0, -2.0, 1.0], dtype=torch.float64)
UP = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)  # nothing special


def ring(start: float, stop: float, count: int, elevation: float = 0.4, radius: float = 3.0, jitter: float = 0.0
         ) -> list[Camera]:
    """Cameras on an arc about CENTRE that look at it, upright about UP; angles in radians."""
    generator = torch.Generator().manual_seed(0)
    a = torch.linalg.cross(UP, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    a = a / a.norm()
    b = torch.linalg.cross(UP, a)
    cameras = []
    for i in range(count):
        angle = start + (stop - start) * i / count
        level = math.cos(angle) * a + math.sin(angle) * b
        noise = jitter * torch.randn(3, generator=generator, dtype=torch.float64)
        eye = CENTRE + radius * (math.cos(elevation) * level + math.sin(elevation) * UP)
        pose = camera_paths.look_at(eye, CENTRE + noise, UP)
        cameras.append(Camera(60, 40, torch.tensor([50.0, 50.0, 30.0, 20.0]), pose))
    return cameras


def assert_upright_and_looking(path: list[Camera], up: torch.Tensor, target: torch.Tensor, tolerance: float) -> None:
    for camera in path:
        rotation = camera.world_from_camera[:3, :3]
        assert torch.allclose(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
        assert float(torch.linalg.det(rotation)) == pytest.approx(1.0)
        pixel, depth = camera.project(target[None])
        assert float(depth[0]) > 0
        middle = torch.tensor([camera.width / 2, camera.height / 2], dtype=torch.float64)
        assert float((pixel[0] - middle).norm()) < tolerance
        assert abs(float(rotation[:, 0] @ up)) < 1e-6, "the horizon is not level"
        assert float(-rotation[:, 1] @ up) > 0.3, "upside down"


@pytest.mark.parametrize("elevation", [0.0, 0.4, 1.0])
def test_an_orbit_of_a_full_ring_is_that_ring(elevation: float) -> None:
    cameras = ring(0, 2 * math.pi, 40, elevation)
    path = camera_paths.orbit(cameras, 24)
    assert len(path) == 24
    assert_upright_and_looking(path, UP, CENTRE, tolerance=1e-3)
    for camera in path:
        offset = camera.centre - CENTRE
        assert float(offset.norm()) == pytest.approx(3.0, rel=1e-6)
        assert float(offset @ UP) == pytest.approx(3.0 * math.sin(elevation), abs=1e-6)


def test_up_is_the_photos_up_even_when_all_look_down_from_one_side() -> None:
    cameras = ring(0.0, 2.0, 20, elevation=0.9)
    up = camera_paths.up_direction(cameras)
    mean = torch.stack([-c.world_from_camera[:3, 1] for c in cameras]).mean(0)
    assert float(up @ UP) > 1 - 1e-9
    assert float(up @ mean) > 0


def test_the_centre_is_found_although_some_photos_show_something_else() -> None:
    cameras = ring(0, 2 * math.pi, 40, jitter=0.02)
    elsewhere = [Camera(60, 40, c.intrinsics, camera_paths.look_at(c.centre, CENTRE + 2 * UP, UP)) for c in cameras[:8]]
    found = camera_paths.point_of_interest(cameras[8:] + elsewhere)
    assert float((found - CENTRE).norm()) < 0.1


def test_an_arc_is_not_left() -> None:
    cameras = ring(0.3, 1.5, 30)
    path = camera_paths.orbit(cameras, 60)
    assert_upright_and_looking(path, UP, CENTRE, tolerance=1e-2)
    centres = torch.stack([c.centre for c in cameras])
    for camera in path:
        assert float((centres - camera.centre).norm(dim=1).min()) < 0.4, "far from every photo"


@pytest.mark.parametrize("make", [camera_paths.orbit, camera_paths.spiral])
@pytest.mark.parametrize("cameras", [ring(0, 2 * math.pi, 30), ring(0, 1.0, 9)])
def test_paths_close_without_a_jump(make: object, cameras: list[Camera]) -> None:
    path = make(cameras, 48)  # type: ignore[operator]
    centres = torch.stack([c.centre for c in path])
    steps = (centres - centres.roll(1, 0)).norm(dim=1)
    assert float(steps.max()) < 6 * float(steps.median().clamp_min(0.02))


def test_parallel_cameras_look_ahead() -> None:
    eye = torch.eye(4, dtype=torch.float64)
    cameras = []
    for x in (0.0, 1.0, 2.0):
        pose = eye.clone()
        pose[0, 3] = x
        cameras.append(Camera(60, 40, torch.tensor([50.0, 50.0, 30.0, 20.0]), pose))
    point = camera_paths.point_of_interest(cameras)
    assert float(point[2]) > 0
    assert torch.isfinite(point).all()
    for camera in camera_paths.orbit(cameras, 8) + camera_paths.spiral(cameras, 8):
        assert torch.isfinite(camera.world_from_camera).all()
        assert float(camera.forward[2]) > 0


def test_one_camera_is_enough_and_none_is_an_input_error() -> None:
    for camera in camera_paths.orbit(ring(0, 1, 1), 4):
        assert torch.isfinite(camera.world_from_camera).all()
    with pytest.raises(InputError):
        camera_paths.orbit([], 4)


def test_another_shape_shows_more_never_less() -> None:
    cameras = ring(0, 6, 9)
    wide = camera_paths.usual_camera(cameras, (120, 40))
    assert wide.size == (120, 40)
    assert float(wide.intrinsics[1]) == pytest.approx(50.0)  # the height decides, so the vertical view is the same
    assert wide.intrinsics[2:].tolist() == [60.0, 20.0]


def test_a_bare_file_is_seen_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    points = CENTRE.float() + 1e-3 * torch.randn(500, 3, generator=generator)
    for camera in camera_paths.around_points(points, 6, (64, 48)):
        pixels, depth = camera.project(points.double())
        inside = (depth > 0) & (pixels >= 0).all(1) & (pixels[:, 0] < 64) & (pixels[:, 1] < 48)
        assert float(inside.double().mean()) > 0.85
