"""Scenes seen from one side: perspective coordinates, samples in layers, and a fit of boards at three depths."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_capture import MemoryPhoto, tiny_capture
from torch import Tensor

from recon.fields.dense_grid import DenseGridSettings
from recon.fields.hash_grid import HashGridSettings
from recon.fields.parts.forward_region import faces_forward, forward_region
from recon.fields.pyramid import PyramidSettings
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.losses.squared import SquaredError
from recon.ops.volume_rays import rays_of, sample_volume
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.occupancy import ShrinkOccupancy
from recon.strategies.refine import Refine
from recon.types import Camera, Capture, Photo, View
from recon.types.volume import unit_from_world, world_from_unit, world_gradient

SIZE = (48, 40)


def _turn(angle: float) -> Tensor:
    """World axes, so that nothing depends on cameras that look along z."""
    a = torch.tensor(angle, dtype=torch.float64)
    about_y = torch.tensor([[a.cos(), 0, a.sin()], [0, 1, 0], [-a.sin(), 0, a.cos()]], dtype=torch.float64)
    return about_y


def _camera(x: float, y: float, z: float = 0.0) -> Camera:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = _turn(0.7)
    pose[:3, 3] = _turn(0.7) @ torch.tensor([x, y, z], dtype=torch.float64)
    return Camera(*SIZE, torch.tensor([44.0, 44.0, SIZE[0] / 2, SIZE[1] / 2]), pose)


def _boards(camera: Camera) -> tuple[Tensor, Tensor]:
    """The truth, [3, height, width] in 0..1 and z-depth: discs at depth 1.7, a board at 4, a backdrop at 40."""
    y, x = torch.meshgrid(torch.arange(SIZE[1]), torch.arange(SIZE[0]), indexing="ij")
    origin, direction = camera.rays(torch.stack([x, y], dim=-1).reshape(-1, 2).double() + 0.5)
    o, d = origin.double() @ _turn(0.7), direction.double() @ _turn(0.7)
    rgb, depth = torch.zeros(len(d), 3, dtype=torch.float64), torch.zeros(len(d), dtype=torch.float64)
    for z in (40.0, 4.0, 1.7):
        t = (z - o[:, 2]) / d[:, 2]
        p = (o + t[:, None] * d)[:, :2]
        if z == 40.0:
            hit = torch.ones(len(p), dtype=torch.bool)
            colour = torch.stack([0.5 + 0.3 * (p[:, 0] * 0.3).sin(), 0.6 + 0.2 * (p[:, 1] * 0.35).cos(),
                                  torch.full_like(t, 0.8)], dim=1)
        elif z == 4.0:
            hit = (p[:, 0].abs() < 1.3) & (p[:, 1].abs() < 0.7)
            wave = 0.5 + 0.4 * (p[:, 0] * 3).sin() * (p[:, 1] * 4).cos()
            colour = torch.stack([wave, torch.full_like(t, 0.35), 1 - wave], dim=1)
        else:
            centres = torch.tensor([[-0.5, -0.3], [0.45, 0.3]], dtype=torch.float64)
            hit = ((p[:, None] - centres).norm(dim=2) < 0.18).any(1)
            colour = torch.stack([torch.full_like(t, 0.9), 0.6 + 0.3 * (p[:, 0] * 9).sin(), 0 * t], dim=1)
        rgb, depth = torch.where(hit[:, None], colour, rgb), torch.where(hit, torch.full_like(t, z), depth)
    return rgb.T.reshape(3, SIZE[1], SIZE[0]).float().contiguous(), depth.view(SIZE[1], SIZE[0]).float()


def _capture() -> Capture:
    views = []
    for i in range(20):
        camera = _camera(0.25 * (i % 5 - 2), 0.25 * (i // 5 - 1.5), 0.1 * (i % 3 - 1))
        rgb = (_boards(camera)[0] * 255).round().to(torch.uint8)
        views.append(View(f"{i:02d}.png", camera, MemoryPhoto(Photo(rgb)), "test" if i in (7, 13) else "train"))
    return Capture("boards", Path("boards"), "memory", tuple(views))


def test_only_scenes_seen_from_one_side_are_taken_for_that() -> None:
    assert faces_forward(_capture())
    assert not faces_forward(tiny_capture())


def test_perspective_coordinates_go_there_and_back_and_lines_stay_straight() -> None:
    region = forward_region(_capture(), 24, 16)
    seen = region.perspective
    assert seen is not None
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(200, 3, generator=generator, dtype=torch.float64) * torch.tensor([2.0, 2.0, 0.95]) - torch.tensor(
        [1.0, 1.0, 0.0])
    torch.testing.assert_close(seen.box_from_world(seen.world_from_box(p)), p, atol=1e-6, rtol=1e-6)
    origin, direction = _camera(0.3, -0.1, 0.2).rays(torch.rand(50, 2, generator=generator, dtype=torch.float64) * 40)
    origin, direction = origin.float(), direction.float()
    start, slope = seen.lines(origin, direction, 0.05)
    for s in (0.1, 0.5, 0.9):
        t = seen.distance(origin, direction, torch.full((50,), s))
        expected = start + (s - start[:, 2:]) * slope
        torch.testing.assert_close(seen.box_from_world(origin + t[:, None] * direction), expected, atol=2e-4, rtol=1e-4)
    behind = seen.box_from_world(origin - 30 * direction)
    assert bool((behind < -5).any(1).all())


def test_samples_lie_where_they_say_in_even_layers() -> None:
    field = DenseGridSettings(facing="auto", layers_of_depth=32).build()
    field.initialise(_capture(), 0)
    volume = field.volume()
    assert volume.perspective is not None
    for z in (0.0, 3.0):  # behind and in front of the near plane
        pixels = torch.rand(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 40
        origin, direction = _camera(0.1, 0.1, z).rays(pixels)
        origin, direction = origin.float(), direction.float()
        found = sample_volume(volume, origin, direction, torch.full((30,), 0.5), near=0.05, far=100.0)
        ray = rays_of(found.offsets, len(found.t)).long()
        x = origin[ray] + found.t[:, None] * direction[ray]
        torch.testing.assert_close(unit_from_world(volume, x), found.position, atol=5e-4, rtol=1e-3)
        assert float(found.t.min()) > 0
        gap = found.position[1:, 2] - found.position[:-1, 2]
        torch.testing.assert_close(gap[ray[1:] == ray[:-1]], torch.full_like(gap, volume.step)[ray[1:] == ray[:-1]],
                                   atol=1e-5, rtol=1e-3)
        assert int(torch.bincount(ray, minlength=30).min()) > 0
    away = sample_volume(volume, origin, -direction, torch.full((30,), 0.5), near=0.05, far=100.0)
    assert len(away.t) == 0


def test_gradients_turn_into_the_world() -> None:
    field = DenseGridSettings().build()
    field.initialise(_capture(), 0)
    volume = field.volume()
    u = 0.2 + 0.6 * torch.rand(40, 3, generator=torch.Generator().manual_seed(2))
    x = world_from_unit(volume, u)
    slopes = torch.randn(40, 3, generator=torch.Generator().manual_seed(3))
    h = 1e-4
    found = world_gradient(volume, x, slopes)
    for axis, step in enumerate(torch.eye(3, dtype=torch.float64) * h):
        change = (unit_from_world(volume, x.double() + step) - unit_from_world(volume, x.double() - step)) / (2 * h)
        torch.testing.assert_close(found[:, axis], (change * slopes).sum(1).float(), atol=1e-3, rtol=1e-3)


def _system(**settings: object) -> System:
    return System(
        DenseGridSettings(voxels=60_000, channels=8, layers=1, hidden=32, step=0.7, layers_of_depth=48,
                          **settings),  # type: ignore[arg-type]
        MarchRenderer(least_weight=1e-3),
        TouchedAdamSettings(rates={"density": Schedule(0.5, 0.05), "features": Schedule(0.2, 0.02),
                                   "decoder": Schedule(4e-3, 4e-4)}),
        losses={"colour": SquaredError()}, sampler=RandomPixels(rays=512), steps=200,
        strategies={"refine": Refine(), "occupancy": ShrinkOccupancy(every=50)})


def _fitted(**settings: object) -> Fit:
    fit = Fit(_capture(), _system(**settings), seed=0)
    while fit.step < 200:
        fit.advance()
    return fit


def test_boards_at_three_depths_are_fitted_better_in_layers_than_in_a_box() -> None:
    fit = _fitted()
    result = fit.evaluate()
    assert result.psnr > 25
    assert result.psnr > _fitted(facing="around").evaluate().psnr + 3
    camera = _capture().test[0].camera
    with torch.no_grad():
        out = fit.system.renderer.render(fit.field, camera, background=torch.zeros(3),
                                         want=("rgb", "depth", "normal", "opacity"))
    truth = _boards(camera)[1]
    assert out.depth is not None
    assert out.normal is not None
    seen = fit.field.region.perspective
    for z in (1.7, 4.0, 40.0):  # boards hardly have texture: within three of the layers that 20 small photos support
        found = float(out.depth[truth == z].median())
        assert abs(seen.near / found - seen.near / z) < 3 / fit.field.size[2]
    facing = -out.normal[truth == 1.7] @ camera.forward.float()
    assert float(facing.median()) > 0.4


@pytest.mark.parametrize("settings", [HashGridSettings(log2_slots=12), PyramidSettings(DenseGridSettings())])
def test_every_volume_lies_in_layers(settings: object) -> None:
    system = System(settings, MarchRenderer(), TouchedAdamSettings(rates={  # type: ignore[arg-type]
        name: Schedule(0.05, 0.01) for name in ("density", "features", "decoder", "table", "network")}),
        losses={"colour": SquaredError()}, sampler=RandomPixels(rays=256), steps=20, strategies={"refine": Refine()})
    fit = Fit(_capture(), system, seed=0)
    losses = [fit.advance()[0] for _ in range(20)]
    assert sum(losses[-4:]) < sum(losses[:4])
    again = settings.build()  # type: ignore[attr-defined]
    again.params.load_state(fit.field.params.state())
    again.load_state(fit.field.state())
    camera = _capture().test[0].camera
    with torch.no_grad():
        pictures = [MarchRenderer().render(f, camera, background=torch.zeros(3)).rgb for f in (fit.field, again)]
    assert torch.equal(*pictures)
