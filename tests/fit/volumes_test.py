"""Volumes end to end on a tiny capture: regions, refinement, occupancy, random pixels, losses of batches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_capture import tiny_capture

from recon.errors import InputError
from recon.fields.dense_grid import DenseGridField, DenseGridSettings
from recon.fields.hash_grid import HashGridSettings
from recon.fields.local_tensors import LocalTensorSettings
from recon.fields.parts.volume_field import resampled
from recon.fields.pyramid import PyramidSettings
from recon.fields.vector_matrix import FactoredSettings
from recon.fit.loop import Fit
from recon.fit.photos import Observations
from recon.fit.system import System
from recon.losses.s3im import S3im, ssim_of_windows
from recon.losses.squared import SquaredError
from recon.losses.total_variation import TotalVariation
from recon.ops.grid import trilinear
from recon.ops.march import distances
from recon.ops.mlp import parameter_count
from recon.optim.touched_adam import TouchedAdamSettings
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.types import Camera, Observation, Render


def _observations() -> Observations:
    capture = tiny_capture()
    system = System(DenseGridSettings(), MarchRenderer(), TouchedAdamSettings())
    return Observations(capture.train, capture, system)


def test_random_pixels_see_what_their_views_see() -> None:
    observations = _observations()
    seen = RandomPixels(rays=256, views=3).draw(observations, step=5, seed=1, scale=1.0)
    again = RandomPixels(rays=256, views=3).draw(observations, step=5, seed=1, scale=1.0)
    assert seen.rays is not None
    assert again.rays is not None
    assert torch.equal(seen.target, again.target)
    assert torch.equal(seen.rays.direction, again.rays.direction)
    assert seen.target.shape == (3, 16, 16)
    matched = 0
    for i in range(len(observations)):  # every ray is a pixel of one of the views, with that pixel's colour
        whole = observations.get(i)
        pose = whole.camera.camera_from_world.float()
        mine = (seen.rays.origin - whole.camera.centre.float()).norm(dim=1) < 1e-5
        x = seen.rays.direction[mine] @ pose[:3, :3].T
        fx, fy, cx, cy = whole.camera.intrinsics.tolist()
        column = (x[:, 0] / x[:, 2] * fx + cx).floor().long()
        row = (x[:, 1] / x[:, 2] * fy + cy).floor().long()
        expected = whole.target[:, row, column].float() / 255
        matched += int((seen.target.reshape(3, -1)[:, mine] - expected).abs().amax(0).lt(1e-6).sum())
    assert matched == 256


def test_a_refined_grid_keeps_the_values_at_old_nodes() -> None:
    values = torch.randn(5, 4, 6, 3)
    fine = resampled(values, (9, 7, 11))
    torch.testing.assert_close(fine[::2, ::2, ::2], values, atol=1e-6, rtol=1e-6)


def test_post_activation_is_sharp() -> None:
    """One cell between raw -100 and +100, delta 0.5: opacity goes from 10 to 90 % within 3.0 % of it (15.1 % at 20)."""
    u = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:, None].repeat(1, 3)
    for raw, expected in ((100.0, 0.030), (20.0, 0.151)):
        values = torch.tensor([-raw, raw], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 2, 2, 1).contiguous()
        x = trilinear(values, u).squeeze(1)
        alpha = 1 - torch.exp(-0.5 * torch.nn.functional.softplus(x))
        width = float(((alpha > 0.1) & (alpha < 0.9)).double().mean())
        assert abs(width - expected) < 1.5e-3


def test_a_box_of_even_density_is_as_opaque_as_theory_says() -> None:
    field = DenseGridField(DenseGridSettings())
    field.voxels = field.most_voxels = 1000.0
    field.params["density"] = torch.full((*field.size, 1), 0.3)
    field.params["features"] = torch.zeros(*field.size, 12)
    field.params["decoder"] = torch.zeros(parameter_count(field.decoder_sizes))
    field.cells = distances(torch.ones(4, 4, 4, dtype=torch.bool))
    pose = torch.eye(4, dtype=torch.float64)
    pose[2, 3] = -3.0
    camera = Camera(1, 1, torch.tensor([100.0, 100.0, 0.5, 0.5]), pose)
    volume = field.volume()
    out = MarchRenderer(least_transmittance=0.0, least_weight=0.0).render(
        field, camera, background=torch.ones(3), want=("rgb", "opacity", "depth")
    )
    steps = round(2.0 / volume.step)
    expected = 1 - math.exp(-steps * volume.delta * math.log1p(math.exp(0.3)))
    assert out.opacity is not None
    assert out.depth is not None
    assert abs(float(out.opacity.detach()) - expected) < 1e-5
    assert float((out.rgb.detach() - (1 - 0.5 * expected)).abs().max()) < 1e-5  # zero network: sigmoid(0)
    assert 2.0 < float(out.depth) < 3.0


def test_too_many_voxels_are_refused_with_a_number_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Memory:
        available = 300_000

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    with pytest.raises(InputError, match="voxels") as error:
        DenseGridField(DenseGridSettings()).initialise(tiny_capture(), 0)
    fits = int(str(error.value.fix).split("--field.voxels ")[1])
    DenseGridField(DenseGridSettings(voxels=fits)).initialise(tiny_capture(), 0)


@pytest.mark.parametrize(
    "settings",
    [
        DenseGridSettings(),
        HashGridSettings(),
        FactoredSettings(),
        LocalTensorSettings(),
        PyramidSettings(DenseGridSettings()),
    ],
)
def test_the_memory_budget_is_kept_by_every_volume(settings: Any) -> None:
    field = settings.build()
    field.limit_memory(150_000)
    with pytest.raises(InputError, match=r"0\.00 GB are there") as error:
        field.initialise(tiny_capture(), 0)
    assert "--memory" in str(error.value.fix)


def test_a_loss_counts_from_its_beginning_on() -> None:
    system = System(
        field=DenseGridSettings(voxels=4096),
        renderer=MarchRenderer(),
        optimizer=TouchedAdamSettings(),
        losses={"s3im": S3im(begin=0.5), "colour": SquaredError()},
        sampler=RandomPixels(rays=256),
        steps=10,
    )
    without = replace(system, losses={"colour": SquaredError()})
    for step, counts in ((0, False), (4, False), (5, True)):
        found = []
        for each in (system, without):
            fit = Fit(tiny_capture(), each)
            fit.problem.step = step
            found.append(fit.problem.gradient())
        assert (found[0] > found[1] + 1e-3) if counts else found[0] == found[1]


def test_a_loss_counts_up_to_its_end() -> None:
    losses = {"colour": SquaredError(), "smoothness": TotalVariation(weight=1.0, until=0.5)}
    system = System(
        field=DenseGridSettings(voxels=4096),
        renderer=MarchRenderer(),
        optimizer=TouchedAdamSettings(),
        losses=losses,
        sampler=RandomPixels(rays=256),
        steps=10,
    )
    without = replace(system, losses={"colour": SquaredError()})
    for step, counts in ((0, True), (4, True), (5, False)):
        found = []
        for each in (system, without):
            fit = Fit(tiny_capture(), each)
            fit.field.params["density"] = torch.randn(
                fit.field.params["density"].shape, generator=torch.Generator().manual_seed(0)
            )
            fit.problem.step = step
            found.append(fit.problem.gradient())
        assert (found[0] > found[1] + 1e-3) if counts else found[0] == found[1]


def test_s3im_of_equal_pictures_is_zero_and_its_gradient_is_right() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 8, 8, generator=generator, dtype=torch.float64)
    camera = Camera(8, 8, torch.tensor([8.0, 8.0, 4.0, 4.0]), torch.eye(4))
    seen = Observation(camera, target, None, torch.zeros(3), 0)
    loss = S3im(repeats=3)
    assert abs(float(loss.value(Render(target.permute(1, 2, 0)), seen))) < 1e-12
    rgb = torch.rand(8, 8, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss.value(Render(x), seen), rgb)
    assert ssim_of_windows(torch.rand(3, 64, 640), torch.rand(3, 64, 640), 4).shape == (3, 16, 160)
