"""One layer of Gaussian kernels in feature space: y = W exp(-sum_c s_c^2 (z_c - m_c)^2) + b, in plain torch.

Source: Bouzidi, Laga, Wannous, "Gaussian RBFNet" (later "GNF: Gaussian neural fields"), 2025, arXiv 2503.06762. The
distances are two matrix products, which is where the time goes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.ops.mlp import mlp

LOG_SHARPNESS = (-2.0, 4.0)  # log s is held in here, so that kernels neither vanish nor become spikes


def kernels(z: Tensor, centres: Tensor, log_sharpness: Tensor) -> Tensor:
    """phi [n, kernels] in 0..1, 1 at a centre; z [n, channels], centres and log_sharpness [kernels, channels]."""
    squared = (2 * log_sharpness.clamp(*LOG_SHARPNESS)).exp()
    distance = (z * z) @ squared.T - 2 * z @ (squared * centres).T + (squared * centres * centres).sum(1)
    return torch.exp(-distance.clamp_min(0))


def rbf(z: Tensor, centres: Tensor, log_sharpness: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """Outputs [n, out] for features z [n, channels]; weights [kernels, out], bias [out]; differentiable in all."""
    return kernels(z, centres, log_sharpness) @ weights + bias


def rbf_row_by_row(z: Tensor, centres: Tensor, log_sharpness: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """``rbf`` with the products of small networks: a row has the same bits however many others there are."""
    k, c = centres.shape
    squared = (2 * log_sharpness.clamp(*LOG_SHARPNESS)).exp()
    first = torch.cat([squared.T, -2 * (squared * centres).T]).reshape(-1)
    both = torch.cat([first, (squared * centres * centres).sum(1)])
    phi = torch.exp(-mlp(both, [2 * c, k], torch.cat([z * z, z], dim=1)).clamp_min(0))
    return mlp(torch.cat([weights.reshape(-1), bias]), [k, len(bias)], phi)
