"""3D Gaussian splatting as Markov chain Monte Carlo, with a budget of Gaussians.

Kheradmand, Rebain, Sharma, Sun, Tseng, Isack, Kar, Tagliasacchi, Yi:
"3D Gaussian Splatting as Markov Chain Monte Carlo". NeurIPS 2024. arXiv 2404.09591
"""

from __future__ import annotations

from dataclasses import replace

from recon.configs import gaussians
from recon.fields.gaussians import GaussianSettings
from recon.losses.photometric import Photometric
from recon.losses.sparsity import OpacitySparsity, ScaleSparsity
from recon.strategies.mcmc import Mcmc


def _mcmc(base, budget: int, until: float, noise: float):
    """``noise`` goes down where the rate of the means goes up: their product is what shakes the Gaussians."""
    return replace(
        base,
        field=GaussianSettings(opacity=0.5, scale=0.1),
        losses={"photometric": Photometric(), "opacity": OpacitySparsity(), "scale": ScaleSparsity()},
        strategies={"sh_degree": base.strategies["sh_degree"], "mcmc": Mcmc(budget=budget, until=until, noise=noise)},
    )


PRESETS = {
    "fast": _mcmc(replace(gaussians.PRESETS["fast"], steps=3_000), 60_000, 0.8, 2.5e5),
    "balanced": _mcmc(gaussians.PRESETS["balanced"], 120_000, 0.8, 2.5e5),
    "quality": _mcmc(gaussians.PRESETS["quality"], 300_000, 25 / 30, 5e5),
}
PRESET = "balanced"
