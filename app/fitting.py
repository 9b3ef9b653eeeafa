"""FitJob: from a request to a finished run folder. The command line and the Python API both go through here."""

from __future__ import annotations

import dataclasses
import errno
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recon.app import atomic, catalogue, machine, results, run_folder, settings, sizes
from recon.app.reporters import QuietReporter, Reporter
from recon.app.scenes import (
    PHOTO_SHARE,
    at_working_size,
    read_scene,
    scene_words,
    split_words,
    with_adjusted_poses,
    with_points,
    with_start,
    working_size,
)
from recon.errors import BudgetError, InputError

if TYPE_CHECKING:
    from recon.fit.events import Event, Finished
    from recon.fit.system import System
    from recon.types import Capture

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows knows no quota
LEAST_MEMORY = 500_000_000  # torch and the program themselves take about 300 MB
PROGRAM_MEMORY = 250_000_000


@dataclass(frozen=True)
class FitRequest:
    """What to fit and how. None means: not said, so the default, or what the run being continued says.

    scene       folder, transforms file, video ... to read
    method      name of a method, or package.module:PRESET
    preset      fast, balanced or quality
    system      a whole System in place of method and preset (settings changed on the command line end up here)
    time        seconds the fit may take
    resolution  "540x960" | "1/2" | "auto": working size of the photos; a tuple is taken as it is
    memory      budget in bytes
    holdout     every n-th photo is kept for measuring, 0 = none (where the scene itself has no split)
    out         run folder; runs/<scene>-<method>-NN when None
    start       a mesh in the coordinates of the source, for methods that begin with one
    refine_poses   camera poses are unknowns too
    until       stop at this step although the plan (``system.steps``) is another
    device      "cuda" | "cpu" | "auto" (None): a GPU where there is one that can fit this system
    command     what the user typed, for README.txt
    """

    scene: str | None = None
    method: str | None = None
    preset: str | None = None
    system: System | None = None
    time: float | None = None
    steps: int | None = None
    resolution: str | tuple[int, int] | None = None
    memory: int | None = None
    seed: int | None = None
    threads: int | None = None
    out: Path | None = None
    format: str | None = None
    holdout: int | None = None
    masks: Literal["auto", "ignore", "object", "present", "off"] | None = None
    poses: str | None = None
    start: str | None = None
    refine_poses: bool | None = None
    until: int | None = None
    device: Literal["auto", "cpu", "cuda"] | None = None
    command: str = ""


def merged(request: FitRequest, config: dict[str, Any]) -> FitRequest:
    """``request`` with everything it leaves open taken from a config.yaml; its system too, unless a method is named."""
    scene, fit = config["scene"], config.get("fit") or {}
    known: dict[str, Any] = {
        "scene": scene.get("path"), "format": scene.get("format"), "holdout": scene.get("holdout"),
        "poses": scene.get("poses"), "start": scene.get("start"),
        "resolution": tuple(scene["size"]) if scene.get("size") else None,
        "memory": fit.get("memory_bytes"), "seed": fit.get("seed"), "threads": fit.get("threads"),
        "device": fit.get("device"),
    }
    if request.steps is None and request.time is None:
        known["until"] = fit.get("until")
    if request.method is None and request.preset is None:
        known |= {"method": fit.get("method"), "preset": fit.get("preset")}
        if request.system is None:
            known["system"] = saved_system(config)
    return dataclasses.replace(request, **{k: v for k, v in known.items() if getattr(request, k) is None})


def saved_system(config: dict[str, Any]) -> System:
    """The System of a config.yaml, exactly as it was. Raises InputError for what cannot be rebuilt."""
    method = str((config.get("fit") or {}).get("method") or "")
    packages = ("recon", method.split(".")[0]) if ":" in method else ("recon",)
    system = settings.from_plain(config["system"], packages=packages)
    if not hasattr(system, "renderer"):
        raise InputError("the system in config.yaml has no renderer", fix="Copy the file again from the run folder.")
    return system


