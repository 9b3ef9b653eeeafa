"""Structure from motion for plain photos: poses and points from the pictures alone, through COLMAP (pycolmap).

COLMAP sees copies of at most 1600 pixels, turned upright, with what EXIF says about the lens: feature extraction on
them is about five times faster than on full photos and no less exact after bundle adjustment. Photos of one size, make,
model and focal length share one camera. The result is kept, so a second run with the same photos takes no time.
Source: Schoenberger and Frahm, "Structure-from-Motion Revisited", CVPR 2016.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from recon.data.parts.colmap_files import read_cameras, read_images, read_points
from recon.data.parts.context import Context, plural
from recon.data.parts.images import UnreadableImage, decode, probe
from recon.errors import InputError
from recon.types import Camera, PointCloud

LONGEST_SIDE = 1600
FINE_OCTAVE_BELOW = 1200  # photos smaller than this need features at twice their resolution to have enough of them
_MAX_FEATURES = {30: 6000, 100_000: 4096}  # up to so many photos; matching takes the square of the features
_FREE_LENS_FROM = 15  # photos of one camera that determine four distortion terms; fewer get one
_MAKE, _MODEL, _EXIF, _FOCAL, _FOCAL_35MM = 271, 272, 34665, 37386, 41989
_PLANE_X, _PLANE_Y, _PLANE_UNIT = 41486, 41487, 41488
_VERSION = 2
ADVICE = "Take 20 or more photos all around, each overlapping the last by two thirds, in even light"


@dataclass(frozen=True)
class Posed:
    """What structure from motion found. Cameras have the size of the upright photo; photos it could not place lack."""

    cameras: dict[Path, Camera]
    points: PointCloud | None
    error_px: float


def find_poses(photos: list[Path], work_dir: Path, context: Context) -> Posed:
    """Poses of ``photos`` (in sequence order), kept in ``work_dir`` or computed now. Raises ``InputError``."""
    key = hashlib.sha256(repr([_VERSION, [_stamp(p) for p in photos]]).encode()).hexdigest()[:16]
    folder = work_dir / f"poses-{key}"
    if not (folder / "done.json").is_file():
        try:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "copies").mkdir(parents=True)
            _compute(photos, folder, context)
        except OSError as error:
            raise InputError(f"cannot write there ({error.strerror})", file=folder,
                             fix="Free some space or name another output folder") from None  # fmt: skip
        finally:
            for leftover in ("copies", "models"):
                shutil.rmtree(folder / leftover, ignore_errors=True)
            with contextlib.suppress(OSError):
                (folder / "database.db").unlink()
    return _load(photos, folder, context)


def default_work_dir() -> Path:
    """The user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "recon"


def _compute(photos: list[Path], folder: Path, context: Context) -> None:
    groups = _copies(photos, folder / "copies", context)
    count = sum(len(g["names"]) for g in groups)
    if count < 3:
        raise InputError(f"{plural(count, 'readable photo')}: too few to find poses", file=photos[0].parent, fix=ADVICE)
    job = folder / "job.json"
    log = folder / "colmap.log"
    job.write_text(json.dumps({"folder": str(folder.resolve()), "log": str(log.resolve()), "groups": groups,
                               "num_threads": os.cpu_count() or 1}))  # fmt: skip
    placed, error_px = listen("sfm_process.py", job, log, context)
    if placed < 3:
        raise InputError(f"{placed or 'none'} of {count} photos could be placed: too little in common between them",
                         file=photos[0].parent, fix=ADVICE)  # fmt: skip
    draft = folder / "done.json.part"
    draft.write_text(json.dumps({"placed": placed, "photos": count, "error_px": error_px}))
    os.replace(draft, folder / "done.json")


def listen(script: str, job: Path, log: Path, context: Context) -> tuple[int, float]:
    """Runs the process to its end -> (photos placed, mean reprojection error in pixels of the copies)."""
    command = [sys.executable, "-P", str(Path(__file__).with_name(script)), str(job)]
    with log.open("ab") as errors, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True, env=_environment()
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                stage, *numbers = json.loads(line)
                if stage == "done":
                    return int(numbers[0]), float(numbers[1])
                if stage == "failed":
                    raise InputError(f"structure from motion failed: {numbers[0]}", file=log, fix=ADVICE)
                context.report(stage, *numbers)
        except BaseException:  # Ctrl-C above all
            process.kill()
            raise
    raise InputError(f"structure from motion stopped (exit code {process.returncode})", file=log,
                     fix="Its last lines tell more")  # fmt: skip


