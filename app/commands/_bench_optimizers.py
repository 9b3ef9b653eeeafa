"""recon bench optimizers: quality over time and over looks at photos, of every way to finish a fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from recon.app import catalogue, command_line
from recon.app.command_line import option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Race optimizers: each one finishes the same half-fitted scene; quality is drawn over time and image passes.

    Example:
      recon bench optimizers fox/ lego/ --resolution 1/4 --out race/
    """

    # folders of photos, or other scenes
    scenes: tyro.conf.Positional[Annotated[list[str], option("SCENE...")]]

    # a method with contenders
    method: Annotated[str | None, option("NAME", "the first that has some")] = None

    # preset that is finished
    preset: Annotated[str, option("NAME")] = "fast"

    # working size of the photos: 270x480, 1/4, auto
    resolution: Annotated[str, option("SIZE")] = "1/4"

    # steps of the whole fit; contenders take over its last third
    steps: Annotated[int, option("N")] = 3000

    # most primitives
    primitives: Annotated[int, option("N")] = 15_000

    # names of contenders, besides the first
    only: Annotated[list[str], option("NAME...", "all")] = dataclasses.field(default_factory=list)

    # seed
    seed: Annotated[int, option("N")] = 0

    # folder for race.json and race.svg
    out: Annotated[str, option("FOLDER")] = "race"


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon bench optimizers")
    from recon.app import atomic, machine
    from recon.app.curves import svg
    from recon.app.optimizer_race import Race, race, verdicts, with_budget
    from recon.app.reporters import QuietReporter
    from recon.app.scenes import at_working_size, read_scene, working_size

    if not arguments.scenes:
        raise InputError("no scene given", fix="Name folders of photos: recon bench optimizers fox/")
    if arguments.steps < 10:
        raise InputError(f"--steps {arguments.steps} is too few", fix="Take 300 or more.")
    base, finishes, handover = _contenders(arguments.method, arguments.preset)
    known = list(finishes(base))
    for name in arguments.only:
        command_line.choose("contender", name, known, f"Contenders: {', '.join(known)}")
    out = Path(arguments.out)
    atomic.check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    machine.use_threads(1)
    found: list[Race] = []
    for scene in arguments.scenes:
        report, memory = QuietReporter(), machine.default_memory()
        read = read_scene(scene, None, None, None, out, report)
        capture = at_working_size(read, working_size(read, arguments.resolution, 1), memory, out, report)
        found.append(race(capture, with_budget(base, arguments.primitives), finishes, steps=arguments.steps,
                          handover=handover, seed=arguments.seed, only=tuple(arguments.only), say=print))
        result = {
            "machine": machine.summary(), "versions": machine.versions(), "threads": 1,
            "settings": {k: v for k, v in dataclasses.asdict(arguments).items() if k not in ("scenes", "out")},
            "races": [dataclasses.asdict(r) | {"verdicts": [dataclasses.asdict(v) for v in verdicts(r)]}
                      for r in found],
        }
        atomic.write_json(out / "race.json", result)
        atomic.write_text(out / "race.svg", svg(_panels(found), columns=3))
        for v in verdicts(found[-1]):
            print(f"  {v.name:<26} PSNR {v.psnr:6.2f}  loss {v.loss:.5f}  time to the reference's loss "
                  f"{_times(v.seconds_to_loss)}, PSNR {_times(v.seconds_to_psnr)}")
    print(f"Written: {out / 'race.json'}, {out / 'race.svg'}")
    return 0


def _contenders(method: str | None, preset: str) -> tuple[Any, Any, float]:
    """(system that is finished, function from it to its contenders, share at which they take over)."""
    import importlib

    names = [method] if method else catalogue.names()
    for name in names:
        if method:
            command_line.choose("method", name, catalogue.names(), "All methods: recon methods")
        module = importlib.import_module(f"recon.configs.{name}")
        if hasattr(module, "finishes"):
            command_line.choose("preset", preset, list(module.STARTS), f"Presets: {', '.join(module.STARTS)}")
            return module.STARTS[preset], module.finishes, module.HANDOVER
    raise InputError(f'method "{method}" has no contenders' if method else "no method has contenders",
                     fix="Its file in configs needs STARTS, HANDOVER and finishes(base).")


def _panels(races: Sequence[Any]) -> list[Any]:
    from recon.app.curves import Panel

    out = []
    for r in races:
        title = f"{r.scene} {r.size[0]}x{r.size[1]}, {r.primitives:,} primitives"
        out.append(Panel(title, "processor seconds after the common start", "held-out PSNR, dB",
                         {c.name: [(m.seconds, m.psnr) for m in c.marks] for c in r.curves}))
        out.append(Panel(title, "image passes after the common start", "held-out PSNR, dB",
                         {c.name: [(float(m.passes), m.psnr) for m in c.marks] for c in r.curves}))
        out.append(Panel(title, "processor seconds after the common start", "training loss",
                         {c.name: [(m.seconds, m.loss) for m in c.marks] for c in r.curves}))
    return out


def _times(share: float | None) -> str:
    return "never" if share is None else f"{share:.2f}x"
