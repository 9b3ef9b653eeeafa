"""What Blender makes of our files: number of objects, size in metres, up axis, texture, and nothing mirrored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from blender import IMPORT, in_blender

from recon.export import write_mesh
from recon.types import Mesh

SCRIPT = IMPORT + """
one = meshes[0]
corners = [[list(one.matrix_world @ one.data.vertices[i].co) for i in p.vertices] for p in one.data.polygons]
uvs = [[list(d.uv) for d in one.data.uv_layers[0].data[p.loop_start:p.loop_start + 3]] for p in one.data.polygons
       ] if one.data.uv_layers else []
images = [list(i.size) for i in bpy.data.images if i.name != "Render Result"]
print("RESULT" + json.dumps({"meshes": len(meshes), "corners": corners, "uvs": uvs, "images": images}))
"""


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".usdz"])
def test_blender_reads_it(tmp_path: Path, suffix: str) -> None:
    # no two sides alike: a mirrored one would not fit; y up, as these formats want it
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], dtype=torch.int32)
    uvs = torch.tensor([[0.0, 0], [0.9, 0.1], [0.2, 1], [0.5, 0.6]])
    texture = torch.randint(0, 256, (8, 16, 3), dtype=torch.uint8)
    path = tmp_path / f"m{suffix}"
    write_mesh(path, Mesh(vertices, faces, uvs=uvs, texture=texture).with_normals())
    found = json.loads(in_blender(SCRIPT, str(path)))
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
