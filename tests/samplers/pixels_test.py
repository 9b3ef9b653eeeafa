"""What is drawn with random pixels: how much around them is overexposed, against its definition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_capture import MemoryPhoto, camera_at

from recon.configs import neus
from recon.fit.photos import Observations
from recon.losses.curvature import Curvature
from recon.samplers.pixels import RandomPixels, clipped, rays_of_cameras
from recon.types import Capture, Photo, View
from recon.types.distortion import PINHOLE, Lens


@pytest.mark.parametrize("whole", [True, False])
def test_overexposure_is_counted_around_a_pixel(whole: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    picture = torch.randint(252, 256, (3, 9, 11), generator=generator, dtype=torch.uint8)
    pixels = torch.arange(99)
    found = clipped(picture if whole else picture.float() / 255, pixels)
    padded = np.pad(picture.numpy(), ((0, 0), (2, 2), (2, 2)), mode="edge")
    for pixel in pixels.tolist():
        y, x = divmod(pixel, 11)
        around = padded[:, y:y + 5, x:x + 5].reshape(3, 25)
        assert float(found[pixel]) == pytest.approx((around >= 254).mean(), abs=1e-6)


@pytest.mark.parametrize("lens", [PINHOLE, Lens("OPENCV", (0.1, -0.05, 0.001, 0.002))])
def test_rays_of_several_cameras_are_those_of_each(lens: Lens) -> None:
    generator = torch.Generator().manual_seed(4)
    cameras = [replace(camera_at(a), intrinsics=torch.tensor([50.0 + 9 * a, 60.0, 20.0 + a, 19.0]), lens=lens)
               for a in (0.3, 1.0, 4.0)]
    pixels = [40 * torch.rand(n, 2, generator=generator, dtype=torch.float64) for n in (5, 0, 7)]
    found = rays_of_cameras(cameras, pixels)
    for k in range(2):
        expected = torch.cat([camera.rays(at)[k].float() for camera, at in zip(cameras, pixels)])
        torch.testing.assert_close(found[k], expected, atol=1e-7, rtol=1e-6)


def test_it_is_found_only_where_a_loss_reads_it() -> None:
    rgb = torch.full((3, 16, 32), 255, dtype=torch.uint8)
    rgb[:, :, 16:] = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    view = View("0.png", camera_at(0.0, size=(32, 16)), MemoryPhoto(Photo(rgb)))
    capture = Capture("t", Path("t"), "memory", (view,))
    system = neus.PRESETS["fast"]
    seen = RandomPixels(rays=256).draw(Observations(capture.train, capture, system), 0, 3, 1.0)
    assert seen.clipped is not None
    assert seen.clipped.shape == seen.target.shape[1:]
    white = seen.clipped == 1
    assert 0.2 < float(white.float().mean()) < 0.6
    assert bool((seen.target[:, white] == 1).all())
    assert float(seen.clipped[~white].mean()) < 0.5
    silent = replace(system, losses=system.losses | {"curvature": Curvature(0.0)})
    assert RandomPixels(rays=256).draw(Observations(capture.train, capture, silent), 0, 3, 1.0).clipped is None
