"""Given poses adjusted to feature tracks of their photos, before anything is fitted to them.

Pixels alone pull a pose only over a few pixels, and a scene that is fitted to wrong poses soon explains them; matched
features do not depend on the poses at all. Lenses and the frame of the given poses are kept.
Source: Triggs, McLauchlan, Hartley, Fitzgibbon, "Bundle Adjustment: A Modern Synthesis", 1999; COLMAP (pycolmap).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from recon.data.parts.context import Context, plural
from recon.data.parts.photo_file import PhotoFile
from recon.data.parts.pinhole import pinhole_for
from recon.data.parts.prepare import working_size
from recon.data.parts.sfm import FINE_OCTAVE_BELOW, LONGEST_SIDE, default_work_dir, listen
from recon.errors import InputError
from recon.types import Camera, Capture, View
from recon.types.similarity import similarity_between

_ALL_PAIRS_UP_TO = 40  # photos; of more, each is compared with so many of its neighbours
_NEIGHBOURS = 20
_MAX_FEATURES = 4096
_ENOUGH_POINTS = 30  # that a photo sees, for its pose to be believed
_VERSION = 3


def adjusted(capture: Capture, context: Context) -> Capture:
    """The capture with the poses of its fitted views adjusted to each other; held-out ones move along with them.

    Photos that cannot be read, or have too few points in common with others, keep their pose. Raises InputError where
    hardly any has enough, where pycolmap fails and where the folder cannot be written.
    """
    views = capture.train
    work = (context.work_dir or default_work_dir()) / f"adjusted-{_key(views)}"
    if not (work / "done.json").is_file():
        shutil.rmtree(work, ignore_errors=True)
        try:
            (work / "copies").mkdir(parents=True)
            _compute(views, work, context)
        except OSError as error:
            raise InputError(f"cannot write there ({error.strerror})", file=work,
                             fix="Free some space, or name another output folder") from None
        finally:
            for leftover in ("copies", "model"):
                shutil.rmtree(work / leftover, ignore_errors=True)
            with contextlib.suppress(OSError):
                (work / "database.db").unlink()
    given = torch.stack([v.camera.world_from_camera for v in views])
    poses, points = given.clone(), torch.zeros(len(views), dtype=torch.int64)
    try:
        error_px = float(json.loads((work / "done.json").read_text())["error_px"])
        for line in (work / "poses.txt").read_text().splitlines():
            name, seen, *numbers = line.split()
            index = int(Path(name).stem)
            poses[index] = torch.tensor([float(n) for n in numbers], dtype=torch.float64).view(4, 4)
            points[index] = int(seen)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError):
        shutil.rmtree(work, ignore_errors=True)
        raise InputError("the stored poses were damaged and have been removed", file=work, fix="Run it again") from None
    good = points >= _ENOUGH_POINTS
    if int(good.sum()) < max(3, len(views) // 2):
        raise InputError(f"{int(good.sum())} of {plural(len(views), 'photo')} have enough in common with others to "
                         "adjust their poses by", file=capture.root,
                         fix="Leave out --refine-poses, or use --poses photos to find poses anew")
    given_from_found = similarity_between(poses[good], given[good])
    moved = {id(v): given_from_found.camera(replace(v.camera, world_from_camera=pose))
             for v, pose, ok in zip(views, poses, good) if ok}
    context.report(f"{int(good.sum())} of {plural(len(views), 'pose')} adjusted to {error_px:.2f} px")
    return replace(capture, views=tuple(replace(v, camera=moved.get(id(v), v.camera)) for v in capture.views))


def _compute(views: tuple[View, ...], work: Path, context: Context) -> None:
    cameras: list[Camera] = []
    groups: dict[tuple[float, ...], list[str]] = defaultdict(list)
    read: set[int] = set()
    for index, view in enumerate(views):
        native = view.camera
        camera = pinhole_for(native, *working_size(native.width, native.height, (LONGEST_SIDE, LONGEST_SIDE)))
        name = f"{index:06d}.png"
        cameras.append(camera)
        try:
            picture = _picture(view, camera)
        except InputError:  # the fit names it
            continue
        picture.save(work / "copies" / name, compress_level=1)
        read.add(index)
        groups[(*camera.intrinsics.tolist(), *camera.size)].append(name)
        context.report("Reading photos", index + 1, len(views))
    job = {
        "folder": str(work.resolve()), "log": str((work / "colmap.log").resolve()),
        "groups": [{"names": names, "intrinsics": key[:4], "max_features": _MAX_FEATURES,
                    "first_octave": -1 if max(key[4:]) < FINE_OCTAVE_BELOW else 0} for key, names in groups.items()],
        "poses": {f"{i:06d}.png": c.world_from_camera.tolist() for i, c in enumerate(cameras) if i in read},
        "pairs": [(f"{a:06d}.png", f"{b:06d}.png") for a, b in pairs(cameras) if {a, b} <= read],
        "longest_side": max(max(c.size) for c in cameras),
        "num_threads": os.cpu_count() or 1,
    }  # fmt: skip
    (work / "job.json").write_text(json.dumps(job))
    placed, error_px = listen("tracks_process.py", work / "job.json", work / "colmap.log", context)
    draft = work / "done.json.part"
    draft.write_text(json.dumps({"placed": placed, "error_px": error_px}))
    os.replace(draft, work / "done.json")


def pairs(cameras: list[Camera]) -> list[tuple[int, int]]:
    """Which views to compare: all, or of many each with those that stand near it and look the same way."""
    count = len(cameras)
    if count <= _ALL_PAIRS_UP_TO:
        return [(a, b) for a in range(count) for b in range(a + 1, count)]
    centre = torch.stack([c.centre for c in cameras])
    forward = torch.stack([c.forward for c in cameras])
    spread = (centre - centre.mean(0)).norm(dim=1).mean().clamp_min(1e-12)
    cost = torch.cdist(centre, centre) / spread + (1 - forward @ forward.T)
    near = cost.fill_diagonal_(float("inf")).topk(_NEIGHBOURS, dim=1, largest=False).indices
    return sorted({(min(a, b), max(a, b)) for a, row in enumerate(near.tolist()) for b in row})


def _picture(view: View, camera: Camera) -> Image.Image:
    """The photo over black, in grey: what features are found in."""
    photo = view.source.read(camera)
    rgb: Tensor = photo.rgb
    if photo.alpha is not None:
        rgb = (rgb.float() * photo.alpha.float() / 255).round().to(torch.uint8)
    return Image.fromarray(rgb.permute(1, 2, 0).contiguous().numpy()).convert("L")


def _key(views: tuple[View, ...]) -> str:
    """Names the photos (path, time, size) and the cameras they were given."""
    parts: list[object] = [_VERSION]
    for view in views:
        camera = view.camera
        parts += [view.name, camera.size, camera.intrinsics.tolist(), camera.lens, camera.world_from_camera.tolist()]
        if isinstance(view.source, PhotoFile):
            parts.append(str(view.source.path.absolute()))
            with contextlib.suppress(OSError):  # a photo that is gone is left out later
                status = view.source.path.stat()
                parts += [status.st_size, status.st_mtime_ns]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
