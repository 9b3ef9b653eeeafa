"""recon info: what a file, a run or a scene is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from recon.app import command_line
from recon.app.command_line import flag, option
from recon.errors import InputError


@dataclass(frozen=True)
class Arguments:
    """Say what a scene, a run or a splat file holds.

    Examples:
      recon info photos/
      recon info runs/fox-gaussians-01
      recon info scene.spz
    """

    # scene, run folder, or splat file
    path: tyro.conf.Positional[Annotated[str, option("FILE|RUN|SCENE")]]

    # print JSON
    json: Annotated[bool, flag()] = False


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon info")
    from recon.app.run_folder import is_run

    path = Path(arguments.path).expanduser()
    if not path.exists():
        raise InputError("no such file or folder", file=path)
    if path.is_dir() and is_run(path):
        rows = _run(path)
    elif path.is_file() and path.suffix.lower() in _splat_suffixes():
        rows = _splats(path)
    else:
        rows = _scene(path)
    if arguments.json:
        print(json.dumps(dict(rows)))
        return 0
    for label, value in rows:
        for i, line in enumerate(value if isinstance(value, list) else [value]):
            print(f"{label.capitalize() if i == 0 else '':<14}{line}")
    return 0


def _splat_suffixes() -> tuple[str, ...]:
    from recon.export import splat_suffixes

    return splat_suffixes("read")


def _splats(path: Path) -> list[tuple[str, Any]]:
    from recon.app.sizes import format_bytes
    from recon.export import read_splats

    found = read_splats(path)
    rows = [("file", f"{path}, {format_bytes(path.stat().st_size)}"), ("format", found.format),
            *_gaussian_rows(found.gaussians)]
    rows += [(str(k), str(v) if not isinstance(v, (list, tuple)) else ", ".join(map(str, v)))
             for k, v in found.meta.items() if v not in (None, (), [], "")]
    if found.warnings:
        rows.append(("warnings", list(found.warnings)))
    return rows


def _gaussian_rows(g: Any) -> list[tuple[str, Any]]:
    import torch

    rows: list[tuple[str, Any]] = [("gaussians", f"{len(g):,}"), ("sh degree", str(g.sh_degree))]
    if g.antialiased:
        rows.append(("antialiased", "yes (Mip-Splatting)"))
    if len(g):
        x = g.means.double()
        low, high = x.min(0).values, x.max(0).values
        cut = x if len(x) < 1_000_000 else x[:: len(x) // 1_000_000 + 1]
        middle = [torch.quantile(cut, q, dim=0) for q in (0.05, 0.95)]
        rows += [("bounds", f"{_point(low)} to {_point(high)}"),
                 ("middle 90 %", f"{_point(middle[0])} to {_point(middle[1])}"),
                 ("opacity", f"median {float(torch.sigmoid(g.logits).median()):.2f}"),
                 ("size", f"median {float(g.log_scales.exp().max(1).values.median()):.4g} (longest axis)")]
    return rows


def _point(x: Any) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in x.tolist()) + ")"


def _run(path: Path) -> list[tuple[str, Any]]:
    from recon.app.api import load
    from recon.app.sizes import format_bytes, format_seconds

    scene = load(path)
    config, metrics = scene.config, scene.metrics
    fit = config.get("fit") or {}
    rows: list[tuple[str, Any]] = [
        ("run", str(path)), ("scene", str(config["scene"].get("path"))),
        ("method", f"{fit.get('method')}, preset {fit.get('preset')}, seed {fit.get('seed')}"),
    ]
    if metrics:
        state = "stopped early" if metrics.get("stopped") else "finished"
        rows.append(("state", f"{state} at step {metrics['steps']:,} after {format_seconds(metrics['seconds'])}"))
        if metrics.get("psnr") is not None:
            rows.append(("quality", f"PSNR {metrics['psnr']:.2f}, SSIM {metrics['ssim']:.4f} on "
                                    f"{len(metrics['views'])} {metrics['split']} views"))
        rows.append(("peak memory", format_bytes(metrics["peak_memory_bytes"])))
    else:
        last = [entry for entry in scene.folder.log() if "step" in entry] if scene.folder else []
        rows.append(("state", f"not finished; last seen at step {last[-1]['step']:,}" if last else "not started"))
    saved = scene.saved
    if saved is not None:
        usual = max({v.camera.size for v in saved.views}, key=[v.camera.size for v in saved.views].count)
        rows.append(("views", f"{len(saved.views)} ({len(saved.subset('test'))} held out), "
                              f"mostly {usual[0]}x{usual[1]}"))
    if scene.folder and scene.folder.scene.exists():
        rows += _gaussian_rows(scene.gaussians)
    rows.append(("go on", f"recon fit --resume {path}"))
    return rows


def _scene(path: Path) -> list[tuple[str, Any]]:
    import recon.data as data
    from recon.app.machine import cores
    from recon.app.scenes import working_size

    found = data.read(path)
    usual = [v.camera.size for v in found.views]
    width, height = max(set(usual), key=usual.count)
    lenses = sorted({v.camera.lens.model for v in found.views})
    different = {(v.camera.size, tuple(v.camera.intrinsics.tolist()), v.camera.lens) for v in found.views}
    work = working_size(found, None, cores())
    rows: list[tuple[str, Any]] = [
        ("scene", str(found.root)), ("read as", found.format),
        ("views", f"{len(found.views)}: {len(found.train)} to fit, {len(found.test)} held out"),
        ("resolution", f"{width}x{height}" + (f" and {len(set(usual)) - 1} more sizes" if len(set(usual)) > 1 else "")
                       + f"; auto takes {work[0]}x{work[1]}"),
        ("cameras", f"{', '.join(lenses)}; {len(different)} different"),
        ("points", f"{len(found.points):,}" if found.points is not None else "none"),
        ("alpha", "yes" if found.has_alpha else "no"),
        ("masks", {"ignore": "yes, 0 = not compared", "object": "yes, they cut the object free"}.get(
            found.mask_meaning or "", "no")),
    ]
    if found.warnings:
        rows.append(("warnings", list(found.warnings)))
    return rows
