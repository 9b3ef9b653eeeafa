"""Projection and colours against gsplat's torch reference, values and gradients (a test extra; no GPU needed).

gsplat (Apache-2.0, nerfstudio-project) clamps x/z like we do and keeps the same +0.5 pixel centres. Its compositing
does not run without CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from recon.ops.splat import CENTRE, COLOUR, CONIC, DEPTH, OPACITY, RADIUS, project
from recon.ops.splat_reference import Example, examples

theirs = pytest.importorskip("gsplat.cuda._torch_impl", reason="gsplat is not installed (pip install '.[test]')")

EXAMPLES = [e for e in examples() if e.name in (
    "degree 0", "degree 1", "degree 2", "degree 3", "degree 1 of 3", "antialiased", "off-centre 17x33",
    "behind and near", "huge", "tiny", "outside", "needles", "needles antialiased", "other dilation")]


@pytest.fixture(scope="module", autouse=True)
def _torch_on_one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny tensors: waiting for threads would take longer than the work
    yield
    torch.set_num_threads(before)


def _their_records(rows: dict[str, Tensor], example: Example) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """means2d, conics, opacities, colours, depths by gsplat."""
    camera, settings = example.camera, example.settings
    fx, fy, cx, cy = camera.intrinsics
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2] = fx, fy, cx, cy
    quaternions = torch.nn.functional.normalize(rows["quaternions"], dim=-1)
    covariance, _ = theirs._quat_scale_to_covar_preci(quaternions, rows["log_scales"].exp(), True, False)
    _, centre, depth, conic, compensation = theirs._fully_fused_projection(
        rows["means"], covariance, camera.camera_from_world[None], matrix[None], camera.width, camera.height,
        eps2d=settings.dilation, near_plane=settings.near, calc_compensations=True)
    opacity = torch.sigmoid(rows["logits"])
    if settings.antialiased:
        opacity = opacity * compensation[0]
    light = torch.cat([rows["sh0"][:, None], rows["sh_rest"]], 1)
    colour = theirs._spherical_harmonics(settings.degree, rows["means"] - camera.centre, light)
    return centre[0], conic[0], opacity, (colour + 0.5).clamp(min=0), depth[0]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_projection_and_colour_match_gsplat(example: Example) -> None:
    ours, other = example.rows(gradient=True), example.rows(gradient=True)
    records = project(**ours, camera=example.camera, settings=example.settings, check=True)
    drawn = records[:, RADIUS] > 0
    # below this gsplat's compensation goes on to zero and ours stays at 0.005
    if example.settings.antialiased:
        drawn &= records[:, OPACITY] > 0.0051 * torch.sigmoid(ours["logits"])
    assert drawn.sum() >= 1
    pairs = list(zip((records[:, CENTRE], records[:, CONIC], records[:, OPACITY], records[:, COLOUR],
                      records[:, DEPTH]), _their_records(other, example)))
    generator = torch.Generator().manual_seed(0)
    total, their_total = torch.zeros(2, dtype=torch.float64)
    for mine, want in pairs:
        torch.testing.assert_close(mine[drawn], want[drawn], rtol=1e-9, atol=1e-9)
        weight = torch.randn(mine[drawn].shape, generator=generator, dtype=torch.float64)
        total, their_total = total + (mine[drawn] * weight).sum(), their_total + (want[drawn] * weight).sum()
    total.backward()
    their_total.backward()
    for name, leaf in ours.items():
        want = other[name].grad[drawn]
        assert want.numel() == 0 or want.abs().max() > 0, name
        # their determinant is a difference of products, which costs digits where a Gaussian is thin
        limit = 1e-6 if "needles" in example.name or "tiny" in example.name else 1e-9
        assert (leaf.grad[drawn] - want).norm() <= limit * want.norm(), name
