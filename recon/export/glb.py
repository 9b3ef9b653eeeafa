"""Meshes and Gaussians as binary glTF 2.0 (.glb): one file that every program opens.

Specification: Khronos glTF 2.0. Frame: right-handed, y up, metres. Colours of photos already hold the light of the
scene, so the material is unlit (KHR_materials_unlit) with a plain rough one for programs that do not know that.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError
from recon.export import glb_splats
from recon.export.mesh_file import checked, linear_from_srgb, mesh_from, srgb_from_linear
from recon.formats.files import atomic_output, file_size, open_input
from recon.types import Gaussians, Mesh

DAMAGED = "The file is cut off or damaged; export it again."
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def write_mesh(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Writes a mesh whose frame is already y up; returns what the file cannot hold (nothing). Raises InputError."""
    vertices, faces = checked(mesh, path)
    builder = _Builder()
    attributes = {"POSITION": builder.add(vertices, "VEC3", 34962, bounds=True)}
    if mesh.normals is not None:
        attributes["NORMAL"] = builder.add(_unit(mesh.normals.numpy()), "VEC3", 34962)
    material: dict[str, Any] = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
                                "doubleSided": True}
    textured = mesh.uvs is not None and mesh.texture is not None
    if mesh.uvs is not None and mesh.texture is not None:
        uvs = mesh.uvs.numpy().astype(np.float32)
        attributes["TEXCOORD_0"] = builder.add(np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1), "VEC2", 34962)
        builder.add_image(mesh.texture.numpy())
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    elif mesh.colours is not None:
        linear = linear_from_srgb(np.clip(mesh.colours.numpy(), 0, 1))
        rgba = np.concatenate([linear, np.ones((len(linear), 1))], axis=1)
        attributes["COLOR_0"] = builder.add((rgba * 65535 + 0.5).astype("<u2"), "VEC4", 34962, normalised=True)
    small = len(vertices) <= 65535
    indices = builder.add(faces.reshape(-1).astype("<u2" if small else "<u4"), "SCALAR", 34963)
    document = builder.document
    if textured or mesh.colours is not None:
        material["extensions"] = {"KHR_materials_unlit": {}}
        document["extensionsUsed"] = ["KHR_materials_unlit"]
    document |= {
        "asset": {"version": "2.0", "generator": "Recon"}, "scene": 0, "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "mesh"}], "materials": [material],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0}]}],
        "buffers": [{"byteLength": len(builder.data)}],
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data = bytes(builder.data) + b"\0" * (-len(builder.data) % 4)
    with atomic_output(path) as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(data)))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", len(data), b"BIN\0") + data)
    return ()


