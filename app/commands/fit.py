"""recon fit: photos in, scene out."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from recon.app import catalogue, command_line, sizes
from recon.app.command_line import flag, option
from recon.app.extra_losses import named_losses, with_losses
from recon.errors import InputError

if TYPE_CHECKING:
    from recon.app.fitting import FitJob, FitRequest
    from recon.app.reporters import Reporter


@dataclass(frozen=True)
class Arguments:
    """Turn photos into a 3D scene.

    Examples:
      recon fit photos/
      recon fit photos/ --time 3m
      recon fit photos/ --preset quality --out runs/best
      recon fit --resume runs/photos-gaussians-01 --steps 30000
    """

    # folder of photos, COLMAP or nerfstudio project, Blender scene, LLFF or NeuS data, a video, or a mesh
    scene: tyro.conf.Positional[Annotated[str | None, option("SCENE")]] = None

    # how to represent the scene; the list is below, more with: recon methods
    method: Annotated[str | None, option("NAME", "gaussians")] = None

    # fast, balanced or quality
    preset: Annotated[str | None, option("NAME", "balanced")] = None

    # finish in about this time: 90s, 3m, 1h30m; picks steps and resolution to suit this machine
    time: Annotated[str | None, option("3m")] = None

    # optimisation steps in total; with --resume it may be more than first planned
    steps: Annotated[int | None, option("N", "what the preset says")] = None

    # working size of the photos: 540x960, 1/2 or auto
    resolution: Annotated[str | None, option("WxH", "auto, what this machine handles well")] = None

    # folder for the results
    out: Annotated[str | None, option("FOLDER", "runs/<scene>-<method>-NN")] = None

    # go on with a run: its folder, or nothing for the newest run
    resume: Annotated[str | None, option("[RUN]")] = None

    # memory the fit may use: 4GB, 1500MB
    memory: Annotated[str | None, option("SIZE", "half of what there is, at most 4 GB")] = None

    # start of the random numbers; the same seed on the same machine gives the same scene
    seed: Annotated[int | None, option("N", "0")] = None

    # processor threads
    threads: Annotated[int | None, option("N", "all cores")] = None

    # where to fit: cpu, cuda (an NVIDIA GPU), auto
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, option("NAME", "auto: a GPU where there is one")] = None

    # keep every n-th photo for measuring, 0 for none
    holdout: Annotated[int | None, option("N", "8, or the scene's own split")] = None

    # how to read SCENE, when it is not recognised: colmap, transforms, llff, idr, photos, video
    format: Annotated[str | None, option("NAME", "recognised")] = None

    # masks: "ignore" leaves masked pixels out, "object" cuts the object free, "present" as they are meant, "off"
    masks: Annotated[Literal["auto", "ignore", "object", "present", "off"] | None, option("HOW", "as in method")] = None

    # "photos" finds the camera poses from the photos even where a camera file exists; or a path to take them from
    poses: Annotated[str | None, option("HOW", "a camera file where there is one")] = None

    # a mesh to begin with, in coordinates of the scene (recon mesh RUN out.ply), for methods that refine one
    start: Annotated[str | None, option("FILE", "none")] = None

    # also refine the camera poses: against features that photos share, then against their pixels
    refine_poses: Annotated[bool, flag()] = False

    # repeat a run exactly: the config.yaml of its folder; other options change it
    config: Annotated[str | None, option("FILE")] = None

    # show the fit in the browser while it goes on
    view: Annotated[bool, flag()] = False

    # with --view: port of the page, 0 for any that is free
    port: Annotated[int, option("N", "8080")] = 8080

    # with --view: address to listen on; any but this machine's own needs the token that is printed
    host: Annotated[str, option("ADDRESS", "127.0.0.1, this machine only")] = "127.0.0.1"

    # with --view: part of the time that watching may take from the fit
    view_share: Annotated[float, option("SHARE", "0.2")] = 0.2

    # print nothing but errors
    quiet: Annotated[bool, flag()] = False

    # print events as JSON, one per line
    json: Annotated[bool, flag()] = False


def description() -> str:
    """The text above the options: what, examples, and the methods with their papers."""
    doc = (Arguments.__doc__ or "").replace("\n    ", "\n").strip()
    rows = []
    for name in catalogue.names():
        about = catalogue.method(name)
        rows.append(f"  {name:<18}{about.title}")
        if about.reference:
            rows.append(f"  {'':<18}{about.reference}")
    methods = "\n".join(rows)
    return f"""{doc}

