"""What the files of volumes share: random pixels, ray marching, losses, strategies, what goes around other volumes.

No method of its own: files that begin with "_" are not listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recon.fields.tilted import TiltedSettings
from recon.fit.system import System
from recon.losses.distortion import Distortion
from recon.losses.opacity import OpacityEntropy
from recon.losses.squared import SquaredError
from recon.losses.total_variation import TotalVariation
from recon.optim.schedule import Schedule
from recon.optim.touched_adam import TouchedAdamSettings
from recon.protocols import FieldSettings, StrategySettings
from recon.renderers.march import MarchRenderer
from recon.samplers.pixels import RandomPixels
from recon.strategies.hold_samples import HoldSamples
from recon.strategies.unseen import EmptyUnseen

DECODER = Schedule(4e-3, 4e-4)  # rate of small networks
FACTORS = Schedule(0.05, 5e-3)  # rate of planes and lines
# For grids and factors, which else explain a photo by what stands before its camera alone. Hash tables gain nothing.
SMOOTHNESS = {"smoothness": TotalVariation(points=2048, unbounded=True, until=0.5)}


def marched(field: FieldSettings, rates: Mapping[str, Schedule], strategies: Mapping[str, StrategySettings], steps: int,
            losses: Mapping[str, Any] = SMOOTHNESS, eps: float = 1e-8) -> System:
    """A volume that learns from random pixels; ``rates`` besides that of the colour network."""
    return System(
        field=field, renderer=MarchRenderer(least_weight=1e-3), sampler=RandomPixels(),
        losses={"colour": SquaredError(), "entropy": OpacityEntropy(1e-3), "distortion": Distortion(1e-2),
                **losses},
        optimizer=TouchedAdamSettings(rates={**rates, "decoder": DECODER}, eps=eps),
        strategies={"rays": HoldSamples(), "unseen": EmptyUnseen(), **strategies}, steps=steps,
    )


def conversion(base: System, steps: int, rates: Mapping[str, Schedule]) -> System:
    """``base`` for `recon convert`: pictures of one scene do not contradict each other, so rates stay higher and colour
    is enough."""
    optimizer: Any = base.optimizer
    return replace(base, steps=steps, losses={"colour": SquaredError()},
                   optimizer=replace(optimizer, rates={**optimizer.rates, **rates, "decoder": Schedule(8e-3, 2e-3)}))


def tilted(base: System, frames: int = 4) -> System:
    """A factored volume in learned frames, each with its share of the components."""
    field: Any = base.field
    optimizer: Any = base.optimizer
    inner = replace(field, density_rank=field.density_rank // frames, colour_rank=field.colour_rank // frames)
    rates = optimizer.rates | {"rotation": Schedule(0.01, 0.0, begin=0.02, until=0.25)}
    return replace(base, field=TiltedSettings(inner, frames), optimizer=replace(optimizer, rates=rates))
