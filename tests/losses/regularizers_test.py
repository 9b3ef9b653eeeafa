"""Regularizers that look at random points of a field, on every representation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_capture import tiny_capture

from recon.errors import InputError
from recon.fields.dense_grid import DenseGridField, DenseGridSettings
from recon.fields.gaussians import GaussianSettings
from recon.fields.hash_grid import HashGridSettings
from recon.fields.vector_matrix import FactoredSettings
from recon.losses.sparsity import OpacitySparsity
from recon.losses.total_variation import TotalVariation

VOLUMES = (DenseGridSettings(), HashGridSettings(levels=3), FactoredSettings(), FactoredSettings(form="cp"))


def _generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("settings", VOLUMES, ids=lambda s: f"{type(s).__name__}-{getattr(s, 'form', '')}")
@pytest.mark.parametrize("loss", [TotalVariation(), OpacitySparsity()], ids=lambda x: type(x).__name__)
def test_stepping_down_the_gradient_lowers_it(settings: DenseGridSettings, loss: TotalVariation) -> None:
    field = settings.build()
    field.initialise(tiny_capture(), 0)
    for name, tensor in field.params.items():
        if name != "decoder":
            field.params[name] = tensor.detach() + 0.1 * torch.randn(tensor.shape, generator=_generator())
    before = loss.of_points(field, _generator())
    before.backward()
    slopes = {n: t.grad for n, t in field.params.items() if t.grad is not None}
    expected = 0.002 * float(before.detach())  # of a step that long down the gradient
    step = expected / sum(float(g.double().square().sum()) for g in slopes.values())
    for name, slope in slopes.items():
        field.params[name] = field.params[name].detach() - step * slope
    found = float(before.detach()) - float(loss.of_points(field, _generator()).detach())
    assert 0.7 < found / expected < 1.3


def test_total_variation_of_a_ramp_is_known() -> None:
    """Raw density 3 x over the box: 3 / nodes per voxel along x, nothing along y and z."""
    field = DenseGridField(DenseGridSettings(voxels=4096, start=1.0))
    field.initialise(tiny_capture(), 0)
    ramp = 3 * torch.linspace(0, 1, field.size[0])
    field.params["density"] = ramp[:, None, None, None].expand(*field.size, 1).contiguous()
    volume = field.volume()
    voxel = volume.step / volume.delta / ((volume.high[0] - volume.low[0]) * (1 + volume.margin))
    assert abs(voxel * field.most_voxels ** (1 / 3) - 1) < 0.05
    expected = 0.5 * (3 * voxel) ** 2 / 3
    found = float(TotalVariation(points=20_000).of_points(field, _generator()).detach())
    assert abs(found / expected - 1) < 1e-3


def test_where_nothing_is_far_away_it_can_be_left_out() -> None:
    field = DenseGridField(DenseGridSettings(voxels=4096, start=1.0))
    field.initialise(tiny_capture(), 0)
    field.params["density"] = torch.randn(*field.size, 1, generator=_generator())
    everywhere, unbounded = TotalVariation(), TotalVariation(unbounded=True)

    def found(loss: TotalVariation) -> float:
        return float(loss.of_points(field, _generator()).detach())

    assert field.region.margin > 0
    assert found(unbounded) == found(everywhere) > 0
    field.region = replace(field.region, margin=0.0)
    assert found(unbounded) == 0 < found(everywhere)


def test_opacity_of_an_untouched_volume_is_what_was_asked_for() -> None:
    field = DenseGridField(DenseGridSettings(opacity=0.03))
    field.initialise(tiny_capture(), 0)
    assert abs(float(OpacitySparsity().of_points(field, _generator()).detach()) - 0.03) < 1e-5


def test_gaussians_have_an_opacity_but_no_variation() -> None:
    field = GaussianSettings(opacity=0.25).build()
    field.initialise(tiny_capture(), 0)
    assert abs(float(OpacitySparsity().of_points(field, _generator()).detach()) - 0.25) < 1e-5
    with pytest.raises(InputError, match="volumes"):
        TotalVariation().of_points(field, _generator())
