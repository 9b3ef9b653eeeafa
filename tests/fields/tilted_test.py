"""Rotated frames: what a rotation is, what it learns, and that no rotation changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_capture import tiny_capture
from torch import Tensor

from recon.fields.dense_grid import DenseGridSettings
from recon.fields.parts.region import Region
from recon.fields.tilted import TiltedField, TiltedSettings, matrix_of, small_rotation
from recon.fields.vector_matrix import FactoredSettings
from recon.ops.adam import adam_touched_

TURN = math.radians(20)


def _field(inner: DenseGridSettings | FactoredSettings, **options: object) -> TiltedField:
    field = TiltedSettings(inner, **options).build()  # type: ignore[arg-type]
    field.initialise(tiny_capture(), 0)
    return field


def test_rotations_are_orthonormal_and_do_not_know_the_sign() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        q = 3 * torch.randn(4, generator=generator)
        rotation = matrix_of(q)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3), atol=1e-6, rtol=0)
        assert float(torch.linalg.det(rotation)) > 0
        assert torch.equal(matrix_of(-q), rotation)


def test_without_a_rotation_it_is_the_plain_field_to_the_bit() -> None:
    field = _field(FactoredSettings(voxels=4096), rotations=1, random_start=False)
    field.scale = 1.0  # the box of this capture is a cube
    plain = FactoredSettings(voxels=4096).build()
    plain.initialise(tiny_capture(), 0)
    for name in ("density_lines", "density_planes", "colour_lines", "colour_planes"):
        field.params[f"0.{name}"] = plain.params[name]
    u = torch.rand(200, 3)
    none = torch.zeros(200)
    assert torch.equal(field.density(u, none), plain.density(u, none))
    assert torch.equal(field.features(u, none), plain.features(u, none))


def test_occupied_cells_stay_inside_however_frames_turn() -> None:
    field = _field(DenseGridSettings(voxels=4096), rotations=4)
    corners = torch.tensor([[a, b, c] for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)])
    for q in field.params["rotation"].detach():
        turned = field._turned(corners, matrix_of(q))
        assert float((turned - 0.5).abs().max()) <= 0.5 + 1e-6


def test_voxels_of_a_frame_are_as_large_as_those_of_the_whole() -> None:
    field = _field(FactoredSettings(voxels=100_000), rotations=2)
    field.scale = 0.6  # of what is occupied here less would do
    region = Region((0.0, 0.0, 0.0), (2.0, 1.0, 1.0), 0.0, torch.ones(2, 2, 2, dtype=torch.bool))
    field.region = region
    field.follow()
    whole = region.cell(field.voxels)
    part = field.parts[0]
    assert part.region.cell(part.voxels) * max(region.extent) / field.scale == pytest.approx(whole, rel=1e-5)
    again = TiltedSettings(FactoredSettings(voxels=100_000), rotations=2).build()
    again.load_state(field.state())
    assert again.parts[0].voxels == part.voxels


def test_the_gradient_by_a_rotation_is_that_of_a_ramp() -> None:
    """Density = u_x of the frame: by hand it changes by scale (R [axis x y])_x as the frame turns about an axis."""
    field = _field(DenseGridSettings(voxels=4096, start=1.0), rotations=1)
    n = field.parts[0].size
    ramp = torch.linspace(0, 1, n[0])[:, None, None, None].expand(*n, 1).contiguous()
    field.params["0.density"] = ramp
    u = torch.rand(500, 3)
    field.density(u, torch.zeros(500)).sum().backward()
    q = field.params["rotation"].detach()[0]
    grad = field.params["rotation"].grad
    assert grad is not None
    rotation = matrix_of(q)
    for axis in range(3):
        ahead, behind = (field._turned(u, rotation @ small_rotation(axis, a))[:, 0].sum() for a in (0.01, -0.01))
        expected = float((ahead - behind) / 0.02)
        half = torch.zeros(4)
        half[1 + axis] = 0.5
        found = float(grad[0] @ _times(q, half))
        assert found == pytest.approx(expected, rel=2e-3, abs=0.05)


def _times(a: Tensor, b: Tensor) -> Tensor:
    w, v = a[0], a[1:]
    return torch.cat([(w * b[0] - v @ b[1:])[None], w * b[1:] + b[0] * v + torch.linalg.cross(v, b[1:])])


def _fit(field: TiltedField, learn: bool) -> float:
    """Mean squared error of density fitted to a square wave that is turned by 20 degrees about z."""
    generator = torch.Generator().manual_seed(1)
    names = ["0.density_lines", *(["rotation"] if learn else [])]
    moments = {n: (torch.zeros_like(field.params[n].detach()), torch.zeros_like(field.params[n].detach()))
               for n in names}
    error = torch.zeros(())
    for step in range(1, 501):
        u = torch.rand(1500, 3, generator=generator)
        x, y = u[:, 0] - 0.5, u[:, 1] - 0.5
        target = torch.sign(torch.sin(7 * (math.cos(TURN) * x + math.sin(TURN) * y)))
        error = (field.density(u, torch.zeros(len(u))) - target).square().mean()
        error.backward()
        for name in names:
            parameter = field.params[name]
            assert parameter.grad is not None
            rate = 0.03 * 0.05 ** (step / 500) if name != "rotation" else 0.01 * (1 - step / 500)
            adam_touched_(parameter, parameter.grad, *moments[name], lr=rate, step=step)
        for parameter in (p for n, p in field.params.items() if n not in names and p.grad is not None):
            parameter.grad.zero_()
    return float(error.detach())


def test_a_learned_rotation_finds_the_axes_of_the_content() -> None:
    def start() -> TiltedField:
        inner = FactoredSettings(form="cp", voxels=60**3, start=1.0, density_rank=1, colour_rank=1)
        field = _field(inner, rotations=1, random_start=False)
        generator = torch.Generator().manual_seed(2)
        lines = field.params["0.density_lines"].detach()
        field.params["0.density_lines"] = 0.7 + 0.3 * torch.randn(lines.shape, generator=generator)
        return field

    aligned, turned = start(), start()
    without, learned = _fit(aligned, False), _fit(turned, True)
    rotation = matrix_of(turned.params["rotation"].detach()[0])
    angle = math.degrees(math.atan2(float(rotation[0, 1]), float(rotation[0, 0])))
    assert abs(angle - 20) < 1.5
    assert without > 5 * learned
