"""recon bench: how fast this machine fits and renders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Measure one training step and one frame of a run, phase by phase, on one thread and on all.

    Examples:
      recon bench runs/fox-gaussians-01
      recon bench runs/fox-gaussians-01 --size 270x480 --baseline tests/bench/baseline.json
      recon bench optimizers fox/ --out race/      (races optimizers; has its own --help)
      recon bench gpu                              (CUDA kernels against gsplat; has its own --help)
      recon bench meshing fandisk.obj              (meshers against a known surface; has its own --help)
      recon bench fits runs/fox runs/lego          (a table of finished runs; has its own --help)
    """

    # run folder
    run: tyro.conf.Positional[Annotated[str, option("RUN")]]

    # size of the pictures
    size: Annotated[str | None, option("WxH", "of the run")] = None

    # number of Gaussians: rows are left out or repeated
    gaussians: Annotated[int | None, option("N", "as in the run")] = None

    # also sweep pixels and Gaussians
    scaling: Annotated[bool, flag()] = False

    # a file written by --json; ratios against it are printed
    baseline: Annotated[str | None, option("FILE", "none")] = None

    # command of another program, with {steps} for its number of steps: its step is timed in turns with ours
    peer: Annotated[str | None, option("CMD", "none")] = None

    # print JSON
    json: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    if argv[:1] == ["optimizers"]:
        from recon.app.commands import _bench_optimizers

        return _bench_optimizers.run(argv[1:])
    if argv[:1] == ["meshing"]:
        from recon.app.commands import _bench_meshing

        return _bench_meshing.run(argv[1:])
    if argv[:1] == ["fits"]:
        from recon.app.commands import _bench_fits

        return _bench_fits.run(argv[1:])
    if argv[:1] == ["gpu"]:
        from recon.app.commands import _bench_gpu

        return _bench_gpu.run(argv[1:])
    arguments = command_line.parse(Arguments, argv, prog="recon bench")
    from recon.app import benchmark, machine, scaling, sizes
    from recon.app.api import load
    from recon.app.peer import race
    from recon.ops.splat import Projection

    scene = load(arguments.run)
    cameras = scene.cameras
    if not cameras:
        raise InputError("has no cameras to render from", file=scene.path, fix="Give a run folder.")
    camera = cameras[0]
    if arguments.size is not None:
        size = sizes.parse_resolution(arguments.size, "--size")
        if not isinstance(size, tuple):
            raise InputError(f"--size {arguments.size} is not a size", fix="Write it as 270x480.")
        camera = camera.scaled(*size)
    gaussians = scene.gaussians
    settings = Projection(gaussians.sh_degree, gaussians.antialiased, near=1e-3)
    rows = benchmark.rows_of(gaussians, arguments.gaussians)
    cores = machine.cores()
    result: dict[str, Any] = {
        "machine": machine.summary(), "versions": machine.versions(), "isa": machine.isa(),
        "size": list(camera.size), "work": asdict(benchmark.work_of(rows, camera, settings)), "threads": {},
    }
    for threads in sorted({1, cores}):
        machine.use_threads(threads)
        result["threads"][str(threads)] = {
            "step_ms": benchmark.step_ms(rows, camera, settings),
            "frame_ms": benchmark.frame_ms(rows, camera, settings),
        }
    result["bytes_per_gaussian"] = benchmark.bytes_per_gaussian(rows, camera, settings)
    if arguments.peer is not None:
        against = race(arguments.peer, lambda: benchmark.step_ms(rows, camera, settings)["whole step"])
        result["peer"] = {**asdict(against), "ratio": against.ratio}
    if arguments.scaling:
        points = scaling.sweep(gaussians, camera, settings)
        cost, ratios = scaling.cost_of(points)
        result["scaling"] = {"points": points, "ns_per": cost, "measured_over_explained": ratios}
        points = scaling.covering_sweep(gaussians, camera, settings)
        mean, ratios = scaling.flatness(points)
        result["covering"] = {"points": points, "ns_per_pair": mean, "each_over_mean": ratios}
    if arguments.json:
        print(json.dumps(result, indent=1))
        return 0
    _print(result, _baseline(arguments.baseline))
    return 0


def _baseline(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"is not a benchmark result ({error})", file=path,
                         fix="Write one with: recon bench RUN --json > FILE") from error


def _print(result: dict[str, Any], baseline: dict[str, Any] | None) -> None:
    work, threads = result["work"], result["threads"]
    print(f"{work['gaussians']:,} Gaussians, {work['visible']:,} visible, {work['tile_entries']:,} tile entries, "
          f"{work['lanes_per_pixel']:.0f} lanes per pixel, {result['size'][0]}x{result['size'][1]}, {result['isa']}")
    counts = list(threads)
    print(f"{'milliseconds':<28}" + "".join(f"{n + (' thread' if n == '1' else ' threads'):>12}" for n in counts)
          + (f"{'ratio 1:' + counts[-1]:>12}" if len(counts) > 1 else "") + (f"{'baseline':>12}" if baseline else ""))
    for phase in [*threads[counts[0]]["step_ms"], "frame"]:
        values = [threads[n]["frame_ms"] if phase == "frame" else threads[n]["step_ms"][phase] for n in counts]
        line = f"{phase:<28}" + "".join(f"{v:>12.2f}" for v in values)
        if len(values) > 1:
            line += f"{values[0] / values[-1]:>12.2f}"
        old = (baseline or {}).get("threads", {}).get(counts[-1])
        if old:
            before = old["frame_ms"] if phase == "frame" else old["step_ms"].get(phase, float("nan"))
            line += f"{values[-1] / before:>11.2f}x"
        print(line)
    parts = result["bytes_per_gaussian"]
    print(f"bytes per Gaussian while fitting: {sum(parts.values()):,.0f} ("
          + ", ".join(f"{name} {value:,.0f}" for name, value in parts.items()) + ")")
    if "peer" in result:
        print(f"peer {min(result['peer']['peer_ms']):.1f} to {max(result['peer']['peer_ms']):.1f} ms a step, "
              f"{result['peer']['ratio']:.1f} times ours in the same run: {result['peer']['command']}")
    if "scaling" in result:
        _print_scaling(**result["scaling"])
        _print_covering(**result["covering"])


def _print_scaling(points: list[dict[str, float]], ns_per: dict[str, float],
                   measured_over_explained: list[float]) -> None:
    print("a step costs " + " + ".join(f"{value:.3g} ns per {name.rstrip('s')}" for name, value in ns_per.items())
          + " (pair: a pixel and a lane that a Gaussian visits there)")
    _print_points(points, measured_over_explained)


def _print_covering(points: list[dict[str, float]], ns_per_pair: float, each_over_mean: list[float]) -> None:
    print(f"with Gaussians that cover hundreds of pixels each, nearly transparent: {ns_per_pair:.3g} ns per pair")
    _print_points(points, each_over_mean)


def _print_points(points: list[dict[str, float]], ratios: list[float]) -> None:
    for p, ratio in zip(points, ratios, strict=True):
        print(f"{p['gaussians']:>9,} Gaussians {p['pixels']:>9,} pixels {p['pairs'] / 1e6:>7.1f} M pairs "
              f"{p['ms']:>8.2f} ms, {ratio:.2f} of that")
