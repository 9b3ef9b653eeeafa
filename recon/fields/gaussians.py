"""A set of 3D Gaussians as a field to optimise.

Source: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH 2023, arXiv 2308.04079.
Differences: where photos have alpha and there are no points, the start is carved from the alpha masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon.fields.parts.initial_points import initial_points
from recon.ops.knn import nearest_squared
from recon.params import Params
from recon.types import Capture, Gaussians
from recon.types.gaussians import SH_C0


@dataclass(frozen=True)
class GaussianSettings:
    """How the Gaussians start."""

    # highest band of spherical harmonics (0 = colour does not depend on the direction)
    sh_degree: int = 3
    # opacity of the first Gaussians
    opacity: float = 0.1
    # size of the first Gaussians, in distances to their nearest neighbours
    scale: float = 1.0
    # points to start from where the capture has none
    random_points: int = 50_000
    # rendered with the 2D opacity compensation of Mip-Splatting
    antialiased: bool = False

    def build(self) -> GaussianField:
        return GaussianField(self)


class GaussianField:
    """Implements the Field and Splats protocols. Rows of ``params`` are Gaussians; see ``recon.types.Gaussians``.

    The spherical harmonics are two tensors, sh0 [n, 3] and sh_rest [n, k, 3], because they learn at different rates.
    """

    def __init__(self, settings: GaussianSettings) -> None:
        self.settings = settings
        self.params = Params()
        self.active_degree = settings.sh_degree

    def initialise(self, capture: Capture, seed: int) -> None:
        points, colours = initial_points(capture, self.settings.random_points, seed)
        n = len(points)
        spacing = _spacing(points).clamp(min=1e-5, max=0.5 * max(capture.radius, 1e-3))
        logit = torch.logit(torch.tensor(self.settings.opacity))
        self.params = Params({
            "means": points,
            "log_scales": (spacing * self.settings.scale).log()[:, None].repeat(1, 3),
            "quaternions": torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
            "logits": logit.repeat(n),
            "sh0": (colours - 0.5) / SH_C0,
            "sh_rest": torch.zeros(n, (self.settings.sh_degree + 1) ** 2 - 1, 3),
        })
        self.active_degree = self.settings.sh_degree

    @property
    def num_primitives(self) -> int:
        return self.params.rows

    def gaussians(self, t: float = 0.0) -> Gaussians:
        """A snapshot: copies, safe to keep while the fit goes on."""
        p = {name: tensor.detach().cpu() for name, tensor in self.params.items()}
        used = (self.active_degree + 1) ** 2 - 1
        rest = p["sh_rest"].clone()
        rest[:, used:] = 0
        return Gaussians(
            means=p["means"].clone(),
            log_scales=p["log_scales"].clone(),
            quaternions=p["quaternions"].clone(),
            logits=p["logits"].clone(),
            sh=torch.cat([p["sh0"][:, None], rest], dim=1),
            antialiased=self.settings.antialiased,
        )

    @staticmethod
    def from_gaussians(gaussians: Gaussians) -> GaussianField:
        """A field that holds the given Gaussians (an imported file, another run)."""
        field = GaussianField(GaussianSettings(sh_degree=gaussians.sh_degree, antialiased=gaussians.antialiased))
        field.params = Params({
            "means": gaussians.means,
            "log_scales": gaussians.log_scales,
            "quaternions": gaussians.quaternions,
            "logits": gaussians.logits,
            "sh0": gaussians.sh[:, 0],
            "sh_rest": gaussians.sh[:, 1:],
        })
        return field

    def state(self) -> dict[str, Any]:
        return {"active_degree": self.active_degree}

    def load_state(self, state: dict[str, Any]) -> None:
        self.active_degree = int(state["active_degree"])


def _spacing(points: Tensor) -> Tensor:
    """[n] root mean square distance to the three nearest neighbours; at most twice the 95 % quantile."""
    squared = nearest_squared(points, 3)
    squared = torch.where(torch.isfinite(squared), squared, torch.full_like(squared, 1e-4))
    distance = squared.mean(1).sqrt()
    if len(distance) > 20:
        distance = distance.clamp(max=float(torch.quantile(distance[:: max(1, len(distance) // 100_000)], 0.95)) * 2)
    return distance
