"""Gaussian splats as PLY, the format of the original 3DGS code, and everything else that comes with that suffix.

Source of the column meaning: Kerbl et al., "3D Gaussian Splatting for Real-Time Radiance Field Rendering", SIGGRAPH
2023, arXiv 2308.04079. Values are raw: log scales, opacity logits, quaternions w x y z, spherical harmonics with all
red coefficients first (``f_rest[channel * K + k]``). Columns are found by name, so order, extra columns and missing
normals do not matter; what is missing is filled in: rotation by the identity, scale by the distance to the neighbours,
opacity by opaque, f_dc by red green blue. Compressed (chunked) files are handed to ``compressed_ply``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from recon.errors import InputError
from recon.export import compressed_ply, mesh_ply
from recon.export.neighbours import neighbour_distance
from recon.export.splat_file import COEFFICIENTS, SH_C0, SplatBuilder, SplatFile, arrays_to_write
from recon.formats.files import atomic_output, open_input
from recon.formats.ply import PlyReader, matrix
from recon.formats.ply_header import Element, format_header
from recon.types import Gaussians, Mesh

FLAT_LOG_SCALE = math.log(1e-6)  # third axis of 2D Gaussians, which store two
FAR_ORIGIN = 1e4  # double coordinates beyond this are geo-referenced: float32 would blur them
ROWS = 1 << 15


def read_splats(path: str | Path) -> SplatFile:
    """Reads an INRIA-style or compressed splat PLY, or a point cloud as splats. Raises ``InputError``."""
    with open_input(path) as file:
        ply = PlyReader(file, path)
        if ply.header.element("codebook_centers") is not None:
            raise InputError("codebook-quantised PLY files are not supported", file=path,
                             fix="Export it as a plain PLY from the program that made it.")
        if compressed_ply.is_compressed(ply.header):
            builder, kind, notes = compressed_ply.read(ply)
            meta: dict[str, Any] = {}
        else:
            builder, kind, notes, meta = _read_plain(ply)
        said = comment_meta(ply.header.comments)
        meta |= {"comments": ply.header.comments, **{k: v for k, v in said.items() if k == "up"}}
        return builder.finish(path, kind, antialiased=said.get("antialiased", False),
                              warnings=(*ply.warnings, *notes), meta=meta)


def _read_plain(ply: PlyReader) -> tuple[SplatBuilder, str, list[str], dict[str, Any]]:
    vertex = ply.header.element("vertex")
    names = vertex.names if vertex is not None else ()
    if vertex is None or not {"x", "y", "z"} <= set(names):
        missing = "an element vertex" if vertex is None else ", ".join(c for c in "xyz" if c not in names)
        raise InputError(f"not a splat file: {missing} is missing", file=ply.path, fix="Check that it holds splats.")
    notes: list[str] = []
    rest_columns, degree = _rest_columns(names, notes)
    k = COEFFICIENTS[degree]
    scales = tuple(n for n in ("scale_0", "scale_1", "scale_2") if n in names)
    rotations = tuple(f"rot_{i}" for i in range(4))
    if not set(rotations) <= set(names):
        rotations = ()
    is_cloud = not scales and not rotations and "opacity" not in names

    builder = SplatBuilder(ply.capacity("vertex"), k)
    origin: np.ndarray | None = None
    for rows in ply.blocks("vertex"):
        n = len(rows)
        if origin is None:
            origin = _origin(rows, vertex)
        sh = np.zeros((n, k, 3), np.float32)
        sh[:, 0] = _base_colour(rows, vertex)
        if rest_columns:
            sh[:, 1:] = matrix(rows, rest_columns).reshape(n, 3, k - 1).transpose(0, 2, 1)
        quaternions = matrix(rows, rotations) if rotations else np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1))
        logits = matrix(rows, ("opacity",))[:, 0] if "opacity" in names else np.full(n, np.inf, np.float32)
        builder.add(_positions(rows, origin), _log_scales(rows, scales), quaternions, logits, sh)

    if not scales and builder.count:
        size = neighbour_distance(builder.means[:builder.count])
        builder.log_scales[:builder.count] = np.log(np.clip(size, 1e-9, 1e9))[:, None]
    if is_cloud:
        notes.append("this is a point cloud, not splats: every point became an opaque ball as wide as its gap")
    elif not scales:
        notes.append("no scale columns: sizes were taken from the distance to the neighbours")
    if not is_cloud and not rotations:
        notes.append("no rotation columns: splats are left unturned")
    if not is_cloud and "opacity" not in names:
        notes.append("no opacity column: splats are opaque")
    meta: dict[str, Any] = {"columns": _unknown(names)}
    if origin is not None and origin.any():
        meta["origin"] = tuple(origin.tolist())
        notes.append(f"coordinates are far from zero: the origin {meta['origin']} was subtracted to keep precision")
    kind = "PLY point cloud" if is_cloud else f"PLY, SH degree {degree}"
    if len(scales) == 2:
        kind = "2D Gaussians PLY" + kind[3:]
    return builder, kind, notes, meta


def _rest_columns(names: tuple[str, ...], notes: list[str]) -> tuple[tuple[str, ...], int]:
    """The f_rest columns to read (channel by channel) and the degree; bands that are incomplete or above 3 are cut."""
    total = sum(bool(re.fullmatch(r"f_rest_\d+", n)) for n in names)
    there = set(names)
    if total == 0:
        return (), 0
    per_channel, left_over = divmod(total, 3)
    degree = max(d for d in range(4) if COEFFICIENTS[d] - 1 <= per_channel)
    if left_over or not all(f"f_rest_{i}" in there for i in range(total)):
        notes.append(f"the {total} f_rest columns are not a whole set of spherical harmonics and were left out")
        return (), 0
    if per_channel > COEFFICIENTS[degree] - 1:
        notes.append(f"{total} f_rest columns were cut to spherical harmonics of degree {degree}")
    keep = COEFFICIENTS[degree] - 1
    return tuple(f"f_rest_{c * per_channel + i}" for c in range(3) for i in range(keep)), degree


def _base_colour(rows: np.ndarray, vertex: Element) -> np.ndarray | float:
    """The constant harmonic [n, 3]: f_dc, else from red green blue of any type, else mid grey."""
    names = vertex.names
    if {"f_dc_0", "f_dc_1", "f_dc_2"} <= set(names):
        return matrix(rows, ("f_dc_0", "f_dc_1", "f_dc_2"))
    if {"red", "green", "blue"} <= set(names):
        full = {"f4": 1.0, "f8": 1.0, "u2": 65535.0}.get(vertex.type_of("red"), 255.0)
        return (matrix(rows, ("red", "green", "blue")) / full - 0.5) / SH_C0
    return 0.0


def _log_scales(rows: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    out = np.full((len(rows), 3), FLAT_LOG_SCALE if len(names) == 2 else 0.0, np.float32)
    if len(names) == 1:  # isotropic
        out[:] = matrix(rows, names)
    elif names:
        out[:, :len(names)] = matrix(rows, names)
    return out


def _origin(rows: np.ndarray, vertex: Element) -> np.ndarray:
    """[3] float64 to subtract from every position: zero unless double coordinates lie very far out."""
    if vertex.type_of("x") != "f8":
        return np.zeros(3)
    xyz = np.stack([rows[c].astype(np.float64) for c in "xyz"], axis=1)
    xyz = xyz[np.isfinite(xyz).all(1)]
    middle = np.median(xyz, axis=0) if len(xyz) else np.zeros(3)
    is_far = FAR_ORIGIN < np.abs(middle).max() < 1e12
    return np.round(middle) if is_far else np.zeros(3)


def _positions(rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
    if not origin.any():
        return matrix(rows, ("x", "y", "z"))
    return np.stack([rows[c].astype(np.float64) - origin[i] for i, c in enumerate("xyz")], axis=1)


_KNOWN = re.compile(r"x|y|z|nx|ny|nz|f_dc_[012]|f_rest_\d+|opacity|scale_[012]|rot_[0123]|red|green|blue|alpha")


def _unknown(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n for n in names if not _KNOWN.fullmatch(n))


def comment_meta(comments: tuple[str, ...]) -> dict[str, Any]:
    """What the comments of splat programs say: "antialiased" (bool) and "up" (axis or three numbers); last one wins."""
    out: dict[str, Any] = {}
    for comment in comments:
        text = comment.lower().strip()
        if match := re.fullmatch(r"splatrendermode\s*:?\s*(default|mip|2dgs)", text):
            out["antialiased"] = match[1] == "mip"
        elif match := re.fullmatch(r"antialiased\s*:?\s*([01])", text):
            out["antialiased"] = match[1] == "1"
        elif match := re.fullmatch(r"vertical axis\s*:\s*(.+)", text):
            words = match[1].replace(",", " ").split()
            if words[0] in ("x", "y", "z", "-x", "-y", "-z", "+x", "+y", "+z"):
                out["up"] = words[0].lstrip("+")
            elif len(words) == 3:
                try:
                    out["up"] = tuple(float(w) for w in words)
                except ValueError:
                    continue
    return out


def write_splats(path: str | Path, gaussians: Gaussians, *, comments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Writes the canonical order (normals as zeros) as little-endian floats; the only extra lines are comments.

    Returns warnings. What ``gaussians.antialiased`` says replaces any comment about it.
    """
    arrays, warnings = arrays_to_write(gaussians)
    rest = arrays.sh.shape[1] - 1
    names = [
        "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(3 * rest)),
        "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3",
    ]  # fmt: skip
    kept = tuple(c for c in comments if "antialiased" not in comment_meta((c,)))
    if arrays.antialiased:
        kept += ("SplatRenderMode: mip",)
    with atomic_output(path) as file:
        file.write(format_header([("vertex", len(arrays), np.dtype([(n, "<f4") for n in names]))], kept))
        for start in range(0, len(arrays), ROWS):
            part = arrays.rows(slice(start, start + ROWS))
            n = len(part)
            table = np.zeros((n, len(names)), "<f4")
            table[:, 0:3] = part.means
            table[:, 6:9] = part.sh[:, 0]
            table[:, 9:9 + 3 * rest] = part.sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * rest)
            table[:, -8] = part.logits
            table[:, -7:-4] = part.log_scales
            table[:, -4:] = part.quaternions
            file.write(table.tobytes())
    return warnings


def read_mesh(path: str | Path) -> Mesh:
    """The triangles of a PLY file. Raises ``InputError``."""
    return mesh_ply.read(path)


def write_mesh(path: str | Path, mesh: Mesh) -> tuple[str, ...]:
    """Writes a mesh as binary PLY; returns what the file cannot hold. Raises ``InputError``."""
    return mesh_ply.write(path, mesh)
