"""Per-photo colour correction: the identity at first, one photo at a time, and it explains a change of exposure."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_capture import MemoryPhoto, tiny_capture

from recon.configs import gaussians
from recon.fit.exposure import ExposureCorrection
from recon.fit.loop import Fit
from recon.fit.plan import with_steps
from recon.fit.system import Exposure
from recon.types import Photo


def test_starts_at_the_identity() -> None:
    rgb = torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ExposureCorrection(Exposure(), 3, 100).apply(rgb, 1), rgb)


def test_learns_one_photo_and_leaves_the_others() -> None:
    rgb = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0))
    gain, offset = torch.tensor([0.8, 1.0, 1.15]), torch.tensor([0.02, 0.0, -0.03])
    correction = ExposureCorrection(Exposure(True, 0.03, 0.002), 3, 80)
    for step in range(80):
        (correction.apply(rgb, 1) - (rgb * gain + offset)).square().mean().backward()
        correction.step(1, step)
    assert float((correction.apply(rgb, 1) - (rgb * gain + offset)).detach().abs().max()) < 0.02
    assert torch.equal(correction.apply(rgb, 0), rgb)
    assert correction.counts.tolist() == [0, 80, 0]
    again = ExposureCorrection(Exposure(True, 0.03, 0.002), 3, 80)
    again.load_state(correction.state())
    assert torch.equal(again.apply(rgb, 1), correction.apply(rgb, 1))


def test_a_fit_with_dark_photos() -> None:
    """Half of the photos are 30 % darker; with the correction the fit explains them better than without."""
    capture = tiny_capture(holdout=0)
    views = [
        replace(v, source=MemoryPhoto(Photo((v.photo().rgb.float() * (0.7 if i % 2 else 1.0)).to(torch.uint8))))
        for i, v in enumerate(capture.views)
    ]
    capture = replace(capture, views=tuple(views))
    losses = {}
    for on in (False, True):
        system = replace(with_steps(gaussians.PRESETS["fast"], 400), exposure=Exposure(on))
        fit = Fit(capture, system, until=48)
        recent = [fit.advance()[0] for _ in range(48)][-16:]
        losses[on] = sum(recent) / len(recent)
    assert losses[True] < 0.97 * losses[False]
