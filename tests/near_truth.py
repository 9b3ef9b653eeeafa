"""Fits of small captures that begin near the Gaussians of their photos, as second-order steps want it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tiny_capture import random_gaussians
from torch import Tensor

from recon.fields.gaussians import GaussianField
from recon.fit.loop import Fit
from recon.fit.system import System
from recon.optim.schedule import Schedule
from recon.types import Capture, Gaussians

RATES = {"means": Schedule(3e-3), "log_scales": Schedule(1e-2), "quaternions": Schedule(4e-3), "logits": Schedule(0.05),
         "sh0": Schedule(1e-2), "sh_rest": Schedule(1e-3)}


def near_the_truth(capture: Capture, system: System, disturbed: Mapping[str, float], truth: Gaussians | None = None,
                   seed: int = 5) -> Fit:
    """A fit that starts at ``truth`` (default: what the photos of a tiny capture show), normal numbers of the given
    sizes added to the named parameters; all degrees of colour are on from the beginning."""
    fit = Fit(capture, system)
    generator = torch.Generator().manual_seed(seed)
    true = GaussianField.from_gaussians(random_gaussians() if truth is None else truth)
    state = {k: v.clone() for k, v in true.params.state().items()}
    for name, size in disturbed.items():
        state[name] += size * torch.randn(state[name].shape, generator=generator)
    fit.field.params.load_state(state)
    fit.field.active_degree = system.field.sh_degree  # type: ignore[attr-defined]
    fit.optimizer = system.optimizer.build(fit.field, fit.problem.radius, system.steps)
    return fit


def values(fit: Fit) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([t.detach().flatten() for _, t in fit.field.params.items()])
