"""Positions and colours of a PLY file (ascii or binary, either byte order); every other property is skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recon.data.parts.colmap_files import point_cloud
from recon.data.parts.context import Context
from recon.errors import InputError
from recon.types import PointCloud

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_LONGEST_HEADER = 1 << 20
_NO_PLY = "is not a PLY file with points"


@dataclass
class _Element:
    name: str
    count: int
    properties: list[tuple[str, str]] = field(default_factory=list)  # name, numpy type
    has_list: bool = False


def read_ply_points(path: Path, context: Context) -> PointCloud | None:
    """Points of the element ``vertex``; grey where there is no colour. Raises ``InputError``."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None
    order, elements, start = _header(data, path)
    offset = start
    for element in elements:
        if element.has_list:
            raise InputError("lists before the points are not supported", file=path)
        layout = np.dtype([(n, order + t) for n, t in element.properties])
        if element.name != "vertex":
            if order == "":
                raise InputError("elements before the points are not supported in text files", file=path)
            offset += element.count * layout.itemsize
            continue
        if not {"x", "y", "z"} <= {n for n, _ in element.properties}:
            raise InputError("its points lack x, y or z", file=path)
        if order == "":
            rows = _text_rows(data[offset:], element, path)
        else:
            rows = _rows(data, offset, element, layout, context, path)
        xyz = np.stack([rows[n].astype(np.float64) for n in ("x", "y", "z")], axis=1)
        return point_cloud(xyz, _colours(rows), context, path)
    raise InputError(_NO_PLY, file=path)


def _header(data: bytes, path: Path) -> tuple[str, list[_Element], int]:
    """Byte order ("" for text), elements up to and including ``vertex``, offset of the data."""
    end = data.find(b"end_header", 0, _LONGEST_HEADER)
    newline = data.find(b"\n", end)
    if not data.startswith(b"ply") or end < 0 or newline < 0:
        raise InputError(_NO_PLY, file=path)
    order: str | None = None
    elements: list[_Element] = []
    for line in data[:end].decode("latin-1").splitlines():
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[words[1]]
            elif words[:1] == ["element"]:
                elements.append(_Element(words[1], int(words[2])))
            elif words[:1] == ["property"] and words[1] == "list":
                elements[-1].has_list = True
            elif words[:1] == ["property"]:
                elements[-1].properties.append((words[2], _TYPES[words[1]]))
        except (KeyError, IndexError, ValueError):
            raise InputError(f'header line "{line[:60]}" is not understood', file=path) from None
    names = [e.name for e in elements]
    if order is None or "vertex" not in names or any(e.count < 0 for e in elements):
        raise InputError(_NO_PLY, file=path)
    for element in elements:
        if len({n for n, _ in element.properties}) != len(element.properties):
            raise InputError("a property is named twice", file=path)
    return order, elements[: names.index("vertex") + 1], newline + 1


def _rows(data: bytes, offset: int, element: _Element, layout: np.dtype, context: Context, path: Path) -> np.ndarray:
    available = max(0, len(data) - offset) // max(1, layout.itemsize)
    if available < element.count:
        context.warn(f"{path.name} ends early: {available} of {element.count} points were read")
    return np.frombuffer(data, layout, count=min(available, element.count), offset=min(offset, len(data)))


def _text_rows(data: bytes, element: _Element, path: Path) -> np.ndarray:
    lines = data.splitlines()[: element.count]
    rows = np.zeros(len(lines), dtype=[(n, "f8") for n, _ in element.properties])
    for i, line in enumerate(lines):
        try:
            rows[i] = tuple(float(w) for w in line.split()[: len(element.properties)])
        except (ValueError, TypeError):
            raise InputError(f"point {i + 1} is not a row of {len(element.properties)} numbers", file=path) from None
    return rows


def _colours(rows: np.ndarray) -> np.ndarray:
    names = rows.dtype.names or ()
    keys = next((k for k in (("red", "green", "blue"), ("r", "g", "b")) if set(k) <= set(names)), None)
    if keys is None:
        return np.full((len(rows), 3), 128, dtype=np.uint8)
    colours = np.nan_to_num(np.stack([rows[k].astype(np.float64) for k in keys], axis=1), posinf=0.0, neginf=0.0)
    if rows.dtype[keys[0]].kind == "f" and colours.max(initial=0) <= 1.0:
        colours = colours * 255
    return colours.clip(0, 255).round().astype(np.uint8)