Methods:
{methods}

Every setting of a method can be given too, --name value; recon methods NAME lists them.
A loss that the method does not have is added by naming one of its settings: --losses.s3im.weight 0.5
({', '.join(sorted(catalogue.losses()))})."""


def run(argv: Sequence[str]) -> int:
    words = _resume_without_value(argv)
    if any(w in ("-h", "--help") for w in words):
        command_line.parse(Arguments, words, prog="recon fit", description=description())
    arguments, request = read_arguments(words)
    from recon.app import reporters

    reporter = reporters.make(quiet=arguments.quiet, json_lines=arguments.json)
    try:
        return _run(arguments, request, reporter)
    finally:
        reporter.close()


def read_arguments(words: Sequence[str]) -> tuple[Arguments, FitRequest]:
    """The command line as arguments and request. Settings of the method ("--field.x 3") are read with its own parser.

    Raises InputError for anything that is not understood.
    """
    from recon.app.fitting import FitRequest, merged, saved_system
    from recon.app.run_folder import read_config

    config_path = command_line.pluck(words, "--config")
    config = read_config(Path(config_path)) if config_path else None
    method = command_line.pluck(words, "--method")
    preset = command_line.pluck(words, "--preset")
    system = None
    if _has_settings(words):
        if config is not None and method is None and preset is None:
            base: Any = saved_system(config)
        else:
            base = catalogue.load(method or catalogue.DEFAULT_METHOD, preset or catalogue.DEFAULT_PRESET)
        base = with_losses(base, named_losses(words))
        arguments, system = _parse_with_settings(words, base)
    else:
        arguments = command_line.parse(Arguments, words, prog="recon fit", description="")
        if arguments.method or arguments.preset:  # fail on a wrong name before anything is read
            catalogue.load(arguments.method or catalogue.DEFAULT_METHOD, arguments.preset or catalogue.DEFAULT_PRESET)
    if arguments.quiet and arguments.json:
        raise InputError("--quiet and --json exclude each other", fix="Leave one out.")
    if arguments.resolution:
        sizes.parse_resolution(arguments.resolution)
    for name, low in (("threads", 1), ("holdout", 0), ("steps", 1), ("seed", 0)):
        value = getattr(arguments, name)
        if value is not None and not low <= value < 2**31:
            raise InputError(f"--{name} {value} is out of range", fix=f"Give a number from {low} on.")
    request = FitRequest(
        scene=arguments.scene, method=arguments.method, preset=arguments.preset, system=system,
        time=sizes.parse_seconds(arguments.time) if arguments.time else None, steps=arguments.steps,
        resolution=arguments.resolution, memory=sizes.parse_bytes(arguments.memory) if arguments.memory else None,
        seed=arguments.seed, threads=arguments.threads, out=Path(arguments.out) if arguments.out else None,
        format=arguments.format, holdout=arguments.holdout, masks=arguments.masks, poses=arguments.poses,
        start=arguments.start,
        refine_poses=True if arguments.refine_poses else None, device=arguments.device,
        command="recon fit " + shlex.join(words),
    )
    if arguments.time and arguments.steps:
        raise InputError("--time and --steps exclude each other", fix="Leave one out.")
    if config is not None:
        request = merged(request, config)
    return arguments, request


def _has_settings(words: Sequence[str]) -> bool:
    """True when some option is none of ours: then it must be a setting of the method."""
    ours = {"--" + f.name for f in dataclasses.fields(Arguments)}
    return any(w.startswith("--") and "--" + w.split("=")[0][2:].replace("-", "_") not in ours and len(w) > 2
               for w in words)


def _parse_with_settings(words: Sequence[str], base: Any) -> tuple[Arguments, Any]:
    """Parses our options and every setting of ``base`` (a System) as one flat command line."""
    from recon.app.settings import comments

    notes = comments(type(base))
    taken = {f.name for f in dataclasses.fields(Arguments)}
    own = [f for f in dataclasses.fields(base) if f.name not in taken]
    nested = [f for f in dataclasses.fields(base)
              if f.name in taken and dataclasses.is_dataclass(getattr(base, f.name))]
    rows: list[Any] = []
    for f in own + nested:
        value = getattr(base, f.name)
        name = f.name if f not in nested else f.name + "_settings"
        kind = type(value) if dataclasses.is_dataclass(value) else f.type
        if isinstance(kind, str):
            import typing

            kind = typing.get_type_hints(type(base))[f.name]
        mark = tyro.conf.arg(name=f.name, help=notes.get(f.name) or None)
        default: Any = dataclasses.field(default_factory=functools.partial(_same, value))
        rows.append((name, Annotated[kind, mark], default))
    full = dataclasses.make_dataclass("FitArguments", rows, bases=(Arguments,), frozen=True)
    parsed: Any = command_line.parse(full, words, prog="recon fit", description="")
    changed = {f.name: getattr(parsed, f.name if f not in nested else f.name + "_settings") for f in own + nested}
    ours = {f.name: getattr(parsed, f.name) for f in dataclasses.fields(Arguments)}
    return Arguments(**ours), dataclasses.replace(base, **changed)


def _same(value: Any) -> Any:
    return value


def _resume_without_value(words: Sequence[str]) -> list[str]:
    """`--resume` with nothing behind it means the newest run: written as `--resume=` for the parser."""
    out = list(words)
    for i, word in enumerate(out):
        if word == "--resume" and (i + 1 == len(out) or out[i + 1].startswith("-")):
            out[i] = "--resume="
    return out


def _run(arguments: Arguments, request: FitRequest, reporter: Reporter) -> int:
    from recon.app import run_folder
    from recon.app.fitting import FitJob, follow
    from recon.app.main import commands

    if arguments.view:
        from recon.app import viewing

        viewing.check_options(arguments.port, arguments.view_share)
    if arguments.resume is None:
        job = FitJob(request, reporter)
    else:
        path = Path(arguments.resume) if arguments.resume else run_folder.latest(request.out or Path("runs"))
        if path is None:
            raise InputError("there is no run to resume in runs/", fix="Name its folder: recon fit --resume runs/NAME")
        job = FitJob.resume(path, dataclasses.replace(request, out=None), reporter)
    if arguments.view:
        finished = viewing.follow_with_view(job, arguments.host, arguments.port, arguments.view_share)
    else:
        finished = follow(job)
    where = shlex.quote(str(job.folder.path))
    if finished.stopped:
        print(f"Stopped at step {finished.step:,} and saved. Go on with: recon fit --resume {where}",
              file=sys.stderr if arguments.json or arguments.quiet else sys.stdout)
        return 130 if job.stopped else 0
    reporter.line("Saved", f"{where}/   {_quality(job)}")
    name = job.capture.name or "scene"
    look = f"recon view {where}" if "view" in commands() else f"recon render {where} --path orbit"
    reporter.line("Look", look)
    if job.folder.scene.exists():
        reporter.line("Export", f"recon export {where} {shlex.quote(name)}.spz")
    elif "mesh" in commands():
        reporter.line("Mesh", f"recon mesh {where} {shlex.quote(name)}.glb")
    return 0


def _quality(job: FitJob) -> str:
    metrics = job.folder.metrics()
    if metrics.get("psnr") is None:
        return f"{metrics.get('primitives', 0):,} primitives"
    kind = "held-out" if metrics.get("split") == "test" else "training"
    return f"PSNR {metrics['psnr']:.1f} · SSIM {metrics['ssim']:.2f} on {len(metrics['views'])} {kind} views"
