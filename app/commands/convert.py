"""recon convert: a scene in another representation, without the photos."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from recon.app import catalogue, command_line, sizes
from recon.app.command_line import flag, option
from recon.errors import InputError

_STEPS = 0.25  # of a fit from photos


@dataclass(frozen=True)
class Arguments:
    """Turn a run, or a splat file, into another representation, without photos.

    The new scene learns from pictures of the old one; between two volumes it learns density and colour first. The
    result is a run like any other; its figures compare it with the old scene. recon eval RUN --scene PHOTOS compares
    it with photos. A splat file has no cameras: it is looked at from all around, as an object.

    Examples:
      recon convert runs/fox-gaussians-01 --to dvgo
      recon convert runs/lego-ngp-01 --to gaussians --steps 2000
      recon convert downloaded.ply --to dvgo
    """

    # run folder or splat file
    run: tyro.conf.Positional[Annotated[str, option("RUN")]]

    # the method to turn it into: recon methods
    to: Annotated[str, option("METHOD")]

    # conversion (where the method has it), fast, balanced or quality
    preset: Annotated[str | None, option("NAME", "conversion, else balanced")] = None

    # optimisation steps in total
    steps: Annotated[int | None, option("N", "those of conversion, a quarter of other presets")] = None

    # finish in about this time: 90s, 3m
    time: Annotated[str | None, option("3m")] = None

    # size of the pictures it learns from, at most that of the old run's photos: 540x960, 1/2
    resolution: Annotated[str | None, option("WxH", "that of the old run")] = None

    # folder for the results
    out: Annotated[str | None, option("FOLDER", "runs/<run>-<method>-NN")] = None

    # memory it may use: 4GB, 1500MB
    memory: Annotated[str | None, option("SIZE", "half of what there is, at most 4 GB")] = None

    # start of the random numbers
    seed: Annotated[int | None, option("N", "0")] = None

    # processor threads
    threads: Annotated[int | None, option("N", "all cores")] = None

    # print nothing but errors
    quiet: Annotated[bool, flag()] = False

    # print events as JSON, one per line
    json: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon convert")
    if arguments.time and arguments.steps:
        raise InputError("--time and --steps exclude each other", fix="Leave one out.")
    preset = arguments.preset or catalogue.conversion_preset(arguments.to)
    system = catalogue.load(arguments.to, preset)  # a wrong name is told before anything heavy is done
    from recon.app import reporters
    from recon.app.fitting import FitJob, FitRequest, follow
    from recon.app.run_folder import open_run
    from recon.export import splat_suffixes

    source = Path(arguments.run).expanduser()
    if not (source.is_file() and source.suffix.lower() in splat_suffixes("read")):
        source = open_run(source).path
    steps = arguments.steps
    if steps is None and arguments.time is None:
        steps = system.steps if preset == catalogue.CONVERSION else max(round(_STEPS * system.steps), 100)
    request = FitRequest(
        scene=str(source), format="run" if source.is_file() else None, method=arguments.to, preset=preset,
        steps=steps,
        time=sizes.parse_seconds(arguments.time) if arguments.time else None, resolution=arguments.resolution or "1/1",
        memory=sizes.parse_bytes(arguments.memory) if arguments.memory else None, seed=arguments.seed,
        threads=arguments.threads, out=Path(arguments.out) if arguments.out else None,
        command="recon convert " + shlex.join(argv),
    )
    reporter = reporters.make(quiet=arguments.quiet, json_lines=arguments.json)
    try:
        job = FitJob(request, reporter)
        finished = follow(job)
        where = shlex.quote(str(job.folder.path))
        psnr = job.folder.metrics().get("psnr")
        likeness = f"PSNR {psnr:.1f} against {source}" if psnr is not None else f"from {source}"
        reporter.line("Saved", f"{where}/   {likeness}")
    finally:
        reporter.close()
    return 130 if job.stopped and finished.stopped else 0
