"""A video file: sharp frames at even motion are taken out of it, then treated as photos.

The frames are written once into the work folder and found again by the file's name, size and time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from recon.data.parts.context import Context
from recon.data.parts.images import find_images
from recon.data.parts.sfm import default_work_dir
from recon.data.photos import read_photos
from recon.errors import InputError
from recon.types import Capture

ORDER = 50
SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".3gp", ".mts")


def matches(path: Path) -> bool:
    """A video file, or a folder with one video and no pictures."""
    if path.is_file():
        return path.suffix.lower() in SUFFIXES
    return path.is_dir() and len(_videos(path)) == 1 and not find_images(path) and not (path / "images").is_dir()


def read(path: Path, context: Context) -> Capture:
    """Chooses frames and finds their poses. Raises ``InputError``."""
    videos = [path] if path.is_file() else _videos(path)
    if len(videos) != 1:
        raise InputError(f"holds {len(videos)} videos", file=path, fix="Name the one to read")
    file = videos[0]
    status = file.stat()
    work_dir = context.work_dir if context.work_dir is not None else default_work_dir()
    key = hashlib.sha256(repr([file.name, status.st_size, status.st_mtime_ns, 1]).encode()).hexdigest()[:16]
    folder = work_dir / f"frames-{key}"
    if not (folder / "done.json").is_file():
        _extract(file, folder, context)
    capture = read_photos(find_images(folder), folder, "video", context)
    return replace(capture, name=file.stem)


def _extract(file: Path, folder: Path, context: Context) -> None:
    from recon.data.parts import video_frames  # PyAV takes a moment to import

    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        frames = video_frames.write(file, video_frames.choose(video_frames.look(file, context)), folder, context)
        draft = folder / "done.json.part"
        draft.write_text(json.dumps({"video": file.name, "frames": len(frames)}))
        os.replace(draft, folder / "done.json")
    except OSError as error:
        raise InputError(f"cannot write there ({error.strerror})", file=folder,
                         fix="Free some space or name another output folder") from None  # fmt: skip


def _videos(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
