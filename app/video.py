"""MP4 files that play everywhere: H.264, yuv420p, even size."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from recon.app import atomic


def even(size: tuple[int, int]) -> tuple[int, int]:
    """The nearest smaller even (width, height): yuv420p halves both sides."""
    return max(2, size[0] // 2 * 2), max(2, size[1] // 2 * 2)


def write_mp4(path: Path, frames: Iterable[np.ndarray], fps: float, quality: int = 18) -> int:
    """Writes [height, width, 3] uint8 frames of one even size; returns how many. Atomic: no half a video is left.

    ``quality`` is x264's constant rate factor, smaller is better; 18 is close to lossless to the eye.
    """
    import av

    count = 0
    with (atomic.replacing(path) as temporary,
          av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container):
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(quality), "preset": "medium"}
        for pixels in frames:
            if count == 0:
                stream.height, stream.width = pixels.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
            count += 1
        for packet in stream.encode():
            container.mux(packet)
    return count
