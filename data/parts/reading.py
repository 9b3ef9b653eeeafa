"""``read``: recognises what a path is and turns it into a Capture."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import recon.data as package
from recon.data.parts.assemble import split_by_name
from recon.data.parts.context import Context, Progress
from recon.data.parts.normalise import normalised
from recon.errors import InputError
from recon.types import Capture


def readers() -> dict[str, ModuleType]:
    """Readers by format name, in the order in which they are tried. Every module of ``recon.data`` is one.

    A reader has ``ORDER`` (small numbers are preferred where several match), ``matches(path) -> bool`` and
    ``read(path, context) -> Capture``; it may have ``ALIASES``, other names of the format.
    """
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg]
    modules = {name: importlib.import_module(f"recon.data.{name}") for name in names}
    found = {name: m for name, m in modules.items() if hasattr(m, "matches") and hasattr(m, "read")}
    return dict(sorted(found.items(), key=lambda item: item[1].ORDER))


def read(
    path: str | Path, *, format: str | None = None, holdout: int = 8, poses: str | Path | None = None,
    progress: Progress | None = None, work_dir: str | Path | None = None, normalise: bool = True,
) -> Capture:  # fmt: skip
    """Reads a capture: a folder, or a single camera, pose or video file.

    format     name of a reader; None recognises it (transforms before colmap, llff, idr, video, photos)
    holdout    every ``holdout``-th view by name is a test view, unless the capture says itself which are; 0: none
    poses      "photos": ignore camera files and find the poses from the photos; a format name: use that one of several;
               a path: take the poses from there (its images are looked for in ``path``)
    progress   called as ``progress(stage, done, total)``
    work_dir   where expensive results are kept and found again (structure from motion, video frames)
    normalise  bring the cameras around the origin at a distance of about 1 (``Capture.world_from_source`` undoes it)

    Images are not decoded here. What was skipped or repaired is in ``Capture.warnings``. Raises ``InputError``.
    """
    root = Path(path).expanduser()
    try:
        if not root.exists():
            raise InputError("no such file or folder", file=root)
        return _read(root, format, holdout, poses, Context(progress, _folder(work_dir)), normalise)
    except OSError as error:  # no permission, a name that is too long, a disk that went away
        what = f"cannot be read ({error.strerror or error})"
        raise InputError(what, file=error.filename or root) from error


def _folder(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path).expanduser()


def _read(
    root: Path, format: str | None, holdout: int, poses: str | Path | None, context: Context, normalise: bool
) -> Capture:
    source = root
    if poses is not None:
        if str(poses) in _names():
            format = str(poses)
        elif Path(poses).expanduser().exists():
            source, context.images = Path(poses).expanduser(), root if root.is_dir() else root.parent
        else:
            raise InputError(f'--poses "{poses}" is neither a path nor one of: {", ".join(_names())}')
    reader = _chosen(source, format)
    capture = reader.read(source, context)
    if not any(v.split == "test" for v in capture.views):
        capture = replace(capture, views=split_by_name(capture.views, holdout))
    if not capture.train:
        raise InputError("holds test views only, nothing to fit", file=root)
    capture = replace(capture, warnings=(*capture.warnings, *context.warnings))
    return normalised(capture) if normalise else capture


def _names() -> dict[str, ModuleType]:
    """Format names and their aliases."""
    found = readers()
    return found | {alias: m for m in found.values() for alias in getattr(m, "ALIASES", ())}


def _chosen(path: Path, format: str | None) -> ModuleType:
    if format is not None:
        named = _names().get(format)
        if named is None:
            raise InputError(f'no format "{format}"', fix=f"Formats: {', '.join(_names())}")
        return named
    for module in readers().values():
        if module.matches(path):
            return module
    if path.is_dir():
        empty = not any(path.iterdir())
        what = "the folder is empty" if empty else "nothing here that can be read"
        raise InputError(what, file=path, fix="Expected photos, a video, or a capture with camera files "
                         "(transforms.json, COLMAP's sparse/, poses_bounds.npy, cameras_sphere.npz)")  # fmt: skip
    fix = "Give a folder of photos, a video or a camera file"
    raise InputError("this kind of file is not a capture", file=path, fix=fix)
