"""Renders a short orbit of a run, colour beside depth, frame by frame: how to use cameras and renders directly.

    python examples/02_render_orbit.py runs/sample-gaussians-01
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro

import recon
from recon.app import camera_paths, pictures, video


def main(run: tyro.conf.Positional[Path], seconds: float = 4.0, out: Path = Path("orbit.mp4")) -> Path:
    """Writes the video and returns its path.

    Args:
        run: folder of a finished run.
        seconds: length of the video.
        out: the file to write.
    """
    scene = recon.load(run)
    width, height = video.even(scene.cameras[0].size)
    path = camera_paths.orbit(scene.cameras, frames=max(2, round(30 * seconds)), size=(width, height))

    def frames():
        near_far = None
        for camera in path:
            shown = scene.render(camera, want=("rgb", "depth"))  # tensors: rgb [h, w, 3] in 0..1, depth [h, w]
            near_far = near_far or pictures.depth_range(shown.depth)
            colour = pictures.channel_image(shown, "rgb")
            depth = pictures.channel_image(shown, "depth", near_far)
            yield np.concatenate([colour, depth], axis=1)

    count = video.write_mp4(out, frames(), fps=30)
    print(f"saved {out}, {count} frames")
    return out


if __name__ == "__main__":
    tyro.cli(main)
