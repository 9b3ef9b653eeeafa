"""What the parts of a system can do, as protocols. Renderers, losses, optimizers, strategies, meshers and exporters ask
for a protocol, never for a class, so that every combination works without code that names a method."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from recon.params import Params, RowChange
from recon.types import Camera, Capture, Gaussians, Mesh, Observation, Render, Volume


@runtime_checkable
class Field(Protocol):
    """The thing that is optimised: named parameters, where they start, and how many primitives they are."""

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
    """Density and view-dependent radiance at points, for ray marching; ``volume`` says where and how finely.

    Points u [m, 3] are in unit coordinates of the volume. ``footprint`` [m] is the width of a pixel there, in units of
    the volume's box, for fields that answer coarsely from afar.
    """

    def volume(self) -> Volume: ...

    def density(self, u: Tensor, footprint: Tensor) -> Tensor:
        """[m] raw density, before shift and softplus; differentiable in the field's parameters."""
        ...

    def density_and_more(self, u: Tensor, footprint: Tensor) -> tuple[Tensor, Tensor | None]:
        """The density and, where the field computes it along, [m, k] that ``radiance`` needs at these points."""
        ...

    def radiance(self, u: Tensor, footprint: Tensor, direction_world: Tensor, ray: Tensor, more: Tensor | None
                 ) -> Tensor:
        """[m, 3] colour in 0..1 seen along direction_world[ray] (directions [rays, 3] unit, ray [m] int32).

        ``more``: the rows of ``density_and_more`` for these points.
        """
        ...


@runtime_checkable
class Distance(Protocol):
    """Signed distance and normal at points of space."""

    def distance(self, x_world: Tensor) -> Tensor: ...

    def normal(self, x_world: Tensor) -> Tensor: ...


@runtime_checkable
class Surfaced(Distance, Protocol):
    """A distance that is known in a box, with colours on its zero set."""

    @property
    def surface_box(self) -> Tensor:
        """[2, 3] low and high corner, world; outside of it there is no surface."""
        ...

    def colour(self, x_world: Tensor) -> Tensor:
        """[n, 3] colours in 0..1 of points on the surface."""
        ...


@runtime_checkable
class Meshed(Protocol):
    """A field that is a mesh."""

    def mesh(self, t: float = 0.0) -> Mesh:
        """The mesh with colours at its vertices, in the world."""
        ...


class Renderer(Protocol):
    """Field and camera in, pictures out."""

    def render(self, field: Any, camera: Camera, *, background: Tensor | None = None,
               want: Collection[str] = ("rgb",)) -> Render:
        """``background`` [3] colour behind everything; ``want`` names the channels, see ``recon.types.render``.

        A renderer of systems with dropout also takes ``drop``, a ``recon.types.Drop``.
        """
        ...


class Sampler(Protocol):
    """Chooses the rays of a step where whole pictures are not compared."""

    def draw(self, observations: Any, step: int, seed: int, scale: float, most: int = 0) -> Observation:
        """An Observation with ``rays``, drawn from (seed, step), no more than ``most`` (0: as the sampler likes);
        ``observations`` gives views by ``get(index, scale)``.

        A renderer for such systems has ``render_rays(field, rays, background=, want=)``.
        """
        ...


class Loss(Protocol):
    """One term of the objective. ``channels`` says what must be rendered for it.

    One that reads more of an Observation than its target and mask names that in ``reads``: "alpha" is kept, and
    "clipped" found, only then. One with a ``begin`` counts from that share of the fit on.
    """

    @property
    def weight(self) -> float: ...

    @property
    def channels(self) -> Collection[str]: ...

    def value(self, render: Render, seen: Observation) -> Tensor:
        """Scalar loss of one rendered view, differentiable, before weighting."""
        ...


@runtime_checkable
class Curved(Protocol):
    """A loss that second-order optimizers can use: near a picture it is bounded by a sum of weighted squares."""

    def curvature(self, rgb: Tensor, seen: Observation) -> tuple[float | Tensor, Tensor, Tensor]:
        """rgb [3, height, width] -> loss (on a GPU a scalar there), its gradient by rgb, and weights W >= 0, both of
        that shape.

        loss + gradient . d + d . W d / 2 is the model of the loss at rgb + d, before weighting.
        """
        ...


class Linear(Protocol):
    """A picture [3, height, width] as a function of the parameters, near where they are: products with J."""

    picture: Tensor

    @property
    def nbytes(self) -> int: ...

    @property
    def visible(self) -> Tensor:
        """[rows] bool: which primitives it shows; only of renderers with ``blocks``."""
        ...

    def vjp_(self, u: Tensor, out: Sequence[Tensor]) -> None:
        """Adds J^T u to ``out``, one tensor per parameter."""
        ...

    def jvp(self, v: Sequence[Tensor]) -> Tensor:
        """J v [3, height, width]."""
        ...

    def normal_(self, v: Sequence[Tensor], weights: Tensor, out: Sequence[Tensor]) -> None:
        """Adds J^T W J v."""
        ...

    def diagonal_(self, weights: Tensor, out: Sequence[Tensor], blocks: Tensor | None = None) -> None:
        """Adds diag(J^T W J), and the blocks of single primitives to ``blocks.values`` of ``blocks()``."""
        ...

    def blocks(self) -> Any:
        """Empty blocks: ``values``, and ``inverse(added, diagonal)``, a function that multiplies rows in place."""
        ...

    def camera_columns(self) -> Tensor:
        """[6, 3, height, width]: how the picture changes as the camera turns about its x, y, z (radians) and moves
        along them (scene units)."""
        ...


