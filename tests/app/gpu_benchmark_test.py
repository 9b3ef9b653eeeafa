"""The GPU benchmark runs on the CPU kernels, so that its own code is tested; its figures mean nothing there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_capture import tiny_capture

from recon.app import gpu_benchmark
from recon.app.gpu_benchmark import Ours, least_traffic, measure, on_processor, scene, view, whole_fits
from recon.configs.gaussians import PRESETS


def test_all_that_is_promised_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_benchmark, "available", lambda: False)
    found = measure(200, (24, 32), 1, torch.device("cpu"), on_processor)
    assert set(found["figures"]["ours"]) == {"forward ms", "both ms", "step ms", "GB"}
    assert all(found["figures"]["ours"][k] > 0 for k in ("forward ms", "both ms", "step ms"))
    assert found["bandwidth"] > 0
    assert set(found["shares"]) == {"forward ms", "step ms"}


def test_a_step_of_the_benchmark_lowers_the_loss() -> None:
    camera = view((24, 32))
    ours = Ours(scene(300, camera, torch.device("cpu")), camera, torch.full((3, 24, 32), 0.5))
    before = float((ours.draw() - 0.5).detach().abs().mean())
    for _ in range(20):
        ours.step()
    assert float((ours.draw() - 0.5).detach().abs().mean()) < 0.9 * before


def test_least_traffic_by_hand() -> None:
    """One Gaussian on one tile of 16 x 16 pixels."""
    found = least_traffic(1, 1, 256, 1)
    forward = (236 + 96 + 64) + (12 + 16 + 12) + 52 + 4096
    assert found["forward ms"] == forward
    assert found["step ms"] == forward + (4 + 144) + 8192 + 48 + (6 * 236 + 96)


def test_whole_fits_say_time_and_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_benchmark, "available", lambda: False)
    system = PRESETS["fast"]
    system = replace(system, steps=3, field=replace(system.field, random_points=60, sh_degree=0))
    found = whole_fits(tiny_capture(), system, on_processor, torch.device("cpu"))
    assert found["ours"]["seconds"] > 0
    assert found["ours"]["PSNR"] > 5
