"""recon render: pictures and videos of a scene."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from recon.app import command_line, sizes
from recon.app.command_line import flag, option
from recon.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from recon.app.api import Run
    from recon.types import Camera

VIDEO = (".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class Arguments:
    """Render held-out views as PNG files, or a camera path as a video.

    Examples:
      recon render runs/fox-gaussians-01
      recon render runs/fox-gaussians-01 --path orbit
      recon render scene.ply --path orbit --size 1280x720 --channel depth
      recon render runs/fox-gaussians-01 --cameras camera_path.json --out flight.mp4
    """

    # run folder, or a splat file made by any program
    source: tyro.conf.Positional[Annotated[str, option("RUN|FILE")]]

    # a video around the scene: orbit or spiral
    path: Annotated[Literal["orbit", "spiral"] | None, option("NAME", "none: pictures of the held-out views")] = None

    # a video or pictures along a camera file: ours, nerfstudio's camera_path.json, or transforms.json
    cameras: Annotated[str | None, option("FILE")] = None

    # rgb, depth, normal or opacity
    channel: Annotated[str, option("NAME", "rgb")] = "rgb"

    # an .mp4 file, or a folder for PNG files
    out: Annotated[str | None, option("PATH", "in the run folder, or beside the file")] = None

    # picture size in pixels, like 1280x720
    size: Annotated[str | None, option("WxH", "that of the photos")] = None

    # which views, without --path and --cameras
    split: Annotated[Literal["test", "train", "all"], option("test|train|all", "test")] = "test"

    # length of the orbit or spiral in seconds
    seconds: Annotated[float, option("S", "8")] = 8.0

    # pictures per second
    fps: Annotated[float | None, option("N", "30, or what FILE says")] = None

    # with --channel depth: also exact 16-bit PNG files; the unit is written to depth.json
    depth16: Annotated[bool, flag()] = False

    # colour behind everything: black, white or three numbers like 0.1,0.2,0.3
    background: Annotated[str | None, option("COLOUR", "white where the photos have alpha, else black")] = None


@dataclass(frozen=True)
class Shot:
    """One picture to make."""

    name: str
    camera: Camera


def run(argv: Sequence[str]) -> int:
    arguments = command_line.parse(Arguments, argv, prog="recon render")
    from recon.app.api import load
    from recon.types.render import CHANNELS

    command_line.choose("channel", arguments.channel, CHANNELS, f"Channels: {', '.join(CHANNELS)}")
    if arguments.path and arguments.cameras:
        raise InputError("--path and --cameras exclude each other", fix="Leave one out.")
    if arguments.depth16 and arguments.channel != "depth":
        raise InputError("--depth16 needs --channel depth", fix="Add --channel depth.")
    if not 0 < arguments.seconds <= 3600:
        raise InputError(f"--seconds {arguments.seconds:g} is out of range", fix="Give 1 to 3600.")
    if arguments.fps is not None and not 0 < arguments.fps <= 240:
        raise InputError(f"--fps {arguments.fps:g} is out of range", fix="Give 1 to 240.")
    size = _size(arguments.size)
    scene = load(arguments.source)
    shots, fps, moving = _shots(arguments, scene, size)
    out = _out(arguments, scene, moving)
    for warning in scene.warnings:
        print(f"Note        {warning}")
    if out.suffix.lower() in VIDEO:
        if arguments.depth16:
            raise InputError("16-bit depth does not fit a video", fix="Name a folder with --out.")
        _video(scene, shots, fps, arguments, out)
    else:
        _pictures(scene, shots, arguments, out)
    return 0


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    wanted = sizes.parse_resolution(text, "--size")
    if not isinstance(wanted, tuple):
        raise InputError(f'--size "{text}" is not a size in pixels', fix="Write it like 1280x720.")
    if wanted[0] * wanted[1] > 64_000_000:
        raise InputError(f"--size {text} is too large", fix="At most 64 million pixels.")
    return wanted


def _shots(arguments: Arguments, scene: Run, size: tuple[int, int] | None) -> tuple[list[Shot], float, bool]:
    """What to render, the frame rate, and whether it is a moving picture."""
    from recon.app import camera_path_file, camera_paths

    fps = arguments.fps or 30.0
    if arguments.cameras:
        given = camera_path_file.read(Path(arguments.cameras), size)
        named = [Shot(f"frame_{i:05d}", c) for i, c in enumerate(given.cameras)]
        return named, arguments.fps or given.fps or 30.0, True
    frames = max(2, round(arguments.seconds * fps))
    if scene.saved is None:
        if arguments.path == "spiral":
            raise InputError("a spiral needs the cameras of the photos, which a splat file does not hold",
                             fix="Use --path orbit, or --cameras FILE.")
        if len(scene.gaussians) == 0:
            raise InputError("holds no splats", file=scene.path)
        path = camera_paths.around_points(scene.gaussians.means, frames, size)
        if arguments.path is None:  # a bare file has no held-out views: one picture from the front
            return [Shot(scene.path.stem, path[0])], fps, False
        return [Shot(f"frame_{i:05d}", c) for i, c in enumerate(path)], fps, True
    if arguments.path:
        make = camera_paths.orbit if arguments.path == "orbit" else camera_paths.spiral
        return [Shot(f"frame_{i:05d}", c) for i, c in enumerate(make(scene.cameras, frames, size))], fps, True
    to_source = scene.saved.world_from_source.inverse()
    views = scene.saved.views if arguments.split == "all" else scene.saved.subset(arguments.split)
    if not views:
        raise InputError(f'this run has no views in the split "{arguments.split}"', file=scene.path,
                         fix="Use --split train, or --path orbit.")
    shots = []
    for view in views:
        name = re.sub(r"[^\w.-]+", "_", Path(view.name).with_suffix("").as_posix())
        camera = to_source.camera(view.camera)
        shots.append(Shot(name, camera.scaled(*sizes.fitted(10**6 * camera.width, 10**6 * camera.height, size))
                          if size else camera))
    return shots, fps, False


def _out(arguments: Arguments, scene: Run, moving: bool) -> Path:
    from recon.app.atomic import check_writable

    kind = Path(arguments.cameras).stem if arguments.cameras else arguments.path or arguments.split
    label = kind if arguments.channel == "rgb" else f"{kind}_{arguments.channel}"
    if arguments.out:
        out = Path(arguments.out).expanduser()
    elif scene.folder:
        out = scene.path / "render" / (f"{label}.mp4" if moving and not arguments.depth16 else label)
    else:
        name = f"{scene.path.stem}_{label}" if moving else f"{scene.path.stem}_render"
        out = Path(f"{name}.mp4" if moving and not arguments.depth16 else name)
    if out.suffix and out.suffix.lower() not in VIDEO and not out.is_dir():
        raise InputError(f'"{out.suffix}" is not a kind of video', file=out,
                         fix=f"Use one of {', '.join(VIDEO)}, or a name without a suffix for a folder of PNG files.")
    check_writable(out.parent)
    return out


def _background(text: str | None) -> Any:
    import torch

    if text is None:
        return None
    named = {"black": [0.0] * 3, "white": [1.0] * 3}
    try:
        colour = named.get(text.lower()) or [float(x) for x in text.split(",")]
    except ValueError:
        colour = []
    if len(colour) != 3 or not all(0 <= x <= 1 for x in colour):
        raise InputError(f'--background "{text}" is not a colour', fix="Use black, white or three numbers: 0.1,0.2,0.3")
    return torch.tensor(colour)


def _rendered(scene: Run, shots: list[Shot], arguments: Arguments) -> Iterator[tuple[Shot, Any]]:
    background = _background(arguments.background)
    for shot in shots:
        yield shot, scene.render(shot.camera, want=("rgb", arguments.channel), background=background)


def _video(scene: Run, shots: list[Shot], fps: float, arguments: Arguments, out: Path) -> None:
    from recon.app import pictures, video

    width, height = video.even(shots[0].camera.size)
    shots = [Shot(s.name, s.camera.scaled(width, height)) for s in shots]
    out.parent.mkdir(parents=True, exist_ok=True)

    def frames() -> Iterator[np.ndarray]:
        near_far = _common_range(scene, shots) if arguments.channel == "depth" else None
        for i, (_, shown) in enumerate(_rendered(scene, shots, arguments)):
            _progress(i, len(shots))
            yield pictures.channel_image(shown, arguments.channel, near_far)

    count = video.write_mp4(out, frames(), fps)
    _progress(count, count)
    print(f"Rendered    {out}   {count} frames, {width}x{height}, {count / fps:.1f} s")


def _common_range(scene: Run, shots: list[Shot]) -> tuple[float, float]:
    """One depth range for all frames, or the colours flicker; from a few small pictures along the way."""
    from recon.app import pictures

    few = shots[:: max(1, len(shots) // 8)]
    ranges = []
    for shot in few:
        small = shot.camera.scaled(max(16, shot.camera.width // 4), max(16, shot.camera.height // 4))
        ranges.append(pictures.depth_range(scene.render(small, want=("rgb", "depth")).channel("depth")))
    return min(r[0] for r in ranges), max(r[1] for r in ranges)


def _pictures(scene: Run, shots: list[Shot], arguments: Arguments, out: Path) -> None:
    from recon.app import atomic, pictures

    out.mkdir(parents=True, exist_ok=True)
    unit = 0.0
    for i, (shot, shown) in enumerate(_rendered(scene, shots, arguments)):
        pictures.write_image(out / f"{shot.name}.png", pictures.channel_image(shown, arguments.channel))
        if arguments.depth16:
            if unit == 0.0:
                unit = max(float(shown.depth.max()), 1e-12) * 2 / 65535  # room for farther things in later pictures
                meaning = "z-depth = value * unit, 0 = nothing, in the units of the source"
                atomic.write_json(out / "depth.json", {"unit": unit, "meaning": meaning})
            pictures.write_depth16(out / f"{shot.name}_depth16.png", shown.depth, unit)
        _progress(i + 1, len(shots))
    print(f"Rendered    {out}/   {len(shots)} picture{'s' if len(shots) > 1 else ''}")


def _progress(done: int, total: int) -> None:
    """One line that is rewritten, on a terminal only."""
    import sys

    if sys.stderr.isatty():
        print(f"\rRendering   {done}/{total} ", end="\r" if done == total else "", file=sys.stderr, flush=True)