@runtime_checkable
class Linearises(Protocol):
    """A renderer whose pictures can be linearised."""

    def linearise(self, field: Any, camera: Camera, *, background: Tensor) -> Linear: ...


@runtime_checkable
class OwnCurvature(Linearises, Protocol):
    """A renderer of primitives that can be moved by their own curvature alone; the trace of its pictures, where the
    backward pass is deferred, offers ``newton_(params, momentum, curvature, rate=, keep=, most=)``."""

    def own_curvature(self, blocks: Any, diagonal: Mapping[str, Tensor], weights: Tensor, *, damping: float,
                      floor: float) -> dict[str, Tensor]:
        """The inverse of each primitive's own part of J^T W J, whose sums are in ``blocks`` and ``diagonal``.

        weights [rows] multiply the rows. ``damping``: share of the diagonal that is added to it; of at least ``floor``
        of the mean of its parameter.
        """
        ...


@runtime_checkable
class Poseable(Linearises, Protocol):
    """A renderer whose pictures have derivatives by the pose of the camera (``Linear.camera_columns``)."""

    poseable: bool


@runtime_checkable
class Regularizer(Protocol):
    """A term that looks at the field itself and not at a picture.

    One that is random or has its time offers ``of_field_at(field, step, total_steps, seed)`` too, which is then called.
    """

    @property
    def weight(self) -> float: ...

    def of_field(self, field: Any) -> Tensor:
        """Scalar, differentiable in the field's parameters, before weighting."""
        ...


@runtime_checkable
class PointRegularizer(Protocol):
    """A Regularizer that looks at points of the field drawn at random."""

    @property
    def weight(self) -> float: ...

    def of_points(self, field: Any, generator: torch.Generator) -> Tensor:
        """Scalar, differentiable in the field's parameters, before weighting; all chance comes from ``generator``."""
        ...


class Problem(Protocol):
    """The current step as optimizers and strategies see it.

    step        finished steps, 0 in the first         radius   scene extent (Capture.radius)
    seen        what this step compares with           render   the last rendered picture, with its trace
    cameras     of the views that are fitted           most_rays   of a step, 0: as the sampler likes; is changed
    """

    field: Any
    step: int
    total_steps: int
    seed: int
    radius: float
    most_rays: int
    seen: Observation
    render: Render

    @property
    def cameras(self) -> Sequence[Camera]: ...

    def gradient(self, deferred: bool = False, idle: bool = False) -> float:
        """Renders the step's view, leaves dL/dp in every parameter's ``grad`` and returns the loss L.

        With ``deferred``, a renderer that can may leave the last part of the backward pass to ``render.trace``
        (``trace.deferred`` is then true), so that an optimizer can fuse it with its update. On a GPU such a step may
        turn out to have drawn nothing, and must then change nothing; ``take_back(steps)`` of the optimizer is told.
        With ``idle`` the optimizer says that numbers without a gradient keep their value and moments, or that it asks
        whether the step ``counts``; then the same may happen to any step, with no gradient anywhere.
        """
        ...

    def counts(self) -> Tensor | None:
        """[1] bool on the GPU: whether the step that ``gradient`` was last asked for may change anything; None: it may.
        """
        ...

    def least_squares(self, views: int = 0, curved: int = 0, tested: int = 0, batches: int = 1) -> Any:
        """The mean loss over ``views`` views (0 = all) with its curvature, see ``recon.optim.gauss_newton``.

        ``curved``: how many of them the products look at; ``tested``: of how many the value is taken (0 = all).
        ``batches``: parts of the views that are solved apart.
        Only where every loss is ``Curved``.
        """
        ...


class Optimizer(Protocol):
    def step(self, problem: Problem) -> float:
        """One update of the field's parameters; returns the loss before it."""
        ...

    def follow(self, change: RowChange) -> None:
        """Carries per-row state over a change of the field's rows."""
        ...

    def forget(self, name: str) -> None:
        """Sets the state of one parameter to zero, after its values were reset."""
        ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


class Strategy(Protocol):
    """The only thing that changes shapes. ``act`` is called after every step and mostly does nothing.

    A strategy may have ``due(problem) -> bool``: whether ``act`` would change anything but sums over what the step has
    drawn. Before such a step ends, a fit on a GPU waits until it knows that all is well; without it, in every step.
    What follows from the number of steps alone may change unasked with ``take_back(problem)``, which is called when
    steps are made again.
    """

    def act(self, problem: Problem, optimizer: Optimizer) -> str | None:
        """Returns what was changed in a few words, or None."""
        ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: dict[str, Any]) -> None: ...


class FieldSettings(Protocol):
    def build(self) -> Field: ...


class OptimizerSettings(Protocol):
    def build(self, field: Any, radius: float, total_steps: int) -> Optimizer: ...


class StrategySettings(Protocol):
    def build(self, field: Any, radius: float, total_steps: int) -> Strategy: ...
