"""Meshes as PLY: what .ply files hold besides splats. Format: see recon/formats/ply.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.export.mesh_file import checked, mesh_from
from recon.formats.files import atomic_output, open_input
from recon.formats.ply import ListColumn, PlyReader
from recon.types import Mesh


def write(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Binary, with normals, sRGB colours as bytes, and faces as lists."""
    vertices, faces = checked(mesh, path)
    kinds = [(n, "<f4") for n in "xyz"]
    if mesh.normals is not None:
        kinds += [(n, "<f4") for n in ("nx", "ny", "nz")]
    if mesh.colours is not None:
        kinds += [(n, "u1") for n in ("red", "green", "blue")]
    rows = np.empty(len(vertices), np.dtype(kinds))
    for i, n in enumerate("xyz"):
        rows[n] = vertices[:, i]
        if mesh.normals is not None:
            rows["n" + n] = mesh.normals[:, i].numpy()
    if mesh.colours is not None:
        bytes_ = (mesh.colours.clamp(0, 1) * 255).round().byte().numpy()
        for i, n in enumerate(("red", "green", "blue")):
            rows[n] = bytes_[:, i]
    names = {"<f4": "float", "u1": "uchar"}
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}",
            *(f"property {names[kind]} {name}" for name, kind in kinds),
            f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header\n"]
    table = np.empty(len(faces), np.dtype([("n", "u1"), ("index", "<i4", 3)]))
    table["n"], table["index"] = 3, faces
    with atomic_output(path) as file:
        file.write("\n".join(head).encode())
        file.write(rows.tobytes())
        file.write(table.tobytes())
    return ("PLY files of Recon hold no texture; write .glb or .obj to keep it",) if mesh.texture is not None else ()


def read(path: str | Path) -> Mesh:
    """Vertices, normals, colours and faces (polygons as fans)."""
    with open_input(path) as file:
        ply = PlyReader(file, path)
        if ply.header.element("face") is None:
            raise InputError("holds no faces", file=path, fix="It is a point cloud or a splat file, not a mesh.")
        vertex, face = ply.read("vertex"), ply.read("face")
    lists = face.get("vertex_indices", face.get("vertex_index"))
    if not isinstance(lists, ListColumn) or not {"x", "y", "z"} <= set(vertex):
        raise InputError("is no mesh: its faces or places are missing", file=path, fix="Export it again.")

    def columns(*names: str) -> np.ndarray | None:
        found = [vertex.get(n) for n in names]
        return np.stack(found, axis=1) if all(isinstance(c, np.ndarray) for c in found) else None  # type: ignore[arg-type]

    colours = columns("red", "green", "blue")
    if colours is not None and colours.dtype.kind in "iu":
        colours = colours / np.float32(np.iinfo(colours.dtype).max)
    places = columns("x", "y", "z")
    assert places is not None
    return mesh_from(places, fans(lists), path, normals=columns("nx", "ny", "nz"), colours=colours)


def fans(lists: ListColumn) -> np.ndarray:
    """Polygons as triangles [f, 3] around their first corner."""
    length = np.diff(lists.starts)
    triangles = np.maximum(length - 2, 0)
    start = np.repeat(lists.starts[:-1], triangles)
    k = np.arange(len(start)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    values = lists.values.astype(np.int64)
    return np.stack([values[start], values[start + k + 1], values[start + k + 2]], axis=1).reshape(-1, 3)
