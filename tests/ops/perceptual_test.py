"""LPIPS is optional: left out without its weights, called as its authors define it where they are there."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from recon.ops import perceptual


def test_left_out_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert not perceptual.available()
    assert perceptual.lpips(torch.rand(3, 64, 64), torch.rand(3, 64, 64)) is None


def test_pictures_reach_the_network_as_minus_one_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / perceptual.BACKBONE).write_bytes(b"weights")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace() if name == "lpips"
                        or name == "torchvision" else found(name))

    class Distance:  # the mean difference, in place of the network
        def __init__(self, net: str, verbose: bool) -> None:
            assert net == "alex"

        def eval(self) -> Distance:
            return self

        def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            assert a.shape == b.shape == (1, 3, 40, 50)
            assert float(a.min()) >= -1
            assert float(a.max()) <= 1
            return (a - b).abs().mean()

    module = ModuleType("lpips")
    module.LPIPS = Distance  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)
    perceptual._network.cache_clear()
    black, white = torch.zeros(3, 40, 50), torch.ones(3, 40, 50)
    assert perceptual.lpips(black, white) == pytest.approx(2.0)
    assert perceptual.lpips(black[:, :8], white[:, :8]) is None, "too small for the network"
    perceptual._network.cache_clear()