def write_splats(path: str | Path, gaussians: Gaussians, *, comments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Writes Gaussians whose frame is already y up; returns what the file cannot hold. Raises InputError."""
    return glb_splats.write(path, gaussians)


class _Builder:
    """Accessors, views and the binary chunk of one file."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.document: dict[str, Any] = {"accessors": [], "bufferViews": []}

    def add(self, rows: np.ndarray, kind: str, target: int, *, bounds: bool = False, normalised: bool = False) -> int:
        code = {np.dtype("<f4"): 5126, np.dtype("<u2"): 5123, np.dtype("<u4"): 5125}[rows.dtype]
        accessor: dict[str, Any] = {"bufferView": self._view(rows.tobytes(), target), "componentType": code,
                                    "count": len(rows), "type": kind}
        if normalised:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.document["accessors"].append(accessor)
        return len(self.document["accessors"]) - 1

    def add_image(self, pixels: np.ndarray) -> None:
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        view = self._view(file.getvalue(), None)
        self.document |= {"images": [{"bufferView": view, "mimeType": "image/png"}],
                          "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
                          "textures": [{"source": 0, "sampler": 0}]}

    def _view(self, content: bytes, target: int | None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.data += content
        self.document["bufferViews"].append(view)
        return len(self.document["bufferViews"]) - 1


def _unit(normals: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-12, normals / np.maximum(length, 1e-12), [0.0, 0.0, 1.0]).astype("<f4")


def read_mesh(path: str | Path) -> Mesh:
    """All triangles of the default scene in one mesh, in the file's frame (y up); a texture only where one material
    covers everything. Raises InputError for what is damaged or compressed."""
    document, data = _chunks(path)
    try:
        return _Reader(document, data, Path(path)).mesh()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is not valid glTF ({type(error).__name__}: {str(error)[:80]})", file=path,
                         fix=DAMAGED) from None


def _chunks(path: str | Path) -> tuple[dict[str, Any], bytes]:
    with open_input(path) as file:
        size = file_size(file)
        head = file.read(20)
        if len(head) < 20 or head[:4] != b"glTF":
            raise InputError('not a GLB file (it does not start with "glTF")', file=path, fix="Check the format.")
        version, total, length, kind = struct.unpack("<II I4s", head[4:20])
        if version != 2 or kind != b"JSON" or total > size or 20 + length > size:
            raise InputError("the GLB header does not fit the file", file=path, fix=DAMAGED)
        try:
            document = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise InputError("its JSON cannot be read", file=path, fix=DAMAGED) from None
        if not isinstance(document, dict):
            raise InputError("its JSON is no object", file=path, fix=DAMAGED)
        rest = file.read(8)
        data = b""
        if len(rest) == 8:
            length, kind = struct.unpack("<I4s", rest)
            if kind == b"BIN\0":
                data = file.read(min(length, size))
    return document, data


class _Reader:
    def __init__(self, document: dict[str, Any], data: bytes, path: Path) -> None:
        self.document, self.data, self.path = document, data, path

    def mesh(self) -> Mesh:
        unknown = set(self.document.get("extensionsRequired", [])) - {"KHR_materials_unlit", "KHR_texture_transform"}
        if unknown:
            raise InputError(f"needs {', '.join(sorted(map(str, unknown)))[:80]}, which is not supported",
                             file=self.path, fix="Export it without compression.")
        parts: list[dict[str, np.ndarray]] = []
        scenes = self.document.get("scenes") or [{"nodes": list(range(len(self.document.get("nodes", []))))}]
        waiting = [(int(n), np.eye(4)) for n in scenes[int(self.document.get("scene", 0))].get("nodes", [])]
        visited = 0
        materials: set[int] = set()
        while waiting:
            number, above = waiting.pop()
            visited += 1
            if visited > 100_000:
                raise InputError("its nodes form a circle", file=self.path, fix=DAMAGED)
            node = self.document["nodes"][number]
            placed = above @ _matrix(node)
            waiting += [(int(n), placed) for n in node.get("children", [])]
            if "mesh" not in node:
                continue
            for primitive in self.document["meshes"][node["mesh"]]["primitives"]:
                if primitive.get("mode", 4) == 4:
                    parts.append(self._primitive(primitive, placed))
                    materials.add(int(primitive.get("material", -1)))
        if not parts:
            raise InputError("holds no triangles", file=self.path, fix="Check that it is a mesh.")
        shared = set.intersection(*(set(p) for p in parts))
        offsets = np.cumsum([0, *(len(p["vertices"]) for p in parts)])
        faces = np.concatenate([p["faces"] + o for p, o in zip(parts, offsets)])
        joined = {n: np.concatenate([p[n] for p in parts]) for n in shared - {"faces"}}
        texture = self._texture(materials.pop()) if len(materials) == 1 else None
        return mesh_from(joined["vertices"], faces, self.path, normals=joined.get("normals"),
                         colours=joined.get("colours"), uvs=joined.get("uvs"), texture=texture)

    def _primitive(self, primitive: dict[str, Any], placed: np.ndarray) -> dict[str, np.ndarray]:
        attributes = primitive["attributes"]
        vertices = self._rows(attributes["POSITION"]).astype(np.float64)
        out = {"vertices": vertices @ placed[:3, :3].T + placed[:3, 3]}
        order = (self._rows(primitive["indices"]).reshape(-1) if "indices" in primitive
                 else np.arange(len(vertices))).astype(np.int64)
        faces = order[:len(order) // 3 * 3].reshape(-1, 3)
        out["faces"] = faces[:, ::-1] if np.linalg.det(placed[:3, :3]) < 0 else faces
        if "NORMAL" in attributes:
            turned = self._rows(attributes["NORMAL"]).astype(np.float64) @ np.linalg.pinv(placed[:3, :3])
            out["normals"] = _unit(turned)
        if "COLOR_0" in attributes:
            out["colours"] = srgb_from_linear(self._rows(attributes["COLOR_0"])[:, :3].astype(np.float64))
        if "TEXCOORD_0" in attributes:
            uvs = self._rows(attributes["TEXCOORD_0"])
            out["uvs"] = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1)
        for name in set(out) - {"faces", "vertices"}:
            if len(out[name]) != len(vertices):
                raise ValueError(f"{name} has another length than the positions")
        return out

    def _rows(self, number: int) -> np.ndarray:
        accessor = self.document["accessors"][int(number)]
        if "sparse" in accessor:
            raise InputError("uses sparse accessors, which are not supported", file=self.path, fix="Export it again.")
        view = self.document["bufferViews"][int(accessor["bufferView"])]
        kind, width, count = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]], accessor["count"]
        start = int(view.get("byteOffset", 0)) + int(accessor.get("byteOffset", 0))
        stride = int(view.get("byteStride", 0)) or kind.itemsize * width
        if count < 0 or start < 0 or stride < kind.itemsize * width or (
                count and start + (count - 1) * stride + kind.itemsize * width > len(self.data)):
            raise InputError("an accessor reaches past the end of the file", file=self.path, fix=DAMAGED)
        rows = np.lib.stride_tricks.as_strided(
            np.frombuffer(self.data, np.uint8)[start:], (count, kind.itemsize * width), (stride, 1)).copy()
        values = rows.view(kind).reshape(count, width)
        if accessor.get("normalized"):
            values = np.maximum(values.astype(np.float32) / np.iinfo(kind).max, -1)
        return values

    def _texture(self, material: int) -> np.ndarray | None:
        from PIL import Image

        if material < 0:
            return None
        found = self.document["materials"][material].get("pbrMetallicRoughness", {}).get("baseColorTexture")
        if found is None:
            return None
        image = self.document["images"][self.document["textures"][found["index"]]["source"]]
        if "bufferView" not in image:
            return None
        view = self.document["bufferViews"][image["bufferView"]]
        start = int(view.get("byteOffset", 0))
        try:
            with Image.open(io.BytesIO(self.data[start:start + int(view["byteLength"])])) as picture:
                return np.asarray(picture.convert("RGB"))
        except (OSError, Image.DecompressionBombError):
            return None


def _matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = (float(v) for v in node.get("rotation", (0, 0, 0, 1)))
    turn = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])
    out = np.eye(4)
    out[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out
