"""System: everything that defines a method, as one frozen dataclass. A preset *is* a System.

Parts are dataclasses of settings; those that need state while fitting build it (`FieldSettings.build`,
`OptimizerSettings.build`, `StrategySettings.build`). The command line is generated from these classes, so a setting's
comment is its help text.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor

from recon.protocols import Field, Renderer
from recon.types import Camera, Capture, Photo, Render

if TYPE_CHECKING:
    from recon.fit.problem import Problem


@dataclass(frozen=True)
class Observation:
    """What one step looks at: a camera at the step's resolution, the photo at that size, and its background.

    target      [3, height, width] uint8 or float32 in 0..1, alpha already composited over ``background``
    mask        [height, width] uint8, 0 = ignore, or None
    index       position of the view in the training split
    """

    camera: Camera
    target: Tensor
    mask: Tensor | None
    background: Tensor
    index: int
    photo: Photo | None = None


class Loss(Protocol):
    """One term of the objective. ``channels`` says what must be rendered for it."""

    weight: float
    channels: Collection[str]

    def value(self, render: Render, seen: Observation) -> Tensor:
        """Scalar loss of one rendered view, differentiable, before weighting."""
        ...


class FieldSettings(Protocol):
    def build(self) -> Field: ...


class Optimizer(Protocol):
    def step(self, problem: Problem) -> float:
        """One update of the field's parameters; returns the loss before it."""
        ...

    def follow(self, change: Any) -> None:
        """Carries per-row state over a ``RowChange`` of the field."""
        ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


class OptimizerSettings(Protocol):
    def build(self, field: Field, capture: Capture, total_steps: int) -> Optimizer: ...


class Strategy(Protocol):
    """The only thing that changes shapes. ``act`` is called after every step and mostly does nothing."""

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        """Returns what was changed in a few words, or None."""
        ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


class StrategySettings(Protocol):
    def build(self, field: Field, capture: Capture, total_steps: int, seed: int) -> Strategy: ...


@dataclass(frozen=True)
class Background:
    """What is behind everything."""

    # "auto": black for opaque photos, white where photos have alpha; "random": a new colour each step (needs alpha)
    colour: Literal["auto", "black", "white", "random"] = "auto"


@dataclass(frozen=True)
class Resolution:
    """How large the compared photos are as the fit goes on (1 = working resolution)."""

    # first downscale factor; the schedule goes from here to 1
    start: float = 1.0
    # share of all steps after which full resolution is reached
    until: float = 0.5
    # the short side never gets smaller than this many pixels
    min_side: int = 64


@dataclass(frozen=True)
class System:
    """A method with all its settings; times and counts are for the whole fit."""

    field: FieldSettings
    renderer: Renderer
    optimizer: OptimizerSettings
    # named loss terms, added up with their weights
    losses: dict[str, Any] = field(default_factory=dict)
    # named structure changes, run in this order after each step
    strategies: dict[str, Any] = field(default_factory=dict)
    # optimisation steps in total
    steps: int = 30_000
    background: Background = field(default_factory=Background)
    resolution: Resolution = field(default_factory=Resolution)
    # "auto": use masks that say "ignore", leave out masks that mark the object; "object": background becomes empty
    masks: Literal["auto", "ignore", "object", "off"] = "auto"
