"""Points by plane sweeps, against a surface that is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from recon.fields.parts.plane_sweep import swept
from recon.fields.parts.swept_points import with_swept_points
from recon.types import Camera, Capture, Photo, PointCloud, View

NORMAL = torch.nn.functional.normalize(torch.tensor([0.2, -0.1, 1.0], dtype=torch.float64), dim=0)
WIDTH, HEIGHT = 96, 72


@dataclass(frozen=True)
class Painted:
    """Photos of the plane x . NORMAL = 0, painted with waves of many lengths; ``shade`` times their contrast."""

    shade: float = 1.0
    mask: Tensor | None = None
    alpha: Tensor | None = None

    def read(self, camera: Camera) -> Photo:
        x, y = (torch.arange(n, dtype=torch.float64) + 0.5 for n in camera.size)
        origin, direction = camera.rays(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1))
        at = origin - direction * ((origin @ NORMAL) / (direction @ NORMAL))[..., None]
        generator = torch.Generator().manual_seed(0)
        waves = torch.randn(40, 3, generator=generator, dtype=torch.float64) * 9
        phase = torch.rand(40, generator=generator, dtype=torch.float64) * 6.28
        value = (at @ waves.T + phase).sin().sum(-1) / 40**0.5 * 0.25 * self.shade + 0.5
        rgb = (value.clamp(0, 1) * 255).round().to(torch.uint8)[None].repeat(3, 1, 1)
        return Photo(rgb, alpha=self.alpha, mask=self.mask)


def capture(source: Painted | None = None, count: int = 6) -> Capture:
    views = []
    for i in range(count):
        eye = torch.tensor([0.5 * (i - 2.5), 0.15 * (i % 2), 3.0], dtype=torch.float64)
        forward = -eye / eye.norm()
        right = torch.nn.functional.normalize(
            torch.linalg.cross(forward, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)), dim=0)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, torch.linalg.cross(forward, right), forward, eye
        camera = Camera(WIDTH, HEIGHT, torch.tensor([90.0, 90.0, WIDTH / 2, HEIGHT / 2]), pose)
        views.append(View(f"{i}.png", camera, source or Painted()))
    return Capture("painted", Path("painted"), "memory", tuple(views))


def test_points_lie_on_the_painted_plane_in_its_colours() -> None:
    found = with_swept_points(capture()).points
    assert found is not None
    assert len(found) > 5_000
    away = (found.positions @ NORMAL).abs() / 3.0  # of the distance of the cameras
    assert float(away.median()) < 0.004
    assert float(torch.quantile(away, 0.98)) < 0.03
    camera = capture().views[2].camera
    pixel, _ = camera.project(found.positions)
    inside = ((pixel >= 0) & (pixel < torch.tensor([WIDTH, HEIGHT]))).all(1)
    x, y = pixel[inside].long().unbind(-1)
    seen = Painted().read(camera).rgb[:, y, x].T
    assert float((seen.float() - found.colours[inside].float()).abs().median()) < 12


def test_the_same_points_on_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(swept(capture().views, 1.0, 9.0))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_held_out_views_take_no_part() -> None:
    whole = capture()
    views = tuple(replace(v, split="test" if i == 2 else "train") for i, v in enumerate(whole.views))
    blank = tuple(replace(v, source=Painted(shade=0.0)) if v.split == "test" else v for v in views)
    a, b = (with_swept_points(replace(whole, views=v)).points for v in (views, blank))
    assert a is not None
    assert b is not None
    assert torch.equal(a.positions, b.positions)


def test_nothing_is_found_where_a_mask_says_so() -> None:
    mask = torch.full((HEIGHT, WIDTH), 255, dtype=torch.uint8)
    mask[:, : WIDTH // 2] = 0
    source = Painted(mask=mask)
    masked, _ = swept(capture(source).views, 1.0, 9.0, masked=True)
    every, _ = swept(capture(source).views, 1.0, 9.0)
    assert 1_000 < len(masked) < 0.6 * len(every)


@pytest.mark.parametrize("change", ["alpha", "object", "points", "few views", "no texture"])
def test_a_capture_stays_as_it_is(change: str) -> None:
    given, masks = capture(), None
    if change == "alpha":
        given = replace(given, has_alpha=True)
    elif change == "object":
        masks = "object"
    elif change == "points":
        own = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        given = replace(given, points=PointCloud(own, torch.zeros(100, 3, dtype=torch.uint8)))
    elif change == "few views":
        given = capture(count=2)
    else:
        given = capture(Painted(shade=0.0))
    assert with_swept_points(given, masks) is given


def test_cameras_side_by_side_that_look_the_same_way() -> None:
    """Their axes meet nowhere: what is searched follows from what lies between the cameras."""
    given = capture()
    views = []
    for i, view in enumerate(given.views):
        pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
        pose[:3, 3] = torch.tensor([0.3 * (i - 2.5), 0.01 * (i % 2), 3.0])
        views.append(replace(view, camera=replace(view.camera, world_from_camera=pose)))
    found = with_swept_points(replace(given, views=tuple(views))).points
    assert found is not None
    assert float((found.positions @ NORMAL).abs().median()) < 0.012


def test_surfaces_get_many_finer_points_beside_their_own() -> None:
    given = capture()
    across = torch.rand(150, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    own = torch.cat([across, (-(across @ NORMAL[:2]) / NORMAL[2])[:, None]], dim=1)
    given = replace(given, points=PointCloud(own, torch.zeros(150, 3, dtype=torch.uint8)), mask_meaning="object")
    found = with_swept_points(given, "object", surface=True).points
    assert found is not None
    assert torch.equal(found.positions[:150], own)
    away = (found.positions[150:] @ NORMAL).abs() / 3.0
    assert len(away) > 5_000
    assert float(torch.quantile(away, 0.98)) < 0.006
    rough = with_swept_points(capture()).points
    assert rough is not None
    assert float(away.median()) < 0.6 * float((rough.positions @ NORMAL).abs().median()) / 3.0


def test_nothing_is_found_where_a_photo_is_transparent() -> None:
    alpha = torch.full((HEIGHT, WIDTH), 255, dtype=torch.uint8)
    alpha[:, : WIDTH // 2] = 0
    given = replace(capture(Painted(alpha=alpha)), has_alpha=True)
    seen, _ = swept(given.views, 1.0, 9.0)
    every, _ = swept(capture().views, 1.0, 9.0)
    assert 1_000 < len(seen) < 0.6 * len(every)
