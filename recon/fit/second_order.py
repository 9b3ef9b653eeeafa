"""Several views of a fit as one least-squares problem, for optimizers that look at curvature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon.errors import InputError
from recon.fit.corrected_picture import CorrectedPicture
from recon.fit.exposure import ExposureCorrection
from recon.fit.exposure_block import ExposureBlock
from recon.fit.linear_views import LinearViews
from recon.fit.photos import Observations
from recon.fit.pose_block import PoseBlock
from recon.fit.poses import Poses
from recon.fit.system import System
from recon.fit.view_block import ViewBlock
from recon.ops.cuda import number
from recon.ops.room import Room
from recon.protocols import Curved, Linear, Linearises, OwnCurvature, Regularizer
from recon.types import Observation, Render


def refuse_what_has_no_curvature(system: System) -> None:
    """Raises InputError that names what in a system keeps a second-order optimizer from working."""
    optimizer, renderer = type(system.optimizer).__name__, type(system.renderer).__name__
    if not isinstance(system.renderer, Linearises):
        raise InputError(f"{optimizer} needs a renderer with Jacobian products; {renderer} has none", fix="Use adam.")
    if getattr(system.optimizer, "primitives", False) and not isinstance(system.renderer, OwnCurvature):
        raise InputError(f"{optimizer} moves primitives one by one; {renderer} has none", fix="Use adam.")
    for name, loss in system.losses.items():
        if isinstance(loss, Regularizer) or not isinstance(loss, Curved):
            raise InputError(f'{optimizer} cannot use the loss "{name}": it is no sum of squares',
                             fix="Leave the loss out of the preset, or use adam.")


@dataclass
class Passes:
    """How often photos were looked at: drawn for a gradient or a value, or gone through by a product."""

    count: int = 0


class ViewsProblem:
    """Mean loss over some views, as a function of all parameters in one vector x [n].

    views    positions in ``observations``       scale    downscale factor of the photos
    curved   how many of the views the products with J^T W J look at (0 = all of them); gradient and diagonal see all
    tested   how many of the views ``value`` looks at (0 = all of them)
    phase    0..1, shifts which views are ``curved``
    memory   bytes for what is kept of pictures between products; the rest is drawn again for every product
    passes   counts what is looked at, where somebody wants to know
    batches  parts of the views that are solved apart; their steps are averaged (``weighted_mean``)
    poses    where given, the poses of the views are unknowns too, behind the scene's in x: see ``pose_block``
    exposure where given, so are the colour maps of the photos, last in x: see ``exposure_block``
    room     where given, pictures on a GPU take room for their lists from it, and nobody waits for their lengths; see
             ``counts``; ``rows`` as in ``Room.opened``
    """

    def __init__(self, field: Any, system: System, observations: Observations, views: Sequence[int], *,
                 scale: float = 1.0, curved: int = 0, tested: int = 0,
                 phase: float = 0.5, memory: int = 1 << 30, passes: Passes | None = None,
                 poses: Poses | None = None, exposure: ExposureCorrection | None = None, batches: int = 1,
                 room: Room | None = None, rows: int = 1) -> None:
        self.room, self.rows = room, rows
        self._sound: list[tuple[str, int, Tensor]] = []  # on a GPU: loss, view, whether it is finite
        self.passes = passes or Passes()
        self.field, self.system, self.observations, self.scale, self.memory = field, system, observations, scale, memory
        self.views = list(views)
        self.poses, self.exposure = poses, exposure
        self.own: list[ViewBlock] = []
        self.placed = None if poses is None else PoseBlock(poses, self.views, field.params.device)
        if self.placed is not None:
            self.own.append(self.placed)
        if exposure is not None:
            self.own.append(ExposureBlock(exposure, self.views))
        self.curved, self.tested = _spread(self.views, curved, phase), _spread(self.views, tested)
        self.names = list(field.params)
        self.redrawn = 0  # views that did not fit into memory
        self.warnings: list[str] = []  # read and emptied by the loop
        self.warned: list[str] = []  # what has been said, so that it is said once
        self.near: LinearViews | None = None
        self.parts: tuple[ViewsProblem, ...] = ()
        if batches > 1 and len(self.views) >= batches and not self.own:
            self.parts = tuple(
                ViewsProblem(field, system, observations, self.views[i::batches], scale=scale, curved=curved,
                             phase=phase, memory=memory // batches, passes=self.passes, room=room, rows=rows)
                for i in range(batches))

    def observe(self, view: int) -> Observation:
        seen = self.observations.get(view, self.scale).to(self.field.params.device)
        return seen if self.placed is None else replace(seen, camera=self.placed.camera(view, seen.camera))

    def draw(self, seen: Observation) -> Linear:
        with self.lists():
            picture: Linear = self.system.renderer.linearise(self.field, seen.camera,  # type: ignore[attr-defined]
                                                             background=seen.background)
        return picture if self.exposure is None else CorrectedPicture(picture, self.exposure.maps[seen.index])

    def lists(self) -> AbstractContextManager[None]:
        """Where pictures take room for their lists from."""
        return nullcontext() if self.room is None else self.room.opened(self.rows)

    def counts(self) -> Tensor | None:
        """[1] bool on a GPU: whether all lists had room so far; None where they have their true lengths."""
        return None if self.room is None else self.room.enough()

    def curvature(self, rgb: Tensor, seen: Observation) -> tuple[float | Tensor, Tensor, Tensor]:
        """All losses of one view, before it is known on a GPU whether they are finite (see ``checked``); elsewhere
        raises InputError naming the loss and the view where one is not."""
        value: float | Tensor = 0.0
        gradient, weights = torch.zeros_like(rgb), torch.zeros_like(rgb)
        for name, loss in self.system.losses.items():
            v, g, w = loss.curvature(rgb, seen)
            sound = torch.isfinite(g).all() if isinstance(v, float) else torch.isfinite(g).all() & torch.isfinite(v)
            if not isinstance(v, float):
                self._sound.append((name, seen.index, sound))
            elif not math.isfinite(v) or not sound:
                self._refuse(name, seen.index, v)
            value += loss.weight * v
            gradient += loss.weight * g
            weights += loss.weight * w
        return value, gradient, weights

    def _refuse(self, loss: str, view: int, value: float) -> None:
        raise InputError(f'the loss "{loss}" became {value} on view {self.observations.views[view].name}',
                         fix="The last checkpoint is intact; go on from it with adam.")

    def checked(self, value: float | Tensor) -> float | Tensor:
        """``value`` of the objective; on a GPU NaN where a loss was not finite since the problem was linearised."""
        if not self._sound:
            return value
        return torch.where(torch.stack([sound for _, _, sound in self._sound]).all(), value, math.nan)

    def refuse_what_is_not_finite(self) -> None:
        """Waits for the GPU; raises InputError as ``curvature`` does elsewhere."""
        for loss, view, sound in (doubt for part in (self, *self.parts) for doubt in part._sound):
            if not sound:
                self._refuse(loss, view, math.nan)

    def linearise(self, blocks: bool = False) -> LinearViews:
        self._sound.clear()
        for block in self.own:
            block.rebase()
        self.near = LinearViews(self, self.tested, blocks)
        return self.near

    def own_curvature(self, damping: float, floor: float) -> dict[str, Tensor]:
        """What the renderer makes of the curvature that every primitive has for itself (``OwnCurvature``): the mean
        over those of the views that show it. On a GPU the lists have their true lengths, which is waited for: what is
        found is kept for many steps, so it must not come from one that does not count."""
        self.room = None
        params, blocks = self.field.params, None
        diagonal = {n: torch.zeros_like(params[n].detach()) for n in self.names}
        seen_by = torch.zeros(params.rows, device=params.device)
        self.passes.count += len(self.views)
        for view in self.views:
            seen = self.observe(view)
            picture = self.draw(seen)
            if blocks is None:
                blocks = picture.blocks()
            picture.diagonal_(self.curvature(picture.picture, seen)[2], list(diagonal.values()), blocks.values)
            seen_by += picture.visible
        self.refuse_what_is_not_finite()
        found: dict[str, Tensor] = self.system.renderer.own_curvature(  # type: ignore[attr-defined]
            blocks, diagonal, 1.0 / seen_by.clamp_min(1.0), damping=damping, floor=floor)
        return found

    def value(self) -> float | Tensor:
        """Mean loss over the tested views; infinite where a picture is not finite."""
        total: float | Tensor = 0.0
        self.passes.count += len(self.tested)
        for view in self.tested:
            seen = self.observe(view)
            with torch.no_grad(), self.lists():
                render = self.system.renderer.render(self.field, seen.camera, background=seen.background)
                if self.exposure is not None:
                    render = Render(self.exposure.apply(render.rgb, view))
                total += sum(loss.weight * number(loss.value(render, seen)) for loss in self.system.losses.values())
        total /= len(self.tested)
        if isinstance(total, Tensor):
            return torch.where(torch.isfinite(total), total, math.inf)
        return total if math.isfinite(total) else math.inf

    def read(self) -> Tensor:
        x = [self.field.params[n].detach().flatten() for n in self.names]
        return torch.cat([*x, *(block.read() for block in self.own)])

    def write(self, x: Tensor) -> None:
        for block, part in zip(self.own, self.parts_of_views(x), strict=True):
            block.write(part)
        for name, part in zip(self.names, self.split(x), strict=True):
            tensor = self.field.params[name].detach()
            tensor.copy_(part)

    def split(self, x: Tensor) -> list[Tensor]:
        """Views of x with the shapes of the parameters."""
        shapes = [self.field.params[n].shape for n in self.names]
        parts = torch.split(x[:sum(s.numel() for s in shapes)], [s.numel() for s in shapes])
        return [p.view(s) for p, s in zip(parts, shapes, strict=True)]

    def parts_of_views(self, x: Tensor) -> list[Tensor]:
        """Views of the parts of x that belong to ``own``."""
        last = x[sum(self.field.params[n].numel() for n in self.names):]
        return list(torch.split(last, [sum(block.groups) for block in self.own])) if self.own else []


def _spread(views: Sequence[int], count: int, phase: float = 0.5) -> list[int]:
    """``count`` of the views at even distances; all of them where count is 0."""
    if not 0 < count < len(views):
        return list(views)
    return [views[int((k + phase) * len(views) / count) % len(views)] for k in range(count)]
