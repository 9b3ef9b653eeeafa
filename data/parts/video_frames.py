"""Choosing frames of a video for structure from motion: sharp ones, at even steps of camera motion.

A first pass looks at every frame as a small grey picture. Motion between two frames is estimated as the normal flow
|I_t| / |grad I| (how far edges moved, in widths of the picture), sharpness as the variance of the Laplacian at a size
where blur still shows. The video is cut into pieces of equal motion and the sharpest frame of each is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from recon.data.parts.context import Context
from recon.errors import InputError

FEWEST, MOST = 60, 150
_MOTION_PER_FRAME = 0.04  # of the picture's width: neighbours still share most of what they show
_LOOK_WIDTH = 320
_MOST_FRAMES = 200_000


@dataclass(frozen=True)
class Looks:
    """Of every frame: the motion since the first frame (in picture widths) and the sharpness."""

    motion: np.ndarray
    sharpness: np.ndarray


def look(file: Path, context: Context) -> Looks:
    """First pass over the video. Raises ``InputError`` if nothing can be decoded."""
    motions: list[float] = []
    sharpness: list[float] = []
    previous: np.ndarray | None = None
    total = 0.0
    for index, frame, expected in _frames(file, context):
        height = max(2, round(_LOOK_WIDTH * frame.height / max(1, frame.width)) // 2 * 2)
        grey = frame.reformat(width=_LOOK_WIDTH, height=min(height, 4 * _LOOK_WIDTH), format="gray").to_ndarray()
        grey = grey.astype(np.float32)
        sharpness.append(_laplacian_variance(grey))
        small = _halved(_halved(grey))
        if previous is not None and previous.shape == small.shape:
            total += _flow(previous, small)
        previous = small
        motions.append(total)
        if index % 10 == 0:
            context.report("Looking at the video", index, expected)
    if not motions:
        raise InputError("no picture of this video can be decoded", file=file, fix="Copy it again or convert it to MP4")
    return Looks(np.array(motions), np.array(sharpness))


def choose(looks: Looks, fewest: int = FEWEST, most: int = MOST) -> list[int]:
    """Indices of the frames to keep, ascending: the sharpest of each piece of equal motion."""
    count = len(looks.motion)
    wanted = int(np.clip(round(looks.motion[-1] / _MOTION_PER_FRAME), fewest, most))
    if count <= wanted:
        return list(range(count))
    # A little time in the measure, so that a video of a still camera does not fall into one piece.
    measure = looks.motion + 0.02 * (looks.motion[-1] + 1e-9) * np.linspace(0, 1, count)
    edges = np.searchsorted(measure, np.linspace(0, measure[-1], wanted + 1)[1:-1])
    pieces = [p for p in np.split(np.arange(count), edges) if len(p)]
    return [int(piece[np.argmax(looks.sharpness[piece])]) for piece in pieces]


def write(file: Path, indices: list[int], folder: Path, context: Context) -> list[Path]:
    """Second pass: writes the chosen frames as JPEG (quality 95) -> their paths, in order."""
    wanted = set(indices)
    written: list[Path] = []
    for index, frame, _ in _frames(file, context):
        if index not in wanted:
            continue
        target = folder / f"frame_{index:06d}.jpg"
        image = frame.to_image()
        if frame.rotation % 360:
            image = image.rotate(frame.rotation, expand=True)  # both count counter-clockwise
        draft = target.with_suffix(".part")
        image.save(draft, format="JPEG", quality=95)
        os.replace(draft, target)
        written.append(target)
        context.report("Writing frames", len(written), len(indices))
        if len(written) == len(wanted):
            break
    return written


def _frames(file: Path, context: Context) -> Iterator[tuple[int, av.VideoFrame, int]]:
    """Index, frame and expected number of frames (0: not known). Ends with a warning where the file is damaged."""
    index = 0
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise InputError("holds no video", file=file)
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                yield index, frame, stream.frames
                index += 1
                if index >= _MOST_FRAMES:
                    context.warn(f"{file.name}: only its first {_MOST_FRAMES} frames were looked at")
                    return
    except (av.FFmpegError, OSError, ValueError, EOFError) as error:
        if index == 0:
            raise InputError("is not a video that can be decoded", file=file,
                             fix="Copy it again or convert it to MP4") from error  # fmt: skip
        context.warn(f"{file.name} is damaged after frame {index}: the frames before were used")


def _flow(a: np.ndarray, b: np.ndarray) -> float:
    """Mean normal flow between two grey pictures in picture widths; flat regions do not count."""
    gx = np.abs(np.diff(a, axis=1))[:-1]
    gy = np.abs(np.diff(a, axis=0))[:, :-1]
    gradient = gx + gy
    change = np.abs(b - a)[:-1, :-1]
    edges = gradient > 8
    if edges.sum() < 20:
        return 0.0
    # Noise of a couple of grey levels is not motion.
    moved = np.clip(change[edges] - 2, 0, None).sum() / gradient[edges].sum()
    return float(min(moved, 10.0)) / a.shape[1]


def _laplacian_variance(grey: np.ndarray) -> float:
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.var())


def _halved(grey: np.ndarray) -> np.ndarray:
    h, w = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    return grey[:h, :w].reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))

