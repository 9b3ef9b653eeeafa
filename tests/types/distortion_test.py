"""Lens models against pycolmap (all 18) and against their own inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recon.types import Camera, Lens
from recon.types.distortion import NUM_COEFFICIENTS

pycolmap = pytest.importorskip("pycolmap")

# Plausible coefficients, large enough that a dropped or swapped term shows.
COEFFICIENTS = {
    "SIMPLE_RADIAL": (-0.12,), "RADIAL": (-0.11, 0.03), "OPENCV": (-0.11, 0.03, 0.004, -0.007),
    "FULL_OPENCV": (-0.11, 0.03, 0.004, -0.007, 0.011, 0.02, -0.01, 0.005), "FOV": (0.6,),
    "SIMPLE_DIVISION": (-0.1,), "DIVISION": (-0.1,), "EUCM": (0.55, 1.1),
    "SIMPLE_RADIAL_FISHEYE": (0.03,), "RADIAL_FISHEYE": (0.03, -0.005), "OPENCV_FISHEYE": (0.03, -0.01, 0.004, -0.001),
    "THIN_PRISM_FISHEYE": (0.03, -0.01, 0.002, -0.003, 0.004, -0.001, 0.005, -0.004),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        0.03, -0.01, 0.004, -0.001, 0.0005, -0.0002, 0.002, -0.003, 0.005, 0.001, -0.004, 0.0007,
    ),
}  # fmt: skip
SIMPLE = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "SIMPLE_DIVISION",
          "SIMPLE_FISHEYE")  # one focal length  # fmt: skip
MODELS = sorted(NUM_COEFFICIENTS)


def directions(max_angle: float = 0.7) -> torch.Tensor:
    angle, azimuth = torch.meshgrid(
        torch.linspace(0, max_angle, 12, dtype=torch.float64), torch.linspace(0, 6.1, 17, dtype=torch.float64),
        indexing="ij",
    )  # fmt: skip
    x = torch.stack([angle.sin() * azimuth.cos(), angle.sin() * azimuth.sin(), angle.cos()], -1).reshape(-1, 3)
    return x * torch.linspace(0.5, 3.0, len(x), dtype=torch.float64)[:, None]


def pair(model: str) -> tuple[Camera, object]:
    """The same camera as ours and as pycolmap's."""
    width, height = 640, 480
    c = COEFFICIENTS.get(model, ())
    if model == "EQUIRECTANGULAR":
        k, params = (width / (2 * math.pi), height / math.pi, width / 2, height / 2), (width, height)
    elif model in SIMPLE:
        k, params = (500, 500, 310, 250), (500, 310, 250, *c)
    else:
        k, params = (500, 480, 310, 250), (500, 480, 310, 250, *c)
    ours = Camera(width, height, torch.tensor(k, dtype=torch.float64), torch.eye(4), Lens(model, c))
    return ours, pycolmap.Camera(model=model, width=width, height=height, params=[float(p) for p in params])


@pytest.mark.parametrize("model", MODELS)
def test_projection_equals_pycolmap(model: str) -> None:
    ours, theirs = pair(model)
    x = directions()
    pixels, depth = ours.project(x)
    expected = np.stack([theirs.img_from_cam(row) for row in x.numpy()])
    np.testing.assert_allclose(pixels.numpy(), expected, atol=1e-8)
    assert torch.equal(depth, x[:, 2])


@pytest.mark.parametrize("model", MODELS)
def test_rays_undo_projection(model: str) -> None:
    ours, _ = pair(model)
    x = directions(1.9 if ours.lens.is_wide and model != "EUCM" else 0.7)
    if model.endswith("FISHEYE") and COEFFICIENTS.get(model):
        x = x[torch.atan2(x[:, :2].norm(dim=1), x[:, 2]) < 1.4]  # beyond, these polynomials may fold over
    _, direction = ours.rays(ours.project(x)[0])
    torch.testing.assert_close(direction, torch.nn.functional.normalize(x, dim=-1), atol=1e-9, rtol=0)


def test_is_pinhole_only_without_distortion() -> None:
    assert Lens("OPENCV", (0, 0, 0, 0)).is_pinhole
    assert Lens("SIMPLE_PINHOLE").is_pinhole
    assert not Lens("OPENCV", (0, 0, 0, 1e-6)).is_pinhole
    assert not Lens("FISHEYE").is_pinhole  # equidistant even without coefficients


def test_undistort_of_a_folding_lens_stays_finite_and_near() -> None:
    lens = Lens("SIMPLE_RADIAL", (-0.3,))  # r (1 - 0.3 r^2) peaks at r = 1.054 with value 0.703
    out = lens.undistort(torch.tensor([[0.69, 0.0], [0.9, 0.0], [3.0, 4.0]], dtype=torch.float64))
    assert torch.isfinite(out).all()
    assert float(out[0, 0]) == pytest.approx(0.946, abs=0.05)
    assert float(out[1, 0]) == pytest.approx(1.054, abs=0.02)


def test_bad_lens_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown lens"):
        Lens("TELEPATHIC")
    with pytest.raises(ValueError, match="4 coefficients"):
        Lens("OPENCV", (0.1,))


@pytest.mark.parametrize("model", MODELS)
def test_points_at_and_behind_the_camera_do_not_crash(model: str) -> None:
    ours, _ = pair(model)
    pixels, depth = ours.project(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, -1], [1e-300, 0, 1e-300]]))
    assert pixels.shape == (4, 2)
    assert (depth[:3] <= 0).all()
