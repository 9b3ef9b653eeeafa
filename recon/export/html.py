"""One web page that holds the scene and a viewer for it: opens from a file, needs no network and no other file.

The page is ``web/page.html`` with its parts put in: style, shaders, the scripts, and the splats and triangles (packed
as ``page_packing`` and ``page_mesh`` say, in base64). The scripts are ES modules in the repository and become one here.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError
from recon.export.mesh_file import checked
from recon.export.page_mesh import PackedMesh, pack_mesh
from recon.export.page_packing import pack
from recon.export.page_view import extent, middle_of_views, outside_camera, up_of_cameras
from recon.export.splat_file import arrays_to_write, sigmoid
from recon.formats.files import atomic_output
from recon.types import Camera, Gaussians, Mesh

# Each after the ones it imports from.
MAIN_SCRIPTS = ("vectors.js", "view.js", "unpack.js", "scene.js", "mesh.js", "renderer.js", "photos.js", "motion.js",
                "controls.js", "interface.js", "main.js")
WORKER_SCRIPTS = ("unpack.js", "sort.js", "worker.js")
SHADERS = tuple(f"{name}.{kind}" for name in ("splat", "screen", "lines", "mesh") for kind in ("vert", "frag"))
NEAR = 0.02  # nearest distance that is drawn, by the distance of the cameras from what they look at


def write_splats(
    path: str | Path,
    gaussians: Gaussians,
    *,
    comments: tuple[str, ...] = (),
    cameras: Sequence[Camera] = (),
    start: Camera | None = None,
    title: str | None = None,
    up: Sequence[float] | None = None,
    near: float | None = None,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    mesh: Mesh | None = None,
) -> tuple[str, ...]:
    """Writes a page that shows the splats. Returns what was left out.

    comments    kept in a comment of the page
    cameras     of the photos, in the frame of the splats (lens distortion is ignored); they are shown on demand
    start       the start view, by default the first of the cameras
    title       of the page, by default the file's name
    up          [3] direction, by default from the cameras, else -y
    near        splats nearer to the viewer than this are not drawn, in units of the scene
    background  [3] colour 0..1
    mesh        of the same scene in the same frame: a button switches between the two
    """
    arrays, warnings = arrays_to_write(gaussians)
    visible = sigmoid(arrays.logits) > 1 / 255  # the renderer never draws the others
    arrays = arrays.rows(visible)
    if len(arrays) == 0:
        raise InputError("there are no visible splats to write", file=path, fix="Export a scene that is not empty.")
    packed = pack(arrays)
    about = {"packing": packed.layout, "degree": gaussians.sh_degree, "antialiased": gaussians.antialiased,
             "background": [float(c) for c in background]}
    packed_mesh = None
    if mesh is not None:
        checked(mesh, path)
        packed_mesh = pack_mesh(mesh)
    _write(path, arrays.means, about, packed.data, packed_mesh, f"{len(arrays):,} Gaussians", comments=comments,
           cameras=cameras, start=start, title=title, near=near,
           up=np.array([0.0, -1.0, 0.0]) if up is None else _direction(up), up_of_photos=up is None)
    return warnings


def write_mesh(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Writes a page that shows a mesh whose frame is already y up. A texture is kept as colours of the vertices."""
    vertices, _ = checked(mesh, path)
    packed = pack_mesh(mesh)
    about = {"packing": None, "background": [0.1, 0.105, 0.115]}
    _write(path, vertices, about, b"", packed, "", comments=(), cameras=(), start=None, title=None, near=None,
           up=np.array([0.0, 1.0, 0.0]), up_of_photos=False)
    return ("the texture was reduced to colours of the vertices",) if mesh.texture is not None else ()


def _write(path: str | Path, points: np.ndarray, about: dict[str, Any], splats: bytes, mesh: PackedMesh | None,
           count: str, *, comments: tuple[str, ...], cameras: Sequence[Camera], start: Camera | None,
           title: str | None, up: np.ndarray, near: float | None, up_of_photos: bool) -> None:
    cameras = [c for c in cameras if bool(np.isfinite(c.world_from_camera.numpy()).all())]
    if up_of_photos and cameras:
        up = up_of_cameras(cameras)
    start = start or (cameras[0] if cameras else outside_camera(points, up))
    target = middle_of_views(cameras, points) if cameras else extent(points)[0]
    if near is None:
        reach = [float(np.linalg.norm(c.centre.numpy() - target)) for c in cameras or [start]]
        near = NEAR * max(float(np.median(reach)), 1e-9)
    title = title or Path(path).stem
    scene = about | {
        "title": title, "mesh": None if mesh is None else mesh.layout, "near": near, "up": up.tolist(),
        "target": target.tolist(), "start": _plain(start), "cameras": [_plain(c) for c in cameras],
    }
    if mesh is not None:
        count = " · ".join(filter(None, (count, f"{mesh.layout['faces']:,} triangles")))
    page = _page({
        "TITLE": html.escape(title), "COUNT": count, "STYLE": _asset("style.css"),
        "COMMENTS": html.escape("\n".join(comments)).replace("--", "- -"),
        "SHADERS": "\n".join(f'<script type="text/plain" id="{name}">{_asset(name)}</script>' for name in SHADERS),
        "WORKER": _joined(WORKER_SCRIPTS), "MAIN": _joined(MAIN_SCRIPTS),
        "SCENE": json.dumps(_rounded(scene), separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
        "SPLATS": base64.b64encode(splats).decode("ascii"),
        "MESH": "" if mesh is None else base64.b64encode(mesh.data).decode("ascii"),
    })
    with atomic_output(path) as file:
        file.write(page.encode("utf-8"))


def _page(parts: dict[str, str]) -> str:
    """The template with every {{NAME}} replaced, in one pass so that what is put in is never searched."""
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return resources.files("recon.export").joinpath("web", name).read_text(encoding="utf-8")


def _joined(names: Sequence[str]) -> str:
    """Modules as one script: imports go, ``export`` goes; their top-level names are distinct."""
    text = "\n".join(f"// ---- {name}\n{_asset(name)}" for name in names)
    text = re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export (?=(?:async )?function|const|let|class)", "", text, flags=re.MULTILINE)


def _plain(camera: Camera) -> dict[str, Any]:
    fx, fy, cx, cy = camera.intrinsics.tolist()
    return {"width": camera.width, "height": camera.height, "fx": fx, "fy": fy, "cx": cx, "cy": cy,
            "world_from_camera": camera.world_from_camera[:3].tolist()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.8g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def _direction(up: Sequence[float]) -> np.ndarray:
    vector = np.asarray(up, np.float64).reshape(-1)
    if vector.shape != (3,) or not np.isfinite(vector).all() or np.linalg.norm(vector) < 1e-12:
        raise InputError(f"{list(up)} is no direction", fix="Give up as three numbers, for example 0 0 1.")
    return vector / np.linalg.norm(vector)
