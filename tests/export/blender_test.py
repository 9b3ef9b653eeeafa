"""What Blender makes of our files: number of objects, size in metres, up axis, texture, and that nothing is mirrored.

Needs Blender's own module (`pip install bpy`), here or in the Python that RECON_BLENDER_PYTHON names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from recon.export import write_mesh
from recon.types import Mesh

PYTHON = os.environ.get("RECON_BLENDER_PYTHON", sys.executable)
SCRIPT = """
import json, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
path = sys.argv[-1]
if path.endswith(".glb"):
    bpy.ops.import_scene.gltf(filepath=path)
elif path.endswith(".obj"):
    bpy.ops.wm.obj_import(filepath=path)
else:
    bpy.ops.wm.usd_import(filepath=path)
meshes = [o for o in bpy.data.objects if o.type == "MESH"]
one = meshes[0]
corners = [[list(one.matrix_world @ one.data.vertices[i].co) for i in p.vertices] for p in one.data.polygons]
uvs = [[list(d.uv) for d in one.data.uv_layers[0].data[p.loop_start:p.loop_start + 3]] for p in one.data.polygons
       ] if one.data.uv_layers else []
images = [list(i.size) for i in bpy.data.images if i.name != "Render Result"]
print("RESULT" + json.dumps({"meshes": len(meshes), "corners": corners, "uvs": uvs, "images": images}))
"""


@cache
def has_blender() -> bool:
    return subprocess.run([PYTHON, "-c", "import bpy"], capture_output=True, timeout=120).returncode == 0


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".usdz"])
def test_blender_reads_it(tmp_path: Path, suffix: str) -> None:
    if not has_blender():
        pytest.skip("Blender's module bpy is not installed")
    # no two sides alike: a mirrored one would not fit; y up, as these formats want it
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32)
    uvs = torch.tensor([[0.0, 0], [0.9, 0.1], [0.2, 1], [0.5, 0.6]])
    texture = torch.randint(0, 256, (8, 16, 3), dtype=torch.uint8)
    path = tmp_path / f"m{suffix}"
    write_mesh(path, Mesh(vertices, faces, uvs=uvs, texture=texture).with_normals())
    done = subprocess.run([PYTHON, "-c", SCRIPT, str(path)], capture_output=True, text=True, timeout=120)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert lines, done.stdout + done.stderr
    found = json.loads(lines[0][len("RESULT"):])
    assert found["meshes"] == 1
    assert [16, 8] in found["images"]
    turned = torch.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], dim=1)  # Blender has z up
    corners = torch.tensor(found["corners"])

    def rolled(rows: torch.Tensor) -> list:
        """Faces from their lowest corner on: the sense of turning stays."""
        out = []
        for face in rows.tolist():
            first = min(range(3), key=lambda i: face[i])
            out.append([[round(x, 4) + 0.0 for x in face[(first + i) % 3]] for i in range(3)])
        return sorted(out)

    assert rolled(torch.cat([corners, torch.tensor(found["uvs"])], dim=-1)) == rolled(
        torch.cat([turned, uvs], dim=-1)[faces.long()])
