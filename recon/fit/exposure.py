"""Affine colour correction per photo, learned along with the scene and used only while fitting.

A photo with its own exposure or white balance then no longer paints its tint into the scene. Starts at the identity;
the mean over photos is not constrained: the held-out views decide whether it helped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recon.fit.system import Exposure


class ExposureCorrection:
    """[views, 3, 4] maps rgb -> A rgb + b on ``device``, with their own small Adam (a few hundred numbers)."""

    def __init__(self, settings: Exposure, num_views: int, total_steps: int,
                 device: torch.device | None = None) -> None:
        self.settings, self.total_steps = settings, total_steps
        identity = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1)
        self.maps = identity.repeat(num_views, 1, 1).to(device).requires_grad_(True)
        self.first, self.second = torch.zeros_like(self.maps), torch.zeros_like(self.maps)
        self.counts = torch.zeros(num_views, dtype=torch.int64)

    def apply(self, rgb: Tensor, index: int) -> Tensor:
        """rgb [height, width, 3] as photo ``index`` would show it."""
        m = self.maps[index]
        planes = rgb.permute(2, 0, 1)  # pictures lie in memory as planes, and the losses want them so
        return (m[:, :3] @ planes.reshape(3, -1) + m[:, 3:]).view(planes.shape).permute(1, 2, 0)

    def step(self, index: int, step: int) -> None:
        """One Adam update of the photo that the last backward pass touched."""
        gradient = self.maps.grad
        if gradient is None:
            return
        s, share = self.settings, step / max(self.total_steps, 1)
        rate = s.rate * (s.rate_end / s.rate) ** min(share, 1.0)
        self.counts[index] += 1
        n = int(self.counts[index])
        g, m, v = gradient[index], self.first[index], self.second[index]
        m.mul_(0.9).add_(g, alpha=0.1)
        v.mul_(0.999).addcmul_(g, g, value=0.001)
        self.maps.detach()[index] -= rate * (m / (1 - 0.9**n)) / ((v / (1 - 0.999**n)).sqrt() + 1e-15)
        self.maps.grad = None

    def kept(self, index: int) -> Callable[[], None]:
        """Photo ``index`` as it is now: what comes back restores it."""
        with torch.no_grad():
            rows = [(t, t[index].clone()) for t in (self.maps.detach(), self.first, self.second)]
        count = int(self.counts[index])

        def restore() -> None:
            for tensor, row in rows:
                tensor[index] = row
            self.counts[index] = count

        return restore

    def state(self) -> dict[str, Any]:
        return {"maps": self.maps.detach().cpu(), "first": self.first.cpu(), "second": self.second.cpu(),
                "counts": self.counts}

    def load_state(self, state: dict[str, Any]) -> None:
        on = self.maps.device
        self.maps = state["maps"].clone().to(on).requires_grad_(True)
        self.first, self.second = state["first"].clone().to(on), state["second"].clone().to(on)
        self.counts = state["counts"].clone()
