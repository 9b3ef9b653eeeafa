"""The sample's true mesh, textured from its photos, exported, and rendered by Blender from a held-out camera: metres,
up, texture and sides are right when it looks like the photo."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from blender import IMPORT, in_blender, skip_without_blender
from PIL import Image

from recon import data
from recon.export import read_mesh, write_mesh
from recon.mesh.simplify import simplify
from recon.mesh.texture import Baking, bake, unwrap
from recon.types import Mesh

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
# Surfaces shine by their texture alone, seen through a pinhole, without any change of colours.
RENDER = IMPORT + """
from mathutils import Matrix
from math import atan
view = json.loads(sys.argv[2])
for material in bpy.data.materials:
    images = [n.image for n in material.node_tree.nodes if n.type == "TEX_IMAGE"] if material.use_nodes else []
    if not images:
        continue
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    texture, shine, out = (nodes.new(f"ShaderNode{n}") for n in ("TexImage", "Emission", "OutputMaterial"))
    texture.image = images[0]
    links.new(texture.outputs["Color"], shine.inputs["Color"])
    links.new(shine.outputs["Emission"], out.inputs["Surface"])
scene = bpy.context.scene
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
scene.collection.objects.link(camera)
camera.matrix_world = Matrix(view["pose"])
camera.data.sensor_fit, camera.data.angle = "HORIZONTAL", 2 * atan(view["width"] / 2 / view["focal"])
camera.data.clip_start = 0.001
scene.camera = camera
scene.render.engine, scene.cycles.samples, scene.cycles.device = "CYCLES", 4, "CPU"
scene.render.resolution_x, scene.render.resolution_y = view["width"], view["height"]
scene.render.resolution_percentage = 100
scene.render.film_transparent = True
scene.view_settings.view_transform = "Standard"
scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
scene.render.filepath = sys.argv[3]
bpy.ops.render.render(write_still=True)
print("RESULT" + json.dumps([len(meshes), list(meshes[0].dimensions)]))
"""


@pytest.fixture(scope="module")
def textured() -> Mesh:
    """Of the sample in its own frame, z up, metres; photos of the held-out cameras take no part."""
    skip_without_blender()
    capture = data.read(SAMPLE)
    source_from_world = capture.world_from_source.inverse()
    views = [(source_from_world.camera(v.camera), v.photo().rgb.permute(1, 2, 0).float() / 255, None)
             for v in capture.train[::3]]
    return bake(unwrap(simplify(read_mesh(SAMPLE / "mesh.ply"), 8_000), 512), views, Baking(size=512))


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".usdz"])
def test_blender_shows_what_the_photo_shows(textured: Mesh, suffix: str, tmp_path: Path) -> None:
    x, y, z = textured.vertices.unbind(-1)
    y_up = replace(textured, vertices=torch.stack([x, z, -y], dim=-1), normals=None).with_normals()
    write_mesh(tmp_path / f"sample{suffix}", y_up)
    frames = json.loads((SAMPLE / "transforms_test.json").read_text())
    frame = frames["frames"][0]
    view = {"pose": frame["transform_matrix"], "width": frames["w"], "height": frames["h"], "focal": frames["fl_x"]}
    found = in_blender(RENDER, str(tmp_path / f"sample{suffix}"), json.dumps(view), str(tmp_path / "seen.png"))
    count, size = json.loads(found)
    assert count == 1
    extent = textured.vertices.amax(0) - textured.vertices.amin(0)
    assert sorted(size) == pytest.approx(sorted(extent.tolist()), rel=1e-3)
    seen = np.asarray(Image.open(tmp_path / "seen.png")).astype(np.float64) / 255
    photo = np.asarray(Image.open(SAMPLE / frame["file_path"]).convert("RGB")).astype(np.float64) / 255
    there = seen[..., 3] > 0.99
    assert there.mean() > 0.3

    def psnr(picture: np.ndarray) -> float:
        return float(-10 * np.log10(((picture - photo)[there] ** 2).mean()))

    assert psnr(seen[..., :3]) > 20
    assert psnr(seen[:, ::-1, :3]) < 17, "a mirrored picture would pass as well"
