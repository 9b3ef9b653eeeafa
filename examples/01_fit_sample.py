"""Fits the sample scene, then shows one view that was not fitted to.

    python examples/01_fit_sample.py
    python examples/01_fit_sample.py --scene ~/photos/fox --time 3m
"""

from __future__ import annotations

from pathlib import Path

import tyro

import recon

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"


def main(scene: Path = SAMPLE, time: str = "60s", steps: int | None = None, out: Path | None = None) -> Path:
    """Returns the picture: the first held-out view as the fitted scene shows it.

    Args:
        scene: folder of photos, or anything else that `recon fit` reads.
        time: how long the fit may take; not used when steps are given.
        steps: optimisation steps.
        out: run folder, by default runs/<scene>-gaussians-NN.
    """
    run = recon.fit(scene, preset="fast", steps=steps, time=None if steps else time, out=out)
    print(run)

    picture = run.path / "held_out_view.png"
    run.image(run.cameras[0]).save(picture)
    print(f"saved {picture}")

    run.export(run.path / "scene.spz")
    return picture


if __name__ == "__main__":
    tyro.cli(main)
