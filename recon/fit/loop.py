"""The fit: a plain loop over steps that says what happens through events. It knows no concrete system."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from recon.errors import InputError
from recon.fit import checkpoint
from recon.fit.evaluate import compare, mean
from recon.fit.events import Changed, Evaluated, Event, Finished, Progress, Saved, Started, Warned
from recon.fit.photos import cut_out
from recon.fit.problem import FitProblem
from recon.fit.system import System
from recon.ops import cuda
from recon.types import Capture

_BETWEEN_LOOKS = 9.0  # at least so many times what a look takes: volumes are slow to draw


def refuse_what_is_not_on_cuda(system: System) -> None:
    """Raises InputError, by name, for parts of a system that have no CUDA path."""
    fix = "Fit on the processor: --device cpu."
    renderer, able = type(system.renderer).__name__, getattr(system.renderer, "on_cuda", ())
    if not able:
        raise InputError(f"{renderer} has no CUDA kernels yet", fix=fix)
    found = cuda.backends()
    if found and not set(found) & set(able):
        raise InputError(f"{renderer} has no kernels in {' and '.join(found)}, in the place of Recon's own",
                         fix=f"`recon doctor` says how to get Recon's own. {fix}")
    if getattr(system.optimizer, "second_order", False) and (
            not getattr(system.renderer, "linear_on_cuda", False) or found not in ((), ("recon",))):
        raise InputError(f"{type(system.optimizer).__name__} has no CUDA kernels for {renderer} here", fix=fix)
    if system.pose_refinement.enabled and found not in ((), ("recon",)):
        raise InputError(f"refining poses has no kernels in {' and '.join(found)}", fix=fix)


def _always(problem: FitProblem) -> bool:
    """What a strategy is that does not say when it is due."""
    return True


def _never(problem: FitProblem) -> bool:
    """What an optimizer is that does not, and what a strategy without a memory of steps does."""
    return False


class Fit:
    """One fit of a capture by a system. Iterate over ``events()`` to run it; the caller's thread does the work.

    folder             where ``checkpoint/`` is kept; None = nothing is saved
    resume             go on from the newest checkpoint in ``folder``, if there is one
    until              stop after this many steps in total (default: the system's plan; may lie beyond it)
    checkpoint_every_s, evaluate_every_s   seconds between saves and looks at the held-out views, which come less often
                       where they take long; they cost time but never change the result
    memory             bytes for prepared photos
    scene_memory       bytes for the scene, its gradients and moments; None = what is free
    device             where the field lives and steps are made (default: the processor)
    """

    def __init__(self, capture: Capture, system: System, *, seed: int = 0, folder: Path | None = None,
                 resume: bool = False, until: int | None = None, checkpoint_every_s: float = 60.0,
                 evaluate_every_s: float = 20.0, memory: int = 1 << 30, scene_memory: int | None = None,
                 device: torch.device | None = None) -> None:
        capture = cut_out(capture, system)
        self.capture, self.system, self.seed = capture, system, seed
        self.folder, self.until = folder, system.steps if until is None else until
        self.checkpoint_every_s, self.evaluate_every_s = checkpoint_every_s, evaluate_every_s
        self.warnings: list[str] = []
        self.between_steps: Callable[[], None] | None = None  # called on the fit's thread before each step
        self._stop = False
        self._process = psutil.Process()
        self._peak = 0
        self._seconds_before = 0.0
        self._started_at = time.monotonic()

        self.field: Any = system.field.build()
        if scene_memory is not None and hasattr(self.field, "limit_memory"):
            self.field.limit_memory(scene_memory)
        state = self._saved_state() if resume else None
        attach = getattr(self.field, "attach", None)
        if attach is not None:
            attach(capture)
        if state is None:
            self.field.initialise(capture, seed)
        else:
            self.field.params.load_state(state["params"])
        if device is not None and device.type != "cpu":
            refuse_what_is_not_on_cuda(system)
            self.field.params.to(device)
        self.problem = FitProblem(capture, system, self.field, seed, memory)
        self.optimizer = system.optimizer.build(self.field, self.problem.radius, system.steps)
        self.strategies = {
            name: s.build(self.field, self.problem.radius, system.steps) for name, s in system.strategies.items()
        }
        self.resumed = state is not None
        if state is not None:
            self._load(state)

    @property
    def step(self) -> int:
        """Finished steps."""
        return self.problem.step

    @property
    def seconds(self) -> float:
        """Fitting time so far, resumes added up."""
        return self._seconds_before + time.monotonic() - self._started_at

    def request_stop(self) -> None:
        """The current step is finished and saved, then the events end with Finished(stopped=True)."""
        self._stop = True

    @property
    def stopping(self) -> bool:
        return self._stop

    def begin_at(self, step: int, seconds: float) -> None:
        """What was done before the loop counts as ``step`` steps in ``seconds``."""
        self.problem.step, self._seconds_before = step, seconds

    def leave_out(self, seconds: float) -> None:
        """Time that was no fitting (a pause): it is not counted."""
        self._started_at += seconds

    def events(self) -> Iterator[Event]:
        self._started_at = time.monotonic()
        yield Started(self.step, self.seconds, self.until, self.field.num_primitives, self.resumed)
        for message in self.warnings:
            yield Warned(self.step, self.seconds, message)
        now = time.monotonic()
        last_progress = last_save = now
        next_evaluation = now + self.evaluate_every_s
        last_progress_step, smooth_loss, quality = self.step, None, None
        while self.step < self.until and not self._stop:
            if self.between_steps is not None:
                self.between_steps()
                if self._stop:
                    break
            loss, changes = self.advance()
            while self.problem.warnings:
                yield Warned(self.step, self.seconds, self.problem.warnings.pop(0))
            smooth_loss = loss if smooth_loss is None else 0.95 * smooth_loss + 0.05 * loss
            for what in changes:
                yield Changed(self.step - 1, self.seconds, what, self.field.num_primitives)
            now = time.monotonic()
            if now >= next_evaluation and self.step < self.until:
                result = self.evaluate(most_views=8)
                quality = result.psnr
                taken = time.monotonic() - now
                yield result
                next_evaluation = time.monotonic() + max(self.evaluate_every_s, _BETWEEN_LOOKS * taken)
            if now - last_progress >= 0.25 or self.step == self.until:
                speed = (self.step - last_progress_step) / max(now - last_progress, 1e-9)
                yield Progress(self.step, self.seconds, self.until, smooth_loss, quality, self.field.num_primitives,
                               speed, (self.until - self.step) / max(speed, 1e-9), self._memory(),
                               self.problem.seen.camera.size)
                last_progress, last_progress_step = time.monotonic(), self.step
            if self.folder is not None and now - last_save >= self.checkpoint_every_s:
                yield self._save_or_warn()
                last_save = time.monotonic()
        if self.folder is not None:
            yield Saved(self.step, self.seconds, self.save())
        if not self._stop:
            yield self.evaluate(final=True)
        self._memory()
        yield Finished(self.step, self.seconds, self._stop, self.field.num_primitives, self._peak)

    def advance(self) -> tuple[float, list[str]]:
        """One step and what the strategies do after it: the loss, and what they changed, in words.

        On a GPU it may be the step before that is made again, because its lists had too little room (``Room``).
        """
        loss = self.optimizer.step(self.problem)
        due = getattr(self.optimizer, "due", _never)(self.problem) or any(
            getattr(s, "due", _always)(self.problem) for s in self.strategies.values())
        lost = self.problem.room.lost(wait=due)
        if lost:
            self._take_back(lost, finished=lost - 1)
            return self.advance()
        if not math.isfinite(loss):
            view = self.capture.train[self.problem.seen.index].name
            raise InputError(f"the loss became {loss} at step {self.step} on view {view}",
                             fix="Lower the learning rates, or report this scene; the last checkpoint is intact.")
        acts = {name: strategy.act(self.problem, self.optimizer) for name, strategy in self.strategies.items()}
        self.problem.step += 1
        return loss, [f"{name}: {what}" for name, what in acts.items() if what is not None]

    def _take_back(self, steps: int, finished: int) -> None:
        optimizer: Any = self.optimizer  # that asked for deferred gradients, see Problem.gradient
        optimizer.take_back(steps)
        self.problem.take_back(finished)
        for strategy in self.strategies.values():
            getattr(strategy, "take_back", _never)(self.problem)

    def settle(self) -> None:
        """Waits for the GPU; afterwards every step that was counted has been made."""
        while self.problem.room.unsettled():
            self._take_back(1, finished=1)
            self.advance()

    def evaluate(self, final: bool = False, most_views: int | None = None) -> Evaluated:
        """Quality on the held-out views, or on up to eight training views where none are held out."""
        self.settle()
        capture = self.posed_capture()
        split, views = ("test", capture.test) if capture.test else ("train", capture.train[:8])
        if most_views is not None and len(views) > most_views:
            views = views[:: -(-len(views) // most_views)]
        results = {}
        for r in compare(self.field, self.system, self.capture, views, perceptual=final):
            results[r.name] = r.scores
            if self.between_steps is not None:  # a picture of a volume may take seconds
                self.between_steps()
        found = mean(results)
        return Evaluated(self.step, self.seconds, split, found["psnr"], found["ssim"], results, final)

    def posed_capture(self) -> Capture:
        """The capture with cameras where the fit has them: fitted ones refined, held-out ones moved along."""
        poses = self.problem.poses
        if poses is None:
            return self.capture
        fitted, others = iter(poses.moved(self.capture.train)), iter(poses.aligned(self.capture.test))
        views = tuple(next(fitted if v.split == "train" else others) for v in self.capture.views)
        return replace(self.capture, views=views)

    # ------------------------------------------------------------ saving

    def save(self) -> Path:
        assert self.folder is not None
        self.settle()
        costs = {"seconds": self.seconds, "peak_memory_bytes": self._peak}
        return checkpoint.save(self.folder / "checkpoint", self.step, self.state(), costs)

    def _save_or_warn(self) -> Event:
        try:
            return Saved(self.step, self.seconds, self.save())
        except OSError as error:
            return Warned(self.step, self.seconds, f"could not save a checkpoint ({error}); the fit goes on")

    def state(self) -> dict[str, Any]:
        """Everything that decides how the fit goes on, as plain values and tensors."""
        return {
            "version": 1,
            "step": self.step,
            "seed": self.seed,
            "most_rays": self.problem.most_rays,
            "params": self.field.params.state(),
            "field": self.field.state(),
            "optimizer": self.optimizer.state(),
            "strategies": {name: s.state() for name, s in self.strategies.items()},
            "poses": None if self.problem.poses is None else self.problem.poses.state(),
            "exposure": None if self.problem.exposure is None else self.problem.exposure.state(),
        }

    def _saved_state(self) -> dict[str, Any] | None:
        if self.folder is None:
            return None
        state, warnings = checkpoint.load_latest(self.folder / "checkpoint")
        self.warnings += warnings
        return state

    def _load(self, state: dict[str, Any]) -> None:
        self.field.load_state(state["field"])  # after the strategies were built: building one may set the field up
        self.problem.step, self.problem.most_rays = int(state["step"]), int(state.get("most_rays", 0))
        assert self.folder is not None
        costs = checkpoint.load_costs(self.folder / "checkpoint", self.step)
        self._seconds_before = costs.get("seconds", 0.0)
        self._peak = int(costs.get("peak_memory_bytes", 0))
        self.optimizer.load_state(state["optimizer"])
        for name, strategy in self.strategies.items():
            if name in state["strategies"]:
                strategy.load_state(state["strategies"][name])
        if self.problem.poses is not None and state.get("poses") is not None:
            self.problem.poses.load_state(state["poses"])
        if self.problem.exposure is not None and state["exposure"] is not None:
            self.problem.exposure.load_state(state["exposure"])

    def _memory(self) -> int:
        used = self._process.memory_info().rss
        self._peak = max(self._peak, used)
        return used
