from __future__ import annotations

import pytest
import torch

from recon.types import Gaussians


@pytest.fixture
def make_gaussians():
    """make_gaussians(n, degree, seed, antialiased) -> Gaussians with unit quaternions and moderate values."""

    def make(n: int = 50, degree: int = 3, seed: int = 0, antialiased: bool = False) -> Gaussians:
        g = torch.Generator().manual_seed(seed)
        return Gaussians(
            means=torch.randn(n, 3, generator=g) * 3,
            log_scales=torch.randn(n, 3, generator=g) - 3,
            quaternions=torch.nn.functional.normalize(torch.randn(n, 4, generator=g), dim=1),
            logits=torch.randn(n, generator=g) * 2,
            sh=torch.randn(n, (degree + 1) ** 2, 3, generator=g).clamp(-2, 2) * 0.2,
            antialiased=antialiased,
        )

    return make
