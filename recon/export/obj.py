"""Meshes as Wavefront OBJ, with .mtl and .png beside it where there is a texture. No unit; we write metres, y up."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.export.mesh_file import checked, mesh_from
from recon.formats.files import atomic_output, open_input
from recon.types import Mesh

BLOCK = 1 << 16


def write_mesh(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Writes the mesh; vertex colours as the common extension ``v x y z r g b``. Raises InputError."""
    path = Path(path)
    vertices, faces = checked(mesh, path)
    textured = mesh.uvs is not None and mesh.texture is not None
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in path.stem)  # names in OBJ and MTL have no blanks
    if textured:
        _write_material(path, stem, mesh)
    coloured = mesh.colours is not None and not textured
    rows = vertices
    if coloured and mesh.colours is not None:
        rows = np.concatenate([vertices, np.clip(mesh.colours.numpy(), 0, 1)], axis=1)
    index = faces + 1
    columns, form = [index], "%d"
    if textured and mesh.normals is not None:
        columns, form = [index, index, index], "%d/%d/%d"
    elif textured:
        columns, form = [index, index], "%d/%d"
    elif mesh.normals is not None:
        columns, form = [index, index], "%d//%d"
    table = np.stack(columns, axis=2).reshape(len(faces), -1)
    with atomic_output(path) as file:
        file.write(b"# Recon, y up, metres\n")
        if textured:
            file.write(f"mtllib {stem}.mtl\nusemtl {stem}\n".encode())
        _lines(file, "v" + " %.9g" * 3 + " %.4f" * 3 * coloured, rows)
        if textured:
            assert mesh.uvs is not None
            _lines(file, "vt %.7g %.7g", mesh.uvs.numpy())
        if mesh.normals is not None:
            _lines(file, "vn %.5f %.5f %.5f", mesh.normals.numpy())
        _lines(file, "f " + " ".join([form] * 3), table)
    return ()


def _lines(file: io.BufferedIOBase | object, form: str, rows: np.ndarray) -> None:
    for start in range(0, len(rows), BLOCK):
        part = rows[start:start + BLOCK]
        text = (form + "\n") * len(part) % tuple(part.reshape(-1).tolist())
        file.write(text.encode())  # type: ignore[union-attr]


def _write_material(path: Path, stem: str, mesh: Mesh) -> None:
    from PIL import Image

    assert mesh.texture is not None
    with atomic_output(path.with_name(stem + ".png")) as file:
        Image.fromarray(mesh.texture.numpy()).save(file, "PNG")
    with atomic_output(path.with_name(stem + ".mtl")) as file:
        file.write(f"newmtl {stem}\nKd 1 1 1\nillum 1\nmap_Kd {stem}.png\n".encode())


def read_mesh(path: str | Path) -> Mesh:
    """Triangles and polygons (as fans) with uvs, normals and colours where every face has them. Raises InputError.

    Vertices with several uvs or normals are doubled. A texture is read where the file has exactly one.
    """
    path = Path(path)
    places: list[list[float]] = []
    uvs: list[list[float]] = []
    normals: list[list[float]] = []
    polygons: list[list[tuple[int, int, int]]] = []
    libraries: list[str] = []
    pending = b""
    with open_input(path) as file:
        for number, line in enumerate(file, 1):
            if line.rstrip().endswith(b"\\"):
                pending += line.rstrip()[:-1] + b" "
                continue
            words = (pending + line).split()
            pending = b""
            if not words:
                continue
            try:
                if words[0] == b"v":
                    places.append([float(w) for w in words[1:7]])
                elif words[0] == b"vt":
                    uvs.append([float(w) for w in words[1:3]])
                elif words[0] == b"vn":
                    normals.append([float(w) for w in words[1:4]])
                elif words[0] == b"f":
                    polygons.append([_corner(w, len(places), len(uvs), len(normals)) for w in words[1:]])
                elif words[0] == b"mtllib":
                    libraries.append(b" ".join(words[1:]).decode("utf-8", "replace"))
            except (ValueError, IndexError):
                raise InputError(f"line {number} cannot be read: {line[:60].decode('utf-8', 'replace').strip()}",
                                 file=path, fix="Export it again.") from None
    corners = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
    if not corners:
        raise InputError("holds no faces", file=path, fix="Check that it is a mesh and not a point cloud.")
    keys, index = np.unique(np.array(corners, np.int64).reshape(-1, 3), axis=0, return_inverse=True)
    try:
        table = np.array([p[:3] for p in places], np.float32).reshape(-1, 3)
        colours = np.array([p[3:6] for p in places], np.float32) if all(len(p) == 6 for p in places) else None
        uv = np.array(uvs, np.float32).reshape(-1, 2)[keys[:, 1]] if uvs and (keys[:, 1] >= 0).all() else None
        normal = np.array(normals, np.float32).reshape(-1, 3)[keys[:, 2]] if (keys[:, 2] >= 0).all() else None
        vertices = table[keys[:, 0]]
    except (ValueError, IndexError):
        raise InputError("its vertices cannot be read", file=path, fix="Export it again.") from None
    texture = _texture(path, libraries) if uv is not None else None
    return mesh_from(vertices, index.reshape(-1, 3), path, normals=normal, uvs=uv, texture=texture,
                     colours=None if colours is None else colours[keys[:, 0]])


def _corner(word: bytes, places: int, uvs: int, normals: int) -> tuple[int, int, int]:
    """``v/vt/vn`` as three indices from 0; -1 where one is missing."""
    parts = [*word.split(b"/"), b"", b""][:3]
    out = []
    for part, count in zip(parts, (places, uvs, normals)):
        i = int(part) if part else 0
        out.append(i - 1 if i > 0 else count + i if i < 0 else -1)
        if not -1 <= out[-1] < count:
            raise IndexError
    if out[0] < 0:
        raise IndexError
    return out[0], out[1], out[2]


def _texture(path: Path, libraries: list[str]) -> np.ndarray | None:
    """The picture that the material file names, where it names exactly one that lies beside the mesh."""
    from PIL import Image

    names = set()
    for library in libraries:
        file = path.parent / Path(library).name
        if file.is_file() and file.stat().st_size < 1 << 20:
            text = file.read_text("utf-8", "replace")
            names |= {w.split(None, 1)[1].strip() for w in text.splitlines() if w.strip().startswith("map_Kd ")}
    if len(names) != 1:
        return None
    try:
        with Image.open(path.parent / Path(names.pop()).name) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
