"""Gaussians in glTF: the extension KHR_gaussian_splatting (Khronos, release candidate).

A primitive of points with position, rotation, scale, opacity and spherical harmonics as attributes; programs that do
not know the extension show coloured points.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError
from recon.export.mesh_file import linear_from_srgb
from recon.export.splat_file import SH_C0, arrays_to_write, sigmoid, unit_quaternions
from recon.formats.files import atomic_output
from recon.types import Gaussians

NAME = "KHR_gaussian_splatting"


def document_of(gaussians: Gaussians, path: str | Path) -> tuple[dict[str, Any], bytes, tuple[str, ...]]:
    """The JSON document, the binary chunk, and what the file cannot hold. The frame is the caller's: y up, metres."""
    arrays, warnings = arrays_to_write(gaussians)
    n = len(arrays)
    if n == 0:
        raise InputError("there are no splats to write", file=path, fix="A .glb file cannot be empty; use .ply.")
    if arrays.antialiased:
        warnings += ("glTF cannot say that the scene is anti-aliased",)
    opacity = sigmoid(arrays.logits).astype("<f4")
    base = np.clip(0.5 + SH_C0 * arrays.sh[:, 0].astype(np.float64), 0, 1)
    points = np.concatenate([linear_from_srgb(base), opacity[:, None]], axis=1)
    w, x, y, z = unit_quaternions(arrays.quaternions).T
    columns: dict[str, tuple[np.ndarray, str]] = {
        "POSITION": (arrays.means.astype("<f4"), "VEC3"),
        "COLOR_0": ((points * 65535 + 0.5).astype("<u2"), "VEC4"),
        f"{NAME}:ROTATION": (np.stack([x, y, z, w], axis=1).astype("<f4"), "VEC4"),
        f"{NAME}:SCALE": (np.exp(arrays.log_scales.astype(np.float64)).astype("<f4"), "VEC3"),
        f"{NAME}:OPACITY": (opacity, "SCALAR"),
    }
    for k in range(arrays.sh.shape[1]):
        degree = int(k**0.5)
        columns[f"{NAME}:SH_DEGREE_{degree}_COEF_{k - degree * degree}"] = (
            np.ascontiguousarray(arrays.sh[:, k]).astype("<f4"), "VEC3")
    data, attributes = bytearray(), {}
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []
    for name, (rows, kind) in columns.items():
        content = rows.tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(content), "target": 34962})
        accessor: dict[str, Any] = {"bufferView": len(views) - 1, "count": n, "type": kind,
                                    "componentType": 5123 if rows.dtype == np.dtype("<u2") else 5126}
        if name == "POSITION":
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        if rows.dtype == np.dtype("<u2"):
            accessor["normalized"] = True
        attributes[name] = len(accessors)
        accessors.append(accessor)
        data += content + b"\0" * (-len(content) % 4)
    extension = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    document = {
        "asset": {"version": "2.0", "generator": "Recon"}, "extensionsUsed": [NAME], "scene": 0,
        "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "name": "splats"}],
        "meshes": [{"primitives": [{"attributes": attributes, "mode": 0, "extensions": {NAME: extension}}]}],
        "accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(data)}],
    }
    return document, bytes(data), warnings


def write(path: str | Path, gaussians: Gaussians) -> tuple[str, ...]:
    """Writes a .glb; returns what it cannot hold. Raises InputError."""
    document, data, warnings = document_of(gaussians, path)
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(data)
    if total >= 1 << 32:
        raise InputError(f"{total / 1e9:.1f} GB do not fit a .glb (4 GiB)", file=path, fix="Use .ply or .spz.")
    with atomic_output(path) as file:
        file.write(struct.pack("<4sII", b"glTF", 2, total))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", len(data), b"BIN\0") + data)
    return warnings
