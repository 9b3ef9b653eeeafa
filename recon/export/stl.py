"""Meshes as binary STL: triangles alone, for printing and measuring. No colours, no unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.export.mesh_file import checked, mesh_from
from recon.formats.files import atomic_output, file_size, open_input
from recon.types import Mesh

_ROW = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])


def write_mesh(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Writes the triangles; returns what the file cannot hold. Raises InputError."""
    vertices, faces = checked(mesh, path)
    rows = np.zeros(len(faces), _ROW)
    rows["corners"] = vertices[faces]
    normal = np.cross(rows["corners"][:, 1] - rows["corners"][:, 0], rows["corners"][:, 2] - rows["corners"][:, 0])
    rows["normal"] = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    with atomic_output(path) as file:
        file.write(b"Recon, binary STL".ljust(80, b" ") + np.uint32(len(faces)).tobytes())
        file.write(rows.tobytes())
    lost = mesh.colours is not None or mesh.texture is not None
    return ("STL holds no colours; write .glb, .obj or .ply to keep them",) if lost else ()


def read_mesh(path: str | Path) -> Mesh:
    """Binary or ascii STL; corners at bit-equal places become one vertex. Raises InputError."""
    with open_input(path) as file:
        size = file_size(file)
        head = file.read(84)
        count = int(np.frombuffer(head[80:84], "<u4")[0]) if len(head) == 84 else -1
        if count >= 0 and size == 84 + 50 * count:  # believed before the word "solid", which binary files may have too
            corners = np.frombuffer(file.read(50 * count), _ROW)["corners"].reshape(-1, 3)
        elif head[:5].lower() == b"solid":
            file.seek(0)
            corners = _ascii(file.read(), path)
        else:
            raise InputError("not an STL file: its size does not fit its number of triangles", file=path,
                             fix="The file is cut off or damaged; export it again.")
    vertices, index = np.unique(corners + np.float32(0), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    return mesh_from(vertices, faces[(faces != np.roll(faces, 1, axis=1)).all(1)], path)


def _ascii(text: bytes, path: str | Path) -> np.ndarray:
    words = [line.split()[1:4] for line in text.splitlines() if line.strip().lower().startswith(b"vertex")]
    try:
        values = np.array([[float(w) for w in row] for row in words], np.float32)
    except ValueError:
        values = np.zeros((0, 3), np.float32)
    if values.ndim != 2 or values.shape[1:] != (3,) or len(values) % 3:
        raise InputError("its vertices cannot be read", file=path, fix="Export it again.")
    return values
