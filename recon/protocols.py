"""What a representation can do. Renderers, losses, meshers and exporters ask for a protocol, never for a class."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from recon.params import Params
from recon.types import Camera, Capture, Gaussians, Render


@runtime_checkable
class Field(Protocol):
    """The thing that is optimised: named parameters, where they live, and how many primitives they are."""

    params: Params

    def initialise(self, capture: Capture, seed: int) -> None:
        """Sets the parameters from what was observed."""
        ...

    @property
    def num_primitives(self) -> int: ...

    def state(self) -> dict[str, Any]:
        """Everything besides ``params`` that a checkpoint must hold."""
        ...

    def load_state(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class Splats(Protocol):
    """Offers its content as 3D Gaussians (at time ``t`` for moving scenes)."""

    def gaussians(self, t: float = 0.0) -> Gaussians: ...


@runtime_checkable
class Volumetric(Protocol):
    """Density and view-dependent radiance at points of space."""

    def density(self, x_world: Tensor) -> Tensor: ...

    def radiance(self, x_world: Tensor, direction_world: Tensor) -> Tensor: ...


@runtime_checkable
class Distance(Protocol):
    """Signed distance and normal at points of space."""

    def distance(self, x_world: Tensor) -> Tensor: ...

    def normal(self, x_world: Tensor) -> Tensor: ...


class Renderer(Protocol):
    """Field and camera in, pictures out."""

    def render(self, field: Any, camera: Camera, *, background: Tensor | None = None,
               want: Collection[str] = ("rgb",)) -> Render:
        """``background`` [3] colour behind everything; ``want`` names the channels, see ``recon.types.render``."""
        ...
