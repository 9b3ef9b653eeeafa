"""FitProblem: one step's view, picture and gradient, as optimizers and strategies see it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from recon.errors import InputError
from recon.fit.corrected_picture import CorrectedPicture
from recon.fit.exposure import ExposureCorrection
from recon.fit.photos import Observations
from recon.fit.poses import Poses, refuse_what_has_no_poses
from recon.fit.second_order import Passes, ViewsProblem, refuse_what_has_no_curvature
from recon.fit.system import System
from recon.ops.cuda import Late
from recon.ops.march_cuda import has_room
from recon.ops.room import Room
from recon.protocols import Linear, PointRegularizer, Regularizer
from recon.types import Camera, Capture, Drop, Observation, Render


class FitProblem:
    """Implements the Problem protocol. Everything random is drawn from (seed, step), so any step can be repeated."""

    def __init__(self, capture: Capture, system: System, field: Any, seed: int, memory: int) -> None:
        if not capture.train:
            raise InputError("no view is left for fitting", file=capture.root, fix="Hold out fewer views.")
        self.capture, self.system, self.field, self.seed = capture, system, field, seed
        self.radius = capture.radius
        if getattr(system.optimizer, "second_order", False):
            refuse_what_has_no_curvature(system)
        self._memory = memory
        # A sampler takes pixels on the CPU, and its batch is sent.
        device = field.params.device if system.sampler is None else None
        self.observations = Observations(capture.train, capture, system, memory, device=device)
        self.total_steps = system.steps
        self.step = 0
        self.most_rays = 0
        self.passes = Passes()
        self.seen: Observation
        self.render: Render
        self.exposure = (
            ExposureCorrection(system.exposure, len(capture.train), system.steps, field.params.device)
            if system.exposure.enabled else None
        )
        # the last first-order steps, which may count for nothing (see ``Room``), and how exposure and pose were before
        self._before: deque[tuple[int, list[Callable[[], None]]]] = deque(maxlen=2)
        self.poses: Poses | None = None
        if system.pose_refinement.enabled:
            refuse_what_has_no_poses(system)
            self.poses = Poses(system.pose_refinement, capture.train, self.radius)
        self.warnings: list[str] = []  # read and emptied by the loop
        self._warned: list[str] = []
        self._lost: set[int] = set()
        self._loss = Late()
        self.room = Room()
        if system.sampler is not None and system.exposure.enabled:
            raise InputError("exposure correction needs whole photos, and this method compares single pixels",
                             fix="Leave out --exposure.enabled.")
        self._order: list[int] = []
        self._epoch = -1
        losses = {n: loss for n, loss in system.losses.items() if loss.weight != 0.0}
        self._pointed = {n: loss for n, loss in losses.items() if isinstance(loss, PointRegularizer)}
        self._fielded = {n: loss for n, loss in losses.items() if isinstance(loss, Regularizer)}
        self._pictured = {n: loss for n, loss in losses.items() if n not in self._fielded and n not in self._pointed}
        d = system.dropout
        self._dropout = min(max(d.share, 0.0), 0.9) if len(capture.train) < d.photos else 0.0
        self._want = {"rgb"}.union(*(loss.channels for loss in self._pictured.values()))

    @property
    def cameras(self) -> list[Camera]:
        return [v.camera for v in self.capture.train]

    def scale(self, step: int) -> float:
        """Downscale factor of a step: pixels grow evenly from the start scale to 1, in eight levels."""
        r = self.system.resolution
        if r.start <= 1.0:
            return 1.0
        share = step / max(self.total_steps, 1) / max(r.until, 1e-9)
        if share >= 1.0:
            return 1.0
        level = math.floor(share * 8) / 8
        pixels = (1 - level) / (r.start * r.start) + level
        camera = self.observations.views[0].camera
        limit = max(min(camera.size) / r.min_side, 1.0)
        return min(1.0 / math.sqrt(pixels), limit)

    def view_of(self, step: int) -> int:
        """Which training view a step looks at: every view once per epoch, in an order drawn for that epoch."""
        n = len(self.observations)
        epoch, position = divmod(step, n)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 7_919 + epoch)
            self._order, self._epoch = torch.randperm(n, generator=generator).tolist(), epoch
        return self._order[position]

    def observe(self) -> Observation:
        if self.system.sampler is not None:
            batch = self.system.sampler.draw(self.observations, self.step, self.seed, self.scale(self.step),
                                             self.most_rays)
            return batch.to(self.field.params.device)
        generator = None
        if self.observations.random_background:
            generator = torch.Generator().manual_seed(self.seed * 104_729 + self.step)
        for ahead in range(len(self.observations)):  # a photo that turns out to be damaged is passed over
            index = self.view_of(self.step + ahead)
            if index in self._lost:
                continue
            try:
                return self._posed(self.observations.get(index, self.scale(self.step), generator))
            except InputError as error:
                self._lost.add(index)
                self.warnings.append(f"{error}; the fit goes on without this photo")
        raise InputError("no photo could be read", file=self.capture.root, fix="Check the files or the disk.")

    def _posed(self, seen: Observation) -> Observation:
        return seen if self.poses is None else replace(seen, camera=self.poses.camera(seen.index, seen.camera))

    def _linear(self, seen: Observation) -> Linear:
        """The picture of a view, in the colours of its photo, with its derivatives."""
        picture: Linear = self.system.renderer.linearise(  # type: ignore[attr-defined]
            self.field, seen.camera, background=seen.background)
        return picture if self.exposure is None else CorrectedPicture(picture, self.exposure.maps[seen.index])

    def take_back(self, finished: int) -> None:
        """Goes back to before steps that changed nothing: they are made again. ``finished`` of them were counted."""
        self.step -= finished
        while self._before and self._before[-1][0] >= self.step:
            for restore in self._before.pop()[1]:
                restore()
        self._loss = Late()

    def least_squares(self, views: int = 0, curved: int = 0, tested: int = 0, batches: int = 1) -> ViewsProblem:
        """The mean loss over ``views`` training views (0 = all), for second-order optimizers; see ``ViewsProblem``."""
        n = len(self.observations)
        chosen = [i for i in range(n) if i not in self._lost]
        generator = torch.Generator().manual_seed(self.seed * 32_452_843 + self.step)
        start = float(torch.rand((), generator=generator))
        if 0 < views < len(chosen):
            chosen = [chosen[int((k + start) * len(chosen) / views)] for k in range(views)]
        self.seen = self._posed(self.observations.get(chosen[0], self.scale(self.step)))
        problem = ViewsProblem(self.field, self.system, self.observations, chosen, scale=self.scale(self.step),
                               curved=curved, tested=tested, phase=start, memory=self._memory, passes=self.passes,
                               poses=self.poses, exposure=self.exposure, batches=batches, room=self._room_here(),
                               rows=self._rows)
        problem.warnings, problem.warned = self.warnings, self._warned
        if self.field.params.device.type == "cuda" and hasattr(self.field, "kept"):
            self._before.append((self.step, [self.field.kept(chosen[0])]))
        with torch.no_grad(), problem.lists():
            self.render = self.system.renderer.render(self.field, self.seen.camera, background=self.seen.background)
        return problem

    @property
    def _rows(self) -> int:
        """Rows whose number tells how long lists are: those of Gaussians; of all else 1."""
        return self.field.params.rows if hasattr(self.system.renderer, "render_deferred") else 1

    def _room_here(self) -> Room | None:
        """What lists can take their capacity from: on a GPU, where the renderer's can be cut off, and only of fields
        that give a row the same bits however many there are."""
        able = (self.field.params.device.type == "cuda" and getattr(self.system.renderer, "room_on_cuda", False)
                and getattr(self.field, "row_by_row", True))
        return self.room if able and has_room(next(t for _, t in self.field.params.items())) else None

    def _lists(self, counted: bool) -> AbstractContextManager[None]:
        """Where this step's lists take their capacity from, if it can count for nothing (``counted``)."""
        room = self._room_here() if counted else None
        return nullcontext() if room is None else room.opened(self._rows)

    def counts(self) -> torch.Tensor | None:
        """Whether this step had enough room for its lists, see the Problem protocol."""
        return self.room.enough()

    def gradient(self, deferred: bool = False, idle: bool = False) -> float:
        """Backward of all losses of one view; the loss, on a GPU that of the step before (see ``Late``)."""
        self.seen = seen = self.observe()
        self.passes.count += 1
        if self.field.params.device.type == "cuda":
            parts: tuple[Any, ...] = (self.exposure, self.poses, self.field)
            self._before.append((self.step, [part.kept(seen.index) for part in parts if hasattr(part, "kept")]))
        draw: Callable[..., Render] = self.system.renderer.render
        if deferred:
            draw = getattr(self.system.renderer, "render_deferred", draw)
        if seen.rays is not None:
            draw = self.system.renderer.render_rays  # type: ignore[attr-defined]
        done = self.step / max(self.total_steps, 1)
        share = self._dropout * done if done < self.system.dropout.until else 0.0
        more: dict[str, Any] = {} if share <= 0.0 else {"drop": Drop(share, self.seed * 15_485_863 + self.step)}
        shown = seen.camera if seen.rays is None else seen.rays
        with self._lists(deferred or idle):
            if self.poses is not None and self.poses.due(self.step, self.total_steps, len(self.observations)):
                self.poses.refine(self._linear(seen), seen)  # in the same room as the picture: both count, or neither
                self.passes.count += 1
            render = draw(self.field, shown, background=seen.background, want=self._want, **more)
        self.render = render
        if self.exposure is not None:
            corrected = self.exposure.apply(render.rgb, seen.index)
            render = Render(corrected, render.depth, render.normal, render.opacity, render.trace)
        loss = torch.zeros(())
        for term in self._pictured.values():
            if _counts(term, done):
                loss = loss + term.weight * term.value(render, seen)
        for term in self._fielded.values():
            timed = getattr(term, "of_field_at", None)
            when = (self.step, self.total_steps, self.seed)
            value = term.of_field(self.field) if timed is None else timed(self.field, *when)
            loss = loss + term.weight * value
        for i, term in enumerate(self._pointed.values()):
            if _counts(term, done):
                generator = torch.Generator().manual_seed((self.seed * 49_979_687 + self.step) * 16 + i)
                loss = loss + term.weight * term.of_points(self.field, generator)
        enough = self.counts() if idle else None
        if enough is not None:  # else no number gets a gradient
            loss = loss * enough[0]
        loss.backward()
        if self.exposure is not None:
            self.exposure.step(seen.index, self.step)
        return self._loss.take(loss.detach())


def _counts(term: Any, done: float) -> bool:
    """Whether a loss counts at this share of the fit."""
    return bool(getattr(term, "begin", 0.0) <= done < getattr(term, "until", math.inf))
