"""Rules of glTF 2.0 that a written file must keep; what the Khronos validator reports as errors, as far as we write it.

Not the validator itself, which is no Python package.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
FLOAT, U8, U16, U32 = 5126, 5121, 5123, 5125
# attribute -> allowed (kind, component types); those that are not float must be normalised
ATTRIBUTES = {"POSITION": ("VEC3", {FLOAT}), "NORMAL": ("VEC3", {FLOAT}), "TEXCOORD_0": ("VEC2", {FLOAT, U8, U16}),
              "COLOR_0": ("VEC4", {FLOAT, U8, U16})}
SPLATS = "KHR_gaussian_splatting"
KNOWN = {"KHR_materials_unlit", SPLATS}


def document_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """The JSON and the binary chunk; asserts that the container is whole."""
    data = path.read_bytes()
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data))
    length, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    assert length % 4 == 0
    text = data[20:20 + length]
    assert not text.rstrip(b" ").endswith(b"\0")
    rest, tail = struct.unpack_from("<I4s", data, 20 + length)
    assert tail == b"BIN\0"
    assert rest % 4 == 0
    assert 28 + length + rest == len(data)
    return json.loads(text), data[28 + length:]


def rows_of(document: dict[str, Any], data: bytes, number: int) -> np.ndarray:
    """The numbers of an accessor [count, width]."""
    accessor = document["accessors"][number]
    view = document["bufferViews"][accessor["bufferView"]]
    start, width = view["byteOffset"] + accessor.get("byteOffset", 0), WIDTHS[accessor["type"]]
    kind = np.dtype(TYPES[accessor["componentType"]])
    return np.frombuffer(data, kind, accessor["count"] * width, start).reshape(-1, width)


def check(path: Path) -> dict[str, Any]:
    """Asserts every rule; returns the document."""
    document, data = document_of(path)
    assert document["asset"]["version"] == "2.0"
    used = set(document.get("extensionsUsed", []))
    assert used <= KNOWN
    assert set(document.get("extensionsRequired", [])) <= used
    assert f'"{SPLATS}"' not in json.dumps(document) or SPLATS in used
    (buffer,) = document["buffers"]
    assert len(data) - 3 <= buffer["byteLength"] <= len(data)
    assert "uri" not in buffer
    reached = 0
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] >= reached  # nothing lies over another
        reached = view["byteOffset"] + view["byteLength"]
        assert view["byteLength"] >= 1
    assert reached <= buffer["byteLength"]
    for number, accessor in enumerate(document["accessors"]):
        view = document["bufferViews"][accessor["bufferView"]]
        size = SIZES[accessor["componentType"]] * WIDTHS[accessor["type"]]
        assert accessor["count"] >= 1
        assert accessor["count"] * size <= view["byteLength"]
        assert accessor["componentType"] != FLOAT or np.isfinite(rows_of(document, data, number)).all()
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            _primitive(document, data, primitive)
    for node in document["nodes"]:
        assert 0 <= node["mesh"] < len(document["meshes"])
    assert document["scenes"][document["scene"]]["nodes"]
    for image in document.get("images", []):
        view = document["bufferViews"][image["bufferView"]]
        assert "target" not in view
        assert data[view["byteOffset"]:][:8] == b"\x89PNG\r\n\x1a\n"
        assert image["mimeType"] == "image/png"
    for texture in document.get("textures", []):
        assert texture["source"] < len(document["images"])
        assert texture["sampler"] < len(document["samplers"])
    return document


def _primitive(document: dict[str, Any], data: bytes, primitive: dict[str, Any]) -> None:
    accessors, attributes = document["accessors"], primitive["attributes"]
    counts = set()
    for name, number in attributes.items():
        accessor = accessors[number]
        counts.add(accessor["count"])
        assert document["bufferViews"][accessor["bufferView"]]["target"] == 34962
        if name.startswith(f"{SPLATS}:"):
            continue
        kind, components = ATTRIBUTES[name]
        assert accessor["type"] == kind
        assert accessor["componentType"] in components
        assert accessor["componentType"] == FLOAT or accessor["normalized"]
    assert len(counts) == 1
    position = accessors[attributes["POSITION"]]
    rows = rows_of(document, data, attributes["POSITION"])
    assert position["min"] == rows.min(0).tolist()
    assert position["max"] == rows.max(0).tolist()
    if "NORMAL" in attributes:
        length = np.linalg.norm(rows_of(document, data, attributes["NORMAL"]).astype(np.float64), axis=1)
        assert np.abs(length - 1).max() < 5e-4
    if "indices" in primitive:
        accessor = accessors[primitive["indices"]]
        assert document["bufferViews"][accessor["bufferView"]]["target"] == 34963
        assert accessor["type"] == "SCALAR"
        assert accessor["componentType"] in (U16, U32)
        index = rows_of(document, data, primitive["indices"])
        assert len(index) % 3 == 0
        assert index.max() < counts.pop()
        assert index.max() != np.iinfo(index.dtype).max  # restarts strips
    if "material" in primitive:
        material = document["materials"][primitive["material"]]
        base = material["pbrMetallicRoughness"]
        assert 0 <= base["metallicFactor"] <= 1
        assert 0 <= base["roughnessFactor"] <= 1
        if "baseColorTexture" in base:
            assert base["baseColorTexture"]["index"] < len(document["textures"])
            assert "TEXCOORD_0" in attributes
    splats = primitive.get("extensions", {}).get(SPLATS)
    if splats is not None:
        _splats(document, data, primitive, splats)


def _splats(document: dict[str, Any], data: bytes, primitive: dict[str, Any], extension: dict[str, Any]) -> None:
    assert primitive["mode"] == 0
    assert extension["kernel"] == "ellipse"
    assert extension["colorSpace"] in ("srgb_rec709_display", "lin_rec709_display")
    attributes = primitive["attributes"]

    def rows(name: str, kind: str) -> np.ndarray:
        number = attributes[f"{SPLATS}:{name}"]
        assert document["accessors"][number]["type"] == kind
        return rows_of(document, data, number)

    length = np.linalg.norm(rows("ROTATION", "VEC4").astype(np.float64), axis=1)
    assert np.abs(length - 1).max() < 1e-3
    assert rows("SCALE", "VEC3").min() >= 0
    opacity = rows("OPACITY", "SCALAR")
    assert 0 <= opacity.min() <= opacity.max() <= 1
    orders = [n.split("SH_DEGREE_")[1] for n in attributes if "SH_DEGREE_" in n]
    bands = {int(o[0]) for o in orders}
    assert bands == set(range(len(bands)))
    assert set(orders) == {f"{band}_COEF_{m}" for band in bands for m in range(2 * band + 1)}
