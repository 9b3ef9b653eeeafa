"""Leaving out Gaussians at random: the picture, the gradients, and when it is done."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_capture import camera_at, random_gaussians, tiny_capture

from recon.configs import gaussians
from recon.fit.loop import Fit
from recon.fit.problem import FitProblem
from recon.fit.system import Dropout
from recon.ops.splat import OPACITY
from recon.renderers.splat import ROWS, SplatRenderer
from recon.types import Drop, Gaussians


class Held:
    """A field of leaf tensors."""

    def __init__(self, g: Gaussians) -> None:
        self.rows = {n: t.clone().requires_grad_(True) for n, t in g.tensors.items()}

    def gaussians(self, t: float = 0.0) -> Gaussians:
        return Gaussians(**self.rows)


def test_the_picture_is_that_of_the_rest_made_denser() -> None:
    g = replace(random_gaussians(), logits=-1 + 0.3 * random_gaussians().logits)  # opacities stay below 1
    drop = Drop(0.3, seed=5)
    camera = camera_at(0.3)
    with torch.no_grad():
        shown = SplatRenderer().render(Held(g), camera, drop=drop)
    stays = shown.trace.visible
    assert 0.5 * len(g) < int(stays.sum()) < 0.9 * len(g)
    rest = g.select(stays)
    denser = replace(rest, logits=torch.logit(torch.sigmoid(rest.logits) / 0.7))
    with torch.no_grad():
        expected = SplatRenderer().render(Held(denser), camera)
    torch.testing.assert_close(shown.rgb, expected.rgb, atol=2e-5, rtol=0)


def test_no_opacity_is_raised_above_the_largest_alpha() -> None:
    opaque = replace(random_gaussians(), logits=torch.linspace(-2, 8, len(random_gaussians())))
    with torch.no_grad():
        plain = SplatRenderer().render(Held(opaque), camera_at(0.3)).trace.records
        shown = SplatRenderer().render(Held(opaque), camera_at(0.3), drop=Drop(0.3, seed=5)).trace.records
    limited = plain[:, OPACITY] > 0.99 * 0.7
    assert 0 < int(limited.sum()) < len(opaque)
    torch.testing.assert_close(shown[limited, OPACITY], plain[limited, OPACITY].clamp_min(0.99))
    torch.testing.assert_close(shown[~limited, OPACITY], plain[~limited, OPACITY] / 0.7)


def test_gradients_are_those_of_finite_differences() -> None:
    g, drop, camera = random_gaussians(12, degree=0), Drop(0.3, seed=2), camera_at(0.3)
    g = replace(g, logits=-1 + 0.3 * g.logits)  # opacities stay below the limit
    weight = torch.rand(camera.height, camera.width, 3, generator=torch.Generator().manual_seed(0))

    def loss(field: Held) -> torch.Tensor:
        return (SplatRenderer().render(field, camera, drop=drop).rgb * weight).sum()

    field = Held(g)
    loss(field).backward()
    for name in ("logits", "means", "sh"):
        gradient = field.rows[name].grad
        assert gradient is not None
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1))
        h = 2e-3
        with torch.no_grad():
            above, below = (loss(Held(replace(g, **{name: getattr(g, name) + s * h * direction}))) for s in (1, -1))
        numeric = float(above - below) / (2 * h)
        assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=0.03, abs=0.05), name


def test_the_fused_update_sees_the_same_gradient() -> None:
    capture = tiny_capture()
    system = replace(gaussians.PRESETS["fast"], steps=100, dropout=Dropout(0.4))
    grads = []
    for deferred in (True, False):
        fit = Fit(capture, system, seed=1)
        fit.problem.step = 60
        fit.problem.gradient(deferred=deferred)
        if deferred:
            fit.problem.render.trace.pull_back(fit.field.params)
        grads.append({n: fit.field.params[n].grad.clone() for n in ROWS if fit.field.params[n].grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name in grads[0]:
        torch.testing.assert_close(grads[0][name], grads[1][name], rtol=1e-4, atol=1e-7)
    assert float(grads[0]["logits"].abs().max()) > 0


def test_well_covered_scenes_drop_nothing() -> None:
    capture = tiny_capture()
    for photos, expected in ((len(capture.train), 0.0), (len(capture.train) + 1, 0.4)):
        system = replace(gaussians.PRESETS["fast"], dropout=Dropout(0.4, photos=photos))
        field = system.field.build()
        field.initialise(capture, 0)
        assert FitProblem(capture, system, field, 0, 1 << 20)._dropout == expected


def test_the_quality_preset_is_the_plain_recipe() -> None:
    assert gaussians.PRESETS["quality"].dropout.share == 0
