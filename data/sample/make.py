"""Render the sample scene: photos, poses, held-out depth and normals, mesh and starting points.

This needs Blender as a Python module, which the program itself does not. In an environment of its own (Python 3.11):

    python3 -m venv blender && blender/bin/pip install bpy==5.0.1 pillow
    blender/bin/python data/sample/make.py            # about 25 minutes on one idle core, replaces the files here
    blender/bin/python data/sample/make.py --out /tmp/look --samples 12 --every 8    # a quick look

All randomness is seeded: the same Blender version gives the same poses, points and geometry (bit for bit) and the
same pictures up to the denoiser's rounding.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent))
import orrery

WIDTH, HEIGHT = 400, 300  # pixels
FOCAL = 550.0  # pixels
TARGET = np.array([0.0, 0.0, 0.118])  # metres; the middle of the orrery
JPEG_QUALITY = 93
POINTS_PER_VIEW = 90
POINT_NOISE = 0.001  # metres, standard deviation per axis: about what structure from motion leaves
SEED = 7
POSITION_SPAN = 4.0  # metres; positions are carried through a picture as p / span + 0.5


@dataclass(frozen=True)
class View:
    """A camera: file stem, camera-to-world [4, 4] (x right, y up, z back; metres) and whether it is held out."""

    stem: str
    pose: np.ndarray
    test: bool


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Camera-to-world [4, 4] in float64, x right, y up, z back, with world z upwards in the picture."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = eye
    return pose


def make_views() -> list[View]:
    """48 training views on three rings of a dome and 8 held-out views between them."""
    rng = np.random.default_rng(SEED)
    rings = ((18, 17.0, 0.0), (16, 34.0, 7.0), (14, 53.0, 3.0))  # number, elevation, first azimuth in degrees
    views = [(start + 360.0 * k / n, elevation, False) for n, elevation, start in rings for k in range(n)]
    views += [(31.0 + 360.0 * k / 8, (25.0, 43.0, 20.0, 35.0)[k % 4], True) for k in range(8)]
    out, numbers = [], {False: 0, True: 0}
    for azimuth, elevation, test in views:
        a = math.radians(azimuth + rng.uniform(-4.0, 4.0))
        e = math.radians(elevation + rng.uniform(-3.0, 3.0))
        radius = (0.74 + 0.0016 * elevation) * rng.uniform(0.96, 1.05)
        eye = TARGET + radius * np.array([math.cos(a) * math.cos(e), math.sin(a) * math.cos(e), math.sin(e)])
        stem = f"{'test' if test else 'train'}_{numbers[test]:02d}"
        out.append(View(stem, look_at(eye, TARGET + rng.uniform(-0.012, 0.012, 3)), test))
        numbers[test] += 1
    return out


def set_camera(view: View) -> None:
    """Pinhole camera with square pixels, focal length FOCAL and the principal point in the middle."""
    scene = bpy.context.scene
    if scene.camera is None:
        scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        scene.collection.objects.link(scene.camera)
        lens = scene.camera.data
        lens.sensor_fit, lens.sensor_width = "HORIZONTAL", 36.0
        lens.lens = FOCAL * lens.sensor_width / WIDTH
        lens.clip_start, lens.clip_end = 0.01, 20.0
    scene.camera.matrix_world = Matrix(view.pose.tolist())


def set_photo_mode(samples: int) -> None:
    """Path traced pictures, denoised, display-referred 8 bit."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = WIDTH, HEIGHT, 100
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.use_persistent_data = True
    scene.render.dither_intensity = 0.0
    scene.render.film_transparent = False
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.image_settings.color_depth = "8"
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "Medium High Contrast"
    scene.view_layers[0].material_override = None
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.samples, cycles.seed = samples, SEED
    cycles.use_adaptive_sampling, cycles.adaptive_threshold, cycles.adaptive_min_samples = True, 0.015, 16
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 3
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 4.0
    cycles.pixel_filter_type, cycles.filter_width = "BLACKMAN_HARRIS", 1.5


