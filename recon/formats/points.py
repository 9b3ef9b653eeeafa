"""Point clouds from PLY files and from text with one point per line (.xyz, .txt, .pts, .csv, .asc)."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from recon.errors import InputError
from recon.formats.files import open_input
from recon.formats.ply import PlyReader

SH_C0 = 0.28209479177387814
GREY = 128  # colour of points that have none
LINES = 1 << 16


def read_points(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions [n, 3] float64 and sRGB colours [n, 3] uint8 (mid grey where the file has none).

    A PLY may hold anything else besides (faces, normals, splats); text lines hold x y z, then optionally colours
    (0..255 or 0..1) or normals, which are told apart by their values. Points that are not finite are left out.
    Raises ``InputError``.
    """
    path = Path(path)
    if path.suffix.lower() == ".ply":
        with np.errstate(all="ignore"):  # a signalling NaN in a damaged file is only a NaN
            positions, colours = _read_ply(path)
    elif path.suffix.lower() in (".xyz", ".txt", ".pts", ".csv", ".asc"):
        positions, colours = _read_text(path)
    else:
        raise InputError(f'"{path.suffix}" is no format of point clouds', file=path, fix="Use .ply or .xyz.")
    good = np.isfinite(positions).all(1)
    return (positions, colours) if good.all() else (positions[good], colours[good])


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with open_input(path) as file:
        ply = PlyReader(file, path)
        vertex = ply.header.element("vertex")
        if vertex is None or not {"x", "y", "z"} <= set(vertex.names):
            raise InputError("the PLY file holds no points (vertex x y z)", file=path, fix="Check the file.")
        n = ply.capacity("vertex")
        positions, colours, done = np.empty((n, 3)), np.full((n, 3), GREY, np.uint8), 0
        for rows in ply.blocks("vertex"):
            part = slice(done, done + len(rows))
            for i, name in enumerate("xyz"):
                positions[part, i] = rows[name]
            for names, scale, offset in (
                (("red", "green", "blue"), 255 / _full(vertex.type_of("red")) if "red" in vertex.names else 1.0, 0.0),
                (("f_dc_0", "f_dc_1", "f_dc_2"), 255 * SH_C0, 127.5),
            ):
                if set(names) <= set(vertex.names):
                    rgb = np.stack([rows[c].astype(np.float64) for c in names], axis=1) * scale + offset
                    colours[part] = _bytes(rgb)
                    break
            done += len(rows)
    return positions[:done], colours[:done]


def _full(code: str) -> float:
    """The value of full brightness of a column type."""
    return {"f4": 1.0, "f8": 1.0, "u2": 65535.0}.get(code, 255.0)


def _bytes(rgb: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(np.nan_to_num(rgb, nan=GREY)), 0, 255).astype(np.uint8)


def _read_text(path: Path) -> tuple[np.ndarray, np.ndarray]:
    blocks: list[np.ndarray] = []
    columns, first = 0, 1
    with open_input(path) as file:
        while lines := list(islice(file, LINES)):
            block = _plain_rows(lines, columns)
            if block is None:
                block = _checked_rows(lines, columns, first, path)
            if len(block):
                columns = block.shape[1]
                blocks.append(block)
            first += len(lines)
    if not blocks:
        raise InputError("the file holds no points", file=path, fix="Give x y z per line.")
    table = np.concatenate(blocks)
    return np.ascontiguousarray(table[:, :3]), _text_colours(table)


_SEPARATORS = bytes.maketrans(b",;", b"  ")


def _plain_rows(lines: list[bytes], columns: int) -> np.ndarray | None:
    """Lines of numbers only, all at once; None where a line differs in any way from the ones before."""
    columns = columns or len(lines[0].translate(_SEPARATORS).split())
    if not 3 <= columns <= 16 or any(len(line.translate(_SEPARATORS).split()) != columns for line in lines):
        return None
    try:
        words = b" ".join(lines).translate(_SEPARATORS).split()
        return np.fromiter(map(float, words), np.float64, len(words)).reshape(-1, columns)
    except ValueError:
        return None


def _checked_rows(lines: list[bytes], columns: int, first: int, path: Path) -> np.ndarray:
    """Lines one by one: blank ones, comments, column names and a leading count are skipped, the rest must be points."""
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=first):
        words = line.translate(_SEPARATORS).split()
        if not words or words[0].startswith((b"#", b"//")):
            continue
        try:
            row = [float(w) for w in words[:16]]
        except ValueError:
            if not columns:  # a line of column names
                continue
            raise InputError(f"line {number} holds something that is no number", file=path,
                             fix="Mend or remove the line.") from None
        if len(row) == 1 and not columns:  # .pts files start with the number of points
            continue
        if len(row) < 3 or (columns and len(row) != columns):
            raise InputError(f"line {number} has {len(row)} values instead of {columns or 'x y z'}", file=path,
                             fix="Mend or remove the line.")
        columns = columns or len(row)
        rows.append(row)
    return np.array(rows, np.float64).reshape(len(rows), columns)


def _text_colours(table: np.ndarray) -> np.ndarray:
    """Colours are three columns after x y z that hold whole numbers of 0..255, or 0..1 and are no unit normals."""
    grey = np.full((len(table), 3), GREY, np.uint8)
    starts = {6: (3,), 7: (4, 3), 9: (3, 6), 10: (3, 6, 7)}.get(table.shape[1], ())
    for start in starts:
        part = table[:, start:start + 3]
        if not np.isfinite(part).all() or part.min() < 0:
            continue
        if part.max() <= 255 and (part == np.rint(part)).all() and part.max() > 1:
            return part.astype(np.uint8)
        lengths = np.linalg.norm(part, axis=1)
        if part.max() <= 1 and not np.allclose(lengths[lengths > 0], 1, atol=1e-2):
            return _bytes(part * 255)
    return grey