def _environment() -> dict[str, str]:
    """The child must find pycolmap where this process did, also when the path was set by hand."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def _load(photos: list[Path], folder: Path, context: Context) -> Posed:
    summary = json.loads((folder / "done.json").read_text())
    try:
        cameras, images = read_cameras(folder / "sparse"), read_images(folder / "sparse", context)
        found: dict[Path, Camera] = {}
        for image in images:
            photo = photos[int(Path(image.name).stem)]
            camera = replace(cameras[image.camera_id], world_from_camera=image.world_from_camera)
            found[photo] = camera.scaled(*probe(photo).oriented_size)
        points = read_points(folder / "sparse", context)
    except (InputError, UnreadableImage, KeyError, IndexError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)
        what = "the stored poses were damaged and have been removed"
        raise InputError(what, file=folder, fix="Run it again") from None
    count = f"{len(found)} of {plural(summary['photos'], 'photo')} placed"
    context.report(f"{count}, {summary['error_px']:.2f} px", len(found), len(found))
    return Posed(found, points, float(summary["error_px"]))


def _copies(photos: list[Path], folder: Path, context: Context) -> list[dict]:
    """Writes the small upright copies -> groups of photos that share a camera. Damaged photos are left out."""

    def attempt(item: tuple[int, Path]) -> tuple[int, tuple, Image.Exif] | None:
        index, photo = item
        try:
            return _copy(photo, folder / f"{index:06d}.jpg", index)
        except InputError:
            return None  # listed by the caller, which looks at every photo anyway

    members: dict[tuple, list[str]] = defaultdict(list)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for number, made in enumerate(pool.map(attempt, enumerate(photos)), 1):
            context.report("Reading photos", number, len(photos))
            if made is not None:
                members[made[1]].append(f"{made[0]:06d}.jpg")
    groups = []
    for (width, height, *_), names in members.items():
        groups.append({
            "names": names,
            "camera_model": "OPENCV" if len(names) >= _FREE_LENS_FROM else "SIMPLE_RADIAL",
            "first_octave": -1 if max(width, height) < FINE_OCTAVE_BELOW else 0,
            "max_features": next(most for count, most in _MAX_FEATURES.items() if len(photos) <= count),
        })  # fmt: skip
    return groups


def _copy(photo: Path, target: Path, index: int) -> tuple[int, tuple, Image.Exif]:
    """One small upright JPEG -> (index, what tells cameras apart, its EXIF)."""
    image = decode(photo, rotate=True, at_least=(LONGEST_SIDE, LONGEST_SIDE))
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB")
    try:
        header = probe(photo)
    except UnreadableImage as error:
        raise InputError(str(error), file=photo) from None
    width, height = header.oriented_size
    ratio = min(1.0, LONGEST_SIDE / max(width, height))
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    exif, lens = _lens_exif(photo, ratio)
    image.save(target, quality=95, exif=exif)
    return index, (width, height, *lens), exif


def _lens_exif(photo: Path, ratio: float) -> tuple[Image.Exif, tuple]:
    """What EXIF says about the lens, fitting a picture scaled by ``ratio``; and the same as a key."""
    out = Image.Exif()
    try:
        with Image.open(photo) as image:
            source = image.getexif()
            inner = dict(source.get_ifd(_EXIF))
        details = {k: inner[k] for k in (_FOCAL, _FOCAL_35MM, _PLANE_UNIT) if k in inner}
        key = (str(source.get(_MAKE, "")), str(source.get(_MODEL, "")), str(sorted(details.items())))
        for tag in (_PLANE_X, _PLANE_Y):
            if tag in inner:
                details[tag] = float(inner[tag]) * ratio  # pixels per unit of the sensor
        for tag in (_MAKE, _MODEL):
            if tag in source:
                out[tag] = str(source[tag]).strip("\0 ")
        out.get_ifd(_EXIF).update(details)
        out.tobytes()  # impossible values show here
    except Exception:  # EXIF is a free-for-all; without it the focal length is estimated
        return Image.Exif(), ("", "", "")
    return out, key


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return path.name, status.st_size, status.st_mtime_ns