def set_truth_mode() -> None:
    """One ray through each pixel's centre; what a surface emits is what we want to know about it."""
    scene = bpy.context.scene
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "32"
    cycles = scene.cycles
    cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising = 1, False, False
    cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01


def truth_material(what: str) -> bpy.types.Material:
    """Emits the world `Position` over POSITION_SPAN or the world `Normal` over 2, plus 0.5."""
    material = bpy.data.materials.new(f"truth {what}")
    material.use_nodes = True
    material.cycles.emission_sampling = "NONE"
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    scale = nodes.new("ShaderNodeVectorMath")
    scale.operation = "MULTIPLY_ADD"
    links.new(nodes.new("ShaderNodeNewGeometry").outputs[what], scale.inputs[0])
    scale.inputs[1].default_value = (1.0 / (POSITION_SPAN if what == "Position" else 2.0),) * 3
    scale.inputs[2].default_value = (0.5, 0.5, 0.5)
    emit = nodes.new("ShaderNodeEmission")
    links.new(scale.outputs[0], emit.inputs["Color"])
    links.new(emit.outputs[0], nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    return material


def render(path: Path) -> None:
    """Render what the scene is set to into `path`."""
    bpy.context.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def read_exr(path: Path) -> np.ndarray:
    """Linear float32 RGBA [height, width, 4], top row first."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    pixels = np.empty(WIDTH * HEIGHT * 4, dtype=np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(HEIGHT, WIDTH, 4)[::-1]


def render_truth(view: View, materials: dict[str, bpy.types.Material], work: Path) -> tuple[np.ndarray, np.ndarray]:
    """World position [h, w, 3] (NaN where nothing is hit) and unit world normal [h, w, 3] at the pixel centres."""
    channels = {}
    for what, material in materials.items():
        bpy.context.scene.view_layers[0].material_override = material
        render(work / f"{what}.exr")
        channels[what] = read_exr(work / f"{what}.exr").astype(np.float64)
    hit = channels["Position"][..., 3] > 0.5
    position = (channels["Position"][..., :3] - 0.5) * POSITION_SPAN
    normal = (channels["Normal"][..., :3] - 0.5) * 2.0
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    position[~hit] = np.nan
    normal[~hit] = 0.0
    return position, normal


def z_depth(position: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Distance along the optical axis [h, w] in metres, 0 where nothing is hit."""
    return np.nan_to_num(-(position - pose[:3, 3]) @ pose[:3, 2])


def sample_points(position: np.ndarray, depth: np.ndarray, photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """POINTS_PER_VIEW rows (x, y, z, r, g, b) away from depth edges, the orrery favoured over the table."""
    windows = np.lib.stride_tricks.sliding_window_view(depth, (3, 3))
    flat = np.zeros(depth.shape, dtype=bool)
    flat[1:-1, 1:-1] = (windows.min((2, 3)) > 0) & (windows.max((2, 3)) - windows.min((2, 3)) < 0.012)
    rows, columns = np.nonzero(flat)
    weight = np.where(position[rows, columns, 2] > 0.002, 3.0, 1.0)
    chosen = rng.choice(len(rows), POINTS_PER_VIEW, replace=False, p=weight / weight.sum())
    rows, columns = rows[chosen], columns[chosen]
    places = position[rows, columns] + rng.normal(0.0, POINT_NOISE, (POINTS_PER_VIEW, 3))
    return np.concatenate([places, photo[rows, columns]], axis=1)


def write_points(path: Path, points: np.ndarray) -> None:
    """Binary PLY: float x y z (metres), uchar red green blue."""
    rows = np.empty(len(points), dtype=[("xyz", "<f4", 3), ("rgb", "u1", 3)])
    rows["xyz"], rows["rgb"] = points[:, :3], points[:, 3:]
    fields = "".join(f"property float {n}\n" for n in "xyz")
    fields += "".join(f"property uchar {n}\n" for n in ("red", "green", "blue"))
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{fields}end_header\n"
    path.write_bytes(header.encode() + rows.tobytes())


def write_mesh(path: Path) -> None:
    """Every mesh object in world coordinates as one binary PLY of triangles."""
    vertices, faces, count = [], [], 0
    bpy.context.view_layer.update()
    for item in bpy.context.scene.objects:
        if item.type != "MESH":
            continue
        local = np.empty(len(item.data.vertices) * 3)
        corners = np.empty(len(item.data.polygons) * 3, dtype=np.int32)
        item.data.vertices.foreach_get("co", local)
        item.data.polygons.foreach_get("vertices", corners)
        world = np.array(item.matrix_world)
        vertices.append(local.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])
        faces.append(corners.reshape(-1, 3) + count)
        count += len(vertices[-1])
    rows = np.empty(sum(map(len, faces)), dtype=[("n", "u1"), ("corners", "<i4", 3)])
    rows["n"], rows["corners"] = 3, np.concatenate(faces)
    fields = "".join(f"property float {n}\n" for n in "xyz")
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{fields}"
    header += f"element face {len(rows)}\nproperty list uchar int vertex_indices\nend_header\n"
    path.write_bytes(header.encode() + np.concatenate(vertices).astype("<f4").tobytes() + rows.tobytes())


def write_transforms(path: Path, views: list[View]) -> None:
    """nerfstudio-style poses: camera-to-world, camera x right, y up, z back; pixel (0, 0) has its centre at 0.5."""
    frames = []
    for view in views:
        frame: dict[str, object] = {"file_path": f"images/{view.stem}.jpg"}
        if view.test:
            frame |= {"depth_file_path": f"depth/{view.stem}.png", "normal_file_path": f"normals/{view.stem}.png"}
        frame["transform_matrix"] = np.round(view.pose, 9).tolist()
        frames.append(frame)
    head: dict[str, object] = {
        "camera_model": "PINHOLE", "w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL,
        "cx": WIDTH / 2, "cy": HEIGHT / 2,
    }  # fmt: skip
    if not views[0].test:
        head["ply_file_path"] = "points.ply"
    lines = ",\n  ".join(json.dumps(f) for f in frames)
    path.write_text(json.dumps(head)[:-1] + ',\n "frames": [\n  ' + lines + "\n ]}\n")


def main() -> None:
    """Parse options, build the scene, render and write every file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder to write")
    parser.add_argument("--samples", type=int, default=96, help="most paths per pixel")
    parser.add_argument("--every", type=int, default=1, help="render only every n-th view")
    options = parser.parse_args()
    for folder in ("images", "depth", "normals"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)

    bpy.ops.wm.read_factory_settings(use_empty=True)
    orrery.build()
    write_mesh(options.out / "mesh.ply")
    views = make_views()[:: options.every]
    photos = {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        set_photo_mode(options.samples)
        for view in views:
            set_camera(view)
            render(work / "photo.png")
            jpeg = options.out / "images" / f"{view.stem}.jpg"
            Image.open(work / "photo.png").convert("RGB").save(jpeg, quality=JPEG_QUALITY, subsampling=0, optimize=True)
            photos[view.stem] = np.asarray(Image.open(jpeg))
        set_truth_mode()
        materials = {what: truth_material(what) for what in ("Position", "Normal")}
        rng = np.random.default_rng(SEED)
        points = []
        for view in views:
            set_camera(view)
            position, normal = render_truth(view, materials, work)
            depth = z_depth(position, view.pose)
            if not view.test:
                points.append(sample_points(position, depth, photos[view.stem], rng))
                continue
            millimetres = np.round(depth * 1000.0).astype(np.uint16)
            Image.fromarray(millimetres).save(options.out / "depth" / f"{view.stem}.png", optimize=True)
            encoded = np.round((normal + 1.0) * 127.5)
            encoded[depth == 0] = 0
            Image.fromarray(encoded.astype(np.uint8)).save(options.out / "normals" / f"{view.stem}.png", optimize=True)
    write_points(options.out / "points.ply", np.concatenate(points))
    for split in ("train", "test"):
        if chosen := [v for v in views if v.test == (split == "test")]:
            write_transforms(options.out / f"transforms_{split}.json", chosen)


if __name__ == "__main__":
    main()
