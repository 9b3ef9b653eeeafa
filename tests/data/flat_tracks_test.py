"""Windows of flat ground laid over other photos: against points whose places are known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recon.data.parts.flat_tracks import Tracks, Views, flat_tracks

SIZE, FOCAL = 160, 170.0
LENS = torch.tensor([FOCAL, FOCAL, SIZE / 2, SIZE / 2], dtype=torch.float64)


def _cam_from_world(height: float, azimuth: float) -> Tensor:
    """[3, 4] of a camera at distance 4 of the origin that looks at it; angles in degrees."""
    e, a = math.radians(height), math.radians(azimuth)
    centre = 4 * torch.tensor([math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)], dtype=torch.float64)
    z = -centre / 4
    x = torch.nn.functional.normalize(torch.linalg.cross(z, torch.tensor([0, 0, 1.0], dtype=torch.float64)), dim=0)
    R = torch.stack([x, torch.linalg.cross(z, x), z])
    return torch.cat([R, -(R @ centre)[:, None]], dim=1)


def _texture(xy: Tensor, seed: int) -> Tensor:
    """Grey 0..255 at places [..., 2]: waves of many lengths, none shorter than three pixels."""
    generator = torch.Generator().manual_seed(seed)
    angle, length, phase = (torch.rand(40, generator=generator, dtype=torch.float64) for _ in range(3))
    angle, length, phase = 2 * math.pi * angle, 0.12 + 0.5 * length, 2 * math.pi * phase
    k = 2 * math.pi / length * torch.stack([angle.cos(), angle.sin()])
    return 128 + 14 * torch.sin(xy @ k + phase).sum(-1).clamp(-8, 8)


def _on_ground(cam: Tensor, pixels: Tensor) -> Tensor:
    """Where rays through ``pixels`` [..., 2] meet the plane z = 0: [..., 3]."""
    ray = torch.cat([(pixels - LENS[2:]) / LENS[:2], torch.ones_like(pixels[..., :1])], dim=-1) @ cam[:, :3]
    centre = -(cam[:, :3].T @ cam[:, 3])
    return centre - ray * (centre[2] / ray[..., 2:])


def _picture(cam: Tensor, number: int) -> Tensor:
    """uint8: the same ground in all pictures where x < 0, another in each where x > 0."""
    fine = (torch.arange(3 * SIZE, dtype=torch.float64) + 0.5) / 3
    ground = _on_ground(cam, torch.stack(torch.meshgrid(fine, fine, indexing="xy"), dim=-1))[..., :2]
    grey = torch.where(ground[..., 0] < 0, _texture(ground, 0), _texture(ground, 1 + number))
    return grey.view(SIZE, 3, SIZE, 3).mean((1, 3)).round().to(torch.uint8)


def test_points_of_tilted_ground_are_found_exactly_and_what_does_not_match_is_left_out() -> None:
    cams = torch.stack([_cam_from_world(h, a) for h, a in ((75, 0), (60, 25), (50, -20), (40, 10), (30, 0), (35, 40))])
    views = Views([_picture(c, i) for i, c in enumerate(cams)], cams, LENS.expand(len(cams), 4))
    generator = torch.Generator().manual_seed(0)
    true = torch.zeros(80, 3, dtype=torch.float64)
    true[:, :2] = 1.6 * torch.rand(80, 2, generator=generator, dtype=torch.float64) - 0.8
    true = true[true[:, 0].abs() > 0.25]
    every = torch.meshgrid(torch.arange(len(true)), torch.arange(len(cams)), indexing="ij")
    point, view = (t.flatten() for t in every)
    exact, _ = views.project(true[point], view)
    slide = torch.zeros(len(point), 2, dtype=torch.float64)
    slide[:, 1] = torch.linspace(-0.6, 0.6, len(cams), dtype=torch.float64)[view]  # features slide as the camera sinks
    noise = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
    features = Tracks(point, view, exact + slide + 0.1 * noise)
    X = true + 0.003 * torch.randn(true.shape, generator=generator, dtype=torch.float64)

    found = flat_tracks(views, X, features)

    shown = true[:, 0] < 0
    assert bool(shown[found.point].all())  # nothing of the ground that differs
    assert len(found.point) > 0.7 * int(shown.sum()) * len(cams)
    # the home view keeps its feature: its point of the ground is what the others must show
    home, at = _homes(features, found)
    there = torch.stack([_on_ground(cams[k], xy) for k, xy in zip(home, at)])
    error = (found.xy - views.project(there[found.point], found.view)[0]).norm(dim=1)
    raw = (features.xy - views.project(there[features.point], features.view)[0]).norm(dim=1)[shown[features.point]]
    assert float(error[error > 1e-9].median()) < 0.05
    assert float(error.quantile(0.9)) < 0.1
    assert float(raw.median()) > 0.3


def test_nothing_is_found_in_empty_pictures() -> None:
    cams = torch.stack([_cam_from_world(60, a) for a in (0, 20, 40)])
    views = Views([torch.zeros(SIZE, SIZE, dtype=torch.uint8)] * 3, cams, LENS.expand(3, 4))
    X, point = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)
    features = Tracks(point, torch.arange(3), views.project(X[point], torch.arange(3))[0])
    assert len(flat_tracks(views, X, features).point) == 0


def _homes(features: Tracks, found: Tracks) -> tuple[list[int], list[Tensor]]:
    """For each point the view in which it stayed where the feature was; the first where it is not found."""
    given = {(int(p), int(v)): xy for p, v, xy in zip(features.point, features.view, features.xy)}
    count = int(features.point.max()) + 1
    home, at = [0] * count, [given[p, 0] for p in range(count)]
    for p, v, xy in zip(found.point.tolist(), found.view.tolist(), found.xy):
        if torch.equal(given[p, v], xy):
            home[p], at[p] = v, xy
    return home, at
