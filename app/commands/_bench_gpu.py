"""recon bench gpu: our CUDA kernels and gsplat's in alternation, in one process, on the same Gaussians."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Measure forward, forward with backward, a whole step and a whole fit on a GPU: ours and, where it is installed,
    gsplat in alternation.

    Prints milliseconds, memory, ratios, and the share of the measured bandwidth that the least traffic of our kernels
    takes. Where there is no GPU it says so and measures nothing.

    Examples:
      recon bench gpu --gaussians 1000000 --size 1080x1920
      recon bench gpu --scene data/sample          (also the same fit by both)
    """

    # photos for a whole fit by both
    scene: Annotated[Path | None, option("PATH")] = None

    # number of Gaussians, drawn at random in front of the camera
    gaussians: Annotated[int, option("N")] = 1_000_000

    # size of the pictures
    size: Annotated[str, option("HxW")] = "1080x1920"

    # rounds of each, in alternation
    rounds: Annotated[int, option("N")] = 20

    # print JSON
    json: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon bench gpu")
    from recon.app import machine, sizes
    from recon.ops import cuda

    size = sizes.parse_resolution(arguments.size, "--size")
    if not isinstance(size, tuple):
        raise InputError(f"--size {arguments.size} is not a size", fix="Write it as 1080x1920.")
    for name, value in (("gaussians", arguments.gaussians), ("rounds", arguments.rounds)):
        if not 1 <= value < 2**31:
            raise InputError(f"--{name} {value} is out of range", fix="Give a number from 1 on.")
    problem = cuda.problem()
    if problem is not None:
        raise InputError(f"nothing to measure: {problem}", fix="Run it on a machine with an NVIDIA GPU.")
    from recon.app.gpu_benchmark import measure

    result = {"gpu": machine.gpu_name(), "versions": machine.versions(), "size": list(size),
              "gaussians": arguments.gaussians, **measure(arguments.gaussians, size, arguments.rounds)}
    if arguments.scene is not None:
        result["fits"] = _fits(arguments.scene)
    if arguments.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"{result['gpu']}, {arguments.gaussians:,} Gaussians, {size[0]}x{size[1]}")
    for who, figures in result["figures"].items():
        print(f"{who:<8}" + "  ".join(f"{k} {v:.3f}" for k, v in figures.items()))
    for what, ratio in result["ratios"].items():
        print(f"gsplat / ours, {what}: {ratio:.2f}")
    print(f"a copy moves {result['bandwidth']:.0f} GB/s; of that our least traffic takes "
          + ", ".join(f"{share:.0%} ({what.removesuffix(' ms')})" for what, share in result["shares"].items()))
    for who, figures in result.get("fits", {}).items():
        print(f"fit, {who:<8}" + "  ".join(f"{k} {v:.2f}" for k, v in figures.items()))
    return 0


def _fits(scene: Path) -> dict[str, dict[str, float]]:
    from recon import data
    from recon.app import catalogue
    from recon.app.gpu_benchmark import whole_fits

    capture = data.prepare(data.read(scene, holdout=8))
    return whole_fits(capture, catalogue.load(catalogue.DEFAULT_METHOD, catalogue.DEFAULT_PRESET))
