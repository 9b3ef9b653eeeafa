"""LPIPS, a learned perceptual distance, where its package and weights are installed; never downloaded here.

Source: Zhang, Isola, Efros, Shechtman, Wang: "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
CVPR 2018, arXiv 1801.03924. The AlexNet variant, version 0.1, as papers of the field report it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BACKBONE = "alexnet-owt-7be5be79.pth"  # in torch's hub folder, where torchvision puts and looks for it
SMALLEST_SIDE = 32  # pixels; AlexNet has nothing to look at below


def available() -> bool:
    """Whether LPIPS can be computed without a download."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE
    return weights.is_file() and all(importlib.util.find_spec(name) for name in ("lpips", "torchvision"))


@lru_cache(maxsize=1)
def _network() -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it announces itself
        return importlib.import_module("lpips").LPIPS(net="alex", verbose=False).eval()


@torch.no_grad()
def lpips(a: Tensor, b: Tensor) -> float | None:
    """Distance of two pictures [3, height, width] in 0..1 (0 = alike), or None where it cannot be computed."""
    if not available() or min(a.shape[-2:]) < SMALLEST_SIDE:
        return None
    return float(_network()(a[None].float() * 2 - 1, b[None].float() * 2 - 1))
