"""The header of a PLY file: its elements, their properties, and its comments.

Format: Greg Turk, "The PLY Polygon File Format", Stanford 1994; both families of type names that are in use
(``float`` and ``float32``) are understood. Headers may have CRLF line ends, repeated blanks, and ``comment`` or
``obj_info`` lines anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recon.errors import InputError

MAX_HEADER_BYTES = 1 << 20  # a file without end_header by then is no PLY
MAX_ROWS = (1 << 31) - 1

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
    "int64": "i8", "uint64": "u8", "long": "i8", "ulong": "u8",
}  # fmt: skip
_TYPE_NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float",
               "f8": "double"}  # fmt: skip
_ENCODINGS = ("ascii", "binary_little_endian", "binary_big_endian")


@dataclass(frozen=True)
class Property:
    """One column. ``type`` is numpy's code without byte order ("f4"); ``count_type`` is set for a list."""

    name: str
    type: str
    count_type: str | None = None


@dataclass(frozen=True)
class Element:
    """A table of ``count`` rows as the header declares it (the file may hold fewer)."""

    name: str
    count: int
    properties: tuple[Property, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the scalar properties, in file order."""
        return tuple(p.name for p in self.properties if p.count_type is None)

    @property
    def has_lists(self) -> bool:
        return any(p.count_type is not None for p in self.properties)

    def type_of(self, name: str) -> str:
        """numpy's type code ("u1", "f4", ...) of a property."""
        return next(p.type for p in self.properties if p.name == name)

    def dtype(self, byte_order: str) -> np.dtype:
        """Packed structured type of the scalar properties; ``byte_order`` is "<" or ">"."""
        return np.dtype([(p.name, byte_order + p.type) for p in self.properties if p.count_type is None])


@dataclass(frozen=True)
class Header:
    """``encoding`` as in the file; ``data_start`` is the offset of the first byte after the header."""

    encoding: str
    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    data_start: int

    @property
    def is_ascii(self) -> bool:
        return self.encoding == "ascii"

    @property
    def byte_order(self) -> str:
        return ">" if self.encoding == "binary_big_endian" else "<"

    def element(self, name: str) -> Element | None:
        return next((e for e in self.elements if e.name == name), None)


def parse_header(file: BinaryIO, path: str | Path) -> Header:
    """Reads the header from the start of an open file; raises ``InputError`` for anything that is no valid PLY."""
    file.seek(0)
    head = file.read(MAX_HEADER_BYTES)
    if not head:
        raise InputError("the file is empty (0 bytes)", file=path, fix="Export or download it again.")
    if not head.startswith(b"ply"):
        raise InputError('not a PLY file (it does not start with "ply")', file=path, fix="Check the file's format.")
    lines, position = [], 0
    while True:
        end = head.find(b"\n", position)
        if end < 0:
            raise InputError("the PLY header has no end_header line", file=path,
                             fix="The file is damaged or cut off; export or download it again.")
        line = head[position:end].strip()
        position = end + 1
        if line == b"end_header":
            break
        lines.append(line.decode("utf-8", errors="replace"))
    return _interpret(lines, position, path)


def _interpret(lines: list[str], data_start: int, path: str | Path) -> Header:
    def bad(what: str) -> InputError:
        return InputError(f"bad PLY header: {what}", file=path, fix="Export the file again.")

    def add(column: Property) -> None:
        if column.name in current:
            raise bad(f'property "{_short(column.name)}" appears twice')
        current[column.name] = column

    if not lines or lines[0] != "ply":
        raise bad(f'the first line is "{_short(lines[0]) if lines else "end_header"}"')
    encoding: str | None = None
    tables: dict[str, tuple[int, dict[str, Property]]] = {}
    current: dict[str, Property] = {}  # properties of the element being declared
    comments: list[str] = []
    for line in lines[1:]:
        words = line.split()
        match words:
            case []:
                continue
            case ["comment" | "obj_info", *_]:
                comments.append(line[len(words[0]):].strip())
            case ["format", kind, _]:
                if kind not in _ENCODINGS:
                    raise bad(f'unknown format "{_short(kind)}"')
                encoding = kind
            case ["element", name, count]:
                if name in tables:
                    raise bad(f'element "{_short(name)}" appears twice')
                current = {}
                tables[name] = (_row_count(count, name, bad), current)
            case ["property", "list", count_type, item_type, name] if tables:
                if _TYPES.get(count_type, "f")[0] not in "iu" or item_type not in _TYPES:
                    raise bad(f'unknown list type in "{_short(line)}"')
                add(Property(name, _TYPES[item_type], _TYPES[count_type]))
            case ["property", item_type, name] if tables:
                if item_type not in _TYPES:
                    raise bad(f'unknown type "{_short(item_type)}" of property "{_short(name)}"')
                add(Property(name, _TYPES[item_type]))
            case _:
                raise bad(f'line "{_short(line)}" is not understood')
    if encoding is None:
        raise bad("no format line")
    elements = tuple(Element(name, count, tuple(columns.values())) for name, (count, columns) in tables.items())
    return Header(encoding, elements, tuple(comments), data_start)


def _row_count(text: str, name: str, bad: Callable[[str], InputError]) -> int:
    if not (text.isascii() and text.removeprefix("-").isdigit()):
        raise bad(f'the number of "{_short(name)}" rows is "{_short(text)}"')
    if text.startswith("-"):
        raise bad(f'the number of "{_short(name)}" rows is negative ({_short(text)})')
    digits = text.lstrip("0")
    if len(digits) > 10 or int(digits or "0") > MAX_ROWS:
        raise bad(f'{_short(text)} rows of "{_short(name)}" cannot be')
    return int(digits or "0")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def format_header(elements: list[tuple[str, int, np.dtype]], comments: tuple[str, ...] = ()) -> bytes:
    """Bytes of a binary little-endian header with LF line ends; each dtype gives the packed columns of its element.

    Comments are kept to one printable ASCII line each, as old readers stop at anything else.
    """
    lines = ["ply", "format binary_little_endian 1.0"]
    for comment in comments:
        text = " ".join(comment.split()).encode("ascii", "replace").decode("ascii")
        text = "".join(c if c.isprintable() else "?" for c in text)
        lines.append(f"comment {text[:1000]}".rstrip())
    for name, count, dtype in elements:
        lines.append(f"element {name} {count}")
        for column in dtype.names or ():
            code = dtype[column].str[1:]
            lines.append(f"property {_TYPE_NAMES[code]} {column}")
    return ("\n".join(lines) + "\nend_header\n").encode("ascii")
