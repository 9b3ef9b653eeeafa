"""One layer of Gaussian kernels in feature space: y = W exp(-sum_c s_c^2 (z_c - m_c)^2) + b, in plain torch.

Source: Bouzidi, Laga, Wannous, "Gaussian RBFNet" (later "GNF: Gaussian neural fields"), 2025, arXiv 2503.06762. The
distances are two matrix products, which is where the time goes.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOG_SHARPNESS = (-2.0, 4.0)  # log s is held in here, so that kernels neither vanish nor become spikes


def kernels(z: Tensor, centres: Tensor, log_sharpness: Tensor) -> Tensor:
    """phi [n, kernels] in 0..1, 1 at a centre; z [n, channels], centres and log_sharpness [kernels, channels]."""
    squared = (2 * log_sharpness.clamp(*LOG_SHARPNESS)).exp()
    distance = (z * z) @ squared.T - 2 * z @ (squared * centres).T + (squared * centres * centres).sum(1)
    return torch.exp(-distance.clamp_min(0))


def rbf(z: Tensor, centres: Tensor, log_sharpness: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Outputs [n, out] for features z [n, channels]; weights [kernels, out], bias [out]; differentiable in all."""
    return kernels(z, centres, log_sharpness) @ weights + bias
