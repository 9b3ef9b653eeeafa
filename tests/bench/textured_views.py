"""A textured mesh at held-out views beside the run it is from: python tests/bench/textured_views.py MESH RUN SCENE

PSNR against photos over the pixels that the mesh covers, the mean over views; the mesh is drawn unlit, four samples per
pixel. The mesh is in the coordinates of the source (recon mesh --up keep). --train looks at every sixth training view.
--pictures FOLDER writes photo, run and mesh side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch.nn.functional import avg_pool2d

from recon import data
from recon.app.api import Run
from recon.app.pictures import as_pil
from recon.export import read_mesh
from recon.fit.evaluate import psnr
from recon.mesh.texture import textured_picture

SAMPLES = 2  # per pixel and axis
LINE = "{}: mesh {:.2f} dB, run {:.2f}, mesh against run {:.2f}, {:.0%} covered"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("mesh", "run", "scene"):
        parser.add_argument(name)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--pictures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    mesh, run, capture = read_mesh(arguments.mesh), Run(Path(arguments.run)), data.read(arguments.scene)
    to_source = capture.world_from_source.inverse()
    rows = []
    for i, view in enumerate(capture.train[::6] if arguments.train else capture.test):
        camera = to_source.camera(view.camera)
        photo = view.photo().rgb.float() / 255
        fine = camera.scaled(SAMPLES * camera.width, SAMPLES * camera.height)
        shown, covered = textured_picture(mesh, fine)
        drawn = avg_pool2d(shown.permute(2, 0, 1)[None], SAMPLES)[0]
        inside = (avg_pool2d(covered.float()[None], SAMPLES)[0] > 0.99).float()
        source = run.render(camera).rgb.permute(2, 0, 1)
        pairs = (drawn, photo), (source, photo), (drawn, source)
        rows.append([*(psnr(a, b, inside) for a, b in pairs), float(inside.mean())])
        print(LINE.format(view.name, *rows[-1]), flush=True)
        if arguments.pictures:
            beside = torch.cat([photo, source, drawn * inside], dim=2).permute(1, 2, 0)
            Path(arguments.pictures).mkdir(parents=True, exist_ok=True)
            as_pil(beside).save(Path(arguments.pictures) / f"{i:02}.png")
    print(LINE.format("mean", *torch.tensor(rows).mean(0).tolist()))


if __name__ == "__main__":
    main()