class FitJob:
    """A prepared fit: capture read, system resolved, run folder made. ``events()`` does the work.

    Raises InputError from the constructors and from ``events()`` for everything a person can mend.
    """

    def __init__(self, request: FitRequest, reporter: Reporter | None = None) -> None:
        """A new run. Nothing is written before the scene was read and the settings are known to be good."""
        begun = time.monotonic()
        self._init(request, reporter)
        if request.scene is None:
            raise InputError("no scene given", fix="Name a folder of photos: recon fit photos/")
        atomic.check_writable(request.out or Path("runs"))
        if request.out is not None and request.out.exists() and not request.out.is_dir():
            raise InputError("is a file, not a folder", file=request.out, fix="Choose another --out.")
        system = request.system or catalogue.load(self.method, self.preset)
        if request.steps is not None:
            steps = check_steps(request.steps)
            if request.system is None:  # a shorter plan also acts more often; explicit settings stay as they are
                from recon.fit.plan import with_steps

                system = with_steps(system, steps)
            system = dataclasses.replace(system, steps=steps)
        if request.masks is not None:
            system = dataclasses.replace(system, masks=request.masks)
        if request.refine_poses:
            refined = dataclasses.replace(system.pose_refinement, enabled=True)
            system = dataclasses.replace(system, pose_refinement=refined)
            from recon.fit.poses import refuse_what_has_no_poses

            refuse_what_has_no_poses(system)
        if request.start is not None and not getattr(system.field, "starts_from_mesh", False):
            raise InputError(f"--start: {self.method} does not begin with a mesh",
                             fix="Leave it out, or choose a method that refines a mesh: recon methods")
        self.device = machine.device_for(system, request.device)
        self.capture = self._read(request.out.parent if request.out else Path("runs"), system)
        if self.adjusted:
            system = dataclasses.replace(system, pose_refinement=system.pose_refinement.after_tracks())
        if request.time is not None:
            from recon.fit.plan import plan_for_time

            self.reporter.step("Plan", "measuring how fast this machine is", None)
            left = request.time - (time.monotonic() - begun)  # reading and structure from motion are paid already
            system = plan_for_time(self.capture, system, max(left, 1.0), self.seed)
        elif request.steps is None and request.system is None:
            from recon.fit.plan import with_visits

            system = with_visits(system, len(self.capture.train))
        self.system = system
        self.folder = run_folder.create(request.out, self.capture.name, self.method)
        try:
            self._lock = self.folder.lock()
            self.folder.write_config(self._config())
            self.folder.write_cameras(self.capture)
            self.folder.write_readme(request.command or "recon.fit(...)", str(self.capture.root))
        except OSError:  # disk full before anything happened: leave nothing behind
            self.folder.discard()
            raise
        self._make_fit(resume=False, until=request.until)

    @classmethod
    def resume(cls, path: Path, request: FitRequest, reporter: Reporter | None = None) -> FitJob:
        """Goes on with the run at ``path``; only ``steps``, ``memory``, ``threads`` and ``device`` of the request may
        differ."""
        self = cls.__new__(cls)
        folder = run_folder.open_run(path)
        fixed = [n for n in ("scene", "method", "preset", "system", "resolution", "seed", "format", "holdout", "masks",
                             "poses", "start", "refine_poses", "time", "out") if getattr(request, n) is not None]
        if fixed:
            raise InputError(f"--{fixed[0].replace('_', '-')} cannot change in a run that is resumed",
                             fix=f"Leave it out, or start anew with: recon fit --config {path}/config.yaml")
        config = folder.config()
        self._init(merged(request, config), reporter)
        self.folder = folder
        atomic.check_writable(path)
        self.system = saved_system(config)
        self.device = machine.device_for(self.system, self.request.device)
        until = request.steps or (config.get("fit") or {}).get("until") or self.system.steps
        done = folder.metrics()
        if done and not done.get("stopped") and done.get("steps", 0) >= until:
            raise InputError(f"this run is finished: {done['steps']:,} of {until:,} steps", file=path,
                             fix=f"Go on for longer: recon fit --resume {path} --steps {2 * done['steps']}")
        self._lock = folder.lock()
        self.capture = self._read(path.parent, self.system)
        if request.steps is not None:  # the plan (decay of rates, structure changes) stays: only the end moves
            folder.write_config(config | {"fit": (config.get("fit") or {}) | {"until": check_steps(request.steps)}})
        self._make_fit(resume=True, until=until)
        return self

    def _init(self, request: FitRequest, reporter: Reporter | None) -> None:
        self.request, self.reporter = request, reporter or QuietReporter()
        self.method = request.method or catalogue.DEFAULT_METHOD
        self.preset = request.preset or catalogue.DEFAULT_PRESET
        self.seed = 0 if request.seed is None else request.seed
        self.threads = request.threads or machine.cores()
        self.memory = request.memory or machine.default_memory()
        if self.memory < LEAST_MEMORY:
            raise BudgetError(f"a memory budget of {sizes.format_bytes(self.memory)} is too small",
                              fix=f"Allow at least {sizes.format_bytes(LEAST_MEMORY)}.")
        self.stopped = self._log_failed = False
        self.adjusted = False  # whether poses were adjusted to features
        machine.use_threads(self.threads)

    def _read(self, runs: Path, system: System) -> Capture:
        """The capture at working resolution, with a line for each thing a person should know about it."""
        request, report, refinement = self.request, self.reporter, system.pose_refinement
        found = read_scene(str(request.scene), request.format, request.holdout, request.poses, runs, report)
        if refinement.enabled and refinement.tracks:
            adjusted = with_adjusted_poses(found, runs, report)
            self.adjusted, found = adjusted is not found, adjusted
        wanted = request.resolution
        self.size = wanted if isinstance(wanted, tuple) else working_size(found, wanted, machine.cores())
        small = with_points(at_working_size(found, self.size, self.memory, runs, report), system, report)
        small = with_start(small, request.start)
        report.line("Photos", f"{len(found.views)} found ({found.format}){split_words(small)}")
        for warning in small.warnings:
            report.warn(warning)
        report.line("Scene", scene_words(found, small, machine.cores() if wanted in (None, "auto") else 0))
        return small

    def _make_fit(self, *, resume: bool, until: int | None = None) -> None:
        from recon.fit.loop import Fit

        kernels = f"CPU ({machine.isa()}, {self.threads} thread{'s' if self.threads > 1 else ''})"
        if self.device.type == "cuda":
            kernels = f"GPU ({machine.gpu_name()})"
        unused = machine.unused_gpu(self.system, self.device, self.request.device)
        if unused is not None:
            self.reporter.warn(unused)
        seconds = self.request.time
        timing = f"{until or self.system.steps:,} steps" + (f" in {sizes.format_about(seconds)}" if seconds else "")
        self.reporter.line("Method", f"{self.method} · preset {self.preset} · {timing} · seed {self.seed} · {kernels}, "
                                     f"memory ≤ {sizes.format_bytes(self.memory)}")
        self.fit = Fit(self.capture, self.system, seed=self.seed, folder=self.folder.path, resume=resume, until=until,
                       memory=int(PHOTO_SHARE * self.memory),
                       scene_memory=int((1 - PHOTO_SHARE) * self.memory) - PROGRAM_MEMORY, device=self.device)
        if self.capture.format == "run":
            from recon.app import distilled

            distilled.begin(self.fit, self.capture.root)

    def _config(self) -> dict[str, Any]:
        request = self.request
        return {
            "scene": {
                "path": str(Path(str(request.scene)).expanduser().absolute()),
                "format": request.format, "poses": request.poses, "holdout": request.holdout,
                "start": None if request.start is None else str(Path(request.start).expanduser().absolute()),
                "resolution": request.resolution if isinstance(request.resolution, str) else "auto",
                "size": list(self.size),
            },
            "fit": {
                "method": self.method, "preset": self.preset, "seed": self.seed, "threads": self.threads,
                "memory_bytes": self.memory, "device": request.device, "time_s": request.time, "until": request.until,
            },
            "system": settings.to_plain(self.system),
            "made": {
                "command": request.command, "when": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": machine.versions(), "machine": machine.summary(),
            },
        }

    def stop(self) -> None:
        """Asks the fit to end after the current step; it saves, and the results are written as usual."""
        self.stopped = True
        self.fit.request_stop()

    def _log(self, event: Event) -> None:
        """A log line that cannot be written is no reason to lose the fit."""
        try:
            self.folder.append(event)
        except OSError as error:
            if not self._log_failed:
                self.reporter.warn(f"log.jsonl cannot be written ({error.strerror}); the fit goes on")
            self._log_failed = True

    def events(self) -> Iterator[Event]:
        """Runs the fit. Yields its events, logs them, and writes scene, metrics and comparisons at the end."""
        from recon.fit import events

        evaluated: Any = None
        saved_step: int | None = None
        try:
            for event in self.fit.events():
                if isinstance(event, events.Evaluated):
                    evaluated = event
                elif isinstance(event, events.Saved):
                    saved_step = event.step
                elif isinstance(event, events.Finished):
                    results.write(self.folder, self, event, evaluated)
                self._log(event)
                yield event
        except OSError as error:
            if not disk_full(error, self.folder.path):
                raise
            saved = f"Saved up to step {saved_step:,}. " if saved_step is not None else "Nothing was saved yet. "
            raise InputError("the disk is full", file=self.folder.path,
                             fix=f"{saved}Free some space, then: recon fit --resume "
                                 f"{shlex.quote(str(self.folder.path))}") from None


def follow(job: FitJob, source: Iterable[Event] | None = None) -> Finished:
    """Runs a job and shows its events; Ctrl-C and SIGTERM ask it to stop and save, a second Ctrl-C aborts at once.

    ``source`` gives the events where something else (a session) runs the job. Signals are left alone outside the
    main thread, where Python does not allow handlers.
    """
    from recon.fit import events

    def on_signal(number: int, frame: object) -> None:
        if job.stopped:
            raise KeyboardInterrupt
        job.stop()

    main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)} if main else {}
    finished = None
    try:
        for event in job.events() if source is None else source:
            job.reporter.event(event)
            if isinstance(event, events.Finished):
                finished = event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        job.reporter.close()
    if finished is None:
        raise RuntimeError("the fit ended without saying so")
    return finished


def disk_full(error: OSError, folder: Path) -> bool:
    """Whether a failed write means a full disk; libraries do not always pass the error number on."""
    if error.errno in DISK_FULL:
        return True
    return error.errno is None and shutil.disk_usage(folder).free < 50_000_000


def check_steps(steps: int) -> int:
    if not 1 <= steps <= 100_000_000:
        raise InputError(f"--steps {steps} is out of range", fix="Give a number from 1 on.")
    return steps
